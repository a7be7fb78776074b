"""Every recipe of `notebooks/recipes.md` runs as it stands, and its regularizer acts as it should.

The known answer: at rate r, a step with the regularizer moves the weights further than the same step at
strength 0, by -r times the gradient of its total.
"""

import ast
import functools
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from recipe_page import RECIPES, SECTIONS, pair_and_batches, run, weights
from test_distributed import torchrun
from test_project import CORE, IMPORTED_AS, PROJECT, ROOT, promised, third_party
from torch import nn

import geomreg_mini
from geomreg_mini import GeometryRegularizer

RATE = 0.1


@dataclass
class Case:
    """What a recipe calls yours, the model it trains, and embeddings of each batch of a step."""

    names: dict[str, object]
    model: nn.Module
    embeddings: Callable[[], list[tuple[torch.Tensor, torch.Tensor]]]
    first_gradient: torch.Tensor | None = None

    def total(self) -> torch.Tensor:
        reg = GeometryRegularizer(balance="pareto", strength=0.2, radius=0.25)
        return torch.stack([reg(*pair).total for pair in self.embeddings()]).mean()

    def gradient(self) -> torch.Tensor:
        parts = torch.autograd.grad(self.total(), list(self.model.parameters()), materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])


def plain(steps: int, **_) -> Case:
    model, batches = pair_and_batches(1)
    audio, image, _ = batches[0]
    names = {"model": model, "loader": batches * steps}
    return Case(names, model, lambda: [model(audio, image)[:2]])


def lightning(steps: int, monkeypatch, **_) -> Case:
    """The gradients of two batches are added up before a step."""
    import lightning

    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    silent = functools.partial(lightning.Trainer, accelerator="cpu", accumulate_grad_batches=2, **quiet)
    monkeypatch.setattr(lightning, "Trainer", silent)
    model, batches = pair_and_batches(2)

    class Unregularized(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.audio, self.image = model, model.audio, model.image

        def training_step(self, batch):
            return nn.functional.cross_entropy(self.model(*batch[:2])[2], batch[2])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=RATE)

    loader = torch.utils.data.DataLoader(batches * steps, batch_size=None)
    names = {"model": model, "module": Unregularized(), "loader": loader}
    return Case(names, model, lambda: [model(*batch[:2])[:2] for batch in batches])


class Labeled(nn.Module):
    """A model of the Trainer that divides its loss itself if it is told by how many labels."""

    def __init__(self):
        super().__init__()
        self.pair = pair_and_batches(0)[0]

    def forward(self, audio, image, labels, num_items_in_batch=None, **_):
        za, zv, logits = self.pair(audio, image)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum") / (
            num_items_in_batch or len(labels)
        )
        return {"loss": loss, "image_embeds": zv, "text_embeds": za}


def with_labels(steps: int, tmp_path, **_) -> Case:
    audio, image, label = pair_and_batches(1)[1][0]
    return of_transformers(Labeled(), {"audio": audio, "image": image, "labels": label}, {}, steps, tmp_path)


def clip_of_transformers(steps: int, tmp_path, **_) -> Case:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    layers = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    text = {"vocab_size": 20, "max_position_embeddings": 4, "bos_token_id": 0, "eos_token_id": 19}
    vision = {"image_size": 8, "patch_size": 4}
    config = CLIPConfig(text_config=layers | text, vision_config=layers | vision, projection_dim=6)
    words, pixels = torch.randint(1, 19, (16, 4)), torch.randn(16, 3, 8, 8).double()
    words[:, -1] = 19
    data = {"input_ids": words, "pixel_values": pixels}
    return of_transformers(CLIPModel(config).double(), data, {"return_loss": True}, steps, tmp_path)


def of_transformers(model: nn.Module, data: dict, more: dict, steps: int, folder: os.PathLike) -> Case:
    """A case in which the gradients of two batches are added up before a step."""
    from transformers import TrainingArguments

    class Stream(torch.utils.data.IterableDataset):  # in order, unlike a list
        def __iter__(self):
            for _ in range(steps):
                yield from ({name: x[i] for name, x in data.items()} for i in range(16))

    arguments = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=8, gradient_accumulation_steps=2,
        optim="sgd", learning_rate=RATE, lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True,
        remove_unused_columns=False, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip

    def embeddings():
        outputs = [model(**{name: x[part] for name, x in data.items()}) for part in (slice(8), slice(8, 16))]
        return [(output["image_embeds"], output["text_embeds"]) for output in outputs]

    def collate(samples):
        return torch.utils.data.default_collate(samples) | more

    names = {"model": model, "arguments": arguments, "dataset": Stream(), "collate": collate}
    return Case(names, model, embeddings)


def open_clip(steps: int, **_) -> Case:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=8, head_width=4, patch_size=4, image_size=8)
    text = CLIPTextCfg(context_length=4, vocab_size=20, width=8, heads=2, layers=1)
    model = CLIP(6, vision, text, output_dict=True).double()
    batch = torch.randn(16, 3, 8, 8).double(), torch.randint(1, 20, (16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)

    def embeddings():
        output = model(*batch)
        return [(output["image_features"], output["text_features"])]

    return Case({"model": model, "loader": [batch] * steps, "optimizer": optimizer}, model, embeddings)


def lightly(steps: int, **_) -> Case:
    from lightly.models.modules import SimCLRProjectionHead

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), SimCLRProjectionHead(8, 8, 4)).double()
    views = [torch.randn(16, 3, 2, 2).double() for _ in range(2)]
    loader = [(views, torch.zeros(16), ["name"] * 16)] * steps
    return Case({"model": model, "loader": loader}, model, lambda: [tuple(map(model, views))])


# Heading -> the model and data of a test, and the packages without which it is skipped.
CASES = {
    "Plain PyTorch": (plain, ()),
    "Lightning: in the module": (lightning, ("lightning",)),
    "Lightning: as a callback": (lightning, ("lightning",)),
    "Hugging Face Trainer": (clip_of_transformers, ("transformers", "accelerate")),
    "Hugging Face Trainer, with labels": (with_labels, ("transformers", "accelerate")),
    "open_clip": (open_clip, ("open_clip",)),
    "lightly": (lightly, ("lightly",)),
}
CLASSIFIERS = (plain, lightning, with_labels)
PROCESSES = ["Several processes: DDP", "Several processes: FSDP"]
SCHEDULE = "A strength that depends on the step"


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """A function that trains by a recipe, at its own strength or a changed one."""

    def train(heading: str, steps: int, **changed: float) -> Case:
        build, packages = CASES.get(heading, (plain, ()))
        for name in packages:  # a broken package fails, unlike a missing one
            if importlib.util.find_spec(name) is None:
                pytest.skip(f"{name} is not installed; run: pip install --group recipes")
        with monkeypatch.context() as patch:
            patch.setattr(geomreg_mini, "GeometryRegularizer", lambda **k: GeometryRegularizer(**k | changed))
            patch.chdir(tmp_path)
            case = build(steps=steps, monkeypatch=patch, tmp_path=tmp_path)
            case.first_gradient = case.gradient()
            run(heading.partition(",")[0], case.names)
        return case

    return train


@pytest.mark.parametrize("heading", CASES)
def test_the_regularizer_of_a_recipe_adds_its_gradient_to_the_first_step(heading, trained):
    on, off = trained(heading, 1), trained(heading, 1, strength=0.0)
    assert on.first_gradient.abs().max() > 1e-3
    moved = weights(on.model) - weights(off.model)
    torch.testing.assert_close(moved, -RATE * on.first_gradient, rtol=1e-5, atol=1e-8)


# Contrastive losses spread embeddings themselves and pull harder than the band.
@pytest.mark.parametrize("heading", [name for name, (build, _) in CASES.items() if build in CLASSIFIERS])
def test_the_total_of_a_recipe_falls_in_training_and_further_than_without_it(heading, trained):
    early, late, without = trained(heading, 1), trained(heading, 20), trained(heading, 20, strength=0.0)
    assert late.total() < early.total() - 1e-3 and late.total() < without.total() - 1e-3


def test_a_schedule_multiplies_the_regularizer_by_its_factor_of_the_step(trained):
    first, second = ([trained(SCHEDULE, steps, strength=s) for s in (0.2, 0.0)] for steps in (1, 2))
    assert torch.equal(weights(first[0].model), weights(first[1].model)), "the first factor is 0"
    moved = weights(second[0].model) - weights(second[1].model)
    torch.testing.assert_close(moved, -RATE / 500 * first[0].gradient(), rtol=1e-5, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("heading", PROCESSES)
def test_two_processes_train_the_weights_of_one_that_sees_both_parts(heading, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    torchrun(ROOT / "tests" / "recipe_page.py", heading, tmp_path / "weights.pt")
    model, batches = pair_and_batches(3)
    run("Plain PyTorch", {"model": model, "loader": batches})
    torch.testing.assert_close(torch.load(tmp_path / "weights.pt"), weights(model), rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_the_plain_recipe_and_the_library_run_with_what_pip_install_brings():
    """All other packages that are installed here cannot be imported."""
    core, lines = {PROJECT["name"]}, PROJECT["dependencies"]
    while lines:
        required = map(Requirement, lines)
        new = {
            canonicalize_name(r.name) for r in required if not r.marker or r.marker.evaluate({"extra": ""})
        } - core
        core |= new
        lines = [line for name in new for line in importlib.metadata.requires(name) or ()]
    owned = {True: set(), False: set()}  # by core or not; packages_distributions misses some in Python 3.10
    for package in importlib.metadata.distributions():
        names = {file.parts[0].removesuffix(".py") for file in package.files or ()}
        owned[canonicalize_name(package.name) in core] |= set(filter(str.isidentifier, names))
    others = owned[False] - owned[True]
    assert {"pandas", "sklearn", "matplotlib"} <= {*others}
    program = "import runpy, sys; sys.modules |= dict.fromkeys(sys.argv[1:]); "
    program += "runpy.run_path('tests/without_extras.py', run_name='__main__')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(
        [sys.executable, "-c", program, *others], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "all of it works" in done.stdout


# The page


def test_every_recipe_has_one_block_of_less_than_fifteen_lines_and_is_run_here():
    assert {*RECIPES} == {heading.partition(",")[0] for heading in CASES} | {*PROCESSES, SCHEDULE}
    lines = {name: [len(re.findall(r"\S.*", code)) for code in codes] for name, codes in RECIPES.items()}
    assert all(len(counts) == 1 and counts[0] < 15 for counts in lines.values()), lines


@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_names_the_packages_that_it_imports_and_the_group_brings_them(heading):
    (code,), text = RECIPES[heading], dict(zip(RECIPES, SECTIONS, strict=True))[heading]
    said = re.search(r"Packages: (.+?)\.\n", text)
    named = {IMPORTED_AS.get(name, name) for name in re.findall(r"`(\S+)`", said[1])} if said else set()
    assert third_party(ast.parse(code)) - CORE <= named <= promised("recipes")
    assert named == {*CASES.get(heading, (None, ()))[1]}
