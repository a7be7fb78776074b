"""Two modalities through an encoder each, and one clustering head for both; image and caption with decoders.

Those of image and caption follow CMVAE's (Palumbo et al., ICLR 2024): a ResNet on 64 x 64 pixels, a CNN on
32 tokens. They are deterministic here, halve the image once more before the first block, and normalize in
groups of channels and not over the batch, so that what a sample gives depends on no other and two processes
are exactly one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import Embedded, Fusion

SMALLEST = 4  # pixels of a side, or tokens, that convolutions end at
WIDEST = 4  # times the first layer's channels


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, activations first; (B, C, H, W) to (B, C', H, W)."""

    def __init__(self, source: int, target: int):
        super().__init__()
        self.steps = nn.Sequential(
            *_activated(source),
            nn.Conv2d(source, target, 3, padding=1),
            *_activated(target),
            nn.Conv2d(target, target, 3, padding=1),
        )
        self.shortcut = nn.Identity() if source == target else nn.Conv2d(source, target, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.steps(x)


def _activated(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.GroupNorm(math.gcd(8, channels), channels), nn.ReLU()


def _widths(size: int, width: int) -> list[int]:
    """Channels after each halving of ``size`` down to ``SMALLEST``, with those before."""
    halvings = int(math.log2(size / SMALLEST))
    if SMALLEST * 2**halvings != size:
        raise ValueError(f"size={size}: the networks halve it down to {SMALLEST}; give {SMALLEST} times 2^n.")
    return [width * min(2**i, WIDEST) for i in range(halvings + 1)]


class ImageEncoder(nn.Sequential):
    """(B, 3, S, S) in [0, 1] to (B, D)."""

    def __init__(self, side: int, embedding_dim: int, width: int):
        widths = _widths(side // 2, width)
        stages = [
            layer
            for source, target in zip(widths, widths[1:], strict=False)
            for layer in (Residual(source, target), nn.AvgPool2d(2))
        ]
        last = [*_activated(widths[-1]), nn.Flatten(), nn.Linear(widths[-1] * SMALLEST**2, embedding_dim)]
        super().__init__(nn.Conv2d(3, width, 4, stride=2, padding=1), *stages, *last)


class ImageDecoder(nn.Sequential):
    """(B, D) to (B, 3, S, S) in [0, 1]."""

    def __init__(self, side: int, embedding_dim: int, width: int):
        widths = _widths(side // 2, width)[::-1]
        first = [nn.Linear(embedding_dim, widths[0] * SMALLEST**2)]
        first.append(nn.Unflatten(1, (widths[0], SMALLEST, SMALLEST)))
        stages = [
            layer
            for source, target in zip(widths, widths[1:], strict=False)
            for layer in (Residual(source, target), nn.Upsample(scale_factor=2))
        ]
        last = [*_activated(width), nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1), nn.Sigmoid()]
        super().__init__(*first, *stages, *last)


class CaptionEncoder(nn.Module):
    """Word numbers (B, L) to (B, D)."""

    def __init__(self, length: int, vocabulary: int, embedding_dim: int, width: int, word_dim: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary, word_dim)
        widths = [word_dim, *_widths(length, width)[1:]]
        stages = [
            layer
            for source, target in zip(widths, widths[1:], strict=False)
            for layer in (nn.Conv1d(source, target, 4, stride=2, padding=1), *_activated(target))
        ]
        self.convolutions = nn.Sequential(
            *stages, nn.Flatten(), nn.Linear(widths[-1] * SMALLEST, embedding_dim)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.convolutions(self.words(tokens).transpose(1, 2))


class CaptionDecoder(nn.Module):
    """(B, D) to logits (B, L, words)."""

    def __init__(self, length: int, vocabulary: int, embedding_dim: int, width: int, word_dim: int):
        super().__init__()
        widths = [word_dim, *_widths(length, width)[1:]][::-1]
        stages = [
            layer
            for source, target in zip(widths, widths[1:], strict=False)
            for layer in (*_activated(source), nn.ConvTranspose1d(source, target, 4, stride=2, padding=1))
        ]
        first = [nn.Linear(embedding_dim, widths[0] * SMALLEST), nn.Unflatten(1, (widths[0], SMALLEST))]
        self.convolutions = nn.Sequential(*first, *stages)
        self.words = nn.Linear(word_dim, vocabulary)

    def forward(self, z: Tensor) -> Tensor:
        return self.words(self.convolutions(z).transpose(1, 2))


class Prototypes(Fusion):
    """logits = cosines of an embedding and one learned direction for each cluster, divided by a temperature.

    The directions are shared, so that cluster k means the same in both modalities. Together these are read at
    the mean of their normalized embeddings. As the logits are linear in that, they are the mean of both
    modalities', and the cluster is the one that the product of the two distributions favors.

    ``standardized``: whether every feature of a modality is centered and scaled before, over the batch.
    """

    kind = "prototypes"

    def __init__(
        self, modalities, embedding_dim, num_classes, temperature: float = 0.1, standardized: bool = True
    ):
        super().__init__(modalities, embedding_dim, num_classes)
        self.temperature = temperature
        norm = partial(nn.BatchNorm1d, embedding_dim, affine=False) if standardized else nn.Identity
        self.norms = nn.ModuleDict({m: norm() for m in self.modalities})
        self.directions = nn.Parameter(torch.randn(num_classes, embedding_dim))

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        logits = self.unimodal_logits(embeddings).values()
        return sum(logits) / len(logits)

    def unimodal_logits(self, embeddings):
        directions = F.normalize(self.directions, dim=1)
        return {
            m: F.normalize(self.norms[m](z), dim=1) @ directions.T / self.temperature
            for m, z in embeddings.items()
        }


@dataclass(frozen=True)
class Clustered(Embedded):
    """Also cluster logits {modality: (B, K)}, reconstructions {modality: what its decoder gives} if there are
    decoders, and the inputs {modality: (b, ...)} of this process."""

    logits: dict[str, Tensor]
    reconstructions: dict[str, Tensor]
    inputs: Mapping[str, Tensor]


class ClusteringModel(nn.Module):
    """Two encoders whose embeddings ``Prototypes`` assigns to clusters, with decoders or without.

    Args:
        encoders: modality -> module that maps its input to (B, D).
        decoders: modality -> module that maps (B, D) to its input, as ``reconstruction_errors`` wants it.
        embedding_dim: D.
        clusters: K.
        standardized: see ``Prototypes``.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        decoders: Mapping[str, nn.Module],
        *,
        embedding_dim: int,
        clusters: int,
        standardized: bool = True,
    ):
        super().__init__()
        self.encoders, self.decoders = nn.ModuleDict(encoders), nn.ModuleDict(decoders)
        self.fusion = Prototypes(tuple(encoders), embedding_dim, clusters, standardized=standardized)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.fusion.modalities

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings {modality: (B, D)} of the modalities in ``inputs``."""
        return {m: self.encoders[m](inputs[m]) for m in self.modalities if m in inputs}

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cluster logits {modality: (B, K)}."""
        return self.fusion.unimodal_logits(embeddings)

    def forward(self, inputs: Mapping[str, Tensor]) -> Clustered:
        z = self.encode(inputs)
        decoded = {m: decoder(z[m]) for m, decoder in self.decoders.items()}
        return Clustered(z, self.unimodal_logits(z), decoded, inputs)


def captioned_autoencoders(
    side: int,
    length: int,
    vocabulary: int,
    *,
    embedding_dim: int,
    clusters: int,
    width: int = 64,
    word_dim: int = 128,
    standardized: bool = True,
) -> ClusteringModel:
    """A ``ClusteringModel`` of "image" and "caption" that reconstructs both.

    Args:
        side: S, of the images, which have three channels.
        length: L, of the captions.
        vocabulary: how many words there are.
        embedding_dim: D.
        clusters: K.
        width: channels of the first layers.
        word_dim: of a word's embedding.
        standardized: see ``Prototypes``.
    """
    sentence = (length, vocabulary, embedding_dim, width, word_dim)
    encoders = {"image": ImageEncoder(side, embedding_dim, width), "caption": CaptionEncoder(*sentence)}
    decoders = {"image": ImageDecoder(side, embedding_dim, width), "caption": CaptionDecoder(*sentence)}
    return ClusteringModel(
        encoders, decoders, embedding_dim=embedding_dim, clusters=clusters, standardized=standardized
    )


def reconstruction_errors(
    reconstructions: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Of images the mean absolute difference, of captions the mean cross-entropy of a word, in nats."""
    pixels, words = (reconstructions[m].float() for m in ("image", "caption"))
    return {
        "image": F.l1_loss(pixels, inputs["image"].float()),
        "caption": F.cross_entropy(words.flatten(0, 1), inputs["caption"].flatten()),
    }
