"""Stand-ins are files of the source's form, the same every time, and their class can be seen and heard."""

import numpy as np
import pytest

from data_scripts import crema_d, kinetics_sounds, stand_ins
from data_scripts.clips import read_frames, read_sound_track, read_wav, spectrogram

av = pytest.importorskip("av")
soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_ins")
    stand_ins.write_crema_d(folder)
    stand_ins.write_kinetics_sounds(folder)
    return folder


def test_crema_d_has_the_names_folders_and_codecs_of_the_source(folder):
    rows = crema_d.rows(folder, published=False, progress=False)
    assert len(rows) == 180 and {emotion for _, emotion, _ in rows} == set(crema_d.EMOTIONS)
    home = folder / "crema_d"
    assert sorted(p.name for p in home.iterdir()) == ["AudioWAV", "VideoFlash", "test.csv", "train.csv"]
    _, (_, place) = crema_d.find(home)
    for name, _, _ in rows[:5]:
        sound, video = place(name)
        info = soundfile.info(sound)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        with av.open(str(video)) as container:
            assert container.format.name == "flv" and container.streams.video[0].codec_context.name == "flv"
    assert (home / "train.csv").read_bytes().endswith(b"\r\n")


def test_kinetics_sounds_has_the_names_lists_and_annotations_of_the_source(folder):
    rows = kinetics_sounds.read_list(folder, published=False)
    assert [sum(part == p for _, _, part in rows) for p in ("train", "test")] == [124, 31]
    assert {label for _, label, _ in rows} == set(range(31))
    clips = folder / "kinetics_sounds" / "clips"
    _, (_, found) = kinetics_sounds.find(clips)
    assert set(found) == {name for name, _, _ in rows}
    known = kinetics_sounds.annotations(kinetics_sounds.SPLITS["lists"], folder)
    assert all(known[name] == (f"stand-in {label}", part) for name, label, part in rows)


def test_the_same_seed_writes_the_same_sound_and_another_seed_another(folder, tmp_path):
    for seed, same in ((0, True), (1, False)):
        stand_ins.write_crema_d(tmp_path / str(seed), seed)
        path = next((folder / "crema_d" / "AudioWAV").iterdir())
        other = tmp_path / str(seed) / "crema_d" / "AudioWAV" / path.name
        assert (other.read_bytes() == path.read_bytes()) is same


def test_a_class_can_be_told_from_the_pitch_and_from_the_color(folder):
    p = crema_d.PREPROCESSING
    rows, home = crema_d.rows(folder, published=False, progress=False)[:40], folder / "crema_d"
    emotions = list(crema_d.EMOTIONS)
    labels = np.array([emotions.index(emotion) for _, emotion, _ in rows])
    pitch, color = [], []
    _, (_, place) = crema_d.find(home)
    for name, _, _ in rows:
        sound, video = place(name)
        pitch.append(spectrogram(read_wav(sound, p), p)[:, :80].mean(axis=1).argmax())
        color.append(read_frames(video, p)[0].mean(axis=(0, 1, 2)))
    pitch, color = np.array(pitch), np.array(color)
    means = np.array([color[labels == k].mean(axis=0) for k in range(6)])
    nearest = ((color[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels).all()
    assert all(pitch[labels == k].max() < pitch[labels == k + 1].min() for k in range(5))


def test_videos_of_kinetics_sounds_have_both_tracks(folder):
    p = kinetics_sounds.PREPROCESSING
    path = next((folder / "kinetics_sounds" / "clips" / "test").iterdir())
    assert abs(len(read_sound_track(path, p)) / 16000 - 2) < 0.3
    assert read_frames(path, p)[0].shape == (2, 256, 256, 3)
