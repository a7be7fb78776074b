"""In every notebook of the course learners write two experiments of their own, not only small functions."""

from pathlib import Path

import nbformat
import pytest
from geomreg_course import books
from test_notebooks import by_exercise, code_lines

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WITH_EXPERIMENTS = [f"{number:02d}" for number in (*range(1, 10), 16, 17, 18)]
LEAST = 15  # lines of code in a solution, without comments, texts and the tables that use it


def lengths(path):
    """{title of an exercise: code lines of the longest cell of its solution}."""
    found = {}
    for title, cell in by_exercise(nbformat.read(path, as_version=4)):
        if cell.cell_type == "code" and books.has_tag(cell, "solution"):
            found[title] = max(found.get(title, 0), len(code_lines(cell.source)))
    return found


@pytest.mark.parametrize("number", WITH_EXPERIMENTS)
def test_two_solutions_have_fifteen_lines_or_more(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    found = lengths(path)
    assert sum(lines >= LEAST for lines in found.values()) >= 2, found


@pytest.mark.parametrize("number", WITH_EXPERIMENTS)
def test_long_exercises_are_checked(number):
    """An open exercise can be long, too. But two of those that count have a check that tries the answer."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    checked = {one.title for one in books.exercises(nbformat.read(path, as_version=4)) if one.check}
    found = lengths(path)
    assert sum(found[title] >= LEAST for title in checked) >= 2, found
