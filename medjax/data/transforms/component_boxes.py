"""The boxes of the connected components of a mask."""

import cc3d
import numpy as np


def component_boxes(mask: np.ndarray) -> np.ndarray:
    """The boxes `[N, 2D]` float32 of the connected components of a mask with two or three dimensions.

    Components are connected through faces, edges and corners.
    """
    labels, count = cc3d.connected_components(mask, connectivity=8 if mask.ndim == 2 else 26, return_N=True)
    boxes = cc3d.statistics(labels)['bounding_boxes'][1:] if count else []
    return np.reshape([[*(s.start for s in box), *(s.stop for s in box)] for box in boxes],
                      (-1, 2 * mask.ndim)).astype(np.float32)
