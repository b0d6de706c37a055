"""Visits of patients as a CSV table: a row for each mask of lesions at a visit, whose lesions are found and measured.

    patient,visit,mask,kind,image
    p01,0,p01_w00.nii.gz,target,p01_w00_pet.nii.gz
    p01,0,p01_w00_nodes.nii.gz,node,
    p01,8,p01_w08.nii.gz,target,p01_w08_pet.nii.gz

`visit` is a number of weeks or an ISO date, in all rows alike; rows may come in any order. `kind` says what the mask's
lesions are: 'target' (any that may be measured; the default), 'node' or 'nontarget'. A kind without a row or a mask at
a visit was not evaluated then; an empty mask says that nothing is left. `image`, of the same grid, has uptake.
"""

import datetime
import hashlib
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medjax.data.io import geometry, image_files
from medjax.data.io.tables import check_fields, read_table
from medjax.errors import InputError
from medjax.metrics import lesions
from medjax.metrics.lesions import Finding, Marked, Visit

COLUMNS = ('patient', 'visit', 'mask')
KINDS = ('target', 'node', 'nontarget')
MILLIMETRES = image_files.NIFTI + image_files.NIBABEL + image_files.ITK  # formats that know them


class Row(NamedTuple):
    """A row of the table: its number, the visit as written and in weeks, and its files; None where it names none."""

    number: int
    visit: str
    weeks: float
    kind: str
    mask: pathlib.Path | None
    image: pathlib.Path | None


def read(table: pathlib.Path) -> dict[str, list[Row]]:
    """Reads the rows of each patient, in order of time; weeks count from the first.

    Raises:
      InputError: a column, cell or file that is not such; a kind of lesions twice at a visit.
    """
    rows, there = read_table(table)
    for name in COLUMNS:
        if name not in there:
            raise InputError(f'{table}: no column {name!r}; expected {", ".join(COLUMNS)}, and at will kind and image')
    if not rows:
        raise InputError(f'{table}: no rows; expected visits')
    patients: dict[str, list[Row]] = {}
    dates = _weeks(rows[0]['visit'] or '') is None
    for number, row in enumerate(rows, 2):
        check_fields(table, number, row, there)
        row = {name: value.strip() for name, value in row.items()}
        where = f'{table}: row {number}'
        if not row['patient']:
            raise InputError(f'{where}: no patient; expected a name')
        time = _days(row['visit']) if dates else _weeks(row['visit'])
        if time is None:
            expected = 'an ISO date such as 2024-03-31' if dates else 'a number of weeks'
            raise InputError(f'{where}: visit {row["visit"]!r}; expected {expected}, as in row 2, or one of both kinds '
                             'in all rows')
        kind = row.get('kind') or KINDS[0]
        if kind not in KINDS:
            raise InputError(f'{where}: kind {kind!r}; expected one of {", ".join(KINDS)}')
        made = Row(number, row['visit'], time, kind, _file(table.parent, row['mask'], f'{where}: mask'),
                   _file(table.parent, row.get('image') or '', f'{where}: image'))
        same = [old for old in patients.setdefault(row['patient'], []) if (old.weeks, old.kind) == (time, kind)]
        if same:
            raise InputError(f'{where}: patient {row["patient"]} has the visit {row["visit"]} in row {same[0].number} '
                             f'already; expected one mask of each kind ({", ".join(KINDS)}) a visit')
        patients[row['patient']].append(made)
    for of in patients.values():
        of.sort(key=lambda row: row.weeks)
        of[:] = [row._replace(weeks=row.weeks - of[0].weeks) for row in of]
    return patients


def measured(patient: str, rows: Sequence[Row], numbered: bool = False) -> list[Visit]:
    """Finds and measures the lesions of a patient.

    Args:
      patient: name, for messages.
      rows: in order of time.
      numbered: whether the numbers in the masks are lesions that keep their number; else connected parts are lesions,
        and known again by what they share in the world's coordinates with lesions of their kind at earlier visits. The
        images must be registered for that; their grids may differ.

    Raises:
      InputError: a file that is no such mask or image; grids that lie apart, unless numbered.
    """
    visits: list[Visit] = []
    seen: dict[str, list[Marked]] = {kind: [] for kind in KINDS}
    first: geometry.Image | None = None
    for weeks in dict.fromkeys(row.weeks for row in rows):
        its = [row for row in rows if row.weeks == weeks and row.mask]
        findings: dict[tuple[str, int], Finding] = {}
        for row in its:
            mask = _mask(row.mask)
            if not numbered:
                mask = geometry.Image((mask.array != 0).astype(np.uint8), mask.affine, mask.path)
                first = first or mask
                _check_together(patient, first, mask)
            pieces = lesions.parts(mask.array)
            numbers, touched = _numbers(pieces, mask, seen[row.kind], numbered)
            image = _image(row.image, mask) if row.image else None
            for number in sorted(set(numbers)):
                own = [index for (_, index), its_number in zip(pieces, numbers) if its_number == number]
                findings[row.kind, number] = lesions.measure(row.kind, own, geometry.spacing(mask.affine), image)
            findings |= {(row.kind, number): Finding(row.kind, state='merged') for number in touched - {*numbers}}
            seen[row.kind].insert(0, _marked(pieces, numbers, mask))
        name = next(row.visit for row in rows if row.weeks == weeks)
        visits.append(Visit(name, weeks, frozenset(row.kind for row in its), findings))
    return visits


def fingerprint(table: pathlib.Path, patients: Mapping[str, Sequence[Row]]) -> str:
    """SHA-256 over the table and all files that it names."""
    digest = hashlib.sha256(table.read_bytes())
    for row in (row for rows in patients.values() for row in rows):
        for path in (path for named in (row.mask, row.image) if named for path in image_files.files(named)):
            digest.update(pathlib.Path(path).read_bytes())
    return digest.hexdigest()


def _weeks(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _days(cell: str) -> float | None:
    try:
        return datetime.date.fromisoformat(cell).toordinal() / 7
    except ValueError:
        return None


def _file(folder: pathlib.Path, name: str, where: str) -> pathlib.Path | None:
    if not name:
        return None
    path = folder / name
    if not pathlib.Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder)):
        raise InputError(f'{where} {name!r}; expected a path within the folder of the table')
    if image_files.suffix(path) not in MILLIMETRES:
        raise InputError(f'{where} {name!r}; expected a file of a format that knows mm: {", ".join(MILLIMETRES)}')
    if not path.is_file():
        raise InputError(f'{where} {name!r}: no such file in {folder}')
    return path


def _mask(path: pathlib.Path) -> geometry.Image:
    mask = image_files.read(path)
    image_files.check_finite(mask)
    if mask.array.ndim != 3:
        raise InputError(f'{path}: shape {mask.array.shape}; expected a mask [X, Y, Z]')
    wrong = mask.array[(mask.array < 0) | (mask.array != np.rint(mask.array))]
    if wrong.size:
        raise InputError(f'{path}: value {wrong[0]:g}; expected whole numbers, 0 where there is no lesion')
    return geometry.canonical(mask)


def _image(path: pathlib.Path, mask: geometry.Image) -> np.ndarray:
    image = image_files.read(path)
    image_files.check_finite(image)
    if image.array.ndim != 3:
        raise InputError(f'{path}: shape {image.array.shape}; expected an image [X, Y, Z]')
    image = geometry.canonical(image)
    geometry.check_pair(image, mask)
    return image.array


def _check_together(patient: str, first: geometry.Image, mask: geometry.Image) -> None:
    """Refuses grids without common space: nothing there can be matched by place."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)])
    low, high = zip(*((world.min(0), world.max(0)) for world in (
        (corners * [*image.array.shape, 1] - [0.5, 0.5, 0.5, 0]) @ image.affine[:3].T for image in (first, mask))))
    if (np.minimum(*high) <= np.maximum(*low)).any():
        raise InputError(f'{mask.path}: {geometry.describe(mask)}; expected a grid that overlaps that of patient '
                         f'{patient}\'s first mask, {geometry.describe(first)}, to match lesions by place')


def _numbers(pieces: Sequence[tuple[int, np.ndarray]], mask: geometry.Image, seen: Sequence[Marked],
             numbered: bool) -> tuple[list[int], set[int]]:
    """The lesion that each part is, and the lesions in whose place any part lies."""
    if numbered:
        return [value for value, _ in pieces], set()
    places = list(range(1, len(pieces) + 1))
    known, touched = lesions.match(_marked(pieces, places, mask), seen)
    most = max((int(before.number.max()) for before in seen if len(before.number)), default=0)
    fresh = iter(range(most + 1, most + 1 + len(pieces)))
    return [known[place] if place in known else next(fresh) for place in places], touched


def _marked(pieces: Sequence[tuple[int, np.ndarray]], numbers: Sequence[int], mask: geometry.Image) -> Marked:
    index = np.concatenate([np.zeros((0, 3), int), *(index for _, index in pieces)])
    number = np.repeat(np.array(numbers, int), [len(index) for _, index in pieces])
    return Marked(index, number, mask.affine, mask.array.shape)
