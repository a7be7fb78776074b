"""Two gradients, one direction: the closed form, its edges, and the regularizer combined so in a run."""

from dataclasses import replace

import pytest
import torch
from paradigm_steps import geometry_loss, gradients, setup, stepped
from small_data import clouds

from geomreg_mini import GeometryRegularizer
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.paradigms.pareto import ParetoGeometry, inner, min_norm_weights, pareto_gradients
from geomreg_mini.training import TrainConfig, fit

SMALL = TrainConfig(dataset="toy", epochs=3, batch_size=16, embedding_dim=6, learning_rate=0.05)


def vectors(*rows):
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


def length(gradients) -> float:
    return inner(gradients, gradients) ** 0.5


# Weights


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_give_the_shortest_vector_between_the_two(seed):
    torch.manual_seed(seed)
    first, second = [torch.randn(7).double()], [torch.randn(7).double() * 3]
    w = torch.linspace(0.001, 0.999, 9981, dtype=torch.float64)
    norms = (w[:, None] * first[0] + (1 - w)[:, None] * second[0]).norm(dim=1)
    found, rest = min_norm_weights(first, second)
    assert found == pytest.approx(w[norms.argmin()].item(), abs=1e-4)
    assert rest == 1 - found


def test_orthogonal_vectors_are_weighed_by_the_square_of_the_others_length():
    assert min_norm_weights(vectors([2.0, 0.0]), vectors([0.0, 1.0])) == pytest.approx((0.2, 0.8))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.5),
        ([3.0, 1.0], [3.0, 1.0], 0.5),
        ([0.0, 0.0], [1.0, 0.0], 0.999),
        ([1.0, 0.0], [0.0, 0.0], 0.001),
        ([1.0, 0.0], [5.0, 0.0], 0.999),
    ],
    ids=["zeros", "equal", "first zero", "second zero", "second longer"],
)
def test_zero_equal_and_parallel_gradients_have_weights(first, second, expected):
    assert min_norm_weights(vectors(first), vectors(second))[0] == pytest.approx(expected)


# Combination


def test_agreeing_gradients_give_their_sum_to_the_last_bit():
    torch.manual_seed(0)
    first = [torch.randn(4, 3), torch.randn(3)]
    second = [0.1 * g + 0.02 * torch.randn(g.shape) for g in first]
    assert inner(first, second) > 0
    for got, a, b in zip(pareto_gradients(first, second), first, second, strict=True):
        assert torch.equal(got, a + b)


def test_of_conflicting_gradients_neither_is_worked_against():
    first, second = vectors([2.0, 0.0]), vectors([-1.0, 1.0])
    (got,) = pareto_gradients(first, second)
    # (3, 1) / 5 x 2 is 2 x the foot of the origin on the segment, shorter than the sum (1, 1)
    torch.testing.assert_close(got, torch.tensor([1.0, 3.0]).double() / 10**0.5 * 2**0.5)
    assert inner([got], first) > 0
    assert inner([got], second) > 0
    assert length([got]) == pytest.approx(length([first[0] + second[0]]))


def test_each_tensor_is_stretched_by_itself_and_never_shortened():
    first, second = vectors([4.0, 0.0], [0.0, 1.0]), vectors([-1.0, 1.0], [0.0, 1.0])
    assert inner(first, second) < 0
    w = min_norm_weights(first, second)[0]
    for got, a, b in zip(pareto_gradients(first, second), first, second, strict=True):
        h, plain = 2 * (w * a + (1 - w) * b), a + b
        torch.testing.assert_close(got, h * max(1.0, (plain.norm() / h.norm()).item()))


def test_a_zero_gradient_leaves_the_other_and_two_give_zero():
    torch.manual_seed(0)
    some, none = [torch.randn(5)], [torch.zeros(5)]
    torch.testing.assert_close(pareto_gradients(some, none), some)
    torch.testing.assert_close(pareto_gradients(none, some), some)
    assert torch.equal(pareto_gradients(none, none)[0], none[0])


def test_opposite_gradients_give_zero_and_not_stretched_rounding_errors():
    torch.manual_seed(0)
    first = [torch.randn(50)]
    (got,) = pareto_gradients(first, [-0.3 * first[0]])
    assert got.norm() < 1e-5 * first[0].norm()


def test_a_parameter_that_one_loss_does_not_reach_follows_the_other():
    a, b = torch.ones(2), -torch.ones(3)
    got = pareto_gradients([a, None, None], [None, b, None])
    assert got[0] is a
    assert got[1] is b
    assert got[2] is None


def test_a_loss_scale_passes_through():
    torch.manual_seed(0)
    first, second = [torch.randn(6)], [torch.randn(6)]
    second[0] -= first[0]
    assert inner(first, second) < 0
    (got,) = pareto_gradients([1024 * first[0]], [1024 * second[0]])
    torch.testing.assert_close(got, 1024 * pareto_gradients(first, second)[0])


# The regularizer's gradient combined so


def combined_step(paradigm, batch, geometry):
    stand_in = ParetoGeometry(paradigm.model.encoders, geometry)
    losses = paradigm.step(batch, stand_in, torch.Tensor.backward)
    stand_in.combine()
    return losses


@pytest.mark.parametrize("sign", [1, -1], ids=["as it is", "turned around"])
@pytest.mark.parametrize("name", ["joint", "uniform_sum", "dgl", "mmpareto"])
def test_encoders_get_the_combination_and_heads_the_task_alone(name, sign):
    def geometry(z):
        return sign * geometry_loss(z)

    task, batch = setup(name)
    expected, _ = stepped(task, batch)
    both, _ = setup(name)
    losses = combined_step(both, batch, geometry)
    assert not losses["geometry"].requires_grad
    assert losses["geometry"] == geometry(both.model.encode(batch["inputs"])).detach()
    for m, encoder in both.model.encoders.items():
        names = [n for n, _ in encoder.named_parameters()]
        own = [expected["encoders"][f"{m}.{n}"] for n in names]
        alone, _ = setup(name)
        geometry(alone.model.encode(batch["inputs"])).backward()
        pull = [p.grad for p in alone.model.encoders[m].parameters()]
        for p, wanted in zip(encoder.parameters(), pareto_gradients(own, pull), strict=True):
            torch.testing.assert_close(p.grad, wanted)
    torch.testing.assert_close(gradients(both.model.fusion), expected["fusion"], rtol=0, atol=0)
    torch.testing.assert_close(gradients(both.model.heads), expected["heads"], rtol=0, atol=0)


def test_a_geometry_that_agrees_with_the_task_gives_the_sum():
    def geometry(z):
        return 0.5 * torch.nn.functional.cross_entropy(both.model.fusion(z), batch["label"])

    task, batch = setup("joint")
    expected, _ = stepped(task, batch)
    both, _ = setup("joint")
    combined_step(both, batch, geometry)
    got = gradients(both.model.encoders)
    torch.testing.assert_close(got, {n: 1.5 * g for n, g in expected["encoders"].items()})


def test_each_update_of_a_batch_combines_its_own_encoder():
    paradigm, batch = setup("mla", "shared")
    stand_in = ParetoGeometry(paradigm.model.encoders, geometry_loss)
    trained = []
    for _ in paradigm.updates(batch, stand_in, torch.Tensor.backward):
        stand_in.combine()
        trained.append({name.split(".")[0] for name in gradients(paradigm.model.encoders)})
        paradigm.model.zero_grad()
    assert trained == [{"a"}, {"b"}]


def run(**changes):
    return fit(replace(SMALL, **changes), data=clouds(), device="cpu", progress=False)


def test_weights_of_zero_are_the_plain_run_to_the_last_bit():
    plain = run()
    silent = run(combination="task_pareto", regularizer=GeometryRegularizer(0.0, 0.0))
    assert silent.metrics == {**plain.metrics, **{k: v for k, v in silent.metrics.items() if "band" in k}}
    assert {k: v for k, v in silent.series.items() if k in plain.series} == plain.series


@pytest.mark.parametrize("name", list(PARADIGMS))
def test_every_paradigm_runs_combined_and_differs_from_the_sum_where_they_conflict(name):
    common = {"paradigm": name, "fusion": "shared", "regularizer": GeometryRegularizer(1.0, 1.0, radius=0)}
    pareto, plain = run(combination="task_pareto", **common), run(**common)
    assert all(torch.isfinite(torch.tensor(v)) for v in pareto.metrics.values())
    assert pareto.series["train/loss/geometry"] != plain.series["train/loss/geometry"]
