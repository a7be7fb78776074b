"""The settings that the paper tried, on spoken and written digits: their effects, and which ones matter.

    python -m experiments.paper_settings --jobs 2        # resumable; skips recorded runs

The protocol, fixed before its first test number: unseen speakers, all labels, image noise 0.8; joint training
at learning rate 0.05 and DGL at 0.02, with and without the regularizer; seeds that no other sweep here used.
Nothing is chosen, so every setting is shown: the paper's nine cells of strength and radius (Figure 8), its
nine cells of two weights at radius 0 (Figure 7, those of CREMA-D), fifteen larger strengths, and a plain sum
with both weights 1. A gain is the difference to no regularizer, paired by seed. The Pareto balance is taken
at the embeddings; two settings are also trained with it at the parameters, as in Algorithm 1.

Ten seeds each, and twenty for the rows of ``HEADLINE``.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from data_scripts.fetch import write_atomically
from geomreg_mini import GeometryRegularizer
from geomreg_mini.data import load
from geomreg_mini.models import MultimodalClassifier
from geomreg_mini.training import TrainConfig, fit

from .paper import BETA_TAU, FIGURE_7, FIGURE_8, INTRA_INTER, TABLE_1, axes
from .study import UNSEEN_SPEAKERS, WATCHED, Arm, Cell, Study, change, markdown
from .sweeps import load_record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

RATES = {"joint": 0.05, "dgl": 0.02}
SEEDS = tuple(range(100, 120))
FEWER = SEEDS[:10]
# Words -> names of the settings, and the values of both hyperparameters.
GRIDS = {
    "beta x tau": (BETA_TAU, *axes(FIGURE_8["CREMA-D"])),
    "lambda x lambda": (INTRA_INTER, *axes(FIGURE_7["CREMA-D"])),
}
MORE = (BETA_TAU, (0.5, 1.0, 2.0, 5.0, 10.0), (0.25, 0.5, 0.8))


def pareto(beta: float, tau: float, at: str = "embeddings") -> GeometryRegularizer:
    """Return the paper's default, with its names for strength and radius."""
    return GeometryRegularizer(balance="pareto", strength=beta, radius=tau, at=at)


def _settings() -> dict[str, GeometryRegularizer | None]:
    named: dict[str, GeometryRegularizer | None] = {"none": None}
    paretos, sums = GRIDS.values()
    for name, betas, taus in (paretos, MORE):
        named |= {name.format(beta, tau): pareto(beta, tau) for beta, tau in product(betas, taus)}
    for intra, inter in product(*sums[1:]):  # Eq. (6)
        named[INTRA_INTER.format(intra, inter)] = GeometryRegularizer(intra, inter, radius=0.0)
    named["intra1-inter1-tau0.25"] = GeometryRegularizer(1.0, 1.0, radius=0.25)
    for beta in (0.2, 2.0):
        named[f"{BETA_TAU.format(beta, 0.25)}-parameters"] = pareto(beta, 0.25, "parameters")
    return named


SETTINGS = _settings()
HEADLINE = {
    "joint": ("none", "beta0.2-tau0.25", "beta2-tau0.25", "beta10-tau0.25", "beta10-tau0.8",
              "intra1-inter1-tau0.25"),
    "dgl": ("none", "beta0.2-tau0.25", "beta2-tau0.25"),
}  # fmt: skip
NAMES = {"joint": "joint training", "dgl": "DGL"}
COLUMNS = {
    "fused": "test/accuracy/fused",
    "audio alone": "test/accuracy/audio", "image alone": "test/accuracy/image",
    "audio, k-NN": "test/knn_probe/audio", "image, k-NN": "test/knn_probe/image",
    "drift": "test/paired_drift/audio-image",
    "mean cosine, audio": "test/mean_cosine/audio", "mean cosine, image": "test/mean_cosine/image",
    "effective rank, audio": "test/effective_rank/audio",
}  # fmt: skip
SHOWN = ("fused", "would have seen, fused", "audio alone", "image alone", "image, k-NN", "drift",
         "pairs outside the band", "alpha")  # fmt: skip
FORMS = "forms.csv"  # next to the records
TITLES = dict(zip(WATCHED, ("dose", "pairs outside the band", "alpha"), strict=True))


def _cell(paradigm: str, names: Sequence[str], seeds: Sequence[int]) -> Cell:
    """Return settings under a paradigm; an arm is a setting, so validation picks nothing."""
    config = {"paradigm": paradigm, "learning_rate": RATES[paradigm], "monitor": True}
    arms = {name: Arm({name: {"regularizer": SETTINGS[name]}}) for name in names}
    return Cell({"paradigm": paradigm}, UNSEEN_SPEAKERS | config, arms, seeds)


STUDY = Study(
    name="paper_settings",
    path="{paradigm}/seed{seed}/{arm}.json",
    cells=(
        *(_cell(paradigm, HEADLINE[paradigm], SEEDS) for paradigm in RATES),
        *(_cell(p, [name for name in SETTINGS if name not in HEADLINE[p]], FEWER) for p in RATES),
    ),
    against="none",
)


def write_forms(folder: Path) -> None:
    """Write ``FORMS`` into the folder of the records unless it is there."""
    import pandas as pd

    if not (path := folder / FORMS).exists():
        forms = [compare_forms(paradigm, seed) for seed, paradigm in product(SEEDS[:3], RATES)]
        write_atomically(path, pd.concat(forms).to_csv(index=False, float_format="%.6g").encode())


def compare_forms(paradigm: str, seed: int, batches: int = 4) -> pd.DataFrame:
    """Return how close the gradients of both forms of the balance are while one of them trains.

    A run with the balance at the parameters (strength 2, radius 0.25) is stopped after each epoch, and both
    forms are differentiated at the same weights on the same ``batches`` of training samples. One row per
    epoch and encoder: ``cosine`` of the two gradients at its parameters and ``length``, that of the form at
    the embeddings over that of the form at the parameters.
    """
    import pandas as pd

    data = load("digits", seed=seed, **UNSEEN_SPEAKERS["dataset_options"])
    config = TrainConfig(
        **UNSEEN_SPEAKERS, paradigm=paradigm, learning_rate=RATES[paradigm], monitor=True, seed=seed,
        regularizer=pareto(2.0, 0.25, "parameters"),
    )  # fmt: skip
    index = torch.arange(batches * config.batch_size).split(config.batch_size)
    rows = []

    def look(epoch: int, model: MultimodalClassifier) -> None:
        model = copy.deepcopy(model).train()
        found: dict[tuple[str, str], list[torch.Tensor]] = {}
        for part in index:
            z = model.encode(data.train.prepare(data.train.batch(part)["inputs"]))
            own = {m: list(model.encoders[m].parameters()) for m in z}
            totals = {"embeddings": pareto(2.0, 0.25)(z).total,
                      "parameters": config.regularizer(z, parameters=own).total}  # fmt: skip
            for (at, total), m in product(totals.items(), z):
                gradients = torch.autograd.grad(total, own[m], retain_graph=True)
                found.setdefault((at, m), []).append(torch.cat([g.flatten() for g in gradients]))
        for m in z:
            pairs = list(zip(found["embeddings", m], found["parameters", m], strict=True))
            cosine = fmean(torch.cosine_similarity(a, b, dim=0).item() for a, b in pairs)
            rows.append(
                (paradigm, seed, epoch, m, cosine, fmean((a.norm() / b.norm()).item() for a, b in pairs))
            )

    fit(config, data=data, device="cpu", progress=False, on_epoch=look)
    return pd.DataFrame(rows, columns=["paradigm", "seed", "epoch", "modality", "cosine", "length"])


def load_watched(folder: str | Path) -> pd.DataFrame:
    """Return the watched series of the runs of ``HEADLINE``, means over seeds and modalities or pairs.

    Columns: paradigm, arm, epoch, and "dose", "active" and "alpha", NaN if there is none.
    """
    import pandas as pd

    parts = []
    for cell in STUDY.cells[: len(HEADLINE)]:
        for arm, seed in product(list(cell.arms)[1:], cell.seeds):
            history = load_record(Path(folder) / STUDY.file(cell, seed, arm, arm)).history
            history = history[history["quantity"].isin(WATCHED)]
            parts.append(history.assign(arm=arm, **cell.columns))
    return (
        pd.concat(parts)
        .pivot_table(index=["paradigm", "arm", "epoch"], columns="quantity", values="value", sort=False)
        .reindex(columns=list(WATCHED))
        .reset_index()
    )


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``HEADLINE`` as text: differences to no regularizer with 95 % intervals.

    Accuracies in points, the rest in the unit of its metric; the last three columns are means in training.
    """
    import pandas as pd

    found = {
        name: STUDY.gains(frame, metric).set_index(["paradigm", "arm"]) for name, metric in COLUMNS.items()
    }
    means = frame.groupby(["paradigm", "arm"]).mean(numeric_only=True)
    rows = {}
    for paradigm, names in HEADLINE.items():
        for name in names[1:]:
            cell = (paradigm, name)
            texts = {"seeds": str(int(found["fused"].loc[cell, "seeds"]))}
            for column, gained in found.items():
                metric = COLUMNS[column]
                scale = 100 if "accuracy" in metric or "probe" in metric else 1
                digits = 2 if "drift" in metric or "cosine" in metric else 1
                texts[column] = change(gained.loc[cell], scale, digits)
            texts["would have seen, fused"] = f"{100 * found['fused'].loc[cell, 'detectable']:.1f}"
            texts |= watched(means.loc[cell])
            rows[f"{NAMES[paradigm]}, {described(name)}"] = texts
    return pd.DataFrame(rows).T


def watched(means: pd.Series) -> dict[str, str]:
    """Return title -> text of the quantities that training watched, each a mean over its places."""
    found = {title: means.filter(like=f"train/{name}/").dropna() for name, title in TITLES.items()}
    return {title: f"{values.mean():.2f}" if len(values) else "-" for title, values in found.items()}


def described(setting: str) -> str:
    """Return a setting in words.

    >>> described("beta0.2-tau0.25"), described("intra1-inter1-tau0.25")
    ('beta 0.2, radius 0.25', 'plain sum 1 + 1, radius 0.25')
    """
    reg = SETTINGS[setting]
    if reg is None:
        return "none"
    if reg.balance == "pareto":
        return f"beta {reg.strength:g}, radius {reg.radius:g}" + (", Algorithm 1" * (reg.at == "parameters"))
    return f"plain sum {reg.dispersion_weight:g} + {reg.anchoring_weight:g}, radius {reg.radius:g}"


def forms_in_words(folder: str | Path, frame: pd.DataFrame) -> str:
    """Return how close both forms of the balance are: their gradients, by ``FORMS``, and the accuracies."""
    import pandas as pd

    rows = pd.read_csv(Path(folder) / FORMS)
    parts = []
    for paradigm, part in rows.groupby("paradigm", sort=False):
        low, mid, high = (part["length"].quantile(q) for q in (0.05, 0.5, 0.95))
        parts.append(
            f"{NAMES[paradigm]}: cosine {part['cosine'].median():.3f} in the median and at least "
            f"{part['cosine'].quantile(0.05):.3f} in 95 % of cases; length {mid:.2f} times, [{low:.2f}, "
            f"{high:.2f}] in 90 %"
        )
    changes = []
    for beta, paradigm in product((0.2, 2.0), RATES):
        name = f"beta{beta:g}-tau0.25"
        here = frame[frame["paradigm"] == paradigm]
        row = STUDY.gains(here, COLUMNS["fused"], against={f"{name}-parameters": name}).iloc[0]
        changes.append(f"{NAMES[paradigm]}, beta {beta:g}: {change(row)}")
    return (
        f"Gradients at the embeddings against those at the parameters. {'. '.join(parts)}. "
        f"Fused accuracy trained at the parameters minus at the embeddings: {'; '.join(changes)}."
    )


def summary(frame: pd.DataFrame) -> str:
    """Return the columns of ``table`` that fit a page, in Markdown, and a line for each grid."""
    lines = [markdown(table(frame)[list(SHOWN)], "digits, minus no regularizer"), ""]
    fused = STUDY.gains(frame, COLUMNS["fused"])
    for paradigm, (words, (name, *values)) in product(RATES, GRIDS.items()):
        names = [name.format(*cell) for cell in product(*values)]
        rows = fused[(fused["paradigm"] == paradigm) & fused["arm"].isin(names)]
        if len(rows):
            up, down = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
            lines.append(
                f"- {NAMES[paradigm]}, the paper's {words}: mean {100 * rows['mean'].mean():+.1f} points "
                f"over {len(rows)} cells; the interval lies above zero in {up}, below it in {down}."
            )
    return "\n".join(lines)


def _grid(
    frame: pd.DataFrame, metric: str, paradigm: str, grid: tuple[str, Sequence[float], Sequence[float]]
) -> np.ndarray:
    """Return the gains of a grid of settings in points: mean, low and high, (3, rows, columns)."""
    import numpy as np

    name, rows, columns = grid
    found = STUDY.gains(frame[frame["paradigm"] == paradigm], metric).set_index("arm")
    names = [name.format(*cell) for cell in product(rows, columns)]
    lines = found.reindex(names)[["mean", "low", "high"]].to_numpy() * 100
    return np.moveaxis(lines.reshape(len(rows), len(columns), 3), 2, 0)


def figure(frame: pd.DataFrame) -> Figure:
    """Draw maps of gains: Figures 8 and 7 of the paper, ours for the same cells, and larger strengths.

    All in points; the paper's cells are minus the row of DGL in its Table 1.
    """
    import matplotlib.pyplot as plt
    import numpy as np
    import seaborn as sns

    from geomreg_mini import plots

    from .gain_figures import gain_cell

    plots.use_style()
    panels = []
    for grid, published in zip(GRIDS.values(), (FIGURE_8, FIGURE_7), strict=True):
        for data, cells in published.items():
            rows, columns = axes(cells)
            mean = np.array([cells[cell] for cell in product(rows, columns)]) - TABLE_1[data]["DGL"][2][0]
            unknown = np.full_like(mean, np.nan)
            matrices = np.stack([mean, unknown, unknown]).reshape(3, len(rows), len(columns))
            panels.append((f"the paper, {data}", rows, columns, matrices))
        for paradigm in RATES:
            matrices = _grid(frame, COLUMNS["fused"], paradigm, grid)
            panels.append((f"digits, {NAMES[paradigm]}", *grid[1:], matrices))
    for words, paradigm in product(("fused", "image, k-NN"), RATES):
        matrices = _grid(frame, COLUMNS[words], paradigm, MORE)
        panels.append((f"digits, {NAMES[paradigm]}: {words}", *MORE[1:], matrices))
    fig, grid_of_axes = plt.subplots(3, 4, figsize=(13, 9.6), height_ratios=(3, 3, 4.6))
    for ax, (title, rows, columns, (mean, low, high)) in zip(grid_of_axes.flat, panels, strict=True):
        sns.heatmap(mean, ax=ax, cmap="PuOr_r", center=0, vmin=-6, vmax=6, cbar=False)
        for y, row in enumerate(mean):
            for x, value in enumerate(row):
                if value == value:
                    gain_cell(ax, x, y, value, low[y, x], high[y, x], dark=abs(value) > 3.6)
        ax.set_title(title, fontsize=10)
        ax.set_xticklabels([f"{c:g}" for c in columns])
        ax.set_yticklabels([f"{r:g}" for r in rows], rotation=0)
        ax.tick_params(length=0)
    titles = (("strength beta", "radius tau"), ("dispersion weight", "anchoring weight, radius 0"))
    for line, (down, across) in zip(grid_of_axes, (*titles, titles[0]), strict=True):
        line[0].set_ylabel(down)
        for ax in line:
            ax.set_xlabel(across)
    bar = fig.colorbar(grid_of_axes[0, 0].collections[0], ax=grid_of_axes, shrink=0.5, extend="both")
    bar.set_label("gain over no regularizer (points)")
    return fig


def watched_figure(watched: pd.DataFrame) -> Figure:
    """Draw dose, share of pairs outside the band and alpha over epochs, as ``load_watched`` returns them."""
    import matplotlib.pyplot as plt

    from geomreg_mini import plots

    plots.use_style()
    styles = plots.modality_style(HEADLINE["joint"][1:])
    fig, axes = plt.subplots(len(RATES), 3, figsize=(11, 5.6), sharex=True, sharey="col")
    for row, paradigm in zip(axes, RATES, strict=True):
        for setting, style in styles.items():
            part = watched[(watched["paradigm"] == paradigm) & (watched["arm"] == setting)]
            for ax, quantity in zip(row, WATCHED, strict=True):
                if len(part):
                    ax.plot(part["epoch"], part[quantity], ms=4, label=described(setting), **style)
        row[0].set_ylabel(NAMES[paradigm])
        row[0].set_yscale("log")
    for ax, words in zip(axes[0], TITLES.values(), strict=True):
        ax.set_title(words, fontsize=11)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig


if __name__ == "__main__":
    sys.exit(STUDY.main(summary, figure, after=write_forms))
