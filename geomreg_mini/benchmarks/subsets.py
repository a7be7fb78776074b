"""Actions from any subset of the modalities, one model for all of them: X-Fi's protocol.

A modality that is absent is left out, not replaced by zeros, and a model is trained once for every subset.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..evaluation import accuracy, disturbed, knn_probe
from ..pairs import float64
from ..paradigms import Paradigm
from ..paradigms.plain import Unimodal
from ..tasks import Task
from .subset_models import SubsetClassifier, build_subset_classifier, subsets

PUBLISHED_BATCH = 32  # samples over which X-Fi takes an accuracy, before it takes their mean
BATCH = 64  # samples a forward pass of an evaluation; no result depends on it


class ModalityDropout(Paradigm):
    """Cross-entropy of the fused logits from a random subset of the modalities, drawn for each batch.

    Every encoder sees every batch, so that the regularizer sees all of them and running statistics do not
    depend on it; X-Fi leaves those of the dropped modalities out.

    Args:
        model: a ``SubsetClassifier``; with heads where there is a ``pretrain``.
        keep: modality -> probability of being kept; one half each by default. An empty draw is drawn again.
        pretrain: share of the epochs, at the beginning, in which each encoder learns with a head of its own
            and the fusion does not.
        freeze: whether the encoders' ResNets are fixed after that, as in X-Fi, which takes them from
            elsewhere; their projections go on learning. Running statistics go on as well, as in X-Fi's code.
    """

    def __init__(
        self,
        model: SubsetClassifier,
        keep: Mapping[str, float] | None = None,
        pretrain: float = 0.0,
        freeze: bool = False,
    ):
        super().__init__(model)
        keep = dict.fromkeys(model.modalities, 0.5) if keep is None else dict(keep)
        if set(keep) != set(model.modalities) or not all(0 < p <= 1 for p in keep.values()):
            raise ValueError(
                f"keep={keep}: give each of {', '.join(model.modalities)} a probability above 0, up to 1."
            )
        if not 0 <= pretrain < 1:
            raise ValueError(f"pretrain={pretrain!r}: give a share of the epochs from 0 to below 1.")
        if freeze and not pretrain:
            raise ValueError("freeze=True: ResNets that were never trained would be fixed; set pretrain.")
        self.keep = torch.tensor([keep[m] for m in model.modalities])
        self.pretrain, self.freeze, self.pretraining = pretrain, freeze, False

    def start_epoch(self, epoch, epochs, data):
        self.pretraining = epoch <= self.pretrain * epochs
        if self.freeze:
            for encoder in self.model.encoders.values():
                encoder.backbone.requires_grad_(self.pretraining)

    def kept(self) -> tuple[str, ...]:
        """The modalities of one batch, from torch's generator on the CPU: all processes draw alike."""
        while True:
            drawn = torch.rand(len(self.keep)) < self.keep
            if drawn.any():
                return tuple(m for m, d in zip(self.model.modalities, drawn.tolist(), strict=True) if d)

    def losses(self, output, label):
        if self.pretraining:
            return {m: F.cross_entropy(logits, label) for m, logits in output.unimodal_logits.items()}
        tokens = {m: output.tokens[m] for m in self.kept()}
        return {"fused": F.cross_entropy(self.model.fusion(tokens), label)}

    def logits_of(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, C) from the tokens {modality: (B, T, D)} that are there."""
        return self.model.fusion(tokens)


class LateFusion(Unimodal):
    """Each encoder with a head of its own, nothing shared; a subset's prediction averages probabilities.

    That is decision fusion. X-Fi's code has it as one of two baselines; which of them is in the published
    table is not said.
    """

    def logits_of(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """The logarithm of the mean probabilities, up to a constant; see ``ModalityDropout.logits_of``."""
        return self.fused_logits({m: z.mean(dim=1) for m, z in tokens.items()})


class Subsets(Task):
    """A ``SubsetClassifier``, selected by its mean accuracy over all subsets.

    ``TrainConfig.encoder_options`` go to ``build_subset_classifier``.
    """

    paradigms = {"modality_dropout": ModalityDropout, "unimodal": LateFusion}
    selection = "mean_accuracy/subsets"

    def build(self, config, data):
        if config.encoder != "resnet18" or config.fusion != "transformer":
            raise ValueError(
                f"encoder={config.encoder!r}, fusion={config.fusion!r}: the task has 'resnet18' and "
                "'transformer' only."
            )
        heads = config.paradigm == "unimodal" or config.paradigm_options.get("pretrain", 0) > 0
        seen = {"heads": heads, "hidden": config.depth == "hidden"}
        return build_subset_classifier(data, config.embedding_dim, **seen, **config.encoder_options)

    def measure(self, paradigm, split, encoded):
        """For each subset ``accuracy`` over samples and ``batch_accuracy``, and the mean of the former."""
        found, mean = {}, 0.0
        logits = subset_logits(paradigm, split)
        for name, of in logits.items():
            found[f"accuracy/{name}"] = accuracy(of, encoded.labels)
            found[f"batch_accuracy/{name}"] = batch_accuracy(of, encoded.labels)
            mean += found[f"accuracy/{name}"] / len(logits)
        return {self.selection: mean, **found}

    def measure_test(self, paradigm, data, encoded):
        """A k-nearest-neighbor probe of each modality's embeddings, and disturbed tokens."""
        tokens, logits_of = paradigm.model.tokens, paradigm.logits_of
        return {
            **knn_probe(encoded["train"], encoded["test"]),
            **disturbed(paradigm, data, data.test, data.corruptions, embed=tokens, logits_of=logits_of),
        }


@torch.no_grad()
def subset_logits(paradigm: ModalityDropout | LateFusion, split) -> dict[str, Tensor]:
    """Logits (N, C) of every subset, by its name such as "WiFi+RFID"; the model's mode is left as it was."""
    model = paradigm.model
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts: dict[str, list[Tensor]] = {"+".join(s): [] for s in subsets(model.modalities)}
    for index in torch.arange(len(split)).split(BATCH):
        batch = split.batch(index)
        tokens = model.tokens(split.prepare({m: x.to(device) for m, x in batch["inputs"].items()}))
        for name, part in parts.items():
            part.append(paradigm.logits_of({m: tokens[m] for m in name.split("+")}))
    model.train(was_training)
    return {name: torch.cat(part) for name, part in parts.items()}


def batch_accuracy(logits: Tensor, labels: Tensor, size: int = PUBLISHED_BATCH) -> float:
    """The mean of the accuracies of batches of ``size``, the last of which may be smaller, in their order.

    As X-Fi reports. A sample of a smaller last batch counts for more than others.
    """
    right = float64(logits.argmax(dim=1) == labels)
    return torch.stack([part.mean() for part in right.split(size)]).mean().item()
