"""Smooth maps of space: velocities, the diffeomorphisms they become, and how smooth, invertible and right these are.

A displacement says, for each voxel of the fixed image, how much further on in the moving image it is read: voxel x goes
to x + u(x). Fields are `[D, *S]` float32 in voxels, of one example; `spacing` is mm along each axis where mm are meant.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops.warp import HIGHEST, sample

SQUARINGS = 6


def grid(shape: Sequence[int]) -> jax.Array:
    """Each voxel's own place, `[D, *S]` float32."""
    return jnp.stack(jnp.meshgrid(*[jnp.arange(n, dtype=jnp.float32) for n in shape], indexing='ij'))


def warped(image: jax.Array, displacement: jax.Array, kind: str = 'linear') -> jax.Array:
    """An image `[*S, C]` read at displaced places, `[*S', C]`; what lies outside is as the outermost voxels."""
    return sample(image, grid(displacement.shape[1:]) + displacement, kind, 'nearest')


def compose(last: jax.Array, first: jax.Array) -> jax.Array:
    """The displacement of going by `first`, and on by `last`: x goes to y = x + first(x), and then to y + last(y).

    An image warped by `last`, and what comes of it by `first`, is the image warped by the composition.
    """
    return first + jnp.moveaxis(warped(jnp.moveaxis(last, 0, -1), first), -1, 0)


def exponential(velocity: jax.Array, squarings: int = SQUARINGS) -> jax.Array:
    """The displacement after the time 1 of flowing along a velocity that does not change (Arsigny 2006).

    It is that of a diffeomorphism, whose inverse is the exponential of minus the velocity, as far as the grid is fine
    enough for the velocity's changes.

    Args:
      velocity: `[D, *S]`, voxels in the time 1.
      squarings: how often the time 2^-squarings is doubled.
    """
    start = velocity / 2**squarings
    return jax.lax.scan(lambda u, _: (compose(u, u), None), start, None, length=squarings)[0]


def resized(field: jax.Array, shape: Sequence[int]) -> jax.Array:
    """A displacement or velocity on a grid of another size over the same space, in voxels of that grid, linearly."""
    ratio = jnp.array([n / m for n, m in zip(shape, field.shape[1:])], jnp.float32)
    out = jax.image.resize(field, (len(field), *shape), 'linear', precision=HIGHEST)
    return out * ratio.reshape(-1, *[1] * len(shape))


def affine(generator: jax.Array, shape: Sequence[int], sign: float = 1.0) -> jax.Array:
    """The affine map whose logarithm is given: of any numbers one that can be undone, by `sign` -1.

    Args:
      generator: `[D, D + 1]`: a velocity, linear in the place, about the image's middle; 1 is half of its longest axis
        from edge to edge, so that it is the same map on a coarser grid, as far as sizes divide.
      shape: `*S`.
      sign: of the generator.

    Returns:
      `[D, D + 1]`: the place x, in voxels, goes to `matrix @ x + shift`.
    """
    dims = len(shape)
    power = _power(sign * jnp.zeros((dims + 1, dims + 1)).at[:dims].set(generator))
    centre, half = jnp.array([(n - 1) / 2 for n in shape]), max(shape) / 2
    matrix = power[:dims, :dims]
    shift = power[:dims, dims] * half + centre - jnp.matmul(matrix, centre, precision=HIGHEST)
    return jnp.concatenate([matrix, shift[:, None]], 1)


def _power(matrix: jax.Array) -> jax.Array:
    """The exponential of a small matrix: its series at a 64th of it, squared; JAX's own takes long to compile."""
    product, one = functools.partial(jnp.matmul, precision=HIGHEST), jnp.eye(len(matrix))
    part, out = matrix / 64, one
    for k in range(6, 0, -1):
        out = one + product(part, out) / k
    return jax.lax.fori_loop(0, 6, lambda _, x: product(x, x), out)


def moved_on(places: jax.Array, matrix: jax.Array) -> jax.Array:
    """Where an affine map `[D, D + 1]` takes places `[D, …]`."""
    dims = len(matrix)
    return jnp.stack([sum(matrix[a, b] * places[b] for b in range(dims)) + matrix[a, dims] for a in range(dims)])


def displaced(velocity: jax.Array, generator: jax.Array | None, shape: Sequence[int],
              squarings: int = SQUARINGS) -> jax.Array:
    """The displacement `[D, *S]` of a velocity's flow and then an affine map.

    Args:
      velocity: `[D, *S']`, perhaps on a coarser grid, on which it is integrated.
      generator: see `affine`; None for no affine map.
      shape: `*S`.
      squarings: see `exponential`.
    """
    there = resized(exponential(velocity, squarings), shape)
    if generator is None:
        return there
    places = grid(shape)
    return moved_on(places + there, affine(generator, shape)) - places


def undone(velocity: jax.Array, generator: jax.Array | None, shape: Sequence[int],
           squarings: int = SQUARINGS) -> jax.Array:
    """The inverse of what `displaced` gives, by its arguments, not by search."""
    back = resized(exponential(-velocity, squarings), shape)
    if generator is None:
        return back
    places = grid(shape)
    return compose(back, moved_on(places, affine(generator, shape, -1.0)) - places)


def determinants(displacement: jax.Array) -> jax.Array:
    """Jacobian determinants of x + u(x): how many times larger each piece of space becomes.

    Of each cell between voxels, at each of its corners, by differences along the cell's own edges: central differences
    would miss a fold one voxel wide (Liu 2022).

    Returns:
      `[2^D, *(S - 1)]`.
    """
    dims, shape = len(displacement), displacement.shape[1:]
    edges = []  # along each axis, [D, …] on edges
    for a in range(dims):
        step = jnp.diff(displacement, axis=a + 1)
        edges.append(step.at[a].add(1.0))
    out = []
    for corner in range(2**dims):
        at = [corner >> b & 1 for b in range(dims)]
        columns = []
        for a, edge in enumerate(edges):
            part = edge
            for b in range(dims):
                if b != a:
                    part = jax.lax.slice_in_dim(part, at[b], at[b] + shape[b] - 1, axis=b + 1)
            columns.append(part)
        out.append(_determinant(columns))
    return jnp.stack(out)


def _determinant(columns: Sequence[jax.Array]) -> jax.Array:
    """Of matrices whose columns are `[D, …]`, written out: two or three rows."""
    if len(columns) == 1:
        return columns[0][0]
    if len(columns) == 2:
        (a, b), (c, d) = columns
        return a * d - b * c
    x, y, z = columns
    return (x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0])
            + x[2] * (y[0] * z[1] - y[1] * z[0]))


def folded(displacement: jax.Array) -> jax.Array:
    """The share of cells with a determinant that is not above 0 at a corner: there space is turned inside out."""
    return (~(determinants(displacement).min(0) > 0)).mean()  # NaN is no map either


def _slopes(field: jax.Array, axis: int, spacing: Sequence[float]) -> jax.Array:
    """Differences along an axis, of components in mm, by mm; without a unit where the field is a displacement."""
    scale = jnp.array(spacing, jnp.float32) / spacing[axis]
    return jnp.diff(field, axis=axis + 1) * scale.reshape(-1, *[1] * (field.ndim - 1))


def roughness(field: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The mean square of a field's first derivatives, summed over axes and components (diffusion regulariser)."""
    return sum((_slopes(field, a, spacing)**2).mean() for a in range(len(field)) if field.shape[a + 1] > 1) * len(field)


def bending(field: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The mean square of a field's second derivatives, summed over components and all pairs of axes (Rueckert 1999).

    Affine maps have none. In 1 / mm².
    """
    total, dims = jnp.zeros(()), len(field)
    for a in range(dims):
        first = _slopes(field, a, spacing)
        for b in range(a, dims):
            second = jnp.diff(first, axis=b + 1) / spacing[b]
            if not second.size:  # a field of two voxels across is straight
                continue
            total += (1 if a == b else 2) * (second**2).mean() * dims
    return total


def inconsistency(there: jax.Array, back: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """How far from its start each voxel ends that goes there and back, mm, on average.

    Voxels that go out of the image are left out: of what lies there nothing is known.
    """
    places = grid(there.shape[1:]) + there
    inside = jnp.stack([(p >= 0) & (p <= n - 1) for p, n in zip(places, there.shape[1:])]).all(0)
    apart = compose(back, there) * jnp.array(spacing, jnp.float32).reshape(-1, *[1] * (there.ndim - 1))
    return (jnp.sqrt((apart**2).sum(0)) * inside).sum() / jnp.maximum(inside.sum(), 1)


def target_error(displacement: jax.Array, points: jax.Array, targets: jax.Array,
                 spacing: Sequence[float]) -> jax.Array:
    """Target registration error: how far from where it belongs each point is taken, mm.

    Args:
      displacement: `[D, *S]`.
      points: `[P, D]`, places in the fixed image, voxels.
      targets: `[P, D]`, the same anatomy's places in the moving image, voxels.
      spacing: `[D]`, mm.

    Returns:
      `[P]`.
    """
    if not len(points):
        return jnp.zeros(0)
    at = sample(jnp.moveaxis(displacement, 0, -1), points.T, 'linear', 'nearest')
    return jnp.sqrt((((points + at - targets) * jnp.array(spacing, jnp.float32))**2).sum(-1))
