"""Simulated data sets, with known truth, for tests and demonstrations."""
