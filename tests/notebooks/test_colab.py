"""The set-up cell on Colab's terms: torch and numpy are there, this package is not, pip can build nothing.

Colab is played by a virtual environment that sees what this one has installed, the course excepted, and by a
module `google.colab`. The cell must fetch the course from its git address and leave what is there alone.
There is no package index, and setuptools refuses to build, as the one of Colab does if it is older than 77.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = next((ROOT / "notebooks").glob("00_*.ipynb"))

needs = pytest.mark.skipif(shutil.which("git") is None, reason="needs git, which Colab has")


def setup_cell(repository=""):
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    source = next(cell.source for cell in cells if cell.cell_type == "code")
    return re.sub(r'^REPOSITORY = ""', f"REPOSITORY = {repository!r}", source, flags=re.MULTILINE)


@pytest.fixture
def repository(tmp_path):
    """A git repository of the working tree, without records and histories."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    origin = tmp_path / "origin"
    listed = ["ls-files", "-co", "--exclude-standard", "--", "geomreg_mini", "data_scripts", "experiments"]
    listed += ["notebooks/*.py", "pyproject.toml", "README.md"]
    names = subprocess.run(["git", *listed], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, origin / name)
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "course"]):
        subprocess.run(["git", *command], cwd=origin, check=True)
    return origin.as_uri()


@pytest.fixture
def colab(tmp_path):
    """The Python of an environment with everything but the course, and the folder where a notebook starts."""
    environment, content = tmp_path / "colab", tmp_path / "content"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    site = next(environment.glob("lib/python*/site-packages"), environment / "Lib" / "site-packages")
    # A folder named in a .pth file is importable, its own .pth files are not read: no editable course there.
    here = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "preinstalled.pth").write_text("\n".join(here))
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    (site / "setuptools.py").write_text("raise ImportError('too old for this course')")
    content.mkdir()
    return next(environment.glob("bin/python"), environment / "Scripts" / "python.exe"), content


def start(colab, source, modules="sys, google.colab"):
    python, content = colab
    program = f"import {modules}\n{source}\n"
    clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(content), "PIP_NO_INDEX": "1"}
    return subprocess.run([python, "-c", program], cwd=content, env=clean, capture_output=True, text=True)


@pytest.fixture
def outside_colab(colab):
    """The same environment without Colab's module; the course is not installed there."""
    if start(colab, "import geomreg_mini").returncode == 0:
        pytest.skip("the course itself is installed here, and not as an editable checkout")
    return lambda source: start(colab, source, "sys")


@needs
def test_the_set_up_cell_fetches_the_course_installs_nothing_and_finds_the_checks(colab, repository):
    missing = start(
        colab, "import importlib.util, numpy\nassert importlib.util.find_spec('torch')\nimport geomreg_mini"
    )
    if missing.returncode == 0:
        pytest.skip("the course itself is installed here, and not as an editable checkout")
    assert "No module named 'geomreg_mini'" in missing.stderr
    cell = setup_cell(repository)
    after = (
        "import checks, experiments.regimes, figures.epochs, geomreg_mini.data, geomreg_mini.paradigms\n"
        "print(geomreg_mini.__file__)\nprint(checks.__file__)"
    )
    done = start(colab, f"{cell}\n{after}")
    assert done.returncode == 0, done.stderr
    library, checks = map(Path, done.stdout.splitlines()[-2:])
    course = colab[1] / "geomreg_course"
    assert library == course / "geomreg_mini" / "__init__.py"
    assert checks == course / "notebooks" / "checks" / "__init__.py"
    again = start(colab, f"{cell}\n{after}")  # a second notebook in the same session
    assert (again.returncode, again.stdout) == (0, f"{library}\n{checks}\n")
    assert "No module named 'geomreg_mini'" in start(colab, "import geomreg_mini").stderr


@pytest.mark.parametrize("times", [1, 2])
def test_the_set_up_cell_puts_the_course_before_modules_of_the_same_name(tmp_path, times):
    names = ("checks", "lab", "figures", "experiments")
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise ImportError('not the one of the course')")
    after = "import importlib\n"
    after += f"for name in {names}:\n    print(importlib.import_module(name).__file__)\nprint(len(sys.path))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "notebooks")])}
    done = subprocess.run(
        [sys.executable, "-c", f"{setup_cell()}\n" * times + after],
        cwd=ROOT / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *found, length = done.stdout.splitlines()
    folders = [ROOT / "notebooks"] * 3 + [ROOT]
    assert found == [str(folder / name / "__init__.py") for folder, name in zip(folders, names, strict=True)]
    once = subprocess.run(
        [sys.executable, "-c", f"{setup_cell()}\nprint(len(sys.path))"],
        cwd=ROOT / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert length == once.stdout.strip()


@pytest.mark.parametrize("on_colab", [True, False])
def test_the_set_up_cell_installs_the_notebook_tools_only_outside_colab(tmp_path, on_colab):
    """pip is played by a function that notes its arguments; the course lies around the notebook's folder."""
    (tmp_path / "notebooks" / "checks").mkdir(parents=True)
    (tmp_path / "notebooks" / "checks" / "__init__.py").touch()
    program = f"""
import importlib.util, subprocess, sys, types
if {on_colab}:
    sys.modules["google.colab"] = types.ModuleType("google.colab")
find = importlib.util.find_spec
known = {{"geomreg_mini": None, "pip": True}}  # an environment of uv has no pip
importlib.util.find_spec = lambda name, *rest: known[name] if name in known else find(name, *rest)
subprocess.run = lambda command: print(*command[1:]) or types.SimpleNamespace(returncode=0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program + setup_cell()], cwd=tmp_path, capture_output=True, text=True
    )
    expected = "" if on_colab else f"-m pip install --quiet {tmp_path}[course]\n"
    assert (done.stdout, done.stderr) == (expected, "")


@needs
def test_without_an_address_the_set_up_cell_says_what_to_write(colab):
    done = start(colab, setup_cell())
    assert done.stderr.strip().endswith(
        "Write the git address of this course into REPOSITORY above, then run this cell."
    )


@needs
def test_without_pip_the_set_up_cell_names_the_command_that_installs_the_course(
    outside_colab, colab, repository
):
    done = outside_colab(f"sys.modules['pip'] = None\n{setup_cell(repository)}")
    said = (
        f"RuntimeError: There is no pip: run `uv pip install '{colab[1] / 'geomreg_course'}[course]'` first."
    )
    assert done.stderr.splitlines()[-1] == said


@needs
@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip")
def test_without_a_connection_the_set_up_cell_says_what_pip_did_not_install(outside_colab, colab, repository):
    done = outside_colab(setup_cell(repository))
    course = f"{colab[1] / 'geomreg_course'}[course]"
    said = f"RuntimeError: pip did not install {course}: check the connection, then run this cell again."
    assert done.stderr.splitlines()[-1] == said


@needs
def test_a_wrong_address_is_one_sentence(colab, tmp_path):
    address = (tmp_path / "nowhere").as_uri()
    said = f"RuntimeError: git did not get {address}: check address, REF and connection."
    assert start(colab, setup_cell(address)).stderr.splitlines()[-1] == said


def test_without_git_the_set_up_cell_says_what_to_install(colab, tmp_path):
    python, content = colab
    program = f"import sys, google.colab\n{setup_cell('https://example.org/course.git')}\n"
    done = subprocess.run(
        [python, "-c", program], cwd=content, env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    said = "RuntimeError: git is missing: install it from git-scm.com, then run this cell."
    assert done.stderr.splitlines()[-1] == said
