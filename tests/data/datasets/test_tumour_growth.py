"""Series of scans as arrays: inputs and targets by hand, and refused series."""

import dataclasses

import jax
import numpy as np
import pytest

from medjax.data.datasets import tumour_growth, tumour_visits
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from tests.data import growing_squares


@pytest.fixture(scope='module')
def data():
    return tumour_growth.dataset(growing_squares.source(), size=(12, 12))


def test_visits_times_and_volumes(data):
    rows = data.rows
    assert rows.image.shape == (4, 3, 12, 12, 3) and data.counts == {'train': 2, 'val': 1, 'test': 1}
    np.testing.assert_array_equal(rows.time, [[0, -30, 0], [-50, -30, 0], [0, -30, 0], [0, -30, 0]])
    np.testing.assert_array_equal(rows.time_mask, [[0, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1]])
    np.testing.assert_allclose(rows.horizon, [60, 50, 60, 60])
    assert data.voxel == pytest.approx(0.02)
    np.testing.assert_allclose(rows.volume[:2], [[0, 4 * 0.02, 16 * 0.02], [4 * 0.02, 4 * 0.02, 16 * 0.02]], rtol=1e-6)
    np.testing.assert_array_equal(rows.label.reshape(4, -1).sum(1), 36)
    np.testing.assert_array_equal(rows.new, [[-1, 0], [0, 1], [-1, 0], [1, 0]])
    assert data.numbers('test').tolist() == [3] and len(data) == 2


def test_channels(data):
    image, mask, far = np.moveaxis(data.rows.image[0, 2], -1, 0)
    assert (image[[0, -1]] == 0).all()  # what was least in the image
    assert abs(image[1:-1].mean()) < 1e-5 and image[1:-1].std() == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(mask, growing_squares.square(4)[..., 0])
    # 2 mm a voxel, the border between voxels 3 and 4; in cm.
    np.testing.assert_allclose(far[:6, 6], [0.7, 0.5, 0.3, 0.1, -0.1, -0.3], rtol=1e-5)
    assert (data.rows.image[0, 0] == 0).all()  # no visit
    alone = tumour_growth.dataset(growing_squares.source(), size=(12, 12), inputs=('mask',))
    np.testing.assert_array_equal(alone.rows.image[..., 0], data.rows.image[..., 1])


def test_larger_scans_are_cut_about_the_last_mask_that_is_seen_and_smaller_ones_filled():
    part = tumour_growth.dataset(growing_squares.source(growing_squares.case('a', middle=(3, 8))), size=(8, 8))
    np.testing.assert_array_equal(np.argwhere(part.rows.masks[0, -1]).min(0), [1, 2])  # as far left as there is room
    assert part.warnings == [] and part.rows.label[0].sum() == 36
    lost = tumour_growth.dataset(growing_squares.source(growing_squares.case('a', sides=(2, 4, 10))), size=(8, 8))
    assert lost.rows.label[0].sum() == 64 and "cropped at the border" in lost.notice and '1 (a)' in lost.notice
    filled = tumour_growth.dataset(growing_squares.source(growing_squares.case('a')), size=(16, 16))
    assert filled.rows.sites[0, 0, 0] == 0 and filled.rows.label[0].sum() == 36
    assert np.argwhere(filled.rows.label[0]).min(0).tolist() == [5, 5]


def test_resampled():
    fine = tumour_growth.dataset(growing_squares.source(), size=(24, 24), spacing=(1, 1, 5))
    np.testing.assert_array_equal(fine.rows.label.reshape(4, -1).sum(1), 144)
    assert fine.voxel == pytest.approx(0.005) and fine.rows.volume[0, 2] == pytest.approx(16 * 0.02)


def test_curves_are_of_the_volumes_that_are_seen(data):
    curve = data.curves('exponential')
    np.testing.assert_allclose(curve.rate, [np.log(4) / 30] + [curve.rate[1]] + [np.log(4) / 30] * 2, rtol=1e-4)
    np.testing.assert_allclose(curve.start[[0, 2, 3]], 16 * 0.02, rtol=1e-4)
    other = growing_squares.source(*[dataclasses.replace(case, read=lambda c=case: changed(c.read()))
                                     if case.split != 'train' else case for case in growing_squares.source().cases])
    other = tumour_growth.dataset(other, size=(12, 12))
    assert other.rows.label[2].all() and other.capacity('gompertz') == data.capacity('gompertz')  # of those who train


def changed(found):
    masks = found.masks.array.copy()
    masks[..., -1] = 1
    return found._replace(masks=dataclasses.replace(found.masks, array=masks))


def test_items_on_the_device_are_those_that_are_read(data):
    resident = data.resident()
    arrays = resident.load()
    for number in range(2):
        item = data.item(number, np.random.default_rng(0))
        picked = jax.jit(resident.pick)(arrays, np.array(resident.place(number, None), np.int32))
        assert item.pop('id') == ('a', 'bb')[number] and set(picked) == set(item)
        for name, value in item.items():
            np.testing.assert_allclose(picked[name], value, rtol=1e-6)
    assert resident.size == sum(array.nbytes for array in arrays.values())


def test_the_fingerprint_depends_on_the_data(data):
    same = tumour_growth.dataset(growing_squares.source(), size=(12, 12))
    later = [growing_squares.case('a', times=(0, 30, 91)), *growing_squares.source().cases[1:]]
    other = tumour_growth.dataset(growing_squares.source(*later), size=(12, 12))
    assert same.fingerprint == data.fingerprint != other.fingerprint


def test_patients_without_cases_have_a_warning():
    data = tumour_growth.dataset(growing_squares.source(growing_squares.case('a', sides=(4, 2, 0))), size=(12, 12))
    assert data.warnings == ['No tumour is left at the visit that is to be predicted: 1 (a).']


@pytest.mark.parametrize('cases, options, match', [
    ([growing_squares.case('a', times=(0, 30, 30))], {}, 'a: visits at 0, 30, 30; expected increasing times'),
    ([growing_squares.case('a', times=(0, 30), sides=(2, 4))], {}, 'a: 2 visits; expected two or more, and the one'),
    ([growing_squares.case('a', times=(0, 3, 30, 31))], {}, r'expected \[X, Y, Z, 4, C\]'),
    ([growing_squares.case('a', 'val')], {}, 'no training case'),
    ([growing_squares.case('a'), growing_squares.case('bb', spacing=3.0)], {},
     'bb: voxels of .* set config.data.spacing'),
    ([growing_squares.case('a')], dict(inputs=('pet',)), 'config.data.inputs'),
    ([growing_squares.case('a')], dict(size=(12,)), 'config.data.size'),
    ([growing_squares.case('a')], dict(size=(12, 12, 12)), '1 slices; expected config.data.size of two numbers'),
    ([growing_squares.case('a'), growing_squares.case('bb', new=(0, 0, 0))], {}, 'bb: sites'),
])
def test_invalid_series_are_refused(cases, options, match):
    with pytest.raises(InputError, match=match):
        tumour_growth.dataset(growing_squares.source(*cases), **{'size': (12, 12), **options})


def test_nan_is_refused():
    case = growing_squares.case('a')
    found = case.read()
    found.image.array[3, 3] = np.nan
    with pytest.raises(InputError, match='a: values that are NaN'):
        tumour_growth.dataset(growing_squares.source(case), size=(12, 12))


def test_volumes_are_prepared_as_images():
    masks = np.zeros((8, 8, 8, 3), np.uint8)
    for visit, side in enumerate((2, 3, 4)):
        masks[2:2 + side, 2:2 + side, 2:2 + side, visit] = 1
    whole = tumour_visits.Scans(Image(masks[..., None].astype(np.float32), np.eye(4)), Image(masks, np.eye(4)))
    case = dataclasses.replace(growing_squares.case('a', sites=False), read=lambda: whole)
    data = tumour_growth.dataset(growing_squares.source(case), size=(8, 8, 8))
    assert data.rows.image.shape == (1, 2, 8, 8, 8, 3) and data.rows.label.sum() == 64 and data.rows.tissue is None
    np.testing.assert_allclose(data.rows.volume, [[0.008, 0.027]], rtol=1e-6)
