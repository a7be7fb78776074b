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


OUTCOME = re.compile(r"(?<![\w.,])(\d+(?:\.\d+)?) (?:accuracy )?(?:points|percent|%)")


def typed(notebook):
    """Yield what is typed into folds of the text and into the words of figures, without what is computed."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from re.findall(r"<summary>What.*?</details>", cell.source, re.DOTALL)
            continue
        for node in ast.walk(ast.parse(books.as_python(cell.source))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "show":
                given = [*node.args[1:], *(word.value for word in node.keywords)]
                texts = [part.value for value in given for part in ast.walk(value) if hasattr(part, "value")]
                yield from (text for text in texts if isinstance(text, str))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_fold_and_the_words_of_a_figure_have_only_points_and_percents_that_a_cell_prints(path):
    notebook = nbformat.read(path, 4)
    texts = [" ".join(text.split()) for text in typed(notebook)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs
                if "image/png" not in output.get("data", {}) and "figure in words" not in str(output)
            ]  # fmt: skip
    known = set(re.findall(r"\d+(?:\.\d+)?", printed(notebook)))
    assert [text for text in texts if set(OUTCOME.findall(text)) - known] == []


def test_typed_points_are_seen():
    cells = [
        nbformat.v4.new_markdown_cell(
            "<details><summary>What came out</summary>It gains 40 points.</details>"
        ),
        nbformat.v4.new_code_cell('plots.show(fig, alt=f"""Up {gain:.0f} points, down 4.2 points.""")'),
        nbformat.v4.new_code_cell('plots.show(fig, "9 %")'),
    ]
    found = [OUTCOME.findall(text) for text in typed(nbformat.v4.new_notebook(cells=cells))]
    assert sum(found, []) == ["40", "4.2", "9"]
