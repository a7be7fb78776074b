"""A benchmark of the paper in full: every paradigm, with and without the regularizer, seed by seed.

    python -m experiments.benchmarks crema_d --until 11    # resumable; skips what is recorded
    torchrun --nproc-per-node 4 -m experiments.benchmarks crema_d
    python -m experiments.benchmarks crema_d --data split=speaker_disjoint  # a folder of its own
    python -m experiments.benchmarks crema_d --paradigms dgl --arms baseline \\
        beta0.{1,15,2}-tau{0,0.25,0.5} intra0.{12,14,16}-inter0.0{3,5,7}    # the settings of Figures 7 and 8
    python -m experiments.benchmarks crema_d --paradigms dgl --arms baseline regularized \\
        dispersion anchoring naive_align vicreg barlow_twins unit_sphere    # Tables 4 and 7

Kinetics-Sounds has intra0.{04,08,12}-inter0.0{3,5,8}. The shell expands the braces.

Every run leaves a record below ``OUT/NAME/PARADIGM/seedN/``, and while it trains a checkpoint beside it. So
the same command goes on where a time limit, SIGTERM or a lost machine ended it. Seeds come first in the
order, so that what is recorded is a table with fewer seeds and not half a table. Of seed 0 the embeddings of
the test split are kept too. The task's validation score picks the epoch; "test_selected" metrics follow the
papers' protocol (``TrainConfig.paper_protocol``).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from geomreg_mini import distributed
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.models import Encoded, Fusion, encode
from geomreg_mini.records import Record, write_atomically
from geomreg_mini.training import Stopped, TrainConfig, set_seed

from .recipes import ARMS, RECIPES, deviations, recipe
from .sweeps import load_or_train

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

SEEDS = (0, 1, 2, 3, 4)
EMBEDDED_SEED = 0  # of its runs the test split's embeddings are kept, for figures
SETTINGS = ("strength", "radius", "temperature")  # of the arms' regularizers, what the command line sets


class Run(NamedTuple):
    """One cell of the table."""

    paradigm: str
    arm: str
    seed: int

    def path(self, folder: Path) -> Path:
        return folder / self.paradigm / f"seed{self.seed}" / f"{self.arm}.json"


def folder_name(name: str, options: Mapping[str, Any]) -> str:
    """Of a benchmark's records: ``name``, and each option in which its data are not the recipe's."""
    own = RECIPES[name].config.dataset_options
    return "-".join([name, *(f"{k}={v}" for k, v in sorted(options.items()) if own.get(k) != v)])


def command(folder: str | Path) -> str:
    """What makes the records of a ``folder`` that is named so."""
    name, *options = Path(folder).name.split("-")
    data = ["--data", *options] if options else []
    return " ".join(["python -m experiments.benchmarks", name, *data])


def config(name: str, run: Run, settings: dict[str, float] | None = None, **changes) -> TrainConfig:
    """Return the run's config: the recipe ``name`` with the arm's regularizer, changed by ``settings``.

    Raises:
        ValueError: an arm that the benchmark does not have, or a setting that the arm does not have.
    """
    arms = ARMS | RECIPES[name].arms
    if run.arm not in arms:
        raise ValueError(f"{name} has no arm {run.arm!r}: choose among {', '.join(arms)}.")
    regularizer = arms[run.arm]
    if regularizer is not None and settings:
        known = regularizer.hyperparameters()
        if foreign := set(settings) - set(known):
            raise ValueError(
                f"arm {run.arm!r} has no {', '.join(sorted(foreign))}: leave out one of the two."
            )
        regularizer = type(regularizer)(**known | settings)
    return recipe(name, run.paradigm, regularizer=regularizer, seed=run.seed, **changes)


class Deadline:
    """Asked after every epoch: would one more like it end later than ``hours`` from the start?

    ``took`` is how many seconds passed between the last two questions.
    """

    def __init__(self, hours: float | None):
        self.asked = time.monotonic()
        self.end = math.inf if hours is None else self.asked + 3600 * hours

    def __call__(self) -> bool:
        now = time.monotonic()
        self.took, self.asked = now - self.asked, now
        return now + self.took > self.end


def forecast(left: Sequence[Run], seconds: dict[str, list[float]]) -> float | None:
    """Hours for the runs ``left``, from the wall times known of each paradigm, else of all; None without."""
    known = [t for times in seconds.values() for t in times]
    if not known:
        return None
    means = {paradigm: sum(times) / len(times) for paradigm, times in seconds.items() if times}
    overall = sum(known) / len(known)
    return sum(means.get(run.paradigm, overall) for run in left) / 3600


def run_benchmark(
    name: str,
    folder: Path,
    *,
    runs: Sequence[Run],
    hours: float | None = None,
    settings: dict[str, float] | None = None,
    say: Callable[[str], None] = print,
    changes: dict | None = None,
    **options,
) -> None:
    """Train what is not recorded below ``folder``.

    Args:
        name: of the recipe, in which ``changes`` replace fields.
        folder: of this benchmark's records.
        runs: in the order in which they are trained.
        hours: stop before so many are over, saving what is trained; None for never.
        settings: of the arms' regularizers, in place of theirs.
        say: what to do with a sentence for the reader.
        options: of ``fit``.

    Raises:
        Stopped: where ``hours`` are over; what was trained is in checkpoints.
    """
    from geomreg_mini.data import load

    deadline = Deadline(hours)
    paths = {run: run.path(folder) for run in runs}
    seconds: dict[str, list[float]] = {}
    for run, path in paths.items():
        if path.exists():
            seconds.setdefault(run.paradigm, []).append(Record.load(path).wall_time)
    left = [run for run in runs if not paths[run].exists()]
    configs = {run: config(name, run, settings, **(changes or {})) for run in runs}
    told = dict.fromkeys(line for run in runs for line in deviations(configs[run]))
    say("\n".join([f"{name}: what differs from the published procedure:", *(f"- {line}" for line in told)]))
    say(f"{len(runs)} runs, {len(runs) - len(left)} recorded{_hours(forecast(left, seconds))}.")

    data, loaded = None, None
    for run, path in paths.items():
        fresh = not path.exists()
        if fresh and distributed.agreed(deadline()):
            raise Stopped(f"stopped before {_title(run)}.")
        wanted = configs[run]
        if (wanted.seed, wanted.dataset_options) != loaded:
            data = load(wanted.dataset, seed=wanted.seed, **wanted.dataset_options)
            if data.note and loaded is None:
                say(data.note)
            loaded = wanted.seed, wanted.dataset_options

        def stop(run=run, epochs=wanted.epochs) -> bool:
            over = deadline()
            if not seconds:  # nothing is recorded to judge by, so one epoch has to do
                seconds[""] = [epochs * deadline.took]
                say(f"after one epoch{_hours(forecast(left, seconds))}.")
            return over

        checkpoint, model, keep = path.with_suffix(".pt"), None, None
        if fresh and run.seed == EMBEDDED_SEED:
            set_seed(wanted.seed)  # as fit does, so that both build the same model
            model = TASKS[wanted.task]().build(wanted, data)
            keep = partial(_save_embeddings, path.with_suffix(".npz"), model, data.test)
        record = load_or_train(
            path, wanted, data, first=keep, checkpoint=checkpoint, stop=stop, model=model, **options
        )
        if distributed.rank() == 0:
            checkpoint.unlink(missing_ok=True)
        if fresh:
            left.remove(run)
            seconds.pop("", None)
            seconds.setdefault(run.paradigm, []).append(record.wall_time)
            score = f"test/{TASKS[wanted.task].selection}"
            say(
                f"{_title(run)}: {score} {record.metrics[score]:.3f}; "
                f"{len(runs) - len(left)} of {len(runs)} runs recorded{_hours(forecast(left, seconds))}."
            )


def _title(run: Run) -> str:
    return f"{run.paradigm}, {run.arm}, seed {run.seed}"


def _hours(hours: float | None) -> str:
    return "" if not hours else f", about {hours:.1f} h left" if hours >= 0.1 else ", minutes left"


def load_runs(folder: str | Path) -> pd.DataFrame:
    """What is recorded of one benchmark, one row a run: paradigm, arm, seed, epochs, and every metric.

    ``note`` is what a reader must know about the data, "" where they are what the name says.

    Args:
        folder: of the benchmark, such as "results/crema_d".

    Raises:
        FileNotFoundError: if no run is recorded there.
    """
    import pandas as pd

    rows = []
    for path in sorted(Path(folder).glob("*/seed*/*.json")):
        record = Record.load(path)
        cell = {"paradigm": record.config["paradigm"], "arm": path.stem, "seed": record.seed}
        told = {"note": record.data_note, "epochs": record.config["epochs"]}
        rows.append({**cell, **told, **record.metrics})
    if not rows:
        raise FileNotFoundError(f"no records below {folder}: run '{command(folder)}' first.")
    return pd.DataFrame(rows)


def load_histories(folder: str | Path, paradigm: str) -> pd.DataFrame:
    """The course of training of one paradigm's runs: arm, seed, and the columns of ``Record.history``."""
    import pandas as pd

    paths = sorted((Path(folder) / paradigm).glob("seed*/*.json"))
    if not paths:
        wanted = f"{command(folder)} --paradigms {paradigm}"
        raise FileNotFoundError(f"no records of {paradigm} below {folder}: run '{wanted}' first.")
    records = {path: Record.load(path) for path in paths}
    return pd.concat(
        [record.history.assign(arm=path.stem, seed=record.seed) for path, record in records.items()],
        ignore_index=True,
    )


def _save_embeddings(path: Path, model, split) -> None:
    import numpy as np
    import torch

    encoded = encode(model, split)
    arrays = {f"embeddings/{m}": z for m, z in encoded.embeddings.items()}
    if isinstance(getattr(model, "fusion", None), Fusion):
        with torch.no_grad():
            arrays["fused"] = model.fusion(encoded.embeddings)
    content = io.BytesIO()
    arrays = {name: x.float().cpu().numpy() for name, x in arrays.items()}
    np.savez_compressed(content, labels=encoded.labels.cpu().numpy(), **arrays)
    write_atomically(path, content.getvalue())


def _kept(folder: str | Path, paradigm: str, arm: str) -> dict[str, Tensor]:
    """The arrays that ``_save_embeddings`` wrote of the run of ``EMBEDDED_SEED``."""
    import numpy as np
    import torch

    path = Run(paradigm, arm, EMBEDDED_SEED).path(Path(folder)).with_suffix(".npz")
    if not path.exists():
        wanted = f"{command(folder)} --paradigms {paradigm} --arms {arm} --seeds {EMBEDDED_SEED}"
        raise FileNotFoundError(
            f"no embeddings in {path}: move the record beside it away, if there is one, and run '{wanted}'."
        )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def load_embeddings(folder: str | Path, paradigm: str, arm: str) -> Encoded:
    """The test split as the run of ``EMBEDDED_SEED`` embedded it.

    Raises:
        FileNotFoundError: if they were not kept.
    """
    kept = _kept(folder, paradigm, arm)
    embeddings = {n.partition("/")[2]: z for n, z in kept.items() if n.startswith("embeddings/")}
    return Encoded(embeddings, kept["labels"])


def load_fused(folder: str | Path, paradigm: str, arm: str) -> Tensor:
    """Logits (N, C) of the test split by the fusion, or the clusters' head, of the same run.

    Raises:
        FileNotFoundError: if they were not kept.
    """
    return _kept(folder, paradigm, arm)["fused"]


def _option(text: str) -> tuple[str, Any]:
    """An option of the data set and its value: a number, true or false where it reads like one."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: write OPTION=VALUE, such as split=speaker_disjoint")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("name", choices=RECIPES, help="the benchmark")
    add("--paradigms", nargs="+", metavar="P", help="default: the rows of the benchmark's table")
    add("--arms", nargs="+", metavar="ARM", default=("baseline", "regularized"), help="default: %(default)s")
    add("--seeds", nargs="+", type=int, default=SEEDS, metavar="N", help="default: %(default)s")
    add("--until", type=float, metavar="HOURS", help="save and end cleanly before so many hours are over")
    add("--out", default="results", help="folder of the records; NAME is put below it (default: %(default)s)")
    add(
        "--data",
        nargs="+",
        type=_option,
        default=[],
        metavar="OPTION=VALUE",
        help="of the data set, such as split=speaker_disjoint; they become part of the folder's name",
    )
    add("--source", help="the same as --data source=SOURCE, such as stand_in")
    add("--epochs", type=int, help="in place of the recipe's")
    add("--device", help='"cpu", "cuda", ... (default: a GPU where there is one)')
    add("--compile", action="store_true", help="run the encoders through torch.compile")
    for setting in SETTINGS:
        add(f"--{setting}", type=float, help="of the arms' regularizers, in place of theirs")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = _arguments(arguments)
    from data_scripts.fetch import DataError

    def say(text: str) -> None:
        if distributed.rank() == 0:
            print(text, flush=True)

    def terminated(*_) -> None:
        raise Stopped("stopped by SIGTERM, up to an epoch after the last checkpoint.")

    earlier = signal.signal(signal.SIGTERM, terminated)
    changes = {"epochs": options.epochs} if options.epochs is not None else {}
    chosen = dict(options.data) | ({"source": options.source} if options.source else {})
    folder = Path(options.out) / folder_name(options.name, chosen)
    changes["dataset_options"] = RECIPES[options.name].config.dataset_options | chosen
    try:
        distributed.start()
        paradigms = options.paradigms or RECIPES[options.name].rows
        cells = product(options.seeds, paradigms, options.arms)
        run_benchmark(
            options.name,
            folder,
            runs=[Run(paradigm, arm, seed) for seed, paradigm, arm in cells],
            hours=options.until,
            settings={s: getattr(options, s) for s in SETTINGS if getattr(options, s) is not None},
            say=say,
            changes=changes,
            device=options.device,
            progress=True,
            compile_encoders=options.compile,
        )
        distributed.end()
    except Stopped as stopped:
        say(f"{stopped} The same command continues.")
    except (DataError, OSError, ValueError, RuntimeError, FloatingPointError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, earlier)
    return 0


if __name__ == "__main__":
    sys.exit(main())
