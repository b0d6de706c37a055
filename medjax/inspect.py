"""Lists what files and folders hold: images with geometry and values, DICOM series, tables, what cannot be read.

    python -m medjax.inspect PATH … [--table=FILE.csv]

Nothing is changed, and no element of a header that identifies a patient is printed.
"""

import collections
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import nibabel as nib
import numpy as np
import pandas as pd
from absl import flags
from tqdm import tqdm

from medjax import atomic_files, cli
from medjax.data import covariates
from medjax.data.io import data_paths, dicom, dicom_pixels, dicom_series, image_files
from medjax.data.io.geometry import Image, spacing
from medjax.data.io.image_folders import find_images, left_out
from medjax.data.io.tables import read_table
from medjax.errors import InputError, few

TABLES = ('.csv', '.tsv')
MOST_VALUES = 32  # different whole numbers up to which an image may be a label, whose values are listed
COLUMNS = ('path', 'kind', 'voxels', 'channels', 'spacing', 'axes', 'dtype', 'low', 'high', 'note')


def inspect(paths: Sequence[str], say: Callable[[str], None] = print) -> pd.DataFrame:
    """A table of all images in files and folders, read one by one.

    Args:
      paths: files and folders, with their subfolders.
      say: takes a line for each table, for what is left out, and for what differs between images.

    Returns:
      A row for each image or DICOM series: `path`; `kind`, its suffix, or the modality and the number of files of a
      DICOM series; `voxels`, such as '240×240×155'; `channels`; `spacing` in mm, '' of 2D images without one; `axes`,
      the directions in which the stored axes increase, such as 'RAS'; `dtype`; the lowest and the highest value; and a
      `note`: the values of a label, equal images, values that are not finite, or why it cannot be read.

    Raises:
      InputError: a path does not exist.
    """
    items: list[tuple[pathlib.Path, str]] = []
    for path in map(pathlib.Path, paths):
        if not image_files.exists(path):
            raise InputError(f'{path}: no such file or folder; expected images or tables')
        items += _images(path, say) if path.is_dir() else [(path, _kind(path))]
    tables = [path for path, kind in items if kind in TABLES]
    seen: dict[str, pathlib.Path] = {}
    with data_paths.any_folder():  # nothing is trained or written
        for path in tables:
            say(f'{path}: {_table(path)}')
        images = [item for item in items if item[1] not in TABLES]
        rows = [_row(path, kind, seen) for path, kind in tqdm(images, 'reading images', unit='', leave=False, delay=2)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for line in _differences(table):
        say(line)
    return table


def _images(folder: pathlib.Path, say: Callable[[str], None]) -> Iterator[tuple[pathlib.Path, str]]:
    """The images, DICOM series and tables of a folder, each with its kind."""
    images, others = find_images(folder, depth=-1)
    yield from ((path, _kind(path)) for path in images)
    tables = [path for path in others if path.suffix.lower() in TABLES]
    yield from ((path, _kind(path)) for path in tables)
    folders: list[pathlib.Path] = []
    slices = [path for path in others if path.is_file() and path not in tables and _is_dicom(path)]
    for path in slices:
        if not any(path.is_relative_to(known) for known in folders):
            folders.append(path.parent)
    for one in folders:
        yield from _series(one)
    for line in left_out([path for path in others if path not in tables and path not in slices], folder, 'not read'):
        say(line)


def _is_dicom(path: pathlib.Path) -> bool:
    """Whether a file is DICOM, also where it is damaged."""
    try:
        return dicom.is_dicom(path)
    except InputError:
        return True


def _series(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """The DICOM series of a folder; where a file is damaged, its DICOM images one by one."""
    try:
        found = dicom_series.list_series(folder)
    except InputError:
        yield from ((path, _kind(path)) for path in dicom.list_files(folder) if _is_dicom(path) and _has_pixels(path))
        return
    for number, (text, files) in found.items():
        path = folder if len(found) == 1 else folder / f'series={number}'
        yield path, f'DICOM {text}{len(files)} file{"" if len(files) == 1 else "s"}'


def _has_pixels(path: pathlib.Path) -> bool:
    """Whether a DICOM file is an image, or damaged."""
    try:
        return dicom.PIXELS in (dicom.read_tags(path) or {})
    except InputError:
        return True


def _kind(path: pathlib.Path) -> str:
    """The suffix of a file in lower case; 'DICOM' and the modality of DICOM files."""
    if path.suffix.lower() in TABLES:
        return path.suffix.lower()
    if image_files.suffix(path) or path.is_dir() or not _is_dicom(path):
        return image_files.suffix(path) or ('DICOM' if path.is_dir() else path.suffix.lower())
    try:
        return f'DICOM {dicom_pixels.read_header(path).get("Modality") or ""}'.strip()
    except InputError:
        return 'DICOM'


def _table(path: pathlib.Path) -> str:
    """One line on a table: its rows, and what its columns would be as covariates."""
    try:
        cells, columns = read_table(path)
    except InputError as error:
        return _without(str(error), path)
    rows = [covariates.Row(number, row) for number, row in enumerate(cells, 1)]
    kept, dropped = covariates.automatic(rows, columns)
    try:
        encoding = covariates.fit(rows, kept, path, covariates.CovariateOptions())
    except InputError as error:
        return f'{len(rows)} rows; columns {", ".join(columns)}; {_without(str(error), path)}'
    return f'{len(rows)} rows; {covariates.describe(rows, encoding, dropped)}'


def _row(path: pathlib.Path, kind: str, seen: dict[str, pathlib.Path]) -> dict[str, object]:
    """The row of an image; `seen` has the paths of former images by the digest of their voxels."""
    row: dict[str, object] = dict.fromkeys(COLUMNS, '') | {'path': str(path), 'kind': kind}
    try:
        image = image_files.read(path)
    except InputError as error:
        return {**row, 'note': f'cannot be read: {_without(str(error), path)}'}
    array, flat = image.array, image.array.shape[2] == 1
    shape = array.shape[:2] if flat else array.shape[:3]
    finite = array[np.isfinite(array)] if array.dtype.kind == 'f' else array
    notes = _notes(image, finite)
    digest = hashlib.sha256(np.ascontiguousarray(array).data)
    same = seen.setdefault(f'{array.shape} {array.dtype} {digest.hexdigest()}', path)
    if same != path:
        notes.append(f'the same voxels as {same}')
    placed = not flat or kind.startswith('DICOM')
    low, high = (finite.min(), finite.max()) if finite.size else (np.nan, np.nan)
    return {**row, 'voxels': '×'.join(map(str, shape)), 'channels': array.shape[3] if array.ndim > 3 else 1,
            'spacing': ' × '.join(f'{mm:.4g}' for mm in spacing(image.affine)) if placed else '',
            'axes': ''.join(nib.aff2axcodes(image.affine)) if placed else '', 'dtype': str(array.dtype),
            'low': f'{low:.6g}', 'high': f'{high:.6g}', 'note': '; '.join(notes)}


def _notes(image: Image, finite: np.ndarray) -> list[str]:
    """What is unusual about an image's values, and the values of what may be a label."""
    notes = []
    if finite.size < image.array.size:
        notes.append(f'{image.array.size - finite.size} values are NaN or infinite')
    if finite.size and finite.min() == finite.max():
        return [*notes, 'one value everywhere']
    if finite.size and finite.max() - finite.min() <= 2**16 and (finite == finite.round()).all():
        values = np.unique(finite)
        if len(values) <= MOST_VALUES and image.array.ndim == 3:
            notes.append(f'values {", ".join(f"{value:g}" for value in values)}')
    return notes


def _differences(table: pd.DataFrame) -> Iterator[str]:
    """Lines on how many images there are, and on what differs between them."""
    read = table[~table['note'].str.startswith('cannot be read')]
    yield f'{len(table)} image{"" if len(table) == 1 else "s"}, {len(table) - len(read)} of them cannot be read'
    for column, text in (('channels', 'channels'), ('axes', 'directions of the axes'), ('spacing', 'voxel spacings')):
        counts = collections.Counter(str(value) for value in read[column] if value != '')
        if len(counts) > 1:
            shown = [f'{value} ({count})' for value, count in counts.most_common()]
            yield f'{len(counts)} different {text}: {few(shown)}'
    copies = read['note'].str.contains('the same voxels as').sum()
    if copies:
        yield f'{copies} of them have the same voxels as another: copies in two splits leak from one to the other'


def _without(message: str, path: pathlib.Path) -> str:
    """A message without the path that it begins with."""
    return message.removeprefix(f'{path}: ')


def main(more: Sequence[str]) -> None:
    """Reads the flags and prints the table."""
    if len(more) < 2:
        raise InputError('no path; expected files or folders: python -m medjax.inspect PATH …')
    table = inspect(more[1:])
    if TABLE.value:
        atomic_files.write_table(pathlib.Path(TABLE.value), table.to_dict('records'))
    if len(table):
        print(table.to_string(index=False, max_colwidth=80), flush=True)


if __name__ == '__main__':
    TABLE = flags.DEFINE_string('table', '', 'A CSV file for the table.')
    cli.run(main, unnamed=True)
