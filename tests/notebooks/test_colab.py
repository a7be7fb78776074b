"""The set-up cell on Colab's terms: torch and numpy are there, this package is not, pip may resolve nothing.

Colab is played by a virtual environment that sees what this one has installed, the course excepted, and by a
module `google.colab`. The cell must install the course from its git address without touching what is there,
without dependencies and, as a check that nothing else is fetched, without a package index.
"""

import importlib.util
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

needs = pytest.mark.skipif(
    shutil.which("git") is None or importlib.util.find_spec("setuptools") is None,
    reason="needs git and setuptools, which Colab has",
)


def setup_cell():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


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
    content.mkdir()
    return next(environment.glob("bin/python"), environment / "Scripts" / "python.exe"), content


def start(colab, source):
    python, content = colab
    program = f"import sys, google.colab\n{source}\n"
    clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(content), "PIP_NO_INDEX": "1"}
    return subprocess.run([python, "-c", program], cwd=content, env=clean, capture_output=True, text=True)


@needs
def test_the_set_up_cell_installs_the_course_and_finds_the_checks(colab, repository):
    missing = start(
        colab, "import importlib.util, numpy\nassert importlib.util.find_spec('torch')\nimport geomreg_mini"
    )
    if missing.returncode == 0:
        pytest.skip("the course itself is installed here, and not as an editable checkout")
    assert "No module named 'geomreg_mini'" in missing.stderr
    cell = re.sub(r'^REPOSITORY = ""', f"REPOSITORY = {repository!r}", setup_cell(), flags=re.MULTILINE)
    after = (
        "import checks, experiments.regimes, figures.epochs, geomreg_mini.data, geomreg_mini.paradigms\n"
        "print(geomreg_mini.__file__)\nprint(checks.__file__)"
    )
    done = start(colab, f"{cell}\n{after}")
    assert done.returncode == 0, done.stderr
    installed, checks = done.stdout.splitlines()[-2:]
    assert Path(installed).is_relative_to(colab[0].parents[1])
    assert Path(checks) == colab[1] / "geomreg_course" / "notebooks" / "checks.py"
    again = start(colab, f"{cell}\n{after}")  # a second notebook in the same session
    assert (again.returncode, again.stdout) == (0, f"{installed}\n{checks}\n")


@needs
def test_without_an_address_the_set_up_cell_says_what_to_write(colab):
    done = start(colab, setup_cell())
    assert done.stderr.strip().endswith(
        "Write the git address of this course into REPOSITORY above, then run this cell."
    )


@needs
def test_without_pip_the_set_up_cell_names_the_command_that_installs_the_course(colab, repository):
    cell = re.sub(r'^REPOSITORY = ""', f"REPOSITORY = {repository!r}", setup_cell(), flags=re.MULTILINE)
    done = start(colab, f"sys.modules['pip'] = None\n{cell}")
    if done.returncode == 0:
        pytest.skip("the course itself is installed here, and not as an editable checkout")
    assert "There is no pip: run `uv pip install " in done.stderr.splitlines()[-1]
