"""Training paradigms: how one step forms its gradients. One file a method; ``PARADIGMS`` names them all."""

from .base import Paradigm
from .dgl import DGL
from .plain import Joint, UniformSum, Unimodal

PARADIGMS: dict[str, type[Paradigm]] = {
    "joint": Joint,
    "uniform_sum": UniformSum,
    "unimodal": Unimodal,
    "dgl": DGL,
}

__all__ = ["PARADIGMS", "Paradigm"]
