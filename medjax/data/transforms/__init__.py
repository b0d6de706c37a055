"""Preprocessing of images and volumes, transforms of boxes, and augmentation on the device."""
