"""The replication report: every number of the paper beside ours, and the rule by which each is judged.

The rule, written down before any of the paper's benchmarks was run:

A *number* of the paper stands beside the mean over seeds of our runs, made in the paper's way where its way
is known (``protocol``), with a 95 % interval over seeds.

- *replicated*: our interval, widened at both ends, holds the paper's number, and neither half of it is longer
  than three points (``SHARP``; for what is not in percent, a quarter of the number), since an interval that
  holds everything replicates nothing. It is widened by the paper's own spread; where there is none, by the
  standard deviation of our runs, because a number without a spread may be a single run; for a number read
  off a figure, by a tenth of it, and if it is in percent by one point (``READING``) at most.
- *replicated in direction*: not that, but the difference to the reference row of the same table (DGL, or
  what stands for it: ``REFERENCE``), paired by seed, has the paper's sign, and its interval leaves zero out.
- *not replicated*: neither.

A *gain* is what the regularizer adds to the reference row. Ours is paired by seed, and validation picks the
epoch in both arms: a claim is judged where it can fail.

- *replicated*: its interval leaves zero out on the paper's side and holds the paper's gain.
- *replicated in direction*: it leaves zero out on the paper's side. More is not possible where the paper's
  values were read off a figure, or where our runs are on top of another baseline.
- *not replicated*: neither; ``reason`` says whether our interval rules the paper's gain out or is too wide.

*Not run (needs data or GPU)*: fewer than three seeds (``SEEDS``) are recorded, or they are of generated
stand-ins, or of other epochs than the recipe's. *Not possible (not public)*: what one would have to run, or
the number itself, was not seen in public.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .benchmarks import load_runs
from .paper import READ_OFF, published
from .paradigm_table import NAMES
from .recipes import RECIPES

if TYPE_CHECKING:
    import pandas as pd

REPLICATED = "replicated"
DIRECTION = "replicated in direction"
FAILED = "not replicated"
NOT_RUN = "not run (needs data or GPU)"
NOT_PUBLIC = "not possible (not public)"
STATUSES = (REPLICATED, DIRECTION, FAILED, NOT_RUN, NOT_PUBLIC)

SEEDS = 3  # with fewer there is no interval worth the name
SHARP = 3.0  # points; for quantities that are not in percent a quarter of the paper's number
READING = 1.0  # points by which an accuracy that was read off a figure may be misread
COLUMNS = (
    "method", "quantity", "modality", "setting", "known", "paper", "spread", "ours", "difference", "low",
    "high", "seeds", "status", "protocol", "record", "reason",
)  # fmt: skip

RECIPE_OF = {"CREMA-D": "crema_d", "Kinetics-Sounds": "kinetics_sounds", "CUBICC": "cubicc", "XRF55": "xrf55"}
TITLES = {
    "table_1": "Table 1",
    "table_2": "Table 2",
    "table_3": "Table 3",
    "table_4": "Table 4, components",
    "table_6": "Table 6, time",
    "table_7": "Table 7, controls",
    "figure_2": "Figure 2, geometry",
    "figure_3": "Figure 3, geometry",
    "figure_7": "Figure 7, weights",
    "figure_8": "Figure 8, strength and radius",
    "figure_9": "Figure 9, robustness",
    "figure_10": "Figure 10, features dropped",
    "figure_11": "Figure 11, Gaussian noise",
    "figure_12": "Figure 12, segments missing",
    "xfi_xrf55": "X-Fi on XRF55",
}
# The row of each table that the others are compared with.
REFERENCE = {
    "table_1": "DGL",
    "table_2": "DCMEM",
    "table_3": "X-Fi",
    "table_4": "none",
    "table_6": "baseline",
    "table_7": "ours",
    "figure_2": "DGL",
    "figure_3": "DGL",
    "figure_7": "DGL",
    "figure_8": "DGL",
    "figure_9": "DGL",
    "figure_10": "X-Fi",
    "figure_11": "X-Fi",
    "figure_12": "X-Fi",
    "xfi_xrf55": "baseline",
}
# The rows that are the reference with the regularizer on top.
TREATED = {
    "table_1": ("DGL + DAGR",),
    "table_2": ("DCMEM + DAGR",),
    "table_3": ("X-Fi + DAGR",),
    "table_4": ("dispersion", "anchoring", "both"),
    "figure_2": ("DGL + dispersion", "DGL + DAGR"),
    "figure_3": ("DGL + DAGR",),
    "figure_7": ("DGL + DAGR",),
    "figure_8": ("DGL + DAGR",),
}
GRIDS = ("figure_7", "figure_8")  # each setting is an arm of ours; their reference row stands in Table 1
DISTURBED = ("figure_9", "figure_10", "figure_11", "figure_12")  # each setting is a metric of ours
ANOTHER_BASELINE = ("DCMEM", "DCMEM + DAGR")  # DCMEM is not public, so ours are on top of something else
# Rows of Tables 4 and 7 whose arm has another name.
ARM_OF_ROW = {
    "none": "baseline",
    "both": "regularized",
    "ours": "regularized",
    "naive align": "naive_align",
    "VICReg-style": "vicreg",
    "Barlow-Twins-style": "barlow_twins",
    "unit sphere only": "unit_sphere",
}
PAPER_PICKS, WE_PICK = "test split picks the epoch", "validation picks the epoch"

# What a comparison would need and was not seen in public: (data set or table, what is missing).
UNPUBLISHED = (
    ("Flickr30K", "v3's retrieval table: recall@1, @5 and @10 in both directions for three CLIP models"),
    ("MS-COCO", "the same, and whether on 1,000 or 5,000 images"),
    ("CUBICC", "code and recipe of DCMEM, the baseline of Table 2"),
    ("all", "the value of t in Eq. (4), and Eq. (8), which solves for the Pareto step's coefficient"),
    ("all", "which setting of Figures 7 and 8 gives Table 1, and whether there is a warm-up"),
    ("all", "the number of seeds behind a spread, what the spread is, and the authors' code"),
)


@dataclass(frozen=True)
class Ours:
    """Our side of a number: value by seed, in the paper's unit, and where it comes from."""

    values: dict[int, float]
    protocol: str = ""
    record: str = ""
    missing: str = "nothing is recorded"  # why there are no values, where there are none


def arm_of(table: str, method: str, own: str) -> tuple[str, str] | None:
    """(paradigm, arm) of our runs beside a row of the paper, or None where we train no such thing.

    ``own`` is the paradigm of the benchmark's recipe.
    """
    base, _, terms = method.partition(" + ")
    arm = {"": "baseline", "DAGR": "regularized"}.get(terms, terms)
    if table in ("table_4", "table_7"):
        return "dgl", ARM_OF_ROW.get(method, method)
    if table == "table_2":
        return (own, arm) if base == "DCMEM" else None
    if table == "table_6":
        return None
    if base == "X-Fi" and table != "xfi_xrf55":
        return own, arm
    if table == "xfi_xrf55":
        return {"X-Fi": own, "baseline": "unimodal"}[method], "baseline"
    known = {name: paradigm for paradigm, name in NAMES.items()}
    return (known[base], arm) if base in known else None


def own_paradigm(dataset: str, recorded: Sequence[str] = ()) -> str:
    """The paradigm of the data set's recipe, or where it has none the first that is recorded."""
    name = RECIPE_OF[dataset]
    return RECIPES[name].config.paradigm if name in RECIPES else (*recorded, "")[0]


def metric(quantity: str, modality: str, split: str = "test") -> str:
    """Our metric for a number of the paper."""
    names = {"ACC": "cluster_accuracy", "multi": "fused"}
    return f"{split}/{names.get(quantity, quantity.lower())}/{names.get(modality, modality)}"


def _candidates(quantity: str, modality: str, split: str) -> list[list[str]]:
    """Metrics for a number of the paper, the preferred first; of several in one place the mean is taken."""
    if quantity == "accuracy":
        # X-Fi averages over batches. What DGL's code calls the accuracy of a modality gives it all of the
        # head's bias.
        names = ("batch_accuracy", "accuracy_alone", "accuracy")
        return [[metric(name, modality, split)] for name in names]
    if modality:
        return [[metric(quantity, modality, split)]]
    places = ["audio", "visual"] if quantity == "effective_rank" else ["audio-visual"]
    if quantity == "semantic_margin":  # the paper does not state of which representation
        places = ["joint"]
    places += ["visual-audio"] if quantity.startswith("recall@") else []
    return [[metric(quantity, place, split) for place in places]]


def _scale(quantity: str) -> float:
    """Ours are shares where the paper's are percent."""
    percent = quantity in ("ACC", "NMI", "ARI") or quantity.startswith(("accuracy", "recall@"))
    return 100.0 if percent else 1.0


Place = tuple[str, str, str]  # quantity, modality and setting of a number


@dataclass(frozen=True)
class Recorded:
    """What is recorded for one table and data set of the paper; ``runs`` may be None."""

    runs: pd.DataFrame | None
    table: str
    dataset: str
    folder: str

    def of(self, method: str, place: Place, splits: Sequence[str]) -> Ours:
        """Return our side of a number, of the first of ``splits`` that has it."""
        quantity, modality, setting = place
        known = [] if self.runs is None else list(dict.fromkeys(self.runs["paradigm"]))
        cell = arm_of(self.table, method, own_paradigm(self.dataset, known))
        if cell is None:
            return Ours({}, missing="this project neither trains nor times it")
        if not known:
            return Ours({})
        paradigm, arm = cell
        arm = setting if setting and self.table in GRIDS else arm
        quantity = f"{quantity}_{setting}" if setting and self.table in DISTURBED else quantity
        rows = self.runs[(self.runs["paradigm"] == paradigm) & (self.runs["arm"] == arm)].set_index("seed")
        for split in splits:
            for columns in _candidates(quantity, modality, split):
                if rows.empty or not set(columns) <= set(rows.columns):
                    continue
                values = rows[columns].mean(axis=1, skipna=False).dropna() * _scale(quantity)
                if len(values):
                    protocol = PAPER_PICKS if split == "test_selected" else WE_PICK
                    record = "/".join(filter(None, [self.folder, paradigm, "seed*", f"{arm}.json"]))
                    return Ours({int(k): float(v) for k, v in values.items()}, protocol, record)
        return Ours({})

    def unlike(self) -> str:
        """Why the runs are not the benchmark's, or "" where they are: generated data, or other epochs."""
        if self.runs is None:
            return ""
        if "note" in self.runs and (self.runs["note"] != "").any():
            return "ours are runs on generated stand-ins"
        name = RECIPE_OF[self.dataset]
        if name in RECIPES and "epochs" in self.runs:
            epochs = RECIPES[name].config.epochs
            if (self.runs["epochs"] != epochs).any():
                return f"ours are runs of {self.runs['epochs'].min()} epochs, the recipe has {epochs}"
        return ""


def compared(
    runs: pd.DataFrame | None, table: str, dataset: str, *, folder: str = "", protocol: str = "paper"
) -> pd.DataFrame:
    """The paper's numbers of one table and data set beside ours, each judged by the rule above.

    Args:
        runs: what ``benchmarks.load_runs`` gave, or None where nothing is recorded.
        table: as in ``paper.published()``, such as "table_1" or "figure_8".
        dataset: as there: "CREMA-D", "Kinetics-Sounds", "CUBICC" or "XRF55".
        folder: of the records, put in front of ``record``.
        protocol: "paper" for numbers of the epoch that is best on the test split, where they were recorded;
            "ours" for those of the epoch that validation picked.

    Returns:
        One row a number of the paper, in its order, with ``COLUMNS``: ``paper`` and ``spread`` are theirs,
        ``ours``, ``low`` and ``high`` the mean over seeds and its 95 % interval, ``difference`` is ours minus
        theirs, ``record`` the files behind ours, and ``reason`` says in words why the status is what it is.

    Raises:
        ValueError: for a table that the paper does not have for this data set.
    """
    rows, splits = _published(table, dataset), _splits(protocol)
    recorded, reference = Recorded(runs, table, dataset, folder), REFERENCE[table]
    theirs, answer = _reference(table, dataset), []
    for row in rows.itertuples():
        mine = recorded.of(row.method, (row.quantity, row.modality, row.setting), splits)
        place = _place_of_reference(row, table)
        base = Ours({}) if row.method == reference else recorded.of(reference, place, splits)
        answer.append(_number(row, mine, base, row.mean - theirs.get(place, float("nan"))))
    return _frame(answer, recorded)


def gains(runs: pd.DataFrame | None, table: str, dataset: str, *, folder: str = "") -> pd.DataFrame:
    """What the regularizer adds to the reference row of a table: the paper's gains beside ours, judged.

    Arguments and columns as in ``compared``; ``method`` is a row of ``TREATED``, ``paper``, ``ours``, ``low``
    and ``high`` are of the gain, and validation picks the epoch in both arms.

    Raises:
        ValueError: for a table that has no gains, or that the paper does not have for this data set.
    """
    if table not in TREATED:
        raise ValueError(f"table {table!r} has no row with the regularizer: choose {', '.join(TREATED)}.")
    rows, recorded = _published(table, dataset), Recorded(runs, table, dataset, folder)
    theirs, answer = _reference(table, dataset), []
    for row in rows[rows["method"].isin(TREATED[table])].itertuples():
        place = _place_of_reference(row, table)
        mine = recorded.of(row.method, (row.quantity, row.modality, row.setting), ("test",))
        base = recorded.of(REFERENCE[table], place, ("test",))
        answer.append(_gain(row, row.mean - theirs[place], mine, base))
    return _frame(answer, recorded)


def numbers(results: str | Path) -> pd.DataFrame:
    """Every number of the paper that is public, and every gain, beside what is recorded below ``results``.

    Columns: ``table``, ``dataset``, ``kind`` ("number" or "gain"), and ``COLUMNS``.
    """
    import pandas as pd

    parts = []
    for table, dataset in published()[["table", "dataset"]].drop_duplicates().itertuples(index=False):
        name = RECIPE_OF[dataset]
        try:
            runs = load_runs(Path(results) / name)
        except FileNotFoundError:
            runs = None
        frames = {"number": compared(runs, table, dataset, folder=f"results/{name}")}
        if table in TREATED:
            frames["gain"] = gains(runs, table, dataset, folder=f"results/{name}")
        for kind, frame in frames.items():
            where = {"table": table, "dataset": dataset, "kind": kind}
            parts.append(
                pd.DataFrame({name: [value] * len(frame) for name, value in where.items()}).join(frame)
            )
    return pd.concat(parts, ignore_index=True)


def _frame(rows: list[tuple], recorded: Recorded) -> pd.DataFrame:
    """Rows with their names; runs that are not the benchmark's are shown and not judged."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if reason := recorded.unlike():
        unjudged = (frame["seeds"] > 0) & (frame["status"] != NOT_PUBLIC)
        frame.loc[unjudged, ["status", "reason"]] = NOT_RUN, reason
    return frame


def _published(table: str, dataset: str) -> pd.DataFrame:
    every = published()
    rows = every[(every["table"] == table) & (every["dataset"] == dataset)]
    if rows.empty:
        known = every[["table", "dataset"]].drop_duplicates().itertuples(index=False)
        pairs = ", ".join(f"{t} of {d}" for t, d in known)
        raise ValueError(f"the paper has no {table!r} of {dataset!r}: choose from {pairs}.")
    return rows


def _reference(table: str, dataset: str) -> dict[Place, float]:
    """Return the paper's numbers of the reference row; that of Figures 7 and 8 is DGL in Table 1."""
    rows = _published("table_1" if table in GRIDS else table, dataset)
    rows = rows[rows["method"] == REFERENCE[table]]
    return dict(zip(rows[["quantity", "modality", "setting"]].itertuples(index=False, name=None),
                    rows["mean"], strict=True))  # fmt: skip


def _place_of_reference(row, table: str) -> Place:
    return row.quantity, row.modality, "" if table in GRIDS else row.setting


def _splits(protocol: str) -> tuple[str, ...]:
    if protocol not in ("paper", "ours"):
        raise ValueError(f"protocol is {protocol!r}: choose 'paper' or 'ours'.")
    return ("test_selected", "test") if protocol == "paper" else ("test",)


def _difference(mine: Ours, base: Ours):
    """The paired interval of mine - base over the seeds that both have, or None with fewer than ``SEEDS``."""
    from geomreg_mini.evaluation import paired_interval

    shared = sorted(set(mine.values) & set(base.values))
    if len(shared) < SEEDS:
        return None
    return paired_interval([mine.values[s] for s in shared], [base.values[s] for s in shared])


def _side(value: float) -> int:
    return int(value > 0) - int(value < 0)


def _clear(interval, side: int) -> bool:
    """Whether the interval leaves zero out on the side where the paper's difference lies."""
    return interval is not None and interval.excludes_zero and _side(interval.mean) == side


def _number(row, mine: Ours, base: Ours, lead: float) -> tuple:
    """One row of ``compared``; ``lead`` is what the paper's number has more than the reference row's."""
    import numpy as np

    from geomreg_mini.evaluation import paired_interval

    nan, n = float("nan"), len(mine.values)
    values = list(mine.values.values())
    mean = float(np.mean(values)) if values else nan
    low = high = nan
    if n >= SEEDS:
        interval = paired_interval(values, [0.0] * n)
        low, high = interval.low, interval.high
    if row.method in ANOTHER_BASELINE:
        status, reason = NOT_PUBLIC, "DCMEM's code and recipe are not public; ours is another baseline"
    elif n < SEEDS:
        status, reason = NOT_RUN, _too_few(n, mine)
    else:
        sharp = SHARP if _scale(row.quantity) == 100 else abs(row.mean) / 4
        half = max(mean - low, high - mean)
        if row.spread == row.spread:
            more = row.spread
        elif row.known == READ_OFF:
            more = abs(row.mean) / 10
            more = min(more, READING) if _scale(row.quantity) == 100 else more
        else:
            more = float(np.std(values, ddof=1))
        within = low - more <= row.mean <= high + more
        if within and half <= sharp:
            status, reason = REPLICATED, "our interval, widened by the rule, holds the paper's number"
        else:
            what = "holds it but is too wide to count" if within else "does not hold the paper's number"
            status, reason = FAILED, f"our interval, widened by the rule, {what}"
            if _clear(_difference(mine, base), _side(lead)):
                status, reason = DIRECTION, f"{reason}; the difference to the reference row has its sign"
    return (row.method, row.quantity, row.modality, row.setting, row.known, row.mean, row.spread, mean,
            mean - row.mean, low, high, n, status, mine.protocol, mine.record, reason)  # fmt: skip


def _gain(row, paper: float, mine: Ours, base: Ours) -> tuple:
    """One row of ``gains``."""
    nan = float("nan")
    interval = _difference(mine, base)
    mean, low, high = (interval.mean, interval.low, interval.high) if interval else (nan, nan, nan)
    seeds = interval.n if interval else len(set(mine.values) & set(base.values))
    another, read_off = row.method in ANOTHER_BASELINE, row.known == READ_OFF
    if interval is None:
        status, reason = NOT_RUN, _too_few(seeds, mine)
    elif _clear(interval, _side(paper)):
        status, reason = DIRECTION, "our interval leaves zero out on the paper's side"
        if another:
            reason += "; on another baseline the size says nothing"
        elif read_off:
            reason += "; the paper's values were read off a figure, so the size says nothing"
        elif low <= paper <= high:
            status, reason = REPLICATED, f"{reason} and holds the paper's gain"
        else:
            reason += "; the paper's gain lies outside it"
    elif low <= 0 <= high and low <= paper <= high:
        status, reason = FAILED, "our interval holds zero and the paper's gain: it is too wide to tell"
    elif low <= 0 <= high:
        status, reason = FAILED, "our interval holds zero and rules the paper's gain out"
    else:
        status, reason = FAILED, "our interval leaves zero out on the other side"
    return (row.method, row.quantity, row.modality, row.setting, row.known, paper, nan, mean, mean - paper,
            low, high, seeds, status, mine.protocol, mine.record, reason)  # fmt: skip


def _too_few(seeds: int, mine: Ours) -> str:
    return f"{seeds} of {SEEDS} seeds are recorded" if seeds else mine.missing


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what ``compared`` or ``gains`` gave in the form of the paper's tables, as text.

    Methods (with quantities) go down and modalities across; with more than three modalities, or with several
    settings, methods go across. Each cell has the paper's number with its spread ("~" if it was read off a
    figure), ours with its interval, the difference and the status. If nothing is recorded, "ours" says so and
    stands alone.
    """
    import pandas as pd

    head, across = "method", "modality"
    if frame["modality"].nunique() > 3 or frame["setting"].any():
        head, across = across, head
    wanted = {head: frame[head].nunique() > 1, "quantity": frame["quantity"].nunique() > 1}
    levels = [name for name, yes in (wanted | {"setting": frame["setting"].any()}).items() if yes] or [head]
    digits = {quantity: max(map(_decimals, part["paper"])) for quantity, part in frame.groupby("quantity")}
    answer: dict[tuple[str, str], dict] = {}
    for row in frame.itertuples():
        places = digits[row.quantity]
        spread = f" ± {row.spread:.{places}f}" if row.spread == row.spread else ""
        interval = f" [{row.low:.{places}f}, {row.high:.{places}f}]" if row.low == row.low else ""
        status = row.status.split(" (")[0]
        cells = {"paper": "~" * (row.known == READ_OFF) + _text(row.paper, places) + spread}
        cells["ours"] = _text(row.ours, places) + interval if row.seeds else status
        if frame["seeds"].any():
            cells["difference"] = _text(row.difference, places, sign=True)
            cells["status"] = status if row.seeds else ""
        index = tuple(getattr(row, name) for name in levels)
        for name, cell in cells.items():  # no line ends within an interval
            column = answer.setdefault((getattr(row, across), name), {})
            column[index if len(levels) > 1 else index[0]] = cell.replace(" ", "\N{NO-BREAK SPACE}")
    text = pd.DataFrame(answer).fillna("")
    text.index.names = levels
    if not any(across for across, _ in answer):
        text.columns = text.columns.droplevel(0)
    return text


def _decimals(value: float) -> int:
    """Return how many decimals the paper's number has."""
    return len(f"{round(value, 6):f}".rstrip("0").partition(".")[2])


def _text(value: float, digits: int, sign: bool = False) -> str:
    return "" if value != value else f"{value:{'+' if sign else ''}.{digits}f}"
