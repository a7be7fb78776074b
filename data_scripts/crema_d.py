"""Prepare CREMA-D: 7,442 spoken sentences by 91 actors in six emotions, sound and picture.

The files come from the official repository, which keeps sounds and videos in Git LFS, or from a local folder
in its layout or in that of OGM-GE and DGL. The split is the one that the published comparisons share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from . import clip_cache, lfs
from .clip_cache import Clip, Prepared
from .clips import Preprocessing
from .fetch import (
    AnyPath,
    DataError,
    DatasetInfo,
    Source,
    data_root,
    folders_below,
    own_folder,
    published_text,
)

INFO = DatasetInfo(
    name="crema_d",
    size="3.1 GB download, 5 GB prepared",
    licence="Open Database License 1.0 (contents: Database Contents License 1.0)",
    source="CREMA-D (github.com/CheyneyComputerScience/CREMA-D), with the split of OGM-GE "
    "(github.com/GeWu-Lab/OGM-GE_CVPR2022)",
    prepared="crema_d/prepared.json",
)
# SHA-256 after a byte-order mark and carriage returns are removed; copies of the files differ only in these.
_SPLIT = "https://raw.githubusercontent.com/GeWu-Lab/OGM-GE_CVPR2022/343dc1d95c9bda88f105c0da8d24f185e0e98b54"
SPLITS = {
    "train": (
        Source(f"{_SPLIT}/data/CREMAD/train.csv", "crema_d/train.csv"),
        "7b95d291b847eac9c1447bb9fb63b47176d182987ac74fe041e4dd493c6d0abd",
    ),
    "test": (
        Source(f"{_SPLIT}/data/CREMAD/test.csv", "crema_d/test.csv"),
        "959a667af66a01dc439b12d6ec9dc57b36a88e947f48ad63531a4b91f769394f",
    ),
}

# The archive of the repository holds Git LFS pointers instead of sounds and videos. The first commit with
# sounds is f06ffd71; this is the newest one.
_COMMIT = "1658cd342dff90010aa843eaeebd53610a08b1dc"
# Counted there: files and bytes by the pointers, and the SHA-256 of the files' sorted names, a line each.
FILES = {"AudioWAV": (7_442, 605_899_936), "VideoFlash": (7_442, 2_443_021_141)}
NAMES = "425d2798a0185232f4d68b7c7afc22961a726766b080aad7d3628d9edf406193"
DOWNLOAD, DISK = sum(size for _, size in FILES.values()), 8.5e9  # bytes; the second with the prepared arrays
ARCHIVES = (
    Source(
        f"https://github.com/CheyneyComputerScience/CREMA-D/archive/{_COMMIT}.tar.gz",
        f"crema_d/CREMA-D-{_COMMIT}.tar.gz",
    ),
    Source(
        "https://gitlab.com/api/v4/projects/cs-cooper-lab%2Fcrema-d-mirror/repository/archive.tar.gz"
        "?include_lfs_blobs=false",
        "crema_d/crema-d-mirror.tar.gz",
    ),
)
SERVERS = (
    "https://github.com/CheyneyComputerScience/CREMA-D.git/info/lfs",
    "https://gitlab.com/cs-cooper-lab/crema-d-mirror.git/info/lfs",
)

EMOTIONS = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "FEA": "fear", "DIS": "disgust", "ANG": "anger"}
SOUNDS, VIDEOS = FILES
PICTURES = {
    VIDEOS: ".flv",
    "Image-01-FPS": "",
}  # folder -> ending of a clip's video, or of its frames' folder
LAYOUTS = f"{SOUNDS} and either {VIDEOS} or Image-01-FPS"

# By the repository's README, and by equal LFS pointers; all of them are part of the published split.
DEFECTS = {
    "1064_IEO_DIS_MD": "its video lasts a minute and shows all emotions",
    "1064_TIE_SAD_XX": "its video states no duration",
    "1076_MTI_NEU_XX": "its video is very short and silent",
    "1076_MTI_SAD_XX": "its picture is faulty, its sound silent and very short",
}
TWINS = (
    ("1006_TIE_HAP_XX", "1006_TIE_NEU_XX"),
    ("1013_WSI_DIS_XX", "1013_WSI_SAD_XX"),
    ("1017_IWW_ANG_XX", "1017_IWW_FEA_XX"),
)

# As the published code: 22,050 Hz, 3 s, windows of 23 ms every 16 ms (257 x 188). Clips last up to 5 s.
PREPROCESSING = Preprocessing(sample_rate=22050, seconds=3, window=512, hop=353, frames=6)
TOLERATED = 0.01  # share of clips that may be missing; one recording of the official set has no sound


def rows(
    mirror: AnyPath | None = None, *, published: bool = True, progress: bool = True
) -> list[tuple[str, str, str]]:
    """Return the split's rows as (clip, emotion, part): 6,698 with part "train", then 744 with "test".

    Raises :class:`DataError` if the checksum is not the published one, unless ``published`` is False.
    """
    found = []
    for part, (source, sha256) in SPLITS.items():
        for line in published_text(source, sha256 if published else None, mirror, progress=progress):
            name, _, emotion = line.partition(",")
            clip = re.fullmatch(r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}", name, re.ASCII)
            if emotion not in EMOTIONS or clip is None:
                raise DataError(
                    f"Line {line!r} of {source.mirror_path} is not a clip name and an emotion; download the "
                    "file again.",
                    "a split file is damaged",
                )
            found.append((name, emotion, part))
    return found


def overlap(rows: Iterable[tuple[str, str, str]]) -> dict[str, int]:
    """Return counts of what the test clips of ``rows`` share with training clips.

    ``speakers`` counts the speakers in both parts. ``speaker``, ``sentence`` and ``emotion`` count the test
    clips that match a training clip in the speaker, also in the sentence, and also in the emotion.
    """
    seen: dict[str, list[list[str]]] = {"train": [], "test": []}
    for name, _, part in rows:
        seen[part].append(name.split("_"))
    train, test = seen["train"], seen["test"]
    found = {"speakers": len({clip[0] for clip in train} & {clip[0] for clip in test})}
    for length, what in enumerate(("speaker", "sentence", "emotion"), start=1):
        known = {tuple(clip[:length]) for clip in train}
        found[what] = sum(tuple(clip[:length]) in known for clip in test)
    return found


Place = tuple[Path, Callable[[str], tuple[Path, ...]]]  # a folder, and a clip's sound and picture below it


def find(folder: Path) -> tuple[str, Place] | None:
    """Return the layout of a folder of clips and its place, or None if it has no known one.

    If there are both kinds of pictures, those of more clips count.
    """
    named = {path.name: path for path in reversed(folders_below(folder, 2))}
    known = {kind: end for kind, end in PICTURES.items() if SOUNDS in named and kind in named}
    if not known:
        return None
    counts = {kind: sum(p.name.endswith(end) for p in named[kind].iterdir()) for kind, end in known.items()}
    pictures = max(known, key=counts.__getitem__)
    read = partial(_files, named[SOUNDS], named[pictures], known[pictures])
    return f"{SOUNDS} and {pictures}", (folder, read)


def _files(sounds: Path, pictures: Path, ending: str, name: str) -> tuple[Path, Path]:
    return sounds / f"{name}.wav", pictures / f"{name}{ending}"


def _clips(listed: Iterable[tuple[str, str, str]], place: Place) -> list[Clip]:
    emotions = list(EMOTIONS)
    return [
        Clip(name, place[1](name), emotions.index(emotion), part, group=name.partition("_")[0])
        for name, emotion, part in listed
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
    progress: bool = True,
) -> Prepared:
    """Fetch, verify and decode CREMA-D into the data folder ``root``; return the open cache.

    Args:
        root, mirror: as in :mod:`.digits`; a mirror that has ``crema_d/AudioWAV`` serves the clips too.
        folder: clips in one of the ``LAYOUTS``, read instead of a download.
        workers: parallel downloads and decoding threads (default: eight downloads, one thread per core).
        tolerate: largest share of a split's clips that may be missing or unreadable.
        yes: start a large download without asking.
        published: whether the published split files are required; False for stand-ins.
        frame_size: see :class:`.clips.Preprocessing`.
    """
    path = data_root(root) / INFO.prepared
    listed = rows(mirror, published=published, progress=False)
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is None:
        home = path.parent / "clips"
        place = home, partial(_files, home / SOUNDS, home / VIDEOS, PICTURES[VIDEOS])
        if not all(file.is_file() for clip in _clips(listed, place) for file in clip.files):
            clip_cache.confirm_download(INFO, path.parent, DOWNLOAD, DISK, yes)
            objects, _ = lfs.complete_pointers(ARCHIVES, wanted(listed), mirror, progress=progress)
            lfs.download_objects(objects, home, SERVERS, workers=workers or 8, progress=progress)
    return clip_cache.prepare(
        path,
        _clips(listed, place),
        clip_cache.read_clip,
        clip_cache.with_frame_size(PREPROCESSING, frame_size),
        class_names=tuple(EMOTIONS.values()),
        source=place[0],
        tolerated=tolerate,
        workers=workers,
        progress=progress,
    )


def wanted(listed: Iterable[tuple[str, str, str]]) -> dict[str, tuple[str, str]]:
    """Return file in the official repository -> clip and part, for all clips of ``rows``."""
    kinds = ((SOUNDS, ".wav"), (VIDEOS, PICTURES[VIDEOS]))
    return {f"{kind}/{name}{end}": (name, part) for name, _, part in listed for kind, end in kinds}


def check(
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = TOLERATED,
    progress: bool = True,
) -> Iterator[str]:
    """Yield per split how many clips ``prepare`` would get and from where; decode and download no clip.

    Raises :class:`DataError` if they are too few.
    """
    listed = rows(mirror, progress=False)
    place = own_folder(INFO.name, folder, mirror, find, LAYOUTS)
    if place is not None:
        losses, where = clip_cache.missing(_clips(listed, place), tolerate), str(place[0])
    else:
        of_file = wanted(listed)
        objects, where = lfs.complete_pointers(ARCHIVES, of_file, mirror, progress=progress)
        absent = lfs.lacking(objects, SERVERS, workers=workers or 8)
        parts = {name: part for name, _, part in listed}
        reasons = {of_file[file][0]: f"{file}: {reason}" for file, reason in absent.items()}
        losses = clip_cache.Losses(parts, tolerate, ("train", "test"), reasons=reasons)
        size = sum(pointer.size for pointer in objects.values())
        where = f"{where}, {len(objects)} files of {size / 1e9:.3f} GB from {' or '.join(SERVERS)}"
    yield from losses.report({"train": where, "test": where})


def summary_lines(cache: Prepared) -> list[str]:
    """Return the lines to print about a cache: known defects of its clips, those left out, and the counts."""
    row = {name: i for i, name in enumerate(cache.names)}
    said = [f"{name} ({cache.parts[row[name]]}): {what}" for name, what in DEFECTS.items() if name in row]
    for a, b in TWINS:
        if a in row and b in row and np.array_equal(cache.spectrograms[row[a]], cache.spectrograms[row[b]]):
            parts = cache.parts[row[a]], cache.parts[row[b]]
            said.append(f"{a} ({parts[0]}) and {b} ({parts[1]}): the same sound under two labels")
    return [*said, *clip_cache.summary_lines(cache)]
