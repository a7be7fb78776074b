"""What continuous integration installs and runs is what this project says it needs and has."""

import re

import pytest
import yaml
from packaging.requirements import Requirement
from test_project import REQUIREMENTS, ROOT

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


def test_the_weekly_workflow_installs_the_packages_of_the_recipes_and_runs_them():
    commands = [step["run"] for step in WORKFLOWS["weekly"]["jobs"]["recipes"]["steps"] if "run" in step]
    assert any(command.endswith("--group recipes") for command in commands)
    assert commands[-1] == "python -m pytest tests/test_recipe_page.py"
