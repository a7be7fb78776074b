"""`geomreg-course slides`: decks that ask before they answer, and that a last row can read.

Debian's Chromium is driven as in test_browser. Screenshots are left in build/screenshots/ to be looked at.
"""

import functools
import re

import geomreg_course as course
import nbformat
import pytest
from geomreg_course import books, slides
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from small_course import notebook as small
from small_course import write_course
from test_browser import CHROMIUM, CONTRAST, ROOT, SCREENSHOTS, page  # noqa: F401
from test_pages import PIXEL
from test_sphere import mouse, touch

NOTEBOOKS = ROOT / "notebooks"
LECTURES = [path for path in books.select([], NOTEBOOKS) if path.name < "10"]
GUIDE = slides.guide_of("02", NOTEBOOKS)


def figure(alt="a curve"):
    return new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": alt}})


def code(source="show()", outputs=(), **metadata):
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def deck(*cells, guide=""):
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return slides.deck(new_notebook(cells=cells), guide)


def kind(name, cell):
    cell.metadata["slideshow"] = {"slide_type": name}
    return cell


# ------------------------------------------------------------ what becomes a slide


def test_a_question_gets_the_figure_that_answers_it_and_the_prose_becomes_notes():
    said = new_output("stream", text="No prediction stored; what happened: b, because of noise.\n")
    (slide,) = deck(
        "## 3 · Cones\n\nA long story.\n\n**Predict.** Which one? (a) the first; (b) the second.",
        code(outputs=[figure(), said]),
        "**Look.** The second one falls much faster than all others. It rests.\n\nAnd more of it.",
    )
    assert (slide.title, slide.seen) == ("Cones", ["**Predict.** Which one? (a) the first; (b) the second."])
    assert slide.figure["metadata"]["image/png"]["alt"] == "a curve"
    assert slide.takeaway.startswith("**Look.** The second one falls")
    notes = "\n".join(slide.notes)
    assert "A long story." in notes and "**Answer:** b, because of noise." in notes and "It rests." in notes


def test_a_second_figure_and_one_without_a_question_have_slides_of_their_own():
    asked, second, third, unanswered, last = deck(
        "## 1 · One\n\n**Predict.** What?",
        code(outputs=[figure("x"), figure("y")]),
        code(outputs=[figure("z")]),
        "**Predict.** And?\n\n## 2 · Two",
        code(outputs=[figure("w")]),
    )
    alts = [slide.figure["metadata"]["image/png"]["alt"] for slide in (asked, second, third, last)]
    assert alts == ["x", "y", "z", "w"] and unanswered.figure is None
    assert [bool(slide.seen) for slide in (asked, second, third, unanswered, last)] == [1, 0, 0, 1, 0]


def test_lists_and_formulas_are_shown_and_code_exercises_and_solutions_are_not():
    first, second = deck(
        "## A\n\nThree things:\n\n- one\n- two\n\n$$x^2$$\n\nwhere it ends.",
        code("print(1)", [new_output("stream", text="1")]),
        "## Exercise 1 · Do it\n\n**Predict.** Never shown.\n\n- a\n- b",
        code(outputs=[figure()]),
        "## Go on",
        code(outputs=[figure()], tags=["solution"]),
    )
    assert first.seen == ["Three things:", "- one\n- two"] and second.seen == ["$$x^2$$"]
    assert second.notes == ["where it ends."]


def test_the_metadata_of_a_cell_decides_before_any_rule():
    (only,) = deck(
        "## Title",
        kind("slide", new_markdown_cell("Shown. Said.")),
        kind("notes", new_markdown_cell("Do not forget the chalk.")),
        kind("skip", code(outputs=[figure()])),
        kind("skip", new_markdown_cell("**Predict.** Not today.")),
    )
    assert only.seen == ["Shown. Said."] and only.notes == ["Shown. Said.", "Do not forget the chalk."]
    (shown,) = deck("## Title", kind("slide", code("x = 1\ny = 2")))
    assert shown.seen == ["```python\nx = 1\ny = 2\n```"]


def test_the_guide_asks_at_the_end_and_its_answers_are_notes():
    *_, agree, discuss = deck("## A", code(outputs=[figure()]), guide=GUIDE)
    assert agree.seen[0].startswith('- "Collapse means rank 1."\n- "A higher rank')
    assert "nearly full rank" in agree.notes[0] and "nearly full rank" not in agree.seen[0]
    assert discuss.seen[0].count("?*") == len(discuss.notes) == 3


@pytest.mark.parametrize(
    ("text", "words", "kept"),
    [
        ("One two. Three four. Five.", 4, "One two. Three four."),
        ("One two three four five.", 2, "One two three four five."),  # a sentence is never cut
        ("**Look.** It is 0.5 here. Gone.", 5, "**Look.** It is 0.5 here."),
        ("(a) one; (b) two? Yes (no.) Then.", 6, "(a) one; (b) two? Yes (no.)"),
    ],
)
def test_a_paragraph_is_cut_after_a_sentence(text, words, kept):
    assert slides.brief(text, words) == kept


def test_blocks_keep_folded_text_fences_and_formulas_in_one_piece():
    folded = "<details><summary>What</summary>a\n\n- b</details>"
    source = f"# 1\ntext\n- a\n- b\n\n```\nx\n\n- y\n```\n\n{folded}\n\n$$a\n+ b$$\nend **Predict:** c"
    one, fence, formula = "```\nx\n- y\n```", folded.replace("\n\n", "\n"), "$$a\n+ b$$"
    expected = ["# 1\ntext", "- a\n- b", one, fence, formula, "end", "**Predict:** c"]
    assert slides.blocks(source) == expected


# ------------------------------------------------------------ the ten decks


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_a_lecture_has_15_to_25_slides_that_are_short(path):
    made = slides.deck(books.read(path), slides.guide_of(path.name[:2], NOTEBOOKS))
    assert 15 <= len(made) <= 25
    for slide in made:
        assert slide.title and (slide.seen or slide.figure)
        assert sum(len(text.split()) for text in [*slide.seen, slide.takeaway]) <= 170, slide.seen
    assert sum(bool(slide.notes) for slide in made) > 0.8 * len(made)
    assert "**Timing.**" in "\n".join(made[0].notes)


def test_the_command_writes_the_lectures_and_names_a_notebook_whose_formula_is_wrong(tmp_path, capsys):
    folder, out = write_course(tmp_path), tmp_path / "slides"
    nbformat.write(small(new_markdown_cell("## A\n\n- $a$"), title="12 · Late"), folder / "12_late.ipynb")
    written = ["slides", "--notebooks", str(folder), "--out", str(out)]
    assert course.main(written) == 0
    assert [path.name for path in out.iterdir()] == ["01_tiny.html"]
    count = len(slides.deck(books.read(folder / "01_tiny.ipynb")))
    assert capsys.readouterr().out == f"open {out / '01_tiny.html'}: {count} slides\n"
    assert course.main([*written, "12"]) == 0 and (out / "12_late.html").exists()
    nbformat.write(small(new_markdown_cell("## A\n\n$$\\nosuch$$")), folder / "02_odd.ipynb")
    assert course.main([*written, "2"]) == 2
    assert "02_odd.ipynb: the formula" in capsys.readouterr().err
    assert course.main([*written, "77"]) == 2


def test_a_deck_links_to_no_file_and_keeps_alt_texts():
    html = slides.to_html(books.read(LECTURES[2]), NOTEBOOKS)
    sections = html.partition("<main")[2].partition("</main>")[0]
    assert not re.findall(r'href="(?!#|https?:)', sections)
    alts = re.findall(r'<img alt="([^"]*)"', sections)
    assert len(alts) >= 8 and min(map(len, alts)) > 20
    assert sections.count("<section>") == sections.count("</section>") == sections.count('class="notes"')


def test_reveal_is_there_with_its_licence():
    folder = slides.HERE / "reveal"
    assert "MIT licensed" in (folder / "reveal.js").read_text()[:200]
    assert (folder / "LICENSE.txt").read_text().startswith("Copyright (C) 2011-2024 Hakim El Hattab")


# ------------------------------------------------------------ in a browser

browser = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium"),
]
SHOWN = """() => { const {h, f} = Reveal.getIndices(); return [h, f]; }"""
STATE = """() => {
    const {geometry, frames} = Reveal.getCurrentSlide().querySelector(".geometry-sphere").sphere;
    return {u: Array.from(geometry.u), frames};
}"""


def in_browser(test):
    for mark in browser:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    out = tmp_path_factory.mktemp("slides")
    return functools.cache(lambda number: slides.write_slides([LECTURES[number]], out)[0])


@pytest.fixture
def opened(page):  # noqa: F811
    """Open a deck without a network; at the end it has asked for itself alone, and nothing went wrong."""
    asked, wrong = [], []

    def open_deck(path, scheme="light", size=(1400, 800)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        return page

    def asks(request):
        asked.append(request.url.partition("#")[0])

    def fails(error):
        wrong.append(str(error))

    page.context.set_offline(True)
    page.on("request", asks)
    page.on("pageerror", fails)
    yield open_deck
    assert wrong == [] and all(url.startswith("file:") and url.endswith(".html") for url in asked)
    page.remove_listener("request", asks)
    page.remove_listener("pageerror", fails)
    page.context.set_offline(False)
    page.set_viewport_size({"width": 1400, "height": 1000})
    page.goto("about:blank")


def canvas_slide(deck):
    """Go to the slide with the live figure and show it."""
    where = deck.evaluate("Reveal.getSlides().findIndex(s => s.querySelector('[data-sphere]'))")
    deck.evaluate(f"Reveal.slide({where}, 0, 0)")
    deck.wait_for_function(f"({STATE})().frames > 0")
    return where


@in_browser
def test_keys_ask_first_and_then_answer(opened, decks):
    deck = opened(decks(2))
    asked = deck.evaluate("Reveal.getSlides().findIndex(s => s.querySelector('.fragment img'))")
    deck.evaluate(f"Reveal.slide({asked})")
    image = deck.locator("section.present img")
    assert (
        deck.evaluate(SHOWN) == [asked, -1]
        and image.evaluate("i => getComputedStyle(i.closest('.fragment')).opacity") == "0"
    )
    deck.keyboard.press("ArrowRight")
    assert deck.evaluate(SHOWN) == [asked, 0]
    deck.wait_for_function(
        "getComputedStyle(document.querySelector('section.present .fragment')).opacity === '1'"
    )
    deck.keyboard.press("ArrowRight")
    deck.keyboard.press("ArrowRight")
    assert deck.evaluate(SHOWN)[0] == asked + 1
    deck.keyboard.press("ArrowLeft")
    assert deck.evaluate(SHOWN)[0] == asked


FITS = """async () => {
    const found = [];
    for (let k = 0; k < Reveal.getTotalSlides(); k++) {
        Reveal.slide(k, 0, 99);
        await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
        const slide = Reveal.getCurrentSlide(), texts = Array.from(slide.querySelectorAll("p, li"));
        const small = texts.filter(t => !t.closest(".geometry-sphere, aside"));
        const beyond = (name) => slide["scroll" + name] - slide["client" + name];
        found.push([k + 1, beyond("Height"), beyond("Width"),
            Math.min(99, ...small.map(t => parseFloat(getComputedStyle(t).fontSize))),
            Math.min(999, ...Array.from(slide.querySelectorAll("img"), i => i.clientHeight))]);
    }
    return found;
}"""


@in_browser
@pytest.mark.parametrize("number", range(len(LECTURES)), ids=lambda k: LECTURES[k].stem)
def test_nothing_is_cut_off_and_the_last_row_can_read_it(opened, decks, number):
    for width, height in ((1400, 800), (1024, 768), (800, 600)):
        for slide, below, beside, font, image in opened(decks(number), size=(width, height)).evaluate(FITS):
            assert below <= 1 and beside <= 1, f"slide {slide} is cut off at {width} x {height}"
            assert image >= height * 5 / 16, f"slide {slide} has a figure {image} pixels high"
            # On a narrow screen, a wide table makes its slide's letters smaller.
            assert font >= height / (40 if width > 1024 else 50), (
                f"slide {slide} has letters of {font} pixels"
            )


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_notebook_00_only_the_partner_follows_a_dragged_point(opened, decks, scheme):
    deck = opened(decks(0), scheme)
    where = canvas_slide(deck)
    before = deck.evaluate(STATE)["u"]
    deck.get_by_role("button", name="Play").click()
    box = deck.locator("section.present .scene").bounding_box()
    R, centre = box["width"] / 2 - 14, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    deck.mouse.move(centre[0] + R, centre[1])
    deck.mouse.down()
    deck.mouse.move(centre[0] + 0.1 * R, centre[1] - R, steps=10)  # from 0 to about 84 degrees
    distance = "Math.hypot(u[0] - u[10], u[1] - u[11])"
    deck.wait_for_function(f"(() => {{ const u = ({STATE})().u; return {distance} < 0.61; }})()")
    deck.mouse.up()
    after = deck.evaluate(STATE)["u"]
    assert [k // 2 for k in range(0, 20, 2) if after[k : k + 2] != pytest.approx(before[k : k + 2])] == [0, 5]
    deck.screenshot(path=SCREENSHOTS / f"slides_00_{scheme}.png")
    ground = deck.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 24, 27)")
    assert min(deck.evaluate(CONTRAST)) >= 4.5
    deck.locator("section.present .scene").press("ArrowRight")  # turns the figure, and not the page
    assert deck.evaluate(SHOWN) == [where, 0]
    deck.evaluate("document.activeElement.blur()")
    deck.keyboard.press("ArrowRight")
    assert deck.evaluate(SHOWN)[0] == where + 1


@in_browser
@pytest.mark.parametrize("size", [(800, 600), (1400, 800)])
def test_the_figure_fits_any_projector_and_the_mouse_turns_it(opened, decks, size):
    deck = opened(decks(0), size=size)
    where, before = canvas_slide(deck), deck.evaluate(STATE)["u"]
    for box in (canvas.bounding_box() for canvas in deck.locator("section.present canvas").all()):
        assert 0 <= box["x"] and box["x"] + box["width"] <= size[0]
        assert 0 <= box["y"] and box["y"] + box["height"] <= size[1] and box["width"] > 200
    turned = "Array.from(document.querySelector('section.present .geometry-sphere').sphere.turn)"
    turn, box = deck.evaluate(turned), deck.locator("section.present .scene").bounding_box()
    mouse(deck, (box["x"] + 3, box["y"] + 3), (box["x"] + 60, box["y"] + 3))
    assert deck.evaluate(turned) != turn and deck.evaluate(STATE)["u"] == before
    assert deck.evaluate(SHOWN) == [where, 0]
    deck.screenshot(path=SCREENSHOTS / f"slides_00_{size[0]}.png")


@in_browser
def test_a_finger_on_the_figure_drags_and_elsewhere_turns_the_page(opened, decks):
    deck = opened(decks(0))
    where, before = canvas_slide(deck), deck.evaluate(STATE)["u"]
    box = deck.locator("section.present .scene").bounding_box()
    x, y, R = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] / 2 - 14
    touch(deck, (x + R, y), (x + R / 2, y), (x - R, y + 5))
    assert deck.evaluate(SHOWN) == [where, 0] and deck.evaluate(STATE)["u"][0] == pytest.approx(-1, abs=0.01)
    assert deck.evaluate(STATE)["u"][2:] == before[2:]
    touch(deck, (1100, 40), (900, 40), (600, 40))
    assert deck.evaluate(SHOWN)[0] == where + 1


@in_browser
def test_in_notebook_02_points_move_by_hand_and_no_force_is_offered(opened, decks):
    deck = opened(decks(2), "dark")
    canvas_slide(deck)
    assert deck.get_by_role("button").filter(has_text="Play").count() == 0
    readings = deck.locator("section.present .geometry-sphere p").last
    assert "Modality gap: 0.00." in readings.inner_text()
    deck.locator("section.present .scene").press("Shift+ArrowRight")
    sync = "document.querySelector('section.present .geometry-sphere p:last-of-type').innerText"
    deck.wait_for_function(f"!{sync}.includes('Modality gap: 0.00.')")
    deck.screenshot(path=SCREENSHOTS / "slides_02_dark.png")


@in_browser
def test_the_speaker_s_window_shows_the_notes(opened, decks):
    deck = opened(decks(2))
    with deck.expect_popup() as popup:
        deck.keyboard.press("s")
    notes = popup.value.locator(".speaker-controls-notes")
    notes.get_by_text("Every diagnostic answers one question").wait_for()
    popup.value.close()
