"""Writes the reference pages from signatures, docstrings and flags."""
