"""Weights that a run begins with: a file each for where they come from."""
