"""The figures of notebook 01: every panel shows its own samples, and a curve its own quantity."""

import matplotlib.pyplot as plt
import pytest
import torch
from figures.worlds import CURVES, curves, real_geometry, rings

from geomreg_mini.data import load
from geomreg_mini.training import TrainConfig, fit


def titles(fig):
    """In either style: that of the course, which another test may have set, writes them at the left."""
    return [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes]


def test_each_panel_has_its_title_and_only_the_last_a_legend():
    z = {m: torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) for m in "ab"}
    labels = torch.arange(200) % 3
    fig = rings({f"seed {n}": z for n in range(5)} | {"last": z}, [labels] * 6, title="whole", columns=3)
    assert titles(fig) == [*(f"seed {n}" for n in range(5)), "last"]
    assert [ax.get_legend() is not None for ax in fig.axes] == [False] * 5 + [True]
    assert fig.get_suptitle() == "whole"
    plt.close(fig)


def test_a_panel_without_labels_is_an_error():
    with pytest.raises(ValueError, match="argument 3 is shorter"):
        rings({"one": {"a": torch.randn(9, 2)}}, [], columns=1)


def test_histograms_hold_every_value_between_their_ends():
    cosines, distances = {"picture": torch.tensor([[-0.9, 0.9]]), "name": torch.zeros(3)}, torch.ones(5)
    fig = real_geometry(cosines, {"of one emoji": distances, "of two emoji": 2 * distances})
    for ax, names, ends in zip(fig.axes, (["picture", "name"], ["of one emoji", "of two emoji"]),
                               ([-1, 0, 1], [0, 1, 2]), strict=True):  # fmt: skip
        assert [text.get_text() for text in ax.get_legend().get_texts()] == names
        assert ax.get_xticks().tolist() == ends
        for patch in ax.patches:  # outlines of densities
            low, high = patch.get_xy()[:, 0].min(), patch.get_xy()[:, 0].max()
            assert (low, high) == (ends[0], ends[2])
    plt.close(fig)


def test_curves_show_the_validation_history():
    config = TrainConfig(dataset="toy", epochs=2, embedding_dim=2)
    run = fit(config, data=load("toy"), progress=False)
    fig = curves({"one": run}, "title")
    assert titles(fig) == list(CURVES.values())
    known = run.history.query("split == 'validation' and quantity == 'mean_cosine' and modality == 'b'")
    assert list(fig.axes[0].lines[1].get_ydata()) == known["value"].tolist()
    plt.close(fig)
