"""Any prefix of the test records is read and worded; the fast reader agrees with the one that checks."""

import shutil

import pandas as pd
import pytest
from made_up_records import RESULTS

# The study, its records and its frames are those of the protocol's own tests.
from test_verdict import made_up, small, write_records

from experiments import decided, verdict
from experiments.study import markdown
from experiments.verdict import AXES, RADII, SEEDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decided")
    write_records(small(), folder)
    return folder


def test_the_fast_reader_gives_the_frame_that_the_checking_one_gives(folder):
    found, checked = decided.load(folder), small().load(folder)
    keys = ["paradigm", "seed", "arm"]
    pd.testing.assert_frame_equal(
        found.set_index(keys).sort_index(), checked.set_index(keys).sort_index(), check_like=True
    )


def committed_test_records():
    return sorted((RESULTS / "verdict").glob("*/seed*/*-frozen.json"))


@pytest.mark.skipif(not committed_test_records(), reason="still in development")
def test_the_committed_records_are_read_as_the_study_reads_them():
    found = decided.load(RESULTS / "verdict")
    checked = verdict.whole(verdict.STUDY.load(RESULTS / "verdict", partial=True))
    keys = ["paradigm", "seed", "arm"]
    both = checked.set_index(keys).sort_index().loc[found.set_index(keys).sort_index().index]
    shared = [name for name in found if name.startswith(("test/", "train/dose"))]
    pd.testing.assert_frame_equal(found.set_index(keys).sort_index()[shared], both[shared])


def test_a_seed_that_lacks_a_run_waits_and_without_two_seeds_one_sentence_is_said(folder, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    for seed in SEEDS[3:12]:
        for paradigm in RADII:
            shutil.rmtree(part / paradigm / f"seed{seed}")
    assert set(decided.load(part)["seed"]) == set(SEEDS[:3])
    (part / "dgl" / f"seed{SEEDS[1]}" / "unit_sphere-frozen.json").unlink()
    frame = decided.load(part)
    assert set(frame["seed"]) == {SEEDS[0], SEEDS[2]} and decided.state(frame).startswith("2 of 300 test")
    words = decided.in_words(frame, verdict.table(frame), verdict.verdicts(frame))
    assert words.count("the published method") == len(RADII)
    (part / "dgl" / f"seed{SEEDS[2]}" / "none-frozen.json").unlink()
    for empty in (part, tmp_path / "nothing"):
        frame = decided.load(empty)
        assert frame.empty and decided.state(frame) == decided.NONE_YET
    assert not any(text in decided.NONE_YET for text in ("supported", "excluded"))


@pytest.mark.parametrize("gain", [0.03, -0.03])
def test_sentences_follow_the_records(gain):
    def of(seed, paradigm, arm):
        return (gain + seed % 5 / 5000) * (arm in ("published", "band")) + seed % 3 / 900 * (arm == "rigid")

    frame = made_up(of)
    table, judged = verdict.table(frame), verdict.verdicts(frame)
    lines = decided.in_words(frame, table, judged).splitlines()
    assert lines[0] == "12 of 300 test seeds."
    assert all("at ±0.5 different, different, at ±1 different, different" in line for line in lines[1:4])
    up, down = lines[4:6]
    moved = up if gain > 0 else down
    assert all(
        f"{name}, {arm}" in moved for name in ("joint training", "DGL") for arm in ("published", "band")
    )
    assert "dispersion" not in up + down and (gain > 0 or "no arm" not in down)
    known = [text.rsplit(" ", 1)[-1] for text in judged["over seeds"]]
    assert f"{known.count('supported')} supported, {known.count('excluded')} excluded" in lines[6]
    assert len(table) == len(RADII) * (len(AXES) - 1)


def test_the_papers_claims_are_judged_by_gains_of_known_size():
    gain = {"joint": 0.02, "uniform_sum": 0.0, "dgl": 0.001}
    frame = made_up(lambda seed, p, arm: gain[p] * (arm == "published"), geometry=-0.1)
    shown = decided.headlines(frame)
    assert list(shown.index) == [line.words for line in decided.HEADLINES]
    fused, joint, probe, drift, rigid = shown["over seeds"]
    assert (fused, joint) == ("+0.1 [+0.1, +0.1] supported", "+2.0 [+2.0, +2.0] supported")
    assert (probe, drift) == ("+2.0 [+2.0, +2.0] supported", "-0.10 [-0.10, -0.10] supported")
    assert rigid == "+0.0 [+0.0, +0.0] excluded", "no gain at all is smaller than the paper's"
    assert (shown["for new speakers"] == [text.split(" ", 1)[1] for text in shown["over seeds"]]).all()


@pytest.mark.skipif(not committed_test_records(), reason="still in development")
def test_the_readme_and_the_results_have_the_rows_of_the_records():
    frame = decided.load(RESULTS / "verdict")
    for page in (RESULTS.parent / "README.md", RESULTS / "README.md"):
        text = page.read_text()
        assert markdown(decided.headlines(frame), "the paper claims") in text, page
        assert decided.state(frame).removesuffix(".") in text, page
    for part in verdict.summary(frame, RESULTS / "verdict").split("\n\n"):
        assert part in (RESULTS / "README.md").read_text()


@pytest.mark.skipif(not committed_test_records(), reason="still in development")
def test_the_readme_says_that_the_picked_form_hardly_acts_under_dgl():
    frame = decided.load(RESULTS / "verdict")
    own = frame[(frame["paradigm"] == "dgl") & (frame["arm"] == "published")]
    assert own.filter(like="train/dose/").mean().mean() < 0.01
    assert "its gradient is under 1 % of the task's" in " ".join(
        (RESULTS.parent / "README.md").read_text().split()
    )
