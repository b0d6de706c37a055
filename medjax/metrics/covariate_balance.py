"""Balance of two treatment groups: in their covariates, and in the features that a network computes of them."""

import jax
import jax.numpy as jnp
import numpy as np


def mmd(x: jax.Array, group: jax.Array, mask: jax.Array, width: float = 1.0) -> jax.Array:
    """The squared maximum mean discrepancy of two groups, with a Gaussian kernel (Gretton 2012, biased estimate).

    Args:
      x: `[B, F]` features.
      group: `[B]`, 0 or 1.
      mask: `[B]`; cases with 0 do not count.
      width: the kernel's standard deviation, in the unit of x.

    Returns:
      A float32 scalar of at least 0; 0 where both groups have the same distribution, or one of them is empty.
    """
    x = x.astype(jnp.float32)
    square = (x**2).sum(1)
    # Rounding may make a squared distance negative.
    distance = jnp.maximum(square[:, None] + square - 2 * x @ x.T, 0)
    kernel = jnp.exp(-distance / (2 * width**2))
    members = [mask * (group == number).astype(mask.dtype) for number in (0, 1)]
    shares = [of / jnp.maximum(of.sum(), 1) for of in members]
    difference = shares[1] - shares[0]
    both = (shares[0].sum() > 0) & (shares[1].sum() > 0)
    return jnp.where(both, jnp.maximum(difference @ kernel @ difference, 0), 0.0)


def inverse_propensity(treatment: np.ndarray, propensity: np.ndarray, least: float = 0.05) -> np.ndarray:
    """Weights by the inverse probability of the treatment that was given (Rosenbaum 1987).

    Args:
      treatment: `[n]`, 0 or 1.
      propensity: `[n]`, the probability of being treated.
      least: probabilities are clipped to [least, 1 - least].

    Returns:
      `[n]` float64.
    """
    probability = np.clip(np.asarray(propensity, np.float64), least, 1 - least)
    return 1 / np.where(treatment == 1, probability, 1 - probability)


def standardised_difference(x: np.ndarray, treatment: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Standardised mean differences of the treated and the untreated group (Austin 2009).

    The mean of the treated minus that of the untreated is divided by the root of the mean of both groups' variances.
    The variances are not weighted, so that differences before and after weighting have the same unit.

    Args:
      x: `[n, F]` covariates; NaN where one is missing.
      treatment: `[n]`, 0 or 1; both occur.
      weight: `[n]`; 1 by default.

    Returns:
      `[F]`; for a covariate that does not vary within the groups 0 where their means are equal, else NaN; NaN also
      where a group has no value.
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
