"""Recipes: a configuration, and sentences on how it differs from the published procedure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from geomreg_mini.regularizer import GeometryRegularizer
from geomreg_mini.training import TrainConfig

BETA, TAU = 0.15, 0.25  # the middle of the paper's settings; which one gives its tables was not seen
# arm -> its regularizer, for every benchmark. "regularized" is the paper's default form (Algorithm 1). The
# next two, for the component ablation of Table 4, are that form with alpha held at 0 and at 1.
ARMS: dict[str, nn.Module | None] = {
    "baseline": None,
    "regularized": GeometryRegularizer(balance="pareto", strength=BETA, radius=TAU, at="parameters"),
    "dispersion": GeometryRegularizer(BETA, 0.0, radius=TAU, reduction="sum"),
    "anchoring": GeometryRegularizer(0.0, BETA, radius=TAU),
}


@dataclass(frozen=True)
class Recipe:
    """One benchmark of the paper.

    Attributes:
        config: of a run by default.
        deviations: how a run of a config differs from the published procedure, one sentence each.
        rows: the paradigms of its table.
        sizes: split -> number of samples that the benchmark has there; "all" for their sum, if no more is
            known.
        least: samples that each split has at least, if only their sum is known.
        lost: largest share of the samples of a split that may be missing because the source lost them.
        stand_in: fields of the config that differ if the data are stand-ins (``source="stand_in"``),
            such as the weights of a pretrained model.
        arms: more arms than ``ARMS``, name -> regularizer.
    """

    config: TrainConfig
    deviations: Callable[[TrainConfig], list[str]]
    rows: tuple[str, ...]
    sizes: Mapping[str, int]
    stand_in: Mapping[str, Any] = field(default_factory=dict)
    arms: Mapping[str, nn.Module | None] = field(default_factory=dict)
    lost: float = 0.0
    least: int = 1


def changes(config: TrainConfig, expected: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each field unlike ``expected`` and each data set option not in ``options``."""
    found = [
        f"{field} is {getattr(config, field)!r}; in the reference it is {value!r}."
        for field, value in expected.items()
        if getattr(config, field) != value
    ]
    found += [
        f"The data set is loaded with {option}={value!r}, which is not the recipe's."
        for option, value in config.dataset_options.items()
        if options.get(option) != value
    ]
    if config.precision == "auto":
        found.append("'auto' is float32 on a CPU, and on a GPU bfloat16 or, if the GPU lacks it, float16.")
    if isinstance(config.regularizer, GeometryRegularizer):
        found.append(
            f"The terms are {config.regularizer}. Which of the paper's settings gives its tables was not "
            "seen, nor t = 1 / temperature of Eq. (4)."
        )
    elif config.regularizer is not None:
        found.append(
            f"The control is {config.regularizer}. Of the paper's controls, names and numbers were seen, but "
            "neither formulas nor weights."
        )
    return found
