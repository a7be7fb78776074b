"""Prepare MS-COCO for retrieval: 123,287 photographs of 2014 with five or more captions each.

The two official archives are downloaded, in several tries if needed, and images are read from them without
unpacking. A folder that has the images already is read in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from . import karpathy
from .clip_cache import confirm_download
from .fetch import AnyPath, DataError, DatasetInfo, Source, download_part, remote_size
from .karpathy import Benchmark, Captioned

INFO = DatasetInfo(
    name="coco",
    size="20 GB download, 19 GB prepared",
    licence="annotations CC BY 4.0; the photographs are their authors', under Flickr's terms of use",
    source="COCO 2014 (cocodataset.org), with Karpathy's split as BLIP's code has it",
    prepared="coco/prepared.json",
)
_LISTS = "https://storage.googleapis.com/sfr-vision-language-research/datasets"
_ZIPS = "http://images.cocodataset.org/zips"
ARCHIVES = {
    "train2014": (f"{_ZIPS}/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"),
    "val2014": (f"{_ZIPS}/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"),
}
TRIES = 5
# The MD5s of lists and archives are those in LAVIS's configuration (github.com/salesforce/LAVIS).
BENCHMARK = Benchmark(
    INFO,
    lists={
        part: (Source(f"{_LISTS}/coco_karpathy_{part}.json", f"coco/coco_karpathy_{part}.json"), md5)
        for part, md5 in (
            ("train", "aa31ac474cf6250ebb81d18348a07ed8"),
            ("val", "b273847456ef5580e33713b1f7de52a0"),
            ("test", "3ff34b0ef2db02d01c37399f6a2a6cd1"),
        )
    },
    counts={"train": 113_287, "val": 5_000, "test": 5_000},
    own_list="dataset_coco.json",
    images={name: rf"COCO_{name}_\d{{12}}\.jpg" for name in ARCHIVES},
    layouts="train2014 and val2014, unpacked or as the official zip files",
)


summary_lines = karpathy.summary_lines


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    workers: int | None = None,
    tolerate: float = karpathy.TOLERATED,
    yes: bool = False,
    published: bool = True,
    image_size: int = karpathy.IMAGE_SIZE,
    progress: bool = True,
) -> Captioned:
    """Fetch and read COCO into the data folder ``root``; see :func:`.karpathy.prepare`.

    yes: start a large download without asking.
    """
    return karpathy.prepare(
        BENCHMARK, partial(download, yes=yes, progress=progress), root, mirror, folder=folder,
        image_size=image_size, tolerate=tolerate, workers=workers, published=published, progress=progress,
    )  # fmt: skip


def check(
    mirror: AnyPath | None = None, *, folder: AnyPath | None = None, tolerate: float = karpathy.TOLERATED
) -> Iterator[str]:
    """Yield per split how many images ``prepare`` would get and from where; see :func:`.crema_d.check`."""

    def offered() -> str:
        sizes = _sizes(list(ARCHIVES))
        return " and ".join(f"{ARCHIVES[name][0]} ({size / 1e9:.1f} GB)" for name, size in sizes.items())

    return karpathy.check(BENCHMARK, offered, mirror, folder, tolerate)


def download(home: Path, prepared: int, *, yes: bool, progress: bool) -> Path:
    """Return the folder in ``home`` with both archives; download missing ones if the user agrees.

    ``prepared``: bytes that will also be stored in ``home``. Raises :class:`DataError` if a host cannot be
    reached, the disk is too small, the user declines, or an archive fails five times.
    """
    from tqdm.auto import tqdm

    folder = home / "images"
    left = [name for name in ARCHIVES if not (folder / f"{name}.zip").is_file()]
    if not left:
        return folder
    sizes = _sizes(left)
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
    return folder


def _sizes(names: Sequence[str]) -> dict[str, int]:
    """Return the bytes of archives as their host states them; :class:`DataError` if it does not answer."""
    sizes = {name: remote_size(ARCHIVES[name][0]) for name in names}
    for name, size in sizes.items():
        if not size:
            raise DataError(
                f"Could not reach {ARCHIVES[name][0]}; check the connection, or name a folder with COCO's "
                "images of 2014 with --from.",
                "the download failed",
            )
    return sizes
