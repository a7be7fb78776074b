"""Pictures of a run: four panels, live or next to each other, and the table of earlier runs."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomreg_mini import plots

from .runs import EPOCHS, UNUSED, Run

DRAWN = 150  # samples in a picture of the embeddings


def draw_embeddings(ax: Axes, run: Run, earlier: Sequence[Run] = ()) -> None:
    """Draw the embeddings on the circle or the sphere, with links between some pairs."""
    some, labels = {m: z[:DRAWN] for m, z in run.embeddings.items()}, run.labels[:DRAWN]
    flat = run.setting.dimensions == 2
    draw = plots.embeddings_on_circle if flat else plots.embeddings_on_sphere
    where = "a outside, b inside" if flat else "a dots, b squares"
    draw(some, labels, radius=run.setting.radius, links=60, title=f"Embeddings: {where}", ax=ax)
    ax.get_legend().remove()
    if not flat:
        ax.set_box_aspect((1, 1, 1), zoom=1.5)


def draw_accuracy(ax: Axes, run: Run, earlier: Sequence[Run] = ()) -> None:
    """Draw the accuracies over epochs, with the fused ones of earlier runs in gray."""
    for old in earlier:
        curve = [row["accuracy/fused"] for row in old.rows]
        ax.plot(curve, color="#AAAAAA", lw=1, label="fused, earlier" if old is earlier[-1] else None)
    plots.training_curves(run.history(), "accuracy", title="Accuracy (validation)", ax=ax)
    ax.set(ylim=(0, 1.05), xlim=(0, EPOCHS), ylabel="share right")
    for line in ax.get_lines():
        line.set_markevery(10)


def draw_drift(ax: Axes, run: Run, earlier: Sequence[Run] = ()) -> None:
    """Draw the histogram of distances within pairs."""
    pair = tuple(run.embeddings.values())
    plots.drift_histogram({"pairs": pair}, run.setting.radius, title="Distances of pairs", ax=ax)
    ax.set(xlabel="distance (0 to 2)")
    ax.legend(fontsize=9, handlelength=1.2, loc="upper right")


def draw_spectrum(ax: Axes, run: Run, earlier: Sequence[Run] = ()) -> None:
    """Draw the spectrum of each modality's embeddings."""
    plots.spectrum(run.embeddings, title="Spectrum", ax=ax)
    ax.set(yscale="linear", ylim=(0, 1.05), xticks=range(1, run.setting.dimensions + 1))


PANELS = {
    "embeddings": draw_embeddings,
    "accuracy": draw_accuracy,
    "drift": draw_drift,
    "spectrum": draw_spectrum,
}


def _axes(fig: Figure, run: Run, panel: str, place: tuple[int, int, int] = (1, 1, 1)) -> Axes:
    sphere = panel == "embeddings" and run.setting.dimensions == 3
    return fig.add_subplot(*place, projection="3d" if sphere else None)


def picture(panel: str, run: Run, earlier: Sequence[Run] = ()) -> bytes:
    """Return one panel as PNG, without pyplot, whose figures belong to the main thread."""
    fig = Figure(figsize=(3.7, 3.1), layout="none")  # a layout engine would take most of the time
    PANELS[panel](_axes(fig, run, panel), run, earlier)
    left, right, bottom, top = (0.02, 0.98, 0.02, 0.9) if panel == "embeddings" else (0.16, 0.97, 0.17, 0.9)
    fig.subplots_adjust(left=left, right=right, bottom=bottom, top=top)
    return png(fig)


def png(fig: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=110, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def figure(run: Run, title: str = "") -> Figure:
    """Return the four panels next to each other, for use without a front end."""
    fig = Figure(figsize=(13, 3.4), layout="constrained")
    for k, (panel, draw) in enumerate(PANELS.items()):
        draw(_axes(fig, run, panel, (1, 4, k + 1)), run)
    fig.suptitle(title, x=0.01, ha="left")
    return fig


def multiples(runs: Mapping[str, Run]) -> Figure:
    """Return embeddings above the distances within pairs, one column per run."""
    fig = Figure(figsize=(3.2 * len(runs), 5.8), layout="constrained")
    for k, (name, run) in enumerate(runs.items()):
        top, bottom = (
            _axes(fig, run, panel, (2, len(runs), k + 1 + row * len(runs)))
            for row, panel in enumerate(("embeddings", "drift"))
        )
        draw_embeddings(top, run)
        draw_drift(bottom, run)
        top.set(title=name)
        bottom.set(title="")
    return fig


def memory_table(runs: list[Run]) -> str:
    """Return settings and last numbers of runs as an HTML table, the newest first."""
    numbers = {
        "fused": "accuracy/fused",
        "a": "accuracy/a",
        "b": "accuracy/b",
        "b, neighbors": "knn/b",
        "rank a": "effective_rank/a",
        "rank b": "effective_rank/b",
        "drift": "paired_drift",
        "outside": "outside",
    }
    terms = {"dispersion": "dispersion_weight", "anchoring": "anchoring_weight", "drawn in": "dimensions"}
    for name in ("balance", "strength", "temperature", "radius", "noise", "imbalance", "paradigm"):
        terms[name] = name
    rows = [["run", *terms, "epochs", *numbers]]
    for k, run in reversed(list(enumerate(runs, start=1))):
        rests, now = UNUSED[run.setting.balance], run.now
        values = ["-" if name in rests else getattr(run.setting, name) for name in terms.values()]
        last = [f"{now[key]:.2f}" for key in numbers.values()]
        rows.append([k, *(v if isinstance(v, str) else f"{v:g}" for v in values), now["epoch"], *last])
    cells = [
        "".join(
            f'<{tag} style="padding: 2px 8px; text-align: right">{html.escape(str(c))}</{tag}>' for c in row
        )
        for row, tag in zip(rows, ["th", *["td"] * len(runs)], strict=True)
    ]
    caption = "<caption style='text-align: left'>Earlier runs, newest first (validation)</caption>"
    table = f"<table>{caption}<tr>{'</tr><tr>'.join(cells)}</tr></table>"
    return f'<div style="overflow-x: auto">{table}</div>'
