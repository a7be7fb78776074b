"""Copy XRF55 in half precision: 1.7 MB per recording in three arrays, instead of 4.4 MB in three files.

An epoch then reads 22 GB instead of 58. Values are rounded to 11 bits; a recording with a value beyond the
range of float16 is refused. Where this copy exists, the data set reads it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from . import xrf55
from .clip_cache import bar, check_disk_space, exclusive, in_order, replacing, stored
from .fetch import AnyPath, DataError, DatasetInfo, data_root
from .xrf55 import SHAPES, Recordings

SAMPLE = 2 * sum(map(math.prod, SHAPES.values()))  # bytes
INFO = DatasetInfo(
    name="xrf55_half",
    size=f"{22_000 * SAMPLE / 1e9:.0f} GB in addition to xrf55",
    licence=xrf55.INFO.licence,
    source="the recordings that `python -m data_scripts xrf55` indexed",
    prepared="xrf55/half.json",
)
VERSION = 1  # counts changes of the stored form
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class HalfRecordings(Recordings):
    """An index whose recordings are read from one float16 array per modality, (N, ...)."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def read(self, modality: str, row: int) -> np.ndarray:
        """Return a recording as float32 of the modality's shape."""
        return self.arrays[modality][row].astype(np.float32)


def open_cache(path: Path) -> Recordings | None:
    """Return the recordings of the index at ``path``, in half precision if they were copied, or None."""
    recordings = xrf55.open_cache(path)
    try:
        plan, arrays = stored(path.with_name(Path(INFO.prepared).name), VERSION)
    except Exception:  # missing or damaged
        return recordings
    if recordings is None or plan["fingerprint"] != _fingerprint(recordings) or set(arrays) != set(SHAPES):
        return recordings
    own = {f.name: getattr(recordings, f.name) for f in fields(recordings)}
    return HalfRecordings(**own | {"fingerprint": plan["fingerprint"]}, arrays=arrays)


def open_in_place(path: Path) -> Recordings | None:
    """Return the result of ``open_cache``; raise ``DataError`` if the recordings have been moved."""
    recordings = open_cache(path)
    if recordings is not None and not Path(recordings.source).is_dir():
        raise DataError(
            f"The recordings of xrf55 are no longer in {recordings.source}; run `python -m data_scripts "
            "xrf55` again, with their folder after --from.",
            "the recordings were moved",
        )
    return recordings


def _fingerprint(recordings: Recordings) -> str:
    return hashlib.sha256(f"{recordings.fingerprint} in float16".encode()).hexdigest()


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Recordings:
    """Copy the indexed recordings, unless they are copied already, and return them.

    Args:
        root: as in :mod:`.digits`.
        mirror: unused.
        workers: number of files read at a time.
    """
    path = data_root(root) / INFO.prepared
    index = data_root(root) / xrf55.INFO.prepared
    found, recordings = open_cache(index), xrf55.open_cache(index)
    if found is None or recordings is None:
        raise DataError(
            f"xrf55 is not prepared in {path.parent}; run `python -m data_scripts xrf55` first.",
            "xrf55 is not prepared",
        )
    if isinstance(found, HalfRecordings):
        return found
    check_disk_space(INFO, path.parent, SAMPLE * len(recordings.keys))
    with exclusive(path), replacing(path, VERSION, _fingerprint(recordings)) as (scratch, plan):
        plan["arrays"] = {m: ["<f2", [len(recordings.keys), *shape]] for m, shape in SHAPES.items()}
        for m in SHAPES:
            rows = range(len(recordings.keys))
            values = in_order(
                lambda row, m=m: _half(recordings, m, row), rows, workers or os.cpu_count() or 1
            )
            with open(scratch / f"{m}.bin", "wb") as file:
                for value in bar(values, len(rows), progress, unit=f"{m} recording"):
                    file.write(value.tobytes())
    return open_cache(index)


def _half(recordings: Recordings, modality: str, row: int) -> np.ndarray:
    values = recordings.read(modality, row)
    if not np.abs(values).max() <= LARGEST:
        raise DataError(
            f"{recordings.files[modality][row]} has a value beyond {LARGEST:.0f} or NaN, which float16 "
            "cannot hold; use the files as they are.",
            "a recording does not fit float16",
        )
    return values.astype("<f2")


def summary_lines(recordings: Recordings) -> list[str]:
    """Return the line to print about the copy."""
    return [f"{len(recordings.keys)} recordings in float16, sha256 {recordings.fingerprint}"]
