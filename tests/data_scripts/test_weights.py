"""Weights are read from every form of file, and nothing in a file runs."""

import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from data_scripts.fetch import DataError
from data_scripts.weights import read_weights


class Evil:
    """Unpickled the usual way, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Linear(4, 2), nn.ReLU()))


def same(found, model):
    wanted = model.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_pickled_module_gives_its_state_dict_and_the_names_of_its_classes(tmp_path):
    torch.save(network(), tmp_path / "model.pt")
    tensors, classes = read_weights(tmp_path / "model.pt")
    assert same(tensors, network()) and {"Conv1d", "BatchNorm1d", "ReLU"} <= classes


def test_a_state_dict_alone_within_a_checkpoint_and_of_several_gpus_is_the_same(tmp_path):
    state = network().state_dict()
    for value in (
        state,
        {"epoch": 4, "state_dict": state, "args": Evil(tmp_path / "made")},
        {f"module.{name}": x for name, x in state.items()},
    ):
        torch.save(value, tmp_path / "weights.pt")
        tensors, classes = read_weights(tmp_path / "weights.pt")
        assert same(tensors, network()) and not classes
    assert not (tmp_path / "made").exists()


def test_tensors_that_share_memory_or_have_strides_keep_their_values(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    parts = {"whole": base, "turned": base.T, "row": base[1], "half": base.half()[:, ::2], "one": base[0, 3]}
    torch.save(parts, tmp_path / "weights.pt")
    found, _ = read_weights(tmp_path / "weights.pt")
    assert all(torch.equal(found[name], value) for name, value in parts.items())


def archive(path, content, **files):
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("archive/data.pkl", content)
        for name, data in files.items():
            out.writestr(f"archive/data/{name}", data)


def test_code_in_a_file_does_not_run(tmp_path):
    archive(tmp_path / "zip.pt", pickle.dumps({"a": Evil(tmp_path / "made")}, protocol=2))
    with pytest.raises(DataError, match="holds no tensors"):
        read_weights(tmp_path / "zip.pt")
    torch.save({"a": Evil(tmp_path / "made")}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match="cannot be read as weights"):
        read_weights(tmp_path / "old.pt")
    assert not (tmp_path / "made").exists()
    pickle.loads(pickle.dumps(Evil(tmp_path / "made")))
    assert (tmp_path / "made").exists(), "the object is one that does something"


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path):
    torch.save({"a": torch.zeros(4)}, tmp_path / "small.pt")
    with zipfile.ZipFile(tmp_path / "small.pt") as good:
        content = good.read(next(name for name in good.namelist() if name.endswith("data.pkl")))
    archive(tmp_path / "cut.pt", content, **{"0": b"\0" * 8})
    with pytest.raises(DataError, match="cannot be read as weights .RuntimeError"):
        read_weights(tmp_path / "cut.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<html>", "is a text, such as a host's error page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer .run `git lfs pull`."),
        (b"PK\x03\x04", "cannot be read as weights"),
        (b"\x80\x02}.", "cannot be read as weights|holds no tensors"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, content, said):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(DataError, match=rf"weights.pt ({said}).*\.$") as error:
        read_weights(tmp_path / "weights.pt")
    assert "\n" not in str(error.value)


def test_a_changed_byte_is_noticed(tmp_path):
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    content = bytearray((tmp_path / "weights.pt").read_bytes())
    with zipfile.ZipFile(tmp_path / "weights.pt") as good:
        place = next(m.header_offset for m in good.infolist() if m.filename.endswith("data/0"))
    start = content.index(network().state_dict()["0.weight"].numpy().tobytes(), place)
    content[start] ^= 1
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(DataError, match="BadZipFile"):
        read_weights(tmp_path / "weights.pt")
