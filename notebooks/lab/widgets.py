"""Controls that look and behave alike, built from the common parts of ipywidgets 7.7 and 8."""

from typing import Any

import ipywidgets as widgets


def control(kind: type[widgets.Widget], name: str, value: object, **options: Any) -> widgets.Widget:
    """Return a labelled widget that reports a new value when it is released, not while it moves."""
    if kind is not widgets.Dropdown:
        options["continuous_update"] = False
    return kind(
        value=value,
        description=name.replace("_", " "),
        style={"description_width": "115px"},
        layout=widgets.Layout(width="340px", max_width="98%"),
        **options,
    )


def button(name: str, **options: Any) -> widgets.Button:
    """Return a button as wide as its text."""
    return widgets.Button(description=name, layout=widgets.Layout(width="auto"), **options)


def wrapped(*children: widgets.Widget) -> widgets.Box:
    """Return a box of widgets side by side, or stacked if the page is narrow."""
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start"))


def image(value: bytes = b"", width: str = "370px") -> widgets.Image:
    """Return a widget for a PNG."""
    return widgets.Image(value=value, format="png", layout=widgets.Layout(width=width, max_width="98%"))
