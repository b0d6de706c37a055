"""Tumour growth."""
