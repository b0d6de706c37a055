"""Fixed-size features of boxes in 2D and 3D: ROI align and ROI pooling.

Boxes are defined in `ops/boxes.py`. `scale` is, for each axis, the size of the feature map divided by the size of the
image: 1 / 16 at stride 16.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

BATCH_SIZE = 32  # number of boxes that are interpolated at once, such that intermediate results fit a CPU's cache
Voxels = tuple[jax.Array, jax.Array]


def roi_align(features: jax.Array, boxes: jax.Array, size: Sequence[int], scale: Sequence[float],
              ratio: int = 2) -> jax.Array:
    """ROI align: the mean of linearly interpolated samples in each bin of a grid over each box (He 2017).

    Each bin has `ratio` evenly spaced samples per axis, and voxel values are located at voxel centres, as in
    Detectron2 with `aligned=True`. Samples more than one voxel outside of the outermost centres are 0; other samples
    outside of them have the border's value. The samples of a box form a grid, so they are products of the features
    with one small matrix per axis, and gradients need no scatter. Gradients reach features and boxes. Those of boxes
    cost several times as much as the rest; apply `stop_gradient` to the boxes if they are not needed.

    Args:
      features: `[*S, C]`.
      boxes: `[R, 2D]` in voxels of the image.
      size: number of bins along each axis.
      scale: voxels of the feature map per voxel of the image, along each axis.
      ratio: number of samples per bin along each axis.

    Returns:
      `[R, *size, C]` of the dtype of the features.
    """
    dims, shape, channels = len(size), features.shape[:-1], features.shape[-1]
    scale = jnp.asarray(scale, jnp.float32)
    low, high = boxes[:, :dims] * scale, boxes[:, dims:] * scale
    weights = []
    for axis, (bins, extent) in enumerate(zip(size, shape, strict=True)):
        share = (jnp.arange(bins * ratio, dtype=jnp.float32) + 0.5) / (bins * ratio)
        where = low[:, axis, None] + share * (high - low)[:, axis, None] - 0.5
        near = (where >= -1) & (where <= extent)
        where = jnp.clip(where, 0, extent - 1)[..., None]
        distance = jnp.abs(where - jnp.arange(extent, dtype=jnp.float32))
        samples = jnp.maximum(1 - distance, 0) * near[..., None].astype(jnp.float32)
        weights.append(samples.reshape(-1, bins, ratio, extent).mean(2))
    # The default precision of GPUs and TPUs would round the weights and so displace the samples.
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    wide = features.astype(jnp.float32).reshape(shape[0], -1)

    def align_box(weights: list[jax.Array]) -> jax.Array:
        out, rows = product(weights[0], wide), size[0]
        for weight, extent in zip(weights[1:], shape[1:]):
            # Broadcast explicitly: broadcasting inside the product takes ten times as long on CPU.
            weight = jnp.broadcast_to(weight, (rows, *weight.shape))
            out = product(weight, out.reshape(rows, extent, -1))
            rows *= weight.shape[1]
        return out.reshape(*size, channels)

    return jax.lax.map(align_box, weights, batch_size=BATCH_SIZE).astype(features.dtype)


def roi_pool(features: jax.Array, boxes: jax.Array, size: Sequence[int], scale: Sequence[float]) -> jax.Array:
    """ROI pooling: the maximum in each bin of a grid over each box (Girshick 2015).

    Boxes are rounded to whole voxels of the feature map, clipped to it, and at least one voxel large. Bins overlap if
    the box is not a multiple of them: bin i of B over n voxels is [floor(i n / B), ceil((i + 1) n / B)).

    The maximum of any window is the maximum of two (overlapping) windows whose length is a power of two. The maxima
    over all such windows are computed once for all boxes, and each bin reads 2^D of them. The gradient goes to the
    voxel with the maximum.

    Args:
      features: `[*S, C]`.
      boxes: `[R, 2D]` in voxels of the image.
      size: number of bins along each axis.
      scale: voxels of the feature map per voxel of the image, along each axis.

    Returns:
      `[R, *size, C]` of the dtype of the features.
    """
    dims, shape, channels = len(size), features.shape[:-1], features.shape[-1]
    edges = jnp.round(boxes * jnp.asarray([*scale, *scale], jnp.float32)).astype(jnp.int32)
    table = jax.lax.stop_gradient(features), jnp.arange(features.size).reshape(features.shape)
    stride, windows = math.prod(shape), []
    for axis, (bins, extent) in enumerate(zip(size, shape, strict=True)):
        start = jnp.clip(edges[:, axis, None], 0, extent - 1)
        count = jnp.clip(edges[:, dims + axis, None] - start, 1, extent - start)
        first = start + jnp.arange(bins) * count // bins
        last = start - (-(jnp.arange(bins) + 1) * count // bins)
        levels = (math.ceil(extent / bins) + 1).bit_length()
        rows = [table]
        for level in range(levels - 1):  # values that are rolled over the border are never read
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
    """The larger of two voxels, given as values and indices."""
    return jax.tree.map(functools.partial(jnp.where, a[0] >= b[0]), a, b)
