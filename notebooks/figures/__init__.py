"""What notebooks 10 to 14 draw, one file for each kind of benchmark, and the README's moving picture.

What all notebooks draw stands in `geomreg_mini.plots`.
"""
