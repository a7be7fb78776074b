"""Gains with intervals in words, for the text of a figure: which exclude zero, and the range of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MOST = 8  # rows of one side that are named; of more, the number and the range are said


def in_words(gains: pd.DataFrame, *names: str, scale: float = 1.0, digits: int = 1) -> str:
    """Return which intervals lie above zero and which below, with their means, and the range of the others.

    gains: as ``gain_forest`` or ``gain_map`` draws them: ``gain`` or ``mean``, ``low``, ``high``,
    and the columns ``names``, by default "label", which name a row. ``scale`` multiplies the values.
    """
    column = "gain" if "gain" in gains else "mean"
    sides: dict[str, list[tuple[str, float]]] = {"Above zero": [], "Below zero": [], "": []}
    for row in gains.to_dict("records"):
        side = "Above zero" if row["low"] > 0 else "Below zero" if row["high"] < 0 else ""
        name = " ".join(str(row[n]) for n in names or ("label",)).replace("_", " ")
        sides[side].append((name, scale * row[column]))

    def span(own: list[tuple[str, float]]) -> str:
        low, high = min(value for _, value in own), max(value for _, value in own)
        return f"{low:+.{digits}f} to {high:+.{digits}f}"

    others, parts = sides.pop(""), []
    for side, own in sides.items():
        named = "; ".join(f"{name} {value:+.{digits}f}" for name, value in own)
        parts.append(f"{side}: {named if len(own) <= MOST else f'{len(own)}, from {span(own)}'}." * bool(own))
    if others:
        all_of_them = "All" if len(others) == len(gains) else "The other"
        parts.append(f"{all_of_them} {len(others)} include zero, with means from {span(others)}.")
    return " ".join(filter(None, parts))
