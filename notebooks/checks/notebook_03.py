"""Checks of notebook 03, dispersion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import first_problem, number, scalar, verdict


def stable_dispersion(answer: object) -> bool:
    """Exercise 1: ``log mean_{i != j} exp(-||u_i - u_j||^2 / temperature)``, stable."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import dispersion

        opposite = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])  # squared distance 4
        value = scalar(f(opposite, 1.0)).item()
        with_itself, too_many = math.log((2 + 2 * math.exp(-4)) / 4), math.log(2 * math.exp(-4) / 4)
        for wrong, sentence in {
            with_itself: "the pairs i = j still take part: leave them out before the mean is taken.",
            too_many: "the pairs i = j are gone, but the mean still divides by B * B, not B * (B - 1).",
            -1: "squared distances are divided by the dimension: on the sphere they need no such scaling.",
            -2: "the exponent holds the distance: it should be the squared distance.",
            4: "the sign of the exponent is reversed: close pairs must count most.",
            math.exp(-4): "the logarithm is missing.",
        }.items():
            if abs(value - wrong) < 1e-3:
                yield sentence
        if abs(value + 4) > 1e-4:
            yield f"two opposite samples at temperature 1 must give -4, and yours gives {value:.3g}."
        if abs(scalar(f(3 * opposite, 1.0)).item() + 4) > 1e-4:
            yield "the value changes when all embeddings are multiplied by 3: normalize first."
        three = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])  # squared distances 4, 2, 2
        value, wanted = scalar(f(three, 1.0)).item(), math.log((math.exp(-4) + 2 * math.exp(-2)) / 3)
        if abs(value + 8 / 3) < 1e-4:
            yield "this is the mean of the exponents: exp comes first, then the mean, then the logarithm."
        if abs(value - wanted) > 1e-4:
            yield f"squared distances 4, 2, 2 at temperature 1 must give {wanted:.3f}, not {value:.3f}."
        underflow = "at temperature 0.01 exp(-400) is 0 in float32, and log(0) is infinite: use logsumexp."
        value = scalar(f(opposite, 0.01), if_not_finite=underflow).item()
        if abs(value + 400) > 0.1:
            yield f"two opposite samples at temperature 0.01 must give -400, and yours gives {value:.4g}."
        z = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]], requires_grad=True)
        loss = scalar(f(z, 0.5))
        if not loss.requires_grad:
            yield "the result carries no gradient: stay with torch and avoid .item(), .detach() and numpy."
        loss.backward()
        if not z.grad.isfinite().all():
            yield "two equal samples give a gradient that is not finite: avoid roots, and infinity times 0."
        z = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        mine, known = scalar(f(z, 0.2)), dispersion(z, temperature=0.2)
        if abs(mine.item() - known.item()) > 1e-3:
            yield f"nine random rows at temperature 0.2 must give {known.item():.3f}, not {mine.item():.3f}."
        (own,), (wanted,) = torch.autograd.grad(mine, z), torch.autograd.grad(known, z)
        if not torch.allclose(own, wanted, atol=1e-4):
            yield "the value is right, its gradient is not: both samples of a pair must feel the push."

    return verdict(first_problem(answer, cases), "0 when collapsed, exact when cold, blind to length.")


def clump_value(answer: object) -> bool:
    """Exercise 2: dispersion of 64 samples in 4 orthogonal clumps at temperature 0.1."""

    def cases(answer: Any) -> Iterator[str]:
        value = number(answer)
        if abs(value - 1.435) < 0.06:
            yield "the size is right, the sign is not: a mean closeness below 1 has a negative logarithm."
        if abs(value + math.log(4)) < 0.005:
            yield "that is log(16/64), with i = j counted: each sample has 15 clump mates among 63 others."
        if abs(value - 15 / 63) < 0.02:
            yield "that is the mean closeness; the term is its logarithm."
        if abs(value + 20 * 48 / 63) < 0.3:
            yield "that is the mean of the exponents; the mean is taken after exp."
        if abs(value + 20) < 0.01:
            yield "that is a pair from different clumps; pairs within a clump have closeness 1 and decide."
        if value == 0:
            yield "0 is for one clump; here most pairs are far apart."
        if abs(value + 1.435) > 0.01:
            yield "ask which share of the pairs i != j has closeness 1; all others have almost 0."

    return verdict(first_problem(answer, cases), "log(15/63), close to -log 4: the value counts the clumps.")
