"""Scans of tumours over time from a CSV table with a row for each visit, as `data.sources.lesion_visits_csv` reads it.

    patient,visit,mask,image,split
    p01,2024-01-08,p01_a_tumour.nii.gz,p01_a_flair.nii.gz,train
    p01,2024-04-02,p01_b_tumour.nii.gz,p01_b_flair.nii.gz,train
    p01,2024-07-15,p01_c_tumour.nii.gz,p01_c_flair.nii.gz,train

The scans of a patient must be registered; they are resampled onto the grid of the first mask. Each visit from the third
on is predicted from all visits before it, so a patient with five visits gives three cases.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.datasets.tumour_visits import FollowUp, Scans
from medjax.data.io import dicom_series, geometry
from medjax.data.io.geometry import Image
from medjax.data.io.tables import filled, read_table
from medjax.data.source import Case, LeftOut, Source, data_dir
from medjax.data.sources import lesion_visits_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError, few

WEEK = 7.0  # days
LEAST = 3  # visits: two to predict from, and one to predict


def source(*, table: str, dir: str = '', classes: Sequence[str] = ('background', 'tumour'), visit_unit: str = 'weeks',
           dates: str = 'iso', splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A tumour growth source from a table of visits; the scans are read case by case.

    Args:
      table: the CSV file, within dir; masks of any kind of lesion count, images are on the grids of their masks.
      dir: the data set's folder; see `data_dir`.
      classes: names of background and tumour.
      visit_unit: of visits that are numbers: 'days', 'weeks', 'months' or 'years'.
      dates: form of visits that are dates: 'iso' (2024-01-29, or 20240129 as in DICOM), 'dmy' or 'mdy'.
      splitting: how patients are assigned to splits.
      notice: text on the data for the report.

    Raises:
      InputError: as `lesion_visits_csv.read`; no patient with three visits; images at some visits only.
    """
    root = data_dir(dir)
    path = root / table
    times = {'visit_unit': visit_unit, 'dates': dates}
    patients = {name: group_by_visit(rows) for name, rows in lesion_visits_csv.read(path, **times).items()}
    included = {name: visits for name, visits in patients.items() if len(visits) >= LEAST}
    if not included:
        raise InputError(f'{path}: no patient with {LEAST} visits or more; expected two to predict from, and one to '
                         'predict')
    _check_visits(path, included)
    rows = [{'patient': filled(row['patient']), 'split': row.get('split', '')} for row in read_table(path)[0]]
    split = splitting.divide([row for row in rows if row['patient'] in included], path, root)
    cases = tuple(_case(name, visits[:count], split[name])
                  for name, visits in included.items() for count in range(LEAST, len(visits) + 1))
    excluded = [name for name in patients if name not in included]
    left_out: tuple[LeftOut, ...] = ()
    if excluded:
        line = f'Patients that are left out, with fewer than {LEAST} visits: {len(excluded)} ({few(excluded)}).'
        left_out = (LeftOut(f'with fewer than {LEAST} visits', len(excluded), line=line),)
    return Source(cases=cases, classes=tuple(classes), notice=notice, channels=('image',), problem='growth',
                  unit='days', warnings=tuple(item.line for item in left_out), left_out=left_out, encoding=times,
                  summary=f'{path.name}: visits are {lesion_visits_csv.visit_form(path, **times)}')


def _check_visits(path: pathlib.Path, patients: Mapping[str, Sequence[Sequence[lesion_visits_csv.Row]]]) -> None:
    """Checks that each visit has a mask, and that all visits or none have an image."""
    with_images = visit_image(next(iter(patients.values()))[0]) is not None
    for name, visits in patients.items():
        for rows in visits:
            if not any(row.mask for row in rows):
                raise InputError(f'{path}: row {rows[0].number}: no mask of patient {name}; expected one at each visit')
            if (visit_image(rows) is not None) != with_images:
                raise InputError(f'{path}: row {rows[0].number}: expected an image at each visit of all patients, or '
                                 'at none')


def _case(patient: str, visits: Sequence[Sequence[lesion_visits_csv.Row]], split: str) -> Case:
    """A case whose last visit is predicted from those before it."""
    files = [file for rows in visits for row in rows for file in (row.mask, row.image) if file]
    return Case(id=f'{patient}_{len(visits)}', patient=patient, split=split,
                read=functools.partial(read_scans, visits, patient), files=tuple(map(str, files)),
                target=FollowUp(tuple(WEEK * rows[0].weeks for rows in visits)))


def group_by_visit(rows: Sequence[lesion_visits_csv.Row]) -> list[list[lesion_visits_csv.Row]]:
    """A patient's rows, which are in order of time, by visit."""
    return [[row for row in rows if row.weeks == weeks] for weeks in dict.fromkeys(row.weeks for row in rows)]


def visit_image(rows: Sequence[lesion_visits_csv.Row]) -> pathlib.Path | None:
    """The image of a visit: the first that one of its rows names."""
    return next((row.image for row in rows if row.image), None)


def read_scans(visits: Sequence[Sequence[lesion_visits_csv.Row]], patient: str) -> Scans:
    """The scans of some visits on the grid of the first mask.

    The mask of a visit without one, whose tumour is to be predicted, is empty.

    Args:
      visits: the rows of each visit.
      patient: name, for messages.

    Raises:
      InputError: a file that is no image; a mask that reaches beyond the grid of the first; a DICOM segmentation
        without an image.
    """
    first, masks, images = None, [], []
    for rows in visits:
        mask, path = None, visit_image(rows)
        image = None if path is None else lesion_visits_csv.read_volume(path)
        for path in (row.mask for row in rows if row.mask is not None):
            if image is None and dicom_series.is_segmentation(path):
                raise InputError(f'{path}: a DICOM segmentation, which has the extents of its segments alone; expected '
                                 'an image at its visit, whose grid is that of the scan')
            lesions = lesion_visits_csv.read_mask(path, image)
            lesions = Image((lesions.array != 0).astype(np.uint8), lesions.affine, lesions.path)
            if first is None:
                first = lesions
            lesions = _onto_first(lesions, first, path, patient)
            mask = lesions if mask is None else Image(mask.array | lesions.array, mask.affine, mask.path)
        masks.append(mask)
        if image is not None and first is not None:
            if not geometry.same_grid(first, image):
                image = geometry.resample_to_grid(image, first.affine, first.array.shape, 'linear',
                                                  fill=float(image.array.min()))
            images.append(image.array.astype(np.float32))
        elif first is not None and images:
            images.append(np.zeros_like(images[0]))  # of a visit that is to be predicted
    if first is None:
        raise InputError(f'patient {patient}: no mask; expected one at the first visit')
    arrays = [np.zeros_like(first.array) if mask is None else mask.array for mask in masks]
    if images:
        stacked = np.stack(images, -1)[..., None]
    else:
        stacked = np.zeros((*first.array.shape, len(masks), 0), np.float32)
    return Scans(Image(stacked, first.affine, first.path), Image(np.stack(arrays, -1), first.affine, first.path))


def _onto_first(mask: Image, first: Image, path: pathlib.Path, patient: str) -> Image:
    """A mask on the grid of the patient's first one."""
    if geometry.same_grid(first, mask):
        return mask
    voxels, centre = np.argwhere(mask.array), (np.array(first.array.shape) - 1) / 2
    places = np.c_[voxels, np.ones(len(voxels))] @ (np.linalg.inv(first.affine) @ mask.affine)[:3].T
    beyond = int((np.abs(places - centre) > centre + 0.6).any(1).sum())  # 0.5 is the border of the outer voxels
    if beyond:
        raise InputError(f'{path}: {geometry.describe(mask)}: {beyond} of its {len(voxels)} voxels are outside of the '
                         f'grid of patient {patient}\'s first mask, {geometry.describe(first)}; expected registered '
                         'scans, the first of which covers the others\' masks')
    return geometry.resample_to_grid(mask, first.affine, first.array.shape, 'label', fill=0)
