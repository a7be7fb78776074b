"""The paradigms whose step is one sum of cross-entropies: joint, uniform sum, unimodal, DGL."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from ..models import ModelOutput, MultimodalClassifier
from .base import Losses, Paradigm


class Joint(Paradigm):
    """Cross-entropy of the fused logits: the plain baseline."""

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        return {"fused": F.cross_entropy(output.logits, label)}


class UniformSum(Paradigm):
    """Fused plus every unimodal cross-entropy with equal weights, like MMPareto's baseline.

    Each modality has a separate head. ``unimodal_weight`` scales the unimodal losses; 1 is the uniform sum.
    """

    needs_heads = True

    def __init__(self, model: MultimodalClassifier, unimodal_weight: float = 1.0) -> None:
        super().__init__(model)
        self.unimodal_weight = unimodal_weight

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        own = {m: self.unimodal_weight * F.cross_entropy(o, label) for m, o in output.unimodal_logits.items()}
        return {"fused": F.cross_entropy(output.logits, label), **own}


class Unimodal(Paradigm):
    """Each encoder with its own head, nothing shared; the fused prediction averages their probabilities."""

    needs_heads = True

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        return {m: F.cross_entropy(logits, label) for m, logits in output.unimodal_logits.items()}

    def fused_logits(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        total = sum(logits.softmax(dim=1) for logits in self.model.unimodal_logits(embeddings).values())
        return total.clamp_min(torch.finfo(total.dtype).tiny).log()


class DGL(Paradigm):
    """Disentangled gradient learning (ICCV 2025, arXiv 2507.10213).

    Encoders see only ``alpha`` times the unimodal losses, the fusion head only the fused loss. DGL's released
    code runs two backward passes and drops gradients by parameter name. Here one pass gives the same
    gradients: the head's parameters are detached in the unimodal branch, the embeddings in the fused one. As
    in that code, the unimodal branch runs the fusion on one modality alone, others absent, bias included.
    The regularizer acts on the live embeddings, so the encoders get no gradient besides these two. ``alpha``
    = 4 is the released default for CREMA-D. The released clipping, all gradients to norm 40, is left to
    ``clip_norm``.
    """

    def __init__(self, model: MultimodalClassifier, alpha: float = 4.0) -> None:
        super().__init__(model)
        self.alpha = alpha

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        fusion = self.model.fusion
        frozen = {name: parameter.detach() for name, parameter in fusion.named_parameters()}
        alone = {m: functional_call(fusion, frozen, ({m: z},)) for m, z in output.embeddings.items()}
        losses = {m: self.alpha * F.cross_entropy(logits, label) for m, logits in alone.items()}
        detached = {m: z.detach() for m, z in output.embeddings.items()}
        return {"fused": F.cross_entropy(fusion(detached), label), **losses}
