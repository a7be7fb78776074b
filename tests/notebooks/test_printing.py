"""The report as a page and as PDF: nothing for the class in it, nothing fetched, no browser is no failure."""

import re
import shutil
import sys
from pathlib import Path

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import command, printing
from geomreg_course.books import CourseError
from geomreg_course.running import Outcome
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_course import code, notebook
from test_pages import external, figures

(PATH,) = (Path(__file__).parents[2] / "notebooks").glob("15_*.ipynb")


def printed(text, source="print(1)", tag=None):
    cell = new_code_cell(source, metadata={"tags": [tag]} if tag else {})
    cell.outputs = [new_output("stream", name="stdout", text=text)]
    return cell


@pytest.fixture
def small():
    return notebook(
        new_markdown_cell(
            "## Numbers\n\nSee [notebook 07](07_training.ipynb#row) and [DGL](https://dgl.org)."
        ),
        printed("kept\n"),
        code("guess = None", "in-class"),
        printed("predicted\n", tag="in-class"),
        new_markdown_cell("## Exercise 1 · Double"),
        printed("Not yet\n"),
        printed("solved\n", tag="solution"),
        new_markdown_cell("## Recap\n\n- The end."),
    )


def test_the_report_has_neither_code_nor_predictions_nor_exercises(small):
    page = printing.page(small)
    assert "kept" in page and "The end." in page
    for left_out in ("predicted", "Exercise", "Not yet", "solved", "print(1)", "guess", "REPOSITORY"):
        assert left_out not in page, left_out
    assert [cell.source for cell in small.cells][0].startswith("# 01"), "the notebook itself is as it was"


def test_folded_tables_are_open_on_paper(small):
    cell = new_code_cell("1")
    table = "<details><summary>Long</summary><table></table></details>"
    cell.outputs = [new_output("display_data", data={"text/html": table})]
    small.cells.append(cell)
    assert table.replace("<details>", "<details open>") in printing.page(small)


def test_links_to_other_notebooks_become_text_and_others_stay(small):
    page = printing.page(small)
    assert "See notebook 07 and" in page and '<a href="https://dgl.org">DGL</a>' in page


def test_of_the_opening_the_title_stays(small):
    small.cells[0].source += "\n\n**A question.**\n\nYou will be able to\n\n- do it.\n\n**Time:** 5 minutes."
    page = printing.page(small)
    assert ">Tiny" in page and "A question." in page
    assert "You will be able" not in page and "5 minutes" not in page and "01 ·" not in page


@pytest.fixture(scope="module")
def committed():
    return printing.page(nbformat.read(PATH, as_version=4))


def test_the_committed_report_stands_alone(committed):
    assert external(committed) == []
    links = re.findall(r'<a [^>]*href="([^"]+)"', committed)
    assert links and all(link.startswith(("#", "https://")) for link in links)
    texts = [figure.get("alt", "") for figure in figures(committed)]
    assert len(texts) == 5 and min(map(len, texts)) > 20


def test_the_committed_report_is_complete(committed):
    for part in ("1 · The rule", "2 · Every number", "3 · The geometry", "4 · The claims", "5 · A critique",
                 "6 · The paper, read closely", "7 · What could not be replicated", "Recap",
                 "References"):  # fmt: skip
        assert part in committed, part
    assert committed.count("<table") > 30 and "Exercise" not in committed and "Not yet" not in committed


class Copies:
    """Stands in for the Runner: the stored outputs are those of the run."""

    status = "ok"

    def __init__(self, out, parameters, timeout):
        self.out = out

    def run(self, source):
        shutil.copy(source, self.out / source.name)
        return Outcome(source.stem, self.status, 1.0, 3, "3", "ValueError: no records")


def test_everything_is_written_also_where_nothing_can_be_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(printing, "Runner", Copies)
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    (tmp_path / "report.pdf").write_text("of an earlier run")
    sentence = printing.write_report(tmp_path)
    assert "report.html is written; no PDF, because playwright is not installed: install" in sentence
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "numbers.csv", "claims.csv"}
    assert len((tmp_path / "numbers.csv").read_text().splitlines()) == 1 + 351 + 81


def test_a_failing_notebook_is_named_with_cell_and_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(printing, "Runner", type("Fails", (Copies,), {"status": "failed"}))
    assert course.main(["report", "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "15_replication_report failed in code cell 3: ValueError: no records" in err
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_was_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "write_report", lambda out: f"{out.name} has it")
    assert course.main(["report", "--out", str(tmp_path / "here")]) == 0
    assert capsys.readouterr().out == "here has it\n"


def test_a_browser_that_does_not_start_is_a_sentence(tmp_path, monkeypatch):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    monkeypatch.setattr(printing.shutil, "which", lambda name: str(tmp_path / "no-browser"))
    with pytest.raises(
        CourseError, match="no PDF, because no browser could be started: install the extra course"
    ):
        printing.print_page(tmp_path / "report.html", tmp_path / "report.pdf")


@pytest.mark.skipif(not any(map(shutil.which, printing.BROWSERS)), reason="there is no Chromium")
def test_the_page_prints_as_pdf(tmp_path, small):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "report.html").write_text(printing.page(small), encoding="utf-8")
    printing.print_page(tmp_path / "report.html", tmp_path / "report.pdf")
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
