"""Controls inside a page: sliders over options and menus that report every value while they move.

The sliders of ipywidgets tell a screen reader the index of an option, and report before or after a drag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from ..sphere import Base


class Knobs(Base):
    """Named controls: read or set ``values`` (name -> option), and ``why`` (name -> reason to be disabled).

    Args:
        options: name -> its options, in order.
        values: name -> its first value, one of its options.
        texts: name -> the text of each option; by default the option itself.
        menus: names that get a menu instead of a slider.
    """

    _esm, _css = (Path(__file__).with_name(name) for name in ("knobs.js", "knobs.css"))
    specs = traitlets.List().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)
    why = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        options: Mapping[str, Sequence[Any]],
        values: Mapping[str, Any],
        *,
        texts: Mapping[str, Sequence[str]],
        menus: Sequence[str] = (),
    ) -> None:
        self.options = {name: list(given) for name, given in options.items()}
        specs = [
            {
                "name": name,
                "label": name.replace("_", " ").capitalize(),
                "options": given,
                "texts": list(
                    texts.get(name) or [f"{o:g}" if isinstance(o, float) else str(o) for o in given]
                ),
                "menu": name in menus,
            }
            for name, given in self.options.items()
        ]
        super().__init__(specs=specs, values=dict(values))

    @traitlets.validate("values")
    def _are_options(self, proposal: traitlets.Bunch) -> dict[str, Any]:
        for name, value in proposal["value"].items():
            if value not in self.options.get(name, ()):
                given = ", ".join(map(str, self.options.get(name, [])))
                raise ValueError(
                    f"`{name}` cannot be {value!r} in the lab: choose one of {given or 'its names'}."
                )
        return proposal["value"]
