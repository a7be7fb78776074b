"""Checks of notebook 08, spoken and written digits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .judging import filled, first_problem, number, of_kind, tensor, verdict

if TYPE_CHECKING:
    import pandas as pd

WAYS = {"validation": ("validation", True), "test": ("test", True), "frozen": ("validation", False)}
# Choices (by which split, within a seed or once for all) that are none of the three, and what to say.
OTHER_WAYS = {
    ("validation", True): "this picks anew in each seed",
    ("validation", False): "this picks one setting for all seeds",
    ("test", True): "this picks on test",
    ("test", False): "this freezes the setting that is best on test: freeze by validation",
}


def _runs(seed: int, name: str = "accuracy/fused") -> pd.DataFrame:
    """Return made-up runs of six seeds, two arms and four settings each, in no order."""
    import pandas as pd

    draw, rows = np.random.default_rng(seed), []
    for run in range(6):
        world = draw.normal()
        for arm, settings in {"baseline": "stuv", "regularized": "wxyz"}.items():
            for setting in settings:
                own = world + draw.normal() + 0.3 * (arm == "regularized")
                validation, test = 0.7 + 0.03 * (own + draw.normal(size=2))
                rows.append((run, arm, setting, validation, test))
    frame = pd.DataFrame(rows, columns=["seed", "arm", "setting", f"validation/{name}", f"test/{name}"])
    frame[["validation/other", "test/other"]] = draw.uniform(size=(len(frame), 2))
    return frame.sample(frac=1, random_state=seed).set_index(draw.integers(0, 9, len(frame)))


def _chosen_gain(frame: pd.DataFrame, name: str, by: str, within: bool, report: str = "test") -> float:
    """Return regularized minus baseline: settings chosen ``by`` a split, ``within`` a seed or for all."""
    means = {}
    for arm, runs in frame.groupby("arm"):
        table = {s: runs.pivot(index="seed", columns="setting", values=f"{s}/{name}") for s in (by, report)}
        best = table[by].idxmax(axis=1) if within else [table[by].mean().idxmax()] * len(table[by])
        means[arm] = np.mean(
            [table[report].loc[k, one] for k, one in zip(table[by].index, best, strict=True)]
        )
    return means["regularized"] - means["baseline"]


def three_ways(answer: object) -> bool:
    """Exercise 1: a gain under three ways to choose a setting."""

    def cases(f: Any) -> Iterator[str]:
        for seed, name in enumerate(
            ("accuracy/fused", "accuracy/fused", "knn_probe/image", "accuracy/image")
        ):
            frame = _runs(seed, name)
            given = of_kind(f(frame.copy(), name), dict, "a dict of three gains")
            if set(given) != set(WAYS):
                yield f"it has the names {sorted(map(str, given))}: give validation, test and frozen."
            values = {way: number(value) for way, value in given.items()}
            for way, (by, within) in WAYS.items():
                wanted = _chosen_gain(frame, name, by, within)
                if abs(values[way] - wanted) < 1e-9:
                    continue
                if abs(values[way] + wanted) < 1e-9:
                    yield "the sign is reversed: a gain is regularized minus baseline."
                if abs(values[way] - 100 * wanted) < 1e-7:
                    yield "these are points: leave the gain in the unit of the columns."
                if abs(values[way] - _chosen_gain(frame, name, by, within, "validation")) < 1e-9:
                    yield f"{way!r} reports the gain on validation: choose there, and report the test."
                for (other, anew), sentence in OTHER_WAYS.items():
                    if abs(values[way] - _chosen_gain(frame, name, other, anew)) < 1e-9:
                        yield f"{way!r} is {values[way]:.4f}, not {wanted:.4f}: {sentence}."
                yield (
                    f"{way!r} must be {wanted:.4f} in one case, and yours is {values[way]:.4f}: one run per "
                    "seed and arm, then the mean of the differences over seeds."
                )

    return verdict(first_problem(answer, cases), "one set of runs, three gains.")


def _gains(seed: int, seeds: int, size: float) -> dict[str, np.ndarray]:
    """Return made-up gains of three panels (cells, seeds) that share a seed's luck; some have an effect."""
    draw = np.random.default_rng(seed)
    luck, panels = draw.normal(size=seeds), {}
    for panel, cells in (("left", 9), ("middle", 7), ("right", 12)):
        real = size * (draw.uniform(size=(cells, 1)) < 0.3) * draw.choice([-1, 1], (cells, 1))
        panels[panel] = real + 0.8 * luck + draw.normal(size=(cells, seeds))
    return panels


def _framed(gains: np.ndarray, ddof: int = 1, normal: bool = False) -> int:
    """Return how many cells (cells, seeds) have a 95 % interval without zero, by Student's t."""
    from scipy.stats import norm, t

    seeds = gains.shape[1]
    quantile = norm.ppf(0.975) if normal else t.ppf(0.975, seeds - 1)
    return int((abs(gains.mean(1)) > quantile * gains.std(1, ddof=ddof) / seeds**0.5).sum())


def frames_by_flips(answer: object) -> bool:
    """Exercise 2: how many frames there are if the arms of each seed may be exchanged."""

    def cases(f: Any) -> Iterator[str]:
        for seed, (seeds, size) in enumerate(((6, 2.5), (5, 2.5), (6, 0), (4, 2.5), (6, 1), (7, 0))):
            panels = _gains(seed, seeds, size)
            given = of_kind(f({name: x.copy() for name, x in panels.items()}), dict, "a dict of rows")
            panels["all"] = np.concatenate(list(panels.values()))
            if set(given) != set(panels):
                yield f"it has the names {sorted(map(str, given))}: give each panel, and 'all'."
            for name, gains in panels.items():
                row = tensor(filled(given[name]), f"the row of {name!r}", 1).tolist()
                if len(row) != 3:
                    yield f"the row of {name!r} has {len(row)} numbers: give found, expected and share."
                yield from _wrong_row(name, row, gains)

    return verdict(first_problem(answer, cases), "chance, with all the dependence that the map has.")


def _wrong_row(name: str, row: list[float], gains: np.ndarray) -> Iterator[str]:
    found, expected, share = row
    seeds = gains.shape[1]
    flips = np.array(list(itertools.product((1, -1), repeat=seeds)))
    counts = np.array([_framed(gains * flip) for flip in flips])
    real, more = counts[0], (counts > counts[0]).mean()
    if abs(found - real) > 1e-6:
        if found == _framed(gains, ddof=0) or found == _framed(gains, normal=True):
            yield f"{name!r} has {real} frames, not {found:g}: Student's t, and n - 1 in the deviation."
        yield f"{name!r} has {real} frames, and yours are {found:g}."
    if abs(expected - 0.05 * len(gains)) < 1e-9 and abs(expected - counts.mean()) > 1e-6:
        yield "5 % of the cells is what independent normal gains promise: count in the flipped tables."
    if abs(expected - counts.mean()) > 1e-6:
        yield (
            f"{name!r} has {counts.mean():.3f} frames on average over all {len(flips)} patterns, and "
            f"yours is {expected:.3f}: a sign turns one seed in all cells at once."
        )
    if abs(share - more) < 1e-9 < abs(more - (counts >= real).mean()):
        yield "at least as many frames: the table as it is counts, too, so the share is never 0."
    if abs(share - (counts >= real).mean()) > 1e-6:
        yield (
            f"of the patterns, {(counts >= real).mean():.3f} have at least as many frames in {name!r} as the "
            f"table, and yours is {share:.3f}."
        )
