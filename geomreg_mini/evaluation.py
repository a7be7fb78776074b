"""What a trained model is worth: accuracies, probes, missing and corrupted modalities, intervals over seeds.

Metrics come as flat dicts "quantity/modality" -> number in [0, 1] unless said; the training loop puts the
split first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from .data.corruptions import KINDS, chosen, corrupted, fitting, missing
from .geometry import knn_accuracy
from .models import Encoded, encode
from .pairs import RegularizerOutput, float64

if TYPE_CHECKING:
    from .paradigms import Paradigm

CORRUPTION_STRENGTHS = (0.5, 1.0, 2.0)
BATCH = 128  # samples that are fused or disturbed at a time; no result depends on it


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest logit is the label's; logits (N, C), labels (N,)."""
    return float64(logits.argmax(dim=1) == labels).mean().item()


@torch.no_grad()
def accuracies(paradigm: Paradigm, encoded: Encoded) -> dict[str, float]:
    """Fused and unimodal accuracy and the fused cross-entropy in nats.

    ``accuracy/<modality>`` reads the modality's own head or its share of a linear fusion. Without either it
    is left out, and the probes are the unimodal read-out.
    """
    logits = paradigm.fused_logits(encoded.embeddings)
    metrics = {"accuracy/fused": accuracy(logits, encoded.labels)}
    metrics["cross_entropy/fused"] = F.cross_entropy(logits, encoded.labels).item()
    for m, unimodal in paradigm.model.unimodal_logits(encoded.embeddings).items():
        metrics[f"accuracy/{m}"] = accuracy(unimodal, encoded.labels)
    return metrics


@torch.no_grad()
def accuracies_alone(paradigm: Paradigm, encoded: Encoded) -> dict[str, float]:
    """``accuracy_alone/<modality>``: the fused prediction with every other modality missing.

    For a concatenation this gives the modality the head's whole bias, where ``accuracy/<modality>`` gives it
    its share; DGL's code reports the former.
    """
    return {
        f"accuracy_alone/{m}": accuracy(paradigm.fused_logits({m: z}), encoded.labels)
        for m, z in encoded.embeddings.items()
    }


@torch.no_grad()
def robustness(
    paradigm: Paradigm, split, encoded: Encoded, strengths: Sequence[float] = CORRUPTION_STRENGTHS
) -> dict[str, float]:
    """Fused accuracy where one modality is missing, and where noise is added to its input.

    ``accuracy_missing/audio`` is the fused prediction without audio; ``accuracy_corrupted_1.0/audio`` the one
    with noise of one standard deviation on the audio input alone.
    """
    metrics, embeddings = {}, encoded.embeddings
    for m in embeddings:
        rest = {other: z for other, z in embeddings.items() if other != m}
        metrics[f"accuracy_missing/{m}"] = accuracy(paradigm.fused_logits(rest), encoded.labels)
        for strength in strengths:
            noisy = encode(paradigm.model, split, modalities=(m,), noise=strength).embeddings[m]
            logits = paradigm.fused_logits({**embeddings, m: noisy})
            metrics[f"accuracy_corrupted_{strength}/{m}"] = accuracy(logits, encoded.labels)
    return metrics


@torch.no_grad()
def disturbed(
    paradigm: Paradigm,
    data,
    split,
    kinds: Iterable[str] | Mapping[str, Sequence[float]] | None = None,
    *,
    embed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None,
    logits_of: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
) -> dict[str, float]:
    """Return ``accuracy_<kind>_<level>/<modality>``: fused accuracy with that one modality disturbed.

    The axes of the paper's Figures 9 to 12. An example: ``accuracy_snr_20/audio``, at 20 dB. Nothing is
    trained again.

    Args:
        paradigm: with its fitted model.
        data: the data set; its ``forms`` say which kinds fit which modality.
        split: of it.
        kinds: names in ``corruptions.KINDS``, with the paper's levels, or name -> levels; by default every
            kind that fits a modality.
        embed: inputs -> features {modality: (B, ...)}; the model's embeddings by default.
        logits_of: features -> fused logits (B, C); the paradigm's by default.

    Raises:
        ValueError: a kind that is unknown or fits no modality, or a level out of range.
    """
    model, positions = paradigm.model, torch.arange(len(split))
    kinds = chosen(kinds, data.forms, model.modalities)
    if not kinds:
        return {}
    predict, metrics = _in_parts(logits_of or paradigm.fused_logits), {}
    clean = encode(model, split, embed=embed, batch_size=BATCH)
    features, labels = clean.embeddings, clean.labels
    whole = predict(features)
    for m, z in features.items():
        std = z.std().item()
        rest = predict({other: x for other, x in features.items() if other != m})
        for kind, levels in kinds.items():
            if m not in fitting(kind, data.forms, model.modalities):
                continue
            for level in levels:
                if KINDS[kind].change is None:
                    gone = missing(len(split), level).to(labels.device)
                    logits = torch.where(gone[:, None], rest, whole)
                elif KINDS[kind].form is None:
                    logits = predict({**features, m: corrupted(kind, level, z, positions, std)})
                else:
                    change = partial(corrupted, kind, level, about=data.forms[m])
                    other = encode(
                        model, split, modalities=(m,), change=change, embed=embed, batch_size=BATCH
                    )
                    logits = predict({**features, **other.embeddings})
                metrics[f"accuracy_{kind}_{level:g}/{m}"] = accuracy(logits, labels)
    return metrics


def _in_parts(logits_of: Callable[[Mapping[str, Tensor]], Tensor]):
    """``logits_of`` for features of any number of samples."""

    def predict(features: Mapping[str, Tensor]) -> Tensor:
        parts = zip(*(z.split(BATCH) for z in features.values()), strict=True)
        return torch.cat([logits_of(dict(zip(features, part, strict=True))) for part in parts])

    return predict


def linear_probe(
    train: Encoded, validation: Encoded, test: Encoded, penalties=(0.01, 0.1, 1.0, 10.0)
) -> dict[str, float]:
    """Accuracy of an L2-regularized logistic regression on frozen, standardized embeddings of each modality.

    The inverse penalty C is chosen on the validation split; the test split is used once, with the chosen one.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels = [part.labels.cpu().numpy() for part in (train, validation, test)]
    metrics = {}
    for m in train.embeddings:
        z = [part.embeddings[m].cpu().double().numpy() for part in (train, validation, test)]
        probes = [
            make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(z[0], labels[0])
            for c in penalties
        ]
        best = max(probes, key=lambda probe: probe.score(z[1], labels[1]))
        metrics[f"linear_probe/{m}"] = float(best.score(z[2], labels[2]))
    return metrics


def knn_probe(train: Encoded, test: Encoded, k: int = 200, temperature: float = 0.1) -> dict[str, float]:
    """Return ``knn_accuracy`` of each modality's test embeddings among those of the training split.

    k is capped at a tenth of the bank: 200 neighbors of a few hundred samples would be a vote on class
    frequencies.
    """
    k = max(1, min(k, len(train.labels) // 10))
    return {
        f"knn_probe/{m}": knn_accuracy(
            z, test.labels, train.embeddings[m], train.labels, k=k, temperature=temperature
        )
        for m, z in test.embeddings.items()
    }


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its interval, in the unit of the values; ``n`` values went in."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_interval(
    treated: Sequence[float] | Mapping,
    baseline: Sequence[float] | Mapping,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Bootstrap interval of the mean of ``treated - baseline``, paired by seed.

    Args:
        treated, baseline: one value a seed, in the same order, or dicts seed -> value with the same seeds.
        level: coverage.
        resamples: bootstrap draws, from a fixed seed, so that the same values give the same interval.

    With few seeds a percentile bootstrap is too narrow (for six, by about a tenth to a quarter), so the
    resampled deviations are widened by Student's t over the normal quantile and by sqrt(n / (n - 1)).
    """
    import numpy as np
    from scipy.stats import norm, t

    if isinstance(treated, Mapping) != isinstance(baseline, Mapping):
        raise ValueError("treated and baseline: give both as sequences or both as dicts by seed.")
    if isinstance(treated, Mapping):
        if set(treated) != set(baseline):
            raise ValueError(f"seeds differ: treated has {sorted(treated)}, baseline has {sorted(baseline)}.")
        seeds = sorted(treated)
        treated, baseline = [treated[s] for s in seeds], [baseline[s] for s in seeds]
    if len(treated) != len(baseline) or len(treated) < 2:
        raise ValueError(
            f"{len(treated)} and {len(baseline)} values: a paired interval needs two or more pairs."
        )
    difference = np.asarray(treated, dtype=float) - np.asarray(baseline, dtype=float)
    if not np.isfinite(difference).all():
        raise ValueError(f"differences {difference.tolist()}: an interval needs finite values in both arms.")
    n = len(difference)
    draws = np.random.default_rng(0).integers(0, n, size=(resamples, n))
    deviations = difference[draws].mean(axis=1) - difference.mean()
    tail = (1 - level) / 2
    widening = t.ppf(1 - tail, n - 1) / norm.ppf(1 - tail) * np.sqrt(n / (n - 1))
    low, high = difference.mean() + widening * np.quantile(deviations, [tail, 1 - tail])
    return Interval(float(difference.mean()), float(low), float(high), n)


class Monitor:
    """What the regularizer did in training, gathered step by step for the means of an epoch."""

    def __init__(self) -> None:
        # modality -> gradient at its embeddings: of all losses, and of the regularizer alone
        self.pulls: tuple[dict, dict] = {}, {}
        self.values: dict[str, list[Tensor]] = {}

    def watch(
        self, embeddings: Mapping[str, Tensor], seen: Mapping[str, Tensor], output: RegularizerOutput
    ) -> None:
        """Add up the gradients that come back to ``embeddings`` and, of them, to ``seen``, its argument.

        Called after the regularizer, whose own looks at gradients must not count.
        """
        for pulls, tensors in zip(self.pulls, (embeddings, seen), strict=True):
            for m, z in tensors.items():
                if z.requires_grad:
                    z.register_hook(partial(self._add, pulls, m))
        for name, value in output.alpha.items():
            self.values.setdefault(f"alpha/{name}", []).append(value)
        for (a, b), value in output.active.items():
            self.values.setdefault(f"active/{a}-{b}", []).append(value)

    @staticmethod
    def _add(pulls: dict, modality: str, gradient: Tensor) -> None:
        pulls[modality] = pulls.get(modality, 0.0) + gradient.float()

    def close_step(self) -> None:
        """Take the dose of the batch just trained on; there is none if the task has no gradient."""
        everything, own = self.pulls
        for m, pull in own.items():
            task = (everything[m] - pull).norm()
            if task > 0:
                self.values.setdefault(f"dose/{m}", []).append(pull.norm() / task)
        self.pulls = {}, {}

    def means(self) -> dict[str, float]:
        """Return the means since the last call, by name."""
        values, self.values = self.values, {}
        return {name: torch.stack(each).mean().item() for name, each in values.items()}
