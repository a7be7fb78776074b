"""Clusters without labels: the arms, the label-free choice, the table."""

from dataclasses import replace

import pytest
from made_up_records import committed, frame_of

from experiments.unlabeled import ARMS, CONFIG, READ, SEEDS, STUDY, figure, summary
from geomreg_mini.training import TrainConfig


def test_arms_have_three_settings_each_and_differ_from_their_baseline_in_the_regularizer_alone():
    def config(fields):
        return TrainConfig(**CONFIG | fields)

    assert {name: len(arm.settings) for name, arm in ARMS.items()} == {
        **dict.fromkeys(("none", "dispersion", "anchoring", "both", "plain_none", "plain_both"), 3),
        "none, slow": 0,
        "untuned": 1,
    }
    for arm, against in STUDY.against.items():
        for setting, fields in ARMS[arm].settings.items():
            with_it = config(fields)
            given = with_it.regularizer.hyperparameters()
            assert (given["dispersion_weight"] > 0) == (arm != "anchoring")
            assert (given["anchoring_weight"] > 0) == (arm != "dispersion")
            rate = {"untuned": "rate-0.01", "plain_both": setting}.get(arm, "rate-0.03")
            without = ARMS[against if ARMS[against].settings else "none"].settings[rate]
            assert replace(with_it, regularizer=None) == config(without)


def test_no_label_picks():
    assert STUDY.selection.startswith("validation/") and "accuracy" not in STUDY.selection


def test_the_table_has_differences_of_what_was_picked_below_each_baseline():
    accuracy = {"rate-0.01": 0.7, "rate-0.1": 0.6, "gentle": 0.9, "tight": 0.8}

    def values(cell, seed, arm, setting):
        value = accuracy.get(setting, 0.1) + (seed - 29.5) / 1000
        return dict.fromkeys((f"test/cluster_accuracy/{name}" for name in READ), value)

    picked = {"none": "rate-0.1", "dispersion": "tight", "anchoring": "tight", "both": "tight"}
    text = summary(frame_of(STUDY, values, picked))
    same = " | ".join(["+20.0 [+20.0, +20.0]"] * 3)
    assert f"| none | 60.0 | 60.0 | 60.0 |\n| + dispersion | {same} |" in text
    assert f"| none, at a third of the rate | 70.0 | 70.0 | 70.0 |\n| + both terms | {same} |" in text
    assert "| none, with a plain head | 70.0 | 70.0 | 70.0 |" in text


def test_the_figure_has_a_point_for_each_seed():
    fig = figure(committed("unlabeled"))
    assert [len(ax.collections[0].get_offsets()) for ax in fig.axes] == [len(SEEDS)] * 3
    for ax in fig.axes:
        assert ax.get_aspect() == pytest.approx(1)
