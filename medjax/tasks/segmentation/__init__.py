"""Segmentation of volumes, slices and signals."""
