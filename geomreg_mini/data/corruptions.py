"""Corruptions of one modality of a test sample: the kinds and levels of the paper's Figures 9 to 12.

A corruption changes one sample of one modality. Its random numbers come from a generator seeded by the
sample's position in its split. So no result depends on the batch size, and every model gets the same ones.

We have seen the figures of the paper (arXiv 2601.21670v1), but not their code. This project's reading:
- A missing modality is left out of the fusion. For a concatenation this is the paper's placeholder: zeros in
  place of the modality's features.
- A segment of XRF55 is a whole recording, so "segments missing" with p = 1 leaves the modality out. The
  figures' values for it lie within 1.3 points of the rows of Table 3 without that modality.
- Masked, dropped or cut parts of an input become 0.
- Dropout and Gaussian noise act on the features: embeddings (D,), or tokens (T, D) on XRF55.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_SEED = 260_121_670  # far from the small numbers that seed data sets, so that no noise equals theirs


@dataclass(frozen=True)
class Spectrogram:
    """An input (1, frequencies, times) that is (log(magnitude + floor) - mean) / std."""

    floor: float
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Picture:
    """An input (channels, height, width)."""


@dataclass(frozen=True)
class Clip(Picture):
    """An input (channels, frames, height, width), or (channels, height, width) if there is one frame."""

    frames: int


Form = Spectrogram | Picture


def sound_noise(x: Tensor, decibels: float, generator: torch.Generator, form: Spectrogram) -> Tensor:
    """Return the spectrogram with white noise whose power is ``decibels`` below the sound's.

    The waveform is not stored. But white noise on it is complex Gaussian in each bin of the spectrogram, and
    the magnitude of its sum with the sound's value does not depend on the sound's phase, which is unknown. So
    each bin has the distribution that noise on the waveform gives it. Two effects are neglected: neighboring
    bins' noise is independent here, and bins that are averages of others (digits) count as one. Powers are
    means over the whole spectrogram, padding included.
    """
    magnitude = ((x * form.std + form.mean).exp() - form.floor).clamp(min=0.0)
    scale = (magnitude.square().mean() * 10 ** (-decibels / 10) / 2).sqrt()
    real, imaginary = scale * torch.randn((2, *x.shape), generator=generator).to(x)
    noisy = torch.hypot(magnitude + real, imaginary)
    return x + ((noisy + form.floor) / (magnitude + form.floor)).log() / form.std


def spec_augment(x: Tensor, share: float, generator: torch.Generator, form: Spectrogram) -> Tensor:
    """Return the spectrogram with a band of frequencies and a stretch of time at 0, ``share`` of each axis.

    SpecAugment (arXiv 1904.08779) does this to standardized inputs, whose mean is 0. CREMA-D's log magnitudes
    are not standardized, so there 0 is loud: a magnitude of 1.
    """
    x = x.clone()
    for axis in (1, 2):
        start, length = _stretch(x.shape[axis], share, generator)
        x.narrow(axis, start, length).zero_()
    return x


def frame_drop(x: Tensor, share: float, generator: torch.Generator, form: Clip) -> Tensor:
    """Return the clip with round(share * frames) of its frames set to 0.

    A half is rounded to even: of one frame, 50 % is none and 75 % is all. This agrees with Figure 9: on
    CREMA-D, 50 % has the accuracy of clean clips, and 75 % nearly that of a missing modality.
    """
    frames = x.clone().unflatten(0, (len(x), 1)) if form.frames == 1 else x.clone()
    frames[:, torch.randperm(form.frames, generator=generator)[: round(share * form.frames)]] = 0.0
    return frames.view_as(x)


def cutout(x: Tensor, share: float, generator: torch.Generator, form: Picture) -> Tensor:
    """Return the picture, or each frame of the clip, with a box of ``share`` of its area set to 0.

    The box has the picture's aspect and lies inside it (Cutout, arXiv 1708.04552, lets it reach beyond).
    """
    x = x.clone()
    (top, height), (left, width) = (_stretch(side, share**0.5, generator) for side in x.shape[-2:])
    x[..., top : top + height, left : left + width] = 0.0
    return x


def _stretch(length: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    """Return start and length of a random stretch of round(share * length) places."""
    wanted = round(share * length)
    return int(torch.randint(length - wanted + 1, (), generator=generator)), wanted


def feature_dropout(z: Tensor, share: float, generator: torch.Generator, std: float) -> Tensor:
    """Return the features with round(share * count) of them set to 0; the others are not scaled."""
    dropped = torch.randperm(z.numel(), generator=generator)[: round(share * z.numel())]
    return z.flatten().index_fill(0, dropped.to(z.device), 0.0).view_as(z)


def feature_noise(z: Tensor, sigma: float, generator: torch.Generator, std: float) -> Tensor:
    """Return the features plus Gaussian noise of ``sigma`` times ``std``, the modality's deviation."""
    return z + sigma * std * torch.randn(z.shape, generator=generator).to(z)


def missing(count: int, p: float) -> Tensor:
    """Return which of ``count`` samples lack the modality, boolean (count,), each with probability ``p``."""
    return torch.tensor([torch.rand((), generator=_generator(i)) < p for i in range(count)])


@dataclass(frozen=True)
class Kind:
    """One kind of corruption.

    Attributes:
        levels: the levels of the paper.
        form: the type of the inputs of ``change``; None if it changes features, so fits every modality.
        change: (sample, level, generator, form or standard deviation of the features) -> sample; None if the
            modality is ``missing``.
        least, most: bounds of a level.
    """

    levels: tuple[float, ...]
    form: type | None = None
    change: Callable[..., Tensor] | None = None
    least: float = 0.0
    most: float = 1.0

    def fits(self, form: Form | None) -> bool:
        """Return whether it can change a modality with inputs of this form."""
        return self.form is None or isinstance(form, self.form)


KINDS = {
    "features_missing": Kind((0.5, 0.8, 1.0)),
    "segments_missing": Kind((1.0,)),
    "snr": Kind((20.0, 10.0, 0.0), Spectrogram, sound_noise, -math.inf, math.inf),
    "spec_augment": Kind((0.1, 0.3), Spectrogram, spec_augment),
    "frame_drop": Kind((0.5, 0.75), Clip, frame_drop),
    "cutout": Kind((0.1, 0.3, 0.5), Picture, cutout),
    "feature_dropout": Kind((0.25, 0.5, 0.75), None, feature_dropout),
    "feature_noise": Kind((0.25, 0.5, 1.0), None, feature_noise, most=math.inf),
}
FIGURE_9 = ("features_missing", "snr", "spec_augment", "frame_drop", "cutout")
FIGURES_10_TO_12 = ("feature_dropout", "feature_noise", "segments_missing")


def levels_by_kind(
    kinds: Iterable[str] | Mapping[str, Sequence[float]] | None,
    forms: Mapping[str, Form],
    modalities: Sequence[str],
) -> dict[str, tuple[float, ...]]:
    """Return kind -> levels: all that fit if ``kinds`` is None, and the paper's levels of kinds by name.

    Raises:
        ValueError: if a kind is unknown or fits no modality, or a level is out of its bounds.
    """
    known = [kind for kind, of in KINDS.items() if any(of.fits(forms.get(m)) for m in modalities)]
    chosen = {}
    for kind in known if kinds is None else kinds:
        if kind not in known:
            options = f"for {', '.join(modalities)}: choose among {', '.join(known)}"
            raise ValueError(f"corruption {kind!r} does not exist {options}.")
        of = KINDS[kind]
        chosen[kind] = tuple(kinds[kind]) if isinstance(kinds, Mapping) else of.levels
        if bad := [level for level in chosen[kind] if not of.least <= level <= of.most]:
            raise ValueError(f"{kind} takes levels from {of.least:g} to {of.most:g}, got {bad[0]!r}.")
    return chosen


def corrupted(kind: str, level: float, x: Tensor, positions: Tensor, about: Form | float) -> Tensor:
    """Return samples (B, ...), each disturbed; they stand at ``positions`` (B,) of their split.

    about: the form of an input, or the standard deviation of the modality's features.
    """
    change, pairs = KINDS[kind].change, zip(x, positions.tolist(), strict=True)
    return torch.stack([change(sample, level, _generator(i), about) for sample, i in pairs])


def _generator(position: int) -> torch.Generator:
    return torch.Generator().manual_seed(FIRST_SEED + position)
