"""Checks of notebook 15, the replication report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .judging import first_problem, number, of_kind, verdict


def judge(answer: object) -> bool:
    """Exercise 1: the verdict on a gain, from the paper's gain and our interval."""
    yes, no, open_ = "supported", "excluded", "undecided"

    def cases(f: Any) -> Iterator[str]:
        def said(paper: float, low: float, high: float) -> str:
            return of_kind(f(paper, low, high), str, f"{yes!r}, {no!r} or {open_!r}")

        first = said(0.5, 0.1, 0.9)
        if first not in (yes, no, open_):
            yield f"return {yes!r}, {no!r} or {open_!r}, not {first!r}."
        if first != yes:
            yield f"[0.1, 0.9] lies on the paper's side of zero: {yes!r}, not {first!r}."
        if said(0.5, -0.2, 1.2) != open_:
            yield "[-0.2, 1.2] contains no gain and the paper's: it is too wide to decide."
        if said(0.5, 1.0, 2.0) != yes or said(0.5, 0.1, 0.3) != yes:
            yield "[1, 2] and [0.1, 0.3] lie on the paper's side of zero; their size is another question."
        if said(0.5, -0.2, 0.3) != no:
            yield "every gain in [-0.2, 0.3] is smaller than the paper's 0.5."
        if said(0.5, -2.0, -1.0) != no:
            yield "[-2, -1] lies on the other side: every gain in it is smaller than 0.5."
        if said(-0.4, -0.6, -0.1) != yes or said(-0.4, 0.1, 0.9) != no:
            yield "a paper's gain may be negative, as for the deviation of pairs: its side is below zero."
        if said(-0.4, -0.3, 0.2) != no or said(-0.4, -0.6, 0.2) != open_:
            yield "for a paper's gain of -0.4, [-0.3, 0.2] is too small, and [-0.6, 0.2] too wide to decide."

    return verdict(first_problem(answer, cases), "the rule of this report, in your own code.")


def best_of_ten(answer: object) -> bool:
    """Exercise 2: points that the best of ten equal looks at 744 clips adds, on average."""

    def cases(answer: Any) -> Iterator[str]:
        value, error = number(answer), math.sqrt(0.7765 * (1 - 0.7765) / 744)
        lift = 1.5388 * error  # the mean of the largest of ten normal draws, times the standard error
        if abs(value - lift) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 77.65 - 100 * lift) < 0.2:
            yield "that is the mean of the best; subtract the accuracy that all ten share."
        if abs(value - 100 * error) < 0.1:
            yield "that is the spread of a single look; take the largest of ten, and the mean over many."
        if abs(value - 200 * lift) < 0.2:
            yield "that is from the worst of ten to the best; count from the accuracy that all ten share."
        if abs(value) < 0.1:
            yield "the mean of ten looks adds nothing; the best of ten does."
        if abs(value - 100 * lift) > 0.1:
            yield "draw 744 clips ten times, keep the best of ten, repeat often, and average what it adds."

    return verdict(first_problem(answer, cases), "2.3 points, from choosing alone.")


def seeds_for(answer: object) -> bool:
    """Exercise 3: seeds per arm that show a gain with 80 % power at the 5 % level."""
    level, power = 1.959964, 0.841621  # standard deviations for 5 % in two tails, and for 80 %

    def needed(gain: float, first: float, second: float, deviations: float = level + power) -> float:
        return deviations**2 * (first**2 + second**2) / gain**2

    def cases(f: Any) -> Iterator[str]:
        case = (0.25, 1.0, 3.0)
        value, whole = number(f(*case)), needed(*case)
        if value < 1:
            yield f"f{case} must be a number of seeds, and yours is {value:g}."
        mistakes = {
            needed(0.25, 1, 0): "there are two arms, and the variance of a difference is the sum of both.",
            needed(0.25, 0, 3): "there are two arms, and the variance of a difference is the sum of both.",
            whole / 2: "the variance of a difference is the sum of both arms' variances, not their mean.",
            needed(*case, level): "with so few, half of all studies miss the gain: 80 % power asks for more.",
            needed(*case, level + 1.281552): "that is 90 % power; for 80 % it is 0.84 deviations.",
            needed(*case, 1.644854 + power): "that is one-sided; 5 % in two tails is 1.96 deviations.",
            needed(0.25, 4, 0): "spreads add as squares: 1 and 9 make 10, and not 16.",
            needed(0.25, 2, 0): "square the spreads: 1 and 3 make variances of 1 and 9.",
            whole * 0.25: "the standard error falls with the root of the seeds: divide by the gain squared.",
            whole / (level + power): "square the 2.80 deviations too.",
            2 * whole: "that is both arms together; the exercise asks for the seeds of each.",
        }
        for wrong, why in mistakes.items():
            if abs(value - wrong) <= 2 + 0.003 * wrong:
                yield f"f{case} is {value:g}: {why}"
        for case in ((0.25, 1.0, 3.0), (0.25, 3.0, 1.0), (-0.5, 1.0, 1.0)):
            value, fewest = number(f(*case)), math.ceil(needed(*case))
            rounded = math.ceil(needed(*case, 1.96 + 0.84))  # as in the hint; it is one less in two cases
            if not rounded - 1 < value <= fewest + 3:  # Student's t takes one or two more than the normal
                yield f"f{case} must be {fewest}, or a few more with Student's t, and yours is {value:g}."
            if value != int(value):
                yield f"{value:.1f} seeds cannot be run: round up."

    return verdict(first_problem(answer, cases), "what a gain of this size asks of each arm.")
