"""Patients over time: what is known at a time, by hand; padding and scales; what is refused, by file and row."""

import math

import numpy as np
import pytest

from medjax.data.datasets import time_series
from medjax.data.simulated import visits
from medjax.data.sources import visits_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError

TABLE = '''id,year,bili,stage,sex,end,dead,split
b,2.0,8,2,f,4.5,1,test
a,0,1,1,m,3,0,train
b,0.5,2,,f,4.5,1,test
a,1,NA,1,m,3,0,train
c,0,4,2,f,0.9,1,train
'''
KEYS = dict(table='t.csv', time='year', event='dead', events=('death',), values=('bili', 'stage'), static=('sex',))


def read(folder, text=TABLE, **options):
    (folder / 't.csv').write_text(text)
    splitting = Splitting(val=0.0, test=0.34, splits={'a': 'train', 'b': 'test', 'c': 'train'})
    return visits_csv.source(**{**KEYS, 'dir': str(folder), 'splitting': splitting, **options})


def test_series_are_put_in_order(tmp_path):
    found = {case.id: case for case in read(tmp_path, log=('bili',)).cases}
    np.testing.assert_array_equal(found['b'].series.times, [0.5, 2.0])
    np.testing.assert_allclose(found['b'].series.values, [[math.log(2), math.nan], [math.log(8), 2]])
    assert found['b'].target.time == 4.0 and found['b'].target.event == 1 and found['a'].target.event == 0  # 4.5 − 0.5
    assert found['a'].record == {'sex=m': 1.0} and found['b'].split == 'test'


def test_days_as_years(tmp_path):
    source = read(tmp_path, per=2.0)
    found = {case.id: case for case in source.cases}
    np.testing.assert_array_equal(found['b'].series.times, [0.25, 1.0])
    assert found['b'].target.time == 2.0 and read(tmp_path, per=2.0, landmarks=(0.5,)).cases[0].target.time == 1.75
    with pytest.raises(InputError, match=r'config\.data\.source\.per: 0; expected above 0'):
        read(tmp_path, per=0)


def test_who_is_looked_at_when_and_what_is_known_then(tmp_path):
    """At 1 year b had one visit, at 3 two; at 5 the end has been; a and c train at each of their visits."""
    source = read(tmp_path, landmarks=(1.0, 3.0, 5.0))
    assert source.problem == 'survival' and source.measured == ('bili', 'stage')
    found = {case.id: case for case in source.cases}
    assert {name: case.split for name, case in found.items()} == {
        'b_at_1': 'test_at_1', 'b_at_3': 'test_at_3', 'a_at_0': 'train', 'a_at_1': 'train', 'c_at_0': 'train'}
    np.testing.assert_array_equal(found['b_at_1'].series.times, [0.5, 1.0])  # the second says how long ago that was
    np.testing.assert_array_equal(found['b_at_1'].series.values, [[2, math.nan], [math.nan, math.nan]])
    np.testing.assert_array_equal(found['b_at_3'].series.times, [0.5, 2.0, 3.0])
    assert found['b_at_3'].target.time == 1.5
    assert found['b_at_3'].record == {'sex=m': 0.0, 'landmark': 3.0, 'last bili': 8.0, 'last stage': 2.0}
    assert found['a_at_1'].record['last bili'] == 1.0  # as it last was


def test_padding_and_scales_by_the_training_patients(tmp_path):
    data = time_series.dataset(read(tmp_path), steps=3)
    seen = data.seen(np.arange(3))  # a, b, c are in the order in which they first occur: b, a, c
    values = np.array([1, 4])  # of a and c, who train; b's are 2 and 8
    np.testing.assert_allclose(seen['values'][..., 0], (np.array([[2, 8, 2.5], [1, 2.5, 2.5], [4, 2.5, 2.5]])
                                                        - values.mean()) / values.std(), atol=1e-6)
    np.testing.assert_array_equal(seen['observed'][..., 0], [[1, 1, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(seen['time_mask'], [[1, 1, 0], [1, 1, 0], [1, 0, 0]])
    clock = np.std([0, 1, 0])
    np.testing.assert_allclose(seen['times'], np.array([[0, 1.5, 0], [0, 1, 0], [0, 0, 0]]) / clock, rtol=1e-6)
    assert 'Training series of one visit: 1 of 2.' in data.warnings
    assert any(line.startswith('Missing at visits: bili (33%)') for line in data.warnings)


def test_a_value_that_nobody_has_is_told(tmp_path):
    data = time_series.dataset(read(tmp_path, TABLE.replace('1,1,m', '1,,m').replace('4,2,f', '4,,f')
                                  .replace('NA,1,m', 'NA,,m')))
    assert 'Never measured in training patients, and of no use: stage.' in data.warnings
    assert not data.seen(np.arange(3))['values'][1:, :, 1].any()


@pytest.mark.parametrize('old, new, message', [
    ('a,1,NA', 'a,0,NA', r't\.csv: row 5: a has two visits at year 0; expected one'),
    ('a,1,NA', 'a,400,NA', r't\.csv: row 5: a: year 400 is after end 3; expected both in one unit from one start'),
    ('a,1,NA,1,m,3,0', 'a,1,NA,1,m,4,0', r't\.csv: a: end and dead differ from row to row'),
    ('c,0,4,2,f,0.9,1', 'c,0,4,2,f,-1,1', r"t\.csv: row 6: end is '-1'; expected a number of at least 0"),
    ('c,0,4,2,f,0.9,1', 'c,0,4,2,f,0.9,7', r"t\.csv: row 6: dead is '7'; expected one of: 1, or 0 for a censored patient"),
    ('c,0,4', 'c,x,4', r"t\.csv: row 6: id 'c', year 'x'; expected a name, and a number of at least 0"),
    ('c,0,4', 'c,0,0', r't\.csv: row 6: bili is 0; expected more than 0, because config\.data\.source\.log'),
    ('year', 'yr', r"t\.csv: no column 'year'; expected some of: id, yr, bili"),
])
def test_tables_that_are_none(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, TABLE.replace(old, new), log=('bili',))


def test_no_event_in_training_and_series_that_are_too_long(tmp_path):
    with pytest.raises(InputError, match=r'config\.data\.source: no event among the 2 training patients'):
        time_series.dataset(read(tmp_path, TABLE.replace('0.9,1', '0.9,0')))
    with pytest.raises(InputError, match=r'config\.data\.steps: 1; expected at least 2, the visits of b'):
        time_series.dataset(read(tmp_path), steps=1)
    with pytest.raises(InputError, match=r'config\.data\.times: \(2\.0, 1\.0\); expected numbers above 0, rising'):
        time_series.dataset(read(tmp_path), times=(2, 1))
    with pytest.raises(InputError, match=r'source\.landmarks: \(-1,\); expected times of at least 0'):
        read(tmp_path, landmarks=(-1,))


def test_the_device_holds_what_items_are():
    data = time_series.dataset(visits.source(cases=(20, 5, 5)))
    kept = data.resident()
    arrays, number = kept.load(), 7
    item = data.item(number, np.random.default_rng(0))
    assert item.pop('id') == 'train0007' and kept.size == sum(array.nbytes for array in arrays.values())
    for name, value in kept.pick(arrays, kept.place(number, None)).items():
        np.testing.assert_array_equal(value, item[name])
