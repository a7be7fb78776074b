"""Run in an environment that has torch and numpy alone: `pip install . && python tests/without_extras.py`.

The recipe for plain PyTorch, the controls, the diagnostics, models and paradigms must work there. What needs
an extra must name it.
"""

from __future__ import annotations

import importlib.util

import torch
from recipe_page import pair_and_batches, run

import geomreg_mini
from geomreg_mini import geometry
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

    model, batches = pair_and_batches(3)
    last = run("Plain PyTorch", {"model": model, "loader": batches})
    assert torch.isfinite(last["loss"])

    embeddings = {"audio": last["za"].detach(), "image": last["zv"].detach()}
    assert len(CONTROLS) > 3 and torch.isfinite(VICReg(0.1)(embeddings).total)
    assert {"num_samples", "silhouette/audio"} <= set(
        geometry.geometry_report(embeddings, last["label"], detailed=True)
    )
    assert "effective_rank" in str(measure(embeddings, last["label"]))
    assert "<svg" in measure(embeddings).html()
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
