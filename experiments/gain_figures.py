"""Figures of gains and their intervals, as rows or as a map of cells, and what they show in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from geomreg_mini import plots

if TYPE_CHECKING:
    from pandas import DataFrame

Names, Text = Sequence[str], str | None
MOST = 8  # rows of one side that are named; of more, the number and the range are said


def gain_forest(
    table: DataFrame, *, xlabel: Text = None, title: Text = None, ax: plt.Axes | None = None
) -> plt.Figure:
    """Draw gains with their intervals, one row each; a filled marker means the interval excludes zero.

    table: DataFrame with the columns label, gain, low, high and, for groups of different colors, group.
    """
    groups = list(dict.fromkeys(table["group"])) if "group" in table else [None]
    styles = plots.modality_style(groups)
    labels = list(dict.fromkeys(table["label"]))
    size = (6.8, 1.0 + len(labels) * (0.16 + 0.14 * len(groups)))
    fig, ax = plt.subplots(figsize=size) if ax is None else (ax.figure, ax)
    ax.axvline(0, color="#444444", lw=1)
    for k, group in enumerate(groups):
        rows = table if group is None else table[table["group"] == group]
        offset = 0.22 * (k - (len(groups) - 1) / 2)
        color, marker = styles[group]["color"], styles[group]["marker"]
        for row in rows.itertuples():
            y = labels.index(row.label) + offset
            clear = row.low > 0 or row.high < 0
            ax.plot([row.low, row.high], [y, y], color=color, lw=1.6)
            ax.plot(row.gain, y, marker, color=color, mfc=color if clear else "white", ms=6)
        if group is not None:
            ax.plot([], [], marker, color=color, label=str(group))
    ax.set(xlabel=xlabel or "gain over the baseline (points), with its interval", title=title or "")
    ax.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    if groups != [None]:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def gain_map(
    panels: Mapping[str, DataFrame], *, rows: Names, columns: Names, scale: float = 100
) -> plt.Figure:
    """Draw gains as a table of colored cells; bold with a frame if the interval excludes zero.

    panels: title -> DataFrame with ``mean``, ``low``, ``high`` and the columns named in ``rows`` and
    ``columns``, one row per cell; a cell without a row stays empty. ``scale`` multiplies the values (100:
    shares become points). All panels share one symmetric color scale.
    """
    first = next(iter(panels.values()))
    down, across = (list(dict.fromkeys(map(tuple, first[names].to_numpy()))) for names in (rows, columns))
    limit = scale * max(table["mean"].abs().max() for table in panels.values())
    size = (2.4 + 1.15 * len(across), (0.9 + 0.62 * len(down)) * len(panels) + 0.3)
    fig, axes = plt.subplots(len(panels), figsize=size, squeeze=False)
    for ax, (title, table) in zip(axes[:, 0], panels.items(), strict=True):
        cells = scale * table.set_index([*rows, *columns])[["mean", "low", "high"]]
        grid = cells.reindex([(*row, *column) for row in down for column in across])  # a missing row is NaN
        mean, low, high = (grid[name].to_numpy().reshape(len(down), len(across)) for name in cells)
        sns.heatmap(mean, ax=ax, cmap="PuOr_r", center=0, vmin=-limit, vmax=limit, cbar=False)
        for y, x in np.argwhere(~np.isnan(mean)):
            gain_cell(ax, x, y, mean[y, x], low[y, x], high[y, x], dark=abs(mean[y, x]) > 0.6 * limit)
        ax.set_xticklabels([" ".join(map(str, column)) for column in across])
        ax.set_yticklabels([" ".join(map(str, row)).replace("_", " ") for row in down], rotation=0)
        ax.set_title(title)
        ax.tick_params(length=0)
    axes[-1, 0].set_xlabel(", ".join(columns).replace("_", " "))
    fig.colorbar(axes[0, 0].collections[0], ax=axes[:, 0].tolist(), label="gain (points)", shrink=0.6)
    return fig


def gain_cell(ax: plt.Axes, x: float, y: float, mean: float, low: float, high: float, dark: bool) -> None:
    """Write a gain and its interval into column ``x`` and row ``y`` of a map; NaN bounds leave it out."""
    clear = low > 0 or high < 0
    look = {"ha": "center", "va": "center", "color": "white" if dark else "black"}
    ax.text(x + 0.5, y + 0.36, f"{mean:+.1f}", fontsize=10, weight="bold" if clear else "normal", **look)
    if low == low:
        ax.text(x + 0.5, y + 0.72, f"[{low:+.1f}, {high:+.1f}]", fontsize=7.5, **look)
    if clear:
        frame = {"fill": False, "edgecolor": "black", "linewidth": 1.6}
        ax.add_patch(plt.Rectangle((x + 0.04, y + 0.06), 0.92, 0.88, **frame))


def in_words(gains: DataFrame, *names: str, scale: float = 1.0, digits: int = 1) -> str:
    """Return which intervals lie above zero and which below, with their means, and the range of the others.

    gains: as ``gain_forest`` or ``gain_map`` draws them: ``gain`` or ``mean``, ``low``, ``high``,
    and the columns ``names``, by default "label", which name a row. ``scale`` multiplies the values.
    """
    column = "gain" if "gain" in gains else "mean"
    sides: dict[str, list[tuple[str, float]]] = {"Above zero": [], "Below zero": [], "": []}
    for row in gains.to_dict("records"):
        side = "Above zero" if row["low"] > 0 else "Below zero" if row["high"] < 0 else ""
        name = " ".join(str(row[n]) for n in names or ("label",)).replace("_", " ")
        sides[side].append((name, scale * row[column]))

    def span(own: list[tuple[str, float]]) -> str:
        low, high = min(value for _, value in own), max(value for _, value in own)
        return f"{low:+.{digits}f} to {high:+.{digits}f}"

    others, parts = sides.pop(""), []
    for side, own in sides.items():
        named = "; ".join(f"{name} {value:+.{digits}f}" for name, value in own)
        parts.append(f"{side}: {named if len(own) <= MOST else f'{len(own)}, from {span(own)}'}." * bool(own))
    if len(others) == 1:
        name, value = others[0]
        parts.append(f"The interval of {name} includes zero, with a mean of {value:+.{digits}f}.")
    elif others:
        all_of_them = "All" if len(others) == len(gains) else "The other"
        parts.append(f"{all_of_them} {len(others)} include zero, with means from {span(others)}.")
    return " ".join(filter(None, parts))
