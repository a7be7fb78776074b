"""Numbers of numpy and torch in configs, regularizers and controls: taken, kept as Python's, written down."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_data import clouds

from geomreg_mini import GeometryRegularizer, dispersion
from geomreg_mini.controls import CONTROLS, AlwaysOnAlignment, VICReg
from geomreg_mini.training import TrainConfig, fit

SMALL = TrainConfig(dataset="toy", epochs=2, batch_size=16, embedding_dim=6, learning_rate=0.0625)
FOREIGN = [np.float64, np.float32, lambda x: np.array(x), lambda x: torch.tensor(x)]


def run(config, **options):
    return fit(config, data=clouds(), device="cpu", progress=False, **options)


@pytest.mark.parametrize("number", FOREIGN)
def test_a_config_takes_numbers_of_other_libraries_everywhere(number):
    foreign = replace(
        SMALL,
        learning_rate=number(0.0625),
        clip_norm=number(0.5),
        dataset_options={"noise": {"a": number(0.25), "b": [number(0.5)]}},
        regularizer=GeometryRegularizer(number(0.5), number(2.0), radius=number(0.25)),
    )
    native = replace(
        SMALL,
        clip_norm=0.5,
        dataset_options={"noise": {"a": 0.25, "b": [0.5]}},
        regularizer=GeometryRegularizer(0.5, 2.0, radius=0.25),
    )
    assert foreign.key == native.key
    assert TrainConfig.from_dict(json.loads(json.dumps(foreign.to_dict()))) == native


def test_whole_numbers_of_numpy_count_and_halves_do_not():
    assert replace(SMALL, epochs=np.int64(3), seed=np.int32(7)).epochs == 3
    for value in (np.float64(1.5), True, np.bool_(True), torch.tensor(0)):
        with pytest.raises(ValueError, match="^epochs="):
            replace(SMALL, epochs=value)


@pytest.mark.parametrize("number", FOREIGN)
def test_a_run_with_them_is_recorded_and_resumed_like_one_with_pythons(number, tmp_path):
    config = replace(SMALL, learning_rate=number(0.0625), regularizer=VICReg(number(0.25)))
    expected = run(replace(SMALL, regularizer=VICReg(0.25)))
    stops = iter([True, False])
    with pytest.raises(Exception, match="stopped after epoch 1"):
        run(config, checkpoint=tmp_path / "run.pt", stop=lambda: next(stops))
    record = run(config, checkpoint=tmp_path / "run.pt")
    assert record == expected
    record.save(tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["config"] == expected.config


WEIGHTED = [control for control in CONTROLS.values() if control.__name__ != "UnitSphere"]


@pytest.mark.parametrize("control", WEIGHTED)
def test_controls_keep_pythons_numbers(control):
    made = control(np.float32(0.5))
    assert type(made.weight) is float and json.dumps(made.hyperparameters())
    z = {"a": torch.randn(8, 4), "b": torch.randn(8, 4)}
    assert made(z).total.dtype == torch.float32


def test_a_number_may_be_given_to_a_function_as_well():
    z = torch.randn(9, 4)
    assert dispersion(z, temperature=np.float64(0.5), chunk_size=np.int64(4)) == pytest.approx(
        dispersion(z).item(), rel=1e-5
    )
    with pytest.raises(ValueError, match="chunk_size"):
        dispersion(z, chunk_size=np.float64(4))


NOT_NUMBERS = [
    "0.02",
    None,
    [0.02],
    1j,
    True,
    float("nan"),
    float("inf"),
    10**400,
    np.array([0.1, 0.2]),
    object,
]


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: str(value)[:9])
@pytest.mark.parametrize(
    "field", "learning_rate clip_norm momentum weight_decay epochs seed monitor dataset_options".split()
)
def test_what_is_no_number_is_refused_by_its_field(field, value):
    fitting = {"clip_norm": [None], "monitor": [True], "seed": [10**400], "epochs": [10**400]}
    if any(value is fit or type(value) is int and value == fit for fit in fitting.get(field, [])):
        return
    with pytest.raises(ValueError, match=rf"^{field}=(.|\n)*: give "):
        replace(SMALL, **{field: value})


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: str(value)[:9])
def test_a_regularizer_s_weight_is_a_number(value):
    for kind in (*WEIGHTED, GeometryRegularizer):
        with pytest.raises(ValueError, match="weight must be a finite number >= 0, got "):
            kind(value)
    for name in ("radius", "power", "temperature", "strength"):
        with pytest.raises(ValueError, match=f"^{name} must be "):
            GeometryRegularizer(**{name: value})


def test_a_config_is_the_one_that_its_record_holds():
    written = replace(SMALL, dataset_options={"noise": (0.5, np.float32(0.25))})
    assert TrainConfig.from_dict(json.loads(json.dumps(written.to_dict()))) == written
    assert written.to_dict()["dataset_options"] == {"noise": [0.5, 0.25]}
    for key in (1, None, True, np.int64(1)):
        with pytest.raises(ValueError, match=r"cannot be written as JSON \(keys must be text\)"):
            replace(SMALL, dataset_options={"noise": {key: 0.5}})


@pytest.mark.parametrize("value", [{1, 2}, object(), 1 + 2j, float("nan")])
def test_what_a_record_cannot_hold_is_refused_before_training(value):
    with pytest.raises(ValueError, match="^dataset_options=.* cannot be written as JSON"):
        replace(SMALL, dataset_options={"noise": value})


def test_an_unreadable_checkpoint_is_not_to_be_deleted_and_its_message_is_plain(tmp_path):
    torch.save({"config": np.float64(0.5)}, tmp_path / "run.pt")  # as an earlier version wrote it
    with pytest.raises(ValueError, match="cannot be read .*: move it away to start again") as caught:
        run(SMALL, checkpoint=tmp_path / "run.pt")
    assert str(caught.value).isprintable() and "delete" not in str(caught.value)


def test_fit_leaves_generators_and_threads_as_they_were():
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        run(replace(SMALL, regularizer=AlwaysOnAlignment(1.0)))
        assert torch.equal(torch.get_rng_state(), expected[0])
        assert (np.random.get_state()[1].tolist(), random.getstate()) == expected[1:]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
