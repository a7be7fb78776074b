"""Write a notebook with only the lab, which `make app` serves, and Voila's settings beside it.

PYTHONPATH=notebooks python -m lab FILE      # in the checkout
"""

import argparse
import json
from pathlib import Path

import nbformat

PAGE = """\
import sys

sys.path += {folders!r}
import lab
from geomreg_mini import plots
from experiments import ablations

plots.use_style()
lab.tabs(lab.Lab(), lab.DigitsLab(ablations.STUDY.load({results!r})))
"""
# The page asks its own server alone: Voila's template names another one, for icons that widgets bring along.
SOURCES = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob: ws: wss:"
VOILA = {"Voila": {"tornado_settings": {"headers": {"Content-Security-Policy": SOURCES}}}}


def write(path: Path) -> None:
    """Write the notebook to ``path``, and ``voila.json`` next to it; make the folder if needed."""
    notebooks = Path(__file__).resolve().parents[1]
    folders = [str(notebooks), str(notebooks.parent)]  # of the lab, and of the experiments
    results = notebooks.parent / "results" / "ablations"
    title = "# Tuning lab\n\nMove a control, and a small network trains again. Notebook 06 is the guide."
    cells = [
        nbformat.v4.new_markdown_cell(title),
        nbformat.v4.new_code_cell(PAGE.format(folders=folders, results=str(results))),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    path.with_name("voila.json").write_text(json.dumps(VOILA))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lab", description="Write a notebook of the lab alone.")
    parser.add_argument("file", type=Path, help="the notebook to write")
    write(parser.parse_args().file)
