"""The replication report for a reader without Jupyter: notebook 15, executed, as one page and as PDF.

The page has the notebook's prose, tables and figures, without code, predictions and exercises, and with
folded tables open, because paper cannot unfold them. The PDF is that page, printed by a Chromium through
playwright, where the machine has both.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat

from .books import CourseError, has_tag, notebooks_folder, select
from .pages import PAGE, body, styles
from .running import CELL_TIMEOUT, Runner

NUMBER = "15"
IN_CLASS = "in-class"  # the tag of cells that are for whoever works through the notebook
NOTEBOOK_LINK = re.compile(r"\[([^]]*)\]\((?!\w+:)[^)]*\.ipynb[^)]*\)")
OPENING = re.compile(r"^# \d\d · (.+)", re.MULTILINE)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

PRINT = """
.output_text, .output_stream { border: 0; padding: .2rem 0; }
table { font-size: .78rem; line-height: 1.35; }
table, td, th { border-style: solid; border-width: 0 0 1px; border-color: var(--line); }
td, th { padding: .15rem .45rem; text-align: left !important; vertical-align: top !important; }
td code { font-size: 1em; }
@page { size: A4; margin: 16mm 14mm 18mm; }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .skip, .anchor-link { display: none; }
  table { font-size: 7.2pt; } td, th { padding: .1rem .3rem; } .output_html { overflow: visible; }
  thead { display: table-header-group; } table, tr, img, pre { break-inside: avoid; }
  h2, h3, .output_area:has(> .output_markdown) { break-after: avoid; }
}
"""


def report_form(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without what is for the class: cells tagged ``in-class``, and exercises up to the next section.

    Of the code only what it shows is kept, of the opening only title and subtitle, and links to other
    notebooks become their text.
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
    """The report as one page that asks no server for anything."""
    return PAGE.format(
        title="Replication report",
        style=styles() + PRINT,
        navigation="",
        content=body(report_form(notebook), code=False).replace("<details>", "<details open>"),
    )


def print_page(source: Path, target: Path) -> None:
    """Print an HTML file as PDF.

    Raises:
        CourseError: where playwright or a browser is missing.
    """
    advice = (
        "install the extra course and a Chromium ('playwright install chromium'), or print the page yourself"
    )
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise CourseError(f"no PDF, because playwright is not installed: {advice}") from None
    with sync_playwright() as playwright:
        try:
            own = next(filter(None, map(shutil.which, BROWSERS)), None)
            browser = playwright.chromium.launch(executable_path=own)
        except Error:
            raise CourseError(f"no PDF, because no browser could be started: {advice}") from None
        sheet = browser.new_page()
        sheet.goto(source.resolve().as_uri())
        foot = (
            "<div style='font-size:7pt;width:100%;text-align:center'><span class='pageNumber'></span></div>"
        )
        margins = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": foot}
        sheet.pdf(path=target, prefer_css_page_size=True, tagged=True, outline=True, **margins)
        browser.close()


def write_report(out: Path) -> str:
    """Execute notebook 15 and write ``report.html``, ``report.pdf``, ``numbers.csv`` and ``claims.csv``.

    Returns a sentence for the reader: what was written, or why there is no PDF.

    Raises:
        CourseError: where the notebook fails.
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
    pdf.unlink(missing_ok=True)  # that of an earlier run
    try:
        print_page(html, pdf)
    except CourseError as error:
        return f"{html} is written; {error}"
    return f"{html} and {pdf} are written"
