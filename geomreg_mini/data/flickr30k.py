"""Flickr30K: photographs and five captions each, in Karpathy's split, to find one by the other."""

from __future__ import annotations

from . import captioned
from .dataset import MultimodalDataset


def load(seed: int = 0, *, image_size: int | None = None, source: str = "official") -> MultimodalDataset:
    """29,000 images to train, 1,014 to validate and 1,000 to test, with modalities ``image`` and ``caption``.

    Args:
        seed: nothing depends on it; the split is the published one.
        image_size: pixels of an image's side, as it was prepared: 224 by default, 336 for ViT-L-14-336;
            stand-ins have 32 by default.
        source: "official", as `python -m data_scripts flickr30k` prepared it, or "stand_in": generated images
            of shapes in the same form, made when they are asked for; they are fewer.

    ``ValueError`` for a bad argument, ``data_scripts.fetch.DataError`` when it is not prepared.
    """
    return captioned.load("flickr30k", image_size=image_size, source=source)
