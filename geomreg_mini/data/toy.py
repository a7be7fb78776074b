"""Toy data with known true factors, to check which of them a representation keeps or loses.

Two vector modalities, ``a`` and ``b``, are two views of one event. Behind a sample with label ``y`` stand

- a *shared* factor ``s``, which both modalities see;
- a *private* factor ``p_m`` of each modality ``m``, which the other one does not see;
- *nuisance* factors ``n_m``: strong, private, and unrelated to the label.

A modality observes ``x_m = tanh(Q_m [g_m s, g_m p_m, n_m]) + noise_m * e_m``, where ``Q_m`` has random
orthonormal columns and ``g_m`` is its signal strength.
"""

import math

import torch

from ..inputs import check_number, check_whole
from .dataset import MultimodalDataset, Split

MODALITIES = ("a", "b")


def load(
    seed: int = 0,
    *,
    num_classes: int = 4,
    train_size: int = 400,
    validation_size: int = 400,
    test_size: int = 1000,
    separation: float = 4.0,
    private_share: float = 0.0,
    shared_dim: int = 4,
    private_dim: int = 4,
    nuisance_dim: int = 8,
    nuisance: float | dict[str, float] = 1.0,
    noise: float | dict[str, float] = 0.1,
    imbalance: float = 0.0,
    input_dim: int = 32,
) -> MultimodalDataset:
    """Return a random toy data set; ``seed`` fixes the world (centers, mixing) and the samples.

    Args:
        num_classes: number of classes C >= 2, equally likely.
        train_size, validation_size, test_size: number of samples of each split.
        separation: distance of the class centers from the origin, in units of the spread within a class; 0
            leaves nothing to learn.
        private_share: in [0, 1], the share of the squared separation that sits in the private factors.
            Arrange the classes in a square table: the private factor of ``a`` depends only on the row, that
            of ``b`` only on the column. At 1 both modalities together determine the class, but neither does
            alone; at 0 the private factors do not depend on the class and each modality alone is sufficient.
        shared_dim, private_dim, nuisance_dim: widths of the factors.
        nuisance: standard deviation of the nuisance factors, one number or ``{"a": ..., "b": ...}``.
        noise: standard deviation of the observation noise, one number or one per modality.
        imbalance: in [0, 1], how much weaker ``b`` shows its shared and private factors: ``g_a`` is 1 and
            ``g_b`` is 1 - imbalance. Without noise ``b`` has the same information and is only slower to learn
            from.
        input_dim: width of both observations, at least ``shared_dim + private_dim + nuisance_dim``.

    Returns:
        A ``MultimodalDataset`` with inputs ``a`` and ``b`` of shape (N, input_dim). ``Split.factors`` holds
        ``shared`` (N, shared_dim), ``private_a``, ``private_b`` (N, private_dim), ``nuisance_a`` and
        ``nuisance_b`` (N, nuisance_dim).

    Raises:
        ValueError: if an argument is outside its range.
    """
    nuisance, noise = _per_modality("nuisance", nuisance), _per_modality("noise", noise)
    check_whole(2, num_classes=num_classes)
    check_number(0, separation=separation)
    check_number(0, 1, private_share=private_share, imbalance=imbalance)
    check_whole(1, train_size=train_size, validation_size=validation_size, test_size=test_size)
    check_whole(1, shared_dim=shared_dim, private_dim=private_dim)
    check_whole(0, nuisance_dim=nuisance_dim)
    width = shared_dim + private_dim + nuisance_dim
    check_whole(width, input_dim=input_dim)

    generator = torch.Generator().manual_seed(seed)
    rows = math.ceil(math.sqrt(num_classes))
    classes = torch.arange(num_classes)
    group = {"a": classes // rows, "b": classes % rows}
    shared_centers = _centers(num_classes, shared_dim, generator)
    private_centers = {m: _centers(rows, private_dim, generator)[group[m]] for m in MODALITIES}
    mixing = {m: torch.linalg.qr(torch.randn(input_dim, width, generator=generator)).Q for m in MODALITIES}
    strength = {"a": 1.0, "b": 1.0 - imbalance}
    shared_scale = separation * math.sqrt(1 - private_share)
    private_scale = separation * math.sqrt(private_share)

    def draw(size: int) -> Split:
        # Balanced classes in random order, so that small sets do not differ in class counts by chance.
        labels = (torch.arange(size) % num_classes)[torch.randperm(size, generator=generator)]
        shared = shared_scale * shared_centers[labels] + torch.randn(size, shared_dim, generator=generator)
        inputs, factors = {}, {"shared": shared}
        for m in MODALITIES:
            private = private_scale * private_centers[m][labels]
            private = private + torch.randn(size, private_dim, generator=generator)
            unrelated = nuisance[m] * torch.randn(size, nuisance_dim, generator=generator)
            hidden = torch.cat([strength[m] * shared, strength[m] * private, unrelated], dim=1)
            clean = torch.tanh(hidden @ mixing[m].T)
            inputs[m] = clean + noise[m] * torch.randn(size, input_dim, generator=generator)
            factors |= {f"private_{m}": private, f"nuisance_{m}": unrelated}
        return Split(inputs=inputs, labels=labels, factors=factors)

    return MultimodalDataset(
        name="toy",
        num_classes=num_classes,
        train=draw(train_size),
        validation=draw(validation_size),
        test=draw(test_size),
        licence="CC0-1.0",
        source="generated when loaded, see geomreg_mini/data/toy.py",
    )


def _centers(count: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Return (count, dim) unit vectors in random directions, orthogonal to one another if dim allows."""
    directions = torch.randn(dim, count, generator=generator)
    if count <= dim:
        return torch.linalg.qr(directions).Q.T
    return torch.nn.functional.normalize(directions, dim=0).T


def _per_modality(name: str, value: float | dict[str, float]) -> dict[str, float]:
    values = value if isinstance(value, dict) else dict.fromkeys(MODALITIES, value)
    if set(values) != set(MODALITIES):
        raise ValueError(
            f"{name} has the modalities {sorted(values)}; give one number, or one for a and for b."
        )
    check_number(0, **{f"{name} of modality {m}": v for m, v in values.items()})
    return values
