"""Checks of notebook 08, spoken and written digits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .judging import first_problem, number, verdict


def paired_gain(answer: object) -> bool:
    """Exercise 1: mean over seeds of selected regularized minus selected baseline run."""
    import pandas as pd

    rows = [  # seed, arm, selected, value
        *[(0, "baseline", True, 0.50), (0, "baseline", False, 0.70)],
        *[(0, "regularized", True, 0.54), (0, "regularized", False, 0.80)],
        *[(1, "regularized", True, 0.66), (1, "regularized", False, 0.15)],
        *[(1, "baseline", False, 0.20), (1, "baseline", True, 0.60)],
        *[(2, "baseline", True, 0.40), (2, "regularized", True, 0.60)],
    ]
    frame = pd.DataFrame(rows, columns=["seed", "arm", "selected", "value"])
    other = frame.rename(columns={"value": "other"}).assign(value=0.0)
    other["other"] *= 2

    def cases(f: Any) -> Iterator[str]:
        value = number(f(frame, "value"))
        means = frame.groupby("arm")["value"].mean()
        best = frame.groupby(["arm", "seed"])["value"].max().groupby("arm").mean()
        if abs(value + 0.1) < 1e-9:
            yield "the sign is reversed: a gain is regularized minus baseline."
        if abs(value - (means["regularized"] - means["baseline"])) < 1e-9:
            yield "runs that validation did not pick take part: keep the rows whose `selected` is True."
        if abs(value - (best["regularized"] - best["baseline"])) < 1e-9:
            yield "you took the best run on the test metric: that is choosing on test; use `selected`."
        if abs(value - 0.1) > 1e-9:
            yield f"the seeds gain 0.04, 0.06 and 0.20, so the answer is their mean 0.1, not {value:.3f}."
        if abs(number(f(other, "other")) - 0.2) > 1e-9:
            yield "take the column that `metric` names, whatever its name is."

    return verdict(first_problem(answer, cases), "picked on validation, paired by seed, then averaged.")


def false_frames(answer: object) -> bool:
    """Exercise 2: framed cells expected if nothing had any effect, 72 cells at 95 %."""

    def cases(answer: Any) -> Iterator[str]:
        value = number(answer)
        if abs(value - 72 * 0.95) < 1e-6:
            yield "that is how many cells stay unframed; the interval misses in the other 5 %."
        if abs(value - 1.2) < 1e-6:
            yield "that is for one panel of 24 cells; there are three panels."
        if abs(value - 3.6) > 0.05:
            yield "count the cells of the three panels and take the share that a 95 % interval misses."

    return verdict(first_problem(answer, cases), "3.6 frames of 72 are expected by chance alone.")
