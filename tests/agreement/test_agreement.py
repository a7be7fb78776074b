"""The table of agreement with released code: complete, as committed, and with checkouts measured again."""

import json
import os
import re
import subprocess
from pathlib import Path

import agreement
import checkouts
import comparisons
import pytest
import torch

from geomreg_mini.benchmarks import TASKS
from geomreg_mini.controls import CONTROLS
from geomreg_mini.paradigms import PARADIGMS

FOLDER = os.environ.get("GEOMREG_FOREIGN")
RECORDS = json.loads(agreement.NUMBERS.read_text())["rows"]


def names(row):
    return f"{row[0]} {row[1]}".strip()


def test_every_paradigm_and_control_is_compared_or_has_a_reason():
    compared = {row[0] for row in agreement.ROWS}
    registered = {*CONTROLS}.union(*(task.paradigms for task in TASKS.values()))
    assert compared | {*agreement.NOT_COMPARED} == registered | {"GeometryRegularizer"}
    assert not compared & {*agreement.NOT_COMPARED}


def test_the_committed_numbers_are_those_of_the_rows_and_of_the_page():
    numbers = {"value", "gradient"}
    described = [{k: v for k, v in record.items() if k not in numbers} for record in RECORDS]
    assert described == list(map(agreement.described, agreement.ROWS))
    page = agreement.PAGE.read_text()
    said = re.search(r"<!-- agreement -->\n(.*?)<!-- /agreement -->", page, re.DOTALL)
    assert said[1] == agreement.table(RECORDS)


def test_every_difference_beyond_rounding_has_a_cause():
    assert [x["name"] for x in RECORDS if not (x["cause"] or agreement.is_rounding(x))] == []


@pytest.mark.skipif(FOLDER is None, reason="set GEOMREG_FOREIGN to a folder with the clones")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", agreement.ROWS, ids=names)
def test_measured_again_the_numbers_are_the_committed_ones(row):
    committed = RECORDS[agreement.ROWS.index(row)]
    again = agreement.measured(row, Path(FOLDER))
    for key in ("value", "gradient"):
        expected = committed[key]
        wanted = None if expected is None else pytest.approx(expected, rel=0.05, abs=agreement.ROUNDING)
        assert again[key] == wanted, key


# How it is measured


def test_differences_are_relative_to_the_released_code():
    ours, theirs = (
        [torch.tensor([3.0, 0.0]), torch.tensor([[4.5]])],
        [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])],
    )
    assert checkouts.difference(ours, theirs) == pytest.approx(0.1)
    assert checkouts.difference([torch.zeros(2)], [torch.zeros(2)]) == 0


@pytest.mark.parametrize(("other", "agrees"), [("joint", True), ("dgl", False), ("ogm", False)])
def test_a_paradigm_with_other_gradients_is_seen(other, agrees):
    with comparisons.conditions():
        data, first, second = comparisons.batches(), comparisons.our_model(), comparisons.our_model()
        second.load_state_dict(first.state_dict())
        ours, theirs = checkouts.Recorder(first), checkouts.Recorder(second)
        losses = [
            comparisons.train(PARADIGMS[name](recorded), data, recorder)
            for name, recorded, recorder in (("joint", first, ours), (other, second, theirs))
        ]
        same = {part: part for part in ("encoders", "fusion")}
        _, gradient = comparisons.compare(*losses, ours, theirs, same)
    assert gradient == 0 if agrees else gradient > 0.1


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A clone of one file at a commit, in the place of a paper's."""
    place = tmp_path / "swav"
    place.mkdir()
    script = "import gone\n\ndef loss(x: gone.Tensor):\n    return x * 0.5 + shift\n\nraise SystemExit\n"
    (place / "train.py").write_text(script)

    def git(*words):
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@b.org", "-C", str(place), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", "train.py")
    git("commit", "--quiet", "--message", "One")
    monkeypatch.setitem(checkouts.COMMITS, "swav", ("facebookresearch", git("rev-parse", "HEAD")))
    return place, git


def test_a_function_runs_without_its_script(repository):
    code = checkouts.Checkout(repository[0].parent, "swav")
    assert code.define("train.py", "loss", shift=1).loss(4) == 3
    assert code.define("train.py", "loss", shift=1, replaced={0.5: 2.0}).loss(4) == 9
    with pytest.raises(ValueError, match="swav/train.py does not define gain"):
        code.define("train.py", "loss", "gain")


def test_what_was_edited_and_not_committed_takes_no_part(repository):
    place, _ = repository
    (place / "train.py").write_text("def loss(x):\n    return 100\n")
    code = checkouts.Checkout(place.parent, "swav")
    assert code.define("train.py", "loss", shift=0).loss(4) == 2


def test_another_commit_is_refused_by_name(repository, capsys):
    place, git = repository
    wanted = git("rev-parse", "HEAD")
    git("commit", "--quiet", "--allow-empty", "--message", "Two")
    with pytest.raises(ValueError, match=f"swav is at commit .*: check out {wanted}"):
        checkouts.Checkout(place.parent, "swav")
    with pytest.raises(ValueError, match="clone https://github.com/facebookresearch/vicreg there"):
        checkouts.Checkout(place.parent, "vicreg")
    assert agreement.main([str(place.parent)]) == 1
    assert "is not a git repository" in capsys.readouterr().err
