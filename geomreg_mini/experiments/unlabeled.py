"""Clusters of spoken and written digits without labels: does the geometry matter where nothing else guides?

    python -m geomreg_mini.experiments.unlabeled --jobs 2        # resumable; skips what is recorded

Two encoders agree on balanced clusters (``tasks/clustering.py``), ten clusters for ten digits. The protocol,
fixed before any number of these seeds was looked at: unseen speakers, image noise 0.8, twenty seeds; four
arms, each with three settings, that is learning rates without a regularizer and weights with it. No label is
looked at in training, nor where a setting and an epoch are picked: both by the mutual information between
the clusters of the two modalities on validation pairs. The test labels judge.

Length and the rate that the regularized arms have were set on seeds 0 to 3 without a regularizer, by the same
mutual information. What that is worth shows an arm that takes part in nothing else, "untuned": both terms at
a third of that rate, against none at the same. An earlier trial, on an easier regime with known speakers and
at a tenth of the rate, had shown gains of several points; at the rate above, its baseline has no errors left.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import Record
from ..regularizer import GeometryRegularizer
from ..tasks import TASKS
from ..training import TrainConfig
from .sweeps import (
    GENTLE,
    MODERATE,
    TIGHT,
    UNSEEN_SPEAKERS,
    best,
    command,
    paired_gains,
    recorded,
    work_through,
)

if TYPE_CHECKING:
    import pandas as pd

SEEDS = tuple(range(20, 40))
DATA: dict[str, Any] = UNSEEN_SPEAKERS["dataset_options"]
CONFIG: dict[str, Any] = {
    "dataset": "digits", "dataset_options": DATA, "task": "clustering", "paradigm": "swav",
    "fusion": "prototypes", "optimizer": "adam", "learning_rate": 0.03, "weight_decay": 0.0,
    "batch_size": 128, "epochs": 24, "evaluate_every": 3,
}  # fmt: skip
RATES = (0.03, 0.01, 0.1)
UNTUNED = 0.01
WEIGHTS = {"gentle": GENTLE, "moderate": MODERATE, "tight": TIGHT}
ARMS = {  # what an arm changes of the weights; None: no regularizer
    "none": None,
    "dispersion": {"anchoring_weight": 0.0},
    "anchoring": {"dispersion_weight": 0.0},
    "both": {},
}
NAMES = {
    "none": "none",
    "dispersion": "dispersion only",
    "anchoring": "anchoring only",
    "both": "both terms",
    "untuned": "both terms, untuned",
}
READ = {"audio": "audio alone", "image": "image alone", "joint": "both"}
SELECTION = f"validation/{TASKS['clustering'].selection}"


def settings(arm: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names of an arm's settings, and what they are in ``TrainConfig``."""
    if ARMS[arm] is None:
        for rate in RATES:
            yield f"rate-{rate}", {"learning_rate": rate}
    else:
        for name, weights in WEIGHTS.items():
            yield name, {"regularizer": GeometryRegularizer(**weights | ARMS[arm])}


def runs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Arm, setting and what it is in ``TrainConfig``, of all trainings of a seed."""
    for arm in ARMS:
        yield from ((arm, setting, changes) for setting, changes in settings(arm))
    yield "untuned", "gentle", {"regularizer": GeometryRegularizer(**GENTLE), "learning_rate": UNTUNED}


def _path(folder: Path, seed: int, arm: str, setting: str) -> Path:
    return folder / f"seed{seed}" / f"{arm}-{setting}.json"


def run_seed(seed: int, folder: Path) -> int:
    """Train what is not recorded of a seed; returns how many runs it has."""
    from ..data import load

    data = load("digits", seed=seed, **DATA)
    for arm, setting, changes in runs():
        recorded(_path(folder, seed, arm, setting), TrainConfig(**CONFIG | changes, seed=seed), data)
    return len(list(runs()))


def run_unlabeled(folder: str | Path, *, jobs: int = 2) -> None:
    """Train what is not recorded below ``folder``, ``jobs`` processes of one thread each."""
    cells = [(seed, Path(folder)) for seed in SEEDS]
    work_through(run_seed, cells, total=len(cells) * len(list(runs())), jobs=jobs)


def load_unlabeled(folder: str | Path) -> pd.DataFrame:
    """One row a run: arm, setting, seed, ``selected``, and every metric. A seed counts once it is complete.

    Raises:
        FileNotFoundError: if no seed is completely recorded below ``folder``.
    """
    import pandas as pd

    folder, rows = Path(folder), []
    for seed in SEEDS:
        paths = {(arm, setting): _path(folder, seed, arm, setting) for arm, setting, _ in runs()}
        if not all(path.exists() for path in paths.values()):
            continue
        records = {run: Record.load(path) for run, path in paths.items()}
        for arm in (*ARMS, "untuned"):
            own = {setting: record for (a, setting), record in records.items() if a == arm}
            chosen = best(own, SELECTION)
            for setting, record in own.items():
                cell = {"arm": arm, "setting": setting, "seed": seed, "selected": setting == chosen}
                rows.append({**cell, **record.metrics})
    if not rows:
        raise FileNotFoundError(
            f"no complete records below {folder}: run 'python -m geomreg_mini.experiments.unlabeled' first."
        )
    return pd.DataFrame(rows)


def gains(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Paired difference of every arm to none, both at the settings picked for each seed.

    "untuned" is compared with none at its own rate. Returns columns as ``paired_gains``, with ``arm``.
    """
    import pandas as pd

    none, treated = frame[frame["arm"] == "none"], frame[(frame["arm"] != "none") & frame["selected"]]
    untuned = none[none["setting"] == f"rate-{UNTUNED}"]
    baselines = {arm: none[none["selected"]] for arm in ARMS if arm != "none"} | {"untuned": untuned}
    baseline = pd.concat([part.assign(arm=arm) for arm, part in baselines.items()], ignore_index=True)
    return paired_gains(treated, baseline, metric, ["arm"])


def table(frame: pd.DataFrame, quantity: str = "cluster_accuracy") -> pd.DataFrame:
    """A score of the test split in percent by what is read: without, and what each arm adds, in points.

    "untuned" adds to another baseline, which is lower.
    """
    import pandas as pd

    answer: dict[str, dict[str, str]] = {}
    for name, label in READ.items():
        rows = gains(frame, f"test/{quantity}/{name}").set_index("arm") * 100
        answer[label] = {NAMES["none"]: f"{rows['baseline'].iloc[0]:.1f}"}
        for arm, row in rows.iterrows():
            answer[label][NAMES[arm]] = f"{row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
    return pd.DataFrame(answer).T.rename_axis("read")


def summary(frame: pd.DataFrame) -> str:
    """``table`` of the accuracy of clusters, as Markdown."""
    shown = table(frame)
    lines = [["ACC", *shown.columns], ["---"] * (len(shown.columns) + 1)]
    lines += [[label, *values] for label, values in zip(shown.index, shown.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(frame: pd.DataFrame):
    """Test accuracy of the clusters with both terms over that without, a point a seed, as a Figure."""
    import matplotlib.pyplot as plt

    from .. import plots

    plots.use_style()
    metric, picked = "test/cluster_accuracy/joint", frame[frame["selected"]]
    values = 100 * picked.pivot(index="seed", columns="arm", values=metric)
    fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.7), sharex=True, sharey=True)
    low = 5 * (values.to_numpy().min() // 5)
    for ax, arm in zip(axes, ("dispersion", "anchoring", "both"), strict=True):
        row = gains(frame, metric).set_index("arm").loc[arm] * 100
        ax.plot([low, 100], [low, 100], color=plots.INSIDE, lw=1, ls=":")
        ax.scatter(values["none"], values[arm], color=plots.BLUE, s=26)
        ax.set_title(f"{NAMES[arm]}\n{row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}] points")
        ax.set_xlabel("ACC without, in percent")
        ax.set_aspect("equal")
    axes[0].set_ylabel("ACC with, in percent")
    return fig


def main(arguments: list[str] | None = None) -> int:
    return command(
        "unlabeled",
        __doc__.split("\n")[0],
        "results/unlabeled",
        run_unlabeled,
        load_unlabeled,
        summary,
        figure,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
