"""The published numbers: complete, consistent with each other, and in the right cells."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.paper import (
    ABLATION,
    COLUMNS,
    ELSEWHERE,
    GEOMETRY,
    READ_OFF,
    TABLE_1,
    TABLE_2,
    XFI_XRF55,
    published,
)
from geomreg_mini import geometry


@pytest.fixture(scope="module")
def table():
    return published()


def value(frame, /, column="mean", **where):
    rows = frame
    for name, wanted in where.items():
        rows = rows[rows[name] == wanted]
    assert len(rows) == 1, f"{len(rows)} rows for {where}"
    return rows.iloc[0][column]


def test_the_frame_is_tidy_and_complete(table):
    assert tuple(table.columns) == COLUMNS
    counts = table.groupby("table").size().to_dict()
    assert counts == {
        "table_1": 2 * 8 * 3,
        "ablation": 4 * 3,
        "table_2": 10 * 3 * 3,
        "geometry": 14,
        "xfi_xrf55": 14,
    }
    assert not table.duplicated(["table", "dataset", "method", "quantity", "modality"]).any()
    assert table["mean"].notna().all()


@pytest.mark.parametrize(
    ("where", "mean"),
    [
        ({"table": "table_1", "dataset": "CREMA-D", "method": "OGM-GE", "modality": "visual"}, 40.09),
        ({"table": "table_1", "dataset": "CREMA-D", "method": "DGL + DAGR", "modality": "multi"}, 78.16),
        (
            {"table": "table_1", "dataset": "Kinetics-Sounds", "method": "MMPareto", "modality": "audio"},
            48.40,
        ),
        ({"table": "table_1", "dataset": "Kinetics-Sounds", "method": "DGL", "modality": "multi"}, 75.44),
        ({"table": "ablation", "method": "anchoring", "modality": "visual"}, 72.92),
        ({"table": "table_2", "method": "MoPoE", "modality": "caption", "quantity": "NMI"}, 27.1),
        ({"table": "table_2", "method": "DCMEM + DAGR", "modality": "joint", "quantity": "ARI"}, 74.6),
        ({"table": "geometry", "quantity": "ks_distance", "method": "DGL"}, 0.03279),
        ({"table": "xfi_xrf55", "method": "X-Fi", "modality": "WiFi"}, 55.7),
        ({"table": "xfi_xrf55", "method": "baseline", "modality": "mmWave+RFID"}, 71.4),
    ],
)
def test_spot_values(table, where, mean):
    assert value(table, **where) == mean


def test_spreads_are_where_the_paper_gives_them(table):
    given = table[table["spread"].notna()]
    assert set(given[given["table"] == "table_1"]["method"]) == {"DGL", "DGL + DAGR"}
    assert set(given[given["table"] == "ablation"]["method"]) == {"dispersion", "anchoring", "both"}
    assert set(given["table"]) == {"table_1", "ablation"}
    assert value(given, "spread", table="ablation", method="dispersion", modality="multi") == 1.52
    assert math.isnan(
        value(table, "spread", table="table_1", dataset="CREMA-D", method="AGM", modality="audio")
    )


@pytest.mark.parametrize(
    ("dataset", "gains"), [("CREMA-D", (0.81, 1.79, 0.51)), ("Kinetics-Sounds", (0.20, 1.88, 1.56))]
)
def test_gains_of_dagr_over_dgl(dataset, gains):
    rows = zip(TABLE_1[dataset]["DGL + DAGR"], TABLE_1[dataset]["DGL"], gains, strict=True)
    for (treated, _), (baseline, _), gain in rows:
        assert treated - baseline == pytest.approx(gain, abs=1e-9)


def test_the_ablation_ends_at_the_rows_of_table_1():
    assert ABLATION["both"] == TABLE_1["CREMA-D"]["DGL + DAGR"]
    assert ABLATION["none"] == tuple(mean for mean, _ in TABLE_1["CREMA-D"]["DGL"])


def test_gains_of_dagr_over_dcmem():
    after, before = TABLE_2["DCMEM + DAGR"], TABLE_2["DCMEM"]
    gains = {
        view: [round(a - b, 1) for a, b in zip(after[view], before[view], strict=True)] for view in after
    }
    assert gains == {"image": [1.8, 0.5, 3.2], "caption": [1.8, 0.5, 0.5], "joint": [3.5, 1.3, 2.4]}


def test_both_data_sets_compare_the_same_methods():
    assert list(TABLE_1["CREMA-D"]) == list(TABLE_1["Kinetics-Sounds"])


def test_percentages_are_percentages(table):
    scores = table[table["table"] != "geometry"]
    assert scores["mean"].between(0, 100).all()
    assert (scores["mean"] > 1).mean() > 0.9, "and not shares"


def test_geometry_uses_the_names_of_the_diagnostics():
    names = {name.split("@")[0] for name in GEOMETRY}
    assert names - {"recall"} <= set(dir(geometry))
    assert set(READ_OFF) <= set(GEOMETRY)


def test_all_seven_subsets_of_three_radio_modalities_are_there():
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
