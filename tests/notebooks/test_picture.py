"""`geomreg-course picture`: states and runs of the live canvas, drawn by the canvas itself into a file."""

import base64
import io
import json
import re
import sys

import geomreg_course as course
import nbformat
import numpy as np
import pytest
import torch
from geomreg_course import picture
from lab import film
from lab.sphere import Sphere
from PIL import Image
from test_sphere import ROOT, embeddings, in_browser

from geomreg_mini import plots


def state(**values):
    return Sphere(embeddings(dimensions=2), [k % 2 for k in range(12)]).state() | values


def written(tmp_path, *states):
    path = tmp_path / "state.json"
    path.write_text(json.dumps(list(states)))
    return path


def frames(path):
    with Image.open(path) as shown:
        for k in range(getattr(shown, "n_frames", 1)):
            shown.seek(k)
            yield np.asarray(shown.convert("RGB")).astype(int)


def close_to(pixels, color):
    """How many pixels have nearly this color, like "#D55E00"."""
    exact = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
    return (abs(pixels - exact).max(axis=2) < 12).sum()


@in_browser
@pytest.mark.parametrize("ground", [[], ["--dark"]])
def test_the_command_draws_a_state_with_its_title_and_its_legend(tmp_path, capsys, ground):
    source, out = written(tmp_path, state(title="One", radius=0.2)), tmp_path / "out" / "one.png"
    assert course.main(["picture", str(source), str(out), "--width", "400", *ground]) == 0
    assert capsys.readouterr().out == f"open {out}\n"
    (pixels,) = frames(out)
    assert pixels.shape[1] == 800 and pixels.shape[0] > 800
    for color in (plots.VERMILION, plots.BLUE, plots.ORANGE):
        assert close_to(pixels, color) > 100, color
    assert (pixels[0, 0].max() < 40) == bool(ground)
    title, legend = pixels[:60], pixels[-100:]
    assert all(abs(part - part[0, 0]).max() > 150 for part in (title, legend))


@in_browser
def test_a_run_moves_and_a_shorter_one_rests_at_its_end(tmp_path):
    points = [
        {"points": state()["points"]},
        {"points": Sphere(embeddings(dimensions=2, seed=1)).state()["points"]},
    ]
    long = state(frames=[points[0], *points, points[0]])
    out = tmp_path / "run.gif"
    picture.draw(picture.read_states(written(tmp_path, long, state(frames=points))), out, width=500)
    first, same, both, left = frames(out)
    half = first.shape[1] // 2
    changed = [[(a != b)[:, part].any() for part in (np.s_[:half], np.s_[half:])]
               for a, b in ((first, same), (same, both), (both, left))]  # fmt: skip
    assert changed == [[False, True], [True, False], [True, False]]
    with Image.open(out) as shown:
        shown.seek(3)
        assert shown.info["duration"] == picture.REST and "loop" in shown.info


@in_browser
def test_a_state_without_frames_follows_the_gradient_in_a_gif(tmp_path):
    out = tmp_path / "flow.gif"
    picture.draw([state(anchoring_weight=1.0, dispersion_weight=0.0, radius=0.6)], out, width=300)
    shown = list(frames(out))
    assert close_to(shown[0], plots.VERMILION) > 100 > close_to(shown[-1], plots.VERMILION)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "has no state"),
        ("[1]", "a state is not an object"),
        (json.dumps(state(radius="wide")), "`radius` is missing or has the wrong type"),
        (json.dumps(state(dimensions=True)), "`dimensions` is missing"),
        (json.dumps(state(dimensions=4)), "2 or 3 dimensions"),
        (json.dumps(state(labels=[])), "it needs modalities, samples"),
        (json.dumps(state(labels=[0])), "`points` are not 4 float32 numbers in base64"),
        (json.dumps(state(points="not base64")), "`points` are not 48 float32"),
        (json.dumps(state(frames=[])), "`frames` is not a list of objects"),
        (json.dumps(state(frames=[{"points": ""}])), "`points` are not 48"),
        (json.dumps(state(frames=[{"points": 3}])), "`points` are not 48"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(tmp_path, capsys, text, words):
    path = tmp_path / "state.json"
    path.write_text(text)
    assert course.main(["picture", str(path), str(tmp_path / "a.png")]) == 2
    assert words in capsys.readouterr().err


def test_another_kind_of_file_and_a_missing_browser_are_named(tmp_path, capsys, monkeypatch):
    source = written(tmp_path, state())
    assert course.main(["picture", str(source), str(tmp_path / "a.svg")]) == 2
    assert "a.svg is not a picture: its name must end in .png or .gif" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    assert course.main(["picture", str(source), str(tmp_path / "a.png")]) == 2
    assert "`pip install playwright`" in capsys.readouterr().err and not (tmp_path / "a.png").exists()


@in_browser
def test_what_the_browser_cannot_draw_ends_in_one_sentence(tmp_path, capsys):
    source = written(tmp_path, state(radius=float("nan")))
    assert course.main(["picture", str(source), str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("geomreg-course: the browser drew nothing (") and said.count("\n") == 1


# ------------------------------------------------------------ the two pictures that are committed


def rows(encoded, count):
    return torch.from_numpy(np.frombuffer(base64.b64decode(encoded), "<f4").reshape(2, count, 2).copy())


@pytest.mark.slow
def test_the_readme_s_picture_shows_what_its_alt_text_says():
    without, repaired = film.collapse()
    assert len(without["frames"]) * 2 == len(repaired["frames"])
    assert without["frames"][0]["points"] == repaired["frames"][0]["points"]
    ends = [rows(run["frames"][-1]["points"], film.SAMPLES) for run in (without, repaired)]
    outside, less = (((a - b).norm(dim=1) > film.RADIUS).double().mean().item() for a, b in ends)
    assert outside == pytest.approx(0.75, abs=0.08) and less < outside
    assert without["frames"][-1]["title"] == "Without the regularizer, epoch 60"
    path = ROOT / "notebooks" / "figures" / "collapse.gif"
    assert len(list(frames(path))) == len(repaired["frames"])


def test_the_picture_of_notebook_00_shows_what_its_alt_text_says():
    dragged, anchored, dispersed = (rows(state["points"], 5) for state in film.forces())

    def moved(after):
        return {(m, k) for m in range(2) for k in range(5) if (after - dragged)[m, k].norm() > 0.01}

    def outside(points):
        return ((points[0] - points[1]).norm(dim=1) > 0.6 + 2e-3).tolist()

    assert moved(anchored) == {(1, 0)} and moved(dispersed) == {(0, k) for k in range(1, 5)}
    assert outside(dragged) == [True, *[False] * 4] and not any(outside(anchored))
    assert all(outside(dispersed))
    (image,) = (
        c for c in nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", 4).cells if c.id == "00-30"
    )
    stored = base64.b64decode(image.outputs[0].data["image/png"])
    assert stored == (ROOT / "notebooks" / "figures" / "forces.png").read_bytes()
    assert re.search("all five are even again", image.source) and Image.open(io.BytesIO(stored)).width == 1520
