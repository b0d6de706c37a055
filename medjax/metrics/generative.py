"""How like real images made ones are, by features of both: distances of distributions, cover, variety, copies.

Features are `[n, F]` float64, a row an image; what they are, whoever reports a figure has to say: FID by other features
than Inception's is no FID of the literature. Figures take weights, how often each image is drawn, for the bootstrap.
"""

import dataclasses

import numpy as np
from scipy.spatial.distance import cdist

from medjax.errors import InputError

NEAR, NEAR_DENSE = 3, 5  # neighbours: Kynkäänniemi 2019's for precision and recall, Naeem 2020's for density and cover


def check_features(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features as float64.

    Raises:
      InputError: other shapes than `[n, F]` and `[m, F]`, fewer than two images, or what is no number.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise InputError(f'features {real.shape} and {fake.shape}; expected [n, F] and [m, F] of two images at least')
    for name, given in (('real', real), ('made', fake)):
        if not np.isfinite(given).all():
            raise InputError(f'features of the {name} image {int(np.argmin(np.isfinite(given).all(1)))} are not '
                             'finite; expected numbers')
    return real, fake


def moments(features: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[F]` and covariance `[F, F]` (n - 1 below) of features `[n, F]`, each counted `weight [n]` times."""
    weight = np.ones(len(features)) if weight is None else np.asarray(weight, np.float64)
    mean = weight @ features / weight.sum()
    apart = features - mean
    return mean, (apart * weight[:, None]).T @ apart / max(weight.sum() - 1, 1)


def frechet_distance(mean: np.ndarray, covariance: np.ndarray, other: np.ndarray, spread: np.ndarray) -> float:
    """The squared Fréchet distance of two normal distributions (Dowson & Landau 1982): FID of their features' moments.

    Args:
      mean: `[F]`.
      covariance: `[F, F]`.
      other: the other one's mean.
      spread: the other one's covariance.
    """
    # The trace of (AB)^½ is that of (A^½ B A^½)^½, which is symmetric: no complex roots, and no failure of full rank.
    values, axes = np.linalg.eigh(covariance)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ spread @ root), 0)).sum()
    return float(max(((mean - other) ** 2).sum() + np.trace(covariance) + np.trace(spread) - 2 * shared, 0.0))


def fid(real: np.ndarray, fake: np.ndarray) -> float:
    """The Fréchet distance between normal distributions fitted to features (Heusel 2017); 0 for the same.

    It is biased: of few images of one distribution it is well above 0, so compare figures of equal numbers only.
    """
    real, fake = check_features(real, fake)
    return frechet_distance(*moments(real), *moments(fake))


@dataclasses.dataclass(frozen=True)
class KidKernels:
    """What KID sums: kernels within real images `[n, n]`, within made ones `[m, m]`, and across `[n, m]`."""

    real: np.ndarray
    fake: np.ndarray
    across: np.ndarray

    def distance(self, real: np.ndarray | None = None, fake: np.ndarray | None = None) -> np.ndarray:
        """The squared maximum mean discrepancy without bias, which may be below 0.

        Args:
          real: how often each real image is drawn, `[…, n]`; a pair of one image with itself counts for nothing.
          fake: how often each made one is, `[…, m]`.
        """
        real = np.ones(len(self.real)) if real is None else np.asarray(real, np.float64)
        fake = np.ones(len(self.fake)) if fake is None else np.asarray(fake, np.float64)
        across = ((real @ self.across) * fake).sum(-1) / (real.sum(-1) * fake.sum(-1))
        return mean_over_pairs(self.real, real) + mean_over_pairs(self.fake, fake) - 2 * across


def kid_kernels(real: np.ndarray, fake: np.ndarray) -> KidKernels:
    """The kernel (x·y / F + 1)³ between images (Bińkowski 2018)."""
    real, fake = check_features(real, fake)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3
    return KidKernels(kernel(real, real), kernel(fake, fake), kernel(real, fake))


def kid(real: np.ndarray, fake: np.ndarray) -> float:
    """The kernel distance of features (Bińkowski 2018), of all images at once; without bias, however few they are."""
    return float(kid_kernels(real, fake).distance())


def mean_over_pairs(matrix: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean over pairs of different images of `matrix [n, n]`, drawn `weight [..., n]` times; NaN without pairs."""
    weight = np.asarray(weight, np.float64)
    pairs = weight.sum(-1) ** 2 - (weight**2).sum(-1)
    total = ((weight @ matrix) * weight).sum(-1) - (weight**2) @ np.diag(matrix)
    return np.where(pairs > 0, total / np.where(pairs > 0, pairs, 1), np.nan)


def neighbour_radii(features: np.ndarray, near: int) -> np.ndarray:
    """Distance of each image to its `near`-th neighbour, or its farthest where there are fewer, `[n]`."""
    return np.sort(cdist(features, features), 1)[:, min(near, len(features) - 1)]  # the first is itself


def precision_recall(real: np.ndarray, fake: np.ndarray, near: int = NEAR) -> tuple[np.ndarray, np.ndarray]:
    """Which made images lie among the real ones, and the other way round (Kynkäänniemi 2019).

    Returns:
      `[m]` bool, whether a made image lies within the distance to the `near`-th neighbour of some real one: their
      share is the precision; and `[n]` bool, the same of real images among made ones: the recall.
    """
    real, fake = check_features(real, fake)
    apart = cdist(real, fake)
    return ((apart <= neighbour_radii(real, near)[:, None]).any(0), (apart <= neighbour_radii(fake, near)).any(1))


def density_coverage(real: np.ndarray, fake: np.ndarray, near: int = NEAR_DENSE) -> tuple[np.ndarray, np.ndarray]:
    """How many real images each made one lies among, and which real ones are met with (Naeem 2020).

    Both look from real images alone, so that a single made image far off spoils nothing.

    Returns:
      `[m]`, in how many real images' balls a made image lies, over `near`: their mean is the density, near 1 for the
      same distribution, above where made ones crowd; and `[n]` bool, whether a real image has a made one within its
      ball: their share is the coverage.
    """
    real, fake = check_features(real, fake)
    inside = cdist(real, fake) <= neighbour_radii(real, near)[:, None]
    return inside.sum(0) / min(near, len(real) - 1), inside.any(1)


def pairwise_distances(features: np.ndarray) -> np.ndarray:
    """Euclidean distances of images from each other, `[n, n]`: their `pair_mean` is how varied they are."""
    return cdist(features, features)


def nearest_neighbours(images: np.ndarray, known: np.ndarray, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How far images are from the nearest of those known, and which that is.

    Args:
      images: `[n, …]`.
      known: `[k, …]`.
      own: where the images are some of the known ones, the number of each, `[n]`: none is its own neighbour.

    Returns:
      The root of the mean squared difference `[n]`, NaN without another image, and the neighbour's number `[n]`.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import

    images, known = (np.asarray(x, np.float32).reshape(len(x), -1) for x in (images, known))
    if own is not None and len(known) < 2:
        return np.full(len(images), np.nan), np.zeros(len(images), int)
    count = 1 if own is None else 2
    far, which = NearestNeighbors(n_neighbors=count, algorithm='brute').fit(known).kneighbors(images)
    place = np.zeros(len(images), int) if own is None else (which[:, 0] == own).astype(int)
    far, which = (np.take_along_axis(x, place[:, None], 1)[:, 0] for x in (far, which))
    return far.astype(np.float64) / np.sqrt(images.shape[1]), which
