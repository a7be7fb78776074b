"""What a handed-in notebook is kept from, tried by notebooks that try it."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from geomreg_course import books, grading
from geomreg_course.graded import confinement
from small_course import notebook, write_course

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has the time limit alone")
RIGHT = "def twice(x):\n    return 2 * x\n\n\npassed = checks.double(twice)"
ATTEMPT = """
def attempt():
    import os, signal, socket, subprocess
    from pathlib import Path
    {}
    return "Oslo"
city = attempt()
_ = checks.capital(city)
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    folder = write_course(tmp_path / "course")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    (tmp_path / "in").mkdir()
    return tmp_path


def graded(course, *cells, name="01_tiny.ipynb") -> dict[str, grading.Row]:
    """The rows of a notebook, by the number of the exercise."""
    path = course / "in" / name
    nbformat.write(notebook(*cells), path)
    return {row.exercise[9:10]: row for row in grading.grade_one(path, course / "in", timeout=60)}


def succeeded(course, lines: str) -> bool:
    """Whether a notebook got through ``lines``; if not, its error must be one of missing rights."""
    rows = graded(course, RIGHT, ATTEMPT.format(lines.replace("\n", "\n    ")))
    assert rows["1"].passed == "True", "the rest of the notebook works"
    if rows["2"].passed != "True":
        assert "not permitted" in rows["2"].message or "denied" in rows["2"].message, rows["2"].message
    return rows["2"].passed == "True"


def test_a_notebook_can_use_its_own_folder(course):
    lines = """Path("a").mkdir(); Path("a/x").write_text("1"); Path("a/x").rename("y"); Path("y").unlink()
open(os.devnull, "w").write("nothing")
import tempfile; tempfile.TemporaryFile().write(b"1")
subprocess.run(["true"], check=True)"""
    assert succeeded(course, lines)


@pytest.mark.skipif(confinement() < 3, reason="needs Linux 6.2 with Landlock")
def test_a_notebook_cannot_change_a_file_elsewhere(course):
    victim = course / "in" / "other.ipynb"
    victim.write_text("another student's")
    for attack in (
        "Path({!r}).write_text('mine')",
        "Path({!r}).unlink()",
        "Path({!r}).rename('mine')",
        "os.truncate({!r}, 0)",
        "subprocess.run(['rm', {!r}], check=True)",
        "Path({!r}).with_name('new').write_text('')",
        "Path({!r}).with_name('new').symlink_to('/')",
    ):
        lines = attack.format(str(victim))
        if "subprocess" in attack:
            lines = lines.replace("check=True", "check=False") + "; raise PermissionError('denied')"
        assert not succeeded(course, lines), attack
    assert victim.read_text() == "another student's"
    assert sorted(path.name for path in victim.parent.iterdir()) == ["01_tiny.ipynb", "other.ipynb"]


@pytest.mark.skipif(confinement() < 4, reason="needs Linux 6.7 with Landlock")
def test_without_unshare_tcp_is_closed_all_the_same(course, monkeypatch):
    monkeypatch.setattr(grading, "isolation", lambda: ())
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"('127.0.0.1', {server.getsockname()[1]})"
        assert not succeeded(course, f"socket.create_connection({address}, timeout=5)")
        assert not succeeded(course, "socket.create_server(('127.0.0.1', 0))")


@pytest.mark.skipif(confinement() < 6, reason="needs Linux 6.12 with Landlock")
def test_without_unshare_other_processes_cannot_be_signalled_all_the_same(course, monkeypatch):
    monkeypatch.setattr(grading, "isolation", lambda: ())
    assert not succeeded(course, f"os.kill({os.getpid()}, 0)")


@pytest.mark.skipif(not grading.isolation(), reason="no `unshare` here")
@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may start any number of processes")
def test_processes_cannot_be_started_without_end(course):
    lines = """children = []
try:
    for _ in range(2000):
        children.append(subprocess.Popen(["sleep", "60"]))
except BlockingIOError:
    raise PermissionError(f"denied after {len(children)}")"""
    assert not succeeded(course, lines)


def test_what_a_notebook_writes_in_the_name_of_its_grader_ends_nothing(course):
    forged = """
import json, os, sys
frame = sys._getframe()
while "job" not in frame.f_locals:
    frame = frame.f_back
token, channel = frame.f_locals["job"]["token"], frame.f_locals["channel"]
for said in ("", "{", "[" * 100000, "3", "{}", '{"exercise": []}', '{"exercise": 1, "status": "open"}',
             '{"exercise": 99, "status": "checked", "passed": 1, "message": []}'):
    channel.write(f"{token} {said}\\n")
channel.write("\\udc80".encode(errors="surrogatepass").decode(errors="replace") + "\\n")
channel.flush()
"""
    rows = graded(course, forged, RIGHT)
    assert (rows["1"].passed, rows["1"].status) == ("True", "checked")
    assert rows["2"].status == "missing" and set(rows) == {"1", "2", "3"}


def test_half_a_character_in_a_message_or_a_file_s_name_does_not_cost_the_table(course, capsys):
    graded(course, RIGHT.replace("return 2 * x", "raise ValueError('\\ud800' + chr(7))"))
    name = os.fsdecode(b"\xff 01_tiny.ipynb")
    try:
        graded(course, RIGHT, name=name)
    except OSError:  # macOS takes no such name
        name = ""
    rows = grading.grade(course / "in", 60, 1, course / "grades.csv")
    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == (6 if name else 3)
    assert all(value.isprintable() for row in table for value in row.values())
    assert table[0]["message"] == "Not yet: ValueError: " + 2 * "\N{REPLACEMENT CHARACTER}"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_notebook_ends_with_a_grader_that_is_killed(course):
    endless = "open('started', 'w').close()\nwhile True:\n    pass"
    nbformat.write(notebook(endless), course / "in" / "01_tiny.ipynb")
    code = f"""
from pathlib import Path
from geomreg_course import books, grading
books.notebooks_folder = lambda: Path({str(course / "course" / "notebooks")!r})
grading.grade(Path({str(course / "in")!r}), 600, 1, Path({str(course / "grades.csv")!r}))
"""
    (course / "scratch").mkdir()
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(course / "scratch")}
    grader = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)

    def running() -> list[Path]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if Path(os.readlink(process / "cwd")).is_relative_to(course / "scratch"):
                    found.append(process)
            except OSError:
                pass
        return found

    wait_for(lambda: list(course.glob("scratch/*/notebooks/started")))
    assert running()
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    wait_for(lambda: not running())
    assert not (course / "grades.csv").exists()


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (0, ["the network and leave processes behind", "write to all of your files"]),
        (1, ["the network and leave processes behind"]),
        (4, ["the network without TCP and leave processes behind"]),
    ],
)
def test_what_is_not_guarded_is_said(course, monkeypatch, capsys, version, said):
    monkeypatch.setattr(grading, "isolation", lambda: ())
    monkeypatch.setattr(grading, "confinement", lambda: version)
    (course / "in" / "x.ipynb").write_text("{")
    grading.grade(course / "in", 60, 1, course / "grades.csv")
    lines = [line for line in capsys.readouterr().err.splitlines() if "the notebooks can" in line]
    assert len(lines) == len(said) and all(part in line for part, line in zip(said, lines, strict=True))
