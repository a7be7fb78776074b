"""The site's pages in a real browser: what keys must reach, and the contrast of code.

Found with axe-core (its rules scrollable-region-focusable and color-contrast), which is not needed here.
"""

import re

from geomreg_course import books, pages
from test_browser import ROOT, page  # noqa: F401
from test_sphere import in_browser

NEEDS_A_MOUSE = """() => {
    document.querySelectorAll("details").forEach((element) => (element.open = true));
    const scrolls = (e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX !== "visible";
    const reached = (e) => e.tabIndex >= 0 || e.querySelector("a, button, input, [tabindex='0']");
    const found = Array.from(document.querySelectorAll("main *")).filter((e) => scrolls(e) && !reached(e));
    return found.map((e) => `${e.className || e.tagName}: ${e.textContent.trim().slice(0, 60)}`);
}"""
INKS = """() => Array.from(document.querySelectorAll(".highlight span"))
    .filter((e) => e.textContent.trim()).map((e) => getComputedStyle(e).color)
    .filter((color, k, all) => all.indexOf(color) === k)"""
GROUND = """() => [".input_area", "body"].map((name) =>
    getComputedStyle(document.querySelector(name)).backgroundColor)"""


def light(color):
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in color]
    return sum(share * x for share, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(ink, ground):
    levels = sorted(map(light, (ink, ground)))
    return (levels[1] + 0.05) / (levels[0] + 0.05)


def numbers(color):
    """Red, green, blue and opacity of a computed color, from 0 to 1."""
    *rgb, share = [*(float(x) for x in re.findall(r"[\d.]+", color)), 1.0][:4]
    return [x / 255 for x in rgb], share


@in_browser
def test_what_is_wider_than_the_page_is_reached_by_keyboard_and_code_is_readable(page, tmp_path):  # noqa: F811
    pages.write_site(books.select([], ROOT / "notebooks"), tmp_path)
    page.set_viewport_size({"width": 1200, "height": 900})
    for path in sorted(tmp_path.glob("*_*.html")):
        page.goto(path.as_uri())
        assert page.evaluate(NEEDS_A_MOUSE) == [], path.name
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            (soft, share), (ground, _) = map(numbers, page.evaluate(GROUND))
            behind = [share * s + (1 - share) * g for s, g in zip(soft, ground, strict=True)]
            inks = {ink: contrast(numbers(ink)[0], behind) for ink in page.evaluate(INKS)}
            assert min(inks.values()) >= 4.5, (path.name, scheme, inks)
    page.goto("about:blank")
