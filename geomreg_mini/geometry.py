"""Diagnostics: the shape of one set of embeddings, and the relation between two.

Embeddings (N, D) are tensors, arrays or nested lists of real numbers of any size; labels (N,), of two classes
or more, are of any sortable type, such as text. Row i of two modalities is the same sample. A wrong shape or
type, NaN or infinity raises a `ValueError` that names the input. All is in float64, without gradient.

Two choices change most numbers. *Normalized*: each row is divided by its length first, u = z / ||z||, or zero
if no entry exceeds 1e-12; *raw*: it is not. *Centered*: the mean row is then subtracted.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import inputs
from .data.dataset import numbers
from .inputs import SMALLEST_SCALE, TINY, Array, class_index, class_sums, float64
from .pairs import TIE, cosine_blocks, distance_blocks

Arrays = Mapping[str, Array]  # modality -> (N, D)
Given = Array | None
EPS = torch.finfo(torch.float64).eps


def matrix(
    z: Array, name: str = "z", *, normalize: bool = False, min_samples: int = 1, rescale: bool = False
) -> Tensor:
    """Return any array-like (N, D) in float64, with rows divided by their lengths if ``normalize``.

    ``rescale`` divides it by about its largest entry.
    """
    z = numbers(z, name)
    if z.ndim != 2 or z.shape[0] < min_samples or z.shape[1] < 1 or z.is_complex():
        kind = "complex numbers" if z.is_complex() else f"shape {tuple(z.shape)}"
        raise ValueError(f"{name} has {kind}; pass real (N, D), N >= {min_samples} and D >= 1.")
    z = float64(z)
    peak = z.abs().amax(dim=1, keepdim=True)
    if bad := int((~torch.isfinite(peak)).sum()):
        raise ValueError(f"{name} has NaN or infinity in {bad} of {len(z)} rows; find their origin first.")
    if normalize:
        # The squares inside the norm must neither overflow nor underflow. Rows that count as zero for
        # dispersion are zero here too.
        z = z / peak.masked_fill(peak <= SMALLEST_SCALE, math.inf)
        z = z / z.norm(dim=1, keepdim=True).clamp_min(TINY)
    return z / _scale(z) if rescale else z


def matrices(embeddings: Arrays, *, min_samples: int = 2) -> dict[str, Tensor]:
    """Return modality -> `matrix`; raise `ValueError` unless all have the same number of rows."""
    if not isinstance(embeddings, Mapping) or not embeddings:
        raise ValueError("embeddings is empty or not a dict; pass modality -> (N, D).")
    found = {m: matrix(z, f"embeddings[{m!r}]", min_samples=min_samples) for m, z in embeddings.items()}
    if len(set(map(len, found.values()))) > 1:
        sizes = {m: len(z) for m, z in found.items()}
        raise ValueError(f"embeddings has {sizes} samples; its modalities must be paired row by row.")
    return found


def _pair(a: Array, b: Array, *, equal_widths: bool = True, **how: Any) -> tuple[Tensor, Tensor]:
    how = {"normalize": True, **how}
    a, b = matrix(a, "a", **how), matrix(b, "b", **how)
    if len(a) != len(b) or (equal_widths and a.shape[1] != b.shape[1]):
        fix = "rows paired and of equal width" if equal_widths else "paired rows"
        raise ValueError(f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; pass {fix}.")
    return a, b


def _scale(z: Tensor) -> Tensor:  # a power of two divides exactly, and then no square overflows
    return 2.0 ** z.abs().max().clamp_min(TINY).log2().floor()


def _center(z: Tensor) -> Tensor:
    centered = z - z.mean(dim=0)
    return centered * (centered.norm() > max(z.shape) * EPS * z.norm())  # else it is rounding noise


def spectrum(z: Array, *, normalize: bool = True, center: bool = True) -> Tensor:
    """Return eigenvalues lambda_k = sigma_k^2 / (N - 1) of z (N, D), descending, float64 (min(N, D),).

    By default z is normalized and centered, which gives the covariance's eigenvalues. N = 1 divides by 1.
    `ValueError` if one is too large for float64.
    """
    scale = _scale(z := matrix(z, normalize=normalize))
    values = torch.linalg.svdvals(_center(z / scale) if center else z / scale).square() / max(len(z) - 1, 1)
    if not (values := values * scale * scale).isfinite().all():
        raise ValueError("z has eigenvalues beyond float64; divide z by its largest entry.")
    return values


def spectrum_summary(z: Array, *, normalize: bool = True, center: bool = True) -> dict[str, float]:
    """Return six numbers of z (N, D) from one singular value decomposition, as a dict of floats.

    eigenvalue_rank: effective_rank with lambda in place of sigma, as in some released code. numerical_rank:
    r, the number of eigenvalues above max(N, D) * eps * lambda_1. condition_number: lambda_1 / lambda_r.
    top1_share: lambda_1 / sum lambda, in (0, 1]. If nothing varies, numerical_rank is 0, the others are 1.
    """
    z = matrix(z, rescale=True, normalize=normalize)  # no number below depends on the scale
    values = spectrum(z, normalize=False, center=center)
    rank = int((values > max(z.shape) * EPS * values[0]).sum())
    values = values if rank else torch.eye(1, len(values), dtype=values.dtype, device=values.device)[0]
    shares = values / values.sum()
    return {
        "effective_rank": torch.special.entr(values.sqrt() / values.sqrt().sum()).sum().exp().item(),
        "eigenvalue_rank": torch.special.entr(shares).sum().exp().item(),
        "participation_ratio": 1 / shares.square().sum().item(),
        "numerical_rank": float(rank),
        "condition_number": (values[0] / values[max(rank, 1) - 1]).item(),
        "top1_share": shares[0].item(),
    }


def effective_rank(z: Array, *, normalize: bool = True, center: bool = True) -> float:
    """Return exp of the entropy of the singular values sigma / sum sigma of z (N, D); normalized, centered.

    Range 1 .. min(N, D): compare at equal N. k equal values give k, none gives 1. Roy & Vetterli 2007.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["effective_rank"]


def participation_ratio(z: Array, *, normalize: bool = True, center: bool = True) -> float:
    """Return (sum lambda)^2 / sum lambda^2 of z (N, D), exp of the Renyi-2 entropy; normalized, centered.

    Range 1 .. min(N, D); about D / (1 + D / N) for isotropic samples, no variation gives 1.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["participation_ratio"]


def rankme(z: Array, *, normalize: bool = False, eps: float = 1e-7) -> float:
    """Return exp(-sum p log p), p = sigma / sum sigma + eps, of z (N, D), by default raw, always uncentered.

    Range about 1 .. min(N, D). Garrido et al., ICML 2023, arXiv 2210.02885.
    """
    sigma = torch.linalg.svdvals(matrix(z, rescale=True, normalize=normalize))
    return torch.special.entr(sigma / sigma.sum().clamp_min(TINY) + eps).sum().exp().item()


def uniformity(z: Array, *, t: float = 2.0) -> float:
    """Return log mean_{i != j} exp(-t ||u_i - u_j||^2) of z (N, D), N >= 2; normalized, uncentered.

    From 0 (one direction) to about -2 t, with t in [1e-30, 1e30]; equals `dispersion` at 1 / t. Wang & Isola,
    arXiv 2005.10242.
    """
    inputs.check_number(*inputs.SCALES, t=t)
    u = matrix(z, normalize=True, min_samples=2)
    square, sums = u.square().sum(dim=1), []
    for start, block in cosine_blocks(u, u):
        block.mul_(-2).add_(square).add_(square[start : start + len(block), None]).clamp_min_(0).mul_(-t)
        block.diagonal(offset=start).fill_(-math.inf)
        sums.append(block.flatten().logsumexp(dim=0))
    return torch.stack(sums).logsumexp(dim=0).item() - math.log(len(u) * (len(u) - 1))


def collapse_std(z: Array) -> float:
    """Return the mean over axes of the standard deviation of u, 0 .. about 1 / sqrt(D); z (N, D), N >= 2."""
    return matrix(z, normalize=True, min_samples=2).std(dim=0).mean().item()


def mean_cosine(z: Array) -> float:
    """Return the mean cosine of two different rows of z (N, D), N >= 2, uncentered: -1 / (N - 1) .. 1."""
    u = matrix(z, normalize=True, min_samples=2)
    return ((u.sum(dim=0).square().sum() - u.square().sum()) / (len(u) * (len(u) - 1))).item()


def class_mean_margin(z: Array, labels: Array) -> float:
    """Return mean_i cos(u_i, own class mean) - max cos(u_i, other class mean); normalized, uncentered.

    Range -2 .. 2. This project's own measure. The own mean leaves i out; a class of one sample is skipped.
    """
    u = matrix(z, normalize=True)
    index, sizes, sums = class_sums(u, labels)
    keep = sizes[index] > 1
    if not keep.any():
        raise ValueError("labels has only classes of one sample; pass a class with two or more.")
    own = (u * matrix(sums[index] - u, normalize=True)).sum(dim=1)
    others = (u @ matrix(sums, normalize=True).T).scatter_(1, index[:, None], -math.inf).amax(dim=1)
    return (own - others)[keep].mean().item()


def semantic_margin(z: Array, labels: Array, *, normalize: bool = True) -> float:
    """Return E_{y != y'} E_{i in y, j in y'} ||z_i - z_j|| - E_y E_{i, j in y} ||z_i - z_j||.

    The paper's Delta_sem, Eq. (45) of arXiv 2601.21670, 0 .. 2 if normalized: half the energy distance of two
    classes (Szekely & Rizzo 2013), averaged over pairs of classes with equal weights. As written, the mean
    within holds i = j, so labels without meaning give about the mean distance over the size of a class, not
    0; compare at equal sizes only. The paper does not state which rows it measures.
    """
    scale = _scale(z := matrix(z, normalize=normalize))
    z, (index, sizes, _) = z / scale, class_sums(z / scale, labels)
    weight, total, within = 1 / sizes[index], 0.0, 0.0
    for start, block in distance_blocks(z):
        own = slice(start, start + len(block))
        total += (weight[own] @ block @ weight).item()
        within += (weight[own] @ block.mul_(index[own, None] == index) @ weight).item()
    return ((total - within) / (len(sizes) * (len(sizes) - 1)) - within / len(sizes)) * scale.item()


def cdnv(z: Array, labels: Array, *, normalize: bool = False) -> float:
    """Return the class-distance normalized variance mean_{c != c'} (var_c + var_c') / (2 ||mu_c - mu_c'||^2).

    Raw by default; 0 (classes are points) and up. Galanti et al., ICLR 2022, arXiv 2112.15121.
    """
    z = matrix(z, rescale=True, normalize=normalize)
    index, sizes, sums = class_sums(z, labels)
    means = sums / sizes[:, None]
    variance = torch.zeros_like(sizes).index_add_(0, index, (z - means[index]).square().sum(dim=1)) / sizes
    first, second = torch.triu_indices(len(sizes), len(sizes), offset=1, device=z.device)
    distance = (means[first] - means[second]).norm(dim=1)
    if (distance <= len(z) * EPS * z.norm(dim=1).max()).any():
        raise ValueError("z has two classes with the same mean; merge them or leave one out.")
    return ((variance[first] + variance[second]) / (2 * distance.square())).mean().item()


def nc1(z: Array, labels: Array, *, normalize: bool = False) -> float:
    """Return within-class collapse tr(Sigma_W pinv(Sigma_B)) / C, raw by default; 0 if classes are points.

    Sigma_W is the mean within-class covariance, Sigma_B that of the C class means about the mean of all
    samples. `ValueError` if all class means coincide. Papyan, Han & Donoho, PNAS 2020, arXiv 2008.08186.
    """
    z = matrix(z, rescale=True, normalize=normalize)
    index, sizes, sums = class_sums(z, labels)
    means = sums / sizes[:, None]
    between = (means - z.mean(dim=0)) / math.sqrt(len(sizes))
    _, sigma, axes = torch.linalg.svd(between, full_matrices=False)
    keep = sigma > max(max(between.shape) * EPS * sigma[0], len(z) * EPS * z.norm(dim=1).max())
    keep[len(sizes) - 1 :] = False
    if not keep.any():
        raise ValueError("z has the same mean in all classes; pass embeddings with different class means.")
    return (((z - means[index]) @ axes[keep].T) / sigma[keep]).square().sum(dim=1).mean().item() / len(sizes)


def silhouette(
    z: Array, labels: Array, *, normalize: bool = True, max_samples: int = 2000, seed: int = 0
) -> float:
    """Return the mean Euclidean silhouette of at most max_samples seeded rows of z; normalized by default.

    Range -1 .. 1; singletons count 0. `ValueError` unless the rows have 2 .. N - 1 classes. Rousseeuw 1987.
    """
    z = matrix(z, rescale=True, normalize=normalize, min_samples=3)
    index = class_sums(z, labels)[0]
    rows = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed), device="cpu")[:max_samples]
    z, (_, index, sizes) = z[rows], index[rows].unique(return_inverse=True, return_counts=True)
    if not 2 <= len(sizes) < len(z):
        raise ValueError(f"labels have {len(sizes)} classes in {len(z)} rows; a silhouette needs 2 to N - 1.")
    members = torch.eye(len(sizes), dtype=z.dtype, device=z.device)[index]
    sums = torch.cat([block @ members for _, block in distance_blocks(z)])
    own, column = sizes[index], index[:, None]
    within = sums.gather(1, column)[:, 0] / (own - 1).clamp_min(1)
    nearest = (sums / sizes).scatter(1, column, math.inf).amin(dim=1)
    scores = (nearest - within) / torch.maximum(nearest, within).clamp_min(TINY)
    return scores.where(own > 1, 0).mean().item()


def knn_accuracy(
    z: Array,
    labels: Array,
    bank: Given = None,
    bank_labels: Given = None,
    *,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Return the share (0 .. 1) of z whose label wins the vote of its k nearest rows of bank.

    Weights: exp(cosine / temperature). Normalized, uncentered. By default bank is z without the row itself. k
    is capped at its size, ties go to the smallest label. Wu et al., arXiv 1805.01978; defaults as in lightly.
    """
    if not k >= 1 or not temperature > 0 or (bank is None) != (bank_labels is None):
        raise ValueError(f"k={k} and temperature={temperature} must be positive, bank come with bank_labels.")
    alone = bank is None
    u = matrix(z, normalize=True, min_samples=1 + alone)
    bank = u if alone else matrix(bank, "bank", normalize=True)
    if u.shape[1] != bank.shape[1]:
        raise ValueError(f"z has shape {tuple(u.shape)} and bank {tuple(bank.shape)}; pass equal widths.")
    names, named = class_index(labels, len(u))
    known, index = (names, named) if alone else class_index(bank_labels, len(bank), "bank_labels")
    labels = named.new_tensor([{c: i for i, c in enumerate(known)}.get(c, -1) for c in names])[named]
    labels, index, hits = labels.to(u.device), index.to(u.device), 0
    for start, block in cosine_blocks(u, bank):
        if alone:
            block.diagonal(offset=start).fill_(-math.inf)
        near, neighbor = block.topk(min(k, len(bank) - alone), dim=1)
        weight = ((near - near[:, :1]) / temperature).exp()  # the shift changes no vote and cannot overflow
        votes = u.new_zeros(len(block), len(known)).scatter_add_(1, index[neighbor], weight)
        hits += int((votes.argmax(dim=1) == labels[start : start + len(block)]).sum())
    return hits / len(u)


def paired_distances(a: Array, b: Array) -> Tensor:
    """Return ||u_i^a - u_i^b||, normalized, as a float64 tensor (N,) in 0 .. 2."""
    return torch.sub(*_pair(a, b)).norm(dim=1)


def alignment(a: Array, b: Array, *, alpha: float = 2) -> float:
    """Return mean_i ||u_i^a - u_i^b||^alpha, normalized, 0 .. 2^alpha. Wang & Isola, arXiv 2005.10242."""
    inputs.check_number(0, alpha=alpha)
    return paired_distances(a, b).pow(alpha).mean().item()


def drift_summary(a: Array, b: Array) -> dict[str, float]:
    """Return distances of pairs as a dict of floats, from one pass; normalized.

    paired_distance: mean ||u_i^a - u_i^b||, with quantiles q05, q50, q95; 0 .. 2, about sqrt 2 for unrelated
    directions. drift_gap_part and drift_sample_part: the two terms of paired_drift = modality_gap^2 +
    tr Cov(u^a - u^b). The gap moves whole modalities; only the sample part concerns pairs.
    """
    difference = torch.sub(*_pair(a, b))
    distance, gap = difference.norm(dim=1), difference.mean(dim=0)
    return {
        "paired_drift": distance.square().mean().item(),
        "paired_distance": distance.mean().item(),
        **{f"paired_distance_q{q:02}": torch.quantile(distance, q / 100).item() for q in (5, 50, 95)},
        "modality_gap": gap.norm().item(),
        "drift_gap_part": gap.square().sum().item(),
        "drift_sample_part": (difference - gap).square().sum(dim=1).mean().item(),
    }


def paired_drift(a: Array, b: Array) -> float:
    """Return mean_i ||u_i^a - u_i^b||^2, normalized, 0 .. 4: the paper's cross-modal deviation, Figure 2c."""
    return drift_summary(a, b)["paired_drift"]


def modality_gap(a: Array, b: Array) -> float:
    """Return ||mean u^a - mean u^b||, normalized, in 0 .. 2. Liang et al., NeurIPS 2022, arXiv 2203.02053."""
    return drift_summary(a, b)["modality_gap"]


def band_violation(a: Array, b: Array, radius: float) -> float:
    """Return the share (0 .. 1) of pairs that `anchoring` pulls: ||u_i^a - u_i^b|| > radius, normalized."""
    inputs.check_anchoring_arguments(radius, power=1)
    return (paired_distances(a, b) > radius).double().mean().item()


def cross_modal_margin(a: Array, b: Array, labels: Array) -> float:
    """Return the mean cross-modal cosine of same-class pairs (i, j), also i = j, minus different-class pairs.

    Normalized, uncentered; -2 .. 2, about 0 if classes mix. The paper's is `semantic_margin`.
    """
    a, b = _pair(a, b)
    (_, sizes, a_sums), (_, _, b_sums) = class_sums(a, labels), class_sums(b, labels)
    same, same_pairs = (a_sums * b_sums).sum(), sizes.square().sum()
    every = a.sum(dim=0) @ b.sum(dim=0)
    return (same / same_pairs - (every - same) / (len(a) ** 2 - same_pairs)).item()


def cosine_contrast(a: Array, b: Array) -> float:
    """Return the mean cosine of the pairs minus that of all unpaired rows i != j, N >= 2; -2 .. 2.

    The paper's Delta mu. Normalized, uncentered. Pairs, not classes, as positives are this project's reading.
    """
    a, b = _pair(a, b, min_samples=2)
    paired, every = (a * b).sum(), a.sum(dim=0) @ b.sum(dim=0)
    return (paired / len(a) - (every - paired) / (len(a) * (len(a) - 1))).item()


def ks_distance(a: Array, b: Array) -> float:
    """Return Kolmogorov and Smirnov's ``sup_x |F(x) - G(x)|`` of both sets of cosines of `cosine_contrast`.

    Range 0 .. 1. Normalized, uncentered, N >= 2. Exact; cosines closer than TIE count as equal.
    """
    a, b = _pair(a, b, min_samples=2)
    below, paired = 0, np.sort((a * b).sum(dim=1).cpu().numpy())
    points = np.concatenate([paired - TIE, paired + TIE])  # F is flat between, so the supremum is at one
    for start, block in cosine_blocks(a, b):
        block.diagonal(offset=start).fill_(math.inf)
        ordered = np.sort(block.cpu().numpy(), axis=None)  # several times faster than torch's sort on a CPU
        below = below + np.searchsorted(ordered, points, side="right")
    step = np.searchsorted(paired, points, side="right") / len(a)
    return float(np.abs(step - below / (len(a) * (len(a) - 1))).max())


def linear_cka(a: Array, b: Array, *, debiased: bool = True, normalize: bool = False) -> float:
    """Return linear centered kernel alignment of a (N, D_a) and b (N, D_b), raw; debiased needs N > 3.

    Debiased: -1 .. 1, near 0 for unrelated sets. Biased: 0 .. 1, near 1 for *any* two sets once D >> N. 1
    for sets equal up to rotation, shift and scale; 0 if one does not vary. Kornblith et al., arXiv
    1905.00414; debiased with HSIC_1 of Song et al. 2007 as in arXiv 2010.15327.
    """
    how = {"normalize": normalize, "rescale": True, "min_samples": 4 if debiased else 2}
    a, b = (x / x.norm().clamp_min(TINY) for x in map(_center, _pair(a, b, equal_widths=False, **how)))

    def hsic(x: Tensor, y: Tensor) -> float:  # up to a factor that cancels
        value, n = (x.T @ y).square().sum(), len(x)
        if debiased:
            # HSIC_1 leaves out the kernels' diagonals k, m; each row of a centered kernel sums to 0 with it.
            k, m = x.square().sum(dim=1), y.square().sum(dim=1)
            value = value - k @ m * n / (n - 2) + k.sum() * m.sum() / ((n - 1) * (n - 2))
        return value.item()

    own_a, own_b = hsic(a, a), hsic(b, b)
    return hsic(a, b) / math.sqrt(own_a * own_b) if min(own_a, own_b) > TIE / len(a) else 0.0


def retrieval_ranks(a: Array, b: Array) -> Tensor:
    """Return b_i's rank by cosine to a_i among all b, (N,) in 1 .. N: 1 + number closer + half the ties.

    So collapsed embeddings have the middle rank (N + 1) / 2 and are not hits. Normalized, uncentered.
    """
    (a, b), ranks = _pair(a, b), []
    for start, block in cosine_blocks(a, b):
        own = block.diagonal(offset=start)[:, None]
        ranks.append(((block > own + TIE).sum(dim=1) + (block >= own - TIE).sum(dim=1) + 1).double() / 2)
    return torch.cat(ranks)


def retrieval_recall(a: Array, b: Array, *, k: int = 1) -> float:
    """Return R@k: the share (0 .. 1) of queries a_i with `retrieval_ranks` at most k; chance is k / N."""
    inputs.check_number(1, k=k)
    return (retrieval_ranks(a, b) <= k).double().mean().item()


def median_rank(a: Array, b: Array) -> float:
    """Return the median of `retrieval_ranks`, in 1 .. N; chance is (N + 1) / 2."""
    return torch.quantile(retrieval_ranks(a, b), 0.5).item()


def geometry_report(
    embeddings: Arrays, labels: Given = None, radius: float | None = None, *, detailed: bool = False
) -> dict[str, float]:
    """Return the diagnostics of embeddings, modality -> (N, D_m) with N >= 2, as a flat dict of floats.

    Keys are `quantity/modality`, `quantity/first-second` for pairs in the order of the dict, and num_samples.
    Retrieval goes both ways, query first. All is normalized (and spectra centered), except quantities ending
    in `_raw` and linear_cka (raw, debiased). labels (N,) add the class measures, also `semantic_margin/joint`
    of the mean of the normalized rows. radius adds band_violation; detailed adds the slow nc1_raw, silhouette
    and knn_accuracy (k = 20). Undefined quantities have no key.
    """
    raw = matrices(embeddings)
    unit, n = {m: matrix(z, normalize=True) for m, z in raw.items()}, len(next(iter(raw.values())))
    labels = None if labels is None else class_index(labels, n)[1]
    inputs.check_anchoring_arguments(radius or 0, power=1)
    report = {"num_samples": float(n)}

    def add(place: str, given: tuple, *quantities: Callable, end: str = "", **options: Any) -> None:
        for quantity in quantities:
            with suppress(ValueError):  # inputs were checked above, so it is undefined for these data
                report[f"{quantity.__name__}{end}/{place}"] = quantity(*given, **options)

    for m, u in unit.items():
        report |= {f"{name}/{m}": value for name, value in spectrum_summary(u).items()}
        add(m, (raw[m],), rankme, end="_raw")
        add(m, (u,), uniformity, collapse_std, mean_cosine)
        if labels is not None:
            add(m, (u, labels), class_mean_margin, semantic_margin)
            add(m, (raw[m], labels), cdnv, end="_raw")
            if detailed:
                add(m, (raw[m], labels), nc1, end="_raw")
                add(m, (u, labels), silhouette)
                add(m, (u, labels), knn_accuracy, k=20)
    if labels is not None and len(unit) > 1 and len({u.shape[1] for u in unit.values()}) == 1:
        add("joint", (sum(unit.values()) / len(unit), labels), semantic_margin, normalize=False)
    for first, second in combinations(unit, 2):
        pair, both = f"{first}-{second}", (unit[first], unit[second])
        add(pair, (raw[first], raw[second]), linear_cka)
        with suppress(ValueError):
            report |= {f"{name}/{pair}": value for name, value in drift_summary(*both).items()}
        add(pair, both, cosine_contrast, ks_distance)
        if radius is not None:
            add(pair, (*both, radius), band_violation)
        if labels is not None:
            add(pair, (*both, labels), cross_modal_margin)
    for query, gallery in permutations(unit, 2):
        with suppress(ValueError):
            ranks = retrieval_ranks(unit[query], unit[gallery])
            for k in (1, 5, 10, 100):
                report[f"recall@{k}/{query}-{gallery}"] = (ranks <= k).double().mean().item()
            report[f"median_rank/{query}-{gallery}"] = torch.quantile(ranks, 0.5).item()
    return report
