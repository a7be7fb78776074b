"""The decisive protocol: equal budgets, who rotates, intervals, verdicts, tables from the files alone."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import islice, product

import numpy as np
import pandas as pd
import pytest
from made_up_records import RESULTS
from scipy.stats import norm, t

from data_scripts import digits
from data_scripts.fetch import data_root, load_arrays
from experiments import cousins, paper_settings, verdict
from experiments import study as module
from experiments.cousins import gains
from experiments.study import FROZEN, Arm
from experiments.verdict import (
    AXES,
    DEVELOPMENT,
    QUESTIONS,
    RADII,
    ROUNDS,
    SEEDS,
    SETTINGS,
    STUDY,
    check_registration,
    design,
    digest,
    edges,
    table,
    verdicts,
)
from geomreg_mini.data import load
from geomreg_mini.evaluation import paired_interval
from geomreg_mini.records import Record

FOLDER = RESULTS / "verdict"
FUSED, COSINE = "test/accuracy/fused", "test/mean_cosine"
PARADIGMS = list(RADII)


# The protocol


def test_every_arm_has_the_same_budget_learning_rates_and_weight_decays():
    for cell in STUDY.cells:
        counts = {"learning_rate": [], "weight_decay": []}
        for arm in cell.arms.values():
            configs = [
                str(sorted((k, repr(v)) for k, v in fields.items())) for fields in arm.settings.values()
            ]
            assert len(set(configs)) == len(configs) == SETTINGS * len(ROUNDS)
            for field, found in counts.items():
                found.append(Counter(fields[field] for fields in arm.settings.values()))
        for found in counts.values():  # seven values do not divide twelve settings, so one more or less
            assert len({frozenset(own) for own in found}) == 1
            for value in found[0]:
                assert max(own[value] for own in found) - min(own[value] for own in found) <= 1
        assert not set(DEVELOPMENT) & set(SEEDS) and cell.seeds == SEEDS and cell.development == DEVELOPMENT
    assert STUDY.selection.startswith("validation/")


@pytest.mark.parametrize("arm", AXES)
def test_the_values_of_every_axis_are_tried_equally_often(arm):
    for number, common in enumerate(ROUNDS):
        for axis, values in (common | AXES[arm]).items():
            settings = design(arm)[number * SETTINGS : (number + 1) * SETTINGS]
            counts = Counter(setting[axis] for setting in settings)
            assert set(counts) == set(values) and max(counts.values()) - min(counts.values()) <= 1
    assert design(arm) == design(arm)


def test_arms_are_what_their_names_say():
    for cell, arm in product(STUDY.cells, AXES):
        radii = RADII[cell.columns["paradigm"]]
        for values, fields in zip(design(arm), cell.arms[arm].settings.values(), strict=True):
            given = fields["regularizer"]
            assert (fields["learning_rate"], fields["weight_decay"]) == (values["rate"], values["decay"])
            expected = {"dispersion_weight": 0.0, "anchoring_weight": 0.0}
            if arm == "published":
                expected = {"balance": "pareto", "strength": values["beta"]}
            elif arm in ("none", "unit sphere"):
                assert given is None if arm == "none" else given.normalizes
                continue
            elif arm == "barlow":
                assert type(given).__name__ == "BarlowTwins" and given.weight == values["weight"]
                continue
            expected |= {
                f"{term}_weight": values[term] for term in ("dispersion", "anchoring") if term in values
            }
            if "anchoring" in values or arm == "published":
                expected |= {"radius": radii.get(values.get("radius", 0.0), values.get("radius", 0.0))}
            found = given.hyperparameters()
            assert {name: found[name] for name in expected} == expected
            assert (arm == "dispersion") == (found.get("anchoring_weight") == 0.0)


def test_speakers_take_equal_turns_in_the_test_and_others_validate_in_development():
    assert {sum(seed % 6 == k for seed in SEEDS) for k in range(6)} == {len(SEEDS) / 6}
    if load_arrays(data_root() / digits.INFO.prepared) is None:
        pytest.skip("the spoken digits are not prepared")
    known = verdict.COMMON["dataset_options"]
    for seed in (SEEDS[0], SEEDS[1], *DEVELOPMENT):
        data = load("digits", seed=seed, **known)
        assert set(data.test.factors["speaker"].tolist()) == {seed % 6}
        assert set(data.validation.factors["speaker"].tolist()) == {(seed + 1) % 6}


def test_training_goes_through_all_paradigms_and_arms_before_the_next_seed(tmp_path, monkeypatch):
    stages, study = [], small()
    write_records(study, tmp_path)
    monkeypatch.setattr(module, "work_through", lambda work, cells, **_: stages.append(list(cells)))
    study.train(tmp_path)
    development, test = stages
    assert {seed for _, seed, _ in development} == set(study.cells[0].development)
    assert [(seed, cell.columns["paradigm"]) for cell, seed, _ in test] == list(
        product(study.cells[0].seeds, PARADIGMS)
    )
    assert all(list(cell.arms) == list(AXES) for cell, *_ in test) and study.together >= len(AXES)


def test_edges_name_the_axes_at_whose_ends_a_setting_lies():
    offered = {axis: sorted({x for common in ROUNDS for x in common[axis]}) for axis in ROUNDS[0]}
    middle = {axis: values[1] for axis, values in offered.items()}
    for axis, values in offered.items():
        assert [edges("none", middle | {axis: end}) for end in (values[0], values[-1])] == [[axis]] * 2
    inner = middle | {"dispersion": 1.0, "anchoring": 8.0, "radius": "q50"}
    assert edges("sum", inner) == []
    ends = {"dispersion": 0.02, "anchoring": 100.0, "radius": "q25"}
    assert edges("sum", middle | ends) == list(ends)
    assert edges("published", middle | {"beta": 0.2, "radius": "q25"}) == []
    assert edges("published", middle | {"beta": 2.0, "radius": 0.0}) == ["beta", "radius"]


def test_another_text_setting_or_claim_is_another_protocol(monkeypatch):
    before = digest()
    assert len(before) == 64 and digest() == before
    with monkeypatch.context() as changed:
        changed.setattr(verdict, "__doc__", verdict.__doc__ + " ")
        assert digest() != before
    with monkeypatch.context() as changed:
        changed.setattr(verdict, "QUESTIONS", QUESTIONS[:-1])
        assert digest() != before
    cell = STUDY.cells[0]
    arms = cell.arms | {"none": Arm({"01": {"learning_rate": 0.3}})}
    with monkeypatch.context() as changed:
        changed.setattr(verdict, "STUDY", replace(STUDY, cells=(replace(cell, arms=arms), *STUDY.cells[1:])))
        assert digest() != before
    assert digest() == before


# Verdicts and intervals


def values_of(seed, gain=0.0, geometry=0.0, inside=0.5):
    """The metrics of a test run whose accuracies are a half, plus the seed's, plus the gain."""
    return {
        **{f"test/{place}": 0.5 + seed / 2000 + gain for place in verdict.PLACES.values()},
        "test/paired_drift/audio-image": 1.0 + geometry,
        "test/mean_cosine/audio": 0.5 + geometry,
        "test/mean_cosine/image": 0.7 + geometry,
        "test/band_violation/audio-image": 1 - inside,
    }


PAIRED = ("paired_drift", "band_violation")


def made_up(gain_of, seeds=SEEDS[:12], paradigms=tuple(PARADIGMS), arms=tuple(AXES), **more):
    rows = []
    for p, seed, arm in product(paradigms, seeds, arms):
        values = values_of(seed, gain_of(seed, p, arm), **{k: v * (arm != "none") for k, v in more.items()})
        values["test/mean_cosine/mean"] = (values[f"{COSINE}/audio"] + values[f"{COSINE}/image"]) / 2
        values |= {f"test/{name}/mean": values[f"test/{name}/audio-image"] for name in PAIRED}
        row = {"paradigm": p, "seed": seed, "arm": arm, "setting": FROZEN, "selected": True}
        rows.append(row | values)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gain", "noise", "small", "large"),
    [
        (0.0, 0.005, "equivalent", "equivalent"),
        (0.008, 0.005, "different", "equivalent"),
        (0.02, 0.005, "different", "different"),
        (0.005, 0.005, "undecided", "equivalent"),
        (0.0, 0.3, "undecided", "undecided"),
    ],
)
def test_equivalence_is_what_the_interval_of_ninety_percent_says(gain, noise, small, large):
    seeds = SEEDS[:60]
    draws = np.random.default_rng(3).normal(0, 1, len(seeds))
    draws = noise * (draws - draws.mean()) / draws.std()
    known = dict(zip(seeds, gain + draws, strict=True))
    arms = ("none", "band", "rigid")
    shown = table(made_up(lambda seed, p, arm: known[seed] * (arm == "band"), seeds, ("joint",), arms))
    row = shown.loc["joint training, band"]
    assert row["±0.5"].split("; ")[0] == small and row["±1"].split("; ")[0] == large
    assert (shown.loc["joint training, rigid", ["±0.5", "±1"]] == "equivalent; equivalent").all()


def test_gains_that_differ_between_speakers_alone_have_the_interval_of_six_values():
    effects = np.array([-0.04, 0.0, 0.01, 0.02, 0.03, 0.10])
    frame = made_up(lambda seed, p, arm: effects[seed % 6] * (arm == "sum"))
    (row,) = gains("speakers", frame, FUSED, {"sum": "none"}, by=()).to_dict("records")
    expected = paired_interval(list(effects), [0.0] * 6)
    assert (row["wide_low"], row["wide_high"]) == pytest.approx((expected.low, expected.high))
    assert row["mean"] == pytest.approx(effects.mean()) and row["wide_low"] < row["low"] < row["high"]
    spread = np.std(effects, ddof=1) / 6**0.5
    assert row["wide_detectable"] == pytest.approx(spread * (t.ppf(0.975, 5) + t.ppf(0.8, 5)))


@pytest.mark.parametrize(
    ("geometry", "inside", "active", "changed"),
    [(-0.1, 0.5, "yes", "yes"), (0.1, 0.5, "yes", "no"), (-0.1, 0.1, "no", "yes"), (0.0, 0.9, "no", "no")],
)
def test_the_manipulation_check_says_whether_a_band_was_one(geometry, inside, active, changed):
    arms = ("none", "band", "dispersion")
    shown = table(made_up(lambda *_: 0.0, arms=arms, geometry=geometry, inside=inside))
    for paradigm in ("joint training", "uniform sum", "DGL"):
        row = shown.loc[f"{paradigm}, band"]
        assert (row["active"], row["changed"]) == (active, changed) and row[
            "inside"
        ] == f"{100 * inside:.0f} %"
        assert shown.loc[f"{paradigm}, dispersion", "inside"] == "-"


def test_claims_are_judged_by_gains_of_known_size():
    """Every arm gains 5 points, and uniform sum is 2 points above joint training."""
    frame = made_up(lambda seed, p, arm: 0.05 * (arm != "none") + 0.02 * (p == "uniform_sum"))
    shown = verdicts(frame)
    assert set(shown.index) == {question.words() for question in QUESTIONS} and len(shown) == len(QUESTIONS)
    assert {question.hypothesis for question in QUESTIONS} == {"H1", "H2", "H3", "H4", "H5"}
    for question in QUESTIONS:
        gain = 5.0 if question.other[1] == "none" else 0.0
        gain -= 2.0 * (question.ours[0] != question.other[0])
        expected = "supported" if question.low <= gain <= question.high else "excluded"
        row = shown.loc[question.words()]
        assert row["gain"] == f"{gain:+.1f}"
        assert row["over seeds"].endswith(expected) and row["for new speakers"].endswith(expected)


def test_both_intervals_cover_the_truth_in_ninety_five_percent_of_cases():
    """Deviations of gains are drawn from recorded ones, and each speaker has an effect of its own."""
    frame = paper_settings.STUDY.load(RESULTS / "paper_settings", paper_settings.STUDY.cells[:2])
    pool = []
    for _, part in frame.groupby("paradigm"):
        fused = part.pivot_table(index="seed", columns="arm", values=FUSED)
        differences = fused.drop(columns="none").sub(fused["none"], axis=0)
        pool.append((differences - differences.mean()).to_numpy().ravel())
    pool = np.concatenate(pool)
    pool -= pool.mean()
    generator, seeds, simulations = np.random.default_rng(0), 30, 2000
    by_hand = generator.choice(pool, size=(simulations, seeds))
    speakers = by_hand + np.tile(generator.normal(0, 0.02, (simulations, 6)), seeds // 6)
    for units in (by_hand, speakers.reshape(simulations, -1, 6).mean(axis=1)):
        found = [paired_interval(own, np.zeros(len(own)), resamples=1000) for own in units]
        covered = np.mean([interval.low <= 0 <= interval.high for interval in found])
        assert 0.93 <= covered <= 0.97


# The files


def small(study=STUDY, seeds=SEEDS[:12], settings=2):
    """The study with fewer seeds and settings."""
    cells = [
        replace(cell, seeds=seeds, development=DEVELOPMENT[:1],
                arms={n: Arm(dict(islice(arm.settings.items(), settings))) for n, arm in cell.arms.items()})
        for cell in study.cells
    ]  # fmt: skip
    return replace(study, cells=tuple(cells), later=())


def write_records(study, folder):
    """Records with random results; in development the second setting is the best."""
    generator = np.random.default_rng(0)

    def save(file, config):
        metrics = {"validation/accuracy/fused": 0.9 if file.endswith(("02.json", f"{FROZEN}.json")) else 0.8}
        if file.endswith(f"{FROZEN}.json"):
            metrics |= {name: float(f"{generator.uniform(0.3, 0.7):.4f}") for name in values_of(0)}
        series = {"epoch": [1], "train/dose/audio": [0.5], "train/dose/image": [0.7]}
        record = Record(config.to_dict(), config.seed, {}, "cpu", "0", "", {}, series, 1, metrics, 0.0)
        record.save(folder / file)
        return record

    for cell in study.cells:
        for part in (cell.tuning(), cell.testing(dict.fromkeys(AXES, "02"))):
            for seed in part.seeds:
                study.walk(part, seed, save)


@cache
def metrics_in(folder):
    """Seed -> (paradigm, arm) -> metrics, from the files of the frozen settings, each read once."""
    found = {}
    for path in folder.rglob(f"*-{FROZEN}.json"):
        record = json.loads(path.read_text())
        key = record["config"]["paradigm"], path.name.removesuffix(f"-{FROZEN}.json").replace("_", " ")
        found.setdefault(record["seed"], {})[key] = record["metrics"]
    return found


def by_hand(folder, ours, other, metric, speakers, level=0.95):
    """Mean and interval of the differences in the files, by this test's own arithmetic."""
    values = {
        seed: {key: metrics.get(metric) for key, metrics in own.items()}
        for seed, own in metrics_in(folder).items()
    }
    every = len(AXES) * len(PARADIGMS)
    whole = {
        seed: own for seed, own in sorted(values.items()) if len(own) == every and None not in own.values()
    }
    units = [own[ours] - own[other] for own in whole.values()]
    if speakers:
        units = [
            np.mean([d for d, seed in zip(units, whole, strict=True) if seed % 6 == k]) for k in range(6)
        ]
    units, n, tail = np.array(units), len(units), (1 - level) / 2
    draws = units[np.random.default_rng(0).integers(0, n, size=(10_000, n))].mean(axis=1)
    stretch = t.ppf(1 - tail, n - 1) / norm.ppf(1 - tail) * (n / (n - 1)) ** 0.5
    low, high = (units.mean() + stretch * (np.quantile(draws, q) - units.mean()) for q in (tail, 1 - tail))
    return 100 * np.array([units.mean(), low, high])


def words(mean, low, high):
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


REGISTERED = (FOLDER / "registration.json").exists()


@pytest.fixture(scope="module", params=["made up", *(["committed"] if REGISTERED else [])])
def records(request, tmp_path_factory):
    """A study, the folder of its records and the frame that they give."""
    if request.param == "committed":
        return STUDY, FOLDER, STUDY.load(FOLDER, partial=True)
    study, folder = small(), tmp_path_factory.mktemp("verdict")
    write_records(study, folder)
    return study, folder, study.load(folder)


def test_the_tables_are_what_the_files_say(records):
    _, folder, frame = records
    shown = table(verdict.whole(frame))
    names = {"joint": "joint training", "uniform_sum": "uniform sum", "dgl": "DGL"}
    for paradigm, arm in product(PARADIGMS, list(AXES)[1:]):
        row, pair = shown.loc[f"{names[paradigm]}, {arm}"], ((paradigm, arm), (paradigm, "none"))
        for column, place in verdict.PLACES.items():
            assert row[column] == words(*by_hand(folder, *pair, f"test/{place}", speakers=False))
        mean, wide = (
            by_hand(folder, *pair, FUSED, speakers=False)[0],
            by_hand(folder, *pair, FUSED, speakers=True),
        )
        assert row["new speakers"] == words(mean, *wide[1:])
        for margin, column in ((0.5, "±0.5"), (1.0, "±1")):
            said = []
            for speakers in (False, True):
                _, low, high = by_hand(folder, *pair, FUSED, speakers, level=0.9)
                apart = low > margin or high < -margin
                inside = -margin <= low and high <= margin
                said.append("equivalent" if inside else "different" if apart else "undecided")
            assert row[column] == "; ".join(said)
    places = {"fused": FUSED, "alone": "test/accuracy/image", "k-NN": "test/knn_probe/image"}
    judged = verdicts(verdict.whole(frame))
    for question in QUESTIONS:
        row, metric = judged.loc[question.words()], places[question.outcome]
        for speakers, column in ((False, "over seeds"), (True, "for new speakers")):
            mean, low, high = by_hand(folder, question.ours, question.other, metric, speakers)
            assert row[column].startswith(f"[{low:+.1f}, {high:+.1f}] (")
            assert speakers or row["gain"] == f"{mean:+.1f}"


def test_no_test_seed_is_trained_before_registration_or_after_a_change(tmp_path, monkeypatch):
    study = small()
    write_records(study, tmp_path)
    monkeypatch.setattr(verdict, "STUDY", study)
    with pytest.raises(ValueError, match="--register"):
        check_registration(tmp_path)
    path = tmp_path / "registration.json"
    path.write_text(json.dumps(verdict.registration(tmp_path)))
    check_registration(tmp_path)
    assert json.loads(path.read_text())["frozen"] == {p: dict.fromkeys(AXES, "02") for p in PARADIGMS}
    path.write_text(path.read_text().replace('"02"', '"01"', 1))
    with pytest.raises(ValueError, match="--register"):
        check_registration(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert verdict.main(["--jobs", "1"]) == 1  # without a registration nothing is trained


def test_a_seed_that_diverges_in_one_arm_is_left_out_for_all(records):
    _, folder, frame = records
    seed = verdict.whole(frame)["seed"].iloc[-1]
    failed = (frame["seed"] == seed) & (frame["arm"] == "rigid") & (frame["paradigm"] == "dgl")
    left = verdict.whole(frame.assign(**{FUSED: frame[FUSED].mask(failed)}))
    assert set(verdict.whole(frame)["seed"]) - set(left["seed"]) == {seed}


@pytest.mark.parametrize("data", ["watch", "emoji"])
def test_the_decisive_table_of_other_data_has_their_own_groups_and_neglected_modality(data):
    shown = verdict.elsewhere(data, RESULTS)
    weak = cousins.neglected(data, RESULTS / "cousins" / data)
    frame = cousins.loaded(data, RESULTS / "cousins" / data)
    assert {f"new {verdict.NEW[data]}", f"{weak} alone", f"{weak}, k-NN", "±0.5", "±1"} <= set(shown.columns)
    assert len(shown) == len(frame[["paradigm", "arm"]].drop_duplicates()) - 3, "three paradigms have a none"
    part = frame[frame["paradigm"] == "dgl"].pivot_table(index="seed", columns="arm", values=FUSED)
    gain = 100 * (part["published 2"] - part["none"]).mean()
    assert shown.loc["DGL, published 2", "fused"].startswith(f"{gain:+.1f} [")


needs_probes = pytest.mark.skipif(
    not all((FOLDER / file).exists() for file in STUDY.files(STUDY.later)), reason="still to be trained"
)


@needs_probes
def test_radii_are_quartiles_without_a_regularizer_and_there_is_room_for_a_gain():
    for cell in STUDY.later:
        paradigm = cell.columns["paradigm"]
        records = [json.loads((FOLDER / file).read_text()) for file in STUDY.files([cell])]
        for name, radius in RADII[paradigm].items():
            values = [
                record["metrics"][f"validation/paired_distance_{name}/audio-image"] for record in records
            ]
            assert radius == pytest.approx(np.mean(values), abs=0.006)
        accuracies = [100 * record["metrics"]["validation/accuracy/fused"] for record in records]
        shown = f"{round(min(accuracies))} to {round(max(accuracies))}"
        assert shown in verdict.__doc__ and max(accuracies) < 96


def test_records_of_development_say_nothing_about_the_test_split():
    files = STUDY.files([cell.tuning() for cell in STUDY.cells] + list(STUDY.later))
    for path in (FOLDER / file for file in files):
        if path.exists():
            metrics = json.loads(path.read_text())["metrics"]
            assert metrics and not [name for name in metrics if name.startswith("test/")], path


@pytest.mark.skipif(not REGISTERED, reason="still in development")
def test_the_committed_records_are_those_of_the_registered_protocol():
    check_registration(FOLDER)
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("seed*/*.json")}
    assert there <= set(STUDY.files())
    rates, decays = ({x for common in ROUNDS for x in common[axis]} for axis in ("rate", "decay"))
    for arm, paradigm in product(AXES, PARADIGMS):
        values = frozen_values(arm, paradigm)
        assert min(rates) < values["rate"] < max(rates), "widen the rates by another round"
        assert values["decay"] < max(decays), "widen the decays by another round"


def frozen_values(arm, paradigm):
    frozen = json.loads((FOLDER / "registration.json").read_text())["frozen"]
    return design(arm)[int(frozen[paradigm][arm]) - 1]
