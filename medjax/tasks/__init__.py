"""Families of problems, one folder each; `FAMILY` in `family.py` declares what a family consists of."""
