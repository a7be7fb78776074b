"""Prepare CREMA-D: 7,442 spoken sentences by 91 actors in six emotions, sound and picture.

The files come from the official repository, which keeps sounds and videos in Git LFS, or from a local folder.
The split is the one that the published comparisons share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from . import clip_cache, lfs
from .clip_cache import Clip, Prepared
from .clips import Preprocessing, read_frames, read_wav
from .fetch import AnyPath, DataError, DatasetInfo, Source, data_root, fetched, published_text

INFO = DatasetInfo(
    name="crema_d",
    size="3.1 GB download, 5 GB prepared",
    licence="Open Database License 1.0 (contents: Database Contents License 1.0)",
    source="CREMA-D (github.com/CheyneyComputerScience/CREMA-D), with the split of OGM-GE "
    "(github.com/GeWu-Lab/OGM-GE_CVPR2022)",
    prepared="crema_d/prepared.json",
)
DOWNLOAD, DISK = 3.1e9, 8.5e9  # bytes; the second is the download and the prepared arrays together

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

# The archive of the repository holds Git LFS pointers instead of sounds and videos.
_COMMIT = "02f12b39b56c8424039d0a953b89d47fc47d380f"
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
SOUNDS, VIDEOS = "AudioWAV", "VideoFlash"

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


def files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the paths of a clip's sound and video in a copy of the official repository."""
    return folder / SOUNDS / f"{name}.wav", folder / VIDEOS / f"{name}.flv"


def read(clip: Clip, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray, float]:
    """Return samples, frames and aspect of a clip."""
    sound, video = clip.files
    return read_wav(sound, preprocessing), *read_frames(video, preprocessing)


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
    progress: bool = True,
) -> Prepared:
    """Fetch, verify and decode CREMA-D into the data folder ``root``; return the open cache.

    Args:
        root, mirror: as in :mod:`.digits`; a mirror that has ``crema_d/AudioWAV`` serves the clips too.
        clips: a copy of the official repository with its LFS files, read instead of a download.
        workers: parallel downloads and decoding threads (default: eight downloads, one thread per core).
        tolerate: largest share of clips that may be missing or unreadable.
        yes: start a large download without asking.
        published: whether the published split files are required; False for stand-ins.
        frame_size: see :class:`.clips.Preprocessing`.
    """
    path = data_root(root) / INFO.prepared
    listed = rows(mirror, published=published, progress=False)
    folder = _clips_folder(path.parent, listed, mirror, clips, workers or 8, yes, progress)
    emotions = list(EMOTIONS)
    return clip_cache.prepare(
        path,
        [
            Clip(name, files(folder, name), emotions.index(emotion), part, group=name.partition("_")[0])
            for name, emotion, part in listed
        ],
        read,
        clip_cache.with_frame_size(PREPROCESSING, frame_size),
        class_names=tuple(EMOTIONS.values()),
        source=folder,
        tolerated=TOLERATED if tolerate is None else tolerate,
        workers=workers,
        progress=progress,
    )


summary_lines = clip_cache.summary_lines


def _clips_folder(
    home: Path,
    listed: Sequence[tuple[str, str, str]],
    mirror: AnyPath | None,
    clips: AnyPath | None,
    workers: int,
    yes: bool,
    progress: bool,
) -> Path:
    """Return a folder with ``AudioWAV`` and ``VideoFlash``: ``clips``, the mirror's, or a downloaded one."""
    if clips is not None:
        folder = Path(clips).expanduser().absolute()
        for name in (SOUNDS, VIDEOS):
            if not (folder / name).is_dir():
                raise DataError(
                    f"The folder {folder} has no folder {name}; name a copy of the CREMA-D repository with "
                    "--clips.",
                    f"the folder of clips has no folder {name}",
                )
        return folder
    if mirror and (Path(mirror).expanduser() / "crema_d" / SOUNDS).is_dir():
        return Path(mirror).expanduser().absolute() / "crema_d"
    folder = home / "clips"
    wanted = {
        f"{kind}/{name}.{ending}"
        for name, _, _ in listed
        for kind, ending in ((SOUNDS, "wav"), (VIDEOS, "flv"))
    }
    if all((folder / name).is_file() for name in wanted):
        return folder
    clip_cache.confirm_download(INFO, home, DOWNLOAD, DISK, yes)
    objects = _pointers(wanted, mirror, progress)
    lfs.download_objects(objects, folder, SERVERS, workers=workers, progress=progress)
    return folder


def _pointers(wanted: set[str], mirror: AnyPath | None, progress: bool) -> dict[str, lfs.Pointer]:
    """Return the LFS pointers of the files, from the first available archive."""
    for last, source in zip((False, True), ARCHIVES, strict=True):
        try:
            with fetched(source, mirror, progress=progress) as archive:
                return lfs.pointers(archive, wanted.__contains__)
        except DataError:
            if last:
                raise
    raise AssertionError
