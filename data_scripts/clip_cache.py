"""Decode clips once into memory-mapped arrays that exist whole or not at all.

The data set's folder holds ``prepared.json`` and the folder of arrays that it names. The JSON is replaced
last and in one step, so every reader finds the arrays complete. A second process waits for the first, and an
interrupted one is continued by the next.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .clips import ClipError, Preprocessing, check_content, read_frames, read_sound, spectrogram
from .extras import extra
from .fetch import DataError, DatasetInfo, atomic_file, of_disk

VERSION = 1  # counts changes of the preprocessing
LOG = "log.jsonl"  # in the folder of arrays: the entries that they have so far
T = TypeVar("T")


@dataclass(frozen=True)
class Clip:
    """One row of a split file: its name, the files of its sound and picture, or of both, and its class."""

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
        files: of each clip, paths below ``source``.
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
    files: tuple[tuple[str, ...], ...]
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
            and len(self.parts) == len(self.groups) == len(self.files) == count
            and np.isin(self.labels, range(len(self.class_names))).all()
            and (np.isfinite(self.aspects) & (self.aspects > 0)).all()
            and all(isinstance(text, str) for text in (*self.names, *self.parts, *self.groups))
            and all(own and all(isinstance(text, str) for text in own) for own in self.files)
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
            [[f.name, file_size(f)] for f in clip.files],
        ]
        for clip in clips
    ]
    plan = [VERSION, dataclasses.asdict(preprocessing), rows]
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def file_size(path: Path) -> int:
    """Return the bytes of a file, or of the files in a folder; -1 if there is neither."""
    if path.is_dir():
        return sum(file.stat().st_size for file in os.scandir(path) if file.is_file())
    return path.stat().st_size if path.is_file() else -1


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


def open_cache(path: Path, preprocessing: Preprocessing | None = None) -> Prepared | None:
    """Return the cache that ``path`` (a ``prepared.json``) describes, or None if it is missing or damaged.

    It is also None if it was made by another ``preprocessing`` than this; only the size of frames may differ.
    """
    try:
        plan, arrays = stored(path, VERSION)
        clips = plan["clips"]
        stored_by = Preprocessing(**plan["preprocessing"])
        if preprocessing and stored_by != dataclasses.replace(preprocessing, frame_size=stored_by.frame_size):
            return None
        return Prepared(
            **arrays,
            first=np.cumsum([0, *clips["frames"]], dtype=np.int64),
            aspects=np.array(clips["aspects"], np.float32),
            labels=np.array(clips["labels"], np.int64),
            **{name: tuple(clips[name]) for name in ("names", "parts", "groups")},
            files=tuple(map(tuple, clips["files"])),
            fingerprint=plan["fingerprint"],
            unusable=plan["unusable"],
            class_names=tuple(plan["class_names"]),
            preprocessing=stored_by,
            source=plan["source"],
        )
    except Exception:  # a damaged description can fail at any of this
        return None


def read_clip(clip: Clip, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray, float]:
    """Return samples, frames and aspect of a clip."""
    return read_sound(clip.files[0], preprocessing), *read_frames(clip.files[-1], preprocessing)


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

    ``read`` is :func:`read_clip`; ``class_names`` and ``source`` are stored as given. A different cache at
    ``path`` is removed once the new one is whole. Raises :class:`DataError` if more than the share
    ``tolerated`` of a split, or a whole one, is missing or unreadable, or if the disk is full. The earlier
    cache then stays as it was.
    """
    wanted = fingerprint(clips, preprocessing)
    of_name = {clip.name: clip for clip in clips}
    size = preprocessing.frame_size
    arrays = {"spectrograms": ("<f2", preprocessing.spectrogram_shape), "frames": ("|u1", (size, size, 3))}

    def rows(name: str) -> tuple[list[np.ndarray], float]:
        samples, frames, aspect = read(of_name[name], preprocessing)
        return [spectrogram(samples, preprocessing).astype(np.float16)[None], frames], round(aspect, 6)

    def make() -> None:
        losses = missing(clips, tolerated)
        losses.check()  # before hours of decoding
        with replacing(path, VERSION, wanted) as (scratch, plan):
            names = [clip.name for clip in clips if clip.name not in losses.reasons]
            found = append_all(scratch, plan, names, rows, arrays, losses, workers, progress)
            kept = [of_name[name] for name in found]
            plan |= {
                "preprocessing": dataclasses.asdict(preprocessing),
                "clips": {
                    "names": list(found),
                    "labels": [clip.label for clip in kept],
                    "parts": [clip.part for clip in kept],
                    "groups": [clip.group for clip in kept],
                    "files": [[os.path.relpath(file, source) for file in clip.files] for clip in kept],
                    "frames": [entry["rows"][1] for entry in found.values()],
                    "aspects": [entry["note"] for entry in found.values()],
                },
                "unusable": losses.reasons,
                "class_names": list(class_names),
                "source": str(source),
            }

    return open_or_build(path, wanted, open_cache, make)


def missing(clips: Sequence[Clip], tolerated: float) -> Losses:
    """Return the clips that lack a file, or have one without content; see :func:`.clips.check_content`."""
    gone = {}
    for clip in clips:
        try:
            for file in clip.files:
                check_content(file)
        except ClipError as error:
            gone[clip.name] = str(error)
    groups = {clip.name: (f"class {clip.label}",) for clip in clips}
    parts = {clip.name: clip.part for clip in clips}
    return Losses(parts, tolerated, ("train", "test"), groups=groups, reasons=gone)


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
        for stray in path.parent.glob(f".{path.stem}-*"):
            if stray.name != f".{path.stem}-{wanted[:12]}":  # of an interrupted run for other files
                shutil.rmtree(stray, ignore_errors=True)
        make()
    return open_cache(path)


@contextmanager
def replacing(path: Path, version: int, wanted: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Replace the JSON at ``path`` and its folder of arrays by what the block writes.

    The block fills the folder and the dictionary that it gets. After it the folder is moved into place, then
    the JSON, and older arrays are removed. If the block fails, the earlier files stay as they were. The next
    block for ``wanted`` gets the same folder, except after an error of the disk.
    """
    folder = path.parent / f"{path.stem}-{wanted[:12]}"
    scratch = folder.with_name(f".{folder.name}")
    plan = {"version": version, "fingerprint": wanted, "folder": folder.name}
    try:
        with of_disk(path.parent):
            if folder.exists() and not scratch.exists():  # damaged, or of a run that was killed at its end
                os.replace(folder, scratch)
            scratch.mkdir(exist_ok=True)  # with the permissions that the umask leaves; it may be shared
            yield scratch, plan
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(scratch, folder)
            with atomic_file(path) as handle:
                handle.write(json.dumps(plan).encode())
    except DataError as error:
        if isinstance(error.__cause__, OSError):
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    for old in path.parent.glob(f"{path.stem}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def append_all(
    folder: Path,
    plan: dict[str, Any],
    names: Sequence[str],
    read: Callable[[str], tuple[list[np.ndarray], Any]],
    arrays: Mapping[str, tuple[str, tuple[int, ...]]],
    losses: Losses,
    workers: int | None,
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """Append what ``read`` returns for each name to arrays on the disk; return name -> its "rows" and "note".

    ``read`` returns rows for each of ``arrays`` (name -> dtype and shape of a row) and a note that JSON can
    hold. Names for which it raises :class:`.clips.ClipError` go to ``losses``. A log next to the arrays lets
    another call continue after the last whole entry, or at the first one that can be read by now.

    ``folder`` and ``plan`` are those of :func:`replacing`; ``plan`` gets the description of the arrays.
    """
    widths = np.array([np.dtype(dtype).itemsize * math.prod(row) for dtype, row in arrays.values()])
    found: dict[str, dict[str, Any]] = {}
    done, end, sizes = 0, 0, 0 * widths

    def one(name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
        try:
            values, note = read(name)
            return {"name": name, "rows": [len(rows) for rows in values], "note": note}, values
        except ClipError as error:
            return {"name": name, "reason": str(error)}, []

    def keep(entry: dict[str, Any]) -> None:
        if "reason" not in entry:
            found[entry["name"]] = entry
            return
        losses.reasons[entry["name"]] = entry["reason"]
        losses.check()

    with ExitStack() as stack:
        # plain writes: on a full disk they raise an error, but a memory map kills the process
        files = [stack.enter_context(open(folder / f"{name}.bin", "ab")) for name in arrays]
        log = stack.enter_context(open(folder / LOG, "a+b"))
        log.seek(0)
        for name, line in zip(names, log.readlines(), strict=False):
            try:
                entry = json.loads(line)
                grown = sizes + widths * entry.get("rows", 0)
                whole = line.endswith(b"\n") and entry["name"] == name
            except (ValueError, KeyError, TypeError, AttributeError):
                break
            if not whole or any(grown > [file.tell() for file in files]):
                break
            if "reason" in entry and "reason" not in one(name)[0]:
                break
            keep(entry)
            done, end, sizes = done + 1, end + len(line), grown
        for file, size in zip([log, *files], [end, *sizes.tolist()], strict=True):
            file.truncate(size)
        left = names[done:]
        read_ones = in_order(one, left, workers or os.cpu_count() or 1)
        for entry, values in bar(read_ones, len(left), progress, losses.kind.removesuffix("s")):
            for file, rows in zip(files, values, strict=False):
                file.write(rows.tobytes())
                file.flush()
            log.write(json.dumps(entry).encode() + b"\n")
            log.flush()
            keep(entry)
        for file in files:
            os.fsync(file.fileno())
    counts = np.sum([entry["rows"] for entry in found.values()], axis=0).tolist()
    described = zip(arrays.items(), counts, strict=True)
    plan["arrays"] = {name: [dtype, [count, *row]] for (name, (dtype, row)), count in described}
    return found


@dataclass
class Losses:
    """The samples that cannot be used.

    Attributes:
        parts: name -> split of each listed sample.
        share: largest share of a split that may be lost.
        splits: those that must not be empty.
        kind: a word for the samples.
        groups: name -> what the sample belongs to and no split may lose wholly, such as its class.
        reasons: name -> reason, for each lost sample.
    """

    parts: Mapping[str, str]
    share: float
    splits: Sequence[str]
    kind: str = "clips"
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def report(self, where: Mapping[str, str]) -> Iterator[str]:
        """Yield a line per split, with ``where`` its samples are; then do as :meth:`check`."""
        lost = Counter(self.parts[name] for name in self.reasons)
        for part, total in Counter(self.parts.values()).items():
            yield f"{part}: {total - lost[part]} of {total} {self.kind} are in {where[part]}"
        self.check()

    def check(self) -> None:
        """Raise a :class:`DataError` that names up to five if too many of a split or all of a group are lost.

        A whole split is such a group.
        """

        def members(name: str) -> list[tuple[str, str]]:
            return [(self.parts[name], group) for group in ("", *self.groups.get(name, ()))]

        lost: dict[tuple[str, str], list[str]] = {(part, ""): [] for part in self.splits}
        for name in self.reasons:
            for key in members(name):
                lost.setdefault(key, []).append(name)
        totals = Counter(key for name in self.parts for key in members(name) if key in lost)
        for (part, group), names in lost.items():
            total, allowed = totals[part, group], int(self.share * totals[part, group])
            if len(names) == total:
                said = f"None of the {total} {part} {self.kind}{f' of {group}' if group else ''} can be used"
                remedy = f"complete the files, because a {'group' if group else 'split'} cannot be empty"
            elif not group and len(names) > allowed:
                said = (
                    f"{len(names)} or more of {total} {part} {self.kind} cannot be used, and {allowed} may be"
                )
                remedy = "get these files, or allow more with --tolerate SHARE"
            else:
                continue
            some = [f"{name}: {self.reasons[name]}" for name in names[:5]]
            some = "; ".join(some + [f"and {len(names) - 5} more"][: len(names) > 5])
            raise DataError(
                f"{said} ({some or 'none is listed'}): {remedy}.",
                f"too many {self.kind} are missing or unreadable",
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
