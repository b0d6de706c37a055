"""Conversion of files between nnU-Net and medjax."""
