"""What notebooks 01, 03, 04 and 05 claim about outcomes: each claim has an id, a sentence, and a test.

The test is that of ``claims``: a paired difference over seeds, from stored runs. A claim is *supported* if
its 95 % interval lies on the claimed side of zero, *excluded* if it lies on the other side, and *undecided*
otherwise. ``EXPECTED`` names the claims that the notebooks report as not supported. Notebooks show
``sentences``; no number of an outcome is typed by hand. ``geomreg-course claims`` lists and tests all.

The runs are those of ``toy``, ``toy_dispersion`` and ``toy_anchoring``, on seeds that no notebook in quick
mode draws, and for notebook 05 a table: the frame ``runs`` of its full mode, in ``results/toy``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import toy, toy_anchoring, toy_dispersion
from .claims import Claim, Comparisons, evidence
from .judging import EXCLUDED, SUPPORTED, UNDECIDED, paired_gain
from .study import change

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path(__file__).parents[1] / "results"
MAPS = {"01": toy, "03": toy_dispersion, "04": toy_anchoring}  # by the notebook that shows it


Compare = Callable[[Any, str], Comparisons]
At = Mapping[str, float | None]  # column -> value


class Records(NamedTuple):
    """One row per run: of three maps of toy worlds, and of the full mode of notebook 05; None if unread."""

    toy: pd.DataFrame
    toy_dispersion: pd.DataFrame
    toy_anchoring: pd.DataFrame
    loop: pd.DataFrame


def load(results: Path = RESULTS, start: str = "") -> Records:
    """Return the stored runs below ``results``; those of one notebook if ``start`` is its number."""
    import pandas as pd

    maps = [
        module.STUDY.load(results / module.STUDY.name) if number.startswith(start) else None
        for number, module in MAPS.items()
    ]
    loop = results / "toy" / "notebook_05.csv"
    return Records(*maps, pd.read_csv(loop) if "05".startswith(start) else None)


def _arm(
    arm: str, against: str = "none", than: At | None = None, module: Any = toy, **at: float | None
) -> Compare:
    """Return an arm minus another in the star's world of a map, or ``at`` another.

    ``than``: the world whose difference is subtracted. Over a column that is None the mean is taken.
    """

    def compare(records: Records, metric: str) -> Comparisons:
        frame = getattr(records, module.STUDY.name)

        def both(at: At) -> list[dict[int, float]]:
            return [toy.by_seed(frame, metric, name, own=module.OWN, **at) for name in (arm, against)]

        values, baseline = both(at)
        if than is not None:
            ours, theirs = both(than)
            baseline = {seed: baseline[seed] + ours[seed] - theirs[seed] for seed in values}
        row = paired_gain(values, baseline)
        yield f"{arm} minus {against}", row, "fixed weights", f"results/{module.STUDY.name}"

    return compare


def _weight(arm: str, against: str = "none", than: At | None = None, **at: float | None) -> Compare:
    """Return ``_arm`` of the map of notebook 03, in which size and rate decide the epochs."""
    free: At = {"epochs": None}
    return _arm(arm, against, than if than is None else free | than, toy_dispersion, **free | at)


def _drift(radius: float, **at: float | None) -> Compare:
    """Return the band minus rigid alignment at equal drift, on the map of notebook 04."""

    def compare(records: Records, metric: str) -> Comparisons:
        runs = toy_anchoring.table(records.toy_anchoring)
        for name, value in (toy_anchoring.OWN | at).items():
            runs = runs if value is None else runs[runs[name] == value]
        row = toy_anchoring.at_equal_drift(runs, radius, metric.removeprefix("test/"))
        yield f"radius {radius:g} minus rigid", row, "equal drift", "results/toy_anchoring"

    return compare


def _bands(group: str, words: str, quantities: tuple[str, ...], **at: float | None) -> dict[str, Claim]:
    """Return the claims that the band has more than rigid alignment, one per quantity and radius."""
    return {
        f"04.{group}.{name.split()[0]}.{radius:g}": Claim(
            f"{words}, radius {radius:g}: the band has more {name} than rigid alignment at its drift",
            "fused accuracy" if name == "fused accuracy" else name.split()[0], +1, _drift(radius, **at),
        )
        for name in quantities for radius in toy_anchoring.RADII
    }  # fmt: skip


def _loop(setting: str, against: str = "none") -> Compare:
    def compare(records: Records, metric: str) -> Comparisons:
        runs = records.loop.set_index(["setting", "seed"])[metric.removeprefix("test/")]
        row = paired_gain(runs[setting].to_dict(), runs[against].to_dict())
        yield f"{setting} minus {against}", row, "fixed weights", "results/toy/notebook_05.csv"

    return compare


FUSED, BOTH, WEIGHT_1, UNIMODAL = "accuracy/fused", "both terms", "dispersion alone", "unimodal losses"
PRIVATE, LARGE, FAINT, FAST = {"share": 1.0}, {"size": 3000}, {"imbalance": 0.8}, {"rate": 0.1}
# Means over worlds: over kind and size; over kind with the star's size. And a step size of notebook 03.
KINDS = {"imbalance": None, "share": None}
WORLDS = KINDS | {"size": None}
QUARTER = {"rate": 0.005}
FACTORS = ("shared factor", "private factor")
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
                         _weight("weight 1")),
    "03.shared.1": Claim("class shared: weight 1 raises fused accuracy", FUSED, +1, _weight("weight 1")),
    "03.private.1": Claim("class private: weight 1 lowers it", FUSED, -1, _weight("weight 1", **PRIVATE)),
    "03.shared.10": Claim("class shared: weight 10 lowers fused accuracy", FUSED, -1, _weight("weight 10")),
    "03.private.10": Claim("class private: weight 10 lowers it", FUSED, -1, _weight("weight 10", **PRIVATE)),
    "03.map.equal": Claim("with equal sensors the gain of weight 1 is smaller than at the star", FUSED, -1,
                          _weight("weight 1", than={}, imbalance=0.0)),
    "03.map.faint": Claim("with imbalance 0.8 it is smaller as well", FUSED, -1,
                          _weight("weight 1", than={}, **FAINT)),
    "03.map.half": Claim("class half private: weight 1 lowers fused accuracy", FUSED, -1,
                         _weight("weight 1", share=0.5)),
    "03.map.large": Claim("class shared, 1,000 samples: weight 1 raises fused accuracy", FUSED, +1,
                          _weight("weight 1", size=1000)),
    "03.map.10": Claim("weight 10 lowers fused accuracy, mean of the 15 worlds", FUSED, -1,
                       _weight("weight 10", **WORLDS)),
    "03.corner": Claim("class private: with 100 samples weight 1 costs more than with 300", FUSED, -1,
                       _weight("weight 1", than=PRIVATE, **toy_dispersion.CORNER)),
    "03.step.gain": Claim("the change at weight 10 is better with a quarter of the step, mean of five worlds",
                          FUSED, +1, _weight("weight 10", than=KINDS, **KINDS | QUARTER)),
    "03.step.shared": Claim("class shared, a quarter of the step: weight 10 raises fused accuracy", FUSED, +1,
                            _weight("weight 10", **QUARTER)),
    "03.step.private": Claim("class private, a quarter of the step: weight 10 lowers it", FUSED, -1,
                             _weight("weight 10", **PRIVATE | QUARTER)),
    "03.step.1": Claim("a quarter of the step: weight 10 is worse than weight 1, mean of five worlds", FUSED,
                       -1, _weight("weight 10", "weight 1", **KINDS | QUARTER)),
    **_bands("star", "at the star", FACTORS),
    **_bands("map", "mean of 15 worlds", (*FACTORS, "fused accuracy"), **WORLDS),
    **_bands("both", "dispersion 0.1, mean of five worlds", (*FACTORS, "fused accuracy"),
             **KINDS, dispersion=0.1),
    **_bands("step", "a quarter of the step, mean of three worlds", FACTORS, share=None, rate=0.0125),
    "04.strong.shared": Claim("rigid alignment with weight 1 lowers the shared factor, mean of 15 worlds",
                              "explained_shared/mean", -1, _arm("rigid 1", module=toy_anchoring, **WORLDS)),
    "04.strong.private": Claim("and the private factor", "explained_private/mean", -1,
                               _arm("rigid 1", module=toy_anchoring, **WORLDS)),
    "04.weak.shared": Claim("with weight 0.03 it raises the shared factor, mean of 15 worlds",
                            "explained_shared/mean", +1, _arm("rigid 0.03", module=toy_anchoring, **WORLDS)),
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
    ["01.own.anchoring", "01.map.shrinks", "01.map.large_control", "01.map.fast", "03.map.half",
     "04.star.shared.0.9", "04.star.private.0.4", "04.star.private.0.9", "04.map.private.0.9",
     "04.map.fused.0.4", "04.both.private.0.4", "04.step.shared.0.4", "04.step.shared.0.9",
     "04.step.private.0.9", "05.default.accuracy"],
    UNDECIDED,
) | dict.fromkeys(
    ["03.step.1", "04.star.shared.0.4", "04.map.shared.0.4", "04.map.shared.0.9", "04.map.private.0.4",
     "04.both.shared.0.4", "04.both.shared.0.9", "04.both.private.0.9", "04.step.private.0.4"], EXCLUDED
)  # fmt: skip


def tested(records: Records | None = None, start: str = "") -> pd.DataFrame:
    """Return ``claims.evidence`` and ``expected``, the verdict that a notebook reports.

    ``start`` is the number of the notebook whose claims are tested, by default of all.
    """
    claims = {key: claim for key, claim in CLAIMS.items() if key.startswith(start)}
    rows = evidence(load(start=start) if records is None else records, claims, least=0.0)
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
