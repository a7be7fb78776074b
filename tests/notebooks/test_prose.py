"""An interval that a sentence quotes is printed by a cell of the same notebook."""

import html
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
QUOTED = re.compile(r"[+-]\d+\.\d+ \[[+-]\d+\.\d+, [+-]\d+\.\d+\]")


def printed(notebook):
    """The text of all outputs, with plain spaces and none inside the brackets of an interval."""
    parts = []
    for output in (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs):
        parts += [output.get("text", "")]
        parts += [
            html.unescape(text) for kind, text in output.get("data", {}).items() if kind.startswith("text/")
        ]
    return re.sub(r"\[ *([+-]?[\d.]+), *([+-]?[\d.]+)\]", r"[\1, \2]", "\n".join(parts).replace("\xa0", " "))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_interval_in_prose_is_printed_by_a_cell(path):
    notebook = nbformat.read(path, 4)
    prose = [" ".join(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown"]
    assert {found for text in prose for found in QUOTED.findall(text)} - set(
        QUOTED.findall(printed(notebook))
    ) == set()


def test_quoted_intervals_are_seen():
    """The pattern finds what the notebooks quote, so that the test above can fail."""
    assert QUOTED.findall("a gain of +0.8 [-0.7, +2.3] points") == ["+0.8 [-0.7, +2.3]"]
    texts = (nbformat.read(path, 4).cells for path in NOTEBOOKS)
    assert sum(bool(QUOTED.search(cell.source)) for cells in texts for cell in cells) > 3
