"""Checks of notebook 06, the tuning lab."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .judging import Unsuitable, first_problem, number, of_kind, verdict

if TYPE_CHECKING:
    from lab import Run

TERMS = ("dispersion_weight", "anchoring_weight", "temperature", "radius")


def _lab_run(setting: object, free: Sequence[str]) -> Run:
    """Train a setting of the lab, a dict; everything but ``free`` must stay at the defaults of the lab."""
    import lab

    setting = of_kind(setting, dict, "a dict such as {'radius': 0.3}")
    known = vars(lab.Setting())
    for name, value in setting.items():
        if name not in known:
            raise Unsuitable(f"the lab has no {name!r}: choose from {', '.join(known)}.")
        if name in free:
            number(value, if_not_finite=f"{name} must be a finite number, not {value}.")
        elif value != known[name]:
            raise Unsuitable(f"leave {name} at {known[name]!r}: free are {', '.join(free)}.")
    return lab.train({name: value if name not in free else number(value) for name, value in setting.items()})


def spread_and_agreed(answer: object) -> bool:
    """Exercise 1: a setting with both effective ranks above 1.8 and paired drift below 0.4."""

    def cases(setting: Any) -> Iterator[str]:
        now = _lab_run(setting, TERMS).now
        rank = number(min(now["effective_rank/a"], now["effective_rank/b"]))
        drift = number(now["paired_drift"])
        reached = f"the lower effective rank is {rank:.2f} and the paired drift {drift:.2f}"
        if rank <= 1.8 and drift >= 0.4:
            yield f"{reached}: neither term does its work; raise both weights to at least 0.1."
        if rank <= 1.8:
            yield f"{reached}: the pairs agree, but crowded; less anchoring, more dispersion or a wider band."
        if drift >= 0.4:
            yield f"{reached}: spread, but the pairs lie apart; more anchoring, or a narrower band."

    return verdict(first_problem(answer, cases), "spread within each modality, and close in pairs.")


def collapse_with_dispersion(answer: object) -> bool:
    """Exercise 2: a collapse, although dispersion is on, that fused accuracy does not show."""

    def cases(setting: Any) -> Iterator[str]:
        run = _lab_run(setting, TERMS)
        if run.setting.dispersion_weight < 0.3:
            yield f"dispersion_weight is {run.setting.dispersion_weight:g}: keep it at 0.3 or more."
        crowding = {m: number(run.now[f"mean_cosine/{m}"]) for m in "ab"}
        fused = number(run.now["accuracy/fused"])
        for m, value in crowding.items():
            if value < 0.9:
                yield f"the mean cosine of {m} is {value:.2f}, below 0.9: which term likes a crowd?"
        if fused < 0.9:
            yield f"collapsed, but fused accuracy fell to {fused:.2f}: go less far."

    return verdict(first_problem(answer, cases), "collapsed with dispersion on, and fused accuracy is blind.")


def sampling_error(answer: object) -> bool:
    """Exercise 3: standard error, in points, of an accuracy of 0.95 on 300 samples."""

    def cases(answer: Any) -> Iterator[str]:
        value, variance = number(answer), 0.95 * 0.05
        if abs(value - math.sqrt(variance / 300)) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * variance / 300) < 1e-3:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(variance)) < 0.1:
            yield "that is the spread of a single sample's result; a mean of 300 has a 300th of the variance."
        if abs(value - 196 * math.sqrt(variance / 300)) < 0.05:
            yield "that is half of a 95 % interval; the standard error is the part before the 1.96."
        if abs(value - 100 * math.sqrt(0.25 / 300)) < 0.05:
            yield "that is for an accuracy of 0.5; put 0.95 into p (1 - p)."
        if abs(value - 100 * math.sqrt(variance / 300)) > 0.02:
            yield "a result is right with p = 0.95, its variance is p (1 - p), and there are 300."

    return verdict(first_problem(answer, cases), "1.26 points: most differences in the lab are smaller.")
