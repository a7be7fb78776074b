"""ACC, NMI and ARI against brute force and their definitions, ties, absent clusters and collapse included."""

import math
from collections import Counter
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomreg_mini.benchmarks.clustering_metrics import cluster_accuracy, k_means, scores

# few classes and clusters of few samples: ties and absent ones are frequent
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=12)


def columns(samples) -> tuple[torch.Tensor, torch.Tensor]:
    labels, clusters = zip(*samples, strict=True)
    return torch.tensor(labels), torch.tensor(clusters)


@settings(max_examples=150, deadline=None)
@given(pairs)
def test_accuracy_is_the_best_over_all_namings_of_clusters(samples):
    classes = [*range(4), *["nothing"] * 5]  # a cluster may keep no name
    best = max(
        sum(naming[cluster] == label for label, cluster in samples)
        for naming in set(permutations(classes, 5))
    )
    assert cluster_accuracy(*columns(samples)) == pytest.approx(best / len(samples), abs=1e-12)


def by_definition(samples) -> tuple[float, float]:
    """NMI from probabilities and ARI from counting pairs of samples."""
    n = len(samples)

    def entropy(values):
        return -sum(k / n * math.log(k / n) for k in Counter(values).values())

    a, b = [label for label, _ in samples], [cluster for _, cluster in samples]
    mean = (entropy(a) + entropy(b)) / 2
    nmi = 1.0 if mean == 0 else (entropy(a) + entropy(b) - entropy(samples)) / mean
    together = [(s[0] == t[0], s[1] == t[1]) for s, t in combinations(samples, 2)]
    both, in_a, in_b = (
        sum(p and q for p, q in together),
        sum(p for p, _ in together),
        sum(q for _, q in together),
    )
    expected = in_a * in_b / max(len(together), 1)
    most = (in_a + in_b) / 2
    return nmi, 1.0 if most == expected else (both - expected) / (most - expected)


@settings(max_examples=150, deadline=None)
@given(pairs)
def test_nmi_and_ari_are_their_definitions(samples):
    found = scores(*columns(samples))
    nmi, ari = by_definition(samples)
    assert found["nmi"] == pytest.approx(nmi, abs=1e-9)
    assert found["ari"] == pytest.approx(ari, abs=1e-9)
    assert found["cluster_accuracy"] == cluster_accuracy(*columns(samples))


@settings(max_examples=50, deadline=None)
@given(pairs, st.permutations(range(5)), st.permutations(range(4)))
def test_no_score_depends_on_numbers_or_their_gaps(samples, clusters, classes):
    renamed = [(7 * classes[label] + 2, 100 * clusters[cluster]) for label, cluster in samples]
    assert scores(*columns(renamed)) == pytest.approx(scores(*columns(samples)), abs=1e-9)


LABELS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
KNOWN = {  # clusters -> ACC, NMI, ARI
    "the classes, numbered otherwise": ((2 - LABELS), (1.0, 1.0, 1.0)),
    "a single cluster": (torch.zeros(10, dtype=torch.long), (0.5, 0.0, 0.0)),
    "a cluster for each sample": (torch.arange(10), (0.3, None, 0.0)),
    "two classes as one": (LABELS.clamp(max=1), (0.8, None, None)),
    "a class in two clusters": (torch.tensor([0, 0, 0, 3, 3] + [1] * 3 + [2] * 2), (0.8, None, None)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name):
    clusters, wanted = KNOWN[name]
    found = scores(LABELS, clusters)
    for quantity, value in zip(("cluster_accuracy", "nmi", "ari"), wanted, strict=True):
        assert 0 <= found[quantity] <= 1
        assert value is None or found[quantity] == pytest.approx(value, abs=1e-12)
        assert value == 1.0 or found[quantity] < 1


def test_scores_of_unrelated_clusters_are_near_zero_but_for_accuracy():
    generator = torch.Generator().manual_seed(0)
    labels, clusters = torch.randint(8, (2, 4000), generator=generator)
    found = scores(labels, clusters)
    assert abs(found["ari"]) < 0.005 and found["nmi"] < 0.02
    assert 1 / 8 < found["cluster_accuracy"] < 0.16, "the best naming is chosen after the fact"


def test_wrong_arguments_are_named():
    for labels, clusters in [
        (torch.zeros(3), torch.zeros(4)),
        (torch.zeros(3, 1), torch.zeros(3, 1)),
        (torch.zeros(0), torch.zeros(0)),
    ]:
        for score in (cluster_accuracy, scores):
            with pytest.raises(ValueError, match="labels is .* clusters .*: pass equal .N,., N >= 1"):
                score(labels.long(), clusters.long())


# k-means ----------------------------------------------------------------------------------------------------


def test_k_means_finds_directions_whatever_the_lengths():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    z = torch.eye(3)[labels] + 0.1 * torch.randn(90, 3, generator=generator)
    z = z * torch.rand(90, 1, generator=generator).exp()
    clusters = k_means(z[:60], z[60:], 3)
    assert scores(labels[60:], clusters) == pytest.approx({"cluster_accuracy": 1, "nmi": 1, "ari": 1})
    assert torch.equal(clusters, k_means(z[:60], z[60:], 3))


@pytest.mark.filterwarnings("error")
def test_collapsed_embeddings_are_one_cluster_and_no_success():
    z = torch.ones(10, 4)
    assert scores(LABELS, k_means(z, z, 3)) == pytest.approx({"cluster_accuracy": 0.5, "nmi": 0, "ari": 0})
