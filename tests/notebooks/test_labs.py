"""The tuning lab: every control at its ends, runs that stop, and nothing that outlives or hides its fault."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import lab as tuning_lab
import pandas as pd
import pytest
import torch
from lab import CHALLENGES, PRESETS, DigitsLab, Lab, Setting, live, train
from lab.challenges import HIDDEN
from lab.memory import curves

from geomreg_mini.regularizer import GeometryRegularizer

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds; only a hanging run takes that long


@pytest.fixture(scope="module")
def lab():
    """One lab with runs of a single epoch, used by many tests."""
    return Lab(epochs=1)


@pytest.fixture
def long_lab():
    lab = Lab(epochs=100_000)
    yield lab
    lab.stop()
    assert lab.wait(PATIENCE)


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "tuning lab"]


def drawn(lab):
    """(radius of the band, newest epoch) of what is drawn from now on; polling could miss an epoch."""
    seen, canvas = [], lab.now.children[-1]
    note = lambda change: seen.append((canvas.radius, len(change["new"]["rows"]) - 1))  # noqa: E731
    canvas.observe(note, names="curves")
    return seen


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
    assert now["collapse"]["mean_cosine/b"] > 0.8 and now["collapse"]["paired_drift"] < 0.2
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
        ({"train_size": 63}, "train_size=63: give a whole number of at least 64"),
        ({"dimensions": 4}, "dimensions=4 is unknown: choose one of 2, 3"),
        ({"paradigm": "Joint"}, "paradigm='Joint' is unknown: choose one of joint, "),
    ],
)
def test_a_value_that_is_out_of_range_or_unused_is_refused(setting, sentence):
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


def test_nothing_trains_before_a_control_moves_and_the_first_picture_is_always_the_same():
    pair = [Lab(epochs=1), Lab(epochs=1)]
    assert workers() == [] and not any(lab.memory for lab in pair)
    assert all(lab.buttons["Stop"].disabled for lab in pair)
    first, again = (lab.now.children[-1] for lab in pair)
    assert first.points == again.points and first.curves == again.curves
    assert first.curves["caption"].startswith("Epoch 0 of 1. Accuracy: fused ")


def ends():
    """Every control at its lowest and highest value, and at each choice of a menu."""
    for name, options in live.OPTIONS.items():
        chosen = options if name in ("balance", "paradigm", "dimensions") else [options[0], options[-1]]
        yield from ((name, choice) for choice in chosen)


@pytest.mark.parametrize(("name", "value"), list(ends()), ids=lambda part: str(part))
def test_every_control_trains_at_its_ends(lab, name, value):
    wanted = {**asdict(Setting()), name: value}
    if name == "strength":  # at rest with the default balance
        wanted["balance"] = "pareto"
    lab.set(**wanted)
    assert lab.wait(PATIENCE)
    assert "Epoch 1. Accuracy:" in lab.message.value
    assert getattr(lab.memory[-1].runs[0].setting, name) == value
    canvas = lab.now.children[-1]
    assert canvas.dimensions == lab.setting.dimensions and len(canvas.curves["rows"]) == 2
    shown = torch.stack([*canvas.embeddings.values()])
    units = torch.stack(
        [torch.nn.functional.normalize(z, dim=1) for z in lab.memory[-1].runs[0].embeddings.values()]
    )
    torch.testing.assert_close(shown, units)


def test_a_value_that_is_no_option_is_refused_and_the_old_one_stays(lab):
    before = dict(lab.knobs.values)
    for wrong in ({"radius": 0.35}, {"weight": 1.0}):
        with pytest.raises(ValueError, match="in the lab: choose one of"):
            lab.set(**wrong)
    assert lab.knobs.values == before


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_moves_the_regularizer_and_leaves_the_world(lab, name):
    lab.set(**{**asdict(Setting()), "dimensions": 3, "noise": 1.0})
    lab.presets[name].click()
    assert lab.wait(PATIENCE)
    assert lab.setting == lab.memory[-1].runs[0].setting == replace(PRESETS[name], dimensions=3, noise=1.0)


def test_a_control_without_effect_is_disabled_and_says_why():
    lab = Lab(epochs=1)
    assert set(lab.knobs.why) == {"strength", "temperature", "radius"}
    assert lab.knobs.why["temperature"] == "rests: the dispersion weight is 0"
    lab.set(dispersion_weight=0.3, anchoring_weight=1.0)
    assert set(lab.knobs.why) == {"strength"}
    lab.set(balance="pareto", strength=2.0)
    assert set(lab.knobs.why) == {"dispersion_weight", "anchoring_weight"}
    assert lab.wait(PATIENCE)
    assert lab.setting == lab.memory[-1].runs[0].setting == Setting(balance="pareto", strength=2.0)
    assert "Alpha (at 1 dispersion rests): a " in lab.message.value


@pytest.mark.parametrize("change", [{"temperature": 0.05}, {"radius": 1.0}])
def test_what_is_called_without_effect_has_none(change):
    assert train(change, epochs=3).rows == train({}, epochs=3).rows


def test_undo_and_redo_walk_through_the_moves_and_a_drag_is_one():
    lab = Lab(epochs=1)
    lab.set(noise=1.0)
    for radius in (0.1, 0.2, 0.3):  # within half a second of one another
        lab.set(anchoring_weight=0.3) if radius == 0.1 else None
        lab.set(radius=radius)
    seen = []
    for way in ("Undo", "Undo", "Undo", "Undo", "Redo", "Redo", "Redo", "Redo"):
        lab.buttons[way].click()
        seen.append(lab.setting.changed())
    world, pull = {"noise": 1.0}, {"anchoring_weight": 0.3, "noise": 1.0}
    assert seen == [pull, world, {}, {}, world, pull, pull | {"radius": 0.3}, pull | {"radius": 0.3}]
    lab.buttons["Undo"].click()
    lab.set(noise=0.2)  # a move after an undo ends what could be redone
    lab.buttons["Redo"].click()
    assert lab.setting.changed() == {"anchoring_weight": 0.3, "noise": 0.2} and lab.wait(PATIENCE)


def test_the_line_of_code_trains_what_is_shown():
    lab = Lab(epochs=2, seed=3)
    lab.set(dispersion_weight=0.3, paradigm="uniform_sum")
    assert lab.wait(PATIENCE)
    code = re.search("<code.*?>(.*?)</code>", lab.message.value)[1].replace("&#x27;", "'")
    again = eval(code.replace("seed=3", "seed=3, epochs=2"), {"lab": tuning_lab})
    assert again.rows == lab.memory[-1].runs[0].rows


def test_stop_ends_a_run_and_keeps_it(long_lab):
    seen = drawn(long_lab)
    long_lab.buttons["Train"].click()
    until(lambda: len(seen) > 3)
    assert not long_lab.buttons["Stop"].disabled
    long_lab.buttons["Stop"].click()
    assert long_lab.wait(PATIENCE) and workers() == []
    assert ">Stopped. Run 1. Epoch " in long_lab.message.value and long_lab.buttons["Stop"].disabled
    assert len(long_lab.memory) == 1 and "<td" in long_lab.table.value


def test_quick_moves_leave_one_thread_and_the_last_setting(long_lab):
    long_lab.set(anchoring_weight=0.3)
    for radius in (0.1, 0.2, 0.3, 0.4):
        long_lab.set(radius=radius)
        assert len(workers()) == 1
    seen = drawn(long_lab)
    until(lambda: len(seen) > 2)
    long_lab.stop()
    assert long_lab.wait(PATIENCE)
    assert [entry.runs[0].setting.radius for entry in long_lab.memory] == [0.4]


def test_no_picture_of_an_old_value_follows_a_move_and_each_value_of_a_drag_is_seen(long_lab):
    long_lab.set(anchoring_weight=0.3)
    seen = drawn(long_lab)
    for radius in (0.1, 0.2, 0.3, 0.4):
        began = len(seen)
        long_lab.set(radius=radius)  # on a quiet machine it returns when its first picture is drawn
        until(lambda radius=radius: radius in {shown for shown, _ in seen})
        assert {shown for shown, _ in seen[began + 1 :]} <= {radius}
    assert {0.1, 0.2, 0.3, 0.4} <= {shown for shown, _ in seen}
    first = next(epoch for shown, epoch in seen if shown == 0.4)
    assert first == live.GLANCE  # the epochs before would flicker


def test_every_epoch_is_drawn_and_a_run_takes_less_than_a_second_of_cpu():
    lab = Lab()
    lab.set(dispersion_weight=0.3)
    assert lab.wait(PATIENCE)
    seen, began = drawn(lab), time.process_time()
    lab.set(anchoring_weight=0.3)
    assert lab.wait(PATIENCE)
    spent = time.process_time() - began
    print(f"\n60 epochs with pictures: {spent:.2f} CPU seconds")
    assert [epoch for _, epoch in seen] == list(range(61))
    assert spent < 2  # about 0.4 on a quiet machine


def test_five_seeds_are_drawn_as_a_mean_and_a_range():
    lab = Lab(epochs=3)
    lab.buttons["Five seeds"].click()
    assert lab.wait(PATIENCE)
    (entry,) = lab.memory
    assert [run.seed for run in entry.runs] == [0, 1, 2, 3, 4]
    assert entry.runs[2].rows == train({}, seed=2, epochs=3).rows
    told = lab.now.children[-1].curves
    values = [[run.rows[k]["accuracy/fused"] for run in entry.runs] for k in range(4)]
    for k, given in enumerate(values):
        assert told["rows"][k][0] == pytest.approx(sum(given) / 5, abs=1e-3)
        assert (told["low"][k][0], told["high"][k][0]) == (min(given), max(given))
    assert "5 seeds, mean (lowest–highest); the picture is of seed 0." in lab.message.value
    assert f"({min(values[-1]):.2f}–{max(values[-1]):.2f})" in lab.table.value


def test_stopped_seeds_keep_those_that_ended(long_lab):
    runs = [train({}, seed=seed, epochs=2 + seed) for seed in range(2)]
    assert len(curves(runs, 5)["rows"]) == 3  # as many epochs as the shortest has
    long_lab.buttons["Five seeds"].click()
    until(lambda: long_lab._thread is not None)
    long_lab.stop()
    assert long_lab.wait(PATIENCE)
    assert len(long_lab.memory) <= 1


def test_two_pins_stay_while_runs_go_on_and_keep_their_numbers():
    lab = Lab(epochs=1)
    lab.buttons["Pin A"].click()
    assert "no finished run to pin" in lab.message.value
    for name, radius in {"A": 0.1, "B": 0.2}.items():
        lab.set(anchoring_weight=0.3, radius=radius, dimensions=3 if name == "B" else 2)
        assert lab.wait(PATIENCE)
        lab.buttons[f"Pin {name}"].click()
    shown = {name: lab.pins[name].runs[0] for name in "AB"}
    for k in range(live.REMEMBERED + 1):
        lab.set(radius=0.5 + k / 10)
        assert lab.wait(PATIENCE)
    now, *boxes = lab.stage.children
    assert now is lab.now and [box.children[0].value for box in boxes] == [
        "<b>Pin A: run 1</b>",
        "<b>Pin B: run 2</b>",
    ]
    for box, run in zip(boxes, shown.values(), strict=True):
        canvas = box.children[1]
        assert canvas.radius == run.setting.radius and canvas.dimensions == run.setting.dimensions
        expected = torch.nn.functional.normalize(run.embeddings["a"], dim=1)
        torch.testing.assert_close(canvas.embeddings["a"], expected)
    rows = re.findall("<tr><td.*?>(.*?)</td>", lab.table.value)
    assert rows == ["pin A: run 1", "pin B: run 2", *(f"run {k}" for k in range(9, 3, -1))]


def test_a_fault_in_the_thread_is_said_and_the_next_run_works(monkeypatch):
    lab = Lab(epochs=1)

    def broken(*args, **kwargs):
        raise RuntimeError("no <luck>")

    with monkeypatch.context() as patch:
        patch.setattr(live, "train", broken)
        lab.start()
        assert lab.wait(PATIENCE)
    assert "The run ended with RuntimeError: no &lt;luck&gt;" in lab.message.value
    assert lab.buttons["Stop"].disabled and not lab.memory
    lab.start()
    assert lab.wait(PATIENCE) and len(lab.memory) == 1


def test_two_labs_train_one_after_the_other_and_agree():
    pair = [Lab(epochs=2), Lab(epochs=2)]
    for lab in pair:
        lab.start()
    assert all(lab.wait(PATIENCE) for lab in pair)
    assert pair[0].memory[0].runs[0].rows == pair[1].memory[0].runs[0].rows == train({}, epochs=2).rows


def test_every_control_has_a_name_and_a_text_for_each_value(lab):
    assert [spec["name"] for spec in lab.knobs.specs] == list(live.OPTIONS)
    for spec in lab.knobs.specs:
        assert spec["label"] and len(spec["texts"]) == len(spec["options"]) == len(set(spec["texts"]))
    digits = DigitsLab(recorded())
    for name, control in [*digits.controls.items(), ("map", digits.map), ("challenge", lab.menu)]:
        assert control.description, name
    for button in (*lab.buttons.values(), *lab.presets.values(), lab.hand_in_button, digits.test_button):
        assert button.description


def test_nothing_is_used_that_only_ipywidgets_8_has():
    for path in Path(tuning_lab.__file__).parent.rglob("*.py"):
        assert not re.search(r"titles=|tooltip=|TagsInput|widgets\.Stack|layout_box", path.read_text()), path


def test_without_anywidget_the_lab_says_so_and_shows_a_figure():
    code = (
        "import sys; sys.modules['anywidget'] = None; from lab import Lab, DigitsLab;"
        "words, picture = Lab(epochs=1).view.children; print(words.value, bytes(picture.value)[1:4])"
    )
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = {"capture_output": True, "text": True, "check": True, "cwd": ROOT / "notebooks"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, **options)
    assert (
        done.stdout.strip()
        == "The live lab needs anywidget: run `pip install anywidget`, then restart. b'PNG'"
    )


# ------------------------------------------------------------ challenges

SOLVED = {
    "1 · spread and agreed": {"dispersion_weight": 1.0, "anchoring_weight": 0.3, "radius": 0.0},
    "2 · rescue": {"learning_rate": 0.1, "dispersion_weight": 0.3},
    "3 · less is more": {},
    "4 · all at once": {
        "paradigm": "uniform_sum",
        "dispersion_weight": 0.3,
        "anchoring_weight": 0.1,
        "radius": 0.3,
    },
}


@pytest.fixture(scope="module")
def scores():
    """(challenge, preset, "default" or "solution") -> score."""
    found = {}
    for name, challenge in CHALLENGES.items():
        tried = {preset: setting.changed() for preset, setting in PRESETS.items()}
        for way, change in {**tried, "default": {}, "solution": SOLVED[name]}.items():
            found[name, way] = challenge.score(change)
    return found


@pytest.mark.slow
def test_each_challenge_can_be_solved_and_neither_the_defaults_nor_a_preset_solve_all(scores):
    full = {(name, way) for (name, way), score in scores.items() if score.held == score.of}
    assert {name for name, way in full if way == "solution"} == set(CHALLENGES)
    assert not full & {(name, preset) for name in CHALLENGES for preset in PRESETS}
    # No regularizer is the answer to the third alone.
    assert {name for name, way in full if way == "default"} == {"3 · less is more"}
    for preset in PRESETS:
        assert scores["3 · less is more", preset].held < scores["3 · less is more", "default"].held


def test_a_score_counts_conditions_on_hidden_seeds(monkeypatch):
    rows = {seed: train({}, seed=seed, epochs=1) for seed in HIDDEN}
    monkeypatch.setattr("lab.challenges.train", lambda setting, seed, watch: rows[seed])
    challenge = CHALLENGES["1 · spread and agreed"]
    score = challenge.score({})
    by_hand = [
        sum(min(r.now["effective_rank/a"], r.now["effective_rank/b"]) > 1.8 for r in rows.values()),
        sum(r.now["paired_drift"] < 1.4 for r in rows.values()),
        sum(r.now["accuracy/fused"] > 0.8 for r in rows.values()),
    ]
    assert (score.held, score.of) == (sum(by_hand), 9)
    assert f"both effective ranks above 1.8: {by_hand[0]} of 3" in score.words
    assert not set(HIDDEN) & set(range(10))  # what the lab shows


def test_a_locked_value_cannot_be_changed_by_hand_in():
    with pytest.raises(ValueError, match="`train_size` is 100 in this challenge, got 300"):
        CHALLENGES["2 · rescue"].score({"train_size": 300})


def test_a_challenge_locks_its_controls_and_scores_in_the_thread(monkeypatch):
    lab = Lab(epochs=1)
    assert lab.hand_in_button.disabled
    lab.menu.value = "2 · rescue"
    assert lab.wait(PATIENCE) and lab.setting.train_size == 100 and not lab.hand_in_button.disabled
    locked = {name for name, why in lab.knobs.why.items() if why == "locked by the challenge"}
    assert locked == set(CHALLENGES["2 · rescue"].locked)
    assert "fused accuracy above 0.68" in lab.task.value
    lab.buttons["Undo"].click()
    assert lab.setting.train_size == 100  # it cannot be undone
    short = train({}, epochs=1)
    monkeypatch.setattr("lab.challenges.train", lambda setting, seed, watch: short)
    memory = list(lab.memory)
    lab.hand_in_button.click()
    assert lab.wait(PATIENCE) and re.search(r"Score \d of 6\. Hidden seeds", lab.message.value)
    assert lab.memory == memory  # hidden runs are not shown
    lab.menu.value = live.FREE
    assert "locked by the challenge" not in lab.knobs.why.values() and lab.hand_in_button.disabled
    lab.menu.value = "3 · less is more"
    assert lab.wait(PATIENCE) and lab.setting.anchoring_weight == 0.3


# ------------------------------------------------------------ recorded digits


def recorded():
    """Two maps of 2 x 2 cells with two seeds, in which one cell of the band is missing."""
    rows = []
    for group, names in {"weights": ["0.0 0.0", "0.0 2.0", "0.05 0.0", "0.05 2.0"], "band": BAND}.items():
        for k, name in enumerate(names):
            for seed in (0, 1):
                row = {"group": group, "arm": name, "seed": seed}
                for split, base in (("validation", 0.4), ("test", 0.5)):
                    row |= {f"{split}/accuracy/{m}": base + 0.1 * k + 0.01 * seed for m in MODALITIES}
                    row |= {f"{split}/paired_drift/audio-image": 1.0}
                    for q in ("effective_rank", "mean_cosine"):
                        row |= {f"{split}/{q}/audio": 2.0, f"{split}/{q}/image": 3.0}
                rows.append(row)
    return pd.DataFrame(rows)


MODALITIES = ("fused", "audio", "image")
BAND = ["0.5 0.4", "0.5 0.8", "1.0 0.4"]


def test_digits_show_the_mean_of_the_chosen_cell_for_every_choice():
    lab = DigitsLab(recorded())
    for k, (first, second) in enumerate([(0.0, 0.0), (0.0, 2.0), (0.05, 0.0), (0.05, 2.0)]):
        lab.controls["dispersion_weight"].value = first
        lab.controls["anchoring_weight"].value = second
        assert f"weight {first:g}, anchoring weight {second:g}, temperature 0.5" in lab.message.value
        words = (
            f"mean of 2 seeds, validation accuracy fused {40.5 + 10 * k:.1f} % ({10 * k:+.1f} points, 95 %"
        )
        assert words in lab.message.value
        assert all(bytes(image.value).startswith(b"\x89PNG") for image in lab.images.values())


def test_test_numbers_stand_behind_a_click_that_is_counted_and_a_move_hides_them():
    lab = DigitsLab(recorded())
    before = bytes(lab.images["map"].value)
    assert "test accuracy" not in lab.message.value and not lab.looked
    lab.test_button.click()
    assert (
        "test accuracy fused 80.5 %" in lab.message.value and "test numbers of 1 cell." in lab.message.value
    )
    assert lab.test_button.disabled and bytes(lab.images["map"].value) != before
    lab.controls["anchoring_weight"].value = 0.0
    assert "validation accuracy" in lab.message.value and not lab.test_button.disabled
    lab.test_button.click()
    assert "test numbers of 2 cells." in lab.message.value and len(lab.looked) == 2


def test_a_map_of_the_test_split_shows_the_cells_that_were_looked_at_alone():
    ax = tuning_lab.digits_map(recorded(), "weights", 0.05, 0.0, "test", {(0.05, 0.0)}).axes[0]
    assert [text.get_text()[:5] for text in ax.texts] == ["?", "?", "+20.0", "?"]
    lab = DigitsLab(recorded())
    lab.test_button.click()
    shown = bytes(lab.images["map"].value)
    lab.controls["anchoring_weight"].value = 0.0
    lab.test_button.click()
    assert bytes(lab.images["map"].value) != shown and lab.looked == {
        ("weights", 0.05, 2.0),
        ("weights", 0.05, 0.0),
    }


def test_axes_are_the_same_for_every_cell_and_split():
    spans = {
        tuple(ax.get_ylim() for ax in tuning_lab.digits_values(recorded(), "weights", *at, split).axes)
        for at in [(0.0, 0.0), (0.05, 2.0)]
        for split in ("validation", "test")
    }
    assert len(spans) == 1


def test_only_the_two_menus_of_the_chosen_map_can_be_moved():
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
    texts = [text.get_text() for text in ax.texts]
    assert [text.partition("\n")[0] for text in texts] == ["+0.0", "+10.0", "+20.0", "+30.0"]
    assert texts[2].endswith("[+20.0, +20.0]")  # both seeds gain the same
    (frame,) = [patch for patch in ax.patches if not patch.get_fill()]
    assert frame.get_xy() == (-0.5, 0.5)


def test_both_labs_stand_in_tabs(lab):
    tab = tuning_lab.tabs(lab, DigitsLab(recorded()))
    assert len(tab.children) == 2 and tab.get_title(1) == "Digits, recorded"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_app_writes_the_page_that_it_serves(tmp_path):
    """With the paths of the command alone: the tests' own reach farther."""
    told = subprocess.run(["make", "-n", "app"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (first,) = [line for line in told.splitlines() if " -m lab " in line]
    page = tmp_path / "lab.ipynb"
    command = first.replace(".venv/bin/python", sys.executable).replace(
        "build/app/tuning_lab.ipynb", str(page)
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(["sh", "-c", command], cwd=ROOT, env=environment, check=True, timeout=120)
    assert "lab.tabs" in page.read_text()
