"""Two processes under torchrun are one process with the same global batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_steps import CONFIGS, train
from small_data import clouds
from test_training import SMALL

from experiments.benchmarks import load_embeddings
from geomreg_mini import distributed
from geomreg_mini.records import Record
from geomreg_mini.training import fit

ROOT = Path(__file__).parents[2]


def torchrun(*arguments) -> str:
    """What the processes printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    printed = torchrun(ROOT / "tests" / "distributed_steps.py", folder)
    results = torch.load(folder / "results.pt", weights_only=True)
    return {**results, "folder": folder / "toy", "printed": printed}


@pytest.fixture(scope="module")
def one():
    return train()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_losses_and_gradients_are_those_of_one_process(name, one, two):
    single, double = one[name], two["results"][name]
    assert double["losses"].keys() == single["losses"].keys()
    for loss, values in single["losses"].items():
        torch.testing.assert_close(double["losses"][loss], values, rtol=1e-5, atol=1e-5)
    assert single["moved"].abs().max() > 0.01
    torch.testing.assert_close(double["moved"], single["moved"], rtol=1e-5, atol=1e-5)
    assert double["device"] == "2 x cpu"


def test_the_processes_hold_the_same_weights_to_the_last_bit(two):
    assert two["processes_agree"]


def test_crops_are_drawn_by_each_process_and_everything_else_alike(two):
    assert two["own"].unique().numel() == 4, "two steps of two processes"
    assert two["common"].unique().numel() == 1


def test_one_process_alone_writes_and_speaks(two):
    names = {str(path.relative_to(two["folder"])) for path in two["folder"].rglob("*.*")}
    arms = ("baseline", "regularized")
    assert names == {f"joint/seed0/{arm}.{kind}" for arm in arms for kind in ("json", "npz")}
    embedded = load_embeddings(two["folder"], "joint", "baseline")
    record = Record.load(two["folder"] / "joint" / "seed0" / "baseline.json")
    assert len(embedded.labels) == record.split_sizes["test"], "one process's share is not the split"
    assert record.device == "2 x cpu"
    assert two["printed"].count("2 of 2 runs recorded") == 1


@pytest.mark.slow
def test_two_machines_of_one_process_train_the_documented_command(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    nodes = "--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id 1 --rdzv-endpoint".split()
    small = "--source stand_in --epochs 1 --seeds 1 --arms regularized --device cpu".split()
    command = [sys.executable, "-m", "torch.distributed.run", *nodes, f"localhost:{port}"]
    command += ["-m", "experiments.benchmarks", "flickr30k", *small, "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    machines = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    (path,) = tmp_path.rglob("*.json")
    record = Record.load(path)
    assert record.device == "2 x cpu" and record.config["regularizer"] is not None
    assert sum(out.count("1 of 1 runs recorded") for out, _ in outputs) == 1


def test_one_process_has_nothing_to_share_or_gather():
    x = torch.arange(5.0)
    assert torch.equal(distributed.share(x), x) and distributed.gather(x) is x
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.agreed(True) and not distributed.agreed(False)
    distributed.average([x])
    assert torch.equal(x, torch.arange(5.0))


ANNOUNCED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


def announce(monkeypatch, given):
    for name in ANNOUNCED:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here"}, "MASTER_PORT"),
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, "WORLD_SIZE"),
    ],
)
@pytest.mark.parametrize("begin", [distributed.start, lambda: fit(SMALL, data=clouds(), progress=False)])
def test_processes_announced_without_a_place_to_meet_are_refused(monkeypatch, given, missing, begin):
    announce(monkeypatch, given)
    with pytest.raises(ValueError, match=f"but {missing} is not set: start them with torchrun"):
        begin()


@pytest.mark.parametrize("given", [{"WORLD_SIZE": "1"}, {"WORLD_SIZE": "", "RANK": ""}, {"RANK": "0"}])
def test_a_single_announced_process_trains_alone(monkeypatch, given):
    announce(monkeypatch, given)
    distributed.start()
    assert distributed.world_size() == 1
