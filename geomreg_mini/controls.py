"""Controls for the regularizer: other objectives on the same embeddings, with the same interface.

Each class has the arguments and return value of `GeometryRegularizer`, so a loop can swap them:

    control = VICReg(0.01)
    out = control({"audio": za, "image": zv})
    loss = task_loss + out.total

    total = weight * (mean_m dispersion_m + mean_ab anchoring_ab)

over modalities m and pairs (a, b) of them. `out.dispersion` holds an objective's terms of single modalities
and `out.anchoring` those of pairs, with the objective's own coefficients but without `weight`. `out.active`
is empty, because no control has a band. Below, z are the raw embeddings, u = z / ||z||, B is the number of
participating samples and D the width.

Table 7 of the paper (DAGR, arXiv 2601.21670v1) names four controls and their accuracies: always-on naive
alignment, VICReg-style, Barlow-Twins-style and the unit sphere only. We have not seen their formulas and
weights, so each class follows its source. UniAlign's style, CLIP's loss, KoLeo, SIGReg and alignment with
uniformity are not in that table. Most were made for two views of an image behind a projection head; here the
"views" are modalities, without a head.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import inputs
from .inputs import Embeddings, Given, Mask, RegularizerOutput, check_number, unit_vectors
from .pairs import anchoring_of_units, dispersion_of_units
from .records import plain
from .regularizer import GeometryRegularizer

Pairwise = dict[tuple[str, str], Tensor]
Terms = tuple[dict[str, Tensor], Pairwise]  # modality -> dispersion, (modality, modality) -> anchoring
VICREG_EPSILON = 1e-4  # added to a variance of about 1; bounds the slope of its square root
BATCH_NORM_EPSILON = 1e-5  # takes a feature without variance to 0 instead of 0 / 0
KOLEO_EPSILON = 1e-8
SLICES, FREQUENCIES = 256, (0, 3, 17)  # of SIGReg: directions; first, last and number of t


@dataclass(eq=False, repr=False)
class _Control(nn.Module):
    """The interface of `GeometryRegularizer`; a subclass defines its `terms`.

    No parameter, no state, no `gather`: under torch.distributed each process sees its own batch. Half
    precision is computed in float32, float64 in float64. Zero vectors, duplicates and a batch of one give
    finite values and gradients.

    Args:
        weight: at least 0; with 0 nothing is computed.

    Raises:
        ValueError: if an argument is out of range; the message names it and its value.
    """

    weight: float
    on_sphere = True  # `terms` gets unit vectors; False: the raw embeddings

    def __post_init__(self) -> None:
        super().__init__()

    def __setattr__(self, name: str, value: object) -> None:
        if name != "on_sphere" and any(f.init and f.name == name for f in fields(self)):
            check_number(*(inputs.SCALES if name in ("t", "temperature") else (0,)), **{name: value})
        super().__setattr__(name, plain(value))  # numbers of other libraries become Python's, for records

    def forward(self, embeddings: Given, *others: Any, mask: Mask = None) -> RegularizerOutput:
        """Return all terms of one batch; arguments and errors as in `GeometryRegularizer`.

        A comparison of modalities needs equal widths. A term of two samples is 0 if there are fewer, and so
        is a pair of modalities without a common sample.
        """
        embeddings, mask = inputs.named(embeddings, others, mask=mask)
        inputs.check_batch(embeddings, mask)
        with inputs.full_precision(next(iter(embeddings.values()))):
            points = units = unit_vectors(embeddings, "modality", mask)
            if not self.on_sphere:
                points = {m: z.to(units[m].dtype) for m, z in embeddings.items()}
            within, across = self.terms(points, mask) if self.weight > 0 else ({}, {})
            means = [sum(terms.values()) / len(terms) for terms in (within, across) if terms]
            # 0 times the embeddings keeps the graph, so that backward() works
            total = self.weight * sum(means) if means else sum((0.0 * u).sum() for u in units.values())
        return RegularizerOutput(total, within, across, active={})

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        """Return modality -> dispersion, and (modality, modality) -> anchoring."""
        raise NotImplementedError

    def hyperparameters(self) -> dict[str, float | bool]:
        """Return the constructor's arguments: `type(reg)(**reg.hyperparameters())` is an equal copy."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    extra_repr = GeometryRegularizer.extra_repr


class AlwaysOnAlignment(_Control):
    """Always-on alignment: mean_i ||u_i^a - u_i^b||^2 pulls every pair together, however close it is.

    This is anchoring with radius 0, so the difference from it is the effect of the agreement band.
    """

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        return {}, _across(_alignment, z, mask)


@dataclass(eq=False, repr=False)
class VICReg(_Control):
    """Variance, invariance and covariance (arXiv 2105.04906), with the factors of the released code::

        anchoring  = invariance * mean_{i, k} (x_ik^a - x_ik^b)^2
        dispersion = variance * mean_k max(0, 1 - sqrt(Cov_kk + 1e-4))
                     + 2 covariance * sum_{k != l} Cov_kl^2 / D

    over samples i and features k, l; Cov is centered and divided by B - 1. With two modalities that is the
    released loss: half the sum of the variance terms, but the whole sum of the covariance terms.

    Args:
        invariance, variance, covariance: the coefficients, at least 0.
        on_sphere: False takes x = z, as published. On the unit sphere the target of the hinge, a standard
            deviation of 1, is out of reach: D features can have at most about 1 / sqrt(D) at once. So True,
            for a comparison on the regularizer's sphere, takes x = sqrt(D) u. For u this is the target
            1 / sqrt(D) and the epsilon 1e-4 / D, but scaling the points instead keeps the balance of the
            three terms, which change with different powers of D.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    on_sphere: bool = True

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        def within(x: Tensor) -> Tensor:
            centered = x - x.mean(0)
            variances = centered.square().sum(0) / (len(x) - 1)
            # The squares of X^T X and of X X^T have the same sum: take the smaller matrix.
            gram = centered @ centered.T if len(x) < x.shape[1] else centered.T @ centered
            off_diagonal = (gram / (len(x) - 1)).square().sum() - variances.square().sum()
            return self.variance * variance_hinge(variances) + 2 * self.covariance * off_diagonal / x.shape[1]

        def across(a: Tensor, b: Tensor) -> Tensor:
            return self.invariance * _alignment(a, b) / a.shape[1]

        if self.on_sphere:
            z = {m: u * u.shape[1] ** 0.5 for m, u in z.items()}
        return _within(within, z, mask), _across(across, z, mask)


@dataclass(eq=False, repr=False)
class BarlowTwins(_Control):
    """A pull of the cross-correlation of two modalities towards the identity (arXiv 2103.03230).

        anchoring = sum_k (1 - C_kk)^2 + off_diagonal * sum_{k != l} C_kl^2

    with C = x_a^T x_b / B. As published, x are the embeddings, not normalized but standardized feature by
    feature over the batch: divided by sqrt(Var + 1e-5), as batch normalization does. This is a sum over
    features, near D for unrelated modalities, so weights are small. A feature without variance counts 1.
    """

    off_diagonal: float = 0.0051
    on_sphere = False

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        def across(a: Tensor, b: Tensor) -> Tensor:
            correlation = _standardized(a).T @ _standardized(b) / len(a)
            diagonal = correlation.diagonal()
            others = correlation.square().sum() - diagonal.square().sum()
            return (1 - diagonal).square().sum() + self.off_diagonal * others

        return {}, _across(across, z, mask, least=2)


@dataclass(eq=False, repr=False)
class UnitSphere(_Control):
    """Normalization without a loss; `normalizes` makes the training loop normalize before fusion.

    This separates the effect of normalization from that of an objective on the sphere.
    """

    weight: float = field(default=0.0, init=False)
    normalizes = True


@dataclass(eq=False, repr=False)
class SymmetricInfoNCE(_Control):
    """CLIP's loss (arXiv 2103.00020): find each sample's partner in the batch, in both directions.

        anchoring = -mean_i [log softmax_i(u_i^a . u_j^b / temperature)
                             + log softmax_i(u_i^b . u_j^a / temperature)] / 2

    with the softmax over j; log B if all embeddings coincide. CLIP learns its temperature, starting at 0.07;
    a control has no parameters, so the temperature is fixed.
    """

    temperature: float = 0.07

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        def across(a: Tensor, b: Tensor) -> Tensor:
            return symmetric_cross_entropy(a @ b.T / self.temperature)

        return {}, _across(across, z, mask, least=2)


@dataclass(eq=False, repr=False)
class AlignUniform(_Control):
    """Alignment and uniformity on the hypersphere (Wang & Isola, arXiv 2005.10242).

        anchoring  = mean_i ||u_i^a - u_i^b||^alpha
        dispersion = uniform_weight * log mean_{i != j} exp(-t ||u_i - u_j||^2)

    At alpha 2 it is the regularizer without the band, at temperature 1 / t. alpha is at least 1, because
    below that the gradient of a coinciding pair is infinite.
    """

    alpha: float = 2.0
    t: float = 2.0
    uniform_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(1, alpha=self.alpha)

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        within = _within(lambda u: self.uniform_weight * _uniformity(u, self.t), z, mask)
        return within, _across(lambda a, b: _alignment(a, b, self.alpha), z, mask)


@dataclass(eq=False, repr=False)
class UniAlignStyle(_Control):
    """UniAlign's style (arXiv 2602.09507): uniformity within modalities, alignment to an anchor.

        anchoring  = mean_i ||u_i^m - c_i||^2, c_i the direction of the sum of u_i^m over modalities m
        dispersion = uniform_weight * log mean_{i != j} exp(-t ||u_i - u_j||^2)

    The exact formula was not found. The abstract gives the parts: uniformity kept within modalities, and one
    anchor instead of pairs that pull in different directions. The choice of the anchor, the squared distance,
    t and the weights are ours. So is the constant anchor: it is the direction nearest to the u_i^m, so if no
    modality is missing its gradient would be zero anyway. `out.anchoring` has the keys (modality, "anchor");
    only samples with two modalities or more have an anchor.
    """

    t: float = 2.0
    uniform_weight: float = 1.0

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        inputs.check_embeddings(z, "modality", equal_widths=True)
        total = sum(u.detach() for u in z.values())  # unit_vectors has made absent samples zero
        anchor = unit_vectors({"anchor": total}, "argument")["anchor"]
        everywhere = total.new_ones(len(total), dtype=torch.bool)
        present = {m: mask.get(m, everywhere) for m in z}
        shared = sum(here.int() for here in present.values()) > 1
        across = {
            (m, "anchor"): anchoring_of_units({m: u, "": anchor}, {m: present[m] & shared}, 0.0, 2)
            for m, u in z.items()
        }
        return _within(lambda u: self.uniform_weight * _uniformity(u, self.t), z, mask), across


class KoLeo(_Control):
    """A push of each sample from its nearest neighbor in its modality (arXiv 1806.03198, used by DINOv2).

        dispersion = -mean_i log(min_{j != i} ||u_i - u_j|| + 1e-8)

    DINOv2's code also adds 1e-8 to each component of a difference, before the norm.

    Negative if neighbors are more than 1 apart. An exact duplicate adds 18.4 and no gradient, a duplicate at
    distance d a gradient of 1 / d: clip gradients if embeddings may collapse.
    """

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        return _within(nearest_neighbor_term, z, mask), {}


@dataclass(eq=False, repr=False)
class SIGReg(_Control):
    """A test of each modality for a standard normal distribution, and agreement (LeJEPA, arXiv 2511.08544)::

        anchoring  = invariance * (M - 1) / 2M * mean_{i, k} (z_ik^a - z_ik^b)^2
        dispersion = gaussian * mean_w B * integral |mean_i exp(i t w.z_i) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt

    over M modalities, samples i, features k, and 256 directions w on the sphere, drawn anew in each call from
    torch's default generator. The integral is the statistic of Epps and Pulley, by the trapezoidal rule with
    17 points in 0 <= t <= 3, doubled. That is the released loss at its weight of 0.05, with modalities for
    views. The statistic is 1.06 on average over normal samples, however many, and 0.4 B if all are zero.
    """

    invariance: float = 0.95
    gaussian: float = 0.05
    on_sphere = False

    def terms(self, z: Embeddings, mask: Embeddings) -> Terms:
        inputs.check_embeddings(z, "modality", equal_widths=True)
        first = next(iter(z.values()))
        directions, t = self.directions(first), torch.linspace(*FREQUENCIES, device=first.device).to(first)
        normal = (-t.square() / 2).exp()

        def within(x: Tensor) -> Tensor:
            angles = (x @ directions)[..., None] * t
            apart = (angles.cos().mean(0) - normal).square() + angles.sin().mean(0).square()
            return 2 * self.gaussian * len(x) * torch.trapezoid(apart * normal, t).mean()

        def across(a: Tensor, b: Tensor) -> Tensor:
            return self.invariance * (len(z) - 1) / (2 * len(z)) * _alignment(a, b) / a.shape[1]

        return _within(within, z, mask), _across(across, z, mask)

    @staticmethod
    def directions(x: Tensor) -> Tensor:
        """Return random unit vectors (D, 256) for x (B, D)."""
        return F.normalize(torch.randn(x.shape[1], SLICES, dtype=x.dtype, device=x.device), dim=0)


CONTROLS: dict[str, type[_Control]] = {
    control.__name__: control
    for control in (AlwaysOnAlignment, VICReg, BarlowTwins, UnitSphere, SymmetricInfoNCE, UniAlignStyle,
                    KoLeo, AlignUniform, SIGReg)
}  # fmt: skip


def symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of finding partner i for row i and for column i; logits (B, B)."""
    partner = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2


def variance_hinge(variances: Tensor, target: float = 1, epsilon: float = VICREG_EPSILON) -> Tensor:
    """Return the mean shortfall of D features' standard deviations from `target`; variances (D,)."""
    return (target - (variances + epsilon).sqrt()).relu().mean()


def nearest_neighbor_term(u: Tensor) -> Tensor:
    """Return KoLeo's term of vectors (B, D), B >= 2."""
    with torch.no_grad():
        distance = u.square().sum(1) - 2 * u @ u.T  # squared, without the part common to all j
        nearest = distance.fill_diagonal_(math.inf).argmin(1)
    # vector_norm has gradient 0, not NaN, at 0.
    return -(torch.linalg.vector_norm(u - u[nearest], dim=1) + KOLEO_EPSILON).log().mean()


def _alignment(a: Tensor, b: Tensor, power: float = 2.0) -> Tensor:
    return anchoring_of_units({"a": a, "b": b}, {}, 0.0, power)


def _uniformity(u: Tensor, t: float) -> Tensor:
    return dispersion_of_units(u, 1 / t, "rbf", None)


def _standardized(x: Tensor) -> Tensor:
    centered = x - x.mean(0)
    return centered / (centered.square().mean(0) + BATCH_NORM_EPSILON).sqrt()


def _within(term: Callable[[Tensor], Tensor], z: Embeddings, mask: Embeddings) -> dict[str, Tensor]:
    """Return `term` of each modality over its present samples; 0 for fewer than two."""
    rows = {m: inputs.present(x, m, mask) for m, x in z.items()}
    return {m: term(x) if len(x) > 1 else (0.0 * x).sum() for m, x in rows.items()}


def _across(
    term: Callable[[Tensor, Tensor], Tensor], z: Embeddings, mask: Embeddings, least: int = 0
) -> Pairwise:
    """Return `term` of each pair of modalities over the samples with both; 0 for fewer than `least`."""
    inputs.check_embeddings(z, "modality", equal_widths=True)
    values = {}
    for a, b in combinations(z, 2):
        both = inputs.present_in_both(a, b, mask)
        x, y = (z[a], z[b]) if both is None else (z[a][both], z[b][both])
        values[a, b] = term(x, y) if len(x) >= least else (0.0 * (x + y)).sum()  # keeps the graph
    return values
