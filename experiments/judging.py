"""What an interval says about a claim, and which gain the seeds could have seen."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

SUPPORTED, EXCLUDED, UNDECIDED = "supported", "excluded", "undecided"
ACTIVE = (0.2, 0.8)  # share of test pairs inside an active band


def verdict(low: float, high: float, least: float, most: float) -> str:
    """Return what an interval [low, high] says about the claim that the gain is from ``least`` to ``most``.

    >>> verdict(0.2, 0.8, 0, 1), verdict(1.1, 2.0, 0, 1), verdict(0.2, 1.2, 0, 1)
    ('supported', 'excluded', 'undecided')
    """
    if least <= low and high <= most:
        return SUPPORTED
    return EXCLUDED if high < least or low > most else UNDECIDED


def verdict_of_gain(low: float, high: float, claimed: float, side: int = 1) -> str:
    """Return what an interval [low, high] says about a claimed gain of a size ``claimed`` >= 0.

    ``side`` is +1 if the claim says that something rises, -1 if it falls. The claim is *supported* if the
    interval lies on this side of zero, however small the gain. It is *excluded* if every gain in the interval
    is smaller than the claimed one. Otherwise the seeds do not tell: *undecided*.

    >>> verdict_of_gain(0.1, 0.3, 0.5), verdict_of_gain(-0.2, 0.3, 0.5), verdict_of_gain(-1, 2, 0.5)
    ('supported', 'excluded', 'undecided')
    >>> verdict_of_gain(-3, -1, 0, side=-1)
    'supported'
    """
    low, high = sorted((side * low, side * high))
    if low > 0:
        return SUPPORTED
    return EXCLUDED if high < claimed else UNDECIDED


def paired_gain(
    values: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95
) -> dict[str, float]:
    """Return the gain of ``values`` over ``baseline``, both by seed.

    Keys: ``mean``, ``low`` and ``high`` of the interval, ``seeds``, ``baseline`` (its mean), and
    ``detectable`` by the standard deviation of these differences.
    """
    import numpy as np

    from geomreg_mini.evaluation import paired_interval

    found = paired_interval(values, baseline, level=level)
    spread = float(np.std([values[seed] - baseline[seed] for seed in values], ddof=1))
    return {"mean": found.mean, "low": found.low, "high": found.high, "seeds": found.n,
            "baseline": fmean(baseline.values()),  # exact, on every version of Python
            "detectable": detectable(spread, found.n)}  # fmt: skip


def detectable(deviation: float, seeds: int) -> float:
    """Return the gain that a paired t-test at 5 % finds with a chance of 80 %, in the unit of ``deviation``.

    ``deviation`` is that of the gain between seeds.
    """
    from scipy.stats import t

    return float((t.ppf(0.975, seeds - 1) + t.ppf(0.8, seeds - 1)) * deviation / seeds**0.5)
