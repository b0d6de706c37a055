"""Tables of visits and the lesions in their masks: what is read, what is measured, and which lesion is which later."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medjax.data.sources import lesion_visits_csv
from medjax.errors import InputError
from tests.data import samples
from tests.data.io.test_dicom_segmentation import segmentation

AFFINE = np.diag([1.0, 1.5, 4.0, 1.0])
SHAPE = (32, 24, 8)


def boxes(*spans, shape=SHAPE, numbers=None):
    """A mask of boxes, each given by first and last voxel along x, y, z."""
    mask = np.zeros(shape, np.uint8)
    for number, (low, high) in enumerate(spans):
        mask[tuple(slice(a, b + 1) for a, b in zip(low, high))] = numbers[number] if numbers else 1
    return mask


A, B, FAR = ((2, 2, 2), (14, 4, 3)), ((18, 10, 2), (29, 12, 3)), ((2, 18, 6), (8, 22, 7))


def write(folder, table, affine=AFFINE, **masks):
    for name, mask in masks.items():
        nib.save(nib.Nifti1Image(mask, affine), folder / f'{name}.nii.gz')
    (folder / 'visits.csv').write_text(table)
    return folder / 'visits.csv'


def measured(table, **options):
    return {name: lesion_visits_csv.measure_visits(name, rows, **options)
            for name, rows in lesion_visits_csv.read(table).items()}


def test_masks_in_any_order_of_axes_and_format_measure_the_same(tmp_path):
    mask = boxes(A, B)
    table = write(tmp_path, 'patient,visit,mask\np,0,a.nii.gz\nq,0,b.nii.gz\nr,0,c.nrrd\n', a=mask)
    turned = np.array([[0, 0, -1.0, 31], [0, 1.5, 0, 0], [4, 0, 0, 0], [0, 0, 0, 1]])  # stored as z, y, -x
    nib.save(nib.Nifti1Image(np.ascontiguousarray(mask.transpose(2, 1, 0)[:, :, ::-1]), turned), tmp_path / 'b.nii.gz')
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T))
    image.SetSpacing((1.0, 1.5, 4.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # so that x and y grow as in RAS
    sitk.WriteImage(image, str(tmp_path / 'c.nrrd'))
    for visit, in measured(table).values():
        found = visit.findings['target', '', 1]
        assert found.longest == pytest.approx(np.hypot(12, 3)) and found.volume == pytest.approx(13 * 3 * 2 * 6 / 1000)
        assert found.thickness == 4 and visit.findings['target', '', 2].longest == pytest.approx(np.hypot(11, 3))


def test_lesions_are_matched_by_their_position(tmp_path):
    table = write(tmp_path, 'patient,visit,mask\np,16,c.nii.gz\np,4,a.nii.gz\np,8,b.nii.gz\n',
                  a=boxes(A, B), b=boxes(((10, 3, 3), (12, 6, 4)), FAR), c=boxes(((20, 11, 2), (24, 11, 3)), FAR))
    first, second, third = measured(table)['p']
    assert [visit.weeks for visit in (first, second, third)] == [0, 4, 12] and first.name == '4'
    assert set(first.findings) == {('target', '', 1), ('target', '', 2)}
    assert set(second.findings) == {('target', '', 1), ('target', '', 3)}  # 2 is gone, and what is far is new
    assert set(third.findings) == {('target', '', 2), ('target', '', 3)}  # 2 is back in its place
    assert third.findings['target', '', 2].longest == pytest.approx(4)


def test_a_dicom_segmentation_is_put_onto_the_grid_of_its_image(tmp_path):
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1:5, 2, 1:3] = 1
    frames = [(place, 1, mask[:, :, place]) for place in (2, 1)]
    segmentation(tmp_path / 'a.dcm', frames)
    samples.slices(tmp_path / 'ct')
    for name, array in (('mask', mask), ('ct', samples.VOXELS)):
        nib.save(nib.Nifti1Image(array, np.diag([*samples.SPACING, 1])), tmp_path / f'{name}.nii')
    (tmp_path / 'visits.csv').write_text('patient,visit,mask,image\np,0,a.dcm,ct\nq,0,a.dcm,\n'
                                          'r,0,mask.nii,ct.nii\n')
    found = measured(tmp_path / 'visits.csv')
    for name in 'pq':
        lesion = found[name][0].findings['target', '', 1]
        assert lesion.longest == pytest.approx(3 * samples.SPACING[0])
        assert lesion.volume == pytest.approx(8 * np.prod(samples.SPACING) / 1000)
    assert found['p'][0].findings['target', '', 1].peak == found['r'][0].findings['target', '', 1].peak > 0
    (tmp_path / 'visits.csv').write_text('patient,visit,mask\np,0,ct/001.dcm\n')
    with pytest.raises(InputError, match='001.dcm: one DICOM image'):
        measured(tmp_path / 'visits.csv')


def test_grids_may_differ_where_the_world_is_the_same(tmp_path):
    fine = boxes(((5, 8, 3), (28, 17, 8)), shape=(64, 72, 16))  # A on half the voxels' size, and shifted by one
    affine = np.array([[0.5, 0, 0, -0.5], [0, 0.5, 0, -0.5], [0, 0, 2, 1], [0, 0, 0, 1.0]])
    table = write(tmp_path, 'patient,visit,mask\np,0,a.nii.gz\np,8,b.nii.gz\n', a=boxes(A, B))
    nib.save(nib.Nifti1Image(fine, affine), tmp_path / 'b.nii.gz')
    _, second = measured(table)['p']
    assert set(second.findings) == {('target', '', 1)} and second.findings['target', '', 1].longest == pytest.approx(
        np.hypot(11.5, 4.5))
    affine[:3, 3] = 500
    nib.save(nib.Nifti1Image(fine, affine), tmp_path / 'b.nii.gz')
    with pytest.raises(InputError, match=r'b\.nii\.gz: 64×72×16 voxels of .*expected a grid that overlaps that of'):
        measured(table)
    assert set(measured(table, numbered=True)['p'][1].findings) == {('target', '', 1)}  # numbers need no place


def test_pieces_and_merged_lesions(tmp_path):
    pieces = boxes(((2, 2, 2), (5, 4, 3)), ((9, 2, 2), (14, 4, 3)), B)
    table = write(tmp_path, 'patient,visit,mask\np,0,a.nii.gz\np,8,b.nii.gz\np,16,c.nii.gz\n', a=boxes(A, B), b=pieces,
                  c=boxes(((2, 2, 2), (29, 12, 3))))
    _, second, third = measured(table)['p']
    assert second.findings['target', '', 1].longest == pytest.approx(np.hypot(3, 3) + np.hypot(5, 3))
    assert third.findings['target', '', 2].longest == pytest.approx(np.hypot(27, 15))  # it shares most with that
    assert third.findings['target', '', 1].state == 'merged'


def test_numbers_are_lesions_if_so_asked(tmp_path):
    table = write(tmp_path, 'patient,visit,mask\np,0,a.nii.gz\np,8,b.nii.gz\n', a=boxes(A, B, numbers=(7, 4)),
                  b=boxes(A, FAR, numbers=(4, 9)).astype(np.float32))
    first, second = measured(table, numbered=True)['p']
    assert set(first.findings) == {('target', '', 4), ('target', '', 7)}
    assert set(second.findings) == {('target', '', 4), ('target', '', 9)}
    assert second.findings['target', '', 4].longest == first.findings['target', '', 7].longest
    touching = boxes(((2, 2, 2), (9, 4, 3)), ((10, 2, 2), (14, 4, 3)), numbers=(1, 2))
    write(tmp_path, table.read_text(), a=touching, b=touching)
    assert len(measured(table, numbered=True)['p'][0].findings) == 2 and len(measured(table)['p'][0].findings) == 1


def test_kinds_dates_and_images(tmp_path):
    image = np.ones(SHAPE, np.float32)
    image[:20, :12] = 9
    table = write(tmp_path, 'patient,visit,mask,kind,image\n'
                  'p,2024-03-01,b.nii.gz,target,\np,2024-03-01,n.nii.gz,node,\np,2024-01-05,a.nii.gz,,i.nii.gz\n'
                  'p,2024-01-05,n.nii.gz,node,\np,2024-02-02,,node,\n', a=boxes(A), b=boxes(), n=boxes(B), i=image)
    first, second, third = measured(table)['p']
    assert [visit.weeks for visit in (first, second, third)] == [0, 4, 8]
    assert first.evaluated == third.evaluated == {('target', ''), ('node', '')}
    assert second.evaluated == set() and second.findings == {}
    assert set(third.findings) == {('node', '', 1)} and first.findings['node', '', 1].short > 0
    assert first.findings['target', '', 1].peak == 9 and np.isnan(first.findings['node', '', 1].peak)


@pytest.mark.parametrize('cells, options', [
    (('2024-01-05', '2024-03-01'), {}), (('20240105', '20240301'), {}), (('05.01.2024', '1.3.2024'), dict(dates='dmy')),
    (('1/5/2024', '3/1/2024'), dict(dates='mdy')), (('3', '59'), dict(visit_unit='days')), (('-8', '0'), {}),
    (('1.5', '9.5'), {})])
def test_visits_eight_weeks_apart(tmp_path, cells, options):
    table = write(tmp_path, ''.join(['patient,visit,mask\n', *(f'p,{cell},a.nii.gz\n' for cell in cells)]), a=boxes(A))
    assert [row.weeks for row in lesion_visits_csv.read(table, **options)['p']] == pytest.approx([0, 8])


def test_a_marker_of_a_missing_value_is_no_file(tmp_path):
    table = write(tmp_path, 'patient,visit,mask,image\np,0,a.nii.gz,NA\np,8,.,\n', a=boxes(A))
    first, second = lesion_visits_csv.read(table)['p']
    assert first.image is None and second.mask is None
    assert lesion_visits_csv.visit_form(table) == 'numbers of weeks'


def test_lesions_of_organs_are_apart(tmp_path):
    table = write(tmp_path, 'patient,visit,mask,organ,kind\np,0,a.nii.gz,liver,\np,0,b.nii.gz,lung,target\n'
                  'p,8,a.nii.gz,lung,\np,8,b.nii.gz,,node\n', a=boxes(A), b=boxes(B))
    first, second = measured(table)['p']
    assert set(first.findings) == {('target', 'liver', 1), ('target', 'lung', 1)}
    assert set(second.findings) == {('target', 'lung', 2), ('node', '', 1)}  # at the place of another organ's lesion
    assert second.evaluated == {('target', 'lung'), ('node', '')}
    assert first.findings['target', 'liver', 1].organ == 'liver'


HEAD = 'patient,visit,mask,kind,image\n'


@pytest.mark.parametrize('table, said', [
    ('patient,mask\np,a.nii.gz\n', "no column 'visit'; expected patient, visit, mask"),
    (HEAD, 'no rows; expected visits'),
    (HEAD + 'p,0,a.nii.gz\n', 'row 2 has too few fields'),
    (HEAD + ',0,a.nii.gz,,\n', 'row 2: no patient'),
    (HEAD + 'p,0,a.nii.gz,,\np,2024-01-01,a.nii.gz,,\n', "row 3: visit '2024-01-01'; expected a number of weeks"),
    (HEAD + 'p,2024-01-01,a.nii.gz,,\np,4,a.nii.gz,,\n', "row 3: visit '4'; expected an ISO date YYYY-MM-DD"),
    (HEAD + 'p,2024-01-01,a.nii.gz,,\np,20240301,a.nii.gz,,\n', "row 3: visit '20240301'; expected an ISO date YYYY"),
    (HEAD + 'p,0,a.nii.gz,,\np,20240301,a.nii.gz,,\n', "row 3: visit '20240301'; expected a number of weeks"),
    (HEAD + 'p,29.01.2024,a.nii.gz,,\n', "row 2: visit '29.01.2024'"),
    (HEAD + 'p,45320,a.nii.gz,,\n', "row 2: visit '45320': 869 years as a number of weeks"),
    ('patient,visit,Mask\np,0,a.nii.gz\n', "no column 'mask' (but Mask); expected patient, visit"),
    ('patient,visit,mask,Kind\np,0,a.nii.gz,node\n', "column 'Kind'; expected 'kind'"),
    (HEAD + 'p,nan,a.nii.gz,,\n', "row 2: visit 'nan'"),
    (HEAD + 'p,2024-02-30,a.nii.gz,,\n', "row 2: visit '2024-02-30'"),
    (HEAD + 'p,0,a.nii.gz,lump,\n', "row 2: kind 'lump'; expected one of target, node, nontarget"),
    (HEAD + 'p,8,a.nii.gz,,\np,0,a.nii.gz,,\np,8.0,a.nii.gz,,\n',
     'row 4: patient p has the visit 8.0 in row 2 already'),
    ('patient,visit,mask,organ\np,0,a.nii.gz,lung\np,8,a.nii.gz,\n', 'row 3: no organ; expected that of the targets'),
    ('patient,visit,mask,organ\np,0,a.nii.gz,lung\np,8,a.nii.gz,Lung\n', "row 3: organ 'Lung', in an earlier row"),
    ('patient,visit,mask,Organ\np,0,a.nii.gz,lung\n', "column 'Organ'; expected 'organ'"),
    (HEAD + 'p,0,none.nii.gz,,\n', "row 2: mask 'none.nii.gz': no such file"),
    (HEAD + 'p,0,../a.nii.gz,,\n', "row 2: mask '../a.nii.gz' is outside of the folder"),
    (HEAD + 'p,0,a.png,,\n', 'expected a file of a format with a voxel size in mm'),
    (HEAD + 'p,0,a.nii.gz,,none.nii\n', "row 2: image 'none.nii': no such file")])
def test_tables_that_cannot_be_read(tmp_path, table, said):
    with pytest.raises(InputError) as error:
        lesion_visits_csv.read(write(tmp_path, table, a=boxes(A)))
    assert said in str(error.value)


@pytest.mark.parametrize('mask, said', [
    (np.full(SHAPE, np.nan, np.float32), '6144 voxels are NaN or infinite'),
    (np.full(SHAPE, 0.5, np.float32), 'label value 0.5, in'),
    (np.full(SHAPE, -1, np.int16), 'value -1; expected whole numbers'),
    (np.ones((4, 4, 4, 2), np.uint8), 'expected [X, Y, Z]')])
def test_invalid_masks_are_refused(tmp_path, mask, said):
    table = write(tmp_path, 'patient,visit,mask\np,0,a.nii.gz\n', a=mask)
    with pytest.raises(InputError) as error:
        measured(table)
    assert 'a.nii.gz: ' in str(error.value) and said in str(error.value)


def test_an_image_of_another_grid_or_with_nan_is_refused(tmp_path):
    table = write(tmp_path, HEAD + 'p,0,a.nii.gz,,i.nii.gz\n', a=boxes(A), i=np.ones((9, 9, 9), np.float32))
    with pytest.raises(InputError, match='not on the grid of its image'):
        measured(table)
    write(tmp_path, table.read_text(), i=np.full(SHAPE, np.inf, np.float32))
    with pytest.raises(InputError, match='voxels are NaN or infinite'):
        measured(table)


def test_the_fingerprint_is_of_table_and_files(tmp_path):
    table = write(tmp_path, 'patient,visit,mask\np,0,a.nii.gz\n', a=boxes(A))
    first = lesion_visits_csv.fingerprint(table, lesion_visits_csv.read(table))
    write(tmp_path, table.read_text(), a=boxes(B))
    assert lesion_visits_csv.fingerprint(table, lesion_visits_csv.read(table)) != first
