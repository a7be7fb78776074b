"""The regime map: configs, nested selection, resumption, gains of known size, and the committed records."""

import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_records import record_of

from experiments import regimes
from experiments.regimes import (
    BASELINES,
    CONTROLS,
    REGIMES,
    REGULARIZERS,
    SEEDS,
    Regime,
    gains,
    load_map,
    run_cell,
    summary,
)
from experiments.sweeps import best
from geomreg_mini import data
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig, fit

RESULTS = Path(__file__).parents[2] / "results" / "digits"
REGIME = Regime("official", 300, 0.4, "joint")
RUNS = len(BASELINES) + len(REGULARIZERS)


# The table of regimes and their configs


def test_the_map_has_every_cell_once_under_a_name_of_its_own():
    assert len(REGIMES) == 24
    assert len({regime.name for regime in REGIMES}) == 24
    assert {regime.paradigm for regime in REGIMES} == {"joint", "dgl"}
    assert REGIME in REGIMES
    assert REGIME.name == "official-300-noise0.4-joint"
    assert Regime("unseen_speakers", None, 1.2, "dgl").name == "unseen_speakers-all-noise1.2-dgl"


def test_every_setting_and_arm_is_a_config_of_its_own():
    settings = list(BASELINES.values())
    weights = [None, *REGULARIZERS.values()]
    configs = [
        regime.config(seed, setting, weight)
        for regime, seed, setting, weight in itertools.product(REGIMES, SEEDS, settings, weights)
    ]
    assert len({config.key for config in configs}) == len(configs)


def test_a_regimes_config_says_what_the_cell_says():
    weights = next(iter(REGULARIZERS.values()))
    config = REGIME.config(3, {"learning_rate": 0.01, "weight_decay": 0.005}, weights)
    assert config.dataset_options == {
        "source": "spoken",
        "protocol": "official",
        "labels": 300,
        "image_noise": 0.4,
    }
    assert (config.dataset, config.paradigm, config.seed) == ("digits", "joint", 3)
    assert (config.learning_rate, config.weight_decay) == (0.01, 0.005)
    assert {name: config.regularizer.hyperparameters()[name] for name in weights} == weights
    assert REGIME.config(3, {}, None).regularizer is None
    assert config.epochs > Regime("official", None, 0.4, "joint").config(0, {}, None).epochs


def test_no_regularizer_is_not_among_the_regularizers():
    assert all(w["dispersion_weight"] + w["anchoring_weight"] > 0 for w in REGULARIZERS.values())


# Selection


def test_validation_selects_and_ties_go_to_the_first():
    config = REGIME.config(0, {}, None)
    records = {name: record_of(config, accuracy) for name, accuracy in [("x", 0.5), ("y", 0.8), ("z", 0.8)]}
    assert best(records) == "y"
    assert best(dict(reversed(records.items()))) == "z"


def test_the_test_split_does_not_select():
    config = REGIME.config(0, {}, None)
    assert best({"x": record_of(config, 0.5, fused=1.0), "y": record_of(config, 0.6, fused=0.0)}) == "y"


@pytest.mark.parametrize("winner", list(BASELINES))
def test_the_regularized_arm_inherits_what_the_baseline_picked(trained, tmp_path, winner):
    trained.accuracy_of = lambda config: (
        0.9 if config.learning_rate == BASELINES[winner]["learning_rate"] else 0.5
    )
    picked = next(n for n in BASELINES if BASELINES[n]["learning_rate"] == BASELINES[winner]["learning_rate"])
    assert run_cell(REGIME, 0, tmp_path) == RUNS
    baseline, regularized = trained.runs[: len(BASELINES)], trained.runs[len(BASELINES) :]
    assert [config.regularizer for config in baseline] == [None] * len(BASELINES)
    expected = [REGIME.config(0, BASELINES[picked], weights) for weights in REGULARIZERS.values()]
    assert regularized == expected


# Resumption


def test_what_is_recorded_is_not_trained_again(trained, tmp_path):
    run_cell(REGIME, 0, tmp_path)
    assert len(trained.runs) == RUNS
    trained.runs.clear()
    run_cell(REGIME, 0, tmp_path)
    assert trained.runs == []
    victim = sorted(tmp_path.rglob("regularized-*.json"))[1]
    victim.unlink()
    run_cell(REGIME, 0, tmp_path)
    assert len(trained.runs) == 1
    assert victim.exists()


def test_a_kill_keeps_the_runs_that_were_finished(trained, tmp_path):
    def stop_at_third(config):
        if len(trained.runs) == 3:
            raise KeyboardInterrupt
        return 0.5

    trained.accuracy_of = stop_at_third
    with pytest.raises(KeyboardInterrupt):
        run_cell(REGIME, 0, tmp_path)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    trained.accuracy_of = lambda config: 0.5
    trained.runs.clear()
    run_cell(REGIME, 0, tmp_path)
    assert len(trained.runs) == RUNS - 2


def test_a_record_of_another_config_stops_the_run_and_is_named(trained, tmp_path):
    run_cell(REGIME, 0, tmp_path)
    path = sorted(tmp_path.rglob("baseline-*.json"))[0]
    record_of(REGIME.config(1, {}, None), 0.5).save(path)
    with pytest.raises(ValueError, match="was made by another config") as caught:
        run_cell(REGIME, 0, tmp_path)
    assert str(path) in str(caught.value)


def test_a_record_of_other_data_stops_the_run(trained, tmp_path, monkeypatch):
    run_cell(REGIME, 0, tmp_path)
    monkeypatch.setattr(data, "load", lambda name, **options: SimpleNamespace(fingerprint="1"))
    with pytest.raises(ValueError, match="another config or data"):
        run_cell(REGIME, 0, tmp_path)


def test_the_control_chooses_among_the_baselines_and_four_more(trained, tmp_path):
    regime = regimes.CONTROLLED[0]
    wanted = regime.config(0, CONTROLS["lr0.1-wd0.0001"], None)
    trained.accuracy_of = lambda config: 0.9 if config == wanted else 0.5
    assert run_cell(regime, 0, tmp_path) == len(trained.runs) == RUNS + len(CONTROLS)
    frame = load_map(tmp_path)
    control = frame[frame["arm"] == "control"]
    assert len(control) == len(BASELINES) + len(CONTROLS)
    assert control.loc[control["selected"], "setting"].tolist() == ["lr0.1-wd0.0001"]
    assert set(frame[frame["arm"] == "baseline"]["setting"]) == set(BASELINES)


def test_a_broken_record_stops_the_run_and_is_named(trained, tmp_path):
    run_cell(REGIME, 0, tmp_path)
    path = sorted(tmp_path.rglob("baseline-*.json"))[0]
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=f"{path.name} is not a readable record"):
        run_cell(REGIME, 0, tmp_path)


# Reading the map


def test_the_map_has_one_row_a_run_and_one_selected_run_an_arm(trained, tmp_path):
    for seed in (0, 1):
        run_cell(REGIME, seed, tmp_path)
    frame = load_map(tmp_path)
    assert len(frame) == 2 * RUNS
    selected = frame[frame["selected"]]
    assert selected.groupby(["seed", "arm"]).size().tolist() == [1, 1, 1, 1]
    assert set(selected["setting"]) == {next(iter(BASELINES)), next(iter(REGULARIZERS))}, (
        "ties go to the first"
    )
    assert set(frame["regime"]) == {REGIME.name}


def test_a_half_recorded_arm_is_left_out(trained, tmp_path):
    for seed in (0, 1):
        run_cell(REGIME, seed, tmp_path)
    sorted((tmp_path / REGIME.name / "seed1").glob("regularized-*"))[0].unlink()
    assert set(load_map(tmp_path)["seed"]) == {0}
    sorted((tmp_path / REGIME.name / "seed0").glob("baseline-*"))[0].unlink()
    with pytest.raises(FileNotFoundError, match="no complete records below"):
        load_map(tmp_path)


def made_up(tmp_path, regime, seed, baseline, regularized):
    """Records of one cell with these test accuracies; the last setting of each arm is best on validation."""
    here = tmp_path / regime.name / f"seed{seed}"
    for arm, settings, accuracies in (
        ("baseline", BASELINES, baseline),
        ("regularized", REGULARIZERS, regularized),
    ):
        for index, (name, accuracy) in enumerate(zip(settings, accuracies, strict=True)):
            record = record_of(regime.config(seed, {}, None), index / 10, fused=accuracy)
            record.save(here / f"{arm}-{name}.json")


def ending(value, settings, other=0.1):
    return [other] * (len(settings) - 1) + [value]


def test_gains_of_made_up_records(tmp_path):
    cells = {0: (0.50, 0.60), 1: (0.40, 0.52), 2: (0.45, 0.53)}
    for seed, (baseline, regularized) in cells.items():
        made_up(tmp_path, REGIME, seed, ending(baseline, BASELINES), ending(regularized, REGULARIZERS))
    frame = load_map(tmp_path)
    row = gains(frame, "test/accuracy/fused").iloc[0]
    assert row["regime"] == REGIME.name
    assert row["mean"] == pytest.approx(0.10)
    assert row["baseline"] == pytest.approx(0.45)
    assert row["seeds"] == 3
    assert 0 < row["low"] < 0.10 < row["high"] < 0.2
    one = gains(frame, "test/accuracy/fused", setting=next(iter(REGULARIZERS))).iloc[0]
    assert one["mean"] == pytest.approx(0.1 - 0.45), "one setting for all seeds, selected or not"


def test_gains_are_paired_by_seed(tmp_path):
    # Seeds differ by 0.5 and the gain is 0.01 in each: paired, the interval has no width.
    for seed, level in ((0, 0.1), (1, 0.6), (2, 0.35)):
        made_up(tmp_path, REGIME, seed, ending(level, BASELINES), ending(level + 0.01, REGULARIZERS))
    row = gains(load_map(tmp_path), "test/accuracy/fused").iloc[0]
    assert (row["low"], row["mean"], row["high"]) == pytest.approx((0.01, 0.01, 0.01))


def test_gains_keep_regimes_apart_and_seeds_that_are_missing_out(tmp_path):
    other = Regime("unseen_speakers", None, 0.8, "dgl")
    for seed in (0, 1):
        made_up(tmp_path, REGIME, seed, ending(0.5, BASELINES), ending(0.6, REGULARIZERS))
    for seed in (0, 1, 2):
        made_up(tmp_path, other, seed, ending(0.5, BASELINES), ending(0.3, REGULARIZERS))
    rows = gains(load_map(tmp_path), "test/accuracy/fused").set_index("regime")
    assert rows["mean"].to_dict() == pytest.approx({REGIME.name: 0.1, other.name: -0.2})
    assert rows["seeds"].to_dict() == {REGIME.name: 2, other.name: 3}


# The committed records


def committed():
    """(regime, seed, arm, setting) -> path of every cell that is recorded whole."""
    for regime, seed in itertools.product(REGIMES, SEEDS):
        here = RESULTS / regime.name / f"seed{seed}"
        paths = {("baseline", name): here / f"baseline-{name}.json" for name in BASELINES}
        paths |= {("regularized", name): here / f"regularized-{name}.json" for name in REGULARIZERS}
        if all(path.exists() for path in paths.values()):
            yield regime, seed, {key: Record.load(path) for key, path in paths.items()}


def test_every_committed_record_is_the_run_that_the_protocol_asks_for():
    cells = list(committed())
    if not cells:
        pytest.skip(f"no recorded cell in {RESULTS.name}")
    for regime, seed, records in cells:
        picked = best({name: records["baseline", name] for name in BASELINES})
        for (arm, name), record in records.items():
            setting = BASELINES[name] if arm == "baseline" else BASELINES[picked]
            config = regime.config(seed, setting, None if arm == "baseline" else REGULARIZERS[name])
            assert TrainConfig.from_dict(record.config) == config, (regime.name, seed, arm, name)
            assert record.device == "cpu"
        assert len({record.data_fingerprint for record in records.values()}) == 1


def spoken_digits(config):
    from data_scripts import digits
    from data_scripts.fetch import DataError, data_root

    if "GEOMREG_MIRROR" not in os.environ and not (data_root() / digits.INFO.prepared).exists():
        pytest.skip("the spoken digits are not prepared and a test does not download: set GEOMREG_MIRROR")
    try:
        return data.load(config.dataset, seed=config.seed, **config.dataset_options)
    except DataError as error:
        pytest.skip(
            f"the spoken digits are not to be had here ({error.brief}); set GEOMREG_MIRROR or prepare them"
        )


def test_the_readme_quotes_the_committed_records():
    readme = (Path(__file__).parents[2] / "results" / "README.md").read_text()
    assert summary(load_map(RESULTS)) in readme


@pytest.mark.slow
def test_a_committed_record_is_reproduced_by_its_config():
    path = RESULTS / REGIME.name / "seed0" / f"baseline-{next(iter(BASELINES))}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not recorded")
    expected = Record.load(path)
    config = TrainConfig.from_dict(expected.config)
    got = fit(config, data=spoken_digits(config), device="cpu", progress=False)
    assert got.data_fingerprint == expected.data_fingerprint
    assert set(expected.metrics) <= set(got.metrics), "and what was added since"
    accuracies = [name for name in expected.metrics if name.startswith("test/accuracy")]
    assert len(accuracies) > 3
    for name in accuracies:  # not bit for bit: another machine rounds otherwise
        assert got.metrics[name] == pytest.approx(expected.metrics[name], abs=0.05), name
