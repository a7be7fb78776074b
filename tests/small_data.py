"""In-memory data sets of a few dozen samples, for tests that train."""

import numpy as np
import torch

from data_scripts.karpathy import Captioned
from geomreg_mini.benchmarks.captioned import CaptionedSplit
from geomreg_mini.benchmarks.cubicc import BirdDataset
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


def birds(size: int = 48, *, side: int = 16, length: int = 8, classes: int = 3) -> BirdDataset:
    """CUBICC's form: planes as bright as the class, and sentences with the class's word, both under noise."""
    generator = torch.Generator().manual_seed(0)

    def split() -> Split:
        labels = torch.arange(size) % classes
        image = (labels[:, None, None, None] + torch.rand(size, 3, side, side, generator=generator)) / classes
        noise = torch.randint(classes, 2 * classes, (size, length), generator=generator)
        said = torch.rand(size, length, generator=generator) < 0.5
        return Split({"image": image, "caption": torch.where(said, labels[:, None], noise)}, labels)

    made = dataset({"image": (3, side, side), "caption": (length,)}, classes, split(), split(), split())
    return BirdDataset(**vars(made), vocabulary=2 * classes)


RADIO = {"mmWave": (3, 64, 32), "WiFi": (5, 64), "RFID": (2, 40)}


def radio(size: int = 36, shapes=RADIO) -> MultimodalDataset:
    """XRF55's three modalities, by default in small, whose mean tells one of three classes."""
    generator = torch.Generator().manual_seed(0)

    def split() -> Split:
        labels = torch.arange(size) % 3
        values = {
            m: torch.randn(size, *shape, generator=generator) + 2 * labels.view(-1, *[1] * len(shape))
            for m, shape in shapes.items()
        }
        return Split(values, labels)

    return dataset(shapes, 3, split(), split(), split())


def pictures(images: int, *, captions: int = 1, side: int = 16, folds: int = 0) -> MultimodalDataset:
    """Noise with made-up captions in the form of Flickr30K: each split has as many ``images``."""
    rng = np.random.default_rng(0)
    n = 3 * images
    said = tuple(tuple(f"picture {i} {'again ' * k}" for k in range(captions)) for i in range(n))
    pixels = rng.integers(0, 255, (n, side, side, 3), dtype=np.uint8)
    cache = Captioned(pixels, tuple(map(str, range(n))), said, ("train",) * n, "", {}, {})

    def split(number: int) -> CaptionedSplit:
        rows = torch.arange(number * images, (number + 1) * images)
        return CaptionedSplit({}, torch.zeros_like(rows), {"image": rows}, cache, folds=folds * (number == 2))

    shapes = {"image": (3, side, side), "caption": (77,)}
    return dataset(shapes, 1, *map(split, range(3)))
