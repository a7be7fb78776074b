"""Clustering of pairs without labels: a baseline that replaces the paper's.

The paper adds its terms to DCMEM, whose code and recipe are not public. This baseline replaces it with known
parts. SwAV's swapped prediction of balanced cluster codes (Caron et al., NeurIPS 2020, arXiv 2006.09882)
takes two modalities instead of two crops of an image. Image and caption get autoencoders like CMVAE's
(Palumbo et al., ICLR 2024). On this baseline, the effect of the regularizer can be replicated.

CMVAE's are a ResNet on 64 x 64 pixels and a CNN on 32 tokens. Here they are deterministic, and halve the
image once more before the first block. They normalize in groups of channels, not over the batch. So a
sample's result depends on no other sample, and two processes give exactly the result of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import distributed
from ..data import MultimodalDataset, Split
from ..evaluation import knn_probe
from ..inputs import Embeddings, float64, full_precision
from ..models import Embedded, Encoded, Fusion, MultimodalModel, build_model
from ..paradigms import Paradigm
from ..paradigms.base import Losses
from ..tasks import Metrics, Splits, Task
from .clustering_metrics import k_means, scores

if TYPE_CHECKING:
    from ..config import TrainConfig

Modules = Mapping[str, nn.Module]  # modality -> module
HEADS = {"prototypes": True, "plain_prototypes": False}  # fusion -> whether the head standardizes
PICTURE_SCALE = 20.0  # of images' L1 distance relative to a word's cross-entropy, as in CMVAE's likelihoods
SMALLEST = 4  # pixels of a side, or tokens, after the last convolution
WIDEST = 4  # most channels, relative to the first layer's


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, activations first; (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        first = *_activated(source), nn.Conv2d(source, target, 3, padding=1)
        self.steps = nn.Sequential(*first, *_activated(target), nn.Conv2d(target, target, 3, padding=1))
        self.shortcut = nn.Identity() if source == target else nn.Conv2d(source, target, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.steps(x)


def _activated(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.GroupNorm(math.gcd(8, channels), channels), nn.ReLU()


def _widths(size: int, width: int) -> list[int]:
    """Return the channels before and after each halving of ``size`` down to ``SMALLEST``."""
    halvings = int(math.log2(size / SMALLEST))
    if SMALLEST * 2**halvings != size:
        raise ValueError(f"size={size}: the networks halve it down to {SMALLEST}; give {SMALLEST} times 2^n.")
    return [width * min(2**i, WIDEST) for i in range(halvings + 1)]


def _stages(layers: Callable[[int, int], tuple[nn.Module, ...]], widths: list[int]) -> list[nn.Module]:
    """Return ``layers`` from each width to the next, in one list."""
    return [layer for pair in pairwise(widths) for layer in layers(*pair)]


class Transposed(nn.Module):
    """A swap of the last two dimensions, of words (B, L, D) and of channels (B, D, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def image_encoder(widths: list[int], embedding_dim: int) -> nn.Sequential:
    """Return a map from images (B, 3, S, S) in [0, 1] to (B, D)."""
    stages = _stages(lambda s, t: (Residual(s, t), nn.AvgPool2d(2)), widths)
    last = [*_activated(widths[-1]), nn.Flatten(), nn.Linear(widths[-1] * SMALLEST**2, embedding_dim)]
    return nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=2, padding=1), *stages, *last)


def image_decoder(widths: list[int], embedding_dim: int) -> nn.Sequential:
    """Return a map from (B, D) to images (B, 3, S, S) in [0, 1]."""
    small = widths[0], SMALLEST, SMALLEST
    first = nn.Linear(embedding_dim, math.prod(small)), nn.Unflatten(1, small)
    stages = _stages(lambda s, t: (Residual(s, t), nn.Upsample(scale_factor=2)), widths)
    last = [*_activated(widths[-1]), nn.ConvTranspose2d(widths[-1], 3, 4, stride=2, padding=1), nn.Sigmoid()]
    return nn.Sequential(*first, *stages, *last)


def caption_encoder(widths: list[int], embedding_dim: int, vocabulary: int) -> nn.Sequential:
    """Return a map from word numbers (B, L) to (B, D)."""
    words = nn.Embedding(vocabulary, widths[0])
    stages = _stages(lambda s, t: (nn.Conv1d(s, t, 4, 2, padding=1), *_activated(t)), widths)
    last = nn.Linear(widths[-1] * SMALLEST, embedding_dim)
    return nn.Sequential(words, Transposed(), *stages, nn.Flatten(), last)


def caption_decoder(widths: list[int], embedding_dim: int, vocabulary: int) -> nn.Sequential:
    """Return a map from (B, D) to logits (B, L, words)."""
    stages = _stages(lambda s, t: (*_activated(s), nn.ConvTranspose1d(s, t, 4, 2, padding=1)), widths)
    first = nn.Linear(embedding_dim, widths[0] * SMALLEST), nn.Unflatten(1, (widths[0], SMALLEST))
    return nn.Sequential(*first, *stages, Transposed(), nn.Linear(widths[-1], vocabulary))


class Prototypes(Fusion):
    """logits = cosines of an embedding and one learned direction for each cluster, divided by a temperature.

    The directions are shared, so that cluster k means the same in both modalities. The joint logits are those
    of the mean of the normalized embeddings. As logits are linear in it, they are the mean of both
    modalities' logits, and the product of the two distributions has its maximum at the same cluster.

    ``standardized``: whether every feature of a modality is first centered and scaled over the batch.
    """

    kind = "prototypes"
    temperature = 0.1

    def __init__(
        self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int, standardized: bool = True
    ) -> None:
        super().__init__(modalities, embedding_dim, num_classes)
        norm = partial(nn.BatchNorm1d, embedding_dim, affine=False) if standardized else nn.Identity
        self.norms = nn.ModuleDict({m: norm() for m in self.modalities})
        self.directions = nn.Parameter(torch.randn(num_classes, embedding_dim))

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        logits = self.unimodal_logits(embeddings).values()
        return sum(logits) / len(logits)

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        directions = F.normalize(self.directions, dim=1)
        units = {m: F.normalize(self.norms[m](z), dim=1) for m, z in embeddings.items()}
        return {m: u @ directions.T / self.temperature for m, u in units.items()}


@dataclass(frozen=True)
class Clustered(Embedded):
    """Embeddings with cluster logits {modality: (B, K)}, this process's inputs {modality: (b, ...)}, and the
    decoders' reconstructions, if any, by modality."""

    logits: dict[str, Tensor]
    reconstructions: dict[str, Tensor]
    inputs: Mapping[str, Tensor]


class ClusteringModel(MultimodalModel):
    """Two encoders whose embeddings ``Prototypes`` assigns to clusters, with or without decoders.

    Args:
        encoders: modality -> module that maps its input to (B, D).
        decoders: modality -> module that maps (B, D) to its input, for ``reconstruction_errors``.
        embedding_dim: D.
        clusters: K.
        standardized: see ``Prototypes``.
    """

    def __init__(
        self, encoders: Modules, decoders: Modules, embedding_dim: int, clusters: int, standardized: bool
    ) -> None:
        super().__init__(encoders)
        self.decoders = nn.ModuleDict(decoders)
        self.fusion = Prototypes(tuple(encoders), embedding_dim, clusters, standardized=standardized)

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return cluster logits {modality: (B, K)}."""
        return self.fusion.unimodal_logits(embeddings)

    def forward(self, inputs: Mapping[str, Tensor]) -> Clustered:
        z = self.encode(inputs)
        decoded = {m: decoder(z[m]) for m, decoder in self.decoders.items()}
        return Clustered(z, self.unimodal_logits(z), decoded, inputs)


def captioned_autoencoders(
    side: int, length: int, vocabulary: int, embedding_dim: int, width: int = 64, word_dim: int = 128
) -> tuple[Modules, Modules]:
    """Return the encoders of "image" and "caption", and the decoders.

    Args:
        side: S, of the images, which have three channels.
        length: L, of the captions.
        vocabulary: the number of words.
        embedding_dim: D.
        width: channels of the first layers.
        word_dim: of a word's embedding.
    """
    picture, words = _widths(side // 2, width), [word_dim, *_widths(length, width)[1:]]
    encoders = {"image": image_encoder(picture, embedding_dim)}
    encoders["caption"] = caption_encoder(words, embedding_dim, vocabulary)
    decoders = {"image": image_decoder(picture[::-1], embedding_dim)}
    decoders["caption"] = caption_decoder(words[::-1], embedding_dim, vocabulary)
    return encoders, decoders


def reconstruction_errors(reconstructions: Embeddings, inputs: Embeddings) -> Losses:
    """Return images' mean absolute difference and captions' mean cross-entropy per word, in nats."""
    pixels, words = (reconstructions[m].float() for m in ("image", "caption"))
    return {
        "image": F.l1_loss(pixels, inputs["image"].float()),
        "caption": F.cross_entropy(words.flatten(0, 1), inputs["caption"].flatten()),
    }


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
                f"encoder={config.encoder!r}, fusion={config.fusion!r}, modalities {data.modalities}: "
                f"clustering needs encoder 'auto', a fusion of {', '.join(HEADS)}, and two modalities."
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
