"""Checks of notebook 17, what can be known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .judging import Unsuitable, filled, first_problem, tensor, verdict

LOSS, EXACT, CLOSE, SIMPLEX = 0.25, 0.002, 0.01, 1e-3
MOST_STATES = 64


def _table(value: object) -> torch.Tensor:
    """Return an answer as a joint table p[y, a, b] in float64, without impossible states."""
    p = tensor(value, "your table", 3).double()
    if (p < -1e-9).any():
        raise Unsuitable("your table has a negative probability.")
    if abs(p.sum().item() - 1) > 1e-6:
        raise Unsuitable(f"the probabilities of your table add up to {p.sum().item():.3g}, not to 1.")
    p = p.clamp_min(0)
    p = p[p.sum((1, 2)) > 0][:, p.sum((0, 2)) > 0][:, :, p.sum((0, 1)) > 0]
    if max(p.shape) > MOST_STATES:
        raise Unsuitable(f"your table has shape {tuple(p.shape)}: at most {MOST_STATES} states are needed.")
    return p


def _right(p: torch.Tensor) -> float:
    """Return the accuracy of the best reader of a table (Y, X)."""
    return p.amax(dim=0).sum().item()


def _right_late(p: torch.Tensor) -> float:
    """Return the accuracy of late fusion, with ties decided by a fair draw."""
    own = [p.sum(2)[:, :, None], p.sum(1)[:, None, :]]
    a, b = (x / x.sum(0, keepdim=True).clamp_min(1e-300) for x in own)
    score = a.log() + b.log() - p.sum((1, 2)).log()[:, None, None]
    best = score >= score.amax(0) - 1e-9
    return (p * best / best.sum(0).clamp_min(1)).sum().item()


def late_fusion_loses(answer: object) -> bool:
    """Exercise 1: a world in which adding up log posteriors loses 25 points."""

    def cases(f: Any) -> Iterator[str]:
        hidden = np.random.default_rng(17).uniform(0.5, 0.72, 3).tolist()
        for alone in (0.5, 0.6, 0.7, *hidden):
            p = _table(f(alone))
            asked = f"for alone = {alone:.3g}"
            for name, own in (("A", _right(p.sum(2))), ("B", _right(p.sum(1)))):
                if abs(own - alone) > EXACT:
                    yield f"{asked}, {name} alone is right in {100 * own:.1f} %, not in {100 * alone:.1f} %."
            both, late = _right(p.flatten(1)), _right_late(p)
            if both - late < LOSS:
                yield (
                    f"{asked}, the best fusion is right in {100 * both:.1f} % and late fusion in "
                    f"{100 * late:.1f} %: that is less than 25 points."
                )

    return verdict(first_problem(answer, cases), "late fusion loses what only the pair knows.")


def _bits(p: torch.Tensor) -> float:
    """Return the mutual information of a table (Y, X) in bits."""
    q, seen = p.sum(1, keepdim=True) * p.sum(0, keepdim=True), p > 0
    return (p[seen] * (p[seen] / q[seen]).log2()).sum().item()


def _decomposition(p: torch.Tensor, rounds: int = 300) -> dict[str, float]:
    """Return R, U_A, U_B and S as Bertschinger et al. define them, by alternating minimization."""
    ya, yb, y = p.sum(2), p.sum(1), p.sum((1, 2))
    r = (ya[:, :, None] * yb[:, None, :] / y[:, None, None]).sum(0)
    for _ in range(rounds):
        q = r.expand_as(p)
        for _ in range(20):
            q = q * (ya / q.sum(2).clamp_min(1e-300))[:, :, None]
            q = q * (yb / q.sum(1).clamp_min(1e-300))[:, None, :]
        r = q.sum(0)
    a, b, least, both = _bits(ya), _bits(yb), _bits(q.flatten(1)), _bits(p.flatten(1))
    return {"R": a + b - least, "U_A": least - b, "U_B": least - a, "S": both - least}


PARTS = {"R": "redundancy", "U_A": "unique part of A", "U_B": "unique part of B", "S": "synergy"}


def parts_to_order(answer: object) -> bool:
    """Exercise 2: a table with given redundant, unique and synergistic bits."""

    def cases(f: Any) -> Iterator[str]:
        hidden = np.random.default_rng(17).uniform(0.05, 0.95, (3, 4)).tolist()
        alone = np.eye(4).tolist()
        for asked in (*alone, [0.4, 0.0, 0.0, 0.3], *hidden):
            p = _table(f(*asked))
            found = _decomposition(p)
            wanted = dict(zip(PARTS, asked, strict=True))
            numbers = ", ".join(f"{bits:.2f}" for bits in asked)
            for one, other in itertools.combinations(PARTS, 2):
                swapped = wanted | {one: wanted[other], other: wanted[one]}
                if _equal(found, swapped) and not _equal(found, wanted):
                    yield f"for ({numbers}) your {PARTS[one]} and your {PARTS[other]} are exchanged."
            for part, bits in wanted.items():
                if abs(found[part] - bits) > CLOSE:
                    yield (
                        f"for ({numbers}) your table has the {PARTS[part]} {abs(found[part]):.3f} instead of "
                        f"{bits:.2f} bits."
                    )

    return verdict(first_problem(answer, cases), "all four parts, as ordered.")


def _equal(found: dict[str, float], wanted: dict[str, float]) -> bool:
    return all(abs(found[part] - bits) <= CLOSE for part, bits in wanted.items())


def _evenness(means: torch.Tensor) -> tuple[float, float]:
    """Return the unevenness of centered class means (C, D) in length and in angle; both 0: a simplex."""
    means = means - means.mean(0)
    length, count = means.norm(dim=1), len(means)
    unit = means / length.clamp_min(1e-12)[:, None]
    cosines = (unit @ unit.T)[~torch.eye(count, dtype=torch.bool)]
    spread = length.std(correction=0) / length.mean().clamp_min(1e-12)
    return spread.item(), (cosines + 1 / (count - 1)).abs().mean().item()


def simplex_in_parts(answer: object) -> bool:
    """Exercise 3: class means that form a simplex side by side, and are uneven in one modality."""

    def cases(f: Any) -> Iterator[str]:
        generator = np.random.default_rng(17)
        for classes in (4, 3, 10, *generator.integers(3, 12, 3).tolist()):
            wanted = round(float(generator.uniform(0.05, 0.3)), 3)
            given = filled(f(classes, wanted))
            if not isinstance(given, tuple | list) or len(given) != 2:
                raise Unsuitable("return two matrices: the class means of a and those of b.")
            a, b = (
                tensor(means, f"the means of {m}", 2).double() for m, means in zip("ab", given, strict=True)
            )
            asked = f"with {classes} classes and wanted = {wanted:g}"
            if {len(a), len(b)} != {classes}:
                yield f"{asked} there must be {classes} rows each, and yours are {len(a)} and {len(b)}."
            whole = torch.cat([a, b], dim=1)
            if (whole - whole.mean(0)).norm() < 1e-6:
                yield f"{asked} all class means are the same."
            spread, angle = _evenness(whole)
            if spread > SIMPLEX:
                yield f"{asked} the fused lengths have the unevenness {spread:.3f}: in a simplex it is 0."
            if angle > SIMPLEX:
                yield f"{asked} the fused cosines are {angle:.3f} away from -1/(C-1) on average."
            found = _evenness(a)[0]
            if abs(_evenness(b)[0] - wanted) <= CLOSE < abs(found - wanted):
                yield f"{asked} the means of b are as uneven as wanted: these were asked of a."
            if abs(found - wanted) > CLOSE:
                yield f"{asked} the lengths in a have the unevenness {found:.3f}."

    return verdict(first_problem(answer, cases), "a perfect whole whose parts are none.")
