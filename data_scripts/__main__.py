"""The command ``python -m data_scripts``: list the data sets, or fetch, verify and prepare one of them."""

from __future__ import annotations

import argparse
import sys

from . import digits, multiview_digits
from .fetch import DataError, data_root, load_arrays

SCRIPTS = {script.INFO.name: script for script in (digits, multiview_digits)}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 where data could not be had, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts", description=__doc__)
    parser.add_argument("name", choices=["list", *SCRIPTS], help="list, or the data set to prepare")
    parser.add_argument("--root", help="data folder (default: GEOMREG_DATA, else the user's cache folder)")
    parser.add_argument("--mirror", help="folder that holds the published files (default: GEOMREG_MIRROR)")
    options = parser.parse_args(arguments)
    if options.name == "list":
        for script in SCRIPTS.values():
            print(describe(script.INFO, options.root))
        return 0
    script = SCRIPTS[options.name]
    try:
        path = data_root(options.root) / script.INFO.prepared
        arrays = load_arrays(path)
        if arrays is None:
            arrays = load_arrays(script.prepare(options.root, options.mirror))
    except DataError as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.name}: interrupted, nothing was stored; run the command again.", file=sys.stderr)
        return 130
    print(f"{options.name}: prepared in {path} (sha256 {arrays['fingerprint']}).")
    return 0


def describe(info, root: str | None) -> str:
    """A paragraph about one data set and where it is, or will be, stored."""
    path = data_root(root) / info.prepared
    return "\n".join(
        [
            info.name,
            f"  size      {info.size}",
            f"  licence   {info.licence}",
            f"  source    {info.source}",
            f"  stored    {path}",
            f"  prepared  {'yes' if path.is_file() else f'no: python -m data_scripts {info.name}'}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
