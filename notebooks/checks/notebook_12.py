"""Checks of notebook 12, CUBICC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import filled, first_problem, number, tensor, verdict

EXACT = 1e-6  # float32 has shares to seven digits


def best_naming(answer: object) -> bool:
    """Exercise 1: the share that is right where clusters are named after classes, at best."""

    def cases(f: Any) -> Iterator[str]:
        labels = [0, 0, 0, 1, 1, 2]
        value = number(f(labels, [2, 2, 2, 0, 0, 1]))
        if value == 0:
            yield "clusters have no names: 2, 2, 2, 0, 0, 1 sorts 0, 0, 0, 1, 1, 2 perfectly."
        if value == 6:
            yield "it returned how many are right: divide by how many there are."
        if abs(value - 1) > EXACT:
            yield f"a perfect sorting under other numbers must give 1, and yours gives {value:.3g}."
        value = number(f(labels, [0] * 6))
        if abs(value - 0.5) > EXACT:
            yield f"one cluster is named after its largest class, 3 of 6 right, and yours gives {value:.3g}."
        value = number(f(labels, list(range(6))))
        if abs(value - 1) < EXACT:
            yield "six clusters, three classes: no class may name two clusters, so three stay without a name."
        if abs(value - 0.5) > EXACT:
            yield f"a cluster for each of six samples of three classes gives 3 / 6, not {value:.3g}."
        value = number(f([0] * 8 + [1] * 5, [0] * 5 + [1] * 3 + [0] * 4 + [1]))
        if abs(value - 8 / 13) < EXACT:
            yield "both clusters were named after the class that is largest in them; no class may name two."
        if abs(value - 6 / 13) < EXACT:
            yield "naming the largest count first, or in order, is not the best way: try all namings."
        if abs(value - 7 / 13) > EXACT:
            yield f"counts 5, 3 of one class and 4, 1 of the other: 3 + 4 of 13 are right, not {value:.3g}."
        value = number(f([0, 1, 2, 2], [0, 0, 1, 1]))
        if abs(value - 0.75) > EXACT:
            yield f"of three classes in two clusters of two, 1 + 2 of 4 are right, not {value:.3g}."
        value = number(f([7, 7, 30], [100, 100, 5]))
        if abs(value - 1) > EXACT:
            yield f"numbers may have gaps: 7, 7, 30 and 100, 100, 5 must give 1, not {value:.3g}."

    return verdict(first_problem(answer, cases), "the best of all namings, with none given twice.")


def photograph_error(answer: object) -> bool:
    """Exercise 2: standard error, in points, of 87.5 % on 132 pictures of ten pairs each."""

    def cases(answer: Any) -> Iterator[str]:
        value, variance = number(answer), 0.875 * 0.125
        if abs(value - 100 * math.sqrt(variance / 1320)) < 0.02:
            yield "that is for 1,320 independent pairs; the ten of a photograph are right or wrong together."
        if abs(value - math.sqrt(variance / 132)) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * variance / 132) < 0.01:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(variance)) < 0.1:
            yield "that is for a single photograph; the mean of 132 has a 132nd of the variance."
        if abs(value - 100 * math.sqrt(variance / 13200)) < 0.02:
            yield "ten pairs of a photograph make the sample smaller, not larger."
        if abs(value - 100 * math.sqrt(variance / 132)) > 0.05:
            yield "ask how many answers the method really gave: one a photograph, right with p = 0.875."

    return verdict(first_problem(answer, cases), "2.9 points: there are 132 answers, and not 1,320.")


def three_rules(answer: object) -> bool:
    """Exercise 3: two distributions that three rules read as three different clusters."""

    def cases(f: Any) -> Iterator[str]:
        p, q = filled(f())
        p, q = tensor(p, "p", 1, dtype=torch.float64), tensor(q, "q", 1, dtype=torch.float64)
        if p.shape != q.shape or len(p) < 4:
            shapes = f"{tuple(p.shape)} and {tuple(q.shape)}"
            yield f"the shapes are {shapes}: give two lists of equal length, 4 or more."
        for name, x in (("p", p), ("q", q)):
            if (x < 0).any() or abs(x.sum() - 1) > 1e-6:
                yield f"{name} is not a distribution: no entry may be negative, and their sum must be 1."
        for name, x in (("p", p), ("q", q), ("the product", p * q), ("the mean", (p + q) / 2)):
            largest = x.topk(2).values
            if name not in "pq" and largest[0] - largest[1] < 1e-9:
                yield f"two entries of {name} are equally large: make one of them the largest."
        if abs(p.max() - q.max()) < 1e-9:
            yield "both are equally certain: make the largest entry of one of them larger."
        rules = {
            "the product": int((p * q).argmax()),
            "the mean": int((p + q).argmax()),
            "the more certain one": int((p if p.max() > q.max() else q).argmax()),
        }
        # Where the product and the more certain one agree, the mean agrees with both.
        for first, second in (("the product", "the mean"), ("the mean", "the more certain one")):
            if rules[first] == rules[second]:
                yield f"{first} and {second} both say {rules[first]}: they have to differ."

    return verdict(first_problem(answer, cases), "three rules, three clusters: a table must name its rule.")
