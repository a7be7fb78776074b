"""Clustering of pairs without labels: a baseline that replaces the paper's.

The paper adds its terms to DCMEM, whose code and recipe are not public. This baseline replaces it with known
parts. SwAV's swapped prediction of balanced cluster codes (Caron et al., NeurIPS 2020, arXiv 2006.09882)
takes two modalities instead of two crops of an image. Image and caption get autoencoders like CMVAE's
(Palumbo et al., ICLR 2024). On this baseline, the effect of the regularizer can be replicated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import distributed
from ..data import MultimodalDataset, Split
from ..evaluation import knn_probe
from ..inputs import float64, full_precision
from ..models import Encoded, build_model
from ..paradigms import Paradigm
from ..paradigms.base import Losses
from ..tasks import Metrics, Splits, Task
from .clustering_metrics import k_means, scores
from .clustering_models import Clustered, ClusteringModel, captioned_autoencoders, reconstruction_errors

if TYPE_CHECKING:
    from ..config import TrainConfig

HEADS = {"prototypes": True, "plain_prototypes": False}  # fusion -> whether the head standardizes
PICTURE_SCALE = 20.0  # of images' L1 distance relative to a word's cross-entropy, as in CMVAE's likelihoods


@torch.no_grad()
def balanced_codes(logits: Tensor, sharpness: float = 0.25, rounds: int = 3) -> Tensor:
    """Return soft assignments (B, K) with equal use of all clusters, close to softmax(logits / sharpness).

    Sinkhorn's algorithm scales columns to equal sums and rows to 1 in turns, three times as in SwAV. Its
    epsilon is ``sharpness`` times the temperature of the logits: 0.025 by default and 0.05 in SwAV's paper.
    With few clusters and codes as soft as SwAV's, all clusters stay equally likely for long.
    """
    log_codes = logits / sharpness
    for _ in range(rounds):
        log_codes = log_codes.log_softmax(dim=0).log_softmax(dim=1)
    return log_codes.exp()


def swapped_prediction(
    first: Tensor, second: Tensor, codes: Callable[[Tensor], Tensor] = balanced_codes
) -> Tensor:
    """Return the mean cross-entropy of predicting each modality's ``codes`` by the other; logits (B, K)."""
    pairs = (first, second), (second, first)
    return sum(F.cross_entropy(guess, codes(other)) for guess, other in pairs) / 2


@torch.no_grad()
def mutual_information(first: Tensor, second: Tensor) -> float:
    """Return the mutual information of both modalities' clusters, in nats; logits (B, K).

    0 for a single cluster, and log K if the two agree with certainty on K clusters of equal size. It is the
    objective of invariant information clustering (arXiv 1807.06653) and uses no label.
    """
    p, q = (float64(x).softmax(dim=1) for x in (first, second))
    joint = p.T @ q / len(p)
    apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0)
    return torch.special.xlogy(joint, joint / apart).nansum().item()


class Swav(Paradigm):
    """Swapped prediction between two modalities, and with decoders also reconstruction of each.

    loss = 20 |x - x'| + word cross-entropy + swapped prediction
    """

    def losses(self, output: Clustered, label: Tensor) -> Losses:
        with full_precision(label):
            swapped = swapped_prediction(*(output.logits[m].float() for m in self.model.modalities))
            if not output.reconstructions:
                return {"swapped": swapped}
            # The decoders get the embeddings of all processes, so their targets are the inputs of all.
            targets = {m: distributed.gather(x) for m, x in output.inputs.items()}
            errors = reconstruction_errors(output.reconstructions, targets)
            errors["image"] = PICTURE_SCALE * errors["image"]
            return {**errors, "swapped": swapped}


class Clustering(Task):
    """Clustering by a ``ClusteringModel``, selected by both modalities' mutual information on validation.

    No label is used, neither in training nor in the selection of the epoch. There are as many clusters as
    classes, unless ``encoder_options`` set ``clusters``. Images with captions have special encoders and
    decoders, with the options ``width`` and ``word_dim``. Other data have the encoders of a classifier.
    """

    paradigms = {"swav": Swav}
    selection = "mutual_information/both"

    def build(self, config: TrainConfig, data: MultimodalDataset) -> nn.Module:
        if config.encoder != "auto" or config.fusion not in HEADS or len(data.modalities) != 2:
            raise ValueError(
                f"encoder={config.encoder!r}, fusion={config.fusion!r}, modalities {data.modalities}: for "
                "clustering use 'auto', two modalities, and fusion 'prototypes' or 'plain_prototypes'."
            )
        width, options = config.embedding_dim, dict(config.encoder_options)
        clusters = options.pop("clusters", data.num_classes)
        if "caption" in data.modalities:
            (_, side, _), (length,) = data.shapes["image"], data.shapes["caption"]
            networks = captioned_autoencoders(side, length, data.vocabulary, width, **options)
        else:
            networks = build_model(data, embedding_dim=width, encoder_options=options).encoders, {}
        return ClusteringModel(*networks, width, clusters, HEADS[config.fusion])

    @torch.no_grad()
    def measure(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        """Return ``mutual_information``, and each modality's and "joint" ``scores`` and ``clusters_used``."""
        training = paradigm.model.training
        paradigm.model.eval()  # uses the head's running means and does not change them
        logits = paradigm.model.unimodal_logits(encoded.embeddings)
        measured = {self.selection: mutual_information(*logits.values())}
        logits["joint"] = paradigm.fused_logits(encoded.embeddings)
        paradigm.model.train(training)
        for name, of in logits.items():
            clusters = of.argmax(dim=1)
            measured |= {f"{k}/{name}": v for k, v in scores(encoded.labels, clusters).items()}
            measured[f"clusters_used/{name}"] = float(len(clusters.unique()))
        return measured

    def measure_test(self, paradigm: Paradigm, data: MultimodalDataset, encoded: Splits) -> Metrics:
        """Return the scores of k-means on the embeddings, ``k_means_...``, and a nearest-neighbor probe.

        The probe uses labels: it measures the class information in the embeddings.
        """
        train, test = (_with_joint(encoded[split].embeddings) for split in ("train", "test"))
        measured = knn_probe(encoded["train"], encoded["test"])
        for name, z in train.items():
            clusters = k_means(z, test[name], paradigm.model.fusion.num_classes)
            found = scores(encoded["test"].labels, clusters)
            measured |= {f"k_means_{k}/{name}": v for k, v in found.items()}
        return measured


def _with_joint(embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**embeddings, "joint": sum(F.normalize(z, dim=1) for z in embeddings.values())}
