"""The live canvas as a picture: `geomreg-course picture STATE.json OUT` draws a state in a hidden browser.

A state is what `lab.sphere.Sphere.state` returns; the JavaScript that draws it is also that of notebooks.
Several states in a list are drawn next to each other. A state with `frames` is a run: a list of changes, each
with `points`, a `title` or both; the shorter of two runs rests at its end. In a GIF, a state without frames
follows the gradient of the regularizer.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

from PIL import Image

from data_scripts.fetch import write_atomically

from .books import CourseError, notebooks_folder, one_line
from .pages import LIVE, styles

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NUMBERS = ("dispersion_weight", "anchoring_weight", "radius", "temperature")
KINDS = {
    "modalities": list,
    "labels": list,
    "dimensions": int,
    "points": str,
    **dict.fromkeys(NUMBERS, (int, float)),
}
FLOW, STEPS = 60, 4  # frames of a state that follows the gradient, and steps from one to the next
PAUSE, REST = 100, 3000  # milliseconds of a frame, and of the last one
COLORS = 64  # of a GIF; more would be spent on the edges of letters
FLAT, NONE = Image.Quantize.FASTOCTREE, Image.Dither.NONE  # keeps the colors of points and lines apart

# What a picture can use: not buttons, sliders, readings and keys, and of the strips distances and spectrum.
LOOK = """
body { max-width: none; padding: 10px 12px; } .row { display: flex; gap: 20px; }
figure { margin: 0; flex: 1 1 0; min-width: 0; } figcaption { font: 600 16px/1.5 system-ui, sans-serif; }
.geometry-sphere { display: block; } .geometry-sphere > div { max-width: none; }
.geometry-sphere :is(button, label, p) { display: none; } .geometry-sphere [role=img] { height: 146px; }
#legend { margin: 4px 0 0; font: 14px/1.4 system-ui, sans-serif; }
"""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><style>{style}</style>
<body><div class="row"></div><p id="legend"></p><script type="application/json" id="states">{states}</script>
<script type="module">
{source}
const states = JSON.parse(document.getElementById("states").textContent);
const places = states.map((state) => {{
  const figure = document.querySelector(".row").appendChild(document.createElement("figure"));
  const title = figure.appendChild(document.createElement("figcaption")), points = bytes(state.points);
  const model = store({{ ...state, controls: [], playing: false, points, first: points }});
  mount(figure, model);
  return {{ state, model, title, step: figure.querySelectorAll("button")[1] }};
}});
document.getElementById("legend").textContent = document.querySelector(".legend").textContent;
window.show = (k) => new Promise((done) => {{
  for (const {{ state, model, title, step }} of places) {{
    const frame = state.frames?.[Math.min(k, state.frames.length - 1)];
    for (let n = 0; n < {steps} && k && !frame; n++) step.click();
    if (frame?.points) model.set("points", bytes(frame.points));
    title.textContent = frame?.title ?? state.title ?? "";
  }}
  requestAnimationFrame(() => requestAnimationFrame(done));
}});
</script></body></html>"""


def read_states(path: Path) -> list[dict[str, Any]]:
    """Return the states of a JSON file; raise CourseError if one cannot be drawn."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CourseError(f"{path} is not JSON: {error}") from None
    states = found if isinstance(found, list) else [found]
    if not states:
        raise CourseError(f"{path} has no state: write what `Sphere.state()` returns.")
    for state in states:
        if problem := _problem(state):
            raise CourseError(f"{path} cannot be drawn: {problem}. Write what `Sphere.state()` returns.")
    return states


def _problem(state: Any) -> str:
    if not isinstance(state, dict):
        return "a state is not an object"
    for name, kind in KINDS.items():
        if not isinstance(state.get(name), kind) or isinstance(state[name], bool):
            return f"`{name}` is missing or has the wrong type"
    frames = state.get("frames", [{}])
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        return "`frames` is not a list of objects"
    size = len(state["modalities"]) * len(state["labels"]) * state["dimensions"]
    if state["dimensions"] not in (2, 3) or not size:
        return "it needs modalities, samples, and 2 or 3 dimensions"
    for points in (state["points"], *(frame["points"] for frame in frames if "points" in frame)):
        try:
            struct.unpack(f"<{size}f", base64.b64decode(points))
        except (ValueError, TypeError, struct.error):
            return f"`points` are not {size} float32 numbers in base64"
    return ""


def _shots(
    states: list[dict[str, Any]], frames: range, width: int, dark: bool, scale: float
) -> list[Image.Image]:
    """Return a screenshot per frame."""
    install = "`pip install playwright`, then `playwright install chromium`"
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise CourseError(f"pictures need a browser: {install}") from None
    source, look = (
        (notebooks_folder() / LIVE / f"sphere.{kind}").read_text(encoding="utf-8") for kind in ("js", "css")
    )
    text = json.dumps(states).replace("<", r"\u003c")
    page = PAGE.format(
        style=styles() + look + LOOK, states=text, source=source, steps=STEPS * (len(frames) > 1)
    )
    shots = []
    try:
        with sync_playwright() as playwright:
            # Chromium's sandbox needs rights that a container often lacks; nothing but this page is opened.
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            view = browser.new_page(viewport={"width": width, "height": 100}, device_scale_factor=scale)
            view.emulate_media(color_scheme="dark" if dark else "light")
            view.set_content(page)
            for k in frames:
                view.evaluate("k => show(k)", k)
                shots.append(Image.open(io.BytesIO(view.screenshot(full_page=True))).convert("RGB"))
    except Error as error:
        raise CourseError(
            f"the browser drew nothing ({one_line(error)}): if it is missing, {install}"
        ) from None
    return shots


def draw(
    states: list[dict[str, Any]], path: Path, width: int = 660, dark: bool = False, scale: float = 0
) -> None:
    """Draw states into a PNG, of a run its last frame, or into a GIF.

    Args:
        states: as `read_states` returns them.
        path: a file whose name ends in .png or .gif.
        width: in CSS pixels.
        scale: picture pixels per CSS pixel; 0 means 2 for a PNG, 1.25 for a GIF.
    """
    if path.suffix not in (".png", ".gif"):
        raise CourseError(f"{path.name} is not a picture: its name must end in .png or .gif")
    moving, out = path.suffix == ".gif", io.BytesIO()
    frames = max(len(state.get("frames", range(FLOW if moving else 1))) for state in states)
    drawn = range(frames) if moving else range(frames - 1, frames)
    shots = _shots(states, drawn, width, dark, scale or (1.25 if moving else 2))
    if not moving:
        small = shots[-1].quantize(2 * COLORS, FLAT, dither=NONE)
        small.save(out, "png", optimize=True)
    else:
        colors = _stacked(shots[:: max(1, frames // 6)]).quantize(COLORS, FLAT, dither=NONE)
        first, *rest = (shot.quantize(palette=colors, dither=NONE) for shot in shots)
        times = [PAUSE] * (frames - 1) + [REST]
        first.save(out, "gif", save_all=True, append_images=rest, duration=times, loop=0, optimize=True)
    write_atomically(path, out.getvalue())


def _stacked(pictures: list[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    whole = Image.new("RGB", (width, height * len(pictures)))
    for k, picture in enumerate(pictures):
        whole.paste(picture, (0, height * k))
    return whole
