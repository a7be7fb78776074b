"""Maps of the toy world: for which sizes, strengths and shares does the regularizer of notebook 01 pay?

    python -m experiments.toy --jobs 2        # resumable; skips recorded runs

The protocol, fixed before its first test number. ``OWN`` is the world of notebook 01, section 5. It was found
by looking for one in which geometry pays, so its neighbors are trained as well: the number of training
samples against the imbalance of the sensors, and against the share of the class that is private. At ``OWN``
the learning rate changes too, with as many epochs, and the largest size is 3,000. The weights are those that
notebook 01 chose for ``OWN``; no arm has its hyperparameters chosen anew elsewhere. Every arm has one run per
seed, with the same data, initialization and epochs; validation picks the epoch. Neither the choice of weights
nor a notebook in quick mode draws these seeds. A gain is the difference to no regularizer.

The first four seeds left many intervals wide. Six more were added after their map was seen, as many and no
others; claims and their tests stayed as they were.
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

SEEDS = range(10, 20)
SIZES, IMBALANCES, SHARES, RATES = (100, 300, 1000), (0.0, 0.6, 0.8), (0.0, 0.5, 1.0), (0.005, 0.02, 0.1)
OWN = {"size": 300, "imbalance": 0.6, "share": 0.0, "rate": 0.02, "epochs": 60}
ARMS = {
    "none": {},
    "both terms": {"regularizer": GeometryRegularizer(1.0, 0.3, radius=0.3)},
    "dispersion alone": {"regularizer": GeometryRegularizer(1.0, 0.0)},
    "unimodal losses": {"paradigm": "uniform_sum"},
}


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
    return Cell(at, config, {name: Arm({"only": fields}) for name, fields in ARMS.items()}, SEEDS)


GRID = [
    *({"size": size, "imbalance": x} for size in SIZES for x in IMBALANCES),
    *({"size": size, "share": x} for size in SIZES for x in SHARES[1:]),
    *({"rate": x} for x in RATES if x != OWN["rate"]),
    {"size": 3000},
]
STUDY = Study(
    name="toy",
    path="size{size}-imbalance{imbalance}-share{share}-rate{rate}-epochs{epochs}/seed{seed}/{arm}.json",
    cells=tuple(_cell(**at) for at in GRID),
    against="none",
    kept=("accuracy", "accuracy_corrupted_1.0", "effective_rank", "mean_cosine", "paired_drift"),
)


def by_seed(
    frame: pd.DataFrame, metric: str, arm: str, own: Mapping[str, float] = OWN, **changed: float | None
) -> dict[int, float]:
    """Return seed -> metric of an arm at ``own`` with the changes; over a column that is None, the mean."""
    wanted = {**own, **changed, "arm": arm}
    wanted = {name: value for name, value in wanted.items() if value is not None}
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
        panels: title -> rows of ``Study.gains`` of one arm, in the order in which they are drawn; a column
            ``note`` may have a text for a cell whose gain is NaN.
        columns: a column of the panels.
        star: column -> value of the cell that gets a star, as far as the panels have these columns.
        hidden: the same of the cells that get a question mark in place of their gain.
    """
    from geomreg_mini import plots

    from .gain_figures import gain_map

    shown, marks = {}, []
    for title, table in panels.items():
        worlds = zip(table["imbalance"], table["share"], strict=True)
        table = table.assign(world=[f"imbalance {x:g}, private {share:g}" for x, share in worlds])
        table = table if "note" in table else table.assign(note="")
        if hidden:
            table.loc[_at(table, hidden), ["mean", "low", "high", "note"]] = [*[float("nan")] * 3, "?"]
        down, across = (list(dict.fromkeys(table[name])) for name in ("world", columns))
        places = [
            (across.index(x), down.index(y)) for x, y in zip(table[columns], table["world"], strict=True)
        ]
        marks.append(list(zip(places, table["note"], _at(table, star), strict=True)))
        shown[title] = table
    fig = gain_map(shown, rows=["world"], columns=[columns])
    for ax, cells in zip(fig.axes, marks, strict=False):
        for (x, y), note, starred in cells:
            ax.text(x + 0.5, y + 0.5, note, ha="center", va="center", fontsize=13 if note == "?" else 8)
            if starred:
                ax.plot(x + 0.9, y + 0.14, "*", color=plots.VERMILION, ms=9, clip_on=False)
    return fig


def _at(table: pd.DataFrame, cell: Mapping[str, float]) -> pd.Series:
    known = [name for name in cell if name in table]
    return (table[known] == [cell[name] for name in known]).all(axis=1)


if __name__ == "__main__":
    sys.exit(STUDY.main(figure=figure))
