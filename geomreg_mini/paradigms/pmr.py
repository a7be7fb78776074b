"""Prototypical modal rebalance: pull the weakest modality towards its own class prototypes."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import MultimodalDataset
from ..models import ModelOutput, MultimodalClassifier, encode
from .base import Losses, Paradigm


class PMR(Paradigm):
    """Prototypical modal rebalance (CVPR 2023, arXiv 2211.07089), in its released form.

    The prototype c_mk is the mean embedding of class k in modality m over a random tenth of the training
    split, in evaluation mode, renewed before each epoch: c <- (1 - momentum) c_new + momentum c_old.
    Distances to prototypes are separate logits, and add a loss for the modality whose score is lowest:

        p_m = softmax_k(-||z_m - c_mk||),    s_m = sum_i p_m(y_i),    L = CE(fused) + alpha CE(p_weakest)

    With two modalities this is the released 0/1 gate: the modality with the lower score s_m gets the
    prototype loss, and neither does if they are equal. For more, giving it to the weakest alone is our
    extension. The paper's clipped coefficients and prototype entropy are not in the released code, nor here.

    Deviation: the released code has no c_old in its first two renewals, before epochs 1 and 2; here only the
    first has none.

    ``until`` is the part of training with that loss; 2/3 stands for the released epochs 0 to 100 of 150. A
    class without samples in the tenth keeps its old prototype. As long as it has none, it is left out of the
    softmax, and its samples are left out of scores and loss (the released code divides by zero there).
    """

    share = 0.1
    memory = ("prototypes", "seen")

    def __init__(
        self, model: MultimodalClassifier, *, alpha: float = 1.0, momentum: float = 0.2, until: float = 2 / 3
    ) -> None:
        super().__init__(model)
        self.alpha, self.momentum, self.until = alpha, momentum, until
        self.active = True
        self.prototypes: dict[str, Tensor] = {}  # modality -> (C, D)
        self.seen: Tensor | None = None  # (C,), which classes have prototypes

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        self.active = epoch - 1 < self.until * epochs
        if self.active:
            size = max(1, round(self.share * len(data.train)))
            seen = encode(self.model, data.train, torch.randperm(len(data.train))[:size])
            self.renew(seen.embeddings, seen.labels)

    def renew(self, embeddings: Mapping[str, Tensor], labels: Tensor) -> None:
        """Move the prototypes towards the class means of embeddings {modality: (N, D)} with labels (N,)."""
        members = F.one_hot(labels, self.model.fusion.num_classes)  # (N, C)
        counts = members.sum(dim=0)
        found, earlier = counts > 0, self.seen
        for m, z in embeddings.items():
            means = members.T.to(z.dtype) @ z / counts.clamp_min(1)[:, None]
            if earlier is not None:
                old = self.prototypes[m]
                moved = (1 - self.momentum) * means + self.momentum * old
                means = torch.where(earlier[:, None], torch.where(found[:, None], moved, old), means)
            self.prototypes[m] = means
        self.seen = found if earlier is None else found | earlier

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        fused = {"fused": F.cross_entropy(output.logits, label)}
        if not self.active:
            return fused
        if self.seen is None:
            raise ValueError("PMR has no prototypes yet: call start_epoch before the first step.")
        known = self.seen[label]
        target = torch.where(known, label, torch.full_like(label, -100))  # cross_entropy's ignored label
        losses, scores = [], []
        for m, prototypes in self.prototypes.items():
            z = output.embeddings[m].to(prototypes.dtype)
            # cdist has gradient 0 at distance 0, but a root of squares has none; products would be inexact.
            distance = torch.cdist(z, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
            logits = (-distance).masked_fill(~self.seen, float("-inf"))
            each = F.cross_entropy(logits, target, reduction="none")  # 0 if the label is ignored
            losses.append(each.sum() / known.sum().clamp_min(1))
            scores.append((known * torch.exp(-each.detach())).sum())
        losses, scores = torch.stack(losses), torch.stack(scores)
        weakest = (scores == scores.min()) & (scores < scores.max())
        return {**fused, "prototype": self.alpha * (weakest * losses).sum()}
