"""A benchmark of the paper in full: every paradigm, with and without the regularizer, seed by seed.

    python -m experiments.benchmarks crema_d --until 11    # resumable; skips recorded runs
    torchrun --nproc-per-node 4 -m experiments.benchmarks crema_d
    python -m experiments.benchmarks crema_d --data split=speaker_disjoint    # in a separate folder
    python -m experiments.benchmarks --data-file mine.npz    # your own data, by the default config
    python -m experiments.benchmarks crema_d --paradigms dgl --arms baseline \\
        beta0.{1,15,2}-tau{0,0.25,0.5} intra0.{12,14,16}-inter0.0{3,5,7}    # the settings of Figures 7 and 8
    python -m experiments.benchmarks crema_d --paradigms dgl --arms baseline regularized \\
        dispersion anchoring naive_align vicreg barlow_twins unit_sphere    # Tables 4 and 7

Kinetics-Sounds has intra0.{04,08,12}-inter0.0{3,5,8}. The shell expands the braces.

Every run leaves a record below ``OUT/NAME/PARADIGM/seedN/``, and a checkpoint next to it while it trains. So
the same command continues after a time limit, SIGTERM or the loss of the machine. Seeds come first in the
order, so that an interrupted sweep is a table with fewer seeds and not half a table. The embeddings of the
test split are kept for seed 0. The task's validation score picks the epoch; "test_selected" metrics follow
the papers' protocol (``TrainConfig.paper_protocol``). To commit new records, also run
``python -m experiments.manifest --write``.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from data_scripts.fetch import write_atomically
from data_scripts.stand_ins import NOTE
from geomreg_mini import distributed
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.data import Split
from geomreg_mini.data.dataset import note_of_loss
from geomreg_mini.models import Encoded, Fusion, encode
from geomreg_mini.records import Record
from geomreg_mini.training import Stopped, TrainConfig, set_seed

from .recipes import ARMS, RECIPES, Recipe, deviations, recipe
from .sweeps import load_or_train, load_record

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from torch.nn import Module

SEEDS = (0, 1, 2, 3, 4)
OWN_ROWS = ("joint", "dgl", "uniform_sum", "unimodal")  # the paradigms on your own data
EMBEDDED_SEED = 0  # the test split's embeddings of its runs are kept, for figures
SETTINGS = (
    "strength",
    "radius",
    "temperature",
)  # arguments of the arms' regularizers that the command line sets


class Run(NamedTuple):
    """One cell of the table."""

    paradigm: str
    arm: str
    seed: int

    def path(self, folder: Path) -> Path:
        """Return where its record is below ``folder``."""
        return folder / self.paradigm / f"seed{self.seed}" / f"{self.arm}.json"


def folder_name(name: str, options: Mapping[str, Any]) -> str:
    """Return a name for a folder of records: ``name`` and each data option unlike the recipe's."""
    own = RECIPES[name].config.dataset_options
    return "-".join([Path(name).stem, *(f"{k}={v}" for k, v in sorted(options.items()) if own.get(k) != v)])


def command(folder: str | Path) -> str:
    """Return the command that makes the records of a ``folder`` with such a name."""
    name, *options = Path(folder).name.split("-")
    data = ["--data", *options] if options else []
    return " ".join(["python -m experiments.benchmarks", name, *data])


def config(name: str, run: Run, settings: dict[str, float] | None = None, **changes: Any) -> TrainConfig:
    """Return the run's config: the recipe ``name`` with the arm's regularizer, changed by ``settings``.

    Raises:
        ValueError: if the benchmark lacks the arm, or the arm a setting.
    """
    arms = ARMS | RECIPES[name].arms
    if run.arm not in arms:
        raise ValueError(f"{name} has no arm {run.arm!r}: choose from {', '.join(arms)}.")
    regularizer = arms[run.arm]
    if regularizer is not None and settings:
        known = regularizer.hyperparameters()
        if foreign := set(settings) - set(known):
            raise ValueError(f"arm {run.arm!r} has no {', '.join(sorted(foreign))}: leave out one of them.")
        regularizer = type(regularizer)(**known | settings)
    return recipe(name, run.paradigm, regularizer=regularizer, seed=run.seed, **changes)


class Deadline:
    """A time limit, asked after every epoch: would one more like it end later than ``hours`` from the start?

    ``took`` is the number of seconds between the last two questions.
    """

    def __init__(self, hours: float | None) -> None:
        self.asked = time.monotonic()
        self.end = math.inf if hours is None else self.asked + 3600 * hours

    def __call__(self) -> bool:
        now = time.monotonic()
        self.took, self.asked = now - self.asked, now
        return now + self.took > self.end


def forecast(left: Sequence[Run], seconds: dict[str, list[float]]) -> float | None:
    """Return the hours for the runs ``left``, or None if no wall time is known.

    A run takes the mean of the known times of its paradigm, or of all paradigms if its own has none.
    """
    if not (known := [t for times in seconds.values() for t in times]):
        return None
    return sum(fmean(seconds.get(run.paradigm, known)) for run in left) / 3600


def run_benchmark(
    name: str,
    folder: Path,
    *,
    runs: Sequence[Run],
    hours: float | None = None,
    settings: dict[str, float] | None = None,
    say: Callable[[str], None] = print,
    changes: dict[str, Any] | None = None,
    weights: str | None = None,
    **options: Any,
) -> None:
    """Train the runs that are not recorded below ``folder``.

    Args:
        name: of the recipe, in which ``changes`` replace fields.
        folder: of this benchmark's records.
        runs: in the order in which they are trained.
        hours: stop before these hours are over and save the training so far; None for no limit.
        settings: arguments of the arms' regularizers that replace their own.
        say: called with each sentence for the reader.
        weights: file of the pretrained weights that the config names, read instead of a download. Its path
            is not part of the config.
        options: of ``fit``.

    Raises:
        Stopped: if ``hours`` are over; checkpoints keep the training so far.
        ValueError: if a record is out of range or of another config or data.
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
    if weights and not all("pretrained" in c.encoder_options for c in configs.values()):
        raise ValueError(f"{name} has no pretrained weights: leave out --weights.")
    lines = dict.fromkeys(f"- {line}" for run in runs for line in deviations(configs[run]))
    say("\n".join([f"{name}: differences from the published procedure:", *lines]))
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

        def stop(epochs: int = wanted.epochs) -> bool:
            over = deadline()
            if not seconds:  # no run is recorded, so the forecast is based on one epoch
                seconds[""] = [epochs * deadline.took]
                say(f"after one epoch{_hours(forecast(left, seconds))}.")
            return over

        checkpoint, model, keep = path.with_suffix(".pt"), None, None
        if fresh and (run.seed == EMBEDDED_SEED or weights):
            set_seed(wanted.seed)  # as fit does, so that both build the same model
            from_file = {"weights": weights} if weights else {}
            built = replace(wanted, encoder_options={**wanted.encoder_options, **from_file})
            model = TASKS[wanted.task]().build(built, data)
        if fresh and run.seed == EMBEDDED_SEED:
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


def _records(folder: str | Path, paradigm: str = "") -> Iterator[tuple[Run, Record]]:
    """Yield (run, record) of one benchmark, or of one paradigm of it, with every value in its range."""
    paths = sorted(Path(folder).glob(f"{paradigm or '*'}/seed*/*.json"))
    if not paths:
        of, only = (f" of {paradigm}", f" --paradigms {paradigm}") if paradigm else ("", "")
        raise FileNotFoundError(f"no records{of} below {folder}: run '{command(folder)}{only}' first.")
    for path in paths:
        record = load_record(path)
        yield Run(path.parent.parent.name, path.stem, record.seed), record


def unlike(record: Record, name: str, run: Run) -> str:
    """Return how a record differs from the run ``run`` of the benchmark ``name``, or "" if it does not.

    Compared are the whole config with the recipe's, the sizes of the splits with the published ones, and the
    note about the data.
    """
    if name not in RECIPES:
        return f"{name!r} is not a benchmark"
    if record.data_note == NOTE:
        return "our runs use generated stand-ins"
    expected = RECIPES[name]
    try:
        wanted, found = config(name, run), TrainConfig.from_dict(record.config)
    except ValueError as error:
        return f"our config cannot be compared: {error}"
    for field in fields(TrainConfig):
        theirs, ours = (_plain(getattr(c, field.name)) for c in (wanted, found))
        if theirs != ours:
            return f"our runs have {field.name} {ours!r}, the recipe has {theirs!r}"
    sizes = {split: record.split_sizes.get(split, 0) for split in ("train", "validation", "test")}
    sizes["all"] = sum(sizes.values())
    for split, wanted in expected.sizes.items():
        if not (1 - expected.lost) * wanted <= sizes[split] <= wanted:
            return f"our runs have {sizes[split]} samples ({split}), the benchmark has {wanted}"
    small = min(sizes, key=sizes.__getitem__)
    if sizes[small] < expected.least:
        return f"our runs have {sizes[small]} samples ({small}), the benchmark has {expected.least} or more"
    total = expected.sizes.get("all", sum(expected.sizes.values()))
    if record.data_note not in ("", note_of_loss(total - sizes["all"], total)):
        return f"our runs use other data: {record.data_note}"
    return ""


def _plain(value: Any) -> Any:
    """Return a config's value in the form of its JSON, a regularizer as its class and arguments."""
    if hasattr(value, "hyperparameters"):
        value = {"class": type(value).__name__, **value.hyperparameters()}
    return json.loads(json.dumps(value))


def load_runs(folder: str | Path) -> pd.DataFrame:
    """Return the recorded runs of one benchmark, one per row: paradigm, arm, seed and every metric.

    ``unlike`` says how a run differs from the benchmark's, "" if it does not (see ``unlike``). Runs from
    different data differ from each other, so all of them get that reason.

    Args:
        folder: of the benchmark, such as "results/crema_d".

    Raises:
        FileNotFoundError: if no run is recorded there.
        ValueError: naming a record that is damaged or out of range.
    """
    import pandas as pd

    rows, made_from = [], set()
    for run, record in _records(folder):
        reason = unlike(record, Path(folder).name.partition("-")[0], run)
        rows.append({**run._asdict(), "unlike": reason, **record.metrics})
        made_from.add(record.data_fingerprint)
    if len(made_from) > 1:
        for row in rows:
            row["unlike"] = row["unlike"] or f"our runs were made from {len(made_from)} different data sets"
    return pd.DataFrame(rows)


def load_histories(folder: str | Path, paradigm: str) -> pd.DataFrame:
    """Return the course of training of a paradigm's runs: arm, seed, and the columns of ``Record.history``.

    Errors as in ``load_runs``.
    """
    import pandas as pd

    runs = _records(folder, paradigm)
    parts = [record.history.assign(arm=run.arm, seed=run.seed) for run, record in runs]
    return pd.concat(parts, ignore_index=True)


def _save_embeddings(path: Path, model: Module, split: Split) -> None:
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
    """Return the arrays that ``_save_embeddings`` wrote for the run of ``EMBEDDED_SEED``."""
    import numpy as np
    import torch

    path = Run(paradigm, arm, EMBEDDED_SEED).path(Path(folder)).with_suffix(".npz")
    if not path.exists():
        wanted = f"{command(folder)} --paradigms {paradigm} --arms {arm} --seeds {EMBEDDED_SEED}"
        raise FileNotFoundError(
            f"no embeddings in {path}: move away the record next to it, if there is one, and run '{wanted}'."
        )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def load_embeddings(folder: str | Path, paradigm: str, arm: str) -> Encoded:
    """Return the embeddings of the test split by the run of ``EMBEDDED_SEED``.

    Raises:
        FileNotFoundError: if they were not kept.
    """
    kept = _kept(folder, paradigm, arm)
    embeddings = {n.partition("/")[2]: z for n, z in kept.items() if n.startswith("embeddings/")}
    return Encoded(embeddings, kept["labels"])


def load_fused(folder: str | Path, paradigm: str, arm: str) -> Tensor:
    """Return the logits (N, C) of the test split by the fusion, or the clusters' head, of the same run.

    Raises:
        FileNotFoundError: if they were not kept.
    """
    return _kept(folder, paradigm, arm)["fused"]


def _option(text: str) -> tuple[str, Any]:
    """Return an option of the data set and its value, read as JSON if it is JSON, else as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: write OPTION=VALUE, such as split=speaker_disjoint")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def enter_own_data(file: str) -> None:
    """Make an npz file of your own data, see ``MultimodalDataset.from_npz``, a benchmark under its path."""
    note = "Your own data have no published procedure: this is the default config, and seeds change no split."
    RECIPES[file] = Recipe(TrainConfig(file), lambda config: [note], OWN_ROWS, {})


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    add = (parser := argparse.ArgumentParser("python -m experiments.benchmarks")).add_argument
    parser.description = (__doc__ or "").split("\n")[0]
    add("name", nargs="?", choices=RECIPES, help="the benchmark")
    add("--data-file", metavar="FILE", help="an npz of your own data instead of a benchmark")
    add("--paradigms", nargs="+", metavar="P", help="default: the rows of the benchmark's table")
    add("--arms", nargs="+", metavar="ARM", default=("baseline", "regularized"), help="default: %(default)s")
    add("--seeds", nargs="+", type=int, default=SEEDS, metavar="N", help="default: %(default)s")
    add("--until", type=float, metavar="HOURS", help="save and end cleanly before these hours are over")
    add("--out", default="results", help="folder of the records; NAME is put below it (default: %(default)s)")
    words = "of the data set, such as split=speaker_disjoint; they become part of the folder's name"
    add("--data", nargs="+", type=_option, default=[], metavar="OPTION=VALUE", help=words)
    add("--source", help="the same as --data source=SOURCE, such as stand_in")
    add("--epochs", type=int, help="instead of the recipe's")
    words = "file of the pretrained weights that the recipe names, read instead of a download"
    add("--weights", metavar="FILE", help=words)
    add("--device", help='"cpu", "cuda", ... (default: a GPU if there is one)')
    add("--compile", action="store_true", help="run the encoders through torch.compile")
    for setting in SETTINGS:
        add(f"--{setting}", type=float, help="of the arms' regularizers, instead of theirs")
    options = parser.parse_args(arguments)
    if (options.name is None) == (options.data_file is None):
        parser.error("name one benchmark, or your own data with --data-file")
    if options.data_file is not None:
        enter_own_data(options.data_file)
    options.name = options.name or options.data_file
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = _arguments(arguments)
    from data_scripts.fetch import DataError

    def say(text: str) -> None:
        if distributed.rank() == 0:
            print(text, flush=True)

    def terminated(*_: object) -> None:
        raise Stopped("stopped by SIGTERM, up to an epoch after the last checkpoint.")

    earlier = signal.signal(signal.SIGTERM, terminated)
    changes = {} if options.epochs is None else {"epochs": options.epochs}
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
            weights=options.weights,
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
