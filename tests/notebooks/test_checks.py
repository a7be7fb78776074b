"""The exercises' checks: a right answer passes, and each typical mistake gets the sentence that names it."""

import itertools
import math

import checks
import numpy as np
import pytest
import torch
from checks import judging
from scipy.stats import t
from torch.nn import functional as F
from torch.nn.functional import normalize

from experiments.judging import verdict_of_gain
from geomreg_mini import dispersion


def excess(a, b, radius):
    return ((normalize(a, dim=1) - normalize(b, dim=1)).square().sum(1) - radius**2).clamp(min=0)


def root_form(a, b, radius):
    distance = (normalize(a, dim=1) - normalize(b, dim=1)).square().sum(1).sqrt()
    return (distance**2 - radius**2).clamp(min=0).mean()


BAND_MISTAKES = {
    "put your own code": lambda a, b, r: ...,
    "only a tensor carries a gradient": lambda a, b, r: 1.0,
    "take the mean": lambda a, b, r: excess(a, b, r),
    "this is the sum over pairs": lambda a, b, r: excess(a, b, r).sum(),
    "active pairs only": lambda a, b, r: excess(a, b, r)[excess(a, b, r) > 0].mean(),
    "must give 1.333": lambda a, b, r: excess(a, b, r / 2).mean(),
    "square the radius": lambda a, b, r: excess(a, b, r**0.5).mean(),
    "both modalities must feel": lambda a, b, r: excess(a, b.detach(), r).mean(),
    "normalize both first": lambda a, b, r: ((a - b).square().sum(1) - r**2).clamp(min=0).mean(),
    "carries no gradient": lambda a, b, r: excess(a, b, r).mean().detach(),
    "gradient at distance 0 is not finite": root_form,
    "stopped with NameError": lambda a, b, r: undefined,  # noqa: F821
}


DISPERSION_MISTAKES = {
    "put your own code": lambda z, present: None,
    "absent samples still take part": lambda z, present: dispersion(z),
    "drop the rows": lambda z, present: dispersion(z * present[:, None]),
    "six present samples must give": lambda z, present: 2 * dispersion(z[present]),
    "the value must be 0, not": lambda z, present: dispersion(z[present]) if present.sum() > 1 else z.mean(),
    "two present samples are a pair": lambda z, present: (
        dispersion(z[present]) if present.sum() > 2 else 0 * z[present].sum()
    ),
    "make the result hang on z": lambda z, present: (
        dispersion(z[present]) if present.sum() > 1 else torch.tensor(0.0)
    ),
    "absent samples may hold NaN": lambda z, present: (
        dispersion(z[present]) if present.sum() > 1 else 0 * z.sum()
    ),
    "there is no pair": lambda z, present: dispersion(z[present]) + (present.sum() < 2),
}


def shortest(g_inter, g_disp, limit=(0.0, 1.0), equal=0.5):
    apart = g_disp - g_inter
    return (apart @ g_disp / (apart @ apart)).clamp(*limit) if apart.any() else equal


MIXING_MISTAKES = {
    "put your own code": lambda first, second: None,
    "yours is that of g_disp": lambda first, second: 1 - shortest(first, second),
    "alpha is 0.1, and yours is 0.5": lambda first, second: torch.tensor(0.5),
    "Keep it between 0 and 1": lambda first, second: shortest(first, second, limit=(-9.0, 9.0)),
    "a finite number is asked for, and yours is nan": lambda first, second: torch.tensor(float("nan")),
    "for two equal gradients return 0.5": lambda first, second: shortest(first, second, equal=0.0),
    "if g_inter is zero": lambda first, second: shortest(first, second) if first.any() else torch.tensor(0.0),
}


def by_grid(g_inter, g_disp):
    alpha = torch.linspace(0, 1, 1001)[:, None]
    length = (alpha * g_inter + (1 - alpha) * g_disp).norm(dim=1)
    return 0.5 if torch.equal(g_inter, g_disp) else alpha[length.argmin()]


@pytest.mark.parametrize(
    ("guess", "opening"),
    [
        (None, "No prediction stored; what happened"),
        (" B ", "As you predicted"),
        ("a", "You predicted a; what happened"),
    ],
)
def test_a_prediction_is_compared_with_what_happened(guess, opening, capsys):
    checks.predicted(guess, "b", "it is so.")
    assert capsys.readouterr().out.startswith(f"{opening}: b, because it is so.")


def test_a_loss_of_one_number_passes_as_it_is():
    value = torch.tensor(2.0)
    assert judging.scalar(value) is value


def spectrum_rank(z, *, normalized=True, center=True, power=1, entropy=torch.special.entr, last=torch.exp):
    u = normalize(z, dim=1) if normalized else z
    values = torch.linalg.svdvals(u - u.mean(0) if center else u) ** power
    return last(entropy(values / values.sum()).sum())


RANK_MISTAKES = {
    "put your own code": lambda z: ...,
    "it is not finite if": lambda z: spectrum_rank(z, entropy=lambda p: -p * p.log()),
    "take its exponential": lambda z: spectrum_rank(z, last=lambda h: h),
    "use 2 directions equally": lambda z: spectrum_rank(z) + 1,
    "normalize each row first": lambda z: spectrum_rank(z, normalized=False),
    "subtract the mean row": lambda z: spectrum_rank(z, center=False),
    "squares of the singular values": lambda z: spectrum_rank(z, power=2),
    "normalize first, then center": lambda z: spectrum_rank(z.sub_(z.mean(0))),
}


def test_effective_rank_accepts_a_number_or_a_tensor():
    assert checks.effective_rank(spectrum_rank)
    assert checks.effective_rank(lambda z: spectrum_rank(z).item())


def in_few_places(z, *, power=2, opposite=True, axes=None, count=None, centered=True, by=None):
    """Rows on the eigenvectors of the covariance, dealt out one pair at a time, with options for mistakes."""
    u = normalize(z, dim=1)
    values, vectors = torch.linalg.eigh(torch.cov((u - u.mean(0)).T))
    shares = values.clamp(min=0) ** (power / 2)
    shares = shares / shares.sum() if by is None else torch.full_like(shares, 1 / len(shares))
    given, rows = torch.zeros_like(shares), []
    for _ in range(len(z) // 2 if count is None else count):
        axis = (shares - given / (given.sum() + 1)).argmax() if given.any() else shares.argmax()
        given[axis] += 1
        row = (vectors.T if axes is None else axes)[axis]
        rows += [row, -row if opposite else row]
    return torch.stack(rows)


TWIN_MISTAKES = {
    "put your own code": lambda z: ...,
    "as many rows and columns": lambda z: in_few_places(z, count=5),
    "squared singular value": lambda z: in_few_places(z, power=1),
    "the effective rank is": lambda z: in_few_places(z, by="all alike"),
    "the participation ratio is": lambda z: z[: len(z) // 8].repeat(8, 1),
    "each with its opposite": lambda z: in_few_places(z, opposite=False) + 0 * z,
    "are allowed": lambda z: z,
    "not finite": lambda z: z / 0,
    "a row of your twin is zero": lambda z: z - z,
    "give 2 dimensions": lambda z: z[0],
}


def honest(interval, statistic, draw, n, worlds, *, truth=None, rows=None, ends=False, one=False, per=1.0):
    """Shares of a loop over NumPy arrays, and what can be wrong with it as options."""
    values = np.array([statistic(draw(rows or n)) for _ in range(150)])
    goal = values.mean() if truth is None else values[0]
    clouds = [draw(n)] * worlds if one else [draw(n) for _ in range(worlds)]
    low, high = np.array([interval(statistic, z) for z in clouds]).T
    below, above = (high < goal).mean(), (low > goal).mean()
    found = {"below": above, "above": below} if ends else {"below": below, "above": above}
    found |= {"contains": 1 - below - above, "width": (high - low).mean()}
    return {name: per * value for name, value in found.items()}


def with_honest(**options):
    return lambda *given: honest(*given, **options)


def of_the_same_cloud(interval, statistic, draw, n, worlds):
    [draw(n) for _ in range(100)]
    clouds = [draw(n) for _ in range(worlds)]
    ends = [(interval(statistic, z), statistic(z)) for z in clouds]
    inside = sum(low <= value <= high for (low, high), value in ends) / worlds
    return {"contains": inside, "below": 1 - inside, "above": 0.0, "width": 1.0}


COVERAGE_MISTAKES = {
    "put your own code": lambda *given: None,
    "a dict with four entries": lambda *given: tuple(honest(*given).values()),
    "the entries must be": lambda *given: {"contains": honest(*given)["contains"]},
    "the question is about": with_honest(rows=1000),
    "you made 499 intervals": lambda interval, statistic, draw, n, worlds: honest(
        interval, statistic, draw, n, worlds - 1
    ),
    "draw a fresh cloud for each world": with_honest(one=True),
    "must add up to 1": with_honest(per=100),
    "below and above are swapped": with_honest(ends=True),
    "clouds that are not used again": of_the_same_cloud,
    "the mean width is": lambda *given: (found := honest(*given)) | {"width": found["width"] / 2},
    "call interval(statistic, z)": lambda interval, statistic, *rest: honest(
        lambda own, z: interval(z, own), statistic, *rest
    ),
    "and yours is nan": lambda *given: honest(*given) | {"above": math.nan},
}


DIAGNOSES = {"P": "cone", "Q": "rotation", "R": "gap", "S": "few directions"}


PATIENTS_MISTAKES = {
    "some patients have no diagnosis yet": DIAGNOSES | {"P": None},
    "nearly all of its directions are in use": DIAGNOSES | {"P": "few directions"},
    "its CKA is that of the healthy pair": DIAGNOSES | {"Q": "shuffled"},
    "leaves mean cosine and gap near 0": DIAGNOSES | {"R": "rotation"},
    "compare each number with the healthy pair's": DIAGNOSES | {"S": "shuffled"},
    "'flu' is not among the diagnoses": DIAGNOSES | {"S": "flu"},
}


def pair_mean(z, temperature, *, scale=1.0, root=False, keep=False, count=None):
    """The dispersive term, written naively and with the mistakes that its options name."""
    u = normalize(z, dim=1)
    distance = (2 - 2 * u @ u.T).clamp(min=0)
    distance = distance.sqrt() if root else distance
    close = torch.exp(-distance * scale / temperature)
    close = close if keep else close * (1 - torch.eye(len(z)))
    return close.sum() / (count or (len(z) ** 2 if keep else len(z) * (len(z) - 1)))


def unnormalized(z, temperature):
    close = torch.exp(-torch.cdist(z, z).square() / temperature) * (1 - torch.eye(len(z)))
    return (close.sum() / (len(z) * (len(z) - 1))).log()


def mean_exponent(z, temperature):
    u = normalize(z, dim=1)
    return -(2 - 2 * u @ u.T).sum() / (len(z) * (len(z) - 1)) / temperature


def rooted(z, temperature):
    slope = (z[0] - z[1]).square().sum().sqrt()  # infinite where two samples are equal
    return dispersion(z, temperature=temperature) + 0 * slope


STABLE_MISTAKES = {
    "put your own code": lambda z, t: ...,
    "pairs i = j still take part": lambda z, t: pair_mean(z, t, keep=True).log(),
    "still divides by B * B": lambda z, t: pair_mean(z, t, count=len(z) ** 2).log(),
    "divided by the dimension": lambda z, t: pair_mean(z, t, scale=1 / z.shape[1]).log(),
    "holds the distance": lambda z, t: pair_mean(z, t, root=True).log(),
    "sign of the exponent is reversed": lambda z, t: pair_mean(z, t, scale=-1).log(),
    "logarithm is missing": lambda z, t: pair_mean(z, t),
    "must give -4, and yours": lambda z, t: 2 * dispersion(z, temperature=t),
    "normalize first": unnormalized,
    "mean of the exponents": mean_exponent,
    "log(0) is infinite": lambda z, t: pair_mean(z, t).log(),
    "must give -400": lambda z, t: dispersion(z, temperature=max(t, 0.02)),
    "carries no gradient": lambda z, t: dispersion(z, temperature=t).detach(),
    "gradient that is not finite": rooted,
}


def geometric(clumps, reads, *, rows=1500, least=2, turn=None, off=1.0, columns=32):
    """Clumps whose sizes fall by one ratio, which is halved until the reading fits."""
    low, high = 0.0, 1.0
    for _ in range(30):
        ratio = (low + high) / 2
        shares = torch.tensor([ratio**k for k in range(clumps)])
        sizes = (least + (rows - least * clumps) * shares / shares.sum()).floor().long()
        z = torch.eye(columns)[:clumps].repeat_interleave(sizes, dim=0)
        low, high = (ratio, high) if -dispersion(z, temperature=0.1) < math.log(off * reads) else (low, ratio)
    return z if turn is None else turn(z)


MISCOUNTED_MISTAKES = {
    "put your own code": lambda clumps, reads: ...,
    "give (N, 32)": lambda clumps, reads: geometric(clumps, reads, columns=40),
    "N of at most 2000": lambda clumps, reads: geometric(clumps, reads, rows=3000),
    "different places": lambda clumps, reads: geometric(clumps + 1, reads),
    "too low: shrink": lambda clumps, reads: geometric(clumps, reads, off=0.9),
    "too high: grow": lambda clumps, reads: torch.eye(32)[:clumps].repeat(50, 1),
    "nearer than 60 degrees": lambda clumps, reads: torch.eye(32)[:clumps].repeat(50, 1) + 0.3,
    "at least two are needed": lambda clumps, reads: torch.cat(
        [torch.eye(32)[:1].repeat(90, 1), torch.eye(32)[1:clumps]]
    ),
    "a row is zero": lambda clumps, reads: torch.zeros(50, 32),
    "not finite": lambda clumps, reads: torch.full((50, 32), math.nan),
    "give 2 dimensions": lambda clumps, reads: torch.tensor([reads] * clumps),
}


def by_curvature(term, z, generator, *, limit=1e-4, least=-1e-3):
    """The word from the smallest eigenvalue of the Hessian of one small step, without any shake."""
    u = normalize(z, dim=1)
    x = u.clone().requires_grad_()
    if torch.autograd.grad(term(x), x)[0].norm() > limit:
        return "moves"
    hessian = torch.autograd.functional.hessian(lambda flat: term(flat.view_as(u)), u.flatten())
    return "leaves" if torch.linalg.eigvalsh(hessian).min() < least else "stays"


def by_shake(term, z, generator, *, limit=1e-4, noise=None, far=10, steps=200, sign=1, first=True):
    u = normalize(z, dim=1)

    def slope(v):
        x = v.clone().requires_grad_()
        return torch.autograd.grad(term(x), x)[0]

    if first and slope(u).norm() > limit:
        return "moves"
    shake = 0.01 * torch.randn(u.shape, generator=generator) if noise is None else noise(u)
    v = normalize(u + shake, dim=1)
    began = (v - u).norm()
    for _ in range(steps):
        v = normalize(v - sign * slope(v), dim=1)
    return "leaves" if (v - u).norm() > far * began else "stays"


RESTING_MISTAKES = {
    "put your own code": lambda *given: None,
    "its gradient is above 0.0001": lambda *given: by_shake(*given, limit=0.01),
    "so no shake is needed": lambda *given: by_shake(*given, first=False),
    "without a shake even a summit holds": lambda *given: by_shake(*given, noise=torch.zeros_like),
    "shake every row": lambda *given: by_shake(
        *given, noise=lambda u: 0.01 * torch.eye(*u.shape)[:1] * (torch.arange(len(u)) < 1)[:, None]
    ),
    "compare with ten times the shake": lambda *given: by_shake(*given, far=0.5),
    "its gradient is 0.": lambda term, z, g: by_curvature(term, z, g, limit=-1),
    "is not among the words": lambda *given: by_shake(*given).upper(),
    "is of type bool": lambda *given: by_shake(*given) == "stays",
    "at its lowest point": lambda *given: by_shake(*given, sign=-1),
}


def corner(accuracy, seeds, stored, *, points=100, ddof=1, quantile=None, root=0.5, shifted=0.0, apart=None):
    """The gain of weight 1 in a corner, with what can be wrong about it as options."""
    gains = [points * (accuracy(1, seed) - accuracy(0, seed)) for seed in seeds]
    n, mean = len(gains), sum(gains) / len(gains)
    spread = (sum((gain - mean) ** 2 for gain in gains) / (n - ddof)) ** 0.5
    half = (t.ppf(0.975, n - 1) if quantile is None else quantile) * spread / n**root
    other, low, high = stored
    far = (
        abs(mean - other) > math.hypot(half, (high - low) / 2) if apart is None else apart(mean, half, stored)
    )
    return mean, mean - half + shifted, mean + half + shifted, far


def with_corner(**options):
    return lambda *given: corner(*given, **options)


def unpaired(accuracy, seeds, stored):
    return corner(lambda weight, seed: accuracy(weight, seeds[seeds.index(seed) - weight]), seeds, stored)


CORNER_GAIN_MISTAKES = {
    "put your own code": lambda *given: ...,
    "give four values": lambda *given: corner(*given)[:3],
    "multiply it by 100": with_corner(points=1),
    "the sign is reversed": with_corner(points=-100),
    "weight 0 and with weight 1, and yours are not": lambda a, seeds, stored: corner(a, seeds[:-1], stored),
    "you asked for weight 10": lambda a, *rest: corner(lambda w, s: a(10 * w, s), *rest),
    "divide by the root": with_corner(root=0),
    "divides by n - 1": with_corner(ddof=0),
    "1.96 is for many seeds": with_corner(quantile=1.95996),
    "one standard error": with_corner(quantile=1),
    "seed by seed first": unpaired,
    "in one case, and yours is": with_corner(shifted=9),
    "your intervals overlap": with_corner(
        apart=lambda mean, half, stored: mean - half > stored[2] or mean + half < stored[1]
    ),
    "one mean lies outside": with_corner(apart=lambda mean, half, stored: not stored[1] <= mean <= stored[2]),
    "True or False": lambda *given: (*corner(*given)[:3], "no"),
    "and yours is nan": lambda *given: (math.nan, *corner(*given)[1:]),
}


def leads(
    run,
    seeds,
    *,
    weights=(0, 0.01, 0.03, 0.1, 0.3, 1),
    scale=math.log,
    sort=True,
    rigid=None,
    sign=1,
    word=None,
):
    """Band minus rigid alignment at equal drift, with what can be wrong about it as options."""
    found = {"private": [], "shared": []}
    for seed in seeds:
        band = run(1, 0.9, seed)
        family = [run(weight, 0, seed if rigid is None else rigid) for weight in weights]
        family = sorted(family, key=lambda row: row["drift"]) if sort else family
        places = [scale(row["drift"]) for row in family]
        for quantity, own in found.items():
            there = np.interp(scale(band["drift"]), places, [row[quantity] for row in family])
            own.append(sign * (band[quantity] - there))
    return {quantity: (own, word or in_words(own)) for quantity, own in found.items()}


def in_words(own):
    half = t.ppf(0.975, len(own) - 1) * np.std(own, ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0
    return "band" if np.mean(own) > half else "rigid" if np.mean(own) < -half else "undecided"


def with_leads(change):
    return lambda run, seeds: {q: (change(own), word) for q, (own, word) in leads(run, seeds).items()}


def at_equal_weight(run, seeds):
    leads(run, seeds)
    own = {q: [run(1, 0.9, seed)[q] - run(1, 0, seed)[q] for seed in seeds] for q in ("private", "shared")}
    return {q: (values, in_words(values)) for q, values in own.items()}


LEAD_MISTAKES = {
    "put your own code": lambda run, seeds: None,
    "give a dict with two entries": lambda run, seeds: leads(run, seeds)["private"],
    "the entries must be": lambda run, seeds: {"private": leads(run, seeds)["private"]},
    "give (leads, word)": lambda run, seeds: {q: own for q, (own, _) in leads(run, seeds).items()},
    "you returned 1 numbers": with_leads(lambda own: [sum(own) / len(own)]),
    "give 1 dimension": with_leads(lambda own: sum(own) / len(own)),
    "with all six weights, for every seed": lambda run, seeds: leads(run, seeds, weights=(0, 1)),
    "the sign is reversed": lambda run, seeds: leads(run, seeds, sign=-1),
    "the rigid run of weight 1": at_equal_weight,
    "you interpolated on the drift itself": lambda run, seeds: leads(run, seeds, scale=float),
    "pair them seed by seed": lambda run, seeds: leads(run, seeds) and leads(run, seeds, rigid=seeds[1]),
    "weight 0 belongs to the family": lambda run, seeds: (
        leads(run, seeds) and leads(run, seeds, weights=(0.01, 0.03, 0.1, 0.3, 1))
    ),
    "sorted by drift": lambda run, seeds: leads(run, seeds, sort=False),
    "the first lead must be": lambda run, seeds: leads(run, seeds, sign=2),
    "each seed counts alone": lambda run, seeds: (
        leads(run, seeds) if len(seeds) > 2 else {q: ([0.0, 0.0], "band") for q in ("private", "shared")}
    ),
    "reads 'undecided', and you say 'band'": lambda run, seeds: leads(run, seeds, word="band"),
    "you trained weight 5": lambda run, seeds: leads(run, seeds, weights=(5,)),
    "holds a value that is not finite": with_leads(lambda own: [math.nan] * len(own)),
}


def rippled(private, drift, *, even=True, center=1.0, factor=1.0, only=None, mixed=0.0, dims=16):
    """Unit vectors whose ripples lie on other axes for each modality; the size by a secant in its square."""
    names = list(private)
    white = {m: (x - x.mean(0)) / x.std(0) for m, x in private.items()}
    size = 0.1
    for _ in range(60):
        made = {}
        for k, m in enumerate(names):
            own = white[m] + mixed * white[names[1 - k]]
            own = own if even else own * (torch.arange(own.shape[1]) == 0)
            z = center * torch.eye(dims)[:1].repeat(len(own), 1)
            z[:, 1 + 5 * k : 1 + 5 * k + own.shape[1]] = size * own * (only is None or m == only)
            made[m] = z
        a, b = (normalize(z, dim=1) for z in made.values())
        reached = (a - b).square().sum(1).mean().item()
        size *= (factor * drift / max(reached, 1e-9)) ** 0.5
    return made


AGREEING_MISTAKES = {
    "put your own code": lambda private, drift: ...,
    "a dict from modality": lambda private, drift: list(rippled(private, drift).values()),
    "those of private": lambda private, drift: dict(zip("ab", rippled(private, drift).values(), strict=True)),
    "give (1000, 16)": lambda private, drift: rippled(private, drift, dims=20),
    "a row is zero": lambda private, drift: {m: torch.zeros(1000, 16) for m in private},
    "change the size of the ripple": lambda private, drift: rippled(private, drift, factor=2),
    "the paired drift is": lambda private, drift: {
        m: torch.cat([x, torch.zeros(len(x), 16 - x.shape[1])], 1) for m, x in private.items()
    },
    "what its sensor does not see": lambda private, drift: rippled(private, drift, mixed=1.0),
    "equally strong": lambda private, drift: rippled(private, drift, even=False),
    "both modalities alike": lambda private, drift: rippled(private, drift, only="sound"),
    "not finite": lambda private, drift: {m: torch.full((1000, 16), math.nan) for m in private},
    "give 2 dimensions": lambda private, drift: {m: z[0] for m, z in rippled(private, drift).items()},
}


def turned(
    run, weights, seeds, *, choose=slice(0, None), best=max, test=None, among=None, width=None, word=None
):
    """The turning point with Student's interval; without options, chosen and tested on all seeds."""
    largest = max(weights)
    scores = {
        w: np.mean([run(w, seed) for seed in seeds[choose]]) for w in (among or weights) if w != largest
    }
    picked = best(scores, key=scores.get)
    change = np.array([run(largest, seed) - run(picked, seed) for seed in seeds[test or choose]])
    half = (
        (t.ppf(0.975, len(change) - 1) if width is None else width) * change.std(ddof=1) / len(change) ** 0.5
    )
    low, high = change.mean() - half, change.mean() + half
    said = "falls" if high < 0 else "rises" if low > 0 else "undecided"
    return picked, change.mean(), low, high, word or said


def in_halves(run, weights, seeds, **options):
    half = len(seeds) // 2
    return turned(run, weights, seeds, **{"choose": slice(0, half), "test": slice(half, None)} | options)


def unpaired_halves(run, weights, seeds):
    picked, mean, *_ = in_halves(run, weights, seeds)
    after, before = ([run(w, seed) for seed in seeds[len(seeds) // 2 :]] for w in (max(weights), picked))
    half = 2.3 * math.hypot(np.std(after), np.std(before)) / len(after) ** 0.5
    return picked, mean, mean - half, mean + half, "undecided"


TURN_MISTAKES = {
    "put your own code": lambda *given: ...,
    "return five things": lambda *given: in_halves(*given)[:4],
    "is the largest weight": lambda run, weights, seeds: (max(weights), *in_halves(run, weights, seeds)[1:]),
    "must not take part in the choice": turned,
    "of the seeds chooses": lambda *given: in_halves(*given, best=min),
    "you tested on the seeds that chose": lambda run, weights, seeds: turned(
        run, weights, seeds, choose=slice(0, len(seeds) // 2)
    ),
    "you tested on all seeds": lambda *given: in_halves(*given, test=slice(0, None)),
    "the sign is reversed": lambda *given: (lambda b, m, low, high, word: (b, -m, -high, -low, word))(
        *in_halves(*given)
    ),
    "take differences seed by seed": unpaired_halves,
    "is it one standard error": lambda *given: in_halves(*given, width=1),
    "and you say 'falls'": lambda *given: in_halves(*given, word="falls"),
    "you trained weight": lambda run, weights, seeds: run(5, seeds[0]),
    "and yours is nan": lambda *given: (in_halves(*given)[0], math.nan, 0, 1, "rises"),
}


def scanned(first, second, z, *, alpha=None, both=all, unit=False, scale=1.0, stop=1e-6, sign=1):
    """The step at which a term stops falling, by steps of half a percent."""
    x = z.clone().requires_grad_()
    slopes = [torch.autograd.grad(term(x), x)[0] for term in (first, second)]
    apart = slopes[1] - slopes[0]
    mix = ((apart * slopes[1]).sum() / apart.square().sum()).clamp(0, 1) if alpha is None else alpha
    way = mix * slopes[0] + (1 - mix) * slopes[1]
    if way.norm() < stop:
        return torch.tensor(0.0)
    way, step = (way / way.norm() if unit else way), 1e-4
    while step < 2000 and both(term(z - sign * step * way) < term(z) for term in (first, second)):
        step *= 1.005
    return scale * step


PROMISE_MISTAKES = {
    "put your own code": lambda *given: None,
    "the promise is about both": lambda *given: scanned(*given, both=any),
    "along the first gradient": lambda *given: scanned(*given, alpha=1),
    "along the second gradient": lambda *given: scanned(*given, alpha=0),
    "along the mean of both": lambda *given: scanned(*given, alpha=0.5),
    "along their sum": lambda *given: scanned(*given, alpha=0.5, scale=0.5),
    "that is the length of the way": lambda *given: scanned(*given, unit=True),
    "one of the terms stops falling at": lambda *given: scanned(*given, sign=-1),
    "return 0, and yours is": lambda *given: scanned(*given, stop=-1),
    "a finite number": lambda *given: math.nan,
    "it has shape": lambda first, second, z: z,
}


def drift_parts(a, b):
    difference = normalize(a, dim=1) - normalize(b, dim=1)
    gap = difference.mean(dim=0)
    return gap.square().sum(), (difference - gap).square().sum(dim=1).mean()


def raw_parts(a, b):
    return (a - b).mean(dim=0).square().sum(), drift_parts(a, b)[1]


DRIFT_MISTAKES = {
    "put your own code": lambda a, b: ...,
    "the parts are swapped": lambda a, b: drift_parts(a, b)[::-1],
    "needs its square": lambda a, b: (drift_parts(a, b)[0].sqrt(), drift_parts(a, b)[1]),
    "normalize both first": raw_parts,
    "the gap part must be": lambda a, b: (0, drift_parts(a, b)[1]),
    "divides by N - 1": lambda a, b: (drift_parts(a, b)[0], drift_parts(a, b)[1] * 6 / 5),
    "a trace is their sum": lambda a, b: (drift_parts(a, b)[0], drift_parts(a, b)[1] / 3),
    "the whole drift": lambda a, b: (drift_parts(a, b)[0], sum(drift_parts(a, b))),
    "the sample part must be": lambda a, b: (drift_parts(a, b)[0], 0),
    "stopped with TypeError": lambda a, b: 1.0,
}


UNSHIFTABLE_MISTAKES = {
    "put your own code": None,
    "square the gap first": 0.2,
    "what is left": 0.64,
    "that is a length": 0.6,
    "solve for the sample part": 1.0,
    "of type str: give a number": "0.36",
}


def pair_distances(a, b):
    return (normalize(a, dim=1) - normalize(b, dim=1)).norm(dim=1)


RADIUS_MISTAKES = {
    "put your own code": lambda a, b, share: None,
    "take the quantile 1 - share": lambda a, b, share: pair_distances(a, b).quantile(share),
    "the radius is a distance": lambda a, b, share: pair_distances(a, b).square().quantile(1 - share),
    "lies outside your radius 0.60": lambda a, b, share: 0.6,
    "normalize both first": lambda a, b, share: (a - b).norm(dim=1).quantile(1 - share),
}


def loud(claim, label, classes, *, sure=9.0, often=0.6, wrong_by=5.0):
    """The right answer to exercise 1 of notebook 07, with log probabilities; the options break it."""
    off = F.one_hot((label + 1) % classes, classes).double()
    on, count = F.one_hot(label, classes).double(), len(label)
    first = torch.arange(count)[:, None] < often * count
    if claim == "ahead":
        return sure * torch.where(first, on, off), (0.98 / classes + 0.02 * on).log()
    if claim == "together":
        half = torch.arange(count)[:, None] < count // 2
        return torch.where(half, on, wrong_by * off), torch.where(half, wrong_by * off, on)
    return 20 * on - 0.5 * off, off - on


def with_claim(claim, change):
    return lambda asked, *given: (
        change(loud(asked, *given), *given) if asked == claim else loud(asked, *given)
    )


SHARES_MISTAKES = {
    "put your own code": lambda claim, label, classes: None,
    "return two matrices of logits": lambda claim, label, classes: loud(claim, label, classes)[0],
    "give 2 dimensions": with_claim("ahead", lambda pair, *_: (pair[0][:, 0], pair[1])),
    "'together' has shapes": with_claim("together", lambda pair, *_: (pair[0][1:], pair[1])),
    "OGM must damp a": with_claim("ahead", lambda pair, *_: pair[::-1]),
    "b must be 30 points ahead": with_claim(
        "ahead", lambda pair, label, classes: (loud("finished", label, classes)[0], pair[1])
    ),
    "is right in 0 % alone": with_claim("together", lambda pair, *_: (-pair[0], pair[1])),
    "the one that is wrong be surer": lambda *given: loud(*given, wrong_by=0.9),
    "it must be below 0.01": with_claim("finished", lambda pair, *_: (pair[0] / 20, pair[1])),
    "it must be right nowhere": with_claim("finished", lambda pair, *_: (pair[0], -pair[1])),
    "not finite": with_claim("finished", lambda pair, *_: (pair[0] / 0, pair[1])),
    "stopped with": lambda claim, label, classes: loud(claim, label, 1),
}


def dgl_answer(fused=(True, False), own=(False, True), alphas=(0, 1), bias_too=True):
    """A loss; (head, embeddings) say who is alive in each branch, ``alphas`` the powers of alpha on them."""

    def keep(alive, *tensors):
        return tensors if alive else [t.detach() for t in tensors]

    def loss(z_a, z_b, w_a, w_b, bias, label, alpha):
        def parts(head_alive, embeddings_alive):
            shift = bias if head_alive or not bias_too else bias.detach()
            return (*keep(embeddings_alive, z_a, z_b), *keep(head_alive, w_a, w_b), shift)

        a, b, wa, wb, shift = parts(*fused)
        together = F.cross_entropy(a @ wa.T + b @ wb.T + shift, label)
        a, b, wa, wb, shift = parts(*own)
        alone = F.cross_entropy(a @ wa.T + shift, label) + F.cross_entropy(b @ wb.T + shift, label)
        return alpha ** alphas[0] * together + alpha ** alphas[1] * alone

    return loss


DGL_MISTAKES = {
    "put your own code": lambda **_: ...,
    "the fused loss still reaches z_a": dgl_answer(fused=(True, True)),
    "alpha is missing": dgl_answer(alphas=(0, 0)),
    "z_a gets the gradient of the fused loss": dgl_answer(fused=(True, True), own=(True, False)),
    "no gradient reaches z_a": dgl_answer(own=(False, False)),
    "no gradient reaches w_a": dgl_answer(fused=(False, False)),
    "the unimodal losses still reach w_a": dgl_answer(own=(True, True)),
    "the unimodal losses still reach bias": dgl_answer(bias_too=False),
    "alpha weighs the unimodal losses only": dgl_answer(alphas=(1, 1)),
    "of its modality alone": dgl_answer(alphas=(0, 2)),
}


def towards(gradients, rounds=4000):
    """The right answer to exercise 3 of notebook 07 by Frank and Wolfe's steps towards one gradient."""
    products = gradients @ gradients.T
    weights = torch.eye(len(gradients), dtype=products.dtype)[products.diagonal().argmin()]
    for _ in range(rounds):
        slopes = products @ weights
        change = torch.eye(len(gradients), dtype=products.dtype)[slopes.argmin()] - weights
        curve = (change @ products @ change).clamp(min=1e-12)
        weights = weights + (-(change @ slopes) / curve).clamp(0, 1) * change
    return weights


def best_pair(gradients):
    best = None
    for i, j in itertools.combinations(range(len(gradients)), 2):
        pair = towards(gradients[[i, j]], 60)
        length = (pair @ gradients[[i, j]]).norm()
        if best is None or length < best[0]:
            best = (length, i, j, pair)
    weights = torch.zeros(len(gradients)).double()
    weights[best[1]], weights[best[2]] = best[3]
    return weights


SHORTEST_MISTAKES = {
    "put your own code": lambda gradients: None,
    "give one weight for each": lambda gradients: towards(gradients)[1:],
    "none may be negative": lambda gradients: 2 * towards(gradients) - 1 / len(gradients),
    "they must sum to 1": lambda gradients: 2 * towards(gradients),
    "give 1 dimension": lambda gradients: towards(gradients)[:, None],
    "a longer gradient gets less": lambda gradients: gradients.norm(dim=1) / gradients.norm(dim=1).sum(),
    "and yours are 0.50, 0.50": lambda gradients: torch.full((len(gradients),), 1 / len(gradients)),
    "and yours are 0.25, 0.75": lambda gradients: (
        1 / gradients.norm(dim=1) / (1 / gradients.norm(dim=1)).sum()
    ),
    "for (3, 0) and (-1, 1) the weights are": lambda gradients: (
        1 / gradients.square().sum(1) / (1 / gradients.square().sum(1)).sum()
    ),
    "there is a shorter mixture": best_pair,
    "more weight on it helps": lambda gradients: towards(gradients, rounds=1),
    "not finite": lambda gradients: towards(gradients) * math.nan,
    "stopped with": lambda gradients: towards(gradients[99]),
}


# Notebook 09


def blind(claim, width, count):
    """The right answer to exercise 1 of notebook 09, with other batches than the notebook's."""
    turned = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(3))).Q
    signs = 1 - 2 * (torch.arange(count) % 2)
    if claim == "variance":
        corner = (1 - 2 * (torch.arange(width) % 3 == 0).float()) * width**-0.5
        return signs[:, None] * corner
    if claim == "covariance":
        return turned[:1].expand(count, width)
    axes = torch.eye(width)[torch.arange(count) // 2 % width] * signs[:, None]
    if claim == "twins":
        return axes, 3 * axes - 20
    if claim == "alignment":
        return torch.ones(count, width), torch.full((count, width), 7.0)
    return axes


def turned_axes(count, width):
    """Both ends of the axes of many orthonormal frames, which please both terms as one frame does."""
    generator = torch.Generator().manual_seed(0)
    frames = [
        torch.linalg.qr(torch.randn(width, width, generator=generator)).Q for _ in range(count // width)
    ]
    return torch.cat([sign * frame for frame in frames[: count // (2 * width)] for sign in (1, -1)])


def with_batch(claim, change):
    return lambda asked, *sizes: change(blind(asked, *sizes)) if asked == claim else blind(asked, *sizes)


BLIND_MISTAKES = {
    "put your own code": lambda *given: None,
    "was asked for": with_batch("variance", lambda z: z[1:]),
    "give 2 dimensions": with_batch("both", lambda z: z[0]),
    "two batches, a and b": with_batch("twins", lambda pair: pair[0]),
    "not of length 1": with_batch("both", lambda z: 2 * z),
    "and the mean must be 0": with_batch("variance", lambda z: z.abs()),
    "its features are correlated": with_batch("both", lambda z: blind("variance", z.shape[1], len(z))),
    "put all rows on one line": with_batch("variance", lambda z: blind("both", z.shape[1], len(z))),
    "a collapsed batch has no covariance": with_batch(
        "covariance", lambda z: blind("both", z.shape[1], len(z))
    ),
    "different places": with_batch("both", lambda z: turned_axes(*z.shape)),
    "each one must agree": with_batch("twins", lambda pair: (pair[0], pair[1].flip(1))),
    "which changes does standardizing undo": with_batch("twins", lambda pair: (pair[0], 3 * pair[0])),
    "partners must have one direction": with_batch("alignment", lambda pair: (pair[0], -pair[1])),
    "nothing to correlate": with_batch("alignment", lambda pair: (blind("both", *pair[0].T.shape),) * 2),
    "not finite": with_batch("variance", lambda z: z * math.nan),
    "stopped with": lambda claim, width, count: blind(claim, width, -count),
}  # fmt: skip


def length_class(
    total_of, returned=None, parameters=lambda self: {"weight": self.weight}, base=torch.nn.Module
):
    """A control whose total of two clouds is ``total_of(a, b)``, averaged over pairs."""
    from itertools import combinations

    from geomreg_mini.regularizer import RegularizerOutput

    class Control(base):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def forward(self, embeddings, mask=None):
            terms = [total_of(a, b) for a, b in combinations(embeddings.values(), 2)]
            total = self.weight * sum(terms) / len(terms)
            return returned(total, len(terms)) if returned else RegularizerOutput(total, {}, {}, {})

        __call__ = forward
        hyperparameters = parameters

    return Control


def log_length(z):
    return z.norm(dim=1).mean().log()


def unlike(a, b):
    return (log_length(a) - log_length(b)).square()


def summed(total, pairs):
    from geomreg_mini.regularizer import RegularizerOutput

    return RegularizerOutput(pairs * total, {}, {}, {})


class Unweighted(length_class(unlike)):
    def __init__(self, weight):
        super().__init__(1.0)


LENGTH_MISTAKES = {
    "put your own code": length_class(unlike, returned=lambda total, pairs: None),
    "it is not an nn.Module": length_class(unlike, base=object),
    "return a RegularizerOutput": length_class(unlike, returned=lambda total, pairs: total),
    "do not normalize": length_class(lambda a, b: unlike(normalize(a, dim=1), normalize(b, dim=1))),
    "compare their logarithms": length_class(lambda a, b: (a.norm(dim=1) - b.norm(dim=1)).mean().square()),
    "take the mean length first": length_class(
        lambda a, b: (a.norm(dim=1).log().mean() - b.norm(dim=1).log().mean()).square()
    ),
    "take the length of each embedding": length_class(
        lambda a, b: (a.mean(0).norm().log() - b.mean(0).norm().log()).square()
    ),
    "must be squared": length_class(lambda a, b: (log_length(a) - log_length(b)).abs()),
    "must give (log 3)^2": length_class(lambda a, b: 2 * unlike(a, b)),
    "carries no gradient": length_class(lambda a, b: unlike(a, b).detach()),
    "the mean over three pairs": length_class(unlike, returned=summed),
    "multiply by self.weight": Unweighted,
    "hyperparameters() must return": length_class(unlike, parameters=lambda self: {}),
    "stopped with TypeError": lambda: None,
}


def found_by(differences, level, *, ddof=1, tail=None, stop=True, up=False, ordered=False):
    """The right answer to exercise 3 of notebook 09, by adjusted p-values; the options make it wrong."""
    rows, n = differences.shape
    ratio = np.abs(differences.mean(1)) * n**0.5 / differences.std(1, ddof=ddof)
    p = 2 * (t.sf(ratio, n - 1) if tail is None else tail(ratio))
    order, holm, fdr = np.argsort(p), np.ones(rows), np.ones(rows)
    for k in range(rows):
        earlier = range(k + 1) if stop else [k]
        holm[order[k]] = max(p[order[j]] * (rows - j) for j in earlier)
        if up:
            holm[order[k]] = min(p[order[j]] * (rows - j) for j in range(k, rows))
        fdr[order[k]] = min(p[order[j]] * rows / (j + 1) for j in range(k, rows))
    masks = {"alone": p <= level, "Bonferroni": p <= level / rows, "Holm": holm <= level, "FDR": fdr <= level}
    return {name: m[order] for name, m in masks.items()} if ordered else masks


MANY_MISTAKES = {
    "put your own code": lambda d, level: None,
    "give a dict of four masks": lambda d, level: found_by(d, level)["Holm"],
    "give alone, Bonferroni": lambda d, level: {"alone": found_by(d, level)["alone"]},
    "give one each": lambda d, level: {n: m.nonzero()[0] for n, m in found_by(d, level).items()},
    "other values than True and False": lambda d, level: {n: 2 + m for n, m in found_by(d, level).items()},
    "turned round": lambda d, level: {n: ~m for n, m in found_by(d, level).items()},
    "takes the normal distribution": lambda d, level: found_by(
        d, level, tail=lambda x: 0.5 * torch.special.erfc(torch.as_tensor(x) / 2**0.5).numpy()
    ),
    "needs n - 1": lambda d, level: found_by(d, level, ddof=0),
    "the mask of 'Holm' is that of 'alone'": lambda d, level: (
        found_by(d, level) | {"Holm": found_by(d, level)["alone"]}
    ),
    "stop at the first that is above": lambda d, level: found_by(d, level, stop=False),
    "'Holm' is that of": lambda d, level: found_by(d, level, up=True),
    "or others": lambda d, level: found_by(d, level, ordered=True),
    "'Bonferroni' finds": lambda d, level: found_by(d, level / 2),
    "not finite": lambda d, level: {n: m * math.nan for n, m in found_by(d, level).items()},
    "stopped with": lambda d, level: found_by(d[0], level),
}


SPREAD_MISTAKES = {
    "put your own code": ...,
    "give a dict such as": 0.3,
    "the lab has no 'weight'": {"weight": 1.0},
    "leave noise at 0.6": {"noise": 0.0},
    "radius": {"radius": -1.0},
    "neither term does its work": {},
    "the pairs agree, but crowded": {"anchoring_weight": 0.3, "radius": 0.0},
    "spread, but the pairs lie apart": {"dispersion_weight": 0.3},
}


COLLAPSE_MISTAKES = {
    "put your own code": None,
    "keep it at 0.3 or more": {"anchoring_weight": 1.0, "radius": 0.0},
    "which term likes a crowd?": {"dispersion_weight": 0.3, "anchoring_weight": 0.1, "radius": 0.0},
}


def by_table(combine):
    """The effects from {(0 or 1, 0 or 1): mean}, larger size and more steps second, in another way."""

    def answer(run, sizes, steps, seeds):
        mean = {
            (i, j): sum(run(size, count // (size // 64), s) for s in seeds) / len(seeds)
            for i, size in enumerate(sizes) for j, count in enumerate(steps)
        }  # fmt: skip
        return combine(mean)

    return answer


def four_signs(mean, scale=0.5):
    total = lambda signs: sum(sign * mean[at] for sign, at in zip(signs, sorted(mean), strict=True))  # noqa: E731
    return {
        "data": scale * total((-1, -1, 1, 1)),
        "steps": scale * total((-1, 1, -1, 1)),
        "both": total((1, -1, -1, 1)),
    }


EFFECT_MISTAKES = {
    "put your own code": lambda run, sizes, steps, seeds: ...,
    "give a function": {"data": 0.1, "steps": 0.2, "both": 0.0},
    "give data, steps and both": lambda run, sizes, steps, seeds: {"data": 0.1},
    "full batches alone count": lambda run, sizes, steps, seeds: {
        "data": sum(run(sizes[1], 60, s) - run(sizes[0], 60, s) for s in seeds), "steps": 0, "both": 0,
    },
    "averaged over both numbers of steps": by_table(lambda mean: four_signs(mean, scale=1)),
    "with the larger size, minus": by_table(lambda mean: four_signs(mean) | {"both": 0.0}),
}  # fmt: skip


def by_mean(run, names, seeds, fresh=range(100, 124)):
    """The best mean over some seeds, and its gain on fresh ones; without any, on those that chose it."""
    scores = {name: [run(name, seed) for seed in seeds(k)] for k, name in enumerate(names)}
    best = max(names, key=lambda name: sum(scores[name]))
    pairs = [(run(best, seed), run(names[0], seed)) for seed in fresh if best != names[0]]
    pairs = pairs or list(zip(scores[best], scores[names[0]], strict=True))
    return best, sum(ours - first for ours, first in pairs) / len(pairs)


def first_six(k):
    return range(6)


SEARCH_MISTAKES = {
    "put your own code": lambda run, names, budget: ...,
    "give a function": "setting 0",
    "return a name and a gain": lambda run, names, budget: by_mean(run, names, first_six)[0],
    "return one of the names": lambda run, names, budget: (0, 0.0),
    "a finite number is asked for": lambda run, names, budget: (names[0], math.nan),
    "the budget is 96": lambda run, names, budget: by_mean(run, names, lambda k: range(10)),
    "on the same seed twice": lambda run, names, budget: by_mean(run, names, lambda k: [0, 0]),
    "left a setting untried": lambda run, names, budget: by_mean(run, names[1:], first_six),
    "compare on the same seeds": lambda run, names, budget: by_mean(
        run, names, lambda k: range(6 * k, 6 * k + 6)
    ),
    "points above the true one": lambda run, names, budget: by_mean(run, names, lambda k: range(12), []),
    "points below the true one": lambda run, names, budget: (by_mean(run, names, first_six)[0], 0.0),
    "points off: spend more seeds": lambda run, names, budget: by_mean(run, names, first_six, [100]),
}


SAMPLING_ERROR_MISTAKES = {
    "put your own code": None,
    "multiply by 100": 0.0126,
    "take the root": 0.0158,
    "a single sample's result": 21.8,
    "half of a 95 % interval": 2.47,
    "put 0.95 into": 2.89,
    "its variance is p (1 - p)": 1.0,
}


def by_rule(paper, low, high):
    return verdict_of_gain(low, high, abs(paper), 1 if paper > 0 else -1)


RULE_MISTAKES = {
    "put your own code": lambda paper, low, high: None,
    "give 'supported', 'excluded' or 'undecided'": lambda paper, low, high: low <= paper <= high,
    "too wide to decide": lambda paper, low, high: by_rule(paper, abs(low), high),
    "[0.1, 0.9] lies on the paper's side": lambda paper, low, high: "excluded",
    "their size is another question": lambda paper, low, high: (
        by_rule(paper, low, high) if low <= paper <= high else "excluded"
    ),
    "smaller than the paper's 0.5": lambda *case: by_rule(*case).replace("excluded", "undecided"),
    "lies on the other side": lambda paper, low, high: "undecided" if high < 0 else by_rule(paper, low, high),
    "a paper's gain may be negative": lambda paper, low, high: by_rule(abs(paper), low, high),
    "stopped with TypeError": lambda paper: None,
}


BEST_OF_TEN_MISTAKES = {
    "put your own code": None,
    "multiply by 100": 0.0235,
    "subtract the accuracy": 80.0,
    "the spread of a single look": 1.53,
    "from the worst of ten to the best": 4.7,
    "adds nothing": 0.0,
    "draw 744 clips": 10.0,
}


def test_best_of_ten_accepts_what_a_simulation_gives():
    draws = torch.distributions.Binomial(744, torch.tensor(0.7765)).sample((20_000, 10))
    assert checks.best_of_ten((100 * draws.max(dim=1).values / 744 - 77.65).mean().item())


def seeds(gain, first, second, level=0.975, power=0.8):
    normal = torch.distributions.Normal(0.0, 1.0)
    deviations = sum(normal.icdf(torch.tensor(p, dtype=torch.float64)).item() for p in (level, power))
    return math.ceil(deviations**2 * (first**2 + second**2) / gain**2)


SEEDS_MISTAKES = {
    "put your own code": lambda gain, a, b: None,
    "yours is nan": lambda gain, a, b: float("nan"),
    "yours is inf": lambda gain, a, b: float("inf"),
    "yours is 0": lambda gain, a, b: 0,
    "there are two arms": lambda gain, a, b: seeds(gain, a, 0),
    "not their mean": lambda gain, a, b: seeds(gain, a, b) / 2,
    "half of all studies miss": lambda gain, a, b: seeds(gain, a, b, power=0.5),
    "that is 90 % power": lambda gain, a, b: seeds(gain, a, b, power=0.9),
    "that is one-sided": lambda gain, a, b: seeds(gain, a, b, level=0.95),
    "spreads add as squares": lambda gain, a, b: seeds(gain, a + b, 0),
    "square the spreads": lambda gain, a, b: seeds(gain, a**0.5, b**0.5),
    "divide by the gain squared": lambda gain, a, b: seeds(abs(gain) ** 0.5, a, b),
    "square the 2.80": lambda gain, a, b: seeds(gain, a, b) / 2.80,
    "both arms together": lambda gain, a, b: 2 * seeds(gain, a, b),
    "cannot be run: round up": lambda gain, a, b: seeds(gain, a, b) - 0.1,
    "must be 1256": lambda gain, a, b: 1000,
    "f(-0.5, 1.0, 1.0) must be": lambda gain, a, b: seeds(max(gain, 0.1), a, b),
    "f(-0.5, 1.0, 1.0) must be 63": lambda gain, a, b: int(
        2.80**2 * (a**2 + b**2) / gain**2 + 0.99 * (gain > 0)
    ),
    "stopped with TypeError": lambda gain: 3,
}


def test_seeds_for_accepts_the_normal_formula_and_students_t():
    from scipy.stats import nct, t

    def with_t(gain, a, b):
        n = 2
        while True:  # the smallest n whose noncentral t has the power, spreads pooled
            shift, freedom = abs(gain) / math.sqrt((a**2 + b**2) / n), 2 * n - 2
            if nct.sf(t.ppf(0.975, freedom), freedom, shift) >= 0.8:
                return n
            n += 1

    assert checks.seeds_for(seeds) and checks.seeds_for(with_t)
    assert with_t(0.5, 1, 1) == 64, "the textbook's number for half a standard deviation"
    assert seeds(0.51, 1.05, 0.38) == 38


def parts(name, count=2):
    return tuple(name.split("_")[:count])


def shared(train, test, count=2):
    known = {parts(name, count) for name in train}
    return [parts(name, count) for name in test if parts(name, count) in known]


def apart(train, test):
    actors, sentences = ({parts(name)[k] for name in train} for k in (0, 1))
    return sum(parts(name)[0] in actors and parts(name)[1] in sentences for name in test)


SHARED_MISTAKES = {
    "put your own code": lambda train, test: None,
    "it returned the share 0.43": lambda train, test: len(shared(train, test)) / len(test),
    "the sentence must be the same too": lambda train, test: len(shared(train, test, 1)),
    "1001 never says DFA there": apart,
    "count as two": lambda train, test: len(set(shared(train, test))),
    "the emotion and its level may differ": lambda train, test: len(shared(train, test, 4)),
    "yours says 1": lambda train, test: 1,
    "it must be 0": lambda train, test: 3,
}


CHANCE_RECALL_MISTAKES = {
    "put your own code": None,
    "that is R@1": 1 / 744,
    "in percent": 13.44,
    "among the test clips only": 100 / 7442,
    "100 of them count": 0.5,
}
DIFFERENCE_ERROR_MISTAKES = {
    "put your own code": None,
    "multiply by 100": 0.0116,
    "that is a variance": 0.0134,
    "that is for one clip": 31.6,
    "share of disagreement": 1.10,
    "that is in clips": 8.63,
    "divide by 744": 2.16,
}
SPREAD_OF_TWO_MISTAKES = {
    "put your own code": None,
    "that is the difference": 1.18,
    "divide by 1": 0.59,
    "take the root": 0.696,
    "0.59 from the mean": 2.0,
}


def by_name(videos, sounds, broken):
    return [(v, f"{v}.wav") for v in videos if v not in broken and f"{v}.wav" in sounds]


def as_released(videos, sounds, broken):
    kept = [v for v in videos if v not in broken]
    return list(zip(kept, [s for s in sounds if s not in broken], strict=False))


def by_position(videos, sounds, broken):
    kept = [(v, s) for v, s in zip(videos, sounds, strict=False) if v not in broken]
    return kept


PAIRING_MISTAKES = {
    "put your own code": lambda videos, sounds, broken: None,
    "c is paired with b.wav": as_released,
    "b has too few frames": lambda videos, sounds, broken: by_name(videos, sounds, []),
    "there must be a, c and d": lambda videos, sounds, broken: [("a", "a.wav")],
    "go by names, not by positions": by_position,
    "b and d have no sound": lambda videos, sounds, broken: by_name(
        videos, [f"{v}.wav" for v in videos], broken
    ),
}


def ranked(cosines, own):
    """The right answer to exercise 1 of notebook 13."""
    best = cosines[own].max()
    others_tied, own_tied = (cosines[~own] == best).sum(), (cosines[own] == best).sum()
    return 1 + (cosines[~own] > best).sum() + others_tied / (own_tied + 1)


TIED_RANK_MISTAKES = {
    "put your own code": lambda cosines, own: None,
    "its worst caption": lambda cosines, own: 1 + (cosines > cosines[own].min()).sum(),
    "one other is closer": lambda cosines, own: 0.0,
    "in each other's way": lambda cosines, own: 1 + (cosines > cosines[own][-1]).sum(),
    "make a collapsed model perfect": lambda cosines, own: 1 + (cosines > cosines[own].max()).sum(),
    "half of the other four": lambda cosines, own: (
        (cosines >= cosines[own].max()).sum() - own.sum() + 1 if cosines.std() == 0 else ranked(cosines, own)
    ),
    "comes after 4 / 3 of them": lambda cosines, own: (
        1 + (cosines[~own] > cosines[own].max()).sum() + (cosines[~own] == cosines[own].max()).sum() / 2
    ),
    "1 + 4 / 3 is 2.33": lambda cosines, own: (
        1
        + (cosines[~own] > cosines[own].max()).sum()
        + (cosines[~own] == cosines[own].max()).sum() / (2 * own.sum())
    ),
    "2.5, not": lambda cosines, own: (
        1
        + (cosines[~own] > cosines[own].max()).sum()
        + (cosines[~own] == cosines[own].max()).sum() / (own.sum() + 1)
    ),
    "stopped with": lambda cosines, own: cosines[own, 0],
}


def in_parts(encoder, parts, loss, shuffle=lambda gradients: gradients):
    """The right answer to exercise 2 of notebook 13; ``shuffle`` makes it wrong."""
    with torch.no_grad():
        z = torch.cat([encoder(x) for x in parts])
    z.requires_grad_()
    loss(z).backward()
    for x, gradient in zip(parts, shuffle(z.grad.split([len(x) for x in parts])), strict=True):
        encoder(x).backward(gradient)


PART_MISTAKES = {
    "put your own code": lambda encoder, parts, loss: None,
    "no .grad": lambda encoder, parts, loss: encoder(parts[0]),
    "samples in different parts have to meet": lambda encoder, parts, loss: [
        loss(encoder(x)).backward() for x in parts
    ],
    "pairs of samples in different parts": lambda encoder, parts, loss: (
        sum(loss(encoder(x)) for x in parts) / len(parts)
    ).backward(),
    "10 samples were embedded": lambda encoder, parts, loss: loss(encoder(torch.cat(parts))).backward(),
    "the gradient is zero": lambda encoder, parts, loss: in_parts(
        encoder, parts, loss, lambda gradients: [0 * g for g in gradients]
    ),
    "not the whole batch's gradient": lambda encoder, parts, loss: in_parts(
        encoder, parts, loss, lambda gradients: [g.flip(0) for g in gradients]
    ),
    "stopped with": lambda encoder, parts, loss: encoder(parts),
}


# Notebook 14


def shares(keep, empty=False, normalized=True, key=frozenset, dropped=True):
    """The right answer to exercise 1 of notebook 14; the options make it wrong."""
    subsets = [s for n in range(not empty, len(keep) + 1) for s in itertools.combinations(keep, n)]
    found = {
        key(s): math.prod(p if m in s else 1 - p if dropped else 1 for m, p in keep.items()) for s in subsets
    }
    total = 1 - math.prod(1 - p for p in keep.values()) if normalized else 1
    return {s: share / total for s, share in found.items()}


SHARE_MISTAKES = {
    "put your own code": lambda keep: None,
    "keys are frozensets": lambda keep: shares(keep, key="+".join),
    "no share": lambda keep: shares(keep, empty=True),
    "and yours are 1": lambda keep: {frozenset(keep): 1.0},
    "add up to 3/4": lambda keep: shares(keep, normalized=False),
    "add up to 1.67": lambda keep: shares(keep, dropped=False),
    "equally likely": lambda keep: dict(zip(shares(keep), (0.5, 0.25, 0.25), strict=True)),
    "0.9 x 0.8 / 0.92 for the first": lambda keep: {s: 1 / len(shares(keep)) for s in shares(keep)},
    "'a' alone means": lambda keep: (
        shares(keep) if keep["a"] == keep["b"] else {**shares(keep), frozenset("a"): keep["a"] / 0.92}
    ),
    "seven subsets": lambda keep: {s: share for s, share in shares(keep).items() if share},
    "stopped with": lambda keep: shares(keep)[frozenset()],
}


def unused(network, x, names=None, run=lambda network, x: network(x), remove=True):
    """The right answer to exercise 2 of notebook 14; the options make it wrong."""
    children, used = dict(network.named_children()), set()
    handles = [
        child.register_forward_hook(lambda *_, name=name: used.add(name)) for name, child in children.items()
    ]
    run(network, x)
    for handle in handles if remove else []:
        handle.remove()
    return set(children) - used


UNUSED_MISTAKES = {
    "put your own code": lambda network, x: None,
    "give a set of names": lambda network, x: sorted(unused(network, x)),
    "these are the children that run": lambda network, x: (
        {name for name, _ in network.named_children()} - unused(network, x)
    ),
    "only direct children": lambda network, x: {name for name, _ in network.named_modules() if "." in name},
    "if forward runs a, c, the unused are ['b']": lambda network, x: set(),
    "a hook was left behind": lambda network, x: unused(network, x, remove=False),
    "no backward pass is needed": lambda network, x: unused(
        network, x, run=lambda network, x: network(x).sum().backward()
    ),
    "stopped with": lambda network, x: network.missing,
}


def named_at_best(labels, clusters, ways=itertools.permutations, count=False, distinct=True):
    """The right answer to exercise 1 of notebook 12; the options make it wrong."""
    classes, heaps = sorted(set(labels)), sorted(set(clusters))
    pairs = list(zip(labels, clusters, strict=True))
    if not distinct:
        right = sum(max(pairs.count((c, k)) for c in classes) for k in heaps)
    else:
        names = [*classes, *[None] * len(heaps)]
        right = max(sum(naming[heaps.index(k)] == c for c, k in pairs) for naming in ways(names, len(heaps)))
    return right if count else right / len(pairs)


NAMING_MISTAKES = {
    "put your own code": lambda labels, clusters: None,
    "clusters have no names": lambda labels, clusters: (
        sum(a == b for a, b in zip(labels, clusters, strict=True)) / len(labels)
    ),
    "divide by how many": lambda labels, clusters: named_at_best(labels, clusters, count=True),
    "must give 1, and yours gives 0.25": lambda labels, clusters: 0.25,
    "named after its largest class": lambda labels, clusters: (
        1.0 if len(set(clusters)) < 2 else named_at_best(labels, clusters)
    ),
    "no class may name two clusters, so": lambda labels, clusters: named_at_best(
        labels, clusters, distinct=False
    ),
    "gives 3 / 6, not 0": lambda labels, clusters: (
        0 if len(set(clusters)) == 6 else named_at_best(labels, clusters)
    ),
    "largest in them": lambda labels, clusters: named_at_best(labels, clusters, distinct=len(labels) != 13),
    "or in order, is not the best way": lambda labels, clusters: (
        6 / 13 if len(labels) == 13 else named_at_best(labels, clusters)
    ),
    "3 + 4 of 13 are right": lambda labels, clusters: (
        0.1 if len(labels) == 13 else named_at_best(labels, clusters)
    ),
    "numbers may have gaps": lambda labels, clusters: (
        named_at_best(labels, clusters) if max(clusters) < 10 else 0.5
    ),
    "stopped with": lambda labels, clusters: labels.mean(),
}


PHOTOGRAPH_MISTAKES = {
    "put your own code": None,
    "1,320 independent pairs": 0.91,
    "that is a share": 0.0288,
    "take the root": 100 * 0.875 * 0.125 / 132,
    "for a single photograph": 33.07,
    "make the sample smaller": 0.288,
    "how many answers": 5.0,
}


IMAGE_SAYS, CAPTION_SAYS = [0.46, 0.45, 0.09, 0.0, 0.0], [0.02, 0.06, 0.40, 0.26, 0.26]
THREE_RULES_MISTAKES = {
    "put your own code": None,
    "4 or more": (IMAGE_SAYS[:3], CAPTION_SAYS[:3]),
    "p is not a distribution": ([0.5, 0.5, 0.5, 0.0, 0.0], CAPTION_SAYS),
    "q is not a distribution": (IMAGE_SAYS, [1.1, -0.1, 0.0, 0.0, 0.0]),
    "two entries of the product": ([1.0, 0.0, 0.0, 0.0], [0.0, 0.9, 0.1, 0.0]),
    "two entries of the mean": ([0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.15, 0.35]),
    "both are equally certain": ([0.7, 0.2, 0.1, 0.0], [0.15, 0.1, 0.05, 0.7]),
    "the product and the mean both say 0": ([0.7, 0.1, 0.1, 0.1], [0.6, 0.2, 0.1, 0.1]),
    "the mean and the more certain one both say 0": ([0.9, 0.1, 0.0, 0.0], [0.01, 0.5, 0.4, 0.09]),
}

# Notebooks 01 and 08


def cosine(z, *, unit=True, itself=False, absolute=False):
    u = normalize(z, dim=1) if unit else z
    cosines = (u @ u.T).abs() if absolute else u @ u.T
    return cosines.mean() if itself else cosines[~torch.eye(len(z), dtype=torch.bool)].mean()


COSINE_MISTAKES = {
    "put your own code": lambda z: None,
    "leave out the pairs i = j": lambda z: cosine(z, itself=True),
    "normalize first": lambda z: cosine(z, unit=False),
    "must give -0.333, and yours gives 0.333": lambda z: cosine(z, absolute=True),
    "fully collapsed, which is 1": lambda z: -cosine(z).abs(),
    "take the mean over all pairs": lambda z: (normalize(z, dim=1)[1:] @ normalize(z, dim=1)[0]).mean(),
    "of type str: give a number": lambda z: "1",
    "stopped with": lambda z: z @ z,
}


def arcs(crowding, drift, generator, *, n=200, turn=None, both=True):
    """Two arcs of a circle, which narrow until they are crowded enough; b is a, turned."""
    angle = torch.linspace(-1, 1, n) + 0 * torch.rand(n, generator=generator)
    low, high = 0.0, math.pi
    for _ in range(40):
        half = (low + high) / 2
        a = torch.stack([(half * angle).cos(), (half * angle).sin()], dim=1)
        low, high = (half, high) if cosine(a) > crowding else (low, half)
    turned = half * angle * both + 2 * math.asin(drift**0.5 / 2) if turn is None else turn(half * angle)
    return a, 3 * torch.stack([turned.cos(), turned.sin()], dim=1)


DIAL_MISTAKES = {
    "put your own code": lambda c, d, generator: None,
    "N >= 100": lambda *given: arcs(*given, n=50),
    "search for the shift that fits": lambda c, d, generator: arcs(0.0, d, generator),
    "must keep all cosines within a modality": lambda *given: arcs(*given, both=False),
    "has cosine 1 - drift/2": lambda c, d, generator: arcs(c, d / 2, generator),
    "not finite": lambda c, d, generator: (torch.full((200, 3), torch.nan),) * 2,
    "a row is zero": lambda c, d, generator: (torch.zeros(200, 3),) * 2,
    "b has shape (200,): give 2 dimensions": lambda *given: (arcs(*given)[0], arcs(*given)[1][:, 0]),
    "stopped with": lambda c, d, generator: 1,
}


def effects_of_terms(
    run, seeds, *, weight=0.3, sign=1, width=None, paired=True, word=None, shift=0.0, both=0
):
    """Effects with Student's interval, and with what can be wrong about them as options."""
    found, n = {}, len(seeds)
    for term, weights in {"dispersion": (weight, both), "anchoring": (both, weight)}.items():
        for measure in ("mean cosine", "drift"):
            before = np.array([run(0, 0, seed)[measure] for seed in seeds])
            after = np.array([run(*weights, seed)[measure] for seed in seeds])
            change = sign * (after - before)
            error = change.std(ddof=1) if paired else (before.var(ddof=1) + after.var(ddof=1)) ** 0.5
            half = (t.ppf(0.975, n - 1) if width is None else width) * error / n**0.5
            low, high = change.mean() - half + shift * half, change.mean() + half + shift * half
            said = "repairs" if high < 0 else "worsens" if low > 0 else "undecided"
            found[term, measure] = (change.mean(), low, high, word(change, half) if word else said)
    return found


def with_effects(**options):
    return lambda *given: effects_of_terms(*given, **options)


EFFECTS_MISTAKES = {
    "put your own code": lambda run, seeds: ...,
    "give a dict with four entries": lambda run, seeds: list(effects_of_terms(run, seeds).items()),
    "the entries must be": lambda run, seeds: {k[0]: v for k, v in effects_of_terms(run, seeds).items()},
    "you trained dispersion weight 1": with_effects(weight=1),
    "anchoring weight 0.3": with_effects(both=0.3),
    "for every seed": lambda run, seeds: effects_of_terms(run, seeds[:-1]),
    "the sign is reversed": with_effects(sign=-1),
    "the mean change is": lambda run, seeds: effects_of_terms(
        lambda d, a, s: {m: x**2 for m, x in run(d, a, s).items()}, seeds
    ),
    "take differences seed by seed": with_effects(paired=False),
    "is it one standard error": with_effects(width=1),
    "do not lie around the mean": with_effects(shift=0.6),
    "must have the mean": with_effects(shift=2),
    "reads 'undecided', and you say": with_effects(
        word=lambda x, h: "repairs" if x.mean() < 0 else "worsens"
    ),
    "reads 'repairs', and you say 'worsens'": with_effects(
        word=lambda x, h: "worsens" if abs(x.mean()) > h else "undecided"
    ),
    "give (mean, low, high, word)": lambda *given: {k: v[:3] for k, v in effects_of_terms(*given).items()},
    "and yours is nan": lambda *given: {k: (math.nan, *v[1:]) for k, v in effects_of_terms(*given).items()},
}


def gains_by(frame, metric, ways=("validation", "test", "frozen"), judge="validation", report="test", sign=1):
    """The right answer to exercise 1 of notebook 08, in plain loops; the options make it wrong."""
    runs = frame.to_dict("records")
    seeds, found = sorted({run["seed"] for run in runs}), {}
    for way in ways:
        differences = []
        for seed in seeds:
            picked = {}
            for arm in ("baseline", "regularized"):
                own = [run for run in runs if run["arm"] == arm]
                names = sorted({run["setting"] for run in own})
                means = {n: sum(r[f"{judge}/{metric}"] for r in own if r["setting"] == n) for n in names}
                here = {run["setting"]: run for run in own if run["seed"] == seed}
                by = f"{judge if way != 'test' else 'test'}/{metric}"
                best = max(names, key=means.get if way == "frozen" else lambda n, by=by: here[n][by])  # noqa: B023
                picked[arm] = here[best][f"{report}/{metric}"]
            differences.append(sign * (picked["regularized"] - picked["baseline"]))
        found[way] = sum(differences) / len(differences)
    return found


WAYS_MISTAKES = {
    "put your own code": lambda frame, metric: None,
    "give a dict of three gains": lambda frame, metric: gains_by(frame, metric)["test"],
    "give validation, test and frozen": lambda frame, metric: gains_by(frame, metric, ("validation", "test")),
    "the sign is reversed": lambda frame, metric: gains_by(frame, metric, sign=-1),
    "leave the gain in the unit": lambda frame, metric: gains_by(frame, metric, sign=100),
    "reports the gain on validation": lambda frame, metric: gains_by(frame, metric, report="validation"),
    "this picks on test": lambda frame, metric: gains_by(frame, metric, judge="test"),
    "freezes the setting that is best on test": lambda frame, metric: (
        gains_by(frame, metric) | {"frozen": gains_by(frame, metric, judge="test")["frozen"]}
    ),
    "this picks anew in each seed": lambda frame, metric: (
        gains_by(frame, metric) | {"frozen": gains_by(frame, metric)["validation"]}
    ),
    "this picks one setting for all seeds": lambda frame, metric: (
        gains_by(frame, metric) | {"validation": gains_by(frame, metric)["frozen"]}
    ),
    "one run per seed and arm": lambda frame, metric: gains_by(frame, "accuracy/fused") | {"test": 0.1},
    "stopped with KeyError": lambda frame, metric: gains_by(frame, "accuracy/none"),
    "a finite number is asked for": lambda frame, metric: dict.fromkeys(gains_by(frame, metric), math.nan),
}


def flipped(panels, *, ddof=1, quantile=None, apart=False, strict=False, drop_own=False, total=None):
    """The right answer to exercise 2 of notebook 08, with half of the patterns; the options make it wrong."""
    table = np.concatenate(list(panels.values()))
    parts = panels | {"all": table}
    seeds = table.shape[1]
    half_of = (t.ppf(0.975, seeds - 1) if quantile is None else quantile) / seeds**0.5

    def framed(x):
        return (np.abs(x.mean(1)) > half_of * x.std(1, ddof=ddof)).sum()

    draw, rows = np.random.default_rng(0), {}
    patterns = [(1, *signs) for signs in itertools.product((1, -1), repeat=seeds - 1)]
    for name, x in parts.items():
        counts = [
            framed(x * (draw.choice([-1, 1], x.shape) if apart else np.array(signs))) for signs in patterns
        ]
        counts, found = np.array(counts[1:] if drop_own else counts), framed(x)
        more = counts > found if strict else counts >= found
        rows[name] = (found, counts.mean() if total is None else total * len(x), more.mean())
    return rows


FLIP_MISTAKES = {
    "put your own code": lambda panels: None,
    "give a dict of rows": lambda panels: list(flipped(panels).values()),
    "give each panel, and 'all'": lambda panels: {name: flipped(panels)[name] for name in panels},
    "give found, expected and share": lambda panels: {n: row[:2] for n, row in flipped(panels).items()},
    "and n - 1 in the deviation": lambda panels: flipped(panels, ddof=0),
    "Student's t": lambda panels: flipped(panels, quantile=1.959963984540054),
    "and yours are 0": lambda panels: flipped(panels, quantile=1e9),
    "what independent normal gains promise": lambda panels: flipped(panels, total=0.05),
    "turns one seed in all cells at once": lambda panels: flipped(panels, apart=True),
    "frames on average over all 64": lambda panels: flipped(panels, drop_own=True),
    "the share is never 0": lambda panels: flipped(panels, strict=True),
    "have at least as many frames": lambda panels: {
        name: (*row[:2], row[2] / 2) for name, row in flipped(panels).items()
    },
    "not finite": lambda panels: {name: (math.nan,) * 3 for name in flipped(panels)},
    "stopped with": lambda panels: flipped(panels["all"]),
}


# Notebook 16


def rival_loss(
    a, b, names, temperature, own=True, both=True, hide=True, unit=True, total=torch.mean, fill=-math.inf
):
    """The right answer to exercise 1; the options make it wrong."""
    a, b = (F.normalize(z, dim=1) if unit else z for z in (a, b))
    scores = a @ b.T / temperature
    same = names[:, None] == names
    if own:
        same = same & ~torch.eye(len(names), dtype=torch.bool)
    scores = scores.masked_fill(same, fill) if hide else scores
    ways = [-s.log_softmax(dim=1).diagonal() for s in (scores, scores.T)[: 1 + both]]
    return total(torch.stack(ways))


def rival(**options):
    return lambda *given: rival_loss(*given, **options)


MASKED_MISTAKES = {
    "put your own code": lambda *given: None,
    "only a tensor carries a gradient": lambda *given: float(rival_loss(*given)),
    "take the mean": lambda a, b, names, t: F.normalize(a, dim=1) @ F.normalize(b, dim=1).T,
    "direction from a to b alone": rival(both=False),
    "direction from b to a alone": lambda a, b, *rest: rival_loss(b, a, *rest, both=False),
    "the sum over pairs": lambda *given: 8 * rival_loss(*given),
    "the sum of both directions": lambda *given: 2 * rival_loss(*given),
    "cosines need rows of length 1": rival(unit=False),
    "without repeated names it is InfoNCE": lambda a, b, names, t: rival_loss(a, b, names, t**2),
    "repeated names change nothing": rival(hide=False),
    "the own pair must stay in the sum": rival(own=False),
    "with repeated names it must be": rival(fill=0.0),
    "carries no gradient": lambda *given: rival_loss(*given).detach(),
    "no finite gradient reaches b": lambda a, b, *rest: rival_loss(a, b.detach(), *rest),
    "stopped with": lambda a, b, names, t: rival_loss(a, b, names[:3], t),
}


def worlds(claim, count=150, **changed):
    """The right answer to exercise 2; a named claim gets another world."""
    z = F.normalize(torch.randn(count, 24, generator=torch.Generator().manual_seed(5)), dim=1)
    side = torch.ones(count, 1)
    ends = torch.cat([side[: count // 2], -side[count // 2 :]])
    right = {
        "neighborhoods": (z, -z),
        "gap": (torch.cat([z, side], dim=1), torch.cat([z, -side], dim=1)),
        "loss": (torch.cat([0.02 * z, side], dim=1),) * 2,
        "hubs": (torch.cat([z * (0.05 + (torch.arange(count) % 20 > 0))[:, None], ends], dim=1),) * 2,
        "rotation": (torch.eye(count), torch.linalg.qr(torch.randn(count, count)).Q + 0.02 / count**0.5),
    }
    return (right | changed)[claim]


def other_world(**changed):
    return lambda claim, count: worlds(claim, count, **{k: f(count) for k, f in changed.items()})


def cloud(count, width=24):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(5))


CLAIM_MISTAKES = {
    "put your own code": lambda claim, count: None,
    "two matrices, a and b": other_world(gap=cloud),
    "give 2 dimensions": other_world(gap=lambda n: (cloud(n)[0], cloud(n)[0])),
    "not finite": other_world(loss=lambda n: (cloud(n) / 0, cloud(n))),
    "D) twice": lambda claim, count: tuple(z[:100] for z in worlds(claim)),
    "'neighborhoods' has uniformity": other_world(neighborhoods=lambda n: (cloud(n, 3), -cloud(n, 3))),
    "'neighborhoods' has mutual 10-NN": other_world(neighborhoods=lambda n: (cloud(n), cloud(n).roll(1, 0))),
    "'neighborhoods' has R@1": other_world(neighborhoods=lambda n: (cloud(n), cloud(n))),
    "'gap' has R@1": other_world(gap=lambda n: (cloud(n), -cloud(n))),
    "'gap' has a modality gap": other_world(gap=lambda n: (cloud(n), cloud(n))),
    "'loss' has R@1": other_world(loss=lambda n: (cloud(n), cloud(n).roll(1, 0))),
    "'loss' has 0 % of log N": other_world(loss=lambda n: (cloud(n), cloud(n))),
    "'hubs' has a mean cosine": other_world(hubs=lambda n: (cloud(n) + 1, cloud(n) + 1)),
    "'hubs' has hubness": other_world(hubs=lambda n: (cloud(n), cloud(n))),
    "'rotation' has a mean cosine": other_world(rotation=lambda n: (cloud(n), cloud(n).roll(1, 0))),
    "'rotation' has mutual 10-NN": other_world(rotation=lambda n: (cloud(n), cloud(n).flip(1))),
    "stopped with": lambda claim, count: worlds("another", count),
}


def shared_places(a, b, k, tie=1e-9, itself=False, one_side=False, unit=True):
    """The right answer to exercise 3; the options make it wrong."""
    lists = []
    for place, z in enumerate((a, b)):
        u = F.normalize(z, dim=1) if unit else z
        scores = u @ u.T
        scores = scores if itself else scores.fill_diagonal_(-math.inf)
        order = scores.sort(dim=1, descending=True, stable=True)
        if one_side and place:
            lists.append(torch.zeros_like(scores).scatter_(1, order.indices[:, :k], 1.0))
            continue
        last = order.values[:, k - 1, None]
        if tie is None:
            lists.append(torch.zeros_like(scores).scatter_(1, order.indices[:, :k], 1.0))
        else:
            above, level = scores > last + tie, (scores - last).abs() <= tie
            lists.append(above + level * (k - above.sum(1, keepdim=True)) / level.sum(1, keepdim=True))
    return (lists[0] * lists[1]).sum() / (k * len(a))


def with_every_tie(a, b, k):
    """All tied rows in the lists, and the overlap over the union."""
    first, second = (
        (s >= s.topk(k, dim=1).values[:, -1:] - 1e-9)
        for s in ((u @ u.T).fill_diagonal_(-math.inf) for u in (F.normalize(z, dim=1) for z in (a, b)))
    )
    return (first & second).double().sum() / (k * len(a))


def with_share(score, *, rows_only=False, above=False, own=True, rounding=1e-9):
    """An answer to exercise 3 with this score; the options make its share of permutations wrong."""

    def answer(a, b, k, draws, generator):
        found, orders = score(a, b, k), [torch.randperm(len(b), generator=generator) for _ in range(draws)]
        if rows_only:
            lists = [
                torch.zeros(len(z), len(z)).scatter_(
                    1, (F.normalize(z) @ F.normalize(z).T).fill_diagonal_(-9).topk(k).indices, 1.0
                )
                for z in (a, b)
            ]
            scores = [(lists[0] * lists[1][order]).sum() / (k * len(a)) for order in orders]
        else:
            scores = [score(a, b[order], k) for order in orders]
        high = sum(bool(one > found + 1e-9 if above else one >= found - rounding) for one in scores)
        return found, (high + own) / (draws + own)

    return answer


SEEDS = itertools.count()
TIED_MISTAKES = {
    "put your own code": lambda *given: ...,
    "return two numbers": lambda a, b, k, draws, generator: shared_places(a, b, k),
    **{
        sentence: with_share(score)
        for sentence, score in {
            "divide by k": lambda a, b, k: k * shared_places(a, b, k),
            "a space agrees with itself": lambda a, b, k: shared_places(a, b.flip(0), k),
            "leave it out": lambda a, b, k: shared_places(a, b, k, itself=True),
            "two spaces without ties": lambda a, b, k: shared_places(a, b, k) ** 0.5,
            "nearness is the cosine": lambda a, b, k: (
                shared_places(a, b, k, unit=False) if a.norm(dim=1).max() > 8 else shared_places(a, b, k)
            ),
            "still score 1": lambda a, b, k: shared_places(a, b, k, tie=None),
            "have chance, 4/11": with_every_tie,
            "one collapsed encoder has chance": lambda a, b, k: (
                shared_places(a, b, k) * (1 + (a[0] == a[1]).all() * (b[0] != b[1]).any())
            ),
            "ties in the second space": lambda a, b, k: shared_places(
                a, b, k, one_side=not (b[0] == b[3]).all()
            ),
            "stopped with": lambda a, b, k: shared_places(a, b, 400),
        }.items()
    },
    "a finite number is asked for": lambda *given: (math.nan, 1.0),
    "allow for rounding": with_share(shared_places, above=True),
    "the share is 0": with_share(shared_places, own=False),
    "none of 199 permutations comes near": lambda *given: (shared_places(*given[:3]), 1.0),
    "takes its list along": with_share(shared_places, rows_only=True),
    "the same generator": lambda a, b, k, draws, generator: with_share(shared_places)(
        a, b, k, draws, torch.Generator().manual_seed(next(SEEDS))
    ),
}


# Notebook 17


def with_late_loss(alone, xor=True, hint_a=None, hint_b=None):
    """The right answer to exercise 1 of notebook 17; the options make it wrong."""
    p = torch.zeros(2, 4, 4).double()
    for y, wrong_a, wrong_b, half in itertools.product((0, 1), repeat=4):
        own_a, own_b = (alone if hint is None else hint for hint in (hint_a, hint_b))
        chance = (1 - own_a if wrong_a else own_a) * (1 - own_b if wrong_b else own_b)
        p[y, 2 * (y ^ wrong_a) + half, 2 * (y ^ wrong_b) + (half ^ y if xor else half)] += chance / 4
    return p


LATE_MISTAKES = {
    "put your own code": lambda alone: None,
    "give 3 dimensions": lambda alone: with_late_loss(alone).flatten(1),
    "add up to 2": lambda alone: 2 * with_late_loss(alone),
    "negative probability": lambda alone: torch.tensor([[[1.5]], [[-0.5]]]),
    "at most 64 states": lambda alone: torch.full((2, 80, 1), 1 / 160),
    "A alone is right in 50.0 %": lambda alone: with_late_loss(alone, hint_a=0.5),
    "B alone is right in 70.0 %": lambda alone: with_late_loss(alone, hint_b=0.7),
    "that is less than 25 points": lambda alone: with_late_loss(alone, xor=False),
    "stopped with": lambda alone: with_late_loss(alone)[9],
}


def one_part(bit_a, bit_b, bits):
    """A table (2, 3, 3) of one label bit that is shown with some probability; state 2: it is missing."""
    p = torch.zeros(2, 3, 3).double()
    for y, coin, shown in itertools.product((0, 1), repeat=3):
        a, b = (bit_a(y, coin), bit_b(y, coin)) if shown else (2, 2)
        p[y, a, b] += (bits if shown else 1 - bits) / 4
    return p


def side_by_side(*tables):
    """The table of systems that have nothing to do with each other."""
    p = torch.ones(1, 1, 1).double()
    for one in tables:
        sizes = [n * m for n, m in zip(p.shape, one.shape, strict=True)]
        p = torch.einsum("yab,zcd->yzacbd", p, one).reshape(sizes)
    return p


def ordered(redundancy, unique_a, unique_b, synergy, private=False):
    """The right answer to exercise 2 of notebook 17 as a product of tables; the option makes it wrong."""
    return side_by_side(
        one_part(lambda y, coin: y, lambda y, coin: coin if private else y, redundancy),
        one_part(lambda y, coin: y, lambda y, coin: 2, unique_a),
        one_part(lambda y, coin: 2, lambda y, coin: y, unique_b),
        one_part(lambda y, coin: coin, lambda y, coin: coin ^ y, synergy),
    )


ORDER_MISTAKES = {
    "put your own code": lambda *bits: None,
    "your redundancy and your synergy are exchanged": lambda r, a, b, s: ordered(s, a, b, r),
    "your unique part of A and your unique part of B are exchanged": lambda r, a, b, s: ordered(r, b, a, s),
    "your redundancy and your unique part of A are exchanged": lambda r, a, b, s: ordered(r, a, b, s, True),
    "the synergy 1.000 instead of 0.00 bits": lambda r, a, b, s: ordered(r, a, b, 1.0),
    "the unique part of B 0.000 instead of 1.00 bits": lambda r, a, b, s: ordered(r, a, 0.0, s),
    "the redundancy 0.500 instead of 1.00 bits": lambda r, a, b, s: ordered(r / 2, a, b, s),
    "not finite": lambda *bits: torch.full((2, 2, 2), torch.nan),
    "at most 64 states": lambda *bits: torch.full((2, 80, 1), 1 / 160),
    "stopped with": lambda redundancy, synergy: ordered(redundancy, 0, 0, synergy),
}


def turned_parts(classes, wanted, column=0, whole=False, longer=1.0):
    """Another right answer to exercise 3 of notebook 17: a grid, and columns from a turned simplex."""
    corners = torch.linalg.qr(torch.eye(classes).double() - 1 / classes).R.T
    corners[0] *= longer
    best = None
    for share in torch.linspace(0, 1, 2001):
        of_a = torch.full((classes,), share.item()).double()
        of_a[column] = 1.0
        a = corners * of_a.sqrt()
        length = (a - a.mean(0)).norm(dim=1)
        off = abs(length.std(correction=0) / length.mean() - wanted)
        if best is None or off < best[0]:
            best = (off, a, corners * (1 - of_a).sqrt())
    return (corners, torch.zeros(classes, 1)) if whole else best[1:]


SIMPLEX_MISTAKES = {
    "put your own code": lambda classes, wanted: None,
    "return two matrices": lambda classes, wanted: turned_parts(classes, wanted)[0],
    "give 2 dimensions": lambda classes, wanted: tuple(z.norm(dim=1) for z in turned_parts(classes, wanted)),
    "there must be 4 rows each": lambda classes, wanted: turned_parts(classes + 1, wanted),
    "all class means are the same": lambda classes, wanted: (torch.ones(classes, 2),) * 2,
    "the fused lengths have the unevenness": lambda classes, wanted: turned_parts(
        classes, wanted, longer=1.5
    ),
    "away from -1/(C-1)": lambda classes, wanted: (
        torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]),
        torch.zeros(4, 1),
    ),
    "these were asked of a": lambda classes, wanted: turned_parts(classes, wanted)[::-1],
    "the lengths in a have the unevenness 0.000": lambda classes, wanted: turned_parts(
        classes, 0, whole=True
    ),
    "not finite": lambda classes, wanted: (torch.full((classes, 2), math.nan),) * 2,
    "stopped with": lambda classes, wanted: turned_parts(classes)[9],
}


# Notebook 18


def first_of_equals(arrays, modalities=slice(None), kept_alone=False):
    """The right answer to exercise 1; the options make it wrong."""
    seen, kept = set(), []
    for i in range(len(arrays["a"])):
        own = {(m, tuple(z[i].tolist())) for m, z in list(arrays.items())[modalities]}
        new = not own & seen
        if new:
            kept.append(i)
        if new or not kept_alone:
            seen |= own
    return kept


ONCE_MISTAKES = {
    "put your own code": lambda arrays: None,
    "not a mask": lambda arrays: arrays["a"][:, 0] > 0,
    "not in all at once": lambda arrays: range(len(arrays["a"])),
    "not in the first alone": lambda arrays: first_of_equals(arrays, slice(1)),
    "not in the last alone": lambda arrays: first_of_equals(arrays, slice(-1, None)),
    "a row that was left out counts": lambda arrays: first_of_equals(arrays, kept_alone=True),
    "keep the first of equal rows": lambda arrays: [1],
    "these are the copies": lambda arrays: [2, 3, 5],
    "compare each with all earlier ones": lambda arrays: [0],
    "compare whole rows": lambda arrays: first_of_equals({m: z[:, :1] for m, z in arrays.items()}),
    "with three modalities": lambda arrays: first_of_equals(arrays, slice(2)),
    "four equal rows": lambda arrays: first_of_equals(arrays) if len(arrays["a"]) != 4 else [0, 1],
    "stopped with": lambda arrays: arrays["z"],
}


def halved(try_out, strength=1.0, aim=0.3, most=60):
    """The right answer to exercise 2, with another search."""
    for _ in range(9):
        low, high = 0.0, 2.0
        for _ in range(6):
            radius = (low + high) / 2
            dose, inside = try_out(strength, radius)
            if 0.35 < inside < 0.65:
                break
            low, high = (radius, high) if inside < 0.5 else (low, radius)
        if 0.15 < dose < 0.9 and 0.35 < inside < 0.65:
            return strength, radius
        strength *= aim / dose
    return strength, radius


BAND_SEARCH_MISTAKES = {
    "put your own code": lambda try_out: None,
    "you returned 3 numbers": lambda try_out: (1.0, 1.0, 1.0),
    "is the order right": lambda try_out: (1.0, 2.5),
    "you tried nothing": lambda try_out: (1.0, 1.0),
    "trial number 61": lambda try_out: [try_out(1.0, 1.0) for _ in range(99)][0],
    "you tried strength -1": lambda try_out: try_out(-1.0, 1.0),
    "a wider one would be": lambda try_out: (try_out(1.0, 0.1), (1.0, 0.1))[1],
    "a narrower one would be": lambda try_out: (try_out(1.0, 2.0), (1.0, 2.0))[1],
    "too weak": lambda try_out: (halved(try_out)[0] / 30, halved(try_out)[1]),
    "too strong": lambda try_out: halved(try_out, aim=30.0),
    "stopped with": lambda try_out: try_out(),
}


def in_nothing(protocol, settings, of_baseline, seeds, worlds, generator, change=lambda low, high: low > 0,
               effect=0.0, level=80.0, luck=(1, 1, 1), unlike=False, swap=lambda runs: runs):  # fmt: skip
    """The right answer to exercise 3; the options make it wrong."""
    found = []
    for _ in range(worlds):
        of_seed, arms = generator.normal(size=(1, seeds, 1)), []
        for count in (settings, of_baseline):
            of_seed = generator.normal(size=(1, seeds, 1)) if unlike else of_seed
            parts = (
                of_seed,
                generator.normal(size=(count, seeds, 1)),
                generator.normal(size=(count, seeds, 2)),
            )
            arms.append(level + sum(w * part for w, part in zip(luck, parts, strict=True)))
        found.append(change(*protocol(swap(arms[0] + effect), swap(arms[1]))))
    return sum(found) / worlds


def alarm(**options):
    return lambda *given: in_nothing(*given, **options)


ALARM_MISTAKES = {
    "put your own code": lambda *given: None,
    "the protocol was called 0 times": lambda *given: 1 / 3,
    "not (settings, seeds, 2)": alarm(swap=lambda runs: runs.swapaxes(0, 1)),
    "an interval below zero": alarm(change=lambda low, high: low > 0 or high < 0),
    "yours is 0.666667": alarm(change=lambda low, high: low < 0),
    "neither arm may have an effect": alarm(effect=1.0),
    "must be 80": alarm(level=0.8),
    "all runs are equal": alarm(luck=(0, 0, 0)),
    "within a seed": alarm(luck=(0, 1, 1)),
    "the arms are paired": alarm(unlike=True),
    "validation and test": alarm(luck=(1, 1, 1), swap=lambda runs: runs[..., :1].repeat(2, axis=-1)),
    "three deviations": alarm(luck=(2, 2, 2)),
    "stopped with": lambda protocol, *given: protocol(),
}

MISTAKES = {
    "masked_info_nce": MASKED_MISTAKES,
    "broken_claims": CLAIM_MISTAKES,
    "calibrated_knn": TIED_MISTAKES,
    "late_fusion_loses": LATE_MISTAKES,
    "parts_to_order": ORDER_MISTAKES,
    "simplex_in_parts": SIMPLEX_MISTAKES,
    "each_once": ONCE_MISTAKES,
    "active_band": BAND_SEARCH_MISTAKES,
    "false_alarms": ALARM_MISTAKES,
    "mean_cosine": COSINE_MISTAKES,
    "two_dials": DIAL_MISTAKES,
    "term_effects": EFFECTS_MISTAKES,
    "three_ways": WAYS_MISTAKES,
    "frames_by_flips": FLIP_MISTAKES,
    "squared_band": BAND_MISTAKES,
    "masked_dispersion": DISPERSION_MISTAKES,
    "mixing": MIXING_MISTAKES,
    "turning_point": TURN_MISTAKES,
    "promise": PROMISE_MISTAKES,
    "effective_rank": RANK_MISTAKES,
    "stable_dispersion": STABLE_MISTAKES,
    "drift_parts": DRIFT_MISTAKES,
    "corner_gain": CORNER_GAIN_MISTAKES,
    "lead_at_equal_drift": LEAD_MISTAKES,
    "agreeing": AGREEING_MISTAKES,
    "radius_for": RADIUS_MISTAKES,
    "broken_shares": SHARES_MISTAKES,
    "dgl_loss": DGL_MISTAKES,
    "shortest_mixture": SHORTEST_MISTAKES,
    "blind_controls": BLIND_MISTAKES,
    "many_intervals": MANY_MISTAKES,
    "same_length": LENGTH_MISTAKES,
    "spread_and_agreed": SPREAD_MISTAKES,
    "collapse_with_dispersion": COLLAPSE_MISTAKES,
    "effects": EFFECT_MISTAKES,
    "searched": SEARCH_MISTAKES,
    "judge": RULE_MISTAKES,
    "seeds_for": SEEDS_MISTAKES,
    "shared_clips": SHARED_MISTAKES,
    "paired_clips": PAIRING_MISTAKES,
    "best_rank": TIED_RANK_MISTAKES,
    "gradient_in_parts": PART_MISTAKES,
    "subset_shares": SHARE_MISTAKES,
    "unused_children": UNUSED_MISTAKES,
    "best_naming": NAMING_MISTAKES,
    "photograph_error": PHOTOGRAPH_MISTAKES,
    "three_rules": {sentence: lambda made=made: made for sentence, made in THREE_RULES_MISTAKES.items()},
    "miscounted": MISCOUNTED_MISTAKES,
    "resting": RESTING_MISTAKES,
    "unshiftable": UNSHIFTABLE_MISTAKES,
    "sampling_error": SAMPLING_ERROR_MISTAKES,
    "best_of_ten": BEST_OF_TEN_MISTAKES,
    "chance_recall": CHANCE_RECALL_MISTAKES,
    "difference_error": DIFFERENCE_ERROR_MISTAKES,
    "spread_of_two": SPREAD_OF_TWO_MISTAKES,
    "twin": TWIN_MISTAKES,
    "coverage": COVERAGE_MISTAKES,
    "patients": PATIENTS_MISTAKES,
}
RIGHT = [
    ("masked_info_nce", rival_loss),
    ("broken_claims", worlds),
    ("calibrated_knn", with_share(shared_places)),
    ("each_once", first_of_equals),
    ("active_band", halved),
    ("false_alarms", in_nothing),
    ("late_fusion_loses", with_late_loss),
    ("parts_to_order", ordered),
    ("simplex_in_parts", turned_parts),
    ("mean_cosine", cosine),
    ("two_dials", arcs),
    ("term_effects", effects_of_terms),
    ("three_ways", gains_by),
    ("frames_by_flips", flipped),
    ("squared_band", lambda a, b, r: excess(a, b, r).mean()),
    ("masked_dispersion", lambda z, p: dispersion(z[p]) if p.sum() > 1 else 0 * z[p].sum()),
    ("mixing", shortest),
    ("turning_point", in_halves),
    ("promise", scanned),
    ("stable_dispersion", lambda z, t: dispersion(z, temperature=t)),
    ("twin", in_few_places),
    ("coverage", honest),
    ("drift_parts", drift_parts),
    ("miscounted", geometric),
    ("resting", by_curvature),
    ("corner_gain", corner),
    ("lead_at_equal_drift", leads),
    ("agreeing", rippled),
    ("radius_for", lambda a, b, share: pair_distances(a, b).quantile(1 - share)),
    ("broken_shares", loud),
    ("dgl_loss", dgl_answer()),
    ("shortest_mixture", towards),
    ("same_length", length_class(unlike)),
    ("blind_controls", blind),
    ("many_intervals", found_by),
    ("judge", by_rule),
    ("shared_clips", lambda train, test: len(shared(train, test))),
    ("paired_clips", by_name),
    ("best_rank", ranked),
    ("gradient_in_parts", in_parts),
    ("subset_shares", shares),
    ("unused_children", unused),
    ("best_naming", named_at_best),
    ("three_rules", lambda: (IMAGE_SAYS, CAPTION_SAYS)),
    ("collapse_with_dispersion", {"dispersion_weight": 0.3, "anchoring_weight": 1.0, "radius": 0.0}),
    ("effects", by_table(four_signs)),
    ("searched", lambda run, names, budget: by_mean(run, names, first_six)),
    (
        "searched",
        lambda run, names, budget: by_mean(lambda name, seed: run(name, np.int64(seed)), names, first_six),
    ),
    (
        "effects",
        lambda run, sizes, steps, seeds: by_table(four_signs)(run, np.array(sizes), np.array(steps), seeds),
    ),
    ("seeds_for", lambda gain, a, b: math.ceil((1.96 + 0.84) ** 2 * (a**2 + b**2) / gain**2)),
    ("mixing", lambda first, second: by_grid(first, second)),
]


@pytest.mark.parametrize(
    ("check", "sentence"), [(check, sentence) for check, table in MISTAKES.items() for sentence in table]
)
def test_each_typical_mistake_gets_the_sentence_that_names_it(check, sentence, capsys):
    assert not getattr(checks, check)(MISTAKES[check][sentence])
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and sentence in printed


def test_every_check_has_typical_mistakes():
    assert set(MISTAKES) == set(checks.__all__) - {"predicted"}
    assert min(map(len, MISTAKES.values())) >= 3


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[check for check, _ in RIGHT])
def test_a_right_answer_in_other_words_is_accepted(check, answer, capsys):
    assert getattr(checks, check)(answer)
    assert capsys.readouterr().out.startswith("Right: ")
