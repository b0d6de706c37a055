"""Blocks shared by models."""
