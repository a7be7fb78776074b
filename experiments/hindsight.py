"""What was wrong with the first protocol on digits, computed from its records.

The map of ``regimes``, the table of paradigms and the ablations asked whether a bounded band raises accuracy.
Three questions come before the answer: was the band active, was the comparison fair, did the seeds suffice?
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import paradigm_table, regimes
from .judging import detectable
from .verdict import SEEDS

if TYPE_CHECKING:
    import pandas as pd

FOLDERS = ("digits", "paradigms/digits", "ablations")
RATE = "learning_rate"


def runs(results: str | Path) -> pd.DataFrame:
    """Return one row per recorded run of the first protocol below ``results``.

    Columns: ``paradigm``; ``radius`` of the band, 0 without a band, NaN without a regularizer; ``outside``,
    the share of test pairs outside the band, 0 to 1; ``distance``, the root of the mean squared distance of
    the two unit embeddings of a test pair, 0 to 2.
    """
    import pandas as pd

    rows = []
    for path in (path for folder in FOLDERS for path in sorted((Path(results) / folder).rglob("*.json"))):
        record = json.loads(path.read_text())
        given, metrics = record["config"]["regularizer"], record["metrics"]
        banded = given is not None and given.get("anchoring_weight", 0) > 0
        rows.append({
            "paradigm": record["config"]["paradigm"],
            "radius": given["radius"] if banded else float("nan") if given is None else 0.0,
            "outside": metrics.get("test/band_violation/audio-image", float("nan")),
            "distance": metrics.get("test/paired_drift/audio-image", float("nan")) ** 0.5,
        })  # fmt: skip
    return pd.DataFrame(rows)


def banded(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``runs`` that have a band: anchoring, and a radius above 0."""
    return frame[(frame["radius"] > 0) & frame["outside"].notna()]


def picked_rates(swept: pd.DataFrame) -> dict[str, pd.Series]:
    """Return how often the map's baseline and its control picked each learning rate on offer.

    ``swept``: of ``regimes.STUDY.load``. Values are counts by learning rate.
    """
    offers: Mapping[str, Mapping[str, Any]] = {
        "baseline": regimes.BASELINES, "control": regimes.BASELINES | regimes.CONTROLS,
    }  # fmt: skip
    found = {}
    for arm, settings in offers.items():
        rates = {name: fields[RATE] for name, fields in settings.items()}
        chosen = swept[(swept["arm"] == arm) & swept["selected"]]["setting"].map(rates)
        found[arm] = chosen.value_counts().reindex(sorted(set(rates.values())), fill_value=0)
    return found


def not_offered(table: pd.DataFrame) -> tuple[int, int]:
    """Return in how many cells of the paradigm table the baseline picked a run that the other arm lacked.

    The second number counts all cells. ``table``: of ``paradigm_table.STUDY.load``, digits alone.
    """
    chosen = table[(table["arm"] == "baseline") & table["selected"]]["setting"]
    return int(chosen.isin([f"more-{name}" for name in paradigm_table.MORE]).sum()), len(chosen)


def in_words(frame: pd.DataFrame, swept: pd.DataFrame, table: pd.DataFrame) -> str:
    """Return the faults of the first protocol, one line each; arguments as those of the other functions."""
    own, bare = banded(frame), frame[frame["radius"].isna()]
    radii = sorted(own["radius"].unique())
    near = {p: bare[bare["paradigm"] == p]["distance"].quantile([0.05, 0.95]).tolist()
            for p in ("joint", "dgl")}  # fmt: skip
    rates = picked_rates(swept)
    lines = [
        f"band: of {len(own)} runs with a band, {100 * (own['outside'] >= 0.9).mean():.0f} % have at least "
        "90 % of the test pairs outside it; under DGL the smallest share is "
        f"{100 * own[own['paradigm'] == 'dgl']['outside'].min():.1f} %",
        "distance: nine in ten baselines have pairs at "
        + " and ".join(f"{low:.2f} to {high:.2f} ({p})" for p, (low, high) in near.items())
        + f"; radii on offer were {radii[0]:g} to {radii[-1]:g}",
        *(
            f"grid: the {arm} picked the largest rate on offer, {counts.index[-1]:g}, "
            f"in {counts.iloc[-1]} of {counts.sum()} cases"
            for arm, counts in rates.items()
        ),
        "offer: in the paradigm table, {} of {} baselines are runs that the regularized arm was not "
        "offered".format(*not_offered(table)),
    ]
    return "\n".join(lines)


def detectable_now_and_then(swept: pd.DataFrame, deviation: float) -> pd.DataFrame:
    """Return the detectable gain in points of each regime of the map, and of the protocol that decides.

    Columns: ``protocol``, ``seeds``, ``detectable``. ``deviation``: of a gain between seeds, in points.
    """
    import pandas as pd

    then = regimes.STUDY.gains(swept, "test/accuracy/fused")
    rows = [("the map", int(n), 100 * d) for n, d in zip(then["seeds"], then["detectable"], strict=True)]
    rows.append(("the protocol that decides", len(SEEDS), detectable(deviation, len(SEEDS))))
    return pd.DataFrame(rows, columns=["protocol", "seeds", "detectable"])
