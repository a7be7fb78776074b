"""Write the subset of the emoji that ships with the package: ``python -m data_scripts.emoji_subset FOLDER``.

The 300 concepts are spread evenly over Unicode's order within each group, one of each family of relatives.
The artists are those whose licences neither ask to share alike nor forbid changes.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import emoji
from .fetch import atomic_file, data_root, load_arrays, with_fingerprint

FILE = "emoji.npz"
CONCEPTS, SIDE = 300, 32
ARTISTS = ("twemoji", "noto", "fluent")
LANGUAGES = ("en", "de", "es")


def subset(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the subset of the prepared arrays, in the same form; see :func:`data_scripts.emoji.prepare`."""
    numbers = [arrays["artist_names"].tolist().index(name) for name in ARTISTS]
    kept = np.isin(arrays["artists"], numbers)
    drawn = np.bincount(arrays["concepts"][kept], minlength=len(arrays["groups"])) == len(ARTISTS)
    candidates = np.flatnonzero(drawn & (arrays["groups"] != emoji.FLAGS))
    first = candidates[np.unique(arrays["relatives"][candidates], return_index=True)[1]]
    first.sort()
    counts = np.bincount(arrays["groups"][first])
    share = CONCEPTS * counts / len(first)
    wanted = np.floor(share).astype(int)
    wanted[np.argsort(wanted - share, kind="stable")[: CONCEPTS - wanted.sum()]] += 1  # the largest rests
    chosen = np.concatenate(
        [
            first[arrays["groups"][first] == group][np.arange(count) * counts[group] // count]
            for group, count in enumerate(wanted)
            if count
        ]
    )
    rows = np.flatnonzero(kept & np.isin(arrays["concepts"], chosen))
    texts = emoji.texts_of(arrays)
    texts = {
        language: {kind: [of[i] for i in chosen] for kind, of in texts[language].items()}
        for language in LANGUAGES
    }
    notices = [str(arrays["licences"][number]) for number in (*numbers, -1)]
    found = {
        **{name: arrays[name][chosen] for name in ("hexcodes", "emoji", "groups", "subgroups")},
        **{name: arrays[name] for name in ("group_names", "subgroup_names")},
        "relatives": np.arange(len(chosen)).astype(np.uint16),
        "texts": np.frombuffer(json.dumps(texts, ensure_ascii=False).encode(), np.uint8),
        "pictures": emoji.shrunk(arrays["pictures"][rows], SIDE),
        "concepts": np.searchsorted(chosen, arrays["concepts"][rows]).astype(np.uint16),
        "artists": np.searchsorted(numbers, arrays["artists"][rows]).astype(np.uint8),
        "artist_names": np.array(ARTISTS),
        "licences": np.array(
            [notice.replace(f"{emoji.SIDE} x {emoji.SIDE}", f"{SIDE} x {SIDE}") for notice in notices]
        ),
    }
    return with_fingerprint(found)


def write(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write arrays to an ``.npz`` file, the same bytes on every machine: bzip2 has only one compressor."""
    with atomic_file(path) as handle, zipfile.ZipFile(handle, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_BZIP2
            with archive.open(member, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def main(folder: str) -> None:
    """Write the subset of the prepared emoji, which are prepared first if necessary, into a folder."""
    arrays = load_arrays(data_root() / emoji.INFO.prepared) or load_arrays(emoji.prepare())
    path = Path(folder) / FILE
    write(subset(arrays), path)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m data_scripts.emoji_subset", description=main.__doc__)
    parser.add_argument("folder", help="folder to write the subset into, as geomreg_mini/data/emoji_subset")
    main(parser.parse_args().folder)
