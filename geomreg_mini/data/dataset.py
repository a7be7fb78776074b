"""One shape for every data set: splits of paired modalities, and a fingerprint of their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_scripts.clip_cache import in_order
from data_scripts.fetch import DataError, DatasetInfo, data_root, load_arrays, named_folder
from data_scripts.stand_ins import NOTE

from .corruptions import Form

SOURCES = ("official", "stand_in")
READERS = 2  # threads that make batches ahead of time; each has up to four waiting
_unavailable: dict[tuple, str] = {}  # (prepared file, mirror) -> why; a process asks the internet once


@dataclass(frozen=True)
class Split:
    """N samples in every modality.

    ``inputs``: modality -> float32 or bytes (N, ...), images and spectrograms (N, 1, H, W), vectors (N, D).
    ``labels``: int64 (N,).
    ``factors``: other facts about each sample (speaker, true latent factor), name -> tensor (N, ...).
    ``generator``: of the random crops and the like of training; None in evaluation, which has none.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    factors: dict[str, Tensor] = field(default_factory=dict)
    generator: torch.Generator | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> dict[str, Any]:
        """Return the samples at ``index`` (B,), as ``{"inputs": {modality: (B, ...)}, "label", "index"}``."""
        inputs = {modality: values[index] for modality, values in self.inputs.items()}
        return {"inputs": inputs, "label": self.labels[index], "index": index}

    def augmented(self, generator: torch.Generator = torch.default_generator) -> Split:
        """Return the split for training; one with random crops and the like draws them by ``generator``."""
        return replace(self, generator=generator)

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the model's inputs for a batch's ``inputs``, some modalities or all, on the model's device.

        So batches of bytes are small in transfer: by default bytes become float32 in [0, 1] here.
        """
        return {m: x.float() / 255 if x.dtype == torch.uint8 else x for m, x in inputs.items()}

    def subset(self, index: Tensor) -> Split:
        """Return the split of the samples at ``index`` (B,) alone."""
        inputs = {modality: values[index] for modality, values in self.inputs.items()}
        factors = {name: values[index] for name, values in self.factors.items()}
        return replace(self, inputs=inputs, labels=self.labels[index], factors=factors)


@dataclass(frozen=True)
class MultimodalDataset:
    """A data set with its three splits and the facts that a reader must know about it.

    ``shapes``: modality -> shape of one sample. ``note``: one sentence that every use has to show, for
    example that embedded data stand in, or "". ``fingerprint``: see :func:`fingerprint`. ``forms``: modality
    -> spectrogram, picture or clip, if its input is one of them. ``corruptions``: kinds in
    ``geomreg_mini.data.corruptions`` that each record of this data set measures on the test split.
    """

    name: str
    modalities: tuple[str, ...]
    num_classes: int
    shapes: dict[str, tuple[int, ...]]
    train: Split
    validation: Split
    test: Split
    licence: str
    source: str
    note: str
    fingerprint: str
    class_names: tuple[str, ...]
    forms: dict[str, Form] = field(default_factory=dict)
    corruptions: tuple[str, ...] = ()


def fingerprint(train: Split, validation: Split, test: Split) -> str:
    """Return SHA-256 (hex) over the splits' inputs, labels and factors, with names, types and shapes."""
    digest = hashlib.sha256()
    for name, split in (("train", train), ("validation", validation), ("test", test)):
        tensors = {f"inputs/{modality}": values for modality, values in split.inputs.items()}
        tensors |= {f"factors/{factor}": values for factor, values in split.factors.items()}
        tensors["labels"] = split.labels
        for key in sorted(tensors):
            array = np.ascontiguousarray(tensors[key].numpy())
            digest.update(f"{name}/{key}/{array.dtype.str}/{array.shape}\0".encode())
            digest.update(array)
    return digest.hexdigest()


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of the samples; every beginning of it holds the classes in proportion.

    So a subset of 300 is part of the subset of 600 drawn with the same generator.
    """
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position[members] = (rng.permutation(len(members)) + 0.5) / len(members)
    return np.lexsort((rng.random(len(labels)), position))


def check_labels(labels: int | None, num_classes: int, available: int) -> int:
    """Return how many of ``available`` training samples to keep; raise ValueError for invalid ``labels``."""
    if labels is None:
        return available
    if isinstance(labels, bool) or not isinstance(labels, int) or not num_classes <= labels <= available:
        raise ValueError(
            f"labels must be None or an integer in [{num_classes}, {available}], got {labels!r}."
        )
    return labels


def check_noise(image_noise: float) -> float:
    """Return ``image_noise`` as a finite float >= 0; raise ``ValueError`` otherwise."""
    if not isinstance(image_noise, (int, float)) or not 0 <= image_noise < float("inf"):
        raise ValueError(f"image_noise must be a finite number >= 0, got {image_noise!r}.")
    return float(image_noise)


def tensor(array: np.ndarray) -> Tensor:
    """Return a float32 tensor with its own memory."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def prepared_arrays(script: ModuleType, *, required: bool = True) -> tuple[dict[str, np.ndarray] | None, str]:
    """Return the arrays that a data script prepares, and "". Fetch and prepare them first if necessary.

    If that fails, raise ``data_scripts.fetch.DataError``, or without ``required`` return None and the reason,
    which is remembered: later calls without ``required`` do not try again.
    """
    path, mirror = data_root() / script.INFO.prepared, named_folder("GEOMREG_MIRROR")
    arrays = load_arrays(path)
    if arrays is not None:
        return arrays, ""
    if not required and (path, mirror) in _unavailable:
        return None, _unavailable[path, mirror]
    try:
        return load_arrays(script.prepare(progress=False)), ""
    except DataError as error:
        if required:
            name = script.INFO.name
            raise DataError(
                f"The data set {name} is not prepared in {path.parent} and {error.brief}; run `python -m "
                f"data_scripts {name}`, which says more and gets it.",
                error.brief,
            ) from error
        _unavailable[path, mirror] = error.brief
        return None, error.brief


def batches(
    parts: Sequence[tuple[Split, Tensor]], device: torch.device, modalities: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the batch of each (split, index) with its prepared inputs on ``device``, in this order.

    Threads make batches ahead of time, while the caller computes. For a GPU they are put into pinned memory,
    from which copies overlap with its work. On a CPU, arrays in memory need no thread.

    Args:
        parts: splits and indices (B,) of the samples.
        device: of the inputs and labels.
        modalities: the inputs to prepare; by default all.
    """

    def read(part: tuple[Split, Tensor]) -> dict[str, Any]:
        batch = part[0].batch(part[1])
        inputs = {m: x for m, x in batch["inputs"].items() if modalities is None or m in modalities}
        if device.type == "cuda":
            inputs = {m: x.pin_memory() for m, x in inputs.items()}
        return {**batch, "inputs": inputs}

    needed = device.type == "cuda" or any(type(split) is not Split for split, _ in parts)
    threads = READERS if needed else 1
    for (split, _), batch in zip(parts, in_order(read, parts, threads), strict=True):
        inputs = {m: x.to(device, non_blocking=True) for m, x in batch["inputs"].items()}
        yield {**batch, "inputs": split.prepare(inputs), "label": batch["label"].to(device)}


# of a benchmark's files: the official ones that a script prepared, or generated stand-ins


def is_official(source: str) -> bool:
    """Return whether ``source`` is "official" and not "stand_in"; raise ``ValueError`` for any other."""
    if source not in SOURCES:
        raise ValueError(f"source={source!r} is unknown: choose one of {', '.join(SOURCES)}.")
    return source == "official"


def not_prepared(name: str, folder: Path, options: str = "") -> DataError:
    """Return the error for official files that are missing in ``folder``; ``options`` are the command's."""
    return DataError(
        f"{name} is not prepared in {folder}; run `python -m data_scripts {name}{options}`, or load it with "
        "source='stand_in' to try the code.",
        f"{name} is not prepared",
    )


def provenance(info: DatasetInfo, official: bool, used: int = 0, lost: int = 0) -> dict[str, str]:
    """Return the fields ``licence``, ``source`` and ``note`` of a data set.

    The note says how many of the ``used`` + ``lost`` samples are lost, that is missing or unreadable.
    """
    if official:
        note = f"{lost} of {used + lost} samples are missing or unreadable." if lost else ""
        return {"licence": info.licence, "source": info.source, "note": note}
    return {"licence": "CC0-1.0", "source": "generated, see data_scripts/stand_ins", "note": NOTE}


@cache
def say_once(note: str) -> None:
    """Print a note the first time that a process meets it."""
    print(note)
