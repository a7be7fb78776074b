"""Generated files in the exact form of a benchmark's source: every step except the download runs anywhere.

The names, folders and split files are the source's. Sound and picture are a noisy tone and a noisy color that
tell the class; images with captions are shapes or birds that the sentences describe. Results on them say
nothing about the benchmark.
"""

from __future__ import annotations

import colorsys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..avmnist import prepare as prepare_avmnist
from ..coco import prepare as prepare_coco
from ..crema_d import prepare as prepare_crema_d
from ..cubicc import prepare as prepare_cubicc
from ..fetch import AnyPath, data_root, load_arrays
from ..flickr30k import prepare as prepare_flickr30k
from ..kinetics_sounds import prepare as prepare_kinetics_sounds
from ..xrf55 import prepare as prepare_xrf55
from .avmnist import write_avmnist
from .captioned import write_coco, write_flickr30k
from .cubicc import write_cubicc
from .xrf55 import write_xrf55

NOTE = "Generated stand-ins in the form of the source: the numbers mean nothing."
VERSION = 2  # counts changes of the files
WIDTH, HEIGHT, RATE = 64, 48, 8  # pixels, pixels, frames per second
FRAME_SIZE = 48  # pixels, of a stored frame
IMAGE_SIZE = 32  # pixels, of a stored image with captions

SPEAKERS, SENTENCES = 10, ("IEO", "TIE", "DFA")
CLASSES, TRAIN_CLIPS, TEST_CLIPS = 31, 4, 1  # of Kinetics-Sounds; clips per class


def prepare(name: str, root: AnyPath | None = None, *, progress: bool = False, **options: Any) -> Any:
    """Write a data set's stand-ins below the data folder if they are missing; return its cache or arrays.

    The same script prepares them as the official files, in ``stand_ins/``. ``options`` of that
    script replace the small sizes in ``OPTIONS``.
    """
    home = data_root(root) / "stand_ins"
    mirror = home / f"source-v{VERSION}"
    if not (mirror / name).is_dir():
        mirror.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=mirror, prefix=".writing-") as scratch:
            WRITERS[name](Path(scratch))
            with suppress(OSError):  # another process was faster and wrote the same files
                (Path(scratch) / name).rename(mirror / name)
    options = OPTIONS.get(name, {}) | options
    prepared = PREPARE[name](home, mirror, published=False, progress=progress, **options)
    return load_arrays(prepared) if isinstance(prepared, Path) else prepared


def write_crema_d(folder: Path, seed: int = 0) -> None:
    """Write 180 clips of 1.3 to 2.2 s: ``crema_d/`` with train.csv, test.csv, AudioWAV and VideoFlash."""
    import soundfile

    from ..crema_d import EMOTIONS, SOUNDS, VIDEOS

    rng = np.random.default_rng([seed, 0])
    home = Path(folder) / "crema_d"
    rows = []
    for speaker in range(1001, 1001 + SPEAKERS):
        for sentence in SENTENCES:
            for label, emotion in enumerate(EMOTIONS):
                name = f"{speaker}_{sentence}_{emotion}_XX"
                sound, video = home / SOUNDS / f"{name}.wav", home / VIDEOS / f"{name}.flv"
                sound.parent.mkdir(parents=True, exist_ok=True)
                video.parent.mkdir(parents=True, exist_ok=True)
                seconds = rng.uniform(1.3, 2.2)
                soundfile.write(sound, _tone(label, 6, seconds, 16000, rng), 16000, subtype="PCM_16")
                _write_video(video, "flv", "flv", _pictures(label, 6, seconds, rng))
                rows.append(f"{name},{emotion}")
    order = rng.permutation(len(rows))
    test = len(rows) // 6
    for name, part in (("test", order[:test]), ("train", order[test:])):
        (home / f"{name}.csv").write_bytes("".join(f"{rows[i]}\r\n" for i in part).encode())


def write_kinetics_sounds(folder: Path, seed: int = 0) -> None:
    """Write 155 clips of 2 s in 31 classes: ``kinetics_sounds/`` with lists, annotations, clips/*/*.mp4."""
    rng = np.random.default_rng([seed, 1])
    home = Path(folder) / "kinetics_sounds"
    (home / "annotations").mkdir(parents=True)
    for part, kinetics, count in (("train", "train", TRAIN_CLIPS), ("test", "test", TEST_CLIPS)):
        (home / "clips" / kinetics).mkdir(parents=True)
        rows, notes = [], ["label,youtube_id,time_start,time_end,split"]
        for i in range(count):
            for label in range(CLASSES):
                video, start = f"{part[:2]}_stand{label:02d}{i}", int(rng.integers(0, 200))
                _write_video(
                    home / "clips" / kinetics / f"{video}_{start:06d}_{start + 10:06d}.mp4",
                    "mp4",
                    "mpeg4",
                    _pictures(label, CLASSES, 2, rng),
                    _tone(label, CLASSES, 2, 16000, rng),
                )
                clip = f"{video}_{start}" if part == "test" else f"{video}_{start:06d}_{start + 10:06d}"
                rows.append(f"{clip},10,{label}")
                notes.append(f"stand-in {label},{video},{start},{start + 10},{kinetics}")
        (home / f"my_{part}.txt").write_bytes("".join(row + "\r\n" for row in rows).encode())
        (home / "annotations" / f"{kinetics}.csv").write_text("\n".join(notes) + "\n")


def _tone(label: int, classes: int, seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n,) float32 in [-1, 1]: a noisy tone between 200 Hz and 3 kHz that rises with the class."""
    time = np.arange(int(seconds * rate)) / rate
    pitch = 200 * 15 ** (label / (classes - 1)) * rng.uniform(0.98, 1.02)
    tone = 0.3 * np.sin(2 * np.pi * pitch * time + rng.uniform(0, 2 * np.pi))
    return (tone + 0.05 * rng.standard_normal(len(time))).clip(-1, 1).astype(np.float32)


def _pictures(label: int, classes: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return (T, H, W, 3) uint8: a noisy plane of the class's color, unchanged by crops and flips."""
    color = 255 * np.array(colorsys.hsv_to_rgb(label / classes, 0.7, 0.8))
    shape = (max(1, int(seconds * RATE)), HEIGHT, WIDTH, 3)
    return (color + 25 * rng.standard_normal(shape)).clip(0, 255).astype(np.uint8)


def _write_video(
    path: Path, form: str, codec: str, pictures: np.ndarray, sound: np.ndarray | None = None
) -> None:
    """Encode pictures (T, H, W, 3), and mono float32 sound at 16 kHz if given."""
    import av

    with av.open(str(path), "w", format=form) as container:
        picture = container.add_stream(codec, rate=RATE)
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = (
            None
            if sound is None
            else container.add_stream("aac", rate=16000, layout="mono", options={"aac_coder": "fast"})
        )
        for values in pictures:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(picture.encode())
        if track is not None:
            for start in range(0, len(sound), 1024):
                piece = av.AudioFrame.from_ndarray(
                    sound[None, start : start + 1024], format="fltp", layout="mono"
                )
                piece.sample_rate, piece.pts = 16000, start
                container.mux(track.encode(piece))
            container.mux(track.encode())


WRITERS = {
    "crema_d": write_crema_d,
    "kinetics_sounds": write_kinetics_sounds,
    "flickr30k": write_flickr30k,
    "coco": write_coco,
    "avmnist": write_avmnist,
    "cubicc": write_cubicc,
    "xrf55": write_xrf55,
}
PREPARE = {
    "crema_d": prepare_crema_d,
    "kinetics_sounds": prepare_kinetics_sounds,
    "flickr30k": prepare_flickr30k,
    "coco": prepare_coco,
    "avmnist": prepare_avmnist,
    "cubicc": prepare_cubicc,
    "xrf55": prepare_xrf55,
}
OPTIONS = {  # the small sizes of stand-ins
    "crema_d": {"frame_size": FRAME_SIZE},
    "kinetics_sounds": {"frame_size": FRAME_SIZE},
    "flickr30k": {"image_size": IMAGE_SIZE},
    "coco": {"image_size": IMAGE_SIZE},
}
