"""One step of a paradigm on a small double-precision model, for tests that look at its gradients."""

import torch
from small_data import clouds

from geomreg_mini import GeometryRegularizer
from geomreg_mini.models import build_model
from geomreg_mini.paradigms import PARADIGMS

D = 5


def setup(paradigm="joint", fusion="concat", modalities=2, seed=0, heads=None, epoch=1, **options):
    """The paradigm at the start of ``epoch`` of 10, and a batch of 24 samples."""
    data = clouds(modalities)
    for split in (data.train, data.validation, data.test):
        split.inputs.update({m: x.double() for m, x in split.inputs.items()})
    torch.manual_seed(seed)
    heads = PARADIGMS[paradigm].needs_heads if heads is None else heads
    model = build_model(data, fusion=fusion, embedding_dim=D, heads=heads).double()
    paradigm = PARADIGMS[paradigm](model, **options)
    paradigm.start_epoch(epoch, 10, data)
    return paradigm, data.train.batch(torch.arange(24))


def gradients(module) -> dict:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def stepped(paradigm, batch, geometry=None, backward=torch.Tensor.backward):
    """Gradients {"encoders", "fusion", "heads"} and losses of one batch, summed over its updates."""
    totals, losses = {}, {}
    for update in paradigm.updates(batch, geometry, backward):
        losses.update(update)
        for p in paradigm.model.parameters():
            if p.grad is not None:
                totals[p] = totals[p] + p.grad if p in totals else p.grad
                p.grad = None
    for p, total in totals.items():
        p.grad = total
    return {
        part: gradients(getattr(paradigm.model, part)) for part in ("encoders", "fusion", "heads")
    }, losses


def geometry_loss(embeddings):
    return GeometryRegularizer(radius=0.1)(embeddings).total
