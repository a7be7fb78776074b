"""Figures of notebook 18: a measurement in three panels, and what a regularizer does at growing strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from geomreg_mini import plots
from geomreg_mini.measure import SECTIONS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from geomreg_mini.measure import Measurement

PANELS = ("Distances", "Gap", "Spectrum")


def diagnosis(measured: Measurement) -> Figure:
    """Draw three figures of the report page: pairs' distances with the band, the gap, and the spectra."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    colors = (plots.BLUE, plots.ORANGE)
    for ax, section in zip(axes, PANELS, strict=True):
        for name, color, reference, xs, ys in measured.curves[section]:
            style = {"linestyle": "--", "lw": 1.2} if reference else {"lw": 2}
            ax.plot(xs, ys, color="#777777" if reference else colors[color % 2], label=name, **style)
        _, x_label, y_label = SECTIONS[section]
        ax.set(title=section.lower(), xlabel=x_label, ylabel=y_label)
        ax.legend(fontsize=8)
    axes[0].axvspan(0, measured.radius, color=plots.GREEN, alpha=0.13, lw=0)
    return fig


def strengths(runs: pd.DataFrame, ranges: Mapping[str, Sequence[float]]) -> Figure:
    """Draw dose, share inside and mean cosine against strength, one line per radius.

    runs: columns "strength", "radius", "dose", "inside", "shuffled" and "cosine"; a dotted line is for
    shuffled pairs. ``ranges``: those of "dose" and "inside" that are shaded.
    """
    import matplotlib.pyplot as plt

    labels = {"dose": "dose", "inside": "share inside (dotted: shuffled)", "cosine": "mean cosine"}
    fig, axes = plt.subplots(1, len(labels), figsize=(4 * len(labels), 3.6))
    for ax, (column, label) in zip(axes, labels.items(), strict=True):
        for radius, style in plots.modality_style(runs["radius"].unique()).items():
            own = runs[runs["radius"] == radius].sort_values("strength")
            ax.plot(own["strength"], own[column], label=f"radius {radius:g}", **style)
            if column == "inside":
                ax.plot(own["strength"], own["shuffled"], ":", color=style["color"], lw=1.2)
        ax.set(xscale="log", xlabel="strength", ylabel=label)
        if column in ranges:
            ax.axhspan(*ranges[column], color=plots.GREEN, alpha=0.13, lw=0)
    axes[0].set_yscale("log")
    axes[1].set_ylim(-0.03, 1.03)
    axes[0].legend(fontsize=8)
    return fig
