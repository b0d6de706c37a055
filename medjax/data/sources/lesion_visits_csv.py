"""Visits of patients from a CSV table with a row for each lesion mask of a visit; the lesions are found and measured.

    patient,visit,mask,kind,organ,image
    p01,0,p01_w00.nii.gz,target,liver,p01_w00_pet.nii.gz
    p01,0,p01_w00_nodes.nii.gz,node,,
    p01,8,p01_w08.nii.gz,target,liver,p01_w08_pet.nii.gz

`visit` is a date (2024-01-29, or 20240129 as in DICOM; other forms by an option) or a number of weeks or of another
unit, in all rows alike; rows may come in any order. `kind` is the kind of
lesions in the mask: 'target' (measurable lesions; the default), 'node' or 'nontarget'. `organ` (optional) is the organ
of the lesions in the mask; where the table has it, every mask of targets needs it, and the masks of a visit are one for
each kind and organ. A kind, or an organ of it, without a row or a mask at a visit was not evaluated then; an empty mask
means that no lesion is left. `image`, on the grid of the mask, holds the uptake.

Masks and images may be DICOM: a segmentation, whose numbers are those of its segments, or a folder with a series. A
segmentation without its empty slices is put onto the grid of its image.
"""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medjax.data.io import data_paths, dicom_series, geometry, image_files, raster
from medjax.data.io import dates as times_of
from medjax.data.io.tables import check_near_names, filled, near_names, plain_name, read_table
from medjax.errors import InputError
from medjax.metrics import lesions
from medjax.metrics.lesions import Finding, Key, LabelledVoxels, Visit

COLUMNS = ('patient', 'visit', 'mask')
KINDS = ('target', 'node', 'nontarget')
MILLIMETRES = image_files.NIFTI + image_files.NIBABEL + image_files.ITK  # suffixes of formats with a size in mm


class Row(NamedTuple):
    """A row of the table: its number, the visit as written and in weeks, the kind of lesions, files or None, organ."""

    number: int
    visit: str
    weeks: float
    kind: str
    mask: pathlib.Path | None
    image: pathlib.Path | None
    organ: str = ''


def read(table: pathlib.Path, *, visit_unit: str = 'weeks', dates: str = 'iso') -> dict[str, list[Row]]:
    """The rows of each patient, in order of time; weeks count from the patient's first visit.

    Args:
      table: a CSV file.
      visit_unit: of visits that are numbers: 'days', 'weeks', 'months' or 'years'.
      dates: form of visits that are dates, see `dates.FORMS`.

    Raises:
      InputError: a column, cell or file that is not valid; a kind of lesions twice at a visit.
    """
    rows, columns = read_table(table)
    missing = next((name for name in COLUMNS if name not in columns), None)
    if missing:
        hint = ', '.join(near_names(columns, missing))
        raise InputError(f'{table}: no column {missing!r}{f" (but {hint})" if hint else ""}; expected '
                         f'{", ".join(COLUMNS)}, and optionally kind, organ and image')
    check_near_names(table, columns, (*COLUMNS, 'kind', 'organ', 'image', 'split'))
    if not rows:
        raise InputError(f'{table}: no rows; expected visits')
    times = times_of.read_times([row['visit'].strip() for row in rows],
                                [f'{table}: row {number}: visit' for number in range(2, len(rows) + 2)],
                                unit=visit_unit, dates=dates)
    weeks = times.values
    if (times.form, visit_unit) != ('number', 'weeks'):
        days = times_of.DAYS[visit_unit] if times.form == 'number' else 1.0
        weeks = [value * days / times_of.DAYS['weeks'] for value in weeks]
    patients: dict[str, list[Row]] = {}
    organs: dict[str, str] = {}
    for number, (fields, week) in enumerate(zip(rows, weeks), 2):
        where = f'{table}: row {number}'
        cells = {name: filled(value) for name, value in fields.items()}
        patient = cells['patient']
        if not patient:
            raise InputError(f'{where}: no patient; expected a name')
        row = _parse_row(cells, week, number, table.parent, where)
        spelling = organs.setdefault(plain_name(row.organ), row.organ)
        if spelling != row.organ:
            raise InputError(f'{where}: organ {row.organ!r}, in an earlier row {spelling!r}; expected one spelling')
        same = [old for old in patients.setdefault(patient, [])
                if (old.weeks, old.kind, old.organ) == (row.weeks, row.kind, row.organ)]
        if same:
            raise InputError(f'{where}: patient {patient} has the visit {row.visit} in row {same[0].number} '
                             f'already; expected one mask of each kind ({", ".join(KINDS)}) and organ a visit')
        patients[patient].append(row)
    return {patient: _sorted_from_first(patient_rows) for patient, patient_rows in patients.items()}


def visit_form(table: pathlib.Path, *, visit_unit: str = 'weeks', dates: str = 'iso') -> str:
    """The form of a table's visits, as text: dates of a form, or numbers of a unit; see `read`."""
    cells = [row['visit'].strip() for row in read_table(table)[0][:1]]
    form = times_of.read_times(cells, [f'{table}: row 2: visit'], unit=visit_unit, dates=dates).form
    return f'numbers of {visit_unit}' if form == 'number' else f'dates {form}'


def _parse_row(fields: Mapping[str, str], weeks: float, number: int, folder: pathlib.Path, where: str) -> Row:
    """A row of the table, checked."""
    kind = fields.get('kind') or KINDS[0]
    if kind not in KINDS:
        raise InputError(f'{where}: kind {kind!r}; expected one of {", ".join(KINDS)}')
    organ = fields.get('organ', '')
    if 'organ' in fields and not organ and kind == KINDS[0]:
        raise InputError(f'{where}: no organ; expected that of the targets, as the table has a column organ')
    return Row(number, fields['visit'], weeks, kind, _file(folder, fields['mask'], f'{where}: mask'),
               _file(folder, fields.get('image') or '', f'{where}: image'), organ)


def _sorted_from_first(rows: Sequence[Row]) -> list[Row]:
    """A patient's rows in order of time, with weeks counted from the first."""
    rows = sorted(rows, key=lambda row: row.weeks)
    return [row._replace(weeks=row.weeks - rows[0].weeks) for row in rows]


def measure_visits(patient: str, rows: Sequence[Row], numbered: bool = False) -> list[Visit]:
    """The visits of a patient, with the lesions found and measured.

    Args:
      patient: name, for messages.
      rows: in order of time.
      numbered: whether the numbers in the masks are lesions that keep their number. Otherwise connected components are
        lesions, and matched by overlap in world coordinates to lesions of their kind at earlier visits. The images must
        be registered for that; their grids may differ.

    Raises:
      InputError: a mask or image that is not valid; grids that do not overlap, unless numbered.
    """
    visits: list[Visit] = []
    earlier: dict[tuple[str, str], list[LabelledVoxels]] = {(row.kind, row.organ): [] for row in rows}
    first: geometry.Image | None = None
    for weeks in dict.fromkeys(row.weeks for row in rows):
        visit_rows = [row for row in rows if row.weeks == weeks and row.mask]
        findings: dict[Key, Finding] = {}
        for row in visit_rows:
            image = read_volume(row.image) if row.image else None
            mask = read_mask(row.mask, image)
            if not numbered:
                mask = geometry.Image((mask.array != 0).astype(np.uint8), mask.affine, mask.path)
                first = first or mask
                _check_overlap(patient, first, mask)
            if image:
                geometry.check_pair(image, mask)
            same = earlier[row.kind, row.organ]
            found, current = _findings(row, mask, image.array if image else None, same, numbered)
            findings |= found
            same.insert(0, current)
        name = next(row.visit for row in rows if row.weeks == weeks)
        visits.append(Visit(name, weeks, frozenset((row.kind, row.organ) for row in visit_rows), findings))
    return visits


def _findings(row: Row, mask: geometry.Image, image: np.ndarray | None, earlier: Sequence[LabelledVoxels],
              numbered: bool) -> tuple[dict[Key, Finding], LabelledVoxels]:
    """The lesions in a row's mask by kind, organ and number, and their voxels."""
    components = lesions.connected_parts(mask.array)
    numbers, touched = _numbers(components, mask, earlier, numbered)
    findings: dict[Key, Finding] = {}
    kind, organ = row.kind, row.organ
    for number in sorted(set(numbers)):
        voxels = [index for (_, index), component_number in zip(components, numbers) if component_number == number]
        spacing = geometry.spacing(mask.affine)
        findings[kind, organ, number] = lesions.measure_lesion(kind, voxels, spacing, image, organ)
    findings |= {(kind, organ, number): Finding(kind, state='merged', organ=organ) for number in touched - {*numbers}}
    return findings, _numbered_voxels(components, numbers, mask)


def fingerprint(table: pathlib.Path, patients: Mapping[str, Sequence[Row]]) -> str:
    """SHA-256 over the table and all files that it names."""
    digest = hashlib.sha256(table.read_bytes())
    for row in (row for rows in patients.values() for row in rows):
        for path in (path for named in (row.mask, row.image) if named for path in image_files.files(named)):
            digest.update(pathlib.Path(path).read_bytes())
    return digest.hexdigest()


def _file(folder: pathlib.Path, name: str, where: str) -> pathlib.Path | None:
    """The checked path of a file in the table's folder; None for an empty cell."""
    if not name:
        return None
    path = data_paths.inside(folder, name, where)
    if image_files.suffix(path) in raster.SUFFIXES:
        raise InputError(f'{where} {name!r}; expected a file of a format with a voxel size in mm: '
                         f'{", ".join(MILLIMETRES)}, or DICOM')
    if not image_files.exists(path):
        raise InputError(f'{where} {name!r}: no such file in {folder}')
    return path


def read_mask(path: pathlib.Path, image: geometry.Image | None) -> geometry.Image:
    """A mask of whole numbers `[X, Y, Z]`, in RAS+ order.

    Args:
      path: of the mask; a DICOM segmentation has the extents of its segments alone.
      image: in RAS+ order; a DICOM segmentation is put onto its grid.

    Raises:
      InputError: another shape, another number, or a format without a voxel size.
    """
    mask = image_files.whole_numbers(read_volume(path))
    if mask.array.min() < 0:
        raise InputError(f'{path}: label value {mask.array.min():.0f}; expected whole numbers, 0 where there is no '
                         'lesion')
    return geometry.embedded(mask, image) if image and dicom_series.is_segmentation(path) else mask


def read_volume(path: pathlib.Path) -> geometry.Image:
    """A volume `[X, Y, Z]` in RAS+ order."""
    image = image_files.read(path)
    image_files.check_finite(image)
    if image.array.ndim != 3:
        raise InputError(f'{path}: shape {image.array.shape}; expected [X, Y, Z]')
    if not image_files.suffix(path) and image.array.shape[2] == 1 and not dicom_series.is_segmentation(path):
        raise InputError(f'{path}: one DICOM image, whose size in mm may not be that in the patient; expected a '
                         'series, or a segmentation')
    return geometry.to_canonical(image)


def _check_overlap(patient: str, first: geometry.Image, mask: geometry.Image) -> None:
    """Checks that two grids overlap in world coordinates; lesions can be matched by place only then."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)])
    bounds = []
    for image in (first, mask):
        world = (corners * [*image.array.shape, 1] - [0.5, 0.5, 0.5, 0]) @ image.affine[:3].T
        bounds.append((world.min(0), world.max(0)))
    low, high = zip(*bounds)
    if (np.minimum(*high) <= np.maximum(*low)).any():
        raise InputError(f'{mask.path}: {geometry.describe(mask)}; expected a grid that overlaps that of patient '
                         f'{patient}\'s first mask, {geometry.describe(first)}, to match lesions by place')


def _numbers(components: Sequence[tuple[int, np.ndarray]], mask: geometry.Image, earlier: Sequence[LabelledVoxels],
             numbered: bool) -> tuple[list[int], set[int]]:
    """The lesion number of each component, and the earlier lesions that any component overlaps."""
    if numbered:
        return [value for value, _ in components], set()
    places = list(range(1, len(components) + 1))
    matches, touched = lesions.match_lesions(_numbered_voxels(components, places, mask), earlier)
    highest = max((int(before.number.max()) for before in earlier if len(before.number)), default=0)
    new_numbers = iter(range(highest + 1, highest + 1 + len(components)))
    return [matches[place] if place in matches else next(new_numbers) for place in places], touched


def _numbered_voxels(components: Sequence[tuple[int, np.ndarray]], numbers: Sequence[int],
                     mask: geometry.Image) -> LabelledVoxels:
    """The voxels of components with the lesion number of each voxel."""
    index = np.concatenate([np.zeros((0, 3), int), *(index for _, index in components)])
    number = np.repeat(np.array(numbers, int), [len(index) for _, index in components])
    return LabelledVoxels(index, number, mask.affine, mask.array.shape)
