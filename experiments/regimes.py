"""The regime map: on spoken and written digits, when does geometry regularization pay?

    python -m experiments.regimes --jobs 2        # resumable; skips what is recorded

The protocol, fixed before any test number was looked at. A *regime* is a protocol (whose voices are
tested), a number of labels, a strength of image noise and a training paradigm: 2 x 2 x 3 x 2 = 24 of them,
six seeds each. For every regime and seed, the *baseline* arm trains the four settings of learning rate and
weight decay in ``BASELINES``, and fused validation accuracy picks one. The *regularized* arm trains the
four settings in ``REGULARIZERS``, with the learning rate and weight decay that the baseline picked, and
fused validation accuracy picks one; "no regularizer" is not among them, so that the comparison can come out
negative. The test split is read only from the two picked runs. Selection is nested in the seed because the
speaker on whom one seed tests is another seed's validation speaker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomreg_mini.records import Record
from geomreg_mini.regularizer import GeometryRegularizer
from geomreg_mini.training import TrainConfig

from .sweeps import GENTLE, TIGHT, best, command, paired_gains, recorded, work_through

if TYPE_CHECKING:
    import pandas as pd

SEEDS = tuple(range(6))
BASELINES: dict[str, dict[str, float]] = {
    f"lr{rate}-wd{decay}": {"learning_rate": rate, "weight_decay": decay}
    for rate, decay in [(0.02, 0.0001), (0.05, 0.0001), (0.01, 0.0001), (0.02, 0.005)]
}
REGULARIZERS: dict[str, dict[str, float]] = {
    "default": GENTLE,
    "tight": TIGHT,
    "dispersion_only": {
        "dispersion_weight": 0.02,
        "anchoring_weight": 0.0,
        "temperature": 0.5,
        "radius": 0.6,
    },
    "anchoring_only": {"dispersion_weight": 0.0, "anchoring_weight": 2.0, "temperature": 0.5, "radius": 0.3},
}
# Four more baselines, added after the map was seen, for the regimes in which fused accuracy gained: does the
# gain outlive a baseline that may choose among eight runs?
CONTROLS: dict[str, dict[str, float]] = {
    f"lr{rate}-wd{decay}": {"learning_rate": rate, "weight_decay": decay}
    for rate, decay in [(0.1, 0.0001), (0.05, 0.001), (0.05, 0.005), (0.02, 0.001)]
}
CELL = ("regime", "protocol", "labels", "image_noise", "paradigm")


@dataclass(frozen=True)
class Regime:
    """One cell of the map: ``labels`` None means every training label."""

    protocol: str
    labels: int | None
    image_noise: float
    paradigm: str

    @property
    def name(self) -> str:
        return f"{self.protocol}-{self.labels or 'all'}-noise{self.image_noise}-{self.paradigm}"

    def config(
        self, seed: int, setting: Mapping[str, float], regularizer: Mapping[str, float] | None
    ) -> TrainConfig:
        """The run of one setting; few labels get more epochs, so that training converges in both cases."""
        few = self.labels is not None
        return TrainConfig(
            dataset="digits",
            dataset_options={
                "source": "spoken",
                "protocol": self.protocol,
                "labels": self.labels,
                "image_noise": self.image_noise,
            },
            paradigm=self.paradigm,
            regularizer=None if regularizer is None else GeometryRegularizer(**regularizer),
            epochs=60 if few else 12,
            evaluate_every=10 if few else 2,
            seed=seed,
            **setting,
        )


REGIMES = tuple(
    Regime(*cell)
    for cell in product(("official", "unseen_speakers"), (300, None), (0.4, 0.8, 1.2), ("joint", "dgl"))
)
CONTROLLED = tuple(
    regime
    for regime in REGIMES
    if (regime.protocol, regime.labels, regime.paradigm) == ("unseen_speakers", None, "joint")
)


def settings_of(regime: Regime) -> dict[str, tuple[str, ...]]:
    """The names of the settings that a regime trains, by arm, in the order of training."""
    arms = {"baseline": tuple(BASELINES), "regularized": tuple(REGULARIZERS)}
    return arms | ({"control": tuple(CONTROLS)} if regime in CONTROLLED else {})


def run_cell(regime: Regime, seed: int, folder: Path) -> int:
    """All runs of one regime and seed, in the order that the protocol needs; returns how many there are."""
    from geomreg_mini.data import load

    first = regime.config(seed, {}, None)
    data = load(first.dataset, seed=seed, **first.dataset_options)
    here = folder / regime.name / f"seed{seed}"
    baselines = {
        name: recorded(here / f"baseline-{name}.json", regime.config(seed, setting, None), data)
        for name, setting in BASELINES.items()
    }
    setting = BASELINES[best(baselines)]
    for name, weights in REGULARIZERS.items():
        recorded(here / f"regularized-{name}.json", regime.config(seed, setting, weights), data)
    for name in settings_of(regime).get("control", ()):
        recorded(here / f"control-{name}.json", regime.config(seed, CONTROLS[name], None), data)
    return sum(map(len, settings_of(regime).values()))


def run_map(folder: str | Path, *, jobs: int = 2) -> None:
    """Train what is not recorded below ``folder``, ``jobs`` processes of one thread each."""
    folder = Path(folder)
    cells = [(regime, seed, folder) for seed in SEEDS for regime in REGIMES]
    total = sum(len(names) for regime, *_ in cells for names in settings_of(regime).values())
    work_through(run_cell, cells, total=total, jobs=jobs)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for regime, seed in product(REGIMES, SEEDS):
        here, arms = folder / regime.name / f"seed{seed}", {}
        for arm, settings in settings_of(regime).items():
            paths = {name: here / f"{arm}-{name}.json" for name in settings}
            arms[arm] = {name: Record.load(path) for name, path in paths.items() if path.exists()}
            if len(arms[arm]) < len(settings):
                break  # A half-recorded arm must not be selected from.
        else:
            if "control" in arms:  # it chooses among the first four baselines and the four more
                arms["control"] = arms["baseline"] | arms["control"]
            for arm, records in arms.items():
                chosen = best(records)
                for name, record in records.items():
                    yield {
                        "regime": regime.name,
                        "protocol": regime.protocol,
                        "labels": regime.labels or "all",
                        "image_noise": regime.image_noise,
                        "paradigm": regime.paradigm,
                        "seed": seed,
                        "arm": arm,
                        "setting": name,
                        "selected": name == chosen,
                        **record.metrics,
                    }


def load_map(folder: str | Path) -> pd.DataFrame:
    """One row a run: the regime's columns, ``seed``, ``arm``, ``setting``, ``selected``, and every metric.

    The arm "control" exists in the regimes of ``CONTROLLED`` and holds the baseline's runs a second time.

    Raises:
        FileNotFoundError: if no regime and seed is fully recorded below ``folder``.
    """
    import pandas as pd

    frame = pd.DataFrame(_rows(Path(folder)))
    if frame.empty:
        raise FileNotFoundError(
            f"no complete records below {folder}: run 'python -m experiments.regimes' first."
        )
    return frame


def gains(
    frame: pd.DataFrame,
    metric: str,
    setting: str | None = None,
    by: Sequence[str] = CELL,
    against: str = "baseline",
) -> pd.DataFrame:
    """Paired gain of the regularized over the selected baseline run, with its 95 % interval over seeds.

    Args:
        frame: what ``load_map`` gave.
        metric: a metric column, such as "test/accuracy/fused".
        setting: one regularizer setting for all seeds, or None for the one that validation picked in each.
        by: the columns that make a row of the answer, one regime by default; with fewer columns, the regimes
            that share them are averaged within each seed before seeds are compared.
        against: "baseline", or "control" for the regimes that have it.

    Returns:
        One row for each combination of ``by``: these columns, ``mean``, ``low``, ``high`` and ``baseline`` in
        the metric's unit, and ``seeds``.

    Raises:
        ValueError: where the two arms do not have the same seeds, as with an unknown ``setting``.
    """
    regularized, baseline = (frame[frame["arm"] == arm] for arm in ("regularized", against))
    chosen = regularized["selected"] if setting is None else regularized["setting"] == setting
    return paired_gains(regularized[chosen], baseline[baseline["selected"]], metric, by)


def summary(frame: pd.DataFrame) -> str:
    """The map as a Markdown table: in how many regimes each accuracy moved, its mean gain by paradigm."""
    lines = [
        "| test accuracy | regimes: helps / nothing measurable / hurts | joint: mean gain | DGL: mean gain |",
        "|---|---|---|---|",
    ]
    for name in ("fused", "audio", "image"):
        cells = gains(frame, f"test/accuracy/{name}")
        helps, hurts = int((cells["low"] > 0).sum()), int((cells["high"] < 0).sum())
        means = gains(frame, f"test/accuracy/{name}", by=["paradigm"]).set_index("paradigm") * 100
        texts = [
            "{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(**means.loc[paradigm])
            for paradigm in ("joint", "dgl")
        ]
        lines.append(
            f"| {name} | {helps} / {len(cells) - helps - hurts} / {hurts} | {texts[0]} | {texts[1]} |"
        )
    return "\n".join(lines)


def figure(frame: pd.DataFrame):
    """The map as a matplotlib Figure: one panel each for fused, audio and image accuracy, in points."""
    from geomreg_mini import plots

    plots.use_style()
    # Joint on the left, DGL on the right.
    frame = frame.sort_values("paradigm", ascending=False, kind="stable")
    panels = {
        f"Gain in {m} accuracy": gains(frame, f"test/accuracy/{m}") for m in ("fused", "audio", "image")
    }
    return plots.gain_map(panels, rows=["protocol", "labels"], columns=["paradigm", "image_noise"])


def main(arguments: list[str] | None = None) -> int:
    return command(
        "regimes",
        __doc__.split("\n")[0],
        "results/digits",
        run_map,
        load_map,
        summary,
        figure,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
