"""Prepare AV-MNIST: 70,000 pairs of a written digit and a spectrogram of a spoken one, in ten classes.

It is the archive of MultiBench (Liang et al., NeurIPS 2021), on Google Drive. Neither size nor checksum is
published, so its content is verified: the six arrays, their shapes, and finite numbers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from . import drive
from .clip_cache import check_disk_space, exclusive, replacing, stored
from .fetch import (
    AnyPath,
    DataError,
    DatasetInfo,
    Source,
    damaged,
    data_root,
    fetched,
    folders_below,
    no_content,
    own_folder,
    points_outside,
    start_of,
    stated_size,
)

FILE = "1KvKynJJca5tDtI5Mmp6CoRh9pQywH8Xp"  # of Google Drive, as MultiBench's README names it
ARCHIVE_NAME = "avmnist.tar.gz"
ARCHIVE = Source(FILE, f"avmnist/{ARCHIVE_NAME}")
INFO = DatasetInfo(
    name="avmnist",
    size="the archive's is not published; up to 9 GB while it is prepared, 1 to 4 GB then",
    licence="not stated with the data; MultiBench's code is under MIT",
    source=f"AV-MNIST, as github.com/pliang279/MultiBench names it ({drive.FILE.format(FILE)})",
    prepared="avmnist/prepared.json",
)
VERSION = 1  # counts changes of the stored form
TRAIN, TEST, CLASSES = 60_000, 10_000, 10  # of the training samples the last twelfth validates
SHAPES = {"image": (784,), "audio": (112, 112)}
PARTS = {"train": TRAIN, "test": TEST}
FILES = [f"{m}/{part}_data.npy" for m in SHAPES for part in PARTS] + [f"{part}_labels.npy" for part in PARTS]
LAYOUTS = f"image/, audio/ and the labels, or {ARCHIVE_NAME}"
DISK = 9e9  # bytes of the unpacked arrays and of the prepared ones, if they are float32
LARGEST = 16 * 2**30  # bytes of all files; float64 would take 7.5 GB
CHUNK = 1000  # samples checked and written at once


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    published: bool = True,
    progress: bool = True,
) -> tuple[dict[str, Any], dict[str, np.memmap]]:
    """Fetch, verify and store the arrays; return them as ``open_cache`` does.

    Args:
        root, mirror: as in :mod:`.digits`.
        folder: a folder in one of the ``LAYOUTS``, read instead of a download.
        published: whether the published counts are required; False for stand-ins.
    """
    path = data_root(root) / INFO.prepared
    found = open_cache(path)
    if found is not None and folder is None:
        return found
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    with ExitStack() as stack:
        stack.enter_context(exclusive(path))
        home = path.parent / "download"
        if place is None:
            place = stack.enter_context(fetched(ARCHIVE, mirror, progress=progress, get=_getter(home)))
        if place.is_file():
            if published:
                check_disk_space(INFO, path.parent, DISK)
            try:
                unpack(place, home / "unpacked")
            except DataError:
                (home / ARCHIVE_NAME).unlink(missing_ok=True)  # so that the next try downloads it again
                raise
            place = home / "unpacked"
        arrays = _open(place, published)
        for file in FILES[:4]:
            if not all(np.isfinite(chunk).all() for chunk in _chunks(arrays[file])):
                raise _wrong(place / file, "holds NaN or infinity")
        _store(path, arrays)
        shutil.rmtree(path.parent / "download", ignore_errors=True)
    return open_cache(path)


def _getter(home: Path) -> Callable[..., Path]:
    """Return the download of ``fetched``: into ``home``, where another try continues it."""

    def get(file: str, scratch: Path, *, progress: bool) -> Path:
        archive = home / ARCHIVE_NAME
        return archive if archive.exists() else drive.download(file, archive, progress=progress)

    return get


def find(folder: Path) -> tuple[str, Path] | None:
    """Return the layout of a folder, and the folder of the arrays or the archive in it; None if without."""
    for home in folders_below(folder, 2):
        if (home / FILES[0]).is_file():
            return f"MultiBench's arrays in {os.path.relpath(home, folder)}", home
        if (home / ARCHIVE_NAME).is_file():
            return f"MultiBench's archive {ARCHIVE_NAME}", home / ARCHIVE_NAME
    return None


def check(mirror: AnyPath | None = None, *, folder: AnyPath | None = None) -> Iterator[str]:
    """Yield per split how many pairs ``prepare`` would get and from where; see :func:`.crema_d.check`.

    Of arrays the labels and the headers of the others are read. What an archive has is not known before.
    """
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    page = drive.FILE.format(FILE)
    if place is None:
        stated_size(page)  # of the page; Drive does not state that of the file
    elif place.is_dir():
        _open(place, True)
    elif what := no_content(start_of(place)):
        raise _wrong(place, what)
    sure = "are in" if place is not None and place.is_dir() else "should be in the archive"
    for part, count in PARTS.items():
        yield f"{part}: {count} of {count} pairs {sure} {place or page}"


def open_cache(path: Path) -> tuple[dict[str, Any], dict[str, np.memmap]] | None:
    """Return the description and the arrays of a prepared file, or None if it is missing or damaged.

    Arrays: "image" (N, 784) and "audio" (N, 112, 112), uint8 if the source has whole numbers up to 255, or
    float32 divided by 255, and "label" (N,) int64; the description has the number of samples in "train".
    """
    try:
        plan, arrays = stored(path, VERSION)
        counts = {len(array) for array in arrays.values()}
        whole = counts == {plan["train"] + plan["test"]} and set(arrays) == {*SHAPES, "label"}
        return (plan, arrays) if whole else None
    except Exception:  # a damaged description can fail at any of this
        return None


def unpack(archive: Path, folder: Path) -> None:
    """Write the six arrays into ``folder``, whatever folder of the archive they are in."""
    try:
        with tarfile.open(archive, "r:*") as packed:
            left = LARGEST
            for member in packed:
                if points_outside(member.name):
                    raise DataError(
                        f"The archive {archive} has a member {member.name!r} that points outside its folder; "
                        "delete this copy and get it again from its official source.",
                        "the archive has a member that points outside its folder",
                    )
                wanted = [file for file in FILES if f"/{PurePosixPath(member.name)}".endswith(f"/{file}")]
                source = packed.extractfile(member) if wanted and member.isfile() else None
                if source is None:
                    continue
                left -= member.size
                if left < 0:
                    raise damaged(archive)
                (folder / wanted[0]).parent.mkdir(parents=True, exist_ok=True)
                with open(folder / wanted[0], "wb") as target:
                    while piece := source.read(2**20):
                        target.write(piece)
    except (DataError, OSError) as error:
        if isinstance(error, DataError) or error.errno is not None:
            raise
        raise damaged(archive) from error  # gzip's and tarfile's own errors
    except Exception as error:  # damage makes the decompressors fail in many ways
        raise damaged(archive) from error


def _open(home: Path, published: bool) -> dict[str, np.ndarray]:
    """Return MultiBench's six arrays, memory-mapped, by file; their shapes, types and labels are right."""
    arrays = {}
    for file in FILES:
        try:
            arrays[file] = np.load(home / file, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise DataError(f"{home / file} is missing; get AV-MNIST again.", f"{file} is missing") from None
        except Exception as error:  # damage makes the header parser fail in many ways
            what = no_content(start_of(home / file)) or "is not a whole array of numbers"
            raise _wrong(home / file, what) from error
    for part, count in PARTS.items():
        labels = arrays[f"{part}_labels.npy"]
        count = count if published else labels.size
        shapes = {f"{m}/{part}_data.npy": (count, *shape) for m, shape in SHAPES.items()}
        for file, shape in (shapes | {f"{part}_labels.npy": (count,)}).items():
            if arrays[file].shape != shape:
                raise _wrong(home / file, f"has the shape {arrays[file].shape}, and AV-MNIST has {shape}")
            if arrays[file].dtype.kind not in "fiu":
                raise _wrong(home / file, f"holds {arrays[file].dtype} instead of real numbers")
        if not np.array_equal(np.unique(labels), np.arange(CLASSES)):
            raise _wrong(home / f"{part}_labels.npy", "does not hold the labels 0 to 9")
    return arrays


def _wrong(path: Path, what: str) -> DataError:
    return DataError(f"{path} {what}; get AV-MNIST again.", f"{path.name} {what}")


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))


def _store(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of both parts one after the other, smaller if nothing is lost, and the description."""
    digest = hashlib.sha256()
    for file in FILES:
        for chunk in _chunks(arrays[file]):
            digest.update(np.ascontiguousarray(chunk))
    train, test = (len(arrays[f"{part}_labels.npy"]) for part in PARTS)
    with replacing(path, VERSION, digest.hexdigest()) as (scratch, plan):
        plan |= {"train": train, "test": test, "arrays": {"label": ["<i8", [train + test]]}}
        labels = [arrays[f"{part}_labels.npy"].astype("<i8") for part in PARTS]
        (scratch / "label.bin").write_bytes(np.concatenate(labels).tobytes())
        for m, shape in SHAPES.items():
            parts = [arrays[f"{m}/{part}_data.npy"] for part in PARTS]
            small = all(_whole(chunk) for part in parts for chunk in _chunks(part))
            plan["arrays"][m] = ["|u1" if small else "<f4", [train + test, *shape]]
            with open(scratch / f"{m}.bin", "wb") as file:
                for chunk in (chunk for part in parts for chunk in _chunks(part)):
                    values = chunk.astype("|u1") if small else (chunk / 255).astype("<f4")
                    file.write(values.tobytes())


def _whole(values: np.ndarray) -> bool:
    """Return whether all values are whole numbers from 0 to 255."""
    return bool((values == np.floor(values)).all() and values.min() >= 0 and values.max() <= 255)


def summary_lines(opened: tuple[dict[str, Any], dict[str, np.memmap]]) -> list[str]:
    """Return the line to print about prepared arrays."""
    plan, arrays = opened
    kinds = ", ".join(f"{m} in {arrays[m].dtype}" for m in SHAPES)
    return [f"{plan['train']} and {plan['test']} samples, {kinds}, sha256 {plan['fingerprint']}"]
