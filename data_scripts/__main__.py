"""The command ``python -m data_scripts``: list the data sets, or fetch, verify and prepare one of them."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path

from . import (
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
    watch,
    xrf55,
)
from .fetch import DataError, data_root, load_arrays

SCRIPTS = {
    script.INFO.name: script
    for script in (
        digits,
        multiview_digits,
        emoji,
        watch,
        crema_d,
        kinetics_sounds,
        cubicc,
        flickr30k,
        coco,
        xrf55,
    )
}
# Arguments of ``prepare`` that the command line can give, where a script has them.
OPTIONS = {
    "clips": {"metavar": "DIR", "help": "folder that has the clips, read in place of a download"},
    "images": {"metavar": "DIR", "help": "folder that has the images, read in place of a download"},
    "folder": {"metavar": "DIR", "help": "folder that has the files, read in place of a download"},
    "variant": {"choices": list(kinetics_sounds.VARIANTS), "help": "which clips"},
    "image_size": {
        "type": int,
        "metavar": "S",
        "help": f"pixels of a side, by default {karpathy.IMAGE_SIZE}",
    },
    "workers": {"type": int, "metavar": "N", "help": "downloads and decoders at a time"},
    "tolerate": {"type": float, "metavar": "SHARE", "help": "of files unusable at most"},
    "yes": {"action": "store_true", "default": None, "help": "start a large download without asking"},
}


def _taken(name: str) -> set[str]:
    return set(inspect.signature(SCRIPTS[name].prepare).parameters)


# Those whose ``prepare`` can be told that its files are not the published ones.
STAND_INS = [name for name in SCRIPTS if "published" in _taken(name)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 where data could not be had, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts", description=__doc__)
    parser.add_argument("name", choices=["list", *SCRIPTS], help="list, or the data set to prepare")
    parser.add_argument("--root", help="data folder (default: GEOMREG_DATA, else the user's cache folder)")
    parser.add_argument("--mirror", help="folder that holds the published files (default: GEOMREG_MIRROR)")
    of_some = parser.add_argument_group("of some data sets")
    for option, how in OPTIONS.items():
        takers = ", ".join(name for name in SCRIPTS if option in _taken(name))
        flag = f"--{option.replace('_', '-')}"
        of_some.add_argument(flag, **how | {"help": f"{how['help']} ({takers})"})
    of_some.add_argument(
        "--stand-ins",
        action="store_true",
        help=f"generate small stand-ins for trying the code ({', '.join(STAND_INS)})",
    )
    options = parser.parse_args(arguments)
    if options.name == "list":
        for script in SCRIPTS.values():
            print(describe(script.INFO, options.root))
        return 0
    given = {option: value for option in OPTIONS if (value := getattr(options, option)) is not None}
    for option in given:
        if option not in _taken(options.name):
            parser.error(f"{options.name} has no --{option.replace('_', '-')}: leave it out")
    if options.stand_ins and options.name not in STAND_INS:
        parser.error(f"{options.name} needs no --stand-ins: leave it out")
    try:
        for line in prepare(options.name, options.root, options.mirror, options.stand_ins, given):
            print(f"{options.name}: {line}")
    except DataError as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.name}: interrupted; run the command again to go on.", file=sys.stderr)
        return 130
    return 0


def prepare(name: str, root, mirror, stand_ins: bool, given: dict) -> list[str]:
    """Prepare a data set with the options ``given``; what to say of it, line by line."""
    script = SCRIPTS[name]
    path = data_root(root) / script.INFO.prepared
    if stand_ins:
        from . import stand_ins as generated

        path = data_root(root) / "stand_ins" / script.INFO.prepared
        prepared = generated.prepare(name, root, progress=True, **given)
    else:
        # A file of arrays that is there is taken as it is; the other scripts look for themselves.
        prepared = load_arrays(path) if path.suffix == ".npz" and not given else None
        if prepared is None:
            prepared = script.prepare(root, mirror, **given)
    if isinstance(prepared, Path):
        prepared = load_arrays(prepared)
    told = getattr(script, "told", fetch.told)  # where a script has more to say than a checksum
    return [*told(prepared), f"prepared in {path.parent}."]


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
