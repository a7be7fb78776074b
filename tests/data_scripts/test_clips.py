"""A clip's arrays are librosa's spectrogram and the frames at full seconds; a broken file is known as one."""

import shutil

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
