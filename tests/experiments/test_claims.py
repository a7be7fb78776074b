"""Claims judged on the digits: the rule on made-up intervals, and README, report and records in agreement."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from experiments import (
    ablations,
    claims,
    cousins,
    decided,
    limits,
    paper_settings,
    paradigm_table,
    regimes,
    report,
    unlabeled,
    verdict,
)
from experiments.claims import CLAIMS, evidence, load, verdicts
from experiments.judging import EXCLUDED, SUPPORTED, UNDECIDED
from experiments.study import markdown

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def records():
    return load(RESULTS)


@pytest.fixture(scope="module")
def rows(records):
    return evidence(records)


# The rule


def judged(*words):
    (found,) = verdicts(pd.DataFrame({"claim": "fused", "verdict": words})).to_dict("records")
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ((SUPPORTED, SUPPORTED, UNDECIDED), SUPPORTED, "of 3 comparisons 2 supported, 1 undecided"),
        ((SUPPORTED, UNDECIDED), UNDECIDED, "of 2 comparisons 1 supported, 1 undecided"),
        ((SUPPORTED,) * 3 + (EXCLUDED,), UNDECIDED, "of 4 comparisons 3 supported, 1 excluded"),
        ((UNDECIDED,) * 2, UNDECIDED, "of 2 comparisons 2 undecided"),
        ((UNDECIDED, EXCLUDED, EXCLUDED), EXCLUDED, "of 3 comparisons 1 undecided, 2 excluded"),
        ((EXCLUDED, EXCLUDED, SUPPORTED), UNDECIDED, "of 3 comparisons 1 supported, 2 excluded"),
    ],
)
def test_more_than_half_decide_a_claim_unless_one_contradicts(words, status, reason):
    assert judged(*words) == (status, reason)


def test_a_null_result_excludes_a_claim_only_if_it_could_have_seen_the_papers_smallest_gain(rows):
    assert claims.smallest() == pytest.approx(0.51), "Table 1, CREMA-D"
    for row in rows.itertuples():
        low, high = sorted(CLAIMS[row.claim].side * end for end in (row.low, row.high))
        least = 0.51 if "accuracy" in row.quantity else 0
        assert (row.verdict == SUPPORTED) == (low > 0)
        assert (row.verdict == EXCLUDED) == (low <= 0 and high < least)
        assert row.detectable > 0


# What the records say


def test_every_claim_has_comparisons_with_seeds_protocol_and_records(rows):
    assert list(dict.fromkeys(rows["claim"])) == list(CLAIMS)
    assert rows["seeds"].between(5, 20).all() and (rows["protocol"] != "").all()
    assert (rows["low"] < rows["gain"]).all() and (rows["gain"] < rows["high"]).all()
    for pattern in set(rows["record"]):
        assert any(ROOT.glob(pattern)), pattern


def test_comparisons_are_those_of_the_tables_they_come_from(records, rows):
    def found(claim, comparison):
        return rows[(rows["claim"] == claim) & (rows["comparison"] == comparison)].iloc[0]

    picked = records.table[records.table["selected"] & (records.table["dataset"] == "six_views")]
    arms = picked[picked["paradigm"] == "dgl"].groupby("arm")["test/accuracy/fused"].mean()
    change = 100 * (arms["regularized"] - arms["baseline"])
    assert found("fused", "six views")["gain"] == pytest.approx(change)
    control = ablations.differences(
        records.ablations, "test/accuracy/fused", "controls", against="KoLeo", against_group="controls"
    ).set_index("arm")
    band = found("controls", "band minus KoLeo")
    assert band["gain"] == pytest.approx(100 * control.loc[ablations.BAND, "mean"])
    noisy = regimes.STUDY.gains(records.map, "test/accuracy_corrupted_2.0/image", by=["paradigm"]).set_index(
        "paradigm"
    )
    assert found("robust", "image under noise 2.0")["low"] == pytest.approx(100 * noisy.loc["dgl", "low"])
    rank = records.twenty[records.twenty["selected"] & (records.twenty["arm"] == "baseline")]
    assert sorted(rank["seed"]) == list(range(20))
    both = rank[["test/effective_rank/audio", "test/effective_rank/image"]].to_numpy().mean()
    assert found("rank", "digits, unseen speakers")["baseline"] == pytest.approx(both)


def test_geometry_stands_beside_the_papers(records):
    table = claims.geometry(records)
    assert table.loc["recall@100", "paper_with"] == 19.6 and 20 < table.loc["recall@100", "without"] < 30
    assert (table["low"] < table["change"]).all() and (table["change"] < table["high"]).all()
    assert ((table["low"] > 0) | (table["high"] < 0))[table["same_side"].astype(bool)].all()


def test_the_papers_margin_is_judged_only_where_records_have_it(records, rows):
    """Records made before Eq. (45) was known hold the cross-modal margin, which is another quantity."""
    assert "semantic_margin" not in claims.geometry(records).index
    assert set(rows[rows["claim"] == "margin"]["quantity"]) == {"cross_modal_margin/mean"}


def test_the_papers_own_gains_are_on_top_of_the_forest(rows):
    table = claims.beside_the_paper(rows).set_index(["label", "group"])["gain"]
    assert table[("the paper, CREMA-D", "fused")] == pytest.approx(0.51)
    assert table[("the paper, Kinetics-Sounds", "mean of the modalities alone")] == pytest.approx(1.04)
    assert len(table) == 4 + 8


# README, report and records agree


PAGE = (RESULTS / "README.md").read_text()
FOUND = (ROOT / "README.md").read_text().split("## What we found\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def summaries(records, rows):
    """Every table that the records' own functions print."""
    settings = paper_settings.STUDY.load(RESULTS / "paper_settings")
    tables = [
        regimes.summary(records.map),
        claims.summary(rows),
        *ablations.summary(records.ablations).split("\n\n"),
        unlabeled.summary(records.unlabeled),
        *paper_settings.summary(settings).split("\n\n"),
        paper_settings.forms_in_words(RESULTS / "paper_settings", settings),
        markdown(cousins.across(RESULTS), "claim, in points (neglected modality)"),
    ]
    for name, study in cousins.STUDIES.items():
        folder = RESULTS / "cousins" / name
        if not study.missing(folder):
            tables += cousins.summary(name, study.load(folder), folder).split("\n\n")
    decisive = decided.load(RESULTS / "verdict")
    tables += verdict.summary(decisive, RESULTS / "verdict").split("\n\n")
    tables.append(markdown(decided.headlines(decisive), "the paper claims"))
    tables += limits.summary(limits.STUDY.load(RESULTS / "limits")).split("\n\n")
    return tables + [paradigm_table.summary(records.table, dataset) for dataset in paradigm_table.DATASETS]


def test_every_table_of_the_results_is_printed_by_the_records(summaries):
    tables = re.findall(r"(?:^\|.*\|$\n?)+", PAGE, re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        assert table.strip() in summaries, table


def test_every_interval_in_prose_is_computed_from_the_records(summaries, records, rows):
    def texts(table, scale=100):
        name = "mean" if "mean" in table else "gain"
        return {
            f"{scale * gain:+.1f} [{scale * low:+.1f}, {scale * high:+.1f}]"
            for gain, low, high in table[[name, "low", "high"]].to_numpy()
        }

    known = texts(rows, scale=1)
    for kind in ("fused", "audio", "image"):
        metric = f"test/accuracy/{kind}"
        known |= texts(regimes.STUDY.gains(records.map, metric))
        known |= texts(regimes.STUDY.gains(records.map, metric, by=["paradigm"]))
        known |= texts(paradigm_table.STUDY.gains(records.table, metric, by=["dataset"]))
    controlled = records.map[records.map["regime"].isin(regimes.CONTROLLED)]
    for arm in ("baseline", "control"):
        against = {"regularized": arm}
        known |= texts(
            regimes.STUDY.gains(controlled, "test/accuracy/fused", by=["paradigm"], against=against)
        )
    for (cell,) in (paradigm_table.AGAIN, paradigm_table.ONCE_MORE):
        new = records.twenty[records.twenty["seed"].isin(cell.seeds)]
        known |= texts(paradigm_table.STUDY.gains(new, "test/accuracy/fused"))
    under_dgl = (ablations.STUDY.load(RESULTS / "ablations", ablations.AGAIN), records.components)
    for frame in under_dgl:
        known |= texts(ablations.differences(frame, "test/accuracy/fused", "components", "dgl"))
    one = "unseen_speakers-all-noise0.8-dgl"  # the table's regime, in the map
    same_seeds = (records.map["regime"] == one) & records.map["seed"].isin(paradigm_table.SEEDS)
    known |= texts(regimes.STUDY.gains(records.map[same_seeds], "test/accuracy/fused"))
    pattern = r"[+-]\d+\.\d+ \[[+-]\d+\.\d+, [+-]\d+\.\d+\]"
    known |= set(re.findall(pattern, "\n".join(summaries)))
    quoted = re.findall(pattern, (PAGE + FOUND).replace("\n", " "))
    assert len(quoted) > 50 and set(quoted) - known == set()


def test_the_results_count_the_claims_as_the_report_does(rows):
    words = "none one two three four five six seven eight nine ten eleven twelve".split()
    text = " ".join(PAGE.split())
    every, held = re.search(r"Of (\w+) claims in words, .*?, (\w+) are supported", text).groups()
    found = verdicts(rows)
    assert words.index(every) == len(found)
    assert words.index(held) == (found["status"] == SUPPORTED).sum()


@pytest.fixture(scope="module")
def stored():
    (path,) = (ROOT / "notebooks").glob("15_*.ipynb")
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
    data = [output.get("data", {}) for output in outputs]
    return {
        "printed": "".join(output.get("text", "") for output in outputs),
        "markdown": [d["text/markdown"] for d in data if "text/markdown" in d],
        "tables": [d["text/html"] for d in data if "<table" in d.get("text/html", "")],
    }


def cells(page):
    return re.findall(r"<td>(.*?)</td>", page)


def test_the_stored_report_has_the_tables_that_are_computed_now(stored, records, rows):
    shown = [cells(page) for page in stored["tables"]]
    numbers = report.numbers(RESULTS)
    parts = [part for _, part in numbers.groupby(["table", "dataset", "kind"], sort=False)]
    assert len(parts) == 19 + 11  # numbers by table and data set, and gains
    for table in [*map(report.shown, parts), claims.shown(rows)]:
        assert [str(value) for value in table.to_numpy().ravel()] in shown, table
    assert claims.summary(rows) in stored["markdown"]
    change = claims.geometry(records)["change"].map("{:.3g}".format)
    (geometry,) = [page for page in stored["tables"] if "paper, with" in page]
    assert set(change) <= set(cells(geometry))


def test_the_stored_report_prints_the_verdicts_and_the_rule(stored, rows):
    for row in verdicts(rows).itertuples():
        line = rf"^{row.status} +{re.escape(row.words)}: {row.reason}$"
        assert re.search(line, stored["printed"], re.MULTILINE), line
    rules = [module.__doc__.replace("``", "`") for module in (report, claims)]
    for rule in rules:
        assert any(len(text) > 200 and text.strip() in rule for text in stored["markdown"])


def test_the_tables_of_claims_say_what_is_in_the_evidence(rows):
    text = claims.shown(rows)
    first = text.loc[(CLAIMS["fused"].words, "digits, mean of 12 regimes")]
    assert first["change"] == f"+0.2{NBSP}[-0.1,{NBSP}+0.7]" and first["seeds"] == 6
    assert len(text) == len(rows)
