"""The paper's settings on digits: what is trained, differences of known size, the README."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import paper_settings
from experiments.paper import FIGURE_7, FIGURE_8
from experiments.paper_settings import (
    COLUMNS,
    FEWER,
    FORMS,
    HEADLINE,
    SEEDS,
    SETTINGS,
    cells,
    gains,
    load_settings,
    table,
)
from geomreg_mini import plots

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "paper_settings"


@pytest.fixture(scope="module")
def committed():
    return load_settings(RESULTS)


def made_up(gain, seeds=SEEDS):
    """Runs whose metrics are 0.5 + seed / 1000, plus gain(paradigm, setting) with a regularizer."""
    rows = []
    for paradigm, seed, names in cells():
        for name in names:
            value = 0.5 + seed / 1000 + (gain(paradigm, name) if name != "none" else 0.0)
            metrics = dict.fromkeys(COLUMNS.values(), value)
            rows.append({"paradigm": paradigm, "setting": name, "seed": seed, **metrics})
    frame = pd.DataFrame(rows)
    return frame[frame["seed"].isin(seeds)]


def test_the_settings_hold_every_cell_of_the_papers_maps():
    for beta, tau in FIGURE_8["CREMA-D"]:
        reg = SETTINGS[f"beta{beta:g}-tau{tau:g}"]
        assert (reg.balance, reg.strength, reg.radius, reg.at) == ("pareto", beta, tau, "embeddings")
    for intra, inter in FIGURE_7["CREMA-D"]:
        reg = SETTINGS[f"intra{intra:g}-inter{inter:g}"]
        assert (reg.balance, reg.dispersion_weight, reg.anchoring_weight, reg.radius) == (
            "sum", intra, inter, 0.0,
        )  # fmt: skip


def test_a_seed_trains_each_setting_once_and_the_headline_has_more_seeds():
    trained = [(paradigm, seed, name) for paradigm, seed, names in cells() for name in names]
    assert len(trained) == len(set(trained))
    counts = pd.DataFrame(trained, columns=["paradigm", "seed", "setting"]).groupby(["paradigm", "setting"])
    for (paradigm, setting), count in counts.size().items():
        assert count == (len(SEEDS) if setting in HEADLINE[paradigm] else len(FEWER))
    assert {setting for _, setting in counts.groups} == set(SETTINGS)


def test_gains_are_paired_by_seed_and_have_their_own_number_of_seeds():
    rows = gains(made_up(lambda paradigm, name: 0.03 if paradigm == "dgl" else -0.02), COLUMNS["fused"])
    assert rows["mean"].tolist() == pytest.approx([0.03 if p == "dgl" else -0.02 for p in rows["paradigm"]])
    assert rows["detectable"].tolist() == pytest.approx([0.0] * len(rows), abs=1e-12)
    seeds = rows.set_index(["paradigm", "setting"])["seeds"]
    assert seeds["joint", "beta2-tau0.25"] == 20 and seeds["joint", "beta0.1-tau0"] == 10


def test_what_would_have_been_seen_is_seen_four_times_in_five():
    from scipy.stats import ttest_1samp

    generator = np.random.default_rng(0)
    frame = made_up(lambda paradigm, name: 0.0)
    frame = frame[frame["setting"].isin(["none", "beta2-tau0.25"]) & (frame["paradigm"] == "joint")].copy()
    treated = frame["setting"] != "none"
    noise = generator.normal(0, 0.03, treated.sum())
    frame.loc[treated, COLUMNS["fused"]] += noise
    effect = gains(frame, COLUMNS["fused"])["detectable"].item()
    draws = generator.normal(effect, noise.std(ddof=1), (4000, 20))
    assert (ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_missing_headline_rows_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no records of joint none, .* run 'python -m experiments"):
        load_settings(tmp_path)


def test_the_readme_shows_the_committed_records(committed):
    assert paper_settings.summary(committed) in (ROOT / "results" / "README.md").read_text()
    assert paper_settings.forms_in_words(RESULTS, committed) in (ROOT / "results" / "README.md").read_text()


def test_every_recorded_run_is_the_one_that_its_name_says(committed):
    from geomreg_mini.records import Record
    from geomreg_mini.training import TrainConfig

    for paradigm, seed, names in list(cells())[:: len(SEEDS) // 2]:
        for name in names:
            path = RESULTS / paradigm / f"seed{seed}" / f"{name}.json"
            config = TrainConfig.from_dict(Record.load(path).config)
            reg = SETTINGS[name]
            assert (config.paradigm, config.seed, config.monitor) == (paradigm, seed, True)
            assert (config.regularizer is None) == (reg is None)
            if reg is not None:
                assert config.regularizer.hyperparameters() == reg.hyperparameters()


def test_table_and_figures_show_every_row(committed):
    rows = table(committed)
    assert len(rows) == sum(len(names) - 1 for names in HEADLINE.values())
    fig = paper_settings.figure(committed)
    assert len(fig.axes) == 13
    watched = paper_settings.load_watched(RESULTS)
    assert set(watched["setting"]) == {n for names in HEADLINE.values() for n in names[1:]}
    assert (watched["active"].dropna().between(0, 1)).all() and (watched["dose"] > 0).all()
    assert len(paper_settings.watched_figure(watched).axes) == 6
    plots.plt.close("all")


def test_both_forms_of_the_balance_point_nearly_one_way():
    rows = pd.read_csv(RESULTS / FORMS)
    assert set(rows["paradigm"]) == {"joint", "dgl"} and rows["cosine"].between(-1, 1).all()
    assert rows["cosine"].median() > 0.9
