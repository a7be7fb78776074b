"""Checks of notebook 18, your own model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from .judging import Unsuitable, filled, first_problem, number, tensor, verdict

DOSES, INSIDE, MOST_TRIALS = (0.1, 1.0), (0.3, 0.7), 60


def each_once(answer: object) -> bool:
    """Exercise 1: the positions of the rows that repeat no earlier row in any modality."""

    def kept(f: Any, given: dict[str, list]) -> list[int]:
        value = f({m: torch.tensor(rows) for m, rows in given.items()})
        found = tensor(value, "your answer", 1)
        if found.dtype == torch.bool:
            raise Unsuitable("give the positions of the rows, not a mask: mask.nonzero()[:, 0].")
        return found.tolist()

    def cases(f: Any) -> Iterator[str]:
        a, b = [[0.0], [1], [0], [2], [3], [3], [4]], [[5.0], [6], [7], [5], [8], [9], [7]]
        found = kept(f, {"a": a, "b": b})
        mistakes = {
            (0, 1, 2, 3, 4, 5, 6): "a row is a copy if it is one in any modality, not in all at once.",
            (0, 1, 3, 4, 6): "look for copies in every modality, not in the first alone.",
            (0, 1, 2, 4, 5): "look for copies in every modality, not in the last alone.",
            (0, 1, 4, 6): "row 6 repeats row 2 in b: a row that was left out counts as an earlier one.",
            (1,): "keep the first of equal rows, not only those without any copy.",
            (2, 3, 5): "these are the copies; keep the others.",
        }
        if found != [0, 1, 4]:
            said = mistakes.get(tuple(found), "go through the rows and compare each with all earlier ones.")
            yield f"rows 0, 1 and 4 must stay, and yours are {found}: {said}"
        wide = [[1.0, 2], [2, 1], [1, 3], [2, 4], [-1, -2], [1.0000001, 2], [1, 2]]
        found, unlike = kept(f, {"a": wide, "b": [[float(i)] for i in range(7)]}), [0, 1, 2, 3, 4, 5]
        if found != unlike:
            yield f"of {wide} the last row alone is a copy, and yours are {found}: compare whole rows."
        three = {"a": [[0.0], [1], [2]], "b": [[0.0], [1], [2]], "c": [[0.0], [1], [1]]}
        if (found := kept(f, three)) != [0, 1]:
            yield f"with three modalities, rows 0 and 1 must stay, and yours are {found}."
        if (found := kept(f, {"a": [[0.0]] * 4, "b": [[1.0]] * 4})) != [0]:
            yield f"four equal rows are one sample: [0] must stay, and yours are {found}."

    return verdict(first_problem(answer, cases), "each sample once, whatever its copies are called.")


def _world(middle: float, spread: float, force: float, pull: float) -> Callable[[float, float], tuple]:
    """Return a made-up model: (strength, radius) -> dose and share inside, the distances being normal.

    ``middle``, ``spread`` and ``force`` (dose per strength) are without a regularizer; ``pull`` moves pairs.
    """

    def try_out(strength: float, radius: float) -> tuple[float, float]:
        mean = radius + (middle - radius) * math.exp(-pull * strength) if middle > radius else middle
        excess = (mean - radius) / spread
        outside = (1 + math.erf(excess / 2**0.5)) / 2
        density = math.exp(-(excess**2) / 2) / (2 * math.pi) ** 0.5
        return force * strength * (spread * density + (mean - radius) * outside), 1 - outside

    return try_out


WORLDS = ((1.4, 0.1, 8.0, 1.0), (0.8, 0.05, 400.0, 20.0), (1.1, 0.2, 0.2, 0.02), (0.45, 0.1, 2.0, 0.5))


def active_band(answer: object) -> bool:
    """Exercise 2: a search for a strength and a radius at which the band is active."""

    def cases(f: Any) -> Iterator[str]:
        for world in WORLDS:
            model, trials = _world(*world), []

            def try_out(strength: float, radius: float, model: Any = model, trials: list = trials) -> tuple:
                strength, radius = number(strength), number(radius)
                if not (strength > 0 and 0 <= radius <= 2):
                    raise Unsuitable(
                        f"you tried strength {strength:g} and radius {radius:g}: the first is above 0, "
                        "and the second between 0 and 2."
                    )
                if len(trials) == MOST_TRIALS:
                    raise Unsuitable(
                        f"that is trial number {MOST_TRIALS + 1}: let each result decide what is tried next."
                    )
                trials.append((strength, radius))
                return model(strength, radius)

            found = tensor(f(try_out), "your answer", 1)
            if len(found) != 2:
                yield f"you returned {len(found)} numbers: return the strength and the radius."
            strength, radius = map(float, found)
            if not (strength > 0 and 0 <= radius <= 2):
                yield f"strength {strength:g} and radius {radius:g} are not possible: is the order right?"
            if not trials:
                yield "you tried nothing: models differ, so no setting is right for all of them."
            dose, inside = model(strength, radius)
            reached = f"in one of the models your setting has dose {dose:.2g} and {100 * inside:.0f} % inside"
            if not INSIDE[0] <= inside <= INSIDE[1]:
                far = "wider" if inside < INSIDE[0] else "narrower"
                yield f"{reached}: the band is not active; a {far} one would be."
            if not DOSES[0] <= dose <= DOSES[1]:
                far = "weak: raise" if dose < DOSES[0] else "strong: lower"
                yield f"{reached}: too {far} the strength, and look at the band again."

    return verdict(first_problem(answer, cases), "an active band in four models, found by trying.")


def false_alarms(answer: object) -> bool:
    """Exercise 3: how often a protocol finds a gain where there is none."""
    shape = (4, 1, 6)  # settings of ours and of the baseline, seeds

    def run(f: Any, protocol: Callable, worlds: int, seed: int, shape: tuple = shape) -> float:
        return number(f(protocol, *shape, worlds, np.random.default_rng(seed)))

    def cases(f: Any) -> Iterator[str]:
        seen = []
        outcomes = [(0.1, 0.9), (-0.5, 0.4), (-0.9, -0.1), (-0.1, 0.8), (0.2, 0.3), (-1.0, 1.0)]

        def scripted(ours: Any, baseline: Any) -> tuple[float, float]:
            seen.append((np.array(filled(ours), float), np.array(filled(baseline), float)))
            return outcomes[len(seen) % 6]

        share = run(f, scripted, 420, 0)
        if len(seen) != 420:
            yield f"420 worlds were asked for, and the protocol was called {len(seen)} times."
        for (given, name), settings in zip(((0, "ours"), (1, "the baseline")), shape[:2], strict=True):
            if (own := seen[0][given].shape) != (settings, 6, 2):
                yield f"the runs of {name} have shape {own}, not (settings, seeds, 2) = ({settings}, 6, 2)."
        if not all(np.isfinite(x).all() for pair in seen for x in pair):
            yield "some accuracies are not finite."
        if abs(share - 0.5) < 1e-6:
            yield "an interval below zero is no false gain: count those whose low end is above zero."
        if abs(share - 1 / 3) > 1e-6:
            yield f"a third of the intervals had its low end above zero, and yours is {share:g}."
        ours, theirs = (np.stack([pair[k] for pair in seen]) for k in (0, 1))  # (worlds, settings, seeds, 2)
        yield from _wrong_draws(ours, theirs)
        before = seen[:3]
        seen.clear()
        run(f, scripted, 420, 0)
        if not all(np.array_equal(seen[k][0], before[k][0]) for k in range(3)):
            yield "the same generator must give the same worlds: draw from it alone."
        seen.clear()
        run(f, scripted, 420, 1)
        if np.array_equal(seen[0][0], before[0][0]):
            yield "another generator gives the same worlds: draw from it."
        never = run(f, lambda ours, baseline: (-1.0, 1.0), 20, 0, (2, 2, 3))
        if never != 0:
            yield f"a protocol that never finds a gain has no false alarm, and yours is {never:g}."

    return verdict(first_problem(answer, cases), "a protocol is judged by what it finds in nothing.")


def _wrong_draws(ours: np.ndarray, theirs: np.ndarray) -> Iterator[str]:
    """Yield what is wrong with runs (worlds, settings, seeds, 2) of two arms without an effect."""

    def along(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        yield "all runs are equal: seeds and settings differ by luck."
    gap = float(ours.mean() - theirs.mean())
    if abs(gap) > 0.15 * ours.std():
        yield f"ours is {gap:+.2f} above the baseline on average: neither arm may have an effect."
    if abs(float(theirs.mean()) - 80) > 0.3:
        yield f"the mean accuracy must be 80, and yours is {theirs.mean():.1f}."
    if np.array_equal(ours[0], ours[1]):
        yield "every world has the same runs: draw anew for each."
    first, base = ours[:, 0], theirs[:, 0]  # (worlds, seeds, 2)
    checks = {
        "within a seed, two settings share the seed's luck and nothing else: correlation 1/3": (
            along(first[..., 1], ours[:, 1, :, 1]), 1 / 3),
        "the arms are paired: in one seed they share its luck, correlation 1/3": (
            along(first[..., 1], base[..., 1]), 1 / 3),
        "validation and test of a run share the luck of seed and setting, not their noise: correlation 2/3": (
            along(first[..., 0], first[..., 1]), 2 / 3),
        "different seeds are independent: correlation 0": (along(base[:, 0, 1], base[:, 1, 1]), 0),
    }  # fmt: skip
    for sentence, (value, wanted) in checks.items():
        if not abs(value - wanted) < 0.12 + 0.06 * (wanted == 0):
            yield f"{sentence}, and yours is {value:.2f}."
    spread = float(theirs[..., 1].std())
    if not abs(spread - 3**0.5) < 0.2:
        yield f"three deviations of 1 add up to 1.73 in every accuracy, and yours is {spread:.2f}."
