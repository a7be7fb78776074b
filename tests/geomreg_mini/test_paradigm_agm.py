"""AGM: mono-modal outputs that add up, the coefficients, and where their gradient goes."""

import copy
import math
from itertools import permutations, product

import pytest
import torch
from paradigm_steps import geometry_loss, setup, stepped
from torch.nn import functional as F

from geomreg_mini.models import FUSIONS, build_model
from geomreg_mini.paradigms.modulation import AGM


def padded(model, batch, *kept):
    """Fused logits where every other input is zero, in one pass of the model."""
    inputs = {m: x if m in kept else torch.zeros_like(x) for m, x in batch["inputs"].items()}
    return model(inputs).logits  # MLP encoders: training and evaluation mode are the same


@pytest.mark.parametrize(
    ("fusion", "modalities"), [*product(FUSIONS, [2]), ("concat", 3), ("sum", 3), ("shared", 3)]
)
def test_mono_modal_outputs_add_up_to_the_fused_logits(fusion, modalities):
    paradigm, batch = setup("agm", fusion, modalities)
    output = paradigm.model(batch["inputs"])
    mono = paradigm.mono_modal_logits(output.embeddings, paradigm.silence(batch["inputs"]))
    assert list(mono) == list(paradigm.model.modalities)
    torch.testing.assert_close(sum(mono.values()), output.logits)


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_two_mono_modal_outputs_are_the_papers_formula(fusion):
    paradigm, batch = setup("agm", fusion)
    model = paradigm.model
    both, a, b = (padded(model, batch, *kept) for kept in ("ab", "a", "b"))
    mono = paradigm.mono_modal_logits(model.encode(batch["inputs"]), paradigm.silence(batch["inputs"]))
    torch.testing.assert_close(mono["a"], (both - b + a) / 2)
    torch.testing.assert_close(mono["b"], (both - a + b) / 2)


def test_three_mono_modal_outputs_are_means_over_the_orders_of_arrival():
    paradigm, batch = setup("agm", modalities=3)
    expected = dict.fromkeys("abc", 0.0)
    for order in permutations("abc"):
        for place, m in enumerate(order):
            before = padded(paradigm.model, batch, *order[:place]) if place else 0.0
            expected[m] = expected[m] + (padded(paradigm.model, batch, *order[: place + 1]) - before) / 6
    z = paradigm.model.encode(batch["inputs"])
    torch.testing.assert_close(paradigm.mono_modal_logits(z, paradigm.silence(batch["inputs"])), expected)


def test_three_steps_of_the_published_rule_replayed():
    paradigm, batch = setup("agm", "sum", alpha=0.8)
    model, mean, coefficients = copy.deepcopy(paradigm.model), {"a": 0.0, "b": 0.0}, []
    for t in range(1, 4):
        rows = torch.arange(8 * (t - 1), 8 * t)
        part = {"inputs": {m: x[rows] for m, x in batch["inputs"].items()}, "label": batch["label"][rows]}
        with torch.no_grad():
            zero = {m: model.encode({m: torch.zeros_like(x)})[m] for m, x in part["inputs"].items()}
        z = model.encode(part["inputs"])
        both = model.fusion(z)
        only = {"a": model.fusion({"a": z["a"], "b": zero["b"]})}
        only["b"] = model.fusion({"a": zero["a"], "b": z["b"]})
        o = {"a": (both - only["b"] + only["a"]) / 2, "b": (both - only["a"] + only["b"]) / 2}
        s = {
            m: -o[m].softmax(1)[torch.arange(8), part["label"]].clamp_min(1e-8).log().mean().item() for m in o
        }
        k = {}
        for m, other in ("ab", "ba"):
            ratio, usual = math.exp(s[other] - s[m]), math.exp(mean[other] - mean[m])
            k[m] = math.exp(0.8 * min(usual - ratio, 10))
        for m in s:
            mean[m] = mean[m] * (t - 1) / t + s[m] / t
        coefficients.append(k["a"])
        # the gradient of the loss with respect to the logits, sent back through o_a and o_b by hand
        upstream = (both.softmax(1) - F.one_hot(part["label"], 3)) / 8
        (k["a"] * (upstream.detach() * o["a"]) + k["b"] * (upstream.detach() * o["b"])).sum().backward()
        got, losses = stepped(paradigm, part)
        for module in ("encoders", "fusion"):
            expected = {n: p.grad for n, p in getattr(model, module).named_parameters()}
            torch.testing.assert_close(got[module], expected)
        torch.testing.assert_close(losses["fused"], F.cross_entropy(both, part["label"]).detach())
        model.zero_grad()
        paradigm.model.zero_grad()
    assert len({round(k, 6) for k in coefficients}) == 3
    assert paradigm.means == pytest.approx(mean)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_each_encoder_of_a_linear_fusion_gets_its_own_coefficient(fusion):
    paradigm, batch = setup("agm", fusion)
    paradigm.coefficients({"a": 2.0, "b": 0.5})  # an earlier step
    k = AGM.coefficients(copy.deepcopy(paradigm), scores_of(paradigm, batch))
    joint = stepped(setup("joint", fusion)[0], batch)[0]["encoders"]
    got = stepped(paradigm, batch)[0]["encoders"]
    assert abs(k["a"] - k["b"]) > 0.1
    torch.testing.assert_close(got, {n: k[n[0]] * g for n, g in joint.items()})


def scores_of(paradigm, batch):
    mono = paradigm.mono_modal_logits(
        paradigm.model.encode(batch["inputs"]), paradigm.silence(batch["inputs"])
    )
    return {m: F.cross_entropy(o, batch["label"]).item() for m, o in mono.items()}


def test_who_is_further_ahead_than_usual_is_damped():
    paradigm = setup("agm", alpha=2.0)[0]
    paradigm.coefficients({"a": 1.0, "b": 1.0})
    k = paradigm.coefficients({"a": 0.9, "b": 1.0})
    assert k["a"] == pytest.approx(math.exp(2 * (1 - math.exp(0.1))))
    assert k["a"] < 1 < k["b"]


def test_the_general_ratio_is_that_of_the_paper_for_two_and_symmetric_for_three():
    three = setup("agm", modalities=3)[0]
    assert three.coefficients({"a": 0.7, "b": 0.7, "c": 0.7}) == pytest.approx(dict.fromkeys("abc", 1.0))
    k = three.coefficients({"a": 0.4, "b": 0.7, "c": 1.0})
    assert k["a"] == pytest.approx(math.exp(1 - math.exp(1.5 * 0.3)))
    assert k["b"] == pytest.approx(1.0)


def test_coefficients_are_bounded_and_equal_scores_give_one():
    paradigm = setup("agm")[0]
    assert paradigm.coefficients({"a": 0.5, "b": 0.5}) == {"a": 1.0, "b": 1.0}
    paradigm.coefficients({"a": 0.0, "b": 18.0})
    k = paradigm.coefficients({"a": 18.0, "b": 0.0})
    assert k == {"a": pytest.approx(math.exp(10)), "b": 0.0}


def test_zero_inputs_are_embedded_in_evaluation_mode_without_gradient():
    paradigm, batch = setup("agm")
    seen = set()

    def watch(module, inputs, output):
        seen.add((len(output), module.training))

    paradigm.model.encoders["a"].register_forward_hook(watch)
    stepped(paradigm, batch)
    assert seen == {(1, False), (24, True)}
    silent = paradigm.silence(batch["inputs"])
    assert all(z.shape == (1, 5) and not z.requires_grad for z in silent.values())
    assert paradigm.model.training


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("sure", [False, True])
def test_small_batches_and_certain_mistakes_stay_finite(size, sure):
    paradigm, batch = setup("agm")
    label = torch.full((size,), 2)
    if sure:
        torch.nn.init.zeros_(paradigm.model.fusion.linear.weight)
        paradigm.model.fusion.linear.bias.data = torch.tensor([1e4, 0.0, -1e4], dtype=torch.double)
    got, losses = stepped(
        paradigm, {"inputs": {m: x[:size] for m, x in batch["inputs"].items()}, "label": label}
    )
    assert all(g.isfinite().all() for part in got.values() for g in part.values())
    assert losses["fused"].isfinite()
    assert max(paradigm.means.values()) <= -math.log(1e-8) + 1e-9


def test_half_precision_gives_every_encoder_its_gradient():
    paradigm, batch = setup("agm")
    paradigm.model.float()
    batch["inputs"] = {m: x.float() for m, x in batch["inputs"].items()}
    with torch.autocast("cpu", torch.bfloat16):
        got, _ = stepped(paradigm, batch, geometry_loss)
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in got["encoders"].values())


def test_state_makes_the_round_trip_through_a_file(tmp_path):
    paradigm, batch = setup("agm")
    stepped(paradigm, batch)
    torch.save(paradigm.state_dict(), tmp_path / "state.pt")
    other = AGM(paradigm.model)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    scores = {"a": 0.3, "b": 0.8}
    assert (
        paradigm.coefficients(scores)
        == other.coefficients(scores)
        != AGM(paradigm.model).coefficients(scores)
    )


def test_one_modality_is_refused():
    from small_data import clouds

    with pytest.raises(ValueError, match="AGM compares modalities; there is only 'a'"):
        AGM(build_model(clouds(1)))
