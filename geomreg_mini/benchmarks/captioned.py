"""Splits over images with captions: a random caption of each image in training, otherwise the first one.

A batch leaves the disk as uint8 pixels and token numbers; CLIP's scaling happens on the device.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data_scripts import coco, flickr30k, karpathy
from data_scripts.extras import extra
from data_scripts.fetch import DatasetInfo
from data_scripts.karpathy import Captioned
from data_scripts.prepared import open_source
from data_scripts.stand_ins import IMAGE_SIZE

from ..data.dataset import MultimodalDataset, Split, parts_of, provenance
from ..inputs import check_whole

CONTEXT = 77  # tokens of a caption in CLIP
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, of [0, 1]
PARTS = {"train": "train", "validation": "val", "test": "test"}
FOLDS = 5  # of COCO's test split: papers report it whole (5K) and as a mean over fifths (1K)


@dataclass(frozen=True)
class CaptionedSplit(Split):
    """Images with captions as a split with the modalities ``image`` and ``caption``.

    ``inputs`` is empty: use ``batch``. There, ``image`` is uint8 (B, S, S, 3) and ``caption`` int64 (B, L),
    see ``tokens``; ``prepare`` makes float32 (B, 3, S, S) of the images. The images have no classes, so
    ``labels`` are all 0. ``factors``: ``image`` (N,), positions in the cache.

    ``folds``: the number of equal parts of this split over which papers also report a mean; 0 for none.
    """

    cache: Captioned | None = None
    folds: int = 0

    def read(self, index: Tensor) -> dict[str, Tensor]:
        rows = self.factors["image"][index].numpy()
        captions = [self.cache.captions[row] for row in rows]
        chosen = [0] * len(rows)
        if self.generator is not None:
            counts = torch.tensor([len(own) for own in captions])
            chosen = (torch.rand(len(rows), generator=self.generator) * counts).long().tolist()
        texts = [own[i] for own, i in zip(captions, chosen, strict=True)]
        return {"image": torch.from_numpy(self.cache.images[rows]), "caption": tokens(texts)}

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return model inputs for a batch's, on their device; see the class."""
        given = dict(inputs)
        if "image" in inputs:
            pixels = inputs["image"].permute(0, 3, 1, 2).float()
            mean, std = (255 * pixels.new_tensor(v)[:, None, None] for v in (MEAN, STD))
            given["image"] = pixels.sub_(mean).div_(std)
        return given

    def subset(self, index: Tensor) -> CaptionedSplit:
        return replace(super().subset(index), folds=0)

    def all_captions(self) -> CaptionList:
        """Return all captions of all images, one per sample; ``factors["image"]`` (M,) are positions here."""
        counts = torch.tensor([len(self.cache.captions[row]) for row in self.factors["image"].tolist()])
        owner = torch.arange(len(self)).repeat_interleave(counts)
        texts = [text for row in self.factors["image"].tolist() for text in self.cache.captions[row]]
        return CaptionList({}, torch.zeros_like(owner), {"image": owner}, tuple(texts))


@dataclass(frozen=True)
class CaptionList(Split):
    """Captions without images, of the modality ``caption``."""

    texts: tuple[str, ...] = ()

    def read(self, index: Tensor) -> dict[str, Tensor]:
        return {"caption": tokens([self.texts[i] for i in index.tolist()])}


def tokens(texts: list[str]) -> Tensor:
    """Return token numbers of CLIP's tokenizer, (B, L) int64 with L up to 77; longer texts are cut.

    Padding beyond the longest text is left out: attention looks backwards only, so it has no effect.
    """
    with extra("benchmarks"):
        import open_clip

    padded = open_clip.tokenize(texts, CONTEXT)
    return padded[:, : int((padded != 0).sum(dim=1).max())]


def load_flickr30k(
    seed: int = 0, *, image_size: int | None = None, source: str = "official"
) -> MultimodalDataset:
    """Return Flickr30K in Karpathy's split: 29,000 images to train, 1,014 to validate and 1,000 to test.

    The modalities are ``image`` and ``caption``, five captions for each image.

    Args:
        seed: unused; the split is the published one.
        image_size: pixels of a prepared image's side: 224 by default, 336 for ViT-L-14-336; stand-ins have
            32 by default.
        source: "official", as `python -m data_scripts flickr30k` prepared it, or "stand_in": fewer images, of
            shapes, generated on demand in the same form.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if it is not prepared.
    """
    return _load(flickr30k.INFO, image_size, source)


def load_coco(seed: int = 0, *, image_size: int | None = None, source: str = "official") -> MultimodalDataset:
    """Return COCO: 113,287 images to train, 5,000 to validate, 5,000 to test; all else as in Flickr30K."""
    return _load(coco.INFO, image_size, source, folds=FOLDS)


def _load(info: DatasetInfo, image_size: int | None, source: str, folds: int = 0) -> MultimodalDataset:
    """Return the data set; its test split has ``folds``, over which papers also average."""
    if image_size is not None:
        check_whole(1, image_size=image_size)
    image_size = image_size or (IMAGE_SIZE if source == "stand_in" else karpathy.IMAGE_SIZE)
    size = "" if image_size == karpathy.IMAGE_SIZE else f" --image-size {image_size}"
    path = karpathy.cache_path(info, None, image_size)
    cache = open_source(info.name, source, path, karpathy.open_cache, size, image_size=image_size)
    parts, every = np.array(cache.parts), torch.arange(len(cache.parts))
    whole = CaptionedSplit({}, torch.zeros_like(every), {"image": every}, cache=cache)
    splits = parts_of(whole, {split: parts == part for split, part in PARTS.items()})
    splits["test"] = replace(splits["test"], folds=folds)
    return MultimodalDataset(
        name=info.name,
        shapes={"image": (3, image_size, image_size), "caption": (CONTEXT,)},
        **splits,
        **provenance(info, source, len(parts), len(cache.unusable)),
        fingerprint=hashlib.sha256(repr([cache.fingerprint, folds]).encode()).hexdigest(),
        class_names=("",),
    )
