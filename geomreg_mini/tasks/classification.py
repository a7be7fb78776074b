"""Classes from all modalities together, and from each alone."""

from __future__ import annotations

from ..evaluation import accuracies, accuracies_alone, disturbed, knn_probe, robustness
from ..models import build_model
from ..paradigms import PARADIGMS
from .base import Task


class Classification(Task):
    """A ``MultimodalClassifier``, selected by its fused accuracy."""

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
