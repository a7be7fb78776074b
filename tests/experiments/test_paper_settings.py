"""The paper's settings on digits: what is trained, the rows of the table, both forms of the balance."""

import pandas as pd
import pytest
from made_up_records import RESULTS, committed, frame_of

from experiments import paper_settings
from experiments.paper import FIGURE_7, FIGURE_8
from experiments.paper_settings import COLUMNS, FEWER, FORMS, HEADLINE, SEEDS, SETTINGS, STUDY, table
from geomreg_mini import plots

FOLDER = RESULTS / "paper_settings"


def test_the_settings_hold_every_cell_of_the_papers_maps():
    for beta, tau in FIGURE_8["CREMA-D"]:
        reg = SETTINGS[f"beta{beta:g}-tau{tau:g}"]
        assert (reg.balance, reg.strength, reg.radius, reg.at) == ("pareto", beta, tau, "embeddings")
    for intra, inter in FIGURE_7["CREMA-D"]:
        reg = SETTINGS[f"intra{intra:g}-inter{inter:g}"]
        assert (reg.balance, reg.dispersion_weight, reg.anchoring_weight, reg.radius) == (
            "sum", intra, inter, 0.0,
        )  # fmt: skip


def test_the_headline_has_more_seeds_and_every_setting_is_trained():
    counts = committed("paper_settings").groupby(["paradigm", "arm"]).size()
    for (paradigm, setting), count in counts.items():
        assert count == (len(SEEDS) if setting in HEADLINE[paradigm] else len(FEWER))
    assert {setting for _, setting in counts.index} == set(SETTINGS)


def test_gains_have_their_own_number_of_seeds():
    def values(cell, seed, arm, setting):
        gain = (0.03 if cell["paradigm"] == "dgl" else -0.02) * (arm != "none")
        return {COLUMNS["fused"]: 0.5 + seed / 1000 + gain}

    rows = STUDY.gains(frame_of(STUDY, values), COLUMNS["fused"])
    assert rows["mean"].tolist() == pytest.approx([0.03 if p == "dgl" else -0.02 for p in rows["paradigm"]])
    seeds = rows.set_index(["paradigm", "arm"])["seeds"]
    assert seeds["joint", "beta2-tau0.25"] == 20 and seeds["joint", "beta0.1-tau0"] == 10


def test_the_readme_says_how_close_both_forms_are():
    said = paper_settings.forms_in_words(FOLDER, committed("paper_settings"))
    assert said in (RESULTS / "README.md").read_text()


def test_table_and_figures_show_every_row():
    rows = table(committed("paper_settings"))
    assert len(rows) == sum(len(names) - 1 for names in HEADLINE.values())
    assert len(paper_settings.figure(committed("paper_settings")).axes) == 13
    watched = paper_settings.load_watched(FOLDER)
    assert set(watched["arm"]) == {n for names in HEADLINE.values() for n in names[1:]}
    assert (watched["active"].dropna().between(0, 1)).all() and (watched["dose"] > 0).all()
    assert len(paper_settings.watched_figure(watched).axes) == 6
    plots.plt.close("all")


def test_both_forms_of_the_balance_point_nearly_one_way():
    rows = pd.read_csv(FOLDER / FORMS)
    assert set(rows["paradigm"]) == {"joint", "dgl"} and rows["cosine"].between(-1, 1).all()
    assert rows["cosine"].median() > 0.9
