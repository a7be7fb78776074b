"""The regime map: its cells, and what an arm may choose from."""

from made_up_records import frame_of

from experiments.regimes import BASELINES, CONTROLLED, CONTROLS, REGIMES, REGULARIZERS, STUDY, regime, summary


def test_the_map_has_every_cell_once_under_its_own_name():
    names = [cell.columns["regime"] for cell in REGIMES]
    assert len(set(names)) == len(names) == 24
    assert regime("official", 300, 0.4, "joint").columns["regime"] == "official-300-noise0.4-joint"
    assert "unseen_speakers-all-noise1.2-dgl" in names


def test_few_labels_get_more_epochs():
    few, every = (regime("official", labels, 0.4, "joint").config for labels in (300, None))
    assert few["epochs"] > every["epochs"] and few["dataset_options"]["labels"] == 300


def test_no_regularizer_is_not_among_the_regularizers():
    assert all(w["dispersion_weight"] + w["anchoring_weight"] > 0 for w in REGULARIZERS.values())


def test_the_control_chooses_among_the_baselines_and_four_more():
    for cell in REGIMES:
        assert ("control" in cell.arms) == (cell.columns["regime"] in CONTROLLED)
        if "control" in cell.arms:
            arm = cell.arms["control"]
            assert [setting for _, setting in arm.shares] == list(BASELINES)
            assert list(arm.settings) == list(CONTROLS) and not set(CONTROLS) & set(BASELINES)


def test_the_summary_counts_regimes_on_each_side_of_zero():
    def values(cell, seed, arm, setting):
        gain = {0.4: 0.1, 0.8: 0.0, 1.2: -0.04}[cell["image_noise"]] * (arm == "regularized")
        return dict.fromkeys((f"test/accuracy/{m}" for m in ("fused", "audio", "image")), 0.5 + gain)

    line = summary(frame_of(STUDY, values)).split("\n")[2]
    assert line == "| fused | 8 / 8 / 8 | +2.0 [+2.0, +2.0] | +2.0 [+2.0, +2.0] |"
