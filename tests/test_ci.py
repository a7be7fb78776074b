"""What continuous integration installs and runs is what this project says it needs and has."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from test_project import PYPROJECT, REQUIREMENTS, ROOT

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


def test_every_change_is_tested_with_the_lock_and_every_week_the_newest_releases_without():
    ci, weekly = WORKFLOWS["ci"]["jobs"]["test"], WORKFLOWS["weekly"]["jobs"]
    assert ci["env"]["PIP_CONSTRAINT"].endswith(f"/{LOCK.relative_to(ROOT)}")
    assert {"run": "bash .ci/run"} in ci["steps"] and {"run": "make test-all"} in weekly["test-all"]["steps"]
    assert "PIP_CONSTRAINT" not in str(weekly) and "schedule" in WORKFLOWS["weekly"][True]  # YAML reads `on`
    audited = next(step["run"] for step in weekly["audit"]["steps"] if "pip-audit" in step.get("run", ""))
    assert str(LOCK.relative_to(ROOT)) in audited


def test_the_long_suites_are_left_out_of_the_usual_run_and_in_the_one_of_the_week():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^test-all: test\n((?:\t.*\n)+)", makefile, re.MULTILINE)[1]
    assert "-m exhaustive" in recipe
    assert "not exhaustive" in PYPROJECT["tool"]["pytest"]["ini_options"]["addopts"]
    suites = [
        path for path in Path(__file__).parent.rglob("test_*.py") if "mark.exhaustive" in path.read_text()
    ]
    assert len(suites) >= 3
