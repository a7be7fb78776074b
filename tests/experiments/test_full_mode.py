"""Full mode on another processor: a summary, and its gains beside the committed ones."""

import re
from pathlib import Path

import pandas as pd
import pytest

from experiments import paradigm_table, regimes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "results" / "full_mode"
AGAIN = pd.read_csv(FOLDER / "again.csv")
PAGE = " ".join((ROOT / "results" / "README.md").read_text().split())


def framed(rows, end=""):
    """Which intervals exclude zero."""
    return (rows[f"low{end}"] > 0) | (rows[f"high{end}"] < 0)


def counts(rows):
    return framed(rows).sum(), framed(rows, "_again").sum(), (framed(rows) & framed(rows, "_again")).sum()


def test_every_notebook_of_the_summary_ended_well():
    rows = pd.read_csv(FOLDER / "summary.csv")
    notebooks = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert set(rows["status"]) == {"ok"} and (rows["seconds"] > 0).all()
    assert list(rows["notebook"]) == [name for name in notebooks if name in set(rows["notebook"])]
    assert {"07_training_paradigms", "08_spoken_and_written_digits"} <= set(rows["notebook"])


@pytest.mark.parametrize(
    ("table", "study", "folder", "cell"),
    [("08, map", regimes, "digits", "regime"), ("07, digits", paradigm_table, "paradigms", "paradigm")],
)
def test_the_first_columns_are_the_committed_gains(table, study, folder, cell):
    frame = study.STUDY.load(ROOT / "results" / folder)
    for accuracy, rows in AGAIN[AGAIN["table"] == table].groupby("accuracy"):
        gains = study.STUDY.gains(frame, f"test/accuracy/{accuracy}")
        gains = gains[gains["arm"] == "regularized"]
        gains = gains[gains["dataset"] == "digits"] if "dataset" in gains else gains
        found = 100 * gains.set_index(cell)["mean"]
        assert set(found.index) == set(rows["cell"])
        assert rows["mean"].tolist() == pytest.approx(found[rows["cell"]].tolist(), abs=1e-3)


def test_the_page_counts_what_came_back():
    assert not (framed(AGAIN) & framed(AGAIN, "_again") & (AGAIN["mean"] * AGAIN["mean_again"] < 0)).any()
    first, again, both = counts(AGAIN)
    said = f"Of {len(AGAIN)} intervals, {first} excluded zero in the committed records and {again} in the new"
    assert f"{said} ones, {both} in both" in PAGE
    fused = AGAIN[AGAIN["accuracy"] == "fused"]
    assert f"For fused accuracy these are {'{}, {} and {}'.format(*counts(fused))} of {len(fused)}" in PAGE
    image = counts(AGAIN[AGAIN["accuracy"] == "image"])
    assert f"of the {image[0]} with the image read alone, {image[2]} come back" in PAGE
    assert (AGAIN[(AGAIN["accuracy"] == "image") & framed(AGAIN)]["mean"] < 0).all()
    said = re.search(r"of fused gains is \+([\d.]+) on the map \(08\) and \+([\d.]+) on the table", PAGE)
    for stated, start in zip(said.groups(), ("08", "07"), strict=True):
        rows = fused[fused["table"].str.startswith(start)]
        assert float(stated) == pytest.approx(rows["mean"].corr(rows["mean_again"]), abs=0.005)
