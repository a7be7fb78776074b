"""CREMA-D from its files to its splits: the published counts, and one clear sentence for every fault."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from published import write_lists
from test_data_scripts import assert_fails_cleanly, called, command

from data_scripts import clip_cache, stand_ins
from data_scripts import crema_d as script
from data_scripts.fetch import DataError
from geomreg_mini.data import load
from geomreg_mini.data.dataset import MultimodalDataset

pytest.importorskip("av")
pytest.importorskip("soundfile")
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A data folder with stand-ins, prepared by the real script."""
    root = tmp_path_factory.mktemp("data")
    stand_ins.prepare("crema_d", root)
    return root


@pytest.fixture
def data_folder(prepared, monkeypatch) -> Path:
    monkeypatch.setenv("GEOMREG_DATA", str(prepared))
    return prepared


@pytest.fixture
def source(prepared, tmp_path) -> Path:
    """A mirror folder of stand-ins that a test may damage."""
    return Path(shutil.copytree(prepared / "stand_ins" / f"source-v{stand_ins.VERSION}", tmp_path / "source"))


def parts(data: MultimodalDataset):
    return {name: getattr(data, name) for name in SPLITS}


# the published split ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> list[tuple[str, str, str]]:
    mirror = os.environ.get("GEOMREG_MIRROR")
    if not mirror or not (Path(mirror) / "crema_d" / "train.csv").is_file():
        pytest.skip("needs GEOMREG_MIRROR with the split files of CREMA-D")
    return script.rows(mirror, progress=False)


def test_the_published_split_has_its_published_counts(published):
    assert len({name for name, _, _ in published}) == len(published) == 7442
    for part, total, counts in [
        ("train", 6698, {"ANG": 1166, "DIS": 1142, "FEA": 1138, "HAP": 1148, "NEU": 973, "SAD": 1131}),
        ("test", 744, {"ANG": 105, "DIS": 129, "FEA": 133, "HAP": 123, "NEU": 114, "SAD": 140}),
    ]:
        emotions = [emotion for _, emotion, p in published if p == part]
        assert len(emotions) == total
        assert {emotion: emotions.count(emotion) for emotion in counts} == counts
    assert all(name.split("_")[2] == emotion for name, emotion, _ in published)
    assert list(script.EMOTIONS) == ["NEU", "HAP", "SAD", "FEA", "DIS", "ANG"]  # published class numbers 0-5


def test_all_speakers_of_the_published_split_stand_on_both_sides(published):
    speakers = {p: {name[:4] for name, _, part in published if part == p} for p in ("train", "test")}
    assert len(speakers["train"]) == 91 and speakers["train"] == speakers["test"]


def test_all_test_clips_share_speaker_and_sentence_with_a_training_clip_and_some_the_emotion_too(published):
    assert script.overlap(published) == {"speakers": 91, "speaker": 744, "sentence": 744, "emotion": 128}


def test_overlap_counts_what_is_shared_in_the_order_of_a_name():
    train = [("1001_IEO_HAP_LO", "HAP", "train"), ("1002_TIE_SAD_XX", "SAD", "train")]
    test = ["1001_IEO_HAP_HI", "1001_IEO_SAD_XX", "1001_TIE_SAD_XX", "1002_IEO_SAD_XX", "1003_IEO_HAP_LO"]
    rows = train + [(name, name[9:12], "test") for name in test]
    assert script.overlap(rows) == {"speakers": 2, "speaker": 4, "sentence": 2, "emotion": 1}


def test_other_split_files_than_the_published_ones_are_refused(source):
    with pytest.raises(DataError, match="checksum of crema_d/train.csv differs"):
        script.rows(source, progress=False)
    assert len(script.rows(source, published=False, progress=False)) == 180


def test_a_byte_order_mark_and_line_ends_do_not_change_a_split_file(published, tmp_path):
    mirror = Path(os.environ["GEOMREG_MIRROR"]) / "crema_d"
    (tmp_path / "crema_d").mkdir()
    for name in ("train.csv", "test.csv"):
        content = b"\xef\xbb\xbf" + (mirror / name).read_bytes().replace(b"\r", b"")
        (tmp_path / "crema_d" / name).write_bytes(content)
    assert script.rows(tmp_path, progress=False) == published


# the data set -----------------------------------------------------------------------------------------------


def test_the_splits_are_disjoint_and_complete_and_say_what_they_are(data_folder):
    data = load("crema_d", source="stand_in")
    assert (data.name, data.modalities, data.num_classes) == ("crema_d", ("audio", "visual"), 6)
    assert data.shapes == {"audio": (1, 257, 188), "visual": (3, 48, 48)}
    assert data.class_names[0] == "neutral" and data.class_names[5] == "anger"
    assert data.note == stand_ins.NOTE and len(data.fingerprint) == 64
    clips = torch.cat([split.factors["clip"] for split in parts(data).values()])
    assert sorted(clips.tolist()) == list(range(180))
    assert [len(split) for split in parts(data).values()] == [135, 15, 30]


def test_a_batch_is_small_on_its_way_and_has_the_stated_shapes_when_it_is_prepared(data_folder):
    for frames in (1, 3):
        data = load("crema_d", source="stand_in", frames=frames, image_size=40)
        for split in (data.train, data.train.augmented(), data.test):
            batch = split.batch(torch.tensor([4, 0, 9]))
            assert batch["inputs"]["visual"].dtype == torch.uint8
            assert batch["inputs"]["audio"].dtype == torch.float16
            assert torch.equal(batch["label"], split.labels[[4, 0, 9]])
            inputs = split.prepare(batch["inputs"])
            for modality, values in inputs.items():
                assert values.dtype == torch.float32 and values.isfinite().all()
                assert values.shape == (3, *data.shapes[modality])
    assert data.shapes["visual"] == (3, 3, 40, 40)


def test_the_validation_clips_are_a_stratified_tenth_of_training_and_the_same_for_every_seed(data_folder):
    a, b = (load("crema_d", source="stand_in", seed=seed) for seed in (0, 7))
    assert a.fingerprint == b.fingerprint
    share = a.validation.labels.bincount() / (a.train.labels.bincount() + a.validation.labels.bincount())
    assert (share - 0.1).abs().max() < 0.04
    again = load("crema_d", source="stand_in", image_size=32)
    assert again.fingerprint != a.fingerprint and torch.equal(
        again.validation.factors["clip"], a.validation.factors["clip"]
    )


def test_no_speaker_is_in_two_splits_and_ten_seeds_test_everyone_once(data_folder):
    tested = []
    for seed in range(10):
        data = load("crema_d", source="stand_in", split="speaker_disjoint", seed=seed)
        speakers = [set(split.factors["speaker"].tolist()) for split in parts(data).values()]
        assert not speakers[0] & speakers[1] and not speakers[2] & (speakers[0] | speakers[1])
        assert (
            set.union(*speakers) == set(range(10)) and sum(map(len, map(getattr, [data] * 3, SPLITS))) == 180
        )
        tested += speakers[2]
    assert sorted(tested) == list(range(10))


def test_labels_speakers_and_sentences_are_those_in_the_names(data_folder):
    data = load("crema_d", source="stand_in")
    names = np.array(data.test.cache.names)[data.test.factors["clip"]]
    assert [list(script.EMOTIONS)[y] for y in data.test.labels] == [name.split("_")[2] for name in names]
    assert [1001 + int(s) for s in data.test.factors["speaker"]] == [int(name[:4]) for name in names]
    assert [sorted(stand_ins.SENTENCES)[s] for s in data.test.factors["sentence"]] == [n[5:8] for n in names]


def test_unknown_options_are_named_in_one_sentence(data_folder):
    for options, said in [
        ({"split": "mine"}, "'mine'"),
        ({"frames": 0}, "frames=0"),
        ({"frames": 7}, "frames=7"),
        ({"image_size": 2}, "image_size=2"),
        ({"source": "here"}, "'here'"),
    ]:
        with pytest.raises(ValueError, match=said):
            load("crema_d", **{"source": "stand_in", **options})
    with pytest.raises(DataError, match=r"^[^\n]*`python -m data_scripts crema_d`[^\n]*\.$"):
        load("crema_d")


def test_training_on_stand_ins_learns_more_than_chance(data_folder):
    from geomreg_mini.training import TrainConfig, fit

    data = load("crema_d", source="stand_in", image_size=24)
    config = TrainConfig("crema_d", epochs=4, batch_size=32, embedding_dim=16, paradigm="dgl")
    record = fit(config, data=data, device="cpu", progress=False)
    assert record.metrics["test/accuracy/fused"] > 0.4
    assert record.data_note == stand_ins.NOTE


# faults, through the command --------------------------------------------------------------------------------


def test_stand_ins_are_prepared_by_one_command_and_a_second_one_finds_them(prepared):
    finished = command("crema_d", "--root", prepared, "--stand-ins")
    assert finished.returncode == 0 and "150 train and 30 test clips" in finished.stdout
    assert "decoding" not in finished.stderr


def test_the_official_command_refuses_other_split_files_and_leaves_nothing(source, tmp_path):
    root = tmp_path / "data"
    finished = command("crema_d", "--root", root, "--mirror", source, "--from", source / "crema_d")
    assert_fails_cleanly(finished, root, "checksum", script.SPLITS["train"][1])


@pytest.fixture
def lists(tmp_path, monkeypatch) -> Path:
    """A mirror of lists with the published names and counts."""
    write_lists(tmp_path / "lists", monkeypatch)
    return tmp_path / "lists"


def test_a_missing_folder_of_videos_is_named(lists, source, tmp_path, capsys):
    shutil.rmtree(source / "crema_d" / "VideoFlash")
    root = tmp_path / "data"
    finished = called(capsys, "crema_d", "--root", root, "--mirror", lists, "--from", source / "crema_d")
    assert_fails_cleanly(finished, root, str(source / "crema_d"), "VideoFlash", "--from")


def test_vanished_frames_are_one_sentence_to_a_reader_and_prepared_anew_by_the_command(
    source, tmp_path, monkeypatch
):
    root = tmp_path / "data"
    options = {"published": False, "frame_size": 16, "workers": 1, "progress": False}
    first = script.prepare(root, source, **options)
    monkeypatch.setenv("GEOMREG_DATA", str(root))
    assert load("crema_d").shapes["visual"] == (3, 16, 16)
    (arrays,) = (root / "crema_d").glob("prepared-*")
    shutil.rmtree(arrays)
    with pytest.raises(
        DataError, match=r"^[^\n]*not prepared[^\n]*`python -m data_scripts crema_d`[^\n]*\.$"
    ):
        load("crema_d")
    assert script.prepare(root, source, **options).fingerprint == first.fingerprint
    assert len(load("crema_d").test) == 30


def test_what_is_prepared_is_read_although_the_folder_of_videos_has_vanished_since(
    source, tmp_path, monkeypatch
):
    root = tmp_path / "data"
    options = {"published": False, "frame_size": 16, "workers": 1, "progress": False}
    script.prepare(root, source, **options)
    for path in (source / "crema_d" / "VideoFlash").iterdir():
        path.unlink()
    with pytest.raises(
        DataError,
        match=r"^None of the 150 train clips [^\n]*\.flv is missing[^\n]*a split cannot be empty\.$",
    ):
        script.prepare(root, source, **options)
    monkeypatch.setenv("GEOMREG_DATA", str(root))
    assert len(load("crema_d").test) == 30


def test_too_many_missing_clips_are_an_error_that_names_some(lists, source, tmp_path, capsys):
    root = tmp_path / "data"
    finished = called(capsys, "crema_d", "--root", root, "--mirror", lists, "--from", source / "crema_d")
    assert_fails_cleanly(finished, root, "of 6698 train clips", "is missing", "and 66 may be", "--tolerate")


def test_files_without_content_are_no_clips_for_the_check_nor_the_script(lists, tmp_path, capsys):
    """A clone without `git lfs pull`, with a page and an empty file among its pointers, and an own folder."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    homes, kinds = ("AudioWAV", "VideoFlash", "Image-01-FPS"), {}
    for i, (name, _, part) in enumerate(script.rows(lists, progress=False)):
        kinds[name] = part, (pointer, b"<html>404</html>", b"", b"\0")[3 if i % 100 > 2 else i % 100]
    for home in homes:
        (tmp_path / home).mkdir()
    for name, (_, content) in kinds.items():
        (tmp_path / "AudioWAV" / f"{name}.wav").write_bytes(b"\0")
        (tmp_path / "VideoFlash" / f"{name}.flv").write_bytes(content)
    root = tmp_path / "data"
    lost = sum(part == "train" and content != b"\0" for part, content in kinds.values())
    for more in ["--check"], []:
        finished = called(capsys, "crema_d", "--root", root, "--mirror", lists, "--from", tmp_path, *more)
        assert f"{lost} or more of 6698 train clips cannot be used, and 66 may be" in finished.stderr
        assert "is a Git LFS pointer (run `git lfs pull`)" in finished.stderr
        assert "is a text, such as a host's error page" in finished.stderr and "is empty" in finished.stderr
        assert finished.returncode == 1 and not list(root.rglob("*"))
        assert not more or f"train: {6698 - lost} of 6698 clips are in {tmp_path}" in finished.stdout
    for path in (tmp_path / "VideoFlash").iterdir():
        path.unlink()
    for name, (_, content) in kinds.items():
        (tmp_path / "Image-01-FPS" / name).mkdir()
        if content:
            (tmp_path / "Image-01-FPS" / name / "00001.jpg").write_bytes(content)
    finished = called(capsys, "crema_d", "--check", "--mirror", lists, "--from", tmp_path)
    assert f"train: {6698 - lost} of 6698 clips are in" in finished.stdout
    assert "is a Git LFS pointer" in finished.stderr and "has no pictures" in finished.stderr


def test_a_class_that_a_folder_lacks_is_never_tolerated(lists, tmp_path, capsys):
    for home in ("AudioWAV", "VideoFlash"):
        (tmp_path / home).mkdir()
    for name, emotion, part in script.rows(lists, progress=False):
        if (emotion, part) != ("FEA", "test"):
            (tmp_path / "AudioWAV" / f"{name}.wav").write_bytes(b"\0")
            (tmp_path / "VideoFlash" / f"{name}.flv").write_bytes(b"\0")
    finished = called(capsys, "crema_d", "--check", "--mirror", lists, "--from", tmp_path, "--tolerate", "1")
    assert finished.returncode == 1 and "test: 611 of 744" in finished.stdout
    assert "None of the 133 test clips of class 3 can be used" in finished.stderr


def test_a_large_download_starts_only_with_a_yes(lists, tmp_path, capsys):
    root = tmp_path / "data"
    finished = called(capsys, "crema_d", "--root", root, "--mirror", lists)
    assert finished.returncode == 1 and finished.stdout == "" and not root.exists()
    warning, error = finished.stderr.strip().split("\n")
    assert "downloads 3.0 GB" in warning and "are free" in warning and "--yes" in error


@pytest.mark.parametrize(
    "damage", ["truncated video", "empty sound", "sound of length zero", "row without file"]
)
def test_one_unusable_clip_is_left_out_and_named_or_an_error_where_none_may_be(source, tmp_path, damage):
    import soundfile

    name = script.rows(source, published=False, progress=False)[3][0]
    sound, video = script.find(source / "crema_d")[1][1](name)
    if damage == "truncated video":
        video.write_bytes(video.read_bytes()[:-100])
    elif damage == "row without file":
        video.unlink()
    elif damage == "empty sound":
        sound.write_bytes(b"")
    else:
        soundfile.write(sound, np.zeros(0), 16000)
    options = {"published": False, "frame_size": 16, "workers": 1, "progress": False}
    root = tmp_path / "data"
    with pytest.raises(DataError, match=rf"^1 or more of 150 train clips .*{name}: {name}\.(wav|flv) .*\.$"):
        script.prepare(root, source, tolerate=0, **options)
    assert clip_cache.open_cache(root / script.INFO.prepared) is None
    cache = script.prepare(root, source, tolerate=0.01, **options)
    assert list(cache.unusable) == [name] and name not in cache.names and len(cache.names) == 179
