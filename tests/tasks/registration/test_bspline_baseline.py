"""The B-spline baseline gives the same field at each call."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from medjax.tasks.registration import bspline_baseline

rng = np.random.default_rng(0)


def test_equal_images_give_equal_fields():
    """With two threads, three of four calls gave other digits for images of this size."""
    fixed = ndimage.gaussian_filter(rng.normal(size=(64, 80)), 3).astype(np.float32)
    fixed /= fixed.std()
    moving = ndimage.shift(fixed, (1.5, -2)).astype(np.float32)
    moving += 0.05 * rng.normal(size=moving.shape).astype(np.float32)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    try:
        fields = [bspline_baseline.register(fixed, moving, (2.0, 2.0), metric='mattes', steps=4) for _ in range(5)]
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 2, 'left as it was'
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert all((field == fields[0]).all() for field in fields) and np.abs(fields[0]).max() > 0.5
