"""How well clusters match classes: the three numbers of papers, each from 0, or about it, to 1.

The classes are used here and nowhere in training. Clusters have no names, so none of the numbers depends on
how they are numbered.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..pairs import float64


def cluster_accuracy(labels: Tensor, clusters: Tensor) -> float:
    """ACC: the share of samples that are right where each cluster is named after a class of its own.

    Of all such namings the best counts; Kuhn's algorithm finds it. With more clusters than classes, some keep
    no name and their samples are wrong. One cluster alone scores the share of the largest class.

    Args:
        labels, clusters: (N,) integers.
    """
    table, rows, columns, _ = best_naming(labels, clusters)
    return float(table[rows, columns].sum() / len(labels))


def best_naming(labels: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Name each cluster after a class of its own so that most samples are right.

    Args:
        labels, clusters: (N,) integers, at least 0.

    Returns:
        Counts (C, K) of samples by class 0 .. C - 1 and cluster; the rows and the columns that are matched,
        (min(C, K),) each; and the numbers (K,) of the clusters, which may have gaps, by column.
    """
    from scipy.optimize import linear_sum_assignment

    labels, clusters = _checked(labels, clusters)
    numbers, clusters = np.unique(clusters, return_inverse=True)
    table = np.zeros((labels.max() + 1, len(numbers)), dtype=np.int64)
    np.add.at(table, (labels, clusters), 1)
    return table, *linear_sum_assignment(table, maximize=True), numbers


def scores(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    """``cluster_accuracy``; ``nmi``, the mutual information of class and cluster divided by the mean of their
    entropies; ``ari``, the agreement about pairs of samples, adjusted so that chance is 0 on average.

    A single cluster of several classes has NMI and ARI 0. Arguments as in ``cluster_accuracy``.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    given = _checked(labels, clusters)
    return {
        "cluster_accuracy": cluster_accuracy(labels, clusters),
        "nmi": float(normalized_mutual_info_score(*given)),
        "ari": float(adjusted_rand_score(*given)),
    }


def _checked(labels: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labels, clusters = labels.cpu().numpy(), clusters.cpu().numpy()
    if labels.ndim != 1 or labels.shape != clusters.shape or not len(labels):
        raise ValueError(
            f"labels has shape {labels.shape} and clusters {clusters.shape}: pass equal ones (N,), N >= 1."
        )
    return labels, clusters


def k_means(train: Tensor, test: Tensor, clusters: int) -> Tensor:
    """Clusters (N,) of ``test`` (N, D) by k-means on ``train`` (M, D), both normalized.

    What the embeddings give without any head: the best of ten starts, the same each time.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    train, test = (F.normalize(float64(z), dim=1).cpu().numpy() for z in (train, test))
    with warnings.catch_warnings():
        # Collapsed embeddings have fewer points than clusters, and that is a result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(clusters, n_init=10, random_state=0).fit(train)
    return torch.from_numpy(fitted.predict(test)).long()
