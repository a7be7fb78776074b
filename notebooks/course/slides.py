"""Notebooks as slides for a lecturer: one reveal.js deck per notebook, a single file that needs no server.

A deck shows what a class looks at: questions, figures after them, formulas, lists, tables and live figures.
Code, set-up and exercises stay in the notebook. Its prose becomes speaker notes (key S), and the guide for
lecturers adds its own. A cell's metadata `slideshow`, which JupyterLab edits, overrules this: "skip" leaves
the cell out, "notes" makes it notes, and "slide" shows its first paragraph, or its code.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Template
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from data_scripts.fetch import write_atomically

from .books import CourseError, has_tag, read, title_of
from .pages import body, styles, with_script

HERE = Path(__file__).parent
WORDS, ITEMS, CELLS = 60, 6, 50  # of a paragraph, a list and a table, for readers in the last row
GUIDE = Path("instructor", "guide.md")  # beside the notebooks; a student's edition has none
ABOUT_BEFORE = ("**Look", "**Explain", "**Play", "<details>")  # paragraphs about the slide before them
UNSEEN = ("Exercise", "References", "Terms")
MARKS = {
    "slide": "<section>",
    "step": '<div class="fragment">',
    "end of step": "</div>",
    "notes": '<aside class="notes">',
    "end of slide": "</aside></section>",
}


@dataclass
class Slide:
    """One slide: Markdown and outputs that are seen at once, those that the next key shows, and notes."""

    title: str
    seen: list[str] = field(default_factory=list)
    figure: NotebookNode | None = None
    takeaway: str = ""
    notes: list[str] = field(default_factory=list)


def blocks(source: str) -> list[str]:
    """Return the headings, paragraphs, lists, formulas, tables and folded texts of a Markdown cell."""
    found: list[str] = []
    for part in re.split(
        r"\n\s*\n|\n(?=#|\$\$|- |\d+\. )|(?<=\$\$)\n|(?<!\d\.)\s(?=\*\*Predict)", source.strip()
    ):
        last = found[-1] if found else ""
        inside = last.count("<details>") > last.count("</details>") or last.count("```") % 2
        inside = inside or (last.startswith("$$") and last.count("$$") % 2)
        if inside or (re.match(r"- |\d", part) and re.match(r"- |\d", last)):
            found[-1] += f"\n{part}"
        elif part.strip() and not part.startswith("<!--"):
            found.append(part.strip())
    return found


def brief(text: str, words: int = WORDS) -> str:
    """Return the first sentences of a paragraph: as many as `words` allows, and at least one."""
    kept = ""
    for sentence in re.split(r"(?:(?<=[.?!])|(?<=[.?!]\)))\s+(?=[A-Z*`$(\"])", " ".join(text.split())):
        if kept and len(f"{kept} {sentence}".split()) > words:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def brief_list(block: str) -> str:
    """Return the first items of a list, each with as many sentences as fit."""
    _, *marked = re.split(r"^(- |\d+\. )", block, flags=re.MULTILINE)
    pairs = list(zip(marked[::2], marked[1::2], strict=True))[:ITEMS]
    return "\n".join(mark + brief(item, WORDS // 3) for mark, item in pairs)


def deck(notebook: NotebookNode, guide: str = "") -> list[Slide]:
    """Return the slides of an executed notebook; `guide` is its section in the guide for lecturers."""
    slides: list[Slide] = []
    title, pending, hidden = "", [], False

    def new(*seen: str) -> None:
        slides.append(Slide(title, list(filter(None, seen)), notes=pending.copy()))
        pending.clear()

    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if kind == "notes" and slides:
            slides[-1].notes.append(cell.source)
        if kind in ("skip", "notes") or has_tag(cell, "solution"):
            continue
        before = len(slides)
        if cell.cell_type == "code":
            if kind == "slide":
                new(f"```python\n{cell.source}\n```")
            for output in [] if hidden else cell.outputs:
                said = re.search(r"what happened: (.+)", output.get("text", ""))
                if said and slides:
                    slides[-1].notes.append(f"**Answer:** {said[1]}")
                data = output.get("data", {})
                if "image/png" in data or 1 < str(data.get("text/html", "")).count("<td") <= CELLS:
                    last = slides[-1] if slides else Slide("")
                    asked = last.title == title and "".join(last.seen).startswith("**Predict")
                    if last.figure or not asked:
                        new()
                    slides[-1].figure = output
            continue
        for block in blocks(cell.source):
            if heading := re.match(r"#+ +(?:\d+ · )?(.+)", block):
                title, before = heading[1], len(slides)
                hidden = title.startswith(UNSEEN)
                pending.clear()
            elif hidden:
                continue
            elif block.startswith("**Predict") or (kind == "slide" and len(slides) == before):
                new(brief(block))
                slides[-1].notes.append(block)
            elif re.match(r"- |\d+\. |\$\$", block):
                lead = brief(pending[-1], WORDS // 3) if pending else ""
                if block.startswith("$$") and len(slides) > before and slides[-1].seen[-1].startswith("$$"):
                    slides[-1].seen.append(block)
                else:
                    new(lead, block if block.startswith("$$") else brief_list(block))
                    slides[-1].notes += [] if block.startswith("$$") else [block]
            elif slides and (block.startswith(ABOUT_BEFORE) or len(slides) > before):
                said = brief(block, WORDS // 2) if block.startswith(("**Look", "**Explain")) else ""
                whole = said.count("(") == said.count(")")
                if slides[-1].figure and whole and 6 < len(said.split()) < WORDS:
                    slides[-1].takeaway = slides[-1].takeaway or said
                slides[-1].notes.append(block)
            else:
                pending.append(block)

    for name, pattern in ("Do you agree?", r'^- (".+?") (.+)'), ("Discuss", r"^- (\*.+?\?\*) (.+)"):
        title = name
        if asked := re.findall(pattern, guide, re.MULTILINE):
            new("\n".join(f"- {question}" for question, _ in asked))
            slides[-1].notes += [f"{question} {answer}" for question, answer in asked]
    if not slides:
        new()
    slides[0].notes[:0] = re.findall(r"^\*\*(?:Aims|Timing|Watch)\.\*\* .+", guide, re.MULTILINE)
    return slides


def guide_of(number: str, notebooks: Path) -> str:
    """Return the section about a notebook in the guide for lecturers; "" if there is none."""
    if not (notebooks / GUIDE).exists():
        return ""
    sections = re.split(r"^### ", (notebooks / GUIDE).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return next((part for part in sections if part.startswith(f"{number} · ")), "")


def to_html(notebook: NotebookNode, notebooks: Path) -> str:
    """Return the deck of an executed notebook as one file; `notebooks` is the folder of all notebooks.

    Raises CourseError for a formula that cannot be translated.
    """
    number = notebook.cells[0].source[2:4]
    cells: list[NotebookNode] = []

    def add(*parts: str | NotebookNode) -> None:
        for part in parts:
            if isinstance(part, str) and part in MARKS:
                cells.append(new_raw_cell(f"⟦{part}⟧"))
            elif isinstance(part, str) and part:
                cells.append(new_markdown_cell(re.sub(r"\[([^]]*)\]\((?!\w+:)[^)]*\)", r"\1", part)))
            elif part:
                cells.append(new_code_cell(outputs=[part]))

    for slide in deck(notebook, guide_of(number, notebooks)):
        add("slide", f"## {slide.title}", *slide.seen)
        add("step", slide.figure, "end of step") if slide.seen and slide.figure else add(slide.figure)
        if slide.takeaway:
            add("step", slide.takeaway, "end of step")
        add("notes", *slide.notes, "end of slide")
    content = re.sub("⟦(.+?)⟧", lambda mark: MARKS[mark[1]], body(new_notebook(cells=cells), code=False))
    content = content.replace(
        "<div data-sphere=", "<div data-prevent-swipe data-sphere="
    )  # drags turn no page
    content = f'<div class="reveal"><main class="slides">\n{content}\n</main></div>'
    files = {"style": "slides.css", "look": "reveal/reveal.css", "reveal": "reveal/reveal.js"}
    files["speaker"] = "reveal/notes.js"
    texts = {key: (HERE / name).read_text(encoding="utf-8") for key, name in files.items()}
    texts |= {key: text.replace("</script", r"<\/script") for key, text in texts.items()}
    name = html.escape(f"{number} {title_of(notebook)}")
    template = Template((HERE / "slides.html").read_text(encoding="utf-8"))
    return template.render(title=name, pages=styles(), content=with_script(content, notebooks), **texts)


def write_slides(sources: list[Path], out: Path) -> list[Path]:
    """Write a deck per notebook with its stored outputs, and return their paths; nothing is executed."""
    written = []
    for path in sources:
        try:
            page = to_html(read(path), path.parent)
        except CourseError as error:
            raise CourseError(f"{path.name}: {error}") from None
        written.append(out / f"{path.stem}.html")
        write_atomically(written[-1], page.encode())
    return written
