"""XRF55: 55 actions in radar, WiFi and RFID, split by repetition as in X-Fi and COMPASS."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_scripts.clip_cache import in_order
from data_scripts.fetch import DataError, data_root
from data_scripts.prepared import open_source
from data_scripts.xrf55 import ACTIONS, INFO, SHAPES, Recordings
from data_scripts.xrf55_half import open_in_place

from ..data.corruptions import FIGURES_10_TO_12
from ..data.dataset import MultimodalDataset, Split, parts_of, provenance

# Of the twenty repetitions, 1 to 14 are published for training. The last two of these validate, because they
# were recorded after the others, as were the test repetitions.
PARTS = {"train": range(1, 13), "validation": range(13, 15), "test": range(15, 21)}
READERS = 8  # files read at a time; a remote disk answers many requests as fast as one


@dataclass(frozen=True)
class RecordingSplit(Split):
    """Recordings as a split with the modalities ``mmWave``, ``WiFi`` and ``RFID``.

    ``inputs`` is empty, since the files are 97 GB: use ``batch``. It reads its recordings and returns them as
    stored, float32 (B, 17, 256, 128), (B, 270, 1000) and (B, 23, 148), not normalized, as in X-Fi.
    ``factors``: ``recording``, positions in the index; ``scene``, ``volunteer`` and ``repetition``, their
    numbers.
    """

    recordings: Recordings | None = None

    def read(self, index: Tensor) -> dict[str, Tensor]:
        rows = self.factors["recording"][index].tolist()
        wanted = [(m, row) for m in SHAPES for row in rows]
        read = in_order(lambda pair: self.recordings.read(*pair), wanted, READERS)
        return {m: torch.from_numpy(np.stack([next(read) for _ in rows])) for m in SHAPES}


def load(seed: int = 0, *, source: str = "official") -> MultimodalDataset:
    """Return XRF55 in X-Fi's protocol: repetitions 15 to 20 of each action of each volunteer test.

    So the people and rooms of the test split are those of the training split. Part 1 has 20 people, counted
    in each scene, so there are 13,200 recordings to train, 2,200 to validate and 6,600 to test. X-Fi has no
    validation split and trains on all 15,400. An epoch reads 58 GB: keep the files on a local disk, or
    copy them by `python -m data_scripts xrf55_half`, which this then reads.

    Args:
        seed: unused.
        source: "official", as `python -m data_scripts xrf55` indexed it, or "stand_in": recordings of six
            actions, generated on demand in the same form.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if it is not prepared.
    """
    recordings = open_source("xrf55", source, data_root() / INFO.prepared, open_in_place)
    scene, volunteer, action, repetition = torch.from_numpy(recordings.keys.T.copy())
    actions, labels = action.unique(return_inverse=True)
    factors = {"recording": torch.arange(len(labels)), "scene": scene, "volunteer": volunteer}
    whole = RecordingSplit({}, labels, {**factors, "repetition": repetition}, recordings=recordings)
    parts = {name: np.isin(repetition, repetitions) for name, repetitions in PARTS.items()}
    for name, repetitions in PARTS.items():
        if not parts[name].any():
            raise DataError(
                f"xrf55 has no recording of the repetitions {repetitions[0]} to {repetitions[-1]}, the "
                f"{name} split; complete the folder and run `python -m data_scripts xrf55` again.",
                f"there are no {name} recordings",
            )
    chosen = [recordings.fingerprint, {name: list(part) for name, part in PARTS.items()}]
    return MultimodalDataset(
        name="xrf55",
        shapes=dict(SHAPES),
        **parts_of(whole, parts),
        **provenance(INFO, source, len(recordings.keys), len(recordings.unusable)),
        fingerprint=hashlib.sha256(repr(chosen).encode()).hexdigest(),
        class_names=tuple(ACTIONS[a - 1] for a in actions.tolist()),
        corruptions=FIGURES_10_TO_12,
    )
