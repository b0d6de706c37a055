"""Image fidelity by hand and by plain loops; tests/oracle compares SSIM with scikit-image's."""

import math

import numpy as np
import pytest

from medjax.metrics import image_fidelity

RNG = np.random.default_rng(0)
TRUTH = RNG.random((12, 14, 3, 1))
MASK = np.zeros((12, 14, 3), np.uint8)
MASK[2:9, 3:10, 1:] = 1


def test_errors_are_of_the_mask_alone():
    image = TRUTH + 0.1 * MASK[..., None] + 5.0 * (1 - MASK[..., None])
    assert image_fidelity.mae(image, TRUTH, MASK) == pytest.approx(0.1)
    assert image_fidelity.psnr(image, TRUTH, MASK) == pytest.approx(20)
    assert image_fidelity.psnr(image, TRUTH, MASK, peak=10) == pytest.approx(40)
    assert image_fidelity.psnr(TRUTH, TRUTH, MASK) == math.inf
    nothing = np.zeros_like(MASK)
    for metric in (image_fidelity.mae, image_fidelity.psnr, image_fidelity.ssim, image_fidelity.sharpness):
        assert math.isnan(metric(image, TRUTH, nothing))


def test_ssim_by_plain_loops():
    """One pixel's index from its window of 11 × 11 weights, plane by plane."""
    image = TRUTH + 0.2 * RNG.normal(size=TRUTH.shape)
    away = np.arange(-5, 6)
    weight = np.exp(-0.5 * (away[:, None] ** 2 + away**2) / 1.5**2)
    weight /= weight.sum()
    a, b = (array[6 - 5:6 + 6, 7 - 5:7 + 6, 1, 0] for array in (image, TRUTH))
    ma, mb = (weight * a).sum(), (weight * b).sum()
    va, vb, both = (weight * (a - ma) ** 2).sum(), (weight * (b - mb) ** 2).sum(), (weight * (a - ma) * (b - mb)).sum()
    want = (2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert image_fidelity.ssim_map(image, TRUTH)[6, 7, 1, 0] == pytest.approx(want, abs=1e-9)
    assert image_fidelity.ssim(TRUTH, TRUTH, MASK) == pytest.approx(1) and image_fidelity.ssim(image, TRUTH, MASK) < 0.9


def test_sharpness_is_a_share_of_the_truths_slopes():
    assert image_fidelity.sharpness(0.5 * TRUTH + 3, TRUTH, MASK) == pytest.approx(0.5)
    row = np.broadcast_to(np.arange(6.0), (1, 6))[..., None]
    assert image_fidelity.sharpness(2 * row, row, np.ones((1, 6))) == pytest.approx(2)
    assert math.isnan(image_fidelity.sharpness(TRUTH, np.ones_like(TRUTH), MASK))
