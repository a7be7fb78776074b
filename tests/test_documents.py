"""What the documents name exists and works: links, paths, names, commands with their options, and the loop.

Documents are the Markdown files, the prose of the notebooks, and the texts in the code: docstrings, and the
error messages that tell a reader what to run. Links to other sites are only checked for their form.
"""

import ast
import contextlib
import importlib
import io
import json
import re
import runpy
import sys
from pathlib import Path
from urllib.parse import urlsplit

import geomreg_course
import pytest
import torch
from recipe_page import PAGE as RECIPE_PAGE
from test_project import PYPROJECT, ROOT, SOURCES

MARKDOWN = sorted(path for path in ROOT.rglob("*.md") if not {".venv", "build"} & set(path.parts))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def texts_in_code(path: Path) -> str:
    tree = ast.parse(path.read_text())
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n\n".join(value for value in found if isinstance(value, str) and " " in value)


def prose(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    if path.suffix == ".py":
        return texts_in_code(path)
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


DOCUMENTS = {path: prose(path) for path in (*MARKDOWN, *NOTEBOOKS)}
EVERYTHING = DOCUMENTS | {path: prose(path) for path in SOURCES}
README, CONTRIBUTING = (DOCUMENTS[ROOT / name] for name in ("README.md", "CONTRIBUTING.md"))

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
everything = pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: str(path.relative_to(ROOT)))


# Links, paths and names


@documents
def test_links_lead_somewhere(path):
    for link in re.findall(r'\]\(([^)\s]+)\)|\bsrc="([^"]+)"', DOCUMENTS[path]):
        target = "".join(link)
        if target.startswith("attachment:"):
            continue
        if re.match(r"\w+:", target):
            parts = urlsplit(target)
            assert parts.scheme == "https" and "." in parts.netloc, target
        else:
            assert (path.parent / target.partition("#")[0]).exists(), target


@everything
def test_named_paths_exist(path):
    """Paths from the top of the checkout; NAME and the like stand for a name of the reader's."""
    houses = r"(?:data_scripts|experiments|geomreg_mini|notebooks|results|tests)"
    for name in re.findall(rf"(?<![\w./`])`{{1,2}}({houses}/[^\s`]*)`", EVERYTHING[path]):
        known = re.sub(r"(?<![A-Z])[A-Z]{4,}(?![A-Z])", "*", name)
        assert "{" in known or any(ROOT.glob(known.rstrip("/"))), f"`{name}` does not exist"


@everything
def test_dotted_names_can_be_imported(path):
    houses = r"(?:data_scripts|experiments|geomreg_mini|lab|figures)"
    for name in re.findall(rf"(?<![\w./])`{{1,2}}({houses}(?:\.[a-zA-Z_]\w*)+)\b(?![/*])", EVERYTHING[path]):
        assert "NAME" in name or resolve(name) is not None


def resolve(name: str) -> object:
    """The object of a dotted name, whose first parts are modules."""
    parts = name.split(".")
    for stop in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:stop]))
        except ModuleNotFoundError:
            continue
        for part in parts[stop:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"nothing is called {name}")


@documents
def test_imports_in_examples_work(path):
    if path == RECIPE_PAGE:
        pytest.skip("its examples are run in test_recipe_page, if their packages are installed")
    for block in re.findall(r"```python\n(.*?)```", DOCUMENTS[path], re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                [resolve(alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                [resolve(f"{node.module}.{alias.name}") for alias in node.names]


# Commands


def commands(program: str) -> dict[str, set[str]]:
    """First word behind ``program`` -> the words that follow it, over all texts.

    A command ends with its line, its backtick, or a comment; a line that ends with a backslash goes on.
    """
    found: dict[str, set[str]] = {}
    for text in EVERYTHING.values():
        for line in re.findall(rf"{program} ((?:\\\n|[^\n`#'])*)", text):
            first, *rest = line.replace("\\\n", " ").split() or [""]
            found.setdefault(first.rstrip(".,;:)"), set()).update(rest)
    return found


def options(words: set[str]) -> set[str]:
    return {found[0] for word in words if (found := re.match(r"--[a-z][a-z-]*", word))}


def help_of(run) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as done:
        run()
    assert done.value.code == 0
    return out.getvalue()


HOUSES = ("data_scripts", "experiments", "lab")
NO_NAME = {"experiments", "experiments.NAME"}  # the rest of a sentence, where the name is filled in
MODULES = {
    name: words
    for name, words in commands("python -m").items()
    if name.split(".")[0] in HOUSES and name not in NO_NAME
}


def test_the_documents_name_the_commands_of_every_house():
    assert {name.split(".")[0] for name in MODULES} == set(HOUSES) and len(MODULES) >= 10


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_named_module_says_how_to_use_it_and_knows_its_options(module, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    said = help_of(lambda: runpy.run_module(module, run_name="__main__"))
    if module == "data_scripts":  # its options belong to the data sets
        from data_scripts.__main__ import SCRIPTS, main

        said += "".join(help_of(lambda name=name: main([name, "--help"])) for name in SCRIPTS)
    assert options(MODULES[module]) - set(re.findall(r"--[a-z][a-z-]*", said)) == set()


COURSE = {name: words for name, words in commands("geomreg-course").items() if re.fullmatch("[a-z]+", name)}


@pytest.mark.parametrize("command", sorted(COURSE))
def test_a_named_command_of_the_course_exists_and_knows_its_options(command):
    said = help_of(lambda: geomreg_course.main([command, "--help"]))
    assert options(COURSE[command]) - set(re.findall(r"--[a-z][a-z-]*", said)) == set()


def test_named_scripts_and_data_sets_exist():
    from data_scripts.__main__ import SCRIPTS

    scripts = {name for text in EVERYTHING.values() for name in re.findall(r"python (\S+\.py)\b", text)}
    assert scripts and all((ROOT / name).exists() for name in scripts), scripts
    named = {name for text in EVERYTHING.values() for name in re.findall(r"-m data_scripts ([a-z]\w+)", text)}
    assert named > {"digits", "list"} and named <= {*SCRIPTS, "list"}


def test_named_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pattern = r"(?:`|^)make ([a-z-]+)"
    named = {name for text in EVERYTHING.values() for name in re.findall(pattern, text, re.MULTILINE)}
    assert named > {"run", "test"} and named <= targets
    shown = set(re.findall(r"make ([a-z-]+)", (ROOT / "Makefile").read_text().split("\n\n")[0]))
    assert shown <= targets


def test_named_extras_exist():
    extras = {
        extra
        for text in DOCUMENTS.values()
        for extras in re.findall(r"pip install[^\n]*\.\[([\w,]+)\]", text)
        for extra in extras.split(",")
    }
    assert extras and extras <= set(PYPROJECT["project"]["optional-dependencies"])


# The README itself


def test_the_loop_of_the_readme_runs():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in block.splitlines() if line]) == 4
    za, zv = (torch.randn(8, 16, requires_grad=True) for _ in range(2))
    names = {"za": za, "zv": zv, "task_loss": za.square().mean()}
    exec(block, names)
    names["loss"].backward()
    assert names["loss"].isfinite() and zv.grad.abs().sum() > 0


def words(text: str) -> int:
    """Words as a reader sees them: without addresses, tags and the lines of tables."""
    text = re.sub(r"<[^>]+>|\]\([^)]*\)|^\|[-|\s]+$", " ", text, flags=re.MULTILINE)
    return len([word for word in text.split() if re.search(r"\w", word)])


def test_the_readme_and_contributing_stay_short():
    assert words(README) <= 950 and words(CONTRIBUTING) <= 900


def test_every_picture_has_a_description_and_the_moving_one_is_small():
    for path in MARKDOWN:
        for picture in re.findall(r"<img[^>]*>|!\[[^]]*\]", DOCUMENTS[path]):
            assert len(re.search(r'alt="([^"]*)"|!\[([^]]*)\]', picture)[0]) > 40, picture
    (film,) = re.findall(r'src="([^"]+\.gif)"', README)
    assert (ROOT / film).stat().st_size < 1.5e6


@pytest.mark.slow
def test_the_readme_says_on_how_many_seeds_the_picture_is_repaired():
    from lab import film

    counts = re.search(r"over ten seeds, `b` spreads on (\d+) and pairs agree on (\d+)", README).groups()
    # Rounding differs between processors, and a seed near the bound may fall on the other side.
    assert film.repaired(range(10)) == pytest.approx([int(count) for count in counts], abs=1)
