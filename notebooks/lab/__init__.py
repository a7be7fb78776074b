"""The tuning lab of notebook 06, and the simulator of luck of notebook 08.

``train`` does one run on the toy data, for a notebook's cell and for the lab. ``Lab`` adds controls, and a
canvas that moves while a thread trains. ``CHALLENGES`` score a setting on hidden seeds. ``DigitsLab`` looks
up recorded runs on digits. ``LuckLab`` draws what studies would report. Controls call plain methods, so that
a test can call them too: a failing callback is easily missed. ``lab.sphere`` moves embeddings in the browser.
"""

from ipywidgets import Tab

from .challenges import CHALLENGES, Challenge, Score
from .live import Lab
from .luck import LuckLab, luck_figure
from .pictures import figure, multiples
from .recorded import DigitsLab, digits_map, digits_values
from .runs import PRESETS, Run, Setting, train

__all__ = [
    "CHALLENGES",
    "PRESETS",
    "Challenge",
    "DigitsLab",
    "Lab",
    "LuckLab",
    "Run",
    "Score",
    "Setting",
    "digits_map",
    "digits_values",
    "figure",
    "luck_figure",
    "multiples",
    "tabs",
    "train",
]


def tabs(lab: Lab, digits: DigitsLab) -> Tab:
    """Return both labs as two tabs."""
    tab = Tab(children=[lab.view, digits.view])
    tab.set_title(0, "Toy, live")
    tab.set_title(1, "Digits, recorded")
    return tab
