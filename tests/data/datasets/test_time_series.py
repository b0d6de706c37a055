"""Time series: padding and scales by hand, what is refused, and the same examples on the device."""

import numpy as np
import pytest

from medjax.data.datasets import time_series
from medjax.data.simulated import visits
from medjax.errors import InputError
from tests.data.sources.test_visits_csv import TABLE, read
from tests.metrics.ipcw import horizon_weights


def test_padding_and_scales_by_the_training_patients(tmp_path):
    data = time_series.dataset(read(tmp_path), max_visits=3)
    seen = data.network_inputs(np.arange(3))  # a, b, c are in the order in which they first occur: b, a, c
    values = np.array([1, 4])  # of a and c, who train; b's are 2 and 8
    np.testing.assert_allclose(seen['values'][..., 0], (np.array([[2, 8, 2.5], [1, 2.5, 2.5], [4, 2.5, 2.5]])
                                                        - values.mean()) / values.std(), atol=1e-6)
    np.testing.assert_array_equal(seen['observed'][..., 0], [[1, 1, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(seen['time_mask'], [[1, 1, 0], [1, 1, 0], [1, 0, 0]])
    clock = np.std([0, 1, 0])
    np.testing.assert_allclose(seen['times'], np.array([[0, 1.5, 0], [0, 1, 0], [0, 0, 0]]) / clock, rtol=1e-6)
    assert 'Training series of one visit: 1 of 2.' in data.warnings
    assert any(line.startswith('Missing at visits: bili (33%)') for line in data.warnings)


def test_a_value_without_measurements_is_named(tmp_path):
    data = time_series.dataset(read(tmp_path, TABLE.replace('1,1,m', '1,,m').replace('4,2,f', '4,,f')
                                    .replace('NA,1,m', 'NA,,m')))
    assert 'Never measured in training patients, and therefore of no use: stage.' in data.warnings
    assert not data.network_inputs(np.arange(3))['values'][1:, :, 1].any()


def test_a_constant_value_has_the_scale_of_one(tmp_path):
    data = time_series.dataset(read(tmp_path, TABLE.replace(',1,m', ',0.1,m').replace(',2,f', ',0.1,f')))
    assert data.spread['std'][1] == 1 and 'The same at all training visits, and therefore of no use: stage.' in (
        data.warnings)


def test_no_event_in_training_and_series_that_are_too_long(tmp_path):
    with pytest.raises(InputError, match=r'config\.data\.source: no event among the 2 training patients'):
        time_series.dataset(read(tmp_path, TABLE.replace('0.9,1', '0.9,0')))
    with pytest.raises(InputError, match=r'config\.data\.max_visits: 1; expected at least 2, the visits of b'):
        time_series.dataset(read(tmp_path), max_visits=1)
    with pytest.raises(InputError, match=r'config\.data\.times: \(2\.0, 1\.0\); expected increasing numbers above 0'):
        time_series.dataset(read(tmp_path), times=(2, 1))


def test_host_and_device_have_the_same_items():
    data = time_series.dataset(visits.source(cases=(20, 5, 5)))
    kept = data.resident()
    arrays, number = kept.load(), 7
    item = data.item(number, np.random.default_rng(0))
    assert item.pop('id') == 'train0007' and kept.size == sum(array.nbytes for array in arrays.values())
    for name, value in kept.pick(arrays, kept.place(number, None)).items():
        np.testing.assert_array_equal(value, item[name])


def test_the_probability_of_being_censored_is_that_of_the_training_visits():
    data = time_series.dataset(visits.source(cases=(40, 5, 5)), horizon=3.0)
    found = data.statistics['censoring']
    outcomes = [(max(one.target.time - float(time), 0.0), one.target.event > 0)
                for one in data.source.cases if one.split == 'train' for time in one.series.times - one.series.times[0]]
    gap, ended = np.array(outcomes).T
    want = horizon_weights(gap, ended, 3.0)
    times, inverse = np.array(found['times']), np.array(found['inverse'])
    assert (np.diff(times) > 0).all() and times[0] == 0 and times[-1] == 3.0 and inverse[0] == 1.0
    at_horizon = inverse[-1]
    before = inverse[np.maximum(np.searchsorted(times, gap, 'left') - 1, 0)]
    got = np.where(gap > 3.0, at_horizon, np.where(ended > 0, before, 0))
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert 'censoring' not in time_series.dataset(visits.source(cases=(40, 5, 5))).statistics
