"""The paradigm table: rows, gains of known size taken apart, its form, and what results/README.md quotes."""

import numpy as np
import pandas as pd
import pytest
from made_up_records import RESULTS, committed, frame_of

from experiments import paradigm_table
from experiments.paradigm_table import (
    AGAIN,
    DATASETS,
    FIRST,
    NAMES,
    ONCE_MORE,
    REGULARIZERS,
    SEEDS,
    STUDY,
    figure,
    over_joint,
    read_outs,
    summary,
)
from experiments.study import change
from geomreg_mini.paradigms import PARADIGMS

FUSED = "test/accuracy/fused"


def frame(values, dataset="digits"):
    """Runs of some paradigms with ``values[paradigm] = (baseline, regularized)``, 0.1 more for each seed."""

    def metrics(cell, seed, arm, setting):
        pair = values.get(cell["paradigm"], (np.nan, np.nan))
        return {FUSED: pair[arm == "regularized"] + seed / 10}

    made = frame_of(STUDY, metrics)
    return made[(made["dataset"] == dataset) & made["paradigm"].isin(values)]


def test_every_row_of_the_table_is_a_paradigm_and_has_a_name():
    assert list(FIRST) == list(NAMES) and set(FIRST) <= set(PARADIGMS)
    assert len(set(NAMES.values())) == len(NAMES)
    assert len(STUDY.cells) == len(FIRST) * len(DATASETS)


def test_only_mla_shares_a_head():
    fusions = {cell.columns["paradigm"]: cell.config["fusion"] for cell in STUDY.cells}
    assert fusions == {name: "shared" if name == "mla" else "concat" for name in FIRST}


def test_no_regularizer_is_not_among_the_regularizers():
    assert all(w["dispersion_weight"] > 0 and w["anchoring_weight"] > 0 for w in REGULARIZERS.values())


def test_each_arm_costs_four_runs_and_both_start_from_the_picked_first_one():
    for cell in STUDY.cells:
        first, baseline, regularized = (cell.arms[name] for name in ("first", "baseline", "regularized"))
        assert len(first.settings) == len(baseline.settings) == len(regularized.settings) == 2
        assert baseline.start == regularized.start == "first"
        assert [setting for _, setting in baseline.shares] == list(first.settings)


def test_new_seeds_are_new():
    seeds = [*SEEDS, *(seed for cell in AGAIN + ONCE_MORE for seed in cell.seeds)]
    assert sorted(set(seeds)) == seeds


def test_over_joint_takes_the_gains_apart():
    # joint 0.50 -> 0.52, DGL 0.60 -> 0.63: alone +0.10 and +0.02, together +0.13, 0.01 more than the sum
    rows = over_joint(frame({"joint": (0.50, 0.52), "dgl": (0.60, 0.63)}), FUSED).set_index("part")
    expected = {"paradigm": 0.10, "regularizer": 0.02, "both": 0.13, "surplus": 0.01}
    assert rows["mean"].to_dict() == pytest.approx(expected)
    assert rows["low"].to_dict() == pytest.approx(expected), "paired: what differs by seed alone drops out"
    assert set(rows["paradigm"]) == {"dgl"}


def test_over_joint_uses_the_seeds_that_both_have():
    runs = frame({"joint": (0.50, 0.52), "dgl": (0.60, 0.63)})
    rows = over_joint(runs[(runs["paradigm"] == "joint") | (runs["seed"] > 2)], FUSED)
    assert set(rows["seeds"]) == {2}


def test_read_outs_are_the_modalities_or_their_mean():
    runs = committed("paradigm_table")
    assert read_outs(runs, "digits") == ["audio", "image", "fused"]
    assert read_outs(runs, "three_views") == ["mean", "fused"]
    assert "fused" not in read_outs(runs, "digits", "knn_probe")


def test_the_summary_is_in_percent_and_points_and_bold_where_zero_is_left_out():
    runs = frame({"joint": (0.5, 0.6), "dgl": (0.5, 0.6)})
    wobble = (runs["paradigm"] == "dgl") & (runs["arm"] == "regularized")
    runs[FUSED] += wobble * np.where(runs["seed"] % 2, 0.5, -0.4)
    lines = summary(runs).split("\n")
    assert lines[0] == "| paradigm | fused | + regularizer |" and lines[1] == "|---|---|---|"
    assert lines[2] == "| Joint | 70.0 | **+10.0 [+10.0, +10.0]** |"
    assert lines[3].startswith("| DGL | 70.0 | +6.0 [-") and len(lines) == 4


def test_the_figure_has_a_row_for_every_paradigm_but_joint():
    import matplotlib.pyplot as plt

    fig = figure(committed("paradigm_table"))
    left, right = fig.axes
    shown = [text.get_text() for text in left.get_yticklabels()]
    assert sorted(shown) == sorted(name for name in NAMES.values() if name != "Joint")
    assert "add up" in right.get_xlabel()
    plt.close(fig)


def test_the_readme_quotes_the_intervals_of_every_look_at_dgl():
    prose = " ".join((RESULTS / "README.md").read_text().split())  # lines may break within an interval
    runs = committed("paradigm_table")
    looks = [runs[(runs["dataset"] == "digits") & (runs["paradigm"] == "dgl")]]
    looks += [STUDY.load(RESULTS / "paradigms", cells) for cells in (AGAIN, ONCE_MORE)]
    for look in (*looks, pd.concat(looks)):
        assert change(STUDY.gains(look, FUSED).iloc[0]) in prose
    for row in STUDY.gains(runs, FUSED, by=["dataset"]).to_dict("records"):
        assert change(row) in prose
    for dataset in ("digits",):
        assert paradigm_table.summary(runs, dataset) in (RESULTS / "README.md").read_text()
