"""The live lab: drag a slider, and a small network trains again in a thread while you watch."""

from __future__ import annotations

import html
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import ipywidgets as widgets
import traitlets

from geomreg_mini.paradigms import PARADIGMS

from .challenges import CHALLENGES, HIDDEN, Challenge
from .knobs import Knobs
from .memory import Entry, curves, table
from .pictures import figure, png
from .runs import EPOCHS, PRESETS, UNUSED, Run, Setting, train
from .sphere import Base, Sphere
from .widgets import button, image, wrapped

WEIGHTS = [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
TENTHS = [k / 10 for k in range(21)]
OPTIONS = {
    "dispersion_weight": WEIGHTS,
    "anchoring_weight": WEIGHTS,
    "radius": TENTHS,
    "temperature": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0],
    "balance": ["sum", "pareto"],
    "strength": [0.05, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],  # the paper's are 0.1, 0.15 and 0.2
    "noise": TENTHS,
    "imbalance": TENTHS[:11],
    "private_share": TENTHS[:11],
    "train_size": [64, 100, 150, 200, 300, 500],
    "learning_rate": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2],
    "paradigm": list(PARADIGMS),
    "dimensions": [2, 3],
}
TEXTS = {
    "balance": ["sum (Eq. 6)", "Pareto (the paper's default)"],
    "dimensions": ["2, on a circle", "3, on a sphere"],
}
FREE = "free play"
REMEMBERED = 6
SEVERAL = 5  # seeds of the cloud
GLANCE = 3  # while a slider moves, each value is drawn from this epoch on
DRAG = 0.5  # seconds; a second move of one control within it belongs to the same drag
PAUSE = 0.3  # seconds that a move waits for its picture at most, so that moves come no faster than pictures


class _Stopped(Exception):
    """Ends a run that is no longer wanted."""


@dataclass(eq=False)
class _Job:
    """A setting to train; its identity marks the run."""

    setting: Setting
    seeds: tuple[int, ...]
    dragged: bool = False
    challenge: Challenge | None = None
    seen: threading.Event = field(default_factory=threading.Event)


def reasons(values: dict[str, Any], locked: dict[str, object]) -> dict[str, str]:
    """Return control -> why it has no effect now."""
    if values["balance"] == "pareto":
        why = dict.fromkeys(UNUSED["pareto"], "rests: the Pareto balance chooses the shares")
    else:
        why = {"strength": "rests: only the Pareto balance uses it"}
        if not values["dispersion_weight"]:
            why["temperature"] = "rests: the dispersion weight is 0"
        if not values["anchoring_weight"]:
            why["radius"] = "rests: the anchoring weight is 0"
    return why | dict.fromkeys(locked, "locked by the challenge")


class Lab:
    """Controls, a live canvas, pins, challenges and a memory around ``train``; display its ``view``.

    A new value ends the current run and starts another. Nothing trains before the first new value, so that a
    notebook without a front end leaves no thread behind. The controls' actions are methods: ``start``,
    ``stop``, ``five`` seeds, ``set`` several values, ``use`` a preset, ``undo``, ``redo``, ``pin``,
    ``choose`` a challenge and ``hand_in``.
    """

    def __init__(self, *, seed: int = 0, epochs: int = EPOCHS) -> None:
        self.seed, self.epochs = seed, epochs
        self.memory: list[Entry] = []
        self.pins: dict[str, Entry] = {}
        self.challenge: Challenge | None = None
        self._lock, self._thread, self._wanted, self._count = threading.Lock(), None, None, 0
        values = asdict(Setting())
        self._past, self._at, self._last, self._stepping = [values], 0, ("", 0.0), False
        self.knobs = Knobs(OPTIONS, {n: values[n] for n in OPTIONS}, texts=TEXTS,
                           menus=("balance", "paradigm", "dimensions"))  # fmt: skip
        self.knobs.why = reasons(values, {})
        self.knobs.observe(self._moved, names="values")
        actions = {
            "Train": ("play", self.start),
            "Five seeds": ("", self.five),
            "Stop": ("stop", self.stop),
            "Undo": ("undo", self.undo),
            "Redo": ("repeat", self.redo),
            "Pin A": ("", lambda: self.pin("A")),
            "Pin B": ("", lambda: self.pin("B")),
        }
        self.buttons = {
            name: button(name, icon=icon, disabled=icon == "stop") for name, (icon, _) in actions.items()
        }
        for name, (_, action) in actions.items():
            self.buttons[name].on_click(lambda _, action=action: action())
        self.presets = {name: button(f"Preset {name}") for name in PRESETS}
        for name, pressed in self.presets.items():
            pressed.on_click(lambda _, name=name: self.use(name))
        self.menu = widgets.Dropdown(options=[FREE, *CHALLENGES], description="challenge")
        self.menu.add_class("lab-menu")
        self.menu.observe(lambda change: self.choose(change["new"]), names="value")
        self.hand_in_button = button("Hand in", disabled=True)
        self.hand_in_button.on_click(lambda _: self.hand_in())
        self.task, self.message, self.table = (widgets.HTML() for _ in range(3))
        self._lay_out(self._preview())

    def _lay_out(self, run: Run) -> None:
        if Base is traitlets.HasTraits:  # without anywidget nothing moves
            words = widgets.HTML("The live lab needs anywidget: run `pip install anywidget`, then restart.")
            self.view = widgets.VBox([words, image(png(figure(run)), width="900px")])
            return
        self._canvases: dict[int, Sphere] = {}
        self.now = _box("Now")
        self.stage = wrapped(self.now)
        self.stage.layout.flex = "1 1 265px"
        self._draw([run])
        buttons = wrapped(*self.buttons.values(), *self.presets.values())
        challenge = wrapped(self.menu, self.hand_in_button, self.task)
        main = wrapped(self.knobs, self.stage)
        self.stage.layout.grid_gap = main.layout.grid_gap = "0 14px"  # or words of neighbors run together
        self.view = widgets.VBox([buttons, challenge, self.message, main, self.table])

    # ------------------------------------------------------------ controls

    @property
    def setting(self) -> Setting:
        """The values of the controls; those that the balance does not use count as untouched."""
        values = self.knobs.values
        return Setting(**{name: v for name, v in values.items() if name not in UNUSED[values["balance"]]})

    def set(self, **values: Any) -> None:
        """Move several controls and start one run."""
        if (new := {**self.knobs.values, **values}) == self.knobs.values:
            self.start()
        self.knobs.values = new  # `_moved` starts the run

    def use(self, preset: str) -> None:
        """Move the regularizer's controls to the values of ``PRESETS[preset]``; the world stays."""
        names = ("dispersion_weight", "anchoring_weight", "radius", "temperature", "balance")
        self.set(**{name: getattr(PRESETS[preset], name) for name in names})

    def undo(self) -> None:
        """Return to the values before the last move."""
        self._step(-1)

    def redo(self) -> None:
        """Take back the last undo."""
        self._step(1)

    def _step(self, way: int) -> None:
        if 0 <= self._at + way < len(self._past):
            self._at += way
            self._stepping = True
            try:
                self.set(**self._past[self._at])
            finally:
                self._stepping = False

    def _moved(self, change: dict[str, Any]) -> None:
        """Note the move, and train its setting; wait until the first picture is drawn, or briefly."""
        old, new = change["old"], change["new"]
        locked = self.challenge.locked if self.challenge else {}
        self.knobs.why = reasons(new, locked)
        moved, at = " ".join(name for name in new if new[name] != old[name]), time.monotonic()
        dragged = moved == self._last[0] and at - self._last[1] < DRAG
        self._last = moved, at
        if not self._stepping:
            self._past[self._at + 1 - (dragged and self._at > 0) :] = [dict(new)]
            self._at = len(self._past) - 1
        self._begin(_Job(self.setting, (self.seed,), dragged)).seen.wait(PAUSE)

    # ------------------------------------------------------------ runs

    def start(self) -> None:
        """Train the current setting; end the current run first."""
        self._begin(_Job(self.setting, (self.seed,)))

    def five(self) -> None:
        """Train the current setting on five seeds, of which the lab's is the first."""
        self._begin(_Job(self.setting, tuple(range(self.seed, self.seed + SEVERAL))))

    def hand_in(self) -> None:
        """Score the current setting in the chosen challenge, on hidden seeds."""
        if self.challenge:
            self._begin(_Job(self.setting, HIDDEN, challenge=self.challenge))

    def stop(self) -> None:
        """Ask the current run to end, which it does after its current epoch at the latest."""
        with self._lock:
            self._wanted = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for the training to end; return whether nothing trains."""
        if thread := self._thread:
            thread.join(timeout)
        return self._thread is None

    def _begin(self, job: _Job) -> _Job:
        with self._lock:
            self._wanted = job
            self.buttons["Stop"].disabled = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tuning lab", daemon=True)
                self._thread.start()
        return job

    def _work(self) -> None:
        """Run in the thread: train what is wanted until nothing is left."""
        while True:
            with self._lock:
                job = self._wanted
                if job is None:
                    self._thread, self.buttons["Stop"].disabled = None, True
                    return
            try:
                self._score(job) if job.challenge else self._follow(job)
            except Exception as error:  # in a thread nobody would see it otherwise
                self._say(f"The run ended with {type(error).__name__}: {error}")
            job.seen.set()
            with self._lock:
                if self._wanted is job:
                    self._wanted = None

    def _follow(self, job: _Job) -> None:
        """Train and draw the runs of a job; remember them if they end, or are stopped and not replaced."""
        done: list[Run] = []
        seen: list[Run] = []

        def watch(run: Run) -> None:
            epoch = run.rows[-1]["epoch"]
            self._check(job)
            seen[:] = [run]
            if job.dragged and epoch < min(GLANCE, self.epochs):
                return
            if not done:
                self._draw([run], job)
            if epoch >= min(GLANCE, self.epochs):
                job.seen.set()

        opening = ""
        self._say("Training.", job.setting)
        try:
            for seed in job.seeds:
                done.append(train(job.setting, seed=seed, epochs=self.epochs, watch=watch))
                if len(job.seeds) > 1:
                    self._draw(done, job)
        except _Stopped:
            if self._wanted is not None or not seen:
                return
            opening, done = "Stopped. ", done or seen
        self._count += 1
        entry = Entry(self._count, done)
        self.memory = [*self.memory, entry][-REMEMBERED:]
        self.table.value = table(self.memory, self.pins)
        words = curves(done, self.epochs)["caption"] if len(done) > 1 else done[0].words()
        self._say(f"{opening}{entry.name.capitalize()}. {words}", job.setting)

    def _score(self, job: _Job) -> None:
        def watch(run: Run) -> None:
            self._check(job)
            if run.rows[-1]["epoch"] == 0:
                self._say(f"Scoring: hidden seed {HIDDEN.index(run.seed) + 1} of {len(HIDDEN)}.", job.setting)

        try:
            self._say(job.challenge.score(job.setting, watch).words, job.setting)
        except _Stopped:
            self._say("Stopped before the score was complete.")

    def _check(self, job: _Job | None) -> None:
        if self._wanted is not job:
            raise _Stopped

    def _preview(self) -> Run:
        """Return a run before its training, in the calling thread."""
        seen = []

        def leave(run: Run) -> None:
            seen.append(run)
            raise _Stopped

        with suppress(_Stopped):
            train(self.setting, seed=self.seed, epochs=self.epochs, watch=leave)
        return seen[0]

    # ------------------------------------------------------------ what is seen

    def _say(self, words: str, setting: Setting | None = None) -> None:
        """Show a sentence, and the line that trains the setting again."""
        code = (
            f"<br><code style='user-select: all'>{html.escape(setting.code(self.seed))}</code>"
            if setting
            else ""
        )
        self.message.value = f'<div class="lab-message" role="status">{html.escape(words)}{code}</div>'

    def _draw(self, runs: list[Run], job: _Job | None = None) -> None:
        """Show runs on the canvas of their dimension, unless another setting is wanted by now."""
        first = runs[0]
        dimensions = first.setting.dimensions
        told = curves(runs, self.epochs, self.memory[-3:])
        self._check(job)
        if dimensions not in self._canvases:
            self._canvases[dimensions] = _canvas(first, told)
        canvas = self._canvases[dimensions]
        canvas.radius = first.setting.radius
        canvas.show(first.embeddings, first.labels, told)
        if canvas is not self.now.children[-1]:
            self.now.children = (self.now.children[0], canvas)

    def pin(self, name: str) -> None:
        """Keep the newest finished run, with its picture, next to the current one: as "A" or "B"."""
        if not self.memory:
            self._say("There is no finished run to pin: press Train first.")
            return
        self.pins[name] = self.memory[-1]
        boxes = [
            _box(f"Pin {pin}: {entry.name}", _canvas(entry.runs[0], curves(entry.runs, self.epochs)))
            for pin, entry in sorted(self.pins.items())
        ]
        self.stage.children = (self.now, *boxes)
        self.table.value = table(self.memory, self.pins)

    def choose(self, name: str) -> None:
        """Take a challenge by its name, which may lock controls, or ``FREE`` to unlock them."""
        self.challenge = CHALLENGES.get(name)
        self.hand_in_button.disabled = self.challenge is None
        if self.challenge is None:
            self.task.value = ""
            self.knobs.why = reasons(self.knobs.values, {})
            return
        wanted = "; ".join(condition.text for condition in self.challenge.conditions)
        words = f"{self.challenge.words} Wanted on each of {len(HIDDEN)} hidden seeds: {wanted}."
        self.task.value = html.escape(words)
        self.set(**{**asdict(Setting()), **self.challenge.locked, **self.challenge.start})
        self.knobs.why = reasons(self.knobs.values, self.challenge.locked)
        self._past, self._at = [dict(self.knobs.values)], 0  # an undo must not change what is locked


def _box(title: str, *content: widgets.Widget) -> widgets.VBox:
    words = widgets.HTML(f"<b>{html.escape(title)}</b>")
    return widgets.VBox([words, *content], layout=widgets.Layout(flex="1 1 255px", min_width="0"))


def _canvas(run: Run, told: dict[str, Any]) -> Sphere:
    canvas = Sphere(run.embeddings, run.labels, controls=[], radius=run.setting.radius)
    canvas.curves = told
    return canvas
