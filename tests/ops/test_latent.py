"""Divergences of latent distributions."""

import numpy as np

from medjax.ops.latent import kl_to_standard_normal


def test_the_divergence_equals_a_monte_carlo_estimate():
    """The mean of log q - log p over draws from q, in three dimensions."""
    rng = np.random.default_rng(0)
    mean, log_variance = np.array([0.3, -1.0, 0.0]), np.array([-0.5, 0.4, 0.0])
    z = mean + np.exp(log_variance / 2) * rng.normal(size=(400_000, 3))
    log_q = -0.5 * ((z - mean) ** 2 / np.exp(log_variance) + log_variance).sum(1)
    log_p = -0.5 * (z**2).sum(1)
    estimate, error = (log_q - log_p).mean(), (log_q - log_p).std() / len(z) ** 0.5
    assert abs(float(kl_to_standard_normal(mean, log_variance)) - estimate) < 4 * error < 0.02
    assert float(kl_to_standard_normal(np.zeros(3), np.zeros(3))) == 0
