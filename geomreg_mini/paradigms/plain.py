"""The paradigms whose step is one sum of cross-entropies: joint, uniform sum, unimodal."""

from collections.abc import Mapping

import torch
from torch import Tensor
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
        unimodal = {
            m: self.unimodal_weight * F.cross_entropy(o, label) for m, o in output.unimodal_logits.items()
        }
        return {"fused": F.cross_entropy(output.logits, label), **unimodal}


class Unimodal(Paradigm):
    """Each encoder with its own head, nothing shared; the fused prediction averages their probabilities."""

    needs_heads = True

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        return {m: F.cross_entropy(logits, label) for m, logits in output.unimodal_logits.items()}

    def fused_logits(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        total = sum(logits.softmax(dim=1) for logits in self.model.unimodal_logits(embeddings).values())
        return total.clamp_min(torch.finfo(total.dtype).tiny).log()
