"""The outputs that are committed with a notebook: made by one quick run, without traces of the machine."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat

from .books import WIDGET_VIEW, CourseError, fingerprint, one_line, parameters_of, read, save
from .running import CELL_TIMEOUT, Runner, run_all

MACHINE_PATH = r"/(?:root|home|tmp|Users|private/var)/|[A-Z]:\\+Users\\"


def committed_form(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy of an executed notebook without anything that differs between runs and machines.

    Removes papermill's records, execution times, the widget state (web viewers reject notebooks with part of
    it) and widget views, which show nothing without that state; a picture beside a view stays.
    """
    clean = nbformat.from_dict(notebook)
    kept = {key: clean.metadata[key] for key in ("course",) if key in clean.metadata}
    clean.metadata = nbformat.from_dict(
        {
            **kept,
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in clean.cells:
        for key in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill adds empty lists
        if cell.cell_type == "code":
            views = [o for o in cell.outputs if o.get("data", {}).pop(WIDGET_VIEW, None)]
            cell.outputs = [o for o in cell.outputs if o not in views or "image/png" in o.data]
    return clean


def unfit_to_commit(notebook: nbformat.NotebookNode) -> list[str]:
    """Return a sentence per output that must not be committed: a path of this machine, or text on stderr."""
    here = {os.path.expanduser("~"), tempfile.gettempdir(), sys.prefix, str(Path.cwd())} - {os.sep, "~"}
    machine_path = re.compile(rf"(?<![\w.~])(?:{'|'.join([MACHINE_PATH, *map(re.escape, here)])})[^\s'\"<>]*")
    problems = []
    code_cells = (cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())
    for number, cell in enumerate(code_cells, start=1):
        for output in cell.outputs:
            texts = [output.get("text", ""), *map(str, output.get("traceback", []))]
            texts += [str(v) for kind, v in output.get("data", {}).items() if not kind.startswith("image/")]
            for text in texts:
                if found := machine_path.search(text):
                    problems.append(f"code cell {number} prints the path {found.group()} of this machine")
            if output.get("name") == "stderr":
                problems.append(f"code cell {number} writes to stderr: {one_line(output.text, 80)}")
    return problems


def refresh(sources: list[Path], jobs: int) -> int:
    """Execute notebooks with their own (quick) parameters; store the outputs; return 1 if any is refused."""
    for source in sources:
        mode = parameters_of(read(source), source.name)["MODE"]
        if mode != "quick":
            raise CourseError(
                f"{source.name}: the parameters cell says MODE = {mode!r}: commit it with 'quick'"
            )
    refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        # No parameters: papermill then injects no cell, and the cell counts are those of a reader's own run.
        runner = Runner(Path(scratch), {}, CELL_TIMEOUT["quick"])
        for source, outcome in zip(sources, run_all(sources, runner, jobs), strict=True):
            problems = [outcome.error] if outcome.error else []
            if not problems:
                clean = committed_form(read(Path(scratch) / source.name))
                problems = unfit_to_commit(clean)
            if problems:
                refused += 1
                print(f"{source.name} left as it was: {'; '.join(problems)}", file=sys.stderr)
                continue
            clean.metadata.setdefault("course", {})["ran"] = fingerprint(clean)
            save(clean, source)
    return 1 if refused else 0
