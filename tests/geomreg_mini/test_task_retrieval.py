"""The retrieval task: parts that are exactly the whole, OpenAI's weights, its loss, records and recipes."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from small_data import clouds, pictures
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from data_scripts.fetch import DataError
from data_scripts.stand_ins.captioned import COLORS, FORMS, GROUNDS, SENTENCES
from experiments import benchmarks
from experiments.recipes import RECIPES, deviations, recipe
from geomreg_mini import GeometryRegularizer
from geomreg_mini.benchmarks import captioned, retrieval
from geomreg_mini.benchmarks.retrieval import Contrastive, MicroBatched, build_clip
from geomreg_mini.benchmarks.retrieval_metrics import fold_recalls, recalls
from geomreg_mini.data import load
from geomreg_mini.models import encode
from geomreg_mini.records import Record
from geomreg_mini.training import Stopped, TrainConfig, fit

open_clip = pytest.importorskip("open_clip")
CONFIG = TrainConfig(
    dataset="flickr30k",
    task="retrieval",
    paradigm="contrastive",
    encoder="tiny",
    embedding_dim=8,
    epochs=2,
    batch_size=20,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="cosine",
)


def step(geometry=True, **options):
    """Gradients by name and losses of one step on 21 samples, in double precision."""
    data = pictures(21)
    torch.manual_seed(0)
    model = build_clip("tiny", 16, 8, **options).double()
    batch = data.train.batch(torch.arange(21))
    batch["inputs"] = data.train.prepare(batch["inputs"])
    batch["inputs"]["image"] = batch["inputs"]["image"].double()
    regularizer = GeometryRegularizer(dispersion_weight=0.5, anchoring_weight=2.0, radius=0.1)
    losses = Contrastive(model).step(
        batch, (lambda z: regularizer(z).total) if geometry else None, torch.Tensor.backward
    )
    # inside a MicroBatched the same parameters have a longer name
    return {n.replace(".encoder.", "."): p.grad for n, p in model.named_parameters()}, losses


# a batch in parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batch", [None, 1, 4, 8, 50])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_batch_in_parts_has_the_gradients_and_losses_of_the_whole(micro_batch, checkpointing):
    options = {"micro_batch": micro_batch, "checkpointing": checkpointing}
    whole, losses = step()
    parts, losses_of_parts = step(**options)
    assert whole.keys() == parts.keys() and len(whole) > 40
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-9, atol=1e-10)
        assert name == "logit_scale" or gradient.abs().max() > 1e-4, name
    for name, value in losses.items():
        torch.testing.assert_close(losses_of_parts[name], value, rtol=1e-10, atol=0)
    assert set(losses) == {"contrastive", "geometry"}
    without, _ = step(geometry=False, **options)
    assert any((without[name] - whole[name]).abs().max() > 1e-3 for name in whole)


class Watched(nn.Module):
    """Notes at each forward pass how many of its earlier activations are still alive."""

    def __init__(self):
        super().__init__()
        self.layer, self.activations, self.alive, self.sizes = nn.Linear(3, 2), [], [], []

    def forward(self, x):
        self.alive.append(sum(not activation.expired() for activation in self.activations))
        self.sizes.append(len(x))
        hidden = self.layer(x).exp()  # whose derivative needs it
        self.activations.append(StorageWeakRef(hidden.untyped_storage()))
        return hidden.sin()


def test_activations_of_one_part_at_a_time_are_kept():
    encoder = MicroBatched(watched := Watched(), 4)
    z = encoder(torch.randn(18, 3))
    assert watched.sizes == [4, 4, 4, 4, 2]
    z.square().sum().backward()
    assert sorted(watched.sizes) == sorted([4, 4, 4, 4, 2] * 2)
    assert watched.alive == [0] * 10
    plain = Watched()
    kept = [plain(part) for part in torch.randn(18, 3).split(4)]
    assert len(kept) == 5 and plain.alive == [0, 1, 2, 3, 4], "the test would see more"


def test_in_evaluation_every_part_is_embedded_once():
    encoder = MicroBatched(watched := Watched(), 4)
    with torch.no_grad():
        x = torch.randn(6, 3)
        torch.testing.assert_close(encoder(x), watched(x))
    assert watched.sizes == [4, 2, 6]


@pytest.mark.parametrize("micro_batch", [0, -2, 1.5, True, "4"])
def test_a_part_has_a_whole_number_of_samples(micro_batch):
    with pytest.raises(ValueError, match="micro_batch=.*give a whole number"):
        build_clip("tiny", 16, 8, micro_batch=micro_batch)


# the model --------------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch):
    """A small architecture of open_clip's own in the place of a large one, with two tags."""
    monkeypatch.setitem(retrieval.MODELS, "ViT-S-32-alt", (256, 224))
    tags = {"openai": {"quick_gelu": True}, "laion2b": {"quick_gelu": False}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-S-32-alt", tags)
    return "ViT-S-32-alt"


class QuickGELU(nn.Module):
    """Under the name that OpenAI's archives have for it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Tower(nn.Module):
    """The parameters of a network under their names, and the module that tells its GELU."""

    def __init__(self, state, gelu=True):
        super().__init__()
        for name, value in state.items():
            owner, (*path, last) = self, name.split(".")
            for part in path:
                if part not in dict(owner.named_children()):
                    owner.add_module(part, nn.Module())
                owner = getattr(owner, part)
            owner.register_parameter(last, nn.Parameter(value.detach().clone()))
        self.gelu = QuickGELU() if gelu else nn.GELU()
        self.register_buffer("input_resolution", torch.tensor(224))
        self.register_buffer("context_length", torch.tensor(77))
        self.register_buffer("vocab_size", torch.tensor(49408))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gelu(x)


def small_clip(quick):
    torch.manual_seed(0)
    original = open_clip.create_model("ViT-S-32-alt", force_quick_gelu=quick).eval()
    original.text_projection.data.normal_(std=0.1)
    return original


def torch_script(state, path, gelu=True):
    torch.jit.save(torch.jit.trace(Tower(state, gelu).eval(), torch.zeros(2)), path)


def state_dict(state, path):
    torch.save(state, path)


def laion(state, path):
    """As open_clip's training saves it, from several GPUs."""
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": wrapped, "optimizer": optimizer}, path)


def older_file(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def pickled(state, path):
    torch.save(Tower(state), path)


@pytest.mark.parametrize(
    ("save", "tag"),
    [(save, "openai") for save in (torch_script, state_dict, older_file, pickled)]
    + [(save, "laion2b") for save in (laion, state_dict)],
)
def test_weights_from_a_file_give_open_clips_own_embeddings(published, tmp_path, save, tag):
    original = small_clip(quick=tag == "openai")
    path = tmp_path / "weights.pt"
    save(original.state_dict(), path)
    model = build_clip(published, 224, 256, pretrained=tag, weights=str(path)).eval()
    texts = ["a cat", "two dogs on a green lawn"]
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        z = model.encode({"image": images, "caption": captioned.tokens(texts)})
        torch.testing.assert_close(z["image"], original.encode_image(images), rtol=1e-4, atol=1e-4)
        wanted = original.encode_text(open_clip.tokenize(texts))
    assert wanted.std() > 0.3
    torch.testing.assert_close(z["caption"], wanted, rtol=1e-4, atol=1e-4)
    assert model.logit_scale == original.logit_scale
    again = model.untrained().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_a_file_of_another_network_is_refused_by_name(published, tmp_path):
    state, path = small_clip(quick=True).state_dict(), tmp_path / "weights.pt"

    def refused(said, tag="openai"):
        with pytest.raises((ValueError, DataError), match=said):
            build_clip(published, 224, 256, pretrained=tag, weights=str(path))

    torch_script(state, path)
    refused("has QuickGELU, and 'laion2b' has the exact GELU; give the file's own tag", "laion2b")
    torch_script(state, path, gelu=False)
    refused("has the exact GELU, and 'openai' has QuickGELU")
    state_dict(state | {"input_resolution": torch.tensor(224)}, path)  # of OpenAI's archive
    refused("has QuickGELU, and 'laion2b' has the exact GELU", "laion2b")
    other = tmp_path / "vit_s_32-laion2b-e32.pt"
    laion(state, other)
    with pytest.raises(ValueError, match="has laion2b, and 'openai' has QuickGELU; give the file's own tag"):
        build_clip(published, 224, 256, pretrained="openai", weights=str(other))
    state_dict(state, path)
    refused("pretrained=None is not a tag of ViT-S-32-alt: choose one of openai, laion2b", None)
    refused("pretrained='mine' is not a tag of ViT-S-32-alt", "mine")
    large = {**state, "visual.conv1.weight": torch.zeros(768, 3, 16, 16)}
    state_dict(large, path)
    refused(
        r"weight of shape \(768, 3, 16, 16\) instead of \(384, 3, 32, 32\); give the file of this network"
    )
    state_dict({name: value for name, value in state.items() if "ln_final" not in name}, path)
    refused("does not fit ViT-S-32-alt: it lacks text.ln_final.weight, lacks text.ln_final.bias; give")
    state_dict({"fc.weight": torch.zeros(2, 2)}, path)
    refused("it lacks logit_scale, .* more differences; give the file of this network")
    path.write_bytes(b"<html>not found</html>")
    refused("is a text, such as a host's error page")
    path.unlink()
    refused("There is no file of weights .*; correct the path")


@pytest.mark.parametrize(("tag", "gelu"), [("openai", "QuickGELU"), ("laion2b", "the exact GELU")])
def test_a_plain_state_dict_is_read_with_a_warning_unless_its_name_has_the_tag(
    published, tmp_path, tag, gelu
):
    """Its tensors are those of either GELU, so nothing can tell whether the tag is right."""
    state = small_clip(quick=True).state_dict()
    state_dict(state, tmp_path / "weights.pt")
    with pytest.warns(
        UserWarning, match=f"shows no GELU and gets {gelu}, which is wrong if .* not of '{tag}'"
    ):
        build_clip(published, 224, 256, pretrained=tag, weights=str(tmp_path / "weights.pt"))
    state_dict(state, tmp_path / f"vit-{tag}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_clip(published, 224, 256, pretrained=tag, weights=str(tmp_path / f"vit-{tag}.pt"))


def test_the_papers_backbones_have_the_stated_widths_and_sizes_and_openais_weights():
    assert set(retrieval.MODELS) == {"ViT-B-16", "ViT-L-14", "ViT-L-14-336"}
    for name, (width, size) in retrieval.MODELS.items():
        known = open_clip.get_model_config(name)
        assert (known["embed_dim"], known["vision_cfg"]["image_size"]) == (width, size)
        weights = open_clip.get_pretrained_cfg(name, "openai")
        assert weights["quick_gelu"] and weights["url"].startswith("https://openaipublic.azureedge.net/clip/")


def test_weights_that_cannot_be_had_and_a_model_that_does_not_fit_are_named(published, monkeypatch, caplog):
    def unreachable(*arguments, **options):
        raise OSError("no connection")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", unreachable)
    for arguments, options, said in [
        (
            ("ViT-B-16", 224, 512),
            {"pretrained": "openai"},
            "'openai': the weights of ViT-B-16 cannot be loaded",
        ),
        (
            (published, 224, 256),
            {"pretrained": "none.pt"},
            "'none.pt' is not a tag of .*: choose one of open",
        ),
        (("ViT-L-14-336", 224, 768), {}, "takes images of 336 pixels, not 224: set image_size=336"),
        (("ViT-B-16", 224, 128), {}, "embedding_dim=128: ViT-B-16 gives 512"),
        (("auto", 224, 512), {}, "encoder='auto' is unknown: choose one of tiny, ViT-B-16"),
        (("tiny", 16, 8), {"pretrained": "openai"}, "'tiny' has none; omit both"),
        (("tiny", 16, 8), {"weights": "w.pt"}, "weights='w.pt': 'tiny' has none; omit both"),
    ]:
        with pytest.raises(ValueError, match=said):
            build_clip(*arguments, **options)


def test_the_model_before_training_can_be_had_again():
    torch.manual_seed(5)
    model = build_clip("tiny", 16, 8, micro_batch=3)
    before = {n: p.clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.data.add_(1)
    state = torch.get_rng_state()
    again = dict(model.untrained().named_parameters())
    assert again.keys() == before.keys() and all(torch.equal(p, again[n]) for n, p in before.items())
    assert torch.equal(torch.get_rng_state(), state)


def test_no_two_words_of_the_stand_ins_share_a_row_of_the_tiny_clip():
    texts = [" ".join([*COLORS, *FORMS, *GROUNDS]), *SENTENCES, "Nothing else."]
    numbers = captioned.tokens([text.replace("{}", "") for text in texts]).unique()
    assert len(numbers) > 40 and len((numbers % retrieval.TINY_TEXT["vocab_size"]).unique()) == len(numbers)


# the loss ---------------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_cross_entropy_of_both_directions():
    model = build_clip("tiny", 16, 8)
    z = {m: torch.randn(6, 8) for m in ("image", "caption")}
    found = Contrastive(model).losses(retrieval.Embedded(z), None)["contrastive"].item()
    wanted = 0.0
    for a, b in (("image", "caption"), ("caption", "image")):
        for i in range(6):
            cosines = [F.cosine_similarity(z[a][i], z[b][j], dim=0) for j in range(6)]
            terms = [math.exp(model.logit_scale.exp().item() * c.item()) for c in cosines]
            wanted -= math.log(terms[i] / sum(terms)) / 12
    assert found == pytest.approx(wanted, rel=1e-4)
    collapsed = {m: torch.ones(6, 8) for m in z}
    loss = Contrastive(model).losses(retrieval.Embedded(collapsed), None)["contrastive"]
    assert loss.item() == pytest.approx(math.log(6), rel=1e-5)


def test_in_mixed_precision_the_loss_is_computed_in_single_precision():
    z = {m: torch.randn(6, 8).bfloat16() for m in ("image", "caption")}
    paradigm = Contrastive(build_clip("tiny", 16, 8))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = paradigm.losses(retrieval.Embedded(z), None)["contrastive"]
    plain = paradigm.losses(retrieval.Embedded({m: x.float() for m, x in z.items()}), None)["contrastive"]
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)


def test_the_scale_stays_at_100_and_can_leave_it_again():
    data = pictures(8)
    model = build_clip("tiny", 16, 8)
    model.logit_scale.data.fill_(9.0)
    batch = data.train.batch(torch.arange(8))
    batch["inputs"] = data.train.prepare(batch["inputs"])
    list(Contrastive(model).updates(batch, None, torch.Tensor.backward))
    assert model.logit_scale.exp().item() == pytest.approx(100, rel=1e-5)
    model.zero_grad()
    list(Contrastive(model).updates(batch, None, torch.Tensor.backward))
    assert model.logit_scale.grad.abs() > 0


# the task in the loop ---------------------------------------------------------------------------------------


def test_a_record_has_recall_of_every_caption_on_every_split_and_before_training():
    data = pictures(40, captions=3, folds=5)
    kept = {}
    record = fit(CONFIG, data=data, progress=False, on_epoch=lambda e, m: kept.update({e: scores(m, data)}))
    names = {f"{q}/{d}" for d in ("image-caption", "caption-image") for q in ("R@1", "R@5", "R@10")}
    for split in ("train", "validation", "test"):
        assert {f"{split}/{name}" for name in names} <= set(record.metrics)
    assert {f"test/{p}{n}" for p in ("fold_", "zero_shot_", "zero_shot_fold_") for n in names} <= set(
        record.metrics
    )
    assert not [name for name in record.metrics if name.startswith(("train/fold", "validation/fold"))]
    for prefix, values in (("zero_shot_", kept[0]), ("", kept[record.selected_epoch])):
        for name, value in values.items():
            assert record.metrics[f"test/{prefix}{name}"] == pytest.approx(value, abs=1e-5)
    assert {"test/modality_gap/image-caption", "test/zero_shot_modality_gap/image-caption"} <= set(
        record.metrics
    )
    series = record.series["validation/mean_recall/both"]
    assert record.selected_epoch == 1 + series.index(max(series)) and len(series) == 2


def scores(model, data):
    """Recall on the test split, apart from the task."""
    images = encode(model, data.test).embeddings["image"]
    every = data.test.all_captions()
    captions = encode(model, every, modalities=("caption",)).embeddings["caption"]
    owner = every.factors["image"]
    return recalls(images, captions, owner) | fold_recalls(images, captions, owner, 5)


def test_a_large_training_split_is_measured_on_a_fixed_sample(monkeypatch):
    monkeypatch.setattr(retrieval, "LARGEST_SPLIT", 10)
    data = pictures(40)
    config = replace(CONFIG, epochs=1)
    record = fit(config, data=data, progress=False)
    assert record.metrics["train/R@10/image-caption"] == 1.0, "all of ten"
    assert record == fit(config, data=data, progress=False)


def test_the_papers_protocol_scores_the_test_images_that_fill_batches():
    config = replace(CONFIG, epochs=1, batch_size=16, paper_protocol=True)
    record = fit(config, data=pictures(40, captions=2), progress=False)
    assert record.split_sizes["test_selected"] == 32
    wanted = set(record.metrics) & {f"test_selected/R@{k}/image-caption" for k in (1, 5, 10)}
    assert len(wanted) == 3


@pytest.mark.parametrize("micro_batch", [None, 7])
def test_a_resumed_run_gives_the_record_of_one_that_was_not_stopped(tmp_path, micro_batch):
    config = replace(CONFIG, encoder_options={"micro_batch": micro_batch}, regularizer=GeometryRegularizer())
    data = pictures(40, captions=2)
    with pytest.raises(Stopped):
        fit(config, data=data, progress=False, checkpoint=tmp_path / "c.pt", stop=lambda: True)
    resumed = fit(config, data=data, progress=False, checkpoint=tmp_path / "c.pt")
    assert resumed == fit(config, data=data, progress=False)


@pytest.mark.parametrize("depth", ["logits", "hidden"])
def test_another_depth_than_the_projected_embedding_is_refused(depth):
    config = replace(CONFIG, depth=depth, regularizer=GeometryRegularizer())
    with pytest.raises(ValueError, match=f"depth='{depth}'.*use"):
        fit(config, data=pictures(24), progress=False)


def test_pairs_of_vectors_are_found_by_the_encoders_of_a_classifier():
    config = replace(CONFIG, dataset="toy", encoder="auto", embedding_dim=16, learning_rate=1e-2, epochs=10)
    data, kept = load("toy", nuisance=0.1, num_classes=2), {}

    def keep(epoch, model):
        z = [F.normalize(of.double(), dim=1) for of in encode(model, data.test).embeddings.values()]
        ranks = (z[0] @ z[1].T).argsort(dim=1, descending=True) == torch.arange(1000)[:, None]
        kept[epoch] = {k: ranks[:, :k].any(dim=1).double().mean().item() for k in (1, 5, 10)}

    record = fit(config, data=data, progress=False, on_epoch=keep)
    for prefix, epoch in [("zero_shot_", 0), ("", record.selected_epoch)]:
        for k, share in kept[epoch].items():
            assert record.metrics[f"test/{prefix}R@{k}/a-b"] == pytest.approx(share)
            assert 0 <= record.metrics[f"test/{prefix}R@{k}/b-a"] <= 1
    assert record.metrics["test/R@10/a-b"] > 0.1, "chance is 0.01"
    assert record.metrics["test/zero_shot_R@10/a-b"] < 0.05
    assert "test/modality_gap/a-b" in record.metrics
    with pytest.raises(ValueError, match="retrieval takes two"):
        fit(config, data=clouds(3), progress=False)


# recipes ----------------------------------------------------------------------------------------------------


def test_what_a_run_changes_is_told():
    config = RECIPES["coco"].config
    plain = set(deviations(config))
    for changed, said in [
        (replace(config, learning_rate=1e-4), "learning_rate is 0.0001; in the reference it is 1e-05"),
        (replace(config, encoder_options={}), "starts from other weights than OpenAI's"),
        (recipe("coco", regularizer=GeometryRegularizer(0.25)), "dispersion_weight=0.25"),
    ]:
        (line,) = set(deviations(changed)) - plain
        assert said in line
    stand_in = recipe("coco", dataset_options={"source": "stand_in"}, epochs=3)
    assert (stand_in.encoder, stand_in.epochs, stand_in.encoder_options) == ("tiny", 3, {})
    assert any("'tiny', from random weights" in line for line in deviations(stand_in))


def test_the_command_learns_on_stand_ins_far_above_chance(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GEOMREG_DATA", str(tmp_path / "data"))
    command = ["coco", "--source", "stand_in", "--seeds", "0", "--arms", "baseline", "--device", "cpu"]
    assert benchmarks.main([*command, "--out", str(tmp_path)]) == 0
    out, _ = capfd.readouterr()
    assert "recipe for retrieval is not public" in out and "numbers mean nothing" in out
    (path,) = tmp_path.glob("coco-*/contrastive/seed0/baseline.json")
    metrics = Record.load(path).metrics
    for direction in ("image-caption", "caption-image"):
        for k in (1, 5):  # of 100 images
            chance = k / 100
            assert metrics[f"test/R@{k}/{direction}"] > 5 * chance
            assert metrics[f"test/R@{k}/{direction}"] > 3 * metrics[f"test/zero_shot_R@{k}/{direction}"]
            assert metrics[f"test/fold_R@{k}/{direction}"] > metrics[f"test/R@{k}/{direction}"]
