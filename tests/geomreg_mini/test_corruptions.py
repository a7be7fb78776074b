"""Corruptions whose strength can be measured in what comes out, each fixed by the sample's position."""

import math

import numpy as np
import pytest
import torch

from data_scripts import clips
from geomreg_mini.data.corruptions import (
    KINDS,
    Clip,
    Picture,
    Spectrogram,
    corrupted,
    levels_by_kind,
    missing,
)

SOUND = Spectrogram(floor=1e-2, mean=-1.5, std=2.0)
ONE = torch.zeros(1, dtype=torch.long)
SAMPLES = {  # kind -> a sample without zeros, and what the kind must know of it
    "snr": ((1, 40, 50), SOUND),
    "spec_augment": ((1, 40, 50), SOUND),
    "frame_drop": ((3, 8, 6, 6), Clip(8)),
    "cutout": ((3, 20, 30), Picture()),
    "feature_dropout": ((16, 32), 0.7),
    "feature_noise": ((16, 32), 0.7),
}


def samples(kind: str, count: int = 6):
    shape, about = SAMPLES[kind]
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) + 0.5
    return x, about


def disturbed(kind: str, level: float):
    x, about = samples(kind)
    return x, corrupted(kind, level, x, torch.arange(len(x)), about)


def test_every_kind_that_changes_a_sample_is_tested_here():
    assert set(SAMPLES) == {name for name, kind in KINDS.items() if kind.change is not None}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_level_of_nothing_changes_no_bit_and_the_papers_levels_do(kind):
    x, same = disturbed(kind, math.inf if kind == "snr" else 0.0)
    assert torch.equal(x, same)
    for level in KINDS[kind].levels:
        changed = disturbed(kind, level)[1]
        assert changed.shape == x.shape and torch.isfinite(changed).all()
        assert all(not torch.equal(a, b) for a, b in zip(x, changed, strict=True))
    assert torch.equal(x, samples(kind)[0]), "and what was given stays as it was"


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_sample_is_disturbed_by_its_position_alike_alone_and_in_a_batch_and_unlike_its_neighbors(kind):
    x, about = samples(kind)
    level, before = KINDS[kind].levels[-1], torch.get_rng_state()
    whole = corrupted(kind, level, x, torch.arange(6), about)
    alone = corrupted(kind, level, x[4:5], torch.tensor([4]), about)
    assert torch.equal(whole[4:5], alone)
    equal = corrupted(kind, level, x[:1].expand_as(x), torch.arange(6), about)
    assert not all(torch.equal(equal[0], other) for other in equal[1:])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("decibels", [20, 10, 0, -10])
def test_the_ratio_of_powers_measured_in_a_noisy_spectrogram_is_the_one_asked_for(decibels):
    x = 0.3 * torch.randn(1, 1, 300, 300, generator=torch.Generator().manual_seed(0))
    noisy = corrupted("snr", decibels, x, ONE, SOUND)

    def power(values):
        return ((values * SOUND.std + SOUND.mean).exp() - SOUND.floor).clamp(min=0).square().mean().item()

    measured = 10 * math.log10(power(x) / (power(noisy) - power(x)))
    assert measured == pytest.approx(decibels, abs=0.5)


def test_noise_in_a_spectrogram_is_distributed_as_noise_on_the_waveform():
    p = clips.Preprocessing(sample_rate=8000, seconds=3.0, window=256, hop=128, frames=1)
    rng, time = np.random.default_rng(0), np.arange(24000) / 8000
    sound = 0.2 * np.sin(2 * np.pi * (300 + 900 * time) * time)
    noise = rng.standard_normal(24000) * math.sqrt(np.mean(sound**2) / 10)  # 10 dB
    clean, wanted = (torch.from_numpy(clips.spectrogram(s, p)).double() for s in (sound, sound + noise))
    got = corrupted("snr", 10, clean[None, None], ONE, Spectrogram(clips.FLOOR))[0, 0]
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert got.quantile(share).item() == pytest.approx(wanted.quantile(share).item(), abs=0.08), share
    assert (got - wanted).mean(dim=1)[1:-1].abs().max() < 0.35, "at each frequency"
    assert (clean - wanted).abs().mean() > 2, "which the clean sound is far from"


def test_silence_gets_no_noise():
    silence = torch.full((1, 1, 4, 5), math.log(1e-2))
    assert torch.equal(corrupted("snr", 0, silence, ONE, Spectrogram(1e-2)), silence)


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_masks_take_one_stretch_of_the_share_of_times_and_of_frequencies(share):
    for sample in disturbed("spec_augment", share)[1]:
        empty = sample[0] == 0
        for axis, length in ((1, 40), (0, 50)):
            lines = empty.all(dim=axis).nonzero()[:, 0] if share < 1 else torch.arange(length)
            assert len(lines) == round(share * length)
            assert (lines.diff() == 1).all()
        assert empty.double().mean() == pytest.approx(1 - (1 - share) ** 2)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_a_box_of_the_share_of_the_area_is_cut_out_of_all_channels(share):
    for sample in disturbed("cutout", share)[1]:
        empty = sample == 0
        assert torch.equal(empty.all(dim=0), empty.any(dim=0))
        assert empty.double().mean() == pytest.approx(share, abs=0.03)
        rows, columns = (empty[0].any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        assert len(rows) * len(columns) == empty[0].sum(), "it is one box"
        assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (len(rows), len(columns))


def test_a_clips_frames_lose_the_same_box():
    x = torch.ones(1, 3, 4, 20, 30)
    empty = corrupted("cutout", 0.3, x, ONE, Clip(4))[0] == 0
    assert empty.any() and torch.equal(empty, empty[:1, :1].expand_as(empty))


@pytest.mark.parametrize(("frames", "half", "most"), [(1, 0, 1), (3, 2, 2), (4, 2, 3), (8, 4, 6)])
def test_frames_are_dropped_whole_and_a_single_one_not_at_a_half(frames, half, most):
    shape = (1, 3, 5, 5) if frames == 1 else (1, 3, frames, 5, 5)
    for share, count in ((0.5, half), (0.75, most)):
        dropped = corrupted("frame_drop", share, torch.ones(shape), ONE, Clip(frames))
        assert dropped.shape == shape
        of_each = dropped.view(3, frames, 25).mean(dim=(0, 2))
        assert sorted(of_each.tolist()) == [0.0] * count + [1.0] * (frames - count)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 1.0])
def test_dropout_zeroes_the_share_of_the_features_and_scales_no_other(ratio):
    x, dropped = disturbed("feature_dropout", ratio)
    assert (dropped == 0).flatten(1).double().mean(dim=1).tolist() == [ratio] * 6
    assert torch.equal(dropped[dropped != 0], x[dropped != 0])


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 4.0])
def test_gaussian_noise_has_sigma_times_the_given_deviation(sigma):
    x, noisy = disturbed("feature_noise", sigma)
    assert (noisy - x).std().item() == pytest.approx(sigma * 0.7, rel=0.05)
    assert abs((noisy - x).mean().item()) < 0.05 * sigma


def test_samples_are_missing_as_often_as_asked_and_those_of_a_lower_p_among_those_of_a_higher():
    lost = {p: missing(2000, p) for p in (0.0, 0.5, 0.8, 1.0)}
    assert not lost[0.0].any() and lost[1.0].all()
    for p in (0.5, 0.8):
        assert lost[p].double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / 2000) ** 0.5)
    assert lost[0.8][lost[0.5]].all()


def test_what_is_chosen_is_what_fits_and_the_rest_is_refused_by_name():
    forms = {"audio": SOUND, "image": Picture()}
    everything = levels_by_kind(None, forms, ("audio", "image"))
    assert set(everything) == set(KINDS) - {"frame_drop"}
    assert everything["snr"] == (20, 10, 0)
    assert levels_by_kind(("cutout",), forms, ("audio", "image")) == {"cutout": (0.1, 0.3, 0.5)}
    assert levels_by_kind({"cutout": [0.2]}, forms, ("audio", "image")) == {"cutout": (0.2,)}
    with pytest.raises(
        ValueError, match=r"^corruption 'frame_drop' does not exist for audio, image: choose"
    ) as e:
        levels_by_kind(("frame_drop",), forms, ("audio", "image"))
    assert all(kind in str(e.value) for kind in everything) and "\n" not in str(e.value)
    with pytest.raises(
        ValueError, match="corruption 'snr' does not exist for a, b: choose among features_miss"
    ):
        levels_by_kind(("snr",), {}, ("a", "b"))


@pytest.mark.parametrize(
    ("kind", "level", "said"),
    [
        ("cutout", 1.5, "cutout takes levels from 0 to 1, got 1.5"),
        ("features_missing", -0.1, "features_missing takes levels from 0 to 1, got -0.1"),
        ("feature_noise", -1, "feature_noise takes levels from 0 to inf, got -1"),
        ("snr", math.nan, "snr takes levels from -inf to inf, got nan"),
    ],
)
def test_a_level_out_of_its_bounds_is_refused(kind, level, said):
    with pytest.raises(ValueError, match=said):
        levels_by_kind({kind: [level]}, {"a": SOUND, "b": Picture()}, ("a", "b"))
