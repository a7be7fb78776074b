"""Luck and selection: closed forms for one arm, the best of several settings, unequal budgets, and power."""

import numpy as np
import pandas as pd
import pytest
from made_up_records import committed
from scipy.stats import norm

from experiments.selection import Recorded, power, recorded, simulate

NORMAL = norm.ppf((np.arange(4000) + 0.5) / 4000)
LUCK = Recorded(3.0, 0.3, NORMAL / NORMAL.std())


def drawn(*numbers, correlation=0.3, repeats=4, **options):
    """Gains and intervals of several calls, one below the other."""
    luck, generator = LUCK._replace(correlation=correlation), np.random.default_rng(0)
    parts = [simulate(*numbers, luck, generator=generator, **options) for _ in range(repeats)]
    return type(parts[0])(*(np.concatenate(own) for own in zip(*parts, strict=True)))


@pytest.mark.parametrize("seeds", [2, 6, 40])
def test_one_arm_and_one_setting_without_effect_are_framed_in_five_percent_of_cases(seeds):
    found = drawn(seeds, 1, 1, 0.0)
    framed = np.abs(found.gains) > found.half
    assert framed.mean() == pytest.approx(0.05, abs=0.012)
    assert found.above.mean() == pytest.approx(0.025, abs=0.009)
    assert found.gains.std() == pytest.approx(3.0 / seeds**0.5, rel=0.03)


@pytest.mark.parametrize(("seeds", "effect"), [(6, 3.0), (20, 1.5), (100, 1.0)])
def test_a_true_effect_is_found_as_often_as_its_power_says(seeds, effect):
    assert drawn(seeds, 1, 1, effect).above.mean() == pytest.approx(power(effect, 3.0, seeds), abs=0.025)


def test_power_is_eighty_percent_at_the_detectable_effect_and_half_the_level_at_none():
    assert power(0.0, 3.0, 12) == pytest.approx(0.025)
    many = 10_000
    assert power((norm.ppf(0.975) + norm.ppf(0.8)) / many**0.5, 1.0, many) == pytest.approx(0.8, abs=0.001)
    assert power(1.0, 3.0, 20) < power(1.0, 3.0, 40) < power(1.0, 2.0, 40)


def test_picking_by_the_test_gains_what_the_best_of_k_normals_has():
    """The mean maximum of two normals is 1 / sqrt(pi), of four 1.0294; a run has deviation 3 / sqrt(2)."""
    for k, most in {2: np.pi**-0.5, 4: 1.0294}.items():
        assert drawn(6, k, 1, 0.0, correlation=1.0).gains.mean() == pytest.approx(3 / 2**0.5 * most, abs=0.06)
        half = drawn(6, k, 1, 0.0, correlation=0.5).gains.mean()
        assert half == pytest.approx(0.5 * 3 / 2**0.5 * most, abs=0.06)


def test_equal_budgets_or_frozen_settings_take_the_gain_of_selection_away():
    equal = drawn(6, 8, 1, 0.0, correlation=1.0, of_baseline=8)
    frozen = drawn(6, 8, 1, 0.0, correlation=0.0)
    assert abs(equal.gains.mean()) < 0.06 and abs(frozen.gains.mean()) < 0.06
    assert drawn(6, 1, 1, 0.0, correlation=1.0, of_baseline=8).gains.mean() < -2


def test_the_best_of_many_arms_without_effect_is_framed_more_often():
    """Arms that share a baseline correlate by a half, so less often than independent ones would be."""
    found = drawn(6, 1, 12, 0.0)
    assert 0.12 < found.above.any(axis=1).mean() < 1 - 0.975**12
    assert np.corrcoef(found.gains[:, 0], found.gains[:, 1])[0, 1] == pytest.approx(0.5, abs=0.05)


def test_the_winner_s_gain_is_larger_than_its_true_effect():
    found = drawn(6, 1, 6, 1.0)
    assert found.gains[:, 0].mean() == pytest.approx(1.0, abs=0.06)
    assert found.gains[:, 0][found.above[:, 0]].mean() > 2.5


def test_equal_seeds_draw_equal_studies():
    first, again = (simulate(6, 4, 3, 1.0, LUCK) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert simulate(300, 16, 12, 0.0, LUCK).gains.shape == (200, 12)


def test_luck_is_computed_from_known_frames():
    rows = [("a", s, "baseline", v, t) for s in range(2) for v, t in ((0.1, 0.1), (0.2, 0.2), (0.3, 0.3))]
    rows += [("a", 0, "regularized", v, t) for v, t in ((0.1, 0.3), (0.2, 0.2), (0.3, 0.1))]
    rows += [("a", 0, "control", 0.1, 0.4)]
    names = ["regime", "seed", "arm", "validation/accuracy/fused", "test/accuracy/fused"]
    runs = [("joint", s, arm, 0.5 + g) for s, g in enumerate((0.0, 0.02, 0.04)) for arm in ("none",)]
    runs += [("joint", s, "x", 0.5 + g) for s, g in enumerate((0.01, 0.03, 0.07))]
    runs += [("joint", s, "y", 0.9) for s in range(2)]
    frozen = pd.DataFrame(runs, columns=["paradigm", "seed", "arm", "test/accuracy/fused"])
    found = recorded(pd.DataFrame(rows, columns=names), frozen)
    assert found.correlation == pytest.approx((1 + 1 - 1) / 3)
    assert found.deviation == pytest.approx(np.std([1, 1, 3], ddof=1))
    assert len(found.pool) == 3 and found.pool.std() == pytest.approx(1)


def test_the_committed_records_have_this_much_luck():
    """Bounds are those of the separate arms and splits, and of the separate settings."""
    found = recorded(committed("regimes"), committed("paper_settings"))
    assert 0.15 < found.correlation < 0.36 and 1.6 < found.deviation < 3.7
    assert len(found.pool) == 7 * 20 and abs(found.pool.mean()) < 1e-9 and np.abs(found.pool).max() < 4.5
