"""Covariates from tables: kinds of columns, categories, missing and unseen values, and the line on what became what."""

import math

import numpy as np
import pandas as pd
import pytest

from medjax.data import covariates
from medjax.data.covariates import CovariateOptions, Encoding, Row
from medjax.data.source import Case, Series
from medjax.errors import InputError


def rows(test=0, **columns):
    """Rows of a table by column; the last `test` patients do not train."""
    count = len(next(iter(columns.values())))
    return [Row(number + 2, {name: str(cells[number]) for name, cells in columns.items()}, number < count - test)
            for number in range(count)]


def fit(table, **options):
    return covariates.fit(table, list(table[0].cells), 't.csv', CovariateOptions(**options))


def records(table, encoding):
    return [encoding.record(row.cells, f't.csv: row {row.number}') for row in table]


def test_one_hot_columns_are_those_of_pandas():
    cells = ['II', 'I', 'NA', 'III', 'I', 'II']
    encoding = fit(rows(stage=cells, sex=list('fmfmm') + ['']))
    want = pd.get_dummies(pd.Series(cells).replace('NA', None), prefix='stage', prefix_sep='=', dtype=float)
    want[want.sum(axis=1) == 0] = math.nan
    found = pd.DataFrame(records(rows(stage=cells, sex=list('fmfmm') + ['']), encoding))
    pd.testing.assert_frame_equal(found[list(want)], want)
    assert encoding.names() == ['stage=I', 'stage=II', 'stage=III', 'sex=m']
    assert found['sex=m'].tolist()[:5] == [0, 1, 0, 1, 1] and math.isnan(found['sex=m'][5])


@pytest.mark.parametrize('cell', ['<40', '61 y', '61,5', '1.234,5', '61*', 'unknown', '-', 'none', '?', '12 %', 'inf',
                                  '1_0', '1e999', '2020-01-31'])
def test_a_cell_without_a_number_in_a_column_of_numbers_is_refused(cell):
    table = rows(age=[50, 61, cell, 70])
    with pytest.raises(InputError) as error:
        records(table, fit(table))
    assert str(error.value).startswith(f't.csv: row 4: age is {cell!r}; expected a number, or nothing')
    # Declared as missing it is; declared as a category it is one.
    assert [math.isnan(record['age']) for record in records(table, fit(table, missing=[cell]))] == [
        False, False, True, False]
    assert fit(table, categorical=['age']).categories['age'] == tuple(sorted(['50', '61', cell, '70']))


@pytest.mark.parametrize('cells', [
    ['0,5', '0,6', '0,5', '0,7'], ['61 y', '45 y', '61 y', '45 y'], ['<0.5', '0.7', '<0.5', '<0.5'],
    ['5%', '7%', '9%', '7%']])
def test_columns_of_numbers_in_another_notation_are_no_categories(cells):
    table = rows(lab=cells)
    with pytest.raises(InputError, match='t.csv: row 2: lab is'):
        records(table, fit(table))


@pytest.mark.parametrize('cells', [
    ['<65', '>=65', '<65', '>=65'], ['T1', '2', 'T3', 'T4'], ['0 none', '1 mild', '3 worst', '2 severe'],
    ['True', 'False', 'True', 'True'], ['18-30', '31-50', '18-30', '51+']])
def test_columns_of_words_are_categories(cells):
    table = rows(group=cells)
    assert fit(table).categories['group'] == tuple(sorted(set(cells)))


@pytest.mark.parametrize('cells', [['2020-01-31', '2020-02-01'], ['20200131', '20200201'], ['31.1.2020', '1.2.2020']])
def test_dates_are_no_covariates(cells):
    with pytest.raises(InputError, match=f"column 'seen' holds dates such as {cells[0]}; expected numbers"):
        fit(rows(seen=cells))


def test_codes_as_categories_whatever_their_notation():
    table = rows(site=['1', '2.0', '03', '2', ''])
    encoding = fit(table, categorical=('site',))
    assert encoding.names() == ['site=1', 'site=2', 'site=3']
    assert records(table, encoding)[1] == records(table, encoding)[3] == {'site=1': 0, 'site=2': 1, 'site=3': 0}
    with pytest.raises(InputError, match=r"categorical: 'centre'; expected some of the covariates: site"):
        fit(table, categorical=('centre',))


def test_categories_of_several_spellings_are_refused():
    with pytest.raises(InputError, match="t.csv: column 'sex': categories 'F' and 'f'; expected one spelling"):
        fit(rows(sex=['f', 'm', 'F', 'm']))


def test_a_category_that_no_training_patient_has_is_refused_or_missing():
    table = rows(test=1, sex=['f', 'm', 'f', 'x'], stage=['I', 'II', 'III', 'I'])
    encoding = fit(table)
    assert encoding.categories['sex'] == ('f', 'm', 'x') and encoding.seen['sex'] == ('f', 'm')
    with pytest.raises(InputError, match="row 5: sex is 'x', which no training patient has; expected one of f, m"):
        records(table, encoding)
    last = records(table, fit(table, unseen='missing'))[-1]
    assert [name for name, value in last.items() if math.isnan(value)] == ['sex=f', 'sex=m', 'sex=x']
    with pytest.raises(InputError, match="unseen: 'ignore'; expected one of: refuse, missing"):
        fit(table, unseen='ignore')


@pytest.mark.parametrize('cells, unseen', [(['f', 'm', 'm', 'x'], 'x'), (['m', 'm', 'm', 'f'], 'f'),
                                           (['f', 'f', 'f', 'm'], 'm'), (['', '', '', 'm'], 'm')])
def test_cases_with_unseen_categories_are_refused_by_their_code(cells, unseen):
    """Of one, two or three categories, in covariates or in series."""
    table = rows(test=1, sex=cells)
    encoding = fit(table)
    coded = records(table, encoding.accepting())
    assert unseen not in encoding.seen['sex']
    series = [Series(np.zeros(1), np.array([list(record.values())])) for record in coded]
    for cases, names in (([Case(f'c{n}', '', '', None, record=record) for n, record in enumerate(coded)], ()),
                         ([Case(f'c{n}', '', '', None, series=one) for n, one in enumerate(series)], [*coded[0]])):
        covariates.check_seen(cases[:3], encoding.to_json(), coded[0], names)
        covariates.check_seen(cases, fit(table, unseen='missing').to_json(), coded[0], names)
        covariates.check_seen(cases, {}, coded[0], names)
        with pytest.raises(InputError, match=f"c3: sex is '{unseen}', which no training patient has"):
            covariates.check_seen(cases, encoding.to_json(), coded[0], names)


def test_an_encoding_is_plain_json_and_can_be_restricted():
    encoding = fit(rows(age=[1, 2, 3], stage=['I', 'II', 'III'], sex=list('fmf')), missing=('unknown',))
    assert Encoding(**encoding.to_json()).record({'age': 'unknown', 'stage': 'I', 'sex': 'm'}, '')['stage=I'] == 1
    assert list(encoding.restricted(['stage=II', 'sex=m']).categories) == ['stage', 'sex']


def test_runs_that_stored_names_alone():
    encoding = covariates.encoding_of_names(('age', 'stage=I', 'stage=II', 'sex=m'), ('age', 'stage', 'sex'))
    assert encoding.record({'age': '5', 'stage': 'II', 'sex': 'f'}, '') == {
        'age': 5, 'stage=I': 0, 'stage=II': 1, 'sex=m': 0}


def test_columns_without_a_name_and_numbers_of_rows_are_no_covariates():
    table = rows(**{'': range(9), 'Unnamed: 0.1': range(9), 'Unnamed: 0': range(9), 'row': range(1, 10),
                    'age': range(9, 0, -1)})
    kept, dropped = covariates.automatic(table, list(table[0].cells))
    assert kept == ['age'] and dropped == {'column 1': 'no name', 'Unnamed: 0.1': 'no name', 'Unnamed: 0': 'no name',
                                           'row': 'the numbers of the rows'}
    for ages in (range(3), range(40, 60), [0, *range(2, 20)]):  # too few, another start, a gap
        assert covariates.automatic(rows(age=ages), ['age'])[0] == ['age']


def test_the_line_on_what_became_of_the_columns():
    table = rows(test=1, age=[50, 61, '.'], sex=['f', 'm', 'x'], stage=['I\nII', 'III', ''])
    encoding = fit(table, unseen='missing')
    assert covariates.describe(table, encoding, {'index': 'the numbers of the rows'}) == (
        'numbers: age (missing 1); categories: sex (f 1, m 1, x 1 not in training), stage (I II 1, III 1, missing 1); '
        'dropped: index (the numbers of the rows)')
