"""Adaptive gradient modulation: split the fused logits by Shapley values and scale their gradients."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..inputs import Embeddings
from ..models import ModelOutput, MultimodalClassifier
from .base import Backward, Batch, Geometry, Losses, Paradigm


class AGM(Paradigm):
    """Adaptive gradient modulation (ICCV 2023, arXiv 2308.07686).

    The fused logits F split into mono-modal outputs o_m, the Shapley values of a game among the modalities.
    In this game, a coalition is worth the logits with all other inputs zero, and the empty one is worth 0.
    The o_m add up to F for every fusion. For two modalities

        o_a = (F(a, v) - F(0, v) + F(a, 0)) / 2,    o_v = (F(a, v) - F(a, 0) + F(0, v)) / 2

    Let s_m be the mean cross-entropy of o_m (at most -log 1e-8 per sample), S_m its mean over all earlier
    steps, and M the number of modalities. The gradient through o_m is multiplied by

        k_m = exp(alpha min(r*_m - r_m, 10)),    r_m = exp(M/(M-1) (mean s - s_m)),    r*_m the same of S

    For M = 2, r_a = exp(s_v - s_a) as in the paper: a modality further ahead than usual is damped.
    BalanceBenchmark has s_m - mean s, the reverse sign, so that it speeds up such a modality.

    As released, zero inputs are embedded in evaluation mode, but here once per step and without gradient. The
    other embeddings are those of the training batch; the released code computes them again in evaluation
    mode. Its clipping (all gradients to norm 1 if one of the head's exceeds 1) is left to ``clip_norm``. Its
    window of epochs, all 10 by default, is the whole of training here. ``alpha`` = 1 is its default.
    """

    memory = ("steps", "means")

    def __init__(self, model: MultimodalClassifier, *, alpha: float = 1.0) -> None:
        super().__init__(model)
        if len(model.modalities) < 2:
            raise ValueError(f"AGM compares modalities; there is only {model.modalities[0]!r}: use 'joint'.")
        self.alpha = alpha
        self.steps, self.means = 0, dict.fromkeys(model.modalities, 0.0)

    def silence(self, inputs: Embeddings) -> Embeddings:
        """Return embeddings (1, D) of zero inputs, with the encoders in evaluation mode."""
        training = self.model.training
        self.model.eval()
        silent = self.model.encode({m: torch.zeros_like(x[:1]) for m, x in inputs.items()})
        self.model.train(training)
        return {m: z.detach() for m, z in silent.items()}

    def mono_modal_logits(self, embeddings: Embeddings, silent: Embeddings) -> Embeddings:
        """Return the Shapley values (B, C) of the modalities; their sum is the fused logits."""
        everyone = tuple(embeddings)
        worth: dict[frozenset, Tensor | float] = {frozenset(): 0.0}
        for size in range(1, len(everyone) + 1):
            for members in combinations(everyone, size):
                z = {m: z if m in members else silent[m].expand_as(z) for m, z in embeddings.items()}
                logits = self.model.fusion(z)
                # Differences of logits in half precision would lose their last digits.
                worth[frozenset(members)] = logits.to(torch.promote_types(logits.dtype, torch.float32))
        count, values = len(everyone), {}
        for m in everyone:
            rests = [members for members in worth if m not in members]
            gains = [(worth[r | {m}] - worth[r]) / (count * math.comb(count - 1, len(r))) for r in rests]
            values[m] = sum(gains)
        return values

    def coefficients(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Return k_m from this step's scores {modality: s_m}, then add the scores to the running means."""

        def lead(values: Mapping[str, float]) -> dict[str, float]:
            mean = sum(values.values()) / len(values)
            return {m: math.exp(len(values) / (len(values) - 1) * (mean - s)) for m, s in values.items()}

        usual, now = lead(self.means), lead(scores)
        self.steps += 1
        for m, score in scores.items():
            self.means[m] += (score - self.means[m]) / self.steps
        return {m: math.exp(self.alpha * min(usual[m] - now[m], 10.0)) for m in scores}

    def step(self, batch: Batch, geometry: Geometry | None, backward: Backward) -> Losses:
        self.silent = self.silence(batch["inputs"])
        return super().step(batch, geometry, backward)

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        mono = self.mono_modal_logits(output.embeddings, self.silent)
        scores = {
            m: F.cross_entropy(o.detach(), label, reduction="none").clamp_max(-math.log(1e-8)).mean().item()
            for m, o in mono.items()
        }
        k = self.coefficients(scores)
        # the values of o, with k times its gradient
        fused = sum(o.detach() + k[m] * (o - o.detach()) for m, o in mono.items())
        return {"fused": F.cross_entropy(fused, label)}
