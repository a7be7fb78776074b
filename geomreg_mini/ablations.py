"""Controls and ablations on spoken and written digits: what else could one add, and which part does what?

    python -m geomreg_mini.ablations --jobs 2        # resumable; skips what is recorded

The protocol, fixed before any test number was looked at. Everything is trained in one regime, unseen
speakers with all labels and image noise 0.8, under joint training, and where named under DGL. In the group
"controls" every objective has three settings, no regularizer three learning rates, and fused validation
accuracy picks one for each of five seeds. The other groups start from ``MODERATE`` and change one thing;
what comes in several scales ("form") has two settings to pick from. The maps over two hyperparameters have
three seeds and show every point.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .records import Record
from .sweeps import best, command, paired_gains, recorded, work_through
from .training import REGULARIZERS, TrainConfig

if TYPE_CHECKING:
    import pandas as pd

SEEDS, MAP_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)
DATA = {"source": "spoken", "protocol": "unseen_speakers", "labels": None, "image_noise": 0.8}
MODERATE = {"dispersion_weight": 0.05, "anchoring_weight": 2.0, "temperature": 0.5, "radius": 0.4}
GENTLE = {"dispersion_weight": 0.1, "anchoring_weight": 0.5, "temperature": 0.5, "radius": 0.6}
TIGHT = {"dispersion_weight": 0.02, "anchoring_weight": 5.0, "temperature": 1.0, "radius": 0.3}
GEOMETRY = "GeometryRegularizer"


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
            dataset="digits",
            dataset_options=DATA,
            paradigm=self.paradigm,
            regularizer=regularizer,
            epochs=12,
            evaluate_every=2,
            seed=seed,
            **self.options,
        )


def _controls() -> Iterator[Variant]:
    for rate in (0.02, 0.05, 0.01):
        yield Variant("controls", "none", options={"learning_rate": rate})
    for arguments in (GENTLE, MODERATE, TIGHT):
        yield Variant("controls", "bounded band (ours)", GEOMETRY, arguments)
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
    for paradigm, combination in product(("joint", "dgl"), ("sum", "pareto")):
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


VARIANTS = (*_controls(), *_components("joint"), *_components("dgl"), *_one_thing_changed(), *_maps())


def _path(folder: Path, variant: Variant, seed: int) -> Path:
    name = variant.setting.replace(" ", "_").replace("=", "-")  # make(1) would trip over both
    return folder / variant.paradigm / f"seed{seed}" / f"{name}.json"


def run_part(seed: int, variants: Sequence[Variant], folder: Path) -> int:
    """Train what is not recorded of these; returns their number."""
    from .data import load

    data = load("digits", seed=seed, **DATA)
    for variant in variants:
        recorded(_path(folder, variant, seed), variant.config(seed), data)
    return len(variants)


def run_ablations(folder: str | Path, *, jobs: int = 2, size: int = 8) -> None:
    """Train what is not recorded below ``folder``, ``jobs`` processes of one thread each.

    Several groups ask for the same training; it runs once. ``size`` trainings go to a process at a time.
    """
    folder, cells = Path(folder), []
    for seed in SEEDS:
        wanted = {(v.paradigm, v.setting): v for v in reversed(VARIANTS) if seed in v.seeds}
        mine = list(reversed(wanted.values()))
        cells += [(seed, mine[start : start + size], folder) for start in range(0, len(mine), size)]
    work_through(run_part, cells, total=sum(len(mine) for _, mine, _ in cells), jobs=jobs)


def load_ablations(folder: str | Path) -> pd.DataFrame:
    """One row a variant and seed: group, paradigm, name, setting, seed, ``selected``, and every metric.

    Seeds that lack a setting of a group, name and paradigm are left out of it.

    Raises:
        FileNotFoundError: if nothing is recorded below ``folder``.
    """
    import pandas as pd

    folder, rows = Path(folder), []
    choices: dict[tuple, list[Variant]] = {}
    for variant in VARIANTS:
        choices.setdefault((variant.group, variant.paradigm, variant.name), []).append(variant)
    for (group, paradigm, name), variants in choices.items():
        for seed in variants[0].seeds:
            paths = {v.setting: _path(folder, v, seed) for v in variants}
            if not all(path.exists() for path in paths.values()):
                continue
            records = {setting: Record.load(path) for setting, path in paths.items()}
            chosen = best(records)
            for setting, record in records.items():
                cell = {"group": group, "paradigm": paradigm, "name": name, "setting": setting, "seed": seed}
                rows.append({**cell, "selected": setting == chosen, **record.metrics})
    if not rows:
        raise FileNotFoundError(f"no records below {folder}: run 'python -m geomreg_mini.ablations' first.")
    return pd.DataFrame(rows)


def gains(
    frame: pd.DataFrame, metric: str, group: str, paradigm: str = "joint", against: str = "none"
) -> pd.DataFrame:
    """Paired gain of every name of a group over ``against`` in the same group, with 95 % intervals.

    Groups without a name "none" ("depth", "form", ...) are compared with the one that ``against`` names.
    Columns as in ``paired_gains``, with ``name`` in front; the row of ``against`` itself is left out.
    """
    import pandas as pd

    part = frame[(frame["group"] == group) & (frame["paradigm"] == paradigm) & frame["selected"]]
    baseline = part[part["name"] == against]
    rows = []
    for name in part["name"].unique():
        if name != against:
            treated = part[part["name"] == name].assign(name=name)
            rows.append(paired_gains(treated, baseline.assign(name=name), metric, ["name"]))
    return pd.concat(rows, ignore_index=True)


def summary(frame: pd.DataFrame) -> str:
    """Controls and components as a Markdown table: fused accuracy and its gain, in percent and points."""
    lines = ["| group | paradigm | objective | fused | gain over none [95 %] |", "|---|---|---|---|---|"]
    for group, paradigm in (("controls", "joint"), ("components", "joint"), ("components", "dgl")):
        for row in gains(frame, "test/accuracy/fused", group, paradigm).to_dict("records"):
            mean, low, high, baseline = (100 * row[k] for k in ("mean", "low", "high", "baseline"))
            gain = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
            lines.append(f"| {group} | {paradigm} | {row['name']} | {baseline + mean:.1f} | {gain} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    return command(
        "ablations",
        __doc__.split("\n")[0],
        "results/ablations",
        run_ablations,
        lambda folder: summary(load_ablations(folder)),
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
