"""Write the mid-term of one class, a notebook that holds no answer; `grading` grades it.

A phrase draws the tasks (`notebooks/checks/midterm`) and their key, which no file holds.
"""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path
from types import ModuleType

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from .books import EXAM, CourseError, Exercise, notebooks_folder, read, save, select
from .graded import course_checks

STEM = "midterm"
LEAST = 8  # characters of a phrase; a shorter one could be found by trying all
COVER = """# Mid-term · Geometry of multimodal representations

Class `{mark}` · {minutes} minutes · {points} points · notebooks 00 to 07

Write your answers where `...` stands. The last line of each cell says whether the *form* of an answer fits,
not whether it is right. A task has parts, so an incomplete answer can earn points, and an empty one does not
disturb the others. You may use the course, its notebooks and its library, and nobody's help. Save this
notebook and hand in the file.
"""
IMPORTS = """import math

import checks
import torch

from geomreg_mini import geometry"""


def _exam() -> ModuleType:
    with course_checks(str(notebooks_folder())):
        return importlib.import_module("checks.midterm")


def asked(phrase: str) -> list[Exercise]:
    """Return the tasks of a phrase as exercises with points."""
    return [
        Exercise(f"Task {n} · {task.title}", EXAM, f'"{task.name}", {task.name}', task.points)
        for n, task in enumerate(_exam().exam(phrase), start=1)
    ]


def write_exam(phrase: str, out: Path) -> Path:
    """Write the notebook for students into `out` and return its path; CourseError if the phrase is short."""
    if len(phrase) < LEAST:
        raise CourseError(
            f"the phrase has {len(phrase)} characters: give {LEAST} or more, or none for a random one"
        )
    exam = _exam()
    tasks, exercises, mark = exam.exam(phrase), asked(phrase), exam.mark_of(phrase)
    set_up = next(cell for cell in read(select([])[0]).cells if cell.cell_type == "code")
    packed = textwrap.fill(exam.pack({name: z for task in tasks for name, z in task.given.items()}), 108)
    data = f'# The data of your class. Leave this cell as it is.\nCLASS = "{mark}"\n'
    cover = COVER.format(
        mark=mark, minutes=sum(task.minutes for task in tasks), points=sum(task.points for task in tasks)
    )
    cells = [new_markdown_cell(cover), new_code_cell(set_up.source), new_code_cell(IMPORTS)]
    cells.append(new_code_cell(f'{data}given = checks.midterm.unpack("""\n{packed}\n""")'))
    for cell in (cells[1], cells[-1]):
        cell.metadata["jupyter"] = {"source_hidden": True}
    for task, exercise in zip(tasks, exercises, strict=True):
        heading = f"## {exercise.title}\n\n{task.points} points, {task.minutes} minutes\n\n{task.text}"
        call = f"checks.{exercise.check}({exercise.arguments})"
        cells += [new_markdown_cell(heading), new_code_cell(f"{task.stub}\n\n\n{call}")]
    for number, cell in enumerate(cells):
        cell["id"] = f"midterm-{number:02}"
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = read(select([])[0]).metadata.get("kernelspec", {})
    save(notebook, out / f"{STEM}.ipynb")
    return out / f"{STEM}.ipynb"
