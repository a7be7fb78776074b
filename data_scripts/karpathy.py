"""Images with captions in Karpathy's splits: check the published lists, read each image once, keep it small.

A published list is a JSON of entries {"image": "folder/name.jpg", "caption": ...}: one entry per caption in
training lists, one entry per image with a list of captions in the others. Karpathy's own list has all images
and is read instead if a folder has it, or if the host of the others does not answer. Images are resized and
cropped as for CLIP and stored as bytes in one memory-mapped array.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .clip_cache import Losses, append_all, check_disk_space, open_or_build, replacing, stored
from .clips import ClipError
from .fetch import (
    START,
    AnyPath,
    DataError,
    DatasetInfo,
    Source,
    check_digest,
    damaged,
    data_root,
    fetched,
    file_digest,
    folders_below,
    no_content,
    own_folder,
    read_zip,
)

VERSION = 1  # counts changes of the stored form
PARTS = ("train", "val", "test")
IMAGE_SIZE = 224  # pixels; 336 for one of the models
CAPTIONS = 5  # of each published image, at least
OWN_LISTS = Source(
    "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
    "karpathy/caption_datasets.zip",
)
LARGEST = 64 * 2**20  # bytes of an image in an archive
TOLERATED = 0.001  # share of images that may be missing or unreadable


@dataclass(frozen=True)
class Pictured:
    """An image of a list: its name, its captions in their order, and the list's part."""

    name: str
    captions: tuple[str, ...]
    part: str


@dataclass(frozen=True)
class Benchmark:
    """What a script knows about its data set.

    Attributes:
        info: what the command prints about it.
        lists: part -> the published list and its MD5 (None: not published).
        counts: part -> its number of images.
        own_list: file name of Karpathy's list.
        images: folder of images in the lists -> pattern of their names.
        layouts: words for the folders of images that are recognized.
    """

    info: DatasetInfo
    lists: Mapping[str, tuple[Source, str | None]]
    counts: Mapping[str, int]
    own_list: str
    images: Mapping[str, str]
    layouts: str


@dataclass(frozen=True)
class Captioned:
    """An open prepared data set of N images.

    Attributes:
        images: (N, S, S, 3) uint8, a memory map.
        names, captions, parts: of each image, as in :class:`Pictured`.
        fingerprint: SHA-256 over lists, sizes of image files, and S.
        lists: file name -> SHA-256 of each list.
        unusable: name -> reason, for each image that is left out because it is missing or unreadable.
    """

    images: np.memmap
    names: tuple[str, ...]
    captions: tuple[tuple[str, ...], ...]
    parts: tuple[str, ...]
    fingerprint: str
    lists: dict[str, str]
    unusable: dict[str, str]

    def __post_init__(self) -> None:
        count, (_, *sides) = len(self.names), self.images.shape
        fit = (
            self.images.dtype == np.uint8
            and self.images.shape == (count, sides[0], sides[0], 3)
            and len(self.captions) == len(self.parts) == count
            and set(self.parts) <= set(PARTS)
            and all(own and all(isinstance(text, str) for text in own) for own in self.captions)
            and all(isinstance(name, str) for name in self.names)
        )
        if not fit:
            raise ValueError("the images and lists of a data set do not fit together")


class PictureError(ClipError):
    """The reason why an image cannot be used, in a few words."""


class Folder:
    """Images that are files of one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, name: str) -> int:
        """Return the file's size in bytes, or -1 if it does not exist."""
        path = self.path / name.rpartition("/")[2]
        return path.stat().st_size if path.is_file() else -1

    def read(self, name: str, count: int = -1) -> bytes:
        """Return the first ``count`` bytes of the file, by default all."""
        with open(self.path / name.rpartition("/")[2], "rb") as file:
            return file.read(count)


class Archive:
    """Images that are members of a zip file, which is never unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except Exception as error:  # damage makes zipfile fail in many ways
            raise damaged(path) from error
        self.sizes = {member.filename: member.file_size for member in self.archive.infolist()}

    def size(self, name: str) -> int:
        return self.sizes.get(name, -1)

    def read(self, name: str, count: int = LARGEST) -> bytes:
        if self.sizes[name] > LARGEST:
            raise PictureError("has more bytes than a photograph")
        try:
            with self.archive.open(name) as file:  # at its end, its CRC is checked
                return file.read(min(self.sizes[name], count))
        except Exception as error:
            raise PictureError("is damaged in its archive") from error


def cache_path(info: DatasetInfo, root: AnyPath | None, image_size: int) -> Path:
    """Return the path of a prepared data set's description; each image size has a separate one."""
    if not 8 <= image_size <= 1024:
        raise DataError(
            f"`image_size` must be in [8, 1024] pixels, got {image_size}.", "the image size is out of range"
        )
    path = data_root(root) / info.prepared
    return path if image_size == IMAGE_SIZE else path.with_stem(f"{path.stem}_{image_size}")


Place = tuple[dict[str, "Folder | Archive"], list[Path]]  # folder in the lists -> images; folders with lists


def find(of: Benchmark, folder: Path) -> tuple[str, Place] | None:
    """Return the layout of a folder and its place, or None if it lacks images."""
    homes = folders_below(folder)
    sources: dict[str, Folder | Archive] = {}
    for name, pattern in of.images.items():
        counts = {home: sum(bool(re.fullmatch(pattern, f)) for f in os.listdir(home)) for home in homes}
        best, zipped = max(homes, key=counts.__getitem__), _file(homes, f"{name}.zip")
        if counts[best] == 0 and zipped is None:
            return None
        sources[name] = Folder(best) if counts[best] else Archive(zipped)
    said = " and ".join(os.path.relpath(source.path, folder) for source in sources.values())
    own = _file(homes, of.own_list)
    return f"images in {said}" + (f" with Karpathy's {own.name}" if own else ""), (sources, homes)


def _file(folders: Sequence[Path], name: str) -> Path | None:
    return next((home / name for home in folders if (home / name).is_file()), None)


def read_list(
    of: Benchmark,
    mirror: AnyPath | None = None,
    *,
    folders: Sequence[Path] = (),
    published: bool = True,
    progress: bool = True,
) -> tuple[list[Pictured], dict[str, str]]:
    """Return the images of all lists, and file name -> SHA-256 of each list.

    Args:
        of: the data set.
        mirror: see :func:`.fetch.fetched`.
        folders: those that may have Karpathy's list or the published ones.
        published: whether counts, captions and checksums must be the published ones; False for stand-ins.
        progress: whether to show a bar.
    """
    found: dict[str, Pictured] = {}
    sums = {}
    for where, content in _contents(of, mirror, folders, published, progress):
        sums[where] = hashlib.sha256(content).hexdigest()
        for row in _rows(content, where, of):
            if row.name in found:
                raise DataError(
                    f"The image {row.name} is in the lists of {found[row.name].part} and {row.part}; get "
                    "them again.",
                    "two lists of captions share an image",
                )
            found[row.name] = row
    rows = [row for part in PARTS for row in found.values() if row.part == part]
    for part, count in of.counts.items() if published else ():
        own = [row for row in rows if row.part == part]
        few = sum(len(row.captions) < CAPTIONS for row in own)
        if len(own) != count or few:
            raise DataError(
                f"The list of {part} ({', '.join(sums)}) has {len(own)} images, {few} of them with fewer "
                f"than {CAPTIONS} captions; the published one has {count} and 0: get it again.",
                "a list of captions is not the published one",
            )
    return rows, sums


def _contents(
    of: Benchmark, mirror: AnyPath | None, folders: Sequence[Path], published: bool, progress: bool
) -> list[tuple[str, bytes]]:
    """Return name and content of Karpathy's list, or of the published list of each part."""
    if own := _file(folders, of.own_list):
        return [(own.name, own.read_bytes())]
    found = []
    try:
        for source, md5 in of.lists.values():
            name = source.mirror_path.rpartition("/")[2]
            there = _file(folders, name)
            with nullcontext(there) if there else fetched(source, mirror, progress=progress) as path:
                if published and md5 is not None:
                    check_digest(source.mirror_path, file_digest(path, "md5"), md5, "md5")
                found.append((name, path.read_bytes()))
    except DataError as error:
        if mirror or error.brief != "the download failed":
            raise
        with fetched(OWN_LISTS, progress=progress) as path:
            members = read_zip(path, lambda name: name.rpartition("/")[2] == of.own_list)
        if not members:
            raise damaged(path) from error
        return list(members.items())
    return found


def _rows(content: bytes, where: str, of: Benchmark) -> list[Pictured]:
    """Return the images of a list in its order."""
    folders = tuple(of.images)
    wanted = re.compile(rf"(?:{'|'.join(map(re.escape, folders))})/[\w-][\w.-]*\.jpg")
    found: dict[str, tuple[str, list[str]]] = {}
    of_name = {source.mirror_path.rpartition("/")[2]: part for part, (source, _) in of.lists.items()}
    entry: Any = "not JSON"
    try:
        document = json.loads(content)
        for entry in document if where in of_name else document["images"]:
            if where in of_name:
                part, image, said = of_name[where], entry["image"], entry["caption"]
            else:
                part, image = entry["split"].replace("restval", "train"), entry["filename"]
                image = f"{entry.get('filepath', folders[0])}/{image}"
                said = [sentence["raw"] for sentence in entry["sentences"]]
            said = [said] if isinstance(said, str) else said
            texts = bool(said) and all(isinstance(text, str) for text in said)
            if not wanted.fullmatch(image) or not texts or part not in PARTS:
                raise ValueError
            found.setdefault(image, (part, []))[1].extend(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        shown = json.dumps(entry).strip('"')  # escaped, so that it stays one line
        raise DataError(
            f"The list {where} has an entry that is not an image of {' or '.join(folders)} with captions "
            f"({shown[:80]}); get it again.",
            "a list of captions is damaged",
        ) from error
    return [Pictured(image, tuple(said), part) for image, (part, said) in found.items()]


def prepare(
    of: Benchmark,
    get: Callable[[Path, int], Path],
    root: AnyPath | None,
    mirror: AnyPath | None,
    *,
    folder: AnyPath | None,
    image_size: int,
    tolerate: float,
    workers: int | None,
    published: bool,
    progress: bool,
) -> Captioned:
    """Return the open data set, read from its images if needed.

    Args:
        of: the data set.
        get: ``get(folder, prepared)`` returns a folder of images if there is none; the prepared ones take as
            many bytes.
        root, mirror: as in :mod:`.digits`; a mirror with the images serves them.
        folder: the images in one of the ``layouts``, read in place, and possibly lists.
        image_size: S, pixels of a stored image's side.
        tolerate: largest share of a split's images that may be missing or unreadable.
        workers: images read at once (default: one per core).
        published: whether the published lists are required; False for stand-ins.
        progress: whether to show bars.

    Raises :class:`DataError` if too many images cannot be used or the disk is too small. The earlier data
    set then stays as it was.
    """
    path = cache_path(of.info, root, image_size)
    found = open_cache(path)
    if found is not None and folder is None and mirror is None:
        return found
    place = own_folder(of.info.name, folder, mirror, partial(find, of), of.layouts)
    bytes_each = 3 * image_size**2
    if place is None:
        home = get(path.parent, bytes_each * sum(of.counts.values()))
        place = own_folder(of.info.name, home, None, partial(find, of), of.layouts)
    sources, homes = place
    rows, lists = read_list(of, mirror, folders=homes, published=published, progress=progress)
    losses, sizes = missing(rows, sources, tolerate)
    plan = [VERSION, image_size, [[r.name, r.part, r.captions, n] for r, n in zip(rows, sizes, strict=True)]]
    wanted = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    of_name = {row.name: row for row in rows}

    def read(name: str) -> tuple[list[np.ndarray], None]:
        return [picture(sources[name.partition("/")[0]].read(name), image_size)[None]], None

    def make() -> None:
        without_content(sources, losses)
        losses.check()  # before an hour of reading
        check_disk_space(of.info, path.parent, bytes_each * len(rows))
        there = [name for name in of_name if name not in losses.reasons]
        arrays = {"images": ("|u1", (image_size, image_size, 3))}
        with replacing(path, VERSION, wanted) as (scratch, plan):
            kept = [
                of_name[n] for n in append_all(scratch, plan, there, read, arrays, losses, workers, progress)
            ]
            plan |= {
                "names": [row.name for row in kept],
                "captions": [row.captions for row in kept],
                "parts": [row.part for row in kept],
                "lists": lists,
                "unusable": losses.reasons,
            }

    return open_or_build(path, wanted, open_cache, make)


def missing(
    rows: Sequence[Pictured], sources: Mapping[str, Folder | Archive], tolerate: float
) -> tuple[Losses, list[int]]:
    """Return the images that are not in ``sources``, and the size of each row's file in bytes (-1: none)."""
    sizes = [sources[row.name.partition("/")[0]].size(row.name) for row in rows]
    absent = {row.name: "is missing" for row, size in zip(rows, sizes, strict=True) if size < 0}
    return Losses({row.name: row.part for row in rows}, tolerate, PARTS, "images", reasons=absent), sizes


def without_content(sources: Mapping[str, Folder | Archive], losses: Losses) -> None:
    """Put images into ``losses`` whose first bytes are those of no image; see :func:`.fetch.no_content`."""
    for name in [name for name in losses.parts if name not in losses.reasons]:
        try:
            what = no_content(sources[name.partition("/")[0]].read(name, START))
        except PictureError as error:
            what = str(error)
        if what:
            losses.reasons[name] = what


def check(
    of: Benchmark,
    offered: Callable[[], str],
    mirror: AnyPath | None,
    folder: AnyPath | None,
    tolerate: float,
) -> Iterator[str]:
    """Yield per split how many images ``prepare`` would get and from where; see :func:`.crema_d.check`.

    ``offered()`` returns the address from which all images can be had; :class:`DataError` if there is none.
    """
    place = own_folder(of.info.name, folder, mirror, partial(find, of), of.layouts)
    where = offered() if place is None else " and ".join(str(source.path) for source in place[0].values())
    rows, _ = read_list(of, mirror, folders=place[1] if place else ())
    losses = Losses({row.name: row.part for row in rows}, tolerate, PARTS, "images")
    if place is not None:
        losses, _ = missing(rows, place[0], tolerate)
        without_content(place[0], losses)
    yield from losses.report(dict.fromkeys(PARTS, where))


def open_cache(path: Path) -> Captioned | None:
    """Return the data set that ``path`` describes, or None if it is missing or damaged."""
    try:
        plan, arrays = stored(path, VERSION)
        return Captioned(
            images=arrays["images"],
            names=tuple(plan["names"]),
            captions=tuple(map(tuple, plan["captions"])),
            parts=tuple(plan["parts"]),
            fingerprint=plan["fingerprint"],
            lists=plan["lists"],
            unusable=plan["unusable"],
        )
    except Exception:  # a damaged description can fail at any of this
        return None


def picture(content: bytes, size: int) -> np.ndarray:
    """Return an image file as CLIP sees it, (S, S, 3): shorter side ``size``, bicubic, cut to the middle."""
    from PIL import Image

    try:
        # Photographs only: for other kinds Pillow starts other programs.
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            width, height = image.size
            short = min(width, height)
            if max(width, height) > 50 * short:  # the part cut away would take gigabytes
                raise PictureError(f"has {width} x {height} pixels")
            wide, high = (int(size * side / short) for side in (width, height))
            image = image.resize((wide, high), Image.Resampling.BICUBIC)
            left, top = round((wide - size) / 2), round((high - size) / 2)
            return np.asarray(image.crop((left, top, left + size, top + size)).convert("RGB"))
    except PictureError:
        raise
    except Exception as error:
        raise PictureError("cannot be read as an image") from error


def summary_lines(found: Captioned) -> list[str]:
    """Return the lines to print about a data set: the images left out, its lists, and the counts."""
    said = [f"{name}: left out, {reason}" for name, reason in found.unusable.items()]
    said += [f"the list {name} has sha256 {digest}" for name, digest in found.lists.items()]
    counts = ", ".join(f"{found.parts.count(part)} {part}" for part in PARTS)
    captions = sum(map(len, found.captions))
    return [*said, f"{counts} images with {captions} captions, sha256 {found.fingerprint}"]
