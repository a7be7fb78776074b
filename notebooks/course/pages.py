"""Notebooks as HTML: the page of one executed notebook, and the site of the whole course.

A page needs no kernel and no other server. Formulas become MathML when it is built, so that a browser lays
them out by itself. Figures lie in the page, with their alt text; solutions are folded. The only script of
a page is that of its live figures, `notebooks/lab/sphere`; it lies in the page too.
"""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat.v4 import new_markdown_cell, new_notebook

from data_scripts.fetch import write_atomically

from .books import SPHERE, WIDGET_VIEW, CourseError, describe, has_tag, read, title_of

BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)")
LIVE = Path("lab", "sphere")  # beside the notebooks; without it, figures do not move
COLUMNS = 4  # of a table; with more, it may be wider than the page, and arrow keys can scroll it
PROSE = ("recipes.md",)  # pages beside the notebooks; other files there may be a lecturer's or a student's

STYLE = """
:root { color-scheme: light dark; --line: #8888; --soft: #8888880d; --link: light-dark(#0b57a4, #8ab8ff); }
body { margin: 0 auto; max-width: 58rem; padding: 0 1rem 3rem; font: 1rem/1.6 system-ui, sans-serif;
  color: light-dark(#1b1b1b, #e4e4e4); background: light-dark(#fff, #16181b); }
a { color: var(--link); } a:focus-visible, summary:focus-visible { outline: 3px solid var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; justify-content: space-between; padding: .8rem 0;
  border-block: 1px solid var(--line); }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; }
.anchor-link { visibility: hidden; text-decoration: none; margin-left: .3em; }
:is(h1, h2, h3):hover .anchor-link, .anchor-link:focus { visibility: visible; }
pre, code { font: .88rem/1.5 ui-monospace, monospace; } pre { margin: 0; overflow-x: auto; }
.input_area, .output_text, .output_stream { padding: .5rem .8rem; border-radius: 4px; }
.input_area { background: var(--soft); margin-top: 1rem; }
.output_text, .output_stream { border-left: 3px solid var(--line); border-radius: 0; margin: .4rem 0; }
.output_text pre, .output_stream pre { white-space: pre-wrap; } .prompt { display: none; }
img { max-width: 100%; height: auto; background: #fff; }
.output_html, .wide, .text_cell_render { overflow-x: auto; } math[display=block] { margin: 1rem 0; }
table { border-collapse: collapse; } main > table { overflow-wrap: anywhere; }
td, th { padding: .2rem .7rem; border-bottom: 1px solid var(--line); }
/* Arrow keys scroll it in some browsers only. */
@media (pointer: fine) { pre { white-space: pre-wrap; overflow-wrap: anywhere; } }
details { margin: 1rem 0; padding: .3rem .8rem; border: 1px solid var(--line); border-radius: 4px; }
summary { cursor: pointer; }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
{navigation}
<main id="content">
{content}
</main>
{below}
</body>
</html>
"""


PLAY = """<h2>Two forces</h2>
<p>Each sample has two points, a sound and a picture. <em>Dispersion</em> pushes the samples of a modality
apart. <em>Anchoring</em> pulls each pair together, but only outside a band. <strong>Predict:</strong> if the
radius is 0, every pair is pulled until it meets. Do the samples of a modality still spread? Then play, and
<em>Reset</em> before you try another radius.</p>
<div data-sphere="{model}"><noscript>The figure needs JavaScript.</noscript></div>
<details><summary>What we saw</summary><p>They do, as far as with any other radius, and dispersion reaches the
same value: different samples push each other, the two points of one sample pull each other, and both forces
can have their way. The radius decides how much a sound may differ from its picture.</p></details>
"""
FRONT = {
    "modalities": ["sound", "picture"],
    "labels": [k % 3 for k in range(90)],
    "dimensions": 3,
    "controls": ["dispersion_weight", "radius", "temperature"],
    "dispersion_weight": 0.3,
    "anchoring_weight": 0.5,
    "radius": 0.6,
    "temperature": 0.5,
}


def attribute(model: dict[str, object]) -> str:
    """Return the model of a live figure as the value of its element's attribute `data-sphere`."""
    return html.escape(json.dumps(model))


def with_script(content: str, notebooks: Path) -> str:
    """Return the content of a page with the script and style of its live figures, if it has any."""
    if "data-sphere=" not in content or not (notebooks / LIVE).exists():
        return content
    source, look = (
        (notebooks / LIVE / f"sphere.{kind}").read_text(encoding="utf-8") for kind in ("js", "css")
    )
    return f'<style>{look}</style>\n{content}\n<script type="module">\n{source}\nmountAll();\n</script>'


def without_scripts(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy with figures as `img` with alt text, which nbconvert drops, and a note per widget."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.pop("widgets", None)  # nbconvert would load a script for their state
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        if output.get("data", {}).pop(WIDGET_VIEW, None) and "image/png" not in output.data:
            output.data = {"text/markdown": "*Controls: open the notebook in Jupyter to use them.*"}
        if "<table" in (table := "".join(output.get("data", {}).get("text/html", ""))):
            widest = max(len(re.findall(r"<t[dh]\b", row)) for row in table.split("<tr"))
            if widest > COLUMNS:
                named = '<div class="wide" role="group" aria-label="Table" tabindex="0">'
                output.data["text/html"] = f"{named}{table}</div>"
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt and "image/png" in output.get("data", {}):
            png = base64.b64encode(base64.b64decode(output.data.pop("image/png"))).decode()
            figure = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{png}">'
            model = output.data.pop(SPHERE, None)
            output.data["text/html"] = (
                f'<div data-sphere="{attribute(model)}">{figure}</div>' if model else figure
            )
    return notebook


def mathml(formula: str, display: str) -> str:
    """Return a LaTeX formula as MathML; raise CourseError if it cannot be translated."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise CourseError("formulas need latex2mathml: install the extra course") from None
    try:
        markup = convert(formula, display=display)
    except Exception as error:
        raise CourseError(f"the formula {formula!r} cannot be translated: {error!r}") from error
    unknown = re.search(r"\\[A-Za-z]*|&(?!#?\w+;)", markup)
    if unknown:
        raise CourseError(f"the formula {formula!r} cannot be translated: {unknown.group()!r} is not known")
    return markup


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        return MarkdownWithMath(_Renderer(escape=False, attachments=attachments)).render(source)


def body(notebook: nbformat.NotebookNode, code: bool = True) -> str:
    """Return the content of a page: prose, code and stored outputs, with set-up and solutions folded.

    Links to notebooks and Markdown files lead to their pages. Without ``code``, outputs stand alone. Raises
    CourseError for a formula that cannot be translated.
    """
    notebook = without_scripts(notebook)
    setup = next((cell for cell in notebook.cells if code and cell.cell_type == "code"), None)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = BADGE.sub(
                r"[Open in Colab](\1)", cell.source
            )  # the badge is a picture on another server
            cell.source = re.sub(r"\]\(((?!\w+:)[^)#]+)\.(?:ipynb|md)(#[^)]*)?\)", r"](\1.html\2)", source)
        fold = "Set-up" if cell is setup else "Solution" if has_tag(cell, "solution") else ""
        fold = "" if cell.source.startswith("<details>") else fold  # a model answer in prose folds itself
        if fold:  # marks, because nbconvert cleans elements out of such cells
            cells += [
                nbformat.v4.new_raw_cell(f"⟦fold {fold}⟧"),
                cell,
                nbformat.v4.new_raw_cell("⟦end of fold⟧"),
            ]
        else:
            cells.append(cell)
    notebook.cells = cells
    page = _Exporter(template_name="basic", exclude_input=not code).from_notebook_node(notebook)[0]
    page = re.sub(r"⟦fold (.*?)⟧", r"<details><summary>\1</summary>", page)
    return page.replace("⟦end of fold⟧", "</details>")


def styles() -> str:
    """Return the style sheet, with a color scheme for code in light and in dark."""
    from pygments.formatters import HtmlFormatter

    code = {
        scheme: HtmlFormatter(style=style, nobackground=True).get_style_defs(".highlight")
        for scheme, style in (("light", "default"), ("dark", "github-dark"))
    }
    return STYLE + code["light"] + f"\n@media (prefers-color-scheme: dark) {{\n{code['dark']}\n}}\n"


def to_html(notebook: nbformat.NotebookNode) -> str:
    """Return the page of one notebook, without links to others than its own."""
    return PAGE.format(
        title=html.escape(title_of(notebook)),
        style=styles(),
        navigation="",
        content=body(notebook),
        below="",
    )


def write_site(sources: list[Path], out: Path) -> None:
    """Write `index.html`, a page per notebook with its stored outputs, and the pages of `PROSE`.

    Nothing is executed.
    """
    rows = [describe(path) for path in sources]
    names = [f"{path.stem}.html" for path in sources]
    style = styles()

    def link(position: int, label: str) -> str:
        if not 0 <= position < len(sources):
            return "<span></span>"
        number, title, *_ = rows[position]
        return f'<a href="{names[position]}">{label.format(html.escape(f"{number} {title}"))}</a>'

    def save(name: str, title: str, navigation: str, content: str) -> None:
        content = with_script(content, sources[0].parent)
        parts = {"title": html.escape(title), "style": style, "navigation": navigation, "content": content}
        page = PAGE.format(below=navigation.replace('"Notebooks"', '"Notebooks, again"'), **parts)
        write_atomically(out / name, page.encode())

    for position, (path, (number, title, *_)) in enumerate(zip(sources, rows, strict=True)):
        try:
            content = body(read(path))
        except CourseError as error:
            raise CourseError(f"{path.name}: {error}") from None
        links = [
            link(position - 1, "← {}"),
            '<a href="index.html">All notebooks</a>',
            link(position + 1, "{} →"),
        ]
        navigation = f'<nav aria-label="Notebooks">{"".join(links)}</nav>'
        save(names[position], f"{number} {title}", navigation, content)

    prose = ""
    for path in (sources[0].parent / name for name in PROSE):
        if path.exists():
            page = new_notebook(cells=[new_markdown_cell(path.read_text(encoding="utf-8"))])
            title, name = title_of(page), f"{path.stem}.html"
            back = '<nav aria-label="Notebooks"><a href="index.html">All notebooks</a></nav>'
            save(name, title, back, body(page))
            prose += f'\n<p><a href="{name}">{html.escape(title)}</a></p>'

    table = "\n".join(
        f"<tr><td>{number}</td><td>{link(position, html.escape(title))}</td><td>{html.escape(data)}</td>"
        f"<td>{html.escape(minutes)}</td></tr>"
        for position, (number, title, data, minutes) in enumerate(rows)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", "notebook", "data", "minutes"))
    play = PLAY.format(model=attribute(FRONT)) if (sources[0].parent / LIVE).exists() else ""
    save(
        "index.html",
        "geomreg-mini",
        "",
        "<h1>geomreg-mini</h1>\n<p>A hands-on course on the geometry of multimodal representations. These "
        "pages show each notebook as it was last run; install the course to change and run it.</p>\n"
        f"{play}<table><thead><tr>{head}</tr></thead><tbody>\n{table}\n</tbody></table>{prose}",
    )
