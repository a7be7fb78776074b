"""Recipes train in the published way, and `deviations` names every difference."""

from dataclasses import fields, replace

import pytest
import torch

from experiments.recipes import ARMS, RECIPES, deviations, recipe
from geomreg_mini import GeometryRegularizer
from geomreg_mini.config import SCHEDULES
from geomreg_mini.models import FUSIONS, build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig


@pytest.mark.parametrize("name", ["crema_d", "kinetics_sounds"])
def test_the_rate_of_an_audiovisual_recipe_falls_once_to_a_tenth_after_70_epochs(name):
    config = RECIPES[name].config
    rates = [SCHEDULES[config.schedule](epoch / config.epochs) for epoch in range(config.epochs)]
    assert rates == [1.0] * 70 + [0.1] * 30


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_deviates_in_whole_sentences_and_only_from_its_own_reference(name):
    config = RECIPES[name].config
    lines = deviations(config)
    assert lines and all(line.endswith(".") and "\n" not in line for line in lines)
    assert len(set(lines)) == len(lines)
    paper = deviations(replace(config, regularizer=ARMS["regularized"]))
    assert set(lines) < set(paper), "the regularizer adds to them"


@pytest.mark.parametrize("paradigm", list(PARADIGMS))
def test_another_paradigm_has_its_own_options_and_everything_else_of_the_recipe(paradigm):
    config = recipe("crema_d", paradigm, seed=3)
    assert config.paradigm_options == ({"alpha": 4.0} if paradigm == "dgl" else {})
    same = {f.name for f in fields(TrainConfig)} - {"paradigm", "paradigm_options", "fusion", "seed"}
    assert all(getattr(config, name) == getattr(RECIPES["crema_d"].config, name) for name in same)
    assert PARADIGMS[paradigm].fusions is None or config.fusion in PARADIGMS[paradigm].fusions


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(ValueError, match="recipe 'mnist' is unknown: choose one of crema_d, kinetics_sounds"):
        recipe("mnist")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 5), ("batch_size", 32), ("learning_rate", 0.01), ("momentum", 0.0), ("weight_decay", 0.0),
        ("schedule", "cosine"), ("clip_norm", None), ("fusion", "sum"), ("embedding_dim", 128),
        ("encoder", "conv"), ("depth", "logits"), ("combination", "task_pareto"),
    ],
)  # fmt: skip
def test_every_changed_field_is_named_with_both_values(field, value):
    config = RECIPES["kinetics_sounds"].config
    new = set(deviations(replace(config, **{field: value}))) - set(deviations(config))
    assert new == {f"{field} is {value!r}; in the reference it is {getattr(config, field)!r}."}


def test_alpha_paradigm_data_and_the_regularizers_weights_are_named():
    plain = set(deviations(RECIPES["crema_d"].config))
    for changed, word in [
        (replace(RECIPES["crema_d"].config, paradigm_options={"alpha": 5.0}), "'alpha': 5.0"),
        (recipe("crema_d", "ogm_ge"), "'ogm_ge' runs under DGL's recipe"),
        (recipe("crema_d", dataset_options={"frames": 3}), "loaded with frames=3"),
        (recipe("crema_d", dataset_options={"frames": 1, "source": "stand_in"}), "source='stand_in'"),
        (recipe("crema_d", regularizer=GeometryRegularizer(0.25)), "dispersion_weight=0.25"),
    ]:
        (line,) = set(deviations(changed)) - plain
        assert word in line


def test_a_single_precision_run_differs_in_nothing_of_the_reference_table():
    config = recipe("crema_d", precision="float32")
    assert not [line for line in deviations(config) if "in the reference it is" in line]


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_a_resnet_starts_with_xavier_heads_and_zero_biases_and_others_as_pytorch_does(fusion):
    class Data:
        modalities, num_classes, shapes = ("a", "b"), 40, {"a": (1, 16, 16), "b": (3, 16, 16)}

    model = build_model(Data, fusion=fusion, embedding_dim=512, heads=True, encoder="resnet18")
    for part in (model.fusion, model.heads):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Linear):
                assert not layer.bias.any()
                wanted = (2 / sum(layer.weight.shape)) ** 0.5
                assert layer.weight.std().item() == pytest.approx(wanted, rel=0.03)
    other = build_model(Data, fusion=fusion, heads=True, encoder="conv")
    assert all(head.bias.any() for head in other.heads.values())
