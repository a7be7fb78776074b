"""Maps of the toy world: for which sizes, strengths and shares does the regularizer of notebook 01 pay?

    python -m experiments.toy --jobs 2        # resumable; skips recorded runs

The protocol, fixed before its first test number. ``OWN`` is the world of notebook 01, section 5. It was found
by looking for one in which geometry pays, so its neighbors are trained as well: the number of training
samples against the imbalance of the sensors, and against the share of the class that is private. At ``OWN``
the learning rate changes too, with as many epochs, and the largest size is 3,000. The weights are those that
notebook 01 chose for ``OWN``; no arm has its hyperparameters chosen anew elsewhere. Every arm has one run per
seed, with the same data, initialization and epochs; validation picks the epoch. Neither the choice of weights
nor a notebook in quick mode draws these seeds. A gain is the difference to no regularizer.

Two more cells answer notebook 03: dispersion with weight 10 at the usual rate, and with ten times the epochs
at a tenth of the rate.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from geomreg_mini import GeometryRegularizer

from .study import Arm, Cell, Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SEEDS = range(10, 14)
SIZES, IMBALANCES, SHARES, RATES = (100, 300, 1000), (0.0, 0.6, 0.8), (0.0, 0.5, 1.0), (0.005, 0.02, 0.1)
OWN = {"size": 300, "imbalance": 0.6, "share": 0.0, "rate": 0.02, "epochs": 60}
PATIENT = {"rate": 0.002, "epochs": 600}  # ten times the epochs at a tenth of the rate
ARMS = {
    "none": {},
    "both terms": {"regularizer": GeometryRegularizer(1.0, 0.3, radius=0.3)},
    "dispersion alone": {"regularizer": GeometryRegularizer(1.0, 0.0)},
    "unimodal losses": {"paradigm": "uniform_sum"},
}
STRONG = {"none": {}, "weight 10": {"regularizer": GeometryRegularizer(10.0, 0.0)}}


def world(size: int, imbalance: float, share: float) -> dict[str, object]:
    """Return the options of a toy data set like that of notebook 01, section 5."""
    return {"train_size": size, "validation_size": 300, "imbalance": imbalance, "private_share": share,
            "nuisance": 1.5, "noise": {"a": 0.6, "b": 0.05}}  # fmt: skip


def _cell(**changed: float) -> Cell:
    at = OWN | changed
    config = {
        "dataset": "toy", "dataset_options": world(at["size"], at["imbalance"], at["share"]),
        "embedding_dim": 16, "encoder_options": {"hidden": 64}, "learning_rate": at["rate"],
        "epochs": at["epochs"], "evaluate_every": at["epochs"] // 6,
    }  # fmt: skip
    arms = STRONG if at["epochs"] != OWN["epochs"] else ARMS | STRONG if changed in STRONG_AT else ARMS
    return Cell(at, config, {name: Arm({"only": fields}) for name, fields in arms.items()}, SEEDS)


GRID = [
    *({"size": size, "imbalance": x} for size in SIZES for x in IMBALANCES if (size, x) != (300, 0.6)),
    *({"size": size, "share": x} for size in SIZES for x in SHARES[1:] if (size, x) != (300, 1.0)),
    *({"rate": x} for x in RATES if x != OWN["rate"]),
    {"size": 3000},
]
STRONG_AT = [{}, {"share": 1.0}]
STUDY = Study(
    name="toy",
    path="size{size}-imbalance{imbalance}-share{share}-rate{rate}-epochs{epochs}/seed{seed}/{arm}.json",
    cells=tuple(_cell(**at) for at in [*STRONG_AT, *(at | PATIENT for at in STRONG_AT), *GRID]),
    against="none",
    kept=("accuracy", "accuracy_corrupted_1.0", "effective_rank", "mean_cosine", "paired_drift"),
)


def by_seed(frame: pd.DataFrame, metric: str, arm: str, **changed: float | None) -> dict[int, float]:
    """Return seed -> metric of an arm at ``OWN`` with the changes; over a column that is None, the mean."""
    wanted = {name: value for name, value in (OWN | changed | {"arm": arm}).items() if value is not None}
    return frame[_at(frame, wanted)].groupby("seed")[metric].mean().to_dict()


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the gain in fused accuracy over no regularizer by world; a star marks that of notebook 01."""
    usual = frame[(frame["rate"] == OWN["rate"]) & (frame["epochs"] == OWN["epochs"])]
    gains = STUDY.gains(usual, "test/accuracy/fused").sort_values(["share", "imbalance", "size"])
    panels = {f"{arm}: gain in fused accuracy": gains[gains["arm"] == arm] for arm in list(ARMS)[1:]}
    fig = gain_figure(panels, columns="size", star=OWN)
    for ax in fig.axes[: len(panels)]:
        ax.set_xlabel("training samples")
    return fig


def gain_figure(
    panels: Mapping[str, pd.DataFrame],
    *,
    columns: str,
    star: Mapping[str, float],
    hidden: Mapping[str, float] | None = None,
) -> Figure:
    """Draw gains with a row per imbalance and private share and a column per value of ``columns``.

    Args:
        panels: title -> rows of ``Study.gains`` of one arm, in the order in which they are drawn.
        columns: a column of the panels.
        star: column -> value of the cell that gets a star, as far as the panels have these columns.
        hidden: the same of the cells that get a question mark in place of their gain.
    """
    from geomreg_mini import plots

    shown, marked = {}, []
    for title, table in panels.items():
        worlds = zip(table["imbalance"], table["share"], strict=True)
        names = [f"imbalance {imbalance:g}, private {share:g}" for imbalance, share in worlds]
        down, across = list(dict.fromkeys(names)), list(dict.fromkeys(table[columns]))
        places = [(across.index(x), down.index(y)) for x, y in zip(table[columns], names, strict=True)]
        masks = [_at(table, cell) if cell else [False] * len(table) for cell in (star, hidden)]
        marked.append([[place for place, hit in zip(places, mask, strict=True) if hit] for mask in masks])
        shown[title] = table.assign(world=names)
        shown[title].loc[masks[1], ["mean", "low", "high"]] = float("nan")
    fig = plots.gain_map(shown, rows=["world"], columns=[columns])
    for ax, (stars, questions) in zip(fig.axes, marked, strict=False):
        for x, y in stars:
            ax.plot(x + 0.9, y + 0.14, "*", color=plots.VERMILION, ms=9, clip_on=False)
        for x, y in questions:
            ax.text(x + 0.5, y + 0.5, "?", ha="center", va="center", fontsize=13)
    return fig


def _at(table: pd.DataFrame, cell: Mapping[str, float]) -> pd.Series:
    known = [name for name in cell if name in table]
    return (table[known] == [cell[name] for name in known]).all(axis=1)


if __name__ == "__main__":
    sys.exit(STUDY.main(figure=figure))
