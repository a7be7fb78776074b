"""Checks of notebook 05, the regularizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import normalize

from .judging import (
    Unsuitable,
    filled,
    first_problem,
    half_width,
    interval_problems,
    number,
    scalar,
    verdict,
)


def squared_band(answer: object) -> bool:
    """Exercise 1: ``mean max(0, ||u_a - u_b||^2 - radius^2)``, zero inside the band."""

    def cases(f: Any) -> Iterator[str]:
        a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # distances 0, sqrt(2), 2
        value = scalar(f(a, b, 1.0)).item()
        wanted = (0 + 1 + 3) / 3
        if abs(value - wanted) < 1e-5:
            pass
        elif abs(value - 4 / 2) < 1e-5:
            yield "the mean runs over active pairs only; divide by all pairs, or the loss jumps."
        elif abs(value - 4) < 1e-5:
            yield "this is the sum over pairs; take the mean, or the loss grows with the batch."
        else:
            yield f"distances 0, sqrt(2) and 2 with radius 1 must give {wanted:.3f}, not {value:.3f}."
        if abs(scalar(f(10 * a, b, 1.0)).item() - wanted) > 1e-4:
            yield "the value changes when one modality is multiplied by 10: normalize both first."
        for radius, wanted in ((0.5, (0 + 1.75 + 3.75) / 3), (1.5, 1.75 / 3)):
            value = scalar(f(a, b, radius)).item()
            if abs(value - wanted) > 1e-5:
                yield f"with radius {radius} it must be {wanted:.3f}, not {value:.3f}: square the radius."
        close = torch.tensor([[1.0, 0.1], [1.0, 0.0]], requires_grad=True)
        loss = scalar(f(close, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 1.0))
        if not loss.requires_grad:
            yield "the result carries no gradient: stay with torch and avoid .item(), .detach() and numpy."
        loss.backward()
        if not close.grad.isfinite().all():
            yield "the gradient at distance 0 is not finite: a square root has infinite slope there."
        if close.grad.abs().max() > 0:
            yield "pairs inside the band still receive a gradient: clamp the excess at 0."
        generator = torch.Generator().manual_seed(0)
        pair = [torch.randn(8, 4, generator=generator).requires_grad_() for _ in "ab"]
        known = (normalize(pair[0], dim=1) - normalize(pair[1], dim=1)).square().sum(dim=1) - 1.3**2
        wanted = torch.autograd.grad(known.clamp(min=0).mean(), pair)
        own = torch.autograd.grad(scalar(f(*pair, 1.3)), pair, allow_unused=True)
        both = zip(own, wanted, strict=True)
        if not all(g is not None and torch.allclose(g, right, atol=1e-5) for g, right in both):
            yield "the value is right, its gradient is not: both modalities must feel the pull."

    return verdict(first_problem(answer, cases), "zero in the band, finite at distance 0, blind to scale.")


def masked_dispersion(answer: object) -> bool:
    """Exercise 2: dispersion over the present samples, 0 if fewer than two are present."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import dispersion

        generator = torch.Generator().manual_seed(0)
        z = torch.randn(8, 5, generator=generator)
        present = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1], dtype=torch.bool)
        value, wanted = scalar(f(z, present)).item(), dispersion(z[present]).item()
        everyone = dispersion(z).item()
        if abs(value - everyone) < 1e-5:
            yield "absent samples still take part: the value is that of all eight samples."
        zeroed = dispersion(z * present[:, None]).item()
        if abs(value - zeroed) < 1e-5:
            yield "absent samples set to zero stay in the mean as points at the origin: drop the rows."
        if abs(value - wanted) > 1e-5:
            yield f"the six present samples must give {wanted:.4f}, and yours gives {value:.4f}."
        value, wanted = scalar(f(z, ~present)).item(), dispersion(z[~present]).item()
        if abs(value - wanted) > 1e-5:
            yield f"two present samples are a pair and must give {wanted:.4f}, and yours gives {value:.4f}."
        unknown = "absent samples may hold NaN, and the result must not: use the present rows alone."
        for count in (0, 1):
            few = torch.arange(8) < count
            value = scalar(f(z, few)).item()
            if value != 0:
                yield f"with {count} present samples there is no pair: the value must be 0, not {value}."
        for mask in (present, torch.arange(8) < 1, torch.arange(8) < 0):
            x = torch.where(mask[:, None], z, torch.nan).requires_grad_()
            loss = scalar(f(x, mask), if_not_finite=unknown)
            if not loss.requires_grad:
                yield f"with {int(mask.sum())} present samples backward() fails: make the result hang on z."
            loss.backward()
            moved = torch.zeros_like(x) if x.grad is None else x.grad
            if not moved.isfinite().all() or moved[~mask].abs().sum() > 0:
                yield "absent samples must receive a zero, finite gradient."
            if mask is present and not torch.allclose(moved[mask], _slope(dispersion, z[mask]), atol=1e-5):
                yield "the value is right, the gradient of the present samples is not."

    return verdict(first_problem(answer, cases), "absent samples are neither seen nor moved.")


def _slope(loss: Any, z: torch.Tensor) -> torch.Tensor:
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


CLOSE = 1e-3  # so that a search over a grid will do


def mixing(answer: object) -> bool:
    """Exercise 4: alpha of the shortest alpha * g_inter + (1 - alpha) * g_disp."""

    def cases(f: Any) -> Iterator[str]:
        def alpha(first: list[float], second: list[float], if_not_finite: str = "") -> float:
            return number(f(torch.tensor(first), torch.tensor(second)), if_not_finite=if_not_finite)

        orthogonal = alpha([3.0, 0.0], [0.0, 1.0])
        if abs(orthogonal - 0.9) < CLOSE:
            yield "alpha belongs to g_inter: for (3, 0) and (0, 1) it is 0.1, and yours is that of g_disp."
        if abs(orthogonal - 0.1) > CLOSE:
            yield f"for g_inter = (3, 0) and g_disp = (0, 1) alpha is 0.1, and yours is {orthogonal:.4f}."
        oblique = alpha([3.0, 0.0], [-1.0, 1.0])
        if abs(oblique - 5 / 17) > CLOSE:
            yield f"for (3, 0) and (-1, 1) it is 0.294, not {oblique:.3f}: mind the inner product of the two."
        negative = alpha([-1.0, 2.0], [1.0, 1.0])
        if abs(negative - 1 / 5) > CLOSE:
            yield f"for (-1, 2) and (1, 1) it is 0.2, not {negative:.3f}: entries may be negative."
        for first, second, wanted in (([1.0, 0.0], [5.0, 0.0], 1), ([5.0, 0.0], [1.0, 0.0], 0)):
            got = alpha(first, second)
            if abs(got - wanted) > CLOSE:
                yield (
                    f"for g_inter = {first} and g_disp = {second} the shorter one alone is shortest: alpha "
                    f"is {wanted}, and yours is {got:.4f}. Keep it between 0 and 1."
                )
        silent = alpha([0.0, 0.0], [1.0, 2.0])
        if abs(silent - 1) > CLOSE:
            yield f"if g_inter is zero, alpha = 1 gives the zero vector, and yours is {silent:.4f}."
        undefined = "for two equal gradients the formula divides 0 by 0: return 0.5 there."
        equal = alpha([0.3, 0.4], [0.3, 0.4], undefined)
        if abs(equal - 0.5) > CLOSE:
            yield f"for two equal gradients return 0.5; yours is {equal:.4f}."

    return verdict(first_problem(answer, cases), "the shorter gradient weighs more, and zero weighs all.")


# Weights in the order given, the best of them on the first seeds, the change from it to the largest weight on
# the other seeds, in units of the interval's half-width, and the seeds. On the others another weight is best.
TURNS = (
    ((0.3, 0.0, 3.0, 0.03), 0.3, -5.0, (7, 3, 11, 5, 2, 8, 13, 1, 9, 4)),
    ((2.0, 0.5, 0.0), 0.0, 0.1, (60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71)),
    ((0.0, 0.1, 1.0, 10.0), 0.1, 4.0, (30, 20, 10, 40, 50, 60, 90, 80)),
)


def turning_point(answer: object) -> bool:
    """Exercise 3: the largest weight against the best of the others, which other seeds have chosen."""

    def cases(f: Any) -> Iterator[str]:
        for weights, best, turn, seeds in TURNS:
            values, changes, luckier = _runs(weights, best, turn, seeds)
            largest = max(weights)

            def run(weight: float, seed: int, values: dict = values) -> float:
                key = (number(weight), int(number(seed)))
                if key not in values:
                    raise Unsuitable("you trained weight {:g} with seed {}: use what is given.".format(*key))
                return values[key]

            found = filled(f(run, list(weights), list(seeds)))
            if not isinstance(found, tuple | list) or len(found) != 5:
                yield "return five things: (best, mean, low, high, word)."
            if (picked := number(found[0])) == largest:
                yield f"{largest:g} is the largest weight: it is compared with the best of the others."
            if picked == luckier:
                yield (
                    f"in one world the first half of the seeds chooses {best:g}, and you say {picked:g}: "
                    "the other half must not take part in the choice."
                )
            if picked != best:
                yield f"in one world the first half of the seeds chooses {best:g}, and you say {picked:g}."
            half = len(seeds) // 2
            same = [values[largest, seed] - values[best, seed] for seed in seeds[:half]]
            for others, sentence in (
                (same, "you tested on the seeds that chose: take the other half."),
                (same + changes.tolist(), "you tested on all seeds: those that chose must not take part."),
            ):
                if abs(number(found[1]) - sum(others) / len(others)) < 1e-9:
                    yield sentence
            yield from interval_problems("the largest weight", found[1:], changes, "falls", "rises")

    return verdict(first_problem(answer, cases), "chosen on one half, tested on the other.")


def _runs(weights: tuple, best: float, turn: float, seeds: tuple) -> tuple[dict, torch.Tensor, float]:
    """Return runs by (weight, seed), the changes on the second half, and the weight that is best there."""
    generator, half = torch.Generator().manual_seed(seeds[0]), len(seeds) // 2
    base = 4 * torch.randn(len(seeds), generator=generator, dtype=torch.float64)
    largest, luckier = max(weights), next(w for w in sorted(weights) if w not in (best, max(weights)))
    noise = torch.randn(half, generator=generator, dtype=torch.float64)
    noise = noise - noise.mean()
    changes = noise + turn * half_width(noise)
    values = {}
    for k, seed in enumerate(seeds):
        early = k < half
        for weight in weights:
            lead = {best: 0.0, luckier: -1.0 if early else 6.0}.get(weight, -2.0)
            values[weight, seed] = (base[k] + lead).item()
        after = 1.5 if early else changes[k - half]  # the largest is the best on the seeds that choose
        values[largest, seed] = (base[k] + after).item()
    return values, changes, luckier


def _bowl(center: list, curvature: float) -> Any:
    middle = torch.tensor(center)
    return lambda z: curvature / 2 * (z - middle.to(z.dtype)).square().sum()


# Two bowls, each with its center and curvature, and a start.
PROMISES = {
    "a compromise": (([1.0, 0.0], 1.0), ([-0.6, 0.4], 1.0), [0.3, 1.5]),
    "unequal curvatures": (([1.0, 0.2], 8.0), ([-1.0, 0.0], 0.5), [0.5, 1.0]),
    "a flat and a steep bowl": (([3.0, 0.0, 1.0], 0.01), ([0.1, 2.0, 0.0], 40.0), [0.0, 0.5, 0.2]),
    "a matrix": (([[0.0, 1.0], [2.0, 0.0]], 2.0), ([[1.0, 1.0], [0.0, 0.5]], 0.7), [[2.0, 2.0], [1.0, 3.0]]),
    "one gradient much shorter": (([0.2, 0.1], 1.0), ([9.0, 5.0], 1.0), [0.0, 0.0]),
}


def _ways(bowls: tuple, start: torch.Tensor) -> dict[str, float]:
    """Return the right step, under an empty name, and those of wrong ways by the sentence about them."""
    bend = [curvature for _, curvature in bowls]
    g = [c * (start - torch.tensor(center)).flatten() for center, c in bowls]
    apart = g[1] - g[0]
    alpha = (apart @ g[1] / (apart @ apart)).clamp(0, 1)

    def until(v: torch.Tensor, choose: Any = min) -> float:
        return choose((2 * (g[k] @ v) / (bend[k] * (v @ v))).item() for k in (0, 1))

    v = alpha * g[0] + (1 - alpha) * g[1]
    return {
        "": until(v),
        "there the second of the terms stops falling; the promise is about both": until(v, max),
        "this is along the first gradient, not along the mixture": until(g[0]),
        "this is along the second gradient, not along the mixture": until(g[1]),
        "this is along the mean of both gradients: take the shortest mixture": until((g[0] + g[1]) / 2),
        "this is along their sum: take the shortest mixture": until(g[0] + g[1]),
        "alpha belongs to the first gradient": until((1 - alpha) * g[0] + alpha * g[1]),
        "that is the length of the way, not t": until(v) * v.norm().item(),
    }


def promise(answer: object) -> bool:
    """Exercise 5: the step along the shortest mixture of two gradients at which one term stops falling."""

    def cases(f: Any) -> Iterator[str]:
        for name, (*bowls, start) in PROMISES.items():
            z = torch.tensor(start, dtype=torch.float64)
            steps = _ways(bowls, z)
            right = steps.pop("")
            found = number(f(*(_bowl(*bowl) for bowl in bowls), z.clone()))
            if abs(found / right - 1) <= 0.015:
                continue
            for sentence, step in steps.items():
                if abs(found - step) < 0.015 * abs(step):
                    yield f"{name}: {sentence}."
            yield f"{name}: one of the terms stops falling at t = {right:.4g}, and yours is {found:.4g}."
        first, second = _bowl([1.0, 0.0], 1.0), _bowl([-1.0, 0.0], 1.0)
        if (found := number(f(first, second, torch.tensor([0.25, 0.0], dtype=torch.float64)))) != 0:
            yield f"between two centers no way lowers both: return 0, and yours is {found:.4g}."

    return verdict(first_problem(answer, cases), "a promise to first order holds as far as the slopes do.")
