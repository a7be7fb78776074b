"""Encoders, fusion heads, the classifier that joins them, and the embeddings of a split.

An encoder maps one modality to embeddings of shape (B, D); a fusion maps the embeddings of all modalities to
logits. ``MultimodalClassifier`` returns both, because the regularizer acts on the embeddings between the two.
With ``hidden=True``, an encoder also returns its last hidden features (B, H), averaged over places.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_scripts.extras import extra

from .data import MultimodalDataset, Split, batches
from .inputs import check_choice


class Encoder(nn.Module):
    """An encoder in two parts: ``features``, which a subclass defines, and ``last``, from them to (B, D)."""

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden features (B, H), or their maps (B, H, ...)."""
        raise NotImplementedError

    def forward(self, x: Tensor, hidden: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Return embeddings (B, D), and if ``hidden`` also the last hidden features (B, H).

        Features are averaged over places, and of x (B, C, T, H, W) both results over the T frames.
        """
        frames = x.shape[2] if x.ndim == 5 else None
        features = self.features(x if frames is None else x.transpose(1, 2).flatten(0, 1))
        results = [self.last(features)]
        if hidden:
            results.append(features.flatten(2).mean(2) if features.ndim > 2 else features)
        if frames is not None:
            results = [z.unflatten(0, (-1, frames)).mean(dim=1) for z in results]
        return tuple(results) if hidden else results[0]


# dimensions -> the layers of a convolutional network
LAYERS = {1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d), 2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)}


def _convolutions(
    dims: int, widths: Sequence[int], kernels: Sequence[int], strides: Sequence[int]
) -> tuple[nn.Sequential, nn.Sequential]:
    """Return all convolution-normalization-ReLU blocks but the last, and the last with a global average."""
    convolution, norm, _ = LAYERS[dims]
    pool = nn.AdaptiveAvgPool1d if dims == 1 else nn.AdaptiveAvgPool2d

    def block(source: int, target: int, kernel: int, stride: int) -> nn.Sequential:
        layer = convolution(source, target, kernel, stride, padding=kernel // 2, bias=False)
        return nn.Sequential(layer, norm(target), nn.ReLU(inplace=True))

    *blocks, last = map(block, widths[:-1], widths[1:], kernels, strides)
    return nn.Sequential(*blocks), nn.Sequential(last, pool(1), nn.Flatten())


class ConvEncoder(Encoder):
    """Four strided convolution-normalization-ReLU blocks and a global average.

    Maps (B, C, H, W), or with frames (B, C, T, H, W), to non-negative embeddings (B, D). A ResNet's are
    non-negative too; so real networks keep their embeddings in a narrow cone. The first block reduces sides
    of 64 and more by 4, smaller ones by 2.
    """

    def __init__(self, shape: tuple[int, ...], embedding_dim: int = 128, width: int = 8) -> None:
        super().__init__()
        if len(shape) not in (3, 4):
            raise ValueError(f"shape={tuple(shape)}: convolutional encoders take (C, H, W) or (C, T, H, W).")
        first = 4 if min(shape[-2:]) >= 64 else 2
        widths = shape[0], width, 2 * width, 4 * width, embedding_dim
        self.blocks, self.last = _convolutions(2, widths, (first + 1, 3, 3, 3), (first, 2, 2, 2))
        # On a CPU this memory order makes a step about a third cheaper; the values are the same.
        self.to(memory_format=torch.channels_last)

    def features(self, x: Tensor) -> Tensor:
        """Return the maps (B, 4 width, h, w) of the third block."""
        return self.blocks(x.contiguous(memory_format=torch.channels_last))


class SignalEncoder(Encoder):
    """The convolutional encoder in one dimension: signals (B, C, L) to non-negative embeddings (B, D)."""

    def __init__(self, shape: tuple[int, ...], embedding_dim: int = 128, width: int = 16) -> None:
        super().__init__()
        if len(shape) != 2:
            raise ValueError(f"shape={tuple(shape)}: the signal encoder takes (channels, length).")
        widths = shape[0], width, 2 * width, 4 * width, embedding_dim
        self.blocks, self.last = _convolutions(1, widths, (5,) * 4, (2,) * 4)

    def features(self, x: Tensor) -> Tensor:
        """Return the maps (B, 4 width, l) of the third block."""
        return self.blocks(x)


class MLPEncoder(Encoder):
    """Two hidden layers with ReLU, (B, features) to (B, D); ``nonnegative`` ends it with a ReLU as well."""

    def __init__(
        self, shape: tuple[int], embedding_dim: int = 128, hidden: int = 128, nonnegative: bool = False
    ) -> None:
        if len(shape) != 1:
            raise ValueError(f"shape={tuple(shape)}: the MLP encoder takes vectors, shape (features,).")
        super().__init__()
        layers = [nn.Linear(shape[0], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Sequential(nn.Linear(hidden, embedding_dim), *([nn.ReLU()] if nonnegative else []))

    def features(self, x: Tensor) -> Tensor:
        """Return the second layer (B, H)."""
        return self.layers(x)


class ResNet18Encoder(Encoder):
    """torchvision's ResNet-18 from scratch, for (B, C, H, W) or, with frames, (B, C, T, H, W); C from 1 to 3.

    The embedding has 512 non-negative components. Convolutions are initialized as in the OGM-GE and DGL
    code, Kaiming (fan out).
    """

    def __init__(self, shape: tuple[int, ...], embedding_dim: int = 512) -> None:
        super().__init__()
        check_choice([512], embedding_dim=embedding_dim)
        if not 1 <= shape[0] <= 3:
            raise ValueError(f"shape={shape}: a ResNet-18 encoder takes 1 to 3 channels.")
        with extra("benchmarks"):
            from torchvision.models import resnet18

        network = resnet18(weights=None)
        if shape[0] != 3:
            network.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        *stages, last, pool, _ = network.children()
        self.stages, self.last = nn.Sequential(*stages), nn.Sequential(last, pool, nn.Flatten())

    def features(self, x: Tensor) -> Tensor:
        """Return the maps (B, 256, h, w) of the third of four stages."""
        return self.stages(x)


ENCODERS = {"conv": ConvEncoder, "signal": SignalEncoder, "mlp": MLPEncoder, "resnet18": ResNet18Encoder}


class Fusion(nn.Module):
    """A map from embeddings {modality: (B, D)} to logits (B, C); a modality not in the dict is absent."""

    kind = ""  # its name in FUSIONS

    def __init__(self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.modalities, self.embedding_dim, self.num_classes = tuple(modalities), embedding_dim, num_classes

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's share of the fused logits, or an empty dict if the head is not linear."""
        return {}


class ConcatFusion(Fusion):
    """logits = W [z_1; ...; z_M] + b, absent modalities as zeros. A modality's share is W_m z_m + b / M."""

    kind = "concat"

    def __init__(self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int) -> None:
        super().__init__(modalities, embedding_dim, num_classes)
        self.linear = nn.Linear(len(self.modalities) * embedding_dim, num_classes)

    def weights(self) -> dict[str, Tensor]:
        """Return the block W_m (C, D) of each modality."""
        return dict(zip(self.modalities, self.linear.weight.split(self.embedding_dim, dim=1), strict=True))

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        weights = self.weights()
        return sum(F.linear(z, weights[m]) for m, z in embeddings.items()) + self.linear.bias

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights, bias = self.weights(), self.linear.bias / len(self.modalities)
        return {m: F.linear(z, weights[m], bias) for m, z in embeddings.items()}


class SumFusion(Fusion):
    """logits = sum_m (W_m z_m + b_m) over the present modalities."""

    kind = "sum"

    def __init__(self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int) -> None:
        super().__init__(modalities, embedding_dim, num_classes)
        self.linears = nn.ModuleDict({m: nn.Linear(embedding_dim, num_classes) for m in self.modalities})

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        return sum(self.unimodal_logits(embeddings).values())

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: self.linears[m](z) for m, z in embeddings.items()}


class SharedFusion(Fusion):
    """logits = mean over the present modalities of W z_m + b: one linear head for every modality."""

    kind = "shared"

    def __init__(self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int) -> None:
        super().__init__(modalities, embedding_dim, num_classes)
        self.linear = nn.Linear(embedding_dim, num_classes)

    def forward(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        return self.linear(sum(embeddings.values()) / len(embeddings))

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: self.linear(z) for m, z in embeddings.items()}


FUSIONS: dict[str, type[Fusion]] = {fusion.kind: fusion for fusion in (ConcatFusion, SumFusion, SharedFusion)}


@dataclass(frozen=True)
class Embedded:
    """Embeddings {modality: (B, D)} of a batch; a model with ``hidden`` adds hidden features (B, H)."""

    embeddings: dict[str, Tensor]
    hidden: dict[str, Tensor] = field(default_factory=dict, kw_only=True)

    @property
    def regularized(self) -> dict[str, Tensor]:
        """Return the regularizer's input: the hidden features if there are any, else the embeddings."""
        return self.hidden or self.embeddings


@dataclass(frozen=True)
class ModelOutput(Embedded):
    """Embeddings with fused logits (B, C) and unimodal_logits {modality: (B, C)}."""

    logits: Tensor
    unimodal_logits: dict[str, Tensor]


def encoded(
    encoders: nn.ModuleDict, inputs: Mapping[str, Tensor], hidden: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return modality -> output of its encoder, and if ``hidden`` modality -> hidden features, else {}."""
    if not hidden:
        return {m: encoders[m](x) for m, x in inputs.items()}, {}
    both = {m: encoders[m](x, hidden=True) for m, x in inputs.items()}
    return {m: z for m, (z, _) in both.items()}, {m: h for m, (_, h) in both.items()}


class MultimodalModel(nn.Module):
    """One encoder per modality, {modality: module that maps its input to (B, D)}."""

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.modalities, self.encoders = tuple(encoders), nn.ModuleDict(encoders)

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return embeddings {modality: (B, D)} of the modalities in ``inputs``, in the model's order."""
        return {m: self.encoders[m](inputs[m]) for m in self.modalities if m in inputs}


class MultimodalClassifier(MultimodalModel):
    """One encoder per modality, one fusion, and optionally a separate linear head for each modality.

    Args:
        encoders: modality -> module that maps its input to (B, D).
        fusion: a ``Fusion`` over the same modalities.
        heads: whether each modality has its own head; then the heads give the unimodal logits.
        unit_sphere: whether embeddings are divided by their norms before any further use.
        hidden: whether the output also holds the encoders' hidden features, for the regularizer.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: Fusion,
        heads: bool = False,
        unit_sphere: bool = False,
        hidden: bool = False,
    ) -> None:
        super().__init__(encoders)
        if self.modalities != fusion.modalities:
            raise ValueError(f"encoders have {self.modalities}, fusion {fusion.modalities}: make them equal.")
        self.fusion, self.unit_sphere, self.hidden = fusion, unit_sphere, hidden
        linear = {m: nn.Linear(fusion.embedding_dim, fusion.num_classes) for m in encoders} if heads else {}
        self.heads = nn.ModuleDict(linear)

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return embeddings {modality: (B, D)} of the modalities in ``inputs``, in the model's order."""
        return self._on_sphere(super().encode(self.given(inputs)))

    def given(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs in the model's order; raise ValueError unless all are of its modalities."""
        if not inputs or not set(inputs) <= set(self.modalities):
            raise ValueError(f"`inputs` has {sorted(inputs)}: give one or more of {list(self.modalities)}.")
        return {m: inputs[m] for m in self.modalities if m in inputs}

    def _on_sphere(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        return {m: F.normalize(z, dim=1) for m, z in embeddings.items()} if self.unit_sphere else embeddings

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return logits (B, C) of each modality alone: of its head, or else its share of a linear fusion."""
        if self.heads:
            return {m: self.heads[m](z) for m, z in embeddings.items()}
        return self.fusion.unimodal_logits(embeddings)

    def forward(self, inputs: Mapping[str, Tensor]) -> ModelOutput:
        """Return embeddings and logits of ``inputs``; a modality may be left out."""
        embeddings, hidden = encoded(self.encoders, self.given(inputs), self.hidden)
        embeddings = self._on_sphere(embeddings)
        logits = self.fusion(embeddings)
        return ModelOutput(embeddings, logits, self.unimodal_logits(embeddings), hidden=hidden)


def build_model(
    data: MultimodalDataset,
    *,
    fusion: str = "concat",
    embedding_dim: int = 128,
    heads: bool = False,
    unit_sphere: bool = False,
    encoder: str = "auto",
    encoder_options: Mapping | None = None,
    hidden: bool = False,
) -> MultimodalClassifier:
    """Return a classifier for the ``modalities``, ``shapes`` and ``num_classes`` of ``data``.

    ``encoder="auto"`` takes an MLP for vectors, and a small convolutional encoder for images, spectrograms
    and, in one dimension, signals. Encoders are built first and heads last, so that the same seed gives the
    same encoders with and without heads. With "resnet18", fusion and heads start with Xavier weights and zero
    biases, as in the code of OGM-GE and DGL; otherwise with PyTorch's defaults.
    """
    check_choice(FUSIONS, fusion=fusion)
    check_choice(("auto", *ENCODERS), encoder=encoder)

    def make(shape: tuple[int, ...]) -> nn.Module:
        kind = encoder if encoder != "auto" else {1: "mlp", 2: "signal"}.get(len(shape), "conv")
        return ENCODERS[kind](shape, embedding_dim, **(encoder_options or {}))

    encoders = {m: make(data.shapes[m]) for m in data.modalities}
    head = FUSIONS[fusion](data.modalities, embedding_dim, data.num_classes)
    model = MultimodalClassifier(encoders, head, heads, unit_sphere, hidden)
    if encoder == "resnet18":
        for module in (*model.fusion.modules(), *model.heads.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)
    return model


@dataclass(frozen=True)
class Encoded:
    """Embeddings {modality: (N, D)} and labels (N,) of samples, on the model's device.

    ``logits`` {name: (N, C)} are those that a task takes from its model in the same pass.
    """

    embeddings: dict[str, Tensor]
    labels: Tensor
    logits: Mapping[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def encode(
    model: MultimodalClassifier,
    split: Split,
    index: Tensor | None = None,
    *,
    modalities: Sequence[str] | None = None,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
    embed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None,
    batch_size: int = 256,
) -> Encoded:
    """Return a split's embeddings in evaluation mode; the model's mode does not change.

    Args:
        model: the model whose encoders embed.
        split: an object with ``len``, ``batch(index)`` and ``prepare(inputs)``.
        index: (N,), the samples to embed; by default the whole split.
        modalities: those to embed; by default all of the model.
        change: (inputs (B, ...) of one modality, indices (B,) of their samples) -> inputs to embed instead.
        embed: inputs -> embeddings to return; ``model.encode`` by default.
        batch_size: samples per forward pass.
    """
    device = next(model.parameters()).device
    modalities = tuple(modalities or model.modalities)
    index = torch.arange(len(split)) if index is None else index
    was_training = model.training
    model.eval()
    parts: dict[str, list[Tensor]] = defaultdict(list)
    labels = []
    chunks = index.split(batch_size)
    read = batches([(split, chunk) for chunk in chunks], device, modalities)
    for chunk, batch in zip(chunks, read, strict=True):
        inputs = batch["inputs"]
        if change is not None:
            inputs = {m: change(x, chunk) for m, x in inputs.items()}
        for m, z in (embed or model.encode)(inputs).items():
            parts[m].append(z)
        labels.append(batch["label"])
    model.train(was_training)
    return Encoded({m: torch.cat(z) for m, z in parts.items()}, torch.cat(labels))


def fixed_sample(split: Split, count: int) -> Tensor:
    """Return indices (N,) of ``count`` samples, at least one and at most all; the same every time.

    So two measurements on them differ by the model alone. Torch's generator does not change.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(len(split), generator=generator)[: max(count, 1)]
