"""Attacks of a handed-in notebook on its grader; the table in `notebooks/course/README.md` names them."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import nbformat
import pytest
from geomreg_course import books, grading, sandbox
from nbformat.v4 import new_markdown_cell
from small_course import CHECKS, code, notebook, write_course

import geomreg_mini

RIGHT = "def twice(x):\n    return 2 * x\n\n\npassed = checks.double(twice)"
# The name of an attack -> what the notebook does; `given` has the places and numbers of the grader's machine.
ATTACKS = {
    "write": "Path(given['victim']).write_text('mine')",
    "remove": "Path(given['victim']).unlink()",
    "rename": "Path(given['victim']).rename('mine')",
    "truncate": "os.truncate(given['victim'], 0)",
    "chmod": "os.chmod(given['course'], 0o777)",
    "utime": "os.utime(given['course'], (0, 0))",
    "xattr": "os.setxattr(given['course'], 'user.mine', b'1')",
    "link": "os.link(given['course'], os.path.join(os.path.dirname(given['course']), 'mine'))",
    "change_the_course": "open(given['course'], 'a').write('mine')",
    "change_the_checks": "open(given['checks'], 'a').write('mine')",
    "change_the_data": "Path(given['data'], 'mine').write_text('1')",
    "read_another_student": "Path(given['victim']).read_text()",
    "list_the_other_students": "os.listdir(given['folder'])[0]",
    "read_the_solutions": "Path(given['solutions']).read_text()",
    "read_your_files": "Path(given['private']).read_text()",
    "read_a_secret_variable": "os.environ['SECRET_OF_THE_TESTS']",
    "network": "socket.create_connection(('127.0.0.1', given['port']), timeout=5)",
    "unix_socket": "socket.socket(socket.AF_UNIX).connect(given['socket'])",
    "abstract_socket": "socket.socket(socket.AF_UNIX).connect(given['abstract'])",
    "signal": "os.kill(given['pid'], 0)",
    "see_processes": "os.readlink(f'/proc/{given[\"pid\"]}/cwd')",
    "become_root": "os.setuid(0)",
    "make_a_device": "os.mknod('device', 0o600 | stat.S_IFBLK, os.makedev(254, 0))",
    "mount": "libc = ctypes.CDLL(None, use_errno=True)\n"
    "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 or fail(OSError)",
    "fill_tmp": "fill('/tmp')",
    "fill_shared_memory": "fill('/dev/shm')",
    "fill_dev": "fill('/dev')",
    "fill_the_root": "fill('/')",
    "large_file": "os.truncate(os.open('large', os.O_CREAT | os.O_RDWR), 2**30)",
    "memory": "bytearray(2**33)",
    "shared_memory_map": "mmap.mmap(-1, 2**33)",
    "processes": "many()",
}
PRELUDE = """
import ctypes, json, mmap, os, socket, stat, subprocess
from pathlib import Path

given = json.loads({given!r})

def fail(kind):
    raise kind

def fill(folder):
    names = []
    try:
        for number in range(40):
            names.append(os.path.join(folder, f"geomreg_filler{{number}}"))
            with open(names[-1], "wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2**26)
    finally:
        for name in names:
            os.path.exists(name) and os.unlink(name)

def many():
    children = []
    try:
        for _ in range(400):
            children.append(subprocess.Popen(["sleep", "60"]))
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
"""
CALL = "_ = checks.stopped_{number}(outcome)"
TRIED = f"""
try:
    {{attack}}
    outcome = "succeeded"
except Exception as error:
    outcome = type(error).__name__
{CALL}
"""
STOPPED = '''

def stopped_{number}(answer):
    """The attack must have failed; the answer is the name of its error."""
    print("Not yet: succeeded" if answer == "succeeded" else f"Right: {{answer}}")
    return answer != "succeeded"
'''


@pytest.fixture
def course(tmp_path, monkeypatch) -> Path:
    """A folder with `in`; the course there is the small one."""
    monkeypatch.setattr(books, "notebooks_folder", lambda: tmp_path / "course" / "notebooks")
    write_course(tmp_path / "course")
    (tmp_path / "in").mkdir()
    return tmp_path


def graded(course: Path, *cells, timeout: float = 120, grader=None) -> dict[str, grading.Row]:
    """The rows of a notebook, by the number of the exercise."""
    path = course / "in" / "01_tiny.ipynb"
    nbformat.write(notebook(*cells), path)
    grader = grader or grading.Grader(course / "in", timeout)
    return {row.exercise[9:10]: row for row in grader.rows(grading.HandIn(path))}


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, object]]:
    """Three servers of this machine, and how a notebook would find them."""
    with ExitStack() as stack:
        listening, local, abstract = (
            stack.enter_context(socket.socket(kind)) for kind in (socket.AF_INET, *[socket.AF_UNIX] * 2)
        )
        listening.bind(("127.0.0.1", 0))
        local.bind(str(folder / "s"))
        abstract.bind(name := f"\0{folder}")
        for server in (listening, local, abstract):
            server.listen()
        yield {"port": listening.getsockname()[1], "socket": str(folder / "s"), "abstract": name}


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> dict[str, grading.Row]:
    """The name of an attack -> its row; one notebook tries them all."""
    root = tmp_path_factory.mktemp("attacked")
    folder, handed_in, data = write_course(root / "course"), root / "in", root / "data"
    for path in (handed_in / "bob", data):
        path.mkdir(parents=True)
    victim = handed_in / "bob" / "01_tiny.ipynb"
    victim.write_text("another student's")
    (root / "private").write_text("yours")
    own_file = Path(geomreg_mini.__file__).with_name("regularizer.py")
    before = own_file.read_bytes(), own_file.stat()
    given = {
        "victim": str(victim),
        "folder": str(handed_in),
        "course": str(sandbox.INSIDE / "geomreg_mini" / "regularizer.py"),
        "checks": str(sandbox.INSIDE / "notebooks" / "checks" / "__init__.py"),
        "data": str(data),
        "solutions": str(folder / "01_tiny.ipynb"),
        "private": str(root / "private"),
        "pid": os.getpid(),
    }
    cells, exercises, checks = [], [], CHECKS
    for number, attack in enumerate(ATTACKS.values()):
        cells.append(TRIED.format(attack=attack.replace("\n", "\n    "), number=number))
        exercises += [new_markdown_cell(f"## Exercise {number} · An attack"), CALL.format(number=number)]
        checks += STOPPED.format(number=number)
    (folder / "checks" / "__init__.py").write_text(checks)
    nbformat.write(notebook(*exercises), folder / "01_tiny.ipynb")
    path = handed_in / "01_tiny.ipynb"
    with pytest.MonkeyPatch.context() as patch, servers(root) as places:
        nbformat.write(notebook(PRELUDE.format(given=json.dumps(given | places)), *cells), path)
        patch.setattr(books, "notebooks_folder", lambda: folder)
        patch.setenv("SECRET_OF_THE_TESTS", "1")
        patch.setenv("GEOMREG_DATA", str(data))
        grader = grading.Grader(handed_in, timeout=300)
        if not grader.bubblewrap:
            pytest.skip("bubblewrap is not installed or not allowed here")
        rows = grader.rows(grading.HandIn(path))
    assert victim.read_text() == "another student's" and list(data.iterdir()) == []
    assert (own_file.read_bytes(), own_file.stat().st_mode) == (before[0], before[1].st_mode)
    assert not list(Path("/dev/shm").glob("geomreg_filler*")) and not list(
        Path("/tmp").glob("geomreg_filler*")
    )
    return dict(zip(ATTACKS, rows, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is a program for Linux")
@pytest.mark.parametrize("attack", ATTACKS)
def test_it_is_stopped(attacked, attack):
    row = attacked[attack]
    assert (row.passed, row.status) == ("True", "checked"), row.message
    errors = "PermissionError|FileNotFoundError|OSError|MemoryError|BlockingIOError|ProcessLookupError"
    errors += "|ConnectionRefusedError|KeyError|IndexError"
    assert re.fullmatch(f"Right: ({errors})", row.message)


@pytest.mark.skipif(sys.platform != "linux", reason="uses sockets and /proc of Linux")
@pytest.mark.parametrize(
    "attack",
    "write remove rename truncate chmod utime link change_the_course change_the_checks change_the_data "
    "read_another_student list_the_other_students read_the_solutions read_your_files read_a_secret_variable "
    "network unix_socket abstract_socket signal see_processes large_file".split(),
)
def test_the_same_attack_succeeds_where_nothing_stops_it(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_OF_THE_TESTS", "1")
    names = ("victim", "course", "checks", "solutions", "private")
    given = {name: str(tmp_path / name) for name in names} | {"pid": os.getpid()}
    for name in names:
        (tmp_path / name).write_text(name)
    with servers(tmp_path) as places:
        given |= {"folder": str(tmp_path), "data": str(tmp_path)} | places
        exec(PRELUDE.format(given=json.dumps(given)) + ATTACKS[attack], {})


# what holds on every system --------------------------------------------------------------------------------


def test_a_notebook_can_use_its_own_folder(course):
    lines = """
import os, subprocess, tempfile
from pathlib import Path
Path("a").mkdir(); Path("a/x").write_text("1"); Path("a/x").rename("y"); Path("y").unlink()
open(os.devnull, "w").write("nothing")
tempfile.TemporaryFile().write(b"1")
city = "Oslo"
"""
    rows = graded(course, RIGHT, lines)
    assert [(rows[n].passed, rows[n].status) for n in "12"] == [("True", "checked")] * 2


def test_time_is_limited(course):
    grader = grading.Grader(course / "in", timeout=10)
    started = time.monotonic()
    rows = graded(course, "%ls\n" * 50_000, grader=grader)
    assert time.monotonic() - started < 300, "not the minutes that its cell takes to be read"
    assert {row.status for row in rows.values()} <= {"timeout", "open", "broken"} and not grading.RUNNING


def test_the_size_of_a_notebook_is_limited(course):
    handed_in = notebook(RIGHT)
    handed_in.metadata["filler"] = "x" * 50_000_000
    path = course / "in" / "01_tiny.ipynb"
    nbformat.write(handed_in, path)
    (row,) = grading.Grader(course / "in", 60).rows(grading.HandIn(path))
    assert (row.status, row.message[:15]) == ("broken", "more than 20 MB")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Not yet: f(3) is 7.", "Not yet: f(3) is 7."),
        ("Not yet: f(3) is the quick brown fox of Zoë.", "Not yet: f(3) is the …."),
        (
            "Not yet: ValueError: 104 101 108 108 111 32 119 111",
            "Not yet: ValueError: 104 101 108 108 111 32 …",
        ),
        ("Not yet: 10410110810811132", "Not yet: …"),
    ],
)
def test_a_message_has_known_words_and_few_numbers(said, shown):
    words = frozenset(re.findall(r"\w+", f"{CHECKS} the ValueError"))
    assert grading.known(said, words) == shown


def test_no_text_of_another_file_comes_back(course):
    secret = "violet elephants whisper secrets"
    rows = graded(
        course,
        f"def twice(x):\n    return {secret!r}\n\n\npassed = checks.double(twice)",
        f"raise NameError({secret!r})",
        f"class city:\n    def __eq__(self, other):\n        raise ValueError({secret!r})\n\n\ncity = city()",
    )
    assert rows["1"].message == "Not yet: f(3) is …." and rows["2"].message == "Not yet: ValueError"
    assert not any(word in str(row) for row in rows.values() for word in secret.split())


def test_what_a_notebook_writes_in_the_name_of_its_grader_ends_nothing(course):
    forged = """
import json, os, sys
frame = sys._getframe()
while "job" not in frame.f_locals:
    frame = frame.f_back
while "channel" not in frame.f_locals:
    frame = frame.f_back
token, channel = frame.f_locals["job"]["token"], frame.f_locals["channel"]
for said in ("", "{", "[" * 100000, "3", "{}", '{"exercise": []}', '{"exercise": 1, "status": "open"}',
             '{"exercise": 99, "status": "checked", "result": 1, "message": []}', '{"skipped": "=1"}',
             '{"notebook": "=1"}', '{"unreadable": []}'):
    channel.write(f"{token} {said}\\n")
channel.write("\\udc80".encode(errors="surrogatepass").decode(errors="replace") + "\\n")
channel.flush()
"""
    rows = graded(course, forged, RIGHT)
    assert (rows["1"].passed, rows["1"].status, rows["1"].message) == ("True", "checked", "Right: twice.")
    assert rows["2"].status == "missing" and set(rows) == {"1", "2", "3"}


def test_half_a_character_in_a_message_or_a_file_s_name_does_not_cost_the_table(course):
    names = [os.fsdecode(b"\xff 01_tiny.ipynb"), "01_tiny.ipynb"]
    for name in names:
        try:
            nbformat.write(notebook(RIGHT.replace("2 * x", "chr(0xd800) + chr(7)")), course / "in" / name)
        except OSError:  # macOS takes no such name
            names.remove(name)
    grading.grade(course / "in", 60, 1, course / "grades.csv")
    rows = [row for rows in grading.read_table(course / "grades.csv").values() for row in rows]
    assert len(rows) == 3 * len(names)
    assert all(value.isprintable() for row in rows for value in vars(row).values())


def running(mark: str) -> list[Path]:
    """The processes whose command line or working folder has `mark` in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in f"{(process / 'cmdline').read_bytes()} {os.readlink(process / 'cwd')}":
                found.append(process)
        except OSError:
            pass
    return found


def wait_for(condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("confined", [True, False])
def test_a_notebook_ends_with_a_grader_that_is_killed(course, confined):
    (course / "scratch").mkdir()
    nbformat.write(notebook("while True:\n    pass"), course / "in" / "01_tiny.ipynb")
    code = f"""
from pathlib import Path
from geomreg_course import books, grading, sandbox
books.notebooks_folder = lambda: Path({str(course / "course" / "notebooks")!r})
if not {confined}:
    sandbox.bubblewrap = lambda *given: []
grading.grade(Path({str(course / "in")!r}), 600, 1, Path({str(course / "grades.csv")!r}))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(course / "scratch")}
    grader = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    # with bubblewrap the mark is in its arguments, without it the notebook's folder
    mark = str(course / ("course/notebooks" if confined else "scratch"))
    wait_for(lambda: (course / "grades.csv").exists() and len(running(mark)) > confined)
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    wait_for(lambda: not running(mark))
    assert "waiting" in (course / "grades.csv").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_is_left_behind(course):
    rows = graded(
        course,
        "import subprocess\nsubprocess.Popen(['setsid', 'sleep', '98765.4321'])\ncity = 'Oslo'",
        grader=(grader := grading.Grader(course / "in", 120)),
    )
    if not grader.bubblewrap:
        pytest.skip("bubblewrap is not installed or not allowed here")
    assert rows["2"].passed == "True" and not running("98765.4321")


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is a program for Linux")
def test_of_a_home_directory_only_packages_are_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: name)
    monkeypatch.setattr(sandbox.site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(sandbox.site, "getuserbase", lambda: str(tmp_path / ".local"))
    packages = tmp_path / ".local" / "lib" / "python3" / "site-packages"
    monkeypatch.setattr(sandbox.site, "getusersitepackages", lambda: str(packages))
    command = sandbox.bubblewrap({}, [], tmp_path / "in")
    bound = {source for option, source in itertools.pairwise(command) if option == "--ro-bind-try"}
    assert str(packages) in bound
    assert not bound & {str(folder) for folder in packages.parents}


# what is said ----------------------------------------------------------------------------------------------


def test_without_bubblewrap_the_table_and_the_console_say_so(course, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "bubblewrap", lambda *given: [])
    nbformat.write(notebook(RIGHT, "city = 'Oslo'"), course / "in" / "01_tiny.ipynb")
    rows = grading.grade(course / "in", 120, 1, course / "grades.csv")
    assert [(row.passed, row.confinement) for row in rows] == [
        ("True", "none"),
        ("True", "none"),
        ("", "none"),
    ]
    assert "confinement: none (the notebooks can read and change your files" in capsys.readouterr().err


def test_a_bubblewrap_that_is_not_allowed_counts_as_none(course, monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewrap", lambda *given: ["false"])
    assert grading.Grader(course / "in", 120).confinement == "none"


def test_a_bubblewrap_that_is_only_slow_is_kept(course, monkeypatch):
    run = grading.Grader.run
    monkeypatch.setattr(
        grading.Grader, "run", lambda self, name, content, timeout: run(self, name, content, 1)
    )
    monkeypatch.setattr(sandbox, "bubblewrap", lambda *given: [sys.executable, "-c", "while True: pass"])
    assert grading.Grader(course / "in", 120).confinement == "bubblewrap"


README = (Path(__file__).parents[2] / "notebooks" / "course" / "README.md").read_text(encoding="utf-8")


def test_every_guard_in_the_table_names_a_test_and_every_attack_is_named():
    rows = [line for line in README.splitlines() if line.startswith("| ") and "`test_" in line]
    named = [name for row in rows for name in re.findall(r"`(test_\w+(?:\[\w+\])?)`", row)]
    assert len(rows) >= 20 and all("`test_" in row for row in rows)
    table = [line for line in README.splitlines() if line.startswith("| ")][1:]
    assert table == rows, "each row of the table names a test"
    sources = "".join(
        path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_grading*.py"))
    )
    for name in named:
        function, _, attack = name.rstrip("]").partition("[")
        assert f"def {function}(" in sources, name
        assert not attack or attack in ATTACKS, name
    assert {name for name in named if "[" in name} == {f"test_it_is_stopped[{name}]" for name in ATTACKS}


def test_data_are_those_of_the_grader_and_a_relative_folder_is_refused(course, monkeypatch, tmp_path):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits").write_text("real")
    seen = """
import os
from pathlib import Path
from data_scripts.fetch import data_root
city = "Oslo" if (data_root() / "digits").read_text() == "real" else None
"""
    assert graded(course, seen)["2"].passed == "True"
    monkeypatch.setenv("GEOMREG_DATA", "data")
    with pytest.raises(books.CourseError, match="GEOMREG_DATA must not depend on the current folder"):
        grading.Grader(course / "in", 60)


def test_a_solution_tag_does_not_hide_an_answer_of_the_course(course):
    rows = graded(course, code(RIGHT, "solution"))
    assert (rows["1"].passed, rows["1"].status) == ("False", "missing")
