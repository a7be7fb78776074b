"""Diagnostics: what is the shape of a set of embeddings, and how do two modalities lie to each other?

Every function takes embeddings as (N, D) tensors of any floating type, works on a detached float64 copy and returns a
Python float. The same row of two modalities is the same sample. A bad input raises a `ValueError` that names it.

Two choices change most of these numbers, so each docstring states them: *normalized* means that each row is divided by
its length first (`u = z / ||z||`, a zero row stays zero), *raw* that it is not; *centered* means that the mean row is
subtracted afterwards. Ranks and the spectrum also grow with N as long as N is not much larger than D (64 Gaussian points in 512
dimensions have effective rank 62), so compare them at equal N only.
"""

import math
from contextlib import suppress
from itertools import combinations, permutations

import torch

EPS = torch.finfo(torch.float64).eps
TIE = 1e-12  # cosines this close are a tie: equal rows differ by rounding alone
BLOCK_ELEMENTS = (
    2**24
)  # cosine matrices are formed in blocks of rows with at most this many entries (128 MiB)


def _matrix(z, name="z", *, normalize=False, min_samples=1):
    z = torch.as_tensor(z).detach()
    if z.ndim != 2 or z.shape[0] < min_samples or z.shape[1] < 1:
        raise ValueError(
            f"{name} has shape {tuple(z.shape)}; pass (N, D) embeddings with N >= {min_samples} and D >= 1."
        )
    z = (z.cpu() if z.device.type == "mps" else z).double()  # MPS has no float64
    if not torch.isfinite(z).all():
        count = int((~torch.isfinite(z)).sum())
        raise ValueError(
            f"{name} holds {count} NaN or infinite values; find where they arise before measuring."
        )
    if not normalize:
        return z
    z = z / z.abs().amax(dim=1, keepdim=True).clamp_min(
        torch.finfo(z.dtype).tiny
    )  # no overflow in the square
    return z / z.norm(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)


def _pair(a, b, *, normalize=True, equal_widths=True, min_samples=1):
    a = _matrix(a, "a", normalize=normalize, min_samples=min_samples)
    b = _matrix(b, "b", normalize=normalize, min_samples=min_samples)
    if len(a) != len(b) or (equal_widths and a.shape[1] != b.shape[1]):
        raise ValueError(
            f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; pass paired rows"
            + (" of one width." if equal_widths else ".")
        )
    return a, b


def _class_index(labels, n, device):
    """Labels (N,) of any values -> (class index (N,), class sizes (C,)); every class so formed has a member."""
    labels = torch.as_tensor(labels).detach().to(device)
    if labels.shape != (n,):
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}; pass one label for each of the {n} samples."
        )
    classes, index, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels holds {len(classes)} class; at least two are needed to compare classes.")
    return index, sizes.double()


def _class_sums(z, index, sizes):
    return z.new_zeros(len(sizes), z.shape[1]).index_add_(0, index, z)


def _center(z):
    centered = z - z.mean(dim=0)
    # Equal rows leave rounding noise, which has full rank: return what is meant.
    is_noise = centered.norm() <= max(z.shape) * EPS * z.norm()
    return torch.zeros_like(z) if is_noise else centered


def _cosine_blocks(u, v):
    """Yield (row index, u[rows] @ v.T): the cosine matrix in pieces, one piece up to N = 4096."""
    step = max(1, BLOCK_ELEMENTS // len(v))
    for rows in torch.arange(len(u), device=u.device).split(step):
        yield rows, u[rows] @ v.T


# One modality -------------------------------------------------------------------------------------------------------


def spectrum(z, *, normalize=True, center=True):
    """Eigenvalues lambda_k = sigma_k^2 / (N - 1) of the (by default normalized, centered) z, as a descending tensor
    of min(N, D) float64 values. N = 1 divides by one.
    """
    z = _matrix(z, normalize=normalize)
    return torch.linalg.svdvals(_center(z) if center else z).square() / max(len(z) - 1, 1)


def _entropy_rank(values):
    total = values.sum()
    return torch.special.entr(values / total).sum().exp().item() if total > 0 else 1.0


def spectrum_summary(z, *, normalize=True, center=True):
    """Six numbers from one singular value decomposition of z (N, D), as a dict of floats.

    effective_rank, eigenvalue_rank, participation_ratio: see the functions of these names. numerical_rank: r, the
    number of eigenvalues above max(N, D) * eps * lambda_1. condition_number: lambda_1 / lambda_r, never infinite.
    top1_share: lambda_1 / sum lambda, in (0, 1]. Where nothing varies (one sample, or all rows equal) numerical_rank
    is 0 and the other five are 1.
    """
    eigenvalues = spectrum(z, normalize=normalize, center=center)
    largest, total = eigenvalues[0].item(), eigenvalues.sum()
    rank = int((eigenvalues > max(z.shape) * EPS * largest).sum())
    return {
        "effective_rank": _entropy_rank(eigenvalues.sqrt()),
        "eigenvalue_rank": _entropy_rank(eigenvalues),
        "participation_ratio": (1 / (eigenvalues / total).square().sum()).item() if rank else 1.0,
        "numerical_rank": float(rank),
        "condition_number": largest / eigenvalues[rank - 1].item() if rank else 1.0,
        "top1_share": (largest / total).item() if rank else 1.0,
    }


def effective_rank(z, *, normalize=True, center=True):
    """exp of the entropy of the singular values sigma / sum sigma of z (N, D); by default normalized and centered.

    1 .. min(N, D); k equal singular values give k. 1 where nothing varies. Roy & Vetterli, EUSIPCO 2007.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["effective_rank"]


def eigenvalue_rank(z, *, normalize=True, center=True):
    """As `effective_rank`, with the entropy of the eigenvalues lambda / sum lambda: never larger, often much smaller.

    Some published code calls this number RankMe or effective rank; the two must not be compared.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["eigenvalue_rank"]


def participation_ratio(z, *, normalize=True, center=True):
    """(sum lambda)^2 / sum lambda^2 of z (N, D), by default normalized and centered: exp of the Renyi-2 entropy.

    1 .. rank; about D / (1 + D / N) for N isotropic Gaussian samples. 1 where nothing varies.
    """
    return spectrum_summary(z, normalize=normalize, center=center)["participation_ratio"]


def rankme(z, *, normalize=False, eps=1e-7):
    """exp(-sum p log p), p = sigma / sum sigma + eps, of the uncentered and by default raw z (N, D).

    About 1 .. min(N, D), at least 1. Garrido et al., ICML 2023, arXiv 2210.02885; the paper uses N = 25,600.
    """
    sigma = torch.linalg.svdvals(_matrix(z, normalize=normalize))
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny) + eps
    return max(1.0, torch.special.entr(p).sum().exp().item())


def uniformity(z, *, t=2.0):
    """log mean_{i != j} exp(-t ||u_i - u_j||^2) of the normalized, uncentered z (N, D), N >= 2.

    0 where all rows point one way, down to about -2 t where they spread. Equals `dispersion` with temperature 1 / t.
    Wang & Isola, ICML 2020, arXiv 2005.10242.
    """
    if not t > 0:
        raise ValueError(f"t is {t}; pass a positive number.")
    u = _matrix(z, normalize=True, min_samples=2)
    square, sums = u.square().sum(dim=1), []
    for rows, cosine in _cosine_blocks(u, u):
        exponent = (square[rows, None] + square - 2 * cosine).clamp_min(0).mul_(-t)
        exponent[torch.arange(len(rows)), rows] = -math.inf
        sums.append(torch.logsumexp(exponent.flatten(), dim=0))
    return torch.logsumexp(torch.stack(sums), dim=0).item() - math.log(len(u) * (len(u) - 1))


def collapse_std(z):
    """Mean over dimensions of the standard deviation of the normalized z (N, D), N >= 2; depends on the axes.

    0 (all rows equal) .. about 1 / sqrt(D) (isotropic). As in lightly's `std_of_l2_normalized`.
    """
    return _matrix(z, normalize=True, min_samples=2).std(dim=0).mean().item()


def mean_cosine(z):
    """Mean cosine of two different rows of z (N, D), N >= 2, uncentered: near 1 in a narrow cone, at least -1/(N-1)."""
    u = _matrix(z, normalize=True, min_samples=2)
    return ((u.sum(dim=0).square().sum() - u.square().sum()) / (len(u) * (len(u) - 1))).item()


# One modality and labels --------------------------------------------------------------------------------------------


def class_mean_margin(z, labels):
    """This project's own separation measure: mean over i of cos(u_i, own class mean) - max cos(u_i, other class mean).

    Normalized, uncentered z (N, D), labels (N,). The own mean leaves i out; samples alone in their class are skipped, and
    it is a `ValueError` when all are. -2 .. 2. It is not the paper's semantic margin (`semantic_margin`).
    """
    u = _matrix(z, normalize=True)
    index, sizes = _class_index(labels, len(u), u.device)
    sums = _class_sums(u, index, sizes)
    keep = sizes[index] > 1
    if not keep.any():
        raise ValueError("labels has no class with two samples; the leave-one-out class mean needs one.")
    own = (u * _matrix(sums[index] - u, normalize=True)).sum(dim=1)
    others = (u @ _matrix(sums, normalize=True).T).scatter_(1, index[:, None], -math.inf).amax(dim=1)
    return (own - others)[keep].mean().item()


def cdnv(z, labels, *, normalize=False):
    """Class-distance normalized variance, mean_{c != c'} (var_c + var_c') / (2 ||mu_c - mu_c'||^2), of the raw z (N, D).

    0 (every class is a point) and up; needs no inverse. `ValueError` where two class means coincide.
    Galanti et al., ICLR 2022, arXiv 2112.15121.
    """
    z = _matrix(z, normalize=normalize)
    index, sizes = _class_index(labels, len(z), z.device)
    means = _class_sums(z, index, sizes) / sizes[:, None]
    variance = z.new_zeros(len(sizes)).index_add_(0, index, (z - means[index]).square().sum(dim=1)) / sizes
    square = (means[:, None] - means).square().sum(dim=2)
    apart = ~torch.eye(len(sizes), dtype=torch.bool, device=z.device)
    if (square[apart] <= (len(z) * EPS) ** 2 * z.square().sum(dim=1).max()).any():
        raise ValueError("z has two classes with the same mean; the variance to distance ratio is undefined.")
    return ((variance[:, None] + variance)[apart] / (2 * square[apart])).mean().item()


def nc1(z, labels, *, normalize=False):
    """Within-class collapse tr(Sigma_W pinv(Sigma_B)) / C of the raw z (N, D): 0 where every class is a point.

    Sigma_W is the mean within-class covariance, Sigma_B that of the C class means about the mean of all samples; its
    pseudo-inverse keeps the at most C - 1 eigenvalues above rounding. `ValueError` where all class means coincide.
    Papyan, Han & Donoho, PNAS 2020, arXiv 2008.08186.
    """
    z = _matrix(z, normalize=normalize)
    index, sizes = _class_index(labels, len(z), z.device)
    means = _class_sums(z, index, sizes) / sizes[:, None]
    between = (means - z.mean(dim=0)) / math.sqrt(len(sizes))
    _, sigma, axes = torch.linalg.svd(between, full_matrices=False)
    keep = sigma > max(max(between.shape) * EPS * sigma[0], len(z) * EPS * z.norm(dim=1).max())
    keep[len(sizes) - 1 :] = False
    if not keep.any():
        raise ValueError("z has the same mean in all classes; the between-class covariance has no inverse.")
    return (((z - means[index]) @ axes[keep].T) / sigma[keep]).square().sum(dim=1).mean().item() / len(sizes)


def silhouette(z, labels, *, normalize=True, max_samples=2000, seed=0):
    """Mean silhouette (Euclidean, by default normalized) of at most max_samples seeded rows of z (N, D): -1 .. 1.

    Singleton classes count 0. `ValueError` unless the rows hold 2 .. N - 1 classes. Rousseeuw 1987, by scikit-learn.
    """
    from sklearn.metrics import silhouette_score

    z = _matrix(z, normalize=normalize, min_samples=3)
    index, _ = _class_index(labels, len(z), z.device)
    rows = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[:max_samples]
    return float(silhouette_score(z.cpu()[rows].numpy(), index.cpu()[rows].numpy()))


def knn_accuracy(z, labels, bank=None, bank_labels=None, *, k=200, temperature=0.1):
    """Share of z (N, D) whose label wins the vote of the k nearest rows of bank by cosine, weights exp(cos / temperature).

    Normalized, uncentered. Without a bank, z itself serves and each row leaves itself out; k is capped at what there
    is. 0 .. 1; a tied vote goes to the smallest label. Wu et al., CVPR 2018, arXiv 1805.01978; defaults as in lightly.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"k is {k} and temperature {temperature}; pass k >= 1 and a positive temperature.")
    if (bank is None) != (bank_labels is None):
        raise ValueError("bank and bank_labels belong together; pass both or neither.")
    leave_out = bank is None
    u = _matrix(z, normalize=True, min_samples=2 if leave_out else 1)
    bank = u if leave_out else _matrix(bank, "bank", normalize=True)
    labels = torch.as_tensor(labels).to(u.device)
    bank_labels = labels if leave_out else torch.as_tensor(bank_labels).to(u.device)
    if len(labels) != len(u) or len(bank_labels) != len(bank) or bank.shape[1] != u.shape[1]:
        raise ValueError(
            f"z {tuple(u.shape)} with {len(labels)} labels and bank {tuple(bank.shape)} with {len(bank_labels)} do not fit."
        )
    classes, bank_index = torch.unique(bank_labels, return_inverse=True)
    hits = 0
    for rows, cosine in _cosine_blocks(u, bank):
        if leave_out:
            cosine[torch.arange(len(rows)), rows] = -math.inf
        near, neighbor = cosine.topk(min(k, len(bank) - leave_out), dim=1)
        weight = ((near - near[:, :1]) / temperature).exp()  # the shift avoids overflow and changes no vote
        votes = u.new_zeros(len(rows), len(classes)).scatter_add_(1, bank_index[neighbor], weight)
        hits += int((classes[votes.argmax(dim=1)] == labels[rows]).sum())
    return hits / len(u)


# Two modalities -----------------------------------------------------------------------------------------------------


def paired_distances(a, b):
    """||u_i^a - u_i^b|| of the normalized a, b (N, D), as a tensor (N,) in 0 .. 2."""
    a, b = _pair(a, b)
    return (a - b).norm(dim=1)


def alignment(a, b, *, alpha=2):
    """mean_i ||u_i^a - u_i^b||^alpha of the normalized a, b (N, D), in 0 .. 2^alpha. Wang & Isola, arXiv 2005.10242."""
    return paired_distances(a, b).pow(alpha).mean().item()


def paired_drift(a, b):
    """mean_i ||u_i^a - u_i^b||^2 of the normalized a, b (N, D): 0 .. 4, and 2 for unrelated directions.

    The paper's cross-modal deviation E||z_a - z_v||^2 (arXiv 2601.21670, Figure 2c).
    """
    return alignment(a, b, alpha=2)


def drift_quantile(a, b, q):
    """The q-quantile (0 .. 1) of the paired distances ||u_i^a - u_i^b||, in 0 .. 2."""
    return torch.quantile(paired_distances(a, b), q).item()


def band_violation(a, b, radius):
    """Share of pairs (0 .. 1) farther apart than radius, the tolerance of `anchoring`: ||u_i^a - u_i^b|| > radius."""
    if not 0 <= radius <= 2:
        raise ValueError(f"radius is {radius}; distances of unit vectors need one in [0, 2].")
    return (paired_distances(a, b) > radius).double().mean().item()


def modality_gap(a, b):
    """||mean u^a - mean u^b|| of the normalized a, b (N, D), in 0 .. 2. Liang et al., NeurIPS 2022, arXiv 2203.02053."""
    a, b = _pair(a, b)
    return (a.mean(dim=0) - b.mean(dim=0)).norm().item()


def drift_parts(a, b):
    """The drift identity: paired_drift = ||gap||^2 + tr Cov(u^a - u^b), returned as that pair (gap part, sample part).

    Exact (the covariance divides by N). The gap part moves whole modalities; only the sample part concerns pairs.
    """
    a, b = _pair(a, b)
    difference = a - b
    gap = difference.mean(dim=0)
    return gap.square().sum().item(), (difference - gap).square().sum(dim=1).mean().item()


def semantic_margin(a, b, labels):
    """Mean cross-modal cosine of same-class pairs (i, j), i = j included, minus that of different-class pairs.

    Normalized, uncentered a, b (N, D), labels (N,) with two classes or more. -2 .. 2, and 0 where the classes mix. This
    project's reading of the paper's Delta_sem (arXiv 2601.21670, "Eq. 45"), whose formula is not in public text.
    """
    a, b = _pair(a, b)
    index, sizes = _class_index(labels, len(a), a.device)
    same = (_class_sums(a, index, sizes) * _class_sums(b, index, sizes)).sum()
    every, same_pairs = a.sum(dim=0) @ b.sum(dim=0), sizes.square().sum()
    return (same / same_pairs - (every - same) / (len(a) ** 2 - same_pairs)).item()


def cosine_contrast(a, b):
    """Mean cosine of the paired rows minus that of all unpaired ones (i != j): the paper's Delta mu, -2 .. 2.

    Normalized, uncentered a, b (N, D), N >= 2. Positives are pairs, not classes (see `semantic_margin` for those).
    """
    a, b = _pair(a, b, min_samples=2)
    positive = (a * b).sum()
    return (positive / len(a) - (a.sum(dim=0) @ b.sum(dim=0) - positive) / (len(a) * (len(a) - 1))).item()


def ks_distance(a, b):
    """Kolmogorov-Smirnov distance of the paired to the unpaired cosines: sup_x |F_paired(x) - F_unpaired(x)|, 0 .. 1.

    Normalized, uncentered a, b (N, D), N >= 2; exact, without all N^2 cosines in memory. The paper reports it.
    """
    a, b = _pair(a, b, min_samples=2)
    positive = (a * b).sum(dim=1).sort().values
    # F_paired is a step function, so the supremum lies just below or above one of its jumps.
    points = torch.cat([positive - TIE, positive + TIE]).sort().values
    count = torch.zeros(len(points) + 1, dtype=torch.int64, device=a.device)
    for rows, cosine in _cosine_blocks(a, b):
        cosine[torch.arange(len(rows)), rows] = math.inf
        count += torch.bincount(torch.bucketize(cosine, points).flatten(), minlength=len(count))
    unpaired = count.cumsum(0)[:-1] / (len(a) * (len(a) - 1))
    paired = torch.searchsorted(positive, points, right=True) / len(a)
    return (paired - unpaired).abs().max().item()


def linear_cka(a, b, *, debiased=True, normalize=False):
    """Linear centered kernel alignment of the raw a (N, D_a) and b (N, D_b), whose widths may differ; N > 3 if debiased.

    Biased: 0 .. 1, and near 1 for *any* two sets once D >> N. Debiased (default): -1 .. 1, near 0 for unrelated sets.
    1 for equal sets up to rotation, shift and scale; 0 where one set does not vary (or, debiased, is equidistant).
    Kornblith et al., arXiv 1905.00414; debiased with the HSIC_1 of Song et al. 2007 as in arXiv 2010.15327.
    """
    a, b = _pair(a, b, normalize=normalize, equal_widths=False, min_samples=4 if debiased else 2)
    a, b = _center(a), _center(b)
    a, b = (x / x.norm().clamp_min(torch.finfo(x.dtype).tiny) for x in (a, b))
    hsic = _hsic_1 if debiased else (lambda x, y: (x.T @ y).square().sum().item())
    scale = math.sqrt(max(hsic(a, a), 0) * max(hsic(b, b), 0))
    return hsic(a, b) / scale if scale > TIE / len(a) ** 2 else 0.0


def _hsic_1(x, y):
    """Unbiased HSIC of linear kernels K = x x^T without forming K; x and y centered (which HSIC_1 ignores)."""
    n, k, m = len(x), x.square().sum(dim=1), y.square().sum(dim=1)
    trace = (x.T @ y).square().sum() - k @ m
    # The rows of K sum to zero, so without their diagonal they sum to -k.
    return ((trace + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m)) / (n * (n - 3))).item()


def retrieval_ranks(a, b):
    """Rank of b_i among all b for the query a_i by cosine, as a tensor (N,) in 1 .. N: 1 + number nearer + half the ties.

    Halving the ties keeps collapsed embeddings at the middle rank (N + 1) / 2, where counting none would call each a hit.
    Normalized, uncentered a, b (N, D). Swap a and b for the other direction.
    """
    a, b = _pair(a, b)
    ranks = []
    for rows, cosine in _cosine_blocks(a, b):
        true = cosine[torch.arange(len(rows)), rows][:, None]
        ranks.append(((cosine > true + TIE).sum(dim=1) + (cosine >= true - TIE).sum(dim=1) + 1) / 2)
    return torch.cat(ranks)


def retrieval_recall(a, b, *, k=1):
    """R@k: share (0 .. 1) of queries a_i whose own b_i has `retrieval_ranks` at most k; chance is k / N."""
    if k < 1:
        raise ValueError(f"k is {k}; pass a rank of 1 or more.")
    return (retrieval_ranks(a, b) <= k).double().mean().item()


def median_rank(a, b):
    """Median of `retrieval_ranks`, in 1 .. N; chance is (N + 1) / 2."""
    return torch.quantile(retrieval_ranks(a, b).double(), 0.5).item()


# All of them --------------------------------------------------------------------------------------------------------


def geometry_report(embeddings, labels=None, radius=None, *, detailed=False):
    """All diagnostics of a dict modality -> (N, D_m), N >= 2, as a flat dict `quantity/modality` -> float.

    Pairs are named `quantity/audio-image` in the order of the dict; retrieval also has `recall@k/image-audio`, where the
    first is the query. Keys ending in `_raw` are of raw embeddings, as is linear_cka (debiased); rankme_raw is uncentered.
    The spectrum is normalized and centered, all else normalized and uncentered. labels (N,) add the class measures, radius
    band_violation, detailed the slow ones (nc1_raw, silhouette, knn_accuracy with k = 20). What is undefined for the data is left out:
    pairs of unequal widths have linear_cka alone, a single class has no class measure. num_samples is N.
    """
    if not embeddings:
        raise ValueError("embeddings is empty; pass a dict modality -> (N, D) tensor.")
    raw = {m: _matrix(z, f"embeddings[{m!r}]", min_samples=2) for m, z in embeddings.items()}
    unit = {m: _matrix(z, normalize=True) for m, z in raw.items()}
    sizes = {m: len(z) for m, z in raw.items()}
    n = next(iter(sizes.values()))
    if set(sizes.values()) != {n}:
        raise ValueError(f"embeddings has {sizes} samples; modalities must be paired row by row.")
    if labels is not None and torch.as_tensor(labels).shape != (n,):
        raise ValueError(
            f"labels has shape {tuple(torch.as_tensor(labels).shape)}; pass one for each of the {n} samples."
        )
    report = {"num_samples": float(n)}
    for m, u in unit.items():
        report |= {f"{name}/{m}": value for name, value in spectrum_summary(u).items()}
        report[f"rankme_raw/{m}"] = rankme(raw[m])
        for quantity in (uniformity, collapse_std, mean_cosine):
            report[f"{quantity.__name__}/{m}"] = quantity(u)
        if labels is not None:
            _add(report, f"class_mean_margin/{m}", class_mean_margin, u, labels)
            _add(report, f"cdnv_raw/{m}", cdnv, raw[m], labels)
        if labels is not None and detailed:
            _add(report, f"nc1_raw/{m}", nc1, raw[m], labels)
            _add(report, f"silhouette/{m}", silhouette, u, labels)
            report[f"knn_accuracy/{m}"] = knn_accuracy(u, labels, k=20)
    for first, second in combinations(unit, 2):
        pair, a, b = f"{first}-{second}", unit[first], unit[second]
        _add(report, f"linear_cka/{pair}", linear_cka, raw[first], raw[second])
        if a.shape[1] == b.shape[1]:
            report |= {f"{name}/{pair}": value for name, value in _pair_report(a, b, radius).items()}
            if labels is not None:
                _add(report, f"semantic_margin/{pair}", semantic_margin, a, b, labels)
    for query, gallery in permutations(unit, 2):
        if unit[query].shape[1] == unit[gallery].shape[1]:
            ranks = retrieval_ranks(unit[query], unit[gallery]).double()
            for k in (1, 5, 10, 100):
                report[f"recall@{k}/{query}-{gallery}"] = (ranks <= k).double().mean().item()
            report[f"median_rank/{query}-{gallery}"] = torch.quantile(ranks, 0.5).item()
    return report


def _pair_report(a, b, radius):
    distances, (gap_part, sample_part) = paired_distances(a, b), drift_parts(a, b)
    return {
        "paired_drift": distances.square().mean().item(),
        "paired_distance": distances.mean().item(),
        **{f"paired_distance_q{q:02d}": torch.quantile(distances, q / 100).item() for q in (5, 50, 95)},
        **({} if radius is None else {"band_violation": band_violation(a, b, radius)}),
        "modality_gap": modality_gap(a, b),
        "drift_gap_part": gap_part,
        "drift_sample_part": sample_part,
        "cosine_contrast": cosine_contrast(a, b),
        "ks_distance": ks_distance(a, b),
    }


def _add(report, key, quantity, *arguments):
    with suppress(ValueError):  # the inputs were checked, so the quantity is undefined for them
        report[key] = quantity(*arguments)
