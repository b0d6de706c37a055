"""Own scans over time: a CSV table with a row a visit, as `data.sources.lesion_visits_csv` reads it, as cases of growth.

    patient,visit,mask,image,split
    p01,2024-01-08,p01_a_tumour.nii.gz,p01_a_flair.nii.gz,train
    p01,2024-04-02,p01_b_tumour.nii.gz,p01_b_flair.nii.gz,train
    p01,2024-07-15,p01_c_tumour.nii.gz,p01_c_flair.nii.gz,train

A patient's scans must be registered; they are brought onto the grid of the first mask. Each visit from the third on is
told from all before it, so that a patient of five visits makes three cases.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.datasets.tumour_growth import Followed, Scans
from medjax.data.io import geometry, image_files
from medjax.data.io.geometry import Image
from medjax.data.io.tables import read_table
from medjax.data.source import Case, Source, data_dir
from medjax.data.sources import lesion_visits_csv
from medjax.data.splits import divide
from medjax.errors import InputError, few

WEEK = 7.0  # days
LEAST = 3  # visits: two to tell from, and one to tell


def source(*, table: str, dir: str = '', classes: Sequence[str] = ('background', 'tumour'), val: float = 0.2,
           test: float = 0.2, fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
    """Reads a table of visits; the scans are read case by case.

    Args:
      table: the CSV file, within dir; its masks are of any lesion, its images of the same grids.
      dir: the data set's folder; '' as `data_dir` says.
      classes: what is not, and what is, in the masks.
      val: share of the patients that validates.
      test: share of the patients that tests.
      fold: see `split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name; a column of the table says it as well.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: a table that `visits.read` refuses; no patient with three visits; visits of which some have an image
        and some have not.
    """
    root = data_dir(dir)
    path = root / table
    patients = {name: by_visit(rows) for name, rows in lesion_visits_csv.read(path).items()}
    named = {row['patient'].strip(): row.get('split', '').strip() for row in read_table(path)[0]}
    kept = {name: of for name, of in patients.items() if len(of) >= LEAST}
    if not kept:
        raise InputError(f'{path}: no patient of {LEAST} visits or more; expected two to tell from, and one to tell')
    for name, of in kept.items():
        for rows in of:
            if not any(row.mask for row in rows):
                raise InputError(f'{path}: row {rows[0].number}: no mask of patient {name}; expected one at each visit')
            if bool(image_of(rows)) != bool(image_of(next(iter(kept.values()))[0])):
                raise InputError(f'{path}: row {rows[0].number}: expected an image at each visit of all patients, or '
                                 'at none')
    split = divide([{'patient': name, 'split': named.get(name, '')} for name in kept], path, dict(splits or {}),
                   root / split_file if split_file else None, val=val, test=test, fold=fold, folds=folds,
                   seed=split_seed)
    cases = tuple(Case(
        id=f'{name}_{count}', patient=name, split=split[name], read=functools.partial(read, of[:count], name),
        files=tuple(str(row_file) for rows in of[:count] for row in rows for row_file in (row.mask, row.image)
                    if row_file), target=Followed(tuple(WEEK * rows[0].weeks for rows in of[:count])))
        for name, of in kept.items() for count in range(LEAST, len(of) + 1))
    left = [name for name in patients if name not in kept]
    told = f'Of fewer than {LEAST} visits, and left out: {len(left)} patients ({few(left)}).' if left else ''
    return Source(cases=cases, classes=tuple(classes), notice=' '.join(filter(None, [notice, told])),
                  channels=('image',), problem='growth', unit='days')


def by_visit(rows: Sequence[lesion_visits_csv.Row]) -> list[list[lesion_visits_csv.Row]]:
    """A patient's rows, which are in order of time, visit by visit."""
    return [[row for row in rows if row.weeks == weeks] for weeks in dict.fromkeys(row.weeks for row in rows)]


def image_of(rows: Sequence[lesion_visits_csv.Row]) -> pathlib.Path | None:
    """A visit's image: the first that one of its rows names."""
    return next((row.image for row in rows if row.image), None)


def read(of: Sequence[Sequence[lesion_visits_csv.Row]], patient: str) -> Scans:
    """Reads some visits onto the grid of the first mask; a visit without a mask, whose scan is to be told, is empty.

    Args:
      of: for each visit its rows.
      patient: name, for messages.

    Raises:
      InputError: a file that is no image; an image that is not on the grid of its mask; grids that lie apart.
    """
    first, masks, images = None, [], []
    for rows in of:
        union: Image | None = None
        for row in rows:
            if row.mask is None:
                continue
            mask = _volume(row.mask)
            mask = Image((mask.array != 0).astype(np.uint8), mask.affine, mask.path)
            if first is None:
                first = mask
            here = mask if geometry.same_grid(first, mask) else geometry.onto(
                mask, first.affine, first.array.shape, 'label', fill=0)
            if mask.array.any() and not here.array.any():
                raise InputError(f'{row.mask}: {geometry.describe(mask)}: nothing of it lies in the grid of patient '
                                 f'{patient}\'s first mask, {geometry.describe(first)}; expected registered scans')
            union = here if union is None else Image(union.array | here.array, union.affine, union.path)
        path = image_of(rows)
        if path is not None and first is not None:
            image = _volume(path)
            if not geometry.same_grid(first, image):
                image = geometry.onto(image, first.affine, first.array.shape, 'linear', fill=float(image.array.min()))
            images.append(image.array.astype(np.float32))
        elif first is not None and images:
            images.append(np.zeros_like(images[0]))  # of a visit that is to be told
        masks.append(union)
    if first is None:
        raise InputError(f'patient {patient}: no mask; expected one at the first visit')
    arrays = [np.zeros_like(first.array) if mask is None else mask.array for mask in masks]
    stacked = np.stack(images, -1)[..., None] if images else np.zeros((*first.array.shape, len(masks), 0), np.float32)
    return Scans(Image(stacked, first.affine, first.path), Image(np.stack(arrays, -1), first.affine, first.path))


def _volume(path: pathlib.Path) -> Image:
    image = image_files.read(path)
    image_files.check_finite(image)
    if image.array.ndim != 3:
        raise InputError(f'{path}: shape {image.array.shape}; expected [X, Y, Z]')
    return geometry.canonical(image)
