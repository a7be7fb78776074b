"""A study: who inherits what, who picks, resumption, what is missing, gains of known size, the command."""

import json
import math
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up_records import record_of
from small_data import clouds

from experiments import study as module
from experiments import sweeps
from experiments.study import Arm, Cell, Study, best, change
from geomreg_mini import GeometryRegularizer, data
from geomreg_mini.geometry import geometry_report
from geomreg_mini.training import TrainConfig

RESULTS = Path(__file__).parents[2] / "results"
FUSED = "test/accuracy/fused"
RATES = {f"rate-{rate}": {"learning_rate": rate} for rate in (0.02, 0.05)}
BANDS = {f"radius-{r}": {"regularizer": GeometryRegularizer(radius=r)} for r in (0.2, 0.8)}
ARMS = {
    "none": Arm(RATES),
    "band": Arm(BANDS, start="none"),
    "control": Arm({"rate-0.1": {"learning_rate": 0.1}}, shares=tuple(("none", name) for name in RATES)),
}
STUDY = Study(
    name="small",
    path="{paradigm}/seed{seed}/{arm}-{setting}.json",
    cells=tuple(
        Cell({"paradigm": p}, {"dataset": "toy", "dataset_options": {}, "paradigm": p}, ARMS, (0, 1, 2))
        for p in ("joint", "dgl")
    ),
    against={"band": "none"},
)
RUNS = 5  # of a cell and seed


def train(folder, study=STUDY):
    for cell in study.cells + study.later:
        for seed in cell.seeds:
            study.train_cell(cell, seed, folder)


def made_up(folder, accuracy_of, validation_of=lambda arm, setting: 0.5, study=STUDY):
    """Records of a study with the fused test accuracy ``accuracy_of(cell, seed, arm, setting)``."""
    for cell in study.cells:
        for seed in cell.seeds:

            def get(file, config, cell=cell, seed=seed):
                arm, _, setting = file.rpartition("/")[2].removesuffix(".json").partition("-")
                record = record_of(
                    config, validation_of(arm, setting), fused=accuracy_of(cell, seed, arm, setting)
                )
                record.save(folder / file)
                return record

            study.walk(cell, seed, get)


# Selection and training


def test_validation_picks_the_first_of_equals_whatever_the_test_split_says():
    config = TrainConfig("toy")
    records = {
        "x": record_of(config, 0.5, fused=1.0),
        "y": record_of(config, 0.8),
        "z": record_of(config, 0.8),
    }
    assert best(records) == "y" and best(dict(reversed(records.items()))) == "z"


@pytest.mark.parametrize("winner", list(RATES))
def test_an_arm_starts_from_the_picked_setting_of_another(trained, tmp_path, winner):
    wanted = RATES[winner]["learning_rate"]
    trained.accuracy_of = lambda config: 0.9 if config.learning_rate == wanted else 0.5
    assert STUDY.train_cell(STUDY.cells[0], 2, tmp_path) == len(trained.runs) == RUNS
    none, band, control = trained.runs[:2], trained.runs[2:4], trained.runs[4]
    assert [c.learning_rate for c in none] == [0.02, 0.05] and {c.regularizer for c in none} == {None}
    assert [c.learning_rate for c in band] == [wanted] * 2 and [c.regularizer.radius for c in band] == [
        0.2,
        0.8,
    ]
    assert control.learning_rate == 0.1 and {c.seed for c in trained.runs} == {2}


def test_a_shared_run_is_trained_once_and_may_be_picked_by_both(trained, tmp_path):
    trained.accuracy_of = lambda config: 0.9 if config.learning_rate == 0.05 else 0.5
    train(tmp_path)
    frame = STUDY.load(tmp_path)
    picked = frame[frame["selected"]]
    assert set(picked.loc[picked["arm"] == "control", "setting"]) == {"rate-0.05"}
    assert picked.groupby(["paradigm", "seed", "arm"]).size().unique().tolist() == [1]
    assert len(frame) == 6 * 7 and len(trained.runs) == 6 * RUNS == len(STUDY.files())


def test_a_setting_that_several_cells_ask_for_is_one_record_that_one_process_trains(trained, tmp_path):
    arms = ({"a": Arm({"x": {"epochs": 1}, "y": {"epochs": 2}})}, {"b": Arm({"y": {"epochs": 2}})})
    fields = {"dataset": "toy", "dataset_options": {}}
    cells = tuple(Cell({"group": i}, fields, own, (0, 1)) for i, own in enumerate(arms))
    study = Study("shared", "seed{seed}/{setting}.json", cells, against="a")
    study.train(tmp_path, jobs=1)
    assert len(trained.runs) == len(set(trained.runs)) == 4 == len(study.files())
    assert set(study.load(tmp_path)["group"]) == {0, 1}


def test_what_is_recorded_is_not_trained_again(trained, tmp_path):
    train(tmp_path)
    trained.runs.clear()
    victim = sorted(tmp_path.rglob("band-*.json"))[1]
    victim.unlink()
    train(tmp_path)
    assert len(trained.runs) == 1 and victim.exists()


def test_what_was_finished_before_a_stop_is_kept(trained, tmp_path):
    def stop_at_third(config):
        if len(trained.runs) == 3:
            raise KeyboardInterrupt
        return 0.5

    trained.accuracy_of = stop_at_third
    with pytest.raises(KeyboardInterrupt):
        STUDY.train_cell(STUDY.cells[0], 0, tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_record_of_another_config_or_other_data_stops_the_study_and_is_named(
    trained, tmp_path, monkeypatch
):
    train(tmp_path)
    monkeypatch.setattr(data, "load", lambda name, **options: SimpleNamespace(fingerprint="1"))
    with pytest.raises(ValueError, match="was made from other data"):
        train(tmp_path)
    path = tmp_path / STUDY.files()[0]
    record_of(TrainConfig("toy", seed=7), 0.5).save(path)
    for read in (train, STUDY.load):
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} was made by another config"):
            read(tmp_path)


def test_a_training_that_diverges_is_an_outcome_that_is_never_picked(trained, tmp_path):
    def diverge(config):
        if config.learning_rate == 0.02:
            raise FloatingPointError("the loss is nan")
        return 0.3

    trained.accuracy_of = diverge
    with pytest.raises(FloatingPointError):
        train(tmp_path)
    empty = SimpleNamespace(fingerprint="0", train=[], validation=[], test=[])
    kept = Study(**{**vars(STUDY), "keep_diverged": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda name, **options: empty)
        train(tmp_path, kept)
    frame = kept.load(tmp_path)
    assert set(frame.loc[frame["selected"] & (frame["arm"] == "none"), "setting"]) == {"rate-0.05"}


# Missing, damaged and impossible records


def test_missing_records_are_named_and_never_left_out_in_silence(tmp_path, capsys):
    with pytest.raises(
        FileNotFoundError, match=r"no complete records .* run 'python -m experiments.small' first"
    ):
        STUDY.load(tmp_path)
    made_up(tmp_path, lambda *_: 0.5)
    gone = STUDY.files()[3]
    (tmp_path / gone).unlink()
    assert STUDY.missing(tmp_path) == [gone]
    with pytest.raises(FileNotFoundError, match=re.escape(gone)):
        STUDY.load(tmp_path)
    frame = STUDY.load(tmp_path, partial=True)
    assert set(frame.loc[frame["paradigm"] == "joint", "seed"]) == {1, 2}
    assert STUDY.main(arguments=["--out", str(tmp_path), "--summary"]) == 0
    printed = capsys.readouterr().out
    assert f"Missing: {gone}." in printed and "Left out of the tables: joint seed 0." in printed


@pytest.mark.parametrize(
    ("field", "value", "bounds"),
    [("test/accuracy/fused", 7.0, "[0, 1]"), ("test/mean_cosine/audio", -1.5, "[-1, 1]"),
     ("test/effective_rank/audio", 0.5, "[1, inf]"), ("test/recall@1/audio-image", -0.1, "[0, 1]"),
     ("test/R@5/image-caption", 71.0, "[0, 1]"), ("test/mean_recall/fused", 1.1, "[0, 1]")],
)  # fmt: skip
@pytest.mark.parametrize("where", ["metrics", "series"])
def test_a_value_out_of_its_range_is_named_with_its_file(tmp_path, field, value, bounds, where):
    made_up(tmp_path, lambda *_: 0.5)
    path = tmp_path / STUDY.files()[0]
    record = json.loads(path.read_text())
    record[where] |= {field: value} if where == "metrics" else {"epoch": [1], field: [value]}
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError) as caught:
        STUDY.load(tmp_path)
    assert f"{path}: {field} must be in {bounds}, got {value:g}; restore the file" in str(caught.value)


def test_every_quantity_of_a_record_has_a_range_except_the_losses():
    split = clouds().train
    report = geometry_report(split.inputs, split.labels, radius=0.5, detailed=True)
    quantities = {name.split("/")[0] for name in report} - {"num_samples"}
    for path in RESULTS.glob("*/**/seed0/*.json"):
        record = json.loads(path.read_text())
        quantities |= {name.split("/")[1] for name in (*record["metrics"], *record["series"]) if "/" in name}
    unbounded = {name for name in quantities if sweeps.range_of(f"test/{name}/a") == (-math.inf, math.inf)}
    assert unbounded == {"loss"} and len(quantities) > 40


def test_a_broken_record_stops_the_study_and_is_named(tmp_path):
    made_up(tmp_path, lambda *_: 0.5)
    path = tmp_path / STUDY.files()[0]
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=f"{path.name} is not a readable record"):
        STUDY.load(tmp_path)


# Gains


def levels(cell, seed, arm, setting):
    """Seeds differ by much; the second band gains 0.04 under joint training and loses 0.02 under DGL."""
    gain = 0.04 if cell.columns["paradigm"] == "joint" else -0.02
    return 0.2 + 0.2 * seed + gain * (setting == "radius-0.8")


def second_band(arm, setting):
    return 0.9 if setting == "radius-0.8" else 0.5


def test_gains_are_paired_by_seed_at_the_picked_settings(tmp_path):
    made_up(tmp_path, levels, second_band)
    frame = STUDY.load(tmp_path)
    rows = STUDY.gains(frame, FUSED).set_index("paradigm")
    for paradigm, gain in {"joint": 0.04, "dgl": -0.02}.items():
        assert rows.loc[paradigm, ["low", "mean", "high"]].tolist() == pytest.approx([gain] * 3)
    assert rows["baseline"].tolist() == pytest.approx([0.4, 0.4]) and set(rows["seeds"]) == {3}
    fixed = STUDY.gains(frame, FUSED, setting="radius-0.2")
    assert fixed["mean"].tolist() == pytest.approx([0, 0])
    (pooled,) = STUDY.gains(frame, FUSED, by=[]).to_dict("records")
    assert pooled["mean"] == pytest.approx(0.01) and pooled["seeds"] == 3, "averaged within seeds"
    assert change(pooled) == "+1.0 [+1.0, +1.0]"
    assert set(STUDY.gains(frame, FUSED, against="control")["arm"]) == {"none", "band"}


def test_the_baseline_may_come_from_elsewhere_and_must_have_the_seeds(tmp_path):
    made_up(tmp_path, levels, second_band)
    frame = STUDY.load(tmp_path)
    dgl, joint = (frame[frame["paradigm"] == name] for name in ("dgl", "joint"))
    (row,) = STUDY.gains(joint, FUSED, by=[], reference=dgl).to_dict("records")
    assert row["mean"] == pytest.approx(0.04)
    with pytest.raises(ValueError, match=r"'none' lacks seeds \[2\] that 'band' has"):
        STUDY.gains(joint, FUSED, by=[], reference=dgl[dgl["seed"] < 2])
    with pytest.raises(ValueError, match="nothing to compare with"):
        STUDY.gains(frame, FUSED, against={"nothing": "none"})


def test_an_arm_that_lacks_a_metric_has_no_row_and_one_that_lacks_it_for_a_seed_is_named(tmp_path):
    made_up(tmp_path, levels, second_band)
    frame = STUDY.load(tmp_path)
    joint = frame["paradigm"] == "joint"
    lacking = frame.assign(**{FUSED: frame[FUSED].mask(joint)})
    assert STUDY.gains(lacking, FUSED)["paradigm"].tolist() == ["dgl"]
    lacking = frame.assign(**{FUSED: frame[FUSED].mask(joint & (frame["seed"] == 1))})
    with pytest.raises(ValueError, match=r"not recorded for seeds \[1\] of \('joint',\)"):
        STUDY.gains(lacking, FUSED)


def test_a_higher_level_gives_a_wider_interval_around_the_same_mean(tmp_path):
    made_up(tmp_path, lambda cell, seed, arm, setting: 0.5 + 0.01 * seed**2 * (arm == "band"))
    frame = STUDY.load(tmp_path)
    usual, strict = (STUDY.gains(frame, FUSED, level=level).iloc[0] for level in (0.95, 0.995))
    assert usual["mean"] == strict["mean"]
    assert strict["low"] < usual["low"] < usual["high"] < strict["high"]


def test_a_detectable_gain_is_found_four_times_in_five():
    from scipy.stats import ttest_1samp

    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.03, 20)
    rows = [
        {"paradigm": "joint", "seed": seed, "arm": arm, "setting": "x", "selected": True,
         FUSED: 0.5 + noise[seed] * (arm == "band")}
        for seed, arm in product(range(20), ("none", "band"))
    ]  # fmt: skip
    effect = STUDY.gains(pd.DataFrame(rows), FUSED)["detectable"].item()
    draws = generator.normal(effect, noise.std(ddof=1), (4000, 20))
    assert (ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_means_run_over_modalities_without_the_fused_read_out(tmp_path):
    config = TrainConfig("toy", seed=0)
    one = Study(
        "one", "{setting}.json", (Cell({}, {"dataset": "toy"}, {"a": Arm({"x": {}})}, (0,)),), against="a"
    )
    record_of(config, 0.5, fused=0.9, audio=0.1, image=0.3).save(tmp_path / "x.json")
    assert one.load(tmp_path)["test/accuracy/mean"].tolist() == pytest.approx([0.2])


# Development seeds


TUNED = Study(
    name="tuned",
    path="seed{seed}/{arm}-{setting}.json",
    cells=(
        Cell(
            {}, {"dataset": "toy", "dataset_options": {}},
            {"none": Arm(RATES), "band": Arm({n: f | BANDS["radius-0.2"] for n, f in RATES.items()})},
            seeds=(100, 101), development=(0, 1, 2),
        ),
    ),
    against="none",
)  # fmt: skip


def on_development(config):
    """The slow rate wins on two of three seeds, the fast one in the mean, and fails on every other seed."""
    slow, fast = {0: (0.5, 0.49), 1: (0.5, 0.49), 2: (0.5, 0.9)}.get(config.seed, (0.99, 0.1))
    return slow if config.learning_rate == 0.02 else fast


def test_the_mean_over_development_seeds_picks_and_no_other_seed_takes_part(trained, tmp_path):
    trained.accuracy_of = on_development
    TUNED.train(tmp_path, jobs=1, test=False)
    assert {c.seed for c in trained.runs} == {0, 1, 2} and len(trained.runs) == 12
    with pytest.raises(FileNotFoundError, match="missing"):
        TUNED.load(tmp_path)
    TUNED.train(tmp_path, jobs=1)
    later = trained.runs[12:]
    assert [(c.seed, c.learning_rate) for c in later] == [(100, 0.05)] * 2 + [(101, 0.05)] * 2
    assert [c.regularizer is None for c in later] == [True, False] * 2
    frame = TUNED.load(tmp_path)
    assert set(frame["seed"]) == {100, 101} and frame["selected"].all() and len(frame) == 4
    assert TUNED.frozen(tmp_path, TUNED.cells[0]) == {"none": "rate-0.05", "band": "rate-0.05"}
    assert TUNED.scores(tmp_path, TUNED.cells[0])["none", "rate-0.05"] == pytest.approx(0.62666667)
    assert sorted(TUNED.files()) == sorted(
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.json")
    )


def test_a_test_run_of_another_setting_than_the_frozen_one_is_refused(trained, tmp_path):
    trained.accuracy_of = on_development
    TUNED.train(tmp_path, jobs=1)
    for seed in (0, 1, 2):
        config = TrainConfig("toy", learning_rate=0.02, seed=seed)
        record_of(config, 1.0).save(tmp_path / f"seed{seed}" / "none-rate-0.02.json")
    with pytest.raises(ValueError, match=r"none-frozen\.json was made by another config"):
        TUNED.load(tmp_path)


def test_half_of_the_test_seeds_can_be_shown_but_not_without_development(trained, tmp_path):
    TUNED.train(tmp_path, jobs=1)
    (tmp_path / "seed101" / "none-frozen.json").unlink()
    assert set(TUNED.load(tmp_path, partial=True)["seed"]) == {100}
    assert "Left out of the tables: seed 101." in TUNED.state(tmp_path)
    (tmp_path / "seed0" / "none-rate-0.02.json").unlink()
    with pytest.raises(FileNotFoundError):
        TUNED.load(tmp_path, partial=True)


def test_the_command_can_stop_after_development(trained, tmp_path):
    assert TUNED.main(arguments=["--out", str(tmp_path), "--jobs", "1", "--development"]) == 0
    assert {c.seed for c in trained.runs} == {0, 1, 2}


def test_a_record_has_the_quantities_that_a_study_keeps(trained, tmp_path):
    study = replace(TUNED, kept=("knn_probe",))
    cell = replace(study.cells[0].tuning(), seeds=(0,))
    study.train_cell(cell, 0, tmp_path)
    for path in tmp_path.rglob("*.json"):
        assert json.loads(path.read_text())["metrics"] == {}
    study = replace(TUNED, kept=("accuracy",))
    study.train_cell(cell, 0, tmp_path / "other")
    for path in (tmp_path / "other").rglob("*.json"):
        record = json.loads(path.read_text())
        assert set(record["metrics"]) == {"validation/accuracy/fused", FUSED} and set(record["series"]) == {
            "epoch"
        }


# The command and the example


def test_the_command_prints_a_table_and_writes_one_with_every_metric(tmp_path, capsys):
    made_up(tmp_path, levels, second_band)
    table = tmp_path / "gains.csv"
    assert STUDY.main(arguments=["--out", str(tmp_path), "--summary", "--csv", str(table)]) == 0
    assert "| band | joint | 3 | 40.0 | +4.0 [+4.0, +4.0] | 0.0 |" in capsys.readouterr().out
    assert set(pd.read_csv(table)["metric"]) == {FUSED}
    assert STUDY.main(arguments=["--out", str(tmp_path / "empty"), "--summary"]) == 1
    assert capsys.readouterr().err.startswith("small: no complete records below")


def test_the_example_of_the_docstring_is_a_protocol(trained, tmp_path, capsys):
    code = "\n".join(line[4:] for line in module.__doc__.split("\n") if line.startswith("    "))
    imports = "from geomreg_mini import GeometryRegularizer\nfrom experiments.study import *\n"
    scope = {"__name__": "experiments.radius"}
    exec(imports + code, scope)
    assert code.count("\n") < 30
    assert scope["STUDY"].main(arguments=["--out", str(tmp_path), "--jobs", "1"]) == 0
    assert len(trained.runs) == 2 * 5 * 4 == len(set(trained.runs))
    assert scope["STUDY"].main(arguments=["--out", str(tmp_path), "--summary"]) == 0
    assert "| band | dgl | 5 | 50.0 | +0.0 [+0.0, +0.0] | 0.0 |" in capsys.readouterr().out
