"""The command ``python -m data_scripts``: list the data sets, or fetch, verify and prepare one of them."""

from __future__ import annotations

import argparse
import sys

from . import coco, crema_d, cubicc, digits, flickr30k, kinetics_sounds, multiview_digits, xrf55
from .fetch import DataError, data_root, load_arrays
from .karpathy import IMAGE_SIZE, PARTS

OF_CLIPS = {script.INFO.name: script for script in (crema_d, kinetics_sounds)}
OF_IMAGES = {script.INFO.name: script for script in (flickr30k, coco)}
OF_FILES = {xrf55.INFO.name: xrf55}
LARGE = OF_CLIPS | OF_IMAGES | OF_FILES
SCRIPTS = {script.INFO.name: script for script in (digits, multiview_digits, cubicc)} | LARGE


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 where data could not be had, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts", description=__doc__)
    parser.add_argument("name", choices=["list", *SCRIPTS], help="list, or the data set to prepare")
    parser.add_argument("--root", help="data folder (default: GEOMREG_DATA, else the user's cache folder)")
    parser.add_argument("--mirror", help="folder that holds the published files (default: GEOMREG_MIRROR)")
    large = parser.add_argument_group(f"for {', '.join(LARGE)}")
    large.add_argument("--workers", type=int, metavar="N", help="downloads and decoders at a time")
    large.add_argument("--tolerate", type=float, metavar="SHARE", help="of files unusable at most")
    large.add_argument("--yes", action="store_true", help="start a large download without asking")
    of_clips = parser.add_argument_group(f"for {', '.join(OF_CLIPS)}")
    of_clips.add_argument(
        "--clips", metavar="DIR", help="folder that has the clips, read in place of a download"
    )
    of_clips.add_argument("--variant", choices=list(kinetics_sounds.VARIANTS), help="of kinetics_sounds")
    of_images = parser.add_argument_group(f"for {', '.join(OF_IMAGES)}")
    of_images.add_argument(
        "--images", metavar="DIR", help="folder that has the images, read in place of a download"
    )
    of_images.add_argument("--image-size", type=int, metavar="S", help=f"pixels (default: {IMAGE_SIZE})")
    of_files = parser.add_argument_group(f"for {', '.join([cubicc.INFO.name, *OF_FILES])}")
    of_files.add_argument(
        "--folder", metavar="DIR", help="folder that has the files, read in place of a download"
    )
    of_all = parser.add_argument_group(f"for {', '.join([*LARGE, cubicc.INFO.name])}")
    of_all.add_argument(
        "--stand-ins", action="store_true", help="generate small stand-ins for trying the code"
    )
    options = parser.parse_args(arguments)
    if options.name == "list":
        for script in SCRIPTS.values():
            print(describe(script.INFO, options.root))
        return 0
    try:
        if options.name in OF_CLIPS:
            print(_clips(options))
        elif options.name in OF_FILES:
            print(_recordings(options))
        elif options.name == cubicc.INFO.name:
            print(_pairs(options))
        else:
            print(_images(options) if options.name in OF_IMAGES else _arrays(options))
    except DataError as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.name}: interrupted; run the command again to go on.", file=sys.stderr)
        return 130
    return 0


def _arrays(options) -> str:
    script = SCRIPTS[options.name]
    path = data_root(options.root) / script.INFO.prepared
    arrays = load_arrays(path)
    if arrays is None:
        arrays = load_arrays(script.prepare(options.root, options.mirror))
    return f"{options.name}: prepared in {path} (sha256 {arrays['fingerprint']})."


def _pairs(options) -> str:
    """Prepare CUBICC; what to say of it, with what its splits share."""
    root, name = data_root(options.root), options.name
    if options.stand_ins:
        from geomreg_mini.data import stand_ins

        root /= "stand_ins"
        stand_ins.prepare(name, options.root, progress=True)
    elif options.folder or load_arrays(root / cubicc.INFO.prepared) is None:
        cubicc.prepare(options.root, options.mirror, folder=options.folder)
    path = root / cubicc.INFO.prepared
    arrays = load_arrays(path)
    counts = ", ".join(f"{len(arrays[split])} {split}" for split in cubicc.SPLITS)
    photos = {split: set(arrays["photo"][arrays[split]].tolist()) for split in cubicc.SPLITS}
    said = [
        f"{name}: {counts} pairs, in {arrays['labels'].max() + 1} classes",
        f"{name}: of {len(photos['test'])} different test pictures, "
        f"{len(photos['test'] & photos['train'])} are in training too",
    ]
    if str(arrays["archive"]):
        said.append(f"{name}: the archive has sha256 {arrays['archive']}")
    said.append(f"{name}: prepared in {path} (sha256 {arrays['fingerprint']}).")
    return "\n".join(said)


def _clips(options) -> str:
    """Prepare a data set of clips; what to say of it, with every clip that was left out."""
    script = SCRIPTS[options.name]
    root = data_root(options.root)
    if options.stand_ins:
        from geomreg_mini.data import stand_ins

        root /= "stand_ins"
        cache = stand_ins.prepare(options.name, options.root, progress=True)
    else:
        cache = script.prepare(
            options.root,
            options.mirror,
            clips=options.clips,
            workers=options.workers,
            tolerate=options.tolerate,
            yes=options.yes,
            **({"variant": options.variant} if options.variant else {}),
        )
    said = [f"{name}: left out, {reason}" for name, reason in cache.unusable.items()]
    counts = " and ".join(f"{cache.parts.count(part)} {part}" for part in ("train", "test"))
    said += [
        f"{options.name}: {counts} clips prepared in {(root / script.INFO.prepared).parent} "
        f"(sha256 {cache.fingerprint})."
    ]
    return "\n".join(said)


def _images(options) -> str:
    """Prepare a data set of images with captions; what to say of it, with every image that was left out."""
    script = SCRIPTS[options.name]
    size = {"image_size": options.image_size} if options.image_size else {}
    if options.stand_ins:
        from geomreg_mini.data import stand_ins

        folder = data_root(options.root) / "stand_ins"
        cache = stand_ins.prepare(options.name, options.root, progress=True, **size)
    else:
        folder = data_root(options.root)
        if script is coco:
            size["yes"] = options.yes
        cache = script.prepare(
            options.root,
            options.mirror,
            images=options.images,
            workers=options.workers,
            tolerate=options.tolerate,
            **size,
        )
    said = [f"{name}: left out, {reason}" for name, reason in cache.unusable.items()]
    counts = ", ".join(f"{cache.parts.count(part)} {part}" for part in PARTS)
    said += [f"the list of {part} has sha256 {digest}" for part, digest in cache.lists.items()]
    said += [
        f"{options.name}: {counts} images with {sum(map(len, cache.captions))} captions prepared in "
        f"{(folder / script.INFO.prepared).parent} (sha256 {cache.fingerprint})."
    ]
    return "\n".join(said)


def _recordings(options) -> str:
    """Prepare an index of recordings; what to say of it, with every recording that was left out."""
    script, root = SCRIPTS[options.name], data_root(options.root)
    if options.stand_ins:
        from geomreg_mini.data import stand_ins

        root /= "stand_ins"
        found = stand_ins.prepare(options.name, options.root, progress=True)
    else:
        found = script.prepare(
            options.root,
            options.mirror,
            folder=options.folder,
            workers=options.workers,
            tolerate=options.tolerate,
            yes=options.yes,
        )
    said = [f"{name}: left out, {reason}" for name, reason in found.unusable.items()]
    counts = ", ".join(f"{count} {what}" for what, count in script.counts(found).items())
    said += [
        f"{options.name}: {counts}, indexed in {root / script.INFO.prepared} where they are, in "
        f"{found.source} (sha256 {found.fingerprint})."
    ]
    return "\n".join(said)


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
