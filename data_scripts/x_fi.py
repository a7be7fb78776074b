"""Prepare X-Fi's encoders of XRF55: three ResNet-18 that were trained on radar, WiFi and RFID each.

Their files in X-Fi's folder on Google Drive are pickled modules. They are read without running their code
(:mod:`.weights`). Only the layers that each network's own ``forward`` runs are kept, in its order: not the
head, and of WiFi not ``conv2``, ``conv3`` and ``conv4``, which that ``forward`` leaves out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
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
    home = expanded(folder).absolute() if folder else None
    if home is None and (place := mirror or named_folder("GEOMREG_MIRROR")):
        home = expanded(place).absolute() / "x_fi"
        home = home if home.is_dir() or mirror else None
    if home is None:
        home = path.parent / "download"
        listed = drive.listing(FOLDER)
        for name in FILES.values():
            drive.download(listed[_only(name, listed, "X-Fi's folder")], home / name, progress=progress)
    arrays = read(home)
    with atomic_file(path) as handle:
        save_arrays(handle, with_fingerprint(arrays))
    shutil.rmtree(path.parent / "download", ignore_errors=True)
    return path


def read(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of the three files, in the folder or below it, as arrays "modality/name"."""
    there = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.pt"))}
    arrays = {}
    for modality, name in FILES.items():
        file = there[_only(name, there, f"The folder {folder}")]
        tensors = read_weights(file).tensors
        kept = {k: v.numpy() for k, v in tensors.items() if k.partition(".")[0] in RUN}
        if not kept or not all(np.isfinite(value).all() for value in kept.values()):
            raise DataError(
                f"{file} does not hold an encoder of X-Fi, or holds NaN; get it again.",
                f"{name} is not an encoder of X-Fi",
            )
        arrays |= {f"{modality}/{key}": value for key, value in kept.items()}
    return arrays


def _only(name: str, places: Iterable[str], where: str) -> str:
    """Return the path of the file ``name`` among ``places``, that of XRF55 if there are several."""
    found = [place for place in places if Path(place).name == name]
    found = [place for place in found if "XRF55" in place] or found
    if not found:
        raise DataError(
            f"{where} has no {name}; name a folder that has it with --from.", f"there is no {name}"
        )
    return found[0]


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
    arrays = load_arrays(path) if folder is None else read(path)
    if arrays is None:
        raise DataError(
            f"X-Fi's encoders are not prepared in {path.parent}; run `python -m data_scripts x_fi`.",
            "X-Fi's encoders are not prepared",
        )
    theirs = [torch.from_numpy(a) for n, a in arrays.items() if n.startswith(f"{modality}/")]
    names = list(backbone.state_dict())
    names += [f"tensor {i}" for i in range(len(names), len(theirs))]
    put_into(backbone, dict(zip(names, theirs, strict=False)), path, f"the encoder of {modality}")
