"""The tasks and the benchmarks' data sets: models and metrics, apart from the training loop."""

from ..tasks import Classification, Task
from .clustering import Clustering
from .retrieval import Retrieval
from .subsets import Subsets

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "clustering": Clustering,
    "retrieval": Retrieval,
    "subsets": Subsets,
}

__all__ = ["TASKS", "Classification", "Clustering", "Retrieval", "Subsets", "Task"]
