"""What continuous integration installs and runs is what this project says it needs and has."""

import re
import shutil
import subprocess

import pytest
import yaml
from packaging.requirements import Requirement
from test_project import PROJECT, REQUIREMENTS, ROOT

WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")
}
PYTHONS = WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"]
LOCK = ROOT / ".ci" / "constraints.txt"


def name(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def here(requirement: Requirement, python: str) -> bool:
    """Whether a requirement concerns CI's machines."""
    machine = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
    versions = {"python_version": python, "python_full_version": f"{python}.1"}
    return requirement.marker is None or requirement.marker.evaluate(machine | versions)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_one_version_of_everything_that_the_project_asks_for_and_in_its_range(python):
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    pins = [pin for pin in map(Requirement, lines) if here(pin, python)]
    versions = {name(pin): str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(versions) == len(pins) and all(re.fullmatch(r"==[\w.+]+", str(p.specifier)) for p in pins)
    assert not any(pin.url or pin.extras for pin in pins)
    for wanted in REQUIREMENTS:
        if here(wanted, python):
            assert wanted.specifier.contains(versions[name(wanted)]), str(wanted)


def commands(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOWS["weekly"]["jobs"][job]["steps"] if "run" in step]


def test_the_weekly_workflow_installs_the_packages_of_the_recipes_and_runs_them():
    assert any(command.endswith("--group recipes") for command in commands("recipes"))
    assert commands("recipes")[-1] == "python -m pytest tests/test_recipe_page.py"


def test_the_weekly_workflow_tests_every_lower_bound_on_the_oldest_python():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    _, environment, install, *_, tests, course, seven, browser = commands("lowest")
    assert environment == f"uv venv --python {oldest} .venv"
    assert "--resolution lowest-direct" in install and "-m pytest tests" in tests
    extras = {extra for extra in PROJECT["optional-dependencies"] if extra in install}
    assert extras == set(PROJECT["optional-dependencies"]) and "--group dev" in install
    assert "-m geomreg_course run --mode quick" in course
    assert '"ipywidgets==7.7.*"' in seven and "tests/notebooks/test_browser.py" in browser


def test_the_weekly_workflow_meets_other_systems_and_line_ends():
    jobs = WORKFLOWS["weekly"]["jobs"]
    assert jobs["without-make"]["strategy"]["matrix"]["os"] == ["windows-latest", "macos-latest"]
    assert any("core.autocrlf=true clone" in command for command in commands("crlf"))
    assert jobs["test-all"]["strategy"]["matrix"]["python"][-1] == "3.x"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_clone_that_would_write_crlf_has_the_same_bytes(tmp_path):
    names = [".gitattributes", "pyproject.toml", "results/manifest.csv", "results/regime_map.png",
             "notebooks/00_start_here.ipynb", "geomreg_mini/inputs.py"]  # fmt: skip
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)

    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.autocrlf=true"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "source")
    git("-C", "source", "add", ".")
    git("-C", "source", "commit", "-m", "all")
    git("clone", "source", "clone")
    for name in names:
        assert (tmp_path / "clone" / name).read_bytes() == (ROOT / name).read_bytes(), name
