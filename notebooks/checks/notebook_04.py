"""Checks of notebook 04, anchoring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .judging import filled, first_problem, number, verdict


def drift_parts(answer: object) -> bool:
    """Exercise 1: paired drift as (squared gap, trace of the covariance)."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini.geometry import drift_summary

        generator = torch.Generator().manual_seed(0)
        a = torch.randn(6, 3, generator=generator, dtype=torch.float64) + torch.tensor([2.0, 0.0, 0.0])
        b = torch.randn(6, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 3.0, 0.0])
        gap, sample = map(number, filled(f(a, b)))
        known = drift_summary(a, b)
        wanted_gap, wanted = known["drift_gap_part"], known["drift_sample_part"]
        raw = (a - b).mean(dim=0).square().sum().item()
        if abs(gap - wanted) + abs(sample - wanted_gap) < 1e-5:
            yield "the parts are swapped: return the gap part first, then the sample part."
        if abs(gap - wanted_gap**0.5) < 1e-5:
            yield "the first number is the length of the gap; the identity needs its square."
        if abs(gap - raw) < 1e-5:
            yield "the gap is that of the raw embeddings: normalize both first."
        if abs(gap - wanted_gap) > 1e-5:
            yield f"the gap part must be {wanted_gap:.3f} here, and yours is {gap:.3f}."
        if abs(sample - wanted * 6 / 5) < 1e-5:
            yield "the covariance divides by N - 1; the identity is exact if it divides by N."
        if abs(sample - wanted / 3) < 1e-5:
            yield "you took the mean over the dimensions; a trace is their sum."
        if abs(sample - wanted - wanted_gap) < 1e-5:
            yield "the second number is the whole drift: subtract the mean difference first."
        if abs(sample - wanted) > 1e-5:
            yield f"the sample part must be {wanted:.3f} here, and yours is {sample:.3f}."

    return verdict(first_problem(answer, cases), "the two parts add up to the paired drift.")


def unshiftable(answer: object) -> bool:
    """Exercise 2: the share of a drift of 1.0 that remains after a gap of length 0.8 is removed."""

    def cases(answer: Any) -> Iterator[str]:
        value = number(answer)
        if abs(value - 0.2) < 1e-6:
            yield "1 - 0.8 subtracts a length from a squared length: square the gap first."
        if abs(value - 0.64) < 1e-6:
            yield "that is the part that a shift can remove; the question is what is left."
        if abs(value - 0.6) < 1e-6:
            yield "that is a length, the root of what is left; drift counts squares."
        if abs(value - 0.36) > 1e-6:
            yield "drift = gap squared + sample part; solve for the sample part and divide by the drift."

    return verdict(first_problem(answer, cases), "0.36 of the drift is a matter of pairs.")


def radius_for(answer: object) -> bool:
    """Exercise 3: the radius that leaves a given share of the pairs outside the band."""

    def cases(f: Any) -> Iterator[str]:
        # Uneven distances: with even ones a fixed share of the largest would do.
        distance = 0.05 + 1.85 * torch.linspace(0, 1, 101).square()
        angle = 2 * torch.asin(distance / 2)
        a = torch.stack([-angle.cos(), angle.sin()], dim=1)
        b = torch.tensor([-1.0, 0.0]).expand_as(a)
        for share in (0.1, 0.5, 0.8):
            radius = number(f(a, b, share))
            outside = (distance > radius).double().mean().item()
            asked = f"with share {share} a share of {outside:.2f} lies outside your radius {radius:.2f}"
            if abs(outside - share) < 0.02:
                continue
            if abs(outside - (1 - share)) < 0.02:
                yield f"{asked}: you left that share inside; take the quantile 1 - share."
            if abs(radius - distance.quantile(1 - share).item() ** 2) < 0.02:
                yield f"{asked}: that is the quantile of squared distances; the radius is a distance."
            yield f"{asked}."
        if abs(number(f(5 * a, b, 0.5)) - number(f(a, b, 0.5))) > 1e-4:
            yield "the radius changes when one modality is multiplied by 5: normalize both first."

    return verdict(first_problem(answer, cases), "the quantile 1 - share of the distances.")
