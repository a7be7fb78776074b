"""Automatic checks of the exercises: each says in one sentence what is wrong, or that it is right.

A check tries an answer on cases whose result is known in advance and returns a bool. It never raises on a
wrong answer, so that a notebook with open exercises still runs to its end.
"""

from __future__ import annotations

import torch


def predicted(guess, answer, because: str) -> None:
    """Compare a prediction made before running to what happened; ``guess`` None means that there is none."""
    if guess is None:
        opening = "No prediction stored; what happened"
    elif str(guess).strip().lower() == str(answer).strip().lower():
        opening = "As you predicted"
    else:
        opening = f"You predicted {guess}; what happened"
    print(f"{opening}: {answer}, because {because}")


def verdict(problem: str | None, praise: str) -> bool:
    """Print the outcome of a check: the problem, or the praise where there is none."""
    print(f"Not yet: {problem}" if problem else f"Right: {praise}")
    return problem is None


def first_problem(answer, cases) -> str | None:
    """The first sentence that ``cases(answer)`` yields; open answers and exceptions are put in words too."""
    try:
        return next(iter(cases(answer)), None)
    except Open:
        return "the function returned None or `...`: put your own code there."
    except Exception as error:  # whatever a reader's code does, the notebook goes on
        return f"the function stopped with {type(error).__name__}: {error}"


class Open(Exception):
    """The exercise has not been filled in."""


def scalar(value) -> torch.Tensor:
    """``value`` as a tensor with one element, or a reason in words why it is none."""
    if value is None or value is ...:
        raise Open
    if not torch.is_tensor(value):
        raise TypeError(f"it returned a {type(value).__name__}, and only a tensor carries a gradient")
    if value.numel() != 1:
        raise ValueError(f"it returned shape {tuple(value.shape)}, and a loss is one number: take the mean")
    return value


# Notebook 01


def mean_cosine(answer) -> bool:
    """Exercise 1 of notebook 01: the mean cosine of the pairs of different samples of one modality."""

    def cases(f):
        cross = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [0.0, -0.5]])
        value = float(scalar(f(cross)))
        if abs(value) < 1e-5:
            yield "the four arms of a cross have mean cosine -1/3, not 0: leave out the pairs i = j."
        if abs(value + 1 / 3) > 1e-5:
            yield f"the four arms of a cross must give -0.333, and yours gives {value:.3f}: normalize first."
        crowded = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.1, 0.0]])
        value = float(scalar(f(crowded)))
        if abs(value - 1) > 1e-5:
            yield f"three samples in one direction are fully collapsed, which is 1, and yours is {value:.3f}."

    return verdict(first_problem(answer, cases), "1 when collapsed, below 0 when spread, blind to length.")


def four_corners(answer) -> bool:
    """Exercise 2 of notebook 01: paired embeddings that are, or are not, collapsed and drifted."""

    def cases(f):
        from geomreg_mini.geometry import mean_cosine, paired_drift

        for collapsed in (True, False):
            for drifted in (True, False):
                pair = f(collapsed, drifted)
                if pair is None or pair is ...:
                    raise Open
                a, b = pair
                asked = f"with collapsed={collapsed} and drifted={drifted}"
                if a.shape != b.shape or len(a) < 10:
                    shapes = f"{tuple(a.shape)}, {tuple(b.shape)}"
                    yield f"{asked} the shapes are {shapes}: give (N, D) twice, N >= 10."
                for name, z in {"a": a, "b": b}.items():
                    crowding = mean_cosine(z)
                    if collapsed and crowding < 0.9:
                        yield f"{asked} the mean cosine of {name} is {crowding:.2f}: it must be above 0.9."
                    if not collapsed and abs(crowding) > 0.2:
                        yield f"{asked} the mean cosine of {name} is {crowding:.2f}: it must be near 0."
                drift = paired_drift(a, b)
                if drifted and drift < 1.5:
                    yield f"{asked} the paired drift is {drift:.2f}: it must be above 1.5."
                if not drifted and drift > 0.2:
                    yield f"{asked} the paired drift is {drift:.2f}: it must be below 0.2."

    return verdict(first_problem(answer, cases), "all four corners exist: neither failure implies the other.")


# Notebook 05


def squared_band(answer) -> bool:
    """Exercise 1 of notebook 05: ``mean max(0, ||u_a - u_b||^2 - radius^2)``, zero inside the band."""

    def cases(f):
        a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # distances 0, sqrt(2), 2
        value = scalar(f(a, b, 1.0)).item()
        wanted = (0 + 1 + 3) / 3
        if abs(value - wanted) < 1e-5:
            pass
        elif abs(value - 4 / 2) < 1e-5:
            yield "the mean runs over active pairs only; divide by all pairs, or the loss jumps."
        elif abs(value - 4) < 1e-5:
            yield "this is the sum over pairs; take the mean, or the loss grows with the batch."
        else:
            yield f"distances 0, sqrt(2) and 2 with radius 1 must give {wanted:.3f}, not {value:.3f}."
        if abs(scalar(f(10 * a, b, 1.0)).item() - wanted) > 1e-4:
            yield "the value changes when one modality is multiplied by 10: normalize both first."
        close = torch.tensor([[1.0, 0.1], [1.0, 0.0]], requires_grad=True)
        loss = scalar(f(close, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 1.0))
        if not loss.requires_grad:
            yield "the result carries no gradient: stay with torch and avoid .item(), .detach() and numpy."
        loss.backward()
        if not close.grad.isfinite().all():
            yield "the gradient at distance 0 is not finite: a square root has infinite slope there."
        if close.grad.abs().max() > 0:
            yield "pairs inside the band still receive a gradient: clamp the excess at 0."

    return verdict(first_problem(answer, cases), "zero in the band, finite at distance 0, blind to scale.")


def masked_dispersion(answer) -> bool:
    """Exercise 2 of notebook 05: dispersion over the present samples, 0 where fewer than two are present."""

    def cases(f):
        from geomreg_mini import dispersion

        generator = torch.Generator().manual_seed(0)
        z = torch.randn(8, 5, generator=generator)
        present = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1], dtype=torch.bool)
        value, wanted = scalar(f(z, present)).item(), dispersion(z[present]).item()
        everyone = dispersion(z).item()
        if abs(value - everyone) < 1e-5:
            yield "absent samples still take part: the value is that of all eight samples."
        zeroed = dispersion(z * present[:, None]).item()
        if abs(value - zeroed) < 1e-5:
            yield "absent samples set to zero stay in the mean as points at the origin: drop the rows."
        if abs(value - wanted) > 1e-5:
            yield f"the six present samples must give {wanted:.4f}, and yours gives {value:.4f}."
        for count in (0, 1):
            few = torch.arange(8) < count
            value = scalar(f(z, few)).item()
            if value != 0:
                yield f"with {count} present samples there is no pair: the value must be 0, not {value}."
        x = z.clone().requires_grad_(True)
        (scalar(f(x, torch.arange(8) < 1)) + scalar(f(x, present))).backward()
        if not x.grad.isfinite().all() or x.grad[~present].abs().max() > 0:
            yield "absent samples must receive a zero, finite gradient."

    return verdict(first_problem(answer, cases), "absent samples are neither seen nor moved.")


# Notebook 08


def paired_gain(answer) -> bool:
    """Exercise 1 of notebook 08: mean over seeds of selected regularized minus selected baseline run."""
    import pandas as pd

    rows = [  # seed, arm, selected, value
        *[(0, "baseline", True, 0.50), (0, "baseline", False, 0.70)],
        *[(0, "regularized", True, 0.54), (0, "regularized", False, 0.80)],
        *[(1, "regularized", True, 0.66), (1, "regularized", False, 0.10)],
        *[(1, "baseline", False, 0.20), (1, "baseline", True, 0.60)],
    ]
    frame = pd.DataFrame(rows, columns=["seed", "arm", "selected", "value"])

    def cases(f):
        value = f(frame, "value")
        if value is None or value is ...:
            raise Open
        value = float(value)
        means = frame.groupby("arm")["value"].mean()
        best = frame.groupby(["arm", "seed"])["value"].max().groupby("arm").mean()
        if abs(value + 0.05) < 1e-9:
            yield "the sign is reversed: a gain is regularized minus baseline."
        if abs(value - (means["regularized"] - means["baseline"])) < 1e-9:
            yield "runs that validation did not pick take part: keep the rows whose `selected` is True."
        if abs(value - (best["regularized"] - best["baseline"])) < 1e-9:
            yield "you took the best run on the test metric: that is choosing on test; use `selected`."
        if abs(value - 0.05) > 1e-9:
            yield f"the gains of the two seeds are 0.04 and 0.06, so the answer is 0.05, not {value:.3f}."

    return verdict(first_problem(answer, cases), "picked on validation, paired by seed, then averaged.")


def false_frames(answer) -> bool:
    """Exercise 2 of notebook 08: framed cells expected if nothing had any effect, 72 cells at 95 %."""

    def cases(value):
        if value is None or value is ...:
            raise Open
        if abs(value - 72 * 0.95) < 1e-6:
            yield "that is how many cells stay unframed; the interval misses in the other 5 %."
        if abs(value - 1.2) < 1e-6:
            yield "that is for one panel of 24 cells; there are three panels."
        if abs(value - 3.6) > 0.05:
            yield "count the cells of the three panels and take the share that a 95 % interval misses."

    return verdict(first_problem(answer, cases), "3.6 frames of 72 are expected by chance alone.")
