"""Figures of the paper's benchmarks: clips as a model gets them, and the paper's Figures 2 and 3.

They use the output of ``experiments.benchmarks``: metrics, and one seed's embeddings of the test split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from geomreg_mini import plots
from geomreg_mini.geometry import cosine_contrast, ks_distance, retrieval_ranks

from .epochs import ARMS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geomreg_mini.data import MultimodalDataset

RATE = 8000  # Hz of the sound that is played
RANGE = 8.0  # nats below the loudest point of a drawn log spectrogram


def clips(data: MultimodalDataset, rows: Sequence[int], *, frames: int = 1) -> Figure:
    """Draw training clips as they are stored, one column each: frames above the log spectrogram.

    rows: positions in ``data.train``. frames: largest number per clip, evenly spread.
    """
    import matplotlib.pyplot as plt

    split, cache = data.train, data.train.cache
    fig, axes = plt.subplots(
        frames + 1, len(rows), figsize=(1.6 * len(rows), 1.25 * frames + 1.9), squeeze=False
    )
    for column, row in enumerate(rows):
        clip = int(split.factors["clip"][row])
        first, last = cache.first[clip], cache.first[clip + 1] - 1
        for k, position in enumerate(np.linspace(first, last, frames + 2)[1:-1].round().astype(int)):
            axes[k, column].imshow(cache.frames[position], aspect=1 / cache.aspects[clip])
        values = _coarse(cache.spectrograms[clip].astype(np.float32))
        axes[-1, column].imshow(values, origin="lower", aspect="auto", vmin=values.max() - RANGE)
        axes[0, column].set_title(data.class_names[int(split.labels[row])], fontsize=10)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    axes[-1, 0].set_ylabel("frequency")
    for ax in axes[-1]:
        ax.set_xlabel("time")
    return fig


def _coarse(values: np.ndarray, block: int = 4) -> np.ndarray:
    """Return means of square blocks, enough for a picture of this size and small in its file."""
    rows, columns = (size // block for size in values.shape)
    return values[: rows * block, : columns * block].reshape(rows, block, columns, block).mean(axis=(1, 3))


def sound(data: MultimodalDataset, clip: int) -> np.ndarray:
    """Return the first 1.5 s of a clip's sound, (12000,) float32 at 8 kHz, from the file that was prepared.

    clip: a position in the cache. Raises ``data_scripts.clips.ClipError`` if the file is missing or cannot be
    read.
    """
    from data_scripts.clips import read_sound

    cache = data.train.cache
    how = replace(cache.preprocessing, sample_rate=RATE)
    return read_sound(Path(cache.source, cache.files[clip][0]), how)[: int(1.5 * RATE)]


def listen(data: MultimodalDataset, rows: Sequence[int]) -> None:
    """Show players for training clips, or print one sentence if their files are missing.

    They last 1.5 s at 8 kHz, so that a notebook that stores them stays small.
    """
    from IPython.display import Audio, display

    from data_scripts.clips import ClipError

    for row in rows:
        try:
            samples = sound(data, int(data.train.factors["clip"][row]))
        except ClipError as error:
            print(f"Nothing to hear: {error}.")
            return
        print(data.class_names[int(data.train.labels[row])])
        display(Audio(samples, rate=RATE))


def similarity(embeddings: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> Figure:
    """Draw cross-modal cosines of pairs and of other rows, one panel per name, with Delta mu and KS distance.

    embeddings: name -> (a, b), paired rows (N, D). The paper calls the cosines of pairs positive and those of
    unpaired rows negative.
    """
    import matplotlib.pyplot as plt

    cosines = {name: _cosines(a, b) for name, (a, b) in embeddings.items()}
    low = min(float(values.min()) for both in cosines.values() for values in both)
    high = max(float(values.max()) for both in cosines.values() for values in both)
    bins = np.linspace(low, high, 41)
    fig, axes = plt.subplots(
        1, len(embeddings), figsize=(3.9 * len(embeddings), 3.5), sharey=True, squeeze=False
    )
    kinds = {"pairs": (plots.BLUE, "-"), "not pairs": (plots.ORANGE, "--")}
    for ax, (name, (a, b)) in zip(axes[0], embeddings.items(), strict=True):
        for values, (kind, (color, line)) in zip(cosines[name], kinds.items(), strict=True):
            ax.hist(values, bins=bins, density=True, color=color, alpha=0.25)
            ax.hist(
                values, bins=bins, density=True, color=color, histtype="step", lw=1.6, ls=line, label=kind
            )
        contrast, distance = cosine_contrast(a, b), ks_distance(a, b)
        ax.set_title(f"{name}\nΔμ {contrast:+.4f}, KS {distance:.3f}")
        ax.set_xlabel("cosine of audio and visual")
    axes[0, 0].set_ylabel("density")
    axes[0, 0].legend()
    return fig


def _cosines(a: torch.Tensor, b: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines (N,) of the pairs and (N (N - 1),) of all other rows."""
    matrix = F.normalize(a.double(), dim=1) @ F.normalize(b.double(), dim=1).T
    same = torch.eye(len(matrix), dtype=torch.bool)
    return matrix[same].numpy(), matrix[~same].numpy()


def retrieval(
    embeddings: Mapping[str, tuple[torch.Tensor, torch.Tensor]], *, ax: Axes | None = None
) -> Figure:
    """Draw R@k over k, the mean of both directions, one line per name, with chance, k / N.

    embeddings: name -> (a, b), paired rows (N, D). Raises ValueError if their numbers N differ.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(5.4, 3.8))
    sizes = {len(a) for a, _ in embeddings.values()}
    if len(sizes) != 1:
        raise ValueError(
            f"`embeddings` must have the same size, because R@k depends on it, got {sorted(sizes)} samples."
        )
    (n,) = sizes
    k = np.arange(1, n + 1)
    for (name, (a, b)), style in zip(
        embeddings.items(), plots.modality_style(embeddings).values(), strict=True
    ):
        ranks = np.sort(torch.cat([retrieval_ranks(a, b), retrieval_ranks(b, a)]).cpu().numpy())
        recall = np.searchsorted(ranks, k, side="right") / (2 * n)
        ax.plot(k, 100 * recall, color=style["color"], ls=style["linestyle"], label=name)
    ax.plot(k, 100 * k / n, color="#777777", lw=1, ls=":", label="chance")
    if n > 100:
        ax.axvline(100, color="#BBBBBB", lw=1)
        ax.text(100, 2, " k = 100", color="#777777")
    ax.set(xlabel=f"k, of {n} clips", ylabel="R@k (%)", ylim=(0, 100), xlim=(1, n))
    ax.legend()
    return ax.figure


def robustness(runs: pd.DataFrame, modalities: Sequence[str], *, paradigm: str = "dgl") -> Figure:
    """Draw fused test accuracy with growing noise on one input, and without that input; one panel each.

    runs: from ``benchmarks.load_runs``; the lines are means over seeds of each arm.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(modalities), figsize=(4.6 * len(modalities), 3.6), sharey=True)
    rows = runs[runs["paradigm"] == paradigm].groupby("arm").mean(numeric_only=True)
    arms = [arm for arm in ARMS if arm in rows.index]
    styles = plots.modality_style(arms)
    for ax, m in zip(np.atleast_1d(axes), modalities, strict=True):
        prefix = "test/accuracy_corrupted_"
        strengths = sorted(
            float(c.removeprefix(prefix).split("/")[0])
            for c in rows
            if c.startswith(prefix) and c.endswith(f"/{m}")
        )
        columns = [
            "test/accuracy/fused",
            *(f"{prefix}{s}/{m}" for s in strengths),
            f"test/accuracy_missing/{m}",
        ]
        for arm in arms:
            ax.plot(range(len(columns)), 100 * rows.loc[arm, columns], label=ARMS[arm], **styles[arm])
        ax.set_xticks(range(len(columns)), ["none", *map(str, strengths), "missing"])
        ax.set(xlabel=f"noise on {m} (standard deviations)", title=m)
    np.atleast_1d(axes)[0].set_ylabel("fused accuracy (%)")
    np.atleast_1d(axes)[-1].legend()
    return fig
