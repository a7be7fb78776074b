"""Checks of notebook 01, when geometry goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .judging import filled, first_problem, number, tensor, verdict


def mean_cosine(answer: object) -> bool:
    """Exercise 1: the mean cosine over the pairs of different samples of one modality."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        value = number(f(torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -0.5]])))
        if abs(value) < 1e-5:
            yield "the four arms of a cross have mean cosine -1/3, not 0: leave out the pairs i = j."
        if abs(value + 1 / 3) > 1e-5:
            yield f"the four arms of a cross must give -0.333, and yours gives {value:.3f}: normalize first."
        value = number(f(torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.1, 0.0]])))
        if abs(value - 1) > 1e-5:
            yield f"three samples in one direction are fully collapsed, which is 1, and yours is {value:.3f}."
        z = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) + 0.5
        value, wanted = number(f(z)), geometry.mean_cosine(z)
        if abs(value - wanted) > 1e-4:
            yield f"20 random rows must give {wanted:.3f}, not {value:.3f}: take the mean over all pairs."

    return verdict(first_problem(answer, cases), "1 when collapsed, below 0 when spread, blind to length.")


def four_corners(answer: object) -> bool:
    """Exercise 2: paired embeddings that are, or are not, collapsed and drifted."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        for collapsed in (True, False):
            for drifted in (True, False):
                asked = f"with collapsed={collapsed} and drifted={drifted}"
                a, b = filled(f(collapsed, drifted))
                a, b = tensor(a, f"{asked} a", 2), tensor(b, f"{asked} b", 2)
                if a.shape != b.shape or len(a) < 10:
                    shapes = f"{tuple(a.shape)}, {tuple(b.shape)}"
                    yield f"{asked} the shapes are {shapes}: give (N, D) twice, N >= 10."
                for name, z in {"a": a, "b": b}.items():
                    crowding = number(geometry.mean_cosine(z))
                    if collapsed and crowding < 0.9:
                        yield f"{asked} the mean cosine of {name} is {crowding:.2f}: it must be above 0.9."
                    if not collapsed and abs(crowding) > 0.2:
                        yield f"{asked} the mean cosine of {name} is {crowding:.2f}: it must be near 0."
                drift = number(geometry.paired_drift(a, b))
                if drifted and drift < 1.5:
                    yield f"{asked} the paired drift is {drift:.2f}: it must be above 1.5."
                if not drifted and drift > 0.2:
                    yield f"{asked} the paired drift is {drift:.2f}: it must be below 0.2."

    return verdict(first_problem(answer, cases), "all four corners exist: neither failure implies the other.")
