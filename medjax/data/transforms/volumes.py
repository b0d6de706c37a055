"""From an image as stored to the array that a network sees: grid, then intensity; the same in training and predict."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from medjax.data.io.geometry import Image, canonical, resample
from medjax.errors import InputError

INTENSITIES = {'zscore': (), 'percentile': ('low', 'high'), 'window': ('low', 'high'), 'none': ()}


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How a volume is brought onto the network's grid and scale.

    Attributes:
      spacing: mm of a voxel along x, y, z after resampling; None keeps each image's own.
      crop: cut to the box of the voxels that differ from the image's minimum (skull-stripped or masked images have a
        constant background; nnU-Net does the same), which the prediction outside of is background.
      intensity: `name` and its options, per channel:
        zscore: minus the mean, over the standard deviation, of the case's own voxels above its minimum;
        percentile: clipped at the `low` and `high` percentiles (0–100), then z-scored, with percentiles, mean and
          standard deviation of the *training cases'* labelled voxels (nnU-Net's scheme for CT);
        window: clipped at `low` and `high` (HU) and mapped to 0–1; none: as stored.
      context: neighbouring slices on each side, as channels, along the patch's axis of extent 1 (2.5D).
    """

    spacing: tuple[float, float, float] | None = None
    crop: bool = True
    intensity: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {'name': 'zscore'})
    context: int = 0

    def __post_init__(self):
        check_intensity(self.intensity, INTENSITIES)

    def to_grid(self, image: Image, label: Image | None = None) -> tuple[Image, Image | None, dict[str, list[float]]]:
        """Reorients to RAS+, crops and resamples; `image.array` gets `[X, Y, Z, C]`.

        Returns:
          The image, the label, and the case's statistics, which `normalise` takes: mean, standard deviation and
          minimum of each channel.
        """
        pair = [canonical(image), canonical(label) if label is not None else None]
        array = pair[0].array
        if array.ndim == 3:
            pair[0] = dataclasses.replace(pair[0], array=array[..., None])
        if self.crop:
            array = pair[0].array
            inside = (array != array.min(axis=(0, 1, 2))).any(-1)
            box = tuple(_extent(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
            pair = [part and _cut(part, box) for part in pair]
        # Before resampling, whose cubics swing a little below the background: a minimum of theirs would make all of
        # the background count as body.
        statistics = _statistics(pair[0].array)
        if self.spacing is not None:
            pair[0] = resample(pair[0], self.spacing, kind='cubic')
            pair[1] = pair[1] and resample(pair[1], self.spacing, kind='label')
        return pair[0], pair[1], statistics

    def training_statistics(self, samples: Iterable[np.ndarray]) -> dict[str, list[float]]:
        """What `normalise` needs of the training cases: from labelled voxels `[n, C]` of each of them."""
        if self.intensity['name'] != 'percentile':
            return {}
        voxels = np.concatenate(list(samples)).astype(np.float64)
        if not len(voxels):
            raise InputError("config.data.intensity: 'percentile' needs labelled voxels in the training cases; none is "
                             'there')
        low, high = np.percentile(voxels, [self.intensity['low'], self.intensity['high']], axis=0)
        clipped = np.clip(voxels, low, high)
        return {'low': low.tolist(), 'high': high.tolist(), 'mean': clipped.mean(0).tolist(),
                'std': clipped.std(0).tolist()}

    def normalise(self, array: np.ndarray, case: Mapping[str, list[float]],
                  training: Mapping[str, list[float]]) -> np.ndarray:
        """Maps intensities `[..., C]` to what the network sees, float32; `case` and `training` as computed above."""
        array, name = array.astype(np.float32), self.intensity['name']
        if name == 'none':
            return array
        if name == 'window':
            low, high = np.float32(self.intensity['low']), np.float32(self.intensity['high'])
            return (np.clip(array, low, high) - low) / (high - low)
        if name == 'percentile':
            array = np.clip(array, np.float32(training['low']), np.float32(training['high']))
        scale = training if name == 'percentile' else case
        return (array - np.float32(scale['mean'])) / np.maximum(np.float32(scale['std']), 1e-6)


def check_intensity(intensity: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> None:
    """Refuses a way to scale intensities that is not known by its `name`, or has other options than that has."""
    options = dict(intensity)
    name = options.pop('name', None)
    if name not in known or set(options) != set(known[name]):
        expected = '; '.join(f"{k}({', '.join(v)})" for k, v in known.items())
        raise InputError(f'config.data.intensity: {dict(intensity)} is not one of: {expected}')
    if 'low' in options and not options['low'] < options['high']:
        raise InputError(f"config.data.intensity: low={options['low']} must be below high={options['high']}")


def flat_axis(patch: tuple[int, int, int]) -> int | None:
    """The axis along which a patch is one voxel thick, or None for a 3D patch."""
    return list(patch).index(1) if 1 in patch else None


def with_context(array: np.ndarray, context: int, axis: int) -> np.ndarray:
    """Stacks each slice's neighbours as channels, lowest first; the border's slice stands in for what is beyond it.

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
    rows = []
    for channel in np.moveaxis(array, -1, 0):
        inside = channel[channel > channel.min()]
        inside = inside if inside.size else channel.ravel()
        rows.append((inside.mean(dtype=np.float64), inside.std(dtype=np.float64), channel.min()))
    return dict(zip(('mean', 'std', 'min'), np.array(rows, float).T.tolist()))


def _extent(occupied: np.ndarray) -> slice:
    """The slice from the first to the last True; everything where there is none."""
    where = np.flatnonzero(occupied)
    return slice(where[0], where[-1] + 1) if where.size else slice(0, occupied.size)


def _cut(image: Image, box: tuple[slice, slice, slice]) -> Image:
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return dataclasses.replace(image, array=image.array[box], affine=affine)
