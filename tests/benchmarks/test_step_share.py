"""What the regularizer and the diagnostics cost beside the training steps that they are part of.

Steps are those of `fit`: a batch read and prepared, forward, backward, clipping and the optimizer. Data of
the paper's benchmarks are generated stand-ins with inputs of full size, and batches are the recipes'.
"""

import time
from dataclasses import replace

import pytest
import torch

from experiments import cost
from experiments.recipes import RECIPES
from geomreg_mini import GeometryRegularizer
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.data import load
from geomreg_mini.geometry import geometry_report
from geomreg_mini.models import encode
from geomreg_mini.training import TrainConfig, _Run, set_seed

REGULARIZER = GeometryRegularizer(dispersion_weight=0.1, anchoring_weight=0.5)
BEARABLE_ON_A_CPU = ("crema_d", "xrf55")  # steps of 20 and of 3 s; other recipes' take minutes


def run_of(config, data, device):
    """A training run whose epoch is one step."""
    set_seed(0)
    data = replace(data, train=data.train.subset(torch.arange(config.batch_size) % len(data.train)))
    model = TASKS[config.task]().build(config, data).to(device)
    if device == "cuda":
        model.to(memory_format=torch.channels_last)
    return _Run(config, data, model, torch.device(device), time.perf_counter())


def pair(config, data, device):
    """The same run without and with the regularizer, and where they are."""
    runs = [run_of(replace(config, regularizer=r), data, device) for r in (None, REGULARIZER)]
    return *runs, {"device": device, "B": config.batch_size, "D": config.embedding_dim}


def alone(run):
    """() -> the regularizer, forward and backward, on embeddings as a run's step has them."""
    seen = encode(run.model, run.data.train, batch_size=run.config.batch_size).embeddings
    leaves = {m: z.float().requires_grad_() for m, z in seen.items()}
    return lambda: REGULARIZER(leaves).total.backward()


@pytest.fixture(scope="module")
def digits():
    return TrainConfig("digits"), load("digits", seed=0)


def test_share_of_a_digits_step(in_turn, digits, device):
    run, _, where = pair(*digits, device)
    options = {"group": "share", "what": "regularizer alone", "against": "digits step without it"}
    in_turn(alone(run), lambda: run.train_epoch(1), **options, **where)


def test_digits_step_with_and_without(in_turn, digits, device):
    without, with_it, where = pair(*digits, device)
    options = {"group": "step", "what": "digits step with it", "against": "digits step without it"}
    in_turn(lambda: with_it.train_epoch(1), lambda: without.train_epoch(1), **options, **where)


def test_digits_step_with_the_balance_at_the_parameters(in_turn, digits, device):
    config, data = digits
    balanced = GeometryRegularizer(balance="pareto", at="parameters")
    runs = [run_of(replace(config, regularizer=r), data, device) for r in (balanced, REGULARIZER)]
    options = {"group": "balance", "what": "digits step, Pareto balance at the parameters"}
    where = {"device": device, "B": config.batch_size, "D": config.embedding_dim}
    steps = [lambda run=run: run.train_epoch(1) for run in runs]
    in_turn(*steps, against="digits step, plain sum", **options, **where)


def test_diagnostics_of_a_digits_epoch(in_turn, digits, device):
    config, data = digits
    run = run_of(config, data, device)
    run.data = data  # an epoch is the whole split
    seen = encode(run.model, data.validation)
    options = {"group": "diagnostics", "what": "geometry_report", "against": "digits epoch"}
    where = {"device": device, "N": len(data.validation), "D": config.embedding_dim}
    in_turn(
        lambda: geometry_report(seen.embeddings, seen.labels, radius=0.6),
        lambda: run.train_epoch(1),
        seconds=20,
        **options,
        **where,
    )


def full_size(name, device):
    if device == "cpu" and name not in BEARABLE_ON_A_CPU:
        pytest.skip(f"{name}: a step of full size takes a minute or more on one core")
    return cost.full_size(name)


@pytest.mark.parametrize("name", RECIPES)
def test_share_of_a_step_of_full_size(in_turn, measured, name, device):
    config, data = full_size(name, device)
    run, _, where = pair(config, data, device)
    options = {"group": "share", "what": "regularizer alone", "against": f"{name} step without it"}
    rounds = 3 if device == "cpu" else None
    row = in_turn(alone(run), lambda: run.train_epoch(1), rounds=rounds, **options, **where)
    counted = cost.count(config, data)["step"] * config.batch_size / 1e12
    measured(
        "throughput",
        f"{name} step",
        device=device,
        tera_operations=counted,
        seconds=row["against_seconds"],
        tflops=counted / row["against_seconds"],
    )


@pytest.mark.parametrize("name", RECIPES)
def test_step_of_full_size_with_and_without(in_turn, measured, name, device):
    config, data = full_size(name, device)
    without, with_it, where = pair(config, data, device)
    options = {"group": "step", "what": f"{name} step with it", "against": f"{name} step without it"}
    rounds = 3 if device == "cpu" else None
    in_turn(lambda: with_it.train_epoch(1), lambda: without.train_epoch(1), rounds=rounds, **options, **where)
    if device == "cuda":
        for run, what in ((without, "step without it"), (with_it, "step with it")):
            torch.cuda.reset_peak_memory_stats()
            run.train_epoch(1)
            measured("memory", f"{name} {what}", megabytes=torch.cuda.max_memory_allocated() / 1e6, **where)
