"""Diagnosing and re-learning: an encoder that memorizes is moved part of the way back to its start."""

import math
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from data_scripts.extras import extra

from ..data import MultimodalDataset
from ..models import MultimodalClassifier, encode, fixed_sample
from .plain import Joint


class DiagnoseRelearn(Joint):
    """Diagnosing & re-learning (ECCV 2024, arXiv 2407.09705), on top of joint training.

    Each modality is diagnosed ``times`` times, once per part ``every`` of training. The diagnosis is k-means
    on its embeddings, with one cluster per class. Purity P is the share of samples in the majority class of
    their cluster, for training samples (D) and validation samples (V). With a large gap, the encoder
    separates seen samples and not unseen ones; its parameters move back towards their initial values,

        alpha_m = tanh(strength * |P_D - P_V|),   theta_m <- (1 - alpha_m) theta_m + alpha_m theta_m^init

    So says the paper. Its released code adds details, and we follow it. Each component of the embeddings is
    first scaled to one range. Joint cross-entropy is the only loss. Exactly the parameters of the encoders
    move, also those of normalization layers. Running statistics, the fusion and the optimizer's momentum
    stay, so that the next steps still carry the old momentum. Defaults are those of its script: strength 3,
    every 20 of 90 epochs, 3 times.

    Deviations: purity rises with fewer samples per cluster, so both splits use as many samples as the smaller
    one has; the code takes all of each. k-means starts ten times here. The code leaves that number to
    scikit-learn, which starts once from version 1.4 on, and ten times before. It diagnoses after epochs 21,
    41 and 61 of 90; we after 20, 40 and 60.

    Mind that a different kind of validation split, such as unseen speakers, also causes a gap. The method
    sees that split's labels: M purities each time.
    """

    memory = ("initial",)

    def __init__(
        self, model: MultimodalClassifier, *, strength: float = 3.0, every: float = 2 / 9, times: int = 3
    ) -> None:
        super().__init__(model)
        self.strength, self.every, self.times = strength, every, times
        self.initial = {
            m: [p.detach().clone() for p in encoder.parameters()] for m, encoder in model.encoders.items()
        }

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        # floor: a short run must not be moved back too late to recover
        interval = max(1, math.floor(self.every * epochs + 1e-9))
        done, rest = divmod(epoch - 1, interval)
        if rest == 0 and 1 <= done <= self.times:
            self.relearn(self.diagnose(data))

    def diagnose(self, data: MultimodalDataset) -> dict[str, float]:
        """Return |P_D - P_V| of each modality, in [0, 1]."""
        count = min(len(data.train), len(data.validation))
        purities = []
        for split in (data.train, data.validation):
            seen = encode(self.model, split, fixed_sample(split, count))
            purities.append({m: purity(z, seen.labels) for m, z in seen.embeddings.items()})
        seen, unseen = purities
        return {m: abs(seen[m] - unseen[m]) for m in seen}

    @torch.no_grad()
    def relearn(self, gaps: dict[str, float]) -> None:
        """Move each encoder back by its gap."""
        for m, gap in gaps.items():
            alpha = math.tanh(self.strength * gap)
            for p, initial in zip(self.model.encoders[m].parameters(), self.initial[m], strict=True):
                p.lerp_(initial, alpha)


def clusters_of(train: Tensor, test: Tensor, clusters: int) -> Tensor:
    """Return clusters (N,) of ``test`` (N, D) by k-means on ``train`` (M, D), float64.

    It is the best of ten starts, the same each time.
    """
    with extra("course"):
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

    # Several threads add up in any order; a single one gives the same clusters every time.
    with threadpool_limits(1), warnings.catch_warnings():
        # Collapsed embeddings have fewer points than clusters; this is a result, not a fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(clusters, n_init=10, random_state=0).fit(train.cpu().numpy())
    return torch.from_numpy(fitted.predict(test.cpu().numpy())).long()


def purity(z: Tensor, labels: Tensor) -> float:
    """Return the share of samples in the majority class of their k-means cluster.

    z (N, D), labels (N,) from 0. There are as many clusters as classes; 1 if they coincide. Collapsed
    embeddings are one cluster and give the share of the largest class.
    """
    z = z.cpu().double().nan_to_num()  # the training loop reports a loss that is not finite
    low, high = z.amin(dim=0), z.amax(dim=0)
    z = (z - low) / (high - low).clamp_min(torch.finfo(z.dtype).tiny)
    labels = labels.cpu()
    clusters = clusters_of(z, z, len(labels.unique()))
    counts = F.one_hot(clusters).T @ F.one_hot(labels)  # (clusters, classes)
    return counts.amax(dim=1).sum().item() / len(labels)
