"""Resampling, intensity normalisation and augmentation."""
