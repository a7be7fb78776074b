"""The archive of a Kaggle data set: the token from its usual places, and a download that can be resumed.

The token goes into one request header for Kaggle's own host and nowhere else: not into a message, a file or
an address. Kaggle answers with the address of a storage host, to which ``requests`` does not pass it on.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import re
from pathlib import Path

from .fetch import CONNECT_TIMEOUT, READ_TIMEOUT, DataError, download_part

API = "https://www.kaggle.com/api/v1"
TRIES = 5
WHERE = (
    "in KAGGLE_API_TOKEN, in KAGGLE_USERNAME and KAGGLE_KEY, in ~/.kaggle/access_token or in "
    "~/.kaggle/kaggle.json"
)


def authorization() -> dict[str, str]:
    """The request header that says who asks, from where Kaggle's own programs look, in their order.

    Those are ``KAGGLE_API_TOKEN`` (a token or a file with one), ``~/.kaggle/access_token``,
    ``KAGGLE_USERNAME`` with ``KAGGLE_KEY``, and ``kaggle.json`` in ``KAGGLE_CONFIG_DIR``, ``~/.kaggle`` or
    ``~/.config/kaggle``.

    Raises :class:`DataError` where there is no token or the file is none.
    """
    token = os.environ.get("KAGGLE_API_TOKEN", "").strip()
    for file in ([Path(token)] if token else []) + [_home() / ".kaggle" / "access_token"]:
        token = _text(file) or token
        if token:
            return {"Authorization": f"Bearer {_plain(token)}"}
    name, key = (os.environ.get(f"KAGGLE_{part}", "").strip() for part in ("USERNAME", "KEY"))
    if not (name and key):
        name, key = _from_json()
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{_plain(key)}".encode()).decode()}


def _home() -> Path:
    return Path(os.path.expanduser("~"))


def _text(path: Path) -> str:
    """What is in a file, "" where there is none; a token itself is no name of a file, and may be too long."""
    try:
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def _plain(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise DataError(
            f"The Kaggle token has characters that no token has; copy it again ({WHERE}).",
            "the Kaggle token is no token",
        )
    return token


def _from_json() -> tuple[str, str]:
    own = os.environ.get("KAGGLE_CONFIG_DIR")
    folders = [Path(own)] if own else [_home() / ".kaggle", _home() / ".config" / "kaggle"]
    for path in (folder / "kaggle.json" for folder in folders):
        if not path.is_file():
            continue
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            name, key = stored["username"], stored["key"]
            if isinstance(name, str) and isinstance(key, str):
                return name, key
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # lists in lists in ...
            pass
        raise DataError(
            f"The file {path} has no username and key; get a new one from kaggle.com/settings.",
            "kaggle.json cannot be used",
        )
    raise DataError(
        "There is no Kaggle token, and this data set is on Kaggle; create one on kaggle.com/settings and put "
        f"it {WHERE}, or name a folder that has the files with --folder.",
        "there is no Kaggle token",
    )


def archive_size(name: str, headers: dict[str, str]) -> tuple[int, str | None]:
    """Size in bytes of the archive of the data set ``name`` ("owner/title"), and its MD5 where that is told.

    Raises :class:`DataError` where Kaggle cannot be reached or refuses.
    """
    import requests

    try:
        with requests.get(
            _url(name), headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
        ) as answer:
            status, said = answer.status_code, answer.headers
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; their texts hold signed addresses
        raise DataError(
            f"Could not reach Kaggle ({type(error).__name__}); check the connection, or name a folder that "
            "has the files with --folder.",
            "the download failed",
        ) from error
    page = f"kaggle.com/datasets/{name}"
    refused = {
        401: "does not accept the token; create a new one on kaggle.com/settings",
        403: f"refuses; accept the terms on {page} with the account of the token",
        404: f"has no data set {name} any more; see {page}",
    }
    size = said.get("Content-Length", "")
    if (
        status != 200
        or not re.fullmatch(r"[1-9]\d{0,14}", size, re.ASCII)
        or said.get("Content-Type", "").startswith("text/")
    ):
        reason = refused.get(status, f"gave no archive (status {status}); try again later")
        raise DataError(f"Kaggle {reason}.", "the download failed")
    sums = dict(part.strip().partition("=")[::2] for part in said.get("X-Goog-Hash", "").split(","))
    try:
        return int(size), base64.b64decode(sums["md5"], validate=True).hex()
    except (KeyError, ValueError):
        return int(size), None


def download(name: str, path: Path, size: int, md5: str | None, headers: dict[str, str], *, progress: bool):
    """The archive of ``name`` as the file ``path``; ``size`` and ``md5`` are what ``archive_size`` gave.

    Where it breaks off it is tried again, and another call goes on with what is there.
    """
    from tqdm.auto import tqdm

    with tqdm(
        desc="downloading", total=size, unit="B", unit_scale=True, mininterval=1, disable=not progress
    ) as bar:
        for attempt in range(TRIES):
            try:
                download_part(
                    _url(name), path, size=size, checksum=md5, algorithm="md5", headers=headers,
                    on_bytes=bar.update,
                )  # fmt: skip
                return
            except OSError as error:
                if attempt == TRIES - 1 or error.errno == errno.ENOSPC:
                    own = type(error) is OSError  # those of requests have signed addresses in their texts
                    reason = (error.strerror or str(error)) if own else type(error).__name__
                    raise DataError(
                        f"Could not download {name} from Kaggle ({reason}); run the command again to go on.",
                        "the download failed",
                    ) from error


def _url(name: str) -> str:
    return f"{API}/datasets/download/{name}"
