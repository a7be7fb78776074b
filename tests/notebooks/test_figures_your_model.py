"""Figures of notebook 18 show what they are given."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from figures import your_model
from matplotlib.colors import to_hex

from geomreg_mini import plots
from geomreg_mini.measure import measure


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def in_data(patch):
    """Its box; before matplotlib 3.9 a span is a polygon."""
    return patch.get_path().get_extents(patch.get_patch_transform())


def test_the_diagnosis_draws_the_curves_of_the_measurement_and_shades_its_band():
    torch.manual_seed(0)
    measured = measure({"a": torch.randn(40, 6), "b": torch.randn(40, 6)}, radius=0.7)
    fig = your_model.diagnosis(measured)
    for ax, section in zip(fig.axes, your_model.PANELS, strict=True):
        drawn = [(line.get_label(), list(line.get_ydata())) for line in ax.lines]
        assert drawn == [(curve[0], list(curve[-1])) for curve in measured.curves[section]]
        assert [line.get_linestyle() == "--" for line in ax.lines] == [c[2] for c in measured.curves[section]]
    (band,) = fig.axes[0].patches
    assert in_data(band).intervalx.tolist() == [0, 0.7]


def test_strengths_have_one_line_per_radius_in_the_order_of_strength_and_the_ranges_of_an_active_band():
    runs = pd.DataFrame({
        "strength": [1.0, 0.1, 0.1, 1.0], "radius": [0.2, 0.2, 0.9, 0.9], "dose": [4.0, 3.0, 2.0, 1.0],
        "inside": [0.1, 0.2, 0.3, 0.4], "shuffled": [0.5, 0.6, 0.7, 0.8], "cosine": [0.0, 0.1, 0.2, 0.3],
    })  # fmt: skip
    fig = your_model.strengths(runs, {"dose": (0.1, 1.0), "inside": (0.2, 0.8)})
    drawn = [[list(line.get_ydata()) for line in ax.lines] for ax in fig.axes]
    assert drawn[0] == [[3.0, 4.0], [2.0, 1.0]] and drawn[2] == [[0.1, 0.0], [0.2, 0.3]]
    assert drawn[1] == [[0.2, 0.1], [0.6, 0.5], [0.3, 0.4], [0.7, 0.8]]
    assert [line.get_linestyle() == ":" for line in fig.axes[1].lines] == [False, True, False, True]
    assert [line.get_label() for line in fig.axes[0].lines] == ["radius 0.2", "radius 0.9"]
    assert all(ax.get_xscale() == "log" for ax in fig.axes) and not fig.axes[2].patches
    for ax, shaded in zip(fig.axes, ([0.1, 1.0], [0.2, 0.8]), strict=False):
        (active,) = ax.patches
        assert in_data(active).intervaly.tolist() == shaded
        assert to_hex(active.get_facecolor()) == to_hex(plots.GREEN)
