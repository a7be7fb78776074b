"""The ablations: their trainings, differences of known size, maps, tables and figure."""

import pytest
from made_up_records import committed, frame_of

from experiments import ablations
from experiments.ablations import BAND, MAPS, SEEDS, STUDY, differences, in_points, sensitivity
from geomreg_mini.controls import CONTROLS
from geomreg_mini.training import TrainConfig

FUSED = "test/accuracy/fused"


def configs(group, paradigm="joint"):
    """arm -> its configs of seed 0."""
    (cell,) = [c for c in STUDY.cells if c.columns == {"group": group, "paradigm": paradigm}]
    return {
        name: [TrainConfig(**{**cell.config, **fields}) for fields in arm.settings.values()]
        for name, arm in cell.arms.items()
    }


def test_every_objective_has_three_settings_and_every_control_is_there():
    controls = configs("controls")
    assert {"none", BAND} < set(controls) and len(controls) == 11
    assert {len(own) for own in controls.values()} == {3}
    objectives = {type(c.regularizer).__name__ for own in controls.values() for c in own}
    later = {"SIGReg"}  # came after the protocol
    assert objectives == {"NoneType", "GeometryRegularizer", *CONTROLS} - later


def test_groups_other_than_the_controls_train_at_one_learning_rate():
    cells = [cell.columns for cell in STUDY.cells if cell.columns["group"] != "controls"]
    every = [c for columns in cells for own in configs(**columns).values() for c in own]
    assert {c.learning_rate for c in every} == {0.02}


@pytest.mark.parametrize(
    ("group", "paradigm"), [("components", "joint"), ("components", "dgl"), ("depth", "joint"),
                            ("power", "joint"), ("combination", "dgl"), ("form", "joint")]
)  # fmt: skip
def test_a_group_changes_one_thing_of_the_same_training(group, paradigm):
    every = [c.to_dict() for own in configs(group, paradigm).values() for c in own if c.regularizer]
    base = next(c for c in every if c["regularizer"].items() >= ablations.MODERATE.items()
                and c["depth"] == "embedding" and c["combination"] == "sum"
                and c["regularizer"]["form"] == "rbf" and c["regularizer"]["power"] == 2)  # fmt: skip
    for config in every:
        changed = {k for k in config if config[k] != base[k]}
        terms = {k for k, v in config["regularizer"].items() if v != base["regularizer"][k]}
        assert len(changed) <= 1
        assert len(terms - {"dispersion_weight"}) <= 1 or not terms


def accuracy(cell, seed, arm, setting):
    """Made up: seeds differ much, an objective by a fixed amount, so that paired intervals have no width."""
    level = 0.3 + 0.1 * seed
    if cell["group"] == "controls":
        more = {"none": 0.02, BAND: 0.05, "KoLeo": 0.01}.get(arm, 0) + 0.1 * (
            setting == "none learning_rate=0.05"
        )
    elif setting.startswith("none"):
        more = 0
    else:
        more = 0.04 * ("anchoring_weight=0.0" not in setting)
    return {FUSED: level + more}


@pytest.fixture(scope="module")
def frame():
    return frame_of(STUDY, accuracy)


def test_differences_are_paired_by_seed(frame):
    table = differences(frame, FUSED, "controls").set_index("arm")
    assert table.loc[BAND, ["low", "mean", "high"]].tolist() == pytest.approx([0.03] * 3)
    assert "none" not in table.index and set(table["seeds"]) == {len(SEEDS)}
    table = differences(frame, FUSED, "controls", against=BAND).set_index("arm")
    assert table.loc["KoLeo", "mean"] == pytest.approx(-0.04)
    assert table.loc["none", ["mean", "baseline"]].tolist() == pytest.approx([-0.03, 0.55])


def test_a_group_without_an_arm_takes_it_from_the_components_or_from_the_group_that_is_named():
    # Among the controls validation picks another learning rate, and that run is 0.1 better.
    frame = frame_of(STUDY, accuracy)
    none = (frame["group"] == "controls") & (frame["arm"] == "none")
    frame["selected"] = frame["selected"].mask(none, frame["setting"] == "none learning_rate=0.05")
    fixed = differences(frame, FUSED, "depth")
    assert fixed["arm"].tolist() == ["hidden", "embedding", "logits"]
    assert fixed["mean"].tolist() == pytest.approx([0.04] * 3)
    tuned = differences(frame, FUSED, "depth", against_group="controls")
    assert tuned["mean"].tolist() == pytest.approx([0.04 - 0.12] * 3)


def test_points_are_a_hundred_times_the_difference(frame):
    table = in_points(frame, {"fused": "accuracy/fused"}, "components", "dgl").set_index("label")
    assert table.loc["anchoring only", ["gain", "low", "high"]].tolist() == pytest.approx([4] * 3)
    assert table.loc["dispersion only", "gain"] == pytest.approx(0)
    assert table.loc["both", "baseline"] == pytest.approx(50)
    assert set(table["group"]) == {"fused"}


@pytest.mark.parametrize(("group", "cells", "best"), [("weights", 16, 12), ("band", 12, 12)])
def test_a_map_has_every_cell_with_its_two_hyperparameters(frame, group, cells, best):
    table = sensitivity(frame, group, FUSED)
    first, second = MAPS[group]
    assert len(table) == cells == table[first].nunique() * table[second].nunique()
    assert (table["mean"].round(6) == 0.04).sum() == best
    assert set(table["seeds"]) == {3}
    if group == "weights":
        assert (table["anchoring_weight"][table["mean"].round(6) == 0.04] > 0).all()


@pytest.mark.parametrize(("group", "against"), [("control", "none"), ("controls", "nothing")])
def test_an_unknown_name_is_named(frame, group, against):
    with pytest.raises(ValueError, match=f"{group!r}.*{against!r}"):
        differences(frame, FUSED, group, against=against)


def test_the_tables_have_a_row_for_every_objective_and_every_combination_of_terms():
    controls, components = ablations.summary(committed("ablations")).split("\n\n")
    assert len(controls.split("\n")) == 2 + 11
    assert len(components.split("\n")) == 2 + 5
    for line in (controls + "\n" + components).split("\n"):
        assert line.startswith("| ") and line.endswith(" |") and "nan" not in line
    none = next(line for line in controls.split("\n") if line.startswith("| none"))
    assert none.split(" | ")[2] == "-", "nothing is compared with itself"


def test_the_figure_shows_every_comparison_once():
    figure = ablations.figure(committed("ablations"))
    rows = [[label.get_text() for label in ax.get_yticklabels()] for ax in figure.axes]
    assert [len(set(names)) for names in rows] == [10, 10]
    assert BAND in rows[0] and "none" not in rows[0]
    assert "none" in rows[1] and BAND not in rows[1]
