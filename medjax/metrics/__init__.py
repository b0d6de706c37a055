"""Metrics of arrays, and the list that describes them."""
