"""The frame holds: one list of dependencies, one direction of imports, one version, no machine paths."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from code_lines import code_lines, python_files
from packaging.requirements import Requirement

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
    "jupyter-core": "jupyter_core",
}


PROJECT = PYPROJECT["project"]
EXTRAS = {**PYPROJECT["dependency-groups"], **PROJECT["optional-dependencies"]}
# All that the project asks for, but for the other trainers of the recipes, which the weekly workflow alone
# installs. An extra that builds on another names it as geomreg-mini[other].
REQUIREMENTS = [
    requirement
    for name, lines in {"": PROJECT["dependencies"], **EXTRAS}.items()
    for requirement in map(Requirement, lines)
    if name != "recipes" and requirement.name != PROJECT["name"]
]


def test_conda_and_pip_users_get_the_same_packages_in_the_same_ranges():
    conda, (nested,) = (
        [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, kind)] for kind in (str, dict)
    )
    from_pip = {r.name: r.specifier for r in map(Requirement, nested["pip"][:-1])}
    from_conda = {r.name: r.specifier for r in map(Requirement, conda)}
    assert nested["pip"][-1] == "-e ."
    assert from_conda.pop("python") == PROJECT["requires-python"] and from_conda.pop("pip") == ""
    names = {r.name: r.name if r.name in from_pip else CONDA_NAMES.get(r.name, r.name) for r in REQUIREMENTS}
    assert {names[r.name]: r.specifier for r in REQUIREMENTS} == from_conda | from_pip


def test_every_dependency_is_a_range_with_a_lower_bound():
    for requirement in [*REQUIREMENTS, *map(Requirement, EXTRAS["recipes"])]:
        operators = {part.operator for part in requirement.specifier}
        assert ">=" in operators and "==" not in operators, str(requirement)


def test_the_library_alone_needs_torch_and_numpy():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == {"torch", "numpy"}


def test_version_is_the_same_in_the_package_and_the_citation():
    source = (PACKAGE / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_every_folder_of_code_or_data_is_an_installed_package():
    """Setuptools warns whoever installs of a folder of data that is none, and may leave it out one day."""
    packages = {
        ".".join((name, *file.parent.relative_to(folder).parts))
        for name in ("data_scripts", "geomreg_mini", "geomreg_course")
        for folder in [ROOT / PYPROJECT["tool"]["setuptools"]["package-dir"].get(name, name)]
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == packages


def test_the_library_stays_small():
    files = python_files(PACKAGE)
    # The command, report and tracker for any embeddings and the readers of own data are 400 lines of these.
    assert len(files) <= 45 and sum(code_lines(path.read_text()) for path in files) <= 4978
    folders = {path.parent for path in files} - {PACKAGE}
    assert len(list(PACKAGE.glob("*.py"))) <= 16 and len(folders) <= 3


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


def test_docstrings_may_be_missing_as_under_python_oo():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            attribute = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "__doc__"
            assert not attribute, f"{path}, line {node.lineno}: without docstrings, __doc__ is None"


def test_names_in_annotations_are_types_for_checkers_too():
    """`A, B = int, str` is no alias for mypy and pyright: what it annotates is then not checked at all."""
    for path in python_files(PACKAGE):
        tree = ast.parse(path.read_text())
        hints = [getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")]
        used = {x.id for hint in hints if hint for x in ast.walk(hint) if isinstance(x, ast.Name)}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
                assert not used & {ast.unparse(name) for name in node.targets[0].elts}, f"{path}: {used}"


# One house for each reader. What a house holds may import its own and what stands before it.
HOUSES = [
    {"data_scripts"},
    {"geomreg_mini"},
    {"experiments"},
    {"figures", "geomreg_course", "lab"},
    {"checks"},
]
# The same for the modules inside two of them.
LIBRARY = [{"distributed", "records"}, {"inputs"}, {"data", "pairs"}, {"geometry", "regularizer"},
           {"controls", "measure"}, {"models", "__main__"}, {"paradigms"}, {"evaluation"}, {"tasks"},
           {"benchmarks"}, {"config"}, {"training"}, {"plots"}]  # fmt: skip
EXPERIMENTS = [{"paper", "sweeps", "manifest", "judging", "gain_figures"}, {"recipes", "together"}, {"study"},
               {"regimes", "benchmarks", "paradigm_table", "ablations", "search", "selection", "unlabeled",
                "paper_settings", "fair", "toy"},
               {"report", "cost", "cousins", "project", "toy_anchoring", "toy_dispersion"},
               {"claims", "verdict"},
               {"decided", "hindsight", "lessons", "limits"}]  # fmt: skip
SOURCES = sorted(
    path for house in ("data_scripts", "geomreg_mini", "experiments", "notebooks")
    for path in (ROOT / house).rglob("*.py")
)  # fmt: skip


def imported(path):
    """Dotted names of the modules, or of names inside them, that a file imports, but for types alone."""
    inside = path.relative_to(ROOT).parts
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
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


# Import names of distributions that are called otherwise.
IMPORTED_AS = {
    "beautifulsoup4": "bs4",
    "ipython": "IPython",
    "open-clip-torch": "open_clip",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "resvg-py": "resvg_py",
    "scikit-learn": "sklearn",
}
CORE = {Requirement(line).name for line in PROJECT["dependencies"]}


def promised(*extras: str) -> set[str]:
    """Import names of what is installed with these extras."""
    names = CORE | {Requirement(line).name for extra in extras for line in EXTRAS[extra]}
    return {IMPORTED_AS.get(name, name).replace("-", "_") for name in names}


def third_party(tree: ast.AST) -> set[str]:
    """Top-level names of what a program imports from neither Python nor this checkout."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    ours = {path.stem for folder in ("tests", "notebooks") for path in (ROOT / folder).rglob("*.py")}
    ours |= set().union(*HOUSES) | {"benchmarks"}
    standard = {*sys.stdlib_module_names, "tomllib"}  # the last is part of Python from 3.11 on
    return {name.partition(".")[0] for name in names} - standard - ours - {"google"}


def code_of(notebook: Path) -> ast.AST:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = "".join(f"{''.join(cell['source'])}\n" for cell in cells if cell["cell_type"] == "code")
    return ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", lines, flags=re.MULTILINE))


# What is installed where the files of a house are used. A search needs optuna, which no other command needs.
PROMISES = {
    "data_scripts": ("course", "benchmarks", "emoji"),
    "geomreg_mini": ("course", "benchmarks"),
    "experiments": ("course", "benchmarks", "scale"),
    "notebooks": ("course", "benchmarks"),
    "tests": ("course", "benchmarks", "emoji", "scale", "dev", "recipes"),
}
# What one command alone needs, which says how to install it: `geomreg-course picture` draws in a browser.
ASKED_FOR = {"notebooks": {"playwright"}}
# Imported by a test of what these packages, which others bring, take and give.
BROUGHT_ALONG = {"kagglesdk", "sqlalchemy", "setuptools"}


@pytest.mark.parametrize("house", PROMISES)
def test_what_a_house_imports_is_declared_for_it(house):
    known = promised(*PROMISES[house]) | (BROUGHT_ALONG if house == "tests" else ASKED_FOR.get(house, set()))
    found = {
        path.relative_to(ROOT): third_party(
            code_of(path) if path.suffix == ".ipynb" else ast.parse(path.read_text())
        )
        for pattern in ("*.py", "*.ipynb")
        for path in (ROOT / house).rglob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    }
    assert set().union(*found.values()) & {"torch", "numpy"}
    assert {str(path): missing for path, names in found.items() if (missing := names - known)} == {}


@pytest.mark.parametrize("number", [*(f"0{n}" for n in range(10)), "15", "16", "17", "18"])
def test_the_notebooks_of_the_course_need_no_other_extra(number):
    (notebook,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    assert third_party(code_of(notebook)) <= promised("course")


def imports_when_loaded(path: Path) -> set[str]:
    """Like ``third_party``, without what is imported inside functions or for type checkers alone."""

    def loaded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            yield node
            for part in ("body", "orelse", "finalbody"):
                if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield from loaded(getattr(node, part, []))

    imports = [
        n for n in loaded(ast.parse(path.read_text()).body) if isinstance(n, (ast.Import, ast.ImportFrom))
    ]
    return third_party(ast.Module(imports, []))


LOADED = [
    p
    for p in SOURCES
    if p.relative_to(ROOT).parts[0] in ("data_scripts", "geomreg_mini") and p.stem != "plots"
]


@pytest.mark.parametrize("path", LOADED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_of_the_library_but_the_plots_loads_with_torch_and_numpy(path):
    assert imports_when_loaded(path) <= CORE


def unannotated(path: Path) -> list[str]:
    """Functions of a file with an argument or a result that has no type."""
    tree, found = ast.parse(path.read_text()), []
    bound = {
        id(function): not any(ast.unparse(d) == "staticmethod" for d in function.decorator_list)
        for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        for function in node.body if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = [*node.args.posonlyargs, *node.args.args][bound.get(id(node), False) :]
            given += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
            if node.returns is None or any(argument.annotation is None for argument in given):
                found.append(f"{node.name}, line {node.lineno}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_function_says_the_types_of_its_arguments_and_of_its_result(path):
    assert unannotated(path) == []


def test_a_missing_annotation_is_found_wherever_it_is(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "class A:\n"
        "    def a(self, x: int) -> int: ...\n"
        "    def b(self, x) -> int: ...\n"
        "    @staticmethod\n"
        "    def c(x) -> int: ...\n"
        "def d(*x: int, **y: int) -> None:\n"
        "    def e(): ...\n"
        "def f(*, x=1) -> None: ...\n"
        "def g(*x) -> None: ...\n"
    )
    assert [line.partition(",")[0] for line in sorted(unannotated(path))] == ["b", "c", "e", "f", "g"]


def test_no_two_files_of_tests_share_a_name():
    """pytest imports them by name, and so do processes that a test starts."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_no_path_of_somebodys_machine_is_committed():
    readable = [*ROOT.glob("*.md"), *ROOT.glob("notebooks/**/*.ipynb"), *ROOT.glob("notebooks/**/*.md")]
    found = {}
    for path in [*readable, *ROOT.glob("results/**/*.json")]:
        text = re.sub(r'"image/\w+": "[^"]*"', "", path.read_text())
        if paths := re.findall(r"(?<![\w.~])/(?:root|home|tmp|Users)/[^\s\"']*", text):
            found[str(path.relative_to(ROOT))] = paths
    assert len(readable) > 5 and found == {}
