"""Figures: one palette, one style, and alt text for every picture.

Every figure function draws into ``ax`` (or a new figure where it is None) and returns the Figure, so that a
cell reads ``plots.show(plots.spectrum(embeddings), alt="...")``. Embeddings are
``{modality: tensor (N, D)}``.
"""

from __future__ import annotations

import io
import sys
from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch

# Okabe & Ito (2008): distinct under the common color vision deficiencies. Yellow comes late, faint on white.
COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"]
BLUE, ORANGE, GREEN, VERMILION, PINK, SKY, YELLOW, BLACK = COLORS
INSIDE = "#9A9A9A"  # a pair inside the agreement band; one outside is vermilion
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
LINESTYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3))]


def modality_style(names) -> dict[str, dict]:
    """Color, marker and linestyle of each name, by position, so that no curve is told apart by color alone.

    ``"fused"`` is always black and solid and takes no position from the modalities.

    >>> modality_style(["audio", "image"])["image"]
    {'color': '#E69F00', 'marker': 's', 'linestyle': '--'}
    """
    styles, position = {}, 0
    for name in names:
        if name == "fused":
            styles[name] = {"color": BLACK, "marker": "*", "linestyle": "-"}
            continue
        k = position % (len(COLORS) - 1)
        styles[name] = {"color": COLORS[k], "marker": MARKERS[k % 7], "linestyle": LINESTYLES[k]}
        position += 1
    return styles


def use_style() -> None:
    """Set the course's look: readable on the web, light grid, the palette above.

    Starts from matplotlib's own defaults and, outside a window system, from a backend that needs none. So a
    reader's matplotlibrc, which may ask for LaTeX or a missing font, and MPLBACKEND change no figure.
    """
    matplotlib.rcdefaults()
    plt.switch_backend("module://matplotlib_inline.backend_inline" if _in_notebook() else "agg")
    plt.rcParams.update(
        {
            "figure.figsize": (6.4, 3.8),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "axes.grid": True,
            "grid.color": "#E3E3E3",
            "grid.linewidth": 0.8,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "image.cmap": "cividis",
        }
    )


def _in_notebook() -> bool:
    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None


def show(fig, alt: str) -> None:
    """Display ``fig`` as a PNG whose output metadata carries ``alt``, print ``alt`` below it, close it.

    The text stands below the picture as well because most notebook viewers drop the alt text of an output.
    Outside a notebook only the text is printed.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt is {alt!r}: describe in one sentence what the figure shows.")
    alt = " ".join(alt.split())
    if _in_notebook():
        from IPython.display import Markdown, display

        picture = io.BytesIO()
        fig.savefig(picture, format="png", bbox_inches="tight", pad_inches=0.1)
        display(
            {"image/png": picture.getvalue(), "text/plain": alt},
            metadata={"image/png": {"alt": alt}},
            raw=True,
        )
        display(Markdown(f"*{alt}*"))
    else:
        print(alt)
    plt.close(fig)


def embeddings_on_circle(
    embeddings, labels=None, *, radius=None, links=80, class_names=None, title=None, ax=None
):
    """Two-dimensional embeddings, one ring a modality, with lines between paired samples.

    Every embedding is normalized; the rings differ in size only so that they can be told apart. A radial line
    is a pair that agrees, a slanted one has drifted; with ``radius`` the pairs outside the agreement band are
    vermilion.

    embeddings: {modality: (N, 2)}. labels: (N,), the color of each sample. links: pairs drawn at most.
    """
    points = _normalized(embeddings, dimensions=2)
    fig, ax = _figure(ax, figsize=(4.6, 4.4))
    styles = modality_style(points)
    rings = _ring_sizes(points)
    _rings(ax, points)
    for a, b in pairwise(points):
        _link(ax, points[a], points[b], rings[a], rings[b], radius, links)
    for name, z in points.items():
        color = styles[name]["color"] if labels is None else _class_colors(labels)
        marker = styles[name]["marker"]
        ax.scatter(*(rings[name] * z.T), c=color, marker=marker, s=22, lw=0.3, edgecolor="white")
    _legend(ax, styles, labels, class_names, radius)
    ax.set(title=title or "")
    bare(ax)
    return fig


def pull_on_circle(embeddings, loss, *, title=None, ax=None):
    """Where a small step against the gradient of ``loss`` moves each two-dimensional embedding, as arrows.

    embeddings: {modality: (N, 2)}, one ring a modality as in ``embeddings_on_circle``. loss: maps such a dict
    to a scalar tensor. The longest arrow has a fixed length; a sample without an arrow is not moved. Thin
    lines join pairs.
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
    for a, b in pairwise(points):
        _link(ax, points[a], points[b], rings[a], rings[b], None, len(points[a]))
    ax.set(xlim=(-1.4, 1.4), ylim=(-1.25, 1.25), title=title or "")
    bare(ax)
    return fig


def embeddings_on_sphere(
    embeddings, labels=None, *, radius=None, links=60, class_names=None, title=None, ax=None
):
    """Three-dimensional embeddings on the unit sphere, with lines between paired samples as on the circle.

    embeddings: {modality: (N, 3)}. ax: a 3-d axes (``subplot_kw={"projection": "3d"}``) or None.
    """
    points = _normalized(embeddings, dimensions=3)
    fig, ax = _figure(ax, figsize=(5, 4.6), subplot_kw={"projection": "3d"})
    styles = modality_style(points)
    u, v = np.mgrid[0 : 2 * np.pi : 25j, 0 : np.pi : 13j]
    ax.plot_wireframe(np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v), color="#DDDDDD", lw=0.5)
    for a, b in pairwise(points):
        _link(ax, points[a], points[b], 1, 1, radius, links)
    for name, z in points.items():
        color = styles[name]["color"] if labels is None else _class_colors(labels)
        look = {"s": 20, "lw": 0.3, "edgecolor": "white", "depthshade": False}
        ax.scatter(*z.T, c=color, marker=styles[name]["marker"], **look)
    _legend(ax, styles, labels, class_names, radius)
    ax.set(title=title or "")
    ax.set_box_aspect((1, 1, 1))
    ax.set_axis_off()
    return fig


def spectrum(embeddings, *, title=None, ax=None):
    """Share of each singular value of the normalized, centered embeddings; the legend has the effective rank.

    A steep line is a collapsed modality: few directions carry everything. embeddings: {name: (N, D)}, where
    the names may be anything to compare, such as ``{"plain": z0, "regularized": z1}``; compare equal N only,
    since N caps the rank.
    """
    from geomreg_mini.geometry import effective_rank

    fig, ax = _figure(ax)
    styles = modality_style(embeddings)
    for name, z in _normalized(embeddings).items():
        values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
        share = values / max(values.sum(), np.finfo(float).tiny)
        share[share < 1e-6] = np.nan  # directions that are not used at all end the line
        rank = effective_rank(embeddings[name])
        label, index = f"{name} (effective rank {rank:.1f})", np.arange(1, len(share) + 1)
        ax.plot(index, share, label=label, ms=3.5, mfc="white", **styles[name])
    ax.set(xlabel="index of the singular value", ylabel="share of the sum", yscale="log", title=title or "")
    ax.legend()
    return fig


def drift_histogram(pairs, radius=None, *, title=None, ax=None):
    """Distances of paired normalized embeddings, with the agreement band shaded.

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
    ax.set(title=title or "", ylim=(0, 1.35 * ax.get_ylim()[1]))  # room for the legend
    ax.legend()
    return fig


def training_curves(history, quantity, *, splits=None, modalities=None, ylabel=None, title=None, ax=None):
    """One quantity over epochs: a color a modality; the last split is drawn strong, earlier ones thin.

    history: tidy DataFrame with the columns epoch, split, quantity, modality, value (``record.history``).
    """
    rows = history[history["quantity"] == quantity]
    if rows.empty:
        known = ", ".join(sorted(map(str, history["quantity"].unique())))
        raise ValueError(f"quantity {quantity!r} is not in this history: choose one of {known}.")
    splits = list(splits or rows["split"].unique())
    modalities = list(modalities or rows["modality"].unique())
    fig, ax = _figure(ax)
    for name, style in modality_style(modalities).items():
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


def gain_forest(table, *, unit="points", xlabel=None, title=None, ax=None):
    """Gains with their intervals, one row each; a filled marker means that the interval leaves zero out.

    table: DataFrame with the columns label, gain, low, high and, where it has groups to color, group.
    """
    groups = list(dict.fromkeys(table["group"])) if "group" in table else [None]
    styles = modality_style(groups)
    labels = list(dict.fromkeys(table["label"]))
    fig, ax = _figure(ax, figsize=(6.8, 1.0 + len(labels) * (0.16 + 0.14 * len(groups))))
    ax.axvline(0, color="#444444", lw=1)
    for k, group in enumerate(groups):
        rows = table if group is None else table[table["group"] == group]
        offset = 0.22 * (k - (len(groups) - 1) / 2)
        color, marker = styles[group]["color"], styles[group]["marker"]
        for row in rows.itertuples():
            y = labels.index(row.label) + offset
            clear = row.low > 0 or row.high < 0
            ax.plot([row.low, row.high], [y, y], color=color, lw=1.6)
            ax.plot(row.gain, y, marker, color=color, mfc=color if clear else "white", ms=6)
        if group is not None:
            ax.plot([], [], marker, color=color, label=str(group))
    ax.set(yticks=range(len(labels)), yticklabels=labels, title=title or "")
    ax.set_xlabel(xlabel or f"gain over the baseline ({unit}), with its interval")
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    if groups != [None]:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def gain_map(panels, *, rows, columns, scale=100, unit="points"):
    """Gains as a table of colored cells; bold with a frame where the interval leaves zero out.

    panels: title -> DataFrame with ``mean``, ``low``, ``high`` and the columns named in ``rows`` and
    ``columns``, one row a cell; a cell without a row stays empty. ``scale`` multiplies the values (100:
    shares become points). All panels share one symmetric color scale.
    """
    import seaborn as sns

    first = next(iter(panels.values()))
    down, across = (list(dict.fromkeys(map(tuple, first[names].to_numpy()))) for names in (rows, columns))
    limit = scale * max(table["mean"].abs().max() for table in panels.values())
    size = (2.4 + 1.15 * len(across), (0.9 + 0.62 * len(down)) * len(panels) + 0.3)
    fig, axes = plt.subplots(len(panels), figsize=size, squeeze=False)
    for ax, (title, table) in zip(axes[:, 0], panels.items(), strict=True):
        cells = scale * table.set_index([*rows, *columns])[["mean", "low", "high"]]
        grid = cells.reindex([(*row, *column) for row in down for column in across])  # what is missing is NaN
        mean, low, high = (grid[name].to_numpy().reshape(len(down), len(across)) for name in cells)
        sns.heatmap(mean, ax=ax, cmap="PuOr_r", center=0, vmin=-limit, vmax=limit, cbar=False)
        for y, x in np.argwhere(~np.isnan(mean)):
            gain_cell(ax, x, y, mean[y, x], low[y, x], high[y, x], dark=abs(mean[y, x]) > 0.6 * limit)
        ax.set_xticklabels([" ".join(map(str, column)) for column in across])
        ax.set_yticklabels([" ".join(map(str, row)).replace("_", " ") for row in down], rotation=0)
        ax.set_title(title)
        ax.tick_params(length=0)
    axes[-1, 0].set_xlabel(", ".join(columns).replace("_", " "))
    fig.colorbar(axes[0, 0].collections[0], ax=axes[:, 0].tolist(), label=f"gain ({unit})", shrink=0.6)
    return fig


def gain_cell(ax, x, y, mean, low, high, dark) -> None:
    """Write a gain and its interval into column ``x`` and row ``y`` of a map; NaN bounds leave it out."""
    clear = low > 0 or high < 0
    look = {"ha": "center", "va": "center", "color": "white" if dark else "black"}
    ax.text(x + 0.5, y + 0.36, f"{mean:+.1f}", fontsize=10, weight="bold" if clear else "normal", **look)
    if low == low:
        ax.text(x + 0.5, y + 0.72, f"[{low:+.1f}, {high:+.1f}]", fontsize=7.5, **look)
    if clear:
        frame = {"fill": False, "edgecolor": "black", "linewidth": 1.6}
        ax.add_patch(plt.Rectangle((x + 0.04, y + 0.06), 0.92, 0.88, **frame))


def _figure(ax, **options):
    """The figure of ``ax`` and ``ax``, both new where ``ax`` is None."""
    if ax is not None:
        return ax.figure, ax
    return plt.subplots(**options)


def _normalized(embeddings, dimensions=None) -> dict[str, np.ndarray]:
    """Unit rows as float64 arrays; zero rows stay zero."""
    out = {}
    for name, z in embeddings.items():
        z = z.detach().cpu().double().numpy() if hasattr(z, "detach") else np.asarray(z, dtype=float)
        if z.ndim != 2 or (dimensions and z.shape[1] != dimensions):
            wanted = f"(N, {dimensions or 'D'})"
            raise ValueError(f"embeddings[{name!r}] has shape {tuple(z.shape)}: this figure needs {wanted}.")
        out[name] = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return out


def _ring_sizes(points) -> dict[str, float]:
    """Size of each modality's ring. Embeddings have length one; different rings tell modalities apart."""
    return {name: 1 - 0.28 * k for k, name in enumerate(points)}


def _rings(ax, points) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    for ring in _ring_sizes(points).values():
        ax.plot(ring * np.cos(angle), ring * np.sin(angle), color="#C8C8C8", lw=1, zorder=0)


def bare(ax) -> None:
    """Equal scales, no ticks and no frame, for pictures and for positions on a circle."""
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _link(ax, a, b, ring_a, ring_b, radius, links) -> None:
    """Thin lines between the first ``links`` pairs, vermilion where the pair lies outside the band."""
    outside = np.linalg.norm(a - b, axis=1)[:links] > (2 if radius is None else radius)
    # One drawn line a color, broken by NaN between pairs: many single ones take most of a figure's time.
    ends = np.stack([ring_a * a[:links], ring_b * b[:links], np.full_like(a[:links], np.nan)], axis=1)
    for color, chosen in ((INSIDE, ~outside), (VERMILION, outside)):
        if chosen.any():
            ax.plot(*ends[chosen].reshape(-1, a.shape[1]).T, color=color, lw=0.7, alpha=0.7, zorder=1)


def _class_colors(labels) -> list:
    labels = np.asarray(labels)
    classes = sorted(set(labels.tolist()))
    colors = COLORS
    if len(classes) > len(COLORS):
        colors = plt.cm.viridis(np.linspace(0, 1, len(classes)))
    return [colors[classes.index(label)] for label in labels.tolist()]


def _legend(ax, styles, labels, class_names, radius) -> None:
    """Markers stand for modalities, colors for classes where there are labels, lines for pairs in a band."""
    for name, style in styles.items():
        color = style["color"] if labels is None else "#555555"
        ax.plot([], [], linestyle="", marker=style["marker"], color=color, label=name)
    if labels is not None and class_names is not None:
        kinds = sorted(set(np.asarray(labels).tolist()))
        for kind, color in zip(kinds, _class_colors(kinds), strict=True):
            ax.plot([], [], linestyle="", marker="o", color=color, label=str(class_names[kind]))
    if radius is not None:
        ax.plot([], [], color=INSIDE, lw=1, label="pair in the band")
        ax.plot([], [], color=VERMILION, lw=1, label="pair outside")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
