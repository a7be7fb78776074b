"""Trains a few tiny configs, for processes that torchrun starts or one alone, and runs a tiny benchmark.

torchrun --nproc-per-node 2 tests/distributed_steps.py FOLDER
"""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import torch
from small_data import birds, clouds, pictures, radio

from experiments import benchmarks
from experiments.recipes import RECIPES, Recipe
from geomreg_mini import GeometryRegularizer, distributed
from geomreg_mini.benchmarks import TASKS
from geomreg_mini.paradigms import PARADIGMS
from geomreg_mini.training import TrainConfig, fit

# One step at rate 1 moves the weights by the gradient; 45 of 48 samples do not divide among two processes.
ONE_STEP = TrainConfig(
    dataset="toy",
    regularizer=GeometryRegularizer(dispersion_weight=0.3, anchoring_weight=2.0, radius=0.1),
    fusion="shared",
    embedding_dim=6,
    epochs=1,
    batch_size=45,
    learning_rate=1.0,
    momentum=0.0,
    weight_decay=0.0,
    schedule="constant",
)
CONFIGS = {
    **{f"step/{name}": replace(ONE_STEP, paradigm=name) for name in PARADIGMS},
    **{
        f"run/{name}": replace(
            ONE_STEP, paradigm=name, epochs=2, batch_size=16, learning_rate=0.05, momentum=0.9, clip_norm=1.0
        )
        for name in ("dgl", "g_blending", "ogm_ge", "pmr", "agm", "mla")  # most of them remember something
    },
    "step/pareto": replace(ONE_STEP, combination="task_pareto"),
    **{
        f"step/balanced at {at}": replace(
            ONE_STEP, regularizer=GeometryRegularizer(balance="pareto", strength=2.0, radius=0.1, at=at)
        )
        for at in ("embeddings", "parameters")
    },
    "step/hidden": replace(ONE_STEP, depth="hidden"),
    "step/logits": replace(ONE_STEP, depth="logits"),
}
CLUSTERING = replace(
    ONE_STEP,
    task="clustering",
    paradigm="swav",
    fusion="prototypes",
    encoder_options={"width": 4, "word_dim": 4},
)
CONFIGS["step/swav"] = CLUSTERING
CONFIGS["run/swav"] = replace(CLUSTERING, epochs=2, batch_size=16, learning_rate=0.05, momentum=0.9)
# at a lower rate, as single precision rounds its millions of gradients by more than the tests allow
RETRIEVAL = replace(ONE_STEP, task="retrieval", paradigm="contrastive", encoder="tiny", learning_rate=0.2)
if importlib.util.find_spec("open_clip"):
    CONFIGS["step/contrastive"] = RETRIEVAL
    in_parts = {"micro_batch": 8, "checkpointing": True}
    CONFIGS["step/contrastive in parts"] = replace(RETRIEVAL, encoder_options=in_parts)


CONFIGS["step/subsets"] = replace(
    ONE_STEP,
    task="subsets",
    paradigm="modality_dropout",
    encoder="resnet18",
    encoder_options={"width": 4, "depth": 1, "attention_heads": 2, "tokens": 3},
    fusion="transformer",
    learning_rate=0.1,
)
DATA = {
    "classification": clouds,
    "clustering": birds,
    "retrieval": lambda: pictures(48),
    "subsets": lambda: radio(48),
}


def train() -> dict:
    """name -> {"moved": change of all weights, "losses": by name and epoch, "device"}."""
    results = {}
    for name, config in CONFIGS.items():
        data = DATA[config.task]()
        torch.manual_seed(distributed.rank())  # process 0's weights have to win
        model = TASKS[config.task]().build(config, data)
        # On CPUs the statistics of batch normalization are each process's own, so there is none here.
        for module in list(model.modules()):
            for child, part in module.named_children():
                if isinstance(part, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                    setattr(module, child, torch.nn.Identity())
        before = [p.detach().clone() for p in model.parameters()]
        if distributed.world_size() > 1:
            for p in before:
                torch.distributed.broadcast(p, 0)
        last = {}

        def keep(epoch, model, last=last):
            last["weights"] = [p.detach().clone() for p in model.parameters()]

        record = fit(config, data=data, model=model, device="cpu", progress=False, on_epoch=keep)
        moved = torch.cat([(b - a).flatten() for a, b in zip(before, last["weights"], strict=True)])
        losses = {k: v for k, v in record.series.items() if "/loss/" in k}
        results[name] = {"moved": moved, "losses": losses, "device": record.device}
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.start()
    results = train()
    others = [None] * distributed.world_size()
    torch.distributed.all_gather_object(others, [r["moved"] for r in results.values()])
    same = all(torch.equal(a, b) for a, b in zip(others[0], others[-1], strict=True))
    own = []
    torch.manual_seed(0)
    for step in range(2):
        own.append(distributed.gather(torch.rand(1, generator=distributed.own_generator(step))))
    own = torch.cat(own)
    common = distributed.gather(torch.rand(1))
    if distributed.rank() == 0:
        torch.save(
            {"results": results, "processes_agree": same, "own": own, "common": common},
            Path(sys.argv[1], "results.pt"),
        )
    twice = replace(ONE_STEP, fusion="concat", paper_protocol=True, epochs=2)
    RECIPES["toy"] = Recipe(twice, lambda config: [], ("joint",), {})
    benchmark = ["toy", "--seeds", "0", "--paradigms", "joint", "--device", "cpu"]
    sys.exit(benchmarks.main([*benchmark, "--out", sys.argv[1]]))
