"""The frame holds: one list of dependencies, one direction of imports, one version, no machine paths."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "geomreg_mini"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())

CONDA_NAMES = {
    "torch": "pytorch",
    "soundfile": "pysoundfile",
    "soxr": "soxr-python",
    "playwright": "playwright-python",
    "jupyter-client": "jupyter_client",
}


def requirements(lines):
    """name -> version range, environment markers left out."""
    pairs = (re.fullmatch(r"([\w.-]+)\s*([^;]*?)\s*(?:;.*)?", line).groups() for line in lines)
    return {name: set(filter(None, version.split(","))) for name, version in pairs}


def test_conda_and_pip_users_get_the_same_packages_in_the_same_ranges():
    project = PYPROJECT["project"]
    pip = requirements(sum(project["optional-dependencies"].values(), project["dependencies"]))
    from_conda = requirements(line for line in ENVIRONMENT["dependencies"] if isinstance(line, str))
    (nested,) = (line["pip"] for line in ENVIRONMENT["dependencies"] if isinstance(line, dict))
    from_pip = requirements(line for line in nested if line != "-e .")

    assert from_conda.pop("python") == {project["requires-python"]}
    assert from_conda.pop("pip") == set()
    assert "-e ." in nested
    assert {CONDA_NAMES.get(name, name) if name not in from_pip else name: v for name, v in pip.items()} == {
        **from_conda,
        **from_pip,
    }


def test_no_dependency_is_pinned_exactly():
    project = PYPROJECT["project"]
    for line in sum(project["optional-dependencies"].values(), project["dependencies"]):
        assert "==" not in line and ">=" in line, line


def test_version_is_the_same_in_the_package_and_the_citation():
    source = (PACKAGE / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_every_folder_with_code_is_installed():
    folders = [p.parent for root in (PACKAGE, ROOT / "data_scripts") for p in root.rglob("__init__.py")]
    packages = {str(folder.relative_to(ROOT)).replace("/", ".") for folder in folders}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == packages | {"geomreg_course"}


def modules_after(statement):
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_module_loads_nothing_heavy_beyond_torch():
    heavy = {
        "matplotlib",
        "seaborn",
        "ipywidgets",
        "IPython",
        "torchvision",
        "papermill",
        "nbformat",
        "pandas",
    }
    heavy |= {"sklearn", "scipy", "pooch", "gdown", "open_clip", "optuna", "PIL"}
    added = modules_after("import geomreg_mini") - modules_after("import torch")
    assert "geomreg_mini" in added
    assert not heavy & {name.partition(".")[0] for name in added}


# Which modules a module may import: what stands before it.
ORDER = [{"distributed", "geometry"}, {"pairs"}, {"regularizer"}, {"controls"}, {"models"}, {"paradigms"},
         {"records", "paper", "data"}, {"evaluation"}, {"tasks"}, {"benchmarks"}, {"config"}, {"training"},
         {"plots"}, {"experiments"}]  # fmt: skip
# The same inside geomreg_mini/experiments.
EXPERIMENTS = [{"sweeps", "recipes"},
               {"regimes", "benchmarks", "paradigm_table", "ablations", "search", "unlabeled",
                "paper_settings"},
               {"report", "cost"}, {"claims"}]  # fmt: skip


def imported_modules(path, root):
    """First-level names inside the package ``root`` that a file of it imports, wherever in the file."""
    package = list(root.relative_to(ROOT).parts)
    inside = path.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*(inside[: len(inside) - node.level] if node.level else ())]
            base += node.module.split(".") if node.module else []
            targets = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for target in targets:
            if target[: len(package)] == package and len(target) > len(package):
                yield target[len(package)]


def assert_one_way(path, root, order):
    module = path.relative_to(root).parts[0].removesuffix(".py")
    rank = {name: position for position, names in enumerate(order) for name in names}
    assert module in rank, f"say in the order of {root.name} where {module} stands"
    for other in set(imported_modules(path, root)) - {module, "__version__"}:
        assert rank[other] < rank[module], f"{module} imports {other}, which stands above or beside it"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_point_one_way(path):
    if path == PACKAGE / "__init__.py":
        assert set(imported_modules(path, PACKAGE)) <= {"regularizer"}
        return
    assert_one_way(path, PACKAGE, ORDER)
    experiments = PACKAGE / "experiments"
    if experiments in path.parents and path.name != "__init__.py":
        assert_one_way(path, experiments, EXPERIMENTS)


def test_no_path_of_somebodys_machine_is_committed():
    readable = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/**/*.ipynb"), *ROOT.glob("notebooks/**/*.md")]
    found = {}
    for path in [*readable, *ROOT.glob("results/**/*.json")]:
        text = re.sub(r'"image/\w+": "[^"]*"', "", path.read_text())
        if paths := re.findall(r"(?<![\w.~])/(?:root|home|tmp|Users)/[^\s\"']*", text):
            found[str(path.relative_to(ROOT))] = paths
    assert len(readable) > 5 and found == {}
