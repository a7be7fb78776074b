"""The declaration of an experiment: its runs, the choices on validation, and the comparisons.

A *cell* is one situation, such as a regime of labels and noise, with its seeds. In it, *arms* compete. Each
arm has *settings*, and validation picks one of them for each seed. A gain is the difference of two picked
runs, paired by seed. A cell with *development seeds* picks on these alone, once for each arm, and its own
seeds test what was picked. A protocol is a ``Study`` and one line that runs it; this is a whole one:

    BANDS = {radius: GeometryRegularizer(**MODERATE | {"radius": radius}) for radius in (0.2, 0.8)}
    RATES = {f"rate-{rate}": {"learning_rate": rate} for rate in (0.02, 0.05)}
    STUDY = Study(
        name="radius",
        path="{paradigm}/seed{seed}/{arm}-{setting}.json",
        cells=tuple(
            Cell(
                {"paradigm": paradigm},
                UNSEEN_SPEAKERS | {"paradigm": paradigm},
                {
                    "none": Arm(RATES),
                    "band": Arm({f"{r}": {"regularizer": band} for r, band in BANDS.items()}, start="none"),
                },
                seeds=range(5),
            )
            for paradigm in ("joint", "dgl")
        ),
        against="none",
    )
    if __name__ == "__main__":
        sys.exit(STUDY.main())

``python -m experiments.NAME`` then trains into ``results/NAME`` and continues after an interruption;
``--summary``, ``--csv`` and ``--figure`` show the records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from geomreg_mini.data import MultimodalDataset
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

from . import manifest
from .judging import paired_gain
from .sweeps import load_or_train, load_record, work_through
from .together import fit_together

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SELECTION = "validation/accuracy/fused"
# Settings of the regularizer that several studies train.
GENTLE = {"dispersion_weight": 0.1, "anchoring_weight": 0.5, "temperature": 0.5, "radius": 0.6}
MODERATE = {"dispersion_weight": 0.05, "anchoring_weight": 2.0, "temperature": 0.5, "radius": 0.4}
TIGHT = {"dispersion_weight": 0.02, "anchoring_weight": 5.0, "temperature": 1.0, "radius": 0.3}
# The regime of the studies that keep to one, as fields of ``TrainConfig``.
_SPOKEN = {"source": "spoken", "protocol": "unseen_speakers", "labels": None, "image_noise": 0.8}
UNSEEN_SPEAKERS: dict[str, Any] = {
    "dataset": "digits", "dataset_options": _SPOKEN, "epochs": 12, "evaluate_every": 2,
}  # fmt: skip
WATCHED = ("dose", "active", "alpha")  # series of training of which the mean over epochs is kept
FROZEN = "frozen"  # the name of the setting that an arm is tested with, after development
Fields = Mapping[str, Any]  # of ``TrainConfig``


@dataclass(frozen=True)
class Arm:
    """One competitor: ``settings`` maps names to fields of ``TrainConfig``; validation picks one per seed.

    Attributes:
        settings: in the order of training; the first of equals is picked.
        start: an earlier arm of the cell, whose picked setting this arm's settings add to; "" for none.
        shares: (arm, setting) of earlier arms that this arm may pick too, before its own.
    """

    settings: Mapping[str, Fields]
    start: str = ""
    shares: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cell:
    """One situation: ``columns`` name it in tables, ``config`` is common to its runs, without the seed.

    With ``development`` seeds, every setting is trained on these, and ``seeds`` train one setting of each
    arm: the one with the best mean over the development seeds. Such arms neither start from others nor share.
    """

    columns: Mapping[str, Any]
    config: Fields
    arms: Mapping[str, Arm]
    seeds: Sequence[int]
    development: Sequence[int] = ()

    def tuning(self) -> Cell:
        """Return the cell of the development seeds, with every setting."""
        return replace(self, seeds=self.development, development=())

    def testing(self, settings: Mapping[str, str] | None = None) -> Cell:
        """Return the cell of the other seeds, with arm -> picked setting; None for the names of files."""
        arms = {
            name: Arm({FROZEN: {} if settings is None else arm.settings[settings[name]]})
            for name, arm in self.arms.items()
        }
        return replace(self, arms=arms, development=())


def best(records: Mapping[str, Record], metric: str = SELECTION) -> str:
    """Return the name of the record with the highest ``metric``, the first of equals."""
    return max(records, key=lambda name: records[name].metrics[metric])


@dataclass(frozen=True)
class Study:
    """A protocol.

    Attributes:
        name: of its module, and of its folder below ``results`` unless ``folder`` says another.
        path: of a record below the folder, with the cell's columns, {seed}, {arm} and {setting} in braces.
        cells: those of the tables.
        against: the arm that the others are compared with, or a mapping from each arm to its baseline.
        later: cells that were added after the tables were seen; they are trained, and loaded on request.
        selection: the metric of validation that picks.
        keep_diverged: whether a training that diverges is recorded as an outcome.
        folder: of the records.
        kept: the quantities that are recorded, see ``load_or_train``; by default all.
        together: runs of a cell and seed that ``fit_together`` trains at a time; of arms that neither start
            from others nor share. In development it measures validation alone.
    """

    name: str
    path: str
    cells: tuple[Cell, ...]
    against: str | Mapping[str, str]
    later: tuple[Cell, ...] = ()
    selection: str = SELECTION
    keep_diverged: bool = False
    folder: str = ""
    kept: tuple[str, ...] = ()
    together: int = 1

    # Training

    def file(self, cell: Cell, seed: int, arm: str, setting: str) -> str:
        """Return the path of a record below the folder, in characters that make can read."""
        filled = self.path.format(**cell.columns, seed=seed, arm=arm, setting=setting)
        return filled.replace(" ", "_").replace("=", "-")

    def files(self, cells: Sequence[Cell] | None = None) -> list[str]:
        """Return the path of every record of ``cells``, by default of all, once."""
        cells = self._plain(self.cells + self.later if cells is None else cells)
        places = (place for cell in cells for seed in cell.seeds for place in self._files(cell, seed))
        return list(dict.fromkeys(places))

    @staticmethod
    def _plain(cells: Sequence[Cell]) -> list[Cell]:
        """Return each cell, or its two parts if it has development seeds, for the names of files."""
        parts = ((cell.tuning(), cell.testing()) if cell.development else (cell,) for cell in cells)
        return [part for own in parts for part in own]

    def _files(self, cell: Cell, seed: int) -> list[str]:
        return [self.file(cell, seed, arm, name) for arm, own in cell.arms.items() for name in own.settings]

    def walk(
        self, cell: Cell, seed: int, get: Callable[[str, TrainConfig], Record]
    ) -> dict[str, dict[str, Record]]:
        """Return the records of a cell and seed as arm -> setting -> record, in the protocol's order.

        ``get(file, config)`` trains or reads a run. It is called for later arms once the earlier ones are
        known, because their picked settings become part of the config.
        """
        found: dict[str, dict[str, Record]] = {}
        for name, arm in cell.arms.items():
            start: Fields = {}
            if arm.start:
                start = cell.arms[arm.start].settings[best(found[arm.start], self.selection)]
            records = {setting: found[other][setting] for other, setting in arm.shares}
            for setting, fields in arm.settings.items():
                config = TrainConfig(**{**cell.config, **start, **fields}, seed=seed)
                records[setting] = get(self.file(cell, seed, name, setting), config)
            found[name] = records
        return found

    def train(self, folder: str | Path, *, jobs: int = 2, test: bool = True) -> None:
        """Train the runs that are not recorded below ``folder``, in ``jobs`` processes of one thread each.

        Development comes first; without ``test`` nothing else is trained of a cell that has it.
        """
        cells = self.cells + self.later
        stages = [[cell.tuning() if cell.development else cell for cell in cells]]
        if test and any(cell.development for cell in cells):
            stages.append([cell for cell in cells if cell.development])
        for stage in stages:
            stage = [cell.testing(self.frozen(folder, cell)) if cell.development else cell for cell in stage]
            units = list(self._units(stage))
            total = sum(len(self._files(cell, seed)) for cell, seed in units)
            work_through(self.train_cell, [(*unit, Path(folder)) for unit in units], total=total, jobs=jobs)

    def scores(self, folder: str | Path, cell: Cell) -> pd.Series:
        """Return the mean of ``selection`` over the development seeds of a cell, by arm and setting.

        Raises:
            FileNotFoundError: naming the records of development that are missing.
        """
        frame = self.load(folder, [cell.tuning()])
        return frame.groupby(["arm", "setting"], sort=False)[self.selection].mean()

    def frozen(self, folder: str | Path, cell: Cell) -> dict[str, str]:
        """Return arm -> the setting with the best of ``scores``, the first of equals."""
        scores = self.scores(folder, cell)
        return {arm: str(scores[arm].idxmax()) for arm in cell.arms}

    def train_cell(self, cell: Cell, seed: int, folder: Path) -> int:
        """Train the missing runs of a cell and seed; return the number of all its runs."""
        from geomreg_mini.data import load

        data = load(cell.config["dataset"], seed=seed, **cell.config["dataset_options"])
        if self.together > 1:
            self._train_together(cell, seed, data, folder)

        self.walk(cell, seed, lambda file, config: self.run(folder / file, config, data))
        return len(self._files(cell, seed))

    def run(self, path: Path, config: TrainConfig, data: MultimodalDataset) -> Record:
        """Return the record at ``path``; train it if it is missing. A study may record more than this."""
        return load_or_train(path, config, data, keep_diverged=self.keep_diverged, kept=self.kept)

    def _train_together(self, cell: Cell, seed: int, data: MultimodalDataset, folder: Path) -> None:
        runs = [
            (path, setting == FROZEN, TrainConfig(**{**cell.config, **fields}, seed=seed))
            for name, arm in cell.arms.items() for setting, fields in arm.settings.items()
            if not (path := folder / self.file(cell, seed, name, setting)).exists()
        ]  # fmt: skip
        for start in range(0, len(runs), self.together):
            paths, tested, configs = zip(*runs[start : start + self.together], strict=True)
            for path, record in zip(paths, fit_together(configs, data, test=all(tested)), strict=True):
                record.save(path)

    def _units(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, int]]:
        """Yield (cell, seed), seed by seed, with each record in one unit, so that no two processes train it.

        A cell in which one run depends on another stays whole.
        """
        claimed: set[str] = set()
        for seed in sorted({seed for cell in cells for seed in cell.seeds}):
            for cell in (cell for cell in cells if seed in cell.seeds):
                if not any(arm.start or arm.shares for arm in cell.arms.values()):
                    arms = {
                        name: Arm({s: fields for s, fields in arm.settings.items()
                                   if self.file(cell, seed, name, s) not in claimed})
                        for name, arm in cell.arms.items()
                    }  # fmt: skip
                    cell = replace(cell, arms=arms)
                claimed.update(files := self._files(cell, seed))
                if files:
                    yield cell, seed

    # Records

    def missing(self, folder: str | Path, cells: Sequence[Cell] | None = None) -> list[str]:
        """Return the files of ``files(cells)`` that are not below ``folder``."""
        return [file for file in self.files(cells) if not (Path(folder) / file).exists()]

    def load(
        self, folder: str | Path, cells: Sequence[Cell] | None = None, *, partial: bool = False
    ) -> pd.DataFrame:
        """Return one row per run: the cell's columns, seed, arm, setting, ``selected``, and every metric.

        A shared run has a row for each arm that may pick it. "test/QUANTITY/mean" is the mean over modalities
        or pairs, without "fused" and "joint"; train/dose, train/active and train/alpha are means over epochs.

        Args:
            folder: of the records.
            cells: by default those of the tables.
            partial: leave out each cell and seed that lacks a record, instead of raising.

        Raises:
            FileNotFoundError: naming the records that are missing.
            ValueError: naming a record that is damaged, out of range or of another config.
        """
        import pandas as pd

        folder, cells = Path(folder), self.cells if cells is None else cells
        missing = set(self.missing(folder, cells))
        rows = []
        for cell, seed in self._known(folder, cells, missing):
            if missing and not (partial and missing.isdisjoint(self._files(cell, seed))):
                continue
            found = self.walk(cell, seed, lambda file, config: load_record(folder / file, config))
            for arm, records in found.items():
                picked = best(records, self.selection)
                for setting, record in records.items():
                    row = {**cell.columns, "seed": seed, "arm": arm, "setting": setting}
                    rows.append({**row, "selected": setting == picked, **values(record)})
        if not rows:
            raise FileNotFoundError(
                f"no complete records below {folder}: {manifest.some(sorted(missing))} missing; run "
                f"'python -m experiments.{self.name}' first."
            )
        return pd.DataFrame(rows)

    def _known(
        self, folder: Path, cells: Sequence[Cell], missing: Collection[str]
    ) -> Iterator[tuple[Cell, int]]:
        """Yield (cell, seed), with what was picked in development; without its records, no such cell."""
        for cell in cells:
            if cell.development:
                if not set(self.files([cell.tuning()])).isdisjoint(missing):
                    continue
                cell = cell.testing(self.frozen(folder, cell))
            yield from ((cell, seed) for seed in cell.seeds)

    def state(self, folder: str | Path, cells: Sequence[Cell] | None = None) -> str:
        """Return in words whether the records of ``cells`` are complete and those that are committed."""
        lines = [manifest.state(folder)]
        cells = self._plain(self.cells if cells is None else cells)
        if missing := set(self.missing(folder, cells)):
            lines.append(f"Missing: {manifest.some(sorted(missing))}.")
            out = [
                " ".join([*map(str, cell.columns.values()), f"seed {seed}"]) for cell in cells
                for seed in cell.seeds if not missing.isdisjoint(self._files(cell, seed))
            ]  # fmt: skip
            lines.append(f"Left out of the tables: {manifest.some(out)}.")
        return "\n".join(lines)

    # Comparisons

    def gains(
        self,
        frame: pd.DataFrame,
        metric: str,
        *,
        by: Sequence[str] | None = None,
        against: str | Mapping[str, str] | None = None,
        setting: str | None = None,
        reference: pd.DataFrame | None = None,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """Return the picked run of each arm minus that of its baseline, paired by seed.

        Args:
            frame: of ``load``, or some of its rows.
            metric: a column, such as "test/accuracy/fused".
            by: columns that make a row, by default those of the cell. With fewer, cells that share them are
                averaged within each seed before seeds are compared.
            against: instead of the study's own ``against``.
            setting: one setting for all seeds instead of the picked one; the baseline stays picked.
            reference: rows in which the baseline is found, by default those of ``frame``.
            level: coverage of the intervals.

        Returns:
            One row for each arm and value of ``by``: these columns, ``arm``, ``mean``, ``low``, ``high`` and
            ``baseline`` in the metric's unit, ``seeds``, and ``detectable`` (see ``paired_gain``). An arm
            that lacks the metric has no row.

        Raises:
            ValueError: if nothing is compared, or if the baseline lacks a seed that the arm has.
        """
        import pandas as pd

        by = list(self.cells[0].columns if by is None else by)
        against = self.against if against is None else against
        if isinstance(against, str):
            against = {arm: against for arm in frame["arm"].unique() if arm != against}
        reference = frame if reference is None else reference
        chosen = frame["selected"] if setting is None else frame["setting"] == setting
        rows = []
        for arm, baseline in against.items():
            ours = _by_seed(frame[(frame["arm"] == arm) & chosen], metric, by)
            theirs = _by_seed(reference[(reference["arm"] == baseline) & reference["selected"]], metric, by)
            for key, values in ours.items():
                if lacking := sorted(set(values) - set(known := theirs.get(key, {}))):
                    raise ValueError(
                        f"{baseline!r} lacks seeds {lacking} that {arm!r} has in {key}: record them, or "
                        "leave them out of both."
                    )
                paired = {seed: known[seed] for seed in values}
                cell = {**dict(zip(by, key, strict=True)), "arm": arm}
                rows.append({**cell, **paired_gain(values, paired, level)})
        if not rows:
            raise ValueError(
                f"{metric}: there is nothing to compare with {sorted(set(against.values()))}; choose arms "
                f"among {', '.join(frame['arm'].unique())}."
            )
        return pd.DataFrame(rows)

    def summary(self, frame: pd.DataFrame) -> str:
        """Return the gains in the test twin of the selecting metric as a Markdown table, in points."""
        import pandas as pd

        found = self.gains(frame, "test/" + self.selection.partition("/")[2])
        columns = {name: found[name].astype(str) for name in (*self.cells[0].columns, "seeds")}
        columns["baseline"] = [f"{100 * value:.1f}" for value in found["baseline"]]
        columns["gain"] = [change(row) for row in found.to_dict("records")]
        columns["would have seen"] = [f"{100 * value:.1f}" for value in found["detectable"]]
        return markdown(pd.DataFrame(columns).set_axis(found["arm"]), "arm")

    # The command

    def main(
        self,
        summary: Callable[[pd.DataFrame], str] | None = None,
        figure: Callable[[pd.DataFrame], Figure] | None = None,
        arguments: list[str] | None = None,
        *,
        after: Callable[[Path], None] | None = None,
    ) -> int:
        """Run the study's command line and return its exit status.

        ``summary`` and ``figure`` show a loaded frame; ``after(folder)`` is called when all is trained.
        """
        parser = argparse.ArgumentParser(prog=f"python -m experiments.{self.name}")
        add = parser.add_argument
        folder = self.folder or f"results/{self.name}"
        add("--out", default=folder, type=Path, help="folder of the records (default: %(default)s)")
        add("--jobs", type=int, default=2, help="processes at a time, one thread each (default: %(default)s)")
        if any(cell.development for cell in self.cells + self.later):
            add("--development", action="store_true", help="train the development seeds only")
        add("--summary", action="store_true", help="print a table of the records, train nothing")
        add("--csv", metavar="FILE", help="write the gains of every test metric, train nothing")
        if figure is not None:
            add("--figure", metavar="FILE", help="draw the records, train nothing")
        options = vars(parser.parse_args(arguments))
        shown = {name: options.get(name) for name in ("summary", "csv", "figure")}
        from data_scripts.fetch import DataError

        try:
            if not any(shown.values()):
                test = not options.get("development")
                self.train(options["out"], jobs=options["jobs"], test=test)
                if test and after is not None:
                    after(options["out"])
                return 0
            frame = self.load(options["out"], partial=True)
            if shown["summary"]:
                print((summary or self.summary)(frame))
                if not any(cell.development for cell in self.cells):
                    print(f"\n{self.edges(frame)}")
            if shown["csv"]:
                self.table(frame).to_csv(shown["csv"], index=False)
            if shown["figure"]:
                figure(frame).savefig(shown["figure"])
            print(f"\n{self.state(options['out'])}")
        except KeyboardInterrupt:
            every, left = len(self.files()), len(self.missing(options["out"]))
            print(
                f"stopped; {every - left:,} of {every:,} records are written; run the same command to "
                "continue",
                file=sys.stderr,
            )
            return 130
        except (DataError, OSError, ValueError, RuntimeError, FloatingPointError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            return 1
        return 0

    def edges(self, frame: pd.DataFrame) -> str:
        """Return in words which numbers arms picked at an end of the values on offer, in half of the cases.

        Better values may lie beyond such an end. Each cell and seed is a case. Studies with development seeds
        say it in their own tables.

        Args:
            frame: of ``load``.
        """
        picks: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
        for cell in self.cells:
            here = frame[frame["selected"]]
            for name, value in cell.columns.items():
                here = here[here[name] == value]
            for arm, own in cell.arms.items():
                offered = {s: cell.arms[other].settings[s] for other, s in own.shares} | dict(own.settings)
                numbers = {s: _numbers(TrainConfig(**{**cell.config, **f})) for s, f in offered.items()}
                for axis in set.intersection(*map(set, numbers.values())):
                    values = {found[axis] for found in numbers.values()}
                    for setting in here.loc[here["arm"] == arm, "setting"] if len(values) > 1 else ():
                        value = numbers[setting][axis]
                        picks.setdefault((arm, axis), []).append((value == min(values), value == max(values)))
        found: dict[str, list[str]] = {}
        for (arm, axis), cases in sorted(picks.items()):
            for end, hits in zip(("lowest", "highest"), map(sum, zip(*cases, strict=True)), strict=True):
                if 2 * hits >= len(cases):
                    words = axis.replace("_", " ")
                    found.setdefault(arm, []).append(f"{words} {end} in {hits} of {len(cases)}")
        said = "; ".join(f"{arm}: {', '.join(parts)}" for arm, parts in found.items())
        return f"Picked at an end of the values on offer: {said or 'none'}."

    def table(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the gains in every test metric, one row per metric, cell and arm."""
        import pandas as pd

        metrics = [name for name in frame if str(name).startswith("test/")]
        return pd.concat([self.gains(frame, name).assign(metric=name) for name in metrics])


def _numbers(config: TrainConfig) -> dict[str, float]:
    """Return the numbers of a config and of its regularizer by name."""
    whole = config.to_dict()
    whole |= whole.pop("paradigm_options", None) or {}
    whole |= whole.pop("regularizer", None) or {}
    return {name: x for name, x in whole.items() if isinstance(x, (int, float)) and not isinstance(x, bool)}


def values(record: Record) -> dict[str, float]:
    """Return a record's metrics, their means over modalities or pairs, and the watched means of training."""
    found, places = dict(record.metrics), {}
    for name, value in record.metrics.items():
        split, quantity, place = name.split("/")
        if split == "test" and place not in ("fused", "joint"):
            places.setdefault(quantity, []).append(value)
    found |= {f"test/{quantity}/mean": sum(own) / len(own) for quantity, own in places.items()}
    for name, series in record.series.items():
        known = [value for value in series if value is not None]
        if known and name.startswith(tuple(f"train/{quantity}/" for quantity in WATCHED)):
            found[name] = fmean(known)
    return found


def _by_seed(rows: pd.DataFrame, metric: str, by: list[str]) -> dict[tuple, dict[int, float]]:
    """Return key of ``by`` -> seed -> mean of the metric; a key that lacks the metric is left out."""
    groups = rows.groupby(by, sort=False) if by else [((), rows)] if len(rows) else []
    found = {key: part.groupby("seed")[metric].mean() for key, part in groups}
    for key, values in found.items():
        if values.isna().any() and values.notna().any():
            lacking = list(values.index[values.isna()])
            raise ValueError(f"{metric} is not recorded for seeds {lacking} of {key}: leave these seeds out.")
    return {key: values.to_dict() for key, values in found.items() if values.notna().all()}


def change(row: Mapping[str, float], scale: float = 100, digits: int = 1) -> str:
    """Return a row of ``gains`` as text, such as "+1.2 [-0.5, +2.9]"; ``scale`` 100 gives points."""
    mean, low, high = (f"{scale * row[name]:+.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def markdown(table: pd.DataFrame, names: str) -> str:
    """Return a table of texts in Markdown, with its row names below the heading ``names``."""
    lines = [[names, *table.columns], ["---"] * (len(table.columns) + 1)]
    lines += [[name, *texts] for name, texts in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
