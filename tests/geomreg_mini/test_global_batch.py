"""Two and three processes whose samples form one batch: the value and the gradient of one process with it."""

import copy
import multiprocessing
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from geomreg_mini import GeometryRegularizer

SHARES = {2: [(5, 5), (8, 3), (7, 0)], 3: [(7, 1, 3), (0, 5, 2)]}  # samples per process
WIDTHS = {"a": 5, "b": 6, "c": 5}
SUMS = [
    {},
    {"chunk_size": 2},
    {"form": "cosine"},
    {"form": "hinge", "chunk_size": 2},
    {"form": "covariance"},
    {"dispersion_weight": 0.0, "power": 1},
    {"anchoring_weight": 0.0, "reduction": "sum"},
]
BALANCED = [
    {"balance": "pareto", **more}
    for more in ({}, {"form": "hinge", "chunk_size": 2}, {"form": "covariance"}, {"at": "parameters"})
]
CASES = [(options | {"radius": 0.3, "gather": True}, True) for options in SUMS + BALANCED]
CASES += [(CASES[0][0], False), (CASES[len(SUMS)][0], False)]  # options, masked


IN_A_GROUP, WRAPPERS = (7, 3), ("DDP", "FSDP")
START = "spawn"
if "forkserver" in multiprocessing.get_all_start_methods():  # imports what takes seconds once for all
    START = "forkserver"
    multiprocessing.set_forkserver_preload([__name__, "torch._dynamo", "torch.distributed.fsdp"])
TWICE = ("rbf", "hinge", "covariance")
ONE_PROCESS = {"balance": "pareto"}


class Regularized(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.encoders = nn.ModuleDict({m: nn.Linear(width, 4) for m, width in WIDTHS.items()}).double()
        self.reg = GeometryRegularizer(**options)

    def forward(self, inputs, mask):
        given = {m: e.parameters() for m, e in self.encoders.items()} if self.reg.at == "parameters" else None
        return self.reg({m: self.encoders[m](x) for m, x in inputs.items()}, mask, given)


def batch(sizes, masked, rank=None):
    """Inputs and masks of one process, or of all."""
    generator = torch.Generator().manual_seed(1)
    size = sum(sizes)
    inputs = {m: torch.randn(size, w, generator=generator, dtype=torch.float64) for m, w in WIDTHS.items()}
    mask = {"b": torch.arange(size) % 3 > 0, "c": torch.arange(size) % 5 != 1} if masked else {}
    here = slice(None) if rank is None else slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    inputs, mask = ({m: x[here] for m, x in part.items()} for part in (inputs, mask))
    return (
        dict(reversed(inputs.items())) if rank == 1 else inputs
    ), mask  # a caller may order a dict as it likes


def numbers(out, model):
    values = [out.total, *out.dispersion.values(), *out.anchoring.values(), *out.active.values()]
    values += out.alpha.values()
    return torch.stack(values).detach(), [p.grad for p in model.parameters()]


def averaged(model):
    """What DistributedDataParallel does, without the seconds that its import takes."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()


def failure(call):
    try:
        call()
    except (TypeError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def errors(rank):
    """Calls that one process alone gets wrong, and second derivatives; what each process raises."""
    reg = GeometryRegularizer(gather=True)
    z = {m: torch.ones(3, 5) for m in "abc"}
    bad = {
        "mask": (z, {"b": torch.ones(3, dtype=torch.bool)} if rank == 0 else {}),
        "names": ({m: x for m, x in z.items() if m != "c" or rank == 1}, {}),
        "width": ({m: x[:, : 5 - rank] for m, x in z.items()}, {}),
        "NaN": (z | {"a": torch.where(torch.arange(3)[:, None] < rank, torch.nan, z["a"])}, {}),
        "type": (z | {"a": z["a"].long() if rank == 1 else z["a"]}, {}),
        "no dict": (z, torch.ones(3, dtype=torch.bool) if rank == 1 else {}),
        "nothing": (z if rank == 0 else None,),
        "device": ({m: x.to("cpu" if rank == 0 else "meta") for m, x in z.items()},),
    }
    found = {name: failure(partial(reg, *given)) for name, given in bad.items()}
    for name, options in {"radius": {"radius": rank / 9}, "balance": {} if rank else ONE_PROCESS}.items():
        found[name] = failure(partial(GeometryRegularizer(gather=True, **options), z))
    z = {m: torch.randn(3, 5).requires_grad_() for m in "ab"}
    for form in TWICE:
        total = GeometryRegularizer(gather=True, form=form)(z).total
        (first,) = torch.autograd.grad(total, z["a"], create_graph=True)
        found[f"twice {form}"] = failure(partial(torch.autograd.grad, first.sum(), z["a"]))
    return found


def sharded():
    """What calls with DTensors raise: copies of the whole batch, a part of it in each process, parameters."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Shard, distribute_tensor

    whole = distribute_tensor(torch.ones(6, 5), init_device_mesh("cpu", (dist.get_world_size(),)))
    part = whole.redistribute(placements=[Shard(0)])
    found = [failure(partial(GeometryRegularizer(), whole, other)) for other in (whole, part)]
    model = Regularized(balance="pareto", at="parameters", gather=True)
    [fully_shard(part) for part in (*model.encoders.values(), model)]
    inputs = dict(sorted(batch((2,) * dist.get_world_size(), False, dist.get_rank())[0].items()))
    return [*found, failure(partial(model, inputs, {}))]


def through_others(sizes, rank):
    """The gradient at the own embeddings through torch.func, and through a checkpoint."""
    a, c = (batch(sizes, False, rank)[0][m] for m in "ac")
    at = a.clone().requires_grad_()

    def total(a):
        return GeometryRegularizer(radius=0.3, gather=True)(a, c).total

    checkpoint(total, at, use_reentrant=False).backward()
    return [torch.func.grad(total)(a) / len(sizes), at.grad / len(sizes)]


def compiled(sizes, rank):
    torch._dynamo.reset()
    model = Regularized(radius=0.3, gather=True, chunk_size=2)
    out = torch.compile(model, backend="eager")(*batch(sizes, True, rank))
    out.total.backward()
    averaged(model)
    return numbers(out, model)


def products(sizes, rank):
    """Operations of the matrix products of a call."""
    z = {m: torch.randn(sizes[rank] if rank is not None else sum(sizes), 8) for m in "ab"}
    with FlopCounterMode(display=False) as counter:
        GeometryRegularizer(gather=True, chunk_size=4)(z)
    return counter.get_total_flops()


def in_a_group(rank):
    """The first and the last process share a batch; one between them is not asked."""
    last = dist.get_world_size() - 1
    reg = GeometryRegularizer(radius=0.3, gather=True, process_group=dist.new_group([0, last]))
    if rank not in (0, last):
        return failure(lambda: reg({m: torch.ones(2, 3) for m in "ab"}))
    model = Regularized()
    model.reg = copy.deepcopy(reg)
    return numbers(model(*batch(IN_A_GROUP, True, int(rank == last))), model)[0]


def wrapped(wrapper, sizes, rank):
    """Gradients that the wrapper leaves."""
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    model = Regularized(radius=0.3, gather=True)
    if wrapper == "FSDP":
        [fully_shard(encoder) for encoder in model.encoders.values()]
    model = fully_shard(model) if wrapper == "FSDP" else DistributedDataParallel(model)
    inputs, mask = batch(sizes, True, rank)
    model(dict(sorted(inputs.items())), mask).total.backward()  # FSDP needs one order of the encoders
    return [p.grad if wrapper == "DDP" else p.grad.full_tensor() for p in model.parameters()]


def process(rank, count, folder):
    torch.set_num_threads(1)
    rendezvous = (folder / "rendezvous").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=count)
    results = {"cases": [], "products": [products(sizes, rank) for sizes in SHARES[count]]}
    for sizes in SHARES[count]:
        for options, masked in CASES:
            model = Regularized(**options)
            out = model(*batch(sizes, masked, rank))
            out.total.backward()
            averaged(model)
            results["cases"].append(numbers(out, model))
    results["compiled"] = compiled(SHARES[count][1], rank)
    results["errors"] = errors(rank)
    results["sharded"] = sharded()
    results["others"] = [through_others(sizes, rank) for sizes in SHARES[count]]
    results["group"] = in_a_group(rank)
    results |= {wrapper: wrapped(wrapper, SHARES[count][0], rank) for wrapper in WRAPPERS}
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def processes(request, tmp_path_factory):
    """What each of 2 or 3 processes found."""
    folder = tmp_path_factory.mktemp("processes")
    given = process, (request.param, folder), request.param
    torch.multiprocessing.start_processes(*given, start_method=START)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


def alone(sizes, masked, **options):
    model = Regularized(**options)
    out = model(*batch(sizes, masked))
    out.total.backward()
    for p in model.parameters():
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    return numbers(out, model)


def test_value_and_mean_gradient_are_those_of_one_process(processes):
    found = zip(*(each["cases"] for each in processes), strict=True)
    for sizes in SHARES[len(processes)]:
        for options, masked in CASES:
            expected, gradients = alone(sizes, masked, **options)
            values, mean_gradients = zip(*next(found), strict=True)
            close = partial(torch.testing.assert_close, msg=lambda m, o=(sizes, options): f"{o}: {m}")
            assert all(torch.equal(value, values[0]) for value in values), "the same number in all"
            close(values[0], expected, rtol=1e-12, atol=1e-12)
            close(mean_gradients[0], gradients, rtol=1e-10, atol=1e-12)


def test_each_process_computes_the_pairs_of_its_own_samples_alone(processes):
    for case, sizes in enumerate(SHARES[len(processes)]):
        whole = products(sizes, None)
        for size, each in zip(sizes, processes, strict=True):
            assert each["products"][case] == (whole * size // sum(sizes) if sum(sizes) > 1 else 0)
    assert whole == 2 * 2 * 8 * sum(sizes) ** 2  # of 2 modalities, the product that the counter knows


def test_compiled_with_mask_and_chunks_it_is_the_same(processes):
    expected, gradients = alone(SHARES[len(processes)][1], True, radius=0.3)
    for each in processes:
        torch.testing.assert_close(each["compiled"][0], expected)
        torch.testing.assert_close(each["compiled"][1], gradients)


def test_a_mistake_of_one_process_is_an_error_in_all(processes):
    mistakes = [each["errors"] for each in processes]
    for kind in ("mask", "names", "width", "device", "radius", "balance"):
        assert all(found[kind] == mistakes[0][kind] for found in mistakes)
        assert mistakes[0][kind].startswith("ValueError: process 1 holds ")
        assert "but process 0" in mistakes[0][kind]
    for kind, words in (
        ("NaN", "modality 'a' holds NaN in 1 of 3 samples"),
        ("type", "modality 'a' must be floating-point of 16 bits or more, got torch.int64"),
        ("no dict", "mask must be a dict, modality -> boolean (B,), got Tensor"),
        ("nothing", "embeddings must be a dict or tensors, got NoneType"),
    ):
        assert f"Error: {words}" in mistakes[1][kind]
        assert f"process 1 failed: {words}" in mistakes[0][kind]
    assert all("differentiable once" in found[f"twice {form}"] for found in mistakes for form in TWICE)


def test_sharded_tensors_are_refused_and_copies_of_the_whole_are_not(processes):
    for each in processes:
        assert each["sharded"][0] == "nothing"
        assert "modality '1' must be dense and whole" in each["sharded"][1]
        assert "parameters are sharded: compare gradients at='embeddings'" in each["sharded"][2]


def test_torch_func_and_checkpoints_give_each_process_its_part_of_the_gradient(processes):
    for number, sizes in enumerate(SHARES[len(processes)]):
        z = {m: x.requires_grad_() for m, x in batch(sizes, False)[0].items() if m != "b"}
        (expected,) = torch.autograd.grad(GeometryRegularizer(radius=0.3)(z).total, z["a"])
        for found in zip(*(each["others"][number] for each in processes), strict=True):
            torch.testing.assert_close(torch.cat(found), expected)


def test_some_of_the_processes_share_a_batch_in_their_group(processes):
    value, _ = alone(IN_A_GROUP, True, radius=0.3)
    members = [each["group"] for each in processes if torch.is_tensor(each["group"])]
    assert len(members) == 2
    torch.testing.assert_close(members, [value] * 2)
    others = [each["group"] for each in processes if not torch.is_tensor(each["group"])]
    assert all("process 1 is not in `process_group`: pass a group with it." in found for found in others)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_models_get_the_gradient_of_one_process(processes, wrapper):
    _, gradients = alone(SHARES[len(processes)][0], True, radius=0.3)
    for each in processes:
        torch.testing.assert_close(each[wrapper], gradients)
