"""Checks of notebook 16, contrastive geometry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import torch
from torch.nn import functional as F

from .judging import Unsuitable, filled, first_problem, number, scalar, tensor, verdict

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
        way, step = _cloud(8, 5, seed=2), 1e-4
        for k, (name, z) in enumerate(zip("ab", leaves, strict=True)):
            if z.grad is None or not z.grad.isfinite().all() or not z.grad.any():
                yield f"no finite gradient reaches {name}: both modalities must feel the loss."
            ends = []
            for sign in (1, -1):
                moved = [a, b]
                moved[k] = moved[k] + sign * step * way
                ends.append(_loss(*moved, repeated, 0.3))
            if abs((z.grad * way).sum().item() - (ends[0] - ends[1]) / (2 * step)) > 1e-3:
                yield f"the value is right, the gradient of {name} is not: no part of it may be detached."

    return verdict(first_problem(answer, cases), "no picture is pushed from its own name.")


def broken_claims(answer: object) -> bool:
    """Exercise 2: worlds in which the premise of a claim holds and its conclusion fails."""

    def cases(f: Any) -> Iterator[str]:
        for count in (150, 101, 260):
            for claim, problems in PROBLEMS.items():
                given = filled(f(claim, count))
                if not isinstance(given, tuple | list) or len(given) != 2:
                    raise Unsuitable(f"for {claim!r} return two matrices, a and b, in one tuple.")
                a, b = (
                    tensor(z, f"{name} of {claim!r}", 2).double() for z, name in zip(given, "ab", strict=True)
                )
                if a.shape != b.shape or len(a) != count:
                    yield (
                        f"{claim!r} has shapes {tuple(a.shape)} and {tuple(b.shape)}: give "
                        f"({count}, D) twice if count is {count}."
                    )
                yield from (f"with count {count}, {claim!r} has {said}" for said in problems(a, b))

    return verdict(first_problem(answer, cases), "sentences that sound alike, and say different things.")


def _recalls(a: torch.Tensor, b: torch.Tensor) -> list[float]:
    from geomreg_mini.geometry import retrieval_recall

    return sorted([retrieval_recall(a, b), retrieval_recall(b, a)])


def _neighborhoods(a: torch.Tensor, b: torch.Tensor) -> Iterator[str]:
    from geomreg_mini.geometry import uniformity

    spread, shared = max(uniformity(a), uniformity(b)), _tied(a, b, 10)
    if spread > -3:
        yield f"uniformity {spread:.2f}: use more dimensions, to get below -3."
    if shared < 0.99:
        yield f"mutual 10-NN {shared:.2f}: keep all distances within each modality."
    if (found := _recalls(a, b)[1]) > 0:
        yield f"R@1 {found:.3f}: some partner is still the nearest; turn b farther."


def _gap(a: torch.Tensor, b: torch.Tensor) -> Iterator[str]:
    from geomreg_mini.geometry import modality_gap

    if (found := _recalls(a, b)[0]) < 1:
        yield f"R@1 {found:.3f}: each partner must be found, both ways."
    if (gap := modality_gap(a, b)) < 1:
        yield f"a modality gap of {gap:.2f}: move the modalities apart, to 1 or more."


def _high_loss(a: torch.Tensor, b: torch.Tensor) -> Iterator[str]:
    share = _loss(a, b, list(range(len(a))), TAU) / math.log(len(a))
    if (found := _recalls(a, b)[0]) < 1:
        yield f"R@1 {found:.3f}: each partner must be found, both ways."
    if share < 0.95:
        yield f"{100 * share:.0f} % of log N: make the differences of cosines smaller."


def _hubs(a: torch.Tensor, b: torch.Tensor) -> Iterator[str]:
    from geomreg_mini.geometry import mean_cosine
    from geomreg_mini.measure import hubness

    for name, z in (("a", a), ("b", b)):
        if abs(cosine := mean_cosine(z)) > 0.05:
            yield f"a mean cosine of {cosine:.2f} in {name}: let two halves point in opposite ways."
        if (skew := hubness(z)) < 1.5:
            yield f"hubness {skew:.2f} in {name}: a few rows must be nearer than others to a middle."


def _rotation(a: torch.Tensor, b: torch.Tensor) -> Iterator[str]:
    u, v = F.normalize(a, dim=1), F.normalize(b, dim=1)
    # The sum of singular values of U^T V is the largest sum of cosines that a rotation reaches.
    fitted = torch.linalg.svdvals(torch.linalg.qr(u.T).R @ torch.linalg.qr(v.T).R.T).sum().item() / len(a)
    if fitted < 0.9:
        yield f"a mean cosine of {fitted:.2f} after the best rotation: what can a rotation memorize?"
    if (shared := _tied(a, b, 10)) > 0.2:
        yield f"mutual 10-NN {shared:.2f}: the spaces must have nothing to do with each other."


PROBLEMS = {
    "neighborhoods": _neighborhoods,
    "gap": _gap,
    "loss": _high_loss,
    "hubs": _hubs,
    "rotation": _rotation,
}


def _lists(z: torch.Tensor, k: int) -> torch.Tensor:
    """Return each row's places in the list of its k nearest, (N, N), shared by those that tie."""
    u = F.normalize(z, dim=1)
    scores = (u @ u.T).fill_diagonal_(-math.inf)
    last = scores.topk(k, dim=1).values[:, -1:]
    nearer, tied = scores > last + 1e-9, (scores - last).abs() <= 1e-9
    return nearer + tied * (k - nearer.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)


def _tied(a: torch.Tensor, b: torch.Tensor, k: int) -> float:
    return (_lists(a, k) * _lists(b, k)).sum().item() / (k * len(a))


def calibrated_knn(answer: object) -> bool:
    """Exercise 3: mutual k-NN with ties broken at random, in expectation, and its share of permutations."""

    def cases(f: Any) -> Iterator[str]:
        def both(a: torch.Tensor, b: torch.Tensor, k: int, draws: int = 3) -> tuple[float, float]:
            found = filled(f(a.clone(), b.clone(), k, draws, torch.Generator().manual_seed(11)))
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise Unsuitable("return two numbers: the score and the share of permutations.")
            return number(found[0]), number(found[1])

        yield from _wrong_scores(lambda a, b, k: both(a, b, k)[0])
        same, a, other = torch.ones(12, 3, dtype=torch.float64), _cloud(30, 6), _cloud(30, 4, seed=1)
        share = both(same, same, 4, 50)[1]
        if abs(share - 1) > 1e-6:
            yield (
                f"with collapsed encoders all permutations score the same: the share is 1, not {share:.3f}; "
                "allow for rounding when you compare."
            )
        share = both(a, a, 5, 199)[1]
        if share < 1e-6:
            yield "the share is 0: the partners as they are count as one permutation, on both sides of it."
        if abs(share - 1 / 200) > 1e-6:
            yield f"a space and itself: none of 199 permutations comes near: 1/200, not {share:.4f}."
        for seed in range(4):
            one, two = _cloud(6, 3, seed=seed), _cloud(6, 3, seed=seed + 20)
            two = two + 0.6 * one if seed % 2 else two[[0, 0, 1, 2, 3, 4]]
            lists, size = [_lists(z, 2) for z in (one, two)], 6
            scores = torch.stack([
                (lists[0] * lists[1][list(p)][:, list(p)]).sum() for p in permutations(range(size))
            ])  # fmt: skip
            exact, found = (scores >= scores[0] - 1e-9).double().mean().item(), both(one, two, 2, 2000)[1]
            if abs(found - exact) > 4 * math.sqrt(exact * (1 - exact) / 2000) + 0.005:
                yield (
                    f"of all permutations of 6 rows {exact:.3f} score at least as high, and yours is "
                    f"{found:.3f}: a permuted row takes its list along, and the names in it change, too."
                )
        if any(both(a, other, k, 200) != both(a, other, k, 200) for k in (2, 5, 8)):
            yield "the same generator must give the same share: draw from it alone."

    return verdict(first_problem(answer, cases), "a score with its chance, and ties cannot fake it.")


def _wrong_scores(value: Callable[[torch.Tensor, torch.Tensor, int], float]) -> Iterator[str]:
    a, other = _cloud(30, 6), _cloud(30, 4, seed=1)
    found = value(a, a, 5)
    if abs(found - 5) < 1e-6:
        yield "equal spaces share 5 of 5 neighbors, and the score is a share: divide by k."
    if abs(found - 1) > 1e-6:
        yield f"a space agrees with itself, so the score is 1, and yours is {found:.3f}."
    found, wanted = value(a, other, 5), _tied(a, other, 5)
    if abs(found - (5 * wanted + 1) / 6) < 1e-6 or abs(found - (4 * wanted + 1) / 5) < 0.02:
        yield "each row is its own nearest in your lists: leave it out."
    if abs(found - wanted) > 1e-6:
        yield f"two spaces without ties share {wanted:.3f}, and yours is {found:.3f}."
    long = a * torch.linspace(1, 20, 30, dtype=torch.float64)[:, None]
    if abs(value(long, other, 5) - wanted) > 1e-6:
        yield "longer rows change your score: nearness is the cosine."
    same = torch.ones(12, 3, dtype=torch.float64)
    found = value(same, same, 4)
    if abs(found - 1) < 1e-6:
        yield "two collapsed encoders still score 1: rows that tie must share the places."
    if abs(found - 4 / 11) > 1e-6:
        yield f"two collapsed encoders have chance, 4/11 = 0.364, and yours is {found:.3f}."
    found = value(same, a[:12], 4)
    if abs(found - 4 / 11) > 1e-6:
        yield f"one collapsed encoder has chance as well, 0.364, and yours is {found:.3f}."
    twice = a[:10].repeat_interleave(3, dim=0)
    for k in (1, 4):
        found, wanted = value(twice, other, k), _tied(twice, other, k)
        if abs(found - wanted) > 1e-6:
            yield (
                f"with three copies of each row and k = {k} it must be {wanted:.3f}, and yours is "
                f"{found:.3f}: nearer rows are in for certain, and the tied ones share what is left."
            )
    if abs(value(other, twice, 4) - _tied(other, twice, 4)) > 1e-6:
        yield "ties in the second space are not shared: treat both spaces alike."
    if abs(value(a, other, 29) - 1) > 1e-6:
        yield "with k = N - 1 every other row is in both lists, and the score is 1."
