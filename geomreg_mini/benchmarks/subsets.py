"""Actions from any subset of the modalities, with one model for all subsets: X-Fi's protocol.

An absent modality is left out, not replaced by zeros, and a model is trained once for all subsets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import MultimodalDataset, Split
from ..evaluation import accuracy, disturbed, knn_probe
from ..inputs import check_choice, float64
from ..models import Encoded, encode
from ..paradigms import Paradigm
from ..paradigms.base import Losses
from ..paradigms.plain import Unimodal
from ..tasks import Metrics, Splits, Task
from .subset_models import SubsetClassifier, Tokens, build_subset_classifier, subsets

if TYPE_CHECKING:
    from ..config import TrainConfig

PUBLISHED_BATCH = 32  # samples per accuracy in X-Fi, which then averages the accuracies
BATCH = 64  # samples per forward pass of an evaluation; no result depends on it


class ModalityDropout(Paradigm):
    """Cross-entropy of the fused logits from a random subset of the modalities, drawn for each batch.

    Every encoder gets every batch, so that the regularizer gets all modalities and running statistics do not
    depend on it. X-Fi does not run the encoders of dropped modalities.

    Args:
        model: a ``SubsetClassifier``; with heads if ``pretrain`` is above 0.
        keep: modality -> probability of being kept; one half each by default. An empty draw is repeated.
        pretrain: share of the epochs, at the beginning, in which each encoder learns with a separate head and
            the fusion does not learn.
        freeze: whether the encoders' ResNets are fixed after that, or from the beginning if they are X-Fi's.
            Their projections continue to learn, and running statistics to change, as in X-Fi's code.
    """

    def __init__(
        self,
        model: SubsetClassifier,
        keep: Mapping[str, float] | None = None,
        pretrain: float = 0.0,
        freeze: bool = False,
    ) -> None:
        super().__init__(model)
        keep = dict.fromkeys(model.modalities, 0.5) if keep is None else dict(keep)
        if set(keep) != set(model.modalities) or not all(0 < p <= 1 for p in keep.values()):
            raise ValueError(f"keep={keep}: give each of {model.modalities} a probability above 0, up to 1.")
        if not 0 <= pretrain < 1:
            raise ValueError(f"pretrain={pretrain!r}: give a share of the epochs from 0 to below 1.")
        if freeze and not pretrain and model.pretrained is None:
            raise ValueError("freeze=True would fix untrained ResNets; set pretrain.")
        self.keep = torch.tensor([keep[m] for m in model.modalities])
        self.pretrain, self.freeze, self.pretraining = pretrain, freeze, False

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        self.pretraining = epoch <= self.pretrain * epochs
        if self.freeze:
            for encoder in self.model.encoders.values():
                encoder.backbone.requires_grad_(self.pretraining)

    def draw_modalities(self) -> tuple[str, ...]:
        """Return the modalities of one batch, from torch's CPU generator, so that all processes agree."""
        while True:
            drawn = torch.rand(len(self.keep)) < self.keep
            if drawn.any():
                return tuple(m for m, d in zip(self.model.modalities, drawn.tolist(), strict=True) if d)

    def losses(self, output: Tokens, label: Tensor) -> Losses:
        if self.pretraining:
            return {m: F.cross_entropy(logits, label) for m, logits in output.unimodal_logits.items()}
        tokens = {m: output.tokens[m] for m in self.draw_modalities()}
        return {"fused": F.cross_entropy(self.model.fusion(tokens), label)}

    def logits_of(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Return logits (B, C) from the tokens {modality: (B, T, D)} of the present modalities."""
        return self.model.fusion(tokens)


class LateFusion(Unimodal):
    """Each encoder with a separate head, nothing shared; a subset's prediction averages probabilities.

    This is decision fusion, one of two baselines in X-Fi's code. The paper does not state which of them is in
    its table.
    """

    def logits_of(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Return the log of the mean probabilities, up to a constant; see ``ModalityDropout.logits_of``."""
        return self.fused_logits({m: z.mean(dim=1) for m, z in tokens.items()})


class Subsets(Task):
    """Classification by a ``SubsetClassifier``, selected by its mean accuracy over all subsets.

    ``TrainConfig.encoder_options`` go to ``build_subset_classifier``.
    """

    paradigms = {"modality_dropout": ModalityDropout, "unimodal": LateFusion}
    selection = "mean_accuracy/subsets"

    def build(self, config: TrainConfig, data: MultimodalDataset) -> SubsetClassifier:
        check_choice(["resnet18"], encoder=config.encoder)
        check_choice(["transformer"], fusion=config.fusion)
        heads = config.paradigm == "unimodal" or config.paradigm_options.get("pretrain", 0) > 0
        output = {"heads": heads, "hidden": config.depth == "hidden"}
        return build_subset_classifier(data, config.embedding_dim, **output, **config.encoder_options)

    def encode(self, paradigm: ModalityDropout | LateFusion, split: Split) -> Encoded:
        """Return embeddings, and logits (N, C) of every subset by its name such as "WiFi+RFID"."""
        model = paradigm.model

        def embed(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            tokens = model.tokens(inputs)
            of = {"+".join(s): {m: tokens[m] for m in s} for s in subsets(model.modalities)}
            logits = {f"logits/{name}": paradigm.logits_of(part) for name, part in of.items()}
            return {m: z.mean(dim=1) for m, z in tokens.items()} | logits

        encoded = encode(model, split, embed=embed, batch_size=BATCH)
        embeddings = {m: encoded.embeddings.pop(m) for m in model.modalities}
        logits = {name.removeprefix("logits/"): of for name, of in encoded.embeddings.items()}
        return Encoded(embeddings, encoded.labels, logits)

    def measure(self, paradigm: Paradigm, split: Split, encoded: Encoded) -> Metrics:
        """Return ``accuracy`` over samples and ``batch_accuracy`` of each subset, and the mean accuracy."""
        found, mean = {}, 0.0
        for name, of in encoded.logits.items():
            found[f"accuracy/{name}"] = accuracy(of, encoded.labels)
            found[f"batch_accuracy/{name}"] = batch_accuracy(of, encoded.labels)
            mean += found[f"accuracy/{name}"] / len(encoded.logits)
        return {self.selection: mean, **found}

    def measure_test(self, paradigm: Paradigm, data: MultimodalDataset, encoded: Splits) -> Metrics:
        """Return a k-nearest-neighbor probe of each modality, and accuracy on disturbed tokens."""
        tokens, logits_of = paradigm.model.tokens, paradigm.logits_of
        return {
            **knn_probe(encoded["train"], encoded["test"]),
            **disturbed(paradigm, data, data.test, data.corruptions, embed=tokens, logits_of=logits_of),
        }


def batch_accuracy(logits: Tensor, labels: Tensor, size: int = PUBLISHED_BATCH) -> float:
    """Return the mean of the accuracies of batches of ``size``, of which the last may be smaller.

    X-Fi reports this number. A sample of a smaller last batch counts more than others.
    """
    right = float64(logits.argmax(dim=1) == labels)
    return torch.stack([part.mean() for part in right.split(size)]).mean().item()
