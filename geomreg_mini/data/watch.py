"""A watch at the wrist: seven shoulder exercises of ten people, seen by accelerometer and gyroscope."""

import numpy as np

from data_scripts import watch
from data_scripts.prepared import prepared_arrays

from ..inputs import check_choice
from .dataset import MultimodalDataset, provenance, split_arrays, stratified_order

FOLDS = 5  # disjoint pairs of people


def load(
    seed: int = 0, *, sensors: int = 3, split: str = "people", fold: int | None = None
) -> MultimodalDataset:
    """The watch: windows of 2.56 s, (3, 128) each, of seven exercises; 3,605 windows of 140 recordings.

    Args:
        seed: chooses the fold if ``fold`` is None, and shuffles ``"random_windows"``.
        sensors: 2 for ``accelerometer`` and ``gyroscope``. 3 for ``posture``, the slow part of the
            accelerometer, ``acceleration``, its fast part, and ``rotation``, the gyroscope: so the first two
            are views of one sensor.
        split: ``"people"``: two people test, two others validate, six train. ``"random_windows"``: a fifth of
            all windows tests and another fifth validates. Then neighbors, which share half of their samples,
            are in different splits, and everyone's way of moving is known: the accuracy of a leak.
        fold: 0 to 4, which pair of people tests; the next pair validates. By default ``seed % 5``.

    Each axis of each signal is standardized by mean and standard deviation of the training split. ``factors``
    holds ``person``, ``recording`` and ``window``, its position among all.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if the files are not
    available.
    """
    check_choice((2, 3), sensors=sensors)
    check_choice(("people", "random_windows"), split=split)
    fold = seed % FOLDS if fold is None else fold
    check_choice(range(FOLDS), fold=fold)
    arrays, _ = prepared_arrays(watch)
    labels, window = arrays["labels"], np.arange(len(arrays["labels"]))
    if split == "people":
        role = (arrays["people"].astype(int) // 2 - fold) % FOLDS
    else:
        role = np.empty(len(labels), np.int64)
        role[stratified_order(labels, np.random.default_rng(seed))] = window * FOLDS // len(labels)
    parts = {"train": role > 1, "validation": role == 1, "test": role == 0}
    inputs = {signal: arrays[signal] for signal in watch.SIGNALS}
    if sensors == 2:
        whole = inputs["posture"] + inputs["acceleration"]
        inputs = {"accelerometer": whole, "gyroscope": inputs["rotation"]}
    for signal, values in inputs.items():
        training = values[parts["train"]].astype(np.float64)
        mean, std = (of(axis=(0, 2))[:, None].astype(np.float32) for of in (training.mean, training.std))
        inputs[signal] = (values - mean) / std
    factors = {"person": arrays["people"], "recording": arrays["recordings"], "window": window}
    return MultimodalDataset(
        name="watch",
        **split_arrays(parts, inputs, labels, **factors),
        **provenance(watch.INFO),
        class_names=tuple(arrays["class_names"].tolist()),
    )
