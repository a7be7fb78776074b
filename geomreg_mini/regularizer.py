"""The paper in one file: disperse each modality, anchor each pair only beyond a tolerance band.

With unit vectors u = z / ||z||, modalities m, pairs (a, b) of modalities and samples i, j:

    dispersion_m = log mean_{i != j} exp(-||u_i - u_j||^2 / temperature)                    Eq. (4)
    anchoring_ab = mean_i max(0, ||u_i^a - u_i^b|| - radius)^power                          Eq. (5), power 2
    total = dispersion_weight mean_m dispersion_m + anchoring_weight mean_ab anchoring_ab   Eq. (6)

This is balance="sum". With balance="pareto", the paper's default (Algorithm 1), encoder m gets the gradient
strength * (alpha_m grad mean_ab anchoring_ab + (1 - alpha_m) grad dispersion_m), with the alpha_m in [0, 1]
that makes it shortest. If no pair leaves the band, the first gradient is 0, and dispersion rests too.

Source: DAGR, arXiv 2601.21670v1. We have not seen two of its parts: the value of t = 1 / temperature in
Eq. (4), and Eq. (8), which gives alpha. This project reads Eq. (8) as the min-norm point of two tasks.
"""

from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from . import pairs
from .distributed import global_batch
from .pairs import Embeddings, Given, Mask, Parameters, RegularizerOutput


def dispersion(
    z: Tensor, *, temperature: float = 0.5, form: str = "rbf", chunk_size: int | None = None
) -> Tensor:
    """Return how crowded one modality is on the unit sphere; minimizing it spreads the samples.

    Args:
        z: embeddings (B, D) of a floating dtype. Only directions count; a zero vector gets no gradient.
        temperature: the scale of closeness, > 0; "hinge" and "covariance" do not use it.
        form: one of four, with d = ||u_i - u_j|| and means over the ordered pairs i != j: "rbf", the paper's,
            log mean exp(-d^2 / temperature), from 0 if collapsed to -2B / ((B - 1) temperature) on a regular
            simplex; "cosine", log mean exp(-(1 - cos) / temperature), "rbf" at twice the temperature;
            "hinge", mean max(0, 1 - d^2)^2 in [0, 1]; "covariance", sum over features m != n of Cov_mn^2, 0
            also if all embeddings are equal. The last three follow dispersive losses (arXiv 2506.09027),
            without their division by D and their pairs i = i; the hinge's margin 1 is ours.
        chunk_size: rows of the pair matrix in memory at a time: O(B chunk_size) instead of O(B^2). Value and
            gradient are the same. "covariance" ignores it.

    Returns:
        A scalar; float64 for float64 input, else float32, also under autocast. Fewer
        than two samples give 0.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, unknown form, temperature <= 0, chunk_size < 1.
    """
    pairs.check_dispersion_arguments(temperature, form, chunk_size)
    pairs.check_embeddings({"z": z}, "argument")
    with pairs.full_precision(z):
        u = pairs.unit_vectors({"z": z}, "argument")["z"]
        return dispersion_of_units(u, temperature, form, chunk_size)


def dispersion_of_units(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> Tensor:
    """Return `dispersion` of unit vectors (B, D)."""
    if form == "covariance":
        return pairs.squared_covariances(u)
    return pairs.differentiable_mean(u, *pairs.scale_and_margin(temperature, form), chunk_size)


def dispersion_and_gradient(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> tuple:
    """Return `dispersion` of unit vectors (B, D) and its gradient (B, D)."""
    if form == "covariance":
        return pairs.squared_covariances_and_gradient(u)
    return pairs.mean_over_pairs(u, *pairs.scale_and_margin(temperature, form), chunk_size)


def anchoring(a: Tensor, b: Tensor, *, radius: float = 0.6, power: float = 2) -> Tensor:
    """Return the drift of pairs beyond the band: mean_i max(0, ||u_i^a - u_i^b|| - radius)^power.

    Args:
        a, b: embeddings (B, D) of the same samples in two modalities.
        radius: tolerance in [0, 2], a distance between unit vectors (0.6 is an angle of 35 degrees). Within
            it value and gradient are exactly zero. 0 is always-on alignment. The paper tries 0, 0.25 and 0.5.
        power: at least 1; with 2, the paper's, the pull starts softly at the edge of the band.

    Returns:
        A scalar in [0, (2 - radius)^power], of the same dtypes as `dispersion`.

    Raises:
        ValueError: for a wrong dtype, wrong or unequal shapes, NaN, infinity, a radius or power out of range.
    """
    pairs.check_anchoring_arguments(radius, power)
    pairs.check_embeddings({"a": a, "b": b}, "argument", equal_widths=True)
    with pairs.full_precision(a):
        units = pairs.unit_vectors({"a": a, "b": b}, "argument")
        return anchoring_of_units(units["a"], units["b"], radius, power)[0]


def anchoring_of_units(
    a: Tensor, b: Tensor, radius: float, power: float, mask: Tensor | None = None
) -> tuple:
    """Return `anchoring` of unit vectors (B, D), and the share of pairs outside the band; mask (B,)."""
    excess = (torch.linalg.vector_norm(a - b, dim=1) - radius).relu()  # gradient 0, not NaN, where a = b
    return pairs.mean(excess.pow(power), mask), pairs.mean((excess > 0).to(excess), mask)


@dataclass(eq=False, repr=False)
class GeometryRegularizer(nn.Module):
    """Both terms for any number of modalities, without parameters, state, or cost at inference.

    ``torch.compile`` makes one graph of it for every batch size; a mask and at="parameters" break the graph,
    and chunk_size makes a new one per batch size. A graph cannot refuse NaN; then the total is NaN.

    Args:
        dispersion_weight, anchoring_weight: at least 0, for balance="sum"; 0 switches a term off.
        temperature, form, chunk_size, radius, power: see `dispersion` and `anchoring`.
        gather: under torch.distributed, compute both terms on the global batch. Each process gets the
            gradient for its own samples times the number of processes: DistributedDataParallel's mean is then
            that of one process. Local batch sizes may differ; modalities and masked modalities may not.
        balance, strength: "sum", or "pareto" with the paper's beta >= 0; the paper tries 0.1, 0.15 and 0.2.
        at: the place of the comparison of both gradients. "parameters" of the encoders, as in Algorithm 1,
            costs two more backward passes through them. "embeddings", the upper bound of Sener & Koltun
            (arXiv 1810.04650), costs almost nothing. ``total`` is a plain loss either way.
        reduction: of dispersion over modalities: "mean" as in Eq. (3) and (6), or "sum" as in Algorithm 1.
            None takes "mean" for balance="sum" and "sum" for balance="pareto".

    An argument out of range, or one that its balance does not use, raises `ValueError`.
    """

    dispersion_weight: float = 0.1
    anchoring_weight: float = 0.5
    temperature: float = 0.5
    radius: float = 0.6
    form: str = "rbf"
    power: float = 2
    chunk_size: int | None = None
    gather: bool = False
    balance: str = "sum"
    strength: float = 0.15
    at: str = "embeddings"
    reduction: str | None = None

    def __post_init__(self) -> None:
        super().__init__()
        pairs.check_arguments(self)

    def forward(
        self, embeddings: Given, *others: Any, mask: Mask = None, parameters: Parameters | None = None
    ) -> RegularizerOutput:
        """Return both terms of one batch.

        Args:
            embeddings: modality -> (B, D_m), at least two; equal D_m if anchoring is on. A sequence of
                tensors, and tensors one by one, get the names "0", "1", ...
            mask: modality -> boolean (B,), true for samples with this modality; a modality left out is
                complete. Absent samples take no part. Dispersion of fewer than two samples is 0, and so is
                anchoring of two modalities without a common sample.
            parameters: modality -> parameters of its encoder, not shared, for at="parameters" alone. Under
                torch.distributed means over processes are compared, so every process must make the call.

        Raises:
            ValueError: if an argument does not fit, or a present sample has NaN or infinity; names it.
        """
        embeddings, mask, parameters = pairs.named(embeddings, others, mask=mask, parameters=parameters)
        mask, pareto = mask or {}, self.balance == "pareto"
        pairs.check_batch(embeddings, mask, equal_widths=pareto or self.anchoring_weight > 0)
        pairs.check_parameters(parameters or {}, embeddings, self.at)
        if self.gather:
            embeddings, mask = global_batch(embeddings, mask)
        with pairs.full_precision(next(iter(embeddings.values()))):
            units = pairs.unit_vectors(embeddings, "modality", mask)
            return self._balanced(embeddings, units, mask, parameters) if pareto else self._sum(units, mask)

    def _sum(self, units: Embeddings, mask: Embeddings) -> RegularizerOutput:
        dispersions, anchorings, active = {}, {}, {}
        total = next(iter(units.values())).new_zeros(())
        if self.dispersion_weight > 0:
            for m, u in units.items():
                u = pairs.present(u, m, mask)
                dispersions[m] = dispersion_of_units(u, self.temperature, self.form, self.chunk_size)
            count = 1 if self.reduction == "sum" else len(dispersions)
            total = total + self.dispersion_weight * sum(dispersions.values()) / count
        if self.anchoring_weight > 0:
            anchorings, active = self._anchorings(units, mask)
            total = total + self.anchoring_weight * sum(anchorings.values()) / len(anchorings)
        return RegularizerOutput(total, dispersions, anchorings, active)

    def _anchorings(self, units: Embeddings, mask: Embeddings) -> tuple[dict, dict]:
        anchorings, active = {}, {}
        for a, b in combinations(units, 2):
            ends, both = (units[a], units[b]), pairs.present_in_both(a, b, mask)
            anchorings[a, b], active[a, b] = anchoring_of_units(*ends, self.radius, self.power, both)
        return anchorings, active

    @torch.no_grad()
    def _balanced(
        self, embeddings: Embeddings, units: Embeddings, mask: Embeddings, parameters: Parameters | None
    ) -> RegularizerOutput:
        """Return both terms and a total whose gradient at the unit vectors is that of Algorithm 1."""
        share = 1 / len(units) if self.reduction == "mean" else 1.0
        dispersions, spread = {}, {}
        for m, u in units.items():
            present = pairs.present(u.detach(), m, mask)
            value, gradient = dispersion_and_gradient(present, self.temperature, self.form, self.chunk_size)
            dispersions[m], spread[m] = value, share * pairs.among_all(gradient, u, m, mask)
        anchorings, active = self._anchorings(units, mask)
        agree = pairs.anchoring_gradients(units, mask, self.radius, self.power)
        alpha, shortest = pairs.shortest_mixtures(embeddings, units, agree, spread, parameters)
        mean = sum(alpha.values()) / len(alpha)
        spreading = sum((1 - alpha[m]) * value for m, value in dispersions.items())
        value = self.strength * (mean * sum(anchorings.values()) / len(anchorings) + share * spreading)
        with torch.enable_grad():
            total = pairs.with_gradient(value, list(units.values()), [self.strength * g for g in shortest])
        return RegularizerOutput(total, dispersions, anchorings, active, alpha)

    def hyperparameters(self) -> dict[str, float | int | str | None]:
        """Return the arguments of this balance: `type(reg)(**reg.hyperparameters())` is an equal copy."""
        left_out = [*pairs.UNUSED[self.balance], *(["reduction"] if self.reduction is None else [])]
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())
