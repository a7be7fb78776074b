"""Checks of notebook 17, what can be known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .judging import Unsuitable, filled, first_problem, number, tensor, verdict

LOSS, EXACT, CLOSE = 0.25, 0.002, 0.01
MOST_STATES = 64


def _table(value: object) -> torch.Tensor:
    """Return an answer as a joint table p[y, a, b] in float64, with every label possible."""
    p = tensor(value, "your table", 3).double()
    if (p < -1e-9).any():
        raise Unsuitable("your table has a negative probability.")
    if abs(p.sum().item() - 1) > 1e-6:
        raise Unsuitable(f"the probabilities of your table add up to {p.sum().item():.3g}, not to 1.")
    if max(p.shape) > MOST_STATES:
        raise Unsuitable(f"your table has shape {tuple(p.shape)}: at most {MOST_STATES} states are needed.")
    p = p.clamp_min(0)
    return p[p.sum((1, 2)) > 0]


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


def redundancy_and_synergy(answer: object) -> bool:
    """Exercise 2: a table with a given redundancy and synergy, and nothing unique."""

    def cases(f: Any) -> Iterator[str]:
        hidden = np.random.default_rng(17).uniform(0.05, 0.95, (2, 2)).tolist()
        for redundancy, synergy in ((1.0, 0.0), (0.0, 1.0), (0.4, 0.3), (0.9, 0.8), *hidden):
            p = _table(f(redundancy, synergy))
            found = _decomposition(p)
            asked = f"for redundancy {redundancy:.2f} and synergy {synergy:.2f} your table has"
            wanted = {"R": redundancy, "S": synergy, "U_A": 0.0, "U_B": 0.0}
            if abs(found["R"] - synergy) + abs(found["S"] - redundancy) < CLOSE < abs(redundancy - synergy):
                yield f"{asked} both the wrong way round."
            for part, bits in wanted.items():
                if abs(found[part] - bits) > CLOSE:
                    name = {"R": "redundancy", "S": "synergy"}.get(part, f"unique part {part}")
                    yield f"{asked} the {name} {abs(found[part]):.3f} instead of {bits:.2f} bits."

    return verdict(first_problem(answer, cases), "redundancy and synergy, as ordered.")


def _nc2(z: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    means = torch.stack([z[labels == c].mean(0) for c in labels.unique()]) - z.mean(0)
    length, count = means.norm(dim=1), len(means)
    unit = means / length[:, None]
    cosines = (unit @ unit.T)[~torch.eye(count, dtype=torch.bool)]
    return (length.std(correction=0) / length.mean()).item(), (cosines + 1 / (count - 1)).abs().mean().item()


def nc2(answer: object) -> bool:
    """Exercise 3: unevenness of the class means in length and in angle."""

    def both(f: Any, z: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        found = filled(f(z, labels))
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Unsuitable("return two numbers: first of the lengths, then of the angles.")
        return number(found[0]), number(found[1])

    def cases(f: Any) -> Iterator[str]:
        corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
        labels = torch.arange(40) % 4
        spread, angle = both(f, corners[labels] + 5, labels)
        if max(abs(spread), abs(angle)) > 1e-6:
            yield f"a regular simplex gives 0 and 0 wherever it is; yours are {spread:.3f}, {angle:.3f}."
        for seed in (0, *np.random.default_rng(17).integers(1, 10**6, 3).tolist()):
            generator = torch.Generator().manual_seed(seed)
            labels = 3 * (torch.arange(90) % 5).clamp_max(3) + 2  # one class is larger, names have gaps
            centers = torch.randn(12, 6, generator=generator).double()
            z = centers[labels % 12] + torch.randn(90, 6, generator=generator).double()
            spread, angle = both(f, z, labels)
            yield from _wrong_nc2(spread, angle, z, labels)

    return verdict(first_problem(answer, cases), "both numbers are 0 for a regular simplex, and only there.")


def _wrong_nc2(spread: float, angle: float, z: torch.Tensor, labels: torch.Tensor) -> Iterator[str]:
    wanted, wanted_angle = _nc2(z, labels)
    means = torch.stack([z[labels == c].mean(0) for c in labels.unique()])
    length = (means - z.mean(0)).norm(dim=1)
    about_means = (means - means.mean(0)).norm(dim=1)
    mistakes = {
        "the two numbers are swapped: the lengths come first.": (spread, wanted_angle),
        "divide the deviation of the lengths by their mean.": (spread, length.std(correction=0).item()),
        "take the deviation that divides by the number of classes (correction=0).": (
            spread, (length.std() / length.mean()).item()),
        "subtract the mean of all samples, not the mean of the class means.": (
            spread, (about_means.std(correction=0) / about_means.mean()).item()),
    }  # fmt: skip
    for sentence, (found, wrong) in mistakes.items():
        if abs(found - wrong) < 1e-6 < abs(wrong - wanted):
            yield sentence
    if abs(spread - wanted) > 1e-6:
        yield f"the lengths must give {wanted:.4f} here, and yours is {spread:.4f}."
    if abs(angle - wanted_angle) > 1e-6:
        yield (
            f"the angles must give {wanted_angle:.4f} here, and yours is {angle:.4f}: "
            "mean of |cos + 1 / (C - 1)| over pairs of different classes."
        )
