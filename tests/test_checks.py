"""The exercises' checks: a right answer passes, and each typical mistake gets the sentence that names it."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from geomreg_mini import dispersion

sys.path.append(str(Path(__file__).parents[1] / "notebooks"))

import checks  # noqa: E402


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
