"""AV-MNIST: MultiBench's late fusion (arXiv 2107.07502), the usual small audio-visual benchmark.

The paper does not use it. It trains in minutes, so a method can be tried on it before the large ones.
"""

from __future__ import annotations

from typing import Any

from geomreg_mini.training import TrainConfig

from .base import Recipe, changes

REFERENCE: dict[str, Any] = {  # as in examples/multimedia/avmnist_simple_late_fusion.py
    "fusion": "concat", "epochs": 30, "batch_size": 40, "learning_rate": 0.1, "momentum": 0.0,
    "weight_decay": 1e-4, "schedule": "constant", "clip_norm": None,
}  # fmt: skip
ENCODER: dict[str, Any] = {"encoder": "conv", "encoder_options": {"width": 16}, "embedding_dim": 128}
STAND_IN = {"epochs": 8, "batch_size": 30, "learning_rate": 0.05, "encoder_options": {"width": 8}}
SIZES = {"train": 55000, "validation": 5000, "test": 10000}
ROWS = ("joint", "dgl", "uniform_sum", "unimodal")

DEVIATIONS = (
    "The paper does not use AV-MNIST; the reference is MultiBench's late fusion.",
    "The encoders are this project's convolutional ones with 128 outputs each; MultiBench's are LeNets with "
    "48 outputs for the image and 192 for the sound.",
    "The head is linear; MultiBench's has a hidden layer of 100.",
    "The last batch of an epoch is dropped if it is not full; MultiBench trains on it.",
)


def deviations(config: TrainConfig) -> list[str]:
    """Return how a run of ``config`` differs from MultiBench's example, one sentence each."""
    expected = REFERENCE | ENCODER | {"depth": "embedding", "combination": "sum"}
    lines = changes(config, expected, {})
    if config.paradigm != "joint":
        lines.append(f"{config.paradigm!r} runs under that recipe; MultiBench's example is joint training.")
    return [*DEVIATIONS, *lines]


CONFIG = TrainConfig("avmnist", paradigm="joint", **REFERENCE, **ENCODER)
AVMNIST = {"avmnist": Recipe(CONFIG, deviations, ROWS, SIZES, STAND_IN)}
