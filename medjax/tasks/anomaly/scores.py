"""Anomaly scores from latents, and baseline scores without a network."""

import numpy as np

NEIGHBOURS, COMPONENTS = 5, 8


def fit_gaussian(latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[L]` and inverse covariance `[L, L]`, shrunk (Ledoit & Wolf 2004), of latents `[n, L]`."""
    from sklearn.covariance import LedoitWolf  # slow to import

    fitted = LedoitWolf().fit(latents)
    return fitted.location_, fitted.precision_


def mahalanobis_distance(latents: np.ndarray, centre: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Mahalanobis distance of latents from a distribution, `[n]`.

    Args:
      latents: `[n, L]`.
      centre: `[L]`.
      precision: `[L, L]`, the inverse covariance.
    """
    difference = latents - centre
    return np.sqrt(np.maximum(np.einsum('ni,ij,nj->n', difference, precision, difference), 0))


def neighbour_distance(train: np.ndarray, latents: np.ndarray, same: bool) -> np.ndarray:
    """Mean distance of latents to their 5 nearest neighbours among the training latents, `[n]`.

    Args:
      train: `[m, L]`.
      latents: `[n, L]`.
      same: whether both are the same latents; none is its own neighbour then.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import

    count = min(NEIGHBOURS + same, len(train))
    distances, _ = NearestNeighbors(n_neighbors=count).fit(train).kneighbors(latents)
    return distances[:, int(same):].mean(1)


def principal_components(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[V]` and the first 8 principal components `[8, V]` of flat images `[n, V]`."""
    mean = images.mean(0)
    _, _, axes = np.linalg.svd(images - mean, full_matrices=False)
    return mean, axes[:COMPONENTS]


def baseline_scores(images: np.ndarray, mean: np.ndarray, components: np.ndarray) -> dict[str, np.ndarray]:
    """Anomaly scores without a network.

    Args:
      images: `[n, V]`, flat.
      mean: `[V]`, of the training images.
      components: `[K, V]`, principal components of the training images.

    Returns:
      `contrast`, the negative standard deviation of the voxels of an image, and `pca`, the mean squared residual after
      projection onto the components, `[n]` each.
    """
    residual = images - mean - (images - mean) @ components.T @ components
    return {'contrast': -images.std(1), 'pca': (residual**2).mean(1)}
