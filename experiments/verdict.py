"""The protocol that decides: is the band active, is the comparison fair, and do the seeds suffice? On digits.

    python -m experiments.verdict --development     # the seeds that pick; resumable
    python -m experiments.verdict --register        # freeze: write registration.json, to be committed
    python -m experiments.verdict --jobs 2          # the seeds that test; resumable, any prefix is complete
    python -m experiments.verdict --summary         # tables of the records, "N of 300 seeds"

The protocol, fixed before its first test number.

*Data and training.* Spoken and written digits, all labels; unseen speakers: speaker number ``seed % 6`` tests
and the next one validates, so six consecutive seeds rotate through all. Encoders have half the usual width,
batches 128 samples, and training 8 epochs, of which the last is measured. One regime for each of joint
training, uniform sum and DGL, with room for a gain: image noise 0.8, for DGL 1.2. Without a regularizer
(``PROBE``), fused validation accuracy on the development seeds is 82 to 95, 88 to 95 and 79 to 91 %.

*Arms.* None. The published method: Pareto balance with strength and radius. The sum of dispersion and
anchoring with a band. The band alone. Rigid anchoring, radius 0. Dispersion alone. Barlow Twins. Unit sphere.

*Development.* Every arm gets the same budget: ``SETTINGS`` settings, each trained on all seeds of
``DEVELOPMENT``, whose speakers 1, 3 and 5 validate. A setting is one value on each axis in ``AXES``, and on
the axes of ``ROUNDS``, learning rate and weight decay, which every arm has with equal values. (Weight decay
is among them because it can be worth more than any arm: in a first look at joint training with development
seed 0, where only arms without weights had this axis, it took none from 91 to 98 % in validation.) Along each
axis, the numbers of times that its values occur differ by one at most, in an order drawn with a fixed seed
for each arm: a Latin hypercube on a grid. So an arm with more hyperparameters gets no more trials; it
searches its larger space as sparsely as a user with this budget would. Quartiles "q25", "q50" and "q75" are
radii: those of the distances of validation pairs without a regularizer, mean over the development seeds
(``RADII``). The highest mean of fused validation accuracy is frozen; a training that diverges counts as 0. In
development nothing of a test split is measured.

*Edges.* The summary names the axes on which a frozen value is the lowest or the highest. While any arm has
the lowest or the highest learning rate, or the highest weight decay, ``ROUNDS`` gets another round before
registration, with a wider axis and fresh draws: the same number of settings more for every arm. This took
three rounds. The lowest decay is nearly none: over a training at rate 0.2, it shrinks weights by less than a
tenth. The other axes go far beyond usual doses. There, as at the lowest decay, an edge is reported and not
widened, and a verdict about this arm holds for its grid alone.

*Test.* ``SEEDS``, fresh, one run each; all arms and paradigms of a seed before the next seed, so the first N
seeds are complete whenever training stops. The tables say how many of all seeds they have. A seed in which a
training diverges is left out. With a deviation of 1.6 to 3.2 points between the gains of seeds, 300 seeds
detect 0.26 to 0.52 points with a chance of 80 %.

*Comparisons.* A gain is the difference to no regularizer of the same paradigm, paired by seed. Two 95 %
intervals stand side by side: over seeds, and for new speakers, with the mean gain of each of the six test
speakers as one value. An arm is *equivalent* to none at a margin of 0.5 or 1 point if the 90 % interval lies
inside (two one-sided tests at 5 %), *different* if it lies outside, *undecided* otherwise.

*Verdicts.* The hypotheses are those of ``cousins``, with the frozen setting of the published method instead
of its two fixed strengths: *supported* if the 95 % interval lies in the claimed range, *excluded* if it lies
outside, *undecided* otherwise, with the gain that would be detected with a chance of 80 % beside it. The
neglected modality is the image. No verdict is corrected for the number of questions.

*Manipulation check.* Each arm shows its dose, the length of its gradient over that of the task's at the
embeddings, mean over training and modalities; the share of test pairs inside its band; and its change of mean
cosine and of drift. A band is *active* with 20 to 80 % of the pairs inside. Geometry *changed* as intended if
the intervals over seeds of mean cosine and drift lie below zero.

*Registration.* ``registration.json`` next to the records holds the sha256 of this text, the configs of all
runs and the claims, and the frozen settings. No test seed is trained without it, or after a change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_scripts.fetch import write_atomically
from geomreg_mini import GeometryRegularizer
from geomreg_mini.controls import BarlowTwins, UnitSphere
from geomreg_mini.training import TrainConfig

from .cousins import (
    MODALITIES,
    NAMES,
    NEW,
    Question,
    answers,
    converged,
    gains,
    loaded,
    neglected,
    wide_change,
)
from .cousins import QUESTIONS as CLAIMS
from .judging import ACTIVE, EXCLUDED, SUPPORTED, UNDECIDED, verdict
from .paper_settings import pareto, watched
from .study import UNSEEN_SPEAKERS, Arm, Cell, Study, change, markdown

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

SEEDS = tuple(range(200, 500))
DEVELOPMENT = (0, 2, 4)
SETTINGS = 12  # of each arm in each round
MARGINS = (0.5, 1.0)  # of equivalence, in points
NOISE = {"joint": 0.8, "uniform_sum": 0.8, "dgl": 1.2}
RATES, DECAYS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8), (0.001, 0.003, 0.01, 0.03)
DISPERSIONS, ANCHORINGS = (0.02, 0.1, 0.3, 1.0, 5.0, 20.0), (0.5, 2.0, 8.0, 20.0, 50.0, 100.0)
QUARTILES = ("q25", "q50", "q75")
PROBE = {"learning_rate": 0.2, "weight_decay": 0.01}  # of the runs that give RADII
RADII = {
    "joint": {"q25": 1.0, "q50": 1.05, "q75": 1.09},
    "uniform_sum": {"q25": 0.99, "q50": 1.03, "q75": 1.08},
    "dgl": {"q25": 1.05, "q50": 1.09, "q75": 1.14},
}
AXES: dict[str, dict[str, tuple[Any, ...]]] = {
    "none": {},
    "published": {"beta": (0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0), "radius": (0.0, 0.25, 0.5, *QUARTILES)},
    "sum": {"dispersion": DISPERSIONS, "anchoring": ANCHORINGS, "radius": QUARTILES},
    "band": {"anchoring": ANCHORINGS, "radius": QUARTILES},
    "rigid": {"anchoring": ANCHORINGS},
    "dispersion": {"dispersion": DISPERSIONS},
    "barlow": {"weight": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)},
    "unit sphere": {},
}
# The axes of every arm; each round gives every arm SETTINGS more.
WIDER = {"rate": (0.05, 0.1, 0.2, 0.4, 0.8, 1.6), "decay": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)}
STILL_WIDER = {"rate": (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4), "decay": WIDER["decay"]}  # for the unit sphere
ROUNDS: tuple[dict[str, tuple[float, ...]], ...] = (
    {"rate": RATES, "decay": DECAYS}, WIDER, STILL_WIDER,
)  # fmt: skip
COMMON = UNSEEN_SPEAKERS | {
    "encoder_options": {"width": 4}, "batch_size": 128, "epochs": 8, "evaluate_every": 8, "monitor": True,
}  # fmt: skip
BANDED = ("published", "published 0.2", "published 2", "sum", "band", "anchoring")  # have a radius above 0
PLACES = {"fused": "accuracy/fused", "audio alone": "accuracy/audio", "image alone": "accuracy/image",
          "audio, k-NN": "knn_probe/audio", "image, k-NN": "knn_probe/image"}  # fmt: skip


def regularizer(arm: str, values: Mapping[str, Any]) -> nn.Module | None:
    """Return the objective of an arm for one value per axis, with the radius as a number."""
    get = values.get
    if arm == "published":
        return pareto(values["beta"], values["radius"])
    if arm in ("none", "unit sphere"):
        return UnitSphere() if arm == "unit sphere" else None
    if arm == "barlow":
        return BarlowTwins(values["weight"])
    return GeometryRegularizer(get("dispersion", 0.0), get("anchoring", 0.0), radius=get("radius", 0.0))


@cache
def design(arm: str) -> list[dict[str, Any]]:
    """Return the settings of an arm, axis -> value, ``SETTINGS`` different ones for each round."""
    settings: list[dict[str, Any]] = []
    for number, common in enumerate(ROUNDS):
        axes = common | AXES[arm]
        generator = np.random.default_rng([number, list(AXES).index(arm)])
        found: list[tuple[Any, ...]] = []
        known = {tuple(setting.values()) for setting in settings}
        turns = [np.arange(SETTINGS) % len(values) for values in axes.values()]
        while len(set(found) - known) < SETTINGS:  # tens of thousands of times for the arms with two axes
            columns = [
                [values[k] for k in generator.permutation(generator.permutation(len(values))[turn])]
                for values, turn in zip(axes.values(), turns, strict=True)
            ]
            found = list(zip(*columns, strict=True))
        settings += [dict(zip(axes, own, strict=True)) for own in found]
    return settings


def _arm(name: str, paradigm: str) -> Arm:
    settings = {}
    for number, values in enumerate(design(name), 1):
        numbers = {axis: RADII[paradigm].get(value, value) for axis, value in values.items()}
        settings[f"{number:02}"] = {"learning_rate": values["rate"], "weight_decay": values["decay"],
                                    "regularizer": regularizer(name, numbers)}  # fmt: skip
    return Arm(settings)


def _cell(paradigm: str, arms: Mapping[str, Arm], seeds: Sequence[int], development: Sequence[int]) -> Cell:
    options = COMMON["dataset_options"] | {"image_noise": NOISE[paradigm]}
    config = COMMON | {"paradigm": paradigm, "dataset_options": options}
    return Cell({"paradigm": paradigm}, config, arms, seeds, development)


STUDY = Study(
    name="verdict",
    path="{paradigm}/seed{seed}/{arm}-{setting}.json",
    cells=tuple(_cell(p, {name: _arm(name, p) for name in AXES}, SEEDS, DEVELOPMENT) for p in RADII),
    against="none",
    later=tuple(_cell(p, {"none": Arm({"probe": PROBE})}, DEVELOPMENT, ()) for p in RADII),
    keep_diverged=True,
    together=len(AXES),
)


def _questions() -> tuple[Question, ...]:
    def here(paradigm: str, arm: str) -> tuple[str, str]:
        names = {"published 0.2": "published", "published 2": "published", "anchoring": "band"}
        return paradigm, names.get(arm, arm)

    found = (q._replace(ours=here(*q.ours), other=here(*q.other)) for q in CLAIMS)
    return tuple(dict.fromkeys(found))


QUESTIONS = _questions()


# Registration


def digest() -> str:
    """Return the sha256 of the protocol: its text, the configs of all runs, the seeds and the claims."""
    runs = {
        STUDY.file(cell, 0, arm, setting): TrainConfig(**{**cell.config, **fields}).to_dict()
        for cell in STUDY.cells for arm, own in cell.arms.items() for setting, fields in own.settings.items()
    }  # fmt: skip
    claims = [[*question[:4], question.low, str(question.high)] for question in QUESTIONS]
    whole = {"text": __doc__, "runs": runs, "seeds": SEEDS, "development": DEVELOPMENT, "claims": claims}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def registration(folder: str | Path) -> dict[str, Any]:
    """Return the content of ``registration.json``: the digest and, by paradigm, the frozen settings."""
    frozen = {cell.columns["paradigm"]: STUDY.frozen(folder, cell) for cell in STUDY.cells}
    return {"protocol": digest(), "frozen": frozen}


def check_registration(folder: str | Path) -> None:
    """Raise ValueError unless ``registration.json`` is there and as it has to be now."""
    path = Path(folder) / "registration.json"
    if not path.exists() or json.loads(path.read_text()) != registration(folder):
        raise ValueError(
            f"{path} is missing or of another protocol: run 'python -m experiments.verdict --register' and "
            "commit it before the first test seed, or restore the registered protocol."
        )


# Tables


def whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the seeds in which every run is recorded and none diverged."""
    runs = frame.groupby("seed").size()
    return converged(frame[frame["seed"].isin(runs.index[runs == len(AXES) * len(STUDY.cells)])])


def edges(arm: str, values: Mapping[str, Any]) -> list[str]:
    """Return the axes of an arm on which a setting has the lowest or the highest value."""
    axes = {axis: sorted({x for common in ROUNDS for x in common[axis]}) for axis in ROUNDS[0]} | AXES[arm]
    return [axis for axis, value in values.items() if value in (axes[axis][0], axes[axis][-1])]


def picked(folder: str | Path) -> pd.DataFrame:
    """Return the registered settings as text: a row per paradigm and arm, with the axes at an edge."""
    import pandas as pd

    rows, frozen = {}, json.loads((Path(folder) / "registration.json").read_text())["frozen"]
    for cell in STUDY.cells:
        paradigm = cell.columns["paradigm"]
        for arm, own in cell.arms.items():
            values = design(arm)[int(frozen[paradigm][arm]) - 1]
            rows[f"{NAMES[paradigm]}, {arm}"] = {
                "setting": ", ".join(f"{axis} {value}" for axis, value in values.items()),
                "trials": str(len(own.settings)),
                "edge": ", ".join(edges(arm, values)) or "-",
            }
    return pd.DataFrame(rows).T


def _equivalence(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdicts of a row with 90 % intervals, over seeds; for new speakers."""
    words = {SUPPORTED: "equivalent", EXCLUDED: "different", UNDECIDED: "undecided"}

    def said(wide: str, margin: float) -> str:
        return words[verdict(100 * row[f"{wide}low"], 100 * row[f"{wide}high"], -margin, margin)]

    return {f"±{margin:g}": f"{said('', margin)}; {said('wide_', margin)}" for margin in MARGINS}


def table(frame: pd.DataFrame, data: str = "speakers", places: Mapping[str, str] = PLACES) -> pd.DataFrame:
    """Return the decisive table as text, a row per paradigm and arm; see the protocol for its columns.

    ``data`` and ``frame`` may be those of a study of ``cousins``, with its modalities in ``places``.
    """
    import pandas as pd

    arms = {arm: "none" for arm in frame["arm"].unique() if arm != "none"}

    def by_arm(metric: str, **options: float) -> pd.DataFrame:
        return gains(data, frame, metric, arms, **options).set_index(["paradigm", "arm"])

    found = {name: by_arm(f"test/{place}") for name, place in places.items()}
    narrow, drift = by_arm("test/accuracy/fused", level=0.9), by_arm("test/paired_drift/mean")
    cosine = by_arm("test/mean_cosine/mean")
    means, rows = frame.groupby(["paradigm", "arm"]).mean(numeric_only=True), {}
    for key, row in found["fused"].sort_index(level="paradigm", sort_remaining=False).iterrows():
        outside = means.loc[key].get("test/band_violation/mean", float("nan"))
        banded = key[1] in BANDED
        rows[f"{NAMES[key[0]]}, {key[1]}"] = {
            "none": f"{100 * row['baseline']:.1f}",
            "fused": change(row), f"new {NEW[data]}": wide_change(row),
            "would see": f"{100 * row['detectable']:.1f}; {100 * row['wide_detectable']:.1f}",
            **_equivalence(narrow.loc[key]),
            **{name: change(own.loc[key]) for name, own in list(found.items())[1:]},
            "dose": watched(means.loc[key])["dose"],
            "inside": f"{100 * (1 - outside):.0f} %" if banded else "-",
            "active": ("yes" if ACTIVE[0] <= 1 - outside <= ACTIVE[1] else "no") if banded else "-",
            "cosine": change(cosine.loc[key], 1, 2), "drift": change(drift.loc[key], 1, 2),
            "changed": "yes" if cosine.loc[key]["high"] < 0 and drift.loc[key]["high"] < 0 else "no",
        }  # fmt: skip
    return pd.DataFrame(rows).T


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the answers as text, a row per claim: gain, both intervals, detectable gains and verdicts."""
    import pandas as pd

    found = answers("speakers", frame, "image", QUESTIONS).to_dict("records")
    return pd.DataFrame({QUESTIONS[row["question"]].words(): in_words(row) for row in found}).T


def in_words(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of ``cousins.judged`` as texts: the gain, and each interval with its verdict."""
    return {"gain": f"{row['gain']:+.1f}"} | {
        title: f"[{row[f'{wide}low']:+.1f}, {row[f'{wide}high']:+.1f}] "
               f"({row[f'{wide}detectable']:.1f}) {row[f'{wide}verdict']}"
        for title, wide in (("over seeds", ""), ("for new speakers", "wide_"))
    }  # fmt: skip


def elsewhere(data: str, results: str | Path) -> pd.DataFrame:
    """Return the decisive table of data of ``cousins``, with the neglected modality beside fused accuracy."""
    folder = Path(results) / "cousins" / data
    weak = neglected(data, folder)
    places = {
        "fused": "accuracy/fused",
        f"{weak} alone": f"accuracy/{weak}",
        f"{weak}, k-NN": f"knn_probe/{weak}",
    }
    return table(loaded(data, folder), data, places)


def summary(frame: pd.DataFrame, folder: Path) -> str:
    """Return all tables in Markdown; those of other data if their records are beside ``folder``."""
    frame = whole(frame)
    seeds = f"digits, {frame['seed'].nunique()} of {len(SEEDS)} seeds"
    parts = [(picked(folder), "digits, frozen"), (table(frame), seeds), (verdicts(frame), "claim, in points")]
    others = [data for data in MODALITIES if (folder.parent / "cousins" / data).exists()]
    parts += [(elsewhere(data, folder.parent), data) for data in others]
    return "\n\n".join(markdown(*part) for part in parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study's command line with ``--register`` beside it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.verdict", add_help=False, allow_abbrev=False)
    parser.add_argument("--register", action="store_true", help="freeze the picked settings and the protocol")
    chosen, rest = parser.parse_known_args(arguments)
    if {"-h", "--help"} & set(rest):
        parser.print_help()
    folder = Path(f"results/{STUDY.name}")
    try:
        if chosen.register:
            text = json.dumps(registration(folder), indent=1, sort_keys=True)
            write_atomically(folder / "registration.json", f"{text}\n".encode())
            print(markdown(picked(folder), "digits, frozen"))
            return 0
        if not {"--development", "--summary", "--csv", "-h", "--help"} & set(rest):
            check_registration(folder)
    except (OSError, ValueError) as error:
        print(f"verdict: {error}", file=sys.stderr)
        return 1
    return STUDY.main(lambda frame: summary(frame, folder), arguments=rest)


if __name__ == "__main__":
    sys.exit(main())
