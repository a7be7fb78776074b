"""What a task of the mid-term is, and how the entries of an answer are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..judging import Unsuitable, filled, number, of_kind

Cases = Callable[[Any], Iterator[str]]


@dataclass(frozen=True)
class Task:
    """One task: what a student sees, and its ``parts``, (points, cases), which depend on the phrase.

    ``given`` has the arrays that the notebook holds, and ``stub`` its code, which assigns ``name``.
    """

    name: str
    title: str
    minutes: int
    text: str
    stub: str
    parts: list[tuple[int, Cases]] = field(repr=False)
    given: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def points(self) -> int:
        """Return the points of a full answer."""
        return sum(points for points, _ in self.parts)


def near(value: float, wanted: float, error: float = 2e-3) -> bool:
    """Return whether a value is right up to a relative error."""
    return abs(value - wanted) <= error * max(abs(wanted), 1e-9)


def entry(answer: object, name: str) -> object:
    """Return what an answer, a dict, has under ``name``; raise Open if there is nothing yet."""
    return filled(of_kind(answer, dict, "the dict of the task").get(name))


def choice(answer: object, name: str, options: tuple[str, ...] | str) -> str:
    """Return the option that stands at ``name``; raise Unsuitable if it is none of ``options``."""
    said = of_kind(entry(answer, name), str, "a text for each").strip().lower()
    matching = [option for option in options if option.lower() == said]
    if not matching:
        raise Unsuitable(f"the text at {name} is not an option: choose from {', '.join(options)}.")
    return matching[0]


def chosen(name: str, right: str, options: tuple[str, ...] | str) -> Cases:
    """Return the cases of one choice."""

    def cases(answer: Any) -> Iterator[str]:
        if (said := choice(answer, name, options)) != right:
            yield f"{name} is {right}, not {said}."

    return cases


def computed(name: str, right: float, error: float = 0.01) -> Cases:
    """Return the cases of one number with a relative error."""

    def cases(answer: Any) -> Iterator[str]:
        if not near(got := number(entry(answer, name)), right, error):
            yield f"{name} is {right:.3f}, and yours is {got:.3f}."

    return cases
