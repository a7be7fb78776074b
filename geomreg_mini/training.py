"""The training loop: ``fit(TrainConfig(...))`` trains, selects on validation, tests once, returns a record.

On one CPU the same config gives the same record, bit for bit, also if the run was killed and resumed in
between. Every random number comes from the seed and the epoch, so a checkpoint holds no generator state.
"""

import io
import math
import random
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data_scripts.extras import extra
from data_scripts.fetch import write_atomically

from . import distributed
from .benchmarks import TASKS
from .config import OPTIMIZERS, PRECISIONS, SCHEDULES, TrainConfig
from .data import MultimodalDataset, batches, load
from .evaluation import Monitor
from .geometry import geometry_report
from .models import Encoded
from .paradigms import Paradigm
from .paradigms.base import Batch, Losses
from .paradigms.pareto import ParetoGeometry
from .records import Record, rounded, versions

STATES = ("model", "optimizer", "scaler", "paradigm")  # attributes of a run that a checkpoint holds
MOST_NAMED = 5  # samples in an error message
WAY_OUT = "lower the learning rate or set clip_norm; a checkpoint still holds the last good epoch."


@contextmanager
def _state_restored() -> Iterator[None]:
    """Restore the generators of Python, numpy and torch, and torch's number of threads, on exit."""
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
    """Train, select the epoch with the task's best validation score, test it, and return the record.

    Where a launcher announces several processes, each makes the same call and joins the others: see
    ``geomreg_mini.distributed``. Random generators and torch's number of threads are restored afterwards.

    Args:
        config: the run.
        data: the data set that ``config`` names, if it is already loaded.
        model: trained in place, left with the selected weights in evaluation mode; by default ``config``'s.
        checkpoint: a file to save to after every evaluated epoch, and to resume from if it exists.
        device: "cpu", "cuda", ...; by default the process's GPU if there is one.
        progress: whether to show a bar and report the device.
        on_epoch: called with the epoch (0 before training) and the model.
        stop: called after each epoch but the last; True saves the checkpoint and raises ``Stopped``.
        compile_encoders: whether to run the encoders through ``torch.compile``. Like the device it changes
            speed, and results by rounding, so it is not part of the config.

    Raises:
        Stopped: if ``stop`` returns True.
        ValueError: if the checkpoint belongs to another config or cannot be read. Also, naming the samples,
            if inputs are not finite and spoil a loss or an embedding.
        FloatingPointError: if a loss or the embeddings are not finite although the inputs are. The last good
            checkpoint stays after any error.
    """
    started = time.perf_counter()
    distributed.start()
    if data is None:
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
        model.to(memory_format=torch.channels_last)  # of convolutions; tensor cores work in this order
    if compile_encoders:
        for encoder in model.encoders.values():
            encoder.compile()
    checkpoint = None if checkpoint is None else Path(checkpoint)
    run = _Run(config, data, model, device, started)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    if on_epoch is not None:
        on_epoch(run.epoch, model)
    for epoch in _progress_bar(range(run.epoch + 1, config.epochs + 1), config, data, device, progress):
        run.train_epoch(epoch)
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            run.evaluate(epoch)
            run.save(checkpoint)
        if on_epoch is not None:
            on_epoch(epoch, model)
        if stop is not None and epoch < config.epochs and distributed.agreed(stop()):
            run.save(checkpoint)
            kept = "nothing is kept" if checkpoint is None else f"{checkpoint} continues from there"
            raise Stopped(f"stopped after epoch {epoch} of {config.epochs}: {kept}.")
    return run.finish()


class Stopped(Exception):
    """Raised when `stop` ends training early. The message says how to resume."""


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch; without a GPU also fix torch to one thread, for stable results."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def _progress_bar(
    epochs: range, config: TrainConfig, data: MultimodalDataset, device: torch.device, progress: bool
) -> Iterable[int]:
    """Return a tqdm bar. A log cannot redraw a line as a terminal does, so it gets one per half minute."""
    if not progress:
        return epochs
    with extra("course"):
        from tqdm.auto import tqdm

    tqdm.write(f"{data.name}: training on {device_name(device)}")
    interval = 0.1 if sys.stderr.isatty() or "ipykernel" in sys.modules else 30.0
    done = config.epochs - len(epochs)
    return tqdm(
        epochs, desc=config.paradigm, unit="epoch", mininterval=interval, initial=done, total=config.epochs
    )


def device_name(device: torch.device) -> str:
    """Return the card's name, or "cpu"; with "2 x " before it if two processes train together."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if distributed.world_size() == 1 else f"{distributed.world_size()} x {name}"


def _check_inputs(split: str, index: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Raise ValueError if ``inputs`` are not finite, naming those samples ``index`` (B,) of the split.

    Called only after a failure, so that good data cost nothing.
    """
    found = []
    for m, x in inputs.items():
        if bad := index[~x.reshape(len(x), -1).isfinite().all(dim=1).cpu()].tolist():
            more = ", ..." if len(bad) > MOST_NAMED else ""
            found.append(f"{m!r} of {split} sample {', '.join(map(str, bad[:MOST_NAMED]))}{more}")
    if found:
        raise ValueError(
            f"The inputs hold NaN or infinity: {'; '.join(found)}; mend or leave out these samples and run "
            "again. A checkpoint still holds the last good epoch."
        )


class _Run:
    """The state of one run between epochs, as a checkpoint holds it."""

    def __init__(
        self,
        config: TrainConfig,
        data: MultimodalDataset,
        model: nn.Module,
        device: torch.device,
        started: float,
    ) -> None:
        self.config, self.data, self.model, self.device = config, data, model, device
        if distributed.world_size() > 1 and getattr(config.regularizer, "gather", False):
            raise ValueError("`gather` must be False: the regularizer gets the global batch already.")
        self.hooks = distributed.connect(model)  # before the optimizer, so that all start alike
        self.task = TASKS[config.task]()
        self.paradigm: Paradigm = self.task.paradigms[config.paradigm](model, **config.paradigm_options)
        self.optimizer = OPTIMIZERS[config.optimizer](model.parameters(), config)
        self.precision = self._precision()
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.epoch, self.started = 0, started  # seconds of ``perf_counter``, less those of earlier sessions
        self.series: dict[str, list[float | None]] = {"epoch": []}
        self.best_epoch, self.best_score, self.best_weights = 0, -math.inf, None
        self.test_selected: dict[str, float] = {}
        self.monitor = Monitor()
        if config.regularizer and config.depth == "hidden" and not getattr(model, "hidden", False):
            raise ValueError("depth='hidden': the model's encoders give no hidden features; use 'embedding'.")

    def _precision(self) -> torch.dtype:
        name, on_gpu = self.config.precision, self.device.type == "cuda"
        if name == "auto":
            # is_bf16_supported() is also True on a T4, which emulates bfloat16, slower than float32.
            has_bfloat16 = on_gpu and torch.cuda.get_device_capability(self.device) >= (8, 0)
            name = "float32" if not on_gpu else "bfloat16" if has_bfloat16 else "float16"
        if name == "float16" and not on_gpu:
            raise ValueError("precision='float16' needs a GPU: choose 'float32', 'bfloat16' or 'auto'.")
        return PRECISIONS[name]

    def _geometry(self, embeddings: dict[str, Tensor]) -> Tensor:
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
            # The task loss is not finite either; its check names the epoch and step.
            return next(iter(embeddings.values())).new_tensor(float("nan"))
        self.monitor.watch(embeddings, seen, output)
        return output.total

    def train_epoch(self, epoch: int) -> None:
        """Train on the whole training split once, in an order fixed by the seed and the epoch."""
        config, train = self.config, self.data.train
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
        parts = [
            (train.augmented(distributed.own_generator(step)), distributed.share(index))
            for step, index in enumerate(order[: steps * size].split(size))
        ]
        for step, batch in enumerate(batches(parts, self.device)):
            batch["label"] = distributed.gather(batch["label"])  # inputs are this process's, labels all
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
                _check_inputs("train", batch["index"], batch["inputs"])
                raise
        distributed.average_statistics(self.model)
        self.epoch = epoch
        self.losses = {f"train/loss/{name}": total / steps for name, total in sums.items()}
        self.losses |= {f"train/{name}": value for name, value in self.monitor.means().items()}

    def _updates(self, batch: Batch) -> Iterator[Losses]:
        """Yield the losses of each of the paradigm's updates, with the gradients in place."""
        geometry = None if self.config.regularizer is None else self._geometry
        if geometry is not None and self.config.combination == "task_pareto":
            scale = self.scaler.scale(torch.ones((), device=self.device))
            geometry = ParetoGeometry(self.model.encoders, geometry, scale)

        def backward(loss: Tensor, retain_graph: bool = False) -> None:
            self.scaler.scale(loss).backward(retain_graph=retain_graph)
            # Gradients that are equal already, such as an earlier pass's average, do not change.
            distributed.average(p.grad for p in self.model.parameters() if p.grad is not None)

        half = None if self.precision == torch.float32 else self.precision
        with torch.autocast(self.device.type, half, enabled=half is not None):
            for losses in self.paradigm.updates(batch, geometry, backward):
                if isinstance(geometry, ParetoGeometry):
                    for gradients in geometry.gradients.values():
                        distributed.average(g for g in gradients if g is not None)
                    geometry.combine()
                yield losses

    @staticmethod
    def _check(losses: Losses, epoch: int, step: int) -> None:
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                said = f"the loss {name!r} is {loss.item()} in epoch {epoch}, step {step + 1}"
                raise FloatingPointError(f"{said}: {WAY_OUT}")

    def _diagnostics(self, encoded: Encoded) -> dict[str, float]:
        radius = getattr(self.config.regularizer, "radius", None)
        report = geometry_report(encoded.embeddings, encoded.labels, radius=radius)
        del report["num_samples"]  # a record has its split sizes, and all its metrics have three-part names
        return report

    def _encode(self, name: str) -> Encoded:
        """Return the split's embeddings by the current model; raise if they are not finite."""
        split = getattr(self.data, name)
        encoded = self.task.encode(self.paradigm, split)
        for m, z in encoded.embeddings.items():
            if not z.isfinite().all():
                index = (~z.isfinite().flatten(1).all(dim=1)).nonzero().flatten().cpu()[:MOST_NAMED]
                _check_inputs(name, index, split.prepare(split.batch(index)["inputs"]))
                said = f"the {name} embeddings of {m!r} are not finite after epoch {self.epoch}"
                raise FloatingPointError(f"{said}: {WAY_OUT}")
        return encoded

    def evaluate(self, epoch: int) -> None:
        """Record the validation metrics and geometry, and keep the weights of the best epoch so far."""
        encoded = self._encode("validation")
        measured = self.task.measure(self.paradigm, self.data.validation, encoded)
        measured |= self._diagnostics(encoded)
        row = {"epoch": epoch, **self.losses, **{f"validation/{k}": v for k, v in measured.items()}}
        earlier = len(self.series["epoch"])
        for name in {**self.series, **row}:  # a diagnostic that is undefined in an epoch leaves a gap
            self.series.setdefault(name, [None] * earlier).append(row.get(name))
        if measured[self.task.selection] > self.best_score:
            self.best_epoch, self.best_score = epoch, measured[self.task.selection]
            self.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
        if self.config.paper_protocol:
            self._evaluate_test(epoch)

    def _count_scored(self) -> int:
        """Return how many test samples fill batches, or all of them if they do not fill one."""
        count, size = len(self.data.test), self.config.batch_size
        return count // size * size or count

    def _evaluate_test(self, epoch: int) -> None:
        """Keep the metrics of the epoch that is best on the test split; it selects nothing else."""
        encoded, count = self._encode("test"), self._count_scored()

        def scored(of: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: z[:count] for name, z in of.items()}

        encoded = Encoded(scored(encoded.embeddings), encoded.labels[:count], scored(encoded.logits))
        measured = self.task.measure_published(self.paradigm, self.data.test, encoded)
        selection = self.task.selection
        if measured[selection] > self.test_selected.get(selection, -math.inf):
            self.test_selected = {"epoch/fused": epoch, **measured}

    def finish(self) -> Record:
        """Load the selected weights into the model, measure the test split once, and return the record."""
        for hook in self.hooks:
            hook.remove()
        self.model.load_state_dict(self.best_weights)
        splits = {name: getattr(self.data, name) for name in ("train", "validation", "test")}
        encoded = {name: self._encode(name) for name in splits}
        parts = {s: self.task.measure(self.paradigm, splits[s], encoded[s]) for s in splits}
        parts["test"] |= self.task.measure_test(self.paradigm, self.data, encoded)
        for name in ("validation", "test"):
            parts[name] |= self._diagnostics(encoded[name])
        sizes = {name: len(split) for name, split in splits.items()}
        if self.config.paper_protocol:
            parts["test_selected"], sizes["test_selected"] = self.test_selected, self._count_scored()
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
            wall_time=round(time.perf_counter() - self.started, 2),
        )

    def save(self, path: Path | None) -> None:
        """Write the checkpoint, whole or not at all, unless there is no path for it."""
        if path is None or distributed.rank() != 0:
            return
        state = {
            "config": self.config.to_dict(),
            "data_fingerprint": self.data.fingerprint,
            **{name: getattr(self, name).state_dict() for name in STATES},
            "progress": [self.epoch, time.perf_counter() - self.started, self.series],
            "best": [self.best_epoch, self.best_score, self.best_weights],
            "test_selected": self.test_selected,
        }
        torch.save(state, buffer := io.BytesIO())
        write_atomically(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of the same config and data, if it still exists."""
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
                if (name := archive.testzip()) is not None:
                    raise ValueError(f"{name} has the wrong checksum")
            state = torch.load(path, map_location=self.device, weights_only=True)
            found = state["config"], state["data_fingerprint"]
            ours = found == (self.config.to_dict(), self.data.fingerprint)
            if ours:
                for name in STATES:
                    getattr(self, name).load_state_dict(state[name])
                self.epoch, wall_time, self.series = state["progress"]
                self.started -= wall_time
                self.best_epoch, self.best_score, self.best_weights = state["best"]
                self.test_selected = state["test_selected"]
        except FileNotFoundError:  # another run of this config has just finished and removed it
            return
        except Exception as error:
            text = re.sub(r"\x1b\[[0-9;]*m", "", f"{type(error).__name__}: {error}")  # torch's bold type
            reason = text.split("\n")[0].rstrip(". ")
            said = f"the checkpoint {path} cannot be read ({reason}): move it away to start again."
            raise ValueError(said) from error
        if not ours:
            raise ValueError(f"the checkpoint {path} belongs to another config or data: name another file.")
