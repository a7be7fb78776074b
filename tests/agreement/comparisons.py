"""Ours against the authors' code: each function takes a checkout and returns relative differences.

Both sides get the same weights, batches and random numbers, in float64. ``Differences`` are those of the
loss, or of another value that the table names, and of the gradient; None if there is none.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from unittest.mock import MagicMock, patch

import torch
import torch.distributed as dist
from checkouts import Checkout, Recorder, difference, unchanged, without_init
from torch import Tensor, nn
from torch.nn import functional as F

from geomreg_mini.benchmarks.clustering import swapped_prediction
from geomreg_mini.benchmarks.retrieval import Contrastive
from geomreg_mini.controls import (
    AlignUniform,
    AlwaysOnAlignment,
    BarlowTwins,
    KoLeo,
    SIGReg,
    SymmetricInfoNCE,
    VICReg,
)
from geomreg_mini.models import FUSIONS, Embedded, MultimodalClassifier
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.paradigms.g_blending import blend
from geomreg_mini.paradigms.mla import MLA
from geomreg_mini.paradigms.relearn import purity

WIDTH, CLASSES, BATCH, STEPS = 512, 6, 12, 3  # 512 and 6 are fixed in the released code
MODALITIES = ("audio", "visual")

# The beginning of a parameter's name with us -> with them
ENCODERS = {f"encoders.{m}.0": f"{m}_net" for m in MODALITIES}
CONCAT = ENCODERS | {"fusion.linear": "fusion_module.fc_out"}
SUM = ENCODERS | {"fusion.linears.audio": "fusion_module.fc_x", "fusion.linears.visual": "fusion_module.fc_y"}
HEADS = ENCODERS | {"fusion.linear": "head", "heads.audio": "head_audio", "heads.visual": "head_video"}

Differences = tuple[float | None, float | None]


# One small model on both sides


class Backbone(nn.Module):
    """Two convolutions in place of a ResNet-18; maps of 512 channels from (B, C, H, W).

    With ``plain`` it has neither bias nor normalization. The released code casts inputs to float32, which
    changes nothing here, because ours are float32 numbers; from here on all is float64.
    """

    def __init__(self, channels: int, plain: bool = False) -> None:
        super().__init__()
        first, last = (nn.Conv2d(*sizes, bias=False) for sizes in ((channels, 4, 3), (4, WIDTH, 1)))
        self.layers = nn.Sequential(first, nn.Identity() if plain else nn.BatchNorm2d(4), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.double())


def backbone(modality: str, args: object = None, plain: bool = False) -> Backbone:
    """Return what ``resnet18`` of the released code is replaced by."""
    return Backbone({"audio": 1, "visual": 3}[modality], plain)


class Wrapped(nn.Module):
    """A model inside another one, whose parameters are called "module...." as under DataParallel."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: object) -> object:
        return self.module(*inputs)


def our_model(fusion: str = "concat", heads: bool = False, plain: bool = False) -> MultimodalClassifier:
    encoders = {
        m: nn.Sequential(backbone(m, plain=plain), nn.AdaptiveAvgPool2d(1), nn.Flatten()) for m in MODALITIES
    }
    return MultimodalClassifier(encoders, FUSIONS[fusion](MODALITIES, WIDTH, CLASSES), heads)


def their_name(name: str, names: Mapping[str, str]) -> str | None:
    found = [theirs + name.removeprefix(ours) for ours, theirs in names.items() if name.startswith(ours)]
    return found[0] if found else None


def give_weights(ours: nn.Module, theirs: nn.Module, names: Mapping[str, str]) -> None:
    """Copy our parameters to the foreign model."""
    state = theirs.state_dict()
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if (other := their_name(name, names)) is not None:
                state[other].copy_(p)


def batches() -> list[dict]:
    """Return a few batches of noise, as a paradigm takes them, with every class in each."""
    return [
        {
            "inputs": {
                "audio": torch.randn(BATCH, 1, 5, 5, dtype=torch.float32).double(),
                "visual": torch.randn(BATCH, 3, 5, 5, dtype=torch.float32).double(),
            },
            "label": torch.arange(BATCH)[torch.randperm(BATCH)] % CLASSES,
        }
        for _ in range(STEPS)
    ]


def loader(data: list[dict], channel: bool = False, before: tuple = (), after: tuple = ()) -> list[tuple]:
    """Return the batches as the released loops take them; ``channel`` keeps that of a spectrogram."""
    return [
        (*before, x["inputs"]["audio"] if channel else x["inputs"]["audio"][:, 0], x["inputs"]["visual"],
         x["label"], *after)
        for x in data
    ]  # fmt: skip


def train(paradigm: object, data: list[dict], recorder: Recorder) -> float:
    """Train by our paradigm and return the mean of the summed losses per batch."""
    total = 0.0
    for batch in data:
        for losses in paradigm.updates(batch, None, Tensor.backward):
            total += sum(loss.item() for loss in losses.values())
            recorder.step()
            recorder.zero_grad()
    return total / len(data)


def compare(
    loss: float, theirs: float, ours: Recorder, recorder: Recorder, names: Mapping[str, str], inside: str = ""
) -> Differences:
    """Return the relative difference of the mean loss, and the largest one of a parameter's gradients."""
    assert len(ours.seen) == len(recorder.seen) > 0
    worst = 0.0
    for name in ours.named:
        other = their_name(name, names)
        if other is None:
            continue
        mine = [step[name] for step in ours.seen if name in step]
        foreign = [step[inside + other] for step in recorder.seen if inside + other in step]
        assert len(mine) == len(foreign), f"{name} has {len(mine)} gradients, {other} {len(foreign)}"
        worst = max(worst, difference(mine, foreign)) if mine else worst
    return abs(loss - theirs) / abs(theirs), worst


def settings(**more: object) -> SimpleNamespace:
    """Return command line options of the released scripts."""
    common = {"dataset": "CREMAD", "modality": "full", "n_classes": CLASSES, "embed_dim": WIDTH, "alpha": 0.8,
              "modulation_starts": 0, "modulation_ends": 50, "use_tensorboard": False, "epochs": 100,
              "optimizer": "SGD"}  # fmt: skip
    return SimpleNamespace(**common | more)


# Paradigms


def sums(code: Checkout, name: str) -> Differences:
    script = {"joint": "one_joint_loss", "uniform_sum": "uniform_baseline", "mmpareto": "MMPareto"}[name]
    solver = code.define("code/min_norm_solvers.py", "MinNormSolver")
    step = code.define(f"code/{script}.py", "train_epoch", MinNormSolver=solver.MinNormSolver).train_epoch
    args, data, ours = settings(), batches(), our_model(heads=True)
    if name == "mmpareto":  # a fused head that wants the opposite makes every gradient a conflict
        with torch.no_grad():
            ours.fusion.linear.weight.copy_(-torch.cat([h.weight for h in ours.heads.values()], 1))
    theirs = code.define("code/models/models.py", "AVClassifier", resnet18=backbone).AVClassifier(args)
    give_weights(ours, theirs, HEADS)
    mine, foreign = Recorder(ours), Recorder(wrapped := Wrapped(theirs))
    loss = step(args, 0, wrapped, "cpu", loader(data, channel=True), foreign, MagicMock())
    names = HEADS if name != "joint" else ENCODERS | {"fusion.linear": "head"}
    return compare(train(PARADIGMS[name](ours), data, mine), loss, mine, foreign, names, "module.")


def unimodal(code: Checkout) -> Differences:
    path = "model/CREMAD_net.py"
    layer = code.define(path, "ClassifyLayer")
    kinds = vars(code.define(path, "AClassify", "VClassify", resnet18=backbone, **vars(layer)))
    data, ours = batches(), our_model(heads=True)
    start, mine = copy.deepcopy(ours), Recorder(ours)
    loss, their_loss, gradient = train(PARADIGMS["unimodal"](ours), data, mine), 0.0, 0.0
    for m, kind in zip(MODALITIES, kinds.values(), strict=True):
        args = settings(modality=m.capitalize(), fusion_type="late_fusion", EPOCHS=1)
        names = {f"encoders.{m}.0": f"{m}_net", f"heads.{m}": "cls.fc"}
        give_weights(start, theirs := kind(args), names)
        foreign = Recorder(theirs)
        their_loss += train_as_agm(code, theirs, data, foreign, args)
        gradient = max(gradient, compare(0.0, 1.0, mine, foreign, names)[1])
    return abs(loss - their_loss) / their_loss, gradient


def train_as_agm(
    code: Checkout, model: nn.Module, data: list[dict], recorder: Recorder, args: SimpleNamespace
) -> float:
    """Train by AGM's loop and return the mean of the losses that it logs."""
    step, writer = code.define("run/CREMAD_main.py", "train").train, MagicMock()
    step(model, loader(data, before=(None,)), recorder, MagicMock(), MagicMock(), args, 1, "cpu", writer,
         0.0, 0.0, 1.0, 1.0)  # fmt: skip
    found = [call.args[1].item() for call in writer.add_scalar.call_args_list if call.args[0] == "loss/step"]
    return sum(found) / len(found)


def modulation(
    code: Checkout, fusion: str = "concat", ge: bool = False, epsilon: float = 1e-8
) -> Differences:
    kinds = code.define("models/fusion_modules.py", "SumFusion", "ConcatFusion")
    model = code.define(
        "models/basic_model.py", "AVClassifier", resnet18=backbone, **vars(kinds)
    ).AVClassifier
    step = code.define("main.py", "train_epoch", replaced={1e-8: epsilon}).train_epoch
    args = settings(fusion_method=fusion, modulation="OGM_GE" if ge else "OGM")
    data, ours, names = batches(), our_model(fusion), CONCAT if fusion == "concat" else SUM
    give_weights(ours, theirs := model(args), names)
    mine, foreign = Recorder(ours), Recorder(wrapped := Wrapped(theirs))
    torch.manual_seed(1)
    loss, *_ = step(args, 0, wrapped, "cpu", loader(data), foreign, MagicMock())
    torch.manual_seed(1)
    ours_loss = train(PARADIGMS["ogm_ge" if ge else "ogm"](ours), data, mine)
    return compare(ours_loss, loss, mine, foreign, names, "module.")


def dgl(code: Checkout, fusion: str) -> Differences:
    kinds = code.define("models/fusion_modules.py", "ConcatFusion_DGL", "SumFusion_DGL")
    model = code.define("models/basic_model.py", "AVClassifier_DGL", resnet18=backbone, **vars(kinds))
    step = code.define("main_dgl.py", "train_epoch").train_epoch
    args = settings(fusion_method=fusion, alpha=4.0)
    data, ours, names = batches(), our_model(fusion), CONCAT if fusion == "concat" else SUM
    give_weights(ours, theirs := model.AVClassifier_DGL(args), names)
    mine, foreign = Recorder(ours, 0.01), Recorder(wrapped := Wrapped(theirs), 0.01)
    fused, audio, visual, *_ = step(args, 0, wrapped, "cpu", loader(data), foreign, MagicMock())
    loss = train(PARADIGMS["dgl"](ours), data, mine)
    return compare(loss, fused + args.alpha * (audio + visual), mine, foreign, names, "module.")


def agm(code: Checkout, plain: bool) -> Differences:
    path, names = "model/CREMAD_net.py", ("Modality_Visual", "Modality_Audio", "Modality_out", "ConcatFusion")
    parts = code.define(path, *names)
    parts.AVClassifier = code.define(
        path, "AVClassifier", resnet18=partial(backbone, plain=plain), ConcatFusion=parts.ConcatFusion
    ).AVClassifier
    args = settings(alpha=1.0, mode="train", fusion="concat", fusion_type="late_fusion", methods="AGM",
                    modality="Multimodal", use_mgpu=False, modulation_ends=20, EPOCHS=1)  # fmt: skip
    theirs = code.define(path, "GradMod", **vars(parts)).GradMod(args)
    data, ours = batches(), our_model(plain=plain)
    inside = {mine: f"net.{other}" for mine, other in CONCAT.items()}
    give_weights(ours, theirs, inside)
    mine, foreign = Recorder(ours), Recorder(theirs)
    loss = train_as_agm(code, theirs, data, foreign, args)
    return compare(train(PARADIGMS["agm"](ours), data, mine), loss, mine, foreign, inside)


def pmr_parts(code: Checkout) -> tuple:
    """Return their functions, options and model, and our paradigm with the same weights."""
    kinds = code.define("models/fusion_modules.py", "ConcatFusion")
    model = code.define(
        "models/basic_model.py", "AVClassifier", resnet18=backbone, **vars(kinds)
    ).AVClassifier
    distance = code.define("main_Prototype_grad.py", "EU_dist")
    theirs = code.define("main_Prototype_grad.py", "train_epoch", "calculate_prototype", **vars(distance))
    args = settings(fusion_method="concat", modulation="Proto", alpha=1.0, momentum_coef=0.2)
    give_weights(ours := our_model(), model := model(args), CONCAT)
    return theirs, args, model, PARADIGMS["pmr"](ours)


def embedded(model: MultimodalClassifier, data: list[dict]) -> tuple[dict[str, Tensor], Tensor]:
    """Return embeddings in evaluation mode, and labels."""
    model.eval()
    with torch.no_grad():
        z = [model.encode(batch["inputs"]) for batch in data]
    model.train()
    return {m: torch.cat([x[m] for x in z]) for m in MODALITIES}, torch.cat([b["label"] for b in data])


def pmr(code: Checkout) -> Differences:
    theirs, args, model, paradigm = pmr_parts(code)
    data = batches()
    # They take the first tenth of the batches: ten times as many make it all of ours.
    prototypes = theirs.calculate_prototype(args, model, 10 * loader(data), "cpu", 0)
    paradigm.renew(*embedded(paradigm.model, data))
    mine, foreign = Recorder(paradigm.model), Recorder(model)
    loss, *_ = theirs.train_epoch(args, 0, model, "cpu", loader(data), foreign, MagicMock(), *prototypes)
    return compare(train(paradigm, data, mine), loss, mine, foreign, CONCAT)


def renewal(code: Checkout, epoch: int) -> Differences:
    theirs, args, model, paradigm = pmr_parts(code)
    first, second = batches(), batches()
    old = theirs.calculate_prototype(args, model, 10 * loader(first), "cpu", 0)
    new = theirs.calculate_prototype(args, model, 10 * loader(second), "cpu", epoch, *old)
    for data in (first, second):
        paradigm.renew(*embedded(paradigm.model, data))
    return difference(paradigm.prototypes.values(), new), None


def mla(code: Checkout, project: bool = False, steps: int = STEPS) -> Differences:
    kinds = code.define("models/fusion_modules.py", "ConcatFusion")
    model = code.define(
        "models/basic_model.py", "AVClassifier", resnet18=backbone, **vars(kinds)
    ).AVClassifier
    args = settings(
        fusion_method="concat", modulation="Normal", gs_flag=True, lorb="base", clip=False, modal3=False
    )
    data, ours = batches()[:steps], our_model("shared")
    give_weights(ours, theirs := model(args), CONCAT)
    mine, foreign = Recorder(ours), Recorder(wrapped := Wrapped(theirs))
    step, plugin = code.define("main.py", "train_epoch").train_epoch, projection(code)
    _, audio, visual = step(
        args, 0, wrapped, "cpu", loader(data, after=(None,)), foreign, MagicMock(), plugin, gs_flag=True
    )
    paradigm = MLA(ours, project=project)
    paradigm.size = BATCH * steps
    return compare(train(paradigm, data, mine), audio + visual, mine, foreign, CONCAT, "module.")


def projection(code: Checkout) -> object:
    """Return their plugin; its constructor asks for a GPU."""
    return without_init(code.define("utils/utils.py", "GSPlugin").GSPlugin, Pl=torch.eye(WIDTH), exp_count=0)


def projected(code: Checkout, axes: bool) -> Differences:
    plugin, paradigm = projection(code), MLA(our_model("shared"))
    head = paradigm.model.fusion.linear
    paradigm.size, mine, foreign = 4 * BATCH, [], []
    for count, axis in enumerate((0, 1, 0, 2)):
        features = torch.rand(BATCH, WIDTH)
        features = features * F.one_hot(torch.tensor(axis), WIDTH) if axes else features
        gradient = torch.randn_like(head.weight)
        head.weight.grad = gradient.clone()
        paradigm.seen = count * BATCH
        paradigm.project(features.mean(0))
        mine.append(head.weight.grad)
        head.weight.grad = gradient.clone()
        plugin.before_update(Wrapped(head), features, count, 4, count)
        foreign.append(head.weight.grad)
    return None, difference(mine, foreign)


def prediction(code: Checkout) -> Differences:
    entropy = code.define("main.py", "calculate_entropy")
    weigh = code.define("main.py", "calculate_gating_weights", **vars(entropy)).calculate_gating_weights
    paradigm = MLA(our_model("shared"))
    z = {m: torch.randn(BATCH, WIDTH) for m in MODALITIES}
    logits = paradigm.model.unimodal_logits(z).values()
    theirs = sum(w * o for w, o in zip(weigh(*logits), logits, strict=True))
    return difference([paradigm.fused_logits(z)], [theirs]), None


def joint_step(code: Checkout) -> Differences:
    # Their forward returns a name of its own unpacking; the two heads beside it take no part.
    model = code.define("code/models/models.py", "AVClassifier", resnet18=backbone).AVClassifier(settings())
    step = code.define("code/ours.py", "train_epoch").train_epoch
    data, ours, names = batches(), our_model(), ENCODERS | {"fusion.linear": "head"}
    give_weights(ours, model, names)
    mine, foreign = Recorder(ours), Recorder(wrapped := Wrapped(model))
    loss = step(settings(), 0, wrapped, "cpu", loader(data, channel=True), foreign)
    return compare(
        train(PARADIGMS["diagnose_relearn"](ours), data, mine), loss, mine, foreign, names, "module."
    )


def relearned(code: Checkout, starts: int) -> Differences:
    from sklearn import preprocessing
    from sklearn.cluster import KMeans
    from sklearn.metrics import accuracy_score

    score = code.define("code/ours.py", "purity_score", accuracy_score=accuracy_score)
    theirs = code.define("code/ours.py", "reinit_score", "reinit", preprocessing=preprocessing,
                         KMeans=partial(KMeans, n_init=starts), **vars(score))  # fmt: skip
    label = torch.arange(120) % CLASSES
    centers = 3 * torch.randn(CLASSES, 4)
    seen = {m: centers[label] + torch.randn(120, 4) for m in MODALITIES}
    unseen = {m: centers[label] + 2 * torch.randn(120, 4) for m in MODALITIES}
    paradigm = PARADIGMS["diagnose_relearn"](ours := our_model())
    model = code.define("code/models/models.py", "AVClassifier", resnet18=backbone).AVClassifier(settings())
    give_weights(ours, model, ENCODERS)
    start = {name: p.clone() for name, p in model.state_dict().items()}
    with torch.no_grad():
        for p in ours.encoders.parameters():
            p.add_(torch.randn_like(p))
    give_weights(ours, model, ENCODERS)
    args = settings(move_lambda=3)
    weights = theirs.reinit_score(args, *seen.values(), label, *unseen.values(), label)
    with patch.object(torch.Tensor, "cuda", unchanged):
        theirs.reinit(args, model, start, *weights)
    paradigm.relearn({m: abs(purity(seen[m], label) - purity(unseen[m], label)) for m in MODALITIES})
    named = dict(model.named_parameters())
    pairs = [(p, named[other]) for n, p in ours.named_parameters() if (other := their_name(n, ENCODERS))]
    return difference(*zip(*pairs, strict=True)), None


class Heads(nn.Module):
    """Our model in the form that BalanceBenchmark's trainer takes."""

    device, modalitys = "cpu", MODALITIES

    def __init__(self, model: MultimodalClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict) -> None:
        output = self.model(batch["inputs"])
        self.unimodal_result = {**output.unimodal_logits, "output": output.logits}


def trainer(code: Checkout) -> object:
    kind = code.define(
        "balancemm/trainer/GBlending_trainer.py", "GBlendingTrainer", BaseTrainer=object
    ).GBlendingTrainer
    return without_init(kind, super_epoch=2, progbar_wrapper=unchanged, current_epoch=0)


def blended_step(code: Checkout) -> Differences:
    data, ours, theirs = batches(), our_model(heads=True), our_model(heads=True)
    theirs.load_state_dict(ours.state_dict())
    paradigm = PARADIGMS["g_blending"](ours)
    paradigm.weights = {"fused": 0.5, "audio": 0.2, "visual": 0.3}
    mine, foreign, total = Recorder(ours), Recorder(theirs), 0.0
    weights = {m: paradigm.weights[m] for m in MODALITIES} | {"output": 0.5}
    for batch in data:
        total += trainer(code).training_step(Heads(theirs), batch, 0, weights).item() / len(data)
        foreign.step()
        foreign.zero_grad()
    same = {name: name for name in ("encoders", "fusion", "heads")}
    return compare(train(paradigm, data, mine), total, mine, foreign, same)


class Scripted(nn.Module):
    """A classifier of two classes whose cross-entropy for class 0 is what ``losses`` says, call by call."""

    device, modalitys = "cpu", MODALITIES

    def __init__(self, losses: Iterator[float]) -> None:
        super().__init__()
        self.losses, self.shift = losses, nn.Parameter(torch.zeros(()))

    def forward(self, batch: dict, padding: list[str]) -> None:
        logit = math.log(math.expm1(next(self.losses)))
        self.unimodal_result = {"output": self.shift + torch.tensor([[0.0, logit]])}


def blending_weights(code: Checkout, visual: float) -> Differences:
    # modality -> losses on training and validation samples, before and after
    losses = {
        "audio": (1.1, 1.2, 0.6, 0.9),
        "visual": (0.9, 1.0, 0.5, visual),
        "output": (1.0, 1.1, 0.4, 0.7),
    }
    # A real super-epoch trains a copy of the model between these numbers; here they are given.
    scripted = Scripted(itertools.chain(*losses.values()))
    batch = [{"label": torch.zeros(1, dtype=torch.long)}]
    theirs = trainer(code).super_epoch_origin(
        scripted, scripted, 1, batch, batch, MagicMock(), MagicMock(), MagicMock()
    )
    ours = blend({m: x[:2] for m, x in losses.items()}, {m: x[2:] for m, x in losses.items()})
    return difference(*(torch.tensor([w[m] for m in losses])[None] for w in (ours, theirs))), None


def swav(code: Checkout) -> Differences:
    args = SimpleNamespace(epsilon=0.025, temperature=0.1, sinkhorn_iterations=3, world_size=1, rank=1,
                           nmb_crops=[2], crops_for_assign=[0, 1], use_fp16=False,
                           freeze_prototypes_niters=0)  # fmt: skip
    sinkhorn = code.define("main_swav.py", "distributed_sinkhorn", args=args)
    meter = code.define("src/utils.py", "AverageMeter")
    step = code.define("main_swav.py", "train", args=args, time=MagicMock(), **vars(sinkhorn), **vars(meter))

    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prototypes = nn.Linear(8, 5, bias=False)

        def forward(self, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
            return torch.cat(inputs), self.prototypes(torch.cat(inputs))

    views = [F.normalize(torch.randn(16, 8), dim=1) for _ in MODALITIES]
    model = Wrapped(Prototypes())
    foreign = Recorder(model)
    weight = F.normalize(model.module.prototypes.weight.detach(), dim=1).requires_grad_()
    (_, loss), _ = step.train([views], model, foreign, 0, [0.1], None)
    mine = swapped_prediction(*(z @ weight.T / args.temperature for z in views))
    gradient = torch.autograd.grad(mine, weight)
    return abs(mine.item() - loss) / loss, difference(gradient, foreign.seen[0].values())


# Controls and contrastive learning: value, and gradient by the embeddings


def objectives(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *more: Tensor) -> Differences:
    """Compare functions of two modalities' embeddings, and of ``more``."""
    sides = []
    inputs = [torch.randn(16, 8), torch.randn(16, 8), *more]
    for function in (theirs, ours):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = function(*leaves)
        sides.append((value.item(), torch.autograd.grad(value, leaves)))
    (their_value, their_gradient), (value, gradient) = sides
    return abs(value - their_value) / abs(their_value), difference(gradient, their_gradient)


def total(control: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: control({"a": a, "b": b}).total


def unit(function: Callable[..., Tensor], scale: float = 1.0) -> Callable[..., Tensor]:
    """Return a function of the embeddings' directions."""
    return lambda a, b, *more: function(*(scale * F.normalize(z, dim=1) for z in (a, b)), *more)


def vicreg(code: Checkout, sphere: bool) -> Differences:
    parts = code.define("main_vicreg.py", "FullGatherLayer", "off_diagonal")
    kind = code.define("main_vicreg.py", "VICReg", **vars(parts)).VICReg
    args = SimpleNamespace(batch_size=16, sim_coeff=25.0, std_coeff=25.0, cov_coeff=1.0)
    theirs = without_init(kind, args=args, num_features=8, backbone=nn.Identity(), projector=nn.Identity())
    return objectives(total(VICReg(1.0, on_sphere=sphere)), unit(theirs, 8**0.5) if sphere else theirs)


def barlow(code: Checkout) -> Differences:
    parts = code.define("main.py", "off_diagonal")
    kind = code.define("main.py", "BarlowTwins", **vars(parts)).BarlowTwins
    theirs = without_init(
        kind, args=SimpleNamespace(batch_size=16, lambd=0.0051), backbone=nn.Identity(),
        projector=nn.Identity(), bn=nn.BatchNorm1d(8, affine=False),
    )  # fmt: skip
    return objectives(total(BarlowTwins(1.0)), theirs)


def align_uniform(code: Checkout) -> Differences:
    loss = code.define("align_uniform/__init__.py", "align_loss", "uniform_loss")

    def theirs(a: Tensor, b: Tensor) -> Tensor:
        return loss.align_loss(a, b) + (loss.uniform_loss(a) + loss.uniform_loss(b)) / 2

    return objectives(total(AlignUniform(1.0)), unit(theirs))


def alignment(code: Checkout) -> Differences:
    theirs = code.define("align_uniform/__init__.py", "align_loss").align_loss
    return objectives(total(AlwaysOnAlignment(1.0)), unit(theirs))


def clip_loss(code: Checkout) -> nn.Module:
    return code.define("src/open_clip/loss.py", "ClipLoss").ClipLoss()


def clip(code: Checkout) -> Differences:
    theirs = partial(clip_loss(code), logit_scale=1 / 0.07)
    return objectives(total(SymmetricInfoNCE(1.0)), unit(theirs))


def learned_scale(code: Checkout) -> Differences:
    loss = clip_loss(code)

    def ours(a: Tensor, b: Tensor, logarithm: Tensor) -> Tensor:
        model = SimpleNamespace(modalities=("a", "b"), logit_scale=logarithm)
        return Contrastive(model).losses(Embedded({"a": a, "b": b}), torch.zeros(len(a)))["contrastive"]

    theirs = unit(lambda a, b, logarithm: loss(a, b, logarithm.exp()))
    return objectives(ours, theirs, torch.tensor(2.0))


def koleo(code: Checkout, epsilon: float = 1e-8) -> Differences:
    theirs = code.define("dinov2/loss/koleo_loss.py", "KoLeoLoss").KoLeoLoss()
    theirs.pdist.eps = epsilon
    return objectives(total(KoLeo(1.0)), lambda a, b: (theirs(a) + theirs(b)) / 2)


def sigreg(code: Checkout, exact: bool = False) -> Differences:
    base = code.define("lejepa/univariate/base.py", "UnivariateTest", "is_dist_avail_and_initialized")
    test = (
        code.define("lejepa/univariate/epps_pulley.py", "EppsPulley", all_reduce=unchanged, **vars(base))
        .EppsPulley()
        .double()
    )
    if exact:
        test.phi = (-test.t.square() / 2).exp()
        test.weights = test.phi * torch.tensor([1.0, *[2.0] * 15, 1.0]) * 3 / 16
    slices = code.define("lejepa/multivariate/slicing.py", "SlicingUnivariateTest", all_reduce=unchanged)
    sliced = partial(slices.SlicingUnivariateTest, test, num_slices=256)

    def theirs(a: Tensor, b: Tensor) -> Tensor:
        return 0.05 * sliced()(torch.stack([a, b]))  # a new one draws its first directions, from seed 0

    def ours(a: Tensor, b: Tensor) -> Tensor:
        torch.manual_seed(0)
        return SIGReg(1.0, invariance=0.0)({"a": a, "b": b}).total

    return objectives(ours, theirs)


@contextmanager
def conditions() -> Iterator[None]:
    """Compute in float64 from seed 0, as the only process of a group, which the released losses ask for."""
    earlier = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        dist.destroy_process_group()
        torch.set_default_dtype(earlier)
