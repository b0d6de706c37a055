"""Kinds of data set: training items and targets from the cases of a source."""
