"""Trained networks outside of medjax: exported programs, their weights and their model cards."""
