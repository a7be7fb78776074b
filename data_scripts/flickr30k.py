"""Prepare Flickr30K: 31,014 photographs with five captions each.

Its images are available on request, for research. This script reads them from a folder, in place.
"""

from __future__ import annotations

from pathlib import Path

from . import karpathy
from .fetch import AnyPath, DataError, DatasetInfo, Source
from .karpathy import Captioned, Folder

FORM = "https://forms.illinois.edu/sec/229675"
INFO = DatasetInfo(
    name="flickr30k",
    size="4.4 GB of images, on request; 4.7 GB prepared",
    licence="captions CC BY 3.0; the photographs are their authors', for research and education only",
    source=f"Flickr30K (images on request: {FORM}), with Karpathy's split as BLIP's code has it",
    prepared="flickr30k/prepared.json",
)
IMAGES = "flickr30k-images"
_LISTS = "https://storage.googleapis.com/sfr-vision-language-research/datasets"
# No checksum of these lists is published, so their counts are checked instead.
LISTS = {
    part: (Source(f"{_LISTS}/flickr30k_{part}.json", f"flickr30k/flickr30k_{part}.json"), None)
    for part in karpathy.PARTS
}
COUNTS = {"train": 29_000, "val": 1_014, "test": 1_000}


summary_lines = karpathy.summary_lines


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    images: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float | None = None,
    published: bool = True,
    image_size: int = karpathy.IMAGE_SIZE,
    progress: bool = True,
) -> Captioned:
    """Check and read Flickr30K into the data folder ``root``; return the open data set.

    Args:
        root, mirror: as in :mod:`.digits`; a mirror with ``flickr30k/flickr30k-images`` serves the images.
        images: a folder with the images, or with ``flickr30k-images`` in it.
        workers: images read at once (default: one per core).
        tolerate: largest share of images that may be missing or unreadable.
        published: whether the published lists are required; False for stand-ins.
        image_size: S, pixels of a stored image's side.
    """
    path = karpathy.cache_path(INFO, root, image_size)
    found = karpathy.open_cache(path)
    if found is not None and images is None and mirror is None:
        return found
    if images is None and mirror and (Path(mirror).expanduser() / "flickr30k" / IMAGES).is_dir():
        images = Path(mirror).expanduser() / "flickr30k"
    if images is None:
        raise DataError(
            f"The images of Flickr30K are available on request (licence: {INFO.licence}): fill in the form "
            f"at {FORM}, unpack the archive, and name its folder with --images.",
            "the images of Flickr30K must be requested",
        )
    folder = Path(images).expanduser().absolute()
    folder = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}; name the folder of Flickr30K's images with --images.",
            "the folder of images is missing",
        )
    counts = COUNTS if published else None
    rows, lists = karpathy.read_list(LISTS, counts, (IMAGES,), mirror, progress=progress)
    return karpathy.prepare(
        INFO,
        path,
        rows,
        lists,
        {IMAGES: Folder(folder)},
        image_size=image_size,
        tolerate=tolerate,
        workers=workers,
        progress=progress,
    )
