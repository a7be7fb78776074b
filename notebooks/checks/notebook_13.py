"""Checks of notebook 13, Flickr30k and COCO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from .judging import Open, first_problem, number, verdict


def best_rank(answer: object) -> bool:
    """Exercise 1: the rank of the best of an image's own captions, ties averaged."""

    def rank(f: Any, cosines: Sequence[float], own: Sequence[bool]) -> float:
        return number(f(torch.tensor(cosines), torch.tensor(own)))

    def cases(f: Any) -> Iterator[str]:
        value = rank(f, [0.1, 0.9, 0.5, 0.3], [True, False, True, False])
        if value == 4:
            yield "that is the rank of its worst caption: one of its own among the first K is enough."
        if value != 2:
            yield f"of .1, .9, .5, .3 its own are .1 and .5, and one other is closer: rank 2, not {value:g}."
        value = rank(f, [0.9, 0.8, 0.7, 0.2], [True, True, True, False])
        if value != 1:
            yield f"its own captions do not stand in each other's way: rank 1, not {value:g}."
        value = rank(f, [0.5] * 5, [False, True, False, False, False])
        if value == 1:
            yield "five equal cosines, one its own: a rank of 1 would make a collapsed model perfect."
        if value != 3:
            yield f"five equal cosines, one its own: half of the other four come first, so 3, not {value:g}."
        value = rank(f, [0.5] * 6, [True, True, False, False, False, False])
        if value == 3:
            yield "two of its own tie with four others: the first of the two comes after 4 / 3 of them."
        if abs(value - 7 / 3) > 1e-5:
            yield f"two of its own tie with four others: 1 + 4 / 3 is 2.33, not {value:g}."
        value = rank(f, [0.5, 0.5, 0.1, 0.9], [True, False, True, False])
        if value != 2.5:
            yield f"one is closer, and one other ties with the better of its own: 2.5, not {value:g}."
        value = rank(f, [0.2, 0.7, 0.7, 0.9, 0.4, 0.7, 0.8], [True, True, False, False, True, False, False])
        if value != 4:
            yield f"two are closer, and two others tie with the best of its own: 2 + 1 + 1, not {value:g}."
        value = rank(f, [-0.9, -0.2, 0.1, -0.5], [True, False, False, True])
        if value != 3:
            yield f"of -.9, -.2, .1, -.5 its own are -.9 and -.5, and two are closer: rank 3, not {value:g}."

    return verdict(first_problem(answer, cases), "nothing is found by a model that sees nothing.")


def gradient_in_parts(answer: object) -> bool:
    """Exercise 2: the gradient of a loss over the whole batch, one part at a time."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 4, 2)]
    weights = torch.randn(2, 3, generator=generator, dtype=torch.float64)

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.largest = torch.nn.Parameter(weights.clone()), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                self.largest = max(self.largest, len(x))
            return torch.tanh(x @ self.weight.T)

    def loss(z: torch.Tensor) -> torch.Tensor:
        u = F.normalize(z, dim=1)
        return torch.logsumexp((5 * u @ u.T).flatten(), dim=0)

    def gradient_of(embedded: Sequence[torch.Tensor]) -> torch.Tensor:
        encoder = Encoder()
        sum(loss(encoder(x)) for x in embedded).backward()
        return encoder.weight.grad

    def cases(f: Any) -> Iterator[str]:
        encoder, wanted = Encoder(), gradient_of([torch.cat(parts)])
        f(encoder, parts, loss)
        found = encoder.weight.grad
        if found is None:
            if encoder.largest == 0:
                raise Open
            yield "the encoder's parameters have no .grad: call backward on what the encoder gave."
        if torch.allclose(found, gradient_of(parts)) or torch.allclose(3 * found, gradient_of(parts)):
            yield "that adds up losses of single parts; pairs of samples in different parts have to meet too."
        if encoder.largest > 4:
            yield f"{encoder.largest} samples were embedded with gradients at once; a part has 4 at most."
        if not found.any():
            yield "the gradient is zero: give each part the rows of z.grad that are its own."
        if not torch.allclose(found, wanted):
            yield "that is not the whole batch's gradient: each part gets its own rows of z.grad."

    return verdict(first_problem(answer, cases), "the whole batch's gradient, with one part's activations.")
