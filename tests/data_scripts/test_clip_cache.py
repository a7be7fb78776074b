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
    if clip.files[0].read_bytes() == b"damaged":
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
        path.write_bytes(b"clip" * (i + 1))
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

    def counted(clip, preprocessing):
        calls.append(clip.name)
        return read(clip, preprocessing)

    first = prepared(path, clips, reader=counted)
    assert prepared(path, clips, reader=counted).fingerprint == first.fingerprint and len(calls) == 7
    other = clip_cache.with_frame_size(SMALL, 16)
    changed = prepared(path, clips, other, reader=counted)
    assert len(calls) == 14 and changed.frames.shape[1:] == (16, 16, 3) and changed.preprocessing == other
    clips[2].files[0].write_bytes(b"a longer clip")
    assert (
        prepared(path, clips, other, reader=counted).fingerprint != changed.fingerprint and len(calls) == 21
    )
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


def test_unusable_clips_are_left_out_up_to_a_share_and_beyond_it_nothing_is_stored(path, clips, tmp_path):
    clips[1].files[0].write_bytes(b"damaged")
    clips[4].files[0].unlink()
    for tolerated in (0.0, 0.2):
        with pytest.raises(DataError, match=r"^\d or more of 7 clips [^\n]*--tolerate SHARE\.$"):
            prepared(path, clips, tolerated=tolerated)
        assert not (tmp_path / "data" / "set").exists()
    cache = prepared(path, clips, tolerated=0.3)
    assert cache.names == tuple("02356") and (cache.frames[cache.first[2]] == 3).all()
    assert cache.unusable == {"4": "4.mp4 is missing", "1": "1.mp4 is cut short"}
    assert open_cache(path).unusable == cache.unusable


def test_a_failure_leaves_the_earlier_cache_as_it_was(path, clips):
    first = prepared(path, clips)
    before = below(path.parent)
    clips[1].files[0].write_bytes(b"damaged")
    with pytest.raises(DataError):
        prepared(path, clips)
    assert below(path.parent) == before and open_cache(path).fingerprint == first.fingerprint


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
clips = [Clip(str(i), (source / f"{{i}}.mp4",), i % 2, "train") for i in range(7)]
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


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_preparation_stores_nothing_and_the_next_one_cleans_up(path, clips):
    running = process(path, clips, 600)
    assert running.stdout.readline() == "half\n"
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert open_cache(path) is None and any(name.startswith(".prepared-") for name in below(path.parent))
    cache = prepared(path, [Clip(c.name, c.files, c.label, "train") for c in clips])
    assert len(cache.names) == 7
    assert sorted(p.name for p in path.parent.iterdir())[1:] == ["prepared.json"]


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
