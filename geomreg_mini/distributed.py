"""Several processes, one result: each encodes its part of a batch, and all see the whole batch's embeddings.

**Several runs at a time** need none of this and lose nothing, so prefer them if there are more runs than
GPUs. Give each GPU separate seeds; records go to one folder:

    for k in 0 1 2 3; do
        CUDA_VISIBLE_DEVICES=$k python -m experiments.benchmarks crema_d --seeds $k &
    done

**One run on several GPUs** of a machine, if it must be quick or its batch does not fit one GPU:

    torchrun --nproc-per-node 4 -m experiments.benchmarks flickr30k

**On several machines**, the same command on each; HOST is one of them, and its port must be reachable:

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --rdzv-id 1 \\
        -m experiments.benchmarks flickr30k --out /shared/results --until 11.5

All machines must see the folder of records (``--out``), because every process looks there for records and
for the checkpoint to resume from. Each machine reads the data from a shared ``GEOMREG_DATA``, or prepares
them itself. After losing a machine, or its time, a run continues with the same command. With Slurm, put
``srun`` before it, and for HOST ``$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)``. If NCCL
picks a network that does not connect the machines, name the right one in ``NCCL_SOCKET_IFNAME``.

How it works. Encoders are nearly all of the work, so only their work is divided. Their outputs are gathered,
gradients included, and every process computes fusion, losses and a paradigm's decisions from the *global*
batch. The mean of the processes' gradients is then that of one process with that batch, for every paradigm
and for the regularizer. So a config does not depend on the number of GPUs.

``DistributedDataParallel`` promises that for one backward pass through one forward call. Paradigms run
several, read gradients in between and run heads on detached parameters. So gradients are averaged here, by
one all-reduce after each backward pass. The cost: communication does not overlap with that pass.

On GPUs batch normalization uses the global batch's statistics too (``SyncBatchNorm``). PyTorch has that for
GPUs only; on CPUs each process normalizes its part, and running statistics are averaged after each epoch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


class Processes(NamedTuple):
    """Processes that share a batch: their group, None for all, and how many samples each has, if known."""

    group: Any = None
    sizes: list[int] | None = None


Group = Processes | None


def start() -> None:
    """Join the processes that torchrun or another launcher started, over NCCL or, without GPUs, gloo.

    ``RANK`` or ``WORLD_SIZE`` announces several processes. A single process does nothing, and neither does
    one that has joined.

    Raises:
        ValueError: if they are announced without ``MASTER_ADDR`` and ``MASTER_PORT``, their meeting point.
            Otherwise each would train alone and take itself for process 0.
    """
    given = os.environ
    alone = given.get("WORLD_SIZE", "1") in ("", "1") and given.get("RANK", "0") in ("", "0")
    if (alone and "TORCHELASTIC_RUN_ID" not in given) or dist.is_initialized():
        return
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if not given.get(name)]
    if missing:
        raise ValueError(
            f"RANK or WORLD_SIZE announces several processes, but {', '.join(missing)} is not set: start "
            "them with torchrun, or unset both to train alone."
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(given.get("LOCAL_RANK", int(given["RANK"]) % torch.cuda.device_count())))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def end() -> None:
    """Leave the process group; do not call it after a failure, because it waits for the others."""
    if world_size() > 1:
        dist.destroy_process_group()


def world_size() -> int:
    """Return how many processes train together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def joined(group: Any = None) -> Any:
    """Return the ``group`` of this process, or all processes if None; None if it would be alone in it.

    Raises:
        ValueError: if this process does not belong to ``group``.
    """
    if world_size() == 1:
        return None
    group = dist.group.WORLD if group is None else group
    if dist.get_rank(group) < 0:
        raise ValueError(f"process {dist.get_rank()} is not in `process_group`: pass a group with it.")
    return group if dist.get_world_size(group) > 1 else None


def rank() -> int:
    """Return this process's number; 0 writes files and shows progress."""
    return dist.get_rank() if world_size() > 1 else 0


def barrier() -> None:
    """Wait for the other processes."""
    if world_size() > 1:
        dist.barrier()


def agreed(answer: bool) -> bool:
    """Return process 0's ``answer`` in all processes, because their clocks differ."""
    if world_size() == 1:
        return answer
    answers = _message(int(answer))
    dist.broadcast(answers, 0)
    return bool(answers)


def _message(numbers: int | list[int], group: Any = None) -> Tensor:
    """Return whole numbers on a device whose tensors the group's backend can send."""
    return torch.tensor(numbers, device="cuda" if dist.get_backend(group) == "nccl" else "cpu")


def share(index: Tensor) -> Tensor:
    """Return this process's part of ``index`` (B,); parts differ in length by one at most."""
    return index.tensor_split(world_size())[rank()]


def own_generator(step: int) -> torch.Generator:
    """Return a generator for what this process alone draws in one step, such as crops of its samples.

    Its numbers depend on the last seed, ``step`` and the process, but not on when they are drawn. Common
    draws come from torch's default generator, which stays the same in all processes.
    """
    return torch.Generator().manual_seed(torch.initial_seed() + 7919 * (step * world_size() + rank() + 1))


class _AllGather(torch.autograd.Function):
    """Join the tensors (B_r, ...) of all processes, whose batch sizes are ``counts``, as one (B, ...).

    As all compute the same loss, backward needs no communication.
    """

    @staticmethod
    def forward(x: Tensor, counts: list[int], group: Any) -> Tensor:
        everyone = x.new_empty(sum(counts), *x.shape[1:])
        parts = everyone.split(counts)
        if len(set(counts)) == 1 and (counts[0] == 1 or x.is_cuda):
            dist.all_gather(list(parts), x.contiguous(), group)
            return everyone
        parts[dist.get_rank(group)].copy_(x)
        # Faster with many rows on a CPU, because gloo's all_gather copies them twice.
        for sent in [dist.broadcast(p, group=group, async_op=True, group_src=r) for r, p in enumerate(parts)]:
            sent.wait()
        return everyone

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, list[int], Any], output: Tensor) -> None:
        ctx.rank, ctx.counts = dist.get_rank(inputs[2]), inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # DistributedDataParallel takes the mean
        return grad.split(ctx.counts)[ctx.rank] * len(ctx.counts), None, None


def together(call: Callable[[], tuple[T, dict, int]], group: Any) -> tuple[T, list[str], Processes]:
    """Return the first result of ``call``, process 0's order of the second, and all processes' third.

    The first may differ, the second is equal in all processes, and the third is the number of samples.

    Raises:
        ValueError: in every process, if ``call`` fails in another one, or its second result differs there.
    """
    failure, result, own, size = None, None, {}, 0
    try:
        result, own, size = call()
    except Exception as error:  # the others would wait for this process
        failure = error
    # Two numbers, so that no process waits for another that fails. Objects cost more, so only then.
    digest = -1 if failure else int(hashlib.sha256(repr(list(own.items())).encode()).hexdigest()[:15], 16)
    digests, sizes = stacked(_message([digest, size], group), Processes(group)).T.tolist()
    if len(set(digests)) == 1 and failure is None:
        return result, list(own), Processes(group, sizes)
    everyone = [(own, "")] * dist.get_world_size(group)
    dist.all_gather_object(everyone, (own, failure and str(failure)), group)
    if failure is not None:
        raise failure
    first = everyone[0][0]
    for other, (found, failed) in enumerate(everyone):
        if failed is not None:
            raise ValueError(f"process {other} failed: {failed}")
        if odd := [key for key in first | found if found.get(key) != first.get(key)]:
            found, zero = ({key: x[key] for key in odd if key in x} for x in (found, first))
            raise ValueError(f"process {other} holds {found}, but process 0 {zero}: pass the same in all.")
    return result, list(first), Processes(group, sizes)


def stacked(x: Tensor, processes: Processes) -> Tensor:
    """Return the equally shaped tensors of all processes as one (processes, ...), gradients included."""
    return _AllGather.apply(x[None], [1] * dist.get_world_size(processes.group), processes.group)


def total(x: Tensor, processes: Group) -> Tensor:
    """Return the sum of x over the processes, the same number in all; x itself if ``processes`` is None."""
    return x if processes is None else stacked(x, processes).sum(0)


def gather(x: Tensor) -> Tensor:
    """Return the tensors (B_r, ...) of all processes as one (B, ...), by rank, gradients included."""
    return x if world_size() == 1 else gather_rows({"": x}, Processes())[0][""]


def gather_rows(own: dict[str, Tensor], processes: Processes) -> tuple[dict[str, Tensor], dict[str, slice]]:
    """Return the tensors (B_r, ...) of all processes as one (B, ...) by name, and where the own rows are."""
    (group, sizes), rows, mine = processes, {}, {}
    counts = [sizes] * len(own)
    if sizes is None:
        counts = stacked(_message([len(x) for x in own.values()], group), processes).T.tolist()
    for (name, x), sizes in zip(own.items(), counts, strict=True):
        rows[name], start = _AllGather.apply(x, sizes, group), sum(sizes[: dist.get_rank(group)])
        mine[name] = slice(start, start + len(x))
    return rows, mine


@torch.no_grad()
def average(tensors: Iterable[Tensor], processes: Group = None) -> None:
    """Replace each tensor by its mean over the processes, in place, in one message."""
    if world_size() == 1 or not (tensors := list(tensors)):
        return
    flat, group = torch.cat([x.flatten() for x in tensors]), processes and processes.group
    dist.all_reduce(flat, group=group)
    parts = (flat / dist.get_world_size(group)).split([x.numel() for x in tensors])
    for x, part in zip(tensors, parts, strict=True):
        x.copy_(part.view_as(x))


def average_statistics(model: nn.Module) -> None:
    """Average the running statistics of normalization, which each process takes from its own samples."""
    average(buffer for buffer in model.buffers() if buffer.is_floating_point())


def connect(model: nn.Module) -> list:
    """Make the encoders return the embeddings of all processes in training mode; return the hooks.

    All processes start from process 0's weights. In evaluation mode encoders embed their own inputs.
    """
    if world_size() == 1:
        return []
    with torch.no_grad():
        for x in (*model.parameters(), *model.buffers()):
            first = x.contiguous()
            dist.broadcast(first, 0)
            x.copy_(first)
    if dist.get_backend() == "nccl":
        for m, encoder in list(model.encoders.items()):
            model.encoders[m] = nn.SyncBatchNorm.convert_sync_batchnorm(encoder)

    def gathered(encoder: nn.Module, inputs: tuple, z: Tensor | tuple[Tensor, ...]) -> Tensor | tuple:
        if not encoder.training:
            return z
        return gather(z) if torch.is_tensor(z) else tuple(map(gather, z))

    return [encoder.register_forward_hook(gathered) for encoder in model.encoders.values()]
