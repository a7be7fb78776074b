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
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from . import distributed, inputs, pairs
from .inputs import Embeddings, Given, Mask, Parameters, RegularizerOutput
from .records import plain


def dispersion(
    z: Tensor, *, temperature: float = 0.5, form: str = "rbf", chunk_size: int | None = None
) -> Tensor:
    """Return how crowded one modality is on the unit sphere; minimizing it spreads the samples.

    Args:
        z: embeddings (B, D) of a floating dtype. Only directions count; a zero vector gets no gradient.
        temperature: the scale of closeness, in [1e-30, 1e30]; "hinge" and "covariance" do not use it.
        form: one of four, with d = ||u_i - u_j|| and means over the ordered pairs i != j: "rbf", the paper's,
            log mean exp(-d^2 / temperature), from 0 if collapsed to -2B / ((B - 1) temperature) on a regular
            simplex; "cosine", log mean exp(-(1 - cos) / temperature), "rbf" at twice the temperature;
            "hinge", mean max(0, 1 - d^2)^2 in [0, 1]; "covariance", sum over features m != n of Cov_mn^2, 0
            also if all embeddings are equal. The last three follow dispersive losses (arXiv 2506.09027),
            without their division by D and their pairs i = i; the hinge's margin 1 is ours.
        chunk_size: rows of the pair matrix in memory at a time: O(B chunk_size) instead of O(B^2). Value and
            gradient are the same. "covariance" ignores it.

    Returns:
        A scalar; float64 for float64 input, else float32, also under autocast; 0 for fewer than two samples.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, an unknown form, another argument out of range.
    """
    inputs.check_dispersion_arguments(temperature, form, chunk_size)
    inputs.check_embeddings({"z": z}, "argument")
    with inputs.full_precision(z):
        u = inputs.unit_vectors({"z": z}, "argument")["z"]
        return pairs.dispersion_of_units(u, temperature, form, chunk_size)


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
    inputs.check_anchoring_arguments(radius, power)
    inputs.check_embeddings({"a": a, "b": b}, "argument", equal_widths=True)
    with inputs.full_precision(a):
        units = inputs.unit_vectors({"a": a, "b": b}, "argument")
        return pairs.anchoring_of_units(units, {}, radius, power)


@dataclass(eq=False, repr=False)
class GeometryRegularizer(nn.Module):
    """Both terms for any number of modalities, without parameters, state, or cost at inference.

    ``torch.compile`` makes one graph of it for every batch size; gather, at="parameters" and the balance of
    "covariance" break it, and chunk_size makes a new one per batch size. A graph cannot refuse NaN; then the
    total is NaN. You may change the weights at each step, as in a warm-up:
    ``reg.dispersion_weight = 0.1 * min(1, step / 500)``.

    Args:
        dispersion_weight, anchoring_weight: at least 0, for balance="sum"; 0 switches a term off.
        temperature, form, chunk_size, radius, power: see `dispersion` and `anchoring`.
        gather: under torch.distributed, compute both terms on the batch of all processes in ``process_group``
            (None: all). Each computes the pairs of its own samples, and their gradient times the number of
            processes: DistributedDataParallel's mean is then that of one process. Batch sizes may differ and
            be 0; modalities and masked modalities may not differ. Dispersion is then differentiable once.
        balance, strength: "sum", or "pareto" with the paper's beta >= 0; the paper tries 0.1, 0.15 and 0.2.
        at: where both gradients are compared. "parameters" of the encoders, as in Algorithm 1, cost two more
            backward passes. "embeddings", the upper bound of arXiv 1810.04650, cost almost nothing.
        reduction: of dispersion over modalities: "mean" as in Eq. (3) and (6), or "sum" as in Algorithm 1.
            None takes "mean" for balance="sum" and "sum" for balance="pareto".

    An argument out of range, or one that its balance does not use, raises `ValueError`, also if set later.
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
    process_group: Any = None

    def __post_init__(self) -> None:
        super().__init__()
        inputs.check_arguments(self)

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        super().__setattr__(name, plain(value))  # numbers of other libraries become Python's, for records
        if "training" in vars(self):  # all arguments are there
            try:
                inputs.check_arguments(self)
            except ValueError:
                super().__setattr__(name, before)
                raise

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
        options = {"mask": mask, "parameters": parameters}
        group = distributed.joined(self.process_group) if self.gather else None
        if group is not None:  # a graph cannot wait for other processes
            return torch.compiler.disable(self._in_group)(group, embeddings, others, **options)
        embeddings, mask, parameters = inputs.named(embeddings, others, **options)
        inputs.check_given(self, mask, embeddings, parameters)
        with inputs.full_precision(next(iter(embeddings.values()))):
            small = pairs.small_batch(self, embeddings, mask)
            return small or self.by_modality(embeddings, mask, embeddings, parameters)

    def by_modality(self, embeddings: Embeddings, *given: Any) -> RegularizerOutput:
        """Return the result for any embeddings and the other arguments of a call."""
        return self._terms(inputs.unit_vectors(embeddings, "modality", given[0]), *given)

    def _in_group(self, group: Any, *arguments: Any, **options: Any) -> RegularizerOutput:
        call = partial(inputs.units_and_kinds, self, *arguments, **options)
        (units, *given), order, processes = distributed.together(call, group)
        with inputs.full_precision(next(iter(units.values()))):
            return self._terms({m: units[m] for m in order if m in units}, *given, group=processes)

    def _terms(self, units: Embeddings, mask: Embeddings, *rest: Any, group: Any = None) -> RegularizerOutput:
        if self.balance == "pareto":
            with torch.no_grad():
                out, at_u = pairs.balanced(self, units, mask, *rest, group)
            return out._replace(total=pairs.with_gradient(out.total, list(units.values()), list(at_u)))
        total, dispersions = next(iter(units.values())).new_zeros(()), {}
        sums = total.new_zeros(3, 0)
        if self.anchoring_weight > 0:
            sums = pairs.anchoring_sums(units, mask, self.radius, self.power)
        if self.dispersion_weight > 0:
            how = self.temperature, self.form, self.chunk_size, group
            dispersions, sums = pairs.dispersions_of_units(units, mask, sums, *how)
            count = 1 if self.reduction == "sum" else len(dispersions)
            total = total + self.dispersion_weight * sum(dispersions.values()) / count
        else:
            sums = distributed.total(sums, group)
        anchorings, active = self.anchorings(units, sums)
        if anchorings:
            total = total + self.anchoring_weight * sum(anchorings.values()) / len(anchorings)
        return RegularizerOutput(total, dispersions, anchorings, active)

    def anchorings(self, units: Embeddings, sums: Tensor) -> list[dict[tuple[str, str], Tensor]]:
        """Return anchoring and the active share of each pair of modalities, from total sums (3, P)."""
        values, active = sums[:2] / sums[2].clamp(min=1.0)
        both = values.unbind(), active.detach().unbind()
        return [dict(zip(combinations(units, 2), x, strict=False)) for x in both]

    def hyperparameters(self) -> dict[str, float | int | str | None]:
        """Return the arguments of this balance: `type(reg)(**reg.hyperparameters())` is an equal copy."""
        left_out = ["process_group", *inputs.UNUSED[self.balance], *["reduction"] * (self.reduction is None)]
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}

    def __deepcopy__(self, _: dict) -> "GeometryRegularizer":
        return type(self)(**self.hyperparameters(), process_group=self.process_group)  # a group is shared

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())
