"""The published numbers: complete, consistent with each other, and in the right cells."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.paper import (
    COLUMNS,
    ELSEWHERE,
    GEOMETRY,
    PRINTED,
    READ_OFF,
    ROBUSTNESS,
    SOURCES,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_6,
    TABLE_7,
    XFI_XRF55,
    published,
)
from geomreg_mini import geometry


@pytest.fixture(scope="module")
def table():
    return published()


def test_the_frame_is_tidy_and_complete(table):
    assert tuple(table.columns) == COLUMNS
    counts = table.groupby("table").size().to_dict()
    assert counts == {
        "table_1": 2 * 8 * 3,
        "table_2": 10 * 3 * 3,
        "table_3": 7 * 2,
        "table_4": 4 * 3,
        "table_6": 7 * 3,  # eight batches, of which one failed
        "table_7": 5 * 3,
        "figure_2": 3 * 3,
        "figure_3": 8 * 2,
        "figure_7": 2 * 9,
        "figure_8": 2 * 9,
        "figure_9": 2 * (1 + 5 + 3 + 2 + 2 + 3),
        "figure_10": 2 * (1 + 9),
        "figure_11": 2 * 9,
        "figure_12": 2 * 3,
        "xfi_xrf55": 7 * 2,
    }
    assert not table.duplicated(["table", "dataset", "method", "quantity", "modality", "setting"]).any()
    assert table["mean"].notna().all()


def test_every_table_says_in_one_sentence_how_it_is_known(table):
    assert list(table["table"].drop_duplicates()) == list(SOURCES)
    for source in SOURCES.values():
        assert source.endswith(".") and ("printed" in source or "read off" in source)
    for name, rows in table.groupby("table"):
        assert (READ_OFF in set(rows["known"])) == ("read off" in SOURCES[name]), name
        assert (PRINTED in set(rows["known"])) == ("printed" in SOURCES[name]), name


def test_spreads_are_where_the_paper_gives_them(table):
    given = table[table["spread"].notna()]
    assert set(given[given["table"] == "table_1"]["method"]) == {"DGL", "DGL + DAGR"}
    assert set(given["table"]) == {"table_1", "table_3", "table_4", "table_7"}
    for name in ("table_3", "table_4", "table_7"):
        assert table[table["table"] == name]["spread"].notna().all()
    assert (given["spread"] > 0).all() and (given["spread"] < 5).all()


@pytest.mark.parametrize(
    ("dataset", "gains"), [("CREMA-D", (0.81, 1.79, 0.51)), ("Kinetics-Sounds", (0.20, 1.88, 1.56))]
)
def test_gains_of_dagr_over_dgl(dataset, gains):
    rows = zip(TABLE_1[dataset]["DGL + DAGR"], TABLE_1[dataset]["DGL"], gains, strict=True)
    for (treated, _), (baseline, _), gain in rows:
        assert treated - baseline == pytest.approx(gain, abs=1e-9)


# Cells against what other cells, or this project's page on the paper, state about them


def test_tables_4_and_7_end_at_the_rows_of_table_1_with_other_spreads_for_the_baseline():
    assert TABLE_4["both"] == TABLE_7["ours"] == TABLE_1["CREMA-D"]["DGL + DAGR"]
    means, spreads = zip(*TABLE_4["none"], strict=True)
    assert means == tuple(mean for mean, _ in TABLE_1["CREMA-D"]["DGL"])
    assert set(spreads) == {0.79} and len({spread for _, spread in TABLE_1["CREMA-D"]["DGL"]}) == 3


def test_table_3_prints_the_gains_that_its_columns_have():
    gains = [round(after - before, 2) for (before, _), (after, _) in TABLE_3.values()]
    assert gains == [1.24, 2.74, 0.94, 0.82, 2.08, 0.46, 0.92]


def test_overheads_follow_from_the_seconds_but_for_one():
    odd = {}
    for dataset, batches in TABLE_6.items():
        for batch, values in batches.items():
            if values is not None:
                before, after, overhead = values
                if abs(100 * (after - before) / before - overhead) > 0.06:
                    odd[dataset, batch] = 100 * (after - before) / after - overhead
    assert list(odd) == [("XRF55", 32)]
    assert abs(odd["XRF55", 32]) < 0.01, "that one is a share of the longer time"
    assert [batch for batch, values in TABLE_6["CUBICC"].items() if values is None] == [256]


@pytest.mark.parametrize(
    ("dataset", "mean", "deviation", "above"),
    [("CREMA-D", 77.41, 0.89, 8), ("Kinetics-Sounds", 76.62, 0.51, 18)],
)
def test_the_18_settings_of_figures_7_and_8(table, dataset, mean, deviation, above):
    cells = table[table["table"].isin(["figure_7", "figure_8"]) & (table["dataset"] == dataset)]["mean"]
    assert len(cells) == 18
    assert cells.mean() == pytest.approx(mean, abs=0.005)
    assert cells.std() == pytest.approx(deviation, abs=0.005)
    assert (cells > TABLE_1[dataset]["DGL"][2][0]).sum() == above


def test_settings_are_the_grids_that_the_paper_names(table):
    grids = {
        ("figure_7", "CREMA-D"): ("intra", (0.12, 0.14, 0.16), "inter", (0.03, 0.05, 0.07)),
        ("figure_7", "Kinetics-Sounds"): ("intra", (0.04, 0.08, 0.12), "inter", (0.03, 0.05, 0.08)),
        ("figure_8", "CREMA-D"): ("beta", (0.1, 0.15, 0.2), "tau", (0, 0.25, 0.5)),
        ("figure_8", "Kinetics-Sounds"): ("beta", (0.1, 0.15, 0.2), "tau", (0, 0.25, 0.5)),
    }
    for (name, dataset), (a, first, b, second) in grids.items():
        rows = table[(table["table"] == name) & (table["dataset"] == dataset)]
        assert set(rows["setting"]) == {f"{a}{x}-{b}{y}" for x in first for y in second}


def test_robustness_falls_with_the_level_but_where_the_figures_do_not():
    for curves in ROBUSTNESS.values():
        for (kind, modality), levels in curves.items():
            ordered = sorted(levels, reverse=kind == "snr")
            for arm in (0, 1):
                values = [levels[level][arm] for level in ordered]
                if modality not in ("RFID", "WiFi"):  # more of a bad signal may hurt less, on page 22
                    assert values == sorted(values, reverse=True), (kind, modality)


def test_dropping_half_of_one_frame_leaves_the_clean_accuracy():
    figure = ROBUSTNESS["figure_9"]
    assert figure["frame_drop", "visual"][0.5] == figure["", "multi"][0]


def test_gains_of_dagr_over_dcmem():
    after, before = TABLE_2["DCMEM + DAGR"], TABLE_2["DCMEM"]
    gains = {
        view: [round(a - b, 1) for a, b in zip(after[view], before[view], strict=True)] for view in after
    }
    assert gains == {"image": [1.8, 0.5, 3.2], "caption": [1.8, 0.5, 0.5], "joint": [3.5, 1.3, 2.4]}


def test_percentages_are_percentages(table):
    scores = table[table["quantity"].isin(["accuracy", "ACC", "NMI", "ARI"])]
    assert scores["mean"].between(0, 100).all()
    assert (scores["mean"] > 10).mean() > 0.9, "and not shares"


def test_geometry_uses_the_names_of_the_diagnostics():
    names = {name.split("@")[0] for name in GEOMETRY}
    assert names - {"recall"} <= set(dir(geometry))
    assert GEOMETRY["effective_rank"]["DGL + dispersion"] < GEOMETRY["effective_rank"]["DGL"]


def test_all_seven_subsets_of_three_radio_modalities_are_there():
    assert list(TABLE_3) == list(XFI_XRF55)
    subsets = {frozenset(name.split("+")) for name in XFI_XRF55}
    assert len(subsets) == 7
    assert frozenset().union(*subsets) == {"mmWave", "WiFi", "RFID"}


def test_other_sources_are_named_and_speak_of_methods_of_table_1():
    assert set(ELSEWHERE) - set(TABLE_1["CREMA-D"]) == {"Joint"}
    entries = [entry for numbers in ELSEWHERE.values() for entry in numbers]
    assert all(50 < accuracy < 90 and len(source) > 15 for accuracy, source in entries)


def test_importing_the_tables_does_not_import_pandas():
    code = "import sys, experiments.paper; print('pandas' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
