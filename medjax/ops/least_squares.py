"""Least squares with few unknowns, by the gradients that JAX gives: Levenberg 1944, Marquardt 1963."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

FIRST, EASED, STIFFENED = 1e-2, 0.3, 5.0  # damping at the start, and its factor after a good and a bad step
BOUNDS = (1e-8, 1e8)  # of the damping


def fit(residual: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int = 60) -> tuple[jax.Array, jax.Array]:
    """Finds unknowns that make the sum of the squared residuals small.

    Derivatives are taken forwards: a step costs as much as `residual` does, once for each unknown and twice more. A
    step that makes the sum larger, or NaN, is not taken, so the result is never worse than the start. Unknowns should
    be of about the same size, 1.

    Args:
      residual: `[P] -> [N]`, traceable.
      start: `[P]` float.
      steps: how many are tried; more change nothing where it has come to rest.

    Returns:
      The unknowns `[P]`, and the sum of squares; traceable, and to be mapped over many problems by `jax.vmap`.
    """
    def both(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = residual(at)
        return found, found

    def step(carry: tuple[jax.Array, jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
        at, cost, damping = carry
        slope, rest = jax.jacfwd(both, has_aux=True)(at)
        square = slope.T @ slope
        # An unknown that nothing depends on would make the matrix singular.
        diagonal = jnp.maximum(jnp.diag(square), 1e-12 * jnp.maximum(jnp.diag(square).max(), 1e-20))
        new = at - jnp.linalg.solve(square + jnp.diag(damping * diagonal), slope.T @ rest)
        after = (residual(new)**2).sum()
        good = after < cost
        damping = jnp.clip(damping * jnp.where(good, EASED, STIFFENED), *BOUNDS)
        return (jnp.where(good, new, at), jnp.where(good, after, cost), damping), None

    start = jnp.asarray(start, jnp.float32)
    first = (start, (residual(start)**2).sum(), jnp.float32(FIRST))
    (at, cost, _), _ = jax.lax.scan(step, first, None, length=steps)
    return at, cost
