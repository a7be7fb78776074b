"""A watch at the wrist: seven shoulder exercises of ten people, seen by accelerometer and gyroscope."""

import numpy as np

from data_scripts import watch
from data_scripts.prepared import prepared_arrays

from ..inputs import check_choice
from .dataset import MultimodalDataset, provenance, split_arrays, stratified_order

FOLDS = 5  # disjoint pairs of people


def load(seed: int = 0, *, split: str = "people") -> MultimodalDataset:
    """The watch: windows of 2.56 s, (3, 128) each, of seven exercises; 3,605 windows of 140 recordings.

    Args:
        seed: chooses the people, and shuffles ``"random_windows"``.
        split: ``"people"``: pair ``seed % 5`` of people tests, the next pair validates, six people train.
            ``"random_windows"``: a fifth of all windows tests and another fifth validates. Then neighbors,
            which share half of their samples, are in different splits, and everyone's way of moving is known:
            the accuracy of a leak.

    The modalities are ``posture``, the slow part of the accelerometer, ``acceleration``, its fast part, and
    ``rotation``, the gyroscope: so the first two are views of one sensor. Each axis of each signal is
    standardized by mean and standard deviation of the training split. ``factors`` holds ``person``,
    ``recording`` and ``window``, its position among all.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if the files are not
    available.
    """
    check_choice(("people", "random_windows"), split=split)
    arrays, _ = prepared_arrays(watch)
    labels, window = arrays["labels"], np.arange(len(arrays["labels"]))
    if split == "people":
        role = (arrays["people"].astype(int) // 2 - seed) % FOLDS
    else:
        role = np.empty(len(labels), np.int64)
        role[stratified_order(labels, np.random.default_rng(seed))] = window * FOLDS // len(labels)
    parts = {"train": role > 1, "validation": role == 1, "test": role == 0}
    inputs = {}
    for signal in watch.SIGNALS:
        training = arrays[signal][parts["train"]].astype(np.float64)
        mean, std = (of(axis=(0, 2))[:, None].astype(np.float32) for of in (training.mean, training.std))
        inputs[signal] = (arrays[signal] - mean) / std
    factors = {"person": arrays["people"], "recording": arrays["recordings"], "window": window}
    return MultimodalDataset(
        name="watch",
        **split_arrays(parts, inputs, labels, **factors),
        **provenance(watch.INFO),
        class_names=tuple(arrays["class_names"].tolist()),
    )
