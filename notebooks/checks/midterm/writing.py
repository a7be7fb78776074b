"""The four tasks of the mid-term in which students write a function.

What is right is computed from how a case was made, such as its angles, and not by a function that would be
an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..judging import Unsuitable, filled, number, scalar, tensor
from .task import Task, near


def crowding(draw: np.random.RandomState) -> Task:
    """Dispersion with a mask, over pairs of one kind."""
    temperature, same = round(float(draw.uniform(0.3, 0.9)), 2), bool(draw.randint(2))
    kind = "the same group" if same else "different groups"
    angles, groups = draw.uniform(0, 2 * math.pi, 9), np.array([0, 1, 2] * 3)[draw.permutation(9)]
    lengths, every = draw.uniform(0.5, 3, 9), np.ones(9, bool)
    some = np.array([*([True] * 7), False, False])[draw.permutation(9)]

    def rows(length: np.ndarray | float = 1.0) -> torch.Tensor:
        return torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1) * np.reshape(length, (-1, 1)))

    def value(f: Any, z: torch.Tensor, present: np.ndarray) -> torch.Tensor:
        return scalar(f(z, torch.tensor(present), torch.tensor(groups)))

    def wanted(present: np.ndarray) -> float:
        use = np.outer(present, present) & ~np.eye(9, dtype=bool)
        use &= (groups[:, None] == groups) == same
        squared = 2 - 2 * np.cos(angles[:, None] - angles)
        return math.log(np.exp(-squared[use] / temperature).mean())

    def plain(f: Any) -> Iterator[str]:
        if not near(got := value(f, rows(), every).item(), wanted(every)):
            yield f"nine unit rows, all present, give {got:.3f}, which is not the mean over pairs of {kind}."

    def scaled(f: Any) -> Iterator[str]:
        if not near(value(f, rows(lengths), every).item(), wanted(every)):
            yield "rows that are not unit vectors give a wrong value: normalize them first."

    def absent(f: Any) -> Iterator[str]:
        z = rows()
        z[~some] = math.nan
        z.requires_grad_()
        loss = value(f, z, some)
        if not near(loss.item(), wanted(some)):
            yield "with two samples absent, whose rows are NaN, the value is wrong: leave them out."
        if not loss.requires_grad:
            yield "the result carries no gradient: stay with torch."
        (own,) = torch.autograd.grad(loss, z)
        if not own[some].isfinite().all() or own[some].abs().sum() < 1e-6:
            yield "the gradient of the present samples is zero or not finite if others are absent."

    def no_pair(f: Any) -> Iterator[str]:
        if not near(value(f, rows(), every).item(), wanted(every)):
            yield "the value is wrong, so the case without a pair does not count."
        z, lone = rows().requires_grad_(), np.arange(9) == 4
        loss = value(f, z, lone)
        if loss.item() != 0 or not loss.requires_grad:
            yield "one present sample has no pair: the value is 0, and must still depend on z."
        (own,) = torch.autograd.grad(loss, z, allow_unused=True)
        if own is None or not own.isfinite().all():
            yield "one present sample has no pair, and the gradient is then not finite."

    formula = r"$$\log \operatorname{mean}_{i \neq j} \exp\left(-\lVert u_i - u_j \rVert^2 / %s\right)$$"
    text = f"""Write the dispersion of one modality with a mask, over pairs of {kind} only:

{formula % temperature}

`z` is (N, D), and $u_i$ is row $i$ scaled to length 1. `present` is (N,) of Booleans: the rows of absent
samples may hold NaN and take no part. `group` is (N,) of integers: the mean runs over pairs of {kind}.
If there is no such pair, return 0. The result is a tensor with one element. It carries a gradient to `z`
in every case."""
    return Task(
        "crowding", "Dispersion with a mask", 14, text,
        "def crowding(z, present, group):\n    return ...  # your code: one number, as a tensor",
        [(6, plain), (3, scaled), (3, absent), (3, no_pair)],
    )  # fmt: skip


def pull(draw: np.random.RandomState) -> Task:
    """The band's gradient, by hand."""
    radius, power = round(float(draw.uniform(0.3, 0.9)), 2), int(draw.randint(1, 4))
    turn = draw.uniform(0, 2 * math.pi, 6)

    def case(f: Any, distances: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (the answer, the right one) for pairs of unit vectors at these distances."""
        d, at = np.array(distances), turn[: len(distances)]
        a, b = (np.stack([np.cos(x), np.sin(x), 0 * x], 1) for x in (at + 2 * np.arcsin(d / 2), at))
        beyond = np.maximum(d - radius, 0)
        slope = np.where(d > radius, power * beyond ** (power - 1), 0) / len(d)
        right = torch.tensor((a - b) * (slope / np.maximum(d, 1e-9))[:, None])
        got = tensor(f(torch.tensor(a), torch.tensor(b)), "your answer", 2)
        if got.shape != right.shape:
            raise Unsuitable(
                f"your answer has shape {tuple(got.shape)}: give one gradient for each row of a."
            )
        return got, right

    def off(got: torch.Tensor, right: torch.Tensor) -> bool:
        return bool(((got - right).norm(dim=1) > 1e-3 * right.norm(dim=1) + 1e-9).any())

    def outside(f: Any) -> Iterator[str]:
        got, right = case(f, [radius + 0.3, radius + 0.5, 1.9])
        if not off(got, -right):
            yield "the sign is reversed: a gradient points to where the term grows, away from the partner."
        if not off(got, 3 * right):
            yield "the term is a mean over pairs: divide by their number."
        if off(got, right):
            yield f"three pairs outside the band of {radius} do not get the gradient of power {power}."

    def inside(f: Any) -> Iterator[str]:
        if off(*case(f, [radius / 2, radius + 0.4, radius - 0.05, 1.8])):
            yield "with pairs inside the band the answer is wrong: they get zero, and count in the mean."

    def equal(f: Any) -> Iterator[str]:
        if off(*case(f, [0.0, radius + 0.4])):
            yield "a pair of equal rows must get zero, and the other pair its gradient."

    def edge(f: Any) -> Iterator[str]:
        if off(*case(f, [radius - 1e-3, radius + 1e-3, radius + 2e-3])):
            yield f"close to the edge of the band the gradient of power {power} is wrong."

    text = f"""The anchoring term of this exam is

$$\\operatorname{{mean}}_i \\max(0,\\; \\lVert a_i - b_i \\rVert - {radius})^{{{power}}}$$

`a` and `b` are (N, D), and their rows have length 1 already. Return the gradient of this term with respect
to `a`, a tensor (N, D), as if every entry of `a` were free. Write the formula; `backward` is not needed.
Pairs inside the band and pairs of equal rows get zero."""
    return Task(
        "pull", "The band's pull at its edge", 14, text,
        "def pull(a, b):\n    return ...  # your code: a tensor of the shape of a",
        [(5, outside), (4, inside), (3, equal), (3, edge)],
    )  # fmt: skip


RANKS = (
    r"the exponential of the entropy of shares of the *singular values*, $p_k = \sigma_k / \sum_j \sigma_j$",
    r"the exponential of the entropy of shares of the *eigenvalues*, $p_k = \sigma_k^2 / \sum_j \sigma_j^2$",
    r"the participation ratio of the *eigenvalues*, $\lambda_k = \sigma_k^2$",
)  # fmt: skip


def directions(draw: np.random.RandomState) -> Task:
    """One of three ranks of a spectrum."""
    sigma, equal = np.sort(draw.uniform(0.2, 4, 6))[::-1].copy(), draw.permutation(np.arange(3, 9))[:2]
    kind = int(draw.randint(3))

    def ranks(values: np.ndarray) -> list[float]:
        p, q = values / values.sum(), values**2 / (values**2).sum()
        return [float(np.exp(-(x * np.log(x)).sum())) for x in (p, q)] + [float(1 / (q**2).sum())]

    def rank(f: Any, values: np.ndarray) -> float:
        return number(f(torch.tensor(values)))

    def even(f: Any) -> Iterator[str]:
        for k in equal:
            if not near(got := rank(f, np.full(k, 2.5)), k):
                yield f"{k} equal singular values are {k} directions, and yours are {got:.2f}."

    def uneven(f: Any) -> Iterator[str]:
        if not near(got := rank(f, sigma), ranks(sigma)[kind]):
            other = any(near(got, x) for x in ranks(sigma))
            said = "that is another of the course's ranks" if other else "it is none of the course's ranks"
            yield f"six different singular values give {got:.3f}: {said}."

    def zeros(f: Any) -> Iterator[str]:
        if not near(rank(f, np.append(sigma[:4] * 1e-3, [0.0, 0.0])), ranks(sigma[:4])[kind]):
            yield "with two singular values of 0 and a small scale the number of directions is wrong."

    text = f"""\
`sigma`, a tensor (K,), has the singular values of a centered cloud. Some may be 0, and one or more are not.
Return {RANKS[kind]}."""
    return Task(
        "directions", "How many directions?", 8, text,
        "def directions(sigma):\n    return ...  # your code: one number",
        [(3, even), (5, uneven), (2, zeros)],
    )  # fmt: skip


def interval(draw: np.random.RandomState) -> Task:
    """A paired interval from runs of which some are missing."""
    n, scale, cost = int(draw.randint(5, 9)), int(draw.choice([1, 100])), bool(draw.randint(2))
    t, seeds = round(float(draw.uniform(1.8, 3.2)), 2), (np.arange(n) + draw.randint(3)).tolist()
    luck = draw.uniform(0.5, 0.8, n)
    plain = dict(zip(seeds, luck.tolist(), strict=True))
    ours = dict(zip(seeds, (luck + draw.uniform(-0.03, 0.06, n)).tolist(), strict=True))

    def off(f: Any, first: dict[int, float], second: dict[int, float], kept: list[int]) -> bool:
        found = filled(f(dict(first), dict(second), t))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Unsuitable("return two numbers, the low and the high end.")
        difference = scale * np.array([second[s] - first[s] if cost else first[s] - second[s] for s in kept])
        half = t * difference.std(ddof=1) / math.sqrt(len(kept))
        ends = difference.mean() - half, difference.mean() + half
        return not all(abs(number(x) - y) < 1e-3 * half for x, y in zip(found, ends, strict=True))

    def complete(f: Any) -> Iterator[str]:
        if off(f, ours, plain, seeds):
            yield "seeds that both arms have, in the same order, give a wrong interval."

    def order(f: Any) -> Iterator[str]:
        if off(f, ours, {s: plain[s] for s in reversed(plain)}, seeds):
            yield "the interval is wrong if the arms list their seeds in another order: pair them by seed."

    def gaps(f: Any) -> Iterator[str]:
        first, *kept, last = seeds
        holes = {s: math.nan if s == last else value for s, value in ours.items()}
        fewer = {s: value for s, value in plain.items() if s != first}
        if off(f, holes, fewer, kept):
            yield "a seed that one arm lacks, or whose run is NaN, must be left out of both arms."

    which = "`plain` minus `treated`, the cost" if cost else "`treated` minus `plain`, the gain"
    unit = "as a share, like the accuracies" if scale == 1 else "in points, while the accuracies are shares"
    text = f"""\
`treated` and `plain` are dicts from a seed to the test accuracy of its run. Return the two ends,
(low, high), of an interval for the mean difference, paired by seed: {which}, {unit}. It is the mean ± `t`
times the standard error. The standard deviation divides by n − 1, and the quantile `t` is given. A seed that
only one arm has, or whose accuracy is NaN, takes no part."""
    return Task(
        "interval", "A paired interval", 10, text,
        "def interval(treated, plain, t):\n    return ...  # your code: (low, high)",
        [(5, complete), (3, order), (4, gaps)],
    )  # fmt: skip
