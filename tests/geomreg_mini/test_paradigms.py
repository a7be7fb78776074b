"""Which gradient reaches which parameter: known answers for every paradigm."""

import copy
from itertools import product

import pytest
import torch
from paradigm_steps import D, geometry_loss, gradients, setup, stepped
from torch.nn import functional as F

from geomreg_mini.models import FUSIONS, build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.paradigms.plain import DGL

NEEDS_HEADS = {"uniform_sum", "unimodal", "g_blending", "mmpareto"}


def undefined(paradigm, fusion):
    """The words of the error if a combination is not defined, or None."""
    fusions = PARADIGMS[paradigm].fusions
    return (
        None if fusions is None or fusion in fusions else f"is not defined for fusion='{fusion}', .*: use '"
    )


# Names and errors


def test_the_table_says_which_paradigms_need_heads():
    assert {name for name, paradigm in PARADIGMS.items() if paradigm.needs_heads} == NEEDS_HEADS


@pytest.mark.parametrize("paradigm", sorted(NEEDS_HEADS))
def test_a_paradigm_that_trains_heads_says_how_to_get_them(paradigm):
    with pytest.raises(ValueError, match="build the model with heads=True"):
        setup(paradigm, heads=False)


@pytest.mark.parametrize(("paradigm", "fusion", "modalities"), list(product(PARADIGMS, FUSIONS, (2, 3))))
def test_every_defined_combination_trains_and_every_other_one_says_why(paradigm, fusion, modalities):
    if reason := undefined(paradigm, fusion):
        with pytest.raises(ValueError, match=reason):
            setup(paradigm, fusion, modalities)
        return
    paradigm, batch = setup(paradigm, fusion, modalities)
    optimizer = torch.optim.SGD(paradigm.model.parameters(), 0.05)
    totals = []
    for _ in range(15):
        optimizer.zero_grad()
        _, losses = stepped(paradigm, batch, geometry_loss)
        optimizer.step()
        totals.append(float(sum(losses.values())))
        assert not any(loss.requires_grad for loss in losses.values())
    assert totals[-1] < totals[0]


# Joint and uniform sum


def test_joint_differentiates_the_fused_cross_entropy():
    paradigm, batch = setup("joint")
    got, losses = stepped(paradigm, batch)
    model = copy.deepcopy(paradigm.model)
    model.zero_grad()
    loss = F.cross_entropy(model(batch["inputs"]).logits, batch["label"])
    loss.backward()
    torch.testing.assert_close(got["encoders"], gradients(model.encoders))
    torch.testing.assert_close(got["fusion"], gradients(model.fusion))
    torch.testing.assert_close(losses["fused"], loss.detach())


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_uniform_sum_is_the_sum_of_the_separate_gradients(weight):
    paradigm, batch = setup("uniform_sum", modalities=3, unimodal_weight=weight)
    got, losses = stepped(paradigm, batch)
    model = paradigm.model
    parameters = list(model.parameters())
    output = model(batch["inputs"])
    separate = [F.cross_entropy(output.logits, batch["label"])]
    separate += [weight * F.cross_entropy(output.unimodal_logits[m], batch["label"]) for m in "abc"]
    parts = [torch.autograd.grad(x, parameters, retain_graph=True, allow_unused=True) for x in separate]
    for parameter, *terms in zip(parameters, *parts, strict=True):
        torch.testing.assert_close(parameter.grad, sum(t for t in terms if t is not None))
    assert list(losses) == ["fused", "a", "b", "c"]


# Unimodal


def test_unimodal_gives_the_fusion_no_gradient():
    paradigm, batch = setup("unimodal")
    got, _ = stepped(paradigm, batch)
    assert got["fusion"] == {}
    assert len(got["heads"]) == 4


def test_unimodal_encoders_do_not_see_the_other_modality():
    results = []
    for scale in (1.0, 100.0):
        paradigm, batch = setup("unimodal")
        batch["inputs"]["b"] = scale * batch["inputs"]["b"]
        results.append(stepped(paradigm, batch)[0])
    for part, (mine, other) in product(("encoders", "heads"), [("a.", "b.")]):
        first, second = (result[part] for result in results)
        assert all(torch.equal(first[n], second[n]) for n in first if n.startswith(mine))
        assert not all(torch.equal(first[n], second[n]) for n in first if n.startswith(other))


def test_unimodal_predicts_with_the_mean_of_the_probabilities_of_those_present():
    paradigm, batch = setup("unimodal", modalities=3)
    z = paradigm.model.encode(batch["inputs"])
    shares = {m: logits.softmax(dim=1) for m, logits in paradigm.model.unimodal_logits(z).items()}
    torch.testing.assert_close(paradigm.fused_logits(z).softmax(dim=1), sum(shares.values()) / 3)
    pair = paradigm.fused_logits({m: z[m] for m in "ac"}).softmax(dim=1)
    torch.testing.assert_close(pair, (shares["a"] + shares["c"]) / 2)


# DGL


def two_pass_dgl(model, batch, alpha, geometry=None):
    """The procedure of DGL's released code: two backward passes, and head gradients dropped in between."""
    z = model.encode(batch["inputs"])
    unimodal = [alpha * F.cross_entropy(model.fusion({m: z[m]}), batch["label"]) for m in z]
    first = sum(unimodal) if geometry is None else sum(unimodal) + geometry(z)
    first.backward(retain_graph=True)
    model.fusion.zero_grad(set_to_none=True)
    F.cross_entropy(model.fusion({m: x.detach() for m, x in z.items()}), batch["label"]).backward()
    return {"encoders": gradients(model.encoders), "fusion": gradients(model.fusion)}


@pytest.mark.parametrize("geometry", [None, geometry_loss], ids=["plain", "regularized"])
@pytest.mark.parametrize(
    ("fusion", "modalities"),
    [("concat", 2), ("concat", 3), ("sum", 2), ("sum", 3)],
)
def test_dgl_in_one_pass_equals_two_passes_with_the_first_head_gradient_dropped(fusion, modalities, geometry):
    paradigm, batch = setup("dgl", fusion, modalities, alpha=2.5)
    expected = two_pass_dgl(copy.deepcopy(paradigm.model), batch, 2.5, geometry)
    got, _ = stepped(paradigm, batch, geometry)
    assert set(expected["encoders"]) == {name for name, _ in paradigm.model.encoders.named_parameters()}
    torch.testing.assert_close(got["encoders"], expected["encoders"])
    torch.testing.assert_close(got["fusion"], expected["fusion"])


def test_dgl_gives_the_encoders_of_the_benchmarks_the_published_gradients():
    class Data:
        modalities, num_classes = ("audio", "visual"), 6
        shapes = {"audio": (1, 33, 24), "visual": (3, 2, 32, 32)}

    torch.manual_seed(0)
    model = build_model(Data, embedding_dim=512, encoder="resnet18").double()
    inputs = {m: torch.randn(6, *shape, dtype=torch.double) for m, shape in Data.shapes.items()}
    batch = {"inputs": inputs, "label": torch.arange(6)}
    expected = two_pass_dgl(copy.deepcopy(model), batch, 4.0, geometry_loss)
    got, _ = stepped(PARADIGMS["dgl"](model, alpha=4.0), batch, geometry_loss)
    for part in ("encoders", "fusion"):
        torch.testing.assert_close(got[part], expected[part], rtol=1e-6, atol=1e-6)
    assert max(g.abs().max() for g in got["encoders"].values()) > 0.1


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_dgl_unimodal_branch_is_the_modalitys_block_with_the_full_bias(fusion):
    paradigm, batch = setup("dgl", fusion, alpha=1.0)
    _, losses = stepped(paradigm, batch)
    z, head = paradigm.model.encode(batch["inputs"]), paradigm.model.fusion
    for index, m in enumerate("ab"):
        if fusion == "concat":
            block = head.linear.weight[:, index * D : (index + 1) * D]
            logits = z[m] @ block.T + head.linear.bias
        else:
            logits = head.linears[m](z[m])
        torch.testing.assert_close(losses[m], F.cross_entropy(logits, batch["label"]).detach())


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_dgl_encoders_do_not_see_the_fused_loss(fusion, monkeypatch):
    paradigm, batch = setup("dgl", fusion)
    expected, _ = stepped(paradigm, batch)
    losses = DGL.losses

    def scaled(self, output, label):
        parts = losses(self, output, label)
        return {**parts, "fused": 1000 * parts["fused"]}

    monkeypatch.setattr(DGL, "losses", scaled)
    other, batch = setup("dgl", fusion)
    got, _ = stepped(other, batch)
    torch.testing.assert_close(got["encoders"], expected["encoders"], rtol=0, atol=0)
    assert not torch.equal(next(iter(got["fusion"].values())), next(iter(expected["fusion"].values())))


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_dgl_head_does_not_see_alpha_and_encoders_see_it_as_a_factor(fusion):
    (one, batch), (four, _) = setup("dgl", fusion, alpha=1.0), setup("dgl", fusion, alpha=4.0)
    first, second = stepped(one, batch)[0], stepped(four, batch)[0]
    torch.testing.assert_close(first["fusion"], second["fusion"], rtol=0, atol=0)
    torch.testing.assert_close({n: 4 * g for n, g in first["encoders"].items()}, second["encoders"])


def test_dgl_default_alpha_is_the_released_one():
    assert setup("dgl")[0].alpha == 4.0


# The regularizer in every paradigm


@pytest.mark.parametrize(
    ("paradigm", "fusion"), [pair for pair in product(PARADIGMS, FUSIONS) if not undefined(*pair)]
)
def test_geometry_adds_linearly_to_the_encoders_and_to_nothing_else(paradigm, fusion):
    task, batch = setup(paradigm, fusion)
    expected, plain_losses = stepped(task, batch)
    both, _ = setup(paradigm, fusion)  # from the same seed, which also fixes what a step draws
    got, losses = stepped(both, batch, geometry_loss)
    model = copy.deepcopy(task.model)
    model.zero_grad(set_to_none=True)
    geometry_loss(model.encode(batch["inputs"])).backward()
    alone = gradients(model.encoders)
    assert all(g.abs().sum() > 0 for name, g in alone.items() if name.endswith("weight"))
    torch.testing.assert_close(got["encoders"], {n: expected["encoders"][n] + alone[n] for n in alone})
    for part in ("fusion", "heads"):
        torch.testing.assert_close(got[part], expected[part], rtol=0, atol=0)
    assert set(losses) == {*plain_losses, "geometry"}


@pytest.mark.parametrize(
    ("paradigm", "fusion"), [pair for pair in product(PARADIGMS, FUSIONS) if not undefined(*pair)]
)
def test_geometry_of_weight_zero_changes_no_bit(paradigm, fusion):
    task, batch = setup(paradigm, fusion)
    expected, _ = stepped(task, batch)
    for silent in (lambda z: 0.0 * geometry_loss(z), lambda z: torch.zeros(())):
        other, _ = setup(paradigm, fusion)
        got, _ = stepped(other, batch, silent)
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("paradigm", list(PARADIGMS))
def test_a_loss_scale_multiplies_every_gradient_and_nothing_else(paradigm):
    fusion = (PARADIGMS[paradigm].fusions or ["concat"])[0]
    plain, batch = setup(paradigm, fusion)
    expected, losses = stepped(plain, batch, geometry_loss)
    scaled, _ = setup(paradigm, fusion)
    got, same = stepped(
        scaled,
        batch,
        geometry_loss,
        backward=lambda loss, retain_graph=False: (1024 * loss).backward(retain_graph=retain_graph),
    )
    assert same == losses
    expected = {part: {n: 1024 * g for n, g in found.items()} for part, found in expected.items()}
    torch.testing.assert_close(got, expected)
