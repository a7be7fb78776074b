"""Decode clips once into memory-mapped arrays that exist whole or not at all.

The data set's folder holds ``prepared.json`` and the folder of arrays that it names. The JSON is replaced
last and in one step, so every reader finds the arrays complete. A second process waits for the first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from .clips import ClipError, Preprocessing, spectrogram
from .extras import extra
from .fetch import DataError, DatasetInfo, atomic_file, of_disk

VERSION = 1  # counts changes of the stored form
T = TypeVar("T")


@dataclass(frozen=True)
class Clip:
    """One row of a split file: its name, where its files are, and its class."""

    name: str
    files: tuple[Path, ...]
    label: int
    part: str  # "train" or "test"
    group: str = ""  # the speaker, who must not be in two splits at once


@dataclass(frozen=True)
class Prepared:
    """An open cache of N clips with F frames in all.

    Attributes:
        spectrograms: (N, frequencies, times) float16, a memory map. Half of float32's size and reading time;
            the rounding error, at most 0.008 in log units and below 0.002 for loud sound, is an eighth of
            bfloat16's in training.
        frames: (F, S, S, 3) uint8, a memory map; clip i has the frames first[i] to first[i + 1] - 1.
        first: (N + 1,) int64.
        aspects: (N,) float32, each clip's width divided by its height.
        labels: (N,) int64.
        names, parts, groups: of each clip, as in :class:`Clip`.
        fingerprint: SHA-256 over the sources' listing and the preprocessing.
        unusable: name -> reason, for each clip that was left out because it is missing or unreadable.
        class_names: the names of labels 0, 1, ...
        preprocessing: the settings that the arrays were made with.
        source: the folder that the clips were read from.
    """

    spectrograms: np.memmap
    frames: np.memmap
    first: np.ndarray
    aspects: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    parts: tuple[str, ...]
    groups: tuple[str, ...]
    fingerprint: str
    unusable: dict[str, str]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    source: str

    def __post_init__(self) -> None:
        count, size = len(self.names), self.preprocessing.frame_size
        fit = (
            self.spectrograms.dtype == np.float16
            and self.spectrograms.shape == (count, *self.preprocessing.spectrogram_shape)
            and self.frames.dtype == np.uint8
            and self.frames.shape == (self.first[-1], size, size, 3)
            and self.first.shape == (count + 1,)
            and (np.diff(self.first) > 0).all()
            and self.labels.shape == self.aspects.shape == (count,)
            and len(self.parts) == len(self.groups) == count
            and np.isin(self.labels, range(len(self.class_names))).all()
            and (np.isfinite(self.aspects) & (self.aspects > 0)).all()
            and all(isinstance(text, str) for text in (*self.names, *self.parts, *self.groups))
        )
        if not fit:
            raise ValueError("the arrays and lists of a cache do not fit together")


def with_frame_size(preprocessing: Preprocessing, frame_size: int) -> Preprocessing:
    """Return the same preprocessing with another ``frame_size``, 8 to 1024 pixels."""
    if not 8 <= frame_size <= 1024:
        raise DataError(
            f"`frame_size` must be in [8, 1024] pixels, got {frame_size}.", "the frame size is out of range"
        )
    return dataclasses.replace(preprocessing, frame_size=frame_size)


def check_disk_space(info: DatasetInfo, folder: Path, disk: float) -> float:
    """Return the free bytes of the disk of ``folder``; raise :class:`DataError` if below ``disk`` bytes."""
    parents = [folder, *folder.parents]
    free = shutil.disk_usage(next(parent for parent in parents if parent.exists())).free
    if free < disk:
        raise DataError(
            f"{info.name} needs {disk / 1e9:.1f} GB in {folder}, but only {free / 1e9:.1f} GB are free; free "
            "space there or choose another folder with --root.",
            "there is too little disk space",
        )
    return free


def confirm_download(info: DatasetInfo, folder: Path, download: float, disk: float, yes: bool) -> None:
    """Print the download and disk size (bytes), then continue only if the user agrees and the disk has room.

    Raise :class:`DataError` otherwise; ``yes`` means that the user agreed before.
    """
    free = check_disk_space(info, folder, disk)
    print(
        f"{info.name}: downloads {download / 1e9:.1f} GB and stores up to {disk / 1e9:.1f} GB in {folder} "
        f"({free / 1e9:.0f} GB are free). Licence: {info.licence}.",
        file=sys.stderr,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise DataError(f"{info.name} is a large download; add --yes to start it.", "the download is large")
    if input("Start? [y/N] ").strip().lower() not in ("y", "yes"):
        raise DataError(f"{info.name} was not downloaded.", "the download was declined")


def fingerprint(clips: Sequence[Clip], preprocessing: Preprocessing) -> str:
    """Return SHA-256 over every row, the sizes of its files (missing ones too) and the preprocessing.

    Contents are not read, because reading gigabytes at every start takes too long. Modification times are
    left out, so that a copied folder counts as the same.
    """
    rows = [
        [
            clip.name,
            clip.label,
            clip.part,
            [[f.name, f.stat().st_size if f.is_file() else -1] for f in clip.files],
        ]
        for clip in clips
    ]
    plan = [VERSION, dataclasses.asdict(preprocessing), rows]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def stored(path: Path, version: int) -> tuple[dict, dict[str, np.memmap]]:
    """Return the content of the JSON at ``path`` and the arrays that it names, memory-mapped.

    Raises ``ValueError`` if the version differs, and any exception if the files are damaged.
    """
    plan = json.loads(path.read_text(encoding="utf-8"))
    if plan["version"] != version:
        raise ValueError(f"version {plan['version']}")
    arrays = {}
    for name, (dtype, shape) in plan["arrays"].items():
        file = path.parent / plan["folder"] / f"{name}.bin"
        dtype = np.dtype(dtype)
        if dtype.hasobject:  # the file's bytes would be used as addresses
            raise ValueError(f"{name} holds objects")
        if file.stat().st_size != dtype.itemsize * math.prod(shape):
            raise ValueError(f"{name} is cut short")
        arrays[name] = np.memmap(file, dtype, "r", shape=tuple(shape))
    return plan, arrays


def open_cache(path: Path) -> Prepared | None:
    """Return the cache that ``path`` (a ``prepared.json``) describes, or None if it is missing or damaged."""
    try:
        plan, arrays = stored(path, VERSION)
        clips = plan["clips"]
        return Prepared(
            **arrays,
            first=np.cumsum([0, *clips["frames"]], dtype=np.int64),
            aspects=np.array(clips["aspects"], np.float32),
            labels=np.array(clips["labels"], np.int64),
            **{name: tuple(clips[name]) for name in ("names", "parts", "groups")},
            fingerprint=plan["fingerprint"],
            unusable=plan["unusable"],
            class_names=tuple(plan["class_names"]),
            preprocessing=Preprocessing(**plan["preprocessing"]),
            source=plan["source"],
        )
    except Exception:  # a damaged description can fail at any of this
        return None


def prepare(
    path: Path,
    clips: Sequence[Clip],
    read: Callable[[Clip, Preprocessing], tuple[np.ndarray, np.ndarray, float]],
    preprocessing: Preprocessing,
    *,
    class_names: Sequence[str],
    source: Path,
    tolerated: float,
    workers: int | None = None,
    progress: bool = True,
) -> Prepared:
    """Return the cache at ``path`` for these clips and this preprocessing; decode the clips if needed.

    ``read`` returns a clip's samples, frames and aspect; ``class_names`` and ``source`` are stored as given.
    A different cache at ``path`` is removed once the new one is whole. Raises :class:`DataError` if more than
    the share ``tolerated`` of the clips is missing or unreadable, or if the disk is full. The earlier cache
    then stays as it was.
    """
    wanted = fingerprint(clips, preprocessing)
    workers = workers or os.cpu_count() or 1
    noted = {"class_names": list(class_names), "source": str(source)}

    def make() -> None:
        _decode(path, wanted, clips, read, preprocessing, noted, tolerated, workers, progress)

    return open_or_build(path, wanted, open_cache, make)


def open_or_build(
    path: Path, wanted: str, open_cache: Callable[[Path], T | None], make: Callable[[], None]
) -> T | None:
    """Return ``open_cache(path)`` with the fingerprint ``wanted``; call ``make()`` first if it is not there.

    One process makes it while others wait.
    """
    found = open_cache(path)
    if found is not None and found.fingerprint == wanted:
        return found
    with exclusive(path):
        found = open_cache(path)  # the process that held the lock may have built it
        if found is not None and found.fingerprint == wanted:
            return found
        for stray in path.parent.glob(f".{path.stem}-*"):  # left by a killed run
            shutil.rmtree(stray, ignore_errors=True)
        make()
    return open_cache(path)


@contextmanager
def replacing(path: Path, version: int, wanted: str) -> Iterator[tuple[Path, dict]]:
    """Replace the JSON at ``path`` and its folder of arrays by what the block writes.

    The block fills the folder and the dictionary that it gets. After it the folder is moved into place, then
    the JSON, and older arrays are removed. If the block fails, the earlier files stay as they were.
    """
    scratch = path.parent / f".{path.stem}-{secrets.token_hex(8)}"
    with of_disk(path.parent):
        scratch.mkdir()  # with the permissions that the umask leaves; a data folder may be shared
    folder = path.parent / f"{path.stem}-{wanted[:12]}"
    plan = {"version": version, "fingerprint": wanted, "folder": folder.name}
    try:
        with of_disk(path.parent):
            yield scratch, plan
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or that of a run killed right here
            os.replace(scratch, folder)
            with atomic_file(path) as handle:
                handle.write(json.dumps(plan).encode())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in path.parent.glob(f"{path.stem}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def _decode(
    path: Path,
    wanted: str,
    clips: Sequence[Clip],
    read: Callable[[Clip, Preprocessing], tuple[np.ndarray, np.ndarray, float]],
    preprocessing: Preprocessing,
    noted: dict[str, object],
    tolerated: float,
    workers: int,
    progress: bool,
) -> None:
    """Write the arrays under another name, move them into place, then the JSON, then drop older arrays."""
    allowed = int(tolerated * len(clips))
    unusable = {
        clip.name: f"{file.name} is missing"
        for clip in clips
        for file in clip.files[::-1]
        if not file.is_file()
    }
    check_share(unusable, allowed, len(clips))  # before hours of decoding

    def one(clip: Clip) -> tuple[Clip, np.ndarray | str, np.ndarray | None, float | None]:
        try:
            samples, frames, aspect = read(clip, preprocessing)
            return clip, spectrogram(samples, preprocessing).astype(np.float16), frames, aspect
        except ClipError as error:
            return clip, str(error), None, None

    usable = [clip for clip in clips if clip.name not in unusable]
    kept: list[Clip] = []
    counts, aspects = [], []
    with replacing(path, VERSION, wanted) as (scratch, plan):
        with open(scratch / "spectrograms.bin", "wb") as sound, open(scratch / "frames.bin", "wb") as picture:
            for clip, values, frames, aspect in bar(in_order(one, usable, workers), len(usable), progress):
                if frames is None:
                    unusable[clip.name] = values
                    check_share(unusable, allowed, len(clips))
                    continue
                # plain writes: on a full disk they raise an error, but a memory map kills the process
                sound.write(values.tobytes())
                picture.write(frames.tobytes())
                kept.append(clip)
                counts.append(len(frames))
                aspects.append(round(aspect, 6))
            for file in (sound, picture):
                file.flush()
                os.fsync(file.fileno())
        if not kept:
            raise DataError(
                f"No clip is left to prepare for {path.parent}; check --clips.", "no clip is left"
            )
        size = preprocessing.frame_size
        plan |= {
            "preprocessing": dataclasses.asdict(preprocessing),
            "arrays": {
                "spectrograms": ["<f2", [len(kept), *preprocessing.spectrogram_shape]],
                "frames": ["|u1", [sum(counts), size, size, 3]],
            },
            "clips": {
                "names": [clip.name for clip in kept],
                "labels": [clip.label for clip in kept],
                "parts": [clip.part for clip in kept],
                "groups": [clip.group for clip in kept],
                "frames": counts,
                "aspects": aspects,
            },
            "unusable": unusable,
            **noted,
        }


def check_share(unusable: Mapping[str, str], allowed: int, total: int, kind: str = "clips") -> None:
    """Raise a :class:`DataError` that names up to five if more than ``allowed`` of ``total`` are unusable."""
    if len(unusable) <= allowed:
        return
    few = list(unusable.items())[:5]
    named = "; ".join(f"{name}: {reason}" for name, reason in few)
    more = f"; and {len(unusable) - 5} more" if len(unusable) > 5 else ""
    raise DataError(
        f"{len(unusable)} or more of {total} {kind} cannot be used, and {allowed} may be "
        f"({named}{more}): get these files, or allow more with --tolerate SHARE.",
        f"too many {kind} are missing or unreadable",
    )


def in_order(function: Callable, items: Sequence, workers: int) -> Iterator:
    """Map in order with threads (decoders release Python's lock), at most a few results ahead."""
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        rest = iter(items)
        running = [pool.submit(function, item) for item in islice(rest, 4 * workers)]
        try:
            while running:
                yield running.pop(0).result()
                running += [pool.submit(function, item) for item in islice(rest, 1)]
        finally:
            for future in running:
                future.cancel()


def bar(results: Iterator, total: int, progress: bool, unit: str = "clip") -> Iterator:
    """Wrap ``results`` in a progress bar if ``progress``."""
    if not progress:
        return results
    with extra("course"):
        from tqdm.auto import tqdm

    return tqdm(results, desc="decoding", unit=unit, total=total, mininterval=1)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock next to ``path`` while the block runs; a holder that is killed loses it.

    Remove the folder of ``path`` afterwards if it is empty. Raise :class:`DataError` if it cannot be written.
    """
    with extra("course"):
        from filelock import FileLock

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with of_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove a file that is open
            os.unlink(lock.lock_file)
        lock.release()
        with suppress(OSError):
            path.parent.rmdir()


def summary_lines(cache: Prepared) -> list[str]:
    """Return the lines to print about a cache: each clip that was left out, and the counts."""
    counts = " and ".join(f"{cache.parts.count(part)} {part}" for part in ("train", "test"))
    left_out = [f"{name}: left out, {reason}" for name, reason in cache.unusable.items()]
    return [*left_out, f"{counts} clips, sha256 {cache.fingerprint}"]
