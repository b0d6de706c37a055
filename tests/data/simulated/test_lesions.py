"""Simulated volumes with the shapes of real tumours, whose masks are written here."""

import numpy as np
import pytest

from medjax.data.datasets import detection
from medjax.data.simulated import lesions
from medjax.errors import InputError
from tests.data import samples


@pytest.fixture(scope='module')
def masks(tmp_path_factory):
    return samples.tumour_masks(tmp_path_factory.mktemp('tumours'))


def test_every_lesion_fills_its_box_and_none_touches_another(masks):
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


def test_volumes_are_reproducible(masks, tmp_path):
    one, two = (lesions.source(dir=str(masks), cases=(2, 1, 1), shape=(40, 40, 40)) for _ in range(2))
    np.testing.assert_array_equal(one.cases[0].read()[0].array, two.cases[0].read()[0].array)
    data = detection.dataset(one, size=(40, 40, 40), max_objects=8, intensity=dict(name='zscore'), cache=str(tmp_path))
    assert data.counts == {'train': 2, 'val': 1, 'test': 1} and 'Simulated' in data.notice
    np.testing.assert_array_equal(data.truth(0)[0], one.cases[0].target.boxes)


def test_a_shape_too_small_and_missing_masks_are_refused(masks, tmp_path):
    with pytest.raises(InputError, match=r'config\.data\.source\.shape: \(16, 16, 16\)'):
        lesions.source(dir=str(masks), shape=(16, 16, 16))
    (tmp_path / 'none').mkdir()
    with pytest.raises(InputError, match='lung1_label.nrrd|brain2_label.nrrd'):
        lesions.source(dir=str(tmp_path / 'none'), cases=(9, 0, 0))
