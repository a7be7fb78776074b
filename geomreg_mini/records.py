"""What a run writes down, and how it is read back.

A record is one JSON file: config, seed, versions, device, data fingerprint, split sizes, history, metrics,
wall time. Two runs of one config on the same kind of CPU give equal records; only the wall time, which
equality leaves out, differs. Another kind of processor rounds sums in another order, and training turns that
into another run, as different as another seed's.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANT_DIGITS = 6


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True)
class Record:
    """The result of one run.

    Attributes:
        config: ``TrainConfig.to_dict()`` of the run.
        seed: its seed.
        versions: package -> version.
        device: where it ran, in words ("cpu", or the card's name).
        data_fingerprint: sha256 of the data set's contents.
        data_note: what a reader must know about the data ("" when they are what the name says).
        split_sizes: split -> number of samples.
        series: metric name -> values, one an evaluated epoch, None where a diagnostic is undefined; "epoch"
            holds the epochs, counted from 1.
        selected_epoch: the epoch with the best fused validation accuracy, the first of equals.
        metrics: "split/quantity/modality" -> number, of the selected epoch's weights.
        wall_time: seconds, over all sessions of a resumed run; not compared.
    """

    config: dict[str, Any]
    seed: int
    versions: dict[str, str]
    device: str
    data_fingerprint: str
    data_note: str
    split_sizes: dict[str, int]
    series: dict[str, list[float | None]]
    selected_epoch: int
    metrics: dict[str, float]
    wall_time: float = field(compare=False)

    @property
    def history(self) -> pd.DataFrame:
        """The course of training, tidy: one row an epoch and metric.

        Columns: epoch, split, quantity, modality, value.
        """
        import pandas as pd

        rows = []
        for name, values in self.series.items():
            if name == "epoch":
                continue
            split, quantity, modality = name.split("/")
            for epoch, value in zip(self.series["epoch"], values, strict=True):
                rows.append((int(epoch), split, quantity, modality, value))
        return pd.DataFrame(rows, columns=["epoch", "split", "quantity", "modality", "value"])

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        missing = set(cls.__dataclass_fields__) - set(values)
        if missing:
            raise ValueError(
                f"a record lacks {', '.join(sorted(missing))}: it is incomplete or from another version."
            )
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def save(self, path: str | Path) -> Path:
        """Write as JSON, whole or not at all: a temporary file beside ``path`` takes its name."""
        path = Path(path)
        text = json.dumps(self.to_dict(), indent=None, separators=(",", ":"), sort_keys=True, allow_nan=False)
        write_atomically(path, (text + "\n").encode())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Record:
        path = Path(path)
        try:
            return cls.from_dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} is not a readable record ({error}): delete it and run its config again."
            ) from error


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers of ``values`` to six significant digits, which is more than two machines agree on."""
    return {k: [_rounded(v) for v in x] if isinstance(x, list) else _rounded(x) for k, x in values.items()}


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that a reader, or a kill at any moment, finds the old file or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def config_key(config: dict[str, Any]) -> str:
    """A short name for a config: the first twelve hexadecimal digits of the sha256 of its sorted JSON."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def load_records(folder: str | Path) -> list[Record]:
    """Every record below ``folder``, in the order of their paths."""
    return [Record.load(path) for path in sorted(Path(folder).rglob("*.json"))]
