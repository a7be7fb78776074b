"""`geomreg-course grade`, held to answers that are right, wrong, missing, dishonest and harmful."""

import csv
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, graded, grading, student
from small_course import code, notebook, write_course

RIGHT = "def twice(x):\n    return 2 * x\n\n\npassed = checks.double(twice)"
OSLO = "city = 'Oslo'\n_ = checks.capital(city)"
OPEN = "def twice(x):\n    return ...\n\n\npassed = checks.double(twice)"
CHEAT = "checks.double = checks.capital = lambda answer: True\nprint('Right: twice.')"
KERNEL = """%matplotlib inline
import asyncio, sys
!pip install --quiet lots_of_things
%pip install torch
!{sys.executable} -m pip --version > /dev/null
import matplotlib.pyplot as plt
from IPython.display import display
async def two():
    await asyncio.sleep(0.01)
    return 2
assert await two() == 2
task = asyncio.create_task(two())
display(plt.plot([1, 2]))
files = !echo one
"""
TIMED = """%%time
assert files == ["one"]
def twice(x):
    return factor * x
passed = checks.double(twice)"""
CAPTURED = f"%%capture said\n{OSLO}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """student -> exercise number -> row, of one folder graded once."""
    root = tmp_path_factory.mktemp("class")
    folder = write_course(root / "course")
    handed_in = {
        "ann": notebook("%matplotlib inline", RIGHT, OSLO),
        "bob": notebook(RIGHT.replace("2 * x", "x"), "1 / 0", "city = 'Bergen'\n_ = checks.capital(city)"),
        "cid": nbformat.read(folder / "01_tiny.ipynb", as_version=4),
        "dan": notebook("def twice(x):\n    return 2 * x", "city = 'Oslo'", title="01 — my own copy"),
        "eve": notebook(CHEAT, OPEN),
        "fay": notebook(RIGHT.replace("return", "retrun"), code(OSLO, "solution")),
        "gil": notebook(RIGHT, "import os\nos._exit(0)", OSLO),
        "hal": notebook(KERNEL, "factor = await task", TIMED, CAPTURED),
        "ida": notebook(RIGHT, OSLO, title="07 · Something else"),
        "leo": notebook(RIGHT.replace("return 2 * x", "raise SystemExit"), OSLO),
        "max": notebook(RIGHT.replace("return 2 * x", "while True: pass").partition("passed")[0], OSLO),
        "joe": notebook(RIGHT, RIGHT, OSLO.replace("Oslo", "Lima"), OSLO),
    }
    for who, submission in handed_in.items():
        (root / "in" / who).mkdir(parents=True)
        name = "renamed.ipynb" if who in ("dan", "ida") else "01_tiny (1).ipynb"
        nbformat.write(submission, root / "in" / who / name)
    (root / "in" / "=kim.ipynb").write_text('{"cells": [')
    out = root / "grades.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "notebooks_folder", lambda: folder)
        assert course.main(["grade", str(root / "in"), "--timeout", "60", "--out", str(out)]) == 0
    assert sorted(path.name for path in root.iterdir()) == ["course", "grades.csv", "in"]
    table = {}
    with open(out, newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            table.setdefault(row["student"], {})[row["exercise"][9:10]] = row
    return table


def result(row):
    return row["passed"], row["status"]


def test_right_answers_pass_and_an_open_exercise_is_left_to_the_reader(rows):
    ann = rows["ann"]
    assert [result(ann[n]) for n in "123"] == [("True", "checked"), ("True", "checked"), ("", "open")]
    assert ann["1"]["message"] == "Right: twice." and ann["1"]["exercise"] == "Exercise 1 · Double"
    assert (ann["1"]["file"], ann["1"]["notebook"]) == ("ann/01_tiny (1).ipynb", "01_tiny")


def test_a_wrong_answer_has_the_sentence_of_the_check_and_an_error_elsewhere_ends_nothing(rows):
    assert rows["bob"]["1"]["message"] == "Not yet: f(3) is 3."
    assert (result(rows["bob"]["2"]), rows["bob"]["2"]["message"]) == (
        ("False", "checked"),
        "Not yet: look it up.",
    )


def test_the_course_s_own_solutions_are_nobody_s_answer(rows):
    assert [result(rows["cid"][n]) for n in "12"] == [("False", "checked")] * 2
    assert (
        rows["cid"]["1"]["message"] == "Not yet: f(3) is Ellipsis. (not carried out: cells tagged solution)"
    )
    assert "solution" not in rows["ann"]["1"]["message"]


def test_an_answer_counts_where_its_check_was_deleted_and_the_file_renamed(rows):
    assert [result(rows["dan"][n]) for n in "12"] == [("True", "checked")] * 2


def test_printing_right_or_replacing_the_checks_passes_nothing(rows):
    assert result(rows["eve"]["1"]) == ("False", "checked")
    assert result(rows["eve"]["2"]) == ("False", "missing")


def test_a_missing_answer_says_what_is_not_defined_and_why(rows):
    assert result(rows["fay"]["1"]) == ("False", "missing")
    assert rows["fay"]["1"]["message"].startswith(
        "name 'twice' is not defined; the cell stopped with SyntaxError"
    )


def test_what_was_decided_before_the_process_died_stays(rows):
    assert [result(rows["gil"][n]) for n in "12"] == [("True", "checked"), ("False", "crashed")]


def test_an_exit_in_one_answer_leaves_the_others(rows):
    assert [result(rows["leo"][n]) for n in "12"] == [("False", "checked"), ("True", "checked")]
    assert rows["leo"]["1"]["message"] == "Not yet: SystemExit"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no timer that interrupts")
def test_a_function_that_never_ends_leaves_the_others(rows):
    assert [result(rows["max"][n]) for n in "12"] == [("False", "checked"), ("True", "checked")]
    assert rows["max"]["1"]["message"] == "Not yet: TimeoutError"


@pytest.mark.skipif(os.name == "nt", reason="uses a shell of Unix")
def test_magics_work_as_in_a_kernel_and_installers_are_named_not_run(rows):
    assert [result(rows["hal"][n]) for n in "12"] == [("True", "checked")] * 2
    assert rows["hal"]["1"]["message"] == "Right: twice. (not carried out: !pip, %pip)"


def test_the_last_call_of_a_check_counts(rows):
    assert [result(rows["joe"][n]) for n in "12"] == [("True", "checked")] * 2


def test_a_file_that_is_no_notebook_of_the_course_is_a_row(rows):
    assert result(rows["ida"][""]) == ("", "broken") and "of this course" in rows["ida"][""]["message"]


def test_a_file_that_cannot_be_read_is_a_row_and_its_name_no_formula_of_a_spreadsheet(rows):
    assert result(rows["'=kim"][""]) == ("", "broken") and "not a readable" in rows["'=kim"][""]["message"]


# what was handed in ----------------------------------------------------------------------------------------


@pytest.fixture
def course_folder(tmp_path, monkeypatch):
    """A folder with `in`; the course there is the small one."""
    folder = write_course(tmp_path / "course")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    (tmp_path / "in").mkdir()
    return tmp_path


def found(folder: Path) -> dict[str, str]:
    """Place -> what keeps it from being graded."""
    return {
        hand_in.path.relative_to(folder).as_posix(): hand_in.fault
        for hand_in in grading.hand_ins(folder, folder / "grades.csv")
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], {"ann": "empty: ask for the notebook"}),
        ([".ipynb_checkpoints/a.ipynb", "__pycache__/x.pyc", ".DS_Store"],
         {"ann": "no notebook, but x.pyc: ask for the notebook"}),
        (["work.zip"], {"ann/work.zip": "an archive: unpack it in its place"}),
        (["01_tiny.IPYNB"], {"ann/01_tiny.IPYNB": ""}),
        (["01.ipynb.txt"], {"ann/01.ipynb.txt": "the name does not end in .ipynb: rename the file"}),
        (["essay.pdf", "b.py"], {"ann": "no notebook, but b.py, essay.pdf: ask for the notebook"}),
        (["01.ipynb", "figure.png"], {"ann/01.ipynb": ""}),
        (["deep/er/01.ipynb", "02.ipynb"], {"ann/02.ipynb": "", "ann/deep/er/01.ipynb": ""}),
        (["01.ipynb", "rest.tar.gz"],
         {"ann/01.ipynb": "", "ann/rest.tar.gz": "an archive: unpack it in its place"}),
        (["folder.ipynb/readme"], {"ann": "no notebook, but readme: ask for the notebook"}),
    ],
)  # fmt: skip
def test_a_folder_always_has_a_row_that_says_what_to_do(tmp_path, files, expected):
    (tmp_path / "ann").mkdir()
    for name in files:
        (tmp_path / "ann" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ann" / name).write_text("{}")
    assert found(tmp_path) == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither links nor pipes for everybody")
def test_links_and_pipes_have_a_row_and_are_not_followed(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "01.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "ann" / "all").symlink_to("/")
    (tmp_path / "bob").symlink_to(tmp_path / "ann")
    os.mkfifo(tmp_path / "cid.ipynb")
    link = "a link, which is not followed: put the file itself in its place"
    assert found(tmp_path) == {
        "ann/01.ipynb": link,
        "ann/all": link,
        "bob": link,
        "cid.ipynb": "not a regular file: ask for the notebook",
    }


def test_loose_files_have_rows_and_the_table_itself_has_none(tmp_path):
    for name in ("ann.ipynb", "bob.docx", "grades.csv", ".hidden"):
        (tmp_path / name).write_text("")
    assert found(tmp_path) == {"ann.ipynb": "", "bob.docx": "not a notebook: ask for the notebook"}


def test_faults_of_a_notebook_are_rows_and_a_notebook_without_exercises_is_one(course_folder, monkeypatch):
    folder = course_folder / "in"
    nbformat.write(notebook("1 + 1"), course_folder / "course" / "notebooks" / "00_start.ipynb")
    nbformat.write(notebook("1 + 1"), folder / "00_start.ipynb")
    (folder / "big_01_tiny.ipynb").write_bytes(b" " * (grading.LARGEST + 1))
    (folder / "list_01_tiny.ipynb").write_text("[]")
    (folder / "page_01_tiny.ipynb").write_text("<html>")
    (folder / "later_01_tiny.ipynb").write_text('{"nbformat": 5, "cells": []}')
    nbformat.write(notebook(RIGHT), folder / "ann_01_tiny.ipynb")
    nbformat.write(notebook(RIGHT), folder / "ann_01_tiny (1).ipynb")
    (folder / "ann_01_tiny (1).ipynb").rename(folder / "ann_01_tiny.IPYNB")
    assert course.main(["grade", str(folder), "--out", str(course_folder / "grades.csv")]) == 0
    with open(course_folder / "grades.csv", newline="", encoding="utf-8-sig") as file:
        table = {row["file"]: row for row in csv.DictReader(file)}
    start = table["00_start.ipynb"]
    assert (*result(start), start["message"]) == ("", "open", "this notebook has no exercises")
    assert table["big_01_tiny.ipynb"]["message"].startswith("more than 20 MB")
    assert table["list_01_tiny.ipynb"]["message"].startswith("not a readable notebook (")
    for name, error in (("page", "NotJSONError"), ("later", "NBFormatError")):
        said = f"not a readable notebook ({error}): ask for it again"
        assert table[f"{name}_01_tiny.ipynb"]["message"] == said
    for name in ("ann_01_tiny.ipynb", "ann_01_tiny.IPYNB"):
        assert table[name]["note"] == "one of 2 files of this notebook: decide which counts"


def test_a_cell_whose_tags_are_null_is_a_cell_without_tags():
    handed_in = notebook(RIGHT)
    handed_in.cells[-1].metadata["tags"] = None
    assert (RIGHT, [(0, "double", "twice")]) in graded.plan(handed_in, [["double", "twice"]])


def test_a_notebook_that_never_ends_is_stopped(course_folder):
    endless = notebook("sum(range(10**15))")  # one call of compiled code, which no signal interrupts
    path = course_folder / "in" / "01_tiny.ipynb"
    nbformat.write(endless, path)
    rows = grading.Grader(path.parent, timeout=6).rows(grading.HandIn(path))
    assert [row.status for row in rows] == ["timeout", "timeout", "open"]
    assert "stopped after 6 s" in rows[0].message and not grading.RUNNING


ENDLESS = {
    "a loop": "while True:\n    pass",
    "a loop that catches all": "while True:\n    try:\n        x = 1\n    except:\n        pass",
    "a sleep": "import time\n\ntime.sleep(1e9)",
    "sleeps that catch all": "import time\n\nwhile True:\n    try:\n        time.sleep(1)\n"
    "    except BaseException:\n        continue",
    "an await": "import asyncio\n\nawait asyncio.sleep(1e9)",
    "a task": "import asyncio\n\n\nasync def busy():\n    while True:\n        pass\n\n\n"
    "task = asyncio.create_task(busy())",
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no timer that interrupts")
def test_a_cell_without_end_costs_no_other_answer_and_is_named(course_folder):
    folder = course_folder / "in"
    for name, cell in ENDLESS.items():
        nbformat.write(
            notebook(RIGHT, cell, "after = 1", "city = 'Oslo' if after else 0"),
            folder / f"{name}_01_tiny.ipynb",
        )
    called = notebook(RIGHT.replace("return 2 * x", "while True: pass"), OSLO)
    nbformat.write(called, folder / "called_01_tiny.ipynb")
    rows = grading.grade(folder, 30, len(ENDLESS) + 1, course_folder / "grades.csv")
    told = {}
    for row in rows:
        told.setdefault(row.file.partition("_")[0], []).append((row.passed, row.status, row.message))
    said, left = ("Right: twice.", "Right: it is."), " (not carried out: a cell without end)"
    for name in ENDLESS:
        assert told[name][:2] == [("True", "checked", words + left) for words in said], name
    wrong = ("False", "checked", f"Not yet: TimeoutError{left}")
    assert told["called"][:2] == [wrong, ("True", "checked", said[1] + left)]


@pytest.mark.parametrize("given", ["nowhere", "empty"])
def test_a_folder_without_notebooks_is_one_sentence_and_status_2(tmp_path, given, capsys):
    (tmp_path / "empty").mkdir()
    assert course.main(["grade", str(tmp_path / given), "--out", str(tmp_path / "grades.csv")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "grades.csv").exists()


# the table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\uff1d1", "\u200b=1"])
def test_a_name_is_never_a_formula(start):
    text = grading.cell_of_table(start)
    assert text[:1] not in "=+-@\uff1d\t\r " and text.isprintable()


def test_a_table_from_before_the_mid_term_is_read(tmp_path):
    rows = [grading.Row("ann", "01.ipynb", "01", "mean_cosine", "True", status="checked", digest="d1")]
    grading.write_table(rows, tmp_path / "grades.csv")
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    points = lines[0].index("points")
    with open(tmp_path / "earlier.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(line[:points] + line[points + 1 :] for line in lines)
    assert grading.read_table(tmp_path / "earlier.csv") == {"d1": rows}


def test_the_table_opens_in_excel_and_respects_the_umask(tmp_path):
    table = tmp_path / "grades.csv"
    before = os.umask(0o077)
    try:
        grading.write_table([grading.Row("Zoë", "a; =1,2.ipynb")], table)
    finally:
        os.umask(before)
    assert table.read_bytes().startswith("\ufeff".encode()) and '"Zoë","a; =1,2.ipynb"' in table.read_text()
    if os.name != "nt":
        assert stat.S_IMODE(table.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"student,file\n", b"\xff\xfe", b"", "id;name\n1;Zoë\n".encode()])
def test_another_table_is_not_overwritten(course_folder, content, capsys):
    out = course_folder / "list.csv"
    out.write_bytes(content)
    (course_folder / "in" / "ann").mkdir()
    assert course.main(["grade", str(course_folder / "in"), "--out", str(out)]) == 2
    assert "choose another file with --out" in capsys.readouterr().err and out.read_bytes() == content


def test_a_second_call_grades_what_changed_and_nothing_else(course_folder, monkeypatch):
    folder, out = course_folder / "in", course_folder / "grades.csv"
    for name in ("ann", "bob"):
        nbformat.write(notebook(RIGHT), folder / f"{name}_01_tiny.ipynb")
    run, names = grading.Grader.run, []
    monkeypatch.setattr(
        grading.Grader, "run", lambda self, name, *given: names.append(name) or run(self, name, *given)
    )

    def again() -> list[str]:
        names.clear()
        first = grading.grade(folder, 60, 1, out)
        assert out.read_bytes() == out.read_bytes() and len(first) == 6
        return sorted(filter(None, names))

    assert again() == ["ann_01_tiny", "bob_01_tiny"]
    before = out.read_bytes()
    assert again() == [] and out.read_bytes() == before
    nbformat.write(notebook(RIGHT.replace("2 * x", "x")), folder / "bob_01_tiny.ipynb")
    assert again() == ["bob_01_tiny"]
    checks = course_folder / "course" / "notebooks" / "checks" / "__init__.py"
    checks.write_text(checks.read_text().replace("twice", "twofold"))
    assert again() == ["ann_01_tiny", "bob_01_tiny"] and "twofold" in out.read_text()


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.exhaustive)])
def test_a_grader_killed_at_any_moment_leaves_a_table_and_the_next_call_goes_on(course_folder, kills):
    folder, out = course_folder / "in", course_folder / "grades.csv"
    for who in ("ann", "bob", "cid"):
        (folder / who).mkdir()
        nbformat.write(notebook(RIGHT), folder / who / "01_tiny.ipynb")
    (folder / "dan").mkdir()
    code = f"""
from pathlib import Path
from geomreg_course import books, grading
books.notebooks_folder = lambda: Path({str(course_folder / "course" / "notebooks")!r})
grading.grade(Path({str(folder)!r}), 600, 2, Path({str(out)!r}))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    finished: dict[str, list[grading.Row]] = {}
    chance = random.Random(0)
    for _ in range(kills):
        grader = subprocess.Popen(command, env=environment, stdout=-3, stderr=-3, start_new_session=True)
        try:
            grader.wait(chance.uniform(0.5, 5))
        except subprocess.TimeoutExpired:
            grader.send_signal(chance.choice([signal.SIGKILL, signal.SIGINT]))
            grader.wait(60)
        if out.exists():
            table = grading.read_table(out)
            assert finished.items() <= table.items(), "what was graded stays"
            finished = table
            with open(out, newline="", encoding="utf-8-sig") as file:
                assert {row["student"] for row in csv.DictReader(file)} == {"ann", "bob", "cid", "dan"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    table = grading.read_table(out)
    assert finished.items() <= table.items() and len(table) == 4
    assert sorted(len(rows) for rows in table.values()) == [1, 3, 3, 3]
    time.sleep(0.5)
    assert sorted(path.name for path in course_folder.iterdir()) == ["course", "grades.csv", "in"]


# the course itself -----------------------------------------------------------------------------------------

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FEW = ("00_start_here", "05_the_regularizer")


def solved(handed_in: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook of somebody who wrote what the solutions say."""
    for cell in handed_in.cells:
        cell.metadata["tags"] = [tag for tag in cell.metadata.get("tags", []) if tag != "solution"]
    return handed_in


FORMS = {"as it is": (lambda handed_in: handed_in, "False"), "solved": (solved, "True")}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_the_untouched_student_edition_is_graded_like_the_notebook_as_it_is(path):
    source = nbformat.read(path, as_version=4)
    asked = [[exercise.check, exercise.arguments] for exercise in books.exercises(source)]
    untouched = student.student_form(source, path.name)
    assert len(untouched.cells) < len(source.cells) or not asked
    plan = graded.plan(untouched, asked)
    assert plan == graded.plan(source, asked), "the same cells run, with the same checks after each"
    assert sorted(index for _, due in plan for index, *_ in due) == [i for i, e in enumerate(asked) if e[0]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=() if path.stem in FEW else pytest.mark.exhaustive)
        for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    ],
)
def test_a_notebook_of_the_course_is_graded_one_row_for_each_exercise(tmp_path, name, form):
    change, passed = FORMS[form]
    source = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    path = tmp_path / f"{name}.ipynb"
    asked = books.exercises(source)
    nbformat.write(change(source), path)
    rows = grading.Grader(tmp_path, timeout=1800).rows(grading.HandIn(path))
    assert [row.exercise for row in rows] == ([exercise.title for exercise in asked] or [""])
    wanted = [("", "open") if not e.check else (passed, "checked") for e in asked] or [("", "open")]
    assert [(row.passed, row.status) for row in rows] == wanted, [row.message for row in rows]
    for row in rows:
        if row.status == "checked":
            assert row.message.startswith("Right: " if passed == "True" else "Not yet: ")
