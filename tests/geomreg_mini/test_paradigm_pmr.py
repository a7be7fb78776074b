"""PMR: who gets the prototype loss, what the prototypes are, and what happens where a class is missing."""

import copy

import pytest
import torch
from paradigm_steps import D, setup, stepped
from small_data import clouds
from torch.nn import functional as F

from geomreg_mini.models import ModelOutput
from geomreg_mini.paradigms.pmr import PMR


def prototype_rule(z, prototypes, label):
    """Score and loss of one modality, sample by sample."""
    score, loss = 0.0, 0.0
    for i, y in enumerate(label):
        p = torch.stack([-(z[i] - c).pow(2).sum().sqrt() for c in prototypes]).softmax(0)
        score, loss = score + p[y].item(), loss - p[y].log() / len(label)
    return score, loss


@pytest.mark.parametrize(("fusion", "modalities"), [("concat", 2), ("concat", 3), ("shared", 2)])
def test_the_published_update_rule_replayed(fusion, modalities):
    paradigm, batch = setup("pmr", fusion, modalities, alpha=0.7)
    model, label = paradigm.model, batch["label"]
    generator = torch.Generator().manual_seed(1)
    for m in model.modalities:
        paradigm.prototypes[m] = torch.randn(3, D, generator=generator, dtype=torch.double)
    paradigm.seen = torch.ones(3, dtype=torch.bool)
    reference = copy.deepcopy(model)
    output = reference(batch["inputs"])
    rules = {m: prototype_rule(z, paradigm.prototypes[m], label) for m, z in output.embeddings.items()}
    weakest = min(rules, key=lambda m: rules[m][0])
    loss = F.cross_entropy(output.logits, label) + 0.7 * rules[weakest][1]
    loss.backward()
    got, losses = stepped(paradigm, batch)
    for part in ("encoders", "fusion"):
        expected = {n: p.grad for n, p in getattr(reference, part).named_parameters()}
        torch.testing.assert_close(got[part], expected)
    torch.testing.assert_close(sum(losses.values()), loss.detach())


def test_only_the_weaker_of_two_gets_the_prototype_loss():
    paradigm, batch = setup("pmr")
    joint, _ = setup("joint")
    expected = stepped(joint, batch)[0]["encoders"]
    z = paradigm.model.encode(batch["inputs"])
    for strong, weak in ("ab", "ba"):
        paradigm.renew({m: 100 * x for m, x in z.items()}, batch["label"])
        own = torch.stack([z[strong][batch["label"] == k].mean(0) for k in range(3)]).detach()
        paradigm.prototypes[strong] = 2 * own
        paradigm.prototypes[weak] = torch.zeros(3, D, dtype=torch.double)  # all classes alike: score 1/3
        paradigm.prototypes[weak][0, 0] = 1e-3  # and a gradient that is not zero
        paradigm.model.zero_grad()
        got = stepped(paradigm, batch)[0]["encoders"]
        changed = {n[0] for n in expected if not torch.allclose(got[n], expected[n], rtol=0, atol=1e-9)}
        assert changed == {weak}


def test_equal_scores_leave_joint_training():
    paradigm, batch = setup("pmr")
    z = paradigm.model.encode(batch["inputs"])["a"]
    paradigm.prototypes = {m: torch.randn(3, D, dtype=torch.double) for m in "ab"}
    paradigm.prototypes["b"] = paradigm.prototypes["a"]
    output = ModelOutput({"a": z, "b": z.clone()}, paradigm.model(batch["inputs"]).logits, {})
    assert paradigm.losses(output, batch["label"])["prototype"] == 0


def test_prototypes_are_class_means_and_then_move_by_the_momentum():
    paradigm = setup("pmr", momentum=0.2)[0]
    paradigm.prototypes, paradigm.seen = {}, None
    z, label = torch.arange(20.0, dtype=torch.double).reshape(4, D), torch.tensor([0, 0, 1, 2])
    paradigm.renew({"a": z}, label)
    first = torch.stack([z[:2].mean(0), z[2], z[3]])
    torch.testing.assert_close(paradigm.prototypes["a"], first)
    paradigm.renew({"a": -z}, label)
    torch.testing.assert_close(paradigm.prototypes["a"], 0.8 * -first + 0.2 * first)


def test_a_class_that_a_sample_lacks_keeps_its_prototype_and_starts_with_its_first_mean():
    paradigm = setup("pmr")[0]
    paradigm.prototypes, paradigm.seen = {}, None
    z = torch.ones(2, D, dtype=torch.double)
    paradigm.renew({"a": z}, torch.tensor([0, 1]))
    assert paradigm.seen.tolist() == [True, True, False]
    paradigm.renew({"a": 2 * z}, torch.tensor([1, 2]))
    assert paradigm.seen.all()
    means = paradigm.prototypes["a"].mean(1).tolist()
    assert means == pytest.approx([1.0, 0.8 * 2 + 0.2 * 1, 2.0])


def test_a_class_never_seen_takes_no_part():
    paradigm, batch = setup("pmr")
    prototypes = {m: torch.randn(3, D, dtype=torch.double) for m in "ab"}
    output = paradigm.model(batch["inputs"])
    paradigm.prototypes, paradigm.seen = prototypes, torch.tensor([True, True, False])
    got = paradigm.losses(output, batch["label"])["prototype"]
    keep = batch["label"] < 2
    rules = [
        prototype_rule(output.embeddings[m][keep], prototypes[m][:2], batch["label"][keep]) for m in "ab"
    ]
    torch.testing.assert_close(got, min(rules, key=lambda rule: rule[0])[1])
    nobody = paradigm.losses(output, torch.full((24,), 2))["prototype"]
    gradients = torch.autograd.grad(got + nobody, list(output.embeddings.values()))
    assert nobody == 0
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("size", [1, 2, 24])
def test_embeddings_on_top_of_their_prototypes_have_finite_gradients(size):
    paradigm, batch = setup("pmr")
    batch = {"inputs": {m: x[:size] for m, x in batch["inputs"].items()}, "label": batch["label"][:size]}
    for encoder in paradigm.model.encoders.values():
        for p in encoder.parameters():
            torch.nn.init.zeros_(p)
    paradigm.prototypes = {m: torch.zeros(3, D, dtype=torch.double) for m in "ab"}
    paradigm.prototypes["b"][1:] = 1.0
    got, losses = stepped(paradigm, batch)
    assert all(g.isfinite().all() for part in got.values() for g in part.values())
    assert losses["prototype"].isfinite()


def test_a_step_before_the_first_epoch_says_what_is_missing_and_after_the_window_it_is_joint():
    paradigm, batch = setup("pmr")
    with pytest.raises(ValueError, match="no prototypes yet: call start_epoch"):
        PMR(paradigm.model).step(batch, None, torch.Tensor.backward)
    for epoch, names in [(7, ["fused", "prototype"]), (8, ["fused"])]:
        paradigm, batch = setup("pmr", epoch=epoch)
        assert list(stepped(paradigm, batch)[1]) == names


def test_an_epoch_looks_at_a_tenth_of_the_training_split_in_evaluation_mode(monkeypatch):
    data, seen = clouds(size=300), []
    paradigm = setup("pmr")[0]
    paradigm.model.float()
    encode = paradigm.model.encode

    def recorded(inputs):
        seen.append((len(inputs["a"]), paradigm.model.training, torch.is_grad_enabled()))
        return encode(inputs)

    monkeypatch.setattr(paradigm.model, "encode", recorded)
    paradigm.prototypes, paradigm.seen = {}, None
    paradigm.start_epoch(1, 10, data)
    assert seen == [(30, False, False)]
    assert paradigm.model.training


def test_state_makes_the_round_trip_through_a_file(tmp_path):
    paradigm, batch = setup("pmr")
    torch.save(paradigm.state_dict(), tmp_path / "state.pt")
    other = PMR(paradigm.model)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    first, second = (p.losses(p.model(batch["inputs"]), batch["label"]) for p in (paradigm, other))
    assert first == second
    assert first["prototype"].isfinite()
    fresh = PMR(paradigm.model)
    fresh.load_state_dict(PMR(paradigm.model).state_dict())
    assert fresh.state_dict() == {"prototypes": {}, "seen": None}
