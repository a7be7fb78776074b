"""Figures of notebook 13 on images and captions: pictures, tables of recall, found images, and the gap."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from geomreg_mini import plots
from geomreg_mini.benchmarks.retrieval_metrics import KS
from geomreg_mini.geometry import drift_summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from geomreg_mini.benchmarks.captioned import CaptionedSplit

BEFORE = "before fine-tuning"
ARMS = {
    "baseline": "fine-tuned",
    "dispersion": "fine-tuned + dispersion",
    "anchoring": "fine-tuned + anchoring",
    "regularized": "fine-tuned + both terms",
}
DIRECTIONS = {"image-caption": "image to caption", "caption-image": "caption to image"}


def recall_table(runs: pd.DataFrame, prefix: str = "") -> pd.DataFrame:
    """Return test R@1, R@5 and R@10 both ways in percent, means over seeds, per arm and before training.

    runs: from ``benchmarks.load_runs``. prefix: "fold_" for the mean over folds.
    """
    import pandas as pd

    columns = {(label, f"R@{k}"): f"{prefix}R@{k}/{d}" for d, label in DIRECTIONS.items() for k in KS}
    rows = {BEFORE: [runs[f"test/zero_shot_{name}"].mean() for name in columns.values()]}
    for arm, label in ARMS.items():
        own = runs[runs["arm"] == arm]
        if len(own):
            rows[label] = [own[f"test/{name}"].mean() for name in columns.values()]
    frame = pd.DataFrame.from_dict(rows, orient="index") * 100
    return frame.set_axis(pd.MultiIndex.from_tuples(columns), axis=1)


def pictures(split: CaptionedSplit, rows: Sequence[int], captions: int = 2) -> Figure:
    """Draw images of a split at ``rows``, as they are stored, with their first captions below."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(rows), figsize=(2.3 * len(rows), 2.0 + 0.55 * captions))
    for ax, row in zip(axes, rows, strict=True):
        position = int(split.factors["image"][row])
        ax.imshow(split.cache.images[position])
        said = [textwrap.fill(text, 26) for text in split.cache.captions[position][:captions]]
        ax.set_xlabel("\n- - -\n".join(said), fontsize=9)
        plots.bare(ax)
    return fig


def found(
    split: CaptionedSplit, embeddings: Mapping[str, Tensor], rows: Sequence[int], count: int = 5
) -> Figure:
    """Draw the nearest images to the first caption of each image at ``rows``; its own image is framed.

    embeddings: {"image": (N, D), "caption": (N, D)} of the whole split and its first captions.
    """
    import matplotlib.pyplot as plt

    u, v = (F.normalize(embeddings[m].double(), dim=1) for m in ("image", "caption"))
    fig, axes = plt.subplots(
        len(rows), count + 1, figsize=(1.35 * (count + 2), 1.5 * len(rows)), squeeze=False
    )
    for line, row in zip(axes, rows, strict=True):
        position = int(split.factors["image"][row])
        caption = textwrap.fill(split.cache.captions[position][0], 24)
        line[0].text(0.98, 0.5, caption, ha="right", va="center", fontsize=9, transform=line[0].transAxes)
        line[0].axis("off")
        for k, other in enumerate((u @ v[row]).argsort(descending=True)[:count].tolist()):
            ax = line[k + 1]
            ax.imshow(split.cache.images[int(split.factors["image"][other])])
            plots.bare(ax)
            if other == row:
                for spine in ax.spines.values():
                    spine.set(visible=True, color=plots.VERMILION, linewidth=3)
    for k in range(count):
        axes[0, k + 1].set_title(f"{k + 1}.", fontsize=10, loc="center")
    return fig


def gap(embeddings: Mapping[str, tuple[Tensor, Tensor]], links: int = 40) -> Figure:
    """Draw images and captions on the unit sphere along the modality gap; one panel per name.

    embeddings: name -> (images, captions), paired rows (N, D). The horizontal axis runs from the mean image
    to the mean caption; the vertical one has the largest remaining variance. Some pairs are linked.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        1, len(embeddings), figsize=(3.7 * len(embeddings), 3.6), sharex=True, sharey=True, squeeze=False
    )
    styles = plots.modality_style(["images", "captions"])
    for ax, (name, pair) in zip(axes[0], embeddings.items(), strict=True):
        u, v = (F.normalize(z.double(), dim=1) for z in pair)
        middle, across = (u.mean(0) + v.mean(0)) / 2, F.normalize(v.mean(0) - u.mean(0), dim=0)
        rest = torch.cat([u - u.mean(0), v - v.mean(0)])
        rest = rest - (rest @ across)[:, None] * across
        up = torch.linalg.svd(rest, full_matrices=False)[2][0]
        up = up * up[up.abs().argmax()].sign()  # the sign of a singular vector is arbitrary
        places = [torch.stack([(z - middle) @ across, (z - middle) @ up], dim=1) for z in (u, v)]
        for a, b in zip(*(place[:links].tolist() for place in places), strict=True):
            ax.plot(*zip(a, b, strict=True), color=plots.INSIDE, lw=0.6, zorder=1)
        for place, (label, style) in zip(places, styles.items(), strict=True):
            ax.scatter(*place.T, color=style["color"], marker=style["marker"], s=14, label=label, lw=0)
        ax.set_title(f"{name}\ngap {drift_summary(u, v)['modality_gap']:.2f}")
        ax.set_xlabel("along the gap")
    axes[0, 0].set_ylabel("largest variance left")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig
