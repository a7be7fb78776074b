"""What a malicious file or host is after, tried: other files, addresses, all of the memory or the disk."""

import gzip
import hashlib
import io
import json
import os
import threading
import tracemalloc
import wave
import zipfile

import numpy as np
import pytest
from hostile import confined
from local_server import Quiet, serving
from test_fuzz import SMALL, cache_of_clips

from data_scripts import clip_cache, clips, fetch, karpathy
from data_scripts.clips import ClipError, read_frames, read_sound_track, read_wav
from data_scripts.fetch import DataError
from data_scripts.karpathy import PictureError


@pytest.mark.parametrize("name", ["clip.mp4", "clip.flv"])
def test_a_playlist_under_the_name_of_a_clip_is_not_followed(name, tmp_path, monkeypatch):
    pytest.importorskip("av")
    from data_scripts import stand_ins

    pictures = stand_ins._pictures(0, 6, 1, np.random.default_rng(0))
    stand_ins._write_video(tmp_path / "secret.mp4", "mp4", "mpeg4", pictures)
    asked = []

    class Handler(Quiet):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with serving(Handler, monkeypatch) as server:
        for content in (
            "ffconcat version 1.0\nfile secret.mp4\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{server.address}/x.ts\n#EXT-X-ENDLIST\n",
        ):
            (tmp_path / name).write_text(content)
            for read in (read_frames, read_sound_track):
                with pytest.raises(ClipError, match=f"^{name} cannot be decoded"):
                    read(tmp_path / name, SMALL)
    assert asked == []


def test_sound_of_samples_that_are_no_numbers_or_at_an_absurd_rate_is_no_clip(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "sound.wav"
    for value in (float("nan"), float("inf")):
        soundfile.write(path, np.full(100, value, np.float32), 8000, subtype="FLOAT")
        with pytest.raises(ClipError, match="not finite"):
            read_wav(path, SMALL)
    with wave.open(str(path), "wb") as file:  # to be resampled to 8,000 times its length
        file.setparams((1, 2, 1, 0, "NONE", ""))
        file.writeframes(bytes(2000))
    with pytest.raises(ClipError, match="1000 samples at 1 Hz, unlike any clip"):
        read_wav(path, SMALL)


def test_a_clip_without_end_is_given_up(tmp_path, monkeypatch):
    pytest.importorskip("av")
    from data_scripts import stand_ins

    rng, path = np.random.default_rng(0), tmp_path / "clip.mp4"
    sound = stand_ins._tone(0, 6, 3, 16000, rng)
    stand_ins._write_video(path, "mp4", "mpeg4", stand_ins._pictures(0, 6, 3, rng), sound)
    assert len(read_frames(path, SMALL)[0]) == 2 and len(read_sound_track(path, SMALL)) > 2 * 8000
    monkeypatch.setattr(clips, "LONGEST", 1)
    for read in (read_frames, read_sound_track):
        with pytest.raises(ClipError, match="is longer than 1 s"):
            read(path, SMALL)


def test_a_frame_of_more_pixels_than_any_camera_has_is_not_decoded(tmp_path, monkeypatch):
    pytest.importorskip("av")
    from data_scripts import stand_ins

    path = tmp_path / "clip.mp4"
    stand_ins._write_video(path, "mp4", "mpeg4", stand_ins._pictures(0, 6, 1, np.random.default_rng(0)))
    read_frames(path, SMALL)
    monkeypatch.setattr(clips, "PIXELS", stand_ins.WIDTH * stand_ins.HEIGHT - 1)
    with pytest.raises(ClipError, match="cannot be decoded"):
        read_frames(path, SMALL)


def peak(read) -> int:
    """Bytes that Python held at most while ``read`` refused what it was given."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="damaged or cut short"):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("honest", [True, False])
def test_an_archive_bomb_is_refused_without_unpacking_it(tmp_path, monkeypatch, honest):
    monkeypatch.setattr(fetch, "CONTENT_LIMIT", 2**20)
    path, bomb = tmp_path / "archive.zip", bytes(50 * 2**20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.wav", bomb)
    content = file.getvalue()
    if not honest:  # both headers say that ten bytes are inside
        content = content.replace(len(bomb).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    assert peak(lambda: fetch.read_zip(path, lambda name: True)) < 8 * 2**20
    path.write_bytes(gzip.compress(bomb))
    assert peak(lambda: fetch.read_gzip(path)) < 8 * 2**20


def test_a_host_that_never_stops_sending_does_not_fill_the_disk(tmp_path, monkeypatch):
    enough = threading.Event()

    class Handler(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            while not enough.is_set():
                self.wfile.write(bytes(2**16))

    path = tmp_path / "file.zip"
    with serving(Handler, monkeypatch) as server:
        try:
            digest = hashlib.sha256(b"12345").hexdigest()
            with pytest.raises(OSError, match="the checksum differs"):
                fetch.download_part(f"{server.address}/file", path, size=5, checksum=digest)
        finally:
            enough.set()
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_says_its_arrays_are_objects_counts_as_damaged(tmp_path):
    path = cache_of_clips(tmp_path)
    plan = json.loads(path.read_text())
    assert clip_cache.open_cache(path) is not None
    count = np.prod(plan["arrays"]["frames"][1]) // 8
    plan["arrays"]["frames"] = ["|O", [int(count)]]  # each eight bytes would be followed as an address
    path.write_text(json.dumps(plan))
    assert clip_cache.open_cache(path) is None
    with pytest.raises(ValueError, match="frames holds objects"):
        clip_cache.stored(path, clip_cache.VERSION)


def test_an_image_is_read_as_a_photograph_or_not_at_all(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    from PIL import EpsImagePlugin

    trace, program = tmp_path / "started", tmp_path / "gs"  # what Pillow starts for PostScript
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None, raising=False)
    for form, read in (("JPEG", True), ("PNG", True), ("EPS", False)):
        file = io.BytesIO()
        image.new("RGB", (30, 20), (200, 0, 0)).save(file, form)
        if read:
            assert karpathy.picture(file.getvalue(), 8)[..., 0].mean() > 150
        else:
            with confined(tmp_path), pytest.raises(PictureError, match="cannot be read as an image"):
                karpathy.picture(file.getvalue(), 8)
    assert not trace.exists()


def test_an_image_of_one_line_is_not_made_gigabytes_high():
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (60_000, 1)).save(file, "PNG")
    with pytest.raises(PictureError, match="has 60000 x 1 pixels"):
        karpathy.picture(file.getvalue(), 224)


def test_an_archive_of_images_is_not_unpacked_beyond_the_size_of_a_photograph(tmp_path, monkeypatch):
    monkeypatch.setattr(karpathy, "LARGEST", 2**20)
    with zipfile.ZipFile(tmp_path / "train2014.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train2014/1.jpg", bytes(2**20 + 1))
    with pytest.raises(PictureError, match="more bytes than a photograph"):
        karpathy.Archive(tmp_path / "train2014.zip").read("train2014/1.jpg")
