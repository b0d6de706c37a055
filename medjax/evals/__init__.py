"""Evaluators: what a model is worth, case by case."""
