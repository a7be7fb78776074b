"""The list of all committed records with their digests: is a folder complete, and is it unmodified?

    python -m experiments.manifest            # check every record below results/
    python -m experiments.manifest --write    # after new records are to be committed

``results/manifest.csv`` has a line for each record: its path below ``results`` and the sha256 of its bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from data_scripts.fetch import write_atomically

NAME = "manifest.csv"
RESULTS = Path("results")


def digests(folder: Path) -> dict[str, str]:
    """Return path below ``folder`` -> sha256 of each record there."""
    paths = sorted(folder.glob("**/seed*/*.json"))
    return {str(p.relative_to(folder).as_posix()): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def read(path: Path) -> dict[str, str]:
    """Return path -> digest of a manifest.

    Raises:
        ValueError: if the file is not a manifest.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != ["path", "sha256"] or any(len(line) != 2 for line in lines):
        raise ValueError(f"{path} is not a manifest: restore it, or write it with --write.")
    return dict(lines[1:])


def write(results: Path = RESULTS) -> Path:
    """Write the manifest of the records below ``results`` and return its path."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "sha256"), *digests(results).items()])
    path = results / NAME
    write_atomically(path, text.getvalue().encode())
    return path


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the names in words, the first ``most`` of them and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def state(folder: str | Path) -> str:
    """Return how many records of a folder are there and unmodified, and name those that are not.

    >>> state("results/digits")  # doctest: +SKIP
    '1,224 of 1,224 records, unmodified.'
    """
    folder = Path(folder).absolute()
    home = next((p for p in (folder, *folder.parents) if (p / NAME).is_file()), None)
    found = digests(folder)
    if home is None:
        return f"{len(found):,} records, which no manifest covers."
    inside = "" if folder == home else f"{folder.relative_to(home).as_posix()}/"
    entries = read(home / NAME).items()
    listed = {path.removeprefix(inside): digest for path, digest in entries if path.startswith(inside)}
    good = [path for path, digest in listed.items() if found.get(path) == digest]
    faults = {
        "missing": [path for path in listed if path not in found],
        "changed": [path for path in listed if found.get(path, listed[path]) != listed[path]],
        "not in the manifest": [path for path in found if path not in listed],
    }
    parts = [f"{len(good):,} of {len(listed):,} records, unmodified"]
    parts += [f"{kind}: {some(paths)}" for kind, paths in faults.items() if paths]
    return "; ".join(parts) + "."


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 1 if a record is missing, changed or not listed."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.manifest", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--write", action="store_true", help="write the manifest instead of checking it")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.write:
            print(f"{write(options.results)} lists {len(read(options.results / NAME)):,} records.")
            return 0
        said = state(options.results)
    except (OSError, ValueError) as error:
        print(f"manifest: {error}", file=sys.stderr)
        return 1
    print(said)
    return int(not said.endswith("unmodified."))


if __name__ == "__main__":
    sys.exit(main())
