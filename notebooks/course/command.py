"""The command line of `geomreg-course`."""

from __future__ import annotations

import argparse
import io
import secrets
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

from data_scripts.output import until_closed

from .badges import stamp_all
from .books import CourseError, describe, select, writable
from .grading import grade
from .midterm import write_exam
from .pages import write_site
from .picture import draw, read_states
from .printing import write_report
from .running import CELL_TIMEOUT, Outcome, Runner, run_course
from .slides import write_slides
from .storing import refresh
from .student import write_student_edition


def table(columns: list[str], rows: list[tuple]) -> str:
    """Return rows as plain aligned text."""
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
        prog="geomreg-course", description="The notebooks of this course as a whole."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(
        name: str, carry_out: Callable[[argparse.Namespace], int], what: str, out: str = ""
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        added.set_defaults(carry_out=carry_out)
        if out:
            added.add_argument("--out", type=Path, default=Path(out), help=f"default: {out}")
        return added

    listing = command("list", _list, "number, title, data and minutes of each notebook")
    claims = command("claims", _claims, "list and test what notebooks 01, 03, 04 and 05 claim of outcomes")
    claims.add_argument(
        "--results",
        type=Path,
        help="other runs than the stored ones: fail on a contradiction alone",
    )
    run = command(
        "run",
        _run,
        "execute notebooks and write them, as .ipynb and .html, into a folder; a stopped run continues",
        "build/course",
    )
    run.add_argument(
        "--mode", choices=["quick", "full"], default="quick", help="full: the real protocol, for hours"
    )
    run.add_argument(
        "--timeout", type=_positive, help="seconds a single cell may take (default: 600 in quick mode)"
    )
    store = command("refresh", _refresh, "execute in quick mode and store the outputs in the notebooks")
    student = command(
        "student", _student, "write the edition without solutions, complete and installable", "build/student"
    )
    badges = command("badges", _badges, "stamp Colab badge and git address of a fork into its notebooks")
    badges.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the fork on GitHub")
    badges.add_argument("--ref", default="main", help="its branch or tag (default: main)")
    grade = command(
        "grade",
        _grade,
        "check a folder of handed-in notebooks, each in a separate process",
        "grades.csv",
    )
    grade.add_argument(
        "folder", type=Path, metavar="DIR", help="notebooks, in subfolders (of students) or not"
    )
    grade.add_argument("--timeout", type=_positive, default=600, help="seconds for a notebook (default: 600)")
    grade.add_argument("--midterm", default="", metavar="PHRASE", help="they are mid-terms of this phrase")
    exam = command(
        "midterm", _midterm, "write a mid-term of notebooks 00 to 07 for one class", "build/midterm"
    )
    exam.add_argument("--phrase", help="draws the tasks, and is the only secret (default: a random one)")
    pages = command(
        "site", _site, "write the notebooks and their stored outputs as static HTML", "build/site"
    )
    slides = command(
        "slides", _slides, "write notebooks as slides for a lecturer (default: 00 to 09)", "build/slides"
    )
    picture = command("picture", _picture, "draw a saved state or run of the live canvas in a browser")
    picture.add_argument("state", type=Path, metavar="STATE.json", help="what `Sphere.state()` returns")
    picture.add_argument("picture", type=Path, metavar="OUT", help="a .png, or a .gif that moves")
    picture.add_argument("--width", type=_positive, default=660, help="in CSS pixels (default: 660)")
    picture.add_argument("--dark", action="store_true", help="light on dark")
    command("report", _report, "execute the replication report and write it as HTML and PDF", "build/report")
    for takes_numbers in (run, store, slides):
        takes_numbers.add_argument("numbers", nargs="*", metavar="NN", help="notebooks (default: all)")
    for parallel in (run, store, grade):
        parallel.add_argument("--jobs", type=_positive, default=2, help="notebooks at a time (default: 2)")
    for elsewhere in (listing, run, store, student, badges, pages, slides):
        elsewhere.add_argument("--notebooks", type=Path, metavar="DIR", help="default: those of the checkout")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Return 0 if all is done, 1 if a notebook failed or was refused, 2 if the command cannot be carried out.

    141 if the reader of the output, for example `head`, has closed it.
    """
    options = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log shows each notebook when it ends
    try:
        return until_closed(lambda: options.carry_out(options))
    except (CourseError, OSError) as error:
        print(f"geomreg-course: {error}", file=sys.stderr)
        return 2


def _list(options: argparse.Namespace) -> int:
    rows = [describe(path) for path in select([], options.notebooks)]
    print(table(["", "title", "data", "minutes"], rows))
    return 0


def _claims(options: argparse.Namespace) -> int:
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # the experiments are not installed
    from experiments.judging import UNDECIDED
    from experiments.lessons import load, tested

    columns = ["claim", "words", "gain", "low", "high", "seeds", "verdict", "expected"]
    rows = tested(load(options.results) if options.results else None).round(3)
    print(table(columns, [tuple(row[name] for name in columns) for row in rows.to_dict("records")]))
    failed = rows["verdict"] != rows["expected"]
    if options.results:  # the same seeds on another processor move a gain, and a verdict at its edge
        failed &= (rows["verdict"] != UNDECIDED) & (rows["expected"] != UNDECIDED)
    return int(failed.any())


def _run(options: argparse.Namespace) -> int:
    sources = select(options.numbers, options.notebooks)
    out = writable(options.out)
    runner = Runner(out, {"MODE": options.mode}, options.timeout or CELL_TIMEOUT[options.mode])
    outcomes = run_course(sources, runner, options.jobs)
    columns = [field.name.replace("_", " ") for field in fields(Outcome)]
    print("\n" + table(columns, [tuple(asdict(outcome).values()) for outcome in outcomes]))
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


def _refresh(options: argparse.Namespace) -> int:
    return refresh(select(options.numbers, options.notebooks), options.jobs)


def _student(options: argparse.Namespace) -> int:
    out = writable(options.out)
    count = write_student_edition(select([], options.notebooks), out)
    print(f"{count} notebooks without solutions are in {out / 'notebooks'}")
    return 0


def _badges(options: argparse.Namespace) -> int:
    sources = select([], options.notebooks)
    stamp_all(sources, options.repo, options.ref)
    print(f"{len(sources)} notebooks point at https://github.com/{options.repo}, {options.ref}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    writable(options.out.parent)
    rows = grade(options.folder, options.timeout, options.jobs, options.out, options.midterm)
    print(f"{len(rows)} rows are in {options.out}")
    return 0


def _midterm(options: argparse.Namespace) -> int:
    phrase = options.phrase or secrets.token_hex(8)
    path = write_exam(phrase, writable(options.out))
    print(f"give students {path}")
    print(f"keep the phrase secret: geomreg-course grade DIR --midterm {shlex.quote(phrase)}")
    return 0


def _site(options: argparse.Namespace) -> int:
    out = writable(options.out)
    write_site(select([], options.notebooks), out)
    print(f"open {out / 'index.html'}")
    return 0


def _slides(options: argparse.Namespace) -> int:
    sources = select(options.numbers, options.notebooks)
    decks = write_slides([s for s in sources if options.numbers or s.name < "10"], writable(options.out))
    for deck in decks:
        print(f"open {deck}: {deck.read_text(encoding='utf-8').count('</aside></section>')} slides")
    return 0


def _picture(options: argparse.Namespace) -> int:
    writable(options.picture.parent)
    draw(read_states(options.state), options.picture, options.width, options.dark)
    print(f"open {options.picture}")
    return 0


def _report(options: argparse.Namespace) -> int:
    print(write_report(writable(options.out)))
    return 0
