"""Translation without a network: a voxel's target predicted from its own intensity."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

BINS = 64  # of the lookup table, and quantiles that histogram matching is based on

Baseline = Callable[[np.ndarray], np.ndarray]  # `[…, C] -> […, T]`


@dataclasses.dataclass(frozen=True)
class Linear:
    """Linear regression: `weights [C, T]` and `offset [T]`."""

    weights: np.ndarray
    offset: np.ndarray

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Maps `[…, C]` to `[…, T]`."""
        return image @ self.weights + self.offset


@dataclasses.dataclass(frozen=True)
class Interpolation:
    """Piecewise linear functions of single channels.

    Attributes:
      inputs: `[T]` of channel numbers.
      points: for each output channel its points, `[n]` in ascending order.
      values: for each output channel its values at these points, `[n]`.
    """

    inputs: Sequence[int]
    points: Sequence[np.ndarray]
    values: Sequence[np.ndarray]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Maps `[…, C]` to `[…, T]`."""
        return np.stack([np.interp(image[..., channel], points, values)
                         for channel, points, values in zip(self.inputs, self.points, self.values)], -1)


def fit_baselines(pairs: Sequence[tuple[np.ndarray, np.ndarray]], images: Sequence[np.ndarray],
                  targets: Sequence[np.ndarray]) -> Mapping[str, Baseline]:
    """The baselines that the training voxels allow.

    Args:
      pairs: for each training case with both contrasts its voxels, `[n, C]` and `[n, T]`.
      images: voxels of training images, `[n, C]` each.
      targets: voxels of training targets, `[m, T]` each.

    Returns:
      By name: 'linear', least squares; for images with one channel 'lookup', the mean target in each of 64 bins with
      equal numbers of voxels, interpolated between their means; and for as many channels in both 'matched', the target
      of the same rank, channel by channel, which needs no pairs.
    """
    out: dict[str, Baseline] = {}
    if pairs:
        x, y = (np.concatenate(part).astype(np.float64) for part in zip(*pairs))
        weights = np.linalg.lstsq(np.pad(x, [(0, 0), (0, 1)], constant_values=1), y, rcond=None)[0]
        out['linear'] = Linear(weights[:-1], weights[-1])
        if x.shape[1] == 1:
            out['lookup'] = _fit_lookup(x[:, 0], y)
    if images and targets and images[0].shape[1] == targets[0].shape[1]:
        ranks = np.linspace(0, 1, BINS + 1)
        points, values = (np.quantile(np.concatenate(part), ranks, axis=0) for part in (images, targets))
        out['matched'] = Interpolation(range(points.shape[1]), points.T, values.T)
    return out


def _fit_lookup(x: np.ndarray, y: np.ndarray) -> Interpolation:
    """The mean of y `[n, T]` in bins of x `[n]`, by the mean of x in each."""
    order = np.argsort(x, kind='stable')
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    # Bins with the same mean, such as those of a constant background, are merged.
    points, merged = np.unique([x[part].mean() for part in bins], return_inverse=True)
    means = [y[np.concatenate([part for part, place in zip(bins, merged) if place == number])].mean(0)
             for number in range(len(points))]
    values = np.transpose(means)
    return Interpolation([0] * len(values), [points] * len(values), values)
