"""Checks of notebook 04, anchoring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import Unsuitable, filled, first_problem, number, of_kind, tensor, verdict, word_of

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


QUANTITIES = ("private", "shared")
DRIFTS = (2.0, 1.5, 0.7, 0.2, 0.05, 0.01)  # of rigid alignment with WEIGHTS
# seed -> drift of the band, two of them between no anchoring and the smallest weight; then the leads.
LEAD_WORLDS = (
    (
        {81: 0.5, 82: 1.8, 83: 0.08, 84: 1.9},
        {"private": (0.061, -0.055, 0.012, -0.022), "shared": (-0.04, -0.046, -0.042, -0.036)},
    ),
    (
        {7: 0.3, 95: 1.0, 12: 1.7, 33: 0.02, 60: 0.11},
        {"private": (0.03, 0.036, 0.029, 0.033, 0.028), "shared": (0.05, -0.06, 0.045, -0.04, 0.01)},
    ),
)


def _of_rigid(quantity: str, place: int, seed: int) -> float:
    """Return what the rigid run with the weight at ``place`` keeps, in a made-up world."""
    own = 0.04 * (seed % 10)
    return 0.3 + own + (0.01 * (place - 2) ** 2 if quantity == "private" else 0.015 * (5 - place) ** 1.5)


def _interpolated(
    quantity: str, seed: int, drift: float, scale: Any = math.log, first: int = 0, family: int = 0
) -> float:
    """Return what rigid alignment keeps at a drift."""
    x = scale(drift)
    known = [(scale(d), _of_rigid(quantity, k, family or seed)) for k, d in enumerate(DRIFTS)][first:]
    for (right, above), (left, below) in zip(known, known[1:], strict=False):
        if left <= x <= right:
            return below + (above - below) * (x - left) / (right - left)
    return known[0][1]


def lead_at_equal_drift(answer: object) -> bool:
    """Exercise 3: what the band keeps beyond rigid alignment of the same seed at the drift of the band."""

    def cases(f: Any) -> Iterator[str]:
        for drifts, leads in LEAD_WORLDS:
            seeds, asked = list(drifts), []
            bands = {
                seed: {q: _interpolated(q, seed, drifts[seed]) + leads[q][k] for q in QUANTITIES}
                for k, seed in enumerate(seeds)
            }

            def run(
                weight: float, radius: float, seed: int, drifts: dict = drifts, bands: dict = bands,
                asked: list = asked,
            ) -> dict[str, float]:  # fmt: skip
                weight, radius, seed = number(weight), number(radius), int(number(seed))
                if (weight, radius) != (1, 0.9) and (weight not in WEIGHTS or radius) or seed not in drifts:
                    raise Unsuitable(
                        f"you trained weight {weight:g}, radius {radius:g}, seed {seed}: the band has weight "
                        "1 and radius 0.9, rigid alignment the weights in WEIGHTS and radius 0; seeds are "
                        "given."
                    )
                asked.append((weight, radius, seed))
                if radius:
                    return {"drift": drifts[seed], **bands[seed]}
                place = WEIGHTS.index(weight)
                return {"drift": DRIFTS[place], **{q: _of_rigid(q, place, seed) for q in QUANTITIES}}

            found = of_kind(f(run, list(seeds)), dict, "a dict with two entries")
            if set(found) != set(QUANTITIES):
                yield f"the entries must be private and shared, and yours are {list(found)}."
            if len(set(asked)) < 7 * len(seeds):
                yield "train the band once and rigid alignment with all six weights, for every seed."
            for quantity in QUANTITIES:
                yield from _wrong_leads(quantity, found[quantity], drifts, bands, leads[quantity])
            alone = of_kind(f(run, seeds[1:3]), dict, "a dict with two entries")
            for quantity in QUANTITIES:
                own = tensor(alone[quantity][0], "your leads of two seeds", 1, dtype=torch.float64)
                wanted = torch.tensor(leads[quantity][1:3], dtype=torch.float64)
                if own.shape != wanted.shape or not torch.allclose(own, wanted, atol=1e-5):
                    yield "with two seeds the leads are others than with all: each seed counts alone."

    return verdict(first_problem(answer, cases), "compared at the same price, seed by seed.")


def _wrong_leads(quantity: str, given: Any, drifts: dict, bands: dict, wanted: tuple) -> Iterator[str]:
    """Yield what is wrong with (leads, word) of a quantity whose leads are ``wanted``."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        yield f"{quantity}: give (leads, word)."
    found = tensor(given[0], f"{quantity}: your leads", 1, dtype=torch.float64).tolist()
    if len(found) != len(drifts):
        yield f"{quantity}: there are {len(drifts)} seeds, and you returned {len(found)} numbers."

    def near(other: Any) -> bool:
        return max(abs(x - y) for x, y in zip(found, other, strict=True)) < 1e-5

    def against(**options: Any) -> list[float]:
        return [
            own[quantity] - _interpolated(quantity, seed, drifts[seed], **options)
            for seed, own in bands.items()
        ]

    for other, sentence in (
        ([-x for x in wanted], "the sign is reversed: band minus rigid alignment."),
        ([own[quantity] - _of_rigid(quantity, 5, seed) for seed, own in bands.items()],
         "this compares with the rigid run of weight 1: interpolate to the drift of the band, with the "
         "rigid runs sorted by drift (np.interp takes rising places alone)."),
        (against(scale=float),
         "you interpolated on the drift itself: weights are spread evenly on its logarithm."),
        (against(first=1), "weight 0 belongs to the family: a band may align less than the smallest weight."),
        (against(family=list(drifts)[1]),
         "all bands are compared with the rigid runs of one seed: pair them seed by seed."),
    ):  # fmt: skip
        if near(other):
            yield f"{quantity}: {sentence}"
    if not near(wanted):
        yield f"{quantity}: the first lead must be {wanted[0]:.4f}, and yours is {found[0]:.4f}."
    word = word_of(torch.tensor(wanted, dtype=torch.float64), "rigid", "band")
    if not isinstance(given[1], str) or given[1] != word:
        yield f"{quantity}: in one world the interval of the mean reads {word!r}, and you say {given[1]!r}."


# Paired drift, and the columns of the factors; hidden factors are drawn anew for each.
ROOMS = ((0.02, 4), (0.5, 2), (0.1, 3), (0.05, 1))


def agreeing(answer: object) -> bool:
    """Exercise 5: embeddings of a given drift that hold as much of each private factor as they can."""

    def read(z: torch.Tensor, factor: torch.Tensor, seed: int) -> float:
        """R^2 of a linear read-out from noisy directions, fitted on one half, as in section 4."""
        u = torch.nn.functional.normalize(z, dim=1)
        u = u + 0.05 * torch.randn(u.shape, generator=torch.Generator().manual_seed(seed))
        u, half = torch.cat([u, torch.ones(len(u), 1)], dim=1), len(u) // 2
        solution = torch.linalg.lstsq(u[:half], factor[:half]).solution
        left = (factor[half:] - u[half:] @ solution).square().sum()
        return 1 - (left / (factor[half:] - factor[half:].mean(0)).square().sum()).item()

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini.geometry import paired_drift

        for seed, (drift, columns) in enumerate(ROOMS, start=511):
            generator = torch.Generator().manual_seed(seed)
            private = {
                m: scale * torch.randn(1000, columns, generator=generator) + 2
                for m, scale in (("sound", 0.4), ("image", 3.0))
            }
            asked = f"with drift {drift:g} and {columns} columns"
            made = of_kind(
                f({m: x.clone() for m, x in private.items()}, drift),
                dict,
                "a dict from modality to embeddings",
            )
            if set(made) != set(private):
                yield f"the entries must be those of private, and yours are {list(made)}."
            made = {m: tensor(made[m], f"{asked} {m}", 2).detach().float() for m in private}
            if any(z.shape != (1000, 16) for z in made.values()):
                yield f"{asked} the shapes are {[tuple(z.shape) for z in made.values()]}: give (1000, 16)."
            if not min(z.norm(dim=1).min() for z in made.values()) > 1e-6:
                yield f"{asked} a row is zero: it has no direction."
            if abs((reached := number(paired_drift(*made.values()))) / drift - 1) > 0.05:
                yield f"{asked} the paired drift is {reached:.4f}: change the size of the ripple."
            room = drift / (drift + 2 * columns * 0.05**2)
            for (m, z), other in zip(made.items(), reversed(list(private.values())), strict=True):
                if (leaked := read(z, other, seed)) > 0.1:
                    yield f"{asked} {m} tells {leaked:.2f} of what its sensor does not see."
                if (kept := read(z, private[m], seed)) < 0.9 * room:
                    yield (
                        f"{asked} the reader finds {kept:.2f} of the factor of {m}, and {room:.2f} is "
                        "possible: are all columns equally strong, and both modalities alike?"
                    )

    return verdict(first_problem(answer, cases), "agreement has room, and how much is a matter of the drift.")
