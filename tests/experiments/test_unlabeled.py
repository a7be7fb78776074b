"""Clusters without labels: the trainings, the label-free choice, differences of known size, the records."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import sweeps, unlabeled
from experiments.unlabeled import AGAINST, CONFIG, READ, SEEDS, SELECTION, gains, load_unlabeled
from geomreg_mini import data
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "unlabeled"
RUNS = list(unlabeled.runs())


def record_of(config: TrainConfig, information: float, accuracy: float) -> Record:
    scores = {f"test/{q}/{name}": accuracy for q in ("cluster_accuracy", "nmi", "ari") for name in READ}
    return Record(
        config=config.to_dict(), seed=config.seed, versions={}, device="cpu", data_fingerprint="0",
        data_note="", split_sizes={}, series={"epoch": []}, selected_epoch=1, wall_time=0.0,
        metrics={SELECTION: information, "validation/cluster_accuracy/joint": -information, **scores},
    )  # fmt: skip


def write(folder, accuracy_of, information_of=lambda arm, setting: 0.5, seeds=SEEDS) -> None:
    for arm, setting, changes in RUNS:
        for seed in seeds:
            config = TrainConfig(**CONFIG | changes, seed=seed)
            record = record_of(config, information_of(arm, setting), accuracy_of(arm, setting, seed))
            record.save(unlabeled._path(folder, seed, arm, setting))


def test_arms_have_three_settings_each_and_differ_from_their_baseline_in_nothing_else():
    configs = {(arm, setting): TrainConfig(**CONFIG | changes) for arm, setting, changes in RUNS}
    assert len({config.key for config in configs.values()}) == len(RUNS) == 19
    counts = Counter(arm for arm, _ in configs)
    assert counts.pop("untuned") == 1 and set(counts.values()) == {3}
    for (arm, setting), config in configs.items():
        if arm not in AGAINST:
            assert config.regularizer is None
            continue
        given = config.regularizer.hyperparameters()
        assert (given["dispersion_weight"] > 0) == (arm != "anchoring")
        assert (given["anchoring_weight"] > 0) == (arm != "dispersion")
        rate = {"untuned": "rate-0.01", "plain_both": setting}.get(arm, "rate-0.03")
        assert replace(config, regularizer=None).key == configs[AGAINST[arm], rate].key


def test_what_is_recorded_is_not_trained_again(monkeypatch, tmp_path):
    runs = []

    def fake(config, *, data, device, progress):
        runs.append(config)
        return record_of(config, 0.5, 0.5)

    monkeypatch.setattr(sweeps, "fit", fake)
    monkeypatch.setattr(data, "load", lambda name, **options: SimpleNamespace(fingerprint="0"))
    assert unlabeled.run_seed(20, tmp_path) == 19 == len(runs) == len({config.key for config in runs})
    unlabeled.run_seed(20, tmp_path)
    assert len(runs) == 19
    (tmp_path / "seed20" / "both-tight.json").unlink()
    unlabeled.run_seed(20, tmp_path)
    assert len(runs) == 20 and runs[-1].key == runs[11].key


def test_settings_are_picked_without_labels_and_gains_are_differences_of_what_is_picked(tmp_path):
    accuracy = {"rate-0.03": 0.5, "rate-0.1": 0.6, "rate-0.01": 0.7, "gentle": 0.9, "tight": 0.8}

    write(
        tmp_path,
        lambda arm, setting, seed: accuracy.get(setting, 0.1) + (seed - 29.5) / 1000,
        lambda arm, setting: {"rate-0.1": 2.0, "tight": 2.0}.get(setting, 1.0),
    )
    frame = load_unlabeled(tmp_path)
    assert len(frame) == 19 * len(SEEDS) and frame["selected"].sum() == 7 * len(SEEDS)
    chosen = frame[frame["selected"]].groupby("arm")["setting"].unique().map(list).to_dict()
    assert chosen["none"] == ["rate-0.1"] and chosen["both"] == chosen["dispersion"] == ["tight"]
    assert chosen["plain_none"] == chosen["plain_both"] == ["rate-0.01"], "of equals the first"
    rows = gains(frame, "test/cluster_accuracy/joint").set_index("arm")
    assert list(rows.index) == list(AGAINST)
    assert rows["mean"].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.9 - 0.7, 0.0])
    assert rows["baseline"].tolist() == pytest.approx([0.6, 0.6, 0.6, 0.7, 0.7])
    assert set(rows["seeds"]) == {len(SEEDS)}
    same = " | ".join(["+20.0 [+20.0, +20.0]"] * 3)
    assert f"| none | 60.0 | 60.0 | 60.0 |\n| + dispersion | {same} |" in unlabeled.summary(frame)
    assert f"| none, at a third of the rate | 70.0 | 70.0 | 70.0 |\n| + both terms | {same} |" in (
        unlabeled.summary(frame)
    )


def test_a_seed_counts_once_it_is_complete_and_nothing_recorded_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run 'python -m experiments.unlabeled' first"):
        load_unlabeled(tmp_path)
    write(tmp_path, lambda *_: 0.5, seeds=SEEDS[:3])
    (tmp_path / f"seed{SEEDS[1]}" / "both-gentle.json").unlink()
    assert set(load_unlabeled(tmp_path)["seed"]) == {SEEDS[0], SEEDS[2]}


# The committed records


@pytest.fixture(scope="module")
def committed():
    return load_unlabeled(RESULTS)


def test_every_run_of_the_protocol_is_committed_and_was_made_by_it(committed):
    assert len(list(RESULTS.rglob("*.json"))) == len(committed) == len(RUNS) * len(SEEDS)
    for arm, setting, changes in RUNS:
        for seed in SEEDS:
            record = Record.load(unlabeled._path(RESULTS, seed, arm, setting))
            wanted = TrainConfig(**CONFIG | changes, seed=seed)
            assert TrainConfig.from_dict(record.config) == wanted and record.seed == seed


def test_the_readme_has_the_table_of_the_records(committed):
    assert unlabeled.summary(committed) in (ROOT / "results" / "README.md").read_text()


def test_the_figure_has_a_point_a_seed(committed):
    fig = unlabeled.figure(committed)
    assert [len(ax.collections[0].get_offsets()) for ax in fig.axes] == [len(SEEDS)] * 3
