"""Prepare the emoji: pictures by six artists, and names and keywords in 28 languages, of 1,914 concepts.

Pictures are SVG in packages of Iconify, drawn here by resvg. Names, groups and subgroups are Unicode's, in
the package emojibase-data. A concept is an emoji without a skin tone.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
    save_arrays,
    with_fingerprint,
)
from .npm import download_package, read_package

INFO = DatasetInfo(
    name="emoji",
    size="16 MB download, 11 MB prepared (a minute); with features 101 MB more, 27 MB prepared",
    licence="pictures CC BY 4.0, Apache-2.0, MIT and CC BY-SA 4.0, by artist; names MIT and Unicode-3.0",
    source="the npm packages @iconify-json/{twemoji, noto, noto-v1, fluent-emoji-flat, emojione, openmoji} "
    "and emojibase-data",
    prepared="emoji/prepared-v1.npz",
)
SIDE = 64  # pixels
LICENCES = "LICENCES.txt"  # beside the prepared file


@dataclass(frozen=True)
class Artist:
    """A set of pictures: its npm package, the SHA-256 of its content, whose it is, and its licence."""

    name: str
    package: str
    version: str
    sha256: str
    by: str
    licence: str
    url: str

    @property
    def source(self) -> Source:
        archive = f"{self.package.replace('@', '').replace('/', '-')}-{self.version}.tgz"
        return Source(f"{self.package}@{self.version}", f"emoji/{archive}")

    @property
    def notice(self) -> str:
        """One line: what, by whom, under which licence, and what was changed."""
        return (
            f"{self.name}: pictures by {self.by}, {self.licence} ({self.url}), from the npm package "
            f"{self.source.address}; changed: drawn at {SIDE} x {SIDE} pixels on white."
        )


CC_BY = "https://creativecommons.org/licenses/by/4.0/"
NOTO = "https://github.com/googlefonts/noto-emoji/blob/main/svg/LICENSE"
ARTISTS = (
    Artist(
        "twemoji",
        "@iconify-json/twemoji",
        "1.2.5",
        "bc793db390af97681f6f05aae085cef78569170128767082fa3d74d6b5d2ce3e",
        "Twitter, Inc and other contributors",
        "CC BY 4.0",
        CC_BY,
    ),
    Artist(
        "noto",
        "@iconify-json/noto",
        "1.2.9",
        "c9d69751db358dfd2708241eb5121bc0db95c2520eaa84376102c213327b0a57",
        "Google Inc",
        "Apache-2.0",
        NOTO,
    ),
    Artist(
        "fluent",
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "1258ec143628f50cda7440531b773287cd6f7a6b8865c724dee1bfe63f3c448b",
        "Microsoft Corporation",
        "MIT",
        "https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
    ),
    Artist(
        "openmoji",
        "@iconify-json/openmoji",
        "1.2.29",
        "b0f2487663a881b8fe74386790390cbe65fa0caf7b85e010784ffe5ea8a1d631",
        "OpenMoji",
        "CC BY-SA 4.0",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    Artist(
        "emojione",
        "@iconify-json/emojione",
        "1.2.3",
        "1f8a5584856a1da58c26d54bdcbf8fdb06fc6a62a274900d7c7ad1729fce1298",
        "Emoji One",
        "CC BY 4.0",
        CC_BY,
    ),
    Artist(
        "noto_v1",
        "@iconify-json/noto-v1",
        "1.2.5",
        "b05b826335d542dbe1164f6a7fd9027a1256b5b00a77b4756dc80b63cc7d2461",
        "Google Inc",
        "Apache-2.0",
        NOTO,
    ),
)
NAMES = Source("emojibase-data@17.0.0", "emoji/emojibase-data-17.0.0.tgz")
NAMES_SHA256 = "88ba7ba3ea47b4789ab4670f15b3332e834b0eedbeaff7bcecf923d4b164526a"
NAMES_NOTICE = (
    "texts: names, keywords, groups and subgroups by Unicode, Inc. (CLDR), Unicode-3.0 "
    "(https://www.unicode.org/license.txt), as collected by Miles Johnson, MIT "
    "(https://github.com/milesj/emojibase), from the npm package emojibase-data@17.0.0; changed: tabulated."
)
COMPONENT = 2  # the group of skin tones and hair, which are not emoji by themselves
FLAGS = 9
# What relatives differ in, taken out of an English name; in this order.
VARIANTS = (
    (r"[:(].*$", ""),  # "woman: red hair", "keycap: 1", "A button (blood type)"
    (r"^japanese .*button$|^[\w!+-]+ button$", "button"),
    (r"^.* o’clock$|^\w+-thirty$", "clock time"),
    (r"^.*\bmoon( face)?$", "moon"),
    (r"^globe showing .*|^input .*", lambda found: found[0].split()[0]),
    (r"\b(man|woman|person|boy|girl|child|men|women|people|mx|male|female|prince(ss)?)(’s)?\b", "person"),
    (r"\bolder\b", "old"),
    (r"\b(light|dark|red|orange|yellow|green|blue|purple|brown|black|white|gr[ea]y|pink)\b", ""),
    (r"\b(small|medium|large|low|high|1st|2nd|3rd|facing|pointed|pointing)\b", ""),
    (r"\b(left|right|up|down|leftwards|rightwards|upwards|downwards)\b|-", ""),
)


def prepare(
    root: AnyPath | None = None,
    mirror: AnyPath | None = None,
    *,
    features: bool = False,
    progress: bool = True,
) -> Path:
    """Fetch, verify, draw and store the emoji in the data folder ``root``; return the prepared file.

    ``mirror`` as in :mod:`.digits`. Packages that were downloaded before an interruption are not downloaded
    again. Next to the prepared file, ``LICENCES.txt`` has the licence of each set. With ``features``, compute
    them too and return their file, see :func:`.emoji_features.prepare`.

    Arrays, for N concepts in Unicode's order and P pictures: ``hexcodes``, ``emoji`` (N,) text; ``groups``,
    ``subgroups`` (N,) uint8 with ``group_names`` and ``subgroup_names``; ``relatives`` (N,) uint16, equal for
    concepts that must not be in two splits; ``texts``, see :func:`texts_of`; ``pictures`` (P, 64, 64, 3)
    uint8, ``concepts`` (P,) uint16 and ``artists`` (P,) uint8 with ``artist_names``; ``licences``; and
    ``fingerprint``, the SHA-256 of all of them.
    """
    if features:
        from . import emoji_features

        return emoji_features.prepare(root, mirror, progress=progress)
    from tqdm.auto import tqdm

    path = data_root(root) / INFO.prepared
    check_renderer()
    with atomic_file(path) as handle:
        packages = path.parent / "packages"
        needed = [(NAMES, NAMES_SHA256), *((artist.source, artist.sha256) for artist in ARTISTS)]
        fetching = (_package(source, sha256, mirror, packages) for source, sha256 in needed)
        names, *sets = tqdm(fetching, "fetching", len(needed), unit="package", disable=not progress)
        arrays = _arrays(names, sets, progress)
        save_arrays(handle, with_fingerprint(arrays), packed=True)
        with atomic_file(path.with_name(LICENCES)) as licences:
            licences.write("".join(f"{notice}\n" for notice in arrays["licences"]).encode())
    shutil.rmtree(packages, ignore_errors=True)
    return path


def texts_of(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[str]]]:
    """Return the texts in prepared arrays: language -> "names" and "keywords" -> one text per concept.

    Keywords are joined by ", ". A text is "" if the language has none for the concept.
    """
    return json.loads(arrays["texts"].tobytes())


def check_renderer() -> None:
    """Raise :class:`DataError` if nothing can draw SVG here."""
    try:
        import PIL.Image  # noqa: F401
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"Emoji are drawn by the packages resvg_py and pillow, and {error.name} is not installed; run "
            "`pip install resvg_py pillow`.",
            f"{error.name} is not installed",
        ) from error


def draw(body: str, box: Sequence[float], side: int = SIDE, *, name: str = "") -> np.ndarray:
    """Return an SVG's elements drawn on white, (side, side, 3) uint8.

    ``box`` is left, top, width and height of what is shown; ``name`` names the picture in an error.
    """
    import resvg_py
    from PIL import Image

    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{side}" height="{side}" viewBox="{" ".join(map(str, box))}">{body}</svg>'
    )
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, background="white", skip_system_fonts=True)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    except (ValueError, OSError) as error:
        raise DataError(
            f"The picture {name} cannot be drawn ({error}); get its package again.",
            "a picture cannot be drawn",
        ) from error


def shrunk(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return pictures (P, S, S, 3) uint8 with ``side`` pixels, which divide S: means of squares, rounded."""
    factor = pictures.shape[1] // side
    corners = [(i, j) for i in range(factor) for j in range(factor)]
    total = sum(pictures[:, i::factor, j::factor].astype(np.uint16) for i, j in corners)
    return ((total + factor**2 // 2) // factor**2).astype(np.uint8)


def relatives(hexcodes: Sequence[str], names: Sequence[str], groups: Sequence[int]) -> np.ndarray:
    """Return the family of each concept, (N,) uint16: equal for concepts that are variants of one another.

    Concepts are relatives if their English names differ only in gender, age, color, size, direction, phase or
    time; if one is a sequence that begins with the other (black cat, cat) or differs in gender; or if both
    are flags.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys = [_keys(*concept) for concept in zip(hexcodes, names, groups, strict=True)]
    known = {key: i for i, key in enumerate(sorted({key for own in keys for key in own}))}
    ends = [(i, len(keys) + known[key]) for i, own in enumerate(keys) for key in own]
    rows, columns = np.array(ends, np.int32).T  # SciPy 1.11 only warns of int64, and returns noise
    size = len(keys) + len(known)
    edges = coo_array((np.ones(len(ends)), (rows, columns)), shape=(size, size))
    return connected_components(edges, directed=False)[1][: len(keys)].astype(np.uint16)


def _keys(hexcode: str, name: str, group: int) -> list[str]:
    """Return what a concept shares with its relatives, as texts of which one in common is enough."""
    if group == FLAGS:
        return ["flag"]
    name = name.lower()
    for pattern, replacement in VARIANTS:
        name = re.sub(pattern, replacement, name)
    words = name.split()
    words = [word for word in words if word != "person"] or words
    parts = re.sub("-200D-264[02]|-FE0F", "", hexcode).split("-200D-")  # without the gender
    if parts[0] in ("1F468", "1F469", "1F9D1"):  # man, woman, person: what follows is the role
        return [" ".join(words), "-".join(["1F9D1", *parts[1:]])]
    return [" ".join(words), parts[0]]


def _package(source: Source, sha256: str, mirror: AnyPath | None, folder: Path) -> dict[str, Any]:
    """Return the JSON files of a package, path -> content; what is downloaded stays in ``folder``."""
    kept = folder / Path(source.mirror_path).name

    def get(requirement: str, scratch: Path, *, progress: bool) -> Path:
        if not kept.is_file():
            download_package(requirement, scratch, progress=progress).replace(kept)
        return kept

    folder.mkdir(exist_ok=True)
    try:
        with fetched(source, mirror, progress=False, scratch=folder, get=get) as archive:
            files = read_package(
                archive, re.compile(r"(icons|chars|info|[\w-]+/data|meta/groups)\.json").fullmatch
            )
        check_digest(source.address, content_sha256(files), sha256)
    except DataError:
        kept.unlink(missing_ok=True)  # or every other try would find the damaged one
        raise
    finally:
        with suppress(OSError):  # packages are there
            folder.rmdir()
    return {name: json.loads(content) for name, content in files.items()}


def _arrays(
    names: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], progress: bool
) -> dict[str, np.ndarray]:
    """Return the stored arrays, from the JSON files of the names and of each artist."""
    from tqdm.auto import tqdm

    concepts = [entry for entry in names["en/data.json"] if entry.get("group", COMPONENT) != COMPONENT]
    concepts.sort(key=lambda entry: entry["order"])
    hexcodes = [entry["hexcode"] for entry in concepts]
    groups = [entry["group"] for entry in concepts]
    texts = {}
    for path in sorted(name for name in names if name.endswith("/data.json")):
        of = {entry["hexcode"]: entry for entry in names[path]}
        own = [of.get(hexcode, {}) for hexcode in hexcodes]
        texts[path.split("/")[0]] = {
            "names": [entry.get("label", "") for entry in own],
            "keywords": [", ".join(entry.get("tags", [])) for entry in own],
        }
    drawn = [
        (concept, number, *icon)
        for number, icons in enumerate(_icons(sets))
        for concept, hexcode in enumerate(hexcodes)
        if (icon := icons.get(_code(hexcode)))
    ]
    pictures = np.empty((len(drawn), SIDE, SIDE, 3), np.uint8)
    drawing = (
        draw(body, box, name=f"{hexcodes[concept]} of {ARTISTS[number].name}")[:, :: -1 if flipped else 1]
        for concept, number, body, box, flipped in drawn
    )
    for i, picture in enumerate(
        tqdm(drawing, "drawing", len(drawn), unit="picture", mininterval=1, disable=not progress)
    ):
        pictures[i] = picture
    meta = names["meta/groups.json"]
    return {
        "hexcodes": np.array(hexcodes),
        "emoji": np.array([entry["emoji"] for entry in concepts]),
        "groups": np.array(groups, np.uint8),
        "group_names": np.array(list(meta["groups"].values())),
        "subgroups": np.array([entry["subgroup"] for entry in concepts], np.uint8),
        "subgroup_names": np.array(list(meta["subgroups"].values())),
        "relatives": relatives(hexcodes, texts["en"]["names"], groups),
        "texts": np.frombuffer(json.dumps(texts, ensure_ascii=False).encode(), np.uint8),
        "pictures": pictures,
        "concepts": np.array([concept for concept, *_ in drawn], np.uint16),
        "artists": np.array([number for _, number, *_ in drawn], np.uint8),
        "artist_names": np.array([artist.name for artist in ARTISTS]),
        "licences": np.array([*(artist.notice for artist in ARTISTS), NAMES_NOTICE]),
    }


def _code(hexcode: str) -> str:
    """Return code points as Iconify writes them: in small letters, without the mark of a colored form."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def _icons(sets: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, tuple[str, tuple[float, ...], bool]]]:
    """Yield for each artist code points -> the SVG's body, its box, and whether it is mirrored.

    Two packages have names of icons and no code points; those of the others serve them.
    """
    codes: dict[str, str] = {}
    for files in sets:
        for code, name in files["chars.json"].items():
            codes.setdefault(name, _code(code))
    for files in sets:
        icons, aliases = files["icons.json"]["icons"], files["icons.json"]["aliases"]
        own = {name: _code(code) for code, name in files["chars.json"].items()}
        found = {}
        for name in (*icons, *aliases):
            code = (own or codes).get(name)
            alias = aliases.get(name, {})
            icon = files["icons.json"] | icons.get(alias.get("parent", name), {})
            if code and "body" in icon and code not in found:
                box = (icon.get("left", 0), icon.get("top", 0), icon["width"], icon["height"])
                found[code] = (icon["body"], box, alias.get("hFlip", False))
        yield found
