"""Prepare Flickr30K: 31,014 photographs with five captions each.

Its images are available on request, for research. This script reads them from a folder, in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from . import karpathy
from .fetch import AnyPath, DataError, DatasetInfo, Source
from .karpathy import Benchmark, Captioned

FORM = "https://forms.illinois.edu/sec/229675"
INFO = DatasetInfo(
    name="flickr30k",
    size="4.4 GB of images, on request; 4.7 GB prepared",
    licence="captions CC BY 3.0; the photographs are their authors', for research and education only",
    source=f"Flickr30K (images on request: {FORM}), with Karpathy's split as BLIP's code has it",
    prepared="flickr30k/prepared.json",
)
_LISTS = "https://storage.googleapis.com/sfr-vision-language-research/datasets"
# No checksum of these lists is published, so their counts are checked instead.
BENCHMARK = Benchmark(
    INFO,
    lists={
        part: (Source(f"{_LISTS}/flickr30k_{part}.json", f"flickr30k/flickr30k_{part}.json"), None)
        for part in karpathy.PARTS
    },
    counts={"train": 29_000, "val": 1_014, "test": 1_000},
    own_list="dataset_flickr30k.json",
    images={"flickr30k-images": r"\d+\.jpg"},
    layouts="its images, nested as Kaggle's or flat",
)


summary_lines = karpathy.summary_lines


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = karpathy.TOLERATED,
    published: bool = True,
    image_size: int = karpathy.IMAGE_SIZE,
    progress: bool = True,
) -> Captioned:
    """Check and read Flickr30K into the data folder ``root``; see :func:`.karpathy.prepare`."""
    return karpathy.prepare(
        BENCHMARK, lambda home, prepared: _refuse(), root, mirror, folder=folder, image_size=image_size,
        tolerate=tolerate, workers=workers, published=published, progress=progress,
    )  # fmt: skip


def check(
    mirror: AnyPath | None = None, *, folder: AnyPath | None = None, tolerate: float = karpathy.TOLERATED
) -> Iterator[str]:
    """Yield per split how many images ``prepare`` would get; see :func:`.crema_d.check`."""
    return karpathy.check(BENCHMARK, _refuse, mirror, folder, tolerate)


def _refuse() -> NoReturn:
    raise DataError(
        f"The images of Flickr30K are available on request (licence: {INFO.licence}): fill in the form at "
        f"{FORM}, unpack the archive, and name its folder with --from.",
        "the images of Flickr30K must be requested",
    )
