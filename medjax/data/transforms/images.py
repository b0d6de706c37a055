"""Preprocessing of images of any size to one size, the same in training and prediction, and its inverse.

2D images become `[rows, columns, C]`, volumes `[X, Y, Z, C]` in RAS+.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture

from medjax.data.io import image_files
from medjax.data.io.geometry import Image, spacing, to_canonical
from medjax.data.transforms.box_grid import Grid, canonical_matrix
from medjax.data.transforms.volumes import check_intensity
from medjax.errors import InputError

INTENSITIES = {'unit': (), 'fixed': ('mean', 'std'), 'training': (), 'zscore': (), 'window': ('low', 'high')}
FRACTIONS = ('unit', 'fixed', 'training')  # these divide a pixel by the largest value of its file's bit depth


@dataclasses.dataclass(frozen=True)
class ImagePreprocess:
    """The network's size and intensity scale for images of any size.

    Attributes:
      size: voxels along each axis: rows and columns of a 2D image, or x, y and z of a volume.
      resize_mode: 'stretch' each axis to its size, or keep the aspect ratio, for volumes in mm, and 'pad' with the
        minimum.
      channels: 1 or 3; grey is repeated, or colours are averaged, as needed. None keeps the images' channels.
      intensity: `name` and its options:
        unit: 0 to 1, as a fraction of the largest value of the file's 8 or 16 bits;
        fixed: that, minus `mean`, over `std`, both given for each channel or for all; training: the same with mean and
          standard deviation of the training images;
        zscore: minus the mean, over the standard deviation, of each channel of the image;
        window: clipped at `low` and `high` (HU) and mapped to 0–1.
    """

    size: tuple[int, ...]
    resize_mode: str = 'stretch'
    channels: int | None = None
    intensity: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {'name': 'training'})

    def __post_init__(self):
        check_intensity(self.intensity, INTENSITIES)
        if self.intensity['name'] == 'fixed':
            mean, std = (np.atleast_1d(self.intensity[key]) for key in ('mean', 'std'))
            if {mean.size, std.size} - {1, self.channels or mean.size} or not (std > 0).all():
                raise InputError(f'config.data.intensity: {dict(self.intensity)}; expected means, and deviations above '
                                 '0, one or one for each of config.data.channels')
        if len(self.size) not in (2, 3) or not all(isinstance(n, int) and n > 0 for n in self.size):
            raise InputError(f'config.data.size: {self.size}; expected rows and columns, or x, y and z')
        if self.resize_mode not in ('stretch', 'pad'):
            raise InputError(f"config.data.resize_mode: {self.resize_mode!r}; expected 'stretch' or 'pad'")
        if self.channels not in (None, 1, 3):
            raise InputError(f'config.data.channels: {self.channels}; expected 1, 3 or None')

    @property
    def fractions(self) -> bool:
        """Whether pixels are divided by the largest value of their file's bit depth."""
        return self.intensity['name'] in FRACTIONS

    def fit_to_size(self, image: Image) -> np.ndarray:
        """An image at the network's size.

        Args:
          image: as stored.

        Returns:
          `[*size, C]`: uint8 where it is stored so, else float32.

        Raises:
          InputError: a volume where a 2D image is expected or the reverse; values that are not of 8 or 16 bits where
            the intensity scale needs them.
        """
        array = image.array if image.array.ndim == 4 else image.array[..., None]
        if array.dtype == bool:
            array = array.astype(np.uint8) * np.uint8(255)
        steps: Sequence[float] = (1.0, 1.0)
        if len(self.size) == 2:
            if array.shape[2] != 1:
                raise InputError(f'{image.path}: {array.shape[2]} slices; expected a 2D image: config.data.size has '
                                 'two numbers')
            array = array[:, :, 0].swapaxes(0, 1)
        elif array.shape[2] == 1:
            raise InputError(f'{image.path}: one slice; expected a volume: config.data.size has three numbers')
        else:
            reoriented = to_canonical(dataclasses.replace(image, array=array))
            array, steps = reoriented.array, spacing(reoriented.affine)
        array = self._with_channels(array, image.path)
        if array.dtype != np.uint8:
            if self.fractions and array.dtype != np.uint16:
                raise InputError(f'{image.path}: {array.dtype} values; expected 8 or 16 bits for '
                                 f"config.data.intensity {self.intensity['name']!r}; others: zscore, window")
            array = array.astype(np.float32) / (65535 if self.fractions else 1)
        return self._resize_and_pad(array, steps)

    def network_input(self, image: Image, statistics: Mapping[str, Any]) -> np.ndarray:
        """A new image as the network takes it, `[*size, C]` float32.

        Args:
          image: as stored.
          statistics: of the training images, `channels` and `intensities`.

        Raises:
          InputError: as `fit_to_size`; NaN or infinite voxels, or another number of channels than in training.
        """
        return self.normalise(self.checked_fit(image, statistics), statistics['intensities'])

    def checked_fit(self, image: Image, statistics: Mapping[str, Any]) -> np.ndarray:
        """`fit_to_size` of a new image, with the checks of `network_input`, before normalisation."""
        image_files.check_finite(image)
        array = self.fit_to_size(image)
        if array.shape[-1] != statistics['channels']:
            raise InputError(f'{image.path}: {array.shape[-1]} channels; expected {statistics["channels"]}, as in '
                             'training')
        return array

    def _with_channels(self, array: np.ndarray, path: str) -> np.ndarray:
        """An array with the wanted number of channels: grey is repeated, colours are averaged."""
        if not self.channels or array.shape[-1] == self.channels:
            return array
        if {self.channels, array.shape[-1]} != {1, 3}:
            raise InputError(f'{path}: {array.shape[-1]} channels; expected 1 or 3')
        grey = array.mean(-1, keepdims=True)
        grey = (np.rint(grey) if array.dtype.kind in 'iu' else grey).astype(array.dtype)
        return grey.repeat(self.channels, -1)

    def _resize_and_pad(self, array: np.ndarray, steps: Sequence[float]) -> np.ndarray:
        extents, before = self._extents(array.shape, steps)
        small = resize(array, extents)
        if self.resize_mode == 'stretch':
            return small
        pad = [(m, n - m - extent) for n, m, extent in zip(self.size, before, extents)]
        return np.pad(small, [*pad, (0, 0)], constant_values=small.min())

    def _extents(self, shape: Sequence[int], steps: Sequence[float]) -> tuple[list[int], list[int]]:
        """The extents that an image's axes are resized to, and the padding before them."""
        if self.resize_mode == 'stretch':
            return list(self.size), [0] * len(self.size)
        lengths = [old * step for old, step in zip(shape, steps)]
        scale = min(n / old for n, old in zip(self.size, lengths))
        extents = [max(round(old * scale), 1) for old in lengths]
        return extents, [(n - m) // 2 for n, m in zip(self.size, extents)]

    def grid(self, shape: Sequence[int], affine: np.ndarray) -> Grid:
        """The map from an image's voxels to the network's.

        Args:
          shape: of the stored array, `[X, Y, Z]` or `[X, Y, Z, C]`.
          affine: `[4, 4]`, of the stored image.
        """
        shape, steps = tuple(int(n) for n in shape[:3]), np.ones(2)
        if len(self.size) == 2:
            shape, reorient = (shape[1], shape[0]), np.eye(2, 3)
        else:
            reorient = canonical_matrix(shape, affine)
            steps = np.abs(reorient[:, :3]) @ spacing(affine)
        reoriented = np.abs(reorient[:, :-1]) @ shape
        extents, before = self._extents(reoriented, steps)
        matrix = reorient * (extents / reoriented)[:, None]
        matrix[:, -1] += before
        return Grid(shape, matrix)

    def normalise(self, array: np.ndarray, training: Mapping[str, Sequence[float]]) -> np.ndarray:
        """Maps intensities to the network's scale, float32.

        Args:
          array: `[*S, C]` from `fit_to_size`, or those of many images `[N, *S, C]`.
          training: `mean` and `std` of each channel of the training images, as fractions.
        """
        name = self.intensity['name']
        array = array.astype(np.float32) / np.float32(255 if self.fractions and array.dtype == np.uint8 else 1)
        if name == 'window':
            low, high = np.float32(self.intensity['low']), np.float32(self.intensity['high'])
            return (np.clip(array, low, high) - low) / (high - low)
        if name in ('fixed', 'training'):
            scale = self.intensity if name == 'fixed' else training
            return (array - np.float32(scale['mean'])) / np.maximum(np.float32(scale['std']), 1e-6)
        if name == 'zscore':
            axes = tuple(range(array.ndim - 1 - len(self.size), array.ndim - 1))
            return (array - array.mean(axes, keepdims=True)) / np.maximum(array.std(axes, keepdims=True), 1e-6)
        return array

    def to_bytes(self, array: np.ndarray, training: Mapping[str, Sequence[float]]) -> np.ndarray:
        """The inverse of `normalise` in 8 bits, clipped at both ends.

        A window's lower end becomes 0, its upper end 255.

        Args:
          array: `[N, *S, C]`, on the network's scale.
          training: see `normalise`.

        Returns:
          As `array`, uint8.

        Raises:
          InputError: the scale 'zscore', whose mean and standard deviation are not known for a generated image.
        """
        name = self.intensity['name']
        if name == 'zscore':
            raise InputError("config.data.intensity: 'zscore' cannot be inverted for generated images; expected unit, "
                             "fixed, training or window")
        if name in ('fixed', 'training'):
            scale = self.intensity if name == 'fixed' else training
            array = array * np.asarray(scale['std']) + np.asarray(scale['mean'])
        return np.rint(255 * np.clip(array, 0, 1)).astype(np.uint8)


def image_preprocess(*, size: Sequence[int], resize_mode: str = 'stretch', channels: int | None = None,
                     intensity: Mapping[str, Any] | None = None, **_: Any) -> ImagePreprocess:
    """The preprocessing that a data set's options describe, for training and prediction.

    Args:
      size: see `ImagePreprocess`, as for resize_mode, channels and intensity.
      resize_mode: …
      channels: …
      intensity: …
      **_: further options of the data set, which are ignored.

    Raises:
      InputError: an option with an invalid value.
    """
    if not isinstance(size, Sequence) or not isinstance(intensity or {}, Mapping):
        raise InputError(f'config.data: size={size}, intensity={intensity}; expected rows and columns, or x, y and z, '
                         "and a name with its options, as in dict(name='unit')")
    return ImagePreprocess(tuple(size), resize_mode, channels, dict(intensity or {'name': 'training'}))


def resize(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes an array axis by axis, linearly; a shrinking axis is averaged over all voxels that a new voxel covers.

    Args:
      array: `[*S, C]`.
      size: the new extents.

    Returns:
      `[*size, C]`: uint8 for uint8, else float32.
    """
    out = array.astype(np.float32)
    for axis, count in enumerate(size):
        if out.shape[axis] != count:
            first = np.moveaxis(out, axis, 0)
            flat = Picture.fromarray(np.ascontiguousarray(first).reshape(len(first), -1))
            line = np.asarray(flat.resize((flat.width, count), Picture.Resampling.BILINEAR))
            out = np.moveaxis(line.reshape(count, *first.shape[1:]), 0, axis)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8) if array.dtype == np.uint8 else out
