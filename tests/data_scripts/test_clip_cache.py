"""The cache of prepared clips is there whole or not at all, whatever changes, fails or is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_scripts import clip_cache
from data_scripts.clip_cache import Clip, open_cache, prepare
from data_scripts.clips import ClipError, Preprocessing
from data_scripts.fetch import DataError

SMALL = Preprocessing(sample_rate=1000, seconds=1, window=16, hop=8, frames=3, frame_size=8)
REPOSITORY = Path(__file__).parents[2]


def read(clip: Clip, preprocessing: Preprocessing):
    """A reader whose arrays are known: clip i has i + 1 frames of value i."""
    i = int(clip.name)
    if clip.files[0].read_bytes() == b"\0damaged":
        raise ClipError(f"{clip.files[0].name} is cut short")
    size = preprocessing.frame_size
    frames = np.full((i % preprocessing.frames + 1, size, size, 3), i, np.uint8)
    return np.sin(np.arange(1000) * (i + 1) / 10).astype(np.float32), frames, 4 / 3


@pytest.fixture
def clips(tmp_path) -> list[Clip]:
    (tmp_path / "source").mkdir()
    found = []
    for i in range(7):
        path = tmp_path / "source" / f"{i}.mp4"
        path.write_bytes(b"\0clip" * (i + 1))
        found.append(Clip(str(i), (path,), i % 2, "train" if i < 5 else "test", group=str(i // 2)))
    return found


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "set" / "prepared.json"


def prepared(path, clips, preprocessing=SMALL, reader=read, **options):
    options = {"class_names": ("a", "b"), "source": path.parent, "tolerated": 0.0, "workers": 1, **options}
    return prepare(path, clips, reader, preprocessing, progress=False, **options)


def below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_cache_holds_every_clip_in_order_whatever_the_number_of_workers(path, clips, tmp_path):
    cache = prepared(path, clips)
    assert cache.names == tuple("0123456") and cache.parts == ("train",) * 5 + ("test",) * 2
    assert cache.labels.tolist() == [0, 1] * 3 + [0] and cache.groups == tuple("0011223")
    assert cache.spectrograms.shape == (7, *SMALL.spectrogram_shape) == (7, 9, 126)
    assert np.diff(cache.first).tolist() == [1, 2, 3, 1, 2, 3, 1]
    for i in range(7):
        assert (cache.frames[cache.first[i] : cache.first[i + 1]] == i).all()
    assert isinstance(cache.frames, np.memmap) and isinstance(cache.spectrograms, np.memmap)
    other = prepared(tmp_path / "other" / "prepared.json", clips, workers=3)
    assert np.array_equal(cache.spectrograms, other.spectrograms) and np.array_equal(
        cache.frames, other.frames
    )
    assert cache.fingerprint == other.fingerprint


def test_float16_rounds_a_spectrogram_by_less_than_a_hundredth(path, clips):
    from data_scripts.clips import spectrogram

    stored = prepared(path, clips).spectrograms[3].astype(np.float32)
    exact = spectrogram(read(clips[3], SMALL)[0], SMALL)
    assert 0 < np.abs(stored - exact).max() <= 0.008
    loud = np.abs(exact) < 4
    assert np.abs(stored - exact)[loud].max() < 0.002


def test_a_second_call_reads_nothing_and_a_changed_parameter_or_source_prepares_anew(path, clips):
    calls = []
    reader = counted(calls)
    first = prepared(path, clips, reader=reader)
    assert prepared(path, clips, reader=reader).fingerprint == first.fingerprint and len(calls) == 7
    other = clip_cache.with_frame_size(SMALL, 16)
    changed = prepared(path, clips, other, reader=reader)
    assert len(calls) == 14 and changed.frames.shape[1:] == (16, 16, 3) and changed.preprocessing == other
    clips[2].files[0].write_bytes(b"\0a longer clip")
    assert prepared(path, clips, other, reader=reader).fingerprint != changed.fingerprint and len(calls) == 21
    assert len(list(path.parent.iterdir())) == 2  # the JSON and one folder of arrays: old ones are removed


@pytest.mark.parametrize(
    "damage", ["JSON cut", "array cut", "array missing", "folder missing", "another version"]
)
def test_a_damaged_cache_counts_as_none_and_is_prepared_anew(path, clips, damage):
    first = prepared(path, clips)
    arrays = path.parent / json.loads(path.read_text())["folder"]
    if damage == "JSON cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "array cut":
        (arrays / "frames.bin").write_bytes((arrays / "frames.bin").read_bytes()[:-1])
    elif damage == "array missing":
        (arrays / "frames.bin").unlink()
    elif damage == "folder missing":
        shutil.rmtree(arrays)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 0}))
    assert open_cache(path) is None
    assert prepared(path, clips).fingerprint == first.fingerprint and open_cache(path) is not None


def test_unusable_clips_are_left_out_up_to_a_share_and_beyond_it_nothing_is_ready(path, clips):
    clips[1].files[0].write_bytes(b"\0damaged")
    clips[4].files[0].unlink()
    for tolerated in (0.0, 0.2):
        with pytest.raises(DataError, match=r"^\d or more of 5 train clips [^\n]*--tolerate SHARE\.$"):
            prepared(path, clips, tolerated=tolerated)
        assert not path.exists()
    cache = prepared(path, clips, tolerated=0.4)
    assert cache.names == tuple("02356") and (cache.frames[cache.first[2]] == 3).all()
    assert cache.unusable == {"4": "4.mp4 is missing", "1": "1.mp4 is cut short"}
    assert open_cache(path).unusable == cache.unusable


def test_a_failure_leaves_the_earlier_cache_as_it_was(path, clips):
    first = prepared(path, clips)
    before = below(path.parent)
    clips[1].files[0].write_bytes(b"\0damaged")
    with pytest.raises(DataError):
        prepared(path, clips)
    assert [name for name in below(path.parent) if name[0] != "."] == before and open_cache(
        path
    ).fingerprint == first.fingerprint


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_clip_cache import Clip, prepared, read
from data_scripts.fetch import DataError

def slow(clip, preprocessing):
    if clip.name == "3":
        print("half", flush=True)
        time.sleep({pause})
    return read(clip, preprocessing)

source = Path({source!r})
clips = [Clip(str(i), (source / f"{{i}}.mp4",), i % 2, "train" if i < 5 else "test") for i in range(7)]
try:
    print(prepared(Path({path!r}), clips, reader=slow).fingerprint)
except DataError as error:
    sys.exit(str(error))
"""


def process(path: Path, clips, pause: float, **options) -> subprocess.Popen:
    """A process that prepares and waits for ``pause`` seconds halfway."""
    code = SCRIPT.format(
        tests=str(Path(__file__).parent), source=str(clips[0].files[0].parent), path=str(path), pause=pause
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def arrays(cache) -> list:
    return [cache.spectrograms.tobytes(), cache.frames.tobytes(), cache.names, cache.aspects.tolist()]


def counted(read_names: list[str]):
    def reader(clip, preprocessing):
        read_names.append(clip.name)
        return read(clip, preprocessing)

    return reader


@pytest.fixture
def killed(path, clips) -> Path:
    """The folder of arrays of a preparation that was killed while it read clip 3."""
    running = process(path, clips, 600)
    assert running.stdout.readline() == "half\n"
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert open_cache(path) is None
    (folder,) = path.parent.glob(".prepared-*/")
    return folder


needs_signals = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@needs_signals
def test_a_killed_preparation_is_continued_where_it_stopped(killed, path, clips, tmp_path):
    whole = prepared(tmp_path / "other" / "prepared.json", clips)
    names = []
    assert arrays(prepared(path, clips, reader=counted(names))) == arrays(whole)
    assert names == ["3", "4", "5", "6"]
    assert sorted(p.name for p in path.parent.iterdir())[1:] == ["prepared.json"]


@needs_signals
@pytest.mark.parametrize(
    "damage", ["line cut", "array cut", "log lost", "no JSON", "other clip", "other form"]
)
def test_whatever_a_kill_leaves_of_the_last_clips_is_read_again(killed, path, clips, tmp_path, damage):
    log, frames = killed / clip_cache.LOG, killed / "frames.bin"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    if damage == "array cut":
        frames.write_bytes(frames.read_bytes()[:-1])
    elif damage == "log lost":
        log.unlink()
    else:
        last = {
            "line cut": lines[2][:-1],
            "no JSON": b"\xff{\n",
            "other clip": lines[2].replace(b'"2"', b'"5"'),
            "other form": b"[3]\n",
        }[damage]
        log.write_bytes(b"".join(lines[:2]) + last)
    whole, names = prepared(tmp_path / "other" / "prepared.json", clips), []
    assert arrays(prepared(path, clips, reader=counted(names))) == arrays(whole)
    assert names == list("0123456" if damage == "log lost" else "23456")


@needs_signals
def test_what_was_begun_for_other_files_is_removed(killed, path, clips):
    clips[6].files[0].write_bytes(b"\0another clip")
    names = []
    assert len(prepared(path, clips, reader=counted(names)).names) == len(names) == 7
    assert not killed.exists() and len(list(path.parent.iterdir())) == 2


def test_an_unreadable_clip_stops_once_and_is_read_again_after_its_repair(path, clips):
    clips[1].files[0].write_bytes(b"\0damaged")
    names = []
    for _ in range(2):
        with pytest.raises(DataError, match="1: 1.mp4 is cut short"):
            prepared(path, clips, reader=counted(names))
    assert names == ["0", "1", "1"]
    clips[1].files[0].write_bytes(b"\0clipped")  # the size, and so the fingerprint, is that of before
    assert prepared(path, clips, reader=counted(names)).names == tuple("0123456")
    assert names[3:] == list("1123456")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_split_is_never_empty_whatever_is_tolerated(path, clips, part):
    for clip in clips:
        if clip.part == part:
            clip.files[0].unlink()
    with pytest.raises(
        DataError, match=rf"^None of the \d {part} clips can be used \([^\n]*cannot be empty\.$"
    ):
        prepared(path, clips, tolerated=1.0)
    with pytest.raises(DataError, match=rf"^None of the 0 {part} clips can be used \(none is listed\)"):
        prepared(path, [clip for clip in clips if clip.part != part], tolerated=1.0)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX limit on file size")
def test_a_disk_that_fills_up_is_named_and_leaves_nothing(path, clips, tmp_path):
    import resource

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    running = process(path, clips, 0, preexec_fn=small_disk)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 1 and "Traceback" not in said
    assert said.startswith("Could not write") and "--root" in said
    assert not (tmp_path / "data" / "set").exists()


def test_a_second_process_waits_for_the_first_and_uses_what_it_made(path, clips):
    first = process(path, clips, 3)
    assert first.stdout.readline() == "half\n"
    second = process(path, clips, 0)
    outputs = [run.communicate(timeout=120) for run in (first, second)]
    assert [run.returncode for run in (first, second)] == [0, 0]
    assert outputs[0][0] == outputs[1][0]  # the fingerprint alone: the second process decoded nothing
    assert len(list(path.parent.iterdir())) == 2


def test_too_little_room_and_a_declined_download_are_said_before_anything_happens(tmp_path, capsys):
    from data_scripts.crema_d import INFO

    with pytest.raises(DataError, match="needs 1000000000.0 GB"):
        clip_cache.confirm_download(INFO, tmp_path / "none", 1e9, 1e18, yes=True)
    clip_cache.confirm_download(INFO, tmp_path / "none", 2.5e9, 1, yes=True)
    assert "downloads 2.5 GB" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
