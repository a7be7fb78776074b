"""The command ``python -m data_scripts``: list the data sets, or fetch, verify and prepare one of them."""

from __future__ import annotations

import argparse
import sys
from inspect import signature
from pathlib import Path
from typing import Any

from . import (
    avmnist,
    coco,
    crema_d,
    cubicc,
    digits,
    emoji,
    fetch,
    flickr30k,
    karpathy,
    kinetics_sounds,
    multiview_digits,
    stand_ins,
    watch,
    x_fi,
    xrf55,
    xrf55_half,
)
from .fetch import AnyPath, DataError, DatasetInfo, data_root, load_arrays
from .output import until_closed

SCRIPTS = {
    script.INFO.name: script
    for script in (
        digits,
        multiview_digits,
        emoji,
        watch,
        crema_d,
        kinetics_sounds,
        avmnist,
        cubicc,
        flickr30k,
        coco,
        xrf55,
        xrf55_half,
        x_fi,
    )
}
OPTIONS: dict[str, dict[str, Any]] = {
    "from": {"dest": "folder", "metavar": "DIR", "help": "read files in this folder, in place; no download"},
    "part2": {"action": "store_true", "default": None, "help": "also index Part 2, the rest of scene 1"},
    "variant": {"choices": list(kinetics_sounds.VARIANTS), "help": "which clips"},
    "image_size": {
        "type": int,
        "metavar": "S",
        "help": f"pixels per side (default: {karpathy.IMAGE_SIZE})",
    },
    "features": {
        "action": "store_true",
        "default": None,
        "help": "compute features by frozen networks too (100 MB more, eight minutes on one core)",
    },
    "workers": {"type": int, "metavar": "N", "help": "number of parallel downloads and decoders"},
    "tolerate": {"type": float, "metavar": "SHARE", "help": "largest share of a split that may be unusable"},
    "yes": {"action": "store_true", "default": None, "help": "start a large download without asking"},
}
TAKES = {  # options of each script's ``prepare``; scripts that are not listed have none
    "emoji": ("features",),
    "crema_d": ("from", "workers", "tolerate", "yes"),
    "kinetics_sounds": ("from", "variant", "workers", "tolerate", "yes"),
    "avmnist": ("from",),
    "cubicc": ("from",),
    "flickr30k": ("from", "image_size", "workers", "tolerate"),
    "coco": ("from", "image_size", "workers", "tolerate", "yes"),
    "xrf55": ("from", "part2", "workers", "tolerate", "yes"),
    "xrf55_half": ("workers",),
    "x_fi": ("from",),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_scripts", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in ("list", *SCRIPTS):
        what = "list the data sets" if name == "list" else f"prepare {name}"
        command = commands.add_parser(name, help=what, description=f"{what.capitalize()}.")
        command.add_argument(
            "--root", help="data folder (default: GEOMREG_DATA, else the user's cache folder)"
        )
        if name == "list":
            continue
        command.add_argument(
            "--mirror", help="folder that holds the published files (default: GEOMREG_MIRROR)"
        )
        for option in TAKES.get(name, ()):
            command.add_argument(f"--{option.replace('_', '-')}", **OPTIONS[option])
        if name in stand_ins.WRITERS:
            command.add_argument(
                "--stand-ins", action="store_true", help="generate small stand-ins for trying the code"
            )
        if hasattr(SCRIPTS[name], "check"):
            command.add_argument(
                "--check", action="store_true", help="only say what is there for each split, and where"
            )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 1 if the data could not be obtained, or 130 if interrupted."""
    options = _parser().parse_args(arguments)
    names = [OPTIONS[option].get("dest", option) for option in TAKES.get(options.name, ())]
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    generate = getattr(options, "stand_ins", False)
    try:
        if options.name == "list":
            for script in SCRIPTS.values():
                print(describe(script.INFO, options.root))
            return 0
        if getattr(options, "check", False):
            check = SCRIPTS[options.name].check
            lines = check(options.mirror, **{n: given[n] for n in given.keys() & signature(check).parameters})
        else:
            lines = prepare(options.name, options.root, options.mirror, generate, given)
        for line in lines:
            print(f"{options.name}: {line}")
    except (DataError, ModuleNotFoundError) as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.name}: interrupted; run the command again to continue.", file=sys.stderr)
        return 130
    return 0


def prepare(
    name: str,
    root: AnyPath | None,
    mirror: AnyPath | None,
    generate: bool,
    given: dict[str, Any],
) -> list[str]:
    """Prepare a data set, or its stand-ins with ``generate``; return the lines to print about it."""
    script = SCRIPTS[name]
    path = data_root(root) / script.INFO.prepared
    if generate:
        path = data_root(root) / "stand_ins" / script.INFO.prepared
        prepared = stand_ins.prepare(name, root, progress=True, **given)
    else:
        # An existing file of arrays is used as it is; the other scripts check for themselves.
        prepared = load_arrays(path) if path.suffix == ".npz" and not given else None
        if prepared is None:
            prepared = script.prepare(root, mirror, **given)
    if isinstance(prepared, Path):
        prepared = load_arrays(prepared)
    summary_lines = getattr(script, "summary_lines", fetch.summary_lines)
    return [*summary_lines(prepared), f"prepared in {path.parent}."]


def describe(info: DatasetInfo, root: str | None) -> str:
    """Return a paragraph about one data set and where it is, or will be, stored."""
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
    sys.exit(until_closed(main))
