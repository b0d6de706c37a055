"""Where the frames of DICOM files are in the patient, and the regular grid that they form.

Positions come from the slice (PS3.3, C.7.6.2), from the functional groups of each frame (C.7.6.16), from
GridFrameOffsetVector for doses (C.8.8.3.2) and from SliceVector for reconstructed nuclear medicine (C.8.4.15). All are
in mm in LPS.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pydicom

from medjax.data.io.dicom_pixels import frame_count, functional_group
from medjax.errors import InputError

UNEVEN = 0.02  # fraction of the slice distance by which a slice may deviate from the regular grid
VECTORS = ('EnergyWindowVector', 'DetectorVector', 'PhaseVector', 'RotationVector', 'RRIntervalVector',
           'TimeSlotVector', 'AngularViewVector', 'TimeSliceVector')  # of nuclear medicine, besides SliceVector


class Frame(NamedTuple):
    """A frame in the patient.

    Attributes:
      name: the file, and the frame's number where there are several, for messages.
      position: centre of the first pixel, `[3]`.
      axes: directions of a row, of a column, and the normal as columns `[3, 3]`.
      spacing: mm between columns and between rows.
    """

    name: str
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]


def frames_of(path: pathlib.Path, header: pydicom.Dataset, several: bool) -> list[Frame]:
    """The frames of a file, in the file's order.

    Args:
      path: of the file.
      header: its elements before the pixels.
      several: whether the image has more than this frame, so that position, orientation and spacing are required. A
        single frame without them, such as a radiograph, is at the origin, with its detector's spacing or 1 mm.

    Raises:
      InputError: an element that is required is missing or invalid.
    """
    count = frame_count(path, header)
    several = several or count > 1
    groups = header.get('PerFrameFunctionalGroupsSequence')
    if groups is not None and len(groups) != count:
        raise InputError(f'{path}: functional groups of {len(groups)} frames; expected {count}, as NumberOfFrames '
                         '(0028,0008) says')
    if 'MOSAIC' in (header.get('ImageType') or ()):
        raise InputError(f'{path}: a mosaic of several slices in one frame; expected a frame for each slice: convert '
                         'it first, such as with dcm2niix')
    out = []
    for number in range(count):
        name = str(path) if count == 1 else f'{path}, frame {number + 1}'
        position = _element(header, number, 'PlanePositionSequence', 'ImagePositionPatient', 3, several, name)
        orientation = _element(header, number, 'PlaneOrientationSequence', 'ImageOrientationPatient', 6, several, name)
        spacing = _element(header, number, 'PixelMeasuresSequence', 'PixelSpacing', 2, several, name)
        axes = np.eye(3) if orientation is None else _axes(orientation, name)
        steps = tuple(map(float, _detector_spacing(header) if spacing is None else spacing[::-1]))
        if not min(steps) > 0:
            raise InputError(f'{name}: pixels {steps[0]:g} and {steps[1]:g} mm apart; expected numbers above 0')
        out.append(Frame(name, np.zeros(3) if position is None else position, axes, steps))
    if count > 1 and header.get('GridFrameOffsetVector') is not None:
        return _at_offsets(path, out, np.array(header.GridFrameOffsetVector, float, ndmin=1))
    if count > 1 and header.get('Modality') == 'NM' and groups is None:
        return _at_offsets(path, out, _nuclear_medicine_offsets(path, header))
    return out


def _element(header: pydicom.Dataset, number: int, group: str, name: str, count: int, required: bool,
             where: str) -> np.ndarray | None:
    """Numbers of a frame: of its functional group, its detector in nuclear medicine, or its file."""
    detectors = header.get('DetectorInformationSequence') or ()
    places = [*(functional_group(header, number, group) or ())[:1], *detectors[:1], header]
    value: Any = next((place[name].value for place in places if place.get(name) not in (None, '')), None)
    if value is None and not required:
        return None
    tag = pydicom.datadict.tag_for_keyword(name)
    label = f'{name} ({tag >> 16:04X},{tag & 0xFFFF:04X})'
    if value is None:
        raise InputError(f'{where}: no {label}; expected it in each slice of a series, and for each of several frames: '
                         'is it a video?')
    numbers = np.array(value, float, ndmin=1)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f'{where}: {label} is {numbers.tolist()}; expected {count} finite numbers')
    return numbers


def _axes(orientation: np.ndarray, where: str) -> np.ndarray:
    """Directions of a row and a column, and their normal, as columns `[3, 3]`."""
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(row @ column)) > 0.01:
        raise InputError(f'{where}: ImageOrientationPatient (0020,0037) is {orientation.tolist()}; expected two '
                         'perpendicular directions of length 1')
    row, column = row / lengths[0], column / lengths[1]
    return np.stack([row, column, np.cross(row, column)], 1)


def _detector_spacing(header: pydicom.Dataset) -> tuple[float, float]:
    """Mm between columns and between rows of an image without PixelSpacing: those on its detector, or 1 mm."""
    for name in ('ImagerPixelSpacing', 'NominalScannedPixelSpacing'):
        if header.get(name):
            return float(header[name].value[1]), float(header[name].value[0])
    regions = header.get('SequenceOfUltrasoundRegions') or ()
    units = [regions[0].get(f'PhysicalUnits{axis}Direction') for axis in 'XY'] if len(regions) == 1 else []
    if units == [3, 3]:  # cm (C.8.5.5.1.15)
        return 10 * abs(float(regions[0].PhysicalDeltaX)), 10 * abs(float(regions[0].PhysicalDeltaY))
    if header.get('PixelAspectRatio'):
        vertical, horizontal = map(float, header.PixelAspectRatio)
        return 1.0, vertical / horizontal
    return 1.0, 1.0


def _at_offsets(path: pathlib.Path, frames: Sequence[Frame], offsets: np.ndarray) -> list[Frame]:
    """Frames that are moved along the normal of the first by offsets in mm."""
    first = frames[0]
    if len(offsets) != len(frames) or not np.isfinite(offsets).all():
        raise InputError(f'{path}: {len(offsets)} offsets of frames; expected {len(frames)} finite numbers, as '
                         'NumberOfFrames (0028,0008) says')
    if offsets[0] and offsets[0] == first.position[2] and np.allclose(first.axes, np.eye(3)):
        offsets = offsets - offsets[0]  # positions along z
    if offsets[0]:
        raise InputError(f'{path}: GridFrameOffsetVector (3004,000C) starts at {offsets[0]:g}; expected 0, or the z of '
                         'the first position of transverse frames')
    return [frame._replace(position=first.position + offset * first.axes[:, 2])
            for frame, offset in zip(frames, offsets)]


def _nuclear_medicine_offsets(path: pathlib.Path, header: pydicom.Dataset) -> np.ndarray:
    """Offsets in mm of the slices of a reconstruction along the normal."""
    slices = np.array(header.get('SliceVector') or (), int, ndmin=1)
    varying = [name for name in VECTORS if len(set(np.array(header.get(name) or (), int, ndmin=1).tolist())) > 1]
    if varying or not slices.size:
        raise InputError(f'{path}: frames that differ in {", ".join(varying) or "no SliceVector"}; expected the slices '
                         'of one reconstruction')
    if not header.get('SpacingBetweenSlices'):
        raise InputError(f'{path}: no SpacingBetweenSlices (0018,0088); expected the distance of its frames')
    return (slices - slices[0]) * float(header.SpacingBetweenSlices)


def check_parallel(frames: Sequence[Frame]) -> None:
    """Checks that all frames have the orientation and the spacing of the first.

    Raises:
      InputError: with the first that has another.
    """
    first = frames[0]
    for frame in frames:
        if np.abs(frame.axes - first.axes).max() > 1e-3:
            raise InputError(f'{frame.name}: its slice is rotated against the first of its series; expected parallel '
                             'slices')
        if not np.allclose(frame.spacing, first.spacing, 1e-3):
            raise InputError(f'{frame.name}: pixels {frame.spacing[0]:g} and {frame.spacing[1]:g} mm apart; expected '
                             f'{first.spacing[0]:g} and {first.spacing[1]:g} mm, as in the first of its series')


def sorted_frames(path: pathlib.Path, frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """The order of several frames along their normal, and the step from one to the next, mm in LPS.

    Raises:
      InputError: frames that are not parallel, that deviate from the regular grid between the first and the last by
        more than 2 % of their distance, or that are shifted sideways (a tilted gantry).
    """
    check_parallel(frames)
    normal, positions = frames[0].axes[:, 2], np.array([frame.position for frame in frames])
    order = np.argsort(positions @ normal, kind='stable')
    positions = positions[order]
    regular = positions[0] + np.linspace(0, 1, len(positions))[:, None] * (positions[-1] - positions[0])
    steps = np.diff(positions @ normal)
    if np.abs((positions - regular) @ normal).max() > UNEVEN * steps.mean() or steps.min() <= 0:
        different = 1 + int((steps > UNEVEN * steps.max()).sum())
        twice = (f' ({len(frames)} at {different} positions, such as time points, echoes or energies)'
                 if different < len(frames) else '')
        raise InputError(f'{path}: slice distances from {steps.min():.3f} to {steps.max():.3f} mm; expected one '
                         f'distance, to {UNEVEN:.0%} of it: is a slice missing or present twice{twice}?')
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    check_straight(path, step, normal)
    return order, step


def check_straight(path: pathlib.Path, step: np.ndarray, normal: np.ndarray) -> None:
    """Checks that the step from one slice to the next is along the slices' normal.

    Raises:
      InputError: it is not, as with a tilted gantry.
    """
    sideways = np.linalg.norm(step - (step @ normal) * normal)
    if sideways > UNEVEN * abs(step @ normal):
        raise InputError(f'{path}: each slice is shifted {sideways:.3f} mm sideways of the one before (a tilted '
                         'gantry); expected slices straight above each other: resample the series first')


def affine_to_ras(first: Frame, step: np.ndarray) -> np.ndarray:
    """The affine `[4, 4]` to RAS+ mm of an array `[columns, rows, slices]`.

    Args:
      first: the slice at the array's beginning.
      step: from a slice to the next, mm in LPS.
    """
    affine = np.eye(4)
    affine[:3, :2] = first.axes[:, :2] * first.spacing
    affine[:3, 2], affine[:3, 3] = step, first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
