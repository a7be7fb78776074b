"""Prepare MS-COCO for retrieval: 123,287 photographs of 2014 with five or more captions each.

The two official archives are downloaded, in several tries if needed, and images are read from them without
unpacking. A folder that has the images already is read in place.
"""

from __future__ import annotations

from pathlib import Path

from . import karpathy
from .clip_cache import confirm_download
from .fetch import AnyPath, DataError, DatasetInfo, Source, download_part, remote_size
from .karpathy import Archive, Captioned, Folder

INFO = DatasetInfo(
    name="coco",
    size="20 GB download, 19 GB prepared",
    licence="annotations CC BY 4.0; the photographs are their authors', under Flickr's terms of use",
    source="COCO 2014 (cocodataset.org), with Karpathy's split as BLIP's code has it",
    prepared="coco/prepared.json",
)
_LISTS = "https://storage.googleapis.com/sfr-vision-language-research/datasets"
# The MD5s of lists and archives are those in LAVIS's configuration (github.com/salesforce/LAVIS).
LISTS = {
    part: (Source(f"{_LISTS}/coco_karpathy_{part}.json", f"coco/coco_karpathy_{part}.json"), md5)
    for part, md5 in (
        ("train", "aa31ac474cf6250ebb81d18348a07ed8"),
        ("val", "b273847456ef5580e33713b1f7de52a0"),
        ("test", "3ff34b0ef2db02d01c37399f6a2a6cd1"),
    )
}
COUNTS = {"train": 113_287, "val": 5_000, "test": 5_000}
_ZIPS = "http://images.cocodataset.org/zips"
ARCHIVES = {
    "train2014": (f"{_ZIPS}/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"),
    "val2014": (f"{_ZIPS}/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"),
}
TRIES = 5


summary_lines = karpathy.summary_lines


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    images: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float | None = None,
    yes: bool = False,
    published: bool = True,
    image_size: int = karpathy.IMAGE_SIZE,
    progress: bool = True,
) -> Captioned:
    """Fetch and read COCO into the data folder ``root``; return the open data set.

    Arguments as in :mod:`.flickr30k`, and:
        images: a folder with ``train2014`` and ``val2014``, unpacked or as the official zip files.
        yes: start a large download without asking.
    """
    path = karpathy.cache_path(INFO, root, image_size)
    found = karpathy.open_cache(path)
    if found is not None and images is None and mirror is None:
        return found
    counts = COUNTS if published else None
    rows, lists = karpathy.read_list(LISTS, counts, tuple(ARCHIVES), mirror, progress=progress)
    if images is None and mirror and any(_there(Path(mirror).expanduser() / "coco", n) for n in ARCHIVES):
        images = Path(mirror).expanduser() / "coco"
    if images is None:
        images = path.parent / "images"
        download(images, path.parent, 3 * image_size**2 * len(rows), yes=yes, progress=progress)
    return karpathy.prepare(
        INFO,
        path,
        rows,
        lists,
        {name: _source(Path(images).expanduser().absolute(), name) for name in ARCHIVES},
        image_size=image_size,
        tolerate=tolerate,
        workers=workers,
        progress=progress,
    )


def _there(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.zip").is_file()


def _source(folder: Path, name: str) -> Folder | Archive:
    if not _there(folder, name):
        raise DataError(
            f"The folder {folder} has neither {name} nor {name}.zip; name one with COCO's images of 2014 "
            "with --images.",
            f"the folder of images has no {name}",
        )
    return Folder(folder / name) if (folder / name).is_dir() else Archive(folder / f"{name}.zip")


def download(folder: Path, home: Path, prepared: int, *, yes: bool, progress: bool) -> None:
    """Download the missing archives into ``folder`` if the user agrees; continue earlier downloads.

    ``prepared``: bytes that will also be stored in ``home``. Raises :class:`DataError` if a host cannot be
    reached, the disk is too small, the user declines, or an archive fails five times.
    """
    from tqdm.auto import tqdm

    left = [name for name in ARCHIVES if not (folder / f"{name}.zip").is_file()]
    if not left:
        return
    sizes = {name: remote_size(ARCHIVES[name][0]) for name in left}
    for name, size in sizes.items():
        if not size:
            raise DataError(
                f"Could not reach {ARCHIVES[name][0]}; check the connection, or name a folder with COCO's "
                "images of 2014 with --images.",
                "the download failed",
            )
    confirm_download(INFO, home, sum(sizes.values()), sum(sizes.values()) + prepared, yes)
    with tqdm(
        desc="downloading",
        total=sum(sizes.values()),
        unit="B",
        unit_scale=True,
        mininterval=1,
        disable=not progress,
    ) as bar:
        for name, size in sizes.items():
            url, md5 = ARCHIVES[name]
            for attempt in range(TRIES):
                try:
                    download_part(
                        url,
                        folder / f"{name}.zip",
                        size=size,
                        checksum=md5,
                        algorithm="md5",
                        on_bytes=bar.update,
                    )
                    break
                except OSError as error:  # requests' errors are OSErrors
                    if attempt == TRIES - 1:
                        reason = str(error) if type(error) is OSError else type(error).__name__
                        raise DataError(
                            f"Could not download {url} ({reason}); run the command again to continue.",
                            "the download failed",
                        ) from error
