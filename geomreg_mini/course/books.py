"""The notebooks as files: where they are, which numbers they have, and what they say about themselves."""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path

import nbformat


class CourseError(Exception):
    """Something the user can put right; its text is one sentence that says how."""


def notebooks_folder() -> Path:
    """The folder `notebooks` beside the package (a checkout), else the one in the current folder."""
    candidates = [Path(__file__).resolve().parents[2] / "notebooks", Path.cwd() / "notebooks"]
    for folder in candidates:
        if any(folder.glob("*.ipynb")):
            return folder
    looked = " or ".join(dict.fromkeys(map(str, candidates)))
    raise CourseError(f"no notebooks found in {looked}: run this command in a checkout of the project")


def select(numbers: list[str]) -> list[Path]:
    """Paths of the notebooks with these numbers (`5` and `05` are the same), or of all of them for `[]`.

    Raises CourseError naming a number that does not exist and those that do.
    """
    known = {path.name[:2]: path for path in sorted(notebooks_folder().glob("[0-9][0-9]_*.ipynb"))}
    for number in numbers:
        if number.zfill(2) not in known:
            raise CourseError(f"there is no notebook {number!r}: choose from {', '.join(known)}")
    return list(known.values()) if not numbers else [known[n] for n in sorted({n.zfill(2) for n in numbers})]


def parameters_of(notebook: nbformat.NotebookNode, name: str) -> dict[str, object]:
    """The literals assigned in the one cell tagged `parameters`.

    Without that tag papermill would inject MODE at the top, where the notebook then overwrites it: the run
    would be green and in the wrong mode. So CourseError is raised, naming the notebook, unless there is
    exactly one such cell and it assigns MODE and SEED.
    """
    cells = [
        c for c in notebook.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])
    ]
    if len(cells) != 1:
        raise CourseError(f"{name}: found {len(cells)} cells tagged 'parameters': tag exactly one code cell")
    values = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(cells[0].source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for parameter in ("MODE", "SEED"):
        if parameter not in values:
            raise CourseError(
                f"{name}: the cell tagged 'parameters' does not assign {parameter}: add it there"
            )
    return values


def describe(path: Path) -> tuple[str, str, str, str]:
    """(number, title, data, minutes) of a notebook, from its first heading and its metadata `course`."""
    notebook = nbformat.read(path, as_version=4)
    headings = (
        re.search(r"^# +(?:\d\d\W+)?(.+)$", c.source, re.MULTILINE)
        for c in notebook.cells
        if c.cell_type == "markdown"
    )
    title = next((h.group(1).strip() for h in headings if h), path.stem[3:].replace("_", " "))
    course = notebook.metadata.get("course", {})
    return path.name[:2], title, str(course.get("data", "-")), str(course.get("minutes", "-"))


def writable(folder: Path) -> Path:
    """`folder`, made if need be; CourseError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise CourseError(
            f"cannot write to {folder} ({error.strerror}): give another folder with --out"
        ) from None
