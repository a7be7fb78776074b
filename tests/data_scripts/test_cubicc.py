"""CUBICC from its files to its splits, and one clear sentence for every fault."""

import errno
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from figures.clustering import sentence
from hostile import EXAMPLES, bytes_like, confined, fuzz, json_like, refusal
from local_server import Quiet, serving

from data_scripts import cubicc, stand_ins
from data_scripts.__main__ import main
from data_scripts.fetch import DataError, Source, load_arrays
from data_scripts.stand_ins import cubicc as cubicc_stand_ins
from geomreg_mini.benchmarks.cubicc import SHIFT
from geomreg_mini.data import load

WAS_RUN = Path(tempfile.gettempdir(), "geomreg-was-run")
PAIRS, SPLITS = 40, {"train": range(22), "validation": range(22, 30), "test": range(30, 40)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A data folder with stand-ins, prepared by the real script."""
    root = tmp_path_factory.mktemp("data")
    stand_ins.prepare("cubicc", root)
    return root


@pytest.fixture
def data_folder(prepared, monkeypatch) -> Path:
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    return prepared


def contents() -> dict:
    """A small valid data set: file name -> tensor, or array; ten pictures, each in four pairs."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 3, 64, 64), dtype=np.uint8)[np.arange(PAIRS) % 10]
    return {
        "images.pt": torch.from_numpy(pixels).float() / 255,
        "captions.pt": torch.from_numpy(rng.integers(0, 1590, (PAIRS, 32))),
        "labels.pt": torch.arange(PAIRS) % 8,
        "original_labels.pt": torch.arange(PAIRS) % 10 + 1,
        **{f"{split}_split.npy": np.array(index) for split, index in SPLITS.items()},
    }


def written(value) -> bytes:
    file = io.BytesIO()
    if isinstance(value, bytes):
        return value
    np.save(file, value) if isinstance(value, np.ndarray) else torch.save(value, file)
    return file.getvalue()


def folder_of(path: Path, files: dict) -> Path:
    path.mkdir()
    for name, value in files.items():
        (path / name).write_bytes(written(value))
    return path


def zipped(path: Path, files: dict, inside: str = "CUBICC/") -> Path:
    """A mirror folder with such an archive."""
    (path / "cubicc").mkdir(parents=True)
    with zipfile.ZipFile(path / "cubicc" / "CUBICC.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(f"{inside}{name}", written(value))
    return path


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(cubicc, "PAIRS", PAIRS)
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    return contents()


def failing(capfd, root: Path, *arguments) -> str:
    """The one sentence of a command that fails and leaves nothing below ``root``."""
    assert main(["cubicc", *map(str, arguments), "--root", str(root)]) == 1
    out, err = capfd.readouterr()
    message = err.strip().split("\n")[-1]
    assert out == "" and message.endswith(".") and "Traceback" not in err
    assert not list(root.rglob("*"))
    return message


# from the files to arrays -----------------------------------------------------------------------------------


def test_arrays_are_what_the_archive_holds(prepared):
    arrays = load_arrays(prepared / "stand_ins" / cubicc.INFO.prepared)
    archive = prepared / "stand_ins" / f"source-v{stand_ins.VERSION}" / "cubicc" / "CUBICC.zip"
    with zipfile.ZipFile(archive) as zipped:
        names = set(zipped.namelist())
        read = {n: io.BytesIO(zipped.read(f"CUBICC/{n}")) for n in cubicc.FILES}
        words = json.loads(zipped.read("CUBICC/cub.vocab"))["i2w"]
    images, captions, labels, subspecies = (
        torch.load(read[name], weights_only=True) for name in cubicc.TENSORS
    )
    assert {"CUBICC/train_test_labelling.pt", "CUBICC/captions.pt"} < names
    assert images.dtype == torch.float32 and captions.shape == (594, 32, 1590)
    torch.testing.assert_close(torch.from_numpy(arrays["images"]).float() / 255, images)
    assert torch.equal(torch.from_numpy(arrays["captions"]).long(), captions.argmax(dim=2))
    assert np.array_equal(arrays["labels"], labels) and np.array_equal(arrays["subspecies"], subspecies)
    for split in cubicc.SPLITS:
        assert np.array_equal(arrays[split], np.load(read[f"{split}_split.npy"]))
    assert arrays["words"].tolist() == [words[str(i)] for i in range(1590)]
    same = (images[:, None] == images[:60]).flatten(2).all(dim=2).numpy()
    assert np.array_equal(arrays["photo"][:, None] == arrays["photo"][:60], same) and same.sum() > 100


def test_every_form_that_a_file_may_have_gives_the_same_arrays(small, tmp_path):
    words = {"cub.vocab": json.dumps({"i2w": {i: f"w{i}" for i in range(1590)}}).encode()}
    one_hot = torch.nn.functional.one_hot(small["captions.pt"], 1590).half()
    forms = {
        "plain": small | words,
        "one-hot": small | words | {"captions.pt": one_hot},
        "bytes": small | words | {"images.pt": (255 * small["images.pt"]).round().byte()},
        "lists": small | words | {
            "images.pt": list(small["images.pt"]), "labels.pt": (small["labels.pt"] + 3).tolist(),
            "train_split.npy": np.arange(22, dtype=np.uint16),
        },
    }  # fmt: skip
    found = {}
    for name, files in forms.items():
        path = cubicc.prepare(tmp_path / name, folder=folder_of(tmp_path / f"of {name}", files))
        found[name] = load_arrays(path)
    mirror = zipped(tmp_path / "mirror", forms["plain"], inside="")
    found["archive"] = load_arrays(cubicc.prepare(tmp_path / "archive", mirror, progress=False))
    fingerprints = {str(arrays["fingerprint"]) for arrays in found.values()}
    assert len(fingerprints) == 1
    assert str(found["plain"]["archive"]) == "" and len(str(found["archive"]["archive"])) == 64
    assert found["lists"]["labels"].max() == 7 and found["plain"]["words"][7] == "w7"


def test_a_prepared_archive_is_not_unpacked_again_and_another_one_is(small, tmp_path, monkeypatch):
    mirror, root = zipped(tmp_path / "a", small), tmp_path / "data"
    path = cubicc.prepare(root, mirror, progress=False)
    first = str(load_arrays(path)["fingerprint"])
    other = zipped(tmp_path / "b", small | {"labels.pt": small["labels.pt"].flip(0)})
    monkeypatch.setattr(cubicc, "unpack", lambda *arguments: pytest.fail("unpacked"))
    assert cubicc.prepare(root, mirror, progress=False) == path
    monkeypatch.undo()
    monkeypatch.setattr(cubicc, "PAIRS", PAIRS)
    cubicc.prepare(root, other, progress=False)
    assert str(load_arrays(path)["fingerprint"]) != first
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_command_downloads_verifies_and_says_what_the_splits_share(small, tmp_path, monkeypatch, capfd):
    content = (zipped(tmp_path / "mirror", small) / "cubicc" / "CUBICC.zip").read_bytes()

    class Handler(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

    root = tmp_path / "data"
    with serving(Handler, monkeypatch) as server:
        monkeypatch.setattr(cubicc, "ARCHIVE", Source(f"{server.address}/CUBICC.zip", "none"))
        monkeypatch.setattr(cubicc, "URL", f"{server.address}/none")
        assert main(["cubicc", "--root", str(root)]) == 0
    out, _ = capfd.readouterr()
    assert "22 train, 8 validation, 10 test pairs, in 8 classes" in out
    assert "of 10 different test pictures, 10 are in training too" in out
    assert out.count("sha256") == 2 and str((root / cubicc.INFO.prepared).parent) in out
    assert [p.name for p in root.rglob("*")] == ["cubicc", "prepared-v1.npz"]
    assert main(["cubicc", "--root", str(root)]) == 0, "and needs no host again"
    assert capfd.readouterr().out == out
    monkeypatch.setenv("GEOMREG_DATA", str(root))
    assert load("cubicc").note == "", "a download is what its source publishes"
    assert main(["cubicc", "--root", str(root), "--mirror", str(tmp_path / "mirror")]) == 0
    assert load("cubicc").note == "", "and the same archive elsewhere too"
    assert main(["cubicc", "--root", str(root), "--from", str(tmp_path / "mirror")]) == 0
    assert load("cubicc").note == cubicc.UNKNOWN_COPY, "any other copy may have any split"


# faults -----------------------------------------------------------------------------------------------------


class Bomb:
    """Pickled into a file, it would write another one when the file is read carelessly."""

    def __reduce__(self):
        return (Path.write_text, (WAS_RUN, "yes"))


def pickled() -> np.ndarray:
    value = np.empty(1, dtype=object)
    value[0] = Bomb()
    return value


def long_header() -> bytes:
    """An array of a trillion numbers, by its header."""
    header = written(np.arange(24))
    return header.replace(b"(24,), }            ", b"(1000000000000,), } ")


FAULTS = {
    "images 32 pixels wide": ("images.pt", lambda x: x[..., :32], "shape (40, 3, 64, 32), and"),
    "images of a channel": ("images.pt", lambda x: x[:, 0], "shape (40, 64, 64)"),
    "images up to 255": ("images.pt", lambda x: 255 * x, "has values from 0 to 255, and CUBICC"),
    "an image that is no number": ("images.pt", lambda x: x / x.sign(), "values from nan to nan"),
    "images in integers": ("images.pt", lambda x: x.long(), "numbers of type torch.int64"),
    "fewer images": ("images.pt", lambda x: x[:30], "30 pictures, and CUBICC has 40"),
    "captions of 20 tokens": ("captions.pt", lambda x: x[:, :20], "shape (40, 20) of torch.int64"),
    "captions of real numbers": ("captions.pt", lambda x: x.float(), "shape (40, 32) of torch.float32"),
    "a word beyond the last": ("captions.pt", lambda x: x + 1000, "word numbers from 1"),
    "two words at once": ("captions.pt", lambda x: torch.ones(40, 32, 1590), "rows that are not one-hot"),
    "labels of fewer": ("labels.pt", lambda x: x[:-1], "shape (39,) of torch.int64, and CUBICC"),
    "labels in fractions": ("labels.pt", lambda x: x + 0.5, "40 whole numbers"),
    "seven classes": ("labels.pt", lambda x: x.clamp(max=6), "7 classes, and CUBICC has 8"),
    "no tensor": ("labels.pt", lambda x: {"labels": x}, "labels.pt holds no tensor that"),
    "code in a tensor file": ("original_labels.pt", lambda x: Bomb(), "running code (UnpicklingError)"),
    "half a tensor file": ("images.pt", lambda x: written(x)[:5000], "images.pt holds no tensor"),
    "a shorter split": ("test_split.npy", lambda x: x[:8], "38 pairs with the other splits, and CUBICC"),
    "a split without a class": (
        "validation_split.npy", lambda x: x[:5], "has pairs of 5 classes, and CUBICC has all 8 in each split",
    ),
    "a split in two columns": ("train_split.npy", lambda x: x.reshape(11, 2), "shape (11, 2) of int64, and"),
    "a split of fractions": ("test_split.npy", lambda x: x / 2, "shape (10,) of float64"),
    "an empty split": ("validation_split.npy", lambda x: x[:0], "shape (0,) of int64"),
    "a pair that is not there": ("test_split.npy", lambda x: x + 1, "positions from 31 to 40, 10 of"),
    "a negative position": ("test_split.npy", lambda x: x - 40, "positions from -10 to -1"),
    "a pair twice": ("test_split.npy", lambda x: x.clip(32), "8 of them different"),
    "a pair in two splits": ("test_split.npy", lambda x: x - 4, "has 4 pairs of validation_split.npy"),
    "code in a split": ("train_split.npy", lambda x: pickled(), "train_split.npy holds no array"),
    "a split that promises more": ("train_split.npy", lambda x: long_header(), "holds no array that can"),
    "half a vocabulary": ("cub.vocab", lambda x: b'{"i2w": {"0": "a"}}', "does not name 1590 words"),
}  # fmt: skip


@pytest.mark.parametrize("where", ["folder", "archive"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_of_another_form_is_named_with_what_it_has(small, fault, where, tmp_path, capfd):
    name, change, said = FAULTS[fault]
    files = small | {name: change(small.get(name))}
    if where == "folder":
        arguments, prefix = ("--from", folder_of(tmp_path / "files", files)), str(tmp_path / "files" / name)
    else:
        arguments, prefix = ("--mirror", zipped(tmp_path / "mirror", files)), f"CUBICC.zip: {name}"
    message = failing(capfd, tmp_path / "data", *arguments)
    assert said in message and f"cubicc: {prefix}" in message and cubicc.URL in message
    assert not WAS_RUN.exists()


ALIASES = {
    "too many entries": ("images.pt", lambda x: [x[0].clone()] * 60_000, "60000 entries, and CUBICC has 40"),
    "one large tensor": ("captions.pt", lambda x: [torch.zeros(32, 1590)] * PAIRS, "lists of 8140800 bytes"),
    "a view of one number": ("images.pt", lambda x: [torch.zeros(1).expand(3, 64, 64)] * PAIRS, "lists of"),
    "lists in lists": ("labels.pt", lambda x: [[[0] * 9] * 9] * PAIRS, "holds no tensor"),
}


@pytest.mark.parametrize("alias", ALIASES)
def test_a_small_file_that_lists_a_tensor_often_is_refused_before_it_grows(
    small, alias, tmp_path, monkeypatch, capfd
):
    name, change, said = ALIASES[alias]
    folder = folder_of(tmp_path / "files", small | {name: change(small[name])})
    assert (folder / name).stat().st_size < 2**20
    grown = []
    monkeypatch.setattr(torch, "stack", lambda parts: grown.append(parts))
    assert said in failing(capfd, tmp_path / "data", "--from", folder) and not grown


def test_a_list_that_names_a_photo_once_per_caption_is_read(small, tmp_path):
    photos = [small["images.pt"][i].clone() for i in range(10)]
    files = small | {"images.pt": [photos[i % 10] for i in range(PAIRS)]}
    found = [
        load_arrays(cubicc.prepare(tmp_path / f"data {k}", folder=folder_of(tmp_path / f"of {k}", given)))
        for k, given in enumerate((small, files))
    ]
    assert str(found[0]["fingerprint"]) == str(found[1]["fingerprint"])


def test_a_pointer_or_a_page_instead_of_a_file_is_named(small, tmp_path, capfd):
    for content, said in ((b"version https://git-lfs\n", "is a Git LFS pointer"), (b"<html>", "is a text")):
        (folder_of(tmp_path / said, small) / "captions.pt").write_bytes(content)
        message = failing(capfd, tmp_path / "data", "--from", tmp_path / said)
        assert f"captions.pt {said}" in message
        assert failing(capfd, tmp_path / "data", "--from", tmp_path / said, "--check") == message


def test_the_check_counts_each_split_of_a_folder_and_of_an_archive_and_names_the_host(
    small, tmp_path, monkeypatch, capfd
):
    folder, mirror = folder_of(tmp_path / "files", small), zipped(tmp_path / "mirror", small)
    archive = mirror / "cubicc" / "CUBICC.zip"
    for arguments, place, found in (
        (
            ["--from", folder.parent],
            folder,
            f"found the unpacked files in files in {tmp_path}, which is read",
        ),
        (["--from", mirror], archive, f"found the archive CUBICC.zip in {mirror}, which is read in place"),
        (["--mirror", mirror], archive, ""),
    ):
        assert main(["cubicc", "--check", *map(str, arguments)]) == 0
        said = capfd.readouterr()
        assert found in said.err and said.out.splitlines() == [
            f"cubicc: {split}: {len(index)} of {len(index)} pairs are in {place}"
            for split, index in SPLITS.items()
        ]
    np.save(folder / "test_split.npy", np.arange(30, 38))
    assert main(["cubicc", "--check", "--from", str(folder)]) == 1
    assert "38 pairs with the other splits, and CUBICC has 40" in capfd.readouterr().err

    class Handler(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1230000000")
            self.end_headers()

    with serving(Handler, monkeypatch) as server:
        monkeypatch.setattr(cubicc, "URL", server.address)
        assert main(["cubicc", "--check"]) == 0
    said = capfd.readouterr().out
    assert f"all 40 pairs should be in CUBICC.zip (1.23 GB, {server.address}), which has their split" in said
    assert main(["cubicc", "--check"]) == 1
    assert f"Could not reach {server.address} (ConnectionError)" in capfd.readouterr().err


@pytest.mark.parametrize("missing", cubicc.FILES)
def test_a_missing_file_is_named(small, missing, tmp_path, capfd):
    del small[missing]
    for arguments in (
        ("--from", folder_of(tmp_path / "files", small)),
        ("--mirror", zipped(tmp_path / "mirror", small)),
    ):
        message = failing(capfd, tmp_path / "data", *arguments)
        assert f"has no {missing}, so it is not CUBICC; get it from {cubicc.URL}" in message


def test_another_archive_or_a_damaged_or_dangerous_one_is_named(small, tmp_path, capfd):
    arguments = (capfd, tmp_path / "data", "--mirror")
    other = zipped(tmp_path / "other", {"readme.txt": b"cats"})
    assert f"The archive {other / 'cubicc' / 'CUBICC.zip'} has no images.pt" in failing(*arguments, other)
    outside = zipped(tmp_path / "outside", small, inside="../CUBICC/")
    assert "has a member '../CUBICC/images.pt' that points outside" in failing(*arguments, outside)
    cut = zipped(tmp_path / "cut", small)
    path = cut / "cubicc" / "CUBICC.zip"
    path.write_bytes(path.read_bytes()[:-100])
    assert "is damaged or cut short; get it again" in failing(*arguments, cut)
    content = bytearray((zipped(tmp_path / "wrong", small) / "cubicc" / "CUBICC.zip").read_bytes())
    content[5000:5400] = bytes(400)  # of the images, whose checksum is then another
    path.write_bytes(content)
    assert "is damaged or cut short; get it again" in failing(*arguments, cut)
    path.write_text("<html>")
    assert "is a text, such as a host's error page" in failing(*arguments, cut)
    assert "has no file cubicc/CUBICC.zip" in failing(*arguments, tmp_path / "none")
    said = failing(capfd, tmp_path / "data", "--from", tmp_path / "none")
    assert f"There is no folder {tmp_path / 'none'}" in said and "--from" in said


def test_a_host_that_cannot_be_reached_is_named(small, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(cubicc, "ARCHIVE", Source("http://127.0.0.1:9/closed", "cubicc/CUBICC.zip"))
    monkeypatch.setattr(cubicc, "URL", "http://127.0.0.1:9/closed")
    message = failing(capfd, tmp_path / "data")
    assert "Could not download http://127.0.0.1:9/closed" in message and "GEOMREG_MIRROR" in message


def test_too_little_space_is_known_before_unpacking_and_a_full_disk_is_named(
    small, tmp_path, capfd, monkeypatch, disk
):
    mirror, root = zipped(tmp_path / "mirror", small), tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(disk, "free", 1_000_000)
        message = failing(capfd, root, "--mirror", mirror)
        assert "cubicc needs 0.0 GB in" in message and "free space there" in message

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cubicc, "save_arrays", full)
    message = failing(capfd, root, "--mirror", mirror)
    assert "No space left on device" in message and "--root" in message


def test_an_archive_that_would_fill_the_disk_is_refused(small, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(cubicc, "LARGEST", 1_000_000)
    said = failing(capfd, tmp_path / "data", "--mirror", zipped(tmp_path / "mirror", small))
    assert "is damaged or cut short" in said
    path = tmp_path / "mirror" / "cubicc" / "CUBICC.zip"
    stated = len(written(small["images.pt"])).to_bytes(4, "little")
    assert path.read_bytes().count(stated) >= 2
    path.write_bytes(path.read_bytes().replace(stated, (100).to_bytes(4, "little")))  # the headers lie
    said = failing(capfd, tmp_path / "data", "--mirror", tmp_path / "mirror")
    assert "images.pt" in said or "is damaged or cut short" in said


def test_an_interrupted_preparation_leaves_nothing_and_an_old_one_is_cleared_away(
    small, tmp_path, monkeypatch, capfd
):
    mirror, root = zipped(tmp_path / "mirror", small), tmp_path / "data"
    with monkeypatch.context() as patch:
        patch.setattr(cubicc, "_words", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["cubicc", "--mirror", str(mirror), "--root", str(root)]) == 130
    assert "run the command again" in capfd.readouterr().err and not list(root.rglob("*"))
    old, young = (root / "cubicc" / f".unpacking-{name}" for name in ("old", "young"))
    for stray in (old, young):
        stray.mkdir(parents=True)
        (stray / "images.pt").write_bytes(bytes(10))
    os.utime(old, (0, 0))
    cubicc.prepare(root, mirror, progress=False)
    assert not old.exists() and young.exists()


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", ["labels.pt", "train_split.npy", "cub.vocab"])
def test_damaged_and_malicious_files_are_read_right_or_refused(
    small, name, examples, tmp_path, record_property
):
    vocabulary = {"i2w": {str(i): f"w{i}" for i in range(1590)}}
    files = small | {"cub.vocab": json.dumps(vocabulary).encode()}
    folder, root = folder_of(tmp_path / "files", files), tmp_path / "data"
    pixels = torch.load(folder / "images.pt", weights_only=True)[:, :, :1, :1].expand(-1, -1, 64, 64)
    torch.save(pixels, folder / "images.pt")  # quick to read

    def check(content):
        (folder / name).write_bytes(content)
        with confined(tmp_path):
            found = []
            refusal(lambda: found.append(cubicc.prepare(root, folder=folder)), DataError)
        for path in found:
            arrays = load_arrays(path)
            assert arrays["labels"].shape == (PAIRS,) and np.unique(arrays["labels"]).size == 8
            assert len(arrays["words"]) in (0, 1590)
            taken = np.concatenate([arrays[split] for split in cubicc.SPLITS])
            assert len(np.unique(taken)) == len(taken) and taken.min() >= 0 and taken.max() < PAIRS

    values = bytes_like(written(files[name]))
    if name == "cub.vocab":
        small_vocabulary = {"i2w": {"0": "a"}, "w2i": {}}
        values = values | json_like(small_vocabulary).map(lambda value: json.dumps(value).encode())
    fuzz(values, examples, check, record_property)


# from arrays to splits --------------------------------------------------------------------------------------


def test_stand_ins_are_a_data_set_whose_splits_share_no_picture(data_folder):
    data = load("cubicc", source="stand_in")
    assert (data.num_classes, data.modalities, data.vocabulary) == (8, ("image", "caption"), 1590)
    assert data.shapes == {"image": (3, 64, 64), "caption": (32,)}
    assert "numbers mean nothing" in data.note
    parts = {name: getattr(data, name) for name in cubicc.SPLITS}
    assert {name: len(split) for name, split in parts.items()} == {
        "train": 396,
        "validation": 66,
        "test": 132,
    }
    photos = {name: set(split.factors["photo"].tolist()) for name, split in parts.items()}
    assert not photos["train"] & photos["test"] and not photos["train"] & photos["validation"]
    for split in parts.values():
        assert split.labels.unique().tolist() == list(range(8))
        assert len(split.factors["subspecies"].unique()) == 22
    batch = data.test.batch(torch.tensor([5, 3]))
    assert batch["inputs"]["image"].dtype == torch.uint8 and batch["inputs"]["caption"].dtype == torch.int64
    image = data.test.prepare(batch["inputs"])["image"]
    assert image.dtype == torch.float32 and image.shape == (2, 3, 64, 64) and 0.5 < image.max() <= 1
    assert load("cubicc", source="stand_in", seed=3).fingerprint == data.fingerprint


def test_a_sentence_is_its_words_up_to_the_end_or_its_numbers(data_folder):
    data = load("cubicc", source="stand_in")
    said = [sentence(data.words, tokens) for tokens in data.train.inputs["caption"]]
    assert all("bird" in text and "<" not in text for text in said)
    bodies = [color for color, _ in cubicc_stand_ins.SPECIES]
    named = [text for text in said if f"{bodies[0]} b" in text]
    assert len(named) > 10
    assert sentence((), torch.tensor([4, 2, 1])) == "4 2 1"


def test_pictures_and_sentences_tell_the_species_and_little_else(data_folder):
    data = load("cubicc", source="stand_in")
    for tokens, label in zip(data.test.inputs["caption"], data.test.labels, strict=True):
        text = sentence(data.words, tokens)
        body, long = cubicc_stand_ins.SPECIES[label]
        if "beak is" in text or "beak ." in text:
            assert f" {body} " in f" {text} " and ("long" if long else "short") in text
    image = data.train.inputs["image"].float()
    center = image[:, :, 24:44, 20:44].flatten(2).mean(dim=2)
    within = torch.stack([center[data.train.labels == k].mean(dim=0) for k in range(8)])
    assert torch.cdist(within, within).topk(2, largest=False).values[:, 1].min() > 15


def test_in_training_images_are_mirrored_and_moved_and_nothing_else_changes(data_folder):
    torch.manual_seed(0)
    split = load("cubicc", source="stand_in").train
    index = torch.arange(40)
    plain, moved = split.batch(index), split.augmented().batch(index)
    assert torch.equal(plain["inputs"]["caption"], moved["inputs"]["caption"])
    assert torch.equal(plain["label"], moved["label"])
    found = []
    for before, after in zip(plain["inputs"]["image"], moved["inputs"]["image"], strict=True):
        padded = torch.nn.functional.pad(before.float()[None], (SHIFT,) * 4, mode="replicate")[0].byte()
        ways = {
            (flip, top, left): (padded.flip(2) if flip else padded)[:, top : top + 64, left : left + 64]
            for flip in (False, True)
            for top in range(2 * SHIFT + 1)
            for left in range(2 * SHIFT + 1)
        }
        found.append([way for way, image in ways.items() if torch.equal(image, after)])
    assert all(len(ways) == 1 for ways in found), "each is one of the ways, which differ"
    assert len({ways[0] for ways in found}) > 25 and {ways[0][0] for ways in found} == {False, True}
    assert torch.equal(split.batch(index)["inputs"]["image"], plain["inputs"]["image"])


def test_what_cannot_be_loaded_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cubicc is not prepared in .*python -m data_scripts cubicc"):
        load("cubicc")
    with pytest.raises(ValueError, match="source='real' is unknown: choose one of official, stand_in"):
        load("cubicc", source="real")
