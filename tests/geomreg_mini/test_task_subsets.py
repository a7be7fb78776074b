"""Every subset of the modalities from one model: what is absent has no influence, and metrics are as told."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from small_data import RADIO, radio
from torch.nn import functional as F

from experiments import benchmarks, report
from experiments.paper import XFI_XRF55
from experiments.recipes import RECIPES, deviations, recipe
from experiments.recipes.xrf55 import KEEP
from geomreg_mini import GeometryRegularizer
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.benchmarks.subset_models import TokenEncoder, build_subset_classifier, subsets
from geomreg_mini.benchmarks.subsets import LateFusion, ModalityDropout, Subsets, batch_accuracy
from geomreg_mini.data.corruptions import FIGURES_10_TO_12
from geomreg_mini.evaluation import accuracy, disturbed
from geomreg_mini.training import Stopped, TrainConfig, fit, set_seed

MODALITIES = tuple(RADIO)
NAMES = ["+".join(s) for s in subsets(MODALITIES)]
SMALL = {"width": 4, "depth": 1, "attention_heads": 2, "tokens": 3}
CONFIG = TrainConfig(
    dataset="toy",
    task="subsets",
    paradigm="modality_dropout",
    encoder="resnet18",
    encoder_options=SMALL,
    fusion="transformer",
    embedding_dim=8,
    epochs=4,
    batch_size=12,
    optimizer="adamw",
    learning_rate=0.01,
    schedule="constant",
    evaluate_every=2,
)


def model(heads=False, seed=0):
    torch.manual_seed(seed)
    return build_subset_classifier(radio(6), 8, heads=heads, **SMALL)


# model ------------------------------------------------------------------------------------------------------


def test_there_are_seven_subsets_of_three_modalities_under_their_published_names():
    assert NAMES == list(XFI_XRF55)


@pytest.mark.parametrize(
    ("shape", "places"), [((17, 256, 128), 32), ((270, 1000), 32), ((23, 148), 5), ((3, 64, 32), 2)]
)
def test_an_encoder_gives_the_same_number_of_tokens_whatever_the_shape(shape, places):
    encoder = TokenEncoder(shape, 16, tokens=32, width=2)
    x = torch.randn(2, *shape)
    assert encoder.backbone(x).flatten(2).shape[2] == places
    assert encoder(x).shape == (2, 32, 16)


def test_in_full_size_the_encoders_are_resnet_18_to_512_channels():
    for shape in RADIO.values():
        encoder = TokenEncoder(shape, 512)
        convolutions = [
            m for m in encoder.backbone.modules() if "Conv" in type(m).__name__ and m.kernel_size[0] > 1
        ]
        assert len(convolutions) == 17 and convolutions[-1].out_channels == 512


def test_an_embedding_is_the_mean_token_and_heads_change_no_other_weight():
    plain, headed = model(), model(heads=True)
    inputs = radio(6).train.inputs
    tokens = plain.eval().tokens(inputs)
    for m, z in plain.encode(inputs).items():
        assert torch.equal(z, tokens[m].mean(dim=1)) and z.shape == (6, 8)
    weights = headed.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    assert set(weights) - set(plain.state_dict()) == {
        f"heads.{m}.{w}" for m in MODALITIES for w in ("weight", "bias")
    }


@pytest.mark.parametrize("kind", [ModalityDropout, LateFusion])
@pytest.mark.parametrize("present", subsets(MODALITIES)[:-1], ids="+".join)
def test_what_an_absent_modality_s_encoder_gives_has_no_influence(kind, present):
    paradigm = kind(model(heads=True).eval())
    tokens = {m: z.detach().requires_grad_() for m, z in paradigm.model.tokens(radio(6).train.inputs).items()}
    name = "+".join(present)
    expected = paradigm.logits_of({m: tokens[m] for m in present})
    expected.square().sum().backward()
    for m in MODALITIES:
        assert (tokens[m].grad is not None and tokens[m].grad.any()) == (m in present)

    split = radio(6).train
    for absent in set(MODALITIES) - set(present):
        split.inputs[absent].fill_(math.nan)
    logits = Subsets().encode(paradigm, split).logits
    assert torch.allclose(logits[name], expected, atol=1e-6)
    assert not logits["+".join(MODALITIES)].isfinite().any()


def test_each_modality_that_is_there_changes_the_prediction():
    paradigm = ModalityDropout(model().eval())
    logits = Subsets().encode(paradigm, radio(6).train).logits
    for first, second in [(a, b) for a in NAMES for b in NAMES if a < b]:
        assert not torch.allclose(logits[first], logits[second])


# paradigms --------------------------------------------------------------------------------------------------


def test_modalities_are_kept_as_often_as_asked_and_never_none():
    keep = {"mmWave": 0.5, "WiFi": 0.9, "RFID": 0.6}
    paradigm = ModalityDropout(model(), keep)
    torch.manual_seed(0)
    draws = 4000
    counts = Counter("+".join(paradigm.draw_modalities()) for _ in range(draws))
    assert set(counts) <= set(NAMES)
    nothing = math.prod(1 - p for p in keep.values())
    for subset in subsets(MODALITIES):
        p = math.prod(keep[m] if m in subset else 1 - keep[m] for m in MODALITIES) / (1 - nothing)
        assert abs(counts["+".join(subset)] / draws - p) < 5 * math.sqrt(p * (1 - p) / draws)


def test_a_dropped_encoder_learns_nothing_from_the_task_and_everything_from_the_regularizer(monkeypatch):
    paradigm = ModalityDropout(model())
    monkeypatch.setattr(paradigm, "draw_modalities", lambda: ("WiFi",))
    batch = {"inputs": radio(12).train.inputs, "label": radio(12).train.labels}

    def moved(geometry):
        paradigm.model.zero_grad()
        paradigm.step(batch, geometry, lambda loss: loss.backward())
        return {m: any(p.grad is not None and p.grad.any() for p in e.parameters())
                for m, e in paradigm.model.encoders.items()}  # fmt: skip

    assert moved(None) == {"mmWave": False, "WiFi": True, "RFID": False}
    reg = GeometryRegularizer(dispersion_weight=1.0, anchoring_weight=1.0)
    assert all(moved(lambda z: reg(z).total).values())
    assert paradigm.model.fusion.marks["mmWave"].grad is None


def test_late_fusion_averages_the_probabilities_of_the_modalities_that_are_there():
    paradigm = LateFusion(model(heads=True).eval())
    found = Subsets().encode(paradigm, radio(6).train).logits
    embeddings = paradigm.model.encode(radio(6).train.inputs)
    each = {m: paradigm.model.heads[m](z).softmax(1) for m, z in embeddings.items()}
    for name, logits in found.items():
        mean = torch.stack([each[m] for m in name.split("+")]).mean(0)
        assert torch.allclose(logits.softmax(1), mean, atol=1e-6)


def test_two_stages_train_first_the_encoders_and_then_all_but_their_resnets():
    config = replace(CONFIG, paradigm_options={"pretrain": 0.5, "freeze": True}, evaluate_every=1)
    seen = []
    trained = TASKS["subsets"]().build(config, radio())
    fit(
        config, data=radio(), model=trained, progress=False,
        on_epoch=lambda epoch, m: seen.append({k: p.detach().clone() for k, p in m.named_parameters()}),
    )  # fmt: skip
    for epoch, pretraining in [(1, True), (2, True), (3, False), (4, False)]:
        parts = {"backbone": pretraining, "projection": True, "heads": pretraining, "fusion": not pretraining}
        for part, moves in parts.items():
            names = [k for k in seen[0] if part in k]
            changed = [not torch.equal(seen[epoch - 1][k], seen[epoch][k]) for k in names]
            assert names and (all(changed) if moves else not any(changed)), (epoch, part)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": {"mmWave": 0.5}}, "give each of .*mmWave.*RFID.* a probability"),
        ({"keep": {"mmWave": 0.5, "WiFi": 0, "RFID": 1}}, "a probability above 0, up to 1"),
        ({"pretrain": 1.0}, "pretrain=1.0: give a share of the epochs"),
        ({"freeze": True}, "freeze=True would fix untrained ResNets; set pretrain"),
    ],
)
def test_bad_options_of_modality_dropout_are_told(options, said):
    with pytest.raises(ValueError, match=said):
        ModalityDropout(model(), **options)


# metrics ----------------------------------------------------------------------------------------------------


def test_batch_accuracy_weighs_batches_alike_and_accuracy_samples():
    labels = torch.zeros(36, dtype=torch.long)
    logits = F.one_hot(torch.tensor([0] * 32 + [1] * 4), 2).float()  # the last batch, of four, is wrong
    assert batch_accuracy(logits, labels) == 0.5
    assert batch_accuracy(logits, labels, size=36) == pytest.approx(32 / 36)
    assert batch_accuracy(logits[:32], labels[:32]) == 1.0


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100, 6600 % 997])
def test_batch_accuracy_is_the_loop_that_x_fi_runs(count):
    generator = torch.Generator().manual_seed(count)
    logits, labels = (
        torch.rand(count, 5, generator=generator),
        torch.randint(5, (count,), generator=generator),
    )
    total, batches = 0.0, 0
    for start in range(0, count, 32):
        guess, label = logits[start : start + 32].argmax(1), labels[start : start + 32]
        total += sum(int(a == b) for a, b in zip(guess.tolist(), label.tolist(), strict=True)) / len(label)
        batches += 1
    assert batch_accuracy(logits, labels) == pytest.approx(total / batches)


def test_all_seven_subsets_come_from_one_checkpoint(tmp_path):
    trained = TASKS["subsets"]().build(CONFIG, radio())
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        fit(CONFIG, data=radio(), checkpoint=tmp_path / "c.pt", progress=False, stop=lambda: next(asked))
    record = fit(CONFIG, data=radio(), model=trained, checkpoint=tmp_path / "c.pt", progress=False)
    stored = torch.load(tmp_path / "c.pt", weights_only=True)
    fresh = TASKS["subsets"]().build(CONFIG, radio())
    fresh.load_state_dict(stored["best"][2])
    data = radio()
    logits = Subsets().encode(ModalityDropout(fresh), data.test).logits
    assert len(logits) == 7
    for name, values in logits.items():
        right = (values.argmax(1) == data.test.labels).double()
        assert record.metrics[f"test/accuracy/{name}"] == pytest.approx(right.mean().item(), abs=1e-5)
        assert record.metrics[f"test/batch_accuracy/{name}"] == pytest.approx(
            (right[:32].mean() + right[32:].mean()).item() / 2, abs=1e-5
        )
    mean = sum(record.metrics[f"test/accuracy/{name}"] for name in NAMES) / 7
    assert record.metrics["test/mean_accuracy/subsets"] == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("paradigm", ["modality_dropout", "unimodal"])
def test_every_subset_is_learned_and_a_stopped_run_ends_with_the_same_record(tmp_path, paradigm):
    regularizer = GeometryRegularizer(dispersion_weight=0.05, anchoring_weight=0.05)
    config = replace(
        CONFIG, paradigm=paradigm, epochs=32, batch_size=6, evaluate_every=8, regularizer=regularizer
    )
    record = fit(config, data=radio(), progress=False)
    assert record.metrics["test/mean_accuracy/subsets"] > 0.7
    assert min(record.metrics[f"test/accuracy/{name}"] for name in NAMES) > 0.45  # chance: 0.33
    assert {"test/knn_probe/RFID", "test/effective_rank/WiFi"} <= set(record.metrics)
    asked = iter([False] * 9 + [True])
    with pytest.raises(Stopped):
        fit(config, data=radio(), progress=False, checkpoint=tmp_path / "c.pt", stop=lambda: next(asked))
    assert fit(config, data=radio(), progress=False, checkpoint=tmp_path / "c.pt") == record


def test_one_modality_is_disturbed_at_a_time_and_one_that_is_missing_is_left_out():
    data = replace(radio(), corruptions=FIGURES_10_TO_12)
    for paradigm in ("modality_dropout", "unimodal"):
        config = replace(CONFIG, paradigm=paradigm, epochs=8)
        set_seed(config.seed)
        trained = TASKS["subsets"]().build(config, data)
        metrics = fit(config, data=data, model=trained, progress=False).metrics
        plain = fit(config, data=radio(), progress=False).metrics
        added = {name.removeprefix("test/"): value for name, value in metrics.items() if name not in plain}
        assert plain == {name: metrics[name] for name in plain}
        levels = ["dropout_0.25", "dropout_0.5", "dropout_0.75", "noise_0.25", "noise_0.5", "noise_1"]
        names = ["segments_missing_1", *(f"feature_{level}" for level in levels)]
        assert set(added) == {f"accuracy_{name}/{m}" for name in names for m in MODALITIES}
        for m, rest in zip(MODALITIES, ("WiFi+RFID", "mmWave+RFID", "mmWave+WiFi"), strict=True):
            assert added[f"accuracy_segments_missing_1/{m}"] == metrics[f"test/accuracy/{rest}"]

        fitted = TASKS["subsets"].paradigms[paradigm](trained)
        parts = {"embed": trained.tokens, "logits_of": fitted.logits_of}
        nothing = {"feature_dropout": [0], "feature_noise": [0], "features_missing": [0]}
        same = disturbed(fitted, data, data.test, nothing, **parts)
        whole = metrics["test/accuracy/mmWave+WiFi+RFID"]
        assert same and list(same.values()) == pytest.approx([whole] * 9, abs=1e-5)
        tokens = trained.tokens(data.test.inputs)
        zeros = fitted.logits_of({**tokens, "WiFi": 0 * tokens["WiFi"]})
        all_dropped = disturbed(fitted, data, data.test, {"feature_dropout": [1]}, **parts)
        assert all_dropped["accuracy_feature_dropout_1/WiFi"] == accuracy(zeros, data.test.labels)


def test_sound_and_picture_kinds_do_not_exist_for_radio():
    paradigm = ModalityDropout(model())
    with pytest.raises(
        ValueError, match="corruption 'snr' does not exist for mmWave, WiFi, RFID: choose among"
    ):
        disturbed(paradigm, radio(6), radio(6).test, ["snr"], embed=paradigm.model.tokens)


def test_the_regularizer_acts_on_all_three_modalities():
    plain = fit(CONFIG, data=radio(), progress=False)
    regularizer = GeometryRegularizer(dispersion_weight=1.0, anchoring_weight=0.0)
    spread = fit(replace(CONFIG, regularizer=regularizer), data=radio(), progress=False)
    for m in MODALITIES:
        assert spread.metrics[f"test/uniformity/{m}"] < plain.metrics[f"test/uniformity/{m}"]


def test_pareto_gradients_leave_fixed_encoders_alone():
    options = {"pretrain": 0.5, "freeze": True}
    config = replace(CONFIG, paradigm_options=options, combination="task_pareto", epochs=2)
    record = fit(replace(config, regularizer=GeometryRegularizer(1.0, 1.0)), data=radio(), progress=False)
    assert math.isfinite(record.metrics["test/mean_accuracy/subsets"])


@pytest.mark.gpu
def test_a_step_of_full_size_fits_a_card_of_16_gb():
    shapes = {"mmWave": (17, 256, 128), "WiFi": (270, 1000), "RFID": (23, 148)}
    config = replace(RECIPES["xrf55"].config, epochs=1, regularizer=GeometryRegularizer())
    torch.cuda.reset_peak_memory_stats()
    record = fit(config, data=radio(32, shapes), device="cuda", progress=False)
    print(torch.cuda.get_device_name(), f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
    assert torch.cuda.max_memory_allocated() < 16e9
    assert math.isfinite(record.series["train/loss/fused"][-1])


@pytest.mark.parametrize("depth", ["hidden", "logits"])
def test_the_regularizer_may_see_hidden_layers_and_logits_where_there_are_heads(depth):
    config = replace(
        CONFIG, depth=depth, regularizer=GeometryRegularizer(1.0, 1.0), paradigm="unimodal", epochs=1
    )
    assert math.isfinite(fit(config, data=radio(), progress=False).metrics["test/mean_accuracy/subsets"])
    if depth == "logits":
        with pytest.raises(ValueError, match="depth='logits': fusion='transformer' has no unimodal logits"):
            fit(replace(config, paradigm="modality_dropout"), data=radio(), progress=False)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"encoder": "conv"}, "encoder='conv' is unknown: choose one of resnet18"),
        ({"fusion": "concat"}, "fusion='concat' is unknown: choose one of transformer"),
        ({"embedding_dim": 9}, "embedding_dim=9 is not a multiple of attention_heads=2"),
        ({"encoder_options": {"width": 0}}, "width=0: give "),
    ],
)
def test_what_the_task_has_no_model_for_is_told(changed, said):
    with pytest.raises(ValueError, match=said):
        TASKS["subsets"]().build(replace(CONFIG, **changed), radio(6))


# recipes ----------------------------------------------------------------------------------------------------


def test_the_baseline_and_changed_options_are_told():
    config = RECIPES["xrf55"].config
    plain = set(deviations(config))
    for changed, word in [
        (replace(config, paradigm_options={"keep": {**KEEP, "WiFi": 0.5}}), "'WiFi': 0.5"),
        (replace(config, encoder_options={"width": 32}), "encoder_options is {'width': 32}"),
        (recipe("xrf55", "unimodal"), "'unimodal' stands in for X-Fi's baseline"),
        (recipe("xrf55", regularizer=GeometryRegularizer(0.25)), "dispersion_weight=0.25"),
    ]:
        (line,) = set(deviations(changed)) - plain
        assert word in line


def test_the_command_runs_both_rows_in_both_arms_and_they_stand_beside_x_fi_s_numbers(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("geomreg_mini.data.load", lambda name, **options: radio())
    command = ["xrf55", "--out", str(tmp_path), "--source", "stand_in", "--epochs", "1", "--seeds", "0"]
    assert benchmarks.main([*command, "--arms", "baseline", "--device", "cpu"]) == 0
    assert benchmarks.main([*command, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "4 runs, 2 recorded" in out and "batch_accuracy/... is the mean over batches of 32" in out
    runs = benchmarks.load_runs(tmp_path / "xrf55-source=stand_in")
    assert {*zip(runs["paradigm"], runs["arm"], strict=True)} == {
        (p, a) for p in ("modality_dropout", "unimodal") for a in ("baseline", "regularized")
    }
    frame = report.compared(runs, "xfi_xrf55", "XRF55").set_index(["method", "modality"])
    mine = runs[runs["arm"] == "baseline"].set_index("paradigm")
    for name, (baseline, xfi) in XFI_XRF55.items():
        column = f"test/batch_accuracy/{name}"
        for method, paradigm, published in [
            ("X-Fi", "modality_dropout", xfi),
            ("baseline", "unimodal", baseline),
        ]:
            assert frame.loc[(method, name), "paper"] == published
            assert frame.loc[(method, name), "ours"] == pytest.approx(100 * mine.loc[paradigm, column])
