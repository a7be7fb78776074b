"""What the loop asks a task, and a task other than classification through the one loop."""

import math
from dataclasses import replace

import pytest
from small_data import clouds
from torch import nn
from torch.nn import functional as F

from geomreg_mini import GeometryRegularizer
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.config import OPTIMIZERS
from geomreg_mini.paradigms import PARADIGMS, Paradigm
from geomreg_mini.tasks import Task
from geomreg_mini.training import Stopped, TrainConfig, fit


class Pairs(nn.Module):
    """Two linear encoders."""

    def __init__(self, shapes):
        super().__init__()
        self.modalities = tuple(shapes)
        self.encoders = nn.ModuleDict({m: nn.Linear(shape[0], 4) for m, shape in shapes.items()})

    def encode(self, inputs):
        return {m: self.encoders[m](x) for m, x in inputs.items()}

    def forward(self, inputs):
        return self.encode(inputs)


class Closeness(Paradigm):
    """Draws pairs together."""

    def losses(self, output, label):
        first, second = output.values()
        return {"distance": (F.normalize(first) - F.normalize(second)).square().sum(1).mean()}

    def step(self, batch, geometry, backward):
        output = self.model(batch["inputs"])
        losses = self.losses(output, batch["label"])
        if geometry is not None:
            losses["geometry"] = geometry(output)
        backward(sum(losses.values()))
        return {name: loss.detach() for name, loss in losses.items()}


class Agreement(Task):
    """Closer pairs are better; scores are negative."""

    paradigms = {"closeness": Closeness}
    selection = "closeness/pair"

    def build(self, config, data):
        return Pairs(data.shapes)

    def measure(self, paradigm, split, encoded):
        return {self.selection: -paradigm.losses(encoded.embeddings, None)["distance"].item()}

    def measure_test(self, paradigm, data, encoded):
        return {"splits/pair": float(len(encoded))}


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(TASKS, "agreement", Agreement)
    return TrainConfig(dataset="toy", task="agreement", paradigm="closeness", epochs=4, batch_size=16)


def test_another_task_is_trained_selected_and_recorded_by_the_same_loop(config):
    record = fit(config, data=clouds(), progress=False)
    series = record.series["validation/closeness/pair"]
    assert series[-1] > series[0]
    assert record.selected_epoch == 1 + series.index(max(series))
    assert record.metrics["validation/closeness/pair"] == pytest.approx(max(series), abs=1e-5)
    assert record.metrics["test/splits/pair"] == 3
    assert record.config["task"] == "agreement"


def test_the_regularizer_reaches_another_tasks_encoders(config):
    plain = fit(config, data=clouds(), progress=False)
    regularizer = GeometryRegularizer(dispersion_weight=1.0, anchoring_weight=0.0)
    spread = fit(replace(config, regularizer=regularizer), data=clouds(), progress=False)
    modality = next(iter(clouds().modalities))
    name = f"test/uniformity/{modality}"
    assert spread.metrics[name] < plain.metrics[name]


def test_another_task_resumes_to_the_same_record(config, tmp_path):
    asked = iter([False, True])
    with pytest.raises(Stopped):
        fit(config, data=clouds(), progress=False, checkpoint=tmp_path / "c.pt", stop=lambda: next(asked))
    resumed = fit(config, data=clouds(), progress=False, checkpoint=tmp_path / "c.pt")
    assert resumed == fit(config, data=clouds(), progress=False)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_and_resumes(config, optimizer, tmp_path):
    config = replace(config, optimizer=optimizer, learning_rate=0.01)
    asked = iter([True])
    with pytest.raises(Stopped):
        fit(config, data=clouds(), progress=False, checkpoint=tmp_path / "c.pt", stop=lambda: next(asked))
    record = fit(config, data=clouds(), progress=False, checkpoint=tmp_path / "c.pt")
    assert record == fit(config, data=clouds(), progress=False)
    assert all(math.isfinite(value) for value in record.metrics.values())


def test_a_task_names_the_paradigms_it_knows(config):
    with pytest.raises(ValueError, match="paradigm='joint' is unknown: choose one of closeness"):
        replace(config, paradigm="joint")
    with pytest.raises(ValueError, match="task='sorting' is unknown: choose one of classification"):
        TrainConfig(dataset="toy", task="sorting")


def test_defaults_leave_no_trace_in_a_config():
    values = TrainConfig(dataset="toy").to_dict()
    assert not {"task", "optimizer"} & set(values)
    changed = TrainConfig(dataset="toy", optimizer="adamw")
    assert TrainConfig.from_dict(changed.to_dict()) == changed


def test_classification_knows_every_paradigm():
    assert TASKS["classification"].paradigms is PARADIGMS
