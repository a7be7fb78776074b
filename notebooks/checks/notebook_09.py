"""Checks of notebook 09, controls and ablations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import filled, first_problem, number, scalar, verdict


def hinge_floor(answer: object) -> bool:
    """Exercise 1: the least that VICReg's hinge can be for unit vectors of D features."""

    def cases(f: Any) -> Iterator[str]:
        value, best = number(f(128)), 128**-0.5
        if abs(value) < 0.02:
            yield "0 would mean a standard deviation of 1 in each feature: their squares sum to 1 at most."
        if abs(value - best) < 0.002:
            yield "that is the largest standard deviation; the hinge is what is missing to the target 1."
        if abs(value - (1 - best**2)) < 0.002:
            yield "1 / D is the largest mean variance, and the hinge takes the standard deviation: its root."
        if abs(value - (1 - best)) > 0.002:
            yield f"for D = 128 the hinge stays at {1 - best:.3f} or above, and yours is {value:.3f}."
        for width in (4, 9, 16):
            value, wanted = number(f(width)), 1 - width**-0.5
            if abs(value - wanted) > 0.03:
                yield f"for D = {width} it must be {wanted:.3g}, not {value:.3f}: make it a function of D."

    return verdict(first_problem(answer, cases), "unit vectors cannot meet the target, whatever they do.")


def same_length(answer: object) -> bool:
    """Exercise 2: a control, as a class, that makes modalities equally long and no more."""

    def cases(control_class: Any) -> Iterator[str]:
        a = torch.tensor([[3.0, 4], [0, 1]], requires_grad=True)
        b = torch.tensor([[1.0, 0], [0, 1]])
        control, wanted = control_class(weight=1.0), math.log(3) ** 2
        if not isinstance(control, torch.nn.Module):
            yield "it is not an nn.Module: write class SameLength(torch.nn.Module)."
        out = filled(control({"audio": a, "image": b}))
        if not hasattr(out, "total"):
            yield "the loop adds `out.total`: return a RegularizerOutput, not the number itself."
        total = scalar(out.total)
        value = number(total)
        if abs(value) < 1e-4:
            yield "lengths 5 and 1 against 1 and 1 must give more than 0: do not normalize the embeddings."
        if abs(value - 4) < 1e-4:
            yield "this compares the lengths themselves; compare their logarithms, which only see ratios."
        if abs(value - (math.log(5) / 2) ** 2) < 1e-4:
            yield "this is the mean of the logarithms; take the mean length first, then its logarithm."
        if abs(value - math.log(17) ** 2 / 4) < 1e-4:
            yield "this is the length of the mean embedding; take the length of each embedding first."
        if abs(value - math.log(3)) < 1e-4:
            yield "the difference of the logarithms must be squared."
        if abs(value - wanted) > 1e-4:
            yield f"mean lengths of 3 and 1 must give (log 3)^2 = {wanted:.3f}, and yours is {value:.3f}."
        if not total.requires_grad:
            yield "the total carries no gradient: do not detach it or turn it into a float."
        b.requires_grad_()
        own = torch.autograd.grad(scalar(control({"a": a, "b": b}).total), (a, b), allow_unused=True)
        log_ratio = a.norm(dim=1).mean().log() - b.norm(dim=1).mean().log()
        known = torch.autograd.grad(log_ratio.square(), (a, b))
        if any(g is None or not torch.allclose(g, right) for g, right in zip(own, known, strict=True)):
            yield "the value is right, its gradient is not: both modalities must feel it."
        three = number(control({"a": a, "b": b, "c": a}).total)
        if abs(three - 2 / 3 * wanted) > 1e-4:
            yield f"with three modalities it must be the mean over three pairs, here 0.805, not {three:.3f}."
        heavy = number(control_class(weight=3.0)({"a": a, "b": b}).total)
        if abs(heavy - 3 * wanted) > 1e-4:
            yield "weight=3 must give three times as much: multiply by self.weight."
        if getattr(control, "hyperparameters", dict)() != {"weight": 1.0}:
            yield "hyperparameters() must return {'weight': 1.0}: a record is read back with it."
        if control_class(weight=3.0).hyperparameters() != {"weight": 3.0}:
            yield "hyperparameters() must return the weight that the constructor was given."

    return verdict(first_problem(answer, cases), "equally long on average, and free in every direction.")


def any_by_chance(answer: object) -> bool:
    """Exercise 3: the chance that one of ten independent 95 % intervals misses, or more."""

    def cases(answer: Any) -> Iterator[str]:
        value = number(answer)
        if abs(value - 0.5) < 1e-3:
            yield "ten times 0.05 is the number expected, not the chance of at least one."
        if abs(value - 0.95**10) < 2e-3:
            yield "that is the chance that none of the ten excludes zero; you want the rest."
        if abs(value - 0.05) < 1e-3:
            yield "that is the chance for one interval; there are ten."
        if abs(value - (1 - 0.95**11)) < 2e-3:
            yield "eleven names make ten differences: one of them is what the others are compared with."
        if abs(value - (1 - 0.95**10)) > 5e-3:
            yield "one minus the chance that all ten cover: multiply ten times 0.95."

    return verdict(first_problem(answer, cases), "about 0.40, were the ten independent.")
