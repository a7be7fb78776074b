"""Gradient blending: weights from what a super-epoch gained and overfitted, and when they change."""

from dataclasses import replace

import pytest
import torch
from paradigm_steps import gradients, setup, stepped
from small_data import clouds, dataset
from torch.nn import functional as F

from geomreg_mini.data import Split
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import g_blending
from geomreg_mini.paradigms.g_blending import GBlending, blend

NAMES = ("fused", "a", "b")


def test_the_published_weights_replayed():
    before = {"fused": (1.0, 1.1), "a": (1.1, 1.2), "b": (1.05, 1.05)}
    after = {"fused": (0.4, 0.8), "a": (0.7, 1.0), "b": (0.2, 0.95)}
    raw = {}
    for k in NAMES:
        (train_0, validation_0), (train_1, validation_1) = before[k], after[k]
        gain = validation_0 - validation_1
        overfit = (validation_1 - train_1) - (validation_0 - train_0)
        raw[k] = gain / overfit**2
    assert blend(before, after) == pytest.approx({k: raw[k] / sum(raw.values()) for k in NAMES})
    # gains 0.3, 0.2, 0.1 and overfittings 0.3, 0.2, 0.75
    assert blend(before, after)["a"] == pytest.approx(5 / (0.3 / 0.09 + 5 + 0.1 / 0.5625))


def test_equal_losses_give_equal_weights():
    assert blend(dict.fromkeys(NAMES, (1.0, 1.0)), dict.fromkeys(NAMES, (0.5, 0.8))) == pytest.approx(
        dict.fromkeys(NAMES, 1 / 3)
    )


def test_no_change_at_all_gives_equal_weights_and_not_zero_by_zero():
    still = dict.fromkeys(NAMES, (1.0, 1.0))
    assert blend(still, still) == pytest.approx(dict.fromkeys(NAMES, 1 / 3))


def test_a_head_that_got_worse_keeps_a_little_weight_and_less_than_one_that_gained():
    before = dict.fromkeys(NAMES, (1.0, 1.0))
    weights = blend(before, {"fused": (0.7, 0.8), "a": (0.7, 0.8), "b": (0.5, 1.5)})
    assert 0 < weights["b"] < 0.01 * weights["a"]
    assert sum(weights.values()) == pytest.approx(1)


def test_everything_that_got_worse_is_told_apart_by_how_much_it_overfitted():
    weights = blend(dict.fromkeys(NAMES, (1.0, 1.0)), {"fused": (0.9, 1.2), "a": (0.9, 1.2), "b": (0.1, 1.2)})
    assert weights["fused"] == weights["a"] > weights["b"] > 0


def test_shrinking_gaps_count_as_growing_ones():
    before = dict.fromkeys(NAMES, (1.0, 1.5))
    weights = blend(before, {"fused": (1.0, 1.2), "a": (0.4, 1.2), "b": (1.0, 1.2)})
    assert weights["fused"] == pytest.approx(weights["a"])


@pytest.mark.parametrize(("fusion", "modalities"), [("concat", 2), ("concat", 3), ("sum", 2)])
def test_gradients_are_those_of_the_weighted_sum(fusion, modalities):
    paradigm, batch = setup("g_blending", fusion, modalities)
    names = ("fused", *"abc"[:modalities])
    assert paradigm.weights == dict.fromkeys(names, 1 / len(names))
    paradigm.weights = {name: 0.1 * (i + 1) for i, name in enumerate(names)}
    output = paradigm.model(batch["inputs"])
    loss = 0.1 * F.cross_entropy(output.logits, batch["label"])
    for i, m in enumerate(names[1:]):
        loss = loss + 0.1 * (i + 2) * F.cross_entropy(output.unimodal_logits[m], batch["label"])
    loss.backward()
    expected = gradients(paradigm.model)
    paradigm.model.zero_grad()
    got, losses = stepped(paradigm, batch)
    torch.testing.assert_close(gradients(paradigm.model), expected)
    assert list(losses) == list(names)


# When


def trained(data, epochs=10, super_epoch=0.3, stop=None):
    torch.manual_seed(0)
    paradigm = GBlending(build_model(data, embedding_dim=5, heads=True), super_epoch=super_epoch)
    history = []
    for epoch in range(1, (stop or epochs) + 1):
        paradigm.start_epoch(epoch, epochs, data)
        history.append(dict(paradigm.weights))
        with torch.no_grad():
            for p in paradigm.model.parameters():
                p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(epoch))
    return paradigm, history


def test_weights_change_at_the_start_of_every_super_epoch_but_the_first():
    _, history = trained(clouds())
    assert history[0] == dict.fromkeys(NAMES, 1 / 3)
    changed = [epoch + 1 for epoch in range(1, 10) if history[epoch] != history[epoch - 1]]
    assert changed == [4, 7, 10]


def test_a_super_epoch_is_at_least_one_epoch():
    _, history = trained(clouds(), super_epoch=0.001, stop=4)
    assert all(history[i] != history[i - 1] for i in range(1, 4))


def test_weights_come_from_losses_on_a_tenth_of_train_and_on_all_of_validation(monkeypatch):
    monkeypatch.setattr(g_blending, "FEWEST", 1)
    data = clouds(size=60)
    (first, _), (paradigm, _) = trained(data, stop=3), trained(data, stop=3)
    sample = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:6]
    expected = {}
    model = first.model.eval()
    for k, logits in losses_by_hand(model, data.train.batch(sample)).items():
        on_validation = losses_by_hand(model, data.validation.batch(torch.arange(60)))[k]
        expected[k] = (logits, on_validation)
    before = paradigm.before
    paradigm.start_epoch(4, 10, data)
    for k in NAMES:
        assert paradigm.before[k] == pytest.approx(expected[k], rel=1e-5)
    assert paradigm.weights == blend(before, paradigm.before)
    assert paradigm.model.training


def losses_by_hand(model, batch):
    output = model(batch["inputs"])
    logits = {"fused": output.logits, **output.unimodal_logits}
    return {k: F.cross_entropy(o, batch["label"]).item() for k, o in logits.items()}


def test_test_samples_have_no_influence():
    data = clouds()
    other = replace(data, test=clouds(seed=9).test)
    assert trained(data)[1] == trained(other)[1]


def test_the_hook_draws_no_random_number():
    data = clouds()
    paradigm, _ = trained(data, stop=1)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    paradigm.start_epoch(4, 10, data)
    assert torch.equal(torch.rand(3), expected)


def test_a_state_taken_up_gives_the_same_weights():
    data = clouds()
    paradigm, _ = trained(data, stop=6)
    other = GBlending(paradigm.model, super_epoch=0.3)
    other.load_state_dict(paradigm.state_dict())
    for p in (paradigm, other):
        p.start_epoch(7, 10, data)
    assert other.weights == paradigm.weights != dict.fromkeys(NAMES, 1 / 3)


def test_one_class_and_a_handful_of_samples_give_finite_weights():
    few = clouds(size=3)
    one = Split(few.train.inputs, torch.zeros(3, dtype=torch.long))
    data = dataset(few.shapes, 1, one, one, one)
    _, history = trained(data)
    assert history[-1] == pytest.approx(dict.fromkeys(NAMES, 1 / 3))
