"""Objects of whole images by a network that sees windows of one shape, each object once.

Windows overlap. Every place of the image belongs to one of those that show it, the one in which it is farthest from the
border; an object is taken from the window that its centre belongs to. So an object no longer than the overlap is taken
from a window that shows all of it, and the pieces that other windows show of it are not.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.ops.nms import nms
from medjax.ops.sliding_windows import starts

Predict = Callable[[Any, Mapping[str, jax.Array]], Mapping[str, jax.Array]]
NEAR = 2.0  # voxels beyond its own part of the image from which a window's objects are taken: centres are not exact


def tiled(predict: Predict, window: Sequence[int], overlap: float = 0.5, merge: float = 0.5) -> Predict:
    """Makes detection in windows detection in whole images.

    Args:
      predict: `(variables, {'image' [B, *window, C]})` gives `boxes [B, L, 2D]`, `scores`, `labels` and `valid`
        `[B, L]`; traceable.
      window: its extents.
      overlap: share of a window that it has in common with the next, from 0 to below 1.
      merge: of two boxes of a class with an IoU above it one is kept, wherever they are from.

    Returns:
      The same of `{'image' [B, *S, C]}`, with room for L objects of each window.
    """
    def whole(variables: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        image = batch['image']
        along = [starts(size, extent, overlap) for size, extent in zip(image.shape[1:-1], window)]
        parts = [_parts(first, extent) for first, extent in zip(along, window)]
        first = np.array(list(itertools.product(*along)), np.int32)
        own = np.array(list(itertools.product(*parts)), np.float32)  # [W, D, 2]

        def once(place: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
            start, part = place
            cut = jax.lax.dynamic_slice(image, (0, *start, 0), (len(image), *window, image.shape[-1]))
            out = predict(variables, {'image': cut})
            boxes = out['boxes'] + jnp.tile(start, 2).astype(jnp.float32)
            centre = (boxes[..., :len(window)] + boxes[..., len(window):]) / 2
            mine = ((centre >= part[:, 0] - NEAR) & (centre < part[:, 1] + NEAR)).all(-1) & (out['valid'] > 0)
            return {'boxes': boxes, 'scores': jnp.where(mine, out['scores'], -jnp.inf), 'labels': out['labels']}

        found = jax.lax.map(once, (first, own))
        found = {name: value.swapaxes(0, 1).reshape(len(image), -1, *value.shape[3:]) for name, value in found.items()}

        def of_image(boxes: jax.Array, scores: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
            index, valid = nms(boxes, scores, merge, len(scores), labels)
            return {'boxes': jnp.where(valid[:, None], boxes[index], 0.0), 'scores': jnp.where(valid, scores[index], 0),
                    'labels': jnp.where(valid, labels[index], 0), 'valid': valid.astype(jnp.float32)}

        return jax.vmap(of_image)(found['boxes'], found['scores'], found['labels'])

    return whole


def _parts(first: Sequence[int], extent: int) -> list[tuple[float, float]]:
    """From where to where along an axis each window's own places are: to the middle of what it shares."""
    middles = [(after + before + extent) / 2 for before, after in zip(first, first[1:])]
    return list(zip([-np.inf, *middles], [*middles, np.inf]))
