"""The states of two pictures of the live canvas (`make gif`): the README's, and that of notebook 00.

    python -m lab.film FOLDER    # in notebooks/: writes collapse.json and forces.json

`geomreg-course picture` draws them. The README's moves: one seed of notebook 01's run, without and with the
regularizer. `repaired` counts over others, because the same weights repair less on some of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from geomreg_mini import GeometryRegularizer
from geomreg_mini.data import load
from geomreg_mini.geometry import mean_cosine, paired_drift
from geomreg_mini.training import TrainConfig, fit

from .sphere import Sphere

# World, weights and configuration of notebook 01's picture, sections 1, 2 and 4.
WORLD = {"num_classes": 3, "train_size": 300, "imbalance": 0.8}
RADIUS = 0.3
WEIGHTS = {"dispersion_weight": 0.3, "anchoring_weight": 0.3, "temperature": 0.5, "radius": RADIUS}
EPOCHS = 60
SAMPLES = 100  # test samples drawn


def embeddings(regularized: bool, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Train once and return {modality: test embeddings (1000, 2)} before training and after each epoch."""
    data = load("toy", seed=seed, **WORLD)
    seen: list[dict[str, torch.Tensor]] = []

    def look(_epoch: int, model: torch.nn.Module) -> None:
        with torch.no_grad():
            seen.append(model(data.test.inputs).embeddings)

    config = TrainConfig(
        dataset="toy", dataset_options=WORLD, seed=seed, embedding_dim=2, encoder_options={"hidden": 64},
        regularizer=GeometryRegularizer(**WEIGHTS) if regularized else None, epochs=EPOCHS, evaluate_every=5,
    )  # fmt: skip
    fit(config, data=data, device="cpu", progress=False, on_epoch=look)
    return seen


def repaired(seeds: Iterable[int]) -> tuple[int, int]:
    """Count the seeds on which `b` is spread (mean cosine below 0.2), and those on which pairs agree (drift
    below 0.5), after training with the regularizer. The bounds are those of notebook 01, section 4."""
    last = [embeddings(True, seed)[-1] for seed in seeds]
    spread = sum(mean_cosine(z["b"]) < 0.2 for z in last)
    return spread, sum(paired_drift(z["a"], z["b"]) < 0.5 for z in last)


def collapse(epochs: Sequence[int] = (*range(0, 20), *range(20, EPOCHS + 1, 4))) -> list[dict[str, object]]:
    """Return two runs: the one with the regularizer waits until the one without has ended.

    A frame for each of `epochs`, in [0, 60].
    """
    labels = load("toy", seed=0, **WORLD).test.labels[:SAMPLES]
    told = {"names": ["fused"], "rows": [], "length": 1, "caption": ""}  # points from a training: no forces
    states = []
    for name, regularized in {"Without the regularizer": False, "With the regularizer": True}.items():
        seen = embeddings(regularized)
        views = [Sphere({m: z[:SAMPLES] for m, z in seen[k].items()}, labels, radius=RADIUS) for k in epochs]
        frames = [
            {"points": view.state()["points"], "title": f"{name}, epoch {epoch}"}
            for view, epoch in zip(views, epochs, strict=True)
        ]
        waiting = [frames[0] | {"title": name}] * (len(frames) if regularized else 0)
        states.append({**views[0].state(), "curves": told, "frames": waiting + frames})
    return states


def at_rest(
    crowds: dict[str, torch.Tensor],
    held: tuple[str, int] | None = None,
    rate: float = 0.04,
    steps: int = 1500,
    **values: float,
) -> dict[str, torch.Tensor]:
    """Return embeddings that have followed the gradient of the regularizer, one sample held in its place."""
    z = {m: F.normalize(x, dim=1) for m, x in crowds.items()}
    regularizer = GeometryRegularizer(**values)
    for _ in range(steps):
        z = {m: x.requires_grad_() for m, x in z.items()}
        pulls = torch.autograd.grad(regularizer(z).total, list(z.values()))
        if held:
            pulls[list(z).index(held[0])][held[1]] = 0
        moved = {m: x.detach() - rate * len(x) * pull for (m, x), pull in zip(z.items(), pulls, strict=True)}
        z = {m: F.normalize(x, dim=1) for m, x in moved.items()}
    return z


def forces() -> list[dict[str, object]]:
    """Return notebook 00's two rings: an outer point dragged to 66 degrees, then held there by a hand."""
    even = torch.arange(5) * 2 * torch.pi / 5
    angles = {"audio": torch.cat([torch.tensor([66 / 180 * torch.pi]), even[1:]]), "image": even + 0.35}
    dragged = {m: torch.stack([a.cos(), a.sin()], dim=1) for m, a in angles.items()}
    states = []
    for title, weights in {"Dragged": (0, 0), "Anchoring alone": (0, 1), "Dispersion alone": (1, 0)}.items():
        values = {"dispersion_weight": float(weights[0]), "anchoring_weight": float(weights[1])}
        view = Sphere(at_rest(dragged, ("audio", 0), steps=1500 * any(weights), **values), **values)
        states.append({**view.state(), "title": title})
    return states


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lab.film", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the states are written")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, states in {"collapse": collapse(), "forces": forces()}.items():
        (folder / f"{name}.json").write_text(json.dumps(states))
    print("seeds 0 to 9: b is spread on {} and pairs agree on {}".format(*repaired(range(10))))
