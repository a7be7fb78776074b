"""Fetch, verify and prepare each data set: ``python -m data_scripts NAME``.

Nothing here imports torch, so the command answers at once; ``geomreg_mini.data`` calls these same functions
when a data set is not prepared yet.
"""
