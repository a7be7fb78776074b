"""`geomreg-course grade`, held to answers that are right, wrong, missing, dishonest and harmful."""

import csv
import socket
import sys

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, grading
from small_course import code, notebook, write_course

RIGHT = "def twice(x):\n    return 2 * x\n\n\npassed = checks.double(twice)"
OSLO = "city = 'Oslo'\n_ = checks.capital(city)"
OPEN = "def twice(x):\n    return ...\n\n\npassed = checks.double(twice)"
CHEAT = "checks.double = checks.capital = lambda answer: True\nprint('Right: twice.')"
HUNGRY = "def twice(x):\n    bytearray(2**34)\n    return 2 * x\n\n\npassed = checks.double(twice)"
CURIOUS = """
import os, socket
def twice(x):
    assert "SECRET_OF_THE_TESTS" not in os.environ
    return 2 * x
passed = checks.double(twice)
def reach():
    with socket.create_connection(("127.0.0.1", PORT), timeout=5):
        return "Oslo"
city = reach()
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """student -> exercise number -> row, of one folder graded once."""
    root = tmp_path_factory.mktemp("class")
    folder = write_course(root / "course")
    listening = socket.create_server(("127.0.0.1", 0))
    handed_in = {
        "ann": notebook("%matplotlib inline", RIGHT, OSLO),
        "bob": notebook(RIGHT.replace("2 * x", "x"), "1 / 0", "city = 'Bergen'\n_ = checks.capital(city)"),
        "cid": nbformat.read(folder / "01_tiny.ipynb", as_version=4),
        "dan": notebook("def twice(x):\n    return 2 * x", "city = 'Oslo'", title="01 — my own copy"),
        "eve": notebook(CHEAT, OPEN),
        "fay": notebook(RIGHT.replace("return", "retrun"), code(OSLO, "solution")),
        "gil": notebook(RIGHT, "import os\nos._exit(0)", OSLO),
        "hal": notebook(HUNGRY),
        "ida": notebook(RIGHT, OSLO, title="07 · Something else"),
        "joe": notebook(CURIOUS.replace("PORT", str(listening.getsockname()[1]))),
    }
    for student, submission in handed_in.items():
        (root / "in" / student).mkdir(parents=True)
        name = "renamed.ipynb" if student in ("dan", "ida") else "01_tiny (1).ipynb"
        nbformat.write(submission, root / "in" / student / name)
    (root / "in" / "=kim.ipynb").write_text('{"cells": [')
    out = root / "grades.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "notebooks_folder", lambda: folder)
        patch.setenv("SECRET_OF_THE_TESTS", "1")
        assert course.main(["grade", str(root / "in"), "--timeout", "60", "--out", str(out)]) == 0
    listening.close()
    assert sorted(path.name for path in root.iterdir()) == ["course", "grades.csv", "in"]
    table = {}
    with open(out, newline="") as file:
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
    assert rows["cid"]["1"]["message"] == "Not yet: f(3) is Ellipsis."


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the data of a process")
def test_memory_is_bounded(rows):
    assert (rows["hal"]["1"]["passed"], "MemoryError" in rows["hal"]["1"]["message"]) == ("False", True)


def test_a_file_that_is_no_notebook_of_the_course_is_a_row(rows):
    assert result(rows["ida"][""]) == ("", "broken") and "of this course" in rows["ida"][""]["message"]


def test_a_file_that_cannot_be_read_is_a_row_and_its_name_no_formula_of_a_spreadsheet(rows):
    assert result(rows["'=kim"][""]) == ("", "broken") and "not a readable" in rows["'=kim"][""]["message"]


def test_the_environment_is_not_handed_on(rows):
    assert result(rows["joe"]["1"]) == ("True", "checked")


@pytest.mark.skipif(not grading.isolation(), reason="no `unshare` here, so the network stays open")
def test_the_network_is_out_of_reach(rows):
    assert result(rows["joe"]["2"]) == ("False", "missing")


def test_a_notebook_that_never_ends_is_stopped(tmp_path, monkeypatch):
    folder = write_course(tmp_path / "course")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    endless = notebook("def twice(x):\n    while True:\n        pass\n\n\npassed = checks.double(twice)")
    path = tmp_path / "01_tiny.ipynb"
    nbformat.write(endless, path)
    found = grading.grade_one(path, tmp_path, timeout=3)
    assert [row.status for row in found] == ["timeout", "timeout", "open"]
    assert "stopped after 3 s" in found[0].message and not grading.RUNNING


@pytest.mark.parametrize("given", ["nowhere", "empty"])
def test_a_folder_without_notebooks_is_one_sentence_and_status_2(tmp_path, given, capsys):
    (tmp_path / "empty").mkdir()
    assert course.main(["grade", str(tmp_path / given), "--out", str(tmp_path / "grades.csv")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "grades.csv").exists()
