"""The paper in one file: disperse each modality, anchor each pair only beyond a tolerance band.

With unit vectors u = z / ||z||, modalities m, pairs (a, b) of modalities and samples i, j:

    dispersion_m  = log mean_{i != j} exp(-||u_i - u_j||^2 / temperature)
    anchoring_ab  = mean_i max(0, ||u_i^a - u_i^b|| - radius)^power
    total         = dispersion_weight * mean_m dispersion_m + anchoring_weight * mean_ab anchoring_ab

The paper (DAGR, arXiv 2601.21670) states in words that dispersion acts on normalized embeddings within a modality and
that anchoring penalizes a paired distance only where it exceeds a tolerance radius. The formulas above, the power 2 and
every default value are this project's reading: no formula, weight or released code was found in public text.

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
from torch.utils.checkpoint import checkpoint

FORMS = ("rbf", "cosine", "hinge", "covariance")
HINGE_MARGIN = (
    1.0  # squared distance of a pair at 60 degrees; independent directions in high dimension have 2
)
SMALLEST_SCALE = 1e-12  # an embedding whose largest entry is smaller has no direction


def dispersion(
    z: Tensor, *, temperature: float = 0.5, form: str = "rbf", chunk_size: int | None = None
) -> Tensor:
    """How crowded one modality is on the unit sphere; minimizing it spreads the samples.

    Args:
        z: embeddings (B, D), any floating dtype. Only directions count. A zero vector stays zero and gets no gradient.
        temperature: scale of the squared distance in "rbf" and of 1 - cosine in "cosine"; the others do not use it.
        form: one of the four, with d^2 = ||u_i - u_j||^2 and means over the B(B-1) ordered pairs i != j:

            "rbf"         log mean exp(-d^2 / temperature). In [-4 / temperature, 0], 0 when collapsed, at least
                          -2B / ((B-1) temperature) (a regular simplex). Uniformity (Wang & Isola 2020, arXiv
                          2005.10242) with t = 1 / temperature.
            "cosine"      log mean exp(-(1 - cos) / temperature). In [-2 / temperature, 0], 0 when collapsed. It is
                          InfoNCE-cos, log mean exp(cos / temperature), shifted by -1 / temperature so that collapse is
                          0; hence rbf at temperature equals cosine at temperature / 2.
            "hinge"       mean max(0, HINGE_MARGIN - d^2)^2. In [0, 1], 1 when collapsed. The margin 1 is our choice.
            "covariance"  sum_{m != n} Cov_mn^2 over feature dimensions, Cov centered and divided by B - 1. At least
                          0. Blind to full collapse: constant embeddings have no covariance and also give 0.
        chunk_size: rows of the pair matrix held at once; memory O(B chunk_size) instead of O(B^2), the same value and
            gradient, one more matrix product in the backward pass. "covariance" holds no pair matrix and ignores it.

    The last three follow the variants of dispersive losses (arXiv 2506.09027). Unlike its released code we neither
    divide d^2 by D (on unit vectors that makes the gradient vanish) nor keep the pairs i = i (they saturate the loss
    at low temperature).

    Returns:
        A scalar, float64 for float64 input and float32 otherwise, also under autocast. Fewer than two samples give 0.

    Raises:
        ValueError: wrong shape or dtype, NaN or infinity in z, unknown form, temperature <= 0, chunk_size < 1.
    """
    _check_dispersion_arguments(temperature, form, chunk_size)
    _check_embeddings({"z": z}, "argument")
    with _full_precision(z):
        return _dispersion(_unit_vectors({"z": z}, "argument")["z"], temperature, form, chunk_size)


def anchoring(a: Tensor, b: Tensor, *, radius: float = 0.6, power: float = 2) -> Tensor:
    """How far paired samples drift beyond the agreement band: mean_i max(0, ||u_i^a - u_i^b|| - radius)^power.

    Args:
        a, b: embeddings (B, D) of the same samples in two modalities.
        radius: half-width of the band in [0, 2]: a distance on the unit sphere (0.6 is an angle of 35 degrees). Inside
            it value and gradient are exactly zero. 0 is always-on alignment.
        power: at least 1; 2 makes the pull start softly at the edge of the band.

    Returns:
        A scalar in [0, (2 - radius)^power], float64 if an input is float64 and float32 otherwise.

    Raises:
        ValueError: wrong or unequal shapes, NaN or infinity, radius outside [0, 2], power < 1.
    """
    _check_anchoring_arguments(radius, power)
    _check_embeddings({"a": a, "b": b}, "argument", equal_widths=True)
    with _full_precision(a):
        units = _unit_vectors({"a": a, "b": b}, "argument")
        return _anchoring(units["a"], units["b"], radius, power)[0]


@dataclass(frozen=True)
class RegularizerOutput:
    """What one call of GeometryRegularizer returns.

    Attributes:
        total: weighted scalar to add to the task loss.
        dispersion: modality -> unweighted term; empty when dispersion is switched off (weight 0).
        anchoring: (modality, modality) -> unweighted term; empty when anchoring is switched off.
        active: (modality, modality) -> share of the paired samples outside the band, in [0, 1]. It tells an anchoring
            term that is 0 because all pairs agree from one that never saw a pair in its reach.
    """

    total: Tensor
    dispersion: dict[str, Tensor]
    anchoring: dict[tuple[str, str], Tensor]
    active: dict[tuple[str, str], Tensor]


class GeometryRegularizer(nn.Module):
    """Both terms for any number of modalities; no parameter, no state, nothing at inference.

    Args:
        dispersion_weight, anchoring_weight: at least 0; a term with weight 0 is not computed.
        temperature, form, chunk_size: see `dispersion`.
        radius, power: see `anchoring`.
        gather: under torch.distributed, compute both terms on the global batch. Each process then receives the gradient
            for its own samples times the number of processes, so that the *mean* over processes, which
            DistributedDataParallel takes, is the gradient of one process with the global batch. Local batch sizes may
            differ; modalities and the use of masks may not. Without an initialized process group it does nothing.

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
        for name, weight in {
            "dispersion_weight": dispersion_weight,
            "anchoring_weight": anchoring_weight,
        }.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"{name} must be a finite number >= 0, got {weight}.")
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
            mask: modality -> boolean (B,), true where the sample has this modality; a modality left out is complete.
                Absent samples take no part, whatever their embeddings hold. A modality with fewer than two present
                samples has dispersion 0; a pair that no sample has both of has anchoring 0.

        Raises:
            ValueError: naming the modality, for fewer than two modalities, wrong shape or dtype, unequal batch sizes,
                unequal widths, NaN or infinity in a present sample, or a mask that does not fit.
        """
        if len(embeddings) < 2:
            raise ValueError(f"embeddings must hold at least 2 modalities, got {list(embeddings)}.")
        _check_embeddings(embeddings, "modality", equal_widths=self.anchoring_weight > 0)
        _check_mask(mask, embeddings)
        if self.gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            embeddings, mask = _global_batch(embeddings, mask)
        any_embedding = next(iter(embeddings.values()))
        with _full_precision(any_embedding):
            units = _unit_vectors(embeddings, "modality", mask or {})
            return self._terms(units, mask or {})

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
                paired = [mask[name] for name in (a, b) if name in mask]
                anchorings[a, b], active[a, b] = _anchoring(
                    units[a], units[b], self.radius, self.power, paired
                )
            total = total + self.anchoring_weight * sum(anchorings.values()) / len(anchorings)
        return RegularizerOutput(total, dispersions, anchorings, active)

    def hyperparameters(self) -> dict:
        """The constructor's arguments: `GeometryRegularizer(**reg.hyperparameters())` is an equal copy."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())


def _unit_vectors(
    embeddings: dict[str, Tensor], kind: str, mask: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Normalize in at least float32, absent and zero vectors to zero, and refuse NaN and infinity."""
    units, scales = {}, {}
    for name, z in embeddings.items():
        z = z if z.dtype == torch.float64 else z.float()
        if mask and name in mask:
            z = z.masked_fill(~mask[name][:, None], 0.0)
        # Dividing by the largest entry first keeps the squares from over- and underflowing; u does not depend on it.
        scale = scales[name] = z.detach().abs().amax(dim=1, keepdim=True)
        has_direction = scale > SMALLEST_SCALE
        z = torch.where(has_direction, z / torch.where(has_direction, scale, 1.0), 0.0)
        units[name] = z / (torch.linalg.vector_norm(z, dim=1, keepdim=True) + ~has_direction)
    # One look at the device for all modalities: each look makes a GPU wait.
    if not torch.stack([scale.isfinite().all() for scale in scales.values()]).all():
        name = next(name for name, scale in scales.items() if not scale.isfinite().all())
        bad = ~scales[name].isfinite()
        value = "NaN" if scales[name][bad].isnan().any() else "infinity"
        raise ValueError(
            f"{kind} {name!r} holds {value} in {int(bad.sum())} of {len(bad)} samples; check what produced it, for "
            "example the learning rate or an overflow in half precision."
        )
    return units


def _dispersion(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> Tensor:
    size = len(u)
    if size < 2:
        return 0.0 * u.sum()  # keeps the graph, so that backward() works on any batch
    if form == "covariance":
        return _squared_covariances(u)
    if chunk_size is None or chunk_size >= size:
        blocks = [_block_sum(u, 0, size, temperature, form)]
    else:
        blocks = [
            checkpoint(
                _block_sum, u, i, min(i + chunk_size, size), temperature, form,
                use_reentrant=False, preserve_rng_state=False,
            )
            for i in range(0, size, chunk_size)
        ]  # fmt: skip
    blocks, pairs = torch.stack(blocks), size * (size - 1)
    return blocks.sum() / pairs if form == "hinge" else blocks.logsumexp(0) - math.log(pairs)


def _block_sum(u: Tensor, start: int, stop: int, temperature: float, form: str) -> Tensor:
    """Sum over the pairs (i, j) with start <= i < stop and j != i; its logarithm in the forms with a logarithm."""
    rows = u[start:stop]
    if form == "cosine":
        distance = 1.0 - rows @ u.T
    else:  # from the Gram product; the squared norms differ from 1 for zero vectors only
        squares = u.square().sum(1)
        distance = torch.addmm(squares[start:stop, None] + squares, rows, u.T, alpha=-2)
    distance = distance.clamp(min=0.0)  # rounding
    itself = torch.arange(start, stop, device=u.device)[:, None] == torch.arange(len(u), device=u.device)
    distance = distance.masked_fill(itself, math.inf)  # a pair i = i is infinitely far: exp and hinge give 0
    if form == "hinge":
        return (HINGE_MARGIN - distance).relu().square().sum()
    return (distance / -temperature).flatten().logsumexp(0)


def _squared_covariances(u: Tensor) -> Tensor:
    centered = u - u.mean(0)
    covariance = centered.T @ centered / (len(u) - 1)
    return covariance.square().sum() - covariance.diagonal().square().sum()


def _anchoring(ua: Tensor, ub: Tensor, radius: float, power: float, paired=()) -> tuple[Tensor, Tensor]:
    """The term and the share of active pairs; `paired` holds boolean masks that must all be true."""
    excess = (
        torch.linalg.vector_norm(ua - ub, dim=1) - radius
    ).relu()  # this norm has gradient 0, not NaN, at 0
    penalty, active = excess.pow(power), (excess > 0).to(excess)
    count = excess.new_tensor(float(len(excess)))
    if paired:
        both = torch.stack(list(paired)).all(0).to(excess)
        penalty, active, count = penalty * both, active * both, both.sum()
    count = count.clamp(min=1.0)
    return penalty.sum() / count, active.sum() / count


class _AllGather(torch.autograd.Function):
    """Stack equal tensors of all processes; backward needs no communication since all compute the same loss."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return (
            grad[dist.get_rank()] * dist.get_world_size()
        )  # undoes the mean that DistributedDataParallel takes


def _global_batch(embeddings: dict[str, Tensor], mask: dict[str, Tensor] | None):
    """Embeddings and mask of all processes, in the order of their ranks."""
    first = next(iter(embeddings.values()))
    sizes = _AllGather.apply(torch.tensor(len(first), device=first.device)).tolist()

    def gathered(x: Tensor) -> Tensor:
        padding = x.new_zeros(max(sizes) - len(x), *x.shape[1:])
        parts = _AllGather.apply(torch.cat([x, padding]))
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    mask = mask and {name: gathered(present) for name, present in mask.items()}
    return {name: gathered(z) for name, z in embeddings.items()}, mask


def _full_precision(z: Tensor):
    return torch.autocast(z.device.type, enabled=False)


def _check_dispersion_arguments(temperature: float, form: str, chunk_size: int | None) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be a finite number > 0, got {temperature}.")
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise ValueError(f"chunk_size must be None or an integer >= 1, got {chunk_size!r}.")


def _check_anchoring_arguments(radius: float, power: float) -> None:
    if not 0 <= radius <= 2:
        raise ValueError(
            f"radius must be in [0, 2], the distances possible on the unit sphere, got {radius}."
        )
    if not (power >= 1 and math.isfinite(power)):
        raise ValueError(f"power must be a finite number >= 1, got {power}.")


def _check_embeddings(embeddings: dict[str, Tensor], kind: str, equal_widths: bool = False) -> None:
    (first, reference), *_ = embeddings.items()
    for name, z in embeddings.items():
        if z.ndim != 2 or z.shape[1] == 0:
            raise ValueError(f"{kind} {name!r} must have shape (batch, features), got {tuple(z.shape)}.")
        if not z.is_floating_point():
            raise ValueError(f"{kind} {name!r} must be a floating-point tensor, got {z.dtype}.")
        if len(z) != len(reference):
            raise ValueError(f"{kind} {name!r} has batch size {len(z)}, but {first!r} has {len(reference)}.")
        if equal_widths and z.shape[1] != reference.shape[1]:
            raise ValueError(
                f"{kind} {name!r} has width {z.shape[1]}, but {first!r} has {reference.shape[1]}: anchoring compares "
                "embeddings of equal width, so project them to one width or switch anchoring off (weight 0)."
            )


def _check_mask(mask: dict[str, Tensor] | None, embeddings: dict[str, Tensor]) -> None:
    for name, present in (mask or {}).items():
        if name not in embeddings:
            raise ValueError(f"mask names modality {name!r}, but the embeddings are {list(embeddings)}.")
        expected = (len(embeddings[name]),)
        if present.dtype != torch.bool or tuple(present.shape) != expected:
            raise ValueError(
                f"mask of modality {name!r} must be boolean of shape {expected}, got {present.dtype} of shape "
                f"{tuple(present.shape)}."
            )
