"""Full runs: nothing twice, nothing lost, a clean end at any time, and what is told on the way."""

import json
import os
import signal
from dataclasses import fields, replace

import pytest
import torch
from made_up_records import record_of

from data_scripts.cubicc import UNKNOWN_COPY
from data_scripts.stand_ins import NOTE
from experiments import benchmarks, report, sweeps
from experiments.benchmarks import (
    ARMS,
    Deadline,
    Run,
    config,
    forecast,
    load_embeddings,
    load_fused,
    load_histories,
    load_runs,
    main,
)
from experiments.paper import published
from experiments.recipes import RECIPES, Recipe, recipe
from geomreg_mini import GeometryRegularizer, training
from geomreg_mini.benchmarks import Classification
from geomreg_mini.geometry import geometry_report
from geomreg_mini.records import Record
from geomreg_mini.training import TrainConfig

TINY = TrainConfig(
    dataset="toy",
    dataset_options={"train_size": 64, "validation_size": 32, "test_size": 40},
    paradigm="dgl",
    paradigm_options={"alpha": 2.0},
    epochs=3,
    batch_size=16,
    embedding_dim=6,
    paper_protocol=True,
)
TOLD = "The toy data are not published."


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    sizes = {"train": 64, "validation": 32, "test": 40}
    monkeypatch.setitem(RECIPES, "toy", Recipe(TINY, lambda config: [TOLD], ("joint", "dgl"), sizes))


def command(folder, *more) -> list[str]:
    return ["toy", "--out", str(folder), "--seeds", "0", "1", *more]


def test_the_command_records_every_paradigm_arm_and_seed_once(tmp_path, capfd, monkeypatch):
    assert main(command(tmp_path)) == 0
    out, _ = capfd.readouterr()
    assert TOLD in out and "test/accuracy/fused 0." in out
    assert "8 runs, 0 recorded." in out and "8 of 8 runs recorded" in out
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert names == {
        f"toy/{paradigm}/seed{seed}/{arm}.json"
        for paradigm in ("joint", "dgl")
        for seed in (0, 1)
        for arm in ("baseline", "regularized")
    }
    frame = load_runs(tmp_path / "toy")
    # toy data, unlike the benchmarks', depend on the seed
    assert len(frame) == 8 and set(frame["unlike"]) == {"our runs were made from 2 different data sets"}
    assert {"paradigm", "arm", "seed", "test_selected/accuracy/fused"} <= set(frame)
    monkeypatch.setattr(sweeps, "fit", None)
    assert main(command(tmp_path)) == 0
    assert "8 runs, 8 recorded." in capfd.readouterr().out


def test_a_run_interrupted_at_every_epoch_and_continued_gives_the_records_of_one_that_was_not(
    tmp_path, capfd, monkeypatch
):
    few = ["--seeds", "0", "--paradigms", "dgl"]
    assert main(command(tmp_path / "whole", *few)) == 0

    class OneEpoch(Deadline):
        def __call__(self) -> bool:
            self.asked, self.took = 0.0, 1.0
            self.questions = getattr(self, "questions", 0) + 1
            return self.questions > 1  # not before the run, but after its next epoch

    monkeypatch.setattr(benchmarks, "Deadline", OneEpoch)
    capfd.readouterr()
    for _ in range(2):
        assert main(command(tmp_path / "parts", *few)) == 0
        assert "stopped after epoch" in capfd.readouterr().out
        assert list(tmp_path.glob("parts/toy/dgl/seed0/baseline.pt"))
    monkeypatch.setattr(benchmarks, "Deadline", Deadline)
    assert main(command(tmp_path / "parts", *few)) == 0
    for arm in ("baseline", "regularized"):
        first, second = (
            Record.load(tmp_path / f"{part}/toy/dgl/seed0/{arm}.json") for part in ("whole", "parts")
        )
        assert first == second
    assert not list(tmp_path.rglob("*.pt"))


def test_no_time_left_is_a_clean_end_before_anything_is_trained(tmp_path, capfd):
    assert main(command(tmp_path, "--until", "0")) == 0
    out, err = capfd.readouterr()
    assert "stopped before joint, baseline, seed 0. The same command continues." in out
    assert err == "" and not list(tmp_path.rglob("*.*"))


def test_sigterm_is_a_clean_end_with_the_last_epoch_in_the_checkpoint(tmp_path, capfd, monkeypatch):
    train_epoch = training._Run.train_epoch

    def terminated(self, epoch):
        if epoch == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        train_epoch(self, epoch)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(training._Run, "train_epoch", terminated)
    assert main(command(tmp_path)) == 0
    assert "stopped by SIGTERM" in capfd.readouterr().out
    assert [path.name for path in tmp_path.rglob("*.*")] == ["baseline.pt"]
    assert signal.getsignal(signal.SIGTERM) is handler
    trained = []
    monkeypatch.setattr(
        training._Run, "train_epoch", lambda self, epoch: (trained.append(epoch), train_epoch(self, epoch))
    )
    assert main(command(tmp_path)) == 0
    assert trained[:4] == [3, 1, 2, 3]


def test_records_of_another_config_are_one_sentence_and_status_one(tmp_path, capfd):
    few = ["--seeds", "0", "--paradigms", "dgl", "--arms", "regularized"]
    assert main(command(tmp_path, *few)) == 0
    capfd.readouterr()
    assert main(command(tmp_path, *few, "--radius", "0.3")) == 1
    err = capfd.readouterr().err
    assert err.startswith("benchmarks: ") and "made by another config" in err and err.count("\n") == 1


def test_an_unknown_paradigm_is_one_sentence_and_status_one(tmp_path, capfd):
    assert main(command(tmp_path, "--paradigms", "sorting")) == 1
    assert capfd.readouterr().err.startswith("benchmarks: paradigm='sorting' is unknown: choose one of joint")


def test_an_arm_is_the_recipe_with_its_regularizer_and_the_given_settings():
    made = {arm: config("toy", Run("dgl", arm, 2), {"radius": 0.4, "temperature": 0.2}) for arm in ARMS}
    assert made["baseline"] == replace(TINY, seed=2)
    shared = {"radius": 0.4, "temperature": 0.2}
    paper = GeometryRegularizer(balance="pareto", strength=0.15, at="parameters", **shared)
    assert made["regularized"] == replace(TINY, seed=2, regularizer=paper)
    spread = GeometryRegularizer(0.15, 0.0, reduction="sum", **shared)
    assert made["dispersion"] == replace(TINY, seed=2, regularizer=spread)
    agree = GeometryRegularizer(0.0, 0.15, **shared)
    assert made["anchoring"] == replace(TINY, seed=2, regularizer=agree)
    strong = config("toy", Run("dgl", "regularized", 2), {"strength": 2.0}).regularizer
    assert (strong.strength, strong.radius) == (2.0, 0.25)


def test_the_arms_of_one_term_are_the_default_with_alpha_held_at_zero_and_one():
    generator = torch.Generator().manual_seed(0)
    z = {m: torch.randn(9, 5, generator=generator).requires_grad_() for m in "ab"}

    def gradients(regularizer, **more):
        total = regularizer({m: x * 1 for m, x in z.items()}, **more).total
        return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(z.values()))])

    arms = {arm: regularizer for arm, regularizer in ARMS.items() if regularizer is not None}
    default = GeometryRegularizer(**arms["regularized"].hyperparameters() | {"at": "embeddings"})
    alpha = default(z).alpha
    mixed = [
        alpha[m] * one + (1 - alpha[m]) * two
        for m, one, two in zip(
            "ab",
            gradients(arms["anchoring"]).chunk(2),
            gradients(arms["dispersion"]).chunk(2),
            strict=True,
        )
    ]
    assert torch.allclose(torch.cat(mixed), gradients(default), atol=1e-6)


def test_the_papers_settings_and_controls_are_arms_of_their_data_sets(tmp_path, capfd):
    for name, title in {"crema_d": "CREMA-D", "kinetics_sounds": "Kinetics-Sounds"}.items():
        arms = RECIPES[name].arms
        strong = arms["beta0.2-tau0.25"]
        assert (strong.balance, strong.at, strong.strength, strong.radius, strong.temperature) == (
            "pareto", "parameters", 0.2, 0.25, 0.5,
        )  # fmt: skip
        theirs = published().query("table in ('figure_7', 'figure_8')").set_index("dataset")
        assert set(theirs.loc[title, "setting"]) < set(arms)
    plain = config("kinetics_sounds", Run("dgl", "intra0.08-inter0.05", 0)).regularizer
    assert plain.hyperparameters() == GeometryRegularizer(0.08, 0.05, radius=0).hyperparameters()
    default = config("crema_d", Run("dgl", "regularized", 0))
    assert default == config("crema_d", Run("dgl", "beta0.15-tau0.25", 0)), "the paper's default form"
    assert main(command(tmp_path, "--arms", "beta0.2-tau0.25")) == 1
    err = capfd.readouterr().err
    assert err == (
        "benchmarks: toy has no arm 'beta0.2-tau0.25': choose from baseline, regularized, dispersion, "
        "anchoring.\n"
    )
    with pytest.raises(ValueError, match="arm 'vicreg' has no radius: leave out one of them"):
        config("crema_d", Run("dgl", "vicreg", 0), {"radius": 0.3})


def test_every_arm_of_the_paper_is_trained_by_the_command(tmp_path, capfd, monkeypatch):
    arms = ARMS | RECIPES["crema_d"].arms
    more = Recipe(replace(TINY, epochs=1), lambda config: [TOLD], ("dgl",), {}, arms=RECIPES["crema_d"].arms)
    monkeypatch.setitem(RECIPES, "toy", more)
    few = ["--seeds", "0", "--paradigms", "dgl", "--arms", *arms]
    assert main(command(tmp_path, *few)) == 0, capfd.readouterr().err
    runs = load_runs(tmp_path / "toy")
    assert set(runs["arm"]) == set(arms) and len(arms) == 26
    spread = runs.set_index("arm")["test/uniformity/a"]
    assert spread.nunique() > 20, "each trains by an objective of its own"


def test_a_file_of_weights_builds_every_model_and_is_not_part_of_the_config(tmp_path, monkeypatch, capfd):
    tagged = replace(TINY, epochs=1, encoder_options={"pretrained": "tag"})
    monkeypatch.setitem(RECIPES, "toy", replace(RECIPES["toy"], config=tagged))
    build, seen = Classification.build, []

    def builds(task, config, data):
        seen.append(config.encoder_options)
        return build(task, replace(config, encoder_options={}), data)

    monkeypatch.setattr(Classification, "build", builds)
    few = ["--paradigms", "dgl", "--arms", "baseline", "--weights", "w.pt"]
    assert main(command(tmp_path, *few)) == 0
    assert seen == [{"pretrained": "tag", "weights": "w.pt"}] * 2, "of the first seed, and of the second"
    found = load_runs(tmp_path / "toy")
    assert len(found) == 2 and not found["unlike"].str.contains("encoder_options").any()


def test_weights_for_a_benchmark_without_pretrained_ones_are_refused(tmp_path, capfd):
    assert main(command(tmp_path, "--weights", "w.pt")) == 1
    assert "toy has no pretrained weights: leave out --weights" in capfd.readouterr().err


# A record is the benchmark's in every field, or the report does not judge it.

OTHER = {  # field of a config -> a value that no recipe has
    "dataset": "kinetics_sounds",
    "dataset_options": {"frames": 2},
    "paradigm": "joint",
    "paradigm_options": {"alpha": 3.0},
    "regularizer": GeometryRegularizer(0.1),
    "depth": "hidden",
    "combination": "task_pareto",
    "fusion": "sum",
    "embedding_dim": 64,
    "encoder": "conv",
    "encoder_options": {"width": 8},
    "epochs": 99,
    "batch_size": 32,
    "learning_rate": 0.003,
    "momentum": 0.8,
    "weight_decay": 1e-3,
    "schedule": "constant",
    "clip_norm": None,
    "precision": "float32",
    "evaluate_every": 2,
    "seed": 5,
    "paper_protocol": False,
    "task": "subsets",
    "optimizer": "adam",
    "monitor": True,
}


def benchmark_record(**changes):
    """A full run of CREMA-D, with fields of the record or, in ``config``, of its config changed."""
    given = recipe("crema_d").to_dict() | changes.pop("config", {})
    record = replace(record_of(recipe("crema_d"), 0.7), config=given)
    return replace(record, **{"split_sizes": dict(RECIPES["crema_d"].sizes)} | changes)


FIRST = Run("dgl", "baseline", 0)


def why(record, name="crema_d", run=FIRST):
    return benchmarks.unlike(record, name, run)


def test_a_full_run_of_the_recipe_is_the_benchmarks():
    assert why(benchmark_record()) == ""
    sizes = {**RECIPES["crema_d"].sizes, "test_selected": 704}
    assert why(benchmark_record(split_sizes=sizes)) == ""


def test_every_field_of_a_config_is_tried():
    assert set(OTHER) == {field.name for field in fields(TrainConfig)}


@pytest.mark.parametrize("field", OTHER)
def test_a_run_with_another_value_of_a_field_is_not_the_benchmarks(field, tmp_path):
    value = OTHER[field]
    if field == "regularizer":
        value = {"class": "GeometryRegularizer", **value.hyperparameters()}
    if field == "combination":
        value = "pareto"  # its name in records
    config = {field: value}
    config |= {"paradigm": "modality_dropout"} if field == "task" else {}
    reason = why(benchmark_record(config=config))
    assert reason.startswith("our runs have " + ("paradigm" if field == "task" else field) + " ")
    for seed in range(3):
        run = {"seed": seed} if field != "seed" else {"seed": seed + 5}
        record = benchmark_record(config={**config, **run}, seed=seed)
        record.save(tmp_path / "crema_d" / "dgl" / f"seed{seed}" / "baseline.json")
    table = report.compared(load_runs(tmp_path / "crema_d"), "table_1", "CREMA-D")
    assert set(table["status"]) == {report.NOT_RUN} and (table["seeds"] == 3).any()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_run_on_other_numbers_of_samples_is_not_the_benchmarks(split):
    right = RECIPES["crema_d"].sizes
    for size in (right[split] - 1, right[split] + 1, 0):
        reason = why(benchmark_record(split_sizes={**right, split: size}))
        assert reason == f"our runs have {size} samples ({split}), the benchmark has {right[split]}"
    rest = {name: size for name, size in right.items() if name != split}
    assert "0 samples" in why(benchmark_record(split_sizes=rest))


def test_clips_that_the_source_lost_are_forgiven_where_that_is_known():
    own = recipe("kinetics_sounds")
    record = record_of(own, 0.7)
    three = "3 of 17396 samples are missing or unreadable."
    for test, note, reason in (
        (2597 - 3, three, ""),
        (2560, three.replace("3", "37", 1), "our runs have 2560 samples (test), the benchmark has 2597"),
        (2597 - 3, "my own clips", "our runs use other data: my own clips"),
        (2597 - 4, three, f"our runs use other data: {three}"),
    ):
        sizes = {**RECIPES["kinetics_sounds"].sizes, "test": test}
        given = replace(record, split_sizes=sizes, data_note=note)
        assert why(given, "kinetics_sounds") == reason


def test_of_cubicc_only_the_sum_of_the_splits_is_known():
    record = record_of(recipe("cubicc"), 0.7)
    run = Run("swav", "baseline", 0)
    for train, validation, right in ((11150, 1000, True), (76, 1000, False), (12145, 5, False)):
        given = replace(record, split_sizes={"train": train, "validation": validation, "test": 1000})
        assert (why(given, "cubicc", run) == "") == right
    given = replace(given, split_sizes={"train": 13140, "validation": 5, "test": 5})
    assert why(given, "cubicc", run) == "our runs have 5 samples (validation), the benchmark has 8 or more"


def test_runs_on_a_copy_of_cubicc_that_may_be_split_in_another_way_are_not_judged():
    sizes = {"train": 13110, "validation": 20, "test": 20}
    given = replace(record_of(recipe("cubicc"), 0.7), split_sizes=sizes, data_note=UNKNOWN_COPY)
    assert why(given, "cubicc", Run("swav", "baseline", 0)) == f"our runs use other data: {UNKNOWN_COPY}"


def test_stand_ins_and_other_notes_are_not_the_benchmarks():
    assert why(benchmark_record(data_note=NOTE)) == "our runs use generated stand-ins"
    assert "diverged" in why(benchmark_record(data_note="diverged: the loss is nan"))


def test_a_record_under_another_runs_name_is_not_that_run():
    assert "regularizer" in why(benchmark_record(), run=Run("dgl", "regularized", 0))
    assert "paradigm" in why(benchmark_record(), run=Run("joint", "baseline", 0))
    assert "has no arm 'mine'" in why(benchmark_record(), run=Run("dgl", "mine", 0))
    assert "unknown" in why(benchmark_record(), run=Run("mine", "baseline", 0))
    assert why(benchmark_record(), "mine") == "'mine' is not a benchmark"
    assert "cannot be compared" in why(benchmark_record(config={"depth": "deep"}))


def test_runs_from_different_data_are_not_one_benchmark(tmp_path):
    for seed in range(3):
        record = benchmark_record(config={"seed": seed}, seed=seed, data_fingerprint=f"{min(seed, 1)}")
        record.save(tmp_path / "crema_d" / "dgl" / f"seed{seed}" / "baseline.json")
    assert set(load_runs(tmp_path / "crema_d")["unlike"]) == {"our runs were made from 2 different data sets"}


def test_the_forecast_takes_the_paradigms_own_times_where_they_are_known():
    left = [Run("joint", "baseline", 0), Run("dgl", "baseline", 0)]
    assert forecast(left, {}) is None
    assert forecast(left, {"joint": [3600.0, 7200.0]}) == pytest.approx(3.0)
    assert forecast(left, {"joint": [3600.0], "dgl": [10800.0]}) == pytest.approx(4.0)


def test_a_deadline_leaves_room_for_one_more_epoch_like_the_last(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(benchmarks.time, "monotonic", lambda: now[0])
    deadline, answers = Deadline(10 / 3600), []
    for moment in (103.0, 106.0, 109.0):
        now[0] = moment
        answers.append(deadline())
    assert answers == [False, False, True], "at 106 another three seconds fit into ten, at 109 not"
    assert not Deadline(None)()


def test_other_data_than_the_recipes_have_a_folder_that_names_them_and_the_command(tmp_path, capfd):
    few = ["--seeds", "0", "--paradigms", "dgl", "--arms", "baseline"]
    assert main(command(tmp_path, *few, "--data", "noise=0.3", "train_size=48", "test_size=40")) == 0
    assert main(command(tmp_path, *few, "--data", "train_size=64")) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy-noise=0.3-train_size=48"]
    (path,) = tmp_path.glob("toy-*/dgl/seed0/baseline.json")
    options = Record.load(path).config["dataset_options"]
    assert options == TINY.dataset_options | {"noise": 0.3, "train_size": 48}
    assert benchmarks.command(path.parents[2]) == (
        "python -m experiments.benchmarks toy --data noise=0.3 train_size=48"
    )
    capfd.readouterr()
    assert main(command(tmp_path, *few, "--data", "speakers=3")) == 1
    err = capfd.readouterr().err
    assert "has no option 'speakers'; it has" in err and err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(command(tmp_path, *few, "--data", "speakers"))
    assert "'speakers': write OPTION=VALUE" in capfd.readouterr().err


def test_a_folder_names_the_options_that_are_not_the_recipes():
    assert benchmarks.folder_name("crema_d", {"source": "stand_in"}) == "crema_d-source=stand_in"
    assert benchmarks.folder_name("crema_d", {"frames": 1}) == "crema_d", "which is the recipe's"
    assert benchmarks.folder_name("kinetics_sounds", {"variant": "folders"}).endswith("-variant=folders")


def test_a_record_out_of_range_is_named_on_reading(tmp_path):
    assert main(command(tmp_path, "--seeds", "0", "--paradigms", "dgl", "--arms", "baseline")) == 0
    (path,) = tmp_path.rglob("baseline.json")
    record = json.loads(path.read_text())
    record["metrics"]["test/accuracy/fused"] = 1.5
    path.write_text(json.dumps(record))
    for read in (load_runs, lambda folder: load_histories(folder, "dgl")):
        with pytest.raises(
            ValueError, match=r"baseline.json: test/accuracy/fused must be in \[0, 1\], got 1.5"
        ):
            read(tmp_path / "toy")


def test_the_first_seeds_embeddings_of_the_test_split_are_kept_and_give_the_records_numbers(tmp_path):
    few = ["--paradigms", "dgl", "--arms", "baseline"]
    assert main(command(tmp_path, *few)) == 0
    folder = tmp_path / "toy"
    assert [path.parent.name for path in folder.rglob("*.npz")] == ["seed0"]
    encoded = load_embeddings(folder, "dgl", "baseline")
    record = Record.load(folder / "dgl" / "seed0" / "baseline.json")
    assert encoded.labels.shape == (40,) and {m: z.shape for m, z in encoded.embeddings.items()} == {
        "a": (40, 6),
        "b": (40, 6),
    }
    for name, value in geometry_report(encoded.embeddings, encoded.labels).items():
        if name != "num_samples":
            assert value == pytest.approx(record.metrics[f"test/{name}"], rel=1e-4, abs=1e-6), name
    fused = (load_fused(folder, "dgl", "baseline").argmax(dim=1) == encoded.labels).double().mean()
    assert fused == pytest.approx(record.metrics["test/accuracy/fused"], abs=1e-6)
    assert record == training.fit(config("toy", Run("dgl", "baseline", 0)), device="cpu", progress=False)
    with pytest.raises(FileNotFoundError, match="toy --paradigms dgl --arms regularized --seeds 0'"):
        load_embeddings(folder, "dgl", "regularized")


def test_histories_are_those_of_the_records(tmp_path):
    assert main(command(tmp_path, "--paradigms", "dgl")) == 0
    frame = load_histories(tmp_path / "toy", "dgl")
    rows = frame[(frame.arm == "regularized") & (frame.seed == 1)].drop(columns=["arm", "seed"])
    record = Record.load(tmp_path / "toy" / "dgl" / "seed1" / "regularized.json")
    assert rows.reset_index(drop=True).equals(record.history)
    assert len(frame.groupby(["arm", "seed"])) == 4
    with pytest.raises(FileNotFoundError, match="no records of joint .* --paradigms joint' first"):
        load_histories(tmp_path / "toy", "joint")


def test_nothing_recorded_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="run 'python -m experiments.benchmarks crema_d' first"):
        load_runs(tmp_path / "crema_d")
    with pytest.raises(FileNotFoundError, match="crema_d --data split=speaker_disjoint' first"):
        load_runs(tmp_path / "crema_d-split=speaker_disjoint")
