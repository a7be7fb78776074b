"""A fair comparison on your own data, as one function: who picks, who tests, and what the interval says.

``compare`` runs the protocol of ``verdict`` on an npz file: equal search for every arm, choice on validation,
fresh seeds, paired gains. It writes each run below a folder and continues there after an interruption.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_scripts.fetch import write_atomically
from geomreg_mini.data import load
from geomreg_mini.data.dataset import read_npz
from geomreg_mini.training import TrainConfig

from .judging import ACTIVE, verdict
from .study import Arm, Cell, Fields, Study

if TYPE_CHECKING:
    import pandas as pd

# Fields in which the arms may differ; the values of all others are searched by every arm alike.
OWN = ("regularizer", "depth", "combination", "paradigm", "paradigm_options")
DOSES = (0.1, 1.0)  # of an active band: below, its term hardly acts; above, the task hardly does


def compare(
    data: str | Path,
    arms: Mapping[str, Sequence[Fields]],
    config: Fields,
    folder: str | Path,
    *,
    claimed: float,
    against: str = "none",
    outcome: str = "accuracy/fused",
    development: Sequence[int] = (0, 1, 2),
    seeds: Sequence[int] = tuple(range(100, 112)),
    allow_equal: bool = False,
) -> pd.DataFrame:
    """Return what a fair comparison says about the claim that an arm gains at least ``claimed``.

    Every setting is trained with every seed of ``development``, on a copy of the file without its test split.
    The setting with the best mean of the outcome on validation is frozen for each arm. ``seeds`` then train
    and test the frozen settings, and differences are paired by seed. They vary initialization and order
    alone: the interval says nothing about other test samples.

    Args:
        data: path of an npz file, see ``MultimodalDataset.from_npz``.
        arms: arm -> its settings, each some fields of ``TrainConfig``. All arms have equally many, with the
            same values in all fields but those of ``OWN``.
        config: the fields that all runs share.
        folder: of the records, for this comparison alone.
        claimed: the least gain over ``against`` that is claimed, above 0, in the unit of ``outcome``.
        against: the arm that the others are compared with.
        outcome: the metric that picks, on validation, and that is compared, on the test split; a larger one
            is better. Epochs are picked by the task's own score, whatever the outcome.
        development: seeds that pick.
        seeds: two or more that test, none of which picks.
        allow_equal: whether a row may be in two splits; see ``MultimodalDataset.from_arrays``.

    Returns:
        One row per arm but ``against``: ``baseline`` (its mean), ``mean``, ``low`` and ``high`` of the gain,
        ``detectable`` (the gain that would be told from zero with a chance of 80 %), ``seeds`` without those
        in which a training diverged, ``diverged`` (how often this arm's did), ``verdict`` (*supported* if the
        whole 95 % interval is at least ``claimed`` and no training of this arm diverged, *excluded* if all
        of the interval is less, else *undecided*), ``setting`` and ``baseline_setting`` (those picked),
        ``tried`` (how many), and the manipulation check: ``dose`` (length of its gradient over that of the
        task's, at the embeddings, mean over training and modalities), ``inside`` (share of test pairs in its
        band, or NaN) and ``active``, whether they lie in ``DOSES`` and ``ACTIVE``.

    Raises:
        ValueError: if arms differ in their search, a seed both picks and tests, splits share a row, the
            folder has another comparison, or fewer than two seeds are left.
    """
    _check(arms, against, development, seeds, claimed)
    place, folder = str(Path(data).resolve()), Path(folder).resolve()
    options = {"allow_equal": True} if allow_equal else {}
    load(place, **options)  # refuses leaks
    fields = {"monitor": True, **config, "dataset": place, "dataset_options": options}
    named = {
        arm: Arm({f"{n:02}": own for n, own in enumerate(settings, 1)}) for arm, settings in arms.items()
    }
    cell = Cell({}, fields, named, seeds, development)
    _register(folder, cell, {"claimed": claimed, "against": against, "outcome": outcome})

    fields = fields | {"dataset": str(folder / "development.npz"), "dataset_options": {"allow_equal": True}}
    blind = Cell({}, fields, named, (), development)
    np.savez(folder / "development.npz", **_without_test(read_npz(place)))
    study = _study(blind, against, outcome)
    for seed in development:
        study.train_cell(blind.tuning(), seed, folder)
    picked = study.frozen(folder, blind)

    study = _study(cell.testing(picked), against, outcome)
    for seed in seeds:
        study.train_cell(study.cells[0], seed, folder)
    frame = study.load(folder)
    diverged = frame[frame[f"test/{outcome}"].isna()]
    frame = frame[~frame["seed"].isin(diverged["seed"])]
    if frame["seed"].nunique() < 2:
        raise ValueError(
            f"{', '.join(diverged['arm'].unique())} diverged in {diverged['seed'].nunique()} of {len(seeds)} "
            "seeds, and fewer than two are left: give lower learning rates, in a new folder."
        )
    found = study.gains(frame, f"test/{outcome}").set_index("arm")
    found["verdict"] = [verdict(*bounds, claimed, math.inf) for bounds in found[["low", "high"]].to_numpy()]
    found["diverged"] = [int((diverged["arm"] == arm).sum()) for arm in found.index]
    found.loc[(found["verdict"] == "supported") & (found["diverged"] > 0), "verdict"] = "undecided"
    found["setting"] = [arms[arm][int(picked[arm]) - 1] for arm in found.index]
    found["baseline_setting"] = [arms[against][int(picked[against]) - 1]] * len(found)
    found["tried"] = [len(arms[arm]) for arm in found.index]
    means = frame.groupby("arm").mean(numeric_only=True).loc[found.index]
    found["dose"] = means.filter(like="train/dose/").mean(axis=1)
    found["inside"] = 1 - means.get("test/band_violation/mean", math.nan)
    found["active"] = found["inside"].between(*ACTIVE) & found["dose"].between(*DOSES)
    return found


def _study(cell: Cell, against: str, outcome: str) -> Study:
    return Study(
        name="fair", path="seed{seed}/{arm}-{setting}.json", cells=(cell,), against=against,
        selection=f"validation/{outcome}", keep_diverged=outcome == "accuracy/fused",
    )  # fmt: skip


def _check(
    arms: Mapping[str, Sequence[Fields]],
    against: str,
    development: Sequence[int],
    seeds: Sequence[int],
    claimed: float,
) -> None:
    """Raise ValueError unless the search is equal and no seed both picks and tests."""
    if against not in arms or len(arms) < 2:
        raise ValueError(f"arms are {', '.join(arms) or 'none'}: give {against!r} and one or more others.")
    searches = {
        arm: sorted(repr(sorted((k, v) for k, v in own.items() if k not in OWN)) for own in settings)
        for arm, settings in arms.items()
    }
    for arm, search in searches.items():
        if len(search) != len(searches[against]) or not search:
            raise ValueError(
                f"{arm!r} has {len(search)} settings and {against!r} {len(searches[against])}: give every "
                "arm equally many."
            )
        if search != searches[against]:
            raise ValueError(
                f"{arm!r} and {against!r} search different values: let settings differ in {', '.join(OWN)} "
                "alone, and give all other fields the same values in every arm."
            )
    if both := sorted(set(development) & set(seeds)):
        raise ValueError(f"seeds {both} pick and test: choose other test seeds.")
    if len(set(seeds)) < 2 or not development or not claimed > 0:
        raise ValueError(
            f"development={tuple(development)}, seeds={tuple(seeds)}, claimed={claimed}: give a seed that "
            "picks, two that test, and a claimed gain above 0."
        )


def _register(folder: Path, cell: Cell, claim: Mapping[str, Any]) -> None:
    """Write the protocol of a comparison into its folder; raise ValueError if another one is there."""
    runs = {
        arm: [TrainConfig(**{**cell.config, **own}).to_dict() for own in settings.settings.values()]
        for arm, settings in cell.arms.items()
    }
    protocol = {**claim, "development": list(cell.development), "seeds": list(cell.seeds), "runs": runs}
    text, path = json.dumps(protocol, indent=1, sort_keys=True), folder / "protocol.json"
    if path.exists() and path.read_text() != text:
        raise ValueError(f"{path} is of another comparison: its protocol cannot change; take a new folder.")
    write_atomically(path, text.encode())


def _without_test(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays with those of validation in the place of those of test."""
    kept = {name: array for name, array in arrays.items() if not name.startswith("test")}
    return kept | {
        f"test{name.removeprefix('validation')}": array
        for name, array in kept.items() if name.startswith("validation")
    }  # fmt: skip
