"""MMPareto: which two gradients each encoder combines, and that heads are left alone."""

import pytest
import torch
from paradigm_steps import setup, stepped
from torch.nn import functional as F


def oppose(paradigm):
    """Heads that want of each encoder the contrary of what the fusion wants."""
    with torch.no_grad():
        for m, block in paradigm.model.fusion.weights().items():
            paradigm.model.heads[m].weight.copy_(-2 * block)
    return paradigm


def replayed(paradigm, batch, gamma):
    """The update rule from its formula, parameter by parameter."""
    model, expected, cosines = paradigm.model, {}, []
    output = model(batch["inputs"])
    for m, encoder in model.encoders.items():
        names, parameters = zip(*encoder.named_parameters(), strict=True)
        losses = [F.cross_entropy(o, batch["label"]) for o in (output.logits, output.unimodal_logits[m])]
        g, gm = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses)
        flat, own = (torch.cat([x.flatten() for x in part]) for part in (g, gm))
        cosine = F.cosine_similarity(flat, own, dim=0).item()
        cosines.append(cosine)
        w = 0.5
        if cosine <= 0:
            w = ((own @ own - flat @ own) / (flat @ flat + own @ own - 2 * flat @ own)).item()
        for name, a, b in zip(names, g, gm, strict=True):
            h = 2 * w * a + 2 * (1 - w) * b
            if (a + b).norm() > h.norm():
                h = h / h.norm() * (a + b).norm()
            expected[f"{m}.{name}"] = gamma * h
    return expected, cosines


@pytest.mark.parametrize(("fusion", "modalities"), [("concat", 2), ("concat", 3), ("sum", 2), ("shared", 2)])
@pytest.mark.parametrize("gamma", [1.5, 0.7])
def test_the_published_update_rule_replayed(fusion, modalities, gamma):
    paradigm, batch = setup("mmpareto", fusion, modalities, gamma=gamma)
    expected, _ = replayed(paradigm, batch, gamma)
    torch.testing.assert_close(stepped(paradigm, batch)[0]["encoders"], expected)


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_published_update_rule_replayed_in_conflict(modalities):
    paradigm, batch = setup("mmpareto", modalities=modalities)
    expected, cosines = replayed(oppose(paradigm), batch, 1.5)
    assert max(cosines) < 0
    torch.testing.assert_close(stepped(paradigm, batch)[0]["encoders"], expected)


def test_without_conflict_it_is_the_uniform_sum_times_gamma():
    paradigm, batch = setup("mmpareto")
    other, _ = setup("uniform_sum")
    for model in (paradigm.model, other.model):
        with torch.no_grad():
            for m, block in model.fusion.weights().items():
                model.heads[m].weight.copy_(block)
    got, losses = stepped(paradigm, batch)
    expected, plain = stepped(other, batch)
    torch.testing.assert_close(got["encoders"], {n: 1.5 * g for n, g in expected["encoders"].items()})
    assert losses == plain


@pytest.mark.parametrize("opposed", [False, True])
def test_heads_keep_the_gradients_of_the_uniform_sum(opposed):
    paradigm, batch = setup("mmpareto")
    other, _ = setup("uniform_sum")
    if opposed:
        oppose(paradigm), oppose(other)
    got, expected = stepped(paradigm, batch)[0], stepped(other, batch)[0]
    for part in ("fusion", "heads"):
        torch.testing.assert_close(got[part], expected[part])


def test_a_head_without_influence_leaves_gamma_times_the_fused_gradient():
    paradigm, batch = setup("mmpareto")
    with torch.no_grad():
        for head in paradigm.model.heads.values():
            head.weight.zero_()
    joint, _ = setup("joint")
    expected = stepped(joint, batch)[0]["encoders"]
    got = stepped(paradigm, batch)[0]["encoders"]
    torch.testing.assert_close(got, {n: 1.5 * g for n, g in expected.items()})


def test_encoders_without_any_gradient_get_zero_and_not_nan():
    paradigm, batch = setup("mmpareto")
    with torch.no_grad():
        for p in [*paradigm.model.fusion.parameters(), *paradigm.model.heads.parameters()]:
            p.zero_()
    assert all(torch.equal(g, torch.zeros_like(g)) for g in stepped(paradigm, batch)[0]["encoders"].values())


def test_the_released_gamma_is_the_default():
    assert setup("mmpareto")[0].gamma == 1.5
