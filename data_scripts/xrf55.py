"""Prepare XRF55, Part 1: 55 actions of 20 people in four scenes, seen by radar, WiFi and RFID at once.

A recording is three ``.npy`` files of one name, volunteer_action_repetition, in folders of the modality and
the scene. They take 97 GB and are not copied; a verified index of them is prepared instead. Volunteers have
the same number everywhere, and some appear in two scenes. Part 2, with 19 more people in scene 1, is not part
of X-Fi's protocol.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, product
from operator import mul
from pathlib import Path
from threading import Lock

import numpy as np

from . import kaggle
from .clip_cache import Losses, bar, confirm_download, exclusive, in_order, open_or_build
from .fetch import (
    START,
    AnyPath,
    DataError,
    DatasetInfo,
    atomic_file,
    data_root,
    no_content,
    of_disk,
    own_folder,
)

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

# Scene -> its volunteers, as two other projects with the data list them. Part 2 is kept in Scene1_part2.
PEOPLE = {1: range(1, 12), 2: (5, 24, 31), 3: (6, 7, 23), 4: (3, 4, 13)}
PART_2 = range(12, 31)  # volunteers of scene 1
# Words for layouts, and a pattern of their files' paths.
KINDS = {
    "Kaggle's": r"(.*/)?Scene(\d)/Scene\2/\w+/\w+\.npy",
    "X-Fi's": r"(.*/)?(train|test)_data/\w+/Scene(\d)/Scene\3/\w+\.npy",
}

# The shape of one file. Radar: 17 frames of range by Doppler; WiFi: 9 links of 30 subcarriers by time; RFID:
# 23 tags by time.
SHAPES = {"mmWave": (17, 256, 128), "WiFi": (270, 1000), "RFID": (23, 148)}
REPETITIONS, TRAINED = 20, 14  # the first 14 train, the others test
LAYOUTS = "recordings, such as Scene1/Scene1/WiFi/01_01_01.npy"
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

# NumPy reads a header with Python's own parser, which fails at random in threads of Python 3.11.0 to 3.11.7
# (python/cpython#106905).
PARSER = Lock()

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
            shape, fortran, dtype, begin = check_file(path, modality)
            values = np.fromfile(path, dtype, math.prod(shape), offset=begin)
            values = values.reshape(shape, order="F" if fortran else "C")
        except (RecordingError, OSError, ValueError) as error:
            raise DataError(
                f"The file {path} {error if isinstance(error, RecordingError) else 'cannot be read'}; run "
                "`python -m data_scripts xrf55` again.",
                "a recording cannot be read",
            ) from error
        return values.astype(np.float32, order="C", copy=False).reshape(SHAPES[modality])


def check_file(path: Path, modality: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return a file's shape, whether it is in Fortran's order, its type, and the position of its values.

    Raise :class:`RecordingError` unless the file is a whole array of numbers of the modality's shape. Axes of
    length one are ignored, and radar's axes may be merged, as X-Fi's loader allows.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(START)
            file.seek(0)
            if head[:6] != np.lib.format.MAGIC_PREFIX:
                what = "holds a pickle" if head[:1] == b"\x80" else "is not a .npy file"
                raise RecordingError(no_content(head) or what)
            version = np.lib.format.read_magic(file)
            header = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}", None)
            if header is None:
                raise RecordingError("has a version of .npy that XRF55 does not use")
            with PARSER:
                shape, fortran, dtype = header(file)
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
    return shape, fortran, dtype, begin


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
    form = r"scene[ _-]?(\d)(?:[ _-]part[ _-]?2)?"
    scenes = [re.fullmatch(form, f, re.IGNORECASE | re.ASCII) for f in folders]
    volunteer, action, repetition = map(int, numbers.groups())
    if not (1 <= action <= len(ACTIONS) and 1 <= repetition <= REPETITIONS):
        raise DataError(
            f"The file {name} would be repetition {repetition} of action {action}, but XRF55 has 1 to "
            f"{REPETITIONS} of 1 to {len(ACTIONS)}; remove it from the folder.",
            "a file has an impossible name",
        )
    return modality, (next((int(s[1]) for s in scenes if s), 0), volunteer, action, repetition)


Found = tuple[Path, dict[Key, dict[str, str]]]  # a folder; key -> modality -> path below it


def find(folder: Path) -> tuple[str, Found] | None:
    """Return the layout of a folder and its recordings in order, or None if it has none."""
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
        return None
    example = next(iter(found[min(found)].values()))
    posix = example.replace(os.sep, "/")
    kind = next((name for name, form in KINDS.items() if re.fullmatch(form, posix)), "another")
    said = f"the names of {len(found)} recordings in {kind} layout, such as {example}"
    return said, (folder, dict(sorted(found.items())))


def check_people(folder: Path, found: Mapping[Key, Mapping[str, str]], part2: bool) -> None:
    """Raise a :class:`DataError` unless all of Part 1, and nothing else, is there; ``part2``: also Part 2.

    All is: each person in each scene, each of them in each modality.
    """
    second = {(1, person) for person in PART_2}
    expected = {(scene, person) for scene, people in PEOPLE.items() for person in people}
    expected |= second if part2 else set()
    there = {key[:2] for key in found}
    kinds = {(m, *key[:2]) for key, files in found.items() for m in files}
    scenes = {(m, scene) for m, scene, _ in kinds}
    told = []
    if there & (second - expected):
        told.append("has Part 2 (people 12 to 30 of scene 1), which X-Fi's protocol leaves out; add --part2")
    told += [
        f"has {_person(*who)}, who is not in XRF55's list; remove it" for who in sorted(there - expected)
    ]
    told += [
        f"has no recordings of scene {scene}; complete it" for scene in PEOPLE if scene not in dict(there)
    ]
    told += [f"has no recordings of {_person(*who)}; complete it" for who in sorted(expected - there)]
    told += [
        f"has no {m} files of scene {s}; complete it"
        for m, s in product(SHAPES, PEOPLE)
        if (m, s) not in scenes
    ]
    told += [
        f"has no {m} files of {_person(*who)}; complete it"
        for m, who in product(SHAPES, sorted(expected))
        if (m, *who) not in kinds
    ]
    if told:
        raise DataError(
            f"The folder {folder} {told[0]}, or name Part 1's folder with --from.",
            f"the folder {told[0].partition(';')[0]}",
        )


def _person(scene: int, person: int) -> str:
    return f"person {person:02d} in scene {scene}" if scene else f"person {person:02d} in no scene's folder"


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = 0.0,
    yes: bool = False,
    part2: bool = False,
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
        part2: whether Part 2's people must be in the folder too.
        published: whether all people, actions and repetitions must be there; False for stand-ins.
    """
    path = data_root(root) / INFO.prepared
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is None:
        place = own_folder(INFO.name, _download(path.parent, yes), None, find, LAYOUTS)
    source, found = place
    losses = _losses(found, tolerate, published)
    if published:
        check_people(source, found, part2)
    losses.check()
    unusable = losses.reasons
    whole = {key: files for key, files in found.items() if _name(key) not in unusable}
    sizes = [[*key, *((source / files[m]).stat().st_size for m in SHAPES)] for key, files in whole.items()]
    wanted = hashlib.sha256(json.dumps([VERSION, sizes, sorted(unusable)]).encode()).hexdigest()

    def make() -> None:
        for name, reason in faults(source, whole, workers, progress):
            unusable[name] = reason
            losses.check()
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
    losses.reasons = recordings.unusable
    losses.check()
    return recordings


def faults(
    source: Path, whole: Mapping[Key, Mapping[str, str]], workers: int | None, progress: bool
) -> Iterator[tuple[str, str]]:
    """Yield name and reason of each recording with a file that :func:`check_file` refuses."""

    def one(key: Key) -> tuple[Key, str | None]:
        for m, file in whole[key].items():
            try:
                check_file(source / file, m)
            except RecordingError as error:
                return key, f"{file} {error}"
        return key, None

    looked_at = in_order(one, list(whole), workers or os.cpu_count() or 1)
    for key, reason in bar(looked_at, len(whole), progress, "recording"):
        if reason is not None:
            yield _name(key), reason


def _losses(found: Mapping[Key, Mapping[str, str]], tolerate: float, published: bool) -> Losses:
    """Return the recordings that lack a modality or, if ``published``, all files.

    No person of a scene and no action may be lost wholly.
    """
    keys = set(found)
    if published:
        every = product(range(1, len(ACTIONS) + 1), range(1, REPETITIONS + 1))
        keys |= {(*person, *key) for key in every for person in {key[:2] for key in found}}
    parts = {_name(key): "train" if key[3] <= TRAINED else "test" for key in sorted(keys)}
    reasons = {
        _name(key): f"no file of {' and '.join(m for m in SHAPES if m not in found[key])}"
        if key in found
        else "no file at all"
        for key in sorted(keys)
        if len(found.get(key, ())) < len(SHAPES)
    }
    groups = {_name(key): (_person(*key[:2]), f"action {key[2]}") for key in keys}
    return Losses(parts, tolerate, tuple(dict.fromkeys(parts.values())), "recordings", groups, reasons)


def check(
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = 0.0,
    part2: bool = False,
) -> Iterator[str]:
    """Yield per split how many recordings ``prepare`` would get and from where; see :func:`.crema_d.check`.

    Of each file in a folder the header is read. Kaggle shows no list of files; without a folder, only the
    token is looked for.
    """
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is None:
        said = "a token is there" if kaggle.has_token() else f"without a token, which belongs {kaggle.WHERE}"
        yield f"Part 1, {ARCHIVE / 1e9:.0f} GB, is at kaggle.com/datasets/{KAGGLE}; {said}"
        return
    source, found = place
    check_people(source, found, part2)
    losses = _losses(found, tolerate, True)
    whole = {key: files for key, files in found.items() if _name(key) not in losses.reasons}
    losses.reasons |= faults(source, whole, workers, progress=False)
    yield from losses.report(dict.fromkeys(losses.splits, str(source)))


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


def _download(home: Path, yes: bool) -> Path:
    """Return the folder of the unpacked files; download the archive first if needed."""
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
