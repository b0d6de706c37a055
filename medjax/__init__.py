"""medjax: deep learning for medical images and records, in JAX."""

__version__ = '0.1.0'
