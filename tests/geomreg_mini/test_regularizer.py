"""The two terms against closed forms and float64 references, their invariances, and hostile input."""

import math
import subprocess
import sys
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from geomreg_mini import GeometryRegularizer, anchoring, dispersion
from geomreg_mini.inputs import FORMS

PAIR_FORMS = ("rbf", "cosine", "hinge")
seeds = st.integers(0, 2**32 - 1)
# deadline=None: on a busy machine one slow example says nothing about the property.
few = settings(max_examples=20, deadline=None)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close_points(batch=7, width=5, seed=0):
    """Points in a cone, so that every form, the hinge included, has pairs to push apart."""
    return randn(batch, width, seed=seed) + 2.0


def gradient(function, *tensors):
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    value = function(*leaves)
    return value.detach(), torch.autograd.grad(value, leaves)


# References: the formulas as loops, in float64, sharing no code with the module.


def loop_dispersion(z, temperature, form):
    u = [row / row.pow(2).sum().sqrt() for row in z.double()]
    squared = [(u[i] - u[j]).pow(2).sum() for i in range(len(u)) for j in range(len(u)) if i != j]
    cosines = [(u[i] * u[j]).sum() for i in range(len(u)) for j in range(len(u)) if i != j]
    if form == "rbf":
        return torch.stack([(-d / temperature).exp() for d in squared]).mean().log()
    if form == "cosine":
        return torch.stack([(-(1 - c) / temperature).exp() for c in cosines]).mean().log()
    if form == "hinge":
        return torch.stack([(1 - d).clamp(min=0) ** 2 for d in squared]).mean()
    covariance = torch.cov(torch.stack(u).T)
    return sum(
        covariance[m, n] ** 2 for m in range(len(covariance)) for n in range(len(covariance)) if m != n
    )


def loop_anchoring(a, b, radius, power):
    terms = []
    for x, y in zip(a.double(), b.double(), strict=True):
        distance = (x / x.pow(2).sum().sqrt() - y / y.pow(2).sum().sqrt()).pow(2).sum().sqrt()
        terms.append((distance - radius).clamp(min=0) ** power)
    return torch.stack(terms).mean()


# Closed forms


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("batch", [2, 3, 64])
def test_regular_simplex_reaches_the_closed_form_minimum(batch, temperature):
    simplex = torch.eye(batch, dtype=torch.float64) - 1 / batch
    expected = -2 * batch / ((batch - 1) * temperature)
    assert dispersion(simplex, temperature=temperature).item() == pytest.approx(expected, abs=1e-9)
    assert expected <= dispersion(randn(batch, batch), temperature=temperature).item()


def test_simplex_of_64_at_the_default_temperature_is_minus_4_0635():
    assert dispersion(torch.eye(64) - 1 / 64).item() == pytest.approx(-4.0635, abs=5e-5)


@pytest.mark.parametrize("width, expected", [(16, -3.513), (64, -3.875), (128, -3.938), (512, -3.984)])
def test_uniform_sphere_has_its_known_value(width, expected):
    assert dispersion(randn(2000, width, dtype=torch.float32)).item() == pytest.approx(expected, abs=3e-3)


@pytest.mark.parametrize("form, expected", [("rbf", 0), ("cosine", 0), ("hinge", 1), ("covariance", 0)])
def test_collapsed_batch_has_its_known_value(form, expected):
    collapsed = randn(1, 8).expand(20, 8) * torch.arange(1.0, 21.0)[:, None]
    assert dispersion(collapsed, form=form).item() == pytest.approx(expected, abs=1e-12)
    assert dispersion(collapsed.float(), form=form).item() == pytest.approx(expected, abs=1e-5)


def test_antipodes_have_their_known_values():
    z = torch.tensor([[3.0, 0.0], [-0.5, 0.0]])
    assert dispersion(z).item() == pytest.approx(-8.0)
    assert dispersion(z, form="cosine").item() == pytest.approx(-4.0)
    assert dispersion(z, form="hinge").item() == 0.0
    assert anchoring(z[:1], z[1:]).item() == pytest.approx(1.4**2)


def test_covariance_of_perfectly_correlated_features_has_its_known_value():
    half = 0.5**0.5
    z = torch.tensor([[half, half], [-half, -half]], dtype=torch.float64)  # covariance matrix: all entries 1
    assert dispersion(z, form="covariance").item() == pytest.approx(2.0)
    assert dispersion(torch.eye(2).repeat(3, 1)[:, :1] + 1.0, form="covariance").item() == 0.0


@pytest.mark.parametrize("t", [0.5, 2.0, 7.0])
def test_rbf_is_the_uniformity_of_wang_and_isola(t):
    z = randn(30, 6)
    distances = torch.pdist(z / z.norm(dim=1, keepdim=True))
    uniformity = distances.pow(2).mul(-t).exp().mean().log()
    assert dispersion(z, temperature=1 / t).item() == pytest.approx(uniformity.item(), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.2, 0.5, 3.0])
def test_rbf_is_info_nce_cosine_at_half_the_temperature_shifted(temperature):
    u = torch.nn.functional.normalize(randn(30, 6))
    off_diagonal = ~torch.eye(30, dtype=torch.bool)
    info_nce = ((u @ u.T)[off_diagonal] / (temperature / 2)).exp().mean().log()
    rbf = dispersion(u, temperature=temperature)
    assert rbf.item() == pytest.approx((info_nce - 2 / temperature).item(), abs=1e-12)
    assert rbf.item() == pytest.approx(
        dispersion(u, temperature=temperature / 2, form="cosine").item(), abs=1e-12
    )


def gradient_norm_on_the_sphere(function, u):
    return gradient(lambda z: function(torch.nn.functional.normalize(z)), u)[1][0].norm().item()


def test_dividing_by_the_dimension_leaves_almost_no_gradient_on_unit_vectors():
    u = torch.nn.functional.normalize(randn(64, 512))
    value, (divided,) = gradient(lambda z: dispersion(z, temperature=512.0), u)  # the same as d^2 / D at 1
    assert value.item() == pytest.approx(-0.004, abs=2e-4)
    assert divided.norm().item() == pytest.approx(1.2e-4, rel=0.2)
    assert gradient(dispersion, u)[1][0].norm().item() == pytest.approx(0.13, rel=0.2)


def test_keeping_the_diagonal_saturates_the_loss_at_low_temperature():
    def with_diagonal(temperature):
        return lambda u: ((2 * u @ u.T - 2) / temperature).flatten().logsumexp(0) - 2 * math.log(64)

    u = torch.nn.functional.normalize(randn(64, 512))
    assert with_diagonal(0.1)(u).item() == pytest.approx(-math.log(64), abs=1e-4)
    assert gradient_norm_on_the_sphere(with_diagonal(0.1), u) < 1e-5
    assert gradient(lambda z: dispersion(z, temperature=0.1), u)[1][0].norm().item() == pytest.approx(
        0.91, rel=0.2
    )
    ratio = gradient_norm_on_the_sphere(with_diagonal(0.5), u) / gradient(dispersion, u)[1][0].norm().item()
    assert ratio == pytest.approx(0.54, abs=0.03)


@pytest.mark.parametrize("angle, radius, power", [(60, 0.6, 2), (90, 0.25, 1), (180, 0.0, 3), (20, 0.6, 2)])
def test_anchoring_of_a_known_angle(angle, radius, power):
    theta = math.radians(angle)
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[math.cos(theta), math.sin(theta)]])
    expected = max(0.0, 2 * math.sin(theta / 2) - radius) ** power
    assert anchoring(a, b, radius=radius, power=power).item() == pytest.approx(expected, abs=1e-6)


# Values and gradients against the loops


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 100])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("form", FORMS)
def test_dispersion_and_its_gradient_equal_the_loop(form, temperature, chunk_size):
    z = close_points()
    expected, (expected_gradient,) = gradient(lambda z: loop_dispersion(z, temperature, form), z)
    options = dict(form=form, temperature=temperature, chunk_size=chunk_size)
    value, (grad,) = gradient(lambda z: dispersion(z, **options), z)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, expected_gradient)
    assert grad.abs().max() > 1e-8
    value32, (grad32,) = gradient(lambda z: dispersion(z, **options), z.float())
    torch.testing.assert_close(value32.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grad32.double(), expected_gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("radius, power", [(0.6, 2), (0.0, 1), (0.3, 1.5), (1.0, 3)])
def test_anchoring_and_its_gradient_equal_the_loop(radius, power):
    a, b = randn(9, 5), randn(9, 5, seed=1)
    expected, expected_gradients = gradient(lambda a, b: loop_anchoring(a, b, radius, power), a, b)
    value, gradients = gradient(lambda a, b: anchoring(a, b, radius=radius, power=power), a, b)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("form", FORMS)
def test_gradcheck_of_dispersion(form, chunk_size):
    z = close_points(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: dispersion(3 * z, form=form, chunk_size=chunk_size), z)


def test_gradcheck_of_the_whole_regularizer():
    z = [randn(5, 3, seed=seed).requires_grad_() for seed in range(3)]
    reg = GeometryRegularizer(radius=0.2)
    mask = {"b": torch.tensor([True, False, True, True, False])}
    assert torch.autograd.gradcheck(lambda a, b, c: reg({"a": a, "b": b, "c": c}, mask).total, z)


@pytest.mark.parametrize("form", FORMS)
def test_chunks_equal_the_whole_in_float32(form):
    z = close_points(130, 16).float()
    expected, (expected_gradient,) = gradient(lambda z: dispersion(z, form=form), z)
    value, (grad,) = gradient(lambda z: dispersion(z, form=form, chunk_size=32), z)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grad, expected_gradient, rtol=1e-4, atol=1e-8)


def hessian_times(function, z, direction):
    z = z.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(z), z, create_graph=True)
    return torch.autograd.grad((first * direction).sum(), z)[0]


class Disperse(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, z):
        return dispersion(z, **self.options)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("form", FORMS)
def test_second_derivatives_are_those_of_the_loops(form, chunk_size):
    z, direction = close_points(5, 3), randn(5, 3, seed=1)
    disperse = Disperse(form=form, chunk_size=chunk_size)
    expected = hessian_times(lambda z: loop_dispersion(z, 0.5, form), z, direction)
    torch.compiler.reset()
    programs = [
        disperse,
        torch.compile(disperse, backend="eager"),
        torch.export.export(disperse, (z,)).module(),
        torch.export.export(disperse, (z,), strict=True).module(),
    ]
    for program in programs:
        torch.testing.assert_close(hessian_times(program, z, direction), expected)
    jvp, grad, jacfwd = torch.func.jvp, torch.func.grad, torch.func.jacfwd
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(z.clone().requires_grad_(), direction)
        without_graph = forward_ad.unpack_dual(torch.autograd.grad(disperse(dual), dual)[0]).tangent
    for found in (
        jvp(grad(disperse), (z,), (direction,))[1],
        grad(lambda z: jvp(disperse, (z,), (direction,))[1])(z),
        (torch.func.hessian(disperse)(z) * direction).sum((2, 3)),
        (jacfwd(jacfwd(disperse))(z) * direction).sum((2, 3)),
        without_graph,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batch", [5, 16])
def test_every_second_derivative_of_the_balance_is_refused(batch):
    a, b = randn(batch, 3), randn(batch, 3, seed=1)
    jvp, grad, jacfwd = torch.func.jvp, torch.func.grad, torch.func.jacfwd

    def total(z):
        return GeometryRegularizer(balance="pareto", radius=0.2)(z, b).total

    def without_graph(z):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(z.clone().requires_grad_(), b)
            return torch.autograd.grad(total(dual), dual)

    for second in (
        lambda z: hessian_times(total, z, b),
        lambda z: jvp(grad(total), (z,), (b,)),
        grad(lambda z: jvp(total, (z,), (b,))[1]),
        jacfwd(jacfwd(total)),
        without_graph,
    ):
        with pytest.raises(RuntimeError, match="differentiable once"):
            second(a)


@pytest.mark.parametrize(
    "reg", [GeometryRegularizer(radius=0.2), GeometryRegularizer(balance="pareto", radius=0.2)]
)
def test_functions_of_torch_func_see_the_same_value_and_gradient(reg):
    batches, other = torch.stack([close_points(5, 3), randn(5, 3)]), randn(5, 3, seed=2)

    def total(z):
        return reg({"a": z, "b": other}).total

    expected = [gradient(total, z) for z in batches]
    values, gradients = torch.stack([v for v, _ in expected]), torch.stack([g for _, (g,) in expected])
    torch.testing.assert_close(torch.func.vmap(total)(batches), values)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(total))(batches), gradients)
    tangent = torch.func.jvp(total, (batches[0],), (other,))[1]
    torch.testing.assert_close(tangent, (gradients[0] * other).sum())
    output = torch.func.vmap(lambda z: reg([z, other]))(batches)
    torch.testing.assert_close(output.total, values)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("options", [{}, {"balance": "pareto"}, {"balance": "pareto", "chunk_size": 7}])
@pytest.mark.parametrize("batch", [1, 20, 150])
def test_a_checkpoint_changes_no_gradient(options, reentrant, batch):
    z = [randn(batch, 3).requires_grad_() for _ in "ab"]

    def total(*z):
        return GeometryRegularizer(**options)(*z).total

    expected = torch.autograd.grad(total(*z), z)
    checkpoint(total, *z, use_reentrant=reentrant).backward()
    assert all(torch.equal(x.grad, e) for x, e in zip(z, expected, strict=True))


def test_embeddings_may_come_in_a_sequence_or_one_by_one():
    a, b, c = (randn(6, 4, seed=seed) for seed in range(3))
    reg = GeometryRegularizer()
    expected = reg({"0": a, "1": b, "2": c})
    for output in (reg(a, b, c), reg([a, b, c]), reg((a, b), c)):
        assert output.anchoring.keys() == expected.anchoring.keys() and output.total == expected.total
    mask = {"1": torch.arange(6) < 4}
    assert reg(a, b, mask=mask).total == reg({"0": a, "1": b}, mask).total != reg(a, b).total


@pytest.mark.parametrize(
    "given", [(randn(3, 2).numpy(),) * 2, ([[1.0, 2.0]], [[1.0, 2.0]]), (randn(3, 2), None)]
)
def test_what_is_no_tensor_is_named(given):
    with pytest.raises(
        ValueError, match=r"modality '[01]' must be a torch.Tensor, got (ndarray|list|NoneType)"
    ):
        GeometryRegularizer()(*given)


def test_tensors_without_data_give_a_total_without_data():
    a, b = torch.empty(4, 3, device="meta"), torch.empty(4, 3, device="meta")
    assert GeometryRegularizer()(a, b).total.is_meta


def test_one_sample_gives_a_positive_zero():
    for form in FORMS:
        assert math.copysign(1, dispersion(-torch.ones(1, 3), form=form)) == 1


# Invariances


@few
@given(seeds, st.sampled_from(FORMS))
def test_the_order_of_samples_does_not_matter(seed, form):
    a, b = close_points(seed=seed), randn(7, 5, seed=seed + 1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(dispersion(a[order], form=form), dispersion(a, form=form))
    torch.testing.assert_close(anchoring(a[order], b[order]), anchoring(a, b))


@few
@given(seeds, st.sampled_from(PAIR_FORMS))
def test_a_common_rotation_does_not_matter(seed, form):
    a, b = close_points(seed=seed), randn(7, 5, seed=seed + 1)
    rotation, _ = torch.linalg.qr(randn(5, 5, seed=seed + 2))
    torch.testing.assert_close(dispersion(a @ rotation, form=form), dispersion(a, form=form))
    torch.testing.assert_close(anchoring(a @ rotation, b @ rotation), anchoring(a, b))


@few
@given(seeds, st.sampled_from(FORMS), st.floats(-9, 9))
def test_the_length_of_an_embedding_does_not_matter(seed, form, exponent):
    a, b = close_points(seed=seed), randn(7, 5, seed=seed + 1)
    lengths = 10 ** (exponent * torch.rand(7, 1, generator=torch.Generator().manual_seed(seed)))
    torch.testing.assert_close(dispersion(a * lengths, form=form), dispersion(a, form=form))
    torch.testing.assert_close(anchoring(a * lengths, b), anchoring(a, b))


@few
@given(seeds, st.floats(0.01, 10))
def test_rbf_lies_between_simplex_and_collapse(seed, temperature):
    value = dispersion(randn(6, 3, seed=seed), temperature=temperature).item()
    assert -2 * 6 / 5 / temperature - 1e-9 <= value <= 0


@few
@given(seeds, st.floats(0, 2), st.floats(0, 1))
def test_anchoring_is_symmetric_and_falls_with_the_radius(seed, radius, share):
    a, b = randn(8, 3, seed=seed), randn(8, 3, seed=seed + 1)
    assert anchoring(a, b, radius=radius).item() == pytest.approx(anchoring(b, a, radius=radius).item())
    assert anchoring(a, b, radius=radius) <= anchoring(a, b, radius=radius * share) + 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_a_gradient_step_lowers_the_term(form):
    z = close_points(40, 8)
    value, (grad,) = gradient(lambda z: dispersion(z, form=form), z)
    assert dispersion(z - 1e-2 * grad / grad.norm(), form=form) < value


# The band


def test_inside_the_band_value_and_gradient_are_exactly_zero():
    a = randn(50, 8, dtype=torch.float32)
    b = a + 0.05 * randn(50, 8, seed=1, dtype=torch.float32)
    for power in (1, 1.5, 2):
        value, gradients = gradient(lambda a, b, p=power: anchoring(a, b, power=p), a, b)
        assert value.item() == 0.0
        assert all((grad == 0).all() for grad in gradients)


def test_only_samples_outside_the_band_are_pulled_and_active_says_how_many():
    a = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    b = torch.tensor([[1.0, 0.1], [0.0, 1.0], [1.0, -0.1], [-1.0, 0.2]])
    reg = GeometryRegularizer(dispersion_weight=0)
    _, (grad, _) = gradient(lambda a, b: reg({"a": a, "b": b}).total, a, b)
    assert (grad != 0).any(1).tolist() == [False, True, False, True]
    active = reg({"a": a, "b": b}).active["a", "b"]
    assert active.item() == 0.5 and not active.requires_grad


# Hostile values


HOSTILE = {
    "duplicates": torch.ones(6, 4),
    "zeros": torch.zeros(6, 4),
    "one zero vector": torch.cat([torch.zeros(1, 4), torch.eye(4)]),
    "batch of one": torch.tensor([[0.3, -0.2, 0.1, 0.5]]),
    "batch of two": torch.eye(4)[:2],
    "empty batch": torch.zeros(0, 4),
    "huge": torch.full((3, 4), 1e30) * torch.tensor([[1.0], [2.0], [-1.0]]),
    "tiny": torch.full((3, 4), 1e-30),
    "one feature": torch.tensor([[1.0], [-2.0], [3.0]]),
}


@pytest.mark.parametrize("radius, power", [(0.6, 2), (0.0, 1), (0.0, 2), (2.0, 1)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", HOSTILE)
def test_value_and_gradient_stay_finite(case, form, radius, power):
    reg = GeometryRegularizer(form=form, radius=radius, power=power, temperature=0.05)
    a, b = HOSTILE[case], HOSTILE[case].clone()
    value, gradients = gradient(lambda a, b: reg({"a": a, "b": b}).total, a, b)
    assert value.isfinite()
    assert all(grad.isfinite().all() for grad in gradients)


def test_zero_vectors_sit_at_the_origin_and_get_no_gradient():
    z = torch.cat([torch.zeros(1, 4), torch.eye(4)])
    value, (grad,) = gradient(dispersion, z)
    pairs = [-1 / 0.5] * 8 + [-2 / 0.5] * 12  # distance 1 from the origin, 2 between axes
    assert value.item() == pytest.approx(math.log(sum(map(math.exp, pairs)) / 20), abs=1e-6)
    assert (grad[0] == 0).all()
    assert anchoring(z[:1], z[1:2], radius=0.25).item() == pytest.approx(0.75**2)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("form", FORMS)
def test_fewer_than_two_samples_give_zero_and_a_gradient_of_zeros(form, batch):
    value, (grad,) = gradient(lambda z: dispersion(z, form=form), randn(batch, 3))
    assert value.item() == 0.0 and grad.shape == (batch, 3) and (grad == 0).all()


# Precision


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_computed_in_float32(form, dtype):
    reg = GeometryRegularizer(form=form, radius=0.1)
    low = {"a": close_points(40, 16).to(dtype), "b": close_points(40, 16, seed=1).to(dtype)}
    out, expected = reg(low), reg({m: z.double() for m, z in low.items()})
    assert out.total.dtype == torch.float32
    torch.testing.assert_close(out.total.double(), expected.total, rtol=1e-5, atol=1e-6)
    _, gradients = gradient(lambda a, b: reg({"a": a, "b": b}).total, *low.values())
    assert all(grad.dtype == dtype and grad.isfinite().all() and (grad != 0).any() for grad in gradients)


def test_float16_values_whose_squares_underflow_or_overflow_keep_their_direction():
    z = torch.eye(4, dtype=torch.float16)
    for scale in (1e-7, 6e4):
        assert dispersion(z * scale).item() == pytest.approx(-4.0, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing(form):
    a, b = (
        close_points(40, 16).float().requires_grad_(),
        close_points(40, 16, seed=1).float().requires_grad_(),
    )
    reg = GeometryRegularizer(form=form, radius=0.1)

    def values():
        return reg({"a": a, "b": b}).total, dispersion(a, form=form), anchoring(a, b, radius=0.1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = values()
    for value, expected in zip(inside, values(), strict=True):
        assert torch.equal(value, expected)
        assert torch.equal(*(torch.autograd.grad(v, a)[0] for v in (value, expected)))


def test_float64_stays_float64():
    a, b = randn(5, 3), randn(5, 3, seed=1)
    out = GeometryRegularizer()({"a": a, "b": b})
    numbers = [out.total, out.dispersion["a"], out.anchoring["a", "b"], out.active["a", "b"], anchoring(a, b)]
    assert {number.dtype for number in numbers} == {torch.float64}


# The module


def test_total_is_the_weighted_mean_over_three_modalities_and_their_pairs():
    z = {name: randn(12, 6, seed=seed) for seed, name in enumerate(["audio", "image", "text"])}
    options = dict(temperature=0.7, form="rbf")
    out = GeometryRegularizer(0.3, 2.0, radius=0.4, power=1, **options)(z)
    assert list(out.dispersion) == list(z)
    assert (
        list(out.anchoring) == list(out.active) == [("audio", "image"), ("audio", "text"), ("image", "text")]
    )
    for name in z:
        torch.testing.assert_close(out.dispersion[name], dispersion(z[name], **options))
    for a, b in combinations(z, 2):
        torch.testing.assert_close(out.anchoring[a, b], anchoring(z[a], z[b], radius=0.4, power=1))
    expected = 0.3 * sum(out.dispersion.values()) / 3 + 2.0 * sum(out.anchoring.values()) / 3
    torch.testing.assert_close(out.total, expected)


def test_a_term_with_weight_zero_is_not_computed():
    z = {"a": randn(6, 3), "b": randn(6, 4)}
    out = GeometryRegularizer(anchoring_weight=0)(z)
    assert set(out.dispersion) == {"a", "b"} and out.anchoring == out.active == {}
    out = GeometryRegularizer(dispersion_weight=0)({"a": z["a"], "b": z["a"]})
    assert out.dispersion == {} and out.total.item() == 0.0
    assert GeometryRegularizer(0, 0)(z).total.item() == 0.0


def test_no_parameter_and_an_empty_state():
    reg = GeometryRegularizer()
    reg({"a": randn(4, 3), "b": randn(4, 3)})
    assert len(reg.state_dict()) == 0 and list(reg.parameters()) == list(reg.buffers()) == []
    model = nn.ModuleDict({"head": nn.Linear(2, 2)})
    saved = model.state_dict()
    model["reg"] = reg
    model.load_state_dict(saved)


def test_hyperparameters_make_an_equal_copy_and_are_shown():
    reg = GeometryRegularizer(
        0.2, 0.0, temperature=1.5, radius=0.1, form="hinge", power=1, chunk_size=8, gather=True
    )
    copy = GeometryRegularizer(**reg.hyperparameters())
    assert copy.hyperparameters() == reg.hyperparameters() and copy.form == "hinge" and copy.chunk_size == 8
    assert "form='hinge'" in repr(reg) and "radius=0.1" in repr(reg)
    assert GeometryRegularizer().hyperparameters() == {
        "dispersion_weight": 0.1,
        "anchoring_weight": 0.5,
        "temperature": 0.5,
        "radius": 0.6,
        "form": "rbf",
        "power": 2,
        "chunk_size": None,
        "gather": False,
    }


# Masks


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_equals_the_batch_of_the_present_samples(form):
    z = {name: close_points(10, 4, seed=seed) for seed, name in enumerate("abc")}
    present = {"a": torch.arange(10) < 7, "b": torch.arange(10) % 3 > 0}
    reg = GeometryRegularizer(form=form, radius=0.05)
    out = reg(z, present)
    everywhere = present | {"c": torch.ones(10, dtype=torch.bool)}
    for m in z:
        torch.testing.assert_close(out.dispersion[m], dispersion(z[m][everywhere[m]], form=form))
    for m, n in combinations(z, 2):
        both = everywhere[m] & everywhere[n]
        part = GeometryRegularizer(form=form, radius=0.05)({m: z[m][both], n: z[n][both]})
        torch.testing.assert_close(out.anchoring[m, n], part.anchoring[m, n])
        torch.testing.assert_close(out.active[m, n], part.active[m, n])


def test_absent_samples_take_no_part_whatever_they_hold():
    a, b = randn(6, 3), randn(6, 3, seed=1)
    present = torch.tensor([True, True, False, True, False, True])
    reg = GeometryRegularizer()
    expected = reg({"a": a, "b": b}, {"b": present}).total
    b[2], b[4, 0] = math.nan, math.inf
    value, (_, grad) = gradient(lambda a, b: reg({"a": a, "b": b}, {"b": present}).total, a, b)
    assert torch.equal(value, expected)
    assert (grad[~present] == 0).all() and (grad[present] != 0).all()


@pytest.mark.parametrize("count", [0, 1])
def test_a_modality_with_fewer_than_two_present_samples_has_dispersion_zero(count):
    a, b = randn(5, 3), randn(5, 3, seed=1)
    mask = {"a": torch.arange(5) < count}
    out = GeometryRegularizer()({"a": a, "b": b}, mask)
    assert out.dispersion["a"].item() == 0.0 and out.dispersion["b"].item() < 0.0
    torch.testing.assert_close(out.dispersion["b"], dispersion(b))


class Masked(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.reg = GeometryRegularizer(radius=0.05, **options)

    def forward(self, a, b, here):
        return self.reg({"a": a, "b": b}, {"a": here}).total


MASKED = [{"form": form} for form in FORMS] + [
    {"chunk_size": 2},
    {"form": "hinge", "chunk_size": 2},
    {"balance": "pareto"},
    {"balance": "pareto", "form": "hinge"},
]


@pytest.mark.parametrize("options", MASKED, ids=str)
def test_a_mask_needs_no_known_number_of_samples(options):
    masked, (a, b) = Masked(**options), (close_points(6, 3), close_points(6, 3, seed=1))
    for here in (torch.arange(6) % 3 > 0, torch.arange(6) < 1, torch.zeros(6, dtype=torch.bool)):
        value, gradients = gradient(lambda a, b, here=here: masked(a, b, here), a, b)
        transformed = torch.func.grad_and_value(masked, argnums=(0, 1))(a, b, here)
        torch.testing.assert_close(transformed, (gradients, value))
        if options.get("balance") != "pareto":
            expected = hessian_times(lambda z, here=here: masked(z, b, here), a, b)
            found = torch.func.jvp(lambda z, h=here: torch.func.grad(masked)(z, b, h), (a,), (b,))[1]
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, {"form": "hinge"}, {"form": "covariance"}, {"balance": "pareto"}])
def test_masks_and_batches_are_mapped_together(options):
    a, b = (torch.stack([close_points(6, 3, seed=s), randn(6, 3, seed=s)]) for s in (0, 1))
    here = torch.stack([torch.arange(6) % 3 > 0, torch.arange(6) < 4])
    masked = Masked(**options)
    if options != {"balance": "pareto"}:
        expected = torch.stack([masked(*given) for given in zip(a, b, here, strict=True)])
        torch.testing.assert_close(torch.func.vmap(masked)(a, b, here), expected)
    graph = torch.export.export(masked, (a[0], b[0], here[0])).module()
    torch.testing.assert_close(graph(a[1], b[1], here[1]), masked(a[1], b[1], here[1]))


@pytest.mark.parametrize("options", MASKED, ids=str)
@pytest.mark.parametrize("batch", [0, 1, 5, 16])
def test_a_mask_of_tensors_without_data_gives_a_total_and_gradients_without_data(options, batch):
    def total(device):
        z = {m: torch.ones(batch, 3, device=device, requires_grad=True) for m in "abc"}
        out = GeometryRegularizer(**options)(z, {"a": torch.ones(batch, dtype=torch.bool, device=device)})
        out.total.backward()
        assert out.total.shape == () and z["a"].grad.shape == (batch, 3)
        return out.total

    assert total("meta").is_meta
    with FakeTensorMode() as mode:
        assert mode.is_our_fake(total("cpu"))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("options", [{}, {"form": "covariance"}, {"balance": "pareto"}])
def test_an_export_serves_every_batch_size(options, strict):
    masked, batch = Masked(**options), torch.export.Dim("batch", min=3, max=4096)
    given = close_points(8, 3), close_points(8, 3, seed=1), torch.arange(8) > 2
    if options == {"balance": "pareto"}:
        given = *given[:2], torch.ones(8, dtype=torch.bool)
    graph = torch.export.export(masked, given, dynamic_shapes=({0: batch},) * 3, strict=strict).module()
    other = close_points(21, 3, seed=2), close_points(21, 3, seed=3), torch.arange(21) % 2 > 0
    torch.testing.assert_close(graph(*other), masked(*other))


def test_a_pair_that_no_sample_has_both_of_has_anchoring_zero():
    a, b = randn(4, 3), -randn(4, 3)
    mask = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([False, False, True, True])}
    value, gradients = gradient(lambda a, b: GeometryRegularizer()({"a": a, "b": b}, mask).total, a, b)
    out = GeometryRegularizer()({"a": a, "b": b}, mask)
    assert out.anchoring["a", "b"].item() == out.active["a", "b"].item() == 0.0
    assert value.isfinite() and all(grad.isfinite().all() for grad in gradients)


@pytest.mark.parametrize("form", ["rbf", "cosine"])
@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("temperature", [1e-30, 1e-20, 1e20, 1e30])
def test_the_ends_of_temperature_give_finite_values_and_gradients_in_float32(temperature, chunk_size, form):
    for batch in (2, 6, 200):
        z = randn(batch, 4).float()
        value, (grad,) = gradient(
            lambda z: dispersion(z, temperature=temperature, form=form, chunk_size=chunk_size), z
        )
        assert value.isfinite() and grad.isfinite().all()


# Errors


@pytest.mark.parametrize(
    "options, words",
    [
        ({"dispersion_weight": -0.1}, ["dispersion_weight", "-0.1"]),
        ({"anchoring_weight": -2}, ["anchoring_weight", "-2"]),
        ({"anchoring_weight": math.nan}, ["anchoring_weight", "nan"]),
        ({"temperature": 0}, ["temperature", "got 0"]),
        ({"temperature": -0.5}, ["temperature", "-0.5"]),
        ({"temperature": math.inf}, ["temperature", "inf"]),
        ({"temperature": 9e-31}, ["temperature", "[1e-30, 1e+30]", "9e-31"]),
        ({"temperature": 1.1e30}, ["temperature", "1.1e+30"]),
        ({"radius": -0.1}, ["radius", "-0.1"]),
        ({"radius": 2.5}, ["radius", "2.5"]),
        ({"power": 0.5}, ["power", "0.5"]),
        ({"form": "gauss"}, ["form", "gauss", "rbf, cosine, hinge, covariance"]),
        ({"chunk_size": 0}, ["chunk_size", "=0"]),
        ({"chunk_size": 2.5}, ["chunk_size", "2.5"]),
        ({"gather": "False"}, ["gather", "'False'", "False, True"]),
        ({"gather": None}, ["gather", "None"]),
    ],
)
def test_a_bad_argument_is_named_with_its_value(options, words):
    calls = [GeometryRegularizer, lambda **o: setattr(GeometryRegularizer(), *next(iter(o.items())))]
    if options.keys() & {"temperature", "form", "chunk_size"}:
        calls.append(lambda **o: dispersion(randn(3, 2), **o))
    if options.keys() & {"radius", "power"}:
        calls.append(lambda **o: anchoring(randn(3, 2), randn(3, 2), **o))
    for call in calls:
        with pytest.raises(ValueError) as error:
            call(**options)
        assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("name, value", [("radius", 5), ("balance", "x"), ("strength", 0.2), ("form", None)])
def test_a_refused_change_leaves_the_old_value(name, value):
    reg, z = GeometryRegularizer(), {"a": randn(5, 3), "b": randn(5, 3)}
    before, total = reg.hyperparameters(), reg(z).total
    with pytest.raises(ValueError):
        setattr(reg, name, value)
    assert reg.hyperparameters() == before and torch.equal(reg(z).total, total)
    reg.power = 1  # another change is not refused for it


def broken(value):
    z = randn(4, 3)
    z[2, 1] = value
    return z


@pytest.mark.parametrize(
    "embeddings, mask, words",
    [
        ({"a": randn(4, 3), "b": broken(math.nan)}, None, ["'b'", "NaN", "1 of 4"]),
        ({"a": broken(-math.inf), "b": randn(4, 3)}, None, ["'a'", "infinity", "1 of 4"]),
        ({"a": randn(4, 3), "b": broken(math.nan)}, {"b": torch.arange(4) > 0}, ["'b'", "NaN"]),
        ({"a": randn(4, 3), "b": randn(5, 3)}, None, ["'b'", "5", "'a'", "4"]),
        ({"a": randn(4, 3), "b": randn(4, 2)}, None, ["'b'", "width 2", "'a'", "3", "anchoring"]),
        ({"a": randn(4, 3), "b": randn(4)}, None, ["'b'", "(4,)"]),
        ({"a": randn(4, 3, 1), "b": randn(4, 3)}, None, ["'a'", "(4, 3, 1)"]),
        ({"a": randn(4, 0), "b": randn(4, 0)}, None, ["'a'", "(4, 0)"]),
        ({"a": randn(4, 3), "b": torch.ones(4, 3, dtype=torch.long)}, None, ["'b'", "torch.int64"]),
        ({"a": randn(4, 3), "b": randn(4, 3).to(torch.float8_e4m3fn)}, None, ["'b'", "16 bits", "float8"]),
        ({"a": randn(4, 3)}, None, ["at least 2 modalities", "'a'"]),
        ({}, None, ["at least 2 modalities"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, {"b": torch.ones(4)}, ["mask", "'b'", "torch.float32"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, {"b": torch.ones(3) > 0}, ["mask", "'b'", "(4,)", "(3,)"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, {"c": torch.ones(4) > 0}, ["mask", "'c'", "'a'"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, {"b": [True] * 4}, ["mask", "'b'", "(4,)", "list"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, {"b": None}, ["mask", "'b'", "NoneType"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, torch.ones(4) > 0, ["mask must be a dict", "Tensor"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, [torch.ones(4) > 0] * 2, ["mask must be a dict", "list"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, False, ["mask must be a dict", "bool"]),
        ({"a": randn(4, 3), "b": randn(4, 3).to_sparse()}, None, ["'b'", "dense", "sparse"]),
        ({"a": torch.nested.nested_tensor([randn(3)]), "b": randn(1, 3)}, None, ["'a'", "dense", "nested"]),
    ],
)
def test_a_bad_input_is_named(embeddings, mask, words):
    with pytest.raises(ValueError) as error:
        GeometryRegularizer()(embeddings, mask)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: dispersion(broken(math.nan)), ["'z'", "NaN"]),
        (lambda: dispersion(randn(4)), ["'z'", "(4,)"]),
        (lambda: anchoring(randn(4, 3), broken(math.inf)), ["'b'", "infinity"]),
        (lambda: anchoring(randn(4, 3), randn(1, 3)), ["'b'", "batch size 1", "4"]),
        (lambda: anchoring(randn(4, 3), randn(4, 1)), ["'b'", "width 1", "3"]),
    ],
)
def test_the_functions_name_their_argument(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert all(word in str(error.value) for word in words)


# Compiled


@pytest.fixture
def compiled():
    """A function through torch.compile and how many graphs it took; the backends need no C compiler."""
    from torch._dynamo.testing import CompileCounterWithBackend

    def make(function, backend="eager", **options):
        counter = CompileCounterWithBackend(backend)
        return torch.compile(function, backend=counter, **options), counter

    torch.compiler.reset()
    yield make
    torch.compiler.reset()


@pytest.mark.parametrize(
    "form, backend", [*((form, "eager") for form in FORMS), ("rbf", "aot_eager")]
)  # aot_eager: the backward pass, too, is a graph made ahead of time
def test_one_graph_without_a_break_serves_every_batch_size(form, backend, compiled):
    reg = GeometryRegularizer(form=form, radius=0.1)
    call, counter = compiled(lambda a, b: reg({"a": a, "b": b}).total, backend, fullgraph=True, dynamic=True)
    graphs = set()
    for batch in (64, 33, 5):
        a, b = close_points(batch, 16).float(), close_points(batch, 16, seed=1).float()
        expected, expected_gradients = gradient(lambda a, b: reg({"a": a, "b": b}).total, a, b)
        value, gradients = gradient(call, a, b)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradients, expected_gradients)
        assert all((grad != 0).any() for grad in gradients)
        graphs.add(counter.frame_count)
    assert len(graphs) == 1 and graphs <= {1, 2}  # torch 2.10 counts aot_eager's compilation twice


def test_chunks_and_half_precision_compile_without_a_break(compiled):
    reg = GeometryRegularizer(radius=0.1, chunk_size=16)
    call, counter = compiled(lambda a, b: reg({"a": a, "b": b}).total, fullgraph=True)
    a, b = close_points(40, 16).bfloat16(), close_points(40, 16, seed=1).bfloat16()
    expected, expected_gradients = gradient(lambda a, b: reg({"a": a, "b": b}).total, a, b)
    value, gradients = gradient(call, a, b)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    assert counter.frame_count == 1


def test_a_mask_compiles_with_breaks_to_the_same_value(compiled):
    reg, present = GeometryRegularizer(), {"a": torch.arange(12) % 3 > 0}
    call, _ = compiled(lambda a, b: reg({"a": a, "b": b}, present).total)
    a, b = randn(12, 4), randn(12, 4, seed=1)
    expected, expected_gradients = gradient(lambda a, b: reg({"a": a, "b": b}, present).total, a, b)
    value, gradients = gradient(call, a, b)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)


@pytest.mark.parametrize("weights", [(0.1, 0.0), (0.0, 0.5)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_graph_cannot_refuse_a_value_but_the_total_is_nan(value, weights, compiled):
    reg = GeometryRegularizer(*weights)
    call, _ = compiled(lambda a, b: reg({"a": a, "b": b}).total, fullgraph=True)
    assert call(broken(value), randn(4, 3)).isnan()


# With and without a mask


def step_by_step(reg, z):
    """The same with a mask of all samples."""
    return reg(z, {m: torch.ones(len(x), dtype=torch.bool) for m, x in z.items()})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"form": "cosine", "temperature": 0.2},
        {"radius": 0.0, "power": 1, "reduction": "sum"},
        {"radius": 1.2, "power": 1.5, "temperature": 2.0},
    ],
)
@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_of_all_samples_changes_no_term_and_no_gradient(dtype, names, options):
    reg = GeometryRegularizer(**options)
    z = {m: randn(64, 24, seed=seed).to(dtype).requires_grad_() for seed, m in enumerate(names)}
    fast, slow = reg(z), step_by_step(reg, z)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(tuple(fast), tuple(slow), rtol=tolerance, atol=tolerance)
    tolerance = max(tolerance, torch.finfo(dtype).eps) if dtype.itemsize == 2 else tolerance
    for one, other in zip(
        *(torch.autograd.grad(out.total, list(z.values())) for out in (fast, slow)), strict=True
    ):
        assert (one.double() - other.double()).norm() <= tolerance * other.double().norm()


@pytest.mark.parametrize("power", [1, 2])
def test_a_mask_of_all_samples_changes_no_gradient_of_a_term_and_none_of_gradients(power):
    reg = GeometryRegularizer(radius=0.2, power=power)
    z = {m: randn(6, 4, seed=seed).requires_grad_() for seed, m in enumerate("abc")}

    def gradients(call):
        out = call(z)
        loss = out.dispersion["a"] + 2 * out.anchoring["a", "c"] + out.total * out.dispersion["b"].detach()
        first = torch.autograd.grad(loss, list(z.values()), retain_graph=True)
        again = torch.autograd.grad(out.total, list(z.values()), create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in again), list(z.values()))
        return first, again, second

    torch.testing.assert_close(gradients(reg), gradients(lambda z: step_by_step(reg, z)))


def test_one_tensor_twice_or_one_made_from_the_other_counts_each_path_once():
    reg, z = GeometryRegularizer(radius=0.1), randn(6, 4).requires_grad_()

    def derivatives(call):
        (twice,) = torch.autograd.grad(call({"a": z, "b": z}).total, z, create_graph=True)
        (first,) = torch.autograd.grad(call({"a": z, "b": z.flip(0).sin()}).total, z, create_graph=True)
        return twice, first, torch.autograd.grad(first.pow(2).sum(), z)[0]

    torch.testing.assert_close(derivatives(reg), derivatives(lambda z: step_by_step(reg, z)))


def test_no_gradient_goes_to_what_asks_for_none():
    a, b = randn(6, 4).requires_grad_(), randn(6, 4, seed=1)
    reg = GeometryRegularizer()
    assert not reg(b, b).total.requires_grad and b.grad is None
    (first,) = torch.autograd.grad(reg(a, b).total, a, create_graph=True)
    (expected,) = torch.autograd.grad(step_by_step(reg, {"a": a, "b": b}).total, a, create_graph=True)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(
        torch.autograd.grad(first.sum(), a)[0], torch.autograd.grad(expected.sum(), a)[0]
    )
    with torch.no_grad():
        assert not reg(a, b).total.requires_grad


@pytest.mark.parametrize("scale", [1e-20, 1e-8, 1e19, 1e38])
def test_lengths_whose_squares_leave_float32_are_no_other_directions(scale):
    z = {m: randn(9, 4, seed=seed).float() for seed, m in enumerate("ab")}
    z["a"] /= z["a"].abs().max()
    expected = GeometryRegularizer()(z).total
    long = z | {"a": (z["a"] * scale).requires_grad_()}
    out = GeometryRegularizer()(long)
    torch.testing.assert_close(out.total, expected if scale > 1e-12 else out.total)
    assert torch.autograd.grad(out.total, long["a"])[0].isfinite().all()


def test_weights_may_change_from_step_to_step():
    z, reg = {m: randn(8, 3, seed=seed) for seed, m in enumerate("ab")}, GeometryRegularizer()
    terms = reg(z)
    for step in range(4):
        reg.dispersion_weight, reg.anchoring_weight = 0.1 * min(1.0, step / 2), 0.5 / (1 + step)
        expected = reg.dispersion_weight * sum(terms.dispersion.values()) / 2
        expected = expected + reg.anchoring_weight * terms.anchoring["a", "b"]
        torch.testing.assert_close(reg(z).total, expected)


def test_a_weight_that_changes_before_the_backward_pass_changes_nothing():
    reg, z = (
        GeometryRegularizer(),
        {m: randn(8, 3, seed=seed).requires_grad_() for seed, m in enumerate("ab")},
    )
    expected = torch.autograd.grad(reg(z).total, z["a"])[0]
    total = reg(z).total
    reg.dispersion_weight, reg.temperature, reg.radius = 7.0, 0.1, 0.0
    torch.testing.assert_close(torch.autograd.grad(total, z["a"], create_graph=True)[0], expected)


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("chunk_size", [None, 100])
@pytest.mark.parametrize("form", FORMS)
def test_a_gpu_gives_the_value_and_gradient_of_a_cpu(form, chunk_size):
    reg = GeometryRegularizer(form=form, radius=0.1, chunk_size=chunk_size)
    a, b = close_points(300, 64).float(), close_points(300, 64, seed=1).float()
    present = {"a": torch.arange(300) % 4 > 0}
    expected, expected_gradients = gradient(lambda a, b: reg({"a": a, "b": b}, present).total, a, b)
    there = {m: x.cuda() for m, x in present.items()}
    value, gradients = gradient(lambda a, b: reg({"a": a, "b": b}, there).total, a.cuda(), b.cuda())
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-4, atol=1e-5)
    for grad, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(grad.cpu(), expected_gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.gpu
def test_a_gpu_holds_one_matrix_of_pairs_and_with_chunks_a_part_of_it():
    z = randn(8192, 64, dtype=torch.float32).cuda().requires_grad_()
    pair_matrix, peaks = 8192 * 8192 * 4, []
    for chunk_size in (None, 512):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        dispersion(z, chunk_size=chunk_size).backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] < 1.5 * pair_matrix and peaks[1] < pair_matrix / 8


@pytest.mark.gpu
def test_compiled_for_a_gpu_it_serves_every_batch_size():
    reg = GeometryRegularizer(radius=0.1)
    call = torch.compile(lambda a, b: reg({"a": a, "b": b}).total, fullgraph=True, dynamic=True)
    for batch in (64, 33, 256):
        a, b = (close_points(batch, 32, seed=seed).float().cuda() for seed in (0, 1))
        expected, expected_gradients = gradient(lambda a, b: reg({"a": a, "b": b}).total, a, b)
        value, gradients = gradient(call, a, b)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients, expected_gradients, rtol=1e-3, atol=1e-6)


# Memory

MEASURE = """
import torch
from geomreg_mini import dispersion

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

torch.set_num_threads(1)
z = torch.randn(4096, 64, requires_grad=True)
dispersion(z[:64], chunk_size=16).backward()
for chunk_size in (128, None):
    before = peak()
    dispersion(z, chunk_size=chunk_size).backward()
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory of the process from /proc")
def test_chunks_bound_the_memory():
    # In a process of its own: a peak never falls, and the other tests have raised it here.
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    chunked, whole = map(int, run.stdout.split())
    pair_matrix = 4096 * 4096 * 4
    assert chunked < pair_matrix / 2, "blocks of 128 rows need 2 MB each; pages of libraries come with them"
    assert 0.9 * pair_matrix < whole < 1.5 * pair_matrix, "one matrix of pairs is held, and no second one"
