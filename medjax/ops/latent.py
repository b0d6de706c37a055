"""Divergences between distributions of latent variables."""

import jax
import jax.numpy as jnp


def kl_to_standard_normal(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """The Kullback-Leibler divergence KL(q ‖ N(0, I)) of normal distributions q with diagonal covariance.

    Args:
      mean: `[…, L]`.
      log_variance: `[…, L]`, natural logarithms.

    Returns:
      `[…]`, in nats (Kingma 2014, appendix B).
    """
    return 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
