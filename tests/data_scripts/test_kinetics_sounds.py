"""Kinetics-Sounds from its lists and archives to its splits: published counts, and streams that can break."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from figures.audiovisual import sound
from local_server import Quiet, serving
from published import write_lists
from test_data_scripts import assert_fails_cleanly, called

from data_scripts import kinetics_sounds as script
from data_scripts import stand_ins
from data_scripts.fetch import DataError
from geomreg_mini.data import load

pytest.importorskip("av")
pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    stand_ins.prepare("kinetics_sounds", root)
    return root


@pytest.fixture
def source(prepared) -> Path:
    """The stand-ins as a mirror folder; to be read only."""
    return prepared / "stand_ins" / f"source-v{stand_ins.VERSION}"


# lists ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mirror() -> Path:
    folder = os.environ.get("GEOMREG_MIRROR")
    if not folder or not (Path(folder) / "kinetics_sounds" / "my_train.txt").is_file():
        pytest.skip("needs GEOMREG_MIRROR with the lists of Kinetics-Sounds")
    return Path(folder)


def test_the_published_lists_have_their_published_counts(mirror):
    rows = script.read_list(mirror)
    assert len({name for name, _, _ in rows}) == len(rows) == 14799 + 2597
    for part, total, least, most in [("train", 14799, 197, 690), ("test", 2597, 63, 92)]:
        counts = torch.tensor([label for _, label, p in rows if p == part]).bincount()
        assert (len(counts), counts.sum(), counts.min(), counts.max()) == (31, total, least, most)
    assert rows[0] == ("--4-0ihtnBU_000058", 4, "train") and rows[14799] == ("-3Mwkq-7TV4_000002", 23, "test")


def test_no_video_is_in_training_and_in_test(mirror):
    videos = {
        part: {name[:11] for name, _, p in script.read_list(mirror) if p == part}
        for part in ("train", "test")
    }
    assert not videos["train"] & videos["test"]


def test_the_variant_by_folders_has_33_classes_and_tests_on_kinetics_validation_clips(mirror):
    known = {
        "abcdefghijk_000003": ("tying tie", "train"),
        "bbcdefghijk_000003": ("bowling", "test"),
        "cbcdefghijk_000003": ("swimming backstroke", "train"),
    }
    rows, names = script.in_folders(mirror, known)
    assert len(names) == len(set(names)) == 33 and names[:2] == ("blowing nose", "bowling")
    assert rows == [("abcdefghijk_000003", 7, "train"), ("bbcdefghijk_000003", 1, "test")]


def test_classes_are_named_by_most_of_their_clips_and_by_their_number_where_nothing_is_known():
    rows = [("a", 0, "train"), ("b", 0, "train"), ("c", 0, "test"), ("d", 1, "train")]
    known = {"a": ("singing", "train"), "b": ("laughing", "train"), "c": ("singing", "test")}
    assert script.class_names(rows, known) == ("singing", "class 1")


# the data set -----------------------------------------------------------------------------------------------


def test_stand_ins_keep_the_shapes_counts_and_names(prepared, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    data = load("kinetics_sounds", source="stand_in", image_size=32)
    assert data.shapes == {"audio": (1, 129, 626), "visual": (3, 3, 32, 32)}
    assert data.num_classes == 31 and data.class_names[3] == "stand-in 3" and data.note == stand_ins.NOTE
    splits = (data.train, data.validation, data.test)
    assert [len(split) for split in splits] == [112, 12, 31]
    assert sorted(torch.cat([split.factors["clip"] for split in splits]).tolist()) == list(range(155))
    for split in (data.train.augmented(), data.test):
        inputs = split.prepare(split.batch(torch.tensor([3, 1]))["inputs"])
        assert {m: tuple(x.shape[1:]) for m, x in inputs.items()} == data.shapes
    one = load("kinetics_sounds", source="stand_in", frames=1, image_size=32)
    assert one.shapes["visual"] == (3, 32, 32) and one.fingerprint != data.fingerprint


def test_training_hears_random_five_seconds_and_evaluation_the_middle_ones(prepared, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    train = load("kinetics_sounds", source="stand_in").train
    index = torch.tensor([5])
    stored = torch.from_numpy(train.cache.spectrograms[train.factors["clip"][5]].copy())
    middle = train.batch(index)["inputs"]["audio"][0, 0]
    assert torch.equal(middle, stored[:, 312:938])
    torch.manual_seed(0)
    drawn = [train.augmented().batch(index)["inputs"]["audio"][0, 0] for _ in range(3)]
    starts = [next(s for s in range(626) if torch.equal(stored[:, s : s + 626], piece)) for piece in drawn]
    assert len(set(starts)) == 3
    torch.manual_seed(0)
    assert torch.equal(train.augmented().batch(index)["inputs"]["audio"][0, 0], drawn[0])


def test_what_one_hears_is_the_beginning_of_the_clips_own_sound(prepared, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    data = load("kinetics_sounds", source="stand_in")
    for row in (0, 30):
        samples = sound(data, int(data.train.factors["clip"][row]))
        assert samples.dtype == "float32" and len(samples) == 12000
        loudest = abs(np.fft.rfft(samples)).argmax() / 1.5
        assert loudest == pytest.approx(200 * 15 ** (int(data.train.labels[row]) / 30), rel=0.05)


def test_unknown_options_are_named(prepared, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    for options, said in [({"variant": "mine"}, "'mine'"), ({"variant": "folders"}, "no stand-ins")]:
        with pytest.raises(ValueError, match=said):
            load("kinetics_sounds", source="stand_in", **options)
    for options, variant in [({}, ""), ({"variant": "folders"}, " --variant folders")]:
        with pytest.raises(DataError, match=f"`python -m data_scripts kinetics_sounds{variant}`"):
            load("kinetics_sounds", **options)


# faults -----------------------------------------------------------------------------------------------------


def test_missing_clips_and_folders_are_errors_of_one_sentence(source, tmp_path, monkeypatch, capsys):
    root, clips, mirror = tmp_path / "data", source / "kinetics_sounds" / "clips", tmp_path / "mirror"
    write_lists(mirror, monkeypatch)
    shutil.copytree(source / "kinetics_sounds" / "annotations", mirror / "kinetics_sounds" / "annotations")
    given = ("kinetics_sounds", "--root", root, "--mirror", mirror, "--from")
    assert_fails_cleanly(called(capsys, *given, tmp_path / "none"), root, str(tmp_path / "none"), "--from")
    said = "tr-00-00000_000000_000010.mp4 is missing"
    finished = called(capsys, *given, clips)
    assert_fails_cleanly(finished, root, "None of the 14799 train clips", said, "a split cannot be empty")


def test_pointers_under_the_names_of_clips_are_named(source, tmp_path, monkeypatch, capsys):
    mirror, videos = tmp_path / "mirror", tmp_path / "videos"
    write_lists(mirror, monkeypatch)
    shutil.copytree(source / "kinetics_sounds" / "annotations", mirror / "kinetics_sounds" / "annotations")
    videos.mkdir()
    for name, _, _ in script.read_list(mirror):
        path = videos / f"{name}_{int(name[12:]) + 10:06d}.mp4"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for more in ["--check"], ["--root", tmp_path / "data"]:
        finished = called(
            capsys, "kinetics_sounds", "--mirror", mirror, "--from", videos, "--tolerate", "1", *more
        )
        assert finished.returncode == 1 and "None of the 14799 train clips can be used" in finished.stderr
        assert "mp4 is a Git LFS pointer (run `git lfs pull`)" in finished.stderr
        assert not finished.stdout or "train: 0 of 14799 clips" in finished.stdout


# streams ----------------------------------------------------------------------------------------------------


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def host(monkeypatch):
    """An HTTP server of ``host.files`` that breaks off in the middle of those in ``host.broken``."""

    class Handler(Quiet):
        def do_GET(self):
            host.asked.append(self.path)
            content = host.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: len(content) // 2] if self.path in host.broken else content)

        do_HEAD = do_GET

    with serving(Handler, monkeypatch) as host:
        host.files, host.broken, host.asked = {}, set(), []
        yield host


def test_only_wanted_clips_reach_the_disk_and_replacements_win(host, tmp_path):
    clip, other = "abcdefghijk_000001_000011.mp4", "-bcdefg_ijk_000001_000011.mp4"
    host.files = {
        "/fix": archive({f"fixed/{clip}": b"right"}),
        "/1": archive({clip: b"damaged", "unwanted__a_000001_000011.mp4": b"x", f"../../{other}": b"other"}),
        "/2": archive({"readme": b"x"}),
    }
    archives = [f"{host.address}{name}" for name in host.files]
    folder, home = tmp_path / "home" / "clips", tmp_path / "home"
    options = {"workers": 2, "yes": True, "progress": False}
    script.stream(archives, {clip[:18], other[:18]}, folder, home, **options)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {clip: b"right", other: b"other"}
    assert sorted(p.name for p in tmp_path.rglob("*.mp4")) == sorted([clip, other])  # nothing outside
    host.asked.clear()
    script.stream(archives, {clip[:18], other[:18]}, folder, home, **options)
    assert host.asked == []  # archives that were read to their end are passed over


def test_a_stream_that_breaks_off_is_named_and_goes_on_the_next_time(host, tmp_path):
    names = [f"{i:011d}_000001_000011.mp4" for i in range(3)]
    noise = os.urandom(100_000)
    host.files = {f"/{i}": archive({name: noise[i:]}) for i, name in enumerate(names)}
    host.broken = {"/1"}
    archives = [f"{host.address}{path}" for path in host.files]
    folder, wanted = tmp_path / "clips", {name[:18] for name in names}
    options = {"workers": 2, "yes": True, "progress": False}
    with pytest.raises(
        DataError, match=r"^Could not read 1 of 3 archives .*/1: .*run the command again.*\.$"
    ):
        script.stream(archives, wanted, folder, tmp_path, **options)
    assert sorted(path.name for path in folder.iterdir()) == [names[0], names[2]]  # and no part of names[1]
    host.broken.clear()
    host.asked.clear()
    script.stream(archives, wanted, folder, tmp_path, **options)
    assert set(host.asked) == {"/1"}
    assert [(folder / name).read_bytes() for name in names] == [noise, noise[1:], noise[2:]]
