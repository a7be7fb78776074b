"""Download the Git LFS files of a public repository without git: pointers from its archive, contents by HTTP.

For each such file the archive holds a pointer of three lines: the SHA-256 and the size of the content. The
batch endpoint of the LFS server turns a hundred pointers at a time into addresses (git-lfs,
docs/api/batch.md and docs/api/basic-transfers.md).
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .fetch import (
    AnyPath,
    Body,
    DataError,
    Source,
    answered,
    damaged,
    download_part,
    fetched,
    points_outside,
)

BATCH = 100  # objects per request, as git-lfs itself asks for
ANSWER = 2**22  # bytes of an answer about so many objects, at most; real ones have some 100 kB
TRIES = 3  # of a file, at each server
MEDIA_TYPE = "application/vnd.git-lfs+json"


@dataclass(frozen=True)
class Pointer:
    """The statement of a pointer file: the content's SHA-256 (hex) and its size in bytes."""

    sha256: str
    size: int


def complete_pointers(
    sources: Sequence[Source], wanted: Collection[str], mirror: AnyPath | None, *, progress: bool
) -> tuple[dict[str, Pointer], str]:
    """Return the pointers of all ``wanted`` files, and the address of the first archive that has them.

    Raises :class:`DataError` that says of each archive why it cannot be used.
    """
    faults = []
    for source in sources:
        try:
            with fetched(source, mirror, progress=progress) as archive:
                found = pointers(archive, wanted.__contains__)
        except DataError as error:
            faults.append(str(error).rstrip("."))
            continue
        if len(found) == len(wanted):
            return found, source.address
        lacking = min(set(wanted) - found.keys())
        faults.append(f"{source.address} has {len(found)} of {len(wanted)} files and lacks {lacking}")
    raise DataError(
        f"No archive has all listed files ({'; '.join(faults)}); try again later, or name a folder that has "
        "them with --from.",
        "no archive is complete",
    )


def pointers(archive: Path, wanted: Callable[[str], bool]) -> dict[str, Pointer]:
    """Return name in the repository -> pointer for the members of a ``.tar.gz`` that ``wanted`` accepts."""
    found = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = member.name.partition("/")[2]  # without the archive's outermost folder
                if member.isfile() and member.size < 1024 and wanted(name) and not points_outside(name):
                    found[name] = parse(tar.extractfile(member).read(), archive)
    except DataError:
        raise
    except Exception as error:  # damage makes tarfile and zlib fail in many ways
        raise damaged(archive) from error
    return found


def parse(text: bytes, archive: Path) -> Pointer:
    """Return the pointer in the bytes of a pointer file; raise a DataError about ``archive`` otherwise."""
    digest = re.search(rb"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    size = re.search(rb"^size (\d{1,15})$", text, re.MULTILINE)
    if not digest or not size:
        raise damaged(archive)
    return Pointer(digest[1].decode(), int(size[1]))


def download_objects(
    files: Mapping[str, Pointer], folder: Path, servers: Sequence[str], *, workers: int, progress: bool
) -> None:
    """Download ``files`` into ``folder``, except files that have the right size already.

    ``servers``: addresses of LFS servers, in the order of trying. Partial files are continued. Raises
    :class:`DataError` with the last reason if no server has a file; the other files stay.
    """
    from tqdm.auto import tqdm

    left = {
        name: pointer
        for name, pointer in files.items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != pointer.size
    }
    total = sum(pointer.size for pointer in files.values())
    there = total - sum(pointer.size for pointer in left.values())
    reason = ""
    with (
        tqdm(desc="downloading", total=total, initial=there, unit="B", unit_scale=True, mininterval=1,
             disable=not progress) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):  # fmt: skip
        for server in servers:
            try:
                for _ in range(TRIES):
                    reason = _one_pass(server, left, folder, pool, bar.update) or reason
            except (OSError, ValueError) as error:  # of the server itself rather than of one file
                reason = f"{server}: {_said(error)}"
    if left:
        raise DataError(
            f"Could not download {len(left)} of {len(files)} files ({reason}); run the command again to "
            "continue, or name a folder that has them with --from.",
            "the download failed",
        )


def _one_pass(
    server: str, left: dict[str, Pointer], folder: Path, pool: Executor, on_bytes: Callable[[int], object]
) -> str:
    """Try every file of ``left`` once, remove the downloaded ones, and return why the last one failed."""
    names, reason = list(left), ""
    for start in range(0, len(names), BATCH):  # addresses expire, so ask for few at a time
        batch = {name: left[name] for name in names[start : start + BATCH]}
        actions = _addresses(server, batch)
        running = {}
        for name, pointer in batch.items():
            if pointer.sha256 not in actions:
                reason = f"{server} does not have {name}"
                continue
            action = actions[pointer.sha256]
            running[name] = pool.submit(
                download_part,
                action["href"],
                folder / name,
                size=pointer.size,
                checksum=pointer.sha256,
                headers=action.get("header"),
                on_bytes=on_bytes,
            )
        for name, future in running.items():
            try:
                future.result()
                del left[name]
            except OSError as error:  # requests' errors are OSErrors
                reason = f"{name} from {server}: {_said(error)}"
    return reason


def lacking(files: Mapping[str, Pointer], servers: Sequence[str], *, workers: int) -> dict[str, str]:
    """Return name -> reason for the files that none of the ``servers`` offers; nothing is downloaded."""
    left, reason = list(files), ""
    with ThreadPoolExecutor(workers) as pool:
        for server in servers:
            batches = [{n: files[n] for n in left[i : i + BATCH]} for i in range(0, len(left), BATCH)]
            try:
                offered = {
                    oid for found in pool.map(lambda b, s=server: _addresses(s, b), batches) for oid in found
                }
            except (OSError, ValueError) as error:
                reason = f"{server}: {_said(error)}"
                continue
            left = [name for name in left if files[name].sha256 not in offered]
            reason = reason or f"{server} does not have it"
    return dict.fromkeys(left, reason)


def _addresses(server: str, files: Mapping[str, Pointer]) -> dict[str, dict]:
    """Return SHA-256 -> {"href", "header"} of the objects that ``server`` has."""
    import requests

    objects = [{"oid": pointer.sha256, "size": pointer.size} for pointer in files.values()]
    with answered(
        requests.post,
        f"{server}/objects/batch",
        json={"operation": "download", "transfers": ["basic"], "objects": objects},
        headers={"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"},
        stream=True,
    ) as answer:
        answer.raise_for_status()
        body, content = Body(answer), b""
        while len(content) < ANSWER and (piece := body.read(2**15)):
            content += piece
    try:
        found = {
            item["oid"]: item["actions"]["download"]
            for item in json.loads(content)["objects"]
            if "download" in item.get("actions", {})
        }
        for action in found.values():
            if not all(isinstance(x, str) for x in (action["href"], *(action.get("header") or {}).values())):
                raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OSError("the answer is not one of Git LFS") from error
    return found


def _said(error: Exception) -> str:
    """Return a reason in a few words; requests' own texts hold whole addresses, tokens included."""
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"status {answer.status_code}"
    return str(error) if type(error) is OSError else type(error).__name__
