"""Figures of the watch and of emoji: the right pictures in the right places."""

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from figures.emoji import drawn, lines, names
from figures.watch import motion

from geomreg_mini.data import load

ARTISTS = ("twemoji", "noto", "fluent")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_pictures_of_a_split_are_those_that_the_model_gets(part):
    data = load("emoji", source="embedded", artists=ARTISTS)
    split = getattr(data, part)
    pictures = drawn(data, split)
    assert pictures.shape == (len(split), 32, 32, 3) and pictures.dtype == np.uint8
    for color in range(3):
        seen, shown = split.inputs["picture"][:, color].numpy(), pictures[..., color] / 255.0
        slope, height = np.polyfit(shown.ravel(), seen.ravel(), 1)  # standardized by one mean and deviation
        assert slope > 0
        np.testing.assert_allclose(seen, slope * shown + height, atol=1e-4)


def test_an_artist_can_be_named_and_a_name_belongs_to_its_picture():
    data = load("emoji", source="embedded", artists=ARTISTS)
    by_noto = data.test.subset((data.test.factors["artist"] == 1).nonzero()[:, 0])
    np.testing.assert_array_equal(drawn(data, by_noto), drawn(data, by_noto, "noto"))
    assert (drawn(data, by_noto) != drawn(data, by_noto, "twemoji")).any()
    pairs = load("emoji", source="embedded", view="artists", artists=("noto", "fluent"))
    rows = {concept: i for i, concept in enumerate(pairs.test.factors["concept"].tolist())}
    order = [rows[concept] for concept in by_noto.factors["concept"].tolist()]
    np.testing.assert_array_equal(drawn(pairs, pairs.test, "noto")[order], drawn(data, by_noto))
    yellow = drawn(data, data.train)[names(data, data.train).index("lemon")]
    red, green, blue = yellow[16, 16].tolist()
    assert min(red, green) > 1.5 * blue, "the middle of a lemon is yellow"


def test_lines_hold_their_pictures_and_a_frame_stands_around_the_one_that_is_named():
    colors = [np.full((10, 10, 3), value, np.uint8) for value in (10, 60, 110, 160, 210)]
    fig = lines([("a", colors[:3]), ("b", colors[3:])], framed=[None, 1])
    (ax,) = fig.axes
    page = ax.images[0].get_array()
    centers = [(5, 5), (5, 17), (5, 29), (17, 5), (17, 17)]
    assert [int(page[place][0]) for place in centers] == [10, 60, 110, 160, 210]
    assert (page[17, 29] == 255).all(), "the second line has two pictures"
    (frame,) = ax.patches
    left, top = frame.get_xy()
    assert 10 < left < 12 and 10 < top < 12 and left + frame.get_width() > 22
    assert [text.get_text() for text in ax.texts] == ["a", "b"]


def test_motion_draws_each_axis_of_each_signal_over_seconds():
    windows = {m: torch.arange(3.0)[:, None] * torch.ones(3, 128) + k for k, m in enumerate("pq")}
    fig = motion({"one": windows, "two": windows, "three": windows})
    assert len(fig.axes) == 6 and {fig.axes[0].get_title(loc) for loc in ("left", "center")} == {"", "one"}
    assert [ax.get_ylabel() for ax in fig.axes[::3]] == ["p", "q"]
    drawn_lines = fig.axes[3].lines
    assert [line.get_ydata()[0] for line in drawn_lines] == [1, 2, 3]
    assert drawn_lines[0].get_xdata()[-1] == pytest.approx(127 / 50)
    assert len({line.get_linestyle() for line in drawn_lines}) == 3, "not by color alone"
