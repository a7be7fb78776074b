"""What every training paradigm is: how the gradients of one step are formed, and from which state.

A paradigm runs the model on a batch, combines the task losses, and calls ``backward``; the training loop
clips and steps. The regularizer is orthogonal: ``geometry`` maps the live embeddings to one more loss, and
every paradigm adds *its unchanged gradient* to what reaches the encoders, whatever it does to the gradients
of the task. Parameters are found by module (``model.encoders[m]``, ``model.fusion``), never by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from ..models import ModelOutput, MultimodalClassifier

if TYPE_CHECKING:
    from ..data import MultimodalDataset

Geometry = Callable[[Mapping[str, Tensor]], Tensor]


class Backward(Protocol):
    """What to call with a scalar to differentiate; it hides loss scaling from the paradigm."""

    def __call__(self, loss: Tensor, retain_graph: bool = False) -> None: ...


class Paradigm:
    """One forward, one sum of losses, one backward.

    A subclass says which ``losses``; where it shapes gradients it replaces ``step``, and where it updates
    more than once a batch, ``updates``. What it remembers between steps goes into ``state_dict``, so that a
    resumed run continues as if it had not stopped.

    ``needs_heads`` says whether the model must have a linear head of its own for each modality;
    ``fusions`` names the fusions for which the method is defined (all, where it is None), and
    ``usual_fusion`` the one that it is trained with where nobody asks for another.
    """

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

    #: completes "is not defined for fusion=..., " where ``fusions`` is given
    undefined = ""

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        """Called before each epoch, ``epoch`` from 1 to ``epochs``, with the data set; by default nothing.

        It must leave the model in training mode, and may draw from torch's generator, which the loop seeds
        for each epoch.
        """

    def state_dict(self) -> dict[str, Any]:
        """What the paradigm remembers between steps: tensors, numbers, and dicts and lists of them."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""

    def losses(self, output: ModelOutput, label: Tensor) -> dict[str, Tensor]:
        """The task losses by name; their sum is differentiated."""
        raise NotImplementedError

    def fused_logits(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Return the logits (B, C) that the paradigm predicts with from embeddings {modality: (B, D)}."""
        return self.model.fusion(embeddings)

    def step(self, batch: Mapping, geometry: Geometry | None, backward: Backward) -> dict[str, Tensor]:
        """Form the gradients of one batch; returns the detached losses by name.

        Args:
            batch: ``inputs`` {modality: tensor} and ``label`` (B,).
            geometry: embeddings {modality: (B, D)} -> scalar loss, or None.
            backward: what to call with each scalar to differentiate.
        """
        output = self.model(batch["inputs"])
        losses = self.losses(output, batch["label"])
        if geometry is not None:
            losses["geometry"] = geometry(output.regularized)
        backward(sum(losses.values()))
        return {name: loss.detach() for name, loss in losses.items()}

    def updates(
        self, batch: Mapping, geometry: Geometry | None, backward: Backward
    ) -> Iterator[dict[str, Tensor]]:
        """``step`` for each update that the batch is good for, nearly always one.

        After each item the caller steps the optimizer and clears the gradients.
        """
        yield self.step(batch, geometry, backward)
