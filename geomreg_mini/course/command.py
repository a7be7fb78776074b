"""The command line of `geomreg-course`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path

from .books import CourseError, describe, select, writable
from .running import CELL_TIMEOUT, Outcome, Runner, run_all, write_summary
from .storing import refresh


def table(columns: list[str], rows: list[tuple]) -> str:
    """Plain aligned text."""
    cells = [columns, *[[str(value) for value in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="geomreg-course", description="The notebooks of this course, headless."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="number, title, data and minutes of each notebook")
    run = commands.add_parser(
        "run", help="execute notebooks and write them, as .ipynb and .html, into a folder"
    )
    run.add_argument(
        "--mode", choices=["quick", "full"], default="quick", help="full: the real protocol, for hours"
    )
    run.add_argument("--out", type=Path, default=Path("build/course"), help="default: build/course")
    run.add_argument(
        "--timeout", type=_positive, help="seconds a single cell may take (default: 600 in quick mode)"
    )
    store = commands.add_parser(
        "refresh", help="execute in quick mode and store the outputs in the notebooks"
    )
    for command in (run, store):
        command.add_argument("numbers", nargs="*", metavar="NN", help="numbers of notebooks (default: all)")
        command.add_argument("--jobs", type=_positive, default=2, help="notebooks at a time (default: 2)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: done; 1: a notebook failed or was refused; 2: the command cannot be carried out."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "list":
            print(table(["", "title", "data", "minutes"], [describe(path) for path in select([])]))
            return 0
        sources = select(options.numbers)
        if options.command == "refresh":
            return refresh(sources, options.jobs)
        out = writable(options.out)
        runner = Runner(out, {"MODE": options.mode}, options.timeout or CELL_TIMEOUT[options.mode])
        outcomes = run_all(sources, runner, options.jobs)
        write_summary(outcomes, out)
    except CourseError as error:
        print(f"geomreg-course: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("geomreg-course: interrupted", file=sys.stderr)
        return 130
    columns = [field.name.replace("_", " ") for field in fields(Outcome)]
    print("\n" + table(columns, [tuple(asdict(outcome).values()) for outcome in outcomes]))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0
