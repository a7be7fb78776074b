"""`geomreg-course student`: no solution, nothing of a run, and nothing that fails without the answers."""

import subprocess
from pathlib import Path

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, student
from small_course import code, master, notebook, write_course

# what may lie beside the course and is not part of it
PRIVATE = ("grades.csv", "notebooks/grades.csv", "notebooks/my_answers.txt", "notebooks/answers.py",
           "notebooks/handed_in/ann/01_tiny.ipynb", "notebooks/handed_in/ann/01_tiny.py",
           "notebooks/01_tiny_solved.md", "notebooks/lab/grades.csv", "notebooks/lab/.secret.py",
           "notebooks/scan.pdf", "results/list_of_students.xlsx", "geomreg_mini/notes.txt", "exam/exam.py",
           ".env")  # fmt: skip


@pytest.fixture
def edition(tmp_path, monkeypatch):
    folder = write_course(tmp_path / "course")
    (folder / "instructor").mkdir()
    (folder / "instructor" / "key.md").write_text("b, c, a")
    (tmp_path / "course" / "results").mkdir()
    (tmp_path / "course" / "results" / "record.json").write_text("{}")
    for place in PRIVATE:
        path = tmp_path / "course" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not for students")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    assert course.main(["student", "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def test_solutions_and_outputs_are_gone_and_all_else_stays(edition):
    made = nbformat.read(edition / "notebooks" / "01_tiny.ipynb", as_version=4)
    kept = [cell for cell in master().cells if "solution" not in cell.metadata.get("tags", [])]
    assert [cell.source for cell in made.cells] == [cell.source for cell in kept]
    assert all(
        cell.outputs == [] and cell.execution_count is None for cell in made.cells if "outputs" in cell
    )


def test_what_the_notebooks_need_lies_beside_them_and_the_lecturer_s_key_does_not(edition):
    files = {str(path.relative_to(edition)) for path in edition.rglob("*") if path.is_file()}
    assert files == {"notebooks/01_tiny.ipynb", "notebooks/checks/__init__.py", "results/record.json"}


def test_every_file_that_the_course_can_read_is_in_the_edition(tmp_path):
    """Pages, pictures and licences too, not only code: a template that was left out failed a notebook."""
    root = Path(__file__).parents[2]
    listed = ["git", "ls-files", "data_scripts", "experiments", "geomreg_mini", "notebooks", "results"]
    found = subprocess.run(listed, cwd=root, capture_output=True, text=True)
    if found.returncode or not found.stdout:
        pytest.skip("this course is no git checkout")
    assert course.main(["student", "--out", str(tmp_path / "out")]) == 0
    wanted = [name for name in found.stdout.splitlines() if not name.startswith("notebooks/instructor/")]
    assert [name for name in wanted if not (tmp_path / "out" / name).is_file()] == []


def test_it_runs_to_its_end_and_each_open_exercise_says_what_to_do(edition, tmp_path):
    out = tmp_path / "executed"
    assert course.main(["run", "--notebooks", str(edition / "notebooks"), "--out", str(out)]) == 0
    executed = nbformat.read(out / "01_tiny.ipynb", as_version=4)
    printed = [o.text for cell in executed.cells for o in cell.get("outputs", [])]
    assert printed == ["Not yet: f(3) is Ellipsis.\n", "Not yet: look it up.\n", "the end\n"]


@pytest.mark.parametrize(
    ("after", "leaks"),
    [
        ("print(f(2))", True),
        ("def g():\n    return f(2)", True),
        ("def g(f):\n    return f(2)", False),
        ("f = abs\nprint(f(2))", False),
        ("%matplotlib inline\nprint([f for f in range(3)])", False),
    ],
)
def test_a_cell_that_needs_an_answer_is_found_and_one_that_has_its_own_is_not(after, leaks):
    solved = notebook("def f(x):\n    return ...", code("def f(x):\n    return x", "solution"), after)
    problems = student.leaking_answers(solved)
    assert problems == (["code cell 6 uses 'f', which a solution made: make it anew for students"] * leaks)


def test_a_notebook_that_would_fail_a_student_is_refused_by_name(tmp_path, monkeypatch, capsys):
    folder = write_course(tmp_path / "course")
    nbformat.write(notebook(code("x = 1", "solution"), "print(x)"), folder / "02_leaks.ipynb")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    assert course.main(["student", "--out", str(tmp_path / "out")]) == 2
    assert "02_leaks.ipynb: code cell 5 uses 'x'" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("out", ["course", "course/notebooks", "course/notebooks/student"])
def test_the_course_does_not_overwrite_itself(tmp_path, monkeypatch, capsys, out):
    folder = write_course(tmp_path / "course")
    before = (folder / "01_tiny.ipynb").read_bytes()
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    assert course.main(["student", "--out", str(tmp_path / out)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert (folder / "01_tiny.ipynb").read_bytes() == before
