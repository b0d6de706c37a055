"""A tumour as a density of cells that divide and wander: the reaction–diffusion equation of Fisher and KPP.

    ∂u/∂t = ∇·(D(x) ∇u) + ρ u (1 − u),   no flux through the borders

u is the share of what the tissue can hold, from 0 to 1. Cells wander in white matter some ten times as fast as in grey
(Swanson 2000), and not at all in fluid or beyond the brain. It is a simulation: of a real tumour it knows nothing of
necrosis, of mass effect or of treatment. Far from where it began its front moves at 2 √(D ρ), and ahead of it u falls
by a factor e every √(D / ρ).

Cells wander by explicit finite volumes and divide by the logistic law in closed form, half before and half after
(Strang 1968). So what wanders is neither made nor lost, and without wandering each voxel grows as the law says.
Lengths are mm, times days.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.ops import least_squares

SAFE = 0.9  # of the longest stable step
LARGEST = 0.3  # of the rate times a step: dividing and wandering are done in turn, which long steps would blur
TINY = 1e-6


class Growth(NamedTuple):
    """What was fitted: `diffusion` mm² / day where it is fastest, `rate` 1 / day, and the `error`, RMS of residuals."""

    diffusion: jax.Array
    rate: jax.Array
    error: jax.Array


def steps(duration: float, diffusion: float, rate: float, spacing: Sequence[float]) -> int:
    """How many steps a duration needs so that none is longer than is stable and exact.

    An explicit step is stable up to 1 / (2 D Σ 1 / h²), of the largest diffusion D anywhere.
    """
    values = (duration, diffusion, rate, *spacing)
    if not all(math.isfinite(value) for value in values) or min(values[:3]) < 0 or min(spacing) <= 0:
        raise InputError(f'duration {duration}, diffusion {diffusion}, rate {rate}, spacing {tuple(spacing)}; expected '
                         'numbers of at least 0, and a spacing above 0')
    fastest = max(2 * diffusion * sum(1 / h**2 for h in spacing) / SAFE, rate / LARGEST)
    return max(1, math.ceil(duration * fastest))


def simulate(density: jax.Array, diffusion: jax.Array, rate: jax.Array | float, duration: jax.Array | float,
             spacing: Sequence[float], steps: int) -> jax.Array:
    """Lets a tumour grow.

    Args:
      density: `[*S]`, u from 0 to 1.
      diffusion: `[*S]`, mm² / day; 0 where no cell can go.
      rate: of division, 1 / day, `[]` or `[*S]`.
      duration: days.
      spacing: mm of a voxel along each of S.
      steps: how many, no fewer than `steps()` says; fewer give numbers without meaning.

    Returns:
      u after the duration, `[*S]` float32; differentiable by everything but the spacing.
    """
    if density.ndim != len(spacing) or density.shape != diffusion.shape or steps < 1:
        raise InputError(f'density {density.shape}, diffusion {diffusion.shape}, spacing {tuple(spacing)}, steps '
                         f'{steps}; expected two arrays of one shape, a spacing for each of its axes, and a step')
    step = jnp.asarray(duration, jnp.float32) / steps
    faces = [_between(diffusion, axis) * (step / h**2) for axis, h in enumerate(spacing)]
    # Of a half step: u → u e / (1 + u (e - 1)).
    more = jnp.expm1(jnp.asarray(rate, jnp.float32) * step / 2)

    def divided(u: jax.Array) -> jax.Array:
        return u * (1 + more) / (1 + u * more)

    def once(u: jax.Array, _: None) -> tuple[jax.Array, None]:
        u = divided(u)
        moved = u
        for axis, face in enumerate(faces):
            flux = face * jnp.diff(u, axis=axis)
            pad = [(0, 0)] * u.ndim
            moved = moved + jnp.pad(flux, [*pad[:axis], (0, 1), *pad[axis + 1:]])
            moved = moved - jnp.pad(flux, [*pad[:axis], (1, 0), *pad[axis + 1:]])
        return divided(moved), None

    return jax.lax.scan(once, jnp.asarray(density, jnp.float32), None, length=steps)[0]


def profile(distance: jax.Array, diffusion: jax.Array, rate: jax.Array, threshold: float) -> jax.Array:
    """The density about the border of a mask, as a front that has long been on its way has it.

    Args:
      distance: `[*S]`, mm to the border of the mask, below zero within.
      diffusion: mm² / day.
      rate: 1 / day.
      threshold: the density at the border.

    Returns:
      `[*S]`: 1 far within, and less by a factor e every √(diffusion / rate) without.
    """
    odds = math.log(threshold / (1 - threshold))
    return jax.nn.sigmoid(odds - distance / jnp.sqrt(diffusion / rate))


def invert(before: jax.Array, after: jax.Array, tissue: jax.Array, duration: jax.Array | float,
           spacing: Sequence[float], *, steps: int, most: float, start: Sequence[float] = (0.1, 0.02),
           iterations: int = 25) -> Growth:
    """Finds diffusion and rate from the density in two scans.

    Noise in the second scan does little. That of the first grows in every simulation, which a smaller diffusion then
    has to explain: it had better be smoothed before.

    Args:
      before: `[*S]`, u in the first scan.
      after: `[*S]`, u in the second one.
      tissue: `[*S]`, how fast cells wander as a share of where they are fastest; 0 where they cannot go.
      duration: days between the scans.
      spacing: mm of a voxel.
      steps: of a simulation with the diffusion `most`.
      most: mm² / day, the largest diffusion that is looked for.
      start: diffusion and rate that the search begins with.
      iterations: see `least_squares.fit`.
    """
    def residual(unknown: jax.Array) -> jax.Array:
        diffusion, rate = _meant(unknown, most)
        return (simulate(before, diffusion * tissue, rate, duration, spacing, steps) - after).ravel()

    return _found(residual, start, most, iterations, after.size)


def invert_masks(distance: jax.Array, after: jax.Array, tissue: jax.Array, duration: jax.Array | float,
                 spacing: Sequence[float], *, steps: int, most: float, threshold: float,
                 start: Sequence[float] = (0.1, 0.02), doubt: float = 1.0, iterations: int = 15) -> Growth:
    """Finds diffusion and rate from the masks of two scans.

    How far the border went tells √(D ρ) and little more: which of the two it is, only the front's width would say,
    which a mask does not show. So both are held near `start`, where masks say nothing else.

    Args:
      distance: `[*S]`, mm to the border of the first mask, below zero within.
      after: `[*S]`, the second mask, 0 or 1.
      tissue: see `invert`, as for duration, spacing, steps, most and iterations.
      duration: …
      spacing: …
      steps: …
      most: …
      threshold: the density from which a voxel belongs to the masks.
      start: what diffusion and rate commonly are.
      doubt: how firmly they are held: what a logarithm that is 1 away counts, against 1 for a voxel that is wrong.
      iterations: …
    """
    centre = jnp.log(jnp.asarray(start, jnp.float32))
    voxel = min(spacing)

    def residual(unknown: jax.Array) -> jax.Array:
        diffusion, rate = _meant(unknown, most)
        u = jnp.where(tissue > 0, profile(distance, diffusion, rate, threshold), 0)
        u = simulate(u, diffusion * tissue, rate, duration, spacing, steps)
        soft = jax.nn.sigmoid(ahead(u, diffusion, rate, threshold) / (voxel / 2))
        return jnp.concatenate([(jnp.where(tissue > 0, soft, 0) - after).ravel(), (unknown - centre) * doubt])

    return _found(residual, start, most, iterations, after.size)


def ahead(density: jax.Array, diffusion: jax.Array, rate: jax.Array, threshold: float) -> jax.Array:
    """About how far, in mm, a voxel lies within the border where the density is the threshold; `profile` turned."""
    density = jnp.clip(density, TINY, 1 - TINY)
    odds = jnp.log(density) - jnp.log1p(-density) - math.log(threshold / (1 - threshold))
    return odds * jnp.sqrt(diffusion / rate)


def _between(diffusion: jax.Array, axis: int) -> jax.Array:
    """The diffusion through the faces between voxels along an axis: the harmonic mean, so that 0 lets nothing by."""
    low, high = (jax.lax.slice_in_dim(diffusion, first, diffusion.shape[axis] - 1 + first, axis=axis)
                 for first in (0, 1))
    total = low + high
    return jnp.where(total > 0, 2 * low * high / jnp.where(total > 0, total, 1), 0)


def _meant(unknown: jax.Array, most: float) -> tuple[jax.Array, jax.Array]:
    """Diffusion and rate of what is searched, their logarithms."""
    return jnp.exp(jnp.minimum(unknown[0], math.log(most))), jnp.exp(jnp.clip(unknown[1], -16, 2))


def _found(residual, start: Sequence[float], most: float, iterations: int, count: int) -> Growth:
    at, cost = least_squares.fit(residual, jnp.log(jnp.asarray(start, jnp.float32)), iterations)
    return Growth(*_meant(at, most), jnp.sqrt(cost / count))
