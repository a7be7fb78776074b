"""The project pack: its data, its starter, its times, and the expected results that its text quotes."""

import json
import re
from importlib import import_module
from statistics import median

import pytest
from test_instructor import NOTEBOOKS, PROJECTS, parts, tables

from experiments import ablations, project, toy
from experiments.study import change

RESULTS = NOTEBOOKS.parent / "results"
IDEAS = list(parts(parts(PROJECTS, "##")["Five ideas"], "###").values())
HEAD, *PACK = next(table for table in tables(PROJECTS) if table[0][0] == "idea")
PROSE = " ".join(PROJECTS.split())


def column(name):
    return [row[HEAD.index(name)] for row in PACK]


def test_every_idea_names_its_data_with_size_and_licence_as_the_scripts_say():
    assert column("idea") == [str(n) for n in range(1, 6)]
    for data, stated in zip(column("data"), column("size, licence"), strict=True):
        for name in re.findall(r"-m data_scripts (\w+)", data):
            info = import_module(f"data_scripts.{name}").INFO
            assert stated.startswith(info.size.split(" download")[0])
            assert stated.partition("; ")[2].replace(";", "") == info.licence


def test_every_idea_has_a_starter_that_is_the_same_file():
    commands = [re.search(r"-m experiments\.project (\w+)", cell)[1] for cell in column("starter")]
    assert tuple(commands) == project.IDEAS and len(IDEAS) == 5


@pytest.mark.parametrize("number", range(4))
def test_the_time_is_that_of_recorded_runs_and_the_number_of_runs_that_of_the_protocol(number):
    study = project.study_of(project.IDEAS[number], full=True)
    assert int(column("runs in full")[number]) == len(study.files())
    places = "toy/size300-*-epochs60/seed*/*.json" if number == 0 else "ablations/joint/seed*/*.json"
    seconds = [json.loads(path.read_text())["wall_time"] for path in RESULTS.glob(places)]
    assert len(seconds) > 100 and column("one run")[number] == f"{median(seconds):.1f} s"
    assert len(study.files()) * median(seconds) / 2 < 30 * 60


@pytest.mark.parametrize("idea", project.IDEAS[:4])
@pytest.mark.parametrize("full", [False, True])
def test_a_starter_compares_fairly(idea, full):
    for cell in project.study_of(idea, full).cells:
        assert len({len(arm.settings) for arm in cell.arms.values()}) == 1 and "none" in cell.arms
        assert set(cell.development).isdisjoint(cell.seeds) and len(cell.seeds) >= 2
        assert not any(arm.start or arm.shares for arm in cell.arms.values())
        if not full:
            assert cell.config["dataset"] == "toy" or cell.config["dataset_options"]["source"] == "embedded"
    assert ("digits" in str(project.study_of(idea, True).cells[0].config)) == (idea != "map")


@pytest.mark.parametrize("idea", project.IDEAS[:4])
def test_a_starter_trains_and_prints_its_table(idea, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(project, "QUICK", {"epochs": 1, "evaluate_every": 1})
    monkeypatch.setattr(project, "FEW", project.FEW | {"labels": 50})
    out = ["--out", str(tmp_path)]
    assert project.main([idea, *out, "--jobs", "1"]) == 0
    capsys.readouterr()
    assert project.main([idea, *out, "--summary"]) == 0
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if f"| {idea} |" in line]
    cells = project.study_of(idea).cells
    assert len(rows) == sum(len(cell.arms) - 1 for cell in cells)
    assert ("half of the pairs exceed" in said) == (idea == "radius")


def test_the_map_of_idea_1_is_that_of_the_records():
    head, *rows = next(table for table in tables(PROJECTS) if table[0][0] == "imbalance")
    frame = toy.STUDY.load(RESULTS / "toy")
    own = {"size": 300, "rate": 0.02, "epochs": 60}
    assert len(rows) == 5
    for imbalance, share, *stated in rows:
        found = []
        for metric, arm in (("fused", "both terms"), ("b", "both terms"), ("fused", "unimodal losses")):
            gains = toy.STUDY.gains(frame, f"test/accuracy/{metric}")
            wanted = own | {"imbalance": float(imbalance), "share": float(share), "arm": arm}
            (row,) = gains[(gains[list(wanted)] == list(wanted.values())).all(axis=1)].to_dict("records")
            assert row["seeds"] == len(toy.SEEDS)
            found.append(change(row))
            if (metric, arm) == ("fused", "both terms"):
                assert float(stated.pop(0)) == pytest.approx(100 * row["baseline"], abs=0.051)
        assert stated == found, (imbalance, share)


def test_what_idea_3_expects_is_what_the_records_say():
    frame = ablations.STUDY.load(RESULTS / "ablations")
    frame = frame[(frame["group"] == "controls") & (frame["paradigm"] == "joint") & frame["selected"]]
    means = frame.groupby("arm").mean(numeric_only=True).loc[["none", "unit sphere"]]
    said = {name: tuple((100 * means[f"test/{name}"]).round(1)) for name in
            ("accuracy/fused", "accuracy/image", "knn_probe/image")}  # fmt: skip
    (row,) = (
        ablations.STUDY.gains(frame, "test/accuracy/fused").query("arm == 'unit sphere'").to_dict("records")
    )
    gain = f"{100 * row['mean']:.1f} {change(row).partition(' ')[2]}".replace("-", "\N{MINUS SIGN}")
    assert f"fused {said['accuracy/fused'][0]} plain and {said['accuracy/fused'][1]} on the sphere" in PROSE
    assert f"a gain of {gain}" in PROSE
    assert "image alone {} and {}; image by k-NN probe {} and {}, both higher in all five seeds".format(
        *said["accuracy/image"], *said["knn_probe/image"]
    ) in PROSE  # fmt: skip
    for metric in ("accuracy/image", "knn_probe/image"):
        pairs = frame.pivot(index="seed", columns="arm", values=f"test/{metric}")
        assert (pairs["unit sphere"] > pairs["none"]).all()


@pytest.mark.parametrize(
    ("diagnostic", "gain", "stated"),
    [
        ("mean_cosine/audio", "fused", "mean cosine of audio with the fused gain +0.7"),
        ("mean_cosine/image", "fused", "*image* gives 0.0 with the fused gain"),
        ("paired_drift/audio-image", "image", "paired drift with the gain of image alone \N{MINUS SIGN}0.9"),
        ("paired_drift/audio-image", "audio", "and of audio alone \N{MINUS SIGN}0.6"),
    ],
)
def test_what_idea_5_expects_is_what_the_records_say(diagnostic, gain, stated):
    found, p = project.foretell(f"test/{diagnostic}", f"test/accuracy/{gain}", draws=200)
    assert stated in PROSE and f"{abs(found):.1f}" in stated
    assert (found < -0.05) == ("\N{MINUS SIGN}" in stated) and (p < 0.05) == (abs(found) > 0.6)


def test_under_dgl_no_correlation_of_idea_5_is_beyond_0_6():
    assert "under DGL none of six is beyond ±0.6" in PROSE
    for diagnostic in ("mean_cosine/audio", "paired_drift/audio-image"):
        for gain in ("fused", "audio", "image"):
            found, _ = project.foretell(f"test/{diagnostic}", f"test/accuracy/{gain}", "dgl", draws=1)
            assert abs(found) < 0.6
