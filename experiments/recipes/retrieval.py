"""Flickr30K and COCO: CLIP fine-tuned to retrieve. The paper's recipe for it is not public.

Optimizer, rates, length and batch are those of BLIP's released fine-tuning (arXiv 2201.12086) on the same
two data sets and lists; the loss is CLIP's own.
"""

from __future__ import annotations

from typing import Any

from geomreg_mini.training import TrainConfig

from .base import Recipe, changes

REFERENCE: dict[str, Any] = {
    "epochs": 6, "batch_size": 256, "optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine",
    "clip_norm": None,
}  # fmt: skip
# ending of the recipe's name -> encoder, width, pixels, BLIP's rate for its size, samples embedded at a time
# ViT-B/16 then needs 3 GB of weights, gradients, moments and kept weights, and less than 1 GB of activations
# in half precision, instead of 16 for the whole batch without checkpointing. Counted, not measured on a GPU.
BACKBONES = {
    "": ("ViT-B-16", 512, 224, 1e-5, 64),
    "_l14": ("ViT-L-14", 768, 224, 5e-6, 32),
    "_l14_336": ("ViT-L-14-336", 768, 336, 5e-6, 16),
}
SIZES = {
    "flickr30k": {"train": 29000, "validation": 1014, "test": 1000},
    "coco": {"train": 113287, "validation": 5000, "test": 5000},
}
RATES = {encoder: rate for encoder, _, _, rate, _ in BACKBONES.values()}
STAND_IN = {  # a model from random weights, in seconds
    "encoder": "tiny", "encoder_options": {}, "embedding_dim": 64,
    "epochs": 10, "batch_size": 50, "learning_rate": 7e-4,
}  # fmt: skip

DEVIATIONS = (
    "The paper's fine-tuning recipe for retrieval is not public: neither which layers are trained, nor "
    "optimizer, rates, length, batch and loss, nor whether COCO is reported on 5K or 1K.",
    "Optimizer, rates, length and batch are those of BLIP's released fine-tuning. Its loss also contrasts "
    "with earlier batches, which a slowly moving copy of the model embeds, and has a head that says whether "
    "image and text match; here the only loss is CLIP's contrast within the batch.",
    "Images are resized and cropped in the middle as CLIP needs them, also in training; BLIP's fine-tuning "
    "crops at random and augments.",
    "All layers of both encoders are trained.",
)


def deviations(config: TrainConfig) -> list[str]:
    """Return how a run of ``config`` differs from BLIP's fine-tuning, and the open points of the paper."""
    rate = RATES.get(config.encoder, RATES["ViT-B-16"])
    wanted = {"image_size": 336} if config.encoder == "ViT-L-14-336" else {}
    lines = changes(
        config, REFERENCE | {"learning_rate": rate, "depth": "embedding", "combination": "sum"}, wanted
    )
    if config.encoder not in RATES:
        lines.append(f"The model is {config.encoder!r}, from random weights; the paper's are CLIP's.")
    elif config.encoder_options.get("pretrained") != "openai":
        lines.append(f"{config.encoder} starts from other weights than OpenAI's.")
    return [*DEVIATIONS, *lines]


def _recipe(name: str, ending: str) -> Recipe:
    encoder, width, size, rate, micro_batch = BACKBONES[ending]
    config = TrainConfig(
        name, {"image_size": size} if size != 224 else {}, "contrastive", task="retrieval",
        encoder=encoder, embedding_dim=width, learning_rate=rate, **REFERENCE,
        encoder_options={"pretrained": "openai", "checkpointing": True, "micro_batch": micro_batch},
    )  # fmt: skip
    return Recipe(config, deviations, ("contrastive",), SIZES[name], STAND_IN)


RETRIEVAL = {
    f"{name}{ending}": _recipe(name, ending) for name in ("flickr30k", "coco") for ending in BACKBONES
}
