"""The live canvas: JavaScript's numbers are Python's, and a reader can turn, drag and slide it everywhere.

Debian's Chromium is driven as in test_browser; without it, only the Python side is tested. Screenshots are
left in build/screenshots/ to be looked at, and frame times are printed (pytest -s shows them).
"""

import base64
import html
import io
import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from geomreg_course import books, pages, student
from lab import sphere
from lab.film import at_rest
from lab.sphere import Sphere
from PIL import Image
from test_browser import (  # noqa: F401
    CHROMIUM,
    CONTRAST,
    ROOT,
    SCREENSHOTS,
    WIDE,
    has_front_end,
    lab_settings,
    open_sidebar,
    page,
    restart_kernel,
    served,
    sync_api,
)

from geomreg_mini import GeometryRegularizer, plots
from geomreg_mini.geometry import effective_rank, mean_cosine, modality_gap, paired_distances, uniformity

SOURCE = Path(sphere.__file__).with_name("sphere.js")
SLIDERS = ("dispersion weight", "anchoring weight", "radius of the band", "temperature")
browser = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium"),
]


def in_browser(test):
    for mark in browser:
        test = mark(test)
    return test


def embeddings(modalities=2, count=12, dimensions=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = modalities, count, dimensions
    return dict(zip("abc", torch.randn(shape, generator=generator, dtype=torch.float64), strict=False))


# ------------------------------------------------------------ Python


def test_values_and_points_are_those_that_were_given():
    z = embeddings()
    view = Sphere(z, [f"class {k % 3}" for k in range(12)], radius=0.3, temperature=0.2)
    assert (view.radius, view.temperature) == (0.3, 0.2)
    assert view.dispersion_weight == GeometryRegularizer().dispersion_weight
    assert view.labels == [0, 1, 2] * 4
    for m, x in z.items():
        torch.testing.assert_close(view.embeddings[m], (x / x.norm(dim=1, keepdim=True)).float())
    view.radius = 0.8
    expected = GeometryRegularizer(radius=0.8, temperature=0.2)(z).total.item()
    assert view.regularizer(view.embeddings).total.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("seed", "radii"), [(0, (0.0, 0.6, 2.0)), (1, (0.6,))])
def test_both_forces_end_as_notebook_05_says(seed, radii):
    noise = torch.Generator().manual_seed(seed)
    places = {"audio": [1.0, 0.0, 0.0], "image": [-0.6, 0.8, 0.0]}
    crowds = {m: torch.tensor(at) + 0.3 * torch.randn(60, 3, generator=noise) for m, at in places.items()}
    alone = at_rest(crowds, dispersion_weight=0.0, radius=0.6)
    assert (alone["audio"] - alone["image"]).norm(dim=1).max() < 0.61
    assert all(mean_cosine(x) > 0.6 for x in alone.values())
    for radius in radii:
        z = at_rest(crowds, dispersion_weight=0.3, radius=radius)
        out, distances = GeometryRegularizer(radius=radius)(z), (z["audio"] - z["image"]).norm(dim=1)
        assert all(value.item() == pytest.approx(-2.2, abs=0.02) for value in out.dispersion.values())
        assert all(mean_cosine(x) < 0.01 for x in z.values())
        assert distances.max() < radius + 0.01
        assert (distances.max() > 1.5) == (radius == 2)


def test_a_pair_rests_at_the_edge_of_its_band_as_notebook_04_says():
    """Both have moved equally far: with one at 0 and the other at 110 degrees, the middle stays at 55."""
    angles = torch.tensor([0.0, 110.0]).deg2rad()
    a, b = torch.stack([angles.cos(), angles.sin()], dim=1)[:, None]
    z = at_rest({"a": a, "b": b}, dispersion_weight=0.0, anchoring_weight=1.0, radius=0.6)
    assert (z["a"] - z["b"]).norm().item() == pytest.approx(0.6, abs=0.01)
    middle = torch.atan2(*(z["a"] + z["b"])[0].flip(0)).rad2deg().item()
    assert middle == pytest.approx(55, abs=0.1)
    assert (a - b).norm().item() == pytest.approx(1.64, abs=0.005)


def rings(**degrees):
    angles = {m: torch.tensor(values, dtype=torch.float64).deg2rad() for m, values in degrees.items()}
    return {m: torch.stack([a.cos(), a.sin()], dim=1) for m, a in angles.items()}


EVEN = [0.0, 72, 144, 216, 288]


@pytest.mark.parametrize(
    ("values", "moving"),
    [
        ({"dispersion_weight": 0.0, "anchoring_weight": 1.0}, {("image", 0)}),
        ({"dispersion_weight": 1.0, "anchoring_weight": 0.0}, {("audio", k) for k in range(1, 5)}),
    ],
)
def test_one_force_moves_the_partner_and_the_other_the_own_ring_as_notebook_00_says(values, moving):
    z = rings(audio=EVEN, image=[angle + 20 for angle in EVEN])
    force = {m: u.requires_grad_() for m, u in z.items()}
    GeometryRegularizer(**values)(force).total.backward()
    assert all(at_rest_on_the_ring(u).max() < 1e-6 for u in force.values())
    z = {m: u.detach() for m, u in z.items()}
    z["audio"][0] = rings(a=[60.0])["a"][0]  # the hand
    z = {m: u.requires_grad_() for m, u in z.items()}
    GeometryRegularizer(**values)(z).total.backward()
    pulled = {(m, k) for m, u in z.items() for k in range(5) if at_rest_on_the_ring(u)[k] > 1e-3}
    assert pulled - {("audio", 0)} == moving


def at_rest_on_the_ring(u):
    """The size of each sample's force along the ring."""
    along = u.grad - (u.grad * u.detach()).sum(dim=1, keepdim=True) * u.detach()
    return along.norm(dim=1)


@pytest.mark.parametrize("temperature", [0.02, 0.5, 20.0])
def test_a_hot_term_leaves_close_pairs_and_clumps_as_notebook_03_says(temperature):
    clumps = [-9, -3, 4, 8, 171, 178, 182, 189]
    z = rings(a=[-20, 0, 18, 33, 60, 110, 190, 195], b=clumps)
    flow = {"dispersion_weight": 1.0, "anchoring_weight": 0.0, "temperature": temperature}
    # As in the canvas, whose rate falls where a step overshoots: ten seconds of frames when hot.
    z = at_rest(z, rate=min(0.04, 0.05 * temperature**1.5), steps=600 if temperature == 20 else 1500, **flow)
    gaps = {m: around(u) for m, u in z.items()}
    assert all(mean_cosine(u) == pytest.approx(-1 / 7, abs=0.03) for u in z.values())
    if temperature == 20:
        assert gaps["a"].min() < 5 and gaps["b"].max() > 150
    else:
        assert all(g.min() > 44.5 and g.max() < 45.5 for g in gaps.values())


def around(u):
    """Angles from neighbor to neighbor on a ring, in degrees."""
    angles = torch.atan2(u[:, 1], u[:, 0]).rad2deg().sort().values
    return torch.diff(torch.cat([angles, angles[:1] + 360]))


def test_two_places_fool_mean_cosine_and_gap_and_half_a_turn_fools_every_single_cloud_as_notebook_02_says():
    even, poles = (rings(a=angles)["a"] for angles in (range(0, 360, 60), [-8, 0, 8, 172, 180, 188]))
    assert effective_rank(even) == pytest.approx(2) and effective_rank(poles) < 1.6
    assert mean_cosine(even) == pytest.approx(-0.2) == mean_cosine(poles)  # no six points have less
    assert uniformity(even) == pytest.approx(-2.90, abs=0.005)
    assert uniformity(poles) == pytest.approx(-1, abs=0.05)
    assert modality_gap(even, -even) == pytest.approx(0, abs=1e-12)
    assert paired_distances(even, -even).tolist() == pytest.approx([2] * 6)
    for measure in (effective_rank, mean_cosine, uniformity):
        assert measure(-even) == pytest.approx(measure(even))


def test_what_the_browser_sends_is_what_python_reads():
    view, moved = Sphere(embeddings(count=4)), torch.eye(3).repeat(4, 1)[:8].contiguous()
    view.set_state({"points": memoryview(moved.numpy().tobytes()), "radius": 1.25})
    torch.testing.assert_close(torch.cat([*view.embeddings.values()]), moved)
    assert view.radius == 1.25
    assert view.first == Sphere(embeddings(count=4)).points != view.points


@pytest.mark.parametrize(
    ("z", "values", "sentence"),
    [
        (
            embeddings(dimensions=4),
            {},
            r"embeddings has the shapes .*12, 4.*: give modality -> \(N, 2\) or \(N, 3\)",
        ),
        (embeddings(count=501), {}, "501, 3"),
        ({**embeddings(), "c": torch.ones(3, 3)}, {}, r"\(3, 3\)"),
        ({}, {}, "shapes {}"),
        (embeddings(count=0), {}, "1 <= N <= 500"),
        (dict.fromkeys("abcde", torch.ones(3, 2)), {}, r"5 modalities \(N, 2\): give at most 4"),
        (embeddings(), {"controls": ["radius", "form"]}, "form cannot be drawn"),
        (embeddings(), {"balance": "pareto"}, "balance cannot be drawn: give only dispersion_weight"),
        (embeddings(), {"power": 1, "form": "rbf"}, "power, form cannot be drawn"),
        (embeddings(), {"labels": [0, 1]}, r"labels has the shape \(2,\): give one per sample, 12 in all"),
        (embeddings(), {"radius": 3}, "radius"),
        (embeddings(), {"temperature": 0}, "temperature"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(z, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sphere(z, **values)


def test_a_value_out_of_range_is_refused_later_too_and_the_old_one_stays():
    view = Sphere(embeddings())
    for name, value in {"radius": 3, "temperature": 0, "anchoring_weight": -1}.items():
        before = getattr(view, name)
        with pytest.raises(ValueError, match=name):
            setattr(view, name, value)
        assert getattr(view, name) == before
    view.radius = 2
    assert view.regularizer.radius == 2


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_viewer_without_a_front_end_gets_a_picture_with_alt_text(dimensions):
    view = Sphere(embeddings(dimensions=dimensions))
    data, metadata = view._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and books.WIDGET_VIEW in data
    assert len(data["image/png"]) < 20_000
    picture = np.asarray(Image.open(io.BytesIO(data["image/png"])).convert("RGB")).astype(int)
    for color in (plots.VERMILION, plots.BLUE):  # a small palette keeps the colors of lines and points
        exact = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
        assert (abs(picture - exact).max(axis=2) < 24).sum() > 5, color
    total = GeometryRegularizer()(embeddings(dimensions=dimensions)).total.item()
    assert f"Total {total:.3f}" in metadata["image/png"]["alt"] == data["text/plain"]


def test_without_anywidget_the_picture_is_left():
    code = (
        "import sys; sys.modules['anywidget'] = None; import torch; from lab.sphere import Sphere;"
        "view = Sphere({'a': torch.eye(3), 'b': torch.eye(3)}, radius=0.2);"
        "print(view.radius, sorted(view._repr_mimebundle_()[0]))"
    )
    options = {"capture_output": True, "text": True, "check": True, "cwd": ROOT / "notebooks"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, **options)
    assert done.stdout.strip() == f"0.2 {['%s', 'image/png', 'text/plain']}" % sphere.STATE


def test_a_committed_notebook_and_its_page_keep_the_picture_and_not_the_dead_widget():
    from geomreg_course import storing

    view = {books.WIDGET_VIEW: {"model_id": "gone"}, "text/plain": "a sphere"}
    picture = {**view, "image/png": base64.b64encode(b"png").decode()}
    cell = nbformat.v4.new_code_cell("view", execution_count=1)
    alt = {"image/png": {"alt": "points on a sphere"}}
    cell.outputs = [
        nbformat.v4.new_output("display_data", view),
        nbformat.v4.new_output("display_data", picture, metadata=alt),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    (kept,) = storing.committed_form(notebook).cells[0].outputs
    assert set(kept.data) == {"text/plain", "image/png"} and kept.metadata == alt
    html = pages.body(notebook)
    assert 'alt="points on a sphere"' in html and html.count("open the notebook in Jupyter") == 1


def test_students_and_the_site_get_the_same_file(tmp_path):
    (tmp_path / "out").mkdir()
    student.write_student_edition(books.select([], ROOT / "notebooks"), tmp_path / "out")
    for path in (SOURCE, SOURCE.with_suffix(".css"), SOURCE.with_name("__init__.py")):
        assert (tmp_path / "out" / path.relative_to(ROOT)).read_text() == path.read_text()


# ------------------------------------------------------------ the same numbers in the browser

CASES = [
    {
        "modalities": 2,
        "dimensions": 3,
        "dispersion_weight": 0.1,
        "anchoring_weight": 0.5,
        "radius": 0.6,
        "temperature": 0.5,
    },
    {
        "modalities": 2,
        "dimensions": 2,
        "dispersion_weight": 1.0,
        "anchoring_weight": 0.3,
        "radius": 0.25,
        "temperature": 0.05,
    },
    {
        "modalities": 3,
        "dimensions": 3,
        "dispersion_weight": 0.7,
        "anchoring_weight": 0.9,
        "radius": 0.0,
        "temperature": 2.0,
    },
    {
        "modalities": 3,
        "dimensions": 2,
        "dispersion_weight": 0.0,
        "anchoring_weight": 1.0,
        "radius": 1.2,
        "temperature": 0.5,
    },
    {
        "modalities": 2,
        "dimensions": 3,
        "dispersion_weight": 0.4,
        "anchoring_weight": 0.0,
        "radius": 2.0,
        "temperature": 0.002,
    },
    {
        "modalities": 2,
        "dimensions": 2,
        "dispersion_weight": 1.0,
        "anchoring_weight": 0.0,
        "radius": 2.0,
        "temperature": 20.0,
    },
]
NUMBERS = """([given, modalities, count, dimensions, values]) => {
    const g = geometry(modalities, count, dimensions), list = (x) => Array.from(x);
    load(g, given); evaluate(g, values); diagnose(g);
    return {total: g.total, dispersion: list(g.dispersion), anchoring: list(g.anchoring), outside: g.outside,
            gradient: list(g.gradient), rank: list(g.rank), cosine: list(g.cosine), apart: list(g.apart)};
}"""


@pytest.fixture
def module(page):  # noqa: F811
    """A page whose global scope has what sphere.js exports."""
    names = "geometry, load, evaluate, step, diagnose, mount, store, CLASSES, INSIDE, OUTSIDE, BAND, AT_EDGE"
    page.goto("about:blank")
    page.set_content(
        f'<script type="module">{SOURCE.read_text()}\nObject.assign(window, {{ {names} }});</script>'
    )
    return page


def in_javascript(module, z, values):
    rows = torch.stack([*z.values()])
    return module.evaluate(NUMBERS, [rows.flatten().tolist(), *rows.shape, values])


@in_browser
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("count", [2, 40])
def test_value_and_gradient_are_those_of_python(module, case, count):
    values = {name: value for name, value in case.items() if name not in ("modalities", "dimensions")}
    z = embeddings(case["modalities"], count, case["dimensions"])
    z["b"][0] = 3 * z["a"][0]  # a pair that agrees
    z["a"][-1] = 2 * z["a"][0]  # and two samples in one place
    units = {m: torch.nn.functional.normalize(x, dim=1).requires_grad_() for m, x in z.items()}
    regularizer = GeometryRegularizer(**values)
    out = regularizer(units)
    out.total.backward()
    found = in_javascript(module, z, values)
    assert found["total"] == pytest.approx(out.total.item(), abs=1e-5)
    gradient = torch.stack([u.grad for u in units.values()]).flatten().tolist()
    assert found["gradient"] == pytest.approx(gradient, abs=1e-5)
    everything = GeometryRegularizer(**{**values, "dispersion_weight": 1, "anchoring_weight": 1})(units)
    for term in ("dispersion", "anchoring"):
        assert found[term] == pytest.approx([x.item() for x in getattr(everything, term).values()], abs=1e-5)
    gaps = torch.stack([(a - b).norm(dim=1) for a, b in itertools.combinations(units.values(), 2)])
    active = (gaps > case["radius"] + module.evaluate("AT_EDGE")).double().mean().item()
    assert found["outside"] == pytest.approx(active, abs=1e-6)
    if count > 2:
        assert found["rank"] == pytest.approx([effective_rank(x) for x in z.values()], abs=1e-5)
        assert found["cosine"] == pytest.approx([mean_cosine(x) for x in z.values()], abs=1e-5)
        gaps = [modality_gap(a, b) for a, b in itertools.combinations(z.values(), 2)]
        assert found["apart"] == pytest.approx(gaps, abs=1e-5)


@in_browser
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_pair_that_all_but_rests_counts_as_inside_and_keeps_its_value(module, share):
    excess = share * module.evaluate("AT_EDGE")
    away = 2 * math.asin((0.6 + excess) / 2)
    z = {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[math.cos(away), math.sin(away)]])}
    found = in_javascript(module, z, CASES[0])
    assert found["anchoring"] == pytest.approx([excess**2], rel=1e-3) and any(found["gradient"])
    assert found["outside"] == (share > 1)


@in_browser
def test_in_a_second_display_reset_returns_to_the_first_points(module):
    """Also after a shuffle, which the first display saw."""
    for press in ("", "Shuffle"):
        first, moved, back = module.evaluate(
            """([points, values, press]) => {
                const bytes = () => new DataView(new Float32Array(points).buffer);
                const model = store({...values, modalities: ["a", "b"], labels: [0, 0, 0, 0], controls: [],
                                     playing: false, points: bytes(), first: bytes()});
                const show = () => {
                    const element = document.body.appendChild(document.createElement("div"));
                    mount(element, model);
                    const buttons = Array.from(element.querySelectorAll("button"));
                    return {click: (name) => buttons.find((b) => b.textContent === name).click(),
                            points: () => Array.from(element.firstChild.sphere.geometry.u)};
                };
                const one = show();
                if (press) one.click(press);
                const first = one.points();
                one.click("Step");
                const two = show(), moved = two.points();
                two.click("Reset");
                return [first, moved, two.points()];
            }""",
            [torch.stack([*embeddings(count=4).values()]).flatten().tolist(), CASES[0], press],
        )
        assert moved != first and back == pytest.approx(first, abs=1e-6)


@in_browser
def test_samples_in_one_place_have_no_rank_and_feel_no_force(module):
    z = {m: torch.tensor([[0.0, 0.6, 0.8]]).repeat(5, 1) for m in "ab"}
    found = in_javascript(module, z, CASES[0])
    assert found["rank"] == [1, 1] and found["total"] == 0 and not any(found["gradient"])


@in_browser
def test_small_steps_lower_the_total_as_much_as_the_gradient_says(module):
    z = embeddings(count=30)
    found = module.evaluate(
        """([given, values]) => {
            const g = geometry(2, 30, 3);
            load(g, given); evaluate(g, values);
            const before = g.total, square = g.gradient.reduce((sum, x) => sum + x * x, 0);
            step(g, 1e-6); evaluate(g, values);
            return [(g.total - before) / 1e-6 / 30, -square];
        }""",
        [torch.stack([*z.values()]).flatten().tolist(), CASES[0]],
    )
    assert found[0] == pytest.approx(found[1], rel=1e-3) and found[1] < 0


@in_browser
def test_colors_are_those_of_the_figures(module):
    colors = module.evaluate("({CLASSES, INSIDE, OUTSIDE, BAND})")
    assert colors["CLASSES"][:3] == plots.COLORS[:3] and set(colors["CLASSES"]) < set(plots.COLORS)
    assert (colors["INSIDE"], colors["OUTSIDE"]) == (plots.INSIDE, plots.VERMILION)
    assert colors["BAND"] == plots.GREEN and plots.VERMILION not in colors["CLASSES"]


# ------------------------------------------------------------ the site

STATE = """() => {
    const {geometry, turn, values} = document.querySelector(".geometry-sphere").sphere;
    return {u: Array.from(geometry.u), turn: Array.from(turn), total: geometry.total, values: {...values}};
}"""
FRAME = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def settled(page):  # noqa: F811
    page.evaluate(FRAME)
    return page.evaluate(STATE)


@pytest.fixture(scope="module")
def front(page, tmp_path_factory):  # noqa: F811
    """The address of the site's front page."""
    out = tmp_path_factory.mktemp("site")
    pages.write_site(books.select(["00", "11"], ROOT / "notebooks"), out)  # 11: a long word in the table
    return (out / "index.html").as_uri()


def changed(text, **values):
    """The front page with other values in the model of its figure."""
    return text.replace(pages.attribute(pages.FRONT), pages.attribute({**pages.FRONT, **values}))


@pytest.fixture
def site(page, front):  # noqa: F811
    asked, wrong = [], []

    def asked_for(request):
        asked.append(request.url)

    def went_wrong(error):
        wrong.append(str(error))

    page.on("request", asked_for)
    page.on("pageerror", went_wrong)
    page.emulate_media(color_scheme="light")
    page.goto(front)
    yield page
    assert wrong == [] and set(asked) == {front}
    page.remove_listener("request", asked_for)
    page.remove_listener("pageerror", went_wrong)
    page.goto("about:blank")


@in_browser
def test_arrow_keys_turn_the_picture_and_with_shift_move_the_marked_point(site):
    before = settled(site)
    canvas = site.get_by_role("application")
    canvas.press("ArrowRight")
    after = settled(site)
    assert after["turn"] != before["turn"] and after["u"] == before["u"]
    canvas.press("n")
    canvas.press("m")
    canvas.press("Shift+ArrowRight")
    moved = settled(site)
    changed = [k for k, (x, y) in enumerate(zip(moved["u"], after["u"], strict=True)) if x != y]
    assert moved["turn"] == after["turn"] and {k // 3 for k in changed} == {
        90 + 1
    }  # second sample of the second
    assert moved["total"] != after["total"]  # the forces answer at once


@in_browser
def test_a_dragged_point_follows_the_pointer_and_the_background_turns(site):
    box, before = site.get_by_role("application").bounding_box(), settled(site)
    turn, u = before["turn"], before["u"][:3]
    R, centre = box["width"] / 2 - 14, [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    x, y = (sum(turn[3 * k + j] * u[j] for j in range(3)) for k in range(2))
    site.mouse.move(centre[0] + R * x, centre[1] - R * y)
    site.mouse.down()
    site.mouse.move(centre[0] + 0.3 * R, centre[1] - 0.2 * R, steps=4)
    site.mouse.up()
    after = settled(site)
    at = [sum(after["turn"][3 * k + j] * after["u"][j] for j in range(3)) for k in range(2)]
    assert at == pytest.approx([0.3, 0.2], abs=0.02) and after["turn"] == turn
    assert sum(value**2 for value in after["u"][:3]) == pytest.approx(1)
    site.mouse.move(box["x"] + 3, box["y"] + 3)
    site.mouse.down()
    site.mouse.move(box["x"] + 60, box["y"] + 3, steps=3)
    site.mouse.up()
    turned = settled(site)
    assert turned["turn"] != turn and turned["u"] == after["u"]


def touch(page, *way):  # noqa: F811
    """Put one finger down, move it along the way and lift it."""
    session = page.context.new_cdp_session(page)
    for kind, points in [("touchStart", way[:1]), *(("touchMove", [at]) for at in way[1:]), ("touchEnd", [])]:
        places = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    session.detach()


@in_browser
def test_a_finger_drags_a_point_and_turns_the_picture_by_the_way_it_goes(site):
    box, before = site.get_by_role("application").bounding_box(), settled(site)
    R, x0, y0 = box["width"] / 2 - 14, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    x, y = (sum(before["turn"][3 * k + j] * before["u"][j] for j in range(3)) for k in range(2))
    touch(site, (x0 + R * x, y0 - R * y), (x0 + 0.2 * R, y0), (x0 + 0.3 * R, y0 - 0.2 * R))
    after = settled(site)
    at = [sum(after["turn"][3 * k + j] * after["u"][j] for j in range(3)) for k in range(2)]
    assert at == pytest.approx([0.3, 0.2], abs=0.02) and after["turn"] == before["turn"]
    edge = box["x"] + 4, box["y"] + 4
    touch(site, edge, (edge[0] + 30, edge[1]), (edge[0] + 60, edge[1]))
    turned = settled(site)
    assert turned["u"] == after["u"]
    cosine = sum(a * b for a, b in zip(turned["turn"][:3], after["turn"][:3], strict=True))
    assert math.acos(cosine) == pytest.approx(60 / R, abs=0.02)


@in_browser
def test_play_lowers_the_total_pause_rests_and_reset_returns(site):
    before = settled(site)
    site.get_by_role("button", name="Play").click()
    site.wait_for_function(f"({STATE})().total < {before['total']} - 0.1")
    site.get_by_role("button", name="Pause").click()
    rested = settled(site)
    assert rested["u"] != before["u"] and settled(site) == rested
    site.get_by_role("button", name="Step").click()
    stepped = settled(site)
    assert stepped["u"] != rested["u"] and stepped["total"] <= rested["total"]
    site.get_by_role("button", name="Reset").click()
    assert settled(site)["u"] == before["u"]
    for name in ("Reset", "Shuffle", "Reset"):  # each pauses, and the last returns to what was shuffled
        site.get_by_role("button", name="Play").click()
        site.wait_for_function(f"({STATE})().total != {settled(site)['total']}")
        site.get_by_role("button", name=name).click()
        after = settled(site)
        assert site.get_by_role("button", name="Play").is_visible() and settled(site) == after
        assert (after["u"] == before["u"]) == (name == "Reset")
        before = after


def drawn(page, color):  # noqa: F811
    """How many pixels of the scene have this color, like "#D55E00"."""
    return page.locator(".scene").evaluate(
        """(canvas, color) => {
            const x = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let at = 0; at < x.length; at += 4)
                count += x[at + 3] > 250 && [1, 3, 5].every((k) =>
                    Math.abs(parseInt(color.slice(k, k + 2), 16) - x[at + (k - 1) / 2]) < 4);
            return count;
        }""",
        color,
    )


@in_browser
def test_pairs_at_rest_are_gray_and_the_readings_say_how_far_apart_they_are(site):
    site.get_by_role("slider", name="Dispersion weight").press("Home")
    settled(site)
    assert drawn(site, plots.VERMILION) > 50
    site.get_by_role("button", name="Play").click()
    site.wait_for_function("document.querySelector('.geometry-sphere').sphere.geometry.outside === 0")
    site.get_by_role("button", name="Pause").click()
    settled(site)
    assert drawn(site, plots.VERMILION) == 0
    reading = site.locator(".geometry-sphere p").last.inner_text()
    cosine = site.evaluate("Array.from(document.querySelector('.geometry-sphere').sphere.geometry.cosine)")
    assert "Mean cosine: sound {:.2f}, picture {:.2f}. ".format(*cosine) in reading
    assert re.search(r"Distance of pairs: mean 0\.\d\d, largest 0\.60; 0\s% outside the band\.$", reading)


@in_browser
def test_each_slider_says_its_value_and_one_without_effect_says_so(site):
    radius = site.get_by_role("slider", name="Radius of the band")
    radius.press("ArrowLeft")
    assert radius.get_attribute("aria-valuetext") == "0.55 an angle of 32 degrees"
    assert settled(site)["values"]["radius"] == 0.55
    weight, temperature = (
        site.get_by_role("slider", name=name) for name in ("Dispersion weight", "Temperature")
    )
    weight.press("Home")
    assert "without effect" in temperature.get_attribute("aria-valuetext") and temperature.is_disabled()
    weight.press("End")
    assert temperature.get_attribute("aria-valuetext") == "0.50" and temperature.is_enabled()
    for key, text in {"End": "20.00", "Home": "0.020"}.items():
        temperature.press(key)
        assert temperature.get_attribute("aria-valuetext") == text
        assert settled(site)["values"]["temperature"] == pytest.approx(float(text))
    said = []
    for _ in range(8):
        temperature.press("ArrowRight")
        said.append(temperature.get_attribute("aria-valuetext"))
    assert len(set(said)) == 8  # each step is heard


@in_browser
def test_without_anchoring_the_radius_rests(front, page):  # noqa: F811
    text = page.goto(front).text()
    page.set_content(changed(text, controls=["anchoring_weight", "radius", "temperature"]))
    radius = page.get_by_role("slider", name="Radius of the band")
    assert radius.is_enabled()
    page.get_by_role("slider", name="Anchoring weight").press("Home")
    said = "0.60 (35°), without effect while the anchoring weight is 0"
    assert radius.get_attribute("aria-valuetext") == said and radius.is_disabled()
    page.goto("about:blank")


@in_browser
def test_shortcuts_pass_and_handled_keys_go_no_further(site):
    pressed = """(canvas, [key, held]) => {
        let bubbled = false;
        const event = new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...held});
        addEventListener("keydown", () => bubbled = true, {once: true});
        canvas.dispatchEvent(event);
        return [event.defaultPrevented, bubbled];
    }"""
    canvas, before = site.get_by_role("application"), settled(site)
    for held in ("ctrlKey", "metaKey", "altKey"):
        for key in ("n", "M", "ArrowLeft"):
            assert canvas.evaluate(pressed, [key, {held: True}]) == [False, True]
    assert settled(site) == before
    for key in ("n", "M", "ArrowLeft"):
        assert canvas.evaluate(pressed, [key, {}]) == [True, False]
    assert canvas.evaluate(pressed, ["x", {}]) == [False, True]


@in_browser
def test_only_the_main_button_grabs_and_a_hidden_figure_draws_on(site):
    box, before = site.get_by_role("application").bounding_box(), settled(site)
    site.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    site.mouse.down(button="right")
    site.mouse.move(box["x"] + 40, box["y"] + 40, steps=3)
    site.mouse.up(button="right")
    assert settled(site) == before
    site.locator(".geometry-sphere").evaluate("element => element.style.display = 'none'")
    site.get_by_role("button", name="Step", include_hidden=True).dispatch_event("click")
    assert settled(site)["total"] < before["total"]  # and `site` has seen no error


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 800, 1400])
def test_it_fits_and_is_readable(site, scheme, width):
    site.emulate_media(color_scheme=scheme)
    site.set_viewport_size({"width": width, "height": 1100})
    site.get_by_role("button", name="Play").click()
    site.wait_for_timeout(600)
    site.get_by_role("button", name="Pause").click()
    settled(site)
    site.screenshot(path=SCREENSHOTS / f"sphere_site_{scheme}_{width}.png", full_page=width == 400)
    assert site.evaluate("document.documentElement.scrollWidth") <= width
    assert min(site.evaluate(CONTRAST)) >= 4.5
    for box in (element.bounding_box() for element in site.locator(".geometry-sphere canvas").all()):
        assert 0 <= box["x"] and box["x"] + box["width"] <= width and box["height"] > 250
    assert min(one.bounding_box()["width"] for one in site.get_by_role("slider").all()) > 100
    site.set_viewport_size({"width": 1400, "height": 1000})


def swiped(page, *way):  # noqa: F811
    """How far the page scrolls after a swipe, whose first element is brought to the middle before."""
    before = page.evaluate("scrollY")
    touch(page, *way)
    page.wait_for_timeout(400)
    return page.evaluate("scrollY") - before


@in_browser
@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_upright_swipe_scrolls_past_a_ring_unless_it_starts_on_a_point(front, page, dimensions):  # noqa: F811
    page.set_viewport_size({"width": 400, "height": 700})
    page.set_content(changed(page.goto(front).text(), dimensions=dimensions))
    page.wait_for_function("document.querySelector('.geometry-sphere')?.sphere.frames > 0")
    page.evaluate("document.querySelector('.scene').scrollIntoView({block: 'center'})")
    before, box = settled(page), page.locator(".scene").bounding_box()
    R, x0, y0 = box["width"] / 2 - 14, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    turn, u = before["turn"], before["u"]
    x, y = (sum(turn[3 * k + j] * u[j] for j in range(dimensions)) for k in range(2))
    point = x0 + R * x, y0 - R * y
    assert swiped(page, point, *((point[0], point[1] - 20 * k) for k in range(1, 8))) == 0
    moved = settled(page)
    assert moved["u"] != u and moved["turn"] == turn
    corner = box["x"] + 3, box["y"] + box["height"] - 3
    scrolled = swiped(page, corner, *((corner[0], corner[1] - 20 * k) for k in range(1, 8)))
    after = settled(page)
    assert after["u"] == moved["u"] and (scrolled > 60) == (dimensions == 2)
    assert (after["turn"] != turn) == (dimensions == 3)
    page.set_viewport_size(WIDE)
    page.goto("about:blank")


DAMAGE = {
    "no JSON": lambda model: model[: len(model) // 2],
    "no labels": lambda model: model.replace("labels", "names"),
    "half the points": lambda model: model.replace("}", ', "points": "AAAAAAAAAAAAAAAA"}'),
    "no base64": lambda model: model.replace("}", ', "points": "?"}'),
}


@in_browser
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_model_keeps_its_picture_says_so_and_costs_no_other_figure(site, damage):
    def place(model):
        return f'<div data-sphere="{html.escape(model)}"><img alt="still"></div>'

    whole = json.dumps(pages.FRONT)
    site.set_content(
        pages.with_script(place(whole) + place(DAMAGE[damage](whole)) + place(whole), ROOT / "notebooks")
    )
    site.wait_for_function("document.querySelectorAll('.geometry-sphere').length === 2")
    broken = site.locator("[data-sphere]").nth(1)
    assert broken.get_by_role("img").count() == 1
    said = "This figure's data are damaged, so it does not move. Get the page again."
    assert broken.get_by_role("alert").inner_text() == said and site.get_by_role("alert").count() == 1
    assert site.evaluate("[...document.querySelectorAll('.geometry-sphere')].every(e => e.sphere.geometry)")


@in_browser
def test_three_hundred_samples_move_frame_by_frame(front, page):  # noqa: F811
    text = page.goto(front).text()
    page.set_content(changed(text, labels=[k % 3 for k in range(300)]))
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.geometry-sphere').sphere.frames > 240")
    times, gaps, before = page.evaluate(
        """async () => {
            const view = document.querySelector(".geometry-sphere").sphere, gaps = [];
            const total = view.geometry.total;
            let last = await new Promise(requestAnimationFrame);
            while (gaps.length < 120) {
                const now = await new Promise(requestAnimationFrame);
                gaps.push(now - last); last = now;
            }
            return [Array.from(view.times), gaps, total];
        }"""
    )
    middle, late = (sorted(x)[len(x) // 2] for x in (times, gaps)), sorted(times)[int(0.95 * len(times))]
    print(
        "\n300 samples, work per frame and time between frames, medians in ms:",
        *(f"{x:.1f}" for x in middle),
        f"; 95 %: {late:.1f}",
    )
    assert page.evaluate(STATE)["total"] < before
    page.goto("about:blank")


# ------------------------------------------------------------ points from a training

FED = """([u, modalities, count, dimensions, curves]) => {
    const points = new DataView(new Float32Array(u).buffer), first = points;
    const labels = Array.from({length: count}, (_, k) => k % 4), values = {radius: 0.6, temperature: 0.5};
    window.fed = store({modalities, labels, dimensions, controls: [], playing: false, points, first, curves,
        dispersion_weight: 0, anchoring_weight: 0, ...values});
    mount(document.body.appendChild(document.createElement("div")), window.fed);
}"""
ROWS = [[0.25, 0.25, 0.3], [0.5, 0.4, 0.3], [0.9, 0.7, 0.4]]
CURVES = {"names": ["fused", "a", "b"], "rows": ROWS, "length": 61, "caption": "Epoch 2 of 60."}


def fed(module, **more):
    module.add_style_tag(path=SOURCE.with_suffix(".css"))
    z = embeddings(count=40, dimensions=2)
    rows = torch.stack([*z.values()]).flatten().tolist()
    module.evaluate(FED, [rows, list(z), 40, 2, {**CURVES, **more}])
    module.evaluate(FRAME)


def test_a_training_sends_points_classes_and_accuracies():
    view = Sphere(embeddings(count=8), controls=[])
    new = embeddings(count=8, seed=1)
    view.show(new, [3, 1, 3, 1, 2, 2, 1, 3], CURVES)
    assert view.labels == [2, 0, 2, 0, 1, 1, 0, 2] and view.curves["rows"] == ROWS
    for m, x in new.items():
        torch.testing.assert_close(view.embeddings[m], (x / x.norm(dim=1, keepdim=True)).float())


@in_browser
def test_nothing_moves_the_points_of_a_training_but_new_ones(module):
    fed(module)
    before = settled(module)
    canvas = module.get_by_role("application")
    assert "Shift" not in canvas.get_attribute("aria-label")
    canvas.press("Shift+ArrowRight")
    box, turn, u = canvas.bounding_box(), before["turn"], before["u"]
    R, x0, y0 = box["width"] / 2 - 14, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    x, y = (turn[3 * k] * u[0] + turn[3 * k + 1] * u[1] for k in range(2))
    module.mouse.move(x0 + R * x, y0 - R * y)
    module.mouse.down()
    module.mouse.move(x0, y0, steps=3)
    module.mouse.up()
    assert settled(module)["u"] == u
    assert not module.get_by_role("button", name="Shuffle").is_visible()
    moved = torch.stack([*embeddings(count=40, dimensions=2, seed=2).values()])
    module.evaluate(
        "u => fed.set('points', new DataView(new Float32Array(u).buffer))", moved.flatten().tolist()
    )
    expected = torch.nn.functional.normalize(moved, dim=2).flatten().tolist()
    assert settled(module)["u"] == pytest.approx(expected, abs=1e-6)


@in_browser
def test_accuracies_are_drawn_and_said_and_a_range_is_a_cloud(module):
    strips = module.get_by_role("img")
    inked = """(canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
        .reduce((sum, value, at) => sum + (at % 4 === 3 && value > 0), 0)"""
    painted = []
    for more in (
        {},
        {"rows": ROWS * 20},
        {"rows": ROWS * 20, "low": [[0.2] * 3] * 60, "high": [[0.95] * 3] * 60},
    ):
        module.evaluate("document.body.replaceChildren()")
        fed(module, **more)
        painted.append(strips.evaluate(inked))
        words = module.locator(".geometry-sphere p").last
        assert words.inner_text().startswith("Epoch 2 of 60. Effective rank (1 to 2): ")
        assert words.get_attribute("aria-live") == "off"  # sixty a second would drown a screen reader
        assert "accuracies over epochs" in strips.get_attribute("aria-label")
    assert painted == sorted(set(painted))


# ------------------------------------------------------------ notebooks

CELL = """\
import sys
sys.path[:0] = {folders!r}
import torch
from ipywidgets import HTML
from lab.sphere import Sphere

torch.manual_seed(0)
z = {{"sound": torch.randn(40, {dimensions}), "picture": torch.randn(40, {dimensions})}}
view = Sphere(z, torch.arange(40) % 3)
seen = HTML("Python waits")

def look(change):
    new = change["new"] if change["name"] != "points" else view.embeddings["sound"][0].tolist()
    seen.value = f"Python sees {{change['name']}} {{new}}"

view.observe(look, names=["radius", "points"])
display(view, seen)
"""


def small_notebook(path, dimensions):
    folders = [str(ROOT / "notebooks"), str(ROOT)]
    cells = [nbformat.v4.new_code_cell(CELL.format(folders=folders, dimensions=dimensions))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


def use(page, dimensions):  # noqa: F811
    """What a reader does; Python sees the slider and where the points came to rest."""
    expect = sync_api.expect
    expect(page.get_by_text("Python waits")).to_be_visible()
    page.get_by_role("slider", name="Radius of the band").press("ArrowRight")
    expect(page.get_by_text("Python sees radius 0.65")).to_be_visible()
    assert page.evaluate(STATE)["values"]["radius"] == 0.65
    turn = settled(page)["turn"]
    page.get_by_role("application").press("ArrowRight")
    assert settled(page)["turn"] != turn
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(800)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Python sees points")).to_be_visible()
    page.wait_for_timeout(300)
    words = page.get_by_text("Python sees points").inner_text()
    seen = [float(x) for x in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", words)]
    assert seen == pytest.approx(page.evaluate(STATE)["u"][:dimensions], abs=1e-6)


def mouse(page, *way):  # noqa: F811
    """Press the main button, move along the way and release it."""
    page.mouse.move(*way[0])
    page.mouse.down()
    for at in way[1:]:
        page.mouse.move(*at, steps=3)
    page.mouse.up()


def use_by_hand(page, dimensions):  # noqa: F811
    """Mouse and finger move the first sample alone; on the background they turn the picture."""
    page.locator(".scene").evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(300)
    box = page.locator(".scene").bounding_box()
    R, centre = box["width"] / 2 - 14, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for move, goal in ((mouse, (0.3, 0.4)), (touch, (-0.2, 0.5))):
        before = settled(page)
        u, turn = before["u"], before["turn"]
        at = [sum(turn[3 * k + j] * u[j] for j in range(dimensions)) for k in range(2)]
        ends = [(centre[0] + R * x, centre[1] - R * y) for x, y in (at, goal)]
        move(page, *ends)
        moved = settled(page)
        at = [sum(turn[3 * k + j] * moved["u"][j] for j in range(dimensions)) for k in range(2)]
        length = math.hypot(*goal) if dimensions == 2 else 1  # on a ring, the direction counts
        assert at == pytest.approx([x / length for x in goal], abs=0.03)
        assert moved["u"][dimensions:] == u[dimensions:] and moved["turn"] == turn
        move(page, (box["x"] + 3, box["y"] + 3), (box["x"] + 40, box["y"] + 3))
        turned = settled(page)
        assert turned["turn"] != turn and turned["u"] == moved["u"]


def pictures(page, name):  # noqa: F811
    """Screenshots of two widths; nothing is cut off, and text is readable."""
    for width in (1400, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(400)
        page.locator(".geometry-sphere").evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(300)
        page.screenshot(path=SCREENSHOTS / f"sphere_{name}_{width}.png")
        for box in (canvas.bounding_box() for canvas in page.locator(".geometry-sphere canvas").all()):
            assert 0 <= box["x"] and box["x"] + box["width"] <= width and box["width"] > 150
        assert min(page.evaluate(CONTRAST)) >= 4.5
    page.set_viewport_size(WIDE)


@in_browser
@has_front_end
def test_in_jupyterlab(page, tmp_path):  # noqa: F811
    small_notebook(tmp_path / "sphere.ipynb", 3)
    lab_settings(tmp_path)
    command = ["jupyterlab", "--IdentityProvider.token=", "--allow-root", f"--notebook-dir={tmp_path}"]
    with served(command, tmp_path, "api") as address:
        page.goto(f"{address}/doc/tree/sphere.ipynb")
        sync_api.expect(page.get_by_text("| Idle")).to_be_visible()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).last.click()
        use(page, 3)
        use_by_hand(page, 3)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            light = str(scheme == "light").lower()
            sync_api.expect(page.locator("body")).to_have_attribute("data-jp-theme-light", light)
            pictures(page, f"jupyterlab_{scheme}")
        open_sidebar(page)
        pictures(page, "jupyterlab_sidebar")
        alert = page.get_by_role("alert").filter(has_text="This figure has lost its kernel")
        assert not alert.is_visible()
        restart_kernel(page)
        sync_api.expect(alert).to_be_visible()
        before = settled(page)["u"]
        page.locator(".scene").press("Shift+ArrowRight")
        assert settled(page)["u"] != before  # the figure itself goes on
        page.screenshot(path=SCREENSHOTS / "sphere_jupyterlab_restarted.png")
        page.goto("about:blank")


@in_browser
@has_front_end
def test_as_a_page_of_voila(page, tmp_path):  # noqa: F811
    small_notebook(tmp_path / "app.ipynb", 2)
    with served(["voila", "app.ipynb", "--Voila.ip=127.0.0.1"], tmp_path, "voila/static/voila.js") as address:
        page.goto(address)
        use(page, 2)
        use_by_hand(page, 2)
        pictures(page, "voila_light")
        page.goto(f"{address}/?theme=dark")
        page.wait_for_function("document.querySelector('.geometry-sphere')?.sphere.frames > 0")
        pictures(page, "voila_dark")
        page.goto("about:blank")
