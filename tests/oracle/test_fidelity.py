"""SSIM and PSNR against scikit-image's."""

import numpy as np
import pytest

from medjax.metrics import image_fidelity

metrics = pytest.importorskip('skimage.metrics')


def test_ssim_and_psnr_equal_scikit_image():
    rng = np.random.default_rng(0)
    truth = rng.random((40, 33))
    made = np.clip(truth + 0.1 * rng.normal(size=truth.shape), 0, 1)
    _, whole = metrics.structural_similarity(made, truth, data_range=1.0, gaussian_weights=True, sigma=1.5,
                                             use_sample_covariance=False, full=True)
    np.testing.assert_allclose(image_fidelity.ssim_map(made, truth), whole, atol=1e-6)
    inside = np.ones(truth.shape, np.uint8)
    assert image_fidelity.psnr(made[..., None], truth[..., None], inside) == pytest.approx(
        metrics.peak_signal_noise_ratio(truth, made, data_range=1.0))
