"""The same sliders for recorded trainings on digits: nothing trains, everything is looked up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import ipywidgets as widgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.ablations import MAPS
from experiments.study import MODERATE
from geomreg_mini import plots

from .pictures import png
from .widgets import control, image, wrapped

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "accuracy (test)": ("accuracy", ("fused", "audio", "image")),
    "effective rank": ("effective_rank", ("audio", "image")),
    "mean cosine": ("mean_cosine", ("audio", "image")),
    "paired drift": ("paired_drift", ("audio-image",)),
}
KEY = "hollow: no regularizer; filled: with it; one line per seed"


def cell(frame: pd.DataFrame, group: str, first: float, second: float) -> pd.DataFrame:
    """Return one row per seed for a cell of the map "weights" or "band"; see ``ablations.STUDY.load``."""
    here = frame[(frame["group"] == group) & (frame["arm"] == f"{first} {second}")]
    return here.set_index("seed").sort_index()


def draw_quantity(ax: Axes, title: str, without: pd.DataFrame, chosen: pd.DataFrame) -> None:
    """Draw each seed without regularizer (hollow) and with the chosen one (filled), joined by a line."""
    quantity, names = QUANTITIES[title]
    styles = plots.modality_style(names)
    for x, name in enumerate(names):
        color, marker = styles[name]["color"], styles[name]["marker"]
        both = [rows[f"test/{quantity}/{name}"] for rows in (without, chosen)]
        for seed in chosen.index.intersection(without.index):
            y = [values[seed] for values in both]
            ax.plot([x - 0.2, x + 0.2], y, color=color, marker=marker, mfc="white", ms=7, lw=1)
            ax.plot(x + 0.2, y[1], marker, color=color, ms=7)
    ax.grid(axis="x", visible=False)
    ax.set(ylabel=title, xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))


def digits_values(frame: pd.DataFrame, group: str, first: float, second: float) -> Figure:
    """Return a figure of one cell's accuracies and geometry, next to those without regularizer."""
    fig = Figure(figsize=(9.6, 3.2), layout="constrained")
    for ax, title in zip(fig.subplots(1, 4, width_ratios=[3, 2, 2, 1.2]), QUANTITIES, strict=True):
        draw_quantity(ax, title, cell(frame, "weights", 0.0, 0.0), cell(frame, group, first, second))
    fig.supxlabel(KEY, fontsize=10)
    return fig


def _alone(title: str, without: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    fig = Figure(figsize=(2.9, 2.9), layout="constrained")
    draw_quantity(fig.subplots(), title, without, chosen)
    return fig


def digits_map(frame: pd.DataFrame, group: str, first: float, second: float) -> Figure:
    """Return a map of the mean gain in fused test accuracy over no regularizer (points), one cell framed."""
    without = cell(frame, "weights", 0.0, 0.0)["test/accuracy/fused"]
    down, across = grid(frame, group)
    gain = [
        [100 * (cell(frame, group, y, x)["test/accuracy/fused"] - without).mean() for x in across]
        for y in down
    ]
    fig = Figure(figsize=(4.4, 3.2), layout="constrained")
    ax = fig.subplots()
    limit = max(1.0, *(abs(value) for row in gain for value in row if not math.isnan(value)))
    ax.imshow(gain, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    for y, row in enumerate(gain):
        for x, value in enumerate(row):
            text = "-" if math.isnan(value) else f"{value:+.1f}"
            ax.text(
                x, y, text, ha="center", va="center", color="white" if abs(value) > 0.6 * limit else "black"
            )
    if first in down and second in across:
        x, y = across.index(second) - 0.5, down.index(first) - 0.5
        ax.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="black", lw=2.5))
    names = [name.replace("_", " ") for name in MAPS[group]]
    ax.set(xticks=range(len(across)), xticklabels=across, yticks=range(len(down)), yticklabels=down)
    ax.set(ylabel=names[0], xlabel=names[1], title="Fused: mean gain (points)")
    ax.grid(False)
    return fig


def grid(frame: pd.DataFrame, group: str) -> tuple[list[float], list[float]]:
    """Return the recorded values of a map's first and second hyperparameter."""
    values = [tuple(map(float, name.split())) for name in frame[frame["group"] == group]["arm"].unique()]
    return sorted({first for first, _ in values}), sorted({second for _, second in values})


class DigitsLab:
    """The same hyperparameters for recorded runs, joint training on unseen speakers; display its ``view``.

    frame: from ``ablations.STUDY.load``. Two maps are recorded, so two sliders are free at a time, and the
    other two keep the recorded values.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.map = control(widgets.Dropdown, "vary", "weights", options=[*MAPS])
        self.controls = {
            name: control(widgets.SelectionSlider, name, MODERATE[name], options=options)
            for group, names in MAPS.items()
            for name, options in zip(names, grid(frame, group), strict=True)
        }
        self.images = {"map": image(), **{title: image(width="290px") for title in QUANTITIES}}
        self.message = widgets.HTML()
        for moved in (self.map, *self.controls.values()):
            moved.observe(self.update, names="value")
        sliders = widgets.VBox([self.map, *self.controls.values()])
        first, *others = self.images.values()
        below = wrapped(*others), widgets.Label(KEY)
        self.view = widgets.VBox([wrapped(sliders, first), self.message, *below])
        self.update()

    def update(self, _: object = None) -> None:
        """Draw the chosen cell."""
        for name, slider in self.controls.items():
            slider.disabled = name not in MAPS[self.map.value]
        values = {n: MODERATE[n] if c.disabled else c.value for n, c in self.controls.items()}
        chosen = self.map.value, *(values[name] for name in MAPS[self.map.value])
        if len(rows := cell(self.frame, *chosen)):
            mean = {m: 100 * rows[f"test/accuracy/{m}"].mean() for m in ("fused", "audio", "image")}
            words = ", ".join(f"{m} {value:.1f} %" for m, value in mean.items())
            setting = ", ".join(f"{n.replace('_', ' ')} {v:g}" for n, v in values.items())
            self.message.value = f"{setting}: mean of {len(rows)} seeds, test accuracy {words}."
            without = cell(self.frame, "weights", 0.0, 0.0)
            for title in QUANTITIES:
                self.images[title].value = png(_alone(title, without, rows))
        else:
            self.message.value = "This cell is not recorded."
        self.images["map"].value = png(digits_map(self.frame, *chosen))
