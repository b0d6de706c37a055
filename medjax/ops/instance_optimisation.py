"""Registration of one pair of images by optimisation: an affine map, then a velocity field, from coarse to fine.

No training data is used, as in classical registration (Avants 2008, Ashburner 2007). The same optimisation can refine
the output of a network (Balakrishnan 2019).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from medjax.errors import InputError
from medjax.ops import deformation
from medjax.options import Count, NonNegative, NonNegativeInt, Positive

NEGLIGIBLE = 1e-3  # change of the cost, for a step of one voxel everywhere, that counts as no change

Dissimilarity = Callable[[jax.Array, jax.Array], jax.Array]
Regulariser = Callable[[jax.Array, Sequence[float]], jax.Array]


@dataclasses.dataclass(frozen=True)
class OptimisationOptions:
    """Resolutions, numbers of steps and step sizes of the optimisation.

    Attributes:
      downsampling: downsampling factor of the images at each level, from first to last.
      steps: number of steps of the velocity field at each level.
      affine_steps: number of steps of the affine map at each level; 0 for none.
      lr: learning rate of Adam for the velocity field, in voxels of the level; decays to 0 at each level (cosine).
      affine_lr: learning rate for the affine map, in the units of `deformation.affine_matrix`.
      weight: weight of the regulariser in the cost.
      velocity_downsampling: downsampling factor of the velocity field's grid relative to the images of the level.
      squarings: see `deformation.exponential`.
    """

    downsampling: Sequence[Count] = (4, 2, 1)
    steps: Sequence[NonNegativeInt] = (100, 100, 60)
    affine_steps: Sequence[NonNegativeInt] = (100, 50, 0)
    lr: Positive = 0.1
    affine_lr: Positive = 0.02
    weight: NonNegative = 1.0
    velocity_downsampling: Count = 2
    squarings: Count = deformation.SQUARINGS

    def __post_init__(self):
        if not len(self.downsampling) == len(self.steps) == len(self.affine_steps) > 0:
            raise InputError(f'config.task.refine: {dataclasses.asdict(self)}; expected as many steps and '
                             'affine_steps as levels')


def optimise(fixed: jax.Array, moving: jax.Array, dissimilarity: Dissimilarity, spacing: Sequence[float],
             options: OptimisationOptions, start: tuple[jax.Array, jax.Array] | None = None,
             regulariser: Regulariser = deformation.gradient_energy) -> tuple[jax.Array, jax.Array]:
    """Optimises an affine map and a velocity field that register a moving image to a fixed image.

    Args:
      fixed: `[*S, C]`.
      moving: `[*S, C]`.
      dissimilarity: a loss of `losses.image_similarity`.
      spacing: voxel size in mm, `[D]`.
      options: resolutions, steps and learning rates.
      start: initial velocity `[D, *S']` and generator `[D, D + 1]`; the identity map by default.
      regulariser: function of the velocity field and its voxel size in mm, such as `deformation.gradient_energy`.

    Returns:
      Velocity `[D, *S']` in voxels of its own grid, and generator `[D, D + 1]`, the arguments of
      `deformation.displacement_field`.
    """
    shape = fixed.shape[:-1]
    dims = len(shape)
    velocity, generator = start or (None, jnp.zeros((dims, dims + 1)))
    level_shapes = [coarse_shape(shape, level) for level in options.downsampling]
    pairs = [tuple(jax.image.resize(image, (*level_shape, image.shape[-1]), 'linear') for image in (fixed, moving))
             for level_shape in level_shapes]

    def pair_dissimilarity(pair: tuple[jax.Array, jax.Array], displacement: jax.Array) -> jax.Array:
        return dissimilarity(pair[0][None], deformation.warp(pair[1], displacement)[None])[0]

    for pair, level_shape, count in zip(pairs, level_shapes, options.affine_steps):
        grid = deformation.identity_grid(level_shape)

        def affine_cost(g: jax.Array, pair: Any = pair, level_shape: Any = level_shape, grid: Any = grid) -> jax.Array:
            matrix = deformation.affine_matrix(g, level_shape)
            return pair_dissimilarity(pair, deformation.transform_points(grid, matrix) - grid)

        if count:
            generator = _descend(affine_cost, generator, count, options.affine_lr)
    for pair, level_shape, count in zip(pairs, level_shapes, options.steps):
        small = coarse_shape(level_shape, options.velocity_downsampling)
        velocity = jnp.zeros((dims, *small)) if velocity is None else deformation.resize(velocity, small)
        voxel = [mm * n / m for mm, n, m in zip(spacing, shape, small)]

        def velocity_cost(v: jax.Array, pair: Any = pair, level_shape: Any = level_shape,
                          voxel: Any = voxel) -> jax.Array:
            displacement = deformation.displacement_field(v, generator, level_shape, options.squarings)
            return pair_dissimilarity(pair, displacement) + options.weight * regulariser(v, voxel)

        if count:
            velocity = _descend(velocity_cost, velocity, count, options.lr)
    return deformation.resize(velocity, coarse_shape(shape, options.velocity_downsampling)), generator


def coarse_shape(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """The shape divided by a factor, rounded up; axes with two or more voxels keep at least two."""
    return tuple(max(-(-n // factor), min(n, 2)) for n in shape)


def _descend(cost: Callable[[jax.Array], jax.Array], start: jax.Array, count: int, rate: float) -> jax.Array:
    """Minimises a cost by `count` steps of Adam with cosine decay."""
    # A larger epsilon stops Adam from taking full steps along rounding errors, as in an image without contrast.
    schedule = optax.cosine_decay_schedule(rate, count)
    # The schedule mixes its count, an integer, with floats.
    update = optax.adam(lambda done: schedule(done.astype(jnp.float32)), eps=NEGLIGIBLE / start.size)

    def step(_: Any, carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        x, state = carry
        changes, state = update.update(jax.grad(cost)(x), state)
        return x + changes, state

    return jax.lax.fori_loop(0, count, step, (start, update.init(start)))[0]
