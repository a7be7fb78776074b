"""AV-MNIST: a written digit and the spectrogram of a spoken one, in MultiBench's form and split."""

import numpy as np
import torch

from data_scripts import avmnist
from data_scripts.fetch import data_root
from data_scripts.prepared import open_source

from ..data.dataset import MultimodalDataset, Split, provenance

SHAPES = {"image": (1, 28, 28), "audio": (1, 112, 112)}


def load(seed: int = 0, *, source: str = "official") -> MultimodalDataset:
    """Return 55,000 pairs to train, 5,000 to validate and 10,000 to test, of ``image`` and ``audio``.

    The pairs, their order and the split are MultiBench's: the last 5,000 training samples validate. The
    arrays stay on disk and are mapped into memory.

    Args:
        seed: unused.
        source: "official", as `python -m data_scripts avmnist` prepared it, or "stand_in": 420 generated
            pairs in the same form.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if it is not prepared.
    """
    path = data_root() / avmnist.INFO.prepared
    plan, arrays = open_source("avmnist", source, path, avmnist.open_cache)
    held = plan["train"] // 12
    ends = {"train": plan["train"] - held, "validation": plan["train"], "test": len(arrays["label"])}
    # torch wants writable memory; mode "c" never writes to the file
    mapped = {k: np.memmap(a.filename, a.dtype, "c", shape=a.shape) for k, a in arrays.items()}
    values = {k: torch.from_numpy(a) for k, a in mapped.items()}
    splits, start = {}, 0
    for name, end in ends.items():
        rows, start = slice(start, end), end
        inputs = {m: values[m].view(-1, *shape)[rows] for m, shape in SHAPES.items()}
        splits[name] = Split(inputs, values["label"][rows])
    return MultimodalDataset(
        name="avmnist",
        **splits,
        **provenance(avmnist.INFO, source),
        fingerprint=plan["fingerprint"],
        class_names=tuple(map(str, range(avmnist.CLASSES))),
    )
