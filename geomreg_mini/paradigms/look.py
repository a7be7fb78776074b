"""A look at part of a split through the model as it stands, for what a paradigm decides between epochs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import MultimodalClassifier


def fixed_sample(split, count: int) -> Tensor:
    """Indices (N,) of ``count`` samples, at least one and at most all; the same every time.

    So two looks at them differ by the model alone, and torch's generator is left as it was.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(len(split), generator=generator)[: max(count, 1)]


@torch.no_grad()
def look(
    model: MultimodalClassifier, split, index: Tensor, batch_size: int = 256
) -> tuple[dict[str, Tensor], Tensor]:
    """Embeddings {modality: (N, D)} and labels (N,) of the samples at ``index`` (N,), in evaluation mode.

    They lie on the model's device. The model's mode is left as it was.
    """
    device, mode = next(model.parameters()).device, model.training
    model.eval()
    parts, labels = [], []
    for chunk in index.split(batch_size):
        batch = split.batch(chunk)
        parts.append(model.encode(split.prepare({m: x.to(device) for m, x in batch["inputs"].items()})))
        labels.append(batch["label"].to(device))
    model.train(mode)
    return {m: torch.cat([part[m] for part in parts]) for m in parts[0]}, torch.cat(labels)
