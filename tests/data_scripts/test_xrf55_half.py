"""The float16 copy of XRF55: read in place of the files, as close as float16 is, and never stale."""

import numpy as np
import pytest

from data_scripts import xrf55, xrf55_half
from data_scripts.fetch import DataError

KEYS = ((1, 3, 1, 1), (1, 3, 1, 15), (2, 5, 2, 1))


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    """An index of three small recordings below the data folder, and their files' folder."""
    shapes = {"mmWave": (2, 3, 4), "WiFi": (5, 6), "RFID": (3, 2)}
    for module in (xrf55, xrf55_half):
        monkeypatch.setattr(module, "SHAPES", shapes)
    files, rng = {m: [] for m in shapes}, np.random.default_rng(0)
    for scene, volunteer, action, repetition in KEYS:
        for m, shape in shapes.items():
            name = f"{m}/{scene}_{volunteer:02d}_{action:02d}_{repetition:02d}.npy"
            (tmp_path / "in" / m).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "in" / name, 100 * rng.standard_normal(shape))
            files[m].append(name)
    own = {m: tuple(names) for m, names in files.items()}
    recordings = xrf55.Recordings(np.array(KEYS), own, str(tmp_path / "in"), "f" * 64, {})
    monkeypatch.setattr(xrf55, "open_cache", lambda path: recordings)
    return tmp_path, recordings


def test_the_copy_is_read_instead_of_the_files_within_the_rounding_of_float16(indexed):
    root, recordings = indexed
    index = root / xrf55.INFO.prepared
    assert xrf55_half.open_cache(index) is recordings
    copied = xrf55_half.prepare(root, progress=False)
    assert copied.fingerprint != recordings.fingerprint and copied.files == recordings.files
    for m in xrf55.SHAPES:
        for row in range(len(KEYS)):
            whole, half = recordings.read(m, row), copied.read(m, row)
            assert half.dtype == np.float32 and half.shape == whole.shape
            np.testing.assert_allclose(half, whole, rtol=2**-11)
    again = xrf55_half.open_cache(index)
    assert isinstance(again, xrf55_half.HalfRecordings) and again.fingerprint == copied.fingerprint
    assert len(xrf55_half.summary_lines(again)) == 1


def test_a_copy_of_other_recordings_or_a_damaged_one_is_not_read(indexed, monkeypatch):
    root, recordings = indexed
    xrf55_half.prepare(root, progress=False)
    index = root / xrf55.INFO.prepared
    other = xrf55.Recordings(recordings.keys, recordings.files, recordings.source, "e" * 64, {})
    monkeypatch.setattr(xrf55, "open_cache", lambda path: other)
    assert xrf55_half.open_cache(index) is other
    monkeypatch.setattr(xrf55, "open_cache", lambda path: recordings)
    (root / xrf55_half.INFO.prepared).write_text("{")
    assert xrf55_half.open_cache(index) is recordings


@pytest.mark.parametrize("value", [1e5, np.nan])
def test_a_value_that_float16_cannot_hold_is_refused_by_name(indexed, value):
    root, recordings = indexed
    path = root / "in" / recordings.files["WiFi"][1]
    values = np.load(path)
    values[2, 3] = value
    np.save(path, values)
    with pytest.raises(DataError, match=r"WiFi/1_03_01_15.npy has a value beyond 65504 or NaN"):
        xrf55_half.prepare(root, progress=False, workers=1)
    assert not (root / xrf55_half.INFO.prepared).exists()


def test_it_needs_the_index_and_the_space(indexed, monkeypatch, disk):
    root, _ = indexed
    disk.free = 10
    with pytest.raises(DataError, match="xrf55_half needs 0.0 GB"):
        xrf55_half.prepare(root, progress=False)
    monkeypatch.setattr(xrf55, "open_cache", lambda path: None)
    with pytest.raises(DataError, match="run `python -m data_scripts xrf55` first"):
        xrf55_half.prepare(root, progress=False)


def test_the_stated_sizes_follow_from_the_shapes():
    assert xrf55_half.SAMPLE == 2 * (17 * 256 * 128 + 270 * 1000 + 23 * 148)
    assert 13_200 * xrf55_half.SAMPLE == pytest.approx(22e9, rel=0.01) and "37 GB" in xrf55_half.INFO.size
