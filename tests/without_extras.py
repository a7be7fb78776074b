"""Run in an environment that has torch and numpy alone: `pip install . && python tests/without_extras.py`.

The regularizer, its controls, the diagnostics, models and paradigms must work there. What needs an extra must
name it.
"""

from __future__ import annotations

import importlib.util

import torch
from torch.nn import functional as F

import geomreg_mini
from geomreg_mini import GeometryRegularizer, geometry
from geomreg_mini.controls import CONTROLS, VICReg
from geomreg_mini.data import load
from geomreg_mini.measure import measure
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig, fit


def main() -> None:
    extras = [
        name
        for name in ("pandas", "scipy", "sklearn", "matplotlib", "tqdm")
        if importlib.util.find_spec(name)
    ]
    assert not extras, f"this environment has {', '.join(extras)}, so it shows nothing"

    encoders = {"audio": torch.nn.Linear(6, 4), "image": torch.nn.Linear(5, 4)}
    head = torch.nn.Linear(8, 3)
    parameters = [p for module in (*encoders.values(), head) for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    inputs = {"audio": torch.randn(32, 6), "image": torch.randn(32, 5)}
    labels = torch.randint(3, (32,))
    reg = GeometryRegularizer(balance="pareto", strength=0.2, radius=0.25)
    for _ in range(3):
        za, zv = (encoders[m](inputs[m]) for m in encoders)
        task_loss = F.cross_entropy(head(torch.cat([za, zv], dim=1)), labels)
        out = reg({"audio": za, "image": zv})
        loss = task_loss + out.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)

    embeddings = {"audio": za.detach(), "image": zv.detach()}
    assert len(CONTROLS) > 3 and torch.isfinite(VICReg(0.1)(embeddings).total)
    assert {"num_samples", "silhouette/audio"} <= set(
        geometry.geometry_report(embeddings, labels, detailed=True)
    )
    assert "effective_rank" in str(measure(embeddings, labels)) and "<svg" in measure(embeddings).html()
    data = load("toy", seed=0)
    for paradigm in PARADIGMS.values():
        paradigm(build_model(data, fusion=paradigm.usual_fusion, heads=paradigm.needs_heads))
    record = fit(TrainConfig(dataset="toy", epochs=2), data=data, device="cpu", progress=False)
    try:
        record.history  # noqa: B018
    except ModuleNotFoundError as error:
        assert str(error) == "pandas is not installed; run: pip install 'geomreg-mini[course]'"
    else:
        raise AssertionError("a table needs pandas, which must be missing here")
    print(
        f"geomreg_mini {geomreg_mini.__version__}: all of it works with torch {torch.__version__} alone; "
        f"fused accuracy {record.metrics['test/accuracy/fused']:.2f} after two epochs."
    )


if __name__ == "__main__":
    main()
