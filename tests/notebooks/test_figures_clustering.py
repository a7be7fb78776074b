"""Figures and tables of notebook 12 show the pictures and numbers that they are given."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from figures.clustering import (
    ARMS,
    clusters_of,
    matched,
    members,
    picked_epochs,
    pictures,
    sentence,
    table,
)
from figures.epochs import over_epochs
from small_data import birds

from geomreg_mini import plots
from geomreg_mini.benchmarks.clustering_metrics import cluster_accuracy

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def style():
    plots.use_style()


def test_what_stands_under_the_best_naming_is_what_accuracy_counts():
    generator = torch.Generator().manual_seed(0)
    for clusters in (3, 5, 8):
        labels = torch.arange(60) % 5
        found = torch.where(
            torch.rand(60, generator=generator) < 0.7,
            (labels * 3) % clusters,
            torch.randint(clusters, (60,), generator=generator),
        )
        counts, numbers = matched(labels, found)
        assert counts.sum() == 60 and sorted(numbers) == found.unique().tolist()
        for k, number in enumerate(numbers):
            assert counts[:, k].tolist() == [int(((labels == c) & (found == number)).sum()) for c in range(5)]
        if clusters >= 5:
            assert np.trace(counts) / 60 == pytest.approx(cluster_accuracy(labels, found))


def test_a_table_names_classes_and_clusters():
    fig = table(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([7, 7, 2, 2, 7]), ["a", "b"], title="t")
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["7", "2"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert sorted(text.get_text() for text in ax.texts) == ["0", "1", "2", "2"]


def as_stored(data):
    """With bytes and words, as CUBICC has them, and three pairs of each picture."""
    photo = torch.arange(len(data.train)) // 3

    def split(part):
        image = (255 * part.inputs["image"]).byte()[3 * photo]
        return replace(part, inputs={**part.inputs, "image": image}, factors={"photo": photo})

    words = ("<exc>", "<pad>", "<eos>", *(f"word{i}" for i in range(3, data.vocabulary)))
    return replace(data, train=split(data.train), test=split(data.test), words=words)


def test_pictures_have_their_class_above_and_their_sentence_below():
    data = as_stored(birds(classes=4))
    fig = pictures(data, [0, 5, 9], columns=3)
    for ax, row in zip(fig.axes, (0, 5, 9), strict=True):
        assert ax.get_title(loc="left") == data.class_names[data.train.labels[row]]
        said = sentence(data.words, data.train.inputs["caption"][row])
        assert " ".join(ax.get_xlabel().split()) == said
        shown = torch.from_numpy(np.array(ax.images[0].get_array())).permute(2, 0, 1)
        assert torch.equal(shown, data.train.inputs["image"][row])


def test_a_picture_of_a_cluster_is_shown_once_and_beside_no_other_clusters():
    data = as_stored(birds())
    clusters = torch.arange(48) // 3 % 4  # four pictures in each, three pairs of each picture
    fig = members(data.test, clusters, count=3)
    lines = [fig.axes[i : i + 3] for i in range(0, 12, 3)]
    assert [line[0].get_ylabel() for line in lines] == ["0", "1", "2", "3"]
    for number, line in enumerate(lines):
        assert sum(len(ax.images) for ax in line) == 3
        own = data.test.inputs["image"][clusters == number]
        for ax in line:
            shown = torch.from_numpy(np.array(ax.images[0].get_array())).permute(2, 0, 1)
            assert (own == shown).flatten(1).all(dim=1).sum() == 3


def histories() -> pd.DataFrame:
    """Two arms, two seeds, three epochs, in the form of ``benchmarks.load_histories``."""
    information, accuracy = [0.1, 0.9, 0.5], [0.4, 0.5, 0.6]
    rows = []
    for arm in ("baseline", "regularized"):
        for seed in (0, 1):
            for k, (i, a) in enumerate(zip(information, accuracy, strict=True)):
                shift = 0.1 * seed
                rows.append((k + 1, "validation", "mutual_information", "both", i + shift, arm, seed))
                rows.append((k + 1, "validation", "cluster_accuracy", "joint", a + shift, arm, seed))
                rows.append((k + 1, "validation", "cluster_accuracy", "image", 0.99, arm, seed))
                rows.append((k + 1, "train", "cluster_accuracy", "joint", 0.99, arm, seed))
    return pd.DataFrame(rows, columns=["epoch", "split", "quantity", "modality", "value", "arm", "seed"])


@pytest.mark.filterwarnings("error")
def test_epochs_picked_by_information_by_labels_and_the_last_are_told_apart():
    found = picked_epochs(histories().sample(frac=1, random_state=0))
    assert found.index.tolist() == [(arm, s) for arm in ("baseline", "regularized") for s in (0, 1)]
    for (_, seed), row in found.iterrows():
        assert row.tolist() == pytest.approx([50 + 10 * seed, 60 + 10 * seed, 60 + 10 * seed])
    falling = histories().replace({"value": {0.6: 0.2}})
    row = picked_epochs(falling).loc[("baseline", 0)]
    assert row.tolist() == pytest.approx([50, 20, 50])


def test_curves_over_epochs_are_named_as_asked():
    fig = over_epochs(histories(), {"mutual_information": "nats"}, ARMS)
    assert [text.get_text() for text in fig.legends[0].texts] == ["baseline", "+ both terms"]


def test_clusters_of_paired_embeddings_are_those_of_their_mean_direction():
    labels = torch.arange(40) % 4
    directions = torch.eye(8)[labels]
    z = {"image": 5 * directions + 0.01 * torch.randn(40, 8), "caption": 0.1 * torch.eye(8)[labels + 4]}
    assert cluster_accuracy(labels, clusters_of(z, 4)) == 1
