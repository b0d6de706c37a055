"""Dates and times of tables: equal to pandas' and the standard library's, in one form, and what is refused."""

import datetime

import pandas as pd
import pytest

from medjax.data.io import dates
from medjax.errors import InputError


def read(*cells, **options):
    return dates.read_times(cells, [f'row {number}: visit' for number in range(2, len(cells) + 2)],
                            **{'unit': 'weeks', **options})


@pytest.mark.parametrize('cells, option, form, pattern', [
    (('2024-01-29', '2024-03-01', '1999-12-31'), 'iso', 'YYYY-MM-DD', '%Y-%m-%d'),
    (('20240129', '20240301', '19991231'), 'iso', 'YYYYMMDD', '%Y%m%d'),
    (('29.01.2024', '1.3.2024', '31.12.1999'), 'dmy', 'D.M.YYYY', '%d.%m.%Y'),
    (('03/02/2024', '1/3/2024', '31/12/1999'), 'dmy', 'D/M/YYYY', '%d/%m/%Y'),
    (('03/02/2024', '3/1/2024', '12/31/1999'), 'mdy', 'M/D/YYYY', '%m/%d/%Y')])
def test_days_between_dates_are_those_of_pandas(cells, option, form, pattern):
    found = read(*cells, dates=option)
    want = [pd.to_datetime(cell, format=pattern) for cell in cells]
    assert found.form == form and [value - found.values[0] for value in found.values] == [
        (day - want[0]).days for day in want]
    assert found.values[0] == datetime.date(want[0].year, want[0].month, want[0].day).toordinal()


def test_numbers_are_times_of_their_unit():
    assert read('0', '-2', '8.5') == ('number', [0, -2, 8.5])
    assert read('6000', unit='days').values == [6000]  # 16 years; as weeks it would be 115
    with pytest.raises(InputError, match="row 2: visit '7000': 134 years as a number of weeks; expected the time"):
        read('7000')


@pytest.mark.parametrize('cells, options, said', [
    (('0', '20240129'), {}, "row 3: visit '20240129'; expected a number of weeks as in the first row"),
    (('20240129', '8'), {}, "row 3: visit '8'; expected a date YYYYMMDD as in the first row"),
    (('2024-01-29', '20240301'), {}, "row 3: visit '20240301'; expected an ISO date YYYY-MM-DD as in the first row"),
    (('29.01.2024', '1/3/2024'), dict(dates='dmy'), "row 3: visit '1/3/2024'; expected a date D.M.YYYY"),
    (('29.01.2024',), {}, "row 2: visit '29.01.2024'; expected a number of weeks .*: YYYY-MM-DD, YYYYMMDD, where "),
    (('2024-01-29',), dict(dates='dmy'), 'expected a number of weeks'), (('2024-02-30',), {}, "visit '2024-02-30'"),
    (('20241301',), {}, "visit '20241301': 387924 years"), (('45320',), {}, '869 years as a number of weeks'),
    (('29.01.24',), dict(dates='dmy'), "visit '29.01.24'"), (('',), {}, "visit ''"), (('17000000',), {}, 'years as a'),
    (('1',), dict(dates='ymd'), "dates: 'ymd'"), (('1',), dict(unit='fortnights'), "unit: 'fortnights'")])
def test_other_cells_are_refused(cells, options, said):
    with pytest.raises(InputError, match=said):
        read(*cells, **options)


@pytest.mark.parametrize('cells, unit, said', [
    (('20240129', '20240301'), '', 'time: dates such as 20240129; expected the time since'),
    (('29.01.2024',), '', 'time: dates such as 29.01.2024'),
    (('1700000001', '1500000000'), '', '1500000000 to 1700000001, which may be seconds since 1970'),
    (('2001.5', '2004.25'), 'years', 'up to 2004.25 years, longer than a life'),
    (('45000', '45001'), '', '45000 to 45001, nearly equal for all')])
def test_times_that_are_none_since_a_start(cells, unit, said):
    with pytest.raises(InputError, match=said):
        dates.check_durations('t.csv', 'time', cells, unit)


def test_durations_that_are_fine():
    for cells, options in ((('0', '8766'), dict(unit='years', per=365.25)), (('5', '5'), {}), (('', 'x'), {}),
                           (('0', '1700000000'), {}), (('36500',), dict(unit='days'))):
        dates.check_durations('t.csv', 'time', cells, **options)
