"""Training paradigms: how one step forms its gradients. ``PARADIGMS`` names them all."""

from .base import Paradigm
from .g_blending import GBlending
from .mla import MLA
from .modulation import AGM, OGM, OGMGE
from .pareto import MMPareto
from .plain import DGL, Joint, UniformSum, Unimodal
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
