"""The settings that the paper tried, on spoken and written digits: what do they do, and which ones matter?

    python -m experiments.paper_settings --jobs 2        # resumable; skips what is recorded

The protocol, fixed before its first test number: unseen speakers, all labels, image noise 0.8; joint training
at learning rate 0.05 and DGL at 0.02, with and without the regularizer; seeds that nothing else here has used.
Nothing is chosen, so every setting is shown: the paper's nine cells of strength and radius (Figure 8) and
nine cells of two weights at radius 0 (Figure 7, those of CREMA-D), fifteen larger strengths, and a plain sum
with both weights 1. A gain is the difference to no regularizer, paired by seed. Two settings are trained
with the Pareto balance at the parameters too, as Algorithm 1 has it, where the rest takes it at the embeddings.

Ten seeds each, and twenty for the rows of ``HEADLINE``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from geomreg_mini.records import Record
from geomreg_mini.regularizer import GeometryRegularizer
from geomreg_mini.training import TrainConfig

from .sweeps import UNSEEN_SPEAKERS, command, recorded, work_through

if TYPE_CHECKING:
    import pandas as pd

RATES = {"joint": 0.05, "dgl": 0.02}
SEEDS = tuple(range(100, 120))
FEWER = SEEDS[:10]
BETAS, TAUS = (0.1, 0.15, 0.2), (0.0, 0.25, 0.5)
INTRAS, INTERS = (0.12, 0.14, 0.16), (0.03, 0.05, 0.07)
MORE_BETAS, MORE_TAUS = (0.5, 1.0, 2.0, 5.0, 10.0), (0.25, 0.5, 0.8)


def pareto(beta: float, tau: float, at: str = "embeddings") -> GeometryRegularizer:
    """Return the paper's default, with its names for strength and radius."""
    return GeometryRegularizer(balance="pareto", strength=beta, radius=tau, at=at)


def plain_sum(intra: float, inter: float, tau: float = 0.0) -> GeometryRegularizer:
    """Return the paper's Eq. (6), with its names for both weights and the radius."""
    return GeometryRegularizer(dispersion_weight=intra, anchoring_weight=inter, radius=tau)


def _settings() -> dict[str, GeometryRegularizer | None]:
    named: dict[str, GeometryRegularizer | None] = {"none": None}
    for beta, tau in (*product(BETAS, TAUS), *product(MORE_BETAS, MORE_TAUS)):
        named[f"beta{beta:g}-tau{tau:g}"] = pareto(beta, tau)
    for intra, inter in product(INTRAS, INTERS):
        named[f"intra{intra:g}-inter{inter:g}"] = plain_sum(intra, inter)
    named["intra1-inter1-tau0.25"] = plain_sum(1.0, 1.0, 0.25)
    for beta in (0.2, 2.0):
        named[f"beta{beta:g}-tau0.25-parameters"] = pareto(beta, 0.25, "parameters")
    return named


SETTINGS = _settings()
HEADLINE = {
    "joint": ("none", "beta0.2-tau0.25", "beta2-tau0.25", "beta10-tau0.25", "beta10-tau0.8",
              "intra1-inter1-tau0.25"),
    "dgl": ("none", "beta0.2-tau0.25", "beta2-tau0.25"),
}  # fmt: skip


def run_cell(paradigm: str, seed: int, settings: Sequence[str], folder: Path) -> int:
    """Train what is not recorded of these settings; return their number."""
    from geomreg_mini.data import load

    data = load("digits", seed=seed, **UNSEEN_SPEAKERS["dataset_options"])
    for name in settings:
        config = TrainConfig(
            **UNSEEN_SPEAKERS, paradigm=paradigm, learning_rate=RATES[paradigm],
            regularizer=SETTINGS[name], seed=seed, monitor=True,
        )  # fmt: skip
        recorded(folder / paradigm / f"seed{seed}" / f"{name}.json", config, data)
    return len(settings)


def cells() -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Return what is trained, as (paradigm, seed, settings); what the headline needs comes first."""
    for seed, paradigm in product(SEEDS, RATES):
        yield paradigm, seed, HEADLINE[paradigm]
    for seed, paradigm in product(FEWER, RATES):
        yield paradigm, seed, tuple(name for name in SETTINGS if name not in HEADLINE[paradigm])


def run_settings(folder: str | Path, *, jobs: int = 2) -> None:
    """Train what is not recorded below ``folder``, ``jobs`` processes of one thread each."""
    todo = [(*cell, Path(folder)) for cell in cells()]
    work_through(run_cell, todo, total=sum(len(names) for _, _, names, _ in todo), jobs=jobs)


def load_settings(folder: str | Path) -> pd.DataFrame:
    """Return one row per run: paradigm, setting, seed, and every metric.

    Raises:
        FileNotFoundError: if no seed has a run without regularizer below ``folder``.
    """
    import pandas as pd

    rows = []
    for path in sorted(Path(folder).glob("*/seed*/*.json")):
        record = Record.load(path)
        rows.append({"paradigm": path.parts[-3], "setting": path.stem, "seed": record.seed, **record.metrics})
    frame = pd.DataFrame(rows)
    if frame.empty or not (frame["setting"] == "none").any():
        raise FileNotFoundError(
            f"no records below {folder}: run 'python -m experiments.paper_settings' first."
        )
    return frame


def main(arguments: list[str] | None = None) -> int:
    return command(
        "paper_settings",
        __doc__.split("\n")[0],
        "results/paper_settings",
        run_settings,
        load_settings,
        str,
        str,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
