"""What the training loop asks a task: a model, the steps that it knows, and what is measured.

The loop (``geomreg_mini.training.fit``) knows batches, gradients, checkpoints and records. Everything that
differs between classifying, clustering and retrieving stands in a task, so that all of them are trained,
resumed and recorded by one loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from .evaluation import accuracies, accuracies_alone, disturbed, knn_probe, robustness
from .models import Encoded, build_model
from .paradigms import PARADIGMS, Paradigm


class Task:
    """How one kind of problem is modeled and judged; without state.

    Attributes:
        paradigms: what ``TrainConfig.paradigm`` may name.
        selection: the quantity of ``measure`` whose largest value on the validation split selects the epoch.
    """

    paradigms: ClassVar[Mapping[str, type[Paradigm]]]
    selection: ClassVar[str]

    def build(self, config, data) -> nn.Module:
        """The model of a ``TrainConfig`` for a data set, drawn from torch's generator.

        It has ``modalities``, ``encoders`` (a ``ModuleDict`` modality -> module that gives (B, D)) and
        ``encode(inputs)``, embeddings {modality: (B, D)} of the modalities in ``inputs``.
        """
        raise NotImplementedError

    def measure(self, paradigm: Paradigm, split, encoded: Encoded) -> dict[str, float]:
        """Numbers by "quantity/modality" on a split, given its embeddings; after every evaluated epoch."""
        raise NotImplementedError

    def measure_test(self, paradigm: Paradigm, data, encoded: Mapping[str, Encoded]) -> dict[str, float]:
        """What is measured once more on the test split alone; ``encoded`` has all three splits."""
        return {}

    def measure_published(self, paradigm: Paradigm, split, encoded: Encoded) -> dict[str, float]:
        """What ``paper_protocol`` reports of the test split; ``encoded`` has the samples that it scores."""
        return self.measure(paradigm, split, encoded)


class Classification(Task):
    """Classes from all modalities together and from each alone: a ``MultimodalClassifier``.

    Its fused accuracy selects the epoch.
    """

    paradigms = PARADIGMS
    selection = "accuracy/fused"

    def build(self, config, data):
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

    def measure(self, paradigm, split, encoded):
        return accuracies(paradigm, encoded)

    def measure_test(self, paradigm, data, encoded):
        """Missing and corrupted modalities, and a k-nearest-neighbor probe of each modality."""
        return {
            **robustness(paradigm, data.test, encoded["test"]),
            **disturbed(paradigm, data, data.test, data.corruptions),
            **knn_probe(encoded["train"], encoded["test"]),
        }

    def measure_published(self, paradigm, split, encoded):
        return accuracies(paradigm, encoded) | accuracies_alone(paradigm, encoded)
