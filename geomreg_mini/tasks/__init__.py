"""What is trained and how it is judged, apart from the loop that trains it."""

from __future__ import annotations

from .base import Task
from .classification import Classification
from .clustering import Clustering
from .retrieval import Retrieval

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "clustering": Clustering,
    "retrieval": Retrieval,
}

__all__ = ["TASKS", "Classification", "Clustering", "Retrieval", "Task"]
