"""COCO: photographs and their captions in Karpathy's split, to find one by the other."""

from __future__ import annotations

from . import captioned
from .dataset import MultimodalDataset

FOLDS = 5  # of the test split: papers report it whole (5K) and as a mean over fifths (1K)


def load(seed: int = 0, *, image_size: int | None = None, source: str = "official") -> MultimodalDataset:
    """113,287 images to train, 5,000 to validate and 5,000 to test; all else as in :mod:`.flickr30k`."""
    return captioned.load("coco", image_size=image_size, source=source, folds=FOLDS)
