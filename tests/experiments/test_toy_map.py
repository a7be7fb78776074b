"""The toy worlds around that of notebook 01: equal budgets, its own world and weights, complete records."""

import ast
from pathlib import Path

import nbformat
import pytest
from made_up_records import committed, folder_of, frame_of

from experiments import toy
from geomreg_mini.training import TrainConfig

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_every_record_is_there():
    assert toy.STUDY.missing(folder_of(toy.STUDY)) == []
    assert len(committed("toy")) == len(toy.STUDY.files()) == len(set(toy.STUDY.files()))


def test_every_arm_has_one_run_with_the_same_data_and_epochs():
    for cell in toy.STUDY.cells:
        configs = [TrainConfig(**cell.config, **arm.settings["only"]) for arm in cell.arms.values()]
        kept = ("dataset_options", "epochs", "learning_rate", "evaluate_every", "embedding_dim")
        assert len({str([getattr(config, name) for name in kept]) for config in configs}) == 1


def test_the_own_world_has_the_options_and_weights_of_notebook_01():
    source = "\n".join(
        cell.source for cell in nbformat.read(NOTEBOOKS / "01_when_geometry_goes_wrong.ipynb", 4).cells
        if cell.cell_type == "code" and not cell.source.startswith("# Set-up")
    )  # fmt: skip
    world, weights = {}, None
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            target = ast.unparse(node.targets[0])
            world |= ast.literal_eval(node.value) if target == "WORLD" else {}
            world |= {"noise": ast.literal_eval(node.value)} if target == "WORLD['noise']" else {}
            weights = ast.literal_eval(node.value.body) if target == "weights" else weights
    assert toy.world(300, 0.6, 0.0) == world | {"private_share": 0.0}
    both = toy.ARMS["both terms"]["regularizer"]
    assert weights == (both.dispersion_weight, both.anchoring_weight, both.radius)


@pytest.fixture
def known():
    """A gain of both terms of 0.01 for each hundred samples, and 0.3 more at the own world."""

    def values(columns, seed, arm, setting):
        own = all(columns[name] == value for name, value in toy.OWN.items())
        gain = (arm == "both terms") * (columns["size"] / 10_000 + 0.3 * own + 0.002 * (seed % 2))
        return {"test/accuracy/fused": 0.5 + gain}

    return frame_of(toy.STUDY, values)


def test_an_arm_is_found_by_seed_in_the_world_that_is_named(known):
    found = toy.by_seed(known, "test/accuracy/fused", "both terms", size=1000)
    assert found == pytest.approx({seed: 0.6 + 0.002 * (seed % 2) for seed in toy.SEEDS})
    mean = toy.by_seed(known, "test/accuracy/fused", "both terms", size=None)  # three sizes, and 3,000
    assert mean[toy.SEEDS[0]] == pytest.approx(0.5 + (0.01 + 0.03 + 0.3 + 0.1 + 0.3) / 4)


def test_the_star_of_the_map_is_on_the_own_world(known):
    fig = toy.figure(known)
    (star,) = fig.axes[0].lines  # one alone
    x, y = star.get_xdata()[0], star.get_ydata()[0]
    cells = {tuple(text.get_position()): text.get_text() for text in fig.axes[0].texts}
    (here,) = [
        text
        for (tx, ty), text in cells.items()
        if int(tx) == int(x) and int(ty) == int(y) and text and "[" not in text
    ]
    assert here == "+33.1"
