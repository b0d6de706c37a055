"""Sliding-window detection: objects in whole images from a detector with a fixed input shape, without duplicates.

Windows overlap. Each location of the image is owned by the window in which it is farthest from the window's border, and
each object is taken from the window that owns its centre. An object that is no longer than the overlap is therefore
taken from a window that contains all of it, and truncated detections in other windows are discarded.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.ops.nms import nms
from medjax.ops.sliding_windows import window_starts

Predict = Callable[[Any, Mapping[str, jax.Array]], Mapping[str, jax.Array]]
TOLERANCE = 2.0  # voxels around a window's own region from which it takes objects: predicted centres are not exact


def sliding_window_detector(predict: Predict, window: Sequence[int], overlap: float = 0.5,
                            merge: float = 0.5) -> Predict:
    """A detector for whole images that applies a detector to overlapping windows.

    Args:
      predict: `(variables, {'image' [B, *window, C]})` returns `boxes [B, L, 2D]`, `scores`, `labels` and `valid`
        `[B, L]`; traceable.
      window: extents of a window.
      overlap: fraction of a window that it shares with the next, in [0, 1).
      merge: IoU threshold of the non-maximum suppression over the boxes of all windows, per class.

    Returns:
      A function with the signature of `predict` for `{'image' [B, *S, C]}`, with room for L objects per window.
    """
    def detect(variables: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        image = batch['image']
        starts = [window_starts(size, extent, overlap) for size, extent in zip(image.shape[1:-1], window)]
        regions = [_owned_regions(first, extent) for first, extent in zip(starts, window)]
        all_starts = np.array(list(itertools.product(*starts)), np.int32)
        all_regions = np.array(list(itertools.product(*regions)), np.float32)  # [W, D, 2]

        def detect_in_window(place: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
            start, region = place
            crop = jax.lax.dynamic_slice(image, (0, *start, 0), (image.shape[0], *window, image.shape[-1]))
            out = predict(variables, {'image': crop})
            boxes = out['boxes'] + jnp.tile(start, 2).astype(jnp.float32)
            centre = (boxes[..., :len(window)] + boxes[..., len(window):]) / 2
            owned = ((centre >= region[:, 0] - TOLERANCE) & (centre < region[:, 1] + TOLERANCE)).all(-1)
            owned &= out['valid'] > 0
            return {'boxes': boxes, 'scores': jnp.where(owned, out['scores'], -jnp.inf), 'labels': out['labels']}

        found = jax.lax.map(detect_in_window, (all_starts, all_regions))
        count = image.shape[0]
        found = {name: value.swapaxes(0, 1).reshape(count, -1, *value.shape[3:]) for name, value in found.items()}

        def remove_duplicates(boxes: jax.Array, scores: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
            index, valid = nms(boxes, scores, merge, len(scores), labels)
            return {'boxes': jnp.where(valid[:, None], boxes[index], 0.0), 'scores': jnp.where(valid, scores[index], 0),
                    'labels': jnp.where(valid, labels[index], 0), 'valid': valid.astype(jnp.float32)}

        return jax.vmap(remove_duplicates)(found['boxes'], found['scores'], found['labels'])

    return detect


def _owned_regions(starts: Sequence[int], extent: int) -> list[tuple[float, float]]:
    """Along an axis, the interval of locations that each window owns: up to the middle of each overlap."""
    middles = [(after + before + extent) / 2 for before, after in zip(starts, starts[1:])]
    return list(zip([-np.inf, *middles], [*middles, np.inf]))
