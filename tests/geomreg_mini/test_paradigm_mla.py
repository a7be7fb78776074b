"""MLA: one update a modality, a projected head, and a prediction weighed by certainty."""

import copy

import pytest
import torch
from paradigm_steps import D, geometry_loss, gradients, setup
from torch.nn import functional as F


def mla(modalities=2, **options):
    return setup("mla", "shared", modalities, **options)


def test_only_one_head_for_all_modalities_defines_it():
    with pytest.raises(ValueError, match="not one and the same for every modality: use 'shared'"):
        setup("mla", "concat")


def train(paradigm, batches, rate=0.1, geometry=None):
    """The loop's part: a plain gradient step after each update."""
    losses = []
    for batch in batches:
        for update in paradigm.updates(batch, geometry, torch.Tensor.backward):
            losses.append(update)
            with torch.no_grad():
                for p in paradigm.model.parameters():
                    if p.grad is not None:
                        p -= rate * p.grad
            paradigm.model.zero_grad(set_to_none=True)
    return losses


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_published_update_rule_replayed(modalities):
    paradigm, batch = mla(modalities)
    model = copy.deepcopy(paradigm.model)
    halves = [
        {"inputs": {m: x[part] for m, x in batch["inputs"].items()}, "label": batch["label"][part]}
        for part in (slice(0, 12), slice(12, 24))
    ]
    head, projector, first = model.fusion.linear, torch.eye(D).double(), True
    for number, half in enumerate(halves):
        damping = 0.1 ** (12 * number / 48 + 1)  # an epoch has 48 samples
        z = {m: encoder(half["inputs"][m]) for m, encoder in model.encoders.items()}
        for m, encoder in model.encoders.items():
            parameters = list(encoder.parameters())
            loss = F.cross_entropy(z[m] @ head.weight.T + head.bias, half["label"])
            *own, weight, bias = torch.autograd.grad(loss, [*parameters, head.weight, head.bias])
            if not first:
                r = z[m].detach().mean(dim=0)[:, None]
                projector = projector - projector @ r @ r.T @ projector / (damping + r.T @ projector @ r)
                projector = projector / (projector**2).sum() ** 0.5
                weight = weight @ projector.T
            first = False
            with torch.no_grad():
                for p, g in zip([*parameters, head.weight, head.bias], [*own, weight, bias], strict=True):
                    p -= 0.1 * g
    train(paradigm, halves)
    torch.testing.assert_close(paradigm.projector, projector)
    torch.testing.assert_close(dict(paradigm.model.named_parameters()), dict(model.named_parameters()))


def test_an_update_trains_one_encoder_and_the_head():
    paradigm, batch = mla(3)
    trained = []
    for _ in paradigm.updates(batch, None, torch.Tensor.backward):
        trained.append({name.split(".")[0] for name in gradients(paradigm.model.encoders)})
        assert set(gradients(paradigm.model.fusion)) == {"linear.weight", "linear.bias"}
        paradigm.model.zero_grad()
    assert trained == [{"a"}, {"b"}, {"c"}]


def test_the_projector_stays_symmetric_positive_and_of_norm_one():
    torch.manual_seed(0)
    paradigm, _ = mla()
    for _ in range(200):
        paradigm.model.fusion.linear.weight.grad = torch.ones(3, D).double()
        paradigm.project(torch.randn(D).double() + 2)
    p = paradigm.projector
    assert torch.equal(p, p.T)
    assert torch.linalg.eigvalsh(p).min() > -1e-12
    assert p.norm() == pytest.approx(1)


def test_gradients_along_features_seen_before_are_removed_and_others_are_not():
    paradigm, _ = mla()
    weight = paradigm.model.fusion.linear.weight
    known, new = torch.eye(D).double()[:2]
    for _ in range(4):
        weight.grad = torch.zeros_like(weight)
        paradigm.project(10 * known)
    weight.grad = torch.outer(torch.ones(3).double(), known + new)
    paradigm.project(10 * known)
    along = weight.grad @ torch.stack([known, new], dim=1)
    assert along[:, 0].abs().max() < 1e-3 * along[:, 1].abs().min()
    torch.testing.assert_close(along[:, 1], torch.full((3,), (D - 1) ** -0.5).double())


def test_the_first_update_of_all_and_every_bias_are_not_projected():
    paradigm, batch = mla()
    plain = F.cross_entropy(
        paradigm.model.fusion({"a": paradigm.model.encode(batch["inputs"])["a"]}), batch["label"]
    )
    head = paradigm.model.fusion.linear
    weight, bias = torch.autograd.grad(plain, [head.weight, head.bias])
    updates = paradigm.updates(batch, None, torch.Tensor.backward)
    next(updates)
    torch.testing.assert_close(head.weight.grad, weight)
    torch.testing.assert_close(head.bias.grad, bias)
    paradigm.model.zero_grad()
    z = paradigm.model.encode(batch["inputs"])["b"]
    weight, bias = torch.autograd.grad(
        F.cross_entropy(paradigm.model.fusion({"b": z}), batch["label"]), [head.weight, head.bias]
    )
    next(updates)
    torch.testing.assert_close(head.bias.grad, bias)
    torch.testing.assert_close(head.weight.grad, weight @ paradigm.projector)
    assert not torch.allclose(head.weight.grad, weight)


def test_without_the_projection_an_update_is_plain_alternation():
    paradigm, batch = mla(project=False)
    model = copy.deepcopy(paradigm.model)
    z = {m: encoder(batch["inputs"][m]) for m, encoder in model.encoders.items()}
    for m in z:
        loss = F.cross_entropy(model.fusion.linear(z[m]), batch["label"])
        parameters = [*model.encoders[m].parameters(), *model.fusion.parameters()]
        # as in the method, embeddings are those from before the batch's first update, the head is not
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.data -= 0.1 * g
    train(paradigm, [batch])
    torch.testing.assert_close(dict(paradigm.model.named_parameters()), dict(model.named_parameters()))


def test_the_projection_is_the_default_whatever_the_head_is_called():
    paradigm, batch = mla()
    train(paradigm, [batch])
    assert not torch.equal(paradigm.projector, torch.eye(D).double())


def test_features_of_zero_leave_the_direction_of_every_gradient():
    paradigm, _ = mla()
    paradigm.started = True
    weight = paradigm.model.fusion.linear.weight
    weight.grad = torch.ones_like(weight)
    paradigm.project(torch.zeros(D).double())
    torch.testing.assert_close(weight.grad, torch.ones_like(weight) / D**0.5)


def test_geometry_appears_once_a_batch_and_reaches_each_encoder_in_its_update():
    paradigm, batch = mla(3)
    calls = []

    def geometry(z):
        calls.append(set(z))
        return geometry_loss(z)

    losses = train(paradigm, [batch], geometry=geometry)
    assert calls == [{"a", "b", "c"}]
    assert [set(update) for update in losses] == [{"a", "geometry"}, {"b"}, {"c"}]


def test_a_geometry_on_logits_leaves_the_head_alone():
    (task, batch), (both, _) = mla(), mla()
    expected = next(task.updates(batch, None, torch.Tensor.backward))
    got = next(
        both.updates(
            batch,
            lambda z: geometry_loss(both.model.unimodal_logits(z)),
            torch.Tensor.backward,
        )
    )
    assert got["a"] == expected["a"]
    torch.testing.assert_close(gradients(both.model.fusion), gradients(task.model.fusion), rtol=0, atol=0)
    first, second = gradients(both.model.encoders), gradients(task.model.encoders)
    assert not torch.allclose(first["a.layers.0.weight"], second["a.layers.0.weight"])


# Prediction


def entropy(p):
    return -sum(x * x.log() for x in p if x > 0)


def test_each_sample_is_weighed_by_how_certain_its_modalities_are():
    paradigm, batch = mla(3)
    z = {m: 5 * v for m, v in paradigm.model.encode(batch["inputs"]).items()}
    o = paradigm.model.fusion.unimodal_logits(z)
    got = paradigm.fused_logits(z)
    for i in range(24):
        h = {m: entropy(o[m][i].softmax(0)) for m in o}
        weight = {m: (max(h.values()) - h[m]).exp() for m in o}
        expected = sum(weight[m] * o[m][i] for m in o) / sum(weight.values())
        torch.testing.assert_close(got[i], expected)


def test_one_modality_alone_is_its_own_prediction():
    paradigm, batch = mla()
    z = {"a": paradigm.model.encode(batch["inputs"])["a"]}
    torch.testing.assert_close(paradigm.fused_logits(z), paradigm.model.fusion.unimodal_logits(z)["a"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_underflown_probabilities_do_not_make_nan(dtype):
    paradigm, _ = mla()
    paradigm.model.fusion.unimodal_logits = lambda z: z
    logits = {"a": torch.tensor([[1000.0, 0.0, -1000.0]]).to(dtype), "b": torch.zeros(1, 3).to(dtype)}
    got = paradigm.fused_logits(logits)
    # entropies 0 and log 3: weights 3/4 and 1/4
    torch.testing.assert_close(got.float(), torch.tensor([[750.0, 0.0, -750.0]]))


# State


def test_a_state_taken_up_continues_bit_for_bit():
    (whole, batch), (second, _) = mla(), mla()
    train(whole, [batch])
    second.model.load_state_dict(whole.model.state_dict())
    second.load_state_dict(copy.deepcopy(whole.state_dict()))
    for paradigm in (whole, second):
        paradigm.seen = 0
        train(paradigm, [batch])
    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_a_batch_of_one_and_a_single_class_are_finite():
    paradigm, batch = mla()
    one = {"inputs": {m: x[:1] for m, x in batch["inputs"].items()}, "label": batch["label"][:1]}
    train(paradigm, [one] * 5)
    assert all(p.isfinite().all() for p in paradigm.model.parameters())
