"""What a lecturer relies on: every notebook has a section, timetables add up, keys are unique and right."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from geomreg_mini import GeometryRegularizer, anchoring, dispersion
from geomreg_mini.data import load
from geomreg_mini.geometry import drift_summary, effective_rank, mean_cosine
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig, fit

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FOLDER = NOTEBOOKS / "instructor"
GUIDE, TEST, PROJECTS = (
    (FOLDER / f"{name}.md").read_text() for name in ("guide", "concept_test", "projects")
)
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def parts(text, marks):
    """heading -> text below it, for headings of just this level."""
    found = re.split(rf"^{marks} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def tables(text):
    """Each table as a list of rows of cells, head first and the line of dashes left out."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [
        [[cell.strip() for cell in row] for row in table if set("".join(row)) - set("-: ")] for table in rows
    ]


# The guide

SECTIONS = {
    number: body
    for heading, body in parts(parts(GUIDE, "##")["The notebooks"], "###").items()
    for number in [int(heading.split(" ")[0])]
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_notebook_has_a_section_whose_timing_adds_up_to_what_the_notebook_says(path):
    number = int(path.stem[:2])
    assert path.name in SECTIONS[number], "link the notebook in its section"
    (line,) = re.findall(r"^\*\*Timing\.\*\* (.+)$", SECTIONS[number], re.MULTILINE)
    *steps, total = [int(minutes) for minutes in re.findall(r"(\d+) min", line)]
    assert sum(steps) == total
    stated = json.loads(path.read_text())["metadata"]["course"]["minutes"]
    assert total == stated, "the guide and the notebook's metadata disagree: change the one that is wrong"


@pytest.mark.parametrize("number", sorted(SECTIONS))
def test_every_section_says_aims_misconceptions_discussion_and_what_to_watch_for(number):
    for part in ("Aims", "Timing", "Misconceptions", "Discuss", "Watch"):
        assert f"**{part}.**" in SECTIONS[number], part
    questions = SECTIONS[number].split("**Discuss.**")[1].split("**Watch.**")[0]
    assert questions.count("?*") == questions.count("\n- *") >= 2, "each question is answered after it"


def test_timetables_add_up():
    timed = [table for table in tables(GUIDE) if table[-1][0] == "Total"]
    assert len(timed) >= 3, "one class, one week, one module"
    for head, *rows, total in timed:
        for column, name in enumerate(head):
            if "min" in name:
                assert sum(int(row[column] or 0) for row in rows) == int(total[column]), (head, name)


def test_a_class_has_90_minutes():
    one_class, week, module = (table for table in tables(GUIDE) if table[-1][0] == "Total")
    assert one_class[-1][one_class[0].index("min")] == "90"
    for (head, *rows, _total), key in ((week, "day"), (module, "class")):
        classes = {row[head.index(key)] for row in rows}
        for one in classes:
            blocks = [row[head.index("class min")] for row in rows if row[head.index(key)] == one]
            assert sum(int(minutes or 0) for minutes in blocks) == 90, (key, one)


def test_the_rubric_has_100_points():
    rubric = next(table for table in tables(PROJECTS) if table[0][0] == "criterion")
    *rows, total = [[int(re.match(r"\d+", cell)[0]) for cell in row[1:]] for row in rubric[1:]]
    assert [sum(column) for column in zip(*rows, strict=True)] == total
    assert total[0] == 100
    assert all(row == sorted(row, reverse=True) and len(set(row)) == 4 for row in rows)


def test_there_are_five_project_ideas_that_say_what_is_expected_and_what_is_not_known():
    ideas = parts(parts(PROJECTS, "##")["Five ideas"], "###")
    assert len(ideas) == 5
    for heading, text in ideas.items():
        for part in ("Question.", "Start from", "Expected.", "Not known:", "Watch for"):
            assert f"**{part}**" in text, (heading, part)


RECORDS = Path(__file__).parents[2] / "results" / "ablations" / "joint"
PLAIN = "none_learning_rate-0.02"
BAND = "GeometryRegularizer_dispersion_weight-0.05_anchoring_weight-2.0_temperature-0.5_radius-{}"
METRICS = {
    "paired drift": ("paired_drift/audio-image", 1, 2),
    "mean cosine, image": ("mean_cosine/image", 1, 2),
    "fused": ("accuracy/fused", 100, 1),
    "image, read-out": ("accuracy/image", 100, 1),
    "image, k-NN probe": ("knn_probe/image", 100, 1),
}


@pytest.mark.parametrize(
    ("first_column", "seeds", "files"),
    [
        ("run", 5, [PLAIN, BAND.format("0.4"), BAND.format("0.0"), BAND.format("0.4_depth-logits")]),
        ("radius", 3, [PLAIN, *(BAND.format(radius) for radius in ("0.8", "0.4", "0.2", "0.0"))]),
    ],
)
def test_expected_results_are_those_of_the_records(first_column, seeds, files):
    head, *rows = next(table for table in tables(PROJECTS) if table[0][0] == first_column)
    for row, file in zip(rows, files, strict=True):
        records = [
            json.loads((RECORDS / f"seed{seed}" / f"{file}.json").read_text()) for seed in range(seeds)
        ]
        for name, cell in list(zip(head, row, strict=True))[1:]:
            metric, scale, digits = METRICS[name]
            mean = sum(record["metrics"][f"test/{metric}"] for record in records) / seeds
            assert float(cell) == pytest.approx(scale * mean, abs=0.51 * 10**-digits), (row[0], name)


# The concept test

QUESTIONS = parts(parts(TEST, "##")["Questions"], "###")
KEYS = parts(parts(TEST, "##")["Key"], "###")


def options(text):
    return dict(re.findall(r"^- \*\*([A-Z])\*\* (.+)$", text, re.MULTILINE))


def test_ten_items_have_four_options_each():
    assert [heading.split(" · ")[0] for heading in QUESTIONS] == [str(n) for n in range(1, 11)]
    for heading, text in QUESTIONS.items():
        assert list(options(text)) == list("ABCD"), heading
        assert len(set(options(text).values())) == 4


def test_each_item_has_one_key_and_says_what_each_wrong_option_shows():
    assert len(KEYS) == 10
    for number, (heading, text) in enumerate(KEYS.items(), start=1):
        item, key, notebook = re.fullmatch(r"(\d+) · Key: ([A-D]) \(notebook (\d\d).*\)", heading).groups()
        assert int(item) == number
        assert sorted(re.findall(r"\*\*([A-D])\*\*", text)) == sorted(set("ABCD") - {key})
        assert int(notebook) <= 9


def test_no_letter_is_the_key_much_more_often_than_another():
    letters = [re.search(r"Key: (.)", heading)[1] for heading in KEYS]
    assert {letters.count(letter) for letter in "ABCD"} <= {2, 3}


# What the items claim, computed


def directions(n, d, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def toy_run(regularizer):
    world = {"num_classes": 3, "train_size": 300, "imbalance": 0.8}
    config = TrainConfig(
        dataset="toy", dataset_options=world, regularizer=regularizer, embedding_dim=2,
        encoder_options={"hidden": 64}, epochs=60, evaluate_every=60, seed=0,
    )  # fmt: skip
    metrics = fit(config, data=load("toy", seed=0, **world), progress=False).metrics
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def test_item_1_a_sensor_idles_beside_a_good_fused_prediction():
    run = toy_run(None)
    assert run["accuracy/fused"] > 0.97 and abs(run["accuracy/b"] - 1 / 3) < 0.05
    assert run["mean_cosine/b"] > 0.9 and run["paired_drift/a-b"] == pytest.approx(1.6, abs=0.2)


def test_item_2_anchoring_alone_buys_agreement_with_collapse():
    run = toy_run(GeometryRegularizer(0, 0.3, radius=0.3))
    assert run["paired_drift/a-b"] < 0.2 and run["mean_cosine/b"] > 0.95
    assert abs(run["accuracy/b"] - 1 / 3) < 0.05 and run["accuracy/fused"] > 0.97


def test_item_3_a_narrow_cone_has_nearly_full_rank():
    cone = torch.eye(32)[0] + 0.01 * directions(2000, 32)
    assert mean_cosine(cone) == pytest.approx(0.9999, abs=5e-5)
    assert effective_rank(cone) == pytest.approx(31.0, abs=0.2)
    assert effective_rank(cone, center=False) == pytest.approx(1.5, abs=0.1)


def test_item_4_one_distribution_gives_both_ranks():
    later = directions(1024, 256, seed=5)
    ranks = [effective_rank(z) for z in (directions(64, 256), later, later[:64])]
    assert ranks == pytest.approx([61, 247, 61], abs=1)


def test_item_5_dividing_by_the_dimension_leaves_neither_value_nor_gradient():
    def value_and_slope(temperature):
        u = directions(64, 512).requires_grad_()
        value = dispersion(u, temperature=temperature)
        return value.item(), torch.autograd.grad(value, u)[0].norm().item()

    (ours, slope), (divided, faint) = value_and_slope(0.5), value_and_slope(512.0)
    assert (ours, divided) == pytest.approx((-3.98, -0.0039), rel=0.01)
    assert 800 < slope / faint < 1300
    assert -math.log(64) == pytest.approx(-4.16, abs=0.005)


def test_item_6_a_turned_circle_has_no_gap_to_remove():
    angle = torch.arange(360) * math.pi / 180
    a, b = (torch.stack([t.cos(), t.sin()], dim=1) for t in (angle, angle + math.pi / 3))
    summary = drift_summary(a, b)
    assert summary["paired_drift"] == pytest.approx(1, abs=1e-5)
    assert summary["drift_gap_part"] == pytest.approx(0, abs=1e-9)


def test_item_7_the_mean_runs_over_all_pairs():
    angle = 2 * torch.tensor([0.5] * 99 + [1.0]).div(2).asin()
    a, b = torch.eye(2)[:1].repeat(100, 1), torch.stack([angle.cos(), angle.sin()], dim=1)
    assert anchoring(a, b, radius=0.6).item() == pytest.approx(0.0016, rel=1e-3)
    assert anchoring(a, b, radius=0.0).item() == pytest.approx(0.2575, rel=1e-3)
    assert anchoring(a[99:], b[99:], radius=0.6).item() == pytest.approx(0.16, rel=1e-3)


def test_item_8_under_dgl_only_its_own_loss_reaches_an_encoder():
    data = load("toy", seed=0)
    model = build_model(data, embedding_dim=8)
    batch = data.train.batch(torch.arange(64))
    losses = PARADIGMS["dgl"](model).losses(model(batch["inputs"]), batch["label"])
    weight = next(model.encoders["a"].parameters())

    def reaches(loss):
        (gradient,) = torch.autograd.grad(loss, [weight], retain_graph=True, allow_unused=True)
        return gradient is not None and bool(gradient.abs().sum() > 0)

    assert {name: reaches(loss) for name, loss in losses.items()} == {"fused": False, "a": True, "b": False}


@pytest.mark.parametrize(
    "printed",
    [
        r"audio, read-out +joint +63\.6 +-7\.3 +-11\.7 +-3\.9",
        r"audio, k-NN probe joint +66\.7 +2\.4 +0\.2 +4\.8",
        r"noise all: \+3\.5 \[\+0\.7, \+5\.8\]",
        r"noise all: \+0\.7 \[-0\.9, \+2\.4\]",
    ],
)
def test_items_9_and_10_quote_what_notebook_08_printed(printed):
    (path,) = NOTEBOOKS.glob("08_*.ipynb")
    cells = json.loads(path.read_text())["cells"]
    text = "".join("".join(o.get("text", [])) for cell in cells for o in cell.get("outputs", []))
    assert re.search(printed, text)
