"""Fetch, verify and prepare each data set: ``python -m data_scripts NAME``.

Importing it does not import torch, so the command answers at once. ``geomreg_mini.data`` calls the same
functions if a data set is not prepared yet.
"""
