"""Preprocessing of volumes, the same in training and prediction: the network's grid, then its intensities."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from medjax.data.io.geometry import Image, cropped_affine, resample, to_canonical
from medjax.data.io.image_files import check_finite
from medjax.errors import InputError

INTENSITIES = {'zscore': (), 'percentile': ('low', 'high'), 'window': ('low', 'high'), 'none': (),
               'by_channel': ('schemes',)}


class NetworkVolume(NamedTuple):
    """A volume as the network takes it.

    Attributes:
      image: `[X, Y, Z, C * (2 * context + 1)]` float32, normalised.
      background: `[C * (2 * context + 1)]` float32, the normalised minimum: the value beyond the image.
      affine: `[4, 4]`, of the network's grid.
    """

    image: np.ndarray
    background: np.ndarray
    affine: np.ndarray


@dataclasses.dataclass(frozen=True)
class VolumePreprocess:
    """The network's grid and intensity scale for volumes.

    Attributes:
      spacing: mm of a voxel along x, y, z after resampling; None keeps each image's own.
      crop: crop to the bounding box of the voxels that differ from the image's minimum, as in nnU-Net: skull-stripped
        or masked images have a constant background. Outside the box the prediction is background.
      intensity: `name` and its options, per channel:
        zscore: minus the mean, over the standard deviation, of the case's own voxels above its minimum;
        percentile: clipped at the `low` and `high` percentiles (0–100), then z-scored, with percentiles, mean and
          standard deviation of the labelled voxels of the *training cases* (nnU-Net's scheme for CT);
        window: clipped at `low` and `high` (HU) and mapped to 0–1; none: as stored;
        by_channel: `schemes`, a list with one of the others for each channel.
      context: neighbouring slices on each side, as channels, along the patch's axis of extent 1 (2.5D).
      previous: the number of classes, without the background, of a first stage whose labels images have as their last
        channel; they become a channel each, 0 or 1, after the others. 0 for none.
    """

    spacing: tuple[float, float, float] | None = None
    crop: bool = True
    intensity: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {'name': 'zscore'})
    context: int = 0
    previous: int = 0

    def __post_init__(self):
        check_intensity(self.intensity, INTENSITIES)

    def to_grid(self, image: Image, label: Image | None = None) -> tuple[Image, Image | None, dict[str, list[float]]]:
        """Reorients to RAS+, crops and resamples an image and, where there is one, its label.

        Args:
          image: `[X, Y, Z]` or `[X, Y, Z, C]`.
          label: `[X, Y, Z]`, on the same grid.

        Returns:
          The image `[X, Y, Z, C]`, the label, and the case's statistics for `normalise`: mean, standard deviation and
          minimum of each channel.
        """
        image = to_canonical(image)
        label = None if label is None else to_canonical(label)
        if image.array.ndim == 3:
            image = dataclasses.replace(image, array=image.array[..., None])
        first_stage = None
        if self.previous:
            first_stage = dataclasses.replace(image, array=image.array[..., -1].round().astype(np.uint8))
            image = dataclasses.replace(image, array=image.array[..., :-1])
        if self.crop:
            inside = (image.array != image.array.min(axis=(0, 1, 2))).any(-1)
            box = tuple(_extent(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
            image = _cropped(image, box)
            label = None if label is None else _cropped(label, box)
            first_stage = None if first_stage is None else _cropped(first_stage, box)
        # Before resampling: cubic interpolation undershoots the background slightly, and with such a minimum all of
        # the background would count as foreground.
        statistics = _statistics(image.array)
        if self.spacing is not None:
            image = resample(image, self.spacing, kind='cubic')
            label = None if label is None else resample(label, self.spacing, kind='label')
            first_stage = None if first_stage is None else resample(first_stage, self.spacing, kind='label')
        if first_stage is not None:
            one_hot = first_stage.array[..., None] == np.arange(1, self.previous + 1)
            array = np.concatenate([image.array.astype(np.float32), one_hot.astype(np.float32)], -1)
            image = dataclasses.replace(image, array=array)
            statistics = {key: [*values, *[float(key == 'std')] * self.previous] for key, values in statistics.items()}
        return image, label, statistics

    def network_input(self, image: Image, statistics: Mapping[str, Any], axis: int = 0) -> NetworkVolume:
        """A new image as the network takes it.

        Args:
          image: as stored.
          statistics: of the training images, `channels` and `intensities`.
          axis: the slices' axis, for `context`.

        Raises:
          InputError: NaN or infinite voxels, or another number of channels than in training.
        """
        check_finite(image)
        grid, _, case = self.to_grid(image)
        if grid.array.shape[-1] != statistics['channels']:
            raise InputError(f'{image.path}: {grid.array.shape[-1]} channels; expected {statistics["channels"]}, as in '
                             'training')
        array = self.normalise(grid.array, case, statistics['intensities'])
        background = self.normalise(np.array(case['min']), case, statistics['intensities'])
        return NetworkVolume(with_context(array, self.context, axis), np.tile(background, 2 * self.context + 1),
                             grid.affine)

    def _of(self, scheme: Mapping[str, Any]) -> 'VolumePreprocess':
        """The same for a channel with this scheme of intensities."""
        return dataclasses.replace(self, intensity=scheme)

    def training_statistics(self, samples: Iterable[np.ndarray]) -> dict[str, list[float]]:
        """Statistics of the training cases for `normalise`.

        Args:
          samples: for each training case, intensities `[n, C]` of labelled voxels.

        Returns:
          `low`, `high`, `mean` and `std` of each channel for 'percentile', nothing for other intensities.

        Raises:
          InputError: no labelled voxel for 'percentile'.
        """
        if self.previous:
            return dataclasses.replace(self, previous=0).training_statistics(
                voxels[:, :-self.previous] for voxels in samples)
        if self.intensity['name'] == 'by_channel':
            schemes = self.intensity['schemes']
            if not any(scheme['name'] == 'percentile' for scheme in schemes):
                return {}
            samples = list(samples)
            each = [self._of(scheme).training_statistics(voxels[:, number:number + 1] for voxels in samples)
                    for number, scheme in enumerate(schemes)]
            return {key: [row.get(key, [0.0])[0] for row in each] for key in ('low', 'high', 'mean', 'std')}
        if self.intensity['name'] != 'percentile':
            return {}
        samples = list(samples)
        if not sum(map(len, samples)):
            raise InputError("config.data.intensity: 'percentile' takes its scale from voxels of any class but the "
                             "background; the training cases have 0 of them; expected some, or 'zscore'")
        voxels = np.concatenate(samples).astype(np.float64)
        low, high = np.percentile(voxels, [self.intensity['low'], self.intensity['high']], axis=0)
        clipped = np.clip(voxels, low, high)
        return {'low': low.tolist(), 'high': high.tolist(), 'mean': clipped.mean(0).tolist(),
                'std': clipped.std(0).tolist()}

    def normalise(self, array: np.ndarray, case: Mapping[str, list[float]],
                  training: Mapping[str, list[float]]) -> np.ndarray:
        """Maps intensities to the network's scale.

        Args:
          array: `[..., C]`, as stored.
          case: the case's statistics, from `to_grid`.
          training: those of the training cases, from `training_statistics`.

        Returns:
          As `array`, float32.
        """
        array, name = array.astype(np.float32), self.intensity['name']
        if self.previous:
            own = {key: values[:-self.previous] for key, values in case.items()}
            scaled = dataclasses.replace(self, previous=0).normalise(array[..., :-self.previous], own, training)
            return np.concatenate([scaled, array[..., -self.previous:]], -1)
        if name == 'by_channel':
            schemes = self.intensity['schemes']
            if len(schemes) != array.shape[-1]:
                raise InputError(f'config.data.intensity.schemes: {len(schemes)} schemes; expected {array.shape[-1]}, '
                                 'one for each channel')
            each = []
            for number, scheme in enumerate(schemes):
                known = ({key: values[number:number + 1] for key, values in of.items()} for of in (case, training))
                each.append(self._of(scheme).normalise(array[..., number:number + 1], *known))
            return np.concatenate(each, -1)
        if name == 'none':
            return array
        if name == 'window':
            low, high = np.float32(self.intensity['low']), np.float32(self.intensity['high'])
            return (np.clip(array, low, high) - low) / (high - low)
        if name == 'percentile':
            array = np.clip(array, np.float32(training['low']), np.float32(training['high']))
        scale = training if name == 'percentile' else case
        return (array - np.float32(scale['mean'])) / np.maximum(np.float32(scale['std']), 1e-6)


def volume_preprocess(*, patch: tuple[int, int, int], spacing: tuple[float, float, float] | None = None,
                      crop: bool = True, intensity: Mapping[str, Any] | None = None, context: int = 0,
                      previous: str = '', classes: int = 2, **_: Any) -> VolumePreprocess:
    """The preprocessing that a data set's options describe, for training and prediction.

    Args:
      patch: voxels along x, y, z of a patch.
      spacing: see `VolumePreprocess`, as for crop, intensity and context.
      crop: …
      intensity: …
      context: …
      previous: the folder of a first stage, see `first_stage`; '' for none.
      classes: with the background, of its labels.
      **_: further options of the data set, which are ignored.

    Raises:
      InputError: an option with an invalid value.
    """
    if len(patch) != 3 or min(patch) < 1 or list(patch).count(1) > 1:
        raise InputError(f'config.data.patch: {patch}; expected three numbers of voxels, at most one of them 1')
    if spacing is not None and (len(spacing) != 3 or not all(s > 0 for s in spacing)):
        raise InputError(f'config.data.spacing: {spacing}; expected three numbers of mm above zero, or None')
    if context and flat_axis(patch) is None:
        raise InputError(f'config.data.context: {context} needs a patch with one extent of 1; patch is {patch}')
    if previous and context:
        raise InputError(f'config.data.previous: {previous}, with context={context}; expected context=0: a second '
                         'stage sees no neighbouring slices as channels')
    return VolumePreprocess(tuple(spacing) if spacing else None, crop, dict(intensity or {'name': 'zscore'}), context,
                            classes - 1 if previous else 0)


def check_intensity(intensity: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> None:
    """Checks the options of an intensity scale.

    Args:
      intensity: `name` and its options.
      known: the options of each name.

    Raises:
      InputError: an unknown name, or other options than it has.
    """
    options = dict(intensity)
    name = options.pop('name', None)
    if name not in known or set(options) != set(known[name]):
        expected = '; '.join(f"{k}({', '.join(v)})" for k, v in known.items())
        raise InputError(f'config.data.intensity: {dict(intensity)} is not one of: {expected}')
    if name == 'by_channel':
        for scheme in options['schemes']:
            check_intensity(scheme, {key: value for key, value in known.items() if key != name})
    if 'low' in options and not options['low'] < options['high']:
        raise InputError(f"config.data.intensity: low={options['low']} must be below high={options['high']}")


def flat_axis(patch: tuple[int, int, int]) -> int | None:
    """The axis along which a patch has one voxel, or None for a 3D patch."""
    return list(patch).index(1) if 1 in patch else None


def with_context(array: np.ndarray, context: int, axis: int) -> np.ndarray:
    """Stacks each slice's neighbours as channels, lowest first; beyond the border the border's slice is repeated.

    Args:
      array: `[X, Y, Z, C]`.
      context: neighbours on each side.
      axis: the slices' axis.

    Returns:
      `[X, Y, Z, C * (2 * context + 1)]`.
    """
    if not context:
        return array
    size = array.shape[axis]
    shifts = range(-context, context + 1)
    shifted = [array.take(np.clip(np.arange(size) + shift, 0, size - 1), axis) for shift in shifts]
    return np.concatenate(shifted, -1)


def _statistics(array: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel's voxels above its minimum, and the minimum."""
    rows = []
    for channel in np.moveaxis(array, -1, 0):
        inside = channel[channel > channel.min()]
        inside = inside if inside.size else channel.ravel()
        rows.append((inside.mean(dtype=np.float64), inside.std(dtype=np.float64), channel.min()))
    return dict(zip(('mean', 'std', 'min'), np.array(rows, float).T.tolist()))


def _extent(occupied: np.ndarray) -> slice:
    """The slice from the first to the last True; the whole axis where there is none."""
    where = np.flatnonzero(occupied)
    return slice(where[0], where[-1] + 1) if where.size else slice(0, occupied.size)


def _cropped(image: Image, box: tuple[slice, slice, slice]) -> Image:
    affine = cropped_affine(image.affine, [part.start for part in box])
    return dataclasses.replace(image, array=image.array[box], affine=affine)
