"""The published recipes of the audio-visual benchmarks as configurations, and how we deviate from them.

``RECIPES`` holds DGL's released training (arXiv 2507.10213) on CREMA-D and Kinetics-Sounds, to which the
paper adds its regularizer: two ResNet-18 from scratch, SGD, 100 epochs. ``recipe`` gives it for another
paradigm, with or without the regularizer, and ``deviations`` says in sentences what differs from the code
that the published numbers come from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .paradigms import PARADIGMS
from .training import TrainConfig

REFERENCE: dict[str, Any] = {  # what both data sets share, as in the scripts of DGL's code
    "encoder": "resnet18",
    "embedding_dim": 512,
    "fusion": "concat",
    "epochs": 100,
    "batch_size": 64,
    "learning_rate": 0.002,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "step",
    "clip_norm": 40.0,
    "precision": "float32",
}
# DGL's alpha (its scripts also have 5 and 2), and how many frames of a clip are seen
OWN = {"crema_d": (4.0, 1), "kinetics_sounds": (3.0, 3)}

RECIPES: dict[str, TrainConfig] = {
    name: TrainConfig(
        dataset=name,
        dataset_options={"frames": frames},
        paradigm="dgl",
        paradigm_options={"alpha": alpha},
        paper_protocol=True,
        **REFERENCE | {"precision": "auto"},
    )
    for name, (alpha, frames) in OWN.items()
}

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


def recipe(name: str, paradigm: str = "dgl", **changes) -> TrainConfig:
    """The recipe ``name`` for any paradigm, with fields replaced by ``changes``.

    The options of the recipe's own paradigm stay with it; others have their defaults, which are the released
    ones. MLA shares one head among the modalities.

    Raises:
        ValueError: for a name that is not in ``RECIPES``.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}: choose one of {', '.join(RECIPES)}.")
    base = RECIPES[name]
    if paradigm != base.paradigm:
        base = replace(base, paradigm=paradigm, paradigm_options={})
        base = replace(base, fusion=PARADIGMS[paradigm].usual_fusion)
    return replace(base, **changes)


def deviations(config: TrainConfig) -> list[str]:
    """What a run of ``config`` does otherwise than the reference, one sentence each.

    Raises:
        ValueError: if there is no recipe for the config's data set.
    """
    expected = recipe(config.dataset).to_dict() | REFERENCE
    told = [
        f"{field} is {getattr(config, field)!r}; in the reference it is {expected[field]!r}."
        for field in (*REFERENCE, "depth", "combination")
        if getattr(config, field) != expected[field]
    ]
    told += [
        f"The data set is loaded with {option}={value!r}, which is not the recipe's."
        for option, value in config.dataset_options.items()
        if expected["dataset_options"].get(option) != value
    ]
    if config.precision == "auto":
        told.append("'auto' is float32 on a CPU, and on a GPU bfloat16 or, where it has none, float16.")
    if config.paradigm == "dgl" and config.paradigm_options != expected["paradigm_options"]:
        told.append(f"DGL has {config.paradigm_options}; in the reference {expected['paradigm_options']}.")
    if config.paradigm not in ("dgl", "joint"):
        told.append(
            f"{config.paradigm!r} runs under DGL's recipe; its own paper's may differ, see its docstring."
        )
    if config.regularizer is not None:
        told.append(
            "The paper does not publish the regularizer's weights, temperature and radius; here they are "
            f"{config.regularizer}."
        )
    return [*told, *DEVIATIONS, *OF_DATASET.get(config.dataset, ())]
