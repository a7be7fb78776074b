"""Checks of notebook 16, contrastive geometry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from .judging import Unsuitable, filled, first_problem, number, scalar, tensor, verdict

LEAST = 100  # rows of a world
TAU = 0.07  # of the third claim


def _cloud(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _loss(a: torch.Tensor, b: torch.Tensor, names: list[int], temperature: float, way: str = "both") -> float:
    """Return InfoNCE without competitors of the same name; ``way``: "a to b", "b to a" or "both"."""
    scores = (F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature).tolist()
    count, losses = len(names), []
    for i in range(count):
        rivals = [j for j in range(count) if j == i or names[j] != names[i]]
        for asked, row in (("a to b", scores[i]), ("b to a", [scores[j][i] for j in range(count)])):
            if way in ("both", asked):
                losses.append(math.log(sum(math.exp(row[j]) for j in rivals)) - row[i])
    return sum(losses) / len(losses)


def masked_info_nce(answer: object) -> bool:
    """Exercise 1: InfoNCE in which pairs of the same name do not compete."""
    a, b, repeated = _cloud(8, 5), _cloud(8, 5, seed=1), [3, 7, 3, 1, 9, 7, 3, 4]

    def cases(f: Any) -> Iterator[str]:
        def value(a: torch.Tensor, b: torch.Tensor, names: list[int], temperature: float = 0.3) -> float:
            return number(scalar(f(a, b, torch.tensor(names), temperature), if_not_finite=undefined))

        undefined = "it is not finite: the own pair must stay in the sum, and the scores must not overflow."
        found, wanted = value(a, b, list(range(8))), _loss(a, b, list(range(8)), 0.3)
        for way in ("a to b", "b to a"):
            if abs(found - _loss(a, b, list(range(8)), 0.3, way)) < 1e-4:
                yield f"this is the direction from {way} alone: take the mean of both."
        if abs(found - 8 * wanted) < 1e-3:
            yield "this is the sum over pairs: take the mean."
        if abs(found - 2 * wanted) < 1e-4:
            yield "this is the sum of both directions: take the mean."
        if abs(value(3 * a, b, list(range(8))) - found) > 1e-4:
            yield "longer rows change your loss: cosines need rows of length 1."
        if abs(found - wanted) > 1e-4:
            yield f"without repeated names it is InfoNCE, {wanted:.3f}, and yours is {found:.3f}."
        found, wanted = value(a, b, repeated), _loss(a, b, repeated, 0.3)
        if abs(found - _loss(a, b, list(range(8)), 0.3)) < 1e-4:
            yield "repeated names change nothing in your loss: they must leave the sum over competitors."
        if found < wanted - 1e-4 and abs(value(a, b, [5] * 8)) > 1e-4:
            yield "if all names are equal the loss is 0: the own pair alone is left, and it must stay."
        if abs(found - wanted) > 1e-4:
            yield (
                f"with repeated names it must be {wanted:.3f}, and yours is {found:.3f}: a pair that leaves "
                "the sum has score minus infinity, in both directions."
            )
        if abs(value(a, b, repeated, 1.0) - _loss(a, b, repeated, 1.0)) > 1e-4:
            yield "at temperature 1 the value is wrong: divide the cosines by the temperature."
        if abs(value(a, b, [5] * 8)) > 1e-4:
            yield "if all names are equal, there is no competitor, and the loss is 0."
        leaves = [z.clone().requires_grad_() for z in (a, b)]
        loss = scalar(f(*leaves, torch.tensor(repeated), 0.3))
        if not loss.requires_grad:
            yield "the loss carries no gradient: keep it a tensor."
        loss.backward()
        for name, z in zip(("a", "b"), leaves, strict=True):
            if z.grad is None or not z.grad.isfinite().all() or not z.grad.any():
                yield f"no finite gradient reaches {name}: both modalities must feel the loss."

    return verdict(first_problem(answer, cases), "no picture is pushed from its own name.")


def broken_claims(answer: object) -> bool:
    """Exercise 2: worlds in which the premise of a claim holds and its conclusion fails."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini.geometry import modality_gap, retrieval_recall, uniformity

        def world(claim: str) -> tuple[torch.Tensor, torch.Tensor]:
            given = filled(f(claim))
            if not isinstance(given, (tuple, list)) or len(given) != 2:
                raise Unsuitable(f"for {claim!r} return two matrices, a and b, in one tuple.")
            a, b = (
                tensor(z, f"{name} of {claim!r}", 2).double() for z, name in zip(given, "ab", strict=True)
            )
            return a, b

        for claim in ("neighborhoods", "gap", "loss"):
            a, b = world(claim)
            if a.shape != b.shape or len(a) < LEAST:
                yield (
                    f"{claim!r} has shapes {tuple(a.shape)} and {tuple(b.shape)}: give (N, D) twice, with N "
                    f"at least {LEAST}."
                )
        a, b = world("neighborhoods")
        spread, shared = max(uniformity(a), uniformity(b)), _tied(a, b, 10)
        found = max(retrieval_recall(a, b), retrieval_recall(b, a))
        if spread > -3:
            yield f"'neighborhoods' has uniformity {spread:.2f}: use more dimensions, to get below -3."
        if shared < 0.99:
            yield f"'neighborhoods' has mutual 10-NN {shared:.2f}: keep all distances within each modality."
        if found > 0:
            yield f"'neighborhoods' has R@1 {found:.3f}: some partner is still the nearest; turn b farther."
        a, b = world("gap")
        found, gap = min(retrieval_recall(a, b), retrieval_recall(b, a)), modality_gap(a, b)
        if found < 1:
            yield f"'gap' has R@1 {found:.3f}: each partner must be found, both ways."
        if gap < 1:
            yield f"'gap' has a modality gap of {gap:.2f}: move the modalities apart, to 1 or more."
        a, b = world("loss")
        found, count = min(retrieval_recall(a, b), retrieval_recall(b, a)), len(a)
        share = _loss(a, b, list(range(count)), TAU) / math.log(count)
        if found < 1:
            yield f"'loss' has R@1 {found:.3f}: each partner must be found, both ways."
        if share < 0.95:
            yield f"'loss' has {100 * share:.0f} % of log N: make the differences of cosines smaller."

    return verdict(
        first_problem(answer, cases), "three sentences that sound alike, and say different things."
    )


def _lists(z: torch.Tensor, k: int) -> torch.Tensor:
    """Return each row's places in the list of its k nearest, (N, N), shared by those that tie."""
    u = F.normalize(z, dim=1)
    scores = (u @ u.T).fill_diagonal_(-math.inf)
    last = scores.topk(k, dim=1).values[:, -1:]
    nearer, tied = scores > last + 1e-9, (scores - last).abs() <= 1e-9
    return nearer + tied * (k - nearer.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)


def _tied(a: torch.Tensor, b: torch.Tensor, k: int) -> float:
    return (_lists(a, k) * _lists(b, k)).sum().item() / (k * len(a))


def tied_knn(answer: object) -> bool:
    """Exercise 3: mutual k-NN whose ties are broken at random, in expectation."""

    def cases(f: Any) -> Iterator[str]:
        a, other = _cloud(30, 6), _cloud(30, 4, seed=1)
        value = number(f(a, a, 5))
        if abs(value - 5) < 1e-6:
            yield "equal spaces share 5 of 5 neighbors, and the score is a share: divide by k."
        if abs(value - 1) > 1e-6:
            yield f"a space agrees with itself, so the score is 1, and yours is {value:.3f}."
        value, wanted = number(f(a, other, 5)), _tied(a, other, 5)
        if abs(value - (5 * wanted + 1) / 6) < 1e-6 or abs(value - (4 * wanted + 1) / 5) < 0.02:
            yield "each row is its own nearest in your lists: leave it out."
        if abs(value - wanted) > 1e-6:
            yield f"two spaces without ties share {wanted:.3f}, and yours is {value:.3f}."
        long = a * torch.linspace(1, 20, 30, dtype=torch.float64)[:, None]
        if abs(number(f(long, other, 5)) - wanted) > 1e-6:
            yield "longer rows change your score: nearness is the cosine."
        same = torch.ones(12, 3, dtype=torch.float64)
        value = number(f(same, same, 4))
        if abs(value - 1) < 1e-6:
            yield "two collapsed encoders still score 1: rows that tie must share the places."
        if abs(value - 4 / 11) > 1e-6:
            yield f"two collapsed encoders have chance, 4/11 = 0.364, and yours is {value:.3f}."
        value = number(f(same, a[:12], 4))
        if abs(value - 4 / 11) > 1e-6:
            yield f"one collapsed encoder has chance as well, 0.364, and yours is {value:.3f}."
        twice = a[:10].repeat_interleave(3, dim=0)
        for k in (1, 4):
            value, wanted = number(f(twice, other, k)), _tied(twice, other, k)
            if abs(value - wanted) > 1e-6:
                yield (
                    f"with three copies of each row and k = {k} it must be {wanted:.3f}, and yours is "
                    f"{value:.3f}: nearer rows are in for certain, and the tied ones share what is left."
                )
        if abs(number(f(other, twice, 4)) - _tied(other, twice, 4)) > 1e-6:
            yield "ties in the second space are not shared: treat both spaces alike."
        if abs(number(f(a, other, 29)) - 1) > 1e-6:
            yield "with k = N - 1 every other row is in both lists, and the score is 1."

    return verdict(first_problem(answer, cases), "collapsed encoders agree by chance, and no more.")
