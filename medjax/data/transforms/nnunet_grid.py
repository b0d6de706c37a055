"""Preprocessing of nnU-Net version 2 for its trained networks: axes, crop, intensities, resampling, and the way back.

Arrays are `[S0, S1, S2, C]` in the order of axes of nnU-Net's plans: axes z, y, x of the file, permuted by
`transpose_forward`. All rules are those of its DefaultPreprocessor and its default resampling, so that networks get
what they were trained with: a B-spline of order 3 for images, where the slices are thick each slice by itself and the
nearest one across them; values are clipped to the image's range.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from medjax.data.io import image_files, raster
from medjax.data.io.geometry import Image, spacing
from medjax.errors import InputError
from medjax.ops.labels import last_region

THICK = 3.0  # ratio of spacings from which slices are resampled by themselves
SCHEMES = ('ZScoreNormalization', 'CTNormalization', 'NoNormalization', 'RescaleTo01Normalization',
           'RGBTo01Normalization')
RESAMPLING = 'resample_data_or_seg_to_shape'


@dataclasses.dataclass(frozen=True)
class Resampling:
    """How an array is resampled.

    Attributes:
      order: of the B-spline.
      order_z: across thick slices.
      separate: whether slices are resampled by themselves; None where the spacing decides.
    """

    order: int = 3
    order_z: int = 0
    separate: bool | None = None

    def __call__(self, array: np.ndarray, shape: Sequence[int], old: Sequence[float],
                 new: Sequence[float]) -> np.ndarray:
        """An array `[S0, S1, S2]` on a grid of another shape.

        Args:
          array: numbers.
          shape: of the new grid.
          old: spacing of the array, mm.
          new: spacing of the new grid, mm.
        """
        if array.shape == tuple(shape):
            return array
        axis, array = self._thick_axis(old, new), array.astype(np.float64)
        if axis is None:
            return _resized(array, shape, self.order)
        inner = [n for number, n in enumerate(shape) if number != axis]
        slices = np.stack([_resized(part, inner, self.order) for part in np.moveaxis(array, axis, 0)])
        if len(slices) != shape[axis]:
            places = len(slices) / shape[axis] * (np.arange(shape[axis]) + 0.5) - 0.5
            if self.order_z == 0:
                nearest = ndimage.map_coordinates(np.arange(len(slices)), places[None], order=0, mode='nearest')
                slices = slices[nearest]
            else:
                grid = np.meshgrid(places, *map(np.arange, inner), indexing='ij')
                slices = ndimage.map_coordinates(slices, np.stack(grid), order=self.order_z, mode='nearest')
        return np.moveaxis(slices, 0, axis)

    def places(self, shape: Sequence[int], new_shape: Sequence[int], old: Sequence[float],
               new: Sequence[float]) -> list['Places'] | None:
        """Where the voxels of a new grid are along each axis; None where orders above 1 need a whole array.

        Args:
          shape: of the array.
          new_shape: of the new grid.
          old: spacing of the array, mm.
          new: spacing of the new grid, mm.
        """
        axis = self._thick_axis(old, new)
        orders = [self.order_z if number == axis else self.order for number in range(3)]
        if max(orders) > 1:
            return None
        return [Places.between(*sizes, order) for *sizes, order in zip(shape, new_shape, orders)]

    def _thick_axis(self, old: Sequence[float], new: Sequence[float]) -> int | None:
        """The axis across thick slices; None where all axes are resampled together."""
        if self.separate is False:
            return None
        for millimetres in (old, new):
            if self.separate or max(millimetres) / min(millimetres) > THICK:
                axes = [axis for axis, one in enumerate(millimetres) if max(millimetres) / one == 1]
                return axes[0] if len(axes) == 1 else None
        return None


@dataclasses.dataclass(frozen=True)
class Places:
    """Along an axis, the two voxels of a grid between which each voxel of another grid is, and the share of the second.

    Attributes:
      low: `[N]` int.
      high: `[N]` int.
      share: `[N]` float32, 0 to 1.
    """

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray

    @classmethod
    def between(cls, size: int, new: int, order: int) -> 'Places':
        """Those of grids that cover the same extent, for linear (order 1) or nearest (order 0) interpolation."""
        places = np.clip(size / new * (np.arange(new) + 0.5) - 0.5, 0, size - 1)
        if order == 0:
            low = ndimage.map_coordinates(np.arange(size), places[None], order=0, mode='nearest')
            return cls(low, low, np.zeros(new, np.float32))
        low = np.floor(places).astype(int)
        return cls(low, np.minimum(low + 1, size - 1), (places - low).astype(np.float32))

    def along(self, array: np.ndarray, axis: int) -> np.ndarray:
        """An array that is interpolated along an axis."""
        if np.array_equal(self.low, np.arange(array.shape[axis])) and not self.share.any():
            return array
        share = self.share.reshape([-1 if number == axis else 1 for number in range(array.ndim)])
        out = array.take(self.low, axis)
        out *= 1 - share
        out += array.take(self.high, axis) * share
        return out


def _resized(array: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """An array whose voxels cover the same extent on another grid, within the range of its values."""
    factors = [1 / (old / new) for old, new in zip(array.shape, shape)]
    out = ndimage.zoom(array, factors, order=order, mode='nearest', grid_mode=True)
    return np.clip(out, array.min(), array.max())


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where a preprocessed case was before.

    Attributes:
      shape: of the image, with axes as in the plans.
      box: the part of the image that is not cropped.
      spacing: of the image, mm.
      network_spacing: of the network's grid, mm.
    """

    shape: tuple[int, ...]
    box: tuple[slice, ...]
    spacing: tuple[float, ...]
    network_spacing: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class NnunetPreprocess:
    """The preprocessing that a plans file describes.

    Attributes:
      transpose: the order of the axes z, y, x in the plans.
      spacing: of the network's grid, mm: three numbers, or two where the slices keep their distance.
      schemes: of each channel's intensities, a name in SCHEMES.
      masked: of each channel, whether intensities are normalised over the voxels that are not 0.
      intensities: of each channel, statistics of the training cases' foreground.
      image_resampling: of images.
      logit_resampling: of the network's outputs.
    """

    transpose: tuple[int, ...]
    spacing: tuple[float, ...]
    schemes: tuple[str, ...]
    masked: tuple[bool, ...]
    intensities: tuple[Mapping[str, float], ...]
    image_resampling: Resampling = Resampling()
    logit_resampling: Resampling = Resampling(order=1)

    def __call__(self, image: Image) -> tuple[np.ndarray, Grid]:
        """An image as the network takes it.

        Args:
          image: `[X, Y, Z]` or `[X, Y, Z, C]`, as stored.

        Returns:
          `[S0, S1, S2, C]` float32, and where it was.

        Raises:
          InputError: another number of channels.
        """
        array = image.array if image.array.ndim == 4 else image.array[..., None]
        if array.shape[-1] != len(self.schemes):
            raise InputError(f'{image.path}: {array.shape[-1]} channels; expected {len(self.schemes)}, as in training')
        array = array.astype(np.float32).transpose(*self._axes, 3)
        old = self._spacing(image)
        new = self.spacing if len(self.spacing) == 3 else (old[0], *self.spacing)
        inside = ndimage.binary_fill_holes((array != 0).any(-1))
        box = tuple(_extent(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
        cropped, inside = array[box], inside[box]
        shape = [int(round(a / b * n)) for a, b, n in zip(old, new, cropped.shape)]
        if min(shape) < 1:
            raise InputError(f'{image.path}: {shape} voxels of {new} mm; expected at least one along each axis')
        channels = [self.image_resampling(self._normalised(cropped[..., number], inside, number), shape, old, new)
                    for number in range(len(self.schemes))]
        return np.stack(channels, -1).astype(np.float32), Grid(array.shape[:3], box, old, new)

    def labels(self, axis: int, planes: Iterable[np.ndarray], size: int, grid: Grid, regions: bool) -> np.ndarray:
        """Class numbers on the grid of the image as stored.

        Planes are resampled as they come, so that memory is needed for all classes of two of them. For splines of a
        higher order than 1, which nnU-Net's plans do not have, all logits are held, and one class is resampled at a
        time.

        Args:
          axis: across the planes.
          planes: the logits of each plane on the network's grid, `[A, B, K]`, A and B the other axes.
          size: the number of planes.
          grid: where the case was.
          regions: whether the logits are those of regions; the last one with a probability above .5 counts.

        Returns:
          `[X, Y, Z]` uint8; 0 outside of the part that was not cropped.
        """
        planes = iter(planes)
        first = next(planes)
        planes, shape = itertools.chain([first], planes), [part.stop - part.start for part in grid.box]
        inner = list(first.shape[:2])
        inner.insert(axis, size)
        places = self.logit_resampling.places(inner, shape, grid.network_spacing, grid.spacing)
        out = np.zeros(grid.shape, np.uint8)
        if places is None:
            out[grid.box] = self._labels_by_class(np.stack(list(planes), axis), shape, grid, regions)
        else:
            _write_planes(np.moveaxis(out[grid.box], axis, 0), planes, places.pop(axis), places, regions)
        return out.transpose(np.argsort(self._axes))

    def _labels_by_class(self, logits: np.ndarray, shape: Sequence[int], grid: Grid, regions: bool) -> np.ndarray:
        """Class numbers of logits `[S0, S1, S2, K]` on a grid of another shape, one class after the other."""
        label, best = np.zeros(shape, np.uint8), None
        for number in range(logits.shape[-1]):
            logit = self.logit_resampling(logits[..., number], shape, grid.network_spacing, grid.spacing)
            if regions:
                label[logit > 0] = number + 1
            elif best is None:
                best = logit
            else:
                label[logit > best] = number
                best = np.maximum(best, logit)
        return label

    @property
    def _axes(self) -> tuple[int, ...]:
        """The axes x, y, z of a file in the order of the plans."""
        return tuple(2 - axis for axis in self.transpose)

    def _spacing(self, image: Image) -> tuple[float, ...]:
        """The spacing of an image in the order of the plans; files store it in single precision."""
        millimetres = [float(np.float32(one)) for one in spacing(image.affine)]
        if image_files.suffix(pathlib.Path(image.path)) in raster.SUFFIXES:
            millimetres = [1.0, 1.0, 999.0]  # as nnU-Net has it for pictures
        return tuple(millimetres[axis] for axis in self._axes)

    def _normalised(self, array: np.ndarray, inside: np.ndarray, channel: int) -> np.ndarray:
        """A channel `[S0, S1, S2]` on the network's scale of intensities."""
        scheme, known = self.schemes[channel], self.intensities[channel]
        if scheme == 'ZScoreNormalization':
            chosen = array[inside] if self.masked[channel] else array
            scaled = (array - chosen.mean()) / max(chosen.std(), 1e-8)
            return np.where(inside, scaled, array) if self.masked[channel] else scaled
        if scheme == 'CTNormalization':
            clipped = np.clip(array, known['percentile_00_5'], known['percentile_99_5'])
            return (clipped - known['mean']) / max(known['std'], 1e-8)
        if scheme == 'RescaleTo01Normalization':
            lifted = array - array.min()
            return lifted / max(lifted.max(), 1e-8)
        return array / 255 if scheme == 'RGBTo01Normalization' else array


def _write_planes(label: np.ndarray, planes: Iterable[np.ndarray], across: Places, within: Sequence[Places],
                  regions: bool) -> None:
    """Writes class numbers plane by plane.

    Args:
      label: `[N, A, B]`, to be written.
      planes: of logits in order, `[a, b, K]`.
      across: where the planes of the label are between those of the logits.
      within: the same for rows and columns.
      regions: see `NnunetPreprocess.labels`.
    """
    planes, number = enumerate(planes), -1
    before = after = np.zeros(0, np.float32)
    for plane, low, high, share in zip(label, across.low, across.high, across.share):
        while number < high:
            number, found = next(planes)
            before, after = after, within[1].along(within[0].along(found, 0), 1)
        logits = after if low == high or not share and low == number else before
        if share:
            logits = before * (1 - share) + after * share
        plane[:] = last_region(logits, 0.0) if regions else logits.argmax(-1)


def preprocess(plans: Mapping[str, Any], configured: Mapping[str, Any], channels: int, where: str) -> NnunetPreprocess:
    """The preprocessing that a configuration of a plans file describes.

    Args:
      plans: the file's content.
      configured: the configuration.
      channels: of the images.
      where: the file, for messages.

    Raises:
      InputError: a preprocessor, a scheme of intensities or a resampling that medjax has not.
    """
    name = configured.get('preprocessor_name', 'DefaultPreprocessor')
    if name != 'DefaultPreprocessor':
        raise InputError(f'{where}: preprocessor_name: {name!r}; expected DefaultPreprocessor')
    schemes = tuple(configured['normalization_schemes'])
    _check(schemes, SCHEMES, 'normalization_schemes', where)
    kinds = ('data', 'probabilities')
    functions = [configured.get(f'resampling_fn_{kind}', RESAMPLING) for kind in kinds]
    _check(functions, (RESAMPLING,), 'resampling_fn', where)
    if len(schemes) != channels:
        raise InputError(f'{where}: normalization_schemes: {len(schemes)}; expected {channels}, the channels of '
                         'dataset.json')
    statistics = plans.get('foreground_intensity_properties_per_channel') or {}
    data, probabilities = (configured.get(f'resampling_fn_{kind}_kwargs') or {} for kind in kinds)
    return NnunetPreprocess(
        tuple(plans['transpose_forward']), tuple(map(float, configured['spacing'])), schemes,
        tuple(map(bool, configured['use_mask_for_norm'])),
        tuple(statistics.get(str(number), {}) for number in range(channels)),
        *(Resampling(options.get('order', order), options.get('order_z', 0), options.get('force_separate_z'))
          for options, order in ((data, 3), (probabilities, 1))))


def _check(names: Iterable[str], known: Sequence[str], key: str, where: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f'{where}: {key}: {name!r}; expected one of: {", ".join(known)}')


def _extent(occupied: np.ndarray) -> slice:
    """The slice from the first to the last True; the whole axis where there is none."""
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, occupied.size)
