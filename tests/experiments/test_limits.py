"""H6: settings as registered, fresh seeds, claims on made-up gains, and both tables from the JSON alone."""

import json
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from test_verdict import frozen_values

from experiments import cousins, limits, paper_settings, verdict
from experiments.limits import CLAIMS, ENDS, PLACES, SEEDS, STUDY, situation

RESULTS = Path(__file__).parents[2] / "results"
PAGE = (RESULTS / "README.md").read_text()


@pytest.mark.parametrize("arm", limits.ARMS)
def test_settings_are_those_that_the_verdict_has_registered(arm):
    values, fields = frozen_values(arm, "joint"), limits.ARMS[arm].settings["frozen"]
    assert (fields["learning_rate"], fields["weight_decay"]) == (values["rate"], values["decay"])
    if arm == "published":
        reg = fields["regularizer"]
        assert (reg.balance, reg.strength, reg.radius) == ("pareto", values["beta"], values["radius"])


def test_seeds_are_fresh_and_speakers_take_turns_equally():
    studies = [verdict.STUDY, paper_settings.STUDY, *cousins.STUDIES.values()]
    used = {seed for study in studies for cell in study.cells + study.later
            for seed in (*cell.seeds, *cell.development)}  # fmt: skip
    assert used.isdisjoint(SEEDS)
    assert {sum(seed % 6 == speaker for seed in SEEDS) for speaker in range(6)} == {len(SEEDS) // 6}


def test_each_walk_changes_one_thing_and_keeps_the_number_of_steps():
    start = STUDY.cells[0].config["dataset_options"]
    for cell in STUDY.cells[1:]:
        options = cell.config["dataset_options"]
        assert len([name for name in options if options[name] != start[name]]) == 1
    steps = [labels * epochs for labels, epochs in ((2000, 8), (800, 20), (300, 54))]
    assert limits.EPOCHS == {None: 8, 800: 20, 300: 54} and max(steps) < 1.02 * min(steps)


def made_up(gain, deviation=0.01):
    """A frame in which the published method gains gain[situation] in every outcome, plus noise."""
    noise, rows = np.random.default_rng(0), []
    for cell in STUDY.cells:
        where = cell.columns["situation"]
        for seed in SEEDS:
            luck = deviation * noise.standard_normal()
            for arm, more in (("none", 0.0), ("published", gain.get(where, 0.0) + luck)):
                row = {
                    "situation": where,
                    "seed": seed,
                    "arm": arm,
                    "selected": True,
                    "train/dose/image": 0.2,
                }
                row |= {f"test/{place}": 0.5 + more for place in PLACES.values()}
                rows.append(row | {"test/band_violation/mean": 0.7})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gain", "at_the_ends", "walks"),
    [
        ({}, ("supported", "supported"), ("excluded", "excluded")),
        ({situation(): 0.05, situation(labels=300): 0.1}, ("supported", "excluded"), ("supported",) * 2),
        ({ENDS[0]: 0.05}, ("excluded", "supported"), ("excluded", "excluded")),
    ],
)
def test_claims_follow_the_gains(gain, at_the_ends, walks):
    said = [text.split()[-1] for text in limits.answers(made_up(gain))["over seeds"]]
    assert said == [at_the_ends[0]] * 3 + [at_the_ends[1]] * 3 + list(walks)


def test_too_few_seeds_are_undecided_and_a_diverged_seed_is_left_out_everywhere():
    frame = made_up({ENDS[0]: 0.01}, deviation=0.1)
    assert "undecided" in limits.answers(frame)["over seeds"].iloc[0]
    frame.loc[(frame["seed"] == SEEDS[3]) & (frame["situation"] == ENDS[0]), "test/accuracy/fused"] = np.nan
    assert f"joint training, {len(SEEDS) - 1} seeds" in limits.summary(frame)


@pytest.fixture(scope="module")
def recorded():
    """(situation, arm, seed) -> metrics, from the files."""
    found = {}
    for cell in STUDY.cells:
        for arm in limits.ARMS:
            for seed in SEEDS:
                record = json.loads((RESULTS / "limits" / STUDY.file(cell, seed, arm, "frozen")).read_text())
                found[cell.columns["situation"], arm, seed] = record["metrics"]
    lost = {seed for (_, _, seed), metrics in found.items() if "test/accuracy/fused" not in metrics}
    return {key: metrics for key, metrics in found.items() if key[2] not in lost}


def test_the_page_has_the_tables_of_the_records():
    for part in limits.summary(STUDY.load(RESULTS / "limits")).split("\n\n"):
        assert part in PAGE


def test_gains_of_the_page_are_recomputed_from_the_files(recorded):
    """Another way to the numbers: means by hand, and an interval of Gaussians in place of the bootstrap."""
    seeds = sorted({seed for _, _, seed in recorded})
    for claim in CLAIMS:
        line = re.search(rf"^\| {re.escape(claim.words())} \| (\S+) \| \[(\S+), (\S+)\] ", PAGE, re.MULTILINE)
        name = f"test/{PLACES[claim.outcome]}"

        def gains(where, name=name):
            return [recorded[where, "published", s][name] - recorded[where, "none", s][name] for s in seeds]

        values = np.array(gains(claim.where)) - (gains(claim.than) if claim.than else 0.0)
        assert f"{100 * fmean(values):+.1f}" == line[1]
        spread = 1.96 * values.std(ddof=1) / len(values) ** 0.5
        for side, sign in ((2, -1), (3, 1)):
            assert float(line[side]) == pytest.approx(100 * (fmean(values) + sign * spread), abs=0.25)
