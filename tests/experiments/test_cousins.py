"""Watch, emoji, views: equal chances for every arm, who picks, both intervals, verdicts, tables from JSON."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from made_up_records import RESULTS
from scipy.stats import norm, t

from experiments.cousins import (
    ARMS,
    BARLOW,
    FOLDS,
    MODALITIES,
    PARADIGMS,
    QUESTIONS,
    RATES,
    SEEDS,
    STUDIES,
    across,
    answers,
    gains,
    loaded,
    neglected,
    summary,
    table,
)
from experiments.judging import verdict
from experiments.study import FROZEN
from experiments.sweeps import load_record

FUSED = "test/accuracy/fused"
README = (RESULTS / "README.md").read_text()
FOLDERS = {name: RESULTS.parent / study.folder for name, study in STUDIES.items()}
each = pytest.mark.parametrize("name", STUDIES)


# The protocol


@each
def test_every_arm_chooses_from_the_same_space_and_differs_in_the_regularizer_alone(name):
    for cell in STUDIES[name].cells:
        spaces = set()
        for arm, own in cell.arms.items():
            assert {tuple(sorted(fields)) for fields in own.settings.values()} == {
                ("learning_rate", "regularizer")
            }
            spaces.add(tuple((setting, fields["learning_rate"]) for setting, fields in own.settings.items()))
            given = [fields["regularizer"] for fields in own.settings.values()]
            assert len({None if r is None else (type(r), str(r.hyperparameters())) for r in given}) == 1
            assert (given[0] is None) == (arm == "none")
        assert len(spaces) == 1 and sorted(next(iter(spaces)), key=lambda pair: pair[1]) == list(*spaces)


@each
def test_the_seeds_that_pick_are_others_than_those_that_test(name):
    for cell in STUDIES[name].cells:
        assert cell.seeds == SEEDS and len(SEEDS) >= 20 and cell.development
        assert not set(cell.development) & set(cell.seeds)
    assert STUDIES[name].selection.startswith("validation/")


def test_pairs_of_people_take_equal_turns():
    assert set(RATES) == set(BARLOW) == set(MODALITIES) == set(PARADIGMS)
    assert {sum(seed % FOLDS == fold for seed in SEEDS) for fold in range(FOLDS)} == {len(SEEDS) / FOLDS}


def test_a_seed_that_diverges_in_one_arm_is_left_out_for_all():
    frame = made_up("emoji", lambda *_: 0.0)
    failed = (frame["seed"] == SEEDS[3]) & (frame["arm"] != "none")
    frame[FUSED] = frame[FUSED].mask(failed)
    assert f"emoji, {len(SEEDS) - 1} of {len(SEEDS)} seeds" in summary("emoji", frame, FOLDERS["emoji"])


def test_clusters_are_chosen_without_labels():
    assert "accuracy" not in STUDIES["clusters"].selection


def test_arms_are_what_their_names_say():
    arms = {
        name: arm.settings["rate-0.02"]["regularizer"] for name, arm in STUDIES["emoji"].cells[0].arms.items()
    }
    assert tuple(arms) == ARMS
    for name, strength in {"published 0.2": 0.2, "published 2": 2.0}.items():
        assert (arms[name].balance, arms[name].strength, arms[name].radius) == ("pareto", strength, 0.25)
    weights = {name: (arms[name].dispersion_weight, arms[name].anchoring_weight, arms[name].radius)
               for name in ("sum", "dispersion", "anchoring")}  # fmt: skip
    assert weights == {"sum": (1, 1, 0.25), "dispersion": (1, 0, 0.25), "anchoring": (0, 1, 0.25)}
    assert type(arms["barlow"]).__name__ == "BarlowTwins"


# Verdicts and intervals


@pytest.mark.parametrize(
    ("interval", "claim", "said"),
    [
        ((3.0, 9.0), (3, np.inf), "supported"),
        ((2.9, 9.0), (3, np.inf), "undecided"),
        ((-1.0, 2.9), (3, np.inf), "excluded"),
        ((-1.0, 3.0), (3, np.inf), "undecided"),
        ((-1.0, 1.0), (-1, 1), "supported"),
        ((-1.1, 1.0), (-1, 1), "undecided"),
        ((-9.0, 9.0), (-1, 1), "undecided"),
        ((-9.0, -1.1), (-1, 1), "excluded"),
        ((1.1, 2.0), (-1, 1), "excluded"),
    ],
)
def test_a_verdict_says_where_the_interval_lies(interval, claim, said):
    assert verdict(*interval, *claim) == said


def made_up(data, gain_of, arms=("none", "published 2"), paradigms=("joint",)):
    """One row per run; ``gain_of(seed, paradigm, arm)`` is added to a half in every accuracy."""
    metrics = [f"test/{q}/{m}" for q, m in product(("accuracy", "knn_probe"), MODALITIES[data])]
    return pd.DataFrame([
        {"paradigm": p, "seed": seed, "arm": arm, "setting": FROZEN, "selected": True,
         **dict.fromkeys([FUSED, *metrics], 0.5 + seed / 1000 + gain_of(seed, p, arm))}
        for p, seed, arm in product(paradigms, SEEDS, arms)
    ])  # fmt: skip


def test_gains_that_differ_between_people_alone_have_the_interval_of_five_values():
    effects = [0.0, 0.01, 0.02, 0.03, 0.09]
    frame = made_up("watch", lambda seed, p, arm: effects[seed % FOLDS] * (arm != "none"))
    (row,) = gains("watch", frame, FUSED, {"published 2": "none"}).to_dict("records")
    assert row["mean"] == pytest.approx(np.mean(effects)) and row["seeds"] == len(SEEDS)
    spread = np.std(effects, ddof=1) / FOLDS**0.5
    assert row["wide_detectable"] == pytest.approx(spread * (t.ppf(0.975, 4) + t.ppf(0.8, 4)))
    assert row["wide_low"] < row["low"] < row["mean"] < row["high"] < row["wide_high"]


def test_an_interval_for_new_concepts_is_that_of_overlapping_random_splits():
    generator = np.random.default_rng(0)
    noise = dict(zip(SEEDS, generator.normal(0, 0.01, len(SEEDS)), strict=True))
    frame = made_up("emoji", lambda seed, p, arm: noise[seed] * (arm != "none"))
    (row,) = gains("emoji", frame, FUSED, {"published 2": "none"}).to_dict("records")
    factor = (1 + len(SEEDS) * 2 / 7) ** 0.5
    for side in ("low", "high"):
        assert row[f"wide_{side}"] - row["mean"] == pytest.approx(factor * (row[side] - row["mean"]))
    assert row["wide_detectable"] == pytest.approx(factor * row["detectable"])


def test_questions_are_answered_by_gains_of_known_size():
    """The gain of an arm over none is 5 points, and uniform sum is 2 points above joint training."""
    frame = made_up(
        "emoji",
        lambda seed, p, arm: 0.05 * (arm != "none") + 0.02 * (p == "uniform_sum"),
        arms=ARMS[:4],
        paradigms=("joint", "uniform_sum", "dgl"),
    )
    found = answers("emoji", frame, "picture").set_index("question")
    for number, question in enumerate(QUESTIONS):
        if not {question.ours[1], question.other[1]} <= set(ARMS[:4]):
            assert number not in found.index
            continue
        gain = 5.0 if question.other[1] == "none" else 0.0
        gain -= 2.0 * (question.ours[0] != question.other[0])
        assert found.loc[number, "gain"] == pytest.approx(gain)
        expected = "supported" if question.low <= gain <= question.high else "excluded"
        assert found.loc[number, "wide_verdict"] == found.loc[number, "verdict"] == expected, question.words()
    assert {question.hypothesis for question in QUESTIONS} == {"H1", "H2", "H3", "H4", "H5"}
    assert len({question.words() for question in QUESTIONS}) == len(QUESTIONS)


# The records


@each
def test_records_belong_to_the_protocol_and_are_unmodified(name):
    folder = FOLDERS[name]
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}
    assert there == set(STUDIES[name].files())
    assert STUDIES[name].state(folder) == f"{len(there):,} of {len(there):,} records, unmodified."


@each
def test_every_frozen_rate_is_the_best_in_development_and_interior(name):
    folder, study = FOLDERS[name], STUDIES[name]
    for cell in study.cells:
        for arm, setting in study.frozen(folder, cell).items():
            scores = {}
            for other in cell.arms[arm].settings:
                paths = [folder / study.file(cell, seed, arm, other) for seed in cell.development]
                values = [json.loads(path.read_text())["metrics"][study.selection] for path in paths]
                scores[other] = sum(values) / len(values)
            assert scores[setting] == max(scores.values())
            assert setting not in (list(scores)[0], list(scores)[-1]), f"{cell.columns} {arm}: {scores}"
            rate = cell.arms[arm].settings[setting]["learning_rate"]
            for seed in cell.seeds:
                record = load_record(folder / study.file(cell, seed, arm, FROZEN))
                assert record.config["learning_rate"] == rate and record.seed == seed


def by_hand(name, ours, other, metric, wide):
    """Mean and interval of the differences in the files, by this test's own arithmetic."""
    values = {}
    for path in FOLDERS[name].rglob("*-frozen.json"):
        record = json.loads(path.read_text())
        key = record["config"]["paradigm"], path.name.removesuffix("-frozen.json").replace("_", " ")
        values.setdefault(record["seed"], {})[key] = record["metrics"].get(metric)
    differences = {
        seed: found[ours] - found[other]
        for seed, found in sorted(values.items())
        if None not in found.values()
    }
    units = list(differences.values())
    if wide and name == "watch":
        units = [np.mean([d for seed, d in differences.items() if seed % 5 == fold]) for fold in range(5)]
    units, n = np.array(units), len(units)
    draws = units[np.random.default_rng(0).integers(0, n, size=(10_000, n))].mean(axis=1)
    stretch = t.ppf(0.975, n - 1) / norm.ppf(0.975) * (n / (n - 1)) ** 0.5
    if wide and name in ("emoji", "views"):
        stretch *= (1 + n * {"emoji": 2 / 7, "views": 300 / 1400}[name]) ** 0.5
    low, high = (units.mean() + stretch * (np.quantile(draws, q) - units.mean()) for q in (0.025, 0.975))
    return f"{100 * units.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


@pytest.mark.parametrize("name", MODALITIES)
def test_the_tables_are_what_the_files_say(name):
    shown = table(name, loaded(name, FOLDERS[name]))
    weak = neglected(name, FOLDERS[name])
    columns = {
        "fused": FUSED,
        f"{weak} alone": f"test/accuracy/{weak}",
        f"{weak}, k-NN": f"test/knn_probe/{weak}",
    }
    names = {"joint": "joint training", "uniform_sum": "uniform sum", "dgl": "DGL"}
    for paradigm, arms in PARADIGMS[name].items():
        for arm in arms[1:]:
            row = shown.loc[f"{names[paradigm]}, {arm}"]
            for column, metric in columns.items():
                assert row[column] == by_hand(name, (paradigm, arm), (paradigm, "none"), metric, wide=False)
            assert row.iloc[1] == by_hand(name, (paradigm, arm), (paradigm, "none"), FUSED, wide=True)
    judged = answers(name, loaded(name, FOLDERS[name]), weak)
    assert len(judged) == len(QUESTIONS)
    for row in judged.to_dict("records"):
        question = QUESTIONS[row["question"]]
        metric = {"fused": FUSED, "alone": f"test/accuracy/{weak}", "k-NN": f"test/knn_probe/{weak}"}
        text = f"{row['gain']:+.1f} [{row['wide_low']:+.1f}, {row['wide_high']:+.1f}]"
        assert text == by_hand(name, question.ours, question.other, metric[question.outcome], wide=True)


@each
def test_the_readme_quotes_the_committed_records(name):
    for part in summary(name, STUDIES[name].load(FOLDERS[name]), FOLDERS[name]).split("\n\n"):
        assert part in README


def test_the_readme_compares_the_data():
    from experiments.study import markdown

    assert markdown(across(RESULTS), "claim, in points (neglected modality)") in README
