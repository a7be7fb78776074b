"""What `make bench` says of its measurements: goals met and missed, on its page as in the record."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import bench_report as report

ROOT = Path(__file__).parents[1]

RECORD = ROOT / "results" / "bench" / "speed.json"
WHERE = {"device": "cpu", "B": 1024, "D": 512}


def row(group, what, against, ratio, **values):
    times = {"seconds": ratio, "against_seconds": 1.0, "ratio": ratio, "rounds": 5}
    quartiles = {"ratio_low": 0.9 * ratio, "ratio_high": 1.1 * ratio}
    return {"group": group, "what": what, "against": against, **WHERE, **times, **quartiles, **values}


def results(*measured):
    machine = {"processor": "a processor", "cores": 2, "torch": "9.9", "gpu": None, "load_average": 0.5}
    return {"machine": machine, "measured": list(measured), "skipped": []}


def verdict(*measured):
    """The last column of the only row."""
    lines = report.table(results(*measured)).splitlines()
    assert len(lines) == 5 and "a processor, 2 cores" in lines[-1] and "GPU: None" in lines[-1]
    return lines[2].split("|")[-2].strip()


@pytest.mark.parametrize("ratio, met", [(0.8, "yes"), (1.5, "yes"), (1.51, "no")])
def test_the_gram_product_is_the_measure_at_one_size(ratio, met):
    gram = {"group": "gram", "what": "regularizer", "against": "Gram product", "ratio": ratio}
    assert verdict(row(**gram, modalities=2)) == met
    assert len(report.table(results(row(**gram, modalities=2, B=64))).splitlines()) == 4, "not a goal"


def test_other_goals_have_their_bounds():
    assert verdict(row("peers", "a library", "regularizer", 1.1)) == "yes"
    assert verdict(row("peers", "a library", "regularizer", 0.9)) == "no"
    share = {"against": "crema_d step without it", "what": "regularizer alone", "group": "share"}
    assert verdict(row(**share, ratio=0.02)) == "-", "the goal is a GPU's"
    assert verdict(row(**share, ratio=0.02) | {"device": "cuda"}) == "no"
    assert verdict(row(**share, ratio=0.01) | {"device": "cuda"}) == "yes"
    assert verdict(row("input", "decoded", "read from the cache", 130.0)) == "yes"
    assert verdict(row("input", "decoded", "read from the cache and prepared", 1.7)) == "no"
    memory = {"group": "memory", "what": "peak", "device": "cpu", "B": 32768, "D": 256, "seconds": 40.0}
    assert verdict({**memory, "megabytes": 352.0}) == "yes"
    assert verdict({**memory, "megabytes": 1001.0}) == "no"
    course = {"group": "course", "what": "quick mode", "notebooks": 16}
    assert verdict({**course, "seconds": 719.0}) == "yes"
    assert verdict({**course, "seconds": 721.0}) == "no"


def test_everything_is_written_and_what_is_missing_is_said(tmp_path):
    gram = row("gram", "regularizer", "Gram product", 0.8, modalities=2, test="one")
    missing = {"test": "test_course", "reason": "no summary"}
    printed = report.write([gram], [missing], {"one", "test_course"}, tmp_path / "bench")
    assert "not measured: test_course (no summary)" in printed
    found = json.loads((tmp_path / "bench" / "speed.json").read_text())
    assert found["measured"] == [gram] and {"processor", "cores", "torch", "gpu"} <= set(found["machine"])
    assert (tmp_path / "bench" / "speed.png").stat().st_size > 5000


def test_a_later_part_joins_what_the_same_machine_measured_and_replaces_its_own(tmp_path):
    first, second = (row("peers", name, "regularizer", 2.0, test=name) for name in ("one", "other"))
    report.write([first], [{"test": "other", "reason": "not installed"}], {"one", "other"}, tmp_path)
    report.write([second], [], {"other"}, tmp_path)
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["measured"] == [first, second] and found["skipped"] == []
    found["machine"]["processor"] = "another"
    (tmp_path / "speed.json").write_text(json.dumps(found))
    report.write([second], [], {"other"}, tmp_path)
    assert json.loads((tmp_path / "speed.json").read_text())["measured"] == [second]


def test_the_figure_shows_every_width_and_every_peer():
    gram = [
        row("gram", "regularizer", "Gram product", ratio, modalities=2, B=batch, D=width)
        for batch, ratio in ((64, 3.0), (1024, 0.8))
        for width in (64, 512)
    ]
    peers = [row("peers", name, "regularizer", 2.0, B=b) for name in ("one", "other") for b in (64, 256)]
    left, right = report.figure(results(*gram, *peers)).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["D = 64", "D = 512"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["one", "other"]
    assert left.lines[0].get_ydata().tolist() == [3.0, 0.8]
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["64", "1k"]


@pytest.mark.slow
def test_measurements_run_end_to_end(tmp_path):
    chosen = "(half_precision and cpu) or (read_from_the_cache and not prepared)"
    command = [sys.executable, "-m", "pytest", "tests/benchmarks", "-k", chosen, "-q"]
    done = subprocess.run([*command, "--bench-out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["what"]: row for row in json.loads((tmp_path / "speed.json").read_text())["measured"]}
    assert set(rows) == {"bfloat16 inputs", "decoded as published"}
    for row in rows.values():
        assert row["rounds"] >= 3 and 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


def test_the_record_is_complete_and_its_page_says_what_it_says():
    record = json.loads(RECORD.read_text())
    groups = {row["group"] for row in record["measured"]}
    assert groups >= {"gram", "peers", "memory", "share", "step", "diagnostics", "input", "variants"}
    page = RECORD.with_name("README.md").read_text()
    said = re.search(r"<!-- speed -->\n(.*?)<!-- /speed -->", page, re.DOTALL)
    assert said[1].strip() == report.table(record)
