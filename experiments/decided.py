"""The protocol that decides, read and said in words: any prefix of its test seeds, as they are recorded.

``verdict`` has the protocol and its tables. Here its test records are read fast and without its settings: a
test holds them to those that ``verdict.STUDY.load`` checks one by one.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from .claims import CLAIMS, smallest
from .cousins import NAMES, change, gains, wide_change
from .judging import verdict_of_gain
from .study import FROZEN, values
from .verdict import AXES, MARGINS, SEEDS, whole

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 2  # seeds that give an interval
NONE_YET = (
    "Fewer than two test seeds are recorded, so nothing is decided yet: `python -m experiments.verdict` "
    "trains them once its settings are registered."
)


class Headline(NamedTuple):
    """A claim of the paper: ``metric`` of ``ours`` minus that of ``other`` lies on ``side`` of zero."""

    words: str
    paradigm: str
    ours: str
    other: str
    metric: str
    side: int = 1


HEADLINES = (
    Headline(CLAIMS["fused"].words, "dgl", "published", "none", "accuracy/fused"),
    Headline("added to joint training, it raises fused accuracy",
             "joint", "published", "none", "accuracy/fused"),
    Headline("added to joint training, it raises a k-NN probe of the neglected modality",
             "joint", "published", "none", "knn_probe/image"),
    Headline(CLAIMS["drift"].words, "dgl", "published", "none", "paired_drift/mean", -1),
    Headline(CLAIMS["rigid"].words, "joint", "band", "rigid", "accuracy/fused"),
)  # fmt: skip


def headlines(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's claims, judged on a frame of ``load``, as text, a row per claim.

    Accuracies are in points; a gain below the smallest one of ``claims`` is smaller than claimed.
    """
    import pandas as pd

    rows, least = {}, smallest()
    for line in HEADLINES:
        part, points = frame[frame["paradigm"] == line.paradigm], not line.metric.startswith("paired")
        scale, digits = (100, 1) if points else (1, 2)
        (row,) = gains("speakers", part, f"test/{line.metric}", {line.ours: line.other}).to_dict("records")
        said = [
            verdict_of_gain(scale * row[f"{w}low"], scale * row[f"{w}high"], least * points, line.side)
            for w in ("", "wide_")
        ]
        rows[line.words] = {
            "over seeds": f"{change(row, scale, digits)} {said[0]}",
            "for new speakers": f"{wide_change(row, scale, digits).split(' ', 1)[1]} {said[1]}",
            "would see": "; ".join(f"{scale * row[f'{w}detectable']:.{digits}f}" for w in ("", "wide_")),
        }
    return pd.DataFrame(rows).T


def load(folder: str | Path) -> pd.DataFrame:
    """Return the test runs below ``folder`` whose seed is complete in every paradigm, without diverged seeds.

    Columns are those of ``Study.load``. The frame is empty with fewer than ``FEWEST`` such seeds.
    """
    import pandas as pd

    names = {arm.replace(" ", "_"): arm for arm in AXES}
    rows = []
    for path in sorted(Path(folder).glob(f"*/seed*/*-{FROZEN}.json")):
        record = json.loads(path.read_text())
        key = {"paradigm": record["config"]["paradigm"], "seed": record["seed"],
               "arm": names[path.stem.removesuffix(f"-{FROZEN}")]}  # fmt: skip
        rows.append({**key, "setting": FROZEN, "selected": True, **values(SimpleNamespace(**record))})
    if not rows:
        return pd.DataFrame(columns=["seed"])
    frame = whole(pd.DataFrame(rows)).sort_values("seed", kind="stable").reset_index(drop=True)
    return frame if frame["seed"].nunique() >= FEWEST else frame.iloc[:0]


def state(frame: pd.DataFrame) -> str:
    """Return how many seeds a frame of ``load`` has, in a sentence."""
    seeds = frame["seed"].nunique()
    return f"{seeds} of {len(SEEDS)} test seeds." if seeds else NONE_YET


def in_words(frame: pd.DataFrame, table: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Return what the tables of a frame of ``load`` say, one line each.

    table, judged: ``verdict.table`` and ``verdict.verdicts`` of the frame.
    """
    arms = dict.fromkeys(list(AXES)[1:], "none")
    fused = gains("speakers", frame, "test/accuracy/fused", arms)
    lines = [state(frame)]
    for row in fused[fused["arm"] == "published"].to_dict("records"):
        name = NAMES[row["paradigm"]]
        shown = table.loc[f"{name}, published"]
        said = [f"at ±{margin:g} {shown[f'±{margin:g}'].replace(';', ',')}" for margin in MARGINS]
        lines.append(
            f"{name}: the published method changes fused accuracy by {change(row)} over seeds and "
            f"{wide_change(row)} for new speakers; against none it is {', '.join(said)} (seeds, speakers). "
            f"{100 * row['detectable']:.1f} points would have been seen. Active band: {shown['active']}."
        )
    for words, clear in (("gains", fused["low"] > 0), ("loses", fused["high"] < 0)):
        found = [f"{NAMES[row.paradigm]}, {row.arm}" for row in fused[clear].itertuples()]
        lines.append(f"fused accuracy {words} over seeds, without correction for looks: " +
                     ("; ".join(found) or "no arm") + ".")  # fmt: skip
    for title in ("over seeds", "for new speakers"):
        counts = Counter(text.rsplit(" ", 1)[-1] for text in judged[title])
        said = ", ".join(f"{counts[word]} {word}" for word in ("supported", "excluded", "undecided"))
        lines.append(f"{len(judged)} claims, {title}: {said}.")
    return "\n".join(lines)
