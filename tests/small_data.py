"""In-memory data sets of a few dozen samples, for tests that train."""

import torch

from geomreg_mini.data import MultimodalDataset, Split, fingerprint

NAMES = ("a", "b", "c")


def clouds(modalities: int = 2, *, size: int = 48, num_classes: int = 3, width: int = 6, seed: int = 0):
    """Gaussian clouds around one center a class: modalities "a", "b", "c" of shape (width,)."""
    generator = torch.Generator().manual_seed(seed)
    names = NAMES[:modalities]
    centers = {m: 2 * torch.randn(num_classes, width, generator=generator) for m in names}

    def split() -> Split:
        labels = torch.arange(size) % num_classes
        noise = {m: torch.randn(size, width, generator=generator) for m in names}
        return Split({m: centers[m][labels] + noise[m] for m in names}, labels)

    return dataset({m: (width,) for m in names}, num_classes, split(), split(), split())


def dataset(shapes, num_classes, train, validation, test) -> MultimodalDataset:
    return MultimodalDataset(
        name="toy",
        modalities=tuple(shapes),
        num_classes=num_classes,
        shapes=shapes,
        train=train,
        validation=validation,
        test=test,
        licence="CC0-1.0",
        source="generated",
        note="",
        fingerprint=fingerprint(train, validation, test),
        class_names=tuple(str(k) for k in range(num_classes)),
    )
