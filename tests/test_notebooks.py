"""The structure of the committed notebooks, without executing them.

`make test` executes them twice elsewhere: papermill runs every notebook end to end (`geomreg-course run`),
and nbval runs them again and holds each cell tagged `nbval-check-output` to the output stored here:

    pytest --nbval-lax --nbval-current-env notebooks/01_when_geometry_goes_wrong.ipynb

nbval compares nothing where a cell has no stored output, so the guard below gives its success a meaning.
"""

import re
from pathlib import Path

import nbformat
import pytest

from geomreg_mini.course import books, storing

PATHS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
assert PATHS, "there is no notebook in notebooks/: these tests would hold nothing"


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook, tag=None):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def headings(notebook):
    """(level, text) of each heading, fenced blocks left out."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    return [(len(marks), text) for marks, text in re.findall(r"^(#+) +(.+)$", prose, re.MULTILINE)]


def test_is_a_valid_notebook_with_unique_cell_ids(notebook):
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_has_one_parameters_cell_in_quick_mode(notebook, path):
    parameters = books.parameters_of(notebook, path.name)
    assert (parameters["MODE"], parameters["SEED"]) == ("quick", 0)


def test_says_its_data_and_minutes_for_the_course_list(notebook):
    assert set(notebook.metadata.get("course", {})) == {"data", "minutes"}


def test_outputs_come_from_one_run_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1))
    assert not [o for cell in code_cells(notebook) for o in cell.outputs if o.output_type == "error"]


def test_outputs_are_fit_to_be_committed(notebook):
    assert storing.unfit_to_commit(notebook) == []
    assert storing.committed_form(notebook) == notebook, "run `geomreg-course refresh` on it"


def test_nbval_has_something_to_compare(notebook):
    checked = code_cells(notebook, "nbval-check-output")
    assert checked, "tag at least one cell nbval-check-output"
    for cell in checked:
        assert cell.source.startswith("# NBVAL_CHECK_OUTPUT")
        assert cell.execution_count and cell.outputs
        assert all(output.get("name") == "stdout" for output in cell.outputs), "plain prints only"


def test_every_figure_has_alt_text(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
            assert set(kinds) <= {"image/png"}, "nbval compares SVG, which differs on every run: use PNG"
            for kind in kinds:
                assert len(output.metadata.get(kind, {}).get("alt", "")) > 20, cell.source
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"!\[\s*\]\(", cell.source), "an image in the prose has no alt text"


def test_headings_are_in_order(notebook):
    levels = [level for level, _ in headings(notebook)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_teaches_with_exercises_and_solutions(notebook, path):
    if path.name.startswith("00"):
        return  # the map of the course
    exercises = [text for _, text in headings(notebook) if re.search(r"\bexercise\b", text, re.IGNORECASE)]
    assert len(exercises) >= 2
    assert [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]


def test_code_cells_are_short(notebook):
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= 30, cell.source
