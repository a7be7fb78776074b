"""Checks of notebook 03, dispersion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import Unsuitable, filled, first_problem, number, of_kind, scalar, verdict


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


# Gains of weight 1 as shares, one per seed; a stored (mean, low, high); whether the two means are apart.
HIDDEN_CORNERS = (
    ((0.02, -0.01, 0.04, 0.05), (6.0, 3.0, 9.0), False),  # 2.5 +- 4.2: apart by less than both allow
    ((0.01, 0.02, 0.03, 0.02, 0.01, 0.03), (4.5, 2.5, 6.5), True),  # 2 +- 0.9: the intervals overlap
    ((-0.04, -0.06, -0.05), (-9.0, -10.0, -8.0), True),  # -5 +- 2.5
    ((0.01, 0.02, 0.03, 0.02, 0.01, 0.03), (5.0, 1.5, 8.5), False),  # 2 +- 0.9: the stored one is wide
)
APART = {
    True: "in one case your intervals overlap, and the means are apart all the same: compare their "
    "difference with the root of the sum of both squared half-widths.",
    False: "in one case one mean lies outside the interval of the other, and they are not apart: both are "
    "uncertain, so both half-widths count, as the root of the sum of their squares.",
}


def corner_gain(answer: object) -> bool:
    """Exercise 3: a paired gain in points with Student's interval, and whether a stored one is another."""
    t = {3: 4.3027, 4: 3.1824, 6: 2.5706}  # the 97.5 % quantile for this many seeds

    def cases(f: Any) -> Iterator[str]:
        for shares, stored, apart in HIDDEN_CORNERS:
            seeds, asked = list(range(70, 70 + len(shares))), []

            def accuracy(weight: float, seed: int, shares: tuple = shares, asked: list = asked) -> float:
                weight, seed = number(weight), number(seed)
                if weight not in (0, 1) or seed not in range(70, 70 + len(shares)):
                    raise Unsuitable(
                        f"you asked for weight {weight:g} and seed {seed:g}: 0 and 1, given seeds."
                    )
                asked.append((weight, seed))
                k = int(seed) - 70
                return 0.6 + 0.07 * (k % 3) + weight * shares[k]  # worlds differ more than weights do

            found = f(accuracy, seeds, stored)
            if not isinstance(filled(found), tuple | list) or len(found) != 4:
                yield "give four values: the mean gain, both ends of its interval, and whether it is apart."
            mean, low, high = map(number, found[:3])
            n, gains = len(shares), [100 * share for share in shares]
            wanted = sum(gains) / n
            spread = math.sqrt(sum((gain - wanted) ** 2 for gain in gains) / (n - 1))
            half = t[n] * spread / math.sqrt(n)
            if set(asked) != {(weight, seed) for weight in (0, 1) for seed in seeds}:
                yield "every seed is trained with weight 0 and with weight 1, and yours are not."
            if abs(mean - wanted / 100) < 1e-6:
                yield "the gain is a share: multiply it by 100 to have points."
            if abs(mean + wanted) < 1e-6:
                yield "the sign is reversed: weight 1 minus weight 0."
            if abs(mean - wanted) > 1e-3:
                yield f"the mean gain is {wanted:.2f} points in one case, and yours is {mean:.2f}."
            own = (high - low) / 2
            for factor, sentence in {
                math.sqrt(n): "it is that of a single seed: divide by the root of the number of seeds.",
                math.sqrt((n - 1) / n): "the deviation of a sample divides by n - 1.",
                1.95996 / t[n]: f"1.96 is for many seeds; Student's t for {n} is {t[n]:.2f}.",
                1 / t[n]: "that is one standard error: multiply it by Student's t.",
            }.items():
                if abs(own - half * factor) < 2e-3 * half:
                    yield f"your interval has the wrong width, for {sentence}"
            if abs(own - half) > 0.01 * half or abs((high + low) / 2 - mean) > 0.01 * half:
                yield (
                    f"the interval must be [{wanted - half:.2f}, {wanted + half:.2f}] in one case, and yours "
                    f"is [{low:.2f}, {high:.2f}]: take the differences seed by seed first."
                )
            said = found[3].item() if hasattr(filled(found[3]), "item") else found[3]
            if of_kind(said, bool, "True or False as the fourth value") is not apart:
                yield APART[apart]

    return verdict(first_problem(answer, cases), "paired, in points, and compared with both uncertainties.")
