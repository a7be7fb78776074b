"""Figures of single notebooks, one file per kind of data, and the README's moving picture.

Figures that all notebooks share are in `geomreg_mini.plots`.
"""
