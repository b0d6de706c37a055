"""Two images brought together by optimisation alone: an affine map first, then a velocity, from coarse to fine.

Nothing is learned from other pairs: it is what classical methods do (Avants 2008, Ashburner 2007), and what the last
steps behind a network can be (Balakrishnan 2019).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from medjax.errors import InputError
from medjax.ops import deformation

FAINT = 1e-3  # a cost's change by a whole voxel's step everywhere that is as good as none

Measure = Callable[[jax.Array, jax.Array], jax.Array]
Rough = Callable[[jax.Array, Sequence[float]], jax.Array]


@dataclasses.dataclass(frozen=True)
class Search:
    """How long and how coarsely is looked.

    Attributes:
      levels: by which factors images shrink, one level after the other.
      steps: of the velocity at each level.
      affine: steps of the affine map at each level; 0 for none.
      rate: of Adam's steps, voxels of the level, falling to 0 along a half cosine at each level.
      turn: of the affine map's, as `flow.affine` counts.
      weight: of the velocity's roughness in the cost.
      shrink: how much coarser the velocity's grid is than the level's images.
      squarings: see `flow.exponential`.
    """

    levels: Sequence[int] = (4, 2, 1)
    steps: Sequence[int] = (100, 100, 60)
    affine: Sequence[int] = (100, 50, 0)
    rate: float = 0.1
    turn: float = 0.02
    weight: float = 1.0
    shrink: int = 2
    squarings: int = deformation.SQUARINGS

    def __post_init__(self):
        lists, numbers = (self.levels, self.steps, self.affine), (self.rate, self.turn, self.weight)
        fine = all(isinstance(some, tuple | list) and len(some) == len(self.levels) > 0 for some in lists) and all(
            isinstance(n, int) and n >= 0 for n in (*self.steps, *self.affine)) and all(
            isinstance(n, int) and n >= 1 for n in (*self.levels, self.shrink, self.squarings)) and all(
            isinstance(x, int | float) for x in numbers) and min(self.rate, self.turn) > 0 and self.weight >= 0
        if not fine:
            raise InputError(f'config.task.refine: {dataclasses.asdict(self)}; expected as many steps and affine as '
                             'levels, whole numbers, and rates above 0')


def optimise(fixed: jax.Array, moving: jax.Array, measure: Measure, spacing: Sequence[float], search: Search,
             start: tuple[jax.Array, jax.Array] | None = None,
             rough: Rough = deformation.roughness) -> tuple[jax.Array, jax.Array]:
    """Finds the affine map and the velocity that bring a moving image onto a fixed one.

    Args:
      fixed: `[*S, C]`.
      moving: `[*S, C]`.
      measure: of `losses.image_similarity`.
      spacing: mm of a voxel, `[D]`.
      search: …
      start: a velocity `[D, *S']` and a generator `[D, D + 1]` to begin with; nothing by default.
      rough: how rough a velocity is whose voxels are so many mm, `flow.roughness` or another.

    Returns:
      Velocity `[D, *S']` in voxels of its own grid, and generator `[D, D + 1]`, as `flow.displaced` takes them.
    """
    shape = fixed.shape[:-1]
    dims = len(shape)
    velocity, generator = start or (None, jnp.zeros((dims, dims + 1)))
    coarse = [coarser(shape, level) for level in search.levels]
    images = [tuple(jax.image.resize(image, (*of, image.shape[-1]), 'linear') for image in (fixed, moving))
              for of in coarse]

    def unlike(pair: tuple[jax.Array, jax.Array], displacement: jax.Array) -> jax.Array:
        return measure(pair[0][None], deformation.warped(pair[1], displacement)[None])[0]

    for pair, of, count in zip(images, coarse, search.affine):
        if count:
            places = deformation.grid(of)
            generator = _descend(lambda g, pair=pair, of=of, places=places: unlike(
                pair, deformation.moved_on(places, deformation.affine(g, of)) - places), generator, count, search.turn)
    for pair, of, count in zip(images, coarse, search.steps):
        small = coarser(of, search.shrink)
        velocity = jnp.zeros((dims, *small)) if velocity is None else deformation.resized(velocity, small)
        steps = [mm * n / m for mm, n, m in zip(spacing, shape, small)]

        def cost(v: jax.Array, pair: Any = pair, of: Any = of, steps: Any = steps) -> jax.Array:
            there = deformation.displaced(v, generator, of, search.squarings)
            return unlike(pair, there) + search.weight * rough(v, steps)

        if count:
            velocity = _descend(cost, velocity, count, search.rate)
    return deformation.resized(velocity, coarser(shape, search.shrink)), generator


def coarser(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """A size so many times smaller, of no less than two voxels along an axis that has them."""
    return tuple(max(-(-n // factor), min(n, 2)) for n in shape)


def _descend(cost: Callable[[jax.Array], jax.Array], start: jax.Array, count: int, rate: float) -> jax.Array:
    # Adam would make full steps of what rounding leaves of a gradient, as in an image without contrast.
    update = optax.adam(optax.cosine_decay_schedule(rate, count), eps=FAINT / start.size)

    def step(_: Any, carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        x, state = carry
        changes, state = update.update(jax.grad(cost)(x), state)
        return x + changes, state

    return jax.lax.fori_loop(0, count, step, (start, update.init(start)))[0]
