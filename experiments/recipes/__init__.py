"""The published recipes of the paper's benchmarks as configurations, and the deviations of this project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from geomreg_mini.benchmarks import TASKS
from geomreg_mini.training import TrainConfig

from .audiovisual import AUDIO_VISUAL
from .avmnist import AVMNIST
from .base import ARMS, Recipe
from .clustering import CLUSTERING
from .retrieval import RETRIEVAL
from .xrf55 import XRF55

RECIPES: dict[str, Recipe] = {**AUDIO_VISUAL, **AVMNIST, **CLUSTERING, **RETRIEVAL, **XRF55}

__all__ = ["ARMS", "RECIPES", "Recipe", "deviations", "recipe"]


def recipe(name: str, paradigm: str | None = None, **changes: Any) -> TrainConfig:
    """Return the config of the recipe ``name``, for its own or another paradigm, with fields ``changes``.

    Only the recipe's own paradigm has the recipe's options; others have their defaults, the released ones. A
    paradigm that is not defined for the recipe's fusion gets its usual fusion. Stand-ins
    (``dataset_options={"source": "stand_in"}``) get the recipe's fields for stand-ins.

    Raises:
        ValueError: for a name that is not in ``RECIPES``, or a paradigm that its task does not know.
    """
    if name not in RECIPES:
        raise ValueError(f"the recipe {name!r} is unknown: choose one of {', '.join(RECIPES)}.")
    base = RECIPES[name].config
    if paradigm is not None and paradigm != base.paradigm:
        base = replace(base, paradigm=paradigm, paradigm_options={})
        method = TASKS[base.task].paradigms[paradigm]
        if method.fusions is not None and base.fusion not in method.fusions:
            base = replace(base, fusion=method.usual_fusion)
    if changes.get("dataset_options", {}).get("source") == "stand_in":
        changes = {**RECIPES[name].stand_in, **changes}
    return replace(base, **changes)


def deviations(config: TrainConfig) -> list[str]:
    """Return how a run of ``config`` differs from the published procedure, one sentence each.

    Raises:
        ValueError: if the config's data set has no recipe.
    """
    recipe(config.dataset)
    return RECIPES[config.dataset].deviations(config)
