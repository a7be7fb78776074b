"""The cost of the full replication: operations are counted, throughput is assumed, prices are yours.

    python -m experiments.cost    # hours on one T4, one A100 and eight A100
    python -m experiments.cost crema_d --price T4=0.4 A100=2    # also money, at these prices per hour

*Counted*, once, by PyTorch, with inputs of full size (``--count``; ``results/cost.json``): the floating-point
operations of a training step, for every paradigm in a benchmark's table, and of embedding a sample.
*Assumed*: the throughput. No GPU was measured. ``DEVICES`` has the peak that the vendor states for half
precision on tensor cores, and training of this kind is assumed to reach between 5 and 20 % of it;
``--tflops`` replaces this by what `make bench` measured on your device. *Left out*: downloading and preparing
data, the terms themselves (a hundred-thousandth of a step), the work of paradigms between epochs, and
searching for weights; captions are as short as the stand-ins'.

The paper's form of the regularizer compares two gradients at the encoders' parameters, so a step with it has
two more backward passes through the encoders; each is assumed to cost two forward passes. Runs do not depend
on each other, so several GPUs train several runs at a time.

"TB read" is what training and evaluation read from prepared files, in bytes per sample (``BYTES``) times
samples. Batches are read while the device computes, so it costs time only if the disk is slower: one that
reads 1 GB/s takes 17 minutes for a TB. The memory keeps what fits. Of XRF55 an epoch reads 58 GB; keep its
files on a local disk, or make the float16 copy of ``python -m data_scripts xrf55_half`` (22 GB an epoch).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from data_scripts.fetch import write_atomically
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.data import MultimodalDataset, load
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


SMALLER = ("crema_d", "kinetics_sounds", "flickr30k", "coco")  # whose stand-ins are small pictures by default
CUBICC = {"train": 10520, "validation": 1315, "test": 1315}  # assumed: only the archive says how it is split


SIDE = 256  # pixels of a stored frame
# data set -> bytes that one sample takes on disk, as ``data_scripts`` store it (of AV-MNIST at least that);
# CUBICC stays in memory
BYTES = {
    "crema_d": 2 * 257 * 188 + 3 * SIDE**2, "kinetics_sounds": 2 * 129 * 626 + 3 * 3 * SIDE**2,
    "flickr30k": 3 * 224**2, "coco": 3 * 224**2, "xrf55": 4 * 17 * 256 * 128 + 8 * (270 * 1000 + 23 * 148),
    "avmnist": 784 + 112**2, "cubicc": 0,
}  # fmt: skip


def sizes(name: str) -> Mapping[str, int]:
    """Return the number of samples of each split of a benchmark."""
    found = RECIPES[name].sizes
    return found if "train" in found else CUBICC


def full_size(name: str, paradigm: str | None = None) -> tuple[TrainConfig, MultimodalDataset]:
    """Return a recipe's config, with random weights, and stand-ins of full size, to count and time."""
    config = recipe(name, paradigm)
    options = {**config.dataset_options, "source": "stand_in"}
    if config.dataset in SMALLER:
        options.setdefault("image_size", 224)
    own = {k: v for k, v in config.encoder_options.items() if k != "pretrained"}
    config = replace(config, dataset_options=options, encoder_options=own)
    if "pretrain" not in config.paradigm_options:  # random encoders are not fixed, so this costs more
        method = {k: v for k, v in config.paradigm_options.items() if k != "freeze"}
        config = replace(config, paradigm_options=method)
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


def embedded(config: TrainConfig, size: Mapping[str, int]) -> int:
    """Return how many samples one run embeds in its evaluations, those between epochs and the last."""
    looks = -(-config.epochs // config.evaluate_every)
    return looks * (size["validation"] + (size["test"] if config.paper_protocol else 0)) + sum(size.values())


def operations(config: TrainConfig, size: Mapping[str, int], counted: Mapping[str, float]) -> float:
    """Return the operations of one run: its epochs, its evaluations between epochs, and its end."""
    step = counted["step"]
    if getattr(config.regularizer, "at", None) == "parameters":
        step += BACKWARD * 2 * counted["encode"]
    return config.epochs * size["train"] * step + embedded(config, size) * counted["encode"]


def hours(total: float, tflops: float, gpus: int = 1) -> float:
    """Return the hours for ``total`` operations at ``tflops`` TFLOP/s on each of ``gpus``."""
    return total / (tflops * 1e12) / 3600 / gpus


def bytes_read(config: TrainConfig, size: Mapping[str, int]) -> float:
    """Return the bytes that one run reads: each training sample per epoch, and each sample it embeds."""
    side = config.dataset_options.get("image_size", 224)
    more = (side / 224) ** 2 if config.task == "retrieval" else 1.0
    return BYTES[config.dataset] * more * (config.epochs * size["train"] + embedded(config, size))


def totals(counts: Counts, names: Sequence[str]) -> dict[str, tuple[int, float, float]]:
    """Return benchmark -> runs (paradigms x arms x seeds), operations and bytes read by all of them.

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
        each = [operations(c, sizes(name), counts[name][run.paradigm]) for run, c in configs.items()]
        found[name] = len(cells), sum(each), sum(bytes_read(c, sizes(name)) for c in configs.values())
    return found


def table(
    found: Mapping[str, tuple[int, float, float]],
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
    lines = [["benchmark", "runs", "PFLOP", "TB read", *titles], ["---"] * (4 + len(titles))]
    for name, (runs, total, read) in found.items():
        cells = [cell(total, *machine) for machine in MACHINES]
        lines.append([name, f"{runs}", f"{total / 1e15:,.0f}", _range([read / 1e12]), *cells])
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
    parser = argparse.ArgumentParser(
        prog="python -m experiments.cost", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"benchmarks (default: {', '.join(RECIPES)})")
    add("--price", nargs="+", type=_pairs, default=[], metavar="DEVICE=N", help="of a GPU hour")
    add("--tflops", nargs="+", type=_pairs, default=[], metavar="DEVICE=N", help="measured, not assumed")
    add("--count", action="store_true", help=f"count operations again, into {FILE}; takes minutes")
    options = parser.parse_args(arguments)
    names = options.names or list(RECIPES)
    from data_scripts.fetch import DataError

    try:
        if unknown := [name for name in names if name not in RECIPES]:
            raise ValueError(f"the benchmark {unknown[0]!r} is unknown: choose from {', '.join(RECIPES)}.")
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
