"""``TrainConfig``: everything that decides a run, and the choices for its names."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .benchmarks import TASKS
from .controls import CONTROLS
from .inputs import check_choice
from .records import config_key, is_number, plain
from .regularizer import GeometryRegularizer

REGULARIZERS: dict[str, type[nn.Module]] = {"GeometryRegularizer": GeometryRegularizer, **CONTROLS}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "step": lambda done: 1.0 if done < 0.7 else 0.1,
    "cosine": lambda done: 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done)).item()),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {  # of parameters and a TrainConfig
    "sgd": lambda p, c: torch.optim.SGD(p, c.learning_rate, c.momentum, weight_decay=c.weight_decay),
    "adam": lambda p, c: torch.optim.Adam(p, c.learning_rate, weight_decay=c.weight_decay),
    "adamw": lambda p, c: torch.optim.AdamW(p, c.learning_rate, weight_decay=c.weight_decay),
}
# names of fields -> what they take -> how a message says so
RANGES: list[tuple[str, Callable[[Any], bool], str]] = [
    ("epochs batch_size evaluate_every embedding_dim", lambda x: type(x) is int and x > 0, "an integer > 0"),
    ("seed", lambda x: type(x) is int, "a whole number"),
    ("learning_rate", lambda x: is_number(x) and x > 0, "a positive number"),
    ("clip_norm", lambda x: x is None or (is_number(x) and x > 0), "a positive number or None"),
    ("momentum weight_decay", lambda x: is_number(x) and x >= 0, "a number of at least 0"),
    ("monitor paper_protocol", lambda x: type(x) is bool, "True or False"),
    ("dataset_options paradigm_options encoder_options", lambda x: isinstance(x, dict), "a dict"),
]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class TrainConfig:
    """Everything that decides a run; equal configs give equal records.

    Attributes:
        dataset: a name that ``geomreg_mini.data.load`` knows, with its ``dataset_options``; ``load`` also
            gets ``seed``.
        task: a name in ``TASKS``, for the models and the metrics.
        paradigm: a name in the task's ``paradigms``, with ``paradigm_options``.
        regularizer: a ``GeometryRegularizer``, one of ``CONTROLS``, or None; its total is added to the
            encoders' loss.
        depth: the regularizer's input: each modality's "embedding", as it enters the fusion; "hidden", the
            encoder's last layer but one, averaged over space; or its unimodal "logits".
        combination: of the gradients of task and regularizer: "sum", or "task_pareto", this project's own
            idea (see ``pareto_gradients``). The paper's balance, of the regularizer's two terms, is
            ``GeometryRegularizer(balance="pareto")``. In records "task_pareto" has its old name, "pareto".
        fusion, embedding_dim, encoder, encoder_options: of the model; for classification see ``build_model``.
        epochs, batch_size: length of training; the last batch of an epoch is dropped if it is not full.
        optimizer: "sgd", "adam" or "adamw", with ``learning_rate``, ``weight_decay`` and, for SGD,
            ``momentum``.
        schedule: "step" (a tenth after 70 % of the epochs), "cosine" or "constant".
        clip_norm: largest norm of the whole gradient, or None.
        precision: "auto" (float32 on a CPU; on a GPU bfloat16 if it has it, else float16), or one of these
            names.
        evaluate_every: epochs between evaluations on the validation split; the last epoch always has one.
        seed: of initialization, data order and splits.
        monitor: whether the history also has the regularizer's effect in training, as means over an epoch:
            ``train/dose/<modality>``, the length of its gradient over that of the task's at the embeddings;
            ``train/active/<pair>``, the share of pairs outside the band; ``train/alpha/<modality>``.
        paper_protocol: whether to report also the number of papers on these benchmarks: the epoch with the
            best score on the *test* split (for classification, fused accuracy), over those test samples that
            fill batches of ``batch_size``, under the split name "test_selected". It selects nothing.
    """

    dataset: str
    dataset_options: dict[str, Any] = field(default_factory=dict)
    paradigm: str = "joint"
    paradigm_options: dict[str, Any] = field(default_factory=dict)
    regularizer: nn.Module | None = None
    depth: str = "embedding"
    combination: str = "sum"
    fusion: str = "concat"
    embedding_dim: int = 128
    encoder: str = "auto"
    encoder_options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "step"
    clip_norm: float | None = None
    precision: str = "auto"
    evaluate_every: int = 1
    seed: int = 0
    paper_protocol: bool = False
    task: str = "classification"
    optimizer: str = "sgd"
    monitor: bool = False

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, plain(getattr(self, f.name)))
        check_choice(TASKS, task=self.task)
        check_choice(TASKS[self.task].paradigms, paradigm=self.paradigm)
        check_choice(OPTIMIZERS, optimizer=self.optimizer)
        check_choice(SCHEDULES, schedule=self.schedule)
        check_choice(("auto", *PRECISIONS), precision=self.precision)
        check_choice(("embedding", "hidden", "logits"), depth=self.depth)
        check_choice(("sum", "task_pareto"), combination=self.combination)
        for names, fits, advice in RANGES:
            for name in names.split():
                if not fits(value := getattr(self, name)):
                    raise ValueError(f"{name}={value!r}: give {advice}.")
        if self.regularizer is not None and type(self.regularizer).__name__ not in REGULARIZERS:
            raise ValueError(f"regularizer={self.regularizer!r}: give None or {', '.join(REGULARIZERS)}.")
        for name, value in self.to_dict().items():  # now, rather than after training in an unwritable record
            try:
                if json.loads(json.dumps(value, allow_nan=False)) != value:
                    raise TypeError("keys must be text")
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}={value!r} cannot be written as JSON ({error}).") from error

    def to_dict(self) -> dict[str, Any]:
        """Return a copy for JSON; the regularizer becomes its class name and constructor arguments."""
        values = {f.name: copy.deepcopy(getattr(self, f.name)) for f in dataclasses.fields(self)}
        if self.regularizer is not None:
            name = type(self.regularizer).__name__
            values["regularizer"] = {"class": name, **self.regularizer.hyperparameters()}
        for f in dataclasses.fields(self):
            # configs from before these fields keep their keys
            if f.name in ("paper_protocol", "task", "optimizer", "monitor") and values[f.name] == f.default:
                del values[f.name]
        if self.combination == "task_pareto":
            values["combination"] = "pareto"  # its name in records
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        if unknown := set(values) - {f.name for f in dataclasses.fields(cls)}:
            raise ValueError(f"a config has no {', '.join(sorted(unknown))}: use the version that wrote it.")
        values = dict(values)
        if values.get("combination") == "pareto":
            values["combination"] = "task_pareto"
        try:
            if values.get("regularizer") is not None:
                options = {**values["regularizer"]}
                kind = options.pop("class", None)
                check_choice(REGULARIZERS, **{"regularizer class": kind})
                values["regularizer"] = REGULARIZERS[kind](**options)
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"A config value has the wrong type ({error}): correct it.") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainConfig) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """Return a short name made from the contents, for files."""
        return config_key(self.to_dict())
