"""Pairs of files: orientation, labels and landmarks, names, and what is refused."""

import csv

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from medjax.data.datasets import registration
from medjax.data.sources import image_pairs_csv
from medjax.errors import InputError

rng = np.random.default_rng(0)


def written(folder, name, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0]) if affine is None else affine), folder / name)


def table(folder, rows, columns):
    with (folder / 'pairs.csv').open('w', newline='') as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def folder(tmp_path):
    """A pair of volumes with labels and points; the moving one is stored from right to left."""
    fixed, moving = rng.random((2, 8, 9, 6)).astype(np.float32)
    written(tmp_path, 'a.nii.gz', fixed)
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[0, 3] = 14 + 100  # and lies a hundred millimetres further on
    written(tmp_path, 'b.nii.gz', moving[::-1].copy(), affine)
    written(tmp_path, 'a_label.nii.gz', (fixed > 0.5).astype(np.uint8))
    written(tmp_path, 'b_label.nii.gz', (moving[::-1] > 0.5).astype(np.uint8), affine)
    (tmp_path / 'points.csv').write_text('x,y,z,to_x,to_y,to_z\n2,4,6,106,2,3\n')
    table(tmp_path, [('a.nii.gz', 'b.nii.gz', 'a_label.nii.gz', 'b_label.nii.gz', 'points.csv', 'p', 'train')],
          ('fixed', 'moving', 'fixed_label', 'moving_label', 'points', 'patient', 'split'))
    return tmp_path, fixed, moving


def test_files_are_reordered_to_one_orientation(folder):
    path, fixed, moving = folder
    source = image_pairs_csv.source(table='pairs.csv', dir=str(path), classes=('background', 'organ'))
    assert [(case.id, case.patient, case.split) for case in source.cases] == [('b_to_a', 'p', 'train')]
    data = registration.dataset(source, size=(8, 10, 4))
    rows = data.rows
    cut = np.s_[:, :, 1:5]
    np.testing.assert_allclose(rows.fixed[0, :, 1:, :, 0], registration.normalise(fixed[cut]), atol=0.02)
    np.testing.assert_array_equal(rows.moving_label[0, :, 1:], moving[cut] > 0.5)
    assert (rows.fixed_label[0, :, 0] == 0).all() and data.spacing == (2, 2, 3)
    np.testing.assert_allclose(rows.points[0], [[1, 3, 1]], atol=1e-5)
    np.testing.assert_allclose(rows.targets[0], [[3, 2, 0]], atol=1e-5)
    np.testing.assert_allclose(data.affines[0] @ [1, 3, 1, 1], [2, 4, 6, 1], atol=1e-5)
    coarse = registration.dataset(source, size=(4, 4, 6), spacing=(4.0, 4.0, 3.0))
    assert coarse.spacing == (4, 4, 3)
    world = coarse.affines[0] @ [*coarse.rows.points[0, 0], 1]
    np.testing.assert_allclose(world[:3], [2, 4, 6], atol=1e-4)


def test_files_of_one_name_are_distinguished_by_their_folders(tmp_path):
    assert image_pairs_csv.unique_names(['p1/t1.nii.gz', 'p1/t2.nii.gz']) == {
        'p1/t1.nii.gz': 't1', 'p1/t2.nii.gz': 't2'}
    paths = [f'p{number}/{name}.nii.gz' for number in (1, 2) for name in ('t1', 't2')]
    assert image_pairs_csv.unique_names([*paths, *paths])['p2/t1.nii.gz'] == 'p2_t1'
    assert image_pairs_csv.unique_names([f'/a/b/{path}' for path in paths])['/a/b/p2/t1.nii.gz'] == 'p2_t1'
    with pytest.raises(InputError, match=r'p/a\.nii, p/a\.nii\.gz: the name of both would be .*a; expected different'):
        image_pairs_csv.unique_names(['p/a.nii', 'p/a.nii.gz'])
    with pytest.raises(InputError, match='pairs: expected fixed, moving'):
        image_pairs_csv.source(pairs=[('', 'b.png', 'train')], dir=str(tmp_path))
    made = image_pairs_csv.source(pairs=[(paths[0], paths[1], 'train'), (paths[2], paths[3], 'val')],
                                  dir=str(tmp_path))
    assert [(case.id, case.patient) for case in made.cases] == [
        ('p1_t2_to_p1_t1', 'p1_t1'), ('p2_t2_to_p2_t1', 'p2_t1')]


def test_images_without_labels_get_groups_of_intensity(folder):
    path, fixed, _ = folder
    source = image_pairs_csv.source(pairs=[('a.nii.gz', 'b.nii.gz', 'train')], dir=str(path), tissue_labels=True)
    label = source.cases[0].read().fixed_label.array
    means = [fixed[label == number].mean() for number in (1, 2, 3)]
    assert means == sorted(means) and means[0] < 0.3 and means[2] > 0.7 and 'k-means' in source.notice


def test_one_image_of_a_pair_may_be_constant(folder):
    path, fixed, _ = folder
    written(path, 'b.nii.gz', np.full_like(fixed, 3))
    source = image_pairs_csv.source(pairs=[('a.nii.gz', 'b.nii.gz', 'train')], dir=str(path))
    data = registration.dataset(source, size=(8, 8, 4))
    assert not data.rows.moving.any() and 'no contrast: 1 (b_to_a)' in data.notice and not data.labelled


@pytest.mark.parametrize('change, message', [
    (lambda a: (a[:-1], np.array([[2.0, 0, 0, 100], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])),
     r'b\.nii\.gz: 7×9×6 voxels of 2×2×3 mm.*origin \(100, 0, 0\); expected a grid that overlaps that of .*a\.nii\.gz'),
    (lambda a: (np.where(a > 0.9, np.nan, a)[:-1], None), r'b\.nii\.gz: \d+ voxels are NaN or infinite'),
    (lambda a: (np.where(a > 0.9, np.nan, a), None), r'b\.nii\.gz: \d+ voxels are NaN or infinite'),
])
def test_invalid_pairs_are_refused(folder, change, message):
    path, fixed, _ = folder
    written(path, 'b.nii.gz', *change(fixed))
    source = image_pairs_csv.source(pairs=[('a.nii.gz', 'b.nii.gz', 'train')], dir=str(path))
    with pytest.raises(InputError, match=message):
        registration.dataset(source, size=(8, 8, 4))


def ball(shape, affine, centre):
    """A ball of 200 with a radius of 8 mm in a ball of 100, and its label."""
    places = np.stack(np.indices(shape), -1) @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(places - centre, axis=-1)
    return (100 * (distance < 15) + 100 * (distance < 8)).astype(np.int16), (distance < 8).astype(np.uint8)


@pytest.fixture
def two_grids(tmp_path):
    """A ball at (20, 18, 20) mm, and one at (24, 19, 20) mm on a grid that is turned by half a turn."""
    fixed, moving = np.diag([1.0, 1.0, 1.0, 1.0]), np.diag([-1.4, -1.3, 1.5, 1.0])
    moving[:3, 3] = 42, 38, -2
    for name, shape, affine, centre in (('f', (40, 36, 40), fixed, (20, 18, 20)),
                                        ('m', (30, 30, 32), moving, (24, 19, 20))):
        image, label = ball(shape, affine, centre)
        written(tmp_path, f'{name}.nii.gz', image, affine)
        written(tmp_path, f'{name}_label.nii.gz', label, affine)
    (tmp_path / 'points.csv').write_text('x,y,z,to_x,to_y,to_z\n20,18,20,24,19,20\n5,6,7,8,9,11\n')
    table(tmp_path, [('f.nii.gz', 'm.nii.gz', 'f_label.nii.gz', 'm_label.nii.gz', 'points.csv', 'train')],
          ('fixed', 'moving', 'fixed_label', 'moving_label', 'points', 'split'))
    return tmp_path


def test_a_moving_image_on_another_grid_is_resampled_onto_the_fixed_one(two_grids):
    source = image_pairs_csv.source(table='pairs.csv', dir=str(two_grids), classes=('background', 'ball'))
    pair = source.cases[0].read()
    images = {name: sitk.ReadImage(str(two_grids / f'{name}.nii.gz'), sitk.sitkFloat32) for name in 'fm'}
    expected = sitk.GetArrayFromImage(sitk.Resample(images['m'], images['f'], sitk.Transform(), sitk.sitkLinear, -1)).T
    # SimpleITK's world is LPS and its array is [z, y, x]; it leaves what is beyond the voxels' centres at -1.
    np.testing.assert_allclose(pair.moving.array[expected >= 0], expected[expected >= 0], atol=1e-2)
    assert (expected >= 0).mean() > 0.9 and (pair.moving.array[expected < 0] == 0).all()
    np.testing.assert_array_equal(pair.moving.affine, pair.fixed.affine)
    centre = np.argwhere(pair.moving_label.array).mean(0)
    np.testing.assert_allclose(centre, (24, 19, 20), atol=0.2)  # voxels of 1 mm from the origin
    np.testing.assert_allclose(pair.points, [[20, 18, 20], [5, 6, 7]], atol=1e-5)
    np.testing.assert_allclose(pair.targets, [[24, 19, 20], [8, 9, 11]], atol=1e-5)
    data = registration.dataset(source, size=(40, 36, 40))
    assert ('resampled onto the grid of the fixed image by the positions in mm of both: 1 (m_to_f).' in data.notice
            and 'not used' not in data.notice)
    np.testing.assert_allclose(data.rows.targets[0], [[24, 19, 20], [8, 9, 11]], atol=1e-4)


def test_a_finer_moving_image_is_smoothed_before_it_is_resampled(two_grids):
    """A chequerboard of voxels of 0.5 mm becomes its mean on a grid of 2 mm."""
    fine = np.indices((40, 40, 40)).sum(0) % 2 * 100.0
    written(two_grids, 'm.nii.gz', fine.astype(np.float32), np.diag([0.5, 0.5, 0.5, 1]))
    written(two_grids, 'f.nii.gz', np.ones((8, 8, 8), np.float32), np.diag([2.0, 2, 2, 1]))
    source = image_pairs_csv.source(pairs=[('f.nii.gz', 'm.nii.gz', 'train')], dir=str(two_grids))
    np.testing.assert_allclose(source.cases[0].read().moving.array[1:-1, 1:-1, 1:-1], 50, atol=1)


def test_another_position_of_an_equal_grid_is_reported(folder):
    path, *_ = folder
    data = registration.dataset(image_pairs_csv.source(table='pairs.csv', dir=str(path), classes=('a', 'b')),
                                size=(8, 8, 4))
    assert 'at another position in mm, which is not used: 1 (b_to_a).' in data.notice
    assert 'resampled' not in data.notice


def test_pictures_of_another_size_have_no_position_to_resample_by(tmp_path):
    for name, shape in (('a', (8, 9)), ('b', (8, 10))):
        Picture.fromarray(rng.integers(0, 255, shape).astype(np.uint8)).save(tmp_path / f'{name}.png')
    source = image_pairs_csv.source(pairs=[('a.png', 'b.png', 'train')], dir=str(tmp_path))
    with pytest.raises(InputError, match='moving .*b.png has 10×8×1 .*; expected the size and spacing of the fixed'):
        registration.dataset(source, size=(8, 8))


def test_pictures_are_not_mixed_with_volumes(folder):
    path, *_ = folder
    Picture.fromarray(np.zeros((8, 9), np.uint8)).save(path / 'c.png')
    assert image_pairs_csv.source(table='pairs.csv', dir=str(path), classes=('a', 'b')).grid == 'volume'
    with pytest.raises(InputError, match=r'c\.png: a 2D image without a pixel size, beside the volume .*a\.nii\.gz'):
        image_pairs_csv.source(pairs=[('c.png', 'a.nii.gz', 'train')], dir=str(path))


def test_labels_are_classes_and_beyond_the_image_the_background(folder):
    path, fixed, _ = folder
    written(path, 'a_label.nii.gz', np.ones(fixed.shape, np.uint8))
    source = image_pairs_csv.source(table='pairs.csv', dir=str(path), classes=('a', 'b'))
    rows = registration.dataset(source, size=(8, 10, 6)).rows
    assert rows.fixed_label.sum() == fixed.size and not rows.fixed_label[:, :, 0].any()
    written(path, 'a_label.nii.gz', np.full(fixed.shape, 300, np.int16))
    with pytest.raises(InputError, match=r'b_to_a: .*a_label\.nii\.gz: label 300; expected whole numbers below 2'):
        registration.dataset(source, size=(8, 8, 4))


def test_patients_in_several_splits_have_a_warning(folder):
    path, *_ = folder
    both = [('a.nii.gz', 'b.nii.gz', 'train'), ('b.nii.gz', 'a.nii.gz', 'test')]
    data = registration.dataset(image_pairs_csv.source(pairs=both, dir=str(path)), size=(8, 8, 4))
    assert 'in pairs of other splits too: 2 (a.nii.gz, b.nii.gz)' in data.notice
    with pytest.raises(InputError, match=r"pairs: split 'tset'; expected one of: train, val, test"):
        image_pairs_csv.source(pairs=[both[0], ('b.nii.gz', 'a.nii.gz', 'tset')], dir=str(path))


@pytest.mark.parametrize('content, message', [
    ('fixed,movin\na,b\n', "pairs.csv: no column 'moving'"), ('fixed,moving\n', 'pairs.csv: no rows; expected pairs'),
    ('fixed,moving\na.nii.gz,\n', 'row 2: no moving image; expected both of a pair'),
    ('fixed,moving\na.nii.gz\n', 'row 2 has too few fields')])
def test_invalid_tables_are_refused(tmp_path, content, message):
    (tmp_path / 'pairs.csv').write_text(content)
    with pytest.raises(InputError, match=message):
        image_pairs_csv.source(table='pairs.csv', dir=str(tmp_path))


def test_invalid_points_are_refused(folder):
    path, *_ = folder
    (path / 'points.csv').write_text('x,y,z,to_x,to_y,to_z\n2,4,6,106,here,3\n')
    source = image_pairs_csv.source(table='pairs.csv', dir=str(path), classes=('a', 'b'))
    with pytest.raises(InputError, match=r"points\.csv: row 2: to_y: 'here'; expected a number of mm"):
        registration.dataset(source, size=(8, 8, 4))
