"""Six feature views of handwritten digits: more than two modalities, on a CPU, in seconds."""

from collections.abc import Sequence

import numpy as np

from data_scripts import multiview_digits
from data_scripts.prepared import prepared_arrays

from ..inputs import check_whole
from .dataset import MultimodalDataset, provenance, split_arrays, stratified_parts

TRAIN, VALIDATION = 1400, 300  # of 2,000; the remaining 300 test


def load(
    seed: int = 0, *, labels: int | None = None, views: Sequence[str] | None = None
) -> MultimodalDataset:
    """Return UCI Multiple Features with its views as modalities.

    The views are vectors: ``fou`` of width 76 (Fourier coefficients), ``fac`` 216 (profile correlations),
    ``kar`` 64 (Karhunen-Loeve coefficients), ``pix`` 240 (pixel averages), ``zer`` 47 (Zernike moments) and
    ``mor`` 6 (morphology).

    ``seed`` fixes the stratified splits and the labelled subset; ``labels`` keeps that many training samples,
    in equal shares of the classes (None: all 1,400); ``views`` names two views or more (None: all six).
    Features are standardized one by one by the whole training split.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if the files cannot be
    obtained.
    """
    names = multiview_digits.VIEWS if views is None else tuple(views)
    if len(set(names)) != len(names) or len(names) < 2 or not set(names) <= set(multiview_digits.VIEWS):
        raise ValueError(f"views={views!r}: name two or more of {multiview_digits.VIEWS}, each once.")
    if labels is not None:
        check_whole(10, TRAIN, labels=labels)
    arrays, _ = prepared_arrays(multiview_digits)
    digit = arrays["labels"]
    parts = stratified_parts(digit, TRAIN, VALIDATION, seed)
    inputs = {view: _standardized(arrays[view], parts["train"]) for view in names}
    parts["train"] = parts["train"][:labels]  # every beginning of a stratified order is stratified
    return MultimodalDataset(
        name="multiview_digits",
        **split_arrays(parts, inputs, digit, sample=np.arange(len(digit))),
        **provenance(multiview_digits.INFO),
    )


def _standardized(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return ``values`` (N, D) with each feature's mean 0 and standard deviation 1 on the rows ``train``."""
    training = values[train].astype(np.float64)
    spread = training.std(axis=0)
    return ((values - training.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(np.float32)
