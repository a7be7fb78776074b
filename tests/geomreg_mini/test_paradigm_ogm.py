"""OGM and OGM-GE: which encoder is slowed down, by how much, and what the noise is."""

import math

import pytest
import torch
from paradigm_steps import D, geometry_loss, gradients, setup, stepped
from torch.nn import functional as F

OPTIONS = {"alpha": 0.5}


def joint_gradients(**options):
    paradigm, batch = setup("joint", **options)
    return stepped(paradigm, batch)[0]["encoders"]


def shares(model, batch) -> dict:
    """Each modality's share of the fused logits, from the weights of the linear layers."""
    z, head, count = model.encode(batch["inputs"]), model.fusion, len(model.modalities)
    logits = {}
    for index, m in enumerate(z):
        if head.kind == "concat":
            block = head.linear.weight[:, index * D : (index + 1) * D]
            logits[m] = z[m] @ block.T + head.linear.bias / count
        else:
            linear = head.linears[m] if head.kind == "sum" else head.linear
            logits[m] = z[m] @ linear.weight.T + linear.bias
    return logits


@pytest.mark.parametrize(
    ("fusion", "modalities"), [("concat", 2), ("concat", 3), ("sum", 2), ("sum", 3), ("shared", 2)]
)
@pytest.mark.parametrize("name", ["ogm", "ogm_ge"])
def test_the_published_update_rule_replayed(name, fusion, modalities):
    paradigm, batch = setup(name, fusion, modalities, **OPTIONS)
    model, label = paradigm.model, batch["label"]
    score = {m: sum(o[i].softmax(0)[label[i]] for i in range(24)) for m, o in shares(model, batch).items()}
    F.cross_entropy(model(batch["inputs"]).logits, label).backward()
    torch.manual_seed(5)
    expected = {}
    for m, encoder in model.encoders.items():
        rho = (score[m] / min(score.values())).item()
        k = 1 - math.tanh(0.5 * rho) if rho > 1 else 1.0
        for parameter_name, p in encoder.named_parameters():
            g = p.grad.clone()
            if g.ndim >= 2:
                noise = torch.randn(g.shape, dtype=g.dtype) * g.std() if name == "ogm_ge" else 0.0
                g = k * g + noise
            expected[f"{m}.{parameter_name}"] = g
    model.zero_grad()
    torch.manual_seed(5)
    torch.testing.assert_close(stepped(paradigm, batch)[0]["encoders"], expected)


def test_the_weaker_modality_is_left_alone_and_the_stronger_damped_in_its_matrices_only():
    paradigm, batch = setup("ogm", **OPTIONS)
    k = paradigm.coefficients(paradigm.model.encode(batch["inputs"]), batch["label"])
    weak, strong = sorted(k, key=k.get, reverse=True)
    assert k[weak] == 1.0
    assert 0 < k[strong] < 1 - math.tanh(0.5)
    got, joint = stepped(paradigm, batch)[0]["encoders"], joint_gradients()
    for name, g in joint.items():
        touched = name.startswith(strong) and g.ndim >= 2
        torch.testing.assert_close(got[name], k[strong] * g if touched else g, rtol=1e-12, atol=0)


def test_of_three_modalities_only_the_weakest_is_left_alone():
    paradigm, batch = setup("ogm", modalities=3, **OPTIONS)
    k = paradigm.coefficients(paradigm.model.encode(batch["inputs"]), batch["label"])
    assert sorted(value == 1 for value in k.values()) == [False, False, True]


@pytest.mark.parametrize("classes", ["several", "one"])
def test_equal_scores_slow_nobody_down(classes):
    paradigm, batch = setup("ogm", "shared", **OPTIONS)
    z = next(iter(paradigm.model.encode(batch["inputs"]).values()))
    label = batch["label"] if classes == "several" else torch.zeros_like(batch["label"])
    k = paradigm.coefficients({"a": z, "b": z.clone()}, label)
    assert [float(value) for value in k.values()] == [1.0, 1.0]


def test_scores_that_underflow_give_coefficients_within_bounds():
    paradigm, batch = setup("ogm", "shared", **OPTIONS)
    z = torch.zeros(24, D, dtype=torch.double)
    far = z + 1e6 * paradigm.model.fusion.linear.weight[0].detach()  # sure of class 0
    label = torch.full((24,), 1)
    assert [float(k) for k in paradigm.coefficients({"a": far, "b": far}, label).values()] == [1.0, 1.0]
    assert [float(k) for k in paradigm.coefficients({"a": z, "b": far}, label).values()] == [0.0, 1.0]


def test_after_the_window_it_is_joint_training_bit_for_bit():
    for name, epoch, modulated in [("ogm_ge", 5, True), ("ogm_ge", 6, False), ("ogm", 6, False)]:
        paradigm, batch = setup(name, epoch=epoch)
        got, joint = stepped(paradigm, batch)[0]["encoders"], joint_gradients()
        assert modulated != all(torch.equal(got[n], joint[n]) for n in joint)


def test_noise_has_the_standard_deviation_of_the_gradient_itself():
    paradigm, _ = setup("ogm_ge")
    weight = next(paradigm.model.encoders["a"].parameters())
    g = torch.arange(float(weight.numel()), dtype=torch.double).reshape(weight.shape)
    draws = []
    for _ in range(300):
        weight.grad = g
        paradigm.modulate({"a": torch.tensor(0.25)})
        draws.append(weight.grad - 0.25 * g)
    draws = torch.stack(draws)
    assert draws.mean().item() == pytest.approx(0, abs=0.03 * g.std().item())
    assert draws.std().item() == pytest.approx(g.std().item(), rel=0.03)


def test_noise_is_drawn_for_the_task_gradient_and_scales_with_the_loss():
    results = []
    for scale in (1.0, 1024.0):
        paradigm, batch = setup("ogm_ge")

        def backward(loss, retain_graph=False, scale=scale):
            (scale * loss).backward(retain_graph=retain_graph)

        paradigm.step(batch, geometry_loss, backward)
        results.append({n: g / scale for n, g in gradients(paradigm.model.encoders).items()})
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", ["ogm", "ogm_ge"])
def test_zero_gradients_and_one_number_tensors_and_frozen_encoders_stay_finite(name):
    paradigm, batch = setup(name)
    model = paradigm.model
    model.encoders["a"].single = torch.nn.Parameter(torch.zeros(1, 1, dtype=torch.double))
    model.encoders["a"].single.grad = torch.ones(1, 1, dtype=torch.double)
    torch.nn.init.zeros_(model.fusion.linear.weight)  # so that nothing reaches the encoders
    model.encoders["b"].requires_grad_(False)
    got, _ = stepped(paradigm, batch)
    single = got["encoders"].pop("a.single")
    assert single.isfinite().all()
    assert all((g == 0).all() for g in got["encoders"].values())
    assert not any(n.startswith("b") for n in got["encoders"])


def test_a_batch_of_one_trains():
    paradigm, batch = setup("ogm_ge")
    one = {"inputs": {m: x[:1] for m, x in batch["inputs"].items()}, "label": batch["label"][:1]}
    got, _ = stepped(paradigm, one)
    assert all(g.isfinite().all() for g in got["encoders"].values())
