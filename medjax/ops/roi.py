"""Features of boxes, at one size whatever the boxes': ROI align and ROI pooling, in the plane and in space.

Boxes are as in `ops/boxes.py`. `scale` has, for each axis, the voxels of the features to a voxel of the image: 1 / 16
at stride 16.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

TOGETHER = 32  # boxes whose features are interpolated at once, so that what lies between fits a CPU's cache
Voxels = tuple[jax.Array, jax.Array]


def roi_align(features: jax.Array, boxes: jax.Array, size: Sequence[int], scale: Sequence[float],
              ratio: int = 2) -> jax.Array:
    """Means of (bi- or tri-) linear samples in the bins of a grid over each box (He 2017; half-voxel exact).

    A sample is at the middle of its share of the bin, and a voxel's value at the voxel's centre, as Detectron2 has it
    with `aligned`. Samples further than one voxel from the outermost centres count 0; those nearer have the border's
    value. As a box's samples form a grid, they are the features times one small matrix for each axis, and so are the
    gradients, where gathers would have scatters. Gradients go to features and boxes; those of boxes cost several times
    the rest, so stop them where nothing learns from them.

    Args:
      features: `[*S, C]`.
      boxes: `[R, 2D]` in the image's voxels.
      size: bins along each axis.
      scale: voxels of the features to one of the image, along each axis.
      ratio: samples in a bin along each axis.

    Returns:
      `[R, *size, C]` of the features' dtype.
    """
    dims, shape, channels = len(size), features.shape[:-1], features.shape[-1]
    low, high = boxes[:, :dims] * jnp.asarray(scale), boxes[:, dims:] * jnp.asarray(scale)
    weights = []
    for axis, (bins, extent) in enumerate(zip(size, shape, strict=True)):
        share = (jnp.arange(bins * ratio) + 0.5) / (bins * ratio)
        where = low[:, axis, None] + share * (high - low)[:, axis, None] - 0.5
        near = (where >= -1) & (where <= extent)
        where = jnp.clip(where, 0, extent - 1)[..., None]
        each = jnp.maximum(1 - jnp.abs(where - jnp.arange(extent)), 0) * near[..., None]
        weights.append(each.reshape(-1, bins, ratio, extent).mean(2))
    # At the highest precision: a GPU's or TPU's default would round the weights, and so misplace the samples.
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    wide = features.astype(jnp.float32).reshape(shape[0], -1)

    def one(weights: list[jax.Array]) -> jax.Array:
        out, rows = product(weights[0], wide), size[0]
        for weight, extent in zip(weights[1:], shape[1:]):
            # Written out for each row: a CPU takes ten times as long to broadcast it within the product.
            weight = jnp.broadcast_to(weight, (rows, *weight.shape))
            out = product(weight, out.reshape(rows, extent, -1))
            rows *= weight.shape[1]
        return out.reshape(*size, channels)

    return jax.lax.map(one, weights, batch_size=TOGETHER).astype(features.dtype)


def roi_pool(features: jax.Array, boxes: jax.Array, size: Sequence[int], scale: Sequence[float]) -> jax.Array:
    """The largest value in each bin of a grid over each box (Girshick 2015).

    A box is rounded to whole voxels of the features, cut to them, and is one voxel at least. Its bins share voxels
    where they do not fit: bin i of B over n voxels is [floor(i n / B), ceil((i + 1) n / B)).

    The largest of any window is that of two windows of one power of two that cover it, which may overlap; so the
    largest over all those windows are found once, for all boxes, and each bin reads 2^D of them. The gradient goes to
    the voxel that was the largest.

    Args:
      features: `[*S, C]`.
      boxes: `[R, 2D]` in the image's voxels.
      size: bins along each axis.
      scale: voxels of the features to one of the image, along each axis.

    Returns:
      `[R, *size, C]` of the features' dtype.
    """
    dims, shape, channels = len(size), features.shape[:-1], features.shape[-1]
    edges = jnp.round(boxes * jnp.asarray([*scale, *scale])).astype(jnp.int32)
    table = jax.lax.stop_gradient(features), jnp.arange(features.size).reshape(features.shape)
    stride, windows = math.prod(shape), []
    for axis, (bins, extent) in enumerate(zip(size, shape, strict=True)):
        start = jnp.clip(edges[:, axis, None], 0, extent - 1)
        count = jnp.clip(edges[:, dims + axis, None] - start, 1, extent - start)
        first = start + jnp.arange(bins) * count // bins
        last = start - (-(jnp.arange(bins) + 1) * count // bins)
        levels = (math.ceil(extent / bins) + 1).bit_length()
        rows = [table]
        for level in range(levels - 1):  # what is rolled over the border is never read
            moved = jax.tree.map(lambda x, level=level, axis=axis: jnp.roll(x, -(2**level), axis - dims - 1), rows[-1])
            rows.append(_larger(rows[-1], moved))
        table = jax.tree.map(lambda *x: jnp.stack(x), *rows)
        level = sum((last - first >= 2**k).astype(jnp.int32) for k in range(1, levels))
        along = [-1, *(bins if a == axis else 1 for a in range(dims))]
        windows.append([(level * stride + place * math.prod(shape[axis + 1:])).reshape(along)
                        for place in (first, last - 2**level)])
        stride *= levels
    table = jax.tree.map(lambda x: x.reshape(-1, channels), table)
    corners = [(table[0][row], table[1][row]) for row in map(sum, itertools.product(*windows))]
    return features.reshape(-1)[functools.reduce(_larger, corners)[1]]


def _larger(a: Voxels, b: Voxels) -> Voxels:
    """Of two voxels, values and numbers, the larger."""
    return jax.tree.map(functools.partial(jnp.where, a[0] >= b[0]), a, b)
