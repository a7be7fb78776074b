"""The edition for students: the whole course without its solutions, in a folder that can be given away.

An exercise leaves a stub, whose check prints what is missing and never raises. So this edition runs to its
end as it is, and each open exercise says what to do in its own cell. No other cell may use a name that a
solution makes, because a student would meet a NameError, or a wrong value, far below the exercise. Such a
notebook is refused.
"""

from __future__ import annotations

import shutil
import symtable
from pathlib import Path

import nbformat

from .books import CourseError, as_python, has_tag, read, save

# What the notebooks read, and what installs the course elsewhere (on Colab, or on a student's machine).
COMPANIONS = ("geomreg_mini", "data_scripts", "experiments", "results", "pyproject.toml", "environment.yml",
              "Makefile", "README.md", "LICENSE")  # fmt: skip


def student_form(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return a copy without solutions, outputs and counts; raise CourseError if it could not run."""
    if leaks := leaking_answers(notebook):
        raise CourseError(f"{name}: {leaks[0]}")
    clean = nbformat.from_dict(notebook)
    clean.cells = [cell for cell in clean.cells if not has_tag(cell, "solution")]
    clean.metadata.get("course", {}).pop("ran", None)
    for cell in clean.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return clean


def leaking_answers(notebook: nbformat.NotebookNode) -> list[str]:
    """Return a sentence per cell that needs a name whose last value comes from a solution."""
    solved: set[str] = set()
    problems = []
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        bound, used = names(as_python(cell.source))
        if has_tag(cell, "solution"):
            solved |= bound
        else:
            problems += [
                f"code cell {number} uses {name!r}, which a solution made: make it anew for students"
                for name in sorted((used - bound) & solved)
            ]
            solved -= bound
    return problems


def names(source: str) -> tuple[set[str], set[str]]:
    """Return (bound, used): the global names that a cell assigns, defines or imports, and those it reads."""
    top = symtable.symtable(source, "cell", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    inner = top.get_children()
    while inner:
        table = inner.pop()
        used |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        inner += table.get_children()
    return bound, used


def write_student_edition(sources: list[Path], out: Path) -> int:
    """Fill `out` with the course without solutions and return its number of notebooks.

    `out/notebooks` has the notebooks and `checks.py`. The files that they read, and those that install them,
    lie next to it, so the folder can be zipped, or pushed as a separate repository (then run `badges` on it).
    The lecturer's folder `notebooks/instructor` is left out.
    """
    source = sources[0].parent
    root = source.parent
    companions = [root / name for name in COMPANIONS if (root / name).exists()]
    inside = [path for path in (source, *companions) if out.is_relative_to(path)]
    if inside or out == root:
        raise CourseError(f"--out {out} lies in the course itself, which it would overwrite: choose another")
    editions = {}
    for path in sources:
        editions[path.name] = student_form(read(path), path.name)
    hidden = shutil.ignore_patterns(".*", "__pycache__", "*.pyc", "instructor", "*.ipynb")
    shutil.copytree(source, out / "notebooks", ignore=hidden, dirs_exist_ok=True)
    for path in companions:
        if path.is_dir():
            shutil.copytree(path, out / path.name, ignore=hidden, dirs_exist_ok=True)
        else:
            shutil.copy2(path, out / path.name)
    for name, notebook in editions.items():
        save(notebook, out / "notebooks" / name)
    return len(editions)
