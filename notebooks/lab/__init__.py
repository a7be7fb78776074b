"""The tuning lab of notebook 06.

``train`` is one run on the toy data, for a notebook's cell as for the lab. ``Lab`` puts sliders in front of
it and draws while a thread trains. ``DigitsLab`` has the same sliders over recorded runs on digits. What a
control calls is a plain method, so that a test can call it too: a failing callback is easily missed.
"""

from ipywidgets import Tab

from .live import Lab
from .pictures import figure, multiples
from .recorded import DigitsLab, digits_map, digits_values
from .runs import PRESETS, Run, Setting, train

__all__ = [
    "PRESETS",
    "DigitsLab",
    "Lab",
    "Run",
    "Setting",
    "digits_map",
    "digits_values",
    "figure",
    "multiples",
    "tabs",
    "train",
]


def tabs(lab: Lab, digits: DigitsLab) -> Tab:
    """Both labs, one behind the other."""
    tab = Tab(children=[lab.view, digits.view])
    tab.set_title(0, "Toy, live")
    tab.set_title(1, "Digits, recorded")
    return tab
