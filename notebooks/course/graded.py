"""The process in which one handed-in notebook is run and checked; `grading` starts it and believes no print.

Reads a job (a line of JSON) from standard input and writes one line for each evaluated check to its original
standard output: the job's token, then JSON. What the notebook itself prints goes nowhere. The check that
decides is compiled anew from the course's own `checks/` each time, so a `checks` that a notebook overwrote,
or a "Right:" that it printed, has no effect.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.abc
import importlib.util
import io
import json
import os
import struct
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType

# Landlock's system calls, the same on every processor, and its rights on files that change something
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))


def landlock(number: int, *arguments) -> int:
    """One of its system calls; -1 where the kernel has none."""
    if sys.platform != "linux":
        return -1
    return ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)


def confinement() -> int:
    """Landlock's version: from 1 on files can be protected, from 4 on TCP; less where this is not Linux."""
    return landlock(CREATE_RULESET, None, ctypes.c_size_t(0), 1)


def confine(folder: str) -> None:
    """Let this process and its children write below ``folder`` only, use no TCP and signal nobody else.

    As far as the kernel's Landlock can, which needs no rights and cannot be undone.
    """
    version = confinement()
    if version < 1:
        return
    to_file = WRITE_FILE | (TRUNCATE if version >= 3 else 0)
    write = to_file | REMOVE_AND_MAKE | (REFER if version >= 2 else 0)
    tcp, others = 3 if version >= 4 else 0, 3 if version >= 6 else 0
    rules = struct.pack("=QQQ", write, tcp, others)[: 8 * (1 + (version >= 4) + (version >= 6))]
    ruleset = landlock(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    # semaphores, which a library may take without need, are files of /dev/shm
    for path, rights in ((folder, write), (os.devnull, to_file), ("/dev/shm", write)):
        with contextlib.suppress(OSError):
            place = os.open(path, os.O_PATH)
            landlock(ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, place), 0)
            os.close(place)
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which Landlock refuses
    landlock(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def end_with(pipe: int) -> None:
    """End this process when the other end of ``pipe`` closes: whoever waits for it was killed."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            if not os.read(pipe, 1):
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def limit(memory: int, seconds: int, processes: int | None) -> None:
    """Bound memory (bytes), processor time, files and, where given, the number of processes, if possible."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for name, value in {
        "RLIMIT_DATA": memory,
        "RLIMIT_CPU": seconds,
        "RLIMIT_FSIZE": 2**28,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 1024,
        **({"RLIMIT_NPROC": processes} if processes else {}),
    }.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (value, value))


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Import the package `course_checks` from the text of its modules, by name; `__init__` is the package."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = {f"course_checks.{name}".removesuffix(".__init__"): text for name, text in texts.items()}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name in self.texts else None

    def get_source(self, name: str) -> str:
        return self.texts[name]

    def is_package(self, name: str) -> bool:
        return name == "course_checks"


def imported_anew(texts: dict[str, str]) -> ModuleType:
    """Return the course's checks, compiled from these texts whatever a notebook left in `sys.modules`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "course_checks"]:
        del sys.modules[name]
    sys.meta_path.insert(0, finder := Sources(texts))
    try:
        return importlib.import_module("course_checks")
    finally:
        sys.meta_path.remove(finder)


def evaluate(checks: dict[str, str], check: str, arguments: str, namespace: dict) -> tuple[str, bool, str]:
    """(status, passed, what the check said), with the arguments evaluated in the notebook's namespace."""
    try:
        answers = eval(f"({arguments},)", namespace)
    except NameError as error:
        return "missing", False, str(error)
    course = imported_anew(checks)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        passed = getattr(course, check)(*answers) is True
    return "checked", passed, next(iter(said.getvalue().strip().splitlines()), "")


def main() -> None:
    job = json.loads(sys.stdin.readline())
    limit(job["memory"], job["seconds"], job["processes"])
    confine(job["folder"])
    end_with(os.dup(0))
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
