"""Open what a data script prepared: its arrays, its official files, or the stand-ins for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np

from . import stand_ins
from .fetch import DataError, data_root, load_arrays, named_folder

T = TypeVar("T")
_unavailable: dict[tuple, str] = {}  # (prepared file, mirror) -> why; a process asks the internet once


def prepared_arrays(script: ModuleType, source: str = "") -> tuple[dict[str, np.ndarray] | None, str]:
    """Return the arrays that a data script prepares, and "". Fetch and prepare them first if necessary.

    For a data set that also has embedded data, ``source`` "embedded" returns None and why these are used.
    With "auto" so does a failure, whose reason is remembered: later calls with "auto" do not try again. With
    any other ``source`` a failure raises ``data_scripts.fetch.DataError``.
    """
    if source == "embedded":
        return None, "they were asked for"
    path, mirror = data_root() / script.INFO.prepared, named_folder("GEOMREG_MIRROR")
    if (arrays := load_arrays(path)) is not None:
        return arrays, ""
    if source == "auto" and (path, mirror) in _unavailable:
        return None, _unavailable[path, mirror]
    try:
        return load_arrays(script.prepare(progress=False)), ""
    except DataError as error:
        if source != "auto":
            name = script.INFO.name
            raise DataError(
                f"The data set {name} is not prepared in {path.parent} and {error.brief}; run `python -m "
                f"data_scripts {name}`, which says more and gets it.",
                error.brief,
            ) from error
        return None, _unavailable.setdefault((path, mirror), error.brief)


def open_source(
    name: str, source: str, path: Path, official: Callable[[Path], T | None], options: str = "", **sizes: int
) -> T:
    """Return the ``official`` files at ``path``, or the stand-ins of the data set, generated if missing.

    ``official`` returns None for files that are missing; ``options`` are those of the command that gets them,
    and ``sizes`` are those of stand-ins.
    Raises ``ValueError`` unless ``source`` is "official" or "stand_in", and ``DataError`` without the files.
    """
    if source not in ("official", "stand_in"):
        raise ValueError(f"source={source!r} is unknown: choose one of official, stand_in.")
    if source == "stand_in":
        return stand_ins.prepare(name, **sizes)
    if (found := official(path)) is None:
        raise DataError(
            f"{name} is not prepared in {path.parent}; run `python -m data_scripts {name}{options}`, or load "
            "it with source='stand_in' to try the code.",
            f"{name} is not prepared",
        )
    return found
