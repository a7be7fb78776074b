"""Kinetics-Sounds: videos of actions that one can hear, 31 classes in the published lists."""

from __future__ import annotations

from ..data.dataset import MultimodalDataset
from .audiovisual import dataset, opened, published_parts, reading


def load(
    seed: int = 0,
    *,
    variant: str = "lists",
    frames: int = 3,
    image_size: int | None = None,
    source: str = "official",
) -> MultimodalDataset:
    """Kinetics-Sounds with modalities ``audio`` (1, 129, 626) and ``visual`` (3, frames, size, size).

    Args:
        seed: nothing depends on it; the clips of each split are the same always.
        variant: "lists", the published lists with 31 classes, 14,799 training and 2,597 test clips less those
            that Kinetics lost; a stratified tenth of the training clips validates. "folders": all clips of
            the 33 classes that DGL's code reads, with Kinetics' validation clips to test.
        frames: T, how many frames of a clip are seen; with one, ``visual`` is (3, size, size). A clip is cut
            into T stretches, and each gives a random frame in training and its middle one in evaluation;
            DGL's code takes the first three in the order of a folder.
        image_size: 224 by default, or the size of the stored frames where they are smaller.
        source: "official", as `python -m data_scripts kinetics_sounds` prepared it, or "stand_in": generated
            clips in the same form, made when they are asked for (31 classes, variant "lists").

    The sound is five of ten seconds, random ones in training and the middle ones in evaluation, where DGL's
    code draws them too. They are cut from the ten seconds' spectrogram, so that its first and last column
    see the sound around them and not zeros.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` when it is not prepared.
    """
    from data_scripts import kinetics_sounds as script

    if variant not in script.VARIANTS:
        raise ValueError(f"variant={variant!r} is unknown: choose one of {', '.join(script.VARIANTS)}.")
    if source == "stand_in" and variant != "lists":
        raise ValueError(f"variant={variant!r} has no stand-ins: choose 'lists'.")
    options = "" if variant == "lists" else f" --variant {variant}"
    cache = opened("kinetics_sounds", source, script.VARIANTS[variant], options)
    how = reading(cache, frames, image_size, times=script.TIMES)
    return dataset(script.INFO, cache, how, published_parts(cache), source, {})
