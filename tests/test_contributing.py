"""CONTRIBUTING.md's recipes, followed in a copy of the project: the tests they name accept the result."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from geomreg_course import books

ROOT = Path(__file__).parents[1]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text().split("## Recipes")[1]


@pytest.fixture
def copy(tmp_path):
    """The project without its records and notebooks, and how to run Python in it."""
    for name in ("geomreg_mini", "data_scripts", "experiments", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(ROOT / "notebooks" / "checks", tmp_path / "notebooks" / "checks")
    return tmp_path


def python(copy, *arguments):
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def passed(copy, *arguments):
    """How many tests pass; none may fail."""
    out = python(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
    return int(re.search(r"(\d+) passed", out)[1])


def enter(path, after, line):
    """Insert ``line`` behind the one line of a file that begins with ``after``."""
    text = path.read_text()
    (found,) = re.findall(rf"^{re.escape(after)}.*\n", text, re.MULTILINE)
    path.write_text(text.replace(found, f"{found}{line}\n"))


def test_no_recipe_has_more_than_ten_lines():
    lengths = {
        title: len(body.strip().splitlines())
        for title, body in re.findall(r"^\*\*(.+)\*\*\n((?:.+\n)+)", RECIPES, re.MULTILINE)
    }
    assert {"A paradigm", "A control", "A data set", "A notebook"} <= set(lengths)
    assert max(lengths.values()) <= 10, lengths


@pytest.mark.exhaustive
def test_a_paradigm_in_its_file_and_in_the_dict_passes_the_tests_of_all_paradigms(copy):
    (copy / "geomreg_mini/paradigms/smoothed.py").write_text(
        '''"""Joint training on smoothed labels."""

from torch.nn import functional as F

from .base import Paradigm


class Smoothed(Paradigm):
    """Cross-entropy of the fused logits with label smoothing (arXiv 1512.00567)."""

    def losses(self, output, label):
        return {"fused": F.cross_entropy(output.logits, label, label_smoothing=0.1)}
'''
    )
    names = copy / "geomreg_mini/paradigms/__init__.py"
    enter(names, "from .relearn", "from .smoothed import Smoothed")
    enter(names, "PARADIGMS:", '    "smoothed": Smoothed,')
    tests = [f"tests/geomreg_mini/test_{name}.py" for name in ("paradigms", "training", "paradigm_pareto")]
    assert passed(copy, *tests, "-k", "smoothed") >= 13


@pytest.mark.exhaustive
def test_a_control_in_its_dict_passes_the_tests_of_all_controls_and_trains(copy):
    controls = copy / "geomreg_mini/controls.py"
    new = '''class UnsquaredAlignment(_Control):
    """Draw pairs together by their distance, unsquared: anchoring = mean ||u_a - u_b||."""

    def terms(self, z, mask):
        return {}, _across(lambda a, b: _alignment(a, b, 1.0), z, mask)


'''
    text = controls.read_text().replace("CONTROLS: dict", f"{new}CONTROLS: dict", 1)
    controls.write_text(text.replace("KoLeo, AlignUniform)", "KoLeo, AlignUniform, UnsquaredAlignment)"))
    tests = copy / "tests/geomreg_mini/test_controls.py"
    enter(tests, "LOSSES = {", '    "UnsquaredAlignment": controls.UnsquaredAlignment(0.7),')
    enter(tests, "from geomreg_mini import GeometryRegularizer", "from geomreg_mini import controls")
    assert passed(copy, "tests/geomreg_mini/test_controls.py", "-k", "UnsquaredAlignment") >= 5
    python(
        copy,
        "-c",
        "from geomreg_mini.controls import UnsquaredAlignment\n"
        "from geomreg_mini.training import TrainConfig, fit\n"
        "config = TrainConfig(dataset='toy', regularizer=UnsquaredAlignment(0.1), epochs=1)\n"
        "assert TrainConfig.from_dict(config.to_dict()) == config\n"
        "fit(config, progress=False)",
    )


@pytest.mark.exhaustive
def test_a_data_set_in_its_file_and_in_the_dict_loads_and_trains(copy):
    (copy / "geomreg_mini/data/rings.py").write_text(
        '''"""Two rings, seen in polar and in Cartesian coordinates."""

import torch

from .dataset import MultimodalDataset, Split, fingerprint


def load(seed=0, *, size=64):
    """Rings of radius 1 and 2 with modalities ``place`` (2,) and ``polar`` (2,)."""
    generator = torch.Generator().manual_seed(seed)

    def split():
        label = torch.arange(size) % 2
        angle = 6.28 * torch.rand(size, generator=generator)
        radius = 1.0 + label
        place = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
        return Split({"place": place, "polar": torch.stack([angle, radius], dim=1)}, label)

    splits = split(), split(), split()
    return MultimodalDataset(
        name="rings", modalities=("place", "polar"), num_classes=2, shapes={"place": (2,), "polar": (2,)},
        train=splits[0], validation=splits[1], test=splits[2], licence="CC0-1.0", source="generated",
        note="", fingerprint=fingerprint(*splits), class_names=("inner", "outer"),
    )
'''
    )
    names = copy / "geomreg_mini/data/__init__.py"
    text = names.read_text()
    names.write_text(
        text.replace("DATASETS = {", 'DATASETS = {\n    "rings": "geomreg_mini.data.rings:load",')
    )
    python(
        copy,
        "-c",
        "from geomreg_mini.data import load\n"
        "from geomreg_mini.training import TrainConfig, fit\n"
        "assert load('rings', seed=1).fingerprint == load('rings', seed=1).fingerprint\n"
        "config = TrainConfig(dataset='rings', epochs=8, batch_size=8, learning_rate=0.1)\n"
        "record = fit(config, progress=False)\n"
        "assert record.metrics['test/accuracy/fused'] > 0.8, record.metrics",
    )


CHECKED = ("code", "# NBVAL_CHECK_OUTPUT\nprint(1 + 1)", "nbval-check-output")
SOLUTION = """# @title Solution
def mean_cosine(z):
    u = z / z.norm(dim=1, keepdim=True)
    n = len(u)
    return ((u @ u.T).sum() - n) / (n * (n - 1))


assert checks.mean_cosine(mean_cosine)"""
CLOSING = """## Recap

- one
- two
- three

## References

- A title that is long enough."""
CELLS = [
    (
        "markdown",
        "# 99 · By the recipe\n\n<!-- badge -->\n\nYou will be able to\n\n- follow it.\n\n"
        "**Time:** 1 minute. **Needs:** nothing.",
    ),
    ("code", None),  # the set-up of all notebooks
    ("code", 'MODE = "quick"\nSEED = 0', "parameters"),
    ("code", "import checks"),
    ("markdown", "## Exercise 1\n\nWhat is the mean cosine of a cloud?"),
    ("code", "def answer(z):\n    ...\n\n\nchecks.mean_cosine(answer);"),
    ("code", SOLUTION, "solution"),
    ("markdown", "## Exercise 2\n\nWhy?"),
    ("markdown", "<details><summary>A model answer</summary>\n\nBecause.\n\n</details>", "solution"),
    *3 * [CHECKED],
    ("markdown", CLOSING),
]


@pytest.mark.exhaustive
def test_a_notebook_by_the_recipe_passes_the_tests_of_all_notebooks(copy):
    first = nbformat.read(sorted((ROOT / "notebooks").glob("*.ipynb"))[0], as_version=4)
    set_up = next(cell.source for cell in first.cells if cell.cell_type == "code")
    notebook = nbformat.v4.new_notebook(metadata={"course": {"data": "toy", "minutes": 1}})
    for kind, source, *tags in CELLS:
        cell = getattr(nbformat.v4, f"new_{kind}_cell")(source or set_up)
        cell.metadata["tags"] = tags
        if tags == ["solution"] and kind == "code":
            cell.metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
        notebook.cells.append(cell)
    path = copy / "notebooks/99_by_the_recipe.ipynb"
    books.save(notebook, path)
    python(copy, "-m", "geomreg_course", "refresh", "99", "--notebooks", "notebooks")
    assert passed(copy, "tests/notebooks/test_notebooks.py") >= 20
