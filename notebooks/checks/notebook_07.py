"""Checks of notebook 07, training paradigms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear

from .judging import first_problem, number, scalar, verdict


def ogm_coefficient(answer: object) -> bool:
    """Exercise 1: k of one modality from its score, the other's score, and alpha."""

    def cases(f: Any) -> Iterator[str]:
        def k(score: float, other: float, alpha: float = 0.8) -> float:
            return number(f(score, other, alpha))

        ahead, wanted = k(3.0, 2.0), 1 - math.tanh(0.8 * 1.5)
        if abs(ahead - 1) < 1e-6 and k(2.0, 3.0) < 1:
            yield "you slowed down the modality that is behind: compare the own score with the other one."
        if abs(ahead - math.tanh(0.8 * 1.5)) < 1e-6:
            yield "tanh grows with the lead and a coefficient must fall: take 1 - tanh."
        if abs(ahead - (1 - math.tanh(0.8 * 0.5))) < 1e-6:
            yield "you took the lead rho - 1; Eq. 10 has rho itself, so k jumps down as soon as rho passes 1."
        if abs(ahead - (1 - math.tanh(0.8 * 2 / 3))) < 1e-6:
            yield "rho is the own score divided by the other's, and you have it the other way round."
        if abs(ahead - wanted) > 1e-6:
            yield f"scores 3 and 2 with alpha 0.8 must give {wanted:.3f}, not {ahead:.3f}."
        if abs(k(2.0, 3.0) - 1) > 1e-6:
            yield f"the modality behind must keep its whole gradient, k = 1, and yours is {k(2.0, 3.0):.3f}."
        if abs(k(2.0, 2.0) - 1) > 1e-6:
            yield "equal scores: nobody is ahead, and both must have k = 1."
        if abs(k(3.0, 2.0, 0.0) - 1) > 1e-6:
            yield f"alpha = 0 switches the method off, k = 1, and yours is {k(3.0, 2.0, 0.0):.3f}."
        for score, other, alpha in ((5.0, 4.0, 0.3), (9.0, 2.0, 0.1), (0.6, 0.5, 1.0)):
            value, wanted = k(score, other, alpha), 1 - math.tanh(alpha * score / other)
            if abs(value - wanted) > 1e-6:
                yield f"scores {score}, {other} and alpha {alpha} must give {wanted:.3f}, not {value:.3f}."

    return verdict(first_problem(answer, cases), "who is ahead is slowed down, and only then.")


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


def min_norm_weight(answer: object) -> bool:
    """Exercise 3: w in [0, 1] for which w g1 + (1 - w) g2 is shortest."""

    def cases(f: Any) -> Iterator[str]:
        def weight(first: list[float], second: list[float], if_not_finite: str = "") -> float:
            return number(f(torch.tensor(first), torch.tensor(second)), if_not_finite=if_not_finite)

        value = weight([3.0, 0.0], [0.0, 1.0])
        if abs(value - 0.9) < 1e-5:
            yield "that is the weight of g2: the longer gradient gets the smaller weight."
        if abs(value - 0.25) < 1e-5:
            yield "you used the lengths; the formula has inner products, the squares of lengths."
        if abs(value - 0.1) > 1e-5:
            yield f"for (3, 0) and (0, 1) it is 0.1, and yours is {value:.3f}: set the derivative to zero."
        value = weight([3.0, 0.0], [-1.0, 1.0])
        if abs(value - 5 / 17) > 1e-5:
            yield f"for (3, 0) and (-1, 1) it is 0.294, not {value:.3f}: mind the inner product of the two."
        value = weight([-1.0, 2.0], [1.0, 1.0])
        if abs(value - 1 / 5) > 1e-5:
            yield f"for (-1, 2) and (1, 1) it is 0.2, not {value:.3f}: a gradient may have negative entries."
        value = weight([1.0, 0.0], [3.0, 0.0])
        if abs(value - 1) > 1e-5:
            yield f"g2 = 3 g1: the shortest point between them is g1, w = 1, and yours is {value:.3f}: clip."
        value = weight([3.0, 0.0], [1.0, 0.0])
        if abs(value) > 1e-5:
            yield f"g1 = 3 g2: the shortest point between them is g2, w = 0, and yours is {value:.3f}: clip."
        undefined = "equal gradients divide 0 by 0: if they do not differ, return any weight in [0, 1]."
        value = weight([1.0, 2.0], [1.0, 2.0], undefined)
        if not 0 <= value <= 1:
            yield f"equal gradients gave {value}: if they do not differ, any weight in [0, 1] will do."

    return verdict(first_problem(answer, cases), "the shortest point between two gradients.")
