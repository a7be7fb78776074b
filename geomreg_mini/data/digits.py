"""Spoken and written digits: each recording of a spoken digit is paired with an image of the same digit.

Recordings come from the Free Spoken Digit Dataset, images from MNIST's test set. Nothing but the digit
connects the two, so whatever the modalities share is the class.

Without the files and the internet, real digits that scikit-learn carries replace them: the left and the right
half of an image are two views of one event. The 1,797 images are UCI's "Optical recognition of handwritten
digits".
"""

import numpy as np
import torch

from data_scripts import digits
from data_scripts.extras import extra
from data_scripts.prepared import prepared_arrays

from ..inputs import check_choice, check_number, check_whole
from .corruptions import Picture, Spectrogram
from .dataset import MultimodalDataset, say_once, split_arrays, stratified_order, stratified_parts

TRAIN_IMAGES = 8000  # MNIST images 0-7999 go to training, 8000-9999 to validation and test
# MNIST's usual constants, so that noise of one strength means the same to a network for every split.
IMAGE_MEAN, IMAGE_STD = 0.1307, 0.3081
EMBEDDED_TRAIN, EMBEDDED_VALIDATION = 1197, 300  # of 1,797; the remaining 300 test


def load(
    seed: int = 0,
    *,
    source: str = "auto",
    protocol: str = "unseen_speakers",
    labels: int | None = None,
    image_noise: float = 0.8,
) -> MultimodalDataset:
    """Return the digits with modalities ``audio`` (1, 64, 64) and ``image`` (1, 28, 28) and ten classes.

    Args:
        seed: fixes the pairing, the image noise, the labelled subset, and the test speaker.
        source: ``"spoken"``; ``"embedded"``, scikit-learn's handwritten digits with the modalities ``left``
            and ``right``, each (1, 8, 4); or ``"auto"``: spoken if the files are prepared or can be fetched,
            otherwise embedded, with a message in ``note`` and once on the console.
        protocol: ``"unseen_speakers"``: four speakers train, one validates, one tests; in alphabetical order,
            speaker number ``seed % 6`` tests and the next one validates. ``"official"``: of each speaker and
            digit, recordings 0-4 test, as by the data set's authors, 5-9 validate, 10-49 train. The embedded
            digits have no speakers; their splits are stratified and depend on ``seed`` alone.
        labels: None for the whole training split, or the number of training samples to keep, in equal
            shares of the classes. A smaller subset is part of a larger one of the same seed.
        image_noise: standard deviation of Gaussian noise added to images on their [0, 1] scale. Fixed for
            each sample: it depends on ``seed`` and the image only, and strengths differ by a factor. Never
            clipped. Of the embedded digits, only ``right`` has noise, so that one view is clean like audio.

    Audio is standardized by mean and standard deviation of the whole training split (before ``labels``),
    images by MNIST's constants 0.1307 and 0.3081; the embedded views by the clean pixels of the whole
    training split. ``factors`` holds ``image_index`` and, of spoken digits, ``speaker`` and ``recording``.

    Raises ``ValueError`` for a bad argument and, with ``source="spoken"``, ``data_scripts.fetch.DataError``
    if the spoken digits cannot be obtained.
    """
    check_choice(("auto", "spoken", "embedded"), source=source)
    check_choice(("unseen_speakers", "official"), protocol=protocol)
    check_number(0, image_noise=image_noise)
    arrays, why = prepared_arrays(digits, source)
    if arrays is not None:
        return _spoken(arrays, seed, protocol, labels, image_noise)
    data = _embedded(seed, labels, image_noise, why)
    if source == "auto":
        say_once(data.note)
    return data


def _spoken(arrays: dict, seed: int, protocol: str, labels: int | None, noise: float) -> MultimodalDataset:
    if protocol == "official":
        role = arrays["recordings"] // 5  # 0-4 test, 5-9 validate
    else:
        role = (arrays["speakers"].astype(int) - seed) % len(arrays["speaker_names"])
    inside = {"train": role > 1, "validation": role == 1, "test": role == 0}
    parts = {name: np.flatnonzero(own) for name, own in inside.items()}
    image_index = _pair(arrays, parts, seed)
    spectrograms = arrays["spectrograms"]
    mean, std = _mean_and_std(spectrograms[parts["train"]])
    unit_noise = np.random.default_rng([seed, 1]).standard_normal(arrays["images"].shape, dtype=np.float32)
    images = arrays["images"][image_index].astype(np.float32) / np.float32(255)
    images += np.float32(noise) * unit_noise[image_index]
    inputs = {
        "audio": ((spectrograms.astype(np.float32) - mean) / std)[:, None],
        "image": ((images - np.float32(IMAGE_MEAN)) / np.float32(IMAGE_STD))[:, None],
    }
    factors = {"speaker": arrays["speakers"], "recording": arrays["recordings"], "image_index": image_index}
    splits = split_arrays(parts, inputs, arrays["labels"], **factors)
    if labels is not None:
        check_whole(10, len(splits["train"]), labels=labels)
        order = stratified_order(splits["train"].labels.numpy(), np.random.default_rng([seed, 2]))
        splits["train"] = splits["train"].subset(torch.from_numpy(np.sort(order[:labels])))
    return MultimodalDataset(
        name="digits",
        **splits,
        licence="CC BY-SA 4.0 (recordings), CC BY-SA 3.0 (images)",
        source="Free Spoken Digit Dataset v1.0.10 and MNIST test images",
        forms={"audio": Spectrogram(digits.FLOOR, float(mean), float(std)), "image": Picture()},
    )


def _mean_and_std(training: np.ndarray) -> tuple[np.float32, np.float32]:
    training = training.astype(np.float64)
    return np.float32(training.mean()), np.float32(training.std())


def _pair(arrays: dict, parts: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """Return for each recording (N,) of all splits an MNIST image of the same digit; no image twice."""
    rng = np.random.default_rng([seed, 0])
    index = np.arange(len(arrays["image_labels"]))
    pairs = np.empty(len(arrays["labels"]), np.int64)
    for digit in range(10):
        of_digit = arrays["image_labels"] == digit
        pools = {
            "train": rng.permutation(index[of_digit & (index < TRAIN_IMAGES)]),
            "held out": rng.permutation(index[of_digit & (index >= TRAIN_IMAGES)]),
        }
        for name, recordings in parts.items():
            members = recordings[arrays["labels"][recordings] == digit]
            pool = "train" if name == "train" else "held out"
            pairs[members], pools[pool] = pools[pool][: len(members)], pools[pool][len(members) :]
    return pairs


def _embedded(seed: int, labels: int | None, image_noise: float, why: str) -> MultimodalDataset:
    """Return the embedded digits; ``why`` they are used is for ``note``."""
    with extra("course"):
        from sklearn.datasets import load_digits

    if labels is not None:
        check_whole(10, EMBEDDED_TRAIN, labels=labels)
    bunch = load_digits()
    pixels, digit = (bunch.images / 16).astype(np.float32), bunch.target
    parts = stratified_parts(digit, EMBEDDED_TRAIN, EMBEDDED_VALIDATION, seed)
    mean, std = _mean_and_std(pixels[parts["train"]])
    unit_noise = np.random.default_rng([seed, 1]).standard_normal((len(pixels), 1, 8, 4), dtype=np.float32)
    left, right = pixels[:, None, :, :4], pixels[:, None, :, 4:] + np.float32(image_noise) * unit_noise
    inputs = {"left": (left - mean) / std, "right": (right - mean) / std}
    parts["train"] = parts["train"][:labels]  # every beginning of a stratified order is stratified
    return MultimodalDataset(
        name="embedded_digits",
        **split_arrays(parts, inputs, digit, image_index=np.arange(len(digit))),
        licence="CC BY 4.0",
        source="Optical recognition of handwritten digits (UCI), as scikit-learn carries it",
        note=(
            "Embedded data are used, the left and right halves of scikit-learn's handwritten digits (for "
            f"which the option protocol has no meaning), because {why}; `python -m data_scripts digits` gets "
            "the spoken ones."
        ),
        forms={"left": Picture(), "right": Picture()},
    )
