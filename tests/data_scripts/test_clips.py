"""A clip's arrays are librosa's spectrogram and the frames at full seconds; a broken file is known as one."""

import shutil
import struct
from fractions import Fraction

import numpy as np
import pytest

from data_scripts.clips import (
    ClipError,
    Preprocessing,
    check_whole,
    read_frames,
    read_sound_track,
    read_wav,
    spectrogram,
)
from data_scripts.crema_d import PREPROCESSING as CREMA_D
from data_scripts.stand_ins import HEIGHT, RATE, WIDTH, _write_video

av = pytest.importorskip("av")
soundfile = pytest.importorskip("soundfile")
KINETICS = Preprocessing(sample_rate=16000, seconds=10, window=256, hop=128, frames=6)


def sound(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Something like speech: a swept tone that swells and fades over a noise floor, and a pause."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.4 * np.sin(2 * np.pi * (150 + 400 * time) * time) * np.sin(np.pi * time / seconds) ** 2
    tone[len(tone) // 3 : len(tone) // 2] = 0
    return (tone + 1e-3 * rng.standard_normal(len(time))).astype(np.float32)


def video(path, seconds: float, *, form="flv", codec="flv", track=None):
    """Frames whose brightness counts them: frame i is a plane of 3 i."""
    planes = np.arange(int(seconds * RATE))[:, None, None, None] * 3
    _write_video(
        path, form, codec, np.broadcast_to(planes, (len(planes), HEIGHT, WIDTH, 3)).astype(np.uint8), track
    )
    return path


# sound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.3, 2.71, 3.0, 4.8])
def test_spectrograms_of_crema_d_are_those_of_the_published_steps_in_librosa(tmp_path, seconds):
    librosa = pytest.importorskip("librosa")
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(seconds, 16000), 16000, subtype="PCM_16")
    samples, _ = librosa.load(path, sr=22050)
    samples = np.tile(samples, 3)[: 22050 * 3].clip(-1, 1)
    expected = np.log(np.abs(librosa.stft(samples, n_fft=512, hop_length=353)) + 1e-7)
    ours = spectrogram(read_wav(path, CREMA_D), CREMA_D)
    assert ours.shape == expected.shape == CREMA_D.spectrogram_shape == (257, 188)
    assert ours.dtype == np.float32 and np.abs(ours - expected).max() < 1e-4


@pytest.mark.parametrize("seconds", [2.0, 10.0, 11.5])
def test_spectrograms_of_kinetics_sounds_are_those_of_the_published_steps_in_librosa(seconds):
    librosa = pytest.importorskip("librosa")
    samples = sound(seconds, 16000)
    tiled = np.tile(samples, 5)[: 16000 * 10]
    expected = np.log(np.abs(librosa.stft(tiled, n_fft=256, hop_length=128)) + 1e-7)
    ours = spectrogram(samples, KINETICS)
    assert ours.shape == expected.shape == (129, 1251)
    assert np.abs(ours - expected).max() < 1e-4


def test_five_seconds_cut_from_the_spectrogram_are_the_spectrogram_of_five_seconds_but_for_its_ends():
    samples, start = sound(10, 16000), 200
    piece = samples[128 * start : 128 * start + 80000]
    expected = spectrogram(piece, Preprocessing(16000, 5, 256, 128, 6))
    assert expected.shape == (129, 626)
    cut = spectrogram(samples, KINETICS)[:, start : start + 626]
    assert np.abs(cut - expected)[:, 1:-1].max() < 1e-4 and np.abs(cut - expected).max() > 1e-2


def test_a_pure_tone_is_in_its_row_with_its_known_magnitude():
    row = 40
    samples = 0.5 * np.cos(2 * np.pi * row / 512 * np.arange(66150)).astype(np.float32)
    values = spectrogram(samples, CREMA_D)[:, 5:-5]
    assert set(values.argmax(axis=0)) == {row}
    assert np.allclose(values[row], np.log(0.5 * 512 / 4), atol=1e-3)  # amplitude x sum of the window / 2


def test_loud_samples_are_clipped_and_stereo_is_averaged(tmp_path):
    assert np.array_equal(
        spectrogram(np.full(100, 7, np.float32), CREMA_D), spectrogram(np.ones(100), CREMA_D)
    )
    left, right = sound(1.5, 22050, 0), sound(1.5, 22050, 1)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 22050, subtype="FLOAT")
    assert np.allclose(read_wav(tmp_path / "a.wav", CREMA_D), (left + right) / 2)


def test_the_sound_track_of_a_video_comes_out_as_it_went_in(tmp_path):
    time = np.arange(32000) / 16000
    path = video(
        tmp_path / "a.mp4",
        2,
        form="mp4",
        codec="mpeg4",
        track=(0.5 * np.sin(2 * np.pi * 1000 * time)).astype("f4"),
    )
    samples = read_sound_track(path, KINETICS)
    assert abs(len(samples) - 32000) < 4096  # coders pad
    values = spectrogram(samples, KINETICS)[:, 20:200]
    assert set(values.argmax(axis=0)) == {16}  # rows are 62.5 Hz wide
    assert np.allclose(values[16], np.log(0.5 * 256 / 4), atol=0.1)


# picture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form, codec", [("flv", "flv"), ("mp4", "mpeg4")])
def test_frames_are_those_at_full_seconds(tmp_path, form, codec):
    frames, aspect = read_frames(video(tmp_path / f"a.{form}", 3.6, form=form, codec=codec), CREMA_D)
    assert frames.shape == (4, 256, 256, 3) and frames.dtype == np.uint8
    assert aspect == pytest.approx(WIDTH / HEIGHT)
    assert np.allclose(frames.mean(axis=(1, 2, 3)), [0, 24, 48, 72], atol=6)  # 3 x 8 frames a second


def test_a_long_clip_keeps_frames_from_its_beginning_to_its_end(tmp_path):
    frames, _ = read_frames(video(tmp_path / "a.flv", 9.5), CREMA_D)
    assert np.allclose(frames.mean(axis=(1, 2, 3)) / 24, [0, 2, 4, 5, 7, 9], atol=0.2)


def turned(path, matrix) -> None:
    """Give an MP4 file the display matrix (a, b, c, d) of its track, as phones do for upright recordings."""
    content = bytearray(path.read_bytes())
    start = content.find(b"tkhd") + 44  # of the matrix, in a header of version 0
    a, b, c, d = (65536 * x for x in matrix)
    assert content[start : start + 36] == struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30)
    path.write_bytes(content)


# Corners as OpenCV 4 reads these four files, clockwise from the upper left one.
@pytest.mark.parametrize(
    ("matrix", "corners"),
    [
        ((1, 0, 0, 1), "yellow red black green"),
        ((0, 1, -1, 0), "green yellow red black"),
        ((-1, 0, 0, -1), "black green yellow red"),
        ((0, -1, 1, 0), "red black green yellow"),
        ((-1, 0, 0, 1), "black green yellow red"),  # mirrored: OpenCV takes its rotation alone
    ],
)
def test_a_rotated_phone_video_is_read_upright(tmp_path, matrix, corners):
    path, picture = tmp_path / "a.mp4", np.zeros((RATE, HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : HEIGHT // 2, :, 0] = picture[:, :, : WIDTH // 2, 1] = 255
    _write_video(path, "mp4", "mpeg4", picture)
    turned(path, matrix)
    (frame,), aspect = read_frames(path, CREMA_D)
    colors = {(True, True): "yellow", (True, False): "red", (False, True): "green", (False, False): "black"}
    found = [
        colors[tuple(bool(v) for v in frame[y, x, :2] > 128)] for y, x in ((9, 9), (9, -9), (-9, -9), (-9, 9))
    ]
    assert " ".join(found) == corners
    assert aspect == pytest.approx(WIDTH / HEIGHT if matrix[0] else HEIGHT / WIDTH)


def gaps(path, times) -> None:
    """A video of frames at ``times`` (seconds), each a plane of its number."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=RATE, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(
                np.full((HEIGHT, WIDTH, 3), 6 * number, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_after_a_gap_there_is_still_one_frame_per_second(tmp_path):
    steady = np.arange(8) / 8
    many = Preprocessing(16000, 10, 256, 128, 50, 32)
    for times, kept in [
        (np.concatenate([steady, steady + 5, steady + 6, steady + 7]), [0, 8, 16, 24]),
        (np.concatenate([steady, steady + 4.5, steady + 5.5]), [0, 8, 16]),  # and none at 5 s and 6 s
        (np.concatenate([[0], 4.9 + np.arange(11) / 10]), [0, 1, 11]),
        (np.arange(10) * 0.9, [0, 2, 3, 4, 5, 6, 7, 8, 9]),  # second 1 begins with the frame at 1.8 s
        (np.arange(5) * 1.6, [0, 1, 2, 3, 4]),
        (np.arange(40) / 30 * 1.001, [0, 30]),
    ]:
        gaps(tmp_path / "a.mp4", times)
        frames, _ = read_frames(tmp_path / "a.mp4", many)
        assert np.allclose(frames.mean(axis=(1, 2, 3)) / 6, kept, atol=0.9)


# broken files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["flv", "mp4", "wav"])
@pytest.mark.parametrize("share", [0.999, 0.5])
def test_a_file_that_is_cut_short_is_refused_and_a_whole_one_is_not(tmp_path, form, share):
    path = tmp_path / f"a.{form}"
    if form == "wav":
        soundfile.write(path, sound(2, 16000), 16000, subtype="PCM_16")
    else:
        video(path, 3, form=form, codec="flv" if form == "flv" else "mpeg4")
    check_whole(path)
    content = path.read_bytes()
    path.write_bytes(content + b"\0\0\0\0")
    check_whole(path)  # what follows the last piece does not matter
    path.write_bytes(content[: int(share * len(content)) - 4])
    with pytest.raises(ClipError, match=f"^a.{form} is cut short$"):
        read_wav(path, CREMA_D) if form == "wav" else read_frames(path, CREMA_D)


def test_files_without_content_are_named_with_the_reason(tmp_path):
    path = tmp_path / "a.wav"
    for content, reason in [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"RIFFxxxxWAVEnothing", "cannot be decoded|cut short"),
        (b"some words that are no sound", "cannot be decoded"),
    ]:
        path.write_bytes(content)
        for read in (read_wav, read_frames, read_sound_track):
            with pytest.raises(ClipError, match=reason):
                read(path, CREMA_D)
    path.unlink()
    with pytest.raises(ClipError, match="a.wav is missing"):
        read_wav(path, CREMA_D)
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(ClipError, match="no sound in it"):
        read_wav(path, CREMA_D)
    shutil.move(video(tmp_path / "a.flv", 1), path)
    with pytest.raises(ClipError, match="no sound track"):
        read_sound_track(path, CREMA_D)
