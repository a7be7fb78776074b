"""Evaluation of a model: accuracies, probes, missing and corrupted modalities, intervals over seeds.

Metrics are flat dicts "quantity/modality" -> number, in [0, 1] unless stated; the training loop adds the
split in front.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from data_scripts.extras import extra

from .data import MultimodalDataset, Split
from .data.corruptions import KINDS, corrupted, levels_by_kind, missing
from .geometry import knn_accuracy
from .inputs import Array, Embeddings, RegularizerOutput, float64
from .models import Encoded, encode
from .paradigms import Paradigm

CORRUPTION_STRENGTHS = (0.5, 1.0, 2.0)
BATCH = 128  # samples fused or disturbed at a time; no result depends on it


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest logit is the label's; logits (N, C), labels (N,)."""
    return float64(logits.argmax(dim=1) == labels).mean().item()


@torch.no_grad()
def accuracies(paradigm: Paradigm, encoded: Encoded) -> dict[str, float]:
    """Return fused and unimodal accuracy and the fused cross-entropy in nats.

    ``accuracy/<modality>`` reads the modality's own head or its share of a linear fusion. Without either it
    is left out; then the probes measure single modalities.
    """
    logits = paradigm.fused_logits(encoded.embeddings)
    metrics = {"accuracy/fused": accuracy(logits, encoded.labels)}
    metrics["cross_entropy/fused"] = F.cross_entropy(logits, encoded.labels).item()
    for m, unimodal in paradigm.model.unimodal_logits(encoded.embeddings).items():
        metrics[f"accuracy/{m}"] = accuracy(unimodal, encoded.labels)
    return metrics


@torch.no_grad()
def accuracies_alone(paradigm: Paradigm, encoded: Encoded) -> dict[str, float]:
    """Return ``accuracy_alone/<modality>``, of the fused prediction with every other modality missing.

    For a concatenation this gives the modality the head's whole bias, but ``accuracy/<modality>`` gives it a
    share of the bias. DGL's code reports the former.
    """
    logits = {m: paradigm.fused_logits({m: z}) for m, z in encoded.embeddings.items()}
    return {f"accuracy_alone/{m}": accuracy(of, encoded.labels) for m, of in logits.items()}


@torch.no_grad()
def robustness(
    paradigm: Paradigm, split: Split, encoded: Encoded, strengths: Sequence[float] = CORRUPTION_STRENGTHS
) -> dict[str, float]:
    """Return fused accuracy with one modality missing, and with noise added to its input.

    ``accuracy_missing/audio`` is that of the prediction without audio, ``accuracy_corrupted_1.0/audio`` that
    with noise of one standard deviation on the audio input alone.
    """
    metrics, embeddings = {}, encoded.embeddings
    for m in embeddings:
        rest = {other: z for other, z in embeddings.items() if other != m}
        metrics[f"accuracy_missing/{m}"] = accuracy(paradigm.fused_logits(rest), encoded.labels)
        for strength in strengths:
            noisy = encode(paradigm.model, split, modalities=(m,), change=partial(noised, strength))
            logits = paradigm.fused_logits({**embeddings, **noisy.embeddings})
            metrics[f"accuracy_corrupted_{strength}/{m}"] = accuracy(logits, encoded.labels)
    return metrics


def noised(strength: float, x: Tensor, index: Tensor) -> Tensor:
    """Return inputs x (B, ...) plus Gaussian noise of ``strength`` times their standard deviation.

    The noise is fixed by the first sample's position in the split; ``index`` (B,) are the positions.
    """
    generator = torch.Generator().manual_seed(int(index[0]))
    return x + strength * x.std() * torch.randn(x.shape, generator=generator).to(x)


@torch.no_grad()
def disturbed(
    paradigm: Paradigm,
    data: MultimodalDataset,
    split: Split,
    kinds: Iterable[str] | Mapping[str, Sequence[float]] | None = None,
    *,
    embed: Callable[[Embeddings], Embeddings] | None = None,
    logits_of: Callable[[Embeddings], Tensor] | None = None,
) -> dict[str, float]:
    """Return ``accuracy_<kind>_<level>/<modality>``: fused accuracy with that one modality disturbed.

    These are the axes of the paper's Figures 9 to 12; ``accuracy_snr_20/audio``, for example, is at 20 dB.
    The model is not trained again.

    Args:
        paradigm: a paradigm with its fitted model.
        data: the data set; its ``forms`` decide which kinds fit which modality.
        split: a split of the data set.
        kinds: names in ``corruptions.KINDS``, with the paper's levels, or name -> levels; by default every
            kind that fits a modality.
        embed: inputs -> features {modality: (B, ...)}; the model's embeddings by default.
        logits_of: features -> fused logits (B, C); the paradigm's by default.

    Raises:
        ValueError: if a kind is unknown or fits no modality, or a level is out of range.
    """
    model, positions = paradigm.model, torch.arange(len(split))
    kinds = levels_by_kind(kinds, data.forms, model.modalities)
    if not kinds:
        return {}
    logits_of = logits_of or paradigm.fused_logits
    clean = encode(model, split, embed=embed, batch_size=BATCH)
    features, labels = clean.embeddings, clean.labels

    def predict(features: Embeddings) -> Tensor:
        parts = zip(*(z.split(BATCH) for z in features.values()), strict=True)
        return torch.cat([logits_of(dict(zip(features, part, strict=True))) for part in parts])

    whole, metrics = predict(features), {}
    for m, z in features.items():
        std = z.std().item()
        rest = predict({other: x for other, x in features.items() if other != m})
        for kind, levels in kinds.items():
            if not KINDS[kind].fits(data.forms.get(m)):
                continue
            for level in levels:
                if KINDS[kind].change is None:
                    gone = missing(len(split), level).to(labels.device)
                    logits = torch.where(gone[:, None], rest, whole)
                elif KINDS[kind].form is None:
                    logits = predict({**features, m: corrupted(kind, level, z, positions, std)})
                else:
                    change = partial(corrupted, kind, level, about=data.forms[m])
                    options = {"change": change, "embed": embed, "batch_size": BATCH}
                    other = encode(model, split, modalities=(m,), **options)
                    logits = predict({**features, **other.embeddings})
                metrics[f"accuracy_{kind}_{level:g}/{m}"] = accuracy(logits, labels)
    return metrics


def linear_probe(
    train: Encoded, validation: Encoded, test: Encoded, penalties: Sequence[float] = (0.01, 0.1, 1.0, 10.0)
) -> dict[str, float]:
    """Return the accuracy of L2-regularized logistic regression on each modality's standardized embeddings.

    The validation split selects the inverse penalty C; the test split is used once, with the selected one.
    """
    with extra("course"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

    labels = [part.labels.cpu().numpy() for part in (train, validation, test)]
    metrics = {}
    for m in train.embeddings:
        z = [part.embeddings[m].cpu().double().numpy() for part in (train, validation, test)]
        probes = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)) for c in penalties]
        best = max(probes, key=lambda probe: probe.fit(z[0], labels[0]).score(z[1], labels[1]))
        metrics[f"linear_probe/{m}"] = float(best.score(z[2], labels[2]))
    return metrics


def knn_probe(train: Encoded, test: Encoded) -> dict[str, float]:
    """Return ``knn_accuracy`` of each modality's test embeddings among those of the training split.

    k is 200, but at most a tenth of the bank: 200 neighbors of a few hundred samples would be a vote on class
    frequencies.
    """
    k, bank = max(1, min(200, len(train.labels) // 10)), train.embeddings
    found = {m: knn_accuracy(z, test.labels, bank[m], train.labels, k=k) for m, z in test.embeddings.items()}
    return {f"knn_probe/{m}": share for m, share in found.items()}


@dataclass(frozen=True)
class Interval:
    """The mean of ``n`` values with the bounds of its interval, in the unit of the values."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_interval(
    treated: Array | Mapping,
    baseline: Array | Mapping,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Return the bootstrap interval of the mean of ``treated - baseline``, paired by seed.

    Args:
        treated, baseline: one value per seed, in the same order, or dicts seed -> value with the same seeds.
        level: coverage.
        resamples: bootstrap draws, from a fixed seed, so that the same values give the same interval.

    With few seeds a percentile bootstrap is too narrow (for six, by about a tenth to a quarter). So the
    resampled deviations are widened by Student's t over the normal quantile and by sqrt(n / (n - 1)).
    """
    import numpy as np

    with extra("course"):
        from scipy.stats import norm, t

    if isinstance(treated, Mapping) != isinstance(baseline, Mapping):
        raise ValueError("treated and baseline differ in type: give both as sequences or as dicts by seed.")
    if isinstance(treated, Mapping):
        if set(treated) != set(baseline):
            raise ValueError(f"treated has seeds {sorted(treated)}, baseline {sorted(baseline)}; pair them.")
        seeds = sorted(treated)
        treated, baseline = [treated[s] for s in seeds], [baseline[s] for s in seeds]
    if len(treated) != len(baseline) or len(treated) < 2:
        raise ValueError(f"treated has {len(treated)} values, baseline {len(baseline)}: give two or more.")
    difference = np.asarray(treated, dtype=float) - np.asarray(baseline, dtype=float)
    if not np.isfinite(difference).all():
        raise ValueError(f"the differences are {difference.tolist()}: give finite values in both arms.")
    n = len(difference)
    draws = np.random.default_rng(0).integers(0, n, size=(resamples, n))
    deviations = difference[draws].mean(axis=1) - difference.mean()
    tail = (1 - level) / 2
    widening = t.ppf(1 - tail, n - 1) / norm.ppf(1 - tail) * np.sqrt(n / (n - 1))
    low, high = difference.mean() + widening * np.quantile(deviations, [tail, 1 - tail])
    return Interval(float(difference.mean()), float(low), float(high), n)


class Monitor:
    """The regularizer's effect in training, gathered step by step and averaged over an epoch."""

    def __init__(self) -> None:
        # modality -> gradient at its embeddings: of all losses, and of the regularizer alone
        self.pulls: tuple[dict, dict] = {}, {}
        self.values: dict[str, list[Tensor]] = {}

    def watch(
        self, embeddings: Mapping[str, Tensor], seen: Mapping[str, Tensor], output: RegularizerOutput
    ) -> None:
        """Add up the gradients that reach ``embeddings``, and the part through the regularizer's ``seen``.

        Call it after the regularizer, whose own computations of gradients must not count.
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
        """Store the dose of the last batch, unless the task has no gradient."""
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
