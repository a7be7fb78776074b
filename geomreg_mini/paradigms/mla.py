"""MLA: one modality at a time through one shared head, whose updates avoid features seen before."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import MultimodalDataset
from ..inputs import full_precision
from ..models import MultimodalClassifier
from .base import Backward, Batch, Geometry, Losses, Paradigm


class MLA(Paradigm):
    """Multimodal learning with alternating unimodal adaptation (CVPR 2024, arXiv 2311.10707).

    A batch gives one update per modality: the cross-entropy of W z_m + b trains encoder m and the shared
    head. To keep the head from unlearning the others, its gradient is projected, grad W <- grad W P^T, away
    from the features r seen so far (r: mean of z_m over the batch), by recursive least squares from P = I:

        P <- P - P r r^T P / (lambda + r^T P r),   P <- P / ||P||_F,   lambda = 0.1^(1 + t)

    with t in [0, 1) the finished part of the epoch. As that code is written, P first takes in r of the very
    modality to be updated. The first update of all is not projected, the bias never is, and all embeddings
    of a batch are computed before its first update. The Frobenius norm also makes the head's steps small: a
    unit-norm P = I / sqrt(D) shortens them by sqrt(D).

    ``project=False`` leaves the projection out, and this is what the released code does. It projects only a
    parameter named "module.weight", but hands over the head itself, whose parameters are "weight" and "bias",
    also under DataParallel. The default is the method of the paper.

    Deviations: the released projection, if it ran, would divide by the matrix lambda + P r^T r, of all D x D
    products, but least squares has the scalar. The prediction weighs each sample's logits by exp(-entropy) of
    its modalities, as the paper describes; the code takes softmax over the batch, one weight for all of it.

    The regularizer's gradient is taken once, on the embeddings of the batch, and joins each encoder's own
    update. If the regularizer acts on logits, its gradient does not reach the head.
    """

    fusions = ("shared",)
    usual_fusion = "shared"
    undefined = "whose head is not one and the same for every modality"
    memory = ("projector", "started")

    def __init__(self, model: MultimodalClassifier, *, project: bool = True) -> None:
        super().__init__(model)
        self.projects = project
        weight = model.fusion.linear.weight
        self.projector = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        self.started = False  # whether the head has been updated at all
        self.seen, self.size = 0, 1

    def start_epoch(self, epoch: int, epochs: int, data: MultimodalDataset) -> None:
        self.seen, self.size = 0, len(data.train)

    def updates(self, batch: Batch, geometry: Geometry | None, backward: Backward) -> Iterator[Losses]:
        label, encoders, head = batch["label"], self.model.encoders, self.model.fusion
        output = self.model(batch["inputs"])
        extra, pulls = {}, {}
        if geometry is not None:
            extra["geometry"] = geometry(output.regularized)
            if extra["geometry"].requires_grad:
                backward(extra["geometry"], retain_graph=True)
                pulls = {m: [p.grad for p in encoder.parameters()] for m, encoder in encoders.items()}
                self.model.zero_grad(set_to_none=True)
                # A loss scale rarely changes between two updates of one batch; this is not corrected.
        for m, z in output.embeddings.items():
            if m in pulls:
                for p, pull in zip(encoders[m].parameters(), pulls[m], strict=True):
                    p.grad = pull
            loss = F.cross_entropy(head.unimodal_logits({m: z})[m], label)
            backward(loss)
            if self.projects:
                self.project(z.detach().mean(dim=0))
            yield {m: loss.detach(), **{name: value.detach() for name, value in extra.items()}}
            extra = {}
        self.seen += len(label)

    def project(self, feature: Tensor) -> None:
        """Add ``feature`` (D,) to the projector and project the gradient of the head's weight."""
        weight = self.model.fusion.linear.weight
        if not self.started:
            self.started = True
            return
        with full_precision(feature):
            r, damping = feature.to(self.projector.dtype), 0.1 ** (1 + self.seen / self.size)
            k = self.projector @ r
            # k k^T and not (P r)(r^T P): P stays symmetric to the last bit
            self.projector = self.projector - torch.outer(k, k) / (damping + r @ k)
            self.projector = self.projector / self.projector.norm()
            weight.grad = weight.grad @ self.projector.T

    def fused_logits(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        total, weights = 0.0, 0.0
        for logits in self.model.fusion.unimodal_logits(embeddings).values():
            # log_softmax, at least in float32, gives p log p = 0 and not NaN if p underflows
            log_p = logits.log_softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
            weight = (log_p.exp() * log_p).sum(dim=1).exp()
            total, weights = total + weight[:, None] * logits, weights + weight
        return total / weights.clamp_min(torch.finfo(weights.dtype).tiny)[:, None]
