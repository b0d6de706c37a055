"""Labels of a folder as a data set: what their values mean, and how they lie on the grids of their images."""


import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.io import geometry, image_files
from medjax.data.sources.segmentation_folder import source
from tests.data.samples import picture
from tests.data.sources.labelled_folders import CLASSES, COLOURS, GREY, LABEL, PAINTED, pictures, read_one, refused

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
