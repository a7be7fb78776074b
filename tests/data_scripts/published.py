"""Counts and names that CREMA-D and Kinetics-Sounds publish, and lists with them.

They stand in for the published lists, which are not kept here. Which clips of a class test is made up, and so
are the names of Kinetics' clips.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from data_scripts import crema_d, kinetics_sounds

ACTORS, SENTENCES = range(1001, 1092), "DFA IEO IOM ITH ITS IWL IWW MTI TAI TIE TSI WSI".split()
NEVER_RECORDED = ("1002_TIE_NEU", "1008_WSI", "1009_MTI", "1019_ITH", "1076_ITS_NEU")
EMOTIONS = {
    "train": {"NEU": 973, "HAP": 1148, "SAD": 1131, "FEA": 1138, "DIS": 1142, "ANG": 1166},
    "test": {"NEU": 114, "HAP": 123, "SAD": 140, "FEA": 133, "DIS": 129, "ANG": 105},
}
CLASSES = {  # clips of labels 0 to 30
    "train": [
        268, 690, 607, 512, 497, 445, 635, 478, 457, 605, 563, 486, 604, 592, 366, 339, 333, 489, 653, 538,
        654, 386, 281, 493, 395, 672, 197, 523, 433, 354, 254,
    ],
    "test": [
        81, 92, 87, 87, 87, 68, 90, 90, 86, 79, 91, 88, 73, 85, 86, 91, 82, 84, 90, 90,
        83, 91, 80, 92, 79, 66, 85, 84, 91, 76, 63,
    ],
}  # fmt: skip
TESTED = "1013_WSI_SAD_XX"  # has the sound of a training clip


def crema_d_names() -> list[str]:
    """Return all clips: each sentence in each emotion by each actor, one of them at three levels."""
    return [
        f"{actor}_{sentence}_{emotion}_{level}"
        for actor in ACTORS
        for sentence in SENTENCES
        for emotion in crema_d.EMOTIONS
        if not f"{actor}_{sentence}_{emotion}".startswith(NEVER_RECORDED)
        for level in (("LO", "MD", "HI") if sentence == "IEO" and emotion != "NEU" else ("XX",))
    ]


def crema_d_lists() -> dict[str, list[str]]:
    """Return part -> the lines of its list."""
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for emotion, count in EMOTIONS["test"].items():
        names = [name for name in crema_d_names() if f"_{emotion}_" in name]
        names.sort(key=lambda name: name != TESTED)
        lines["test"] += [f"{name},{emotion}" for name in names[:count]]
        lines["train"] += [f"{name},{emotion}" for name in names[count:]]
    return lines


def kinetics_lists() -> dict[str, list[str]]:
    """Return part -> the lines of its list; the three test clips in no table have their own names."""
    clips = {
        part: [
            (f"{part[:2]}-{label:02d}-{i:05d}_{i:06d}", label)
            for label, n in enumerate(counts)
            for i in range(n)
        ]
        for part, counts in CLASSES.items()
    }
    lost = zip(kinetics_sounds.IN_NO_TABLE, clips["test"], strict=False)
    clips["test"][:3] = [(name, label) for name, (_, label) in lost]
    return {
        "train": [f"{name}_{int(name[12:]) + 10:06d},10,{label}" for name, label in clips["train"]],
        "test": [f"{name},10,{label}" for name, label in clips["test"]],
    }


def write_lists(mirror: Path, patch: pytest.MonkeyPatch) -> None:
    """Write these lists into a mirror folder and let their checksums be the expected ones."""
    for lines, expected in (
        (crema_d_lists(), crema_d.SPLITS),
        (kinetics_lists(), kinetics_sounds.LISTS),
    ):
        for part, (source, _) in list(expected.items()):
            content = "".join(f"{line}\n" for line in lines[part]).encode()
            (mirror / source.mirror_path).parent.mkdir(parents=True, exist_ok=True)
            (mirror / source.mirror_path).write_bytes(content)
            patch.setitem(expected, part, (source, hashlib.sha256(content).hexdigest()))
