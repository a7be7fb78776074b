"""Measured, not asserted (`make bench`): a batch of CREMA-D from the cache, and decoded as published.

Generated clips of full size: 2.5 s of sound at 16 kHz, frames of 480 x 360. With a GPU, a core only reads a
batch and the device prepares it; without one, cropping and scaling 64 pictures is most of the work.
"""

import numpy as np
import pytest
import torch

from data_scripts import clip_cache, crema_d
from data_scripts.clips import read_wav, spectrogram
from geomreg_mini.benchmarks.audiovisual import ClipSplit

BATCH = 64


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders of 64 WAV files and of 64 JPEG files, a frame each, as the published code lays them out."""
    import soundfile
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for i in range(BATCH):
        sound = 0.1 * rng.standard_normal(40_000)
        soundfile.write(folder / f"{i}.wav", sound, 16000, subtype="PCM_16")
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((480, 360)).save(folder / f"{i}.jpg")
    return folder


@pytest.fixture(scope="module")
def split(sources, tmp_path_factory):
    from PIL import Image

    def read(clip, preprocessing):
        sound, picture = clip.files
        size = (preprocessing.frame_size, preprocessing.frame_size)
        frame = np.asarray(Image.open(picture).resize(size))
        return read_wav(sound, preprocessing), np.stack([frame] * 3), 4 / 3

    clips = [
        clip_cache.Clip(str(i), (sources / f"{i}.wav", sources / f"{i}.jpg"), i % 6, "train" if i else "test")
        for i in range(BATCH)
    ]
    path = tmp_path_factory.mktemp("data") / "prepared.json"
    cache = clip_cache.prepare(
        path,
        clips,
        read,
        crema_d.PREPROCESSING,
        class_names=tuple(crema_d.EMOTIONS),
        source=sources,
        tolerated=0,
        progress=False,
    )
    factors = {"clip": torch.arange(BATCH)}
    return ClipSplit({}, torch.from_numpy(cache.labels), factors, cache).augmented()


@pytest.fixture
def as_published(sources):
    """() -> a batch from WAV and JPEG files, as the published code makes it."""
    from PIL import Image
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    def batch():
        for i in range(BATCH):
            spectrogram(read_wav(sources / f"{i}.wav", crema_d.PREPROCESSING), crema_d.PREPROCESSING)
            transform(Image.open(sources / f"{i}.jpg").convert("RGB"))

    return batch


def test_read_from_the_cache(in_turn, as_published, split):
    index = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    in_turn(
        as_published,
        lambda: split.batch(index),
        group="input",
        what="decoded as published",
        against="read from the cache",
        batch=BATCH,
    )


def test_read_from_the_cache_and_prepared(in_turn, as_published, split, device):
    index = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))

    def batch():
        split.prepare({name: values.to(device) for name, values in split.batch(index)["inputs"].items()})

    in_turn(
        as_published,
        batch,
        group="input",
        what="decoded as published",
        against="read from the cache and prepared",
        device=device,
        batch=BATCH,
    )
