"""The source of a benchmark's files: the official ones that a script prepared, or generated stand-ins."""

from __future__ import annotations

from pathlib import Path

from data_scripts.fetch import DataError, DatasetInfo
from data_scripts.stand_ins import NOTE

SOURCES = ("official", "stand_in")


def is_official(source: str) -> bool:
    """Return whether ``source`` is "official" and not "stand_in"; raise ``ValueError`` for any other."""
    if source not in SOURCES:
        raise ValueError(f"source={source!r} is unknown: choose one of {', '.join(SOURCES)}.")
    return source == "official"


def not_prepared(name: str, folder: Path, options: str = "") -> DataError:
    """Return the error for official files that are missing in ``folder``; ``options`` are the command's."""
    return DataError(
        f"{name} is not prepared in {folder}; run `python -m data_scripts {name}{options}`, or load it with "
        "source='stand_in' to try the code.",
        f"{name} is not prepared",
    )


def provenance(info: DatasetInfo, official: bool) -> dict[str, str]:
    """Return the fields ``licence``, ``source`` and ``note`` of a data set."""
    if official:
        return {"licence": info.licence, "source": info.source, "note": ""}
    return {"licence": "CC0-1.0", "source": "generated, see data_scripts/stand_ins", "note": NOTE}
