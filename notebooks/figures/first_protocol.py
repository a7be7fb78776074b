"""Figures of notebook 08 on the first protocol of the digits: its band, its grids and its power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from experiments.claims import fused_gains
from experiments.hindsight import banded
from experiments.judging import detectable
from geomreg_mini import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = {"joint": "joint", "dgl": "DGL", "": "other paradigms"}
ACTIVE = (20, 80)  # percent of pairs outside a band that works
CLAIMED = tuple(sorted(round(gain, 1) for gain in fused_gains()))  # of the paper, in points


def _by_group(ax: Axes, frame: pd.DataFrame, column: str, scale: float) -> None:
    """Draw a column as points, one line per group of paradigms, shaken upwards and downwards."""
    shake = np.random.default_rng(0)
    for y, paradigm in enumerate(GROUPS):
        alone = frame["paradigm"] == paradigm
        rows = frame[alone if paradigm else ~frame["paradigm"].isin(list(GROUPS))]
        style = list(plots.modality_style(GROUPS).values())[y]
        look = {"color": style["color"], "marker": style["marker"], "alpha": 0.35, "lw": 0, "s": 16}
        ax.scatter(scale * rows[column], y + shake.uniform(-0.3, 0.3, len(rows)), **look)
    ax.set(yticks=range(len(GROUPS)), yticklabels=GROUPS.values(), ylim=(len(GROUPS) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)


def faults(runs: pd.DataFrame, rates: Mapping[str, pd.Series]) -> Figure:
    """Draw the share of pairs outside the band, the distances of baseline pairs, and the picked rates.

    runs, rates: from ``hindsight.runs`` and ``hindsight.picked_rates``.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    own, bare = banded(runs), runs[runs["radius"].isna()]
    _by_group(axes[0], own, "outside", 100)
    axes[0].axvspan(*ACTIVE, color=plots.GREEN, alpha=0.15, lw=0)
    axes[0].text(50, -0.42, "a working band", ha="center", va="top", fontsize=9)
    axes[0].set(xlim=(0, 102), xlabel="test pairs outside the band (%)", title="Was the band active?")
    _by_group(axes[1], bare, "distance", 1)
    for radius in sorted(own["radius"].unique()):
        axes[1].axvline(radius, color=plots.VERMILION, ls="--", lw=1.5)
    axes[1].plot([], [], color=plots.VERMILION, ls="--", label="radii on offer")
    axes[1].legend(loc="lower left", fontsize=8, frameon=True, framealpha=1)
    axes[1].set(xlim=(0, 1.3), xlabel="distance of pairs without a regularizer", title="Out of reach")
    axes[1].set_yticklabels([])
    offered = sorted({rate for counts in rates.values() for rate in counts.index})
    for shift, (arm, counts), color, hatch in zip(
        (-0.2, 0.2), rates.items(), (plots.BLUE, plots.ORANGE), ("", "//"), strict=True
    ):
        x = [offered.index(rate) + shift for rate in counts.index]
        share = 100 * counts / counts.sum()
        axes[2].bar(x, share, 0.38, color=color, hatch=hatch, edgecolor="white", label=arm)
    axes[2].set(xticks=range(len(offered)), xticklabels=offered, xlabel="learning rate")
    axes[2].set(ylabel="picked (% of cases)", title="Picked at the end of the grid")
    axes[2].legend(loc="upper left")
    axes[2].grid(axis="x", visible=False)
    return fig


def power(points: pd.DataFrame, deviation: float) -> Figure:
    """Draw the gain that is found with a chance of 80 % against the number of seeds.

    points: from ``hindsight.detectable_now_and_then``; deviation: of a gain between seeds, in points, with
    half and twice of it as a band.
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.6, 4.2))
    seeds = np.unique(np.geomspace(3, 1000, 80).astype(int))
    curve = np.array([detectable(1.0, int(n)) for n in seeds])
    ax.fill_between(seeds, 0.5 * deviation * curve, 2 * deviation * curve, color=plots.BLUE, alpha=0.15, lw=0)
    ax.plot(seeds, deviation * curve, color=plots.BLUE, label=f"deviation between seeds {deviation:.1f}")
    ax.axhspan(*CLAIMED, color=plots.ORANGE, alpha=0.25, lw=0)
    ax.text(8, np.prod(CLAIMED) ** 0.5, "gains in the paper", va="center", fontsize=9)
    styles = plots.modality_style(points["protocol"].unique())
    for (name, style), size in zip(styles.items(), (5, 11), strict=True):
        own = points[points["protocol"] == name]
        color = plots.VERMILION if size > 5 else plots.BLACK
        look = {"color": color, "marker": style["marker"], "ms": size, "ls": ""}
        ax.plot(own["seeds"], own["detectable"], label=name, **look)
    ax.set(xscale="log", yscale="log", xlabel="seeds", ylabel="gain found four times in five (points)")
    ax.set(xticks=(ticks := (3, 6, 20, 50, 100, 300, 1000)), xticklabels=ticks)
    ax.set(yticks=(ticks := (0.2, 0.5, 1, 2, 5, 10)), yticklabels=ticks)
    ax.minorticks_off()
    ax.legend()
    return fig
