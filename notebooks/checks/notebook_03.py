"""Checks of notebook 03, dispersion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import Unsuitable, filled, first_problem, number, of_kind, scalar, tensor, verdict


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


# Clumps, and what they are to be counted as.
COUNTS = ((3, 1.3), (11, 2.0), (7, 6.9), (20, 1.7), (16, 9.0))


def miscounted(answer: object) -> bool:
    """Exercise 2: clouds of so many clumps that exp(-dispersion) counts as so few."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import dispersion

        for clumps, reads in COUNTS:
            asked = f"{clumps} clumps that read as {reads:g}:"
            z = tensor(f(clumps, reads), f"{asked} your cloud", 2).detach().float()
            if z.shape[1] != 32 or not clumps <= len(z) <= 2000:
                yield f"{asked} your cloud has shape {tuple(z.shape)}: give (N, 32) with N of at most 2000."
            if not z.norm(dim=1).min() > 1e-6:
                yield f"{asked} a row is zero: it has no direction."
            cosines = (u := torch.nn.functional.normalize(z, dim=1)) @ u.T
            same = cosines > 1 - 1e-4
            first = ~same.tril(diagonal=-1).any(dim=1)  # rows without an earlier one in the same place
            if (places := int(first.sum())) != clumps:
                yield f"{asked} your cloud has {places} different places."
            if (cosines > 0.501)[first][:, first].sum() > clumps:
                yield f"{asked} two clumps are nearer than 60 degrees: change sizes, not places."
            if same.sum(dim=1).min() < 2:
                yield f"{asked} one clump has a single row: at least two are needed."
            counted = math.exp(-number(dispersion(z, temperature=0.1)))
            if abs(counted / reads - 1) > 0.05:
                far = "low: shrink" if counted < reads else "high: grow"
                yield f"{asked} yours read {counted:.2f}, which is too {far} the largest clump."

    return verdict(
        first_problem(answer, cases), "it counts clumps by their sizes, and large ones count most."
    )


def _terms() -> Iterator[tuple[str, Any, torch.Tensor, str]]:
    """Yield (name, term, cloud, word): terms on hidden axes whose rests are known."""
    generator = torch.Generator().manual_seed(97)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    curved = torch.tensor([1.0, 0.4, 0.0, 0.7, -1.0, 0.2])

    def on(place: int, rows: int = 8) -> torch.Tensor:
        return 2 * axes[place].repeat(rows, 1)

    def slope(z: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.normalize(z, dim=1) @ axes[0]).mean()

    def bowl(z: torch.Tensor) -> torch.Tensor:
        return ((torch.nn.functional.normalize(z, dim=1) @ axes.T).square() @ curved).mean()

    def of_the_last(z: torch.Tensor) -> torch.Tensor:
        return slope(z[-1:])

    def one_sided(z: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.normalize(z, dim=1) @ axes[0] - 0.5).clamp(min=0).square().mean()

    mixed = torch.randn(8, 6, generator=generator)
    yield "a slope", slope, mixed, "moves"
    yield "a slope at its lowest point", slope, -on(0), "stays"
    yield "a slope at its highest point", slope, on(0), "leaves"
    yield "a plain", lambda z: 0 * z.sum(), mixed, "stays"
    yield "a saddle with one way down", bowl, on(2), "leaves"
    yield "the bottom of a bowl", bowl, on(4), "stays"
    yield "a weak slope", lambda z: 0.003 * slope(z), mixed, "moves"
    yield "a term of the last row alone, at its highest point", of_the_last, on(0), "leaves"
    yield "the plain beside a rise", one_sided, on(3) - 0.4 * on(0), "stays"
    yield "the plain beside a rise", one_sided, on(0) + 0.5 * on(1), "moves"


def resting(answer: object) -> bool:
    """Exercise 4: whether a cloud moves, leaves when it is shaken, or stays."""
    kinds = ("moves", "leaves", "stays")
    because = {
        ("leaves", "stays"): "without a shake even a summit holds; shake every row in every direction",
        ("stays", "leaves"): "a shake alone is no way off: compare with ten times the shake",
        ("moves", "stays"): "its gradient is above 0.0001",
        ("moves", "leaves"): "its gradient is above 0.0001, so no shake is needed",
        ("stays", "moves"): "its gradient is 0",
        ("leaves", "moves"): "its gradient is 0 before the shake",
    }

    def cases(f: Any) -> Iterator[str]:
        for seed, (name, term, z, word) in enumerate(_terms(), start=131):
            said = f(term, z.clone(), torch.Generator().manual_seed(seed))
            said = of_kind(said, str, "one of the words " + ", ".join(map(repr, kinds)))
            if said not in kinds:
                yield f"{said!r} is not among the words {', '.join(map(repr, kinds))}."
            if said != word:
                yield f"{name}: the cloud {word}, and you say {said!r}: {because[word, said]}."

    return verdict(first_problem(answer, cases), "a rest is an end only if it holds a cloud that is shaken.")


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
