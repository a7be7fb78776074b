"""The paper in one file: disperse each modality, anchor each pair only beyond a tolerance band.

With unit vectors u = z / ||z||, M modalities m, pairs (a, b) of modalities and samples i, j:

    dispersion_m  = log mean_{i != j} exp(-||u_i - u_j||^2 / temperature)               Eq. (4)
    anchoring_ab  = mean_i max(0, ||u_i^a - u_i^b|| - radius)^power                     Eq. (5), power 2
    total         = dispersion_weight * mean_m dispersion_m
                  + anchoring_weight * mean_ab anchoring_ab                             Eq. (6), balance="sum"

With balance="pareto", the paper's default (Section 3.2.5, Algorithm 1), one strength replaces both weights.
With g_disp = grad dispersion_m and g_inter = grad mean_ab anchoring_ab, encoder m gets the gradient

    strength * (alpha_m g_inter + (1 - alpha_m) g_disp),   alpha_m in [0, 1] making that vector the shortest

So the terms are coupled: if no pair leaves the band, g_inter = 0 is the shortest, and dispersion rests too.

Source: DAGR, arXiv 2601.21670v1. Two things in it were not seen, and are this project's reading: the value of
t = 1 / temperature in Eq. (4), and Eq. (8), which gives alpha and is read as the min-norm point of two tasks.

    reg = GeometryRegularizer(balance="pareto", strength=0.15, radius=0.25)
    out = reg({"audio": za, "image": zv})
    loss = task_loss + out.total
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from itertools import combinations

import torch
from torch import Tensor, nn

from . import distributed
from .pairs import (
    anchoring_gradient,
    at_embeddings,
    at_parameters,
    check_anchoring_arguments,
    check_dispersion_arguments,
    check_embeddings,
    check_mask,
    dispersion_and_gradient,
    squared_covariances,
    unit_vectors,
    with_gradient,
)


def dispersion(
    z: Tensor, *, temperature: float = 0.5, form: str = "rbf", chunk_size: int | None = None
) -> Tensor:
    """Return how crowded one modality is on the unit sphere; minimizing it spreads the samples.

    Args:
        z: embeddings (B, D) of a floating dtype. Only directions count. A zero vector has none: it stays at
            the origin and gets no gradient.
        temperature: the scale on which closeness counts, > 0; "hinge" and "covariance" do not use it.
        form: one of four, with d^2 = ||u_i - u_j||^2 and means over the B (B - 1) ordered pairs i != j:

            "rbf"         log mean exp(-d^2 / temperature), from 0 when collapsed down to
                          -2B / ((B - 1) temperature) on a regular simplex. It is the paper's Eq. (4), and the
                          uniformity of Wang & Isola (arXiv 2005.10242), with t = 1 / temperature.
            "cosine"      log mean exp(-(1 - cos) / temperature): InfoNCE with cosines, shifted by
                          -1 / temperature so that collapse is 0. As 1 - cos = d^2 / 2 for unit vectors, it is
                          "rbf" at twice the temperature.
            "hinge"       mean max(0, margin - d^2)^2, in [0, 1], 1 when collapsed. The source gives no
                          margin; ours is 1, a pair at 60 degrees.
            "covariance"  sum over feature dimensions m != n of Cov_mn^2, Cov centered and divided by B - 1.
                          Blind to full collapse: constant embeddings have no covariance, which gives 0.
        chunk_size: rows of the pair matrix held at a time. Memory is O(B chunk_size) instead of O(B^2); value
            and gradient are the same. "covariance" holds D x D numbers and ignores it.

    The other forms follow dispersive losses (arXiv 2506.09027). Their released code divides d^2 by D, which
    on unit vectors leaves almost no gradient, and keeps the pairs i = i, which saturate the loss at low
    temperature: we do neither.

    Returns:
        A scalar, differentiable once; float64 for float64 input, else float32, also under autocast. Fewer
        than two samples give 0.

    Raises:
        ValueError: wrong shape or dtype, NaN or infinity, unknown form, temperature <= 0, chunk_size < 1.
    """
    check_dispersion_arguments(temperature, form, chunk_size)
    check_embeddings({"z": z}, "argument")
    with torch.autocast(z.device.type, enabled=False):
        return dispersion_of_units(unit_vectors({"z": z}, "argument")["z"], temperature, form, chunk_size)


def dispersion_of_units(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> Tensor:
    """Return `dispersion` of unit vectors (B, D) that are known to be right."""
    if len(u) < 2:
        return 0.0 * u.sum()  # keeps the graph, so that backward() works on any batch
    if form == "covariance":
        return squared_covariances(u)
    value, gradient = dispersion_and_gradient(u, temperature, form, chunk_size)
    return with_gradient(value, [u], [gradient])


def anchoring(a: Tensor, b: Tensor, *, radius: float = 0.6, power: float = 2) -> Tensor:
    """Return how far pairs drift beyond the band: mean_i max(0, ||u_i^a - u_i^b|| - radius)^power.

    Args:
        a, b: embeddings (B, D) of the same samples in two modalities.
        radius: tolerance in [0, 2], a distance between unit vectors (0.6 is an angle of 35 degrees). Within
            it value and gradient are exactly zero. 0 is always-on alignment. The paper tries 0, 0.25 and 0.5.
        power: at least 1; 2, the paper's, makes the pull start softly at the edge of the band.

    Returns:
        A scalar in [0, (2 - radius)^power], of the same dtypes as `dispersion`.

    Raises:
        ValueError: wrong dtype, wrong or unequal shapes, NaN or infinity, radius outside [0, 2], power < 1.
    """
    check_anchoring_arguments(radius, power)
    check_embeddings({"a": a, "b": b}, "argument", equal_widths=True)
    with torch.autocast(a.device.type, enabled=False):
        units = unit_vectors({"a": a, "b": b}, "argument")
        return anchoring_of_units(units["a"], units["b"], radius, power)[0]


def anchoring_of_units(ua: Tensor, ub: Tensor, radius: float, power: float, masks=()) -> tuple:
    """Return the term and the share of active pairs, over the samples for which all masks are true."""
    distance = torch.linalg.vector_norm(ua - ub, dim=1)  # has gradient 0, not NaN, where it is 0
    excess = (distance - radius).relu()
    penalty, active = excess.pow(power), (excess > 0).to(excess)
    if not masks:
        return penalty.sum() / max(len(penalty), 1), active.sum() / max(len(active), 1)
    paired = torch.stack(list(masks)).all(0).to(excess)
    count = paired.sum().clamp(min=1.0)
    return (penalty * paired).sum() / count, (active * paired).sum() / count


def min_norm_weight(gradients: Tensor) -> Tensor:
    """Return the alpha in [0, 1] for which alpha g_0 + (1 - alpha) g_1 is shortest; gradients (2, N).

    It is 1 if g_0 is zero, 0 if g_1 is, and 1/2 if they are equal, two zeros among them. The closed form for
    two tasks of Sener & Koltun (arXiv 1810.04650) is this project's reading of the paper's Eq. (8).
    """
    (first, cross), (_, second) = gradients @ gradients.T
    apart = first + second - 2 * cross
    equal = apart <= 16 * torch.finfo(gradients.dtype).eps * (first + second)
    return torch.where(equal, 0.5, ((second - cross) / apart).clamp(0.0, 1.0))


@dataclass(frozen=True)
class RegularizerOutput:
    """What one call of GeometryRegularizer returns.

    Attributes:
        total: weighted scalar to add to the task loss.
        dispersion: modality -> unweighted term; empty when dispersion is switched off (weight 0).
        anchoring: (modality, modality) -> unweighted term; empty when anchoring is switched off.
        active: (modality, modality) -> share of the paired samples outside the band, in [0, 1]; 0 says that
            anchoring had nothing to pull on.
        alpha: modality -> weight of anchoring against dispersion in [0, 1]; empty unless balance="pareto".
    """

    total: Tensor
    dispersion: dict[str, Tensor]
    anchoring: dict[tuple[str, str], Tensor]
    active: dict[tuple[str, str], Tensor]
    alpha: dict[str, Tensor] = field(default_factory=dict)


WEIGHTS = {"dispersion_weight": 0.1, "anchoring_weight": 0.5}  # arguments for balance="sum" alone
PARETO = {"balance": "sum", "strength": 0.15, "at": "embeddings"}  # arguments that say or need "pareto"


def constructor_arguments(module: nn.Module) -> dict:
    """Return name -> value of the constructor's arguments, which the module keeps as attributes."""
    return {name: getattr(module, name) for name in signature(type(module)).parameters}


class GeometryRegularizer(nn.Module):
    """Both terms for any number of modalities; no parameter, no state, nothing at inference.

    ``torch.compile`` makes one graph of it that serves every batch size, but for three things: a mask breaks
    the graph, so does ``at="parameters"``, and ``chunk_size`` makes a new one for each batch size. A graph
    cannot refuse NaN and infinity in the embeddings: the total is NaN then.

    Args:
        dispersion_weight, anchoring_weight: at least 0, for balance="sum"; a term with weight 0 is not
            computed. The paper tries 0.04 to 0.16 and 0.03 to 0.08.
        temperature, form, chunk_size: see `dispersion`.
        radius, power: see `anchoring`.
        gather: under torch.distributed, compute both terms on the global batch. Each process gets the
            gradient for its own samples times the number of processes, so that the mean over processes, which
            DistributedDataParallel takes, is the gradient of one process with the global batch. Local batch
            sizes may differ; modalities and masked modalities may not. Does nothing without a process group.
        balance: "sum", weights fixed beforehand, or "pareto", the paper's default: alpha_m anew in each call.
        strength: the paper's beta, at least 0, for balance="pareto". The paper tries 0.1, 0.15 and 0.2.
        at: where the two gradients are compared. "parameters" of the encoders, as in Algorithm 1: the call
            needs ``parameters`` and costs two more backward passes through the encoders. "embeddings": their
            upper bound of Sener & Koltun (arXiv 1810.04650), which costs next to nothing and needs no access
            to encoders. Either way ``total`` is a plain loss, exact for that alpha, in any training loop.
        reduction: of dispersion over modalities, in which the paper disagrees with itself: "mean" as in
            Eq. (3) and (6), or "sum" as in Algorithm 1, whose g_disp is M times that of the mean. None takes
            "mean" for balance="sum" and "sum" for balance="pareto".

    Raises:
        ValueError: an argument out of range, or one that this balance does not use; the message names it.
    """

    def __init__(
        self,
        dispersion_weight: float = WEIGHTS["dispersion_weight"],
        anchoring_weight: float = WEIGHTS["anchoring_weight"],
        temperature: float = 0.5,
        radius: float = 0.6,
        form: str = "rbf",
        power: float = 2,
        chunk_size: int | None = None,
        gather: bool = False,
        balance: str = PARETO["balance"],
        strength: float = PARETO["strength"],
        at: str = PARETO["at"],
        reduction: str | None = None,
    ):
        super().__init__()
        for name, value in {
            "dispersion_weight": dispersion_weight, "anchoring_weight": anchoring_weight, "strength": strength
        }.items():  # fmt: skip
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a finite number >= 0, got {value}.")
        for name, value, known in (
            ("balance", balance, ("sum", "pareto")),
            ("at", at, ("embeddings", "parameters")),
            ("reduction", reduction, (None, "mean", "sum")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")
        check_dispersion_arguments(temperature, form, chunk_size)
        check_anchoring_arguments(radius, power)
        self.dispersion_weight = dispersion_weight
        self.anchoring_weight = anchoring_weight
        self.temperature = temperature
        self.radius = radius
        self.form = form
        self.power = power
        self.chunk_size = chunk_size
        self.gather = gather
        self.balance = balance
        self.strength = strength
        self.at = at
        self.reduction = reduction
        unused = WEIGHTS if balance == "pareto" else PARETO
        for name, default in unused.items():
            if getattr(self, name) != default:
                needed = "sum" if balance == "pareto" else "pareto"
                raise ValueError(f"{name} is for balance={needed!r}: leave it out with balance={balance!r}.")

    def forward(
        self,
        embeddings: dict[str, Tensor],
        mask: dict[str, Tensor] | None = None,
        parameters: Mapping[str, Iterable[Tensor]] | None = None,
    ) -> RegularizerOutput:
        """Return both terms of one batch.

        Args:
            embeddings: modality -> (B, D_m), at least two; equal D_m if anchoring is on.
            mask: modality -> boolean (B,), true where a sample has this modality; a modality left out is
                complete. Absent samples take no part, whatever their embeddings hold. A modality with fewer
                than two present samples has dispersion 0; a pair of modalities that no sample has both of,
                anchoring 0.
            parameters: modality -> parameters of its encoder, for at="parameters" and for nothing else.
                Encoders must not share them. Under torch.distributed the gradients compared are the means
                over processes, so every process must make the call.

        Raises:
            ValueError: fewer than two modalities, or, naming the modality, wrong shape or dtype, unequal
                batch sizes or widths, NaN or infinity in a present sample, a mask that does not fit;
                ``parameters`` that are missing or not asked for.
        """
        mask = mask or {}
        if len(embeddings) < 2:
            raise ValueError(f"embeddings must hold at least 2 modalities, got {list(embeddings)}.")
        pareto = self.balance == "pareto"
        check_embeddings(embeddings, "modality", equal_widths=pareto or self.anchoring_weight > 0)
        check_mask(mask, embeddings)
        wanted = set(embeddings) if self.at == "parameters" else set()
        if set(parameters or {}) != wanted:
            raise ValueError(
                f"at={self.at!r} takes the parameters of {sorted(wanted)}, got {sorted(parameters or {})}."
            )
        if self.gather:
            embeddings, mask = distributed.global_batch(embeddings, mask)
        device = next(iter(embeddings.values())).device
        with torch.autocast(device.type, enabled=False):
            units = unit_vectors(embeddings, "modality", mask)
            return self._balanced(embeddings, units, mask, parameters) if pareto else self._sum(units, mask)

    def _sum(self, units: dict[str, Tensor], mask: dict[str, Tensor]) -> RegularizerOutput:
        dispersions, anchorings, active = {}, {}, {}
        total = next(iter(units.values())).new_zeros(())
        if self.dispersion_weight > 0:
            for name, u in units.items():
                present = u[mask[name]] if name in mask else u
                dispersions[name] = dispersion_of_units(present, self.temperature, self.form, self.chunk_size)
            count = 1 if self.reduction == "sum" else len(dispersions)
            total = total + self.dispersion_weight * sum(dispersions.values()) / count
        if self.anchoring_weight > 0:
            for a, b in combinations(units, 2):
                masks = [mask[name] for name in (a, b) if name in mask]
                terms = anchoring_of_units(units[a], units[b], self.radius, self.power, masks)
                anchorings[a, b], active[a, b] = terms
            total = total + self.anchoring_weight * sum(anchorings.values()) / len(anchorings)
        return RegularizerOutput(total, dispersions, anchorings, active)

    @torch.no_grad()
    def _balanced(
        self,
        embeddings: dict[str, Tensor],
        units: dict[str, Tensor],
        mask: dict[str, Tensor],
        parameters: Mapping[str, Iterable[Tensor]] | None,
    ) -> RegularizerOutput:
        """Work out the gradient at the unit vectors first; the total is a scalar that has it."""
        share = 1 / len(units) if self.reduction == "mean" else 1.0
        dispersions, spread = {}, {}
        for name, u in units.items():
            present = u[mask[name]] if name in mask else u
            options = self.temperature, self.form, self.chunk_size
            dispersions[name], gradient = dispersion_and_gradient(present.detach(), *options)
            if name in mask:
                gradient = torch.zeros_like(u).index_put((mask[name],), gradient)
            spread[name] = share * gradient
        anchorings, active, agree = {}, {}, {name: torch.zeros_like(u) for name, u in units.items()}
        pairs = list(combinations(units, 2))
        for a, b in pairs:
            masks = [mask[name] for name in (a, b) if name in mask]
            terms = anchoring_of_units(units[a], units[b], self.radius, self.power, masks)
            anchorings[a, b], active[a, b] = terms
            pull = anchoring_gradient(units[a], units[b], self.radius, self.power, masks) / len(pairs)
            agree[a], agree[b] = agree[a] + pull, agree[b] - pull
        alpha, gradients = {}, []
        for name, u in units.items():
            both = torch.stack([agree[name], spread[name]])
            if parameters is None:
                compared = at_embeddings(embeddings[name], u, both)
            else:
                compared = at_parameters(list(parameters[name]), u, both)
            w = alpha[name] = min_norm_weight(compared)
            gradients.append(self.strength * torch.lerp(both[1], both[0], w))
        mean = sum(alpha.values()) / len(alpha)
        spreading = sum((1 - alpha[m]) * value for m, value in dispersions.items())
        value = self.strength * (mean * sum(anchorings.values()) / len(pairs) + share * spreading)
        with torch.enable_grad():
            total = with_gradient(value, list(units.values()), gradients)
        return RegularizerOutput(total, dispersions, anchorings, active, alpha)

    def hyperparameters(self) -> dict:
        """Return what this balance uses: `type(reg)(**reg.hyperparameters())` is an equal copy."""
        values = constructor_arguments(self)
        left_out = WEIGHTS if self.balance == "pareto" else PARETO
        if self.reduction is None:
            left_out = {**left_out, "reduction": None}
        return {name: value for name, value in values.items() if name not in left_out}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())
