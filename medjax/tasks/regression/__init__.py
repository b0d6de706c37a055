"""Regression of measured numbers."""
