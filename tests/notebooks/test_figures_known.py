"""Figures of notebook 17 show what they are given, and its measures of neural collapse have known values."""

import itertools
import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from figures import known


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


CORNERS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
LABELS = torch.arange(40) % 4


def around(corners, spread=0.0):
    noise = torch.randn(40, corners.shape[1], generator=torch.Generator().manual_seed(0))
    return corners[LABELS] + spread * noise


def test_bars_are_stacked_in_the_order_of_the_parts_and_reach_their_sum():
    fig, ax = plt.subplots()
    known.parts(ax, {"one": {"R": 1.0, "U_A": 0.5, "U_B": -1e-9, "S": 0.25}}, "bits")
    heights = [bars[0].get_height() for bars in ax.containers]
    floors = [bars[0].get_y() for bars in ax.containers]
    assert heights == [1.0, 0.5, 0.0, 0.25] and floors == [0.0, 1.0, 1.5, 1.5]
    assert [bars.get_label() for bars in ax.containers] == ["R", "U A", "U B", "S"]


def test_a_triangle_has_one_panel_per_title_and_pure_worlds_at_its_corners():
    shares = [
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
        (0.5, 0.5, 0.0),
        (0.5, 0.0, 0.5),
        (0, 0.5, 0.5),
    ]
    values = [0.0, 50.0, 75.0, 25.0, 37.5, 62.5]
    fig = known.triangle({"gain": values, "loss": [2 * v for v in values]}, shares, ("x", "y", "z"))
    panels = fig.axes[:2]
    assert [ax.get_title(loc="left") or ax.get_title() for ax in panels] == ["gain", "loss"]
    assert {text.get_text() for text in panels[0].texts} >= {"x", "y", "z"}
    for ax, most in zip(panels, (75.0, 150.0), strict=True):
        assert ax.collections[0].get_array().max() == most
        assert ax.collections[0].get_clim() == (0, 150.0)


def test_a_simplex_has_no_distance_from_a_simplex_wherever_it_lies_and_however_large_it_is():
    for z in (around(CORNERS), 7 * around(CORNERS) + 5):
        assert known.simplex_distance(z, LABELS) == pytest.approx((0, 0), abs=1e-6)


def test_a_square_is_even_in_length_and_not_in_angle():
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    # cosines 0 (8 of 12) and -1 (4 of 12)
    wanted = (8 / 3 + 4 * 2 / 3) / 12
    assert known.simplex_distance(around(square), LABELS) == pytest.approx((0, wanted), abs=1e-6)


def test_a_collapsed_network_has_zero_in_all_four():
    z = around(CORNERS)
    found = known.collapse(z, LABELS, 3 * CORNERS + 1, LABELS)
    assert list(found) == list(known.MEASURES)
    assert max(map(abs, found.values())) < 1e-6


def test_each_measure_sees_its_own_fault():
    z, opposite = around(CORNERS, 0.5), -CORNERS
    assert known.collapse(z, LABELS, CORNERS, LABELS)["NC1"] > 0.05
    assert known.collapse(around(CORNERS * torch.tensor([1, 1, 0.1])), LABELS, CORNERS, LABELS)["NC2"] > 0.1
    assert known.collapse(around(CORNERS), LABELS, opposite, LABELS)["NC3"] == pytest.approx(4)
    decided = LABELS.clone()
    decided[:10] = (decided[:10] + 1) % 4
    assert known.collapse(around(CORNERS), LABELS, CORNERS, decided)["NC4"] == pytest.approx(0.25)


def test_collapse_is_the_same_for_labels_with_gaps():
    z = around(CORNERS, 0.3)
    plain, gaps = (known.collapse(z, y, CORNERS, y) for y in (LABELS, 3 * LABELS + 2))
    assert plain == pytest.approx(gaps)


def test_curves_of_collapse_have_a_column_per_world_and_the_mean_over_seeds():
    runs = pd.DataFrame(
        {"world": w, "seed": s, "epoch": e, "part": p, **dict.fromkeys(known.MEASURES, s + e)}
        for w, s, e, p in itertools.product(("first", "second"), (0, 2), (0, 10), ("a", "fused"))
    )
    fig = known.collapses(runs, ["first", "second"])
    assert len(fig.axes) == 8
    for ax in fig.axes:
        means = [list(line.get_ydata()) for line in ax.lines if line.get_label() in ("a", "fused")]
        assert means == [[1.0, 11.0]] * 2 and not math.isnan(means[0][0])
    assert fig.axes[0].get_title(loc="left").startswith("first")
