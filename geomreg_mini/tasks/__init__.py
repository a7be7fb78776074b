"""What is trained and how it is judged, apart from the loop that trains it."""

from __future__ import annotations

from .base import Task
from .classification import Classification

TASKS: dict[str, type[Task]] = {"classification": Classification}

__all__ = ["TASKS", "Classification", "Task"]
