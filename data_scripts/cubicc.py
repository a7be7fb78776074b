"""Prepare CUBICC: 13,150 pairs of a photograph of a bird and a sentence about it, in eight classes.

It is CUB Image-Captions, regrouped for clustering by Palumbo et al. (ICLR 2024). Neither size nor checksum of
the archive is published, so its content is verified instead: shapes, counts and ranges of everything used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from .clip_cache import check_disk_space
from .fetch import (
    AnyPath,
    DataError,
    DatasetInfo,
    Source,
    atomic_file,
    damaged,
    data_root,
    expanded,
    fetched,
    file_digest,
    folders_below,
    load_arrays,
    no_content,
    own_folder,
    refuse_outside,
    remote_size,
    save_arrays,
    start_of,
    stated_size,
    with_fingerprint,
)

if TYPE_CHECKING:
    from torch import Tensor

URL = "https://polybox.ethz.ch/index.php/s/LRkTC2oa6YHHlUj/download"
ARCHIVE = Source(URL, "cubicc/CUBICC.zip")
INFO = DatasetInfo(
    name="cubicc",
    size="up to 4 GB while it is prepared, 170 MB then",
    licence="not stated with the data; photographs are their authors', by way of Caltech-UCSD Birds 200",
    source="CUBICC, as github.com/epalu/CMVAE names it (ETH polybox)",
    prepared="cubicc/prepared-v1.npz",
)
LAYOUTS = "images.pt and the other files of CUBICC.zip, unpacked or not"
PAIRS, CLASSES = 13_150, 8  # as published
# The counts of the splits are in the archive alone, so only a download is known to have the published ones.
UNKNOWN_COPY = (
    "CUBICC states neither a checksum nor the sizes of its splits, and this is not a download of it."
)
SIDE, LENGTH, VOCABULARY = 64, 32, 1590  # pixels, tokens per sentence, words
CAPTIONS = 10  # per photograph, at most: so often a list may name one tensor
SPLITS = ("train", "validation", "test")
TENSORS = ("images.pt", "captions.pt", "labels.pt", "original_labels.pt")
FILES = (*TENSORS, *(f"{split}_split.npy" for split in SPLITS))
WORDS = "cub.vocab"  # JSON with the words by number; only needed to show a sentence, so it may be missing
LARGEST = 8 * 2**30  # bytes of all files; sentences of 0 and 1 in 8 bytes each would take 5.4 GB
CHUNK = 256  # samples checked at once


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    published: bool = True,
    progress: bool = True,
) -> Path:
    """Fetch, verify and store the arrays; return the prepared file.

    Arrays of N pairs: ``images`` (N, 3, 64, 64) uint8, ``captions`` (N, 32) int16 word numbers, ``labels``
    (N,) int64 from 0, ``subspecies`` (N,) int64, ``photo`` (N,) int64 (equal for equal pictures),
    ``train``, ``validation`` and ``test`` positions, ``words`` (1590,) or none, ``archive`` (the SHA-256 of
    the zip file, "" for a folder), ``note`` (``UNKNOWN_COPY`` or "") and ``fingerprint`` (a SHA-256 over the
    arrays before ``archive``).

    Args:
        root, mirror: as in :mod:`.digits`.
        folder: a folder in one of the ``LAYOUTS``, read instead of a download.
        published: whether the published counts are required; False for stand-ins.
    """
    path = data_root(root) / INFO.prepared
    if folder is None and mirror and _is_of(path, expanded(mirror) / ARCHIVE.mirror_path):
        return path
    with ExitStack() as stack:
        handle = stack.enter_context(atomic_file(path))
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpacking-"))
        )
        for stray in path.parent.glob(".unpacking-*"):
            if scratch.stat().st_mtime - stray.stat().st_mtime > 86400:  # a killed run left gigabytes
                shutil.rmtree(stray, ignore_errors=True)
        archive, place = "", own_folder(INFO.name, folder, mirror, find, LAYOUTS)
        if place is None:
            if not mirror and published:
                check_disk_space(INFO, path.parent, remote_size(URL))
            place = stack.enter_context(fetched(ARCHIVE, mirror, progress=progress, scratch=scratch))
        downloaded = scratch in place.parents
        if place.is_file():
            archive = file_digest(place)
            unpack(place, scratch)
            place = scratch
        try:
            arrays = _read(place, published)
        except DataError as error:  # about a folder that is about to be removed
            raise DataError(str(error).replace(f"{scratch}{os.sep}", "CUBICC.zip: "), error.brief) from error
        more = {"archive": np.array(archive), "note": np.array("" if downloaded else UNKNOWN_COPY)}
        save_arrays(handle, with_fingerprint(arrays) | more)
    return path


def find(folder: Path) -> tuple[str, Path] | None:
    """Return the layout of a folder, and the folder of the files or the archive in it; None if without."""
    for home in folders_below(folder, 2):
        if any((home / name).is_file() for name in FILES):
            return f"the unpacked files in {os.path.relpath(home, folder)}", home
        if (home / "CUBICC.zip").is_file():
            return "the archive CUBICC.zip", home / "CUBICC.zip"
    return None


def check(mirror: AnyPath | None = None, *, folder: AnyPath | None = None) -> Iterator[str]:
    """Yield per split how many pairs ``prepare`` would get and from where; see :func:`.crema_d.check`.

    Only an archive or a folder tells how the pairs are split. Pictures and sentences are not read.
    """
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is None:
        yield f"all {PAIRS} pairs should be in CUBICC.zip ({stated_size(URL)}, {URL}), which has their split"
        return
    with tempfile.TemporaryDirectory() as scratch:
        home = place
        if place.is_file():
            home = Path(scratch)
            unpack(place, home, tuple(name for name in FILES if name not in TENSORS[:2]))
        else:
            _need(home)
        labels = _numbers(home / "labels.pt", _tensor(home / "labels.pt", PAIRS), PAIRS)
        for split, index in _splits(home, labels, True).items():
            yield f"{split}: {len(index)} of {len(index)} pairs are in {place}"


def _is_of(path: Path, archive: Path) -> bool:
    """Return whether the prepared file came from this archive."""
    known = load_arrays(path) if archive.is_file() else None
    return known is not None and str(known.get("archive")) == file_digest(archive)


def unpack(archive: Path, folder: Path, files: Collection[str] = (*FILES, WORDS)) -> None:
    """Write ``files`` into ``folder`` under their own names, whatever folder they were in."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            refuse_outside(archive, zipped)
            members = {PurePosixPath(member.filename).name: member for member in zipped.infolist()}
            _require(members, f"The archive {archive}")
            members = {name: member for name, member in members.items() if name in files}
            total = sum(member.file_size for member in members.values())
            if total > LARGEST:
                raise damaged(archive)
            check_disk_space(INFO, folder, total)
            for name, member in members.items():
                left = member.file_size  # never more than stated
                with zipped.open(member) as source, open(folder / name, "wb") as target:
                    while left > 0 and (piece := source.read(min(left, 2**20))):
                        target.write(piece)
                        left -= len(piece)
    except (DataError, OSError):
        raise
    except Exception as error:  # damage makes zipfile and the decompressors fail in many ways
        raise damaged(archive) from error


def _need(folder: Path) -> None:
    """Raise a :class:`DataError` if a file is missing, or has the start of no array; see ``no_content``."""
    _require({path.name for path in folder.iterdir()}, f"The folder {folder}")
    for path in (folder / name for name in FILES):
        if what := no_content(start_of(path)):
            raise DataError(f"{path} {what}; get it again from {URL}.", f"{path.name} {what}")


def _require(names: Container[str], where: str) -> None:
    missing = [name for name in FILES if name not in names]
    if missing:
        raise DataError(
            f"{where} has no {', '.join(missing)}, so it is not CUBICC; get it from {URL}.",
            f"the files lack {missing[0]}",
        )


def _read(folder: Path, published: bool) -> dict[str, np.ndarray]:
    """Return the verified arrays of the unpacked files."""
    _need(folder)
    images = _tensor(folder / "images.pt", PAIRS if published else None)
    pairs = len(images)
    if published and pairs != PAIRS:
        raise _wrong(folder / "images.pt", f"{pairs} pictures", str(PAIRS))
    captions, labels, subspecies = (_tensor(folder / name, pairs) for name in TENSORS[1:])
    arrays = {
        "images": _images(folder, images),
        "captions": _captions(folder, captions, pairs),
        "labels": np.unique(_numbers(folder / "labels.pt", labels, pairs), return_inverse=True)[1],
        "subspecies": _numbers(folder / "original_labels.pt", subspecies, pairs),
        "words": _words(folder / WORDS),
    }
    arrays |= _splits(folder, arrays["labels"], published)
    seen: dict[bytes, int] = {}
    digests = (hashlib.sha256(image.tobytes()).digest() for image in arrays["images"])
    arrays["photo"] = np.array([seen.setdefault(digest, len(seen)) for digest in digests], dtype=np.int64)
    return arrays


def _wrong(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        f"{path} has {found}, and CUBICC has {expected}; get it again from {URL}.",
        f"{path.name} has {found} instead of {expected}",
    )


def _tensor(path: Path, pairs: int | None) -> Tensor:
    """Return the tensor in a PyTorch file, on disk until it is used, without running code of the file.

    A list of tensors or numbers is stacked if it has ``pairs`` entries (None: any number) and hardly names a
    tensor more than once; otherwise a small file could fill the memory.
    """
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        if isinstance(value, (list, tuple)):
            if pairs not in (None, len(value)):
                raise _wrong(path, f"{len(value)} entries", str(pairs))
            if not all(isinstance(part, (torch.Tensor, int, float)) for part in value):
                raise TypeError("an entry is neither a tensor nor a number")
            total, stored = sum(part.nbytes for part in value if torch.is_tensor(part)), path.stat().st_size
            if total > CAPTIONS * stored:
                raise _wrong(path, f"lists of {total} bytes in a file of {stored}", "each tensor once")
            value = torch.stack([torch.as_tensor(part) for part in value])
        if not torch.is_tensor(value) or value.layout != torch.strided or value.ndim == 0:
            raise TypeError("it is not a tensor")
        return value.detach()
    except DataError:
        raise
    except Exception as error:  # another file may raise anything
        raise DataError(
            f"{path} holds no tensor that can be read without running code ({type(error).__name__}); get it "
            f"again from {URL}.",
            f"{path.name} cannot be read",
        ) from error


def _images(folder: Path, images: Tensor) -> np.ndarray:
    """Return (N, 3, 64, 64) uint8 from such numbers or from floating-point ones in [0, 1]."""
    import torch

    path, wanted = folder / "images.pt", f"(pictures, 3, {SIDE}, {SIDE})"
    if images.ndim != 4 or images.shape[1:] != (3, SIDE, SIDE):
        raise _wrong(path, f"shape {tuple(images.shape)}", wanted)
    if images.dtype == torch.uint8:
        return images.numpy().copy()
    if not images.is_floating_point():
        raise _wrong(path, f"numbers of type {images.dtype}", "floating-point ones in [0, 1]")
    chunks = []
    for chunk in images.split(CHUNK):
        low, high = chunk.min().item(), chunk.max().item()
        if not (0 <= low <= high <= 1):  # false for NaN too
            raise _wrong(path, f"values from {low:.3g} to {high:.3g}", "values in [0, 1]")
        chunks.append((255 * chunk).round().to(torch.uint8))
    return torch.cat(chunks).numpy()


def _captions(folder: Path, captions: Tensor, pairs: int) -> np.ndarray:
    """Return (N, 32) int16 word numbers from such numbers or from one-hot rows (N, 32, 1590).

    CMVAE's code multiplies the file's content by a matrix with 1,590 columns, so it should be one-hot; no
    public text says so.
    """
    import torch

    path = folder / "captions.pt"
    if captions.shape == (pairs, LENGTH) and not captions.is_floating_point():
        numbers = captions.long()
    elif captions.shape == (pairs, LENGTH, VOCABULARY):
        chunks = []
        for chunk in captions.split(CHUNK):
            chunk = chunk.float()
            if not ((chunk.sum(dim=2) == 1) & (chunk.amax(dim=2) == 1)).all():
                raise _wrong(path, "rows that are not one-hot", "a single 1 per row and zeros")
            chunks.append(chunk.argmax(dim=2))
        numbers = torch.cat(chunks)
    else:
        found = f"shape {tuple(captions.shape)} of {captions.dtype}"
        raise _wrong(path, found, f"({pairs}, {LENGTH}, {VOCABULARY}) or whole numbers ({pairs}, {LENGTH})")
    if numbers.min() < 0 or numbers.max() >= VOCABULARY:
        raise _wrong(path, f"word numbers from {numbers.min()} to {numbers.max()}", f"0 to {VOCABULARY - 1}")
    return numbers.to(torch.int16).numpy()


def _numbers(path: Path, values: Tensor, pairs: int) -> np.ndarray:
    """Return whole numbers as (N,) int64."""
    if values.shape != (pairs,) or values.is_complex() or not (values == values.long()).all():
        found = f"shape {tuple(values.shape)} of {values.dtype}"
        raise _wrong(path, found, f"{pairs} whole numbers")
    return values.long().numpy().copy()


def _splits(folder: Path, labels: np.ndarray, published: bool) -> dict[str, np.ndarray]:
    """Return the positions of each split; no two splits share one.

    If ``published``, each pair is in one of them, and each of them has every class.
    """
    found: dict[str, np.ndarray] = {}
    pairs, classes = len(labels), len(np.unique(labels))
    if published and classes != CLASSES:
        raise _wrong(folder / "labels.pt", f"{classes} classes", str(CLASSES))
    for split in SPLITS:
        path = folder / f"{split}_split.npy"
        try:
            # Mapped, so that a header that promises more than the file has is an error, not an allocation.
            index = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # another file may raise anything
            raise DataError(
                f"{path} holds no array that can be read without running code ({type(error).__name__}); get "
                f"it again from {URL}.",
                f"{path.name} cannot be read",
            ) from error
        if index.ndim != 1 or index.dtype.kind not in "iu" or not len(index):
            raise _wrong(path, f"shape {index.shape} of {index.dtype}", "a list of whole numbers")
        if index.min() < 0 or index.max() >= pairs or len(np.unique(index)) != len(index):
            found_range = f"positions from {index.min()} to {index.max()}, {len(np.unique(index))} of them"
            raise _wrong(path, f"{found_range} different", f"{len(index)} different ones below {pairs}")
        for other, taken in found.items():
            shared = len(np.intersect1d(index, taken))
            if shared:
                raise _wrong(path, f"{shared} pairs of {other}_split.npy", "no pair in two splits")
        found[split] = index.astype(np.int64)
        own = len(np.unique(labels[index]))
        if published and own != CLASSES:
            raise _wrong(path, f"pairs of {own} classes", f"all {CLASSES} in each split")
    total = sum(map(len, found.values()))
    if published and total != pairs:
        raise _wrong(path, f"{total} pairs with the other splits", str(pairs))
    return found


def _words(path: Path) -> np.ndarray:
    """Return the words by number (1590,), or (0,) if the file is missing."""
    if not path.is_file():
        return np.array([], dtype=str)
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["i2w"]
        words = [named[str(number)] for number in range(VOCABULARY)]
        printable = all(isinstance(word, str) and word.isprintable() for word in words)
        if len(named) != VOCABULARY or not printable:
            raise ValueError("other words")
        return np.array([word[:40] for word in words])
    except Exception as error:
        raise DataError(
            f"{path} does not name {VOCABULARY} words by number ({type(error).__name__}); get it again from "
            f"{URL}, or remove it: it is only needed to read the sentences.",
            f"{path.name} cannot be read",
        ) from error


def summary_lines(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the lines to print about prepared arrays: their counts, and the pictures that splits share."""
    counts = ", ".join(f"{len(arrays[split])} {split}" for split in SPLITS)
    photos = {split: set(arrays["photo"][arrays[split]].tolist()) for split in SPLITS}
    shared = len(photos["test"] & photos["train"])
    said = [
        f"{counts} pairs, in {arrays['labels'].max() + 1} classes, sha256 {arrays['fingerprint']}",
        f"of {len(photos['test'])} different test pictures, {shared} are in training too",
    ]
    return [*said, *([f"the archive has sha256 {arrays['archive']}"] if str(arrays["archive"]) else [])]
