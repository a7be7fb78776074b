"""Diagnostics: what shape has a set of embeddings, and how do two modalities lie to each other?

Every function takes embeddings as (N, D) tensors of any real type and works on a detached float64 copy. Row
i of two modalities is the same sample. A wrong shape, NaN or infinity is a `ValueError` that names the input.

Two choices change most of these numbers, so each docstring states them. *Normalized*: each row is divided
by its length first, u = z / ||z|| (a zero row stays zero); *raw*: it is not. *Centered*: the mean row is
then subtracted. Ranks are capped by N as well as D (64 Gaussian points in 512 dimensions have effective
rank 62), so compare them at equal N only.
"""

import math
from contextlib import suppress
from itertools import combinations, permutations

import numpy as np
import torch

EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float64).tiny
TIE = 1e-12  # cosines this close are a tie: those of equal rows differ by rounding alone
NEAR = 1e-8  # ||x - y||^2 below this share of ||x||^2 + ||y||^2 is mostly rounding if it comes from a product
BLOCK_ELEMENTS = 2**24  # a matrix of pairs is formed in blocks of rows of at most this many entries (128 MiB)


def _matrix(z, name="z", *, normalize=False, min_samples=1):
    z = torch.as_tensor(z).detach()
    if z.ndim != 2 or z.shape[0] < min_samples or z.shape[1] < 1:
        raise ValueError(f"{name} has shape {tuple(z.shape)}; pass (N, D), N >= {min_samples} and D >= 1.")
    z = (z.cpu() if z.device.type == "mps" else z).double()  # MPS has no float64
    peak = z.abs().amax(dim=1, keepdim=True)
    bad = int((~torch.isfinite(peak)).sum())
    if bad:
        raise ValueError(
            f"{name} has NaN or infinity in {bad} of {len(z)} rows; find where they arise first."
        )
    if normalize:
        z = z / peak.clamp_min(TINY)  # so that the squares inside the norm neither overflow nor underflow
        z = z / z.norm(dim=1, keepdim=True).clamp_min(TINY)
    return z


def _pair(a, b, *, normalize=True, equal_widths=True, min_samples=1):
    a = _matrix(a, "a", normalize=normalize, min_samples=min_samples)
    b = _matrix(b, "b", normalize=normalize, min_samples=min_samples)
    if len(a) != len(b) or (equal_widths and a.shape[1] != b.shape[1]):
        what = "rows paired and of equal width" if equal_widths else "paired rows"
        raise ValueError(f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; pass {what}.")
    return a, b


def _classes(z, labels):
    """Labels (N,) -> class index (N,), sizes (C,) and sums of z (C, D); no class is empty, C >= 2."""
    labels = torch.as_tensor(labels).detach().to(z.device)
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}; pass one for each of {len(z)} samples.")
    classes, index, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels holds {len(classes)} class; at least two are needed to compare classes.")
    return index, sizes.double(), z.new_zeros(len(classes), z.shape[1]).index_add_(0, index, z)


def _center(z):
    centered = z - z.mean(dim=0)
    # Equal rows leave rounding noise, whose rank is full and means nothing.
    return centered * (centered.norm() > max(z.shape) * EPS * z.norm())


def _cosine_blocks(u, v):
    """Yield (start, u[start:stop] @ v.T): one block up to N = 4096. The pairs are diagonal(start)."""
    step = max(1, BLOCK_ELEMENTS // len(v))
    for start in range(0, len(u), step):
        yield start, u[start : start + step] @ v.T


def _distance_blocks(z):
    """Yield (start, ||z_i - z_j|| for i in the block and all j). Equal rows have distance 0 exactly."""
    square = z.square().sum(dim=1)
    for start, block in _cosine_blocks(z, z):
        sums = square[start : start + len(block), None] + square
        block.mul_(-2).add_(sums)
        # A row that is near another than itself is measured again, from differences, which do not cancel.
        again = ((block <= NEAR * sums).sum(dim=1) > 1).nonzero()[:, 0]
        block.clamp_min_(0).sqrt_().diagonal(offset=start).zero_()
        if len(again):
            block[again] = torch.cdist(z[start + again], z, compute_mode="donot_use_mm_for_euclid_dist")
        yield start, block


# One modality


def spectrum(z, *, normalize=True, center=True):
    """Eigenvalues lambda_k = sigma_k^2 / (N - 1) of z (N, D), descending, as a float64 tensor (min(N, D),).

    By default normalized and centered, so that they are those of the covariance. N = 1 divides by 1.
    """
    z = _matrix(z, normalize=normalize)
    return torch.linalg.svdvals(_center(z) if center else z).square() / max(len(z) - 1, 1)


def spectrum_summary(z, *, normalize=True, center=True):
    """Six numbers of z (N, D) from one singular value decomposition, as a dict of floats.

    effective_rank, participation_ratio: see there. eigenvalue_rank: as effective_rank with lambda / sum
    lambda in place of sigma / sum sigma, so at most as large; some released code gives this number the
    other's name. numerical_rank: r, the number of eigenvalues above max(N, D) * eps * lambda_1.
    condition_number: lambda_1 / lambda_r, so never infinite. top1_share: lambda_1 / sum lambda, in (0, 1].
    Where nothing varies (one sample, or all rows equal), numerical_rank is 0 and the others are 1.
    """
    values = spectrum(z, normalize=normalize, center=center)
    rank = int((values > max(z.shape) * EPS * values[0]).sum())
    values = values if rank else torch.eye(1, len(values)).double()[0]
    shares = values / values.sum()
    return {
        "effective_rank": torch.special.entr(values.sqrt() / values.sqrt().sum()).sum().exp().item(),
        "eigenvalue_rank": torch.special.entr(shares).sum().exp().item(),
        "participation_ratio": 1 / shares.square().sum().item(),
        "numerical_rank": float(rank),
        "condition_number": (values[0] / values[max(rank, 1) - 1]).item(),
        "top1_share": shares[0].item(),
    }


def effective_rank(z, *, normalize=True, center=True):
    """exp of the entropy of z's singular values, sigma / sum sigma; z (N, D) normalized, centered by default.

    1 .. min(N, D); k equal singular values give k, no variation gives 1. Roy & Vetterli, EUSIPCO 2007.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["effective_rank"]


def participation_ratio(z, *, normalize=True, center=True):
    """(sum lambda)^2 / sum lambda^2 of z (N, D), by default normalized, centered; exp of the Renyi-2 entropy.

    1 .. min(N, D); about D / (1 + D / N) for isotropic samples, no variation gives 1.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["participation_ratio"]


def rankme(z, *, normalize=False, eps=1e-7):
    """exp(-sum p log p) with p = sigma / sum sigma + eps of z (N, D), by default raw, always uncentered.

    About 1 .. min(N, D). Garrido et al., ICML 2023, arXiv 2210.02885.
    """
    sigma = torch.linalg.svdvals(_matrix(z, normalize=normalize))
    return torch.special.entr(sigma / sigma.sum().clamp_min(TINY) + eps).sum().exp().item()


def uniformity(z, *, t=2.0):
    """log mean_{i != j} exp(-t ||u_i - u_j||^2) of z (N, D), N >= 2; normalized, uncentered.

    0 when all rows point one way, down to about -2 t; `dispersion` with temperature 1 / t is the same
    number. Wang & Isola, ICML 2020, arXiv 2005.10242.
    """
    if not t > 0:
        raise ValueError(f"t is {t}; pass a positive number.")
    u = _matrix(z, normalize=True, min_samples=2)
    square, sums = u.square().sum(dim=1), []
    for start, block in _cosine_blocks(u, u):
        block.mul_(-2).add_(square).add_(square[start : start + len(block), None]).clamp_min_(0).mul_(-t)
        block.diagonal(offset=start).fill_(-math.inf)
        sums.append(block.flatten().logsumexp(dim=0))
    return torch.stack(sums).logsumexp(dim=0).item() - math.log(len(u) * (len(u) - 1))


def collapse_std(z):
    """Mean over dimensions of the standard deviation of z (N, D), N >= 2; normalized; it depends on the axes.

    0 (all rows equal) .. about 1 / sqrt(D) (isotropic). As lightly's `std_of_l2_normalized`.
    """
    return _matrix(z, normalize=True, min_samples=2).std(dim=0).mean().item()


def mean_cosine(z):
    """Mean cosine of two different rows of z (N, D), N >= 2, uncentered: -1 / (N - 1) .. 1 (narrow cone)."""
    u = _matrix(z, normalize=True, min_samples=2)
    return ((u.sum(dim=0).square().sum() - u.square().sum()) / (len(u) * (len(u) - 1))).item()


# One modality with labels (N,) of at least two classes


def class_mean_margin(z, labels):
    """mean_i cos(u_i, own class mean) - max cos(u_i, other class mean), -2 .. 2; normalized, uncentered.

    This project's own measure, not the paper's `semantic_margin`. The own mean leaves i out; a sample alone
    in its class is skipped, and a `ValueError` says when all are.
    """
    u = _matrix(z, normalize=True)
    index, sizes, sums = _classes(u, labels)
    keep = sizes[index] > 1
    if not keep.any():
        raise ValueError("labels has no class with two samples; the leave-one-out class mean needs one.")
    own = (u * _matrix(sums[index] - u, normalize=True)).sum(dim=1)
    others = (u @ _matrix(sums, normalize=True).T).scatter_(1, index[:, None], -math.inf).amax(dim=1)
    return (own - others)[keep].mean().item()


def semantic_margin(z, labels, *, normalize=True):
    """E_{y != y'} E_{i in y, j in y'} ||z_i - z_j|| - E_y E_{i, j in y} ||z_i - z_j||, the paper's Delta_sem.

    Mean Euclidean distance between classes minus that within: Eq. (45) of arXiv 2601.21670. The outer means
    run over ordered pairs of classes and over classes, so each class weighs the same whatever its size. The
    mean within holds i = j, as the equation is written: a class of one row has mean 0, and labels without
    meaning give not 0 but about the mean distance divided by the size of a class; compare at equal sizes
    only. It is half the energy distance of two classes (Szekely & Rizzo 2013), averaged over pairs of
    classes: 0 only if all are distributed alike, and up; normalized, as by default, at most 2. The paper does
    not state which rows it measures ("the representation used for evaluation"), so `geometry_report` gives
    each modality and their mean.
    """
    z = _matrix(z, normalize=normalize)
    index, sizes, _ = _classes(z, labels)
    weight, total, within = 1 / sizes[index], 0.0, 0.0
    for start, block in _distance_blocks(z):
        own = slice(start, start + len(block))
        total += (weight[own] @ block @ weight).item()
        within += (weight[own] @ block.mul_(index[own, None] == index) @ weight).item()
    return (total - within) / (len(sizes) * (len(sizes) - 1)) - within / len(sizes)


def cdnv(z, labels, *, normalize=False):
    """Class-distance normalized variance mean_{c != c'} (var_c + var_c') / (2 ||mu_c - mu_c'||^2).

    Raw by default; 0 (each class is a point) and up, without a matrix inverse. `ValueError` where two class
    means coincide. Galanti et al., ICLR 2022, arXiv 2112.15121.
    """
    z = _matrix(z, normalize=normalize)
    index, sizes, sums = _classes(z, labels)
    means = sums / sizes[:, None]
    variance = torch.zeros_like(sizes).index_add_(0, index, (z - means[index]).square().sum(dim=1)) / sizes
    first, second = torch.triu_indices(len(sizes), len(sizes), offset=1, device=z.device)
    distance = (means[first] - means[second]).norm(dim=1)
    if (distance <= len(z) * EPS * z.norm(dim=1).max()).any():
        raise ValueError("z has two classes with the same mean; variance over distance is undefined there.")
    return ((variance[first] + variance[second]) / (2 * distance.square())).mean().item()


def nc1(z, labels, *, normalize=False):
    """Within-class collapse tr(Sigma_W pinv(Sigma_B)) / C, raw by default; 0 where each class is a point.

    Sigma_W is the mean within-class covariance, Sigma_B that of the C class means about the mean of all
    samples; pinv keeps its at most C - 1 eigenvalues above rounding. `ValueError` where all class means
    coincide. Papyan, Han & Donoho, PNAS 2020, arXiv 2008.08186.
    """
    z = _matrix(z, normalize=normalize)
    index, sizes, sums = _classes(z, labels)
    means = sums / sizes[:, None]
    between = (means - z.mean(dim=0)) / math.sqrt(len(sizes))
    _, sigma, axes = torch.linalg.svd(between, full_matrices=False)
    keep = sigma > max(max(between.shape) * EPS * sigma[0], len(z) * EPS * z.norm(dim=1).max())
    keep[len(sizes) - 1 :] = False
    if not keep.any():
        raise ValueError("z has the same mean in all classes; the between-class covariance has no inverse.")
    return (((z - means[index]) @ axes[keep].T) / sigma[keep]).square().sum(dim=1).mean().item() / len(sizes)


def silhouette(z, labels, *, normalize=True, max_samples=2000, seed=0):
    """Mean Euclidean silhouette of at most max_samples seeded rows of z, -1 .. 1; normalized by default.

    Singleton classes count 0. `ValueError` unless those rows hold 2 .. N - 1 classes. Rousseeuw 1987.
    """
    from sklearn.metrics import silhouette_score

    z = _matrix(z, normalize=normalize, min_samples=3)
    index = _classes(z, labels)[0].cpu()
    rows = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[:max_samples]
    return float(silhouette_score(z.cpu()[rows].numpy(), index[rows].numpy()))


def knn_accuracy(z, labels, bank=None, bank_labels=None, *, k=200, temperature=0.1):
    """Share (0 .. 1) of z whose label wins the vote of its k nearest rows of bank.

    The weights are exp(cosine / temperature). Normalized, uncentered. Without a bank, z is it and each row
    leaves itself out. k is capped at the size of the bank, a tied vote goes to the smallest label. Wu et
    al., CVPR 2018, arXiv 1805.01978; defaults as in lightly.
    """
    if k < 1 or not temperature > 0 or (bank is None) != (bank_labels is None):
        raise ValueError(f"k={k} and temperature={temperature} must be positive, bank come with bank_labels.")
    alone = bank is None
    u = _matrix(z, normalize=True, min_samples=1 + alone)
    bank = u if alone else _matrix(bank, "bank", normalize=True)
    labels = torch.as_tensor(labels).to(u.device)
    bank_labels = labels if alone else torch.as_tensor(bank_labels).to(u.device)
    shapes = [tuple(x.shape) for x in (u, labels, bank, bank_labels)]
    if shapes != [u.shape, (len(u),), (len(bank), u.shape[1]), (len(bank),)]:
        raise ValueError(f"z, labels, bank, bank_labels are {shapes}; pass (N, D), (N,), (M, D), (M,).")
    classes, bank_index = torch.unique(bank_labels, return_inverse=True)
    hits = 0
    for start, block in _cosine_blocks(u, bank):
        if alone:
            block.diagonal(offset=start).fill_(-math.inf)
        near, neighbor = block.topk(min(k, len(bank) - alone), dim=1)
        weight = ((near - near[:, :1]) / temperature).exp()  # the shift changes no vote and cannot overflow
        votes = u.new_zeros(len(block), len(classes)).scatter_add_(1, bank_index[neighbor], weight)
        hits += int((classes[votes.argmax(dim=1)] == labels[start : start + len(block)]).sum())
    return hits / len(u)


# Two modalities a, b (N, D), paired row by row


def paired_distances(a, b):
    """||u_i^a - u_i^b||, normalized, as a float64 tensor (N,) in 0 .. 2."""
    a, b = _pair(a, b)
    return (a - b).norm(dim=1)


def alignment(a, b, *, alpha=2):
    """mean_i ||u_i^a - u_i^b||^alpha, normalized, 0 .. 2^alpha. Wang & Isola, ICML 2020, arXiv 2005.10242."""
    return paired_distances(a, b).pow(alpha).mean().item()


def drift_summary(a, b):
    """How far apart pairs are, as a dict of floats from one pass; normalized.

    paired_drift: see there. paired_distance: mean ||u_i^a - u_i^b||, with quantiles paired_distance_q05,
    q50, q95; 0 .. 2, about sqrt 2 for unrelated directions. modality_gap: see there. drift_gap_part and
    drift_sample_part: the two terms of paired_drift = modality_gap^2 + tr Cov(u^a - u^b), exact as the
    covariance divides by N. The gap moves whole modalities; only the sample part concerns pairs.
    """
    a, b = _pair(a, b)
    difference = a - b
    distance, gap = difference.norm(dim=1), difference.mean(dim=0)
    q05, q50, q95 = torch.quantile(distance, distance.new_tensor([0.05, 0.5, 0.95])).tolist()
    return {
        "paired_drift": distance.square().mean().item(),
        "paired_distance": distance.mean().item(),
        "paired_distance_q05": q05,
        "paired_distance_q50": q50,
        "paired_distance_q95": q95,
        "modality_gap": gap.norm().item(),
        "drift_gap_part": gap.square().sum().item(),
        "drift_sample_part": (difference - gap).square().sum(dim=1).mean().item(),
    }


def paired_drift(a, b):
    """mean_i ||u_i^a - u_i^b||^2, normalized: 0 .. 4, and 2 for unrelated directions.

    The paper's cross-modal deviation E||z_a - z_v||^2 (arXiv 2601.21670, Figure 2c).
    """
    return drift_summary(a, b)["paired_drift"]


def modality_gap(a, b):
    """||mean u^a - mean u^b||, normalized, in 0 .. 2. Liang et al., NeurIPS 2022, arXiv 2203.02053."""
    return drift_summary(a, b)["modality_gap"]


def band_violation(a, b, radius):
    """Share (0 .. 1) of the pairs that `anchoring` pulls: ||u_i^a - u_i^b|| > radius, normalized."""
    if not 0 <= radius <= 2:
        raise ValueError(f"radius is {radius}; distances of unit vectors need one in [0, 2].")
    return (paired_distances(a, b) > radius).double().mean().item()


def cross_modal_margin(a, b, labels):
    """Mean cross-modal cosine of same-class pairs (i, j), i = j included, minus different-class pairs.

    Normalized, uncentered; -2 .. 2, about 0 if classes mix; labels (N,) of at least two classes. This
    project's own measure: `cosine_contrast`, which the paper's Figure 3 shows, with classes in place of
    pairs. The paper's margin is `semantic_margin`, which compares rows of one representation.
    """
    a, b = _pair(a, b)
    (_, sizes, a_sums), (_, _, b_sums) = _classes(a, labels), _classes(b, labels)
    same, same_pairs = (a_sums * b_sums).sum(), sizes.square().sum()
    every = a.sum(dim=0) @ b.sum(dim=0)
    return (same / same_pairs - (every - same) / (len(a) ** 2 - same_pairs)).item()


def cosine_contrast(a, b):
    """Mean cosine of the pairs minus that of all unpaired rows i != j, N >= 2: the paper's Delta mu, -2 .. 2.

    Normalized, uncentered. Taking pairs and not classes for the positives is this project's reading.
    """
    a, b = _pair(a, b, min_samples=2)
    paired, every = (a * b).sum(), a.sum(dim=0) @ b.sum(dim=0)
    return (paired / len(a) - (every - paired) / (len(a) * (len(a) - 1))).item()


def ks_distance(a, b):
    """Kolmogorov-Smirnov distance sup_x |F(x) - G(x)| of the cosines of `cosine_contrast`'s two sets, 0 .. 1.

    Normalized, uncentered, N >= 2. Exact, with cosines closer than TIE counted as equal.
    """
    a, b = _pair(a, b, min_samples=2)
    paired = np.sort((a * b).sum(dim=1).cpu().numpy())
    points = np.concatenate([paired - TIE, paired + TIE])  # F is flat between, so the supremum is at one
    below = 0
    for start, block in _cosine_blocks(a, b):
        block.diagonal(offset=start).fill_(math.inf)
        ordered = np.sort(block.cpu().numpy(), axis=None)  # several times faster than torch's sort on a CPU
        below = below + np.searchsorted(ordered, points, side="right")
    step = np.searchsorted(paired, points, side="right") / len(a)
    return float(np.abs(step - below / (len(a) * (len(a) - 1))).max())


def linear_cka(a, b, *, debiased=True, normalize=False):
    """Linear centered kernel alignment of a (N, D_a) and b (N, D_b), raw by default; debiased needs N > 3.

    Debiased: -1 .. 1, near 0 for unrelated sets. Biased: 0 .. 1, near 1 for *any* two sets once D >> N. 1
    for sets equal up to rotation, shift and scale; 0 where one does not vary (debiased also: where it is
    equidistant). Kornblith et al., arXiv 1905.00414; debiased with HSIC_1 of Song et al. 2007 as in arXiv
    2010.15327.
    """
    a, b = _pair(a, b, normalize=normalize, equal_widths=False, min_samples=4 if debiased else 2)
    a, b = (x / x.norm().clamp_min(TINY) for x in (_center(a), _center(b)))

    def hsic(x, y):  # up to a factor that cancels
        value, n = (x.T @ y).square().sum(), len(x)
        if debiased:
            # HSIC_1 leaves out the kernels' diagonals k, m; each row of a centered kernel sums to 0 with it.
            k, m = x.square().sum(dim=1), y.square().sum(dim=1)
            value = value - k @ m * n / (n - 2) + k.sum() * m.sum() / ((n - 1) * (n - 2))
        return value.item()

    own_a, own_b = hsic(a, a), hsic(b, b)
    return hsic(a, b) / math.sqrt(own_a * own_b) if min(own_a, own_b) > TIE / len(a) else 0.0


def retrieval_ranks(a, b):
    """Rank of b_i by cosine to a_i among all b, a tensor (N,) in 1 .. N: 1 + number closer + half the ties.

    Half the ties puts collapsed embeddings at the middle rank (N + 1) / 2, where counting none would make
    each a hit. Normalized, uncentered. Swap a and b for the other direction.
    """
    a, b = _pair(a, b)
    ranks = []
    for start, block in _cosine_blocks(a, b):
        own = block.diagonal(offset=start)[:, None]
        ranks.append(((block > own + TIE).sum(dim=1) + (block >= own - TIE).sum(dim=1) + 1).double() / 2)
    return torch.cat(ranks)


def retrieval_recall(a, b, *, k=1):
    """R@k: the share (0 .. 1) of queries a_i whose `retrieval_ranks` is at most k; chance is k / N."""
    if k < 1:
        raise ValueError(f"k is {k}; pass a rank of 1 or more.")
    return (retrieval_ranks(a, b) <= k).double().mean().item()


def median_rank(a, b):
    """Median of `retrieval_ranks`, in 1 .. N; chance is (N + 1) / 2."""
    return torch.quantile(retrieval_ranks(a, b), 0.5).item()


# All of them


def geometry_report(embeddings, labels=None, radius=None, *, detailed=False):
    """The diagnostics of embeddings, a dict modality -> (N, D_m) with N >= 2, as a flat dict of floats.

    Keys are `quantity/modality`, `quantity/first-second` for pairs in the order of the dict, and num_samples.
    Retrieval goes both ways, query first. Spectra are normalized and centered, all else is normalized, except
    what ends in `_raw` and linear_cka (raw, debiased). labels (N,) add the class measures, radius adds
    band_violation, detailed adds the slow nc1_raw, silhouette and knn_accuracy (k = 20). One class measure
    has a place more: `semantic_margin/joint` is of the mean over modalities of the normalized rows, not
    normalized again. What the data leave undefined has no key: most pair quantities and that mean at unequal
    widths, class measures of one class, debiased CKA of fewer than 4 samples.
    """
    if not embeddings:
        raise ValueError("embeddings is empty; pass a dict modality -> (N, D) tensor.")
    raw = {m: _matrix(z, f"embeddings[{m!r}]", min_samples=2) for m, z in embeddings.items()}
    unit = {m: _matrix(z, normalize=True) for m, z in raw.items()}
    sizes, n = {m: len(z) for m, z in raw.items()}, len(next(iter(raw.values())))
    if set(sizes.values()) != {n}:
        raise ValueError(f"embeddings has {sizes} samples; its modalities must be paired row by row.")
    if labels is not None and len(labels) != n:
        raise ValueError(f"labels has length {len(labels)}; pass one label for each of {n} samples.")
    if radius is not None and not 0 <= radius <= 2:
        raise ValueError(f"radius is {radius}; distances of unit vectors need one in [0, 2].")
    report = {"num_samples": float(n)}

    def add(place, quantity, *arguments, name=None, **options):
        with suppress(ValueError):  # inputs were checked above, so the quantity is undefined for these data
            report[f"{name or quantity.__name__}/{place}"] = quantity(*arguments, **options)

    for m, u in unit.items():
        report |= {f"{name}/{m}": value for name, value in spectrum_summary(u).items()}
        add(m, rankme, raw[m], name="rankme_raw")
        for quantity in (uniformity, collapse_std, mean_cosine):
            add(m, quantity, u)
        if labels is not None:
            add(m, class_mean_margin, u, labels)
            add(m, semantic_margin, u, labels)
            add(m, cdnv, raw[m], labels, name="cdnv_raw")
        if labels is not None and detailed:
            add(m, nc1, raw[m], labels, name="nc1_raw")
            add(m, silhouette, u, labels)
            add(m, knn_accuracy, u, labels, k=20)
    if labels is not None and len(unit) > 1 and len({u.shape[1] for u in unit.values()}) == 1:
        add("joint", semantic_margin, sum(unit.values()) / len(unit), labels, normalize=False)
    for first, second in combinations(unit, 2):
        pair, a, b = f"{first}-{second}", unit[first], unit[second]
        add(pair, linear_cka, raw[first], raw[second])
        with suppress(ValueError):
            report |= {f"{name}/{pair}": value for name, value in drift_summary(a, b).items()}
        for quantity in (cosine_contrast, ks_distance):
            add(pair, quantity, a, b)
        if radius is not None:
            add(pair, band_violation, a, b, radius)
        if labels is not None:
            add(pair, cross_modal_margin, a, b, labels)
    for query, gallery in permutations(unit, 2):
        with suppress(ValueError):
            ranks = retrieval_ranks(unit[query], unit[gallery])
            for k in (1, 5, 10, 100):
                report[f"recall@{k}/{query}-{gallery}"] = (ranks <= k).double().mean().item()
            report[f"median_rank/{query}-{gallery}"] = torch.quantile(ranks, 0.5).item()
    return report
