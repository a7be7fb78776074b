"""The controls against closed forms and plain references, and the interface that they share."""

import json
import math
from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from geomreg_mini import GeometryRegularizer, dispersion
from geomreg_mini.controls import (
    CONTROLS,
    AlignUniform,
    AlwaysOnAlignment,
    BarlowTwins,
    KoLeo,
    SIGReg,
    SymmetricInfoNCE,
    UniAlignStyle,
    UnitSphere,
    VICReg,
    variance_hinge,
)

LOSSES = {
    "AlwaysOnAlignment": AlwaysOnAlignment(0.7),
    "VICReg": VICReg(0.7),
    "VICReg off the sphere": VICReg(0.7, on_sphere=False),
    "BarlowTwins": BarlowTwins(0.7),
    "SymmetricInfoNCE": SymmetricInfoNCE(0.7),
    "UniAlignStyle": UniAlignStyle(0.7),
    "KoLeo": KoLeo(0.7),
    "AlignUniform": AlignUniform(0.7),
    "SIGReg": SIGReg(0.7),
}
EVERYTHING = LOSSES | {"UnitSphere": UnitSphere(), "GeometryRegularizer": GeometryRegularizer()}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
everything = pytest.mark.parametrize("module", EVERYTHING.values(), ids=list(EVERYTHING))


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def modalities(batch, width, count=2, dtype=torch.float64):
    return {m: randn(batch, width, seed=seed, dtype=dtype) for seed, m in enumerate("abc"[:count])}


def gradient(function, z):
    leaves = {m: x.detach().clone().requires_grad_() for m, x in z.items()}
    value = function(leaves)
    return value.detach(), torch.autograd.grad(value, list(leaves.values()))


@pytest.fixture(autouse=True)
def same_directions(monkeypatch, request):
    """SIGReg draws other directions in each call; two calls can only be compared along the same ones."""
    if "drawn" not in request.node.name:
        monkeypatch.setattr(SIGReg, "directions", staticmethod(lambda x: directions(x.shape[1]).to(x)))


def directions(width, count=40):
    return normalize(randn(width, count, seed=7), dim=0)


# Published formulas, in plain words of their own


def two_views_of_vicreg(x, y):
    size, width = x.shape
    total = 25 * (x - y).square().mean()
    for z in (x, y):
        covariance = torch.cov(z.T)
        off_diagonal = covariance[~torch.eye(width, dtype=torch.bool)]
        total = total + 25 * (1 - (covariance.diagonal() + 1e-4).sqrt()).clamp(min=0).mean() / 2
        total = total + off_diagonal.square().sum() / width
    return total


def two_views_of_barlow_twins(x, y):
    x, y = (nn.functional.batch_norm(z, None, None, training=True, eps=1e-5) for z in (x, y))
    total = 0.0
    for k in range(x.shape[1]):
        for m in range(y.shape[1]):
            correlation = (x[:, k] * y[:, m]).mean()
            total = total + ((1 - correlation) ** 2 if k == m else 0.0051 * correlation**2)
    return total


def two_views_of_clip(x, y):
    similarity = (normalize(x) @ normalize(y).T / 0.07).exp()
    rows, columns = similarity / similarity.sum(1, keepdim=True), similarity / similarity.sum(0)
    return -(rows.diagonal().log().mean() + columns.diagonal().log().mean()) / 2


def two_views_of_align_uniform(x, y):
    x, y = normalize(x), normalize(y)
    uniformity = [torch.pdist(z).square().mul(-2).exp().mean().log() for z in (x, y)]
    return (x - y).norm(dim=1).square().mean() + sum(uniformity) / 2


def two_views_of_koleo(x, y):
    def one(u):
        nearest = [min((u[i] - u[j]).norm() for j in range(len(u)) if j != i) for i in range(len(u))]
        return -torch.stack(nearest).add(1e-8).log().mean()

    return (one(normalize(x)) + one(normalize(y))) / 2


def two_views_of_lejepa(x, y):
    def statistic(projected):
        points = [k * 3 / 16 for k in range(-16, 17)]
        heights = []
        for t in points:
            characteristic = torch.exp(1j * t * projected).mean()
            heights.append((characteristic - math.exp(-(t**2) / 2)).abs() ** 2 * math.exp(-(t**2) / 2))
        return len(projected) * torch.trapezoid(torch.stack(heights), torch.tensor(points).double())

    tests = [statistic(z @ w) for z in (x, y) for w in directions(x.shape[1]).T]
    center = (x + y) / 2
    return 0.05 * sum(tests) / len(tests) + 0.95 * torch.stack([x - center, y - center]).square().mean()


def two_views_with_an_anchor(x, y):
    x, y = normalize(x), normalize(y)
    anchor = normalize((x + y).detach() / 2)
    uniformity = [torch.pdist(z).square().mul(-2).exp().mean().log() for z in (x, y)]
    return sum((z - anchor).square().sum(1).mean() for z in (x, y)) / 2 + sum(uniformity) / 2


REFERENCES = {
    "AlwaysOnAlignment": lambda x, y: (normalize(x) - normalize(y)).square().sum(1).mean(),
    "VICReg": lambda x, y: two_views_of_vicreg(normalize(x) * 5**0.5, normalize(y) * 5**0.5),
    "VICReg off the sphere": two_views_of_vicreg,
    "BarlowTwins": two_views_of_barlow_twins,
    "SymmetricInfoNCE": two_views_of_clip,
    "UniAlignStyle": two_views_with_an_anchor,
    "KoLeo": two_views_of_koleo,
    "AlignUniform": two_views_of_align_uniform,
    "SIGReg": two_views_of_lejepa,
}


@pytest.mark.parametrize("batch", [4, 9])  # fewer and more than the five features
@pytest.mark.parametrize("name", REFERENCES)
def test_value_and_gradient_equal_the_published_formula(name, batch):
    z = modalities(batch, 5)
    expected, expected_gradients = gradient(lambda z: 0.7 * REFERENCES[name](*z.values()), z)
    value, gradients = gradient(lambda z: LOSSES[name](z).total, z)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    assert all(grad.abs().max() > 1e-6 for grad in gradients)


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "UniAlignStyle"])  # its anchor is held constant
def test_gradcheck_with_three_modalities_and_a_mask(name):
    mask = {"b": torch.tensor([True, False, True, True, False, True])}
    inputs = [x.requires_grad_() for x in modalities(6, 3, count=3).values()]
    assert torch.autograd.gradcheck(
        lambda *z: LOSSES[name](dict(zip("abc", z, strict=True)), mask).total, inputs
    )


# Known answers


def test_collapsed_embeddings_have_known_values():
    point = randn(1, 16)
    z = {"a": point * torch.arange(1.0, 33.0)[:, None], "b": 3 * point.expand(32, 16)}
    assert AlignUniform(1)(z).total.item() == pytest.approx(0, abs=1e-12)
    assert UniAlignStyle(1)(z).total.item() == pytest.approx(0, abs=1e-12)
    assert SymmetricInfoNCE(1)(z).total.item() == pytest.approx(math.log(32))
    assert VICReg(1)(z).total.item() == pytest.approx(25 * (1 - 0.01))  # sqrt(1e-4) is left of the deviation
    collapsed = {m: point.expand(32, 16) for m in "ab"}
    assert BarlowTwins(1)(collapsed).total.item() == pytest.approx(16)  # one for each feature
    assert KoLeo(1)(collapsed).total.item() == pytest.approx(-math.log(1e-8))


def test_regular_simplex_of_64_has_the_known_uniformity_and_neighbor_distance():
    simplex = torch.eye(64, dtype=torch.float64) - 1 / 64
    z = {"a": simplex, "b": simplex}
    for loss in (AlignUniform(1), UniAlignStyle(1)):
        assert loss(z).total.item() == pytest.approx(-4.0635, abs=5e-5)
    assert KoLeo(1)(z).total.item() == pytest.approx(-math.log(2 * 64 / 63) / 2)


def test_info_nce_of_orthogonal_samples_is_known():
    z = {"a": torch.eye(8), "b": 2 * torch.eye(8)}
    expected = math.log(1 + 7 * math.exp(-1 / 0.5))
    assert SymmetricInfoNCE(1, temperature=0.5)(z).total.item() == pytest.approx(expected)


def test_barlow_twins_is_zero_for_a_decorrelated_identical_pair_and_ignores_scale_and_shift():
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])[:, 1:].double()
    assert BarlowTwins(1)({"a": 7 * signs + 3, "b": 5 * signs}).total.item() == pytest.approx(0, abs=1e-10)
    assert BarlowTwins(1)({"a": signs, "b": -signs}).total.item() == pytest.approx(3 * 4, abs=1e-3)
    twice = {
        "a": signs[:, [0, 0]],
        "b": signs[:, [0, 0]],
    }  # the same feature twice: correlation 1 off the diagonal
    assert BarlowTwins(1)(twice).total.item() == pytest.approx(2 * 0.0051, rel=1e-3)


def test_the_hinge_of_vicreg_cannot_be_met_on_the_unit_sphere_but_its_scaled_target_can():
    u = normalize(randn(256, 512))
    assert variance_hinge(u.var(0)).item() == pytest.approx(0.955, abs=1e-3)
    # A standard deviation from 256 samples is off by 1 / sqrt(2 * 256) of itself, half of the time below.
    expected = 512**-0.5 / math.sqrt(4 * math.pi * 256)
    assert expected == pytest.approx(8e-4, abs=5e-5)
    scaled = variance_hinge(u.var(0), target=512**-0.5, epsilon=1e-4 / 512).item()
    assert scaled == pytest.approx(expected, rel=0.1)
    on_sphere = VICReg(1, invariance=0, covariance=0)({"a": u, "b": u}).total.item()
    assert on_sphere == pytest.approx(25 * 512**0.5 * scaled)


def test_vicreg_off_the_sphere_is_satisfied_by_white_identical_modalities_and_sees_scale():
    white = torch.linalg.qr(randn(64, 8) - randn(64, 8).mean(0))[0] * math.sqrt(63)
    z = {"a": white, "b": white.clone()}
    assert VICReg(1, on_sphere=False)(z).total.item() == pytest.approx(0, abs=1e-12)
    halved = {m: x / 2 for m, x in z.items()}
    expected = 25 * (1 - math.sqrt(0.25 + 1e-4))
    assert VICReg(1, on_sphere=False)(halved).total.item() == pytest.approx(expected)
    torch.testing.assert_close(VICReg(1)(halved).total, VICReg(1)(z).total)


@pytest.mark.parametrize(("scale", "width"), [(0.0, 3), (0.5, 1), (1.0, 3), (2.0, 1), (2.0, 3)])
def test_sigreg_of_normal_samples_is_the_integral_of_their_characteristic_function(scale, width):
    """Of samples of standard deviation s: |exp(-s^2 t^2 / 2) - exp(-t^2 / 2)|^2, and (1 - its square) / B."""
    batch, t = 4000, torch.linspace(-3, 3, 2001, dtype=torch.float64)
    own, normal = (-((scale * t) ** 2) / 2).exp(), (-t.square() / 2).exp()
    height = ((own - normal).square() + (1 - own.square()) / batch) * normal
    expected = batch * torch.trapezoid(height, t).item()
    found = [
        SIGReg(1, 0, 1)({m: scale * randn(batch, width, seed=10 * seed + k) for k, m in enumerate("ab")})
        for seed in range(20)
    ]
    mean = torch.stack([out.total for out in found]).mean().item()
    assert mean == pytest.approx(expected, rel=0.001 if scale == 0 else 0.03 if scale != 1 else 0.25)
    if scale == 0:  # without the cut at 3
        assert mean / batch == pytest.approx(math.sqrt(2 * math.pi) * (1 - 2**0.5 + 3**-0.5), rel=0.02)


def test_sigreg_cannot_tell_a_wide_sphere_from_a_gaussian_and_sees_a_narrow_one():
    def statistic(width, radius):
        z = {m: radius * normalize(x, dim=1) for m, x in modalities(2000, width).items()}
        return SIGReg(1, 0, 1)(z).total.item()

    assert statistic(128, 128**0.5) < 2 < 50 < statistic(2, 2**0.5)
    assert statistic(128, 1.0) > 500, "on the unit sphere each feature has a standard deviation of 0.09"


def test_directions_are_drawn_anew_in_each_call_and_follow_the_seed():
    z = modalities(30, 4)
    torch.manual_seed(5)
    first, second = SIGReg(1)(z).total, SIGReg(1)(z).total
    torch.manual_seed(5)
    assert first != second and SIGReg(1)(z).total == first
    drawn = SIGReg.directions(z["a"].float())
    assert drawn.shape == (4, 256) and drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.norm(dim=0), torch.ones(256))


def test_always_on_alignment_is_the_regularizer_without_band_and_dispersion():
    z, mask = modalities(7, 4, count=3), {"b": torch.arange(7) > 2, "c": torch.arange(7) < 4}
    twin = GeometryRegularizer(0, 0.7, radius=0)
    for present in (None, mask):
        torch.testing.assert_close(AlwaysOnAlignment(0.7)(z, present).total, twin(z, present).total)


def test_align_uniform_is_the_regularizer_without_band():
    z = modalities(12, 6, count=3)
    twin = GeometryRegularizer(0.3, 1.0, temperature=0.25, radius=0, power=1)(z)
    out = AlignUniform(1.0, alpha=1, t=4, uniform_weight=0.3)(z)
    torch.testing.assert_close(out.total, twin.total)
    torch.testing.assert_close(out.anchoring, twin.anchoring)
    torch.testing.assert_close(out.dispersion["b"], 0.3 * dispersion(z["b"], temperature=0.25))
    with_anchor = UniAlignStyle(1.0, t=4, uniform_weight=0.3)(z)
    torch.testing.assert_close(with_anchor.dispersion, out.dispersion)


def test_the_anchor_of_two_modalities_halves_their_angle():
    angle = math.radians(80)
    z = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([[math.cos(angle), math.sin(angle)]])}
    out = UniAlignStyle(1)(z)
    assert set(out.anchoring) == {("a", "anchor"), ("b", "anchor")}
    for value in out.anchoring.values():
        assert value.item() == pytest.approx((2 * math.sin(angle / 4)) ** 2)


# The interface


@everything
def test_each_fits_into_the_same_three_lines_of_a_training_loop(module):
    torch.manual_seed(0)
    encoder, x = nn.Linear(6, 5), modalities(16, 6, count=3, dtype=torch.float32)
    before = encoder.weight.detach().clone()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-2)
    out = module({m: encoder(v) for m, v in x.items()})
    (encoder(x["a"]).square().mean() + out.total).backward()
    optimizer.step()
    assert out.total.shape == () and out.total.isfinite() and not torch.equal(before, encoder.weight)


@each_loss
def test_total_is_the_weighted_mean_over_modalities_plus_that_over_pairs(loss):
    out = loss(modalities(12, 6, count=3))
    pairs = list(combinations("abc", 2))
    assert list(out.dispersion) in ([], ["a", "b", "c"])
    assert list(out.anchoring) in ([], pairs, [(m, "anchor") for m in "abc"]) and out.active == {}
    terms = sum(sum(t.values()) / 3 for t in (out.dispersion, out.anchoring))
    torch.testing.assert_close(out.total, 0.7 * terms)


ODD = [VICReg(0.1, 2, 3, 4, False), BarlowTwins(0.1, 0.2), AlignUniform(1, 3, 4, 5), SIGReg(0.1, 2, 3)]


@pytest.mark.parametrize("module", [*EVERYTHING.values(), *ODD])
def test_hyperparameters_survive_json_and_make_an_equal_copy(module):
    options = json.loads(json.dumps(module.hyperparameters()))
    copy, z = type(module)(**options), modalities(6, 3)
    assert copy.hyperparameters() == options and torch.equal(copy(z).total, module(z).total)
    assert all(f"{name}={value!r}" in repr(module) for name, value in options.items())
    assert len(module.state_dict()) == 0 and list(module.parameters()) == []


def test_controls_names_every_class_and_only_the_unit_sphere_normalizes():
    assert {type(loss).__name__ for loss in LOSSES.values()} | {"UnitSphere"} == CONTROLS.keys()
    assert all(name == control.__name__ for name, control in CONTROLS.items())
    normalizing = {control for control in CONTROLS.values() if getattr(control, "normalizes", False)}
    assert normalizing == {UnitSphere}


@everything
@pytest.mark.parametrize("batch", [20, 150])
def test_what_is_computed_and_drawn_does_not_depend_on_the_default_device_of_torch(module, batch):
    def found():
        torch.manual_seed(0)
        return gradient(lambda z: module(z).total, z)

    z = modalities(batch, 3)
    expected = found()
    with torch.device("meta"):  # stands in for a GPU
        torch.testing.assert_close(found(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("module", [UnitSphere(), *(CONTROLS[n](0) for n in CONTROLS if n != "UnitSphere")])
def test_without_weight_nothing_is_computed_and_backward_gives_zeros(module):
    out = module({"a": randn(3, 2), "b": randn(3, 4)})
    assert out.dispersion == out.anchoring == {}
    value, gradients = gradient(lambda z: module(z).total, modalities(3, 2))
    assert value.item() == 0.0 and all((grad == 0).all() for grad in gradients)


@each_loss
def test_a_mask_equals_the_batch_of_the_present_samples(loss):
    z, present = modalities(10, 4), torch.arange(10) < 7
    everyone = torch.ones(10, dtype=torch.bool)
    expected, part = gradient(lambda z: loss(z).total, {m: x[present] for m, x in z.items()})
    z["a"][8], z["b"][9, 0] = math.nan, math.inf  # absent samples take no part, whatever they hold
    value, gradients = gradient(lambda z: loss(z, {"a": present, "b": present}).total, z)
    torch.testing.assert_close(value, expected)
    for grad, expected_grad in zip(gradients, part, strict=True):
        torch.testing.assert_close(grad[present], expected_grad)
        assert (grad[~present] == 0).all()
    complete = modalities(10, 4)
    torch.testing.assert_close(loss(complete, {"a": everyone}).total, loss(complete).total)


@each_loss
def test_a_pair_counts_the_samples_that_have_both(loss):
    z = modalities(10, 4)
    mask = {"a": torch.arange(10) < 8, "b": torch.arange(10) > 2}
    both = mask["a"] & mask["b"]
    out, paired = loss(z, mask), loss({m: x[both] for m, x in z.items()})
    torch.testing.assert_close(out.anchoring, paired.anchoring)
    for m in out.dispersion:
        alone = loss({m: z[m][mask[m]], "other": z[m][mask[m]]})
        torch.testing.assert_close(out.dispersion[m], alone.dispersion[m])


# Hostile input and precision

HOSTILE = {
    "collapsed": torch.full((6, 4), 3.0),
    "zeros": torch.zeros(5, 4),
    "some zeros": torch.cat([torch.zeros(2, 4), torch.eye(4)]),
    "duplicates": torch.eye(4).repeat(3, 1),
    "two samples": torch.eye(4)[:2],
    "one feature": torch.tensor([[1.0], [-2.0], [3.0]]),
    "one sample": torch.ones(1, 4),
    "empty batch": torch.zeros(0, 4),
}


@each_loss
@pytest.mark.parametrize("case", HOSTILE)
def test_value_and_gradient_stay_finite(case, loss):
    for other in (HOSTILE[case].clone(), -HOSTILE[case]):
        value, gradients = gradient(lambda z: loss(z).total, {"a": HOSTILE[case], "b": other})
        assert value.isfinite() and all(grad.isfinite().all() for grad in gradients)


@each_loss
def test_what_needs_two_samples_is_zero_for_one_and_a_pair_without_samples_is_zero(loss):
    z = modalities(4, 3)
    one = loss({m: x[:1] for m, x in z.items()})
    assert all(value == 0 for value in one.dispersion.values())
    if isinstance(loss, BarlowTwins | SymmetricInfoNCE):
        assert one.total.item() == 0.0
    first = torch.tensor([True, True, False, False])
    value, gradients = gradient(lambda z: loss(z, {"a": first, "b": ~first}).total, z)
    assert all(value == 0 for value in loss(z, {"a": first, "b": ~first}).anchoring.values())
    assert value.isfinite() and all(grad.isfinite().all() for grad in gradients)


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(loss, dtype):
    z = modalities(40, 16, dtype=dtype)
    expected = loss({m: x.double() for m, x in z.items()}).total
    value, gradients = gradient(lambda z: loss(z).total, z)
    assert value.dtype == torch.float32 and expected.dtype == torch.float64
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    assert all(grad.dtype == dtype and grad.isfinite().all() and (grad != 0).any() for grad in gradients)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(z).total, value)


# Errors


@pytest.mark.parametrize(
    "control, options, words",
    [
        *(
            (control, {"weight": -0.5}, ["weight", "-0.5"])
            for n, control in CONTROLS.items()
            if n != "UnitSphere"
        ),
        (KoLeo, {"weight": math.nan}, ["weight", "nan"]),
        (VICReg, {"weight": 1, "invariance": -1}, ["invariance", "-1"]),
        (VICReg, {"weight": 1, "variance": -2}, ["variance", "-2"]),
        (VICReg, {"weight": 1, "covariance": math.inf}, ["covariance", "inf"]),
        (BarlowTwins, {"weight": 1, "off_diagonal": -0.1}, ["off_diagonal", "-0.1"]),
        (SymmetricInfoNCE, {"weight": 1, "temperature": 0}, ["temperature", "[1e-30, 1e+30]", "got 0"]),
        (AlignUniform, {"weight": 1, "alpha": 0.5}, ["alpha", ">= 1", "0.5"]),
        (AlignUniform, {"weight": 1, "t": 0}, ["t must", "got 0"]),
        (AlignUniform, {"weight": 1, "uniform_weight": -3}, ["uniform_weight", "-3"]),
        (SIGReg, {"weight": 1, "gaussian": -1}, ["gaussian", "-1"]),
        (SIGReg, {"weight": 1, "invariance": math.nan}, ["invariance", "nan"]),
        (UniAlignStyle, {"weight": 1, "t": -1}, ["t must", "-1"]),
        (UniAlignStyle, {"weight": 1, "uniform_weight": -3}, ["uniform_weight", "-3"]),
    ],
)
def test_a_bad_argument_is_named_with_its_value(control, options, words):
    name, value = [*options.items()][-1]
    calls = [lambda: control(**options), lambda: setattr(control(1), name, value)]
    for call in calls[: 1 if name == "alpha" else 2]:  # the bound of alpha is checked once
        with pytest.raises(ValueError) as error:
            call()
        assert all(word in str(error.value) for word in words)


@everything
@pytest.mark.parametrize(
    "embeddings, mask, words",
    [
        ({"a": randn(4, 3), "b": randn(4, 3) * math.nan}, None, ["'b'", "NaN", "4 of 4"]),
        ({"a": randn(4, 3) * math.inf, "b": randn(4, 3)}, None, ["'a'", "infinity"]),
        ({"a": randn(4, 3), "b": randn(5, 3)}, None, ["'b'", "5", "'a'", "4"]),
        ({"a": randn(4, 3), "b": randn(4)}, None, ["'b'", "(4,)"]),
        ({"a": randn(4, 3)}, None, ["at least 2 modalities", "'a'"]),
        ({"a": randn(4, 3), "b": randn(4, 3)}, {"b": torch.ones(3) > 0}, ["mask", "'b'", "(4,)", "(3,)"]),
    ],
)
def test_a_bad_input_is_named(module, embeddings, mask, words):
    with pytest.raises(ValueError) as error:
        module(embeddings, mask)
    assert all(word in str(error.value) for word in words)


@each_loss
def test_unequal_widths_are_refused_only_where_modalities_are_compared(loss):
    z = {"a": randn(4, 3), "b": randn(4, 2)}
    if isinstance(loss, KoLeo):
        assert loss(z).total.isfinite()
        return
    with pytest.raises(ValueError, match="'b' has width 2, but 'a' has 3"):
        loss(z)
