"""Download from Google Drive with ``gdown``, and turn every failure into one sentence.

Drive answers a request for a file that it does not serve with a page and not with an error: its quota is used
up, it wants a confirmation, or the file is private. ``gdown`` gets past confirmations and resumes a download
that broke off. It neither needs nor gets an account's cookies here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .fetch import DataError, of_disk

T = TypeVar("T")
FILE, FOLDER = "https://drive.google.com/file/d/{}", "https://drive.google.com/drive/folders/{}"


def download(file: str, path: Path, *, progress: bool) -> Path:
    """Download the file with this id to ``path``; a ``.part`` next to it, of an earlier try, is continued.

    Raises:
        DataError: if Drive refuses or cannot be reached, or sends a page instead of the file.
    """
    with of_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = sorted(path.parent.glob(f"{path.name}*.part"), key=lambda part: part.stat().st_size)
        for part in earlier[:-1]:  # gdown continues one, and refuses to choose among several
            part.unlink()
    page = FILE.format(file)
    _asked(page, lambda gdown: gdown.download(
        id=file, output=str(path), quiet=not progress, resume=True, use_cookies=False
    ))  # fmt: skip
    with open(path, "rb") as content:
        start = content.read(512)
    if re.match(rb"\s*<(!doctype|html)", start, re.IGNORECASE):
        path.unlink()
        raise _refused(page, "sends a page instead of the file")
    return path


def listing(folder: str) -> dict[str, str]:
    """Return path -> id of every file in the folder with this id, also in its subfolders.

    Raises:
        DataError: as ``download`` does.
    """
    page = FOLDER.format(folder)
    files = _asked(page, lambda gdown: gdown.download_folder(
        id=folder, quiet=True, skip_download=True, use_cookies=False
    ))  # fmt: skip
    if not files:
        raise _refused(page, "shows no file in the folder")
    return {Path(file.path).as_posix(): file.id for file in files}


def _asked(page: str, ask: Callable[..., T]) -> T:
    """Return ``ask(gdown)``; raise a :class:`DataError` of one sentence for each of its failures."""
    try:
        import gdown
    except ImportError:
        raise DataError(
            f"This is on Google Drive ({page}), and gdown is not installed; install the extra `benchmarks`, "
            "or download it in a browser and name its folder.",
            "gdown is not installed",
        ) from None
    import requests

    try:
        return ask(gdown)
    except requests.exceptions.ChunkedEncodingError:  # of a gdown that lets it pass
        raise _broken(page, "it broke off") from None
    except requests.RequestException as error:
        raise _broken(page, type(error).__name__) from None
    except OSError as error:
        with of_disk(Path(error.filename or ".")):
            raise
    except Exception as error:  # gdown has one class for all failures, another in each of its versions
        text = str(error).lower()
    if "incomplete" in text:
        raise _broken(page, "it broke off")
    if "too many users" in text or "quota" in text:
        raise _refused(page, "refuses it for a day, because its quota is used up")
    raise _refused(page, "gives no link to it: its quota is used up, or it was moved or is no longer public")


def _broken(page: str, how: str) -> DataError:
    return DataError(
        f"The connection to Google Drive failed for {page} ({how}); run the command again to resume.",
        "the download failed",
    )


def _refused(page: str, reason: str) -> DataError:
    return DataError(
        f"Google Drive {reason} ({page}); try again later, or download it in a browser and name its folder "
        "with --from or the mirror with --mirror.",
        "Google Drive refused the download",
    )
