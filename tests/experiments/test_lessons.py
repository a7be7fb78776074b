"""The claims of the notebooks: tested on their records, shown in the notebooks, and able to fail."""

import re
from pathlib import Path

import nbformat
import pytest
from geomreg_course import command

from experiments import lessons, toy, toy_anchoring
from experiments.judging import EXCLUDED, SUPPORTED, UNDECIDED

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def records():
    return lessons.load()


@pytest.fixture(scope="module")
def rows(records):
    return lessons.tested(records)


def test_every_claim_has_the_verdict_that_its_notebook_reports(rows):
    assert list(rows["claim"]) == list(lessons.CLAIMS) and set(lessons.EXPECTED) <= set(lessons.CLAIMS)
    assert rows[rows["verdict"] != rows["expected"]].empty
    assert set(rows["verdict"]) >= {SUPPORTED, UNDECIDED} and rows["seeds"].min() >= 4


def test_with_the_sign_of_every_run_turned_round_no_claim_is_supported(records, rows):
    """A claim of the other side is excluded then, and an interval around zero stays undecided."""
    kept = {*toy.OWN, *toy_anchoring.OWN, "seed", toy_anchoring.DRIFT}  # compared at the drift's logarithm
    turned = lessons.Records(*(frame.copy() for frame in records))
    for frame in turned:
        frame[[name for name in frame.select_dtypes("number") if name not in kept]] *= -1
    found = lessons.tested(turned)
    assert not set(found[rows["verdict"] == SUPPORTED]["verdict"]) - {EXCLUDED}
    assert set(found[rows["verdict"] == UNDECIDED]["verdict"]) <= {UNDECIDED}


def outputs(number):
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, 4).cells
    return "\n".join(
        output["data"].get("text/markdown", "") for cell in cells if cell.cell_type == "code"
        for output in cell.outputs if "data" in output
    )  # fmt: skip


@pytest.mark.parametrize("number", ["01", "03", "04", "05"])
def test_a_notebook_shows_all_its_claims_as_they_are_now(number, rows):
    lines = lessons.sentences(number, rows).splitlines()
    assert len(lines) == sum(key.startswith(number) for key in lessons.CLAIMS) >= 8
    assert set(lines) <= set(outputs(number).splitlines()), "run `geomreg-course refresh` on it"


def test_a_sentence_has_numbers_seeds_and_verdict(rows):
    for line in lessons.sentences("", rows).splitlines():
        assert re.fullmatch(
            r"- .+: [+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\](?: points)?, \d+ seeds; \*\*\w+\*\* \(`[\w.]+`\)",
            line,
        )


@pytest.mark.parametrize("number", ["04", "05"])
def test_the_claims_of_one_notebook_need_its_records_alone(number, rows):
    read = lessons.load(start=number)
    assert [frame is not None for frame in read] == [key == number for key in ("01", "03", "04", "05")]
    own = rows[rows["claim"].str.startswith(number)].reset_index(drop=True)
    assert lessons.tested(start=number).equals(own)


def test_the_command_lists_the_claims_and_fails_if_one_has_changed(monkeypatch, capsys):
    assert command.main(["claims"]) == 0
    listed = capsys.readouterr().out
    assert all(key in listed for key in lessons.CLAIMS)
    monkeypatch.setitem(lessons.EXPECTED, "01.own.b", EXCLUDED)
    assert command.main(["claims"]) == 1


def test_own_runs_fail_on_a_contradiction_alone(monkeypatch, tmp_path, capsys):
    (own := tmp_path / "own").symlink_to(lessons.RESULTS, target_is_directory=True)
    assert command.main(["claims", "--results", str(own)]) == 0
    monkeypatch.setitem(lessons.EXPECTED, "01.own.b", UNDECIDED)
    assert command.main(["claims"]) == 1 and command.main(["claims", "--results", str(own)]) == 0
    monkeypatch.setitem(lessons.EXPECTED, "01.own.b", EXCLUDED)
    assert command.main(["claims", "--results", str(own)]) == 1
    assert command.main(["claims", "--results", str(tmp_path / "absent")]) == 2
    said = capsys.readouterr().err
    assert "absent" in said and len(said.splitlines()) == 1
