"""Checks of notebook 01, when geometry goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .judging import (
    Unsuitable,
    filled,
    first_problem,
    half_width,
    interval_problems,
    number,
    of_kind,
    tensor,
    verdict,
)


def mean_cosine(answer: object) -> bool:
    """Exercise 1: the mean cosine over the pairs of different samples of one modality."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        value = number(f(torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -0.5]])))
        if abs(value) < 1e-5:
            yield "the four arms of a cross have mean cosine -1/3, not 0: leave out the pairs i = j."
        if abs(value + 1 / 3) > 1e-5:
            yield f"the four arms of a cross must give -0.333, and yours gives {value:.3f}: normalize first."
        value = number(f(torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.1, 0.0]])))
        if abs(value - 1) > 1e-5:
            yield f"three samples in one direction are fully collapsed, which is 1, and yours is {value:.3f}."
        z = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) + 0.5
        value, wanted = number(f(z)), geometry.mean_cosine(z)
        if abs(value - wanted) > 1e-4:
            yield f"20 random rows must give {wanted:.3f}, not {value:.3f}: take the mean over all pairs."

    return verdict(first_problem(answer, cases), "1 when collapsed, below 0 when spread, blind to length.")


# Mean cosine of both and paired drift; the ends of both dials are among them.
DIALS = ((0.0, 0.0), (0.0, 4.0), (0.95, 4.0), (0.9, 0.3), (0.35, 2.2), (0.65, 3.4), (0.15, 1.1))


def two_dials(answer: object) -> bool:
    """Exercise 2: paired embeddings with a given mean cosine of both and a given paired drift."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        for seed, (crowding, drift) in enumerate(DIALS, start=71):
            asked = f"with mean cosine {crowding:g} and drift {drift:g}"
            a, b = filled(f(crowding, drift, torch.Generator().manual_seed(seed)))
            a, b = tensor(a, f"{asked} a", 2), tensor(b, f"{asked} b", 2)
            if a.shape != b.shape or len(a) < 100:
                shapes = f"{tuple(a.shape)}, {tuple(b.shape)}"
                yield f"{asked} the shapes are {shapes}: give (N, D) twice, N >= 100."
            if not min(z.norm(dim=1).min() for z in (a, b)) > 1e-6:
                yield f"{asked} a row is zero: it has no direction."
            reached = {name: number(geometry.mean_cosine(z)) for name, z in {"a": a, "b": b}.items()}
            if abs(reached["a"] - crowding) > 0.03:
                yield f"{asked} the mean cosine of a is {reached['a']:.3f}: search for the shift that fits."
            if abs(reached["b"] - crowding) > 0.03:
                yield (
                    f"{asked} the mean cosine of b is {reached['b']:.3f}: what turns a into b must keep all "
                    "cosines within a modality."
                )
            if abs((found := number(geometry.paired_drift(a, b))) - drift) > 0.05:
                yield f"{asked} the paired drift is {found:.3f}: a pair at this drift has cosine 1 - drift/2."

    return verdict(first_problem(answer, cases), "any crowding goes with any drift: two dials, two failures.")


MEASURES = ("mean cosine", "drift")
WEIGHTS_OF = {"dispersion": (0.3, 0.0), "anchoring": (0.0, 0.3)}
# A made-up world: its seeds, and the true change of (term, measure), in units of the interval's half-width.
EFFECT_WORLDS = (
    ((200, 201, 202, 203, 204, 205, 206, 207), (-6, 5, 0.1, -4)),
    ((31, 12, 77, 54, 90, 45), (5, -0.1, -7, 6)),
    ((3, 1, 4, 15, 9, 2, 6), (0.2, -4, 4, 0.1)),
)


def term_effects(answer: object) -> bool:
    """Exercise 3: what each term alone does to both failures, paired by seed, with a word for it."""

    def cases(f: Any) -> Iterator[str]:
        for seeds, truth in EFFECT_WORLDS:
            entries = [(term, measure) for term in WEIGHTS_OF for measure in MEASURES]
            runs, changes = _made_up_runs(seeds, dict(zip(entries, truth, strict=True)))
            asked = set()

            def run(
                dispersion: float, anchoring: float, seed: int, runs: Any = runs, asked: set = asked
            ) -> dict:
                key = (number(dispersion), number(anchoring), int(number(seed)))
                if key not in runs:
                    raise Unsuitable(
                        "you trained dispersion weight {:g}, anchoring weight {:g}, seed {}: use 0.3 for one "
                        "term, 0 for the other, 0 for both, and the seeds that are given.".format(*key)
                    )
                asked.add(key)
                return dict(runs[key])

            found = of_kind(f(run, list(seeds)), dict, "a dict with four entries")
            if set(found) != set(entries):
                yield f"the entries must be {', '.join(map(str, entries))}, and yours are {list(found)}."
            if len(asked) < 3 * len(seeds):
                yield "train without a term and with each term alone, for every seed."
            for entry in entries:
                yield from _wrong_effect(entry, found[entry], changes[entry])

    return verdict(first_problem(answer, cases), "four answers over seeds, and a word only if they tell.")


def _made_up_runs(seeds: tuple, truth: dict) -> tuple[dict, dict]:
    """Return runs by (dispersion weight, anchoring weight, seed) and the changes (n,) of each entry.

    Seeds differ by far more than the terms do, so an interval that is not paired by seed is far too wide.
    """
    generator, n = torch.Generator().manual_seed(seeds[0]), len(seeds)
    base = {m: 5 * torch.randn(n, generator=generator, dtype=torch.float64) for m in MEASURES}
    runs = {(0.0, 0.0, seed): {m: base[m][k].item() for m in MEASURES} for k, seed in enumerate(seeds)}
    changes = {}
    for term, weights in WEIGHTS_OF.items():
        for measure in MEASURES:
            noise = torch.randn(n, generator=generator, dtype=torch.float64)
            noise = 0.1 * (noise - noise.mean()) / noise.std()
            changes[term, measure] = noise + truth[term, measure] * half_width(noise)
        for k, seed in enumerate(seeds):
            runs[(*weights, seed)] = {m: (base[m][k] + changes[term, m][k]).item() for m in MEASURES}
    return runs, changes


def _wrong_effect(entry: tuple[str, str], given: Any, changes: torch.Tensor) -> Iterator[str]:
    """Yield what is wrong with (mean, low, high, word) of an entry with these changes."""
    name = f"{entry[0]} on {entry[1]}"
    if not isinstance(given, tuple | list) or len(given) != 4:
        yield f"{name}: give (mean, low, high, word)."
    yield from interval_problems(name, given, changes, "repairs", "worsens")
