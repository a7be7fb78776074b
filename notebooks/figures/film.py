"""The README's moving picture: notebook 01's run without and with the regularizer (`make gif`).

    python -m figures.film FILE.gif    # in notebooks/

One seed is shown, and `repaired` counts over others, because the same weights repair less on some of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import torch

from geomreg_mini import GeometryRegularizer, plots
from geomreg_mini.data import load
from geomreg_mini.geometry import mean_cosine, paired_drift
from geomreg_mini.training import TrainConfig, fit

# World, weights and configuration of notebook 01's picture, sections 1, 2 and 4.
WORLD = {"num_classes": 3, "train_size": 300, "imbalance": 0.8}
RADIUS = 0.3
WEIGHTS = {"dispersion_weight": 0.3, "anchoring_weight": 0.3, "temperature": 0.5, "radius": RADIUS}
EPOCHS = 60
SAMPLES = 150  # test samples drawn; lines join the two embeddings of the first 60


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


def write(path: str, epochs: Sequence[int] = (*range(0, 20), *range(20, EPOCHS + 1, 4))) -> None:
    """Write the GIF with one frame for each of `epochs`, in [0, 60]; the last one stays for three seconds."""
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation, PillowWriter

    plots.use_style()
    labels = load("toy", seed=0, **WORLD).test.labels[:SAMPLES]
    runs = {"Without the regularizer": embeddings(False), "With the regularizer": embeddings(True)}
    fig, axes = plt.subplots(2, 2, figsize=(6.6, 5.4), height_ratios=(2.4, 1), sharey="row")

    def draw(epoch: int) -> None:
        for (name, seen), (circle, distances) in zip(runs.items(), axes.T, strict=True):
            circle.clear()
            distances.clear()
            some = {m: z[:SAMPLES] for m, z in seen[epoch].items()}
            plots.embeddings_on_circle(some, labels, radius=RADIUS, links=60, title=name, ax=circle)
            circle.get_legend().remove()
            circle.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xlabel="outer ring a, inner ring b")
            plots.drift_histogram({"pairs": (some["a"], some["b"])}, RADIUS, ax=distances)
            distances.set(ylim=(0, 60), xlabel="distance of a pair", ylabel="pairs")
            distances.legend(loc="upper right", fontsize=9)
        fig.suptitle("Before training" if epoch == 0 else f"Epoch {epoch}", x=0.5)

    frames = [*epochs, *[epochs[-1]] * 30]
    FuncAnimation(fig, draw, frames).save(path, PillowWriter(fps=10), dpi=100)
    plt.close(fig)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m figures.film", description=__doc__.split("\n")[0])
    parser.add_argument("file", help="the GIF to write")
    write(parser.parse_args().file)
    print("seeds 0 to 9: b is spread on {} and pairs agree on {}".format(*repaired(range(10))))
