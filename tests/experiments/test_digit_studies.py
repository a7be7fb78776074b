"""The five studies on digits and their committed records: complete, made by the protocol, quoted."""

from pathlib import Path

import pytest
from made_up_records import RESULTS, committed, folder_of

from experiments import ablations, manifest, paper_settings, paradigm_table, regimes, unlabeled
from experiments.sweeps import load_record
from geomreg_mini import data
from geomreg_mini.training import TrainConfig

MODULES = {m.STUDY.name: m for m in (regimes, paradigm_table, ablations, unlabeled, paper_settings)}
README = (Path(__file__).parents[2] / "results" / "README.md").read_text()
each = pytest.mark.parametrize("name", MODULES)


@each
def test_every_record_of_the_protocol_is_committed_and_no_other(name):
    study = MODULES[name].STUDY
    there = {path.relative_to(folder_of(study)).as_posix() for path in folder_of(study).rglob("*.json")}
    assert there == set(study.files())
    assert study.state(folder_of(study)) == f"{len(there):,} of {len(there):,} records, unmodified."


@each
def test_every_committed_record_is_the_run_that_the_protocol_asks_for(name):
    """Configs are checked while walking; a seed of a cell has one data set and a CPU."""
    study = MODULES[name].STUDY
    for cell in study.cells + study.later:
        for seed in cell.seeds:
            found = study.walk(cell, seed, lambda file, c: load_record(folder_of(study) / file, c))
            records = [record for arm in found.values() for record in arm.values()]
            assert len({(record.data_fingerprint, record.device) for record in records}) == 1
            assert records[0].device == "cpu"


@each
def test_the_readme_quotes_the_committed_records(name):
    for table in MODULES[name].summary(committed(name)).split("\n\n"):
        assert table in README


@each
def test_no_two_runs_share_a_file_or_a_config(name):
    """But the regularized arm's first half of a sweep, whose configs depend on what was picked."""
    study, configs = MODULES[name].STUDY, {}
    for cell in study.cells + study.later:
        for arm, own in cell.arms.items():
            for setting, fields in own.settings.items() if not own.start else ():
                for seed in cell.seeds:
                    config = TrainConfig(**{**cell.config, **fields}, seed=seed)
                    configs.setdefault(study.file(cell, seed, arm, setting), set()).add(config.key)
    assert {len(keys) for keys in configs.values()} == {1}
    assert len(set.union(*configs.values())) == len(configs)


@each
def test_files_have_names_that_make_can_read(name):
    assert not set("".join(MODULES[name].STUDY.files())) & set(" =:$#%")


@each
def test_the_figure_draws_the_committed_records(name):
    import matplotlib.pyplot as plt

    fig = MODULES[name].figure(committed(name))
    assert all(ax.has_data() for ax in fig.axes)
    plt.close(fig)


def test_two_studies_recorded_the_same_numbers_for_the_same_training():
    cell = regimes.regime("unseen_speakers", None, 0.8, "joint")
    pairs = {"none learning_rate=0.02": "lr0.02-wd0.0001", "none learning_rate=0.05": "lr0.05-wd0.0001"}
    for here, there in pairs.items():
        for seed in ablations.SEEDS:
            one = ablations.STUDY.file(ablations.STUDY.cells[0], seed, "none", here)
            two = regimes.STUDY.file(cell, seed, "baseline", there)
            first, second = load_record(RESULTS / "ablations" / one), load_record(RESULTS / "digits" / two)
            assert first.metrics == second.metrics


def test_the_data_of_a_study_are_known_to_the_loader():
    names = {cell.config["dataset"] for module in MODULES.values() for cell in module.STUDY.cells}
    assert names <= set(data.DATASETS)


def test_the_other_processors_records_are_of_the_same_protocol():
    row = paradigm_table.cell("digits", "dgl", range(10))
    frame = paradigm_table.STUDY.load(RESULTS / "other_processor", [row])
    assert set(frame["seed"]) == set(range(10))
    assert manifest.state(RESULTS / "other_processor") == "60 of 60 records, unmodified."
