"""Folders as data sets: how files are paired, split and read, and in which line a wrong one is refused."""

import pathlib

import numpy as np
import pytest

from medjax.data.io import geometry
from medjax.data.sources import segmentation_folder
from medjax.data.sources.segmentation_folder import source
from medjax.data.split_files import write_split
from medjax.data.splits import Splitting
from medjax.errors import InputError
from tests.data.io.test_dicom_segmentation import segmentation
from tests.data.samples import OBLIQUE, ORIGIN, SPACING, UIDS, VOXELS, multi_frame, picture, slices, volume
from tests.data.sources.labelled_folders import CLASSES, GREY, LABEL, PAINTED, pictures, read_one, refused

# Pairs.


def test_pairs_by_name_with_any_suffix(root):
    for name, one, other in (('a', '.nii', '.nii.gz'), ('b', '.nrrd', '.mha'), ('c.1', '.mha', '.nrrd')):
        volume(root / 'images' / f'{name}{one}')
        volume(root / 'labels' / f'{name}{other}', (VOXELS > 0).astype(np.uint8))
    for name in ('.hidden.nii', 'notes.txt'):
        (root / 'images' / name).write_text('')
    found = source(dir=str(root), classes=CLASSES)
    assert [case.id for case in found.cases] == [case.patient for case in found.cases] == ['a', 'b', 'c.1']
    for case in found.cases:
        image, label = case.read()
        np.testing.assert_array_equal(image.array, VOXELS)
        np.testing.assert_array_equal(label.array, VOXELS > 0)
        assert case.files == (image.path, label.path)
        assert pathlib.Path(image.path).parent.name == 'images' and pathlib.Path(label.path).parent.name == 'labels'


@pytest.mark.parametrize('image_suffix, label_suffix', [('_image', '_label'), ('', '_mask'), ('_0000', '')])
def test_pairs_by_suffix_in_one_folder(tmp_path, image_suffix, label_suffix):
    for name in ('a', 'b_1'):
        picture(tmp_path / f'{name}{image_suffix}.png', GREY)
        picture(tmp_path / f'{name}{label_suffix}.tif', LABEL)
    found = source(dir=str(tmp_path), classes=CLASSES, images='.', labels='.', image_suffix=image_suffix,
                   label_suffix=label_suffix)
    assert [case.id for case in found.cases] == ['a', 'b_1']
    for case in found.cases:
        image, label = case.read()
        np.testing.assert_array_equal(image.array[:, :, 0].T, GREY)
        np.testing.assert_array_equal(label.array[:, :, 0].T, LABEL)


def test_patients_by_the_names_of_cases(tmp_path):
    for name in ('ann_1', 'ann_2', 'bob_1'):
        picture(tmp_path / f'{name}_image.png', GREY)
        picture(tmp_path / f'{name}.png', LABEL)
    options = dict(dir=str(tmp_path), classes=CLASSES, images='.', labels='.', image_suffix='_image')
    found = source(**options, patient_regex='^([a-z]+)_')
    assert [case.patient for case in found.cases] == ['ann', 'ann', 'bob'] and found.analysis_unit == 'patient'
    assert len({case.split for case in found.cases if case.patient == 'ann'}) == 1 and 'not known' not in found.notice
    refused(lambda: source(**options, patient_regex='^([0-9]+)'), 'patient_regex', 'expected one')


def table(root, *lines):
    (root / 'cases.csv').write_text('\n'.join(lines) + '\n')
    return {'dir': str(root), 'classes': CLASSES, 'table': 'cases.csv'}


def test_pairs_by_table(root):
    for name in ('x', 'y', 'z', 'w'):
        picture(root / 'images' / f'{name}.png', GREY)
    picture(root / 'labels' / 'm.png', LABEL)
    options = table(root, 'id,image,label,patient,split,sex', 'a,images/x.png,labels/m.png,p1 ,train ,f',
                    'b,images/y.png,labels/m.png,p1,,f', 'c,images/z.png,labels/m.png,p2,test,',
                    'd,images/w.png,labels/m.png,,val,m')
    cases = source(**options).cases
    assert [(case.id, case.patient, case.split, dict(case.columns)) for case in cases] == [
        ('a', 'p1', 'train', {'sex': 'f'}), ('b', 'p1', 'train', {'sex': 'f'}), ('c', 'p2', 'test', {'sex': ''}),
        ('d', 'd', 'val', {'sex': 'm'})]
    np.testing.assert_array_equal(cases[0].read()[1].array[:, :, 0].T, LABEL)


def test_dicom_images_and_segmentations_without_their_empty_slices(root):
    label = np.zeros((6, 5, 7), np.uint8)
    label[2:4, 1, [1, 2, 4]], label[0, 0, 2] = 1, 2
    places = ORIGIN + np.arange(7)[:, None] * SPACING[2] * np.array([0.0, 0.0, 1.0])
    image = np.concatenate([VOXELS, VOXELS[:, :, :3]], 2)
    frames = [(place, segment, label[:, :, place] == segment) for segment, found in ((1, (4, 2, 1)), (2, (2,)))
              for place in found]
    for name, uid, shown in (('a', f'{UIDS}1', frames), ('b', f'{UIDS}2', frames[-1:]), ('c', f'{UIDS}3', frames)):
        multi_frame(root / 'images' / f'{name}.dcm', places, image, SeriesInstanceUID=uid,
                    PatientID='MRN2' if name == 'c' else 'MRN1')
        segmentation(root / 'labels' / f'{name}.dcm', shown, SeriesInstanceUID=uid)
    found = source(dir=str(root), classes=CLASSES)
    assert [case.patient for case in found.cases] == ['a', 'a', 'c'] and 'PatientID' in found.warnings[0]
    got, mask = found.cases[0].read()
    np.testing.assert_array_equal(got.array, image)
    np.testing.assert_array_equal(mask.array, label)
    np.testing.assert_array_equal(found.cases[1].read()[1].array, np.where(label == 2, 2, 0))  # of one slice
    (root / 'images' / 'c.dcm').unlink()
    (root / 'labels' / 'c.dcm').unlink()
    refused(lambda: source(dir=str(root), classes=CLASSES), '2 DICOM files with one PatientID')
    for shift in (0.3, 3):  # between the slices, and beyond the last
        segmentation(root / 'labels' / 'a.dcm', [(place + shift, *rest) for place, *rest in frames])
        refused(found.cases[0].read, 'not on the grid of its image')


def test_a_series_and_its_label_by_table(root):
    slices(root / 'ct', array=VOXELS)
    volume(root / 'ct.nrrd', (VOXELS > 0).astype(np.uint8))
    found = source(**table(root, 'id,image,label', 'd,ct,ct.nrrd'))
    image, label = found.cases[0].read()
    assert found.grid == 'volume'
    np.testing.assert_array_equal(image.array, VOXELS)  # a folder with a DICOM series
    np.testing.assert_array_equal(label.array, VOXELS > 0)


@pytest.mark.parametrize('spacing, grid', [(None, 'pixels'), ((0.5, 0.4), 'picture')])
def test_2d_images_have_pixels_of_a_known_or_an_unknown_size(root, spacing, grid):
    pictures(root)
    assert source(dir=str(root), classes=CLASSES, spacing=spacing).grid == grid


def test_2d_images_without_a_pixel_size_among_volumes_are_refused(root):
    pictures(root)
    slices(root / 'ct', array=VOXELS)
    volume(root / 'ct.nrrd', (VOXELS > 0).astype(np.uint8))
    with pytest.raises(InputError, match=r'a\.png: a 2D image without a pixel size, beside the volume .*ct; expected'):
        source(**table(root, 'id,image,label', 'a,images/a.png,labels/a.png', 'd,ct,ct.nrrd'))


def test_a_table_as_spreadsheets_write_it(root):
    pictures(root)
    text = '\ufeffid,image,label,site\r\na,images/a.png,labels/a.png,"Köln, Süd"\r\n'
    (root / 'cases.csv').write_bytes(text.encode())
    case, = source(dir=str(root), classes=CLASSES, table='cases.csv').cases
    assert case.columns == {'site': 'Köln, Süd'}


@pytest.mark.parametrize('lines, found', [
    (['id,image', 'a,images/a.png'], "no column 'label'"),
    (['image,label', 'images/a.png,labels/a.png'], "no column 'id'"),
    ([''], "no column 'id'"),
    (['id,image,label'], 'no rows'),
    (['id,image,label,Patient', 'a,images/a.png,labels/a.png,p'], "column 'Patient'; expected 'patient'"),
    (['id,image,label,Split', 'a,images/a.png,labels/a.png,test'], "column 'Split'; expected 'split'"),
    (['id,image,label', 'a,images/a.png'], 'row 2 has too few fields; expected 3'),
    (['id,image,label', 'a,images/a.png,labels/a.png,1'], 'row 2 has too many fields; expected 3'),
    (['id,image,label', 'a,images/a.png,labels/b.png'], "row 2: label 'labels/b.png' does not exist"),
    (['id,image,label', 'a,,labels/a.png'], "row 2: image '' does not exist"),
    (['id,image,label', f'a,{"a" * 5000},labels/a.png'], 'row 2: image'),
    (['id,image,label', *['a,images/a.png,labels/a.png'] * 2], "row 3: id 'a' is that of row 2"),
    (['id,image,label', '"a,images/a.png,labels/a.png'], 'not a CSV table in UTF-8'),
    (['id,image,label,split', 'a,images/a.png,labels/a.png,training'], "split 'training'; expected one of: train, val"),
    (['id,image,label,patient,split', 'a,images/a.png,labels/a.png,p,train', 'b,images/a.png,labels/a.png,p,test'],
     "patient 'p' is in 'test' and in 'train'"),
])
def test_invalid_tables_are_refused(root, lines, found):
    pictures(root)
    options = table(root, *lines)
    refused(lambda: source(**options), root / 'cases.csv', found)


def test_a_file_that_is_no_table_is_refused(root):
    refused(lambda: source(dir=str(root), classes=CLASSES, table='none.csv'), root / 'none.csv', 'cannot be read')
    (root / 'latin.csv').write_bytes('id,image,label\nä,b,c\n'.encode('latin-1'))
    refused(lambda: source(dir=str(root), classes=CLASSES, table='latin.csv'), root / 'latin.csv', 'UTF-8')


def test_folders_that_do_not_pair_are_refused(root):
    def call(**options):
        return lambda: source(**{'dir': str(root), 'classes': CLASSES, **options})
    refused(call(), root / 'images', 'no image whose name ends in')
    refused(call(images='none'), root / 'none', 'no such folder')
    refused(call(labels='images'), 'images and labels are both', 'image_suffix')
    pictures(root)
    picture(root / 'images' / 'b.png', GREY)
    refused(call(), root / 'images' / 'b.png', "expected the case id 'b' there as well")
    picture(root / 'labels' / 'b.png', GREY)
    picture(root / 'labels' / 'c.png', GREY)
    refused(call(), root / 'labels' / 'c.png', "expected the case id 'c' there as well")
    picture(root / 'images' / 'c.png', GREY)
    picture(root / 'images' / 'c.tif', GREY)
    refused(call(), root / 'images' / 'c.tif', "case id 'c' is also that of c.png")
    refused(call(image_suffix='_t1'), root / 'images', "ends in '_t1'")


# Splits.


def test_splits_are_named_kept_or_drawn(root):
    names = tuple('abcdefghij')
    pictures(root, names=names)
    drawn = {case.id: case.split for case in source(dir=str(root), classes=CLASSES).cases}
    assert sorted(drawn.values()).count('train') == 6 and set(drawn.values()) == {'train', 'val', 'test'}

    def cases_of(**options):
        return source(dir=str(root), classes=CLASSES, splitting=Splitting(**options)).cases

    write_split(root / 'splits.json', cases_of(split_seed=1))
    kept = {case.id: case.split for case in cases_of(split_file='splits.json')}
    assert kept == {case.id: case.split for case in cases_of(split_seed=1)} != drawn
    named = {case.id: case.split for case in cases_of(split_file='splits.json', splits={'a': 'test', 'b': 'val'})}
    assert named == kept | {'a': 'test', 'b': 'val'}
    pictures(root, names=('new',))
    refused(lambda: cases_of(split_file='splits.json'), root / 'splits.json',
            "no patient 'new'")


@pytest.mark.parametrize('splits, found', [
    ({'z': 'val'}, "splits: no patient 'z'"), ({'a': 'valid'}, "splits: split 'valid'; expected one of: train, val")])
def test_named_splits_that_make_no_sense_are_refused(root, splits, found):
    pictures(root)
    refused(lambda: source(dir=str(root), classes=CLASSES, splitting=Splitting(splits=splits)),
            'config.data.source.' + found)


# Images.


def test_grey_stored_as_colour_is_one_channel(root):
    pictures(root, np.stack([GREY] * 3, -1))
    image, _ = read_one(root)
    np.testing.assert_array_equal(image.array[:, :, 0].T, GREY)


def test_colour_has_three_channels(root):
    pictures(root, PAINTED)
    image, _ = read_one(root, channels=('red', 'green', 'blue'))
    np.testing.assert_array_equal(image.array[:, :, 0].swapaxes(0, 1), PAINTED)
    refused(lambda: read_one(root), root / 'images' / 'a.png', '9×7×1×3 voxels', 'expected 1 channel (image)')


def test_one_channel_is_not_expanded_to_three(root):
    pictures(root)
    refused(lambda: read_one(root, channels=('red', 'green', 'blue')), root / 'images' / 'a.png',
            'expected 3 channels (red, green, blue)')


def test_sixteen_bits_are_kept(root):
    deep = GREY.astype(np.uint16) * 257
    pictures(root, deep, LABEL.astype(np.uint16))
    image, label = read_one(root)
    np.testing.assert_array_equal(image.array[:, :, 0].T, deep)
    np.testing.assert_array_equal(label, LABEL)


def test_nan_is_refused(root):
    array = VOXELS.astype(np.float32)
    array[0, 0, 1] = np.nan
    volume(root / 'images' / 'a.nii', array)
    volume(root / 'labels' / 'a.nii', (VOXELS > 0).astype(np.uint8))
    refused(lambda: read_one(root), root / 'images' / 'a.nii', '1 voxels are NaN or infinite, the first at (0, 0, 1)')


def test_spacing_is_that_of_pictures_only(root):
    pictures(root)
    image, _ = read_one(root, spacing=(0.5, 0.25))
    assert geometry.spacing(image.affine) == (0.5, 0.25, 1.0)
    volume(root / 'images' / 'b.nii')
    volume(root / 'labels' / 'b.nii', (VOXELS > 0).astype(np.uint8))
    _, case = source(dir=str(root), classes=CLASSES, spacing=(0.5, 0.25)).cases
    np.testing.assert_allclose(case.read()[0].affine, OBLIQUE, atol=1e-5)


def test_new_images_are_read_as_the_cases_are(root):
    pictures(root, np.stack([GREY] * 3, -1))
    read = segmentation_folder.image_reader(classes=CLASSES, spacing=(2.0, 3.0), dir='none', val=0.5)
    image, _ = read_one(root, spacing=(2.0, 3.0))
    np.testing.assert_array_equal(read(root / 'images' / 'a.png').array, image.array)
    np.testing.assert_array_equal(read(root / 'images' / 'a.png').affine, image.affine)


# What is left out.


def test_other_files_and_subfolders_are_counted(root):
    pictures(root)
    (root / 'images' / 'notes.txt').write_text('')
    (root / 'labels' / 'old').mkdir()
    assert source(dir=str(root), classes=CLASSES).warnings == (
        'Left out of images, not images with the ending of their folder: 1 (notes.txt).',
        'Left out of labels, not images with the ending of their folder: 1 (old/).')


def test_images_of_neither_ending_are_counted(tmp_path):
    for name, array in (('a_image', GREY), ('a_mask', LABEL), ('b_imgae', GREY), ('b_msak', LABEL)):
        picture(tmp_path / f'{name}.png', array)
    found = source(dir=str(tmp_path), classes=CLASSES, images='.', labels='.', image_suffix='_image',
                   label_suffix='_mask')
    assert [case.id for case in found.cases] == ['a'] and len(found.warnings) == 1
    assert found.warnings[0].endswith('2 (b_imgae.png, b_msak.png).')


def test_the_folder_of_labels_within_that_of_images_is_not_left_out(tmp_path):
    (tmp_path / 'labels').mkdir()
    picture(tmp_path / 'a.png', GREY)
    picture(tmp_path / 'labels' / 'a.png', LABEL)
    assert source(dir=str(tmp_path), classes=CLASSES, images='.').warnings == ()


def test_pairs_of_links_to_nothing_are_refused(root):
    pictures(root)
    for name in ('images', 'labels'):
        (root / name / 'b.png').symlink_to('gone')
    refused(lambda: source(dir=str(root), classes=CLASSES), 'images: 1 link to a file that does not exist (b.png)')


def test_one_image_of_two_patients_is_refused(root):
    pictures(root)
    picture(root / 'labels' / 'b.png', LABEL)
    options = table(root, 'id,image,label,patient', 'r1,images/a.png,labels/a.png,p', 'r2,images/a.png,labels/b.png,p')
    assert [case.patient for case in source(**options).cases] == ['p', 'p']  # two readers
    options = table(root, 'id,image,label', 'r1,images/a.png,labels/a.png', 'r2,images/./a.png,labels/b.png')
    refused(lambda: source(**options), root / 'cases.csv', "row 3: ", "is of patient 'r2', and of 'r1' in row 2")
