"""A starter for projects: the five ideas of the course as small protocols. Copy it and keep one of them.

    python -m experiments.project map               # trains the quick form, in under a minute
    python -m experiments.project map --summary     # prints its table
    python -m experiments.project map --full        # the same with more seeds and whole training

The quick form shows that everything runs, and its numbers mean nothing: few seeds, short training, and
scikit-learn's digits in the place of spoken ones. Write the protocol before you call ``--full``. In both
forms the development seeds pick the setting of every arm on validation, arms have equally many settings, and
other seeds test what was picked. Records go to ``build/project``; ``--out`` takes another folder.

``map`` and ``radius`` vary the world and the regularizer, ``reader`` what trains the read-out, and ``sphere``
whether embeddings are normalized. ``foretell`` trains nothing: it orders recorded gains by a diagnostic.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomreg_mini import GeometryRegularizer
from geomreg_mini.controls import UnitSphere

from . import regimes, toy
from .study import MODERATE, UNSEEN_SPEAKERS, Arm, Cell, Study

RATES, IDEAS = (0.02, 0.05), ("map", "reader", "sphere", "radius", "foretell")
QUICK = {"epochs": 12, "evaluate_every": 6}
FEW = {"source": "embedded", "labels": 300, "image_noise": 0.8}  # scikit-learn's digits: nothing to download


def tried(**fields: Any) -> Arm:
    """Return an arm with these fields of ``TrainConfig`` and one setting per learning rate."""
    return Arm({f"rate-{rate}": {"learning_rate": rate, **fields} for rate in RATES})


def arms_of(idea: str) -> dict[str, Arm]:
    """Return the competitors of an idea; "none" is the baseline of all."""
    band, strong = GeometryRegularizer(**MODERATE), GeometryRegularizer(1.0, 0.3, radius=0.3)
    return {"none": tried()} | {
        "map": {"both terms": tried(regularizer=strong), "no geometry": tried(paradigm="uniform_sum")},
        "reader": {
            "band": tried(regularizer=band),
            "band on the logits": tried(regularizer=band, depth="logits"),
            "no geometry": tried(paradigm="uniform_sum"),
        },
        "sphere": {"unit sphere": tried(regularizer=UnitSphere()), "band": tried(regularizer=band)},
        "radius": {
            f"radius {radius}": tried(regularizer=GeometryRegularizer(**MODERATE | {"radius": radius}))
            for radius in (0.2, 0.8)
        },
    }[idea]


def study_of(idea: str, full: bool = False) -> Study:
    """Return the protocol of an idea that trains, in its quick or its full form."""
    development, seeds = (range(3), range(10, 20)) if full else (range(1), range(10, 12))
    digits = UNSEEN_SPEAKERS if full else UNSEEN_SPEAKERS | QUICK | {"dataset_options": FEW}

    def cell(columns: Mapping[str, Any], config: Mapping[str, Any]) -> Cell:
        return Cell({"idea": idea, **columns}, config, arms_of(idea), seeds, development)

    if idea != "map":
        cells: Sequence[Cell] = [cell({}, digits)]
        path = "{idea}/seed{seed}/{arm}-{setting}.json"
    else:
        whole = {"dataset": "toy", "embedding_dim": 16, "encoder_options": {"hidden": 64}}
        whole |= {"epochs": 60, "evaluate_every": 10} if full else QUICK
        cells = [
            cell({"imbalance": x, "share": y}, whole | {"dataset_options": toy.world(300, x, y)})
            for x in ((0.0, 0.6, 0.8) if full else (0.0, 0.6))
            for y in ((0.0, 0.5, 1.0) if full else (0.0,))
        ]
        path = "{idea}/imbalance{imbalance}-share{share}/seed{seed}/{arm}-{setting}.json"
    return Study(
        name=f"project {idea}", path=path, cells=tuple(cells), against="none",
        folder=f"build/project/{'full' if full else 'quick'}",
    )  # fmt: skip


def median_distance(study: Study, folder: str | Path) -> float:
    """Return the radius that half of the validation pairs of the untouched model exceed, for "radius"."""
    frame = study.load(folder, [cell.tuning() for cell in study.cells])
    untouched = frame[(frame["arm"] == "none") & frame["selected"]]
    return float(untouched.filter(like="validation/paired_distance_q50/").to_numpy().mean())


def foretell(diagnostic: str, metric: str, paradigm: str = "joint", draws: int = 2000) -> tuple[float, float]:
    """Return (the rank correlation of a baseline's diagnostic with the gain, over regimes; its p-value).

    The p-value counts permutations of the gains among regimes. It takes regimes for independent, which they
    are not, and knows nothing of other diagnostics that were tried.
    """
    from numpy.random import default_rng
    from scipy.stats import PermutationMethod, pearsonr

    frame = regimes.STUDY.load("results/digits")
    gains = regimes.STUDY.gains(frame, metric).set_index("regime")
    gains = gains[gains["paradigm"] == paradigm]["mean"]
    baseline = frame[(frame["arm"] == "baseline") & frame["selected"]].groupby("regime")[diagnostic].mean()
    chance = PermutationMethod(n_resamples=draws, random_state=default_rng(0))
    found = pearsonr(baseline[gains.index].rank(), gains.rank(), method=chance)
    return float(found.statistic), float(found.pvalue)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    more = "of every study: --jobs N, --summary, --csv FILE"
    parser = argparse.ArgumentParser(prog="python -m experiments.project", epilog=more)
    parser.add_argument("idea", choices=IDEAS)
    parser.add_argument("--full", action="store_true", help="whole training and more seeds, for hours")
    parser.add_argument("--out", type=Path, help="folder of the records")
    options, others = parser.parse_known_args(arguments)
    if options.idea == "foretell":
        for diagnostic in ("mean_cosine/audio", "mean_cosine/image", "paired_drift/audio-image"):
            found, p = foretell(f"test/{diagnostic}", "test/accuracy/fused")
            print(f"{diagnostic:24s} and the fused gain: rank correlation {found:+.1f}, p = {p:.2f}")
        return 0
    study = study_of(options.idea, options.full)
    folder = options.out or Path(study.folder)
    status = study.main(arguments=["--out", str(folder), *others])
    if options.idea == "radius" and "--summary" in others and not status:
        print(f"Untouched model: half of the pairs exceed {median_distance(study, folder):.2f}.")
    return status


if __name__ == "__main__":
    sys.exit(main())
