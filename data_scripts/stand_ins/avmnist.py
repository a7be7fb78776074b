"""Stand-ins for AV-MNIST: bars for the written digit, a rising ridge for the spoken one, and noise."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

TRAIN, TEST = 360, 60  # of the training samples the last 30 validate
BLIND = {"image": 0.15, "audio": 0.3}  # share of samples with noise alone


def write_avmnist(folder: Path, seed: int = 0) -> None:
    """Write ``avmnist/avmnist.tar.gz`` with MultiBench's names and shapes; images float64, sound uint8."""
    rng = np.random.default_rng([seed, 4])
    files = {}
    for part, count in (("train", TRAIN), ("test", TEST)):
        labels = rng.permutation(np.arange(count) % 10)
        seen = {m: rng.random((count, 1, 1)) >= share for m, share in BLIND.items()}
        y, x = np.mgrid[0:28, 0:28]
        bars = np.cos((x * np.cos(labels * np.pi / 10)[:, None, None]
                       + y * np.sin(labels * np.pi / 10)[:, None, None]) / 2)  # fmt: skip
        image = 90 * seen["image"] * (1 + bars) + 30 * rng.random((count, 28, 28))
        rows, times = np.mgrid[0:112, 0:112]
        ridge = np.exp(-(((rows - 10 - 9 * labels[:, None, None] - times / 14) / 4) ** 2))
        audio = 150 * seen["audio"] * ridge + 90 * rng.random((count, 112, 112))
        files[f"image/{part}_data.npy"] = image.reshape(count, 784)
        files[f"audio/{part}_data.npy"] = audio.astype(np.uint8)
        files[f"{part}_labels.npy"] = labels
    (Path(folder) / "avmnist").mkdir(parents=True)
    with tarfile.open(Path(folder) / "avmnist" / "avmnist.tar.gz", "w:gz") as packed:
        for name, array in files.items():
            content = io.BytesIO()
            np.save(content, array)
            member = tarfile.TarInfo(f"avmnist/{name}")
            member.size = content.tell()
            content.seek(0)
            packed.addfile(member, content)
