"""The maps of notebooks 03 and 04: fair cells, fresh seeds, the notebooks' own worlds, and what is drawn."""

import ast
import math
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from made_up_records import committed, folder_of, frame_of

from experiments import lessons, manifest, toy, toy_anchoring, toy_dispersion
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MAPS = {"toy_dispersion": toy_dispersion, "toy_anchoring": toy_anchoring}
FUSED = "test/accuracy/fused"


def source(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, 4).cells
    return ast.parse(
        "\n".join(c.source for c in cells if c.cell_type == "code" and "# Set-up" not in c.source)
    )


def defined(number, *names):
    """The functions and literal values of a notebook with these names."""
    scope = {"torch": torch, "F": torch.nn.functional}
    for node in source(number).body:
        named = getattr(node, "name", None) or (
            ast.unparse(node.targets[0]) if hasattr(node, "targets") else ""
        )
        if named.split("[")[0] in names:
            exec(compile(ast.Module([node], []), "notebook", "exec"), scope)
    return [scope[name] for name in names]


# The protocols


@pytest.mark.parametrize("name", MAPS)
def test_every_record_is_there(name):
    study = MAPS[name].STUDY
    assert study.missing(folder_of(study)) == []
    assert len(committed(name)) == len(study.files()) == len(manifest.digests(folder_of(study)))


@pytest.mark.parametrize("name", MAPS)
def test_every_arm_has_one_run_with_the_same_training(name):
    for cell in MAPS[name].STUDY.cells:
        assert {len(arm.settings) + len(arm.shares) for arm in cell.arms.values()} == {1}
        configs = [TrainConfig(**cell.config, **arm.settings["only"]).to_dict() for arm in cell.arms.values()]
        assert len({str({k: v for k, v in config.items() if k != "regularizer"}) for config in configs}) == 1


@pytest.mark.parametrize("name", MAPS)
def test_seeds_are_fresh_and_at_least_six(name):
    seeds = set(MAPS[name].SEEDS)
    used = {
        *range(30),
        *toy.SEEDS,
        *range(100, 103),
    }  # of notebooks in full mode, of toy, of a choice of weights
    assert len(seeds) >= 6 and not seeds & used
    assert all(set(cell.seeds) == seeds for cell in MAPS[name].STUDY.cells)


@pytest.mark.parametrize("name", MAPS)
def test_size_does_not_change_the_steps_and_the_step_size_not_their_product(name):
    module = MAPS[name]
    paths = {}
    for cell in module.STUDY.cells:
        at = cell.columns
        steps = cell.config["epochs"] * (at["size"] // module.BATCH)
        assert steps * at["rate"] == pytest.approx(module.STEPS * module.OWN["rate"]), at
        paths.setdefault(at["rate"], set()).add(steps)
    assert all(len(steps) == 1 for steps in paths.values()) and len(paths) >= 3


def test_the_worlds_are_those_of_the_notebooks():
    (shared,) = defined("03", "SHARED")
    (star,) = [c for c in toy_dispersion.STUDY.cells if c.columns == toy.OWN]
    assert star.config["dataset_options"] == shared | {"private_share": 0.0}
    (world,) = defined("04", "WORLD")
    (star,) = [c for c in toy_anchoring.STUDY.cells if c.columns == toy_anchoring.OWN]
    assert star.config["dataset_options"] == world | {"train_size": 400, "imbalance": 0.0}


def test_the_corners_of_the_exercises_are_cells_of_the_maps():
    for number, module in (("03", toy_dispersion), ("04", toy_anchoring)):
        corner = module.CORNER | {"rate": module.OWN["rate"]}
        (cell,) = [
            cell for cell in module.STUDY.cells if all(cell.columns[k] == v for k, v in corner.items())
        ]
        assert cell.config["epochs"] == {"03": 240, "04": 144}[number]


def test_the_reader_is_that_of_notebook_04():
    (explained,) = defined("04", "explained")
    generator = torch.Generator().manual_seed(1)
    z, factor = torch.randn(200, 6, generator=generator), torch.randn(200, 3, generator=generator)
    assert toy_anchoring.explained(z, factor) == pytest.approx(explained(z, factor), abs=1e-5)
    assert toy_anchoring.explained(factor @ torch.randn(3, 6, generator=generator), factor) < 1


def test_a_record_says_how_well_both_factors_are_read(tmp_path):
    cell = toy_anchoring._cell(size=100)
    cell = toy_anchoring.replace(cell, arms={"none": cell.arms["none"]}, seeds=(900,))
    assert toy_anchoring.STUDY.train_cell(cell, 900, tmp_path) == 1
    (path,) = tmp_path.glob("**/none.json")
    metrics = Record.load(path).metrics
    assert {f"test/explained_{f}/{m}" for f in ("shared", "private") for m in "ab"} < set(metrics)
    assert 0.2 < metrics["test/explained_shared/a"] < 1
    before = path.read_bytes()
    toy_anchoring.STUDY.train_cell(cell, 900, tmp_path)
    assert path.read_bytes() == before


# Comparisons


def families(worlds):
    """Rigid read-outs grow with the logarithm of the drift; the band lies above by a lead and the seed's."""
    runs = []
    for share, lead in worlds.items():
        for seed, step in enumerate((-0.01, 0.0, 0.01)):
            rows = [
                ("none", 2.0, 0),
                ("rigid 1", 0.02, 0),
                ("rigid 0.1", 0.4, 0),
                ("radius 0.9", 0.3, lead + step),
            ]
            runs += [
                {"share": share, "seed": seed, "arm": arm, "drift": drift, "shared": math.log(drift) + extra}
                for arm, drift, extra in rows
            ]
    return pd.DataFrame(runs)


def test_two_families_are_compared_at_the_drift_of_the_band():
    found = toy_anchoring.at_equal_drift(families({0.5: 0.1}), 0.9, "shared")
    assert (
        found["mean"] == pytest.approx(0.1) and 0 < found["low"] < 0.1 < found["high"] and found["seeds"] == 3
    )


def test_leads_of_several_worlds_are_averaged_within_a_seed():
    found = toy_anchoring.at_equal_drift(families({0.0: 0.1, 1.0: 0.4}), 0.9, "shared")
    assert found["mean"] == pytest.approx(0.25) and found["seeds"] == 3
    rows = toy_anchoring.at_equal_drift(families({1.0: 0.4}), 0.9, "shared")
    assert rows["mean"] == pytest.approx(0.4)


def test_nearly_all_bands_reach_a_drift_that_their_rigid_family_spans():
    runs, outside = toy_anchoring.table(committed("toy_anchoring")), []
    for _, own in runs.groupby([*toy_anchoring.OWN, "seed"]):
        rigid = own[~own["arm"].str.startswith("radius")]["drift"]
        bands = own[own["arm"].str.startswith("radius")]["drift"]
        outside += [not rigid.min() <= drift <= rigid.max() for drift in bands]
    assert np.mean(outside) < 0.02


# The figures


def known(columns, seed, arm, setting):
    if columns["rate"] == 0.1 and arm == "weight 10" and seed % 3 == 0:
        return {"validation/accuracy/fused": 0.0}
    return {FUSED: 0.5 + (arm == "weight 1") * (columns["size"] / 10_000 + 0.001 * (seed % 2))}


@pytest.fixture(scope="module")
def frame():
    return frame_of(toy_dispersion.STUDY, known)


def texts(ax):
    """(column, row) -> texts of the cell."""
    found = {}
    for text in ax.texts:
        if text.get_text():
            x, y = text.get_position()
            found.setdefault((int(x), int(y)), []).append(text.get_text())
    return found


def test_the_star_of_the_map_is_on_the_world_of_section_9(frame):
    ax = toy_dispersion.figure(frame).axes[0]
    (star,) = ax.lines
    place = int(star.get_xdata()[0]), int(star.get_ydata()[0])
    assert ax.get_xticklabels()[place[0]].get_text() == "300"
    assert ax.get_yticklabels()[place[1]].get_text() == "imbalance 0.6, private 0"
    assert texts(ax)[place][0] == "+3.1" or texts(ax)[place][0] == "+3.0"


def test_a_hidden_cell_shows_a_question_mark_and_no_number(frame):
    for ax in toy_dispersion.figure(frame, hidden=toy_dispersion.CORNER).axes[:2]:
        hidden = [place for place, said in texts(ax).items() if said == ["?"]]
        (place,) = hidden
        assert ax.get_xticklabels()[place[0]].get_text() == "100"
        assert ax.get_yticklabels()[place[1]].get_text() == "imbalance 0.6, private 1"


def test_an_arm_that_diverges_is_counted_and_has_no_gain(frame):
    gains = toy_dispersion.gains_and_diverged(frame)
    lost = gains[gains["mean"].isna()]
    assert set(lost["arm"]) == {"weight 10"} and set(lost["rate"]) == {0.1} and len(lost) == 5
    assert set(lost["note"]) == {"2 of 6\ndiverge"}
    assert not gains[gains["arm"] == "weight 1"]["mean"].isna().any()


def test_the_map_of_notebook_04_has_its_star_and_both_factors():
    ax = toy_anchoring.figure(committed("toy_anchoring"), hidden=toy_anchoring.CORNER).axes
    # The style of the course, which an earlier test may have set, writes titles on the left.
    assert [part.get_title(loc="left") or part.get_title() for part in ax[:2]] == [
        f"radius 0.9: {factor} factor, band minus rigid at equal drift" for factor in ("shared", "private")
    ]
    for part in ax[:2]:
        (star,) = part.lines
        assert part.get_xticklabels()[int(star.get_xdata()[0])].get_text() == "400"
        assert part.get_yticklabels()[int(star.get_ydata()[0])].get_text() == "imbalance 0, private 0.5"
        assert [said for said in texts(part).values() if said == ["?"]] == [["?"]]


def test_no_claim_is_about_a_cell_with_a_diverged_run():
    frame = committed("toy_dispersion")
    lost = frame[frame[FUSED].isna()]
    assert set(lost["rate"]) <= {0.1}
    claims = [claim for key, claim in lessons.CLAIMS.items() if key.startswith("03")]
    assert not any("five times" in claim.words for claim in claims)
