"""Folders as data sets: how files are paired, how masks are meant, and in which line a wrong one is refused."""

import pathlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.io import geometry, image_files
from medjax.data.sources import segmentation_folder
from medjax.data.sources.segmentation_folder import source
from medjax.data.split_files import write_split
from medjax.data.splits import Splitting
from medjax.errors import InputError
from tests.data.samples import OBLIQUE, VOXELS, picture, slices, volume

CLASSES = ('background', 'organ', 'tumour')
LABEL = np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (7, 9)).astype(np.uint8)
COLOURS = {'background': (0, 0, 0), 'organ': (255, 0, 0), 'tumour': (0, 0, 255)}
PAINTED = np.array(list(COLOURS.values()), np.uint8)[LABEL]


@pytest.fixture
def root(tmp_path):
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    return tmp_path


def pictures(root, image=GREY, label=LABEL, names=('a',)):
    for name in names:
        picture(root / 'images' / f'{name}.png', image)
        picture(root / 'labels' / f'{name}.png', label)


def refused(call, *parts):
    with pytest.raises(InputError) as error:
        call()
    line = str(error.value)
    assert 'expected' in line and '\n' not in line, line
    for part in parts:
        assert str(part) in line
    return line


def read_one(root, **options):
    """The image and label arrays of the one case of a folder."""
    case, = source(**{'dir': str(root), 'classes': CLASSES, **options}).cases
    image, label = case.read()
    assert label.array.dtype == np.uint8 and label.array.ndim == 3
    return image, label.array[:, :, 0].T


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


# Labels.


@pytest.mark.parametrize('label, options', [
    (LABEL, {}), (np.stack([LABEL] * 3, -1), {}), (LABEL * 100, dict(label_values=(0, 100, 200))),
    (np.choose(LABEL, [7, 3, 5]).astype(np.uint8), dict(label_values=(7, 3, 5))),
    (LABEL.astype(np.uint16) * 20000, dict(label_values=(0, 20000, 40000))), (PAINTED, dict(colours=COLOURS)),
    (np.dstack([PAINTED, LABEL]), dict(colours=COLOURS)),  # with transparency, which is left out
], ids=['numbers', 'grey as colour', '0/100/200', 'values in another order', '16 bits', 'colours', 'transparency'])
def test_labels_as_numbers_values_and_colours(root, label, options):
    pictures(root, label=label)
    np.testing.assert_array_equal(read_one(root, **options)[1], LABEL)


@pytest.mark.parametrize('stored', ['1', '8'])
def test_a_mask_of_two_values(root, stored):
    mask = LABEL > 0
    pictures(root, label=mask if stored == '1' else mask * np.uint8(255))
    options = dict(classes=CLASSES[:2], **({} if stored == '1' else {'label_values': (0, 255)}))
    np.testing.assert_array_equal(read_one(root, **options)[1], mask)


def test_palettes_are_numbers_or_colours(root):
    pictures(root)
    painted = Picture.fromarray(LABEL, 'P')
    painted.putpalette([value for colour in COLOURS.values() for value in colour])
    painted.save(root / 'labels' / 'a.png')
    np.testing.assert_array_equal(read_one(root)[1], LABEL)
    swapped = {'background': (0, 0, 0), 'tumour': (255, 0, 0), 'organ': (0, 0, 255)}
    np.testing.assert_array_equal(read_one(root, colours=swapped)[1], np.array([0, 2, 1])[LABEL])


@pytest.mark.parametrize('label, options, found', [
    (LABEL * 100, {}, 'label value 100; expected whole numbers 0 to 2'),
    ((LABEL > 0) * np.uint8(255), dict(classes=CLASSES[:2]), 'label value 255; expected 0 and 1, or config.data'),
    (LABEL, dict(label_values=(0, 1, 7)), 'label value 2; expected one of (0, 1, 7)'),
    (PAINTED, {}, 'expected a label image [X, Y, Z]'),
    (PAINTED | np.uint8(3), dict(colours=COLOURS), 'is of no class; expected one of'),
], ids=['0/100/200', '0/255', 'unknown value', 'colours unasked', 'unknown colour'])
def test_labels_that_mean_no_class_are_refused(root, label, options, found):
    pictures(root, label=label)
    refused(lambda: read_one(root, **options), root / 'labels' / 'a.png', found)


def test_an_unknown_colour_is_named_with_its_place(root):
    painted = PAINTED.copy()
    painted[2, 5] = 1, 2, 3
    pictures(root, label=painted)
    refused(lambda: read_one(root, colours=COLOURS), 'colour [1, 2, 3] at (5, 2, 0) is of no class')


@pytest.mark.parametrize('options, key', [
    (dict(label_values=(0, 1)), 'label_values'), (dict(label_values=(0, 1, 1)), 'label_values'),
    (dict(spacing=(1.0,)), 'spacing'),
    (dict(spacing=(1.0, 0.0)), 'spacing'), (dict(spacing=(1.0, float('nan'))), 'spacing'),
    (dict(colours={'organ': (0, 0, 0)}), 'colours'), (dict(colours=COLOURS | {'organ': (0, 0, 0)}), 'colours'),
    (dict(colours=COLOURS | {'organ': (0, 0, 256)}), 'colours'), (dict(colours=COLOURS | {'organ': (0, 0)}), 'colours'),
    (dict(label_values=(0, 1, 2), colours=COLOURS), 'label_values'),
])
def test_invalid_options_are_refused(root, options, key):
    pictures(root)
    assert refused(lambda: source(dir=str(root), classes=CLASSES, **options)).startswith(f'config.data.source.{key}: ')


# Grids.


def test_labels_on_another_grid_are_refused_or_aligned(root):
    label = np.zeros((12, 10, 8), np.uint8)
    label[3:9, 2:7, 2:6] = 2
    image = np.zeros(label.shape, np.int16)
    affine = np.diag([-0.5, 0.5, 2.0, 1.0])
    image_files.write(root / 'images' / 'a.nii', image, affine)
    crop = affine.copy()
    crop[:3, 3] = affine[:3, :3] @ (2, 1, 1)
    image_files.write(root / 'labels' / 'a.nii', label[2:10, 1:8, 1:7], crop)
    line = refused(lambda: read_one(root), root / 'labels' / 'a.nii', '8×7×6 voxels', '12×10×8 voxels')
    assert line.count('axes LAS') == 2
    case, = source(dir=str(root), classes=CLASSES, align_labels=True).cases
    got, aligned = case.read()
    np.testing.assert_array_equal(aligned.array, label)
    np.testing.assert_array_equal(aligned.affine, got.affine)
    assert aligned.path == str(root / 'labels' / 'a.nii')


def test_a_label_of_finer_voxels_and_other_axes_is_aligned(root):
    ball = np.linalg.norm(np.indices((20, 20, 20)) - 9.5, axis=0) < 7
    image_files.write(root / 'images' / 'a.nii', np.zeros((10, 10, 10), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -0.5
    fine = geometry.Image(ball.astype(np.uint8), affine)
    turned = nib.orientations.axcodes2ornt('ILP')
    nib.save(nib.Nifti1Image(fine.array, fine.affine).as_reoriented(turned), root / 'labels' / 'a.nii')
    case, = source(dir=str(root), classes=CLASSES, align_labels=True).cases
    wanted = ball.reshape(10, 2, 10, 2, 10, 2).mean((1, 3, 5))
    got = case.read()[1].array
    assert got.shape == (10, 10, 10) and set(np.unique(got)) == {0, 1}
    np.testing.assert_array_equal(got[wanted == 1], 1)
    np.testing.assert_array_equal(got[wanted == 0], 0)


# Real files.


@pytest.fixture
def tumours():
    return dict(classes=('background', 'tumour'), images='tumours', labels='tumours', image_suffix='_image',
                label_suffix='_label')


@pytest.mark.public_data('tumours/lung1_image.nrrd')
def test_real_tumours(tumours):
    cases = {case.id: case for case in source(**tumours).cases}
    assert sorted(cases) == ['brain2', 'breast1', 'lung1']
    for name, shape, spacing, voxels in (('brain2', (256, 256, 23), (0.78125, 0.78125, 6.5), 453),
                                         ('breast1', (45, 120, 21), (0.6641, 0.6641, 2.1), 143),
                                         ('lung1', (512, 512, 48), (0.5703125, 0.5703125, 5.0), 837)):
        image, label = cases[name].read()
        assert image.array.shape == label.array.shape == shape and label.array.sum() == voxels
        assert geometry.spacing(image.affine) == pytest.approx(spacing, abs=1e-4)


@pytest.mark.public_data('tumours/lung1_image.nrrd')
def test_a_real_label_cut_out_of_its_image_is_aligned(tumours, tmp_path):
    case, = (case for case in source(**tumours).cases if case.id == 'brain2')
    image, label = case.read()
    low = [int(where.min()) for where in np.nonzero(label.array)]
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(label.array))
    affine = label.affine.copy()
    affine[:3, 3] = (label.affine @ [*low, 1])[:3]
    (tmp_path / 'labels').mkdir()
    image_files.write(tmp_path / 'labels' / 'brain2.nii.gz', label.array[box], affine)
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'brain2.nrrd').symlink_to(image.path)
    options = dict(dir=str(tmp_path), classes=tumours['classes'])
    refused(source(**options).cases[0].read, 'labels/brain2.nii.gz', '256×256×23 voxels')
    np.testing.assert_array_equal(source(**options, align_labels=True).cases[0].read()[1].array, label.array)


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


@pytest.mark.parametrize('orientation', [3, 6])
def test_a_mask_drawn_on_an_image_as_it_is_shown(root, orientation):
    """The image is stored turned, with a tag; a viewer shows GREY, and the mask is drawn on that."""
    stored = {3: GREY[::-1, ::-1], 6: np.rot90(GREY)}[orientation]
    exif = Picture.Exif()
    exif[0x112] = orientation
    Picture.fromarray(np.ascontiguousarray(stored)).save(root / 'images' / 'a.png', exif=exif)
    picture(root / 'labels' / 'a.png', LABEL)
    image, label = read_one(root)
    np.testing.assert_array_equal(image.array[:, :, 0].T, GREY)
    np.testing.assert_array_equal(label, LABEL)
    if orientation == 6:  # drawn on the pixels as stored
        picture(root / 'labels' / 'a.png', np.ascontiguousarray(np.rot90(LABEL)))
        refused(lambda: read_one(root), 'a.png: not on the grid of its image')
