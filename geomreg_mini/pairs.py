"""The parts of both terms: unit vectors, sums over pairs with their gradients, and checks of inputs.

The sums over pairs compute their gradient block by block, because autograd would take one more matrix product
and keep every block. Everything here expects float32 or float64.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import distributed
from .records import plain

Embeddings = dict[str, Tensor]  # modality -> (B, D), or a mask (B,)
Mask = Embeddings | None
Given = Embeddings | Sequence[Tensor] | Tensor
Array = Tensor | np.ndarray | Sequence
Parameters = Mapping[str, Iterable[Tensor]]  # modality -> parameters of its encoder
FORMS = ("rbf", "cosine", "hinge", "covariance")
BALANCES, PLACES, REDUCTIONS = ("sum", "pareto"), ("embeddings", "parameters"), (None, "mean", "sum")
# Arguments of GeometryRegularizer that a balance does not use. "sum" is the default ``balance``.
UNUSED = {"pareto": ("dispersion_weight", "anchoring_weight"), "sum": ("balance", "strength", "at")}
TINY = torch.finfo(torch.float64).tiny
SMALLEST_SCALE = 1e-12  # an embedding has no direction if its largest entry is no larger
TIE = 1e-12  # closer cosines are a tie: those of equal rows differ by rounding alone
NEAR = 1e-8  # ||x - y||^2 below this share of ||x||^2 + ||y||^2 is mostly rounding, if from a product
BLOCK_ELEMENTS = 2**24  # most entries of a matrix of pairs in a diagnostic, at a time (128 MiB)


class RegularizerOutput(NamedTuple):
    """The return value of GeometryRegularizer and of the controls; DataParallel and torch.func return it too.

    Attributes:
        total: weighted scalar to add to the task loss.
        dispersion: modality -> unweighted term; empty if dispersion is switched off (weight 0).
        anchoring: (modality, modality) -> unweighted term; empty if anchoring is switched off.
        active: (modality, modality) -> share of the paired samples outside the band, in [0, 1]; anchoring
            pulls on these alone.
        alpha: modality -> weight of anchoring against dispersion in [0, 1]; empty unless balance="pareto".
    """

    total: Tensor
    dispersion: dict[str, Tensor]
    anchoring: dict[tuple[str, str], Tensor]
    active: dict[tuple[str, str], Tensor]
    alpha: dict[str, Tensor] = {}


def full_precision(z: Tensor) -> AbstractContextManager:
    """Return a context without autocast, which the meta device does not know."""
    return nullcontext() if z.is_meta else torch.autocast(z.device.type, enabled=False)


def unit_vectors(embeddings: dict[str, Tensor], kind: str, mask: dict | None = None) -> dict[str, Tensor]:
    """Return u = z / ||z|| in at least float32; absent samples and zero vectors become zero.

    Args:
        embeddings: name -> (B, D).
        kind: the word for a name in errors, "argument" or "modality".
        mask: name -> boolean (B,), true for the present samples.

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


def scale_and_margin(temperature: float, form: str) -> tuple[float | None, float | None]:
    """Return the arguments of `mean_over_pairs` for a form of dispersion."""
    if form == "hinge":
        return None, 1.0
    return temperature if form == "rbf" else 2 * temperature, None  # because 1 - cos = d^2 / 2


class _PairMean(torch.autograd.Function):
    """`mean_over_pairs` with the gradient that it computes; it can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
        return mean_over_pairs(u, *how)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        u, *ctx.how = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(u, output[1])
        ctx.save_for_forward(u, output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        u, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # it may be differentiated
            gradient = mean_over_pairs(u, *ctx.how)[1]
        return grad * gradient, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        return (ctx.saved_tensors[1] * tangent).sum(), None


def differentiable_mean(u: Tensor, *how: Any) -> Tensor:
    """Return the value of `mean_over_pairs`, differentiable any number of times."""
    compiling = torch.compiler.is_compiling()  # a graph differentiates itself
    return (mean_over_pairs if compiling else _PairMean.apply)(u, *how)[0]


def mean_over_pairs(
    u: Tensor, scale: float | None, margin: float | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    """Return log mean exp(-d_ij^2 / scale), or mean max(0, margin - d_ij^2)^2 if scale is None.

    Here d_ij = ||u_i - u_j||, and the means are over i != j. The second result is the gradient at u (B, D).
    Both are 0 if B < 2.
    """
    if len(u) < 2:
        return (0.0 * u).sum() + 0.0, torch.zeros_like(u)  # + 0.0 turns a negative zero into a positive one
    value, gradient = _pair_sum(u, scale, margin, chunk_size)
    count = len(u) * (len(u) - 1)
    if scale is None:
        return value / count, gradient.mul_(1 / count)
    if torch.compiler.is_compiling():  # math.log would make the batch size a constant
        return value - torch.full((), count, dtype=u.dtype, device=u.device).log(), gradient
    return value - math.log(count), gradient


class _Once(torch.autograd.Function):
    """The first tensor; an error if it is differentiated by the second, instead of a silent zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, by: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *_: Any) -> None:
        raise RuntimeError('balance="pareto" is differentiable once: it is made from a gradient.')

    jvp = backward


class _WithGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, *tensors_and_gradients: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        half = len(ctx.saved_tensors) // 2
        tensors, gradients = ctx.saved_tensors[:half], ctx.saved_tensors[half:]
        if torch.is_grad_enabled():
            gradients = map(_Once.apply, gradients, tensors)
        return None, *(grad * gradient for gradient in gradients), *[None] * half

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Tensor | None) -> Tensor:
        half = len(tangents) // 2
        both = zip(ctx.saved_tensors[half:], tangents[:half], strict=True)
        return sum((gradient * tangent).sum() for gradient, tangent in both if tangent is not None)


def with_gradient(value: Tensor, tensors: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Return ``value``, a scalar, as a function of ``tensors`` with these gradients; differentiable once."""
    if not torch.compiler.is_compiling():
        return _WithGradient.apply(value, *tensors, *gradients)
    # torch.compile cannot trace that for every batch size, but it can trace the value plus zeros with these
    # gradients.
    return value + sum(((x - x.detach()) * g).sum() for x, g in zip(tensors, gradients, strict=True))


def squared_covariances_and_gradient(u: Tensor) -> tuple[Tensor, Tensor]:
    """Return `squared_covariances` of u (B, D) and its gradient."""
    with torch.enable_grad():
        leaf = u.detach().requires_grad_()
        value = squared_covariances(leaf)
        gradient = torch.autograd.grad(value, leaf)[0]
    return value.detach(), gradient


def squared_covariances(u: Tensor) -> Tensor:
    """Return the sum over feature dimensions m != n of Cov_mn^2 of unit vectors (B, D); 0 if B < 2."""
    if len(u) < 2:
        return (0.0 * u).sum() + 0.0  # keeps the graph, so that backward() works on any batch
    centered = u - u.mean(0)
    covariance = centered.T @ centered / (len(u) - 1)
    return covariance.square().sum() - covariance.diagonal().square().sum()


def present(x: Tensor, modality: str, mask: Embeddings) -> Tensor:
    """Return the rows of x (B, ...) of the samples with this modality."""
    return x[mask[modality]] if modality in mask else x


def among_all(rows: Tensor, x: Tensor, modality: str, mask: Embeddings) -> Tensor:
    """Return the rows of the present samples in the shape of x (B, ...), with zeros for the others."""
    return torch.zeros_like(x).index_put((mask[modality],), rows) if modality in mask else rows


def present_in_both(first: str, second: str, mask: Embeddings) -> Tensor | None:
    """Return which samples have both modalities, boolean (B,), or None for all."""
    masks = [mask[m] for m in (first, second) if m in mask]
    return torch.stack(masks).all(0) if masks else None


def mean(values: Tensor, present: Tensor | None) -> Tensor:
    """Return the mean of values (B,) over the present samples; 0 over none."""
    if present is None:
        return values.sum() / max(len(values), 1)
    return (values * present.to(values)).sum() / present.to(values).sum().clamp(min=1.0)


def anchoring_gradients(units: Embeddings, mask: Embeddings, radius: float, power: float) -> Embeddings:
    """Return modality -> gradient (B, D) at its unit vectors of anchoring's mean over pairs of modalities."""
    gradients, couples = {m: torch.zeros_like(u) for m, u in units.items()}, list(combinations(units, 2))
    for a, b in couples:
        difference, both = units[a] - units[b], present_in_both(a, b, mask)
        distance = torch.linalg.vector_norm(difference, dim=1)
        outside, count = distance > radius, max(len(distance), 1)
        if both is not None:
            outside, count = outside & both, both.sum().clamp(min=1)
        slope = torch.where(outside, power * (distance - radius).relu() ** (power - 1) / distance, 0.0)
        pull = (slope / count)[:, None] * difference / len(couples)
        gradients[a], gradients[b] = gradients[a] + pull, gradients[b] - pull
    return gradients


def min_norm_weight(gradients: Tensor) -> Tensor:
    """Return the alpha in [0, 1] for which alpha g_0 + (1 - alpha) g_1 is shortest; gradients (2, N).

    It is 1 if g_0 is zero, 0 if g_1 is, and 1/2 if they are equal, also two zeros. The closed form for two
    tasks of Sener & Koltun (arXiv 1810.04650) is this project's reading of the paper's Eq. (8).
    """
    (first, cross), (_, second) = gradients @ gradients.T
    apart = first + second - 2 * cross
    equal = apart <= 16 * torch.finfo(gradients.dtype).eps * (first + second)
    return torch.where(equal, 0.5, ((second - cross) / apart).clamp(0.0, 1.0))


def shortest_mixtures(
    embeddings: Embeddings, units: Embeddings, agree: Embeddings, spread: Embeddings, given: Parameters | None
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return modality -> alpha, and the list of alpha agree + (1 - alpha) spread at the unit vectors.

    Both gradients (B, D) are compared at the embeddings, or at the parameters of the encoders if given.
    """
    alpha, mixtures = {}, []
    for m, u in units.items():
        both = torch.stack([agree[m], spread[m]])
        at = at_embeddings(embeddings[m], u, both) if given is None else at_parameters(given[m], u, both)
        alpha[m] = min_norm_weight(at)
        mixtures.append(torch.lerp(both[1], both[0], alpha[m]))
    return alpha, mixtures


def at_embeddings(z: Tensor, u: Tensor, gradients: Tensor) -> Tensor:
    """Return gradients (K, B, D) at u = z / ||z|| as gradients (K, B D) at z, up to a common factor.

    The part along u is dropped, the rest is divided by the length. The factor keeps the squares of the result
    in range for embeddings of any length.
    """
    present = u.square().sum(dim=1) > 0
    inverse = torch.where(present, 1 / (z.detach() * u).sum(dim=1), 0.0)
    relative = inverse / inverse.sum().clamp_min(torch.finfo(u.dtype).tiny)
    along = (gradients * u).sum(dim=2, keepdim=True)
    return (relative[:, None] * (gradients - along * u)).flatten(1)


def at_parameters(parameters: Iterable[Tensor], u: Tensor, gradients: Tensor) -> Tensor:
    """Return gradients (K, B, D) at u as gradients (K, P) at an encoder's P parameters, means over processes.

    Fixed parameters and those that do not reach u are left out; if none is left, the gradients are zero.
    """
    trained = [p for p in parameters if p.requires_grad]
    if not (trained and u.requires_grad):
        return gradients.new_zeros(len(gradients), 1)
    rows = []
    for gradient in gradients:
        # The gradient passes the encoder with length 1, so that half precision keeps it.
        size = gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
        back = torch.autograd.grad(u, trained, gradient / size, retain_graph=True, allow_unused=True)
        reached = [g.to(u.dtype).flatten() for g in back if g is not None]
        rows.append(size * torch.cat([gradient.new_zeros(1), *reached]))  # the zero is for an empty list
    distributed.average(rows)
    return torch.stack(rows)


def _pair_sum(
    u: Tensor, scale: float | None, margin: float | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    """Return log sum exp(-d_ij^2 / scale) or sum max(0, margin - d_ij^2)^2, over i != j, and its gradient.

    With w_ij = d term / d d_ij^2, which is symmetric, d term / d u_i = 4 sum_j w_ij (u_i - u_j).
    """
    squares = u.square().sum(1)  # differ from 1 for zero vectors only
    if chunk_size is None:
        return _block(u, squares, 0, len(u), scale, margin)
    starts, gradient, values = range(0, len(u), chunk_size), torch.empty_like(u), []
    # Where autograd follows, in a compiled graph, it must not keep the blocks.
    block = (
        partial(checkpoint, _block, use_reentrant=False) if torch.compiler.is_dynamo_compiling() else _block
    )
    for start in starts:
        stop = min(start + chunk_size, len(u))
        value, gradient[start:stop] = block(u, squares, start, stop, scale, margin)
        values.append(value)
    values = torch.stack(values)
    if margin is not None:
        return values.sum(), gradient
    log_sum = values.logsumexp(0)
    for start, share in zip(starts, (values - log_sum).exp(), strict=True):
        gradient[start : start + chunk_size] *= share
    return log_sum, gradient


def _block(
    u: Tensor, squares: Tensor, start: int, stop: int, scale: float | None, margin: float | None
) -> tuple[Tensor, Tensor]:
    """Return the sum over pairs whose first index is in [start, stop), and its gradient at these u_i."""
    rows = u[start:stop]
    distance = (squares[start:stop, None] + squares).addmm_(rows, u.T, alpha=-2).clamp_(min=0.0)
    distance.diagonal(start).fill_(math.inf)  # leaves out i = i: exp and hinge give 0
    if margin is not None:
        weight = distance.neg_().add_(margin).clamp_(min=0.0)
        value, slope = weight.square().sum(), -2.0
    else:
        weight = distance.div_(-scale)
        largest = weight.detach().max()  # it cancels in the derivatives
        total = weight.sub_(largest).exp_().sum()
        value, slope = largest + total.log(), -1 / (scale * total)
    gradient = torch.addmm(weight.sum(1, keepdim=True) * rows, weight, u, alpha=-1)
    return value, gradient.mul_(4 * slope)


def cosine_blocks(u: Tensor, v: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, u[start:stop] @ v.T): one block up to N = 4096. The pairs are diagonal(start)."""
    step = max(1, BLOCK_ELEMENTS // len(v))
    for start in range(0, len(u), step):
        yield start, u[start : start + step] @ v.T


def distance_blocks(z: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, ||z_i - z_j|| for i in the block and all j). Equal rows have distance 0 exactly."""
    square = z.square().sum(dim=1)
    for start, block in cosine_blocks(z, z):
        sums = square[start : start + len(block), None] + square
        block.mul_(-2).add_(sums)
        # Rows near another row are computed again from differences, which do not cancel.
        again = ((block <= NEAR * sums).sum(dim=1) > 1).nonzero()[:, 0]
        block.clamp_min_(0).sqrt_().diagonal(offset=start).zero_()
        if len(again):
            block[again] = torch.cdist(z[start + again], z, compute_mode="donot_use_mm_for_euclid_dist")
        yield start, block


def float64(x: Tensor) -> Tensor:
    """Return x in float64, on the CPU if its device lacks float64, as Apple's GPUs do."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def matrix(z: Array, name: str = "z", *, normalize: bool = False, min_samples: int = 1) -> Tensor:
    """Return embeddings as a float64 tensor (N, D), with rows divided by their lengths if ``normalize``."""
    z = torch.as_tensor(z).detach()
    if z.ndim != 2 or z.shape[0] < min_samples or z.shape[1] < 1 or z.is_complex():
        kind = "complex numbers" if z.is_complex() else f"shape {tuple(z.shape)}"
        raise ValueError(f"{name} has {kind}; pass real (N, D), N >= {min_samples} and D >= 1.")
    z = float64(z)
    peak = z.abs().amax(dim=1, keepdim=True)
    bad = int((~torch.isfinite(peak)).sum())
    if bad:
        raise ValueError(f"{name} has NaN or infinity in {bad} of {len(z)} rows; find their origin first.")
    if normalize:
        # The squares inside the norm must neither overflow nor underflow. Rows that count as zero for
        # dispersion are zero here too.
        z = z / peak.masked_fill(peak <= SMALLEST_SCALE, math.inf)
        z = z / z.norm(dim=1, keepdim=True).clamp_min(TINY)
    return z


def class_index(labels: Array, count: int, name: str = "labels") -> tuple[np.ndarray, Tensor]:
    """Return the sorted classes and the class (N,) of each sample, for labels of any type."""
    labels = labels.detach().cpu().numpy() if torch.is_tensor(labels) else np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name} has shape {labels.shape}; pass one label for each of {count} samples.")
    missing = int((labels != labels).sum())  # only NaN differs from itself
    if missing:
        raise ValueError(f"{name} has NaN in {missing} of {count} places; leave these samples out.")
    try:
        classes, index = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"{name} mixes types that cannot be sorted; pass one type.") from error
    return classes, torch.from_numpy(index.reshape(-1))


def class_sums(z: Tensor, labels: Array) -> tuple[Tensor, Tensor, Tensor]:
    """Return class index (N,), sizes (C,) and sums of z (C, D); no class is empty, C >= 2."""
    classes, index = class_index(labels, len(z))
    if len(classes) < 2:
        raise ValueError(f"labels holds {len(classes)} class; pass two classes or more.")
    index = index.to(z.device)
    sums = z.new_zeros(len(classes), z.shape[1]).index_add_(0, index, z)
    return index, torch.bincount(index).double(), sums


def check_arguments(regularizer: nn.Module) -> None:
    """Raise ValueError unless the arguments of a GeometryRegularizer are in range and used by its balance."""
    for f in fields(regularizer):
        setattr(regularizer, f.name, plain(getattr(regularizer, f.name)))
    for name in ("dispersion_weight", "anchoring_weight", "strength"):
        check_at_least(0, **{name: getattr(regularizer, name)})
    check_dispersion_arguments(regularizer.temperature, regularizer.form, regularizer.chunk_size)
    check_anchoring_arguments(regularizer.radius, regularizer.power)
    for name, known in (("balance", BALANCES), ("at", PLACES), ("reduction", REDUCTIONS)):
        if (value := getattr(regularizer, name)) not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")
    used = "sum" if regularizer.balance == "pareto" else "pareto"
    for name in UNUSED[regularizer.balance]:
        if getattr(regularizer, name) != getattr(type(regularizer), name):
            raise ValueError(f"{name} is for balance={used!r}: leave it out with {regularizer.balance!r}.")


def check_at_least(least: float, **arguments: float) -> None:
    """Raise ValueError unless all arguments are finite numbers of at least ``least``."""
    for name, value in arguments.items():
        if not (value >= least and math.isfinite(value)):
            raise ValueError(f"{name} must be a finite number >= {least}, got {value}.")


def check_dispersion_arguments(temperature: float, form: str, chunk_size: int | None) -> None:
    """Raise ValueError unless the arguments of `dispersion` are in range."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be a finite number > 0, got {temperature}.")
    if chunk_size is not None and (type(plain(chunk_size)) is not int or chunk_size < 1):
        raise ValueError(f"chunk_size must be None or an integer >= 1, got {chunk_size!r}.")


def check_anchoring_arguments(radius: float, power: float) -> None:
    """Raise ValueError unless the arguments of `anchoring` are in range."""
    if not 0 <= radius <= 2:
        raise ValueError(f"radius must be in [0, 2], the distances on the unit sphere, got {radius}.")
    if not (power >= 1 and math.isfinite(power)):
        raise ValueError(f"power must be a finite number >= 1, got {power}.")


def named(embeddings: Given, others: tuple[Any, ...], **options: Any) -> tuple[Any, ...]:
    """Return embeddings by name, then the options; ``others`` are the positional arguments after the first.

    A sequence of tensors, and tensors one by one, get the names "0", "1", ... After a dict, the positional
    arguments are the options.
    """
    if isinstance(embeddings, Mapping):
        if len(others) > len(options):
            raise TypeError(f"got {len(others) + 1} arguments, but a dict of embeddings and {list(options)}.")
        return embeddings, *others, *list(options.values())[len(others) :]
    given = (embeddings, *others) if torch.is_tensor(embeddings) else (*embeddings, *others)
    return {str(number): z for number, z in enumerate(given)}, *options.values()


def check_embeddings(embeddings: dict[str, Tensor], kind: str, equal_widths: bool = False) -> None:
    """Raise ValueError unless the embeddings are floating-point matrices of one batch size (and width)."""
    first, reference = next(iter(embeddings.items()))
    for name, z in embeddings.items():
        if not torch.is_tensor(z):
            raise ValueError(f"{kind} {name!r} must be a torch.Tensor, got {type(z).__name__}.")
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


def check_batch(embeddings: Embeddings, mask: Embeddings, equal_widths: bool = False) -> None:
    """Raise ValueError unless there are two modalities that fit, and a boolean mask (B,) for some of them."""
    if len(embeddings) < 2:
        raise ValueError(f"embeddings must hold at least 2 modalities, got {list(embeddings)}.")
    check_embeddings(embeddings, "modality", equal_widths)
    for name, present in mask.items():
        if name not in embeddings:
            raise ValueError(f"mask names modality {name!r}, but the embeddings are {list(embeddings)}.")
        expected, got = (len(embeddings[name]),), tuple(present.shape)
        if present.dtype != torch.bool or got != expected:
            raise ValueError(
                f"mask of modality {name!r} must be torch.bool of shape {expected}, got {present.dtype} "
                f"of shape {got}."
            )


def check_parameters(given: Iterable[str], embeddings: Embeddings, at: str) -> None:
    """Raise ValueError unless parameters are given for all modalities, or for none if ``at`` needs none."""
    wanted = set(embeddings) if at == "parameters" else set()
    if set(given) != wanted:
        raise ValueError(f"at={at!r} takes the parameters of {sorted(wanted)}, got {sorted(given)}.")


def _check_finite(scales: dict[str, Tensor], kind: str) -> None:
    """`scales` holds the largest absolute value of each sample, which is NaN or infinite if any value is."""
    if torch.compiler.is_compiling():
        return  # a graph cannot stop at a value; NaN and infinity then make the total NaN
    # One question to the device for all modalities, because each makes a GPU wait.
    finite = torch.stack([scale.isfinite().all() for scale in scales.values()]).all()
    try:
        if finite:
            return
    except RuntimeError:  # vmap, and tensors without data, have no answer; NaN makes the total NaN
        return
    for name, scale in scales.items():
        bad = scale[~scale.isfinite()]
        if len(bad):
            value = "NaN" if bad.isnan().any() else "infinity"
            raise ValueError(
                f"{kind} {name!r} holds {value} in {len(bad)} of {len(scale)} samples; look for too high a "
                "learning rate or an overflow in half precision."
            )
