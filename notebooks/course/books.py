"""The notebooks as files: where they are, which numbers they have, and what they say about themselves."""

from __future__ import annotations

import ast
import hashlib
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from data_scripts.fetch import write_atomically

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
SPHERE = "application/vnd.geomreg.sphere+json"  # the live figure of `lab.sphere`, for pages without a kernel


class CourseError(Exception):
    """An error that the user can put right; its text is one sentence that says how."""


def notebooks_folder() -> Path:
    """Return the folder that this package lies in (a checkout), else `notebooks` in the current folder."""
    candidates = [Path(__file__).resolve().parents[1], Path.cwd() / "notebooks"]
    for folder in candidates:
        if any(folder.glob("*.ipynb")):
            return folder
    looked = " or ".join(dict.fromkeys(map(str, candidates)))
    raise CourseError(f"no notebooks found in {looked}: run this command in a checkout of the project")


def select(numbers: list[str], folder: Path | None = None) -> list[Path]:
    """Return the paths of the notebooks with these numbers (`5` and `05` are the same); for `[]`, all.

    Searches `folder`, by default that of the course. Raises CourseError for an unknown number.
    """
    folder = folder.resolve() if folder else notebooks_folder()
    known = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not known:
        raise CourseError(
            f"no notebooks found in {folder}: their names begin with a number, as in 01_name.ipynb"
        )
    for number in numbers:
        if number.zfill(2) not in known:
            raise CourseError(f"there is no notebook {number!r}: choose from {', '.join(known)}")
    return list(known.values()) if not numbers else [known[n] for n in sorted({n.zfill(2) for n in numbers})]


def one_line(text: object, width: int = 200) -> str:
    """Return a text without line breaks and terminal colors, at most `width` characters long."""
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(text)).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def read(path: Path) -> nbformat.NotebookNode:
    """Return a notebook in the current format; raise CourseError if it is missing or damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about cells without an id, which nbformat then adds
            notebook = nbformat.convert(nbformat.reader.reads(path.read_text(encoding="utf-8")), 4)
            nbformat.validate(notebook)
    except Exception as error:
        raise CourseError(
            f"{path.name} is not a readable notebook ({type(error).__name__}: {one_line(error, 100)}): "
            f"restore it, for example with git checkout -- {path}"
        ) from error
    return notebook


def parameters_of(notebook: nbformat.NotebookNode, name: str) -> dict[str, object]:
    """Return the literals assigned in the one cell tagged `parameters`.

    Without that tag papermill would inject MODE at the top, and the notebook would then overwrite it: the run
    would be green and in the wrong mode. Raises CourseError, naming the notebook, unless there is exactly one
    such cell and it assigns MODE and SEED.
    """
    cells = [c for c in notebook.cells if c.cell_type == "code" and has_tag(c, "parameters")]
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


def title_of(notebook: nbformat.NotebookNode) -> str:
    """Return the first heading of a notebook, without its number."""
    prose = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = (re.search(r"^# +(?:\d\d\W+)?(.+)$", source, re.MULTILINE) for source in prose)
    return next((heading.group(1).strip() for heading in headings if heading), "Untitled")


def describe(path: Path) -> tuple[str, str, str, str]:
    """Return (number, title, data, minutes) of a notebook, from its heading and its metadata `course`."""
    notebook = read(path)
    course = notebook.metadata.get("course", {})
    return path.name[:2], title_of(notebook), str(course.get("data", "-")), str(course.get("minutes", "-"))


def writable(folder: Path) -> Path:
    """Return the absolute path of `folder`, made if needed; raise CourseError if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    except OSError as error:
        raise CourseError(
            f"cannot write to {folder} ({error.strerror}): give another folder with --out"
        ) from None


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook in one step: a killed run leaves the old file, never half of a new one."""
    write_atomically(path, f"{nbformat.writes(notebook).rstrip()}\n".encode())


def has_tag(cell: nbformat.NotebookNode, tag: str) -> bool:
    """Return whether a cell has a tag."""
    return tag in (cell.metadata.get("tags") or [])


def fingerprint(notebook: nbformat.NotebookNode) -> str:
    """Return a digest of the code alone; `refresh` stores it, so that an edit without a run is found."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


# ------------------------------------------------------------ the exercises


EXAM = "midterm.form"  # the check of every task of the mid-term; the grader asks another function for points


@dataclass(frozen=True)
class Exercise:
    """`checks.<check>(<arguments>)` under the heading `title`; an open exercise has a title alone.

    A task of the mid-term has `points`, those of a full answer.
    """

    title: str
    check: str = ""
    arguments: str = ""
    points: int = 0


def as_python(source: str) -> str:
    """Return the plain Python of a code cell, with magics and shell commands turned into calls."""
    return TransformerManager().transform_cell(source)


def check_calls(source: str) -> list[tuple[str, str]]:
    """Return (name, arguments) of each `checks.name(arguments)` in a cell, predictions excepted."""
    try:
        tree = ast.parse(as_python(source))
    except SyntaxError:
        return []
    calls = sorted((n for n in ast.walk(tree) if isinstance(n, ast.Call)), key=lambda n: n.lineno)
    return [
        (call.func.attr, ", ".join(map(ast.unparse, call.args)))
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "checks"
        and call.func.attr != "predicted"
    ]


def exercises(notebook: nbformat.NotebookNode) -> list[Exercise]:
    """Return the exercises in their order: the cells under a heading that begins with "Exercise"."""
    found: dict[str, list[tuple[str, str]]] = {}
    title = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if headings := re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE):
                title = headings[-1].strip() if headings[-1].startswith("Exercise") else None
                found.update({title: []} if title else {})
        elif title and cell.cell_type == "code" and not has_tag(cell, "solution"):
            found[title] += check_calls(cell.source)
    return [Exercise(title, *call) for title, calls in found.items() for call in calls or [("", "")]]
