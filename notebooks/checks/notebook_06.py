"""Checks of notebook 06, the tuning lab."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

from .judging import Unsuitable, filled, first_problem, number, of_kind, verdict

if TYPE_CHECKING:
    from lab import Run

TERMS = ("dispersion_weight", "anchoring_weight", "temperature", "radius")
BUDGET, ARMS, LANDSCAPES = 96, 8, 200
MOST_LOST, MOST_OFF = 0.7, 0.4  # points, means over the tables


def _lab_run(setting: object, free: Sequence[str]) -> Run:
    """Train a setting of the lab, a dict; everything but ``free`` must stay at the defaults of the lab."""
    import lab

    setting = of_kind(setting, dict, "a dict such as {'radius': 0.3}")
    known = vars(lab.Setting())
    for name, value in setting.items():
        if name not in known:
            raise Unsuitable(f"the lab has no {name!r}: choose from {', '.join(known)}.")
        if name in free:
            number(value, if_not_finite=f"{name} must be a finite number, not {value}.")
        elif value != known[name]:
            raise Unsuitable(f"leave {name} at {known[name]!r}: free are {', '.join(free)}.")
    return lab.train({name: value if name not in free else number(value) for name, value in setting.items()})


def spread_and_agreed(answer: object) -> bool:
    """Exercise 1: a setting with both effective ranks above 1.8 and paired drift below 0.6."""

    def cases(setting: Any) -> Iterator[str]:
        now = _lab_run(setting, TERMS).now
        rank = number(min(now["effective_rank/a"], now["effective_rank/b"]))
        drift = number(now["paired_drift"])
        reached = f"the lower effective rank is {rank:.2f} and the paired drift {drift:.2f}"
        if rank <= 1.8 and drift >= 0.6:
            yield f"{reached}: neither term does its work; raise both weights to at least 0.1."
        if rank <= 1.8:
            yield f"{reached}: the pairs agree, but crowded; less anchoring, more dispersion or a wider band."
        if drift >= 0.6:
            yield f"{reached}: spread, but the pairs lie apart; more anchoring, or a narrower band."

    return verdict(first_problem(answer, cases), "spread within each modality, and close in pairs.")


def collapse_with_dispersion(answer: object) -> bool:
    """Exercise 2: a collapse, although dispersion is on, that fused accuracy does not show."""

    def cases(setting: Any) -> Iterator[str]:
        run = _lab_run(setting, TERMS)
        if run.setting.dispersion_weight < 0.3:
            yield f"dispersion_weight is {run.setting.dispersion_weight:g}: keep it at 0.3 or more."
        crowding = {m: number(run.now[f"mean_cosine/{m}"]) for m in "ab"}
        fused = number(run.now["accuracy/fused"])
        for m, value in crowding.items():
            if value < 0.85:
                yield f"the mean cosine of {m} is {value:.2f}, below 0.85: which term likes a crowd?"
        if fused < 0.85:
            yield f"collapsed, but fused accuracy fell to {fused:.2f}: go less far."

    return verdict(first_problem(answer, cases), "collapsed with dispersion on, and fused accuracy is blind.")


def sampling_error(answer: object) -> bool:
    """Exercise 3: standard error, in points, of an accuracy of 0.95 on 300 samples."""

    def cases(answer: Any) -> Iterator[str]:
        value, variance = number(answer), 0.95 * 0.05
        if abs(value - math.sqrt(variance / 300)) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * variance / 300) < 1e-3:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(variance)) < 0.1:
            yield "that is the spread of a single sample's result; a mean of 300 has a 300th of the variance."
        if abs(value - 196 * math.sqrt(variance / 300)) < 0.05:
            yield "that is half of a 95 % interval; the standard error is the part before the 1.96."
        if abs(value - 100 * math.sqrt(0.25 / 300)) < 0.05:
            yield "that is for an accuracy of 0.5; put 0.95 into p (1 - p)."
        if abs(value - 100 * math.sqrt(variance / 300)) > 0.02:
            yield "a result is right with p = 0.95, its variance is p (1 - p), and there are 300."

    return verdict(first_problem(answer, cases), "1.26 points: most differences in the lab are smaller.")


def searched(answer: object) -> bool:
    """Exercise 5: a search with few noisy trainings, and its gain measured on seeds that chose nothing."""

    def cases(search: Callable) -> Iterator[str]:
        if not callable(search):
            raise Unsuitable(f"your answer is of type {type(search).__name__}: give a function.")
        lost, off = [], []
        for seed in range(LANDSCAPES):
            true, run, seen = _landscape(seed)
            names = sorted(true)
            found = filled(search(run, list(names), BUDGET))
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise Unsuitable(f"it returned a {type(found).__name__}: return a name and a gain.")
            chosen, gain = found[0], number(found[1])
            if not isinstance(chosen, str) or chosen not in true:
                raise Unsuitable(f"it returned {str(chosen)[:30]!r} first: return one of the names.")
            if len(seen) > BUDGET:
                yield f"it asked for {len(seen)} trainings, and the budget is {BUDGET}."
            if len(set(seen)) < len(seen):
                yield "it trained a setting on the same seed twice: the result is the same, and the cost too."
            if {name for name, _ in seen} != set(true):
                yield "it left a setting untried: every one needs a chance."
            lost.append(100 * (max(true.values()) - true[chosen]))
            off.append(100 * (gain - (true[chosen] - true[names[0]])))
        mean_lost, mean_off = sum(lost) / len(lost), sum(off) / len(off)
        over = f"over {LANDSCAPES} hidden tables"
        if mean_lost > MOST_LOST:
            yield (
                f"{over} the choice is {mean_lost:.1f} points below the best on average, and {MOST_LOST} are "
                "possible: compare on the same seeds, and spend more seeds on better settings."
            )
        if abs(mean_off) > MOST_OFF:
            way = "above" if mean_off > 0 else "below"
            yield (
                f"{over} your gain is {abs(mean_off):.1f} points {way} the true one on average: measure name "
                "minus first name on fresh seeds, in the unit of the accuracies."
            )
        if (wrong := sum(x * x for x in off) / len(off)) > 4:
            yield f"{over} your gain is {wrong**0.5:.1f} points off: spend more seeds on it, equal for both."

    return verdict(first_problem(answer, cases), "close to the best, and its gain is not flattered.")


def _landscape(seed: int) -> tuple[dict[str, float], Callable[[str, int], float], list[tuple[str, int]]]:
    """Return true means by name, a noisy training that counts its calls, and the list of these calls.

    A seed changes all settings alike, as a harder world does (8 points), and each one a little (3 points).
    """
    noise = torch.Generator().manual_seed(1000 + seed)
    means = 0.7 + 0.015 * torch.randn(ARMS, generator=noise)
    worlds = 0.08 * torch.randn(500, generator=noise)
    own = 0.03 * torch.randn(ARMS, 500, generator=noise)
    names = [f"setting {k}" for k in range(ARMS)]
    seen: list[tuple[str, int]] = []

    def run(name: str, seed: int) -> float:
        if name not in names:
            raise ValueError(f"there is no {name!r}")
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 500:
            raise ValueError(f"seed must be a whole number in [0, 500), got {seed!r}")
        if len(seen) > 10 * BUDGET:
            raise RuntimeError("far beyond the budget")
        seen.append((name, seed))
        arm = names.index(name)
        return (means[arm] + worlds[seed] + own[arm, seed]).item()

    return dict(zip(names, means.tolist(), strict=True)), run, seen


def effects(answer: object) -> bool:
    """Exercise 4: the effects of data and of steps, told apart by training all four combinations."""

    def cases(found: Callable) -> Iterator[str]:
        if not callable(found):
            raise Unsuitable(f"your answer is of type {type(found).__name__}: give a function.")
        for seed, (sizes, steps) in enumerate(
            (((128, 320), (20, 80)), ((100, 300), (60, 240)), ((64, 500), (14, 42)))
        ):
            true, run, seen = _factors(seed, sizes, steps)
            given = of_kind(found(run, sizes, steps, [3, 5, 8]), dict, "a dict with data, steps and both")
            if set(given) != set(true):
                raise Unsuitable(f"it has the names {sorted(map(str, given))}: give data, steps and both.")
            values = {name: number(value) for name, value in given.items()}
            wanted = {(size, n // (size // BATCH), s) for size in sizes for n in steps for s in (3, 5, 8)}
            if set(seen) != wanted:
                size, epochs, _ = next(iter(set(seen) ^ wanted))
                yield (
                    f"it should train each size with both numbers of steps on each seed; look at size {size} "
                    f"with {epochs} epochs: an epoch has size // {BATCH} steps (full batches alone count)."
                )
            for name, value in values.items():
                if abs(value - true[name]) > 1e-4:
                    yield f"{name} is {value:.3f} and should be {true[name]:.3f}: {MEANT[name]}."

    return verdict(first_problem(answer, cases), "data and steps told apart, on equal seeds.")


BATCH = 64
MEANT = {
    "data": "the larger size minus the smaller one, at equal steps, averaged over both numbers of steps",
    "steps": "more steps minus fewer, at equal size, averaged over both sizes",
    "both": "what more steps bring with the larger size, minus what they bring with the smaller one",
}


def _factors(
    seed: int, sizes: Sequence[int], steps: Sequence[int]
) -> tuple[dict[str, float], Callable[[int, int, int], float], list[tuple[int, int, int]]]:
    """Return true effects, a training in which they are known, and the list of its calls."""
    noise = torch.Generator().manual_seed(50 + seed)
    table, worlds = 0.2 * torch.rand(2, 2, generator=noise), torch.rand(10, generator=noise)
    seen: list[tuple[int, int, int]] = []

    def run(size: int, epochs: int, seed: int) -> float:
        if size not in sizes or isinstance(epochs, bool) or not isinstance(epochs, Integral) or epochs < 1:
            raise ValueError(f"size {size} must be one of {sizes}, and epochs {epochs} a whole number")
        seen.append((size, epochs, seed))
        taken = epochs * (size // BATCH)
        share = (taken - steps[0]) / (steps[1] - steps[0])
        few, many = table[sizes.index(size)]
        return (few + share * (many - few) + 0.3 * worlds[seed]).item()

    (small_few, small_many), (large_few, large_many) = table.tolist()
    true = {
        "data": (large_few + large_many - small_few - small_many) / 2,
        "steps": (small_many + large_many - small_few - large_few) / 2,
        "both": (large_many - large_few) - (small_many - small_few),
    }
    return true, run, seen
