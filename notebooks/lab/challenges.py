"""Challenges: a world that may be locked, conditions, and a score on seeds that the lab does not show.

Worlds were chosen on seeds 100 to 103. Thresholds were then set so that each challenge can be solved on the
hidden seeds, and so that no preset solves any. The third is solved by the defaults, without a regularizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .runs import Run, Setting, train

HIDDEN = (207, 311, 419)


@dataclass(frozen=True)
class Condition:
    """A number of `Run.now`, or the smallest or largest of several, that must lie above or below a limit."""

    text: str
    keys: tuple[str, ...]
    above: float | None = None
    below: float | None = None

    def holds(self, now: Mapping[str, float]) -> bool:
        """Return whether every number lies on the right side; NaN does not."""
        values = [now[key] for key in self.keys]
        return all(v > self.above if self.below is None else v < self.below for v in values)


def _above(text: str, limit: float, *keys: str) -> Condition:
    return Condition(f"{text} above {limit:g}", keys, above=limit)


def _below(text: str, limit: float, *keys: str) -> Condition:
    return Condition(f"{text} below {limit:g}", keys, below=limit)


@dataclass(frozen=True)
class Score:
    """How many conditions hold on how many hidden seeds, of how many, and a sentence that says which."""

    held: int
    of: int
    words: str


@dataclass(frozen=True)
class Challenge:
    """A task for the lab: conditions that must hold on each hidden seed, and values that are locked.

    ``start`` has further values that the lab's controls begin with.
    """

    words: str
    conditions: tuple[Condition, ...]
    locked: Mapping[str, object] = field(default_factory=dict)
    start: Mapping[str, object] = field(default_factory=dict)

    def score(self, setting: Setting | Mapping, watch: Callable[[Run], None] | None = None) -> Score:
        """Train the setting, or a dict of its fields, on the hidden seeds and count what holds.

        Raises:
            ValueError: if the setting changes a locked value.
        """
        if not isinstance(setting, Setting):
            setting = Setting(**{**self.locked, **setting})
        for name, value in self.locked.items():
            if getattr(setting, name) != value:
                raise ValueError(f"`{name}` is {value!r} in this challenge, got {getattr(setting, name)!r}.")
        now = [train(setting, seed=seed, watch=watch).now for seed in HIDDEN]
        counts = {c.text: sum(c.holds(row) for row in now) for c in self.conditions}
        held, of = sum(counts.values()), len(HIDDEN) * len(self.conditions)
        parts = "; ".join(f"{text}: {count} of {len(HIDDEN)}" for text, count in counts.items())
        return Score(held, of, f"Score {held} of {of}. Hidden seeds on which it holds: {parts}.")


RANKS = _above("both effective ranks", 1.8, "effective_rank/a", "effective_rank/b")
FEW = {"noise": 0.6, "train_size": 100, "paradigm": "joint", "dimensions": 2}
CHALLENGES = {
    "1 · spread and agreed": Challenge(
        "Spread both modalities and keep their pairs closer than unrelated ones (2), in any world and by any "
        "training.",
        (RANKS, _below("paired drift", 1.4, "paired_drift"), _above("fused accuracy", 0.8, "accuracy/fused")),
    ),
    "2 · rescue": Challenge(
        "There are only 100 training samples, and joint training gets little more than half of the labels "
        "right. The world, the paradigm and the dimension are locked.",
        (
            _above("fused accuracy", 0.68, "accuracy/fused"),
            _above("effective rank of b", 1.5, "effective_rank/b"),
        ),
        {**FEW, "imbalance": 0.6, "private_share": 0.0},
    ),
    "3 · less is more": Challenge(
        "Again 100 samples, but now all of the class is private: each sensor knows a half that the other "
        "lacks. You start with both terms on. The world, the paradigm, the step size and the dimension are "
        "locked.",
        (_above("fused accuracy", 0.9, "accuracy/fused"), _above("fused accuracy", 0.92, "accuracy/fused")),
        {**FEW, "imbalance": 0.0, "private_share": 1.0, "learning_rate": 0.1},
        {"dispersion_weight": 0.3, "anchoring_weight": 0.3, "radius": 0.3},
    ),
    "4 · all at once": Challenge(
        "The strong sensor is very noisy. Be right, sort b by class, spread both and keep the drift below "
        "that of unrelated pairs. The world and the dimension are locked.",
        (
            _above("fused accuracy", 0.8, "accuracy/fused"),
            _above("b by its nearest neighbors", 0.85, "knn/b"),
            RANKS,
            _below("paired drift", 1.6, "paired_drift"),
        ),
        {"noise": 1.0, "imbalance": 0.6, "private_share": 0.0, "train_size": 300, "dimensions": 2},
    ),
}  # fmt: skip
