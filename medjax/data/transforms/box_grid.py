"""The map of boxes between a stored image and the network's input array."""

import dataclasses
from collections.abc import Sequence

import nibabel as nib
import numpy as np


@dataclasses.dataclass(frozen=True)
class Grid:
    """The affine map from a stored image's voxels to the network's.

    Positions are in voxels, from the outer corner of the first voxel.

    Attributes:
      shape: the stored image's extents: rows and columns of a 2D image, or the axes of a volume's file.
      matrix: `[D, D + 1]`, a permutation of axes with flips, scaling and an offset.
    """

    shape: tuple[int, ...]
    matrix: np.ndarray

    def to_network(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes `[N, 2D]` of the stored image on the network's grid, float32."""
        return _transform(boxes, self.matrix[:, :-1], self.matrix[:, -1])

    def to_stored(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes `[N, 2D]` of the network's grid on the stored image's, clipped to it; float32."""
        inverse = np.linalg.inv(self.matrix[:, :-1])
        return clip_boxes(_transform(boxes, inverse, -inverse @ self.matrix[:, -1]), self.shape)


def clip_boxes(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Clips boxes `[N, 2D]` to an image of these extents; those outside become empty."""
    return np.clip(boxes, 0, np.float32([*shape, *shape]))


def canonical_matrix(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """The map of positions `[3, 4]` by which `geometry.to_canonical` reorients a volume `[X, Y, Z]`."""
    orientation = nib.io_orientation(affine)
    out = np.zeros((3, 4))
    for axis, (to, direction) in enumerate(orientation):
        out[int(to), axis] = direction
        out[int(to), 3] = shape[axis] if direction < 0 else 0
    return out


def _transform(boxes: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    one, other = (corner @ matrix.T + offset for corner in np.split(boxes, 2, -1))
    # An axis may be flipped: opposite corners stay opposite, but low and high may be exchanged.
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], -1).astype(np.float32)
