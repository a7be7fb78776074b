"""Clips decoded once: memory-mapped arrays that are there whole or not at all.

In the data set's folder stand ``prepared.json`` and the folder of arrays that it names. The JSON is replaced
last and in one step, so whoever reads it finds the arrays complete. A second process waits for the first.
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

import numpy as np

from .clips import ClipError, Preprocessing, spectrogram
from .fetch import DataError, DatasetInfo, atomic_file

VERSION = 1  # counts changes of the stored form


@dataclass(frozen=True)
class Clip:
    """One row of a split file: its name, where its files are, and its class."""

    name: str
    files: tuple[Path, ...]
    label: int
    part: str  # "train" or "test"
    group: str = ""  # what must not be in two splits at once: a speaker


@dataclass(frozen=True)
class Prepared:
    """A cache, opened. N clips with F frames in all.

    Attributes:
        spectrograms: (N, frequencies, times) float16, a memory map. Half of float32's size and reading time;
            the rounding, at most 0.008 in log units and less than 0.002 for anything loud, is an eighth of
            what bfloat16 does to the same number in training.
        frames: (F, S, S, 3) uint8, a memory map; clip i has the frames first[i] to first[i + 1] - 1.
        first: (N + 1,) int64.
        aspects: (N,) float32, each clip's width divided by its height.
        labels: (N,) int64.
        names, parts, groups: of each clip, as in :class:`Clip`.
        fingerprint: SHA-256 over the sources' listing and the preprocessing.
        unusable: name -> reason, of the clips that are missing or unreadable and therefore left out.
        class_names: of the labels 0, 1, ...
        preprocessing: what the arrays were made with.
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

    def __post_init__(self):
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
    """The same with frames of another size, in pixels."""
    if not 8 <= frame_size <= 1024:
        raise DataError(f"frame_size is {frame_size}: give 8 to 1024 pixels.", "the frame size cannot be")
    return dataclasses.replace(preprocessing, frame_size=frame_size)


def room(info: DatasetInfo, folder: Path, disk: float) -> float:
    """Free bytes where ``folder`` is or will be; a :class:`DataError` where they are fewer than ``disk``."""
    parents = [folder, *folder.parents]
    free = shutil.disk_usage(next(parent for parent in parents if parent.exists())).free
    if free < disk:
        raise DataError(
            f"{info.name} needs {disk / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are free; free "
            "space there or choose another folder with --root.",
            "there is too little disk space",
        )
    return free


def ask(info: DatasetInfo, folder: Path, download: float, disk: float, yes: bool) -> None:
    """Say how much will be downloaded (bytes) and stored, and go on only with a yes and with room for it."""
    free = room(info, folder, disk)
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
    """SHA-256 over every row, the size of its files (absent ones too) and the preprocessing.

    Sizes and not contents: reading gigabytes at every start would cost more than it shows. The time of the
    last change takes no part, so that a copied folder counts as the same.
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
    """What the JSON at ``path`` says, and the arrays that it names, mapped.

    Raises whatever exception the damage leads to, and ``ValueError`` where they are of another version.
    """
    plan = json.loads(path.read_text(encoding="utf-8"))
    if plan["version"] != version:
        raise ValueError(f"version {plan['version']}")
    arrays = {}
    for name, (dtype, shape) in plan["arrays"].items():
        file = path.parent / plan["folder"] / f"{name}.bin"
        dtype = np.dtype(dtype)
        if dtype.hasobject:  # bytes of a file would be taken for addresses
            raise ValueError(f"{name} holds objects")
        if file.stat().st_size != dtype.itemsize * math.prod(shape):
            raise ValueError(f"{name} is cut short")
        arrays[name] = np.memmap(file, dtype, "r", shape=tuple(shape))
    return plan, arrays


def opened(path: Path) -> Prepared | None:
    """The cache that ``path`` (a ``prepared.json``) describes, or None where it is missing or damaged."""
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
    """The cache at ``path`` for these clips and this preprocessing, decoded if it is not there yet.

    ``read`` gives a clip's samples, frames and aspect; ``class_names`` and ``source`` are noted.
    Another cache at ``path`` is replaced, and removed when the new one is whole. Raises :class:`DataError`
    where more than the share ``tolerated`` of the clips is missing or unreadable, or the disk is full; then
    everything is as it was before.
    """
    wanted = fingerprint(clips, preprocessing)
    workers = workers or os.cpu_count() or 1
    noted = {"class_names": list(class_names), "source": str(source)}

    def make() -> None:
        _decode(path, wanted, clips, read, preprocessing, noted, tolerated, workers, progress)

    return there_or_made(path, wanted, opened, make)


def there_or_made(path: Path, wanted: str, opened: Callable, make: Callable[[], None]):
    """What ``opened(path)`` gives when its fingerprint is the ``wanted`` one, for which ``make()`` is called.

    That is done by one process, while others wait for it.
    """
    found = opened(path)
    if found is not None and found.fingerprint == wanted:
        return found
    with exclusive(path) as alone:
        found = opened(path)  # the process that was waited for may have made it
        if found is not None and found.fingerprint == wanted:
            return found
        if alone:
            for stray in path.parent.glob(f".{path.stem}-*"):  # of a killed run
                shutil.rmtree(stray, ignore_errors=True)
        make()
    return opened(path)


@contextmanager
def replacing(path: Path, version: int, wanted: str) -> Iterator[tuple[Path, dict]]:
    """A new folder for arrays and a new content for the JSON at ``path``, in place of what is there.

    The block writes the one and completes the other. Where it ends well the folder is moved into place, then
    the JSON, then older arrays go; where it fails, everything is as it was before.
    """
    scratch = path.parent / f".{path.stem}-{secrets.token_hex(8)}"
    scratch.mkdir()  # with the permissions that the umask leaves; a data folder may be shared
    folder = path.parent / f"{path.stem}-{wanted[:12]}"
    plan = {"version": version, "fingerprint": wanted, "folder": folder.name}
    try:
        yield scratch, plan
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or that of a run killed right here
        os.replace(scratch, folder)
        with atomic_file(path) as handle:
            handle.write(json.dumps(plan).encode())
    except OSError as error:
        raise DataError(
            f"Could not write the prepared arrays into {path.parent} ({error.strerror or error}); free space "
            "there or choose another folder with --root or GEOMREG_DATA.",
            "the data folder cannot be written",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in path.parent.glob(f"{path.stem}-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def _decode(path, wanted, clips, read, preprocessing, noted, tolerated, workers, progress) -> None:
    """Write the arrays under another name, move them into place, then the JSON, then drop older arrays."""
    allowed = int(tolerated * len(clips))
    unusable = {
        clip.name: f"{file.name} is missing"
        for clip in clips
        for file in clip.files[::-1]
        if not file.is_file()
    }
    check_share(unusable, allowed, len(clips))  # known before hours of decoding

    def one(clip: Clip):
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
                # plain writes: on a full disk they fail with an error, where a memory map kills the process
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
                f"There is no clip to prepare for {path.parent}; check --clips.", "there is no clip"
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
    """A :class:`DataError` that names some where more than ``allowed`` of ``total`` are unusable."""
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
    """``map`` by threads (decoders release Python's lock), never more than a few results ahead."""
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
    """``results`` with a progress bar over them."""
    if not progress:
        return results
    from tqdm.auto import tqdm

    return tqdm(results, desc="decoding", unit=unit, total=total, mininterval=1)


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold the lock beside ``path``; a killed holder loses it. Gives whether there is such a lock here.

    Where there is none (Windows, some network disks), two processes do the same work and the last one stays.
    A folder that was made for ``path`` and stays empty is removed.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, alone = _locked(lock)
    except OSError as error:
        raise DataError(
            f"Could not write {path.parent} ({error.strerror or error}); choose another folder with --root "
            "or GEOMREG_DATA.",
            "the data folder cannot be written",
        ) from error
    with handle:
        try:
            yield alone
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def _locked(lock: Path):
    """The opened lock file and whether it is locked; waits for another holder."""
    try:
        import fcntl
    except ImportError:
        return open(lock, "w"), False
    while True:
        handle = open(lock, "w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            return handle, False
        # a holder removes the file when done: what was waited for may no longer be the lock that others see
        if lock.exists() and os.path.samestat(os.fstat(handle.fileno()), lock.stat()):
            return handle, True
        handle.close()


def told(cache: Prepared) -> list[str]:
    """What to say of a cache: every clip that was left out, and how many there are."""
    counts = " and ".join(f"{cache.parts.count(part)} {part}" for part in ("train", "test"))
    left_out = [f"{name}: left out, {reason}" for name, reason in cache.unusable.items()]
    return [*left_out, f"{counts} clips, sha256 {cache.fingerprint}"]
