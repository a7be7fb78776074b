"""Figures of gains: an interval that excludes zero is seen at once."""

import matplotlib

matplotlib.use("Agg")

import pandas as pd

from experiments.gain_figures import MOST, gain_forest, gain_map, in_words


def test_forest_fills_a_marker_only_where_the_interval_excludes_zero():
    table = pd.DataFrame({"label": ["helps", "unclear", "hurts"], "gain": [2.0, 0.5, -3.0]})
    table = table.assign(low=table["gain"] - 1, high=table["gain"] + 1)
    fig = gain_forest(table)
    markers = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert [m.get_markerfacecolor() == "white" for m in markers] == [False, True, False]
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["helps", "unclear", "hurts"]


def test_gain_map_frames_exactly_the_cells_whose_interval_excludes_zero():
    table = pd.DataFrame(
        [
            ("few", "low", 0.02, 0.01, 0.03),
            ("few", "high", -0.01, -0.02, 0.01),
            ("all", "low", 0.0, -0.01, 0.01),
        ]
        + [("all", "high", -0.04, -0.05, -0.02)],
        columns=["labels", "noise", "mean", "low", "high"],
    )
    fig = gain_map({"fused": table}, rows=["labels"], columns=["noise"])
    ax = fig.axes[0]
    frames = sorted((int(patch.get_x()), int(patch.get_y())) for patch in ax.patches)
    assert frames == [(0, 0), (1, 1)]
    texts = [text.get_text() for text in ax.texts]
    assert texts[:2] == ["+2.0", "[+1.0, +3.0]"] and "-4.0" in texts
    assert [label.get_text() for label in ax.get_xticklabels()] == ["low", "high"]


def test_gain_map_leaves_a_cell_without_a_row_empty():
    rows = [
        ("few", "low", 0.02, 0.01, 0.03),
        ("few", "high", -0.01, -0.02, 0.01),
        ("all", "low", 0.0, -0.01, 0.01),
    ]
    table = pd.DataFrame(rows, columns=["labels", "noise", "mean", "low", "high"])
    fig = gain_map({"fused": table}, rows=["labels"], columns=["noise"])
    assert len(fig.axes[0].texts) == 2 * len(rows)


def table(*rows, column="gain"):
    return pd.DataFrame(rows, columns=["label", column, "low", "high"])


def test_names_what_excludes_zero_and_gives_the_range_of_the_rest():
    rows = table(
        ("up", 2.0, 0.5, 3), ("down_here", -1.0, -2, -0.1), ("one", 0.3, -1, 2), ("two", -0.4, -1, 1)
    )
    assert in_words(rows) == (
        "Above zero: up +2.0. Below zero: down here -1.0. "
        "The other 2 include zero, with means from -0.4 to +0.3."
    )


def test_a_bound_at_zero_does_not_exclude_it():
    assert in_words(table(("a", 1.0, 0.0, 2.0), ("b", -1.0, -2.0, 0.0))) == (
        "All 2 include zero, with means from -1.0 to +1.0."
    )


def test_a_single_interval_with_zero_is_named():
    rows = table(("up", 2.0, 0.5, 3), ("one", 0.3, -1, 2))
    assert in_words(rows) == "Above zero: up +2.0. The interval of one includes zero, with a mean of +0.3."


def test_a_row_may_have_several_names_and_another_unit():
    rows = table(("x", 0.021, 0.01, 0.03), column="mean").assign(paradigm="dgl")
    assert in_words(rows, "label", "paradigm", scale=100) == "Above zero: x dgl +2.1."


def test_many_rows_are_counted():
    rows = table(*((f"r{k}", float(k), 0.5, 99) for k in range(1, MOST + 2)))
    assert in_words(rows) == f"Above zero: {MOST + 1}, from +1.0 to +{MOST + 1}.0."
