"""Mixing of the images of a training batch, on the device: mixup (Zhang 2018) and CutMix (Yun 2019), in 2D and 3D."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

DRAWS = ('share', 'box')  # rows of three uniform draws that `mix_images` takes for each example


def mix_images(batch: dict[str, jax.Array], uniform: jax.Array, *, mixup: float,
               cutmix: float) -> dict[str, jax.Array]:
    """Mixes each image of a batch with the next one, the last with the first; traceable.

    Labels are not mixed: the task computes an example's loss as share · loss(label) + (1 - share) · loss(partner), for
    labels of any kind. The image that an example is mixed with depends on its batch (under pmap, on its device's part
    of it); its share and its box depend only on its own draws. All training examples have `mask` 1: none is padding.

    Args:
      batch: `image [B, *S, C]` float, `label [B, …]` of whole images, and any other entries.
      uniform: `[B, len(DRAWS), 3]` or wider, uniform in 0–1.
      mixup: the share, from Beta(mixup, mixup), weighs the intensities of the two images; 0 is off.
      cutmix: the share is from Beta(cutmix, cutmix), and the remainder is a box of the next image, with the image's
        aspect ratio and a random centre, clipped to the image; 0 is off. With both on, an example has either by 1/2.

    Returns:
      The batch with mixed images and two new entries: `partner`, the next image's label, of the label's shape and
      type, and `share [B]` float32, the weight of the example's own label; with CutMix this is exactly the fraction of
      voxels that are kept.
    """
    image = batch['image']
    shape, column = image.shape[1:-1], (-1, *[1] * (image.ndim - 1))
    first, second, which = uniform[:, 0, :3].T
    cut = which < bool(cutmix) / (bool(mixup) + bool(cutmix))
    share = symmetric_beta(jnp.where(cut, cutmix, mixup), first, second)
    weight = share.reshape(column)
    if cutmix:
        low, high = cutmix_box(share, uniform[:, 1, :len(shape)], shape)
        replaced = ((high - low).astype(jnp.float32) / jnp.array(shape, jnp.float32)).prod(-1)
        inside = cut.reshape(column)
        for axis, n in enumerate(shape):
            line = (jnp.arange(n) >= low[:, axis, None]) & (jnp.arange(n) < high[:, axis, None])
            inside &= line.reshape(-1, *[n if a == axis else 1 for a in range(len(shape))], 1)
        share = jnp.where(cut, 1 - replaced, share)
        weight = jnp.where(cut.reshape(column), 1.0 - inside.astype(jnp.float32), weight)
    blend = weight * image + (1 - weight) * jnp.roll(image, -1, 0)
    return {**batch, 'image': blend.astype(image.dtype), 'partner': jnp.roll(batch['label'], -1, 0), 'share': share}


def symmetric_beta(alpha: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """Draws from Beta(alpha, alpha), exactly and without rejection (Devroye 1996).

    If T has Student's t distribution with 2·alpha degrees of freedom, 1/2 + T / (2·√(2·alpha + T²)) has this
    distribution; T is √(2·alpha · (first^(-1/alpha) - 1)) · cos(2π·second) (Bailey 1994). `jax.random.beta` draws by
    rejection, in a loop.

    Args:
      alpha: above 0.
      first: uniform in 0–1, of alpha's shape or broadcast to it.
      second: the same, independent of it.

    Returns:
      float32 in 0–1.
    """
    power, cos = first ** (1 / alpha), jnp.cos(2 * jnp.pi * second)
    square = cos**2 * (1 - power)  # T² / (2·alpha) · power: finite for any alpha
    return 0.5 + 0.5 * jnp.sign(cos) * jnp.sqrt(square / (power + square))


def cutmix_box(share: jax.Array, centre: jax.Array, shape: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """CutMix's boxes: of the image's aspect ratio and 1 - share of its size, clipped to the image (Yun 2019).

    Args:
      share: `[B]`, of the image that is kept.
      centre: `[B, D]`, 0–1 along each axis.
      shape: `*S`, the image's.

    Returns:
      The first voxel and the one after the last, `[B, D]` int32 each.
    """
    extent = jnp.array(shape, jnp.float32)
    half = 0.5 * extent * (1 - share[:, None]) ** (1 / len(shape))
    low, high = (jnp.clip(jnp.round(centre * extent + side * half), 0, extent).astype(jnp.int32) for side in (-1, 1))
    return low, high
