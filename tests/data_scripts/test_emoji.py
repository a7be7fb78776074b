"""The emoji's and the watch's data scripts: what they store, what they refuse, and how they fail."""

import io
import json
import os
import pickle
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_scripts import emoji, emoji_subset, npm, watch
from data_scripts.__main__ import main
from data_scripts.fetch import DataError, content_sha256, data_root, load_arrays

SQUARE = '<path fill="#f00" d="M0 0h32v32H0z"/>'
LABELS = {
    "1F436": "dog face",
    "1F415-200D-1F9BA": "service dog",
    "1F415": "dog",
    "2764-FE0F": "red heart",
    "1F49A": "green heart",
    "1F550": "one o’clock",
    "1F55C": "one-thirty",
    "1F468-200D-1F692": "man firefighter",
    "1F469-200D-1F692": "woman firefighter",
    "1F9D1-200D-1F692": "firefighter",
    "1F575-FE0F": "detective",
    "1F575-FE0F-200D-2640-FE0F": "woman detective",
    "1F3C1": "chequered flag",
    "1F1E6-1F1E9": "flag: Andorra",
    "2640-FE0F": "female sign",
    "1F9D1-200D-1F33E": "farmer",
    "1F43A": "wolf",
}


def package(path: Path, files: dict[str, object]) -> dict[str, bytes]:
    """Write an npm package whose JSON ``files`` are named by their paths; return path -> content."""
    contents = {name: json.dumps(value).encode() for name, value in files.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return contents


def icons(names: dict[str, str], body: str = SQUARE, **more) -> dict[str, object]:
    """The files of a set of pictures; ``names``: code point -> name of an icon."""
    pictures = {"icons": {name: {"body": body} for name in names.values()}, "aliases": {}} | more
    return {"icons.json": {"width": 32, "height": 32} | pictures, "chars.json": names, "info.json": {}}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A mirror with two artists and three concepts, whose checksums are expected."""
    pytest.importorskip("resvg_py")
    mirror = tmp_path / "mirror"
    entries = [
        {
            "label": name,
            "hexcode": code,
            "emoji": name,
            "group": 3,
            "subgroup": 0,
            "order": order,
            "tags": ["a"],
        }
        for order, (name, code) in enumerate([("dog", "1F415"), ("cat", "1F408"), ("fox", "1F98A")])
    ]
    meta = {"groups": {"3": "animals"}, "subgroups": {"0": "mammals"}}
    skin = {
        "label": "light",
        "hexcode": "1F3FB",
        "emoji": "",
        "group": emoji.COMPONENT,
        "subgroup": 1,
        "order": 9,
    }
    texts = {
        "en/data.json": [skin, *reversed(entries)],
        "de/data.json": entries[:2],
        "meta/groups.json": meta,
    }
    texts = package(mirror / emoji.NAMES.mirror_path, texts)
    mirrored = {"fox": {"parent": "fox-left", "hFlip": True}}
    half = {"fox-left": {"body": '<path d="M0 0h16v32H0z"/>'}}
    sets = [
        icons({"1f415": "dog", "1f408": "cat"}),
        icons({"1f98a": "fox"}, icons=half, aliases=mirrored),
    ]
    artists = []
    for artist, files in zip(emoji.ARTISTS, sets, strict=False):
        digest = content_sha256(package(mirror / artist.source.mirror_path, files))
        artists.append(replace(artist, sha256=digest))
    monkeypatch.setattr(emoji, "ARTISTS", tuple(artists))
    monkeypatch.setattr(emoji, "NAMES_SHA256", content_sha256(texts))
    return mirror


def prepare(root: Path, mirror: Path | None = None) -> int:
    options = ["--root", str(root), *(["--mirror", str(mirror)] if mirror else [])]
    return main(["emoji", *options])


def assert_one_sentence(capsys, root: Path, *said: str) -> None:
    """One sentence on the console, and no file or folder below ``root``."""
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("emoji: ") and message.endswith("."), message
    for text in said:
        assert text in message, message
    assert not list(root.rglob("*"))


def test_pictures_names_and_licences_are_stored_in_unicodes_order(small, tmp_path, capsys):
    root = tmp_path / "data"
    assert prepare(root, small) == 0
    out = capsys.readouterr().out
    arrays = load_arrays(root / emoji.INFO.prepared)
    assert arrays["hexcodes"].tolist() == ["1F415", "1F408", "1F98A"] and arrays["groups"].tolist() == [
        3,
        3,
        3,
    ]
    texts = emoji.texts_of(arrays)
    assert texts["de"] == {"names": ["dog", "cat", ""], "keywords": ["a", "a", ""]}
    assert list(zip(arrays["artists"].tolist(), arrays["concepts"].tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 2)
    ]  # fmt: skip
    assert (arrays["pictures"][:2] == [255, 0, 0]).all()
    fox = arrays["pictures"][2]  # its left half, mirrored
    assert (fox[:, :32] == 255).all() and (fox[:, 32:] == 0).all()
    notices = (root / "emoji" / emoji.LICENCES).read_text().splitlines()
    assert notices == arrays["licences"].tolist() and len(notices) == 3
    for notice, artist in zip(notices, emoji.ARTISTS, strict=False):
        assert artist.licence in notice and artist.by in notice and notice in out
    assert sorted(path.name for path in (root / "emoji").iterdir()) == [emoji.LICENCES, "prepared-v1.npz"]


def test_another_content_a_missing_set_and_a_damaged_archive_are_one_sentence(small, tmp_path, capsys):
    root, path = tmp_path / "data", small / emoji.ARTISTS[1].source.mirror_path
    package(path, icons({"1f98a": "wolf"}))
    assert prepare(root, small) == 1
    assert_one_sentence(capsys, root, "checksum", emoji.ARTISTS[1].source.address)
    path.write_bytes(path.read_bytes()[:50])
    assert prepare(root, small) == 1
    assert_one_sentence(capsys, root, "cut short", str(path))
    path.unlink()
    assert prepare(root, small) == 1
    assert_one_sentence(capsys, root, emoji.ARTISTS[1].source.mirror_path, "--mirror")


def test_a_picture_that_cannot_be_drawn_is_named(small, tmp_path, capsys, monkeypatch):
    files = icons({"1f98a": "fox"}, body="<path d='M0 0h16'")
    digest = content_sha256(package(small / emoji.ARTISTS[1].source.mirror_path, files))
    monkeypatch.setattr(emoji, "ARTISTS", (emoji.ARTISTS[0], replace(emoji.ARTISTS[1], sha256=digest)))
    assert prepare(tmp_path / "data", small) == 1
    assert_one_sentence(capsys, tmp_path / "data", "1F98A of noto", "cannot be drawn")


def test_without_a_renderer_nothing_is_downloaded(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    monkeypatch.setattr(emoji, "fetched", lambda *a, **k: pytest.fail("it was"))
    assert prepare(tmp_path / "data") == 1
    assert_one_sentence(capsys, tmp_path / "data", "resvg_py is not installed", "pip install")


def test_without_npm_and_without_network_there_is_one_sentence(small, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prepare(tmp_path / "data") == 1
    assert_one_sentence(capsys, tmp_path / "data", "`npm`", "Node.js", "GEOMREG_MIRROR")
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    assert prepare(tmp_path / "data") == 1
    assert_one_sentence(capsys, tmp_path / "data", emoji.NAMES.address, "exit status 1", "connection")


def test_what_was_downloaded_before_an_interruption_is_not_downloaded_again(small, tmp_path, monkeypatch):
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    asked = []

    def download(requirement, folder, *, progress):
        asked.append(requirement)
        if len(asked) == 2:
            raise KeyboardInterrupt
        (source,) = (s for s in (emoji.NAMES, *(a.source for a in emoji.ARTISTS)) if s.address == requirement)
        (folder / "package.tgz").write_bytes((small / source.mirror_path).read_bytes())
        return folder / "package.tgz"

    monkeypatch.setattr(emoji, "download_package", download)
    assert prepare(tmp_path / "data") == 130
    assert prepare(tmp_path / "data") == 0
    assert asked.count(emoji.NAMES.address) == 1 and len(asked) == 4
    assert not (tmp_path / "data" / "emoji" / "packages").exists()


def test_a_package_that_points_outside_is_refused(tmp_path):
    path = tmp_path / "a.tgz"
    package(path, {"../../escaped.json": 1})
    with pytest.raises(DataError, match="points outside"):
        npm.read_package(path, lambda name: True)


def test_a_package_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    package(tmp_path / "a.tgz", {"a.json": "0" * 2000})
    monkeypatch.setattr(npm, "CONTENT_LIMIT", 1000)
    with pytest.raises(DataError, match="damaged"):
        npm.read_package(tmp_path / "a.tgz", lambda name: True)


def test_relatives_are_those_that_differ_in_gender_color_time_or_what_follows():
    groups = [emoji.FLAGS if "flag" in name else 0 for name in LABELS.values()]
    families = dict(
        zip(LABELS.values(), emoji.relatives(list(LABELS), list(LABELS.values()), groups), strict=True)
    )
    together = [
        {"dog", "service dog"}, {"red heart", "green heart"}, {"one o’clock", "one-thirty"},
        {"man firefighter", "woman firefighter", "firefighter"}, {"detective", "woman detective"},
        {"chequered flag", "flag: Andorra"},
    ]  # fmt: skip
    for names in together:
        assert len({families[name] for name in names}) == 1, names
    alone = {"dog face", "female sign", "farmer", "wolf"}
    assert len(set(families.values())) == len(together) + len(alone)


def test_a_picture_is_shrunk_to_the_mean_of_its_squares():
    pictures = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    blocks = pictures.reshape(2, 2, 2, 2, 2, 3).astype(float).mean(axis=(2, 4))
    assert np.array_equal(emoji.shrunk(pictures, 2), np.floor(blocks + 0.5))
    assert np.array_equal(emoji.shrunk(pictures, 4), pictures)


@pytest.fixture(scope="module")
def published():
    """The prepared emoji; drawn from the mirror if necessary."""
    pytest.importorskip("resvg_py")
    arrays = load_arrays(data_root() / emoji.INFO.prepared)
    mirror = os.environ.get("GEOMREG_MIRROR")
    if arrays is None and (not mirror or not (Path(mirror) / emoji.NAMES.mirror_path).is_file()):
        pytest.skip("the emoji are not prepared, and GEOMREG_MIRROR does not have them")
    return arrays or load_arrays(emoji.prepare(mirror=mirror, progress=False))


@pytest.mark.slow
def test_the_published_emoji_are_as_many_as_stated(published):
    assert len(published["hexcodes"]) == 1914 and len(emoji.texts_of(published)) == 28
    assert np.bincount(published["artists"]).tolist() == [1914, 1652, 1594, 1903, 1082, 1219]
    page = (Path(emoji.__file__).parent / "LICENCES.md").read_text()
    for artist, count in zip(emoji.ARTISTS, np.bincount(published["artists"]).tolist(), strict=True):
        row = next(line for line in page.splitlines() if line.startswith(f"| emoji, `{artist.name}` |"))
        for text in (f"{count:,}", artist.by, artist.licence, artist.package, artist.version):
            assert text in row


@pytest.mark.slow
def test_the_embedded_subset_is_written_again_byte_for_byte(published, tmp_path):
    stored = Path(emoji.__file__).parents[1] / "geomreg_mini" / "data" / "emoji_subset" / emoji_subset.FILE
    arrays = emoji_subset.subset(published)
    for name, array in load_arrays(stored).items():
        assert np.array_equal(array, arrays[name]), name
    emoji_subset.write(arrays, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == stored.read_bytes()


def test_the_licences_that_packages_state_are_those_that_are_printed():
    mirror = os.environ.get("GEOMREG_MIRROR")
    if not mirror or not (Path(mirror) / emoji.NAMES.mirror_path).is_file():
        pytest.skip("needs GEOMREG_MIRROR with the published packages")
    for artist in emoji.ARTISTS:
        files = npm.read_package(Path(mirror) / artist.source.mirror_path, lambda name: name == "info.json")
        stated = json.loads(files["info.json"])
        assert artist.licence.replace(" ", "-") == stated["license"]["spdx"]
        assert stated["author"]["name"].split()[0].lower() in artist.by.lower()


def test_the_embedded_subset_is_small_and_has_the_text_of_each_licence():
    folder = Path(emoji.__file__).parents[1] / "geomreg_mini" / "data" / "emoji_subset"
    page = (folder / "LICENCES.md").read_text()
    texts = {name for name in os.listdir(folder) if name.endswith(".txt")}
    assert set(re.findall(r"`([\w.-]+\.txt)`", page)) == texts
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.5e6
    arrays = load_arrays(folder / emoji_subset.FILE)
    assert len(arrays["licences"]) == 4 and not any("BY-SA" in notice for notice in arrays["licences"])


# watch ------------------------------------------------------------------------------------------------------


class Attack:
    def __reduce__(self):
        return exec, ("import builtins; builtins.attacked = True",)


def npy(value, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(value, dtype=object), allow_pickle=True)
    return file.getvalue()


def test_arrays_in_a_pickle_are_read_without_numpy_or_anything_else_being_called():
    data = {
        "X": [np.arange(6.0).reshape(3, 2), np.ones((2, 2), order="F")],
        "y": np.array([1, 2]),
        "names": ["a"],
    }
    header = npy(data)[: npy(data).index(b"\n") + 1]
    content = header + pickle.dumps(np.array(data, dtype=object), protocol=2).replace(
        b"numpy._core", b"numpy.core"
    )
    found = watch.read_pickle("a.npy", content)
    assert found["names"] == ["a"] and found["y"].tolist() == [1, 2]
    assert all(np.array_equal(a, b) for a, b in zip(found["X"], data["X"], strict=True))


@pytest.mark.parametrize(
    "value", [{"X": Attack()}, {"X": os.system}, {"X": np.array(["text"])}, {"X": np.zeros(2, "c16")}]
)
def test_a_pickle_that_names_anything_else_is_refused_and_nothing_is_called(value):
    import builtins

    with pytest.raises(DataError, match="do not use this copy"):
        watch.read_pickle("a.npy", npy(value).replace(b"numpy._core", b"numpy.core"))
    assert not hasattr(builtins, "attacked")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", npy({"X": np.zeros(3)})[:-20]])
def test_a_damaged_pickle_is_one_sentence(content):
    with pytest.raises(DataError, match="is damaged or holds other things"):
        watch.read_pickle("a.npy", content)


def test_posture_is_slow_acceleration_is_fast_and_both_add_up_to_the_accelerometer():
    seconds = np.arange(1000) / watch.RATE
    recording = np.zeros((1000, 6))
    recording[:, 0] = 1 + np.sin(2 * np.pi * 5 * seconds)
    recording[:, 3] = seconds
    found = watch.windows(recording)
    assert {signal: values.shape for signal, values in found.items()} == dict.fromkeys(
        watch.SIGNALS, (14, 3, 128)
    )
    middle = slice(3, 11)  # the filter starts and ends at the recording's
    assert np.abs(found["posture"][middle, 0] - 1).max() < 0.01
    measured = np.zeros((14, 3, 128))
    measured[:, 0] = 1 + np.sin(2 * np.pi * 5 * found["rotation"][:, 0])
    assert np.allclose(found["posture"] + found["acceleration"], measured, atol=4e-3)
    assert np.allclose(found["rotation"][:, 0, 0], np.arange(14) * watch.STEP / watch.RATE, atol=1e-4)


def test_the_watch_of_another_content_is_refused(tmp_path, capsys):
    import zipfile

    path = tmp_path / "mirror" / watch.WHEEL.mirror_path
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("seglearn/data/watch_dataset.npy", npy({"X": Attack()}))
    assert main(["watch", "--root", str(tmp_path / "data"), "--mirror", str(tmp_path / "mirror")]) == 1
    message = capsys.readouterr().err
    assert "checksum of the recordings" in message and message.count("\n") == 1
    assert not list((tmp_path / "data").rglob("*"))
