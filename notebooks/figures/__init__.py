"""What notebooks 10 to 14 draw, one file a kind of benchmark; what all notebooks draw stands in ``plots``."""
