"""DICOM images: a file, or the one series of images of a folder."""

import collections
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np
import pydicom

from medjax.data.io import dicom_pixels, dicom_segmentation
from medjax.data.io.dicom import CLASS, DIRECTORY, PIXELS, find_series, read_tags
from medjax.data.io.dicom_geometry import Frame, affine_to_ras, frames_of, sorted_frames
from medjax.errors import InputError

IDENTIFIERS = ('PatientName', 'PatientID', 'OtherPatientIDs', 'PatientBirthDate', 'AccessionNumber', 'StudyDate',
               'StudyID', 'ReferringPhysicianName', 'InstitutionName')
SAME = ('PatientID', 'Modality', 'FrameOfReferenceUID', 'Units')  # of all files of a series, where they have them
CHOICE = re.compile('series=(.+)')
LISTED = 30  # series in a message


def split_choice(path: pathlib.Path) -> tuple[pathlib.Path, str]:
    """A folder and the series that is chosen in it: `FOLDER/series=3` names the series number 3 of a folder."""
    found = CHOICE.fullmatch(path.name)
    return (path.parent, found[1]) if found and not os.path.exists(path) else (path, '')


def read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Reads a DICOM file, or the one DICOM series of a folder and its subfolders.

    The slices, and the frames of files with several, are sorted by their position along the slices' normal, and the
    affine is computed from these positions. A segmentation becomes a map of its segments' numbers.

    Args:
      path: a file or a folder; `FOLDER/series=3` chooses one of several series.

    Returns:
      The array `[columns, rows, slices]`, or `[columns, rows, slices, 3]` in colour, of the values that
      `dicom_pixels` describes, such as HU for CT; its affine to RAS+ mm; and its modality, '' where it has none.

    Raises:
      InputError: no series or several; slices that are not parallel, that deviate from the regular grid between the
        first and the last by more than 2 % of their distance, that are at one position, or that are shifted sideways (a
        tilted gantry); pixels that cannot be decoded.
    """
    files, headers, frames = _frames(path)
    if headers[0].get('SOPClassUID') in dicom_segmentation.CLASSES:
        return *dicom_segmentation.read(files[0], headers[0], frames), 'SEG'
    order, affine = _order(path, headers, frames)
    return _volume(path, files, headers, order), affine, str(headers[0].get('Modality') or '')


class Slices(NamedTuple):
    """The slices of a series in the order in which `read` has them.

    Attributes:
      headers: of the files, without their pixels, in no order.
      frames: the place of each slice, in order.
      order: `[slices]`, the number of each slice's frame among those of all files one after the other.
      affine: `[4, 4]`, to RAS+ mm.
    """

    headers: list[pydicom.Dataset]
    frames: list[Frame]
    order: np.ndarray
    affine: np.ndarray


def read_slices(path: pathlib.Path) -> Slices:
    """The elements and places of the slices of an image, as `read` orders them, without their pixels.

    Args:
      path: as for `read`.

    Raises:
      InputError: as `read`; or the path is a segmentation.
    """
    _, headers, frames = _frames(path)
    if headers[0].get('SOPClassUID') in dicom_segmentation.CLASSES:
        raise InputError(f'{path}: a DICOM segmentation; expected an image')
    order, affine = _order(path, headers, frames)
    return Slices(headers, [frames[number] for number in order], order, affine)


def _frames(path: pathlib.Path) -> tuple[list[pathlib.Path], list[pydicom.Dataset], list[Frame]]:
    """The files of an image, their elements before the pixels, and the places of their frames, checked."""
    folder, chosen = split_choice(path)
    files = [_checked(path)] if path.is_file() else _files(folder, chosen)
    headers = [dicom_pixels.read_header(file) for file in files]
    _check_complete(path, headers)
    _check_same(path, headers)
    segmented = any(header.get('SOPClassUID') in dicom_segmentation.CLASSES for header in headers)
    placed = [frames_of(file, header, several=len(files) > 1 or segmented) for file, header in zip(files, headers)]
    if segmented and len(files) > 1:
        raise InputError(f'{path}: {len(files)} segmentations in one series; expected one')
    return files, headers, [frame for of_file in placed for frame in of_file]


def _order(path: pathlib.Path, headers: list[pydicom.Dataset], frames: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """The order of the frames of an image along their normal, and its affine to RAS+ mm."""
    if len(frames) > 1:
        order, step = sorted_frames(path, frames)
    else:
        order, step = np.array([0]), frames[0].axes[:, 2] * _thickness(headers[0])
    return order, affine_to_ras(frames[order[0]], step)


def is_segmentation(path: pathlib.Path) -> bool:
    """Whether a path is a file with a DICOM segmentation."""
    found = read_tags(path) if path.is_file() else None
    return found is not None and found.get(CLASS) in dicom_segmentation.CLASSES


def _checked(path: pathlib.Path) -> pathlib.Path:
    """A file, after checks that it is complete and has pixels."""
    found = read_tags(path)
    if found is None or PIXELS not in found:
        what = 'the directory of other files' if found and found.get(CLASS) == DIRECTORY else 'no DICOM image'
        raise InputError(f'{path}: {what}; expected a DICOM file with pixels, or a folder with a series of them')
    return path


def list_series(folder: pathlib.Path) -> dict[str, tuple[str, list[pathlib.Path]]]:
    """The DICOM series of a folder and its subfolders.

    Returns:
      For each number that `FOLDER/series=NUMBER` takes, a description that ends with ', ' and names no patient, or '',
      and the series' files.

    Raises:
      InputError: a file is damaged, or a link leads nowhere.
    """
    return _numbered(find_series(folder))


def _files(folder: pathlib.Path, chosen: str) -> list[pathlib.Path]:
    """The files of the one series of a folder, or of the one that is chosen."""
    series = find_series(folder)
    if len(series) == 1 and not chosen:
        return next(iter(series.values()))
    numbered = _numbered(series)
    if chosen in numbered:
        return numbered[chosen][1]
    listed = [f'{number} ({text}{len(files)} file{"" if len(files) == 1 else "s"})'
              for number, (text, files) in numbered.items()]
    found = f': {", ".join(listed[:LISTED])}' + (', …' if len(listed) > LISTED else '')
    expected = f'one of them, such as {folder}/series={next(iter(numbered))}' if numbered else 'exactly one'
    raise InputError(f'{folder}: {len(series)} DICOM series in this folder{found if series else ""}; expected '
                     f'{expected}')


def _numbered(series: dict[str, list[pathlib.Path]]) -> dict[str, tuple[str, list[pathlib.Path]]]:
    """Description and files of series by their number; a number that several have is followed by one of its own."""
    headers = {name: dicom_pixels.read_header(files[0]) for name, files in series.items()}
    numbers = {name: str(header.get('SeriesNumber') or 0) for name, header in headers.items()}
    identifying = {word for header in headers.values() for name in IDENTIFIERS
                   for word in re.split(r'[\W_]+', str(header.get(name) or '')) if len(word) > 1}
    counts, seen = collections.Counter(numbers.values()), collections.Counter()
    out = {}
    for name in sorted(series, key=lambda name: (len(numbers[name]), numbers[name], name)):
        number = numbers[name]
        seen[number] += 1
        text = _description(headers[name], identifying)
        out[number if counts[number] == 1 else f'{number}.{seen[number]}'] = (text and f'{text}, ', series[name])
    return out


def _description(header: pydicom.Dataset, identifying: set[str]) -> str:
    """Modality and description of a series, without words that identify the patient."""
    text = f'{header.get("Modality", "")} {header.get("SeriesDescription", "")}'
    for word in identifying:
        text = re.sub(rf'(?i)(?<![^\W_]){re.escape(word)}(?![^\W_])', '…', text)
    return ' '.join(''.join(sign if sign.isprintable() else ' ' for sign in text).split())[:80]


def _check_complete(path: pathlib.Path, headers: list[pydicom.Dataset]) -> None:
    """Checks that each part of an image that was stored in several files (a concatenation) is there."""
    parts = collections.Counter(header.ConcatenationUID for header in headers if header.get('ConcatenationUID'))
    for header in headers:
        total = header.get('InConcatenationTotalNumber')
        if header.get('ConcatenationUID') and total and parts[header.ConcatenationUID] != total:
            raise InputError(f'{path}: {parts[header.ConcatenationUID]} parts of an image in {total} files; expected '
                             'all of them')


def _check_same(path: pathlib.Path, headers: list[pydicom.Dataset]) -> None:
    """Checks that the files of a series are of one patient, in one frame of reference, and have values of one kind."""
    for name in SAME:
        values = {str(header[name].value) for header in headers if header.get(name)}
        if len(values) > 1:  # the values may identify the patient
            tag = pydicom.datadict.tag_for_keyword(name)
            raise InputError(f'{path}: one series with {len(values)} values of {name} '
                             f'({tag >> 16:04X},{tag & 0xFFFF:04X}); expected one')


def _thickness(header: pydicom.Dataset) -> float:
    """The extent of a single slice along its normal, mm."""
    measures = (dicom_pixels.functional_group(header, 0, 'PixelMeasuresSequence') or [header])[0]
    return abs(float(measures.get('SliceThickness') or measures.get('SpacingBetweenSlices') or 1))


def _volume(path: pathlib.Path, files: list[pathlib.Path], headers: list[pydicom.Dataset],
            order: np.ndarray) -> np.ndarray:
    """The values of all frames, `[columns, rows, slices]` or `[columns, rows, slices, 3]`, in an order."""
    frames = [(header, number) for file, header in zip(files, headers)
              for number in range(dicom_pixels.frame_count(file, header))]
    scales = dicom_pixels.scalings(path, frames)
    dtype = dicom_pixels.value_type(frames, scales)
    places = iter(np.argsort(order))
    out, scale = np.empty(0), iter(scales)
    for file, header in zip(files, headers):
        for stored in dicom_pixels.decode(file, header):
            if not out.size:
                out = np.empty((len(frames), *stored.shape), dtype)
            if stored.shape != out.shape[1:]:
                raise InputError(f'{file}: a slice of {stored.shape} pixels; expected {out.shape[1:]}, as the first '
                                 'of its series')
            out[next(places)] = dicom_pixels.values(file, stored, next(scale), dtype)
    return np.moveaxis(out, (0, 1, 2), (2, 1, 0))
