"""Figures of notebook 01: cosines and distances, embeddings on rings, and the geometry over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from geomreg_mini import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from geomreg_mini.records import Record

CURVES = {
    "mean_cosine": "mean cosine (1: collapsed)",
    "effective_rank": "effective rank (1 to 2)",
    "paired_drift": "paired drift (0 to 4)",
}


def rings(
    panels: Mapping[str, Mapping[str, Tensor]], labels: Sequence[Tensor], *, title: str = "", columns: int = 4
) -> Figure:
    """Draw title -> modality -> embeddings (N, 2), 150 samples each; the last panel has the legend.

    labels: (N,) for each panel.
    """
    import matplotlib.pyplot as plt

    rows = -(-len(panels) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(3.1 * columns, 0.4 + 3.1 * rows), squeeze=False)
    for ax, (name, both), own in zip(axes.flat, panels.items(), labels, strict=True):
        some = {m: z[:150] for m, z in both.items()}
        plots.embeddings_on_circle(some, own[:150], links=60, title=name, ax=ax)
        if ax is not axes.flat[-1]:
            ax.get_legend().remove()
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def real_geometry(cosines: Mapping[str, Tensor], distances: Mapping[str, Tensor]) -> Figure:
    """Draw histograms: modality -> cosines of its samples, and name -> distances of two modalities."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(9, 3))
    panels = [
        ("cosine of two different samples", (-1, 1), cosines),
        ("distance of a picture from a name", (0, 2), distances),
    ]
    for ax, (label, ends, values) in zip(axes, panels, strict=True):
        for (name, some), color, filled in zip(values.items(), plots.COLORS, (True, False), strict=False):
            look = {"alpha": 0.4, "histtype": "stepfilled"} if filled else {"histtype": "step", "lw": 2}
            ax.hist(
                some.flatten().numpy(), bins=40, range=ends, density=True, color=color, label=name, **look
            )
        ax.set(xlabel=label, xticks=[ends[0], sum(ends) / 2, ends[1]], yticks=[])
        ax.legend()
    axes[0].axvline(0, color=plots.BLACK, lw=0.8)
    return fig


def curves(runs: Mapping[str, Record], title: str) -> Figure:
    """Draw mean cosine, effective rank and paired drift over epochs; the last of two runs is solid."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(12.5, 3.5))
    for ax, (quantity, label) in zip(axes, CURVES.items(), strict=True):
        for run, line in zip(runs, ("--", "-"), strict=False):
            rows = runs[run].history.query("split == 'validation' and quantity == @quantity")
            for (m, part), color in zip(rows.groupby("modality"), plots.COLORS, strict=False):
                color = plots.BLACK if quantity == "paired_drift" else color
                name = run if quantity == "paired_drift" else f"{m}, {run}"
                ax.plot(part["epoch"], part["value"], line, color=color, label=name)
        ax.set(xlabel="epoch", title=label)
        ax.legend(fontsize=9)
    fig.suptitle(title, x=0.01, ha="left")
    return fig
