"""The structure of the committed notebooks, without executing them.

`make test` executes them twice elsewhere: papermill runs every notebook end to end (`geomreg-course run`),
and nbval runs them again and holds each cell tagged `nbval-check-output` to the output stored here:

    pytest --nbval-lax --nbval-current-env notebooks/01_when_geometry_goes_wrong.ipynb

nbval compares nothing where a cell has no stored output, so the guard below gives its success a meaning.
"""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from geomreg_course import badges, books, storing, student

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
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


def by_exercise(notebook):
    """(title of the exercise, cell) for the cells that stand under one."""
    title = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)):
            title = found[-1].strip() if found[-1].startswith("Exercise") else None
        if title:
            yield title, cell


def test_is_a_valid_notebook_with_unique_cell_ids(notebook):
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_has_one_parameters_cell_in_quick_mode(notebook, path):
    parameters = books.parameters_of(notebook, path.name)
    assert (parameters["MODE"], parameters["SEED"]) == ("quick", 0)


def test_says_its_data_and_minutes_for_the_course_list(notebook):
    assert set(notebook.metadata.get("course", {})) - {"ran"} == {"data", "minutes"}


def test_was_run_after_its_code_was_last_edited(notebook):
    ran = notebook.metadata.get("course", {}).get("ran")
    assert ran == books.fingerprint(notebook), "run `geomreg-course refresh` on it"


def test_begins_with_the_set_up_of_all_notebooks(notebook):
    of_all = code_cells(nbformat.read(PATHS[0], as_version=4))[0].source
    assert code_cells(notebook)[0].source == of_all
    badges.stamp(notebook, "a.ipynb", "owner/name", "main")  # raises where a line to be stamped is missing


def test_solutions_are_collapsed_in_jupyterlab_and_colab(notebook):
    for cell in notebook.cells:
        if books.has_tag(cell, "solution") and cell.cell_type == "code":
            assert cell.metadata.get("jupyter") == {"source_hidden": True}
            assert cell.metadata.get("cellView") == "form" and cell.source.startswith("# @title Solution\n")
        elif books.has_tag(cell, "solution"):
            assert cell.source.startswith("<details><summary>"), "fold a model answer in prose"


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


def test_opens_with_objectives_time_and_needs(notebook):
    first = notebook.cells[0].source
    for part in (r"^# \d\d · ", "You will be able to", r"\*\*Time\b", r"\*\*Needs\b"):
        assert re.search(part, first, re.MULTILINE), f"the first cell lacks {part}"
    assert badges.PLACE.search(first), "put `<!-- badge -->` under the title"


def test_closes_with_a_short_recap_and_references(notebook):
    _, recap, references = re.split(
        r"^## (?:Recap|References)$", notebook.cells[-1].source, flags=re.MULTILINE
    )
    assert 3 <= len(re.findall(r"^- ", recap, re.MULTILINE)) <= 7
    assert re.search(r"^- .{20}", references, re.MULTILINE)


def test_every_exercise_has_a_check_or_a_model_answer(notebook, path):
    if path.name.startswith("00"):
        return  # the map of the course
    asked = books.exercises(notebook)
    assert len({exercise.title for exercise in asked}) >= 2
    assert [exercise for exercise in asked if exercise.check]
    solved = {title for title, cell in by_exercise(notebook) if books.has_tag(cell, "solution")}
    assert {exercise.title for exercise in asked} - solved == set(), "no cell tagged solution"


def test_every_solution_asserts_its_check(notebook):
    solutions = "\n".join(cell.source for cell in code_cells(notebook, "solution"))
    for exercise in books.exercises(notebook):
        assert not exercise.check or f"assert checks.{exercise.check}(" in solutions, exercise.title


def test_every_exercise_is_left_open(notebook):
    for title, cell in by_exercise(notebook):
        if (
            cell.cell_type == "code"
            and not books.has_tag(cell, "solution")
            and books.check_calls(cell.source)
        ):
            printed = "".join(output.get("text", "") for output in cell.outputs)
            assert printed.startswith("Not yet: "), f"{title}: the stub holds an answer"


def test_runs_for_students_who_lack_the_solutions(notebook, path):
    student.student_form(notebook, path.name)


def code_lines(source):
    """The lines a reader has to follow: without blank lines, comments, imports, text over several lines."""
    tree = ast.parse(books.as_python(source))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, node.end_lineno + 1))
        elif isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno > node.lineno:
            skipped |= set(range(node.lineno + 1, node.end_lineno + 1))
    lines = enumerate(source.splitlines(), start=1)
    return [
        line for n, line in lines if line.strip() and not line.lstrip().startswith("#") and n not in skipped
    ]


def test_code_cells_are_short(notebook):
    for cell in code_cells(notebook)[1:]:  # the first is the set-up, which is the same everywhere
        assert len(code_lines(cell.source)) <= 18, cell.source


def test_no_output_tells_how_long_something_took(notebook):
    for cell in code_cells(notebook):
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert not re.search(r"\d\s?(?:ms|µs|s|seconds|minutes)\b", printed), printed


def test_the_checked_cells_are_enough_to_notice_a_change():
    notebooks = [nbformat.read(path, as_version=4) for path in PATHS]
    checked = [cell for notebook in notebooks for cell in code_cells(notebook, "nbval-check-output")]
    assert sum(bool(cell.outputs) for cell in checked) >= 3 * len(PATHS)
