"""The paper's Pareto balance against brute force, finite differences and known answers, and its refusals."""

import copy
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paradigm_steps import setup, stepped
from small_data import clouds
from torch import nn

from geomreg_mini import GeometryRegularizer, anchoring, dispersion
from geomreg_mini.models import build_model
from geomreg_mini.pairs import min_norm_weight
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig, fit

RADIUS, STRENGTH = 0.2, 0.3
AT = ("embeddings", "parameters")
SMALL = TrainConfig(
    dataset="toy",
    epochs=3,
    batch_size=16,
    embedding_dim=6,
    learning_rate=0.05,
    monitor=True,
    regularizer=GeometryRegularizer(balance="pareto", strength=0.5, radius=0.1),
)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def balanced(at="embeddings", **options):
    return GeometryRegularizer(
        **{"balance": "pareto", "strength": STRENGTH, "radius": RADIUS, "at": at} | options
    )


def world(names="ab", batch=12, seed=0):
    """Encoders and the embeddings that they give, modalities that share something."""
    torch.manual_seed(seed)
    encoders = {m: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5)).double() for m in names}
    common = randn(batch, 6, seed=seed)
    inputs = {m: common + 0.3 * randn(batch, 6, seed=seed + i + 1) for i, m in enumerate(names)}
    return encoders, {m: encoders[m](x) for m, x in inputs.items()}


def call(reg, encoders, embeddings, mask=None):
    given = {m: e.parameters() for m, e in encoders.items()} if reg.at == "parameters" else None
    return reg(embeddings, mask, given)


def flat(loss, tensors):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, tensors, retain_graph=True)])


def terms_by_hand(embeddings):
    pairs = list(combinations(embeddings, 2))
    inter = sum(anchoring(embeddings[a], embeddings[b], radius=RADIUS) for a, b in pairs) / len(pairs)
    return inter, {m: dispersion(z) for m, z in embeddings.items()}


def brute_force(inter, disp):
    """The shortest of a fine grid of mixtures, then of a finer one about it."""
    low, high = 0.0, 1.0
    for _ in range(4):
        weights = torch.linspace(low, high, 1001, dtype=torch.float64)[:, None]
        best = int((weights * inter + (1 - weights) * disp).norm(dim=1).argmin())
        low, high = float(weights[max(best - 1, 0)]), float(weights[min(best + 1, 1000)])
    return float(weights[best])


# Alpha and the gradient


@pytest.mark.parametrize("reduction", [None, "mean", "sum"])
@pytest.mark.parametrize("at", AT)
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_alpha_and_gradient_equal_brute_force(names, at, reduction):
    encoders, embeddings = world(names)
    out = call(balanced(at, reduction=reduction), encoders, embeddings)
    inter, dispersions = terms_by_hand(embeddings)
    share = 1 / len(names) if reduction == "mean" else 1.0
    for m in names:
        tensors = [embeddings[m]] if at == "embeddings" else list(encoders[m].parameters())
        g_inter, g_disp = flat(inter, tensors), share * flat(dispersions[m], tensors)
        alpha = brute_force(g_inter, g_disp)
        assert out.alpha[m].item() == pytest.approx(alpha, abs=1e-6)
        expected = STRENGTH * (alpha * g_inter + (1 - alpha) * g_disp)
        torch.testing.assert_close(flat(out.total, tensors), expected, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(out.dispersion[m], dispersions[m].detach())
    assert 0 < min(out.alpha.values()) and len({round(a.item(), 6) for a in out.alpha.values()}) > 1


@given(st.integers(0, 2**32 - 1), st.floats(-6, 6), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_no_other_mixture_is_shorter(seed, exponent, size):
    gradients = torch.stack([randn(size, seed=seed), 10**exponent * randn(size, seed=seed + 1)])
    alpha = min_norm_weight(gradients)
    others = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    lengths = (others * gradients[0] + (1 - others) * gradients[1]).norm(dim=1)
    assert torch.lerp(gradients[1], gradients[0], alpha).norm() <= lengths.min() * (1 + 1e-9)


@pytest.mark.parametrize(
    ("first", "second", "alpha"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.5),
        ([0.3, 0.4], [0.3, 0.4], 0.5),
        ([0.3, 0.4], [-0.3, -0.4], 0.5),
        ([0.0, 0.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [0.0, 0.0], 0.0),
        ([3.0, 0.0], [0.0, 1.0], 0.1),  # orthogonal: weights go as the inverse squares of the lengths
        ([1.0, 0.0], [5.0, 0.0], 1.0),  # parallel: the shorter one alone
        ([1.0, 0.0], [-3.0, 0.0], 0.75),  # against each other: they cancel
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_alpha_of_known_gradients(first, second, alpha, dtype):
    assert min_norm_weight(torch.tensor([first, second], dtype=dtype)).item() == pytest.approx(
        alpha, abs=1e-6
    )


@pytest.mark.parametrize("scale", [1e-10, 1e30])
def test_alpha_does_not_depend_on_the_length_of_embeddings(scale):
    _, embeddings = world()
    expected = balanced()(embeddings).alpha
    got = balanced()({m: (scale * z).float() for m, z in embeddings.items()}).alpha
    for m in "ab":
        assert got[m].item() == pytest.approx(expected[m].item(), abs=1e-4)


def test_lengths_that_differ_weigh_the_samples_as_the_gradient_at_the_embeddings_does():
    _, embeddings = world()
    lengths = torch.linspace(0.1, 10, 12, dtype=torch.float64)[:, None]
    embeddings = {m: (lengths * z).detach().requires_grad_() for m, z in embeddings.items()}
    inter, dispersions = terms_by_hand(embeddings)
    out = balanced()(embeddings)
    for m, z in embeddings.items():
        alpha = brute_force(flat(inter, [z]), flat(dispersions[m], [z]))
        assert out.alpha[m].item() == pytest.approx(alpha, abs=1e-6)


# Guards


@pytest.mark.parametrize("at", AT)
def test_without_a_pair_outside_the_band_dispersion_rests_too(at):
    encoders, embeddings = world()
    close = {"a": embeddings["a"], "b": encoders["b"][2](torch.zeros(12, 9).double()) * 0 + embeddings["a"]}
    encoders["b"] = nn.ModuleList([encoders["a"], encoders["b"]])
    out = balanced(at, radius=0.5)(
        close, None, {m: e.parameters() for m, e in encoders.items()} if at == "parameters" else None
    )
    assert out.active["a", "b"] == 0 and out.alpha == {"a": 1.0, "b": 1.0}
    assert dispersion(close["a"]).item() > -3  # there is much to disperse
    assert not flat(out.total, [embeddings["a"]]).any()
    spread_alone = GeometryRegularizer(1.0, 1.0, radius=0.5)(close)
    assert flat(spread_alone.total, [embeddings["a"]]).any()


@pytest.mark.parametrize("form", ["rbf", "cosine", "hinge", "covariance"])
@pytest.mark.parametrize("power", [1, 1.5, 2])
def test_every_form_and_power_has_the_gradient_that_autograd_gives(form, power):
    _, embeddings = world()
    leaves = {m: z.detach().requires_grad_() for m, z in embeddings.items()}
    out = balanced(form=form, power=power)(leaves)
    inter = anchoring(leaves["a"], leaves["b"], radius=RADIUS, power=power)
    for m, z in leaves.items():
        alpha = out.alpha[m]
        g_disp = flat(dispersion(z, form=form), [z])
        expected = STRENGTH * (alpha * flat(inter, [z]) + (1 - alpha) * g_disp)
        torch.testing.assert_close(flat(out.total, [z]), expected)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("at", AT)
def test_fewer_than_two_samples_give_finite_zeros_for_dispersion(batch, at):
    encoders, embeddings = world(batch=batch)
    out = call(balanced(at), encoders, embeddings)
    assert all(value == 0 for value in out.dispersion.values())
    gradients = flat(out.total, list(encoders["a"].parameters()))
    assert not gradients.any()  # with dispersion silent the shortest mixture is no step at all


def test_zero_vectors_duplicates_and_collapse_give_finite_gradients():
    for z in (torch.zeros(6, 3), torch.ones(6, 3), torch.eye(3).repeat(2, 1)):
        a, b = z.clone().requires_grad_(), (-z).clone().requires_grad_()
        for radius in (0.0, 2.0):
            out = balanced(radius=radius)({"a": a, "b": b})
            assert flat(out.total, [a, b]).isfinite().all()
            assert all(0 <= alpha <= 1 for alpha in out.alpha.values())


def test_an_encoder_that_is_fixed_has_no_say_and_gets_nothing():
    encoders, embeddings = world()
    for p in encoders["b"].parameters():
        p.requires_grad_(False)
    embeddings["b"] = embeddings["b"].detach()
    out = call(balanced("parameters"), encoders, embeddings)
    assert out.alpha["b"] == 0.5 and flat(out.total, list(encoders["a"].parameters())).any()


def test_parameters_that_do_not_reach_the_embeddings_have_no_say():
    encoders, embeddings = world()
    expected = call(balanced("parameters"), encoders, embeddings).alpha
    stray = nn.Linear(2, 2).double()
    more = {m: [*stray.parameters(), *e.parameters()] for m, e in encoders.items()}
    assert balanced("parameters")(embeddings, None, more).alpha == expected
    alone = {"a": more["a"], "b": list(stray.parameters())}
    assert balanced("parameters")(embeddings, None, alone).alpha["b"] == 0.5


@pytest.mark.parametrize("at", AT)
def test_a_mask_equals_the_batch_of_the_present_samples(at):
    encoders, embeddings = world("abc")
    present = torch.arange(12) % 3 > 0
    mask = {m: present for m in "abc"}
    expected = call(balanced(at), encoders, {m: z[present] for m, z in embeddings.items()})
    spoiled = {
        m: torch.where(present[:, None], z, torch.full_like(z, torch.nan)) for m, z in embeddings.items()
    }
    got = call(balanced(at), encoders, spoiled, mask)
    torch.testing.assert_close((got.total, got.alpha), (expected.total, expected.alpha))
    parameters = [p for e in encoders.values() for p in e.parameters()]
    torch.testing.assert_close(flat(got.total, parameters), flat(expected.total, parameters))


def test_a_modality_that_is_absent_gets_no_gradient_and_leaves_the_others_as_they_are():
    encoders, embeddings = world("abc")
    out = call(balanced(), encoders, embeddings, {"c": torch.zeros(12, dtype=torch.bool)})
    assert out.dispersion["c"] == 0 and out.anchoring["a", "c"] == 0
    assert not flat(out.total, [embeddings["c"]]).any() and flat(out.total, [embeddings["a"]]).any()


@pytest.mark.parametrize("at", AT)
def test_chunks_equal_the_whole(at):
    encoders, embeddings = world()
    whole, chunked = (call(balanced(at, chunk_size=size), encoders, embeddings) for size in (None, 5))
    torch.testing.assert_close((chunked.total, chunked.alpha), (whole.total, whole.alpha))
    parameters = list(encoders["a"].parameters())
    torch.testing.assert_close(flat(chunked.total, parameters), flat(whole.total, parameters))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("at", AT)
def test_half_precision_gives_nearly_the_alpha_of_float32(dtype, at):
    encoders, _ = world()
    encoders = {m: e.float() for m, e in encoders.items()}
    inputs = randn(32, 6).float()
    alphas = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype, enabled=enabled):
            out = call(balanced(at), encoders, {m: e(inputs) for m, e in encoders.items()})
        assert out.total.dtype == torch.float32
        out.total.backward()
        alphas.append(torch.stack(list(out.alpha.values())))
    assert all(p.grad.isfinite().all() for e in encoders.values() for p in e.parameters())
    torch.testing.assert_close(alphas[1], alphas[0], atol=0.05, rtol=0)


def test_gradients_of_several_batches_add_up():
    encoders, first = world()
    parameters = list(encoders["a"].parameters())
    second = {m: z.flip(0) * 2 + 0.1 for m, z in first.items()}
    totals = [call(balanced("parameters"), encoders, z).total for z in (first, second)]
    expected = sum(flat(total, parameters) for total in totals)
    for total in totals:
        (total / 2).backward(retain_graph=True)
    torch.testing.assert_close(2 * torch.cat([p.grad.flatten() for p in parameters]), expected)


def test_second_derivatives_are_refused_rather_than_wrong():
    _, embeddings = world()
    total = balanced()(embeddings).total
    (first,) = torch.autograd.grad(total, embeddings["a"], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(first.sum(), embeddings["a"])


def test_a_graph_cannot_refuse_second_derivatives_but_makes_them_nan():
    _, embeddings = world()
    torch.compiler.reset()
    total = torch.compile(lambda z: balanced()(z).total, backend="eager")(embeddings)
    (first,) = torch.autograd.grad(total, embeddings["a"], create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), embeddings["a"])
    assert first.isfinite().all() and not second.isfinite().any()
    torch.compiler.reset()


@pytest.mark.parametrize("chunk_size", [None, 16])
def test_the_embedding_form_compiles_to_one_graph(chunk_size):
    reg = balanced(chunk_size=chunk_size)
    torch.compiler.reset()
    call = torch.compile(
        lambda a, b: reg({"a": a, "b": b}).total, backend="eager", fullgraph=True, dynamic=chunk_size is None
    )
    for batch in (40, 33):
        a, b = (randn(batch, 8, seed=seed).requires_grad_() for seed in (0, 1))
        torch.testing.assert_close(call(a, b), reg({"a": a, "b": b}).total)
        torch.testing.assert_close(flat(call(a, b), [a, b]), flat(reg({"a": a, "b": b}).total, [a, b]))
    torch.compiler.reset()


# Arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": "max"}, "balance='max' is unknown: choose one of sum, pareto"),
        ({"balance": "pareto", "at": "logits"}, "at='logits' is unknown: choose one of embeddings"),
        ({"balance": "pareto", "strength": -1.0}, "strength must be a finite number >= 0, got -1.0"),
        ({"balance": "pareto", "strength": float("nan")}, "strength must be a finite number >= 0, got nan"),
        (
            {"balance": "pareto", "reduction": "max"},
            "reduction='max' is unknown: choose one of None, mean, sum",
        ),
        ({"balance": "pareto", "dispersion_weight": 0.3}, "dispersion_weight is for balance='sum'"),
        ({"balance": "pareto", "anchoring_weight": 0.0}, "anchoring_weight is for balance='sum'"),
        ({"strength": 0.2}, "strength is for balance='pareto'"),
        ({"at": "parameters"}, "at is for balance='pareto'"),
    ],
)
def test_a_bad_argument_is_named_with_its_value(options, words):
    with pytest.raises(ValueError, match=words):
        GeometryRegularizer(**options)


def test_parameters_are_asked_for_and_refused_by_name():
    encoders, embeddings = world()
    with pytest.raises(ValueError, match=r"at='parameters' takes the parameters of \['a', 'b'\], got \[\]"):
        balanced("parameters")(embeddings)
    with pytest.raises(ValueError, match=r"at='embeddings' takes the parameters of \[\], got \['a'\]"):
        balanced()(embeddings, parameters={"a": encoders["a"].parameters()})


def test_unequal_widths_are_refused():
    with pytest.raises(ValueError, match="equal widths"):
        balanced()({"a": randn(4, 3), "b": randn(4, 5)})


@pytest.mark.parametrize("reduction", [None, "mean", "sum"])
def test_the_factor_between_algorithm_1_and_equation_6_is_the_number_of_modalities(reduction):
    _, embeddings = world("abc")
    out = GeometryRegularizer(1.0, 0.0, reduction=reduction)(embeddings)
    expected = sum(out.dispersion.values()) / (1 if reduction == "sum" else 3)
    torch.testing.assert_close(out.total, expected)


@pytest.mark.parametrize(
    "reg",
    [GeometryRegularizer(), GeometryRegularizer(reduction="sum"), balanced("parameters"), balanced(power=1)],
    ids=repr,
)
def test_hyperparameters_make_an_equal_copy_and_configs_hold_them(reg):
    assert type(reg)(**reg.hyperparameters()).hyperparameters() == reg.hyperparameters()
    config = TrainConfig(dataset="toy", regularizer=reg)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_what_the_sum_writes_into_a_config_is_what_it_always_wrote():
    names = ["dispersion_weight", "anchoring_weight", "temperature", "radius", "form", "power", "chunk_size"]
    assert list(GeometryRegularizer().hyperparameters()) == [*names, "gather"]


# In the training loop


@pytest.mark.parametrize("at", AT)
@pytest.mark.parametrize("name", list(PARADIGMS))
def test_every_paradigm_adds_the_balanced_gradient_as_finite_differences_find_it(name, at):
    """Of one step with and without the regularizer; alpha is a constant of the step."""
    reg = balanced(at, radius=0.1)
    seen = {}

    def geometry(embeddings):
        encoders = {m: paradigm.model.encoders[m] for m in embeddings}
        seen["out"] = call(reg, encoders, embeddings)
        return seen["out"].total

    fusion = PARADIGMS[name].usual_fusion
    torch.manual_seed(0)
    plain, batch = setup(name, fusion)
    torch.manual_seed(1)
    without = stepped(plain, batch)[0]["encoders"]
    torch.manual_seed(0)
    paradigm, batch = setup(name, fusion)
    torch.manual_seed(1)
    having = stepped(paradigm, batch, geometry)[0]["encoders"]
    alpha = seen["out"].alpha

    def objective(m):
        with torch.no_grad():
            z = paradigm.model.encode(batch["inputs"])
            inter = anchoring(z["a"], z["b"], radius=0.1)
            return STRENGTH * (alpha[m] * inter + (1 - alpha[m]) * dispersion(z[m])).item()

    step = 1e-6
    for m, encoder in paradigm.model.encoders.items():
        parameters = dict(encoder.named_parameters())
        direction = {n: randn(*p.shape, seed=i) for i, (n, p) in enumerate(parameters.items())}
        values = []
        for sign in (1, -1):
            for n, p in parameters.items():
                p.data += sign * step * direction[n]
            values.append(objective(m))
            for n, p in parameters.items():
                p.data -= sign * step * direction[n]
        found = sum(
            ((having[f"{m}.{n}"] - without[f"{m}.{n}"]) * direction[n]).sum().item() for n in parameters
        )
        assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-8)


def run(**changes):
    return fit(replace(SMALL, **changes), data=clouds(), device="cpu", progress=False)


@pytest.mark.parametrize("name", ["joint", "dgl", "mla", "ogm_ge"])
def test_the_loop_trains_with_both_forms_which_are_not_the_same(name):
    fusion = PARADIGMS[name].usual_fusion
    regs = [GeometryRegularizer(balance="pareto", strength=0.5, radius=0.1, at=at) for at in AT]
    first, second = (run(paradigm=name, fusion=fusion, regularizer=reg) for reg in regs)
    assert first.series["train/alpha/a"] != second.series["train/alpha/a"]
    assert all(0 <= value <= 1 for value in first.series["train/alpha/b"] + second.series["train/alpha/b"])


@pytest.mark.parametrize("at", AT)
def test_a_resumed_run_gives_the_same_record(at, tmp_path):
    config = replace(
        SMALL, regularizer=GeometryRegularizer(balance="pareto", radius=0.1, at=at), paradigm="dgl"
    )
    whole = fit(config, data=clouds(), device="cpu", progress=False)
    asked = []
    with pytest.raises(Exception, match="stopped after epoch 1"):
        fit(config, data=clouds(), device="cpu", progress=False, checkpoint=tmp_path / "c.pt",
            stop=lambda: not asked.append(1))  # fmt: skip
    again = fit(config, data=clouds(), device="cpu", progress=False, checkpoint=tmp_path / "c.pt")
    assert again == whole


def test_watching_the_regularizer_changes_nothing_else():
    for reg in (GeometryRegularizer(radius=0.1), SMALL.regularizer):
        watched, plain = run(regularizer=reg), run(regularizer=reg, monitor=False)
        assert watched.metrics == plain.metrics
        assert {k: v for k, v in watched.series.items() if k in plain.series} == plain.series
        more = set(watched.series) - set(plain.series)
        alpha = {"train/alpha/a", "train/alpha/b"} if reg.balance == "pareto" else set()
        assert more == {"train/dose/a", "train/dose/b", "train/active/a-b"} | alpha


@pytest.mark.parametrize("at", AT)
def test_the_dose_is_proportional_to_the_strength_in_the_first_step(at):
    doses = []
    for strength in (0.1, 0.4):
        reg = GeometryRegularizer(balance="pareto", strength=strength, radius=0.1, at=at)
        one = run(regularizer=reg, epochs=1, batch_size=len(clouds().train))
        doses.append(one.series["train/dose/a"][0])
    assert doses[1] == pytest.approx(4 * doses[0], rel=1e-4)


def test_the_dose_of_a_known_step():
    """A joint step at weights (0, w): the pull of anchoring over that of the cross-entropy, by hand."""
    data = clouds()
    model = build_model(data, embedding_dim=6)
    start = copy.deepcopy(model)
    reg = GeometryRegularizer(0.0, 2.0, radius=0.1)
    config = replace(SMALL, regularizer=reg, epochs=1, batch_size=len(data.train))
    record = fit(config, data=data, model=model, device="cpu", progress=False)
    batch = data.train.batch(torch.arange(len(data.train)))
    output = start.train()(batch["inputs"])
    task = nn.functional.cross_entropy(output.logits, batch["label"])
    for m, z in output.embeddings.items():
        (pull,) = torch.autograd.grad(reg(output.embeddings).total, z, retain_graph=True)
        (own,) = torch.autograd.grad(task, z, retain_graph=True)
        assert record.series[f"train/dose/{m}"][0] == pytest.approx(
            (pull.norm() / own.norm()).item(), rel=1e-4
        )


def test_records_call_task_against_geometry_by_its_former_name():
    config = TrainConfig(dataset="toy", combination="task_pareto")
    assert config.to_dict()["combination"] == "pareto"
    assert TrainConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="combination='pareto' is unknown: choose one of sum, task_pareto"):
        TrainConfig(dataset="toy", combination="pareto")
