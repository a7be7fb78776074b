"""Pairs sorted into clusters without labels: a stated baseline, in plain sight.

The paper adds its terms to DCMEM, whose code and recipe are not public. This baseline stands in for it, made
of known parts: SwAV's swapped prediction of balanced cluster codes (Caron et al., NeurIPS 2020, arXiv
2006.09882), in which two modalities take the place of two crops of an image, and for image and caption
autoencoders as CMVAE has them (Palumbo et al., ICLR 2024). What can be replicated on it is the effect of the
regularizer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import distributed
from ..evaluation import knn_probe
from ..models import build_model
from ..pairs import float64
from ..paradigms import Paradigm
from ..tasks import Task
from .clustering_metrics import k_means, scores
from .clustering_models import ClusteringModel, captioned_autoencoders, reconstruction_errors

HEADS = {"prototypes": True, "plain_prototypes": False}  # fusion -> whether the head standardizes
PICTURE_SCALE = 20.0  # of the L1 distance of images to a word's cross-entropy, as in CMVAE's likelihoods


@torch.no_grad()
def balanced_codes(logits: Tensor, sharpness: float = 0.25, rounds: int = 3) -> Tensor:
    """Soft assignments (B, K) that use all clusters equally and stay close to softmax(logits / sharpness).

    Sinkhorn's algorithm: scale columns to equal sums, rows to 1, in turns, three times as in SwAV. Its
    epsilon is ``sharpness`` times the temperature of the logits: 0.025 by default and 0.05 in its paper. With
    few clusters and codes as soft as those, training stays for long where all clusters are equally likely.
    """
    log_codes = logits / sharpness
    for _ in range(rounds):
        log_codes = log_codes.log_softmax(dim=0).log_softmax(dim=1)
    return log_codes.exp()


def swapped_prediction(first: Tensor, second: Tensor, codes=balanced_codes) -> Tensor:
    """Each modality predicts the other's ``codes``: the mean cross-entropy of both; logits (B, K)."""
    pairs = (first, second), (second, first)
    return sum(F.cross_entropy(guess, codes(other)) for guess, other in pairs) / 2


@torch.no_grad()
def mutual_information(first: Tensor, second: Tensor) -> float:
    """How much the cluster of one modality tells of the other's, in nats; logits (B, K).

    0 where there is a single cluster, and log K where the two agree with certainty on K clusters of equal
    size: the objective of invariant information clustering (arXiv 1807.06653). No label takes part.
    """
    p, q = (float64(x).softmax(dim=1) for x in (first, second))
    joint = p.T @ q / len(p)
    apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0)
    return torch.special.xlogy(joint, joint / apart).nansum().item()


class Swav(Paradigm):
    """Swapped prediction between two modalities, and where there are decoders reconstruction of each.

    loss = reconstruction_weight (20 |x - x'| + word cross-entropy) + swapped prediction

    Args:
        model: a ``ClusteringModel``.
        reconstruction_weight: of both reconstructions, where the model has decoders.
    """

    def __init__(self, model, reconstruction_weight: float = 1.0):
        super().__init__(model)
        self.reconstruction_weight = reconstruction_weight

    def losses(self, output, label):
        with torch.autocast(label.device.type, enabled=False):
            swapped = swapped_prediction(*(output.logits[m].float() for m in self.model.modalities))
            if not output.reconstructions:
                return {"swapped": swapped}
            # The decoders saw the embeddings of all processes, so they are held to the inputs of all.
            targets = {m: distributed.gather(x) for m, x in output.inputs.items()}
            errors = reconstruction_errors(output.reconstructions, targets)
            return {
                "image": self.reconstruction_weight * PICTURE_SCALE * errors["image"],
                "caption": self.reconstruction_weight * errors["caption"],
                "swapped": swapped,
            }


class Clustering(Task):
    """A ``ClusteringModel``, selected by the mutual information of both modalities' clusters on validation.

    No label takes part, neither in training nor in the choice of the epoch. There are as many clusters as
    classes. Images with captions have encoders and decoders of their own, to which ``encoder_options`` may
    give ``width``, ``word_dim`` and another number of ``clusters``; other data have the encoders of a
    classifier, and a choice between two heads.
    """

    paradigms = {"swav": Swav}
    selection = "mutual_information/both"

    def build(self, config, data):
        if config.encoder != "auto" or config.fusion not in HEADS or len(data.modalities) != 2:
            raise ValueError(
                f"encoder={config.encoder!r}, fusion={config.fusion!r}, modalities {data.modalities}: "
                "clustering wants the encoders of 'auto', and two modalities with one head, 'prototypes' or "
                "'plain_prototypes'."
            )
        sizes = {"embedding_dim": config.embedding_dim, "clusters": data.num_classes}
        sizes["standardized"] = HEADS[config.fusion]
        if "caption" in data.modalities:
            (_, side, _), (length,) = data.shapes["image"], data.shapes["caption"]
            return captioned_autoencoders(side, length, data.vocabulary, **sizes | config.encoder_options)
        plain = build_model(data, embedding_dim=config.embedding_dim, encoder_options=config.encoder_options)
        return ClusteringModel(plain.encoders, {}, **sizes)

    @torch.no_grad()
    def measure(self, paradigm, split, encoded):
        """``mutual_information``, and for each modality and "joint" what ``clustering.scores`` names
        and ``clusters_used``."""
        training = paradigm.model.training
        paradigm.model.eval()  # the head's running means must neither be passed over nor moved
        logits = paradigm.model.unimodal_logits(encoded.embeddings)
        measured = {self.selection: mutual_information(*logits.values())}
        logits["joint"] = paradigm.fused_logits(encoded.embeddings)
        paradigm.model.train(training)
        for name, of in logits.items():
            clusters = of.argmax(dim=1)
            measured |= {f"{k}/{name}": v for k, v in scores(encoded.labels, clusters).items()}
            measured[f"clusters_used/{name}"] = float(len(clusters.unique()))
        return measured

    def measure_test(self, paradigm, data, encoded):
        """The same three scores of k-means on the embeddings, ``k_means_...``, and a nearest-neighbor probe,
        which does look at labels: what the embeddings know of the classes."""
        train, test = (_with_joint(encoded[split].embeddings) for split in ("train", "test"))
        measured = knn_probe(encoded["train"], encoded["test"])
        for name, z in train.items():
            clusters = k_means(z, test[name], paradigm.model.fusion.num_classes)
            found = scores(encoded["test"].labels, clusters)
            measured |= {f"k_means_{k}/{name}": v for k, v in found.items()}
        return measured


def _with_joint(embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**embeddings, "joint": sum(F.normalize(z, dim=1) for z in embeddings.values())}
