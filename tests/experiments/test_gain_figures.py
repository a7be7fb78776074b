"""Figures of gains: an interval that excludes zero is seen at once."""

import matplotlib

matplotlib.use("Agg")

import pandas as pd

from experiments.gain_figures import gain_forest, gain_map


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
