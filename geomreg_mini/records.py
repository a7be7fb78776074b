"""The record of a run: its fields, and how to write and read it.

A record is one JSON file: config, seed, versions, device, data fingerprint, split sizes, history, metrics,
wall time. Two runs of one config on the same kind of CPU give equal records; only the wall time differs, and
equality ignores it. Another kind of processor rounds sums in another order, and training turns that into
another run, as different as another seed's. A record of an earlier version is read under today's names
(``current_names``). It may lack quantities added since, so compare the quantities in both records.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_scripts.extras import extra
from data_scripts.fetch import write_atomically

if TYPE_CHECKING:
    import pandas as pd


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def is_number(value: object) -> bool:
    """Return whether value is an int or a float of Python, neither NaN nor infinite."""
    return type(value) in (int, float) and abs(value) < 1e300


def _table(value: object, fits: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(map(fits, value.values()))


def _series(value: object) -> bool:
    """Return whether value holds equally long lists of numbers or None, with names of three parts.

    "epoch" holds numbers only.
    """
    return (
        _table(value, lambda x: isinstance(x, list) and all(v is None or is_number(v) for v in x))
        and all(map(is_number, value.get("epoch", [None])))
        and all(len(x) == len(value["epoch"]) for x in value.values())
        and all(name == "epoch" or name.count("/") == 2 for name in value)
    )


def _text(value: object) -> bool:
    return isinstance(value, str)


def current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return metrics or series of a record under today's names in ``geometry``.

    Before the paper's Eq. (45) was known, "split/semantic_margin/first-second" held today's
    ``cross_modal_margin``. The paper's margin belongs to one modality, which also has an effective rank. So
    a name with a hyphen does not change if that rank is there. Today's names do not change.
    """
    answer = {}
    for name, value in values.items():
        split, _, rest = name.partition("/")
        quantity, _, place = rest.partition("/")
        if quantity == "semantic_margin" and "-" in place and f"{split}/effective_rank/{place}" not in values:
            name = f"{split}/cross_modal_margin/{place}"
        answer[name] = value
    return answer


# field of a record -> whether a value is valid for it
KINDS: dict[str, Callable[[Any], bool]] = {
    "config": lambda x: isinstance(x, dict),
    "seed": lambda x: type(x) is int,
    "versions": lambda x: _table(x, _text),
    "device": _text,
    "data_fingerprint": _text,
    "data_note": _text,
    "split_sizes": lambda x: _table(x, is_number),
    "series": _series,
    "selected_epoch": is_number,
    "metrics": lambda x: _table(x, is_number),
    "wall_time": is_number,
}


@dataclass(frozen=True)
class Record:
    """The result of one run.

    Attributes:
        config: ``TrainConfig.to_dict()`` of the run.
        seed: its seed.
        versions: package -> version.
        device: "cpu", or the card's name.
        data_fingerprint: sha256 of the data set's contents.
        data_note: a warning about the data, such as stand-ins, or "".
        split_sizes: split -> number of samples.
        series: metric name -> values, one per evaluated epoch, None if a diagnostic is undefined; "epoch"
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
        """Return the course of training as a tidy table, one row per epoch and metric.

        Columns: epoch, split, quantity, modality, value.
        """
        with extra("course"):
            import pandas as pd

        table = pd.DataFrame(self.series).melt("epoch").astype({"epoch": int})
        parts = ["split", "quantity", "modality"]
        table[parts] = table.pop("variable").str.extract("(.*)/(.*)/(.*)")
        return table[["epoch", *parts, "value"]]

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Record:
        if missing := set(cls.__dataclass_fields__) - set(values):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}; it is incomplete or of another version")
        if wrong := [name for name, fits in KINDS.items() if not fits(values[name])]:
            raise ValueError(f"record fields have the wrong type: {', '.join(wrong)}")
        renamed = {name: current_names(values[name]) for name in ("series", "metrics")}
        return cls(**{name: values[name] for name in cls.__dataclass_fields__} | renamed)

    def save(self, path: str | Path) -> Path:
        """Write as JSON, whole or not at all: a temporary file next to ``path`` takes its name."""
        text = json.dumps(self.to_dict(), indent=None, separators=(",", ":"), sort_keys=True, allow_nan=False)
        write_atomically(path := Path(path), (text + "\n").encode())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Record:
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as error:
            said = f"{path} is not a readable record ({error}): move it away and run its config again."
            raise ValueError(said) from error


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` rounded to six significant digits, more than two machines agree on."""
    return {k: [_rounded(v) for v in x] if isinstance(x, list) else _rounded(x) for k, x in values.items()}


def plain(value: Any) -> Any:
    """Return numbers of other libraries (numpy, 0-d tensors) as Python's and tuples as lists, as JSON does.

    Also inside containers.
    """
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(plain, value))
    return value.item() if getattr(value, "shape", None) == () else value


def config_key(config: dict[str, Any]) -> str:
    """Return a config's short name: the first twelve hexadecimal digits of its sorted JSON's sha256."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect numbers."""
    import numpy as np
    import torch

    from . import __version__

    return {
        "geomreg_mini": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
