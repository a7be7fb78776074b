"""The paper's question on small real data: a watch at the wrist, emoji by picture and name, views of digits.

    python -m experiments.cousins --development     # the seeds that pick; resumable
    python -m experiments.cousins --jobs 2          # those that are left, then the seeds that test
    python -m experiments.cousins --summary         # tables of the records

The protocol, fixed before its first test number.

*Data.* ``watch``: three sensors, seven exercises; test people are unseen, in five pairs that take turns (seed
modulo 5). ``emoji``: frozen features of picture and name, eight groups; test concepts are unseen, and each
seed draws its own concepts. ``views``: three weak views of handwritten digits (fou, zer, mor), of which each
seed draws its own test samples; they were added after the others were tested. Batches have 128 samples, and
the encoders of the watch half the usual width, so that all of this fits into an hour or two of one core.

*Paradigms and arms.* Joint training has all of ``ARMS``. Uniform sum and DGL have the first four, on the
watch, where a run takes several times as long, the first three. The published method is the Pareto balance at
radius 0.25 with strength 0.2 and 2. Strength 2 and the plain sum 1 + 1 give both terms the same total weight.
Barlow Twins has the weight of {0.001, 0.003, 0.01, 0.03, 0.1} whose dose is closest, in its logarithm, to
that of the published method at strength 2: under joint training at rate 0.05, with development seed 0, in the
last epoch. On emoji that is the largest, 2.1 against 3.9; with 0.3 training diverges. On the views it is 0.63
against 0.61. The dose is the length of the gradient over that of the task's, at the embeddings, mean over
modalities.

*Development.* Every arm picks its learning rate among the same ``RATES`` by fused validation accuracy, mean
over ``DEVELOPMENT``; a training that diverges counts as 0. If an arm picks the lowest or the highest, all
arms of that data set get one rate more at that end. Nothing of a test split is looked at. The rate is then
frozen.

*Test.* ``SEEDS``, fresh, one run each. A seed in which a training of that data set diverges is left out of
its tables, which say how many seeds they have. Gains are paired by seed. Two intervals stand side by side:
over seeds, and for new people, concepts or samples. On the watch, the latter takes the mean gain of each pair
of people as one value. On emoji, it widens the interval over seeds by sqrt(1 + n 2/7), because n random
splits into 7/1/2 tenths share their samples (Nadeau and Bengio, Machine Learning 52, 2003); on the views,
with 1,400 samples that train and 300 that test, by sqrt(1 + n 3/14).

*Verdicts.* Each of ``QUESTIONS`` claims that a gain lies in a range of points. It is *supported* if the
interval lies in the range, *excluded* if it lies outside of it, and *undecided* otherwise. Beside it stands
the gain that would be detected with a chance of 80 %. The neglected modality is the one whose accuracy alone
is furthest below that under uniform sum, by validation on the development seeds. On digits, the records of
``paper_settings`` are judged by the same rule, where an arm is the same; there it is the image.

*Without classes.* On emoji, two encoders also agree on clusters, and retrieve names by pictures and pictures
by names, in batches of 256, among the names or pictures of all test concepts. Their learning rates are chosen
in the same way, by the mutual information of both modalities' clusters, so without labels, and by the mean of
R@1, R@5 and R@10 in both directions. Retrieval was tested on twelve seeds first, and on the other eight after
a look at these, with nothing else changed.

*Missing signals.* On the watch, one model reads every subset of the three signals (``modality_dropout``: each
batch drops signals at random). Its learning rates are chosen by the mean validation accuracy over subsets.

The sixth hypothesis, about noise and the number of labels, is not part of this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from data_scripts.fetch import write_atomically
from geomreg_mini import GeometryRegularizer
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.benchmarks.subset_models import subsets
from geomreg_mini.controls import BarlowTwins
from geomreg_mini.data import load
from geomreg_mini.models import Encoded

from . import paper_settings
from .judging import verdict
from .paper_settings import NAMES as PARADIGM_NAMES
from .paper_settings import pareto, watched
from .study import WATCHED, Arm, Cell, Study, change, markdown

if TYPE_CHECKING:
    import pandas as pd

SEEDS = tuple(range(100, 120))
DEVELOPMENT = (0, 1, 2)
FOLDS = 5  # pairs of people of the watch
PEOPLE = {"watch": FOLDS, "subsets": FOLDS, "speakers": 6}  # groups of unseen people, by turns
RATES = {
    "watch": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    "emoji": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    "views": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
}
# What is new in the second interval; "speakers" are those of the study ``verdict``.
NEW = {"speakers": "speakers", "watch": "people", "emoji": "concepts", "views": "samples"}
SHARES = {"emoji": 2 / 7, "views": 3 / 14}  # test samples over training samples of random splits
BARLOW = {"watch": 0.1, "emoji": 0.1, "views": 0.03}  # weights of the same dose, see above
ARMS = ("none", "published 0.2", "published 2", "sum", "dispersion", "anchoring", "barlow")
PARADIGMS = {
    "watch": {"joint": ARMS, "uniform_sum": ARMS[:3], "dgl": ARMS[:3]},
    "emoji": {"joint": ARMS, "uniform_sum": ARMS[:4], "dgl": ARMS[:4]},
    "views": {"joint": ARMS, "uniform_sum": ARMS[:4], "dgl": ARMS[:4]},
}
NAMES = PARADIGM_NAMES | {"uniform_sum": "uniform sum"}
COMMON: dict[str, Any] = {"batch_size": 128, "monitor": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "watch": {"dataset": "watch", "dataset_options": {}, "encoder_options": {"width": 8},
              "epochs": 8, "evaluate_every": 4},
    "emoji": {"dataset": "emoji", "dataset_options": {"features": True}, "epochs": 12, "evaluate_every": 6},
    "views": {"dataset": "multiview_digits", "dataset_options": {"views": ["fou", "zer", "mor"]},
              "epochs": 10, "evaluate_every": 5},
}  # fmt: skip
MODALITIES = {
    "watch": ("posture", "acceleration", "rotation"),
    "emoji": ("picture", "name"),
    "views": ("fou", "zer", "mor"),
}
# Quantities of a record that are kept.
KEPT = ("accuracy", "mean_accuracy", "knn_probe", "paired_drift", "modality_gap", "cross_modal_margin",
        "mean_cosine", "effective_rank", "band_violation", "cluster_accuracy", "mutual_information",
        "R@1", "R@5", "R@10", "mean_recall", *WATCHED)  # fmt: skip


def regularizer(arm: str, barlow: float) -> GeometryRegularizer | BarlowTwins | None:
    """Return the objective of an arm; ``barlow`` is the weight of Barlow Twins."""
    return {
        "none": None,
        "published 0.2": pareto(0.2, 0.25),
        "published 2": pareto(2.0, 0.25),
        "sum": GeometryRegularizer(1.0, 1.0, radius=0.25),
        "dispersion": GeometryRegularizer(1.0, 0.0, radius=0.25),
        "anchoring": GeometryRegularizer(0.0, 1.0, radius=0.25),
        "barlow": BarlowTwins(barlow),
    }[arm]


def _arms(names: Sequence[str], rates: Sequence[float], barlow: float) -> dict[str, Arm]:
    return {
        name: Arm(
            {f"rate-{r:g}": {"regularizer": regularizer(name, barlow), "learning_rate": r} for r in rates}
        )
        for name in names
    }


def _study(data: str) -> Study:
    return Study(
        name="cousins",
        path="{paradigm}/seed{seed}/{arm}-{setting}.json",
        cells=tuple(
            Cell({"paradigm": paradigm}, CONFIGS[data] | COMMON | {"paradigm": paradigm},
                 _arms(names, RATES[data], BARLOW[data]), SEEDS, DEVELOPMENT)
            for paradigm, names in PARADIGMS[data].items()
        ),
        against="none",
        keep_diverged=True,
        folder=f"results/cousins/{data}",
        kept=KEPT,
    )  # fmt: skip


def _of_task(task: str, data: str, arms: Sequence[str], rates: Sequence[float], **config: Any) -> Study:
    fields = CONFIGS[data] | COMMON | {"task": task, "optimizer": "adam", "weight_decay": 0.0} | config
    return Study(
        name="cousins",
        path="seed{seed}/{arm}-{setting}.json",
        cells=(Cell({}, fields, _arms(arms, rates, BARLOW[data]), SEEDS, DEVELOPMENT),),
        against="none",
        selection=f"validation/{TASKS[task].selection}",
        folder=f"results/cousins/{FOLDERS[task]}",
        kept=KEPT,
    )


FOLDERS = {"retrieval": "retrieval", "clustering": "clusters", "subsets": "subsets"}
STUDIES = {
    "emoji": _study("emoji"),
    "watch": _study("watch"),
    "views": _study("views"),
    "retrieval": _of_task(
        "retrieval", "emoji", ("none", "published 0.2", "published 2", "sum"),
        (0.0003, 0.001, 0.003, 0.01, 0.03),
        paradigm="contrastive", batch_size=256, epochs=40, evaluate_every=10,
    ),
    "clusters": _of_task(
        "clustering", "emoji", ("none", "published 2", "sum", "dispersion", "anchoring"),
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        paradigm="swav", fusion="prototypes", epochs=24, evaluate_every=12,
    ),
    "subsets": _of_task(
        "subsets", "watch", ("none", "published 0.2", "published 2", "sum"),
        (0.001, 0.003, 0.01, 0.03),
        paradigm="modality_dropout", fusion="transformer", encoder="resnet18", embedding_dim=32, epochs=6,
        evaluate_every=3, encoder_options={"tokens": 4, "width": 8, "depth": 1, "attention_heads": 4},
    ),
}  # fmt: skip
# Columns of the tables of one task: (metric, factor, digits).
PAIR, TURNED = "-".join(MODALITIES["emoji"]), "-".join(MODALITIES["emoji"][::-1])
GEOMETRY = {"gap": (f"modality_gap/{PAIR}", 1, 2), "drift": (f"paired_drift/{PAIR}", 1, 2)}
COLUMNS = {
    "clusters": {f"{m}, ACC": (f"cluster_accuracy/{m}", 100, 1) for m in (*MODALITIES["emoji"], "joint")}
    | {"margin": (f"cross_modal_margin/{PAIR}", 1, 2)} | GEOMETRY,
    "retrieval": {f"R@{k}, {way}": (f"R@{k}/{way}", 100, 1) for way in (PAIR, TURNED) for k in (1, 10)}
    | {"mean recall": ("mean_recall/both", 100, 1)} | GEOMETRY,
    "subsets": {"mean": ("mean_accuracy/subsets", 100, 1)}
    | {" + ".join(s): (f"accuracy/{'+'.join(s)}", 100, 1) for s in subsets(MODALITIES["watch"])},
}  # fmt: skip


# Hypotheses


class Question(NamedTuple):
    """A claim: the gain of ``ours`` over ``other``, as (paradigm, arm), is from ``low`` to ``high`` points.

    ``outcome``: "fused", or of the neglected modality its accuracy "alone" or its "k-NN" probe.
    """

    hypothesis: str
    ours: tuple[str, str]
    other: tuple[str, str]
    outcome: str
    low: float
    high: float = float("inf")

    def words(self) -> str:
        """Return the claim in words."""
        most = "" if self.high == float("inf") else f" to {self.high:g}"
        least = f"{self.low:g}{most}" if most else f"at least {self.low:g}"
        (paradigm, ours), (whose, other) = self.ours, self.other
        other = other if whose == paradigm else f"{NAMES[whose]}, {other}"
        return f"{self.hypothesis}, {NAMES[paradigm]}: {ours} minus {other}, {self.outcome}: {least}"


def _questions() -> tuple[Question, ...]:
    strengths = ("published 0.2", "published 2")
    found = []
    for paradigm, outcome, low, high, number in (
        ("joint", "alone", 3.0, float("inf"), "H1"),
        ("joint", "k-NN", 3.0, float("inf"), "H1"),
        ("dgl", "fused", 0.0, 1.0, "H3"),
        ("dgl", "fused", 1.5, float("inf"), "H3"),
        ("uniform_sum", "fused", 1.0, float("inf"), "H4"),
        ("uniform_sum", "alone", 1.0, float("inf"), "H4"),
        ("uniform_sum", "k-NN", 1.0, float("inf"), "H4"),
    ):
        found += [
            Question(number, (paradigm, arm), (paradigm, "none"), outcome, low, high) for arm in strengths
        ]
    found.append(Question("H2", ("joint", "published 0.2"), ("joint", "none"), "fused", -1.0, 1.0))
    for outcome in ("fused", "alone", "k-NN"):
        found.append(Question("H4", ("joint", "published 2"), ("uniform_sum", "none"), outcome, 1.0))
    for number, others in (("H4", ("dispersion", "anchoring", "barlow")), ("H5", ("sum",))):
        for other in others:
            found += [
                Question(number, ("joint", "published 2"), ("joint", other), outcome, 1.0)
                for outcome in ("fused", "alone", "k-NN")
            ]
    return tuple(sorted(found, key=lambda question: question.hypothesis))


QUESTIONS = _questions()


def neglected(data: str, folder: str | Path) -> str:
    """Return the modality that loses most under joint training, by its accuracy alone; see the protocol."""
    study, alone = STUDIES[data], {}
    for paradigm in ("joint", "uniform_sum"):
        cell = next(cell for cell in study.cells if cell.columns["paradigm"] == paradigm)
        cell = replace(cell, arms={"none": cell.arms["none"]})
        frame = study.load(folder, [cell.tuning()])
        frame = frame[frame["setting"] == study.frozen(folder, cell)["none"]]
        alone[paradigm] = {m: frame[f"validation/accuracy/{m}"].mean() for m in MODALITIES[data]}
    return max(MODALITIES[data], key=lambda m: alone["uniform_sum"][m] - alone["joint"][m])


def loaded(data: str, folder: str | Path) -> pd.DataFrame:
    """Return the test runs of a study that are recorded, without the seeds in which one diverged."""
    frame = STUDIES[data].load(folder, partial=True)
    return converged(frame) if data in MODALITIES else frame


def converged(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of classification without the seeds in which one diverged."""
    diverged = frame.loc[frame["test/accuracy/fused"].isna(), "seed"]
    return frame[~frame["seed"].isin(diverged)]


def gains(
    data: str, frame: pd.DataFrame, metric: str, against: Mapping[str, str],
    by: Sequence[str] = ("paradigm",), level: float = 0.95,
) -> pd.DataFrame:  # fmt: skip
    """Return ``Study.gains`` with the interval for new people or concepts beside it.

    The columns ``wide_low``, ``wide_high`` and ``wide_detectable`` are its; NaN on digits. "speakers" are
    those of the study ``verdict``.
    """
    study, options = STUDIES.get(data, paper_settings.STUDY), {"by": by, "against": against, "level": level}
    rows = study.gains(frame, metric, **options)
    wide = rows.copy()
    if data in PEOPLE:
        wide = study.gains(frame.assign(seed=frame["seed"] % PEOPLE[data]), metric, **options)
    elif data in SHARES:
        factor = (1 + rows["seeds"] * SHARES[data]) ** 0.5
        wide["low"], wide["high"] = (
            rows["mean"] + factor * (rows[side] - rows["mean"]) for side in ("low", "high")
        )
        wide["detectable"] *= factor
    else:
        wide[["low", "high", "detectable"]] = float("nan")
    return rows.assign(**{f"wide_{name}": wide[name] for name in ("low", "high", "detectable")})


def wide_change(row: Mapping[str, float], scale: float = 100, digits: int = 1) -> str:
    """Return ``change`` of a row of ``gains`` with the interval for new people or concepts."""
    return change({**row, "low": row["wide_low"], "high": row["wide_high"]}, scale, digits)


def answers(
    data: str, frame: pd.DataFrame, weak: str, questions: Sequence[Question] = QUESTIONS
) -> pd.DataFrame:
    """Return one row per question that the data can answer, in points.

    Columns: ``question`` (its position), ``gain``, ``low``, ``high``, ``wide_low``, ``wide_high``,
    ``detectable``, ``wide_detectable``, ``seeds``, and ``verdict`` and ``wide_verdict`` by both intervals.
    """
    import pandas as pd

    places = {"fused": "accuracy/fused", "alone": f"accuracy/{weak}", "k-NN": f"knn_probe/{weak}"}
    frame = frame.assign(arm=frame["paradigm"] + ", " + frame["arm"])
    known, found = set(frame["arm"]), []
    for number, question in enumerate(questions):
        ours, other = ", ".join(question.ours), ", ".join(question.other)
        if not {ours, other} <= known:
            continue
        row = gains(data, frame, f"test/{places[question.outcome]}", {ours: other}, by=()).iloc[0]
        found.append({"question": number, **judged(row, question.low, question.high)})
    return pd.DataFrame(found)


def judged(row: Mapping[str, Any], least: float, most: float) -> dict[str, Any]:
    """Return a row of ``gains`` in points with the verdicts on the claim that it is ``least`` to ``most``.

    Its keys are the columns of ``answers`` but ``question``.
    """
    values = {"seeds": int(row["seeds"]), "gain": 100 * row["mean"]}
    for prefix in ("", "wide_"):
        low, high = 100 * row[f"{prefix}low"], 100 * row[f"{prefix}high"]
        values |= {f"{prefix}low": low, f"{prefix}high": high,
                   f"{prefix}detectable": 100 * row[f"{prefix}detectable"],
                   f"{prefix}verdict": verdict(low, high, least, most)}  # fmt: skip
    return values


# What a table needs beside its gains

BASELINES = "baselines.csv"  # next to the records


def baselines(data: str, seeds: Sequence[int] = SEEDS[:FOLDS]) -> pd.DataFrame:
    """Return scores without training a network: columns ``seed``, ``baseline``, ``place`` and ``score``.

    Chance, and for classes the commonest. On the raw features of each modality and of all of them logistic
    regression, or for clusters k-means; for retrieval, ridge regression from one modality to the other. For
    subsets of signals, logistic regression on mean and deviation of each axis. The seeds have all pairs of
    people of the watch.
    """
    import pandas as pd

    config, rows = STUDIES[data].cells[0].config, []
    for seed in seeds:
        sets, raw = load(config["dataset"], seed=seed, **config["dataset_options"]), {}
        for name in ("train", "validation", "test"):
            split = getattr(sets, name)
            if data == "subsets":
                own = {m: torch.cat([x.mean(2), x.std(2)], dim=1) for m, x in split.inputs.items()}
                z = {"+".join(s): torch.cat([own[m] for m in s], dim=1) for s in subsets(tuple(own))}
            else:
                z = {m: x.flatten(1) for m, x in split.inputs.items()}
                z["all"] = torch.cat([torch.nn.functional.normalize(x, dim=1) for x in z.values()], dim=1)
            raw[name] = Encoded(z, split.labels)
        for name, score in _baseline(data, raw, sets.num_classes).items():
            rows.append((seed, *name.split("/"), score))
    return pd.DataFrame(rows, columns=["seed", "baseline", "place", "score"])


def _baseline(data: str, raw: Mapping[str, Encoded], classes: int) -> dict[str, float]:
    """Return "baseline/place" -> score of ``baselines`` from the raw features of three splits."""
    from sklearn.linear_model import Ridge

    from geomreg_mini.benchmarks.clustering_metrics import cluster_accuracy, k_means
    from geomreg_mini.benchmarks.retrieval_metrics import recalls
    from geomreg_mini.evaluation import linear_probe

    train, test = raw["train"], raw["test"]
    if data == "retrieval":
        owner, found = torch.arange(len(test.labels)), {}
        for first, second in (MODALITIES["emoji"], MODALITIES["emoji"][::-1]):
            ridge = Ridge(alpha=100.0).fit(train.embeddings[first].numpy(), train.embeddings[second].numpy())
            guess = torch.from_numpy(ridge.predict(test.embeddings[first].numpy()))
            scores = recalls(guess, test.embeddings[second], owner, names=(first, second))
            for k in (1, 10):
                found[f"chance/R@{k}, {first}-{second}"] = k / len(owner)
                found[f"ridge regression/R@{k}, {first}-{second}"] = scores[f"R@{k}/{first}-{second}"]
        return found
    common = (test.labels == train.labels.mode().values).double().mean().item()
    found = {"chance/all": 1 / classes, "commonest class/all": common}
    if data == "clusters":
        clusters = {m: k_means(x, test.embeddings[m], classes) for m, x in train.embeddings.items()}
        return found | {f"k-means/{m}": cluster_accuracy(test.labels, own) for m, own in clusters.items()}
    probes = linear_probe(train, raw["validation"], test, penalties=(0.01,))
    return found | {name.replace("linear_probe", "logistic regression"): of for name, of in probes.items()}


def write_baselines(data: str, folder: Path) -> None:
    """Write ``BASELINES`` into the folder of the records unless it is there."""
    if not (path := folder / BASELINES).exists():
        write_atomically(path, baselines(data).to_csv(index=False, float_format="%.6g").encode())


# Tables


def picked(data: str, folder: str | Path) -> pd.DataFrame:
    """Return the frozen learning rates as text, one row per paradigm and one column per arm."""
    import pandas as pd

    study = STUDIES[data]
    rows = {}
    for cell in study.cells:
        frozen = study.frozen(folder, cell)
        rows[NAMES[cell.columns["paradigm"]]] = {
            arm: f"{cell.arms[arm].settings[setting]['learning_rate']:g}" for arm, setting in frozen.items()
        }
    return pd.DataFrame(rows).T.fillna("-")


def table(data: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies as text: without a regularizer in percent, and below it the gains of the arms.

    "fused" and every other column have the interval over seeds, the second column that for new people or
    concepts; "would see" has the detectable gains for both. The last columns are means over training.
    """
    import pandas as pd

    columns = {"fused": "accuracy/fused"}
    columns |= {f"{m} alone": f"accuracy/{m}" for m in MODALITIES[data]}
    columns |= {f"{m}, k-NN": f"knn_probe/{m}" for m in MODALITIES[data]}
    found = {
        name: gains(
            data, frame, f"test/{metric}", {arm: "none" for arm in frame["arm"].unique() if arm != "none"}
        ).set_index(["paradigm", "arm"])
        for name, metric in columns.items()
    }
    means = frame.groupby(["paradigm", "arm"]).mean(numeric_only=True)
    others = f"fused, new {NEW[data]}"
    rows = {}
    for paradigm, names in PARADIGMS[data].items():
        for arm in (name for name in names if (paradigm, name) in means.index):
            key, first = (paradigm, arm), found["fused"]
            texts = {}
            for name, metric in columns.items():
                if arm == "none":
                    texts[name] = f"{100 * means.loc[key, f'test/{metric}']:.1f}"
                else:
                    texts[name] = change(found[name].loc[key])
                if name == "fused":
                    texts[others] = texts["would see"] = "-"
            if arm != "none":
                row = first.loc[key]
                texts[others] = wide_change(row)
                texts["would see"] = f"{100 * row['detectable']:.1f}; {100 * row['wide_detectable']:.1f}"
            texts |= watched(means.loc[key])
            rows[f"{NAMES[paradigm]}, {arm}"] = texts
    return pd.DataFrame(rows).T


def baseline_table(data: str, folder: str | Path) -> pd.DataFrame:
    """Return ``baselines`` in percent as text, means over its seeds."""
    import pandas as pd

    found = pd.read_csv(Path(folder) / BASELINES)
    means = found.pivot_table(index="baseline", columns="place", values="score", sort=False)
    means = means.rename(columns=lambda name: name.replace("+", " + "))  # so that a heading can wrap
    return (100 * means).map(lambda value: "-" if value != value else f"{value:.1f}")


def short_table(data: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table of a task as text: none in its units, and below it the gains.

    Where the data have people, the column "new people" has the interval for them of the first column's gain.
    """
    import pandas as pd

    arms = list(STUDIES[data].cells[0].arms)
    rows = {arm: {} for arm in arms}
    for name, (metric, scale, digits) in COLUMNS[data].items():
        found = gains(data, frame, f"test/{metric}", dict.fromkeys(arms[1:], "none"), by=())
        rows["none"][name] = f"{scale * found['baseline'].iloc[0]:.{digits}f}"
        for row in found.to_dict("records"):
            texts = rows[row["arm"]]
            texts[name] = change(row, scale, digits)
            if len(texts) == 1 and row["wide_low"] == row["wide_low"]:
                rows["none"]["new people"] = "-"
                texts["new people"] = wide_change(row, scale, digits)
    return pd.DataFrame(rows).T


def digits(folder: str | Path) -> pd.DataFrame:
    """Return the records of ``paper_settings`` that have the arms of this study, under their names."""
    names = {"none": "none", "beta0.2-tau0.25": "published 0.2", "beta2-tau0.25": "published 2",
             "intra1-inter1-tau0.25": "sum"}  # fmt: skip
    frame = paper_settings.STUDY.load(folder, paper_settings.STUDY.cells[:2])
    return frame[frame["arm"].isin(names)].assign(arm=frame["arm"].map(names))


def across(results: str | Path) -> pd.DataFrame:
    """Return ``answers`` of all data as text: a row per question, with gain and intervals in points.

    Behind each interval stand the detectable gain in brackets and the verdict: first over seeds, then for new
    people or concepts. Data of which a record is missing have no column.
    """
    import pandas as pd

    results = Path(results)
    columns = {"digits": answers("digits", digits(results / "paper_settings"), "image")}
    for data in ("emoji", "watch", "views"):
        folder = results / "cousins" / data
        if STUDIES[data].missing(folder):
            continue
        weak = neglected(data, folder)
        columns[f"{data} ({weak})"] = answers(data, loaded(data, folder), weak)
    rows = {question.words(): dict.fromkeys(columns, "-") for question in QUESTIONS}
    for name, found in columns.items():
        for row in found.to_dict("records"):
            parts = [
                f"[{row[f'{wide}low']:+.1f}, {row[f'{wide}high']:+.1f}] ({row[f'{wide}detectable']:.1f}) "
                f"{row[f'{wide}verdict']}"
                for wide in (("",) if name == "digits" else ("", "wide_"))
            ]
            rows[QUESTIONS[row["question"]].words()][name] = f"{row['gain']:+.1f} {'; '.join(parts)}"
    return pd.DataFrame(rows).T


def summary(data: str, frame: pd.DataFrame, folder: Path) -> str:
    """Return the tables of a study in Markdown."""
    every = frame["seed"].nunique()
    beside = markdown(baseline_table(data, folder), f"{data}, in percent")
    if data in COLUMNS:
        title = f"{data}, {frame['seed'].nunique()} seeds"
        return f"{markdown(short_table(data, frame), title)}\n\n{beside}"
    frame = converged(frame)
    seeds = f"{frame['seed'].nunique()} of {every} seeds"
    shown = table(data, frame)
    own = [name for name in shown if name.endswith((" alone", ", k-NN"))]  # a page is not wide enough
    return "\n\n".join([
        markdown(picked(data, folder), f"{data}, learning rate"),
        markdown(shown.drop(columns=own), f"{data}, {seeds}"),
        markdown(shown[own], f"{data}, each modality, {seeds}"),
        beside,
    ])  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of every study, or of those after ``--only``; return the worst exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cousins", add_help=False, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    chosen, rest = parser.parse_known_args(arguments)
    if {"-h", "--help"} & set(rest):
        parser.print_help()
    shown, worst = "--summary" in rest, 0
    for data in chosen.only:
        folder = Path(STUDIES[data].folder)
        status = STUDIES[data].main(
            lambda frame, data=data, folder=folder: summary(data, frame, folder),
            arguments=rest,
            after=lambda out, data=data: write_baselines(data, out),
        )
        worst = max(worst, status)
        if status and not shown:
            break
    if shown and set(chosen.only) == set(STUDIES):
        print(markdown(across("results"), "claim, in points (neglected modality)"))
    return worst


if __name__ == "__main__":
    sys.exit(main())
