"""`geomreg-course`, held to tiny notebooks: what passes, what fails, what is named, what is stored."""

import csv
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, kernels, pages, running, storing
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill.clientwrap import PapermillNotebookClient

from geomreg_mini import records

PARAMETERS = 'MODE = "quick"\nSEED = 0'
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
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
    assert summary(tmp_path / "out")["00_dies"]["error"].startswith("the death of its kernel")


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


# kernels that no longer answer ------------------------------------------------------------------------------

# In a kernel, once: drop a message of this kind that it sends, or a part of it.
DROP = """
from pathlib import Path
if not Path("dropped").exists():
    Path("dropped").touch()
    session = get_ipython().kernel.session
    send = session.send
    def drop(stream, message, content=None, *more, **options):
        kind = message if isinstance(message, str) else message["header"]["msg_type"]
        if kind == {kind!r} and {state!r} in (None, (content or {{}}).get("execution_state")):
            return None
        return send(stream, message, content, *more, **options)
    session.send = drop
"""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(kernels, "PATIENCE", 8.0)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "state"), [("execute_reply", None), ("status", "idle")])
def test_a_notebook_whose_reply_was_lost_is_run_once_more_and_the_summary_says_so(
    folder, tmp_path, impatient, kind, state
):
    path = write(folder / "00_lost.ipynb", DROP.format(kind=kind, state=state), "print('after')")
    assert course.main(["run", "--mode", "full", "--out", str(tmp_path / "out")]) == 0
    row = summary(tmp_path / "out")[path.stem]
    assert (row["status"], row["cells"], row["note"]) == ("ok", "3", "ran again after a lost reply")
    assert "ran again after a lost reply" in (tmp_path / "out" / "summary.md").read_text()
    executed = nbformat.read(tmp_path / "out" / path.name, as_version=4)
    assert executed.cells[-1].outputs[0].text == "after\n"


@pytest.mark.slow
def test_a_reply_behind_more_outputs_than_can_be_read_at_once_is_not_lost(
    folder, tmp_path, impatient, monkeypatch
):
    process = PapermillNotebookClient.process_message
    monkeypatch.setattr(
        PapermillNotebookClient, "process_message", lambda *given: time.sleep(0.1) or process(*given)
    )
    write(folder / "00_talks.ipynb", "for line in range(120):\n    print(line, flush=True)", "print('after')")
    assert course.main(["run", "--out", str(tmp_path / "out")]) == 0
    assert summary(tmp_path / "out")["00_talks"]["note"] == ""
    executed = nbformat.read(tmp_path / "out" / "00_talks.ipynb", as_version=4)
    said = "".join(output.text for output in executed.cells[-2].outputs)
    assert said.split() == [str(line) for line in range(120)]


KILL = "import os, signal\nfrom pathlib import Path\nif not Path('{0}').exists():\n    Path('{0}').touch()\n"
KILL += "    os.kill(os.getpid(), signal.{0})"


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("SIGKILL", "the death of its kernel (out of memory, or killed)"),
        ("SIGSTOP", "a kernel that stopped answering"),
    ],
)
def test_a_kernel_that_is_killed_or_stopped_is_replaced_once(folder, tmp_path, impatient, name, note):
    write(folder / "00_gone.ipynb", KILL.format(name), "print('after')")
    assert course.main(["run", "--mode", "full", "--out", str(tmp_path / "out")]) == 0
    row = summary(tmp_path / "out")["00_gone"]
    assert (row["status"], row["note"]) == ("ok", f"ran again after {note}")


@pytest.mark.slow
@posix
def test_a_kernel_that_stops_in_its_second_run_too_is_a_failure(folder, tmp_path, impatient):
    write(folder / "00_gone.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)")
    write(folder / "01_fine.ipynb", "print('fine')")
    assert course.main(["run", "--mode", "full", "--out", str(tmp_path / "out")]) == 1
    rows = summary(tmp_path / "out")
    assert rows["00_gone"]["failed_cell"] == "2" and rows["01_fine"]["status"] == "ok"
    assert rows["00_gone"]["error"].startswith("a kernel that stopped answering, twice:")


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(12)",
        "import asyncio\nawait asyncio.sleep(12)",
        "import re\nre.match('(a+)+$', 'a' * 28 + 'b')",  # keeps every other thread of Python out
    ],
)
def test_a_cell_that_takes_longer_than_the_patience_is_left_alone(folder, tmp_path, impatient, source):
    write(folder / "00_long.ipynb", source)
    assert course.main(["run", "--mode", "full", "--out", str(tmp_path / "out")]) == 0
    assert summary(tmp_path / "out")["00_long"]["note"] == ""


# what ends early or cannot be written -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", ["import sys\nsys.exit(0)", "import sys\nsys.exit()", "exit()", "quit"]
)  # `quit` calls itself
def test_a_notebook_that_ends_itself_has_failed(folder, tmp_path, call):
    write(folder / "00_ends.ipynb", call, "print('after')")
    assert course.main(["run", "--out", str(tmp_path / "out")]) == 1
    row = summary(tmp_path / "out")["00_ends"]
    assert row["failed_cell"] == "2" and row["error"].startswith("stopped before its last cell by exit()")


@pytest.fixture
def two(folder, tmp_path):
    write(folder / "00_first.ipynb", "print('first')")
    write(folder / "01_second.ipynb", "print('second')")
    return tmp_path / "out"


def statuses(out):
    return {name: row["status"] for name, row in summary(out).items()}


@pytest.mark.parametrize("in_the_way", ["00_first.html", "00_first.ipynb"])
def test_a_folder_in_place_of_a_file_fails_one_notebook(two, in_the_way):
    (two / in_the_way).mkdir(parents=True)
    assert course.main(["run", "--out", str(two)]) == 1
    assert statuses(two) == {"00_first": "failed", "01_second": "ok"}
    assert in_the_way in summary(two)["00_first"]["error"]


def full(name, when=range(1000)):
    """An atomic writer on a disk without room for this file, at these of its writes."""
    numbers = itertools.count()

    def write(path, content):
        if path.name == name and next(numbers) in when:
            raise OSError(f"{path} cannot be written (No space left on device): free space there")
        return records.write_atomically(path, content)

    return write


@pytest.mark.parametrize("ending", ["00_first.ipynb", "00_first.html"])
def test_a_full_disk_fails_one_notebook_and_leaves_no_part_of_a_file(two, monkeypatch, ending):
    monkeypatch.setattr(running, "write_atomically", full(ending))
    assert course.main(["run", "--out", str(two)]) == 1
    assert statuses(two) == {"00_first": "failed", "01_second": "ok"}
    assert "No space left on device" in summary(two)["00_first"]["error"]
    assert not (two / ending).exists() and not [path for path in two.iterdir() if path.stat().st_size == 0]


def test_a_summary_that_cannot_be_written_for_a_while_is_written_later(two, monkeypatch):
    monkeypatch.setattr(running, "write_atomically", full("summary.md"))
    assert course.main(["run", "--out", str(two)]) == 2  # nothing can be stored: said before anything runs
    monkeypatch.setattr(running, "write_atomically", full("summary.csv", [1]))
    assert course.main(["run", "--out", str(two)]) == 0
    assert statuses(two) == {"00_first": "ok", "01_second": "ok"}


def test_an_error_of_the_exporter_fails_one_notebook(two, monkeypatch):
    def broken(notebook):
        if "first" in str(notebook):
            raise ZeroDivisionError("exporter")
        return "page"

    monkeypatch.setattr(running, "to_html", broken)
    assert course.main(["run", "--out", str(two)]) == 1
    assert statuses(two) == {"00_first": "failed", "01_second": "ok"}
    assert summary(two)["00_first"]["error"] == "its page was not written: exporter"


# runs that are stopped --------------------------------------------------------------------------------------


def interrupt_after(count, monkeypatch):
    """Ctrl-C after so many notebooks."""
    write_summary, calls = running.write_summary, []

    def write(*arguments):
        write_summary(*arguments)
        calls.append(arguments)
        if len(calls) == 1 + count:
            raise KeyboardInterrupt

    monkeypatch.setattr(running, "write_summary", write)


def test_an_interrupted_run_says_what_is_done_and_the_next_one_continues(two, folder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        assert course.main(["run", "--jobs", "1", "--out", str(two)]) == 130
    assert capsys.readouterr().err == "geomreg-course: interrupted\n"
    assert statuses(two) == {"00_first": "ok", "01_second": "not finished"}
    first = (two / "00_first.ipynb").read_bytes()

    assert course.main(["run", "--out", str(two)]) == 0
    assert "1 of 2 notebooks are done" in capsys.readouterr().out
    assert statuses(two) == {"00_first": "ok", "01_second": "ok"}
    assert (two / "00_first.ipynb").read_bytes() == first

    assert course.main(["run", "--out", str(two)]) == 0  # that one ended: this one runs all
    assert (two / "00_first.ipynb").read_bytes() != first


def test_the_summary_keeps_the_rows_of_earlier_calls_with_other_notebooks(two, folder, monkeypatch):
    assert course.main(["run", "01", "--out", str(two)]) == 0
    with monkeypatch.context() as patch:
        interrupt_after(0, patch)
        assert course.main(["run", "--mode", "full", "00", "--out", str(two)]) == 130
    assert statuses(two) == {"00_first": "not finished", "01_second": "ok"}
    assert course.main(["run", "--mode", "full", "00", "--out", str(two)]) == 0
    assert statuses(two) == {"00_first": "ok", "01_second": "ok"}
    assert {name: row["mode"] for name, row in summary(two).items()} == {
        "00_first": "full",
        "01_second": "quick",
    }
    (two / "01_second.ipynb").unlink()
    assert course.main(["run", "00", "--out", str(two)]) == 0
    assert statuses(two) == {"00_first": "ok"}


@pytest.mark.parametrize("change", ["notebook", "mode", "output", "summary"])
def test_what_changed_since_the_stopped_run_is_run_again(two, folder, monkeypatch, change):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch)
        course.main(["run", "--jobs", "1", "--out", str(two)])
    if change == "notebook":
        write(folder / "00_first.ipynb", "print('edited')")
    elif change == "output":
        (two / "00_first.html").unlink()
    elif change == "summary":
        (two / "summary.csv").write_bytes((two / "summary.csv").read_bytes()[:70])
    mode = "full" if change == "mode" else "quick"
    monkeypatch.setattr(running, "run_all", lambda sources, *_: ran.extend(s.stem for s in sources))
    ran = []
    course.main(["run", "--mode", mode, "--out", str(two)])
    assert ran == ["00_first", "01_second"]


def run_until_killed(notebooks, out):
    os.setpgid(0, 0)
    sys.exit(course.main(["run", "--jobs", "1", "--notebooks", str(notebooks), "--out", str(out)]))


@posix
@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.exhaustive)])
def test_a_run_that_is_killed_again_and_again_says_what_is_done_and_comes_to_its_end(folder, tmp_path, kills):
    out, log = tmp_path / "out", tmp_path / "log"
    names = [f"0{number}_short" for number in range(4)]
    for name in names:
        note = f"import time\ntime.sleep(0.3)\nprint('{name}', file=open('{log}', 'a'))"
        write(folder / f"{name}.ipynb", note)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["geomreg_course.command"])
    chance, killed, done = random.Random(0), 0, {}
    while True:
        process = context.Process(target=run_until_killed, args=(folder, out))
        process.start()
        process.join(chance.uniform(0, 6) if killed < kills else None)
        if process.exitcode is not None and killed == kills:
            break
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        rows = summary(out) if (out / "summary.csv").exists() else {}
        if all(row["status"] == "ok" for row in rows.values()):  # it came to its end first: begin anew
            shutil.rmtree(out, ignore_errors=True)
            done = {}
            continue
        assert list(rows) == names and {row["status"] for row in rows.values()} <= {"ok", "not finished"}
        for name in [name for name, row in rows.items() if row["status"] == "ok"]:
            content = (out / f"{name}.ipynb").read_bytes()
            assert done.setdefault(name, content) == content  # not run again
            assert (out / f"{name}.html").read_text().rstrip().endswith("</html>")
    assert process.exitcode == 0 and set(statuses(out).values()) == {"ok"}
    assert all((out / f"{name}.ipynb").read_bytes() == content for name, content in done.items())


def command(*words, **options):
    code = f"import sys, geomreg_course as course\nsys.exit(course.main({list(words)}))"
    path = os.pathsep.join(filter(None, sys.path))
    options = {"env": {**os.environ, "PYTHONPATH": path}, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **options)


@posix
def test_a_reader_who_closes_the_pipe_gets_no_traceback(folder):
    for number in range(60):
        write(folder / f"{number:02}_a.ipynb")
    process = command("list", "--notebooks", str(folder))
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, "")


def test_a_log_names_a_notebook_while_the_next_one_runs(folder, tmp_path):
    go, over = tmp_path / "go", tmp_path / "over"
    write(folder / "00_first.ipynb")
    waits = f"while time.monotonic() < end and not Path({str(go)!r}).exists():\n    time.sleep(0.1)"
    begin = "import time\nfrom pathlib import Path\nend = time.monotonic() + 60"
    write(folder / "01_second.ipynb", f"{begin}\n{waits}\nPath({str(over)!r}).touch()")
    process = command("run", "--jobs", "1", "--notebooks", str(folder), "--out", str(tmp_path / "out"))
    assert process.stdout.readline().startswith("00_first: ok after ") and not over.exists()
    go.touch()
    assert "01_second: ok after " in process.communicate()[0] and process.returncode == 0


@posix
def test_ctrl_c_is_one_line(folder, tmp_path):
    write(
        folder / "00_long.ipynb",
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(600)",
    )
    process = command("run", "--notebooks", str(folder), "--out", str(tmp_path / "out"))
    while not (tmp_path / "begun").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert (process.wait(), process.stderr.read()) == (130, "geomreg-course: interrupted\n")
    assert statuses(tmp_path / "out") == {"00_long": "not finished"}


DAMAGED = [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"cells": 3}', b"[" * 100_000]
DAMAGED += [b'{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}']


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize("words", [["list"], ["site"], ["student"], ["badges", "--repo", "a/b"], ["refresh"]])
def test_a_damaged_notebook_is_one_sentence_that_names_it(folder, tmp_path, capsys, content, words):
    (folder / "00_a.ipynb").write_bytes(content)
    assert course.main(words) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("geomreg-course: 00_a.ipynb is not a readable notebook") and error.count("\n") == 1
    )
    assert (folder / "00_a.ipynb").read_bytes() == content


def test_make_installs_again_in_a_checkout_that_was_moved(tmp_path):
    root = Path(__file__).parents[2]
    if not shutil.which("make"):
        pytest.skip("needs make")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / ".venv").mkdir()

    def steps(folder):
        (tmp_path / ".venv" / ".installed").write_text(f"{folder}\n")
        return subprocess.run(["make", "-n", "site"], cwd=tmp_path, capture_output=True, text=True).stdout

    assert "pip install" in steps("/elsewhere") and "pip install" not in steps(tmp_path.resolve())
    assert "-m geomreg_course site" in steps(tmp_path.resolve())


def test_an_account_without_a_home_directory_is_told_what_to_set(folder, monkeypatch, capsys):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert course.main(["list"]) == 2
    assert capsys.readouterr().err == (
        "geomreg-course: this account has no home directory: set HOME to a folder\n"
    )
