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

# What the notebooks read, and what installs the course elsewhere (on Colab, or on a student's machine): place
# in the checkout -> endings of the files that are copied. Nothing else is, because grades, answers and work
# that was handed in may lie beside these.
FILES = ("pyproject.toml", "environment.yml", "Makefile", "README.md", "LICENSE", "notebooks/recipes.md")
CODE = ("experiments", "notebooks/checks", "notebooks/lab")
COPIED = {
    **dict.fromkeys(FILES, ()),
    **dict.fromkeys(CODE, (".py",)),
    "data_scripts": (".py", ".md"),
    "geomreg_mini": (".py", ".typed", ".html", ".mplstyle"),
    "geomreg_mini/data/emoji_subset": (".npz", ".txt", ".md"),
    "notebooks/course": (".py", ".md", ".html", ".css", ".js", ".txt"),
    "notebooks/figures": (".py", ".gif", ".png"),
    "notebooks/lab/sphere": (".py", ".js", ".css"),
    "notebooks/lab/knobs": (".py", ".js", ".css"),
    "results": (".json", ".csv", ".png", ".md"),
}


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

    `out/notebooks` has the notebooks and their checks, and beside it lies what they read and what installs
    them, so that the folder can be zipped, or pushed as a separate repository (then run `badges` on it).
    Only the files of the course that `COPIED` lists are copied.
    """
    source = sources[0].parent
    root = source.parent
    inside = [path for path in (source, *(root / name for name in COPIED)) if out.is_relative_to(path)]
    if inside or out == root:
        raise CourseError(f"--out {out} lies in the course itself, which it would overwrite: choose another")
    editions = {}
    for path in sources:
        editions[path.name] = student_form(read(path), path.name)
    for name, endings in COPIED.items():
        files = (root / name).rglob("*") if endings else [root / name]
        for path in files:
            below = path.relative_to(root)
            if path.is_file() and not path.is_symlink() and (not endings or path.suffix in endings):
                if not any(part.startswith(".") for part in below.parts):
                    (out / below).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, out / below)
    (out / "notebooks").mkdir(exist_ok=True)
    for name, notebook in editions.items():
        save(notebook, out / "notebooks" / name)
    return len(editions)
