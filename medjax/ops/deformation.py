"""Spatial transforms for registration: velocity fields, diffeomorphisms, affine maps, and measures of their quality.

A displacement field u gives, for each voxel x of the fixed image, the position x + u(x) in the moving image. Fields are
`[D, *S]` float32 in voxels, for one example. `spacing` is the voxel size in mm along each axis.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops.warp import HIGHEST, sample

SQUARINGS = 6


def identity_grid(shape: Sequence[int]) -> jax.Array:
    """The coordinates of every voxel, `[D, *S]` float32."""
    return jnp.stack(jnp.meshgrid(*[jnp.arange(n, dtype=jnp.float32) for n in shape], indexing='ij'))


def warp(image: jax.Array, displacement: jax.Array, kind: str = 'linear') -> jax.Array:
    """Warps an image by a displacement field.

    Args:
      image: `[*S, C]`.
      displacement: `[D, *S']`, voxels.
      kind: interpolation, 'linear' or 'nearest'.

    Returns:
      `[*S', C]`. Outside of the image the outermost voxels are repeated.
    """
    return sample(image, identity_grid(displacement.shape[1:]) + displacement, kind, 'nearest')


def compose(outer: jax.Array, inner: jax.Array) -> jax.Array:
    """Composes two displacement fields: x is mapped to y = x + inner(x), and then to y + outer(y).

    Warping an image by `outer`, and the result by `inner`, equals warping it once by the composition.
    """
    return inner + jnp.moveaxis(warp(jnp.moveaxis(outer, 0, -1), inner), -1, 0)


def exponential(velocity: jax.Array, squarings: int = SQUARINGS) -> jax.Array:
    """The displacement field at time 1 of a stationary velocity field, by scaling and squaring (Arsigny 2006).

    It is a diffeomorphism whose inverse is the exponential of the negative velocity, provided that the grid resolves
    the velocity field.

    Args:
      velocity: `[D, *S]`, voxels per unit time.
      squarings: number of squarings; the first step has the length 2^-squarings.
    """
    start = velocity / 2**squarings
    return jax.lax.scan(lambda u, _: (compose(u, u), None), start, None, length=squarings)[0]


def resize(field: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Resizes a displacement or velocity field linearly to a grid `shape`; the result is in voxels of that grid."""
    ratio = jnp.array([n / m for n, m in zip(shape, field.shape[1:])], jnp.float32)
    out = jax.image.resize(field, (len(field), *shape), 'linear', precision=HIGHEST)
    return out * ratio.reshape(-1, *[1] * len(shape))


def affine_matrix(generator: jax.Array, shape: Sequence[int], sign: float = 1.0) -> jax.Array:
    """The affine map with a given matrix logarithm, which is always invertible.

    Args:
      generator: `[D, D + 1]`, the logarithm: a velocity linear in the position, relative to the image's centre. The
        unit of length is half of the longest axis, measured edge to edge, so that the map does not depend on the
        resolution of the grid (where sizes divide).
      shape: `*S`.
      sign: factor of the generator; -1 gives the inverse map.

    Returns:
      `[D, D + 1]`: the position x, in voxels, is mapped to `matrix @ x + shift`.
    """
    dims = len(shape)
    power = _matrix_exponential(sign * jnp.zeros((dims + 1, dims + 1)).at[:dims].set(generator))
    centre, half = jnp.array([(n - 1) / 2 for n in shape]), max(shape) / 2
    matrix = power[:dims, :dims]
    shift = power[:dims, dims] * half + centre - jnp.matmul(matrix, centre, precision=HIGHEST)
    return jnp.concatenate([matrix, shift[:, None]], 1)


def _matrix_exponential(matrix: jax.Array) -> jax.Array:
    """The exponential of a small matrix, by scaling by 1/64 and squaring; JAX's own takes long to compile."""
    product, one = functools.partial(jnp.matmul, precision=HIGHEST), jnp.eye(len(matrix))
    part, out = matrix / 64, one
    for k in range(6, 0, -1):
        out = one + product(part, out) / k
    return jax.lax.fori_loop(0, 6, lambda _, x: product(x, x), out)


def transform_points(points: jax.Array, matrix: jax.Array) -> jax.Array:
    """Applies an affine map `[D, D + 1]` to points `[D, …]`."""
    dims = len(matrix)
    return jnp.stack([sum(matrix[a, b] * points[b] for b in range(dims)) + matrix[a, dims] for a in range(dims)])


def displacement_field(velocity: jax.Array, generator: jax.Array | None, shape: Sequence[int],
                       squarings: int = SQUARINGS) -> jax.Array:
    """The displacement field `[D, *S]` of the exponential of a velocity followed by an affine map.

    Args:
      velocity: `[D, *S']`, possibly on a coarser grid, on which it is integrated.
      generator: see `affine_matrix`; None for no affine map.
      shape: `*S`.
      squarings: see `exponential`.
    """
    displacement = resize(exponential(velocity, squarings), shape)
    if generator is None:
        return displacement
    grid = identity_grid(shape)
    return transform_points(grid + displacement, affine_matrix(generator, shape)) - grid


def inverse_displacement_field(velocity: jax.Array, generator: jax.Array | None, shape: Sequence[int],
                               squarings: int = SQUARINGS) -> jax.Array:
    """The inverse of `displacement_field`, computed from the same arguments without iterative inversion."""
    inverse = resize(exponential(-velocity, squarings), shape)
    if generator is None:
        return inverse
    grid = identity_grid(shape)
    return compose(inverse, transform_points(grid, affine_matrix(generator, shape, -1.0)) - grid)


def jacobian_determinants(displacement: jax.Array) -> jax.Array:
    """Jacobian determinants of x + u(x): the local change of volume.

    They are computed for each cell between neighbouring voxels, at each of its corners, from differences along the
    edges of the cell. Central differences would miss a fold that is one voxel wide (Liu 2022).

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
    """Determinants of 1×1, 2×2 or 3×3 matrices with columns `[D, …]`, written out."""
    if len(columns) == 1:
        return columns[0][0]
    if len(columns) == 2:
        (a, b), (c, d) = columns
        return a * d - b * c
    x, y, z = columns
    return (x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0])
            + x[2] * (y[0] * z[1] - y[1] * z[0]))


def folding_fraction(displacement: jax.Array) -> jax.Array:
    """The fraction of cells with a non-positive (or NaN) Jacobian determinant at any corner."""
    return (~(jacobian_determinants(displacement).min(0) > 0)).mean()


def _gradient(field: jax.Array, axis: int, spacing: Sequence[float]) -> jax.Array:
    """Finite differences along an axis of components in mm, per mm; dimensionless for a displacement field."""
    scale = jnp.array(spacing, jnp.float32) / spacing[axis]
    return jnp.diff(field, axis=axis + 1) * scale.reshape(-1, *[1] * (field.ndim - 1))


def gradient_energy(field: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The mean squared first derivative of a field, summed over axes and components (diffusion regulariser)."""
    return sum((_gradient(field, a, spacing)**2).mean()
               for a in range(len(field)) if field.shape[a + 1] > 1) * len(field)


def bending_energy(field: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The mean squared second derivative of a field, summed over components and pairs of axes (Rueckert 1999).

    It is 0 for affine maps. The unit is 1 / mm².
    """
    total, dims = jnp.zeros(()), len(field)
    for a in range(dims):
        first = _gradient(field, a, spacing)
        for b in range(a, dims):
            second = jnp.diff(first, axis=b + 1) / spacing[b]
            if not second.size:  # a field that is two voxels wide has no second difference
                continue
            total += (1 if a == b else 2) * (second**2).mean() * dims
    return total


def inverse_consistency_error(forward: jax.Array, backward: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The mean distance, in mm, between voxels and their positions after the forward and the backward map.

    Voxels that are mapped outside of the image are excluded, because the backward map is not defined there.
    """
    position = identity_grid(forward.shape[1:]) + forward
    inside = jnp.stack([(p >= 0) & (p <= n - 1) for p, n in zip(position, forward.shape[1:])]).all(0)
    error = compose(backward, forward) * jnp.array(spacing, jnp.float32).reshape(-1, *[1] * (forward.ndim - 1))
    inside = inside.astype(jnp.float32)
    return (jnp.sqrt((error**2).sum(0)) * inside).sum() / jnp.maximum(inside.sum(), 1)


def target_registration_error(displacement: jax.Array, points: jax.Array, targets: jax.Array,
                              spacing: Sequence[float]) -> jax.Array:
    """Target registration error: the distance between mapped points and their targets, mm.

    Args:
      displacement: `[D, *S]`.
      points: `[P, D]`, landmarks in the fixed image, voxels.
      targets: `[P, D]`, the corresponding landmarks in the moving image, voxels.
      spacing: `[D]`, mm.

    Returns:
      `[P]`.
    """
    if not len(points):
        return jnp.zeros(0)
    shift = sample(jnp.moveaxis(displacement, 0, -1), points.T, 'linear', 'nearest')
    return jnp.sqrt((((points + shift - targets) * jnp.array(spacing, jnp.float32))**2).sum(-1))
