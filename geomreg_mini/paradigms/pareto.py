"""Two gradients, one direction: their sum if they agree, otherwise the shortest point between them.

MMPareto (arXiv 2405.17730) combines a fused and a unimodal gradient this way. The training loop offers the
same rule for the gradients of task and regularizer (``TrainConfig.combination = "task_pareto"``). That is
this project's own idea; the paper balances the two terms of the regularizer, in ``GeometryRegularizer``.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..inputs import float64
from ..models import ModelOutput, MultimodalClassifier
from .base import Backward, Geometry, Losses
from .plain import UniformSum

Gradients = Sequence[Tensor | None]  # one entry per parameter, None if a loss does not reach it


def inner(first: Gradients, second: Gradients) -> float:
    """Return the inner product of two gradients over all parameters, in float64."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    return float(sum(torch.dot(float64(a.flatten()), float64(b.flatten())) for a, b in pairs))


def min_norm_weights(first: Gradients, second: Gradients, end: float = 0.001) -> tuple[float, float]:
    """Return the weights (w, 1 - w) of the shortest vector w g1 + (1 - w) g2, w in [end, 1 - end].

    Closed form w = (g2.g2 - g1.g2) / (g1.g1 + g2.g2 - 2 g1.g2). MMPareto's released code has the same
    ``end``, but only for a w outside (0, 1). Equal gradients, also two zeros, give (1/2, 1/2).
    """
    cross, own, other = inner(first, second), inner(first, first), inner(second, second)
    distance = own + other - 2 * cross
    if distance <= 1e-12 * (own + other):
        return 0.5, 0.5
    weight = min(max((other - cross) / distance, end), 1 - end)
    return weight, 1 - weight


def pareto_gradients(first: Gradients, second: Gradients) -> list[Tensor | None]:
    """Return the combined gradient 2 (w1 g1 + w2 g2), one tensor per parameter.

    If the cosine of the two is positive, the weights are 1/2 and this is the plain sum; otherwise they are
    ``min_norm_weights``. The min-norm point is short, so each tensor shorter than the plain sum is stretched
    to its norm, unless the tensor is zero.
    """
    agree = inner(first, second) > 0
    w1, w2 = (0.5, 0.5) if agree else min_norm_weights(first, second)
    combined: list[Tensor | None] = []
    for a, b in zip(first, second, strict=True):
        if a is None or b is None:  # no conflict with a missing gradient
            combined.append(b if a is None else a)
            continue
        plain, h = a + b, 2 * (w1 * a + w2 * b)
        length, wanted = h.norm(), plain.norm()
        # Opposite gradients cancel up to rounding, and rounding errors must not be stretched.
        sound = length > 1e-6 * (a.norm() + b.norm())
        stretch = torch.where(sound & (wanted > length), wanted / length, torch.ones_like(length))
        combined.append(h * stretch)
    return combined


class MMPareto(UniformSum):
    """MMPareto (ICML 2024, arXiv 2405.17730).

    The losses are those of the uniform sum. Encoder m has two gradients, g of the fused loss and g_m of its
    own head's, and gets

        gamma * pareto_gradients(g, g_m)

    This is gamma (g + g_m) if the two agree (positive cosine over all its parameters). Otherwise it is the
    shortest vector between them, stretched to the norm of that sum. Heads keep their plain gradients.
    ``gamma`` = 1.5 is the released value. If no gradients conflict, it is the only difference from the
    uniform sum, so read that row next to this one.
    """

    def __init__(self, model: MultimodalClassifier, *, gamma: float = 1.5) -> None:
        super().__init__(model)
        self.gamma = gamma

    def differentiate(self, losses: Losses, output: ModelOutput, label: Tensor, backward: Backward) -> None:
        regularized = "geometry" in losses and losses["geometry"].requires_grad
        parameters = {m: list(encoder.parameters()) for m, encoder in self.model.encoders.items()}

        backward(losses["fused"], retain_graph=True)
        fused = {m: [p.grad for p in own] for m, own in parameters.items()}
        self.model.encoders.zero_grad(set_to_none=True)
        # The encoders share nothing, so one pass gives each the gradient of its own head's loss alone.
        backward(sum(losses[m] for m in parameters), retain_graph=regularized)
        for m, own in parameters.items():
            for p, gradient in zip(own, pareto_gradients(fused[m], [p.grad for p in own]), strict=True):
                p.grad = None if gradient is None else self.gamma * gradient
        if regularized:
            backward(losses["geometry"])


class ParetoGeometry:
    """A replacement for ``geometry`` that keeps its gradient apart until the paradigm has formed the task's.

    A call by the paradigm differentiates the regularizer with respect to each encoder and returns its value
    without a graph. ``combine`` then replaces each encoder's task gradient by ``pareto_gradients`` of both.
    """

    def __init__(self, encoders: nn.ModuleDict, geometry: Geometry, scale: Tensor | float = 1.0) -> None:
        self.geometry, self.scale = geometry, scale
        self.parameters = {m: [p for p in net.parameters() if p.requires_grad] for m, net in encoders.items()}
        self.gradients: dict[str, Gradients] = {}

    def __call__(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        loss = self.geometry(embeddings)
        if loss.requires_grad:
            flat = [p for parameters in self.parameters.values() for p in parameters]
            found = iter(torch.autograd.grad(self.scale * loss, flat, retain_graph=True, allow_unused=True))
            self.gradients = {m: [next(found) for _ in own] for m, own in self.parameters.items()}
        return loss.detach()

    def combine(self) -> None:
        """Replace the encoders' gradients, between the paradigm's backward and the optimizer's step."""
        for m, geometry in self.gradients.items():
            own = self.parameters[m]
            if all(p.grad is None for p in own):
                continue  # this update does not train the encoder
            for p, gradient in zip(own, pareto_gradients([p.grad for p in own], geometry), strict=True):
                p.grad = gradient
