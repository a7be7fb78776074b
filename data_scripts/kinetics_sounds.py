"""Prepare Kinetics-Sounds: ten-second videos of audible actions from Kinetics-400.

Kinetics comes in large archives, each with clips of all classes. They are streamed, a few at a time, and only
the listed clips reach the disk. A folder that has the clips already is read in place.
"""

from __future__ import annotations

import csv
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from . import clip_cache
from .clip_cache import Clip, Prepared
from .clips import Preprocessing, read_frames, read_sound_track
from .fetch import (
    AnyPath,
    Body,
    DataError,
    DatasetInfo,
    Source,
    atomic_file,
    data_root,
    fetched,
    published_text,
    remote_size,
    request,
)

INFO = DatasetInfo(
    name="kinetics_sounds",
    size="all archives of Kinetics-400 are streamed (the command says how much); 26 GB prepared",
    licence="not stated by the source; the videos are YouTube's uploaders'",
    source="Kinetics-400 (github.com/cvdfoundation/kinetics-dataset), with the lists of OGM-GE "
    "(github.com/GeWu-Lab/OGM-GE_CVPR2022)",
    prepared="kinetics_sounds/prepared.json",
)
VARIANTS = {"lists": INFO.prepared, "folders": "kinetics_sounds/prepared_folders.json"}
CLIP_BYTES = 1.5e6  # of a prepared clip
CLIP_LIMIT = 256 * 2**20  # of a clip in an archive, which is read into memory; real ones have a few MB
SHARE_KEPT = 0.08  # of the archives, rounded up: 17,396 of more than 240,000 clips

# SHA-256 after a byte-order mark and carriage returns are removed.
_OGM_GE = (
    "https://raw.githubusercontent.com/GeWu-Lab/OGM-GE_CVPR2022/343dc1d95c9bda88f105c0da8d24f185e0e98b54"
)
LISTS = {
    "train": (
        Source(f"{_OGM_GE}/data/KineticSound/my_train.txt", "kinetics_sounds/my_train.txt"),
        "6c0d11f5977ecceb2005c5bdb356ced52cae7c39f9f9eb4137479a4c2e874780",
    ),
    "test": (
        Source(f"{_OGM_GE}/data/KineticSound/my_test.txt", "kinetics_sounds/my_test.txt"),
        "6dec6750836d9b9db1b2ded6fca3348de7766c78513ac55e2ba4a668f7b451bd",
    ),
}
FOLDER_CLASSES = (
    Source(
        "https://raw.githubusercontent.com/shicaiwei123/ICCV2025-GDL/main/data/KineticSound/class.txt",
        "kinetics_sounds/dgl_class.txt",
    ),
    "60d2384c706dba271e71738e59c0de766d952621f52ed084260abc736179243f",
)

_KINETICS = "https://s3.amazonaws.com/kinetics/400"
ANNOTATIONS = {
    part: Source(f"{_KINETICS}/annotations/{name}.csv", f"kinetics_sounds/annotations/{name}.csv")
    for part, name in (("train", "train"), ("test", "val"))
}
# First the replacements of clips that are damaged in the other archives: existing files are not overwritten.
REPLACEMENTS = f"{_KINETICS}/replacement_for_corrupted_k400.tgz"
INDEXES = (f"{_KINETICS}/train/k400_train_path.txt", f"{_KINETICS}/val/k400_val_path.txt")

# As DGL's code: 16 kHz, windows of 16 ms every 8 ms. Its five seconds (129 x 626) are cut from the stored
# ten when a clip is used.
PREPROCESSING = Preprocessing(sample_rate=16000, seconds=10, window=256, hop=128, frames=6)
TIMES = 5 * 16000 // 128 + 1
TOLERATED = 0.1  # share of clips that may be missing: Kinetics shrinks as videos are taken down
TRIES = 3
CLIP_NAME = re.compile(r"(.{11})_(\d{6})_(\d{6})\.mp4")

Row = tuple[str, int, str]  # clip as "youtubeid_start", label, part


def read_list(mirror: AnyPath | None = None, *, published: bool = True) -> list[Row]:
    """Return the rows of the published lists: 14,799 with part "train", then 2,597 with "test"; 31 labels.

    A row names a clip by its video and its start in seconds; in training lists also by its end.
    """
    found = []
    for part, (source, sha256) in LISTS.items():
        for line in published_text(source, sha256 if published else None, mirror, progress=False):
            row = re.fullmatch(r"([\w-]{11})_(\d{1,6})(?:_\d{1,6})?,10,(\d{1,2})", line, re.ASCII)
            if row is None:
                raise DataError(
                    f"Row {line!r} of the list {source.mirror_path} is not a clip name and a label; get the "
                    "list again.",
                    "a list of clips is damaged",
                )
            found.append((f"{row[1]}_{int(row[2]):06d}", int(row[3]), part))
    return found


def annotations(mirror: AnyPath | None = None) -> dict[str, tuple[str, str]]:
    """Return clip -> (class name, part) from Kinetics-400's training and validation annotations."""
    found = {}
    for part, source in ANNOTATIONS.items():
        with (
            fetched(source, mirror, progress=False) as path,
            open(path, newline="", encoding="utf-8") as file,
        ):
            try:
                for row in csv.DictReader(file):
                    video, start = row["youtube_id"], row["time_start"]
                    clip = re.fullmatch(r"[\w-]{11},\d{1,6}", f"{video},{start}", re.ASCII)
                    if clip is None or not row["label"]:
                        raise ValueError
                    found[f"{video}_{int(start):06d}"] = (row["label"], part)
            except (KeyError, ValueError, csv.Error) as error:
                raise DataError(
                    f"The annotations {source.mirror_path} are not Kinetics'; get the file again.",
                    "the annotations are damaged",
                ) from error
    return found


def class_names(rows: list[Row], known: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Return each label's most frequent name in the annotations; the lists themselves have no names."""
    votes: dict[int, Counter] = {}
    for name, label, _ in rows:
        votes.setdefault(label, Counter()).update([known[name][0]] if name in known else [])
    return tuple(
        votes[label].most_common(1)[0][0] if votes[label] else f"class {label}" for label in sorted(votes)
    )


def in_folders(
    mirror: AnyPath | None, known: Mapping[str, tuple[str, str]]
) -> tuple[list[Row], tuple[str, ...]]:
    """Return rows and class names of DGL's variant: all clips of 33 classes, tested on Kinetics' validation.

    DGL's code reads class folders instead of the published lists. Its classifier has 34 outputs, one of them
    never used; here there are 33.
    """
    source, sha256 = FOLDER_CLASSES
    text = ",".join(published_text(source, sha256, mirror, progress=False))
    names = tuple(name.strip().replace("_", " ") for name in text.split(","))
    rows = [(clip, names.index(name), part) for clip, (name, part) in known.items() if name in names]
    return sorted(rows, key=lambda row: (row[2] != "train", row)), names


def files(folder: Path, name: str) -> tuple[Path]:
    """Return the path of a clip's video in a folder of Kinetics clips, at any depth."""
    return (_place(_index(folder), folder, name),)


def _place(index: Mapping[str, Path], folder: Path, name: str) -> Path:
    """Return a clip's file, or the place where it should be: clips last ten seconds."""
    return index.get(name, folder / f"{name}_{int(name[12:]) + 10:06d}.mp4")


def _index(folder: Path) -> dict[str, Path]:
    """Return clip -> file for all files below ``folder`` that have the name of a Kinetics clip."""
    return {
        f"{match[1]}_{match[2]}": path
        for path in sorted(folder.rglob("*.mp4"))
        if (match := CLIP_NAME.fullmatch(path.name))
    }


def read(clip: Clip, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray, float]:
    """Return samples, frames and aspect of a clip."""
    (video,) = clip.files
    return read_sound_track(video, preprocessing), *read_frames(video, preprocessing)


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    clips: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float | None = None,
    yes: bool = False,
    published: bool = True,
    frame_size: int = PREPROCESSING.frame_size,
    variant: str = "lists",
    progress: bool = True,
) -> Prepared:
    """Fetch and decode Kinetics-Sounds and return the open cache. Arguments as in :mod:`.crema_d`, and:

    clips: a folder with Kinetics' clips, ``{video}_{start:06d}_{end:06d}.mp4`` at any depth.
    variant: "lists" (31 classes, published lists) or "folders" (33 classes, see :func:`in_folders`).
    """
    path = data_root(root) / VARIANTS[variant]
    try:
        known = annotations(mirror)
    except DataError:
        if variant == "folders":
            raise
        known = {}  # only the names of classes are lost
    if variant == "folders":
        rows, names = in_folders(mirror, known)
    else:
        rows = read_list(mirror, published=published)
        names = class_names(rows, known)
    folder = _clips_folder(path.parent, rows, mirror, clips, workers or 4, yes, progress)
    index = _index(folder)
    return clip_cache.prepare(
        path,
        [Clip(name, (_place(index, folder, name),), label, part) for name, label, part in rows],
        read,
        clip_cache.with_frame_size(PREPROCESSING, frame_size),
        class_names=names,
        source=folder,
        tolerated=TOLERATED if tolerate is None else tolerate,
        workers=workers,
        progress=progress,
    )


summary_lines = clip_cache.summary_lines


def _clips_folder(
    home: Path,
    rows: Sequence[Row],
    mirror: AnyPath | None,
    clips: AnyPath | None,
    workers: int,
    yes: bool,
    progress: bool,
) -> Path:
    """Return a folder of clips: ``clips``, the mirror's, or one filled from the archives."""
    if clips is not None:
        folder = Path(clips).expanduser().absolute()
        if not folder.is_dir():
            raise DataError(
                f"There is no folder {folder}; name the folder of Kinetics' clips with --clips.",
                "the folder of clips is missing",
            )
        return folder
    if mirror and (Path(mirror).expanduser() / "kinetics_sounds" / "clips").is_dir():
        return Path(mirror).expanduser().absolute() / "kinetics_sounds" / "clips"
    folder = home / "clips"
    wanted = {name for name, _, _ in rows}
    if wanted - _index(folder).keys():
        archives = [REPLACEMENTS, *(url for index in INDEXES for url in _lines(index))]
        stream(archives, wanted, folder, home, workers=workers, yes=yes, progress=progress)
    return folder


def stream(
    archives: list[str],
    wanted: set[str],
    folder: Path,
    home: Path,
    *,
    workers: int,
    yes: bool,
    progress: bool,
) -> None:
    """Read ``archives`` from end to end and keep the ``wanted`` clips in ``folder``.

    Finished archives are noted in ``home/archives.txt`` and skipped the next time. Raises :class:`DataError`
    if some could not be read; the clips of the others stay.
    """
    from tqdm.auto import tqdm

    note = home / "archives.txt"
    done = set(note.read_text(errors="replace").split()) if note.exists() else set()
    left = [url for url in archives if url not in done]
    if not left:
        return
    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(remote_size, left))
    disk = SHARE_KEPT * total + CLIP_BYTES * len(wanted)
    clip_cache.confirm_download(INFO, home, total, disk, yes)
    folder.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []

    def one(url: str) -> None:
        for attempt in range(TRIES):
            try:
                _keep(url, wanted, folder, bar.update)
                with open(note, "a") as file:
                    file.write(url + "\n")
                return
            except DataError:  # of this machine's disk
                raise
            except Exception as error:  # damage makes tarfile and zlib fail in many ways
                if attempt == TRIES - 1:
                    failed.append(f"{url}: {type(error).__name__}")

    with (
        tqdm(
            desc="streaming", total=total, unit="B", unit_scale=True, mininterval=1, disable=not progress
        ) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        one(left[0])
        list(pool.map(one, left[1:]))
    if failed:
        raise DataError(
            f"Could not read {len(failed)} of {len(archives)} archives of Kinetics ({failed[0]}); run the "
            "command again to continue.",
            "the download failed",
        )


def _keep(url: str, wanted: set[str], folder: Path, on_bytes: Callable[[int], object]) -> None:
    """Write the wanted clips of one archive into ``folder``, each atomically and under its bare name."""
    with request(url) as answer, tarfile.open(fileobj=Body(answer, on_bytes), mode="r|gz") as tar:
        for member in tar:
            match = CLIP_NAME.fullmatch(PurePosixPath(member.name).name)
            if not member.isfile() or match is None or f"{match[1]}_{match[2]}" not in wanted:
                continue
            if member.size > CLIP_LIMIT:
                continue
            target = folder / match[0]
            if not target.exists():
                content = tar.extractfile(member).read()  # first: its errors are not the disk's
                with atomic_file(target) as handle:
                    handle.write(content)


def _lines(url: str) -> list[str]:
    """Return the addresses in an index of archives."""
    with fetched(Source(url, f"kinetics_sounds/{url.rpartition('/')[2]}"), progress=False) as path:
        return path.read_text().split()
