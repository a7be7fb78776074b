"""The manifest: the committed records are those that it lists, and every fault is named."""

from pathlib import Path

import pytest

from experiments import manifest

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def results(tmp_path):
    for name in ("a/seed0/x.json", "a/seed1/x.json", "b/dgl/seed0/y.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    (tmp_path / "cost.json").write_text("not a record")
    manifest.write(tmp_path)
    return tmp_path


def test_a_folder_is_complete_and_unmodified(results, capsys):
    assert manifest.state(results) == "3 of 3 records, unmodified."
    assert manifest.state(results / "a") == "2 of 2 records, unmodified."
    assert manifest.main(["--results", str(results)]) == 0


def test_what_is_missing_changed_or_new_is_named(results, capsys):
    (results / "a/seed0/x.json").unlink()
    (results / "a/seed1/x.json").write_text("changed")
    (results / "a/seed1/z.json").write_text("new")
    said = manifest.state(results / "a")
    assert said == (
        "0 of 2 records, unmodified; missing: seed0/x.json; changed: seed1/x.json; "
        "not in the manifest: seed1/z.json."
    )
    assert manifest.main(["--results", str(results)]) == 1
    assert "1 of 3 records" in capsys.readouterr().out
    assert manifest.main(["--results", str(results), "--write"]) == 0
    assert manifest.state(results) == "3 of 3 records, unmodified."


def test_a_folder_without_a_manifest_says_so(tmp_path):
    assert manifest.state(tmp_path) == "0 records, which no manifest covers."


def test_a_file_that_is_not_a_manifest_is_named(results, capsys):
    (results / manifest.NAME).write_text("nonsense")
    assert manifest.main(["--results", str(results)]) == 1
    assert "manifest.csv is not a manifest: restore it" in capsys.readouterr().err


def test_the_committed_records_are_those_of_the_manifest():
    count = len(manifest.read(RESULTS / manifest.NAME))
    assert manifest.state(RESULTS) == f"{count:,} of {count:,} records, unmodified."
