"""Saliency maps of classifiers in 2D and 3D, and tests of their faithfulness."""
