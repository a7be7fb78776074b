"""Disentangled gradient learning: encoders from unimodal losses, the head from the fused one."""

from __future__ import annotations

from torch.func import functional_call
from torch.nn import functional as F

from .base import Paradigm


class DGL(Paradigm):
    """Disentangled gradient learning (ICCV 2025, arXiv 2507.10213).

    Encoders see only ``alpha`` times the unimodal losses, the fusion head only the fused loss. DGL's released
    code gets there by two backward passes and by dropping gradients by parameter name; here the same
    gradients come from one pass, with the head's parameters detached in the unimodal branch and the
    embeddings detached in the fused one. The unimodal branch runs the fusion on one modality alone, others
    absent, bias included, as in that code. The regularizer acts on the live embeddings, so it is the only
    other gradient that the encoders get. ``alpha`` = 4 is the released default for CREMA-D.
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
