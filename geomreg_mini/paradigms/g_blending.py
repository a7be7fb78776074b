"""Gradient blending: weigh each loss by its generalization relative to its overfitting."""

from torch import Tensor
from torch.nn import functional as F

from ..data import MultimodalDataset, Split
from ..models import ModelOutput, MultimodalClassifier, encode, fixed_sample
from .base import Losses, Paradigm

NOISE = 0.01  # nats; smaller changes of a sampled loss say nothing
SAMPLE, FEWEST = 0.1, 200  # share of the training split, and the least number of samples


class GBlending(Paradigm):
    """Gradient blending (CVPR 2020, arXiv 1905.12681), online.

    L = sum_k w_k CE_k over the fused logits and each modality's own head, weights summing to one. From loss
    on training (T) and validation (V) samples, at start (0) and end (1) of a super-epoch,

        w_k proportional to G_k / O_k^2,   G_k = V_0 - V_1,   O_k = (V_1 - T_1) - (V_0 - T_0)

    the gain over the squared overfitting. The new weights hold in the next super-epoch; the first one has
    equal weights. ``super_epoch`` is a part of training, at least one epoch. Because the weights sum to one,
    steps are shorter than those of the uniform sum, whose weights are all one, at the same rate.

    To get these numbers, the paper trains a separate copy of each unimodal and of the joint model through
    every super-epoch, as does BalanceBenchmark. This costs a multiple of the training. Here they are read off
    the one run, in evaluation mode. T uses a fixed tenth of the training split (at least 200 samples, or
    all). G_k and |O_k| below 0.01 nats count as 0.01. So O = 0 stays finite, and a head whose validation loss
    rose keeps a little weight; BalanceBenchmark takes |G|, which rewards such a head.

    Mind that the method sees the labels of the validation split: 1 + M losses per super-epoch.
    """

    needs_heads = True
    memory = ("weights", "before")

    def __init__(self, model: MultimodalClassifier, *, super_epoch: float = 0.2) -> None:
        super().__init__(model)
        self.super_epoch = super_epoch
        names = ("fused", *model.modalities)
        self.weights = dict.fromkeys(names, 1 / len(names))
        self.before: dict[str, tuple[float, float]] = {}  # (T, V) when this super-epoch began

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        if (epoch - 1) % max(1, round(self.super_epoch * epochs)):
            return
        training = self.measure(data.train, max(round(SAMPLE * len(data.train)), FEWEST))
        validation = self.measure(data.validation, len(data.validation))
        now = {name: (training[name], validation[name]) for name in self.weights}
        if self.before:
            self.weights = blend(self.before, now)
        self.before = now

    def measure(self, split: Split, count: int) -> dict[str, float]:
        """Return the cross-entropy of every head on ``count`` samples, by name."""
        seen = encode(self.model, split, fixed_sample(split, count))
        heads = {"fused": self.model.fusion(seen.embeddings), **self.model.unimodal_logits(seen.embeddings)}
        return {name: F.cross_entropy(logits, seen.labels).item() for name, logits in heads.items()}

    def losses(self, output: ModelOutput, label: Tensor) -> Losses:
        heads = {"fused": output.logits, **output.unimodal_logits}
        return {name: self.weights[name] * F.cross_entropy(logits, label) for name, logits in heads.items()}


def blend(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Return weights, summing to one, from the (training, validation) losses of each head."""
    ratios = {}
    for name, (train, validation) in after.items():
        train_before, validation_before = before[name]
        gain = max(validation_before - validation, NOISE)
        overfit = max(abs((validation - train) - (validation_before - train_before)), NOISE)
        ratios[name] = gain / overfit**2
    return {name: ratio / sum(ratios.values()) for name, ratio in ratios.items()}
