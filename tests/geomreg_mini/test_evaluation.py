"""Accuracies, probes, robustness and intervals on inputs whose answer is known in advance."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import clouds, dataset
from torch import nn

from data_scripts.fetch import DataError
from geomreg_mini import evaluation
from geomreg_mini.data import Split, load
from geomreg_mini.data.corruptions import FIGURE_9, KINDS, Clip, Spectrogram, missing
from geomreg_mini.evaluation import (
    Encoded,
    accuracies,
    accuracies_alone,
    accuracy,
    disturbed,
    encode,
    knn_probe,
    linear_probe,
    noised,
    paired_interval,
    robustness,
)
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig, fit


def paradigm_for(data, name="joint", fusion="concat"):
    torch.manual_seed(0)
    model = build_model(data, fusion=fusion, embedding_dim=8, heads=PARADIGMS[name].needs_heads)
    return PARADIGMS[name](model)


def cloud(separation, *, n=300, classes=4, dim=6, seed=0) -> Encoded:
    """Gaussian clouds at a distance of ``separation`` times a fixed random direction a class."""
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(n) % classes
    z = separation * centers[labels] + torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    return Encoded({"a": z, "b": z.flip(1)}, labels)


# Accuracy and encoding


def test_accuracy_counts_the_largest_logit():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 0])) == 0.5
    assert accuracy(logits, torch.tensor([0, 1, 0, 1])) == 1.0


def test_encode_keeps_the_order_and_does_not_depend_on_the_batch_size():
    data = clouds(3, size=50)
    model = build_model(data, embedding_dim=8)
    whole, parts = encode(model, data.test), encode(model, data.test, batch_size=7)
    torch.testing.assert_close(whole.embeddings, parts.embeddings)
    assert torch.equal(whole.labels, data.test.labels)
    assert torch.equal(parts.labels, data.test.labels)


def test_encode_runs_in_evaluation_mode_without_gradients_and_puts_the_mode_back():
    data = clouds()
    model = build_model(data, embedding_dim=8)
    model.encoders["a"] = nn.Sequential(model.encoders["a"], nn.BatchNorm1d(8), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = encode(model, data.test)
    assert torch.equal(first.embeddings["a"], encode(model, data.test).embeddings["a"])
    assert not first.embeddings["a"].requires_grad
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    encode(model.eval(), data.test)
    assert not model.training


def test_noise_is_the_same_at_every_call_and_of_the_stated_strength():
    data = clouds(size=400)
    model = build_model(data, embedding_dim=6)
    model.encoders["a"] = nn.Identity()
    clean = data.test.inputs["a"]
    half, whole = ({"change": partial(noised, strength), "batch_size": 400} for strength in (0.5, 1.0))
    noisy = encode(model, data.test, modalities=("a",), **half).embeddings["a"]
    again = encode(model, data.test, modalities=("a",), **half).embeddings["a"]
    assert torch.equal(noisy, again)
    assert ((noisy - clean).std() / clean.std()).item() == pytest.approx(0.5, rel=0.05)
    doubled = encode(model, data.test, modalities=("a",), **whole).embeddings["a"]
    torch.testing.assert_close(doubled - clean, 2 * (noisy - clean), atol=1e-5, rtol=1e-4)


def test_noise_leaves_the_random_state_alone():
    data = clouds()
    model = build_model(data, embedding_dim=8)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    encode(model, data.test, change=partial(noised, 1.0))
    assert torch.equal(torch.rand(3), expected)


def test_accuracies_name_what_the_fusion_can_read_out(monkeypatch):
    data = clouds()
    paradigm = paradigm_for(data)
    encoded = encode(paradigm.model, data.test)
    fused, unimodal = {"accuracy/fused", "cross_entropy/fused"}, {"accuracy/a", "accuracy/b"}
    assert set(accuracies(paradigm, encoded)) == fused | unimodal
    monkeypatch.setattr(paradigm.model.fusion, "unimodal_logits", lambda z: {})  # as a transformer's
    assert set(accuracies(paradigm, encoded)) == fused


def test_an_untrained_head_of_zeros_has_the_cross_entropy_of_a_uniform_guess():
    data = clouds()
    paradigm = paradigm_for(data)
    nn.init.zeros_(paradigm.model.fusion.linear.weight)
    nn.init.zeros_(paradigm.model.fusion.linear.bias)
    got = accuracies(paradigm, encode(paradigm.model, data.test))
    assert got["cross_entropy/fused"] == pytest.approx(math.log(3))


def test_accuracies_use_the_paradigms_own_fused_prediction():
    data = clouds()
    paradigm = paradigm_for(data, "unimodal")
    encoded = encode(paradigm.model, data.test)
    mean = sum(o.softmax(dim=1) for o in paradigm.model.unimodal_logits(encoded.embeddings).values())
    assert accuracies(paradigm, encoded)["accuracy/fused"] == accuracy(mean, encoded.labels)


def test_a_modality_alone_has_the_whole_bias_and_its_share_only_a_part():
    paradigm = paradigm_for(clouds())
    head = paradigm.model.fusion.linear
    with torch.no_grad():
        head.weight.zero_()[0] = 1 / 8  # so that ones in all 8 components give the first class a logit of 1
        head.bias.copy_(torch.tensor([0.0, 1.5, 0.0]))
    encoded = Encoded({m: torch.ones(6, 8) for m in "ab"}, torch.tensor([0, 0, 0, 0, 0, 1]))
    shares, alone = accuracies(paradigm, encoded), accuracies_alone(paradigm, encoded)
    for m in "ab":  # 1 against 1.5 / 2, and against 1.5
        assert shares[f"accuracy/{m}"] == pytest.approx(5 / 6)
        assert alone[f"accuracy_alone/{m}"] == pytest.approx(1 / 6)


# Missing and corrupted modalities


@pytest.mark.parametrize(
    ("name", "fusion"), [("joint", "concat"), ("dgl", "shared"), ("unimodal", "concat"), ("joint", "sum")]
)
def test_a_missing_modality_leaves_the_fused_prediction_of_the_rest(name, fusion):
    data = clouds()
    paradigm = paradigm_for(data, name, fusion)
    encoded = encode(paradigm.model, data.test)
    got = robustness(paradigm, data.test, encoded, strengths=())
    assert set(got) == {"accuracy_missing/a", "accuracy_missing/b"}
    for absent, rest in (("a", "b"), ("b", "a")):
        logits = paradigm.fused_logits({rest: encoded.embeddings[rest]})
        assert got[f"accuracy_missing/{absent}"] == accuracy(logits, encoded.labels)


def test_corruption_of_strength_zero_is_the_clean_accuracy():
    data = clouds(3)
    paradigm = paradigm_for(data)
    encoded = encode(paradigm.model, data.test)
    got = robustness(paradigm, data.test, encoded, strengths=(0.0,))
    clean = accuracies(paradigm, encoded)["accuracy/fused"]
    assert {got[f"accuracy_corrupted_0.0/{m}"] for m in "abc"} == {clean}


def test_only_the_named_modality_is_corrupted():
    data = clouds()
    paradigm = paradigm_for(data)
    weight = paradigm.model.fusion.linear.weight
    with torch.no_grad():
        weight[:, 8:] = 0  # the head does not look at b
    encoded = encode(paradigm.model, data.test)
    got = robustness(paradigm, data.test, encoded, strengths=(50.0,))
    assert got["accuracy_corrupted_50.0/b"] == accuracies(paradigm, encoded)["accuracy/fused"]


# The disturbances of the paper's Figures 9 to 12


def sights(size: int = 60, *, corruptions=()):
    """Modalities ``sound`` and ``clip`` in the form of CREMA-D's, whose mean tells one of three classes."""
    generator, shapes = torch.Generator().manual_seed(0), {"sound": (1, 16, 20), "clip": (3, 4, 16, 16)}

    def split() -> Split:
        labels = torch.arange(size) % 3
        values = {m: torch.randn(size, *shape, generator=generator) for m, shape in shapes.items()}
        values = {m: x + (labels - 1).view(-1, *[1] * (x.ndim - 1)) for m, x in values.items()}
        return Split(values, labels)

    made = dataset(shapes, 3, split(), split(), split())
    forms = {"sound": Spectrogram(1e-3), "clip": Clip(4)}
    return replace(made, forms=forms, corruptions=corruptions)


def fitted(data, **changes):
    config = TrainConfig("toy", **{"epochs": 4, "batch_size": 12, "embedding_dim": 16} | changes)
    torch.manual_seed(0)
    model = build_model(data, embedding_dim=16)
    record = fit(config, data=data, model=model, device="cpu", progress=False)
    return PARADIGMS[config.paradigm](model), record


def test_every_kind_and_level_that_fits_a_modality_is_measured_under_its_name():
    data = sights()
    got = disturbed(paradigm_for(data), data, data.test)
    both = [f"features_missing_{p}" for p in ("0.5", "0.8", "1")] + ["segments_missing_1"]
    both += [f"feature_dropout_{p}" for p in ("0.25", "0.5", "0.75")]
    both += [f"feature_noise_{sigma}" for sigma in ("0.25", "0.5", "1")]
    sound = ["snr_20", "snr_10", "snr_0", "spec_augment_0.1", "spec_augment_0.3"]
    clip = ["frame_drop_0.5", "frame_drop_0.75", "cutout_0.1", "cutout_0.3", "cutout_0.5"]
    wanted = {"sound": both + sound, "clip": both + clip}
    assert set(got) == {f"accuracy_{name}/{m}" for m, names in wanted.items() for name in names}
    assert all(0 <= value <= 1 for value in got.values())


@pytest.mark.parametrize(
    ("name", "fusion"), [("joint", "concat"), ("dgl", "shared"), ("unimodal", "concat"), ("joint", "sum")]
)
def test_nothing_of_a_kind_is_the_clean_accuracy_and_all_missing_the_rest_s(name, fusion):
    data = sights(size=200)
    paradigm = paradigm_for(data, name, fusion)
    encoded = encode(paradigm.model, data.test)
    clean = accuracies(paradigm, encoded)["accuracy/fused"]
    nothing = {kind: [math.inf if kind == "snr" else 0.0] for kind in KINDS}
    assert set(disturbed(paradigm, data, data.test, nothing).values()) == {clean}
    lost = robustness(paradigm, data.test, encoded, strengths=())
    all_of_it = {"features_missing": [1.0], "segments_missing": [1]}
    got = disturbed(paradigm, data, data.test, all_of_it)
    for m in data.modalities:
        for kind in all_of_it:
            assert got[f"accuracy_{kind}_1/{m}"] == lost[f"accuracy_missing/{m}"]


def test_a_missing_modality_enters_a_concatenation_as_zeros_for_the_samples_that_lack_it():
    data = sights(size=200)
    paradigm = paradigm_for(data)
    z = encode(paradigm.model, data.test).embeddings
    gone = missing(200, 0.5)
    logits = paradigm.fused_logits({**z, "clip": z["clip"].masked_fill(gone[:, None], 0.0)})
    got = disturbed(paradigm, data, data.test, {"features_missing": [0.5]})
    assert got["accuracy_features_missing_0.5/clip"] == accuracy(logits, data.test.labels)


def test_disturbances_depend_neither_on_batches_nor_on_the_random_state_and_leave_the_latter(monkeypatch):
    data = sights(size=100)
    paradigm = fitted(data, epochs=1)[0]
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    first = disturbed(paradigm, data, data.test)
    assert torch.equal(torch.get_rng_state(), expected)
    torch.manual_seed(6)
    monkeypatch.setattr(evaluation, "BATCH", 7)
    assert disturbed(paradigm, data, data.test) == first


def test_what_destroys_a_modality_leaves_the_accuracy_of_one_that_is_not_there():
    data = sights(size=300)
    paradigm, record = fitted(data, epochs=8)
    got = disturbed(paradigm, data, data.test, {"spec_augment": [0.5, 1.0], "feature_noise": [100.0]})
    assert record.metrics["test/accuracy/fused"] > 0.95
    assert got["accuracy_spec_augment_0.5/sound"] > got["accuracy_feature_noise_100/sound"] + 0.2
    constant = paradigm.model.encode({"sound": torch.zeros(1, *data.shapes["sound"])})["sound"]
    rest = encode(paradigm.model, data.test).embeddings["clip"]
    logits = paradigm.fused_logits({"sound": constant.expand(300, -1), "clip": rest})
    assert got["accuracy_spec_augment_1/sound"] == accuracy(logits, data.test.labels)


def test_an_absent_kind_is_one_sentence_that_names_what_exists():
    data = clouds()
    with pytest.raises(
        ValueError, match=r"^corruption 'snr' does not exist for a, b: .* features_missing, "
    ) as e:
        disturbed(paradigm_for(data), data, data.test, ("snr",))
    assert "cutout" not in str(e.value) and "\n" not in str(e.value)


def test_a_record_has_the_disturbances_that_its_data_set_names_and_no_others_and_all_else_alike():
    plain, asked = (fitted(sights(corruptions=kinds))[1].metrics for kinds in ((), FIGURE_9))
    added = set(asked) - set(plain)
    assert plain == {name: value for name, value in asked.items() if name not in added}
    assert "test/accuracy_corrupted_1.0/sound" in plain and not any("snr" in name for name in plain)
    levels = {name.split("/")[1].rsplit("_", 1)[0] for name in added}
    assert levels == {f"accuracy_{kind}" for kind in FIGURE_9}


@pytest.mark.parametrize("source", ["spoken", "embedded"])
def test_real_digits_can_be_disturbed_in_every_way_that_makes_sense_and_are_not_by_default(source):
    try:
        data = load("digits", source=source, protocol="official", labels=300)
    except DataError as error:
        pytest.skip(error.brief)
    assert data.corruptions == ()
    paradigm = fitted(data, epochs=10, batch_size=50, learning_rate=0.05)[0]
    got = disturbed(paradigm, data, data.test)
    assert disturbed(paradigm, data, data.test, ()) == {}
    if source == "embedded":
        assert not any("snr" in name or "spec" in name for name in got)
        assert "accuracy_cutout_0.3/left" in got
    else:
        clean = accuracies(paradigm, encode(paradigm.model, data.test))["accuracy/fused"]
        assert clean > got["accuracy_snr_0/audio"] and clean > got["accuracy_cutout_0.5/image"]
        assert {name.split("/")[1] for name in got if "cutout" in name} == {"image"}


# Probes


@pytest.mark.parametrize("probe", ["linear", "knn"])
@pytest.mark.parametrize(("separation", "low", "high"), [(20.0, 0.99, 1.0), (0.0, 0.15, 0.35)])
def test_probes_solve_separate_clouds_and_are_at_chance_without_a_signal(probe, separation, low, high):
    train, validation, test = (cloud(separation, seed=seed) for seed in range(3))
    got = linear_probe(train, validation, test) if probe == "linear" else knn_probe(train, test)
    assert set(got) == {f"{probe}_probe/a", f"{probe}_probe/b"}
    assert all(low <= value <= high for value in got.values())


def test_linear_probe_ignores_the_scale_of_the_embeddings():
    parts = [cloud(0.5, seed=seed) for seed in range(3)]
    scaled = [Encoded({m: 1e3 * z + 7 for m, z in part.embeddings.items()}, part.labels) for part in parts]
    assert linear_probe(*scaled) == pytest.approx(linear_probe(*parts), abs=0.011)


def test_linear_probe_chooses_its_penalty_on_validation_and_not_on_test():
    train, validation, test = (cloud(0.6, n=80, seed=seed) for seed in range(3))
    wrong = Encoded(test.embeddings, test.labels.roll(1))
    right = linear_probe(train, validation, test, penalties=(1e-4, 1.0))
    for m in "ab":
        one_each = [
            linear_probe(train, validation, test, penalties=(c,))[f"linear_probe/{m}"] for c in (1e-4, 1.0)
        ]
        on_validation = [
            linear_probe(train, validation, validation, penalties=(c,))[f"linear_probe/{m}"]
            for c in (1e-4, 1.0)
        ]
        assert right[f"linear_probe/{m}"] == one_each[int(np.argmax(on_validation))]
    assert linear_probe(train, validation, wrong) != linear_probe(train, validation, test)


def test_knn_probe_looks_at_directions_alone():
    train, test = cloud(2.0, seed=0), cloud(2.0, seed=1)
    lengths = torch.linspace(0.1, 10, 300)[:, None]
    stretched = Encoded({m: lengths * z for m, z in test.embeddings.items()}, test.labels)
    assert knn_probe(train, stretched) == knn_probe(train, test)


def test_knn_probe_of_one_neighbor_by_hand():
    bank = Encoded({"a": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])}, torch.tensor([0, 1, 2]))
    test = Encoded(
        {"a": torch.tensor([[5.0, 1.0], [0.1, 0.2], [-3.0, 1.0], [9.0, 8.0]])}, torch.tensor([0, 1, 2, 1])
    )
    assert knn_probe(bank, test) == {"knn_probe/a": 0.75}


# Intervals


def test_interval_of_known_differences():
    got = paired_interval([0.5, 0.7, 0.9, 0.6], [0.4, 0.5, 0.6, 0.6])
    difference = np.array([0.1, 0.2, 0.3, 0.0])
    assert got.mean == pytest.approx(0.15)
    assert got.n == 4
    # With the two corrections the interval is close to Student's, mean +- t s / sqrt(n).
    half = 3.182446 * difference.std(ddof=1) / 2
    assert got.high - got.mean == pytest.approx(half, rel=0.15)
    assert got.mean - got.low == pytest.approx(half, rel=0.15)
    assert not got.excludes_zero


def test_equal_differences_have_an_interval_of_no_width():
    got = paired_interval([2.0, 3.0, 5.0], [1.0, 2.0, 4.0])
    assert (got.mean, got.low, got.high) == (1.0, 1.0, 1.0)
    assert got.excludes_zero
    assert paired_interval([1.0, 2.0], [1.0, 2.0]).excludes_zero is False


def test_the_same_values_give_the_same_interval():
    values = [0.3, 0.1, 0.4], [0.1, 0.2, 0.2]
    assert paired_interval(*values) == paired_interval(*values)


def test_dicts_are_paired_by_seed_and_not_by_order():
    treated, baseline = {0: 1.0, 1: 2.0, 2: 4.0}, {2: 3.5, 0: 0.5, 1: 1.5}
    assert paired_interval(treated, baseline) == paired_interval([1.0, 2.0, 4.0], [0.5, 1.5, 3.5])


def test_swapping_the_arms_turns_the_sign():
    first, second = (
        paired_interval([3.0, 1.0, 2.0], [0.0, 0.5, 2.5]),
        paired_interval([0.0, 0.5, 2.5], [3.0, 1.0, 2.0]),
    )
    assert first.mean == pytest.approx(-second.mean)
    assert first.low == pytest.approx(-second.high, abs=0.1)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-10, 10), min_size=2, max_size=8),
    st.floats(-100, 100),
    st.floats(0.01, 100),
)
def test_interval_moves_and_scales_with_the_differences(differences, shift, scale):
    zeros = [0.0] * len(differences)
    base = paired_interval(differences, zeros, resamples=500)
    moved = paired_interval([scale * d + shift for d in differences], zeros, resamples=500)
    for bound in ("mean", "low", "high"):
        expected = scale * getattr(base, bound) + shift
        assert getattr(moved, bound) == pytest.approx(expected, abs=1e-8 * (1 + 100 * scale))
    assert base.low <= base.mean <= base.high


def test_a_higher_level_gives_a_wider_interval():
    values = [0.3, 0.1, 0.4, 0.2], [0.1, 0.2, 0.2, 0.0]
    narrow, wide = paired_interval(*values, level=0.8), paired_interval(*values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("treated", "baseline", "message"),
    [
        ([1.0], [2.0], "treated has 1 values, baseline 1: give two or more"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "treated has 2 values, baseline 3"),
        ({0: 1.0, 1: 2.0}, {0: 1.0, 2: 2.0}, r"treated has seeds \[0, 1\], baseline \[0, 2\]; pair them"),
        ({0: 1.0, 1: 2.0}, [1.0, 2.0], "give both as sequences or as dicts"),
        ([1.0, float("nan")], [0.0, 0.0], "finite values in both arms"),
    ],
)
def test_what_cannot_be_paired_is_said(treated, baseline, message):
    with pytest.raises(ValueError, match=message):
        paired_interval(treated, baseline)


def test_six_normal_differences_are_covered_about_as_often_as_promised():
    # 600 trials: the standard error is 0.9 points; a plain percentile bootstrap covers about 87 %.
    rng = np.random.default_rng(0)
    zeros = np.zeros(6)
    intervals = [paired_interval(rng.normal(1.0, 1.0, 6), zeros, resamples=1000) for _ in range(600)]
    covered = np.mean([interval.low <= 1.0 <= interval.high for interval in intervals])
    assert 0.92 <= covered <= 0.98
