"""The training loop: ``fit(TrainConfig(...))`` trains, selects on validation, tests once, gives a record.

On one CPU the same config gives the same record, bit for bit, also when the run was killed and resumed in
between: every random number comes from the seed and the epoch, so a checkpoint need not carry the state of a
generator.
"""

from __future__ import annotations

import io
import math
import random
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from . import distributed
from .benchmarks import TASKS
from .config import OPTIMIZERS, PRECISIONS, SCHEDULES, TrainConfig
from .evaluation import Monitor
from .geometry import geometry_report
from .models import Encoded, encode
from .paradigms import Paradigm
from .paradigms.pareto import ParetoGeometry
from .records import Record, rounded, versions, write_atomically

if TYPE_CHECKING:
    from .data import MultimodalDataset

MOST_NAMED = 5  # samples in an error's sentence


@contextmanager
def _state_restored() -> Iterator[None]:
    """Leave the generators of Python, numpy and torch, and torch's threads, as they were before."""
    import numpy as np

    before, threads = (random.getstate(), np.random.get_state()), torch.get_num_threads()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_num_threads(threads)


@_state_restored()
def fit(
    config: TrainConfig,
    *,
    data: MultimodalDataset | None = None,
    model: nn.Module | None = None,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    stop: Callable[[], bool] | None = None,
    compile_encoders: bool = False,
) -> Record:
    """Train, select the epoch that its task finds best on validation, and test that one.

    Under ``torch.distributed`` every process calls it alike: see ``geomreg_mini.distributed``. The generators
    of random numbers and torch's number of threads are afterwards as before.

    Args:
        config: what to run.
        data: the data set, if it is loaded already; it must be what ``config`` names.
        model: trained in place and left with the selected weights, in evaluation mode; built from ``config``
            by default.
        checkpoint: a file to save to after every evaluated epoch and to resume from where it exists.
        device: "cpu", "cuda", ...; by default a GPU where there is one (the process's own).
        progress: whether to show a bar and say the device.
        on_epoch: called with the epoch (0 before training) and the model.
        stop: asked after each epoch but the last; where it says True, the checkpoint is saved and ``Stopped``
            raised.
        compile_encoders: whether to run the encoders through ``torch.compile``. Like the device it changes
            speed, and results by rounding, so it is not part of the config.

    Raises:
        Stopped: when ``stop`` says so.
        ValueError: if the checkpoint belongs to another config or cannot be read.
            Also if inputs are not finite and spoil a loss or an embedding: their samples are named.
        FloatingPointError: if a loss or the embeddings are not finite although the inputs are. Whatever is
            raised, the last good checkpoint stays.
    """
    started = time.perf_counter()
    if data is None:
        from .data import load

        data = load(config.dataset, seed=config.seed, **config.dataset_options)
    set_seed(config.seed)  # after loading, so that loaded and given data lead to the same run
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    progress = progress and distributed.rank() == 0
    if model is None:
        model = TASKS[config.task]().build(config, data)
    if device.type == "cpu":
        torch.set_num_threads(1)  # also on a machine with a GPU, so that a CPU's results do not depend on it
    model.to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # of convolutions; the order that tensor cores work in
    if compile_encoders:
        for encoder in model.encoders.values():
            encoder.compile()
    run = _Run(config, data, model, device)
    if checkpoint is not None and Path(checkpoint).exists():
        run.restore(Path(checkpoint))
    if on_epoch is not None:
        on_epoch(run.epoch, model)
    earlier = run.wall_time
    for epoch in _bar(range(run.epoch + 1, config.epochs + 1), config, data, device, progress):
        run.train_epoch(epoch)
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            run.evaluate(epoch)
            run.wall_time = earlier + time.perf_counter() - started
            if checkpoint is not None:
                run.save(Path(checkpoint))
        if on_epoch is not None:
            on_epoch(epoch, model)
        if stop is not None and epoch < config.epochs and distributed.agreed(stop()):
            run.wall_time = earlier + time.perf_counter() - started
            if checkpoint is not None:
                run.save(Path(checkpoint))
            kept = "nothing is kept" if checkpoint is None else f"{checkpoint} continues from there"
            raise Stopped(f"stopped after epoch {epoch} of {config.epochs}: {kept}.")
    return run.finish(lambda: earlier + time.perf_counter() - started)


class Stopped(Exception):
    """Raised when `stop` ends training early. The message says how to resume."""


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch; without a GPU also fix torch to one thread, for stable results."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def _bar(epochs: range, config: TrainConfig, data, device: torch.device, progress: bool):
    """A tqdm bar; a log, which unlike a terminal cannot redraw a line, gets one line a half minute."""
    if not progress:
        return epochs
    import sys

    from tqdm.auto import tqdm

    tqdm.write(f"{data.name}: training on {device_name(device)}")
    interval = 0.1 if sys.stderr.isatty() or "ipykernel" in sys.modules else 30.0
    done = config.epochs - len(epochs)
    return tqdm(
        epochs, desc=config.paradigm, unit="epoch", mininterval=interval, initial=done, total=config.epochs
    )


def device_name(device: torch.device) -> str:
    """The card's name, or "cpu"; with "2 x " before it where two processes train together."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if distributed.world_size() == 1 else f"{distributed.world_size()} x {name}"


def _check_inputs(split: str, index: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> None:
    """A ``ValueError`` that names those samples ``index`` (B,) of a split whose ``inputs`` are not finite.

    Looked for only where something came out wrong, so that good data cost nothing.
    """
    said = []
    for m, x in inputs.items():
        bad = index[~x.reshape(len(x), -1).isfinite().all(dim=1).cpu()].tolist()
        if bad:
            more = ", ..." if len(bad) > MOST_NAMED else ""
            said.append(f"{m!r} of {split} sample {', '.join(map(str, bad[:MOST_NAMED]))}{more}")
    if said:
        raise ValueError(
            f"NaN or infinity in the inputs: {'; '.join(said)}; mend or leave out these samples and run "
            "again. A checkpoint still holds the last good epoch."
        )


class _Run:
    """The state of one run between epochs: what a checkpoint holds."""

    def __init__(self, config: TrainConfig, data, model: nn.Module, device: torch.device):
        self.config, self.data, self.model, self.device = config, data, model, device
        if distributed.world_size() > 1 and getattr(config.regularizer, "gather", False):
            raise ValueError("gather=True: the regularizer sees the global batch as it is; leave gather out.")
        self.hooks = distributed.connect(model)  # before the optimizer, so that all start alike
        self.task = TASKS[config.task]()
        self.paradigm: Paradigm = self.task.paradigms[config.paradigm](model, **config.paradigm_options)
        self.optimizer = OPTIMIZERS[config.optimizer](model.parameters(), config)
        self.precision = self._precision()
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.epoch, self.wall_time = 0, 0.0
        self.series: dict[str, list[float | None]] = {"epoch": []}
        self.best_epoch, self.best_score, self.best_weights = 0, -math.inf, None
        self.test_selected: dict[str, float] = {}
        self.monitor = Monitor()
        if (
            config.regularizer is not None
            and config.depth == "hidden"
            and not getattr(model, "hidden", False)
        ):
            raise ValueError(
                "depth='hidden' needs encoders that return hidden features, and those of this model do not: "
                "use depth='embedding'."
            )

    def _precision(self) -> torch.dtype:
        name, on_gpu = self.config.precision, self.device.type == "cuda"
        if name == "auto":
            # is_bf16_supported() also says yes where bfloat16 is emulated, slower than float32: on a T4.
            has_bfloat16 = on_gpu and torch.cuda.get_device_capability(self.device) >= (8, 0)
            name = "float32" if not on_gpu else "bfloat16" if has_bfloat16 else "float16"
        if name == "float16" and not on_gpu:
            raise ValueError(
                "precision='float16' needs a GPU: choose 'float32', 'bfloat16' or 'auto' on a CPU."
            )
        return PRECISIONS[name]

    def _geometry(self, embeddings):
        if self.config.depth == "logits":
            embeddings = self.model.unimodal_logits(embeddings)
            if not embeddings:
                kind = self.model.fusion.kind
                raise ValueError(f"depth='logits': fusion={kind!r} has no unimodal logits; use 'embedding'.")
        regularizer, more = self.config.regularizer, {}
        if getattr(regularizer, "at", None) == "parameters":
            more["parameters"] = {m: self.model.encoders[m].parameters() for m in embeddings}
        try:
            if not self.config.monitor:
                return regularizer(embeddings, **more).total
            seen = {m: z.view_as(z) for m, z in embeddings.items()}
            output = regularizer(seen, **more)
        except ValueError:
            if all(z.isfinite().all() for z in embeddings.values()):
                raise
            # The task loss is not finite either; its check says in which epoch and step.
            return next(iter(embeddings.values())).new_tensor(float("nan"))
        self.monitor.watch(embeddings, seen, output)
        return output.total

    def _autocast(self):
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def train_epoch(self, epoch: int) -> None:
        """One pass over the training split, in an order that the seed and the epoch decide."""
        config, train = self.config, self.data.train.augmented()
        torch.manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train))
        size = min(config.batch_size, len(train))
        rate = config.learning_rate * SCHEDULES[config.schedule]((epoch - 1) / config.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums: dict[str, float] = {}
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.paradigm.start_epoch(epoch, config.epochs, self.data)
        steps = len(train) // size
        for step in range(steps):
            # This process's inputs, and the labels of all.
            index = distributed.share(order[step * size : (step + 1) * size])
            with distributed.own_draws(step):
                batch = train.batch(index)
                inputs = train.prepare({m: x.to(self.device) for m, x in batch["inputs"].items()})
            label = distributed.gather(batch["label"].to(self.device))
            batch = {**batch, "inputs": inputs, "label": label}
            try:
                for losses in self._updates(batch):
                    self._check(losses, epoch, step)
                    if config.clip_norm is not None:
                        self.scaler.unscale_(self.optimizer)
                        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                    self.optimizer.zero_grad(set_to_none=True)
                    for name, loss in losses.items():
                        sums[name] = sums.get(name, 0.0) + loss.item()
                self.monitor.close_step()
            except (ValueError, ArithmeticError, RuntimeError):  # NaN breaks paradigms in many ways
                _check_inputs("train", index, inputs)
                raise
        distributed.average_statistics(self.model)
        self.epoch = epoch
        self.losses = {f"train/loss/{name}": total / steps for name, total in sums.items()}
        self.losses |= {f"train/{name}": value for name, value in self.monitor.means().items()}

    def _updates(self, batch) -> Iterator[dict[str, torch.Tensor]]:
        """The paradigm's updates, each with the gradients in place."""
        geometry = None if self.config.regularizer is None else self._geometry
        if geometry is not None and self.config.combination == "task_pareto":
            scale = self.scaler.scale(torch.ones((), device=self.device))
            geometry = ParetoGeometry(self.model.encoders, geometry, scale)

        def backward(loss: torch.Tensor, retain_graph: bool = False) -> None:
            self.scaler.scale(loss).backward(retain_graph=retain_graph)
            # What is equal already, such as an earlier pass's average, stays as it is.
            distributed.average(p.grad for p in self.model.parameters() if p.grad is not None)

        with self._autocast():
            for losses in self.paradigm.updates(batch, geometry, backward):
                if isinstance(geometry, ParetoGeometry):
                    for gradients in geometry.gradients.values():
                        distributed.average(g for g in gradients if g is not None)
                    geometry.combine()
                yield losses

    @staticmethod
    def _check(losses: Mapping[str, torch.Tensor], epoch: int, step: int) -> None:
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss {name!r} is {loss.item()} in epoch {epoch}, step {step + 1}: lower the "
                    "learning rate or set clip_norm; a checkpoint still holds the last good epoch."
                )

    def _diagnostics(self, encoded) -> dict[str, float]:
        radius = getattr(self.config.regularizer, "radius", None)
        report = geometry_report(encoded.embeddings, encoded.labels, radius=radius)
        del report["num_samples"]  # a record has its split sizes, and all its metrics have three-part names
        return report

    def _encoded(self, name: str) -> Encoded:
        """A split through the model as it stands, which must give finite embeddings."""
        split = getattr(self.data, name)
        encoded = encode(self.model, split)
        for m, z in encoded.embeddings.items():
            if not z.isfinite().all():
                index = (~z.isfinite().flatten(1).all(dim=1)).nonzero().flatten().cpu()[:MOST_NAMED]
                _check_inputs(name, index, split.prepare(split.batch(index)["inputs"]))
                raise FloatingPointError(
                    f"the {name} embeddings of {m!r} are not finite after epoch {self.epoch}: lower the "
                    "learning rate or set clip_norm; a checkpoint still holds the last good epoch."
                )
        return encoded

    def evaluate(self, epoch: int) -> None:
        """The task's metrics and the geometry on validation; keep the weights of the best epoch so far."""
        encoded = self._encoded("validation")
        measured = self.task.measure(self.paradigm, self.data.validation, encoded)
        measured |= self._diagnostics(encoded)
        row = {"epoch": epoch, **self.losses, **{f"validation/{k}": v for k, v in measured.items()}}
        earlier = len(self.series["epoch"])
        for name in {**self.series, **row}:  # a diagnostic that is undefined in an epoch leaves a gap there
            self.series.setdefault(name, [None] * earlier).append(row.get(name))
        if measured[self.task.selection] > self.best_score:
            self.best_epoch, self.best_score = epoch, measured[self.task.selection]
            self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
        if self.config.paper_protocol:
            self._look_at_test(epoch)

    def _scored(self) -> int:
        """How many test samples fill batches, or all where they do not fill one."""
        count, size = len(self.data.test), self.config.batch_size
        return count // size * size or count

    def _look_at_test(self, epoch: int) -> None:
        """Keep the metrics of the epoch that is best on the test split, which selects nothing else."""
        encoded, count = self._encoded("test"), self._scored()
        encoded = Encoded({m: z[:count] for m, z in encoded.embeddings.items()}, encoded.labels[:count])
        measured = self.task.measure_published(self.paradigm, self.data.test, encoded)
        selection = self.task.selection
        if measured[selection] > self.test_selected.get(selection, -math.inf):
            self.test_selected = {"epoch/fused": epoch, **measured}

    def finish(self, wall_time: Callable[[], float]) -> Record:
        """Put the selected weights into the model, look at the test split once, and write it all down."""
        for hook in self.hooks:
            hook.remove()
        self.model.load_state_dict(self.best_weights)
        splits = {name: getattr(self.data, name) for name in ("train", "validation", "test")}
        encoded = {name: self._encoded(name) for name in splits}
        parts = {
            name: self.task.measure(self.paradigm, split, encoded[name]) for name, split in splits.items()
        }
        parts["test"] |= self.task.measure_test(self.paradigm, self.data, encoded)
        for name in ("validation", "test"):
            parts[name] |= self._diagnostics(encoded[name])
        sizes = {name: len(split) for name, split in splits.items()}
        if self.config.paper_protocol:
            parts["test_selected"], sizes["test_selected"] = self.test_selected, self._scored()
        self.model.eval()
        metrics = {f"{split}/{name}": value for split, part in parts.items() for name, value in part.items()}
        return Record(
            config=self.config.to_dict(),
            seed=self.config.seed,
            versions=versions(),
            device=device_name(self.device),
            data_fingerprint=self.data.fingerprint,
            data_note=self.data.note,
            split_sizes=sizes,
            series=rounded(self.series),
            selected_epoch=self.best_epoch,
            metrics=rounded(metrics),
            wall_time=round(wall_time(), 2),
        )

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        if distributed.rank() != 0:
            return
        buffer = io.BytesIO()
        torch.save(
            {
                "config": self.config.to_dict(),
                "data_fingerprint": self.data.fingerprint,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "paradigm": self.paradigm.state_dict(),
                "progress": [self.epoch, self.wall_time, self.series],
                "best": [self.best_epoch, self.best_score, self.best_weights],
                "test_selected": self.test_selected,
            },
            buffer,
        )
        write_atomically(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same config and data, if it is still there."""
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
                if (name := archive.testzip()) is not None:
                    raise ValueError(f"{name} has another checksum")
            state = torch.load(path, map_location=self.device, weights_only=True)
            ours = (state["config"], state["data_fingerprint"]) == (
                self.config.to_dict(),
                self.data.fingerprint,
            )
            if ours:
                self._take_up(state)
        except FileNotFoundError:  # another run of this config came to its end just now and removed it
            return
        except Exception as error:
            said = re.sub(r"\x1b\[[0-9;]*m", "", f"{type(error).__name__}: {error}")  # torch's bold type
            reason = said.split("\n")[0].rstrip(". ")
            raise ValueError(
                f"the checkpoint {path} cannot be read ({reason}): move it away to start again."
            ) from error
        if not ours:
            raise ValueError(f"the checkpoint {path} belongs to another config or data: name another file.")

    def _take_up(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.paradigm.load_state_dict(state["paradigm"])
        self.epoch, self.wall_time, self.series = state["progress"]
        self.best_epoch, self.best_score, self.best_weights = state["best"]
        self.test_selected = state["test_selected"]
