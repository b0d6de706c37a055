"""Where what lies in a stored image lies in the array that a network sees, and the way back."""

import dataclasses
from collections.abc import Sequence

import nibabel as nib
import numpy as np


@dataclasses.dataclass(frozen=True)
class Grid:
    """A stored image's voxels, and where a network has them; places count voxels from the first one's outer corner.

    Attributes:
      shape: the stored image's extents: rows and columns of a picture, or those of a volume's file.
      matrix: `[D, D + 1]`: axes may change places or direction, get longer or shorter, and begin elsewhere.
    """

    shape: tuple[int, ...]
    matrix: np.ndarray

    def into(self, boxes: np.ndarray) -> np.ndarray:
        """Brings boxes `[N, 2D]` from the stored image's grid to the network's, float32."""
        return _moved(boxes, self.matrix[:, :-1], self.matrix[:, -1])

    def back(self, boxes: np.ndarray) -> np.ndarray:
        """Brings boxes `[N, 2D]` from the network's grid to the stored image's, and clips them to it; float32."""
        inverse = np.linalg.inv(self.matrix[:, :-1])
        return clipped(_moved(boxes, inverse, -inverse @ self.matrix[:, -1]), self.shape)


def clipped(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cuts boxes `[N, 2D]` off at the border of an image of some extents; those outside are left without area."""
    return np.clip(boxes, 0, np.float32([*shape, *shape]))


def turning(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """How `geometry.canonical` turns a volume `[X, Y, Z]`, for places: `[3, 4]`."""
    orientation = nib.io_orientation(affine)
    out = np.zeros((3, 4))
    for axis, (to, direction) in enumerate(orientation):
        out[int(to), axis] = direction
        out[int(to), 3] = shape[axis] if direction < 0 else 0
    return out


def _moved(boxes: np.ndarray, matrix: np.ndarray, away: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    one, other = (corner @ matrix.T + away for corner in np.split(boxes, 2, -1))
    # Axes change direction as a whole: opposite corners stay opposite.
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], -1).astype(np.float32)
