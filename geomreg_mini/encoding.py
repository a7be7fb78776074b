"""A split, or some of its samples, through a model as it stands: what probes and diagnostics look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .models import MultimodalClassifier


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
