"""A classifier for every subset of its modalities: encoders to tokens, a transformer over those present.

The architecture is a compact reading of X-Fi (arXiv 2410.10167); ``TransformerFusion`` states the
differences. The regularizer acts on the mean token of each modality.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_scripts import x_fi

from ..data import MultimodalDataset
from ..inputs import check_choice, check_whole
from ..models import LAYERS, Embedded, Encoder, MultimodalClassifier, encoded


def subsets(modalities: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return every non-empty subset, single modalities first; "+" between names makes its name."""
    return tuple(s for n in range(1, len(modalities) + 1) for s in combinations(modalities, n))


class Block(nn.Module):
    """Two convolutions of width 3 and a shortcut, in one or two dimensions."""

    def __init__(self, source: int, target: int, stride: int, dims: int) -> None:
        super().__init__()
        convolution, norm, pool = LAYERS[dims]
        self.inner = nn.Sequential(
            convolution(source, target, 3, stride, padding=1, bias=False),
            norm(target),
            nn.ReLU(inplace=True),
            convolution(target, target, 3, padding=1, bias=False),
            norm(target),
        )
        self.around = nn.Identity()
        if stride != 1 or source != target:
            # A pool of width 1 does the stride: with fewer than 8 channels, oneDNN on processors without
            # AVX-512 writes past the end of the gradient of a strided convolution of width 1.
            thinned = pool(1, stride), convolution(source, target, 1, bias=False)
            self.around = nn.Sequential(*thinned, norm(target))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.inner(x) + self.around(x))


class TokenEncoder(Encoder):
    """A ResNet-18 in one or two dimensions, from scratch, and a projection of its last map to tokens.

    Maps (B, C, L) or (B, C, H, W) to (B, tokens, D). The channels of the four stages are those of XRF55's
    networks, as multiples of ``width``. The ResNet divides each length by 32 (radar 8 x 4, WiFi 32, RFID 5
    places); X-Fi's projection takes 512 channels to D and the places to ``tokens``, each followed by a ReLU.
    """

    def __init__(self, shape: tuple[int, ...], embedding_dim: int, tokens: int = 32, width: int = 64) -> None:
        super().__init__()
        dims = len(shape) - 1
        if dims not in (1, 2):
            raise ValueError(f"shape={tuple(shape)}: give (channels, length) or (channels, height, width).")
        convolution, norm, pool = LAYERS[dims]
        stages = [width * n for n in ((2, 2, 4, 8) if dims == 1 else (1, 2, 4, 8))]
        layers = [convolution(shape[0], stages[0], 7, 2, padding=3, bias=False), norm(stages[0])]
        layers += [nn.ReLU(inplace=True), pool(3, 2, padding=1)]
        for number, (source, target) in enumerate(zip([stages[0], *stages], stages, strict=False)):
            blocks = Block(source, target, 1 if number == 0 else 2, dims), Block(target, target, 1, dims)
            layers.append(nn.Sequential(*blocks))
        self.backbone = nn.Sequential(*layers)
        places = math.prod(-(-length // 32) for length in shape[1:])
        self.projection = nn.Sequential(
            nn.Conv1d(stages[-1], embedding_dim, 1),
            nn.BatchNorm1d(embedding_dim),
            nn.ReLU(inplace=True),
            nn.Linear(places, tokens),
            nn.ReLU(),
        )
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor) -> Tensor:
        """Return the maps (B, C, ...) of the third of four stages."""
        if x.ndim == 4:  # on a CPU this memory order makes a step of the radar nearly twice as fast
            x = x.contiguous(memory_format=torch.channels_last)
        for stage in list(self.backbone)[:-1]:
            x = stage(x)
        return x

    def last(self, features: Tensor) -> Tensor:
        """Return tokens (B, tokens, D) of these maps."""
        return self.projection(self.backbone[-1](features).flatten(2)).transpose(1, 2)


class TransformerFusion(nn.Module):
    """A map from the tokens {modality: (B, T, D)} of the present modalities to logits (B, C).

    A learned vector marks each modality's tokens, ``depth`` layers attend to all of them, and their mean is
    classified. A modality not in the dict has no influence.

    X-Fi differs. It keeps 32 fused tokens, at first the average of all. Each round adds to them the result of
    attending to each modality, with keys and values made once from that modality's own tokens. Its five
    rounds share one set of weights, but layers here have separate ones.
    """

    kind = "transformer"

    def __init__(
        self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.modalities, self.embedding_dim, self.num_classes = modalities, embedding_dim, num_classes
        marks = {m: nn.Parameter(0.02 * torch.randn(embedding_dim)) for m in modalities}
        self.marks = nn.ParameterDict(marks)
        layer = nn.TransformerEncoderLayer(
            embedding_dim, heads, 2 * embedding_dim, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        for weight in self.layers.parameters():  # PyTorch makes equal copies of one layer
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
        self.norm, self.linear = nn.LayerNorm(embedding_dim), nn.Linear(embedding_dim, num_classes)

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        marked = torch.cat([z + self.marks[m] for m, z in tokens.items()], dim=1)
        return self.linear(self.norm(self.layers(marked).mean(dim=1)))


@dataclass(frozen=True)
class Tokens(Embedded):
    """Embeddings with the tokens {modality: (B, T, D)} whose means they are, and unimodal_logits (B, C)."""

    tokens: dict[str, Tensor]
    unimodal_logits: dict[str, Tensor]


class SubsetClassifier(MultimodalClassifier):
    """One ``TokenEncoder`` per modality, a ``TransformerFusion``, and optionally a head for each modality."""

    pretrained: str | None = None  # the source of the encoders' weights; None if they are random

    def tokens(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tokens {modality: (B, T, D)} of the modalities in ``inputs``."""
        return super().encode(inputs)

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return embeddings {modality: (B, D)} of the modalities in ``inputs``: their mean tokens."""
        return {m: z.mean(dim=1) for m, z in self.tokens(inputs).items()}

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return logits (B, C) of each modality's own head; an empty dict if there are no heads."""
        return super().unimodal_logits(embeddings) if self.heads else {}

    def forward(self, inputs: Mapping[str, Tensor]) -> Tokens:
        tokens, hidden = encoded(self.encoders, self.given(inputs), self.hidden)
        embeddings = {m: z.mean(dim=1) for m, z in tokens.items()}
        return Tokens(embeddings, tokens, self.unimodal_logits(embeddings), hidden=hidden)


def build_subset_classifier(
    data: MultimodalDataset,
    embedding_dim: int,
    *,
    heads: bool = False,
    hidden: bool = False,
    tokens: int = 32,
    width: int = 64,
    depth: int = 5,
    attention_heads: int = 8,
    pretrained: str | None = None,
    weights: str | None = None,
) -> SubsetClassifier:
    """Return the classifier for ``data``, by default of X-Fi's sizes; ``heads`` adds one per modality.

    ``pretrained="x_fi"`` gives the encoders' ResNets X-Fi's published weights, from the folder ``weights`` or
    as `python -m data_scripts x_fi` prepared them.

    Heads come last, so that a seed gives the same encoders and fusion with and without them.
    """
    check_whole(1, tokens=tokens, width=width, depth=depth)
    if embedding_dim % attention_heads:
        raise ValueError(f"{embedding_dim=} is not a multiple of {attention_heads=}: change one of the two.")
    encoders = {m: TokenEncoder(data.shapes[m], embedding_dim, tokens, width) for m in data.modalities}
    check_choice((None, "x_fi"), pretrained=pretrained)
    for m, encoder in encoders.items() if pretrained else ():
        x_fi.load_into(encoder.backbone, m, weights)
    fusion = TransformerFusion(data.modalities, embedding_dim, data.num_classes, depth, attention_heads)
    model = SubsetClassifier(encoders, fusion, heads, hidden=hidden)
    model.pretrained = pretrained
    return model
