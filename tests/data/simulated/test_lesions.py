"""Phantoms with the shapes of real tumours; the masks are written here."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from medjax.data.datasets import detection
from medjax.data.simulated import anomalies, lesions
from medjax.errors import InputError


@pytest.fixture(scope='module')
def masks(tmp_path_factory):
    """Three masks of slabs, thick slices apart, under the names of the tumours' files."""
    folder = tmp_path_factory.mktemp('tumours')
    for number, name in enumerate(('lung1', 'brain2', 'breast1')):
        array = np.zeros((6, 20, 20), np.uint8)
        array[1:5, 3:9 + number, 4:16] = 1
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.0, 3.0))
        sitk.WriteImage(image, str(folder / f'{name}_label.nrrd'))
    return folder


def test_every_lesion_fills_its_box_and_none_meets_another(masks):
    source = lesions.source(dir=str(masks), cases=(6, 2, 2), shape=(48, 48, 48), contrast=120.0)
    plain = lesions.source(dir=str(masks), cases=(6, 2, 2), shape=(48, 48, 48), contrast=0.0)
    assert sum(len(case.target.labels) for case in source.cases) > 5
    for case, without in zip(source.cases, plain.cases):
        boxes = case.target.boxes
        extent = boxes[:, 3:] - boxes[:, :3]
        assert (boxes[:, :3] >= 0).all() and (boxes[:, 3:] <= 48).all()
        assert (extent > 0).all() and (extent.max(-1, initial=0) <= 19).all()
        more = case.read()[0].array.astype(float) - without.read()[0].array
        for box in boxes.astype(int):
            inside = more[tuple(slice(a, b) for a, b in zip(box[:3], box[3:]))]
            # Each face of the box is met by the lesion, blurred by half a voxel.
            assert all(inside.max(tuple(a for a in range(3) if a != axis))[end] > 30
                       for axis in range(3) for end in (0, -1))


def test_the_same_phantoms_whenever_they_are_asked_for(masks, tmp_path):
    one, two = (lesions.source(dir=str(masks), cases=(2, 1, 1), shape=(40, 40, 40)) for _ in range(2))
    np.testing.assert_array_equal(one.cases[0].read()[0].array, two.cases[0].read()[0].array)
    data = detection.dataset(one, size=(40, 40, 40), objects=8, intensity=dict(name='zscore'), cache=str(tmp_path))
    assert data.counts == {'train': 2, 'val': 1, 'test': 1} and 'phantom' in data.notice
    np.testing.assert_array_equal(data.truth(0)[0], one.cases[0].target.boxes)


def test_a_phantom_too_small_or_without_masks_is_refused(masks, tmp_path):
    with pytest.raises(InputError, match=r'config\.data\.source\.shape: \(16, 16, 16\)'):
        lesions.source(dir=str(masks), shape=(16, 16, 16))
    (tmp_path / 'none').mkdir()
    with pytest.raises(InputError, match='lung1_label.nrrd|brain2_label.nrrd'):
        lesions.source(dir=str(tmp_path / 'none'), cases=(9, 0, 0))


def test_slices_with_a_lesion_differ_where_the_mask_says_so_alone(masks):
    source = anomalies.source(dir=str(masks), cases=(2, 1, 4))
    assert [case.target for case in source.cases] == [0, 0, 0, 0, 1, 0, 1]
    for case in source.cases:
        image, mask = case.read()
        again, _ = case.read()
        np.testing.assert_array_equal(image.array, again.array)
        assert image.array.shape == mask.array.shape == (192, 224, 1) and image.array.dtype == np.uint8
        assert mask.array.any() == bool(case.target)
        if case.target:
            # Most of a lesion is tissue: bright or dark, but no longer as what is around it.
            wide, narrow = (ndimage.binary_dilation(mask.array, iterations=n) for n in (6, 2))
            near = wide & ~narrow
            inside, around = (image.array[part & (image.array > 20)].mean() for part in (mask.array, near))
            assert abs(inside / around - 1) > 0.1
