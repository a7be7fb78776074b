"""The regime map: on spoken and written digits, when does geometry regularization pay?

    python -m experiments.regimes --jobs 2        # resumable; skips recorded runs

The protocol, fixed before any test number was looked at. A *regime* is a protocol (whose voices are
tested), a number of labels, a strength of image noise and a training paradigm: 2 x 2 x 3 x 2 = 24 of
them, six seeds each. For every regime and seed, the *baseline* arm trains the four settings of learning
rate and weight decay in ``BASELINES``, and fused validation accuracy picks one. The *regularized* arm
trains the four settings in ``REGULARIZERS``, with the learning rate and weight decay that the baseline
picked, and fused validation accuracy picks one; "no regularizer" is not among them, so that the
comparison can come out negative. The test split is read only from the two picked runs. Selection is
nested in the seed because the speaker on whom one seed tests is another seed's validation speaker.

Four more baselines were added after the map was seen (``CONTROLS``), for the regimes in which fused
accuracy gained: does the gain outlive a baseline that may choose among eight runs? Their arm is
"control".
"""

from __future__ import annotations

import sys
from itertools import product
from typing import TYPE_CHECKING

from geomreg_mini import GeometryRegularizer

from .study import GENTLE, TIGHT, Arm, Cell, Study, change

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SEEDS = tuple(range(6))
REGULARIZERS: dict[str, dict[str, float]] = {
    "default": GENTLE,
    "tight": TIGHT,
    "dispersion_only": GENTLE | {"dispersion_weight": 0.02, "anchoring_weight": 0.0},
    "anchoring_only": {"dispersion_weight": 0.0, "anchoring_weight": 2.0, "temperature": 0.5, "radius": 0.3},
}


def _rates(*pairs: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {f"lr{rate}-wd{decay}": {"learning_rate": rate, "weight_decay": decay} for rate, decay in pairs}


BASELINES = _rates((0.02, 0.0001), (0.05, 0.0001), (0.01, 0.0001), (0.02, 0.005))
CONTROLS = _rates((0.1, 0.0001), (0.05, 0.001), (0.05, 0.005), (0.02, 0.001))
ARMS = {
    "baseline": Arm(BASELINES),
    "regularized": Arm(
        {name: {"regularizer": GeometryRegularizer(**own)} for name, own in REGULARIZERS.items()},
        start="baseline",
    ),
}
CONTROL = {"control": Arm(CONTROLS, shares=tuple(("baseline", name) for name in BASELINES))}
CELL = ("regime", "protocol", "labels", "image_noise", "paradigm")


def regime(protocol: str, labels: int | None, image_noise: float, paradigm: str) -> Cell:
    """Return one cell of the map; ``labels`` None means every training label.

    Few labels get more epochs, so that training converges in both cases.
    """
    few = labels is not None
    name = f"{protocol}-{labels or 'all'}-noise{image_noise}-{paradigm}"
    options = {"source": "spoken", "protocol": protocol, "labels": labels, "image_noise": image_noise}
    config = {"dataset": "digits", "dataset_options": options, "paradigm": paradigm}
    config |= {"epochs": 60, "evaluate_every": 10} if few else {"epochs": 12, "evaluate_every": 2}
    controlled = (protocol, labels, paradigm) == ("unseen_speakers", None, "joint")
    columns = dict(zip(CELL, (name, protocol, labels or "all", image_noise, paradigm), strict=True))
    return Cell(columns, config, ARMS | (CONTROL if controlled else {}), SEEDS)


REGIMES = tuple(
    regime(*cell)
    for cell in product(("official", "unseen_speakers"), (300, None), (0.4, 0.8, 1.2), ("joint", "dgl"))
)
CONTROLLED = tuple(cell.columns["regime"] for cell in REGIMES if "control" in cell.arms)
STUDY = Study(
    name="regimes",
    path="{regime}/seed{seed}/{arm}-{setting}.json",
    cells=REGIMES,
    against={"regularized": "baseline"},
    folder="results/digits",
)
OVER_CONTROL = {"regularized": "control"}  # another ``against``, for the regimes in ``CONTROLLED``


def summary(frame: pd.DataFrame) -> str:
    """Return the map in Markdown: in how many regimes each accuracy moved, and its mean gain by paradigm."""
    lines = [
        "| test accuracy | regimes: helps / nothing measurable / hurts | joint: mean gain | DGL: mean gain |",
        "|---|---|---|---|",
    ]
    for name in ("fused", "audio", "image"):
        cells = STUDY.gains(frame, f"test/accuracy/{name}")
        helps, hurts = int((cells["low"] > 0).sum()), int((cells["high"] < 0).sum())
        means = STUDY.gains(frame, f"test/accuracy/{name}", by=["paradigm"]).set_index("paradigm")
        texts = [change(means.loc[paradigm]) for paradigm in ("joint", "dgl")]
        lines.append(
            f"| {name} | {helps} / {len(cells) - helps - hurts} / {hurts} | {texts[0]} | {texts[1]} |"
        )
    return "\n".join(lines)


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the map: one panel each for fused, audio and image accuracy, in points."""
    from geomreg_mini import plots

    from .gain_figures import gain_map

    plots.use_style()
    # Joint on the left, DGL on the right.
    frame = frame.sort_values("paradigm", ascending=False, kind="stable")
    panels = {
        f"Gain in {m} accuracy": STUDY.gains(frame, f"test/accuracy/{m}") for m in ("fused", "audio", "image")
    }
    return gain_map(panels, rows=["protocol", "labels"], columns=["paradigm", "image_noise"])


if __name__ == "__main__":
    sys.exit(STUDY.main(summary, figure))
