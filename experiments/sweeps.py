"""The parts that every sweep shares: train a config once, check each record, use several processes."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from geomreg_mini import distributed
from geomreg_mini.data import MultimodalDataset
from geomreg_mini.records import Record, versions
from geomreg_mini.training import TrainConfig, fit

# quantity (a whole-name pattern) -> its range; every other quantity is finite, which ``Record.load`` checks
RANGES: dict[str, tuple[float, float]] = {
    r"(.+_)?accuracy(_.+)?|(recall|R)@\d+|mean_recall|knn_probe|(.+_)?nmi": (0, 1),
    r"active|alpha|band_violation|ks_distance|top1_share|collapse_std": (0, 1),
    r"mean_cosine|(.+_)?ari|linear_cka|silhouette": (-1, 1),
    r"cosine_contrast|cross_modal_margin|semantic_margin|class_mean_margin": (-2, 2),
    r"effective_rank|eigenvalue_rank|participation_ratio|median_rank": (1, inf),
    r"condition_number|clusters_used": (1, inf),
    r"paired_distance.*|modality_gap": (0, 2),
    r"paired_drift|drift_(gap|sample)_part": (0, 4),
    r"uniformity": (-inf, 0),
    r"dose|cross_entropy|mutual_information": (0, inf),
    r"rankme_raw|numerical_rank|cdnv_raw|nc1_raw": (0, inf),
}
ROUNDING = 1e-5  # by which rounding may carry a value out of its range


@cache
def range_of(name: str) -> tuple[float, float]:
    """Return the lowest and highest value that a metric "split/quantity/modality" can have."""
    quantity = name.split("/")[1] if "/" in name else ""
    found = (bounds for pattern, bounds in RANGES.items() if re.fullmatch(pattern, quantity))
    return next(found, (-inf, inf))


def load_record(path: Path, config: TrainConfig | None = None) -> Record:
    """Return the record at ``path``, with every bounded quantity in its range.

    Args:
        path: a record's file.
        config: the run that it must be; None for any.

    Raises:
        ValueError: naming the file and the field if a value is out of range, or if the config is another.
    """
    record = Record.load(path)
    for name, values in (*record.series.items(), *((n, [value]) for n, value in record.metrics.items())):
        low, high = range_of(name)
        for value in () if (low, high) == (-inf, inf) else values:
            if value is not None and not low - ROUNDING <= value <= high + ROUNDING:
                raise ValueError(
                    f"{path}: {name} must be in [{low:g}, {high:g}], got {value:g}; restore the file, or "
                    "move it away and run its study again."
                )
    if config is None or record.config == config.to_dict():
        return record
    if TrainConfig.from_dict(record.config) != config:  # an older record lacks fields that were added since
        raise ValueError(f"{path} was made by another config: move the folder away and run again.")
    return record


def load_or_train(
    path: Path,
    config: TrainConfig,
    data: MultimodalDataset,
    *,
    first: Callable[[], None] | None = None,
    keep_diverged: bool = False,
    kept: Collection[str] = (),
    **options: Any,
) -> Record:
    """Return the record at ``path``; train it first, for minutes or more, if there is none.

    Args:
        path: of the record.
        config: the run.
        data: its data set.
        first: writes what accompanies the record of a training. It is called before the record is saved, so
            anyone who finds the record finds the rest.
        keep_diverged: record a training that diverges instead of raising. Such a record says so in
            ``data_note`` and has one metric, a fused validation accuracy of 0, so that it is never picked.
        kept: the quantities of a trained run that are recorded, and as a history those of training alone;
            by default everything.
        options: arguments of ``fit``; by default, a CPU and no progress bar.

    Raises:
        ValueError: if the file is the record of another config or of other data, or out of range.
        FloatingPointError: if training diverges and ``keep_diverged`` is False.
    """
    if path.exists():
        record = load_record(path, config)
        if record.data_fingerprint != data.fingerprint:
            raise ValueError(f"{path} was made from other data: move the folder away and run again.")
        return record
    try:
        record = fit(config, data=data, **{"device": "cpu", "progress": False, **options})
    except FloatingPointError as error:
        if not keep_diverged:
            raise
        record = Record(
            config=config.to_dict(),
            seed=config.seed,
            versions=versions(),
            device="cpu",
            data_fingerprint=data.fingerprint,
            data_note=f"diverged: {error}",
            split_sizes={split: len(getattr(data, split)) for split in ("train", "validation", "test")},
            series={"epoch": []},
            selected_epoch=0,
            metrics={"validation/accuracy/fused": 0.0},
            wall_time=0.0,
        )
    if distributed.rank() == 0:
        if first is not None:
            first()
        if kept:
            record = _reduced(record, kept)
        record.save(path)
    distributed.barrier()
    return record


def _reduced(record: Record, kept: Collection[str]) -> Record:
    metrics = {name: value for name, value in record.metrics.items() if name.split("/")[1] in kept}
    series = {
        name: values for name, values in record.series.items()
        if name == "epoch" or (name.startswith("train/") and name.split("/")[1] in kept)
    }  # fmt: skip
    return replace(record, metrics=metrics, series=series)


@cache
def _end_with(owner: int) -> None:
    """End this process within a second of the end of its parent ``owner``; joblib's workers would go on."""

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(owner: int, work: Callable[..., int], cell: tuple) -> int:
    if os.getpid() != owner:
        _end_with(owner)
    return work(*cell)


def work_through(work: Callable[..., int], cells: Iterable[tuple], *, total: int, jobs: int) -> None:
    """Call ``work(*cell)`` for each cell in ``jobs`` processes of one thread each.

    The processes end with this one, also if it is killed. An error or Ctrl-C in one ends all.

    Args:
        work: a picklable function that returns how many runs it did.
        cells: arguments of each call.
        total: number of runs of all cells, for the progress bar.
        jobs: processes at a time; 1 works in this process.
    """
    from joblib import Parallel, delayed, parallel_config
    from tqdm.auto import tqdm

    calls = [delayed(_work)(os.getpid(), work, cell) for cell in cells]
    with (
        parallel_config("loky", inner_max_num_threads=1),
        tqdm(total=total, unit="run", mininterval=5) as bar,
    ):
        # The workers are started here and inherit that Ctrl-C is ignored: only this process answers it.
        main = threading.current_thread() is threading.main_thread()
        answer = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            counts = Parallel(jobs, batch_size=1, return_as="generator_unordered")(calls)
        finally:
            if main:
                signal.signal(signal.SIGINT, answer)
        for count in counts:
            bar.update(count)
