"""The ablations: their trainings, what is picked, differences of known size, and the committed records."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_records import record_of

from experiments import ablations, regimes, sweeps
from experiments.ablations import (
    AGAIN,
    BAND,
    MAPS,
    SEEDS,
    VARIANTS,
    gains,
    in_points,
    load_ablations,
    sensitivity,
)
from geomreg_mini import data
from geomreg_mini.controls import CONTROLS
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

RESULTS = Path(__file__).parents[2] / "results"
PATHS = {(v.paradigm, v.setting, s): v for v in VARIANTS + AGAIN for s in v.seeds}


def write(folder, value_of, group=None, seeds=SEEDS, validation_of=lambda variant: 0.5) -> None:
    """Records of a group, or of all, with the fused test accuracy that ``value_of(variant, seed)`` says."""
    for variant in VARIANTS:
        if group in (None, variant.group):
            for seed in set(seeds) & set(variant.seeds):
                record = record_of(
                    variant.config(seed), validation_of(variant), fused=value_of(variant, seed)
                )
                record.save(ablations._path(folder, variant, seed))


# The trainings


def test_no_two_trainings_share_a_file_and_no_training_has_two():
    trainings = {(v.paradigm, v.setting): v.config(0) for v in VARIANTS}
    assert len({config.key for config in trainings.values()}) == len(trainings)
    for v in VARIANTS:
        assert v.config(0) == trainings[v.paradigm, v.setting]
    paths = {ablations._path(Path(), PATHS[key], key[-1]) for key in PATHS}
    assert len(paths) == len(PATHS) == 321 + 75


def test_files_have_names_that_make_can_read():
    for (_, _, seed), variant in PATHS.items():
        assert not set(str(ablations._path(Path("results"), variant, seed))) & set(" =:$#%")


def test_every_objective_has_three_settings_and_every_control_is_there():
    controls = [v for v in VARIANTS if v.group == "controls"]
    names = {v.name for v in controls}
    assert {"none", BAND} < names and len(names) == 11
    for name in names:
        assert len({v.setting for v in controls if v.name == name}) == 3
    assert {v.objective for v in controls} == {"", "GeometryRegularizer", *CONTROLS}


def test_groups_other_than_the_controls_train_at_one_learning_rate():
    assert {v.config(0).learning_rate for v in VARIANTS if v.group != "controls"} == {0.02}


@pytest.mark.parametrize(
    ("group", "paradigm"), [("components", "joint"), ("components", "dgl"), ("depth", "joint"),
                            ("power", "joint"), ("combination", "dgl"), ("form", "joint")]
)  # fmt: skip
def test_a_group_changes_one_thing_of_the_same_training(group, paradigm):
    variants = [v for v in VARIANTS if (v.group, v.paradigm) == (group, paradigm) and v.objective]
    configs = [v.config(0).to_dict() for v in variants]
    base = next(c for c in configs if c["regularizer"].items() >= ablations.MODERATE.items()
                and c["depth"] == "embedding" and c["combination"] == "sum"
                and c["regularizer"]["form"] == "rbf" and c["regularizer"]["power"] == 2)  # fmt: skip
    for config in configs:
        changed = {k for k in config if config[k] != base[k]}
        terms = {k for k, v in config["regularizer"].items() if v != base["regularizer"][k]}
        assert len(changed) <= 1
        assert len(terms - {"dispersion_weight"}) <= 1 or not terms


# Running


@pytest.fixture
def trained(monkeypatch):
    """Training replaced by a made-up record; the list holds the configs in the order of training."""
    runs = []

    def fake(config, *, data, device, progress):
        runs.append(config)
        return record_of(config, 0.5)

    monkeypatch.setattr(sweeps, "fit", fake)
    monkeypatch.setattr(data, "load", lambda name, **options: SimpleNamespace(fingerprint="0"))
    return runs


def in_this_process(work, cells, *, total, jobs):
    cells = list(cells)
    assert total == sum(work(*cell) for cell in cells)


def test_every_training_runs_once_and_what_is_recorded_is_not_trained_again(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "work_through", in_this_process)
    ablations.run_ablations(tmp_path)
    assert len(trained) == len(PATHS) == len(set(trained)) == len(list(tmp_path.rglob("*.json")))
    trained.clear()
    victim = sorted(tmp_path.rglob("KoLeo*.json"))[3]
    victim.unlink()
    ablations.run_ablations(tmp_path)
    assert [type(config.regularizer).__name__ for config in trained] == ["KoLeo"]
    assert victim.exists()


# Reading


def test_one_setting_is_picked_by_validation_for_each_name_and_seed(tmp_path):
    wanted = "KoLeo weight=0.1"
    write(tmp_path, lambda v, s: 0.9, "controls", validation_of=lambda v: 0.8 if v.setting == wanted else 0.5)
    frame = load_ablations(tmp_path)
    picked = frame[(frame["group"] == "controls") & frame["selected"]]
    assert picked.groupby(["name", "seed"]).size().unique().tolist() == [1]
    assert set(picked.loc[picked["name"] == "KoLeo", "setting"]) == {wanted}
    first = next(v.setting for v in VARIANTS if v.name == "Barlow Twins")
    assert set(picked.loc[picked["name"] == "Barlow Twins", "setting"]) == {first}, "ties go to the first"


def test_a_seed_that_lacks_a_setting_is_left_out_of_that_name_alone(tmp_path):
    write(tmp_path, lambda v, s: 0.5, "controls")
    next((tmp_path / "joint" / "seed3").glob("KoLeo*")).unlink()
    frame = load_ablations(tmp_path)
    assert set(frame.loc[frame["name"] == "KoLeo", "seed"]) == set(SEEDS) - {3}
    assert set(frame.loc[frame["name"] == BAND, "seed"]) == set(SEEDS)


def test_without_records_the_command_to_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m experiments\.ablations"):
        load_ablations(tmp_path)


def accuracy(variant, seed):
    """Made up: seeds differ much, an objective by a fixed amount, so that paired intervals have no width."""
    level = 0.3 + 0.1 * seed
    if variant.group == "controls":
        return level + {"none": 0.02, BAND: 0.05, "KoLeo": 0.01}.get(variant.name, 0)
    if variant.objective == "":
        return level
    return level + 0.04 * (variant.arguments.get("anchoring_weight", 0) > 0)


def test_differences_are_paired_by_seed(tmp_path):
    write(tmp_path, accuracy, "controls")
    frame = load_ablations(tmp_path)
    table = gains(frame, "test/accuracy/fused", "controls").set_index("name")
    assert table.loc[BAND, ["low", "mean", "high"]].tolist() == pytest.approx([0.03] * 3)
    assert "none" not in table.index and set(table["seeds"]) == {len(SEEDS)}
    table = gains(frame, "test/accuracy/fused", "controls", against=BAND).set_index("name")
    assert table.loc["KoLeo", "mean"] == pytest.approx(-0.04)
    assert table.loc["none", "mean"] == pytest.approx(-0.03)
    assert table.loc["none", "baseline"] == pytest.approx(0.55)


def test_a_group_without_a_name_takes_it_from_the_components_or_from_where_one_says(tmp_path):
    # Among the controls validation picks another learning rate, and that run is 0.1 better.
    write(tmp_path, accuracy)
    for variant in VARIANTS:
        if variant.setting == "none learning_rate=0.05":
            for seed in SEEDS:
                record = record_of(variant.config(seed), 0.9, fused=0.3 + 0.1 * seed + 0.1)
                record.save(ablations._path(tmp_path, variant, seed))
    frame = load_ablations(tmp_path)
    fixed = gains(frame, "test/accuracy/fused", "depth")
    assert set(fixed["name"]) == {"hidden", "embedding", "logits"}
    assert fixed["mean"].tolist() == pytest.approx([0.04] * 3)
    tuned = gains(frame, "test/accuracy/fused", "depth", against_group="controls")
    assert tuned["mean"].tolist() == pytest.approx([0.04 - 0.1] * 3)


def test_points_are_a_hundred_times_the_gain(tmp_path):
    write(tmp_path, accuracy, "components")
    frame = load_ablations(tmp_path)
    table = in_points(frame, {"fused": "accuracy/fused"}, "components", "dgl").set_index("label")
    assert table.loc["anchoring only", ["gain", "low", "high"]].tolist() == pytest.approx([4] * 3)
    assert table.loc["dispersion only", "gain"] == pytest.approx(0)
    assert table.loc["both", "baseline"] == pytest.approx(50)
    assert set(table["group"]) == {"fused"}


@pytest.mark.parametrize(("group", "cells", "best"), [("weights", 16, 12), ("band", 12, 12)])
def test_a_map_has_every_cell_with_its_two_hyperparameters(tmp_path, group, cells, best):
    write(tmp_path, accuracy)
    table = sensitivity(load_ablations(tmp_path), group, "test/accuracy/fused")
    first, second = MAPS[group]
    assert len(table) == cells == table[first].nunique() * table[second].nunique()
    assert (table["mean"].round(6) == 0.04).sum() == best
    assert set(table["seeds"]) == {3}
    if group == "weights":
        assert (table["anchoring_weight"][table["mean"].round(6) == 0.04] > 0).all()


def test_a_higher_level_gives_a_wider_interval_around_the_same_mean(tmp_path):
    write(tmp_path, lambda v, s: 0.5 + 0.01 * s * (v.name == BAND), "controls")
    frame = load_ablations(tmp_path)
    usual, strict = (
        gains(frame, "test/accuracy/fused", "controls", level=level).set_index("name").loc[BAND]
        for level in (0.95, 0.995)
    )
    assert usual["mean"] == strict["mean"] == pytest.approx(0.02)
    assert strict["low"] < usual["low"] < usual["high"] < strict["high"]


@pytest.mark.parametrize(("group", "against"), [("control", "none"), ("controls", "nothing")])
def test_an_unknown_name_is_named(tmp_path, group, against):
    write(tmp_path, accuracy, "controls")
    with pytest.raises(ValueError, match=f"{group!r}.*{against!r}"):
        gains(load_ablations(tmp_path), "test/accuracy/fused", group, against=against)


# The committed records


@pytest.fixture(scope="module")
def committed():
    return load_ablations(RESULTS / "ablations")


def test_every_training_is_committed_and_is_the_one_that_the_protocol_asks_for():
    fingerprints = {}
    for (paradigm, setting, seed), variant in PATHS.items():
        record = Record.load(ablations._path(RESULTS / "ablations", variant, seed))
        assert TrainConfig.from_dict(record.config) == variant.config(seed), (paradigm, setting, seed)
        fingerprints.setdefault(seed, set()).add(record.data_fingerprint)
    assert {len(seen) for seen in fingerprints.values()} == {1}, "one seed, one data set"
    assert len(list((RESULTS / "ablations").rglob("*.json"))) == len(PATHS)


def test_the_regime_map_recorded_the_same_numbers_for_the_same_training():
    regime = regimes.Regime("unseen_speakers", None, 0.8, "joint")
    common = 0
    for (name, setting), seed in itertools.product(regimes.BASELINES.items(), SEEDS):
        there = Record.load(RESULTS / "digits" / regime.name / f"seed{seed}" / f"baseline-{name}.json")
        for variant in VARIANTS:
            if variant.group == "controls" and variant.config(seed) == regime.config(seed, setting, None):
                here = Record.load(ablations._path(RESULTS / "ablations", variant, seed))
                assert here.metrics == there.metrics
                common += 1
    assert common == 3 * len(SEEDS)


def test_the_tables_have_a_row_for_every_objective_and_every_combination_of_terms(committed):
    controls, components = ablations.summary(committed).split("\n\n")
    assert len(controls.split("\n")) == 2 + 11
    assert len(components.split("\n")) == 2 + 5
    for line in (controls + "\n" + components).split("\n"):
        assert line.startswith("| ") and line.endswith(" |") and "nan" not in line
    none = next(line for line in controls.split("\n") if line.startswith("| none"))
    assert none.split(" | ")[2] == "-", "nothing is compared with itself"


def test_the_figure_shows_every_comparison_once(committed):
    figure = ablations.figure(committed)
    rows = [[label.get_text() for label in ax.get_yticklabels()] for ax in figure.axes]
    assert [len(set(names)) for names in rows] == [10, 10]
    assert BAND in rows[0] and "none" not in rows[0]
    assert "none" in rows[1] and BAND not in rows[1]


def test_the_readme_quotes_the_committed_records(committed):
    readme = (RESULTS / "README.md").read_text()
    for table in ablations.summary(committed).split("\n\n"):
        assert table in readme
