"""Choosing a run's settings by search: optuna proposes, the validation split decides, test stays unread.

    python -m experiments.search --dataset digits --storage sqlite:///search.db --name digits

A *study* (optuna's word) is the list of trials of one search, kept in a *storage*: a database, or a journal
file on a shared file system. Whoever calls ``search`` with the same storage and name adds to the same study:
the same machine after a kill, another process, another machine. What a trial tries depends on the config's
seed, the trial's number and the trials before it. So no two workers repeat each other, and one worker that
is stopped between two trials goes on later as if it had not been.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomreg_mini.data import load
from geomreg_mini.regularizer import GeometryRegularizer
from geomreg_mini.training import TrainConfig, fit

if TYPE_CHECKING:
    import optuna
    import pandas as pd

FIXED = {"dataset", "dataset_options", "regularizer", "paradigm_options", "seed"}  # not searched as a whole
HEARTBEAT = 60  # seconds between a worker's signs of life
MOST_DIVERGED = 10  # in a row, before a worker gives up


def default_space() -> dict[str, optuna.distributions.BaseDistribution]:
    """What is searched where a search names no space: the arguments of ``GeometryRegularizer``."""
    Float = _optuna().distributions.FloatDistribution
    return {
        "dispersion_weight": Float(1e-3, 1.0, log=True),
        "anchoring_weight": Float(1e-2, 10.0, log=True),
        "temperature": Float(0.1, 2.0, log=True),
        "radius": Float(0.0, 1.4),
    }


def search(
    config: TrainConfig,
    *,
    storage: str,
    name: str,
    trials: int = 20,
    seeds: Sequence[int] = (0,),
    space: Mapping[str, optuna.distributions.BaseDistribution] | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> pd.DataFrame:
    """Run until the study holds ``trials`` complete trials, those of other workers and earlier calls too.

    A trial trains once a seed; its value is the mean fused validation accuracy. A trial whose training
    diverges is noted with the reason and the search goes on. A killed worker's trial blocks nothing: in a
    database it becomes "failed" when another starts two minutes later, in a journal file it stays "running".
    Workers finish the trials they are in, so a study can end with a trial a worker more than asked for.

    Args:
        config: what every trial shares. Where its regularizer is None, the regularizer's arguments are
            searched on a ``GeometryRegularizer``; its seed decides the proposals.
        storage: a database URL such as "sqlite:///search.db" (several machines: any URL that optuna takes),
            or a path ending in .log or .journal, a file that machines with a shared file system append to.
        name: of the study.
        trials: complete trials in total, at least 1.
        seeds: of training, data order and splits.
        space: parameter -> optuna distribution, ``default_space()`` by default. A parameter is an argument of
            the regularizer, a field of ``TrainConfig`` such as "learning_rate", or "paradigm_options.NAME".
        jobs: processes of one thread each.
        progress: whether to show a bar and say what diverged.

    Returns:
        ``trials_table`` of the study.

    Raises:
        ModuleNotFoundError: without optuna.
        ValueError: a bad argument, a storage that cannot be opened, or a study of another config, space,
            seeds or data under this name.
        RuntimeError: if ten trials in a row diverge, or the workers were killed.
    """
    _optuna()
    from tqdm.auto import tqdm

    for argument, value in {"trials": trials, "jobs": jobs, "len(seeds)": len(seeds)}.items():
        if value < 1:
            raise ValueError(f"{argument}={value}: give at least 1.")
    space = default_space() if space is None else dict(space)
    if not space:
        raise ValueError("space is empty: name at least one parameter to search.")
    for end in (0, -1):  # an unknown name or a bound out of range is answered before anything is trained
        _applied(config, {parameter: _ends(d)[end] for parameter, d in space.items()})
    data = {seed: load(config.dataset, seed=seed, **config.dataset_options) for seed in seeds}
    study = _study(storage, name, config.seed)
    _claim(study, config, list(seeds), space, [data[seed].fingerprint for seed in seeds])
    known = {trial.number for trial in study.get_trials(deepcopy=False)}
    interval = 0.1 if sys.stderr.isatty() or "ipykernel" in sys.modules else 30.0
    with tqdm(total=trials, unit="trial", mininterval=interval, disable=not progress) as bar:
        report = partial(_report, study, bar, known)
        report()
        if jobs == 1:
            _work(study, config, space, data, trials, report)
        else:
            del data  # each worker loads its own
            shared = {"storage": storage, "name": name, "trials": trials, "seeds": seeds, "space": space}
            _hire(jobs, partial(search, config, **shared, progress=False), report)
            if len(_complete(study)) < trials:
                raise RuntimeError(
                    f"the workers ended after {len(_complete(study))} of {trials} trials, killed or with an "
                    "error that stands above: the same search again goes on with the study."
                )
    return _table(study)


def best_config(config: TrainConfig, storage: str, name: str) -> TrainConfig:
    """``config`` with the best trial's parameters: highest accuracy, then lowest cross-entropy (validation).

    Raises:
        ValueError: if the study was made from another config or has no complete trial.
    """
    study = _study(storage, name)
    if study.user_attrs.get("config") != config.key:
        raise ValueError(
            f"the study {name!r} was made from another config: give the one it was searched with."
        )
    return _applied(config, _best(study).params)


def trials_table(storage: str, name: str) -> pd.DataFrame:
    """One row a trial.

    Columns: trial, state ("complete", "diverged", "failed", "running"), value (mean fused validation
    accuracy), cross_entropy (validation, nats), each parameter, seconds, note.
    """
    return _table(_study(storage, name))


def _optuna():
    try:
        import optuna
    except ImportError as error:
        raise ModuleNotFoundError(
            "a search needs optuna, which is not installed: pip install 'geomreg-mini[scale]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the bar and the table say it
    return optuna


def _ends(distribution) -> tuple:
    return getattr(distribution, "choices", None) or (distribution.low, distribution.high)


def _applied(config: TrainConfig, parameters: Mapping[str, Any]) -> TrainConfig:
    """``config`` with these values where their names say."""
    regularizer = config.regularizer or GeometryRegularizer()
    arguments = regularizer.hyperparameters()
    fields = {field.name for field in dataclasses.fields(config)} - FIXED
    chosen, changes, options = {}, {}, dict(config.paradigm_options)
    for name, value in parameters.items():
        if name in arguments:
            chosen[name] = value
        elif name in fields:
            changes[name] = value
        elif name.startswith("paradigm_options."):
            options[name.partition(".")[2]] = value
        else:
            raise ValueError(
                f"space names {name!r}: name an argument of {type(regularizer).__name__}, a number in "
                "TrainConfig such as 'learning_rate', or 'paradigm_options.NAME'."
            )
    if chosen:
        changes["regularizer"] = type(regularizer)(**{**arguments, **chosen})
    return dataclasses.replace(config, paradigm_options=options, **changes)


def _study(storage: str, name: str, seed: int | None = None) -> optuna.Study:
    """The study; made where there is none and ``seed`` is given."""
    optuna = _optuna()
    shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", storage)  # a message must not carry a password
    if storage.rstrip("/") == "sqlite:" or ":memory:" in storage:
        raise ValueError(f"storage={shown!r} would be lost with this process: name a file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the heartbeat's
            if storage.endswith((".log", ".journal")):
                from optuna.storages.journal import JournalFileBackend

                opened = optuna.storages.JournalStorage(JournalFileBackend(storage))
            else:
                # sqlite gives up after five seconds by default, too few where workers share a slow disk.
                patience = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
                opened = optuna.storages.RDBStorage(
                    storage, patience, heartbeat_interval=HEARTBEAT, grace_period=2 * HEARTBEAT
                )
            names = optuna.get_all_study_names(opened)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(". ")
        raise ValueError(
            f"storage={shown!r} cannot be opened ({reason.replace(storage, shown)}): give a URL such as "
            "sqlite:///search.db, or a path ending in .log or .journal in a folder that exists."
        ) from error
    if seed is None and name not in names:
        raise ValueError(f"{shown} has no study {name!r}; it has {', '.join(sorted(names)) or 'none'}.")

    class Sampler(optuna.samplers.TPESampler):
        """Seeded anew by each trial's number: the same in every worker, and after a resumption."""

        def before_trial(self, study, trial):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                # constant_liar: what other workers are trying now counts as bad, so this one looks elsewhere.
                self.__init__(seed=(1_000_003 * (seed or 0) + trial.number) % 2**32, constant_liar=True)

    return optuna.create_study(
        storage=opened, study_name=name, sampler=Sampler(), direction="maximize", load_if_exists=True
    )


def _claim(study, config, seeds, space, fingerprints) -> None:
    """Note in the study what it is a search of, or refuse it where that is something else."""
    from optuna.distributions import distribution_to_json

    made_from = {
        "config": config.key,
        "seeds": seeds,
        "space": {name: distribution_to_json(d) for name, d in sorted(space.items())},
        "data": fingerprints,
    }
    noted = study.user_attrs
    for what, value in made_from.items():
        if what not in noted:
            study.set_user_attr(what, value)
        elif noted[what] != value:
            raise ValueError(
                f"the study {study.study_name!r} was made with another {what}, and config, seeds, space and "
                "data must stay the same: give this search another name."
            )


def _complete(study) -> list:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _best(study):
    complete = _complete(study)
    if not complete:
        raise ValueError(f"the study {study.study_name!r} has no complete trial yet.")
    return max(complete, key=lambda t: (t.value, -t.user_attrs["cross_entropy"], -t.number))


def _work(
    study, config: TrainConfig, space: Mapping, data: Mapping, trials: int, report: Callable[[], None]
) -> None:
    """Run one trial after another in this process until the study has enough."""
    from optuna.exceptions import ExperimentalWarning, TrialPruned

    diverged = 0

    def objective(trial) -> float:
        nonlocal diverged
        candidate = _applied(config, {name: _suggested(trial, name, d) for name, d in space.items()})
        measured = []
        for seed, split in data.items():
            try:
                record = fit(dataclasses.replace(candidate, seed=seed), data=split, progress=False)
            except FloatingPointError as error:
                trial.set_user_attr("note", str(error))
                diverged += 1
                # Pruned, not failed: the sampler ignores failed trials, and this one it shall learn from.
                raise TrialPruned(str(error)) from error
            measured.append([record.metrics[f"validation/{q}/fused"] for q in ("accuracy", "cross_entropy")])
        diverged = 0
        value, cross_entropy = (sum(column) / len(measured) for column in zip(*measured, strict=True))
        trial.set_user_attr("cross_entropy", cross_entropy)
        return value

    parent = parent_process()
    while len(_complete(study)) < trials:
        if parent is not None and not parent.is_alive():
            return  # nobody waits for this worker any more
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of the heartbeat, in optuna 4
            study.optimize(objective, n_trials=1)
        report()
        if diverged == MOST_DIVERGED:
            raise RuntimeError(f"{diverged} trials in a row diverged: lower learning_rate or set clip_norm.")


def _suggested(trial, name: str, distribution) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _hire(jobs: int, work: Callable[[], Any], report: Callable[[], None]) -> None:
    """Work in ``jobs`` processes; one that is killed does not take the others along."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers, which start after it is set
    workers = [get_context("spawn").Process(target=work, daemon=True) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    while alive := [worker.sentinel for worker in workers if worker.is_alive()]:
        wait(alive, timeout=1)
        report()


def _report(study, bar, known: set[int]) -> None:
    """Bring the bar up to date, and say of each trial that newly diverged why."""
    if bar.disable:
        return
    for trial in study.get_trials(deepcopy=False):
        if "note" in trial.user_attrs and trial.number not in known:
            known.add(trial.number)
            bar.write(f"trial {trial.number} diverged: {trial.user_attrs['note']}", file=sys.stderr)
    complete = _complete(study)
    if complete:
        bar.set_postfix(best=f"{_best(study).value:.3f}", refresh=False)
    bar.update(min(len(complete), bar.total) - bar.n)


def _table(study) -> pd.DataFrame:
    import pandas as pd

    trials = study.get_trials(deepcopy=False)
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = ["trial", "state", "value", "cross_entropy", *parameters, "seconds", "note"]
    rows = [
        {
            "trial": trial.number,
            "state": {"PRUNED": "diverged", "FAIL": "failed"}.get(trial.state.name, trial.state.name.lower()),
            "value": trial.value,
            "cross_entropy": trial.user_attrs.get("cross_entropy"),
            **trial.params,
            "seconds": trial.duration and trial.duration.total_seconds(),
            "note": trial.user_attrs.get("note", ""),
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=columns)


def _config_of(options: argparse.Namespace) -> TrainConfig:
    if options.config is None:
        config = TrainConfig(dataset=options.dataset)
    else:
        values = json.loads(Path(options.config).read_text())
        config = TrainConfig.from_dict(values.get("config", values))
    given = {name: getattr(options, name) for name in ("paradigm", "epochs")}
    return dataclasses.replace(config, **{name: value for name, value in given.items() if value is not None})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.search", description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="JSON of a TrainConfig, or a record")
    what.add_argument("--dataset", help="a data set, with the default config")
    parser.add_argument("--paradigm", help="instead of the config's")
    parser.add_argument("--epochs", type=int, help="instead of the config's")
    parser.add_argument(
        "--storage", required=True, help="sqlite:///FILE, another database's URL, or FILE.log"
    )
    parser.add_argument("--name", required=True, help="of the study; the same name continues it")
    parser.add_argument(
        "--trials", type=int, default=20, help="complete trials in total (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="trained in every trial (default: 0)"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes, one thread each (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    from data_scripts.fetch import DataError

    try:
        config, study = _config_of(options), {"storage": options.storage, "name": options.name}
        table = search(config, **study, trials=options.trials, seeds=options.seeds, jobs=options.jobs)
        print(table.to_string(index=False, float_format="{:.4g}".format, na_rep=""))
        best = table.set_index("trial").loc[_best(_study(**study)).number]
        print(f"best: trial {best.name}, validation accuracy {best['value']:.4g}")
    except (DataError, ImportError, OSError, ValueError, RuntimeError, FloatingPointError) as error:
        print(f"search: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
