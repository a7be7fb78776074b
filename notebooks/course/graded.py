"""The process that reads, runs and checks one handed-in notebook; `grading` starts it.

It reads a job (a line of JSON) and the notebook from standard input, and writes lines to its original
standard output: the job's token, then JSON. The notebook's own prints are discarded. Its cells run in a shell
that behaves like a kernel. Each check is imported again from the course, so a `checks` that a notebook
overwrote, or a "Right:" that it printed, has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import nbformat
from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

from .books import EXAM, check_calls, has_tag
from .sandbox import ENDLESS, INSTALLERS, SOLUTIONS, limit

INSTALLER = re.compile(
    rf"\s*(?:sudo\s+)?(?:\S*python\S*\s+-m\s+)?(?:\S*/)?({'|'.join(INSTALLERS)})[\d.]*(?:\s|$)"
)
Due = tuple[int, str, str]  # number of the exercise, name of its check, arguments


class Shell(InteractiveShell):
    """A kernel's shell without sockets; installers do nothing but call `skipped` with their name."""

    skipped: Callable[[str], None]

    def enable_matplotlib(self, gui: str | None = None) -> tuple[str | None, str]:
        """Draw into the notebook, whatever backend it requests."""
        return super().enable_matplotlib("inline")

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing, since no window has an event loop here."""

    def system(self, command: str) -> None:
        """Run `!command` in the confinement unless it installs something."""
        if found := INSTALLER.match(self.var_expand(command, depth=1)):
            self.skipped(f"!{found.group(1)}")
        else:
            self.system_piped(command)

    def init_magics(self) -> None:
        """Replace the installers' magics."""
        super().init_magics()
        for name in INSTALLERS:
            self.register_magic_function(lambda line, name=name: self.skipped(f"%{name}"), "line", name)


async def run(shell: Shell, source: str) -> ExecutionResult:
    """Run one cell as ipykernel does: in a running event loop, awaited if it has a top-level await."""
    try:
        prepared, failed = shell.transform_cell(source), None
    except Exception:
        prepared, failed = source, sys.exc_info()
    if shell.should_run_async(source, transformed_cell=prepared, preprocessing_exc_tuple=failed):
        result = await shell.run_cell_async(
            source, store_history=True, transformed_cell=prepared, preprocessing_exc_tuple=failed
        )
        shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", result)
    else:
        result = shell.run_cell(source, store_history=True)
    await asyncio.sleep(0)  # lets the notebook's tasks run between cells
    return result


def end_with(pipe: int) -> None:
    """End this process when the other end of `pipe` closes, because its parent was killed."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            if not os.read(pipe, 1):
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def course_notebook(name: str, notebook: nbformat.NotebookNode, known: list[str]) -> str | None:
    """Return the course's notebook of which this is a copy: by file name, else by the title's number."""
    for candidate in known:
        if candidate in name:
            return candidate
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (title := re.match(r"# +(\d\d|Mid-term)\b", cell.source)):
            start = title.group(1).lower().replace("-", "")
            return next((stem for stem in known if stem.startswith(start)), None)
    return None


def plan(notebook: nbformat.NotebookNode, asked: list[list[str]]) -> list[tuple[str, list[Due]]]:
    """Return the code cells to run, each with the checks due after it.

    `asked` has the check (empty for an open exercise) and its arguments for each exercise.
    """
    cells = []
    called = set()
    for cell in notebook.cells:
        if cell.cell_type != "code" or has_tag(cell, "solution"):
            continue
        given = dict(check_calls(cell.source))
        due = [
            (index, check, given.get(check) or arguments)
            for index, (check, arguments) in enumerate(asked)
            if check and f"checks.{check}({arguments if check == EXAM else ''}" in cell.source
        ]
        called |= {index for index, *_ in due}
        cells.append((cell.source, due))
    return [*cells, ("", [(i, *e) for i, e in enumerate(asked) if e[0] and i not in called])]


@contextlib.contextmanager
def course_checks(folder: str) -> Iterator[ModuleType]:
    """Import the course's checks again, then restore those that the notebook may have changed."""

    def taken() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "checks"]
        return {name: sys.modules.pop(name) for name in names}

    before, path = taken(), sys.path
    sys.path = [folder, *path]
    try:
        yield importlib.import_module("checks")
    finally:
        taken()
        sys.modules.update(before)
        sys.path = path


@contextlib.contextmanager
def alarm(late: Callable[[int, FrameType | None], None], seconds: float, again: float = 0) -> Iterator[None]:
    """Call ``late`` in the code below after so many seconds, and every ``again`` if not 0; not on Windows."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def within(seconds: float) -> contextlib.AbstractContextManager[None]:
    """Raise TimeoutError in the code below after so many seconds, and again while it goes on.

    A function that never ends, which a mid-term's author may not have called, must not cost other answers.
    """

    def late(*_: object) -> None:
        raise TimeoutError(f"no end within {seconds:.0f} seconds")

    return alarm(late, seconds, seconds / 8)


def cell_within(shell: Shell, seconds: float) -> contextlib.AbstractContextManager[None]:
    """Cancel the cell that runs below after so many seconds, and while it goes on.

    Code of the shell is never interrupted, so later cells find it whole.
    """
    loop, task, tries = asyncio.get_running_loop(), asyncio.current_task(), itertools.count()

    def late(_: int, frame: FrameType | None) -> None:
        if not (tried := next(tries)):
            shell.skipped(ENDLESS)
        while frame and frame.f_globals is not shell.user_ns:
            frame = frame.f_back
        # A cell that catches this is cancelled again, soon enough to meet it outside its `try`.
        signal.setitimer(signal.ITIMER_REAL, (7 * tried % 500 + 1) * 1e-6 if tried else 1)
        if frame:
            raise asyncio.CancelledError
        if asyncio.current_task() is None:  # the cell awaits
            loop.call_soon_threadsafe(task.cancel)

    return alarm(late, max(seconds, 0.1))


def evaluate(
    job: dict[str, Any], check: str, arguments: str, namespace: dict[str, Any]
) -> tuple[str, bool | int, str]:
    """Evaluate a check's arguments in the notebook's namespace; return (status, result, the check's line).

    The result is whether the check passed, or the points of a task of the mid-term.
    """
    try:
        answers = eval(f"({arguments},)", namespace)
    except NameError as error:
        return "missing", False, str(error)
    with course_checks(job["checks"]) as checks, contextlib.redirect_stdout(io.StringIO()) as said:
        if check == EXAM:
            return "checked", *checks.midterm.points(job["phrase"], namespace.get("CLASS"), *answers)
        passed = getattr(checks, check)(*answers) is True
    return "checked", passed, next(iter(said.getvalue().strip().splitlines()), "")


async def grade(job: dict[str, Any], content: bytes, say: Callable[..., None]) -> None:
    """Read, run and check a notebook; `say` sends one line of the answer."""
    try:
        notebook = nbformat.reads(content.decode("utf-8-sig"), as_version=4)
        stem = course_notebook(job["name"], notebook, list(job["known"]))
        cells = plan(notebook, job["known"].get(stem, []))
    except (Exception, RecursionError) as error:
        return say(unreadable=type(error).__name__)
    say(notebook=stem)
    if stem is None:
        return None
    if any(cell.cell_type == "code" and has_tag(cell, "solution") for cell in notebook.cells):
        say(skipped=SOLUTIONS)
    shell = Shell.instance()
    shell.skipped = lambda name: say(skipped=name)
    end = time.monotonic() + job["timeout"]
    for source, due in cells:
        try:
            with cell_within(shell, (end - time.monotonic()) / 2):
                ran = await run(shell, source)
            error = ran.error_before_exec or ran.error_in_exec
        except asyncio.CancelledError as cancelled:  # in the pause after the cell
            error = cancelled
        for index, check, arguments in due:
            try:
                with within(job["timeout"] / (2 + len(job["known"][stem]))):
                    status, result, message = evaluate(job, check, arguments, shell.user_ns)
            except BaseException as problem:  # an exit() in one answer must not cost the others
                status, result, message = "checked", False, f"Not yet: {type(problem).__name__}"
            if status == "missing" and error:
                message += f"; the cell stopped with {type(error).__name__}"
            say(exercise=index, status=status, result=result, message=message)


def main() -> None:
    """Do one job and end at once."""
    job = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read(job["size"])
    end_with(os.dup(0))
    channel = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    with contextlib.suppress(Exception), course_checks(job["checks"]):
        pass  # so that what the checks import does not count as the notebook's memory
    limit(job["seconds"], job["user"], job["confined"])
    sys.path[0] = os.getcwd()  # as in a kernel

    def say(**line: object) -> None:
        channel.write(f"{job['token']} {json.dumps(line)}\n")
        channel.flush()

    asyncio.run(grade(job, content, say))
    os._exit(0)  # a notebook's leftover threads must not delay the grader


if __name__ == "__main__":
    main()
