"""Checks of notebook 09, controls and ablations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .judging import Unsuitable, filled, first_problem, number, of_kind, scalar, tensor, verdict

HINGE, UNCORRELATED = 0.01, 1e-4  # how near to its lowest value; squares of covariances


def blind_controls(answer: object) -> bool:
    """Exercise 1: batches that satisfy a term and break what it seems to promise."""

    def one(value: object, name: str, count: int, width: int) -> torch.Tensor:
        z = tensor(value, name, 2).double()
        if z.shape != (count, width):
            raise Unsuitable(f"{name} has shape {tuple(z.shape)}, and ({count}, {width}) was asked for.")
        return z

    def two(value: object, name: str, count: int, width: int) -> list[torch.Tensor]:
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise Unsuitable(f"for {name!r} return two batches, a and b.")
        return [one(z, f"{m} of {name!r}", count, width) for z, m in zip(value, "ab", strict=True)]

    def cases(f: Any) -> Iterator[str]:
        for width, count in ((16, 320), (5, 200), (12, 240)):
            asked = f"with width {width} and count {count},"
            for name in ("variance", "covariance", "both"):
                z = one(filled(f(name, width, count)), f"the batch for {name!r}", count, width)
                yield from (f"{asked} {said}" for said in _of_one(name, z))
            for name in ("twins", "alignment"):
                a, b = two(filled(f(name, width, count)), name, count, width)
                yield from (f"{asked} {said}" for said in _of_two(name, a, b))

    return verdict(first_problem(answer, cases), "each term sees what it measures, and nothing else.")


def _of_one(name: str, z: torch.Tensor) -> Iterator[str]:
    """Yield what is wrong with a batch (N, D) for one term, or for both."""
    from geomreg_mini.controls import variance_hinge
    from geomreg_mini.geometry import effective_rank, mean_cosine

    count, width = z.shape
    if (z.norm(dim=1) - 1).abs().max() > 1e-4:
        yield f"{name!r} has rows that are not of length 1."
    lowest = 1 - (count / (count - 1) / width) ** 0.5
    hinge, covariance = variance_hinge(z.var(dim=0)).item(), torch.cov(z.T)
    off = (covariance.square().sum() - covariance.diagonal().square().sum()).item()
    if name != "covariance" and hinge > lowest + HINGE:
        yield (
            f"{name!r} has the hinge {hinge:.3f}, and unit vectors can reach {lowest:.3f}: all features need "
            "the same variance, and the mean must be 0."
        )
    if name != "variance" and off > UNCORRELATED:
        yield f"{name!r} has covariances whose squares sum to {off:.2g}: its features are correlated."
    if name == "variance" and (rank := effective_rank(z)) > 1.05:
        yield f"'variance' has effective rank {rank:.2f}: put all rows on one line."
    if name == "covariance" and (cosine := mean_cosine(z)) < 0.99:
        yield f"'covariance' has a mean cosine of {cosine:.2f}: a collapsed batch has no covariance either."
    places = len(torch.unique(z.round(decimals=3), dim=0))
    if name == "both" and places > 2 * width:
        yield f"'both' has {places} different places: with {2 * width} of them the terms are content already."


def _of_two(name: str, a: torch.Tensor, b: torch.Tensor) -> Iterator[str]:
    """Yield what is wrong with two batches that satisfy Barlow Twins or alignment, and not the other."""
    from geomreg_mini.controls import AlwaysOnAlignment, BarlowTwins

    twins = BarlowTwins(1.0)({"a": a, "b": b}).total.item() / a.shape[1]
    apart = AlwaysOnAlignment(1.0)({"a": a, "b": b}).total.item()
    if name == "twins" and twins > 0.02:
        yield f"'twins' leaves Barlow Twins at {twins:.2f} per feature: each one must agree over the batch."
    if name == "twins" and apart < 1:
        yield f"'twins' has a mean squared distance of {apart:.2f}: which changes does standardizing undo?"
    if name == "alignment" and apart > 1e-3:
        yield f"'alignment' has a mean squared distance of {apart:.3f}: partners must have one direction."
    if name == "alignment" and twins < 0.5:
        yield f"'alignment' has Barlow Twins at {twins:.2f} per feature: what has nothing to correlate?"


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


def _masks(x: np.ndarray, level: float, ddof: int = 1, normal: bool = False) -> dict[str, np.ndarray]:
    """Return for each rule which rows of differences (rows, seeds) it finds."""
    from scipy.stats import norm, t

    count, seeds = x.shape
    ratio = abs(x.mean(1)) / (x.std(1, ddof=ddof) / seeds**0.5)
    p = 2 * (norm.sf(ratio) if normal else t.sf(ratio, seeds - 1))
    order, place = p.argsort(), np.arange(count)
    holm = np.cumprod(p[order] <= level / (count - place)).astype(bool)
    reached = np.flatnonzero(p[order] <= level * (place + 1) / count)
    discoveries = place <= (reached[-1] if len(reached) else -1)
    found = {"alone": p <= level, "Bonferroni": p <= level / count}
    return found | {name: m[order.argsort()] for name, m in {"Holm": holm, "FDR": discoveries}.items()}


def _with_p(p: list[float], seeds: int) -> np.ndarray:
    """Return differences (rows, seeds) that have these p-values, with signs in turn."""
    from scipy.stats import t

    pattern = np.linspace(-1, 1, seeds) ** 3
    means = t.isf(np.array(p) / 2, seeds - 1) * pattern.std(ddof=1) / seeds**0.5
    return (means[:, None] + pattern) * np.resize([1, -1], (len(p), 1))


def many_intervals(answer: object) -> bool:
    """Exercise 3: which differences four rules find."""
    rules = ("alone", "Bonferroni", "Holm", "FDR")

    def table(seed: int, count: int, seeds: int, effect: float) -> np.ndarray:
        draw = np.random.default_rng(seed)
        effects = effect * draw.permutation(np.linspace(-1, 1, count))
        return effects[:, None] + draw.normal(size=(count, seeds)) - 0.5 * draw.normal(size=seeds)

    def tables() -> Iterator[np.ndarray]:
        shapes = [(10, 5, 4.0), (10, 5, 0.0), (6, 8, 1.5), (20, 6, 2.5), (12, 20, 0.9), (30, 10, 1.5)]
        yield from (table(seed, *shape) for seed, shape in enumerate(shapes * 3))
        yield _with_p([0.03, 0.02, 0.006, 0.04, 0.045, 0.02], 6)  # Holm stops at once
        yield _with_p([0.4, 0.012, 0.001, 0.0126, 0.02, 0.9, 0.013, 0.2], 5)

    def cases(f: Any) -> Iterator[str]:
        for number_of, x in enumerate(tables()):
            level = (0.05, 0.05, 0.1, 0.01)[number_of % 4] if number_of < 18 else 0.05
            given = of_kind(f(x.copy(), level), dict, "a dict of four masks")
            if set(given) != set(rules):
                yield f"it has the names {sorted(map(str, given))}: give {', '.join(rules)}."
            masks = {name: tensor(given[name], f"the mask of {name!r}", 1) for name in rules}
            wanted = _masks(x, level)
            for name, mask in masks.items():
                if len(mask) != len(x):
                    yield f"the mask of {name!r} has {len(mask)} entries for {len(x)} rows: give one each."
                if not ((mask == 0) | (mask == 1)).all():
                    yield f"the mask of {name!r} has other values than True and False."
                yield from _wrong_mask(name, mask.bool().numpy(), wanted, x, level)

    return verdict(first_problem(answer, cases), "four rules, from the boldest to the most careful.")


def _wrong_mask(
    name: str, found: np.ndarray, wanted: dict[str, np.ndarray], x: np.ndarray, level: float
) -> Iterator[str]:
    if np.array_equal(found, wanted[name]):
        return
    if np.array_equal(found, ~wanted[name]):
        yield f"the mask of {name!r} is turned round: True is a difference that is found."
    if name in ("alone", "Bonferroni") and np.array_equal(found, _masks(x, level, normal=True)[name]):
        yield f"{name!r} takes the normal distribution: with few seeds it is Student's t."
    if name in ("alone", "Bonferroni") and np.array_equal(found, _masks(x, level, ddof=0)[name]):
        yield f"{name!r} divides the variance by n: a deviation from few seeds needs n - 1."
    for other, mask in wanted.items():
        if other != name and np.array_equal(found, mask) and mask.any():
            yield f"the mask of {name!r} is that of {other!r}."
    how = {
        "alone": "p is at most the level",
        "Bonferroni": "p is at most the level over the number of rows",
        "Holm": "go up from the smallest p, and stop at the first that is above level / (rows left)",
        "FDR": "the largest k whose k-th smallest p is at most level * k / rows; it takes all k with it",
    }
    yield (
        f"{name!r} finds {int(wanted[name].sum())} of {len(x)} rows at level {level:g}, and yours "
        f"{int(found.sum())}, or others: {how[name]}."
    )
