"""An npz file of your own data in the commands of the experiments and in a study."""

import numpy as np
import pytest

from experiments import benchmarks, search
from experiments.recipes import RECIPES
from experiments.study import Arm, Cell, Study
from geomreg_mini import GeometryRegularizer
from geomreg_mini.data import MultimodalDataset
from geomreg_mini.records import Record


@pytest.fixture
def file(tmp_path):
    rng, arrays = np.random.default_rng(0), {}
    for split, n in {"train": 24, "validation": 12, "test": 12}.items():
        label = np.arange(n) % 2
        arrays |= {f"{split}_{m}": rng.normal(size=(n, 4)) + 3 * label[:, None] for m in ("audio", "image")}
        arrays[f"{split}_labels"] = label
    np.savez(tmp_path / "mine.npz", **arrays)
    return str(tmp_path / "mine.npz")


@pytest.fixture(autouse=True)
def recipes_as_before():
    before = dict(RECIPES)
    yield
    RECIPES.clear()
    RECIPES.update(before)


def test_a_benchmark_of_your_own_data_records_every_paradigm_and_arm(file, tmp_path, capfd):
    call = ["--data-file", file, "--out", str(tmp_path / "out"), "--seeds", "0", "--epochs", "1"]
    assert benchmarks.main([*call, "--paradigms", "joint", "dgl"]) == 0
    out = capfd.readouterr().out
    assert "Your own data have no published procedure" in out and "4 of 4 runs recorded" in out
    names = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.json")}
    assert names == {
        f"mine/{p}/seed0/{arm}.json" for p in ("joint", "dgl") for arm in ("baseline", "regularized")
    }
    record = Record.load(tmp_path / "out" / "mine" / "dgl" / "seed0" / "regularized.json")
    assert record.data_fingerprint == MultimodalDataset.from_npz(file).fingerprint
    assert record.config["dataset"] == file and record.config["regularizer"] is not None
    assert set(benchmarks.load_runs(tmp_path / "out" / "mine")["unlike"]) == {"'mine' is not a benchmark"}


def test_a_benchmark_needs_a_name_or_a_file_that_exists(tmp_path, capfd):
    for call in ([], ["crema_d", "--data-file", "mine.npz"]):
        with pytest.raises(SystemExit):
            benchmarks.main(call)
        assert "name one benchmark, or your own data with --data-file" in capfd.readouterr().err
    missing = str(tmp_path / "none.npz")
    assert benchmarks.main(["--data-file", missing, "--out", str(tmp_path)]) == 1
    assert capfd.readouterr().err == f"benchmarks: {missing} does not exist; give the path of an npz file.\n"
    assert benchmarks.main(["--data-file", "mine.csv", "--out", str(tmp_path)]) == 1
    assert "or an .npz file" in capfd.readouterr().err


def test_a_search_takes_your_own_data(file, tmp_path, capsys):
    pytest.importorskip("optuna", reason="a search needs the extra `scale`: pip install optuna")
    call = ["--data-file", file, "--storage", f"sqlite:///{tmp_path}/s.db", "--name", "mine"]
    assert search.main([*call, "--trials", "1", "--epochs", "1"]) == 0
    assert "best: trial 0" in capsys.readouterr().out


def test_a_study_declares_your_own_data_like_any_other(file, tmp_path):
    arms = {"none": Arm({"plain": {}}), "band": Arm({"0.6": {"regularizer": GeometryRegularizer()}})}
    config = {"dataset": file, "dataset_options": {}, "epochs": 1}
    study = Study("mine", "seed{seed}/{arm}-{setting}.json", (Cell({}, config, arms, range(2)),), "none")
    study.train(tmp_path / "out", jobs=1)
    frame = study.load(tmp_path / "out")
    assert sorted(frame["arm"]) == ["band", "band", "none", "none"]
    assert study.gains(frame, "test/accuracy/fused", by=[])["seeds"].tolist() == [2]
