"""Prepare XRF55, Part 1: 55 actions of 20 people in four scenes, seen by radar, WiFi and RFID at once.

A recording is three ``.npy`` files of one name, volunteer_action_repetition, in folders of the modality and
the scene. They take 97 GB and are not copied; a verified index of them is prepared instead. Volunteers have
the same number everywhere, and some appear in two scenes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from pathlib import Path

import numpy as np

from . import kaggle
from .clip_cache import bar, check_share, confirm_download, exclusive, in_order, open_or_build
from .fetch import AnyPath, DataError, DatasetInfo, atomic_file, data_root, of_disk

KAGGLE = "xrfdataset/xrf55"
INFO = DatasetInfo(
    name="xrf55",
    size="86 GB download and 97 GB unpacked, both until it is unpacked",
    licence="CC BY-NC 4.0, as others state it; the owners' own statement was not found",
    source=f"XRF55, Part 1 (kaggle.com/datasets/{KAGGLE})",
    prepared="xrf55/prepared.json",
)
VERSION = 1  # counts changes of the stored form
# Bytes: 22,000 recordings of 4,415,840, radar in float32, WiFi and RFID in float64. Kaggle states this
# size, according to another project's public downloader; the project's page says 92.29 GB.
ARCHIVE, UNPACKED = 86e9, 97.2e9

# The shape of one file. Radar: 17 frames of range by Doppler; WiFi: 9 links of 30 subcarriers by time; RFID:
# 23 tags by time.
SHAPES = {"mmWave": (17, 256, 128), "WiFi": (270, 1000), "RFID": (23, 148)}
REPETITIONS = 20
ACTIONS = (
    "carrying weight", "mopping the floor", "using a phone", "throwing something", "picking something",
    "putting something on the table", "cutting something", "wearing a hat", "putting on clothing",
    "blowing dry hair", "combing hair", "brushing teeth", "drinking", "eating", "smoking", "shaking hands",
    "hugging", "handing something to someone", "kicking someone", "hitting someone with something",
    "choking someone's neck", "pushing someone", "body weight squats", "Tai Chi", "boxing", "weightlifting",
    "hula hooping", "jumping rope", "jumping jack", "high leg lifting", "waving", "clapping hands",
    "falling on the floor", "jumping", "running", "sitting down", "standing up", "turning", "walking",
    "stretching", "patting on the shoulder", "playing Er-Hu", "playing Ukulele", "playing drum",
    "foot stamping", "shaking head", "nodding", "drawing a circle", "drawing a cross", "pushing", "pulling",
    "swiping left", "swiping right", "swiping up", "swiping down",
)  # fmt: skip

Key = tuple[int, int, int, int]  # scene (0: no folder names it), volunteer, action, repetition; from 1


class RecordingError(Exception):
    """The reason why a file cannot be used, in a few words."""


@dataclass(frozen=True)
class Recordings:
    """An open index of N recordings in the order of scene, volunteer, action and repetition.

    Attributes:
        keys: (N, 4) int64, see ``Key``.
        files: modality -> N paths below ``source``.
        source: the folder of the files.
        fingerprint: SHA-256 over keys and sizes of files.
        unusable: name -> reason, for each recording left out because it is missing or unreadable.
    """

    keys: np.ndarray
    files: dict[str, tuple[str, ...]]
    source: str
    fingerprint: str
    unusable: dict[str, str]

    def read(self, modality: str, row: int) -> np.ndarray:
        """Return a recording as float32 of the modality's shape; ``DataError`` if its file is unreadable."""
        path = Path(self.source) / self.files[modality][row]
        try:
            check(path, modality)
            values = np.load(path, allow_pickle=False)
        except (RecordingError, OSError, ValueError) as error:
            raise DataError(
                f"The file {path} {error if isinstance(error, RecordingError) else 'cannot be read'}; run "
                "`python -m data_scripts xrf55` again.",
                "a recording cannot be read",
            ) from error
        return values.astype(np.float32, order="C", copy=False).reshape(SHAPES[modality])


def check(path: Path, modality: str) -> None:
    """Raise :class:`RecordingError` unless a file is a whole array of numbers of the modality's shape.

    Axes of length one are ignored, and radar's axes may be merged, as X-Fi's loader allows.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            file.seek(0)
            if head[:6] != np.lib.format.MAGIC_PREFIX:
                what = (
                    "is empty" if not head else "holds a pickle" if head[0] == 0x80 else "is not a .npy file"
                )
                raise RecordingError(what)
            version = np.lib.format.read_magic(file)
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}", None)
            if header is None:
                raise RecordingError("has a version of .npy that XRF55 does not use")
            shape, _, dtype = header(file)
            begin, size = file.tell(), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise RecordingError("is missing") from None
    except OSError as error:
        raise RecordingError(f"cannot be read ({error.strerror})") from error
    except RecordingError:
        raise
    except Exception as error:  # damage makes the header parser fail in many ways
        raise RecordingError("has a damaged header") from error
    if dtype.hasobject:
        raise RecordingError("holds Python objects, which are not loaded")
    if dtype.kind not in "fiu":
        raise RecordingError(f"holds {dtype} instead of real numbers")
    wanted = SHAPES[modality]
    if not _fits(shape, wanted, merged=modality == "mmWave"):
        raise RecordingError(f"has the shape {shape}, and {modality} has {wanted}")
    if size < begin + dtype.itemsize * math.prod(wanted):
        raise RecordingError("is cut short")


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...], merged: bool) -> bool:
    """Return whether two shapes agree except for axes of length one and neighboring axes ``merged``."""
    shape = tuple(n for n in shape if n != 1)
    ends = [set(accumulate(s, mul)) for s in (shape, wanted)]
    return shape == wanted or (merged and ends[0] <= ends[1] and math.prod(shape) == math.prod(wanted))


def recording_key(name: str) -> tuple[str, Key] | None:
    """Return the modality and key of a recording by its path, or None for any other file."""
    *folders, file = re.split(r"[/\\]", name)
    numbers = re.fullmatch(r"(\d{1,2})_(\d{1,2})_(\d{1,2})\.npy", file, re.ASCII)
    by_name = {m.lower(): m for m in SHAPES}
    modality = next((by_name[f.lower()] for f in reversed(folders) if f.lower() in by_name), None)
    if numbers is None or modality is None:
        return None
    scenes = [re.fullmatch(r"scene[ _-]?(\d)", f, re.IGNORECASE | re.ASCII) for f in folders]
    volunteer, action, repetition = map(int, numbers.groups())
    if not (1 <= action <= len(ACTIONS) and 1 <= repetition <= REPETITIONS):
        raise DataError(
            f"The file {name} would be repetition {repetition} of action {action}, but XRF55 has 1 to "
            f"{REPETITIONS} of 1 to {len(ACTIONS)}; remove it from the folder.",
            "a file has an impossible name",
        )
    return modality, (next((int(s[1]) for s in scenes if s), 0), volunteer, action, repetition)


def find_recordings(folder: Path) -> dict[Key, dict[str, str]]:
    """Return key -> modality -> path below ``folder``, sorted, for every recording anywhere in it."""
    found: dict[Key, dict[str, str]] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(os.path.join(parent, name), folder)
            known = recording_key(path)
            if known is None:
                continue
            modality, key = known
            other = found.setdefault(key, {}).setdefault(modality, path)
            if other != path:
                raise DataError(
                    f"The folder {folder} has one recording twice ({other} and {path}); name a folder that "
                    "has each once.",
                    "a recording appears twice",
                )
    if not found:
        raise DataError(
            f"The folder {folder} has no recordings, such as Scene1/WiFi/01_01_01.npy; name one with XRF55's "
            "files with --folder.",
            "there are no recordings",
        )
    return dict(sorted(found.items()))


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float | None = None,
    yes: bool = False,
    published: bool = True,
    progress: bool = True,
) -> Recordings:
    """Fetch and verify XRF55 and write the index into the data folder ``root``; return the open index.

    Args:
        root, mirror: as in :mod:`.digits`; a mirror that has ``xrf55`` serves its files.
        folder: a folder of the files, in any folders of modalities and scenes, read instead of a download.
        workers: files checked at once (default: one per core).
        tolerate: largest share of recordings that may be missing or unreadable; none by default.
        yes: start the download without asking.
        published: whether every volunteer needs all repetitions of all actions; False for stand-ins.
    """
    path = data_root(root) / INFO.prepared
    source = _source(path.parent, mirror, folder, yes)
    found = find_recordings(source)
    unusable = {}
    if published:
        people = {key[:2] for key in found}
        grid = ((a, r) for a in range(1, len(ACTIONS) + 1) for r in range(1, REPETITIONS + 1))
        absent = {(*person, *key) for key in grid for person in people} - set(found)
        unusable |= {_name(key): "no file at all" for key in sorted(absent)}
    for key, files in found.items():
        if len(files) < len(SHAPES):
            unusable[_name(key)] = f"no file of {' and '.join(m for m in SHAPES if m not in files)}"
    total = len(found) + sum(reason == "no file at all" for reason in unusable.values())
    allowed = int((tolerate or 0) * total)
    check_share(unusable, allowed, total, "recordings")
    whole = {key: files for key, files in found.items() if _name(key) not in unusable}
    sizes = [[*key, *((source / files[m]).stat().st_size for m in SHAPES)] for key, files in whole.items()]
    wanted = hashlib.sha256(json.dumps([VERSION, sizes, sorted(unusable)]).encode()).hexdigest()

    def one(item: tuple[Key, dict[str, str]]) -> tuple[Key, str | None]:
        key, files = item
        for m in SHAPES:
            try:
                check(source / files[m], m)
            except RecordingError as error:
                return key, f"{files[m]} {error}"
        return key, None

    def make() -> None:
        looked_at = in_order(one, list(whole.items()), workers or os.cpu_count() or 1)
        for key, reason in bar(looked_at, len(whole), progress, "recording"):
            if reason is not None:
                unusable[_name(key)] = reason
                check_share(unusable, allowed, total, "recordings")
        kept = {key: files for key, files in whole.items() if _name(key) not in unusable}
        plan = {
            "version": VERSION,
            "fingerprint": wanted,
            "source": str(source),
            "keys": [list(key) for key in kept],
            "files": {m: [files[m] for files in kept.values()] for m in SHAPES},
            "unusable": unusable,
        }
        with atomic_file(path) as handle:
            handle.write(json.dumps(plan).encode())

    def of_source(path: Path) -> Recordings | None:
        known = open_cache(path)  # the same files elsewhere have the same fingerprint
        return known if known is not None and known.source == str(source) else None

    recordings = open_or_build(path, wanted, of_source, make)
    check_share(recordings.unusable, allowed, total, "recordings")
    return recordings


def _name(key: Key) -> str:
    scene = f"scene {key[0]}, " if key[0] else ""
    return scene + "{:02d}_{:02d}_{:02d}".format(*key[1:])


def open_cache(path: Path) -> Recordings | None:
    """Return the index in ``path`` (a ``prepared.json``), or None if it is missing or damaged."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        keys = [tuple(key) for key in plan["keys"]]
        files = {m: tuple(plan["files"][m]) for m in SHAPES}
        consistent = all(
            recording_key(p) == (m, key) for m in SHAPES for key, p in zip(keys, files[m], strict=True)
        )
        named = isinstance(plan["source"], str) and isinstance(plan["unusable"], dict)
        if plan["version"] != VERSION or not keys or not consistent or not named:
            return None
        return Recordings(np.array(keys), files, plan["source"], plan["fingerprint"], plan["unusable"])
    except Exception:  # a damaged description can fail at any of this
        return None


def _source(home: Path, mirror: AnyPath | None, folder: AnyPath | None, yes: bool) -> Path:
    """Return a folder with recordings: the named one, the mirror's, or the downloaded one."""
    if folder is not None:
        chosen = Path(folder).expanduser().absolute()
        if not chosen.is_dir():
            raise DataError(f"There is no folder {chosen}; check --folder.", "the folder is missing")
        return chosen
    if mirror and (Path(mirror).expanduser() / "xrf55").is_dir():
        return Path(mirror).expanduser().absolute() / "xrf55"
    files, scratch = home / "files", home / "kaggle"
    if (home / "unpacked").is_file():
        return files
    with exclusive(home / "download"):
        have = sum(part.stat().st_size for part in scratch.rglob("*.archive"))
        confirm_download(INFO, home, ARCHIVE - have, ARCHIVE - have + UNPACKED, yes)
        unpacked = kaggle.download(KAGGLE, scratch)
        with of_disk(files):
            shutil.rmtree(files, ignore_errors=True)
            os.replace(unpacked, files)
            (home / "unpacked").touch()
        shutil.rmtree(scratch, ignore_errors=True)
    return files


def counts(recordings: Recordings) -> Mapping[str, int]:
    """Return the number of recordings, volunteers, scenes, and pairs of a volunteer and a scene."""
    keys = recordings.keys
    return {
        "recordings": len(keys),
        "volunteers": len(np.unique(keys[:, 1])),
        "scenes": len(np.unique(keys[:, 0])),
        "volunteers in a scene": len(np.unique(keys[:, :2], axis=0)),
    }


def summary_lines(recordings: Recordings) -> list[str]:
    """Return the lines to print about an index: each recording left out, the counts, and the folder."""
    said = [f"{name}: left out, {reason}" for name, reason in recordings.unusable.items()]
    said += [", ".join(f"{count} {what}" for what, count in counts(recordings).items())]
    return [*said, f"indexed where they are, in {recordings.source}, sha256 {recordings.fingerprint}"]
