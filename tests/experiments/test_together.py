"""Runs side by side: the records of single runs, one that diverges, and what is looked at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_data import dataset

from experiments.together import fit_together
from geomreg_mini import GeometryRegularizer
from geomreg_mini.controls import BarlowTwins, UnitSphere
from geomreg_mini.data import Split
from geomreg_mini.training import TrainConfig, fit

REGULARIZERS = [
    None,
    GeometryRegularizer(balance="pareto", strength=1.0, radius=0.5),
    GeometryRegularizer(1.0, 8.0, radius=0.9),
    BarlowTwins(0.01),
    UnitSphere(),
]


class Unseen(Split):
    def batch(self, index):
        raise AssertionError("the test split was looked at")


def pictures(seed, kind=Split):
    """Three classes as stripes in two noisy pictures."""
    generator, splits = np.random.default_rng(seed), {}
    for name, count in {"train": 72, "validation": 30, "test": 30}.items():
        labels = torch.from_numpy(generator.integers(0, 3, count))
        inputs = {}
        for m, side in {"left": 16, "right": 12}.items():
            noise = torch.from_numpy(generator.normal(0, 1, (count, 1, side, side)).astype(np.float32))
            stripes = torch.sin(torch.arange(side) * (1.0 + labels[:, None]))
            inputs[m] = noise + stripes[:, None, None, :]
        splits[name] = (kind if name == "test" else Split)(inputs, labels)
    return dataset({"left": (1, 16, 16), "right": (1, 12, 12)}, 3, **splits)


def config(**changes):
    common = {"epochs": 2, "evaluate_every": 2, "batch_size": 24, "encoder_options": {"width": 4},
              "monitor": True, "learning_rate": 0.01}  # fmt: skip
    return TrainConfig("toy", **common | changes)


@pytest.mark.parametrize("seed", [0, 1])
def test_records_are_those_of_single_runs_up_to_rounding(seed):
    data, paradigms = pictures(seed), ("joint", "uniform_sum", "dgl")
    configs = [
        config(paradigm=paradigms[(k + seed) % 3], regularizer=r, learning_rate=0.005 * (1 + k),
               weight_decay=0.01 * k, seed=seed)
        for k, r in enumerate(REGULARIZERS)
    ]  # fmt: skip
    for side_by_side, own in zip(fit_together(configs, data), configs, strict=True):
        single = fit(own, data=data, device="cpu", progress=False)
        quantities = {name for name in single.metrics if "accuracy/" in name or "mean_cosine" in name}
        quantities -= {name for name in single.metrics if name.startswith("train/")}
        quantities |= {f"test/{name}" for name in ("knn_probe/left", "paired_drift/left-right")}
        if "test/band_violation/left-right" in single.metrics:
            quantities |= {"test/band_violation/left-right"}
        assert quantities <= set(side_by_side.metrics)
        for name in quantities | set(side_by_side.metrics) & set(single.metrics):
            assert side_by_side.metrics[name] == pytest.approx(single.metrics[name], abs=1e-3), name
        kinds = ("train/dose", "train/active", "train/alpha")
        watched = {name for name in single.series if name.startswith(kinds)}
        assert watched == set(side_by_side.series) - {"epoch"}
        for name in watched:  # the single run keeps those of evaluated epochs, here the last
            assert side_by_side.series[name][-1] == pytest.approx(single.series[name][-1], rel=1e-3), name
        assert (side_by_side.config, side_by_side.seed) == (single.config, single.seed)
        assert side_by_side.data_fingerprint == single.data_fingerprint


def test_a_run_that_diverges_leaves_the_others_alone():
    data, rates = pictures(0), (0.01, 1e12, 0.02)
    with_it = fit_together([config(learning_rate=rate, epochs=3) for rate in rates], data)
    without = fit_together([config(learning_rate=rate, epochs=3) for rate in rates[::2]], data)
    assert with_it[1].metrics == {"validation/accuracy/fused": 0.0}
    assert with_it[1].data_note.startswith("diverged: ")
    for one, other in zip(with_it[::2], without, strict=True):
        assert one.metrics == pytest.approx(other.metrics, abs=1e-3) and not one.data_note


def test_in_development_nothing_of_the_test_split_is_looked_at():
    data = pictures(0, Unseen)
    (record,) = fit_together([config()], data, test=False)
    assert "validation/accuracy/fused" in record.metrics
    assert not [name for name in record.metrics if name.startswith("test/")]
    with pytest.raises(AssertionError, match="looked at"):
        fit_together([config()], data)


def test_a_stack_has_one_seed_and_one_length():
    for other in ({"seed": 1}, {"epochs": 3}, {"batch_size": 12}):
        with pytest.raises(ValueError, match="one by one"):
            fit_together([config(), replace(config(), **other)], pictures(0))


def test_generators_are_restored():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit_together([config(epochs=1)], pictures(0), test=False)
    assert torch.equal(torch.rand(1), expected)
