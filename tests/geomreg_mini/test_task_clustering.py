"""The clustering task: its losses and model by their definitions, no look at labels, records and recipe."""

import math
from dataclasses import replace

import pytest
import torch
from small_data import birds, clouds
from torch.nn import functional as F

from experiments import benchmarks, paper, report
from experiments.recipes import RECIPES, deviations, recipe
from geomreg_mini import GeometryRegularizer
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.benchmarks.clustering import (
    ClusteringModel,
    Prototypes,
    Swav,
    balanced_codes,
    captioned_autoencoders,
    mutual_information,
    reconstruction_errors,
    swapped_prediction,
)
from geomreg_mini.benchmarks.clustering_metrics import cluster_accuracy
from geomreg_mini.data import load
from geomreg_mini.models import Encoded, encode
from geomreg_mini.records import Record
from geomreg_mini.training import Stopped, TrainConfig, fit

CONFIG = TrainConfig(
    dataset="toy",
    task="clustering",
    paradigm="swav",
    fusion="prototypes",
    embedding_dim=6,
    encoder_options={"width": 4, "word_dim": 4},
    epochs=3,
    batch_size=16,
    optimizer="adam",
    learning_rate=3e-3,
    weight_decay=0.0,
    schedule="constant",
)
VIEWS = ("image", "caption", "joint")


def small_model() -> ClusteringModel:
    torch.manual_seed(0)
    return ClusteringModel(*captioned_autoencoders(16, 8, 6, 6, width=4, word_dim=4), 6, 3, True)


# codes and losses -------------------------------------------------------------------------------------------


def test_codes_are_distributions_that_use_all_clusters_equally():
    torch.manual_seed(0)
    logits = (3 * torch.randn(64, 8) + torch.arange(8)).requires_grad_()  # the last one wins everywhere
    codes = balanced_codes(logits, rounds=200)
    assert not codes.requires_grad
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((8,), 8.0), rtol=1e-3, atol=1e-3)
    # close to the logits: of all such matrices, log codes differ from them by a number a row and one a column
    difference = codes.log() - logits / 0.25
    rest = difference - difference.mean(dim=0) - difference.mean(dim=1, keepdim=True) + difference.mean()
    assert rest.abs().max() < 1e-3
    assert logits.softmax(dim=1).sum(dim=0).max() > 20, "the logits alone would not"


def test_codes_and_swapped_prediction_are_swavs():
    torch.manual_seed(0)
    image, caption = torch.randn(2, 10, 4, dtype=torch.float64)

    def sinkhorn(scores):  # as SwAV's paper has it: Q of shape (K, B), columns last
        q = (scores / 0.25).exp().T
        q = q / q.sum()
        for _ in range(3):
            q = q / q.sum(dim=1, keepdim=True) / 4
            q = q / q.sum(dim=0) / 10
        return (q * 10).T

    torch.testing.assert_close(balanced_codes(image), sinkhorn(image))
    wanted = 0.0
    for i in range(10):
        for guess, other in ((image, caption), (caption, image)):
            wanted -= (sinkhorn(other)[i] * guess[i].log_softmax(dim=0)).sum() / 20
    assert swapped_prediction(image, caption).item() == pytest.approx(wanted.item(), rel=1e-9)


def test_where_nothing_is_told_apart_the_loss_is_that_of_guessing_and_information_is_0():
    same = torch.randn(1, 8).expand(50, 8)
    torch.testing.assert_close(balanced_codes(same), torch.full((50, 8), 1 / 8))
    assert swapped_prediction(0 * same, 0 * same).item() == pytest.approx(math.log(8))
    assert mutual_information(same, same) == pytest.approx(0, abs=1e-9)
    assert swapped_prediction(1000 * same, 1000 * same).isfinite()


def test_extreme_logits_give_finite_codes():
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4], [-1e4, 1e4]])
    assert balanced_codes(logits).isfinite().all()
    assert balanced_codes(logits[:2]).isfinite().all(), "with a cluster that nobody is near"


def test_information_is_that_of_hard_clusters_where_they_are_certain():
    from sklearn.metrics import mutual_info_score

    torch.manual_seed(0)
    a, b = torch.randint(4, (2, 60))
    b = torch.where(torch.rand(60) < 0.6, a, b)
    hard = [1e3 * F.one_hot(x, 4).double() for x in (a, b)]
    assert mutual_information(*hard) == pytest.approx(mutual_info_score(a, b), abs=1e-6)
    balanced = 1e3 * F.one_hot(torch.arange(8), 8).double()
    assert mutual_information(balanced, balanced) == pytest.approx(math.log(8), abs=1e-6)
    assert mutual_information(balanced, balanced[torch.randperm(8)]) == pytest.approx(math.log(8), abs=1e-6)


def test_the_losses_are_reconstruction_of_both_and_swapped_prediction():
    data, model = birds(), small_model()
    batch = data.train.batch(torch.arange(20))
    output = model(batch["inputs"])
    losses = Swav(model).losses(output, batch["label"])
    pixels = (output.reconstructions["image"] - batch["inputs"]["image"]).abs().mean()
    words = output.reconstructions["caption"].log_softmax(dim=2)
    words = words.gather(2, batch["inputs"]["caption"][:, :, None]).mean()
    wanted = {
        "image": 20 * pixels,
        "caption": -words,
        "swapped": swapped_prediction(output.logits["image"], output.logits["caption"]),
    }
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(losses[name], value)
    errors = reconstruction_errors(output.reconstructions, batch["inputs"])
    torch.testing.assert_close(errors["image"], pixels)


def test_in_mixed_precision_losses_are_computed_in_single_precision():
    data, model = birds(), small_model()
    batch = data.train.batch(torch.arange(20))
    with torch.autocast("cpu", torch.bfloat16):
        losses = Swav(model).losses(model(batch["inputs"]), batch["label"])
    assert {value.dtype for value in losses.values()} == {torch.float32}


# the model --------------------------------------------------------------------------------------------------


def test_shapes_of_the_published_sizes():
    model = ClusteringModel(*captioned_autoencoders(64, 32, 1590, 96, width=8, word_dim=16), 96, 8, True)
    inputs = {"image": torch.rand(2, 3, 64, 64), "caption": torch.randint(1590, (2, 32))}
    output = model(inputs)
    assert {m: z.shape for m, z in output.embeddings.items()} == dict.fromkeys(model.modalities, (2, 96))
    assert output.reconstructions["image"].shape == (2, 3, 64, 64)
    assert output.reconstructions["caption"].shape == (2, 32, 1590)
    assert output.logits["image"].shape == (2, 8)
    assert 0 <= output.reconstructions["image"].min() <= output.reconstructions["image"].max() <= 1
    with pytest.raises(ValueError, match="size=12: the networks halve it down to 4"):
        captioned_autoencoders(24, 32, 10, 4)


def test_an_embedding_depends_on_no_other_sample_in_training_either():
    data, model = birds(), small_model().train()
    inputs = data.train.batch(torch.arange(20))["inputs"]
    alone = model.encode({m: x[:1] for m, x in inputs.items()})
    for m, z in model.encode(inputs).items():
        torch.testing.assert_close(z[:1], alone[m])
        assert z.std(dim=0).max() > 1e-3


def test_together_the_cluster_is_the_one_that_the_product_of_both_favors():
    torch.manual_seed(0)
    head = Prototypes(("image", "caption"), 6, 5).eval()
    for norm in head.norms.values():
        norm.running_mean.normal_()
    z = {m: torch.randn(100, 6) for m in ("image", "caption")}
    logits = head.unimodal_logits(z)
    product = logits["image"].softmax(dim=1) * logits["caption"].softmax(dim=1)
    assert torch.equal(head(z).argmax(dim=1), product.argmax(dim=1))
    u = {m: F.normalize(head.norms[m](x), dim=1) for m, x in z.items()}
    directions = F.normalize(head.directions, dim=1)
    torch.testing.assert_close(head(z), (u["image"] + u["caption"]) / 2 @ directions.T / 0.1)
    assert (logits["image"].argmax(1) != logits["caption"].argmax(1)).float().mean() > 0.5
    assert logits["image"].abs().max() <= 10 + 1e-4, "cosines over a temperature of 0.1"
    torch.testing.assert_close(head({"image": z["image"]}), logits["image"])


def test_collapsed_embeddings_score_as_one_cluster():
    data, model = birds(), small_model().eval()
    z = torch.ones(48, 6)
    task, paradigm = TASKS["clustering"](), Swav(model)
    measured = task.measure(paradigm, data.test, Encoded({"image": z, "caption": -z}, data.test.labels))
    for view in VIEWS:
        assert measured[f"cluster_accuracy/{view}"] == pytest.approx(1 / 3)
        assert measured[f"nmi/{view}"] == pytest.approx(0) and measured[f"ari/{view}"] == pytest.approx(0)
        assert measured[f"clusters_used/{view}"] == 1
    assert measured["mutual_information/both"] == pytest.approx(0, abs=1e-9)


def test_measuring_moves_nothing_and_does_not_depend_on_the_mode_or_on_other_samples():
    data, model = birds(), small_model()
    paradigm, task = Swav(model), TASKS["clustering"]()
    for _ in range(5):
        model.train()(
            data.train.batch(torch.arange(24))["inputs"]
        )  # running means that differ from a batch's
    encoded = encode(model, data.test)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    measured = task.measure(paradigm, data.test, encoded)
    assert model.training
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert measured == task.measure(Swav(model.eval()), data.test, encoded) and not model.training
    clusters = model.fusion(encoded.embeddings).argmax(dim=1)
    assert measured["cluster_accuracy/joint"] == cluster_accuracy(encoded.labels, clusters)


# the task in the loop ---------------------------------------------------------------------------------------


def test_no_label_takes_part_in_training_or_in_the_choice_of_the_epoch():
    data, weights = birds(), []
    generator = torch.Generator().manual_seed(1)
    parts = {
        name: replace(split, labels=split.labels[torch.randperm(48, generator=generator)])
        for name in ("train", "validation", "test")
        for split in [getattr(data, name)]
    }
    records = []
    for given in (data, replace(data, **parts)):
        model = small_model()
        records.append(fit(CONFIG, data=given, model=model, progress=False))
        weights.append(torch.cat([p.flatten() for p in model.state_dict().values()]))
    first, second = records
    assert torch.equal(*weights) and first.selected_epoch == second.selected_epoch
    unlabeled = [k for k in first.series if "/loss/" in k or "mutual" in k or "effective_rank" in k]
    assert len(unlabeled) >= 6 and all(first.series[k] == second.series[k] for k in unlabeled)
    name = "validation/cluster_accuracy/joint"
    assert first.series[name] != second.series[name]


def test_a_record_has_the_three_scores_of_every_view_under_the_names_of_the_report():
    import pandas as pd

    record = fit(replace(CONFIG, regularizer=GeometryRegularizer()), data=birds(), progress=False)
    for split in ("train", "validation", "test"):
        names = {
            f"{split}/{q}/{v}" for q in ("cluster_accuracy", "nmi", "ari", "clusters_used") for v in VIEWS
        }
        assert names <= set(record.metrics)
    assert {f"test/k_means_{q}/{v}" for q in ("cluster_accuracy", "nmi", "ari") for v in VIEWS} <= set(
        record.metrics
    )
    assert {"test/knn_probe/image", "test/effective_rank/image", "test/paired_drift/image-caption"} <= set(
        record.metrics
    )
    series = record.series["validation/mutual_information/both"]
    assert record.selected_epoch == 1 + series.index(max(series)) and len(series) == 3
    assert all(len(name.split("/")) == 3 for name in [*record.metrics, *(set(record.series) - {"epoch"})])
    own = {"paradigm": "swav", "arm": "baseline", "unlike": "", **record.metrics}
    rows = [{**own, "seed": seed} for seed in range(3)]
    table = report.compared(pd.DataFrame(rows), "table_2", "CUBICC").set_index(
        ["method", "quantity", "modality"]
    )
    for view in paper.TABLE_2["DCMEM"]:
        for quantity, metric in {"ACC": "cluster_accuracy", "NMI": "nmi", "ARI": "ari"}.items():
            row = table.loc[("DCMEM", quantity, view)]
            assert row["ours"] == pytest.approx(100 * record.metrics[f"test/{metric}/{view}"])
            assert row["status"] == report.NOT_PUBLIC


@pytest.mark.parametrize("depth", ["embedding", "logits"])
def test_a_resumed_run_gives_the_record_of_one_that_was_not_stopped(tmp_path, depth):
    config = replace(CONFIG, depth=depth, regularizer=GeometryRegularizer(anchoring_weight=2.0, radius=0.1))
    with pytest.raises(Stopped):
        fit(config, data=birds(), progress=False, checkpoint=tmp_path / "c.pt", stop=lambda: True)
    resumed = fit(config, data=birds(), progress=False, checkpoint=tmp_path / "c.pt")
    assert resumed == fit(config, data=birds(), progress=False)


def test_the_terms_move_the_geometry_where_they_should():
    def metrics(**weights):
        regularizer = GeometryRegularizer(**weights) if weights else None
        config = replace(CONFIG, epochs=12, learning_rate=1e-2, regularizer=regularizer)
        return fit(config, data=birds(), progress=False).metrics

    plain = metrics()
    spread = metrics(dispersion_weight=3.0, anchoring_weight=0.0)
    drawn = metrics(dispersion_weight=0.0, anchoring_weight=10.0, radius=0.0)
    for m in ("image", "caption"):
        assert spread[f"test/mean_cosine/{m}"] < plain[f"test/mean_cosine/{m}"] - 0.03
    drift = "test/paired_drift/image-caption"
    assert drawn[drift] < plain[drift] - 0.1


def test_pairs_without_captions_are_sorted_by_the_encoders_of_a_classifier():
    config = replace(CONFIG, encoder_options={}, embedding_dim=16, epochs=20)
    record = fit(config, data=clouds(), progress=False)
    assert {name for name in record.series if "/loss/" in name} == {"train/loss/swapped"}
    assert record.metrics["test/cluster_accuracy/joint"] > 0.8, "three clouds, chance about 0.4"
    plain = fit(replace(config, fusion="plain_prototypes"), data=clouds(), progress=False)
    assert plain.metrics["test/cluster_accuracy/joint"] != record.metrics["test/cluster_accuracy/joint"]
    with pytest.raises(ValueError, match="two modalities"):
        fit(config, data=clouds(3), progress=False)


def test_a_model_that_the_task_does_not_have_is_named():
    for changes, said in [
        ({"fusion": "concat"}, "fusion='concat', modalities .*clustering needs encoder 'auto'"),
        ({"encoder": "resnet18"}, "encoder='resnet18', "),
        ({"depth": "hidden", "regularizer": GeometryRegularizer()}, "depth='hidden': the model's"),
    ]:
        with pytest.raises(ValueError, match=said):
            fit(replace(CONFIG, **changes), data=birds(), progress=False)
    model = TASKS["clustering"]().build(replace(CONFIG, encoder_options={"clusters": 5, "width": 4}), birds())
    assert model.fusion.num_classes == 5


# recipe -----------------------------------------------------------------------------------------------------


def test_what_a_run_changes_is_told():
    config = RECIPES["cubicc"].config
    told = deviations(config)
    for changed, said in [
        (replace(config, learning_rate=1e-4), "learning_rate is 0.0001; in the reference it is 0.001"),
        (replace(config, encoder_options={"clusters": 20}), "'clusters': 20"),
        (recipe("cubicc", regularizer=GeometryRegularizer(0.25)), "dispersion_weight=0.25"),
    ]:
        (line,) = set(deviations(changed)) - set(told)
        assert said in line


def test_the_command_learns_on_stand_ins_far_above_chance(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "data"))
    command = ["cubicc", "--source", "stand_in", "--seeds", "0", "--arms", "baseline", "--device", "cpu"]
    assert benchmarks.main([*command, "--epochs", "10", "--out", str(tmp_path)]) == 0
    out, _ = capfd.readouterr()
    assert "neither code nor recipe is public" in out and "numbers mean nothing" in out
    (path,) = tmp_path.glob("cubicc-*/swav/seed0/baseline.json")
    record = Record.load(path)
    labels = load("cubicc", source="stand_in").test.labels
    chance = chance_accuracy(labels, 8)
    for view in VIEWS:
        assert record.metrics[f"test/cluster_accuracy/{view}"] > 1.4 * chance
        assert record.metrics[f"test/ari/{view}"] > 0.1
    assert record.metrics["test/mutual_information/both"] > 0.15
    assert benchmarks.load_embeddings(path.parents[2], "swav", "baseline").labels.tolist() == labels.tolist()
    clusters = benchmarks.load_fused(path.parents[2], "swav", "baseline").argmax(dim=1)
    found = cluster_accuracy(labels, clusters)
    assert found == pytest.approx(record.metrics["test/cluster_accuracy/joint"], abs=1e-5)


def chance_accuracy(labels, clusters: int) -> float:
    """Mean accuracy of clusters drawn at random, each named to its advantage."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(clusters, labels.shape, generator=generator) for _ in range(50)]
    return sum(cluster_accuracy(labels, x) for x in drawn) / 50
