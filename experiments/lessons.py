"""What notebooks 01, 03, 04 and 05 claim about outcomes: each claim has an id, a sentence, and a test.

The test is that of ``claims``: a paired difference over seeds, from stored runs. A claim is *supported* if
its 95 % interval lies on the claimed side of zero, *excluded* if it lies on the other side, and *undecided*
otherwise. ``EXPECTED`` names the claims that the notebooks report as not supported. Notebooks show
``sentences``; no number of an outcome is typed by hand. ``geomreg-course claims`` lists and tests all.

The runs are those of ``toy``, on seeds that no notebook draws, and for notebooks 04 and 05 a table each: the
frames ``runs`` of their full mode, in ``results/toy``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import toy
from .claims import Claim, Comparisons, evidence
from .judging import EXCLUDED, SUPPORTED, UNDECIDED, paired_gain
from .study import change

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path(__file__).parents[1] / "results"


Compare = Callable[[Any, str], Comparisons]


class Records(NamedTuple):
    """One row per run: of the toy worlds, and of the full modes of notebooks 04 and 05."""

    toy: pd.DataFrame
    anchored: pd.DataFrame
    loop: pd.DataFrame


def load(results: Path = RESULTS) -> Records:
    """Return the stored runs below ``results``."""
    import pandas as pd

    folder = results / "toy"
    tables = (pd.read_csv(folder / f"notebook_{number}.csv") for number in ("04", "05"))
    return Records(toy.STUDY.load(folder), *tables)


def _arm(arm: str, against: str = "none", than: dict[str, float] | None = None, **at: float) -> Compare:
    """Return an arm minus another in the own world of notebook 01, or ``at`` another.

    ``than``: the world whose difference is subtracted.
    """

    def compare(records: Records, metric: str) -> Comparisons:
        values, baseline = (toy.by_seed(records.toy, metric, name, **at) for name in (arm, against))
        if than is not None:
            ours, theirs = (toy.by_seed(records.toy, metric, name, **than) for name in (arm, against))
            baseline = {seed: baseline[seed] + ours[seed] - theirs[seed] for seed in values}
        yield f"{arm} minus {against}", paired_gain(values, baseline), "fixed weights", "results/toy"

    return compare


def at_equal_drift(runs: pd.DataFrame, radius: float, quantity: str) -> dict[str, float]:
    """Return a quantity of a band's runs minus that of rigid alignment at the same drift, paired by seed.

    For each run of the band, the rigid runs of its seed are interpolated on the logarithm of the drift.

    Args:
        runs: of notebook 04, with one weight of dispersion: seed, family, setting, drift, and the quantity.
        radius: of the band.
        quantity: a column.
    """
    import numpy as np

    band, rigid = {}, {}
    for seed, own in runs.groupby("seed"):
        run = own[own["setting"] == f"radius {radius:g}"].iloc[0]
        family = own[own["family"].isin(["rigid", "none"])].sort_values("drift")
        band[seed] = run[quantity]
        rigid[seed] = np.interp(np.log(run["drift"]), np.log(family["drift"]), family[quantity])
    return paired_gain(band, rigid)


def _drift(radius: float, dispersion: float = 0.0) -> Compare:
    def compare(records: Records, metric: str) -> Comparisons:
        runs = records.anchored[records.anchored["dispersion"] == dispersion]
        row = at_equal_drift(runs, radius, metric.removeprefix("test/"))
        yield f"radius {radius:g} minus rigid", row, "equal drift", "results/toy/notebook_04.csv"

    return compare


def _loop(setting: str, against: str = "none") -> Compare:
    def compare(records: Records, metric: str) -> Comparisons:
        runs = records.loop.set_index(["setting", "seed"])[metric.removeprefix("test/")]
        row = paired_gain(runs[setting].to_dict(), runs[against].to_dict())
        yield f"{setting} minus {against}", row, "fixed weights", "results/toy/notebook_05.csv"

    return compare


FUSED, BOTH, WEIGHT_1, UNIMODAL = "accuracy/fused", "both terms", "dispersion alone", "unimodal losses"
PRIVATE, LARGE, FAINT, FAST = {"share": 1.0}, {"size": 3000}, {"imbalance": 0.8}, {"rate": 0.1}
PATIENT_PRIVATE = toy.PATIENT | PRIVATE
CLAIMS = {
    "01.own.b": Claim("both terms raise the accuracy of `b` alone", "accuracy/b", +1, _arm(BOTH)),
    "01.own.fused": Claim("they raise fused accuracy", FUSED, +1, _arm(BOTH)),
    "01.own.noise": Claim("and fused accuracy with noise on `a`", "accuracy_corrupted_1.0/a", +1, _arm(BOTH)),
    "01.own.a": Claim("they lower the accuracy of `a` alone", "accuracy/a", -1, _arm(BOTH)),
    "01.own.dispersion": Claim("dispersion alone raises the accuracy of `b` alone as well", "accuracy/b", +1,
                               _arm(WEIGHT_1)),
    "01.own.anchoring": Claim("anchoring adds fused accuracy to that of dispersion alone", FUSED, +1,
                              _arm(BOTH, WEIGHT_1)),
    "01.own.control": Claim("both terms gain more fused accuracy than unimodal losses", FUSED, +1,
                            _arm(BOTH, UNIMODAL)),
    "01.map.private": Claim("if the class is private, both terms lower fused accuracy", FUSED, -1,
                            _arm(BOTH, **PRIVATE)),
    "01.map.faint": Claim("with imbalance 0.8 the gain is smaller than with 0.6", FUSED, -1,
                          _arm(BOTH, than={}, **FAINT)),
    "01.map.large": Claim("with 3,000 samples both terms still raise fused accuracy", FUSED, +1,
                          _arm(BOTH, **LARGE)),
    "01.map.shrinks": Claim("by less than with 300 samples", FUSED, -1, _arm(BOTH, than={}, **LARGE)),
    "01.map.large_control": Claim("with 3,000 samples they gain more than unimodal losses", FUSED, +1,
                                  _arm(BOTH, UNIMODAL, **LARGE)),
    "01.map.fast": Claim("at five times the step size both terms raise fused accuracy", FUSED, +1,
                         _arm(BOTH, **FAST)),
    "01.map.fast_control": Claim("there unimodal losses gain more than both terms", FUSED, +1,
                                 _arm(UNIMODAL, BOTH, **FAST)),
    "03.shared.b": Claim("class shared: weight 1 raises the accuracy of `b` alone", "accuracy/b", +1,
                         _arm(WEIGHT_1)),
    "03.shared.1": Claim("class shared: weight 1 raises fused accuracy", FUSED, +1, _arm(WEIGHT_1)),
    "03.private.1": Claim("class private: weight 1 lowers it", FUSED, -1, _arm(WEIGHT_1, **PRIVATE)),
    "03.shared.10": Claim("class shared: weight 10 lowers fused accuracy", FUSED, -1, _arm("weight 10")),
    "03.private.10": Claim("class private: weight 10 lowers it", FUSED, -1, _arm("weight 10", **PRIVATE)),
    "03.patient.shared": Claim("class shared, small steps: weight 10 raises fused accuracy", FUSED, +1,
                               _arm("weight 10", **toy.PATIENT)),
    "03.patient.private": Claim("class private, small steps: weight 10 lowers it", FUSED, -1,
                                _arm("weight 10", **PATIENT_PRIVATE)),
    "03.patient.gain": Claim("class shared: the change at weight 10 is better with small steps", FUSED, +1,
                             _arm("weight 10", than={}, **toy.PATIENT)),
    "03.rank": Claim("the rank of `a` is lower at weight 10 than at weight 1", "effective_rank/a", -1,
                     _arm("weight 10", WEIGHT_1)),
    "03.patient.rank": Claim("with small steps the gain in this rank at weight 10 is larger",
                             "effective_rank/a", +1, _arm("weight 10", than={}, **toy.PATIENT)),
    **{f"04.{group}.{name.split()[0]}.{radius:g}": Claim(
           f"{words}, radius {radius:g}: the band has more {name} than rigid alignment at its drift",
           "fused accuracy" if name == "fused accuracy" else name.split()[0], +1, _drift(radius, dispersion))
       for group, words, dispersion in (("alone", "no dispersion", 0.0), ("both", "dispersion 0.1", 0.1))
       for name in ("shared factor", "private factor", "fused accuracy") for radius in (0.4, 0.9)},
    "05.default.drift": Claim("with the default weights the drift falls", "drift", -1, _loop("default")),
    "05.default.rank.a": Claim("the effective rank of `a` rises", "rank of a", +1, _loop("default")),
    "05.default.rank.b": Claim("the effective rank of `b` rises", "rank of b", +1, _loop("default")),
    "05.default.cosine.a": Claim("the mean cosine of `a` falls", "mean cosine of a", -1, _loop("default")),
    "05.default.cosine.b": Claim("the mean cosine of `b` falls", "mean cosine of b", -1, _loop("default")),
    "05.default.accuracy": Claim("fused accuracy falls", "fused accuracy", -1, _loop("default")),
    "05.open.small": Claim("dispersion with weight 0.1 lowers fused accuracy", "fused accuracy", -1,
                           _loop("dispersion 0.1")),
    "05.open.large": Claim("weight 1 lowers it further", "fused accuracy", -1,
                           _loop("dispersion 1", "dispersion 0.1")),
    "05.open.rank": Claim("the rank of `a` is lower at weight 1 than at weight 0.1", "rank of a", -1,
                          _loop("dispersion 1", "dispersion 0.1")),
}  # fmt: skip
# The claims that the notebooks report as open, and those that they report as refuted.
EXPECTED = dict.fromkeys(
    ["01.own.a", "01.own.anchoring", "01.own.control", "01.map.large", "01.map.shrinks",
     "01.map.large_control", "01.map.fast", "03.shared.1", "03.patient.shared", "03.rank", "03.patient.rank",
     "04.alone.private.0.4", "04.alone.fused.0.4", "04.alone.fused.0.9", "04.both.shared.0.9",
     "04.both.private.0.4", "05.default.accuracy"],
    UNDECIDED,
) | dict.fromkeys(
    ["04.alone.shared.0.4", "04.alone.shared.0.9", "04.both.shared.0.4", "04.both.private.0.9"], EXCLUDED
)  # fmt: skip


def tested(records: Records | None = None) -> pd.DataFrame:
    """Return ``claims.evidence`` of all claims, and ``expected``: the verdict that a notebook reports."""
    rows = evidence(load() if records is None else records, CLAIMS, least=0.0)
    words = [CLAIMS[key].words for key in rows["claim"]]
    return rows.assign(words=words, expected=[EXPECTED.get(key, SUPPORTED) for key in rows["claim"]])


def sentences(start: str, rows: pd.DataFrame | None = None) -> str:
    """Return the claims whose id begins with ``start``, with their numbers and verdicts, as Markdown."""
    lines = []
    for row in (tested() if rows is None else rows).to_dict("records"):
        if row["claim"].startswith(start):
            points = "accuracy" in row["quantity"]
            numbers = change(row | {"mean": row["gain"]}, scale=1, digits=1 if points else 3)
            said = f"{numbers}{' points' * points}, {row['seeds']} seeds; **{row['verdict']}**"
            lines.append(f"- {row['words']}: {said} (`{row['claim']}`)")
    return "\n".join(lines)
