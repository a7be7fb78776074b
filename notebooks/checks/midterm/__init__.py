"""The mid-term on notebooks 00 to 07: eight tasks, 90 minutes, 100 points, and how each is graded.

A *phrase* draws everything: clouds, numbers, variants and the order of options. It is the only secret, since
this folder is public. The grader computes the key from the phrase, and no file holds it. So these modules
tell nothing to somebody who has a student's notebook alone. Any other phrase draws an exam to practice with.

A task has parts with points. Each part tries the answer on its own cases and does not depend on the others,
so a fault costs the points of the parts that it touches.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..judging import OPEN, Open, Unsuitable, filled, first_problem, number, scalar, tensor
from .reading import DIAGNOSES, PAIRS, clouds, forecast, reaches, readings
from .task import Cases, Task, choice, entry
from .writing import crowding, directions, interval, pull

TASKS = (crowding, pull, directions, interval, clouds, readings, forecast, reaches)


def mark_of(phrase: str) -> str:
    """Return the eight digits that a notebook shows, by which the grader knows whose class it is."""
    return hashlib.sha256(f"mid-term of {phrase}".encode()).hexdigest()[:8]


def drawn(phrase: str, task: Callable[[np.random.RandomState], Task]) -> Task:
    """Return one of ``TASKS`` as a phrase draws it."""
    digest = hashlib.sha256(f"{task.__name__} of {phrase}".encode()).digest()
    return task(np.random.RandomState(np.frombuffer(digest, np.uint32)))  # equal in every version of NumPy


def exam(phrase: str) -> list[Task]:
    """Return the tasks that a phrase draws, in their order."""
    return [drawn(phrase, task) for task in TASKS]


def points(phrase: str, mark: object, name: str, answer: object) -> tuple[int, str]:
    """Return the points of an answer to the task ``name``, and a sentence with its first fault.

    ``mark`` is the notebook's CLASS; a notebook of another class gets nothing.
    """
    (task,) = (drawn(phrase, task) for task in TASKS if task.__name__ == name)
    if mark != mark_of(phrase):
        return 0, "this notebook is of another class: compare its CLASS with that of the phrase."
    problems = [(worth, first_problem(answer, cases)) for worth, cases in task.parts]
    reached = sum(worth for worth, problem in problems if problem is None)
    return reached, next((problem for _, problem in problems if problem), "all parts are right.")


def form(name: str, answer: object) -> None:
    """Print whether an answer is of the kind asked for; say nothing about whether it is right."""
    problem = first_problem(answer, FORMS[name])
    print(f"Not yet: {problem}" if problem else "The form fits. The grader says whether it is right.")


def pack(arrays: dict[str, np.ndarray]) -> str:
    """Return arrays as text, for `unpack`."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return base64.b64encode(file.getvalue()).decode()


def unpack(text: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a packed text by name, float32."""
    with np.load(io.BytesIO(base64.b64decode(text))) as found:
        return {name: torch.from_numpy(found[name]).float() for name in found.files}


# ------------------------------------------------------------ the form of an answer, which needs no phrase


def _returns(read: Callable[[Any], object], *arguments: Any) -> Cases:
    def cases(answer: Any) -> Iterator[str]:
        if not callable(answer):
            yield f"your answer is of type {type(answer).__name__}: give a function."
        read(answer(*arguments))

    return cases


def _entries(names: str | tuple[str, ...], read: Callable[[object, str], object]) -> Cases:
    def cases(answer: Any) -> Iterator[str]:
        for name in names:
            try:
                read(answer, name)
            except Open:
                yield f"nothing is at {name} yet." if isinstance(answer, dict) else OPEN

    return cases


def _two_numbers(value: Any) -> None:
    if not isinstance(filled(value), tuple | list) or len(list(map(number, value))) != 2:
        raise Unsuitable("return two numbers, the low and the high end.")


_ROWS = torch.tensor([[1.0, 0], [0, 1], [-1, 0]], dtype=torch.float64)
FORMS: dict[str, Cases] = {
    "crowding": _returns(scalar, _ROWS, torch.ones(3).bool(), torch.tensor([0, 0, 1])),
    "pull": _returns(lambda value: tensor(value, "your answer", 2), _ROWS, _ROWS.flip(0)),
    "directions": _returns(number, torch.tensor([2.0, 1.0, 1.0])),
    "interval": _returns(_two_numbers, {0: 0.7, 1: 0.8, 2: 0.8}, {0: 0.6, 1: 0.8, 2: 0.7}, 4.3),
    "clouds": _entries(PAIRS, lambda answer, name: choice(answer, name, DIAGNOSES)),
    "readings": _entries(("remains", "radius", "falls"), lambda *given: number(entry(*given))),
    "forecast": _entries(("crowd", "drift", "rank", "pull", "weight"), lambda *given: number(entry(*given))),
    "reaches": _entries(("joint", "uniform sum", "DGL"), lambda answer, name: choice(answer, name, "ABCDEF")),
}
