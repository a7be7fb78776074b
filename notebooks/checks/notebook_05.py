"""Checks of notebook 05, the regularizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import normalize

from .judging import first_problem, number, scalar, verdict


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


def mixing(answer: object) -> bool:
    """Exercise 4: alpha of the shortest alpha * g_inter + (1 - alpha) * g_disp."""

    def cases(f: Any) -> Iterator[str]:
        def alpha(first: list[float], second: list[float], if_not_finite: str = "") -> float:
            return number(f(torch.tensor(first), torch.tensor(second)), if_not_finite=if_not_finite)

        orthogonal = alpha([3.0, 0.0], [0.0, 1.0])
        if abs(orthogonal - 0.9) < 1e-5:
            yield "alpha belongs to g_inter: for (3, 0) and (0, 1) it is 0.1, and yours is that of g_disp."
        if abs(orthogonal - 0.1) > 1e-5:
            yield f"for g_inter = (3, 0) and g_disp = (0, 1) alpha is 0.1, and yours is {orthogonal:.4f}."
        oblique = alpha([3.0, 0.0], [-1.0, 1.0])
        if abs(oblique - 5 / 17) > 1e-5:
            yield f"for (3, 0) and (-1, 1) it is 0.294, not {oblique:.3f}: mind the inner product of the two."
        negative = alpha([-1.0, 2.0], [1.0, 1.0])
        if abs(negative - 1 / 5) > 1e-5:
            yield f"for (-1, 2) and (1, 1) it is 0.2, not {negative:.3f}: entries may be negative."
        for first, second, wanted in (([1.0, 0.0], [5.0, 0.0], 1), ([5.0, 0.0], [1.0, 0.0], 0)):
            got = alpha(first, second)
            if abs(got - wanted) > 1e-5:
                yield (
                    f"for g_inter = {first} and g_disp = {second} the shorter one alone is shortest: alpha "
                    f"is {wanted}, and yours is {got:.4f}. Keep it between 0 and 1."
                )
        silent = alpha([0.0, 0.0], [1.0, 2.0])
        if abs(silent - 1) > 1e-5:
            yield f"if g_inter is zero, alpha = 1 gives the zero vector, and yours is {silent:.4f}."
        undefined = "for two equal gradients the formula divides 0 by 0: return 0.5 there."
        equal = alpha([0.3, 0.4], [0.3, 0.4], undefined)
        if abs(equal - 0.5) > 1e-5:
            yield f"for two equal gradients return 0.5; yours is {equal:.4f}."

    return verdict(first_problem(answer, cases), "the shorter gradient weighs more, and zero weighs all.")
