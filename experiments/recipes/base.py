"""What a recipe is: a configuration, and sentences on how it differs from the published procedure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from geomreg_mini.training import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """One benchmark of the paper.

    Attributes:
        config: what is run where nobody asks for something else.
        told: what a run of a config does otherwise than the published procedure, one sentence each.
        rows: the paradigms of its table.
        stand_in: fields of the config that are others where the data are stand-ins (``source="stand_in"``),
            as where the recipe's model is a pretrained one.
    """

    config: TrainConfig
    told: Callable[[TrainConfig], list[str]]
    rows: tuple[str, ...]
    stand_in: Mapping[str, Any] = field(default_factory=dict)


def changes(config: TrainConfig, expected: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """A sentence for each field that is not as ``expected`` and each data set option not in ``options``."""
    told = [
        f"{field} is {getattr(config, field)!r}; in the reference it is {value!r}."
        for field, value in expected.items()
        if getattr(config, field) != value
    ]
    told += [
        f"The data set is loaded with {option}={value!r}, which is not the recipe's."
        for option, value in config.dataset_options.items()
        if options.get(option) != value
    ]
    if config.precision == "auto":
        told.append("'auto' is float32 on a CPU, and on a GPU bfloat16 or, where it has none, float16.")
    if config.regularizer is not None:
        told.append(
            "The paper does not publish the regularizer's weights, temperature and radius; here they are "
            f"{config.regularizer}."
        )
    return told
