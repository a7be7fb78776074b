"""Figures of the benchmarks: what is drawn is what was measured."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from figures import audiovisual as figures
from figures.epochs import over_epochs

from data_scripts import stand_ins
from geomreg_mini import plots
from geomreg_mini.data import load
from geomreg_mini.geometry import cosine_contrast, retrieval_recall


@pytest.fixture(autouse=True)
def style_of_the_course():
    with plt.rc_context():  # titles are on the left there, whatever other tests have set
        plots.use_style()
        yield
    plt.close("all")


def pair(seed: int, alike: float, n: int = 120):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, 8, generator=generator)
    return a, alike * a + b


def history(arms=("baseline", "regularized"), seeds=(0, 1)):
    """Effective rank 10 * arm + seed + modality of epoch 1 and one more in epoch 2."""
    return pd.DataFrame(
        {
            "arm": arm, "seed": seed, "epoch": epoch, "split": "validation", "quantity": "effective_rank",
            "modality": m, "value": 10.0 * i + seed + j + epoch,
        }
        for i, arm in enumerate(arms) for seed in seeds for epoch in (1, 2) for j, m in enumerate("ab")
    )  # fmt: skip


def test_a_line_over_epochs_is_the_mean_over_seeds_and_modalities_and_the_band_the_range_over_seeds():
    fig = over_epochs(history(), {"effective_rank": "rank"})
    (ax,) = fig.axes
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines() if len(line.get_xdata()) == 2}
    drawn = [values.tolist() for values in lines.values()]
    assert drawn == [[2.0, 3.0], [12.0, 13.0]]  # mean over seeds 0, 1 and modalities 0, 1: + 1
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(1.5) and band[:, 1].max() == pytest.approx(3.5)
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["DGL", "DGL + both terms"]


def test_arms_keep_their_order_and_none_is_drawn_that_is_not_there():
    fig = over_epochs(history(("anchoring", "dispersion")), {"effective_rank": "rank"})
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["DGL + dispersion", "DGL + anchoring"]


def test_similarity_writes_the_contrast_of_what_it_draws_and_shares_its_bins():
    embeddings = {"one": pair(0, 0.0), "two": pair(1, 2.0)}
    fig = figures.similarity(embeddings)
    for ax, (name, (a, b)) in zip(fig.axes, embeddings.items(), strict=True):
        title = ax.get_title(loc="left")
        assert title.startswith(name) and f"{cosine_contrast(a, b):+.4f}" in title
    edges = [ax.patches[0].get_xy()[0] for ax in fig.axes]
    assert edges[0] == pytest.approx(edges[1])
    areas = [sum(p.get_height() * p.get_width() for p in fig.axes[0].patches[:40])]
    assert areas[0] == pytest.approx(1, abs=1e-6), "a density"


def test_the_retrieval_curve_is_r_at_k_of_both_directions_and_chance_is_the_diagonal():
    embeddings = {"one": pair(0, 1.0), "two": pair(1, 0.0)}
    ax = figures.retrieval(embeddings).axes[0]
    for line, (a, b) in zip(ax.get_lines(), embeddings.values(), strict=False):
        for k in (1, 10, 100):
            both = (retrieval_recall(a, b, k=k) + retrieval_recall(b, a, k=k)) / 2
            assert line.get_ydata()[k - 1] == pytest.approx(100 * both)
    chance = ax.get_lines()[2]
    assert chance.get_label() == "chance" and np.allclose(chance.get_ydata(), np.arange(1, 121) / 1.2)


def test_curves_over_different_numbers_of_clips_are_refused():
    with pytest.raises(ValueError, match=r"\[60, 120\] samples"):
        figures.retrieval({"one": pair(0, 1.0), "two": pair(0, 1.0, n=60)})


def test_robustness_draws_the_clean_the_noisy_and_the_missing_input_in_this_order():
    row = {"paradigm": "dgl", "seed": 0, "test/accuracy/fused": 0.9, "test/accuracy_missing/a": 0.2}
    row |= {"test/accuracy_corrupted_2.0/a": 0.4, "test/accuracy_corrupted_0.5/a": 0.8}
    runs = pd.DataFrame([{**row, "arm": "baseline"}, {**row, "arm": "regularized", "seed": 1}])
    runs.loc[2] = {**row, "arm": "baseline", "test/accuracy/fused": 0.7}
    runs.loc[3] = {**row, "arm": "baseline", "paradigm": "joint", "test/accuracy/fused": 0.0}
    (ax,) = figures.robustness(runs, ["a"]).axes
    assert ax.get_lines()[0].get_ydata() == pytest.approx([80, 80, 40, 20])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["none", "0.5", "2.0", "missing"]


# clips ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("av")
    root = tmp_path_factory.mktemp("data")
    stand_ins.prepare("crema_d", root)
    return root


@pytest.fixture
def data(folder, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(folder))
    return load("crema_d", source="stand_in")


def test_clips_are_drawn_with_their_own_frame_and_class(data):
    rows = [int((data.train.labels == label).nonzero()[0]) for label in (2, 5)]
    axes = figures.clips(data, rows).axes
    assert [ax.get_title(loc="left") for ax in axes[:2]] == ["sad", "anger"]
    clip = int(data.train.factors["clip"][rows[1]])
    drawn = axes[1].get_images()[0].get_array()
    kept = data.train.cache.frames[data.train.cache.first[clip] : data.train.cache.first[clip + 1]]
    assert any(np.array_equal(drawn, frame) for frame in kept)
    low, high = axes[2].get_images()[0].get_clim()
    assert high - low == pytest.approx(figures.RANGE)


def test_listening_gives_a_small_player_and_one_sentence_where_the_file_is_gone(data, monkeypatch, capsys):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    figures.listen(data, [0, 3])
    assert len(shown) == 2 and all(len(player._repr_html_()) < 40_000 for player in shown)
    name = data.class_names[int(data.train.labels[0])]
    assert capsys.readouterr().out.startswith(f"{name}\n")
    object.__setattr__(data.train.cache, "source", "nowhere")
    figures.listen(data, [0])
    assert len(shown) == 2
    said = capsys.readouterr().out
    assert said.startswith("Nothing to hear: ") and said.endswith("wav is missing.\n")
