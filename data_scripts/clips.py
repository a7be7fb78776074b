"""Turn a clip's files into arrays: a log spectrogram of its sound and one frame per second of its picture.

The steps are those of the published code for CREMA-D and Kinetics-Sounds (librosa and OpenCV there; soxr
and PyAV here, which need no system ffmpeg). An unusable clip raises :class:`ClipError`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from .fetch import no_content, start_of

FLOOR = 1e-7  # added to magnitudes before their logarithm
# A damaged or malicious file must not use up the memory. Clips last ten seconds.
LONGEST, PIXELS, LARGEST = 600, 2**25, 2**26  # seconds; pixels of a frame; bytes of a picture's file
# Nothing else is opened, whatever its name: playlists make FFmpeg read other files and addresses.
CONTAINERS = {"format_whitelist": "flv,mov,mp4,avi,matroska,webm"}


class ClipError(Exception):
    """The reason why a clip cannot be used, in a few words."""


@dataclass(frozen=True)
class Preprocessing:
    """The settings that decide the arrays of a clip.

    Attributes:
        sample_rate: Hz of the sound after resampling.
        seconds: length of the sound; a shorter one is repeated, a longer one is cut.
        window, hop: samples per window, and between windows, of the short-time Fourier transform.
        frames: largest number of frames; of those at 1 per second, evenly spread ones are kept.
        frame_size: height and width S of a kept frame, in pixels. Frames are squeezed to a square to fit in
            one array; their true proportions are stored next to them.
    """

    sample_rate: int
    seconds: float
    window: int
    hop: int
    frames: int
    frame_size: int = 256

    @property
    def spectrogram_shape(self) -> tuple[int, int]:
        """Number of frequencies and of times."""
        return self.window // 2 + 1, int(self.sample_rate * self.seconds) // self.hop + 1


def spectrogram(samples: np.ndarray, p: Preprocessing) -> np.ndarray:
    """Return the log-magnitude short-time Fourier transform: (n,) float32 -> ``p.spectrogram_shape`` float32.

    The sound is repeated or cut to ``p.seconds`` and clipped to [-1, 1]. A periodic Hann window is centered
    on every ``p.hop``-th sample, with zeros beyond the ends; the result is log(magnitude + FLOOR). This is
    librosa's transform; before 0.10 it mirrored the sound at its ends, which changes the outer columns only.
    """
    length = int(p.sample_rate * p.seconds)
    samples = np.tile(samples, math.ceil(length / len(samples)))[:length].clip(-1, 1)
    padded = np.pad(samples.astype(np.float32), p.window // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(p.window) / p.window)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, p.window)[:: p.hop]
    # float64 up to the transform, as librosa: above the recording's own bandwidth the logarithm would
    # otherwise show rounding errors
    magnitude = np.abs(np.fft.rfft(pieces * window, axis=1).astype(np.complex64)).T
    return np.log(magnitude + np.float32(FLOOR))


def read_wav(path: Path, p: Preprocessing) -> np.ndarray:
    """Return the sound of a WAV file as mono float32 samples at ``p.sample_rate``."""
    import soundfile
    import soxr

    check_whole(path)
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:  # damage makes decoders fail in many ways
        raise ClipError(f"{path.name} cannot be decoded") from error
    if not len(samples):
        raise ClipError(f"{path.name} has no sound in it")
    if not 4000 <= rate <= 400_000 or len(samples) > LONGEST * rate:
        raise ClipError(f"{path.name} has {len(samples)} samples at {rate} Hz, unlike any clip")
    if not np.isfinite(samples).all():
        raise ClipError(f"{path.name} has samples that are not finite")
    samples = samples.mean(axis=1)
    if rate == p.sample_rate:
        return samples
    wanted = math.ceil(len(samples) * p.sample_rate / rate)
    resampled = soxr.resample(samples, rate, p.sample_rate, quality="HQ")[:wanted]
    return np.pad(resampled, (0, wanted - len(resampled)))


def read_sound_track(path: Path, p: Preprocessing) -> np.ndarray:
    """Return a video's sound as mono float32 samples at ``p.sample_rate``, through 16-bit as published."""
    import av

    check_whole(path)
    try:
        with av.open(str(path), options=CONTAINERS) as container:
            if not container.streams.audio:
                raise ClipError(f"{path.name} has no sound track")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=p.sample_rate)
            parts, count = [], 0
            for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None: flush
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


def read_sound(path: Path, p: Preprocessing) -> np.ndarray:
    """Return the sound of a WAV file, or of a video, as mono float32 samples at ``p.sample_rate``."""
    return read_wav(path, p) if path.suffix == ".wav" else read_sound_track(path, p)


def read_frames(path: Path, p: Preprocessing) -> tuple[np.ndarray, float]:
    """Return the first frame of each second, and the frames' width divided by their height.

    ``path`` is a video, or a folder of JPEG files with one frame per second, as others keep them. At most
    ``p.frames`` are kept, evenly spread, as (K, S, S, 3) uint8 with S = ``p.frame_size``. They are upright:
    turned by quarters as the file says (phones store sideways), like OpenCV's. After a gap of a second or
    more, seconds are counted from the next frame.
    """
    kept, aspect, start, due = [], 1.0, 0.0, 0
    try:
        for time, frame in _stills(path) if path.is_dir() else _video(path):
            since = time - start + 0.01  # seconds; time stamps are rounded to milliseconds
            if not kept or since >= due + 1:
                start, since, due = time, 0.01, 0
            if since >= due:
                due = math.floor(since) + 1
                pixels = frame.to_ndarray(
                    format="rgb24", width=p.frame_size, height=p.frame_size, interpolation="BILINEAR"
                )
                turns = frame.rotation // 90 if frame.rotation % 90 == 0 else 0  # counterclockwise
                kept.append(np.rot90(pixels, turns))
                aspect = (frame.width / frame.height) ** (-1 if turns % 2 else 1)
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


def _video(path: Path) -> Iterator[tuple[float, Any]]:
    """Yield the time in seconds and the frame (``av.VideoFrame``) of each frame of a video."""
    import av

    check_whole(path)
    with av.open(str(path), options=CONTAINERS) as container:
        if not container.streams.video:
            raise ClipError(f"{path.name} has no picture")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # several clips are decoded at once already
        stream.codec_context.options = {"max_pixels": str(PIXELS)}
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        for number, frame in enumerate(container.decode(stream)):
            yield number / rate if frame.time is None else frame.time, frame


def _stills(folder: Path) -> Iterator[tuple[float, Any]]:
    """Yield the second and the frame of each JPEG file of a folder, in the order of their last numbers."""
    import av

    files = [path for path in folder.iterdir() if path.suffix == ".jpg" and re.search(r"\d", path.stem)]
    for second, path in enumerate(sorted(files, key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))):
        if path.stat().st_size > LARGEST:
            raise ClipError(f"{folder.name}/{path.name} has more bytes than a picture")
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.thread_count, decoder.options = 1, {"max_pixels": str(PIXELS)}
        for frame in decoder.decode(av.Packet(path.read_bytes())) + decoder.decode(None):
            yield second, frame


def check_content(path: Path) -> None:
    """Raise :class:`ClipError` if a file is missing or starts as no sound or picture does.

    Of a folder, the first JPEG file is looked at. See :func:`.fetch.no_content`.
    """
    try:
        first = path
        if path.is_dir():
            first = path / min(name for name in os.listdir(path) if name.endswith(".jpg"))
        what = no_content(start_of(first))
    except FileNotFoundError:
        what = "is missing"
    except ValueError:  # an empty folder has no first file
        what = "has no pictures"
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
    if what:
        raise ClipError(f"{path.name} {what}")


def check_whole(path: Path) -> None:
    """Raise :class:`ClipError` if a WAV, FLV or MP4 file is missing, empty or shorter than it states.

    Decoders play a truncated file to its end without an error. Only a piece that runs beyond the end of the
    file counts; unknown pieces, and bytes after the last piece, do not.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(12)
            if not head:
                raise ClipError(f"{path.name} is empty")
            if head.startswith(b"version http"):
                raise ClipError(f"{path.name} is a Git LFS pointer (run `git lfs pull`)")
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


def _wav_pieces(file: IO[bytes]) -> Iterator[int]:
    """Yield the stated end of each chunk of a RIFF file, in bytes."""
    at = 12
    while len(head := _at(file, at, 8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if length == 0xFFFFFFFF:  # not known yet when it was written
            return
        yield at + 8 + length
        at += 8 + length + length % 2


def _flv_pieces(file: IO[bytes]) -> Iterator[int]:
    """Yield the stated end of each tag of an FLV file, in bytes."""
    at = int.from_bytes(_at(file, 5, 4), "big") + 4
    while len(head := _at(file, at, 11)) == 11 and head[0] in (8, 9, 18):  # sound, picture, description
        at += 11 + int.from_bytes(head[1:4], "big")
        yield at
        at += 4


def _mp4_pieces(file: IO[bytes]) -> Iterator[int]:
    """Yield the stated end of each top-level box of an MP4 file, in bytes."""
    at = 0
    while len(head := _at(file, at, 16)) >= 8:
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end of the file
            return
        at += length
        yield at


def _at(file: IO[bytes], position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
