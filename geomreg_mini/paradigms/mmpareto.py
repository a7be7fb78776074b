"""MMPareto: each encoder follows a direction on which its fused and its unimodal gradient agree."""

from torch import Tensor

from ..models import ModelOutput, MultimodalClassifier
from .base import Backward, Losses
from .pareto import pareto_gradients
from .plain import UniformSum


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
