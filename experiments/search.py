"""Choose a run's settings by search: optuna proposes, the validation split decides, test stays unread.

    python -m experiments.search --dataset digits --storage sqlite:///search.db --name digits

A *study* (optuna's word) is the list of trials of one search, kept in a *storage*: a database, or a journal
file on a shared file system. Every call of ``search`` with the same storage and name adds to the same study:
the same machine after a kill, another process, another machine. The process that creates the study proposes
by the config's seed. All others draw their proposals afresh, so no two repeat each other.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import ModuleType
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
    """Return the space that is searched by default: the arguments of ``GeometryRegularizer``."""
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
    """Run until the study holds ``trials`` complete trials, including those of other workers and calls.

    A trial trains once per seed; its value is the mean fused validation accuracy. A trial whose training
    diverges is stored with the reason, and the search continues. A killed worker's trial blocks nothing: in a
    database it becomes "failed" two minutes later, in a journal file it stays "running". Workers finish the
    trials they are in, so a study can end with one more trial per worker than asked for.

    Args:
        config: common to all trials. If its regularizer is None, the regularizer's arguments are searched
            on a ``GeometryRegularizer``; its seed decides the proposals of the first process.
        storage: a database URL such as "sqlite:///search.db" (several machines: any URL that optuna takes),
            or a path ending in .log or .journal, a file that machines with a shared file system append to.
        name: of the study.
        trials: complete trials in total, at least 1.
        seeds: of training, data order and splits.
        space: parameter -> optuna distribution, ``default_space()`` by default. A parameter is an argument of
            the regularizer, a field of ``TrainConfig`` such as "learning_rate", or "paradigm_options.NAME".
        jobs: processes with one thread each.
        progress: whether to print a line per trial to stderr.

    Returns:
        ``trials_table`` of the study.

    Raises:
        ModuleNotFoundError: without optuna.
        ValueError: a bad argument, a storage that cannot be opened, or a study of another config, space,
            seeds or data under this name.
        RuntimeError: if ten trials in a row diverge, or the workers were killed.
    """
    _optuna()
    for argument, value in {"trials": trials, "jobs": jobs, "len(seeds)": len(seeds)}.items():
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}.")
    space = default_space() if space is None else dict(space)
    if not space:
        raise ValueError("space is empty: name at least one parameter to search.")
    for end in (0, -1):  # an unknown name or a bound out of range is reported before anything is trained
        _applied(config, {parameter: _ends(d)[end] for parameter, d in space.items()})
    data = {seed: load(config.dataset, seed=seed, **config.dataset_options) for seed in seeds}
    study = _study(storage, name, config.seed)
    _claim(study, config, list(seeds), space, [data[seed].fingerprint for seed in seeds])
    if len(_complete(study)) >= trials:
        return _table(study)
    if jobs == 1:
        _work(study, config, space, data, trials, progress)
        return _table(study)
    shared = {"storage": storage, "name": name, "trials": trials, "seeds": seeds, "space": space,
              "progress": progress}  # fmt: skip
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers, which start after it is set
    start = partial(get_context("spawn").Process, target=search, args=(config,), kwargs=shared, daemon=True)
    workers = [start() for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:  # the others continue if one is killed
        worker.join()
    if len(_complete(study)) < trials:
        raise RuntimeError(
            f"the workers ended after {len(_complete(study))} of {trials} trials, killed or with the error "
            "above: run the same search again to continue."
        )
    return _table(study)


def best_config(config: TrainConfig, storage: str, name: str) -> TrainConfig:
    """Return ``config`` with the best trial's parameters: highest accuracy, then lowest cross-entropy.

    Raises:
        ValueError: if the study was made from another config or has no complete trial.
    """
    study = _study(storage, name)
    if study.user_attrs.get("config") != config.key:
        raise ValueError(f"the study {name!r} was made from another config: give the config it searched.")
    return _applied(config, _best(study).params)


def trials_table(storage: str, name: str) -> pd.DataFrame:
    """Return one row per trial.

    Columns: trial, state ("complete", "diverged", "failed", "running"), value (mean fused validation
    accuracy), cross_entropy (validation, nats), each parameter, seconds, note.
    """
    return _table(_study(storage, name))


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ModuleNotFoundError(
            "a search needs optuna, which is not installed: pip install 'geomreg-mini[scale]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the printed lines and the table have all of it
    return optuna


def _ends(distribution: optuna.distributions.BaseDistribution) -> tuple:
    return getattr(distribution, "choices", None) or (distribution.low, distribution.high)


def _applied(config: TrainConfig, parameters: Mapping[str, Any]) -> TrainConfig:
    """Return ``config`` with these values in the fields and arguments of these names."""
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
                f"space names {name!r}, which cannot be searched: name an argument of "
                f"{type(regularizer).__name__}, a field of TrainConfig such as 'learning_rate', or "
                "'paradigm_options.NAME'."
            )
    if chosen:
        changes["regularizer"] = type(regularizer)(**{**arguments, **chosen})
    return dataclasses.replace(config, paradigm_options=options, **changes)


def _study(storage: str, name: str, seed: int | None = None) -> optuna.Study:
    """Return the study; create it, with proposals by ``seed``, if it does not exist and ``seed`` is given."""
    optuna = _optuna()
    shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", storage)  # a message must not show a password
    if storage.rstrip("/") == "sqlite:" or ":memory:" in storage:
        raise ValueError(f"storage={shown!r} would be lost with this process: name a file.")
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar and the heartbeat
    try:
        if storage.endswith((".log", ".journal")):
            from optuna.storages.journal import JournalFileBackend

            backend = optuna.storages.JournalStorage(JournalFileBackend(storage))
        else:
            # sqlite gives up after five seconds by default, too early if workers share a slow disk.
            patience = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
            backend = optuna.storages.RDBStorage(
                storage, patience, heartbeat_interval=HEARTBEAT, grace_period=2 * HEARTBEAT
            )
        names = optuna.get_all_study_names(backend)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(". ")
        raise ValueError(
            f"storage={shown!r} cannot be opened ({reason.replace(storage, shown)}): give a URL such as "
            "sqlite:///search.db, or a path ending in .log or .journal in a folder that exists."
        ) from error
    if seed is None and name not in names:
        raise ValueError(f"{shown} has no study {name!r}; it has {', '.join(sorted(names)) or 'none'}.")

    # constant_liar: the running trials of other workers count as bad, so this one looks elsewhere.
    sampler = partial(optuna.samplers.TPESampler, constant_liar=True)
    shared = {"storage": backend, "study_name": name}
    if name not in names:
        try:
            return optuna.create_study(**shared, sampler=sampler(seed=seed), direction="maximize")
        except optuna.exceptions.DuplicatedStudyError:
            pass  # another worker was quicker, and proposes by the seed
    return optuna.load_study(**shared, sampler=sampler())


def _claim(
    study: optuna.Study, config: TrainConfig, seeds: list[int], space: Mapping, fingerprints: list[str]
) -> None:
    """Store in the study what it searches; raise ``ValueError`` if it searches something else already."""
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
                f"the study {study.study_name!r} was made with another {what}; config, seeds, space and "
                "data must stay the same: give this search another name."
            )


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _best(study: optuna.Study) -> optuna.trial.FrozenTrial:
    if not (complete := _complete(study)):
        raise ValueError(f"the study {study.study_name!r} has no complete trial yet.")
    return max(complete, key=lambda t: (t.value, -t.user_attrs["cross_entropy"], -t.number))


def _work(
    study: optuna.Study, config: TrainConfig, space: Mapping, data: Mapping, trials: int, progress: bool
) -> None:
    """Run one trial after another in this process until the study has enough."""
    from optuna.study import MaxTrialsCallback
    from optuna.trial import TrialState

    def objective(trial: optuna.Trial) -> float:
        candidate = _applied(config, {name: _suggested(trial, name, d) for name, d in space.items()})
        measured = []
        for seed, split in data.items():
            try:
                record = fit(dataclasses.replace(candidate, seed=seed), data=split, progress=False)
            except FloatingPointError as error:
                trial.set_user_attr("note", str(error))
                # Pruned, not failed: the sampler learns from this trial, and it ignores failed ones.
                raise _optuna().TrialPruned(str(error)) from error
            measured.append([record.metrics[f"validation/{q}/fused"] for q in ("accuracy", "cross_entropy")])
        value, cross_entropy = (sum(column) / len(measured) for column in zip(*measured, strict=True))
        trial.set_user_attr("cross_entropy", cross_entropy)
        return value

    def report(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        ended = f"diverged: {trial.user_attrs['note']}" if trial.value is None else f"{trial.value:.3f}"
        if progress:
            line = f"trial {trial.number} {ended} ({len(_complete(study))}/{trials} complete)"
            print(line, file=sys.stderr, flush=True)

    def give_up(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if {t.state for t in ended[-MOST_DIVERGED:]} == {TrialState.PRUNED} and len(ended) >= MOST_DIVERGED:
            raise RuntimeError(
                f"{MOST_DIVERGED} trials in a row diverged: lower learning_rate or set clip_norm."
            )

    def leave(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            study.stop()  # no process waits for this worker any more

    study.optimize(objective, callbacks=[report, give_up, leave, MaxTrialsCallback(trials)])


def _suggested(trial: optuna.Trial, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    suggest = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _table(study: optuna.Study) -> pd.DataFrame:
    import pandas as pd

    trials = study.get_trials(deepcopy=False)
    states = {"PRUNED": "diverged", "FAIL": "failed"}
    parameters = list(dict.fromkeys(name for trial in trials for name in trial.params))
    columns = ["trial", "state", "value", "cross_entropy", *parameters, "seconds", "note"]
    rows = [
        {"trial": trial.number, "state": states.get(trial.state.name, trial.state.name.lower()),
         "value": trial.value, "cross_entropy": trial.user_attrs.get("cross_entropy"), **trial.params,
         "seconds": trial.duration and trial.duration.total_seconds(),
         "note": trial.user_attrs.get("note", "")}
        for trial in trials
    ]  # fmt: skip
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
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.search", description=(__doc__ or "").split("\n")[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="JSON of a TrainConfig, or a record")
    what.add_argument("--dataset", help="a data set, with the default config")
    words = "npz of your own data, with the default config; see MultimodalDataset.from_npz"
    what.add_argument("--data-file", dest="dataset", metavar="FILE", help=words)
    add = parser.add_argument
    add("--paradigm", help="instead of the config's")
    add("--epochs", type=int, help="instead of the config's")
    add("--storage", required=True, help="sqlite:///FILE, another database's URL, or FILE.log")
    add("--name", required=True, help="of the study; the same name continues it")
    add("--trials", type=int, default=20, help="complete trials in total (default: %(default)s)")
    add("--seeds", type=int, nargs="+", default=[0], help="trained in every trial (default: 0)")
    add("--jobs", type=int, default=1, help="processes, one thread each (default: %(default)s)")
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
