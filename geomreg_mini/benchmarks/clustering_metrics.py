"""The match of clusters and classes: the three numbers of papers, each from about 0 to 1.

The classes are used here and never in training. Clusters have no names, so the numbers do not depend on their
order.
"""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from data_scripts.extras import extra

from ..inputs import float64
from ..paradigms.relearn import clusters_of


def cluster_accuracy(labels: Tensor, clusters: Tensor) -> float:
    """Return ACC: the share of correct samples if each cluster is named after a different class.

    Of all such namings the best counts; Kuhn's algorithm finds it. With more clusters than classes, some have
    no name and their samples are wrong. A single cluster scores the share of the largest class.

    Args:
        labels, clusters: (N,) integers.
    """
    table, rows, columns, _ = best_naming(labels, clusters)
    return float(table[rows, columns].sum() / len(labels))


def best_naming(labels: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the naming of clusters after different classes with the most correct samples.

    Args:
        labels, clusters: (N,) integers, at least 0.

    Returns:
        Counts (C, K) of samples by class 0 .. C - 1 and cluster; the matched rows and columns, (min(C, K),)
        each; and the numbers (K,) of the clusters, which may have gaps, by column.
    """
    with extra("course"):
        from scipy.optimize import linear_sum_assignment

    labels, clusters = _checked(labels, clusters)
    numbers, clusters = np.unique(clusters, return_inverse=True)
    table = np.zeros((labels.max() + 1, len(numbers)), dtype=np.int64)
    np.add.at(table, (labels, clusters), 1)
    return table, *linear_sum_assignment(table, maximize=True), numbers


def scores(labels: Tensor, clusters: Tensor) -> dict[str, float]:
    """Return ``cluster_accuracy``, ``nmi`` and ``ari``; arguments as in ``cluster_accuracy``.

    NMI is the mutual information of class and cluster over the mean of their entropies. ARI is the agreement
    about pairs of samples, adjusted so that chance is 0 on average. One cluster of several classes gives 0.
    """
    with extra("course"):
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    given = _checked(labels, clusters)
    return {
        "cluster_accuracy": cluster_accuracy(labels, clusters),
        "nmi": min(1.0, float(normalized_mutual_info_score(*given))),  # old releases round to above 1
        "ari": float(adjusted_rand_score(*given)),
    }


def _checked(labels: Tensor, clusters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labels, clusters = labels.cpu().numpy(), clusters.cpu().numpy()
    if labels.ndim != 1 or labels.shape != clusters.shape or not len(labels):
        raise ValueError(f"labels is {labels.shape}, clusters {clusters.shape}: pass equal (N,), N >= 1.")
    return labels, clusters


def k_means(train: Tensor, test: Tensor, clusters: int) -> Tensor:
    """Return clusters (N,) of ``test`` (N, D) by k-means on ``train`` (M, D), both normalized.

    This needs no head.
    """
    return clusters_of(*(F.normalize(float64(z), dim=1) for z in (train, test)), clusters)
