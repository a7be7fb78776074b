"""Figures: one palette, one style, and alt text for every picture.

Every figure function draws into ``ax`` (or a new figure if it is None) and returns the Figure, so that a
cell reads ``plots.show(plots.spectrum(embeddings), alt="...")``. Embeddings are
``{modality: tensor (N, D)}``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from data_scripts.extras import extra

from .geometry import Array, Arrays, Given, effective_rank, matrix

with extra("course"):
    import matplotlib
    import matplotlib.pyplot as plt
    from PIL import Image

if TYPE_CHECKING:
    from pandas import DataFrame

Axes = plt.Axes | None
Radius = float | None
Text = str | None
Points = dict[str, np.ndarray]  # modality -> (N, D)
# Okabe & Ito (2008): distinct under the common color vision deficiencies. Yellow comes late, faint on white.
COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"]
BLUE, ORANGE, GREEN, VERMILION, PINK, SKY, YELLOW, BLACK = COLORS
INSIDE = "#8A8A8A"  # a pair inside the agreement band; one outside is vermilion
# The last color, marker and line are those of the fused prediction.
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
LINESTYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), "-"]


def modality_style(names: Iterable) -> dict[Any, dict[str, Any]]:
    """Return color, marker and linestyle of each name by position, so that curves differ not only in color.

    ``"fused"`` is always black and solid and takes no position from the modalities.

    >>> modality_style(["audio", "image"])["image"]
    {'color': '#E69F00', 'marker': 's', 'linestyle': '--'}
    """
    positions, styles = count(), {}
    for name in names:
        k = -1 if name == "fused" else next(positions) % (len(COLORS) - 1)
        styles[name] = {"color": COLORS[k], "marker": MARKERS[k], "linestyle": LINESTYLES[k]}
    return styles


def use_style() -> None:
    """Set the course's look: readable on the web, light grid, the palette above.

    Starts from matplotlib's own defaults and, outside a window system, from a backend that needs none. So a
    reader's matplotlibrc, which may ask for LaTeX or a missing font, and MPLBACKEND change no figure.
    """
    matplotlib.rcdefaults()
    plt.switch_backend("module://matplotlib_inline.backend_inline" if _in_notebook() else "agg")
    plt.style.use(Path(__file__).with_name("plots.mplstyle"))
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=COLORS)


def _in_notebook() -> bool:
    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None


def show(fig: plt.Figure, alt: str) -> None:
    """Display ``fig`` as a PNG whose output metadata carries ``alt``, and close it.

    Most notebook viewers drop an output's alt text, so it also folds out below the picture: folded, it does
    not look for the reader. Outside a notebook only the text is printed.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt is {alt!r}: describe in one sentence what the figure shows.")
    alt = " ".join(alt.split())
    if _in_notebook():
        from IPython.display import Markdown, display

        forms = {"image/png": _png(fig), "text/plain": alt}
        display(forms, metadata={"image/png": {"alt": alt}}, raw=True)
        display(Markdown(f"<details><summary>The figure in words</summary>\n\n{alt}\n\n</details>"))
    else:
        print(alt)
    plt.close(fig)


def _png(fig: plt.Figure) -> bytes:
    """Return ``fig`` as a PNG: a drawing with a palette, a third as large, photographs with all colors."""
    full, out = io.BytesIO(), io.BytesIO()
    fig.savefig(full, format="png", bbox_inches="tight", pad_inches=0.1)
    picture = Image.open(full).convert("RGB")
    if picture.getcolors(2**13):
        picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(out, "png", optimize=True)
    return out.getvalue()


def embeddings_on_circle(
    embeddings: Arrays,
    labels: Given = None,
    *,
    radius: Radius = None,
    links: int = 80,
    title: Text = None,
    ax: Axes = None,
) -> plt.Figure:
    """Draw two-dimensional embeddings, one ring per modality, with lines between paired samples.

    Every embedding is normalized; the rings differ in size only to keep modalities apart. A radial line is a
    pair that agrees, a slanted one has drifted. With ``radius``, pairs outside the agreement band are
    vermilion.

    embeddings: {modality: (N, 2)}. labels: (N,), the color of each sample. links: most pairs to draw.
    """
    points = _normalized(embeddings, dimensions=2)
    fig, ax = _figure(ax, figsize=(4.6, 4.4))
    _rings(ax, points)
    _link(ax, points, _ring_sizes(points), radius, links)
    _samples(ax, points, _ring_sizes(points), labels, radius, s=22)
    ax.set(title=title or "")
    bare(ax)
    return fig


def pull_on_circle(
    embeddings: Arrays, loss: Callable[..., torch.Tensor], *, title: Text = None, ax: Axes = None
) -> plt.Figure:
    """Draw the movement of two-dimensional embeddings in a small step against ``loss``'s gradient, as arrows.

    embeddings: {modality: (N, 2)}, one ring per modality as in ``embeddings_on_circle``. loss: maps such a
    dict to a scalar tensor. The longest arrow has a fixed length; a sample without an arrow does not move.
    Thin lines join pairs.
    """
    points = _normalized(embeddings, dimensions=2)
    fig, ax = _figure(ax, figsize=(4.2, 4.4))
    leaves = {name: torch.tensor(z, requires_grad=True) for name, z in points.items()}
    loss({name: torch.nn.functional.normalize(z, dim=1) for name, z in leaves.items()}).backward()
    steps = {name: -z.grad.numpy() for name, z in leaves.items() if z.grad is not None}
    longest = max([1e-300, *(np.linalg.norm(step, axis=1).max() for step in steps.values())])
    styles, rings = modality_style(points), _ring_sizes(points)
    _rings(ax, points)
    for name, step in steps.items():
        moved = np.linalg.norm(step, axis=1) > 1e-9 * longest
        arrows = 0.42 * step[moved] / longest
        look = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.009}
        ax.quiver(*(rings[name] * points[name][moved]).T, *arrows.T, color=styles[name]["color"], **look)
    for name, z in points.items():
        color, marker = styles[name]["color"], styles[name]["marker"]
        ax.scatter(*(rings[name] * z).T, color=color, marker=marker, s=42, label=name, zorder=3)
    _link(ax, points, rings, None, None)
    ax.set(xlim=(-1.4, 1.4), ylim=(-1.25, 1.25), title=title or "")
    bare(ax)
    return fig


def embeddings_on_sphere(
    embeddings: Arrays,
    labels: Given = None,
    *,
    radius: Radius = None,
    links: int = 60,
    title: Text = None,
    ax: Axes = None,
) -> plt.Figure:
    """Draw three-dimensional embeddings on the unit sphere, with lines between paired samples.

    embeddings: {modality: (N, 3)}. ax: a 3-d axes (``subplot_kw={"projection": "3d"}``) or None.
    """
    points = _normalized(embeddings, dimensions=3)
    fig, ax = _figure(ax, figsize=(5, 4.6), subplot_kw={"projection": "3d"})
    u, v = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    ax.plot_wireframe(np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v), color="#DDDDDD", lw=0.5)
    _link(ax, points, dict.fromkeys(points, 1.0), radius, links)
    _samples(ax, points, dict.fromkeys(points, 1.0), labels, radius, s=20, depthshade=False)
    ax.set(title=title or "", box_aspect=(1, 1, 1))
    ax.set_axis_off()
    return fig


def spectrum(embeddings: Arrays, *, title: Text = None, ax: Axes = None) -> plt.Figure:
    """Draw the share of each singular value of normalized, centered embeddings, with the effective rank.

    A steep line is a collapsed modality: few directions carry everything. embeddings: {name: (N, D)}, of any
    names to compare, such as ``{"plain": z0, "regularized": z1}``. Compare equal N only, since N caps the
    rank.
    """
    fig, ax = _figure(ax)
    styles = modality_style(embeddings)
    for name, z in _normalized(embeddings).items():
        values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
        share = values / max(values.sum(), np.finfo(float).tiny)
        share[share < 1e-6] = np.nan  # unused directions end the line
        rank = effective_rank(embeddings[name])
        label, index = f"{name} (effective rank {rank:.1f})", np.arange(1, len(share) + 1)
        ax.plot(index, share, label=label, ms=3.5, mfc="white", **styles[name])
    ax.set(xlabel="index of the singular value", ylabel="share of the sum", yscale="log", title=title or "")
    ax.legend()
    return fig


def drift_histogram(
    pairs: Mapping[str, tuple[Array, Array]], radius: Radius = None, *, title: Text = None, ax: Axes = None
) -> plt.Figure:
    """Draw the distances of paired normalized embeddings, with the agreement band shaded.

    pairs: {name: (a, b)} with a, b (N, D). radius: outer edge of the band, in [0, 2]; None draws no band.
    """
    fig, ax = _figure(ax)
    bins = np.linspace(0, 2, 51)
    if radius is not None:
        ax.axvspan(0, radius, color=GREEN, alpha=0.13, lw=0, label=f"agreement band (radius {radius:g})")
    styles = modality_style(pairs)
    for name, (a, b) in pairs.items():
        z = _normalized({"a": a, "b": b})
        distance = np.linalg.norm(z["a"] - z["b"], axis=1)
        label = name if radius is None else f"{name}: {100 * (distance > radius).mean():.0f} % outside"
        color, line = styles[name]["color"], styles[name]["linestyle"]
        ax.hist(distance, bins=bins, color=color, alpha=0.25, histtype="stepfilled")
        ax.hist(distance, bins=bins, color=color, histtype="step", lw=1.6, linestyle=line, label=label)
    ax.set(xlabel="distance of the pair on the unit sphere (0 to 2)", ylabel="pairs", xlim=(0, 2))
    ax.set(title=title or "", ylim=(0, 1.35 * ax.get_ylim()[1]))  # space for the legend
    ax.legend()
    return fig


def training_curves(
    history: DataFrame,
    quantity: str,
    *,
    modalities: Sequence[str] | None = None,
    ylabel: Text = None,
    title: Text = None,
    ax: Axes = None,
) -> plt.Figure:
    """Draw one quantity over epochs, one color per modality; the last split is strong, earlier ones thin.

    history: tidy DataFrame with the columns epoch, split, quantity, modality, value (``record.history``).
    """
    rows = history[history["quantity"] == quantity]
    if rows.empty:
        known = ", ".join(sorted(map(str, history["quantity"].unique())))
        raise ValueError(f"quantity {quantity!r} is not in this history: choose one of {known}.")
    splits = list(rows["split"].unique())
    fig, ax = _figure(ax)
    for name, style in modality_style(modalities or rows["modality"].unique()).items():
        for split in splits:
            line = rows[(rows["split"] == split) & (rows["modality"] == name)].sort_values("epoch")
            strong = split == splits[-1]
            look = {**style, "lw": 1.8 if strong else 1.0, "alpha": 1.0 if strong else 0.55}
            look["marker"] = style["marker"] if strong else ""
            parts = [str(name)] if name else []
            parts += [split] if len(splits) > 1 or not parts else []
            if not line.empty:
                ax.plot(line["epoch"], line["value"], label=", ".join(parts), **look)
    ax.set(xlabel="epoch", ylabel=ylabel or quantity.replace("_", " "), title=title or "")
    ax.legend()
    return fig


def _figure(ax: Axes, **options: Any) -> tuple[plt.Figure, plt.Axes]:
    """Return the figure of ``ax`` and ``ax``; create both if ``ax`` is None."""
    return plt.subplots(**options) if ax is None else (ax.figure, ax)


def _normalized(embeddings: Arrays, dimensions: int | None = None) -> Points:
    """Return unit rows as float64 arrays; zero rows stay zero."""
    out = {}
    for name, z in embeddings.items():
        out[name] = matrix(z, f"embeddings[{name!r}]", normalize=True).cpu().numpy()
        if dimensions and out[name].shape[1] != dimensions:
            raise ValueError(f"embeddings[{name!r}] has shape {out[name].shape}: give (N, {dimensions}).")
    return out


def _ring_sizes(points: Points) -> dict[str, float]:
    """Return the radius of each modality's ring. Embeddings have length one; rings keep modalities apart."""
    return {name: 1 - 0.28 * k for k, name in enumerate(points)}


def _rings(ax: plt.Axes, points: Points) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    for ring in _ring_sizes(points).values():
        ax.plot(ring * np.cos(angle), ring * np.sin(angle), color="#C8C8C8", lw=1, zorder=0)


def bare(ax: plt.Axes) -> None:
    """Set equal scales and remove ticks and frame, for pictures and for positions on a circle."""
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _link(
    ax: plt.Axes, points: Points, rings: Mapping[str, float], radius: Radius, links: int | None
) -> None:
    """Draw thin lines between the first ``links`` pairs, vermilion if the pair lies outside the band."""
    for first, second in pairwise(points):
        a, b = points[first][:links], points[second][:links]
        outside = np.linalg.norm(a - b, axis=1) > (2 if radius is None else radius)
        # One line per color, broken by NaN between pairs: many single lines take most of a figure's time.
        ends = np.stack([rings[first] * a, rings[second] * b, np.full_like(a, np.nan)], axis=1)
        for color, pairs in ((INSIDE, ~outside), (VERMILION, outside)):
            if pairs.any():
                ax.plot(*ends[pairs].reshape(-1, a.shape[1]).T, color=color, lw=0.7, alpha=0.7, zorder=1)


def _samples(
    ax: plt.Axes, points: Points, rings: Mapping[str, float], labels: Given, radius: Radius, **look: Any
) -> None:
    """Draw a marker per sample, in the color of its class or else of its modality, with a legend."""
    for name, style in modality_style(points).items():
        marker, color = style["marker"], style["color"] if labels is None else "#555555"
        look["c"] = color if labels is None else _class_colors(labels)
        ax.scatter(*(rings[name] * points[name].T), marker=marker, lw=0.3, edgecolor="white", **look)
        ax.plot([], [], linestyle="", marker=marker, color=color, label=name)
    if radius is not None:
        ax.plot([], [], color=INSIDE, lw=1, label="pair in the band")
        ax.plot([], [], color=VERMILION, lw=1, label="pair outside")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def _class_colors(labels: Array) -> list:
    classes, index = np.unique(np.asarray(labels), return_inverse=True)
    colors = COLORS if len(classes) <= len(COLORS) else plt.cm.viridis(np.linspace(0, 1, len(classes)))
    return [colors[i] for i in index]
