"""The base class of every training paradigm: the state of a method, and the gradients of one step.

A paradigm runs the model on a batch, combines the task losses, and calls ``backward``; the training loop
clips and steps. The regularizer is orthogonal: ``geometry`` maps the live embeddings to one more loss. Every
paradigm adds *its unchanged gradient* to the encoders' gradients, however it changes those of the task.
Parameters are found by module (``model.encoders[m]``, ``model.fusion``), never by name.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor

from ..data import MultimodalDataset
from ..models import ModelOutput, MultimodalClassifier

Batch = Mapping[str, Any]  # "inputs" {modality: (B, ...)} and "label" (B,)
Geometry = Callable[[Mapping[str, Tensor]], Tensor]  # embeddings {modality: (B, D)} -> scalar loss
Losses = dict[str, Tensor]  # name -> scalar
State = dict[str, Any]


class Backward(Protocol):
    """A function that differentiates a scalar; it hides loss scaling from the paradigm."""

    def __call__(self, loss: Tensor, retain_graph: bool = False) -> None: ...


class Paradigm:
    """One forward, one sum of losses, one backward.

    A subclass defines ``losses``. It replaces ``differentiate`` if it shapes gradients, and ``updates`` if it
    updates more than once per batch. ``memory`` names the attributes that it keeps between steps (tensors,
    numbers, dicts and lists of them), so that a resumed run continues as if it had not stopped.

    ``needs_heads`` says whether the model must have a separate linear head for each modality. ``fusions``
    names the fusions for which the method is defined (None: all), and ``usual_fusion`` its default one.
    """

    memory: tuple[str, ...] = ()
    needs_heads = False
    fusions: tuple[str, ...] | None = None
    usual_fusion = "concat"

    def __init__(self, model: MultimodalClassifier) -> None:
        name = type(self).__name__
        if self.needs_heads and not model.heads:
            raise ValueError(f"{name} trains a head for each modality: build the model with heads=True.")
        if self.fusions is not None and model.fusion.kind not in self.fusions:
            raise ValueError(
                f"{name} is not defined for fusion={model.fusion.kind!r}, {self.undefined}: "
                f"use {' or '.join(map(repr, self.fusions))}."
            )
        self.model = model

    #: completes "is not defined for fusion=..., " if ``fusions`` is given
    undefined = ""

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        """Prepare for an epoch, ``epoch`` from 1 to ``epochs``; by default do nothing.

        The loop calls this before each epoch. It must leave the model in training mode. It may draw from
        torch's generator, which the loop seeds for each epoch.
        """

    def state_dict(self) -> State:
        """Return copies of the attributes in ``memory``, by name."""
        return {name: copy.copy(getattr(self, name)) for name in self.memory}

    def load_state_dict(self, state: State) -> None:
        """Restore the attributes that ``state_dict`` returned."""
        for name in self.memory:
            setattr(self, name, copy.copy(state[name]))

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        """Return the task losses by name; their sum is differentiated."""
        raise NotImplementedError

    def fused_logits(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Return the logits (B, C) of the paradigm's prediction from embeddings {modality: (B, D)}."""
        return self.model.fusion(embeddings)

    def step(self, batch: Batch, geometry: Geometry | None, backward: Backward) -> Losses:
        """Form the gradients of one batch and return the detached losses by name.

        Args:
            batch: ``inputs`` {modality: tensor} and ``label`` (B,).
            geometry: embeddings {modality: (B, D)} -> scalar loss, or None.
            backward: the function that differentiates a scalar.
        """
        output = self.model(batch["inputs"])
        losses = self.losses(output, batch["label"])
        if geometry is not None:
            losses["geometry"] = geometry(output.regularized)
        self.differentiate(losses, output, batch["label"], backward)
        return {name: loss.detach() for name, loss in losses.items()}

    def differentiate(self, losses: Losses, output: ModelOutput, label: Tensor, backward: Backward) -> None:
        """Form the gradients of a batch's losses, among them "geometry" with a regularizer."""
        backward(sum(losses.values()))

    def updates(self, batch: Batch, geometry: Geometry | None, backward: Backward) -> Iterator[Losses]:
        """Yield the losses of ``step`` for each update from one batch, nearly always a single one.

        After each item the caller steps the optimizer and clears the gradients.
        """
        yield self.step(batch, geometry, backward)
