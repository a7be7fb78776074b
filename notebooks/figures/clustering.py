"""What notebook 12 shows: pictures with their sentences, clusters beside classes, and which epoch is best."""

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

ARMS = {
    "baseline": "baseline",
    "dispersion": "+ dispersion",
    "anchoring": "+ anchoring",
    "regularized": "+ both terms",
}


def pictures(data, rows: Sequence[int], *, columns: int = 4):
    """Training pictures at ``rows`` of CUBICC as they are stored, each with its sentence below."""
    import matplotlib.pyplot as plt

    lines = -(-len(rows) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=(2.3 * columns, 2.9 * lines), squeeze=False)
    for ax, row in zip(axes.flat, rows, strict=True):
        ax.imshow(data.train.inputs["image"][row].permute(1, 2, 0).numpy())
        said = data.sentence(data.train.inputs["caption"][row])
        ax.set_xlabel(textwrap.fill(said, 27), fontsize=9)
        ax.set_title(data.class_names[int(data.train.labels[row])], fontsize=10)
        plots.bare(ax)
    return fig


def matched(labels: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (C, K) by class and cluster, and the numbers (K,) of the clusters by column.

    Each cluster stands under the class that the best naming gives it; the others follow.
    """
    counts, rows, columns, numbers = best_naming(labels, clusters)
    order = [*columns[np.argsort(rows)], *np.setdiff1d(np.arange(len(numbers)), columns)]
    return counts[:, order], numbers[order]


def table(labels: Tensor, clusters: Tensor, class_names: Sequence[str], *, title: str = "", ax=None):
    """How many samples of each class are in each cluster; what counts for ACC stands on the diagonal."""
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


def members(split, clusters: Tensor, *, count: int = 8):
    """Different pictures of a split by cluster, one line a cluster, as many as ``count``."""
    import matplotlib.pyplot as plt

    numbers = clusters.unique().tolist()
    fig, axes = plt.subplots(len(numbers), count, figsize=(count, 1.05 * len(numbers)), squeeze=False)
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
    """For each arm and seed, the joint accuracy in percent of the epoch that mutual information picks, that
    labels would pick, and of the last; validation split.

    history: of ``benchmarks.load_histories``.
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
    """Clusters (N,) of paired embeddings {modality: (N, D)} by k-means on the mean of both, normalized."""
    z = sum(torch.nn.functional.normalize(x, dim=1) for x in embeddings.values())
    return k_means(z, z, count)
