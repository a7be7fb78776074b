"""Automatic checks of the exercises: each says in one sentence what is wrong, or that it is right.

A check tries an answer on cases whose result is known in advance and returns a bool. It never raises on a
wrong answer, so that a notebook with open exercises still runs to its end.
"""

from __future__ import annotations

import math

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
        return OPEN
    except Exception as error:  # whatever a reader's code does, the notebook goes on
        return f"the function stopped with {type(error).__name__}: {error}"


OPEN = "nothing here yet: put your own code or value where `...` or None stands, and run the cell again."


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


# Notebook 02


def effective_rank(answer) -> bool:
    """Exercise 1 of notebook 02: effective rank from singular values, rows normalized, then centered."""

    def cases(f):
        from geomreg_mini import geometry

        def rank(rows):
            value = f(torch.tensor(rows) if isinstance(rows, list) else rows)
            if value is None or value is ...:
                raise Open
            return float(value)

        cross = [[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]]
        value = rank(cross)
        if math.isnan(value):
            yield "it is NaN where a singular value is 0: there 0 log 0 stands for 0."
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
        value, wanted = rank(z), geometry.effective_rank(z)
        if abs(value - wanted) > 1e-3:
            yield f"30 off-center rows must give {wanted:.3f}, not {value:.3f}: normalize first, then center."

    return verdict(first_problem(answer, cases), "it counts directions, blind to length and position.")


def fool(answer) -> bool:
    """Exercise 2 of notebook 02: clouds that one diagnostic calls healthy and another one does not."""

    def cases(f):
        from geomreg_mini import geometry

        def clouds(trick):
            made = f(trick)
            if made is None or made is ...:
                raise Open
            if len(made[0]) < 100:
                raise ValueError(f"{trick!r} has {len(made[0])} rows: make at least 100")
            return made

        a, b, labels = clouds("no meaning")
        spread = max(geometry.uniformity(a), geometry.uniformity(b))
        drift, margin = geometry.paired_drift(a, b), geometry.cross_modal_margin(a, b, labels)
        if spread > -3:
            yield f"'no meaning' has uniformity {spread:.2f}: spread the rows in more dimensions, below -3."
        if drift > 0.1:
            yield f"'no meaning' has drift {drift:.2f}: the pairs must agree, below 0.1."
        if margin > 0.05 and len(torch.as_tensor(labels).unique()) > 0.05 * len(a):
            yield f"'no meaning' has margin {margin:.2f} from pairs i = j alone: use fewer, larger classes."
        if abs(margin) > 0.05:
            yield f"'no meaning' has margin {margin:.2f}: the labels must not follow the directions."
        a, b, _ = clouds("no spread")
        share = min(geometry.effective_rank(z) / z.shape[1] for z in (a, b))
        crowding = min(geometry.mean_cosine(a), geometry.mean_cosine(b))
        if crowding < 0.9:
            yield f"'no spread' has mean cosine {crowding:.2f}: add a common direction, to get above 0.9."
        if share < 0.8 or min(a.shape[1], b.shape[1]) < 8:
            yield f"'no spread' has rank {share:.2f} D: let the small variation go every way, D at least 8."
        a, b, _ = clouds("no agreement")
        cka, recall = geometry.linear_cka(a, b), geometry.retrieval_recall(a, b)
        if cka < 0.95:
            yield f"'no agreement' has CKA {cka:.2f}: shuffling or noise destroys structure; rotate instead."
        if recall > 0.1:
            yield f"'no agreement' has R@1 {recall:.2f}: partners still find each other; turn b farther."

    return verdict(first_problem(answer, cases), "three diagnostics fooled, each one caught by another.")


def patients(answer) -> bool:
    """Exercise 3 of notebook 02: which sickness does each of four reports show?"""
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

    def cases(given):
        known = {*truth.values(), "shuffled"}
        if any(given.get(p) is None or given.get(p) is ... for p in truth):
            raise Open
        for patient, right in truth.items():
            said = str(given[patient]).strip().lower()
            if said not in known:
                yield f"{said!r} is none of the diagnoses: choose from {', '.join(sorted(known))}."
            if said != right:
                why = hints.get((patient, said), "compare each number with the healthy pair's")
                yield f"{patient} is not {said!r}: {why}."

    problem = first_problem(answer, cases)
    if problem == OPEN:
        problem = "some patients have no diagnosis yet."
    return verdict(problem, "four sicknesses, told apart by looking at several numbers at once.")


# Notebook 03


def stable_dispersion(answer) -> bool:
    """Exercise 1 of notebook 03: ``log mean_{i != j} exp(-||u_i - u_j||^2 / temperature)``, stable."""

    def cases(f):
        opposite = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])  # squared distance 4
        value = scalar(f(opposite, 1.0)).item()
        with_itself, too_many = math.log((2 + 2 * math.exp(-4)) / 4), math.log(2 * math.exp(-4) / 4)
        for wrong, sentence in {
            with_itself: "the pairs i = j still take part: leave them out before the mean is taken.",
            too_many: "the pairs i = j are gone, but the mean still divides by B * B, not B * (B - 1).",
            -1: "squared distances are divided by the dimension: on the sphere they need no such scaling.",
            -2: "the exponent holds the distance: it should be the squared distance.",
            4: "the sign of the exponent is reversed: close pairs must count most.",
            math.exp(-4): "the logarithm is missing.",
        }.items():
            if abs(value - wrong) < 1e-3:
                yield sentence
        if abs(value + 4) > 1e-4:
            yield f"two opposite samples at temperature 1 must give -4, and yours gives {value:.3g}."
        if abs(scalar(f(3 * opposite, 1.0)).item() + 4) > 1e-4:
            yield "the value changes when all embeddings are multiplied by 3: normalize first."
        three = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])  # squared distances 4, 2, 2
        value, wanted = scalar(f(three, 1.0)).item(), math.log((math.exp(-4) + 2 * math.exp(-2)) / 3)
        if abs(value + 8 / 3) < 1e-4:
            yield "this is the mean of the exponents: exp comes first, then the mean, then the logarithm."
        if abs(value - wanted) > 1e-4:
            yield f"squared distances 4, 2, 2 at temperature 1 must give {wanted:.3f}, not {value:.3f}."
        value = scalar(f(opposite, 0.01)).item()
        if math.isinf(value):
            yield "at temperature 0.01 exp(-400) is 0 in float32, and log(0) is infinite: use logsumexp."
        if abs(value + 400) > 0.1:
            yield f"two opposite samples at temperature 0.01 must give -400, and yours gives {value:.4g}."
        z = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]], requires_grad=True)
        loss = scalar(f(z, 0.5))
        if not loss.requires_grad:
            yield "the result carries no gradient: stay with torch and avoid .item(), .detach() and numpy."
        loss.backward()
        if not z.grad.isfinite().all():
            yield "two equal samples give a gradient that is not finite: avoid roots, and infinity times 0."

    return verdict(first_problem(answer, cases), "0 when collapsed, exact when cold, blind to length.")


def clump_value(answer) -> bool:
    """Exercise 2 of notebook 03: dispersion of 64 samples in 4 orthogonal clumps at temperature 0.1."""

    def cases(value):
        if value is None or value is ...:
            raise Open
        value = float(value)
        if abs(value - 1.435) < 0.06:
            yield "the size is right, the sign is not: a mean closeness below 1 has a negative logarithm."
        if abs(value + math.log(4)) < 0.005:
            yield "that is log(16/64), with i = j counted: each sample has 15 clump mates among 63 others."
        if abs(value - 15 / 63) < 0.02:
            yield "that is the mean closeness; the term is its logarithm."
        if abs(value + 20 * 48 / 63) < 0.3:
            yield "that is the mean of the exponents; the mean is taken after exp."
        if abs(value + 20) < 0.01:
            yield "that is a pair from different clumps; pairs within a clump have closeness 1 and decide."
        if value == 0:
            yield "0 is for one clump; here most pairs are far apart."
        if abs(value + 1.435) > 0.01:
            yield "ask which share of the pairs i != j has closeness 1, where all others have almost 0."

    return verdict(first_problem(answer, cases), "log(15/63), close to -log 4: the value counts the clumps.")


# Notebook 04


def drift_parts(answer) -> bool:
    """Exercise 1 of notebook 04: paired drift as (squared gap, trace of the covariance)."""

    def cases(f):
        from geomreg_mini.geometry import drift_summary

        generator = torch.Generator().manual_seed(0)
        a = torch.randn(6, 3, generator=generator, dtype=torch.float64) + torch.tensor([2.0, 0.0, 0.0])
        b = torch.randn(6, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 3.0, 0.0])
        parts = f(a, b)
        if parts is None or parts is ...:
            raise Open
        gap, sample = (float(part) for part in parts)
        known = drift_summary(a, b)
        wanted_gap, wanted = known["drift_gap_part"], known["drift_sample_part"]
        raw = (a - b).mean(dim=0).square().sum().item()
        if abs(gap - wanted) + abs(sample - wanted_gap) < 1e-5:
            yield "the parts are swapped: return the gap part first, then the sample part."
        if abs(gap - wanted_gap**0.5) < 1e-5:
            yield "the first number is the length of the gap; the identity needs its square."
        if abs(gap - raw) < 1e-5:
            yield "the gap is that of the raw embeddings: normalize both first."
        if abs(gap - wanted_gap) > 1e-5:
            yield f"the gap part must be {wanted_gap:.3f} here, and yours is {gap:.3f}."
        if abs(sample - wanted * 6 / 5) < 1e-5:
            yield "the covariance divides by N - 1; the identity is exact where it divides by N."
        if abs(sample - wanted / 3) < 1e-5:
            yield "you took the mean over the dimensions; a trace is their sum."
        if abs(sample - wanted - wanted_gap) < 1e-5:
            yield "the second number is the whole drift: subtract the mean difference first."
        if abs(sample - wanted) > 1e-5:
            yield f"the sample part must be {wanted:.3f} here, and yours is {sample:.3f}."

    return verdict(first_problem(answer, cases), "the two parts add up to the paired drift.")


def unshiftable(answer) -> bool:
    """Exercise 2 of notebook 04: share of a drift of 1.0 that is left when a gap of length 0.8 is removed."""

    def cases(value):
        if value is None or value is ...:
            raise Open
        if abs(value - 0.2) < 1e-6:
            yield "1 - 0.8 subtracts a length from a squared length: square the gap first."
        if abs(value - 0.64) < 1e-6:
            yield "that is the part that a shift can remove; the question is what is left."
        if abs(value - 0.6) < 1e-6:
            yield "that is a length, the root of what is left; drift counts squares."
        if abs(value - 0.36) > 1e-6:
            yield "drift = gap squared + sample part; solve for the sample part and divide by the drift."

    return verdict(first_problem(answer, cases), "0.36 of the drift is a matter of pairs.")


def radius_for(answer) -> bool:
    """Exercise 3 of notebook 04: the radius that leaves a given share of the pairs outside the band."""

    def cases(f):
        distance = torch.linspace(0.05, 1.95, 101)
        angle = 2 * torch.asin(distance / 2)
        a = torch.stack([angle.cos(), angle.sin()], dim=1)
        b = torch.tensor([1.0, 0.0]).expand_as(a)
        for share in (0.1, 0.5, 0.8):
            radius = f(a, b, share)
            if radius is None or radius is ...:
                raise Open
            radius = float(radius)
            outside = (distance > radius).double().mean().item()
            asked = f"with share {share} a share of {outside:.2f} lies outside your radius {radius:.2f}"
            if abs(outside - share) < 0.02:
                continue
            if abs(outside - (1 - share)) < 0.02:
                yield f"{asked}: you left that share inside; take the quantile 1 - share."
            if abs(radius - distance.quantile(1 - share).item() ** 2) < 0.02:
                yield f"{asked}: that is the quantile of squared distances; the radius is a distance."
            yield f"{asked}."
        if abs(float(f(5 * a, b, 0.5)) - float(f(a, b, 0.5))) > 1e-4:
            yield "the radius changes when one modality is multiplied by 5: normalize both first."

    return verdict(first_problem(answer, cases), "the quantile 1 - share of the distances.")


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


def mixing(answer) -> bool:
    """Exercise 4 of notebook 05: alpha of the shortest alpha * g_inter + (1 - alpha) * g_disp."""

    def cases(f):
        def alpha(first, second):
            value = f(torch.tensor(first), torch.tensor(second))
            return scalar(torch.tensor(value) if isinstance(value, float | int) else value).item()

        orthogonal = alpha([3.0, 0.0], [0.0, 1.0])
        if abs(orthogonal - 0.9) < 1e-5:
            yield "alpha belongs to g_inter: for (3, 0) and (0, 1) it is 0.1, and yours is that of g_disp."
        if not abs(orthogonal - 0.1) < 1e-5:
            yield f"for g_inter = (3, 0) and g_disp = (0, 1) alpha is 0.1, and yours is {orthogonal:.4f}."
        for first, second, wanted in (([1.0, 0.0], [5.0, 0.0], 1), ([5.0, 0.0], [1.0, 0.0], 0)):
            got = alpha(first, second)
            if not abs(got - wanted) < 1e-5:
                yield (
                    f"for g_inter = {first} and g_disp = {second} the shorter one alone is shortest: alpha "
                    f"is {wanted}, and yours is {got:.4f}. Keep it between 0 and 1."
                )
        silent = alpha([0.0, 0.0], [1.0, 2.0])
        if not abs(silent - 1) < 1e-5:
            yield f"if g_inter is zero, alpha = 1 gives the zero vector, and yours is {silent:.4f}."
        equal = alpha([0.3, 0.4], [0.3, 0.4])
        if not abs(equal - 0.5) < 1e-5:
            yield f"for two equal gradients return 0.5; yours is {equal:.4f}."

    return verdict(first_problem(answer, cases), "the shorter gradient weighs more, and zero weighs all.")


# Notebook 07


def ogm_coefficient(answer) -> bool:
    """Exercise 1 of notebook 07: k of one modality from its score, the other's score, and alpha."""

    def cases(f):
        def k(score, other, alpha=0.8):
            value = f(score, other, alpha)
            if value is None or value is ...:
                raise Open
            return float(value)

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

    return verdict(first_problem(answer, cases), "who is ahead is slowed down, and only then.")


def dgl_loss(answer) -> bool:
    """Exercise 2 of notebook 07: one loss whose gradients are DGL's, for a head W_a z_a + W_b z_b + bias."""
    from torch.nn.functional import cross_entropy, linear

    generator = torch.Generator().manual_seed(0)
    shapes = {"z_a": (6, 4), "z_b": (6, 4), "w_a": (3, 4), "w_b": (3, 4), "bias": (3,)}
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    label = torch.tensor([0, 1, 2, 0, 1, 2])

    def fused(z_a, z_b, w_a, w_b, bias):
        return cross_entropy(linear(z_a, w_a) + linear(z_b, w_b) + bias, label)

    def own(z_a, z_b, w_a, w_b, bias):
        return cross_entropy(linear(z_a, w_a, bias), label) + cross_entropy(linear(z_b, w_b, bias), label)

    def gradients(loss):
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        value = scalar(loss(**leaves))
        if not value.requires_grad:
            return {}
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        return {name: g for name, g in zip(leaves, found, strict=True) if g is not None}

    def cases(f):
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

    return verdict(first_problem(answer, cases), "encoders and head each learn from their own loss.")


def min_norm_weight(answer) -> bool:
    """Exercise 3 of notebook 07: w in [0, 1] for which w g1 + (1 - w) g2 is shortest."""

    def cases(f):
        def weight(first, second):
            value = f(torch.tensor(first), torch.tensor(second))
            if value is None or value is ...:
                raise Open
            return float(value)

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
        value = weight([1.0, 0.0], [3.0, 0.0])
        if abs(value - 1) > 1e-5:
            yield f"g2 = 3 g1: the shortest point between them is g1, w = 1, and yours is {value:.3f}: clip."
        value = weight([1.0, 2.0], [1.0, 2.0])
        if not 0 <= value <= 1:
            yield f"equal gradients gave {value}: where they do not differ, any weight in [0, 1] will do."

    return verdict(first_problem(answer, cases), "the shortest point between two gradients.")


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


# Notebook 09


def hinge_floor(answer) -> bool:
    """Exercise 1 of notebook 09: the least that VICReg's hinge can be for unit vectors of D features."""

    def cases(f):
        value = f(128)
        if value is None or value is ...:
            raise Open
        value, best = float(value), 128**-0.5
        if abs(value) < 0.02:
            yield "0 would mean a standard deviation of 1 in each feature: their squares sum to 1 at most."
        if abs(value - best) < 0.002:
            yield "that is the largest standard deviation; the hinge is what is missing to the target 1."
        if abs(value - (1 - best**2)) < 0.002:
            yield "1 / D is the largest mean variance, and the hinge takes the standard deviation: its root."
        if abs(value - (1 - best)) > 0.002:
            yield f"for D = 128 the hinge stays at {1 - best:.3f} or above, and yours is {value:.3f}."
        if abs(float(f(4)) - 0.5) > 0.03:
            yield f"for D = 4 it must be 0.5, not {float(f(4)):.3f}: make it a function of D."

    return verdict(
        first_problem(answer, cases), "no batch of unit vectors meets the target, whatever it does."
    )


def same_length(answer) -> bool:
    """Exercise 2 of notebook 09: a control, as a class, that makes modalities equally long and no more."""

    def cases(control_class):
        if control_class is None or control_class is ...:
            raise Open
        a = torch.tensor([[3.0, 4], [0, 1]], requires_grad=True)
        b = torch.tensor([[1.0, 0], [0, 1]])
        control, wanted = control_class(weight=1.0), math.log(3) ** 2
        if not isinstance(control, torch.nn.Module):
            yield "it is not an nn.Module: write class SameLength(torch.nn.Module)."
        out = control({"audio": a, "image": b})
        if out is None or out is ...:
            raise Open
        if not hasattr(out, "total"):
            yield "the loop adds `out.total`: return a RegularizerOutput, not the number itself."
        total = scalar(out.total)
        value = float(total.detach())
        if abs(value) < 1e-4:
            yield "lengths 5 and 1 against 1 and 1 must give more than 0: do not normalize the embeddings."
        if abs(value - 4) < 1e-4:
            yield "this compares the lengths themselves; compare their logarithms, which only see ratios."
        if abs(value - (math.log(5) / 2) ** 2) < 1e-4:
            yield "this is the mean of the logarithms; take the mean length first, then its logarithm."
        if abs(value - math.log(17) ** 2 / 4) < 1e-4:
            yield "this is the length of the mean embedding; take the length of each embedding first."
        if abs(value - math.log(3)) < 1e-4:
            yield "the difference of the logarithms must be squared."
        if abs(value - wanted) > 1e-4:
            yield f"mean lengths of 3 and 1 must give (log 3)^2 = {wanted:.3f}, and yours is {value:.3f}."
        if not total.requires_grad:
            yield "the total carries no gradient: do not detach it or turn it into a float."
        three = float(scalar(control({"a": a, "b": b, "c": a}).total).detach())
        if abs(three - 2 / 3 * wanted) > 1e-4:
            yield f"with three modalities it must be the mean over three pairs, here 0.805, not {three:.3f}."
        heavy = float(scalar(control_class(weight=3.0)({"a": a, "b": b}).total).detach())
        if abs(heavy - 3 * wanted) > 1e-4:
            yield "weight=3 must give three times as much: multiply by self.weight."
        if getattr(control, "hyperparameters", dict)() != {"weight": 1.0}:
            yield "hyperparameters() must return {'weight': 1.0}: a record is read back with it."

    return verdict(first_problem(answer, cases), "equally long on average, and free in every direction.")


def any_by_chance(answer) -> bool:
    """Exercise 3 of notebook 09: the chance that one of ten independent 95 % intervals misses, or more."""

    def cases(value):
        if value is None or value is ...:
            raise Open
        if abs(value - 0.5) < 1e-3:
            yield "ten times 0.05 is the number expected, not the chance of at least one."
        if abs(value - 0.95**10) < 2e-3:
            yield "that is the chance that none of the ten leaves zero out; you want the rest."
        if abs(value - 0.05) < 1e-3:
            yield "that is the chance for one interval; there are ten."
        if abs(value - (1 - 0.95**11)) < 2e-3:
            yield "eleven names make ten differences: one of them is what the others are compared with."
        if abs(value - (1 - 0.95**10)) > 5e-3:
            yield "one minus the chance that all ten cover: multiply ten times 0.95."

    return verdict(first_problem(answer, cases), "about 0.40, were the ten independent.")


# Notebook 10


def number(value) -> float:
    """``value`` as a number; open where there is none yet."""
    if value is None or value is ...:
        raise Open
    return float(value)


def shared_clips(answer) -> bool:
    """Exercise 1 of notebook 10: test clips whose actor and sentence occur together in training."""

    def cases(f):
        train = ["1001_IEO_NEU_XX", "1001_IEO_HAP_LO", "1001_TIE_SAD_XX", "1002_DFA_ANG_XX"]
        test = ["1001_IEO_SAD_XX", "1001_IEO_ANG_XX", "1002_DFA_HAP_XX"]  # shared
        test += ["1001_DFA_ANG_XX", "1002_IEO_NEU_XX", "1003_IEO_NEU_XX", "1002_WSI_FEA_XX"]  # not
        value = number(f(train, test))
        if 0 < value < 1:
            yield f"it returned the share {value:.2f}; count the clips."
        if value == 6:
            yield "1002 says WSI in no training clip: the sentence must be the same too."
        if value == 5:
            yield "1001 is in training and DFA is, but 1001 never says DFA there: both in *one* clip."
        if value == 2:
            yield "two test clips of one actor and sentence count as two."
        if value == 0:
            yield "the emotion and its level may differ: compare the first two parts of a name."
        if value != 3:
            yield f"three of seven test clips have actor and sentence in training, and yours says {value:g}."
        if number(f(train, [])) != 0:
            yield "without test clips it must be 0."

    return verdict(first_problem(answer, cases), "who says it and what is said, and nothing else.")


def chance_recall(answer) -> bool:
    """Exercise 2 of notebook 10: R@100 of unrelated embeddings on 744 clips."""

    def cases(answer):
        value = number(answer)
        if abs(value - 1 / 744) < 1e-4:
            yield "that is R@1; a hundred places are open to the partner."
        if abs(value - 100 / 744 * 100) < 0.1:
            yield "that is in percent; give a number between 0 and 1."
        if abs(value - 100 / 7442) < 1e-3:
            yield "the partner is looked for among the test clips only, and of these there are 744."
        if abs(value - 100 / 744) > 2e-3:
            yield "the partner is equally likely to have each of 744 ranks, and 100 of them count."

    return verdict(first_problem(answer, cases), "100 of 744 ranks, about 13.4 %.")


def difference_error(answer) -> bool:
    """Exercise 3 of notebook 10: standard error, in points, where two models disagree on a tenth of 744."""

    def cases(answer):
        value, n = number(answer), 744
        if abs(value - math.sqrt(0.1 / n)) < 1e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * 0.1 / n) < 1e-3:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(0.1)) < 0.1:
            yield "that is for one clip; the mean over 744 has a 744th of the variance."
        if abs(value - 100 * math.sqrt(0.1 * 0.9 / n)) < 0.02:
            yield "that is the error of the *share of disagreement*; here a clip adds +1, -1 or 0."
        if abs(value - math.sqrt(0.1 * n)) < 0.1:
            yield "that is in clips; divide by 744 and multiply by 100."
        if abs(value - 100 * math.sqrt(0.1 / n)) > 0.02:
            yield "a clip adds +1, -1 or 0, mean 0: its variance is the share that is not 0; divide by 744."

    return verdict(first_problem(answer, cases), "1.16 points, about half of that of two independent tests.")


# Notebook 11


def paired_clips(answer) -> bool:
    """Exercise 1 of notebook 11: pairs of video folder and sound file of the same clip."""

    def cases(f):
        videos, sounds = ["a", "b", "c", "d"], ["a.wav", "b.wav", "c.wav", "d.wav"]

        def pairs(*arguments):
            found = f(*(list(argument) for argument in arguments))
            if found is None or found is ...:
                raise Open
            return [tuple(pair) for pair in found]

        found = pairs(videos, sounds, ["b"])
        if ("c", "b.wav") in found:
            yield "c is paired with b.wav: 'b.wav' is never equal to 'b', so no sound was left out."
        if any(video == "b" for video, _ in found):
            yield "b has too few frames and is still there."
        if found != [("a", "a.wav"), ("c", "c.wav"), ("d", "d.wav")]:
            yield f"without b there must be a, c and d, each with its own sound, and yours has {found}."
        found = pairs(videos, sounds[::-1], [])
        if any(not sound.startswith(video) for video, sound in found):
            yield "where the sounds come in another order, pairs break: go by names, not by positions."
        found = pairs(videos, ["a.wav", "c.wav"], [])
        if sorted(found) != [("a", "a.wav"), ("c", "c.wav")]:
            yield "b and d have no sound here: leave them out."

    return verdict(first_problem(answer, cases), "a pair is two files of one name, whatever else is missing.")


def spread_of_two(answer) -> bool:
    """Exercise 2 of notebook 11: standard deviation of single runs, estimated from 75.10 and 76.28."""

    def cases(answer):
        value, difference = number(answer), 76.28 - 75.10
        if abs(value - difference) < 0.01:
            yield "that is the difference; two runs differ by more than one differs from the mean."
        if abs(value - difference / 2) < 0.01:
            yield "that divides the squares by 2; the mean comes from the same two runs, so divide by 1."
        if abs(value - difference**2 / 2) < 0.005:
            yield "that is a variance: take the root."
        if abs(value - difference / math.sqrt(2)) > 0.005:
            yield "each run is 0.59 from the mean: square, add, divide by 2 - 1, take the root."

    return verdict(first_problem(answer, cases), "0.83 points, itself known to a factor of two at best.")


# Notebook 06


def lab_run(setting, free):
    """The run of a setting of the lab, a dict; all but ``free`` must stand where the lab has them."""
    import lab

    if setting is None or setting is ...:
        raise Open
    if not isinstance(setting, dict):
        raise TypeError(f"a setting is a dict such as {{'radius': 0.3}}, not a {type(setting).__name__}")
    known = vars(lab.Setting())
    for name, value in setting.items():
        if name not in known:
            raise ValueError(f"the lab has no {name!r}; it has {', '.join(known)}")
        if name not in free and value != known[name]:
            raise ValueError(f"leave {name} at {known[name]!r}; free are {', '.join(free)}")
    return lab.train(setting)


TERMS = ("dispersion_weight", "anchoring_weight", "temperature", "radius")


def spread_and_agreed(answer) -> bool:
    """Exercise 1 of notebook 06: a setting with both effective ranks above 1.8 and paired drift below 0.4."""

    def cases(setting):
        now = lab_run(setting, TERMS).now
        rank = min(now["effective_rank/a"], now["effective_rank/b"])
        drift = now["paired_drift"]
        reached = f"the lower effective rank is {rank:.2f} and the paired drift {drift:.2f}"
        if rank <= 1.8 and drift >= 0.4:
            yield f"{reached}: neither term does its work; raise both weights to at least 0.1."
        if rank <= 1.8:
            yield f"{reached}: the pairs agree, but crowded; less anchoring, more dispersion or a wider band."
        if drift >= 0.4:
            yield f"{reached}: spread, but the pairs lie apart; more anchoring, or a narrower band."

    return verdict(first_problem(answer, cases), "spread within each modality, and close in pairs.")


def collapse_with_dispersion(answer) -> bool:
    """Exercise 2 of notebook 06: a collapse, although dispersion is on, that fused accuracy does not show."""

    def cases(setting):
        run = lab_run(setting, TERMS)
        if run.setting.dispersion_weight < 0.3:
            yield f"dispersion_weight is {run.setting.dispersion_weight:g}: keep it at 0.3 or more."
        crowding = {m: run.now[f"mean_cosine/{m}"] for m in "ab"}
        fused = run.now["accuracy/fused"]
        for m, value in crowding.items():
            if value < 0.9:
                yield f"the mean cosine of {m} is {value:.2f}, below 0.9: which term likes a crowd?"
        if fused < 0.9:
            yield f"collapsed, but fused accuracy fell to {fused:.2f}: go less far."

    return verdict(first_problem(answer, cases), "collapsed with dispersion on, and fused accuracy is blind.")


def sampling_error(answer) -> bool:
    """Exercise 3 of notebook 06: standard error, in points, of an accuracy of 0.95 on 300 samples."""

    def cases(value):
        if value is None or value is ...:
            raise Open
        value, variance = float(value), 0.95 * 0.05
        if abs(value - math.sqrt(variance / 300)) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * variance / 300) < 1e-3:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(variance)) < 0.1:
            yield "that is the spread of a single sample's result; a mean of 300 has a 300th of the variance."
        if abs(value - 196 * math.sqrt(variance / 300)) < 0.05:
            yield "that is half of a 95 % interval; the standard error is the part before the 1.96."
        if abs(value - 100 * math.sqrt(0.25 / 300)) < 0.05:
            yield "that is for an accuracy of 0.5; put 0.95 into p (1 - p)."
        if abs(value - 100 * math.sqrt(variance / 300)) > 0.02:
            yield "a result is right with p = 0.95, its variance is p (1 - p), and there are 300."

    return verdict(first_problem(answer, cases), "1.26 points: most differences in the lab are smaller.")


# Notebook 15


def judge(answer) -> bool:
    """Exercise 1 of notebook 15: the status of a gain, from the paper's gain and our interval."""
    yes, side, no = "replicated", "replicated in direction", "not replicated"

    def cases(f):
        first = f(0.5, 0.1, 0.9)
        if first is None or first is ...:
            raise Open
        if first not in (yes, side, no):
            yield f"return 'replicated', 'replicated in direction' or 'not replicated', not {first!r}."
        if f(0.5, -0.2, 1.2) != no:
            yield "[-0.2, 1.2] holds zero, and what holds zero replicates nothing, whatever else it holds."
        if first != yes:
            yield f"[0.1, 0.9] leaves zero out and holds the paper's 0.5: {yes}, not {first}."
        if f(0.5, 1.0, 2.0) != side:
            yield "[1, 2] lies on the paper's side of zero, and 0.5 is outside it: in direction only."
        if f(0.5, -2.0, -1.0) != no:
            yield "[-2, -1] leaves zero out on the other side: that is no replication."
        if f(-0.4, -0.6, -0.1) != yes or f(-0.4, 0.1, 0.9) != no:
            yield "a paper's gain may be negative, as for the deviation of pairs: its side is below zero."

    return verdict(first_problem(answer, cases), "the rule of this report, in your own code.")


def best_of_ten(answer) -> bool:
    """Exercise 2 of notebook 15: points that the best of ten equal looks at 744 clips adds, on average."""

    def cases(value):
        if value is None or value is ...:
            raise Open
        value, error = float(value), math.sqrt(0.7765 * (1 - 0.7765) / 744)
        lift = 1.5388 * error  # the mean of the largest of ten normal draws, times the standard error
        if abs(value - lift) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 77.65 - 100 * lift) < 0.2:
            yield "that is the mean of the best; subtract the accuracy that all ten share."
        if abs(value - 100 * error) < 0.1:
            yield "that is the spread of a single look; take the largest of ten, and the mean over many."
        if abs(value - 200 * lift) < 0.2:
            yield "that is from the worst of ten to the best; count from the accuracy that all ten share."
        if abs(value) < 0.1:
            yield "the mean of ten looks adds nothing; the best of ten does."
        if abs(value - 100 * lift) > 0.1:
            yield "draw 744 clips ten times, keep the best of ten, repeat often, and average what it adds."

    return verdict(first_problem(answer, cases), "2.3 points, from choosing alone.")


def seeds_for(answer) -> bool:
    """Exercise 3 of notebook 15: seeds per arm that show a gain with 80 % power at the 5 % level."""
    level, power = 1.959964, 0.841621  # standard deviations for 5 % in two tails, and for 80 %

    def needed(gain, first, second, deviations=level + power):
        return deviations**2 * (first**2 + second**2) / gain**2

    def cases(f):
        case = (0.25, 1.0, 3.0)
        value = f(*case)
        if value is None or value is ...:
            raise Open
        value, whole = float(value), needed(*case)
        if not math.isfinite(value) or value < 1:
            yield f"f{case} must be a number of seeds, and yours is {value:g}."
        mistakes = {
            needed(0.25, 1, 0): "there are two arms, and the variance of a difference is the sum of both.",
            needed(0.25, 0, 3): "there are two arms, and the variance of a difference is the sum of both.",
            whole / 2: "the variance of a difference is the sum of both arms' variances, not their mean.",
            needed(*case, level): "with so few, half of all studies miss the gain: 80 % power asks for more.",
            needed(*case, level + 1.281552): "that is 90 % power; for 80 % it is 0.84 deviations.",
            needed(*case, 1.644854 + power): "that is one-sided; 5 % in two tails is 1.96 deviations.",
            needed(0.25, 4, 0): "spreads add as squares: 1 and 9 make 10, and not 16.",
            needed(0.25, 2, 0): "square the spreads: 1 and 3 make variances of 1 and 9.",
            whole * 0.25: "the standard error falls with the root of the seeds: divide by the gain squared.",
            whole / (level + power): "square the 2.80 deviations too.",
            2 * whole: "that is both arms together; the exercise asks for the seeds of each.",
        }
        for wrong, why in mistakes.items():
            if abs(value - wrong) <= 2 + 0.003 * wrong:
                yield f"f{case} is {value:g}: {why}"
        for case in ((0.25, 1.0, 3.0), (0.25, 3.0, 1.0), (-0.4, 1.0, 1.0)):
            value, fewest = float(f(*case)), math.ceil(needed(*case))
            if not fewest - 1 < value <= fewest + 3:  # Student's t takes one or two more than the normal
                yield f"f{case} must be {fewest}, or a few more with Student's t, and yours is {value:g}."
            if value != int(value):
                yield f"{value:.1f} seeds cannot be run: round up."

    return verdict(first_problem(answer, cases), "what a gain of this size asks of each arm.")


# Notebook 13


def best_rank(answer) -> bool:
    """Exercise 1 of notebook 13: the rank of the best of an image's own captions, ties averaged."""

    def rank(f, cosines, own):
        value = f(torch.tensor(cosines), torch.tensor(own))
        if value is None or value is ...:
            raise Open
        return float(value)

    def cases(f):
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

    return verdict(first_problem(answer, cases), "nothing is found by a model that sees nothing.")


def gradient_in_parts(answer) -> bool:
    """Exercise 2 of notebook 13: the gradient of a loss over the whole batch, one part at a time."""
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 4, 2)]
    weights = torch.randn(2, 3, generator=generator, dtype=torch.float64)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.largest = torch.nn.Parameter(weights.clone()), 0

        def forward(self, x):
            if torch.is_grad_enabled():
                self.largest = max(self.largest, len(x))
            return torch.tanh(x @ self.weight.T)

    def loss(z):
        u = F.normalize(z, dim=1)
        return torch.logsumexp((5 * u @ u.T).flatten(), dim=0)

    def gradient_of(embedded):
        encoder = Encoder()
        sum(loss(encoder(x)) for x in embedded).backward()
        return encoder.weight.grad

    def cases(f):
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
        if torch.allclose(found, gradient_of([torch.cat(parts)]) * 0):
            yield "the gradient is zero: give each part the rows of z.grad that are its own."
        if not torch.allclose(found, wanted):
            yield "that is not the whole batch's gradient: each part gets its own rows of z.grad."

    return verdict(first_problem(answer, cases), "the whole batch's gradient, with one part's activations.")


# Notebook 14


def subset_shares(answer) -> bool:
    """Exercise 1 of notebook 14: how often modality dropout trains each subset of the modalities."""

    def shares(f, keep):
        found = f(dict(keep))
        if found is None or found is ...:
            raise Open
        return found

    def cases(f):
        found = shares(f, {"a": 0.5, "b": 0.5})
        if not isinstance(found, dict) or not all(isinstance(subset, frozenset) for subset in found):
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

    return verdict(
        first_problem(answer, cases), "radar alone: 0.5 x 0.1 x 0.4 / 0.98, two batches of a hundred."
    )


def unused_children(answer) -> bool:
    """Exercise 2 of notebook 14: children of a network that its forward pass does not run."""
    from torch import nn

    class Network(nn.Module):
        def __init__(self, run):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.ReLU()
            self.run = run

        def forward(self, x):
            for name in self.run:
                x = getattr(self, name)(x)
            return x

    def cases(f):
        x = torch.ones(3, 2)
        for run, unused in [
            ("ac", {"b"}),
            ("abc", set()),
            ("a", {"b", "c"}),
            ("aa", {"b", "c"}),
            ("cb", {"a"}),
        ]:
            network = Network(run)
            found = f(network, x)
            if found is None or found is ...:
                raise Open
            if isinstance(found, (list, tuple, dict)):
                yield f"return a set of names, not a {type(found).__name__}."
            if found == {"a", "b", "c"} - unused and found != unused:
                yield "these are the children that run; return the others."
            if any("." in name for name in found):
                yield "only direct children: 'b.0' is a child of 'b'."
            if found != unused:
                yield f"where forward runs {', '.join(run)}, the unused are {sorted(unused) or 'none'}."
            if any(module._forward_hooks for module in network.modules()):
                yield "a hook was left behind: keep the handles, and call remove() on each."
            if any(p.grad is not None for p in network.parameters()):
                yield "the network has gradients that it did not have: no backward pass is needed."

    return verdict(first_problem(answer, cases), "X-Fi's WiFi encoder would have named its spare layers.")


# Notebook 12


def best_naming(answer) -> bool:
    """Exercise 1 of notebook 12: the share that is right where clusters are named after classes, at best."""

    def cases(f):
        labels = [0, 0, 0, 1, 1, 2]
        value = number(f(labels, [2, 2, 2, 0, 0, 1]))
        if value == 0:
            yield "clusters have no names: 2, 2, 2, 0, 0, 1 sorts 0, 0, 0, 1, 1, 2 perfectly."
        if value == 6:
            yield "it returned how many are right: divide by how many there are."
        if abs(value - 1) > 1e-9:
            yield f"a perfect sorting under other numbers must give 1, and yours gives {value:.3g}."
        value = number(f(labels, [0] * 6))
        if abs(value - 0.5) > 1e-9:
            yield f"one cluster is named after its largest class, 3 of 6 right, and yours gives {value:.3g}."
        value = number(f(labels, list(range(6))))
        if abs(value - 1) < 1e-9:
            yield "six clusters, three classes: no class may name two clusters, so three stay without a name."
        if abs(value - 0.5) > 1e-9:
            yield f"a cluster for each of six samples of three classes gives 3 / 6, not {value:.3g}."
        value = number(f([0] * 8 + [1] * 5, [0] * 5 + [1] * 3 + [0] * 4 + [1]))
        if abs(value - 8 / 13) < 1e-9:
            yield "both clusters were named after the class that is largest in them; no class may name two."
        if abs(value - 6 / 13) < 1e-9:
            yield "naming the largest count first, or in order, is not the best way: try all namings."
        if abs(value - 7 / 13) > 1e-9:
            yield f"counts 5, 3 of one class and 4, 1 of the other: 3 + 4 of 13 are right, not {value:.3g}."
        value = number(f([7, 7, 30], [100, 100, 5]))
        if abs(value - 1) > 1e-9:
            yield f"numbers may have gaps: 7, 7, 30 and 100, 100, 5 must give 1, not {value:.3g}."

    return verdict(first_problem(answer, cases), "the best of all namings, with none given twice.")


def photograph_error(answer) -> bool:
    """Exercise 2 of notebook 12: standard error, in points, of 87.5 % on 132 pictures of ten pairs each."""

    def cases(answer):
        value, variance = number(answer), 0.875 * 0.125
        if abs(value - 100 * math.sqrt(variance / 1320)) < 0.02:
            yield "that is for 1,320 independent pairs; the ten of a photograph are right or wrong together."
        if abs(value - math.sqrt(variance / 132)) < 2e-3:
            yield "that is a share; in points, multiply by 100."
        if abs(value - 100 * variance / 132) < 0.01:
            yield "that is a variance: take the root before you multiply by 100."
        if abs(value - 100 * math.sqrt(variance)) < 0.1:
            yield "that is for a single photograph; the mean of 132 has a 132nd of the variance."
        if abs(value - 100 * math.sqrt(variance / 13200)) < 0.02:
            yield "ten pairs of a photograph make the sample smaller, not larger."
        if abs(value - 100 * math.sqrt(variance / 132)) > 0.05:
            yield "ask how many answers the method really gave: one a photograph, right with p = 0.875."

    return verdict(first_problem(answer, cases), "2.9 points: there are 132 answers, and not 1,320.")


def three_rules(answer) -> bool:
    """Exercise 3 of notebook 12: two distributions that three rules read as three different clusters."""

    def cases(f):
        made = f()
        if made is None or made is ...:
            raise Open
        p, q = (torch.as_tensor(x, dtype=torch.float64) for x in made)
        if p.ndim != 1 or p.shape != q.shape or len(p) < 4:
            shapes = f"{tuple(p.shape)} and {tuple(q.shape)}"
            yield f"the shapes are {shapes}: give two lists of equal length, 4 or more."
        for name, x in (("p", p), ("q", q)):
            if (x < 0).any() or abs(x.sum() - 1) > 1e-6:
                yield f"{name} is no distribution: entries from 0, which add up to 1 (yours: {x.sum():.3f})."
        for name, x in (("p", p), ("q", q), ("the product", p * q), ("the mean", (p + q) / 2)):
            largest = x.topk(2).values
            if name not in "pq" and largest[0] - largest[1] < 1e-9:
                yield f"two entries of {name} are equally large: make one of them the largest."
        if abs(p.max() - q.max()) < 1e-9:
            yield "both are equally certain: make the largest entry of one of them larger."
        rules = {
            "the product": int((p * q).argmax()),
            "the mean": int((p + q).argmax()),
            "the more certain one": int((p if p.max() > q.max() else q).argmax()),
        }
        # Where the product and the more certain one agree, the mean agrees with both.
        for first, second in (("the product", "the mean"), ("the mean", "the more certain one")):
            if rules[first] == rules[second]:
                yield f"{first} and {second} both say {rules[first]}: they have to differ."

    return verdict(
        first_problem(answer, cases), "three rules, three clusters: a table has to say which it took."
    )
