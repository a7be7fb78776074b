"""Checks of notebook 07, training paradigms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear

from .judging import Unsuitable, filled, first_problem, scalar, tensor, verdict


def broken_shares(answer: object) -> bool:
    """Exercise 1: shares of two modalities that break what they seem to say."""

    def cases(f: Any) -> Iterator[str]:
        generator = torch.Generator().manual_seed(7)
        for count, classes in ((60, 4), (40, 2), (103, 3), (50, 10)):
            label = torch.randint(classes, (count,), generator=generator)
            asked = f"with {count} samples and {classes} classes"
            for claim in ("ahead", "together", "finished"):
                given = filled(f(claim, label.clone(), classes))
                if not isinstance(given, tuple | list) or len(given) != 2:
                    raise Unsuitable(f"for {claim!r} return two matrices of logits, of a and of b.")
                a, b = (tensor(z, f"{m} of {claim!r}", 2).double() for z, m in zip(given, "ab", strict=True))
                if {a.shape, b.shape} != {(count, classes)}:
                    yield (
                        f"{asked}, {claim!r} has shapes {tuple(a.shape)} and {tuple(b.shape)}, not "
                        f"({count}, {classes}) twice."
                    )
                yield from (f"{asked}, {said}" for said in _kept(claim, a, b, label))

    return verdict(first_problem(answer, cases), "shares are loud, right or taught: three different things.")


def _kept(claim: str, a: torch.Tensor, b: torch.Tensor, label: torch.Tensor) -> Iterator[str]:
    """Yield why shares (B, C) do not break a claim. A tie of classes counts as wrong."""

    def right(z: torch.Tensor) -> float:
        others = z.clone().scatter_(1, label[:, None], -math.inf).amax(dim=1)
        return (z.gather(1, label[:, None])[:, 0] > others).double().mean().item()

    def score(z: torch.Tensor) -> float:
        return z.softmax(dim=1).gather(1, label[:, None]).sum().item()

    if claim == "ahead":
        if score(a) <= score(b):
            yield f"'ahead' has scores {score(a):.1f} of a and {score(b):.1f} of b: OGM must damp a."
        if right(b) - right(a) < 0.3:
            yield (
                f"'ahead' has a right in {100 * right(a):.0f} % and b in {100 * right(b):.0f} %: b must "
                "be 30 points ahead, and may be as unsure as it likes."
            )
    elif claim == "together":
        if min(right(a), right(b)) < 0.4:
            yield f"'together' has a modality that is right in {100 * min(right(a), right(b)):.0f} % alone."
        if right(a + b) > 0:
            yield (
                f"'together' has a fused prediction that is right in {100 * right(a + b):.0f} %: let the one "
                "that is wrong be surer."
            )
    else:
        loss = cross_entropy(a + b, label).item()
        if loss > 0.01:
            yield f"'finished' has a fused loss of {loss:.3f}: it must be below 0.01."
        if right(b) > 0:
            yield f"'finished' has b right in {100 * right(b):.0f} %: it must be right nowhere."


def dgl_loss(answer: object) -> bool:
    """Exercise 2: one loss whose gradients are DGL's, for a head W_a z_a + W_b z_b + bias."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"z_a": (6, 4), "z_b": (6, 4), "w_a": (3, 4), "w_b": (3, 4), "bias": (3,)}
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    label = torch.tensor([0, 1, 2, 0, 1, 2])

    def fused(z_a: Any, z_b: Any, w_a: Any, w_b: Any, bias: Any) -> torch.Tensor:
        return cross_entropy(linear(z_a, w_a) + linear(z_b, w_b) + bias, label)

    def own(z_a: Any, z_b: Any, w_a: Any, w_b: Any, bias: Any) -> torch.Tensor:
        return cross_entropy(linear(z_a, w_a, bias), label) + cross_entropy(linear(z_b, w_b, bias), label)

    def gradients(loss: Callable[..., torch.Tensor]) -> dict[str, torch.Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        value = scalar(loss(**leaves))
        if not value.requires_grad:
            return {}
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        return {name: g for name, g in zip(leaves, found, strict=True) if g is not None}

    def cases(f: Any) -> Iterator[str]:
        alpha = 2.0
        got = gradients(lambda **leaves: f(**leaves, label=label, alpha=alpha))
        of_fused, of_own = gradients(fused), gradients(own)
        encoders, head = ("z_a", "z_b"), ("w_a", "w_b", "bias")
        for name in encoders:
            if name not in got:
                yield f"no gradient reaches {name}: its encoder learns from its own cross-entropy."
            if torch.allclose(got[name], alpha * of_own[name] + of_fused[name], atol=1e-5):
                yield f"the fused loss still reaches {name}: detach the embeddings in the fused branch."
            if torch.allclose(got[name], of_own[name], atol=1e-5):
                yield f"alpha is missing: {name} must get alpha times the gradient of its own loss."
            if torch.allclose(got[name], of_fused[name], atol=1e-5):
                yield f"{name} gets the gradient of the fused loss, and should get only that of its own."
            if not torch.allclose(got[name], alpha * of_own[name], atol=1e-5):
                yield f"{name} must get alpha times the gradient of CE(W z + bias) of its modality alone."
        for name in head:
            if name not in got:
                yield f"no gradient reaches {name}: the head learns from the fused cross-entropy."
            if torch.allclose(got[name], of_fused[name] + alpha * of_own[name], atol=1e-5):
                yield f"the unimodal losses still reach {name}: detach the whole head in the unimodal branch."
            if torch.allclose(got[name], alpha * of_fused[name], atol=1e-5):
                yield f"alpha weighs the unimodal losses only, and {name} got it with the fused loss."
            if not torch.allclose(got[name], of_fused[name], atol=1e-5):
                yield f"{name} must get the gradient of the fused loss and no other."
        half = gradients(lambda **leaves: f(**leaves, label=label, alpha=0.5))
        wanted = {name: of_fused[name] if name in head else 0.5 * of_own[name] for name in half}
        if not half or not all(torch.allclose(half[name], wanted[name], atol=1e-5) for name in half):
            yield "right with alpha = 2 and wrong with alpha = 0.5: multiply the unimodal losses by alpha."

    return verdict(first_problem(answer, cases), "encoders and head each learn from their own loss.")


def shortest_mixture(answer: object) -> bool:
    """Exercise 3: weights for which the weighted sum of gradients is shortest."""

    def draw(count: int, width: int, seed: int, lengths: float = 1.0, common: float = 0.0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(count, width, generator=generator, dtype=torch.float64)
        rows = rows + common * torch.randn(width, generator=generator, dtype=torch.float64)
        return rows * lengths ** torch.arange(count)[:, None]

    def cases(f: Any) -> Iterator[str]:
        known = {
            "(3, 0) and (0, 1)": ([[3.0, 0], [0, 1]], [0.1, 0.9]),
            "(3, 0) and (-1, 1)": ([[3.0, 0], [-1, 1]], [5 / 17, 12 / 17]),
            "(1, 0) and (3, 0)": ([[1.0, 0], [3, 0]], [1.0, 0.0]),
            "(3, 0), (0, 1) and (6, 6)": ([[3.0, 0], [0, 1], [6, 6]], [0.1, 0.9, 0.0]),
        }
        for name, (rows, wanted) in known.items():
            found = _weights(f, torch.tensor(rows, dtype=torch.float64), name)
            if (found - torch.tensor(wanted, dtype=torch.float64)).abs().max() > 0.01:
                right, said = (", ".join(f"{w:.2f}" for w in weights) for weights in (wanted, found.tolist()))
                yield (
                    f"for {name} the weights are {right}, and yours are {said}: a longer gradient "
                    "gets less, and none gets less than 0."
                )
        hidden = [draw(4, 20, 0), draw(5, 12, 1, lengths=2.0), draw(6, 3, 2), draw(5, 8, 3, 1.5, common=2.0)]
        hidden += [draw(3, 2, 4, common=1.0), draw(8, 30, 5, 0.7, common=0.5), draw(3, 5, 6)[[0, 0, 1, 2]]]
        for rows in (*hidden, 0 * hidden[0]):
            name = f"{len(rows)} gradients of width {rows.shape[1]}"
            found = _weights(f, rows.clone(), name)
            mixed = found @ rows
            gap = (mixed @ mixed - (rows @ mixed).min()).item()
            if gap > 0.005 * rows.square().sum(dim=1).max().item():
                yield (
                    f"for {name} there is a shorter mixture: the inner product of one gradient with yours "
                    f"is {gap:.2g} below the square of its length, so more weight on it helps."
                )

    return verdict(first_problem(answer, cases), "shortest, with a certificate: no gradient is against it.")


def _weights(f: Any, rows: torch.Tensor, name: str) -> torch.Tensor:
    """Return an answer for gradients (M, D) as M weights that are not negative and sum to 1."""
    found = tensor(f(rows), f"the answer for {name}", 1).double()
    if len(found) != len(rows):
        raise Unsuitable(f"for {name} you returned {len(found)} numbers: give one weight for each gradient.")
    if found.min() < -1e-6:
        raise Unsuitable(f"for {name} a weight is {found.min().item():.3f}: none may be negative.")
    if abs(found.sum().item() - 1) > 1e-4:
        raise Unsuitable(f"for {name} your weights sum to {found.sum().item():.3f}: they must sum to 1.")
    return found
