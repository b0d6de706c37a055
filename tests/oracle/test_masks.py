"""Overlap and surface metrics against MONAI's and against those of DeepMind's surface-distance."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.tasks.segmentation.mask_metrics import case_metrics

torch = pytest.importorskip('torch')
metrics = pytest.importorskip('monai.metrics')
surface_distance = pytest.importorskip('surface_distance.metrics')

NAMES = ('background', 'body')


def blobs(seed, shape=(24, 20, 28), sigma=2.0, level=0.55):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return (noise > np.quantile(noise, level)).astype(np.uint8)


CASES = [(blobs(0), blobs(1), (1.0, 1.0, 1.0)), (blobs(2, sigma=1.0), blobs(3), (0.7, 1.3, 3.0)),
         (blobs(4, level=0.97), blobs(5, level=0.9), (2.0, 0.5, 1.0)),
         (blobs(6, (16, 16, 3)), blobs(7, (16, 16, 3)), (1.0, 1.0, 5.0))]
FLAT = [(blobs(8, (40, 30, 1)), blobs(9, (40, 30, 1)), (0.7, 1.3, 2.0)),
        (blobs(10, (40, 1, 30)), blobs(11, (40, 1, 30)), (1.0, 9.0, 0.9))]


def both(mask):
    return torch.tensor(np.stack([mask == 0, mask == 1])[None])


@pytest.mark.parametrize('pred, truth, spacing', CASES + FLAT)
def test_equal_to_monai(pred, truth, spacing):
    got = case_metrics(pred, truth, spacing, NAMES, tolerances=[1.5])
    keep = [axis for axis in range(3) if pred.shape[axis] > 1]  # it measures outlines where masks have two dimensions
    p, t = (both(mask.reshape([mask.shape[axis] for axis in keep])) for mask in (pred, truth))
    spacing = [spacing[axis] for axis in keep]
    want = {
        'dice': metrics.compute_dice(p, t, include_background=False),
        'iou': metrics.compute_iou(p, t, include_background=False),
        'hd95': metrics.compute_hausdorff_distance(p, t, percentile=95, spacing=spacing),
        'assd': metrics.compute_average_surface_distance(p, t, symmetric=True, spacing=spacing),
        'nsd': metrics.compute_surface_dice(p, t, [1.5], spacing=spacing),
    }
    for name, value in want.items():
        np.testing.assert_allclose(got[f'{name}_body'], value.item(), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize('pred, truth, spacing', CASES + FLAT)
def test_equal_to_surface_distance(pred, truth, spacing):
    got = case_metrics(pred, truth, spacing, NAMES, tolerances=[1.5], surfaces='area')
    keep = [axis for axis in range(3) if pred.shape[axis] > 1]  # it measures outlines where masks have two dimensions
    p, t = (mask.reshape([mask.shape[axis] for axis in keep]) > 0 for mask in (pred, truth))
    found = surface_distance.compute_surface_distances(t, p, [spacing[axis] for axis in keep])
    areas = found['surfel_areas_gt'].sum(), found['surfel_areas_pred'].sum()
    want = {'dice': surface_distance.compute_dice_coefficient(t, p),
            'hd95': surface_distance.compute_robust_hausdorff(found, 95),
            'nsd': surface_distance.compute_surface_dice_at_tolerance(found, 1.5),
            'assd': np.average(surface_distance.compute_average_surface_distance(found), weights=areas)}
    for name, value in want.items():
        np.testing.assert_allclose(got[f'{name}_body'], value, rtol=1e-6, atol=1e-6, err_msg=name)
