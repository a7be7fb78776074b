"""Training paradigms: how one step forms its gradients. One file per method; ``PARADIGMS`` names them all."""

from .agm import AGM
from .base import Paradigm
from .dgl import DGL
from .g_blending import GBlending
from .mla import MLA
from .mmpareto import MMPareto
from .ogm import OGM, OGMGE
from .plain import Joint, UniformSum, Unimodal
from .pmr import PMR
from .relearn import DiagnoseRelearn

PARADIGMS: dict[str, type[Paradigm]] = {
    "joint": Joint,
    "uniform_sum": UniformSum,
    "unimodal": Unimodal,
    "g_blending": GBlending,
    "ogm": OGM,
    "ogm_ge": OGMGE,
    "pmr": PMR,
    "agm": AGM,
    "mmpareto": MMPareto,
    "mla": MLA,
    "diagnose_relearn": DiagnoseRelearn,
    "dgl": DGL,
}

__all__ = ["PARADIGMS", "Paradigm"]
