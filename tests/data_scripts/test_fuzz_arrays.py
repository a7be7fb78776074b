"""Readers of tensors and arrays (CUBICC, XRF55), and of Kaggle's token and answers, held to damaged ones."""

import io
import json

import numpy as np
import pytest
import torch
from hostile import EXAMPLES, bytes_like, confined, fuzz, json_like, json_values, names, refusal
from hypothesis import strategies as st
from test_fuzz import Attack, folder, npy, writable, zipped  # noqa: F401

from data_scripts import cubicc, kaggle, xrf55
from data_scripts.fetch import DataError, load_arrays

pytestmark = [
    pytest.mark.parametrize("examples", EXAMPLES),
    pytest.mark.filterwarnings("ignore:Duplicate name"),
]


def pt(value) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


# CUBICC -----------------------------------------------------------------------------------------------------

PAIRS = 6
WORDS = json.dumps({"i2w": {str(i): f"w{i}" for i in range(cubicc.VOCABULARY)}}).encode()


def birds() -> dict[str, bytes]:
    """Six pairs in the form of the source: file -> bytes."""
    rng = torch.Generator().manual_seed(0)
    captions = torch.randint(cubicc.VOCABULARY, (PAIRS, cubicc.LENGTH), generator=rng)
    tensors = {
        "images.pt": torch.rand(PAIRS, 3, cubicc.SIDE, cubicc.SIDE, generator=rng),
        "captions.pt": captions,
        "labels.pt": torch.arange(PAIRS) % 3,
        "original_labels.pt": torch.arange(PAIRS),
    }
    splits = {f"{name}_split.npy": npy(np.array([2 * i, 2 * i + 1])) for i, name in enumerate(cubicc.SPLITS)}
    return {name: pt(value) for name, value in tensors.items()} | splits | {cubicc.WORDS: WORDS}


@pytest.mark.parametrize("name", ["images.pt", "captions.pt"])  # the others: test_cubicc
def test_files_of_cubicc(examples, name, folder, record_property):  # noqa: F811
    import builtins

    source, whole = folder / "source", birds()
    source.mkdir()
    for file, content in whole.items():
        (source / file).write_bytes(content)

    def check(content):
        (source / name).write_bytes(content)
        with confined(folder):
            paths = []
            options = {"folder": source, "published": False, "progress": False}
            refusal(lambda: paths.append(cubicc.prepare(folder / "data", **options)), DataError)
        for path in paths:
            arrays = load_arrays(path)
            assert arrays["images"].shape[1:] == (3, 64, 64) and arrays["captions"].max() < cubicc.VOCABULARY
            assert max(arrays[split].max() for split in cubicc.SPLITS) < len(arrays["images"])
            path.unlink()
        assert not list((folder / "data").rglob("*.npz*")) and not hasattr(builtins, "attacked")

    others = [torch.zeros(PAIRS), [Attack()], torch.full((6,), float("nan")), {"x": torch.eye(3).to_sparse()}]
    others = [*map(pt, [*others, torch.zeros(PAIRS, dtype=torch.complex64)]), npy(np.array([Attack()]))]
    fuzz(bytes_like(whole[name]) | st.sampled_from(others), examples, check, record_property)


def test_archives_of_cubicc(examples, folder, record_property):  # noqa: F811
    (folder / "cubicc").mkdir()
    path, whole = folder / "cubicc" / "CUBICC.zip", list(birds().items())

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            options = {"mirror": folder, "published": False, "progress": False}
            refusal(lambda: cubicc.prepare(folder / "data", **options).unlink(), DataError)
        assert not [p for p in (folder / "data").rglob("*") if p.is_file()]

    evil = st.lists(st.tuples(names, st.just(b"x")), max_size=3).filter(writable)
    values = bytes_like(zipped(whole)) | evil.map(lambda members: zipped([*whole, *members]))
    fuzz(values, examples, check, record_property)


# XRF55 ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(xrf55, "SHAPES", {"mmWave": (2, 3, 4), "WiFi": (3, 5), "RFID": (2, 7)})


@pytest.mark.parametrize("modality", ["mmWave", "WiFi"])
def test_recordings(examples, modality, folder, small, record_property):  # noqa: F811
    shape = xrf55.SHAPES[modality]
    file = f"Scene1/{modality}/01_01_01.npy"
    (folder / "Scene1" / modality).mkdir(parents=True)
    recordings = xrf55.Recordings(np.array([[1, 1, 1, 1]]), {modality: (file,)}, str(folder), "", {})

    def check(content):
        (folder / file).write_bytes(content)
        with confined(folder):
            arrays = []
            refusal(lambda: arrays.append(recordings.read(modality, 0)), DataError)
        assert all(array.shape == shape and array.dtype == np.float32 for array in arrays)

    wholes = [npy(np.ones(shape, kind)) for kind in (np.float64, np.float16, np.int8)]
    wholes.append(npy(np.array([Attack()])))
    fuzz(st.one_of([bytes_like(whole) for whole in wholes]), examples, check, record_property)


def test_descriptions_of_recordings(examples, folder, small, record_property):  # noqa: F811
    source = folder / "xrf55"
    for m, shape in xrf55.SHAPES.items():
        for i in range(1, 4):
            (source / f"Scene{i}" / m).mkdir(parents=True)
            (source / f"Scene{i}" / m / "01_01_01.npy").write_bytes(npy(np.ones(shape)))
    options = {"mirror": folder, "published": False, "progress": False, "workers": 1}
    xrf55.prepare(folder / "data", **options)
    path = folder / "data" / xrf55.INFO.prepared
    whole = path.read_bytes()

    def check(content):
        path.write_bytes(content)
        with confined(folder):
            known = xrf55.open_cache(path)
            if known is None:
                return
            assert known.keys.shape == (len(known.files["WiFi"]), 4) and xrf55.counts(known)
            for row in range(len(known.keys)):
                refusal(lambda: known.read("WiFi", row), DataError)  # noqa: B023

    values = json_like(json.loads(whole)).map(lambda value: json.dumps(value).encode())
    fuzz(bytes_like(whole) | values | values, examples, check, record_property)


# Kaggle -----------------------------------------------------------------------------------------------------


def test_tokens_of_kaggle(examples, folder, monkeypatch, record_property):  # noqa: F811
    import requests

    config = pytest.importorskip("kagglehub.config", reason="kagglehub is not installed")
    for name in ("API_TOKEN", "USERNAME", "KEY"):
        monkeypatch.delenv(f"KAGGLE_{name}", raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".kaggle").mkdir()
    whole = b'{"username":"someone","key":"0123456789abcdef"}'

    def check(value):
        name, content = value
        for other in (".kaggle/access_token", "kaggle.json"):
            (folder / other).unlink(missing_ok=True)
        (folder / name).write_bytes(content)
        with confined(folder):
            known = []
            refusal(lambda: known.append(kaggle.has_token()), DataError)
            if known == [True]:
                credentials = config.get_kaggle_credentials()
                text = credentials.api_key or f"{credentials.username}{credentials.key}"
                header = {"Authorization": f"Bearer {text}"}
                requests.Request("GET", "https://x", header).prepare()  # which refuses a malformed header

    contents = bytes_like(whole) | json_values().map(lambda value: json.dumps(value).encode())
    files = st.sampled_from([".kaggle/access_token", "kaggle.json"])
    fuzz(st.tuples(files, contents), examples, check, record_property)
