"""The paper in one file: disperse each modality, anchor each pair only beyond a tolerance band.

With unit vectors u = z / ||z||, modalities m, pairs (a, b) of modalities and samples i, j:

    dispersion_m  = log mean_{i != j} exp(-||u_i - u_j||^2 / temperature)
    anchoring_ab  = mean_i max(0, ||u_i^a - u_i^b|| - radius)^power
    total         = dispersion_weight * mean_m dispersion_m + anchoring_weight * mean_ab anchoring_ab

The paper (DAGR, arXiv 2601.21670) says in words that dispersion spreads the normalized embeddings of a
modality and that anchoring penalizes a paired distance only where it exceeds a tolerance radius. The formulas
above, the power 2 and every default value are this project's reading: no formula, weight or code was found in
public text.

    reg = GeometryRegularizer()
    out = reg({"audio": za, "image": zv})
    loss = task_loss + out.total
"""

import math
from dataclasses import dataclass
from inspect import signature
from itertools import combinations

import torch
import torch.distributed as dist
from torch import Tensor, nn

FORMS = ("rbf", "cosine", "hinge", "covariance")
HINGE_MARGIN = 1.0  # squared distance at 60 degrees; independent directions in high dimension are at 2
SMALLEST_SCALE = 1e-12  # an embedding whose largest entry is no larger has no direction


def dispersion(
    z: Tensor, *, temperature: float = 0.5, form: str = "rbf", chunk_size: int | None = None
) -> Tensor:
    """How crowded one modality is on the unit sphere; minimizing it spreads the samples.

    Args:
        z: embeddings (B, D) of a floating dtype. Only directions count. A zero vector has none: it stays at
            the origin and gets no gradient.
        temperature: the scale on which closeness counts, > 0; "hinge" and "covariance" do not use it.
        form: one of four, with d^2 = ||u_i - u_j||^2 and means over the B (B - 1) ordered pairs i != j:

            "rbf"         log mean exp(-d^2 / temperature), from 0 when collapsed down to
                          -2B / ((B - 1) temperature) on a regular simplex. It is the uniformity of Wang &
                          Isola (arXiv 2005.10242) with t = 1 / temperature.
            "cosine"      log mean exp(-(1 - cos) / temperature): InfoNCE with cosines, shifted by
                          -1 / temperature so that collapse is 0. As 1 - cos = d^2 / 2 for unit vectors, it is
                          "rbf" at twice the temperature.
            "hinge"       mean max(0, margin - d^2)^2, in [0, 1], 1 when collapsed. The source gives no
                          margin; ours is 1, a pair at 60 degrees.
            "covariance"  sum over feature dimensions m != n of Cov_mn^2, Cov centered and divided by B - 1.
                          Blind to full collapse: constant embeddings have no covariance, which gives 0.
        chunk_size: rows of the pair matrix held at a time. Memory is O(B chunk_size) instead of O(B^2); value
            and gradient are the same. "covariance" holds D x D numbers and ignores it.

    The forms follow dispersive losses (arXiv 2506.09027). Their released code divides d^2 by D, which on unit
    vectors leaves almost no gradient, and keeps the pairs i = i, which saturate the loss at low temperature:
    we do neither.

    Returns:
        A scalar, differentiable once; float64 for float64 input, else float32, also under autocast. Fewer
        than two samples give 0.

    Raises:
        ValueError: wrong shape or dtype, NaN or infinity, unknown form, temperature <= 0, chunk_size < 1.
    """
    _check_dispersion_arguments(temperature, form, chunk_size)
    _check_embeddings({"z": z}, "argument")
    with torch.autocast(z.device.type, enabled=False):
        return _dispersion(_unit_vectors({"z": z}, "argument")["z"], temperature, form, chunk_size)


def anchoring(a: Tensor, b: Tensor, *, radius: float = 0.6, power: float = 2) -> Tensor:
    """How far pairs drift beyond the agreement band: mean_i max(0, ||u_i^a - u_i^b|| - radius)^power.

    Args:
        a, b: embeddings (B, D) of the same samples in two modalities.
        radius: tolerance in [0, 2], a distance between unit vectors (0.6 is an angle of 35 degrees). Within
            it value and gradient are exactly zero. 0 is always-on alignment.
        power: at least 1; 2 makes the pull start softly at the edge of the band.

    Returns:
        A scalar in [0, (2 - radius)^power], of the same dtypes as `dispersion`.

    Raises:
        ValueError: wrong dtype, wrong or unequal shapes, NaN or infinity, radius outside [0, 2], power < 1.
    """
    _check_anchoring_arguments(radius, power)
    _check_embeddings({"a": a, "b": b}, "argument", equal_widths=True)
    with torch.autocast(a.device.type, enabled=False):
        units = _unit_vectors({"a": a, "b": b}, "argument")
        return _anchoring(units["a"], units["b"], radius, power)[0]


@dataclass(frozen=True)
class RegularizerOutput:
    """What one call of GeometryRegularizer returns.

    Attributes:
        total: weighted scalar to add to the task loss.
        dispersion: modality -> unweighted term; empty when dispersion is switched off (weight 0).
        anchoring: (modality, modality) -> unweighted term; empty when anchoring is switched off.
        active: (modality, modality) -> share of the paired samples outside the band, in [0, 1]; 0 says that
            anchoring had nothing to pull on.
    """

    total: Tensor
    dispersion: dict[str, Tensor]
    anchoring: dict[tuple[str, str], Tensor]
    active: dict[tuple[str, str], Tensor]


class GeometryRegularizer(nn.Module):
    """Both terms for any number of modalities; no parameter, no state, nothing at inference.

    ``torch.compile`` makes one graph of it that serves every batch size, but for two things: a mask breaks
    the graph, and ``chunk_size`` makes a new one for each batch size. A graph cannot refuse NaN and infinity
    in the embeddings: the total is NaN then.

    Args:
        dispersion_weight, anchoring_weight: at least 0; a term with weight 0 is not computed.
        temperature, form, chunk_size: see `dispersion`.
        radius, power: see `anchoring`.
        gather: under torch.distributed, compute both terms on the global batch. Each process gets the
            gradient for its own samples times the number of processes, so that the mean over processes, which
            DistributedDataParallel takes, is the gradient of one process with the global batch. Local batch
            sizes may differ; modalities and masked modalities may not. Does nothing without a process group.

    Raises:
        ValueError: an argument out of range; the message names it and its value.
    """

    def __init__(
        self,
        dispersion_weight: float = 0.1,
        anchoring_weight: float = 0.5,
        temperature: float = 0.5,
        radius: float = 0.6,
        form: str = "rbf",
        power: float = 2,
        chunk_size: int | None = None,
        gather: bool = False,
    ):
        super().__init__()
        for name, weight in {"dispersion": dispersion_weight, "anchoring": anchoring_weight}.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"{name}_weight must be a finite number >= 0, got {weight}.")
        _check_dispersion_arguments(temperature, form, chunk_size)
        _check_anchoring_arguments(radius, power)
        self.dispersion_weight = dispersion_weight
        self.anchoring_weight = anchoring_weight
        self.temperature = temperature
        self.radius = radius
        self.form = form
        self.power = power
        self.chunk_size = chunk_size
        self.gather = gather

    def forward(
        self, embeddings: dict[str, Tensor], mask: dict[str, Tensor] | None = None
    ) -> RegularizerOutput:
        """Both terms of one batch.

        Args:
            embeddings: modality -> (B, D_m), at least two; equal D_m where anchoring is on.
            mask: modality -> boolean (B,), true where a sample has this modality; a modality left out is
                complete. Absent samples take no part, whatever their embeddings hold. A modality with fewer
                than two present samples has dispersion 0; a pair of modalities that no sample has both of,
                anchoring 0.

        Raises:
            ValueError: fewer than two modalities, or, naming the modality, wrong shape or dtype, unequal
                batch sizes or widths, NaN or infinity in a present sample, a mask that does not fit.
        """
        mask = mask or {}
        if len(embeddings) < 2:
            raise ValueError(f"embeddings must hold at least 2 modalities, got {list(embeddings)}.")
        _check_embeddings(embeddings, "modality", equal_widths=self.anchoring_weight > 0)
        _check_mask(mask, embeddings)
        if self.gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            embeddings, mask = _global_batch(embeddings, mask)
        device = next(iter(embeddings.values())).device
        with torch.autocast(device.type, enabled=False):
            return self._terms(_unit_vectors(embeddings, "modality", mask), mask)

    def _terms(self, units: dict[str, Tensor], mask: dict[str, Tensor]) -> RegularizerOutput:
        dispersions, anchorings, active = {}, {}, {}
        total = next(iter(units.values())).new_zeros(())
        if self.dispersion_weight > 0:
            for name, u in units.items():
                present = u[mask[name]] if name in mask else u
                dispersions[name] = _dispersion(present, self.temperature, self.form, self.chunk_size)
            total = total + self.dispersion_weight * sum(dispersions.values()) / len(dispersions)
        if self.anchoring_weight > 0:
            for a, b in combinations(units, 2):
                masks = [mask[name] for name in (a, b) if name in mask]
                terms = _anchoring(units[a], units[b], self.radius, self.power, masks)
                anchorings[a, b], active[a, b] = terms
            total = total + self.anchoring_weight * sum(anchorings.values()) / len(anchorings)
        return RegularizerOutput(total, dispersions, anchorings, active)

    def hyperparameters(self) -> dict:
        """The constructor's arguments: `type(reg)(**reg.hyperparameters())` is an equal copy."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())


def _unit_vectors(embeddings: dict[str, Tensor], kind: str, mask: dict | None = None) -> dict[str, Tensor]:
    """Normalize in at least float32, take absent and zero vectors to zero, refuse NaN and infinity."""
    units, scales = {}, {}
    for name, z in embeddings.items():
        z = z if z.dtype == torch.float64 else z.float()
        if mask and name in mask:
            z = z.masked_fill(~mask[name][:, None], 0.0)
        # Dividing by the largest entry first keeps squares from over- and underflowing; u is the same.
        scale = scales[name] = z.detach().abs().amax(dim=1, keepdim=True)
        no_direction = scale <= SMALLEST_SCALE
        z = z / scale.masked_fill(no_direction, math.inf)
        units[name] = z / (torch.linalg.vector_norm(z, dim=1, keepdim=True) + no_direction)
    _check_finite(scales, kind)
    return units


def _dispersion(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> Tensor:
    if len(u) < 2:
        return 0.0 * u.sum()  # keeps the graph, so that backward() works on any batch
    if form == "covariance":
        return _squared_covariances(u)
    if form == "cosine":
        form, temperature = "rbf", 2 * temperature
    if not torch.compiler.is_compiling():
        return _PairTerm.apply(u, temperature, form, chunk_size)
    # torch.compile cannot trace such a function for any batch size, but this: the value, and a zero whose
    # gradient is the term's.
    value, gradient = _pair_term(u.detach(), temperature, form, chunk_size)
    return value + ((u - u.detach()) * gradient).sum()


class _PairTerm(torch.autograd.Function):
    """The terms over pairs; each block of distances becomes its part of the gradient before it is dropped.

    With w_ij = d term / d d_ij^2, which is symmetric, d term / d u_i = 4 sum_j w_ij (u_i - u_j). Autograd
    would take one more matrix product and keep the blocks.
    """

    @staticmethod
    def forward(ctx, u: Tensor, temperature: float, form: str, chunk_size: int | None) -> Tensor:
        value, gradient = _pair_term(u, temperature, form, chunk_size)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor):
        if torch.is_grad_enabled():  # create_graph=True: the stored gradient would pass for a constant
            raise RuntimeError("dispersion over pairs is differentiable once, so create_graph must be False.")
        return grad * ctx.saved_tensors[0], None, None, None


def _pair_term(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> tuple[Tensor, Tensor]:
    """The term "rbf" or "hinge" and its gradient (B, D)."""
    value, gradient = _pair_sum(u, temperature, form, chunk_size)
    pairs = len(u) * (len(u) - 1)
    if form == "hinge":
        return value / pairs, gradient.mul_(1 / pairs)
    if torch.compiler.is_compiling():  # math.log would make the batch size a constant
        return value - torch.full((), pairs, dtype=u.dtype, device=u.device).log(), gradient
    return value - math.log(pairs), gradient


def _pair_sum(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> tuple[Tensor, Tensor]:
    """Sum over the pairs i != j (its log in "rbf") and its gradient (B, D)."""
    squares = u.square().sum(1)  # differ from 1 for zero vectors only
    if chunk_size is None:
        return _block(u, squares, 0, len(u), temperature, form)
    starts, gradient, values = range(0, len(u), chunk_size), torch.empty_like(u), []
    for start in starts:
        stop = min(start + chunk_size, len(u))
        value, gradient[start:stop] = _block(u, squares, start, stop, temperature, form)
        values.append(value)
    values = torch.stack(values)
    if form == "hinge":
        return values.sum(), gradient
    log_sum = values.logsumexp(0)
    for start, share in zip(starts, (values - log_sum).exp(), strict=True):
        gradient[start : start + chunk_size] *= share
    return log_sum, gradient


def _block(
    u: Tensor, squares: Tensor, start: int, stop: int, temperature: float, form: str
) -> tuple[Tensor, Tensor]:
    """The sum over pairs with start <= i < stop and its gradient for these u_i, in one (stop - start, B)."""
    rows = u[start:stop]
    distance = (squares[start:stop, None] + squares).addmm_(rows, u.T, alpha=-2).clamp_(min=0.0)
    distance.diagonal(start).fill_(math.inf)  # leaves out i = i: exp and hinge give 0
    if form == "hinge":
        weight = distance.neg_().add_(HINGE_MARGIN).clamp_(min=0.0)
        value, slope = weight.square().sum(), -2.0
    else:
        weight = distance.div_(-temperature)
        largest = weight.max()
        total = weight.sub_(largest).exp_().sum()
        value, slope = largest + total.log(), -1 / (temperature * total)
    gradient = torch.addmm(weight.sum(1, keepdim=True) * rows, weight, u, alpha=-1)
    return value, gradient.mul_(4 * slope)


def _squared_covariances(u: Tensor) -> Tensor:
    centered = u - u.mean(0)
    covariance = centered.T @ centered / (len(u) - 1)
    return covariance.square().sum() - covariance.diagonal().square().sum()


def _anchoring(ua: Tensor, ub: Tensor, radius: float, power: float, masks=()) -> tuple[Tensor, Tensor]:
    """The term and the share of active pairs, over the samples for which all masks are true."""
    distance = torch.linalg.vector_norm(ua - ub, dim=1)  # has gradient 0, not NaN, where it is 0
    excess = (distance - radius).relu()
    penalty, active = excess.pow(power), (excess > 0).to(excess)
    if not masks:
        return penalty.sum() / max(len(penalty), 1), active.sum() / max(len(active), 1)
    paired = torch.stack(list(masks)).all(0).to(excess)
    count = paired.sum().clamp(min=1.0)
    return (penalty * paired).sum() / count, (active * paired).sum() / count


class _AllGather(torch.autograd.Function):
    """Stack the tensors of all processes; as all compute the same loss, backward needs no communication."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad[dist.get_rank()] * dist.get_world_size()  # DistributedDataParallel takes the mean


def _global_batch(embeddings: dict[str, Tensor], mask: dict[str, Tensor]) -> tuple[dict, dict]:
    """Embeddings and masks of all processes, in the order of their ranks."""
    first = next(iter(embeddings.values()))
    sizes = _AllGather.apply(torch.tensor(len(first), device=first.device)).tolist()

    def gathered(x: Tensor) -> Tensor:
        padding = x.new_zeros(max(sizes) - len(x), *x.shape[1:])
        parts = _AllGather.apply(torch.cat([x, padding]))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    return {m: gathered(z) for m, z in embeddings.items()}, {m: gathered(x) for m, x in mask.items()}


def _check_dispersion_arguments(temperature: float, form: str, chunk_size: int | None) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be a finite number > 0, got {temperature}.")
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise ValueError(f"chunk_size must be None or an integer >= 1, got {chunk_size!r}.")


def _check_anchoring_arguments(radius: float, power: float) -> None:
    if not 0 <= radius <= 2:
        raise ValueError(f"radius must be in [0, 2], the distances on the unit sphere, got {radius}.")
    if not (power >= 1 and math.isfinite(power)):
        raise ValueError(f"power must be a finite number >= 1, got {power}.")


def _check_embeddings(embeddings: dict[str, Tensor], kind: str, equal_widths: bool = False) -> None:
    first, reference = next(iter(embeddings.items()))
    for name, z in embeddings.items():
        if z.ndim != 2 or z.shape[1] == 0:
            raise ValueError(f"{kind} {name!r} must have shape (batch, features), got {tuple(z.shape)}.")
        if not z.is_floating_point():
            raise ValueError(f"{kind} {name!r} must be a floating-point tensor, got {z.dtype}.")
        if len(z) != len(reference):
            raise ValueError(f"{kind} {name!r} has batch size {len(z)}, but {first!r} has {len(reference)}.")
        if equal_widths and z.shape[1] != reference.shape[1]:
            raise ValueError(
                f"{kind} {name!r} has width {z.shape[1]}, but {first!r} has {reference.shape[1]}: anchoring "
                "needs equal widths, so project to one width or set anchoring_weight to 0."
            )


def _check_mask(mask: dict[str, Tensor], embeddings: dict[str, Tensor]) -> None:
    for name, present in mask.items():
        if name not in embeddings:
            raise ValueError(f"mask names modality {name!r}, but the embeddings are {list(embeddings)}.")
        expected, got = (len(embeddings[name]),), tuple(present.shape)
        if present.dtype != torch.bool or got != expected:
            raise ValueError(
                f"mask of modality {name!r} must be torch.bool of shape {expected}, got {present.dtype} "
                f"of shape {got}."
            )


def _check_finite(scales: dict[str, Tensor], kind: str) -> None:
    """`scales` holds the largest absolute value of each sample, which is NaN or infinite if any value is."""
    if torch.compiler.is_compiling():
        return  # a graph cannot stop at a value; NaN and infinity then make the total NaN
    # One question to the device for all modalities, because each makes a GPU wait.
    if torch.stack([scale.isfinite().all() for scale in scales.values()]).all():
        return
    for name, scale in scales.items():
        bad = scale[~scale.isfinite()]
        if len(bad):
            value = "NaN" if bad.isnan().any() else "infinity"
            raise ValueError(
                f"{kind} {name!r} holds {value} in {len(bad)} of {len(scale)} samples; look for too high a "
                "learning rate or an overflow in half precision."
            )
