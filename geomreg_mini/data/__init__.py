"""The data sets behind one call: ``load("digits", seed=0)`` gives paired splits."""

from __future__ import annotations

import importlib
import inspect

from .dataset import MultimodalDataset, Split, fingerprint

__all__ = ["DATASETS", "MultimodalDataset", "Split", "fingerprint", "load"]

# name -> the module with its load(seed, **options), imported when asked for
DATASETS = {
    name: name
    for name in (
        "toy",
        "digits",
        "multiview_digits",
        "crema_d",
        "kinetics_sounds",
        "cubicc",
        "flickr30k",
        "coco",
        "xrf55",
    )
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
    loader = importlib.import_module(f".{DATASETS[name]}", __name__).load
    known = [option for option in inspect.signature(loader).parameters if option != "seed"]
    for option in options:
        if option not in known:
            raise ValueError(
                f"The data set {name!r} has no option {option!r}; its options are {', '.join(known)}."
            )
    return loader(seed, **options)
