"""One config, one record: determinism, kills and resumption, selection, faults, precision, progress."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import clouds, dataset

from geomreg_mini import GeometryRegularizer
from geomreg_mini.config import SCHEDULES
from geomreg_mini.data import Split
from geomreg_mini.evaluation import Encoded, accuracies, encode
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.records import config_key
from geomreg_mini.training import Stopped, TrainConfig, fit, set_seed

ROOT = Path(__file__).parents[2]
SMALL = TrainConfig(dataset="toy", epochs=4, batch_size=16, embedding_dim=6, learning_rate=0.05)
REGULARIZED = replace(SMALL, paradigm="dgl", regularizer=GeometryRegularizer(radius=0.3))


def run(config=SMALL, data=None, **options):
    return fit(config, data=data or clouds(), device="cpu", progress=False, **options)


def as_json(record) -> str:
    values = record.to_dict()
    del values["wall_time"]
    return json.dumps(values, sort_keys=True)


# Configs


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(dataset="digits"),
        REGULARIZED,
        TrainConfig(
            dataset="digits",
            dataset_options={"source": "spoken", "labels": None, "image_noise": 0.4},
            paradigm="uniform_sum",
            paradigm_options={"unimodal_weight": 0.5},
            regularizer=GeometryRegularizer(0.0, 2.0, radius=0, form="hinge", power=1, chunk_size=16),
            fusion="sum",
            encoder="mlp",
            encoder_options={"hidden": 4},
            schedule="cosine",
            clip_norm=1.0,
            precision="bfloat16",
            seed=7,
        ),
    ],
)
def test_a_config_survives_json(config):
    again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.to_dict() == config.to_dict()
    assert (again.key, hash(again)) == (config.key, hash(config))


def test_configs_that_differ_in_anything_differ_in_key():
    configs = [SMALL, REGULARIZED, replace(SMALL, seed=1), replace(SMALL, regularizer=GeometryRegularizer())]
    configs.append(replace(SMALL, regularizer=GeometryRegularizer(radius=0.5)))
    assert len({config.key for config in configs}) == len(configs)
    assert len(set(configs)) == len(configs)


def test_a_config_is_frozen_and_its_dict_is_a_copy():
    config = TrainConfig(dataset="toy", dataset_options={"noise": {"a": 0.1, "b": 0.2}})
    with pytest.raises(FrozenInstanceError):
        config.epochs = 3
    config.to_dict()["dataset_options"]["noise"]["a"] = 9.0
    assert config.dataset_options == {"noise": {"a": 0.1, "b": 0.2}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("paradigm", "nonsense"),
        ("schedule", "nonsense"),
        ("precision", "float64"),
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", -1),
        ("evaluate_every", 0),
        ("embedding_dim", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("clip_norm", 0.0),
        ("regularizer", torch.nn.Identity()),
    ],
)
def test_a_bad_value_is_named_in_one_sentence(field, value):
    with pytest.raises(ValueError, match=f"^{field}=") as caught:
        replace(SMALL, **{field: value})
    assert "\n" not in str(caught.value)


def test_a_dict_of_another_version_is_refused():
    with pytest.raises(ValueError, match="a config has no warmup"):
        TrainConfig.from_dict({**SMALL.to_dict(), "warmup": 3})
    with pytest.raises(ValueError, match="regularizer class='Other' is unknown"):
        TrainConfig.from_dict({**SMALL.to_dict(), "regularizer": {"class": "Other"}})


def test_every_committed_config_is_read_and_written_as_it_was_and_keeps_its_key():
    earlier = {"depth": "embedding", "combination": "sum"}  # the first records have no such fields
    stored = {}  # one of those that differ in their seed alone
    for path in sorted((ROOT / "results").rglob("*.json")):
        if "config" in (values := json.loads(path.read_text())):
            stored[json.dumps(values["config"] | {"seed": 0}, sort_keys=True)] = values["config"]
    assert len(stored) > 500
    for values in stored.values():
        config = TrainConfig.from_dict(values)
        assert config.to_dict() == earlier | values and config.key == config_key(earlier | values)
        assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("field", ["fusion", "encoder", "dataset"])
def test_an_unknown_name_is_answered_before_training(field):
    with pytest.raises(ValueError, match="'nonsense'"):
        fit(
            replace(SMALL, **{field: "nonsense"}),
            data=None if field == "dataset" else clouds(),
            progress=False,
        )


# Determinism


@pytest.mark.parametrize("paradigm", list(PARADIGMS))
def test_the_same_config_gives_the_same_record_whatever_was_drawn_before(paradigm):
    config = replace(REGULARIZED, paradigm=paradigm, fusion="shared")
    first = run(config, clouds(3))
    torch.manual_seed(123)
    random.seed(5)
    second = run(config, clouds(3))
    assert first == second
    assert as_json(first) == as_json(second)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_a_regularizer_of_weight_zero_gives_the_record_without_it_bit_for_bit(paradigm):
    plain = replace(SMALL, paradigm=paradigm, fusion="shared")
    without, zero = run(plain), run(replace(plain, regularizer=GeometryRegularizer(0, 0)))
    assert zero.selected_epoch == without.selected_epoch
    for part in ("metrics", "series"):
        first, second = getattr(without, part), getattr(zero, part)
        assert first == {name: second[name] for name in first}
    more = set(zero.series) - set(
        without.series
    )  # it has a radius, so the share outside its band is measured
    assert more == {"train/loss/geometry", "validation/band_violation/a-b"}


def test_another_seed_gives_another_record():
    assert run(SMALL).metrics != run(replace(SMALL, seed=1)).metrics


def test_watching_does_not_disturb():
    seen = []

    def watch(epoch, model):
        seen.append(epoch)
        torch.rand(100)
        encode(model, clouds().test)

    assert run(SMALL, on_epoch=watch) == run(SMALL)
    assert seen == [0, 1, 2, 3, 4]


def test_set_seed_repeats_python_numpy_and_torch():
    draws = []
    for _ in range(2):
        set_seed(3)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert draws[0] == draws[1]


def test_a_cpu_run_takes_one_thread():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        during = []
        run(replace(SMALL, epochs=1), on_epoch=lambda epoch, model: during.append(torch.get_num_threads()))
        assert set(during) == {1} and torch.get_num_threads() == 2
        if not torch.cuda.is_available():
            torch.set_num_threads(2)
            set_seed(0)
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


# Kills and checkpoints

CHILD = """
import json, sys, time
from geomreg_mini.training import TrainConfig, fit
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
print("go", flush=True)
fit(config, checkpoint=sys.argv[2], device="cpu", progress=False, on_epoch=lambda *_: time.sleep(0.02))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_at_random_moments_and_resumed_gives_the_same_record(tmp_path):
    options = {"train_size": 48, "validation_size": 24, "test_size": 24}
    config = replace(REGULARIZED, dataset_options=options, epochs=25, evaluate_every=2)
    moments, checkpoint, codes = random.Random(0), tmp_path / "run.pt", []
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(config.to_dict()), str(checkpoint)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert child.stdout.readline() == b"go\n"
        time.sleep(moments.uniform(0.1, 0.4))
        child.send_signal(signal.SIGKILL)
        codes.append(child.wait())
        child.stdout.close()
    assert -signal.SIGKILL in codes
    resumed = fit(config, checkpoint=checkpoint, device="cpu", progress=False)
    whole = fit(config, device="cpu", progress=False)
    assert resumed == whole
    assert as_json(resumed) == as_json(whole)


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4])
def test_a_run_stopped_after_any_epoch_and_resumed_gives_the_same_record(tmp_path, stop):
    class Stop(Exception):
        pass

    def interrupt(epoch, model):
        if epoch == stop:
            raise Stop

    config = replace(REGULARIZED, evaluate_every=3)
    with pytest.raises(Stop):
        run(config, checkpoint=tmp_path / "run.pt", on_epoch=interrupt)
    assert run(config, checkpoint=tmp_path / "run.pt") == run(config)


@pytest.mark.parametrize("every", [1, 3])
def test_a_run_that_was_told_to_stop_saves_every_epoch_and_continues_to_the_same_record(tmp_path, every):
    config, path = replace(REGULARIZED, evaluate_every=every, paper_protocol=True), tmp_path / "run.pt"
    for epoch in (1, 2, 3):
        told = f"^stopped after epoch {epoch} of 4: .*run.pt continues from there"
        with pytest.raises(Stopped, match=told):
            run(config, checkpoint=path, stop=lambda: True)
    resumed = run(config, checkpoint=path, stop=lambda: True)  # the last epoch is not the place to stop
    assert as_json(resumed) == as_json(run(config))


def test_without_a_checkpoint_a_stopped_run_says_that_nothing_is_kept():
    with pytest.raises(Stopped, match="after epoch 1 of 4: nothing is kept"):
        run(SMALL, stop=lambda: True)


@pytest.mark.parametrize("paradigm", list(PARADIGMS))
def test_a_paradigm_takes_up_its_state_where_a_run_stopped(tmp_path, paradigm):
    class Stop(Exception):
        pass

    def interrupt(epoch, model):
        if epoch == 2:
            raise Stop

    config = replace(REGULARIZED, paradigm=paradigm, fusion="shared")
    with pytest.raises(Stop):
        run(config, checkpoint=tmp_path / "run.pt", on_epoch=interrupt)
    resumed = run(config, checkpoint=tmp_path / "run.pt")
    assert as_json(resumed) == as_json(run(config))


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(SMALL, checkpoint=tmp_path / "run.pt")
    looks = []
    again = run(SMALL, checkpoint=tmp_path / "run.pt", on_epoch=lambda epoch, model: looks.append(epoch))
    assert again == first and looks == [SMALL.epochs], "only the stored end is looked at"
    assert again.wall_time > 0


def sentence_of(path, **options) -> str:
    with pytest.raises(ValueError, match="checkpoint") as caught:
        run(checkpoint=path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_of_another_config_or_other_data_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    run(SMALL, checkpoint=path)
    content = path.read_bytes()
    assert "another config or data" in sentence_of(path, config=replace(SMALL, learning_rate=0.1))
    assert "another config or data" in sentence_of(path, data=clouds(seed=1))
    assert path.read_bytes() == content


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    run(SMALL, checkpoint=path)
    content = path.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "cannot be read" in sentence_of(path)


def test_another_file_of_torch_is_no_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    for value in ({"weights": torch.zeros(2)}, [1]):
        torch.save(value, path)
        assert "cannot be read" in sentence_of(path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    path = tmp_path / "run.pt"
    path.write_bytes(pickle.dumps(Attack(), protocol=2))
    sentence_of(path)
    assert not (tmp_path / "attacked").exists()


# Selection


def relabeled_test(data):
    test = Split(data.test.inputs, data.test.labels.roll(1))
    return dataset(data.shapes, data.num_classes, data.train, data.validation, test)


def test_the_test_split_decides_nothing_but_the_test_metrics():
    first, second = run(REGULARIZED), run(REGULARIZED, relabeled_test(clouds()))
    assert first.series == second.series
    assert first.selected_epoch == second.selected_epoch
    changed = {name for name in first.metrics if first.metrics[name] != second.metrics[name]}
    assert "test/accuracy/fused" in changed
    assert all(name.startswith("test/") for name in changed)


def test_the_selected_epoch_is_the_first_of_the_best_on_validation():
    record = run(replace(SMALL, epochs=6, learning_rate=0.02))
    accuracy = record.series["validation/accuracy/fused"]
    assert record.selected_epoch == 1 + accuracy.index(max(accuracy))
    assert record.metrics["validation/accuracy/fused"] == max(accuracy)


def test_the_papers_protocol_stands_beside_ours_and_decides_nothing():
    first, second = run(REGULARIZED), run(replace(REGULARIZED, paper_protocol=True))
    added = {name for name in second.metrics if name.startswith("test_selected/")}
    assert {f"test_selected/accuracy/{m}" for m in ("fused", "a", "b")} <= added
    assert {name: second.metrics[name] for name in second.metrics if name not in added} == first.metrics
    assert (second.series, second.selected_epoch) == (first.series, first.selected_epoch)
    assert first.split_sizes == {"train": 48, "validation": 48, "test": 48}
    relabeled = run(replace(REGULARIZED, paper_protocol=True), relabeled_test(clouds()))
    assert (relabeled.series, relabeled.selected_epoch) == (first.series, first.selected_epoch)


def test_the_papers_protocol_takes_the_best_epoch_on_the_test_samples_that_fill_batches():
    data, seen = clouds(), []

    def watch(epoch, model):
        if epoch:
            whole = encode(model, data.test)
            filled = Encoded({m: z[:40] for m, z in whole.embeddings.items()}, whole.labels[:40])
            seen.append(accuracies(PARADIGMS["joint"](model), filled))

    config = replace(SMALL, epochs=6, batch_size=20, learning_rate=0.02, paper_protocol=True)
    record = run(config, data, on_epoch=watch)
    fused = [accuracy["accuracy/fused"] for accuracy in seen]
    best = fused.index(max(fused))
    assert min(fused) < max(fused)
    assert record.metrics["test_selected/epoch/fused"] == best + 1
    for name, value in seen[best].items():
        assert record.metrics[f"test_selected/{name}"] == pytest.approx(value, rel=1e-5)
    assert record.split_sizes["test_selected"] == 40
    assert run(replace(config, batch_size=1000), data).split_sizes["test_selected"] == 48, "no full batch"


def test_a_model_passed_in_is_left_with_the_selected_weights():
    data, states = clouds(), {}
    model = build_model(data, embedding_dim=6)

    def watch(epoch, model):
        states[epoch] = {name: value.clone() for name, value in model.state_dict().items()}
        if epoch == 3:  # so that the last epoch cannot be the best one
            torch.nn.init.zeros_(model.fusion.linear.weight)
            model.encoders.requires_grad_(False)
            model.fusion.linear.bias.data.copy_(torch.tensor([9.0, 0.0, 0.0]))

    record = run(replace(SMALL, learning_rate=0.1, schedule="step"), data, model=model, on_epoch=watch)
    assert record.selected_epoch < 4
    chosen = states[record.selected_epoch]
    assert all(torch.equal(value, chosen[name]) for name, value in model.state_dict().items())
    assert not model.training
    got = accuracies(PARADIGMS["joint"](model), encode(model, data.test))["accuracy/fused"]
    assert got == pytest.approx(record.metrics["test/accuracy/fused"], abs=1e-6)


def test_separate_clouds_are_learned():
    data = clouds(3, size=96)
    for paradigm in PARADIGMS:
        record = run(replace(SMALL, paradigm=paradigm, fusion="shared", epochs=8), data)
        assert record.metrics["test/accuracy/fused"] > 0.9


# What is recorded


def test_a_record_says_what_ran_on_what():
    data = clouds()
    record = run(REGULARIZED, data)
    assert record.config == REGULARIZED.to_dict()
    assert (record.seed, record.device, record.data_fingerprint) == (0, "cpu", data.fingerprint)
    assert record.split_sizes == {"train": 48, "validation": 48, "test": 48}
    assert set(record.versions) == {"geomreg_mini", "python", "torch", "numpy"}


def test_metrics_are_named_split_quantity_modality():
    record = run(REGULARIZED)
    for name in record.metrics:
        split, quantity, *_ = name.split("/")
        assert split in ("train", "validation", "test")
        assert quantity
        assert len(name.split("/")) == (2 if quantity == "num_samples" else 3)
    for modality in ("fused", "a", "b"):
        assert 0 <= record.metrics[f"test/accuracy/{modality}"] <= 1
    assert "test/band_violation/a-b" in record.metrics, "at the regularizer's radius"
    assert "test/band_violation/a-b" not in run(SMALL).metrics


def test_the_history_holds_every_evaluated_epoch_and_the_last_one():
    record = run(replace(REGULARIZED, epochs=5, evaluate_every=2))
    history = record.history
    assert list(history.columns) == ["epoch", "split", "quantity", "modality", "value"]
    assert sorted(history["epoch"].unique()) == [2, 4, 5]
    counts = history.groupby(["split", "quantity", "modality"]).size()
    assert (counts == 3).all()
    losses = history[history["quantity"] == "loss"]
    assert set(losses["modality"]) == {"fused", "a", "b", "geometry"}
    assert set(losses["split"]) == {"train"}


def test_a_diagnostic_that_is_undefined_in_an_epoch_leaves_a_gap_there(tmp_path):
    def collapse(epoch, model):
        for parameter in model.encoders["a"].parameters():
            if epoch == 2:
                parameter.data.zero_()

    config = replace(SMALL, weight_decay=0.0, momentum=0.0)
    record = run(config, on_epoch=collapse)
    gaps = [value is None for value in record.series["validation/cdnv_raw/a"]]
    assert gaps == [False, False, True, True], "class means coincide, so variance over distance is undefined"
    assert {len(values) for values in record.series.values()} == {4}
    rows = record.history.query("quantity == 'cdnv_raw' and modality == 'a'")
    assert rows["value"].isna().tolist() == gaps
    assert type(record).load(record.save(tmp_path / "r.json")) == record


# Faults of training


@pytest.mark.parametrize("regularizer", [None, GeometryRegularizer()], ids=["plain", "regularized"])
def test_a_loss_that_is_not_finite_names_epoch_and_step_and_leaves_the_last_good_checkpoint(
    tmp_path, regularizer
):
    config = replace(SMALL, regularizer=regularizer)

    def poison(epoch, model):
        if epoch == 2:
            next(model.parameters()).data.fill_(float("nan"))

    with pytest.raises(
        FloatingPointError, match="'fused' is nan in epoch 3, step 1: lower the learning rate"
    ):
        run(config, checkpoint=tmp_path / "run.pt", on_epoch=poison)
    assert run(config, checkpoint=tmp_path / "run.pt") == run(config)


def test_weights_lost_in_the_last_step_of_an_epoch_name_the_epoch():
    with pytest.raises(FloatingPointError, match="not finite after epoch 1|in epoch 2, step 1"):
        run(replace(SMALL, batch_size=48, learning_rate=1e38))


def test_other_errors_of_the_regularizer_stay_what_they_are(monkeypatch):
    def refuse(self, embeddings):
        raise ValueError("modality 'b' has width 5")

    monkeypatch.setattr(GeometryRegularizer, "forward", refuse)
    with pytest.raises(ValueError, match="modality 'b' has width 5"):
        run(replace(SMALL, regularizer=GeometryRegularizer()))


def moved(config) -> float:
    """Norm of the change of all weights in one step from the same start."""
    data = clouds()
    torch.manual_seed(0)
    model = build_model(data, embedding_dim=6)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    run(config, data, model=model)
    return (torch.nn.utils.parameters_to_vector(model.parameters()) - before).norm().item()


def test_clip_norm_bounds_the_whole_gradient():
    one_step = replace(SMALL, epochs=1, batch_size=48, learning_rate=1.0, momentum=0.0, weight_decay=0.0)
    assert moved(one_step) > 0.1
    assert moved(replace(one_step, clip_norm=0.01)) == pytest.approx(0.01, rel=1e-3)
    assert moved(replace(one_step, clip_norm=100.0)) == pytest.approx(moved(one_step), rel=1e-5)


# Schedules, batches, precision


def test_schedules_at_known_points():
    assert [SCHEDULES["constant"](t) for t in (0.0, 0.9)] == [1.0, 1.0]
    assert [SCHEDULES["step"](t) for t in (0.0, 0.69, 0.7, 0.99)] == [1.0, 1.0, 0.1, 0.1]
    assert [SCHEDULES["cosine"](t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"), [("step", [1.0] * 7 + [0.1] * 3), ("constant", [1.0] * 10), ("cosine", None)]
)
def test_every_epoch_steps_at_the_scheduled_rate(schedule, expected, monkeypatch):
    rates, step = [], torch.optim.SGD.step

    def recorded(self, *arguments, **options):
        rates.append(self.param_groups[0]["lr"] / 0.05)
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", recorded)
    run(replace(SMALL, epochs=10, batch_size=48, schedule=schedule, evaluate_every=10))
    expected = expected or [0.5 * (1 + np.cos(np.pi * k / 10)) for k in range(10)]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_an_epoch_drops_what_does_not_fill_a_batch_and_sees_no_sample_twice(monkeypatch):
    seen, step = [], PARADIGMS["joint"].step

    def recorded(self, batch, *arguments):
        seen.append(batch["index"])
        return step(self, batch, *arguments)

    monkeypatch.setattr(PARADIGMS["joint"], "step", recorded)
    run(replace(SMALL, epochs=2, batch_size=20))
    assert [len(index) for index in seen] == [20, 20, 20, 20]
    first, second = torch.cat(seen[:2]), torch.cat(seen[2:])
    assert len(first.unique()) == len(second.unique()) == 40
    assert not torch.equal(first, second)
    seen.clear()
    run(replace(SMALL, epochs=1, batch_size=1000))
    assert [len(index) for index in seen] == [48], "a batch larger than the split is the split"


def test_half_precision_on_a_cpu():
    assert run(replace(REGULARIZED, precision="bfloat16")).metrics["test/accuracy/fused"] > 0.8
    assert run(replace(SMALL, precision="auto")).metrics == run(replace(SMALL, precision="float32")).metrics
    with pytest.raises(ValueError, match="precision='float16' needs a GPU"):
        run(replace(SMALL, precision="float16"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "float32", "float16"])
def test_a_gpu_learns_too_and_resumes(tmp_path, precision):
    config = replace(REGULARIZED, precision=precision, epochs=8)
    record = fit(config, data=clouds(), device="cuda", progress=False, checkpoint=tmp_path / "run.pt")
    assert record.device == torch.cuda.get_device_name()
    assert record.metrics["test/accuracy/fused"] > 0.8
    again = fit(config, data=clouds(), device="cuda", progress=False, checkpoint=tmp_path / "run.pt")
    assert again.selected_epoch == record.selected_epoch
    assert again.metrics["test/accuracy/fused"] == pytest.approx(
        record.metrics["test/accuracy/fused"], abs=0.05
    )


def test_compiling_takes_the_encoders_and_leaves_the_config(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *a, **k: compiled.append(self))
    model = build_model(clouds(), embedding_dim=6)
    record = run(SMALL, model=model, compile_encoders=True)
    assert compiled == list(model.encoders.values())
    assert record.config == SMALL.to_dict()


# Progress


def test_progress_in_a_log_says_the_device_and_shows_the_last_epoch(capfd):
    fit(SMALL, data=clouds(), device="cpu", progress=True)
    out, err = capfd.readouterr()
    assert "toy: training on cpu" in out
    assert "4/4" in err


def test_without_progress_nothing_is_printed(capfd):
    run(SMALL)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("paradigm", ["joint", "dgl", "ogm_ge", "mmpareto", "agm", "mla"])
def test_depth_hidden_regularizes_the_hidden_features_of_the_batch(paradigm):
    data, fusion = clouds(), PARADIGMS[paradigm].usual_fusion
    config = replace(
        REGULARIZED, paradigm=paradigm, fusion=fusion, depth="hidden", epochs=1, batch_size=10_000
    )
    set_seed(config.seed)
    heads = PARADIGMS[paradigm].needs_heads
    model = build_model(data, fusion=fusion, embedding_dim=6, heads=heads, hidden=True)
    hidden = model(data.train.batch(torch.arange(len(data.train)))["inputs"]).hidden
    assert {m: h.shape[1] for m, h in hidden.items()} == {"a": 128, "b": 128}
    expected = config.regularizer(hidden).total.item()
    record = run(config, data)
    assert record.series["train/loss/geometry"] == [pytest.approx(expected, rel=1e-4)]


def test_depth_hidden_asks_for_a_model_that_returns_hidden_features():
    data = clouds()
    with pytest.raises(ValueError, match="depth='hidden': the model's encoders give no hidden features"):
        run(replace(REGULARIZED, depth="hidden"), data, model=build_model(data, embedding_dim=6, heads=True))
