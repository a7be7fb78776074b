"""Emoji: one concept as pictures by several artists and as names in many languages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_scripts import emoji
from data_scripts.emoji_features import FILE
from data_scripts.extras import extra
from data_scripts.fetch import DataError, data_root, load_arrays
from data_scripts.prepared import prepared_arrays

from ..inputs import check_choice
from .corruptions import Picture
from .dataset import MultimodalDataset, say_once, split_arrays, stratified_order

SUBSET = Path(__file__).parent / "emoji_subset" / "emoji.npz"
FEWEST = 10  # families of relatives, for a class to be split
LARGEST = 10  # concepts of a family; a larger one trains, for it would be most of its class in another split
WIDTH = 2048  # of a text's vector


def load(
    seed: int = 0,
    *,
    source: str = "auto",
    view: str = "picture_name",
    artists: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    label: str = "group",
    split: str = "concepts",
    keywords: bool = False,
    side: int = 32,
    features: bool = False,
) -> MultimodalDataset:
    """Emoji as pairs of a picture and a name, of pictures by different artists, or of names.

    Args:
        seed: fixes which families of relatives, such as the cat and the black cat, train, validate and test:
            seven, one and two tenths of those in each class. Families of more than ten, such as hearts in all
            colors and clock times, always train.
        source: ``"full"``: 1,644 concepts, six artists, 28 languages. ``"embedded"``: 300 of them, the
            artists twemoji, noto and fluent, the languages en, de and es. ``"auto"``: full if the files are
            prepared or can be fetched, otherwise embedded, reported in ``note`` and once on the console.
        view: the modalities. ``"picture_name"``: ``picture`` and ``name``, each artist's picture a sample.
            ``"artists"``: one picture per artist, named like the artist. ``"languages"``: one name per
            language, named like the language.
        artists: whose pictures (default: the first, for ``"artists"`` the first two, for
            ``"unseen_artist"`` the first four, or all if there are fewer). Concepts that one of them has not
            drawn are left out of the view ``"artists"``.
        languages: of the names; one for ``"picture_name"`` (default: en; for ``"languages"``: en and de).
        label: ``"group"`` or ``"subgroup"``, as Unicode sorts emoji. Classes with fewer than ten families of
            relatives cannot be split and are left out. Flags are one family, so they are not in this set.
        split: ``"concepts"``; or ``"unseen_artist"``, for ``"picture_name"``: the last of ``artists`` has
            drawn the test pictures and no others, and the test concepts are unseen as well.
        keywords: whether a name is followed by the concept's keywords.
        side: pixels of a picture, (3, side, side): a divisor of 64, or of 32 if embedded.
        features: whether inputs are those of frozen encoders, not pixels and letters: a picture a vector
            (1280,) by EfficientNet-Lite0, a name one (384,) by MiniLM, which knows English alone. The samples
            and their splits are the same, and ``side`` has no effect. They need ``"full"`` emoji and the
            command `python -m data_scripts emoji --features`.

    Without ``features``, a name becomes a vector of 2,048 values: its character n-grams (one to four
    characters, within words) are hashed, each to a place and a sign. Its mean square is 1. Pictures are
    standardized by mean and standard deviation of the training pictures, per color. Features are centered
    by the mean of the training samples and divided by one number, so that their mean square is 1 there.
    ``factors`` holds ``concept``, its position in the arrays of :func:`read`; ``family``; and ``artist``
    for ``"picture_name"``.

    Raises ``ValueError`` for a bad argument and ``data_scripts.fetch.DataError`` if the files are not
    available.
    """
    check_choice(("auto", "full", "embedded"), source=source)
    check_choice(("picture_name", "artists", "languages"), view=view)
    check_choice(("group", "subgroup"), label=label)
    check_choice(("concepts", "unseen_artist"), split=split)
    if split == "unseen_artist" and view != "picture_name":
        raise ValueError(f"split='unseen_artist' needs view='picture_name', got {view!r}.")
    if features and (source == "embedded" or view == "languages" or list(languages or ["en"]) != ["en"]):
        raise ValueError(
            f"features=True with source={source!r}, view={view!r}, languages={languages!r}: there are those "
            "of pictures and English names in the full set alone; leave out what asks for others."
        )
    arrays, note, frozen = _read_features() if features else (*read(source), {})
    texts, drawers = emoji.texts_of(arrays), arrays["artist_names"].tolist()
    named, unseen = view == "picture_name", split == "unseen_artist"
    artists = drawers[:4] if unseen and artists is None else artists
    artists = _chosen("artists", artists, drawers, 2 - (named and not unseen))
    languages = _chosen("languages", languages, ["en", "de", *texts], 2 - named)
    if named and len(languages) > 1:
        raise ValueError(f"languages={languages!r}: the view 'picture_name' takes one.")
    full = arrays["pictures"].shape[1]
    check_choice([size for size in range(8, full + 1) if full % size == 0], side=side)
    classes, labels, parts = _parts(arrays, label, seed)

    picture_of = np.full((len(drawers), len(labels)), -1)
    picture_of[arrays["artists"], arrays["concepts"]] = np.arange(len(arrays["concepts"]))
    chosen = picture_of[[drawers.index(artist) for artist in artists]]
    spoken = () if view == "artists" else languages
    if frozen:
        names = dict.fromkeys(spoken, frozen["names_keywords" if keywords else "names"])
    else:
        names = {language: _hashed(texts[language], keywords) for language in spoken}
    concepts, rows = np.arange(len(labels)), {}
    if named:
        concepts, which = (chosen >= 0).T.nonzero()
        rows = {"picture": chosen[which, concepts]}
    elif view == "artists":
        concepts = concepts[(chosen >= 0).all(axis=0)]
        rows = {artist: own[concepts] for artist, own in zip(artists, chosen, strict=True)}
    inputs = {
        modality: frozen["pictures"][own] if frozen else _pictures(arrays["pictures"][own], side)
        for modality, own in rows.items()
    }
    inputs |= {"name" if named else language: of[concepts] for language, of in names.items()}
    factors = {"concept": concepts, "family": arrays["relatives"][concepts]}
    if named:
        factors["artist"] = arrays["artists"][rows["picture"]]
    inside = {part: np.isin(concepts, own) for part, own in parts.items()}
    if unseen:
        last = which == len(artists) - 1
        inside = {part: own & (last if part == "test" else ~last) for part, own in inside.items()}
    splits = split_arrays(inside, inputs, labels[concepts], **factors)
    for modality, values in splits["train"].inputs.items():
        if frozen:
            mean = values.mean(dim=0)
            std = (values - mean).square().mean().sqrt()
        elif values.ndim == 4:
            mean, std = values.mean(dim=(0, 2, 3))[:, None, None], values.std(dim=(0, 2, 3))[:, None, None]
        else:
            continue
        for of in splits.values():
            of.inputs[modality].sub_(mean).div_(std)
    kinds = {"texts", *artists, "picture features", "name features" if named else ""}
    used = [str(n) for n in (frozen or arrays)["licences"] if str(n).split(":")[0] in kinds]
    return MultimodalDataset(
        name="emoji" if not note else "embedded_emoji",
        **splits,
        licence=" ".join(used),
        source=emoji.INFO.source,
        note=note,
        class_names=tuple(arrays[f"{label}_names"][classes].tolist()),
        forms={modality: Picture() for modality, x in splits["train"].inputs.items() if x.ndim == 4},
    )


def read(source: str = "auto") -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays, see :func:`data_scripts.emoji.prepare`, and the note if they are the embedded ones.

    ``source`` and errors as in :func:`load`. :func:`data_scripts.emoji.texts_of` gives the names.
    """
    arrays, why = prepared_arrays(emoji, source)
    if arrays is not None:
        return arrays, ""
    note = (
        f"Embedded data are used, 300 emoji by three artists with names in three languages, because {why}; "
        "`python -m data_scripts emoji` gets all of them."
    )
    if source == "auto":
        say_once(note)
    return load_arrays(SUBSET), note


def _read_features() -> tuple[dict[str, np.ndarray], str, dict[str, np.ndarray]]:
    """Return what ``read("full")`` does, and the arrays of the features, which must be prepared before."""
    frozen = load_arrays(data_root() / FILE)
    arrays, note = read("full") if frozen else ({}, "")
    if not frozen or frozen["of"] != arrays["fingerprint"]:
        raise DataError(
            "The features of these emoji are not prepared; run `python -m data_scripts emoji --features`.",
            "the features are not prepared",
        )
    return arrays, note, frozen


def _chosen(name: str, given: Sequence[str] | None, known: Sequence[str], least: int) -> tuple[str, ...]:
    """Return the artists or languages ``given``, or the first ``least`` of those that are ``known``."""
    chosen = tuple(known[:least]) if given is None else tuple(given)
    if isinstance(given, str) or len(set(chosen)) < max(least, len(chosen)) or not set(chosen) <= set(known):
        known = ", ".join(dict.fromkeys(known))
        raise ValueError(f"{name}={given!r}: name at least {least} of {known}, each once.")
    return chosen


def _parts(
    arrays: Mapping[str, np.ndarray], label: str, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the classes that can be split, each concept's label (N,), and the concepts of each split."""
    of = arrays[f"{label}s"]
    _, first, family, sizes = np.unique(
        arrays["relatives"], return_index=True, return_inverse=True, return_counts=True
    )
    classes = np.flatnonzero(np.bincount(of[first]) >= FEWEST)
    share = np.empty(len(first))
    share[stratified_order(of[first], np.random.default_rng(seed))] = np.arange(len(first)) / len(first)
    share[sizes > LARGEST] = 1
    share = np.where(np.isin(of, classes), share[family], np.nan)
    parts = {"train": share >= 0.3, "validation": (share >= 0.2) & (share < 0.3), "test": share < 0.2}
    return classes, np.searchsorted(classes, of), {part: np.flatnonzero(own) for part, own in parts.items()}


def _hashed(texts: Mapping[str, Sequence[str]], keywords: bool) -> np.ndarray:
    """Return the vectors of names, (N, 2048) float32, see :func:`load`."""
    with extra("course"):
        from sklearn.feature_extraction.text import HashingVectorizer

    lines = texts["names"]
    if keywords:
        lines = [f"{name}, {more}" for name, more in zip(lines, texts["keywords"], strict=True)]
    hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 4), n_features=WIDTH)
    return (hashing.transform(lines).toarray() * WIDTH**0.5).astype(np.float32)


def _pictures(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return pictures (N, 3, side, side) float32 in [0, 1]."""
    return emoji.shrunk(pixels, side).transpose(0, 3, 1, 2).astype(np.float32) / 255
