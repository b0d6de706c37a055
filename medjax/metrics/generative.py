"""Metrics of generated images against real ones, by features of both: distances, coverage, diversity and copies.

Features are `[n, F]` float64, one row for each image. Reports must name the network that computes them: an FID with
features other than Inception's is not comparable with the FID of the literature. Metrics accept weights, the number of
times that each image counts.
"""

import dataclasses

import numpy as np
from scipy.spatial.distance import cdist

from medjax.errors import InputError

# Number of neighbours: Kynkäänniemi 2019's for precision and recall, Naeem 2020's for density and coverage.
NEAR, NEAR_DENSE = 3, 5


def check_features(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features as float64.

    Args:
      real: `[n, F]`, features of real images.
      fake: `[m, F]`, features of generated images.

    Raises:
      InputError: the shapes are others, there are fewer than two images, or a feature is not finite.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise InputError(f'features {real.shape} and {fake.shape}; expected [n, F] and [m, F] of at least two images')
    for name, features in (('real', real), ('generated', fake)):
        if not np.isfinite(features).all():
            raise InputError(f'features of the {name} image {int(np.argmin(np.isfinite(features).all(1)))} are not '
                             'finite; expected finite numbers')
    return real, fake


def moments(features: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased covariance of features.

    Args:
      features: `[n, F]`.
      weight: `[n]`, the number of times that each image counts.

    Returns:
      `[F]` and `[F, F]`.
    """
    weight = np.ones(len(features)) if weight is None else np.asarray(weight, np.float64)
    mean = weight @ features / weight.sum()
    deviation = features - mean
    return mean, (deviation * weight[:, None]).T @ deviation / max(weight.sum() - 1, 1)


def frechet_distance(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray,
                     other_covariance: np.ndarray) -> float:
    """The squared Fréchet distance of two normal distributions (Dowson & Landau 1982); the FID of feature moments.

    Args:
      mean: `[F]`, of the first distribution.
      covariance: `[F, F]`, of the first distribution.
      other_mean: `[F]`, of the second distribution.
      other_covariance: `[F, F]`, of the second distribution.
    """
    # The trace of (AB)^½ equals that of (A^½ B A^½)^½. The latter is symmetric, so that its root is real and also
    # defined for covariances without full rank.
    values, axes = np.linalg.eigh(covariance)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other_covariance @ root), 0)).sum()
    traces = ((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other_covariance)
    return float(max(traces - 2 * shared, 0.0))


def fid(real: np.ndarray, fake: np.ndarray) -> float:
    """The Fréchet distance between normal distributions fitted to features (Heusel 2017); 0 for equal ones.

    The estimate is biased upwards for few images, so that only values of equal numbers of images are comparable.

    Args:
      real: `[n, F]`.
      fake: `[m, F]`.
    """
    real, fake = check_features(real, fake)
    return frechet_distance(*moments(real), *moments(fake))


@dataclasses.dataclass(frozen=True)
class KidKernels:
    """The kernel matrices of KID.

    Attributes:
      real: `[n, n]`, between real images.
      fake: `[m, m]`, between generated images.
      across: `[n, m]`, between real and generated images.
    """

    real: np.ndarray
    fake: np.ndarray
    across: np.ndarray

    def distance(self, real: np.ndarray | None = None, fake: np.ndarray | None = None) -> np.ndarray:
        """The unbiased estimate of the squared maximum mean discrepancy, which may be negative.

        Args:
          real: `[…, n]`, the number of times that each real image is drawn; pairs of an image with itself do not count.
          fake: `[…, m]`, the number of times that each generated image is drawn.

        Returns:
          `[…]`.
        """
        real = np.ones(len(self.real)) if real is None else np.asarray(real, np.float64)
        fake = np.ones(len(self.fake)) if fake is None else np.asarray(fake, np.float64)
        across = ((real @ self.across) * fake).sum(-1) / (real.sum(-1) * fake.sum(-1))
        return mean_over_pairs(self.real, real) + mean_over_pairs(self.fake, fake) - 2 * across


def kid_kernels(real: np.ndarray, fake: np.ndarray) -> KidKernels:
    """The polynomial kernel (x·y / F + 1)³ between images (Bińkowski 2018).

    Args:
      real: `[n, F]`.
      fake: `[m, F]`.
    """
    real, fake = check_features(real, fake)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3
    return KidKernels(kernel(real, real), kernel(fake, fake), kernel(real, fake))


def kid(real: np.ndarray, fake: np.ndarray) -> float:
    """The kernel distance of features (Bińkowski 2018), over all images at once; unbiased for any number of images.

    Args:
      real: `[n, F]`.
      fake: `[m, F]`.
    """
    return float(kid_kernels(real, fake).distance())


def mean_over_pairs(matrix: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean of a matrix over pairs of different images.

    Args:
      matrix: `[n, n]`.
      weight: `[..., n]`, the number of times that each image is drawn.

    Returns:
      `[...]`; NaN where there is no pair.
    """
    weight = np.asarray(weight, np.float64)
    pairs = weight.sum(-1) ** 2 - (weight**2).sum(-1)
    total = ((weight @ matrix) * weight).sum(-1) - (weight**2) @ np.diag(matrix)
    return np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1), np.nan)


@dataclasses.dataclass(frozen=True)
class ImageDistances:
    """Euclidean distances of features between images.

    Attributes:
      real: `[n, n]`, between real images.
      fake: `[m, m]`, between generated images.
      across: `[n, m]`, between real and generated images.
    """

    real: np.ndarray
    fake: np.ndarray
    across: np.ndarray

    def part(self, real: np.ndarray, fake: np.ndarray) -> 'ImageDistances':
        """The distances of some images alone, `real [n]` and `fake [m]` bool."""
        return ImageDistances(self.real[np.ix_(real, real)], self.fake[np.ix_(fake, fake)],
                              self.across[np.ix_(real, fake)])

    def precision_recall(self, near: int = NEAR) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall, image by image, as of the function `precision_recall`."""
        return ((self.across <= neighbour_radii(self.real, near)[:, None]).any(0),
                (self.across <= neighbour_radii(self.fake, near)).any(1))

    def density_coverage(self, near: int = NEAR_DENSE) -> tuple[np.ndarray, np.ndarray]:
        """Density and coverage, image by image, as of the function `density_coverage`."""
        inside = self.across <= neighbour_radii(self.real, near)[:, None]
        return inside.sum(0) / min(near, len(self.real) - 1), inside.any(1)


def image_distances(real: np.ndarray, fake: np.ndarray) -> ImageDistances:
    """The distances of features.

    Args:
      real: `[n, F]`.
      fake: `[m, F]`.
    """
    real, fake = check_features(real, fake)
    return ImageDistances(cdist(real, real), cdist(fake, fake), cdist(real, fake))


def neighbour_radii(distances: np.ndarray, near: int) -> np.ndarray:
    """The distance of each image to its `near`-th neighbour, or to the last one where there are fewer.

    Args:
      distances: `[n, n]`.
      near: number of the neighbour, from 1.

    Returns:
      `[n]`.
    """
    place = min(near, len(distances) - 1)  # the first is the image itself
    return np.partition(distances, place, 1)[:, place]


def precision_recall(real: np.ndarray, fake: np.ndarray, near: int = NEAR) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall, image by image (Kynkäänniemi 2019).

    The ball of an image reaches to its `near`-th neighbour in its own set.

    Args:
      real: `[n, F]`.
      fake: `[m, F]`.
      near: number of neighbours.

    Returns:
      `[m]` bool, whether a generated image lies within the ball of a real one; their mean is the precision. `[n]` bool,
      whether a real image lies within the ball of a generated one; their mean is the recall.
    """
    return image_distances(real, fake).precision_recall(near)


def density_coverage(real: np.ndarray, fake: np.ndarray, near: int = NEAR_DENSE) -> tuple[np.ndarray, np.ndarray]:
    """Density and coverage, image by image (Naeem 2020).

    Both use the balls of real images only, so that a single generated outlier has no effect.

    Args:
      real: `[n, F]`.
      fake: `[m, F]`.
      near: number of neighbours.

    Returns:
      `[m]`, the number of real images' balls that contain a generated image, divided by `near`; their mean is the
      density, near 1 for equal distributions, and higher where generated images concentrate. `[n]` bool, whether a real
      image has a generated one within its ball; their mean is the coverage.
    """
    return image_distances(real, fake).density_coverage(near)


def nearest_neighbours(images: np.ndarray, known: np.ndarray,
                       own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest known image of each image, and its distance.

    Args:
      images: `[n, …]`.
      known: `[k, …]`.
      own: `[n]`, where the images are themselves known ones, the number of each, which is not its own neighbour.

    Returns:
      The root of the mean squared difference `[n]`, NaN without another image; and the neighbour's number `[n]`.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import

    images, known = (np.asarray(x, np.float32).reshape(len(x), -1) for x in (images, known))
    if own is not None and len(known) < 2:
        return np.full(len(images), np.nan), np.zeros(len(images), int)
    count = 1 if own is None else 2
    distance, which = NearestNeighbors(n_neighbors=count, algorithm='brute').fit(known).kneighbors(images)
    place = np.zeros(len(images), int) if own is None else (which[:, 0] == own).astype(int)
    distance, which = (np.take_along_axis(x, place[:, None], 1)[:, 0] for x in (distance, which))
    return distance.astype(np.float64) / np.sqrt(images.shape[1]), which
