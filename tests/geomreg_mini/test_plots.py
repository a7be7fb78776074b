"""Figures: palette, alt text, and that what is drawn is what was given."""

import base64
import io
import os
import re
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from geomreg_mini import anchoring, plots


@pytest.fixture(autouse=True)
def no_figure_left_over():
    yield
    plt.close("all")


def cloud(n=40, d=2, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def lines(fig):
    return fig.axes[0].get_lines()


def legend_texts(fig):
    return [text.get_text() for text in fig.axes[0].get_legend().get_texts()]


def test_colors_are_distinct_hex_and_stay_apart_in_gray():
    assert len(set(plots.COLORS)) == 8 and all(re.fullmatch(r"#[0-9A-F]{6}", c) for c in plots.COLORS)
    rgb = np.array([matplotlib.colors.to_rgb(color) for color in plots.COLORS[:2]])
    gray = rgb @ [0.2126, 0.7152, 0.0722]
    assert abs(gray[0] - gray[1]) > 0.2  # the two modalities of almost every figure, on a gray print too


def test_modalities_differ_in_color_marker_and_line_at_once():
    styles = plots.modality_style(["audio", "image", "text", "depth", "fused"])
    for key in ("color", "marker", "linestyle"):
        first_four = [str(styles[m][key]) for m in ("audio", "image", "text", "depth")]
        assert len(set(first_four)) == 4
    assert styles["fused"]["color"] == "#000000"


def test_fused_takes_no_position_from_the_modalities():
    assert plots.modality_style(["fused", "a", "b"])["a"] == plots.modality_style(["a", "b"])["a"]


def test_more_names_than_colors_still_get_a_style():
    assert len(plots.modality_style([f"m{k}" for k in range(20)])) == 20


def test_show_prints_the_text_outside_a_notebook_and_closes_the_figure(capsys):
    fig, _ = plt.subplots()
    plots.show(fig, "Two curves\n   that cross.")
    assert capsys.readouterr().out == "Two curves that cross.\n"
    assert not plt.fignum_exists(fig.number)


def test_show_puts_alt_text_into_the_output_metadata_of_a_notebook(monkeypatch):
    import IPython
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: object())
    monkeypatch.setattr(IPython.display, "display", lambda *a, **k: shown.append((a[0], k)))
    fig, _ = plt.subplots()
    plots.show(fig, "A cloud.")
    (data, options), (text, _) = shown
    assert options == {"metadata": {"image/png": {"alt": "A cloud."}}, "raw": True}
    picture = data["image/png"]
    picture = base64.b64decode(picture) if isinstance(picture, str) else picture
    assert picture.startswith(b"\x89PNG")
    assert text.data.startswith("<details><summary>") and "\n\nA cloud.\n\n" in text.data  # folded


@pytest.mark.parametrize("photograph", [False, True])
def test_a_stored_drawing_has_a_palette_and_a_photograph_keeps_its_colors(photograph):
    fig, ax = plt.subplots()
    if photograph:
        ax.imshow(np.random.default_rng(0).random((120, 160, 3)))
    else:
        ax.plot([0, 1, 2], [1, 0, 2], color=plots.VERMILION, label="a")
        ax.legend()
    full = io.BytesIO()
    fig.savefig(full, bbox_inches="tight", pad_inches=0.1)
    stored = Image.open(io.BytesIO(plots._png(fig)))
    plt.close(fig)
    assert (stored.mode == "P") != photograph
    before, after = (np.asarray(picture.convert("RGB")).astype(int) for picture in (Image.open(full), stored))
    assert before.shape == after.shape and abs(before - after).max() <= (0 if photograph else 30)


@pytest.mark.parametrize("alt", ["", "  ", None])
def test_show_refuses_a_figure_without_alt_text(alt):
    with pytest.raises(ValueError, match="alt is"):
        plots.show(plt.figure(), alt)


def test_circle_puts_every_embedding_on_its_ring_whatever_its_length():
    fig = plots.embeddings_on_circle({"audio": 7 * cloud(), "image": cloud(seed=1)})
    lengths = [np.linalg.norm(c.get_offsets(), axis=1) for c in fig.axes[0].collections]
    assert np.allclose(lengths[0], 1.0) and np.allclose(lengths[1], 0.72)


def test_circle_marks_exactly_the_pairs_outside_the_band():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    fig = plots.embeddings_on_circle({"a": a, "b": b}, radius=0.6)
    drawn = {line.get_color(): line.get_xdata() for line in lines(fig) if line.get_lw() < 1}
    assert len(drawn[plots.VERMILION]) == 3 and len(drawn[plots.INSIDE]) == 6  # two ends and a break a pair


def test_arrows_follow_the_negative_gradient_and_samples_inside_the_band_have_none():
    pair = {"a": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "b": torch.tensor([[1.0, 0.1], [1.0, 0.0]])}
    fig = plots.pull_on_circle(pair, lambda z: anchoring(z["a"], z["b"], radius=0.6))
    arrows = [c for c in fig.axes[0].collections if hasattr(c, "U")]
    assert [len(arrow.U) for arrow in arrows] == [1, 1]  # the first pair agrees, only the second is moved
    assert arrows[0].U[0] > 0 and abs(arrows[0].V[0]) < 1e-9  # along the circle, from (0, 1) towards (1, 0)


def test_sphere_draws_unit_vectors():
    pair = {"a": 3 * cloud(d=3), "b": cloud(d=3, seed=1)}
    fig = plots.embeddings_on_sphere(pair, labels=torch.arange(40) % 3)
    x, y, z = fig.axes[0].collections[1]._offsets3d
    assert np.allclose(np.square(x) + np.square(y) + np.square(z), 1)


def test_wrong_width_is_named_with_the_modality():
    with pytest.raises(ValueError, match=r"'audio'.*\(40, 5\).*\(N, 3\)"):
        plots.embeddings_on_sphere({"audio": cloud(d=5)})


def test_spectrum_of_equal_directions_is_flat_and_of_one_direction_is_a_single_share():
    signs = torch.cat([torch.eye(4), -torch.eye(4)])
    fig = plots.spectrum({"flat": signs, "line": torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0]]).repeat(4, 1)})
    flat, line = (drawn.get_ydata() for drawn in lines(fig))
    assert np.allclose(flat, 0.25)
    assert line[0] == pytest.approx(1) and np.isnan(line[1:]).all()
    assert legend_texts(fig) == ["flat (effective rank 4.0)", "line (effective rank 1.0)"]


def test_drift_histogram_draws_the_band_and_counts_the_pairs_outside():
    a = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.2]])
    fig = plots.drift_histogram({"toy": (a, b)}, radius=0.6)
    assert legend_texts(fig) == ["agreement band (radius 0.6)", "toy: 50 % outside"]


def history():
    rows = [
        {"epoch": e, "split": s, "quantity": "accuracy", "modality": m, "value": e / 10 + k}
        for e in (2, 0, 1)
        for s in ("train", "validation")
        for k, m in enumerate(("audio", "image"))
    ]
    return pd.DataFrame(rows)


def test_training_curves_are_drawn_in_the_order_of_epochs():
    fig = plots.training_curves(history().query("split == 'validation'"), "accuracy")
    assert [list(line.get_xdata()) for line in lines(fig)] == [[0, 1, 2]] * 2
    assert list(lines(fig)[1].get_ydata()) == [1.0, 1.1, 1.2]
    assert legend_texts(fig) == ["audio", "image"]


def test_training_curves_name_split_where_there_are_several():
    assert "audio, train" in legend_texts(plots.training_curves(history(), "accuracy"))


def test_unknown_quantity_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'accurcy' is not in this history: choose one of accuracy"):
        plots.training_curves(history(), "accurcy")


def test_every_figure_draws_into_the_axes_it_is_given():
    fig, axes = plt.subplots(1, 2)
    pair = {"a": cloud(), "b": cloud(seed=1)}
    assert plots.embeddings_on_circle(pair, ax=axes[0]) is fig
    assert plots.drift_histogram({"p": (pair["a"], pair["b"])}, ax=axes[1]) is fig


def test_figures_do_not_depend_on_a_reader_s_matplotlibrc_or_backend(tmp_path):
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.family: No Such Font\naxes.facecolor: red\n"
    )
    code = "import matplotlib.pyplot as plt; from geomreg_mini import plots; plots.use_style(); "
    code += "plt.figure().gca().set_title('a_b'); plt.savefig('x.png'); print(plt.rcParams['axes.facecolor'])"
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path), "MPLBACKEND": "TkAgg", "PYTHONPATH": path}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "white\n", "")
