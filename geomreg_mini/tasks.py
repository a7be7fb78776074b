"""The interface between the training loop and a task: its model, its paradigms and its metrics.

The loop (``geomreg_mini.training.fit``) knows batches, gradients, checkpoints and records. A task holds
everything that differs between classifying, clustering and retrieving. So one loop trains, resumes and
records all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from .data import MultimodalDataset, Split
from .evaluation import accuracies, accuracies_alone, disturbed, knn_probe, robustness
from .models import Encoded, build_model, encode
from .paradigms import PARADIGMS, Paradigm

if TYPE_CHECKING:
    from .config import TrainConfig

Metrics = dict[str, float]  # "quantity/modality" -> number
Splits = Mapping[str, Encoded]  # the name of a split -> its embeddings


class Task:
    """One kind of problem with its models and metrics, without state.

    Attributes:
        paradigms: name -> class, the choices for ``TrainConfig.paradigm``.
        selection: the quantity of ``measure`` whose largest value on the validation split selects the epoch.
    """

    paradigms: ClassVar[Mapping[str, type[Paradigm]]]
    selection: ClassVar[str]

    def build(self, config: TrainConfig, data: MultimodalDataset) -> nn.Module:
        """Return the model of a ``TrainConfig`` for a data set, drawn from torch's generator.

        It has ``modalities``, ``encoders`` (a ``ModuleDict`` modality -> module that gives (B, D)) and
        ``encode(inputs)``, embeddings {modality: (B, D)} of the modalities in ``inputs``.
        """
        raise NotImplementedError

    def encode(self, paradigm: Paradigm, split: Split) -> Encoded:
        """Return a split's embeddings, and what else one pass of the model gives ``measure``."""
        return encode(paradigm.model, split)

    def measure(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        """Return a split's metrics by "quantity/modality" from its embeddings, after an evaluated epoch."""
        raise NotImplementedError

    def measure_test(self, paradigm: Paradigm, data: MultimodalDataset, encoded: Splits) -> Metrics:
        """Return the metrics of the test split alone; ``encoded`` has all three splits."""
        return {}

    def measure_published(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        """Return the metrics that ``paper_protocol`` reports; ``encoded`` has the scored test samples."""
        return self.measure(paradigm, split, encoded)


class Classification(Task):
    """Classification from all modalities together and from each alone, by a ``MultimodalClassifier``.

    Its fused accuracy selects the epoch.
    """

    paradigms = PARADIGMS
    selection = "accuracy/fused"

    def build(self, config: TrainConfig, data: MultimodalDataset) -> nn.Module:
        return build_model(
            data,
            fusion=config.fusion,
            embedding_dim=config.embedding_dim,
            heads=PARADIGMS[config.paradigm].needs_heads,
            unit_sphere=getattr(config.regularizer, "normalizes", False),
            encoder=config.encoder,
            encoder_options=config.encoder_options,
            hidden=config.depth == "hidden",
        )

    def measure(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        return accuracies(paradigm, encoded)

    def measure_test(self, paradigm: Paradigm, data: MultimodalDataset, encoded: Splits) -> Metrics:
        """Return metrics of missing and corrupted modalities, and a k-nearest-neighbor probe of each."""
        return {
            **robustness(paradigm, data.test, encoded["test"]),
            **disturbed(paradigm, data, data.test, data.corruptions),
            **knn_probe(encoded["train"], encoded["test"]),
        }

    def measure_published(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        return accuracies(paradigm, encoded) | accuracies_alone(paradigm, encoded)
