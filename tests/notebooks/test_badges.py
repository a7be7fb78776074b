"""`geomreg-course badges`: three lines of each notebook change, and a second stamp replaces the first."""

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, storing
from nbformat.v4 import new_output
from small_course import write_course

ADDRESS = "https://colab.research.google.com/github/ada/geometry"


@pytest.fixture
def path(tmp_path, monkeypatch):
    folder = write_course(tmp_path)
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    notebook = nbformat.read(folder / "01_tiny.ipynb", as_version=4)
    notebook.cells[-1].outputs = [new_output("stream", text="the end\n")]
    notebook.cells[-1].execution_count = 9
    notebook.metadata["course"]["ran"] = books.fingerprint(notebook)
    nbformat.write(notebook, folder / "01_tiny.ipynb")
    return folder / "01_tiny.ipynb"


def test_badge_address_and_ref_are_stamped_and_nothing_else_changes(path):
    before = path.read_text().splitlines()
    assert course.main(["badges", "--repo", "ada/geometry", "--ref", "v1.0"]) == 0
    changed = [new for old, new in zip(before, path.read_text().splitlines(), strict=True) if old != new]
    badge, repository, ref, ran = changed
    assert f"]({ADDRESS}/blob/v1.0/notebooks/01_tiny.ipynb)" in badge and "[![Open in Colab](" in badge
    assert r"REPOSITORY = \"https://github.com/ada/geometry\"  # the git address" in repository
    assert r"REF = \"v1.0\"" in ref
    notebook = nbformat.read(path, as_version=4)
    assert '"ran"' in ran and notebook.metadata["course"]["ran"] == books.fingerprint(notebook)


def test_a_second_stamp_replaces_the_first_and_the_same_one_changes_nothing(path):
    course.main(["badges", "--repo", "bob/old", "--ref", "draft"])
    course.main(["badges", "--repo", "ada/geometry"])
    once = path.read_bytes()
    assert b"bob" not in once and b"draft" not in once and once.count(b"blob/main/") == 1
    course.main(["badges", "--repo", "ada/geometry"])
    assert path.read_bytes() == once


def test_a_notebook_that_was_edited_without_a_run_stays_known_as_such(path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "  # edited"
    nbformat.write(notebook, path)
    course.main(["badges", "--repo", "ada/geometry"])
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata["course"]["ran"] != books.fingerprint(notebook)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--repo", "geometry"], "'geometry' is not OWNER/NAME"),
        (["--repo", 'a/b"\nimport os'], "is not OWNER/NAME"),
        (["--repo", "a/b", "--ref", 'x" + "'], "not the name of a branch or tag"),
    ],
)
def test_what_is_no_address_is_refused(path, argv, sentence, capsys):
    before = path.read_bytes()
    assert course.main(["badges", *argv]) == 2
    assert sentence in capsys.readouterr().err and path.read_bytes() == before


@pytest.mark.parametrize("missing", ["<!-- badge -->", "REPOSITORY = ", "REF = "])
def test_where_one_notebook_cannot_be_stamped_none_is(path, missing, capsys):
    other = path.with_name("02_other.ipynb")
    other.write_text(path.read_text().replace(missing, "nothing"))
    before = path.read_bytes()
    assert course.main(["badges", "--repo", "ada/geometry"]) == 2
    assert "02_other.ipynb: its first" in capsys.readouterr().err and path.read_bytes() == before


def test_refresh_notes_which_code_was_run(path):
    assert storing.refresh([path], 1) == 0
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata["course"] == {
        "data": "toy",
        "minutes": 5,
        "ran": books.fingerprint(notebook),
    }
    notebook.cells[0].source += " More prose."
    assert books.fingerprint(notebook) == notebook.metadata["course"]["ran"]
    notebook.cells[-1].source += "  # edited"
    assert books.fingerprint(notebook) != notebook.metadata["course"]["ran"]
