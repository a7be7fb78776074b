"""The replication report: every number of the paper beside ours, and the rule by which each is judged.

The rule, written down before any of the paper's benchmarks was run:

A *number* of the paper stands beside the mean over seeds of our runs, made in the paper's way where its way
is known (``protocol``), with a 95 % interval over seeds.

- *replicated*: our interval, widened at both ends, holds the paper's number, and neither half of it is longer
  than three points (``SHARP``; for what is not in percent, a quarter of the number), since an interval that
  holds everything replicates nothing. It is widened by the paper's own spread; where there is none, by the
  standard deviation of our runs, because a number without a spread may be a single run; for a number read
  off a figure, by a tenth of it.
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
the number itself, is in no public text.
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
COLUMNS = (
    "method", "quantity", "modality", "paper", "spread", "ours", "difference", "low", "high", "seeds",
    "status", "protocol", "record", "reason",
)  # fmt: skip

RECIPE_OF = {"CREMA-D": "crema_d", "Kinetics-Sounds": "kinetics_sounds", "CUBICC": "cubicc", "XRF55": "xrf55"}
TITLES = {
    "table_1": "Table 1",
    "ablation": "component ablation",
    "table_2": "Table 2",
    "geometry": "geometry",
    "xfi_xrf55": "X-Fi on XRF55",
}
# The row of each table that the others are compared with.
REFERENCE = {
    "table_1": "DGL",
    "ablation": "none",
    "table_2": "DCMEM",
    "geometry": "DGL",
    "xfi_xrf55": "baseline",
}
# The rows that are the reference with the regularizer on top.
TREATED = {
    "table_1": ("DGL + DAGR",),
    "ablation": ("dispersion", "anchoring", "both"),
    "table_2": ("DCMEM + DAGR",),
    "geometry": ("DGL + dispersion", "DGL + DAGR"),
}
ANOTHER_BASELINE = ("DCMEM", "DCMEM + DAGR")  # DCMEM is not public, so ours are on top of something else
PAPER_PICKS, WE_PICK = "test split picks the epoch", "validation picks the epoch"

# What the paper reports and public text does not: (data set or table, what is missing).
UNPUBLISHED = (
    ("Flickr30K", "recall@1, @5 and @10 in both directions for three CLIP models; how they were fine-tuned"),
    ("MS-COCO", "the same, and whether on 1,000 or 5,000 images"),
    ("XRF55", "the accuracy with the regularizer; known are X-Fi's own"),
    ("CREMA-D", "accuracies of the five control objectives, and their formulas and weights"),
    ("all", "the regularizer's formulas, weights, temperature and radius, and where embeddings are taken"),
    ("all", "the number of seeds behind a spread, and code"),
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
    if table == "ablation":
        return "dgl", {"none": "baseline", "both": "regularized"}.get(method, method)
    if table == "table_2":
        return (own, arm) if base == "DCMEM" else None
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
    percent = quantity in ("accuracy", "ACC", "NMI", "ARI") or quantity.startswith("recall@")
    return 100.0 if percent else 1.0


@dataclass(frozen=True)
class Recorded:
    """What is recorded for one table and data set of the paper; ``runs`` may be None."""

    runs: pd.DataFrame | None
    table: str
    dataset: str
    folder: str

    def of(self, method: str, quantity: str, modality: str, splits: Sequence[str]) -> Ours:
        """Our side of a number; of ``splits`` the first that has it."""
        known = [] if self.runs is None else list(dict.fromkeys(self.runs["paradigm"]))
        cell = arm_of(self.table, method, own_paradigm(self.dataset, known))
        if cell is None:
            return Ours({}, missing="this project does not train the method")
        if not known:
            return Ours({})
        paradigm, arm = cell
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
        table: as in ``paper.published()``: "table_1", "ablation", "table_2", "geometry" or "xfi_xrf55".
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
    theirs = rows[rows["method"] == reference].set_index(["quantity", "modality"])["mean"]
    answer = []
    for row in rows.itertuples():
        place = (row.quantity, row.modality)
        mine = recorded.of(row.method, *place, splits)
        base = Ours({}) if row.method == reference else recorded.of(reference, *place, splits)
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
    means, answer = rows.set_index(["method", "quantity", "modality"])["mean"], []
    for row in rows[rows["method"].isin(TREATED[table])].itertuples():
        place = (row.quantity, row.modality)
        mine, base = (recorded.of(name, *place, ("test",)) for name in (row.method, REFERENCE[table]))
        answer.append(_gain(row, row.mean - means[(REFERENCE[table], *place)], mine, base))
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
        raise ValueError(f"the paper has no {table!r} of {dataset!r} in public text: choose from {pairs}.")
    return rows


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
        elif row.quantity in READ_OFF:
            more = abs(row.mean) / 10
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
    return (row.method, row.quantity, row.modality, row.mean, row.spread, mean, mean - row.mean, low, high, n,
            status, mine.protocol, mine.record, reason)  # fmt: skip


def _gain(row, paper: float, mine: Ours, base: Ours) -> tuple:
    """One row of ``gains``."""
    nan = float("nan")
    interval = _difference(mine, base)
    mean, low, high = (interval.mean, interval.low, interval.high) if interval else (nan, nan, nan)
    seeds = interval.n if interval else len(set(mine.values) & set(base.values))
    another, read_off = row.method in ANOTHER_BASELINE, row.quantity in READ_OFF
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
    return (row.method, row.quantity, row.modality, paper, nan, mean, mean - paper, low, high, seeds, status,
            mine.protocol, mine.record, reason)  # fmt: skip


def _too_few(seeds: int, mine: Ours) -> str:
    return f"{seeds} of {SEEDS} seeds are recorded" if seeds else mine.missing


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """What ``compared`` or ``gains`` gave in the form of the paper's tables, as text.

    Down go methods (and quantities), across modalities, or where there are more than three of them the other
    way round; of each the paper's number with its spread, ours with its interval, the difference and the
    status. Where nothing is recorded "ours" says so and stands alone.
    """
    import pandas as pd

    several, many = frame["quantity"].nunique() > 1, frame["modality"].nunique() > 3
    answer: dict[tuple[str, str], dict] = {}
    for row in frame.itertuples():
        digits = _digits(row.quantity)
        spread = f" ± {row.spread:.{digits}f}" if row.spread == row.spread else ""
        interval = f" [{row.low:.{digits}f}, {row.high:.{digits}f}]" if row.low == row.low else ""
        status = row.status.split(" (")[0]
        cells = {"paper": _text(row.paper, digits) + spread}
        cells["ours"] = _text(row.ours, digits) + interval if row.seeds else status
        if frame["seeds"].any():
            cells["difference"] = _text(row.difference, digits, sign=True)
            cells["status"] = status if row.seeds else ""
        down, across = (row.modality, row.method) if many else (row.method, row.modality)
        index = (down, row.quantity) if several else down
        for name, cell in cells.items():  # no line ends within an interval
            answer.setdefault((across, name), {})[index] = cell.replace(" ", "\N{NO-BREAK SPACE}")
    text = pd.DataFrame(answer).fillna("")
    head = "modality" if many else "method"
    text.index.names = [head, "quantity"] if several else [head]
    if not any(across for across, _ in answer):
        text.columns = text.columns.droplevel(0)
    return text


def _digits(quantity: str) -> int:
    known = {"accuracy": 2, "effective_rank": 1, "paired_drift": 2}
    return known.get(quantity, 1 if _scale(quantity) == 100 else 5)


def _text(value: float, digits: int, sign: bool = False) -> str:
    return "" if value != value else f"{value:{'+' if sign else ''}.{digits}f}"
