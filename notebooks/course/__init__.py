"""The command `geomreg-course`: tasks that concern all notebooks, one file per task.

`books` finds and describes them, `running` executes them in `kernels`, `storing` keeps their outputs,
`student` makes the edition without solutions, `badges` points a fork's notebooks at itself, `grading`
checks handed-in work, `midterm` writes an exam, `pages` makes static HTML, `slides` makes decks for a
lecturer, and `printing` makes the report. The folder `reveal` holds reveal.js 5.2.1 as it is published, under
its own licence.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Carry out one command (see `geomreg-course --help`) and return its exit status, 130 after Ctrl-C."""
    try:
        Path.home()
    except RuntimeError:  # Jupyter needs it, and would say so in a traceback
        print("geomreg-course: this account has no home directory: set HOME to a folder", file=sys.stderr)
        return 2
    try:
        from .command import main  # late: papermill and nbconvert take a second to import

        return main(argv)
    except KeyboardInterrupt:
        print("geomreg-course: interrupted", file=sys.stderr)
        return 130
