"""Figures of notebook 14 on radio sensing: recordings, accuracies of every subset, two averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from experiments.paper import XFI_XRF55
from geomreg_mini import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from geomreg_mini.data import Split

SUBSETS = tuple(XFI_XRF55)
ROWS = {
    ("unimodal", "baseline"): "late fusion",
    ("unimodal", "regularized"): "late fusion + both terms",
    ("modality_dropout", "baseline"): "modality dropout",
    ("modality_dropout", "dispersion"): "modality dropout + dispersion",
    ("modality_dropout", "anchoring"): "modality dropout + anchoring",
    ("modality_dropout", "regularized"): "modality dropout + both terms",
}
AVERAGES = {"accuracy": "over samples", "batch_accuracy": "over batches"}


def subset_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return test accuracies of each subset in percent, means over seeds: one row per model and average.

    runs: from ``benchmarks.load_runs``.
    """
    import pandas as pd

    rows = {}
    for (paradigm, arm), label in ROWS.items():
        own = runs[(runs["paradigm"] == paradigm) & (runs["arm"] == arm)]
        for quantity, average in AVERAGES.items():
            if len(own):
                rows[label, average] = [100 * own[f"test/{quantity}/{s}"].mean() for s in SUBSETS]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(SUBSETS))
    return frame.set_axis(pd.MultiIndex.from_tuples(rows, names=["model", "average"]))


def recordings(split: Split, rows: Sequence[int], names: Sequence[str]) -> Figure:
    """Draw recordings of a split at ``rows``: radar's maximum over its frames, WiFi and RFID over time."""
    import matplotlib.pyplot as plt

    inputs = split.batch(torch.tensor(rows))["inputs"]
    fig, axes = plt.subplots(3, len(rows), figsize=(2.9 * len(rows), 7.2), squeeze=False)
    for k, name in enumerate(names):
        pictures = [inputs["mmWave"][k].amax(dim=0), inputs["WiFi"][k], inputs["RFID"][k]]
        for ax, picture in zip(axes[:, k], pictures, strict=True):
            ax.imshow(picture.numpy(), aspect="auto", origin="lower", interpolation="nearest")
            ax.grid(False)
        axes[0, k].set_title(name)
    labels = [("Doppler", "radar: range"), ("time", "WiFi: link and subcarrier"), ("time", "RFID: tag")]
    for line, (across, up) in zip(axes, labels, strict=True):
        line[0].set_ylabel(up)
        for ax in line:
            ax.set_xlabel(across)
    return fig


def dumbbells(
    panels: Mapping[str, Mapping[str, tuple[float, float]]], ends: Mapping[str, tuple[str, str]]
) -> Figure:
    """Draw two accuracies of each subset, joined by a line; one panel per name.

    panels: name -> subset -> (from, to) in percent. ends: name -> labels of the two.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 3.9), sharey=True, sharex=True, squeeze=False
    )
    for ax, (name, values) in zip(axes[0], panels.items(), strict=True):
        for y, (start, end) in enumerate(values.values()):
            color = plots.BLUE if end >= start else plots.VERMILION
            ax.plot([start, end], [y, y], color=color, linestyle="-" if end >= start else ":", zorder=1)
            for x, marker, face in ((start, "o", "white"), (end, "D", color)):
                ax.scatter(x, y, marker=marker, facecolor=face, edgecolor=color, s=42, zorder=2)
        for label, marker, face in zip(ends[name], "oD", ("white", plots.BLACK), strict=True):
            ax.scatter([], [], marker=marker, facecolor=face, edgecolor=plots.BLACK, s=42, label=label)
        ax.set(title=name, xlabel="accuracy, %", xlim=(0, 104), xticks=range(20, 101, 20))
        ax.set_yticks(range(len(values)), values)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=2)
    axes[0, 0].invert_yaxis()
    return fig
