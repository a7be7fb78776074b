"""Train committed records again and print what comes out: does a change of the code change a run?

    PYTHONPATH=OLD python tests/experiments/retrain.py results 20 > before.txt
    PYTHONPATH=NEW python tests/experiments/retrain.py results 20 > after.txt     # then compare the two

The records are drawn at random over all folders, the same ones for a seed (the third argument, default 0).
One line of JSON per record: its path, the sha256 of its metrics by name, and every metric. A record whose
config the checkout does not know has an error instead. Training takes seconds each, on one thread of a CPU.
"""

import hashlib
import json
import random
import sys
from pathlib import Path

from geomreg_mini.training import TrainConfig, fit


def drawn(results: Path, number: int, seed: int = 0) -> list[Path]:
    """Return ``number`` records below ``results``, drawn with a seed."""
    return random.Random(seed).sample(sorted(results.glob("**/seed*/*.json")), number)


def retrained(path: Path) -> dict:
    """Return the metrics of a record's config trained again, with their digest, or an error."""
    try:
        config = TrainConfig.from_dict(json.loads(path.read_text())["config"])
    except (TypeError, ValueError) as error:
        return {"error": str(error)}
    metrics = fit(config, device="cpu", progress=False).to_dict()["metrics"]
    text = json.dumps(metrics, sort_keys=True)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "metrics": metrics}


if __name__ == "__main__":
    results, number, *seed = sys.argv[1:]
    for path in drawn(Path(results), int(number), *map(int, seed)):
        print(json.dumps({"record": path.as_posix(), **retrained(path)}, sort_keys=True), flush=True)
