"""The ranges of the training data, and how new inputs differ from them, which no network says itself.

Images are compared by how they were acquired: modality, spacing, direction of the slices, and intensities as stored.
Tables are compared by their columns.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np

from medjax.data.io.geometry import Image, spacing, to_canonical
from medjax.data.source import Series
from medjax.errors import few

PLANES = {'L': 'sagittal', 'R': 'sagittal', 'A': 'coronal', 'P': 'coronal', 'S': 'axial', 'I': 'axial'}
THICK = 1.5  # an image has slices where the largest spacing is so many times the smallest
SAMPLE = 500_000  # voxels that percentiles are computed of, at most
PERCENTILES = 0.5, 99.5
WARNING = 'warning: outside the training range'
SPACING, TILT, WIDTH = 0.1, 10.0, 0.25  # beyond a range: a share of the spacing, degrees, a share of the range's width


def of_image(image: Image) -> dict[str, Any]:
    """How an image was acquired.

    Args:
      image: as stored.

    Returns:
      `spacing` in mm along x, y and z of the patient; `plane` of the slices, 'isotropic' where they are no thicker than
      their pixels, '' for a 2D image; `tilt` of the axes against those of the patient, degrees; `modality`, '' where
      the format has none; `low` and `high`, the 0.5 and 99.5 percentiles of each channel.
    """
    channels = image.array.reshape(*image.array.shape[:3], -1)
    voxels = channels.reshape(-1, channels.shape[-1])
    voxels = voxels[::max(len(voxels) // SAMPLE, 1)].astype(np.float64)
    low, high = np.nanpercentile(voxels, PERCENTILES, axis=0)
    return {**of_grid(image.array.shape, image.affine), 'modality': image.modality, 'low': low.tolist(),
            'high': high.tolist()}


def of_grid(shape: Sequence[int], affine: np.ndarray) -> dict[str, Any]:
    """Spacing, plane and tilt of a grid; see `of_image`."""
    steps = spacing(affine)
    grid = to_canonical(Image(np.broadcast_to(np.uint8(0), tuple(shape[:3])), affine))
    axes = np.abs(affine[:3, :3] / steps).max(0)
    plane = 'isotropic' if max(steps) < THICK * min(steps) else PLANES[nib.aff2axcodes(affine)[int(np.argmax(steps))]]
    return {'spacing': list(spacing(grid.affine)), 'plane': '' if 1 in shape[:3] else plane,
            'tilt': float(np.rad2deg(np.arccos(np.clip(axes.min(), -1, 1))))}


def of_images(acquired: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The ranges of the training images.

    Args:
      acquired: of each image, as `of_image` has it.

    Returns:
      `spacing`, `low` and `high` as pairs of smallest and largest value of each axis or channel, `tilt` as the largest,
      `plane` and `modality` as lists of all values; empty where there is no image.
    """
    items = list(acquired)
    if not items:
        return {}
    out: dict[str, Any] = {name: sorted({item[name] for item in items}) for name in ('plane', 'modality')}
    out['tilt'] = max(item['tilt'] for item in items)
    steps = np.array([item['spacing'] for item in items])
    out['spacing'] = [steps.min(0).tolist(), steps.max(0).tolist()]
    if len({len(item['low']) for item in items}) == 1:
        out['intensity'] = [np.min([item['low'] for item in items], 0).tolist(),
                            np.max([item['high'] for item in items], 0).tolist()]
    return out


def of_columns(records: Iterable[Mapping[str, float]], names: Sequence[str]) -> dict[str, list[float]]:
    """The smallest and largest value of each column of the training patients; columns without a value are left out."""
    table = list(records)
    out = {}
    for name in names:
        values = np.array([record.get(name, np.nan) for record in table], float)
        if np.isfinite(values).any():
            out[name] = [float(np.nanmin(values)), float(np.nanmax(values))]
    return out


def differences(image: Image, ranges: Mapping[str, Any]) -> list[str]:
    """How an image is outside of the ranges of the training images, a text each.

    A spacing may be 10 % beyond the range, a tilt 10°, and a percentile of the intensities a quarter of the range's
    width, since new images of the same kind are often somewhat outside of those that were seen.

    Args:
      image: as stored.
      ranges: of `of_images`; a run from before they were recorded has none, and nothing is said.
    """
    if not ranges:
        return []
    found, out = of_image(image), []
    if found['modality'] and any(ranges['modality']) and found['modality'] not in ranges['modality']:
        out.append(f'modality {found["modality"]}, in training {_list(ranges["modality"])}')
    low, high = (np.array(end) for end in ranges['spacing'])
    steps = np.array(found['spacing'])
    if ((steps < low * (1 - SPACING)) | (steps > high * (1 + SPACING))).any():
        out.append(f'voxels of {_numbers(steps)} mm, in training {_numbers(low)} to {_numbers(high)}')
    if found['plane'] and any(ranges['plane']) and found['plane'] not in ranges['plane']:
        out.append(f'{found["plane"]} slices, in training {_list(ranges["plane"])}')
    if found['tilt'] > ranges['tilt'] + TILT:
        out.append(f"axes {found['tilt']:.0f}° from the patient's, in training at most {ranges['tilt']:.0f}°")
    low, high = (np.array(end) for end in ranges.get('intensity', ([], [])))
    if len(low) and len(low) == len(found['low']):
        margin = WIDTH * (high - low)
        wrong = (np.array(found['low']) < low - margin) | (np.array(found['high']) > high + margin)
        for channel in np.flatnonzero(wrong):
            of = f' of channel {channel + 1}' if len(low) > 1 else ''
            out.append(f'intensities{of} from {found["low"][channel]:.4g} to {found["high"][channel]:.4g}, in training '
                       f'{low[channel]:.4g} to {high[channel]:.4g}')
    return out


def column_warning(records: Sequence[Mapping[str, float]], ranges: Mapping[str, Sequence[float]],
                   rows: str = 'patients') -> str:
    """A text on the columns of a table with values outside of the range of the training patients; '' for none.

    Args:
      records: of each row its values by column.
      ranges: of `of_columns`; empty for a run from before they were recorded.
      rows: what a row is.
    """
    out = []
    for name, (low, high) in ranges.items():
        values = np.array([record.get(name, np.nan) for record in records], float)
        # Covariates are kept with 9 digits or more; a value that was rounded is not outside.
        margin = 1e-9 * max(abs(low), abs(high))
        count = int(((values < low - margin) | (values > high + margin)).sum())
        if count:
            out.append(f'{name} of {count} ({np.nanmin(values):.4g} to {np.nanmax(values):.4g}, in training {low:.4g} '
                       f'to {high:.4g})')
    return f'\n{WARNING}: of {len(records)} {rows}: {few(out)}' if out else ''


def table_warning(known: Mapping[str, Any], records: Sequence[Mapping[str, float]],
                  series: Sequence[Series] = ()) -> str:
    """A text on the values of new patients and visits outside of the ranges of the training patients; '' for none.

    Args:
      known: statistics of the training patients, with `columns` and for visits `measured`.
      records: of each patient the covariates.
      series: of each patient the visits.
    """
    ranges, measured = known.get('columns', {}), known.get('measured', ())
    covariates = {name: ends for name, ends in ranges.items() if name not in measured}
    values = {name: ends for name, ends in ranges.items() if name in measured}
    return (column_warning(records, covariates)
            + column_warning(series_records(series, measured), values, 'visits'))


def series_records(series: Iterable[Series], names: Sequence[str]) -> list[dict[str, float]]:
    """The values of all visits of some series, a record each."""
    return [dict(zip(names, map(float, values))) for one in series for values in one.values]


def _list(values: Sequence[str]) -> str:
    return ', '.join(value for value in values if value)


def _numbers(values: np.ndarray) -> str:
    return '×'.join(f'{value:.3g}' for value in values)


@dataclasses.dataclass
class CheckedReader:
    """A reader of new images that notes how they are outside of the ranges of the training images.

    Attributes:
      read: reads an image, or the cases of a table, which are passed on.
      ranges: of the training images; see `differences`.
      notes: what was found since the list was emptied.
    """

    read: Callable[..., Any]
    ranges: Mapping[str, Any]
    notes: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, path: str | pathlib.Path, *arguments: Any, **more: Any) -> Any:
        """What the reader returns."""
        found = self.read(path, *arguments, **more)
        if isinstance(found, Image):
            self.notes += [f'{path}: {text}' for text in differences(found, self.ranges)]
        return found
