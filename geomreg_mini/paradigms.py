"""Training paradigms: how one step forms its gradients.

A paradigm runs the model on a batch, combines the task losses, and calls ``backward``; the training loop
clips and steps. The regularizer is orthogonal: ``geometry`` maps the live embeddings to one more loss and
every paradigm adds it to what reaches the encoders. Parameters are found by module (``model.encoders[m]``,
``model.fusion``), never by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from .models import ModelOutput, MultimodalClassifier

Geometry = Callable[[Mapping[str, Tensor]], Tensor]


class Paradigm:
    """One forward, one sum of losses, one backward; a subclass says which losses, or replaces ``step``.

    ``needs_heads`` says whether the model must have a linear head of its own for each modality.
    """

    needs_heads = False

    def __init__(self, model: MultimodalClassifier):
        if self.needs_heads and not model.heads:
            raise ValueError(
                f"{type(self).__name__} trains a head for each modality: build the model with heads=True."
            )
        self.model = model

    def losses(self, output: ModelOutput, label: Tensor) -> dict[str, Tensor]:
        """The task losses by name; their sum is differentiated."""
        raise NotImplementedError

    def fused_logits(self, embeddings: Mapping[str, Tensor], present=None) -> Tensor:
        """Logits (B, C) that the paradigm predicts with from embeddings {modality: (B, D)}."""
        return self.model.fusion(embeddings, present)

    def step(
        self, batch: Mapping, geometry: Geometry | None, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """Form the gradients of one batch; returns the detached losses by name.

        Args:
            batch: ``inputs`` {modality: tensor} and ``label`` (B,).
            geometry: embeddings {modality: (B, D)} -> scalar loss, or None.
            backward: what to call with each scalar to differentiate; it hides loss scaling from the paradigm.
        """
        output = self.model(batch["inputs"])
        losses = self.losses(output, batch["label"])
        if geometry is not None:
            losses["geometry"] = geometry(output.embeddings)
        backward(sum(losses.values()))
        return {name: loss.detach() for name, loss in losses.items()}


class Joint(Paradigm):
    """Cross-entropy of the fused logits: the plain baseline."""

    def losses(self, output, label):
        return {"fused": F.cross_entropy(output.logits, label)}


class UniformSum(Paradigm):
    """Fused plus every unimodal cross-entropy with equal weights, as MMPareto's baseline.

    Each modality has a head of its own. ``unimodal_weight`` scales the unimodal losses; 1 is the uniform sum.
    """

    needs_heads = True

    def __init__(self, model, unimodal_weight: float = 1.0):
        super().__init__(model)
        self.unimodal_weight = unimodal_weight

    def losses(self, output, label):
        unimodal = {
            m: self.unimodal_weight * F.cross_entropy(o, label) for m, o in output.unimodal_logits.items()
        }
        return {"fused": F.cross_entropy(output.logits, label), **unimodal}


class Unimodal(Paradigm):
    """Each encoder with its own head, nothing shared; the fused prediction averages their probabilities."""

    needs_heads = True

    def losses(self, output, label):
        return {m: F.cross_entropy(logits, label) for m, logits in output.unimodal_logits.items()}

    def fused_logits(self, embeddings, present=None):
        present = present or {}
        total = 0.0
        for m, logits in self.model.unimodal_logits(embeddings).items():
            share = logits.softmax(dim=1)
            if m in present:
                share = torch.where(present[m][:, None], share, torch.zeros_like(share))
            total = total + share
        return total.clamp_min(torch.finfo(total.dtype).tiny).log()


class DGL(Paradigm):
    """Disentangled gradient learning (ICCV 2025, arXiv 2507.10213).

    Encoders see only ``alpha`` times the unimodal losses, the fusion head only the fused loss. DGL's released
    code gets there by two backward passes and by dropping gradients by parameter name; here the same
    gradients come from one pass, with the head's parameters detached in the unimodal branch and the
    embeddings detached in the fused one. The unimodal branch runs the fusion on one modality alone, others
    absent, bias included, as in that code. The regularizer acts on the live embeddings, so it is the only
    other gradient that the encoders get. ``alpha`` = 4 is the released default for CREMA-D.

    One deviation: in gated fusion the released code detaches behind the gate projections, which so stay at
    their initialization; here they belong to the head and learn from the fused loss.
    """

    def __init__(self, model, alpha: float = 4.0):
        super().__init__(model)
        self.alpha = alpha

    def losses(self, output, label):
        fusion = self.model.fusion
        frozen = {name: parameter.detach() for name, parameter in fusion.named_parameters()}
        losses = {
            m: self.alpha * F.cross_entropy(functional_call(fusion, frozen, ({m: z},)), label)
            for m, z in output.embeddings.items()
        }
        detached = {m: z.detach() for m, z in output.embeddings.items()}
        return {"fused": F.cross_entropy(fusion(detached), label), **losses}


PARADIGMS: dict[str, type[Paradigm]] = {
    "joint": Joint,
    "uniform_sum": UniformSum,
    "unimodal": Unimodal,
    "dgl": DGL,
}
