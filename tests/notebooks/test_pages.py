"""`geomreg-course site`: readable pages with no kernel and no other server behind them."""

import re
from pathlib import Path

import geomreg_course as course
import nbformat
import pytest
from bs4 import BeautifulSoup, SoupStrainer
from geomreg_course import books, pages
from nbformat.v4 import new_markdown_cell, new_output
from small_course import notebook, write_course

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# What makes a browser fetch something by itself; a link that a reader may follow is none of it.
# what has a src, such as a player, is looked at by its src: the sound may lie in the page
# The front page's own script lies in it; test_sphere watches in a browser that it asks for nothing.
FETCHES = re.compile(
    r"<(?:script(?! type=\"module\">)|link|iframe|object|embed)\b|@import|url\(|\b(?:srcset|poster)="
)


def external(page):
    """Elements and attributes of a page through which a browser would ask another server."""
    sources = re.findall(r'\bsrc\s*=\s*["\']?([^"\'\s>]{0,60})', page)
    return [s for s in sources if not s.startswith("data:")] + FETCHES.findall(page)


def figures(page):
    return BeautifulSoup(page, "html.parser", parse_only=SoupStrainer("img")).find_all("img")


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = write_course(tmp_path)
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    second = notebook("show()", title="02 · Next & last")
    second.cells[-1].outputs = [
        new_output(
            "display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": 'A "quoted" < curve'}}
        )
    ]
    nbformat.write(second, folder / "02_next.ipynb")
    course.main(["badges", "--repo", "ada/geometry"])
    assert course.main(["site", "--out", str(tmp_path / "site")]) == 0
    return {path.stem: path.read_text() for path in (tmp_path / "site").iterdir()}


def test_there_is_an_index_and_each_page_leads_on_and_back(site):
    assert set(site) == {"index", "01_tiny", "02_next"}
    assert re.findall(r'<a href="(0[^"]+)">([^<]+)</a>', site["index"]) == [
        ("01_tiny.html", "Tiny"),
        ("02_next.html", "Next &amp; last"),
    ]
    first, last = (re.findall(r"<nav.*?</nav>", site[name], re.DOTALL) for name in ("01_tiny", "02_next"))
    assert len(first) == len(last) == 2  # above and below
    assert re.findall(r'href="([^"]+)"', first[0]) == ["index.html", "02_next.html"]
    assert re.findall(r'href="([^"]+)"', last[0]) == ["01_tiny.html", "index.html"]


def test_no_page_asks_another_server_for_anything(site):
    assert {name: external(page) for name, page in site.items()} == {name: [] for name in site}
    assert "https://colab.research.google.com/github/ada" in site["01_tiny"]  # as a link, without its picture


def test_links_between_notebooks_lead_to_pages(site):
    assert '<a href="02_next.html">the next one</a>' in site["01_tiny"] and ".ipynb)" not in site["01_tiny"]


def test_formulas_are_mathml(site):
    assert "<math" in site["01_tiny"] and "$x_i" not in site["01_tiny"]


def test_solutions_are_folded(site):
    folds = re.findall(r"<details><summary>(.*?)</summary>", site["01_tiny"])
    assert folds == ["Set-up", "Solution", "Solution", "One answer"]
    assert site["01_tiny"].count("</details>") == len(folds)


def test_figures_keep_their_alt_text(site):
    assert [figure["alt"] for figure in figures(site["02_next"])] == ['A "quoted" < curve']


def test_a_formula_that_cannot_be_translated_names_notebook_and_macro(tmp_path, monkeypatch, capsys):
    folder = write_course(tmp_path)
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    nbformat.write(notebook(new_markdown_cell(r"So $\nosuch{x}$.")), folder / "02_odd.ipynb")
    assert course.main(["site", "--out", str(tmp_path / "site")]) == 2
    assert r"02_odd.ipynb: the formula '\\nosuch{x}' cannot be translated" in capsys.readouterr().err


def test_a_page_of_prose_is_linked_from_the_index_and_another_file_is_not_published(tmp_path):
    folder, out = write_course(tmp_path), tmp_path / "site"
    (folder / "recipes.md").write_text("# How & why\n\nSee [it](01_tiny.ipynb#a).\n\n```python\nx = 1\n```\n")
    (folder / "answers.md").write_text("b, c, a")
    pages.write_site(books.select([], folder), out)
    assert {path.name for path in out.iterdir()} == {"index.html", "01_tiny.html", "recipes.html"}
    page, index = ((out / f"{name}.html").read_text() for name in ("recipes", "index"))
    assert '<a href="recipes.html">How &amp; why</a>' in index and "<title>How &amp; why</title>" in page
    assert '<a href="01_tiny.html#a">' in page
    assert BeautifulSoup(page, "html.parser").pre.text.strip() == "x = 1"


@pytest.fixture(scope="module")
def course_site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    folder = Path(__file__).parents[2] / "notebooks"
    pages.write_site(books.select([], folder), out)
    return {path.name: path.read_text() for path in out.iterdir()}


def test_the_course_s_own_pages_ask_no_other_server(course_site):
    assert {name: external(page) for name, page in course_site.items() if external(page)} == {}


def test_every_figure_of_the_course_has_alt_text_on_its_page(course_site):
    texts = [figure.get("alt", "") for page in course_site.values() for figure in figures(page)]
    assert len(texts) > 20 and min(map(len, texts)) > 20


def test_every_relative_link_of_the_course_has_its_page(course_site):
    for name, page in course_site.items():
        links = {link.split("#")[0] for link in re.findall(r'<a [^>]*href="([^"]+)"', page)}
        broken = {link for link in links if link and not link.startswith("http")} - set(course_site)
        assert broken == set(), name


def test_the_page_of_a_run_is_as_self_contained_as_those_of_the_site(tmp_path):
    folder = write_course(tmp_path)
    slider = "from ipywidgets import IntSlider\nIntSlider()"
    nbformat.write(notebook(new_markdown_cell("So $x_i^2$."), slider, "1 / 0"), folder / "02_odd.ipynb")
    assert course.main(["run", "--notebooks", str(folder), "--out", str(tmp_path / "out")]) == 1
    tiny, odd = ((tmp_path / "out" / f"{name}.html").read_text() for name in ("01_tiny", "02_odd"))
    assert external(tiny) == external(odd) == []
    folds = re.findall(r"<details><summary>(.*?)</summary>", tiny)
    assert folds == ["Set-up", "Solution", "Solution", "One answer"]
    assert "<math" in odd and "open the notebook in Jupyter" in odd and "ZeroDivisionError" in odd
    assert "<title>Tiny</title>" in tiny
