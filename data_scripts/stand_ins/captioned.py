"""Stand-ins for images with captions: two colored shapes on a ground, and five sentences about them."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

COLORS = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220),
    "yellow": (235, 210, 50), "purple": (150, 60, 190), "pink": (250, 150, 190),
}  # fmt: skip
FORMS = ("circle", "square", "triangle")
GROUNDS = {"white": (245, 245, 245), "gray": (130, 130, 130), "black": (20, 20, 20)}
SENTENCES = (
    "A {} {} to the left of a {} {} on a {} ground.",
    "There is a {} {} and, to the right of it, a {} {}; the ground is {}.",
    "a {} {} next to a {} {} against {} .",
    "Two shapes: first a {} {}, then a {} {}, all on {}.",
    "{} {}, {} {}, {} background",
)
COUNTS = {"train": 400, "val": 60, "test": 100}
SIDES = ((64, 48), (48, 64), (64, 64))  # pixels; like photographs, of several proportions


def write_flickr30k(folder: Path, seed: int = 0) -> None:
    """Write 560 images: ``flickr30k/`` with three lists and ``flickr30k-images``."""
    home = Path(folder) / "flickr30k"
    (home / "flickr30k-images").mkdir(parents=True)
    lists: dict[str, list] = {part: [] for part in COUNTS}
    for number, (part, captions, content) in enumerate(_scenes(seed)):
        name = f"flickr30k-images/{1000000 + number}.jpg"
        (home / name).write_bytes(content)
        lists[part] += _entries(part, name, captions, number)
    _write_lists(home, "flickr30k", lists)


def write_coco(folder: Path, seed: int = 1) -> None:
    """Write 560 images: ``coco/`` with three lists, and the archives of both folders.

    As in Karpathy's split, the validation and test images and some training images come from ``val2014``.
    """
    home = Path(folder) / "coco"
    home.mkdir(parents=True)
    lists: dict[str, list] = {part: [] for part in COUNTS}
    with (
        zipfile.ZipFile(home / "train2014.zip", "w") as train,
        zipfile.ZipFile(home / "val2014.zip", "w") as val,
    ):
        for number, (part, captions, content) in enumerate(_scenes(seed)):
            where = "train2014" if part == "train" and number % 4 else "val2014"
            name = f"{where}/COCO_{where}_{number:012d}.jpg"
            (train if where == "train2014" else val).writestr(name, content)
            if number % 50 == 0:  # a few images have more than five
                captions = (*captions, f"{captions[1]} Nothing else.")
            lists[part] += _entries(part, name, captions, f"coco_{number}")
    _write_lists(home, "coco_karpathy", lists)


def _entries(part: str, name: str, captions: Sequence[str], image_id: int | str) -> list[dict]:
    """Return an image's entries in its list, as published: one per caption in training, otherwise one."""
    if part == "train":
        return [{"caption": text, "image": name, "image_id": image_id} for text in captions]
    return [{"image": name, "caption": list(captions)}]


def _write_lists(home: Path, name: str, lists: dict[str, list]) -> None:
    for part, entries in lists.items():
        (home / f"{name}_{part}.json").write_text(json.dumps(entries))


def _scenes(seed: int) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    """Yield part, captions and JPEG of scenes; no two have the same captions."""
    rng = np.random.default_rng([seed, 2])
    scenes = list(itertools.product(COLORS, FORMS, COLORS, FORMS, GROUNDS))
    chosen = iter(rng.permutation(len(scenes)))
    for part, count in COUNTS.items():
        for _ in range(count):
            scene = scenes[next(chosen)]
            yield part, tuple(sentence.format(*scene) for sentence in SENTENCES), _jpeg(scene, rng)


def _jpeg(scene: tuple[str, ...], rng: np.random.Generator) -> bytes:
    from PIL import Image, ImageDraw

    left_color, left_form, right_color, right_form, ground = scene
    width, height = SIDES[rng.integers(len(SIDES))]
    image = Image.new("RGB", (width, height), GROUNDS[ground])
    draw = ImageDraw.Draw(image)
    for side, color, form in ((-1, left_color, left_form), (1, right_color, right_form)):
        # inside the middle square, to which images are cut
        x, y = width / 2 + side * min(width, height) / 4, height / 2 + rng.uniform(-4, 4)
        r = rng.uniform(8, 11)
        corners = {
            "circle": None,
            "square": [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
            "triangle": [(x - r, y + r), (x + r, y + r), (x, y - r)],
        }[form]
        if corners is None:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=COLORS[color])
        else:
            draw.polygon(corners, fill=COLORS[color])
    content = io.BytesIO()
    image.save(content, "JPEG", quality=95)
    return content.getvalue()
