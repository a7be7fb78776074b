"""Figures of notebooks 11 to 13, 16 and 18 on emoji: lines of pictures, as their artists drew them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from data_scripts.emoji import texts_of
from geomreg_mini import plots
from geomreg_mini.data import emoji

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from geomreg_mini.data import MultimodalDataset, Split

GAP = 0.2  # between pictures, in sides of a picture


@cache
def _arrays(embedded: bool) -> dict[str, np.ndarray]:
    return emoji.read("embedded" if embedded else "full")[0]


def drawn(data: MultimodalDataset, split: Split, artist: str | None = None) -> np.ndarray:
    """Return the pictures (N, S, S, 3) uint8 of a split of the emoji, before any change.

    artist: whose pictures; by default those of the split's factor "artist".
    """
    arrays = _arrays(bool(data.note))
    concepts = split.factors["concept"].numpy()
    if artist is None:
        artists = split.factors["artist"].numpy()
    else:
        artists = np.full(len(concepts), arrays["artist_names"].tolist().index(artist))
    places = dict(
        zip(
            zip(arrays["concepts"], arrays["artists"], strict=True),
            range(len(arrays["artists"])),
            strict=True,
        )
    )
    return arrays["pictures"][[places[key] for key in zip(concepts, artists, strict=True)]]


def names(data: MultimodalDataset, split: Split, language: str = "en") -> list[str]:
    """Return the name of each sample of a split of the emoji."""
    of_all = texts_of(_arrays(bool(data.note)))[language]["names"]
    return [of_all[concept] for concept in split.factors["concept"].tolist()]


def lines(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], framed: Sequence[int | None] | None = None
) -> Figure:
    """Draw pictures in lines, each with its title to the left.

    rows: (title, pictures (S, S, 3) uint8) of each line. framed: the position of the picture with a frame in
    each line, or None for a line without one.
    """
    import matplotlib.pyplot as plt

    most, side = max(len(pictures) for _, pictures in rows), len(rows[0][1][0])
    step = round((1 + GAP) * side)
    page = np.full((step * len(rows), step * most, 3), 255, np.uint8)
    fig, ax = plt.subplots(figsize=(1.7 + 0.56 * most, 0.25 + 0.56 * len(rows)))
    for y, (title, pictures) in enumerate(rows):
        ax.text(-0.9 * GAP * step, (y + 0.42) * step, title, ha="right", va="center", fontsize=9)
        for x, picture in enumerate(pictures):
            page[y * step : y * step + side, x * step : x * step + side] = picture
    for y, x in enumerate(framed or ()):
        if x is not None:
            corner = x * step - 0.35 * GAP * side, y * step - 0.35 * GAP * side
            size = (1 + 0.7 * GAP) * side
            ax.add_patch(plt.Rectangle(corner, size, size, fill=False, color=plots.VERMILION, lw=2.2))
    ax.imshow(page)
    ax.set(xlim=(-0.5 * GAP * side, step * most), ylim=(step * len(rows), -0.5 * GAP * side))
    plots.bare(ax)
    return fig
