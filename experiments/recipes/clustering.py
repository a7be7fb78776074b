"""CUBICC: a stated baseline for clustering, since DCMEM, to which the paper adds its terms, is not public.

Optimizer, rate and length are those of the code that the data come from, CMVAE's (Palumbo et al., ICLR 2024).
"""

from __future__ import annotations

from typing import Any

from geomreg_mini.training import TrainConfig

from .base import Recipe, changes

REFERENCE: dict[str, Any] = {
    "embedding_dim": 96,  # a shared code of 64 and one of 32 for the modality alone
    "epochs": 300, "batch_size": 32, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0,
    "schedule": "constant", "clip_norm": None,
}  # fmt: skip
BATCH_SIZE = 128  # codes are balanced within a batch, so each of eight clusters needs several samples in it
STAND_IN = {  # small networks, in seconds
    "encoder_options": {"width": 8, "word_dim": 32}, "embedding_dim": 32,
    "epochs": 15, "batch_size": 33, "learning_rate": 2e-3,
}  # fmt: skip

DEVIATIONS = (
    "The paper adds its terms to DCMEM, of which neither code nor recipe is public. Here they are added to a "
    "baseline of this project, so the effect of the terms can be compared, and numbers cannot.",
    "The reference below is CMVAE's released code for the same data, with Adam but without its AMSGrad, a "
    "variant of Adam whose steps cannot grow again. Its model is variational: embeddings are random, and a "
    "mixture of clusters is their prior. Here autoencoders (networks that restore their input) learn "
    "clusters by SwAV's swapped prediction between image and caption, with codes twice as sharp as SwAV's.",
    "There are as many clusters as classes; CMVAE starts with 35 and prunes them on the validation split, "
    "without labels.",
    "Mutual information of both modalities' clusters on the validation split picks the epoch, without "
    "labels; CMVAE's code takes the last one, and how DCMEM's is picked is not public.",
    "Image and caption together are read at the mean of their normalized embeddings; CMVAE's code takes the "
    "cluster of whichever modality is more certain.",
    "Images are mirrored by chance and moved by up to four pixels in training; CMVAE's are not.",
    "Images are stored in 8 bits a color.",
)


def deviations(config: TrainConfig) -> list[str]:
    """Return how a run of ``config`` differs from CMVAE's code, and the open points of the paper."""
    expected = REFERENCE | {"depth": "embedding", "combination": "sum", "fusion": "prototypes"}
    lines = changes(config, expected, {})
    if config.paradigm_options:
        lines.append(f"The losses are weighted by {config.paradigm_options}; their defaults are 1.")
    if config.encoder_options:
        lines.append(f"The networks are built with {config.encoder_options}.")
    return [*DEVIATIONS, *lines]


OWN = REFERENCE | {"task": "clustering", "fusion": "prototypes", "batch_size": BATCH_SIZE}
CONFIG = TrainConfig("cubicc", paradigm="swav", **OWN)
# Only the archive says how many pairs each split has. Its script wants all eight classes in each of them, and
# gives any copy but a download a note, with which a run is not judged.
CLUSTERING = {"cubicc": Recipe(CONFIG, deviations, ("swav",), {"all": 13150}, STAND_IN, least=8)}
