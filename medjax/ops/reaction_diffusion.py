"""Tumour growth as a density of proliferating and migrating cells: the Fisher-KPP reaction–diffusion equation.

    ∂u/∂t = ∇·(D(x) ∇u) + ρ u (1 − u),   no flux across the boundary

u is the cell density as a fraction of the carrying capacity, from 0 to 1. Cells migrate about ten times faster in white
matter than in grey matter (Swanson 2000), and not at all in cerebrospinal fluid or outside of the brain. The model does
not include necrosis, mass effect or treatment. Far from its origin the front moves at the speed 2 √(D ρ), and ahead of
it u decays by a factor e per distance √(D / ρ).

Diffusion is solved by explicit finite volumes and proliferation in closed form by the logistic law, half a step before
and half a step after diffusion (Strang 1968). Diffusion therefore conserves the number of cells, and without diffusion
each voxel follows the logistic law. Lengths are in mm, times in days.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.ops import least_squares

STABILITY_FACTOR = 0.9  # fraction of the largest stable step
MAX_RATE_STEP = 0.3  # largest product of rate and step, which limits the splitting error
EPSILON = 1e-6


class GrowthParameters(NamedTuple):
    """Fitted parameters: largest `diffusion` in mm² / day, `rate` in 1 / day, and `error`, the RMS residual."""

    diffusion: jax.Array
    rate: jax.Array
    error: jax.Array


def stable_steps(duration: float, diffusion: float, rate: float, spacing: Sequence[float]) -> int:
    """The number of time steps needed for a stable and accurate simulation.

    An explicit step is stable up to 1 / (2 D Σ 1 / h²), with the largest diffusion coefficient D of the domain.

    Args:
      duration: days.
      diffusion: largest diffusion coefficient, mm² / day.
      rate: proliferation rate, 1 / day.
      spacing: voxel size in mm along each axis.

    Raises:
      InputError: a number is negative or not finite, or a spacing is not positive.
    """
    values = (duration, diffusion, rate, *spacing)
    if not all(math.isfinite(value) for value in values) or min(values[:3]) < 0 or min(spacing) <= 0:
        raise InputError(f'duration {duration}, diffusion {diffusion}, rate {rate}, spacing {tuple(spacing)}; expected '
                         'numbers of at least 0, and a spacing above 0')
    steps_per_day = max(2 * diffusion * sum(1 / h**2 for h in spacing) / STABILITY_FACTOR, rate / MAX_RATE_STEP)
    return max(1, math.ceil(duration * steps_per_day))


def simulate(density: jax.Array, diffusion: jax.Array, rate: jax.Array | float, duration: jax.Array | float,
             spacing: Sequence[float], steps: int) -> jax.Array:
    """Simulates the growth of a tumour.

    Args:
      density: `[*S]`, u from 0 to 1.
      diffusion: `[*S]`, diffusion coefficient in mm² / day; 0 where cells cannot migrate.
      rate: proliferation rate, 1 / day, `[]` or `[*S]`.
      duration: days.
      spacing: voxel size in mm along each axis.
      steps: number of time steps, at least `stable_steps`; with fewer steps the result is meaningless.

    Returns:
      u after the duration, `[*S]` float32; differentiable with respect to all arguments but the spacing.

    Raises:
      InputError: the shapes do not match, or there is no step.
    """
    if density.ndim != len(spacing) or density.shape != diffusion.shape or steps < 1:
        raise InputError(f'density {density.shape}, diffusion {diffusion.shape}, spacing {tuple(spacing)}, steps '
                         f'{steps}; expected two arrays of one shape, a spacing for each of its axes, and a step')
    step = jnp.asarray(duration, jnp.float32) / steps
    faces = [_face_diffusion(diffusion, axis) * (step / h**2) for axis, h in enumerate(spacing)]
    # Logistic growth over half a step maps u to u e / (1 + u (e - 1)); this is e - 1.
    growth = jnp.expm1(jnp.asarray(rate, jnp.float32) * step / 2)

    def proliferate(u: jax.Array) -> jax.Array:
        return u * (1 + growth) / (1 + u * growth)

    def time_step(u: jax.Array, _: None) -> tuple[jax.Array, None]:
        u = proliferate(u)
        diffused = u
        for axis, face in enumerate(faces):
            flux = face * jnp.diff(u, axis=axis)
            pad = [(0, 0)] * u.ndim
            diffused = diffused + jnp.pad(flux, [*pad[:axis], (0, 1), *pad[axis + 1:]])
            diffused = diffused - jnp.pad(flux, [*pad[:axis], (1, 0), *pad[axis + 1:]])
        return proliferate(diffused), None

    return jax.lax.scan(time_step, jnp.asarray(density, jnp.float32), None, length=steps)[0]


def front_profile(distance: jax.Array, diffusion: jax.Array, rate: jax.Array, threshold: float) -> jax.Array:
    """The density around the border of a mask, with the profile of a travelling front.

    Args:
      distance: `[*S]`, signed distance to the border of the mask in mm, negative inside.
      diffusion: mm² / day.
      rate: 1 / day.
      threshold: the density at the border.

    Returns:
      `[*S]`: 1 deep inside, decaying by a factor e per distance √(diffusion / rate) outside.
    """
    odds = math.log(threshold / (1 - threshold))
    return jax.nn.sigmoid(odds - distance / jnp.sqrt(diffusion / rate))


def fit_densities(before: jax.Array, after: jax.Array, tissue: jax.Array, duration: jax.Array | float,
                  spacing: Sequence[float], *, steps: int, max_diffusion: float, start: Sequence[float] = (0.1, 0.02),
                  iterations: int = 25) -> GrowthParameters:
    """Estimates diffusion and rate from the cell densities of two scans.

    The estimate is robust to noise in the second scan. Noise in the first scan grows in every simulation, which biases
    the diffusion downwards; smooth the first scan before.

    Args:
      before: `[*S]`, u in the first scan.
      after: `[*S]`, u in the second scan.
      tissue: `[*S]`, diffusion coefficient relative to its maximum; 0 where cells cannot migrate.
      duration: days between the scans.
      spacing: voxel size in mm.
      steps: number of steps of a simulation with the diffusion `max_diffusion`.
      max_diffusion: upper bound of the diffusion, mm² / day.
      start: initial diffusion and rate.
      iterations: see `least_squares.fit`.
    """
    def residual(unknown: jax.Array) -> jax.Array:
        diffusion, rate = _parameters(unknown, max_diffusion)
        return (simulate(before, diffusion * tissue, rate, duration, spacing, steps) - after).ravel()

    return _fit(residual, start, max_diffusion, iterations, after.size)


def fit_masks(distance: jax.Array, after: jax.Array, tissue: jax.Array, duration: jax.Array | float,
              spacing: Sequence[float], *, steps: int, max_diffusion: float, threshold: float,
              start: Sequence[float] = (0.1, 0.02), prior_weight: float = 1.0,
              iterations: int = 15) -> GrowthParameters:
    """Estimates diffusion and rate from the masks of two scans.

    The displacement of the border determines the speed √(D ρ), but hardly D and ρ individually: they would follow
    from the width of the front, which masks do not show. Both are therefore regularised towards `start`.

    Args:
      distance: `[*S]`, signed distance to the border of the first mask in mm, negative inside.
      after: `[*S]`, the second mask, 0 or 1.
      tissue: see `fit_densities`, also for duration, spacing, steps, max_diffusion and iterations.
      duration: …
      spacing: …
      steps: …
      max_diffusion: …
      threshold: the density above which a voxel belongs to the masks.
      start: typical diffusion and rate.
      prior_weight: weight of a deviation of 1 of a logarithm from `start`, relative to the error of one voxel.
      iterations: …
    """
    prior = jnp.log(jnp.asarray(start, jnp.float32))
    voxel = min(spacing)

    def residual(unknown: jax.Array) -> jax.Array:
        diffusion, rate = _parameters(unknown, max_diffusion)
        u = jnp.where(tissue > 0, front_profile(distance, diffusion, rate, threshold), 0)
        u = simulate(u, diffusion * tissue, rate, duration, spacing, steps)
        soft = jax.nn.sigmoid(distance_inside(u, diffusion, rate, threshold) / (voxel / 2))
        return jnp.concatenate([(jnp.where(tissue > 0, soft, 0) - after).ravel(), (unknown - prior) * prior_weight])

    return _fit(residual, start, max_diffusion, iterations, after.size)


def distance_inside(density: jax.Array, diffusion: jax.Array, rate: jax.Array, threshold: float) -> jax.Array:
    """The approximate distance in mm of a voxel inside the threshold's contour: the inverse of `front_profile`."""
    density = jnp.clip(density, EPSILON, 1 - EPSILON)
    odds = jnp.log(density) - jnp.log1p(-density) - math.log(threshold / (1 - threshold))
    return odds * jnp.sqrt(diffusion / rate)


def _face_diffusion(diffusion: jax.Array, axis: int) -> jax.Array:
    """Diffusion coefficients at the faces between voxels along an axis: harmonic means, so that 0 blocks the flux."""
    low, high = (jax.lax.slice_in_dim(diffusion, first, diffusion.shape[axis] - 1 + first, axis=axis)
                 for first in (0, 1))
    total = low + high
    return jnp.where(total > 0, 2 * low * high / jnp.where(total > 0, total, 1), 0)


def _parameters(unknown: jax.Array, max_diffusion: float) -> tuple[jax.Array, jax.Array]:
    """Diffusion and rate from their logarithms, which are the unknowns of the fit."""
    return jnp.exp(jnp.minimum(unknown[0], math.log(max_diffusion))), jnp.exp(jnp.clip(unknown[1], -16, 2))


def _fit(residual, start: Sequence[float], max_diffusion: float, iterations: int, count: int) -> GrowthParameters:
    unknown, cost = least_squares.fit(residual, jnp.log(jnp.asarray(start, jnp.float32)), iterations)
    return GrowthParameters(*_parameters(unknown, max_diffusion), jnp.sqrt(cost / count))
