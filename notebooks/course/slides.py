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

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from geomreg_mini.records import write_atomically

from .books import CourseError, has_tag, read, title_of
from .pages import body, styles, with_script

REVEAL = Path(__file__).with_name("reveal")
WORDS, ITEMS, ROWS = 45, 6, 11  # of a paragraph, a list and a table, for readers in the last row
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

STYLE = """
body { max-width: none; padding: 0; }
.reveal { font-size: 3.3vh; line-height: 1.4; }
.reveal .slides { text-align: left; }
.reveal section { height: 100%; box-sizing: border-box; padding: 3vh 4vw 5vh; }
.reveal section, .reveal .fragment { flex-direction: column; gap: 1.5vh; }
.reveal .fragment { display: flex; flex: 0 1 auto; min-height: 0; }
.reveal .fragment:has(img, .geometry-sphere), .reveal :is(img, [data-sphere]) { flex: 1 1 0; }
.reveal :is(.cell, .output_wrapper, .output, .output_area, .output_html) { display: contents; }
.reveal :is(.inner_cell, .text_cell_render) { display: contents; }
.reveal :is(h1, h2, p, ol, ul) { margin: 0; } .reveal li { margin: .4em 0; }
.reveal h2 { font-size: 1.5em; } .reveal section:first-child h2 { font-size: 2.2em; margin-top: 8vh; }
.reveal img { min-height: 0; width: 100%; object-fit: contain; background: none; }
.reveal :is(pre, code) { font-size: .9em; } .reveal table { font-size: .8em; margin: 0 auto; }
.reveal math[display=block] { font-size: 1.3em; margin: 3vh 0; } .reveal .anchor-link { display: none; }
.reveal .geometry-sphere { font-size: 2.4vh; justify-content: center; flex-wrap: nowrap; }
.reveal .geometry-sphere > div { flex: none; width: 58vh; max-width: 48%; }
.reveal .geometry-sphere .scene + div + p { display: none; }
.reveal .geometry-sphere label { grid: 1.7em / 9.5em 1fr 6.2em; }
"""

DECK = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{look}</style>
<style>{style}</style>
</head>
<body>
{content}
<script>{reveal}</script>
<script>{speaker}</script>
<script>
Reveal.initialize({{ width: "100%", height: "100%", margin: 0, minScale: 1, maxScale: 1, display: "flex",
  center: false, hash: true, slideNumber: "c/t", transition: "none", plugins: [RevealNotes] }});
</script>
</body>
</html>
"""


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
    for part in re.split(r"\n\s*\n|\n(?=#|\$\$|- |\d+\. )|(?<=\$\$)\n|(?<!\d\.)\s(?=\*\*Predict)", source.strip()):
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
    return "\n".join(mark + brief(item, WORDS // 2) for mark, item in pairs)


def deck(notebook: NotebookNode, guide: str = "") -> list[Slide]:
    """Return the slides of an executed notebook; `guide` is its section in the guide for lecturers."""
    slides: list[Slide] = []
    title, pending, hidden = "", [], False

    def new(*seen: str, figure: NotebookNode | None = None) -> None:
        slides.append(Slide(title, list(seen), figure, notes=pending.copy()))
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
                if said := re.search(r"what happened: (.+)", output.get("text", "")):
                    slides[-1].notes.append(f"**Answer:** {said[1]}")
                data = output.get("data", {})
                if "image/png" in data or 1 < str(data.get("text/html", "")).count("<tr") <= ROWS:
                    if not slides or slides[-1].figure or not slides[-1].seen[0].startswith("**Predict"):
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
            elif re.match(r"- |\d+\. ", block):
                lead = brief(pending[-1], WORDS // 2) if pending else ""
                new(lead, brief_list(block))
                slides[-1].notes.append(block)
            elif block.startswith("$$"):
                if len(slides) == before or not slides[-1].seen[-1].startswith("$$"):
                    new()
                slides[-1].seen.append(block)
            elif slides and (block.startswith(ABOUT_BEFORE) or len(slides) > before):
                if (
                    slides[-1].figure
                    and not slides[-1].takeaway
                    and block.startswith(("**Look", "**Explain"))
                ):
                    slides[-1].takeaway = brief(block, WORDS // 2)
                slides[-1].notes.append(block)
            else:
                pending.append(block)

    for name, pattern in ("Do you agree?", r'^- (".+?") (.+)'), ("Discuss", r"^- (\*.+?\?\*) (.+)"):
        title = name
        if asked := re.findall(pattern, guide, re.MULTILINE):
            new("\n".join(f"- {question}" for question, _ in asked))
            slides[-1].notes += [f"{question} {answer}" for question, answer in asked]
    slides[0].notes[:0] = re.findall(r"^\*\*(?:Aims|Timing|Watch)\.\*\* .+", guide, re.MULTILINE)
    return slides


def to_html(notebook: NotebookNode, notebooks: Path) -> str:
    """Return the deck of an executed notebook as one file; `notebooks` is the folder of all notebooks.

    Raises CourseError for a formula that cannot be translated.
    """
    number, guide = notebook.cells[0].source[2:4], ""
    if (notebooks / GUIDE).exists():
        sections = re.split(r"^### ", (notebooks / GUIDE).read_text(encoding="utf-8"), flags=re.MULTILINE)
        guide = next((part for part in sections if part.startswith(f"{number} · ")), "")
    cells: list[NotebookNode] = []

    def add(*parts: str | NotebookNode) -> None:
        for part in parts:
            if isinstance(part, str) and part in MARKS:
                cells.append(new_raw_cell(f"⟦{part}⟧"))
            elif isinstance(part, str) and part:
                cells.append(new_markdown_cell(re.sub(r"\[([^]]*)\]\((?!\w+:)[^)]*\)", r"\1", part)))
            elif part:
                cells.append(new_code_cell(outputs=[part]))

    for slide in deck(notebook, guide):
        add("slide", f"## {slide.title}", *slide.seen)
        add("step", slide.figure, "end of step") if slide.seen and slide.figure else add(slide.figure)
        if slide.takeaway:
            add("step", slide.takeaway, "end of step")
        add("notes", *slide.notes, "end of slide")
    content = re.sub("⟦(.+?)⟧", lambda mark: MARKS[mark[1]], body(new_notebook(cells=cells), code=False))
    content = f'<div class="reveal"><main class="slides">\n{content}\n</main></div>'
    look, reveal, speaker = (
        (REVEAL / name).read_text(encoding="utf-8").replace("</script", r"<\/script")
        for name in ("reveal.css", "reveal.js", "notes.js")
    )
    return DECK.format(
        title=html.escape(f"{number} {title_of(notebook)}"),
        look=look,
        style=styles() + STYLE,
        content=with_script(content, notebooks),
        reveal=reveal,
        speaker=speaker,
    )


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
