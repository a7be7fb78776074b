"""Diagnosing & re-learning: purity with a known answer, and what exactly moves back, how far and when."""

import copy
import math
import warnings

import pytest
import torch
from paradigm_steps import setup, stepped
from small_data import clouds, dataset

from geomreg_mini.data import Split
from geomreg_mini.models import build_model
from geomreg_mini.paradigms.relearn import DiagnoseRelearn, purity


def blobs(size=30, classes=3, apart=50.0, seed=0):
    labels = torch.arange(size) % classes
    z = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed))
    z += apart * labels[:, None]
    return z, labels


# Purity


def test_separate_classes_have_purity_one():
    assert purity(*blobs()) == 1


def test_purity_is_the_share_of_the_majority_of_each_cluster():
    z, _ = blobs()
    # clusters of 10; the labels of one are split 6 : 4, of another 9 : 1
    cluster = torch.arange(30) % 3
    labels = cluster.clone()
    labels[cluster.eq(0).nonzero().flatten()[:4]] = 1
    labels[cluster.eq(2).nonzero().flatten()[:1]] = 0
    assert purity(z, labels) == pytest.approx((6 + 10 + 9) / 30)


def test_purity_does_not_depend_on_the_scale_or_offset_of_a_component():
    z, labels = blobs(apart=3.0)
    scale, offset = torch.tensor([1.0, 1e4, 1e-3, 7.0]), torch.tensor([5.0, -3.0, 0.0, 100.0])
    assert purity(z * scale + offset, labels) == purity(z, labels)


def test_collapsed_embeddings_have_the_share_of_the_largest_class_and_no_warning():
    labels = torch.tensor([0, 0, 0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert purity(torch.ones(5, 4), labels) == pytest.approx(0.6)
        assert purity(torch.ones(1, 4), torch.tensor([2])) == 1
        assert purity(torch.randn(6, 4), torch.ones(6, dtype=torch.long)) == 1


def test_embeddings_that_are_not_finite_are_left_for_the_loss_to_report():
    z, labels = blobs()
    z[3] = float("nan")
    assert 0 < purity(z, labels) <= 1


# What moves


def trained(modalities=2, **options):
    """The paradigm with every parameter and buffer away from its start; and the model as it was then."""
    data = clouds(modalities)
    torch.manual_seed(0)
    model = build_model(data, embedding_dim=5, encoder="mlp")
    for m in data.modalities:
        model.encoders[m].last.append(torch.nn.BatchNorm1d(5))
    paradigm = DiagnoseRelearn(model, **options)
    initial = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            tensor += torch.rand(tensor.shape)
    return paradigm, initial, data


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_published_update_rule_replayed(modalities):
    paradigm, initial, _ = trained(modalities, strength=3.0)
    current = copy.deepcopy(paradigm.model.state_dict())
    start, gaps = initial.state_dict(), {"a": 0.3, "b": 0.05, "c": 0.0}
    paradigm.relearn({m: gaps[m] for m in "abc"[:modalities]})
    moved = 0
    for name, value in paradigm.model.state_dict().items():
        m = name.split(".")[1]
        if name.startswith("encoders") and "running" not in name and "num_batches" not in name:
            alpha = math.tanh(3.0 * gaps[m])
            torch.testing.assert_close(value, (1 - alpha) * current[name] + alpha * start[name])
            moved += not torch.equal(value, current[name])
        else:  # the fusion, and the statistics of normalization
            assert torch.equal(value, current[name]), name
    parameters = len(list(paradigm.model.encoders["a"].parameters()))
    assert moved == 2 * parameters  # c has no gap


def test_a_full_gap_goes_nearly_all_the_way_and_none_nowhere():
    paradigm, initial, _ = trained(strength=20.0)
    paradigm.relearn({"a": 1.0, "b": 0.0})
    for p, first in zip(
        paradigm.model.encoders["a"].parameters(), initial.encoders["a"].parameters(), strict=True
    ):
        torch.testing.assert_close(p, first)


def test_the_optimizer_keeps_its_momentum_and_its_parameters():
    paradigm, _, data = trained()
    optimizer = torch.optim.SGD(paradigm.model.parameters(), 0.1, momentum=0.9)
    stepped(paradigm, data.train.batch(torch.arange(24)))
    optimizer.step()
    parameters = list(paradigm.model.parameters())
    before = [optimizer.state[p]["momentum_buffer"].clone() for p in parameters]
    paradigm.relearn({"a": 0.5, "b": 0.5})
    assert all(p is q for p, q in zip(paradigm.model.parameters(), parameters, strict=True))
    for p, momentum in zip(parameters, before, strict=True):
        assert torch.equal(optimizer.state[p]["momentum_buffer"], momentum)


# The diagnosis


def test_an_encoder_that_separates_only_what_it_has_seen_has_the_larger_gap():
    z, labels = blobs(60)
    noise, _ = blobs(60, apart=0.0, seed=1)
    train = Split({"a": z, "b": z}, labels)
    unseen = Split({"a": noise, "b": z}, labels)
    data = dataset({"a": (4,), "b": (4,)}, 3, train, unseen, unseen)
    paradigm = DiagnoseRelearn(build_model(data, embedding_dim=4))
    for m in "ab":
        paradigm.model.encoders[m] = torch.nn.Identity()
    gaps = paradigm.diagnose(data)
    assert gaps["b"] == 0
    assert gaps["a"] == pytest.approx(1 - purity(noise, labels))
    assert gaps["a"] > 0.3


def test_both_purities_are_of_equally_many_samples():
    data = clouds(size=48)
    data = dataset(data.shapes, 3, data.train, data.validation.subset(torch.arange(12)), data.test)
    paradigm = DiagnoseRelearn(build_model(data, embedding_dim=4))
    sizes = []
    paradigm.model.encode = lambda inputs, encode=paradigm.model.encode: (
        sizes.append(len(inputs["a"])) or encode(inputs)
    )
    paradigm.diagnose(data)
    assert sizes == [12, 12]


# When


def moments(epochs, **options):
    paradigm, _, data = trained(**options)
    seen = []
    paradigm.diagnose = lambda data: {}
    paradigm.relearn = lambda gaps: seen.append(epoch)
    for epoch in range(1, epochs + 1):
        paradigm.start_epoch(epoch, epochs, data)
    return seen


def test_by_default_after_20_40_and_60_of_90_epochs():
    assert moments(90) == [21, 41, 61]


@pytest.mark.parametrize(
    ("epochs", "options", "expected"),
    [
        (12, {}, [3, 5, 7]),
        (4, {}, [2, 3, 4]),
        (1, {}, []),
        (10, {"every": 0.5, "times": 3}, [6]),
        (10, {"every": 0.2, "times": 1}, [3]),
        (10, {"times": 0}, []),
    ],
)
def test_every_part_of_training_and_not_more_often_than_told(epochs, options, expected):
    assert moments(epochs, **options) == expected


def test_the_hook_leaves_the_generator_and_training_mode_as_they_were():
    paradigm, _, data = trained()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    paradigm.start_epoch(3, 10, data)
    assert torch.equal(torch.rand(3), expected)
    assert paradigm.model.training


# State


def test_a_state_taken_up_goes_back_to_the_first_start():
    paradigm, _, _ = trained()
    other = DiagnoseRelearn(copy.deepcopy(paradigm.model))  # made in the middle, as by a resumed run
    other.load_state_dict(paradigm.state_dict())
    for p in (paradigm, other):
        p.relearn({"a": 0.2, "b": 0.4})
    torch.testing.assert_close(other.model.state_dict(), paradigm.model.state_dict(), rtol=0, atol=0)


def test_between_diagnoses_it_is_joint_training():
    (joint, batch), (paradigm, _) = setup("joint"), setup("diagnose_relearn")
    expected, got = stepped(joint, batch)[0], stepped(paradigm, batch)[0]
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
