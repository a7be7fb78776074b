"""Records that nobody trained, for tests of what reads them."""

from experiments.study import SELECTION
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
