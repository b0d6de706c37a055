"""The image files of a folder, and what else is in it, so that nothing is left out without a message."""

import os
import pathlib
from collections.abc import Collection, MutableMapping, Sequence

from medjax.data.io import dicom, image_files, raster
from medjax.errors import InputError, few

BY_HEADER = 'DICOM files of one PatientID (0010,0020) are of one patient.'


def find_images(folder: pathlib.Path, depth: int = 0) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The image files of a folder, and what else is in it; hidden files and folders are neither.

    Args:
      folder: the folder.
      depth: levels of subfolders that are searched as well; -1 for all. Links to folders are followed.

    Returns:
      The images; and other files, with the subfolders that are not searched. The file of voxels that belongs to a
      header is neither.

    Raises:
      InputError: the folder cannot be listed; links to files or folders that do not exist; a folder within itself.
    """
    images, others = _find_images(folder, depth, (os.path.realpath(folder),))
    image_files.check_links(sorted([*images, *(path for path in others if not path.suffix)]), folder)
    headers = {path.with_name(image_files.stem(path)) for path in images
               if image_files.suffix(path) in image_files.HEADER_SUFFIXES}
    named = {file for path in images if image_files.suffix(path) in image_files.ITK for file in image_files.files(path)}
    return sorted(images), sorted(path for path in others if str(path) not in named and not _has_header(path, headers))


def add_dicom_files(images: Sequence[pathlib.Path], others: Sequence[pathlib.Path],
                    folder: pathlib.Path) -> tuple[dict[pathlib.Path, str], list[pathlib.Path]]:
    """The images of a folder, to which those of its other files are added that are DICOM images.

    Args:
      images: as `find_images` returns them.
      others: as `find_images` returns them.
      folder: the folder, for messages.

    Returns:
      The images in order, each with its PatientID (0010,0020), '' where it has none; and what remains of the others.

    Raises:
      InputError: a DICOM file is damaged, or two are of one series, so that they may be slices of a volume.
    """
    found, first = dict.fromkeys(images, ''), dict[str, pathlib.Path]()
    for path in filter(dicom.is_dicom, others):
        tags = dicom.read_tags(path) or {}
        if dicom.PIXELS not in tags:
            continue
        same = first.setdefault(tags.get(dicom.SERIES) or str(path), path)
        if same != path:
            raise InputError(f'{path}: a DICOM file of the same series as {same.relative_to(folder)}; expected a '
                             'series for each image: a table can name the folders of series, or single slices')
        found[path] = tags.get(dicom.PATIENT, '')
    return dict(sorted(found.items())), [path for path in others if path not in found]


def patients_by_header(rows: Sequence[MutableMapping[str, str]], folder: pathlib.Path,
                       used: bool = True) -> tuple[str, ...]:
    """Replaces the PatientID in the column `patient` of rows by the id of the first row that has it.

    Args:
      rows: with `id` and `patient`, '' where it is not known.
      folder: of the files, for messages.
      used: whether rows of one PatientID are of one patient; otherwise no patient is known.

    Returns:
      A line that says that patients are known from headers; nothing where none is.

    Raises:
      InputError: all files have one PatientID, so that there is nothing to split.
    """
    first: dict[str, str] = {}
    identifiers = [row['patient'] for row in rows if used and row['patient']]
    if len(identifiers) > 1 and len(set(identifiers)) == 1:
        raise InputError(f'{folder}: {len(identifiers)} DICOM files with one PatientID (0010,0020), perhaps an '
                         'anonymous one; expected one for each patient: name the patients in a table, or by '
                         'patient_regex where the source has it')
    for row in rows:
        identifier = row['patient'] if used else ''
        row['patient'] = first.setdefault(identifier, row['id']) if identifier else ''
    return (BY_HEADER,) if first else ()


def grid(images: Sequence[str], spacing: Sequence[float] | None, expected: str) -> str:
    """The kind of grid that some images have, one of `data.source.GRIDS`.

    Args:
      images: paths.
      spacing: the size of a pixel of 2D images, mm; None where it is not known.
      expected: how to mend a mixture, for the message.

    Raises:
      InputError: some images are volumes and others are 2D, without a pixel size.
    """
    flat = [image_files.suffix(pathlib.Path(path)) in raster.SUFFIXES for path in images]
    if any(flat) and not all(flat) and spacing is None:
        raise InputError(f'{images[flat.index(True)]}: a 2D image without a pixel size, beside the volume '
                         f'{images[flat.index(False)]}; expected {expected}')
    if not all(flat):
        return 'volume'
    return 'pixels' if spacing is None else 'picture'


def _find_images(folder: pathlib.Path, depth: int,
                 above: tuple[str, ...]) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    except OSError as error:
        raise InputError(f'{folder}: cannot be listed: {error.strerror}; expected a folder of images') from error
    images, others = [], []
    for path in entries:
        if depth and path.is_dir():
            target = os.path.realpath(path)
            if target in above:
                raise InputError(f'{path}: a link to a folder that contains it; expected images')
            inner_images, inner_others = _find_images(path, depth - 1, (*above, target))
            images, others = images + inner_images, others + inner_others
        else:
            (images if image_files.is_image(path) else others).append(path)
    return images, others


def _has_header(path: pathlib.Path, headers: Collection[pathlib.Path]) -> bool:
    """Whether the name of a file begins as that of a header without its suffix, as in a.raw.gz beside a.mhd."""
    name = path.name
    return any(path.with_name(name[:place]) in headers for place in range(1, len(name)) if name[place] == '.')


def left_out(paths: Sequence[pathlib.Path], folder: pathlib.Path, why: str = 'not images') -> tuple[str, ...]:
    """A line on files and subfolders of a folder that are left out; nothing where there are none."""
    if not paths:
        return ()
    names = few([str(path.relative_to(folder)) + ('/' if path.is_dir() else '') for path in paths])
    return (f'Left out of {folder.resolve().name}, {why}: {len(paths)} ({names}).',)
