"""The parts of both terms: sums over pairs with their gradients, and the balance of two gradients.

The sums over pairs compute their gradient block by block, because autograd would take one more matrix product
and keep every block. Everything here expects float32 or float64. A ``group`` is that of the processes that
share one batch: each computes the pairs of its own samples with all. Its gradients are times the number of
processes, because DistributedDataParallel takes the mean. None is this process alone.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from . import distributed, inputs
from .distributed import Group
from .inputs import Embeddings, Parameters, RegularizerOutput, full_precision, present_in_both

SMALL = 128  # largest batch of `small_batch`, because threads share the sums of larger ones
COLDEST = 0.1  # its lowest temperature, at which no weight exp(-d^2 / temperature) is 0 in float32
LEAST = 1e-37  # the divisor instead of a distance of 0
TIE = 1e-12  # closer cosines are a tie: those of equal rows differ by rounding alone
NEAR = 1e-8  # ||x - y||^2 below this share of ||x||^2 + ||y||^2 is mostly rounding, if from a product
BLOCK_ELEMENTS = 2**24  # most entries of a matrix of pairs in a diagnostic, at a time (128 MiB)


def scale_of(temperature: float, form: str) -> float | None:
    """Return the scale of `mean_over_pairs` for a form of dispersion."""
    if form == "hinge":
        return None
    return temperature if form == "rbf" else 2 * temperature  # because 1 - cos = d^2 / 2


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

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        u, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # it may be differentiated
            with full_precision(u):
                gradient = mean_over_pairs(u, *ctx.how)[1]
        return grad * gradient, None, None


def mean_over_pairs(
    u: Tensor, scale: float | None, chunk_size: int | None, here: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return log mean exp(-d_ij^2 / scale), or mean max(0, 1 - d_ij^2)^2 if scale is None.

    Here d_ij = ||u_i - u_j||, and the means are over i != j, of the samples ``here`` (B,), None for all. The
    second result is the gradient at u (B, D). Both are 0 for fewer than two samples.
    """
    if (size := u.shape[0]) < 2:
        return (0.0 * u).sum() + 0.0, torch.zeros_like(u)  # + 0.0 turns a negative zero into a positive one
    sums = _pair_sum(u, 0, size, scale, chunk_size, here)
    return _means(*sums, size if here is None else here.sum(), scale)


def small_batch(reg: nn.Module, embeddings: Embeddings, mask: Embeddings) -> RegularizerOutput | None:
    """Return the result of a small batch in few operations, or None for others, which do not gain by it.

    Values and gradients are those of larger batches, up to the rounding of another order of operations.
    """
    if torch.compiler.is_compiling():  # before the batch size is asked for, which would make it a constant
        return None
    first, *_ = z = list(embeddings.values())
    both = reg.balance == "pareto" or (reg.dispersion_weight > 0 and reg.anchoring_weight > 0)
    if not (
        both and not mask and reg.at == "embeddings" and reg.form != "covariance" and not reg.chunk_size
        and 2 <= len(first) <= SMALL and reg.temperature >= COLDEST and not first.is_meta
        and not torch._C._are_functorch_transforms_active()  # has no public name
        and forward_ad._current_level < 0
        and all(type(x) is Tensor and x.shape == first.shape and x.dtype == first.dtype for x in z)
        and (terms := _SmallBatch.apply(reg, *z)) is not None
    ):  # fmt: skip
        return None
    rest, couples = iter(terms[1:]), list(combinations(embeddings, 2))
    parts = embeddings, couples, couples, embeddings
    return RegularizerOutput(terms[0], *(dict(zip(names, rest, strict=False)) for names in parts))


class _SmallBatch(torch.autograd.Function):
    """Total, dispersions, anchorings, active shares and alphas of M embeddings (B, D), in one tuple.

    It is None if a sample has an unusual length. Gradients at u = z / ||z|| need no part along u, because the
    gradient at z drops it.
    """

    @staticmethod
    def forward(ctx: Any, reg: nn.Module, *z: Tensor) -> tuple[Tensor, ...] | None:
        stack = torch.stack(z) if z[0].dtype == torch.float64 else torch.stack(z).float()
        length = torch.linalg.vector_norm(stack, dim=2, keepdim=True)
        smallest, largest = (x.item() for x in length.aminmax())
        if not 1e-6 < smallest <= largest < 1e6:  # NaN too; squares of gradients must stay in range
            return None
        u, alphas = stack / length, ()
        values, spread = _dispersions(u, scale_of(reg.temperature, reg.form))
        drifts, active, agree = _anchorings(u, reg.radius, reg.power)
        reduction = reg.reduction or ("sum" if reg.balance == "pareto" else "mean")
        share = 1 / len(z) if reduction == "mean" else 1.0
        if reg.balance == "pareto":
            at_z = _at_z(torch.stack([agree, share * spread], 1), u[:, None], length[:, None])
            alphas = min_norm_weight(at_z.flatten(2))
            at_z = torch.lerp(at_z[:, 1], at_z[:, 0], alphas[:, None, None]).mul_(reg.strength)
            spreading, agreeing = reg.strength * share * (1 - alphas), reg.strength * alphas.mean()
        else:
            spreading, agreeing = reg.dispersion_weight * share, reg.anchoring_weight
            at_z = _at_z(spread.mul_(spreading).add_(agree, alpha=agreeing), u, length)
        total = (values * spreading).sum() + drifts.mean() * agreeing
        ctx.reg, ctx.z = copy.copy(reg), z  # the caller may change the weights
        ctx.save_for_backward(stack, at_z)
        ctx.set_materialize_grads(False)
        active, alphas = active.unbind(), tuple(alphas)
        ctx.mark_non_differentiable(*active, *alphas)
        return total, *values.unbind(), *drifts.unbind(), *active, *alphas

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
        stack, at_z = ctx.saved_tensors
        if not torch.is_grad_enabled() and grad is not None and not any(x is not None for x in others):
            return None, *(grad * at_z)
        return None, *_by_modality(ctx, stack, grad, *others)


def _dispersions(u: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """Return dispersions (M,) of unit vectors (M, B, D), and gradients without parts along u."""
    count = u.shape[1] * (u.shape[1] - 1)
    weight = torch.bmm(u, u.mT).sub_(1.0)  # -d^2 / 2
    if scale is None:
        weight.mul_(2.0).add_(1.0).clamp_(min=0.0).diagonal(0, 1, 2).zero_()
        return weight.square().sum((1, 2)) / count, torch.bmm(weight, u).mul_(8 / count)
    weight.mul_(2 / scale).exp_().diagonal(0, 1, 2).zero_()
    total = weight.sum((1, 2), keepdim=True)
    return (total / count).log().clamp_(max=0.0).flatten(), torch.bmm(weight, u).mul_(4 / scale / total)


def _anchorings(u: Tensor, radius: float, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return anchorings (P,) and active shares (P,) of pairs of modalities, and gradients (M, B, D)."""
    couples, gradient = list(combinations(range(len(u)), 2)), torch.zeros_like(u)
    units, gradients = u.unbind(), gradient.unbind()
    difference = torch.stack([units[a] - units[b] for a, b in couples])
    distance = torch.linalg.vector_norm(difference, dim=2)
    excess = (distance - radius).relu_()
    slope = slopes(excess, power).mul_(1 / excess.numel()).div_(distance.clamp_min_(LEAST))
    for (a, b), pull in zip(couples, difference.mul_(slope[:, :, None]), strict=True):
        gradients[a].add_(pull)
        gradients[b].sub_(pull)
    return excess.pow(power).mean(1), excess.sign().mean(1), gradient


def _at_z(gradients: Tensor, u: Tensor, length: Tensor) -> Tensor:
    """Return gradients at u = z / ||z|| as gradients at z."""
    return gradients.addcmul((gradients * u).sum(-1, keepdim=True), u, value=-1).div_(length)


def _by_modality(ctx: Any, stack: Tensor, *grads: Tensor | None) -> list[Tensor | None]:
    """Return gradients at z of single terms, or such as can be differentiated again."""
    needed, again = ctx.needs_input_grad[1:], torch.is_grad_enabled()
    with torch.enable_grad(), full_precision(stack):
        z = [x.view_as(x) for x in ctx.z]  # one may be another, or made from it, or changed since
        given = {i: x + (y - y.detach()) for i, (x, y) in enumerate(zip(stack, z, strict=True))}
        out = ctx.reg.by_modality(given, {}, given, {})
        terms = out.total, *out.dispersion.values(), *out.anchoring.values()
        asked = [(x, g) for x, g in zip(terms, grads, strict=False) if g is not None and x.requires_grad]
        if not asked:
            return [None] * len(z)
        terms, grads = zip(*asked, strict=True)
        wanted = [x for x, need in zip(z, needed, strict=True) if need]
        found = iter(torch.autograd.grad(terms, wanted, grads, create_graph=again, allow_unused=True))
    return [next(found) if need else None for need in needed]


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
        raise RuntimeError('balance="pareto" and `gather` are differentiable once: no second derivative.')

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
        half = len(saved := ctx.saved_tensors) // 2  # asked for once: a checkpoint does not unpack it twice
        gradients = saved[half:]
        if torch.is_grad_enabled() or forward_ad._current_level >= 0:  # they may be differentiated
            gradients = map(_Once.apply, gradients, saved)
        return None, *(grad * gradient for gradient in gradients), *[None] * half

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Tensor | None) -> Tensor:
        half = len(saved := ctx.saved_tensors) // 2
        both = zip(map(_Once.apply, saved[half:], saved), tangents, strict=False)
        return sum((gradient * tangent).sum() for gradient, tangent in both if tangent is not None)


def with_gradient(value: Tensor, tensors: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Return ``value``, a scalar, as a function of ``tensors`` with these gradients; differentiable once."""
    if not torch.compiler.is_compiling():
        return _WithGradient.apply(value, *tensors, *gradients)
    # torch.compile cannot trace that, but it can trace the value plus zeros with these gradients. The power
    # has the gradient 0 and then an infinite one, because a second derivative would be wrong in silence.
    zeros = [x - x.detach() for x in tensors]
    return value + sum((z * g + z**1.5).sum() for z, g in zip(zeros, gradients, strict=True))


def squared_covariances(u: Tensor, here: Tensor | None = None) -> Tensor:
    """Return the sum over feature dimensions m != n of Cov_mn^2 of unit vectors (B, D); 0 if B < 2.

    Rows that are not ``here`` (B,) must be zero.
    """
    if (size := u.shape[0]) < 2:
        return (0.0 * u).sum() + 0.0  # keeps the graph, so that backward() works on any batch
    if here is None:
        centered = u - u.mean(0)
    else:
        size = here.sum().clamp(min=2)  # one sample alone has a covariance of 0 anyway
        centered = (u - u.sum(0) / here.sum().clamp(min=1)) * here[:, None]
    covariance = centered.T @ centered / (size - 1)
    return covariance.square().sum() - covariance.diagonal().square().sum()


def dispersion_of_units(
    u: Tensor, temperature: float, form: str, chunk_size: int | None, here: Tensor | None = None
) -> Tensor:
    """Return `dispersion` of unit vectors (B, D) of the samples ``here`` (B,), None for all."""
    if form == "covariance":
        return squared_covariances(u, here)
    scale = scale_of(temperature, form)
    # A graph and forward mode differentiate it as it stands; the name of their level is not public.
    if torch.compiler.is_compiling() or here is not None or forward_ad._current_level >= 0:
        return mean_over_pairs(u, scale, chunk_size, here)[0]
    return _PairMean.apply(u, scale, chunk_size)[0]


def dispersions_and_gradients(units: Embeddings, mask: Embeddings, sums: Tensor, *how: Any) -> tuple:
    """Return `dispersion` of each modality's unit vectors (B, D_m) with its gradient, and total ``sums``.

    ``how`` is temperature, form, chunk_size and group. The totals are over processes, in the same message.
    """
    temperature, form, chunk_size, group = how
    rows, here = inputs.selected(units, mask)
    own, scale, count = {m: slice(None) for m in rows}, scale_of(temperature, form), 1
    if group is not None:
        count = len(group.sizes)
        rows, own = distributed.gather_rows(rows, group._replace(sizes=None) if mask else group)
    if form == "covariance":
        sums = distributed.total(sums, group)
        found = {m: torch.func.grad_and_value(squared_covariances)(u, here.get(m)) for m, u in rows.items()}
        found = {m: (value, count * gradient[own[m]]) for m, (gradient, value) in found.items()}
    elif group is None:
        found = {m: mean_over_pairs(u, scale, chunk_size, here.get(m)) for m, u in rows.items()}
    else:
        found = {m: _pair_sum(u, own[m].start, own[m].stop, scale, chunk_size) for m, u in rows.items()}
        values = torch.stack([value for value, _ in found.values()])
        everyone = distributed.stacked(torch.cat([values, sums.flatten()]), group)
        values, sums = everyone[:, : len(found)].detach(), everyone[:, len(found) :].sum(0).view_as(sums)
        totals = values.sum(0) if scale is None else values.logsumexp(0)
        for (m, (value, gradient)), total in zip(found.items(), totals.unbind(), strict=True):
            share = count if scale is None else count * (value - total).exp()
            if len(rows[m]) > 1:
                found[m] = _means(total.to(value), gradient.mul_(share), len(rows[m]), scale)
            else:
                found[m] = torch.zeros_like(value), torch.zeros_like(gradient)
    used = {} if here else mask
    return {m: (x, inputs.among_all(g, units[m], m, used)) for m, (x, g) in found.items()}, sums


def dispersions_of_units(units: Embeddings, mask: Embeddings, sums: Tensor, *how: Any) -> tuple[dict, Tensor]:
    """Return what `dispersions_and_gradients` does, without gradients: it is differentiable.

    In a group, dispersion is differentiable once.
    """
    if how[-1] is None:
        rows, here = inputs.selected(units, mask)
        return {m: dispersion_of_units(u, *how[:-1], here.get(m)) for m, u in rows.items()}, sums
    found, sums = dispersions_and_gradients({m: u.detach() for m, u in units.items()}, mask, sums, *how)
    return {m: with_gradient(value, [units[m]], [gradient]) for m, (value, gradient) in found.items()}, sums


def band(a: Tensor, b: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return a - b (B, D) of unit vectors, its lengths (B,), and what these exceed the radius by (B,)."""
    difference = a - b
    distance = torch.linalg.vector_norm(difference, dim=1)  # gradient 0, not NaN, where a = b
    return difference, distance, (distance - radius).relu()


def anchoring_sums(units: Embeddings, mask: Embeddings, radius: float, power: float) -> Tensor:
    """Return three sums over the samples for each pair of modalities (3, P), from unit vectors (B, D).

    These are the sum of excess^power, the number of samples outside the band, and the number of all.
    """
    sums = []
    for a, b in combinations(units, 2):
        excess, both = band(units[a], units[b], radius)[2], present_in_both(a, b, mask)
        here = torch.ones_like(excess) if both is None else both.to(excess)
        sums.append(torch.stack([excess.pow(power) * here, (excess > 0) * here, here]).sum(-1))
    return torch.stack(sums, 1)


def anchoring_of_units(units: Embeddings, mask: Embeddings, radius: float, power: float) -> Tensor:
    """Return `anchoring` of the unit vectors (B, D) of two modalities."""
    total, _, count = anchoring_sums(units, mask, radius, power)[:, 0]
    return total / count.clamp(min=1.0)


def slopes(excess: Tensor, power: float) -> Tensor:
    """Return the derivative of excess^power; it is 0 without excess."""
    return excess.sign() if power == 1 else power * excess.pow(power - 1)


def anchoring_gradients(reg: nn.Module, units: Embeddings, mask: Embeddings, counts: Tensor) -> Tensor:
    """Return the gradient at the unit vectors (M, B, D) of anchoring's mean over pairs of modalities.

    Each pair's part is divided by its number of samples, ``counts`` (P,).
    """
    gradients, couples = {m: torch.zeros_like(u) for m, u in units.items()}, list(combinations(units, 2))
    for (a, b), count in zip(couples, counts.unbind(), strict=True):
        difference, distance, excess = band(units[a], units[b], reg.radius)
        slope = slopes(excess, reg.power) / distance.clamp_min(LEAST) / count
        if (both := present_in_both(a, b, mask)) is not None:
            slope = slope * both
        pull = slope[:, None] * difference / len(couples)
        gradients[a], gradients[b] = gradients[a] + pull, gradients[b] - pull
    return torch.stack(list(gradients.values()))


def min_norm_weight(gradients: Tensor, group: Group = None) -> Tensor:
    """Return the alpha in [0, 1] for which alpha g_0 + (1 - alpha) g_1 is shortest; gradients (..., 2, N).

    It is 1 if g_0 is zero, 0 if g_1 is, and 1/2 if they are equal, also two zeros. The closed form for two
    tasks of Sener & Koltun (arXiv 1810.04650) is this project's reading of the paper's Eq. (8).
    """
    products = distributed.total(gradients @ gradients.mT, group)
    first, cross, second = products[..., 0, 0], products[..., 0, 1], products[..., 1, 1]
    apart = first + second - 2 * cross
    equal = apart <= 16 * torch.finfo(gradients.dtype).eps * (first + second)
    return torch.where(equal, 0.5, ((second - cross) / apart).clamp(0.0, 1.0))


def balanced(reg: nn.Module, units: Embeddings, *given: Any) -> tuple[RegularizerOutput, Tensor]:
    """Return the result for balance="pareto", and its total's gradient (M, B, D) at the unit vectors.

    The total itself has none. ``given`` is mask, embeddings, parameters and group.
    """
    detached, (mask, z, parameters, group) = {m: u.detach() for m, u in units.items()}, given
    sums, how = anchoring_sums(detached, mask, reg.radius, reg.power), (reg.form, reg.chunk_size, group)
    found, sums = dispersions_and_gradients(detached, mask, sums, reg.temperature, *how)
    anchorings, active = reg.anchorings(units, sums)
    counts = sums[2].clamp(min=1.0) / (1 if group is None else len(group.sizes))
    agree = anchoring_gradients(reg, detached, mask, counts)
    share = 1 / len(units) if reg.reduction == "mean" else 1.0
    both = torch.stack([agree, share * torch.stack([gradient for _, gradient in found.values()])], 1)
    weights = shortest(z, units, both, parameters, group)
    gradients = reg.strength * torch.lerp(both[:, 1], both[:, 0], weights[:, None, None])
    alpha, dispersions = dict(zip(units, weights, strict=True)), {m: value for m, (value, _) in found.items()}
    spreading = sum((1 - alpha[m]) * value for m, value in dispersions.items())
    agreeing = weights.mean() * sum(anchorings.values()) / len(anchorings)
    total = reg.strength * (agreeing + share * spreading)
    return RegularizerOutput(total, dispersions, anchorings, active, alpha), gradients


def shortest(z: Embeddings, units: Embeddings, both: Tensor, given: Parameters, group: Group) -> Tensor:
    """Return `min_norm_weight` (M,) of two gradients (M, 2, B, D) at the unit vectors of M modalities.

    They are compared at the embeddings, or at the parameters of the encoders if given.
    """
    weights = []
    for (m, u), gradients in zip(units.items(), both, strict=True):
        at = partial(at_parameters, given[m]) if given else partial(at_embeddings, z[m])
        weights.append(min_norm_weight(at(u, gradients, group), None if given else group))
    return torch.stack(weights)


def at_embeddings(z: Tensor, u: Tensor, gradients: Tensor, group: Group = None) -> Tensor:
    """Return gradients (K, B, D) at u = z / ||z|| as gradients (K, B D) at z, up to a common factor.

    The part along u is dropped, the rest is divided by the length. The factor keeps the squares of the result
    in range for embeddings of any length.
    """
    inverse = (1 / (z.detach() * u).sum(1)).nan_to_num(0.0, 0.0)  # 0 for absent and for zero vectors
    relative = inverse / distributed.total(inverse.sum(), group).clamp_min(torch.finfo(u.dtype).tiny)
    along = (gradients * u).sum(2, keepdim=True)
    return (relative[:, None] * (gradients - along * u)).flatten(1)


def at_parameters(parameters: Iterable[Tensor], u: Tensor, gradients: Tensor, group: Group = None) -> Tensor:
    """Return gradients (K, B, D) at u as gradients (K, P) at an encoder's P parameters, means over processes.

    Fixed parameters and those that do not reach u are left out; if none is left, the gradients are zero.
    Raises ``ValueError`` for sharded ones.
    """
    trained = [p for p in parameters if p.requires_grad]
    if any(hasattr(p, "placements") for p in trained):  # as FSDP does; the gradient at u would miss them
        raise ValueError("parameters are sharded: compare gradients at='embeddings' instead.")
    if not (trained and u.requires_grad):
        return gradients.new_zeros(len(gradients), 1)
    rows = []
    for gradient in gradients:
        # The gradient passes the encoder with length 1, so that half precision keeps it.
        size = gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
        back = torch.autograd.grad(u, trained, gradient / size, retain_graph=True, allow_unused=True)
        reached = [g.to(u.dtype).flatten() for g in back if g is not None]
        rows.append(size * torch.cat([gradient.new_zeros(1), *reached]))  # the zero is for an empty list
    distributed.average(rows, group)
    return torch.stack(rows)


def _pair_sum(
    u: Tensor, start: int, stop: int, scale: float | None, chunk_size: int | None, here: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return log sum exp(-d_ij^2 / scale) or sum max(0, 1 - d_ij^2)^2, over i != j, start <= i < stop.

    The second result is the gradient at these u_i. With w_ij = d term / d d_ij^2, which is symmetric, it is
    4 sum_j w_ij (u_i - u_j): half of it comes from the pairs (j, i).
    """
    if start == stop:
        return u.new_full((), 0.0 if scale is None else -math.inf), u[:0].clone()
    squares = u.square().sum(1)  # differ from 1 for zero vectors only
    if chunk_size is None:
        return _block(u, squares, start, stop, scale, here)
    starts, gradient, values = range(start, stop, chunk_size), torch.empty_like(u[start:stop]), []
    # Where autograd follows, in a compiled graph, it must not keep the blocks; an export has no checkpoints.
    compiled = torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting()
    block = partial(checkpoint, _block, use_reentrant=False) if compiled else _block
    for first in starts:
        last = min(first + chunk_size, stop)
        value, gradient[first - start : last - start] = block(u, squares, first, last, scale, here)
        values.append(value)
    values = torch.stack(values)
    if scale is None:
        return values.sum(), gradient
    log_sum = values.logsumexp(0)
    for first, share in zip(starts, (values - log_sum).exp(), strict=True):
        gradient[first - start : first - start + chunk_size] *= share
    return log_sum, gradient


def _means(sums: Tensor, gradient: Tensor, batch: int | Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """Return means over pairs i != j, or their logarithms if there is a scale, and gradients."""
    count = batch * (batch - 1)
    if torch.compiler.is_compiling() or torch.is_tensor(count):  # math.log would make it a constant
        count = (sums.new_zeros(()) + count).clamp(min=1)  # 1 stands for no pair, which a mask can leave
        if scale is None:
            return sums / count, gradient / count
        return torch.where(count > 1, sums - count.log(), 0.0), gradient * (count > 1)
    if scale is None:
        return sums / count, gradient.mul_(1 / count)
    return sums - math.log(count), gradient


def _block(
    u: Tensor, squares: Tensor, start: int, stop: int, scale: float | None, here: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the sum over pairs of u (N, D) with start <= first index < stop, and the gradient at these."""
    rows = u[start:stop]
    distance = (squares[start:stop, None] + squares).addmm_(rows, u.T, alpha=-2)
    distance.clamp_(min=0.0).diagonal(start).fill_(math.inf)  # leaves out i = i: exp and hinge give 0
    if here is not None:  # far from all others, but finite, as there may be no pair
        distance.masked_fill_(~(here[start:stop, None] & here), 8 + 1e4 * (scale or 0.0))
    if scale is None:
        weight = distance.neg_().add_(1.0).clamp_(min=0.0)
        value, slope = weight.square().sum(), -8.0
    else:
        weight = distance.div_(-scale)
        largest = weight.detach().amax()  # it cancels in the derivatives
        total = weight.sub_(largest).exp_().sum()
        value, slope = largest + total.log(), -4 / (scale * total)
    return value, torch.addmm(weight.sum(1, keepdim=True) * rows, weight, u, alpha=-1).mul_(slope)


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
