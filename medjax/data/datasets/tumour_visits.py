"""A patient's visits as arrays on the network's grid: all but the last as inputs, the last mask as the target."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import edt
import numpy as np
from scipy import ndimage

from medjax.data.io import geometry
from medjax.data.io.geometry import Image, crop_or_pad, cropped_affine, to_canonical_spacing
from medjax.data.source import UNKNOWN, Case, Target
from medjax.errors import InputError
from medjax.machine import cores

INPUTS = ('image', 'mask', 'distance')  # from which the network's channels are chosen
FAR = 30.0  # mm, the largest distance
CENTIMETRE = 10.0  # mm
THREADED = 1 << 18  # voxels from which distances are computed by several threads


@dataclasses.dataclass(frozen=True)
class FollowUp(Target):
    """The visits of a patient, and new tumours at the last one: the target of a case for tumour growth.

    Attributes:
      times: of the visits in days, increasing; the last visit is to be predicted from those before.
      sites: names of the sites where a new tumour may arise; none where this is not known.
      new: for each site 1 where a tumour arose between the last two visits, 0 where none did, UNKNOWN where there was
        one already, or where it is not known.
      chance: in simulations, the probability of each; it is not an input of any network.
      threshold: the cell density at the border of the masks, where it is known.
    """

    times: tuple[float, ...]
    sites: tuple[str, ...] = ()
    new: tuple[int, ...] = ()
    chance: tuple[float, ...] = ()
    threshold: float | None = None

    @property
    def stratum(self) -> str:
        """Whether a new tumour arose."""
        return str(int(1 in self.new))


class Scans(NamedTuple):
    """The result of `Case.read` for tumour growth: V visits on one grid.

    Attributes:
      image: `[X, Y, Z, V, C]`.
      masks: `[X, Y, Z, V]`, 0 or 1.
      sites: `[X, Y, Z]` uint8, numbers of the sites from 1; None where they are not known.
      tissue: `[X, Y, Z]` float32, the diffusion of cells as a fraction of the largest; None where it is not known.
    """

    image: Image
    masks: Image
    sites: np.ndarray | None = None
    tissue: np.ndarray | None = None


class VisitRows(NamedTuple):
    """Patients as arrays on one grid, with up to T input visits, padded before the first.

    Attributes:
      image: `[N, T, *S, C]` float32, the network's input; 0 for padding.
      masks: `[N, T, *S]` uint8, of the input visits.
      label: `[N, *S]` uint8, the mask of the last visit, which is to be predicted.
      sites: `[N, *S]` uint8.
      tissue: `[N, *S]` float32, or None.
      time: `[N, T]` float32, days relative to the last input visit, at most 0.
      time_mask: `[N, T]` float32, 0 for padding.
      volume: `[N, T]` float32, ml.
      horizon: `[N]` float32, days from the last input visit to the last visit.
      new: `[N, K]` int32, new tumours of each site, as in `FollowUp`.
    """

    image: np.ndarray
    masks: np.ndarray
    label: np.ndarray
    sites: np.ndarray
    tissue: np.ndarray | None
    time: np.ndarray
    time_mask: np.ndarray
    volume: np.ndarray
    horizon: np.ndarray
    new: np.ndarray


def prepare_visits(case: Case[FollowUp], size: tuple[int, ...], spacing: Sequence[float] | None, inputs: Sequence[str],
                   visits: int, sites: int) -> tuple[VisitRows, np.ndarray, bool]:
    """A patient's visits on the network's grid.

    Args:
      case: with `FollowUp` and `Scans`.
      size: voxels along x and y, or along x, y and z.
      spacing: mm along x, y, z to resample to; None keeps the scans' own.
      inputs: some of `INPUTS`.
      visits: T.
      sites: K.

    Returns:
      The patient as `VisitRows` without their first axis; the grid's affine `[4, 4]`; and whether some of a mask was
      cropped.

    Raises:
      InputError: scans of another dimension than `size`, or without the wanted inputs.
    """
    scans, target = case.read(), case.target
    _check_scans(case, scans, size, inputs)
    scans = _resample(scans, spacing, case.id)
    masks, steps, full = scans.masks.array, geometry.spacing(scans.masks.affine), (*size, 1)[:3]
    start, before = _first_voxel(masks[..., -2], full), int(masks.sum())
    image = crop_or_pad(scans.image.array, start, full, scans.image.array.min((0, 1, 2)))
    masks = crop_or_pad(masks, start, full)
    places, tissue = (None if part is None else crop_or_pad(part, start, full) for part in (scans.sites, scans.tissue))
    if places is None:
        places = np.zeros(full, np.uint8)
    channels = np.moveaxis(_channels(image, masks, steps, inputs), 3, 0)[:-1].astype(np.float32)
    by_visit = np.moveaxis(masks, -1, 0)
    count = len(by_visit)
    volume = np.maximum(by_visit.reshape(count, -1).sum(1), 0.5) * np.prod(steps) / 1000
    times = np.array(target.times, np.float32)

    def padded(array: np.ndarray) -> np.ndarray:
        """With zeros for visits before the first."""
        return np.pad(array, [(visits - (count - 1), 0), *[(0, 0)] * (array.ndim - 1)])

    def planar(array: np.ndarray) -> np.ndarray:
        """Without the last axis, for 2D."""
        return array if len(size) == 3 else array[..., 0]

    row = VisitRows(
        image=padded(channels if len(size) == 3 else channels[:, :, :, 0]), masks=padded(planar(by_visit[:-1])),
        label=planar(by_visit[-1]), sites=planar(places.astype(np.uint8)),
        tissue=None if tissue is None else planar(tissue), time=padded(times[:-1] - times[-2]),
        time_mask=padded(np.ones(count - 1, np.float32)), volume=padded(volume[:-1].astype(np.float32)),
        horizon=times[-1] - times[-2], new=np.array(target.new or (UNKNOWN,) * sites, np.int32))
    return row, cropped_affine(scans.masks.affine, start), int(masks.sum()) < before


def _check_scans(case: Case[FollowUp], scans: Scans, size: Sequence[int], inputs: Sequence[str]) -> None:
    visits, shape = len(case.target.times), scans.masks.array.shape[:3]
    if scans.masks.array.shape[3:] != (visits,) or scans.image.array.shape[:4] != (*shape, visits):
        raise InputError(f'{case.id}: images {scans.image.array.shape}, masks {scans.masks.array.shape}; expected '
                         f'[X, Y, Z, {visits}, C] and [X, Y, Z, {visits}]')
    if not np.isfinite(scans.image.array).all():
        raise InputError(f'{case.id}: values that are NaN or infinite; expected images')
    if (len(size) == 2) != (shape[2] == 1):
        raise InputError(f'{case.id}: {shape[2]} slices; expected config.data.size of two numbers for one slice, and '
                         'of three for more')
    if 'image' in inputs and not scans.image.array.shape[-1]:
        raise InputError(f"{case.id}: no images; expected config.data.inputs without 'image', or images")


def _resample(scans: Scans, spacing: Sequence[float] | None, path: str) -> Scans:
    """Scans in RAS+ at a spacing, masks as uint8."""
    shape, visits, channels = scans.masks.array.shape[:3], scans.masks.array.shape[3], scans.image.array.shape[-1]

    def resampled(array: np.ndarray | None, kind: str) -> np.ndarray | None:
        return None if array is None else to_canonical_spacing(Image(array, scans.masks.affine, path), spacing,
                                                               kind).array

    binary = (scans.masks.array > 0).astype(np.uint8)
    masks = [to_canonical_spacing(Image(mask, scans.masks.affine, path), spacing, 'label')
             for mask in np.moveaxis(binary, -1, 0)]
    affine, array = masks[0].affine, np.stack([mask.array for mask in masks], -1)
    image = np.zeros((*array.shape, 0), np.float32)
    if channels:
        flat = scans.image.array.reshape(*shape, visits * channels).astype(np.float32)
        image = resampled(flat, 'linear').reshape(*array.shape, channels)
    return Scans(Image(image, affine, path), Image(array, affine, path), resampled(scans.sites, 'label'),
                 resampled(scans.tissue, 'linear'))


def _channels(image: np.ndarray, masks: np.ndarray, spacing: Sequence[float], inputs: Sequence[str]) -> np.ndarray:
    """The network's channels, `[X, Y, Z, V, C]`, of images `[X, Y, Z, V, C]` and masks `[X, Y, Z, V]`."""
    visits = range(masks.shape[-1])
    parts = []
    for name in inputs:
        if name == 'image':
            parts.append(np.stack([_standardise(image[..., visit, :]) for visit in visits], -2))
        elif name == 'mask':
            parts.append(masks[..., None].astype(np.float32))
        else:
            distances = np.stack([signed_distance(masks[..., visit], spacing) for visit in visits], -1)
            parts.append(distances[..., None] / CENTIMETRE)
    return np.concatenate(parts, -1)


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The distance of each voxel's centre from the border of a mask, negative inside.

    The border lies half way between the centres of voxels inside and outside.

    Args:
      mask: two or three axes.
      spacing: mm along each axis; further numbers are ignored.

    Returns:
      mm, float32, from -FAR to FAR; FAR for an empty mask.
    """
    mask = np.array(mask) > 0
    if not mask.any():
        return np.full(mask.shape, FAR, np.float32)
    if mask.all():
        return np.full(mask.shape, -FAR, np.float32)
    spacing, half = tuple(spacing[:mask.ndim]), min(spacing[:mask.ndim]) / 2
    if mask.size > THREADED:
        outer, inner = (edt.edt(part, anisotropy=spacing, parallel=cores()) for part in (~mask, mask.copy()))
    else:
        outer, inner = (ndimage.distance_transform_edt(part, spacing) for part in (~mask, mask))
    return np.clip(np.where(mask, half - inner, outer - half), -FAR, FAR).astype(np.float32)


def _standardise(image: np.ndarray) -> np.ndarray:
    """Z-scores of each channel over the voxels that differ from its minimum; the others are 0."""
    out = np.zeros_like(image)
    for channel in range(image.shape[-1]):
        inside = image[..., channel] != image[..., channel].min()
        if inside.any():
            values = image[..., channel][inside]
            out[..., channel][inside] = (values - values.mean()) / max(float(values.std()), 1e-6)
    return out


def _first_voxel(mask: np.ndarray, size: Sequence[int]) -> tuple[int, ...]:
    """The first voxel of a box of this size, centred on a mask as far as the image allows, on the image without one."""
    where = np.argwhere(mask)
    centre = (where.min(0) + where.max(0) + 1) / 2 if len(where) else np.array(mask.shape) / 2
    first = []
    for middle, n, extent in zip(centre, mask.shape, size):
        spare = n - extent
        first.append(int(np.clip(round(middle - extent / 2), 0, spare)) if spare > 0 else spare // 2)
    return tuple(first)
