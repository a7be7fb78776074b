"""The table of notebook 02's exercise on diagnoses: reports of sick two-modality clouds, under letters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from geomreg_mini.geometry import geometry_report

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "effective_rank/b": "effective rank b", "mean_cosine/b": "mean cosine b", "uniformity/b": "uniformity b",
    "paired_drift/a-b": "drift", "modality_gap/a-b": "gap", "linear_cka/a-b": "CKA", "recall@1/a-b": "R@1",
    "cross_modal_margin/a-b": "margin",
}  # fmt: skip


def reports(n: int = 400, width: int = 24, seed: int = 1) -> pd.DataFrame:
    """Return the diagnostics of a healthy pair and of the patients P to S, a row each.

    All are made of one pair: four classes of ``n`` rows in ``width`` dimensions, ``b`` is ``a`` plus noise.
    """
    import pandas as pd

    generator = torch.Generator().manual_seed(seed)

    def gaussian(rows: int) -> torch.Tensor:
        return torch.randn(rows, width, generator=generator) / math.sqrt(width)

    labels, axes = torch.arange(n) % 4, torch.eye(width)
    corners = axes[:4] - axes[:4].mean(dim=0)
    a = 0.6 * corners[labels] + 0.9 * gaussian(n)
    b = a + 0.3 * gaussian(n)
    three = (torch.arange(width) < 3).float()
    pairs = {
        "healthy": (a, b),
        "P": (a + 3 * axes[-1], b + 3 * axes[-1]),
        "Q": (a, b @ torch.linalg.qr(gaussian(width)).Q),
        "R": (a + 0.8 * axes[-1], b - 0.8 * axes[-1]),
        "S": (a * three, b * three),
    }
    rows = {name: geometry_report({"a": x, "b": y}, labels) for name, (x, y) in pairs.items()}
    return pd.DataFrame(rows).T[list(COLUMNS)].rename(columns=COLUMNS)
