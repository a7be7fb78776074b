"""What all sweeps share: record each run once, work through cells in several processes, compare arms by seed.

A sweep trains many configs and leaves one record a run below a folder, so that it can be stopped and started
at will. A *cell* is what one process does in one go, because later runs of it depend on earlier ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomreg_mini import distributed
from geomreg_mini.records import Record, versions
from geomreg_mini.training import TrainConfig, fit

if TYPE_CHECKING:
    import pandas as pd

SELECTION = "validation/accuracy/fused"
# Settings of the regularizer that several sweeps train.
GENTLE = {"dispersion_weight": 0.1, "anchoring_weight": 0.5, "temperature": 0.5, "radius": 0.6}
MODERATE = {"dispersion_weight": 0.05, "anchoring_weight": 2.0, "temperature": 0.5, "radius": 0.4}
TIGHT = {"dispersion_weight": 0.02, "anchoring_weight": 5.0, "temperature": 1.0, "radius": 0.3}
# The regime of the sweeps that keep to one, as fields of ``TrainConfig``.
UNSEEN_SPEAKERS: dict[str, Any] = {
    "dataset": "digits",
    "dataset_options": {
        "source": "spoken",
        "protocol": "unseen_speakers",
        "labels": None,
        "image_noise": 0.8,
    },
    "epochs": 12,
    "evaluate_every": 2,
}


def best(records: Mapping[str, Record], metric: str = SELECTION) -> str:
    """The setting with the highest ``metric``, of validation; the first of equals in table order."""
    return max(records, key=lambda name: records[name].metrics[metric])


def recorded(
    path: Path, config: TrainConfig, data, *, first: Callable[[], None] | None = None, **options
) -> Record:
    """The record at ``path``; trained first where there is none.

    ``options`` of ``fit`` replace its device, here a CPU, and its bar, here none. ``first`` writes what goes
    with the record of a training, before it: whoever finds the record finds the rest.

    Raises:
        ValueError: if the file is the record of another config or of other data.
    """
    if path.exists():
        record = Record.load(path)
        made_by = TrainConfig.from_dict(record.config), record.data_fingerprint
        if made_by != (config, data.fingerprint):
            raise ValueError(
                f"{path} was made by another config or data: move the folder away and run again."
            )
        return record
    record = fit(config, data=data, **{"device": "cpu", "progress": False, **options})
    if distributed.rank() == 0:
        if first is not None:
            first()
        record.save(path)
    distributed.barrier()
    return record


def recorded_outcome(path: Path, config: TrainConfig, data) -> Record:
    """``recorded``, where a training that diverges is an outcome too.

    Its record says so in ``data_note`` and has one metric, a fused validation accuracy of 0, so that nothing
    that finished is passed over for it.
    """
    try:
        return recorded(path, config, data)
    except FloatingPointError as error:
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
            metrics={SELECTION: 0.0},
            wall_time=0.0,
        )
        record.save(path)
        return record


def _end_with_parent() -> None:
    """End this process where the one that started it is killed; it would wait for work for ever."""

    def watch() -> None:
        wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work_through(work: Callable[..., int], cells: Iterable[tuple], *, total: int, jobs: int) -> None:
    """Call ``work(*cell)`` for each cell, ``jobs`` processes of one thread each; it returns its runs' number.

    Args:
        work: a function of a module, so that another process can import it.
        cells: arguments of each call.
        total: runs of all cells together, for the progress bar.
        jobs: processes at a time.
    """
    from tqdm.auto import tqdm

    os.environ["OMP_NUM_THREADS"] = "1"
    with (
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool,
        tqdm(total=total, unit="run", mininterval=5) as bar,
    ):
        futures = [pool.submit(work, *cell) for cell in cells]
        try:
            for future in as_completed(futures):
                bar.update(future.result())
        except BaseException:
            # Waits for the runs in progress, so that nothing goes on alone.
            pool.shutdown(cancel_futures=True)
            raise


def paired_gains(
    treated: pd.DataFrame, baseline: pd.DataFrame, metric: str, by: Sequence[str], level: float = 0.95
) -> pd.DataFrame:
    """Mean of treated minus baseline, paired by seed, with its interval, for each value of ``by``.

    Args:
        treated, baseline: runs in rows, with a column ``seed``; several runs of one seed are averaged first.
        metric: the column to compare.
        by: the columns that make a row of the answer.
        level: coverage of the intervals.

    Returns:
        These columns, ``mean``, ``low``, ``high`` and ``baseline`` in the metric's unit, and ``seeds``.

    Raises:
        ValueError: where the two do not have the same seeds.
    """
    import pandas as pd

    from geomreg_mini.evaluation import paired_interval

    by = list(by)
    treated_by, baseline_by = (
        {key: part.groupby("seed")[metric].mean().to_dict() for key, part in arm.groupby(by, sort=False)}
        for arm in (treated, baseline)
    )
    rows = []
    for key, values in baseline_by.items():
        gain = paired_interval(treated_by.get(key, {}), values, level=level)
        bounds = {"mean": gain.mean, "low": gain.low, "high": gain.high, "seeds": gain.n}
        rows.append(
            {**dict(zip(by, key, strict=True)), **bounds, "baseline": sum(values.values()) / len(values)}
        )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame, names: str) -> str:
    """A table of texts in Markdown, with its row names below the heading ``names``."""
    lines = [[names, *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [[name, *texts] for name, texts in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def command(
    module: str,
    description: str,
    folder: str,
    run: Callable[..., None],
    load: Callable[[str], pd.DataFrame],
    summary: Callable[[pd.DataFrame], str],
    figure: Callable[[pd.DataFrame], Any],
    arguments: list[str] | None = None,
) -> int:
    """The command line of a sweep: ``run(folder, jobs=)``, or print or draw what ``load(folder)`` gives."""
    parser = argparse.ArgumentParser(prog=f"python -m experiments.{module}", description=description)
    parser.add_argument("--out", default=folder, help="folder of the records (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes at a time, one thread each (default: %(default)s)"
    )
    parser.add_argument(
        "--summary", action="store_true", help="print a table of what is recorded, train nothing"
    )
    parser.add_argument("--figure", metavar="FILE", help="draw what is recorded, train nothing")
    options = parser.parse_args(arguments)
    from data_scripts.fetch import DataError

    try:
        if options.summary:
            print(summary(load(options.out)))
        if options.figure:
            figure(load(options.out)).savefig(options.figure)
        if not (options.summary or options.figure):
            run(options.out, jobs=options.jobs)
    except (DataError, OSError, ValueError, RuntimeError, FloatingPointError) as error:
        print(f"{module}: {error}", file=sys.stderr)
        return 1
    return 0
