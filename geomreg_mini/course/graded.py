"""The process in which one handed-in notebook is run and checked; `grading` starts it and believes no print.

Reads a job (JSON) from standard input and writes one line for each evaluated check to its original standard
output: the job's token, then JSON. What the notebook itself prints goes nowhere. The check that decides is
compiled anew from the course's own `checks.py` each time, so a `checks` that a notebook overwrote, or a
"Right:" that it printed, has no effect.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys


def limit(memory: int, seconds: int) -> None:
    """Bound memory (bytes), processor time and file size of this process and its children, where possible."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in {
        "RLIMIT_DATA": memory,
        "RLIMIT_CPU": seconds,
        "RLIMIT_FSIZE": 2**28,
        "RLIMIT_CORE": 0,
    }.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


def evaluate(checks: str, check: str, arguments: str, namespace: dict) -> tuple[str, bool, str]:
    """(status, passed, what the check said), with the arguments evaluated in the notebook's namespace."""
    try:
        answers = eval(f"({arguments},)", namespace)
    except NameError as error:
        return "missing", False, str(error)
    course: dict = {"__name__": "course_checks"}
    exec(compile(checks, "checks.py", "exec"), course)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        passed = course[check](*answers) is True
    return "checked", passed, next(iter(said.getvalue().strip().splitlines()), "")


def main() -> None:
    job = json.load(sys.stdin)
    limit(job["memory"], job["seconds"])
    channel = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)

    sys.path[0] = os.getcwd()  # as in a kernel, and not the folder of this file
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    for cell in job["cells"]:
        result = shell.run_cell(cell["source"])
        error = result.error_before_exec or result.error_in_exec
        trouble = f"; the cell stopped with {type(error).__name__}: {error}" if error else ""
        for index, check, arguments in cell["checks"]:
            try:
                status, passed, message = evaluate(job["checks"], check, arguments, shell.user_ns)
            except Exception as problem:
                status, passed, message = "checked", False, f"Not yet: {type(problem).__name__}: {problem}"
            message += trouble if status == "missing" else ""
            line = {"exercise": index, "status": status, "passed": passed, "message": message}
            channel.write(f"{job['token']} {json.dumps(line)}\n")
            channel.flush()
    os._exit(0)  # threads that a notebook left behind do not hold the grader up


if __name__ == "__main__":
    main()
