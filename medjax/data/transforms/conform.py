"""FreeSurfer's conformed grid: 256³ voxels of 1 mm, as `mri_convert --conform` lays them out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.data.io.geometry import Image, resample_to_grid
from medjax.data.io.image_files import check_finite
from medjax.data.transforms.volumes import NetworkVolume
from medjax.errors import InputError

SIZE = 256
AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # the directions left, inferior and anterior, in RAS+


def conform(image: Image) -> Image:
    """Resamples a volume linearly to the conformed grid, with its centre in the centre of the grid.

    Args:
      image: `[X, Y, Z]`.

    Returns:
      `[256, 256, 256]` float32; 0 outside of the image. A conformed image is returned as it is.
    """
    affine = np.eye(4)
    affine[:3, :3] = AXES
    centre = image.affine @ [*(n / 2 for n in image.array.shape), 1]
    affine[:3, 3] = centre[:3] - AXES @ np.full(3, SIZE / 2)
    return resample_to_grid(image, affine, (SIZE,) * 3, 'linear', fill=0)


@dataclasses.dataclass(frozen=True)
class Conform:
    """The conformed grid with intensities scaled to 0–1 between two percentiles of all its voxels.

    Attributes:
      low: the lower percentile, 0 to 100.
      high: the upper percentile.
      context: neighbouring slices as channels; always 0.
    """

    low: float
    high: float
    context: int = 0

    def network_input(self, image: Image, statistics: Mapping[str, Any], axis: int = 0) -> NetworkVolume:
        """A new image as the network takes it; see `VolumePreprocess.network_input`.

        Raises:
          InputError: NaN or infinite voxels, several channels, a 2D image, or an image without contrast.
        """
        check_finite(image)
        if image.array.ndim > 3 and image.array.shape[3:] != (1,):
            raise InputError(f'{image.path}: {image.array.shape[-1]} channels; expected one')
        if min(image.array.shape[:3]) == 1:
            raise InputError(f'{image.path}: a single slice; expected a volume')
        found = conform(dataclasses.replace(image, array=image.array.reshape(image.array.shape[:3])))
        low, high = np.percentile(found.array, [self.low, self.high])
        if not low < high:
            raise InputError(f'{image.path}: percentiles {self.low:g} and {self.high:g} of its intensities are both '
                             f'{low:g}; expected a head with contrast')
        array = np.clip((found.array - np.float32(low)) / np.float32(high - low), 0, 1)
        return NetworkVolume(array[..., None], np.zeros(1, np.float32), found.affine)
