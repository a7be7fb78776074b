"""A simulator of luck: how often does a false gain appear, and a true one vanish? See ``selection``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.selection import Recorded, Studies, simulate
from geomreg_mini import plots

from .pictures import png
from .widgets import button, control, image, wrapped

CHOSEN = {"validation, in each seed": None, "the test split itself": 1.0, "other seeds, then frozen": 0.0}


def words(found: Studies, effect: float) -> str:
    """Return what happens to the largest gain of a study, in percent of the studies."""
    false, true = found.above[:, 1:] if effect else found.above, found.above[:, 0]
    parts = []
    if effect:
        own = found.gains[:, 0]
        parts.append(f"The true gain of {effect:.1f} is found in {100 * true.mean():.0f} % of studies")
        if true.any():
            parts.append(f" and then looks like {own[true].mean():.1f} points")
        parts.append(". ")
    if false.shape[1]:
        share = 100 * false.any(axis=1).mean()
        parts.append(f"A gain that is not there appears in {share:.0f} %.")
    return "".join(parts)


def draw(ax: Axes, found: Studies, effect: float, title: str) -> None:
    """Draw the largest observed gain of each study, filled if its interval lies above zero."""
    best = found.gains.argmax(axis=1)
    largest = found.gains[np.arange(len(best)), best]
    seen = found.above[np.arange(len(best)), best]
    edges = np.linspace(min(-1, *largest), max(1, *largest), 40)
    every, above = (np.histogram(values, edges)[0] for values in (largest, largest[seen]))
    ax.stairs(every, edges, fill=True, color="#B8B8B8", label="interval contains zero")
    ax.stairs(above, edges, fill=True, facecolor=plots.VERMILION, edgecolor="white", hatch="//",
              label="interval above zero")  # fmt: skip
    ax.axvline(effect, color=plots.BLUE, ls="--", lw=2, label=f"true gain {effect:.1f}")
    ax.set(title=title, xlabel="largest observed gain (points)", ylabel="studies")


def luck_figure(
    cases: Mapping[str, tuple[Sequence[Any], Mapping[str, Any]]], luck: Recorded
) -> tuple[Figure, dict[str, str]]:
    """Return a figure with one panel per case, and ``words`` for each.

    cases: title -> positional and named arguments of ``simulate``, the former without ``luck``.
    """
    fig = Figure(figsize=(4 * len(cases), 3.2), layout="constrained")
    said = {}
    for ax, (title, (numbers, options)) in zip(fig.subplots(1, len(cases)), cases.items(), strict=True):
        found = simulate(*numbers, luck, **options)
        draw(ax, found, numbers[3], title)
        said[title] = words(found, numbers[3])
    ax.legend(fontsize=8)
    return fig, said


class LuckLab:
    """Choose seeds, settings, arms and the true gain, and see what studies would report; show its ``view``.

    luck: from ``selection.recorded``.
    """

    def __init__(self, luck: Recorded, seed: int = 0) -> None:
        self.luck, self.generator = luck, np.random.default_rng(seed)
        menu, integer = widgets.Dropdown, widgets.IntSlider
        self.controls = {
            "seeds": control(menu, "seeds", 6, options=[3, 4, 5, 6, 8, 10, 15, 20, 50, 100, 200, 300]),
            "arms": control(integer, "arms", 1, min=1, max=12),
            "settings": control(integer, "settings of an arm", 4, min=1, max=32),
            "of_baseline": control(integer, "of the baseline", 4, min=1, max=32),
            "effect": control(widgets.FloatSlider, "true gain", 0.0, min=0.0, max=5.0, step=0.1),
            "chosen": control(widgets.Dropdown, "chosen on", next(iter(CHOSEN)), options=list(CHOSEN)),
        }
        # Fixed margins: a layout that is computed takes longer than the studies.
        self.axes = Figure(figsize=(5.6, 3.4), layout="none").add_axes((0.12, 0.16, 0.86, 0.74))
        self.again = button("Draw again")
        self.picture, self.message = image(width="520px"), widgets.HTML()
        for moved in self.controls.values():
            moved.observe(self.update, names="value")
        self.again.on_click(self.update)
        left = widgets.VBox([*self.controls.values(), self.again])
        self.view = widgets.VBox([wrapped(left, self.picture), self.message])
        self.update()

    def update(self, _: object = None) -> None:
        """Draw new studies with the chosen numbers, and say in words what they show."""
        value = {name: moved.value for name, moved in self.controls.items()}
        correlation = CHOSEN[value["chosen"]]
        luck = self.luck if correlation is None else self.luck._replace(correlation=correlation)
        names = ("seeds", "settings", "arms", "effect")
        self.found = simulate(
            *(value[name] for name in names),
            luck,
            of_baseline=value["of_baseline"],
            generator=self.generator,
        )
        self.axes.clear()
        draw(self.axes, self.found, value["effect"], f"{len(self.found.gains):,} studies")
        self.axes.legend(fontsize=8, loc="upper left")
        self.picture.value = png(self.axes.figure)
        self.message.value = words(self.found, value["effect"])
