"""The regularizer, forward and backward, next to the Gram product that it cannot avoid, and next to peers."""

import math
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.nn import functional as F

from geomreg_mini import GeometryRegularizer

MOST = {"cpu": 1.5e12, "cuda": 1e15}  # operations of a round: about 15 s on one core
PEERS = [64, 256, 1024, 4096]


def leaves(batch, width, device, modalities=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    names = ["audio", "image", "text"][:modalities]
    return {
        m: torch.randn(batch, width, generator=generator).to(device, dtype).requires_grad_() for m in names
    }


def free_memory(device):
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def gram(embeddings):
    sum((z @ z.T).sum() for z in embeddings.values()).backward()


def step(loss, *inputs):
    return lambda: loss(*inputs).backward()


@pytest.mark.parametrize("width", [64, 256, 512, 2048])
@pytest.mark.parametrize("batch", [64, 256, 1024, 4096, 16384, 32768])
def test_beside_the_gram_product(in_turn, batch, width, device):
    if (operations := 20 * batch**2 * width) > MOST[device]:
        pytest.skip(f"B={batch}, D={width}: {operations / 1e12:.1f} T operations a round take too long")
    if (needed := 12 * batch**2) > free_memory(device):
        pytest.skip(f"B={batch}, D={width}: {needed / 1e9:.0f} GB for matrices of pairs are not free")
    embeddings, reg = leaves(batch, width, device), GeometryRegularizer()
    in_turn(
        lambda: reg(embeddings).total.backward(),
        lambda: gram(embeddings),
        group="gram",
        what="regularizer",
        against="Gram product",
        device=device,
        B=batch,
        D=width,
        modalities=2,
    )


def test_three_modalities(in_turn, device):
    embeddings, reg = leaves(1024, 512, device, modalities=3), GeometryRegularizer()
    in_turn(
        lambda: reg(embeddings).total.backward(),
        lambda: gram(embeddings),
        group="gram",
        what="regularizer",
        against="Gram product",
        device=device,
        B=1024,
        D=512,
        modalities=3,
    )


@pytest.mark.parametrize(("batch", "width"), [(64, 128), (1024, 512)])
def test_the_balance_at_the_embeddings_beside_the_sum(in_turn, batch, width, device):
    embeddings = leaves(batch, width, device)
    plain, balanced = GeometryRegularizer(radius=0.25), GeometryRegularizer(balance="pareto", radius=0.25)
    in_turn(
        lambda: balanced(embeddings).total.backward(),
        lambda: plain(embeddings).total.backward(),
        group="balance",
        what="Pareto balance at the embeddings",
        against="plain sum",
        device=device,
        B=batch,
        D=width,
    )


def naive(audio, image, reg):
    """What a reader of the formulas would write."""

    def dispersion(u):
        distance = torch.cdist(u, u)
        others = ~torch.eye(len(u), dtype=torch.bool, device=u.device)
        return (-distance[others].square() / reg.temperature).exp().mean().log()

    a, b = F.normalize(audio), F.normalize(image)
    drift = F.relu((a - b).norm(dim=1) - reg.radius).pow(reg.power).mean()
    return reg.dispersion_weight * (dispersion(a) + dispersion(b)) / 2 + reg.anchoring_weight * drift


@pytest.mark.parametrize(("batch", "width"), [(64, 128), (256, 128), (1024, 512), (4096, 512)])
def test_beside_a_naive_version(in_turn, batch, width, device):
    embeddings, reg = leaves(batch, width, device), GeometryRegularizer()
    difference = (naive(*embeddings.values(), reg) - reg(embeddings).total).abs().item()
    in_turn(
        lambda: reg(embeddings).total.backward(),
        lambda: naive(*embeddings.values(), reg).backward(),
        group="naive",
        what="regularizer",
        against="naive version",
        device=device,
        B=batch,
        D=width,
        difference=difference,
    )


def share_of_one_process(rank, processes, folder, sizes, width):
    """Save CPU times of a call with this process's samples, and of one with all alone, in turn."""
    torch.set_num_threads(1)
    rendezvous = (folder / "rendezvous").as_uri()
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=processes)
    own, everything = leaves(sizes[rank], width, "cpu"), leaves(sum(sizes), width, "cpu")
    together, alone = GeometryRegularizer(gather=True), GeometryRegularizer()
    times = []
    for _ in range(9):
        for reg, z in ((together, own), (alone, everything)):
            dist.barrier()
            start = time.process_time()
            reg(z).total.backward()
            times.append(time.process_time() - start)
    torch.save((times[2::2], times[3::2]), folder / f"{rank}.pt")  # the first round warms up
    dist.destroy_process_group()


@pytest.mark.parametrize("sizes", [(512, 512), (1024, 1024), (1536, 512), (700, 700, 648), (2048,) * 3])
def test_the_share_of_each_process(measured, tmp_path, sizes):
    """CPU time of one of several processes, next to its share of the pairs of one process alone."""
    width, processes = 256, len(sizes)
    given = (processes, tmp_path, sizes, width)
    torch.multiprocessing.spawn(share_of_one_process, given, nprocs=processes)
    for rank, size in enumerate(sizes):
        own, alone = (torch.tensor(times) for times in torch.load(tmp_path / f"{rank}.pt"))
        alone = alone * size / sum(sizes)
        low, ratio, high = (own / alone).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        measured(
            "processes",
            f"process {rank + 1} of {processes}, {size} samples",
            against="its share of one alone",
            device="cpu",
            B=sum(sizes),
            D=width,
            seconds=own.median().item(),
            against_seconds=alone.median().item(),
            ratio=ratio,
            ratio_low=low,
            ratio_high=high,
            rounds=len(own),
        )


@pytest.mark.parametrize("batch", PEERS)
def test_beside_lightly(in_turn, batch, device):
    """Its HypersphereLoss is alignment plus uniformity: both terms, without a band."""
    peer = pytest.importorskip("lightly.loss.hypersphere_loss", reason="lightly is not installed")
    embeddings = leaves(batch, 512, device)
    reg = GeometryRegularizer(dispersion_weight=0.1, anchoring_weight=1.0, temperature=0.5, radius=0.0)
    theirs = peer.HypersphereLoss(t=2.0, lam=0.1, alpha=2.0)
    difference = (theirs(*embeddings.values()) - reg(embeddings).total).abs().item()
    in_turn(
        lambda: theirs(*embeddings.values()).backward(),
        lambda: reg(embeddings).total.backward(),
        group="peers",
        what="lightly HypersphereLoss",
        against="regularizer",
        device=device,
        B=batch,
        D=512,
        difference=difference,
    )


@pytest.mark.parametrize("batch", PEERS)
def test_beside_pytorch_metric_learning(in_turn, batch, device):
    """It has no such loss; the terms are written with its LpDistance, as its losses are."""
    peer = pytest.importorskip(
        "pytorch_metric_learning.distances", reason="pytorch-metric-learning is not installed"
    )
    embeddings, reg = leaves(batch, 512, device), GeometryRegularizer()
    squared, plain = peer.LpDistance(power=2), peer.LpDistance()
    same = torch.eye(batch, dtype=torch.bool, device=device)

    def dispersion(z):
        inside = (-squared(z) / reg.temperature).masked_fill(same, -math.inf)
        return inside.logsumexp((0, 1)) - math.log(batch * (batch - 1))

    def theirs(audio, image):
        distance = plain.pairwise_distance(F.normalize(audio), F.normalize(image))
        anchoring = (distance - reg.radius).relu().pow(reg.power).mean()
        spread = (dispersion(audio) + dispersion(image)) / 2
        return reg.dispersion_weight * spread + reg.anchoring_weight * anchoring

    difference = (theirs(*embeddings.values()) - reg(embeddings).total).abs().item()
    in_turn(
        step(theirs, *embeddings.values()),
        lambda: reg(embeddings).total.backward(),
        group="peers",
        what="pytorch-metric-learning LpDistance",
        against="regularizer",
        device=device,
        B=batch,
        D=512,
        difference=difference,
    )


@pytest.mark.parametrize("batch", [64, 1024])
def test_compiled(in_turn, batch, device):
    embeddings, reg = leaves(batch, 512, device), GeometryRegularizer()
    torch.compiler.reset()
    compiled = torch.compile(reg, fullgraph=True)
    try:
        compiled(embeddings).total.backward()
    except Exception as error:  # no C compiler, or none that PyTorch can use
        pytest.skip(f"torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}")
    in_turn(
        lambda: compiled(embeddings).total.backward(),
        lambda: reg(embeddings).total.backward(),
        group="variants",
        what="compiled",
        against="as it is",
        device=device,
        B=batch,
        D=512,
    )


def test_half_precision_input(in_turn, device):
    embeddings, reg = leaves(1024, 512, device), GeometryRegularizer()
    half = leaves(1024, 512, device, dtype=torch.bfloat16)
    in_turn(
        lambda: reg(half).total.backward(),
        lambda: reg(embeddings).total.backward(),
        group="variants",
        what="bfloat16 inputs",
        against="float32 inputs",
        device=device,
        B=1024,
        D=512,
    )


def test_chunks(in_turn, device):
    embeddings, whole = leaves(4096, 256, device), GeometryRegularizer()
    chunked = GeometryRegularizer(chunk_size=1024)
    in_turn(
        lambda: chunked(embeddings).total.backward(),
        lambda: whole(embeddings).total.backward(),
        group="variants",
        what="chunk_size=1024",
        against="whole batch",
        device=device,
        B=4096,
        D=256,
    )
