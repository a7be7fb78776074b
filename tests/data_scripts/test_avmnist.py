"""AV-MNIST in MultiBench's form: what is stored, what is refused, and the split."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import Quiet, serving

from data_scripts import avmnist, stand_ins
from data_scripts.__main__ import main
from data_scripts.fetch import DataError
from data_scripts.stand_ins.avmnist import TEST, TRAIN
from geomreg_mini.data import load


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The mirror folder of a generated archive."""
    folder = tmp_path_factory.mktemp("mirror")
    stand_ins.WRITERS["avmnist"](folder)
    return folder


@pytest.fixture(scope="module")
def files(archive, tmp_path_factory) -> Path:
    """The unpacked arrays, in float32 as far as MultiBench divides them in place."""
    folder = tmp_path_factory.mktemp("unpacked")
    avmnist.unpack(archive / "avmnist" / "avmnist.tar.gz", folder)
    return folder


def copy(files, folder, **changed):
    """Write the six arrays into ``folder`` but for those ``changed``, by "image_train" and the like."""
    for file in avmnist.FILES:
        array = np.load(files / file)
        change = changed.get(file.removesuffix(".npy").replace("/", "_").removesuffix("_data"), lambda a: a)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / file, change(array))
    return folder


def test_the_archive_becomes_arrays_of_both_parts_in_their_order(archive, files, tmp_path):
    plan, arrays = avmnist.prepare(tmp_path, archive, published=False, progress=False)
    for m, file in (
        ("image", "image/{}_data.npy"),
        ("audio", "audio/{}_data.npy"),
        ("label", "{}_labels.npy"),
    ):
        both = np.concatenate([np.load(files / file.format(part)) for part in ("train", "test")])
        stored = arrays[m] if m != "image" else 255 * arrays[m]
        np.testing.assert_allclose(stored, both, rtol=1e-6, atol=1e-4)
    assert (plan["train"], plan["test"]) == (TRAIN, TEST)
    assert arrays["audio"].dtype == np.uint8 and arrays["image"].dtype == np.float32
    assert sorted(p.name for p in (tmp_path / "avmnist").iterdir() if p.is_file()) == ["prepared.json"]


def test_an_archive_and_its_unpacked_folder_give_the_same_arrays(archive, files, tmp_path):
    one, _ = avmnist.prepare(tmp_path / "a", archive, published=False, progress=False)
    for folder in (files, copy(files, tmp_path / "own" / "avmnist").parent, archive / "avmnist"):
        two, _ = avmnist.prepare(tmp_path / folder.name, folder=folder, published=False, progress=False)
        assert two["fingerprint"] == one["fingerprint"]


def test_the_split_is_multibenchs_and_inputs_are_divided_by_255(files, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path))
    avmnist.prepare(folder=copy(files, tmp_path / "in"), published=False, progress=False)
    data = load("avmnist")
    assert data.note == "" and data.num_classes == 10
    assert [len(s) for s in (data.train, data.validation, data.test)] == [
        TRAIN - TRAIN // 12,
        TRAIN // 12,
        TEST,
    ]
    for split, part, start in (
        (data.train, "train", 0),
        (data.validation, "train", 330),
        (data.test, "test", 0),
    ):
        index = torch.tensor([0, 7, 11])
        batch = split.batch(index)
        inputs = split.prepare(batch["inputs"])
        for m in ("image", "audio"):
            rows = np.load(files / m / f"{part}_data.npy")[start + index.numpy()] / 255
            assert inputs[m].dtype == torch.float32
            np.testing.assert_allclose(inputs[m].numpy().reshape(rows.shape), rows, rtol=1e-5, atol=1e-6)
        labels = np.load(files / f"{part}_labels.npy")
        assert batch["label"].tolist() == labels[start + index.numpy()].tolist()


def test_whole_numbers_are_stored_as_bytes_whatever_type_they_come_in(files, tmp_path):
    whole = copy(files, tmp_path / "in", image_train=np.floor, image_test=np.floor)
    _, arrays = avmnist.prepare(tmp_path, folder=whole, published=False, progress=False)
    assert arrays["image"].dtype == np.uint8


def test_the_published_counts_are_required(files, tmp_path, capsys):
    assert main(["avmnist", "--root", str(tmp_path), "--from", str(files)]) == 1
    assert f"has the shape ({TRAIN}, 784), and AV-MNIST has (60000, 784)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"audio_test": lambda a: a[:, :100]}, r"has the shape \(60, 100, 112\)"),
        ({"image_train": lambda a: a[:-1]}, r"has the shape \(359, 784\)"),
        ({"train_labels": lambda a: a.clip(0, 8)}, "does not hold the labels 0 to 9"),
        ({"test_labels": lambda a: a + 1}, "does not hold the labels 0 to 9"),
        ({"image_test": lambda a: np.where(a == a.max(), np.nan, a)}, "holds NaN or infinity"),
        ({"audio_train": lambda a: a.astype(str)}, "instead of real numbers"),
        ({"audio_train": lambda a: a.astype(object)}, "is not a whole array of numbers"),
    ],
)
def test_other_contents_are_named_in_one_sentence(files, tmp_path, changed, said):
    folder = copy(files, tmp_path / "in", **changed)
    with pytest.raises(DataError, match=said) as error:
        avmnist.prepare(tmp_path / "root", folder=folder, published=False, progress=False)
    assert "\n" not in str(error.value) and not (tmp_path / "root" / "avmnist" / "prepared.json").exists()


def test_missing_files_are_named(files, tmp_path):
    (copy(files, tmp_path / "in") / "audio" / "test_data.npy").unlink()
    with pytest.raises(DataError, match="test_data.npy is missing"):
        avmnist.prepare(tmp_path / "root", folder=tmp_path / "in", published=False, progress=False)
    with pytest.raises(
        DataError, match="in no known layout; name one with image/, audio/ and the labels, or"
    ):
        avmnist.prepare(tmp_path / "root", folder=tmp_path / "in" / "image", published=False, progress=False)


def test_the_check_counts_each_split_without_reading_the_arrays(tmp_path, capsys, monkeypatch):
    home = tmp_path / "own" / "avmnist"
    for part, count in avmnist.PARTS.items():
        for m, shape in avmnist.SHAPES.items():
            (home / m).mkdir(parents=True, exist_ok=True)
            path = home / m / f"{part}_data.npy"
            np.lib.format.open_memmap(path, "w+", np.uint8, (count, *shape))  # a file with holes
        np.save(home / f"{part}_labels.npy", np.arange(count) % 10)
    command = ["avmnist", "--check", "--from", str(home.parent)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert f"avmnist: found MultiBench's arrays in avmnist in {home.parent}, which is read" in said.err
    assert said.out.splitlines() == [
        f"avmnist: {part}: {count} of {count} pairs are in {home}" for part, count in avmnist.PARTS.items()
    ]
    np.save(home / "train_labels.npy", np.arange(59_999) % 10)
    assert main(command) == 1
    assert "train_labels.npy has the shape (59999,), and AV-MNIST has (60000,)" in capsys.readouterr().err
    (home / "audio" / "train_data.npy").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert main(command) == 1
    assert "audio/train_data.npy is a Git LFS pointer (run `git lfs pull`)" in capsys.readouterr().err


def test_the_check_names_the_archive_of_a_folder_or_the_page_of_the_source(
    archive, tmp_path, capsys, monkeypatch
):
    folder = archive / "avmnist"
    assert main(["avmnist", "--check", "--from", str(folder)]) == 0
    said = capsys.readouterr()
    assert f"avmnist: found MultiBench's archive avmnist.tar.gz in {folder}" in said.err
    assert f"train: 60000 of 60000 pairs should be in the archive {folder / 'avmnist.tar.gz'}" in said.out
    (tmp_path / "avmnist.tar.gz").write_text("<html>Quota exceeded")
    assert main(["avmnist", "--check", "--from", str(tmp_path)]) == 1
    assert "avmnist.tar.gz is a text, such as a host's error page" in capsys.readouterr().err

    class Handler(Quiet):
        def do_GET(self):
            self.send_response(404 if "moved" in self.path else 200)
            self.end_headers()

    with serving(Handler, monkeypatch) as server:
        monkeypatch.setattr(avmnist.drive, "FILE", f"{server.address}/{{}}")
        assert main(["avmnist", "--check"]) == 0
        page = f"{server.address}/{avmnist.FILE}"
        assert f"test: 10000 of 10000 pairs should be in the archive {page}" in capsys.readouterr().out
        monkeypatch.setattr(avmnist, "FILE", "moved")
        assert main(["avmnist", "--check"]) == 1
        assert f"Could not reach {server.address}/moved (HTTPError)" in capsys.readouterr().err


def packed(path, **members):
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))


def test_damaged_and_evil_archives_write_nothing_outside(archive, tmp_path):
    path = tmp_path / "a.tar.gz"
    whole = (archive / "avmnist" / "avmnist.tar.gz").read_bytes()
    for content, said in (
        (whole[: len(whole) // 2], "is damaged or cut short"), (b"<html>", "is a text"), (b"", "is empty"),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            avmnist.unpack(path, tmp_path / "out")
    packed(path, **{"../image/train_data.npy": b"x"})
    with pytest.raises(DataError, match="points outside its folder"):
        avmnist.unpack(path, tmp_path / "out")
    with tarfile.open(path, "w:gz") as out:
        link = tarfile.TarInfo("image/train_data.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    avmnist.unpack(path, tmp_path / "links")
    assert not (tmp_path / "links" / "image").exists() and not (tmp_path / "image").exists()


def test_a_damaged_download_is_not_kept_for_the_next_try(archive, tmp_path, monkeypatch):
    whole = (archive / "avmnist" / "avmnist.tar.gz").read_bytes()
    contents = iter([whole[: len(whole) // 2], whole])

    def download(file, path, *, progress):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(next(contents))
        return path

    monkeypatch.setattr(avmnist.drive, "download", download)
    with pytest.raises(DataError, match="is damaged or cut short"):
        avmnist.prepare(tmp_path, published=False, progress=False)
    assert avmnist.prepare(tmp_path, published=False, progress=False) is not None
    assert next(contents, None) is None, "both were asked for"
