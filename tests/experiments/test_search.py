"""Search: resumable, shared by workers, decided by validation alone, and every refusal a sentence."""

import dataclasses
import json
import math
import re
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from small_data import clouds

from experiments import search
from experiments.search import best_config, default_space, trials_table
from geomreg_mini import GeometryRegularizer
from geomreg_mini.training import TrainConfig, fit

optuna = pytest.importorskip("optuna", reason="a search needs the extra `scale`: pip install optuna")

TOY = TrainConfig(
    "toy", {"train_size": 64, "validation_size": 40, "test_size": 20}, epochs=1, embedding_dim=8
)
PARAMETERS = ["dispersion_weight", "anchoring_weight", "temperature", "radius"]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Storages flush every write to the disk, which is slow, and no test cuts the power."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection, record):
        if type(connection).__module__ == "sqlite3":
            connection.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr("os.fsync", lambda file: None)
    event.listen(Engine, "connect", relax)
    yield
    event.remove(Engine, "connect", relax)


@pytest.fixture
def study(tmp_path):
    return {"storage": f"sqlite:///{tmp_path}/search.db", "name": "study"}


@pytest.fixture
def trained(monkeypatch):
    """Training replaced by what ``measure(config)`` says: accuracy and cross-entropy; ``runs`` lists it."""

    def fake(config, *, data, progress):
        fake.runs.append(config)
        accuracy, cross_entropy = fake.measure(config)
        # No test metric at all: whatever asks for one fails.
        metrics = {"validation/accuracy/fused": accuracy, "validation/cross_entropy/fused": cross_entropy}
        return SimpleNamespace(metrics=metrics)

    fake.runs, fake.measure = [], lambda config: (1 - abs(config.regularizer.radius - 0.5), 1.0)
    monkeypatch.setattr(search, "fit", fake)
    return fake


def run(study, config=TOY, **options):
    return search.search(config, **study, **{"progress": False, **options})


# Proposals


def test_a_search_trains_what_it_proposes_and_tabulates_it(trained, study):
    table = run(study, trials=3)
    assert set(table) == {"trial", "state", "value", "cross_entropy", *PARAMETERS, "seconds", "note"}
    assert table["trial"].tolist() == [0, 1, 2]
    assert table["state"].tolist() == ["complete"] * 3
    for row, config in zip(table.to_dict("records"), trained.runs, strict=True):
        assert {name: config.regularizer.hyperparameters()[name] for name in PARAMETERS} == {
            name: row[name] for name in PARAMETERS
        }
        assert dataclasses.replace(config, regularizer=None) == TOY


def test_the_same_seed_proposes_the_same_and_another_seed_something_else(trained, study):
    first = run({**study, "name": "first"}, trials=3)[PARAMETERS]
    again = run({**study, "name": "again"}, trials=3)[PARAMETERS]
    other = run({**study, "name": "other"}, dataclasses.replace(TOY, seed=1), trials=3)[PARAMETERS]
    assert first.equals(again)
    assert not set(first["radius"]) & set(other["radius"])


@pytest.mark.parametrize("where", ["sqlite:///{}/s.db", "{}/s.log", "{}/s.journal"])
def test_a_resumed_search_continues_to_the_total_and_repeats_no_trial(trained, tmp_path, where):
    stopped = {"storage": where.format(tmp_path), "name": "stopped"}
    first = run(stopped, trials=4)
    assert len(first) == 4
    assert len(run(stopped, trials=4)) == 4
    assert len(trained.runs) == 4
    resumed = run(stopped, trials=14)  # ten random trials, then four that the sampler learned
    assert resumed[PARAMETERS][:4].equals(first[PARAMETERS])
    assert len(resumed) == resumed["radius"].nunique() == 14


def test_search_finds_what_is_good(trained, study):
    table = run(study, trials=25)
    assert table["value"].max() > 0.95
    assert table["value"][15:].mean() > table["value"][:10].mean()


def test_workers_on_one_study_share_the_trials_and_repeat_none(trained, study):
    trained.measure = lambda config: (time.sleep(0.1), (0.5, 1.0))[1]
    run(study, trials=1)
    with ThreadPoolExecutor(2) as pool:
        for worker in [pool.submit(run, study, trials=8) for _ in range(2)]:
            worker.result()
    table = trials_table(**study)
    assert 8 <= len(table) <= 9
    assert len(trained.runs) == len(table) == table["radius"].nunique()


@pytest.mark.slow
def test_two_processes_train_for_real_and_give_what_one_would(study, capfd):
    table = run(study, TOY, trials=2, jobs=2, progress=True)
    assert 2 <= len(table) <= 3
    assert set(table["state"]) == {"complete"}
    assert re.search(r"\([23]/2 complete\)", capfd.readouterr().err)  # both may end before either counts
    config = best_config(TOY, **study)
    assert fit(config, progress=False).metrics["validation/accuracy/fused"] == table["value"].max()


# What is searched


def test_a_trial_is_the_mean_over_seeds(trained, study, monkeypatch):
    trained.measure = lambda config: ({3: 0.2, 5: 0.6}[config.seed], 1.0)
    loaded = []
    monkeypatch.setattr(
        search, "load", lambda name, *, seed, **options: loaded.append(seed) or clouds(seed=seed)
    )
    table = run(study, trials=2, seeds=[3, 5])
    assert table["value"].tolist() == pytest.approx([0.4, 0.4])
    assert [config.seed for config in trained.runs] == [3, 5, 3, 5]
    assert loaded == [3, 5], "data are loaded once"


def test_the_configs_regularizer_keeps_what_is_not_searched(trained, study):
    config = dataclasses.replace(TOY, regularizer=GeometryRegularizer(power=1, radius=0.9, form="cosine"))
    run(study, config, trials=1, space={"temperature": default_space()["temperature"]})
    kept = trained.runs[0].regularizer.hyperparameters()
    assert (kept["power"], kept["radius"], kept["form"]) == (1, 0.9, "cosine")
    assert kept["temperature"] != config.regularizer.temperature


def test_a_baseline_is_searched_without_a_regularizer(trained, study):
    trained.measure = lambda config: (config.learning_rate, 1.0)
    space = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-3, 0.1, log=True),
        "batch_size": optuna.distributions.IntDistribution(8, 16),
        "schedule": optuna.distributions.CategoricalDistribution(["step", "cosine"]),
        "paradigm_options.alpha": optuna.distributions.FloatDistribution(0.1, 0.9),
    }
    config = dataclasses.replace(TOY, paradigm="ogm_ge")
    run(study, config, trials=3, space=space)
    assert {c.regularizer for c in trained.runs} == {None}
    assert all(0.1 <= c.paradigm_options["alpha"] <= 0.9 and 8 <= c.batch_size <= 16 for c in trained.runs)
    assert best_config(config, **study) == max(trained.runs, key=lambda c: c.learning_rate)


# Selection


def test_best_config_is_the_config_that_was_trained(trained, study):
    run(study, trials=5)
    expected = max(trained.runs, key=lambda config: trained.measure(config)[0])
    assert best_config(TOY, **study) == expected


def test_equal_accuracies_are_decided_by_validation_cross_entropy(trained, study):
    trained.measure = lambda config: (0.5, config.regularizer.radius)
    run(study, trials=5)
    assert best_config(TOY, **study).regularizer.radius == min(c.regularizer.radius for c in trained.runs)


# Faults


def test_a_diverging_trial_is_reported_and_survived(study, capfd):
    space = {"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e4, log=True)}
    config = dataclasses.replace(TOY, batch_size=16, epochs=2)
    table = run(study, config, trials=2, space=space, progress=True)
    states = table["state"].value_counts()
    assert states["complete"] == 2 and states["diverged"] >= 1
    lost = table[table["state"] == "diverged"].iloc[0]
    assert math.isnan(lost["value"]) and "lower the learning rate" in lost["note"]
    assert f"trial {lost['trial']} diverged: {lost['note']} (" in capfd.readouterr().err
    assert best_config(config, **study).learning_rate < lost["learning_rate"]


def test_a_search_where_everything_diverges_ends(trained, study):
    def diverge(config):
        raise FloatingPointError("the loss is nan")

    trained.measure = diverge
    with pytest.raises(RuntimeError, match="10 trials in a row diverged"):
        run(study, trials=3)
    with pytest.raises(ValueError, match="has no complete trial yet"):
        best_config(TOY, **study)


@pytest.mark.parametrize("where", ["sqlite:///{}/s.db", "{}/s.log"])
def test_a_killed_workers_trial_blocks_nothing(trained, tmp_path, monkeypatch, where):
    monkeypatch.setattr(search, "HEARTBEAT", 1)
    study = {"storage": where.format(tmp_path), "name": "study"}
    run(study, trials=1)
    left = search._study(study["storage"], "study", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that ask() beats no heart
        trial = left.ask()  # and never told: what a kill leaves behind
    if "sqlite" in where:
        left._storage.record_heartbeat(trial._trial_id)
        time.sleep(3.2)  # over the grace of two seconds also where the database keeps whole seconds
    table = run(study, trials=3)
    assert (
        table["state"].tolist()
        == ["complete", "failed" if "sqlite" in where else "running"] + ["complete"] * 2
    )
    assert len(set(table["radius"].dropna())) >= 3


@pytest.mark.slow
def test_workers_that_all_failed_are_told_from_a_finished_search(trained, study, capfd):
    space = {"learning_rate": optuna.distributions.FloatDistribution(1e29, 1e30)}
    config = dataclasses.replace(TOY, batch_size=16, epochs=2)
    with pytest.raises(RuntimeError, match="ended after 0 of 3 trials.*run the same search again"):
        run(study, config, space=space, trials=3, jobs=2)
    assert "10 trials in a row diverged" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("config", {"config": dataclasses.replace(TOY, epochs=2)}),
        ("seeds", {"seeds": (0, 1)}),
        ("space", {"space": {"radius": optuna.distributions.FloatDistribution(0, 1)}}),
        ("data", {}),
    ],
)
def test_a_study_of_something_else_is_refused(trained, study, monkeypatch, what, changed):
    run(study, trials=1)
    if what == "data":  # such as stand-ins on a machine without the real files
        monkeypatch.setattr(search, "load", lambda name, *, seed, **options: clouds())
    with pytest.raises(ValueError, match=f"'study' was made with another {what}"):
        run(study, **{"trials": 2, **changed})
    assert len(trials_table(**study)) == 1


def test_the_best_config_of_another_config_is_refused(trained, study):
    run(study, trials=1)
    with pytest.raises(ValueError, match="was made from another config"):
        best_config(dataclasses.replace(TOY, epochs=2), **study)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("sqlite:///{}/missing/s.db", "unable to open database file"),
        ("{}/missing/s.log", "No such file or directory"),
        ("{}/s.db", "give a URL such as sqlite:///search.db"),
        ("sqlite://", "would be lost with this process"),
        ("nosuchbase://me:secret@host/s", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence_without_a_password(tmp_path, storage, said):
    with pytest.raises(ValueError, match=said) as caught:
        run({"storage": storage.format(tmp_path), "name": "study"}, trials=1)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_missing_study_is_named_beside_those_there_are(trained, study):
    run(study, trials=1)
    with pytest.raises(ValueError, match="has no study 'studie'; it has study"):
        trials_table(study["storage"], "studie")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"seeds": ()}, r"len\(seeds\) must be at least 1"),
        ({"space": {}}, "space is empty"),
        ({"space": {"seed": optuna.distributions.IntDistribution(0, 9)}}, "space names 'seed'"),
        ({"space": {"radius": optuna.distributions.FloatDistribution(0, 3)}}, "radius"),
    ],
)
def test_a_bad_argument_is_answered_before_training(trained, study, options, said):
    with pytest.raises(ValueError, match=said):
        run(study, **options)
    assert trained.runs == []


def test_without_optuna_the_extra_is_named(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'geomreg-mini\[scale\]'"):
        run(study)


# The command


def test_the_command_searches_prints_the_table_and_names_the_best(trained, study, tmp_path, capsys):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(TOY.to_dict()))
    call = ["--config", str(file), "--storage", study["storage"], "--name", "study", "--trials", "2"]
    assert search.main([*call, "--paradigm", "dgl", "--epochs", "3"]) == 0
    assert {(c.paradigm, c.epochs) for c in trained.runs} == {("dgl", 3)}
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and printed[-1].startswith("best: trial ")
    assert search.main(call) == 1
    assert "search: the study 'study' was made with another config" in capsys.readouterr().err
