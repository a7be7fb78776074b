"""What the regularizer, the controls and the diagnostics accept and return: checks and conversions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .records import is_number, plain

Embeddings = dict[str, Tensor]  # modality -> (B, D), or a mask (B,)
Mask = Embeddings | None
Given = Embeddings | Sequence[Tensor] | Tensor
Parameters = Mapping[str, Iterable[Tensor]]  # modality -> parameters of its encoder
FORMS = ("rbf", "cosine", "hinge", "covariance")
# Arguments of GeometryRegularizer that a balance does not use. "sum" is the default ``balance``.
UNUSED = {"pareto": ("dispersion_weight", "anchoring_weight"), "sum": ("balance", "strength", "at")}
Array = Tensor | ArrayLike
TINY = torch.finfo(torch.float64).tiny
SCALES = 1e-30, 1e30  # ends of a temperature: beyond them exponents overflow in float32
SMALLEST_SCALE = 1e-12  # an embedding up to this largest entry has no direction


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


def check_arguments(reg: nn.Module) -> None:
    """Raise ValueError unless the arguments of a GeometryRegularizer are in range and used by its balance."""
    check_number(0, **{x: getattr(reg, x) for x in ("dispersion_weight", "anchoring_weight", "strength")})
    check_dispersion_arguments(reg.temperature, reg.form, reg.chunk_size)
    check_anchoring_arguments(reg.radius, reg.power)
    check_choice(("sum", "pareto"), balance=reg.balance)
    check_choice(("embeddings", "parameters"), at=reg.at)
    check_choice((None, "mean", "sum"), reduction=reg.reduction)
    check_choice((False, True), gather=reg.gather)
    if reg.process_group is not None and not reg.gather:
        raise ValueError("process_group is for gather=True: set `gather`, or leave the group out.")
    for name in UNUSED[reg.balance]:
        if getattr(reg, name) != getattr(type(reg), name):
            raise ValueError(f"{name} is for balance={min({*UNUSED} - {reg.balance})!r}: leave it out.")


def check_number(least: float, most: float = math.inf, **arguments: float) -> None:
    """Raise ValueError unless all arguments are finite numbers from ``least`` to ``most``."""
    for name, value in arguments.items():
        if not is_number(number := plain(value)) or not least <= number <= most:
            end = f"a finite number >= {least}" if most == math.inf else f"in [{least}, {most}]"
            raise ValueError(f"{name} must be {end}, got {value}.")


def check_whole(least: int, most: float = math.inf, **arguments: int) -> None:
    """Raise ValueError unless all arguments are Python's integers from ``least`` to ``most``."""
    for name, value in arguments.items():
        if type(value) is not int or not least <= value <= most:
            ends = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
            raise ValueError(f"{name}={value!r}: give a whole number {ends}.")


def check_choice(known: Iterable, **arguments: Any) -> None:
    """Raise ValueError unless all arguments are among the known values."""
    for name, value in arguments.items():
        if value not in (known := list(known)):
            raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(map(str, known))}.")


def check_dispersion_arguments(temperature: float, form: str, chunk_size: int | None) -> None:
    """Raise ValueError unless the arguments of `dispersion` are in range."""
    check_choice(FORMS, form=form)
    check_number(*SCALES, temperature=temperature)
    if chunk_size is not None:
        check_whole(1, chunk_size=plain(chunk_size))


def check_anchoring_arguments(radius: float, power: float) -> None:
    """Raise ValueError unless the arguments of `anchoring` are in range."""
    check_number(0, 2, radius=radius)  # distances on the unit sphere
    check_number(1, power=power)


def named(embeddings: Given, others: tuple[Any, ...], **options: Any) -> tuple[Any, ...]:
    """Return embeddings by name, then the options; ``others`` are the positional arguments after the first.

    A sequence of tensors, and tensors one by one, get the names "0", "1", ... After a dict, the positional
    arguments are the options. An option of None becomes an empty dict.
    """
    if isinstance(embeddings, Mapping):
        if len(others) > len(options):
            raise TypeError(f"got {len(others) + 1} arguments, but a dict of embeddings and {list(options)}.")
        options |= zip(options, others, strict=False)
    elif not isinstance(embeddings, Iterable):
        raise TypeError(f"embeddings must be a dict or tensors, got {type(embeddings).__name__}.")
    else:
        given = (embeddings, *others) if torch.is_tensor(embeddings) else (*embeddings, *others)
        embeddings = {str(number): z for number, z in enumerate(given)}
    return embeddings, *({} if option is None else option for option in options.values())


def check_embeddings(embeddings: dict[str, Tensor], kind: str, equal_widths: bool = False) -> None:
    """Raise ValueError unless the embeddings are floating-point matrices of one batch size (and width)."""
    first, reference = next(iter(embeddings.items()))
    for name, z in embeddings.items():
        if not torch.is_tensor(z):
            raise ValueError(f"{kind} {name!r} must be a torch.Tensor, got {type(z).__name__}.")
        whole = not hasattr(z, "placements") or all(p.is_replicate() for p in z.placements)  # a DTensor
        if z.layout is not torch.strided or z.is_nested or not whole:
            raise ValueError(f"{kind} {name!r} must be dense and whole, got a sparse, nested or sharded one.")
        if z.ndim != 2 or z.shape[1] == 0:
            raise ValueError(f"{kind} {name!r} must have shape (batch, features), got {tuple(z.shape)}.")
        if not z.is_floating_point() or z.element_size() < 2:
            raise ValueError(f"{kind} {name!r} must be floating-point of 16 bits or more, got {z.dtype}.")
        if z.shape[0] != reference.shape[0]:  # len would make a constant of the batch size in an export
            raise ValueError(f"{kind} {name!r} has batch size {len(z)}, but {first!r} has {len(reference)}.")
        if equal_widths and z.shape[1] != reference.shape[1]:
            raise ValueError(
                f"{kind} {name!r} has width {z.shape[1]}, but {first!r} has {reference.shape[1]}: anchoring "
                "and comparing need equal widths, so project to one width or set anchoring_weight to 0."
            )


def check_batch(embeddings: Embeddings, mask: Embeddings, equal_widths: bool = False) -> None:
    """Raise ValueError unless there are two modalities that fit, and a boolean mask (B,) for some of them."""
    if len(embeddings) < 2:
        raise ValueError(f"embeddings must hold at least 2 modalities, got {list(embeddings)}.")
    check_embeddings(embeddings, "modality", equal_widths)
    if not isinstance(mask, Mapping):
        raise ValueError(f"mask must be a dict, modality -> boolean (B,), got {type(mask).__name__}.")
    for name, here in mask.items():
        if name not in embeddings:
            raise ValueError(f"mask names modality {name!r}, but the embeddings are {list(embeddings)}.")
        size, tensor = embeddings[name].shape[:1], torch.is_tensor(here)
        if not tensor or here.dtype != torch.bool or here.shape != size:
            got = f"{here.dtype} of shape {tuple(here.shape)}" if tensor else type(here).__name__
            raise ValueError(f"mask of {name!r} must be torch.bool of shape {tuple(size)}, got {got}.")


def check_given(reg: nn.Module, mask: Embeddings, embeddings: Embeddings, parameters: Iterable[str]) -> None:
    """Raise ValueError unless the arguments of a call fit each other and the GeometryRegularizer."""
    check_batch(embeddings, mask, reg.balance == "pareto" or reg.anchoring_weight > 0)
    wanted = set(embeddings) if reg.at == "parameters" else set()
    if set(parameters) != wanted:
        raise ValueError(f"at={reg.at!r} takes the parameters of {sorted(wanted)}, got {sorted(parameters)}.")


def units_and_kinds(reg: nn.Module, *arguments: Any, **options: Any) -> tuple[tuple, dict, int]:
    """Return a call's unit vectors and arguments, what must be equal in all processes, and the batch size."""
    embeddings, mask, parameters = named(*arguments, **options)
    check_given(reg, mask, embeddings, parameters)
    kinds = {m: (*z.shape[1:], z.dtype, z.device.type) for m, z in embeddings.items()}
    kinds |= {f"mask of {m}": "given" for m in mask}
    kinds |= {f"argument {name}": value for name, value in reg.hyperparameters().items()}
    with full_precision(first := next(iter(embeddings.values()))):
        units = unit_vectors(embeddings, "modality", mask)
    return (units, mask, embeddings, parameters), kinds, len(first)


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


def full_precision(z: Tensor) -> AbstractContextManager:
    """Return a context without autocast, which the meta device does not know."""
    on = not z.is_meta and torch.is_autocast_enabled(z.device.type)
    return torch.autocast(z.device.type, enabled=False) if on else nullcontext()


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


def present(x: Tensor, modality: str, mask: Embeddings) -> Tensor:
    """Return the rows of x (B, ...) of the samples with this modality."""
    return x[mask[modality]] if modality in mask else x


def selected(units: Embeddings, mask: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Return the rows of the present samples and no mask, or all rows and the mask.

    A graph, a transform of torch.func and tensors without data cannot select, for the number is not known.
    """
    unknown = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if unknown or any(here.is_meta or type(here) is not Tensor for here in mask.values()):
        return units, mask
    return {m: present(u, m, mask) for m, u in units.items()}, {}


def among_all(rows: Tensor, x: Tensor, modality: str, mask: Embeddings) -> Tensor:
    """Return the rows of the present samples in the shape of x (B, ...), with zeros for the others."""
    return torch.zeros_like(x).index_put((mask[modality],), rows) if modality in mask else rows


def present_in_both(first: str, second: str, mask: Embeddings) -> Tensor | None:
    """Return which samples have both modalities, boolean (B,), or None for all."""
    masks = [mask[m] for m in (first, second) if m in mask]
    return torch.stack(masks).all(0) if masks else None


def float64(x: Tensor) -> Tensor:
    """Return x in float64, on the CPU if its device lacks float64, as Apple's GPUs do."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def class_index(labels: Array, count: int, name: str = "labels") -> tuple[np.ndarray, Tensor]:
    """Return the sorted classes and the class (N,) of each sample, for labels of any type."""
    missing = np.ma.count_masked(labels) if np.ma.is_masked(labels) else 0
    labels = labels.detach().cpu().numpy() if torch.is_tensor(labels) else np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name} has shape {labels.shape}; pass one label for each of {count} samples.")
    if missing := missing + int((labels != labels).sum()):  # only NaN differs from itself
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
