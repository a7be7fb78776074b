"""The paper's claims in words, judged on the data at hand: spoken and written digits, and views of digits.

Every comparison is a difference of two arms, paired by seed, with a 95 % interval, from committed records and
through the functions that make the README's tables; what each arm may choose, it chooses on validation.

These records have the cross-modal margin: it compares modalities, as the paper's Figure 3 does, with classes
in place of pairs. The paper's semantic margin, Eq. (45), is another quantity; it is judged only if records
have it.

The rule. A claim names a quantity and a side. A comparison *supports* it if its interval lies on this side
of zero. It *excludes* the claim if every gain in its interval is smaller than the smallest gain in fused
accuracy that the paper reports for its method (``smallest``), or for other quantities than accuracies, if
the interval lies on the other side. Otherwise it is *undecided*: a null result without power decides
nothing. The claim is *supported* if more than half of its comparisons support it and none excludes it,
*excluded* if more than half exclude it and none supports it, and *undecided* otherwise; ``reason`` counts.
All of this is a statement about these data and settings, not about the paper's. The rule was written when
these records were known, and it is the same for all claims. It took the place of one that called every null
result "not replicated". Comparisons of one claim share seeds, baselines
or data, so they do not count as independent trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import ablations, paradigm_table, regimes, unlabeled
from .judging import EXCLUDED, SUPPORTED, UNDECIDED, verdict_of_gain
from .paper import GEOMETRY, TABLE_1
from .report import gains as paper_gains
from .study import markdown

if TYPE_CHECKING:
    import pandas as pd

RIGID = "both, radius 0 (rigid)"
# What each arm may choose from, on validation.
MAP, TABLE, COMPONENTS = "four settings per arm", "four runs per arm", "fixed settings"
CONTROLS, CLUSTERS = "three settings per objective", "three settings per arm, no label"


class Records(NamedTuple):
    """The committed records of all studies, one row per run."""

    map: pd.DataFrame
    table: pd.DataFrame
    twenty: pd.DataFrame  # the table's row of DGL on digits, with all its seeds
    ablations: pd.DataFrame
    components: pd.DataFrame  # the same, with all seeds of the components under DGL
    unlabeled: pd.DataFrame


def load(results: str | Path) -> Records:
    """Return the committed records below ``results``.

    Raises:
        FileNotFoundError: naming the records that are missing and the command that makes them.
    """
    import pandas as pd

    results = Path(results)
    paradigms, components = results / "paradigms", results / "ablations"
    twenty = (paradigm_table.cell("digits", "dgl", range(20)),)
    first = ablations.STUDY.load(components)
    return Records(
        regimes.STUDY.load(results / "digits"),
        paradigm_table.STUDY.load(paradigms),
        paradigm_table.STUDY.load(paradigms, twenty),
        first,
        pd.concat([first, ablations.STUDY.load(components, ablations.AGAIN)]),
        unlabeled.STUDY.load(results / "unlabeled"),
    )


# The comparisons behind a claim: (comparison, row of gains, protocol, records) for a metric.
Comparisons = Iterator[tuple[str, dict[str, Any], str, str]]


def on_dgl(records: Records, metric: str) -> Comparisons:
    """Yield DGL with the regularizer minus DGL, the pair of rows that the paper's tables compare."""
    yield "digits, mean of 12 regimes", _over_regimes(records, metric), MAP, "results/digits/*-dgl"
    frames = {"digits, unseen speakers": (records.twenty, "digits")}
    frames |= {"three views": (records.table, "three_views"), "six views": (records.table, "six_views")}
    for name, (frame, dataset) in frames.items():
        rows = frame[(frame["dataset"] == dataset) & (frame["paradigm"] == "dgl")]
        (row,) = paradigm_table.STUDY.gains(rows, metric).to_dict("records")
        yield name, row, TABLE, f"results/paradigms/{dataset}/dgl"


def on_every_paradigm(records: Records, metric: str) -> Comparisons:
    """Yield every paradigm with the regularizer minus the same paradigm without it, on digits."""
    digits = records.table[records.table["dataset"] == "digits"]
    for row in paradigm_table.STUDY.gains(digits, metric).to_dict("records"):
        yield paradigm_table.NAMES[row["paradigm"]], row, TABLE, f"results/paradigms/digits/{row['paradigm']}"


def when_disturbed(records: Records, metric: str) -> Comparisons:
    """Yield the gains of the map under DGL if a modality is missing or noisy in the test."""
    for trial, words in {"missing": "missing", "corrupted_2.0": "under noise 2.0"}.items():
        for name in ("audio", "image"):
            row = _over_regimes(records, f"{metric}_{trial}/{name}")
            yield f"{name} {words}", row, MAP, "results/digits/*-dgl"


def _over_regimes(records: Records, metric: str) -> dict[str, Any]:
    """Return the mean gain of the map's regimes under DGL."""
    rows = records.map[records.map["paradigm"] == "dgl"]
    return regimes.STUDY.gains(rows, metric, by=["paradigm"]).iloc[0].to_dict()


def _component(*pairs: tuple[str, str]) -> Callable[[Records, str], Comparisons]:
    """Return the first row of each pair minus the second, in the ablation of components."""

    def compare(records: Records, metric: str) -> Comparisons:
        for (name, against), paradigm in product(pairs, ("dgl", "joint")):
            rows = ablations.differences(records.components, metric, "components", paradigm, against)
            (row,) = rows[rows["arm"] == name].to_dict("records")
            label = f"{paradigm_table.NAMES[paradigm]}: {name} minus {against}"
            yield label, row, COMPONENTS, f"results/ablations/{paradigm}"

    return compare


def band_minus_controls(records: Records, metric: str) -> Comparisons:
    """Yield the bounded band minus each other objective."""
    rows = ablations.differences(records.ablations, metric, "controls", against=ablations.BAND)
    for row in rows[rows["arm"] != "none"].to_dict("records"):
        turned = {"mean": -row["mean"], "low": -row["high"], "high": -row["low"]}
        yield f"band minus {row['arm']}", row | turned, CONTROLS, "results/ablations/joint"


def on_clusters(records: Records, metric: str) -> Comparisons:
    """Yield the gains of both terms without labels, for both kinds of heads."""
    tables = {
        label: unlabeled.STUDY.gains(records.unlabeled, f"{metric}/{name}").set_index("arm")
        for name, label in unlabeled.READ.items()
    }
    for arm, head in {"both": "standardizing head", "plain_both": "plain head"}.items():
        for label, rows in tables.items():
            yield f"{head}, {label}", rows.loc[arm].to_dict(), CLUSTERS, "results/unlabeled"


class Claim(NamedTuple):
    """``quantity`` is a metric without its split; ``side`` is +1 if the claim says that it rises, else -1."""

    words: str
    quantity: str
    side: int
    compare: Callable[[Any, str], Comparisons]


SEPARATE = _component(("both", "dispersion only"), ("both", "anchoring only"))
CLAIMS = {
    "fused": Claim("added to DGL, it raises fused accuracy", "accuracy/fused", +1, on_dgl),
    "unimodal": Claim("added to DGL, it raises unimodal accuracy", "accuracy/mean", +1, on_dgl),
    "rank": Claim("it raises the effective rank within modalities", "effective_rank/mean", +1, on_dgl),
    "drift": Claim("it lowers the deviation of pairs", "paired_drift/mean", -1, on_dgl),
    "margin": Claim("it raises the cross-modal margin of classes", "cross_modal_margin/mean", +1, on_dgl),
    "robust": Claim("it keeps a prediction with a disturbed modality", "accuracy", +1, when_disturbed),
    "clusters": Claim("it sorts better without labels", "cluster_accuracy", +1, on_clusters),
    "any": Claim("added to any paradigm, it raises fused accuracy", "accuracy/fused", +1, on_every_paradigm),
    "alone": Claim("dispersion alone lets pairs drift apart", "paired_drift/mean", +1,
                   _component(("dispersion only", "none"))),
    "both": Claim("both terms together beat one alone", "accuracy/fused", +1, SEPARATE),
    "rigid": Claim("a band beats rigid alignment", "accuracy/fused", +1, _component(("both", RIGID))),
    "controls": Claim("the band beats other objectives", "accuracy/fused", +1, band_minus_controls),
}  # fmt: skip


NUMBERS = ("gain", "low", "high", "detectable", "baseline")  # of a comparison


def smallest() -> float:
    """Return the smallest gain in fused accuracy, in points, that the paper's Table 1 has over DGL."""
    return min(fused_gains())


def fused_gains() -> list[float]:
    """Return the gains in fused accuracy over DGL in the paper's Table 1, in points, by data set."""
    tables = (paper_gains(None, "table_1", dataset) for dataset in TABLE_1)
    return [float(table.set_index("modality")["paper"]["multi"]) for table in tables]


def evidence(records: Any, claims: Mapping[str, Claim] = CLAIMS, least: float | None = None) -> pd.DataFrame:
    """Return one row per comparison of a claim; ``least`` excludes smaller gains, by default ``smallest``.

    Columns: ``claim`` (a key of ``CLAIMS``), ``comparison``, ``quantity``, ``gain``, ``low``, ``high``,
    ``detectable`` and ``baseline`` (accuracies in percent, gains of them in points), ``seeds``, ``protocol``,
    ``record``, and ``verdict``.
    """
    import pandas as pd

    answer, least = [], smallest() if least is None else least
    for key, claim in claims.items():
        accuracy = "accuracy" in claim.quantity
        for comparison, row, protocol, record in claim.compare(records, f"test/{claim.quantity}"):
            row = {"gain": row["mean"], **row}
            values = {name: (100 if accuracy else 1) * row[name] for name in NUMBERS}
            said = verdict_of_gain(values["low"], values["high"], least if accuracy else 0.0, claim.side)
            answer.append({"claim": key, "comparison": comparison, "quantity": claim.quantity, **values,
                           "seeds": int(row["seeds"]), "protocol": protocol, "record": record,
                           "verdict": said})  # fmt: skip
    return pd.DataFrame(answer)


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``evidence`` as text: one row per comparison, with interval, seeds, protocol and records."""
    import pandas as pd

    answer = []
    for row in rows.itertuples():
        digits = 1 if "accuracy" in row.quantity or "rank" in row.quantity else 3
        gain, low, high = (f"{value:+.{digits}f}" for value in (row.gain, row.low, row.high))
        change = f"{gain} [{low}, {high}]".replace(" ", "\N{NO-BREAK SPACE}")
        where = CLAIMS[row.claim].words, row.comparison
        without, seen = (f"{value:.{digits}f}" for value in (row.baseline, row.detectable))
        own = row.verdict, row.seeds, row.protocol, row.record
        answer.append((*where, without, change, seen, *own))
    columns = ["claim", "comparison", "without", "change", "would see", "verdict", "seeds", "chosen from",
               "records"]  # fmt: skip
    return pd.DataFrame(answer, columns=columns).set_index(["claim", "comparison"])


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per claim of ``evidence``, judged by the rule above.

    Columns: ``claim``, ``words``; ``supported``, ``undecided`` and ``excluded`` (how many comparisons are);
    ``status`` and ``reason``.
    """
    import pandas as pd

    answer = []
    for key, part in rows.groupby("claim", sort=False):
        counts = {word: int((part["verdict"] == word).sum()) for word in (SUPPORTED, UNDECIDED, EXCLUDED)}
        sides = ((SUPPORTED, EXCLUDED), (EXCLUDED, SUPPORTED))
        held = [one for one, other in sides if counts[one] > len(part) / 2 and not counts[other]]
        reason = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        answer.append({"claim": key, "words": CLAIMS[key].words, **counts, "status": (*held, UNDECIDED)[0],
                       "reason": f"of {len(part)} comparisons {reason}"})  # fmt: skip
    return pd.DataFrame(answer)


def summary(rows: pd.DataFrame) -> str:
    """Return the verdicts as a Markdown table, for the README and the report."""
    import pandas as pd

    found = verdicts(rows)
    counts = [f"{row.supported} / {row.undecided} / {row.excluded}" for row in found.itertuples()]
    columns = {"comparisons: supported / undecided / excluded": counts, "on these data": found["status"]}
    return markdown(pd.DataFrame(columns).set_axis(found["words"]), "claim")


def beside_the_paper(rows: pd.DataFrame) -> pd.DataFrame:
    """Return fused and unimodal gains under DGL for ``gain_forest``, the paper's own on top.

    The paper's unimodal gain is the mean of audio and visual. Its Table 1 gives a spread for each row, but no
    interval for a gain.
    """
    import pandas as pd

    nan, kinds = float("nan"), {"fused": "fused", "unimodal": "mean of the modalities alone"}
    answer = []
    for dataset in ("CREMA-D", "Kinetics-Sounds"):
        theirs = paper_gains(None, "table_1", dataset).set_index("modality")["paper"]
        for key, gain in zip(kinds, (theirs["multi"], theirs[["audio", "visual"]].mean()), strict=True):
            answer.append((f"the paper, {dataset}", kinds[key], gain, nan, nan))
    for row in rows[rows["claim"].isin(kinds)].itertuples():
        answer.append((row.comparison, kinds[row.claim], row.gain, row.low, row.high))
    return pd.DataFrame(answer, columns=["label", "group", "gain", "low", "high"])


def geometry(records: Records) -> pd.DataFrame:
    """Return the paper's geometry on CREMA-D next to ours on digits, under DGL.

    Ours is the mean over the twelve regimes of the map under DGL. Data, networks and number of samples
    differ, so only the direction can be compared. recall@100 is in percent. If the paper gives one number for
    two modalities or directions, ours is their mean.

    Returns:
        One row per quantity of the paper that is recorded: ``paper_without``, ``paper_with``, ``without``,
        ``with``, ``change``, ``low``, ``high``, ``seeds``, and ``same_side``: whether our interval excludes
        zero on the paper's side.
    """
    import pandas as pd

    answer = {}
    for quantity, theirs in GEOMETRY.items():
        if f"test/{quantity}/mean" not in records.map:
            continue
        row = _over_regimes(records, f"test/{quantity}/mean")
        scale = 100 if quantity.startswith("recall") else 1
        change, low, high, base = (scale * row[name] for name in ("mean", "low", "high", "baseline"))
        before, after = theirs["DGL"], theirs["DGL + DAGR"]
        answer[quantity] = {
            "paper_without": before, "paper_with": after, "without": base, "with": base + change,
            "change": change, "low": low, "high": high, "seeds": int(row["seeds"]),
            "same_side": low > 0 if after > before else high < 0,
        }  # fmt: skip
    return pd.DataFrame(answer).T
