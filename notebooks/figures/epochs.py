"""Curves over epochs, one line per arm of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from geomreg_mini import plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# arm of a benchmark -> its name in a comparison with DGL, to which the paper adds its terms
ARMS = {
    "baseline": "DGL",
    "dispersion": "DGL + dispersion",
    "anchoring": "DGL + anchoring",
    "regularized": "DGL + both terms",
}


def over_epochs(history: pd.DataFrame, panels: Mapping[str, str], names: Mapping[str, str] = ARMS) -> Figure:
    """Draw validation curves, one panel per quantity and one line per arm: mean and range over seeds.

    history: from ``benchmarks.load_histories``. panels: quantity -> label; a quantity of several modalities
    is averaged over them, as the paper averages the effective rank. names: arm -> its name in the legend.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    fig, axes = plt.subplots(1, len(panels), figsize=(3.7 * len(panels), 3.6), squeeze=False)
    arms = [arm for arm in names if arm in set(history["arm"])]
    styles = plots.modality_style([names[arm] for arm in arms])
    for ax, (quantity, label) in zip(axes[0], panels.items(), strict=True):
        rows = history[(history["split"] == "validation") & (history["quantity"] == quantity)]
        rows = rows.groupby(["arm", "seed", "epoch"], as_index=False)["value"].mean()
        rows["arm"] = rows["arm"].map(names)
        sns.lineplot(
            rows, x="epoch", y="value", hue="arm", style="arm", ax=ax, errorbar=("pi", 100),
            hue_order=list(styles), style_order=list(styles), err_kws={"alpha": 0.12, "lw": 0},
            palette={name: style["color"] for name, style in styles.items()},
            markers={name: style["marker"] for name, style in styles.items()},
        )  # fmt: skip
        ax.set(ylabel="", title=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.get_legend().remove()
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names))
    return fig
