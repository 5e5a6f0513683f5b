"""Comparisons of methods, with what they need to run anywhere."""
