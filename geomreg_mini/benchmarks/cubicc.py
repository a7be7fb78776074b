"""CUBICC: photographs of birds and a sentence about each, for clustering into eight unlabelled classes."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from data_scripts import cubicc
from data_scripts.fetch import data_root, load_arrays
from data_scripts.prepared import open_source

from ..data.dataset import MultimodalDataset, Split, parts_of, provenance

SHIFT = 4  # pixels, the largest shift of an image in training


@dataclass(frozen=True)
class BirdSplit(Split):
    """Pairs of ``inputs`` ``image`` uint8 (N, 3, S, S) and ``caption`` word numbers int64 (N, L).

    ``factors``: ``pair`` (N,), positions in the archive; ``subspecies`` (N,); ``photo`` (N,), equal for pairs
    with the same picture. ``augmented`` mirrors images at random and shifts them by up to four pixels.
    """

    def read(self, index: Tensor) -> dict[str, Tensor]:
        inputs = super().read(index)
        if self.generator is not None:
            inputs["image"] = _moved(inputs["image"], self.generator)
        return inputs


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images (B, 3, S, S), half of them mirrored, each shifted independently, with repeated edges."""
    count, _, side, _ = images.shape
    mirrored = torch.rand(count, generator=generator) < 0.5
    top, left = torch.randint(0, 2 * SHIFT + 1, (2, count), generator=generator)
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    padded = F.pad(images.float(), (SHIFT,) * 4, mode="replicate").to(images.dtype)
    steps = torch.arange(side)
    rows, columns = top[:, None, None] + steps[:, None], left[:, None, None] + steps
    return padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class BirdDataset(MultimodalDataset):
    """CUBICC with ``words`` by number, () if the archive lacks them, and their count ``vocabulary``."""

    words: tuple[str, ...] = ()
    vocabulary: int = 0


def load(seed: int = 0, *, source: str = "official") -> BirdDataset:
    """Return 13,150 pairs of ``image`` (3, 64, 64) and ``caption`` (32,), in the published split.

    A photograph is in several pairs, each with another sentence. Labels are the eight classes, numbered as in
    the archive: Blackbird, Gull, Jay, Oriole, Tanager, Tern, Warbler and Wren, but no public text states the
    order. The labels are for comparison, not for training. Only the archive says how large its splits are, so
    ``note`` says if the files are another copy than a download.

    Args:
        seed: unused; the split is the published one.
        source: "official", as `python -m data_scripts cubicc` prepared it, or "stand_in": fewer birds, drawn
            on demand in the same form.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if it is not prepared.
    """
    arrays = open_source("cubicc", source, data_root() / cubicc.INFO.prepared, load_arrays)
    images, captions, labels, subspecies, photo = (
        torch.from_numpy(arrays[name]) for name in ("images", "captions", "labels", "subspecies", "photo")
    )
    factors = {"pair": torch.arange(len(labels)), "subspecies": subspecies, "photo": photo}
    whole = BirdSplit({"image": images, "caption": captions.long()}, labels, factors)
    own = {"note": str(arrays.get("note", cubicc.UNKNOWN_COPY))} if source == "official" else {}
    return BirdDataset(
        name="cubicc",
        **parts_of(whole, {name: arrays[name] for name in cubicc.SPLITS}),
        **provenance(cubicc.INFO, source) | own,
        fingerprint=hashlib.sha256(str(arrays["fingerprint"]).encode()).hexdigest(),
        class_names=tuple(f"class {number}" for number in range(int(arrays["labels"].max()) + 1)),
        words=tuple(arrays["words"].tolist()),
        vocabulary=cubicc.VOCABULARY,
    )
