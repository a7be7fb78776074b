"""CREMA-D: acted sentences heard and seen, six emotions, in the published split and in one by speakers."""

from __future__ import annotations

import numpy as np
import torch

from ..data.dataset import MultimodalDataset
from .audiovisual import dataset, open_prepared, published_parts, reading

SPLITS = ("community", "speaker_disjoint")
FOLDS = 10


def load(
    seed: int = 0,
    *,
    split: str = "community",
    frames: int = 1,
    image_size: int | None = None,
    source: str = "official",
) -> MultimodalDataset:
    """CREMA-D with modalities ``audio`` (1, 257, 188) and ``visual`` (3, image_size, image_size).

    Args:
        seed: picks the test speakers of ``speaker_disjoint``; nothing else depends on it.
        split: "community", the files that the published comparisons share: 6,698 clips to train and 744 to
            test. All 91 speakers stand on both sides, and those comparisons have no validation clips; here a
            stratified tenth of the training clips, the same for every seed, validates.
            "speaker_disjoint": the speakers in ten groups; group ``seed % 10`` tests, the next one validates,
            the others train, so that ten seeds test everybody once.
        frames: T, how many frames of a clip are seen; with more than one, ``visual`` is (3, T, H, W). The
            published code means to draw its one frame and takes the first one listed; here it is drawn in
            training and the middle one in evaluation.
        image_size: 224 by default, or the size of the stored frames where they are smaller.
        source: "official", as `python -m data_scripts crema_d` prepared it, or "stand_in": generated clips
            in the same form, made when they are asked for.

    ``factors``: ``clip``, positions in the cache; ``speaker`` and ``sentence``, numbers in the order of their
    sorted names.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` when it is not prepared.
    """
    from data_scripts import crema_d as script

    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown: choose one of {', '.join(SPLITS)}.")
    cache = open_prepared("crema_d", source)
    how = reading(cache, frames, image_size)
    speakers, speaker = np.unique(cache.groups, return_inverse=True)
    _, sentence = np.unique([name.split("_")[1] for name in cache.names], return_inverse=True)
    parts = published_parts(cache) if split == "community" else _speaker_parts(len(speakers), speaker, seed)
    return dataset(
        script.INFO,
        cache,
        how,
        parts,
        source,
        {"speaker": torch.from_numpy(speaker), "sentence": torch.from_numpy(sentence)},
    )


def _speaker_parts(speakers: int, speaker: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Positions of the clips of each split's speakers; ``speaker`` (N,) numbers the clips' speakers."""
    groups = np.array_split(np.random.default_rng(0).permutation(speakers), FOLDS)
    test, validation = groups[seed % FOLDS], groups[(seed + 1) % FOLDS]
    return {
        "train": np.flatnonzero(~np.isin(speaker, [*test, *validation])),
        "validation": np.flatnonzero(np.isin(speaker, validation)),
        "test": np.flatnonzero(np.isin(speaker, test)),
    }
