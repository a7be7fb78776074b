"""The audio-visual scripts against a server with their sources' names, and with the folders that people have.

Contents are generated; names, and the numbers of files, clips and archives, are those that the sources
publish, by :mod:`published`.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import published
import pytest
from local_server import Quiet, serving

from data_scripts import clip_cache, crema_d, kinetics_sounds, lfs, stand_ins
from data_scripts.__main__ import main
from data_scripts.clips import Preprocessing
from data_scripts.fetch import DataError, Source

av = pytest.importorskip("av")
soundfile = pytest.importorskip("soundfile")
SMALL = Preprocessing(sample_rate=1000, seconds=1, window=16, hop=8, frames=3, frame_size=8)
ARCHIVES = {"train": 242, "val": 20, "test": 39}  # of Kinetics-400, as public downloaders of all parts count


@pytest.fixture(scope="module")
def mirror() -> Path:
    folder = os.environ.get("GEOMREG_MIRROR")
    if not folder or not (Path(folder) / "crema_d" / "train.csv").is_file():
        pytest.skip("needs GEOMREG_MIRROR with the published lists")
    return Path(folder)


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A mirror of lists with the published counts, in the place of the published ones."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("lists")
        published.write_lists(folder, patch)
        patch.setenv("GEOMREG_MIRROR", str(folder))
        yield folder


@pytest.fixture
def reads_names(monkeypatch):
    """Decoding replaced by a look at the contents, which are the files' own names after a zero."""

    def read(clip, preprocessing):
        assert all(path.read_bytes() == media(path.name) for path in clip.files)
        return np.ones(100, np.float32), np.zeros((1, 8, 8, 3), np.uint8), 1.0

    monkeypatch.setattr(clip_cache, "read_clip", read)
    for script in (crema_d, kinetics_sounds):
        monkeypatch.setattr(script, "PREPROCESSING", SMALL)


def media(name: str) -> bytes:
    return b"\0" + name.encode()


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Host(Quiet):
    """Serves ``server.files`` (path -> bytes), and offers as LFS objects what ``server.objects`` has."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        content = self.server.objects.get(self.path[1:]) if content is None else content
        if content is None:
            return self.send_error(404)
        self.answer(content if self.command == "GET" else b"", len(content))

    do_HEAD = do_GET

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["objects"]
        for item in asked:
            if item["oid"] in self.server.objects:
                item["actions"] = {"download": {"href": f"{self.server.address}/{item['oid']}"}}
        content = json.dumps({"objects": asked}).encode()
        self.answer(content, len(content))

    def answer(self, content: bytes, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def host(monkeypatch):
    with serving(Host, monkeypatch) as server:
        server.files, server.objects, server.asked = {}, {}, []
        yield server


# CREMA-D ----------------------------------------------------------------------------------------------------


# Pointers below AudioWAV/ and VideoFlash/ in the tree of a commit, as counted in the public repository.
POINTERS = {"02f12b39": 7_442, "1658cd34": 14_884}


def test_the_pin_is_a_commit_that_is_known_to_hold_every_clip():
    pins = re.findall(r"[0-9a-f]{40}", " ".join(map(str, crema_d.ARCHIVES)))
    wanted = sum(count for count, _ in crema_d.FILES.values())
    assert pins and {POINTERS.get(pin[:8]) for pin in pins} == {wanted} == {14_884}


def test_the_published_lists_have_these_names_and_counts(mirror):
    rows = crema_d.rows(mirror, progress=False)
    assert sorted(name for name, _, _ in rows) == sorted(published.crema_d_names())
    assert (published.TESTED, "SAD", "test") in rows
    for part, counts in published.EMOTIONS.items():
        assert Counter(emotion for _, emotion, p in rows if p == part) == counts
    rows = kinetics_sounds.read_list(mirror)
    for part, counts in published.CLASSES.items():
        assert Counter(label for _, label, p in rows if p == part) == dict(enumerate(counts))
    tested = {name for name, _, part in rows if part == "test"}
    lost = set(kinetics_sounds.IN_NO_TABLE)
    assert lost < tested and len(tested - lost) == 2594


def test_the_pinned_commit_has_a_pointer_for_every_clip_that_was_recorded(lists):
    names = sorted(crema_d.wanted(crema_d.rows(lists, progress=False)))
    assert hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest() == crema_d.NAMES
    assert Counter(name.partition("/")[0] for name in names) == {k: n for k, (n, _) in crema_d.FILES.items()}
    assert len(names) == 14_884 and crema_d.DOWNLOAD == 3_048_921_077


@pytest.fixture(scope="module")
def repository(lists) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
    """Contents by name, LFS objects, and archives of pointers: a complete one, and one without sounds."""
    wanted = crema_d.wanted(crema_d.rows(lists, progress=False))
    contents = {name: media(name.rpartition("/")[2]) for name in wanted}
    objects = {hashlib.sha256(content).hexdigest(): content for content in contents.values()}
    form = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
    pointers = {
        f"CREMA-D/{name}": form.format(digest, len(content)).encode()
        for (name, content), digest in zip(contents.items(), objects, strict=True)
    }
    old = packed({name: text for name, text in pointers.items() if "WAV" not in name})
    return contents, objects, {"/old.tar.gz": old, "/new.tar.gz": packed(pointers)}


@pytest.fixture
def tree(host, repository, monkeypatch) -> dict[str, bytes]:
    """CREMA-D's repository on the host; the first archive is the one without sounds."""
    contents, objects, archives = repository
    host.objects, host.files = dict(objects), dict(archives)
    sources = [Source(f"{host.address}{path}", path[1:]) for path in archives]
    monkeypatch.setattr(crema_d, "ARCHIVES", sources)
    monkeypatch.setattr(crema_d, "SERVERS", (f"{host.address}/lfs",))
    return contents


def test_every_clip_can_be_had_says_the_check_and_downloads_none(tree, host, capsys):
    assert main(["crema_d", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, said in zip(lines, ("train: 6698 of 6698", "test: 744 of 744"), strict=True):
        assert said in line and f"{host.address}/new.tar.gz, 14884 files" in line
        assert line.endswith(f"{host.address}/lfs")
    assert set(host.asked) == {"/old.tar.gz", "/new.tar.gz"}


def test_without_a_complete_archive_no_clip_is_downloaded_and_both_are_told(
    tree, host, tmp_path, monkeypatch
):
    monkeypatch.setattr(crema_d, "ARCHIVES", [crema_d.ARCHIVES[0], Source(f"{host.address}/none", "none")])
    old = r"\S+/old.tar.gz has 7442 of 14884 files and lacks AudioWAV/1001_DFA_ANG_XX.wav"
    said = rf"^No archive has all listed files \({old}; Could not download \S+/none [^\n]*--from\.$"
    with pytest.raises(DataError, match=said):
        crema_d.prepare(tmp_path, yes=True, progress=False)
    assert len(host.asked) == 2 and not list(tmp_path.rglob("*.part"))


def test_objects_that_no_server_offers_are_named_by_the_check(tree, host, capsys):
    del host.objects[hashlib.sha256(media("1013_WSI_SAD_XX.flv")).hexdigest()]
    assert main(["crema_d", "--check", "--tolerate", "0"]) == 1
    said = capsys.readouterr()
    assert "train: 6698 of 6698" in said.out and "test: 743 of 744" in said.out
    assert "1013_WSI_SAD_XX: VideoFlash/1013_WSI_SAD_XX.flv: " in said.err and "does not have it" in said.err


def test_crema_d_is_prepared_from_its_repository_with_the_published_counts(tree, reads_names, tmp_path, host):
    """All pointers are compared and all clips read; most files are there from an interrupted download."""
    left = {name for i, name in enumerate(tree) if i % 50 == 0}
    for name in tree.keys() - left:
        path = tmp_path / "crema_d" / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tree[name])
    cache = crema_d.prepare(tmp_path, yes=True, frame_size=8, progress=False)
    assert Counter(cache.parts) == {"train": 6698, "test": 744} and not cache.unusable
    emotions = Counter(cache.labels[np.array(cache.parts) == "test"].tolist())
    assert [emotions[i] for i in range(6)] == [114, 123, 140, 133, 129, 105]
    assert host.asked[:2] == ["/old.tar.gz", "/new.tar.gz"] and len(host.asked) == 2 + len(left) == 300
    again = crema_d.prepare(tmp_path, frame_size=8, progress=False)
    assert again.fingerprint == cache.fingerprint and len(host.asked) == 300


# Kinetics-Sounds --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def splits(lists) -> dict[str, bytes]:
    """Kinetics-400 by path: archives and annotations, with the listed clips in the splits that have them."""
    rows, files = kinetics_sounds.read_list(lists), {"/replacements.tgz": packed({})}
    for split, count in ARCHIVES.items():
        names = [n for n, _, part in rows if part == split and n not in kinetics_sounds.IN_NO_TABLE]
        clips = [f"{name}_{int(name[12:]) + 10:06d}.mp4" for name in names]
        for i in range(count):
            members = {f"{split}/{clip}": media(clip) for clip in [*clips[i::count], f"other{i}.mp4"]}
            files[f"/{split}/part_{i}.tar.gz"] = packed(members)
        notes = "".join(f"label,{n[:11]},{int(n[12:])},{int(n[12:]) + 10},{split}\n" for n in names)
        files[f"/{split}.csv"] = f"label,youtube_id,time_start,time_end,split\n{notes}".encode()
    return files


@pytest.fixture
def kinetics(host, splits, monkeypatch) -> None:
    """Kinetics-400 on the host."""
    host.files = dict(splits)
    indexes = {split: f"{host.address}/k400_{split}_path.txt" for split in ARCHIVES}
    monkeypatch.setattr(kinetics_sounds, "INDEXES", indexes)
    monkeypatch.setattr(kinetics_sounds, "REPLACEMENTS", f"{host.address}/replacements.tgz")
    for split, count in ARCHIVES.items():
        addresses = "".join(f"{host.address}/{split}/part_{i}.tar.gz\n" for i in range(count))
        host.files[f"/k400_{split}_path.txt"] = addresses.encode()
        annotation = Source(f"{host.address}/{split}.csv", f"kinetics_sounds/annotations/{split}.csv")
        monkeypatch.setitem(kinetics_sounds.ANNOTATIONS, split, annotation)


def test_kinetics_sounds_streams_the_splits_that_have_its_clips(kinetics, reads_names, host, tmp_path):
    cache = kinetics_sounds.prepare(tmp_path, yes=True, frame_size=8, progress=False)
    assert Counter(cache.parts) == {"train": 14_799, "test": 2_594}
    assert set(cache.unusable) == set(kinetics_sounds.IN_NO_TABLE)
    streamed = Counter(path.split("/")[1] for path in host.asked if "part_" in path)
    assert streamed == {"train": 2 * 242, "test": 2 * 39}  # the size of each first


def test_the_check_says_per_split_what_the_archives_have_and_where(kinetics, host, capsys):
    assert main(["kinetics_sounds", "--check"]) == 0
    train, test = capsys.readouterr().out.splitlines()
    for line, part, counts in ((train, "train", "14799 of 14799"), (test, "test", "2594 of 2597")):
        assert f"{part}: {counts} clips are in Kinetics-400's {part} split" in line
        assert f"({ARCHIVES[part]} archives, " in line and f"/k400_{part}_path.txt)" in line
    asked = Counter(path for path in host.asked if "part_" in path)
    assert len(asked) == 281 and set(asked.values()) == {1}  # the size alone


def test_the_check_of_a_split_without_archives_or_clips_fails_whatever_is_tolerated(kinetics, host, capsys):
    del host.files["/test/part_7.tar.gz"]
    assert main(["kinetics_sounds", "--check", "--tolerate", "1"]) == 1
    assert "1 of 39 archives in " in capsys.readouterr().err
    host.files["/test/part_7.tar.gz"] = host.files["/test.csv"] = host.files["/val.csv"]  # of other clips
    assert main(["kinetics_sounds", "--check", "--tolerate", "1"]) == 1
    said = capsys.readouterr()
    assert "test: 0 of 2597" in said.out and "None of the 2597 test clips can be used" in said.err


def test_the_archives_of_another_split_leave_an_error_and_no_data_set(
    kinetics, reads_names, tmp_path, monkeypatch
):
    monkeypatch.setitem(kinetics_sounds.SPLITS, "lists", {"train": "train", "test": "val"})
    with pytest.raises(DataError, match="^None of the 2597 test clips can be used [^\n]*cannot be empty"):
        kinetics_sounds.prepare(tmp_path, yes=True, tolerate=1.0, frame_size=8, progress=False)
    assert not list(tmp_path.rglob("*.json"))


# folders that people have -----------------------------------------------------------------------------------


def clip(path: Path, label: int, rng: np.random.Generator, sound: np.ndarray | None = None) -> list[bytes]:
    """Write a video of JPEG pictures, with sound if given; return its pictures."""
    pictures = []
    with av.open(str(path), "w", format="avi" if sound is None else "mov") as container:
        stream = container.add_stream("mjpeg", rate=stand_ins.RATE)
        stream.width, stream.height, stream.pix_fmt = stand_ins.WIDTH, stand_ins.HEIGHT, "yuvj420p"
        track = None if sound is None else container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for values in stand_ins._pictures(label, 6, 2.4, rng):
            for packet in stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")):
                pictures.append(bytes(packet))
                container.mux(packet)
        container.mux(stream.encode())
        if track is not None:
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return pictures


def stills(folder: Path, pictures: list[bytes]) -> None:
    """Write the first picture of each second under the names of the published code."""
    folder.mkdir(parents=True)
    for i in range(0, len(pictures), stand_ins.RATE):
        (folder / f"{i:05d}.jpg").write_bytes(pictures[i])


def same_arrays(a: clip_cache.Prepared, b: clip_cache.Prepared) -> bool:
    arrays = ("spectrograms", "frames", "first", "aspects", "labels")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and all(
        getattr(a, n) == getattr(b, n) for n in ("names", "parts", "groups", "class_names")
    )


def test_crema_ds_sounds_and_frames_become_the_arrays_of_its_repository(tmp_path, capsys):
    rng, lists = np.random.default_rng(0), tmp_path / "lists" / "crema_d"
    official, own = tmp_path / "official", tmp_path / "own" / "CREMA-D"
    for folder in (lists, official / "AudioWAV", official / "VideoFlash", own / "AudioWAV"):
        folder.mkdir(parents=True)
    for part, sentence in (("train", "IEO"), ("test", "TIE")):
        names = [f"1001_{sentence}_{emotion}_XX" for emotion in crema_d.EMOTIONS]
        (lists / f"{part}.csv").write_text("".join(f"{name},{name[9:12]}\n" for name in names))
        for label, name in enumerate(names):
            for home in (official, own):
                tone = stand_ins._tone(label, 6, 1.5, 16000, np.random.default_rng(label))
                soundfile.write(home / "AudioWAV" / f"{name}.wav", tone, 16000, subtype="PCM_16")
            pictures = clip(official / "VideoFlash" / f"{name}.flv", label, rng)
            stills(own / "Image-01-FPS" / name, pictures)
    options = {"published": False, "frame_size": 24, "workers": 1, "progress": False}
    a = crema_d.prepare(tmp_path / "a", tmp_path / "lists", folder=official, **options)
    b = crema_d.prepare(tmp_path / "b", tmp_path / "lists", folder=tmp_path / "own", **options)
    said = capsys.readouterr().err
    assert f"found AudioWAV and VideoFlash in {official}" in said
    assert f"found AudioWAV and Image-01-FPS in {tmp_path / 'own'}" in said
    assert same_arrays(a, b) and len(a.names) == 12 and set(np.diff(a.first)) == {3}
    assert b.files[0] == ("CREMA-D/AudioWAV/1001_IEO_NEU_XX.wav", "CREMA-D/Image-01-FPS/1001_IEO_NEU_XX")
    assert sum(path.stat().st_size for path in (tmp_path / "b").rglob("*.jpg")) == 0  # nothing is copied


def test_dgls_folders_of_kinetics_sounds_become_the_arrays_of_the_videos(tmp_path, capsys):
    rng, lists = np.random.default_rng(0), tmp_path / "lists" / "kinetics_sounds"
    lists.mkdir(parents=True)
    (tmp_path / "videos" / "k400").mkdir(parents=True)
    for part, images in (("train", "train_img"), ("test", "val_img")):
        rows = []
        for label in range(3):
            name = f"{part[:2]}_video__{label}_{label:06d}_{label + 10:06d}"
            rows.append(f"{name},10,{label}" if part == "train" else f"{name[:-7]},10,{label}")
            sound = (20_000 * stand_ins._tone(label, 6, 2.2, 16000, rng)).astype(np.int16)
            pictures = clip(tmp_path / "videos" / "k400" / f"{name}.mp4", label, rng, sound)
            stills(tmp_path / f"own/visual/{images}/Image-01-FPS/class_{label}/{name}", pictures)
            home = tmp_path / f"own/audio/{part}/class_{label}"
            home.mkdir(parents=True)
            soundfile.write(home / f"{name}.wav", sound, 16000, subtype="PCM_16")
        (lists / f"my_{part}.txt").write_text("".join(f"{row}\n" for row in rows))
    options = {"published": False, "frame_size": 24, "workers": 1, "progress": False}
    a = kinetics_sounds.prepare(tmp_path / "a", tmp_path / "lists", folder=tmp_path / "videos", **options)
    b = kinetics_sounds.prepare(tmp_path / "b", tmp_path / "lists", folder=tmp_path / "own", **options)
    said = capsys.readouterr().err
    assert "found the names of 6 videos in" in said and "sounds and frames by the names of 6 clips in" in said
    assert same_arrays(a, b) and len(a.names) == 6 and set(np.diff(a.first)) == {3}


def test_known_defects_are_told_with_their_split_and_only_if_they_are_there(tmp_path):
    names = [*crema_d.DEFECTS, *(name for pair in crema_d.TWINS for name in pair)]
    (tmp_path / "clip").write_bytes(b"\0")
    clips = [
        clip_cache.Clip(name, (tmp_path / "clip",), 0, "test" if name == "1013_WSI_SAD_XX" else "train")
        for name in names
    ]
    equal = set(sum(crema_d.TWINS[1:], ()))  # the sounds of the first pair differ here

    def read(clip, preprocessing):
        level = 0.5 if clip.name in equal else names.index(clip.name) + 1
        return np.full(100, 0.01 * level, np.float32), np.zeros((1, 8, 8, 3), np.uint8), 1.0

    options = {"class_names": ("a",), "source": tmp_path, "tolerated": 0, "workers": 1, "progress": False}
    cache = clip_cache.prepare(tmp_path / "prepared.json", clips, read, SMALL, **options)
    lines = crema_d.summary_lines(cache)
    assert lines[0] == "1064_IEO_DIS_MD (train): its video lasts a minute and shows all emotions"
    same = [line for line in lines if "same sound" in line]
    assert len(lines) == 4 + 2 + 1 and not any("1006" in line for line in lines)
    assert same[0].startswith("1013_WSI_DIS_XX (train) and 1013_WSI_SAD_XX (test): ")


def test_addresses_are_asked_for_in_batches_by_the_check(host, monkeypatch):
    monkeypatch.setattr(lfs, "BATCH", 2)
    files = {f"{i}.wav": lfs.Pointer(hashlib.sha256(b"%d" % i).hexdigest(), 1) for i in range(5)}
    host.objects |= {files[name].sha256: b"" for name in ("0.wav", "3.wav")}
    lost = lfs.lacking(files, ["http://127.0.0.1:9", f"{host.address}/lfs"], workers=2)
    assert set(lost) == {"1.wav", "2.wav", "4.wav"} and "ConnectionError" in lost["1.wav"]
    assert host.asked == []


# Folders with more than one layout -------------------------------------------------------------------------


def test_the_kind_of_pictures_that_more_clips_have_is_read(tmp_path):
    for kind, names in {"AudioWAV": [], "VideoFlash": ["readme.txt"], "Image-01-FPS": ["a", "b"]}.items():
        for name in names:
            (tmp_path / kind / name).mkdir(parents=True)
        (tmp_path / kind).mkdir(exist_ok=True)
    said, (_, files) = crema_d.find(tmp_path)
    assert said == "AudioWAV and Image-01-FPS"
    assert files("a") == (tmp_path / "AudioWAV" / "a.wav", tmp_path / "Image-01-FPS" / "a")
    for name in "abc":
        (tmp_path / "VideoFlash" / f"{name}.flv").touch()
    assert crema_d.find(tmp_path)[0] == "AudioWAV and VideoFlash"


def test_a_video_beside_sounds_and_frames_adds_its_clip_and_hides_no_other(tmp_path):
    first, second = "aaaaaaaaaaa_000001_000011", "bbbbbbbbbbb_000002_000012"
    sound, frames, video = tmp_path / f"{first}.wav", tmp_path / "visual" / first, tmp_path / f"{second}.mp4"
    frames.mkdir(parents=True)
    for path in (sound, video):
        path.touch()
    said, (_, index) = kinetics_sounds.find(tmp_path)
    assert said == "the names of 1 videos and DGL's sounds and frames by the names of 1 clips"
    assert index == {first[:18]: (sound, frames), second[:18]: (video,)}
