"""The regularizer on top of every training paradigm, on digits and on three and six views of digits.

    python -m geomreg_mini.paradigm_table --jobs 2        # resumable; skips what is recorded

The protocol, fixed before any test number was looked at. For every data set, paradigm and seed, two *first*
runs try the two settings in ``FIRST``; fused validation accuracy picks one. From there both arms have two
more runs: the *baseline* arm tries another learning rate and another weight decay (``MORE``), the
*regularized* arm two settings of the regularizer (``REGULARIZERS``). So each arm has cost four runs. Each
arm's best is picked by fused validation accuracy: the baseline from all four of its runs, the regularized arm
from its two, "no regularizer" not among them. The test split is read from the two picked runs only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .records import Record
from .regularizer import GeometryRegularizer
from .sweeps import best, command, paired_gains, recorded, work_through
from .training import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

SEEDS = (0, 1, 2, 3, 4)
# The published default first. Where a paradigm has nothing of its own to tune, the learning rate is.
FIRST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "joint": ({}, {"learning_rate": 0.01}),
    "uniform_sum": ({}, {"paradigm_options": {"unimodal_weight": 0.3}}),
    "unimodal": ({}, {"learning_rate": 0.01}),
    "g_blending": ({}, {"learning_rate": 0.06}),  # three weights that add up to one make short steps
    "ogm": ({}, {"paradigm_options": {"alpha": 0.3}}),
    "ogm_ge": ({}, {"paradigm_options": {"alpha": 0.3}}),
    "pmr": ({}, {"paradigm_options": {"alpha": 0.3}}),
    "agm": ({}, {"paradigm_options": {"alpha": 0.3}}),
    "mmpareto": ({}, {"paradigm_options": {"gamma": 1.0}}),
    "mla": ({}, {"learning_rate": 0.01}),
    "diagnose_relearn": ({}, {"paradigm_options": {"strength": 1.0}}),
    "dgl": ({}, {"paradigm_options": {"alpha": 1.0}}),
}
MORE: dict[str, dict[str, float]] = {"lr0.05": {"learning_rate": 0.05}, "wd0.005": {"weight_decay": 0.005}}
REGULARIZERS: dict[str, dict[str, float]] = {
    "moderate": {"dispersion_weight": 0.05, "anchoring_weight": 2.0, "temperature": 0.5, "radius": 0.4},
    "tight": {"dispersion_weight": 0.02, "anchoring_weight": 5.0, "temperature": 1.0, "radius": 0.3},
}
# Few labels and weak views for the multiview digits, which are easy otherwise.
DATASETS: dict[str, dict[str, Any]] = {
    "digits": {
        "dataset": "digits",
        "dataset_options": {
            "source": "spoken",
            "protocol": "unseen_speakers",
            "labels": None,
            "image_noise": 0.8,
        },
        "epochs": 12,
        "evaluate_every": 2,
    },
    "three_views": {
        "dataset": "multiview_digits",
        "dataset_options": {"labels": 200, "views": ["fou", "zer", "mor"]},
        "epochs": 40,
        "evaluate_every": 10,
    },
    "six_views": {
        "dataset": "multiview_digits",
        "dataset_options": {"labels": 200},
        "epochs": 40,
        "evaluate_every": 10,
    },
}
RUNS = 2 + len(MORE) + len(REGULARIZERS)


def config(
    dataset: str,
    paradigm: str,
    seed: int,
    settings: Mapping[str, Any],
    regularizer: Mapping[str, float] | None = None,
) -> TrainConfig:
    """One run; MLA shares one head among the modalities, every other paradigm concatenates embeddings."""
    return TrainConfig(
        **DATASETS[dataset],
        paradigm=paradigm,
        fusion="shared" if paradigm == "mla" else "concat",
        regularizer=None if regularizer is None else GeometryRegularizer(**regularizer),
        seed=seed,
        **settings,
    )


def run_cell(dataset: str, paradigm: str, seed: int, folder: Path) -> int:
    """All runs of one data set, paradigm and seed, in the order that the protocol needs; returns how many."""
    from .data import load

    recipe = DATASETS[dataset]
    data = load(recipe["dataset"], seed=seed, **recipe["dataset_options"])
    here = folder / dataset / paradigm / f"seed{seed}"

    def run(name: str, settings: Mapping[str, Any], regularizer=None) -> Record:
        return recorded(here / f"{name}.json", config(dataset, paradigm, seed, settings, regularizer), data)

    first = {f"first-{i}": settings for i, settings in enumerate(FIRST[paradigm])}
    picked = first[best({name: run(name, settings) for name, settings in first.items()})]
    for name, change in MORE.items():
        run(f"more-{name}", {**picked, **change})
    for name, weights in REGULARIZERS.items():
        run(f"regularized-{name}", picked, weights)
    return RUNS


def run_table(folder: str | Path, *, jobs: int = 2) -> None:
    """Train what is not recorded below ``folder``, ``jobs`` processes of one thread each."""
    cells = [(d, p, seed, Path(folder)) for seed in SEEDS for d, p in product(DATASETS, FIRST)]
    work_through(run_cell, cells, total=len(cells) * RUNS, jobs=jobs)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    arms = {
        "baseline": ["first-0", "first-1", *(f"more-{name}" for name in MORE)],
        "regularized": [f"regularized-{name}" for name in REGULARIZERS],
    }
    for dataset, paradigm, seed in product(DATASETS, FIRST, SEEDS):
        here = folder / dataset / paradigm / f"seed{seed}"
        paths = {arm: {name: here / f"{name}.json" for name in names} for arm, names in arms.items()}
        if not all(path.exists() for arm in paths.values() for path in arm.values()):
            continue  # a half-recorded cell must not be selected from
        for arm, own in paths.items():
            records = {name: Record.load(path) for name, path in own.items()}
            chosen = best(records)
            for name, record in records.items():
                cell = {"dataset": dataset, "paradigm": paradigm, "seed": seed, "arm": arm, "setting": name}
                yield {**cell, "selected": name == chosen, **record.metrics}


def load_table(folder: str | Path) -> pd.DataFrame:
    """One row a run: dataset, paradigm, seed, arm, setting, ``selected``, and every metric.

    Raises:
        FileNotFoundError: if no data set, paradigm and seed is fully recorded below ``folder``.
    """
    import pandas as pd

    frame = pd.DataFrame(_rows(Path(folder)))
    if frame.empty:
        raise FileNotFoundError(
            f"no complete records below {folder}: run 'python -m geomreg_mini.paradigm_table' first."
        )
    return frame


def gains(frame: pd.DataFrame, metric: str, by: Sequence[str] = ("dataset", "paradigm")) -> pd.DataFrame:
    """Paired gain of the picked regularized over the picked baseline run, with 95 % intervals over seeds.

    Columns as in ``paired_gains``. A metric that a paradigm does not have gives no row.
    """
    picked = frame[frame["selected"]].dropna(subset=[metric])
    treated, baseline = (picked[picked["arm"] == arm] for arm in ("regularized", "baseline"))
    return paired_gains(treated, baseline, metric, by)


def paradigm_gains(frame: pd.DataFrame, metric: str, dataset: str = "digits") -> pd.DataFrame:
    """Paired gain of each paradigm's picked baseline run over that of joint training: what it is worth alone.

    One row a paradigm; columns as in ``paired_gains``.
    """
    picked = frame[frame["selected"] & (frame["arm"] == "baseline") & (frame["dataset"] == dataset)]
    joint = picked[picked["paradigm"] == "joint"]
    others = picked[picked["paradigm"] != "joint"]
    import pandas as pd

    baseline = pd.concat([joint.assign(paradigm=name) for name in others["paradigm"].unique()])
    return paired_gains(others, baseline, metric, ["paradigm"])


def summary(frame: pd.DataFrame, dataset: str = "digits") -> str:
    """The table in the form of the paper's Table 1, in Markdown: percent, and gains in points [95 %]."""
    frame = frame[frame["dataset"] == dataset]
    names = [name for name in ("audio", "image", "fused") if f"test/accuracy/{name}" in frame]
    lines = [
        "| paradigm | " + " | ".join(f"{name} | + regularizer" for name in names) + " |",
        "|---|" + "---|---|" * len(names),
    ]
    tables = {n: gains(frame, f"test/accuracy/{n}", ["paradigm"]).set_index("paradigm") * 100 for n in names}
    for paradigm in tables["fused"].index:
        cells = [paradigm]
        for name in names:
            row = tables[name].loc[paradigm]
            cells += [f"{row['baseline']:.1f}", f"{row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    return command(
        "paradigm_table",
        __doc__.split("\n")[0],
        "results/paradigms",
        run_table,
        lambda folder: summary(load_table(folder)),
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
