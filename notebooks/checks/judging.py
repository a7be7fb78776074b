"""What all checks share: they read an answer, find its first problem, and print the outcome.

Every number and tensor of an answer passes through `number`, `scalar` or `tensor`. These refuse anything that
is not finite, so a check may compare freely: a comparison with NaN is False and would let it through.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
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
        return next(iter(cases(_with_copies(filled(answer)))), None)
    except Open:
        return OPEN
    except Unsuitable as problem:
        return str(problem)
    except (Exception, SystemExit) as error:  # whatever the code of a student does, the notebook goes on
        said = " ".join(str(error).split()).rstrip(".") or "no message"
        return f"your code stopped with {type(error).__name__}: {said}."


def _with_copies(answer: object) -> object:
    """Return ``answer``, if it is a function one that works on copies.

    A case compares with what it gave. A function that works in place would change both.
    """
    if not inspect.isroutine(answer):
        return answer
    return lambda *given, **named: answer(*_copied(given), **_copied(named))


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()  # a gradient flows on to the original
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    if type(value) is dict:
        return {name: _copied(one) for name, one in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


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
    """Return an array, a list, a Series or a tensor of finite numbers as a tensor with ``dims`` dimensions.

    ``name`` says in the sentence which part of the answer is meant.
    """
    if hasattr(filled(value), "to_numpy"):  # a pandas Series, whose index does not count
        value = value.to_numpy(copy=True)
    try:
        made = torch.as_tensor(value, dtype=dtype)
    except (RuntimeError, TypeError, ValueError):
        kind = type(value).__name__
        raise Unsuitable(f"{name} is a {kind}, not a table of numbers: give an array or a tensor.") from None
    if made.ndim != dims:
        raise Unsuitable(f"{name} has shape {tuple(made.shape)}: give {dims} dimension{'s' * (dims > 1)}.")
    if not made.isfinite().all():
        raise Unsuitable(f"{name} holds a value that is not finite.")
    return made


def _one_element(value: object, advice: str) -> None:
    if math.prod(value.shape) != 1:
        raise Unsuitable(f"it has shape {tuple(value.shape)}: {advice}.")


def half_width(changes: torch.Tensor) -> float:
    """Return the half-width of Student's 95 % interval of the mean of changes (n,)."""
    from scipy import stats

    return stats.t.ppf(0.975, len(changes) - 1) * changes.std().item() / len(changes) ** 0.5


def word_of(changes: torch.Tensor, below: str, above: str) -> str:
    """Return the word for an interval of changes (n,) below zero, above zero, or else "undecided"."""
    mean, half = changes.mean().item(), half_width(changes)
    return below if mean < -half else above if mean > half else "undecided"


def interval_problems(
    name: str, given: Sequence[Any], changes: torch.Tensor, below: str, above: str
) -> Iterator[str]:
    """Yield what is wrong with (mean, low, high, word), the answer for paired changes (n,).

    A bootstrap and Student's t are both right, so the ends may lie within bounds.
    """
    mean, low, high = (number(value) for value in given[:3])
    wanted, half = changes.mean().item(), half_width(changes)
    if abs(mean + wanted) < 1e-6 < abs(wanted):
        yield f"{name}: the sign is reversed, since a change is after minus before."
    if abs(mean - wanted) > 1e-6:
        yield f"{name}: the mean change is {wanted:+.4f} in a made-up world, and yours is {mean:+.4f}."
    if not low < mean < high:
        yield f"{name}: the interval [{low:.4f}, {high:.4f}] must have the mean {mean:.4f} inside."
    width = (high - low) / 2
    if width > 1.5 * half:
        yield f"{name}: your interval is {width / half:.1f} times too wide: take differences seed by seed."
    if width < 0.55 * half:
        yield f"{name}: your interval has {width / half:.2f} of the width: is it one standard error?"
    if max(abs(low + half - wanted), abs(high - half - wanted)) > 0.45 * half:
        yield f"{name}: the ends [{low:+.4f}, {high:+.4f}] do not lie around the mean of the changes."
    word = word_of(changes, below, above)
    if not isinstance(given[3], str) or given[3] != word:
        yield f"{name}: the interval [{low:+.4f}, {high:+.4f}] reads {word!r}, and you say {given[3]!r}."
