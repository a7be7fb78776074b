"""The frame holds: one list of dependencies, one direction of imports, one version, no machine paths."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from code_lines import code_lines, python_files

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


def test_the_library_stays_small():
    files = python_files(PACKAGE)
    assert len(files) <= 45 and sum(code_lines(path.read_text()) for path in files) <= 4800
    folders = {path.parent for path in files} - {PACKAGE}
    assert len(list(PACKAGE.glob("*.py"))) <= 13 and len(folders) <= 3


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('"""Text.\n\nMore."""\n\n# why\nx = 1  # here\n', 1),
        ('def f():\n    """Text."""\n    return [\n        1,\n    ]\n', 4),
        ('TEXT = """one\ntwo\n"""\n', 3),
    ],
)
def test_code_lines_are_counted_without_docstrings_and_comments(source, lines):
    assert code_lines(source) == lines


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
    heavy |= {"sklearn", "scipy", "requests", "gdown", "open_clip", "optuna", "PIL"}
    added = modules_after("import geomreg_mini") - modules_after("import torch")
    assert "geomreg_mini" in added
    assert not heavy & {name.partition(".")[0] for name in added}


# One house for each reader. What a house holds may import its own and what stands before it.
HOUSES = [
    {"data_scripts"},
    {"geomreg_mini"},
    {"experiments"},
    {"figures", "geomreg_course", "lab"},
    {"checks"},
]
# The same for the modules inside two of them.
LIBRARY = [{"distributed", "geometry"}, {"pairs"}, {"regularizer"}, {"controls"}, {"models"}, {"paradigms"},
           {"records", "data"}, {"evaluation"}, {"tasks"}, {"benchmarks"}, {"config"}, {"training"},
           {"plots"}]  # fmt: skip
EXPERIMENTS = [{"paper", "sweeps", "manifest", "recipes"}, {"study"},
               {"regimes", "benchmarks", "paradigm_table", "ablations", "search", "unlabeled",
                "paper_settings"},
               {"report", "cost"}, {"claims"}]  # fmt: skip
SOURCES = sorted(
    path for house in ("data_scripts", "geomreg_mini", "experiments", "notebooks")
    for path in (ROOT / house).rglob("*.py")
)  # fmt: skip


def imported(path):
    """Dotted names of the modules, or of names inside them, that a file imports, wherever in the file."""
    inside = path.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*(inside[: len(inside) - node.level] if node.level else ())]
            base += node.module.split(".") if node.module else []
            yield from ([*base, alias.name] for alias in node.names)


def assert_one_way(name, others, order):
    rank = {name: position for position, names in enumerate(order) for name in names}
    assert name in rank, f"say where {name} stands in the order"
    for other in others:
        assert rank[other] < rank[name], f"{name} imports {other}, which stands above or beside it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    house, module = (part.removesuffix(".py") for part in path.relative_to(ROOT).parts[:2])
    name = {"notebooks": "geomreg_course" if module == "course" else module}.get(house, house)
    targets = [target for target in imported(path) if target[0] != "notebooks"]  # relative, in one folder
    assert_one_way(name, {target[0] for target in targets} & set().union(*HOUSES) - {name}, HOUSES)
    others = {target[1] for target in targets if target[0] == house and len(target) > 1}
    if path == PACKAGE / "__init__.py":
        assert others <= {"regularizer"}
    elif house in (orders := {"geomreg_mini": LIBRARY, "experiments": EXPERIMENTS}) and module != "__init__":
        assert_one_way(module, others - {module, "__version__"}, orders[house])


def test_no_path_of_somebodys_machine_is_committed():
    readable = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/**/*.ipynb"), *ROOT.glob("notebooks/**/*.md")]
    found = {}
    for path in [*readable, *ROOT.glob("results/**/*.json")]:
        text = re.sub(r'"image/\w+": "[^"]*"', "", path.read_text())
        if paths := re.findall(r"(?<![\w.~])/(?:root|home|tmp|Users)/[^\s\"']*", text):
            found[str(path.relative_to(ROOT))] = paths
    assert len(readable) > 5 and found == {}
