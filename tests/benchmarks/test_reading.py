"""What reading ahead saves: samples per second of an epoch with and without it, of every benchmark.

Stand-ins, on a CPU with the small networks of their recipes, so that reading is a visible share of an epoch;
on a GPU with those of full size. Times are the clock's, since waiting for files costs no processor time.
Files that were just written are in memory, so all is measured again as from a disk that takes as long for a
batch as training does. Reading in turn then halves the rate.
"""

import time
from dataclasses import replace

import pytest
import torch

from experiments import cost
from experiments.recipes import RECIPES, recipe
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.data import dataset, load
from geomreg_mini.training import _Run, set_seed

ROUNDS, SAMPLES = 3, 512  # samples of an epoch, at most


class SlowDisk:
    """A split whose every batch takes ``seconds`` longer to read."""

    def __init__(self, split, seconds=0.0):
        self.split, self.seconds = split, seconds

    def __getattr__(self, name):
        return getattr(self.split, name)

    def __len__(self):
        return len(self.split)

    def augmented(self, generator):
        return SlowDisk(self.split.augmented(generator), self.seconds)

    def batch(self, index):
        time.sleep(self.seconds)
        return self.split.batch(index)


@pytest.mark.parametrize("disk", ["memory", "slow"])
@pytest.mark.parametrize("name", [name for name in RECIPES if "_l14" not in name and "xrf55_" not in name])
def test_samples_per_second_with_and_without_reading_ahead(name, disk, device, measured, monkeypatch):
    if device == "cuda":
        config, data = cost.full_size(name)
    else:
        config = recipe(name, dataset_options=RECIPES[name].config.dataset_options | {"source": "stand_in"})
        small = {"encoder": "conv", "embedding_dim": 32} if config.encoder == "resnet18" else {}
        config = replace(config, batch_size=16, **small if config.task == "classification" else {})
        data = load(config.dataset, seed=0, **config.dataset_options)
    rows = torch.arange(min(SAMPLES, len(data.train)))
    train = data.train.subset(rows)
    data = replace(data, train=SlowDisk(train) if disk == "slow" else train)
    set_seed(0)
    model = TASKS[config.task]().build(config, data).to(device)
    run = _Run(config, data, model, torch.device(device), time.perf_counter())
    rates = {threads: [] for threads in (dataset.READERS, 1)}
    for _ in range(ROUNDS + 1):  # the first warms up
        for threads, seen in rates.items():
            monkeypatch.setattr(dataset, "READERS", threads)
            start = time.perf_counter()
            run.train_epoch(1)
            if device == "cuda":
                torch.cuda.synchronize()
            seen.append(len(rows) // config.batch_size * config.batch_size / (time.perf_counter() - start))
        if disk == "slow" and not data.train.seconds:
            data.train.seconds = config.batch_size / rates[1][0]
    ahead, without = (torch.tensor(seen[1:]).median().item() for seen in rates.values())
    measured(
        "reading",
        f"{name}, reading ahead, {disk}" + " disk" * (disk == "slow"),
        against="reading in turn",
        device=device,
        B=config.batch_size,
        samples_per_second=ahead,
        against_samples_per_second=without,
        ratio=ahead / without,
    )
