"""The toy data: its factors are what they say, and each option does what its name says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomreg_mini.data import load


def probe(train_x, train_y, test_x, test_y) -> float:
    """Test accuracy of a ridge classifier: enough for factors whose classes are separated linearly."""
    design = torch.cat([train_x, torch.ones(len(train_x), 1)], dim=1).double()
    targets = torch.nn.functional.one_hot(train_y).double()
    weights = torch.linalg.solve(design.T @ design + 1e-3 * torch.eye(design.shape[1]), design.T @ targets)
    scores = torch.cat([test_x, torch.ones(len(test_x), 1)], dim=1).double() @ weights
    return (scores.argmax(dim=1) == test_y).double().mean().item()


def factor_accuracy(data, *names) -> float:
    stack = [torch.cat([split.factors[name] for name in names], dim=1) for split in (data.train, data.test)]
    return probe(stack[0], data.train.labels, stack[1], data.test.labels)


def input_accuracy(data, *modalities) -> float:
    stack = [torch.cat([split.inputs[m] for m in modalities], dim=1) for split in (data.train, data.test)]
    return probe(stack[0], data.train.labels, stack[1], data.test.labels)


def test_shapes_and_types_are_those_of_the_contract():
    data = load("toy", num_classes=5, train_size=31, validation_size=17, test_size=23, input_dim=40)
    assert data.modalities == ("a", "b") and data.num_classes == 5 and data.shapes == {"a": (40,), "b": (40,)}
    for split, size in [(data.train, 31), (data.validation, 17), (data.test, 23)]:
        assert len(split) == size and split.labels.dtype == torch.int64
        for m in data.modalities:
            assert split.inputs[m].shape == (size, 40) and split.inputs[m].dtype == torch.float32
        assert split.factors["shared"].shape == (size, 4)
        assert set(split.factors) == {"shared", "private_a", "private_b", "nuisance_a", "nuisance_b"}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), num_classes=st.integers(2, 12))
def test_the_seed_alone_decides_and_classes_are_balanced(seed, num_classes):
    options = {"num_classes": num_classes, "train_size": 61, "validation_size": 20, "test_size": 20}
    one, two, other = (load("toy", seed=s, **options) for s in (seed, seed, seed + 1))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert torch.equal(one.train.inputs["b"], two.train.inputs["b"])
    counts = one.train.labels.bincount(minlength=num_classes)
    assert counts.max() - counts.min() <= 1


def test_without_a_private_share_the_shared_factor_tells_the_class_and_the_others_tell_nothing():
    data = load("toy", train_size=1000)
    assert factor_accuracy(data, "shared") > 0.95
    for name in ("private_a", "private_b", "nuisance_a", "nuisance_b"):
        assert abs(factor_accuracy(data, name) - 0.25) < 0.06


def test_with_a_private_share_of_one_each_modality_knows_half_and_both_know_all():
    data = load("toy", train_size=1000, private_share=1.0)
    assert abs(factor_accuracy(data, "shared") - 0.25) < 0.06
    for m in data.modalities:
        assert abs(factor_accuracy(data, f"private_{m}") - 0.5) < 0.06
        assert input_accuracy(data, m) < 0.6
    assert factor_accuracy(data, "private_a", "private_b") > 0.95


def test_two_views_share_their_shared_factor_and_nothing_else():
    factors = load("toy", test_size=4000, separation=0.0).test.factors
    names = ["shared", "private_a", "private_b", "nuisance_a", "nuisance_b"]
    correlation = torch.corrcoef(torch.cat([factors[n] for n in names], dim=1).T)
    assert (correlation - torch.eye(len(correlation))).abs().max() < 0.08


def test_imbalance_weakens_b_only():
    worlds = [load("toy", imbalance=i, noise=0.5) for i in (0.0, 0.7, 1.0)]
    a, b = ([input_accuracy(data, m) for data in worlds] for m in "ab")
    assert a[0] == a[1] == a[2] > 0.8
    assert b[0] > b[1] + 0.1 and b[1] > b[2] + 0.1 and abs(b[2] - 0.25) < 0.06


def test_nuisance_and_noise_of_one_modality_leave_the_other_alone():
    plain = load("toy")
    loud = load("toy", nuisance={"a": 1.0, "b": 3.0}, noise={"a": 0.1, "b": 0.5})
    assert torch.equal(plain.test.inputs["a"], loud.test.inputs["a"])
    assert loud.test.factors["nuisance_b"].std() > 2.5 * plain.test.factors["nuisance_b"].std()
    assert input_accuracy(loud, "b") < input_accuracy(plain, "b") - 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": 1}, "num_classes=1"),
        ({"private_share": 1.5}, "private_share must be in .0, 1., got 1.5"),
        ({"imbalance": -0.1}, "imbalance must be in .0, 1., got -0.1"),
        ({"separation": float("nan")}, "separation must be .*, got nan"),
        ({"noise": {"a": 0.1}}, "noise has the modalities"),
        ({"nuisance": -1.0}, "nuisance of modality a must be .*, got -1.0"),
        ({"input_dim": 10}, "input_dim=10: give a whole number of at least 16"),
        ({"train_size": 0}, "train_size=0"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, words):
    with pytest.raises(ValueError, match=words):
        load("toy", **options)
