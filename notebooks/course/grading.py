"""Check a folder of handed-in notebooks and write a table: one row for each student, notebook and exercise.

Each notebook runs in a process of its own (`graded.py`) with a time limit for the whole of it, without cells
tagged `solution`, and each exercise is decided where the notebook calls its check, by the course's own copy
of that check. Where a notebook calls a check twice the last call counts; where it never does, the answer's
own name is checked at the end.

A handed-in notebook is a stranger's program.

Guarded everywhere: this process and the table, because nothing of a notebook runs here and what its process
answers is held to its form; your environment variables, of which it sees hardly any; and time. Guarded on
Linux and macOS: processor time, the size of a file, and on Linux the memory of a process. Guarded on Linux
besides, where the system allows it: with `unshare` the network as a whole, processes left behind and their
number; with Landlock (kernel 5.13) all files outside a folder that goes afterwards against being changed, TCP
(kernel 6.7), and your processes against signals (kernel 6.12). `grade` says what is missing.

Not guarded: it can read what your account can, other students' notebooks included, though with the network
closed it can tell nobody but you; on Linux many processes or many files of the allowed size can still fill
memory and disk for as long as the time limit lasts; on macOS the network and your files are open, and Windows
has the time limit alone. Grade from an account, or a container, that holds nothing of value. And whoever sets
out to attack the checks from inside that process can pass them; copying a friend's cell is easier, and just
as invisible here.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import nbformat
from tqdm import tqdm

from geomreg_mini.records import write_atomically

from . import books
from .books import CourseError, Exercise, check_calls, exercises, has_tag, select
from .graded import confinement
from .running import one_line

MEMORY = 4 * 2**30  # bytes of data; importing torch takes a quarter of one of these gigabytes
PROCESSES = 256  # and threads, counted apart from those of your account
LARGEST = 50 * 2**20  # bytes of a notebook; larger files are not read
RUNNING: set[subprocess.Popen] = set()


@dataclass(frozen=True)
class Row:
    """One exercise of one file; `passed` is "True", "False", or empty where no check exists or could be run.

    `status`: "checked"; "missing", the answer is not defined; "open", there is no automatic check, read it;
    "timeout" and "crashed", the notebook ended before this exercise; "broken", the file is no notebook of it.
    """

    student: str
    file: str
    notebook: str
    exercise: str
    passed: str
    status: str
    message: str


@cache
def isolation() -> tuple[str, ...]:
    """What keeps a process off the network and ends its children with it; empty where nothing does."""
    command = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child=KILL")
    if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return ()


def submissions(folder: Path) -> list[Path]:
    """The notebooks in a folder and below it, hidden folders and links left out."""
    if not folder.is_dir():
        raise CourseError(f"{folder} is not a folder: name the one with the handed-in notebooks")
    found = sorted(
        path
        for path in folder.rglob("*.ipynb")
        if path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise CourseError(f"{folder} holds no notebooks (.ipynb)")
    return found


def course_notebook(path: Path, notebook: nbformat.NotebookNode) -> Path | None:
    """The course's notebook that this one is a copy of: by file name, else by the number in its title."""
    known = select([])
    for candidate in known:
        if candidate.stem in path.stem:
            return candidate
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (title := re.match(r"# +(\d\d)\b", cell.source)):
            return next((c for c in known if c.name[:2] == title.group(1)), None)
    return None


def plan(notebook: nbformat.NotebookNode, asked: list[Exercise]) -> list[dict]:
    """The code cells to run, each with the checks due after it: (exercise, check, arguments)."""
    cells = []
    called = set()
    for cell in notebook.cells:
        if cell.cell_type != "code" or has_tag(cell, "solution"):
            continue
        given = dict(check_calls(cell.source))
        due = [
            (index, exercise.check, given.get(exercise.check) or exercise.arguments)
            for index, exercise in enumerate(asked)
            if exercise.check and f"checks.{exercise.check}(" in cell.source
        ]
        called |= {index for index, *_ in due}
        cells.append({"source": cell.source, "checks": due})
    rest = [(i, e.check, e.arguments) for i, e in enumerate(asked) if e.check and i not in called]
    return [*cells, {"source": "", "checks": rest}]


def run_apart(cells: list[dict], timeout: float) -> tuple[dict[int, dict], str]:
    """Run cells in a process of their own: (results by exercise, "timeout" or "crashed" for others)."""
    token = secrets.token_hex(16)
    notebooks = books.notebooks_folder()
    checks = {path.stem: path.read_text(encoding="utf-8") for path in (notebooks / "checks").glob("*.py")}
    job = {"cells": cells, "checks": checks, "token": token}
    job |= {"memory": MEMORY, "seconds": int(4 * timeout) + 10}
    job["processes"] = PROCESSES if isolation() else None  # else all of your account's would count
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, tempfile.TemporaryFile() as said:
        # The set-up cell looks for the course around its working folder, and finds this.
        here = Path(scratch) / "notebooks"
        here.mkdir()
        job["folder"] = scratch
        shutil.copytree(notebooks / "checks", here / "checks", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("notebooks/lab", "notebooks/figures", "experiments", "results"):
            if (notebooks.parent / name).is_dir():
                (here.parent / name).symlink_to(notebooks.parent / name)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith("GEOMREG_")}
        package = Path(__file__).resolve().parents[2]
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        kept |= {
            "PYTHONPATH": path,
            "PYTHONUSERBASE": site.getuserbase(),
            "HOME": scratch,
            "TMPDIR": scratch,
            "MPLBACKEND": "agg",
        }
        kept |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [*isolation(), sys.executable, str(Path(__file__).with_name("graded.py"))],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.DEVNULL,
            cwd=here,
            env=kept,
            start_new_session=True,
        )
        RUNNING.add(process)
        ended = "crashed"  # also where a notebook ends its process with status 0 before the last check
        try:
            with suppress(BrokenPipeError):  # it ended before it had read its job
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
            process.wait(timeout)  # the pipe stays open: where this process is killed, that one ends
        except subprocess.TimeoutExpired:
            ended = "timeout"
        finally:
            stop(process)
            process.stdin.close()
        said.seek(0)
        lines = said.read(2**20).decode(errors="replace").splitlines()
    results = {}
    for line in lines:
        # A notebook that looked for the token can write what it likes here, and that has to stay a result.
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            if line.startswith(token + " ") and (result := json.loads(line.removeprefix(token))):
                if type(result["exercise"]) is int and result["status"] in ("checked", "missing"):
                    passed, message = result["passed"] is True, str(result["message"])
                    results[result["exercise"]] = result | {"passed": passed, "message": message}
    return results, ended


def stop(process: subprocess.Popen) -> None:
    """Kill a process and the group that it leads."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, ProcessLookupError):
        process.kill()  # no groups on Windows; or ended by itself, and left nobody behind
    process.wait()
    RUNNING.discard(process)


def _printable(c: str) -> str:
    return c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"


def grade_one(path: Path, folder: Path, timeout: float) -> list[Row]:
    """The rows of one handed-in notebook; whatever is wrong with it becomes a row."""
    inside = path.relative_to(folder)
    student = inside.parts[0] if len(inside.parts) > 1 else inside.stem

    def row(notebook="", exercise="", passed="", status="broken", message=""):
        texts = (student, inside.as_posix(), notebook, exercise, passed, status, one_line(message))
        # Names and messages can hold what no table can, such as half a character.
        texts = ("".join(map(_printable, text)) for text in texts)
        return Row(*(f"'{text}" if text.startswith(("=", "+", "-", "@")) else text for text in texts))

    try:
        if path.stat().st_size > LARGEST:
            return [row(message=f"the file has more than {LARGEST // 2**20} MB and was not read")]
        handed_in = nbformat.read(path, as_version=4)
        master = course_notebook(path, handed_in)
        asked = exercises(nbformat.read(master, as_version=4)) if master else []
        cells = plan(handed_in, asked)
    except (Exception, RecursionError) as error:
        return [row(message=f"not a readable notebook: {type(error).__name__}: {error}")]
    if master is None:
        return [row(message="neither its file name nor its title is that of a notebook of this course")]
    results, ended = run_apart(cells, timeout)
    why = {
        "timeout": f"stopped after {timeout:g} s, before this exercise was decided",
        "crashed": "out of memory, or ended by the notebook itself, before this exercise was decided",
    }[ended]
    rows = []
    for index, exercise in enumerate(asked):
        if not exercise.check:
            rows.append(row(master.stem, exercise.title, "", "open", "no automatic check: read it"))
        elif index in results:
            result = results[index]
            passed = str(result["passed"])
            rows.append(row(master.stem, exercise.title, passed, result["status"], result["message"]))
        else:
            rows.append(row(master.stem, exercise.title, "False", ended, why))
    return rows


def grade(folder: Path, timeout: float, jobs: int, out: Path) -> list[Row]:
    """Grade what lies in a folder and write the table to `out` in one step; the rows, in the files' order."""
    paths = submissions(folder)
    if not isolation():
        left = "the network without TCP" if confinement() >= 4 else "the network"
        print(f"no `unshare` here: the notebooks can use {left} and leave processes behind", file=sys.stderr)
    if confinement() < 1:
        print("no Landlock here: the notebooks can write to all of your files", file=sys.stderr)
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)  # what nbformat says is in the table
    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        graded = pool.map(lambda path: grade_one(path, folder, timeout), paths)
        try:
            for found in tqdm(graded, total=len(paths), disable=None):
                rows += found
                decided = [row.passed == "True" for row in found if row.status != "open"]
                tqdm.write(f"{found[0].file}: {sum(decided)} of {len(decided)} passed")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(RUNNING):
                stop(process)
            raise
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [field.name for field in fields(Row)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(out, file.getvalue().encode())
    return rows
