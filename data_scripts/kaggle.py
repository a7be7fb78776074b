"""Download a Kaggle data set with ``kagglehub``, and turn every failure into one sentence.

``kagglehub`` looks for the token where Kaggle's own programs do, resumes a download that broke off, and
checks the MD5 that the storage host states. The token goes into one request header for Kaggle's own host. No
message here repeats another library's error text, because it may hold the token or a signed address.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import sys
import zipfile
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from .fetch import SLOWEST, DataError, NotYet, begun, of_disk

WHERE = (
    "in KAGGLE_API_TOKEN, in KAGGLE_USERNAME and KAGGLE_KEY, in ~/.kaggle/access_token or in "
    "~/.kaggle/kaggle.json"
)
STALLED = 2**20 / SLOWEST  # seconds: kagglehub stores whole mebibytes, which a host must send in this time


def has_token() -> bool:
    """Return whether ``kagglehub`` finds a token.

    Raises:
        DataError: without ``kagglehub``, or if a token or its file is malformed.
    """
    try:
        from kagglehub.config import get_kaggle_credentials
    except ImportError:
        raise DataError(
            "This data set is on Kaggle, and kagglehub is not installed; install the extra `benchmarks`, or "
            "name a folder that has the files with --from.",
            "kagglehub is not installed",
        ) from None
    try:
        credentials = get_kaggle_credentials()
        parts = [part for part in dataclasses.astuple(credentials) if part] if credentials else []
        sound = all(part.isascii() and part.isprintable() and " " not in part for part in parts)
    except Exception:  # a damaged file can fail anywhere here, and the error's text may hold the token
        sound = False
    if not sound:
        raise DataError(
            f"The Kaggle token is malformed; copy it again from kaggle.com/settings ({WHERE}).",
            "the Kaggle token is malformed",
        )
    return bool(parts)


def download(name: str, folder: Path) -> Path:
    """Download the data set ``name`` ("owner/title") and return the folder of its unpacked files.

    The archive, and then the files, are stored below ``folder``; another call resumes a broken download.
    Both take space at once until the archive is unpacked.

    Raises:
        DataError: if the token is missing, malformed or refused, the terms are not accepted, the data set is
            missing, Kaggle cannot be reached, or the archive is damaged. Downloaded bytes stay, unless they
            are damaged.
    """
    known = has_token()
    import kagglehub
    import requests
    from kagglehub.exceptions import DataCorruptionError

    page = f"kaggle.com/datasets/{name}"
    for handler in logging.getLogger("kagglehub").handlers:
        if type(handler) is logging.StreamHandler:  # its messages are not what the command prints
            handler.stream = sys.stderr  # setStream would flush the other, which may be closed
    earlier = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = str(folder)
    try:
        return Path(_while_it_grows(begun(kagglehub.dataset_download, name), folder))
    except requests.HTTPError as error:
        status = None if error.response is None else error.response.status_code
        reason = f"Kaggle did not serve {name} (status {status}); try again later."
        if status in (401, 403) and not known:
            reason = (
                "Kaggle asks for a token, and none was found; create it on kaggle.com/settings and put it "
                f"{WHERE}, or name a folder that has the files with --from."
            )
        elif status == 401:
            reason = "Kaggle does not accept the token; create a new one on kaggle.com/settings."
        elif status == 403:
            reason = f"Kaggle refuses the token; accept the terms on {page} with the token's account."
        elif status == 404:
            reason = f"Kaggle has no data set {name}; see {page}."
    except (DataCorruptionError, zipfile.BadZipFile, EOFError, ValueError):
        for archive in folder.rglob("*.archive"):  # the next call would use it as it is
            archive.unlink()
        reason = (
            f"The archive of {name} is damaged or cut short; run the command again to download a new copy."
        )
    except requests.RequestException as error:
        reason = (
            f"The connection to Kaggle failed ({type(error).__name__}); run the command again to resume, or "
            "name a folder that has the files with --from."
        )
    except OSError as error:
        with of_disk(folder):
            raise OSError(error.errno or errno.EIO, error.strerror or type(error).__name__) from None
    finally:
        if earlier is None:
            del os.environ["KAGGLEHUB_CACHE"]
        else:
            os.environ["KAGGLEHUB_CACHE"] = earlier
    raise DataError(reason, "the download failed") from None


def _while_it_grows(download: Future[str], folder: Path) -> str:
    """Return the result of a download; raise ``requests.Timeout`` if ``folder`` does not change any more."""
    from requests import Timeout

    before = None
    while True:
        with suppress(NotYet):
            return download.result(STALLED)
        if download.done():  # in this moment, or with a timeout of its own
            return download.result()
        now = None
        with suppress(OSError):  # a file that just went is a change
            now = {path: path.stat().st_size for path in folder.rglob("*")}
        if now is not None and now == before:
            raise Timeout
        before = now
