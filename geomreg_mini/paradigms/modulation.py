"""Gradient modulation: slow down the encoder of a modality that is ahead. OGM, OGM-GE and AGM.

OGM scales the gradients of the encoders; AGM splits the fused logits by Shapley values and scales theirs.
"""

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import MultimodalDataset
from ..inputs import Embeddings
from ..models import ModelOutput, MultimodalClassifier
from .base import Backward, Batch, Geometry, Losses, Paradigm
from .plain import Joint


class OGM(Joint):
    """On-the-fly gradient modulation (CVPR 2022, arXiv 2203.15332), without its noise.

    After the backward pass of joint training, each encoder's gradient is multiplied by k_m. A modality's
    score s_m is the probability of the true class under its share of the fused logits (W_m z_m + b/M for
    "concat"), summed over the batch; rho_m compares it with the weakest modality's:

        rho_m = s_m / min s,    k_m = 1 - tanh(alpha rho_m) if rho_m > 1, else 1

    For two modalities this is the paper's Eq. 10. For more, dividing by the weakest follows BalanceBenchmark,
    but its score does not: for three modalities it sums softmax(cos(logits)), over correct samples only.

    ``alpha`` >= 0 is 0.8 in the authors' advice for CREMA-D. Gradients are modulated in the first ``until``
    of training; 0.5 stands for epochs 0 to 50 of the released 100. As there, only weights with more than one
    dimension change; the released code names convolutions, and here the matrices of an MLP count too. Equal
    scores leave all encoders alone, as in the paper; that code then slows down audio.
    """

    fusions = ("concat", "sum", "shared")
    undefined = "whose logits have no share for each modality"
    noise = False

    def __init__(self, model: MultimodalClassifier, *, alpha: float = 0.8, until: float = 0.5) -> None:
        super().__init__(model)
        self.alpha, self.until = alpha, until
        self.active = True

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        self.active = epoch - 1 < self.until * epochs

    @torch.no_grad()
    def coefficients(self, embeddings: Mapping[str, Tensor], label: Tensor) -> dict[str, Tensor]:
        """Return k_m, a scalar in [0, 1] for each modality."""
        scores = {
            m: torch.exp(-F.cross_entropy(logits, label, reduction="none")).sum()
            for m, logits in self.model.fusion.unimodal_logits(embeddings).items()
        }
        weakest = torch.stack(list(scores.values())).min()
        weakest = weakest.clamp_min(torch.finfo(weakest.dtype).tiny)
        ratios = {m: score / weakest for m, score in scores.items()}
        return {m: torch.where(r > 1, 1 - torch.tanh(self.alpha * r), 1.0) for m, r in ratios.items()}

    @torch.no_grad()
    def modulate(self, coefficients: Mapping[str, Tensor]) -> None:
        """Scale the gradients in the encoders' ``.grad``; OGM-GE adds noise."""
        for m, k in coefficients.items():
            for parameter in self.model.encoders[m].parameters():
                gradient = parameter.grad
                if gradient is None or gradient.ndim < 2:
                    continue
                # One number has no standard deviation. The 1e-8 that the released code adds is left out,
                # because .grad may be scaled.
                noisy = self.noise and gradient.numel() > 1
                noise = gradient.std() * torch.randn_like(gradient) if noisy else 0.0
                parameter.grad = k * gradient + noise

    def differentiate(self, losses: Losses, output: ModelOutput, label: Tensor, backward: Backward) -> None:
        more = "geometry" in losses and losses["geometry"].requires_grad
        backward(losses["fused"], retain_graph=more)
        if self.active:
            self.modulate(self.coefficients(output.embeddings, label))
        if more:  # after the modulation, which concerns the task's gradient alone
            backward(losses["geometry"])


class OGMGE(OGM):
    """OGM with generalization enhancement: g_m <- k_m g_m + N(0, std(g_m)^2), one std for each tensor.

    The noise goes to every encoder, modulated or not, in the same part of training. The released code adds
    1e-8 to the standard deviation.
    """

    noise = True


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
        each = {m: F.cross_entropy(o.detach(), label, reduction="none") for m, o in mono.items()}
        scores = {m: s.clamp_max(-math.log(1e-8)).mean().item() for m, s in each.items()}
        k = self.coefficients(scores)
        # the values of o, with k times its gradient
        fused = sum(o.detach() + k[m] * (o - o.detach()) for m, o in mono.items())
        return {"fused": F.cross_entropy(fused, label)}
