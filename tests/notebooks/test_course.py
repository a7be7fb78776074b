"""`geomreg-course`, held to tiny notebooks: what passes, what fails, what is named, what is stored."""

import csv

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, pages, running, storing
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PARAMETERS = 'MODE = "quick"\nSEED = 0'
BROKEN_WIDGET = "from ipywidgets import interact\n@interact(x=(1, 3))\ndef show(x):\n    1 / 0"


def write(path, *sources, tags=("parameters",)):
    cells = [new_markdown_cell("# A title"), new_code_cell(PARAMETERS, metadata={"tags": list(tags)})]
    nbformat.write(new_notebook(cells=cells + [new_code_cell(source) for source in sources]), path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(books, "notebooks_folder", lambda: tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "notebooks"


def summary(out):
    with open(out / "summary.csv", newline="") as file:
        return {row["notebook"]: row for row in csv.DictReader(file)}


def test_run_names_what_failed_by_cell_and_error_while_the_others_run(folder, tmp_path, capsys):
    write(folder / "00_good.ipynb", "import os, sys\nprint(MODE, SEED, sys.executable, os.getcwd())")
    write(folder / "01_raises.ipynb", "print('never reached: no')\n1 / 0", "print('after')")
    write(folder / "02_slider.ipynb", "print('fine')", BROKEN_WIDGET)
    write(folder / "03_untagged.ipynb", "print('not run')", tags=())
    out = tmp_path / "out"

    assert course.main(["run", "--mode", "full", "--out", str(out)]) == 1

    rows = summary(out)
    assert {name: row["status"] for name, row in rows.items()} == {
        "00_good": "ok",
        "01_raises": "failed",
        "02_slider": "failed",
        "03_untagged": "failed",
    }
    assert (rows["00_good"]["cells"], rows["00_good"]["failed_cell"]) == ("2", "")
    assert (rows["01_raises"]["failed_cell"], rows["01_raises"]["error"]) == (
        "2",
        "ZeroDivisionError: division by zero",
    )
    assert (rows["02_slider"]["failed_cell"], rows["02_slider"]["cells"]) == ("3", "3")
    assert rows["02_slider"]["error"] == "in a widget callback: ZeroDivisionError: division by zero"
    assert (
        rows["03_untagged"]["error"]
        == "03_untagged.ipynb: found 0 cells tagged 'parameters': tag exactly one code cell"
    )
    printed = capsys.readouterr().out
    assert "01_raises: failed" in printed and "(code cell 2): ZeroDivisionError: division by zero" in printed
    assert "[01_raises](01_raises.html) | failed" in (out / "summary.md").read_text()


def test_parameters_reach_the_notebook_and_its_kernel_is_this_python(folder, tmp_path):
    import sys

    show = "import os, sys\nprint(MODE, SEED, sys.executable)"
    threads = "print(os.environ['OMP_NUM_THREADS'])"
    slider = "from ipywidgets import IntSlider\nIntSlider()"
    write(folder / "05_show.ipynb", show, "print(os.getcwd())", threads, slider)
    assert course.main(["run", "5", "--mode", "full", "--out", str(tmp_path / "out")]) == 0

    executed = nbformat.read(tmp_path / "out" / "05_show.ipynb", as_version=4)
    printed = [o.text.strip() for cell in executed.cells for o in cell.get("outputs", []) if "text" in o]
    assert printed == [f"full 0 {sys.executable}", str(folder), "1"]
    assert executed.metadata.widgets[running.WIDGET_STATE]["state"]  # a slider can be shown without a kernel
    assert "A title" in (tmp_path / "out" / "05_show.html").read_text()


def test_a_cell_that_takes_too_long_is_stopped_and_named(folder, tmp_path):
    write(folder / "00_slow.ipynb", "import time\ntime.sleep(60)")
    assert course.main(["run", "--timeout", "1", "--out", str(tmp_path / "out")]) == 1
    row = summary(tmp_path / "out")["00_slow"]
    assert (row["failed_cell"], row["error"]) == ("2", "the cell ran longer than 1 s")
    assert float(row["seconds"]) < 30


def test_a_kernel_that_dies_is_named(folder, tmp_path):
    write(folder / "00_dies.ipynb", "import os\nos._exit(1)")
    assert course.main(["run", "--out", str(tmp_path / "out")]) == 1
    assert summary(tmp_path / "out")["00_dies"]["error"].startswith("the kernel died")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["run", "7"], "there is no notebook '7': choose from 00, 05"),
        (["refresh", "x"], "there is no notebook 'x': choose from 00, 05"),
        (
            ["run", "--out", "a_file/course"],
            "cannot write to a_file/course (Not a directory): give another folder",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_2(folder, tmp_path, capsys, argv, sentence):
    write(folder / "00_a.ipynb")
    write(folder / "05_b.ipynb")
    (tmp_path / "a_file").write_text("")
    assert course.main(argv) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_no_notebooks_anywhere_is_said_plainly(tmp_path, monkeypatch, capsys):
    elsewhere = tmp_path / "site-packages" / "geomreg_course" / "books.py"
    monkeypatch.setattr(books, "__file__", str(elsewhere))
    monkeypatch.chdir(tmp_path)
    assert course.main(["list"]) == 2
    assert "no notebooks found" in capsys.readouterr().err


def test_list_shows_number_title_data_and_minutes(folder, capsys):
    notebook = nbformat.read(write(folder / "01_toy.ipynb"), as_version=4)
    notebook.cells[0].source = "# 01 · A title\n\nProse"
    notebook.metadata["course"] = {"data": "toy", "minutes": 25}
    nbformat.write(notebook, folder / "01_toy.ipynb")
    assert course.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["01", "A", "title", "toy", "25"]


@pytest.mark.parametrize(
    ("source", "tags", "complaint"),
    [
        (PARAMETERS, [], "a.ipynb: found 0 cells tagged 'parameters'"),
        ("SEED = 0", ["parameters"], "a.ipynb: the cell tagged 'parameters' does not assign MODE"),
        ('MODE = "quick"', ["parameters"], "a.ipynb: the cell tagged 'parameters' does not assign SEED"),
    ],
)
def test_a_parameters_cell_that_would_be_ignored_is_an_error_naming_the_notebook(source, tags, complaint):
    notebook = new_notebook(cells=[new_code_cell(source, metadata={"tags": tags})])
    with pytest.raises(books.CourseError, match=complaint):
        books.parameters_of(notebook, "a.ipynb")


def test_refresh_stores_outputs_without_anything_of_the_run_or_the_machine(folder):
    slider = "from ipywidgets import interact\n_ = interact(lambda x: print(x), x=(1, 3))"
    path = write(folder / "00_a.ipynb", slider, "print('stored')")
    assert course.main(["refresh"]) == 0

    stored = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2, 3]
    assert stored.cells[3].outputs[0].text == "stored\n"
    assert stored.cells[2].outputs == []
    assert stored.metadata.pop("course") == {"ran": books.fingerprint(stored)}
    assert stored.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell.metadata for cell in stored.cells] == [{}, {"tags": ["parameters"]}, {}, {}]
    before = path.read_bytes()
    assert course.main(["refresh"]) == 0 and path.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import tempfile\nprint(tempfile.gettempdir() + '/x')", "code cell 2 prints the path"),
        ("import sys\nprint('careful', file=sys.stderr)", "code cell 2 writes to stderr: careful"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
def test_refresh_leaves_a_notebook_alone_that_is_unfit_to_commit(folder, capsys, source, complaint):
    path = write(folder / "00_a.ipynb", source)
    before = path.read_bytes()
    assert course.main(["refresh"]) == 1
    assert complaint in capsys.readouterr().err and path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["/home/someone/data", "file:///tmp/x.png", "C:\\Users\\me\\x", "('/root/a',)"]
)
def test_paths_of_a_machine_are_found(text):
    cell = new_code_cell("x", outputs=[new_output("stream", name="stdout", text=text)])
    assert len(storing.unfit_to_commit(new_notebook(cells=[cell]))) == 1


@pytest.mark.parametrize("text", ["https://example.org/home/x", "../data/x", "a/tmp/b", "5 /home"])
def test_other_text_with_slashes_is_no_path_of_a_machine(text):
    cell = new_code_cell("x", outputs=[new_output("stream", name="stdout", text=text)])
    assert storing.unfit_to_commit(new_notebook(cells=[cell])) == []


def test_figures_keep_their_alt_text_in_the_page():
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    figure = new_output(
        "display_data", {"image/png": png}, metadata={"image/png": {"alt": 'A "quoted" curve'}}
    )
    page = pages.to_html(new_notebook(cells=[new_code_cell("x", outputs=[figure])]))
    assert 'alt="A &quot;quoted&quot; curve"' in page or "alt='A \"quoted\" curve'" in page
