"""The tuning lab in a real browser: JupyterLab and Voila, moved by keyboard and stopped.

Debian's Chromium is driven by playwright; where either is missing the tests are skipped and say so.
Screenshots (light, dark, three widths) are left in build/screenshots/ to be looked at; times are printed.
"""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from geomreg_course.picture import CHROMIUM
from lab.__main__ import write as write_app

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
PATIENCE = 120  # seconds, for a busy machine; a lab that works needs a few
WIDE = {"width": 1400, "height": 1000}
SIZES = {"wide": WIDE, "middle": {"width": 800, "height": 1000}, "narrow": {"width": 420, "height": 900}}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium"),
]

# ipywidgets 7.7.0 and 7.7.1 let pip choose an extension of JupyterLab that is too new for them.
MAJOR = {name: int(version(name).partition(".")[0]) for name in ("ipywidgets", "jupyterlab_widgets")}
has_front_end = pytest.mark.skipif(
    MAJOR["ipywidgets"] < 8 and MAJOR["jupyterlab_widgets"] > 2,
    reason="ipywidgets 7 needs pip install 'jupyterlab_widgets<3'",
)


@contextmanager
def served(command, folder, address):
    """A server process with settings of its own, stopped at the end; yields its address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR"}
    own = {name: str(folder / name.lower()) for name in names | {"JUPYTERLAB_WORKSPACES_DIR"}}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **own, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with open(folder / "server.log", "w") as log:
        options = [*command, f"--port={port}", "--no-browser"]
        server = subprocess.Popen(
            [sys.executable, "-m", *options], cwd=folder, env=environment, stdout=log, stderr=log
        )
    (folder / "server.pid").write_text(str(server.pid))
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{address}", timeout=PATIENCE).close()
                break
            except (urllib.error.URLError, ConnectionError):
                gone = server.poll() is not None or time.monotonic() > deadline
                assert not gone, (folder / "server.log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture(scope="module")
def page():
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox needs rights that a container often lacks; only our own server is visited.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(1000 * PATIENCE)
        sync_api.expect.set_options(timeout=1000 * PATIENCE)
        yield page
        browser.close()


SEEN = """() => {
    const {geometry, values, frames} = document.querySelector(".geometry-sphere").sphere;
    return {u: Array.from(geometry.u), values: {...values}, frames};
}"""
# Notes when the canvas draws, and the radius that it draws, until it is asked for what it noted.
WATCH = """() => {
    const view = document.querySelector(".geometry-sphere").sphere, noted = window.noted = [];
    let last = view.frames;
    const look = (now) => {
        if (window.noted !== noted) return;
        if (view.frames !== last) noted.push([performance.now(), view.values.radius]);
        last = view.frames;
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


def slider(page, name):
    return page.get_by_role("slider", name=name, exact=True)


def drag(page, name):
    """Drag a slider with the mouse; return the times between pictures and the values that were drawn."""
    box = slider(page, name).bounding_box()
    y, at = box["y"] + box["height"] / 2, lambda share: box["x"] + box["width"] * share
    page.mouse.move(at(0.15), y)
    page.mouse.down()
    page.evaluate(WATCH)
    for k in range(50):
        page.mouse.move(at(0.15 + 0.012 * k), y)
        page.wait_for_timeout(25)
    noted = page.evaluate("() => { const noted = window.noted; window.noted = null; return noted; }")
    page.mouse.up()
    times = [time for time, _ in noted]
    return sorted(b - a for a, b in itertools.pairwise(times)), {radius for _, radius in noted}


def answered(page, name):
    """Milliseconds from a key on a slider until the canvas draws the new radius."""
    slider(page, name).focus()
    page.evaluate(
        """() => {
            const view = document.querySelector(".geometry-sphere").sphere, old = view.values.radius;
            window.answered = new Promise((done) => addEventListener("keydown", () => {
                const began = performance.now(), moved = () => view.values.radius !== old;
                const look = () => moved() ? done(performance.now() - began) : requestAnimationFrame(look);
                look();
            }, {once: true, capture: true}));
        }"""
    )
    page.keyboard.press("ArrowRight")
    return page.evaluate("window.answered")


def use_the_lab(page):
    """What a reader does: drag, move by keyboard, stop, pin, undo, look at the memory and at a challenge."""
    expect = sync_api.expect
    message = page.locator(".lab-message")
    stop = page.get_by_role("button", name="Stop")
    expect(page.get_by_role("application").first).to_be_visible()
    expect(stop).to_be_disabled()
    before = page.evaluate(SEEN)
    radius = slider(page, "Radius")
    expect(radius).to_be_disabled()
    assert radius.get_attribute("aria-valuetext") == "0.6, rests: the anchoring weight is 0"
    expect(page.get_by_text("rests: the anchoring weight is 0")).to_be_visible()

    page.get_by_role("button", name="Preset bounded").click()
    expect(message).to_contain_text("Run 1. Epoch 60.")
    assert page.evaluate(SEEN)["u"] != before["u"]
    times = [answered(page, "Radius") for _ in range(3)]
    assert radius.get_attribute("aria-valuetext") == "0.6"
    gaps, values = drag(page, "Radius")
    middle, late = gaps[len(gaps) // 2], gaps[int(0.95 * len(gaps))]
    print(f"\nkey to picture {sorted(times)[1]:.0f} ms; drag: {len(gaps)} pictures of {len(values)} values,")
    print(f"between pictures {middle:.0f} ms (median), {late:.0f} ms (95 %)")
    assert len(values) >= 4 and len(gaps) > 10
    # Moves are sent no faster than they are answered, so the last one may still be under way.
    rest = radius.get_attribute("aria-valuetext")
    expect(message).to_contain_text(re.compile(rf"Epoch 60\..*'radius': {rest}\}}"))

    page.get_by_role("button", name="Five seeds").click()
    expect(stop).to_be_enabled()
    stop.focus()
    page.keyboard.press("Enter")
    expect(message).to_contain_text("Stopped. Run")
    expect(stop).to_be_disabled()
    stopped = page.evaluate(SEEN)
    page.wait_for_timeout(1500)
    assert page.evaluate(SEEN) == stopped  # nothing trains on behind the message
    expect(page.get_by_text("Runs, newest first")).to_be_visible()

    page.get_by_role("button", name="Pin A").click()
    page.get_by_role("button", name="Preset drift").click()
    expect(message).to_contain_text("Epoch 60.")
    page.get_by_role("button", name="Pin B").click()
    expect(page.get_by_role("application")).to_have_count(3)
    expect(page.get_by_role("cell", name="pin B: run")).to_be_visible()
    page.get_by_role("button", name="Undo").dblclick()
    page.get_by_role("button", name="Redo").dblclick()
    expect(radius).to_be_disabled()  # as in preset drift
    expect(message).to_contain_text("Epoch 60.")
    assert "lab.train({" in page.locator("code", has_text="lab.train").last.inner_text()

    page.get_by_label("challenge").select_option("2 · rescue")
    expect(slider(page, "Train size")).to_be_disabled()
    assert slider(page, "Train size").get_attribute("aria-valuetext") == "100, locked by the challenge"
    expect(message).to_contain_text("Epoch 60.")
    page.get_by_role("button", name="Hand in").click()
    expect(message).to_contain_text("Score 4 of 6.")
    page.get_by_label("challenge").select_option("free play")


CONTRAST = """() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const linear = (x) => x <= .04 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
        const [r, g, b] = numbers(color).map((x) => linear(x / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if ((numbers(color)[3] ?? 1) > 0) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const texts = document.querySelectorAll(".lab-knobs :is(p, label, span, select), .lab-message, code,"
        + ".widget-label, .widget-html :is(b, td, th, caption),"
        + ".geometry-sphere :is(p, label, output, button)");
    return Array.from(texts).filter((element) => element.checkVisibility()).map((element) => {
        const ink = light(getComputedStyle(element).color), ground = light(behind(element));
        return (Math.max(ink, ground) + .05) / (Math.min(ink, ground) + .05);
    });
}"""


SEEN_FIRST = "canvas.scene:visible, img.widget-image:visible"


def pictures(page, name, where, seen=SEEN_FIRST, sizes=tuple(SIZES)):
    """Screenshots of three widths, from the top of the lab; text is readable and nothing is cut off."""
    for size, viewport in ((size, SIZES[size]) for size in sizes):
        page.set_viewport_size(viewport)
        page.wait_for_timeout(700)
        page.locator(where).first.evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(300)
        page.screenshot(path=SCREENSHOTS / f"{name}_{size}.png")
        inside = page.locator(seen).first.bounding_box()
        assert 0 <= inside["x"] and inside["x"] + inside["width"] <= viewport["width"]
    assert min(page.evaluate(CONTRAST)) >= 4.5
    page.set_viewport_size(WIDE)


def digits_tab(page):
    page.get_by_role("tab", name="Digits, recorded").click()
    chosen = page.get_by_text("mean of 3 seeds, validation accuracy")
    sync_api.expect(chosen).to_contain_text("anchoring weight 2,")
    page.get_by_label("anchoring weight").last.select_option("8.0")
    sync_api.expect(chosen).to_contain_text("anchoring weight 8,")
    page.get_by_role("button", name="Show the test numbers of this cell").click()
    sync_api.expect(page.get_by_text("mean of 3 seeds, test accuracy")).to_be_visible()


def open_sidebar(page):
    """Open JupyterLab's list of files next to the notebook."""
    page.get_by_role("tab", name="File Browser").click()
    sync_api.expect(page.locator("#filebrowser")).to_be_visible()


def restart_kernel(page):
    """Restart the kernel of JupyterLab."""
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()


def kill_kernel(folder):
    """Kill the kernel that the server in ``folder`` started, as a machine out of memory would."""
    subprocess.run(["pkill", "-9", "-P", (folder / "server.pid").read_text()], check=True)


def says_it_is_lost(page):
    """The lab on the page says that nobody answers any more, and its sliders rest."""
    alert = page.get_by_role("alert").filter(has_text="This lab has lost its kernel. Run its cell again")
    sync_api.expect(alert).to_be_visible()
    sync_api.expect(slider(page, "Dispersion weight")).to_be_disabled()


def lab_settings(folder):
    """Follow the browser's light or dark, and ask nothing at the start."""
    settings = folder / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"adaptive-theme": True}))
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))


@has_front_end
def test_the_lab_in_jupyterlab(page, tmp_path):
    # Up to the lab's cell: all cells are run elsewhere, and what follows trains for half a minute.
    notebook = nbformat.read(ROOT / "notebooks" / "06_tuning_lab.ipynb", as_version=4)
    (at,) = (k for k, cell in enumerate(notebook.cells) if "lab.tabs(" in cell.source)
    notebook.cells = notebook.cells[: at + 1]
    nbformat.write(notebook, tmp_path / "lab.ipynb")
    lab_settings(tmp_path)
    command = ["jupyterlab", "--IdentityProvider.token=", "--allow-root", f"--notebook-dir={tmp_path}"]
    with served(command, tmp_path, "api") as address:
        page.goto(f"{address}/doc/tree/lab.ipynb")
        sync_api.expect(page.get_by_text("| Idle")).to_be_visible()  # until then a menu closes by itself
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).last.click()
        use_the_lab(page)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            sync_api.expect(page.locator("body")).to_have_attribute(
                "data-jp-theme-light", str(scheme == "light").lower()
            )
            pictures(page, f"jupyterlab_{scheme}", ".jupyter-widgets.widget-tab, .jupyter-widget-tab")
        digits_tab(page)
        pictures(page, "jupyterlab_digits", ".jupyter-widgets.widget-tab, .jupyter-widget-tab")
        page.get_by_role("tab", name="Toy, live").click()
        open_sidebar(page)
        where = ".jupyter-widgets.widget-tab, .jupyter-widget-tab"
        pictures(page, "jupyterlab_sidebar", where, sizes=("wide", "middle"))
        restart_kernel(page)
        says_it_is_lost(page)
        page.screenshot(path=SCREENSHOTS / "jupyterlab_restarted.png")
        page.goto("about:blank")


@has_front_end
def test_the_lab_as_a_page_of_voila(page, tmp_path):
    write_app(tmp_path / "app.ipynb")
    lost = []
    page.on("requestfailed", lambda request: lost.append((request.url, request.failure)))
    with served(["voila", "app.ipynb", "--Voila.ip=127.0.0.1"], tmp_path, "voila/static/voila.js") as address:
        page.goto(address)
        use_the_lab(page)
        assert {why for url, why in lost if not url.startswith(address)} <= {"csp"}  # never sent
        pictures(page, "voila_light", "body")
        digits_tab(page)
        pictures(page, "voila_digits", "body")
        page.goto(f"{address}/?theme=dark")
        sync_api.expect(page.locator(".geometry-sphere p").last).to_contain_text("Epoch 0 of 60.")
        pictures(page, "voila_dark", "body")
        if MAJOR["ipywidgets"] > 7:  # with 7, Voila does not tell its widgets what became of the kernel
            kill_kernel(tmp_path)
            says_it_is_lost(page)
            page.screenshot(path=SCREENSHOTS / "voila_killed.png")
        page.goto("about:blank")
