"""The cost of the replication: correct counts, arithmetic that adds up, stated assumptions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_data import clouds

from experiments import cost
from experiments.cost import (
    DEVICES,
    REACHED,
    bytes_read,
    count,
    hours,
    operations,
    sizes,
    table,
    totals,
)
from experiments.recipes import RECIPES
from geomreg_mini import GeometryRegularizer
from geomreg_mini.training import TrainConfig

ROOT = Path(__file__).parents[2]
COUNTS = json.loads((ROOT / cost.FILE).read_text())
TOY = TrainConfig("toy", epochs=10, batch_size=4, embedding_dim=8)


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_operations_of_a_linear_network_are_two_per_weight_and_pass():
    first, rest, head = 6 * 128, 128 * 128 + 128 * 8, 2 * 8 * 3  # weights; two modalities of 6 numbers
    counted = count(TOY, clouds())
    assert counted["encode"] == 2 * 2 * (first + rest)
    # Passes: forward, gradient of the weights, gradient of the inputs (but for the network's own); the head
    # goes forward twice, fused and for each modality alone.
    assert counted["step"] == 2 * (2 * (2 * first + 3 * rest) + 4 * head)


def test_operations_per_sample_do_not_depend_on_how_many_are_counted():
    assert count(TOY, clouds(), samples=2) == count(TOY, clouds(), samples=16)


SIZE = {"train": 100, "validation": 10, "test": 20}


def test_a_run_is_its_epochs_its_looks_and_its_end():
    size, counted = SIZE, {"step": 3.0, "encode": 1.0}
    assert operations(TOY, size, counted) == 10 * 100 * 3 + 10 * 10 + 130
    assert operations(replace(TOY, paper_protocol=True), size, counted) == 10 * 100 * 3 + 10 * 30 + 130
    assert operations(replace(TOY, evaluate_every=3), size, counted) == 10 * 100 * 3 + 4 * 10 + 130


def test_a_run_reads_what_it_trains_on_and_what_it_embeds():
    xrf55 = replace(RECIPES["xrf55"].config, epochs=1, evaluate_every=1)
    once = sizes("xrf55")
    assert bytes_read(xrf55, {**once, "validation": 0, "test": 0}) == pytest.approx(2 * 58.3e9, rel=1e-3)
    assert bytes_read(xrf55, once) / (2 * 13200 + 2 * 2200 + 6600) == pytest.approx(4_415_456)
    runs, _, read = totals(COUNTS, ["xrf55"])["xrf55"]
    assert runs == 20 and 117e12 < read < 130e12
    small, large = (RECIPES[name].config for name in ("flickr30k", "flickr30k_l14_336"))
    assert bytes_read(large, SIZE) / bytes_read(small, SIZE) == (336 / 224) ** 2


def test_comparing_gradients_at_the_parameters_costs_two_backward_passes_of_the_encoders():
    size, counted = SIZE, {"step": 3.0, "encode": 1.0}
    plain = operations(TOY, size, counted)
    paper = GeometryRegularizer(balance="pareto", at="parameters")
    assert operations(replace(TOY, regularizer=GeometryRegularizer()), size, counted) == plain
    assert operations(replace(TOY, regularizer=paper), size, counted) == plain + 10 * 100 * 4
    runs, total, _ = totals(COUNTS, ["xrf55_two_stage"])["xrf55_two_stage"]
    own = COUNTS["xrf55_two_stage"]["modality_dropout"]
    base = operations(RECIPES["xrf55_two_stage"].config, sizes("xrf55_two_stage"), own)
    assert runs == 10
    assert total == pytest.approx(10 * base + 5 * 100 * 13200 * 4 * own["encode"])


def test_every_row_of_every_benchmark_is_counted():
    assert {name: set(rows) for name, rows in COUNTS.items()} == {
        name: set(recipe.rows) for name, recipe in RECIPES.items()
    }
    assert COUNTS["crema_d"]["mmpareto"]["step"] > 1.5 * COUNTS["crema_d"]["joint"]["step"]


def test_a_step_of_two_resnets_is_three_times_their_forward_pass():
    # 1.81 billion multiplications for 224 x 224 pixels and nearly as many for the spectrogram
    counted = COUNTS["crema_d"]["joint"]
    assert 6.8e9 < counted["encode"] < 7.4e9
    assert counted["step"] / counted["encode"] == pytest.approx(3, abs=0.06)


def test_a_step_of_clip_in_parts_is_nearly_three_forward_passes_and_a_backward_pass_of_two():
    # 17.6 billion multiplications for an image through ViT-B/16, and those of a caption. Parts are embedded
    # twice, and checkpoints embed each block once more but for its last product.
    counted = COUNTS["flickr30k"]["contrastive"]
    assert 35e9 < counted["encode"] < 45e9
    assert 4.5 < counted["step"] / counted["encode"] < 5


def test_full_size_inputs_have_the_published_shape():
    config, data = cost.full_size("crema_d")
    assert data.shapes == {"audio": (1, 257, 188), "visual": (3, 224, 224)}
    assert data.note and config.batch_size == 64


def test_a_table_has_hours_at_what_is_assumed_and_their_price():
    found = {"crema_d": (100, 65e12 * 3600, 3e12), "coco": (10, 65e12 * 3600, 4e12)}
    lines = [[c.strip() for c in row.split("|")[1:-1]] for row in table(found, {"T4": 2.0}).splitlines()]
    assert lines[0] == ["benchmark", "runs", "PFLOP", "TB read", "one T4", "one A100", "8 A100"]
    low, high = 1 / REACHED[1], 1 / REACHED[0]
    assert lines[2][:2] == ["crema_d", "100"]
    assert lines[2][3] == "3" and lines[4][3] == "7"
    assert lines[2][4] == f"{low:.2g} to {high:.0f} h, {2 * low:.0f} to {2 * high:.0f}"
    assert lines[4][:2] == ["all", "110"] and lines[4][4].startswith(f"{2 * low:.0f} to {2 * high:.0f} h")


def test_a_measured_throughput_replaces_the_range_and_eight_cards_cost_what_one_does():
    found = {"crema_d": (100, 100e12 * 3600 * 80, 0)}
    row = table(found, {"A100": 3.0}, {"A100": 100.0}).splitlines()[2].split(" | ")
    assert row[5:] == ["80 h, 240", "10 h, 240 |"]
    assert hours(1e18, DEVICES["A100"], 8) == hours(1e18, DEVICES["A100"]) / 8


def test_a_benchmark_that_was_not_counted_is_named():
    with pytest.raises(ValueError, match="crema_d is not counted for joint, .*--count"):
        totals({}, ["crema_d"])


def test_the_command_prints_the_table_and_what_it_assumes(capsys):
    assert cost.main(["crema_d", "--price", "T4=0.5"]) == 0
    out = capsys.readouterr().out
    assert "| crema_d | 100 |" in out and "No GPU was measured" in out and "5 to 20 %" in out
    assert cost.main(["crema_d", "--tflops", "T4=6", "A100=60"]) == 0
    assert "assumed" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["nothing"], ["crema_d", "nothing"]])
def test_an_unknown_benchmark_is_named(words, capsys):
    assert cost.main(words) == 1
    assert "the benchmark 'nothing' is unknown" in capsys.readouterr().err


@pytest.mark.parametrize("price", ["T4", "T4=-1", "T4=0", "TPU=3"])
def test_a_bad_price_is_refused(price, capsys):
    with pytest.raises(SystemExit):
        cost.main(["--price", price])
    assert "DEVICE=NUMBER" in capsys.readouterr().err


def test_counting_again_writes_the_file_and_keeps_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "full_size", lambda name, paradigm: (TOY, clouds()))
    assert cost.main(["flickr30k", "--count"]) == 0
    assert cost.main(["coco", "--count"]) == 0
    counts = json.loads((tmp_path / cost.FILE).read_text())
    assert set(counts) == {"flickr30k", "coco"}
    assert counts["coco"]["contrastive"] == count(TOY, clouds())
