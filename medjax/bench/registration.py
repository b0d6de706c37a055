"""Registration of a pair of simulated brains: instance optimisation against SimpleITK's B-splines."""

from typing import Any

import numpy as np

from medjax.bench.side import Side
from medjax.machine import cores


def brain_pair(shape: tuple[int, ...], spacing: float) -> dict[str, np.ndarray]:
    """The images of a pair and its landmarks, `[1, …]` each."""
    from medjax.data.datasets import registration
    from medjax.data.simulated import registration as simulated_registration
    source = simulated_registration.source(cases=(1, 1, 1), shape=shape, spacing=spacing, seed=7)
    return registration.dataset(source, size=shape).batch(np.array([2]))


def quality_summary(pair: dict[str, np.ndarray], field: Any, spacing: float) -> str:
    """The quality of a registration in words, to be reported with its time.

    Args:
      pair: the pair, `[1, …]` each.
      field: `[D, *S]`, the displacement in voxels.
      spacing: mm along each axis.
    """
    import jax.numpy as jnp

    from medjax.losses import image_similarity
    from medjax.ops import deformation
    field, steps = jnp.asarray(field), [spacing] * len(field)
    before, after = (
        deformation.target_registration_error(displacement, pair['points'][0], pair['targets'][0], steps).mean()
        for displacement in (0 * field, field))
    warped = deformation.warp(jnp.asarray(pair['moving'][0]), field)
    correlation = 1 - image_similarity.local_correlation(jnp.asarray(pair['fixed']), warped[None])[0]
    return (f'TRE {float(before):.2f} → {float(after):.2f} mm, correlation in windows {float(correlation):.3f}, '
            f'{100 * float(deformation.folding_fraction(field)):.3f} % folded')


def medjax_side(shape: tuple[int, ...], spacing: float) -> Side:
    """medjax: an affine map and a velocity field by `ops.instance_optimisation`, and the inverse map."""
    import jax

    from medjax.losses import image_similarity
    from medjax.ops import deformation
    from medjax.ops.instance_optimisation import OptimisationOptions, optimise
    pair, options = brain_pair(shape, spacing), OptimisationOptions(weight=0.2)
    dissimilarity = image_similarity.make_dissimilarity({'name': 'ncc'})

    @jax.jit
    def register(fixed: jax.Array, moving: jax.Array) -> tuple[jax.Array, jax.Array]:
        transform = optimise(fixed, moving, dissimilarity, [spacing] * len(shape), options)
        return (deformation.displacement_field(*transform, shape),
                deformation.inverse_displacement_field(*transform, shape))

    def run() -> Any:
        return jax.block_until_ready(register(pair['fixed'][0], pair['moving'][0]))

    return Side(run, settings=f'260 steps and 150 affine ones; {quality_summary(pair, run()[0], spacing)}')


def simpleitk_side(shape: tuple[int, ...], spacing: float, metric: str) -> Side:
    """SimpleITK: an affine map and a free-form deformation."""
    from medjax.tasks.registration import bspline_baseline
    pair = brain_pair(shape, spacing)

    def run() -> np.ndarray:
        return bspline_baseline.register(pair['fixed'][0, ..., 0], pair['moving'][0, ..., 0], [spacing] * len(shape),
                                         metric=metric, threads=cores())

    return Side(run, settings=f'{metric}; {quality_summary(pair, run(), spacing)}')
