"""Longitudinal tables: series and landmark cases by hand, and what is refused, by file and row."""

import io
import math

import numpy as np
import pandas as pd
import pytest

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
KEYS = dict(table='t.csv', time='year', event='dead', events=('death',), measurements=('bili', 'stage'),
            static=('sex',))


def read(folder, text=TABLE, **options):
    (folder / 't.csv').write_text(text)
    splitting = Splitting(val=0.0, test=0.34, splits={'a': 'train', 'b': 'test', 'c': 'train'})
    return visits_csv.source(**{**KEYS, 'dir': str(folder), 'splitting': splitting, **options})


def test_series_are_put_in_order(tmp_path):
    found = {case.id: case for case in read(tmp_path, log_transform=('bili',)).cases}
    np.testing.assert_array_equal(found['b'].series.times, [0.5, 2.0])
    np.testing.assert_allclose(found['b'].series.values, [[math.log(2), math.nan], [math.log(8), 2]])
    assert found['b'].target.time == 4.0 and found['b'].target.event == 1 and found['a'].target.event == 0  # 4.5 − 0.5
    assert found['a'].record == {'sex=m': 1.0} and found['b'].split == 'test'


def test_days_as_years(tmp_path):
    source = read(tmp_path, time_divisor=2.0)
    found = {case.id: case for case in source.cases}
    np.testing.assert_array_equal(found['b'].series.times, [0.25, 1.0])
    assert found['b'].target.time == 2.0 and read(tmp_path, time_divisor=2.0,
                                                  landmarks=(0.5,)).cases[0].target.time == 1.75
    with pytest.raises(InputError, match=r'config\.data\.source\.time_divisor: 0; expected above 0'):
        read(tmp_path, time_divisor=0)


def test_landmark_cases_have_what_was_measured_by_then(tmp_path):
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


@pytest.mark.parametrize('old, new, message', [
    ('a,1,NA', 'a,0,NA', r't\.csv: row 5: a has two visits at year 0; expected one'),
    ('a,1,NA', 'a,400,NA', r't\.csv: row 5: a: year 400 is after end 3; expected both in one unit from one start'),
    ('a,1,NA,1,m,3,0', 'a,1,NA,1,m,4,0', r't\.csv: a: end and dead differ from row to row'),
    ('c,0,4,2,f,0.9,1', 'c,0,4,2,f,-1,1', r"t\.csv: row 6: end is '-1'; expected a number of at least 0"),
    ('c,0,4,2,f,0.9,1', 'c,0,4,2,f,0.9,7',
     r"t\.csv: row 6: dead is '7'; expected one of: 1, or 0 for a censored patient"),
    ('c,0,4', 'c,x,4', r"t\.csv: row 6: id 'c', year 'x'; expected a name, and a number of at least 0"),
    ('c,0,4', 'c,0,0', r't\.csv: row 6: bili is 0; expected more than 0, because config\.data\.source\.log_transform'),
    ('year', 'yr', r"t\.csv: no column 'year'; expected some of: id, yr, bili"),
    ('a,1,NA', 'a,1,<1', r"t\.csv: row 5: bili is '<1'; expected a number"),
    ('a,1,NA,1,m,3,0,train', 'a,1', r't\.csv: row 5 has too few fields; expected 8'),
    ('c,0,4,2,f,0.9,1', 'c,0,4,2,f,,1', r"t\.csv: row 6: end is ''; expected a number of at least 0"),
    ('c,0,4,2,f,0.9,1', 'c,0,4,2,f,0.9,', r"t\.csv: row 6: dead is empty, as in 1 rows, and '0' in row 3"),
    ('c,0,4,2,f,0.9,1,train', 'c,0,4,2,f,0.9,1,val', r"t\.csv: patient 'c' is in 'val' and in 'train'"),
    ('split', 'Split', r"t\.csv: column 'Split'; expected 'split'"),
])
def test_invalid_tables_are_refused(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, TABLE.replace(old, new), log_transform=('bili',))


DATES = '''id,day,bili,stage,sex,last,dead
b,2024-03-01,8,2,f,2025-01-29,1
a,2023-12-31,1,1,m,2024-06-30,0
b,2024-01-29,2,,f,2025-01-29,1
c,2024-01-01,3,1,m,2024-02-01,1
'''


@pytest.mark.parametrize('pattern, option', [
    ('%Y-%m-%d', 'iso'), ('%Y%m%d', 'iso'), ('%d.%m.%Y', 'dmy'), ('%m/%d/%Y', 'mdy')])
def test_dates_count_from_the_first_visit(tmp_path, pattern, option):
    table = pd.read_csv(io.StringIO(DATES))
    for column in ('day', 'last'):
        table[column] = pd.to_datetime(table[column]).dt.strftime(pattern)
    options = dict(time='day', end='last', unit='weeks', dates=option, splitting=Splitting(val=0, test=0))
    source = read(tmp_path, table.to_csv(index=False), **options)
    found = {case.id: case for case in source.cases}
    assert found['b'].series.times.tolist() == [0, 32 / 7] and found['b'].target.time == 366 / 7
    assert found['a'].series.times.tolist() == [0] and found['a'].target.time == 182 / 7
    for old, new, said in ((table['day'][3], '5', "row 5: day '5'; expected an? "),
                           (table['last'][3], '31', "row 5: last '31'; expected an? ")):
        with pytest.raises(InputError, match=said):
            read(tmp_path, table.to_csv(index=False).replace(old, new), **options)
    with pytest.raises(InputError, match=r"day holds dates, config\.data\.source\.unit: 'cycles', time_divisor: 1.0; "):
        read(tmp_path, table.to_csv(index=False), **{**options, 'unit': 'cycles'})


def test_new_visits_are_read_as_those_of_training(tmp_path):
    text = 'id,year,bili,stage,site,sex,end,dead\na,0,1,1,A,f,9,1\na,1,2,2,B,f,9,1\nb,0,3,1,C,m,7,0\n'
    source = read(tmp_path, text, measurements=('bili', 'stage', 'site'), splitting=Splitting(val=0, test=0))
    read_new = visits_csv.image_reader(**{**KEYS, 'measurements': ('bili', 'stage', 'site')})
    new = tmp_path / 'new.csv'
    new.write_text('id,year,bili,stage,site,sex\np,0,4,1,A,m\np,1,,2,C,m\n')
    case, = read_new(new, (), source.encoding)
    np.testing.assert_array_equal(case.series.values, [[4, 1, 1, 0, 0], [math.nan, 2, 0, 0, 1]])
    assert case.record['sex=m'] == 1 and case.id == 'p_at_1'
    for old, new_cell, said in (('4', '<0.5', "row 2: bili is '<0.5'; expected a number"), ('4', 'inf', "bili is 'inf"),
                                (',A,', ',D,', "row 2: site is 'D', which no training patient has; expected one of A"),
                                ('A,m', 'A,male', "row 2: sex is 'male', which no training patient has")):
        other = tmp_path / 'other.csv'
        other.write_text(new.read_text().replace(old, new_cell))
        with pytest.raises(InputError, match=said):
            read_new(other, (), source.encoding)


def test_negative_landmarks_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'source\.landmarks: \(-1,\); expected times of at least 0'):
        read(tmp_path, landmarks=(-1,))
