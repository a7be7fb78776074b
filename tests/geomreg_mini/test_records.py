"""Records survive being written, killed and read back; what cannot be read is named."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_scripts.fetch import write_atomically
from geomreg_mini.records import Record, config_key, current_names, rounded

RESULTS = Path(__file__).parents[2] / "results"


def record(**changes) -> Record:
    values = {
        "config": {"dataset": "toy", "epochs": 4, "regularizer": None},
        "seed": 0,
        "versions": {"torch": "2"},
        "device": "cpu",
        "data_fingerprint": "0" * 64,
        "data_note": "",
        "split_sizes": {"train": 4, "validation": 2, "test": 2},
        "series": {
            "epoch": [2.0, 4.0],
            "train/loss/fused": [0.5, 0.25],
            "validation/accuracy/fused": [0.5, 1.0],
        },
        "selected_epoch": 4,
        "metrics": {"test/accuracy/fused": 0.5},
        "wall_time": 1.5,
    }
    return Record(**{**values, **changes})


# Reading and writing


def test_a_saved_record_reads_back_equal(tmp_path):
    path = record().save(tmp_path / "deep" / "folder" / "r.json")
    assert Record.load(path) == record()
    assert Record.load(path).wall_time == 1.5


def test_a_record_is_json_with_the_promised_keys(tmp_path):
    values = json.loads(record().save(tmp_path / "r.json").read_text())
    assert {"config", "metrics", "seed", "versions", "data_fingerprint"} <= set(values)


def test_equal_records_have_equal_bytes(tmp_path):
    reordered = record(metrics=dict(reversed(record().metrics.items())))
    assert record().save(tmp_path / "a").read_bytes() == reordered.save(tmp_path / "b").read_bytes()


def test_equality_leaves_out_the_wall_time_and_nothing_else():
    assert record(wall_time=99.0) == record()
    for change in (
        {"seed": 1},
        {"metrics": {}},
        {"device": "gpu"},
        {"series": {"epoch": []}},
        {"data_note": "x"},
    ):
        assert record(**change) != record()


def test_a_number_that_json_cannot_hold_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        record(metrics={"test/accuracy/fused": float("nan")}).save(tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", '{"config": 1}', "[]", "null", "3", '"text"', "\x00\x01"])
def test_what_is_not_a_record_is_one_sentence_naming_the_file(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(
        ValueError, match="broken.json is not a readable record .*: move it away and run"
    ) as caught:
        Record.load(path)
    assert "\n" not in str(caught.value)


def test_a_record_cut_at_any_place_is_refused(tmp_path):
    whole = record().save(tmp_path / "whole.json").read_bytes()
    for length in range(0, len(whole) - 2, 40):
        (tmp_path / "cut.json").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut.json is not a readable record"):
            Record.load(tmp_path / "cut.json")


def test_bytes_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="binary.json is not a readable record"):
        Record.load(tmp_path / "binary.json")


def test_missing_keys_are_named():
    values = record().to_dict()
    del values["seed"], values["metrics"]
    with pytest.raises(ValueError, match="lacks metrics, seed"):
        Record.from_dict(values)


def test_keys_of_a_later_version_are_ignored():
    assert Record.from_dict({**record().to_dict(), "new": 1}) == record()


# Names of an earlier version

OLD = {"test/semantic_margin/audio-image": 0.2, "test/effective_rank/audio": 5.0}
NOW = {"test/cross_modal_margin/audio-image": 0.2, "test/effective_rank/audio": 5.0}


def test_a_margin_between_two_modalities_is_read_under_its_name_of_today(tmp_path):
    series = {"epoch": [1.0], "validation/semantic_margin/audio-image": [None]}
    path = record(metrics=OLD, series=series).save(tmp_path / "old.json")
    before = path.read_bytes()
    loaded = Record.load(path)
    assert loaded.metrics == NOW
    assert loaded.series == {"epoch": [1.0], "validation/cross_modal_margin/audio-image": [None]}
    assert set(loaded.history["quantity"]) == {"cross_modal_margin"}
    assert (loaded.config, loaded.seed) == (record().config, record().seed)
    assert path.read_bytes() == before
    again = Record.load(loaded.save(tmp_path / "new.json"))
    assert again == loaded, "written again, it holds today's names"


def test_the_margin_of_one_modality_keeps_its_name_even_with_a_hyphen():
    one = {"test/semantic_margin/near-infrared": 0.1, "test/effective_rank/near-infrared": 4.0}
    one |= {"test/semantic_margin/joint": 0.3, "test/semantic_margin/audio": 0.2}
    assert current_names(one) == one
    pair = {"test/semantic_margin/audio-near-infrared": 0.1}
    assert current_names(one | pair) == one | {"test/cross_modal_margin/audio-near-infrared": 0.1}


@pytest.mark.parametrize("folder", ["digits", "paradigms/six_views"])
def test_a_committed_record_of_an_earlier_version_has_all_its_numbers_and_its_config(folder):
    path = min((RESULTS / folder).rglob("*.json"))
    stored, loaded = json.loads(path.read_text()), Record.load(path)
    old = [name for name in stored["metrics"] if "/semantic_margin/" in name]
    assert old and loaded.config == stored["config"]
    for name in old:
        assert (
            loaded.metrics[name.replace("semantic_margin", "cross_modal_margin")] == stored["metrics"][name]
        )
    assert sorted(loaded.metrics.values()) == sorted(stored["metrics"].values())
    assert not any("semantic_margin" in name for name in (*loaded.metrics, *loaded.series))


# Atomic writing


def test_a_kill_before_the_file_takes_its_name_leaves_the_old_one(tmp_path, monkeypatch):
    path = record().save(tmp_path / "r.json")

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        record(seed=1).save(path)
    assert Record.load(path).seed == 0
    assert list(tmp_path.iterdir()) == [path], "and nothing half-written beside it"


def test_an_interrupt_just_after_the_file_took_its_name_is_not_hidden(tmp_path, monkeypatch):
    replace = os.replace

    def interrupted(*arguments):
        replace(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_a_written_file_has_the_permissions_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"content")
        record().save(tmp_path / "record.json")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for a right to make links")
@pytest.mark.parametrize("there", [False, True])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path, there):
    target, link = tmp_path / "shared" / "record.json", tmp_path / "record.json"
    link.symlink_to("shared/record.json")
    if there:
        target.parent.mkdir()
        target.write_text("old")
    record().save(link)
    assert link.is_symlink() and not target.is_symlink() and Record.load(target) == record()
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_a_file_does_not_take_the_place_of_a_pipe_or_a_device(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        with pytest.raises(OSError, match=r"cannot be written \(not a regular file\)"):
            write_atomically(path, b"new")
        assert pipe.is_fifo() and len(list(tmp_path.iterdir())) == 2


# History, digits, keys


def test_history_is_tidy_one_row_an_epoch_and_metric():
    history = record().history
    assert list(history.columns) == ["epoch", "split", "quantity", "modality", "value"]
    assert history.values.tolist() == [
        [2, "train", "loss", "fused", 0.5],
        [4, "train", "loss", "fused", 0.25],
        [2, "validation", "accuracy", "fused", 0.5],
        [4, "validation", "accuracy", "fused", 1.0],
    ]
    assert history["epoch"].dtype.kind == "i"


def test_rounding_keeps_six_significant_digits_of_numbers_and_lists():
    assert rounded({"a": 0.123456789, "b": [1234567.0, 1e-9 / 3]}) == {
        "a": 0.123457,
        "b": [1234570.0, 3.33333e-10],
    }


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_twice_is_rounding_once_and_moves_by_half_a_digit(value):
    once = rounded({"x": value})["x"]
    assert rounded({"x": once})["x"] == once
    assert abs(once - value) <= 0.5000001e-5 * abs(value) or abs(value) < 1e-300


def test_the_key_depends_on_the_contents_and_not_on_their_order():
    assert config_key({"a": 1, "b": [2]}) == config_key({"b": [2], "a": 1})
    assert config_key({"a": 1}) != config_key({"a": 2})
    # The first digits of sha256('{"a": 1}'), so that file names stay the same between versions.
    assert config_key({"a": 1}) == "f9d86028c6e0"
