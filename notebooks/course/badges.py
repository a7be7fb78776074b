"""A fork points its notebooks at itself: a Colab badge in each, and its git address in each set-up cell."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from .books import CourseError, fingerprint, read, save

PLACE = re.compile(r"<!-- badge -->|\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
COLAB = "https://colab.research.google.com"


def stamp(notebook: nbformat.NotebookNode, name: str, repository: str, ref: str) -> None:
    """Set the badge of the first prose cell, and `REPOSITORY` and `REF` of the first code cell, in place.

    Outputs stay: if the course is installed, none of these lines changes anything. Raises CourseError, naming
    the notebook, if a line to be stamped is missing.
    """
    was_run = notebook.metadata.get("course", {}).get("ran") == fingerprint(notebook)
    link = f"{COLAB}/github/{repository}/blob/{ref}/notebooks/{name}"
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({link})"
    values = {"REPOSITORY": f"https://github.com/{repository}", "REF": ref}
    prose = next((cell for cell in notebook.cells if cell.cell_type == "markdown"), None)
    setup = next((cell for cell in notebook.cells if cell.cell_type == "code"), None)
    if prose is None or not PLACE.search(prose.source):
        raise CourseError(f"{name}: its first cell has no badge: put `<!-- badge -->` under the title")
    prose.source = PLACE.sub(badge, prose.source, count=1)
    for variable, value in values.items():
        line = re.compile(rf'^{variable} = "[^"\n]*"', re.MULTILINE)
        if setup is None or not line.search(setup.source):
            raise CourseError(
                f"{name}: its first code cell does not assign {variable}: copy the set-up of 00"
            )
        setup.source = line.sub(f'{variable} = "{value}"', setup.source, count=1)
    if was_run:
        notebook.metadata["course"]["ran"] = fingerprint(notebook)


def stamp_all(sources: list[Path], repository: str, ref: str) -> None:
    """Stamp these notebooks, or none of them if one cannot be stamped; raise CourseError then."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise CourseError(f"--repo {repository!r} is not OWNER/NAME, the two parts of a GitHub address")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", ref):
        raise CourseError(f"--ref {ref!r} is not the name of a branch or tag")
    notebooks = {path: read(path) for path in sources}
    for path, notebook in notebooks.items():
        stamp(notebook, path.name, repository, ref)
    for path, notebook in notebooks.items():
        save(notebook, path)
