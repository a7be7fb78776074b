"""What becomes of stored frames on the device: torchvision's crops in one call, scaling in evaluation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data_scripts import crema_d
from data_scripts.stand_ins import NOTE
from geomreg_mini.benchmarks.audiovisual import (
    MEAN,
    SPLITS,
    STD,
    ClipSplit,
    crop,
    dataset,
    frame_choice,
    random_boxes,
)


def split(frames: int = 1, size: int = 8, stored: int = 8, clips: int = 6) -> ClipSplit:
    """Clips with 1, 2, 3, ... frames; frame k of clip i is a plane of 10 i + k."""
    counts = np.arange(clips) + 1
    values = np.concatenate([10 * i + np.arange(n) for i, n in enumerate(counts)]).astype(np.uint8)
    cache = SimpleNamespace(
        spectrograms=np.arange(clips * 12, dtype=np.float16).reshape(clips, 2, 6),
        frames=np.broadcast_to(values[:, None, None, None], (len(values), stored, stored, 3)),
        first=np.cumsum([0, *counts]),
        aspects=np.full(clips, 4 / 3, np.float32),
    )
    factors = {"clip": torch.arange(clips)}
    return ClipSplit({}, torch.arange(clips), factors, cache, frames, size)


def test_evaluation_takes_the_middle_frame_and_training_every_one_of_them():
    index = torch.arange(6)
    middle = split().batch(index)["inputs"]["visual"][:, 0, 0, 0, 0]
    assert middle.tolist() == [0, 11, 21, 32, 42, 53]
    training, seen = split().augmented(), [set() for _ in index]
    for _ in range(100):
        for found, value in zip(
            seen, training.batch(index)["inputs"]["visual"][:, 0, 0, 0, 0].tolist(), strict=True
        ):
            found.add(value)
    assert seen == [{10 * i + k for k in range(i + 1)} for i in range(6)]


def test_several_frames_are_in_order_and_come_one_from_each_stretch():
    count = torch.tensor([1, 2, 3, 6, 9])
    assert frame_choice(count, 3, None).tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 2], [1, 3, 5], [1, 4, 7]]
    for _ in range(50):
        chosen = frame_choice(count, 3, torch.default_generator)
        assert (chosen.diff(dim=1) >= 0).all() and (chosen < count[:, None]).all()
        assert (chosen[4] // 3).tolist() == [0, 1, 2]


def test_a_subset_holds_the_same_clips_and_training_keeps_its_own_view():
    full = split()
    part = full.augmented().subset(torch.tensor([4, 2]))
    assert part.generator and not full.generator and part.labels.tolist() == [4, 2] and len(part) == 2
    assert torch.equal(
        part.batch(torch.tensor([1]))["inputs"]["audio"], full.batch(torch.tensor([2]))["inputs"]["audio"]
    )


def test_evaluation_scales_and_normalizes_as_published():
    batch = split(frames=2, size=4).batch(torch.tensor([3, 5]))
    given = split(frames=2, size=4).prepare(batch["inputs"])
    assert given["audio"].dtype == torch.float32 and torch.equal(
        given["audio"].half(), batch["inputs"]["audio"]
    )
    planes = batch["inputs"]["visual"][:, :, 0, 0].float() / 255  # (B, T, 3)
    expected = ((planes - torch.tensor(MEAN)) / torch.tensor(STD)).transpose(1, 2)[..., None, None]
    assert given["visual"].shape == (2, 3, 2, 4, 4)
    assert torch.allclose(given["visual"], expected.expand(2, 3, 2, 4, 4), atol=1e-5)
    assert set(split().prepare({"audio": batch["inputs"]["audio"]})) == {"audio"}


def test_the_same_seed_gives_the_same_training_inputs_and_evaluation_needs_none():
    training, index = split(frames=2).augmented(), torch.arange(6)

    def inputs(seed):
        torch.manual_seed(seed)
        return training.prepare(training.batch(index)["inputs"])["visual"]

    assert torch.equal(inputs(1), inputs(1)) and not torch.equal(inputs(1), inputs(2))
    before = torch.get_rng_state()
    split().prepare(split().batch(index)["inputs"])
    assert torch.equal(before, torch.get_rng_state())


# crops ------------------------------------------------------------------------------------------------------


def test_a_box_is_cut_scaled_and_mirrored_as_torchvision_does():
    functional = pytest.importorskip("torchvision.transforms.functional")
    pixels = torch.rand(3, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, 1, 1], [15 / 60, 8 / 40, 45 / 60, 28 / 40], [12 / 60, 0, 24 / 60, 10 / 40]])
    ours = crop(pixels, boxes, torch.tensor([False, True, False]), 64)
    theirs = [
        functional.resized_crop(pixels[0], 0, 0, 40, 60, [64, 64], antialias=False),
        functional.hflip(functional.resized_crop(pixels[1], 8, 15, 20, 30, [64, 64], antialias=False)),
        functional.resized_crop(pixels[2], 0, 12, 10, 12, [64, 64], antialias=False),
    ]
    for i, expected in enumerate(theirs):
        # at a cut edge we see the pixel beside the box where torchvision repeats its last one
        inside = slice(None) if i == 0 else slice(4, -4)
        assert torch.allclose(ours[i][:, inside, inside], expected[:, inside, inside], atol=1e-5), i


def test_the_whole_picture_is_plain_bilinear_scaling():
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = torch.tensor([[0.0, 0, 1, 1]]).expand(2, 4)
    expected = F.interpolate(pixels, (24, 24), mode="bilinear", align_corners=False)
    assert torch.allclose(crop(pixels, whole, torch.tensor([False, False]), 24), expected, atol=1e-5)
    assert torch.allclose(crop(pixels, whole, torch.tensor([True, True]), 24), expected.flip(-1), atol=1e-5)


def test_random_boxes_have_the_sizes_and_places_of_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms")
    torch.manual_seed(0)
    n, height, width = 4000, 360, 480
    boxes = random_boxes(torch.full((n,), width / height))
    assert boxes.min() >= 0 and boxes.max() <= 1 + 1e-6
    left, top, right, bottom = boxes.unbind(1)
    ours = torch.stack([(right - left) * (bottom - top), (right - left) / (bottom - top) * 4 / 3, left, top])
    picture = torch.zeros(1, height, width)
    drawn = [transforms.RandomResizedCrop.get_params(picture, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(n)]
    i, j, h, w = torch.tensor(drawn).T
    theirs = torch.stack([h * w / (height * width), w / h, j / width, i / height])
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    assert torch.allclose(ours.quantile(quantiles, dim=1), theirs.quantile(quantiles, dim=1), atol=0.035)


def test_a_picture_too_narrow_for_any_box_gives_its_largest_centered_one():
    box = random_boxes(torch.full((50,), 40.0))  # 40 times as wide as high
    sizes = box[:, 2:] - box[:, :2]
    fallback = sizes[:, 1] > 0.999
    assert fallback.any() and torch.allclose(sizes[fallback, 0] * 40, torch.tensor(4 / 3), atol=1e-4)
    assert torch.allclose(box[fallback, 0] + box[fallback, 2], torch.tensor(1.0), atol=1e-5)


def test_the_note_of_official_clips_says_how_many_are_missing():
    whole = split().cache
    parts = {name: np.arange(2) + 2 * i for i, name in enumerate(SPLITS)}
    for unusable, note in (
        ({}, ""),
        ({"a": "is missing"}, "1 of 7 samples are missing or unreadable."),
        (dict.fromkeys("abcdef", "cannot be decoded"), "6 of 12 samples are missing or unreadable."),
    ):
        names = {"names": tuple("012345"), "class_names": ("x",), "labels": np.zeros(6, np.int64)}
        cache = SimpleNamespace(**vars(whole), **names, unusable=unusable, fingerprint="f")
        clips = ClipSplit({}, torch.zeros(6, dtype=torch.int64), {}, cache, image_size=8)
        data = dataset(crema_d.INFO, clips, parts, "official")
        assert data.note == note
    assert dataset(crema_d.INFO, clips, parts, "stand_in").note == NOTE
