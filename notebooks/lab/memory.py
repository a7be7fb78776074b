"""What the lab remembers: runs with a number that stays, their curves for the canvas, and a table."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .runs import CURVES, Run

NUMBERS = {
    "fused": "accuracy/fused",
    "a": "accuracy/a",
    "b": "accuracy/b",
    "b, neighbors": "knn/b",
    "rank a": "effective_rank/a",
    "rank b": "effective_rank/b",
    "drift": "paired_drift",
    "outside": "outside",
}


@dataclass
class Entry:
    """One run of a setting, or one per seed, under a number that never changes."""

    number: int
    runs: list[Run]

    @cached_property
    def now(self) -> list[dict[str, float]]:
        """`Run.now` of each run."""
        return [run.now for run in self.runs]

    @cached_property
    def fused(self) -> list[float]:
        """The mean fused accuracy per epoch."""
        return _accuracies(self.runs).mean(axis=0)[:, CURVES.index("fused")].tolist()

    @property
    def name(self) -> str:
        """The number, and the seeds if there are several."""
        return f"run {self.number}" + (f", {len(self.runs)} seeds" if len(self.runs) > 1 else "")


def _spread(values: Sequence[float]) -> str:
    mean, low, high = np.mean(values), min(values), max(values)
    return f"{mean:.2f}" + (f" ({low:.2f}–{high:.2f})" if len(values) > 1 else "")


def curves(runs: Sequence[Run], epochs: int, earlier: Iterable[Entry] = ()) -> dict[str, object]:
    """Return accuracies for `Sphere.curves`: of one run, or the mean and range of several."""
    values = _accuracies(runs)
    last = ", ".join(f"{m} {_spread(values[:, -1, k])}" for k, m in enumerate(CURVES))
    several = f"{len(runs)} seeds, mean (lowest–highest); the picture is of seed {runs[0].seed}. "
    opening = f"Epoch {values.shape[1] - 1} of {epochs}. {several if len(runs) > 1 else ''}"
    told = {
        "names": list(CURVES),
        "rows": values.mean(axis=0).round(3).tolist(),
        "length": epochs + 1,
        "caption": f"{opening}Accuracy: {last}.",
        "earlier": [entry.fused for entry in earlier],
    }
    if len(runs) > 1:
        told |= {"low": values.min(axis=0).tolist(), "high": values.max(axis=0).tolist()}
    return told


def _accuracies(runs: Sequence[Run]) -> np.ndarray:
    """Return (runs, epochs, curves), as many epochs as the shortest run has."""
    rows = [run.accuracies() for run in runs]
    return np.array([row[: min(map(len, rows))] for row in rows])


def table(entries: Sequence[Entry], pins: Mapping[str, Entry]) -> str:
    """Return settings and last numbers as an HTML table: the pinned ones, then the rest, newest first."""
    shown = [(f"pin {pin}: {entry.name}", entry) for pin, entry in sorted(pins.items())]
    shown += [(entry.name, entry) for entry in reversed(entries)]
    rows = [["", *NUMBERS, "epoch", "changed"]]
    for name, entry in shown:
        numbers = [_spread([row[key] for row in entry.now]) for key in NUMBERS.values()]
        changed = entry.runs[0].setting.changed().items()
        words = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in changed) or "nothing"
        rows.append([name, *numbers, str(entry.now[0]["epoch"]), words])
    cells = [
        "".join(
            f'<{tag} style="padding: 2px 8px; text-align: {"left" if c == row[-1] else "right"}">'
            f"{html.escape(c)}</{tag}>" for c in row
        )
        for row, tag in zip(rows, ["th", *["td"] * len(shown)], strict=True)
    ]  # fmt: skip
    caption = "<caption style='text-align: left'>Runs, newest first (validation)</caption>"
    body = f"<table>{caption}<tr>{'</tr><tr>'.join(cells)}</tr></table>"
    return f'<div style="overflow-x: auto">{body}</div>'
