"""Records that nobody trained, for tests of their readers, and the committed ones, read once."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.study import SELECTION, Study
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig


def record_of(config: TrainConfig, validation: float, **test: float) -> Record:
    """``test`` maps "fused", "audio", ... to a test accuracy; fused is 0.5 where it is not said."""
    test = {"fused": 0.5} | test
    return Record(
        config=config.to_dict(),
        seed=config.seed,
        versions={},
        device="cpu",
        data_fingerprint="0",
        data_note="",
        split_sizes={},
        series={"epoch": []},
        selected_epoch=1,
        metrics={SELECTION: validation, **{f"test/accuracy/{name}": value for name, value in test.items()}},
        wall_time=0.0,
    )


def frame_of(
    study: Study, values_of: Callable[..., dict[str, Any]], picked: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """What ``study.load`` would give, with ``values_of(cell, seed, arm, setting)`` as metrics.

    ``picked`` maps an arm to its picked setting, by default its first.
    """
    rows = []
    for cell in study.cells:
        for seed in cell.seeds:
            for name, arm in cell.arms.items():
                settings = [setting for _, setting in arm.shares] + list(arm.settings)
                chosen = (picked or {}).get(name, settings[0])
                for setting in settings:
                    row = {**cell.columns, "seed": seed, "arm": name, "setting": setting}
                    values = values_of(cell.columns, seed, name, setting)
                    rows.append({**row, "selected": setting == chosen, **values})
    return pd.DataFrame(rows)


RESULTS = Path(__file__).parents[1] / "results"


def folder_of(study: Study) -> Path:
    """The committed records of a study."""
    return RESULTS.parent / (study.folder or f"results/{study.name}")


@cache
def committed(name: str) -> pd.DataFrame:
    """The committed records of a study, by the name of its module."""
    study = import_module(f"experiments.{name}").STUDY
    return study.load(folder_of(study))
