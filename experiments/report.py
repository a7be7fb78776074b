"""The replication report: every number of the paper next to ours, and the rule that judges each of them.

The rule was written down before any of the paper's benchmarks was run:

A *number* of the paper stands next to the mean over seeds of our runs, with a 95 % interval over seeds. The
runs follow the paper's protocol if it is known (``protocol``).

- *supported*: our interval, widened at both ends, contains the paper's number, and neither half of it is
  longer than three points (``SHARP``; a quarter of the number if that is not in percent), because an
  interval that contains everything supports nothing. It is widened by the paper's own spread. If there is
  none, it is widened by the standard deviation of our runs, because a number without a spread may be a
  single run. A number read off a figure widens it by a tenth of the number, and by at most one point if
  that is in percent (``READING``).
- *excluded*: the widened interval does not contain the number.
- *undecided*: it contains the number and is too wide to count.

A *gain* is what the regularizer adds to the reference row of the same table (DGL, or the row that takes its
place: ``REFERENCE``). Ours is paired by seed, and validation picks the epoch in both arms: a claim is
judged where it can fail. ``detectable`` is the gain that these seeds would have found with a chance of
80 %.

- *supported*: its interval lies on the paper's side of zero. ``reason`` says whether it contains the
  paper's gain.
- *excluded*: every gain in the interval is smaller than the paper's. If the paper's values were read off a
  figure, or if our runs are on top of another baseline, the size says nothing; then it is excluded if the
  interval lies on the other side of zero.
- *undecided*: neither. A wide interval is never evidence of no gain.

*Not run (needs data or GPU)*: fewer than three seeds (``SEEDS``) are recorded, or a run behind the number
or gain is not the benchmark's: stand-ins, missing samples, or any other config (see ``benchmarks.unlike``).
Such runs are shown and not judged. *Not possible (not public)*: the number itself, or something that our
runs would need, is not public.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .benchmarks import load_runs
from .judging import EXCLUDED, SUPPORTED, UNDECIDED, paired_gain, verdict_of_gain
from .paper import READ_OFF, published
from .paradigm_table import NAMES
from .recipes import RECIPES

if TYPE_CHECKING:
    import pandas as pd

NOT_RUN = "not run (needs data or GPU)"
NOT_PUBLIC = "not possible (not public)"
STATUSES = (SUPPORTED, EXCLUDED, UNDECIDED, NOT_RUN, NOT_PUBLIC)

SEEDS = 3  # with fewer, an interval means nothing
SHARP = 3.0  # points; for quantities that are not in percent a quarter of the paper's number
READING = 1.0  # points by which an accuracy that was read off a figure may be misread
COLUMNS = (
    "method", "quantity", "modality", "setting", "known", "paper", "spread", "ours", "difference", "low",
    "high", "detectable", "seeds", "status", "protocol", "record", "reason",
)  # fmt: skip

RECIPE_OF = {"CREMA-D": "crema_d", "Kinetics-Sounds": "kinetics_sounds", "CUBICC": "cubicc", "XRF55": "xrf55"}
TITLES = {
    "table_1": "Table 1", "table_2": "Table 2", "table_3": "Table 3", "table_4": "Table 4, components",
    "table_6": "Table 6, time", "table_7": "Table 7, controls",
    "figure_2": "Figure 2, geometry", "figure_3": "Figure 3, geometry", "figure_7": "Figure 7, weights",
    "figure_8": "Figure 8, strength and radius", "figure_9": "Figure 9, robustness",
    "figure_10": "Figure 10, features dropped", "figure_11": "Figure 11, Gaussian noise",
    "figure_12": "Figure 12, segments missing", "xfi_xrf55": "X-Fi on XRF55",
}  # fmt: skip
# The row of each table that the others are compared with.
REFERENCE = dict.fromkeys(TITLES, "DGL") | {"table_2": "DCMEM", "table_4": "none", "table_6": "baseline",
    "table_7": "ours", "xfi_xrf55": "baseline"}  # fmt: skip
REFERENCE |= dict.fromkeys(("table_3", "figure_10", "figure_11", "figure_12"), "X-Fi")
# The rows that are the reference with the regularizer on top.
TREATED = {
    **dict.fromkeys(("table_1", "figure_3", "figure_7", "figure_8"), ("DGL + DAGR",)),
    "table_2": ("DCMEM + DAGR",),
    "table_3": ("X-Fi + DAGR",),
    "table_4": ("dispersion", "anchoring", "both"),
    "figure_2": ("DGL + dispersion", "DGL + DAGR"),
}
GRIDS = ("figure_7", "figure_8")  # each setting is an arm of ours; their reference row is in Table 1
DISTURBED = ("figure_9", "figure_10", "figure_11", "figure_12")  # each setting is a metric of ours
ANOTHER_BASELINE = ("DCMEM", "DCMEM + DAGR")  # DCMEM is not public, so ours has another base
# The rows of Tables 4 and 7 whose arm has another name.
ARM_OF_ROW = {
    "none": "baseline", "both": "regularized", "ours": "regularized", "naive align": "naive_align",
    "VICReg-style": "vicreg", "Barlow-Twins-style": "barlow_twins", "unit sphere only": "unit_sphere",
}  # fmt: skip
PICKS = {"test_selected": "test split picks the epoch", "test": "validation picks the epoch"}
SPLITS = {"paper": tuple(PICKS), "ours": ("test",)}  # the splits to look in, in this order
# Our accuracy for the paper's, the preferred first. X-Fi averages over batches. DGL's code gives a modality
# alone all of the head's bias.
ACCURACIES = ("batch_accuracy", "accuracy_alone", "accuracy")

# What a comparison would need and is not public: (data set or table, what is missing).
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
    """Our side of a number: value by seed, in the paper's unit, and its source."""

    values: dict[int, float]
    protocol: str = ""
    record: str = ""
    missing: str = "nothing is recorded"  # the reason if there are no values
    unlike: str = ""  # why the runs are not the benchmark's


def arm_of(table: str, method: str, own: str) -> tuple[str, str] | None:
    """Return (paradigm, arm) of our runs for a row of the paper, or None if this project does not train it.

    ``own`` is the paradigm of the benchmark's recipe.
    """
    if table == "table_6":
        return None
    if table in ("table_4", "table_7"):
        return "dgl", ARM_OF_ROW.get(method, method)
    if table == "xfi_xrf55":
        return {"X-Fi": own, "baseline": "unimodal"}[method], "baseline"
    base, _, terms = method.partition(" + ")
    paradigms = {name: paradigm for paradigm, name in NAMES.items()} | {"DCMEM": own, "X-Fi": own}
    arm = {"": "baseline", "DAGR": "regularized"}.get(terms, terms)
    return (paradigms[base], arm) if base in paradigms else None


def _candidates(quantity: str, modality: str, split: str) -> list[list[str]]:
    """Return our metrics for a number of the paper, the preferred first; several in one list are averaged."""
    places = [{"multi": "fused"}.get(modality, modality)]
    if not modality:  # the paper does not state of which representation the semantic margin is
        places = {"effective_rank": ["audio", "visual"], "semantic_margin": ["joint"]}.get(
            quantity, ["audio-visual", "visual-audio"] if quantity.startswith("recall@") else ["audio-visual"]
        )
    name = {"ACC": "cluster_accuracy"}.get(quantity, quantity.lower())
    names = ACCURACIES if quantity == "accuracy" else (name,)
    return [[f"{split}/{name}/{place}" for place in places] for name in names]


def _scale(quantity: str) -> float:
    """Return 100 for a quantity that the paper gives in percent, else 1; ours are shares."""
    percent = quantity in ("ACC", "NMI", "ARI") or quantity.startswith(("accuracy", "recall@"))
    return 100.0 if percent else 1.0


@dataclass(frozen=True)
class Recorded:
    """The runs that are recorded for one table and data set of the paper; ``runs`` may be None."""

    runs: pd.DataFrame | None
    table: str
    dataset: str
    folder: str

    def of(self, method: str, place: tuple[str, str, str], splits: Sequence[str]) -> Ours:
        """Return our side of a number at (quantity, modality, setting), of the first split that has it."""
        quantity, modality, setting = place
        cell = arm_of(self.table, method, RECIPES[RECIPE_OF[self.dataset]].config.paradigm)
        if cell is None:
            return Ours({}, missing="this project neither trains nor times it")
        if self.runs is None:
            return Ours({})
        paradigm, arm = cell
        arm = setting if setting and self.table in GRIDS else arm
        quantity = f"{quantity}_{setting}" if setting and self.table in DISTURBED else quantity
        rows = self.runs[(self.runs["paradigm"] == paradigm) & (self.runs["arm"] == arm)].set_index("seed")
        for split in splits:
            for columns in _candidates(quantity, modality, split):
                if not set(columns) <= set(rows.columns):
                    continue
                values = rows[columns].mean(axis=1, skipna=False).dropna() * _scale(quantity)
                if len(values):
                    record = "/".join(filter(None, [self.folder, paradigm, "seed*", f"{arm}.json"]))
                    seeds = {int(k): float(v) for k, v in values.items()}
                    unlike = next(filter(None, rows.loc[values.index, "unlike"]), "")
                    return Ours(seeds, PICKS[split], record, unlike=unlike)
        return Ours({})


def compared(
    runs: pd.DataFrame | None, table: str, dataset: str, *, folder: str = "", protocol: str = "paper"
) -> pd.DataFrame:
    """Return the paper's numbers of one table and data set next to ours, each judged by the rule above.

    Args:
        runs: of ``benchmarks.load_runs``, or None if nothing is recorded.
        table: a table of ``paper.published()``, such as "table_1" or "figure_8".
        dataset: "CREMA-D", "Kinetics-Sounds", "CUBICC" or "XRF55".
        folder: of the records, put in front of ``record``.
        protocol: "paper" for the epoch that is best on the test split, if its numbers were recorded; "ours"
            for the epoch that validation picked.

    Returns:
        One row per number of the paper, in its order, with ``COLUMNS``: ``paper`` and ``spread`` are theirs,
        ``ours``, ``low`` and ``high`` the mean over seeds and its 95 % interval, ``difference`` is ours minus
        theirs, ``record`` the files behind ours, and ``reason`` explains the status in words.

    Raises:
        ValueError: for a table that the paper does not have for this data set, or an unknown protocol.
    """
    if protocol not in SPLITS:
        raise ValueError(f"protocol is {protocol!r}: choose 'paper' or 'ours'.")
    return _judged(
        _published(table, dataset), Recorded(runs, table, dataset, folder), _number, SPLITS[protocol]
    )


def gains(runs: pd.DataFrame | None, table: str, dataset: str, *, folder: str = "") -> pd.DataFrame:
    """Return what the regularizer adds to the reference row: the paper's gains next to ours, judged.

    Arguments and columns as in ``compared``; ``method`` is a row of ``TREATED``, ``paper``, ``ours``, ``low``
    and ``high`` are of the gain, and validation picks the epoch in both arms.

    Raises:
        ValueError: for a table that has no gains, or that the paper does not have for this data set.
    """
    if table not in TREATED:
        raise ValueError(f"table {table!r} has no row with the regularizer: choose {', '.join(TREATED)}.")
    rows = _published(table, dataset)
    rows, recorded = rows[rows["method"].isin(TREATED[table])], Recorded(runs, table, dataset, folder)
    grid, reference = table in GRIDS, REFERENCE[table]
    theirs = _published("table_1" if grid else table, dataset)
    theirs = theirs[theirs["method"] == reference].set_index(["quantity", "modality", "setting"])["mean"]

    def judge(row: Any, mine: Ours) -> dict[str, Any]:
        place = (row.quantity, row.modality, "" if grid else row.setting)
        return _gain(row, mine, recorded.of(reference, place, SPLITS["ours"]), row.mean - theirs[place])

    return _judged(rows, recorded, judge, SPLITS["ours"])


def numbers(results: str | Path) -> pd.DataFrame:
    """Return every public number of the paper and every gain, next to the records below ``results``.

    Columns: ``table``, ``dataset``, ``kind`` ("number" or "gain"), and ``COLUMNS``.
    """
    import pandas as pd

    parts = {}
    for table, dataset in published()[["table", "dataset"]].drop_duplicates().itertuples(index=False):
        name = RECIPE_OF[dataset]
        try:
            runs = load_runs(Path(results) / name)
        except FileNotFoundError:
            runs = None
        parts[table, dataset, "number"] = compared(runs, table, dataset, folder=f"results/{name}")
        if table in TREATED:
            parts[table, dataset, "gain"] = gains(runs, table, dataset, folder=f"results/{name}")
    levels = ["table", "dataset", "kind"]
    return pd.concat(parts, names=levels).reset_index(levels).reset_index(drop=True)


def _published(table: str, dataset: str) -> pd.DataFrame:
    every = published()
    rows = every[(every["table"] == table) & (every["dataset"] == dataset)]
    if rows.empty:
        known = every[["table", "dataset"]].drop_duplicates().itertuples(index=False)
        pairs = ", ".join(f"{t} of {d}" for t, d in known)
        raise ValueError(f"the paper has no {table!r} of {dataset!r}: choose from {pairs}.")
    return rows


def _judged(
    rows: pd.DataFrame, recorded: Recorded, judge: Callable[..., dict[str, Any]], splits: Sequence[str]
) -> pd.DataFrame:
    """Return ``rows`` of the paper next to ours; ``judge`` takes a row and our side of it."""
    import pandas as pd

    found = []
    for row in rows.itertuples():
        mine = recorded.of(row.method, (row.quantity, row.modality, row.setting), splits)
        verdict = judge(row, mine)
        verdict["difference"] = verdict["ours"] - verdict["paper"]
        found.append({**row._asdict(), **verdict, "protocol": mine.protocol, "record": mine.record})
    return pd.DataFrame(found)[list(COLUMNS)]


def _number(row: Any, mine: Ours) -> dict[str, Any]:
    """Judge a number; runs that are not the benchmark's are not judged."""
    import numpy as np

    values = list(mine.values.values())
    own = _difference(mine, Ours(dict.fromkeys(mine.values, 0.0)))
    percent = _scale(row.quantity) == 100
    if row.method in ANOTHER_BASELINE:
        status, reason = NOT_PUBLIC, "DCMEM's code and recipe are not public; ours is another baseline"
    elif mine.unlike:
        status, reason = NOT_RUN, mine.unlike
    elif own is None:
        status, reason = NOT_RUN, _too_few(len(values), mine)
    else:
        if row.spread == row.spread:
            more = row.spread
        elif row.known == READ_OFF:
            more = min(abs(row.mean) / 10, READING if percent else np.inf)
        else:
            more = float(np.std(values, ddof=1))
        within = own["low"] - more <= row.mean <= own["high"] + more
        half = max(own["mean"] - own["low"], own["high"] - own["mean"])
        if not within:
            status, reason = EXCLUDED, "our interval, widened by the rule, excludes the paper's number"
        elif half <= (SHARP if percent else abs(row.mean) / 4):
            status, reason = SUPPORTED, "our interval, widened by the rule, contains the paper's number"
        else:
            status, reason = UNDECIDED, "our interval, widened by the rule, is too wide to count"
    mean = float(np.mean(values)) if values else float("nan")
    return {"paper": row.mean, "spread": row.spread, "ours": mean, **_shown(own, "low", "high"),
            "detectable": float("nan"), "seeds": len(values), "status": status, "reason": reason}  # fmt: skip


def _gain(row: Any, mine: Ours, base: Ours, paper: float) -> dict[str, Any]:
    """Judge a gain; ``paper`` is the paper's number minus that of the reference row."""
    found = _difference(mine, base)
    seeds = len(set(mine.values) & set(base.values))
    if seeds and (mine.unlike or base.unlike):
        status, reason = NOT_RUN, mine.unlike or base.unlike
    elif found is None:
        status, reason = NOT_RUN, _too_few(seeds, mine)
    else:
        low, high = found["low"], found["high"]
        silent = "ours is on another baseline" if row.method in ANOTHER_BASELINE else ""
        if row.known == READ_OFF and not silent:
            silent = "the paper's values were read off a figure"
        status = verdict_of_gain(low, high, 0 if silent else abs(paper), 1 if paper > 0 else -1)
        if silent:
            where = {SUPPORTED: "on the paper's side of", EXCLUDED: "on the other side of"}
            side = where.get(status, "around")
            reason = f"our interval lies {side} zero; {silent}, so the size says nothing"
        elif status == SUPPORTED:
            what = "contains" if low <= paper <= high else "does not contain"
            reason = f"our interval lies on the paper's side of zero and {what} the paper's gain"
        elif status == EXCLUDED:
            reason = "every gain in our interval is smaller than the paper's"
        else:
            reason = "our interval contains zero and the paper's gain"
    ours = _shown(found, "mean", "low", "high", "detectable")
    return {"paper": paper, "spread": float("nan"), "ours": ours.pop("mean"), **ours, "seeds": seeds,
            "status": status, "reason": reason}  # fmt: skip


def _difference(mine: Ours, base: Ours) -> dict[str, float] | None:
    """Return mine - base over the seeds that both have, or None with fewer than ``SEEDS``."""
    shared = sorted(set(mine.values) & set(base.values))
    if len(shared) < SEEDS:
        return None
    return paired_gain({s: mine.values[s] for s in shared}, {s: base.values[s] for s in shared})


def _shown(found: dict[str, float] | None, *names: str) -> dict[str, float]:
    return {name: (found or {}).get(name, float("nan")) for name in names}


def _too_few(seeds: int, mine: Ours) -> str:
    return f"{seeds} of {SEEDS} seeds are recorded" if seeds else mine.missing


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of ``compared`` or ``gains`` in the form of the paper's tables, as text.

    Methods (with quantities) go down and modalities across; with more than three modalities, or with several
    settings, methods go across. Each cell has the paper's number with its spread ("~" if it was read off a
    figure), ours with its interval and the detectable gain, the difference and the status. If nothing is
    recorded, there is only "ours", which says so.
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
        seen = f", sees {row.detectable:.{places}f}" if row.detectable == row.detectable else ""
        cells["ours"] = _text(row.ours, places) + interval + seen if row.seeds else status
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
