"""Your own arrays, npz files and folders: read into a data set that trains, every fault a sentence."""

import ast
import inspect
import io
import shutil
import sys
import textwrap

import numpy as np
import pytest
import torch

from geomreg_mini import geometry
from geomreg_mini.data import MultimodalDataset, Split, fingerprint, load
from geomreg_mini.data.dataset import read_npz, say_once
from geomreg_mini.training import TrainConfig, fit

SIZES = {"train": 24, "validation": 9, "test": 12}


def arrays(**changes):
    """Splits of two modalities with rows that differ, and ``changes`` as {(split, name): value}."""
    rng = np.random.default_rng(0)
    splits = {
        name: {"audio": rng.normal(size=(n, 5)), "image": rng.random((n, 1, 4, 4))}
        for name, n in SIZES.items()
    }
    for name, n in SIZES.items():
        splits[name]["labels"] = np.arange(n) % 3
    for key, value in changes.items():
        split, _, name = key.partition("_")
        splits[split][name] = value
    return splits


@pytest.fixture(autouse=True)
def every_note_is_new():
    say_once.cache_clear()


# Arrays


def test_a_note_is_printed_where_a_name_cannot_be_encoded(monkeypatch):
    """As on a Latin-1 terminal, or in a file that Windows writes."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    say_once("Zeros stand for 1 missing rows (bild→, ü).")
    output.flush()
    assert output.buffer.getvalue() == b"Zeros stand for 1 missing rows (bild\\u2192, \xfc).\n"


def test_the_example_of_the_docstring_trains():
    text = inspect.getdoc(MultimodalDataset.from_arrays)
    code = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    code = textwrap.dedent(code[: code.index("progress=False)") + len("progress=False)")])
    assert len(code.splitlines()) <= 10 and ast.parse(code)
    found = {}
    exec(code, found)
    assert {"test/accuracy/fused", "test/accuracy/audio"} <= set(found["record"].metrics)
    assert found["record"].config["dataset"] == "mine" and found["record"].data_note == ""


def test_every_descriptive_field_has_a_default_that_fits():
    data = MultimodalDataset.from_arrays(**arrays())
    assert data.modalities == ("audio", "image") and data.shapes == {"audio": (5,), "image": (1, 4, 4)}
    assert data.num_classes == 3 and data.class_names == ("0", "1", "2") and data.note == ""
    assert data.licence == "not stated" and data.source and data.name and not data.forms
    assert data.fingerprint == fingerprint(data.train, data.validation, data.test)
    assert torch.equal(data.test.labels, torch.arange(12) % 3) and data.test.labels.dtype == torch.int64
    assert data.train.inputs["audio"].dtype == torch.float32


def test_a_data_set_of_splits_needs_a_name_alone():
    splits = {name: Split({"a": torch.randn(4, 2)}, torch.arange(4) % 2) for name in SIZES}
    data = MultimodalDataset(name="mine", **splits)
    assert (data.modalities, data.shapes, data.num_classes) == (("a",), {"a": (2,)}, 2)
    assert data.fingerprint == fingerprint(**splits) and data.class_names == ("0", "1")


def test_facts_are_kept():
    facts = {"name": "birds", "licence": "CC0-1.0", "source": "our garden", "class_names": ["a", "b", "c"]}
    data = MultimodalDataset.from_arrays(**arrays(), **facts)
    assert (data.name, data.licence, data.source) == ("birds", "CC0-1.0", "our garden")
    assert data.class_names == ("a", "b", "c")


def test_lists_tensors_and_half_precision_give_the_same_data_set():
    plain = {s: {m: np.asarray(x, np.float32) for m, x in own.items()} for s, own in arrays().items()}
    for own in plain.values():
        own["labels"] = own["labels"].astype(int)
    whole = MultimodalDataset.from_arrays(**plain)
    lists = {s: {m: x.tolist() for m, x in own.items()} for s, own in plain.items()}
    tensors = {s: {m: torch.from_numpy(x) for m, x in own.items()} for s, own in plain.items()}
    assert MultimodalDataset.from_arrays(**lists).fingerprint == whole.fingerprint
    assert MultimodalDataset.from_arrays(**tensors).fingerprint == whole.fingerprint


@pytest.mark.parametrize("column", [list, tuple, np.array])
def test_a_column_of_a_table_holds_an_array_for_each_row(column):
    def table(x):  # what pandas, polars and pyarrow give for a column of vectors
        rows = np.empty(len(x), dtype=object)
        rows[:] = [column(row.tolist()) for row in x]
        return rows

    given = {
        name: {m: x if m == "labels" else table(x.reshape(len(x), -1)) for m, x in split.items()}
        for name, split in arrays().items()
    }
    data = MultimodalDataset.from_arrays(**given)
    expected = arrays()["train"]
    assert np.array_equal(data.train.inputs["audio"], expected["audio"].astype(np.float32))
    assert geometry.effective_rank(given["train"]["audio"]) == geometry.effective_rank(expected["audio"])


def test_modalities_are_in_the_order_of_the_training_split():
    turned = arrays()
    turned["test"] = dict(reversed(turned["test"].items()))
    data = MultimodalDataset.from_arrays(**turned)
    assert list(data.test.inputs) == ["audio", "image"] == list(data.modalities)


def test_the_default_device_of_torch_does_not_matter():
    audio = arrays()["train"]["audio"]
    audio[3] = np.nan
    expected = MultimodalDataset.from_arrays(**arrays(train_audio=audio)).fingerprint
    with torch.device("meta"):  # stands in for a GPU
        assert MultimodalDataset.from_arrays(**arrays(train_audio=audio)).fingerprint == expected


def test_the_callers_arrays_are_copied():
    given = arrays(train_audio=torch.randn(24, 5), test_image=torch.randint(256, (12, 1, 4, 4)).byte())
    for split in SIZES:
        given[split]["image"] = torch.randint(256, (SIZES[split], 1, 4, 4), dtype=torch.uint8)
    data = MultimodalDataset.from_arrays(**given)
    before = data.train.inputs["audio"].clone(), data.train.inputs["image"].clone()
    given["train"]["audio"].zero_(), given["train"]["image"].zero_()
    assert torch.equal(data.train.inputs["audio"], before[0])
    assert torch.equal(data.train.inputs["image"], before[1]) and before[1].dtype == torch.uint8


@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_any_number_of_modalities_trains(modalities):
    rng = np.random.default_rng(1)
    splits = {
        name: {f"m{k}": rng.normal(size=(n, 4 + k)) for k in range(modalities)} | {"labels": np.arange(n) % 2}
        for name, n in SIZES.items()
    }
    data = MultimodalDataset.from_arrays(**splits)
    record = fit(TrainConfig("mine", epochs=1, batch_size=8), data=data, progress=False)
    assert {f"test/effective_rank/m{k}" for k in range(modalities)} <= set(record.metrics)


# Missing modalities


def test_a_row_of_nan_is_a_missing_modality_marked_counted_and_trained_as_zeros(capsys):
    audio = np.random.default_rng(2).normal(size=(24, 5))
    audio[[3, 7]] = np.nan
    image = arrays()["test"]["image"]
    image[0] = np.nan
    data = MultimodalDataset.from_arrays(**arrays(train_audio=audio, test_image=image))
    present = data.train.factors["present/audio"]
    assert (~present).nonzero()[:, 0].tolist() == [3, 7] and set(data.validation.factors) == set()
    assert not data.train.inputs["audio"][~present].any() and data.train.inputs["audio"][present].all()
    assert data.test.factors["present/image"].tolist() == [False] + [True] * 11
    assert data.note == "Zeros stand for 3 missing rows (audio, image): training takes no mask."
    assert data.note in capsys.readouterr().out
    record = fit(TrainConfig("mine", epochs=1, batch_size=8), data=data, progress=False)
    assert record.data_note == data.note


def test_a_sample_without_any_modality_is_refused():
    gone = arrays()
    for m in ("audio", "image"):
        gone["validation"][m][4] = np.nan
    with pytest.raises(ValueError, match="^validation has no modality in row 4; leave the sample out[.]$"):
        MultimodalDataset.from_arrays(**gone)


# Leaks


@pytest.mark.parametrize("names", [("train", "test"), ("train", "validation"), ("validation", "test")])
def test_a_row_in_two_splits_is_found_and_named(names):
    leaked = arrays()
    leaked[names[1]]["audio"][2] = leaked[names[0]]["audio"][7]
    expected = f"row 7 of {names[0]} and row 2 of {names[1]} in 'audio'"
    with pytest.raises(ValueError, match=f"share: 1, such as {expected}; leave"):
        MultimodalDataset.from_arrays(**leaked)
    data = MultimodalDataset.from_arrays(**leaked, allow_equal=True)
    assert torch.equal(data.train.inputs["audio"][0], torch.tensor(leaked["train"]["audio"][0]).float())


def test_leaks_are_found_in_other_types_and_with_negative_zeros_and_not_within_a_split_or_among_missing():
    twice = arrays()
    twice["train"]["audio"][:2] = 0.0  # one split may hold equal rows
    twice["train"]["audio"][5] = twice["test"]["audio"][5] = np.nan
    MultimodalDataset.from_arrays(**twice)
    twice["test"]["audio"] = (twice["test"]["audio"] * 0 - 0.0).astype(np.float32)[:, :]
    twice["test"]["audio"][1:] = np.random.default_rng(9).normal(size=(11, 5))
    with pytest.raises(ValueError, match="row 0 of train and row 0 of test in 'audio'"):
        MultimodalDataset.from_arrays(**twice)


# Faults


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": np.arange(12) / 2}, "labels of test are float64 .12,.; pass integers"),
        ({"test_labels": ["a"] * 12}, "labels of test are <U1"),
        ({"test_labels": np.arange(12) - 1}, "labels of test are int64"),
        ({"test_labels": (np.arange(12) - 1).astype(np.uint64)}, "labels of test are uint64"),
        ({"test_labels": np.ma.masked_equal(np.arange(12) % 3, 1)}, "labels of test are int64"),
        ({"test_labels": np.ones((12, 1), int)}, "labels of test are int64 .12, 1.; pass"),
        ({"test_labels": None}, "labels of test are object"),
        ({"test_labels": np.arange(12) % 3 + 1}, "train has 3 of 4 classes, and labels go up to 3; number"),
        ({"test_labels": np.arange(12) + 2**60}, "train has 3 of 1152921504606846988 classes"),
        ({"train_labels": np.arange(24) % 2}, "train has 2 of 3 classes, and labels go up to 2; number"),
        ({"train_audio": np.zeros((23, 5))}, "'audio' of train is float64 .23, 5.; pass real"),
        ({"train_audio": np.zeros(24)}, "'audio' of train is float64 .24,.; pass real"),
        ({"train_audio": np.zeros((24, 0))}, "'audio' of train is float64 .24, 0.; pass real"),
        ({"train_audio": np.ones((24, 5)) + 1j}, "'audio' of train is complex128"),
        ({"train_audio": torch.empty(24, 5, device="meta")}, "'audio' of train is a Tensor torch.float32"),
        ({"train_audio": [["a"]] * 24}, "'audio' of train is a list; pass real numbers"),
        ({"train_audio": [[1.0], [2.0, 3.0]] * 12}, "'audio' of train is a list; pass real numbers"),
        ({"train_audio": np.full((24, 5), None)}, "'audio' of train is a ndarray object; pass real numbers"),
        ({"train_audio": [None, *np.ones((23, 5))]}, "'audio' of train is a list; pass real numbers"),
        ({"train_audio": np.zeros((24, 5), "V2")}, "'audio' of train is a ndarray .V2; pass real numbers"),
        ({"train_audio": np.ma.masked_less(np.eye(24, 5), 1)}, "'audio' of train is a MaskedArray float64"),
        ({"train_audio": np.where(np.eye(24, 5), np.nan, 1)}, "'audio' of train has NaN or .* row 0 and 4"),
        ({"train_audio": np.full((24, 5), np.inf)}, "'audio' of train has NaN or .* row 0 and 23"),
        ({"test_audio": np.random.rand(12, 6)}, "the splits differ .*'test': .'audio': .torch.float32, 6"),
        ({"test_depth": np.random.rand(12, 6)}, "the splits differ .*'depth'"),
    ],
)  # fmt: skip
def test_every_fault_of_the_arrays_is_one_sentence_that_names_split_and_modality(changes, message):
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        MultimodalDataset.from_arrays(**arrays(**changes))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_other_faults_are_one_sentence():
    for options, message in [
        ({"class_names": ["a", "b"]}, "train has 3 of 2 classes"),
        ({"class_names": list("abcd")}, "train has 3 of 4 classes"),
        ({"class_names": list("aab")}, "give each a name of its own, or none"),
        ({"seed": 3}, "own data have no option 'seed'"),
        ({"class_names": "abc"}, "class_names='abc' is one text; pass a list of texts."),
        ({"corruptions": "noise"}, "corruptions='noise' is one text"),
        ({"modalities": "ab"}, "modalities='ab' is one text"),
    ]:
        with pytest.raises(ValueError, match=message):
            MultimodalDataset.from_arrays(**arrays(), **options)
    with pytest.raises(ValueError, match="validation is a tuple; pass a dict"):
        MultimodalDataset.from_arrays(**arrays() | {"validation": (np.eye(3), [0, 1, 2])})
    with pytest.raises(ValueError, match=r"test has the modalities \[\]; pass two"):
        MultimodalDataset.from_arrays(**arrays() | {"test": {"labels": [0, 1, 2]}})


# Files


def write(path, splits, between="_", **more):
    flat = {f"{split}{between}{m}": x for split, own in splits.items() for m, x in own.items()}
    np.savez(path, **flat, **more)
    return path


@pytest.mark.parametrize("between", ["_", "/"])
def test_an_npz_file_is_the_data_set_of_its_arrays(tmp_path, between):
    path = write(tmp_path / "mine.npz", arrays(), between, class_names=["x", "y", "z"])
    data = MultimodalDataset.from_npz(path, licence="ours")
    assert data.fingerprint == MultimodalDataset.from_arrays(**arrays()).fingerprint
    assert (data.name, data.source, data.licence) == ("mine", "mine.npz", "ours")
    assert data.class_names == ("x", "y", "z")
    for names in ([b"x", b"y", b"z"], [["x"], ["y"], ["z"]]):  # as other programs write them
        write(path, arrays(), between, class_names=names)
        assert MultimodalDataset.from_npz(path).class_names == ("x", "y", "z")


def test_the_path_of_an_npz_file_is_the_name_of_a_data_set_in_a_config(tmp_path):
    path = str(write(tmp_path / "mine.npz", arrays()))
    assert load(path).fingerprint == MultimodalDataset.from_npz(path).fingerprint
    record = fit(TrainConfig(path, epochs=1, batch_size=8), progress=False)
    assert record.data_fingerprint == load(path).fingerprint
    with pytest.raises(ValueError, match="own data have no option 'protocol'"):
        load(path, protocol="official")


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_faults_of_a_file_are_one_sentence_and_nothing_is_unpickled(tmp_path):
    trap, text, other = tmp_path / "trap.npz", tmp_path / "text.npz", tmp_path / "other.npz"
    np.savez(trap, train_audio=np.array([Trap()], dtype=object))
    text.write_text("audio, image")
    write(other, arrays(), depth=np.zeros((3, 2)))
    single = tmp_path / "single.npz"
    with single.open("wb") as handle:
        np.save(handle, np.zeros((3, 2)))
    for path, message in [
        (trap, "trap.npz holds Python objects; write"),
        (text, "text.npz is not a readable npz file; write"),
        (single, "single.npz is not a readable npz file; write"),
        (tmp_path / "none.npz", "none.npz does not exist; give"),
        (tmp_path, "is not a readable npz file; write"),
        (other, "other.npz has an array 'depth'; name each SPLIT_MODALITY"),
        (write(tmp_path / "one.npz", arrays(), class_names="cat"), "train has 3 of 1 classes"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            MultimodalDataset.from_npz(path)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="objects"):
        read_npz(trap)


def make_folder(root, splits, absent=(), scale=1.0):
    for split, own in splits.items():
        for i, label in enumerate(own["labels"]):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            for m in ("audio", "image"):
                if (split, i, m) not in absent:
                    np.save(folder / f"{i:03}.{m}.npy", own[m][i])
    return root


def test_a_folder_has_a_subfolder_per_split_and_class_and_a_file_per_sample_and_modality(tmp_path):
    absent = {("train", 4, "audio"), ("test", 0, "image")}
    data = MultimodalDataset.from_folder(make_folder(tmp_path / "mine", arrays(), absent), licence="ours")
    assert data.name == "mine" and data.class_names == ("class0", "class1", "class2")
    assert data.modalities == ("audio", "image") and data.licence == "ours"
    order = np.argsort(np.arange(24) % 3, kind="stable")  # by class, then by name
    expected = torch.tensor(arrays()["train"]["audio"][order]).float()
    gone = int(np.flatnonzero(order == 4)[0])
    assert (~data.train.factors["present/audio"]).nonzero()[:, 0].tolist() == [gone]
    expected[gone] = 0
    assert torch.equal(data.train.inputs["audio"], expected)
    assert data.train.labels.tolist() == sorted(np.arange(24) % 3)
    assert "2 missing rows" in data.note


def test_files_of_bytes_are_read_as_numbers_from_0_to_1(tmp_path):
    splits = arrays()
    for own in splits.values():
        own["image"] = (255 * own["image"]).astype(np.uint8)
    data = MultimodalDataset.from_folder(make_folder(tmp_path, splits))
    assert data.train.inputs["image"][0].numpy() == pytest.approx(splits["train"]["image"][0] / 255)


def test_hidden_files_and_folders_are_no_samples_and_no_classes(tmp_path):
    root = make_folder(tmp_path / "mine", arrays())
    for hidden in (
        "train/class0/._000.audio.npy",
        "train/.ipynb_checkpoints/0.audio.npy",
        ".x/y/0.audio.npy",
    ):
        (root / hidden).parent.mkdir(parents=True, exist_ok=True)
        (root / hidden).write_bytes(b"not an array")
    data = MultimodalDataset.from_folder(root)
    assert len(data.train) == SIZES["train"] and data.class_names == ("class0", "class1", "class2")


def test_a_folder_from_windows_is_the_same(tmp_path):
    root = make_folder(tmp_path / "mine", arrays())
    for number, file in enumerate(sorted(root.rglob("*.npy"))):
        if number % 2:
            file.rename(file.with_suffix(".NPY"))
    for other in ("Thumbs.db", "train/desktop.ini", "test/class0/Thumbs.db"):
        (root / other).write_bytes(b"not an array")
    other = make_folder(tmp_path / "other", arrays())
    expected = MultimodalDataset.from_folder(other).fingerprint
    assert MultimodalDataset.from_folder(root).fingerprint == expected


def test_faults_of_a_folder_name_the_file(tmp_path):
    root = make_folder(tmp_path / "mine", arrays())

    def refused(message):
        with pytest.raises(ValueError, match=message) as caught:
            MultimodalDataset.from_folder(root)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)

    file = root / "train" / "class1" / "004.audio.npy"
    np.save(file, np.zeros(6))
    refused(r"004.audio.npy has shape \(6,\), but other samples have \(5,\); make them equal")
    for values in (np.ones(5) * 1j, np.zeros(5, "M8[s]")):
        np.save(file, values)
        refused("004.audio.npy is not a readable array of numbers")
    np.save(file, np.array([Trap()], dtype=object))
    refused("004.audio.npy is not a readable array of numbers")
    file.write_bytes(b"not an array")
    refused("004.audio.npy is not a readable array of numbers")
    file.rename(file.with_name("plain.npy"))
    refused("mine needs files SPLIT/CLASS/SAMPLE.MODALITY.npy")
    file.with_name("plain.npy").unlink()
    (root / "valid" / "class0").mkdir(parents=True)
    np.save(root / "valid" / "class0" / "0.audio.npy", np.zeros(5))
    refused("mine needs files SPLIT/CLASS/SAMPLE.MODALITY.npy, with splits")
    shutil.rmtree(root / "valid")
    (root / "test" / "class2").rename(root / "test" / "Class2")
    refused("mine has no file of class 'Class2' in train; each class must be there")
    shutil.rmtree(root / "test")
    refused("mine needs files SPLIT/CLASS/SAMPLE.MODALITY.npy, with splits")
    root = tmp_path / "nothing"
    refused("nothing needs files")
