"""From a clip's files to arrays: a log spectrogram of its sound and one frame a second of its picture.

The steps are those of the published code for CREMA-D and Kinetics-Sounds (librosa and OpenCV there; soxr
and PyAV here, which need no system ffmpeg). A clip that cannot be used raises :class:`ClipError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

FLOOR = 1e-7  # added to magnitudes before their logarithm
# A damaged or malicious file must not take all of the memory. Clips last ten seconds.
LONGEST, PIXELS = 600, 2**25  # seconds; of a frame
# Nothing else is opened, whatever the name says: playlists make FFmpeg read other files and addresses.
CONTAINERS = {"format_whitelist": "flv,mov,mp4,avi,matroska,webm"}


class ClipError(Exception):
    """Why one clip cannot be used, in a few words."""


@dataclass(frozen=True)
class Preprocessing:
    """What decides the arrays of a clip.

    Attributes:
        sample_rate: of the sound, in Hz, after resampling.
        seconds: length of the sound; a shorter one is repeated, a longer one is cut.
        window, hop: of the short-time Fourier transform, in samples.
        frames: how many of the frames at 1 per second are kept at most, evenly spread.
        frame_size: height and width S of a kept frame, in pixels. Frames are squeezed to a square, because
            arrays are; their true proportions are stored beside them.
    """

    sample_rate: int
    seconds: float
    window: int
    hop: int
    frames: int
    frame_size: int = 256

    @property
    def spectrogram_shape(self) -> tuple[int, int]:
        """Frequencies by times."""
        return self.window // 2 + 1, int(self.sample_rate * self.seconds) // self.hop + 1


def spectrogram(samples: np.ndarray, p: Preprocessing) -> np.ndarray:
    """Log-magnitude short-time Fourier transform: (n,) float32 -> ``p.spectrogram_shape`` float32.

    Repeated or cut to ``p.seconds``, clipped to [-1, 1], a periodic Hann window centered on every
    ``p.hop``-th sample with zeros beyond the ends, then log(magnitude + FLOOR). This is librosa's transform;
    its releases before 0.10 mirrored the sound at its ends, which changes the outermost columns only.
    """
    length = int(p.sample_rate * p.seconds)
    samples = np.tile(samples, math.ceil(length / len(samples)))[:length].clip(-1, 1)
    padded = np.pad(samples.astype(np.float32), p.window // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(p.window) / p.window)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, p.window)[:: p.hop]
    # float64 up to the transform, as librosa: where the recording has nothing, above its own bandwidth, a
    # logarithm shows the rounding of a less precise one
    magnitude = np.abs(np.fft.rfft(pieces * window, axis=1).astype(np.complex64)).T
    return np.log(magnitude + np.float32(FLOOR))


def read_wav(path: Path, p: Preprocessing) -> np.ndarray:
    """The sound of a WAV file as mono float32 samples at ``p.sample_rate``."""
    import soundfile
    import soxr

    check_whole(path)
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:  # damage makes decoders fail in ways without end
        raise ClipError(f"{path.name} cannot be decoded") from error
    if not len(samples):
        raise ClipError(f"{path.name} has no sound in it")
    if not 4000 <= rate <= 400_000 or len(samples) > LONGEST * rate:
        raise ClipError(f"{path.name} has {len(samples)} samples at {rate} Hz, which is no clip")
    if not np.isfinite(samples).all():
        raise ClipError(f"{path.name} has samples that are no numbers")
    samples = samples.mean(axis=1)
    if rate == p.sample_rate:
        return samples
    wanted = math.ceil(len(samples) * p.sample_rate / rate)
    resampled = soxr.resample(samples, rate, p.sample_rate, quality="HQ")[:wanted]
    return np.pad(resampled, (0, wanted - len(resampled)))


def read_sound_track(path: Path, p: Preprocessing) -> np.ndarray:
    """The sound of a video file as mono float32 samples at ``p.sample_rate``, through 16-bit as published."""
    import av

    check_whole(path)
    try:
        with av.open(str(path), options=CONTAINERS) as container:
            if not container.streams.audio:
                raise ClipError(f"{path.name} has no sound track")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=p.sample_rate)
            parts, count = [], 0
            for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None: what is left
                for piece in resampler.resample(frame):
                    parts.append(piece.to_ndarray()[0])
                    count += len(parts[-1])
                if count > LONGEST * p.sample_rate:
                    raise ClipError(f"{path.name} is longer than {LONGEST} s")
    except ClipError:
        raise
    except Exception as error:
        raise ClipError(f"{path.name} cannot be decoded") from error
    samples = np.concatenate(parts or [np.empty(0, np.int16)])
    if not len(samples):
        raise ClipError(f"{path.name} has no sound in it")
    return samples.astype(np.float32) / 32768


def read_frames(path: Path, p: Preprocessing) -> tuple[np.ndarray, float]:
    """The frames at 0, 1, 2, ... seconds and their width divided by their height.

    Returns at most ``p.frames`` of them, evenly spread, as (K, S, S, 3) uint8 with S = ``p.frame_size``.
    """
    import av

    check_whole(path)
    kept, aspect, start = [], 1.0, None
    try:
        with av.open(str(path), options=CONTAINERS) as container:
            if not container.streams.video:
                raise ClipError(f"{path.name} has no picture")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # clips are decoded side by side already
            stream.codec_context.options = {"max_pixels": str(PIXELS)}
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            for number, frame in enumerate(container.decode(stream)):
                time = number / rate if frame.time is None else frame.time
                start = time if start is None else start
                if time - start >= len(kept) - 0.01:  # time stamps are rounded to milliseconds
                    aspect = frame.width / frame.height
                    kept.append(
                        frame.to_ndarray(
                            format="rgb24", width=p.frame_size, height=p.frame_size, interpolation="BILINEAR"
                        )
                    )
                    if len(kept) > LONGEST:
                        raise ClipError(f"{path.name} is longer than {LONGEST} s")
    except ClipError:
        raise
    except Exception as error:
        raise ClipError(f"{path.name} cannot be decoded") from error
    if not kept:
        raise ClipError(f"{path.name} has no picture in it")
    spread = np.linspace(0, len(kept) - 1, min(p.frames, len(kept))).round().astype(int)
    return np.stack([kept[i] for i in spread]), aspect


def check_whole(path: Path) -> None:
    """Raise :class:`ClipError` where a WAV, FLV or MP4 file is absent, empty or ends before its own plan.

    Decoders play such a file up to where it breaks off and say nothing. Only a piece that runs beyond the end
    of the file counts; unknown pieces and what may follow the last one do not.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(12)
            if not head:
                raise ClipError(f"{path.name} is empty")
            if head.startswith(b"version http"):
                raise ClipError(f"{path.name} is a Git LFS pointer, which `git lfs pull` turns into the file")
            pieces = (
                _wav_pieces if head[:4] == b"RIFF" else _flv_pieces if head[:3] == b"FLV" else
                _mp4_pieces if head[4:8] == b"ftyp" else None
            )  # fmt: skip
            if pieces is not None and any(end > size for end in pieces(file)):
                raise ClipError(f"{path.name} is cut short")
    except FileNotFoundError:
        raise ClipError(f"{path.name} is missing") from None
    except OSError as error:
        raise ClipError(f"{path.name} cannot be read ({error.strerror})") from error


def _wav_pieces(file):
    """Where each chunk of a RIFF file ends, by its own account."""
    at = 12
    while len(head := _at(file, at, 8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if length == 0xFFFFFFFF:  # written by a program that did not know yet
            return
        yield at + 8 + length
        at += 8 + length + length % 2


def _flv_pieces(file):
    """Where each tag of an FLV file ends, by its own account."""
    at = int.from_bytes(_at(file, 5, 4), "big") + 4
    while len(head := _at(file, at, 11)) == 11 and head[0] in (8, 9, 18):  # sound, picture, description
        at += 11 + int.from_bytes(head[1:4], "big")
        yield at
        at += 4


def _mp4_pieces(file):
    """Where each top-level box of an MP4 file ends, by its own account."""
    at = 0
    while len(head := _at(file, at, 16)) >= 8:
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end of the file
            return
        at += length
        yield at


def _at(file, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
