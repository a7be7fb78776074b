"""What both terms are made of: unit vectors, sums over pairs with their gradients, and checked inputs.

The sums over pairs work out their gradient on the way, block by block, because autograd would take one more
matrix product and keep every block. Everything here expects float32 or float64.
"""

import math

import torch
from torch import Tensor

from . import distributed

FORMS = ("rbf", "cosine", "hinge", "covariance")
HINGE_MARGIN = 1.0  # squared distance at 60 degrees; independent directions in high dimension are at 2
SMALLEST_SCALE = 1e-12  # an embedding has no direction if its largest entry is no larger


def unit_vectors(embeddings: dict[str, Tensor], kind: str, mask: dict | None = None) -> dict[str, Tensor]:
    """Return u = z / ||z|| in at least float32; absent samples and zero vectors become zero.

    Args:
        embeddings: name -> (B, D).
        kind: what an error calls a name, "argument" or "modality".
        mask: name -> boolean (B,), true for the samples that are present.

    Raises:
        ValueError: NaN or infinity in a present sample.
    """
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


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, gradients: tuple[Tensor, ...], *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    def backward(ctx, grad: Tensor):
        if torch.is_grad_enabled():  # create_graph=True: the stored gradient would pass for a constant
            raise RuntimeError("dispersion over pairs is differentiable once, so create_graph must be False.")
        return None, None, *(grad * gradient for gradient in ctx.saved_tensors)


def with_gradient(value: Tensor, tensors: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Return ``value``, a scalar, as a function of ``tensors`` with these gradients; differentiable once."""
    if not torch.compiler.is_compiling():
        return _WithGradient.apply(value, tuple(gradients), *tensors)
    # torch.compile cannot trace such a function for every batch size, but it can trace the value plus zeros
    # whose gradients are these.
    return value + sum(((x - x.detach()) * g).sum() for x, g in zip(tensors, gradients, strict=True))


@torch.no_grad()
def dispersion_and_gradient(
    u: Tensor, temperature: float, form: str, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    """Return the dispersion of unit vectors (B, D) and its gradient (B, D); both 0 if B < 2."""
    if len(u) < 2:
        return 0.0 * u.sum(), torch.zeros_like(u)
    if form == "covariance":
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            value = squared_covariances(leaf)
        return value.detach(), torch.autograd.grad(value, leaf)[0]
    if form == "cosine":
        form, temperature = "rbf", 2 * temperature
    value, gradient = _pair_sum(u, temperature, form, chunk_size)
    pairs = len(u) * (len(u) - 1)
    if form == "hinge":
        return value / pairs, gradient.mul_(1 / pairs)
    if torch.compiler.is_compiling():  # math.log would make the batch size a constant
        return value - torch.full((), pairs, dtype=u.dtype, device=u.device).log(), gradient
    return value - math.log(pairs), gradient


def squared_covariances(u: Tensor) -> Tensor:
    """Return the sum over feature dimensions m != n of Cov_mn^2 of unit vectors (B, D), B >= 2."""
    centered = u - u.mean(0)
    covariance = centered.T @ centered / (len(u) - 1)
    return covariance.square().sum() - covariance.diagonal().square().sum()


def anchoring_gradient(ua: Tensor, ub: Tensor, radius: float, power: float, masks=()) -> Tensor:
    """Return the gradient (B, D) at ua of mean_i max(0, ||ua_i - ub_i|| - radius)^power, minus that at ub.

    ``masks`` are boolean (B,); only samples for which all are true count.
    """
    difference = ua - ub
    distance = torch.linalg.vector_norm(difference, dim=1)
    outside, count = distance > radius, max(len(distance), 1)
    if masks:
        paired = torch.stack(list(masks)).all(0)
        outside, count = outside & paired, paired.sum().clamp(min=1)
    slope = torch.where(outside, power * (distance - radius).relu() ** (power - 1) / distance, 0.0)
    return (slope / count)[:, None] * difference


def at_embeddings(z: Tensor, u: Tensor, gradients: Tensor) -> Tensor:
    """Return gradients (K, B, D) at u = z / ||z|| as gradients (K, B D) at z, up to a factor common to all.

    The part along u is lost, the rest is divided by the length. The factor keeps the squares of the result in
    range, however short or long the embeddings are.
    """
    present = u.square().sum(dim=1) > 0
    inverse = torch.where(present, 1 / (z.detach() * u).sum(dim=1), 0.0)
    relative = inverse / inverse.sum().clamp_min(torch.finfo(u.dtype).tiny)
    along = (gradients * u).sum(dim=2, keepdim=True)
    return (relative[:, None] * (gradients - along * u)).flatten(1)


def at_parameters(parameters: list[Tensor], u: Tensor, gradients: Tensor) -> Tensor:
    """Return gradients (K, B, D) at u as gradients (K, P) at an encoder's P parameters, means over processes.

    Parameters that are fixed, or that do not reach u, are left out; if none is left, the gradients are zero.
    """
    trained = [p for p in parameters if p.requires_grad]
    if not (trained and u.requires_grad):
        return gradients.new_zeros(len(gradients), 1)
    rows = []
    for gradient in gradients:
        # Sent through the encoder with length 1, so that half precision keeps it.
        size = gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
        back = torch.autograd.grad(u, trained, gradient / size, retain_graph=True, allow_unused=True)
        reached = [g.to(u.dtype).flatten() for g in back if g is not None]
        rows.append(size * torch.cat([gradient.new_zeros(1), *reached]))  # the zero serves if none is
    distributed.average(rows)
    return torch.stack(rows)


def _pair_sum(u: Tensor, temperature: float, form: str, chunk_size: int | None) -> tuple[Tensor, Tensor]:
    """Return the sum over the pairs i != j (its log if "rbf") and its gradient (B, D).

    With w_ij = d term / d d_ij^2, which is symmetric, d term / d u_i = 4 sum_j w_ij (u_i - u_j).
    """
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
    """Return the sum over pairs with i in [start, stop) and its gradient at these u_i, in one such block."""
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


def check_dispersion_arguments(temperature: float, form: str, chunk_size: int | None) -> None:
    """Raise ValueError unless the arguments of `dispersion` are in range."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be a finite number > 0, got {temperature}.")
    if chunk_size is not None and (type(chunk_size) is not int or chunk_size < 1):
        raise ValueError(f"chunk_size must be None or an integer >= 1, got {chunk_size!r}.")


def check_anchoring_arguments(radius: float, power: float) -> None:
    """Raise ValueError unless the arguments of `anchoring` are in range."""
    if not 0 <= radius <= 2:
        raise ValueError(f"radius must be in [0, 2], the distances on the unit sphere, got {radius}.")
    if not (power >= 1 and math.isfinite(power)):
        raise ValueError(f"power must be a finite number >= 1, got {power}.")


def check_embeddings(embeddings: dict[str, Tensor], kind: str, equal_widths: bool = False) -> None:
    """Raise ValueError unless the embeddings are floating-point matrices of one batch size (and width)."""
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


def check_mask(mask: dict[str, Tensor], embeddings: dict[str, Tensor]) -> None:
    """Raise ValueError unless the mask is boolean (B,) for modalities that there are."""
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
