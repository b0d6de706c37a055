"""Fidelity of a reconstructed or translated image to the true one: error, PSNR, SSIM and sharpness, on the host."""

import numpy as np
from scipy import ndimage

SIGMA, TRUNCATE = 1.5, 3.5  # of SSIM's Gaussian window, which is 11 pixels wide
SMALL = (0.01, 0.03)  # SSIM's constants K1 and K2


def mae(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """The mean absolute error in a mask.

    Args:
      image: `[*S, C]`.
      truth: the same shape.
      mask: `[*S]`.

    Returns:
      NaN where the mask is empty.
    """
    return _mean(np.abs(np.asarray(image, np.float64) - truth), mask)


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, peak: float = 1.0) -> float:
    """The peak signal-to-noise ratio in dB, 10 log10(peak² / mean squared error), in a mask.

    Args:
      image: `[*S, C]`.
      truth: the same shape.
      mask: `[*S]`.
      peak: the range of the intensities.

    Returns:
      Infinity where the images are equal, NaN where the mask is empty.
    """
    error = _mean((np.asarray(image, np.float64) - truth) ** 2, mask)
    return float('inf') if error == 0 else 20 * np.log10(peak) - 10 * np.log10(error)


def ssim_map(image: np.ndarray, truth: np.ndarray, peak: float = 1.0) -> np.ndarray:
    """The structural similarity index around each pixel (Wang 2004), in 2D planes.

    Windows are Gaussian with a standard deviation of 1.5 pixels and a width of 11, covariances are divided by the
    window's weight, and images are mirrored at the border. The values equal scikit-image's with
    `gaussian_weights=True, use_sample_covariance=False`.

    Args:
      image: `[X, Y, …]`; windows lie along the first two axes.
      truth: the same shape.
      peak: the range of the intensities.

    Returns:
      float64 of that shape, at most 1.
    """
    image, truth = (np.asarray(array, np.float64) for array in (image, truth))

    def smooth(array: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(array, (SIGMA, SIGMA, *[0] * (array.ndim - 2)), truncate=TRUNCATE)

    a, b = smooth(image), smooth(truth)
    c1, c2 = ((k * peak) ** 2 for k in SMALL)
    variances = smooth(image * image) - a * a + smooth(truth * truth) - b * b
    return ((2 * a * b + c1) * (2 * (smooth(image * truth) - a * b) + c2)
            / ((a * a + b * b + c1) * (variances + c2)))


def ssim(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, peak: float = 1.0) -> float:
    """The mean of `ssim_map` over the voxels of a mask and all channels.

    Args:
      image: `[*S, C]`.
      truth: the same shape.
      mask: `[*S]`.
      peak: the range of the intensities.

    Returns:
      NaN where the mask is empty.
    """
    return _mean(ssim_map(image, truth, peak), mask)


def sharpness(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """The mean gradient magnitude of an image in a mask, relative to that of the truth; gradients are within 2D planes.

    1 is as sharp as the truth and less than 1 is blurred; noise increases the value, too.

    Args:
      image: `[X, Y, …]`.
      truth: the same shape.
      mask: `[X, Y, …]`, without the channels.

    Returns:
      NaN where the mask is empty or the truth is constant.
    """
    def mean_gradient(array: np.ndarray) -> float:
        slopes = [np.gradient(np.asarray(array, np.float64), axis=axis) for axis in (0, 1) if array.shape[axis] > 1]
        return _mean(np.sqrt(sum(slope**2 for slope in slopes)), mask) if slopes else 0.0

    reference = mean_gradient(truth)
    return mean_gradient(image) / reference if reference > 0 else float('nan')


def _mean(values: np.ndarray, mask: np.ndarray) -> float:
    """The mean over the voxels of a mask and all channels; NaN where the mask is empty."""
    inside = values[np.asarray(mask) > 0]
    return float(inside.mean()) if inside.size else float('nan')
