"""One training on the toy data, watched epoch by epoch, with a setting for every slider of the lab."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache

from torch import Tensor, nn
from torch.nn import functional as F

from geomreg_mini.data import MultimodalDataset, load
from geomreg_mini.evaluation import accuracies
from geomreg_mini.geometry import effective_rank, knn_accuracy, mean_cosine, paired_drift
from geomreg_mini.inputs import check_choice, check_whole
from geomreg_mini.models import encode
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.regularizer import GeometryRegularizer
from geomreg_mini.training import TrainConfig, fit

# The world of notebook 01, section 5: a strong and noisy, b faint and almost clean. It was chosen on other
# seeds than the lab's.
WORLD = {"num_classes": 4, "validation_size": 300, "nuisance": 1.5}
NOISE_OF_B = 0.05
EPOCHS = 60
CURVES = ("fused", "a", "b")
# Fields of a setting that a balance does not use: their sliders are disabled.
UNUSED = {"sum": ("strength",), "pareto": ("dispersion_weight", "anchoring_weight")}
_ONE_RUN = threading.Lock()  # torch's random numbers are global, so parallel runs would not be reproducible


@dataclass(frozen=True)
class Setting:
    """The values of the controls; see ``GeometryRegularizer`` and the toy data for units and ranges.

    ``noise`` is the standard deviation of the noise on ``a``; that on ``b`` is always 0.05. ``train_size``
    counts training samples, at least 64 (one batch). ``learning_rate`` is the step size.

    ``dimensions`` of the embeddings is 2 (drawn on the circle) or 3 (on the sphere). Both weights are for
    ``balance="sum"``; ``strength``, the paper's beta, is for ``balance="pareto"``.
    """

    dispersion_weight: float = 0.0
    anchoring_weight: float = 0.0
    temperature: float = 0.5
    radius: float = 0.6
    noise: float = 0.6
    imbalance: float = 0.6
    private_share: float = 0.0
    train_size: int = 300
    learning_rate: float = 0.02
    paradigm: str = "joint"
    dimensions: int = 2
    balance: str = "sum"
    strength: float = GeometryRegularizer.strength

    def regularizer(self) -> GeometryRegularizer:
        """Return the regularizer of this setting.

        Raises:
            ValueError: if a value is out of range or this balance does not use it; the message names it.
        """
        used = ["temperature", "radius", "balance", "strength"]
        weights = UNUSED["pareto"]  # Pareto ignores a weight of 0 and refuses any other
        used += weights if self.balance == "sum" else [name for name in weights if getattr(self, name)]
        return GeometryRegularizer(**{name: getattr(self, name) for name in used})

    def config(self, seed: int, epochs: int) -> TrainConfig:
        """Return the configuration of a training with this setting.

        Raises:
            ValueError: naming the value that is out of range.
        """
        check_whole(64, train_size=self.train_size)
        check_choice((2, 3), dimensions=self.dimensions)
        check_choice(PARADIGMS, paradigm=self.paradigm)
        return TrainConfig(
            dataset="toy",
            dataset_options=self.world(),
            paradigm=self.paradigm,
            regularizer=self.regularizer(),
            fusion=PARADIGMS[self.paradigm].usual_fusion,
            embedding_dim=self.dimensions,
            encoder_options={"hidden": 64},
            epochs=epochs,
            evaluate_every=epochs,
            learning_rate=self.learning_rate,
            seed=seed,
        )

    def world(self) -> dict[str, object]:
        """Return the options of the toy data set."""
        chosen = {name: getattr(self, name) for name in ("imbalance", "private_share", "train_size")}
        return {**WORLD, **chosen, "noise": {"a": self.noise, "b": NOISE_OF_B}}

    def changed(self) -> dict[str, object]:
        """Return the values that differ from the defaults."""
        default = Setting()
        return {name: value for name, value in asdict(self).items() if value != getattr(default, name)}

    def code(self, seed: int) -> str:
        """Return the line that trains this setting again."""
        return f"lab.train({self.changed()}, seed={seed})"


PRESETS = {
    "collapse": Setting(anchoring_weight=0.3, radius=0.0),
    "drift": Setting(dispersion_weight=0.3),
    "rigid": Setting(dispersion_weight=0.3, anchoring_weight=0.3, radius=0.0),
    "bounded": Setting(dispersion_weight=0.3, anchoring_weight=0.3, radius=0.3),
}


@dataclass
class Run:
    """A training: its setting, one row of accuracies per epoch, and the newest embeddings.

    ``embeddings`` is {modality: (N, 2 or 3)} and ``labels`` (N,). These and the rows are of the validation
    split, since anyone who moves a slider is selecting.
    """

    setting: Setting
    seed: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None

    @property
    def now(self) -> dict[str, float]:
        """The newest row with the geometry of the newest embeddings, measured on access.

        Per modality: "knn/..." (accuracy of the nearest neighbors), "effective_rank/..." and
        "mean_cosine/...". Of the pairs: "paired_drift" and the share "outside" the band. With
        ``balance="pareto"`` also "alpha/...", chosen for these samples as one batch; training chooses it
        for each batch.
        """
        row = dict(self.rows[-1])
        for m, z in self.embeddings.items():
            row |= {f"effective_rank/{m}": effective_rank(z), f"mean_cosine/{m}": mean_cosine(z)}
            row[f"knn/{m}"] = knn_accuracy(z, self.labels)
        a, b = (F.normalize(z, dim=1) for z in self.embeddings.values())
        row["paired_drift"] = paired_drift(a, b)
        row["outside"] = ((a - b).norm(dim=1) > self.setting.radius).double().mean().item()
        alpha = self.setting.regularizer()(self.embeddings).alpha
        return row | {f"alpha/{m}": value.item() for m, value in alpha.items()}

    def accuracies(self) -> list[list[float]]:
        """Return the accuracies of ``CURVES``, one row per epoch."""
        return [[row[f"accuracy/{m}"] for m in CURVES] for row in self.rows]

    def words(self) -> str:
        """Return the newest row in words, for readers who do not see the pictures."""
        now = self.now
        accuracy = ", ".join(f"{m} {now[f'accuracy/{m}']:.2f}" for m in ("fused", "a", "b"))
        rank = ", ".join(f"{m} {now[f'effective_rank/{m}']:.2f}" for m in "ab")
        words = (
            f"Epoch {now['epoch']}. Accuracy: {accuracy}; b by its nearest neighbors {now['knn/b']:.2f}. "
            f"Effective rank (1 to {self.setting.dimensions}): {rank}. "
            f"Paired drift {now['paired_drift']:.2f}, {100 * now['outside']:.0f} % of pairs outside the band."
        )
        if self.setting.balance == "pareto":
            alpha = ", ".join(f"{m} {now[f'alpha/{m}']:.2f}" for m in "ab")
            words += f" Alpha (at 1 dispersion rests): {alpha}."
        return words


@lru_cache(maxsize=8)
def _load(seed: int, setting: Setting) -> MultimodalDataset:
    return load("toy", seed=seed, **setting.world())


class _Trained(Exception):
    """Ends ``fit`` before it evaluates the test split, which the lab must not show and need not wait for."""


def train(
    setting: Setting | Mapping,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    watch: Callable[[Run], None] | None = None,
) -> Run:
    """Train one setting (or a dict of its fields) on the toy data; equal arguments give equal runs.

    ``watch`` is called with the run before training and after every epoch; an exception in it ends the run.
    Runs in several threads wait for each other.
    """
    setting = setting if isinstance(setting, Setting) else Setting(**setting)
    run, config = Run(setting, seed), setting.config(seed, epochs)

    def look(epoch: int, model: nn.Module) -> None:
        seen = encode(model, data.validation)
        run.embeddings, run.labels = seen.embeddings, seen.labels
        run.rows.append({"epoch": epoch, **accuracies(PARADIGMS[setting.paradigm](model), seen)})
        if watch is not None:
            watch(run)
        if epoch == epochs:
            raise _Trained

    with _ONE_RUN:
        data = _load(seed, setting)
        with suppress(_Trained):
            fit(config, data=data, device="cpu", progress=False, on_epoch=look)
    return run
