"""Images with captions in Karpathy's splits: check the published lists, read each image once, keep it small.

A list is a JSON of entries {"image": "folder/name.jpg", "caption": ...}: one entry per caption in training
lists, one entry per image with a list of captions in the others. Images are resized and cropped as for CLIP
and stored as bytes in one memory-mapped array.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .clip_cache import bar, check_disk_space, check_share, in_order, open_or_build, replacing, stored
from .fetch import (
    AnyPath,
    DataError,
    DatasetInfo,
    Source,
    check_digest,
    damaged,
    data_root,
    fetched,
    file_digest,
    member_content,
)

VERSION = 1  # counts changes of the stored form
PARTS = ("train", "val", "test")
IMAGE_SIZE = 224  # pixels; 336 for one of the models
CAPTIONS = 5  # of each published image, at least
LARGEST = 64 * 2**20  # bytes of an image in an archive
TOLERATED = 0.001  # share of images that may be missing or unreadable


@dataclass(frozen=True)
class Pictured:
    """An image of a list: its name, its captions in their order, and the list's part."""

    name: str
    captions: tuple[str, ...]
    part: str


@dataclass(frozen=True)
class Captioned:
    """An open prepared data set of N images.

    Attributes:
        images: (N, S, S, 3) uint8, a memory map.
        names, captions, parts: of each image, as in :class:`Pictured`.
        fingerprint: SHA-256 over lists, sizes of image files, and S.
        lists: part -> SHA-256 of the published list.
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


class PictureError(Exception):
    """The reason why an image cannot be used, in a few words."""


class Folder:
    """Images that are files of one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, name: str) -> int:
        """Return the file's size in bytes, or -1 if it does not exist."""
        path = self.path / name.rpartition("/")[2]
        return path.stat().st_size if path.is_file() else -1

    def read(self, name: str) -> bytes:
        return (self.path / name.rpartition("/")[2]).read_bytes()


class Archive:
    """Images that are members of a zip file, which is never unpacked."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
        except Exception as error:  # damage makes zipfile fail in many ways
            raise damaged(path) from error
        self.sizes = {member.filename: member.file_size for member in self.archive.infolist()}

    def size(self, name: str) -> int:
        return self.sizes.get(name, -1)

    def read(self, name: str) -> bytes:
        if self.sizes[name] > LARGEST:
            raise PictureError("has more bytes than a photograph")
        try:
            return member_content(self.archive, self.archive.getinfo(name))  # which checks its CRC
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


def read_list(
    lists: Mapping[str, tuple[Source, str | None]],
    counts: Mapping[str, int] | None,
    folders: Sequence[str],
    mirror: AnyPath | None = None,
    *,
    progress: bool = True,
) -> tuple[list[Pictured], dict[str, str]]:
    """Return the images of all lists, and part -> SHA-256 of its list.

    Args:
        lists: part -> the published list and its MD5 (None: not published).
        counts: part -> its number of images, each with five captions or more. None for stand-ins, whose
            checksum is not checked either.
        folders: names of the folders of images.
        mirror: see :func:`.fetch.fetched`.
    """
    found: dict[str, Pictured] = {}
    sums = {}
    for part, (source, md5) in lists.items():
        with fetched(source, mirror, progress=progress) as path:
            if counts is not None and md5 is not None:
                check_digest(source.mirror_path, file_digest(path, "md5"), md5, "md5")
            sums[part] = file_digest(path)
            content = path.read_bytes()
        captions = _captions(content, source.mirror_path, folders)
        few = [name for name, of_image in captions.items() if len(of_image) < CAPTIONS]
        if counts is not None and (len(captions) != counts[part] or few):
            raise DataError(
                f"The list {source.mirror_path} has {len(captions)} images, {len(few)} of them with fewer "
                f"than {CAPTIONS} captions; the published one has {counts[part]} and 0: get it again.",
                "a list of captions is not the published one",
            )
        for name, of_image in captions.items():
            if name in found:
                raise DataError(
                    f"The image {name} is in the lists of {found[name].part} and {part}; get them again.",
                    "two lists of captions share an image",
                )
            found[name] = Pictured(name, tuple(of_image), part)
    return list(found.values()), sums


def _captions(content: bytes, where: str, folders: Sequence[str]) -> dict[str, list[str]]:
    """Return image -> captions, in the order of a list."""
    wanted = re.compile(rf"(?:{'|'.join(map(re.escape, folders))})/[\w-][\w.-]*\.jpg")
    found: dict[str, list[str]] = {}
    entry = "not JSON"
    try:
        for entry in json.loads(content):
            image, said = entry["image"], entry["caption"]
            said = [said] if isinstance(said, str) else said
            if not wanted.fullmatch(image) or not said or not all(isinstance(text, str) for text in said):
                raise ValueError
            found.setdefault(image, []).extend(said)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        shown = json.dumps(entry).strip('"')  # escaped, so that it stays one line
        raise DataError(
            f"The list {where} has an entry that is not an image of {' or '.join(folders)} with captions "
            f"({shown[:80]}); get it again.",
            "a list of captions is damaged",
        ) from error
    return found


def prepare(
    info: DatasetInfo,
    path: Path,
    rows: Sequence[Pictured],
    lists: Mapping[str, str],
    sources: Mapping[str, Folder | Archive],
    *,
    image_size: int,
    tolerate: float | None,
    workers: int | None,
    progress: bool,
) -> Captioned:
    """Return the data set at ``path``, read from ``sources`` (folder in the lists -> its place) if needed.

    Raises :class:`DataError` if more than the share ``tolerate`` of the images is missing or unreadable, or
    the disk is too small. The earlier data set then stays as it was.
    """
    sizes = [sources[row.name.partition("/")[0]].size(row.name) for row in rows]
    plan = [VERSION, image_size, [[r.name, r.part, r.captions, n] for r, n in zip(rows, sizes, strict=True)]]
    wanted = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    unusable = {row.name: "is missing" for row, size in zip(rows, sizes, strict=True) if size < 0}
    allowed = int((TOLERATED if tolerate is None else tolerate) * len(rows))

    def one(row: Pictured) -> tuple[Pictured, np.ndarray | str]:
        try:
            return row, picture(sources[row.name.partition("/")[0]].read(row.name), image_size)
        except PictureError as error:
            return row, str(error)

    def make() -> None:
        check_share(unusable, allowed, len(rows), "images")  # before an hour of reading
        check_disk_space(info, path.parent, 3 * image_size**2 * len(rows))
        there = [row for row in rows if row.name not in unusable]
        kept: list[Pictured] = []
        with replacing(path, VERSION, wanted) as (scratch, plan):
            with open(scratch / "images.bin", "wb") as file:
                read = in_order(one, there, workers or os.cpu_count() or 1)
                for row, pixels in bar(read, len(there), progress, "image"):
                    if isinstance(pixels, str):
                        unusable[row.name] = pixels
                        check_share(unusable, allowed, len(rows), "images")
                        continue
                    file.write(pixels.tobytes())  # fails with an error on a full disk, unlike a memory map
                    kept.append(row)
                file.flush()
                os.fsync(file.fileno())
            _check_parts(kept)
            plan |= {
                "arrays": {"images": ["|u1", [len(kept), image_size, image_size, 3]]},
                "names": [row.name for row in kept],
                "captions": [row.captions for row in kept],
                "parts": [row.part for row in kept],
                "lists": dict(lists),
                "unusable": unusable,
            }

    return open_or_build(path, wanted, open_cache, make)


def _check_parts(kept: Iterable[Pictured]) -> None:
    missing = sorted(set(PARTS) - {row.part for row in kept})
    if missing:
        raise DataError(f"No image of {', '.join(missing)} is usable; check --images.", "a split is empty")


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
    said += [f"the list of {part} has sha256 {digest}" for part, digest in found.lists.items()]
    counts = ", ".join(f"{found.parts.count(part)} {part}" for part in PARTS)
    captions = sum(map(len, found.captions))
    return [*said, f"{counts} images with {captions} captions, sha256 {found.fingerprint}"]
