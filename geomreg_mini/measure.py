"""Measure the embeddings of any model: a table, a page for the browser, and a tracker for training loops.

    python -m geomreg_mini embeddings.npz --html report.html

The numbers are those of ``geometry``. Each stands next to a reference, because most depend on N and D.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import combinations, combinations_with_replacement
from string import Template

import numpy as np
import torch
from torch import Tensor

from . import geometry
from .geometry import Arrays, Given, geometry_report, matrices, matrix
from .inputs import TINY, Array, check_whole, class_index
from .pairs import TIE, cosine_blocks
from .regularizer import GeometryRegularizer

NEIGHBORS, PERMUTATIONS, BINS, MOST_POINTS = 10, 500, 40, 200  # the last two: of a curve
# section of the page -> its quantities, and the labels of the axes of its figure
SECTIONS = {
    "Spectrum": ("effective_rank participation_ratio top1_share", "number of eigenvalue", "log10 of share"),
    "Sphere": ("uniformity mean_cosine paired_drift cosine_contrast linear_cka", "", ""),
    "Distances": (
        "paired_distance paired_distance_q05 paired_distance_q95 band_violation",
        "distance",
        "share of pairs",
    ),
    "Gap": ("modality_gap gap_p_value", "distance of the mean directions", "share of permutations"),
    "Hubness": ("hubness", f"times among the {NEIGHBORS} nearest", "share of rows"),
    "Classes": ("knn_accuracy class_mean_margin silhouette", "", ""),
    "Retrieval": ("recall@1 recall@10 median_rank", "K", "recall@K"),
}
MISSING = '<p class="none">Not measured: it needs labels, or two modalities of equal width.</p>'


# of a figure: name, color, whether it is a reference, x and y
Curve = tuple[str, int, bool, Sequence[float], Sequence[float]]


def neighbor_counts(z: Array, k: int = NEIGHBORS) -> Tensor:
    """Return how often each row of z (N, D) is among the k nearest by cosine of another row, (N,), mean k.

    Equal cosines share their places, so equal rows have k each. k is capped at N - 1.
    """
    u = matrix(z, normalize=True, min_samples=2)
    k, counts = min(k, len(u) - 1), u.new_zeros(len(u))
    for start, block in cosine_blocks(u, u):
        block.diagonal(offset=start).fill_(-math.inf)
        last = block.topk(k, dim=1).values[:, -1:]
        nearer, tied = block > last + TIE, (block - last).abs() <= TIE
        places = (k - nearer.sum(dim=1, keepdim=True)).double() / tied.sum(dim=1, keepdim=True)
        counts += (nearer + tied * places).sum(dim=0)
    return counts


def hubness(z: Array, k: int = NEIGHBORS) -> float:
    """Return the skewness of `neighbor_counts`: about 1 / sqrt(k) for neighbors at random, 0 for equal rows.

    Radovanovic, Nanopoulos & Ivanovic, JMLR 11 (2010).
    """
    return _skewness(neighbor_counts(z, k), min(k, len(z) - 1))


def _skewness(counts: Tensor, mean: int) -> float:
    deviation = counts - mean
    spread = deviation.square().mean().sqrt().item()
    return deviation.pow(3).mean().item() / spread**3 if spread > 1e-6 else 0.0


def permuted_gaps(a: Array, b: Array, *, seed: int = 0) -> Tensor:
    """Return `modality_gap` of a and b (N, D) after each of 500 seeded swaps of random pairs' two rows."""
    difference = matrix(a, "a", normalize=True) - matrix(b, "b", normalize=True)
    generator = torch.Generator().manual_seed(seed)
    swaps = torch.randint(0, 2, (PERMUTATIONS, len(difference)), generator=generator, device="cpu")
    return ((2 * swaps - 1).to(difference) @ difference).norm(dim=1) / len(difference)


@dataclass(frozen=True)
class Measurement:
    """The result of `measure`; ``str`` gives it as a table, ``html`` as a page.

    Attributes:
        about: the modalities with their D, and N.
        values: "quantity/modality" or "quantity/first-second" -> number: those of `geometry_report`, with
            `hubness`, and gap_p_value, the share of `permuted_gaps` that reach the gap.
        reference: the same for Gaussian rows of this N and D if the quantity concerns one modality without
            labels, else for shuffled rows; for modality_gap the 95 % quantile of `permuted_gaps`.
        curves: section -> lines of its figure.
        radius: of the band.
    """

    about: str
    values: dict[str, float]
    reference: dict[str, float]
    curves: dict[str, list[Curve]]
    radius: float

    def rows(self, section: str) -> list[tuple[str, str, str, str]]:
        """Return quantity, place, value and reference of each number of a section, "" for none."""
        found = []
        for quantity in SECTIONS[section][0].split():
            for key in (key for key in self.values if key.startswith(f"{quantity}/")):
                both = (round(x[key], 9) + 0.0 if key in x else None for x in (self.values, self.reference))
                shown = ("" if x is None else f"{x:.4g}" for x in both)
                found.append((quantity, key[len(quantity) + 1 :], *shown))
        return found

    def __str__(self) -> str:
        lines = [("", "", "value", "reference"), *(row for section in SECTIONS for row in self.rows(section))]
        wide = max(len(line[1]) for line in lines)
        table = [f"{q:20} {place:{wide}} {x:>12} {y:>12}".rstrip() for q, place, x, y in lines]
        return "\n".join([self.about, *table])

    def html(self, title: str = "Geometry of embeddings") -> str:
        """Return a page without scripts and other files, for light and dark, narrow screens and paper."""
        parts = {"title": escape(title), "about": escape(self.about), "radius": f"{self.radius:g}"}
        head = "<thead><tr><th>quantity<th>of<th>value<th>reference</thead>"
        for section, (_, *axes) in SECTIONS.items():
            figure = chart(self.curves[section], *axes, self.radius * (section == "Distances"))
            cells = "".join(f"<tr><th>{q}<th>{escape(m)}<td>{x}<td>{y}" for q, m, x, y in self.rows(section))
            table = f'<div class="table"><table>{head}{cells}</table></div>'
            parts[section] = figure + table if cells else MISSING
        return Template(files(__package__).joinpath("report.html").read_text("utf-8")).substitute(parts)


def measure(
    embeddings: Arrays, labels: Given = None, *, radius: float = GeometryRegularizer.radius, rows: int = 2000
) -> Measurement:
    """Return the geometry of embeddings, modality -> (N, D_m), with references and figures.

    Args:
        embeddings: of one modality or more, paired row by row.
        labels: one per row, of any sortable type, for the section on classes.
        radius: of the band, in [0, 2].
        rows: if there are more, a random sample of this size is measured, with a fixed seed.

    Raises:
        ValueError: naming what is wrong with the embeddings, the labels or an argument.
    """
    check_whole(2, rows=rows)
    whole = {str(m): z for m, z in matrices(embeddings).items()}
    generator = torch.Generator().manual_seed(0)
    total = len(next(iter(whole.values())))
    chosen = torch.randperm(total, generator=generator, device="cpu")[:rows].sort().values
    n, z = len(chosen), {m: x.cpu()[chosen] for m, x in whole.items()}
    labels = None if labels is None else class_index(labels, total)[1][chosen]
    shuffled = {m: x[torch.randperm(n, generator=generator, device="cpu")] for m, x in z.items()}
    values, reference = (geometry_report(x, labels, radius, detailed=True) for x in (z, shuffled))
    curves: dict[str, list[Curve]] = {section: [] for section in SECTIONS}
    for color, (m, x) in enumerate(z.items()):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        reference |= geometry_report({m: noise})
        counts = neighbor_counts(x), neighbor_counts(noise)
        top = BINS * math.ceil(max(map(torch.max, counts)).item() / BINS)  # bins have whole edges
        drawn = (values, x, (m, color, False)), (reference, noise, (f"noise like {m}", color, True))
        for (found, own, how), of in zip(drawn, counts, strict=True):
            found[f"hubness/{m}"] = _skewness(of, min(NEIGHBORS, n - 1))
            shares = (spectrum := geometry.spectrum(own)) / spectrum.sum().clamp_min(TINY)
            shares = shares[shares > 1e-12]
            step = len(shares) // MOST_POINTS + 1
            points = range(1, len(shares) + 1, step), shares[::step].log10().tolist()
            curves["Spectrum"].append((*how, *points))
            curves["Hubness"].append(_histogram(*how, of, top))
    for color, (a, b) in enumerate(p for p in combinations(z, 2) if z[p[0]].shape == z[p[1]].shape):
        gap, gaps = values[f"modality_gap/{a}-{b}"], permuted_gaps(z[a], z[b])
        values[f"gap_p_value/{a}-{b}"] = (1 + int((gaps >= gap).sum())) / (1 + len(gaps))
        reference[f"modality_gap/{a}-{b}"] = gaps.quantile(0.95).item()
        swapped = _histogram(f"{a}-{b}, permuted", color, True, gaps, max(gap, gaps.max().item()) or 1)
        curves["Gap"] += [swapped, (f"{a}-{b}", color, False, [gap, gap], [0, max(swapped[-1])])]
        for own, how in ((z, (f"{a}-{b}", color, False)), (shuffled, (f"{a}-{b}, shuffled", color, True))):
            ranks, most = geometry.retrieval_ranks(own[a], own[b]), range(1, min(n, 50) + 1)
            curves["Retrieval"].append((*how, most, [(ranks <= k).double().mean().item() for k in most]))
            curves["Distances"].append(_histogram(*how, geometry.paired_distances(own[a], own[b]), 2))
    about = ", ".join(f"{m}: D = {x.shape[1]}" for m, x in z.items())
    about += f"; N = {n}" + (f", a random sample of {total} rows." if n < total else ".")
    return Measurement(about, values, reference, curves, radius)


def _histogram(name: str, color: int, dashed: bool, values: Tensor, high: float) -> Curve:
    shares = torch.histc(values.clamp(0, high), BINS, 0, high).repeat_interleave(2) / len(values)
    edges = torch.linspace(0, high, BINS + 1, dtype=torch.float64, device="cpu").repeat_interleave(2)
    return name, color, dashed, edges[1:-1].tolist(), shares.tolist()


def _ticks(values: Sequence[float]) -> list[float]:
    """Return about five round numbers that enclose the values."""
    low, high = min(values), max(values)
    rough = (high - low if high > low else 1) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(s * unit for s in (1, 2, 5, 10) if s * unit >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]


def chart(curves: Sequence[Curve], x_label: str, y_label: str, band: float = 0.0) -> str:
    """Return a figure in SVG, with a legend in HTML; x below ``band`` is shaded. Without points it is ""."""
    if not any(xs for *_, xs, _ in curves):
        return ""
    ticks = [_ticks([v for curve in curves for v in curve[axis]]) for axis in (3, 4)]

    def place(value: float, axis: int) -> float:
        share = (value - ticks[axis][0]) / (ticks[axis][-1] - ticks[axis][0])
        return round(50 + 400 * share if axis == 0 else 190 - 180 * share, 1)

    width = f"{place(band, 0) - 50:.1f}"
    shapes = [f'<rect class="band" x="50" y="10" width="{width}" height="180"/>'] * (band > 0)
    shapes += [f'<text x="{place(x, 0)}" y="207" text-anchor="middle">{x:.4g}</text>' for x in ticks[0]]
    for y in ticks[1]:
        shapes.append(f'<path class="grid" d="M50 {place(y, 1)}H450"/>')
        shapes.append(f'<text x="44" y="{place(y, 1) + 4}" text-anchor="end">{y:.4g}</text>')
    legend = []
    for name, color, dashed, xs, ys in curves:
        points = " ".join(f"{place(x, 0)},{place(y, 1)}" for x, y in zip(xs, ys, strict=True))
        look = f'class="c{color % 10}{" reference" * dashed}"'
        shapes.append(f'<polyline {look} points="{points}"/>')
        legend.append(f"<span><i {look}></i>{escape(name)}</span>")
    shapes.append(f'<text x="250" y="227" text-anchor="middle">{x_label}</text>')
    words = escape(f"{y_label} over {x_label}: {', '.join(name for name, *_ in curves)}")
    picture = f'<svg viewBox="0 0 480 232" role="img" aria-label="{words}">{"".join(shapes)}</svg>'
    return f"<figure>{picture}<figcaption>{y_label}: {''.join(legend)}</figcaption></figure>"


class GeometryTracker:
    """`geometry_report` of a stream of batches, in bounded memory, for a training or an evaluation loop.

    For example::

        tracker = GeometryTracker(radius=0.6)
        for batch in batches:
            tracker.update({"audio": za, "image": zv}, labels)
        print(tracker.report()["effective_rank/audio"])

    It keeps a uniform random sample of at most ``rows`` rows, the same in every modality. mean_cosine,
    paired_drift with its two parts, and modality_gap come from sums over all rows instead, so they are exact.
    The random numbers are its own, so training does not change. Under ``torch.distributed`` each process
    tracks its own rows. One thread at a time may use a tracker. To begin again, make a new one.
    """

    def __init__(self, rows: int = 2000, *, radius: float | None = None, seed: int = 0) -> None:
        check_whole(2, rows=rows)
        self.limit, self.radius, self.count = rows, radius, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.embeddings: dict[str, Tensor] = {}  # the sample, modality -> (N, D) float64, N <= rows
        self.labels: np.ndarray | None = None
        # A random number for each row; the smallest stay.
        self.keys = torch.empty(0, dtype=torch.float32, device="cpu")
        self.sums: dict[str, Tensor] = {}  # of the unit vectors
        self.products: dict[tuple[str, str], float] = {}  # sums of the inner products of pairs

    def update(self, embeddings: Arrays, labels: Given = None) -> None:
        """Add a batch, modality -> (B, D_m), with labels (B,) if earlier batches had them.

        Raises:
            ValueError: naming what is wrong with the batch, of which nothing is kept then.
        """
        batch = {m: z.cpu() for m, z in matrices(embeddings, min_samples=1).items()}
        old, new = ({m: z.shape[1] for m, z in own.items()} for own in (self.embeddings or batch, batch))
        if old != new or (self.count and (labels is None) != (self.labels is None)):
            raise ValueError(f"the batch has widths {new}, not {old}; keep them, and labels in all or none.")
        n, unit = len(next(iter(batch.values()))), {m: matrix(z, normalize=True) for m, z in batch.items()}
        if labels is not None:
            class_index(labels, n)
            labels = labels.detach().cpu().numpy() if torch.is_tensor(labels) else np.asarray(labels)
            labels = labels if self.labels is None else np.concatenate([self.labels, labels])
        self.count += n
        keys = torch.cat([self.keys, self.keys.new_empty(n).uniform_(generator=self.generator)])
        kept = keys.argsort()[: self.limit].sort().values
        self.keys, self.labels = keys[kept], None if labels is None else labels[kept.numpy()]
        for m, z in batch.items():
            self.embeddings[m] = torch.cat([self.embeddings.get(m, z[:0]), z])[kept]
            self.sums[m] = self.sums.get(m, 0.0) + unit[m].sum(dim=0)
        for a, b in combinations_with_replacement(old, 2):  # a later batch may have another order
            if old[a] == old[b]:
                product = (unit[a] * unit[b]).sum().item()
                self.products[a, b] = self.products.get((a, b), 0.0) + product

    def report(self) -> dict[str, float]:
        """Return `geometry_report` of the sample, with the exact means, and the number of all rows.

        Raises:
            ValueError: if fewer than two rows came.
        """
        report, n = geometry_report(self.embeddings, self.labels, self.radius), self.count
        for (a, b), product in self.products.items():
            if a == b:
                report[f"mean_cosine/{a}"] = (self.sums[a].square().sum().item() - product) / (n * (n - 1))
                continue
            gap = ((self.sums[a] - self.sums[b]) / n).square().sum().item()
            drift = max((self.products[a, a] + self.products[b, b] - 2 * product) / n, 0.0)
            exact = {"paired_drift": drift, "modality_gap": gap**0.5, "drift_gap_part": gap}
            exact["drift_sample_part"] = max(drift - gap, 0.0)
            report |= {f"{name}/{a}-{b}": value for name, value in exact.items()}
        return report | {"num_samples": float(n)}
