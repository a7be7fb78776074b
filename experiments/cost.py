"""The cost of the full replication: operations are counted, throughput is assumed, prices are yours.

    python -m experiments.cost    # hours on one T4, one A100 and eight A100
    python -m experiments.cost crema_d --price T4=0.4 A100=2    # also money, at these prices per hour

*Counted*, once, by PyTorch, with inputs of full size (``--count``; ``results/cost.json``): the floating-point
operations of a training step, for every paradigm in a benchmark's table, and of embedding a sample.
*Assumed*: the throughput. No GPU was measured. ``DEVICES`` has the peak that the vendor states for half
precision on tensor cores, and training of this kind is assumed to reach between 5 and 20 % of it;
``--tflops`` replaces this by what `make bench` measured on your device. *Left out*: downloading and preparing
data, reading batches (2 ms of a core for 64 samples of CREMA-D in memory), the terms themselves (a
hundred-thousandth of a step), the work of paradigms between epochs, and searching for weights; captions are
as short as the stand-ins'. The paper's form of the regularizer compares two gradients at the encoders'
parameters, so a step with it has two more backward passes through the encoders; each is assumed to cost two
forward passes. Runs do not depend on each other, so several GPUs train several runs at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from geomreg_mini.benchmarks import TASKS
from geomreg_mini.data import MultimodalDataset, load
from geomreg_mini.records import write_atomically
from geomreg_mini.training import TrainConfig

from . import benchmarks
from .benchmarks import SEEDS, Run
from .recipes import RECIPES, recipe

FILE = "results/cost.json"
COUNTED = 4  # samples in the step that is counted
DEVICES = {"T4": 65.0, "A100": 312.0}  # peak in TFLOP/s, half precision on tensor cores, as the vendor states
MACHINES = (("T4", 1), ("A100", 1), ("A100", 8))
REACHED = (0.05, 0.2)  # share of the peak that training reaches, an assumption
TABLE_ARMS = ("baseline", "regularized")
Counts = Mapping[str, Mapping[str, Mapping[str, float]]]  # benchmark -> paradigm -> "step" or "encode"
BACKWARD = 2  # cost of a backward pass in forward passes, an assumption


@dataclass(frozen=True)
class Size:
    """Sizes of the splits, and options that make stand-ins as large as the published inputs."""

    train: int
    validation: int
    test: int
    options: dict[str, Any] = field(default_factory=dict)


SIZES = {
    "crema_d": Size(6028, 670, 744, {"image_size": 224}),
    "kinetics_sounds": Size(13319, 1480, 2597, {"image_size": 224}),
    **{
        f"{name}{backbone}": Size(*splits, {"image_size": side})
        for name, splits in (("flickr30k", (29000, 1014, 1000)), ("coco", (113287, 5000, 5000)))
        for backbone, side in (("", 224), ("_l14", 224), ("_l14_336", 336))
    },
    "xrf55": Size(13200, 2200, 6600),
    "xrf55_two_stage": Size(13200, 2200, 6600),
    "cubicc": Size(10520, 1315, 1315),  # assumed: only the archive says how its 13,150 pairs are split
}


def full_size(name: str, paradigm: str | None = None) -> tuple[TrainConfig, MultimodalDataset]:
    """Return a recipe's config, with random weights, and stand-ins of full size, to count and time."""
    config = recipe(name, paradigm)
    options = {**config.dataset_options, **SIZES[name].options, "source": "stand_in"}
    own = {k: v for k, v in config.encoder_options.items() if k != "pretrained"}
    config = replace(config, dataset_options=options, encoder_options=own)
    return config, load(config.dataset, seed=config.seed, **options)


def count(config: TrainConfig, data: MultimodalDataset, samples: int = COUNTED) -> dict[str, float]:
    """Return operations per sample of a training step ("step") and of embedding ("encode"), on a CPU."""
    from torch.utils.flop_counter import FlopCounterMode

    if "micro_batch" in config.encoder_options:  # here, too, a batch has several parts
        own = {**config.encoder_options, "micro_batch": samples // 2}
        config = replace(config, encoder_options=own)
    task = TASKS[config.task]()
    torch.manual_seed(config.seed)
    model = task.build(config, data).train()
    paradigm = task.paradigms[config.paradigm](model, **config.paradigm_options)
    paradigm.start_epoch(1, config.epochs, data)
    train = data.train.augmented()
    batch = train.batch(torch.arange(samples))
    batch = {**batch, "inputs": train.prepare(batch["inputs"])}
    with FlopCounterMode(display=False) as step:
        for _ in paradigm.updates(batch, None, torch.Tensor.backward):
            model.zero_grad(set_to_none=True)
    # Still in training mode: in evaluation mode, attention is one call that is not counted.
    with FlopCounterMode(display=False) as encode, torch.no_grad():
        model.encode(batch["inputs"])
    return {"step": step.get_total_flops() / samples, "encode": encode.get_total_flops() / samples}


def operations(config: TrainConfig, size: Size, counted: Mapping[str, float]) -> float:
    """Return the operations of one run: its epochs, its evaluations between epochs, and its end."""
    looks = -(-config.epochs // config.evaluate_every)
    step = counted["step"]
    if getattr(config.regularizer, "at", None) == "parameters":
        step += BACKWARD * 2 * counted["encode"]
    seen = size.validation + (size.test if config.paper_protocol else 0)
    embedded = looks * seen + size.train + size.validation + size.test
    return config.epochs * size.train * step + embedded * counted["encode"]


def hours(total: float, tflops: float, gpus: int = 1) -> float:
    """Return the hours for ``total`` operations at ``tflops`` TFLOP/s on each of ``gpus``."""
    return total / (tflops * 1e12) / 3600 / gpus


def totals(counts: Counts, names: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Return benchmark -> runs (paradigms x arms x seeds) and operations of all of them.

    Raises:
        ValueError: for a benchmark that was not counted.
    """
    found = {}
    for name in names:
        if missing := [p for p in RECIPES[name].rows if p not in counts.get(name, {})]:
            raise ValueError(
                f"{name} is not counted for {', '.join(missing)}: run 'python -m experiments.cost --count'."
            )
        cells = [Run(p, arm, seed) for p in RECIPES[name].rows for arm in TABLE_ARMS for seed in SEEDS]
        configs = {run: benchmarks.config(name, run) for run in cells}
        each = [operations(c, SIZES[name], counts[name][run.paradigm]) for run, c in configs.items()]
        found[name] = len(cells), sum(each)
    return found


def table(
    found: Mapping[str, tuple[int, float]],
    prices: Mapping[str, float] | None = None,
    tflops: Mapping[str, float] | None = None,
) -> str:
    """Return a Markdown table with a row per benchmark and one for all: hours, and money if a price is given.

    Args:
        found: of ``totals``.
        prices: device -> price of a GPU hour.
        tflops: device -> measured TFLOP/s, instead of the assumed range.
    """
    prices, tflops = prices or {}, tflops or {}
    found = {**found, "all": tuple(sum(column) for column in zip(*found.values(), strict=True))}

    def cell(total: float, device: str, gpus: int) -> str:
        reached = [tflops[device]] if device in tflops else [DEVICES[device] * r for r in REACHED]
        spent = [hours(total, reached_, gpus) for reached_ in sorted(reached, reverse=True)]
        text = _range(spent) + " h"
        if device in prices:
            text += f", {_range([gpus * prices[device] * h for h in spent])}"
        return text

    titles = [f"{'one' if gpus == 1 else gpus} {device}" for device, gpus in MACHINES]
    lines = [["benchmark", "runs", "PFLOP", *titles], ["---"] * (3 + len(titles))]
    for name, (runs, total) in found.items():
        cells = [cell(total, *machine) for machine in MACHINES]
        lines.append([name, f"{runs}", f"{total / 1e15:,.0f}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _range(values: Sequence[float]) -> str:
    return " to ".join(f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in values)


def _pairs(text: str) -> tuple[str, float]:
    device, _, value = text.partition("=")
    if device not in DEVICES or not float(value or 0) > 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not DEVICE=NUMBER: choose a device of {', '.join(DEVICES)} and a positive number"
        )
    return device, float(value)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cost", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"benchmarks (default: {', '.join(SIZES)})")
    add("--price", nargs="+", type=_pairs, default=[], metavar="DEVICE=N", help="of a GPU hour")
    add("--tflops", nargs="+", type=_pairs, default=[], metavar="DEVICE=N", help="measured, not assumed")
    add("--count", action="store_true", help=f"count operations again, into {FILE}; takes minutes")
    options = parser.parse_args(arguments)
    names = options.names or list(SIZES)
    from data_scripts.fetch import DataError

    try:
        if unknown := [name for name in names if name not in SIZES]:
            raise ValueError(f"the benchmark {unknown[0]!r} is unknown: choose from {', '.join(SIZES)}.")
        path = Path(FILE)
        counts = json.loads(path.read_text()) if path.exists() else {}
        if options.count:
            for name in names:
                counts[name] = {}
                for paradigm in RECIPES[name].rows:
                    counts[name][paradigm] = count(*full_size(name, paradigm))
                    print(f"{name}, {paradigm}: {counts[name][paradigm]['step'] / 1e9:.1f} GFLOP a sample")
            write_atomically(path, (json.dumps(counts, indent=1) + "\n").encode())
        print(table(totals(counts, names), dict(options.price), dict(options.tflops)))
    except (DataError, OSError, ValueError) as error:
        print(f"cost: {error}", file=sys.stderr)
        return 1
    assumed = [device for device in DEVICES if device not in dict(options.tflops)]
    if assumed:
        low, high = (f"{100 * r:.0f}" for r in REACHED)
        peaks = " and ".join(f"{DEVICES[device]:.0f} TFLOP/s ({device})" for device in assumed)
        print(f"No GPU was measured: {low} to {high} % of a peak of {peaks} is assumed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
