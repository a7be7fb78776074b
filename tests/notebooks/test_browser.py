"""The tuning lab in a real browser: JupyterLab and Voila, moved by keyboard and stopped.

Debian's Chromium is driven by playwright; where either is missing the tests are skipped and say so.
Screenshots (light, dark, wide, narrow) are left in build/screenshots/ to be looked at.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import ipywidgets
import nbformat
import pytest
from lab.__main__ import write as write_app
from packaging.version import Version

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120  # seconds, for a busy machine; a lab that works needs a few
WIDE, NARROW = {"width": 1400, "height": 1000}, {"width": 420, "height": 900}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium"),
]

# ipywidgets 7 did not appear in JupyterLab 4 or Voila 0.5; Colab has it with a front end of its own.
has_front_end = pytest.mark.skipif(
    Version(ipywidgets.__version__) < Version("8"), reason="no ipywidgets 7 in JupyterLab 4"
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


def moved_by_keyboard(page, name):
    """Press the right arrow on a slider, and wait until the first picture has a new source."""
    slider = page.locator(".widget-slider", has_text=name).locator(".noUi-handle, .ui-slider-handle").first
    slider.focus()
    page.evaluate(
        """() => {
            const image = document.querySelector("img.widget-image");
            window.waited = new Promise(resolve => {
                new MutationObserver((_, observer) => {
                    observer.disconnect(); resolve();
                }).observe(image, {attributes: true, attributeFilter: ["src"]});
            });
        }"""
    )
    slider.press("ArrowRight")
    page.evaluate("window.waited")


def sources(page):
    return page.locator("img.widget-image").evaluate_all("images => images.slice(0, 4).map(i => i.src)")


def use_the_lab(page):
    """What a reader does: train, move a slider by keyboard, stop, look at the memory and the other tab."""
    expect = sync_api.expect
    message = page.get_by_text("Accuracy: fused").last
    expect(message).to_contain_text("Epoch 0.")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    before = sources(page)
    moved_by_keyboard(page, "radius")
    readout = page.locator(".widget-slider", has_text="radius").first.locator(".widget-readout")
    expect(readout).to_have_text("0.7")
    expect(message).not_to_contain_text("Epoch 0.")
    page.get_by_role("button", name="Stop").click()
    expect(message).to_contain_text("Stopped. Epoch")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    stopped = sources(page)
    assert stopped[0] != before[0]
    page.wait_for_timeout(1500)
    assert sources(page) == stopped  # nothing trains on behind the message
    expect(page.get_by_text("Earlier runs, newest first")).to_be_visible()
    page.get_by_role("button", name="Preset bounded").click()
    expect(message).to_contain_text("Epoch 60.")
    assert all(old != new for old, new in zip(before, sources(page), strict=True))


def pictures(page, name, where):
    """Wide and narrow screenshots, from the top of the lab."""
    for size, viewport in {"wide": WIDE, "narrow": NARROW}.items():
        page.set_viewport_size(viewport)
        page.wait_for_timeout(700)
        page.locator(where).first.evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(300)
        page.screenshot(path=SCREENSHOTS / f"{name}_{size}.png")
        inside = page.locator("img.widget-image:visible").first.bounding_box()
        assert 0 <= inside["x"] and inside["x"] + inside["width"] <= viewport["width"]
    page.set_viewport_size(WIDE)


def digits_tab(page):
    page.get_by_role("tab", name="Digits, recorded").click()
    chosen = page.get_by_text("mean of 3 seeds, test accuracy")
    sync_api.expect(chosen).to_contain_text("anchoring weight 2,")
    slider = page.locator(".widget-slider:visible", has_text="anchoring weight")
    slider.locator(".noUi-handle, .ui-slider-handle").first.press("ArrowRight")
    sync_api.expect(chosen).to_contain_text("anchoring weight 8,")


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
        page.goto("about:blank")


@has_front_end
def test_the_lab_as_a_page_of_voila(page, tmp_path):
    write_app(tmp_path / "app.ipynb")
    with served(["voila", "app.ipynb", "--Voila.ip=127.0.0.1"], tmp_path, "voila/static/voila.js") as address:
        page.goto(address)
        use_the_lab(page)
        pictures(page, "voila_light", "body")
        digits_tab(page)
        pictures(page, "voila_digits", "body")
        page.goto(f"{address}/?theme=dark")
        sync_api.expect(page.get_by_text("Accuracy: fused").last).to_contain_text("Epoch 0.")
        pictures(page, "voila_dark", "body")
        page.goto("about:blank")
