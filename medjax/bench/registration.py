"""One pair of simulated brains brought together: our optimisation against SimpleITK's B-splines."""

from typing import Any

import numpy as np

from medjax.bench.side import Side


def pair(shape: tuple[int, ...], spacing: float) -> dict[str, np.ndarray]:
    """A pair and its points, `[1, …]` each."""
    from medjax.data.datasets import registration
    from medjax.data.simulated import registration as simulated_registration
    source = simulated_registration.source(cases=(1, 1, 1), shape=shape, spacing=spacing, seed=7)
    return registration.dataset(source, size=shape).batch(np.array([2]))


def told(given: dict[str, np.ndarray], there: Any, spacing: float) -> str:
    """What came of it, in words: a time is worth little without."""
    import jax.numpy as jnp

    from medjax.losses import image_similarity
    from medjax.ops import deformation
    there, steps = jnp.asarray(there), [spacing] * len(there)
    far = [deformation.target_registration_error(field, given['points'][0], given['targets'][0], steps).mean()
           for field in (0 * there, there)]
    moved = deformation.warp(jnp.asarray(given['moving'][0]), there)
    alike = 1 - image_similarity.local_correlation(jnp.asarray(given['fixed']), moved[None])[0]
    return (f'TRE {float(far[0]):.2f} → {float(far[1]):.2f} mm, correlation in windows {float(alike):.3f}, '
            f'{100 * float(deformation.folding_fraction(there)):.3f} % folded')


def ours(shape: tuple[int, ...], spacing: float) -> Side:
    """An affine map and a velocity by `ops.instance_optimisation`, with its inverse."""
    import jax

    from medjax.losses import image_similarity
    from medjax.ops import deformation
    from medjax.ops.instance_optimisation import OptimisationOptions, optimise
    given, search = pair(shape, spacing), OptimisationOptions(weight=0.2)

    @jax.jit
    def found(fixed: jax.Array, moving: jax.Array) -> tuple[jax.Array, jax.Array]:
        way = optimise(fixed, moving, image_similarity.make_dissimilarity({'name': 'ncc'}), [spacing] * len(shape), search)
        return deformation.displacement_field(*way, shape), deformation.inverse_displacement_field(*way, shape)

    def run() -> Any:
        return jax.block_until_ready(found(given['fixed'][0], given['moving'][0]))

    return Side(run, settings=f'260 steps and 150 affine ones; {told(given, run()[0], spacing)}')


def simpleitk(shape: tuple[int, ...], spacing: float, metric: str) -> Side:
    """An affine map and a free-form deformation by SimpleITK."""
    from medjax.tasks.registration import bspline_baseline
    given = pair(shape, spacing)

    def run() -> np.ndarray:
        return bspline_baseline.register(given['fixed'][0, ..., 0], given['moving'][0, ..., 0], [spacing] * len(shape),
                                metric=metric)

    return Side(run, settings=f'{metric}; {told(given, run(), spacing)}')
