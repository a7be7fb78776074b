"""The diagnostics against numbers known in advance, brute force, and the symmetries they must have."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from geomreg_mini import dispersion, geometry, pairs
from geomreg_mini.geometry import (
    alignment,
    band_violation,
    cdnv,
    class_mean_margin,
    collapse_std,
    cosine_contrast,
    cross_modal_margin,
    drift_summary,
    effective_rank,
    geometry_report,
    knn_accuracy,
    ks_distance,
    linear_cka,
    mean_cosine,
    median_rank,
    modality_gap,
    nc1,
    paired_distances,
    paired_drift,
    participation_ratio,
    rankme,
    retrieval_ranks,
    retrieval_recall,
    semantic_margin,
    silhouette,
    spectrum,
    spectrum_summary,
    uniformity,
)

approx = pytest.approx
seeds = given(seed=st.integers(0, 2**31))
few = settings(max_examples=25, deadline=None)

ONE = {
    "effective_rank": effective_rank,
    "participation_ratio": participation_ratio,
    "rankme": rankme,
    "uniformity": uniformity,
    "collapse_std": collapse_std,
    "mean_cosine": mean_cosine,
}
ONE_LABELED = {
    "class_mean_margin": class_mean_margin,
    "semantic_margin": semantic_margin,
    "cdnv": cdnv,
    "nc1": nc1,
    "silhouette": silhouette,
    "knn_accuracy": lambda z, y: knn_accuracy(z, y, k=5),
}
TWO = {
    "alignment": alignment,
    "paired_drift": paired_drift,
    "modality_gap": modality_gap,
    "band_violation": lambda a, b: band_violation(a, b, 1.3),
    "cosine_contrast": cosine_contrast,
    "ks_distance": ks_distance,
    "linear_cka": linear_cka,
    "biased_cka": lambda a, b: linear_cka(a, b, debiased=False),
    "retrieval_recall": lambda a, b: retrieval_recall(a, b, k=5),
    "median_rank": median_rank,
}


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sample(seed, n=24, d=6, classes=3):
    """Two related modalities and labels in which every class has several members."""
    shared = gaussian(n, d, seed)
    return shared + gaussian(n, d, seed + 1), shared + gaussian(n, d, seed + 2), torch.arange(n) % classes


def measure(seed, transform=lambda x: x, permute=None):
    a, b, y = sample(seed)
    if permute is not None:
        a, b, y = a[permute], b[permute], y[permute]
    a, b = transform(a), transform(b)
    return (
        {name: f(a) for name, f in ONE.items()}
        | {name: f(a, y) for name, f in ONE_LABELED.items()}
        | {name: f(a, b) for name, f in TWO.items()}
        | {"cross_modal_margin": cross_modal_margin(a, b, y)}
    )


# Ranks and spectrum


def test_ranks_of_gaussian_clouds_match_the_reference_values():
    """N = 2000, D = 128: 126.96 from singular values, 124.00 from eigenvalues, participation ratio 120.37."""
    runs = [spectrum_summary(gaussian(2000, 128, seed)) for seed in range(3)]
    mean = {name: np.mean([run[name] for run in runs]) for name in runs[0]}
    assert mean["effective_rank"] == approx(126.96, abs=0.05)
    assert mean["eigenvalue_rank"] == approx(124.00, abs=0.15)
    assert mean["participation_ratio"] == approx(120.37, abs=0.25)
    assert mean["participation_ratio"] == approx(128 / (1 + 128 / 2000), abs=0.25)


def test_ranks_of_fewer_samples_than_dimensions_are_capped_by_the_samples():
    runs = [spectrum_summary(gaussian(64, 512, seed), normalize=False) for seed in range(4)]
    mean = {name: np.mean([run[name] for run in runs]) for name in runs[0]}
    assert mean["effective_rank"] == approx(61.9, abs=0.2)
    assert mean["eigenvalue_rank"] == approx(59.0, abs=0.4)
    assert mean["participation_ratio"] == approx(55.6, abs=0.7)
    assert mean["numerical_rank"] == 63  # centering takes one of the 64


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_k_equal_singular_values_have_rank_k_by_every_definition(k):
    z = torch.linalg.qr(gaussian(20, k)).Q @ torch.linalg.qr(gaussian(12, k)).Q.T
    summary = spectrum_summary(7 * z, normalize=False, center=False)
    for name in ("effective_rank", "eigenvalue_rank", "participation_ratio", "numerical_rank"):
        assert summary[name] == approx(k), name
    assert summary["condition_number"] == approx(1) and summary["top1_share"] == approx(1 / k)
    assert rankme(z) == approx(k, rel=1e-4)


def test_spectrum_of_a_known_covariance():
    z = torch.tensor([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert spectrum(z, normalize=False).tolist() == approx([18 / 3, 2 / 3, 0])
    summary = spectrum_summary(z, normalize=False)
    assert (summary["numerical_rank"], summary["condition_number"]) == (2, approx(9))
    assert summary["top1_share"] == approx(0.9)
    assert summary["participation_ratio"] == approx(1 / (0.9**2 + 0.1**2))
    assert summary["effective_rank"] == approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_rank_deficient_embeddings_have_a_finite_condition_number_and_their_own_rank():
    z = gaussian(200, 3) @ gaussian(3, 64, 1)
    for precision in (torch.float64, torch.float32):
        summary = spectrum_summary(z.to(precision), normalize=False)
        assert summary["numerical_rank"] == 3
        assert 1 <= summary["effective_rank"] <= 3.001
        assert 1 <= summary["condition_number"] < 1e3


@pytest.mark.parametrize("row", [torch.zeros(8), torch.full((8,), 0.1), gaussian(1, 8)[0].float()])
def test_collapsed_embeddings_have_the_documented_values(row):
    z = row.expand(30, 8)
    summary = spectrum_summary(z)
    assert summary.pop("numerical_rank") == 0
    assert set(summary.values()) == {1.0}
    assert uniformity(z) == approx(0, abs=1e-12)
    assert collapse_std(z) == approx(0, abs=1e-12)
    assert linear_cka(z, gaussian(30, 8)) == 0
    assert linear_cka(z, z, debiased=False) == 0


def test_one_sample_has_rank_one_and_needs_a_second_for_pairwise_measures():
    z = gaussian(1, 5)
    assert effective_rank(z) == participation_ratio(z) == 1 and rankme(z) == approx(1, abs=1e-5)
    assert paired_drift(z, -z) == approx(4) and retrieval_ranks(z, z).tolist() == [1]
    for name in ("uniformity", "collapse_std", "mean_cosine"):
        with pytest.raises(ValueError, match="z has shape .1, 5.; pass .* N >= 2"):
            ONE[name](z)
    for f in (cosine_contrast, ks_distance):
        with pytest.raises(ValueError, match="a has shape .1, 5."):
            f(z, z)


def test_rankme_sees_the_mean_that_effective_rank_removes():
    z = gaussian(500, 16) + 100
    assert rankme(z) < 3
    assert effective_rank(z, normalize=False) > 15


# The sphere


def test_uniformity_equals_dispersion_at_temperature_one_over_t():
    z = gaussian(40, 7)
    for t in (0.5, 2.0, 4.0):
        assert uniformity(z, t=t) == approx(dispersion(z, temperature=1 / t).item(), abs=1e-6)


@pytest.mark.parametrize(("d", "limit"), [(16, -3.513), (64, -3.875), (128, -3.938)])
def test_uniformity_of_uniform_points_reaches_its_closed_form(d, limit):
    assert uniformity(gaussian(3000, d)) == approx(limit, abs=0.01)


def test_uniformity_of_a_regular_simplex_is_the_minimum():
    simplex = torch.eye(64) - 1 / 64
    assert uniformity(simplex) == approx(-2 * 2 * 64 / 63)
    assert mean_cosine(simplex) == approx(-1 / 63)


def test_uniformity_survives_an_extreme_t():
    assert uniformity(torch.eye(4), t=1e4) == approx(-2e4)


def test_collapse_std_of_isotropic_points_is_one_over_root_d():
    assert collapse_std(gaussian(4000, 64)) == approx(1 / 8, rel=0.01)


def test_mean_cosine_equals_the_mean_over_all_pairs():
    z = gaussian(15, 4)
    cosine = torch.cosine_similarity(z[:, None], z[None], dim=2)
    assert mean_cosine(z) == approx((cosine.sum() - 15).item() / (15 * 14))


# Classes


def test_cdnv_by_hand():
    z = torch.tensor([[-1.0, 0], [1, 0], [8, 0], [12, 0]])  # variances 1 and 4, means 10 apart
    assert cdnv(z, torch.tensor([3, 3, 7, 7])) == approx((1 + 4) / (2 * 100))


def test_nc1_by_hand():
    z = torch.tensor([[-1.0, 5], [1, 5], [8, 5], [12, 5]])  # within 2.5, between ((5)^2 + (5)^2) / 2 = 25
    assert nc1(z, torch.tensor([0, 0, 1, 1])) == approx(2.5 / 25 / 2)


def test_nc1_agrees_with_the_matrix_formula():
    z, _, y = sample(3, n=60, d=5, classes=4)
    means = torch.stack([z[y == c].mean(0) for c in range(4)])
    within = (z - means[y]).T @ (z - means[y]) / 60
    between = (means - z.mean(0)).T @ (means - z.mean(0)) / 4
    pinv = torch.linalg.pinv(between, rtol=1e-10)
    assert nc1(z, y) == approx((torch.trace(within @ pinv) / 4).item(), rel=1e-6)


def test_classes_that_are_points_have_no_within_class_variation():
    means, y = gaussian(4, 6), torch.arange(40) % 4
    z = means[y]
    assert cdnv(z, y) == approx(0, abs=1e-12) and nc1(z, y) == approx(0, abs=1e-12)
    assert silhouette(z, y) == approx(1) and knn_accuracy(z, y, k=5) == 1


@pytest.mark.parametrize("f", [cdnv, nc1])
def test_classes_with_one_mean_are_an_error_and_not_infinite(f):
    with pytest.raises(ValueError, match="same mean"):
        f(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize("f", [cdnv, nc1])
def test_means_that_differ_by_rounding_alone_count_as_one(f):
    z = torch.tensor([[0.1], [0.1], [0.1], [0.0], [0.0], [0.3]], dtype=torch.float64)
    assert z[:3].mean() != z[3:].mean()
    with pytest.raises(ValueError, match="same mean"):
        f(z, torch.tensor([0, 0, 0, 1, 1, 1]))


def test_silhouette_by_hand_and_singletons_count_zero():
    z, y = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 1])
    assert silhouette(z, y, normalize=False) == approx(((5 - 1) / 5 + (4 - 1) / 4 + 0) / 3)


def test_silhouette_agrees_with_scikit_learn_and_its_subsample_follows_the_seed():
    from sklearn.metrics import silhouette_score

    z, _, y = sample(5, n=90)
    assert silhouette(z, y, normalize=False) == approx(silhouette_score(z.numpy(), y.numpy()))
    draws = [silhouette(z, y, max_samples=30, seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_class_mean_margin_by_hand():
    """The own mean leaves the sample out: cosines 0, 0 in class 0 and 1, 1 in class 1; all others are 0."""
    z = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert class_mean_margin(z, torch.tensor([0, 0, 1, 1])) == approx((0 + 0 + 1 + 1) / 4)


def test_class_mean_margin_agrees_with_a_loop():
    z, _, y = sample(8, n=21, classes=4)
    u = torch.nn.functional.normalize(z)
    margins = []
    for i in range(21):
        rest = torch.arange(21) != i
        cosine = [torch.cosine_similarity(u[i], u[rest & (y == c)].mean(0), dim=0).item() for c in range(4)]
        margins.append(cosine[y[i]] - max(c for k, c in enumerate(cosine) if k != y[i]))
    assert class_mean_margin(z, y) == approx(np.mean(margins))


def test_class_mean_margin_of_pure_noise_is_negative_as_leaving_out_removes_the_optimism():
    assert class_mean_margin(gaussian(400, 32), torch.arange(400) % 8) < -0.05


def test_singletons_take_no_part_in_the_class_mean_margin_but_compete():
    z = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    assert class_mean_margin(z, torch.tensor([0, 0, 1])) == approx(1)
    with pytest.raises(ValueError, match="labels has only classes of one sample"):
        class_mean_margin(z, torch.arange(3))


# The paper's margin, Eq. (45)


def mean_distance(first, second):
    """By a double loop over rows, from differences."""
    return sum(math.dist(x, y) for x in first.tolist() for y in second.tolist()) / (len(first) * len(second))


def equation_45(z, y):
    classes = [z[y == c] for c in y.unique()]
    between = [mean_distance(p, q) for p in classes for q in classes if p is not q]
    return sum(between) / len(between) - sum(mean_distance(p, p) for p in classes) / len(classes)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("sizes", [(3, 5), (1, 4, 2), (7, 1, 1, 3), (2, 9, 4, 1, 5)])
def test_semantic_margin_agrees_with_a_double_loop_over_classes_of_unequal_sizes(sizes, normalize):
    y = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)) * 3 - 1  # labels need not be 0, 1, 2
    z = gaussian(len(y), 5, len(sizes)) * 4 + y[:, None]
    rows = torch.nn.functional.normalize(z) if normalize else z
    assert semantic_margin(z, y, normalize=normalize) == approx(equation_45(rows, y), rel=1e-12)


@pytest.mark.parametrize("d", [0.25, 1.0, 30.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_semantic_margin_of_one_point_per_class_is_their_distance(classes, d):
    corners = torch.eye(classes, dtype=torch.float64) * d / math.sqrt(2)  # all at distance d
    assert semantic_margin(corners, torch.arange(classes), normalize=False) == approx(d)
    copies = torch.arange(classes).repeat_interleave(torch.arange(classes) + 1)
    assert semantic_margin(corners[copies], copies, normalize=False) == approx(d), "whatever the sizes"


def test_semantic_margin_is_at_most_two_and_two_for_two_opposite_points():
    y = torch.tensor([0, 0, 1])
    assert semantic_margin(torch.tensor([[3.0, 0], [1, 0], [-2, 0]]), y) == approx(2)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("row", [torch.zeros(7), torch.full((7,), 0.1), gaussian(1, 7)[0].float() * 1e3])
def test_semantic_margin_of_equal_rows_is_exactly_zero(row, normalize):
    z, y = row.expand(50, 7), torch.arange(50) % 4
    assert semantic_margin(z, y, normalize=normalize) == 0


@pytest.mark.parametrize("step", [1e-3, 1e-6, 1e-9, 1e-12])
def test_semantic_margin_of_rows_that_nearly_coincide_keeps_its_digits(step):
    """As x.x - 2 x.y + y.y their squared distance would be rounding alone, or negative and its root NaN."""
    z = gaussian(1, 6) / 3 + step * torch.eye(6, dtype=torch.float64)[[0, 0, 1, 1, 2]]
    y = torch.tensor([0, 0, 1, 1, 2])
    assert semantic_margin(z, y, normalize=False) == approx(step * math.sqrt(2), rel=1e-3)
    z[-1] = 5  # far away, so that near and far rows are in one block
    assert semantic_margin(z, y, normalize=False) == approx(equation_45(z, y), rel=1e-9)


def test_semantic_margin_of_labels_without_meaning_is_the_mean_distance_over_the_class_size():
    """Independent directions are root two apart, and the mean within a class of n holds n zeros of n^2."""
    z = gaussian(2000, 128)
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(1))
    for classes in (2, 20):
        margin = semantic_margin(z, (torch.arange(2000) % classes)[order])
        assert margin == approx(math.sqrt(2) * classes / 2000, rel=0.1)


def test_semantic_margin_of_classes_that_hold_the_same_rows_is_zero():
    z = gaussian(9, 4)
    assert semantic_margin(z.repeat(3, 1), torch.arange(3).repeat_interleave(9)) == approx(0, abs=1e-12)


@few
@seeds
def test_semantic_margin_is_never_negative_and_ignores_names_and_copies_of_a_class(seed):
    z, _, y = sample(seed, n=17, classes=4)
    margin = semantic_margin(z, y)
    assert 0 < margin <= 2
    assert semantic_margin(z, 7 - y) == approx(margin)
    twice = torch.cat([torch.arange(17), (y == 2).nonzero()[:, 0]])
    assert semantic_margin(z[twice], y[twice]) == approx(margin)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation gives back."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


@pytest.mark.parametrize("collapsed", [False, True])
@pytest.mark.parametrize("classes", [3, 700])
def test_semantic_margin_in_blocks_is_the_same_and_holds_no_matrix_of_all_pairs(
    monkeypatch, classes, collapsed
):
    z, y = gaussian(700, 4), torch.arange(700) % classes
    z = torch.ones_like(z) + 1e-9 * z if collapsed else z
    whole = semantic_margin(z, y)
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", 5000)  # seven rows at a time
    with Largest() as seen:
        assert semantic_margin(z, y) == approx(whole, rel=1e-9)
    assert 4900 <= seen.elements <= 5000 < 700**2


def test_knn_accuracy_agrees_with_a_loop():
    z, bank, y = sample(11, n=30)
    bank_y, hits = (torch.arange(30) * 7) % 3, 0
    for i in range(30):
        cosine = torch.cosine_similarity(z[i], bank, dim=1)
        near = cosine.argsort(descending=True)[:4]
        votes = torch.zeros(3, dtype=torch.float64).index_add_(0, bank_y[near], (cosine[near] / 0.1).exp())
        hits += int(votes.argmax() == y[i])
    assert knn_accuracy(z, y, bank, bank_y, k=4) == approx(hits / 30)


def test_knn_without_a_bank_does_not_find_itself_and_caps_k():
    z, y = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), torch.tensor([0, 1, 2, 3])
    assert knn_accuracy(z, y, k=200) == 0  # each label occurs once, so only finding itself could be right
    assert knn_accuracy(z, y, z, y, k=1) == 1
    assert knn_accuracy(z, torch.tensor([0, 0, 1, 1]), k=1, temperature=1e-6) == 1


def test_a_small_temperature_leaves_the_vote_to_the_nearest():
    bank = torch.tensor([[1.0, 0.5], [1.0, 0]])
    assert (
        knn_accuracy(torch.tensor([[1.0, 0]]), torch.tensor([1]), bank, torch.arange(2), temperature=1e-5)
        == 1
    )


def test_a_query_label_that_the_bank_lacks_is_never_right():
    assert knn_accuracy(torch.eye(2), torch.tensor([5, 6]), torch.eye(2), torch.tensor([5, 7]), k=1) == 0.5


@pytest.mark.parametrize("f", [*ONE_LABELED.values(), lambda z, y: cross_modal_margin(z, z, y)])
def test_one_class_or_a_missing_label_is_named(f):
    z = gaussian(6, 3)
    with pytest.raises(ValueError, match="labels"):
        f(z, torch.arange(5))
    if f is not ONE_LABELED["knn_accuracy"]:
        with pytest.raises(ValueError, match="labels holds 1 class"):
            f(z, torch.zeros(6))


# Pairs


def test_independent_uniform_points_are_root_two_apart():
    a, b = gaussian(3000, 128), gaussian(3000, 128, 1)
    assert alignment(a, b, alpha=1) == approx(math.sqrt(2), abs=0.01)
    assert paired_drift(a, b) == approx(2, abs=0.02)


@few
@seeds
def test_drift_splits_exactly_into_gap_and_sample_part(seed):
    a, b, _ = sample(seed)
    summary = drift_summary(a, b + 0.5)
    assert summary["drift_gap_part"] == approx(modality_gap(a, b + 0.5) ** 2)
    assert summary["paired_drift"] == approx(summary["drift_gap_part"] + summary["drift_sample_part"])
    ua, ub = (torch.nn.functional.normalize(x) for x in (a, b + 0.5))
    assert summary["drift_sample_part"] == approx(torch.cov((ua - ub).T, correction=0).trace().item())


def test_drift_quantiles_and_band_violation_of_known_distances():
    angles = torch.linspace(0, math.pi, 21, dtype=torch.float64)
    a = torch.stack([angles.cos(), angles.sin()], dim=1)
    b = torch.tensor([[1.0, 0]]).expand(21, 2)
    distance = 2 * (angles / 2).sin()
    assert paired_distances(a, 5 * b).tolist() == approx(distance.tolist())
    summary = drift_summary(a, b)
    assert summary["paired_distance_q50"] == approx(math.sqrt(2))
    assert summary["paired_distance_q05"] == approx(distance[1].item())
    assert summary["paired_distance_q95"] == approx(distance[19].item())
    assert band_violation(a, b, 1.5) == approx((distance > 1.5).double().mean().item())
    assert band_violation(a, a, 0) == 0 and band_violation(a, b, 2) == 0


def test_modality_gap_of_opposite_points_is_two():
    a = torch.tensor([[3.0, 0], [2, 0]])
    assert modality_gap(a, -a) == approx(2)


def test_cross_modal_margin_agrees_with_all_pairs():
    a, b, y = sample(4, n=17)
    cosine = torch.cosine_similarity(a[:, None], b[None], dim=2)
    same = y[:, None] == y
    assert cross_modal_margin(a, b, y) == approx((cosine[same].mean() - cosine[~same].mean()).item())


def test_cross_modal_margin_of_two_opposite_classes_is_two_and_of_orthogonal_classes_one():
    y = torch.tensor([0, 0, 1])
    opposite = torch.tensor([[1.0], [1], [-1]])
    assert cross_modal_margin(opposite, opposite, y) == approx(2)
    assert cross_modal_margin(torch.eye(2)[y], torch.eye(2)[y], y) == approx(1)


@pytest.mark.parametrize("block_elements", [2**24, 50])
def test_contrast_and_ks_agree_with_scipy_in_one_block_and_in_many(monkeypatch, block_elements):
    from scipy.stats import ks_2samp

    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", block_elements)
    a, b, _ = sample(2, n=25)
    cosine = torch.cosine_similarity(a[:, None], b[None], dim=2).numpy()
    paired, unpaired = np.diag(cosine), cosine[~np.eye(25, dtype=bool)]
    assert cosine_contrast(a, b) == approx(paired.mean() - unpaired.mean())
    assert ks_distance(a, b) == approx(ks_2samp(paired, unpaired).statistic)


def test_collapsed_pairs_have_no_contrast_and_no_ks_distance():
    a = torch.full((40, 7), 0.1)
    assert cosine_contrast(a, a) == approx(0, abs=1e-12) and ks_distance(a, a) == 0


def test_perfectly_separated_pairs_have_ks_distance_one():
    assert (
        ks_distance(torch.eye(10), torch.eye(10)) == 1 and cosine_contrast(torch.eye(10), torch.eye(10)) == 1
    )


@pytest.mark.parametrize(("n", "biased"), [(64, 0.887), (512, 0.500)])
def test_cka_of_unrelated_clouds_is_large_when_biased_and_near_zero_when_debiased(n, biased):
    pairs = [(gaussian(n, 512, seed), gaussian(n, 512, seed + 9)) for seed in range(3)]
    assert np.mean([linear_cka(a, b, debiased=False) for a, b in pairs]) == approx(biased, abs=0.01)
    assert np.mean([linear_cka(a, b) for a, b in pairs]) == approx(0, abs=0.05)


def test_debiased_cka_agrees_with_hsic_1_on_the_kernels():
    a, b = gaussian(12, 5) + 3, gaussian(12, 8, 1) + gaussian(12, 1)

    def hsic(x, y):
        n = len(x)
        k, m = x @ x.T, y @ y.T
        k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
        cross = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
        return ((k @ m).trace() + cross) / (n * (n - 3))

    expected = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    assert linear_cka(a, b) == approx(expected.item())


def test_cka_is_one_for_rotated_shifted_scaled_copies_of_a_set():
    a = gaussian(30, 6)
    b = 5 * a @ torch.linalg.qr(gaussian(6, 6, 1)).Q + 100
    assert linear_cka(a, b) == approx(1) and linear_cka(a, b, debiased=False) == approx(1)


def test_debiased_cka_needs_four_samples():
    with pytest.raises(ValueError, match="a has shape .3, 5.; pass .* N >= 4"):
        linear_cka(gaussian(3, 5), gaussian(3, 5))
    assert linear_cka(gaussian(3, 5), gaussian(3, 5), debiased=False) == approx(1)


# Retrieval


@few
@given(seed=st.integers(0, 2**31), block_elements=st.sampled_from([2**24, 40]))
def test_retrieval_ranks_agree_with_brute_force_where_many_cosines_tie(seed, block_elements):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.eye(3)
    a, b = (corners[torch.randint(0, 3, (20,), generator=generator)] for _ in range(2))
    a[0], b[1] = 0, torch.tensor([1.0, 1.0, 0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BLOCK_ELEMENTS", block_elements)
        ranks = retrieval_ranks(a, b)
    cosine = (torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T).double()
    for i in range(20):
        others = torch.cat([cosine[i, :i], cosine[i, i + 1 :]])
        closer = (others > cosine[i, i]).sum().item()
        assert ranks[i] == 1 + closer + 0.5 * (others == cosine[i, i]).sum().item()


def test_collapsed_embeddings_retrieve_at_chance_and_never_at_100_percent():
    z = gaussian(1, 24).float().expand(101, 24)  # 101 rows: edge tiles of a matrix product round differently
    assert set(retrieval_ranks(z, z).tolist()) == {51.0} and median_rank(z, z) == 51
    for k in (1, 5, 10, 50):
        assert retrieval_recall(z, z, k=k) <= k / 101


def test_unrelated_embeddings_retrieve_at_chance():
    a, b = gaussian(1000, 16), gaussian(1000, 16, 1)
    assert retrieval_recall(a, b, k=100) == approx(0.1, abs=0.03)
    assert median_rank(a, b) == approx(500, abs=40)


def test_the_two_directions_of_retrieval_differ_and_the_first_is_the_query():
    a = torch.tensor([[1.0, 0], [1, 0.5]])
    b = torch.tensor([[1.0, 0.6], [0, 1]])
    assert retrieval_ranks(a, b).tolist() == [1, 2]
    assert retrieval_ranks(b, a).tolist() == [2, 1]
    b = torch.tensor([[1.0, 0.6], [0, 1], [0, 2]])
    a = torch.tensor([[1.0, 0.6], [0.1, 1], [1, 0.5]])
    assert (retrieval_recall(a, b), retrieval_recall(b, a)) == (approx(1 / 3), approx(2 / 3))


# Symmetries


@few
@seeds
def test_every_measure_ignores_the_order_of_the_samples(seed):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    assert measure(seed, permute=order) == approx(measure(seed), rel=1e-9, abs=1e-10)


@few
@seeds
def test_every_measure_but_collapse_std_ignores_a_rotation_of_both_modalities(seed):
    rotation = torch.linalg.qr(gaussian(6, 6, seed + 3)).Q
    turned, plain = measure(seed, lambda x: x @ rotation), measure(seed)
    turned.pop("collapse_std"), plain.pop("collapse_std")
    assert turned == approx(plain, rel=1e-9, abs=1e-10)


@few
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-6, 1e6))
def test_every_measure_ignores_one_scale_for_all(seed, scale):
    assert measure(seed, lambda x: scale * x) == approx(measure(seed), rel=1e-9, abs=1e-10)


@few
@seeds
def test_normalized_measures_ignore_the_length_of_every_row(seed):
    length = 10 ** (gaussian(24, 1, seed + 4) * 3)
    scaled, plain = measure(seed, lambda x: length * x), measure(seed)
    for raw in ("rankme", "cdnv", "nc1", "linear_cka", "biased_cka"):
        scaled.pop(raw), plain.pop(raw)
    assert scaled == approx(plain, rel=1e-9, abs=1e-10)


@few
@seeds
def test_ranks_stay_in_their_range_and_in_their_order(seed):
    for z in (sample(seed)[0], gaussian(5, 40, seed), gaussian(9, 2, seed) @ gaussian(2, 7, seed)):
        summary = spectrum_summary(z)
        ranks = [summary[name] for name in ("participation_ratio", "eigenvalue_rank", "effective_rank")]
        assert 1 - 1e-12 <= ranks[0] <= ranks[1] + 1e-9 and ranks[1] <= ranks[2] + 1e-9
        assert ranks[2] <= min(z.shape) + 1e-9


# Inputs


@pytest.mark.parametrize("name", [*ONE, *ONE_LABELED])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_or_infinity_is_an_error_that_names_the_argument(name, bad):
    z, _, y = sample(0)
    z[3, 2] = bad
    with pytest.raises(ValueError, match="^z has NaN or infinity in 1 of 24 rows"):
        ONE[name](z) if name in ONE else ONE_LABELED[name](z, y)


@pytest.mark.parametrize("name", TWO)
def test_the_modality_that_is_bad_is_named(name):
    a, b, _ = sample(0)
    b[0] = math.nan
    with pytest.raises(ValueError, match="^b has NaN"):
        TWO[name](a, b)
    with pytest.raises(ValueError, match=r"a has shape \(24, 6\) and b \(23, 6\)"):
        TWO[name](a, gaussian(23, 6))
    if "cka" not in name:
        with pytest.raises(ValueError, match=r"a has shape \(24, 6\) and b \(24, 5\)"):
            TWO[name](a, gaussian(24, 5))


@pytest.mark.parametrize("shape", [(3,), (0, 4), (4, 0), (2, 2, 2)])
def test_a_shape_that_is_no_table_of_embeddings_is_named(shape):
    with pytest.raises(ValueError, match="z has shape"):
        effective_rank(torch.zeros(shape))


def test_bad_options_are_named():
    z, y = gaussian(6, 3), torch.arange(6) % 2
    for call, message in [
        (lambda: uniformity(z, t=0), "t must be .* got 0"),
        (lambda: band_violation(z, z, 2.5), "radius must be .* got 2.5"),
        (lambda: retrieval_recall(z, z, k=0), "k must be .* got 0"),
        (lambda: knn_accuracy(z, y, k=0), "k=0"),
        (lambda: knn_accuracy(z, y, temperature=0), "temperature=0"),
        (lambda: knn_accuracy(z, y, bank=z), "bank_labels"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_inputs_are_measured_in_float64(dtype):
    a, b, y = sample(1)
    a, b = a.to(dtype).requires_grad_(), b.to(dtype)
    low = geometry_report({"a": a, "b": b}, y, 0.6, detailed=True)
    assert low == geometry_report({"a": a.double(), "b": b.double()}, y, 0.6, detailed=True)


def test_half_precision_rows_whose_squares_overflow_or_underflow_keep_their_direction():
    big = torch.tensor([[6e4, 6e4], [6e-8, 6e-8]], dtype=torch.float16)
    assert mean_cosine(big) == approx(1)
    assert mean_cosine(torch.tensor([[1e-11, 1e-11], [1e200, 1e200]], dtype=torch.float64)) == approx(1)


# The report


def test_report_has_a_key_for_every_modality_pair_and_direction():
    a, b, y = sample(0)
    report = geometry_report({"audio": a, "image": b}, y, 0.6, detailed=True)
    one = "effective_rank eigenvalue_rank participation_ratio numerical_rank condition_number top1_share"
    one = [*one.split(), "rankme_raw", "uniformity", "collapse_std", "mean_cosine"]
    one += ["class_mean_margin", "semantic_margin", "cdnv_raw", "nc1_raw"]
    two = "linear_cka paired_drift paired_distance modality_gap drift_gap_part drift_sample_part"
    two = [*two.split(), "cosine_contrast", "ks_distance", "band_violation", "cross_modal_margin"]
    two += [f"paired_distance_q{q}" for q in ("05", "50", "95")]
    directed = ["recall@1", "recall@5", "recall@10", "recall@100", "median_rank"]
    expected = {f"{q}/{m}" for q in [*one, "silhouette", "knn_accuracy"] for m in ("audio", "image")}
    expected |= {f"{q}/audio-image" for q in two + directed} | {f"{q}/image-audio" for q in directed}
    assert set(report) == expected | {"semantic_margin/joint", "num_samples"}
    assert all(type(value) is float and math.isfinite(value) for value in report.values())


def test_report_repeats_the_functions():
    a, b, y = sample(6)
    report = geometry_report({"a": a, "b": b}, y, 0.9, detailed=True)
    for name in ("effective_rank", "participation_ratio", "uniformity", "collapse_std", "mean_cosine"):
        assert report[f"{name}/b"] == approx(ONE[name](b)), name
    assert report["rankme_raw/b"] == approx(rankme(b)) and report["nc1_raw/a"] == approx(nc1(a, y))
    for name in ("paired_drift", "modality_gap", "cosine_contrast", "ks_distance", "linear_cka"):
        assert report[f"{name}/a-b"] == approx(TWO[name](a, b)), name
    assert report["cross_modal_margin/a-b"] == approx(cross_modal_margin(a, b, y))
    assert report["semantic_margin/b"] == approx(semantic_margin(b, y))
    mean = sum(torch.nn.functional.normalize(z) for z in (a, b)) / 2
    assert report["semantic_margin/joint"] == approx(semantic_margin(mean, y, normalize=False))
    assert report["band_violation/a-b"] == band_violation(a, b, 0.9)
    assert report["recall@5/b-a"] == retrieval_recall(b, a, k=5)
    assert report["num_samples"] == 24


def test_report_without_labels_and_radius_leaves_their_measures_out():
    a, b, _ = sample(0)
    quantities = {key.split("/")[0] for key in geometry_report({"a": a, "b": b})}
    assert quantities.isdisjoint(
        {
            "semantic_margin",
            "cross_modal_margin",
            "class_mean_margin",
            "cdnv_raw",
            "band_violation",
            "nc1_raw",
        }
    )
    assert {"effective_rank", "paired_drift", "recall@1"} <= quantities


def test_report_of_three_modalities_has_three_pairs_and_six_directions():
    report = geometry_report({m: gaussian(20, 4, seed) for seed, m in enumerate("abc")})
    assert {key.split("/")[1] for key in report if key.startswith("paired_drift")} == {"a-b", "a-c", "b-c"}
    assert sum(key.startswith("recall@1/") for key in report) == 6


def test_report_of_unequal_widths_compares_by_cka_alone():
    report = geometry_report({"a": gaussian(20, 4), "b": gaussian(20, 7)}, torch.arange(20) % 2, 0.6)
    assert [key for key in report if key.endswith(("/a-b", "/b-a"))] == ["linear_cka/a-b"]
    assert [key for key in report if "semantic" in key] == ["semantic_margin/a", "semantic_margin/b"]


def test_report_of_one_modality_has_no_mean_over_modalities():
    report = geometry_report({"a": gaussian(20, 4)}, torch.arange(20) % 2)
    assert [key for key in report if "semantic" in key] == ["semantic_margin/a"]


@pytest.mark.parametrize("n", [2, 3, 30])
def test_report_of_collapsed_embeddings_is_finite_and_leaves_undefined_ratios_out(n):
    z = torch.full((n, 8), 0.3)
    report = geometry_report({"a": z, "b": z}, torch.arange(n) % 2, 0.6, detailed=True)
    assert all(math.isfinite(value) for value in report.values())
    assert report["effective_rank/a"] == 1 and report["recall@1/a-b"] <= 1 / n
    assert "cdnv_raw/a" not in report and ("linear_cka/a-b" in report) == (n > 3)


def test_report_of_a_single_class_has_no_class_measures():
    a, b, _ = sample(0)
    report = geometry_report({"a": a, "b": b}, torch.zeros(24))
    assert not any("margin" in key or "cdnv" in key for key in report)


def test_report_names_what_is_wrong():
    a, b, y = sample(0)
    nan = b.clone()
    nan[5:7] = math.nan
    for embeddings, options, message in [
        ({}, {}, "embeddings is empty"),
        ({"audio": a, "image": nan}, {}, r"embeddings\['image'\] has NaN or infinity in 2 of 24 rows"),
        ({"audio": a, "image": b[:9]}, {}, "'image': 9"),
        ({"audio": a[:1]}, {}, r"embeddings\['audio'\] has shape \(1, 6\)"),
        ({"audio": a}, {"labels": y[:5]}, r"labels has shape \(5,\)"),
        ({"audio": a}, {"radius": -1}, "radius must be .* got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            geometry_report(embeddings, **options)


def test_report_in_blocks_is_the_report_in_one_piece(monkeypatch):
    a, b, y = sample(7)
    whole = geometry_report({"a": a, "b": b}, y, 0.6, detailed=True)
    monkeypatch.setattr(pairs, "BLOCK_ELEMENTS", 100)  # four rows at a time
    assert geometry_report({"a": a, "b": b}, y, 0.6, detailed=True) == approx(whole)


# What people pass


@pytest.mark.parametrize("labels", [["b", "a"] * 10, np.array(["x", "y"] * 10), [True, False] * 10])
def test_labels_of_any_type_that_sorts_give_what_numbers_give(labels):
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    _, numbers = np.unique(np.asarray(labels), return_inverse=True)
    for quantity in (geometry.cdnv, geometry.semantic_margin, geometry.knn_accuracy, geometry.nc1):
        assert quantity(z, labels) == quantity(z, numbers)
    assert geometry.geometry_report({"a": z, "b": z}, labels) == geometry.geometry_report(
        {"a": z, "b": z}, numbers
    )


def test_labels_of_a_filtered_series_are_taken_by_place():
    pandas = pytest.importorskip("pandas")
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    series = pandas.Series([0, 1] * 20)
    kept = series[np.arange(40) % 4 < 2]  # its index is 0, 1, 4, 5, ...
    assert geometry.semantic_margin(z, kept) == geometry.semantic_margin(z, [0, 1] * 10)


@pytest.mark.parametrize("quantity", [geometry.cdnv, geometry.semantic_margin, geometry.knn_accuracy])
def test_missing_labels_are_refused_and_not_read_as_perfect_collapse(quantity):
    z = torch.randn(6, 3)
    with pytest.raises(ValueError, match="labels has NaN in 2 of 6 places"):
        quantity(z, [0.0, 1.0, float("nan"), 1.0, 0.0, float("nan")])
    with pytest.raises(ValueError, match="labels has NaN in 1 of 6 places"):
        geometry.geometry_report({"a": z, "b": z}, [0.0, 1.0, float("nan"), 1.0, 0.0, 0.0])


def test_complex_embeddings_are_refused():
    with pytest.raises(ValueError, match="complex"):
        geometry.effective_rank(torch.randn(5, 3, dtype=torch.complex64))


def test_nested_lists_are_embeddings():
    z = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]]
    assert geometry.effective_rank(z) == geometry.effective_rank(torch.tensor(z))
    assert geometry.linear_cka(z, z, debiased=False) == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-200, 1e160, 1e300])
def test_very_long_and_short_embeddings_have_the_rank_and_alignment_of_their_shape(size):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(30, 4, generator=generator, dtype=torch.float64) for _ in "ab")
    raw = {"normalize": False}
    assert geometry.effective_rank(size * a, **raw) == pytest.approx(geometry.effective_rank(a, **raw))
    assert geometry.linear_cka(size * a, b) == pytest.approx(geometry.linear_cka(a, b))


def test_uniformity_and_dispersion_agree_on_rows_without_a_direction():
    z = torch.eye(4, dtype=torch.float64)
    z[0] *= 1e-13
    assert geometry.uniformity(z) == pytest.approx(dispersion(z, temperature=0.5).item())


# Every function, whatever it is given

FUNCTIONS = {
    name: f
    for name, f in vars(geometry).items()
    if inspect.isfunction(f) and f.__module__ == geometry.__name__ and not name.startswith("_")
}
every = pytest.mark.parametrize("name", FUNCTIONS)
LABELED = [name for name, f in FUNCTIONS.items() if "labels" in inspect.signature(f).parameters]


def called(name, change=lambda x: x, labels=None, **options):
    """The result of a function for changed embeddings; raw ones if it has the choice, unless stated."""
    a, b, y = sample(7)
    z, other = change(a), change(b)
    given = {"z": z, "a": z, "b": other, "embeddings": {"a": z, "b": other}, "radius": 0.9}
    given["labels"] = y if labels is None else labels
    known = inspect.signature(FUNCTIONS[name]).parameters
    if "normalize" in known:
        options = {"normalize": False, **options}
    return FUNCTIONS[name](**{key: given[key] for key in known if key in given}, **options)


def plain(result):
    """Numbers and tensors in one form that approx can compare."""
    if isinstance(result, dict):
        return {key: plain(value) for key, value in result.items()}
    return np.asarray(result)


def assert_same(result, expected):
    result, expected = plain(result), plain(expected)
    if not isinstance(expected, dict):
        result, expected = {"": result}, {"": expected}
    assert result.keys() == expected.keys()
    for key in expected:
        assert result[key] == approx(expected[key], rel=1e-9, abs=1e-10), key


READABLE = {
    "lists": lambda x: x.tolist(),
    "tuple of arrays": lambda x: tuple(x.numpy()),
    "list of tensors": lambda x: list(x.requires_grad_()),
    "array read backwards": lambda x: x.flip(0).numpy()[::-1],
    "big-endian": lambda x: x.numpy().astype(">f8"),
    "long double": lambda x: x.numpy().astype(np.longdouble),
    "read-only": lambda x: np.frombuffer(x.numpy().tobytes()).reshape(x.shape),
    "sparse": lambda x: x.to_sparse(),
    "gradient": lambda x: x.clone().requires_grad_(),
}


@every
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", READABLE)
def test_every_function_reads_any_array_like(name, form):
    assert_same(called(name, READABLE[form]), called(name))


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8, np.uint16, bool])
def test_every_function_reads_any_real_type(name, dtype):
    def typed(x):
        return (5 + 2 * x).numpy().astype(dtype) if dtype is not bool else (x > 0).numpy()

    assert_same(called(name, typed), called(name, lambda x: typed(x).astype(float)))


UNREADABLE = {
    "None": lambda x: None,
    "text": lambda x: "embeddings.npz",
    "texts": lambda x: x.numpy().astype(str),
    "objects": lambda x: x.numpy().astype(object),
    "dict": lambda x: {"z": x},
    "ragged": lambda x: [[1.0, 2.0], [3.0]],
    "ragged tensors": lambda x: [torch.ones(2), torch.ones(3)],
    "dates": lambda x: x.numpy().astype("M8[s]"),
    "masked": lambda x: np.ma.array(x.numpy(), mask=x.numpy() > 1),
    "complex": lambda x: x + 1j,
    "complex lists": lambda x: (x + 1j).tolist(),
    "empty": lambda x: x[:0],
    "empty list": lambda x: [],
    "no dimension": lambda x: x[:, :0],
    "a row": lambda x: x[0],
    "a number": lambda x: 1.0,
    "three axes": lambda x: x[None],
    "NaN": lambda x: x.index_fill(0, torch.tensor(2), math.nan),
    "infinity": lambda x: x.index_fill(0, torch.tensor(2), -math.inf),
    "half overflow": lambda x: (x * 1e9).half(),
}


@every
@pytest.mark.parametrize("fault", UNREADABLE)
def test_every_function_refuses_what_it_cannot_measure_in_one_sentence_that_names_it(name, fault):
    with pytest.raises(ValueError, match=r"^(z|a|embeddings\['a'\]) (has|is) [^\n]*[.]$"):
        called(name, UNREADABLE[fault])


@pytest.mark.parametrize("name", LABELED)
@pytest.mark.parametrize("kind", [str, bytes, float, bool, list, "M8[D]", object])
def test_labels_of_any_sortable_type_are_classes(name, kind):
    y = (sample(7)[2] > 0).numpy()
    labels = y.tolist() if kind is list else y.astype(int).astype(kind)
    assert_same(called(name, labels=labels), called(name, labels=torch.from_numpy(y.astype(int))))


@pytest.mark.parametrize("name", LABELED)
@pytest.mark.parametrize(
    "labels",
    [
        np.full(24, np.nan),
        [None] * 24,
        np.array([0, "a"] * 12, object),
        [1, None] * 12,
        np.arange(23),
        np.ones((24, 1)),
        np.ma.masked_equal(np.arange(24), 5),
        "text",
    ],
    ids=repr,
)
def test_labels_that_are_no_classes_are_refused_in_one_sentence(name, labels):
    with pytest.raises(ValueError, match=r"^labels (has|mixes) [^\n]*[.]$"):
        called(name, labels=labels)


SIZED = [
    (name, power)
    for name, f in FUNCTIONS.items()
    for power in (-1000, -520, 510, 1000)
    if power > 0 or "normalize" in inspect.signature(f).parameters  # tiny rows count as zero if normalized
]


@pytest.mark.parametrize(("name", "power"), SIZED)
def test_every_function_measures_raw_values_of_any_size(name, power):
    """As a power of two the factor changes no digit, but squares of the values overflow or underflow."""
    factor = 2.0**power
    if name == "spectrum" and power == 1000:
        with pytest.raises(ValueError, match="z has eigenvalues beyond float64"):
            called(name, lambda x: factor * x)
        return
    result, expected = called(name, lambda x: factor * x), called(name)
    if name == "semantic_margin":
        assert result == approx(factor * expected, abs=0)
    elif name == "spectrum":
        assert result.tolist() == approx((factor * factor * expected).tolist(), rel=1e-9, abs=0)
    elif name in ("matrix", "matrices"):
        assert_same(called("matrix", lambda x: factor * x) / factor, called("matrix"))
    else:
        assert_same(result, expected)


@every
def test_every_function_gives_one_sample_a_finite_value_or_a_sentence(name):
    try:
        result = called(name, lambda x: x[:1], labels=torch.tensor([0]))
    except ValueError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        found = result.values() if isinstance(result, dict) else [result]
        assert all(np.isfinite(np.asarray(value)).all() for value in found)


@pytest.mark.parametrize("size", [1e-300, 1e-13, 1e-12, 1.1e-12, 1e-11])
def test_uniformity_equals_dispersion_for_rows_of_any_length(size):
    z = gaussian(12, 5)
    z[:4] *= size / z[:4].abs().max()
    assert uniformity(z) == approx(dispersion(z, temperature=0.5).item(), rel=1e-12)


def test_options_that_are_not_finite_are_named():
    z, y = gaussian(6, 3), torch.arange(6) % 2
    for call, message in [
        (lambda: uniformity(z, t=math.inf), "t must be .* got inf"),
        (lambda: alignment(z, z, alpha=math.nan), "alpha must be .* got nan"),
        (lambda: band_violation(z, z, math.nan), "radius must be .* got nan"),
        (lambda: retrieval_recall(z, z, k=math.nan), "k must be .* got nan"),
        (lambda: knn_accuracy(z, y, k=math.nan), "k=nan"),
        (lambda: geometry_report([z, z]), "embeddings is empty or not a dict"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
