"""Figures of notebook 12: pictures with their sentences, clusters by classes, and the choice of an epoch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geomreg_mini import plots
from geomreg_mini.benchmarks.clustering_metrics import best_naming, k_means

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geomreg_mini.benchmarks.cubicc import BirdDataset
    from geomreg_mini.data import Split

ARMS = {
    "baseline": "baseline",
    "dispersion": "+ dispersion",
    "anchoring": "+ anchoring",
    "regularized": "+ both terms",
}


def sentence(words: Sequence[str], tokens: Tensor) -> str:
    """Return word numbers (L,) up to the end mark as text, or as they are if ``words`` is empty."""
    numbers = tokens.tolist()
    if not words:
        return " ".join(map(str, numbers))
    said = [words[number] for number in numbers]
    said = said[: said.index("<eos>")] if "<eos>" in said else said
    return " ".join(word for word in said if word != "<pad>")


def pictures(data: BirdDataset, rows: Sequence[int], *, columns: int = 4) -> Figure:
    """Draw training pictures at ``rows`` of CUBICC as they are stored, each with its sentence below."""
    import matplotlib.pyplot as plt

    lines = -(-len(rows) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=(2.3 * columns, 2.9 * lines), squeeze=False)
    for ax, row in zip(axes.flat, rows, strict=True):
        ax.imshow(data.train.inputs["image"][row].permute(1, 2, 0).numpy())
        said = sentence(data.words, data.train.inputs["caption"][row])
        ax.set_xlabel(textwrap.fill(said, 27), fontsize=9)
        ax.set_title(data.class_names[int(data.train.labels[row])], fontsize=10)
        plots.bare(ax)
    return fig


def matched(labels: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (C, K) by class and cluster, and the numbers (K,) of the clusters by column.

    Columns are sorted so that the best naming puts each cluster under its class; the others follow.
    """
    counts, rows, columns, numbers = best_naming(labels, clusters)
    order = [*columns[np.argsort(rows)], *np.setdiff1d(np.arange(len(numbers)), columns)]
    return counts[:, order], numbers[order]


def table(
    labels: Tensor,
    clusters: Tensor,
    class_names: Sequence[str],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw the number of samples of each class in each cluster; the diagonal counts for ACC."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    counts, numbers = matched(labels, clusters)
    if ax is None:
        _, ax = plt.subplots(figsize=(1.6 + 0.5 * counts.shape[1], 1.2 + 0.4 * counts.shape[0]))
    sns.heatmap(counts, annot=True, fmt="d", cbar=False, ax=ax, cmap="cividis", linewidths=0.5)
    ax.set_xticklabels([str(number) for number in numbers])
    ax.set_yticklabels(class_names, rotation=0)
    ax.set(xlabel="cluster, in the order of the best naming", ylabel="class", title=title)
    return ax.figure


def members(split: Split, clusters: Tensor, *, count: int = 8) -> Figure:
    """Draw up to ``count`` different pictures of a split per cluster, one line per cluster."""
    import matplotlib.pyplot as plt

    numbers = clusters.unique().tolist()
    fig, axes = plt.subplots(len(numbers), count, figsize=(0.75 * count, 0.8 * len(numbers)), squeeze=False)
    for number, line in zip(numbers, axes, strict=True):
        inside = (clusters == number).nonzero()[:, 0]
        photos = split.factors["photo"][inside]
        first = [int(inside[(photos == photo).nonzero()[0, 0]]) for photo in photos.unique()]
        for ax in line:
            plots.bare(ax)
        for ax, row in zip(line, first, strict=False):
            ax.imshow(split.inputs["image"][row].permute(1, 2, 0).numpy())
        line[0].set_ylabel(f"{number}", rotation=0, ha="right", va="center")
    fig.supylabel("cluster")
    return fig


def picked_epochs(history: pd.DataFrame) -> pd.DataFrame:
    """Return joint validation accuracies (percent) per arm and seed, of three choices of the epoch.

    Mutual information picks the first, the second is the last epoch, and labels would pick the third.
    history: from ``benchmarks.load_histories``.
    """
    import pandas as pd

    rows = history[history["split"] == "validation"]
    wide = {
        quantity: rows[(rows["quantity"] == quantity) & (rows["modality"] == modality)]
        for quantity, modality in (("mutual_information", "both"), ("cluster_accuracy", "joint"))
    }
    values = {q: part.set_index(["arm", "seed", "epoch"])["value"].sort_index() for q, part in wide.items()}
    answer = {}
    for run, information in values["mutual_information"].groupby(level=["arm", "seed"]):
        accuracy = 100 * values["cluster_accuracy"].loc[run]
        answer[run] = {
            "information picks": accuracy.loc[information.idxmax()[2]],
            "last epoch": accuracy.iloc[-1],
            "labels pick": accuracy.max(),
        }
    frame = pd.DataFrame.from_dict(answer, orient="index")
    return frame.rename_axis(index=["arm", "seed"])


def clusters_of(embeddings: dict[str, Tensor], count: int) -> Tensor:
    """Return k-means clusters (N,) of the mean of paired, normalized embeddings {modality: (N, D)}."""
    z = sum(torch.nn.functional.normalize(x, dim=1) for x in embeddings.values())
    return k_means(z, z, count)
