"""Figures of notebooks 10 and 14 on a watch at the wrist: its signals over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from geomreg_mini import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = 50  # samples per second


def motion(columns: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Draw windows over time: one column per title, one row per signal, one line per axis.

    columns: title -> signal -> (3, T), as a data set has them: standardized, so without a unit. All columns
    have the same signals, and a row has one vertical scale.
    """
    import matplotlib.pyplot as plt

    signals = list(next(iter(columns.values())))
    fig, axes = plt.subplots(
        len(signals),
        len(columns),
        figsize=(3.4 * len(columns), 1.5 * len(signals) + 0.6),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    styles = plots.modality_style(["x", "y", "z"])
    for (title, window), column in zip(columns.items(), axes.T, strict=True):
        column[0].set_title(title)
        column[-1].set_xlabel("time (s)")
        for signal, ax in zip(signals, column, strict=True):
            for values, (name, style) in zip(window[signal], styles.items(), strict=True):
                ax.plot(
                    np.arange(len(values)) / RATE,
                    values,
                    label=name,
                    color=style["color"],
                    ls=style["linestyle"],
                )
    for signal, ax in zip(signals, axes[:, 0], strict=True):
        ax.set_ylabel(signal)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig
