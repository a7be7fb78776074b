"""Controls and ablations on spoken and written digits: what else could one add, and which part does what?

    python -m experiments.ablations --jobs 2        # resumable; skips what is recorded

The protocol, fixed before any test number was looked at. Everything is trained in one regime, unseen
speakers with all labels and image noise 0.8, under joint training, and where named under DGL. In the group
"controls" every objective has three settings, no regularizer three learning rates, and fused validation
accuracy picks one for each of five seeds. The other groups start from ``MODERATE`` and change one thing;
what comes in several scales ("form") has two settings to pick from. The maps over two hyperparameters have
three seeds and show every point.

One thing was added after the tables were seen. Under DGL anchoring alone raised fused accuracy measurably, so
the group "components" under DGL, and no other, was trained again with fifteen new seeds (``AGAIN``), on
another kind of processor. They take no part in the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomreg_mini.config import REGULARIZERS
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

from .sweeps import (
    GENTLE,
    MODERATE,
    TIGHT,
    UNSEEN_SPEAKERS,
    best,
    command,
    markdown,
    paired_gains,
    recorded,
    work_through,
)

if TYPE_CHECKING:
    import pandas as pd

SEEDS, MAP_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
DATA = UNSEEN_SPEAKERS["dataset_options"]
GEOMETRY = "GeometryRegularizer"
BAND = "bounded band (ours)"
MAPS = {"weights": ("dispersion_weight", "anchoring_weight"), "band": ("temperature", "radius")}


@dataclass(frozen=True)
class Variant:
    """One training to compare: ``setting`` is a candidate among those of the same group, name and paradigm.

    ``objective`` is a class of ``REGULARIZERS`` or "" for none, ``arguments`` its constructor's, and
    ``options`` are fields of ``TrainConfig``.
    """

    group: str
    name: str
    objective: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    paradigm: str = "joint"
    seeds: tuple[int, ...] = SEEDS

    @property
    def setting(self) -> str:
        """What identifies the training, whatever group asks for it."""
        details = [f"{name}={value}" for name, value in {**self.arguments, **self.options}.items()]
        return " ".join([self.objective or "none", *details])

    def config(self, seed: int) -> TrainConfig:
        regularizer = REGULARIZERS[self.objective](**self.arguments) if self.objective else None
        return TrainConfig(
            **UNSEEN_SPEAKERS,
            paradigm=self.paradigm,
            regularizer=regularizer,
            seed=seed,
            **self.options,
        )


def _controls() -> Iterator[Variant]:
    for rate in (0.02, 0.05, 0.01):
        yield Variant("controls", "none", options={"learning_rate": rate})
    for arguments in (GENTLE, MODERATE, TIGHT):
        yield Variant("controls", BAND, GEOMETRY, arguments)
    for rate in (0.02, 0.1, 0.5):  # unit vectors give small logits, so the rate is what there is to tune
        yield Variant("controls", "unit sphere", "UnitSphere", options={"learning_rate": rate})
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
    for (name, objective), choices in weights.items():
        more = {"on_sphere": name == "VICReg on the sphere"} if objective == "VICReg" else {}
        for weight in choices:
            yield Variant("controls", name, objective, {"weight": weight, **more})


def _components(paradigm: str) -> Iterator[Variant]:
    parts = {
        "dispersion only": {"anchoring_weight": 0.0},
        "anchoring only": {"dispersion_weight": 0.0},
        "both": {},
        "both, radius 0 (rigid)": {"radius": 0.0},
    }
    yield Variant("components", "none", options={"learning_rate": 0.02}, paradigm=paradigm)
    for name, change in parts.items():
        yield Variant("components", name, GEOMETRY, MODERATE | change, paradigm=paradigm)


def _one_thing_changed() -> Iterator[Variant]:
    for depth in ("hidden", "embedding", "logits"):
        options = {} if depth == "embedding" else {"depth": depth}
        yield Variant("depth", depth, GEOMETRY, MODERATE, options)
    scales = {"rbf": (0.05,), "cosine": (0.05,), "hinge": (0.05, 0.5), "covariance": (0.5, 5.0)}
    for form, weights in scales.items():
        for weight in weights:
            more = {"dispersion_weight": weight} | ({} if form == "rbf" else {"form": form})
            yield Variant("form", form, GEOMETRY, MODERATE | more)
    for power in (1, 2):
        yield Variant("power", str(power), GEOMETRY, MODERATE | ({"power": 1} if power == 1 else {}))
    for paradigm, combination in product(("joint", "dgl"), ("sum", "task_pareto")):
        options = {} if combination == "sum" else {"combination": combination}
        yield Variant("combination", combination, GEOMETRY, MODERATE, options, paradigm)


def _maps() -> Iterator[Variant]:
    for dispersion, anchoring in product((0.0, 0.02, 0.05, 0.2), (0.0, 0.5, 2.0, 8.0)):
        change = {"dispersion_weight": dispersion, "anchoring_weight": anchoring}
        name = f"{dispersion} {anchoring}"
        if dispersion == anchoring == 0:
            yield Variant("weights", name, options={"learning_rate": 0.02}, seeds=MAP_SEEDS)
        else:
            yield Variant("weights", name, GEOMETRY, MODERATE | change, seeds=MAP_SEEDS)
    for temperature, radius in product((0.2, 0.5, 1.0), (0.0, 0.2, 0.4, 0.8)):
        change = {"temperature": temperature, "radius": radius}
        yield Variant("band", f"{temperature} {radius}", GEOMETRY, MODERATE | change, seeds=MAP_SEEDS)


AGAIN = tuple(replace(variant, seeds=tuple(range(5, 20))) for variant in _components("dgl"))
VARIANTS = (*_controls(), *_components("joint"), *_components("dgl"), *_one_thing_changed(), *_maps())


def _path(folder: Path, variant: Variant, seed: int) -> Path:
    name = variant.setting.replace(" ", "_").replace("=", "-")  # make(1) would trip over both
    return folder / variant.paradigm / f"seed{seed}" / f"{name}.json"


def run_part(seed: int, variants: Sequence[Variant], folder: Path) -> int:
    """Train what is not recorded of these; returns their number."""
    from geomreg_mini.data import load

    data = load("digits", seed=seed, **DATA)
    for variant in variants:
        recorded(_path(folder, variant, seed), variant.config(seed), data)
    return len(variants)


def run_ablations(folder: str | Path, *, jobs: int = 2, size: int = 8) -> None:
    """Train what is not recorded below ``folder``, ``jobs`` processes of one thread each.

    Several groups ask for the same training; it runs once. ``size`` trainings go to a process at a time.
    """
    folder, cells, variants = Path(folder), [], VARIANTS + AGAIN
    for seed in sorted({seed for v in variants for seed in v.seeds}):
        mine = list({(v.paradigm, v.setting): v for v in variants if seed in v.seeds}.values())
        cells += [(seed, mine[start : start + size], folder) for start in range(0, len(mine), size)]
    work_through(run_part, cells, total=sum(len(mine) for _, mine, _ in cells), jobs=jobs)


def load_ablations(folder: str | Path, variants: Sequence[Variant] = VARIANTS) -> pd.DataFrame:
    """One row a seed of each of ``variants``, those of the tables or ``AGAIN``.

    Columns: group, paradigm, name, setting, seed, ``selected``, and every metric.

    Seeds that lack a setting of a group, name and paradigm are left out of it.

    Raises:
        FileNotFoundError: if nothing is recorded below ``folder``.
    """
    import pandas as pd

    folder, rows = Path(folder), []
    choices: dict[tuple, list[Variant]] = {}
    for variant in variants:
        choices.setdefault((variant.group, variant.paradigm, variant.name), []).append(variant)
    for (group, paradigm, name), candidates in choices.items():
        for seed in candidates[0].seeds:
            paths = {v.setting: _path(folder, v, seed) for v in candidates}
            if not all(path.exists() for path in paths.values()):
                continue
            records = {setting: Record.load(path) for setting, path in paths.items()}
            chosen = best(records)
            for setting, record in records.items():
                cell = {"group": group, "paradigm": paradigm, "name": name, "setting": setting, "seed": seed}
                rows.append({**cell, "selected": setting == chosen, **record.metrics})
    if not rows:
        raise FileNotFoundError(f"no records below {folder}: run 'python -m experiments.ablations' first.")
    return pd.DataFrame(rows)


def gains(
    frame: pd.DataFrame,
    metric: str,
    group: str,
    paradigm: str = "joint",
    against: str = "none",
    against_group: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Paired difference of every name of a group to ``against``, at the picked settings.

    Args:
        frame: what ``load_ablations`` gave.
        metric: a metric column, such as "test/accuracy/fused".
        group, paradigm: which variants.
        against: the name to compare with; its own row is left out.
        against_group: the group that ``against`` belongs to; by default ``group``, or "components" where
            ``group`` has no such name. There "none" has the learning rate that all groups but "controls"
            have; in "controls" it has the one that validation picked.
        level: coverage of the intervals.

    Returns:
        Columns as in ``paired_gains``, with ``name`` in front.

    Raises:
        ValueError: for a name that neither group has, or seeds that the baseline lacks.
    """
    import pandas as pd

    picked = frame[(frame["paradigm"] == paradigm) & frame["selected"]]
    part = picked[picked["group"] == group]
    if against_group is None:
        against_group = group if against in set(part["name"]) else "components"
    baseline = picked[(picked["group"] == against_group) & (picked["name"] == against)]
    if part.empty or baseline.empty:
        raise ValueError(
            f"no picked runs of group={group!r}, or of against={against!r} in {against_group!r}, under "
            f"paradigm={paradigm!r}: give names that VARIANTS has and that are recorded."
        )
    tables = []
    for name, treated in part.groupby("name", sort=False):
        if (group, name) != (against_group, against):
            same = baseline[baseline["seed"].isin(treated["seed"])].assign(name=name)
            tables.append(paired_gains(treated, same, metric, ["name"], level=level))
    return pd.concat(tables, ignore_index=True)


def in_points(frame: pd.DataFrame, metrics: dict[str, str], *args: str, **options: Any) -> pd.DataFrame:
    """``gains`` of several metrics, label -> "accuracy/fused", as ``plots.gain_forest`` wants them."""
    import pandas as pd

    tables = [
        gains(frame, f"test/{metric}", *args, **options).assign(group=label)
        for label, metric in metrics.items()
    ]
    table = pd.concat(tables, ignore_index=True).rename(columns={"name": "label", "mean": "gain"})
    table[["gain", "low", "high", "baseline"]] *= 100
    return table


def sensitivity(frame: pd.DataFrame, group: str, metric: str) -> pd.DataFrame:
    """Gains of a group of ``MAPS`` over no regularizer, with the two hyperparameters in columns."""
    table = gains(frame, metric, group, against_group="components")
    table[list(MAPS[group])] = [list(map(float, name.split())) for name in table["name"]]
    return table


def summary(frame: pd.DataFrame) -> str:
    """Two Markdown tables of test accuracy: the controls, and the components under both paradigms.

    Accuracy in percent, differences in points with their 95 % intervals.
    """
    import pandas as pd

    def accuracy(group: str, paradigm: str = "joint") -> dict[str, str]:
        part = frame[(frame["group"] == group) & (frame["paradigm"] == paradigm) & frame["selected"]]
        means = 100 * part.groupby("name", sort=False)["test/accuracy/fused"].mean()
        return {name: f"{mean:.1f}" for name, mean in means.items()}

    def difference(metric: str, *args: str, **options: Any) -> dict[str, str]:
        table = in_points(frame, {metric: metric}, *args, **options)
        return {row.label: f"{row.gain:+.1f} [{row.low:+.1f}, {row.high:+.1f}]" for row in table.itertuples()}

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


def figure(frame: pd.DataFrame):
    """The controls as a matplotlib Figure: fused accuracy against no regularizer, and against the band."""
    import matplotlib.pyplot as plt

    from geomreg_mini import plots

    plots.use_style()
    fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True)
    for ax, against in zip(axes, ("none", BAND), strict=True):
        table = in_points(frame, {"fused": "accuracy/fused"}, "controls", against=against)
        plots.gain_forest(table.drop(columns="group"), xlabel=f"objective minus {against}, in points", ax=ax)
    axes[0].set_title("Fused accuracy against no regularizer")
    axes[1].set_title("and against the bounded band")
    return fig


def main(arguments: list[str] | None = None) -> int:
    return command(
        "ablations",
        __doc__.split("\n")[0],
        "results/ablations",
        run_ablations,
        load_ablations,
        summary,
        figure,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
