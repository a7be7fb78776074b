"""Controls that look and behave alike, from what ipywidgets 7.7 and 8 have in common."""

import ipywidgets as widgets


def control(kind: type, name: str, value, **options):
    """A widget with its label; it reports a new value when it is let go, not on the way."""
    if kind is not widgets.Dropdown:
        options["continuous_update"] = False
    return kind(
        value=value,
        description=name.replace("_", " "),
        style={"description_width": "115px"},
        layout=widgets.Layout(width="340px", max_width="98%"),
        **options,
    )


def button(name: str, **options) -> widgets.Button:
    return widgets.Button(description=name, layout=widgets.Layout(width="auto"), **options)


def wrapped(*children) -> widgets.Box:
    """Side by side where there is room, below one another where there is not."""
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", align_items="flex-start"))


def image(value: bytes = b"", width: str = "370px") -> widgets.Image:
    return widgets.Image(value=value, format="png", layout=widgets.Layout(width=width, max_width="98%"))
