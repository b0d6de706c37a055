"""How near an image is to the one that it should be: error, PSNR, SSIM and sharpness, on the host."""

import numpy as np
from scipy import ndimage

SIGMA, TRUNCATE = 1.5, 3.5  # of SSIM's window: 11 voxels across
SMALL = (0.01, 0.03)  # of SSIM's constants


def mae(made: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """The mean absolute error of `[*S, C]` in a mask `[*S]`; NaN where that is empty."""
    return _mean(np.abs(np.asarray(made, np.float64) - truth), mask)


def psnr(made: np.ndarray, truth: np.ndarray, mask: np.ndarray, peak: float = 1.0) -> float:
    """The peak signal-to-noise ratio in dB, 10 log10(peak² / mean squared error), in a mask.

    Args:
      made: `[*S, C]`.
      truth: the same shape.
      mask: `[*S]`.
      peak: the extent of the intensities.

    Returns:
      Infinity where all is the same, NaN where the mask is empty.
    """
    error = _mean((np.asarray(made, np.float64) - truth) ** 2, mask)
    return float('inf') if error == 0 else 20 * np.log10(peak) - 10 * np.log10(error)


def ssim_map(made: np.ndarray, truth: np.ndarray, peak: float = 1.0) -> np.ndarray:
    """The index of structural similarity about each pixel (Wang 2004), plane by plane.

    Gaussian windows of standard deviation 1.5 and 11 pixels across, covariances by division by the windows' weight, and
    mirror images beyond the border: scikit-image's with `gaussian_weights=True, use_sample_covariance=False`.

    Args:
      made: `[X, Y, …]`; windows lie along the first two axes.
      truth: the same shape.
      peak: the extent of the intensities.

    Returns:
      float64 of that shape, at most 1.
    """
    made, truth = (np.asarray(array, np.float64) for array in (made, truth))

    def smooth(array: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(array, (SIGMA, SIGMA, *[0] * (array.ndim - 2)), truncate=TRUNCATE)

    a, b = smooth(made), smooth(truth)
    first, second = ((k * peak) ** 2 for k in SMALL)
    spread = smooth(made * made) - a * a + smooth(truth * truth) - b * b
    return ((2 * a * b + first) * (2 * (smooth(made * truth) - a * b) + second)
            / ((a * a + b * b + first) * (spread + second)))


def ssim(made: np.ndarray, truth: np.ndarray, mask: np.ndarray, peak: float = 1.0) -> float:
    """The mean of `ssim_map` in a mask `[*S]`, over channels `[*S, C]` too; NaN where it is empty."""
    return _mean(ssim_map(made, truth, peak), mask)


def sharpness(made: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """How steep a made image `[X, Y, …]` is as a share of the truth: the mean slope within its planes, in a mask.

    1 is as sharp, below 1 blurred; noise is steep, too. NaN where the mask is empty or the truth is flat.
    """
    def steep(array: np.ndarray) -> float:
        along = [np.gradient(np.asarray(array, np.float64), axis=axis) for axis in (0, 1) if array.shape[axis] > 1]
        return _mean(np.sqrt(sum(part**2 for part in along)), mask) if along else 0.0

    whole = steep(truth)
    return steep(made) / whole if whole > 0 else float('nan')


def _mean(values: np.ndarray, mask: np.ndarray) -> float:
    """Over the mask's voxels and all channels."""
    inside = values[np.asarray(mask) > 0]
    return float(inside.mean()) if inside.size else float('nan')
