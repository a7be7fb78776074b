"""Points and percent in the words of a figure are computed from what is drawn, or printed by a cell."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from geomreg_course import books
from test_prose import printed

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OUTCOME = re.compile(r"(?<![\w.,])(\d+(?:\.\d+)?) (?:points|percent|%)")


def typed(source):
    """Yield each text that a cell hands to ``plots.show``, without what an f-string computes."""
    for node in ast.walk(ast.parse(books.as_python(source))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "show":
            for given in [*node.args[1:], *(word.value for word in node.keywords)]:
                texts = (part.value for part in ast.walk(given) if isinstance(part, ast.Constant))
                yield from (" ".join(text.split()) for text in texts if isinstance(text, str))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outcome_is_typed_into_the_words_of_a_figure(path):
    notebook, texts = nbformat.read(path, 4), []
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        texts += typed(cell.source)
        cell.outputs = [
            output for output in cell.outputs
            if "image/png" not in output.get("data", {}) and "figure in words" not in str(output)
        ]  # fmt: skip
    known = set(re.findall(r"\d+(?:\.\d+)?", printed(notebook)))
    assert [text for text in texts if set(OUTCOME.findall(text)) - known] == []


def test_typed_points_are_seen():
    source = 'plots.show(fig, alt=f"""Up {gain:.0f} points, down 4.2 points."""); plots.show(fig, "9 %")'
    assert [OUTCOME.findall(text) for text in typed(source)] == [[], ["4.2"], [], ["9"]]
