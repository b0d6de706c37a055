"""Simulated pairs: corresponding points, reproducible draws, contrasts, and what is refused."""

import functools

import numpy as np
import pytest
from scipy import ndimage

from medjax.data.datasets import registration
from medjax.data.simulated import registration as simulated_registration
from medjax.errors import InputError

SMALL = dict(cases=(3, 1, 2), shape=(32, 40), spacing=5.0, template='synthetic', points=200)


@functools.cache
def pairs(**changes):
    return registration.dataset(simulated_registration.source(**{**SMALL, **changes}), size=(32, 40))


def test_the_known_deformation_maps_one_image_to_the_other():
    """The same tissue lies at both places of each point, but for borders; and not at the same place."""
    data = pairs()
    assert data.counts == {'train': 3, 'val': 1, 'test': 2} and data.spacing == (5, 5) and data.labelled
    for row in zip(*data.rows):
        fixed, moving, fixed_label, moving_label, points, targets, there = row
        assert fixed.min() == 0 and fixed.max() == 1 and there.all()
        at = [ndimage.map_coordinates(label, places.T, order=0, mode='nearest')
              for label, places in ((fixed_label, points), (moving_label, targets), (moving_label, points))]
        assert (at[0] == at[1]).mean() > 0.85 > (at[0] == at[2]).mean()
        assert 1 < np.linalg.norm(points - targets, axis=1).mean() < 4


def test_places_are_found_where_space_is_stretched():
    """To three times its size, where whole steps do not end."""
    x = np.broadcast_to(np.linspace(-4, 4, 33), (21, 33)).T
    field = np.stack([3 * np.tanh(x * 8 / 12), 0 * x])
    for ends in (np.array([[16.7, 18.0], [5.0, 7.5]]), np.array([[3.0, 28.0], [2.0, 2.0]])):
        y = simulated_registration._inverse_positions(4 * field, ends)
        there = y + np.stack([ndimage.map_coordinates(4 * part, y, order=1, mode='nearest') for part in field])
        np.testing.assert_allclose(there, ends, atol=1e-6)


def test_pairs_are_reproducible_and_differ_from_each_other():
    simulated_registration._cases.cache_clear()
    again = registration.dataset(simulated_registration.source(**SMALL), size=(32, 40))
    assert again.fingerprint == pairs().fingerprint
    assert len({row.tobytes() for row in again.rows.moving}) == 6
    first = registration.dataset(simulated_registration.source(**{**SMALL, 'cases': (2, 1, 1)}), size=(32, 40))
    np.testing.assert_array_equal(first.rows.fixed[:2], again.rows.fixed[:2])  # however many there are


def test_a_contrast_may_be_inverted():
    source = simulated_registration.source(**{**SMALL, 'cases': (1, 1, 1), 'invert_contrast': True})
    data = registration.dataset(source, size=(32, 40))
    rows = data.rows
    means = [[image[0, ..., 0][label[0] == k].mean() for k in (1, 3)] for image, label in (
        (rows.fixed, rows.fixed_label), (rows.moving, rows.moving_label))]
    assert means[0][0] < means[0][1] and means[1][0] > means[1][1]


@pytest.mark.parametrize('change, message', [
    (dict(template='colin'), r"config\.data\.source\.template: 'colin'; expected one of: mni152, synthetic"),
    (dict(shape=(8, 8)), r'config\.data\.source: shape=\(8, 8\)'),
    (dict(planes=((50, 90), (80, 96), (102, 116))), r'config\.data\.source\.planes: .*; expected three slabs'),
    (dict(deformation_scale=0), r'deformation_scale=0; expected'),
])
def test_options_out_of_their_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        simulated_registration.source(**{**SMALL, **change})
