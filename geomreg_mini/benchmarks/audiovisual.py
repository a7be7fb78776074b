"""Splits over prepared clips: rows of memory-mapped arrays, and crops, flips and scaling on the device.

A batch leaves the disk as float16 spectrograms and uint8 frames; only the required frames are read. In
training (``Split.augmented``) times and frames are drawn at random, otherwise they are the middle ones. All
draws come from the split's generator, which the training loop seeds by epoch and step.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_scripts import clip_cache, crema_d, kinetics_sounds
from data_scripts.clip_cache import Prepared
from data_scripts.clips import FLOOR
from data_scripts.fetch import DatasetInfo, data_root
from data_scripts.prepared import open_source

from ..data.corruptions import FIGURE_9, Clip, Spectrogram
from ..data.dataset import SPLITS, MultimodalDataset, Split, parts_of, provenance, stratified_order
from ..inputs import check_choice, check_whole

FOLDS = 10  # groups of speakers
VALIDATION_SHARE = 0.1  # of the published training clips
IMAGE_SIZE = 224  # pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, on the [0, 1] scale
CROP_AREA, CROP_ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of torchvision's RandomResizedCrop
CROP_TRIES = 10


@dataclass(frozen=True)
class ClipSplit(Split):
    """Clips of a cache as a split with the modalities ``audio`` and ``visual``.

    ``inputs`` is empty, since the arrays may be larger than the memory: use ``batch``. There, ``audio`` is
    float16 (B, 1, frequencies, times), ``visual`` uint8 (B, T, S, S, 3), and ``aspect`` (B,) the clips' width
    over height. ``prepare`` makes float32 (B, 1, frequencies, times) and (B, 3, T, H, W), or (B, 3, H, W) for
    one frame.

    ``factors``: ``clip`` (N,), positions in the cache, and the data set's own. ``frames`` is T,
    ``image_size`` S, and ``times`` the number of columns of a spectrogram (None: all).
    """

    cache: Prepared | None = None
    frames: int = 1
    image_size: int = IMAGE_SIZE
    times: int | None = None

    def read(self, index: Tensor) -> dict[str, Tensor]:
        rows = self.factors["clip"][index].numpy()
        aspect = torch.from_numpy(self.cache.aspects[rows])
        return {"audio": self._audio(rows), "visual": self._frames(rows), "aspect": aspect}

    def _audio(self, rows: np.ndarray) -> Tensor:
        stored = self.cache.spectrograms
        times = self.times or stored.shape[2]
        spare = stored.shape[2] - times
        starts = [spare // 2] * len(rows)
        if spare and self.generator is not None:
            starts = torch.randint(spare + 1, (len(rows),), generator=self.generator).tolist()
        pieces = [stored[row, :, start : start + times] for row, start in zip(rows, starts, strict=True)]
        return torch.from_numpy(np.stack(pieces))[:, None]

    def _frames(self, rows: np.ndarray) -> Tensor:
        first, count = self.cache.first[rows], np.diff(self.cache.first)[rows]
        chosen = frame_choice(torch.from_numpy(count), self.frames, self.generator).numpy()
        return torch.from_numpy(self.cache.frames[first[:, None] + chosen])

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return model inputs for a batch's, on their device; see the class. Each frame is cropped alone."""
        given = {}
        if "audio" in inputs:
            given["audio"] = inputs["audio"].float()
        if "visual" in inputs:
            frames = inputs["visual"]
            size, (batch, number) = self.image_size, frames.shape[:2]
            pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float()
            if self.generator is not None:
                aspects = inputs["aspect"].cpu().repeat_interleave(number)
                boxes = random_boxes(aspects, self.generator)
                pixels = crop(pixels, boxes, torch.rand(len(pixels), generator=self.generator) < 0.5, size)
            else:
                pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
            mean, std = (255 * pixels.new_tensor(v)[:, None, None] for v in (MEAN, STD))
            pixels = pixels.sub_(mean).div_(std).unflatten(0, (batch, number)).transpose(1, 2)
            given["visual"] = pixels[:, :, 0] if number == 1 else pixels
        return given


def frame_choice(count: Tensor, frames: int, generator: torch.Generator | None) -> Tensor:
    """Return the frames to use of clips with ``count`` (B,) frames: (B, frames) int64, in order of time.

    A clip is cut into ``frames`` equal stretches; each gives its middle frame, or with a generator a random
    one. A clip with too few frames repeats some.
    """
    place = 0.5 if generator is None else torch.rand(len(count), frames, generator=generator)
    position = (torch.arange(frames) + place) / frames  # in [0, 1) of the clip's length
    return (position * count[:, None]).long().minimum(count[:, None] - 1)


def random_boxes(aspects: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return random boxes like torchvision's RandomResizedCrop: (N, 4), left, top, right, bottom in [0, 1].

    aspects: (N,), width over height of the pictures. A box has a share U(0.08, 1) of the area and a
    logarithmically uniform aspect between 3/4 and 4/3 in true proportions. If ten draws do not fit, it is the
    largest centered box with an allowed aspect.
    """
    n = len(aspects)
    area = torch.empty(CROP_TRIES, n).uniform_(*CROP_AREA, generator=generator)
    aspect = torch.empty(CROP_TRIES, n).uniform_(*map(math.log, CROP_ASPECT), generator=generator).exp()
    width, height = (area * aspect / aspects).sqrt(), (area * aspects / aspect).sqrt()  # shares of the sides
    fits = (width <= 1) & (height <= 1)
    chosen = fits.int().argmax(dim=0), torch.arange(n)  # the first that fits
    allowed = aspects.clamp(*CROP_ASPECT)
    none = ~fits.any(dim=0)
    width = torch.where(none, (allowed / aspects).clamp(max=1), width[chosen])
    height = torch.where(none, (aspects / allowed).clamp(max=1), height[chosen])
    place = torch.where(none, 0.5, torch.rand(2, n, generator=generator))
    left, top = (1 - width) * place[0], (1 - height) * place[1]
    return torch.stack([left, top, left + width, top + height], dim=1)


def crop(pixels: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Return each picture's box, mirrored if ``flip``, at ``size`` x ``size`` by bilinear interpolation.

    pixels (N, C, H, W); boxes (N, 4) as above; flip boolean (N,). One call crops the whole batch, so without
    torchvision's smoothing of boxes larger than ``size``.
    """
    left, top, right, bottom = boxes.unbind(dim=1)
    left, right = torch.where(flip, right, left), torch.where(flip, left, right)
    zero = torch.zeros_like(left)
    # maps [-1, 1] x [-1, 1] onto the box, in the same coordinates of the whole picture
    entries = [right - left, zero, left + right - 1, zero, bottom - top, top + bottom - 1]
    affine = torch.stack(entries, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine.to(pixels), [len(pixels), pixels.shape[1], size, size], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


# loading ----------------------------------------------------------------------------------------------------


def open_prepared(script: ModuleType, prepared: str, source: str, options: str = "") -> Prepared:
    """Return the cache of a script's data set, or of its stand-ins, which are generated if missing.

    Args:
        script: ``data_scripts.crema_d`` or ``data_scripts.kinetics_sounds``.
        prepared: path of the official cache below the data folder.
        source: "official" or "stand_in".
        options: options of the command that prepares the official cache.
    """

    official = partial(clip_cache.open_cache, preprocessing=script.PREPROCESSING)
    return open_source(script.INFO.name, source, data_root() / prepared, official, options)


def all_clips(cache: Prepared, frames: int, image_size: int | None, **factors: Tensor) -> ClipSplit:
    """Return the clips of a cache; ``image_size=None`` means 224, or the size of smaller stored frames."""
    stored = cache.preprocessing
    check_whole(1, stored.frames, frames=frames)
    image_size = min(IMAGE_SIZE, stored.frame_size) if image_size is None else image_size
    check_whole(8, 1024, image_size=image_size)
    factors = {"clip": torch.arange(len(cache.labels)), **factors}
    return ClipSplit({}, torch.from_numpy(cache.labels), factors, cache, frames, image_size)


def published_parts(cache: Prepared) -> dict[str, np.ndarray]:
    """Return positions of the published test clips, and of the training clips less a tenth for validation.

    The tenth is stratified and always the same; without it, the test clips would have to select models.
    """
    parts = np.array(cache.parts)
    train = np.flatnonzero(parts == "train")
    order = train[stratified_order(cache.labels[train], np.random.default_rng(0))]
    held, test = round(VALIDATION_SHARE * len(train)), np.flatnonzero(parts == "test")
    return {"train": np.sort(order[held:]), "validation": np.sort(order[:held]), "test": test}


def dataset(
    info: DatasetInfo, whole: ClipSplit, parts: dict[str, np.ndarray], source: str
) -> MultimodalDataset:
    """Return the data set of the clips at ``parts`` of ``whole``."""
    cache, size = whole.cache, whole.image_size
    rows, times = cache.spectrograms.shape[1:]
    frames = () if whole.frames == 1 else (whole.frames,)
    # the arrays are gigabytes, so the fingerprint is that of their sources
    chosen = [cache.fingerprint, whole.frames, whole.times, size]
    chosen += [hashlib.sha256(parts[name].tobytes()).hexdigest() for name in SPLITS]
    return MultimodalDataset(
        name=info.name,
        shapes={"audio": (1, rows, whole.times or times), "visual": (3, *frames, size, size)},
        **parts_of(whole, parts),
        **provenance(info, source, len(cache.names), len(cache.unusable)),
        fingerprint=hashlib.sha256(repr(chosen).encode()).hexdigest(),
        class_names=cache.class_names,
        forms={"audio": Spectrogram(floor=FLOOR), "visual": Clip(whole.frames)},
        corruptions=FIGURE_9,
    )


def load_kinetics_sounds(
    seed: int = 0,
    *,
    variant: str = "lists",
    frames: int = 3,
    image_size: int | None = None,
    source: str = "official",
) -> MultimodalDataset:
    """Return Kinetics-Sounds with modalities ``audio`` (1, 129, 626) and ``visual`` (3, frames, size, size).

    Args:
        seed: unused; the clips of each split are always the same.
        variant: "lists", the published lists with 31 classes, 14,799 training and 2,597 test clips less those
            that Kinetics lost; a stratified tenth of the training clips validates. "folders": all clips of
            the 33 classes in DGL's code, with Kinetics' validation clips to test.
        frames: T, the number of frames per clip; with one, ``visual`` is (3, size, size). A clip is cut into
            T stretches; each gives a random frame in training and its middle one in evaluation. DGL's code
            takes the first three in the order of a folder.
        image_size: 224 by default, or the size of the stored frames if they are smaller.
        source: "official", as `python -m data_scripts kinetics_sounds` prepared it, or "stand_in": clips
            generated on demand in the same form (31 classes, variant "lists").

    The sound is five of ten seconds, random ones in training and the middle ones in evaluation; DGL's code
    draws them in evaluation too. They are cut from the ten seconds' spectrogram, so that their first and last
    columns include the sound around them and not zeros.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if it is not prepared.
    """
    check_choice(kinetics_sounds.VARIANTS, variant=variant)
    if source == "stand_in" and variant != "lists":
        raise ValueError(f"variant={variant!r} has no stand-ins: choose 'lists'.")
    options = "" if variant == "lists" else f" --variant {variant}"
    cache = open_prepared(kinetics_sounds, kinetics_sounds.VARIANTS[variant], source, options)
    whole = replace(all_clips(cache, frames, image_size), times=kinetics_sounds.TIMES)
    return dataset(kinetics_sounds.INFO, whole, published_parts(cache), source)


def load_crema_d(
    seed: int = 0,
    *,
    split: str = "community",
    frames: int = 1,
    image_size: int | None = None,
    source: str = "official",
) -> MultimodalDataset:
    """Return CREMA-D with modalities ``audio`` (1, 257, 188) and ``visual`` (3, image_size, image_size).

    Args:
        seed: selects the test speakers of ``speaker_disjoint``; nothing else depends on it.
        split: "community", the files that the published comparisons share: 6,698 clips to train and 744 to
            test. All 91 speakers are in both parts, and those comparisons have no validation clips; here a
            stratified tenth of the training clips, the same for every seed, validates.
            "speaker_disjoint": the speakers in ten groups; group ``seed % 10`` tests, the next one validates,
            the others train, so that ten seeds test every speaker once.
        frames: T, the number of frames per clip; with more than one, ``visual`` is (3, T, H, W). The
            published code means to draw its one frame but takes the first one listed. Here it is random in
            training and the middle one in evaluation.
        image_size: 224 by default, or the size of the stored frames if they are smaller.
        source: "official", as `python -m data_scripts crema_d` prepared it, or "stand_in": clips generated on
            demand in the same form.

    ``factors``: ``clip``, positions in the cache; ``speaker`` and ``sentence``, numbers in the order of their
    sorted names.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if it is not prepared.
    """
    check_choice(("community", "speaker_disjoint"), split=split)
    cache = open_prepared(crema_d, crema_d.INFO.prepared, source)
    speakers, speaker = np.unique(cache.groups, return_inverse=True)
    _, sentence = np.unique([name.split("_")[1] for name in cache.names], return_inverse=True)
    parts = published_parts(cache) if split == "community" else _speaker_parts(len(speakers), speaker, seed)
    factors = {"speaker": torch.from_numpy(speaker), "sentence": torch.from_numpy(sentence)}
    return dataset(crema_d.INFO, all_clips(cache, frames, image_size, **factors), parts, source)


def _speaker_parts(speakers: int, speaker: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return positions of the clips of each split's speakers; ``speaker`` (N,) holds the clips' speakers."""
    groups = np.array_split(np.random.default_rng(0).permutation(speakers), FOLDS)
    part_of = np.full(speakers, "train", dtype="U10")
    part_of[groups[seed % FOLDS]] = "test"
    part_of[groups[(seed + 1) % FOLDS]] = "validation"
    return {name: np.flatnonzero(part_of[speaker] == name) for name in SPLITS}
