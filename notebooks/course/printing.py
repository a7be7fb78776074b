"""Print the replication report for readers without Jupyter: executed notebook 15 as one page and as PDF.

The page has the notebook's prose, tables and figures, without code, predictions and exercises. Folded tables
are open, because paper cannot unfold. The PDF is that page, printed by the machine's Chromium, Chrome
or Edge. (nbconvert's WebPDF exporter starts only the browser that playwright downloads.)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from .books import CourseError, has_tag, notebooks_folder, select
from .pages import PAGE, body, styles
from .running import CELL_TIMEOUT, Runner

NUMBER = "15"
IN_CLASS = "in-class"  # the tag of cells for a reader who works through the notebook
NOTEBOOK_LINK = re.compile(r"\[([^]]*)\]\((?!\w+:)[^)]*\.ipynb[^)]*\)")
OPENING = re.compile(r"^# \d\d · (.+)", re.MULTILINE)
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
PRINT_SECONDS = 120

PRINT = """
.output_text, .output_stream { border: 0; padding: .2rem 0; }
table { font-size: .78rem; line-height: 1.35; }
table, td, th { border-style: solid; border-width: 0 0 1px; border-color: var(--line); }
td, th { padding: .15rem .45rem; text-align: left !important; vertical-align: top !important; }
td code { font-size: 1em; }
@page { size: A4; margin: 16mm 14mm 18mm; @bottom-center { content: counter(page); font-size: 7pt; } }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .skip, .anchor-link { display: none; }
  table { font-size: 7.2pt; } td, th { padding: .1rem .3rem; } :is(.output_html, .wide) { overflow: visible; }
  thead { display: table-header-group; } table, tr, img, pre { break-inside: avoid; }
  h2, h3, .output_area:has(> .output_markdown) { break-after: avoid; }
}
"""


def report_form(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy without the cells for the class: those tagged ``in-class``, and whole exercises.

    Only the outputs of code remain, and only title and subtitle of the opening. Links to other notebooks
    become their text.
    """
    notebook = nbformat.from_dict(notebook)
    opening = notebook.cells[0]
    opening.source = OPENING.sub(r"# \1", opening.source.partition("You will be able to")[0])
    kept, exercise = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if headings := re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE):
                exercise = headings[-1].startswith("Exercise")
            cell.source = NOTEBOOK_LINK.sub(r"\1", cell.source)
        silent = cell.cell_type == "code" and not cell.outputs
        if not (exercise or silent or has_tag(cell, IN_CLASS) or has_tag(cell, "solution")):
            kept.append(cell)
    return nbformat.v4.new_notebook(cells=kept, metadata=notebook.metadata)


def page(notebook: nbformat.NotebookNode) -> str:
    """Return the report as one page that needs no server."""
    return PAGE.format(
        title="Replication report",
        style=styles() + PRINT,
        navigation="",
        below="",
        content=body(report_form(notebook), code=False).replace("<details>", "<details open>"),
    )


def print_page(source: Path, target: Path) -> None:
    """Print an HTML file as PDF.

    Raises:
        CourseError: if no browser is found, or it writes no PDF within two minutes.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise CourseError("no PDF, because there is no Chromium: install one, or print the page yourself")
    with tempfile.TemporaryDirectory() as profile:
        # The page is ours and has no script, so it needs no sandbox, which containers often lack.
        options = ["--headless", "--no-sandbox", "--no-pdf-header-footer", "--generate-pdf-document-outline"]
        options += [f"--user-data-dir={profile}", f"--print-to-pdf={target.resolve()}"]
        command = [browser, *options, source.resolve().as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=PRINT_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            pass
    if not target.is_file():
        raise CourseError(f"no PDF, because {browser} wrote none: print the page yourself")


def write_report(out: Path) -> str:
    """Execute notebook 15 and write ``report.html``, ``report.pdf``, ``numbers.csv`` and ``claims.csv``.

    Return a sentence for the reader: what was written, or why there is no PDF.

    Raises:
        CourseError: if the notebook fails.
    """
    (source,) = select([NUMBER])
    checkout = notebooks_folder().parent
    results = checkout / "results"
    with tempfile.TemporaryDirectory() as scratch:
        outcome = Runner(Path(scratch), {"MODE": "quick"}, CELL_TIMEOUT["quick"]).run(source)
        if outcome.status == "failed":
            raise CourseError(
                f"{outcome.notebook} failed in code cell {outcome.failed_cell}: {outcome.error}"
            )
        executed = nbformat.read(Path(scratch) / source.name, as_version=4)
    sys.path.append(str(checkout))  # the experiments belong to it and are not installed
    from experiments import claims, report

    report.numbers(results).to_csv(out / "numbers.csv", index=False)
    claims.evidence(claims.load(results)).to_csv(out / "claims.csv", index=False)
    html, pdf = out / "report.html", out / "report.pdf"
    html.write_text(page(executed), encoding="utf-8")
    pdf.unlink(missing_ok=True)  # of an earlier run
    try:
        print_page(html, pdf)
    except CourseError as error:
        return f"{html} is written; {error}"
    return f"{html} and {pdf} are written"
