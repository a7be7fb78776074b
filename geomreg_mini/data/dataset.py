"""One shape for every data set: splits of paired modalities, and a fingerprint of their contents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from data_scripts.clip_cache import in_order
from data_scripts.fetch import DatasetInfo
from data_scripts.output import say
from data_scripts.stand_ins import NOTE

from .corruptions import Form

T = TypeVar("T")
SPLITS = ("train", "validation", "test")
Own = Mapping[str, Any]  # modality -> array-like (N, ...), and "labels" -> (N,)
READERS = 2  # threads that make batches ahead of time; each has up to four waiting


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

    def read(self, index: Tensor) -> dict[str, Tensor]:
        """Return the inputs of the samples at ``index`` (B,), modality -> (B, ...)."""
        return {modality: values[index] for modality, values in self.inputs.items()}

    def batch(self, index: Tensor) -> dict[str, Any]:
        """Return the samples at ``index`` (B,), as ``{"inputs": {modality: (B, ...)}, "label", "index"}``."""
        return {"inputs": self.read(index), "label": self.labels[index], "index": index}

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


@dataclass(frozen=True, kw_only=True)
class MultimodalDataset:
    """A data set with its three splits and the facts that a reader must know about it.

    ``shapes``: modality -> shape of one sample. ``note``: one sentence that every use has to show, for
    example that embedded data stand in, or "". ``fingerprint``: see :func:`fingerprint`. ``forms``: modality
    -> spectrogram, picture or clip, if its input is one of them. ``corruptions``: kinds in
    ``geomreg_mini.data.corruptions`` that each record of this data set measures on the test split. By default
    modalities, shapes, classes and fingerprint are those of the splits.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    modalities: tuple[str, ...] = ()
    num_classes: int = 0
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    licence: str = "not stated"
    source: str = "own arrays"
    note: str = ""
    fingerprint: str = ""
    class_names: tuple[str, ...] = ()
    forms: dict[str, Form] = field(default_factory=dict)
    corruptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parts = [getattr(self, name) for name in SPLITS]
        for name, default in {
            "shapes": lambda: {m: tuple(x.shape[1:]) for m, x in self.train.inputs.items()},
            "modalities": lambda: tuple(self.shapes),
            "num_classes": lambda: len(self.class_names) or 1 + max(int(s.labels.max()) for s in parts),
            "class_names": lambda: tuple(map(str, range(self.num_classes))),
            "fingerprint": lambda: fingerprint(*parts),
        }.items():
            if not getattr(self, name):
                object.__setattr__(self, name, default())

    @classmethod
    def from_arrays(
        cls, *, train: Own, validation: Own, test: Own, allow_equal: bool = False, **facts: Any
    ) -> MultimodalDataset:
        """Return a data set of your own arrays, each split as modality -> (N, ...) and "labels" -> (N,).

        From arrays to the record of a training::

            import numpy as np
            from geomreg_mini.data import MultimodalDataset
            from geomreg_mini.training import TrainConfig, fit

            draw, splits = np.random.default_rng(0).normal, {}
            for name, n in {"train": 90, "validation": 30, "test": 30}.items():
                splits[name] = {"audio": draw(size=(n, 8)), "image": draw(size=(n, 1, 8, 8))}
                splits[name]["labels"] = np.arange(n) % 3
            record = fit(TrainConfig("mine"), data=MultimodalDataset.from_arrays(**splits), progress=False)

        Samples are vectors (N, D), signals (N, C, T) or images (N, C, H, W); bytes stand for [0, 1], all else
        becomes float32. A sample that lacks a modality has a row of NaN there. No training takes a mask per
        sample yet, so such rows become zeros; ``note`` says how many, and ``factors["present/MODALITY"]``
        marks the others.

        Args:
            train, validation, test: arrays, tensors or nested lists; labels are integers 0 .. C - 1.
            allow_equal: whether a row may occur in two splits, such as the text of a caption. By default it
                is an error, because most often a sample has leaked.
            facts: fields of the data set: ``name``, ``class_names``, ``licence``, ``source``, ``forms``, ...

        Raises:
            ValueError: naming split, modality and row of a fault.
        """
        if unknown := set(facts) - {f.name for f in fields(cls)}:
            raise ValueError(f"own data have no option {min(unknown)!r}; name a field of MultimodalDataset.")
        for name in ("modalities", "class_names", "corruptions"):
            if isinstance(facts.get(name), str):
                raise ValueError(f"{name}={facts[name]!r} is one text; pass a list of texts.")
        splits = {}
        for name, arrays in {"train": train, "validation": validation, "test": test}.items():
            if not isinstance(arrays, Mapping):
                raise ValueError(f"{name} is a {type(arrays).__name__}; pass a dict, modality -> array.")
            arrays = {m: arrays[m] for m in (*train, *arrays) if m in arrays}  # in the order of train
            splits[name] = _own_split(name, arrays)
        kinds = {s: {m: (x.dtype, *x.shape[1:]) for m, x in splits[s].inputs.items()} for s in splits}
        if any(own != kinds["train"] for own in kinds.values()):
            raise ValueError(f"the splits differ in modalities, types or shapes: {kinds}; make them equal.")
        if not allow_equal:
            _refuse_leaks(splits)
        if gaps := sum(int((~x).sum()) for split in splits.values() for x in split.factors.values()):
            of = ", ".join(sorted({key[len("present/") :] for s in splits.values() for key in s.factors}))
            facts = {"note": f"Zeros stand for {gaps} missing rows ({of}): training takes no mask.", **facts}
            say_once(facts["note"])
        names = tuple(map(str, facts.get("class_names", ())))
        data = {"name": "own", **splits, **facts, "class_names": names}
        known, last = set(splits["train"].labels.tolist()), max(int(s.labels.max()) for s in splits.values())
        classes = facts.get("num_classes") or len(names) or last + 1  # may be billions
        if len(known) != classes or last >= classes or len(set(names)) < len(names):
            raise ValueError(
                f"train has {len(known)} of {classes} classes, and labels go up to {last}; number "
                "the classes of train from 0 without gaps, and give each a name of its own, or none."
            )
        return cls(**data)

    @classmethod
    def from_npz(cls, path: str | Path, **options: Any) -> MultimodalDataset:
        """Return ``from_arrays`` of an npz file with arrays "train_audio", "train_labels", "test_audio", ...

        A slash may replace the underscore, and an array "class_names" may name the classes. ``options`` are
        those of ``from_arrays``. Raises ``ValueError`` naming the file and its fault; nothing is unpickled.
        """
        arrays, splits = read_npz(path), {name: {} for name in SPLITS}
        options = {"name": Path(path).stem, "source": Path(path).name, **options}
        if "class_names" in arrays:
            options = {"class_names": np.ravel(arrays.pop("class_names")).astype(str).tolist(), **options}
        for key, array in arrays.items():
            if not (parts := re.fullmatch(rf"({'|'.join(SPLITS)})[_/](.+)", key)):
                raise ValueError(f"{path} has an array {key!r}; name each SPLIT_MODALITY, split of {SPLITS}.")
            splits[parts[1]][parts[2]] = array
        return cls.from_arrays(**splits, **options)

    @classmethod
    def from_folder(cls, path: str | Path, **options: Any) -> MultimodalDataset:
        """Return ``from_arrays`` of files ``SPLIT/CLASS/SAMPLE.MODALITY.npy``, one per sample and modality.

        For example ``train/cat/0001.audio.npy`` and ``train/cat/0001.image.npy``. Classes are numbered in the
        order of their names, samples sorted by class and name. The file of a missing modality is absent; one
        of bytes is read as [0, 1]; names that begin with a dot are left out. ``options`` are those of
        ``from_arrays``. Raises ``ValueError`` naming the file and its fault; nothing is unpickled.
        """
        found, splits = sorted(Path(path).glob("[!.]*/[!.]*/[!.]*.[nN][pP][yY]")), {}
        files = {(*file.parts[-3:-1], *file.stem.rpartition(".")[::2]): file for file in found}
        if {key[0] for key in files} != set(SPLITS) or not all(key[2] for key in files):
            raise ValueError(f"{path} needs files SPLIT/CLASS/SAMPLE.MODALITY.npy, with splits {SPLITS}.")
        classes = sorted({key[1] for key in files if key[0] == "train"})
        if lost := {key[1] for key in files}.difference(classes):
            raise ValueError(f"{path} has no file of class {min(lost)!r} in train; each class must be there.")
        for name in SPLITS:
            samples = sorted({key[1:3] for key in files if key[0] == name})
            splits[name] = {"labels": np.array([classes.index(own) for own, _ in samples], dtype=int)}
            for m in sorted({key[3] for key in files}):
                shape = _load(next(file for key, file in files.items() if key[3] == m)).shape
                splits[name][m] = rows = np.full((len(samples), *shape), np.nan, np.float32)
                for row, sample in zip(rows, samples, strict=True):
                    if file := files.get((name, *sample, m)):
                        row[...] = _load(file, shape)
        return cls.from_arrays(**splits, **{"name": Path(path).name, "class_names": classes, **options})


def numbers(values: Any, name: str) -> Tensor:
    """Return a tensor as it is, or any other array-like of real numbers as a new one, mostly of float64.

    Raises ``ValueError`` that begins with ``name``, for example for objects, text and rows of unequal length.
    """
    try:
        if isinstance(values, (list, tuple)) and any(map(torch.is_tensor, values)):
            values = torch.stack(list(values))
        if torch.is_tensor(values) and not values.is_meta:
            return values.detach().to_dense()
        # A column of a table is an array of objects, with an array for each row.
        array = np.asarray(x.tolist() if (x := np.asarray(values)).dtype == object and x.ndim == 1 else x)
        if array.dtype.kind not in "biufc" or np.ma.is_masked(values):
            raise TypeError(f"{array.dtype} array")
        kept = array.dtype.name in ("uint8", "float32", "complex64", "complex128")
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("=") if kept else float))
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"{type(values).__name__} {getattr(values, 'dtype', '')}".rstrip()
        raise ValueError(f"{name} is a {kind}; pass real numbers in rows of equal size, no gaps.") from error


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name; raise ``ValueError`` for any other file or for objects."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; give the path of an npz file.") from None
    except Exception as error:  # numpy and zipfile raise many kinds
        kind = "holds Python objects" if "Object arrays" in str(error) else "is not a readable npz file"
        raise ValueError(f"{path} {kind}; write arrays of numbers by numpy.savez.") from error


def _load(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return the array of an npy file, bytes divided by 255; raise ``ValueError`` unless it has ``shape``."""
    try:
        if (array := np.load(path, allow_pickle=False)).dtype.kind not in "biuf":
            raise TypeError(f"{array.dtype} array")
        array = array / 255 if array.dtype == np.uint8 else array.astype(np.float32)
    except Exception as error:  # as in `read_npz`
        raise ValueError(f"{path} is not a readable array of numbers; write it by numpy.save.") from error
    if array.shape != (shape or array.shape):
        raise ValueError(f"{path} has shape {array.shape}, but other samples have {shape}; make them equal.")
    return array


def _own_split(name: str, arrays: Own) -> Split:
    """Return the split of a caller's arrays, with ``present/MODALITY`` for each modality that has gaps."""
    labels, inputs, present, some = np.asarray(arrays.get("labels")), {}, {}, False
    whole = labels.dtype.kind in "iu" and labels.ndim == 1 and not np.ma.is_masked(arrays.get("labels"))
    if not whole or not len(labels) or labels.astype(np.int64).min() < 0:  # also of unsigned ones
        raise ValueError(f"labels of {name} are {labels.dtype} {labels.shape}; pass integers >= 0, (N,).")
    for m in (m for m in arrays if m != "labels"):
        x = numbers(arrays[m], of := f"{m!r} of {name}").cpu().contiguous()
        if x.ndim < 2 or len(x) != len(labels) or x.is_complex() or not x[0].numel():
            kind = f"{str(x.dtype)[6:]} {tuple(x.shape)}"
            raise ValueError(f"{of} is {kind}; pass real (N, ...), a row for each of {len(labels)} labels.")
        x = x.clone() if x.dtype == torch.uint8 else x.float() + 0.0  # + 0.0 makes -0.0 equal to 0.0
        here = ~x.flatten(1).isnan().all(dim=1)
        if (bad := here & ~x.flatten(1).isfinite().all(dim=1)).any():
            raise ValueError(
                f"{of} has NaN or infinity in row {int(bad.nonzero()[0])} and {int(bad.sum()) - 1} others; "
                "mend them, or fill the whole row with NaN if the sample lacks this modality."
            )
        inputs[m], some = x, here | some
        if not here.all():
            x[~here], present[f"present/{m}"] = 0, here
    if len(inputs) < 2:
        raise ValueError(f"{name} has the modalities {list(inputs)}; pass two or more next to its labels.")
    if not some.all():
        raise ValueError(f"{name} has no modality in row {int((~some).nonzero()[0])}; leave the sample out.")
    return Split(inputs, torch.from_numpy(labels.astype(np.int64)), present)


def _refuse_leaks(splits: Mapping[str, Split]) -> None:
    """Raise ``ValueError`` if a row of a modality is in two splits, naming the rows."""
    seen: dict[tuple[str, bytes], tuple[str, int]] = {}
    equal = []
    for name, split in splits.items():
        for m, x in split.inputs.items():
            here = split.factors.get(f"present/{m}", torch.ones(len(x), device="cpu").bool())
            for i in here.nonzero()[:, 0].tolist():
                other, j = seen.setdefault((m, hashlib.sha256(x[i].numpy()).digest()), (name, i))
                if other != name:
                    equal.append(f"row {j} of {other} and row {i} of {name} in {m!r}")
    if equal:
        raise ValueError(
            f"Rows that two splits share: {len(equal)}, such as {', '.join(equal[:3])}; leave leaked samples "
            "out of one split, or pass allow_equal=True if rows may repeat."
        )


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


def parts_of(whole: Split, rows: Mapping[str, np.ndarray]) -> dict[str, Split]:
    """Return name -> the samples of ``whole`` at ``rows[name]``, positions (N,) or a mask."""
    return {name: whole.subset(torch.from_numpy(own)) for name, own in rows.items()}


def split_arrays(
    rows: Mapping[str, np.ndarray], inputs: Own, labels: np.ndarray, **factors: np.ndarray
) -> dict[str, Split]:
    """Return ``parts_of`` arrays (N, ...): inputs as float32, labels and ``factors`` as int64."""
    values = {m: torch.from_numpy(np.array(x, dtype=np.float32, order="C")) for m, x in inputs.items()}
    facts = {name: torch.from_numpy(x.astype(np.int64)) for name, x in factors.items()}
    return parts_of(Split(values, torch.from_numpy(labels.astype(np.int64)), facts), rows)


def stratified_parts(labels: np.ndarray, train: int, validation: int, seed: int) -> dict[str, np.ndarray]:
    """Return the rows of each split in a `stratified_order`; the test split has all that are left."""
    order = stratified_order(labels, np.random.default_rng([seed, 0]))
    return dict(zip(SPLITS, np.split(order, [train, train + validation]), strict=True))


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order of the samples; every beginning of it holds the classes in proportion.

    So a subset of 300 is part of the subset of 600 drawn with the same generator.
    """
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position[members] = (rng.permutation(len(members)) + 0.5) / len(members)
    return np.lexsort((rng.random(len(labels)), position))


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

    alone = device.type != "cuda" and all(type(split) is Split for split, _ in parts)
    for (split, _), batch in zip(parts, in_order(read, parts, 1 if alone else READERS), strict=True):
        inputs = {m: x.to(device, non_blocking=True) for m, x in batch["inputs"].items()}
        yield {**batch, "inputs": split.prepare(inputs), "label": batch["label"].to(device)}


def provenance(info: DatasetInfo, source: str = "official", used: int = 0, lost: int = 0) -> dict[str, str]:
    """Return the fields ``licence``, ``source`` and ``note`` of a data set.

    The note says how many of the ``used`` + ``lost`` samples are lost.
    """
    if source == "official":
        return {"licence": info.licence, "source": info.source, "note": note_of_loss(lost, used + lost)}
    return {"licence": "CC0-1.0", "source": "generated, see data_scripts/stand_ins", "note": NOTE}


def note_of_loss(lost: int, total: int) -> str:
    """Return the note of a data set that lacks ``lost`` of ``total`` samples, "" if it lacks none."""
    return f"{lost} of {total} samples are missing or unreadable." if lost else ""


@cache
def say_once(note: str) -> None:
    """Print a note the first time that a process meets it."""
    say(note)
