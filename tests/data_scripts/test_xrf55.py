"""XRF55 from its files to its splits: layouts, verified shapes, and every fault as one sentence."""

import base64
import errno
import hashlib
import itertools
import json
import os
import pickle
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import Quiet, serving

from data_scripts import __main__, kaggle, stand_ins
from data_scripts import xrf55 as script
from data_scripts.clip_cache import in_order
from data_scripts.fetch import DataError
from data_scripts.stand_ins.xrf55 import ACTIONS, BLIND, REPETITIONS
from geomreg_mini.benchmarks import xrf55 as data
from geomreg_mini.data import load

SECRET = "never-to-be-seen"
TYPES = {"mmWave": np.float32, "WiFi": np.float64, "RFID": np.float64}  # Kaggle's files, by their sizes
FEW = [(1, 3, a, r) for a in (1, 2) for r in (1, 13, 15)]


def array(modality, value=0.0):
    return np.full(script.SHAPES[modality], value, TYPES[modality])


def write(folder: Path, keys=FEW, values=None) -> Path:
    """Recordings in Kaggle's layout; each file holds ``values(key)``, all zeros by default."""
    for key in keys:
        for m in script.SHAPES:
            path = (
                folder / f"Scene{key[0]}" / f"Scene{key[0]}" / m / "{:02d}_{:02d}_{:02d}.npy".format(*key[1:])
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array(m, values(key) if values else 0.0))
    return folder


@pytest.fixture
def one_person(monkeypatch):
    """A data set of one volunteer instead of twenty."""
    monkeypatch.setattr(script, "PEOPLE", {1: (1,)})


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """All 1,100 recordings of one volunteer, which are links to three files."""
    folder = tmp_path_factory.mktemp("grid")
    for m in script.SHAPES:
        home = folder / "Scene1" / m
        home.mkdir(parents=True)
        np.save(home / "01_01_01.npy", array(m))
        for action in range(1, 56):
            for repetition in range(1, 21):
                if (action, repetition) != (1, 1):
                    os.link(home / "01_01_01.npy", home / f"01_{action:02d}_{repetition:02d}.npy")
    return folder


@pytest.fixture
def own_grid(one_person, grid, tmp_path) -> Path:
    """The same to be changed: replace files, never write into them."""
    return Path(shutil.copytree(grid, tmp_path / "grid", copy_function=os.link))


def run(capsys, *arguments) -> str:
    """The sentence of a command that fails."""
    assert __main__.main(["xrf55", *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    *_, message = said.err.strip().split("\n")
    assert message.startswith("xrf55: ") and message.endswith("."), said.err
    return message


# index ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "scene"),
    [
        ("Scene2/Scene2/{m}/05_09_15.npy", 2),  # Kaggle's
        ("test_data/{m}/Scene2/Scene2/05_09_15.npy", 2),  # X-Fi's
        ("dataset/Raw_dataset/{m}/5_9_15.npy", 0),  # dataset.zip's
        ("part1/scene_2/{m}/05_9_15.npy", 2),
        ("Scene1_part2/{m}/05_09_15.npy", 1),  # Kaggle's Part 2
    ],
)
def test_every_known_layout_tells_scene_volunteer_action_and_repetition(tmp_path, layout, scene):
    for m in ("mmWave", "wifi", "RFID"):
        path = tmp_path / layout.format(m=m)
        path.parent.mkdir(parents=True)
        path.touch()
        (path.parent / "notes.txt").touch()
        (path.parent / "._05_09_15.npy").touch()
    _, (_, found) = script.find(tmp_path)
    assert list(found) == [(scene, 5, 9, 15)]
    assert set(found[scene, 5, 9, 15]) == set(script.SHAPES)


def test_the_index_reads_each_recording_as_float32_in_the_order_of_scene_volunteer_action_repetition(
    tmp_path,
):
    keys = [(1, 3, 2, 15), (1, 3, 1, 13), (1, 3, 1, 1), (2, 3, 1, 1), (1, 11, 1, 1)]
    folder = write(tmp_path / "files", keys, lambda key: key[2] + key[3] / 100 + 10 * key[0])
    found = script.prepare(tmp_path / "root", folder=folder, published=False, progress=False)
    assert [tuple(key) for key in found.keys.tolist()] == sorted(keys)
    for row, key in enumerate(found.keys.tolist()):
        for m, shape in script.SHAPES.items():
            values = found.read(m, row)
            assert values.dtype == np.float32 and values.shape == shape
            assert np.allclose(values, key[2] + key[3] / 100 + 10 * key[0])
    assert script.open_cache(tmp_path / "root" / script.INFO.prepared).fingerprint == found.fingerprint
    assert script.counts(found) == {
        "recordings": 5, "volunteers": 2, "scenes": 2, "volunteers in a scene": 3,
    }  # fmt: skip


def test_a_published_volunteer_is_complete(one_person, grid, tmp_path, capsys):
    arguments = ["--root", tmp_path / "root", "--from", grid]
    assert __main__.main(["xrf55", *map(str, arguments)]) == 0
    assert "1100 recordings, 1 volunteers, 1 scenes" in capsys.readouterr().out
    assert len(script.ACTIONS) == len(set(script.ACTIONS)) == 55


def test_one_header_is_parsed_at_a_time(one_person, grid, tmp_path, monkeypatch):
    """Two threads that parse fail at random in Python 3.11.7, and a good file would be called damaged."""
    parse, inside, most = np.lib.format.read_array_header_1_0, [], []

    def watched(file):
        inside.append(file)
        time.sleep(1e-4)
        most.append(len(inside))
        inside.pop()
        return parse(file)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", watched)
    found = script.prepare(tmp_path / "root", folder=grid, workers=8, progress=False)
    assert len(most) == 3300 and len(found.keys) == 1100
    assert len(list(in_order(lambda row: found.read("RFID", row), range(1100), 8))) == 1100
    assert len(most) == 4400 and max(most) == 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2"])
def test_values_are_read_as_numpy_reads_them(tmp_path, order, kind):
    folder = write(tmp_path / "files", FEW[:1])
    values = np.arange(23 * 148).reshape(1, 23, 148)
    path = next(folder.rglob("RFID/*.npy"))
    np.save(path, np.asarray(values.astype(kind), order=order))
    found = script.prepare(tmp_path / "root", folder=folder, published=False, progress=False)
    read = found.read("RFID", 0)
    assert np.array_equal(read, values[0]) and read.flags.c_contiguous and read.dtype == np.float32


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((17, 256, 128), True), ((1, 17, 256, 128, 1), True), ((17, 32768), True), ((4352, 128), True),
        ((557056,), True), ((128, 256, 17), False), ((256, 17, 128), False), ((17, 256, 127), False),
    ],
)  # fmt: skip
def test_radar_may_have_neighboring_axes_stored_as_one_and_no_other_order(tmp_path, shape, fits):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.int8))
    if fits:
        script.check_file(tmp_path / "a.npy", "mmWave")
    else:
        with pytest.raises(script.RecordingError, match=r"has the shape .*, and mmWave has \(17, 256, 128\)"):
            script.check_file(tmp_path / "a.npy", "mmWave")


def test_the_same_files_elsewhere_are_found_there_with_the_same_fingerprint(tmp_path):
    folder = write(tmp_path / "files", FEW[:1])
    before = script.prepare(tmp_path / "root", folder=folder, published=False, progress=False)
    folder.rename(tmp_path / "moved")
    after = script.prepare(tmp_path / "root", folder=tmp_path / "moved", published=False, progress=False)
    assert after.fingerprint == before.fingerprint
    assert after.source == str(tmp_path / "moved") and after.read("RFID", 0).shape == (23, 148)


# faults of files --------------------------------------------------------------------------------------------


def pickled(path):
    path.write_bytes(pickle.dumps(np.zeros(3)))


FAULTS = {
    "has the shape (1000, 270), and WiFi has (270, 1000)": lambda p: np.save(p, np.zeros((1000, 270))),
    "has the shape (270, 999), and WiFi has (270, 1000)": lambda p: np.save(p, np.zeros((270, 999))),
    "holds Python objects, which are not loaded": lambda p: np.save(p, np.array([{}]), allow_pickle=True),
    "holds a pickle": pickled,
    "holds complex64 instead of real numbers": lambda p: np.save(p, np.zeros((270, 1000), np.complex64)),
    "is empty": lambda p: p.touch(),
    "is a Git LFS pointer (run `git lfs pull`)": lambda p: p.write_text("version https://git-lfs\n"),
    "is a text, such as a host's error page": lambda p: p.write_text("404: Not Found"),
    "is not a .npy file": lambda p: p.write_bytes(b"PK\x03\x04 an archive"),
    "has a damaged header": lambda p: p.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_file_that_is_no_recording_is_named_with_its_fault(own_grid, tmp_path, capsys, said):
    path = own_grid / "Scene1" / "WiFi" / "01_07_20.npy"
    path.unlink()
    FAULTS[said](path)
    message = run(capsys, "--root", tmp_path / "root", "--from", own_grid)
    assert f"scene 1, 01_07_20: Scene1/WiFi/01_07_20.npy {said})" in message and "--tolerate" in message
    assert not list((tmp_path / "root").rglob("*"))


def test_a_file_that_is_cut_short_is_named(own_grid, tmp_path, capsys):
    path = own_grid / "Scene1" / "mmWave" / "01_55_01.npy"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])
    assert "01_55_01.npy is cut short" in run(capsys, "--root", tmp_path / "root", "--from", own_grid)


def test_a_recording_without_a_modality_or_without_any_file_is_named(own_grid, tmp_path, capsys):
    (own_grid / "Scene1" / "RFID" / "01_02_03.npy").unlink()
    for m in script.SHAPES:
        (own_grid / "Scene1" / m / "01_30_14.npy").unlink()
    message = run(capsys, "--root", tmp_path / "root", "--from", own_grid)
    assert "2 or more of 770 train recordings cannot be used, and 0 may be" in message
    assert "scene 1, 01_02_03: no file of RFID" in message and "scene 1, 01_30_14: no file at all" in message


def test_tolerated_recordings_are_left_out_and_told(own_grid, tmp_path, capsys):
    (own_grid / "Scene1" / "RFID" / "01_02_03.npy").unlink()
    arguments = ["--root", tmp_path / "root", "--from", own_grid, "--tolerate", "0.01"]
    assert __main__.main(["xrf55", *map(str, arguments)]) == 0
    assert "scene 1, 01_02_03: left out, no file of RFID\nxrf55: 1099 recordings" in capsys.readouterr().out
    assert "1 or more of 770 train" in run(capsys, "--root", tmp_path / "root", "--from", own_grid)


def test_folders_without_recordings_or_with_one_twice_are_told(tmp_path, capsys):
    (tmp_path / "empty" / "WiFi").mkdir(parents=True)
    for folder, said in [
        ("empty", "in no known layout; name one with recordings, such as Scene1/Scene1/WiFi/01_01_01.npy"),
        ("nowhere", "There is no folder"),
    ]:
        assert said in run(capsys, "--root", tmp_path / "root", "--from", tmp_path / folder)
    for place in ("train_data/WiFi", "copy/WiFi"):
        (tmp_path / "twice" / place).mkdir(parents=True)
        (tmp_path / "twice" / place / "01_01_01.npy").touch()
    message = run(capsys, "--root", tmp_path / "root", "--from", tmp_path / "twice")
    assert "has one recording twice" in message and "train_data/WiFi/01_01_01.npy" in message
    (tmp_path / "empty" / "WiFi" / "01_56_01.npy").touch()
    message = run(capsys, "--root", tmp_path / "root", "--from", tmp_path / "empty")
    assert "would be repetition 1 of action 56" in message


@pytest.mark.parametrize("damage", ["{", "[]", "version", "keys", "path"])
def test_a_damaged_index_is_made_again(tmp_path, damage):
    folder = write(tmp_path / "files", FEW[:2])
    whole = script.prepare(tmp_path / "root", folder=folder, published=False, progress=False)
    path = tmp_path / "root" / script.INFO.prepared
    plan = json.loads(path.read_text())
    if damage == "version":
        plan["version"] += 1
    elif damage == "keys":
        plan["keys"] = plan["keys"][:1]
    elif damage == "path":
        plan["files"]["RFID"][0] = "../elsewhere.npy"
    path.write_text(damage if damage in "{[]" else json.dumps(plan))
    assert script.open_cache(path) is None
    again = script.prepare(tmp_path / "root", folder=folder, published=False, progress=False)
    assert again.fingerprint == whole.fingerprint and again.files == whole.files


# people -----------------------------------------------------------------------------------------------------


def part1(folder: Path, lost=lambda scene, person, modality: False) -> Path:
    """One recording of each volunteer of Part 1 in Kaggle's layout, as empty files, without the ``lost``."""
    for scene, people in script.PEOPLE.items():
        for person in people:
            for m in script.SHAPES:
                path = folder / f"Scene{scene}/Scene{scene}/{m}/{person:02d}_01_01.npy"
                if not lost(scene, person, m):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    return folder


def part2(folder: Path) -> None:
    for person in script.PART_2:
        for m in script.SHAPES:
            (folder / "Scene1_part2" / m).mkdir(parents=True, exist_ok=True)
            (folder / "Scene1_part2" / m / f"{person:02d}_01_01.npy").touch()


def test_part_1_has_twenty_people_counted_in_each_scene_and_part_2_the_other_nineteen_of_scene_1():
    counted = [(scene, person) for scene, people in script.PEOPLE.items() for person in people]
    assert len(counted) == 20 and len(counted) * 55 * 20 == 22_000
    assert set(script.PEOPLE[1]) | set(script.PART_2) == set(range(1, 31))
    assert {p for s, p in counted if s > 1} == {3, 4, 5, 6, 7, 13, 23, 24, 31}
    assert len({p for _, p in counted} | set(script.PART_2)) == 31


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (lambda scene, person, m: scene == 3, "has no recordings of scene 3;"),
        (lambda scene, person, m: (scene, person) == (4, 13), "has no recordings of person 13 in scene 4;"),
        (lambda scene, person, m: scene == 2 and m == "WiFi", "has no WiFi files of scene 2;"),
        (lambda scene, person, m: m == "RFID", "has no RFID files of scene 1;"),
        (
            lambda scene, person, m: (scene, person, m) == (2, 24, "WiFi"),
            "has no WiFi files of person 24 in scene 2;",
        ),
    ],
)
def test_a_missing_scene_person_or_modality_is_one_sentence_whatever_is_tolerated(
    tmp_path, capsys, lost, said
):
    folder = part1(tmp_path / "files", lost)
    for more in ([], ["--check"]):
        message = run(capsys, "--root", tmp_path / "root", "--from", folder, "--tolerate", 1, *more)
        assert f"The folder {folder} {said}" in message and "complete it, or name Part 1's folder" in message
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (lambda action, repetition: True, "None of the 770 train recordings can be used"),
        (lambda action, repetition: repetition > 14, "None of the 330 test recordings can be used"),
        (lambda action, repetition: action == 7, "None of the 14 train recordings of action 7 can be used"),
    ],
)
def test_files_of_a_person_or_an_action_that_are_all_pointers_are_never_tolerated(
    own_grid, tmp_path, capsys, lost, said
):
    for path in (own_grid / "Scene1" / "WiFi").iterdir():
        if lost(*map(int, path.stem.split("_")[1:])):
            path.unlink()
            path.write_text("version https://git-lfs.github.com/spec/v1\n")
    message = run(capsys, "--root", tmp_path / "root", "--from", own_grid, "--tolerate", 1)
    assert "None of the " in message and "is a Git LFS pointer (run `git lfs pull`)" in message
    assert not list((tmp_path / "root").rglob("*"))
    assert __main__.main(["xrf55", "--check", "--from", str(own_grid), "--tolerate", "1"]) == 1
    assert said in capsys.readouterr().err


def test_part_2_beside_part_1_is_refused_by_name_unless_asked_for(tmp_path, capsys):
    folder = part1(tmp_path / "files")
    part2(folder)
    message = run(capsys, "--root", tmp_path / "root", "--from", folder)
    assert "has Part 2 (people 12 to 30 of scene 1)" in message and "--part2" in message
    # the people are complete; now most of their recordings are missing
    said = run(capsys, "--root", tmp_path / "root", "--from", folder, "--part2")
    assert "of 30030 train recordings cannot be used" in said
    shutil.rmtree(folder / "Scene1_part2")
    said = run(capsys, "--root", tmp_path / "root", "--from", folder, "--part2")
    assert "has no recordings of person 12 in scene 1" in said


def test_a_stranger_and_a_folder_without_scenes_are_one_sentence(tmp_path, capsys):
    folder = part1(tmp_path / "files")
    (folder / "Scene2/Scene2/WiFi/09_01_01.npy").touch()
    said = run(capsys, "--root", tmp_path / "root", "--from", folder)
    assert "has person 09 in scene 2, who is not in XRF55's list" in said
    for m in script.SHAPES:
        (tmp_path / "flat" / m).mkdir(parents=True)
        (tmp_path / "flat" / m / "01_01_01.npy").touch()
    said = run(capsys, "--root", tmp_path / "root", "--from", tmp_path / "flat")
    assert "has person 01 in no scene's folder" in said


def test_the_layout_and_the_recordings_of_a_folder_are_said_without_reading_them(own_grid, capsys, tmp_path):
    folder = tmp_path / "files"
    (folder / "Scene1").mkdir(parents=True)
    (own_grid / "Scene1").rename(folder / "Scene1" / "Scene1")
    assert __main__.main(["xrf55", "--from", str(folder), "--check"]) == 0
    said = capsys.readouterr()
    assert "found the names of 1100 recordings in Kaggle's layout" in said.err
    assert said.out.splitlines() == [
        f"xrf55: train: 770 of 770 recordings are in {folder}",
        f"xrf55: test: 330 of 330 recordings are in {folder}",
    ]


# Kaggle -----------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder for Kaggle's files, without a token, in place of the user's."""
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE", "KAGGLE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(folder))
    return folder


class Kaggle(Quiet):
    """Answers kagglehub's two requests, and sends the second on to the storage."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Authorization"]))
        asks_version = self.path.endswith("/GetDataset")
        body = b'{"currentVersionNumber": 1}' if asks_version else b""
        self.send_response(200 if asks_version and self.server.status == 302 else self.server.status)
        if self.server.status == 302 and not asks_version:
            self.send_header("Location", f"{self.server.storage.address}/archive?signature=hush")
        self.send_header("Content-Type", "application/json" if asks_version else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Storage(Quiet):
    """Has an archive, and breaks off as often as it is told."""

    def do_GET(self):
        self.server.seen.append((dict(self.headers.items()), self.headers["Range"]))
        content = self.server.content
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        md5 = base64.b64encode(hashlib.md5(self.server.stated or content).digest()).decode()
        self.send_header("X-Goog-Hash", f"crc32c=AAAAAA==,md5={md5}")
        self.end_headers()
        part = content[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            part = part[: len(part) // 2]
        if self.server.trickles:
            with suppress(OSError):
                while not self.server.over.wait(0.01):
                    self.wfile.write(b"x")
        self.wfile.write(part)


@pytest.fixture(scope="module")
def servers():
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(Kaggle, patch) as host,
        serving(Storage, patch) as storage,
    ):
        storage.address = storage.address.replace("127.0.0.1", "localhost")  # another host than Kaggle
        host.storage = storage
        yield host


@pytest.fixture
def hosts(home, servers, monkeypatch):
    """Kaggle and its storage on this machine, and a token."""
    kaggle_env = pytest.importorskip("kagglesdk.kaggle_env", reason="kagglehub is not installed")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    monkeypatch.setattr(script, "ARCHIVE", 0.0)
    monkeypatch.setattr(script, "UNPACKED", 0.0)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, servers.address)
    servers.seen, servers.status, storage = [], 302, servers.storage
    storage.seen, storage.breaks, storage.content, storage.stated = [], 0, b"", None
    storage.trickles, storage.over = False, threading.Event()
    yield servers
    storage.over.set()


def archive(tmp_path, keys=FEW[:2], more=(), method=zipfile.ZIP_DEFLATED) -> bytes:
    folder = write(tmp_path / "source", keys)
    path = tmp_path / "source.zip"
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as file:
        for member in sorted(folder.rglob("*.npy")):
            file.write(member, member.relative_to(folder))
        for name, content in more:
            file.writestr(name, content)
    return path.read_bytes()


def test_the_archive_is_downloaded_and_unpacked_and_the_token_reaches_kaggle_alone(hosts, tmp_path, capfd):
    hosts.storage.content = archive(tmp_path, more=[("../../../outside.npy", b"x"), ("a.txt", b"")])
    root = tmp_path / "data" / "root"
    found = script.prepare(root, yes=True, published=False, progress=False)
    assert [tuple(key) for key in found.keys.tolist()] == FEW[:2]
    said = capfd.readouterr()
    assert "Licence: CC BY-NC 4.0" in said.err and SECRET not in said.err + said.out
    assert {token for _, token in hosts.seen} == {f"Bearer {SECRET}"}
    assert all(SECRET not in path for path, _ in hosts.seen)
    ((headers, _),) = hosts.storage.seen
    assert "Authorization" not in headers and SECRET not in str(headers)
    assert sorted(p.name for p in (root / "xrf55").iterdir()) == ["files", "prepared.json", "unpacked"]
    assert not any(SECRET.encode() in p.read_bytes() for p in root.rglob("*") if p.is_file())
    assert [p.relative_to(root / "xrf55" / "files").as_posix() for p in tmp_path.rglob("outside.npy")] == [
        "outside.npy"
    ]
    hosts.seen.clear()
    script.prepare(root, published=False, progress=False)
    assert not hosts.seen, "what is unpacked is used without asking Kaggle"


def test_a_download_that_breaks_off_is_resumed_by_the_next_call(hosts, tmp_path, capsys):
    hosts.storage.content, hosts.storage.breaks = archive(tmp_path, FEW[:1], method=zipfile.ZIP_STORED), 1
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "The connection to Kaggle failed" in message and "run the command again to resume" in message
    found = script.prepare(tmp_path / "root", yes=True, published=False, progress=False)
    assert len(found.keys) == 1
    assert [wanted is not None for _, wanted in hosts.storage.seen] == [False, False, True]


def test_an_archive_with_another_checksum_is_not_used(hosts, tmp_path, capsys):
    hosts.storage.content, hosts.storage.stated = archive(tmp_path, FEW[:1]), b"another archive"
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "is damaged or cut short; run the command again" in message
    assert not [p for p in (tmp_path / "root").rglob("*") if p.is_file()]


@pytest.mark.parametrize("content", [b"not an archive at all", None])
def test_a_damaged_archive_is_removed_and_named(hosts, tmp_path, capsys, content):
    if content is None:  # one byte of a recording is another
        whole = bytearray(archive(tmp_path, FEW[:1], method=zipfile.ZIP_STORED))
        whole[len(whole) // 2] ^= 1
        content = bytes(whole)
    hosts.storage.content = content
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "is damaged or cut short" in message and not list((tmp_path / "root").rglob("*.archive"))
    hosts.storage.content = archive(tmp_path, FEW[:1])
    assert len(script.prepare(tmp_path / "root", yes=True, published=False, progress=False).keys) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not accept the token; create a new one on kaggle.com/settings"),
        (403, "accept the terms on kaggle.com/datasets/xrfdataset/xrf55"),
        (404, "has no data set xrfdataset/xrf55"),
        (503, "did not serve xrfdataset/xrf55 (status 503); try again later"),
    ],
)
def test_a_refusal_says_what_to_do_and_not_the_token(hosts, tmp_path, capsys, status, said):
    hosts.status = status
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert said in message and SECRET not in message
    assert not [p for p in (tmp_path / "root").rglob("*") if p.is_file()]


def test_without_a_token_the_command_says_where_to_put_one(hosts, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    hosts.status = 401
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    for part in ("none was found; create it", "kaggle.com/settings", "~/.kaggle/kaggle.json", "--from"):
        assert part in message, part
    assert {token for _, token in hosts.seen} == {None}


@pytest.mark.parametrize(
    "token", [f"{SECRET} {SECRET}", f"{SECRET}\n{SECRET}", f"{SECRET}é", "x" * 5000 + "\n."]
)
def test_a_malformed_token_is_neither_sent_nor_shown(hosts, tmp_path, capsys, monkeypatch, token):
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "The Kaggle token is malformed" in message and SECRET not in message and "xxx" not in message
    assert not hosts.seen


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"username": "ann"}', '{"username": "ann", "key": 3}'])
def test_a_malformed_kaggle_json_is_refused(hosts, home, tmp_path, capsys, monkeypatch, content):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (home / "kaggle.json").write_text(content)
    assert "The Kaggle token is malformed" in run(capsys, "--root", tmp_path / "root", "--yes")
    assert not hosts.seen


def test_an_unreachable_host_is_named_without_token_and_signed_address(hosts, tmp_path, capsys, monkeypatch):
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9")
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "The connection to Kaggle failed (ConnectionError)" in message and SECRET not in message


def test_a_storage_that_trickles_is_given_up(hosts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kaggle, "STALLED", 0.5)
    hosts.storage.trickles, hosts.storage.content = True, bytes(2**20)
    assert __main__.main(["xrf55", "--root", str(tmp_path / "root"), "--yes"]) == 1
    message = capsys.readouterr().err  # after kagglehub's own lines
    assert "The connection to Kaggle failed (Timeout); run the command again to resume" in message


def test_a_download_that_grows_is_awaited(home, tmp_path, monkeypatch):
    kagglehub = pytest.importorskip("kagglehub", reason="kagglehub is not installed")

    polls, enough = itertools.count(), threading.Event()

    class Growing(type(tmp_path)):
        def rglob(self, pattern: str) -> Iterator[Path]:
            (tmp_path / "part").write_bytes(bytes(count := next(polls)))
            if count == 5:
                enough.set()
            return Path(self).rglob(pattern)

    monkeypatch.setattr(kaggle, "STALLED", 0.05)
    monkeypatch.setattr(kagglehub, "dataset_download", lambda name: f"{name}{enough.wait(100)}")
    assert kaggle.download("owner/title", Growing(tmp_path)) == Path("owner/titleTrue")


def test_a_disk_that_fills_up_is_named(hosts, tmp_path, capsys, monkeypatch):
    import kagglehub

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kagglehub, "dataset_download", full)
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "(No space left on device); free space there" in message


def test_without_kagglehub_the_extra_is_named(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "ARCHIVE", 0.0)
    monkeypatch.setattr(script, "UNPACKED", 0.0)
    monkeypatch.setitem(sys.modules, "kagglehub.config", None)
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "kagglehub is not installed; install the extra `benchmarks`" in message


def test_too_little_space_is_said_before_the_download_starts(hosts, tmp_path, capsys, monkeypatch, disk):
    monkeypatch.setattr(script, "ARCHIVE", 1e9)
    disk.free = 500
    message = run(capsys, "--root", tmp_path / "root", "--yes")
    assert "xrf55 needs 1.0 GB in" in message and "--root" in message
    assert not hosts.seen and not list((tmp_path / "root").rglob("*"))


def test_without_a_yes_nothing_is_downloaded_and_size_and_licence_are_said(
    hosts, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    assert __main__.main(["xrf55", "--root", str(tmp_path / "root")]) == 1
    said = capsys.readouterr().err
    assert "xrf55: downloads 0.0 GB" in said and "CC BY-NC 4.0" in said and "add --yes" in said
    assert not hosts.seen


# data set ---------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path, monkeypatch) -> Path:
    keys = [(s, 3, a, r) for s in (1, 2) for a in (7, 9) for r in (1, 12, 13, 14, 15, 20)]
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "root"))
    folder = tmp_path / "files"
    for m in script.SHAPES:
        np.save(tmp_path / f"{m}.npy", array(m, 2.0))
        for key in keys:
            path = folder / f"Scene{key[0]}" / m / "{:02d}_{:02d}_{:02d}.npy".format(*key[1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / f"{m}.npy", path)
    script.prepare(folder=folder, published=False, progress=False)
    return folder


def test_repetitions_are_split_as_published_and_the_last_two_to_train_with_validate(prepared):
    found = load("xrf55")
    for split, repetitions in [("train", {1, 12}), ("validation", {13, 14}), ("test", {15, 20})]:
        factors = getattr(found, split).factors
        assert set(factors["repetition"].tolist()) == repetitions
        assert set(factors["scene"].tolist()) == {1, 2} and set(factors["volunteer"].tolist()) == {3}
        assert getattr(found, split).labels.bincount().tolist() == [4, 4]
    assert found.class_names == ("cutting something", "putting on clothing")
    assert [len(part) for part in data.PARTS.values()] == [12, 2, 6]
    assert found.note == "" and found.modalities == ("mmWave", "WiFi", "RFID")


def test_a_batch_reads_its_recordings_and_a_subset_keeps_them(prepared):
    found = load("xrf55")
    batch = found.test.batch(torch.tensor([3, 0]))
    assert {m: tuple(x.shape) for m, x in batch["inputs"].items()} == {
        m: (2, *s) for m, s in found.shapes.items()
    }
    assert all(x.dtype == torch.float32 and (x == 2).all() for x in batch["inputs"].values())
    assert batch["label"].tolist() == found.test.labels[[3, 0]].tolist()
    part = found.test.subset(torch.tensor([5, 6]))
    assert torch.equal(part.factors["recording"], found.test.factors["recording"][[5, 6]])


def test_the_fingerprint_is_that_of_the_files(prepared):
    before = load("xrf55", seed=3).fingerprint
    assert load("xrf55").fingerprint == before
    path = prepared / "Scene1" / "RFID" / "03_07_01.npy"
    path.unlink()
    np.save(path, array("RFID").astype(np.float32))
    script.prepare(folder=prepared, published=False, progress=False)
    assert load("xrf55").fingerprint != before


def test_recordings_that_vanish_or_move_after_preparation_are_one_sentence(prepared):
    found = load("xrf55")
    path = prepared / "Scene1" / "RFID" / "03_07_01.npy"
    path.unlink()
    with pytest.raises(DataError, match=r"03_07_01.npy is missing; run `python -m data_scripts xrf55` again"):
        found.train.batch(torch.tensor([0]))
    np.save(path, array("WiFi"))
    with pytest.raises(DataError, match="has the shape"):
        found.train.batch(torch.tensor([0]))
    prepared.rename(prepared.with_name("moved"))
    with pytest.raises(DataError, match="are no longer in"):
        load("xrf55")


def test_missing_preparation_splits_and_sources_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "root"))
    with pytest.raises(DataError, match="xrf55 is not prepared in"):
        load("xrf55")
    with pytest.raises(ValueError, match="source='real' is unknown: choose one of official, stand_in"):
        load("xrf55", source="real")
    script.prepare(folder=write(tmp_path / "files", FEW[:1]), published=False, progress=False)
    with pytest.raises(DataError, match="no recording of the repetitions 13 to 14, the validation split"):
        load("xrf55")


def test_stand_ins_have_the_names_shapes_types_and_sizes_of_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr("data_scripts.stand_ins.xrf55.ACTIONS", ACTIONS[:2])
    monkeypatch.setattr("data_scripts.stand_ins.xrf55.REPETITIONS", REPETITIONS[::3])
    found = stand_ins.prepare("xrf55", tmp_path)
    assert len(found.keys) == 2 * 2 * 4 and not found.unusable
    source = Path(found.source)
    assert sorted(p.name for p in source.iterdir()) == ["Scene1", "Scene2"]
    first = {m: source / found.files[m][0] for m in BLIND}
    assert first["WiFi"].relative_to(source).as_posix() == "Scene1/Scene1/WiFi/03_01_01.npy"
    assert {m: np.load(path).dtype.type for m, path in first.items()} == TYPES
    assert sum(path.stat().st_size for path in first.values()) == 4_415_840
