"""Kinds of example that several families share: what a data set reads of each case."""
