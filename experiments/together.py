"""Train several runs of one seed in one process, with their encoders side by side in wide networks.

Small convolutions keep a processor waiting: eight encoders that start with four channels take about a third
of the time as one network of eight groups. All that follows the encoders, that is fusion, paradigm and
regularizer, is the unchanged code of each run. It gets the embeddings as its input, and the gradients at the
embeddings go back through the wide network in one pass. So any paradigm will do that treats encoders as
functions.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from geomreg_mini.config import OPTIMIZERS, SCHEDULES, TrainConfig
from geomreg_mini.data import MultimodalDataset
from geomreg_mini.evaluation import Monitor, accuracies, knn_probe
from geomreg_mini.geometry import mean_cosine, paired_distances
from geomreg_mini.models import Encoded
from geomreg_mini.records import Record, rounded, versions
from geomreg_mini.tasks import Classification
from geomreg_mini.training import set_seed

# The fields in which the runs of a stack may differ, and the tensors of its layers.
OWN = ("paradigm", "paradigm_options", "regularizer", "learning_rate", "weight_decay")
TENSORS = ("weight", "bias", "running_mean", "running_var")


def widened(encoders: Sequence[nn.Module]) -> nn.Module:
    """Return one convolutional encoder (B, ...) -> (B, K D) that computes K of equal shape, in order."""
    wide, parts, groups = copy.deepcopy(encoders[0]), [list(e.modules()) for e in encoders], 1
    for place, module in enumerate(wide.modules()):
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            module.groups, groups = groups, len(encoders)  # the first convolution has one input for all
        for name in TENSORS:
            if isinstance(getattr(module, name, None), Tensor):
                joined = torch.cat([getattr(part[place], name).detach() for part in parts])
                joined = joined.to(memory_format=torch.channels_last) if joined.ndim == 4 else joined
                setattr(module, name, joined if "running" in name else nn.Parameter(joined))
    return wide


class _Run:
    """What one run has for itself: the model behind its encoders, paradigm, optimizer and history."""

    def __init__(self, config: TrainConfig, data: MultimodalDataset) -> None:
        self.config, self.monitor, self.error = config, Monitor(), ""
        set_seed(config.seed)
        self.model = Classification().build(config, data)
        self.encoders = dict(self.model.encoders)
        for m in self.encoders:
            self.model.encoders[m] = nn.Identity()
        self.paradigm = Classification.paradigms[config.paradigm](self.model, **config.paradigm_options)
        self.optimizer = OPTIMIZERS[config.optimizer](self.model.parameters(), config)
        self.series: dict[str, list[float | None]] = {}

    def geometry(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        seen = {m: z.view_as(z) for m, z in embeddings.items()}
        output = self.config.regularizer(seen)
        if self.config.monitor:
            self.monitor.watch(embeddings, seen, output)
        return output.total

    def step(self, embeddings: Mapping[str, Tensor], label: Tensor, factor: float) -> dict[str, Tensor]:
        """Update all but the encoders; return the gradients at the embeddings, zeros after divergence."""
        leaves = {m: z.detach().requires_grad_() for m, z in embeddings.items()}
        if not self.error and not all(z.isfinite().all() for z in leaves.values()):
            self.error = "the embeddings are not finite"
        if not self.error:
            geometry = None if self.config.regularizer is None else self.geometry
            losses = self.paradigm.step({"inputs": leaves, "label": label}, geometry, torch.Tensor.backward)
            bad = [name for name, loss in losses.items() if not torch.isfinite(loss)]
            self.error = f"the loss {bad[0]!r} is not finite" if bad else ""
        if self.error:
            return {m: torch.zeros_like(z) for m, z in leaves.items()}
        self.optimizer.param_groups[0]["lr"] = factor * self.config.learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.monitor.close_step()
        return {m: z.grad for m, z in leaves.items()}

    @torch.no_grad()
    def measure(self, encoded: Mapping[str, Encoded]) -> dict[str, float]:
        """Return the metrics of all splits but "train", from the encoders' outputs."""
        if self.error or not all(z.isfinite().all() for e in encoded.values() for z in e.embeddings.values()):
            self.error = self.error or "the embeddings are not finite"
            return {"validation/accuracy/fused": 0.0}
        encoded = {name: Encoded(self.model.encode(e.embeddings), e.labels) for name, e in encoded.items()}
        radius, metrics = getattr(self.config.regularizer, "radius", None), {}
        for split in set(encoded) - {"train"}:
            found, z = accuracies(self.paradigm, encoded[split]), encoded[split].embeddings
            found |= {f"mean_cosine/{m}": mean_cosine(own) for m, own in z.items()}
            for a, b in combinations(z, 2):
                distances = paired_distances(z[a], z[b])
                found[f"paired_drift/{a}-{b}"] = distances.square().mean().item()
                for q in (25, 50, 75):
                    found[f"paired_distance_q{q}/{a}-{b}"] = distances.quantile(q / 100).item()
                if radius is not None:
                    found[f"band_violation/{a}-{b}"] = (distances > radius).double().mean().item()
            if split == "test":
                found |= knn_probe(encoded["train"], encoded["test"])
            metrics |= {f"{split}/{name}": value for name, value in found.items()}
        return metrics


def fit_together(
    configs: Sequence[TrainConfig], data: MultimodalDataset, *, test: bool = True
) -> list[Record]:
    """Train runs of one seed side by side on a CPU, by SGD, and measure the weights of the last epoch.

    Args:
        configs: of classification with convolutional encoders; they may differ in ``OWN``.
        data: the data set that all of them name.
        test: whether to measure the test split; otherwise nothing of it is looked at.

    Returns:
        The records of ``fit`` up to rounding, with ``evaluate_every`` = ``epochs`` and fewer quantities:
        accuracies, and on the test split k-NN probes; mean cosine, drift, quartiles of the pairs' distances
        and the share of pairs outside the band; the watched series of training. The record of a run that
        diverges has one metric, a fused validation accuracy of 0. Wall time is the run's part of the whole.

    Raises:
        ValueError: if the configs differ in another field.
    """
    first, started = configs[0], time.perf_counter()
    shared = [{k: v for k, v in config.to_dict().items() if k not in OWN} for config in configs]
    if any(own != shared[0] for own in shared):
        raise ValueError(f"configs may differ in {', '.join(OWN)} alone: train the others one by one.")
    with torch.random.fork_rng([]):
        runs = [_Run(config, data) for config in configs]
        stack = nn.ModuleDict({m: widened([run.encoders[m] for run in runs]) for m in data.modalities})
        momenta = [torch.zeros_like(p) for p in stack.parameters()]
        for epoch in range(1, first.epochs + 1):
            torch.manual_seed(first.seed * 1_000_003 + epoch)
            size, order = min(first.batch_size, len(data.train)), torch.randperm(len(data.train))
            factor = SCHEDULES[first.schedule]((epoch - 1) / first.epochs)
            for index in order[: len(order) // size * size].split(size):
                batch = data.train.batch(index)
                z = _embed(stack, data.train.prepare(batch["inputs"]), len(runs))
                own = [{m: x[:, k] for m, x in z.items()} for k in range(len(runs))]
                pulls = [run.step(x, batch["label"], factor) for run, x in zip(runs, own, strict=True)]
                ends = [torch.stack([pull[m] for pull in pulls], dim=1) for m in z]
                torch.autograd.backward(list(z.values()), ends)
                _descend(stack, momenta, configs, factor)
            for run in runs:
                for name, value in run.monitor.means().items():
                    run.series.setdefault(f"train/{name}", []).append(value)
    stack.eval()
    found, sizes = {}, {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    for name in sizes if test else ("validation",):
        split = getattr(data, name)
        with torch.no_grad():
            parts = [_embed(stack, split.prepare(split.batch(index)["inputs"]), len(runs))
                     for index in torch.arange(len(split)).split(256)]  # fmt: skip
        whole = {m: torch.cat([part[m] for part in parts]) for m in stack}
        found[name] = [
            Encoded({m: z[:, k] for m, z in whole.items()}, split.labels) for k in range(len(runs))
        ]
    metrics = [run.measure({name: own[k] for name, own in found.items()}) for k, run in enumerate(runs)]
    seconds, epochs = round((time.perf_counter() - started) / len(runs), 2), list(range(1, first.epochs + 1))
    return [
        Record(
            config=run.config.to_dict(), seed=first.seed, versions=versions(), device="cpu",
            data_fingerprint=data.fingerprint, split_sizes=sizes, wall_time=seconds, metrics=rounded(values),
            data_note=f"diverged: {run.error}" if run.error else data.note,
            series={"epoch": []} if run.error else rounded({"epoch": epochs, **run.series}),
            selected_epoch=0 if run.error else first.epochs,
        )
        for run, values in zip(runs, metrics, strict=True)
    ]  # fmt: skip


def _embed(stack: nn.ModuleDict, inputs: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return modality -> embeddings (B, count, D)."""
    return {m: stack[m](x).unflatten(1, (count, -1)) for m, x in inputs.items()}


@torch.no_grad()
def _descend(
    stack: nn.ModuleDict, momenta: Sequence[Tensor], configs: Collection[TrainConfig], factor: float
) -> None:
    """Take the step of ``torch.optim.SGD``, with each run's own learning rate and weight decay."""
    rates, decays = (
        torch.tensor([getattr(c, name) for c in configs]) for name in ("learning_rate", "weight_decay")
    )
    for p, momentum in zip(stack.parameters(), momenta, strict=True):
        rate, decay = (
            x.repeat_interleave(len(p) // len(x)).view(-1, *[1] * (p.ndim - 1))
            for x in (factor * rates, decays)
        )
        momentum.mul_(next(iter(configs)).momentum).add_(p.grad).addcmul_(p, decay)
        p.addcmul_(momentum, rate, value=-1)
        p.grad = None
