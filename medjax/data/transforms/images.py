"""How an image of any size becomes the array that a network sees, and back.

Pictures come as `[rows, columns, C]`, volumes as `[X, Y, Z, C]` in RAS+.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture

from medjax.data.io import image_files
from medjax.data.io.geometry import Image, canonical, spacing
from medjax.data.transforms.box_grid import Grid, turning
from medjax.data.transforms.volumes import check_intensity
from medjax.errors import InputError

INTENSITIES = {'unit': (), 'fixed': ('mean', 'std'), 'training': (), 'zscore': (), 'window': ('low', 'high')}
SHARES = ('unit', 'fixed', 'training')  # those that take a pixel as a share of the largest its file can hold


@dataclasses.dataclass(frozen=True)
class Frame:
    """How an image of any size becomes the array that a network sees; the same in training and predict.

    Attributes:
      size: voxels along each axis: rows and columns of a picture, or x, y and z of a volume.
      fit: 'stretch' each axis to its size, or keep the proportions, a volume's in mm, and 'pad' with its minimum.
      channels: 1 or 3; grey is repeated, or colours averaged, as needed. None keeps what the images have.
      intensity: `name` and its options:
        unit: 0 to 1, as a share of the largest value that the file's 8 or 16 bits can hold;
        fixed: that, minus `mean`, over `std`, both given for each channel or for all; training: the same by the
          training images' own mean and deviation;
        zscore: minus the mean, over the standard deviation, of each image's own channels;
        window: clipped at `low` and `high` (HU) and mapped to 0–1.
    """

    size: tuple[int, ...]
    fit: str = 'stretch'
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
        if self.fit not in ('stretch', 'pad'):
            raise InputError(f"config.data.fit: {self.fit!r}; expected 'stretch' or 'pad'")
        if self.channels not in (None, 1, 3):
            raise InputError(f'config.data.channels: {self.channels}; expected 1, 3 or None')

    @property
    def shares(self) -> bool:
        """Whether pixels are taken as shares of what their file can hold."""
        return self.intensity['name'] in SHARES

    def fitted(self, image: Image) -> np.ndarray:
        """An image at its size, `[*size, C]`: uint8 where it is stored so, else float32.

        Raises:
          InputError: a volume where a picture is expected or the other way round; values that are no shares.
        """
        array = image.array if image.array.ndim == 4 else image.array[..., None]
        if array.dtype == bool:
            array = array.astype(np.uint8) * np.uint8(255)
        steps: Sequence[float] = (1.0, 1.0)
        if len(self.size) == 2:
            if array.shape[2] != 1:
                raise InputError(f'{image.path}: {array.shape[2]} slices; expected a picture: config.data.size has two '
                                 'numbers')
            array = array[:, :, 0].swapaxes(0, 1)
        elif array.shape[2] == 1:
            raise InputError(f'{image.path}: one slice; expected a volume: config.data.size has three numbers')
        else:
            turned = canonical(dataclasses.replace(image, array=array))
            array, steps = turned.array, spacing(turned.affine)
        if self.channels and array.shape[-1] != self.channels:
            if {self.channels, array.shape[-1]} != {1, 3}:
                raise InputError(f'{image.path}: {array.shape[-1]} channels; expected 1 or 3')
            grey = array.mean(-1, keepdims=True)
            array = (np.rint(grey) if array.dtype.kind in 'iu' else grey).astype(array.dtype)
            array = array.repeat(self.channels, -1)
        if array.dtype != np.uint8:
            if self.shares and array.dtype != np.uint16:
                raise InputError(f'{image.path}: {array.dtype} values; expected 8 or 16 bits for '
                                 f"config.data.intensity {self.intensity['name']!r}; others: zscore, window")
            array = array.astype(np.float32) / (65535 if self.shares else 1)
        return self._sized(array, steps)

    def seen(self, image: Image, statistics: Mapping[str, Any]) -> np.ndarray:
        """A new image as a network sees it, `[*size, C]` float32.

        Args:
          image: as stored.
          statistics: of the training images, `channels` and `intensities`.

        Raises:
          InputError: as `fitted`; voxels that are no numbers, or other channels than in training.
        """
        image_files.check_finite(image)
        array = self.fitted(image)
        if array.shape[-1] != statistics['channels']:
            raise InputError(f'{image.path}: {array.shape[-1]} channels; expected {statistics["channels"]} channels, '
                             'as in training')
        return self.normalise(array, statistics['intensities'])

    def _sized(self, array: np.ndarray, steps: Sequence[float]) -> np.ndarray:
        extents, before = self._placed(array.shape, steps)
        small = resized(array, extents)
        if self.fit == 'stretch':
            return small
        pad = [(m, n - m - extent) for n, m, extent in zip(self.size, before, extents)]
        return np.pad(small, [*pad, (0, 0)], constant_values=small.min())

    def _placed(self, shape: Sequence[int], steps: Sequence[float]) -> tuple[list[int], list[int]]:
        """What an image's axes are resized to, and how much is filled up before them."""
        if self.fit == 'stretch':
            return list(self.size), [0] * len(self.size)
        lengths = [old * step for old, step in zip(shape, steps)]
        share = min(n / old for n, old in zip(self.size, lengths))
        extents = [max(round(old * share), 1) for old in lengths]
        return extents, [(n - m) // 2 for n, m in zip(self.size, extents)]

    def grid(self, shape: Sequence[int], affine: np.ndarray) -> Grid:
        """Where an image's voxels come to.

        Args:
          shape: of its array as stored, `[X, Y, Z]`, or more.
          affine: `[4, 4]`, its own.
        """
        shape, steps = tuple(int(n) for n in shape[:3]), np.ones(2)
        if len(self.size) == 2:
            shape, turn = (shape[1], shape[0]), np.eye(2, 3)
        else:
            turn = turning(shape, affine)
            steps = np.abs(turn[:, :3]) @ spacing(affine)
        turned = np.abs(turn[:, :-1]) @ shape
        extents, before = self._placed(turned, steps)
        matrix = turn * (extents / turned)[:, None]
        matrix[:, -1] += before
        return Grid(shape, matrix)

    def normalise(self, array: np.ndarray, training: Mapping[str, Sequence[float]]) -> np.ndarray:
        """Maps intensities `[*S, C]`, or those of many images `[N, *S, C]`, to what the network sees, float32.

        Args:
          array: as `fitted` gives it.
          training: `mean` and `std` of each channel of the training images, as shares.
        """
        name = self.intensity['name']
        array = array.astype(np.float32) / np.float32(255 if self.shares and array.dtype == np.uint8 else 1)
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

    def pictured(self, array: np.ndarray, training: Mapping[str, Sequence[float]]) -> np.ndarray:
        """The inverse of `normalise` in 8 bits: what a network sees or makes as files have it, cut off at both ends.

        A window's lower end becomes 0, its upper end 255.

        Args:
          array: `[N, *S, C]`, in the network's intensities.
          training: see `normalise`.

        Raises:
          InputError: intensities by each image's own mean and deviation, which are gone.
        """
        name = self.intensity['name']
        if name == 'zscore':
            raise InputError("config.data.intensity: 'zscore' cannot be undone, images have to be made in others; "
                             "expected unit, fixed, training or window")
        if name in ('fixed', 'training'):
            scale = self.intensity if name == 'fixed' else training
            array = array * np.asarray(scale['std']) + np.asarray(scale['mean'])
        return np.rint(255 * np.clip(array, 0, 1)).astype(np.uint8)


def framing(*, size: Sequence[int], fit: str = 'stretch', channels: int | None = None,
            intensity: Mapping[str, Any] | None = None, **_: Any) -> Frame:
    """Makes what training and predict bring an image to the network's size with, of the options of `dataset`."""
    if not isinstance(size, Sequence) or not isinstance(intensity or {}, Mapping):
        raise InputError(f'config.data: size={size}, intensity={intensity}; expected rows and columns, or x, y and z, '
                         "and a name with its options, as in dict(name='unit')")
    return Frame(tuple(size), fit, channels, dict(intensity or {'name': 'training'}))


def resized(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes `[*S, C]` axis by axis, linearly; where it shrinks, over all voxels that a new one covers."""
    out = array.astype(np.float32)
    for axis, count in enumerate(size):
        if out.shape[axis] != count:
            first = np.moveaxis(out, axis, 0)
            flat = Picture.fromarray(np.ascontiguousarray(first).reshape(len(first), -1))
            line = np.asarray(flat.resize((flat.width, count), Picture.Resampling.BILINEAR))
            out = np.moveaxis(line.reshape(count, *first.shape[1:]), 0, axis)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8) if array.dtype == np.uint8 else out
