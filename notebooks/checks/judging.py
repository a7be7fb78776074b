"""What all checks share: they read an answer, find its first problem, and print the outcome.

Every number and tensor of an answer passes through `number`, `scalar` or `tensor`. These refuse anything that
is not finite, so a check may compare freely: a comparison with NaN is False and would let it through.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

OPEN = "nothing here yet: put your own code or value where `...` or None stands, and run the cell again."

T = TypeVar("T")


class Open(Exception):
    """The exercise has not been filled in."""


class Unsuitable(Exception):
    """The answer is not of the kind asked for; the text is the sentence to print."""


def predicted(guess: object, answer: object, because: str) -> None:
    """Compare a prediction made before running with what happened; ``guess`` is None without a prediction."""
    if guess is None:
        opening = "No prediction stored; what happened"
    elif str(guess).strip().lower() == str(answer).strip().lower():
        opening = "As you predicted"
    else:
        opening = f"You predicted {guess}; what happened"
    print(f"{opening}: {answer}, because {because}")


def verdict(problem: str | None, praise: str) -> bool:
    """Print the outcome of a check, the problem or else the praise, and return True without a problem."""
    print(f"Not yet: {problem}" if problem else f"Right: {praise}")
    return problem is None


def first_problem(answer: object, cases: Callable[[object], Iterable[str]]) -> str | None:
    """Return the first sentence that ``cases(answer)`` yields; an exception becomes a sentence as well."""
    try:
        return next(iter(cases(filled(answer))), None)
    except Open:
        return OPEN
    except Unsuitable as problem:
        return str(problem)
    except Exception as error:  # whatever the code of a student does, the notebook goes on
        said = " ".join(str(error).split()).rstrip(".") or "no message"
        return f"your code stopped with {type(error).__name__}: {said}."


def filled(value: T) -> T:
    """Return ``value``; raise Open if it is still None or ``...``."""
    if value is None or value is ...:
        raise Open
    return value


def of_kind(value: object, kind: type[T], asked: str) -> T:
    """Return ``value``; raise Unsuitable if it is not an instance of ``kind``, which ``asked`` describes."""
    if not isinstance(filled(value), kind):
        raise Unsuitable(f"your answer is of type {type(value).__name__}: give {asked}.")
    return value


def number(value: object, *, if_not_finite: str = "") -> float:
    """Return a finite number as a float: from Python, NumPy or a tensor with one element.

    ``if_not_finite`` replaces the sentence for NaN and infinity.
    """
    if hasattr(filled(value), "shape") and hasattr(value, "item"):
        _one_element(value, "give one number")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise Unsuitable(f"your answer is of type {type(value).__name__}: give a number.")
    if not math.isfinite(value):
        raise Unsuitable(if_not_finite or f"a finite number is asked for, and yours is {value}.")
    return float(value)


def scalar(value: object, *, if_not_finite: str = "") -> torch.Tensor:
    """Return ``value``, a tensor with one finite element that can carry a gradient, unchanged."""
    if not torch.is_tensor(filled(value)):
        raise Unsuitable(f"it returned a {type(value).__name__}, and only a tensor carries a gradient.")
    _one_element(value, "a loss is one number, so take the mean")
    number(value, if_not_finite=if_not_finite)
    return value


def tensor(value: object, name: str, dims: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return an array, a list or a tensor of finite numbers as a tensor with ``dims`` dimensions.

    ``name`` says in the sentence which part of the answer is meant.
    """
    made = torch.as_tensor(filled(value), dtype=dtype)
    if made.ndim != dims:
        raise Unsuitable(f"{name} has shape {tuple(made.shape)}: give {dims} dimension{'s' * (dims > 1)}.")
    if not made.isfinite().all():
        raise Unsuitable(f"{name} holds a value that is not finite.")
    return made


def _one_element(value: object, advice: str) -> None:
    if math.prod(value.shape) != 1:
        raise Unsuitable(f"it has shape {tuple(value.shape)}: {advice}.")
