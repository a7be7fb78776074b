"""The command `geomreg-course`: what is done with the notebooks as a whole, each task in a file of its own.

`books` finds and describes them, `running` executes them, `storing` keeps their outputs, `student` makes the
edition without solutions, `badges` points a fork's notebooks at itself, `grading` checks what is handed in,
and `pages` makes static HTML.
"""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Carry out one command (see `geomreg-course --help`) and return its exit status."""
    from .command import main  # late: papermill and nbconvert take a second to import

    return main(argv)
