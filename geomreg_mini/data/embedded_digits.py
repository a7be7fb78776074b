"""Real digits without any download: scikit-learn's handwritten digits, cut into a left and a right half.

They replace the spoken digits on machines without the files and the internet. The 1,797 images are
UCI's "Optical recognition of handwritten digits"; the halves of one image are two views of one event.
"""

import numpy as np

from data_scripts.extras import extra

from ..inputs import check_number, check_whole
from .corruptions import Picture
from .dataset import MultimodalDataset, split_arrays, stratified_parts

TRAIN, VALIDATION = 1197, 300  # of 1,797; the remaining 300 test


def load(
    seed: int = 0, *, labels: int | None = None, image_noise: float = 0.8, why: str = "they were asked for"
) -> MultimodalDataset:
    """Return the embedded digits with modalities ``left`` and ``right``, each (1, 8, 4), and ten classes.

    ``seed`` fixes the stratified splits, the noise and the labelled subset. ``image_noise`` is the standard
    deviation of Gaussian noise on the [0, 1] scale, fixed for each image, not clipped. It is added to
    ``right`` only, so that one view is clean like the audio of the spoken digits. Both views are standardized
    by the clean pixels of the whole training split. ``why``: the reason for ``note``. ``factors`` holds
    ``image_index``.
    """
    with extra("course"):
        from sklearn.datasets import load_digits

    check_number(0, image_noise=image_noise)
    if labels is not None:
        check_whole(10, TRAIN, labels=labels)
    bunch = load_digits()
    pixels, digit = (bunch.images / 16).astype(np.float32), bunch.target
    parts = stratified_parts(digit, TRAIN, VALIDATION, seed)
    training = pixels[parts["train"]].astype(np.float64)
    mean, std = np.float32(training.mean()), np.float32(training.std())
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
