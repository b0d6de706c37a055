"""Labels become boxes: components by hand, in 2D images and volumes, and against scipy."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax import build
from medjax.data.sources import boxes_from_masks
from medjax.data.splits import Splitting
from medjax.errors import InputError


def test_components_touch_at_corners_and_are_separate_for_classes():
    label = np.zeros((6, 8), np.uint8)
    label[0, 0] = label[1, 1] = label[4, 2:5] = 1
    label[2, 2] = 2
    label[5, 7] = 255  # ignored
    found = boxes_from_masks.find_objects(label, 3)
    assert sorted(map(tuple, found.boxes.astype(int).tolist())) == [(0, 0, 2, 2), (2, 2, 3, 3), (4, 2, 5, 5)]
    assert found.labels.tolist() == [0, 0, 1]


def test_a_folder_of_pictures_and_masks(tmp_path):
    label = np.zeros((6, 8), np.uint8)
    label[1:3, 4:8] = 1
    for folder, array in (('images', np.full((6, 8), 9, np.uint8)), ('labels', label)):
        (tmp_path / folder).mkdir()
        Picture.fromarray(array).save(tmp_path / folder / 'a.png')
    section = dict(name='detection', size=(12, 16), cache=str(tmp_path / 'cache'), source=dict(
        name='boxes_from_masks', dir=str(tmp_path), classes=('background', 'cell'), val=0.0, test=0.0))
    data = build.dataset(section)
    assert data.source.classes == ('cell',)
    np.testing.assert_array_equal(data.source.cases[0].target.boxes, [[1, 4, 3, 8]])
    np.testing.assert_array_equal(data.truth(0)[0], [[2, 8, 6, 16]])
    section['source'] |= dict(labeles='masks')
    with pytest.raises(InputError, match='config.data.source.labeles: unknown key'):
        build.dataset(section)


def test_a_folder_of_volumes_and_masks(tmp_path):
    label = np.zeros((6, 8, 5), np.uint8)
    label[1:3, 4:8, 2:4] = 1
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(label, np.diag([-1.0, 1.0, 2.0, 1.0])), tmp_path / folder / 'a.nii.gz')
    found = boxes_from_masks.source(dir=str(tmp_path), classes=('background', 'lesion'),
                                    splitting=Splitting(val=0.0, test=0.0))
    np.testing.assert_array_equal(found.cases[0].target.boxes, [[1, 4, 2, 3, 8, 4]])
