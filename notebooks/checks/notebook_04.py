"""Checks of notebook 04, anchoring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import Unsuitable, filled, first_problem, number, tensor, verdict

WEIGHTS = (0, 0.01, 0.03, 0.1, 0.3, 1)


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
    """Exercise 4: the radius that leaves a given share of the pairs outside the band."""

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


def lead_at_equal_drift(answer: object) -> bool:
    """Exercise 3: what the band keeps beyond rigid alignment of the same seed at the drift of the band."""
    # seed -> drift and value of the band; two drifts lie between no anchoring and the smallest weight
    band = {81: (0.5, 0.40), 82: (1.8, 0.30), 83: (0.08, 0.35), 84: (1.9, 0.52)}
    drifts = (2.0, 1.5, 0.7, 0.2, 0.05, 0.01)

    def kept(weight: float, seed: int) -> float:
        return 0.3 + 0.04 * (seed - 81) + 0.01 * (WEIGHTS.index(weight) - 2) ** 2

    def interpolated(seed: int, scale: Any = math.log, first: int = 0, family: int = 0) -> float:
        x = scale(band[seed][0])
        known = [(scale(d), kept(w, family or seed)) for d, w in zip(drifts, WEIGHTS, strict=True)][first:]
        for (right, above), (left, below) in zip(known, known[1:], strict=False):
            if left <= x <= right:
                return below + (above - below) * (x - left) / (right - left)
        return known[0][1]

    def cases(f: Any) -> Iterator[str]:
        asked = []

        def run(weight: float, radius: float, seed: int) -> dict[str, float]:
            weight, radius, seed = number(weight), number(radius), int(number(seed))
            if (weight, radius) != (1, 0.9) and (weight not in WEIGHTS or radius) or seed not in band:
                raise Unsuitable(
                    f"you trained weight {weight:g}, radius {radius:g}, seed {seed}: the band has weight 1 "
                    "and radius 0.9, rigid alignment the weights in WEIGHTS and radius 0; seeds are given."
                )
            asked.append((weight, radius, seed))
            if radius:
                return dict(zip(("drift", "private"), band[seed], strict=True))
            return {"drift": drifts[WEIGHTS.index(weight)], "private": kept(weight, seed)}

        seeds = list(band)
        found = tensor(f(run, seeds), "your answer", 1, dtype=torch.float64).tolist()
        if len(found) != len(seeds):
            yield f"there are {len(seeds)} seeds, and you returned {len(found)} numbers: one for each."
        if len(set(asked)) < 7 * len(seeds):
            yield "train the band once and rigid alignment with all six weights, for every seed."
        wanted = [band[seed][1] - interpolated(seed) for seed in seeds]

        def near(other: list[float]) -> bool:
            return max(abs(x - y) for x, y in zip(found, other, strict=True)) < 1e-5

        for other, sentence in (
            ([-x for x in wanted], "the sign is reversed: band minus rigid alignment."),
            ([band[s][1] - kept(1, s) for s in seeds],
             "this compares with the rigid run of weight 1: interpolate to the drift of the band, with the "
             "rigid runs sorted by drift (np.interp takes rising places alone)."),
            ([band[s][1] - interpolated(s, float) for s in seeds],
             "you interpolated on the drift itself: weights are spread evenly on its logarithm."),
            ([band[s][1] - interpolated(s, first=1) for s in seeds],
             "weight 0 belongs to the family: a band may align less than the smallest weight."),
            ([band[s][1] - interpolated(s, family=seeds[1]) for s in seeds],
             "all bands are compared with the rigid runs of one seed: pair them seed by seed."),
        ):  # fmt: skip
            if near(other):
                yield sentence
        if not near(wanted):
            yield f"the first lead must be {wanted[0]:.4f}, and yours is {found[0]:.4f}."
        alone = tensor(f(run, seeds[1:2]), "your answer for one seed", 1, dtype=torch.float64)
        if len(alone) != 1 or abs(alone.item() - wanted[1]) > 1e-5:
            yield "with one seed the lead is another than with four: each seed counts alone."

    return verdict(first_problem(answer, cases), "compared at the same price, seed by seed.")
