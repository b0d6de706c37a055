"""DICOM segmentations as label maps: each voxel has its segment's number, 0 outside of all segments (PS3.3, A.51).

Files may leave out the empty frames of a segment, so that its slices have gaps; they are filled with 0.
"""

import pathlib

import numpy as np
import pydicom
from pydicom import uid

from medjax.data.io import dicom_pixels
from medjax.data.io.dicom_geometry import UNEVEN, Frame, affine_to_ras, check_parallel, check_straight
from medjax.errors import InputError

SEGMENTATION, LABEL_MAP = uid.SegmentationStorage, '1.2.840.10008.5.1.4.1.1.66.7'
CLASSES = (SEGMENTATION, LABEL_MAP)


def read(path: pathlib.Path, header: pydicom.Dataset, frames: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """Reads a segmentation.

    Args:
      path: of the file.
      header: its elements before the pixels.
      frames: the position of each frame.

    Returns:
      Segment numbers `[columns, rows, slices]`, uint8 or uint16, on the smallest grid of slices that covers all frames,
      and its affine to RAS+ mm.

    Raises:
      InputError: segments that overlap, fractional values between 0 and 1, or frames that are on no regular grid.
    """
    check_parallel(frames)
    places, step = _slice_numbers(path, header, frames)
    pixels = dicom_pixels.decode(path, header)
    first = frames[int(np.argmin(places))]
    out = np.zeros((places.max() + 1, *pixels.shape[1:]), np.uint16)
    if header.SegmentationType == 'LABELMAP':
        if len(set(places)) < len(places):
            raise InputError(f'{path}: {len(places)} frames at {len(set(places))} positions; expected one at each')
        background = int(header.get('PixelPaddingValue') or 0)
        out[places] = np.where(pixels == background, 0, pixels)
    else:
        for number, (place, inside) in enumerate(zip(places, _binary(path, header, pixels))):
            segment = _segment_number(path, header, number)
            other = out[place][inside & (out[place] > 0)]
            if other.size:
                raise InputError(f'{path}: segments {other[0]} and {segment} overlap in {other.size} voxels of a '
                                 'slice; expected segments without overlap, since a voxel has one label')
            out[place][inside] = segment
    return out.astype(np.uint8 if out.max() < 256 else np.uint16).transpose(2, 1, 0), affine_to_ras(first, step)


def _binary(path: pathlib.Path, header: pydicom.Dataset, pixels: np.ndarray) -> np.ndarray:
    """Whether each pixel is inside of its frame's segment."""
    full = 1
    if header.SegmentationType == 'FRACTIONAL':
        full = int(header.MaximumFractionalValue)
    if not np.isin(pixels, (0, full)).all():
        raise InputError(f'{path}: {header.SegmentationType} values between 0 and {full}; expected a binary '
                         'segmentation: threshold it first')
    return pixels == full


def _segment_number(path: pathlib.Path, header: pydicom.Dataset, number: int) -> int:
    """The segment of a frame."""
    items = dicom_pixels.functional_group(header, number, 'SegmentIdentificationSequence')
    segment = int(items[0].ReferencedSegmentNumber) if items else 0
    if segment < 1:
        raise InputError(f'{path}, frame {number + 1}: no ReferencedSegmentNumber (0062,000B); expected the number of '
                         'its segment')
    return segment


def _slice_numbers(path: pathlib.Path, header: pydicom.Dataset,
                   frames: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """The slice of each frame from 0, and the step from one slice to the next, mm in LPS."""
    normal, positions = frames[0].axes[:, 2], np.array([frame.position for frame in frames])
    heights = positions @ normal
    measures = (dicom_pixels.functional_group(header, 0, 'PixelMeasuresSequence') or [header])[0]
    declared = float(measures.get('SpacingBetweenSlices') or 0)
    different = np.sort(heights)
    gaps = np.diff(different)[np.diff(different) > 1e-3]
    if not gaps.size:  # one slice
        return np.zeros(len(frames), int), normal * (declared or float(measures.get('SliceThickness') or 1))
    # Whole multiples of the declared distance have empty slices between them; otherwise the positions are right, as in
    # series, where that element is often wrong.
    distance = declared if declared > 0 and _whole(gaps / declared) else gaps.min()
    if not _whole(gaps / distance) or (distance != declared and gaps.max() > (1 + UNEVEN) * gaps.min()):
        raise InputError(f'{path}: slice distances from {gaps.min():.3f} to {gaps.max():.3f} mm; expected one '
                         f'distance, or multiples of SpacingBetweenSlices (0018,0088): {declared or None}')
    numbers = np.round((heights - heights.min()) / distance).astype(int)
    lowest, highest = positions[heights.argmin()], positions[heights.argmax()]
    step = (highest - lowest) / numbers.max()
    check_straight(path, step, normal)
    return numbers, step


def _whole(ratios: np.ndarray) -> bool:
    """Whether distances are whole multiples of a distance, to the deviation that series are allowed."""
    return bool((np.round(ratios) >= 1).all() and np.abs(ratios - np.round(ratios)).max() <= UNEVEN)
