"""Figures of notebook 17: parts of information, mixtures on a triangle, and measured neural collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomreg_mini import geometry, plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# part of the information -> color and hatch, so that bars differ without color too
PARTS = {
    "R": (plots.BLUE, ""),
    "U_A": (plots.ORANGE, "//"),
    "U_B": (plots.GREEN, "\\\\"),
    "S": (plots.PINK, ".."),
}
MEASURES = {
    "NC1": "NC1: variation within classes",
    "NC2": "NC2: distance from a simplex",
    "NC3": "NC3: distance of layer and means",
    "NC4": "NC4: share of other decisions",
}


def parts(ax: Axes, worlds: Mapping[str, Mapping[str, float]], title: str = "") -> None:
    """Draw one stacked bar per world, name -> {"R", "U_A", "U_B", "S"} in bits, at least 0."""
    below = [0.0] * len(worlds)
    for part, (color, hatch) in PARTS.items():
        bits = [max(0.0, world[part]) for world in worlds.values()]
        look = {"color": color, "hatch": hatch, "edgecolor": "white", "label": part.replace("_", " ")}
        ax.bar(list(worlds), bits, bottom=below, width=0.65, **look)
        below = [low + b for low, b in zip(below, bits, strict=True)]
    ax.set(title=title, ylabel="bits about the label")


def triangle(
    panels: Mapping[str, Sequence[float]], shares: Sequence[Sequence[float]], corners: Sequence[str]
) -> Figure:
    """Draw title -> one value per world on a triangle of mixtures, in points.

    shares: (worlds, 3), each adding up to 1; corners: the names of pure worlds, top last.
    """
    import matplotlib.pyplot as plt

    _, second, top = zip(*shares, strict=True)
    x = [s + t / 2 for s, t in zip(second, top, strict=True)]
    fig, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.9), squeeze=False)
    fig.set_layout_engine("constrained", wspace=0.12)
    most = max(max(values) for values in panels.values())
    for ax, (title, values) in zip(axes.flat, panels.items(), strict=True):
        drawn = ax.tripcolor(x, top, values, shading="gouraud", cmap="viridis", vmin=0, vmax=most)
        lines = ax.tricontour(x, top, values, levels=[15, 30, 45, 60], colors="white", linewidths=1)
        ax.clabel(lines, fmt="%d", fontsize=9)
        for name, place in zip(corners, ((0, -0.07), (1, -0.07), (0.5, 1.03)), strict=True):
            ax.text(*place, name, ha="center", va="center")
        ax.set_title(title, pad=16, loc="center")
        ax.set_axis_off()
    fig.colorbar(drawn, ax=axes, label="points", shrink=0.8)
    return fig


def _class_means(z: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([z[labels == c].mean(dim=0) for c in labels.unique()])


def simplex_distance(z: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return NC2 of embeddings z (N, D): how uneven the centered class means are in length, and in angle.

    The first number is the standard deviation of their lengths over the mean length. The second is the mean
    of |cos + 1 / (C - 1)| over pairs of the C classes. Both are 0 for a regular simplex about the mean of
    all samples. Papyan, Han & Donoho, PNAS 2020, arXiv 2008.08186.
    """
    means = _class_means(z, labels) - z.mean(dim=0)
    length, count = means.norm(dim=1), len(means)
    unit = means / length[:, None]
    cosines = (unit @ unit.T)[~torch.eye(count, dtype=torch.bool)]
    return (length.std(correction=0) / length.mean()).item(), (cosines + 1 / (count - 1)).abs().mean().item()


def collapse(z: Tensor, labels: Tensor, weight: Tensor, decided: Tensor) -> dict[str, float]:
    """Return NC1 to NC4 of embeddings z (N, D) under a linear layer.

    weight: (C, D), the layer's part for z. decided: (N,), the classes that the network decides for. NC1 is
    `geometry.nc1`; NC2 the mean of `simplex_distance`'s numbers; NC3 the squared distance (0 to 4) of the
    layer and the centered class means, each centered over classes and divided by its norm; NC4 the share of
    samples for which the nearest class mean decides otherwise.
    """
    z, weight = z.double(), weight.double()
    means = _class_means(z, labels)
    centered, rows = means - z.mean(dim=0), weight - weight.mean(dim=0)
    nearest = labels.unique()[torch.cdist(z, means).argmin(dim=1)]
    return {
        "NC1": geometry.nc1(z, labels),
        "NC2": sum(simplex_distance(z, labels)) / 2,
        "NC3": (rows / rows.norm() - centered / centered.norm()).square().sum().item(),
        "NC4": (nearest != decided).double().mean().item(),
    }


def collapses(runs: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Draw NC1 to NC4 (rows) over epochs for each world (columns): mean over seeds, and each seed faintly.

    runs: columns "world", "seed", "epoch", "part" and NC1 to NC4.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        len(MEASURES), len(columns), figsize=(3.9 * len(columns), 2.1 * len(MEASURES)),
        sharex=True, sharey="row", squeeze=False,
    )  # fmt: skip
    for (measure, label), line in zip(MEASURES.items(), axes, strict=True):
        for ax, world in zip(line, columns, strict=True):
            own = runs[runs["world"] == world]
            for part, style in plots.modality_style(own["part"].unique()).items():
                table = own[own["part"] == part].pivot_table(index="epoch", columns="seed", values=measure)
                ax.plot(table.index, table, color=style["color"], lw=0.6, alpha=0.4)
                ax.plot(table.index, table.mean(axis=1), label=part, ms=4, **style)
            ax.set_xscale("symlog", linthresh=10)
            ax.set_yscale("log" if measure == "NC1" else "linear")
        line[0].set_title(label, loc="left", fontsize=11)
    for ax, world in zip(axes[0], columns, strict=True):
        ax.set_title(f"{world}\n" + (MEASURES["NC1"] if ax is axes[0][0] else ""), loc="left", fontsize=11)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    axes[0][-1].legend(fontsize=9)
    return fig
