"""The solutions of the notebooks pass their checks; what is not an answer, or a wrong one, never does.

Wrong answers are generated from the solutions: their results, or what they are given, are changed in the ways
in which students err (a sign, a square, a factor, an argument left out, a mean for a sum, rows for columns).
"""

import ast
import copy
import inspect
import itertools
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import checks
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from geomreg_course import books

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHECKS = sorted(set(checks.__all__) - {"predicted"})


def is_literal(node):
    """Whether the statement gives names a literal value; it may not change an object that was left out."""
    try:
        return (
            isinstance(node, ast.Assign)
            and all(isinstance(target, ast.Name) for target in node.targets)
            and (ast.literal_eval(node.value), True)[1]
        )
    except (ValueError, TypeError):
        return False


def solutions(path):
    """(check, answer) of the solution cells, run after the imports, definitions and constants before them."""
    found = []
    recorder = SimpleNamespace(
        **{name: lambda answer, name=name: found.append((name, answer)) or True for name in CHECKS}
    )
    namespace = {"__name__": "notebook"}
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or (
            books.has_tag(cell, "solution") and "assert checks." not in cell.source
        ):
            continue
        body = ast.parse(books.as_python(cell.source)).body
        if books.has_tag(cell, "solution"):
            last = next(n for n, node in enumerate(body) if ast.unparse(node).startswith("assert checks."))
            body = body[: last + 1]
        else:
            body = [node for node in body if isinstance(node, kept) or is_literal(node)]
        namespace["checks"] = recorder
        exec(compile(ast.Module(body, []), path.name, "exec"), namespace)
        namespace["checks"] = recorder
    return found


OFFICIAL = dict(pair for path in sorted(NOTEBOOKS.glob("*.ipynb")) for pair in solutions(path))
NUMBERS = [
    name for name in CHECKS if np.ndim(OFFICIAL[name]) == 0 and isinstance(OFFICIAL[name], float | int)
]
RETURN_A_NUMBER = ["mean_cosine", "effective_rank", "radius_for", "mixing", "shared_clips", "best_naming",
                   "best_rank", "seeds_for", "false_alarms"]  # fmt: skip
RETURN_A_LOSS = ["stable_dispersion", "squared_band", "masked_dispersion", "dgl_loss", "masked_info_nce"]


def judged(check, answer, capsys):
    """Whether the check accepts the answer, and what it prints."""
    passed = getattr(checks, check)(answer)
    assert isinstance(passed, bool)
    return passed, capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS)
def test_the_solution_of_the_notebook_is_right(check, capsys):
    passed, said = judged(check, OFFICIAL[check], capsys)
    assert passed and said.startswith("Right: ")


KINDS = {
    "None": None,
    "...": ...,
    "NaN": math.nan,
    "infinity": math.inf,
    "-infinity": -math.inf,
    "NumPy NaN": np.float64("nan"),
    "NumPy scalar": np.float32(123.456),
    "tensor of NaN": torch.tensor(math.nan, requires_grad=True),
    "matrix of NaN": torch.full((20, 8), math.nan),
    "pair of matrices of NaN": (torch.full((20, 8), math.nan),) * 2,
    "three matrices of NaN": (*(torch.full((200, 8), math.nan),) * 2, torch.arange(200) % 2),
    "pair of NaN": (math.nan, math.nan),
    "pair of lists with NaN": ([math.nan] * 4,) * 2,
    "empty tensor": torch.zeros(0),
    "wrong shape": torch.zeros(2, 3, requires_grad=True),
    "array": np.zeros((2, 3)),
    "text": "0.36",
    "list": [1.0, 2.0],
    "empty list": [],
    "dict": {"a": 1.0},
    "dict of NaN": {frozenset("a"): math.nan, frozenset("b"): math.nan, frozenset("ab"): math.nan},
    "lab setting of NaN": {"dispersion_weight": math.nan, "anchoring_weight": math.nan},
    "patients of NaN": dict.fromkeys("PQRS", math.nan),
    "set": {1, 2},
    "truth": True,
    "complex": 1j,
    "object": object(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("check", CHECKS)
def test_what_is_not_an_answer_is_refused_in_one_sentence(check, kind, capsys):
    value = KINDS[kind]
    given = [value]
    if callable(OFFICIAL[check]):
        given += [lambda *arguments, **named: value]
    if check == "same_length":
        given += [lambda weight: lambda embeddings: SimpleNamespace(total=value)]
    for answer in given:
        passed, said = judged(check, answer, capsys)
        assert not passed
        assert said.startswith("Not yet: ") and said.count("\n") == 1 and said.endswith(".\n")


@pytest.mark.parametrize("check", [c for c in CHECKS if callable(OFFICIAL[c])])
def test_an_answer_that_ends_the_program_is_wrong_and_ends_nothing(check, capsys):
    passed, said = judged(check, lambda *given, **named: sys.exit(), capsys)
    assert not passed and "stopped with SystemExit" in said


@pytest.mark.parametrize(
    "form", [np.float64, np.asarray, np.float32, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64)]
)
@pytest.mark.parametrize("check", [*NUMBERS, *RETURN_A_NUMBER])
def test_a_right_number_is_right_in_every_form(check, form, capsys):
    answer = OFFICIAL[check]
    changed = (lambda *given: form(float(answer(*given)))) if callable(answer) else form(float(answer))
    assert judged(check, changed, capsys)[0]


def mapped(change, value):
    """``value`` with ``change`` applied to the tensors and arrays in its lists, tuples and dicts."""
    if type(value) in (list, tuple):
        return type(value)(mapped(change, x) for x in value)
    if isinstance(value, dict):
        return {name: mapped(change, x) for name, x in value.items()}
    return change(value) if isinstance(value, torch.Tensor | np.ndarray) else value


def spoiled(z):
    """Overwrite the numbers of a tensor or an array, as a function does that works in place."""
    with torch.no_grad():
        z[...] = 0
    return z


@pytest.mark.parametrize(  # a loss must keep its input for backward()
    "check", [c for c in CHECKS if inspect.isfunction(OFFICIAL[c]) and c not in RETURN_A_LOSS]
)
def test_a_function_that_overwrites_what_it_is_given_is_judged_by_what_it_returns(check, capsys):
    def answer(*given, **named):
        result = mapped(copy.deepcopy, OFFICIAL[check](*given, **named))
        mapped(spoiled, [list(given), named])
        return result

    assert judged(check, answer, capsys)[0]


CONTAINERS = {
    "array": np.asarray,
    "list": lambda z: z.tolist(),
    "float64": lambda z: z.double() if torch.is_tensor(z) and z.is_floating_point() else z,
    "float32": lambda z: z.float() if torch.is_tensor(z) and z.is_floating_point() else z,
    "needs a gradient": lambda z: z.double().requires_grad_() if torch.is_tensor(z) and z.ndim > 1 else z,
    "Series": lambda z: pd.Series(np.asarray(z), index=range(7, 7 + len(z))) if z.ndim == 1 else z,
}


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize(
    "check", [c for c in CHECKS if inspect.isfunction(OFFICIAL[c]) and c not in RETURN_A_LOSS]
)
def test_a_right_answer_is_right_in_every_container(check, form, capsys):
    passed, said = judged(check, lambda *given: mapped(CONTAINERS[form], OFFICIAL[check](*given)), capsys)
    assert passed, said


# ------------------------------------------------------------ wrong answers

RESULTS = {
    "other sign": lambda x: -x,
    "doubled": lambda x: 2 * x,
    "halved": lambda x: x / 2,
    "squared": lambda x: x**2,
    "root": lambda x: abs(x) ** 0.5,
    "percent": lambda x: 100 * x,
    "share": lambda x: x / 100,
    "complement": lambda x: 1 - x,
    "plus one": lambda x: x + 1,
    "zero": lambda x: 0 * x,
}
OF_A_LOSS = RESULTS | {
    "detached": lambda x: x.detach(),
    "as a float": float,
    "with half its gradient": lambda x: (x + x.detach()) / 2,
}
GIVEN = {  # by the type of an argument
    "matrix": {
        "first row dropped": lambda z: z[1:],
        "first column dropped": lambda z: z[:, 1:],
        "shifted": lambda z: z + 1,
        "absolute": lambda z: z.abs(),
        "transposed": lambda z: z.T,
        "detached": lambda z: z.detach(),
    },
    "vector": {
        "doubled": lambda g: 2 * g,
        "unit": lambda g: g / g.norm().clamp(min=1e-9),
        "absolute": lambda g: g.abs(),
        "reversed": lambda g: g.flip(0),
    },
    "mask": {"inverted": lambda m: ~m, "all": torch.ones_like, "shifted": lambda m: m.roll(1)},
    "float": {
        "squared": lambda x: x**2,
        "root": lambda x: abs(x) ** 0.5,
        "doubled": lambda x: 2 * x,
        "left out": lambda x: 1.0,
        "other sign": lambda x: -x,
    },
    "names": {"last dropped": lambda x: x[:-1], "none": lambda x: [], "first alone": lambda x: x[:1]},
    "shares": {
        "complements": lambda x: {name: 1 - p for name, p in x.items()},
        "all one half": lambda x: dict.fromkeys(x, 0.5),
        "last dropped": lambda x: dict(list(x.items())[:-1]),
    },
}


def kind_of(value):
    if torch.is_tensor(value):
        return "mask" if value.dtype == torch.bool else "matrix" if value.ndim == 2 else "vector"
    kinds = {float: "float", int: "float", list: "names", dict: "shares"}
    return kinds.get(type(value))


def changed_argument(f, place, name):
    """``f`` with one argument changed, whether it is given by position or by name."""

    def answer(*given, **named):
        bound = inspect.signature(f).bind(*given, **named)
        key = list(bound.arguments)[place]
        value = bound.arguments[key]
        bound.arguments[key] = GIVEN[kind_of(value)][name](value)
        return f(*bound.args, **bound.kwargs)

    return answer


def exchanged_arguments(f, one, other):
    def answer(*given, **named):
        bound = inspect.signature(f).bind(*given, **named)
        keys = list(bound.arguments)
        first, second = keys[one], keys[other]
        values = {first: bound.arguments[second], second: bound.arguments[first]}
        return f(**bound.arguments | values)

    return answer


# What the checks give, for the kinds of arguments; the order is that of the exercise.
ARGUMENTS = {
    "mean_cosine": ["matrix"],
    "effective_rank": ["matrix"],
    "stable_dispersion": ["matrix", "float"],
    "drift_parts": ["matrix", "matrix"],
    "radius_for": ["matrix", "matrix", "float"],
    "squared_band": ["matrix", "matrix", "float"],
    "masked_dispersion": ["matrix", "mask"],
    "mixing": ["vector", "vector"],
    "judge": ["float", "float", "float"],
    "seeds_for": ["float", "float", "float"],
    "shared_clips": ["names", "names"],
    "paired_clips": ["names", "names", "names"],
    "best_naming": ["names", "names"],
    "best_rank": ["vector", "mask"],
    "subset_shares": ["shares"],
    "masked_info_nce": ["matrix", "matrix", "vector", "float"],
    "calibrated_knn": ["matrix", "matrix", "float"],
    "dgl_loss": ["matrix", "matrix", "matrix", "matrix", "vector", None, "float"],
}


def after(f, change):
    return lambda *given, **named: change(f(*given, **named))


def dials():
    right = OFFICIAL["two_dials"]
    yield "the first for both", lambda *given: (right(*given)[0],) * 2
    yield "dials swapped", lambda c, d, generator: right(min(d / 4, 0.95), 4 * c, generator)
    yield "never crowded", lambda c, d, generator: right(0.0, d, generator)
    yield "always apart", lambda c, d, generator: right(c, 4.0, generator)
    yield "one modality crowded", lambda c, d, g: (right(c, d, g)[0], right(0.0, d, g)[1])
    yield "the distance for its square", lambda c, d, generator: right(c, d**0.5, generator)
    yield "the square for the distance", lambda c, d, generator: right(c, d * d / 4, generator)
    yield "twice the drift", lambda c, d, generator: right(c, min(2 * d, 4), generator)
    yield "the root of the crowding", lambda c, d, generator: right(min(c**0.5, 0.95), d, generator)
    yield "opposite or not", lambda c, d, generator: right(c, 4.0 * (d > 2), generator)
    yield "ninety rows", lambda *given: tuple(z[:90] for z in right(*given))
    yield "two numbers of rows", lambda *given: (right(*given)[0], right(*given)[1][:-1])
    yield "shuffled pairs", lambda *given: (right(*given)[0], right(*given)[1].flip(0))
    yield (
        "some partners opposite",
        lambda c, d, g: (
            (a := right(c, 0, g)[0]),
            torch.where(torch.arange(len(a))[:, None] < len(a) * d / 4, -a, a),
        ),
    )


def effects_of_terms():
    right = OFFICIAL["term_effects"]

    def with_part(place, change):
        return lambda run, seeds: {
            entry: tuple(change(x) if k == place else x for k, x in enumerate(value))
            for entry, value in right(run, seeds).items()
        }

    for place, part in enumerate(("mean", "low end", "high end")):
        for name in ("other sign", "doubled", "percent", "plus one", "zero"):
            yield f"{part} {name}", with_part(place, RESULTS[name])
    for word in ("repairs", "worsens", "undecided", "better"):
        yield f"always {word}", with_part(3, lambda x, word=word: word)
    opposite = {"repairs": "worsens", "worsens": "repairs"}
    yield "words swapped", with_part(3, lambda x: opposite.get(x, x))
    yield "terms swapped", lambda run, seeds: right(lambda d, a, s: run(a, d, s), seeds)
    yield "seeds shuffled", lambda run, seeds: right(lambda d, a, s: run(d, a, seeds[-1] if d else s), seeds)
    yield "one seed", lambda run, seeds: right(run, seeds[:1])
    yield "without the first seed", lambda run, seeds: right(run, seeds[1:])
    yield (
        "against the other term",
        lambda run, seeds: right(lambda d, a, s: run(d or not a and 0.3, a, s), seeds),
    )
    yield (
        "measures swapped",
        lambda run, seeds: {
            (term, {"drift": "mean cosine"}.get(measure, "drift")): value
            for (term, measure), value in right(run, seeds).items()
        },
    )


def twins():
    right = OFFICIAL["twin"]
    yield "the cloud itself", lambda z: z
    yield "an eighth of it repeated", lambda z: z[: len(z) // 8].repeat(8, 1)
    yield "a sixteenth of it repeated", lambda z: z[: len(z) // 16].repeat(16, 1)
    yield "signs of the rows", lambda z: z.sign()
    yield "the largest coordinate alone", lambda z: F.one_hot(z.abs().argmax(dim=1), z.shape[1]) * z.sign()
    yield "all axes alike", lambda z: torch.eye(z.shape[1])[torch.arange(len(z)) % z.shape[1]]
    yield "without opposites", lambda z: right(z).abs()
    yield "of the raw rows squared", lambda z: right(z * z.abs())
    yield "shifted", lambda z: right(z) + 0.5
    yield "stretched", lambda z: right(z) + torch.eye(z.shape[1])[0]
    yield "two directions", lambda z: right(z) * (torch.arange(z.shape[1]) < 2)
    yield "half of the rows", lambda z: right(z)[::2]
    yield "rows as columns", lambda z: right(z).T
    yield "a little noise", lambda z: right(z) + 0.02 * torch.randn(z.shape)
    yield "the twin of another cloud", lambda z: right(torch.randn(z.shape))


def coverages():
    right = OFFICIAL["coverage"]
    for part in ("contains", "below", "above", "width"):
        for name in ("doubled", "percent", "complement", "plus one", "other sign"):
            yield (
                f"{part} {name}",
                lambda *given, part=part, change=RESULTS[name]: (
                    (found := right(*given)) | {part: change(found[part])}
                ),
            )
    yield (
        "below and above swapped",
        lambda *given: (found := right(*given)) | {"below": found["above"], "above": found["below"]},
    )
    yield "of twice as many rows", lambda i, s, draw, n, worlds: right(i, s, draw, 2 * n, worlds)
    yield "one world", lambda i, s, draw, n, worlds: right(i, s, draw, n, 1)
    yield (
        "one cloud again and again",
        lambda i, s, draw, n, worlds: right(i, s, dict.fromkeys([n], draw(n)).get, n, worlds),
    )
    yield "always inside", lambda *given: right(*given) | {"contains": 1.0, "below": 0.0, "above": 0.0}
    yield (
        "around another number",
        lambda i, s, draw, n, w: right(lambda own, z: tuple(end + 1 for end in i(own, z)), s, draw, n, w),
    )
    yield "low end alone", lambda i, s, draw, n, w: right(lambda own, z: (i(own, z)[0],) * 2, s, draw, n, w)
    yield "ends swapped", lambda i, s, draw, n, w: right(lambda own, z: i(own, z)[::-1], s, draw, n, w)


def miscounts():
    right = OFFICIAL["miscounted"]
    yield "equal clumps", lambda clumps, reads: torch.eye(32)[:clumps].repeat(40, 1)
    yield "as many clumps as the reading", lambda clumps, reads: torch.eye(32)[: round(reads)].repeat(60, 1)
    yield "a clump more", lambda clumps, reads: right(clumps + 1, reads)
    yield "a clump fewer", lambda clumps, reads: right(clumps - 1, min(reads, clumps - 1))
    yield "the reading doubled", lambda clumps, reads: right(clumps, min(2 * reads, clumps))
    yield "the reading halved", lambda clumps, reads: right(clumps, max(reads / 2, 1.05))
    yield "one more than the reading", lambda clumps, reads: right(clumps, min(reads + 1, clumps))
    yield (
        "the share of the largest is 1 / reads",
        lambda clumps, reads: torch.eye(32)[:clumps].repeat_interleave(
            torch.tensor(
                [round(900 / reads)] + [round(900 * (1 - 1 / reads)) // (clumps - 1)] * (clumps - 1)
            ),
            dim=0,
        ),
    )
    yield "noisy places", lambda clumps, reads: right(clumps, reads) + 0.05 * torch.randn(32)[None] ** 2 + 0.4
    yield "rows as columns", lambda clumps, reads: right(clumps, reads).T
    yield "the numbers swapped", lambda clumps, reads: right(max(round(reads), 2), min(clumps, round(reads)))
    yield "its first rows", lambda clumps, reads: right(clumps, reads)[:100]


def rests():
    right = OFFICIAL["resting"]
    for word in ("moves", "leaves", "stays"):
        yield f"always {word}", lambda term, z, generator, word=word: word
    for one, other in (("stays", "leaves"), ("leaves", "stays"), ("moves", "stays"), ("moves", "leaves")):
        yield (
            f"{other} for {one}",
            lambda *given, one=one, other=other: other if (said := right(*given)) == one else said,
        )
    yield "a term of the other sign", lambda term, z, generator: right(lambda v: -term(v), z, generator)
    yield (
        "the mean row alone",
        lambda term, z, generator: right(
            lambda v: term(v.mean(0, keepdim=True)), z.mean(0, keepdim=True) + 1e-3, generator
        ),
    )
    yield "the first row alone", lambda term, z, generator: right(term, z[:1], generator)
    yield "a hundredth of the term", lambda term, z, generator: right(lambda v: term(v) / 100, z, generator)
    yield "in capitals", lambda *given: right(*given).capitalize()


def turning_points():
    right = OFFICIAL["turning_point"]
    for place, part in enumerate(("weight", "mean", "low end", "high end")):
        for name in ("other sign", "doubled", "percent", "plus one"):
            yield (
                f"{part} {name}",
                lambda *given, place=place, change=RESULTS[name]: [
                    change(x) if k == place else x for k, x in enumerate(right(*given))
                ],
            )
    for word in ("falls", "rises", "undecided", "down"):
        yield f"always {word}", lambda *given, word=word: (*right(*given)[:4], word)
    yield (
        "halves swapped",
        lambda run, weights, seeds: right(run, weights, seeds[len(seeds) // 2 :] + seeds[: len(seeds) // 2]),
    )
    yield "even and odd places", lambda run, weights, seeds: right(run, weights, seeds[::2] + seeds[1::2])
    yield "sorted seeds", lambda run, weights, seeds: right(run, weights, sorted(seeds)[::-1])
    yield "the worst", lambda run, weights, seeds: right(lambda w, s: -run(w, s), weights, seeds)
    yield (
        "the smallest weight last",
        lambda run, weights, seeds: right(lambda w, s: run(max(weights) - w, s), weights, seeds),
    )
    yield "against weight 0", lambda run, weights, seeds: right(run, [0.0, max(weights)], seeds)
    yield "without the first seeds", lambda run, weights, seeds: right(run, weights, seeds[2:])
    yield "one seed each", lambda run, weights, seeds: right(run, weights, [seeds[0], seeds[-1]])


def promises():
    right = OFFICIAL["promise"]
    for name, change in RESULTS.items():
        yield f"result {name}", after(right, change)
    yield "the first term alone", lambda f, g, z: right(f, f, z)
    yield "the second term alone", lambda f, g, z: right(g, g, z)
    yield "their sum", lambda f, g, z: right(lambda x: f(x) + g(x), lambda x: f(x) + g(x), z)
    yield "terms doubled", lambda f, g, z: right(lambda x: 2 * f(x), lambda x: 2 * g(x), z)
    yield "another start", lambda f, g, z: right(f, g, z + 0.3)
    yield "one step length for all", lambda f, g, z: 2.0
    yield "the first result repeated", dict(repeated("promise"))["the first result repeated"]


def diagnoses():
    right = OFFICIAL["patients"]
    for patient in right:
        for other in {*right.values(), "shuffled", "healthy", ""} - {right[patient]}:
            yield f"{patient} is {other!r}", right | {patient: other}
        yield f"{patient} missing", {name: said for name, said in right.items() if name != patient}


def settings(check):
    """Each trains for seconds, so there are few."""
    right = OFFICIAL[check]
    for name in right:
        yield f"without {name}", {key: value for key, value in right.items() if key != name}
    yield "another world", right | {"noise": 0.0}
    yield "a name that the lab lacks", right | {"weight": 1.0}
    yield "a list of values", list(right.values())


def searches_by_luck():
    """Ways to choose a setting and to measure its gain that luck can fool, or that cost too much."""
    right = OFFICIAL["searched"]

    def chosen(score, seeds=lambda k: range(6), best=max, fresh=range(100, 124), second=range(100, 124)):
        def answer(run, names, budget):
            name = best(names, key=lambda name: score([run(name, seed) for seed in seeds(names.index(name))]))
            if name == names[0]:
                return name, 0.0
            ours, first = ([run(one, k) for k in s] for one, s in ((name, fresh), (names[0], second)))
            return name, sum(ours) / len(ours) - sum(first) / len(first)

        return answer

    def first(run, names, budget):
        return [run(name, 0) for name in names] and (names[0], 0.0)

    assert checks.searched(chosen(sum))
    yield "the first", first
    yield "one seed", chosen(sum, lambda k: [0])
    yield "the luckiest run", chosen(max)
    yield "the worst", chosen(sum, best=min)
    yield "seeds of its own for each", chosen(sum, lambda k: range(10 * k, 10 * k + 6))
    yield "beyond the budget", chosen(sum, lambda k: range(9))
    yield "one seed again and again", chosen(sum, lambda k: [0] * 6)
    yield "gain on other seeds for each", chosen(sum, second=range(200, 224))
    yield "gain on one seed", chosen(sum, fresh=[100], second=[100])
    yield "the name in a list", lambda *given: ([right(*given)[0]], right(*given)[1])
    yield "the name alone", lambda *given: right(*given)[0]
    for name in ("other sign", "doubled", "halved", "percent", "zero", "plus one"):
        yield f"gain {name}", after(right, lambda pair, c=RESULTS[name]: (pair[0], c(pair[1])))


def effects_mixed_up():
    """The right effects with a name, a sign or a factor wrong, or from other trainings."""
    right = OFFICIAL["effects"]

    def changed(change):
        return lambda *given: (lambda found: found | change(found))(right(*given))

    yield "data and steps exchanged", changed(lambda e: {"data": e["steps"], "steps": e["data"]})
    for name in ("data", "steps", "both"):
        yield f"{name}: other sign", changed(lambda e, name=name: {name: -e[name]})
        yield f"{name}: doubled", changed(lambda e, name=name: {name: 2 * e[name]})
        yield f"{name}: NaN", changed(lambda e, name=name: {name: math.nan})
    yield "one seed", lambda run, sizes, steps, seeds: right(run, sizes, steps, seeds[:1])
    yield "sizes exchanged", lambda run, sizes, steps, seeds: right(run, sizes[::-1], steps, seeds)
    yield "steps exchanged", lambda run, sizes, steps, seeds: right(run, sizes, steps[::-1], seeds)
    yield (
        "equal epochs",
        lambda run, sizes, steps, seeds: right(
            lambda size, epochs, seed: run(size, steps[0], seed), sizes, steps, seeds
        ),
    )


def gradients_in_parts():
    right = OFFICIAL["gradient_in_parts"]

    def scaled(factor):
        def answer(encoder, parts, loss):
            right(encoder, parts, loss)
            encoder.weight.grad = factor(encoder.weight.grad)

        return answer

    for name in ("other sign", "doubled", "halved", "squared", "zero", "plus one"):
        yield f"gradient {name}", scaled(RESULTS[name])
    yield "the first part alone", lambda encoder, parts, loss: right(encoder, parts[:1], loss)
    yield "the last part left out", lambda encoder, parts, loss: right(encoder, parts[:-1], loss)
    yield "the loss squared", lambda encoder, parts, loss: right(encoder, parts, lambda z: loss(z) ** 2)
    yield "twice", lambda *given: (right(*given), right(*given))
    yield "all at once", lambda encoder, parts, loss: right(encoder, [torch.cat(parts)], loss)


def lengths():
    right = OFFICIAL["same_length"]

    def with_total(change):
        class Changed(right):
            def forward(self, embeddings, mask=None):
                return SimpleNamespace(total=change(super().forward(embeddings, mask).total))

        return Changed

    for name, change in OF_A_LOSS.items():
        yield f"total {name}", with_total(change)

    class Unweighted(right):
        def __init__(self, weight):
            super().__init__(1.0)

    class OneSided(right):
        def forward(self, embeddings, mask=None):
            first, *rest = embeddings
            return super().forward({first: embeddings[first]} | {m: embeddings[m].detach() for m in rest})

    class FirstPair(right):
        def forward(self, embeddings, mask=None):
            return super().forward(dict(list(embeddings.items())[:2]))

    class Nameless(right):
        def hyperparameters(self):
            return {}

    yield from {
        "no weight": Unweighted,
        "one side": OneSided,
        "one pair": FirstPair,
        "no names": Nameless,
    }.items()


def distributions():
    p, q = OFFICIAL["three_rules"]()
    pairs = {
        "the first twice": (p, p),
        "the second twice": (q, q),
        "the second reversed": (p, q[::-1]),
        "the second sorted": (p, sorted(q, reverse=True)),
        "not normalized": ([2 * x for x in p], q),
        "uniform": ([0.2] * 5, q),
        "certain": (p, [1.0, 0.0, 0.0, 0.0, 0.0]),
        "one shorter": (p, [*q[:3], q[3] + q[4]]),
        "logarithms": ([math.log(x + 1e-9) for x in p], q),
    }
    yield from ((name, lambda pair=pair: pair) for name, pair in pairs.items())


def children():
    right = OFFICIAL["unused_children"]

    def everything(network):
        return {name for name, _ in network.named_children()}

    yield "those that run", lambda network, x: everything(network) - right(network, x)
    yield "all", lambda network, x: everything(network)
    yield "none", lambda network, x: set()
    yield "a list", lambda network, x: sorted(right(network, x))
    yield "the first alone", lambda network, x: set(sorted(right(network, x))[:1])
    yield (
        "without parameters",
        lambda network, x: {name for name, child in network.named_children() if not list(child.parameters())},
    )
    yield "left in evaluation mode", lambda network, x: right(network.eval(), x)
    yield "left with gradients", lambda network, x: (network(x).sum().backward(), right(network, x))[1]


def statuses():
    right = OFFICIAL["judge"]
    words = ("supported", "excluded", "undecided")
    for word in words:
        yield f"always {word}", lambda paper, low, high, word=word: word
        others = [other for other in words if other != word]
        for other in others:
            yield (
                f"{other} for {word}",
                lambda *case, word=word, other=other: other if right(*case) == word else right(*case),
            )
    yield "ends swapped", lambda paper, low, high: right(paper, high, low)
    yield "the lower end alone", lambda paper, low, high: right(paper, low, 99.0)
    yield "the upper end alone", lambda paper, low, high: right(paper, 0.001, high)
    yield "zero left out of account", lambda paper, low, high: words[0 if low <= paper <= high else 2]


def pairings():
    right = OFFICIAL["paired_clips"]
    yield (
        "in the order of the sounds",
        lambda v, s, b: sorted(right(v, s, b), key=lambda pair: s.index(pair[1])),
    )
    yield "sound first", lambda v, s, b: [pair[::-1] for pair in right(v, s, b)]
    yield "videos alone", lambda v, s, b: [video for video, _ in right(v, s, b)]
    yield "by position", lambda v, s, b: [pair for pair in zip(v, s, strict=False) if pair[0] not in b]
    yield (
        "stripped of letters",
        lambda v, s, b: [
            (video, sound) for video in v for sound in s if sound.rstrip(".wav") == video and video not in b
        ],
    )
    yield (
        "by their beginning",
        lambda v, s, b: [
            (video, next(sound for sound in s if sound.startswith(video)))
            for video in v
            if any(sound.startswith(video) for sound in s) and video not in b
        ],
    )


def shares():
    right = OFFICIAL["subset_shares"]
    yield (
        "not normalized",
        lambda keep: {s: x * (1 - math.prod(1 - p for p in keep.values())) for s, x in right(keep).items()},
    )
    yield "percent", lambda keep: {s: 100 * x for s, x in right(keep).items()}
    yield "equal", lambda keep: dict.fromkeys(right(keep), 1 / len(right(keep)))
    yield "rare ones left out", lambda keep: {s: x for s, x in right(keep).items() if x > 0.2}
    yield "keys joined", lambda keep: {"+".join(sorted(s)): x for s, x in right(keep).items()}
    yield "with the empty one", lambda keep: right(keep) | {frozenset(): 0.0}


def parts_of_drift():
    right = OFFICIAL["drift_parts"]
    yield "swapped", lambda a, b: right(a, b)[::-1]
    for name, change in RESULTS.items():
        yield f"gap part {name}", lambda a, b, change=change: (change(right(a, b)[0]), right(a, b)[1])
        yield f"sample part {name}", lambda a, b, change=change: (right(a, b)[0], change(right(a, b)[1]))


def corner_gains():
    right = OFFICIAL["corner_gain"]
    for place, part in enumerate(("mean", "low end", "high end")):
        for name, change in RESULTS.items():
            yield (
                f"{part} {name}",
                lambda *given, place=place, change=change: [
                    change(x) if k == place else x for k, x in enumerate(right(*given))
                ],
            )
    yield "never apart", lambda *given: (*right(*given)[:3], False)
    yield "always apart", lambda *given: (*right(*given)[:3], True)
    yield "apart the wrong way round", lambda *given: (*right(*given)[:3], not right(*given)[3])
    yield "weights swapped", lambda accuracy, *rest: right(lambda w, s: accuracy(1 - w, s), *rest)
    yield "without the first seed", lambda accuracy, seeds, stored: right(accuracy, seeds[1:], stored)
    yield "the stored interval", lambda accuracy, seeds, stored: (*stored, right(accuracy, seeds, stored)[3])
    yield "the stored one without a width", lambda a, s, stored: right(a, s, (stored[0],) * 3)
    yield "the stored one shifted", lambda a, s, stored: right(a, s, tuple(x + 100 for x in stored))


def equal_drift():
    right = OFFICIAL["lead_at_equal_drift"]

    def with_leads(change, quantities=("private", "shared")):
        return lambda run, seeds: {
            q: ([change(x) for x in own] if q in quantities else own, word)
            for q, (own, word) in right(run, seeds).items()
        }

    for name, change in RESULTS.items():
        yield f"each lead {name}", with_leads(change)
        yield f"each shared lead {name}", with_leads(change, ["shared"])
    for word in ("band", "rigid", "undecided", "both"):
        yield (
            f"always {word}",
            lambda run, seeds, word=word: {q: (own, word) for q, (own, _) in right(run, seeds).items()},
        )
    for quantity in ("drift", "private", "shared"):
        for name, change in {"doubled": lambda x: 2 * x, "squared": lambda x: x * x}.items():
            yield (
                f"the {quantity} of the band {name}",
                lambda run, seeds, quantity=quantity, change=change: right(
                    lambda w, r, s: run(w, r, s) | ({quantity: change(run(w, r, s)[quantity])} if r else {}),
                    seeds,
                ),
            )
    swapped = {"private": "shared", "shared": "private"}
    yield "factors swapped", lambda run, seeds: {swapped[q]: value for q, value in right(run, seeds).items()}
    yield "private for both", lambda run, seeds: dict.fromkeys(swapped, right(run, seeds)["private"])
    yield (
        "reversed",
        lambda run, seeds: {q: (own[::-1], word) for q, (own, word) in right(run, seeds).items()},
    )
    yield (
        "the band of the first seed",
        lambda run, seeds: right(lambda w, r, s: run(w, r, seeds[0] if r else s), seeds),
    )
    yield "radius 0 for both", lambda run, seeds: right(lambda w, r, s: run(w, 0, s), seeds)


def rooms():
    right = OFFICIAL["agreeing"]
    for name, factor in (("twice", 2), ("half of", 0.5), ("a tenth of", 0.1), ("the square of", None)):
        yield f"{name} the drift", lambda p, d, k=factor: right(p, d * d if k is None else k * d)
    yield "the distance for its square", lambda p, d: right(p, d**0.5)
    yield "modalities swapped", lambda p, d: dict(zip(p, list(right(p, d).values())[::-1], strict=True))
    yield "one for both", lambda p, d: dict.fromkeys(p, next(iter(right(p, d).values())))
    yield "the first column alone", lambda p, d: right({m: x[:, :1].repeat(1, 4) for m, x in p.items()}, d)
    yield "rows shuffled", lambda p, d: right({m: x.flip(0) for m, x in p.items()}, d)
    yield "absolute values", lambda p, d: right({m: (x - x.mean(0)).abs() for m, x in p.items()}, d)
    yield "the factor itself", lambda p, d: {m: F.pad(x, (0, 16 - x.shape[1])) for m, x in p.items()}
    yield "both factors in both", lambda p, d: right({m: sum(p.values()) for m in p}, d)
    yield "noise", lambda p, d: right({m: torch.randn(x.shape) for m, x in p.items()}, d)
    yield "without a common direction", lambda p, d: {m: z[:, 1:] for m, z in right(p, d).items()}
    yield (
        "one modality still",
        lambda p, d: right(
            {m: x * (m == "sound") + torch.randn(x.shape) * (m != "sound") for m, x in p.items()}, d
        ),
    )


def rows_kept():
    right = OFFICIAL["each_once"]
    one = {
        "first": lambda arrays: dict(list(arrays.items())[:1]),
        "last": lambda a: dict(list(a.items())[-1:]),
    }
    for name, part in one.items():
        yield f"the {name} modality alone", lambda arrays, part=part: right(part(arrays))
    yield "all rows", lambda arrays: list(range(len(next(iter(arrays.values())))))
    yield "copies in all modalities at once", lambda arrays: right({"": torch.cat(list(arrays.values()), 1)})
    yield "the copies", lambda arrays: sorted({*range(len(arrays["a"]))} - {*right(arrays).tolist()})
    yield "the first column alone", lambda arrays: right({m: z[:, :1] for m, z in arrays.items()})
    yield (
        "directions",
        lambda arrays: right({m: z / (1e-9 + z.norm(dim=1)[:, None]) for m, z in arrays.items()}),
    )
    yield "absolute values", lambda arrays: right({m: z.abs() for m, z in arrays.items()})
    yield "sorted entries", lambda arrays: right({m: z.sort(dim=1).values for m, z in arrays.items()})
    yield "rounded", lambda arrays: right({m: z.round(decimals=3) for m, z in arrays.items()})
    yield "from the end", lambda arrays: right({m: z.flip(0) for m, z in arrays.items()})
    yield "counted", lambda arrays: len(right(arrays))
    yield "from one", lambda arrays: right(arrays) + 1
    yield "without the first", lambda arrays: right(arrays)[1:]
    yield (
        "as a mask",
        lambda arrays: torch.isin(torch.arange(len(arrays["a"])), torch.as_tensor(right(arrays))),
    )


def searches():
    right = OFFICIAL["active_band"]
    yield "a fixed setting", lambda try_out: (0.2, 0.25)
    yield "a fixed setting, tried", lambda try_out: (try_out(1.0, 1.0), (1.0, 1.0))[1]
    yield "the order of the two", lambda try_out: right(try_out)[::-1]
    yield "what was reached", lambda try_out: try_out(*right(try_out))
    yield "a third number", lambda try_out: (*right(try_out), 0.5)
    yield "the strength alone", lambda try_out: right(try_out)[0]
    yield "ten times the strength", lambda try_out: (10 * right(try_out)[0], right(try_out)[1])
    yield "a tenth of the strength", lambda try_out: (right(try_out)[0] / 10, right(try_out)[1])
    yield "half of the radius", lambda try_out: (right(try_out)[0], right(try_out)[1] / 2)
    yield "a wide band", lambda try_out: (right(try_out)[0], 2.0)
    yield "a negative strength", lambda try_out: (-right(try_out)[0], right(try_out)[1])
    yield "share and dose confused", lambda try_out: right(lambda s, r: try_out(s, r)[::-1])
    yield "the dose alone", lambda try_out: right(lambda s, r: (try_out(s, r)[0], 0.5))
    yield "the share alone", lambda try_out: right(lambda s, r: (0.3, try_out(s, r)[1]))
    yield (
        "a grid",
        lambda try_out: min(
            ((10.0**s, r / 20) for s in range(-3, 3) for r in range(41)),
            key=lambda p: abs(try_out(*p)[1] - 0.5),
        ),
    )


def alarms():
    """Wrong ways to draw worlds: the arguments are those of the exercise, with what is left out or added."""

    def drawn(of_seed=1, own=1, noise=1, effect=0, shared=True, level=80, anew=True, below=False):
        def answer(protocol, settings, of_baseline, seeds, worlds, generator):
            found, kept = 0, None
            for _ in range(worlds):
                luck = generator.normal(size=(2, 1, seeds, 1))
                arms = []
                for k, n in enumerate((settings, of_baseline)):
                    runs = level + effect * (k == 0) + of_seed * luck[k * (not shared)]
                    runs = runs + own * generator.normal(size=(n, seeds, 1))
                    arms.append(runs + noise * generator.normal(size=(n, seeds, 2)))
                kept = arms if kept is None or anew else kept
                low, high = protocol(*kept)
                found += high < 0 if below else low > 0
            return found / worlds

        return answer

    assert checks.false_alarms(drawn())
    yield "an effect", drawn(effect=0.5)
    yield "a lower arm", drawn(effect=-0.5)
    yield "no luck of the seed", drawn(of_seed=0)
    yield "luck of the seed for each arm", drawn(shared=False)
    yield "no luck of the setting", drawn(own=0)
    yield "no noise", drawn(noise=0)
    yield "half of the noise", drawn(noise=0.5)
    yield "a share for percent", drawn(level=0.8)
    yield "one world again and again", drawn(anew=False)
    yield "intervals below zero", drawn(below=True)
    right = OFFICIAL["false_alarms"]
    yield (
        "both ends counted",
        lambda protocol, *rest: right(lambda a, b: (abs(max(protocol(a, b), key=abs)),) * 2, *rest),
    )
    yield "arms swapped", lambda protocol, *rest: right(lambda a, b: protocol(b, a), *rest)
    yield (
        "validation last",
        lambda protocol, *rest: right(lambda a, b: protocol(a.swapaxes(0, 1), b.swapaxes(0, 1)), *rest),
    )
    yield "its own generator", lambda *given: right(*given[:-1], np.random.default_rng(5))
    yield "unseeded", lambda *given: right(*given[:-1], np.random.default_rng())
    yield "one world fewer", lambda *given: right(*given[:4], given[4] - 1, given[5])


def rivals():
    right = OFFICIAL["masked_info_nce"]
    yield "all names different", lambda a, b, names, t: right(a, b, torch.arange(len(names)), t)
    yield "all names equal", lambda a, b, names, t: right(a, b, torch.zeros_like(names), t)
    yield (
        "neighbors alone",
        lambda a, b, names, t: right(a, b, names.unique_consecutive(return_inverse=True)[1], t),
    )
    yield (
        "pairs of repeated names dropped",
        lambda a, b, names, t: right(
            *(z[[names.tolist().index(n) for n in names.unique()]] for z in (a, b, names)), t
        ),
    )
    yield (
        "modalities against themselves",
        lambda a, b, names, t: (right(a, a, names, t) + right(b, b, names, t)) / 2,
    )
    yield "one modality constant", lambda a, b, names, t: right(a.detach(), b, names, t)


def claims():
    right = OFFICIAL["broken_claims"]
    asked = ("neighborhoods", "gap", "loss", "hubs", "rotation")
    for claim, given in zip(asked, asked[1:] + asked[:1], strict=True):
        yield (
            f"{given} for {claim}",
            lambda c, n, claim=claim, given=given: right(given if c == claim else c, n),
        )
    for claim in asked:
        yield f"{claim} for all", lambda c, n, claim=claim: right(claim, n)
        yield (
            f"{claim} as a list of rows",
            lambda c, n, claim=claim: right(c, n)[0] if c == claim else right(c, n),
        )
    for claim in asked[:3]:
        yield (
            f"rows of {claim} shuffled",
            lambda c, n, claim=claim: (
                (right(c, n)[0], right(c, n)[1].roll(1, 0)) if c == claim else right(c, n)
            ),
        )
    yield "always 150 rows", lambda c, n: right(c, 150)
    yield "rows as columns", lambda c, n: tuple(z.T for z in right(c, n))
    yield "four columns", lambda c, n: tuple(z[:, :4] for z in right(c, n))
    yield "two widths", lambda c, n: (right(c, n)[0], right(c, n)[1][:, :-1])


def tied():
    right = OFFICIAL["calibrated_knn"]
    for name, change in RESULTS.items():
        yield f"score {name}", after(right, lambda pair, change=change: (change(pair[0]), pair[1]))
        yield f"share {name}", after(right, lambda pair, change=change: (pair[0], change(pair[1])))
    yield "exchanged", after(right, lambda pair: pair[::-1])
    yield "within the first", lambda a, b, *rest: right(a, a, *rest)
    yield "within the second", lambda a, b, *rest: right(b, b, *rest)
    yield "one neighbor more", lambda a, b, k, *rest: right(a, b, min(k + 1, len(a) - 1), *rest)
    yield "one neighbor fewer", lambda a, b, k, *rest: right(a, b, max(k - 1, 1), *rest)
    yield "centered", lambda a, b, *rest: right(a - a.mean(0), b - b.mean(0), *rest)
    yield (
        "distances of raw rows",
        lambda a, b, *rest: right(*(torch.cdist(z, z).neg().exp() for z in (a, b)), *rest),
    )
    yield (
        "ties by a little noise",
        lambda a, b, *rest: right(*(z + 1e-3 * torch.randn_like(z) for z in (a, b)), *rest),
    )
    yield "half of the draws", lambda a, b, k, draws, generator: right(a, b, k, draws // 2, generator)


def tables(check):
    """Wrong tables p[y, a, b]: what is right, changed in one respect."""
    right = OFFICIAL[check]
    changes = {
        "counts": lambda p: 32 * p,
        "one sensor left out": lambda p: p.sum(2),
        "sensors first": lambda p: p.permute(1, 2, 0),
        "given the label": lambda p: p / p.sum((1, 2), keepdim=True),
        "A sees nothing": lambda p: p.sum(1, keepdim=True),
        "B sees nothing": lambda p: p.sum(2, keepdim=True),
        "no label": lambda p: p.sum(0, keepdim=True),
        "independent given the label": lambda p: (
            p.sum(2)[:, :, None] * p.sum(1)[:, None, :] / p.sum((1, 2))[:, None, None]
        ),
        "smoothed": lambda p: (p + 0.01) / (p + 0.01).sum(),
        "logarithms": lambda p: p.log(),
    }
    for name, change in changes.items():
        yield name, after(right, change)


def late_worlds():
    right = OFFICIAL["late_fusion_loses"]
    yield from tables("late_fusion_loses")
    yield "always 60 %", lambda alone: right(0.6)
    yield "halved hint", lambda alone: right(alone / 2 + 0.25)
    yield "wrong for right", lambda alone: right(1 - alone / 2)
    yield "XOR alone", lambda alone: right(0.5)
    yield "the accuracy", lambda alone: alone


def orders():
    right = OFFICIAL["parts_to_order"]
    yield from tables("parts_to_order")
    for one, other in itertools.combinations(range(4), 2):
        order = list(range(4))
        order[one], order[other] = other, one
        yield f"{one} and {other} swapped", lambda *bits, order=order: right(*(bits[k] for k in order))
    for k in range(4):
        yield (
            f"part {k} left out",
            lambda *bits, k=k: right(*(0.0 if n == k else x for n, x in enumerate(bits))),
        )
    yield "complements", lambda *bits: right(*(1 - x for x in bits))
    yield "squares", lambda *bits: right(*(x**2 for x in bits))
    yield "shares of one bit", lambda *bits: right(*(x / 4 for x in bits))


def simplices():
    right = OFFICIAL["simplex_in_parts"]
    yield "swapped", after(right, lambda parts: parts[::-1])
    yield "a alone", after(right, lambda parts: (parts[0], 0 * parts[1]))
    yield "a twice", after(right, lambda parts: (parts[0], parts[0]))
    yield "side by side", after(right, lambda parts: torch.cat(parts, 1))
    yield "unit rows", after(right, lambda parts: tuple(z / z.norm(dim=1, keepdim=True) for z in parts))
    yield "rows of b shuffled", after(right, lambda parts: (parts[0], parts[1].flip(0)))
    yield "the first class left out", after(right, lambda parts: tuple(z[1:] for z in parts))
    yield "a doubled", after(right, lambda parts: (2 * parts[0], parts[1]))
    yield "always 0.2", lambda classes, wanted: right(classes, 0.2)
    yield "squared", lambda classes, wanted: right(classes, wanted**2)
    yield "dividing by C - 1", lambda classes, wanted: right(classes, wanted * (1 - 1 / classes) ** 0.5)
    yield "always four classes", lambda classes, wanted: right(4, wanted)


def choices():
    """Gains of notebook 08 with a way, a split or an arm mixed up."""
    right = OFFICIAL["three_ways"]

    for one, other in itertools.combinations(("validation", "test", "frozen"), 2):
        yield f"{one} for {other}", after(right, lambda g, a=one, b=other: g | {b: g[a]})
        yield f"{other} for {one}", after(right, lambda g, a=one, b=other: g | {a: g[b]})
    for name, change in RESULTS.items():
        yield f"each gain {name}", after(right, lambda g, c=change: {way: c(x) for way, x in g.items()})
    yield "test for validation", lambda f, m: right(f.assign(**{f"validation/{m}": f[f"test/{m}"]}), m)
    yield "validation for test", lambda f, m: right(f.assign(**{f"test/{m}": f[f"validation/{m}"]}), m)
    yield (
        "arms exchanged",
        lambda f, m: right(
            f.assign(arm=f["arm"].map({"baseline": "regularized", "regularized": "baseline"})), m
        ),
    )
    yield "one seed fewer", lambda f, m: right(f[f["seed"] > 0], m)
    yield "one setting fewer", lambda f, m: right(f[~f["setting"].isin(["s", "w"])], m)
    yield "another metric", lambda f, m: right(f, "other")


def flips():
    """Counts of notebook 08 with other signs, other tables or a number mixed up."""
    right = OFFICIAL["frames_by_flips"]
    for k, part in enumerate(("found", "expected", "share")):
        for name, change in {"doubled": RESULTS["doubled"], "plus one": RESULTS["plus one"]}.items():
            yield (
                f"{part} {name}",
                after(
                    right,
                    lambda rows, k=k, c=change: {
                        n: tuple(c(x) if j == k else x for j, x in enumerate(row)) for n, row in rows.items()
                    },
                ),
            )
    yield "absolute gains", lambda panels: right({name: abs(x) for name, x in panels.items()})
    yield "squared gains", lambda panels: right({name: x**2 for name, x in panels.items()})
    yield "one seed fewer", lambda panels: right({name: x[:, 1:] for name, x in panels.items()})
    yield "one cell fewer", lambda panels: right({name: x[1:] for name, x in panels.items()})
    yield "cells for seeds", lambda panels: right({name: x[: x.shape[1]].T for name, x in panels.items()})
    yield (
        "seeds shuffled by panel",
        lambda panels: right({name: np.roll(x, k, axis=1) for k, (name, x) in enumerate(panels.items())}),
    )
    yield "the last panel for all", after(right, lambda rows: rows | {"all": rows["right"]})
    yield "centered", lambda panels: right({n: x - x.mean(1, keepdims=True) for n, x in panels.items()})


def blind_batches():
    """Batches of notebook 09 that are another claim's, or changed."""
    right = OFFICIAL["blind_controls"]
    one, two = ("variance", "covariance", "both"), ("twins", "alignment")
    for names in (one, two):
        for claim, given in itertools.permutations(names, 2):
            yield (
                f"{given} for {claim}",
                lambda c, *sizes, claim=claim, given=given: right(given if c == claim else c, *sizes),
            )
    for name, change in {
        "doubled": lambda z: 2 * z,
        "shifted": lambda z: z + 1,
        "first row dropped": lambda z: z[1:],
        "transposed": lambda z: z.T,
        "zero": lambda z: 0 * z,
    }.items():
        for claim in one:
            yield (
                f"{claim} {name}",
                lambda c, *sizes, claim=claim, change=change: (
                    change(right(c, *sizes)) if c == claim else right(c, *sizes)
                ),
            )
    for claim in two:
        yield (
            f"{claim}, rows of b turned round",
            lambda c, *sizes, claim=claim: (
                (right(c, *sizes)[0], -right(c, *sizes)[1]) if c == claim else right(c, *sizes)
            ),
        )
    yield (
        "b lacks the shift",
        lambda c, *sizes: (right(c, *sizes)[0],) * 2 if c == "twins" else right(c, *sizes),
    )


def masks():
    """Masks of notebook 09 from another level, other differences or another rule."""
    right = OFFICIAL["many_intervals"]
    for one, other in itertools.permutations(("alone", "Bonferroni", "Holm", "FDR"), 2):
        yield f"{one} for {other}", after(right, lambda m, a=one, b=other: m | {b: m[a]})
    yield "always 0.05", lambda differences, level: right(differences, 0.05)
    yield "the complement of the level", lambda differences, level: right(differences, 1 - level)
    yield "one-sided", lambda differences, level: right(differences, 2 * level)
    yield "one seed fewer", lambda differences, level: right(differences[:, 1:], level)
    yield "absolute differences", lambda differences, level: right(abs(differences), level)
    yield "baseline estimated", lambda differences, level: right(differences - differences.mean(0), level)
    yield "turned round", after(right, lambda m: {name: ~mask for name, mask in m.items()})
    yield "counts", after(right, lambda m: {name: mask.sum() for name, mask in m.items()})
    yield "nothing", after(right, lambda m: {name: mask & False for name, mask in m.items()})


def loud_shares():
    """Shares of notebook 07 that are another claim's, or changed."""
    right = OFFICIAL["broken_shares"]
    asked = ("ahead", "together", "finished")
    for claim, given in itertools.permutations(asked, 2):
        yield (
            f"{given} for {claim}",
            lambda c, *rest, claim=claim, given=given: right(given if c == claim else c, *rest),
        )
    changes = {
        "a and b exchanged": lambda a, b: (b, a),
        "other sign": lambda a, b: (-a, -b),
        "b as a": lambda a, b: (a, a),
        "probabilities": lambda a, b: (a.softmax(1), b.softmax(1)),
        "rows turned round": lambda a, b: (a.flip(0), b.flip(0)),
        "first row dropped": lambda a, b: (a[1:], b[1:]),
        "no logits": lambda a, b: (0 * a, 0 * b),
    }
    for name, change in changes.items():
        yield name, after(right, lambda pair, change=change: change(*pair))
    yield "always four classes", lambda c, label, classes: right(c, label % 4, 4)


def mixtures():
    """Mixtures of notebook 07 of other gradients, or changed."""
    right = OFFICIAL["shortest_mixture"]
    for name, change in RESULTS.items():
        yield f"weights {name}", after(right, change)
    for name in ("absolute", "shifted", "first column dropped"):
        yield f"gradients {name}", lambda g, change=GIVEN["matrix"][name]: right(change(g))
    yield "unit gradients", lambda g: right(g / g.norm(dim=1, keepdim=True).clamp(min=1e-9))
    yield "gradients squared", lambda g: right(g**2)
    yield "reversed", after(right, lambda w: w.flip(0))
    yield "without the last", lambda g: torch.cat([right(g[:-1]), g.new_zeros(1)])
    yield "the mixture", lambda g: right(g) @ g
    yield "the shortest alone", lambda g: torch.eye(len(g))[g.norm(dim=1).argmin()]
    yield "equal weights", lambda g: torch.full((len(g),), 1 / len(g))
    yield "softmax of lengths", lambda g: (-g.norm(dim=1)).softmax(0)


def repeated(check):
    """Answers that know the first result and repeat it."""
    right = OFFICIAL[check]
    known = []

    def answer(*given, **named):
        known.append(right(*given, **named))
        return known[0]

    yield "the first result repeated", answer


WRONG = {
    "masked_info_nce": rivals,
    "broken_claims": claims,
    "calibrated_knn": tied,
    "late_fusion_loses": late_worlds,
    "blind_controls": blind_batches,
    "many_intervals": masks,
    "broken_shares": loud_shares,
    "shortest_mixture": mixtures,
    "three_ways": choices,
    "frames_by_flips": flips,
    "parts_to_order": orders,
    "simplex_in_parts": simplices,
    "each_once": rows_kept,
    "active_band": searches,
    "false_alarms": alarms,
    "miscounted": miscounts,
    "resting": rests,
    "turning_point": turning_points,
    "promise": promises,
    "corner_gain": corner_gains,
    "lead_at_equal_drift": equal_drift,
    "agreeing": rooms,
    "two_dials": dials,
    "term_effects": effects_of_terms,
    "twin": twins,
    "coverage": coverages,
    "patients": diagnoses,
    "spread_and_agreed": lambda: settings("spread_and_agreed"),
    "collapse_with_dispersion": lambda: settings("collapse_with_dispersion"),
    "gradient_in_parts": gradients_in_parts,
    "searched": searches_by_luck,
    "effects": effects_mixed_up,
    "same_length": lengths,
    "three_rules": distributions,
    "unused_children": children,
    "judge": statuses,
    "paired_clips": pairings,
    "subset_shares": shares,
    "drift_parts": parts_of_drift,
}
DIAGNOSTICS = ["mean_cosine", "effective_rank", "drift_parts", "radius_for", "calibrated_knn"]
# Changes that leave an answer right, with the reason.
STILL_RIGHT = {
    **{(c, f"argument {n} detached"): "a diagnostic needs no gradient" for c in DIAGNOSTICS for n in (0, 1)},
    ("best_rank", "argument 0 doubled"): "ranks see the order alone",
    ("best_rank", "argument 0 unit"): "ranks see the order alone",
    ("masked_info_nce", "argument 2 doubled"): "names are compared, not measured",
    ("masked_info_nce", "argument 2 absolute"): "the names are positive",
    ("dgl_loss", "result plus one"): "only gradients are asked for",
    ("dgl_loss", "argument 2 shifted"): "one number for all logits of a sample cancels in the softmax",
    ("dgl_loss", "argument 3 shifted"): "one number for all logits of a sample cancels in the softmax",
    ("seeds_for", "result plus one"): "Student's t takes one or two seeds more",
    **{("seeds_for", f"argument {n} other sign"): "all three are squared" for n in range(3)},
    ("squared_band", "argument 2 other sign"): "the radius is squared",
    **{
        (check, "arguments 0 and 1 exchanged"): "both sides count alike"
        for check in ("best_naming", "calibrated_knn", "drift_parts", "masked_info_nce", "radius_for",
                      "squared_band")
    },
    ("seeds_for", "arguments 1 and 2 exchanged"): "both arms count alike",
}  # fmt: skip


def wrong_answers(check):
    """{what was done to it: a wrong answer to an exercise}."""
    right, wrong = OFFICIAL[check], {}
    if check in NUMBERS:
        wrong |= {name: change(right) for name, change in RESULTS.items()}
    if check in RETURN_A_NUMBER + RETURN_A_LOSS:
        results = OF_A_LOSS if check in RETURN_A_LOSS else RESULTS
        wrong |= {f"result {name}": after(right, change) for name, change in results.items()}
        wrong |= dict(repeated(check))
    for place, kind in enumerate(ARGUMENTS.get(check, [])):
        wrong |= {
            f"argument {place} {name}": changed_argument(right, place, name) for name in GIVEN.get(kind, ())
        }
    for (one, kind), (other, same) in itertools.combinations(enumerate(ARGUMENTS.get(check, [])), 2):
        if kind == same is not None:
            wrong[f"arguments {one} and {other} exchanged"] = exchanged_arguments(right, one, other)
    wrong |= dict(WRONG.get(check, dict)())
    return {name: answer for name, answer in wrong.items() if (check, name) not in STILL_RIGHT}


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True")
@pytest.mark.parametrize("check", CHECKS)
def test_no_wrong_answer_is_right(check, capsys):
    wrong = wrong_answers(check)
    assert len(wrong) >= 5
    assert [name for name, answer in wrong.items() if judged(check, answer, capsys)[0]] == []
