"""The live lab: move a slider, and a small network trains again in a thread while you watch."""

from __future__ import annotations

import html
import threading
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import ipywidgets as widgets

from geomreg_mini.paradigms import PARADIGMS

from .pictures import PANELS, memory_table, picture
from .runs import EPOCHS, PRESETS, UNUSED, Run, Setting, train
from .widgets import button, control, image, wrapped

WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # the paper's are 0.1, 0.15 and 0.2
BALANCES = [("sum (Eq. 6)", "sum"), ("Pareto (the paper's default)", "pareto")]
TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
REMEMBERED = 6


class _Stopped(Exception):
    """Ends a run that is no longer wanted."""


class Lab:
    """Sliders, buttons, four pictures and a memory around ``train``; display its ``view``.

    A new value ends the current run and starts another. Nothing trains before the first new value, so that a
    notebook without a front end leaves no thread behind. The controls' actions are methods: ``start``,
    ``stop``, ``use`` a preset, ``set`` several values.
    """

    def __init__(self, *, seed: int = 0, epochs: int = EPOCHS) -> None:
        self.seed, self.epochs = seed, epochs
        self.memory: list[Run] = []
        self._lock, self._thread, self._wanted, self._quiet = threading.Lock(), None, None, False
        default, chosen, slider = Setting(), widgets.SelectionSlider, widgets.FloatSlider
        kinds = {
            "balance": (widgets.Dropdown, {"options": BALANCES}),
            "dispersion_weight": (chosen, {"options": WEIGHTS}),
            "anchoring_weight": (chosen, {"options": WEIGHTS}),
            "strength": (chosen, {"options": STRENGTHS}),
            "temperature": (chosen, {"options": TEMPERATURES}),
            "radius": (slider, {"min": 0, "max": 2, "step": 0.1, "readout_format": ".1f"}),
            "noise": (slider, {"min": 0, "max": 2, "step": 0.1, "readout_format": ".1f"}),
            "imbalance": (slider, {"min": 0, "max": 1, "step": 0.1, "readout_format": ".1f"}),
            "paradigm": (widgets.Dropdown, {"options": list(PARADIGMS)}),
            "dimensions": (widgets.Dropdown, {"options": [("2, on a circle", 2), ("3, on a sphere", 3)]}),
        }
        self.controls = {
            name: control(kind, name, getattr(default, name), **options)
            for name, (kind, options) in kinds.items()
        }
        self.train_button = button("Train", icon="play")
        self.stop_button = button("Stop", icon="stop", disabled=True)
        self.preset_buttons = {name: button(f"Preset {name}") for name in PRESETS}
        self.images = {name: image() for name in PANELS}
        self.message, self.table = widgets.HTML(), widgets.HTML()
        self.controls["balance"].observe(self._rest, names="value")
        self._rest()
        for moved in self.controls.values():
            moved.observe(self._moved, names="value")
        self.train_button.on_click(self.start)
        self.stop_button.on_click(self.stop)
        for name, pressed in self.preset_buttons.items():
            pressed.on_click(lambda _, name=name: self.use(name))
        buttons = wrapped(self.train_button, self.stop_button, *self.preset_buttons.values())
        sliders, pictures = widgets.VBox([*self.controls.values()]), wrapped(*self.images.values())
        pictures.layout.flex = "1 1 340px"
        self.view = widgets.VBox([buttons, wrapped(sliders, pictures), self.message, self.table])
        self._preview()

    @property
    def setting(self) -> Setting:
        """The values of the controls; disabled ones count as untouched."""
        return Setting(**{name: c.value for name, c in self.controls.items() if not c.disabled})

    def set(self, **values: Any) -> None:
        """Move several controls and start one run."""
        self._quiet = True
        try:
            for name, value in values.items():
                self.controls[name].value = value
        finally:
            self._quiet = False
        self.start()

    def use(self, preset: str) -> None:
        """Move all controls except the dimension to the values of ``PRESETS[preset]``."""
        self.set(**{**asdict(PRESETS[preset]), "dimensions": self.setting.dimensions})

    def start(self, _: object = None) -> None:
        """Train the current setting; end the current run first."""
        with self._lock:
            self._wanted = self.setting  # a new object each time: its identity marks the run
            self.stop_button.disabled = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tuning lab", daemon=True)
                self._thread.start()

    def stop(self, _: object = None) -> None:
        """Ask the current run to end, which it does after its current epoch at the latest."""
        with self._lock:
            self._wanted = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for the training to end; return whether nothing trains."""
        if thread := self._thread:
            thread.join(timeout)
        return self._thread is None

    def _rest(self, _: object = None) -> None:
        """Disable the sliders that the chosen balance does not use."""
        for balance, names in UNUSED.items():
            for name in names:
                self.controls[name].disabled = balance == self.controls["balance"].value

    def _moved(self, change: object) -> None:
        if not self._quiet:
            self.start()

    def _work(self) -> None:
        """Run in the thread: train the wanted setting until none is left."""
        while True:
            with self._lock:
                setting = self._wanted
                if setting is None:
                    self._thread, self.stop_button.disabled = None, True
                    return
            try:
                self._follow(setting)
            except Exception as error:  # in a thread nobody would see it otherwise
                self.message.value = html.escape(f"The run ended with {type(error).__name__}: {error}")
            with self._lock:
                if self._wanted is setting:
                    self._wanted = None

    def _follow(self, setting: Setting) -> None:
        """Train and draw one run; remember it if it ends, or is stopped and not replaced."""
        seen: list[Run] = []

        def watch(run: Run) -> None:
            seen[:] = [run]
            self._draw(run, setting)

        try:
            train(setting, seed=self.seed, epochs=self.epochs, watch=watch)
        except _Stopped:
            if self._wanted is not None or not seen:
                return
            self.message.value = "Stopped. " + html.escape(seen[0].words())
        self.memory = [*self.memory, *seen][-REMEMBERED:]
        self.table.value = memory_table(self.memory)

    def _preview(self) -> None:
        """Draw the pictures before training, in the calling thread."""

        def draw_and_leave(run: Run) -> None:
            self._draw(run, None)
            raise _Stopped

        with suppress(_Stopped):
            train(self.setting, seed=self.seed, epochs=self.epochs, watch=draw_and_leave)

    def _draw(self, run: Run, setting: Setting | None) -> None:
        """Refresh the pictures: all before the first and after the last epoch, otherwise one in turn.

        Raise ``_Stopped`` before a picture if the run is no longer wanted. The next run then waits briefly,
        and no picture of an old run appears after a control has moved.
        """
        epoch, (first, *others) = run.rows[-1]["epoch"], PANELS
        turn = [first if epoch % 2 else others[epoch // 2 % len(others)]]
        for name in PANELS if epoch in (0, self.epochs) else turn:
            drawn = picture(name, run, self.memory[-3:])
            if self._wanted is not setting:
                raise _Stopped
            self.images[name].value = drawn
        self.message.value = html.escape(run.words())
