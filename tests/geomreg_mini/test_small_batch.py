"""Small batches, whose modalities are computed together: values, derivatives and refusals of any batch."""

from itertools import combinations

import pytest
import torch

from geomreg_mini import GeometryRegularizer, anchoring, dispersion

OPTIONS = [
    {},
    {"form": "hinge", "radius": 2.0},
    {"form": "cosine", "radius": 0.2, "power": 1},
    {"reduction": "sum", "dispersion_weight": 0.37, "anchoring_weight": 0.21, "power": 3.0, "radius": 0.9},
    {"reduction": "mean", "temperature": 0.1},
    {"balance": "pareto"},
    {"balance": "pareto", "reduction": "mean", "radius": 1.2, "power": 1.5},
]


def batch(modalities=2, size=32, width=24, dtype=torch.float64):
    """Return points in a cone, so that the hinge has pairs to push apart."""
    generator = torch.Generator().manual_seed(modalities)
    points = {m: torch.randn(size, width, generator=generator) + 1 for m in "abc"[:modalities]}
    return {m: x.to(dtype).requires_grad_() for m, x in points.items()}


def of_terms(z, temperature=0.5, radius=0.6):
    """Return the total of the regularizer by the functions of one modality and of one pair."""
    spread = [dispersion(x, temperature=temperature) for x in z.values()]
    drift = [anchoring(z[a], z[b], radius=radius) for a, b in combinations(z, 2)]
    return 0.1 * sum(spread) / len(spread) + 0.5 * sum(drift) / len(drift)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_results_are_those_of_the_modalities_one_by_one(options, modalities, dtype):
    z, reg = batch(modalities, dtype=dtype), GeometryRegularizer(**options)
    together, apart = reg(z), reg.by_modality(z, {}, z, {})
    assert together.total.grad_fn.name() != apart.total.grad_fn.name(), "the batch is not small"
    found, wanted = (torch.autograd.grad(out.total, list(z.values())) for out in (together, apart))
    eps = torch.finfo(dtype).eps
    found, wanted = torch.stack(found), torch.stack(wanted)
    assert (found - wanted).norm() < 64 * eps * wanted.norm()
    torch.testing.assert_close(tuple(together), tuple(apart), rtol=32 * eps, atol=4 * eps)
    assert [list(part) for part in together[1:]] == [list(part) for part in apart[1:]]


def test_total_and_gradient_are_those_of_the_terms():
    z = batch(3)
    found, wanted = GeometryRegularizer()(z).total, of_terms(z)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(3 * total, list(z.values())) for total in (found, wanted))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_single_terms_have_their_own_gradients():
    z = batch()
    out = GeometryRegularizer()(z)
    for term, wanted in [
        (out.dispersion["b"], dispersion(z["b"])),
        (out.anchoring["a", "b"] + 2 * out.total, anchoring(z["a"], z["b"]) + 2 * of_terms(z)),
    ]:
        pair = (
            torch.autograd.grad(x, list(z.values()), retain_graph=True, materialize_grads=True)
            for x in (term, wanted)
        )
        torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-14)


def test_terms_of_a_modality_without_gradients_leave_those_of_the_others_alone():
    z = batch()
    frozen = {"a": z["a"], "b": z["b"].detach()}
    sum(GeometryRegularizer()(frozen).dispersion.values()).backward()
    torch.testing.assert_close(z["a"].grad, torch.autograd.grad(dispersion(z["a"]), z["a"])[0])


def test_gradients_that_are_not_asked_for_are_zeros():
    z, reg = batch(2, 16, 3), GeometryRegularizer()
    assert torch.autograd.gradcheck(lambda *given: reg(*given).total, tuple(z.values()))


def test_second_derivatives_are_those_of_the_terms():
    z, products = batch(), []
    for total in (GeometryRegularizer()(z).total, of_terms(z)):
        first = torch.autograd.grad(total, list(z.values()), create_graph=True)
        along = sum((g * torch.linspace(-1, 1, g.numel()).view_as(g)).sum() for g in first)
        products.append(torch.autograd.grad(along, list(z.values())))
    torch.testing.assert_close(*products, rtol=1e-9, atol=1e-12)


def test_the_balance_refuses_a_second_derivative():
    z = batch()
    total = GeometryRegularizer(balance="pareto")(z).total
    first = torch.autograd.grad(total, list(z.values()), create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(first[0].sum(), list(z.values()))


@pytest.mark.parametrize("create_graph", [False, True])
def test_changes_after_the_call_do_not_change_its_gradient(create_graph):
    z, reg = batch(), GeometryRegularizer()
    wanted = torch.autograd.grad(of_terms(z), list(z.values()))
    total = reg(z).total
    reg.dispersion_weight, reg.radius = 7.0, 0.0
    with torch.no_grad():
        z["a"].add_(1)
    found = torch.autograd.grad(total, list(z.values()), create_graph=create_graph)
    torch.testing.assert_close([g.detach() for g in found], list(wanted), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("size", [2, 3, 17, 63])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_any_small_number_of_samples_will_do(options, size):
    z, reg = batch(3, size), GeometryRegularizer(**options)
    together, apart = reg(z), reg.by_modality(z, {}, z, {})
    assert together.total.grad_fn.name() != apart.total.grad_fn.name(), "the batch is not small"
    found, wanted = (torch.autograd.grad(out.total, list(z.values())) for out in (together, apart))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(tuple(together), tuple(apart), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("length", [1e-9, 1e-5, 1e5, 1e9, 1e30])
@pytest.mark.parametrize("balance", ["sum", "pareto"])
def test_lengths_do_not_matter(balance, length):
    reg, z = GeometryRegularizer(balance=balance), batch(dtype=torch.float32)
    scaled = {m: (length * x.detach()).requires_grad_() for m, x in z.items()}
    torch.testing.assert_close(reg(scaled).total, reg(z).total, rtol=1e-5, atol=0)
    found, wanted = (torch.autograd.grad(reg(x).total, x["a"])[0] for x in (scaled, z))
    torch.testing.assert_close(found.double() * length, wanted.double(), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 100.0])
def test_equal_and_opposite_samples_have_the_extreme_dispersions(temperature):
    x = torch.tensor([[1.0, 0.0]] * 4 + [[-1.0, 0.0]] * 4, dtype=torch.float32)
    z = {"equal": x[:2], "opposite": x[3:5], "b": x[:2]}
    found = GeometryRegularizer(temperature=temperature)(z).dispersion
    assert found["equal"].item() == 0.0
    assert found["opposite"].item() == pytest.approx(-4 / temperature, rel=1e-6)


def test_one_tensor_as_two_modalities_gets_both_gradients():
    (z,) = batch(1).values()
    totals = GeometryRegularizer()({"a": z, "b": z}).total, of_terms({"a": z, "b": z})
    torch.testing.assert_close(*(torch.autograd.grad(x, z) for x in totals), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("balance", ["sum", "pareto"])
def test_a_zero_vector_gets_no_gradient_and_nan_is_named(balance):
    z, reg = batch(), GeometryRegularizer(balance=balance)
    with torch.no_grad():
        z["a"][3] = 0
    reg(z).total.backward()
    assert (z["a"].grad[3] == 0).all() and z["b"].grad.isfinite().all() and z["b"].grad.any()
    with torch.no_grad():
        z["b"][5] = torch.nan
    with pytest.raises(ValueError, match="'b' holds NaN in 1 of 32"):
        reg(z)
