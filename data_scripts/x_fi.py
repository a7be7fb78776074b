"""Prepare X-Fi's encoders of XRF55: three ResNet-18 that were trained on radar, WiFi and RFID each.

Their files in X-Fi's folder on Google Drive are pickled modules. They are read without running their code
(:mod:`.weights`). Only the layers that each network's own ``forward`` runs are kept, in its order: not the
head, and of WiFi not ``conv2``, ``conv3`` and ``conv4``, which that ``forward`` leaves out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import drive
from .fetch import (
    AnyPath,
    DataError,
    DatasetInfo,
    atomic_file,
    data_root,
    expanded,
    load_arrays,
    named_folder,
    own_folder,
    save_arrays,
    with_fingerprint,
)
from .weights import put_into, read_weights

if TYPE_CHECKING:
    from torch.nn import Module

FOLDER = "1ShcQqUd5RnqsTBZ3yM97hrooa7p06O2g"  # of Google Drive, as X-Fi's README names it
INFO = DatasetInfo(
    name="x_fi",
    size="not published; the three files and 80 MB",
    licence="not stated with the weights; X-Fi's code is under Apache-2.0",
    source=f"encoders of X-Fi for XRF55 ({drive.FOLDER.format(FOLDER)})",
    prepared="x_fi/prepared-v1.npz",
)
FILES = {"mmWave": "mmwave_ResNet18.pt", "WiFi": "wifi_ResNet18.pt", "RFID": "rfid_ResNet18.pt"}
LAYOUTS = " and ".join(FILES.values())
RUN = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    folder: AnyPath | None = None,
    progress: bool = True,
) -> Path:
    """Fetch, verify and store the encoders' tensors as arrays "modality/name"; return the prepared file.

    Args:
        root, mirror: as in :mod:`.digits`.
        folder: a folder that has the three files, in it or below, read instead of a download.
    """
    path = data_root(root) / INFO.prepared
    place = own_folder(INFO.name, folder, mirror or named_folder("GEOMREG_MIRROR"), find, LAYOUTS)
    if place is None:
        place = {m: path.parent / "download" / name for m, name in FILES.items()}
        for m, (_, file) in _listed().items():
            drive.download(file, place[m], progress=progress)
    arrays = read(place)
    with atomic_file(path) as handle:
        save_arrays(handle, with_fingerprint(arrays))
    shutil.rmtree(path.parent / "download", ignore_errors=True)
    return path


def find(folder: Path) -> tuple[str, dict[str, Path]] | None:
    """Return words for the three files in a folder or below, and modality -> file; None if one is missing."""
    there = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.pt"))]
    found = {m: _only(name, there) for m, name in FILES.items()}
    if None in found.values():
        return None
    return f"X-Fi's encoders {' and '.join(found.values())}", {m: folder / name for m, name in found.items()}


def check(mirror: AnyPath | None = None, *, folder: AnyPath | None = None) -> Iterator[str]:
    """Yield per modality which file ``prepare`` would read and from where; see :func:`.crema_d.check`."""
    place = own_folder(INFO.name, folder, mirror or named_folder("GEOMREG_MIRROR"), find, LAYOUTS)
    if place is not None:
        read(place)
    where = drive.FOLDER.format(FOLDER)
    found = place or {m: f"{name} in {where}" for m, (name, _) in _listed().items()}
    yield from (f"{m}: 1 of 1 encoders is {file}" for m, file in found.items())


def _listed() -> dict[str, tuple[str, str]]:
    """Return modality -> path and id of its file in X-Fi's folder on Google Drive."""
    files = drive.listing(FOLDER)
    found = {m: _only(name, files) for m, name in FILES.items()}
    if None in found.values():
        raise DataError(
            f"X-Fi's folder on Google Drive lacks one of {LAYOUTS}; name a folder that has them with --from.",
            "an encoder of X-Fi is missing",
        )
    return {m: (name, files[name]) for m, name in found.items()}


def read(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Return the tensors of each modality's file as arrays "modality/name"."""
    arrays = {}
    for modality, file in files.items():
        tensors = read_weights(file).tensors
        kept = {k: v.numpy() for k, v in tensors.items() if k.partition(".")[0] in RUN}
        if not kept or not all(np.isfinite(value).all() for value in kept.values()):
            raise DataError(
                f"{file} does not hold an encoder of X-Fi, or holds NaN; get it again.",
                f"{file.name} is not an encoder of X-Fi",
            )
        arrays |= {f"{modality}/{key}": value for key, value in kept.items()}
    return arrays


def _only(name: str, places: Iterable[str]) -> str | None:
    """Return the path of the file ``name`` among ``places``, that of XRF55 if there are several."""
    found = [place for place in places if Path(place).name == name]
    return next((place for place in found if "XRF55" in place), found[0] if found else None)


def load_into(backbone: Module, modality: str, folder: AnyPath | None = None) -> None:
    """Replace the weights of a ResNet-18 by those of X-Fi's encoder, in the order of both.

    Args:
        backbone: convolution, normalization and four stages, in the order of X-Fi's networks.
        modality: a name in ``FILES``.
        folder: of the three files; by default what ``prepare`` stored.

    Raises:
        DataError: if the encoders are not prepared, or the network has other layers.
    """
    import torch

    path = data_root() / INFO.prepared if folder is None else expanded(folder).absolute()
    arrays = load_arrays(path) if folder is None else read(own_folder(INFO.name, path, None, find, LAYOUTS))
    if arrays is None:
        raise DataError(
            f"X-Fi's encoders are not prepared in {path.parent}; run `python -m data_scripts x_fi`.",
            "X-Fi's encoders are not prepared",
        )
    theirs = [torch.from_numpy(a) for n, a in arrays.items() if n.startswith(f"{modality}/")]
    names = list(backbone.state_dict())
    names += [f"tensor {i}" for i in range(len(names), len(theirs))]
    put_into(backbone, dict(zip(names, theirs, strict=False)), path, f"the encoder of {modality}")
