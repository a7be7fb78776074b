"""Stand-ins for CUBICC in the archive's form: drawn birds on a ground, and a sentence about each.

The species decides the body's color and the beak's length, the subspecies the wing's color. Ground, place,
size and side vary with the picture, the wording with the sentence. Some pictures are too dark and some
sentences too short to tell the species.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np

# color of the body, and whether the beak is long
SPECIES = (
    ("black", False), ("white", True), ("blue", False), ("orange", True),
    ("red", False), ("gray", True), ("yellow", False), ("brown", True),
)  # fmt: skip
SUBSPECIES = (3, 3, 2, 3, 3, 3, 3, 2)  # per species: 22 in all, as in the source
WINGS = ("black", "white", "brown")
COLORS = {
    "black": (25, 25, 30), "white": (235, 235, 235), "blue": (60, 90, 210), "orange": (240, 140, 30),
    "red": (205, 40, 45), "gray": (135, 140, 145), "yellow": (235, 215, 60), "brown": (125, 85, 50),
}  # fmt: skip
PHOTOS = {"train": 6, "validation": 1, "test": 2}  # per subspecies
CAPTIONS = 3  # per photo
DARK, SHORT = 0.08, 0.1  # shares of pictures and sentences without the species
SPECIAL = ("<exc>", "<pad>", "<eos>")
SENTENCES = (
    "this bird has a {body} body , {wing} wings and a {beak} beak .",
    "a {body} bird with {wing} wings ; its beak is {beak} .",
    "the {body} bird has {wing} wings and its beak is {beak} .",
)
SHORT_SENTENCES = ("this is a small bird with {wing} wings .", "a bird sits there with {wing} wings .")


def write_cubicc(folder: Path, seed: int = 0) -> None:
    """Write 594 pairs, 198 photos: ``cubicc/CUBICC.zip`` with the files of the source in ``CUBICC/``."""
    import torch

    from ..cubicc import LENGTH, SPLITS, VOCABULARY

    rng = np.random.default_rng([seed, 3])
    words = _vocabulary(VOCABULARY)
    number = {word: i for i, word in enumerate(words)}
    rows: list[tuple] = []  # picture, word numbers, species, subspecies, split
    for subspecies, (species, wing) in enumerate(
        (s, WINGS[k]) for s, count in enumerate(SUBSPECIES) for k in range(count)
    ):
        body, long = SPECIES[species]
        for split in SPLITS:
            for _ in range(PHOTOS[split]):
                picture = bird(body, wing, long, rng)
                for _ in range(CAPTIONS):
                    forms = SHORT_SENTENCES if rng.random() < SHORT else SENTENCES
                    said = forms[rng.integers(len(forms))].format(
                        body=body, wing=wing, beak="long" if long else "short"
                    )
                    tokens = [number[word] for word in said.split()] + [number["<eos>"]]
                    tokens += [number["<pad>"]] * (LENGTH - len(tokens))
                    rows.append((picture, tokens, species, subspecies, split))
    order = rng.permutation(len(rows))
    rows = [rows[i] for i in order]
    pictures, tokens, species, subspecies, split = zip(*rows, strict=True)
    tensors = {
        "images": torch.from_numpy(np.stack(pictures)).float() / 255,
        "captions": torch.nn.functional.one_hot(torch.tensor(tokens), VOCABULARY).float(),
        "labels": torch.tensor(species),
        "original_labels": torch.tensor(subspecies) + 1,
        "train_test_labelling": torch.tensor([int(part == "train") for part in split]),
    }
    (Path(folder) / "cubicc").mkdir(parents=True)
    with zipfile.ZipFile(Path(folder) / "cubicc" / "CUBICC.zip", "w", zipfile.ZIP_DEFLATED, True, 1) as out:
        for name, tensor in tensors.items():
            content = io.BytesIO()
            torch.save(tensor, content)
            out.writestr(f"CUBICC/{name}.pt", content.getbuffer())
        for name in SPLITS:
            content = io.BytesIO()
            np.save(content, np.flatnonzero(np.array(split) == name))
            out.writestr(f"CUBICC/{name}_split.npy", content.getbuffer())
        named = {"w2i": number, "i2w": {i: word for word, i in number.items()}}
        out.writestr("CUBICC/cub.vocab", json.dumps(named))


def _vocabulary(size: int) -> list[str]:
    """Return special tokens, the words of the sentences, and unused words."""
    spoken = " ".join((*SENTENCES, *SHORT_SENTENCES)).split() + [*COLORS, "long", "short"]
    known = [*SPECIAL, *sorted({word for word in spoken if not word.startswith("{")})]
    return [*known, *(f"unused{i}" for i in range(size - len(known)))]


def bird(body: str, wing: str, long: bool, rng: np.random.Generator) -> np.ndarray:
    """Return (3, 64, 64) uint8: body, head, wing and beak on a ground that does not depend on the class."""
    y, x = np.mgrid[0:64, 0:64]
    top, bottom = (rng.uniform(110, 170) + rng.uniform(-20, 20, 3) for _ in range(2))
    picture = top + (bottom - top) * (y / 63)[..., None]
    side, size = rng.choice([-1, 1]), rng.uniform(0.9, 1.1)
    cx, cy = 32 + rng.uniform(-5, 5), 35 + rng.uniform(-5, 5)

    def ellipse(dx: float, dy: float, a: float, b: float, color: tuple[int, int, int]) -> None:
        u, v = (side * (x - cx) / size - dx) / a, ((y - cy) / size - dy) / b
        picture[u**2 + v**2 <= 1] = color

    across, reach = side * (x - cx) / size - 17, 13 if long else 6
    picture[(across > 0) & (across < reach) & (np.abs(y - cy + 11 * size) < 2.5 * (1 - across / reach))] = (
        90,
        70,
        40,
    )
    ellipse(-20, 3, 8, 3, COLORS[wing])  # tail
    ellipse(0, 0, 17, 11, COLORS[body])
    ellipse(13, -11, 7, 7, COLORS[body])
    ellipse(-4, 1, 8, 4, COLORS[wing])
    ellipse(15, -12, 1.3, 1.3, (250, 250, 250))
    if rng.random() < DARK:
        picture = 0.15 * picture.mean(axis=2, keepdims=True)
    noisy = picture + 10 * rng.standard_normal((64, 64, 3))
    return noisy.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
