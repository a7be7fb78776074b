"""The fair comparison: equal search, a test split that nobody sees before the end, gains of known size."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_records import record_of

from experiments import fair, sweeps
from geomreg_mini import GeometryRegularizer
from geomreg_mini.records import Record

RATES = (0.01, 0.05)
NONE = [{"learning_rate": rate} for rate in RATES]
BAND = [{"learning_rate": rate, "regularizer": GeometryRegularizer(radius=1.0)} for rate in RATES]
CONFIG = {"epochs": 2, "embedding_dim": 4, "batch_size": 8, "encoder_options": {"hidden": 8}}
SEEDS = {"development": (0, 1), "seeds": (100, 101, 102)}


def arrays(change=lambda split, x: x):
    rng, found = np.random.default_rng(0), {}
    for split, n in {"train": 24, "validation": 12, "test": 12}.items():
        label = np.arange(n) % 2
        for m in ("audio", "image"):
            found[f"{split}_{m}"] = change(split, rng.normal(size=(n, 4)) + 2 * label[:, None])
        found[f"{split}_labels"] = label
    return found


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays())
    return tmp_path / "mine.npz"


@pytest.fixture
def scripted(monkeypatch):
    """Fused accuracy (validation, test) of ``script(config)`` in place of a training; runs are kept."""
    runs = []

    def start(script):
        def fit(config, data, **options):
            runs.append((config, data))
            picking, tested = script(config)
            return replace(record_of(config, picking, fused=tested), data_fingerprint=data.fingerprint)

        monkeypatch.setattr(sweeps, "fit", fit)
        return runs

    return start


def compared(file, arms=None, folder="out", **options):
    arms = {"none": NONE, "band": BAND} if arms is None else arms
    return fair.compare(file, arms, CONFIG, file.parent / folder, **{"claimed": 0.02, **SEEDS, **options})


def test_an_arm_that_is_the_baseline_gains_exactly_nothing(file):
    row = compared(file, {"none": NONE, "twin": NONE}).loc["twin"]
    assert (row["mean"], row["low"], row["high"], row["detectable"]) == (0, 0, 0, 0)
    assert row["verdict"] == "excluded" and row["seeds"] == 3
    assert math.isnan(row["inside"]) and math.isnan(row["dose"]) and not row["active"]


def test_an_arm_that_differs_by_luck_alone_is_undecided(file, scripted):
    luck = {100: 0.03, 101: -0.03, 102: 0.01}
    scripted(lambda c: (0.5, 0.6 + (luck.get(c.seed, 0) if c.regularizer else 0)))
    row = compared(file).loc["band"]
    assert row["low"] < 0 < row["high"] and row["verdict"] == "undecided"
    assert row["detectable"] > 0.02 and row["baseline"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("gain", "said"), [(0.04, "supported"), (0.01, "excluded"), (0.0, "excluded"), (-0.04, "excluded")]
)
def test_a_gain_of_known_size_is_held_to_the_claimed_one(file, scripted, gain, said):
    scripted(lambda c: (0.5, 0.6 + gain * (c.regularizer is not None) + 1e-4 * (c.seed % 3)))
    row = compared(file).loc["band"]
    assert row["mean"] == pytest.approx(gain) and row["verdict"] == said
    assert row["low"] == pytest.approx(row["high"]) == pytest.approx(gain)


def test_validation_picks_on_the_development_seeds_alone_and_the_others_test_once(file, scripted):
    runs = scripted(
        lambda c: (c.learning_rate if c.seed < 100 else 1 - c.learning_rate, 0.9 - c.learning_rate)
    )
    row = compared(file).loc["band"]
    assert row["setting"] == BAND[1] and row["baseline_setting"] == NONE[1] and row["tried"] == 2
    picking, testing = ([c for c, _ in runs if (c.seed < 100) == early] for early in (True, False))
    assert len(picking) == 2 * 2 * 2 and len(testing) == 2 * 3
    assert {c.learning_rate for c in testing} == {0.05}
    for kind in (False, True):
        own = [(c.learning_rate, c.seed) for c in picking if (c.regularizer is not None) == kind]
        assert sorted(own) == [(rate, seed) for rate in RATES for seed in (0, 1)]


def test_development_has_no_row_of_the_test_split(file, scripted):
    runs = scripted(lambda c: (0.5, 0.5))
    compared(file)
    hidden = {row.tobytes() for row in arrays()["test_audio"].astype(np.float32)}
    for config, data in runs:
        own = {
            x.numpy().tobytes() for s in (data.train, data.validation, data.test) for x in s.inputs["audio"]
        }
        assert bool(own & hidden) == (config.seed >= 100)


def test_another_test_split_changes_nothing_of_development(file, tmp_path):
    compared(file)
    other = tmp_path / "other" / "mine.npz"
    other.parent.mkdir()
    np.savez(other, **arrays(lambda split, x: x if split != "test" else 1000 - x))
    compared(other)
    for path in sorted((tmp_path / "out").glob("seed[01]/*.json")):
        one, two = (Record.load(folder / "out" / path.relative_to(tmp_path / "out"))
                    for folder in (tmp_path, other.parent))  # fmt: skip
        assert one.metrics == two.metrics and one.data_fingerprint == two.data_fingerprint


def test_a_sample_in_two_splits_is_refused_before_anything_is_trained(tmp_path):
    leaked = arrays()
    leaked["test_audio"][3] = leaked["train_audio"][5]
    np.savez(tmp_path / "mine.npz", **leaked)
    with pytest.raises(ValueError, match="row 5 of train and row 3 of test in 'audio'"):
        compared(tmp_path / "mine.npz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arms", "options", "sentence"),
    [
        ({"none": NONE, "band": BAND[:1]}, {}, "'band' has 1 settings and 'none' 2: give every arm"),
        ({"none": [], "band": []}, {}, "'none' has 0 settings"),
        (
            {"none": NONE, "band": [BAND[0], {**BAND[1], "learning_rate": 0.5}]},
            {},
            "'band' and 'none' search different values",
        ),
        ({"none": NONE, "band": [{**own, "epochs": 9} for own in BAND]}, {}, "search different values"),
        ({"none": NONE}, {}, "arms are none: give 'none' and one or more others"),
        ({"a": NONE, "b": BAND}, {}, "arms are a, b: give 'none'"),
        (None, {"seeds": (1, 100)}, r"seeds \[1\] pick and test"),
        (None, {"seeds": (100, 100)}, "two that test"),
        (None, {"development": ()}, "a seed that picks"),
        (None, {"claimed": 0.0}, "a claimed gain above 0"),
        (None, {"claimed": math.nan}, "a claimed gain above 0"),
    ],
)
def test_an_unfair_comparison_is_refused(file, arms, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        compared(file, arms, **options)


def test_a_stopped_comparison_goes_on_and_its_protocol_cannot_change(file, scripted):
    runs = scripted(lambda c: (0.5, 0.6))
    compared(file)
    done = len(runs)
    (file.parent / "out" / "seed101" / "band-frozen.json").unlink()
    compared(file)
    assert len(runs) == done + 1
    for change in ({"claimed": 0.01}, {"seeds": (100, 101)}, {"arms": {"none": NONE, "band": NONE}}):
        with pytest.raises(ValueError, match="is of another comparison"):
            compared(file, **change)
    assert json.loads((file.parent / "out" / "protocol.json").read_text())["claimed"] == 0.02


def test_the_manipulation_check_has_dose_and_band(file):
    arms = {
        "none": NONE,
        "wide": [{**own, "regularizer": GeometryRegularizer(0, 1, radius=2.0)} for own in NONE],
        "rigid": [{**own, "regularizer": GeometryRegularizer(0, 1, radius=0.0)} for own in NONE],
    }
    found = compared(file, arms)
    assert found.loc["wide", ["dose", "inside"]].tolist() == [0, 1] and not found.loc["wide", "active"]
    assert found.loc["rigid", "dose"] > 0 and found.loc["rigid", "inside"] == 0
    assert found.loc["wide", ["mean", "low", "high"]].tolist() == [0, 0, 0]


def diverging(monkeypatch, seeds, gain=0.0):
    """Trainings of the arm with a regularizer diverge in ``seeds``, and gain in the others."""

    def fit(config, data, **options):
        if config.seed in seeds and config.regularizer is not None:
            raise FloatingPointError("the loss is not finite")
        fused = 0.9 if config.seed in seeds else 0.6 + gain * (config.regularizer is not None)
        return replace(record_of(config, 0.5, fused=fused), data_fingerprint=data.fingerprint)

    monkeypatch.setattr(sweeps, "fit", fit)


def test_a_seed_in_which_a_training_diverges_is_left_out_of_both_arms(file, monkeypatch):
    diverging(monkeypatch, (101,))
    row = compared(file).loc["band"]
    assert row["seeds"] == 2 and row["baseline"] == pytest.approx(0.6) and row["mean"] == 0
    assert row["diverged"] == 1


@pytest.mark.parametrize(("seeds", "said"), [((), "supported"), ((101,), "undecided")])
def test_an_arm_that_diverges_is_never_supported(file, monkeypatch, seeds, said):
    diverging(monkeypatch, seeds, gain=0.1)
    row = compared(file).loc["band"]
    assert (row["verdict"], row["diverged"]) == (said, len(seeds)) and row["low"] > 0.02


def test_a_comparison_of_which_one_seed_is_left_says_what_diverged(file, monkeypatch):
    diverging(monkeypatch, (100, 101))
    with pytest.raises(ValueError, match="band diverged in 2 of 3 seeds, and fewer than two are left"):
        compared(file)


@pytest.mark.parametrize(("dose", "said"), [(0.05, False), (0.3, True), (3.0, False)])
def test_a_band_is_active_only_if_its_dose_is_neither_faint_nor_overwhelming(file, monkeypatch, dose, said):
    def fit(config, data, **options):
        own = config.regularizer is not None
        more = {f"train/dose/{m}": dose * own for m in ("audio", "image")}
        more["test/band_violation/mean"] = 0.5
        record = record_of(config, 0.5, fused=0.6)
        return replace(record, data_fingerprint=data.fingerprint, metrics={**record.metrics, **more})

    monkeypatch.setattr(sweeps, "fit", fit)
    row = compared(file).loc["band"]
    assert row["active"] == said and row["dose"] == pytest.approx(dose) and row["inside"] == 0.5
