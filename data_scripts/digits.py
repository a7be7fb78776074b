"""Prepare the spoken and the written digits: spectrograms of all recordings, and MNIST's test images.

The Free Spoken Digit Dataset has 3,000 recordings (8 kHz) of ten digits by six speakers, fifty each.
"""

from __future__ import annotations

import hashlib
import io
import math
import wave
from pathlib import Path

import numpy as np

from .fetch import (
    AnyPath,
    DataError,
    DatasetInfo,
    Source,
    atomic_file,
    check_digest,
    content_sha256,
    data_root,
    fetched,
    read_gzip,
    read_zip,
    save_arrays,
    with_fingerprint,
)

INFO = DatasetInfo(
    name="digits",
    size="18 MB download, 32 MB prepared",
    licence="recordings CC BY-SA 4.0, images CC BY-SA 3.0",
    source="Free Spoken Digit Dataset v1.0.10 (github.com/Jakobovski/free-spoken-digit-dataset) and "
    "MNIST's test set (ossci-datasets.s3.amazonaws.com/mnist)",
    prepared="digits/prepared-v1.npz",  # the number changes if the arrays do
)

RECORDINGS = Source(
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
    "fsdd/free-spoken-digit-dataset-1.0.10.zip",
)
IMAGES = Source(
    "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
    "mnist/t10k-images-idx3-ubyte.gz",
)
LABELS = Source(
    "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
    "mnist/t10k-labels-idx1-ubyte.gz",
)
# Over the contents, because GitHub and mirrors pack the archive differently.
RECORDINGS_SHA256 = "997e451901d158bdf09dde66b240f3f19310fdbf4d9c056ebd806254df4a672c"
IMAGES_SHA256 = "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
LABELS_SHA256 = "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"

SAMPLE_RATE = 8000  # Hz
WINDOW, HOP, FRAMES = 256, 128, 64  # samples, samples, count: 32 ms windows every 16 ms
LENGTH = WINDOW + HOP * (FRAMES - 1)  # 8,320 samples, 1.04 s: longer than 99 % of the recordings
FLOOR = 1e-2  # added to the magnitude; softer sound is the microphone's background rather than speech


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Return the log-magnitude short-time Fourier transform of one recording.

    samples: (n,) in [-1, 1], padded with zeros to 1.04 s or cut to its middle. Returns (64, 64) float16,
    frequency (up to 4 kHz, pairs of neighbouring bins averaged) by time. Computed in float64, so that the
    float16 bits are the same on every machine.
    """
    surplus = len(samples) - LENGTH
    if surplus > 0:
        samples = samples[surplus // 2 : surplus // 2 + LENGTH]
    else:
        samples = np.pad(samples, (-surplus // 2, -surplus - (-surplus // 2)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP] * window
    magnitude = np.abs(np.fft.rfft(frames, axis=1))[:, 1:]  # without the constant part: 128 bins
    magnitude = magnitude.reshape(FRAMES, 64, 2).mean(axis=2)
    return np.log(magnitude + FLOOR).T.astype(np.float16)


def read_wav(name: str, content: bytes) -> np.ndarray:
    """Return the samples of a mono 16-bit 8 kHz recording, in [-1, 1]."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        raise DataError(
            f"The recording {name} cannot be decoded; get the archive again.", "a recording is damaged"
        ) from error
    if form != (SAMPLE_RATE, 1, 2):
        raise DataError(
            f"The recording {name} is not mono 16-bit sound at {SAMPLE_RATE} Hz; get the archive again.",
            "a recording has an unexpected format",
        )
    return samples / 32768


def read_idx(name: str, content: bytes, rank: int) -> np.ndarray:
    """Return the uint8 array of an IDX file: two zeros, a type and a rank, the lengths, the values."""
    shape = np.frombuffer(content[4 : 4 + 4 * rank].ljust(4 * rank, b"\0"), ">u4").tolist()
    values = np.frombuffer(content[4 + 4 * rank :], np.uint8)
    if content[:4] != bytes([0, 0, 8, rank]) or len(values) != math.prod(shape):
        raise DataError(
            f"The file {name} is not an IDX file of bytes in {rank} dimensions; get it again.",
            f"the file {name} is damaged",
        )
    return values.reshape(shape)


def prepare(root: AnyPath | None = None, mirror: AnyPath | None = None, *, progress: bool = True) -> Path:
    """Fetch, verify and store the arrays in the data folder ``root``; return the prepared file.

    ``mirror`` must hold the published files; for its default see :func:`data_scripts.fetch.fetched`.

    Arrays: ``spectrograms`` (3000, 64, 64) float16; ``labels``, ``speakers`` and ``recordings`` (the index
    0-49 of a speaker's recording), each (3000,) uint8; ``speaker_names`` (6,); ``images`` (10000, 28, 28)
    uint8 and ``image_labels`` (10000,) uint8; ``fingerprint``, the SHA-256 of all of them.
    """
    path = data_root(root) / INFO.prepared
    with atomic_file(path) as handle:  # first: an unwritable folder is reported before any download
        with fetched(RECORDINGS, mirror, progress=progress) as archive:
            recordings = read_zip(archive, lambda name: "/recordings/" in name and name.endswith(".wav"))
        check_digest("the recordings", content_sha256(recordings), RECORDINGS_SHA256)
        with fetched(IMAGES, mirror, progress=progress) as file:
            images = read_gzip(file)
        check_digest("the MNIST images", hashlib.sha256(images).hexdigest(), IMAGES_SHA256)
        with fetched(LABELS, mirror, progress=progress) as file:
            image_labels = read_gzip(file)
        check_digest("the MNIST labels", hashlib.sha256(image_labels).hexdigest(), LABELS_SHA256)
        arrays = _arrays(recordings, images, image_labels)
        save_arrays(handle, with_fingerprint(arrays))
    return path


def _arrays(recordings: dict[str, bytes], images: bytes, image_labels: bytes) -> dict[str, np.ndarray]:
    """Return the stored arrays, sorted as the recordings' names say: ``{digit}_{speaker}_{index}.wav``."""
    parts = [name.removesuffix(".wav").split("_") for name in recordings]
    names = [(int(digit), speaker, int(index)) for digit, speaker, index in parts]
    order = sorted(range(len(names)), key=names.__getitem__)
    contents = list(recordings.items())
    speakers = sorted({speaker for _, speaker, _ in names})
    return {
        "spectrograms": np.stack([spectrogram(read_wav(*contents[i])) for i in order]),
        "labels": np.array([names[i][0] for i in order], np.uint8),
        "speakers": np.array([speakers.index(names[i][1]) for i in order], np.uint8),
        "recordings": np.array([names[i][2] for i in order], np.uint8),
        "speaker_names": np.array(speakers),
        "images": read_idx("of MNIST images", images, 3),
        "image_labels": read_idx("of MNIST labels", image_labels, 1),
    }
