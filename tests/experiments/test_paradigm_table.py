"""The paradigm table: its configs, who inherits what, resumption, gains of known size, committed records."""

import itertools
from pathlib import Path

import pandas as pd
import pytest
from made_up_records import record_of

from experiments import paradigm_table
from experiments.paradigm_table import (
    AGAIN,
    CELLS,
    DATASETS,
    FIRST,
    MORE,
    NAMES,
    ONCE_MORE,
    REGULARIZERS,
    RUNS,
    SEEDS,
    config,
    figure,
    gains,
    load_table,
    main,
    over_joint,
    read_outs,
    run_cell,
    run_table,
    summary,
)
from experiments.sweeps import best
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

RESULTS = Path(__file__).parents[2] / "results" / "paradigms"
FUSED = "test/accuracy/fused"


# Rows and configs


def test_every_row_of_the_table_is_a_paradigm_and_has_a_name():
    assert list(FIRST) == list(NAMES) and set(FIRST) <= set(PARADIGMS)
    assert len(set(NAMES.values())) == len(NAMES)


def test_every_run_of_the_table_is_a_config_of_its_own():
    keys = set()
    for dataset, paradigm, seed in itertools.product(DATASETS, FIRST, SEEDS):
        first = FIRST[paradigm]
        for picked in first:
            keys |= {config(dataset, paradigm, seed, picked).key}
            keys |= {config(dataset, paradigm, seed, {**picked, **change}).key for change in MORE.values()}
            keys |= {config(dataset, paradigm, seed, picked, w).key for w in REGULARIZERS.values()}
    # A change of the learning rate replaces that of a first run, so both first runs lead to one config there.
    shared = sum("learning_rate" in second for _, second in FIRST.values())
    assert len(keys) == len(DATASETS) * len(SEEDS) * (10 * len(FIRST) - shared)


def test_only_mla_shares_a_head():
    fusions = {name: config("digits", name, 0, {}).fusion for name in FIRST}
    assert fusions == {name: "shared" if name == "mla" else "concat" for name in FIRST}


def test_no_regularizer_is_not_among_the_regularizers():
    assert all(w["dispersion_weight"] > 0 and w["anchoring_weight"] > 0 for w in REGULARIZERS.values())


def test_all_cells_are_worked_through_seed_by_seed(monkeypatch):
    calls = {}
    monkeypatch.setattr(
        paradigm_table, "work_through", lambda work, cells, **o: calls.update(cells=cells, **o)
    )
    run_table("somewhere", jobs=1)
    later = len(AGAIN + ONCE_MORE)
    assert len(set(calls["cells"])) == len(calls["cells"]) == 180 + later
    assert calls["total"] == 1080 + RUNS * later and calls["jobs"] == 1
    assert [seed for _, _, seed, _ in calls["cells"]] == sorted(seed for _, _, seed, _ in calls["cells"])


# Who inherits what


@pytest.mark.parametrize("winner", [0, 1])
@pytest.mark.parametrize("paradigm", ["joint", "dgl"])
def test_both_arms_go_on_from_the_first_run_that_validation_picks(trained, tmp_path, paradigm, winner):
    picked = FIRST[paradigm][winner]
    trained.accuracy_of = lambda c: 0.9 if c == config("digits", paradigm, 2, picked) else 0.5
    assert run_cell("digits", paradigm, 2, tmp_path) == len(trained.runs) == RUNS == 6
    assert trained.runs == [
        *(config("digits", paradigm, 2, settings) for settings in FIRST[paradigm]),
        *(config("digits", paradigm, 2, {**picked, **change}) for change in MORE.values()),
        *(config("digits", paradigm, 2, picked, weights) for weights in REGULARIZERS.values()),
    ]


def test_a_better_run_of_the_baseline_does_not_move_the_regularized_arm(trained, tmp_path):
    trained.accuracy_of = lambda c: 0.9 if c.learning_rate == 0.05 else 0.5
    run_cell("digits", "joint", 0, tmp_path)
    assert [c.learning_rate for c in trained.runs if c.regularizer is not None] == [0.02, 0.02]
    frame = load_table(tmp_path)
    assert frame.loc[frame["selected"] & (frame["arm"] == "baseline"), "setting"].tolist() == ["more-lr0.05"]
    assert frame.loc[frame["start"], "setting"].tolist() == ["first-0"]


# Resumption


def test_what_is_recorded_is_not_trained_again(trained, tmp_path):
    run_cell("six_views", "ogm", 1, tmp_path)
    trained.runs.clear()
    (tmp_path / "six_views" / "ogm" / "seed1" / "more-wd0.005.json").unlink()
    run_cell("six_views", "ogm", 1, tmp_path)
    assert trained.runs == [config("six_views", "ogm", 1, MORE["wd0.005"])]


def test_a_record_of_another_config_stops_the_run_and_is_named(trained, tmp_path):
    run_cell("digits", "ogm", 0, tmp_path)
    path = tmp_path / "digits" / "ogm" / "seed0" / "first-1.json"
    record_of(config("digits", "ogm", 1, {}), 0.5).save(path)
    with pytest.raises(ValueError, match="was made by another config") as caught:
        run_cell("digits", "ogm", 0, tmp_path)
    assert str(path) in str(caught.value)


# Reading the table


def made_up(folder, paradigm, seed, baseline, regularized, dataset="digits", start=None, other=0.1, **more):
    """One cell: the second of MORE and the last regularizer are best on validation, with these accuracies."""
    values = {"first-0": other if start is None else start, "first-1": other}
    values |= dict(zip([f"more-{name}" for name in MORE], (other, baseline), strict=True))
    values |= dict(zip([f"regularized-{name}" for name in REGULARIZERS], (other, regularized), strict=True))
    validation = {"first-0": 0.2, "more-wd0.005": 0.9, f"regularized-{list(REGULARIZERS)[-1]}": 0.3}
    for name, value in values.items():
        record = record_of(
            config(dataset, paradigm, seed, {}), validation.get(name, 0.1), fused=value, **more
        )
        record.save(folder / dataset / paradigm / f"seed{seed}" / f"{name}.json")


def test_an_arm_has_one_selected_run_and_a_cell_one_start(tmp_path):
    for seed in (0, 1):
        made_up(tmp_path, "dgl", seed, 0.5, 0.6)
    frame = load_table(tmp_path)
    assert len(frame) == 2 * RUNS
    assert frame[frame["selected"]].groupby(["seed", "arm"]).size().tolist() == [1, 1, 1, 1]
    assert frame[frame["start"]].groupby("seed")["setting"].agg(list).tolist() == [["first-0"], ["first-0"]]
    assert set(frame.loc[frame["selected"], FUSED]) == {0.5, 0.6}, "validation selects, not the test split"


def test_a_half_recorded_cell_is_left_out(tmp_path):
    for seed in (0, 1):
        made_up(tmp_path, "dgl", seed, 0.5, 0.6)
    (tmp_path / "digits" / "dgl" / "seed1" / "regularized-tight.json").unlink()
    assert set(load_table(tmp_path)["seed"]) == {0}
    (tmp_path / "digits" / "dgl" / "seed0" / "more-lr0.05.json").unlink()
    with pytest.raises(FileNotFoundError, match="no complete records below .*: run 'python -m"):
        load_table(tmp_path)


def test_gains_are_paired_by_seed_and_keep_rows_apart(tmp_path):
    for seed, level in ((0, 0.1), (1, 0.6), (2, 0.35)):
        made_up(tmp_path, "joint", seed, level, level + 0.01)
        made_up(tmp_path, "dgl", seed, level, level - 0.02, dataset="six_views")
    rows = gains(load_table(tmp_path), FUSED).set_index(["dataset", "paradigm"])
    assert rows.loc[("digits", "joint"), ["low", "mean", "high"]].tolist() == pytest.approx([0.01] * 3)
    assert rows.loc[("six_views", "dgl"), ["low", "mean", "high"]].tolist() == pytest.approx([-0.02] * 3)
    assert rows["baseline"].tolist() == pytest.approx([0.35, 0.35])
    assert rows["seeds"].tolist() == [3, 3]


def test_gains_over_the_run_that_the_regularizer_was_added_to(tmp_path):
    for seed in (0, 1):
        made_up(tmp_path, "dgl", seed, 0.5, 0.6, start=0.3, other=0.35)
    frame = load_table(tmp_path)
    assert gains(frame, FUSED, against="start")["mean"].tolist() == pytest.approx([0.3])
    one = gains(frame, FUSED, setting="regularized-moderate", against="start")
    assert one["mean"].tolist() == pytest.approx([0.05])
    assert gains(frame, FUSED)["mean"].tolist() == pytest.approx([0.1])


def test_new_seeds_of_a_row_take_no_part_in_the_table(tmp_path):
    for seed in (0, 1):
        made_up(tmp_path, "dgl", seed, 0.5, 0.6)
    for dataset, paradigm, seed in AGAIN + ONCE_MORE:
        made_up(tmp_path, paradigm, seed, 0.5, 0.4, dataset=dataset)
    assert gains(load_table(tmp_path), FUSED)[["mean", "seeds"]].values.tolist() == [[pytest.approx(0.1), 2]]
    again = gains(load_table(tmp_path, AGAIN), FUSED)
    assert again[["mean", "seeds"]].values.tolist() == [[pytest.approx(-0.1), len(AGAIN)]]
    seeds = [*SEEDS, *(seed for _, _, seed in AGAIN + ONCE_MORE)]
    assert sorted(set(seeds)) == seeds


def test_a_metric_that_a_paradigm_lacks_gives_no_row(tmp_path):
    for seed in (0, 1):
        made_up(tmp_path, "joint", seed, 0.5, 0.6, audio=0.4)
        made_up(tmp_path, "mla", seed, 0.5, 0.6)
    assert gains(load_table(tmp_path), "test/accuracy/audio")["paradigm"].tolist() == ["joint"]


def test_over_joint_takes_the_gains_apart(tmp_path):
    # joint 0.50 -> 0.52, DGL 0.60 -> 0.63: alone +0.10 and +0.02, together +0.13, 0.01 more than the sum
    for seed, shift in ((0, 0.0), (1, 0.2), (2, 0.1)):
        made_up(tmp_path, "joint", seed, 0.50 + shift, 0.52 + shift)
        made_up(tmp_path, "dgl", seed, 0.60 + shift, 0.63 + shift)
    rows = over_joint(load_table(tmp_path), FUSED).set_index("part")
    expected = {"paradigm": 0.10, "regularizer": 0.02, "both": 0.13, "surplus": 0.01}
    assert rows["mean"].to_dict() == pytest.approx(expected)
    assert rows["low"].to_dict() == pytest.approx(expected), "paired: what differs by seed alone drops out"
    assert set(rows["paradigm"]) == {"dgl"}


def test_over_joint_uses_the_seeds_that_both_have(tmp_path):
    for seed in (0, 1, 2):
        made_up(tmp_path, "joint", seed, 0.50, 0.52)
    for seed in (1, 2):
        made_up(tmp_path, "dgl", seed, 0.60, 0.60 + seed / 100)
    rows = over_joint(load_table(tmp_path), FUSED).set_index("part")
    assert set(rows["seeds"]) == {2}
    assert rows.loc["surplus", "mean"] == pytest.approx(0.015 - 0.02)


def test_means_run_over_modalities_and_leave_the_fused_read_out_out(tmp_path):
    for seed in (0, 1):
        made_up(tmp_path, "joint", seed, 0.5, 0.6, fou=0.1, zer=0.2, mor=0.6, dataset="three_views")
        made_up(tmp_path, "joint", seed, 0.5, 0.6, audio=0.1, image=0.3)
    frame = load_table(tmp_path)
    means = frame.groupby("dataset")["test/accuracy/mean"].unique()
    assert [list(values) for values in means[["digits", "three_views"]]] == [
        [pytest.approx(0.2)],
        [pytest.approx(0.3)],
    ]
    assert read_outs(frame, "digits") == ["audio", "image", "fused"]
    assert read_outs(frame, "three_views") == ["mean", "fused"]
    assert read_outs(frame, "digits", "knn_probe") == []


def test_the_summary_is_in_percent_and_points_and_bold_where_zero_is_left_out(tmp_path):
    for seed, wobble in ((0, -0.3), (1, 0.3)):
        made_up(tmp_path, "joint", seed, 0.5, 0.6, audio=0.4, image=0.2)
        made_up(tmp_path, "dgl", seed, 0.5, 0.6 + wobble, audio=0.4, image=0.2)
    lines = summary(load_table(tmp_path)).split("\n")
    assert lines[0] == "| paradigm | audio | + regularizer | image | + regularizer | fused | + regularizer |"
    assert lines[1] == "|" + "---|" * 7
    zero = "+0.0 [+0.0, +0.0]"
    assert lines[2] == f"| Joint | 40.0 | {zero} | 20.0 | {zero} | 50.0 | **+10.0 [+10.0, +10.0]** |"
    assert lines[3].startswith(f"| DGL | 40.0 | {zero} | 20.0 | {zero} | 50.0 | +10.0 [-")
    assert len(lines) == 4


def test_the_figure_has_a_row_for_every_paradigm_but_joint(tmp_path):
    import matplotlib.pyplot as plt

    for seed, paradigm in itertools.product((0, 1), ("joint", "mla", "dgl")):
        made_up(tmp_path, paradigm, seed, 0.5, 0.6)
    fig = figure(load_table(tmp_path))
    left, right = fig.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["MLA", "DGL"]
    assert "add up" in right.get_xlabel()
    plt.close(fig)


def test_the_command_prints_the_summary_and_draws(tmp_path, capsys):
    for seed, paradigm in itertools.product((0, 1), ("joint", "dgl")):
        made_up(tmp_path, paradigm, seed, 0.5, 0.6)
    picture = tmp_path / "figure.png"
    assert main(["--out", str(tmp_path), "--summary", "--figure", str(picture)]) == 0
    assert summary(load_table(tmp_path)) in capsys.readouterr().out
    assert picture.stat().st_size > 5000
    assert main(["--out", str(tmp_path / "empty"), "--summary"]) == 1
    assert "no complete records" in capsys.readouterr().err


# The committed records


def test_every_committed_record_is_the_run_that_the_protocol_asks_for():
    cells = [
        cell
        for cell in CELLS + AGAIN + ONCE_MORE
        if len(list((RESULTS / cell[0] / cell[1] / f"seed{cell[2]}").glob("*.json"))) == RUNS
    ]
    if not cells:
        pytest.skip(f"no recorded cell in {RESULTS.name}")
    for dataset, paradigm, seed in cells:
        here = RESULTS / dataset / paradigm / f"seed{seed}"
        first = {f"first-{i}": settings for i, settings in enumerate(FIRST[paradigm])}
        picked = first[best({name: Record.load(here / f"{name}.json") for name in first})]
        expected = {name: config(dataset, paradigm, seed, settings) for name, settings in first.items()}
        for name, change in MORE.items():
            expected[f"more-{name}"] = config(dataset, paradigm, seed, {**picked, **change})
        for name, weights in REGULARIZERS.items():
            expected[f"regularized-{name}"] = config(dataset, paradigm, seed, picked, weights)
        records = {name: Record.load(here / f"{name}.json") for name in expected}
        for name, record in records.items():
            assert TrainConfig.from_dict(record.config) == expected[name], (dataset, paradigm, seed, name)
            assert record.device == "cpu"
        assert len({record.data_fingerprint for record in records.values()}) == 1


def interval(row):
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * row[k] for k in ("mean", "low", "high")))


def test_the_readme_quotes_the_committed_records():
    readme, frame = (RESULTS.parent / "README.md").read_text(), load_table(RESULTS)
    assert summary(frame, "digits") in readme
    prose = " ".join(readme.split())  # lines may break within an interval
    dgl = [load_table(RESULTS, [c for c in CELLS if c[:2] == ("digits", "dgl")])]
    dgl += [load_table(RESULTS, AGAIN), load_table(RESULTS, ONCE_MORE)]
    for runs in (*dgl, pd.concat(dgl)):
        assert interval(gains(runs, FUSED).iloc[0]) in prose
    for row in gains(frame, "test/accuracy/fused", ["dataset"]).to_dict("records"):
        assert interval(row) in prose
