"""What luck and selection make of a gain: power, and a simulator that draws from recorded deviations.

A study compares arms with one baseline, paired by seed. In each seed, an arm trains its settings and picks
one of them; so does the baseline. ``simulate`` draws many such studies in which only the first arm has a true
effect. What a gain of zero looks like then depends on four numbers that an author chooses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 400_000  # of runs in one call of ``simulate``, unless that leaves fewer than 200 studies


class Recorded(NamedTuple):
    """What records say about luck.

    ``deviation``: of the gain between seeds in points, with frozen settings, the median over settings.
    ``correlation``: of validation and test over the settings of an arm, by ranks, mean over seeds.
    ``pool``: deviations of single gains from their mean in units of their deviation, sorted.
    """

    deviation: float
    correlation: float
    pool: np.ndarray


class Studies(NamedTuple):
    """Observed mean gains and half widths of their 95 % intervals, both (studies, arms), in points."""

    gains: np.ndarray
    half: np.ndarray

    @property
    def above(self) -> np.ndarray:
        """Whether an interval lies above zero, (studies, arms)."""
        return self.gains > self.half


def recorded(swept: pd.DataFrame, frozen: pd.DataFrame) -> Recorded:
    """Return what luck is like in the records of ``regimes`` and, with frozen settings, ``paper_settings``.

    Both are frames of ``Study.load``; of the second, the settings with the most seeds count.
    """
    validation, test = "validation/accuracy/fused", "test/accuracy/fused"
    trials = swept[swept["arm"] != "control"].groupby(["regime", "seed", "arm"])
    ranks = trials[[validation, test]].rank()
    keys = [swept.loc[ranks.index, name] for name in ("regime", "seed", "arm")]
    spread = ranks.groupby(keys).std()
    covered = ranks.groupby(keys).cov()[test].xs(validation, level=-1)
    correlation = (covered / spread.prod(axis=1)).replace([np.inf, -np.inf], np.nan).mean()
    runs = frozen.pivot_table(index=["paradigm", "seed"], columns="arm", values=test)
    gains = 100 * runs.drop(columns="none").sub(runs["none"], axis=0)
    grouped = gains.groupby("paradigm")
    known = grouped.transform("count")
    gains = gains.where(known == known.max().max())
    grouped = gains.groupby("paradigm")
    pool = ((gains - grouped.transform("mean")) / grouped.transform("std")).to_numpy().ravel()
    pool = np.sort(pool[np.isfinite(pool)])
    deviation = float(np.nanmedian(grouped.std().to_numpy()))
    return Recorded(deviation, float(correlation), (pool - pool.mean()) / pool.std())


def power(effect: float, deviation: float, seeds: int) -> float:
    """Return the chance that a paired t-test at 5 % finds ``effect`` on its side, if gains are normal.

    ``deviation`` is that of the gain between seeds, in the unit of ``effect``.
    """
    from scipy.stats import nct, t

    return float(nct.sf(t.ppf(0.975, seeds - 1), seeds - 1, effect * seeds**0.5 / deviation))


def simulate(
    seeds: int,
    settings: int,
    arms: int,
    effect: float,
    luck: Recorded,
    *,
    of_baseline: int = 1,
    generator: np.random.Generator | None = None,
) -> Studies:
    """Draw studies in which the first arm has a true ``effect`` in points and the others have none.

    Args:
        seeds: of each study, two or more.
        settings: that an arm picks from in each seed; they differ by luck alone.
        arms: that are compared with the same baseline.
        effect: the true gain of the first arm, in points.
        luck: of ``recorded``. With ``correlation`` 1 the test split itself picks; with 0 the settings were
            frozen on other seeds.
        of_baseline: settings that the baseline picks from.
        generator: of the draws, by default with seed 0.

    The best of k draws is drawn at once: its rank in the pool is that of a uniform number to the power 1/k.
    """
    from scipy.stats import t

    generator = np.random.default_rng(0) if generator is None else generator
    studies = int(np.clip(DRAWS // (seeds * (arms + 1)), 200, 2000))

    def picked(k: int, shape: tuple[int, ...]) -> np.ndarray:
        best = luck.pool[(generator.random(shape) ** (1 / k) * len(luck.pool)).astype(int)]
        other = luck.pool[generator.integers(0, len(luck.pool), shape)]
        return luck.correlation * best + (1 - luck.correlation**2) ** 0.5 * other

    runs = picked(settings, (studies, arms, seeds))
    runs -= picked(of_baseline, (studies, 1, seeds))
    runs *= luck.deviation / 2**0.5  # a gain is the difference of two runs
    runs[:, 0] += effect
    half = t.ppf(0.975, seeds - 1) * runs.std(axis=2, ddof=1) / seeds**0.5
    return Studies(runs.mean(axis=2), half)
