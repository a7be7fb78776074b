"""Prepare Kinetics-Sounds: ten-second videos of audible actions from Kinetics-400.

Kinetics comes in large archives, each with clips of all classes. They are streamed, a few at a time, and only
the listed clips reach the disk. A folder that has the clips already, or their sounds and frames in DGL's
layout, is read in place.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from . import clip_cache
from .clip_cache import Clip, Prepared
from .clips import Preprocessing
from .fetch import (
    AnyPath,
    Body,
    DataError,
    DatasetInfo,
    Source,
    data_root,
    fetched,
    of_disk,
    own_folder,
    published_text,
    remote_size,
    request,
)

INFO = DatasetInfo(
    name="kinetics_sounds",
    size="two splits of Kinetics-400 are streamed (--check says how much); 26 GB prepared",
    licence="not stated by the source; the videos are YouTube's uploaders'",
    source="Kinetics-400 (github.com/cvdfoundation/kinetics-dataset), with the lists of OGM-GE "
    "(github.com/GeWu-Lab/OGM-GE_CVPR2022)",
    prepared="kinetics_sounds/prepared.json",
)
PARTS = ("train", "test")
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
# The split of Kinetics-400 that has the clips of each part. ActivityNet's tables show it for the lists: its
# test split has all test clips but these three, no other split has any, and neither test nor validation has
# a training clip.
SPLITS = {"lists": {"train": "train", "test": "test"}, "folders": {"train": "train", "test": "val"}}
IN_NO_TABLE = ("Q78zQuQ9oeg_000034", "ZSnZ4DLJKAM_000070", "r_5GkTNsM4g_000007")
KINETICS_SPLITS = ("train", "val", "test")
ANNOTATIONS = {
    split: Source(f"{_KINETICS}/annotations/{split}.csv", f"kinetics_sounds/annotations/{split}.csv")
    for split in KINETICS_SPLITS
}
INDEXES = {split: f"{_KINETICS}/{split}/k400_{split}_path.txt" for split in KINETICS_SPLITS}
# First the replacements of clips that are damaged in the other archives: existing files are not overwritten.
REPLACEMENTS = f"{_KINETICS}/replacement_for_corrupted_k400.tgz"

# As DGL's code: 16 kHz, windows of 16 ms every 8 ms. Its five seconds (129 x 626) are cut from the stored
# ten when a clip is used.
PREPROCESSING = Preprocessing(sample_rate=16000, seconds=10, window=256, hop=128, frames=6)
TIMES = 5 * 16000 // 128 + 1
TOLERATED = 0.1  # share of a split that may be missing: Kinetics shrinks as videos are taken down
TRIES = 3
# Of a video, a sound, or a folder of frames, by the ending.
CLIP_NAME = re.compile(r"(.{11}_\d{6})_\d{6}(\.mp4|\.wav|)")
LAYOUTS = "videos (youtubeid_start_end.mp4), or with sounds and folders of frames of these names"

Row = tuple[str, int, str]  # clip as "youtubeid_start", label, part
Place = tuple[Path, Mapping[str, tuple[Path, ...]]]  # a folder, and clip -> its files below it


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


def annotations(splits: Mapping[str, str], mirror: AnyPath | None = None) -> dict[str, tuple[str, str]]:
    """Return clip -> (class name, part) from Kinetics-400's annotations of ``splits`` (part -> split).

    Older copies of the test split's have no names; theirs are empty.
    """
    found = {}
    for part, split in splits.items():
        source = ANNOTATIONS[split]
        with (
            fetched(source, mirror, progress=False) as path,
            open(path, newline="", encoding="utf-8") as file,
        ):
            try:
                for row in csv.DictReader(file):
                    video, start, name = row["youtube_id"], row["time_start"], row.get("label", "")
                    clip = re.fullmatch(r"[\w-]{11},\d{1,6}", f"{video},{start}", re.ASCII)
                    if clip is None or not name and split != "test":
                        raise ValueError
                    found[f"{video}_{int(start):06d}"] = (name or "", part)
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
        votes.setdefault(label, Counter()).update(filter(None, known.get(name, ())[:1]))
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


def listed(
    variant: str, mirror: AnyPath | None, published: bool = True
) -> tuple[list[Row], tuple[str, ...], dict[str, tuple[str, str]]]:
    """Return rows and class names of a variant, and the annotations of its splits (none if unreachable)."""
    try:
        known = annotations(SPLITS[variant], mirror)
    except DataError:
        if variant == "folders":
            raise
        known = {}  # only the names of classes are lost
    if variant == "folders":
        return *in_folders(mirror, known), known
    rows = read_list(mirror, published=published)
    return rows, class_names(rows, known), known


def find(folder: Path) -> tuple[str, Place] | None:
    """Return the layout of a folder of clips, at any depth, and its place; None if it has no known one."""
    kinds: dict[str, dict[str, Path]] = {".mp4": {}, ".wav": {}, "": {}}
    for parent, folders, names in os.walk(folder):
        for name in (*names, *folders):
            if match := CLIP_NAME.fullmatch(name):
                kinds[match[2]].setdefault(match[1], Path(parent, name))
        folders[:] = sorted(name for name in folders if not CLIP_NAME.fullmatch(name))
    videos, sounds, pictures = kinds.values()
    both = {clip: (sounds[clip], pictures[clip]) for clip in sounds.keys() & pictures.keys()}
    said = [f"the names of {len(videos)} videos"] * bool(videos)
    said += [f"DGL's sounds and frames by the names of {len(both)} clips"] * bool(both)
    index = {**both, **{clip: (path,) for clip, path in videos.items()}}
    return (" and ".join(said), (folder, index)) if said else None


def _clips(rows: Sequence[Row], place: Place) -> list[Clip]:
    folder, index = place
    expected = ((folder / f"{name}_{int(name[12:]) + 10:06d}.mp4",) for name, _, _ in rows)  # ten seconds
    return [
        Clip(name, index.get(name, other), label, part)
        for (name, label, part), other in zip(rows, expected, strict=True)
    ]


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = TOLERATED,
    yes: bool = False,
    published: bool = True,
    frame_size: int = PREPROCESSING.frame_size,
    variant: str = "lists",
    progress: bool = True,
) -> Prepared:
    """Fetch and decode Kinetics-Sounds and return the open cache. Arguments as in :mod:`.crema_d`, and:

    folder: Kinetics' clips in one of the ``LAYOUTS``, at any depth.
    variant: "lists" (31 classes, published lists) or "folders" (33 classes, see :func:`in_folders`).
    """
    path = data_root(root) / VARIANTS[variant]
    rows, names, _ = listed(variant, mirror, published)
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is None:
        home = path.parent / "clips"
        found, wanted = find(home), {name for name, _, _ in rows}
        if found is None or wanted - found[1][1].keys():
            archives = [REPLACEMENTS, *(url for split in SPLITS[variant].values() for url in _index(split))]
            stream(archives, wanted, home, path.parent, workers=workers or 4, yes=yes, progress=progress)
        place = (find(home) or ("", (home, {})))[1]
    return clip_cache.prepare(
        path,
        _clips(rows, place),
        clip_cache.read_clip,
        clip_cache.with_frame_size(PREPROCESSING, frame_size),
        class_names=names,
        source=place[0],
        tolerated=tolerate,
        workers=workers,
        progress=progress,
    )


def check(
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = TOLERATED,
    variant: str = "lists",
) -> Iterator[str]:
    """Yield per split how many clips ``prepare`` would get and from where; see :func:`.crema_d.check`."""
    rows, _, known = listed(variant, mirror)
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is not None:
        losses, where = clip_cache.missing(_clips(rows, place), tolerate), dict.fromkeys(PARTS, str(place[0]))
    else:
        absent = {n: "no annotation" for n, _, part in rows if known.get(n, ())[1:] != (part,)}
        losses = clip_cache.Losses({n: part for n, _, part in rows}, tolerate, PARTS, reasons=absent)
        where = {part: _archives(split, workers or 8) for part, split in SPLITS[variant].items()}
    yield from losses.report(where)


def _archives(split: str, workers: int) -> str:
    """Return what and where the archives of a split are; raise :class:`DataError` if one does not answer."""
    urls = _index(split)
    with ThreadPoolExecutor(workers) as pool:
        sizes = list(pool.map(remote_size, urls))
    if not urls or 0 in sizes:
        raise DataError(
            f"{sizes.count(0)} of {len(urls)} archives in {INDEXES[split]} do not answer; try again later.",
            "the archives cannot be reached",
        )
    size = f"{len(urls)} archives, {sum(sizes) / 1e9:.0f} GB"
    return f"Kinetics-400's {split} split ({size}, {INDEXES[split]})"


summary_lines = clip_cache.summary_lines


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

    Finished archives are noted in ``home``, per set of clips, and skipped the next time. Raises
    :class:`DataError` if some could not be read; the clips of the others stay.
    """
    from tqdm.auto import tqdm

    note = home / f"archives-{hashlib.sha256(' '.join(sorted(wanted)).encode()).hexdigest()[:12]}.txt"
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
            if not member.isfile() or match is None or match[2] != ".mp4" or match[1] not in wanted:
                continue
            if member.size > CLIP_LIMIT:
                continue
            target = folder / match[0]
            if not target.exists():
                content = tar.extractfile(member).read()  # first: its errors are not the disk's
                part = target.with_name(f"{target.name}.part")
                with of_disk(target):
                    part.write_bytes(content)
                    os.replace(part, target)


def _index(split: str) -> list[str]:
    """Return the addresses of the archives of a split of Kinetics-400."""
    source = Source(INDEXES[split], f"kinetics_sounds/k400_{split}_path.txt")
    with fetched(source, progress=False) as path:
        return path.read_text().split()
