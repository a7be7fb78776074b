"""On-the-fly gradient modulation: slow down the encoder of a modality that is ahead."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import MultimodalDataset
from ..models import ModelOutput, MultimodalClassifier
from .base import Backward, Losses
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
        return {
            m: torch.where(ratio > 1, 1 - torch.tanh(self.alpha * ratio), torch.ones_like(ratio))
            for m, ratio in ratios.items()
        }

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
