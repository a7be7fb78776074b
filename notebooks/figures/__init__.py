"""Figures of notebooks 10 to 14, one file per kind of benchmark; common figures are in ``plots``."""
