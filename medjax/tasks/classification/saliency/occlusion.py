"""Saliency maps by occlusion of parts of the image."""

import itertools

import jax
import jax.numpy as jnp

from medjax.tasks.classification.saliency.forward import Forward, class_score, spatial_axes


def occlusion(forward: Forward, image: jax.Array, target: jax.Array, *, window: tuple[int, ...] = (),
              stride: tuple[int, ...] = (), fill: float | None = None) -> jax.Array:
    """The decrease of the class's logit when a window of the image is covered (Zeiler 2014).

    Args:
      forward: the network; see `saliency.forward`.
      image: `[B, *S, C]`.
      target: `[B]`.
      window: extents of the window; a seventh of the image's by default.
      stride: steps between windows; by default half a window in 2D, and a whole one in 3D, where windows are many.
      fill: intensity of the cover; the mean of each channel of each image by default.

    Returns:
      Maps `[B, *S]`: at each place the mean decrease over the windows that cover it.
    """
    image, extents = image.astype(jnp.float32), image.shape[1:-1]
    window = window or tuple(max(1, n // 7) for n in extents)
    stride = stride or tuple(max(1, w // 2) if len(extents) == 2 else w for w in window)
    # The last window ends at the border, so that every place is covered.
    starts = [sorted({*range(0, n - w, s), n - w}) for n, w, s in zip(extents, window, stride, strict=True)]
    cover = image.mean(spatial_axes(image), keepdims=True) if fill is None else fill
    visible = class_score(forward, image, target)

    def add(sums: tuple[jax.Array, jax.Array], start: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        inside = jnp.ones(extents, bool)
        for axis in range(len(extents)):
            place = jax.lax.broadcasted_iota(jnp.int32, extents, axis) - start[axis]
            inside &= (place >= 0) & (place < window[axis])
        decrease = visible - class_score(forward, jnp.where(inside[..., None], cover, image), target)
        weight = inside.astype(jnp.float32)
        return (sums[0] + decrease.reshape(-1, *(1,) * len(extents)) * weight, sums[1] + weight), None

    sums = (jnp.zeros(image.shape[:-1]), jnp.zeros(extents))
    (total, count), _ = jax.lax.scan(add, sums, jnp.array(list(itertools.product(*starts)), jnp.int32))
    return total / count
