"""``python -m geomreg_mini.labs FILE`` writes a notebook of the lab alone, which `make app` serves."""

import sys
from pathlib import Path

import nbformat

PAGE = """\
from geomreg_mini import labs, plots
from geomreg_mini.experiments.ablations import load_ablations

plots.use_style()
labs.tabs(labs.Lab(), labs.DigitsLab(load_ablations({results!r})))
"""


def write(path: Path) -> None:
    results = Path(__file__).parents[2] / "results" / "ablations"
    title = "# Tuning lab\n\nMove a control, and a small network trains again. Notebook 06 is the guide."
    cells = [
        nbformat.v4.new_markdown_cell(title),
        nbformat.v4.new_code_cell(PAGE.format(results=str(results))),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
