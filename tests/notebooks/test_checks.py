"""The exercises' checks: a right answer passes, and each typical mistake gets the sentence that names it."""

import itertools
import math

import checks
import pytest
import torch
from torch.nn import functional as F
from torch.nn.functional import normalize

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
    "normalize both first": lambda a, b, r: ((a - b).square().sum(1) - r**2).clamp(min=0).mean(),
    "carries no gradient": lambda a, b, r: excess(a, b, r).mean().detach(),
    "gradient at distance 0 is not finite": root_form,
    "stopped with NameError": lambda a, b, r: undefined,  # noqa: F821
}


@pytest.mark.parametrize("sentence", BAND_MISTAKES)
def test_squared_band_names_the_mistake(sentence, capsys):
    assert not checks.squared_band(BAND_MISTAKES[sentence])
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and sentence in printed


def test_squared_band_accepts_a_right_answer(capsys):
    assert checks.squared_band(lambda a, b, r: excess(a, b, r).mean())
    assert capsys.readouterr().out.startswith("Right: ")


DISPERSION_MISTAKES = {
    "put your own code": lambda z, present: None,
    "absent samples still take part": lambda z, present: dispersion(z),
    "drop the rows": lambda z, present: dispersion(z * present[:, None]),
    "six present samples must give": lambda z, present: 2 * dispersion(z[present]),
    "there is no pair": lambda z, present: dispersion(z[present]) + (present.sum() < 2),
}


@pytest.mark.parametrize("sentence", DISPERSION_MISTAKES)
def test_masked_dispersion_names_the_mistake(sentence, capsys):
    assert not checks.masked_dispersion(DISPERSION_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def shortest(g_inter, g_disp, limit=(0.0, 1.0), equal=0.5):
    apart = g_disp - g_inter
    return (apart @ g_disp / (apart @ apart)).clamp(*limit) if apart.any() else equal


MIXING_MISTAKES = {
    "put your own code": lambda first, second: None,
    "yours is that of g_disp": lambda first, second: 1 - shortest(first, second),
    "alpha is 0.1, and yours is 0.5": lambda first, second: torch.tensor(0.5),
    "Keep it between 0 and 1": lambda first, second: shortest(first, second, limit=(-9.0, 9.0)),
    "alpha is 0.1, and yours is nan": lambda first, second: torch.tensor(float("nan")),
    "for two equal gradients return 0.5": lambda first, second: shortest(first, second, equal=0.0),
    "if g_inter is zero": lambda first, second: shortest(first, second) if first.any() else torch.tensor(0.0),
}


@pytest.mark.parametrize("sentence", MIXING_MISTAKES)
def test_mixing_names_the_mistake(sentence, capsys):
    assert not checks.mixing(MIXING_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_mixing_accepts_a_right_answer():
    assert checks.mixing(shortest)


def test_masked_dispersion_accepts_a_right_answer():
    assert checks.masked_dispersion(lambda z, p: dispersion(z[p]) if p.sum() > 1 else 0 * z.sum())


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
    assert checks.scalar(value) is value


def spectrum_rank(z, *, normalized=True, center=True, power=1, entropy=torch.special.entr, last=torch.exp):
    u = normalize(z, dim=1) if normalized else z
    values = torch.linalg.svdvals(u - u.mean(0) if center else u) ** power
    return last(entropy(values / values.sum()).sum())


RANK_MISTAKES = {
    "put your own code": lambda z: ...,
    "it is NaN": lambda z: spectrum_rank(z, entropy=lambda p: -p * p.log()),
    "take its exponential": lambda z: spectrum_rank(z, last=lambda h: h),
    "use 2 directions equally": lambda z: spectrum_rank(z) + 1,
    "normalize each row first": lambda z: spectrum_rank(z, normalized=False),
    "subtract the mean row": lambda z: spectrum_rank(z, center=False),
    "squares of the singular values": lambda z: spectrum_rank(z, power=2),
    "normalize first, then center": lambda z: spectrum_rank(z - z.mean(0)),
}


@pytest.mark.parametrize("sentence", RANK_MISTAKES)
def test_effective_rank_names_the_mistake(sentence, capsys):
    assert not checks.effective_rank(RANK_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_effective_rank_accepts_a_number_or_a_tensor():
    assert checks.effective_rank(spectrum_rank)
    assert checks.effective_rank(lambda z: spectrum_rank(z).item())


def spread_rows(n=600):
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(0))


CLASSES = torch.arange(600) % 3
TRICKS = {
    "no meaning": (spread_rows(), spread_rows(), CLASSES),
    "no spread": (spread_rows() + 20, spread_rows() + 20, CLASSES),
    "no agreement": (spread_rows(), spread_rows().roll(1, dims=1), CLASSES),
}
FOOL_MISTAKES = {
    "put your own code": {"no meaning": None},
    "make at least 100": {"no spread": (spread_rows(50), spread_rows(50), CLASSES[:50])},
    "spread the rows in more dimensions": {"no meaning": (spread_rows()[:, :2],) * 2 + (CLASSES,)},
    "the pairs must agree": {"no meaning": (spread_rows(), spread_rows().flip(0), CLASSES)},
    "fewer, larger classes": {"no meaning": (spread_rows(), spread_rows(), torch.arange(600) // 2)},
    "must not follow the directions": {"no meaning": (*TRICKS["no meaning"][:2], spread_rows()[:, 0] > 0)},
    "add a common direction": {"no spread": TRICKS["no meaning"]},
    "let the small variation go every way": {
        "no spread": (spread_rows()[:, :1] * torch.eye(16)[0] + 50,) * 2 + (CLASSES,)
    },
    "rotate instead": {"no agreement": (spread_rows(), spread_rows().flip(0), CLASSES)},
    "turn b farther": {"no agreement": TRICKS["no meaning"]},
}


@pytest.mark.parametrize("sentence", FOOL_MISTAKES)
def test_fool_names_the_mistake(sentence, capsys):
    made = {**TRICKS, **FOOL_MISTAKES[sentence]}
    assert not checks.fool(made.get)
    assert sentence in capsys.readouterr().out


def test_fool_accepts_a_right_answer():
    assert checks.fool(TRICKS.get)


DIAGNOSES = {"P": "cone", "Q": "rotation", "R": "gap", "S": "few directions"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"P": None}, "some patients have no diagnosis yet"),
        ({"P": "few directions"}, "all of its 23 directions are in use"),
        ({"Q": "shuffled"}, "its CKA is 0.94"),
        ({"R": "rotation"}, "leaves mean cosine and gap near 0"),
        ({"S": "shuffled"}, "compare each number with the healthy pair's"),
        ({"S": "flu"}, "'flu' is none of the diagnoses"),
    ],
)
def test_patients_names_the_wrong_diagnosis(given, sentence, capsys):
    assert not checks.patients({**DIAGNOSES, **given})
    assert sentence in capsys.readouterr().out


def test_patients_accepts_the_right_diagnoses():
    assert checks.patients(DIAGNOSES)


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


@pytest.mark.parametrize("sentence", STABLE_MISTAKES)
def test_stable_dispersion_names_the_mistake(sentence, capsys):
    assert not checks.stable_dispersion(STABLE_MISTAKES[sentence])
    printed = capsys.readouterr().out
    assert printed.startswith("Not yet: ") and sentence in printed


def test_stable_dispersion_accepts_a_right_answer():
    assert checks.stable_dispersion(lambda z, t: dispersion(z, temperature=t))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (..., "put your own code"),
        (1.435, "the sign is not"),
        (-1.386, "15 clump mates among 63 others"),
        (0.238, "the term is its logarithm"),
        (-15.24, "mean of the exponents"),
        (-20, "a pair from different clumps"),
        (0, "0 is for one clump"),
        (-3, "which share of the pairs"),
        ("many", "stopped with ValueError"),
    ],
)
def test_clump_value_names_the_mistake(value, sentence, capsys):
    assert not checks.clump_value(value)
    assert sentence in capsys.readouterr().out


def test_clump_value_is_what_dispersion_gives():
    clumps = torch.eye(4).repeat(16, 1)
    assert checks.clump_value(dispersion(clumps, temperature=0.1).item())
    assert checks.clump_value(-1.43)


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


@pytest.mark.parametrize("sentence", DRIFT_MISTAKES)
def test_drift_parts_names_the_mistake(sentence, capsys):
    assert not checks.drift_parts(DRIFT_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_drift_parts_accepts_a_right_answer():
    assert checks.drift_parts(drift_parts)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "put your own code"),
        (0.2, "square the gap first"),
        (0.64, "what is left"),
        (0.6, "that is a length"),
        (1.0, "solve for the sample part"),
        ("0.36", "stopped with TypeError"),
    ],
)
def test_unshiftable_names_the_mistake(value, sentence, capsys):
    assert not checks.unshiftable(value)
    assert sentence in capsys.readouterr().out


def test_unshiftable_accepts_a_right_answer():
    assert checks.unshiftable(1 - 0.8**2)


def pair_distances(a, b):
    return (normalize(a, dim=1) - normalize(b, dim=1)).norm(dim=1)


RADIUS_MISTAKES = {
    "put your own code": lambda a, b, share: None,
    "take the quantile 1 - share": lambda a, b, share: pair_distances(a, b).quantile(share),
    "the radius is a distance": lambda a, b, share: pair_distances(a, b).square().quantile(1 - share),
    "lies outside your radius 0.60": lambda a, b, share: 0.6,
    "normalize both first": lambda a, b, share: (a - b).norm(dim=1).quantile(1 - share),
}


@pytest.mark.parametrize("sentence", RADIUS_MISTAKES)
def test_radius_for_names_the_mistake(sentence, capsys):
    assert not checks.radius_for(RADIUS_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_radius_for_accepts_a_right_answer():
    assert checks.radius_for(lambda a, b, share: pair_distances(a, b).quantile(1 - share))


def ogm_k(score, other, alpha):
    return 1 - math.tanh(alpha * score / other) if score > other else 1.0


OGM_MISTAKES = {
    "put your own code": lambda s, o, alpha: None,
    "slowed down the modality that is behind": lambda s, o, alpha: ogm_k(o, s, alpha),
    "take 1 - tanh": lambda s, o, alpha: math.tanh(alpha * s / o) if s > o else 1.0,
    "you took the lead rho - 1": lambda s, o, alpha: 1 - math.tanh(alpha * (s / o - 1)) if s > o else 1.0,
    "the other way round": lambda s, o, alpha: 1 - math.tanh(alpha * o / s) if s > o else 1.0,
    "must give 0.166": lambda s, o, alpha: 1.0 if s <= o else 0.5,
    "must keep its whole gradient": lambda s, o, alpha: 1 - math.tanh(alpha * s / o),
    "nobody is ahead": lambda s, o, alpha: 1 - math.tanh(alpha * s / o) if s >= o else 1.0,
    "switches the method off": lambda s, o, alpha: ogm_k(s, o, 0.8),
}


@pytest.mark.parametrize("sentence", OGM_MISTAKES)
def test_ogm_coefficient_names_the_mistake(sentence, capsys):
    assert not checks.ogm_coefficient(OGM_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_ogm_coefficient_accepts_a_right_answer():
    assert checks.ogm_coefficient(ogm_k)


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


@pytest.mark.parametrize("sentence", DGL_MISTAKES)
def test_dgl_loss_names_the_mistake(sentence, capsys):
    assert not checks.dgl_loss(DGL_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_dgl_loss_accepts_a_right_answer():
    assert checks.dgl_loss(dgl_answer())


def min_norm(g1, g2):
    difference = g1 - g2
    return (-(g2 @ difference) / (difference @ difference).clamp(min=1e-12)).clamp(0, 1)


MIN_NORM_MISTAKES = {
    "put your own code": lambda g1, g2: None,
    "that is the weight of g2": lambda g1, g2: 1 - min_norm(g1, g2),
    "you used the lengths": lambda g1, g2: g2.norm() / (g1.norm() + g2.norm()),
    "it is 0.1, and yours": lambda g1, g2: 0.5,
    "mind the inner product": lambda g1, g2: (g2 @ g2) / (g1 @ g1 + g2 @ g2),
    "clip": lambda g1, g2: -(g2 @ (g1 - g2)) / ((g1 - g2) @ (g1 - g2)),
    "where they do not differ": lambda g1, g2: (-(g2 @ (g1 - g2)) / ((g1 - g2) @ (g1 - g2))).clamp(0, 1),
}


@pytest.mark.parametrize("sentence", MIN_NORM_MISTAKES)
def test_min_norm_weight_names_the_mistake(sentence, capsys):
    assert not checks.min_norm_weight(MIN_NORM_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_min_norm_weight_accepts_a_right_answer():
    assert checks.min_norm_weight(min_norm)


# Notebook 09


FLOOR_MISTAKES = {
    "put your own code": lambda d: None,
    "their squares sum to 1 at most": lambda d: 0.0,
    "the largest standard deviation": lambda d: d**-0.5,
    "its root": lambda d: 1 - 1 / d,
    "stays at 0.912": lambda d: 0.5,
    "make it a function of D": lambda d: 0.912,
    "stopped with TypeError": 0.912,
}


@pytest.mark.parametrize("sentence", FLOOR_MISTAKES)
def test_hinge_floor_names_the_mistake(sentence, capsys):
    assert not checks.hinge_floor(FLOOR_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_hinge_floor_accepts_the_bound_and_what_a_batch_that_reaches_it_measures():
    from geomreg_mini.controls import variance_hinge

    def measured(width):
        axes = torch.eye(width).repeat(50, 1)
        return variance_hinge(torch.cat([axes, -axes]).var(dim=0))

    assert checks.hinge_floor(lambda width: 1 - width**-0.5)
    assert checks.hinge_floor(measured)


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


@pytest.mark.parametrize("sentence", LENGTH_MISTAKES)
def test_same_length_names_the_mistake(sentence, capsys):
    assert not checks.same_length(LENGTH_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_same_length_accepts_a_right_answer():
    assert checks.same_length(length_class(unlike))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "put your own code"),
        (0.5, "the number expected"),
        (0.95**10, "that none of the ten"),
        (0.05, "for one interval"),
        (1 - 0.95**11, "eleven names make ten"),
        (0.2, "multiply ten times 0.95"),
    ],
)
def test_any_by_chance_names_the_mistake(value, sentence, capsys):
    assert not checks.any_by_chance(value)
    assert sentence in capsys.readouterr().out


def test_any_by_chance_accepts_a_right_answer():
    assert checks.any_by_chance(1 - 0.95**10)


SPREAD_MISTAKES = {
    "put your own code": ...,
    "a setting is a dict": 0.3,
    "the lab has no 'weight'": {"weight": 1.0},
    "leave noise at 0.1": {"noise": 0.0},
    "radius": {"radius": -1.0},
    "neither term does its work": {},
    "the pairs agree, but crowded": {"anchoring_weight": 0.3, "radius": 0.0},
    "spread, but the pairs lie apart": {"dispersion_weight": 0.3},
}


@pytest.mark.parametrize("sentence", SPREAD_MISTAKES)
def test_spread_and_agreed_names_the_mistake(sentence, capsys):
    assert not checks.spread_and_agreed(SPREAD_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_spread_and_agreed_accepts_a_right_answer():
    assert checks.spread_and_agreed({"dispersion_weight": 0.3, "anchoring_weight": 0.3, "radius": 0.3})


COLLAPSE_MISTAKES = {
    "put your own code": None,
    "keep it at 0.3 or more": {"anchoring_weight": 1.0, "radius": 0.0},
    "which term likes a crowd?": {"dispersion_weight": 0.3, "anchoring_weight": 0.1, "radius": 0.0},
}


@pytest.mark.parametrize("sentence", COLLAPSE_MISTAKES)
def test_collapse_with_dispersion_names_the_mistake(sentence, capsys):
    assert not checks.collapse_with_dispersion(COLLAPSE_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_collapse_with_dispersion_accepts_a_right_answer():
    setting = {"dispersion_weight": 0.3, "anchoring_weight": 1.0, "radius": 0.0}
    assert checks.collapse_with_dispersion(setting)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "put your own code"),
        (0.0126, "multiply by 100"),
        (0.0158, "take the root"),
        (21.8, "a single sample's result"),
        (2.47, "half of a 95 % interval"),
        (2.89, "put 0.95 into"),
        (1.0, "its variance is p (1 - p)"),
    ],
)
def test_sampling_error_names_the_mistake(value, sentence, capsys):
    assert not checks.sampling_error(value)
    assert sentence in capsys.readouterr().out


def test_sampling_error_accepts_a_right_answer():
    assert checks.sampling_error(1.26)


def by_rule(paper, low, high):
    same_side = low > 0 if paper > 0 else high < 0
    return (
        "not replicated" if not same_side else f"replicated{'' if low <= paper <= high else ' in direction'}"
    )


def blind_to_sides(paper, low, high):
    return by_rule(paper, low, high) if low > 0 else by_rule(-abs(paper), low, high)


RULE_MISTAKES = {
    "put your own code": lambda paper, low, high: None,
    "return 'replicated', 'replicated in direction'": lambda paper, low, high: low <= paper <= high,
    "what holds zero replicates nothing": lambda paper, low, high: by_rule(paper, abs(low), high),
    "leaves zero out and holds the paper's 0.5": lambda paper, low, high: "not replicated",
    "in direction only": lambda *case: by_rule(*case).replace(" in direction", ""),
    "that is no replication": blind_to_sides,
    "a paper's gain may be negative": lambda paper, low, high: by_rule(abs(paper), low, high),
    "stopped with TypeError": lambda paper: None,
}


@pytest.mark.parametrize("sentence", RULE_MISTAKES)
def test_judge_names_the_mistake(sentence, capsys):
    assert not checks.judge(RULE_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_judge_accepts_the_rule():
    assert checks.judge(by_rule)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "put your own code"),
        (0.0235, "multiply by 100"),
        (80.0, "subtract the accuracy"),
        (1.53, "the spread of a single look"),
        (4.7, "from the worst of ten to the best"),
        (0.0, "adds nothing"),
        (10.0, "draw 744 clips"),
    ],
)
def test_best_of_ten_names_the_mistake(value, sentence, capsys):
    assert not checks.best_of_ten(value)
    assert sentence in capsys.readouterr().out


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
    "f(-0.4, 1.0, 1.0) must be": lambda gain, a, b: seeds(max(gain, 0.1), a, b),
    "stopped with TypeError": lambda gain: 3,
}


@pytest.mark.parametrize("sentence", SEEDS_MISTAKES)
def test_seeds_for_names_the_mistake(sentence, capsys):
    assert not checks.seeds_for(SEEDS_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


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


@pytest.mark.parametrize("sentence", SHARED_MISTAKES)
def test_shared_clips_names_the_mistake(sentence, capsys):
    assert not checks.shared_clips(SHARED_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_shared_clips_accepts_a_right_answer():
    assert checks.shared_clips(lambda train, test: len(shared(train, test)))


NUMBERS = [
    ("chance_recall", None, "put your own code"),
    ("chance_recall", 1 / 744, "that is R@1"),
    ("chance_recall", 13.44, "in percent"),
    ("chance_recall", 100 / 7442, "among the test clips only"),
    ("chance_recall", 0.5, "100 of them count"),
    ("difference_error", None, "put your own code"),
    ("difference_error", 0.0116, "multiply by 100"),
    ("difference_error", 0.0134, "that is a variance"),
    ("difference_error", 31.6, "that is for one clip"),
    ("difference_error", 1.10, "share of disagreement"),
    ("difference_error", 8.63, "that is in clips"),
    ("difference_error", 2.16, "divide by 744"),
    ("spread_of_two", None, "put your own code"),
    ("spread_of_two", 1.18, "that is the difference"),
    ("spread_of_two", 0.59, "divide by 1"),
    ("spread_of_two", 0.696, "take the root"),
    ("spread_of_two", 2.0, "0.59 from the mean"),
]


@pytest.mark.parametrize(("check", "value", "sentence"), NUMBERS)
def test_a_number_of_notebooks_10_and_11_gets_the_sentence_that_names_the_mistake(
    check, value, sentence, capsys
):
    assert not getattr(checks, check)(value)
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "value"), [("chance_recall", 0.134), ("difference_error", 1.16), ("spread_of_two", 0.834)]
)
def test_the_right_numbers_of_notebooks_10_and_11_are_accepted(check, value):
    assert getattr(checks, check)(value)


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


@pytest.mark.parametrize("sentence", PAIRING_MISTAKES)
def test_paired_clips_names_the_mistake(sentence, capsys):
    assert not checks.paired_clips(PAIRING_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_paired_clips_accepts_a_right_answer():
    assert checks.paired_clips(by_name)


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


@pytest.mark.parametrize("sentence", TIED_RANK_MISTAKES)
def test_best_rank_names_the_mistake(sentence, capsys):
    assert not checks.best_rank(TIED_RANK_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


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
    "10 samples were embedded": lambda encoder, parts, loss: loss(encoder(torch.cat(parts))).backward(),
    "the gradient is zero": lambda encoder, parts, loss: in_parts(
        encoder, parts, loss, lambda gradients: [0 * g for g in gradients]
    ),
    "not the whole batch's gradient": lambda encoder, parts, loss: in_parts(
        encoder, parts, loss, lambda gradients: [g.flip(0) for g in gradients]
    ),
    "stopped with": lambda encoder, parts, loss: encoder(parts),
}


@pytest.mark.parametrize("sentence", PART_MISTAKES)
def test_gradient_in_parts_names_the_mistake(sentence, capsys):
    assert not checks.gradient_in_parts(PART_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_gradient_in_parts_names_the_mean_over_parts_too(capsys):
    mean = lambda encoder, parts, loss: (sum(loss(encoder(x)) for x in parts) / len(parts)).backward()  # noqa: E731
    assert not checks.gradient_in_parts(mean)
    assert "samples in different parts have to meet" in capsys.readouterr().out


def test_right_answers_of_notebook_13_are_accepted():
    assert checks.best_rank(ranked)
    assert checks.gradient_in_parts(in_parts)


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


@pytest.mark.parametrize("sentence", SHARE_MISTAKES)
def test_subset_shares_names_the_mistake(sentence, capsys):
    assert not checks.subset_shares(SHARE_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


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
    "return a set of names": lambda network, x: sorted(unused(network, x)),
    "these are the children that run": lambda network, x: (
        {name for name, _ in network.named_children()} - unused(network, x)
    ),
    "only direct children": lambda network, x: {name for name, _ in network.named_modules() if "." in name},
    "where forward runs a, c, the unused are ['b']": lambda network, x: set(),
    "a hook was left behind": lambda network, x: unused(network, x, remove=False),
    "no backward pass is needed": lambda network, x: unused(
        network, x, run=lambda network, x: network(x).sum().backward()
    ),
    "stopped with": lambda network, x: network.missing,
}


@pytest.mark.parametrize("sentence", UNUSED_MISTAKES)
def test_unused_children_names_the_mistake(sentence, capsys):
    assert not checks.unused_children(UNUSED_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_right_answers_of_notebook_14_are_accepted():
    assert checks.subset_shares(shares)
    assert checks.unused_children(unused)


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


@pytest.mark.parametrize("sentence", NAMING_MISTAKES)
def test_best_naming_names_the_mistake(sentence, capsys):
    assert not checks.best_naming(NAMING_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


PHOTOGRAPH_MISTAKES = {
    "put your own code": None,
    "1,320 independent pairs": 0.91,
    "that is a share": 0.0288,
    "take the root": 100 * 0.875 * 0.125 / 132,
    "for a single photograph": 33.07,
    "make the sample smaller": 0.288,
    "how many answers": 5.0,
}


@pytest.mark.parametrize("sentence", PHOTOGRAPH_MISTAKES)
def test_photograph_error_names_the_mistake(sentence, capsys):
    assert not checks.photograph_error(PHOTOGRAPH_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


IMAGE_SAYS, CAPTION_SAYS = [0.46, 0.45, 0.09, 0.0, 0.0], [0.02, 0.06, 0.40, 0.26, 0.26]
THREE_RULES_MISTAKES = {
    "put your own code": None,
    "4 or more": (IMAGE_SAYS[:3], CAPTION_SAYS[:3]),
    "p is no distribution": ([0.5, 0.5, 0.5, 0.0, 0.0], CAPTION_SAYS),
    "q is no distribution": (IMAGE_SAYS, [1.1, -0.1, 0.0, 0.0, 0.0]),
    "two entries of the product": ([1.0, 0.0, 0.0, 0.0], [0.0, 0.9, 0.1, 0.0]),
    "two entries of the mean": ([0.4, 0.3, 0.2, 0.1], [0.2, 0.3, 0.15, 0.35]),
    "both are equally certain": ([0.7, 0.2, 0.1, 0.0], [0.15, 0.1, 0.05, 0.7]),
    "the product and the mean both say 0": ([0.7, 0.1, 0.1, 0.1], [0.6, 0.2, 0.1, 0.1]),
    "the mean and the more certain one both say 0": ([0.9, 0.1, 0.0, 0.0], [0.01, 0.5, 0.4, 0.09]),
}


@pytest.mark.parametrize("sentence", THREE_RULES_MISTAKES)
def test_three_rules_names_the_mistake(sentence, capsys):
    assert not checks.three_rules(lambda: THREE_RULES_MISTAKES[sentence])
    assert sentence in capsys.readouterr().out


def test_right_answers_of_notebook_12_are_accepted():
    assert checks.best_naming(named_at_best)
    assert checks.photograph_error(100 * math.sqrt(0.875 * 0.125 / 132))
    assert checks.three_rules(lambda: (IMAGE_SAYS, CAPTION_SAYS))
