"""Pictures of a run without a front end: four panels next to each other, or runs next to each other.

One palette with one meaning, as on the live canvas: color is the class, and line and marker are the modality.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from geomreg_mini import plots
from geomreg_mini.geometry import effective_rank, paired_distances, spectrum

from .runs import CURVES, EPOCHS, Run

CLASSES = [color for color in plots.COLORS if color != plots.VERMILION]  # which is for pairs outside
DRAWN = 100  # samples in a picture of the embeddings
INK = "#333333"
LINES = {
    "fused": {"ls": "-", "lw": 2.4},
    "a": {"ls": "--", "lw": 1.4, "marker": "o"},
    "b": {"ls": ":", "lw": 1.6, "marker": "s"},
}


def draw_embeddings(ax: Axes, run: Run) -> None:
    """Draw the embeddings on the circle or the sphere, with links between some pairs."""
    some, labels = {m: z[:DRAWN] for m, z in run.embeddings.items()}, run.labels[:DRAWN]
    flat = run.setting.dimensions == 2
    draw = plots.embeddings_on_circle if flat else plots.embeddings_on_sphere
    where = "a outside, b inside" if flat else "a dots, b squares"
    draw(some, labels, radius=run.setting.radius, links=40, title=f"Embeddings: {where}", ax=ax)
    ax.get_legend().remove()
    for dots in ax.collections:
        if isinstance(dots, PathCollection):
            dots.set_facecolor([CLASSES[label] for label in labels])
    if not flat:
        ax.set_box_aspect((1, 1, 1), zoom=1.5)


def draw_accuracy(ax: Axes, run: Run) -> None:
    """Draw the accuracies over epochs."""
    for name, values in zip(CURVES, zip(*run.accuracies(), strict=True), strict=True):
        ax.plot(values, color=INK, markevery=10, mfc="white", ms=5, label=name, **LINES[name])
    ax.set(ylim=(0, 1.05), xlim=(0, EPOCHS), ylabel="share right", xlabel="epoch")
    ax.set_title("Accuracy (validation)")
    ax.legend(fontsize=9, loc="lower right")


def draw_drift(ax: Axes, run: Run) -> None:
    """Draw the histogram of distances within pairs: gray inside the band, vermilion outside."""
    distance, radius = paired_distances(*run.embeddings.values()).numpy(), run.setting.radius
    bins = np.linspace(0, 2, 41)
    ax.axvspan(0, radius, color=plots.GREEN, alpha=0.18, lw=0, label=f"band (radius {radius:g})")
    for part, color, words in (
        (distance <= radius, plots.INSIDE, "inside"),
        (distance > radius, plots.VERMILION, "outside"),
    ):
        ax.hist(distance[part], bins, color=color, label=f"{100 * part.mean():.0f} % {words}")
    ax.set(xlabel="distance (0 to 2)", ylabel="pairs", xlim=(0, 2))
    ax.set_ylim(0, 1.45 * ax.get_ylim()[1])  # space for the legend
    ax.set_title("Distances of pairs")
    ax.legend(fontsize=9, handlelength=1.2, loc="upper right")


def draw_spectrum(ax: Axes, run: Run) -> None:
    """Draw the share of each direction, as bars; b is hatched."""
    for k, (m, z) in enumerate(run.embeddings.items()):
        values = spectrum(z).sqrt().numpy()
        at = np.arange(1, len(values) + 1) + 0.4 * k - 0.2
        ax.bar(
            at,
            values / max(values.sum(), 1e-12),
            0.36,
            fc="#C4C4C4" if k else "#666666",
            ec=INK,
            hatch="//" if k else None,
            label=f"{m} (effective rank {effective_rank(z):.1f})",
        )
    ax.set(ylim=(0, 1.3), xticks=range(1, run.setting.dimensions + 1), xlabel="direction", ylabel="share")
    ax.set_title("Spectrum")
    ax.legend(fontsize=9, loc="upper right")


PANELS = {
    "embeddings": draw_embeddings,
    "accuracy": draw_accuracy,
    "drift": draw_drift,
    "spectrum": draw_spectrum,
}


def _axes(fig: Figure, run: Run, panel: str, place: tuple[int, int, int] = (1, 1, 1)) -> Axes:
    sphere = panel == "embeddings" and run.setting.dimensions == 3
    return fig.add_subplot(*place, projection="3d" if sphere else None)


def png(fig: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=110, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def figure(run: Run, title: str = "") -> Figure:
    """Return the four panels next to each other, for use without a front end."""
    fig = Figure(figsize=(12, 3.1), layout="constrained")
    for k, (panel, draw) in enumerate(PANELS.items()):
        draw(_axes(fig, run, panel, (1, 4, k + 1)), run)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def multiples(runs: Mapping[str, Run]) -> Figure:
    """Return embeddings above the distances within pairs, one column per run."""
    fig = Figure(figsize=(2.8 * len(runs), 5.0), layout="constrained")
    for k, (name, run) in enumerate(runs.items()):
        top, bottom = (
            _axes(fig, run, panel, (2, len(runs), k + 1 + row * len(runs)))
            for row, panel in enumerate(("embeddings", "drift"))
        )
        draw_embeddings(top, run)
        draw_drift(bottom, run)
        top.set(title=name)
        bottom.set(title="")
    return fig
