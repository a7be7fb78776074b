"""The mid-term: full points for right answers in every class, few for wrong ones, and no key for anybody.

The model answers below read a class's numbers in the text of its tasks, as a student does. They measure the
clouds with the library, so they also test the key.
"""

import csv
import itertools
import math
import random
import re

import geomreg_course as course
import nbformat
import numpy as np
import pytest
import torch
from checks import midterm
from geomreg_course import books, grading
from small_course import write_course
from test_instructor import GUIDE, tables
from torch.nn.functional import normalize

from geomreg_mini import anchoring, geometry

CLASSES = [f"class {n} of the tests" for n in range(12)]
CODE = ("crowding", "pull", "directions", "interval")
CLOSED = ("clouds", "readings", "forecast", "reaches")


def exam(phrase):
    return {task.name: task for task in midterm.exam(phrase)}


def given(task):
    return midterm.unpack(midterm.pack(task.given))


def graded(phrase, name, answer):
    return midterm.points(phrase, midterm.mark_of(phrase), name, answer)


# Model answers ---------------------------------------------------------------------------------------------


def crowding(text, normalized=True, masked=True, kind=True, own=False, guarded=True, temperature=None):
    """The answer to this text; every argument makes a mistake."""
    tau = temperature or float(re.search(r"\^2 / ([\d.]+)", text)[1])
    same = "the same group" in text

    def answer(z, present, group):
        z, group = (z[present], group[present]) if masked else (z, group)
        u = normalize(z, dim=1) if normalized else z
        use = (group[:, None] == group) == same if kind else torch.ones(len(z), len(z)).bool()
        use = use if own else use & ~torch.eye(len(z)).bool()
        if guarded and not use.any():
            return 0 * z.sum()
        squared = (u[:, None] - u).square().sum(-1)
        return (-squared[use] / tau).logsumexp(0) - math.log(use.sum())

    return answer


def pull(text, sign=1, mean=True, power=None, safe=True, active_only=False, hinge=True):
    found = re.search(r"rVert - ([\d.]+)\)\^\{(\d)\}", text)
    radius, p = float(found[1]), power or int(found[2])

    def answer(a, b):
        difference = a - b
        d = difference.norm(dim=1, keepdim=True)
        over = (d - radius).clamp(min=0) if hinge else d - radius
        slope = p * over ** (p - 1) * (d > radius if hinge else 1)
        n = (d > radius).sum() if active_only else len(a) if mean else 1
        return sign * slope * difference / (d.clamp(min=1e-12) if safe else d) / n

    return answer


WORDS = {"ratio": "participation", "sigma": "*singular values*", "lambda": "*eigenvalues*"}


def directions(text, kind=None, finite=True, log=False):
    kind = kind or next(kind for kind in WORDS if WORDS[kind] in text)

    def answer(sigma):
        p = sigma if kind == "sigma" else sigma.square()
        p = p / p.sum()
        if kind == "ratio":
            return 1 / p.square().sum()
        entropy = (torch.special.entr(p) if finite else -p * p.log()).sum()
        return entropy if log else entropy.exp()

    return answer


def interval(text, ddof=1, root=True, paired=True, finite=True, turned=False, points=None, of_sum=False):
    cost = "the cost" in text
    scale = points or (100 if "in points" in text else 1)

    def answer(treated, plain, t):
        if paired:
            seeds = [
                s for s in treated if s in plain and (not finite or math.isfinite(treated[s] + plain[s]))
            ]
            pairs = [(treated[s], plain[s]) for s in seeds]
        else:
            pairs = list(zip(treated.values(), plain.values(), strict=False))
        difference = scale * np.array([y - x if cost != turned else x - y for x, y in pairs])
        half = t * difference.std(ddof=ddof) / (math.sqrt(len(pairs)) if root else 1)
        middle = difference.sum() if of_sum else difference.mean()
        return middle - half, middle + half

    return answer


def diagnosis(a, b):
    """What the library says of a pair of clouds."""
    crowded = min(geometry.mean_cosine(a), geometry.mean_cosine(b))
    drift = geometry.drift_summary(a, b)
    if crowded > 0.85:
        return "cone" if geometry.effective_rank(a) > 5 else "?"
    if drift["drift_gap_part"] > 0.5 * drift["paired_drift"]:
        return "gap"
    if geometry.effective_rank(a) < 5:
        return "few directions"
    if geometry.linear_cka(a, b) < 0.3:
        return "shuffled"
    return "healthy" if geometry.retrieval_recall(a, b) > 0.3 else "rotation"


def clouds(task):
    z = given(task)
    return {letter: diagnosis(z[f"{letter}_a"], z[f"{letter}_b"]) for letter in midterm.PAIRS}


def readings(task):
    a, b = given(task)["a"], given(task)["b"]
    share = float(re.search(r"a share of ([\d.]+) of", task.text)[1])
    narrow, wide = map(float, re.search(r"grows from ([\d.]+)\s+to ([\d.]+)\?", task.text).groups())
    drift = geometry.drift_summary(a, b)
    terms = [anchoring(a.double(), b.double(), radius=radius).item() for radius in (narrow, wide)]
    return {
        "remains": drift["drift_sample_part"] / drift["paired_drift"],
        "radius": geometry.paired_distances(a, b).quantile(1 - share).item(),
        "falls": (terms[0] - terms[1]) / terms[0],
    }


def forecast(task):
    numbers = [float(x) for x in re.findall(r"(?<![\w$_^])\d+(?:\.\d+)?", task.text)]
    _, samples, m, tau, angle, n, _width, distance, _zero, radius = numbers[:10]
    p, q = (float(x) for x in re.search(r"lengths (\d) and (\d)", task.text).groups())
    assert samples == 2 * m
    clump = torch.eye(2, dtype=torch.float64)[:1].repeat(int(m), 1)
    z = torch.cat([clump, -clump])
    pairs = torch.pdist(z).square()
    at = math.radians(angle)
    w = torch.linspace(0, 1, 100001, dtype=torch.float64)
    return {
        "crowd": (-pairs / tau).exp().mean().log().item(),
        "drift": (math.cos(at) - 1) ** 2 + math.sin(at) ** 2,
        "rank": n - 1,
        "pull": 2 * (distance - radius),
        "weight": w[((w * p) ** 2 + ((1 - w) * q) ** 2).argmin()].item(),
    }


def reaches(task):
    vectors = [tuple(map(int, v)) for v in re.findall(r"\((-?\d+), (-?\d+)\)", task.text)]
    (fused, own), listed = vectors[:2], vectors[2:]
    alpha = int(re.search(r"factor (\d)", task.text)[1])
    wanted = {
        "joint": fused,
        "uniform sum": (fused[0] + own[0], fused[1] + own[1]),
        "DGL": (alpha * own[0], alpha * own[1]),
    }
    return {name: "ABCDEF"[listed.index(vector)] for name, vector in wanted.items()}


def model_answers(phrase):
    tasks = exam(phrase)
    written = {name: globals()[name](tasks[name].text) for name in CODE}
    return written | {name: globals()[name](tasks[name]) for name in CLOSED}


@pytest.mark.parametrize("phrase", CLASSES)
def test_right_answers_get_full_points_in_every_class(phrase):
    answers = model_answers(phrase)
    found = {name: graded(phrase, name, answers[name]) for name in exam(phrase)}
    assert {name: reached for name, (reached, _) in found.items()} == {
        name: task.points for name, task in exam(phrase).items()
    }, found
    assert {said for _, said in found.values()} == {"all parts are right."}


@pytest.mark.parametrize("phrase", CLASSES)
def test_an_exam_has_100_points_and_90_minutes_and_fits_its_notebook(phrase):
    tasks = exam(phrase).values()
    assert sum(task.points for task in tasks) == 100 and sum(task.minutes for task in tasks) == 90
    assert len(tasks) == 8 and set(midterm.FORMS) == set(exam(phrase))
    assert all(all(len(line) < 400 for line in task.text.splitlines()) for task in tasks)


def test_the_guide_lists_the_tasks_and_says_what_guessing_earns():
    (table,) = (table for table in tables(GUIDE) if table[0] == ["task", "points", "min", "what"])
    tasks = [[str(n), str(t.points), str(t.minutes)] for n, t in enumerate(exam(CLASSES[0]).values(), 1)]
    assert [row[:3] for row in table[1:]] == [*tasks, ["all", "100", "90"]]
    assert "26 / 6 = 4.3" in GUIDE and (5 * 4 + 3 * 2) / 6 == pytest.approx(4.3, abs=0.05)


def test_answers_differ_from_class_to_class():
    texts = {name: {exam(phrase)[name].text for phrase in CLASSES} for name in exam(CLASSES[0])}
    assert len(texts.pop("clouds")) == 1  # its arrays differ
    assert all(len(found) >= 3 for found in texts.values()), texts.keys()
    for name in CLOSED:
        others = [model_answers(phrase)[name] for phrase in CLASSES[:6]]
        shared = [graded(CLASSES[0], name, answer)[0] for answer in others[1:]]
        assert max(shared) < exam(CLASSES[0])[name].points, name
    copied = [
        sum(graded(one, name, answer)[0] for name, answer in model_answers(other).items())
        for one, other in itertools.permutations(CLASSES[:7], 2)
    ]
    assert np.mean(copied) == pytest.approx(16, abs=5) and max(copied) < 65
    assert "copies the right answers of another class, about 16" in GUIDE


# Mistakes --------------------------------------------------------------------------------------------------

MISTAKES = {
    "crowding": [
        {"normalized": False}, {"masked": False}, {"kind": False}, {"own": True}, {"guarded": False},
        {"temperature": 5.0}, {"masked": False, "guarded": False},
    ],
    "pull": [
        {"sign": -1}, {"mean": False}, {"power": 4}, {"safe": False}, {"active_only": True}, {"hinge": False},
    ],
    "directions": [
        {"log": True}, {"kind": "sigma"}, {"kind": "lambda"}, {"kind": "ratio"}, {"finite": False},
    ],
    "interval": [
        {"ddof": 0}, {"root": False}, {"paired": False}, {"finite": False}, {"turned": True},
        {"points": 50}, {"of_sum": True},
    ],
}  # fmt: skip
OTHERS = {
    "crowding": [lambda *_: torch.tensor(0.0), lambda z, *_: 0 * z.sum(), lambda z, *_: z, lambda *_: 1.0],
    "pull": [lambda a, b: 0 * a, lambda a, b: a - b, lambda a, b: (a - b).norm(), lambda a, b: a[:1]],
    "directions": [lambda s: 1.0, len, lambda s: s, lambda s: (s > 0).sum(), lambda s: s.sum() / s.max()],
    "interval": [lambda *_: (0.0, 0.0), lambda *_: (-1, 1), lambda *_: 0.0, lambda *_: (math.nan, 1)],
}
REFUSED = [None, ..., "a text", 3, math.nan, [], {}, lambda: 1, lambda *_: None, lambda *_: math.nan, 1j,
           lambda *_: "one", float("inf"), {"P": None, "joint": 1, "crowd": "x"}, object(),
           torch.zeros(2)]  # fmt: skip


def wrong_answers(phrase, name):
    task = exam(phrase)[name]
    right = globals()[name](task.text) if name in CODE else model_answers(phrase)[name]
    if name in CODE:
        for mistake in MISTAKES[name]:
            yield str(mistake), globals()[name](task.text, **mistake)
        yield from ((f"other {n}", other) for n, other in enumerate(OTHERS[name]))
        return
    first = next(iter(right))
    if isinstance(right[first], str):
        turned = dict(zip(right, [*list(right.values())[1:], right[first]], strict=True))
        yield "turned", turned
        yield "all alike", dict.fromkeys(right, right[first])
        for key in right:
            yield f"without {key}", {k: v for k, v in right.items() if k != key}
            yield f"{key} is no option", right | {key: "?"}
    else:
        for key in right:
            value = right[key]
            near = {"sign": -value, "square": value**2 + 1, "double": 2 * value, "close": 1.03 * value}
            for what, wrong in (near | {"NaN": math.nan, "text": "1", "open": ...}).items():
                yield f"{what} of {key}", right | {key: wrong}


@pytest.mark.parametrize("phrase", CLASSES[:6])
@pytest.mark.parametrize("name", [*CODE, *CLOSED])
def test_wrong_answers_lose_points_and_say_why(phrase, name):
    task, tried = exam(phrase)[name], 0
    harmless = {"crowding": ["{'own': True}"] if "different groups" in task.text else []}
    if name == "directions":
        kind = next(kind for kind in WORDS if WORDS[kind] in task.text)
        harmless["directions"] = [f"{{'kind': '{kind}'}}"]
        harmless["directions"] += ["{'finite': False}", "{'log': True}"] if kind == "ratio" else []
    for what, answer in wrong_answers(phrase, name):
        reached, said = graded(phrase, name, answer)
        if what in harmless.get(name, []):
            continue  # not a mistake in this class
        tried += 1
        assert 0 <= reached < task.points, what
        assert said != "all parts are right." and said.count("\n") == 0, what
    assert tried >= 5


@pytest.mark.parametrize("name", [*CODE, *CLOSED])
def test_one_mistake_costs_its_parts_alone(name):
    """Partial credit: there is a wrong answer above 0 and one at 0."""
    reached = {graded(CLASSES[0], name, answer)[0] for _, answer in wrong_answers(CLASSES[0], name)}
    assert max(reached) > 0 and (min(reached) == 0 or name in CLOSED)


@pytest.mark.parametrize("name", [*CODE, *CLOSED])
@pytest.mark.parametrize("answer", REFUSED, ids=lambda answer: type(answer).__name__)
def test_what_is_no_answer_gets_nothing_and_one_sentence(name, answer, capsys):
    reached, said = graded(CLASSES[0], name, answer)
    assert reached == 0 and len(said) > 20 and "\n" not in said
    midterm.form(name, answer)
    out = capsys.readouterr().out
    assert out.startswith("Not yet: ") and out.count("\n") == 1


@pytest.mark.parametrize("name", [*CODE, *CLOSED])
def test_the_form_of_a_right_answer_fits_and_says_nothing_about_right(name, capsys):
    for phrase in CLASSES[:3]:
        midterm.form(name, model_answers(phrase)[name])
        other = model_answers(CLASSES[5])[name]
        midterm.form(name, other)
    assert set(capsys.readouterr().out.splitlines()) == {
        "The form fits. The grader says whether it is right."
    }


def guesses(chance):
    """Answers of somebody who knows the form and nothing else; functions stay empty."""
    return {
        "clouds": {letter: chance.choice(midterm.DIAGNOSES) for letter in midterm.PAIRS},
        "reaches": {name: chance.choice("ABCDEF") for name in ("joint", "uniform sum", "DGL")},
        "readings": {name: chance.uniform(0, 1) for name in ("remains", "radius", "falls")},
        "forecast": {
            "crowd": chance.uniform(-4, 0), "drift": chance.uniform(0, 4), "rank": chance.randint(2, 100),
            "pull": chance.uniform(0, 2), "weight": chance.uniform(0, 1),
        },
        **{name: (lambda *given: ...) for name in CODE},
    }  # fmt: skip


def test_guessing_earns_less_than_five_points_of_100_on_average():
    """Five choices among six at 4 points, three among six at 2: 26 / 6 = 4.3; numbers add a few tenths."""
    chance = random.Random(0)
    totals = []
    for phrase in CLASSES:
        for _ in range(25):
            found = guesses(chance)
            totals.append(sum(graded(phrase, name, found[name])[0] for name in CLOSED))
    assert np.mean(totals) == pytest.approx(26 / 6 + 0.3, abs=0.6)
    assert max(totals) < 25
    empty = guesses(chance)
    assert sum(graded(CLASSES[0], name, empty[name])[0] for name in CODE) == 0


# The command -----------------------------------------------------------------------------------------------

SECRET = "nobody guesses this"


def written(folder, phrase=SECRET):
    assert course.main(["midterm", "--out", str(folder), "--phrase", phrase]) == 0
    return nbformat.read(folder / "midterm.ipynb", as_version=4)


def test_the_notebook_runs_as_it_is_and_says_what_is_open(tmp_path, capsys):
    notebook = written(tmp_path)
    assert SECRET in capsys.readouterr().out and SECRET not in str(notebook)
    namespace = {}
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for source in cells[1:]:
        exec(source, namespace)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 8 and all(line.startswith("Not yet: nothing") for line in said)
    assert namespace["CLASS"] == midterm.mark_of(SECRET)
    assert set(namespace["given"]) == {name for task in midterm.exam(SECRET) for name in task.given}


def test_the_notebook_holds_no_answer(tmp_path):
    """Neither an output, nor a diagnosis at its pair, nor a number of the key."""
    notebook = written(tmp_path)
    assert all(
        cell.get("outputs", []) == [] and "solution" not in str(cell.metadata) for cell in notebook.cells
    )
    answers = model_answers(SECRET)
    text = "\n".join(cell.source for cell in notebook.cells if "unpack" not in cell.source)
    for name in ("readings", "forecast"):
        for key, value in answers[name].items():
            assert key == "rank" or f"{value:.3f}" not in text, (name, key)
    for letter, found in answers["clouds"].items():
        assert not re.search(rf"\b{letter}\b.{{0,20}}{found}", text)


def test_a_short_phrase_is_refused_and_none_gives_a_random_one(tmp_path, capsys):
    assert course.main(["midterm", "--out", str(tmp_path), "--phrase", "2027"]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "midterm.ipynb").exists()
    phrases = []
    for _ in range(2):
        assert course.main(["midterm", "--out", str(tmp_path)]) == 0
        phrases.append(re.search(r"--midterm (\S+)", capsys.readouterr().out)[1])
    assert len(set(phrases)) == 2 and all(len(phrase) == 16 for phrase in phrases)


def test_an_exam_of_another_class_gets_nothing_and_says_so():
    for name, answer in model_answers(CLASSES[0]).items():
        reached, said = midterm.points(CLASSES[1], midterm.mark_of(CLASSES[0]), name, answer)
        assert reached == 0 and "another class" in said


SOURCES = {
    "directions": "def directions(sigma):\n    p = SHARES\n    return ANSWER",
    "peek": """import checks, os, sys, gc
found = [str(value) for value in os.environ.values()] + sys.argv + list(vars(checks.midterm))
found += [str(vars(checks.midterm)), str(checks.midterm.exam("a guess")[4].parts)]
leaked = any("nobody guesses" in text for text in found)
key = {task.name: task for task in checks.midterm.exam("a guess")}""",
}


def filled_in(notebook, answers):
    """A copy in which the cells of these tasks have another source before their last line."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        for name, source in answers.items():
            if cell.cell_type == "code" and f'checks.midterm.form("{name}", ' in cell.source:
                cell.source = f'{source}\n\n\nchecks.midterm.form("{name}", {name})'
    return copy


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """student -> task -> row of one graded class."""
    root = tmp_path_factory.mktemp("exam")
    notebook, tasks, right = written(root), exam(SECRET), model_answers(SECRET)
    closed = {name: f"{name} = {right[name]!r}" for name in CLOSED}
    ranks = {
        "participation": "def directions(sigma):\n    p = sigma**2\n    return p.sum() ** 2 / (p**2).sum()",
        "*singular": "def directions(sigma):\n    p = sigma / sigma.sum()\n"
        "    return torch.special.entr(p).sum().exp()",
        "*eigenvalues": "def directions(sigma):\n    p = sigma**2 / (sigma**2).sum()\n"
        "    return torch.special.entr(p).sum().exp()",
    }
    rank = next(source for word, source in ranks.items() if word in tasks["directions"].text)
    handed_in = {
        "ann": filled_in(notebook, closed | {"directions": rank}),
        "bob": notebook,
        "cid": filled_in(
            notebook, closed | {"pull": "1 / 0", "clouds": "clouds = 5", "directions": "del math"}
        ),
        "eve": filled_in(
            notebook,
            {"crowding": f"{SOURCES['peek']}\nif leaked:\n    clouds = {right['clouds']!r}\ncrowding = ...",
             "clouds": "checks.midterm.points = lambda *a: (20, 'all parts are right.')\nclouds = {}"},
        ),
        "fay": filled_in(written(root / "other", "another secret phrase"), closed),
        "gil": filled_in(notebook, closed | {"forecast": "import os\nos._exit(0)"}),
    }  # fmt: skip
    for who, made in handed_in.items():
        (root / "in" / who).mkdir(parents=True)
        nbformat.write(made, root / "in" / who / ("midterm.ipynb" if who != "ann" else "my exam.ipynb"))
    (root / "in" / "hal").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), root / "in" / "hal" / "02_measuring_geometry.ipynb")
    out = root / "grades.csv"
    arguments = ["grade", str(root / "in"), "--midterm", SECRET, "--timeout", "120", "--out", str(out)]
    assert course.main(arguments) == 0
    found = {}
    with open(out, newline="", encoding="utf-8-sig") as file:
        assert SECRET not in file.read()
        file.seek(0)
        for row in csv.DictReader(file):
            found.setdefault(row["student"], {})[row["exercise"].partition(" ·")[0]] = row
    return found


def reached(rows):
    return [int(rows[name]["points"]) for name in (*(f"Task {n}" for n in range(1, 9)), "Total")]


def test_points_of_a_class_are_in_the_table(table):
    assert reached(table["ann"]) == [0, 0, 10, 0, 20, 12, 10, 6, 58]
    assert reached(table["bob"]) == [0] * 9
    assert table["ann"]["Task 5"]["passed"] == "True" and table["ann"]["Task 1"]["passed"] == "False"
    assert table["ann"]["Task 5"]["exercise"] == "Task 5 · Five pairs of clouds"
    assert table["ann"]["Total"]["message"] == "of 100 points"


def test_an_unfinished_or_broken_task_gets_nothing_and_stops_no_other(table):
    assert reached(table["cid"]) == [0, 0, 0, 0, 0, 12, 10, 6, 28]
    assert "type int" in table["cid"]["Task 5"]["message"]
    assert table["bob"]["Task 1"]["message"].startswith("nothing here yet")
    assert reached(table["gil"]) == [0, 0, 0, 0, 20, 12, 0, 0, 32]
    assert table["gil"]["Task 7"]["status"] == "crashed"


def test_a_hand_in_finds_no_key_in_the_checks_and_cannot_replace_them(table):
    assert reached(table["eve"]) == [0] * 9


def test_a_notebook_of_another_class_or_of_the_course_is_named(table):
    assert reached(table["fay"]) == [0] * 9 and "another class" in table["fay"]["Task 6"]["message"]
    assert "rename the file" in table["hal"][""]["message"]


def test_a_table_is_graded_anew_with_another_phrase(tmp_path, monkeypatch):
    folder = write_course(tmp_path / "course")
    monkeypatch.setattr(books, "notebooks_folder", lambda: folder)
    monkeypatch.setattr(grading.Grader, "run", lambda *given: ([], "crashed"))
    monkeypatch.setattr(grading.midterm, "asked", lambda phrase: [])
    (tmp_path / "a.ipynb").write_text("{}")
    hand_in = grading.HandIn(tmp_path / "a.ipynb")
    digests = {grading.Grader(tmp_path, 60, phrase).digest(hand_in) for phrase in ("one", "two", "")}
    assert len(digests) == 3
