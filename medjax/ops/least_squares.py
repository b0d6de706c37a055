"""Nonlinear least squares with few unknowns by the Levenberg-Marquardt algorithm (Levenberg 1944, Marquardt 1963)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# Initial damping, and its factors after accepted and rejected steps.
INITIAL_DAMPING, ACCEPTED_FACTOR, REJECTED_FACTOR = 1e-2, 0.3, 5.0
DAMPING_RANGE = (1e-8, 1e8)


def fit(residual: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int = 60) -> tuple[jax.Array, jax.Array]:
    """Minimises the sum of squared residuals.

    Derivatives are computed in forward mode: a step costs as much as P + 2 evaluations of `residual`. A step that
    increases the sum, or makes it NaN, is rejected, so the result is never worse than the start. The unknowns should
    be scaled to a magnitude of about 1.

    Args:
      residual: `[P] -> [N]`, traceable.
      start: `[P]` float, initial values.
      steps: number of steps tried; after convergence further steps change nothing.

    Returns:
      The unknowns `[P]` and the sum of squares. The function is traceable and can be mapped over problems by
      `jax.vmap`.
    """
    def twice(unknowns: jax.Array) -> tuple[jax.Array, jax.Array]:
        residuals = residual(unknowns)
        return residuals, residuals

    def step(carry: tuple[jax.Array, jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
        unknowns, cost, damping = carry
        jacobian, residuals = jax.jacfwd(twice, has_aux=True)(unknowns)
        normal = jacobian.T @ jacobian
        # The lower bound keeps the matrix regular for an unknown that no residual depends on.
        diagonal = jnp.maximum(jnp.diag(normal), 1e-12 * jnp.maximum(jnp.diag(normal).max(), 1e-20))
        new = unknowns - jnp.linalg.solve(normal + jnp.diag(damping * diagonal), jacobian.T @ residuals)
        new_cost = (residual(new)**2).sum()
        accepted = new_cost < cost
        damping = jnp.clip(damping * jnp.where(accepted, ACCEPTED_FACTOR, REJECTED_FACTOR), *DAMPING_RANGE)
        return (jnp.where(accepted, new, unknowns), jnp.where(accepted, new_cost, cost), damping), None

    start = jnp.asarray(start, jnp.float32)
    first = (start, (residual(start)**2).sum(), jnp.float32(INITIAL_DAMPING))
    (unknowns, cost, _), _ = jax.lax.scan(step, first, None, length=steps)
    return unknowns, cost
