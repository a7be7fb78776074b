"""Checks of notebook 02, measuring geometry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .judging import OPEN, filled, first_problem, number, of_kind, tensor, verdict


def effective_rank(answer: object) -> bool:
    """Exercise 1: effective rank from singular values, rows normalized, then centered."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        def rank(rows: list) -> float:
            undefined = "it is not finite if a singular value is 0: there 0 log 0 stands for 0."
            return number(f(torch.tensor(rows)), if_not_finite=undefined)

        value = rank([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]])
        if abs(value - math.log(2)) < 1e-4:
            yield "two equal directions give 0.693 = log 2, the entropy: take its exponential."
        if abs(value - 2) > 1e-4:
            yield f"the four arms of a flat cross use 2 directions equally, and yours gives {value:.3f}."
        value = rank([[5.0, 0], [-5.0, 0], [0, 1.0], [0, -1.0]])
        if abs(value - 2) > 1e-4:
            yield f"longer rows changed the cross from 2 to {value:.3f}: normalize each row first."
        value = rank([[0.6, 0, 0.8], [-0.6, 0, 0.8], [0, 0.6, 0.8], [0, -0.6, 0.8]])
        if abs(value - 2) > 1e-4:
            yield f"the cross lifted by 0.8 must still give 2, not {value:.3f}: subtract the mean row."
        value = rank([[1.0, 0], [-1.0, 0]] * 3 + [[0, 1.0], [0, -1.0]])
        if abs(value - 1.755) < 2e-3:
            yield "you took shares of the eigenvalues, the squares of the singular values: take sigma."
        z = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)) + 1
        value, wanted = number(f(z)), geometry.effective_rank(z)
        if abs(value - wanted) > 1e-3:
            yield f"30 off-center rows must give {wanted:.3f}, not {value:.3f}: normalize first, then center."

    return verdict(first_problem(answer, cases), "it counts directions, blind to length and position.")


def fool(answer: object) -> bool:
    """Exercise 2: clouds that one diagnostic calls healthy and another one does not."""

    def cases(f: Any) -> Iterator[str]:
        from geomreg_mini import geometry

        def clouds(trick: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            a, b, labels = filled(f(trick))
            a, b = tensor(a, f"a of {trick!r}", 2), tensor(b, f"b of {trick!r}", 2)
            return a, b, tensor(labels, f"labels of {trick!r}", 1)

        def measured(name: str, *arguments: torch.Tensor) -> float:
            return number(getattr(geometry, name)(*arguments))

        for trick in ("no meaning", "no spread", "no agreement"):
            if (rows := len(clouds(trick)[0])) < 100:
                yield f"{trick!r} has {rows} rows: make at least 100."
        a, b, labels = clouds("no meaning")
        spread = max(measured("uniformity", a), measured("uniformity", b))
        drift, margin = measured("paired_drift", a, b), measured("cross_modal_margin", a, b, labels)
        if spread > -3:
            yield f"'no meaning' has uniformity {spread:.2f}: spread the rows in more dimensions, below -3."
        if drift > 0.1:
            yield f"'no meaning' has drift {drift:.2f}: the pairs must agree, below 0.1."
        if margin > 0.05 and len(labels.unique()) > 0.05 * len(a):
            yield f"'no meaning' has margin {margin:.2f} from pairs i = j alone: use fewer, larger classes."
        if abs(margin) > 0.05:
            yield f"'no meaning' has margin {margin:.2f}: the labels must not follow the directions."
        a, b, _ = clouds("no spread")
        share = min(measured("effective_rank", z) / z.shape[1] for z in (a, b))
        crowding = min(measured("mean_cosine", z) for z in (a, b))
        if crowding < 0.9:
            yield f"'no spread' has mean cosine {crowding:.2f}: add a common direction, to get above 0.9."
        if share < 0.8 or min(a.shape[1], b.shape[1]) < 8:
            yield f"'no spread' has rank {share:.2f} D: let the small variation go every way, D at least 8."
        a, b, _ = clouds("no agreement")
        cka, recall = measured("linear_cka", a, b), measured("retrieval_recall", a, b)
        if cka < 0.95:
            yield f"'no agreement' has CKA {cka:.2f}: shuffling or noise destroys structure; rotate instead."
        if recall > 0.1:
            yield f"'no agreement' has R@1 {recall:.2f}: partners still find each other; turn b farther."

    return verdict(first_problem(answer, cases), "three diagnostics fooled, each one caught by another.")


def patients(answer: object) -> bool:
    """Exercise 3: the sickness that each of four reports shows."""
    truth = {"P": "cone", "Q": "rotation", "R": "gap", "S": "few directions"}
    hints = {
        ("P", "few directions"): "all of its 23 directions are in use; look at the mean cosine",
        ("P", "gap"): "its gap is 0.01; look at the mean cosine",
        ("Q", "shuffled"): "shuffled pairs have no common structure, and its CKA is 0.94",
        ("Q", "gap"): "its drift is large, yet its gap is 0.07, so no shift of whole modalities explains it",
        ("R", "shuffled"): "most partners still find each other; see how much of the drift is gap squared",
        ("R", "rotation"): "a rotation about the origin leaves mean cosine and gap near 0",
        ("R", "cone"): "its two modalities lie apart: square the gap and compare with the drift",
        ("S", "cone"): "its mean cosine is 0, so there is no common direction; look at the rank",
    }

    def cases(given: Any) -> Iterator[str]:
        known = {*truth.values(), "shuffled"}
        given = of_kind(given, dict, "a dict from each patient to a diagnosis")
        given = {patient: filled(given.get(patient)) for patient in truth}
        for patient, right in truth.items():
            said = str(given[patient]).strip().lower()
            if said not in known:
                yield f"{said!r} is not among the diagnoses: choose from {', '.join(sorted(known))}."
            if said != right:
                why = hints.get((patient, said), "compare each number with the healthy pair's")
                yield f"{patient} is not {said!r}: {why}."

    problem = first_problem(answer, cases)
    if problem == OPEN:
        problem = "some patients have no diagnosis yet."
    return verdict(problem, "four sicknesses, told apart by looking at several numbers at once.")
