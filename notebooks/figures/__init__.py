"""Figures of notebooks 10 to 14 and 16 to 18, one file per kind of data, and the README's moving picture.

Figures that all notebooks share are in `geomreg_mini.plots`.
"""
