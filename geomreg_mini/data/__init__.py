"""The data sets behind one call: ``load("digits", seed=0)`` returns paired splits."""

import pkgutil
from typing import Any

from ..inputs import check_whole
from .dataset import MultimodalDataset, Split, batches, fingerprint

__all__ = ["DATASETS", "MultimodalDataset", "Split", "batches", "fingerprint", "load"]

# name -> the module and its ``load(seed, **options)``, imported by ``load`` below
DATASETS = {
    "toy": "geomreg_mini.data.toy:load",
    "digits": "geomreg_mini.data.digits:load",
    "multiview_digits": "geomreg_mini.data.multiview_digits:load",
    "crema_d": "geomreg_mini.benchmarks.audiovisual:load_crema_d",
    "emoji": "geomreg_mini.data.emoji:load",
    "watch": "geomreg_mini.data.watch:load",
    "avmnist": "geomreg_mini.benchmarks.avmnist:load",
    "kinetics_sounds": "geomreg_mini.benchmarks.audiovisual:load_kinetics_sounds",
    "cubicc": "geomreg_mini.benchmarks.cubicc:load",
    "flickr30k": "geomreg_mini.benchmarks.captioned:load_flickr30k",
    "coco": "geomreg_mini.benchmarks.captioned:load_coco",
    "xrf55": "geomreg_mini.benchmarks.xrf55:load",
}


def load(name: str, *, seed: int = 0, **options: Any) -> MultimodalDataset:
    """Return a data set by name; ``options`` are the keywords of that data set's own ``load``.

    A name that ends in ".npz" is the path of your own file, see ``MultimodalDataset.from_npz``. So it is also
    a ``TrainConfig.dataset``, and commands and studies in ``experiments`` take it.
    ``seed`` (an integer >= 0) fixes everything that is random: splits, pairing, noise. The same call gives
    the same tensors, bit for bit. Raises ``ValueError`` for an unknown name, option or value, and
    ``data_scripts.fetch.DataError`` if the files cannot be obtained.
    """
    if name.endswith(".npz"):
        return MultimodalDataset.from_npz(name, **options)
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}; choose one of {', '.join(DATASETS)}, or an .npz file.")
    check_whole(0, seed=seed)
    loader = pkgutil.resolve_name(DATASETS[name])
    known = loader.__kwdefaults__ or {}  # every option is keyword-only and has a default
    if unknown := options.keys() - known:
        raise ValueError(f"The data set {name!r} has no option {min(unknown)!r}; it has {', '.join(known)}.")
    return loader(seed, **options)
