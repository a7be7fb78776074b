"""CREMA-D and Kinetics-Sounds from their files to notebooks 10 and 11, in quick and in full mode.

The files are stand-ins. In full mode they lie where the official ones would, so that the notebooks run the
same cells on them; what a quick run stores is held by `tests/notebooks/test_notebooks.py` and nbval.
"""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import nbformat
import pytest

matplotlib.use("Agg")

from geomreg_course import books

from data_scripts import stand_ins
from experiments import benchmarks
from experiments.benchmarks import Run, load_embeddings, load_runs
from experiments.recipes import RECIPES

pytest.importorskip("av")
pytest.importorskip("soundfile")

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BOOKS = {"crema_d": "10_crema_d.ipynb", "kinetics_sounds": "11_kinetics_sounds.ipynb"}
CHANCE = {"crema_d": 1 / 6, "kinetics_sounds": 1 / 31}
SMALL = {"encoder": "conv", "embedding_dim": 64, "epochs": 5, "batch_size": 8, "learning_rate": 0.05}

both = pytest.mark.parametrize("name", BOOKS)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data folder in which stand-ins lie as stand-ins, and once more as the official clips."""
    folder = tmp_path_factory.mktemp("data")
    options = {"published": False, "frame_size": stand_ins.FRAME_SIZE, "progress": False}
    for name in BOOKS:
        stand_ins.prepare(name, folder)
        source = folder / "stand_ins" / f"source-v{stand_ins.VERSION}"
        importlib.import_module(f"data_scripts.{name}").prepare(folder, source, **options)
    return folder


@pytest.fixture(autouse=True)
def data_folder(root, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(root))


@both
def test_the_command_goes_from_files_to_records_of_models_that_learned(name, tmp_path, monkeypatch, capfd):
    small = replace(RECIPES[name], config=replace(RECIPES[name].config, **SMALL))
    monkeypatch.setitem(RECIPES, name, small)
    command = [name, "--source", "stand_in", "--paradigms", "dgl", "--seeds", "0", "--out", str(tmp_path)]
    assert benchmarks.main([*command, "--device", "cpu"]) == 0
    said = capfd.readouterr().out
    assert stand_ins.NOTE in said and "encoder is 'conv'; in the reference it is 'resnet18'." in said
    folder = tmp_path / f"{name}-source=stand_in"
    runs = load_runs(folder)
    assert sorted(runs["arm"]) == ["baseline", "regularized"] and set(runs["unlike"]) == {
        "our runs use generated stand-ins"
    }
    assert (runs["test/accuracy/fused"] > 4 * CHANCE[name]).all()
    assert runs["test_selected/accuracy/fused"].notna().all()
    assert len(load_embeddings(folder, "dgl", "regularized").labels) in (30, 31)


def cells(name):
    """Source of the code cells, in full mode, without part 1 and digits, which are the same in both modes."""
    notebook = nbformat.read(NOTEBOOKS / BOOKS[name], as_version=4)
    part_2 = [cell for cell in notebook.cells if not re.search("-(watch|emoji)-", cell.id)]
    sources = [books.as_python(cell.source) for cell in part_2 if cell.cell_type == "code"]
    sources = [source.replace('MODE = "quick"', 'MODE = "full"') for source in sources]
    return [source for source in sources if "of_digits" not in source and "added" not in source]


def in_full_mode(name, results):
    """Run the notebook's cells one after the other, with the records in ``results``, the command's --out."""
    place = {"display": lambda *shown: None}
    for source in cells(name):
        exec(source.replace('RESULTS = ""', f'RESULTS = "{results}"'), place)
    assert place["RESULTS"] == str(results)
    return place


@both
def test_full_mode_without_records_ends_in_one_sentence_that_names_the_command(name, tmp_path, capsys):
    with pytest.raises(
        FileNotFoundError,
        match=rf"^no records [^\n]*python -m experiments.benchmarks {name}' first\.$",
    ):
        in_full_mode(name, tmp_path)
    assert "155 clips are here" in (said := capsys.readouterr().out) or "180 clips are here" in said


@both
def test_full_mode_without_data_says_so_and_looks_at_stand_ins(name, root, tmp_path, monkeypatch, capsys):
    (tmp_path / "stand_ins").symlink_to(root / "stand_ins")
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no records"):
        in_full_mode(name, tmp_path)
    said = capsys.readouterr().out
    assert f"`python -m data_scripts {name}`" in said and "Until then you look at stand-ins." in said


@both
def test_full_mode_draws_tables_and_figures_from_records(name, tmp_path, capsys):
    folder = tmp_path / name
    plan = [Run("dgl", arm, seed) for arm in benchmarks.ARMS for seed in (0, 1)][
        : 8 if name == "crema_d" else 4
    ]
    changes = SMALL | {"epochs": 2}
    benchmarks.run_benchmark(name, folder, runs=plan, changes=changes, device="cpu", say=lambda text: None)
    place = in_full_mode(name, tmp_path)
    said = capsys.readouterr().out
    assert f"{len(plan)} runs" in said and stand_ins.NOTE not in said
    assert len(place["runs"]) == len(plan) and set(place["kept"]) == {"DGL", "DGL + both terms"}
    table = place["beside"]("paper" if name == "kinetics_sounds" else "table_1")
    status = table.loc["DGL + DAGR", ("multi", "status")].replace("\xa0", " ")
    assert status == "not run", "two seeds are too few for a verdict"
    assert table.loc["PMR", ("multi", "ours")].replace("\xa0", " ") == "not run"
    if name == "crema_d":  # the disjoint speakers were not trained
        assert "benchmarks crema_d --data split=speaker_disjoint' first." in said
