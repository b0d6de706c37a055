"""Own scans from a table of visits: which cases they make, on whose grid, and what is refused."""

import nibabel as nib
import numpy as np
import pytest

from medjax.data.datasets import tumour_growth
from medjax.data.sources import tumour_visits_csv
from medjax.errors import InputError

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def write(folder, rows, header='patient,visit,mask,kind,image,split'):
    (folder / 'visits.csv').write_text('\n'.join([header, *rows]) + '\n')
    return dict(dir=str(folder), table='visits.csv')


def cube(folder, name, side, shift=0, affine=AFFINE, value=1):
    array = np.zeros((10, 10, 10), np.uint8)
    array[3 + shift:3 + shift + side, 3:3 + side, 3:3 + side] = value
    nib.save(nib.Nifti1Image(array, affine), folder / name)
    return array


def make(folder, patients=('p1', 'p2'), visits=3, images=True):
    rows = []
    for name in patients:
        for visit in range(visits):
            cube(folder, f'{name}_{visit}.nii.gz', 2 + visit)
            noise = np.random.default_rng(visit).normal(100, 9, (10, 10, 10)).astype(np.float32)
            nib.save(nib.Nifti1Image(noise, AFFINE), folder / f'{name}_{visit}_t1.nii.gz')
            rows.append(f'{name},{8 * visit},{name}_{visit}.nii.gz,,{f"{name}_{visit}_t1.nii.gz" * images},'
                        + ('train' if name == 'p1' else 'test'))
    return rows


def test_each_visit_from_the_third_on_is_a_case(tmp_path):
    made = tumour_visits_csv.source(**write(tmp_path, make(tmp_path, visits=4) + ['p3,0,p1_0.nii.gz,,,']))
    assert [(case.id, case.patient, case.split) for case in made.cases] == [
        ('p1_3', 'p1', 'train'), ('p1_4', 'p1', 'train'), ('p2_3', 'p2', 'test'), ('p2_4', 'p2', 'test')]
    assert made.cases[1].target.times == (0, 56, 112, 168)
    assert made.warnings == ('Patients that are left out, with fewer than 3 visits: 1 (p3).',)
    assert made.summary == 'visits.csv: visits are numbers of weeks'
    assert made.encoding == {'visit_unit': 'weeks', 'dates': 'iso'}
    data = tumour_growth.dataset(made, size=(8, 8, 8))
    assert data.rows.image.shape == (4, 3, 8, 8, 8, 3)
    np.testing.assert_allclose(data.rows.volume[1], np.array([8, 27, 64]) * 0.008, rtol=1e-6)
    assert data.rows.label[1].sum() == 125 and data.rows.new.shape == (4, 0)


def test_lesions_of_a_visit_are_one_mask_on_the_first_grid(tmp_path):
    rows = make(tmp_path, ('p1',), images=False)
    cube(tmp_path, 'node.nii.gz', 2, shift=5, value=7)
    moved = AFFINE.copy()
    moved[0, 3] = 4.0  # two voxels: the same place is two voxels further left in this file
    cube(tmp_path, 'p1_2.nii.gz', 4, shift=-2, affine=moved)
    made = tumour_visits_csv.source(**write(tmp_path, [*rows, 'p1,0,node.nii.gz,node,,train']))
    found = made.cases[0].read()
    assert found.masks.array[..., 0].sum() == 16 and found.masks.array[8, 3, 3, 0] == 1
    np.testing.assert_array_equal(found.masks.array[3:7, 3:7, 3:7, 2], 1)
    assert found.image.array.shape == (10, 10, 10, 3, 0)
    with pytest.raises(InputError, match="no images; expected config.data.inputs without 'image'"):
        tumour_growth.dataset(made, size=(8, 8, 8))
    assert tumour_growth.dataset(made, size=(8, 8, 8), inputs=('mask', 'distance')).rows.image.shape[-1] == 2


def test_visits_as_dates_and_one_split_a_patient(tmp_path):
    rows = [line.replace(',0,', ',20240101,').replace(',8,', ',20240226,').replace(',16,', ',20240422,')
            for line in make(tmp_path)]
    assert tumour_visits_csv.source(**write(tmp_path, rows)).cases[0].target.times == pytest.approx((0, 56, 112))
    weeks = make(tmp_path)
    days = tumour_visits_csv.source(**write(tmp_path, weeks), visit_unit='days')
    assert days.cases[0].target.times == pytest.approx((0, 8, 16))
    with pytest.raises(InputError, match="patient 'p1' is in 'val' and in 'train'"):
        tumour_visits_csv.source(**write(tmp_path, [weeks[0], weeks[1].replace('train', 'val'), *weeks[2:]]))


def test_invalid_visits_are_refused(tmp_path):
    rows = make(tmp_path)
    with pytest.raises(InputError, match='row 3 has too few fields; expected 6'):
        tumour_visits_csv.source(**write(tmp_path, [rows[0], 'p1,8', *rows[2:]]))
    with pytest.raises(InputError, match='no patient with 3 visits or more'):
        tumour_visits_csv.source(**write(tmp_path, rows[:2]))
    with pytest.raises(InputError, match='row 3: expected an image at each visit of all patients'):
        tumour_visits_csv.source(**write(tmp_path, [rows[0], rows[1].replace('p1_1_t1.nii.gz', ''), *rows[2:]]))
    with pytest.raises(InputError, match='row 4: no mask of patient p1'):
        tumour_visits_csv.source(**write(tmp_path, [*rows[:2], rows[2].replace('p1_2.nii.gz', '')]))
    far = AFFINE.copy()
    far[0, 3] = 900.0
    cube(tmp_path, 'p1_1.nii.gz', 3, affine=far)
    with pytest.raises(InputError, match="27 of its 27 voxels are outside of the grid of patient p1's first mask"):
        tumour_visits_csv.source(**write(tmp_path, rows)).cases[0].read()


def test_masks_beyond_the_first_grid_are_refused_with_their_voxels(tmp_path):
    rows = make(tmp_path, ('p1',), images=False)
    moved = AFFINE.copy()
    moved[0, 3] = 8.0
    cube(tmp_path, 'p1_2.nii.gz', 4, affine=moved)  # columns 7 to 10 of the first grid's 10
    case, = tumour_visits_csv.source(**write(tmp_path, rows)).cases
    with pytest.raises(InputError, match=r'p1_2\.nii\.gz: .*: 16 of its 64 voxels are outside .*; expected'):
        case.read()
