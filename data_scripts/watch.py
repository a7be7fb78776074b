"""Prepare the watch: accelerometer and gyroscope at the wrist of ten people who do seven shoulder exercises.

The data come out of the wheel of the package seglearn 1.2.5, which is read as an archive and never installed.
It holds a pickle; :func:`read_pickle` reads it without executing anything.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

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
    read_zip,
    save_arrays,
    with_fingerprint,
)

INFO = DatasetInfo(
    name="watch",
    size="11 MB download, 17 MB prepared (seconds)",
    licence="BSD-3-Clause",
    source="the package seglearn 1.2.5; Burns et al. 2018, arXiv 1802.01489",
    prepared="watch/prepared-v1.npz",
)
WHEEL = Source("seglearn==1.2.5", "watch/seglearn-1.2.5-py3-none-any.whl")
FILES_SHA256 = "5873e1c111f24bd53551e9f0ce8cbfc413b8733c7b3e4e0fec8ca13f0f2a49ec"
LICENCE = "LICENCE.txt"  # next to the prepared file, from the wheel
NOTICE = (
    "watch: recordings by David M. Burns and others, BSD-3-Clause, from the PyPI package seglearn==1.2.5; "
    "changed: the slow part of the accelerometer is separated from the fast part."
)
RATE = 50  # Hz
CUTOFF = 0.3  # Hz, of a third-order Butterworth filter: slower than that is gravity, which tells the posture
WINDOW, STEP = 128, 64  # samples: 2.56 s every 1.28 s
DECIMALS = 4  # far below the sensors' noise; so every machine stores the same numbers
SIGNALS = ("posture", "acceleration", "rotation")


class _DType:
    """What a pickle says of an array's numbers, and nothing of numpy's."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", "|"):
            raise pickle.UnpicklingError(f"the byte order {state[1]!r}")


class _Array:
    """What a pickle says of an array: shape, kind of numbers, and bytes."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, _DType):
            raise pickle.UnpicklingError("an array of an unknown kind")
        if dtype.name == "O8" and shape == () and isinstance(content, list):
            (self.values,) = content  # the wrapping of any object that numpy saves
        elif dtype.name in ("f8", "i8") and isinstance(content, bytes):
            values = np.frombuffer(content, f"<{dtype.name}")
            self.values = values.reshape(shape, order="F" if fortran else "C")
        else:
            raise pickle.UnpicklingError("an array of other things than numbers")


class _Reader(pickle.Unpickler):
    """A reader of pickles that knows arrays of numbers, and puts harmless stand-ins in the place of numpy."""

    STAND_INS = {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_pickle(name: str, content: bytes) -> Any:
    """Return the object in a ``.npy`` file that holds a pickle of containers, texts and arrays of numbers.

    Nothing that the pickle names is imported or called. Raise :class:`DataError` if it names anything else
    than arrays of numbers, or is damaged.
    """
    try:
        file = io.BytesIO(content)
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return _plain(_Reader(file).load())
    except Exception as error:  # damage makes the unpickler fail in ways without end
        raise DataError(
            f"The file {name} is damaged or holds other things than arrays ({error}); do not use this copy, "
            "get it again from its official source.",
            f"the file {name} is not safe to read",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return _plain(value.values)
    if isinstance(value, dict):
        return {_plain(key): _plain(of) for key, of in value.items()}
    return [_plain(of) for of in value] if isinstance(value, list) else value


def windows(recording: np.ndarray) -> dict[str, np.ndarray]:
    """Return the windows of one recording, signal -> (windows, 3, 128) float32.

    ``recording`` is (T, 6) float: acceleration in x, y, z, then rotation. ``posture`` is the slow part of the
    accelerometer, which is mostly gravity, and ``acceleration`` the fast part: two views of one sensor, that
    add up to what it measured. ``rotation`` is the gyroscope. The filter runs over the whole recording,
    forward and backward.
    """
    from scipy.signal import butter, sosfiltfilt

    posture = sosfiltfilt(butter(3, CUTOFF, fs=RATE, output="sos"), recording[:, :3], axis=0)
    signals = {"posture": posture, "acceleration": recording[:, :3] - posture, "rotation": recording[:, 3:]}
    cut = {
        signal: np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=0)[::STEP]
        for signal, values in signals.items()
    }
    return {signal: np.round(values, DECIMALS).astype(np.float32) for signal, values in cut.items()}


def prepare(root: AnyPath | None = None, mirror: AnyPath | None = None, *, progress: bool = True) -> Path:
    """Fetch, verify and store the arrays; return the prepared file. Arguments as in :mod:`.digits`.

    Arrays, for N = 3,605 windows: each of ``SIGNALS`` (N, 3, 128) float32; ``labels``, ``people`` (from 0)
    and ``sides`` (0 left, 1 right) of the body, (N,) uint8; ``recordings`` (N,) uint8, from 0;
    ``class_names`` (7,), as the authors abbreviate the exercises; ``licences`` (1,); ``fingerprint``.
    """
    path = data_root(root) / INFO.prepared
    with atomic_file(path) as handle:
        with fetched(WHEEL, mirror, progress=progress) as wheel:
            files = read_zip(wheel, lambda name: name.endswith(("/watch_dataset.npy", ".dist-info/LICENSE")))
        check_digest("the recordings", content_sha256(files), FILES_SHA256)
        data = read_pickle("watch_dataset.npy", files["watch_dataset.npy"])
        cut = [windows(recording) for recording in data["X"]]
        counts = [len(own["posture"]) for own in cut]
        of = {"labels": data["y"], "people": data["subject"] - 1, "sides": data["side"]}
        arrays = {signal: np.concatenate([own[signal] for own in cut]) for signal in SIGNALS}
        arrays |= {name: np.repeat(values, counts).astype(np.uint8) for name, values in of.items()}
        arrays["recordings"] = np.repeat(np.arange(len(cut)), counts).astype(np.uint8)
        arrays |= {"class_names": np.array(data["y_labels"]), "licences": np.array([NOTICE])}
        save_arrays(handle, with_fingerprint(arrays))
        with atomic_file(path.with_name(LICENCE)) as licence:
            licence.write(f"{NOTICE}\n\n".encode() + files["LICENSE"])
    return path
