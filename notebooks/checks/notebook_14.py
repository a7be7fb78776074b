"""Checks of notebook 14, XRF55."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
from torch import nn

from .judging import first_problem, number, of_kind, verdict


def subset_shares(answer: object) -> bool:
    """Exercise 1: how often modality dropout trains each subset of the modalities."""

    def shares(f: Any, keep: dict[str, float]) -> dict[frozenset, float]:
        found = of_kind(f(dict(keep)), dict, "a dict whose keys are frozensets of names")
        return {subset: number(share) for subset, share in found.items()}

    def known(keep: dict[str, float]) -> dict[frozenset, float]:
        subsets = [frozenset(s) for size in range(1, len(keep) + 1) for s in combinations(keep, size)]
        drawn = {s: math.prod(p if m in s else 1 - p for m, p in keep.items()) for s in subsets}
        return {s: share / sum(drawn.values()) for s, share in drawn.items()}

    def cases(f: Any) -> Iterator[str]:
        found = shares(f, {"a": 0.5, "b": 0.5})
        if not all(isinstance(subset, frozenset) for subset in found):
            yield "return a dict whose keys are frozensets of names."
        if frozenset() in found:
            yield "the empty subset is drawn again, so it has no share."
        if len(found) != 3:
            yield f"two modalities have 3 subsets that are not empty, and yours are {len(found)}."
        if abs(sum(found.values()) - 0.75) < 1e-6:
            yield "the shares add up to 3/4: the empty draws are drawn again, so divide by what is left."
        if abs(sum(found.values()) - 1) > 1e-6:
            yield f"the shares add up to {sum(found.values()):.2f}; every batch has exactly one subset."
        if any(abs(share - 1 / 3) > 1e-6 for share in found.values()):
            yield "two coins: the three outcomes with a head are equally likely."
        found = shares(f, {"a": 0.9, "b": 0.2})
        if abs(found[frozenset("a")] - 0.9 / 0.92) < 1e-6:
            yield "'a' alone means that 'b' was dropped as well: multiply by 1 - 0.2."
        if (
            abs(found[frozenset("a")] - 0.72 / 0.92) > 1e-6
            or abs(found[frozenset("ab")] - 0.18 / 0.92) > 1e-6
        ):
            yield "with 0.9 and 0.2: 0.9 x 0.8 / 0.92 for the first alone and 0.9 x 0.2 / 0.92 for both."
        found = shares(f, {"a": 1.0, "b": 0.5, "c": 0.5})
        if len(found) != 7 or abs(sum(found.values()) - 1) > 1e-6:
            yield "three modalities have seven subsets, of which some may have the share 0."
        for keep in ({"a": 1.0, "b": 0.5, "c": 0.5}, {"x": 0.5, "y": 0.9, "z": 0.6}):
            found, wanted = shares(f, keep), known(keep)
            for subset, share in wanted.items():
                if subset not in found or abs(found[subset] - share) > 1e-6:
                    names = " with ".join(sorted(subset))
                    yield f"if {keep} are kept, {names} alone must have the share {share:.3f}."

    return verdict(first_problem(answer, cases), "radar alone: 0.5 x 0.1 x 0.4 / 0.98, 2 of 100 batches.")


def unused_children(answer: object) -> bool:
    """Exercise 2: children of a network that its forward pass does not run."""

    class Network(nn.Module):
        def __init__(self, run: str) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ReLU()
            self.run = run

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for name in self.run:
                x = getattr(self, name)(x)
            return x

    def cases(f: Any) -> Iterator[str]:
        x = torch.ones(3, 2)
        for run, unused in [
            ("ac", {"b"}),
            ("abc", set()),
            ("a", {"b", "c"}),
            ("aa", {"b", "c"}),
            ("cb", {"a"}),
        ]:
            network = Network(run)
            before = {name: value.clone() for name, value in network.state_dict().items()}
            found = of_kind(f(network, x), (set, frozenset), "a set of names")
            if found == {"a", "b", "c"} - unused and found != unused:
                yield "these are the children that run; return the others."
            if any("." in str(name) for name in found):
                yield "only direct children: 'b.0' is a child of 'b'."
            if found != unused:
                yield f"if forward runs {', '.join(run)}, the unused are {sorted(unused) or 'none'}."
            if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
                yield "a hook was left behind: keep the handles, and call remove() on each."
            if any(p.grad is not None for p in network.parameters()):
                yield "the network has gradients that it did not have: no backward pass is needed."
            if not all(module.training for module in network.modules()):
                yield "the network was in training mode, and now it is not: leave it as it was."
            if any(not value.equal(before.get(name)) for name, value in network.state_dict().items()):
                yield "the network's weights have changed: leave it as it was."

    return verdict(first_problem(answer, cases), "X-Fi's WiFi encoder would have named its spare layers.")
