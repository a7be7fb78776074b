"""Checks of notebook 02, measuring geometry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import OPEN, Unsuitable, filled, first_problem, number, of_kind, tensor, verdict


def effective_rank(answer: object) -> bool:
    """Exercise 1: effective rank from singular values, rows normalized, then centered."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        def rank(rows: list) -> float:
            undefined = "it is not finite if a singular value is 0: there 0 log 0 stands for 0."
            return number(f(torch.tensor(rows)), if_not_finite=undefined)

        value = rank([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]])
        if abs(value - math.log(2)) < 1e-4:
            yield "two equal directions give 0.693 = log 2, the entropy: take its exponential."
        if abs(value - 2) > 1e-4:
            yield f"the four arms of a flat cross use 2 directions equally, and yours gives {value:.3f}."
        value = rank([[5.0, 0], [-5.0, 0], [0, 1.0], [0, -1.0]])
        if abs(value - 2) > 1e-4:
            yield f"longer rows changed the cross from 2 to {value:.3f}: normalize each row first."
        value = rank([[0.6, 0, 0.8], [-0.6, 0, 0.8], [0, 0.6, 0.8], [0, -0.6, 0.8]])
        if abs(value - 2) > 1e-4:
            yield f"the cross lifted by 0.8 must still give 2, not {value:.3f}: subtract the mean row."
        value = rank([[1.0, 0], [-1.0, 0]] * 3 + [[0, 1.0], [0, -1.0]])
        if abs(value - 1.755) < 2e-3:
            yield "you took shares of the eigenvalues, the squares of the singular values: take sigma."
        z = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) + 1
        value, wanted = number(f(z)), geometry.effective_rank(z)
        if abs(value - wanted) > 1e-3:
            yield f"30 off-center rows must give {wanted:.3f}, not {value:.3f}: normalize first, then center."

    return verdict(first_problem(answer, cases), "it counts directions, blind to length and position.")


def _clouds() -> Iterator[tuple[str, torch.Tensor]]:
    """Yield hidden clouds (N, D) with a mean cosine of about 0, and what to call each of them."""
    for seed, (n, d, shortest, classes) in enumerate(
        ((600, 16, 1.0, 0), (480, 20, 0.3, 0), (400, 8, 1.0, 4), (720, 12, 0.4, 3)), start=311
    ):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n, d, generator=generator) * torch.linspace(1, shortest, d)
        if classes:
            z = (
                z
                + 2.5
                * (torch.eye(d)[:classes] - torch.eye(d)[:classes].mean(dim=0))[torch.arange(n) % classes]
            )
        z = z @ torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
        u = torch.nn.functional.normalize(z, dim=1)
        yield f"for a cloud of shape ({n}, {d})", u - u.mean(dim=0)


def twin(answer: object) -> bool:
    """Exercise 2: a cloud in few places with the ranks and the mean cosine of a given one."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        for asked, z in _clouds():
            made = tensor(f(z.clone()), f"{asked} your twin", 2)
            if made.shape != z.shape:
                yield f"{asked} your twin has shape {tuple(made.shape)}: both need as many rows and columns."
            made = made.to(z.dtype)
            if not made.norm(dim=1).min() > 1e-6:
                yield f"{asked} a row of your twin is zero: it has no direction."
            own, wanted = (number(geometry.mean_cosine(x)) for x in (made, z))
            if abs(own - wanted) > 0.02:
                yield (
                    f"{asked} the mean cosine is {wanted:.3f}, and that of your twin {own:.3f}: let places "
                    "balance, each with its opposite."
                )
            for name in ("effective_rank", "participation_ratio"):
                own, wanted = (number(getattr(geometry, name)(x)) for x in (made, z))
                if abs(own / wanted - 1) > 0.03:
                    yield (
                        f"{asked} the {name.replace('_', ' ')} is {wanted:.2f}, and that of your twin "
                        f"{own:.2f}: give each axis rows in proportion to its squared singular value."
                    )
            u = torch.nn.functional.normalize(made, dim=1)
            equal = (torch.cdist(u, u) < 1e-3).tril(diagonal=-1).any(dim=1)
            places = int((~equal).sum())
            if places > len(z) / 8:
                yield f"{asked} your twin stands in {places} places: at most {len(z) // 8} are allowed."

    return verdict(first_problem(answer, cases), "three numbers alike, and two clouds that are not.")


def patients(answer: object) -> bool:
    """Exercise 3: the sickness that each of four reports shows."""
    truth = {"P": "cone", "Q": "rotation", "R": "gap", "S": "few directions"}
    hints = {
        ("P", "few directions"): "nearly all of its directions are in use; look at the mean cosine",
        ("P", "gap"): "its gap is near 0; look at the mean cosine",
        ("Q", "shuffled"): "shuffled pairs have no common structure, and its CKA is that of the healthy pair",
        ("Q", "gap"): "its drift is large, yet its gap is small, so no shift of whole modalities explains it",
        ("R", "shuffled"): "most partners still find each other; see how much of the drift is gap squared",
        ("R", "rotation"): "a rotation about the origin leaves mean cosine and gap near 0",
        ("R", "cone"): "its two modalities lie apart: square the gap and compare with the drift",
        ("S", "cone"): "its mean cosine is 0, so there is no common direction; look at the rank",
    }

    def cases(given: Any) -> Iterator[str]:
        known = {*truth.values(), "shuffled"}
        given = of_kind(given, dict, "a dict from each patient to a diagnosis")
        given = {patient: filled(given.get(patient)) for patient in truth}
        for patient, right in truth.items():
            said = str(given[patient]).strip().lower()
            if said not in known:
                yield f"{said!r} is not among the diagnoses: choose from {', '.join(sorted(known))}."
            if said != right:
                why = hints.get((patient, said), "compare each number with the healthy pair's")
                yield f"{patient} is not {said!r}: {why}."

    problem = first_problem(answer, cases)
    if problem == OPEN:
        problem = "some patients have no diagnosis yet."
    return verdict(problem, "four sicknesses, told apart by looking at several numbers at once.")


# The interval reaches so many standard errors below and above the statistic of its cloud.
REACHES = ((24, 0.5, 2.5), (60, 2.0, 0.3), (40, 1.96, 1.96), (30, -1.0, 3.0))


def coverage(answer: object) -> bool:
    """Exercise 4: how often intervals contain, lie below and lie above the truth of clouds of n rows."""
    worlds = 500

    def cases(f: Any) -> Iterator[str]:
        for n, below, above in REACHES:
            generator, sizes, seen = torch.Generator().manual_seed(n), [], []

            def draw(rows: int, generator: Any = generator, sizes: list = sizes) -> torch.Tensor:
                sizes.append(int(number(rows)))
                return torch.randn(sizes[-1], 2, generator=generator)

            def statistic(z: torch.Tensor) -> float:
                return z[:, 0].mean().item() + 40 / len(z)  # like a rank, it depends on the number of rows

            def interval(
                own: Any, z: Any, seen: list = seen, statistic: Any = statistic, ends: Any = (below, above)
            ) -> tuple[float, float]:
                if own is not statistic or not torch.is_tensor(z):
                    raise Unsuitable("call interval(statistic, z) with the statistic and with one cloud.")
                seen.append(z)
                middle, error = statistic(z), len(z) ** -0.5
                return middle - ends[0] * error, middle + ends[1] * error

            found = of_kind(f(interval, statistic, draw, n, worlds), dict, "a dict with four entries")
            if set(found) != {"contains", "below", "above", "width"}:
                yield f"the entries must be contains, below, above and width, and yours are {list(found)}."
            if set(sizes) != {n}:
                yield f"clouds of {sorted(set(sizes))} rows were drawn, and the question is about {n} rows."
            if len(seen) != worlds:
                yield f"{worlds} worlds were asked for, and you made {len(seen)} intervals."
            if len({z.data_ptr() for z in seen}) < worlds or len(sizes) < worlds + 100:
                yield "draw a fresh cloud for each world, and 100 others or more for the truth."
            yield from _wrong_shares({name: number(x) for name, x in found.items()}, n, below, above)

    return verdict(first_problem(answer, cases), "an error bar is tested where the truth is known.")


def _wrong_shares(found: dict[str, float], n: int, below: float, above: float) -> Iterator[str]:
    """Yield what is wrong with the shares and the width found for normal statistics."""

    def normal(x: float) -> float:
        return (1 + math.erf(x / 2**0.5)) / 2

    wanted = {"below": 1 - normal(above), "above": 1 - normal(below)}
    wanted["contains"] = 1 - sum(wanted.values())
    reached = ", ".join(f"{name} {share:.2f}" for name, share in wanted.items())
    yours = ", ".join(f"{name} {found[name]:.2f}" for name in wanted)
    if abs(sum(found[name] for name in wanted) - 1) > 1e-6:
        yield f"the three shares must add up to 1, and yours are {yours}."
    if abs(wanted["below"] - wanted["above"]) > 0.2 and all(
        abs(found[one] - wanted[other]) < 0.08 for one, other in (("below", "above"), ("above", "below"))
    ):
        yield "below and above are swapped: an interval lies below the truth if its high end does."
    if any(abs(found[name] - share) > 0.08 for name, share in wanted.items()):
        yield (
            f"in a world with known shares they are {reached}, and yours are {yours}: the truth is one "
            "number, measured on clouds that are not used again."
        )
    width = (below + above) * n**-0.5
    if abs(found["width"] - width) > 1e-3 * width:
        yield f"the mean width is {width:.4f} there, and yours is {found['width']:.4f}."
