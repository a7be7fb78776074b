"""How long the course takes in quick mode, from the summary of `make run`, where there is one."""

import csv
import heapq
from pathlib import Path

import pytest

JOBS = 2


def test_course_in_quick_mode(measured, request):
    path = Path(request.config.option.course_summary)
    if not path.exists():
        pytest.skip(f"no {path}: `make run` writes it")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ends = [0.0] * JOBS  # notebooks start in their order, each as soon as one of two has ended
    for row in rows:
        heapq.heapreplace(ends, ends[0] + float(row["seconds"]))
    slowest = max(rows, key=lambda row: float(row["seconds"]))
    failed = [row["notebook"] for row in rows if row["status"] != "ok"]
    measured(
        "course",
        "quick mode, two at a time",
        seconds=max(ends),
        notebooks=len(rows),
        failed=failed,
        slowest=slowest["notebook"],
        slowest_seconds=float(slowest["seconds"]),
    )
