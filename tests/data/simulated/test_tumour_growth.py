"""Simulated patients: the same each time, tumours that grow where they can, new ones as often as was said."""

import numpy as np
import pytest

from medjax.data.simulated import tumour_growth
from medjax.data.simulated.tumour_growth import SITES, THRESHOLD
from medjax.errors import InputError

SMALL = dict(cases=(24, 4, 4), shape=(32, 32), spacing=5.0, template='synthetic')


@pytest.fixture(scope='module')
def made():
    return tumour_growth.source(**SMALL)


def test_tumours_grow_within_the_tissue(made):
    assert len(made.cases) == 32 and 'simulation' in made.notice
    for case in made.cases:
        scans, times = case.read(), case.target.times
        sizes = scans.masks.array.sum((0, 1, 2))
        assert len(times) == len(sizes) in (3, 4) and (np.diff(times) >= 40).all() and (np.diff(times) <= 120).all()
        assert sizes[0] >= 3 and (np.diff(sizes.astype(int)) >= 0).all() and sizes[-1] > sizes[0]
        assert (scans.tissue[scans.masks.array[..., -1] > 0] > 0).all()
        assert (scans.image.array[scans.sites == 0] == 0).all() and (scans.image.array[scans.sites > 0] > 0).all()
        assert np.isfinite(scans.image.array).all() and case.target.threshold == THRESHOLD


def test_new_tumours_are_where_there_was_none(made):
    new = 0
    for case in made.cases:
        scans = case.read()
        before, after = scans.masks.array[..., -2], scans.masks.array[..., -1]
        for site, came in enumerate(case.target.new, 1):
            there = scans.sites == site
            assert (came == -1) == bool(before[there].any())
            if came == 1:
                assert after[there].any()
            new += came == 1
    assert 2 <= new <= 30
    assert all(0 <= chance < 1 for case in made.cases for chance in case.target.chance)
    assert made.cases[0].target.sites == SITES


def test_patients_do_not_depend_on_other_patients(made):
    tumour_growth._patients.cache_clear()
    few = tumour_growth.source(**{**SMALL, 'cases': (2, 1, 1)})
    same = {case.id: case for case in made.cases}
    for case in few.cases:
        one, other = case.read(), same[case.id].read()
        np.testing.assert_array_equal(one.masks.array, other.masks.array)
        np.testing.assert_allclose(one.image.array, other.image.array, atol=1e-5)
        assert case.target == same[case.id].target
    other = tumour_growth.source(**{**SMALL, 'cases': (2, 1, 1), 'seed': 1})
    assert other.cases[0].target != few.cases[0].target


@pytest.mark.parametrize('options, match', [
    (dict(template='atlas'), "template: 'atlas'; expected one of: mni152, synthetic"),
    (dict(shape=(8, 32)), '16 or more'), (dict(spacing=0.0), '0.5 to 10 mm'),
    (dict(cases=(2, 0, 1)), 'numbers of training'), (dict(planes=(90, 60)), 'two planes')])
def test_invalid_options_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        tumour_growth.source(**{**SMALL, **options})
