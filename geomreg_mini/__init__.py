"""Geometry regularization for multimodal learning: the two terms of DAGR for any PyTorch training loop."""

from geomreg_mini.regularizer import GeometryRegularizer, anchoring, dispersion

__version__ = "0.1.0"

__all__ = ["GeometryRegularizer", "__version__", "anchoring", "dispersion"]
