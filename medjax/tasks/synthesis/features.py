"""Features of images for comparing distributions: principal components of pixels or of a network's features."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

# Principal components of the training images, at most, and training images that they are fitted to, at most.
COMPONENTS = {'pixels': 32, 'network': 64}
FITTED = {'pixels': 4000, 'network': 1000}
EXACT_WIDTH = 4096  # features up to which the components are exact
IMAGES_PER_COMPONENT = 8  # at least: with fewer, training images would lie closer together than any others


@dataclasses.dataclass(frozen=True)
class Projection:
    """Features projected onto principal components, with a common scale and a mean variance of 1."""

    components: Any
    scale: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Projects features `[n, F]` to `[n, K]` float64."""
        return self.components.transform(np.asarray(features, np.float64)) / self.scale


def fit_projection(features: np.ndarray, most: int) -> Projection:
    """The projection onto the principal components of the training images' features.

    Args:
      features: `[n, F]`.
      most: number of components, at most.
    """
    from sklearn.decomposition import PCA  # slow to import

    count = max(min(most, len(features) // IMAGES_PER_COMPONENT, features.shape[1]), 1)
    solver = 'covariance_eigh' if features.shape[1] <= EXACT_WIDTH else 'randomized'
    fitted = PCA(count, svd_solver=solver, random_state=0).fit(np.asarray(features, np.float64))
    return Projection(fitted, np.sqrt(max(fitted.explained_variance_.mean(), 1e-12)))


def flat_pixels(images: np.ndarray) -> np.ndarray:
    """Images uint8 `[n, *S, C]` as rows of pixels from 0 to 1, `[n, V]` float32."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def subsample(numbers: np.ndarray, most: int, seed: Sequence[int]) -> np.ndarray:
    """At most so many randomly chosen numbers, in their order."""
    if len(numbers) <= most:
        return numbers
    return np.sort(np.random.default_rng(seed).permutation(numbers)[:most])
