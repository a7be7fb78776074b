"""The data sets behind one call: ``load("digits", seed=0)`` gives paired splits."""

from __future__ import annotations

import inspect
import pkgutil

from .dataset import MultimodalDataset, Split, fingerprint

__all__ = ["DATASETS", "MultimodalDataset", "Split", "fingerprint", "load"]

# name -> the module and its ``load(seed, **options)``, imported when asked for
DATASETS = {
    "toy": "geomreg_mini.data.toy:load",
    "digits": "geomreg_mini.data.digits:load",
    "multiview_digits": "geomreg_mini.data.multiview_digits:load",
    "emoji": "geomreg_mini.data.emoji:load",
    "watch": "geomreg_mini.data.watch:load",
    "crema_d": "geomreg_mini.benchmarks.crema_d:load",
    "kinetics_sounds": "geomreg_mini.benchmarks.audiovisual:load_kinetics_sounds",
    "cubicc": "geomreg_mini.benchmarks.cubicc:load",
    "flickr30k": "geomreg_mini.benchmarks.captioned:load_flickr30k",
    "coco": "geomreg_mini.benchmarks.captioned:load_coco",
    "xrf55": "geomreg_mini.benchmarks.xrf55:load",
}


def load(name: str, *, seed: int = 0, **options) -> MultimodalDataset:
    """Load a data set by name; ``options`` are the keywords of that data set's own ``load``.

    ``seed`` (an integer >= 0) fixes everything that is random: splits, pairing, noise. The same call gives
    the same tensors, bit for bit. Raises ``ValueError`` for an unknown name, option or value, and
    ``data_scripts.fetch.DataError`` where the files cannot be had.
    """
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}; choose one of {', '.join(DATASETS)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}.")
    loader = pkgutil.resolve_name(DATASETS[name])
    known = [option for option in inspect.signature(loader).parameters if option != "seed"]
    for option in options:
        if option not in known:
            raise ValueError(
                f"The data set {name!r} has no option {option!r}; its options are {', '.join(known)}."
            )
    return loader(seed, **options)
