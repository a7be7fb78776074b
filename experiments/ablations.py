"""Controls and ablations on spoken and written digits: other objectives, and the effect of each part.

    python -m experiments.ablations --jobs 2        # resumable; skips recorded runs

The protocol, fixed before any test number was looked at. Everything is trained in one regime, unseen
speakers with all labels and image noise 0.8, under joint training, and if named under DGL. In the group
"controls" every objective has three settings, no regularizer three learning rates, and fused validation
accuracy picks one for each of five seeds. The other groups start from ``MODERATE`` and change one thing;
an arm that comes in several scales ("form") has two settings to pick from. The maps over two
hyperparameters have three seeds and show every point.

One thing was added after the tables were seen. Under DGL anchoring alone raised fused accuracy
detectably, so the group "components" under DGL, and no other, was trained again with fifteen new seeds
(``AGAIN``), on another kind of processor. They take no part in the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from geomreg_mini.config import REGULARIZERS

from .study import GENTLE, MODERATE, TIGHT, UNSEEN_SPEAKERS, Arm, Cell, Study, change, markdown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SEEDS, MAP_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
GEOMETRY = "GeometryRegularizer"
BAND = "bounded band (ours)"
MAPS = {"weights": ("dispersion_weight", "anchoring_weight"), "band": ("temperature", "radius")}
Settings = dict[str, dict[str, Any]]


def _setting(objective: str = "", arguments: Mapping[str, Any] | None = None, **fields: Any) -> Settings:
    """Return one setting under the name that identifies its training in every group.

    ``objective`` is a class of ``REGULARIZERS`` or "" for none, with its ``arguments``; ``fields`` are those
    of ``TrainConfig``.
    """
    details = [f"{name}={value}" for name, value in {**(arguments or {}), **fields}.items()]
    if objective:
        fields = {**fields, "regularizer": REGULARIZERS[objective](**(arguments or {}))}
    return {" ".join([objective or "none", *details]): fields}


def _band(**changed: Any) -> Settings:
    return _setting(GEOMETRY, MODERATE | changed)


NONE = Arm(_setting(learning_rate=0.02))


def _controls() -> Iterator[tuple[str, Settings]]:
    """Yield (arm, one of its settings)."""
    for rate in (0.02, 0.05, 0.01):
        yield "none", _setting(learning_rate=rate)
    for arguments in (GENTLE, MODERATE, TIGHT):
        yield BAND, _setting(GEOMETRY, arguments)
    for rate in (0.02, 0.1, 0.5):  # unit vectors give small logits, so only the rate can be tuned
        yield "unit sphere", _setting("UnitSphere", learning_rate=rate)
    weights = {
        ("always-on alignment", "AlwaysOnAlignment"): (0.5, 2.0, 5.0),
        ("VICReg on the sphere", "VICReg"): (0.004, 0.02, 0.1),
        ("VICReg, unnormalized", "VICReg"): (0.004, 0.02, 0.1),
        ("Barlow Twins", "BarlowTwins"): (0.0005, 0.003, 0.02),
        ("symmetric InfoNCE", "SymmetricInfoNCE"): (0.02, 0.1, 0.5),
        ("UniAlign-style", "UniAlignStyle"): (0.02, 0.1, 0.5),
        ("KoLeo", "KoLeo"): (0.02, 0.1, 0.5),
        ("alignment + uniformity", "AlignUniform"): (0.02, 0.1, 0.5),
    }
    for (arm, objective), choices in weights.items():
        more = {"on_sphere": arm == "VICReg on the sphere"} if objective == "VICReg" else {}
        for weight in choices:
            yield arm, _setting(objective, {"weight": weight, **more})


def _forms() -> Iterator[tuple[str, Settings]]:
    yield "rbf", _band()
    for form, weights in {"cosine": (0.05,), "hinge": (0.05, 0.5), "covariance": (0.5, 5.0)}.items():
        for weight in weights:
            yield form, _band(dispersion_weight=weight, form=form)


def _maps() -> Iterator[tuple[str, str, Settings]]:
    """Yield (map, point, its setting)."""
    for dispersion, anchoring in product((0.0, 0.02, 0.05, 0.2), (0.0, 0.5, 2.0, 8.0)):
        changed = _band(dispersion_weight=dispersion, anchoring_weight=anchoring)
        yield "weights", f"{dispersion} {anchoring}", changed if dispersion or anchoring else NONE.settings
    for temperature, radius in product((0.2, 0.5, 1.0), (0.0, 0.2, 0.4, 0.8)):
        yield "band", f"{temperature} {radius}", _band(temperature=temperature, radius=radius)


def _arms(settings: Iterator[tuple[str, Settings]]) -> dict[str, Arm]:
    arms: dict[str, Settings] = {}
    for arm, setting in settings:
        arms[arm] = arms.get(arm, {}) | setting
    return {arm: Arm(own) for arm, own in arms.items()}


def _group(name: str, arms: Mapping[str, Arm], paradigm: str = "joint", seeds: Sequence[int] = SEEDS) -> Cell:
    return Cell({"group": name, "paradigm": paradigm}, UNSEEN_SPEAKERS | {"paradigm": paradigm}, arms, seeds)


COMPONENTS = {
    "none": NONE,
    "dispersion only": Arm(_band(anchoring_weight=0.0)),
    "anchoring only": Arm(_band(dispersion_weight=0.0)),
    "both": Arm(_band()),
    "both, radius 0 (rigid)": Arm(_band(radius=0.0)),
}
DEPTHS = {
    "hidden": Arm(_setting(GEOMETRY, MODERATE, depth="hidden")),
    "embedding": Arm(_band()),
    "logits": Arm(_setting(GEOMETRY, MODERATE, depth="logits")),
}
COMBINATIONS = {
    "sum": Arm(_band()),
    "task_pareto": Arm(_setting(GEOMETRY, MODERATE, combination="task_pareto")),
}
AGAIN = (_group("components", COMPONENTS, "dgl", range(5, 20)),)
STUDY = Study(
    name="ablations",
    path="{paradigm}/seed{seed}/{setting}.json",
    cells=(
        _group("controls", _arms(_controls())),
        _group("components", COMPONENTS),
        _group("components", COMPONENTS, "dgl"),
        _group("depth", DEPTHS),
        _group("form", _arms(_forms())),
        _group("power", {"1": Arm(_band(power=1)), "2": Arm(_band())}),
        _group("combination", COMBINATIONS),
        _group("combination", COMBINATIONS, "dgl"),
        *(
            _group(name, _arms((point, own) for of, point, own in _maps() if of == name), seeds=MAP_SEEDS)
            for name in MAPS
        ),
    ),
    against="none",
    later=AGAIN,
)


def differences(
    frame: pd.DataFrame,
    metric: str,
    group: str,
    paradigm: str = "joint",
    against: str = "none",
    against_group: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the paired difference of every arm of a group to ``against``, at the picked settings.

    Args:
        frame: of ``STUDY.load``.
        metric: a metric column, such as "test/accuracy/fused".
        group, paradigm: which arms.
        against: the arm to compare with; its own row is left out.
        against_group: the group that ``against`` belongs to; by default ``group``, or "components" if
            ``group`` has no such arm. There "none" has the learning rate that all groups but "controls"
            have; in "controls" it has the one that validation picked.
        level: coverage of the intervals.

    Returns:
        Columns as in ``Study.gains``.

    Raises:
        ValueError: for an arm that neither group has, or seeds that the baseline lacks.
    """
    here = frame[frame["paradigm"] == paradigm]
    part = here[here["group"] == group]
    arms = list(part["arm"].unique())
    if against_group is None:
        against_group = group if against in arms else "components"
    reference = here[here["group"] == against_group]
    if not arms or against not in set(reference["arm"]):
        raise ValueError(
            f"no picked runs of group={group!r}, or of against={against!r} in {against_group!r}, under "
            f"paradigm={paradigm!r}: give names that STUDY has and that are recorded."
        )
    pairs = {arm: against for arm in arms if (group, arm) != (against_group, against)}
    return STUDY.gains(part, metric, by=[], against=pairs, reference=reference, level=level)


def in_points(frame: pd.DataFrame, metrics: dict[str, str], *args: str, **options: Any) -> pd.DataFrame:
    """Return ``differences`` in several metrics, label -> "accuracy/fused", for ``gain_forest``."""
    import pandas as pd

    tables = [
        differences(frame, f"test/{metric}", *args, **options).assign(group=label)
        for label, metric in metrics.items()
    ]
    table = pd.concat(tables, ignore_index=True).rename(columns={"arm": "label", "mean": "gain"})
    table[["gain", "low", "high", "baseline"]] *= 100
    return table


def sensitivity(frame: pd.DataFrame, group: str, metric: str) -> pd.DataFrame:
    """Return the gains of a group of ``MAPS`` over no regularizer, with both hyperparameters in columns."""
    table = differences(frame, metric, group, against_group="components")
    table[list(MAPS[group])] = [list(map(float, point.split())) for point in table["arm"]]
    return table


def summary(frame: pd.DataFrame) -> str:
    """Return two Markdown tables of test accuracy: the controls, and the components under both paradigms.

    Accuracy in percent, differences in points with their 95 % intervals.
    """
    import pandas as pd

    def accuracy(group: str, paradigm: str = "joint") -> dict[str, str]:
        part = frame[(frame["group"] == group) & (frame["paradigm"] == paradigm) & frame["selected"]]
        means = 100 * part.groupby("arm", sort=False)["test/accuracy/fused"].mean()
        return {name: f"{mean:.1f}" for name, mean in means.items()}

    def difference(metric: str, *args: str, **options: Any) -> dict[str, str]:
        found = differences(frame, f"test/{metric}", *args, **options)
        return {row["arm"]: change(row) for row in found.to_dict("records")}

    controls = {
        "fused": accuracy("controls"),
        "minus none": difference("accuracy/fused", "controls"),
        "minus the band": difference("accuracy/fused", "controls", against=BAND),
        "audio, k-NN: minus none": difference("knn_probe/audio", "controls"),
        "image, k-NN: minus none": difference("knn_probe/image", "controls"),
    }
    components = {}
    for title, paradigm in (("joint", "joint"), ("DGL", "dgl")):
        components[f"{title}: fused"] = accuracy("components", paradigm)
        components[f"{title}: minus none"] = difference("accuracy/fused", "components", paradigm)
    return "\n\n".join(
        markdown(pd.DataFrame(columns).reindex(next(iter(columns.values()))).fillna("-"), names)
        for names, columns in {"objective": controls, "terms": components}.items()
    )


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the controls' fused accuracy against no regularizer, and against the band."""
    import matplotlib.pyplot as plt

    from geomreg_mini import plots

    from .gain_figures import gain_forest

    plots.use_style()
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True)
    for ax, against in zip(axes, ("none", BAND), strict=True):
        table = in_points(frame, {"fused": "accuracy/fused"}, "controls", against=against)
        gain_forest(table.drop(columns="group"), xlabel=f"objective minus {against}, in points", ax=ax)
    axes[0].set_title("Fused accuracy against no regularizer")
    axes[1].set_title("and against the bounded band")
    return fig


if __name__ == "__main__":
    sys.exit(STUDY.main(summary, figure))
