"""A course of one notebook, two checked exercises and an open one, for the tests of the course command."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SETUP = 'REPOSITORY = ""  # the git address\nREF = "main"'
PARAMETERS = 'MODE = "quick"\nSEED = 0'
CHECKS = '''
def double(answer):
    """f(3) must be 6."""
    value = answer(3)
    print("Right: twice." if value == 6 else f"Not yet: f(3) is {value}.")
    return value == 6


def capital(answer):
    print("Right: it is." if answer == "Oslo" else "Not yet: look it up.")
    return answer == "Oslo"
'''


def code(source, tag=None):
    return new_code_cell(source, metadata={"tags": [tag]} if tag else {})


def notebook(*cells, title="01 · Tiny"):
    """Strings become code cells, behind the cells with which every notebook begins."""
    first = [new_markdown_cell(f"# {title}\n\n<!-- badge -->"), code(SETUP), code(PARAMETERS, "parameters")]
    cells = [*first, code("import checks"), *(code(c) if isinstance(c, str) else c for c in cells)]
    return new_notebook(cells=cells, metadata={"course": {"data": "toy", "minutes": 5}})


def master():
    return notebook(
        new_markdown_cell("Some prose.\n\n## Exercise 1 · Double"),
        "def twice(x):\n    return ...  # your code\n\n\npassed = checks.double(twice)",
        code("def twice(x):\n    return 2 * x\n\n\nassert checks.double(twice)", "solution"),
        new_markdown_cell("## Exercise 2 · Capital"),
        "city = None\n_ = checks.capital(city)",
        code("city = 'Oslo'\nassert checks.capital(city)", "solution"),
        new_markdown_cell("## Exercise 3 · Think (open)"),
        new_markdown_cell(
            "<details><summary>One answer</summary>Any.</details>", metadata={"tags": ["solution"]}
        ),
        new_markdown_cell("## Recap\n\nSee [the next one](02_next.ipynb) and $x_i^2$."),
        "print('the end')",
    )


def write_course(root):
    """`root/notebooks` with the notebook and its checks; returns that folder."""
    folder = root / "notebooks"
    (folder / "checks").mkdir(parents=True)
    (folder / "checks" / "__init__.py").write_text(CHECKS)
    nbformat.write(master(), folder / "01_tiny.ipynb")
    return folder
