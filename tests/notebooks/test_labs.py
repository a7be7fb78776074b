"""The tuning lab: every control at its ends, runs that stop, and nothing that outlives or hides its fault."""

import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import lab as tuning_lab
import pandas as pd
import pytest
import torch
from lab import PRESETS, DigitsLab, Lab, Setting, live, train

from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.regularizer import GeometryRegularizer

PATIENCE = 60  # seconds; only a hanging run takes that long


@pytest.fixture(scope="module")
def lab():
    """One lab with runs of a single epoch, used by many tests."""
    return Lab(epochs=1)


@pytest.fixture
def without_drawing(monkeypatch):
    """For tests that are about runs: pictures take most of the time."""
    monkeypatch.setattr(live, "picture", lambda panel, run, earlier: b"")


@pytest.fixture
def drawn_when_trained(monkeypatch):
    drawing = live.picture
    monkeypatch.setattr(live, "picture", lambda *args: drawing(*args) if args[1].rows[-1]["epoch"] else b"")


@pytest.fixture
def long_lab():
    lab = Lab(epochs=100_000)
    yield lab
    lab.stop()
    assert lab.wait(PATIENCE)


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "tuning lab"]


def heard(lab):
    """What the lab says from now on, one string a change; polling could miss an epoch."""
    said = []
    lab.message.observe(lambda change: said.append(change["new"]), names="value")
    return said


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ------------------------------------------------------------ one training


def test_equal_settings_give_equal_runs():
    first, again = (train({"radius": 0.3, "anchoring_weight": 1.0}, epochs=3) for _ in range(2))
    assert first.rows == again.rows and first.now == again.now and len(first.rows) == 4


@pytest.fixture(scope="module")
def preset_runs():
    return {name: train(setting) for name, setting in PRESETS.items()}


def test_presets_show_what_their_names_say(preset_runs):
    now = {name: run.now for name, run in preset_runs.items()}
    assert now["collapse"]["mean_cosine/b"] > 0.9 and now["collapse"]["paired_drift"] < 0.2
    assert now["drift"]["mean_cosine/b"] < 0.3 and now["drift"]["paired_drift"] > 1.5
    assert replace(PRESETS["rigid"], radius=PRESETS["bounded"].radius) == PRESETS["bounded"]
    for m in "ab":
        assert now["rigid"][f"effective_rank/{m}"] < now["bounded"][f"effective_rank/{m}"]
    assert now["rigid"]["paired_drift"] < now["bounded"]["paired_drift"] < 0.5


def test_numbers_are_of_the_embeddings_that_are_drawn(preset_runs):
    run = preset_runs["bounded"]
    a, b = (z / z.norm(dim=1, keepdim=True) for z in run.embeddings.values())
    distance = (a - b).norm(dim=1)
    assert run.now["paired_drift"] == pytest.approx(distance.square().mean().item(), abs=1e-4)
    assert run.now["outside"] == pytest.approx((distance > 0.3).double().mean().item())
    assert f"{100 * run.now['outside']:.0f} % of pairs outside" in run.words()


def test_each_balance_builds_its_regularizer():
    weighted = Setting(dispersion_weight=0.1, anchoring_weight=0.3, temperature=0.2, radius=0.5)
    balanced = Setting(balance="pareto", strength=2.0, temperature=0.2, radius=0.25)
    for setting, expected in {
        weighted: GeometryRegularizer(0.1, 0.3, temperature=0.2, radius=0.5),
        balanced: GeometryRegularizer(balance="pareto", strength=2.0, temperature=0.2, radius=0.25),
    }.items():
        assert setting.config(seed=0, epochs=1).regularizer.hyperparameters() == expected.hyperparameters()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"balance": "pareto", "anchoring_weight": 0.3}, "anchoring_weight is for balance='sum'"),
        ({"strength": 1.0}, "strength is for balance='pareto'"),
        ({"balance": "Pareto"}, "balance='Pareto' is unknown: choose one of sum, pareto"),
    ],
)
def test_a_value_that_the_balance_does_not_use_is_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(setting, epochs=1)


def test_a_radius_nobody_exceeds_lets_dispersion_rest_too():
    setting = Setting(balance="pareto", radius=2.0)
    crowd = {m: (torch.tensor([1.0, 0.0]) + 0.1 * torch.randn(20, 2)).requires_grad_() for m in "ab"}
    output = setting.regularizer()(crowd)
    output.total.backward()
    assert [value.item() for value in output.alpha.values()] == [1.0, 1.0]
    assert all((z.grad == 0).all() for z in crowd.values())
    run = train(setting, epochs=3)
    assert run.rows == train({}, epochs=3).rows  # ordinary training, to the last digit
    assert "0 % of pairs outside the band. Alpha (at 1 dispersion rests): a 1.00, b 1.00." in run.words()


def test_alpha_is_that_of_the_embeddings_drawn_and_said_with_pareto_only(preset_runs):
    run = train({"balance": "pareto", "radius": 0.25}, epochs=3)
    alpha = run.setting.regularizer()(run.embeddings).alpha
    assert all(0 < value < 1 for value in alpha.values())  # pairs leave this band: both terms act
    assert [run.now[f"alpha/{m}"] for m in "ab"] == [value.item() for value in alpha.values()]
    assert run.words().endswith(f": a {alpha['a'].item():.2f}, b {alpha['b'].item():.2f}.")
    assert "alpha" not in preset_runs["bounded"].words().lower()


def test_static_figures_have_a_panel_for_everything(preset_runs):
    assert len(tuning_lab.figure(preset_runs["rigid"]).axes) == 4
    sphere = train(Setting(dimensions=3), epochs=1)
    assert tuning_lab.figure(sphere).axes[0].name == "3d"
    fig = tuning_lab.multiples({**preset_runs, "sphere": sphere})
    # where a title stands is a setting of matplotlib that other tests may have changed
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in fig.axes[::2]]
    assert titles == [*PRESETS, "sphere"]


# ------------------------------------------------------------ the live lab


def test_nothing_trains_before_a_control_moves_and_the_first_pictures_are_always_the_same(lab):
    other = Lab(epochs=1)
    assert workers() == [] and other.stop_button.disabled and not other.memory
    assert other.message.value.startswith("Epoch 0. Accuracy:")
    pictures = {name: bytes(image.value) for name, image in other.images.items()}
    assert all(value.startswith(b"\x89PNG") for value in pictures.values())
    again = Lab(epochs=1)
    assert {name: bytes(image.value) for name, image in again.images.items()} == pictures


def ends():
    """Every control at its lowest, default and highest value, and at each choice of a menu."""
    for name, control in Lab(epochs=1).controls.items():
        if name in ("balance", "paradigm", "dimensions"):
            choices = [option[1] if isinstance(option, tuple) else option for option in control.options]
        elif hasattr(control, "options"):
            choices = [control.options[0], control.value, control.options[-1]]
        else:
            choices = [control.min, control.value, control.max]
        yield from ((name, choice) for choice in dict.fromkeys(choices))


@pytest.mark.parametrize(("name", "value"), list(ends()), ids=lambda part: str(part))
def test_every_control_trains_at_its_ends(lab, drawn_when_trained, name, value):
    default = Setting()
    if name == "strength":  # at rest with the default balance
        default = replace(default, balance="pareto")
    lab.set(**{n: getattr(default, n) for n in lab.controls if n != name})
    lab.controls[name].value = value  # as a hand does it; at its default it is no move
    assert lab.wait(PATIENCE)
    assert lab.message.value.startswith("Epoch 1. Accuracy:")
    assert getattr(lab.memory[-1].setting, name) == value
    assert all(bytes(image.value).startswith(b"\x89PNG") for image in lab.images.values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_moves_all_controls_but_the_dimension_in_one_run(lab, without_drawing, name):
    lab.set(dimensions=3, noise=1.0)
    assert lab.wait(PATIENCE)
    lab.preset_buttons[name].click()
    assert lab.wait(PATIENCE)
    assert lab.setting == lab.memory[-1].setting == replace(PRESETS[name], dimensions=3)
    assert lab.memory[-2].setting.noise == 1.0


def test_sliders_that_the_balance_does_not_use_are_disabled_and_count_as_untouched(without_drawing):
    lab = Lab(epochs=1)

    def disabled():
        return {name for name, control in lab.controls.items() if control.disabled}

    assert disabled() == {"strength"}
    lab.set(dispersion_weight=0.3, anchoring_weight=1.0)
    assert lab.wait(PATIENCE)
    lab.set(balance="pareto", strength=2.0)
    assert disabled() == {"dispersion_weight", "anchoring_weight"}
    assert lab.wait(PATIENCE)
    assert lab.setting == lab.memory[-1].setting == Setting(balance="pareto", strength=2.0)
    assert "Alpha (at 1 dispersion rests): a " in lab.message.value
    assert lab.table.value.count(">-<") == 3  # two weights of the newest run, the strength of the one before
    lab.use("bounded")
    assert lab.wait(PATIENCE) and disabled() == {"strength"}
    assert lab.setting == PRESETS["bounded"]


def test_all_paradigms_can_be_chosen(lab):
    assert list(lab.controls["paradigm"].options) == list(PARADIGMS)


def test_stop_ends_a_run_and_keeps_it(long_lab):
    said = heard(long_lab)
    long_lab.train_button.click()
    until(lambda: len(said) > 3)
    assert not long_lab.stop_button.disabled
    long_lab.stop_button.click()
    assert long_lab.wait(PATIENCE) and workers() == []
    assert long_lab.message.value.startswith("Stopped. Epoch ") and long_lab.stop_button.disabled
    assert len(long_lab.memory) == 1 and "<td" in long_lab.table.value


def test_quick_moves_leave_one_thread_and_the_last_setting(long_lab, without_drawing):
    for radius in (0.1, 0.2, 0.3, 0.4):
        long_lab.controls["radius"].value = radius
        assert len(workers()) == 1
    said = heard(long_lab)
    until(lambda: len([words for words in said if not words.startswith("Epoch 0")]) > 2)
    long_lab.stop()
    assert long_lab.wait(PATIENCE)
    assert [run.setting.radius for run in long_lab.memory] == [0.4]


def test_a_value_moved_away_and_back_starts_again(long_lab, without_drawing):
    said = heard(long_lab)
    long_lab.start()
    until(lambda: len(said) > 3)
    said.clear()
    long_lab.controls["noise"].value = 0.5
    long_lab.controls["noise"].value = 0.1
    until(lambda: any(words.startswith("Epoch 0.") for words in said))


def test_a_new_setting_waits_for_one_picture_of_the_old_one_at_most(long_lab, monkeypatch):
    drawn = []
    note = lambda panel, run, earlier: drawn.append((run.setting.radius, run.rows[-1]["epoch"])) or b""  # noqa: E731
    monkeypatch.setattr(live, "picture", note)
    long_lab.start()
    for radius in (0.1, 0.2, 0.3, 0.4):
        old = long_lab.setting.radius
        until(lambda old=old: (old, 1) in drawn)  # in the middle of a run
        long_lab.controls["radius"].value = radius
        before = len(drawn)
        until(lambda radius=radius: radius in [drawn_radius for drawn_radius, _ in drawn])
        assert [drawn_radius for drawn_radius, _ in drawn[before:]].count(old) <= 1
        assert next(epoch for drawn_radius, epoch in drawn if drawn_radius == radius) == 0


def test_a_fault_in_the_thread_is_said_and_the_next_run_works(monkeypatch):
    lab = Lab(epochs=1)

    def broken(*args, **kwargs):
        raise RuntimeError("no <luck>")

    with monkeypatch.context() as patch:
        patch.setattr(live, "train", broken)
        lab.start()
        assert lab.wait(PATIENCE)
    assert lab.message.value == "The run ended with RuntimeError: no &lt;luck&gt;"
    assert lab.stop_button.disabled and not lab.memory
    lab.start()
    assert lab.wait(PATIENCE) and len(lab.memory) == 1


def test_two_labs_train_one_after_the_other_and_agree(without_drawing):
    pair = [Lab(epochs=2), Lab(epochs=2)]
    for lab in pair:
        lab.start()
    assert all(lab.wait(PATIENCE) for lab in pair)
    assert pair[0].memory[0].rows == pair[1].memory[0].rows == train(Setting(), epochs=2).rows


def test_memory_keeps_the_last_runs_newest_first(lab, without_drawing):
    for k in range(live.REMEMBERED + 1):
        lab.set(**{**vars(Setting()), "radius": k / 10})
        assert lab.wait(PATIENCE)
    assert [run.setting.radius for run in lab.memory] == [k / 10 for k in range(1, live.REMEMBERED + 1)]
    rows = re.findall("<tr>(.*?)</tr>", lab.table.value)
    assert ">0.6<" in rows[1] and ">0.1<" in rows[-1]


def test_every_control_is_labelled_and_waits_until_it_is_let_go(lab):
    digits = DigitsLab(recorded())
    for name, control in [*lab.controls.items(), *digits.controls.items(), ("map", digits.map)]:
        assert control.description, name
        assert not getattr(control, "continuous_update", False), name
    for button in (lab.train_button, lab.stop_button, *lab.preset_buttons.values()):
        assert button.description


def test_nothing_is_used_that_only_ipywidgets_8_has():
    for path in Path(tuning_lab.__file__).parent.glob("*.py"):
        assert not re.search(r"titles=|tooltip=|TagsInput|widgets\.Stack|layout_box", path.read_text()), path


# ------------------------------------------------------------ recorded digits


def recorded():
    """Two maps of 2 x 2 cells with two seeds, in which one cell of the band is missing."""
    rows = []
    for group, names in {"weights": ["0.0 0.0", "0.0 2.0", "0.05 0.0", "0.05 2.0"], "band": BAND}.items():
        for k, name in enumerate(names):
            for seed in (0, 1):
                accuracy = {f"test/accuracy/{m}": 0.5 + 0.1 * k + 0.01 * seed for m in MODALITIES}
                geometry = {"test/paired_drift/audio-image": 1.0}
                for q in ("effective_rank", "mean_cosine"):
                    geometry |= {f"test/{q}/audio": 2.0, f"test/{q}/image": 3.0}
                rows.append({"group": group, "arm": name, "seed": seed, **accuracy, **geometry})
    return pd.DataFrame(rows)


MODALITIES = ("fused", "audio", "image")
BAND = ["0.5 0.4", "0.5 0.8", "1.0 0.4"]


def test_digits_show_the_mean_of_the_chosen_cell_for_every_choice():
    lab = DigitsLab(recorded())
    for k, (first, second) in enumerate([(0.0, 0.0), (0.0, 2.0), (0.05, 0.0), (0.05, 2.0)]):
        lab.controls["dispersion_weight"].value = first
        lab.controls["anchoring_weight"].value = second
        assert f"weight {first:g}, anchoring weight {second:g}, temperature 0.5" in lab.message.value
        assert f"mean of 2 seeds, test accuracy fused {50.5 + 10 * k:.1f} %" in lab.message.value
        assert all(bytes(image.value).startswith(b"\x89PNG") for image in lab.images.values())


def test_only_the_two_sliders_of_the_chosen_map_can_be_moved():
    lab = DigitsLab(recorded())
    assert [name for name, c in lab.controls.items() if not c.disabled] == [
        "dispersion_weight",
        "anchoring_weight",
    ]
    lab.map.value = "band"
    assert [name for name, c in lab.controls.items() if not c.disabled] == ["temperature", "radius"]


def test_a_cell_without_records_is_said():
    lab = DigitsLab(recorded())
    lab.map.value = "band"
    assert "radius 0.4: mean of 2 seeds" in lab.message.value
    lab.controls["temperature"].value, lab.controls["radius"].value = 1.0, 0.8
    assert lab.message.value == "This cell is not recorded."


def test_the_map_has_the_paired_gain_in_every_cell_and_frames_the_chosen_one():
    ax = tuning_lab.digits_map(recorded(), "weights", 0.05, 0.0).axes[0]
    assert [text.get_text() for text in ax.texts] == ["+0.0", "+10.0", "+20.0", "+30.0"]
    (frame,) = [patch for patch in ax.patches if not patch.get_fill()]
    assert frame.get_xy() == (-0.5, 0.5)


def test_both_labs_stand_in_tabs(lab):
    tab = tuning_lab.tabs(lab, DigitsLab(recorded()))
    assert len(tab.children) == 2 and tab.get_title(1) == "Digits, recorded"
