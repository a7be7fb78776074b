"""CREMA-D and Kinetics-Sounds: DGL's released training (arXiv 2507.10213), to which the paper adds its terms.

Two ResNet-18 from scratch, SGD, 100 epochs. The sentences say what differs from the code that the published
numbers come from.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from geomreg_mini.controls import AlwaysOnAlignment, BarlowTwins, UnitSphere, VICReg
from geomreg_mini.regularizer import GeometryRegularizer
from geomreg_mini.training import TrainConfig

from ..paper import BETA_TAU, FIGURE_7, FIGURE_8, INTRA_INTER
from .base import BETA, Recipe, changes

REFERENCE: dict[str, Any] = {  # common to both data sets, as in the scripts of DGL's code
    "encoder": "resnet18", "embedding_dim": 512, "fusion": "concat", "epochs": 100, "batch_size": 64,
    "learning_rate": 0.002, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "step", "clip_norm": 40.0,
    "precision": "float32",
}  # fmt: skip
# Name in the paper, DGL's alpha (its scripts also have 5 and 2), and the number of frames seen of a clip.
OWN = {"crema_d": ("CREMA-D", 4.0, 1), "kinetics_sounds": ("Kinetics-Sounds", 3.0, 3)}
# A tenth of the training lists validates. Three test clips are in no list of Kinetics-400, and its archives
# lack others.
SIZES = {
    "crema_d": {"train": 6028, "validation": 670, "test": 744},
    "kinetics_sounds": {"train": 13319, "validation": 1480, "test": 2597},
}
LOST = {"kinetics_sounds": 0.01}
# The controls of Table 7. Their weights were not seen: alignment has the strength of the paper's terms, and
# the other two the middle one of three that were tried on digits (``ablations``).
CONTROL_ARMS = {
    "naive_align": AlwaysOnAlignment(BETA),
    "vicreg": VICReg(0.02),
    "barlow_twins": BarlowTwins(0.003),
    "unit_sphere": UnitSphere(),
}

# The rows of the paper's Table 1, with joint training and the two baselines that every table should carry.
ROWS = (
    "joint", "dgl", "uniform_sum", "unimodal", "g_blending", "ogm_ge", "pmr", "agm", "mmpareto",
    "diagnose_relearn",
)  # fmt: skip

DEVIATIONS = (
    "A validation split is taken out of the training split and selects the epoch; the reference trains on "
    "all of it and keeps the best epoch on the test split. Metrics named test_selected/... select like it, "
    "on full test batches; which samples these leave out depends on the order of the samples.",
    "The learning rate drops after 70 % of the epochs, so the drop comes after epoch 70; the reference steps "
    "its schedule at the start of an epoch, so there it comes after epoch 69.",
    "The best of all epochs is kept; the reference leaves out the first.",
    "A modality read alone has its share of the head's bias in .../accuracy/<modality>; the reference gives "
    "it all of the bias, as test_selected/accuracy_alone/<modality> does.",
    "The reference publishes single runs of seed 0; here a number is a mean over seeds.",
)
PICTURES = (
    "The reference uses the frames that its folder listing happens to give first, always the same; here they "
    "are drawn in training, one from each part of the clip, and the middle ones in evaluation.",
    "Random crops are resized without the smoothing of the reference's image library.",
    "Spectrograms are stored in half precision.",
)
OF_DATASET = {
    "crema_d": PICTURES,
    "kinetics_sounds": (
        *PICTURES,
        "Classes are the 31 of the lists that most papers share; the reference's code reads 33 class folders "
        "and has 34 outputs.",
        "Five seconds of sound are cut out at random in training and from the middle in evaluation; the "
        "reference cuts at random in both.",
    ),
}


def deviations(config: TrainConfig) -> list[str]:
    """Return how a run of ``config`` differs from DGL's released code, one sentence each."""
    _, alpha, frames = OWN[config.dataset]
    expected = REFERENCE | {"depth": "embedding", "combination": "sum"}
    lines = changes(config, expected, {"frames": frames})
    if config.paradigm == "dgl" and config.paradigm_options != {"alpha": alpha}:
        lines.append(f"DGL has {config.paradigm_options}; in the reference {{'alpha': {alpha}}}.")
    if config.paradigm not in ("dgl", "joint"):
        lines.append(f"{config.paradigm!r} runs under DGL's recipe; that of its own paper may differ.")
    return [*lines, *DEVIATIONS, *OF_DATASET[config.dataset]]


def _recipe(name: str) -> Recipe:
    """Return the recipe of a data set; its arms are the settings of Figures 8 (Pareto form) and 7 (sum)."""
    title, alpha, frames = OWN[name]
    own = REFERENCE | {"precision": "auto", "paper_protocol": True}
    config = TrainConfig(name, {"frames": frames}, "dgl", {"alpha": alpha}, **own)
    pareto = partial(GeometryRegularizer, balance="pareto", at="parameters")
    arms = {
        BETA_TAU.format(beta, tau): pareto(strength=beta, radius=tau) for beta, tau in sorted(FIGURE_8[title])
    }
    for cell in sorted(FIGURE_7[title]):
        arms[INTRA_INTER.format(*cell)] = GeometryRegularizer(*cell, radius=0.0)
    lost = LOST.get(name, 0.0)
    return Recipe(config, deviations, ROWS, SIZES[name], arms=arms | CONTROL_ARMS, lost=lost)


AUDIO_VISUAL = {name: _recipe(name) for name in OWN}
