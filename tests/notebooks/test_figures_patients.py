"""Each patient of notebook 02 has its one sickness, for any seed."""

import pytest
from figures.patients import reports


@pytest.mark.parametrize("seed", range(4))
def test_each_patient_shows_one_sickness(seed):
    table = reports(seed=seed)
    healthy, p, q, r, s = (table.loc[name] for name in ("healthy", *"PQRS"))
    assert healthy["R@1"] > 0.99 and healthy["effective rank b"] > 22
    assert p["mean cosine b"] > 0.8 and p["effective rank b"] > 22 and p["R@1"] > 0.99  # a cone
    assert q["drift"] > 2 and q["gap"] < 0.2 and q["R@1"] < 0.02  # a rotation
    assert q["CKA"] == pytest.approx(healthy["CKA"], abs=1e-4)
    assert r["gap"] ** 2 > 0.9 * r["drift"] and r["gap"] > 1  # a gap
    assert s["effective rank b"] < 3.1 and abs(s["mean cosine b"]) < 0.05  # few directions


def test_the_table_is_the_same_each_time():
    assert reports().equals(reports())
