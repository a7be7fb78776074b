"""What a lecturer relies on: every notebook has a section, timetables add up, keys are unique and right."""

import itertools
import json
import math
import re
import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_prose import QUOTED, printed

from experiments.judging import verdict_of_gain
from geomreg_mini import GeometryRegularizer, anchoring, dispersion
from geomreg_mini.data import load
from geomreg_mini.geometry import drift_summary, effective_rank, mean_cosine
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig, fit

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FOLDER = NOTEBOOKS / "instructor"
GUIDE, TEST, PROJECTS, BANK, PLANS, WRONG = (
    (FOLDER / f"{name}.md").read_text()
    for name in ("guide", "concept_test", "projects", "questions", "plans", "wrong")
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


# The bank of questions

ASKED = {heading.split(" ")[0]: text for heading, text in parts(BANK, "###").items()}


def minutes(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return json.loads(path.read_text())["metadata"]["course"]["minutes"]


def headings(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    return re.findall(r"^##+ (.+)$", "\n".join("".join(cell["source"]) for cell in cells), re.MULTILINE)


def key(identity):
    """The letter of the right option and, if the answer is one, the number behind it."""
    ((letter, number),) = re.findall(r"^\*\*Answer: ([A-D])\*\*(?: \((.+?)\))?\. .+$", ASKED[identity], re.M)
    return letter, float(number) if number else None


def test_the_bank_has_two_questions_per_notebook():
    assert list(ASKED) == sorted(ASKED) and len(ASKED) == 34
    numbers = [identity.split(".")[0] for identity in ASKED]
    assert {numbers.count(number) for number in numbers} == {2}
    assert {path.name[:2] for path in PATHS} - set(numbers) <= {"00", "06"}


@pytest.mark.parametrize("identity", ASKED)
def test_a_question_has_a_stem_four_options_one_answer_and_a_misconception_for_each_other(identity):
    text = ASKED[identity]
    assert list(options(text)) == list("ABCD") and len(set(options(text).values())) == 4
    (stem,) = re.findall(r'^Notebook .+"\.\n\n(.+)\n\n- \*\*A\*\*', text, re.MULTILINE)
    assert stem.endswith("?") and ". " not in stem, "a stem is one sentence"
    letter, _ = key(identity)
    shown = dict(re.findall(r"^- ([A-D]): (.+)$", text, re.MULTILINE))
    assert list(shown) == [other for other in "ABCD" if other != letter]


@pytest.mark.parametrize("identity", ASKED)
def test_a_question_names_a_section_of_its_notebook(identity):
    ((number, section),) = re.findall(r'^Notebook (\d\d), section "(.+)"\.$', ASKED[identity], re.MULTILINE)
    assert number == identity[:2] and section in headings(number)


def test_questions_repeat_misconceptions_of_the_guide():
    tied = {i: line for i in ASKED for line in re.findall(r'^Guide: (".+")$', ASKED[i], re.MULTILINE)}
    assert len(tied) >= 24
    for identity, line in tied.items():
        misconceptions = SECTIONS[int(identity[:2])].split("**Misconceptions.**")[1].split("**Discuss.**")[0]
        assert f"- {line}" in misconceptions, identity


def test_no_letter_of_the_bank_is_the_key_much_more_often_than_another():
    letters = [key(identity)[0] for identity in ASKED]
    assert all(6 <= letters.count(letter) <= 9 for letter in "ABCD")


def accuracy_by_chance(classes):
    """Mean accuracy under the best naming of two clusters, over all deals into clusters of equal size."""
    deals = set(itertools.permutations(classes))
    right = [sum(map(int.__eq__, deal, classes)) for deal in deals]
    return Fraction(sum(max(n, len(classes) - n) for n in right), len(deals) * len(classes))


def pull(distance, radius):
    at = torch.tensor(distance, requires_grad=True)
    return torch.autograd.grad((at - radius).clamp(min=0) ** 2, at)[0].item()


def largest_rank(n, d):
    z = directions(n, d).double()
    return torch.linalg.matrix_rank(z - z.mean(0)).item()


def push_of_the_balance(radius):
    """Length of the gradient that the paper's default sends to one modality of random pairs."""
    z = {"a": directions(12, 8).requires_grad_(), "b": directions(12, 8, seed=1)}
    GeometryRegularizer(balance="pareto", strength=1.0, radius=radius)(z).total.backward()
    return z["a"].grad.norm().item()


CIRCLE = torch.tensor([[math.cos(k * math.pi / 6), math.sin(k * math.pi / 6)] for k in range(12)])
COMPUTED = {
    "01.1": lambda: drift_summary(CIRCLE[:1], -CIRCLE[:1])["paired_drift"],
    "02.1": lambda: largest_rank(32, 512),
    "02.2": lambda: 1 + (400 - 1) / 2,
    "03.1": lambda: torch.pdist(CIRCLE).square().mean().item(),
    "03.2": lambda: math.log(100 / 100**2),
    "04.1": lambda: drift_summary(CIRCLE, -CIRCLE)["paired_drift"],
    "05.1": lambda: pull(0.4, 0.5),
    "05.2": lambda: push_of_the_balance(radius=2.0),
    "07.2": lambda: 5 - (3 + 5),
    "08.2": lambda: 6 * (3 / 1) ** 2,
    "09.1": lambda: 1 - 0.95**20,
    "10.1": lambda: 100 * math.sqrt(0.8 * 0.2 / 400),
    "11.1": lambda: 100 * (1 - 1 / 450),
    "11.2": lambda: np.std([75.0, 76.2], ddof=1),
    "12.1": lambda: accuracy_by_chance((0, 0, 1, 1)),
    "14.1": lambda: 0.5 * (1 - 0.8) / (1 - (1 - 0.5) * (1 - 0.8)),
    "14.2": lambda: (1 / 4) / (1 / 32),
    "15.2": lambda: math.ceil((1.96 + 0.84) ** 2 * (1**2 + 1**2) / 1**2),
    "17.1": lambda: 100 * (0.8**2 + 2 * 0.8 * 0.2 / 2 - 0.8),
}


def test_every_number_of_the_bank_is_computed():
    assert {identity for identity in ASKED if key(identity)[1] is not None} == set(COMPUTED)


@pytest.mark.parametrize("identity", COMPUTED)
def test_an_answer_that_is_a_number_is_what_its_formula_gives(identity):
    letter, number = key(identity)
    digits = len(str(number).split(".")[1]) if number % 1 else 0
    assert number == pytest.approx(float(COMPUTED[identity]()), abs=0.51 * 10**-digits if digits else 1e-5)
    shown = options(ASKED[identity])
    if number:
        assert f"{number:g}" in shown[letter].replace("\N{MINUS SIGN}", "-")


def test_what_the_bank_says_without_a_number():
    clumps = torch.cat([CIRCLE[:1].repeat(6, 1), -CIRCLE[:1].repeat(6, 1)])
    assert torch.pdist(clumps).square().mean().item() == pytest.approx(COMPUTED["03.1"]())
    assert drift_summary(CIRCLE, -CIRCLE)["drift_gap_part"] == pytest.approx(0, abs=1e-9)
    assert verdict_of_gain(-0.3, 0.7, 1.0) == "excluded"
    assert push_of_the_balance(radius=0.2) > 0.01
    images, captions, shift = directions(5, 8), directions(20, 8, seed=1), directions(1, 8, seed=2)
    before, after = ((images @ moved.T).argsort(1) for moved in (captions, captions + 3 * shift))
    assert torch.equal(before, after)


# The plans

LENGTHS, *SESSIONS, CUTS = tables(PLANS)


def in_class(stated):
    return math.ceil(1.5 * stated)


def test_the_plans_know_every_notebook_and_its_minutes():
    (_head, *rows, total) = LENGTHS
    named = [number for row in rows for number in row[1].split(", ")]
    assert named == [path.name[:2] for path in PATHS], "enter the notebook and its minutes in plans.md"
    for row in rows:
        stated = sum(map(minutes, row[1].split(", ")))
        assert [int(cell) for cell in row[2:]] == [stated, in_class(stated)]
    assert [int(cell) for cell in total[2:]] == [sum(int(row[k]) for row in rows) for k in (2, 3)]
    (sessions,) = re.findall(r"would take (\d+) sessions", PLANS)
    assert int(sessions) == int(total[3]) // 90


def shares(cell):
    return {number: int(part) for number, part in re.findall(r"(\d\d) \((\d+)\)", cell)}


@pytest.mark.parametrize(("plan", "sessions"), list(zip(SESSIONS, (10, 12), strict=True)))
def test_a_plan_adds_up(plan, sessions):
    head, *rows = plan
    assert [row[0] for row in rows] == [str(n) for n in range(1, sessions + 1)]
    planned = {}
    for row in rows:
        here, home = (shares(row[head.index(name)]) for name in ("in class", "at home"))
        assert int(row[head.index("left")]) == 90 - in_class(sum(here.values())) >= 0, row
        for part in (here, home):
            planned |= {number: planned.get(number, 0) + part[number] for number in part}
    assert planned == {number: minutes(number) for number in planned}
    assert planned.keys() >= {f"0{n}" for n in range(10)} | {"15", "18"}


@pytest.mark.parametrize("plan", SESSIONS)
def test_a_plan_names_questions_cases_and_exercises_that_exist(plan):
    head, *rows = plan
    cases = parts(WRONG, "##")
    for row in rows:
        discussed = [word for word in row[head.index("discuss")].split(", ") if word != "-"]
        assert all(word in ASKED or f"## {word[1:]} · " in WRONG for word in discussed), discussed
        for number, found in re.findall(r"(\d\d), exercises? ([\d and]+)", row[head.index("hand in")]):
            for one in re.findall(r"\d", found):
                assert any(h.startswith(f"Exercise {one} ·") for h in headings(number)), (number, one)
    named = {int(n) for row in rows for n in re.findall(r"\bW(\d+)", row[head.index("discuss")])}
    assert named <= {int(title.split(" ")[0]) for title in cases if title[0].isdigit()}


def test_cuts_say_what_they_save_in_class():
    assert all(int(row[2]) == in_class(int(row[1])) for row in CUTS[1:])


# What we got wrong

CASES = {title: text for title, text in parts(WRONG, "##").items() if title[0].isdigit()}
NAMED_TESTS = re.findall(r"`(test_\w+)`", WRONG)


def test_each_case_says_what_was_said_what_is_true_how_it_was_found_and_what_prevents_it():
    assert [int(title.split(" ")[0]) for title in CASES] == list(range(1, 13))
    for title, text in CASES.items():
        assert re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE) == ["We said.", "True.", "Found.", "Now."], (
            title
        )
    assert len(WRONG.split()) <= 1350


@pytest.mark.parametrize("name", NAMED_TESTS)
def test_a_test_that_a_case_names_exists(name):
    assert any(f"def {name}(" in path.read_text() for path in NOTEBOOKS.parent.glob("tests/**/test_*.py"))


def stored(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return printed(nbformat.read(path, 4))


def test_every_interval_of_a_case_is_on_the_page_of_results_or_printed_by_a_notebook():
    known = (NOTEBOOKS.parent / "results" / "README.md").read_text() + "".join(
        map(stored, ("07", "08", "09"))
    )
    quoted = set(QUOTED.findall(" ".join(WRONG.split())))
    assert len(quoted) >= 10 and quoted <= set(QUOTED.findall(" ".join(known.split())))


@pytest.mark.parametrize(
    "said",
    [
        "of 746 runs with a band, 96 % have at least 90 % of the test pairs outside it",
        "under DGL the smallest share is 99.3 %",
        "radii on offer were 0.2 to 0.8",
        "in 79 of 144 cases",
        "47 of 60 baselines are runs that the regularized arm was not offered",
        "cells that could see 0.5 points: 0; 1.6 points: 9",
        "{'undecided': 20, 'excluded': 4}",
        "DGL, beta 0.2, radius 0.25 dose 0.04",
        "joint training, beta 10, radius 0.25 dose 18.24",
    ],
)
def test_the_faults_of_the_first_map_are_those_that_notebook_08_prints(said):
    assert said in " ".join(stored("08").split())


def test_gains_of_one_seed_on_two_processors_hardly_correlate():
    rows = [
        re.search(rf"^{name} +([-\d. ]+)$", stored("07"), re.M)[1] for name in ("recorded", "other processor")
    ]
    gains = [[float(number) for number in row.split()] for row in rows]
    assert np.corrcoef(gains)[0, 1] == pytest.approx(0.01, abs=0.005)
    by_fisher = math.tanh(1.96 / math.sqrt(len(gains[0]) - 3))  # half an interval around a correlation of 0
    assert by_fisher == pytest.approx(0.6, abs=0.05)
    assert np.subtract(*gains).std(ddof=1) / math.sqrt(2) == pytest.approx(2.8, abs=0.05)
    assert [row[0] for row in gains] == [4.0, -6.6]


@pytest.mark.parametrize("number", ["11", "12", "13"])
def test_rehearsals_in_quick_mode_learn(number):
    assert re.findall(r"^.*: True$", stored(number), re.M) and not re.findall(
        r"^.*: False$", stored(number), re.M
    )


COMMANDS = [" ".join(command.split()) for command in re.findall(r"`(git [^`]+)`", WRONG)]
SHOWN = {
    "budgets of all sweeps": ["replicated in direction, on other data", "more seeds would tell"],
    "package}^": ["for one panel of 24 cells", "radius 1 must give"],
    'package}"': ["return 0 * z.sum()  # a zero", "return 0 * z[present].sum()  # a zero"],
    "points at rest": ["and nothing spreads"],
    "asked or conditional": ["Closing the gap changes what is found by a few queries at most."],
    "compare a source": ["-_COMMIT = ", "+_COMMIT = "],
}


@pytest.mark.parametrize(("mark", "lines"), SHOWN.items())
def test_a_command_with_git_shows_what_its_case_says(mark, lines):
    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=NOTEBOOKS, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else None

    if git("rev-parse", "--is-shallow-repository") != "false\n":
        pytest.skip("needs a clone with its history")
    (command,) = {command for command in COMMANDS if mark in command}
    out = git(*shlex.split(command)[1:])
    assert out is not None and all(line in out for line in lines)


def test_every_command_with_git_is_tried():
    assert all(sum(mark in command for mark in SHOWN) == 1 for command in COMMANDS)
