"""Encoders, fusion heads, the classifier that joins them, and a split as a model sees it.

An encoder maps one modality to embeddings of shape (B, D); a fusion maps the embeddings of all modalities to
logits; ``MultimodalClassifier`` shows both, because the regularizer acts on the embeddings between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvEncoder(nn.Module):
    """Four strided convolution-normalization-ReLU blocks and a global average.

    Maps (B, C, H, W), or with frames (B, C, T, H, W), to non-negative embeddings (B, D), the shape of a
    ResNet's and with it the narrow cone in which real networks keep their embeddings. Sides of 64 and more
    are reduced by 4 in the first block, smaller ones by 2.
    """

    def __init__(self, shape: tuple[int, ...], embedding_dim: int = 128, width: int = 8):
        super().__init__()
        if len(shape) not in (3, 4):
            raise ValueError(
                f"shape={tuple(shape)}: the convolutional encoder takes (channels, height, width), or with "
                "frames (channels, frames, height, width)."
            )
        channels, sides = shape[0], shape[-2:]
        first_stride = 4 if min(sides) >= 64 else 2
        kernel = first_stride + 1
        blocks = [self._block(channels, width, kernel, first_stride)]
        for source, target in [(width, 2 * width), (2 * width, 4 * width), (4 * width, embedding_dim)]:
            blocks.append(self._block(source, target, 3, 2))
        self.blocks = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        # On a CPU this memory order makes a step about a third cheaper; the values are the same.
        self.to(memory_format=torch.channels_last)

    @staticmethod
    def _block(source: int, target: int, kernel: int, stride: int) -> nn.Sequential:
        convolution = nn.Conv2d(source, target, kernel, stride, padding=kernel // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(target), nn.ReLU(inplace=True))

    @property
    def hidden_layer(self) -> nn.Module:
        """The block before the last; its output is (B, 4 width, h, w)."""
        return self.blocks[2]

    def forward(self, x: Tensor) -> Tensor:
        return over_frames(lambda x: self.blocks(x.contiguous(memory_format=torch.channels_last)), x)


class SignalEncoder(nn.Sequential):
    """The convolutional encoder in one dimension: signals (B, C, L) to non-negative embeddings (B, D)."""

    def __init__(self, shape: tuple[int, ...], embedding_dim: int = 128, width: int = 16):
        if len(shape) != 2:
            raise ValueError(f"shape={tuple(shape)}: the signal encoder takes (channels, length).")
        widths = shape[0], width, 2 * width, 4 * width, embedding_dim
        blocks = [
            nn.Sequential(
                nn.Conv1d(source, target, 5, stride=2, padding=2, bias=False),
                nn.BatchNorm1d(target),
                nn.ReLU(inplace=True),
            )
            for source, target in zip(widths, widths[1:], strict=False)
        ]
        super().__init__(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten())

    @property
    def hidden_layer(self) -> nn.Module:
        """The block before the last; its output is (B, 4 width, l)."""
        return self[2]


class MLPEncoder(nn.Sequential):
    """Two hidden layers with ReLU, (B, features) to (B, D); ``nonnegative`` ends it with a ReLU as well."""

    def __init__(
        self, shape: tuple[int], embedding_dim: int = 128, hidden: int = 128, nonnegative: bool = False
    ):
        if len(shape) != 1:
            raise ValueError(f"shape={tuple(shape)}: the MLP encoder takes vectors, shape (features,).")
        layers = [nn.Linear(shape[0], hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        layers.append(nn.Linear(hidden, embedding_dim))
        super().__init__(*layers, *([nn.ReLU()] if nonnegative else []))

    @property
    def hidden_layer(self) -> nn.Module:
        """The second ReLU; its output is (B, hidden)."""
        return self[3]


class ResNet18Encoder(nn.Module):
    """torchvision's ResNet-18 from scratch, for (B, C, H, W) or, with frames, (B, C, T, H, W); C from 1 to 3.

    The embedding has 512 non-negative components. Convolutions are initialized as in the OGM-GE and DGL
    code, Kaiming (fan out).
    """

    def __init__(self, shape: tuple[int, ...], embedding_dim: int = 512):
        super().__init__()
        if embedding_dim != 512:
            raise ValueError(f"embedding_dim={embedding_dim}: a ResNet-18 gives 512; set embedding_dim=512.")
        if not 1 <= shape[0] <= 3:
            raise ValueError(f"shape={shape}: a ResNet-18 encoder takes 1 to 3 channels.")
        from torchvision.models import resnet18

        self.network = resnet18(weights=None)
        if shape[0] != 3:
            self.network.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.network.fc = nn.Identity()
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def hidden_layer(self) -> nn.Module:
        """The third of four stages; its output is (B, 256, h, w)."""
        return self.network.layer3

    def forward(self, x: Tensor) -> Tensor:
        return over_frames(self.network, x)


def over_frames(network, x: Tensor) -> Tensor:
    """``network`` on (B, C, H, W), or on each frame of (B, C, T, H, W) with the embeddings averaged."""
    if x.ndim == 4:
        return network(x)
    folded = x.transpose(1, 2).flatten(0, 1)
    return network(folded).unflatten(0, (-1, x.shape[2])).mean(dim=1)


ENCODERS = {"conv": ConvEncoder, "signal": SignalEncoder, "mlp": MLPEncoder, "resnet18": ResNet18Encoder}


class Fusion(nn.Module):
    """Maps embeddings {modality: (B, D)} to logits (B, C).

    A modality missing from the dict is absent for all samples. ``present`` maps a modality to a boolean (B,):
    where it is False, what the encoder gave has no influence.
    """

    kind = ""  # its name in FUSIONS

    def __init__(self, modalities: tuple[str, ...], embedding_dim: int, num_classes: int):
        super().__init__()
        self.modalities, self.embedding_dim, self.num_classes = tuple(modalities), embedding_dim, num_classes

    def _pair(self) -> None:
        if len(self.modalities) != 2:
            raise ValueError(
                f"fusion={self.kind!r} is defined for two modalities, and there are {len(self.modalities)}: "
                "use 'concat' or 'sum'."
            )

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each modality's share of the fused logits; an empty dict where the head is not linear."""
        return {}


def _masked(z: Tensor, present: Tensor | None) -> Tensor:
    # torch.where and not a product, and before any weight sees it, so that a NaN of an absent sample stays
    # out of the logits and of every gradient.
    return z if present is None else torch.where(present[:, None], z, torch.zeros_like(z))


class ConcatFusion(Fusion):
    """logits = W [z_1; ...; z_M] + b, absent modalities as zeros. A modality's share is W_m z_m + b / M."""

    kind = "concat"

    def __init__(self, modalities, embedding_dim, num_classes):
        super().__init__(modalities, embedding_dim, num_classes)
        self.linear = nn.Linear(len(self.modalities) * embedding_dim, num_classes)

    def weights(self) -> dict[str, Tensor]:
        """The block W_m (C, D) of each modality."""
        return dict(zip(self.modalities, self.linear.weight.split(self.embedding_dim, dim=1), strict=True))

    def forward(self, embeddings, present=None):
        present, weights = present or {}, self.weights()
        terms = [F.linear(_masked(z, present.get(m)), weights[m]) for m, z in embeddings.items()]
        return sum(terms) + self.linear.bias

    def unimodal_logits(self, embeddings):
        weights, bias = self.weights(), self.linear.bias / len(self.modalities)
        return {m: F.linear(z, weights[m], bias) for m, z in embeddings.items()}


class SumFusion(Fusion):
    """logits = sum_m (W_m z_m + b_m) over the modalities that are present."""

    kind = "sum"

    def __init__(self, modalities, embedding_dim, num_classes):
        super().__init__(modalities, embedding_dim, num_classes)
        self.linears = nn.ModuleDict({m: nn.Linear(embedding_dim, num_classes) for m in self.modalities})

    def forward(self, embeddings, present=None):
        present = present or {}
        embeddings = {m: _masked(z, present.get(m)) for m, z in embeddings.items()}
        return sum(_masked(z, present.get(m)) for m, z in self.unimodal_logits(embeddings).items())

    def unimodal_logits(self, embeddings):
        return {m: self.linears[m](z) for m, z in embeddings.items()}


class SharedFusion(Fusion):
    """logits = mean over the present modalities of W z_m + b: one linear head for every modality."""

    kind = "shared"

    def __init__(self, modalities, embedding_dim, num_classes):
        super().__init__(modalities, embedding_dim, num_classes)
        self.linear = nn.Linear(embedding_dim, num_classes)

    def forward(self, embeddings, present=None):
        present = present or {}
        first = next(iter(embeddings.values()))
        everyone = torch.ones(len(first), dtype=torch.bool, device=first.device)
        counts = sum(present.get(m, everyone).to(first.dtype) for m in embeddings)
        total = sum(_masked(z, present.get(m)) for m, z in embeddings.items())
        return self.linear(total / counts.clamp_min(1)[:, None])

    def unimodal_logits(self, embeddings):
        return {m: self.linear(z) for m, z in embeddings.items()}


def _swapped(first: Tensor | None, second: Tensor | None, present: Tensor | None) -> Tensor:
    """``first``, and ``second`` in its place wherever the first is absent."""
    if first is None:
        return second
    if second is None or present is None:
        return first
    return torch.where(present[:, None], first, second)


class GatedFusion(Fusion):
    """logits = W_o (sigmoid(W_x z_x) * W_y z_y) + b, gate from the first modality (arXiv 1802.02892).

    Where one modality is absent the other takes both places, sigmoid(h) * h, as in DGL's unimodal branch.
    """

    kind = "gated"

    def __init__(self, modalities, embedding_dim, num_classes):
        super().__init__(modalities, embedding_dim, num_classes)
        self._pair()
        self.projections = nn.ModuleDict(
            {m: nn.Linear(embedding_dim, embedding_dim) for m in self.modalities}
        )
        self.linear = nn.Linear(embedding_dim, num_classes)

    def forward(self, embeddings, present=None):
        present = present or {}
        x, y = self.modalities
        projected = {m: self.projections[m](_masked(z, present.get(m))) for m, z in embeddings.items()}
        gate = _swapped(projected.get(x), projected.get(y), present.get(x))
        value = _swapped(projected.get(y), projected.get(x), present.get(y))
        return self.linear(torch.sigmoid(gate) * value)


class FiLMFusion(Fusion):
    """[gamma, beta] = W_f z_x; logits = W_o (gamma * z_y + beta) + b (arXiv 1709.07871).

    The first modality conditions. This is FiLM as its paper has it; the class of that name in DGL's code is a
    bilinear outer product. Where one modality is absent the other takes both places.
    """

    kind = "film"

    def __init__(self, modalities, embedding_dim, num_classes):
        super().__init__(modalities, embedding_dim, num_classes)
        self._pair()
        self.condition = nn.Linear(embedding_dim, 2 * embedding_dim)
        self.linear = nn.Linear(embedding_dim, num_classes)

    def forward(self, embeddings, present=None):
        present = present or {}
        x, y = self.modalities
        embeddings = {m: _masked(z, present.get(m)) for m, z in embeddings.items()}
        condition = _swapped(embeddings.get(x), embeddings.get(y), present.get(x))
        value = _swapped(embeddings.get(y), embeddings.get(x), present.get(y))
        gamma, beta = self.condition(condition).chunk(2, dim=1)
        return self.linear(gamma * value + beta)


FUSIONS: dict[str, type[Fusion]] = {
    fusion.kind: fusion for fusion in (ConcatFusion, SumFusion, SharedFusion, GatedFusion, FiLMFusion)
}


@dataclass(frozen=True)
class ModelOutput:
    """embeddings {modality: (B, D)}, fused logits (B, C), unimodal_logits {modality: (B, C)}."""

    embeddings: dict[str, Tensor]
    logits: Tensor
    unimodal_logits: dict[str, Tensor]


class MultimodalClassifier(nn.Module):
    """One encoder a modality, one fusion, and optionally a linear head of its own for each modality.

    Args:
        encoders: modality -> module that maps its input to (B, D).
        fusion: a ``Fusion`` over the same modalities.
        heads: whether each modality has its own head; then these give the unimodal logits.
        unit_sphere: whether embeddings are divided by their norms before anything sees them.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: Fusion,
        heads: bool = False,
        unit_sphere: bool = False,
    ):
        super().__init__()
        if tuple(encoders) != fusion.modalities:
            raise ValueError(
                f"encoders for {tuple(encoders)} and a fusion of {fusion.modalities}: name the same ones."
            )
        self.encoders, self.fusion = nn.ModuleDict(encoders), fusion
        self.unit_sphere = unit_sphere
        linear = {m: nn.Linear(fusion.embedding_dim, fusion.num_classes) for m in encoders} if heads else {}
        self.heads = nn.ModuleDict(linear)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.fusion.modalities

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings {modality: (B, D)} of the modalities in ``inputs``, in the model's order."""
        unknown = set(inputs) - set(self.modalities)
        if unknown or not inputs:
            raise ValueError(
                f"inputs for {sorted(inputs)}: the model has the modalities {list(self.modalities)}."
            )
        embeddings = {m: self.encoders[m](inputs[m]) for m in self.modalities if m in inputs}
        if self.unit_sphere:
            return {m: F.normalize(z, dim=1) for m, z in embeddings.items()}
        return embeddings

    def unimodal_logits(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits (B, C) of each modality alone: its own head's, otherwise its share of a linear fusion."""
        if self.heads:
            return {m: self.heads[m](z) for m, z in embeddings.items()}
        return self.fusion.unimodal_logits(embeddings)

    def forward(
        self, inputs: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> ModelOutput:
        """Run on ``inputs``; leave a modality out, or mask samples by ``present``, boolean (B,) each."""
        embeddings = self.encode(inputs)
        return ModelOutput(embeddings, self.fusion(embeddings, present), self.unimodal_logits(embeddings))


def build_model(
    data,
    *,
    fusion: str = "concat",
    embedding_dim: int = 128,
    heads: bool = False,
    unit_sphere: bool = False,
    encoder: str = "auto",
    encoder_options: Mapping | None = None,
) -> MultimodalClassifier:
    """A classifier for ``data`` (its ``modalities``, ``shapes`` and ``num_classes``).

    ``encoder="auto"`` takes an MLP for vectors, and a small convolutional encoder for images, spectrograms
    and, in one dimension, signals. Encoders are built first and heads last, so that the same seed gives the
    same encoders with and without heads. With "resnet18", fusion and heads start as in the code of OGM-GE and
    DGL, Xavier and zero biases; else as PyTorch has it.
    """
    for argument, value, known in [("fusion", fusion, FUSIONS), ("encoder", encoder, ("auto", *ENCODERS))]:
        if value not in known:
            raise ValueError(f"{argument}={value!r} is unknown: choose one of {', '.join(known)}.")

    def make(shape):
        kind = encoder if encoder != "auto" else {1: "mlp", 2: "signal"}.get(len(shape), "conv")
        return ENCODERS[kind](shape, embedding_dim, **(encoder_options or {}))

    encoders = {m: make(data.shapes[m]) for m in data.modalities}
    head = FUSIONS[fusion](data.modalities, embedding_dim, data.num_classes)
    model = MultimodalClassifier(encoders, head, heads, unit_sphere)
    if encoder == "resnet18":
        for module in (*model.fusion.modules(), *model.heads.modules()):
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)
    return model


@dataclass(frozen=True)
class Encoded:
    """Samples seen through a model: embeddings {modality: (N, D)} and labels (N,), on its device."""

    embeddings: dict[str, Tensor]
    labels: Tensor


@torch.no_grad()
def encode(
    model: MultimodalClassifier,
    split,
    index: Tensor | None = None,
    *,
    modalities: Sequence[str] | None = None,
    noise: float = 0.0,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
    embed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None,
    batch_size: int = 256,
) -> Encoded:
    """Embed a split in evaluation mode; the model's mode is left as it was.

    Args:
        model: what to embed with.
        split: anything with ``len``, ``batch(index)`` and ``prepare(inputs)``.
        index: (N,), which samples; all of the split's by default.
        modalities: which to embed; all of the model's by default.
        noise: standard deviation of Gaussian noise added to the inputs, in units of each input's own standard
            deviation over the batch. The noise is fixed by the sample's position and ``batch_size``.
        change: (inputs (B, ...) of one modality, indices (B,) of their samples) -> inputs to embed instead.
        embed: inputs -> what is returned as embeddings; ``model.encode`` by default.
        batch_size: samples a forward pass.
    """
    device = next(model.parameters()).device
    modalities = tuple(modalities or model.modalities)
    index = torch.arange(len(split)) if index is None else index
    was_training = model.training
    model.eval()
    parts: dict[str, list[Tensor]] = {m: [] for m in modalities}
    labels = []
    for number, chunk in enumerate(index.split(batch_size)):
        batch = split.batch(chunk)
        inputs = split.prepare({m: batch["inputs"][m].to(device) for m in modalities})
        if noise:
            generator = torch.Generator().manual_seed(number * batch_size)
            for m, x in inputs.items():
                standard = torch.randn(x.shape, generator=generator).to(device)
                inputs[m] = x + noise * x.std() * standard
        if change is not None:
            inputs = {m: change(x, chunk) for m, x in inputs.items()}
        for m, z in (embed or model.encode)(inputs).items():
            parts[m].append(z)
        labels.append(batch["label"].to(device))
    model.train(was_training)
    return Encoded({m: torch.cat(z) for m, z in parts.items()}, torch.cat(labels))


def fixed_sample(split, count: int) -> Tensor:
    """Indices (N,) of ``count`` samples, at least one and at most all; the same every time.

    So two looks at them differ by the model alone, and torch's generator is left as it was.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(len(split), generator=generator)[: max(count, 1)]
