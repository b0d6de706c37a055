"""How far two groups of patients are apart: in what is known of them, and in what a network makes of it."""

import jax
import jax.numpy as jnp
import numpy as np


def mmd(x: jax.Array, group: jax.Array, mask: jax.Array, width: float = 1.0) -> jax.Array:
    """The squared maximum mean discrepancy of two groups (Gretton 2012, the biased estimate), with a Gaussian kernel.

    Args:
      x: `[B, F]`.
      group: `[B]`, 0 or 1.
      mask: `[B]`; 0 marks what does not count.
      width: the kernel's standard deviation, in x's units.

    Returns:
      A float32 scalar of at least 0: 0 where both groups are spread alike, or one of them has nobody.
    """
    x = x.astype(jnp.float32)
    square = (x**2).sum(1)
    # Rounding may take a distance below 0.
    apart = jnp.maximum(square[:, None] + square - 2 * x @ x.T, 0)
    kernel = jnp.exp(-apart / (2 * width**2))
    shares = [of / jnp.maximum(of.sum(), 1) for of in (mask * (group == 0), mask * (group == 1))]
    difference = shares[1] - shares[0]
    both = (shares[0].sum() > 0) & (shares[1].sum() > 0)
    return jnp.where(both, jnp.maximum(difference @ kernel @ difference, 0), 0.0)


def inverse_propensity(treatment: np.ndarray, propensity: np.ndarray, least: float = 0.05) -> np.ndarray:
    """Weights by the inverse chance of the treatment that was given (Rosenbaum 1987).

    Args:
      treatment: `[n]`, 0 or 1.
      propensity: `[n]`, the chance to be treated.
      least: chances are taken for no smaller, nor larger than 1 less that.

    Returns:
      `[n]` float64.
    """
    chance = np.clip(np.asarray(propensity, np.float64), least, 1 - least)
    return 1 / np.where(treatment == 1, chance, 1 - chance)


def standardised_difference(x: np.ndarray, treatment: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Means of the treated less those of the others, over the groups' standard deviation (Austin 2009).

    The standard deviation is the root of the mean of both groups' variances, without weights, so that the same unit
    measures the difference before and after weighting.

    Args:
      x: `[n, F]`; NaN where it is missing.
      treatment: `[n]`, 0 or 1; both are there.
      weight: `[n]`; 1 by default.

    Returns:
      `[F]`; 0 where the groups are the same and do not vary, NaN where they differ and do not, or one has no value.
    """
    weight, means, variances = np.ones(len(x)) if weight is None else weight, [], []
    for number in (0, 1):
        values, w = x[treatment == number], weight[treatment == number, None]
        known = ~np.isnan(values)
        filled, count = np.where(known, values, 0), np.maximum(known.sum(0), 1)
        plain = filled.sum(0) / count
        variances.append((np.where(known, values - plain, 0)**2).sum(0) / np.maximum(count - 1, 1))
        total = (w * known).sum(0)
        means.append(np.divide((w * filled).sum(0), total, out=np.full(x.shape[1], np.nan), where=total > 0))
    spread, difference = np.sqrt((variances[0] + variances[1]) / 2), means[1] - means[0]
    return np.divide(difference, spread, out=np.where(difference == 0, 0.0, np.nan), where=spread > 0)
