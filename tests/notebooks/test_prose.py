"""An interval that a sentence quotes is printed by a cell of the same notebook; alt texts are computed."""

import ast
import html
import re
from pathlib import Path

import nbformat
import pytest
from geomreg_course import books

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


POINTS = re.compile(r"\d (?:accuracy )?points\b")


def typed_words(notebook):
    """What a notebook types into folds of its text and into alt texts, without what a cell computes."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from re.findall(r"<details>.*?</details>", cell.source, re.DOTALL)
        elif "plots.show(" in cell.source:
            for node in ast.walk(ast.parse(books.as_python(cell.source))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "plots.show":
                    given = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
                    constants = (part for value in given for part in ast.walk(value))
                    yield from (part.value for part in constants if isinstance(part, ast.Constant))


@pytest.mark.parametrize("path", NOTEBOOKS[:6], ids=lambda path: path.stem)
def test_no_fold_and_no_alt_text_has_a_typed_number_of_points(path):
    words = [" ".join(text.split()) for text in typed_words(nbformat.read(path, 4)) if isinstance(text, str)]
    assert words and not [text for text in words if POINTS.search(text)]


def test_a_typed_number_of_points_is_seen():
    cells = [nbformat.v4.new_markdown_cell("<details>It gains 40 points.</details>")]
    cells += [
        nbformat.v4.new_code_cell(f"plots.show(fig, {alt})") for alt in ('"up 4 points"', 'f"{gain} points"')
    ]
    found = [bool(POINTS.search(text)) for text in typed_words(nbformat.v4.new_notebook(cells=cells))
             if isinstance(text, str)]  # fmt: skip
    assert found == [True, True, False]
