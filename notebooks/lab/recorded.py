"""Recorded trainings on digits by their hyperparameters: nothing trains, everything is looked up.

Validation numbers come first. Test numbers stand behind a button that says what looking costs.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

import ipywidgets as widgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.ablations import MAPS
from experiments.study import MODERATE
from geomreg_mini.evaluation import Interval, paired_interval

from .pictures import INK, png
from .widgets import button, control, image, wrapped

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "accuracy": ("accuracy", ("fused", "audio", "image")),
    "effective rank": ("effective_rank", ("audio", "image")),
    "mean cosine": ("mean_cosine", ("audio", "image")),
    "paired drift": ("paired_drift", ("audio-image",)),
}
MARKERS = {"fused": "D", "audio": "o", "image": "s", "audio-image": "^"}
SPLITS = ("validation", "test")
KEY = "hollow: no regularizer; filled: with it; one line per seed"
COST = (
    "Test numbers can judge a choice only if they took no part in it. Once you have looked, "
    "the best of the cells that you saw is flattered. A move returns to validation."
)


def cell(frame: pd.DataFrame, group: str, first: float, second: float) -> pd.DataFrame:
    """Return one row per seed for a cell of the map "weights" or "band"; see ``ablations.STUDY.load``."""
    here = frame[(frame["group"] == group) & (frame["arm"] == f"{first} {second}")]
    return here.set_index("seed").sort_index()


def gain(frame: pd.DataFrame, group: str, first: float, second: float, key: str) -> Interval | None:
    """Return the gain of a cell over no regularizer (points, 95 % interval); None if not recorded."""
    rows, without = cell(frame, group, first, second), cell(frame, "weights", 0.0, 0.0)
    if (seeds := rows.index.intersection(without.index)).empty:
        return None
    return paired_interval(*({s: 100 * part[key][s] for s in seeds} for part in (rows, without)))


def limits(frame: pd.DataFrame, title: str) -> tuple[float, float]:
    """Return axis limits that hold every recorded cell on either split, so that cells can be compared."""
    quantity, names = QUANTITIES[title]
    recorded = frame[frame["group"].isin(MAPS)]
    values = recorded[[f"{split}/{quantity}/{name}" for split in SPLITS for name in names]].to_numpy()
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low or 1.0)
    return low - room, high + room


def draw_quantity(
    ax: Axes, title: str, without: pd.DataFrame, chosen: pd.DataFrame, split: str, span: tuple[float, float]
) -> None:
    """Draw each seed without regularizer (hollow) and with the chosen one (filled), joined by a line."""
    quantity, names = QUANTITIES[title]
    for x, name in enumerate(names):
        both = [rows[f"{split}/{quantity}/{name}"] for rows in (without, chosen)]
        for seed in chosen.index.intersection(without.index):
            y = [values[seed] for values in both]
            ax.plot([x - 0.2, x + 0.2], y, color=INK, marker=MARKERS[name], mfc="white", ms=7, lw=1)
            ax.plot(x + 0.2, y[1], MARKERS[name], color=INK, ms=7)
    ax.grid(axis="x", visible=False)
    ax.set(ylabel=f"{title} ({split})", ylim=span, xlim=(-0.5, len(names) - 0.5))
    ax.set(xticks=range(len(names)), xticklabels=names)


def digits_values(
    frame: pd.DataFrame, group: str, first: float, second: float, split: str = "validation"
) -> Figure:
    """Return a figure of one cell's accuracies and geometry, next to those without regularizer."""
    fig = Figure(figsize=(9.6, 3.2), layout="constrained")
    without, chosen = cell(frame, "weights", 0.0, 0.0), cell(frame, group, first, second)
    for ax, title in zip(fig.subplots(1, 4, width_ratios=[3, 2, 2, 1.2]), QUANTITIES, strict=True):
        draw_quantity(ax, title, without, chosen, split, limits(frame, title))
    fig.supxlabel(KEY, fontsize=10)
    return fig


def digits_map(
    frame: pd.DataFrame,
    group: str,
    first: float,
    second: float,
    split: str = "validation",
    seen: Collection[tuple[float, float]] | None = None,
) -> Figure:
    """Return a map of gains in fused accuracy over no regularizer (points, intervals); one cell is framed.

    Colors have the same scale on both splits. ``seen``, if given, has the cells that are shown.
    """
    down, across = grid(frame, group)
    both = {
        s: {(y, x): gain(frame, group, y, x, f"{s}/accuracy/fused") for y in down for x in across}
        for s in SPLITS
    }
    means = [g.mean for gains in both.values() for g in gains.values() if g]
    limit = max(1.0, *map(abs, means))
    fig = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = fig.subplots()
    shown = {at: g for at, g in both[split].items() if g and (seen is None or at in seen)}
    means = [[shown[y, x].mean if (y, x) in shown else math.nan for x in across] for y in down]
    colors = ax.imshow(means, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for y, row in enumerate(down):
        for x, column in enumerate(across):
            g = shown.get((row, column))
            text = (
                f"{g.mean:+.1f}\n[{g.low:+.1f}, {g.high:+.1f}]"
                if g
                else "?"
                if both[split][row, column]
                else "-"
            )
            red, green, blue, _ = colors.cmap(colors.norm(g.mean)) if g else (1, 1, 1, 1)
            color = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            ax.text(x, y, text, ha="center", va="center", color=color, fontsize=9)
    if first in down and second in across:
        x, y = across.index(second) - 0.5, down.index(first) - 0.5
        ax.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="black", lw=2.5))
    names = [name.replace("_", " ") for name in MAPS[group]]
    ax.set(xticks=range(len(across)), xticklabels=across, yticks=range(len(down)), yticklabels=down)
    ax.set(ylabel=names[0], xlabel=names[1], title=f"Fused ({split}): gain in points, 95 % interval")
    ax.grid(False)
    return fig


def grid(frame: pd.DataFrame, group: str) -> tuple[list[float], list[float]]:
    """Return the recorded values of a map's first and second hyperparameter."""
    values = [tuple(map(float, name.split())) for name in frame[frame["group"] == group]["arm"].unique()]
    return sorted({first for first, _ in values}), sorted({second for _, second in values})


class DigitsLab:
    """The same hyperparameters for recorded runs, joint training on unseen speakers; display its ``view``.

    frame: from ``ablations.STUDY.load``. Two maps are recorded, so two controls are free at a time, and the
    other two keep the recorded values. ``looked`` holds the cells whose test numbers were shown.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame, self.split, self.looked = frame, "validation", set()
        self._map = lru_cache(maxsize=None)(lambda *chosen: png(digits_map(frame, *chosen)))
        self._limits = {title: limits(frame, title) for title in QUANTITIES}
        self.map = control(widgets.Dropdown, "vary", "weights", options=[*MAPS])
        self.controls = {
            name: control(widgets.Dropdown, name, MODERATE[name], options=options)
            for group, names in MAPS.items()
            for name, options in zip(names, grid(frame, group), strict=True)
        }
        self.test_button = button("Show the test numbers of this cell")
        self.test_button.on_click(self.show_test)
        self.images = {"map": image(width="460px"), **{title: image(width="290px") for title in QUANTITIES}}
        self.message = widgets.HTML()
        for moved in (self.map, *self.controls.values()):
            moved.observe(self.update, names="value")
        left = widgets.VBox([self.map, *self.controls.values(), self.test_button])
        first, *others = self.images.values()
        below = wrapped(*others), widgets.Label(KEY)
        self.view = widgets.VBox([wrapped(left, first), self.message, widgets.HTML(COST), *below])
        self.update()

    @property
    def chosen(self) -> tuple[str, float, float]:
        """The map and the values of its two controls."""
        return self.map.value, *(self.controls[name].value for name in MAPS[self.map.value])

    def show_test(self, _: object = None) -> None:
        """Show the test numbers of the chosen cell, and count the look."""
        self.looked.add(self.chosen)
        self.update(split="test")

    def update(self, _: object = None, split: str = "validation") -> None:
        """Draw the chosen cell."""
        self.split = split
        for name, menu in self.controls.items():
            menu.disabled = name not in MAPS[self.map.value]
        values = {n: MODERATE[n] if c.disabled else c.value for n, c in self.controls.items()}
        rows = cell(self.frame, *self.chosen)
        self.test_button.disabled = split == "test" or rows.empty
        if rows.empty:
            self.message.value = "This cell is not recorded."
        else:
            without = cell(self.frame, "weights", 0.0, 0.0)
            setting = ", ".join(f"{n.replace('_', ' ')} {v:g}" for n, v in values.items())
            self.message.value = html.escape(f"{setting}: mean of {len(rows)} seeds, {self._words(rows)}")
            for title, span in self._limits.items():
                fig = Figure(figsize=(2.9, 2.9), layout="constrained")
                draw_quantity(fig.subplots(), title, without, rows, split, span)
                self.images[title].value = png(fig)
        seen = frozenset((y, x) for group, y, x in self.looked if group == self.map.value)
        self.images["map"].value = self._map(*self.chosen, split, None if split == "validation" else seen)

    def _words(self, rows: pd.DataFrame) -> str:
        parts = []
        for m in ("fused", "audio", "image"):
            key = f"{self.split}/accuracy/{m}"
            g = gain(self.frame, *self.chosen, key)
            against = f" ({g.mean:+.1f} points, 95 % interval {g.low:+.1f} to {g.high:+.1f})" if g else ""
            parts.append(f"{m} {100 * rows[key].mean():.1f} %{against}")
        many = "s" * (len(self.looked) > 1)
        seen = (
            f" You have looked at the test numbers of {len(self.looked)} cell{many}." if self.looked else ""
        )
        return f"{self.split} accuracy {', '.join(parts)}.{seen}"
